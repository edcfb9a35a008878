//! The journal and the store: how fast, how full, how far behind.

use metrics::{Counter, Gauge, Histogram};

use super::{Maker, families};
use crate::{engine::Epoch, journal::CommitStats, store::StoreState};

pub struct Journal {
    write_seconds: Histogram,
    sync_seconds: Histogram,
    batch_bytes: Histogram,
    bytes: Counter,
    batches: Counter,
    durable_epoch: Gauge,
    failed: Gauge,
    disk_available_bytes: Gauge,
    disk_reserve_bytes: Gauge,
    disk_low: Gauge,
    snapshots: Counter,
    snapshot_bytes: Gauge,
    snapshot_seconds: Gauge,
    erasure_pending_seconds: Gauge,
}

impl Journal {
    pub(super) fn new(make: &Maker) -> Self {
        let counter = |family| make.counter(family, &[]);
        let gauge = |family| make.gauge(family, &[]);
        let histogram = |family| make.histogram(family, &[]);
        Self {
            write_seconds: histogram(&families::JOURNAL_WRITE),
            sync_seconds: histogram(&families::JOURNAL_SYNC),
            batch_bytes: histogram(&families::JOURNAL_BATCH_BYTES),
            bytes: counter(&families::JOURNAL_BYTES),
            batches: counter(&families::JOURNAL_BATCHES),
            durable_epoch: gauge(&families::JOURNAL_DURABLE_EPOCH),
            failed: gauge(&families::JOURNAL_FAILED),
            disk_available_bytes: gauge(&families::JOURNAL_DISK_AVAILABLE),
            disk_reserve_bytes: gauge(&families::JOURNAL_DISK_RESERVE),
            disk_low: gauge(&families::JOURNAL_DISK_LOW),
            snapshots: counter(&families::SNAPSHOTS),
            snapshot_bytes: gauge(&families::SNAPSHOT_BYTES),
            snapshot_seconds: gauge(&families::SNAPSHOT_DURATION),
            erasure_pending_seconds: gauge(&families::ERASURE_PENDING),
        }
    }

    pub fn committed(&self, epoch: Epoch, stats: &CommitStats) {
        self.write_seconds.record(stats.write);
        self.sync_seconds.record(stats.sync);
        self.batch_bytes.record(stats.payload_bytes as f64);
        self.bytes.increment(stats.stored_bytes);
        self.batches.increment(1);
        self.durable_epoch.set(epoch as f64);
    }

    pub fn failed(&self) {
        self.failed.set(1.0);
    }

    pub fn disk(&self, available_bytes: u64, reserve_bytes: u64, low: bool) {
        self.disk_available_bytes.set(available_bytes as f64);
        self.disk_reserve_bytes.set(reserve_bytes as f64);
        self.disk_low.set(f64::from(u8::from(low)));
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

/// The machine's clock against the service's time.
pub struct Clock {
    forward: Counter,
    backward: Counter,
    offset_seconds: Gauge,
}

impl Clock {
    pub(super) fn new(make: &Maker) -> Self {
        let jumps = |direction| make.counter(&families::CLOCK_JUMPS, &[direction]);
        let offset_seconds = make.gauge(&families::CLOCK_OFFSET, &[]);
        Self { forward: jumps("forward"), backward: jumps("backward"), offset_seconds }
    }

    /// It was set by so many milliseconds.
    pub fn jumped(&self, by: i64) {
        (if by > 0 { &self.forward } else { &self.backward }).increment(1);
    }

    pub fn ahead(&self, millis: i64) {
        self.offset_seconds.set(millis as f64 / 1000.0);
    }
}

pub struct Store {
    applied_epoch: Gauge,
    lag_epochs: Gauge,
    lag_seconds: Gauge,
    backlog_bytes: Gauge,
    backlog_full: Gauge,
    rows: Counter,
    transactions: Counter,
    failures: Counter,
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
    pub transactions_total: u64,
    pub failures_total: u64,
    pub up: bool,
    pub state: StoreState,
}

impl Store {
    pub(super) fn new(make: &Maker) -> Self {
        let counter = |family| make.counter(family, &[]);
        let gauge = |family| make.gauge(family, &[]);
        Self {
            applied_epoch: gauge(&families::STORE_APPLIED_EPOCH),
            lag_epochs: gauge(&families::STORE_LAG_EPOCHS),
            lag_seconds: gauge(&families::STORE_LAG),
            backlog_bytes: gauge(&families::STORE_BACKLOG),
            backlog_full: gauge(&families::STORE_BACKLOG_FULL),
            rows: counter(&families::STORE_ROWS),
            transactions: counter(&families::STORE_TRANSACTIONS),
            failures: counter(&families::STORE_FAILURES),
            up: gauge(&families::STORE_UP),
            states: StoreState::ALL.map(|state| make.gauge(&families::STORE_STATE, &[state.as_str()])),
        }
    }

    pub fn observe(&self, lag: &StoreLag) {
        self.applied_epoch.set(lag.applied_epoch as f64);
        self.lag_epochs.set(lag.epochs as f64);
        self.lag_seconds.set(lag.seconds);
        self.backlog_bytes.set(lag.bytes as f64);
        self.backlog_full.set(f64::from(u8::from(lag.backlog_full)));
        self.rows.absolute(lag.rows_total);
        self.transactions.absolute(lag.transactions_total);
        self.failures.absolute(lag.failures_total);
        self.up.set(f64::from(u8::from(lag.up)));
        for (gauge, state) in self.states.iter().zip(StoreState::ALL) {
            gauge.set(f64::from(u8::from(state == lag.state)));
        }
    }
}
