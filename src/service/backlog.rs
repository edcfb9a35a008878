//! Measures how much journal the store has yet to apply, and refuses new reservations past the limit.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use parking_lot::Mutex;

use crate::{
    engine::{Engine, Epoch},
    journal::CommitStats,
};

/// Bytes of journal between the store and the tail.
pub struct Backlog {
    engine: Arc<Engine>,
    bytes_max: u64,
    /// Appended to the journal less applied by the store. After a seek of the store it is too much by what the journal leaves
    /// unused, and by what was appended during the measurement, until the store has everything.
    bytes: AtomicI64,
    end: Mutex<End>,
}

/// Where the journal ends, and how much was appended in this run until there.
#[derive(Debug, Clone, Copy)]
pub struct End {
    epoch: Epoch,
    appended_total: u64,
}

impl Backlog {
    pub fn new(engine: Arc<Engine>, bytes_max: u64) -> Self {
        let end = Mutex::new(End { epoch: engine.durability().epoch(), appended_total: 0 });
        Self { engine, bytes_max, bytes: AtomicI64::new(0), end }
    }

    pub fn bytes(&self) -> u64 {
        u64::try_from(self.bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Bytes appended to the journal in this run.
    pub fn appended_total(&self) -> u64 {
        self.end.lock().appended_total
    }

    pub fn end(&self) -> End {
        *self.end.lock()
    }

    pub fn appended(&self, epoch: Epoch, stats: &CommitStats) {
        let mut end = self.end.lock();
        *end = End { epoch, appended_total: end.appended_total + stats.stored_bytes };
        self.bytes.fetch_add(signed(stats.stored_bytes), Ordering::Relaxed);
        drop(end);
        self.judge();
    }

    /// So many bytes more are in the store, which has everything up to `epoch`.
    pub fn applied(&self, bytes: u64, epoch: Epoch) {
        let end = self.end();
        if end.epoch == epoch {
            return self.measured(0, &end);
        }
        self.bytes.fetch_sub(signed(bytes), Ordering::Relaxed);
        self.judge();
    }

    /// The store starts anew, so many bytes behind `end`.
    pub fn measured(&self, bytes: u64, end: &End) {
        let now = self.end.lock();
        let appended_since = now.appended_total - end.appended_total;
        self.bytes.store(signed(bytes.saturating_add(appended_since)), Ordering::Relaxed);
        drop(now);
        self.judge();
    }

    fn judge(&self) {
        let full = self.bytes() > self.bytes_max;
        if full != self.engine.backlog_full() {
            self.engine.set_backlog_full(full);
            if full {
                tracing::warn!(
                    bytes = self.bytes(),
                    "the store is too far behind: the service refuses new reservations"
                );
            } else {
                tracing::info!("the store is below the limit again: the service takes reservations");
            }
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
