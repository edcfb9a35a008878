//! What a log guarantees, whatever stores it.

use std::{error::Error, fmt::Display, ops::ControlFlow, time::Duration};

/// The number of a batch: consecutive, from 1. Zero means "before the first".
pub type Epoch = u64;

/// What an implementation says of a failure; for people.
pub type Cause = Box<dyn Error + Send + Sync>;

/// An append-only sequence of batches with one owner. Invariants:
///
/// - What an append reported is found by every later [`Log::take_over`] and [`LogReader`], whatever crashes when.
/// - What [`Log::take_over`] has shown is durable: no later crash removes it.
/// - One owner appends. Once another has taken the log over, nothing that an earlier owner appends enters it.
/// - After [`AppendError::Fenced`] or [`AppendError::Unknown`] this log appends nothing more.
/// - Nothing is lost silently: what should be there and is not, or is not what was written, is [`ReadError::Damaged`].
///
/// All of it may be called from any thread; readers do not wait for an append.
pub trait Log: Send + Sync {
    /// Makes the caller the owner: shows every batch from epoch `from` on to `each`, in order, and returns the last epoch, 0
    /// without any. Called once, before anything is appended. `recover` is the same for an `each` that can refuse.
    ///
    /// `reaches` is the greatest epoch that is known from elsewhere to have been durable, such as a snapshot's last; 0 if
    /// nothing is known. A log that ends before it is damaged. Nothing is changed unless the log is sound. If `each` breaks off,
    /// nothing is changed either, and the result means nothing.
    fn take_over(
        &self,
        from: Epoch,
        reaches: Epoch,
        each: &mut dyn FnMut(Epoch, &[u8]) -> ControlFlow<()>,
    ) -> Result<Epoch, ReadError>;

    /// Makes a batch durable as epoch `tail + 1`, provided that the log ends with `tail` and the caller owns it.
    fn append(&self, tail: Epoch, payload: &[u8]) -> Result<CommitStats, AppendError>;

    /// The last epoch that this owner has found or appended.
    fn tail(&self) -> Epoch;

    /// Follows the log, beginning with the batch after epoch `after`.
    fn read(&self, after: Epoch) -> Box<dyn LogReader>;

    /// How many bytes the batches after `epoch` take, up to the tail. It may count too much by space that the log leaves unused.
    fn bytes_after(&self, epoch: Epoch) -> Result<u64, ReadError>;

    /// Has [`Log::trim`] be able to remove every batch up to `through`, which is durable, although a log removes several batches at
    /// a time. It can once the next batch is appended, for a `keep_from` after that batch.
    fn make_removable(&self, through: Epoch);

    /// Removes batches before `keep_from`, as far as the log can without removing others. All of them are durable. The last
    /// durable batch always stays, and with it the count of epochs.
    fn trim(&self, keep_from: Epoch) -> Result<Removed, Cause>;

    /// Records that the last batch is durable, so that later damage to it cannot be taken for an append that a crash cut off.
    /// An error is as final as one of an append.
    fn seal(&self) -> Result<(), AppendError>;
}

impl dyn Log + '_ {
    /// [`Log::take_over`], for an `each` that can refuse a batch.
    pub fn recover<E: Display>(
        &self,
        from: Epoch,
        reaches: Epoch,
        mut each: impl FnMut(Epoch, &[u8]) -> Result<(), E>,
    ) -> Result<Epoch, RecoveryError<E>> {
        let mut refused = None;
        let taken = self.take_over(from, reaches, &mut |epoch, payload| match each(epoch, payload) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                refused = Some(RecoveryError::Refused { epoch, error });
                ControlFlow::Break(())
            }
        });
        match refused {
            Some(refused) => Err(refused),
            None => Ok(taken?),
        }
    }
}

/// Returns every batch once and in order. Any number of them read independently of each other and of the owner.
pub trait LogReader: Send {
    /// The next batch up to epoch `durable`, if there is one. The epoch `durable` must be durable. Nothing beyond it is ever
    /// returned.
    fn next(&mut self, durable: Epoch) -> Result<Option<Batch<'_>>, ReadError>;

    /// The epoch that was last returned, or that the reader started after.
    fn last_epoch(&self) -> Epoch;
}

/// A batch as it was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    pub epoch: Epoch,
    pub payload: &'a [u8],
    /// What it takes in the log.
    pub stored_bytes: u64,
}

/// What one append took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitStats {
    pub payload_bytes: u64,
    /// What it takes in the log.
    pub stored_bytes: u64,
    /// Handing the batch over.
    pub write: Duration,
    /// Waiting until it was durable.
    pub sync: Duration,
}

/// What was removed: so many files, tables or the like, and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub units: usize,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another owner took the log over, or it does not end where the caller expected. Nothing was appended. Final.
    #[error("the log belongs to another owner: {0}")]
    Fenced(Cause),
    /// The batch is in the log or not; a [`Log::take_over`] of a newly opened log finds out. Final: this log never tries the
    /// append again, because a second attempt may report success for what the first has lost.
    #[error("{0}")]
    Unknown(Cause),
    /// Nothing was appended, and the same append may be tried again.
    #[error("{0}")]
    Retryable(Cause),
    /// Nothing was appended, and never will be.
    #[error("a batch of {payload_bytes} bytes is longer than the {} that the log takes", crate::PAYLOAD_BYTES_MAX)]
    TooLong { payload_bytes: usize },
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be read now. What is stored may be intact.
    #[error("{0}")]
    Unreadable(Cause),
    /// A batch is not what was written, or is gone although it is needed.
    #[error("{0}")]
    Damaged(Cause),
    #[error("epoch {wanted} is no longer in the journal, which now starts with epoch {oldest}")]
    TooOld { wanted: Epoch, oldest: Epoch },
    #[error("epoch {wanted} should be in the journal, but is not")]
    Missing { wanted: Epoch },
}

/// Why a state cannot be recovered from a log. `E` is the caller's.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError<E: Display> {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("epoch {epoch} cannot be applied: {error}")]
    Refused { epoch: Epoch, error: E },
}
