//! Answers that wait for the disk, on one worker.
//!
//! The journal wakes the worker once per commit, and the worker wakes its waiting requests in order. Waking each from another
//! thread would cost a system call each.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::sync::Notify;

use crate::engine::{Durable, Engine, Epoch};

/// The journal failed before the change was on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutcomeUnknown;

pub(super) struct Waiters {
    engine: Arc<Engine>,
    waiting: RefCell<VecDeque<(Epoch, Waker)>>,
}

impl Waiters {
    /// The waiters of the calling thread's worker; must be called inside its `LocalSet`.
    pub(super) fn start(engine: Arc<Engine>) -> Rc<Self> {
        let waiters = Rc::new(Self { engine, waiting: RefCell::default() });
        let commit = Arc::new(Notify::new());
        let notify = commit.clone();
        waiters.engine.durability().subscribe(Box::new(move || notify.notify_one()));
        let woken = waiters.clone();
        tokio::task::spawn_local(async move {
            loop {
                commit.notified().await;
                woken.wake();
            }
        });
        waiters
    }

    /// Answers that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Resolves when the epoch is durable, or never will be.
    pub(super) fn durable(&self, epoch: Epoch) -> impl Future<Output = Result<(), OutcomeUnknown>> {
        Wait { waiters: self, epoch, queued: false }
    }

    fn wake(&self) {
        let durability = self.engine.durability();
        // One pass over the waiters that are there now; most of them wait for this very commit.
        let mut waiting = self.waiting.borrow_mut();
        for _ in 0..waiting.len() {
            let (epoch, waker) = waiting.pop_front().expect("counted");
            match durability.of(epoch) {
                Durable::NotYet => waiting.push_back((epoch, waker)),
                Durable::Yes | Durable::Unknown => waker.wake(),
            }
        }
    }
}

struct Wait<'a> {
    waiters: &'a Waiters,
    epoch: Epoch,
    queued: bool,
}

impl Future for Wait<'_> {
    type Output = Result<(), OutcomeUnknown>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.waiters.engine.durability().of(self.epoch) {
            Durable::Yes => Poll::Ready(Ok(())),
            Durable::Unknown => Poll::Ready(Err(OutcomeUnknown)),
            Durable::NotYet => {
                // Polled again before its commit, by another wake of the task. It is already in the queue with this waker: a
                // task's waker does not change on a worker.
                if !self.queued {
                    self.queued = true;
                    self.waiters.waiting.borrow_mut().push_back((self.epoch, context.waker().clone()));
                }
                Poll::Pending
            }
        }
    }
}
