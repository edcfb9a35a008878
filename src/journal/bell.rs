//! Wakes the committing thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::sync::{Parker, Unparker};

/// Rung by whoever has something to commit, after it can be cut. A ring is never lost: one that comes while the thread is
/// awake keeps it from going to sleep the next time. It costs one atomic swap then, and a system call only when the
/// thread sleeps.
#[derive(Clone)]
pub struct Bell {
    unparker: Unparker,
    stopping: Arc<AtomicBool>,
    turning: Arc<AtomicBool>,
}

impl Bell {
    pub(super) fn new(parker: &Parker) -> Bell {
        Bell { unparker: parker.unparker().clone(), stopping: Arc::default(), turning: Arc::default() }
    }

    /// There is something to cut.
    pub fn ring(&self) {
        self.unparker.unpark();
    }

    /// Asks the thread to commit what is there, seal the journal, and return. Whatever feeds the source should have ended.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.ring();
    }

    /// Asks for every batch that is cut from now on to stand in another segment than those that are durable already, so that
    /// they can be removed.
    pub fn turn_over(&self) {
        self.turning.store(true, Ordering::Release);
    }

    pub(super) fn take_turn(&self) -> bool {
        self.turning.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
