//! Entries of a batch: each is decided as the call for one reservation would decide it.

use std::borrow::Cow;

use super::{Api, SaleRef, commands::CheckedReserve, refused::Refused};
use crate::{
    auth::Caller,
    engine::{Answer, Bulk, CatalogueGuard, Made},
    sale::{catalogue::Sale, code::Code, outcome::Refusal, settings::Invalid},
};

/// An entry that was admitted.
#[derive(Debug)]
pub struct Asked<'a> {
    pub reserve: CheckedReserve<'a>,
    pub key: Option<Cow<'a, str>>,
}

impl Api {
    /// The steps of the single call before the entry is read.
    pub fn admit_entry(&self, sale: &Sale) -> Result<(), Refused> {
        self.service.refuse_if_stopping()?;
        self.service.rates.admit_reserve(sale).map_err(|limited| self.service.rate_limited(limited))
    }

    /// The steps of the single call from there to the engine.
    pub fn check_entry<'a>(
        &self,
        caller: &Caller,
        sale: &Sale,
        entry: Result<Asked<'a>, Vec<Invalid>>,
    ) -> Result<Asked<'a>, Refused> {
        match entry {
            Ok(mut asked) => {
                asked.reserve.through(caller)?;
                self.service.names.admit(asked.reserve.extras.as_deref())?;
                let admitted = self.service.rates.admit_customer(sale, &asked.reserve.customer);
                admitted.map_err(|limited| self.service.rate_limited(limited)).map(|()| asked)
            }
            Err(wrong) => {
                // Counted here, because the answer's status does not show it.
                self.tally.refused(Code::InvalidRequest);
                Err(wrong.into())
            }
        }
    }

    /// Adds admitted entries to those that are decided in bulk.
    pub fn gather<'a>(&self, sale: &'a str, asked: &'a [Result<Asked<'_>, Refused>], bulk: &mut Bulk<'_, 'a>) {
        let now = self.service.now();
        for Asked { reserve, key } in asked.iter().flatten() {
            bulk.push(now, &reserve.asked(sale, key.as_deref()), self.entropy());
        }
    }

    /// The outcome of the next entry of those decided in bulk. A deferred one is decided now.
    pub fn conclude(
        &self,
        catalogue: &mut CatalogueGuard,
        sale: SaleRef<'_>,
        Asked { reserve, key }: &Asked<'_>,
        bulk: &mut Bulk<'_, '_>,
    ) -> Answer<Result<Made, Refusal>> {
        match bulk.next_outcome() {
            None => self.decide(catalogue, sale, reserve, key.as_deref()),
            Some(answer) => {
                self.count(sale.number, reserve, &answer.value);
                answer
            }
        }
    }
}
