//! The commit loop: cuts a batch, makes it durable, reports it.
//!
//! Group commit: the changes that gather while one append runs are the next batch. Only if many answers wait and the processors
//! are busy does a batch gather for a moment longer, because a commit takes processor time from them. Invariant:
//! [`Source::committed`] is called for each epoch once, in order, after its batch is durable, and never again after
//! [`Source::failed`].
//!
//! [`Committer::turn`] does not wait: it returns what to wait for. [`Committer::run`] waits with a thread; a simulation moves its
//! clock instead.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::sync::Parker;

use crate::{AppendError, CommitSignal, CommitStats, Epoch, Log, MonotonicClock, TARGET};

/// The source of batches, and the receiver of commit reports.
pub trait Source: Send + Sync {
    /// Takes everything gathered since the last cut, or nothing. The payload goes into the buffer, which comes empty. The
    /// epoch is the one after that of the last cut.
    fn cut(&self, payload: &mut Vec<u8>) -> Option<Epoch>;

    /// This epoch and all before it are durable.
    fn committed(&self, epoch: Epoch, stats: &CommitStats);

    /// The log failed. Whether the batch that was last cut is in it is unknown, and nothing later is ever committed.
    fn failed(&self, error: &AppendError);
}

/// How long a batch may gather after a contended commit: several commits on a disk that syncs in 0.2 ms, and less than half of
/// an answer's wait under full load.
pub const GATHER_INTERVAL: Duration = Duration::from_millis(1);

/// Between two tries of an append that can be retried.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug)]
pub struct CommitterSettings {
    /// The least time between two commits, if no answer waits for them; `None` commits as fast as the log can.
    pub flush_interval: Option<Duration>,
    /// The longest time that a batch gathers after a contended commit; see [`GATHER_INTERVAL`].
    pub gather_interval: Duration,
    /// How long the log is idle before it is sealed; see [`Log::seal`].
    pub seal_after: Duration,
}

/// What to wait for before the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Nothing: there may be more to commit.
    None,
    /// First so long, whatever happens except for a stop. Then for a notification, or until the clock says `until`.
    Wait { gather: Gather, until: Option<Duration> },
    /// Everything is committed and the log is sealed: there is no next turn.
    Stopped,
}

/// How long the next batch gathers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    No,
    For(Duration),
    /// Until all calling threads are idle, and no longer than this.
    UntilIdle(Duration),
}

/// The one thread that appends.
pub struct Committer<S> {
    source: Arc<S>,
    log: Arc<dyn Log>,
    clock: Arc<dyn MonotonicClock>,
    settings: CommitterSettings,
    parker: Parker,
    /// What the thread waits on while a batch gathers.
    gathering: Parker,
    signal: CommitSignal,
    payload: Vec<u8>,
    /// The payload is this epoch's batch, which is to be appended again.
    retried: Option<Epoch>,
    failed: bool,
    /// What the last commit found.
    contended: bool,
    /// By the clock; None: the log is sealed.
    seal_at: Option<Duration>,
}

impl<S: Source> Committer<S> {
    /// `log` was recovered up to its tail, from which the source continues.
    pub fn new(
        source: Arc<S>,
        log: Arc<dyn Log>,
        clock: Arc<dyn MonotonicClock>,
        settings: CommitterSettings,
    ) -> Committer<S> {
        let (parker, gathering) = (Parker::new(), Parker::new());
        let signal = CommitSignal::new(&parker, &gathering);
        // A crash may have left the last batch unsealed.
        let seal_at = (log.tail() > 0).then(|| clock.elapsed().saturating_add(settings.seal_after));
        Committer {
            source,
            log,
            clock,
            settings,
            parker,
            gathering,
            signal,
            payload: Vec::new(),
            retried: None,
            failed: false,
            contended: false,
            seal_at,
        }
    }

    /// What notifies and what stops [`Committer::run`].
    pub fn signal(&self) -> CommitSignal {
        self.signal.clone()
    }

