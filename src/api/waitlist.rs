//! Calls on waitlists: join, look, leave.

use super::{Api, Outcome, SaleRef, commands::CheckedReserve, problems, refused::Refused};
use crate::{
    auth::Caller,
    engine::EntryView,
    sale::{code::Code, ids::EntryId, outcome::Refusal},
};

impl Api {
    /// Puts a customer on the waitlist of a sale. `sale`: None if there is none of that id.
    pub fn join_waitlist(
        &self,
        sale: Option<SaleRef<'_>>,
        asked: &CheckedReserve<'_>,
        key: Option<&str>,
    ) -> Outcome<EntryView> {
        let Some(sale) = sale else {
            self.tally.refused(Code::SaleNotFound);
            return Err(Refused::no_such_sale());
        };
        let (engine, rates) = (&self.service.engine, &self.service.rates);
        let catalogue = engine.catalogue();
        if !rates.idle(&catalogue) {
            let admitted = rates.admit_customer(catalogue.sale_numbered(sale.number), &asked.customer);
            admitted.map_err(|limited| self.service.rate_limited(limited))?;
        }
        drop(catalogue);
        let answer = engine.join_waitlist(self.service.now(), &asked.asked(sale.id, key), self.entropy());
        self.count_refused(&answer.value);
        Ok(answer)
    }

    pub fn look_at_entry(&self, caller: &Caller, id: EntryId) -> Outcome<EntryView> {
        self.must_see_entry(caller, id)?;
        Ok(self.service.engine.waitlist_entry(self.service.now(), id))
    }

    pub fn leave_waitlist(&self, caller: &Caller, id: EntryId) -> Outcome<EntryView> {
        self.must_see_entry(caller, id)?;
        let answer = self.service.engine.leave_waitlist(self.service.now(), id);
        self.count_refused(&answer.value);
        Ok(answer)
    }

    fn count_refused(&self, outcome: &Result<EntryView, Refusal>) {
        if let Err(refusal) = outcome {
            self.tally.refused(refusal.code());
        }
    }

    /// An entry of a sale, or through a channel, that the caller may not see does not exist for it.
    fn must_see_entry(&self, caller: &Caller, id: EntryId) -> Result<(), Refused> {
        let engine = &self.service.engine;
        let sees = || {
            engine.place_of_entry(id).is_none_or(|(sale, channel)| {
                let catalogue = engine.catalogue();
                caller.sees(&catalogue.sale_numbered(sale).settings.id) && caller.sees_channel(channel.as_deref())
            })
        };
        if caller.sees_everything() || sees() { Ok(()) } else { Err(Refused::no_such_entry()) }
    }
}

/// The id in a path. A text that is no id is that of no entry.
pub fn parse_entry_id(text: &str) -> Result<EntryId, Refused> {
    EntryId::parse(text).ok_or_else(|| problems::ENTRY_NOT_FOUND.because("this is not a waitlist entry id"))
}
