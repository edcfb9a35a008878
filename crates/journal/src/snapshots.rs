//! What a store of snapshots guarantees, whatever stores them.
//!
//! A snapshot is taken while the log grows: its chunks contain every batch before `first_epoch` and some of those up to
//! `last_epoch`, and become a state only together with all batches from `first_epoch` to `last_epoch`.

use crate::{Cause, Epoch, PAYLOAD_BYTES_MAX, Removed};

/// Snapshots of one state. A published snapshot is complete and durable; an unfinished one is never shown.
pub trait SnapshotStore: Send + Sync {
    /// Starts a snapshot, of which there is one at a time; removes what an unfinished one has left.
    fn begin(&self, first_epoch: Epoch) -> Result<Box<dyn SnapshotWriter>, SnapshotError>;

    /// The newest snapshot, if there is one. If it is damaged that is an error: an older one is never taken silently, because
    /// the log that it needs may be gone.
    fn newest(&self) -> Result<Option<Box<dyn SnapshotReader>>, SnapshotError>;

    /// Deletes all snapshots but the newest.
    fn delete_superseded(&self) -> Result<Removed, SnapshotError>;

    /// Removes what unfinished snapshots have left. Not to be called while one is being written.
    fn discard_unfinished(&self) -> Result<(), SnapshotError>;
}

/// Writes one snapshot. Dropped before it is finished it leaves nothing that [`SnapshotStore::newest`] would find.
pub trait SnapshotWriter: Send {
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), SnapshotError>;

    /// Publishes the snapshot, durably. Every epoch up to `last_epoch` must be durable.
    fn finish(self: Box<Self>, last_epoch: Epoch) -> Result<SnapshotSummary, SnapshotError>;
}

/// Reads one snapshot, chunk by chunk.
pub trait SnapshotReader: Send {
    fn summary(&self) -> SnapshotSummary;

    /// The next chunk, until all have been returned.
    fn next_chunk(&mut self) -> Result<Option<&[u8]>, SnapshotError>;
}

/// A published snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The log is replayed from here.
    pub first_epoch: Epoch,
    /// The log must reach this far.
    pub last_epoch: Epoch,
    pub chunks: u64,
    /// Its size.
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It could not be read or written now. What is published may be intact.
    #[error("{0}")]
    Failed(Cause),
    #[error(
        "{0}; if an older snapshot and the whole journal since its first epoch are still there, move this one away to use that \
         snapshot"
    )]
    Damaged(Cause),
    #[error("a chunk of {chunk_bytes} bytes is longer than the {PAYLOAD_BYTES_MAX} that a snapshot takes")]
    TooLong { chunk_bytes: usize },
}
