//! Threads that compete, and a service whose commits have a thread of their own.

use std::{
    ops::Deref,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use doorbuster::{
    engine::{Durable, Engine, Made, Settings},
    journal::{AppendError, CommitSignal, files::MemoryStorage},
    sale::{command::Reserve, ids::ReservationId, outcome::Refusal, settings::SaleSettings, time::Timestamp},
};

use super::{OPENING, ask, counts, dice::scramble, harness::Harness, without_holds};

pub const THREADS: u64 = 4;

/// A watched test goes on until the watcher, who needs all locks at once, has looked this often, or for so many turns.
pub const LOOKS: u64 = 30;
pub const TURNS_MOST: u64 = 100_000;

/// A service whose committer runs on a thread of its own.
pub struct Running {
    pub engine: Arc<Engine>,
    storage: MemoryStorage,
    signal: CommitSignal,
    committing: JoinHandle<Result<(), AppendError>>,
    drawn: AtomicU64,
}

impl Deref for Running {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Running {
    pub fn start(shards: usize, sale: &SaleSettings) -> Self {
        let mut harness = Harness::with_shards(shards);
        harness.put(sale);
        let Harness { storage, engine, committer, .. } = harness;
        let signal = committer.signal();
        let committing = thread::spawn(move || committer.run());
        Self { engine, storage, signal, committing, drawn: AtomicU64::new(1 << 60) }
    }

    /// Refusals for stock come without what they say of holds.
    pub fn ask(&self, now: Timestamp, asked: &Reserve<'_>) -> Result<Made, Refusal> {
        let entropy = scramble(self.drawn.fetch_add(1, Ordering::Relaxed));
        let answer = self.engine.reserve(now, asked, entropy);
        self.signal.notify();
        without_holds(answer.value)
    }

    pub fn reserve(&self, now: Timestamp, customer: &str, lines: &[(&str, u32)]) -> Result<ReservationId, Refusal> {
        self.ask(now, &ask::reserve("drop", customer, lines)).map(|made| made.reservation.id)
    }

    pub fn counts(&self, sku: &str) -> (u64, u64, u64) {
        counts(&self.engine, "drop", sku)
    }

    /// Ends the service; what comes back from its journal must be what it was.
    pub fn stop(self) {
        self.signal.stop();
        self.committing.join().expect("the committer does not panic").expect("the storage works");
        let digest = self.engine.digest();
        let latest = self.engine.levels().latest_epoch;
        assert_eq!(self.engine.durability().of(latest), Durable::Yes, "all is durable at the end");
        let again = Harness::open(self.storage, Settings { shards: 3, ..Settings::default() }, OPENING).unwrap();
        assert_eq!(again.engine.digest(), digest);
    }
}

/// Does its last act also when the thread panics, so that nobody waits for it for ever.
pub struct Finally<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs `work` on each of `THREADS` threads from the same instant on, and `watch` over and over until all are done.
pub fn together<T: Send>(work: impl Fn(u64) -> T + Sync, mut watch: impl FnMut()) -> Vec<T> {
    let (start, running) = (Barrier::new(THREADS as usize + 1), AtomicU64::new(THREADS));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (work, start, running) = (&work, &start, &running);
                scope.spawn(move || {
                    let _done = Finally(|| {
                        running.fetch_sub(1, Ordering::AcqRel);
                    });
                    start.wait();
                    work(number)
                })
            })
            .collect();
        start.wait();
        while running.load(Ordering::Acquire) > 0 {
            watch();
            thread::yield_now();
        }
        workers.into_iter().map(|worker| worker.join().expect("no worker panics")).collect()
    })
}
