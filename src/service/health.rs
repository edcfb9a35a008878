//! The answers to probes and scrapers.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU8, Ordering},
};

use serde_json::{Value, json};

use super::{backlog::Backlog, disk::DiskSpace, lag::CommitTimes};
use crate::{
    clock::monotonic,
    engine::Engine,
    http::Health,
    store::StoreStatus,
    telemetry::{StoreLag, Telemetry},
};

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

pub(super) struct ServiceHealth {
    telemetry: Arc<Telemetry>,
    state: AtomicU8,
    parts: OnceLock<Parts>,
}

/// What there is once recovery is complete.
struct Parts {
    engine: Arc<Engine>,
    store: Arc<StoreStatus>,
    /// `sqlite` or `postgres`.
    store_kind: &'static str,
    backlog: Arc<Backlog>,
    disk: Arc<DiskSpace>,
    commit_times: Arc<CommitTimes>,
}

impl ServiceHealth {
    pub(super) fn new(telemetry: Arc<Telemetry>) -> Self {
        Self { telemetry, state: AtomicU8::new(STARTING), parts: OnceLock::new() }
    }

    pub(super) fn attach(
        &self,
        engine: Arc<Engine>,
        store: Arc<StoreStatus>,
        store_kind: &'static str,
        backlog: Arc<Backlog>,
        disk: Arc<DiskSpace>,
        commit_times: Arc<CommitTimes>,
    ) {
        let _ = self.parts.set(Parts { engine, store, store_kind, backlog, disk, commit_times });
    }

    pub(super) fn set_ready(&self) {
        self.state.store(READY, Ordering::Release);
    }

    pub(super) fn set_draining(&self) {
        self.state.store(DRAINING, Ordering::Release);
    }

    /// Which store it is.
    pub(super) fn store_kind(&self) -> Option<&'static str> {
        self.parts.get().map(|parts| parts.store_kind)
    }

    /// Whether the journal's disk has too little room for new reservations.
    pub(super) fn disk_low(&self) -> Option<bool> {
        self.parts.get().map(|parts| parts.engine.disk_low())
    }

    /// By how many milliseconds the machine's clock is ahead of the service's time while that is not settled.
    pub(super) fn clock_doubt(&self) -> Option<i64> {
        self.parts.get().map(|parts| parts.engine.clock_doubt())
    }

    /// Where the store stands now.
    pub(super) fn store_lag(&self) -> Option<StoreLag> {
        let Parts { engine, store, backlog, commit_times, .. } = self.parts.get()?;
        // In this order: what is applied meanwhile must not count as missing.
        let durable = engine.durability().epoch();
        let applied_epoch = store.applied_epoch();
        Some(StoreLag {
            applied_epoch,
            epochs: durable.saturating_sub(applied_epoch),
            seconds: commit_times.lag_seconds(applied_epoch, durable, monotonic()),
            bytes: backlog.bytes(),
            backlog_full: engine.backlog_full(),
            rows_total: store.rows_total(),
            transactions_total: store.windows_total(),
            failures_total: store.failures_total(),
            up: store.last_error().is_none(),
            state: store.state(),
        })
    }
}

impl Health for ServiceHealth {
    fn ready(&self) -> (bool, Value) {
        let state = self.state.load(Ordering::Acquire);
        let (Some(parts), Some(lag)) = (self.parts.get(), self.store_lag()) else {
            return (false, json!({ "status": "starting" }));
        };
        let failed = parts.engine.durability().failed();
        let status = match state {
            _ if failed => "failed",
            READY => "ready",
            DRAINING => "draining",
            _ => "starting",
        };
        let details = json!({
            "status": status,
            "journal": {
                "durable_epoch": parts.engine.durability().epoch(),
                "failed": failed,
                "disk_available_bytes": parts.disk.available_bytes(),
                "disk_reserve_bytes": parts.disk.reserve_bytes(),
                "disk_low": parts.engine.disk_low(),
            },
            "store": {
                "kind": parts.store_kind,
                "state": parts.store.state().as_str(),
                "up": lag.up,
                "applied_epoch": lag.applied_epoch,
                "lag_epochs": lag.epochs,
                "lag_seconds": lag.seconds,
                "backlog_bytes": lag.bytes,
                "backlog_full": lag.backlog_full,
                "last_error": parts.store.last_error().as_deref(),
            },
        });
        (status == "ready", details)
    }

    fn metrics(&self) -> String {
        if let Some(lag) = self.store_lag() {
            self.telemetry.store.observe(&lag);
        }
        self.telemetry.render()
    }
}
