//! The journal and the store: how fast, how full, how far behind.

use metrics::{Counter, Gauge, Histogram};

use super::Maker;
use crate::{engine::Epoch, journal::CommitStats, store::StoreState};

pub struct Journal {
    write_seconds: Histogram,
    sync_seconds: Histogram,
    batch_bytes: Histogram,
    bytes: Counter,
    batches: Counter,
    durable_epoch: Gauge,
    failed: Gauge,
    snapshots: Counter,
    snapshot_bytes: Gauge,
    snapshot_seconds: Gauge,
    erasure_pending_seconds: Gauge,
}

impl Journal {
    pub(super) fn new(make: &Maker) -> Self {
        let counter = |name, help| make.counter(name, help, &[]);
        let gauge = |name, help| make.gauge(name, help, &[]);
        let histogram = |name, help| make.histogram(name, help, &[]);
        Self {
            write_seconds: histogram("doorbuster_journal_write_seconds", "Seconds to write a batch."),
            sync_seconds: histogram("doorbuster_journal_sync_seconds", "Seconds to make a batch durable (fdatasync)."),
            batch_bytes: histogram("doorbuster_journal_batch_bytes", "Bytes of events in a batch."),
            bytes: counter("doorbuster_journal_bytes_total", "Bytes appended to the journal, frames included."),
            batches: counter("doorbuster_journal_batches_total", "Batches that were made durable."),
            durable_epoch: gauge("doorbuster_journal_durable_epoch", "The last epoch that is on disk."),
            failed: gauge("doorbuster_journal_failed", "1 when a write or sync failed and the service is stopping."),
            snapshots: counter("doorbuster_snapshots_total", "Snapshots that were finished."),
            snapshot_bytes: gauge("doorbuster_snapshot_bytes", "Bytes of the last snapshot."),
            snapshot_seconds: gauge("doorbuster_snapshot_duration_seconds", "Seconds the last snapshot took."),
            erasure_pending_seconds: gauge(
                "doorbuster_erasure_pending_seconds",
                "Seconds since the oldest erasure of a customer whom the journal may still name; 0 when there is none.",
            ),
        }
    }

    pub fn committed(&self, epoch: Epoch, stats: &CommitStats) {
        self.write_seconds.record(stats.write);
        self.sync_seconds.record(stats.sync);
        self.batch_bytes.record(stats.payload_bytes as f64);
        self.bytes.increment(stats.frame_bytes);
        self.batches.increment(1);
        self.durable_epoch.set(epoch as f64);
    }

    pub fn failed(&self) {
        self.failed.set(1.0);
    }

    pub fn erasures_pending(&self, seconds: f64) {
        self.erasure_pending_seconds.set(seconds);
    }

    pub fn snapshot_taken(&self, bytes: u64, seconds: f64) {
        self.snapshots.increment(1);
        self.snapshot_bytes.set(bytes as f64);
        self.snapshot_seconds.set(seconds);
    }
}

pub struct Store {
    applied_epoch: Gauge,
    lag_epochs: Gauge,
    lag_seconds: Gauge,
    backlog_bytes: Gauge,
    backlog_full: Gauge,
    rows: Counter,
    up: Gauge,
    states: [Gauge; StoreState::ALL.len()],
}

/// Where the store stands against the journal.
#[derive(Debug, Clone, Copy)]
pub struct StoreLag {
    pub applied_epoch: Epoch,
    pub epochs: u64,
    pub seconds: f64,
    pub bytes: u64,
    pub backlog_full: bool,
    pub rows_total: u64,
    pub up: bool,
    pub state: StoreState,
}

impl Store {
    pub(super) fn new(make: &Maker) -> Self {
        let gauge = |name, help| make.gauge(name, help, &[]);
        Self {
            applied_epoch: gauge("doorbuster_store_applied_epoch", "The last epoch that is in the store."),
            lag_epochs: gauge("doorbuster_store_lag_epochs", "Durable epochs that are not yet in the store."),
            lag_seconds: gauge("doorbuster_store_lag_seconds", "Seconds since the store last had everything."),
            backlog_bytes: gauge("doorbuster_store_backlog_bytes", "Bytes of journal that the store has not applied."),
            backlog_full: gauge(
                "doorbuster_store_backlog_full",
                "1 when new reservations are refused for the backlog.",
            ),
            rows: make.counter("doorbuster_store_rows_total", "Rows written to the store.", &[]),
            up: gauge("doorbuster_store_up", "1 when the store's last transaction succeeded."),
            states: StoreState::ALL.map(|state| {
                let help = "1 for the state that following the journal into the store is in, 0 for the others.";
                make.gauge("doorbuster_store_state", help, &[("state", state.as_str())])
            }),
        }
    }

    pub fn observe(&self, lag: &StoreLag) {
        self.applied_epoch.set(lag.applied_epoch as f64);
        self.lag_epochs.set(lag.epochs as f64);
        self.lag_seconds.set(lag.seconds);
        self.backlog_bytes.set(lag.bytes as f64);
        self.backlog_full.set(f64::from(u8::from(lag.backlog_full)));
        self.rows.absolute(lag.rows_total);
        self.up.set(f64::from(u8::from(lag.up)));
        for (gauge, state) in self.states.iter().zip(StoreState::ALL) {
            gauge.set(f64::from(u8::from(state == lag.state)));
        }
    }
}
