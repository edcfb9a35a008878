//! What all threads of requests share.

use std::sync::{Arc, atomic::AtomicBool};

use arc_swap::ArcSwap;

use super::{Limits, Names, Rates, figures::FigureCache, refusal_counts::RefusalCounts};
use crate::{
    auth::Keyring,
    clock::{Clock, Monotonic},
    engine::Engine,
    events::Events,
    journal::CommitSignal,
    pace::Paces,
    privacy::CustomerIds,
    reports::Reports,
    sale::time::Timestamp,
    telemetry::Telemetry,
    webhooks::Webhooks,
};

pub struct Service {
    pub engine: Arc<Engine>,
    /// Wakes the journal's writer for a commit.
    pub signal: CommitSignal,
    pub clock: Arc<dyn Clock>,
    pub telemetry: Arc<Telemetry>,
    pub limits: Limits,
    /// The keys in force; replaced as a whole.
    pub keyring: ArcSwap<Keyring>,
    pub rates: Rates<Monotonic>,
    /// Tiers and channels.
    pub names: Names,
    /// How the service identifies customers.
    pub customer_ids: CustomerIds,
    /// Figures of the service, for the status call.
    pub figures: FigureCache,
    /// The feed of events.
    pub events: Events,
    pub reports: Reports,
    /// How fast items sell.
    pub paces: Paces,
    /// Endpoints that are sent events.
    pub webhooks: Arc<Webhooks>,
    /// Refused reserves of each sale.
    pub refusals: RefusalCounts,
    /// Set when the service is stopping: it then refuses new requests.
    pub draining: AtomicBool,
}

impl Service {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
