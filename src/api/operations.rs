//! Calls on customers, reports, the audit trail, the feed, and the service's figures.

use std::{sync::Arc, time::Duration};

use super::{Service, figures::Figures, problems, refused::Refused};
use crate::{
    auth::Caller,
    engine::Answer,
    events::{self, Followed, Format, Start, ViewCursors},
    reports::{self, Read},
    sale::{ids::SaleNumber, settings::Invalid},
    store::{By, SaleReport, TrailAsk, TrailPage},
};

/// How long to wait until the store has a new sale, and how often to check.
const STORE_WAIT: Duration = Duration::from_secs(2);
const STORE_LOOK: Duration = Duration::from_millis(50);

/// One text for every invalid cursor: a caller must not learn whether it is another caller's cursor.
pub const NO_CURSOR: &str = "must be 0 for the beginning, or a cursor that this service gave to a key with the same \
                             sales. Cursors become invalid when the data is restored from a backup, and when the sales \
                             of a key change";

impl Service {
    /// Erases the customer's identity. An unknown customer gets the same answer as one who is no longer in memory.
    pub fn erase_customer(&self, caller: &Caller, customer: &str) -> Answer<u64> {
        self.engine.erase_customer(self.now(), caller.actor(), &self.customer_ids.known_as(customer))
    }

    /// The report on the sale with this number, and its groups.
    pub async fn report(
        &self,
        id: &str,
        sale: Option<SaleNumber>,
        by: Option<By>,
    ) -> Result<(SaleNumber, Arc<Read<SaleReport>>), Refused> {
        let sale = sale.ok_or_else(Refused::no_such_sale)?;
        for _ in 0..STORE_WAIT.as_millis() / STORE_LOOK.as_millis() {
            match self.reports.of(id, by.clone()).await? {
                Some(read) => return Ok((sale, read)),
                None => tokio::time::sleep(STORE_LOOK).await,
            }
        }
        Err(problems::STORE_UNAVAILABLE.because("the store does not have the sale yet: it is behind the journal"))
    }

    /// A page of the audit trail.
    pub async fn trail(&self, ask: TrailAsk) -> Result<Read<TrailPage>, Refused> {
        Ok(self.reports.trail(ask).await?)
    }

    /// Follows the feed, as far as the caller may see it.
    pub async fn follow(
        &self,
        caller: &Arc<Caller>,
        start: Start,
        format: Format,
        cursors: ViewCursors,
    ) -> Result<Followed, Refused> {
        let caller = caller.clone();
        let sees = move |sale: Option<&str>, _: &str| sale.map_or_else(|| caller.sees_all(), |sale| caller.sees(sale));
        Ok(self.events.follow(start, format, Arc::new(sees), cursors).await?)
    }

    /// Figures of the whole service; None for a caller that may not see them.
    pub async fn status(&self, caller: &Caller) -> Result<Option<Arc<Figures>>, Refused> {
        if !caller.sees_all() {
            return Ok(None);
        }
        let unavailable = || problems::OVERLOADED.because("the figures are not available right now");
        self.figures.latest().await.map(Some).ok_or_else(unavailable)
    }
}

impl From<reports::Refused> for Refused {
    fn from(refused: reports::Refused) -> Self {
        match refused {
            reports::Refused::Full => problems::OVERLOADED.because("limits.reports_max is reached"),
            reports::Refused::TooSlow => {
                problems::OVERLOADED.because("reading the store took longer than limits.report_seconds")
            }
            reports::Refused::Unreadable => {
                problems::STORE_UNAVAILABLE.because("the store cannot be read; the log says why")
            }
            reports::Refused::Stopping => problems::DRAINING.because("the service is shutting down"),
        }
    }
}

impl From<events::Refused> for Refused {
    fn from(refused: events::Refused) -> Self {
        match refused {
            events::Refused::Full => problems::OVERLOADED.because("limits.event_readers_max is reached"),
            events::Refused::TooOld { oldest } => Self::cursor_too_old(oldest),
            events::Refused::Unknown => Invalid::new("/after", NO_CURSOR).into(),
            events::Refused::Stopping => problems::DRAINING.because("the service is shutting down"),
            events::Refused::Unreadable => problems::OVERLOADED.because("the journal cannot be read; the log says why"),
        }
    }
}