    /// Commits one batch; whether there was one. After [`AppendError::Retryable`] the next step appends the same batch; any other
    /// error is final.
    pub fn step(&mut self) -> Result<bool, AppendError> {
        self.check_usable()?;
        let epoch = match self.retried.take() {
            Some(epoch) => epoch,
            None => {
                self.payload.clear();
                let Some(epoch) = self.source.cut(&mut self.payload) else { return Ok(false) };
                epoch
            }
        };
        match self.log.append(epoch - 1, &self.payload) {
            Ok(stats) => {
                // Read before anybody is woken by this commit.
                self.contended = self.signal.is_contended();
                self.source.committed(epoch, &stats);
                Ok(true)
            }
            Err(error) => {
                if matches!(error, AppendError::Retryable(_)) {
                    self.retried = Some(epoch);
                }
                Err(self.failed(error))
            }
        }
    }

    /// Seals the log; see [`Log::seal`].
    pub fn seal(&mut self) -> Result<(), AppendError> {
        self.check_usable()?;
        self.log.seal().map_err(|error| self.failed(error))
    }

    /// One round of the loop: commits a batch, or seals the log when that is due.
    pub fn turn(&mut self) -> Result<Pause, AppendError> {
        // Read before the step: what was there when the stop was asked for is then cut by the step or a later one.
        let stopping = self.signal.is_stopping();
        let retried = self.retried.is_some();
        let committed = match self.step() {
            Err(AppendError::Retryable(cause)) => {
                if !retried {
                    tracing::warn!(target: TARGET, error = %cause, "could not commit; the journal tries again until it can");
                }
                let until = self.clock.elapsed().saturating_add(RETRY_INTERVAL);
                return Ok(Pause::Wait { gather: Gather::For(RETRY_INTERVAL), until: Some(until) });
            }
            committed => committed?,
        };
        match (committed, stopping) {
            (false, true) => {
                self.seal()?;
                Ok(Pause::Stopped)
            }
            (true, true) => Ok(Pause::None),
            (true, false) => {
                self.seal_at = Some(self.clock.elapsed().saturating_add(self.settings.seal_after));
                let gather = match self.settings.flush_interval {
                    Some(interval) => Gather::For(interval),
                    None if self.contended => Gather::UntilIdle(self.settings.gather_interval),
                    None => Gather::No,
                };
                Ok(Pause::Wait { gather, until: self.seal_at })
            }
            (false, false) => {
                if self.seal_at.is_some_and(|at| self.clock.elapsed() >= at) {
                    self.seal()?;
                    self.seal_at = None;
                }
                Ok(Pause::Wait { gather: Gather::No, until: self.seal_at })
            }
        }
    }

    /// Commits until it is stopped, or the log fails.
    pub fn run(mut self) -> Result<(), AppendError> {
        loop {
            let (gather, until) = match self.turn()? {
                Pause::None => continue,
                Pause::Stopped => return Ok(()),
                Pause::Wait { gather, until } => (gather, until),
            };
            match gather {
                Gather::No => {}
                Gather::For(time) => self.gather(time, || false),
                Gather::UntilIdle(time) => {
                    self.signal.await_idleness(true);
                    self.gather(time, || self.signal.are_all_idle());
                    self.signal.await_idleness(false);
                }
            }
            // Returns at once if a notification has come since the last time: a request that waits for the log notifies after
            // its change. Changes for which nothing waits yet, as in the middle of a large request, keep gathering.
            match until.map(|at| at.saturating_sub(self.clock.elapsed())) {
                None => self.parker.park(),
                Some(Duration::ZERO) => {}
                Some(left) => self.parker.park_timeout(left),
            }
        }
    }

    /// Lets a batch gather. A notification meanwhile does not wake the thread, and costs neither side a system call; stopping
    /// does.
    fn gather(&self, time: Duration, is_enough: impl Fn() -> bool) {
        let until = self.clock.elapsed().saturating_add(time);
        while !self.signal.is_stopping() && !is_enough() {
            match until.saturating_sub(self.clock.elapsed()) {
                Duration::ZERO => break,
                left => self.gathering.park_timeout(left),
            }
        }
    }

    fn check_usable(&self) -> Result<(), AppendError> {
        if self.failed {
            return Err(AppendError::Unknown(
                "an earlier append to the journal failed, so nothing more is appended".into(),
            ));
        }
        Ok(())
    }

    /// Reports an error that is final.
    fn failed(&mut self, error: AppendError) -> AppendError {
        if !matches!(error, AppendError::Retryable(_)) {
            self.failed = true;
            self.source.failed(&error);
        }
        error
    }
}
