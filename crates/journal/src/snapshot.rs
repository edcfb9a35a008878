//! Snapshots: a state in chunks, so that recovery need not read the journal from its beginning.
//!
//! A snapshot is one file of frames, `snapshot-<first epoch>.snap`: chunks numbered from 1, then an end frame with their count
//! and the last epoch that they may contain. It is written under another name and renamed when it is durable, so a published
//! snapshot is complete. It is taken while the journal grows: its chunks contain every batch before `first_epoch` and some of
//! those up to `last_epoch`, and become a state only together with all batches from `first_epoch` to `last_epoch`.

use std::sync::Arc;

use super::Epoch;
use super::cursor::FrameCursor;
use super::damage::Damage;
use super::frame::{self, FrameError, HEADER_BYTES, Kind, PAYLOAD_BYTES_MAX};
use super::segment::number_in;
use super::storage::{Storage, StorageFailure, StorageFile};

const PREFIX: &str = "snapshot-";
const SUFFIX: &str = ".snap";
const UNFINISHED_SUFFIX: &str = ".snap.tmp";

/// Chunks are gathered up to this size before they are written.
const WRITE_BYTES: usize = 256 << 10;
/// The file is synced as it grows, because a commit's sync waits for earlier writes to the device: many short waits are better
/// than one long one.
const SYNC_BYTES: u64 = 4 << 20;

const END_PAYLOAD_BYTES: usize = 16;
const END_BYTES: usize = HEADER_BYTES + END_PAYLOAD_BYTES;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    #[error(
        "{0}; if an older snapshot and all journal segments since its first epoch are still there, move this file \
         away to use that snapshot"
    )]
    Damaged(#[from] Damage),
    #[error("a chunk of {chunk_bytes} bytes is longer than the {PAYLOAD_BYTES_MAX} that a frame can hold")]
    TooLong { chunk_bytes: usize },
}

/// A published snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The journal is replayed from here.
    pub first_epoch: Epoch,
    /// The journal must reach this far.
    pub last_epoch: Epoch,
    pub chunks: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// Writes one snapshot. Dropped before [`SnapshotWriter::finish`] it leaves nothing that [`latest`] would find.
pub struct SnapshotWriter {
    storage: Arc<dyn Storage>,
    file: Arc<dyn StorageFile>,
    unfinished_name: String,
    first_epoch: Epoch,
    chunks: u64,
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
}

impl SnapshotWriter {
    /// Starts a snapshot, of which there may be one at a time. Deletes leftovers of an unfinished one.
    pub fn begin(storage: Arc<dyn Storage>, first_epoch: Epoch) -> Result<SnapshotWriter, SnapshotError> {
        discard_unfinished(storage.as_ref())?;
        let unfinished_name = file_name(first_epoch, UNFINISHED_SUFFIX);
        let file = storage.create(&unfinished_name, 0).map_err(StorageFailure::on("create", &unfinished_name))?;
        let buffer = Vec::new();
        Ok(SnapshotWriter { storage, file, unfinished_name, first_epoch, chunks: 0, buffer, written: 0, synced: 0 })
    }

    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(SnapshotError::TooLong { chunk_bytes: bytes.len() });
        }
        self.chunks += 1;
        frame::encode(&mut self.buffer, Kind::Batch, self.first_epoch, self.chunks, bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.write_out()?;
            if self.written - self.synced >= SYNC_BYTES {
                self.sync()?;
            }
        }
        Ok(())
    }

    /// Publishes the snapshot, durably. Every epoch up to `last_epoch` must be durable.
    pub fn finish(mut self, last_epoch: Epoch) -> Result<SnapshotSummary, SnapshotError> {
        assert!(last_epoch + 1 >= self.first_epoch, "a snapshot shows everything before its first epoch");
        let mut end = [0; END_PAYLOAD_BYTES];
        end[..8].copy_from_slice(&self.chunks.to_le_bytes());
        end[8..].copy_from_slice(&last_epoch.to_le_bytes());
        frame::encode(&mut self.buffer, Kind::SnapshotEnd, self.first_epoch, self.chunks + 1, &end);
        self.write_out()?;
        self.sync()?;
        let name = file_name(self.first_epoch, SUFFIX);
        self.storage.rename(&self.unfinished_name, &name).map_err(StorageFailure::on("publish", &name))?;
        let SnapshotWriter { first_epoch, chunks, written, .. } = self;
        Ok(SnapshotSummary { first_epoch, last_epoch, chunks, bytes: written })
    }

    fn write_out(&mut self) -> Result<(), StorageFailure> {
        self.file
            .write_all_at(self.written, &self.buffer)
            .map_err(StorageFailure::on("write", &self.unfinished_name))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageFailure> {
        self.file.sync().map_err(StorageFailure::on("sync", &self.unfinished_name))?;
        self.synced = self.written;
        Ok(())
    }
}

