//! What is known of each endpoint, for the API and for metrics.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Secrets, Settings, Unusable};
use crate::{auth::Caller, engine::Epoch, sale::time::Timestamp, telemetry};

/// All endpoints, by name. Shared by the thread that delivers and by all that look.
#[derive(Default)]
pub struct Webhooks(pub(super) Vec<Arc<Endpoint>>);

/// An endpoint, and what is known of it.
pub struct Endpoint {
    pub settings: Settings,
    pub(super) secrets: ArcSwap<Secrets>,
    pub(super) status: Mutex<Status>,
    /// An operator has resumed it.
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
    /// When events were last skipped, because the journal no longer had them.
    pub skipped_at: Option<Timestamp>,
    /// Events that were read and not delivered.
    pub waiting: u64,
    /// When the oldest of them happened.
    pub oldest_at: Option<Timestamp>,
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

    /// Age of the oldest event that was not delivered; 0 without one.
    pub fn lag_seconds(&self, now: Timestamp) -> f64 {
        self.oldest_at.map_or(0.0, |at| now.millis_since(at) as f64 / 1000.0)
    }
}

impl Endpoint {
    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// Has a parked endpoint continue where it was; false if it is not parked.
    pub fn resume(&self) -> bool {
        let mut status = self.status.lock();
        let was_parked = status.parked_at.take().is_some();
        if was_parked {
            status.failing_since = None;
            drop(status);
            self.resumed.notify_one();
        }
        was_parked
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
        self.0.iter().map(|endpoint| &**endpoint)
    }

    pub fn named(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints().find(|endpoint| endpoint.settings.name == name)
    }

    /// Puts secrets in force that were read again.
    pub fn replace_secrets(&self, secrets: Vec<Secrets>) {
        for (endpoint, secrets) in self.0.iter().zip(secrets) {
            endpoint.secrets.store(Arc::new(secrets));
        }
    }

    /// Reads the secrets of all endpoints again, as their files are now.
    pub fn read_secrets(&self) -> Result<Vec<Secrets>, Unusable> {
        self.endpoints().map(|endpoint| endpoint.settings.secrets()).collect()
    }

    /// Shows in the metrics how each endpoint is.
    pub fn observe(&self, now: Timestamp) {
        for endpoint in self.endpoints() {
            let status = endpoint.status.lock();
            let Status { parked_at, waiting, .. } = *status;
            endpoint.count.observe(parked_at.is_some(), waiting, status.lag_seconds(now));
        }
    }

    /// The batch from which the endpoints still need the journal; None without endpoints.
    pub fn needs_from(&self) -> Option<Epoch> {
        self.endpoints().map(|endpoint| endpoint.saved_epoch.load(Ordering::Acquire).max(1)).min()
    }
}
