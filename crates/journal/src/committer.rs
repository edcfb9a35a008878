//! The commit loop: cuts a batch, makes it durable, reports it.
//!
//! Group commit: the changes that gather while one sync runs are the next batch. Only if many requests wait and the processors
//! are busy does a batch gather for a moment longer, because a commit takes processor time from them. Invariant:
//! [`Source::committed`] is called for each epoch once, in order, after its batch is durable, and never again after
//! [`Source::failed`].

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::sync::Parker;

use super::spare::Spare;
use super::{Bell, CommitStats, Epoch, WriteError, Writer};

/// The source of batches, and the receiver of commit reports.
pub trait Source: Send + Sync {
    /// Takes everything gathered since the last cut, or nothing. The payload goes into the buffer, which comes empty. The
    /// epoch is the one after that of the last cut.
    fn cut(&self, payload: &mut Vec<u8>) -> Option<Epoch>;

    /// This epoch and all before it are durable.
    fn committed(&self, epoch: Epoch, stats: &CommitStats);

    /// The disk failed. Whether the batch that was last cut is on disk is unknown, and nothing later is ever committed.
    fn failed(&self, error: &WriteError);
}

/// How long a batch may gather after a crowded commit: several commits on a disk that syncs in 0.2 ms, and less than half of an
/// answer's wait under full load.
pub const CROWD_INTERVAL: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
pub struct CommitterSettings {
    /// The least time between two commits, if no answer waits for them; `None` commits as fast as the disk can.
    pub flush_interval: Option<Duration>,
    /// The longest time that a batch gathers after a crowded commit; see [`CROWD_INTERVAL`].
    pub crowd_interval: Duration,
    /// How long the journal is idle before it is sealed; see [`Writer::seal`].
    pub seal_after: Duration,
    /// What these are measured with: `Instant::now`, or a simulation's clock.
    pub now: fn() -> Instant,
}

/// The one thread that writes the journal; tests can call its steps by hand.
pub struct Committer<S> {
    source: Arc<S>,
    writer: Writer,
    settings: CommitterSettings,
    parker: Parker,
    /// What the thread sleeps on while a batch gathers.
    gathering: Parker,
    bell: Bell,
    payload: Vec<u8>,
    /// What the last commit found.
    crowded: bool,
}

impl<S: Source> Committer<S> {
    pub fn new(source: Arc<S>, writer: Writer, settings: CommitterSettings) -> Committer<S> {
        let parker = Parker::new();
        let gathering = Parker::new();
        let bell = Bell::new(&parker, &gathering);
        Committer { source, writer, settings, parker, gathering, bell, payload: Vec::new(), crowded: false }
    }

    /// What wakes and what stops [`Committer::run`].
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Commits one batch; whether there was one.
    pub fn step(&mut self) -> Result<bool, WriteError> {
        if self.writer.is_poisoned() {
            return Err(WriteError::Poisoned);
        }
        self.payload.clear();
        let Some(epoch) = self.source.cut(&mut self.payload) else {
            return Ok(false);
        };
        if self.bell.take_turn() {
            self.writer.turn_over();
        }
        let stats = self.writer.append(epoch, &self.payload).inspect_err(|error| self.source.failed(error))?;
        // Looked at before anybody is woken by this commit.
        self.crowded = self.bell.is_crowded();
        self.source.committed(epoch, &stats);
        Ok(true)
    }

    /// Seals the journal; see [`Writer::seal`].
    pub fn seal(&mut self) -> Result<(), WriteError> {
        if self.writer.is_poisoned() {
            return Err(WriteError::Poisoned);
        }
        self.writer.seal().inspect_err(|error| self.source.failed(error))
    }

    /// Commits until it is stopped, or the disk fails. A second thread prepares segments meanwhile.
    pub fn run(self) -> Result<(), WriteError> {
        self.run_prepared(|| {})
    }

    /// As `run`. `prepare`: what the calling thread is to do for itself and not for the second.
    pub fn run_prepared(mut self, prepare: impl FnOnce()) -> Result<(), WriteError> {
        let spare = self.writer.spare();
        thread::scope(|scope| {
            let _closed_at_end = Closing(&spare);
            let named = thread::Builder::new().name("journal-spare".to_owned());
            if let Err(error) = named.spawn_scoped(scope, || spare.work()) {
                tracing::warn!(target: "doorbuster::journal", %error, "could not start the thread that prepares journal segments; commits will wait \
                                        for them");
            }
            prepare();
            self.commit_until_stopped()
        })
    }

    fn commit_until_stopped(&mut self) -> Result<(), WriteError> {
        let mut seal_at = self.seal_time();
        loop {
            // Asked before the step: what was there when the bell said stop is then cut by the step or a later one.
            let stopping = self.bell.is_stopping();
            let committed = self.step()?;
            match (committed, stopping) {
                (false, true) => return self.seal(),
                (true, true) => continue,
                (false, false) => {}
                (true, false) => {
                    seal_at = self.seal_time();
                    self.hold_back();
                }
            }
            // Returns at once if the bell has rung since the last time: a request that waits for the disk rings after its
            // change. Changes for which nothing waits yet, as in the middle of a large request, keep gathering.
            match seal_at.map(|at| at.saturating_duration_since((self.settings.now)())) {
                None => self.parker.park(),
                Some(Duration::ZERO) => {
                    self.seal()?;
                    seal_at = None;
                }
                Some(left) => self.parker.park_timeout(left),
            }
        }
    }

    fn seal_time(&self) -> Option<Instant> {
        (!self.writer.is_sealed()).then(|| (self.settings.now)() + self.settings.seal_after)
    }

    /// Lets a batch gather for the flush interval, or behind a crowd for as long as somebody is busy, up to a moment. A ring
    /// meanwhile does not wake the thread, and costs neither side a system call; stopping does.
    fn hold_back(&self) {
        match self.settings.flush_interval {
            Some(interval) => self.gather(interval, || false),
            None if self.crowded => {
                self.bell.await_everybody(true);
                self.gather(self.settings.crowd_interval, || self.bell.is_everybody_asleep());
                self.bell.await_everybody(false);
            }
            None => {}
        }
    }

    fn gather(&self, time: Duration, is_enough: impl Fn() -> bool) {
        let until = (self.settings.now)() + time;
        while !self.bell.is_stopping() && !is_enough() {
            match until.saturating_duration_since((self.settings.now)()) {
                Duration::ZERO => break,
                left => self.gathering.park_timeout(left),
            }
        }
    }
}

/// Lets the second thread go however the loop ends, so that a panic in it is seen and not waited on.
struct Closing<'a>(&'a Spare);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
