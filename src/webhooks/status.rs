//! What is known of each endpoint, for the API and for metrics.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{Secrets, Settings, Unusable};
use crate::{auth::Caller, engine::Epoch, sale::time::Timestamp, telemetry};

/// How long reading may take before an endpoint counts as behind because of it: readers learn only every second how far they are.
const READING_MILLIS: u64 = 5000;

/// All endpoints, by name. Shared by the thread that delivers and by all that look.
#[derive(Default)]
pub struct Webhooks {
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    /// The first batch that the journal still has, as far as it was said.
    pub(super) journal_from: watch::Sender<Epoch>,
}

/// An endpoint, and what is known of it.
pub struct Endpoint {
    pub settings: Settings,
    pub(super) secrets: ArcSwap<Secrets>,
    pub(super) status: Mutex<Status>,
    /// An operator resumes it: see `Status::resuming`.
    pub(super) resumed: Notify,
    /// The batch that its saved position is in or behind.
    pub(super) saved_epoch: AtomicU64,
    pub(super) count: telemetry::Webhook,
}

/// What happened last to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    pub at: Timestamp,
    pub detail: String,
}

/// How an endpoint is. Times are the service's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    pub parked_at: Option<Timestamp>,
    /// Since when an event that waits could not be delivered.
    pub failing_since: Option<Timestamp>,
    pub last_delivered_at: Option<Timestamp>,
    pub last_failure: Option<LastFailure>,
    /// When events were last missed, because the journal no longer had them.
    pub skipped_at: Option<Timestamp>,
    /// Events that were read and not delivered.
    pub waiting: u64,
    /// When the oldest of them happened.
    pub oldest_at: Option<Timestamp>,
    /// The batch up to which the journal was read for it.
    pub(super) read_to: Epoch,
    /// A later batch that was durable then.
    pub(super) unread: Option<(Epoch, Timestamp)>,
    /// The batch with the record that it was resumed: only when that is durable, the endpoint continues.
    pub(super) resuming: Option<Epoch>,
}

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Active,
    Failing,
    Parked,
}

impl State {
    pub const ALL: [Self; 3] = [Self::Active, Self::Failing, Self::Parked];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Failing => "failing",
            Self::Parked => "parked",
        }
    }
}

impl Status {
    pub fn state(&self) -> State {
        match (self.parked_at, self.failing_since) {
            (Some(_), _) => State::Parked,
            (None, Some(_)) => State::Failing,
            (None, None) => State::Active,
        }
    }

    /// Whether the journal has more for it than `waiting` counts, because it is not read on or not read in time.
    pub fn has_unread(&self, now: Timestamp) -> bool {
        self.unread_since(now).is_some()
    }

    /// Age of the oldest event that was not delivered, as far as that is known; 0 without one.
    pub fn lag_seconds(&self, now: Timestamp) -> f64 {
        let oldest = self.oldest_at.into_iter().chain(self.unread_since(now)).min();
        oldest.map_or(0.0, |at| now.millis_since(at) as f64 / 1000.0)
    }

    /// When a batch that was not read yet was seen to be durable.
    fn unread_since(&self, now: Timestamp) -> Option<Timestamp> {
        let (epoch, at) = self.unread?;
        (epoch > self.read_to && now.millis_since(at) >= READING_MILLIS).then_some(at)
    }

    /// Notes what is durable now.
    fn look(&mut self, now: Timestamp, durable: Epoch) {
        if self.unread.is_none_or(|(epoch, _)| epoch <= self.read_to) {
            self.unread = (durable > self.read_to).then_some((durable, now));
        }
    }

    /// As it is once the batches up to `durable` are.
    fn behind(mut self, durable: Epoch) -> Self {
        if self.resuming.is_some_and(|epoch| epoch <= durable) {
            (self.parked_at, self.failing_since) = (None, None);
        }
        self
    }
}

impl Endpoint {
    /// How it is, once the batches up to `durable` are durable.
    pub fn status(&self, durable: Epoch) -> Status {
        self.status.lock().clone().behind(durable)
    }

    /// Has a parked endpoint continue where it was, and one that fails try again at once, as soon as the record of this is durable.
    /// `record` writes it and returns its batch. None if there is nothing to resume; then nothing is recorded.
    pub fn resume(&self, record: impl FnOnce() -> Epoch) -> Option<Epoch> {
        let mut status = self.status.lock();
        if status.resuming.is_none() && status.state() != State::Active {
            status.resuming = Some(record());
            self.resumed.notify_one();
        }
        status.resuming
    }

    /// Whether the caller may know of it: whether it reaches every sale whose events the endpoint gets.
    pub fn is_seen_by(&self, caller: &Caller) -> bool {
        // A pattern that matches another's text matches all that the other does: a star of the other can only have been matched
        // by a star.
        caller.sees_all()
            || !self.settings.sales.is_empty() && self.settings.sales.iter().all(|sales| caller.sees(sales.as_str()))
    }
}

impl Webhooks {
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().map(|endpoint| &**endpoint)
    }

    pub fn named(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints().find(|endpoint| endpoint.settings.name == name)
    }

    /// Takes the secrets of each endpoint as its file is now. An endpoint whose file is not valid keeps what it has; these errors
    /// are returned.
    pub fn reload_secrets(&self) -> Vec<Unusable> {
        let reload = |endpoint: &Endpoint| match endpoint.settings.secrets() {
            Ok(secrets) => {
                endpoint.secrets.store(Arc::new(secrets));
                None
            }
            Err(error) => Some(error),
        };
        self.endpoints().filter_map(reload).collect()
    }

    /// Shows in the metrics how each endpoint is. `durable`: the last durable batch.
    pub fn observe(&self, now: Timestamp, durable: Epoch) {
        for endpoint in self.endpoints() {
            endpoint.status.lock().look(now, durable);
            let status = endpoint.status(durable);
            endpoint.count.observe(status.parked_at.is_some(), status.waiting, status.lag_seconds(now));
        }
    }

    /// The batch from which each endpoint still needs the journal.
    pub fn needs_from(&self) -> impl Iterator<Item = Epoch> {
        self.endpoints().map(|endpoint| endpoint.saved_epoch.load(Ordering::Acquire).max(1))
    }

    /// To be called when the journal begins with a later batch: endpoints that fail or are parked forget earlier events, and say that
    /// they missed them.
    pub fn journal_begins(&self, from: Epoch) {
        self.journal_from.send_if_modified(|known| {
            let is_later = from > *known;
            *known = from.max(*known);
            is_later
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_counts_what_was_not_read() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let mut status = Status { read_to: 7, ..Status::default() };
        status.look(at(100), 7);
        assert!(!status.has_unread(at(200)), "nothing is unread");
        status.look(at(200), 9);
        // What is seen later does not make it younger.
        status.look(at(210), 12);
        status.read_to = 8;
        assert_eq!((status.has_unread(at(204)), status.lag_seconds(at(204))), (false, 0.0), "it is being read");
        assert_eq!((status.has_unread(at(210)), status.lag_seconds(at(210))), (true, 10.0));
        status.oldest_at = Some(at(150));
        assert_eq!(status.lag_seconds(at(210)), 60.0);
        (status.oldest_at, status.read_to) = (None, 9);
        assert_eq!(status.lag_seconds(at(210)), 0.0, "read in the meantime");
        status.look(at(211), 12);
        assert_eq!(status.lag_seconds(at(221)), 10.0);
    }
}
