//! How much journal the store has still to apply, and the refusal when that is too much.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::{
    engine::Engine,
    journal::{CommitStats, Position},
};

/// Bytes of journal between the store and the writer, in frames.
pub struct Backlog {
    engine: Arc<Engine>,
    bytes_max: u64,
    /// Appended by the writer less applied by the store. An estimate: exact again at every seek of the store.
    bytes: AtomicI64,
    appended_total: AtomicU64,
    end: Mutex<Option<Position>>,
}

impl Backlog {
    pub fn new(engine: Arc<Engine>, bytes_max: u64) -> Self {
        Self { engine, bytes_max, bytes: AtomicI64::new(0), appended_total: AtomicU64::new(0), end: Mutex::new(None) }
    }

    pub fn bytes(&self) -> u64 {
        u64::try_from(self.bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Bytes appended to the journal in this run.
    pub fn appended_total(&self) -> u64 {
        self.appended_total.load(Ordering::Relaxed)
    }

    /// Where the last commit of this run ended.
    pub fn end(&self) -> Option<Position> {
        *self.end.lock()
    }

    pub fn appended(&self, stats: &CommitStats) {
        *self.end.lock() = Some(stats.position);
        self.appended_total.fetch_add(stats.frame_bytes, Ordering::Relaxed);
        self.bytes.fetch_add(signed(stats.frame_bytes), Ordering::Relaxed);
        self.judge();
    }

    /// So many bytes more are in the store.
    pub fn applied(&self, bytes: u64) {
        self.bytes.fetch_sub(signed(bytes), Ordering::Relaxed);
        self.judge();
    }

    /// The store starts anew, so many bytes behind.
    pub fn measured(&self, bytes: u64) {
        self.bytes.store(signed(bytes), Ordering::Relaxed);
        self.judge();
    }

    fn judge(&self) {
        let full = self.bytes() > self.bytes_max;
        if full != self.engine.backlog_full() {
            self.engine.set_backlog_full(full);
            if full {
                tracing::warn!(bytes = self.bytes(), "the store is too far behind: no new reservations are taken");
            } else {
                tracing::info!("the store is near enough again: reservations are taken");
            }
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
