//! Reports on sales, read from the store.
//!
//! One low-priority thread reads them one after the other, each over a read-only connection and within a time limit.
//! Invariants: workers wait for the database only by an await; the number of waiting requests is bounded; and a recent report
//! is used again, so polling costs nothing. A slow report is kept longer: reading the reports of one sale takes at most a tenth
//! of the thread's time.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{
    clock::{Clock, monotonic},
    engine::Epoch,
    sale::time::Timestamp,
    store::{SaleReport, StoreError, StoreReader},
};

/// Reports that are kept to be answered again.
const KEPT_MAX: usize = 64;

/// How much longer a report is kept than it took to read.
const KEPT_TIMES: u32 = 10;

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Who may wait for a report at a time.
    pub waiting_max: usize,
    /// How long reading one may take, and how long one is waited for.
    pub time: Duration,
    /// How long one is answered again, at least.
    pub kept: Duration,
}

/// Opens the store to read it, with this limit on whatever waits for it.
pub type Open = Box<dyn FnMut(Duration) -> Result<Box<dyn StoreReader>, StoreError> + Send>;

/// How far behind the journal a store is that has everything up to an epoch: epochs, and seconds.
pub type Lag = Box<dyn Fn(Epoch) -> (u64, f64) + Send>;

/// What is read, and the clocks that it is dated by.
pub struct Parts {
    pub open: Open,
    pub lag: Lag,
    pub clock: Arc<dyn Clock>,
}

/// A report as it was read.
#[derive(Debug)]
pub struct Read {
    pub report: SaleReport,
    pub read_at: Timestamp,
    pub lag_epochs: u64,
    pub lag_seconds: f64,
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// `limits.reports_max` is reached.
    Full,
    /// `limits.report_seconds` were over.
    TooSlow,
    /// The store cannot be read.
    Unreadable,
    Stopping,
}

type Answer = Result<Option<Arc<Read>>, Refused>;

struct Ask {
    sale: String,
    answer: oneshot::Sender<Answer>,
    /// Held until it is answered.
    _place: OwnedSemaphorePermit,
}

/// Requests reports, from any thread.
pub struct Reports {
    asks: mpsc::Sender<Ask>,
    places: Arc<Semaphore>,
    time: Duration,
}

impl Reports {
    /// The report on a sale; None when the store does not have the sale.
    pub async fn of(&self, sale: &str) -> Answer {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Refused::Full)?;
        let (answer, answered) = oneshot::channel();
        let ask = Ask { sale: sale.to_owned(), answer, _place: place };
        // There is room for as many as there are places.
        self.asks.try_send(ask).map_err(|_| Refused::Stopping)?;
        let answered = tokio::time::timeout(self.time, answered).await;
        answered.map_err(|_| Refused::TooSlow)?.unwrap_or(Err(Refused::Stopping))
    }
}

/// Reads reports, on a thread of its own; ends when no requester is left.
pub struct Reading {
    parts: Parts,
    settings: Settings,
    asks: mpsc::Receiver<Ask>,
    kept: HashMap<String, Kept>,
}

struct Kept {
    until: Instant,
    read: Arc<Read>,
}

impl Reading {
    pub fn new(parts: Parts, settings: Settings) -> (Self, Reports) {
        let (door, asks) = mpsc::channel(settings.waiting_max);
        let places = Arc::new(Semaphore::new(settings.waiting_max));
        let reports = Reports { asks: door, places, time: settings.time };
        (Self { parts, settings, asks, kept: HashMap::new() }, reports)
    }

    pub fn run(mut self) {
        while let Some(ask) = self.asks.blocking_recv() {
            // Whoever went away needs nothing any more.
            if !ask.answer.is_closed() {
                let answer = self.answer(&ask.sale);
                let _ = ask.answer.send(answer);
            }
        }
    }

    fn answer(&mut self, sale: &str) -> Answer {
        let begun = monotonic();
        self.kept.retain(|_, kept| kept.until > begun);
        if let Some(kept) = self.kept.get(sale) {
            return Ok(Some(kept.read.clone()));
        }
        let deadline = begun + self.settings.time;
        let (read_at, found) = (self.parts.clock.now(), self.read(sale, deadline));
        let ended = monotonic();
        let report = match found {
            Ok(Some(report)) => report,
            Ok(None) => return Ok(None),
            Err(error) => {
                let late = ended >= deadline;
                tracing::warn!(%error, sale, late, "could not read a report from the store");
                return Err(if late { Refused::TooSlow } else { Refused::Unreadable });
            }
        };
        let (lag_epochs, lag_seconds) = (self.parts.lag)(report.cursor);
        let read = Arc::new(Read { report, read_at, lag_epochs, lag_seconds });
        let until = ended + self.settings.kept.max((ended - begun) * KEPT_TIMES);
        if self.settings.kept > Duration::ZERO && self.kept.len() < KEPT_MAX {
            self.kept.insert(sale.to_owned(), Kept { until, read: read.clone() });
        }
        Ok(Some(read))
    }

    fn read(&mut self, sale: &str, deadline: Instant) -> Result<Option<SaleReport>, StoreError> {
        (self.parts.open)(self.settings.time)?.report(sale, deadline)
    }
}
