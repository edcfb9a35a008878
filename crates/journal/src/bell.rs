//! Wakes the committing thread, and tracks how busy its callers are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam::sync::{Parker, Unparker};

/// So many answers that wait for one commit are a crowd.
pub(super) const CROWD: usize = 16;

/// Wakes the thread for a change that can be cut. A wake-up is never lost: one that comes while the thread is awake keeps it
/// from sleeping the next time. It costs one atomic swap then, and a system call only when the thread sleeps.
#[derive(Clone)]
pub struct Bell {
    unparker: Unparker,
    /// Wakes the thread while it lets a batch gather, which a ring does not.
    gathering: Unparker,
    stopping: Arc<AtomicBool>,
    turning: Arc<AtomicBool>,
    callers: Arc<Callers>,
}

/// What is known of those who ring. Nothing is ordered by these: when one is read too early, a batch gathers for a moment,
/// or not, and that is all.
#[derive(Default)]
struct Callers {
    /// Answers that began to wait since this was last looked at.
    waiting: AtomicUsize,
    /// Threads that say when they have nothing to do.
    threads: AtomicUsize,
    /// Those that have nothing to do.
    asleep: AtomicUsize,
    /// A batch gathers until that is all of them.
    awaited: AtomicBool,
}

impl Bell {
    pub(super) fn new(parker: &Parker, gathering: &Parker) -> Bell {
        let (unparker, gathering) = (parker.unparker().clone(), gathering.unparker().clone());
        Bell { unparker, gathering, stopping: Arc::default(), turning: Arc::default(), callers: Arc::default() }
    }

    /// There is something to cut.
    pub fn ring(&self) {
        self.unparker.unpark();
    }

    /// There is something to cut, and so many answers more wait for it.
    pub fn ring_for(&self, answers: usize) {
        self.callers.waiting.fetch_add(answers, Ordering::Relaxed);
        self.ring();
    }

    /// The thread that is begun will say when it has nothing to do. One that has ended counts as busy.
    pub fn joins(&self) {
        self.callers.threads.fetch_add(1, Ordering::Relaxed);
    }

    /// A thread that joined has nothing to do from now on.
    pub fn falls_asleep(&self) {
        self.callers.asleep.fetch_add(1, Ordering::Relaxed);
        if self.callers.awaited.load(Ordering::Relaxed) && self.is_everybody_asleep() {
            self.gathering.unpark();
        }
    }

    /// A thread that had nothing to do goes on.
    pub fn wakes_up(&self) {
        self.callers.asleep.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether many requests began to wait since the last call, while all calling threads are busy.
    pub(super) fn is_crowded(&self) -> bool {
        let waiting = self.callers.waiting.swap(0, Ordering::Relaxed);
        waiting >= CROWD && self.callers.asleep.load(Ordering::Relaxed) == 0
    }

    pub(super) fn is_everybody_asleep(&self) -> bool {
        self.callers.asleep.load(Ordering::Relaxed) >= self.callers.threads.load(Ordering::Relaxed)
    }

    /// Whether a batch gathers until everybody is asleep.
    pub(super) fn await_everybody(&self, awaited: bool) {
        self.callers.awaited.store(awaited, Ordering::Relaxed);
    }

    /// Asks the thread to commit the remaining changes, seal the journal, and return. Nothing should add changes any more.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.gathering.unpark();
        self.ring();
    }

    /// Asks for a new segment for every batch from now on, so that the segments of durable batches can be deleted.
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
