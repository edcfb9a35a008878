//! Reports on sales and pages of the audit trail, read from the store.
//!
//! One low-priority thread reads them one after the other, each over a read-only connection and within a time limit.
//! Invariants: workers wait for the database only by an await; the number of waiting requests is bounded; and a recent report
//! is used again, so polling costs nothing. A slow report is kept longer: reading the reports of one sale with the same groups
//! takes at most a tenth of the thread's time.

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
    store::{By, SaleReport, StoreError, StoreReader, TrailAsk, TrailPage},
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

/// A report or a page as it was read.
#[derive(Debug)]
pub struct Read<T> {
    pub found: T,
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

type Answer<T> = Result<T, Refused>;
type Report = Option<Arc<Read<SaleReport>>>;
type Trail = Read<TrailPage>;

/// A sale, and what its report is grouped by.
type Of = (String, Option<By>);

enum Question {
    Report { of: Of, answer: oneshot::Sender<Answer<Report>> },
    Trail { ask: TrailAsk, answer: oneshot::Sender<Answer<Trail>> },
}

struct Ask {
    question: Question,
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
    pub async fn of(&self, sale: &str, by: Option<By>) -> Answer<Report> {
        self.ask(|answer| Question::Report { of: (sale.to_owned(), by), answer }).await
    }

    /// A page of the audit trail.
    pub async fn trail(&self, ask: TrailAsk) -> Answer<Trail> {
        self.ask(|answer| Question::Trail { ask, answer }).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<Answer<T>>) -> Question) -> Answer<T> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Refused::Full)?;
        let (answer, answered) = oneshot::channel();
        let ask = Ask { question: question(answer), _place: place };
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
    kept: HashMap<Of, Kept>,
}

struct Kept {
    until: Instant,
    read: Arc<Read<SaleReport>>,
}

impl Reading {
    pub fn new(parts: Parts, settings: Settings) -> (Self, Reports) {
        let (door, asks) = mpsc::channel(settings.waiting_max);
        let places = Arc::new(Semaphore::new(settings.waiting_max));
        let reports = Reports { asks: door, places, time: settings.time };
        (Self { parts, settings, asks, kept: HashMap::new() }, reports)
    }

    pub fn run(mut self) {
        while let Some(Ask { question, _place }) = self.asks.blocking_recv() {
            // Whoever went away needs nothing any more.
            match question {
                Question::Report { of, answer } if !answer.is_closed() => {
                    let _ = answer.send(self.report(of));
                }
                Question::Trail { ask, answer } if !answer.is_closed() => {
                    let _ = answer.send(self.trail(&ask));
                }
                _ => {}
            }
        }
    }

    fn report(&mut self, of: Of) -> Answer<Report> {
        let begun = monotonic();
        self.kept.retain(|_, kept| kept.until > begun);
        if let Some(kept) = self.kept.get(&of) {
            return Ok(Some(kept.read.clone()));
        }
        let (sale, by) = &of;
        let (read_at, found) = self.read("a report", |reader, deadline| reader.report(sale, by.as_ref(), deadline))?;
        let ended = monotonic();
        let Some(found) = found else { return Ok(None) };
        let read = Arc::new(self.date(read_at, found.cursor, found));
        let until = ended + self.settings.kept.max((ended - begun) * KEPT_TIMES);
        if self.settings.kept > Duration::ZERO && self.kept.len() < KEPT_MAX {
            self.kept.insert(of, Kept { until, read: read.clone() });
        }
        Ok(Some(read))
    }

    fn trail(&mut self, ask: &TrailAsk) -> Answer<Trail> {
        let (read_at, page) = self.read("the audit trail", |reader, deadline| reader.trail(ask, deadline))?;
        Ok(self.date(read_at, page.cursor, page))
    }

    /// What is read from the store, and when that began.
    fn read<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&mut dyn StoreReader, Instant) -> Result<T, StoreError>,
    ) -> Answer<(Timestamp, T)> {
        let (deadline, read_at) = (monotonic() + self.settings.time, self.parts.clock.now());
        let found = (self.parts.open)(self.settings.time).and_then(|mut reader| read(&mut *reader, deadline));
        found.map(|found| (read_at, found)).map_err(|error| {
            let late = monotonic() >= deadline;
            tracing::warn!(%error, what, late, "the store could not be read");
            if late { Refused::TooSlow } else { Refused::Unreadable }
        })
    }

    fn date<T>(&self, read_at: Timestamp, cursor: Epoch, found: T) -> Read<T> {
        let (lag_epochs, lag_seconds) = (self.parts.lag)(cursor);
        Read { found, read_at, lag_epochs, lag_seconds }
    }
}
