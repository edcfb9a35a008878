//! The state of write-behind, cheap to read for metrics and probes.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;

use super::error::StoreError;

/// How write-behind fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreState {
    /// Not reached yet since the start.
    Connecting,
    /// The last step went well.
    Following,
    /// The last step failed in a way that may pass by itself; it is tried again.
    Away,
    /// The last step failed and somebody has to look; it is tried again, seldom.
    Stuck,
    /// Another process writes the store. This one does not, until it is restarted.
    Fenced,
    /// The journal makes no sense. Nothing is written until a restart.
    Ended,
}

impl StoreState {
    pub const ALL: [Self; 6] = [Self::Connecting, Self::Following, Self::Away, Self::Stuck, Self::Fenced, Self::Ended];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Following => "following",
            Self::Away => "away",
            Self::Stuck => "stuck",
            Self::Fenced => "fenced",
            Self::Ended => "ended",
        }
    }

    fn after(error: &StoreError) -> Self {
        match error {
            StoreError::Fenced { .. } => Self::Fenced,
            _ if error.ends_following() => Self::Ended,
            _ if error.is_final() => Self::Stuck,
            _ => Self::Away,
        }
    }
}

/// Each value is right by itself; two of them may be of different moments.
#[derive(Debug, Default)]
pub struct StoreStatus {
    /// A place in `StoreState::ALL`.
    state: AtomicU8,
    applied_epoch: AtomicU64,
    rows_total: AtomicU64,
    windows_total: AtomicU64,
    failures_total: AtomicU64,
    last_error: Mutex<Option<Arc<str>>>,
}

impl StoreStatus {
    pub fn state(&self) -> StoreState {
        StoreState::ALL[usize::from(self.state.load(Relaxed))]
    }

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
        self.set(StoreState::Following);
        self.last_error.lock().take();
    }

    pub(super) fn failed(&self, error: &StoreError) {
        self.set(StoreState::after(error));
        self.failures_total.fetch_add(1, Relaxed);
        *self.last_error.lock() = Some(error.explained().into());
    }

    fn set(&self, state: StoreState) {
        self.state.store(state as u8, Relaxed);
    }
}