/// Reads one snapshot, chunk by chunk.
pub struct SnapshotReader {
    summary: SnapshotSummary,
    cursor: FrameCursor,
    next_chunk: u64,
}

impl SnapshotReader {
    pub fn summary(&self) -> SnapshotSummary {
        self.summary
    }

    /// The next chunk, until all have been returned.
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>, SnapshotError> {
        let header = self.cursor.peek()?.map_err(|found| self.damage(found))?;
        if header.epoch != self.next_chunk {
            let found = FrameError::Epoch { expected: self.next_chunk, found: header.epoch };
            return Err(self.damage(found).into());
        }
        let at_end = header.epoch > self.summary.chunks;
        if (header.kind == Kind::SnapshotEnd) != at_end || header.kind == Kind::Seal {
            return Err(self.damage(FrameError::Misplaced(header.kind)).into());
        }
        if at_end {
            return Ok(None);
        }
        self.next_chunk += 1;
        Ok(Some(self.cursor.take(&header)))
    }

    /// A published snapshot ends with its end frame, which is read before the first chunk.
    fn open(storage: &dyn Storage, first_epoch: Epoch) -> Result<SnapshotReader, SnapshotError> {
        let name = file_name(first_epoch, SUFFIX);
        let cursor = FrameCursor::open(storage, name, first_epoch)?;
        let bytes = cursor.size()?;
        let end_offset = bytes.saturating_sub(END_BYTES as u64);
        let end = cursor.read(end_offset, END_BYTES)?;
        let damaged = |found| Damage::new(cursor.name(), end_offset, found);
        let header = frame::decode(&end, first_epoch).map_err(damaged)?;
        if header.kind != Kind::SnapshotEnd || header.payload_bytes != END_PAYLOAD_BYTES {
            return Err(damaged(FrameError::Misplaced(header.kind)).into());
        }
        let number = |at: usize| u64::from_le_bytes(end[at..at + 8].try_into().expect("eight bytes"));
        let (chunks, last_epoch) = (number(HEADER_BYTES), number(HEADER_BYTES + 8));
        let summary = SnapshotSummary { first_epoch, last_epoch, chunks, bytes };
        Ok(SnapshotReader { summary, cursor, next_chunk: 1 })
    }

    fn damage(&self, found: FrameError) -> Damage {
        Damage::new(self.cursor.name(), self.cursor.offset(), found)
    }
}

/// The newest snapshot, where there is one. Damage to it is an error; an older one is never taken silently, because the
/// segments that it needs may be gone.
pub fn latest(storage: &dyn Storage) -> Result<Option<SnapshotReader>, SnapshotError> {
    match published(storage)?.last() {
        Some(&first_epoch) => SnapshotReader::open(storage, first_epoch).map(Some),
        None => Ok(None),
    }
}

/// Deletes leftovers of unfinished snapshots. Not to be called while one is being written.
pub fn discard_unfinished(storage: &dyn Storage) -> Result<(), StorageFailure> {
    for name in names(storage)? {
        if number_in(&name, PREFIX, UNFINISHED_SUFFIX).is_some() {
            storage.remove(&name).map_err(StorageFailure::on("remove", &name))?;
        }
    }
    Ok(())
}

/// The first epochs of all published snapshots, in order.
pub(super) fn published(storage: &dyn Storage) -> Result<Vec<Epoch>, StorageFailure> {
    let names = names(storage)?;
    let mut epochs: Vec<Epoch> = names.iter().filter_map(|name| number_in(name, PREFIX, SUFFIX)).collect();
    epochs.sort_unstable();
    Ok(epochs)
}

pub(super) fn name(first_epoch: Epoch) -> String {
    file_name(first_epoch, SUFFIX)
}

fn file_name(first_epoch: Epoch, suffix: &str) -> String {
    format!("{PREFIX}{first_epoch:020}{suffix}")
}

fn names(storage: &dyn Storage) -> Result<Vec<String>, StorageFailure> {
    storage.list().map_err(StorageFailure::on("list", "the snapshots' directory"))
}
