//! The journal: an append-only sequence of batches on disk that survives crashes and power loss.
//!
//! A *batch* is opaque bytes with an *epoch*, a number that counts up from 1 without a gap. Each batch is one [`frame`], whole
//! or absent; frames are in preallocated segment files. Invariants:
//!
//! - Every later [`replay`] finds every epoch that was reported as committed, whatever crashed when.
//! - What [`replay`] shows is durable: the next power loss cannot remove it.
//! - A torn tail is not corruption, and corruption is not a torn tail: the first is cut off, the second is refused with
//!   file and offset. Nothing is lost silently.
//! - A failed write or sync is final. Nothing after it is ever reported as committed, and no sync is tried twice.
//!
//! The parts, bottom up: [`Storage`] is the seam to the disk ([`DirectoryStorage`], and [`MemoryStorage`] with faults and power
//! loss for tests); [`frame`] is the byte format; [`Writer`] appends; [`Committer`] is the one thread that cuts, appends and
//! reports; [`replay`] recovers; [`Reader`] follows the writer; [`View`] reads without changing anything; [`SnapshotWriter`]
//! and [`SnapshotReader`] bound how much must be replayed; [`prune()`] deletes files that are no longer needed.
//!
//! A state is the chunks of the newest snapshot, then the batches from its `first_epoch` on. Such a state is complete
//! only when the journal reaches the snapshot's `last_epoch`, which [`replay`] checks when told so.
//!
//! Nothing here knows what a payload means, reads a clock of its own, or starts a thread outside [`Committer::run`].

mod bell;
mod committer;
mod cursor;
mod damage;
pub mod frame;
pub mod memory;
mod prune;
mod reader;
mod recovery;
mod segment;
mod snapshot;
mod spare;
mod storage;
pub mod view;
mod writer;

#[cfg(test)]
mod tests;

pub use bell::Bell;
pub use committer::{CROWD_INTERVAL, Committer, CommitterSettings, Source};
pub use damage::{Damage, Follows};
pub use frame::FrameError;
pub use memory::{MemoryStorage, Survival};
pub use prune::{Pruned, prune};
pub use reader::{Batch, ReadError, Reader};
pub use recovery::{RecoveryError, Scan, Tail, Torn, replay, scan};
pub use segment::{Position, oldest_epoch};
pub use snapshot::{SnapshotError, SnapshotReader, SnapshotSummary, SnapshotWriter, discard_unfinished, latest};
pub use storage::{DirectoryStorage, Storage, StorageFailure, StorageFile};
pub use view::View;
pub use writer::{CommitStats, WriteError, Writer, WriterSettings};

/// The number of a batch: consecutive, from 1. Zero means "before the first".
pub type Epoch = u64;
