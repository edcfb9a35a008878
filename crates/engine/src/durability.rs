//! Tracks which epochs are on disk, and wakes those that wait.
//!
//! Invariant: the durable epoch only grows, and never changes again once the journal has failed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Number of a batch: the first is 1. As the moment of a change: the batch that the change went into; 0 is "at once".
pub(crate) type Epoch = u64;

/// Called once per commit and at failure, on the journal's thread: it must only wake somebody.
pub type Listener = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub struct Durability {
    durable: AtomicU64,
    failed: AtomicBool,
    listeners: Mutex<Vec<Listener>>,
}

/// Whether a change is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    Yes,
    NotYet,
    /// The journal failed first: the outcome is unknown until the next start reads the disk.
    Unknown,
}

impl Durability {
    pub fn at(epoch: Epoch) -> Self {
        Self { durable: AtomicU64::new(epoch), ..Self::default() }
    }

    pub fn epoch(&self) -> Epoch {
        self.durable.load(Ordering::Acquire)
    }

    pub fn of(&self, epoch: Epoch) -> Durable {
        if epoch <= self.epoch() {
            Durable::Yes
        } else if self.failed() {
            Durable::Unknown
        } else {
            Durable::NotYet
        }
    }

    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub fn subscribe(&self, listener: Listener) {
        self.listeners.lock().push(listener);
    }

    pub fn publish(&self, epoch: Epoch) {
        assert!(!self.failed(), "nothing is durable after a failed sync");
        let before = self.durable.swap(epoch, Ordering::AcqRel);
        assert!(before < epoch, "durable epochs grow");
        self.wake();
    }

    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        self.listeners.lock().iter().for_each(|listener| listener());
    }
}
