//! Where write-behind stands, cheap to read for metrics and probes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;

/// Each value is right by itself; two of them may be of different moments.
#[derive(Debug, Default)]
pub struct StoreStatus {
    applied_epoch: AtomicU64,
    rows_total: AtomicU64,
    windows_total: AtomicU64,
    failures_total: AtomicU64,
    last_error: Mutex<Option<Arc<str>>>,
}

impl StoreStatus {
    /// The last epoch that is durable in the store: the journal may forget it. 0 until the store was first reached.
    pub fn applied_epoch(&self) -> u64 {
        self.applied_epoch.load(Relaxed)
    }

    /// Rows inserted or updated since the start.
    pub fn rows_total(&self) -> u64 {
        self.rows_total.load(Relaxed)
    }

    /// Transactions committed since the start.
    pub fn windows_total(&self) -> u64 {
        self.windows_total.load(Relaxed)
    }

    /// Steps that failed since the start.
    pub fn failures_total(&self) -> u64 {
        self.failures_total.load(Relaxed)
    }

    /// What the last step failed with; None when it went well.
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.last_error.lock().clone()
    }

    pub(super) fn reached(&self, epoch: u64) {
        self.applied_epoch.store(epoch, Relaxed);
    }

    pub(super) fn applied(&self, epoch: u64, rows: u64) {
        self.reached(epoch);
        self.rows_total.fetch_add(rows, Relaxed);
        self.windows_total.fetch_add(1, Relaxed);
    }

    pub(super) fn went_well(&self) {
        self.last_error.lock().take();
    }

    pub(super) fn failed(&self, error: &dyn std::fmt::Display) {
        self.failures_total.fetch_add(1, Relaxed);
        *self.last_error.lock() = Some(error.to_string().into());
    }
}
