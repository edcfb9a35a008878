//! Notifies the committing thread, and tracks how busy its callers are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam::sync::{Parker, Unparker};

/// So many answers that began to wait for one commit mean that processors are contended.
pub(crate) const CONTENDED_ANSWERS: usize = 16;

/// Notifies the committing thread of a change that can be cut. No notification is lost: one that comes while the thread works
/// keeps it from waiting the next time. It costs one atomic swap then, and a system call only when the thread waits.
#[derive(Clone)]
pub struct CommitSignal {
    unparker: Unparker,
    /// Wakes the thread while it lets a batch gather, which a notification does not.
    gathering: Unparker,
    stopping: Arc<AtomicBool>,
    callers: Arc<CallerActivity>,
}

/// What is known of the threads that notify. Nothing is ordered by these: when one is read too early, a batch gathers for a
/// moment, or not, and that is all.
#[derive(Default)]
struct CallerActivity {
    /// Answers that began to wait since this was last read.
    waiting_answers: AtomicUsize,
    /// Threads that say when they are idle.
    threads: AtomicUsize,
    idle_threads: AtomicUsize,
    /// A batch gathers until all of them are idle.
    idleness_awaited: AtomicBool,
}

impl CommitSignal {
    pub(crate) fn new(parker: &Parker, gathering: &Parker) -> CommitSignal {
        let (unparker, gathering) = (parker.unparker().clone(), gathering.unparker().clone());
        CommitSignal { unparker, gathering, stopping: Arc::default(), callers: Arc::default() }
    }

    /// There is something to cut.
    pub fn notify(&self) {
        self.unparker.unpark();
    }

    /// There is something to cut, and so many more answers wait for it.
    pub fn notify_for(&self, answers: usize) {
        self.callers.waiting_answers.fetch_add(answers, Ordering::Relaxed);
        self.notify();
    }

    /// A calling thread starts that will say when it is idle. One that has ended counts as busy.
    pub fn thread_started(&self) {
        self.callers.threads.fetch_add(1, Ordering::Relaxed);
    }

    /// A thread that has started is idle from now on.
    pub fn thread_idle(&self) {
        self.callers.idle_threads.fetch_add(1, Ordering::Relaxed);
        if self.callers.idleness_awaited.load(Ordering::Relaxed) && self.are_all_idle() {
            self.gathering.unpark();
        }
    }

    /// A thread that was idle is busy from now on.
    pub fn thread_busy(&self) {
        self.callers.idle_threads.fetch_sub(1, Ordering::Relaxed);
    }

    /// Asks the committing thread to commit the remaining changes, seal the log, and return. Nothing should add changes any more.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.gathering.unpark();
        self.notify();
    }

    /// Whether many answers began to wait since the last call, while all calling threads are busy.
    pub(crate) fn is_contended(&self) -> bool {
        let waiting = self.callers.waiting_answers.swap(0, Ordering::Relaxed);
        waiting >= CONTENDED_ANSWERS && self.callers.idle_threads.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn are_all_idle(&self) -> bool {
        self.callers.idle_threads.load(Ordering::Relaxed) >= self.callers.threads.load(Ordering::Relaxed)
    }

    /// Whether a batch gathers until all calling threads are idle.
    pub(crate) fn await_idleness(&self, awaited: bool) {
        self.callers.idleness_awaited.store(awaited, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
