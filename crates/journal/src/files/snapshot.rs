//! Snapshots in files.
//!
//! A snapshot is one file of frames, `snapshot-<first epoch>.snap`: chunks numbered from 1, then an end frame with their count
//! and the last epoch that they may contain. It is written under another name and renamed when it is durable, so a published
//! snapshot is complete.

use std::sync::Arc;

use super::cursor::FrameCursor;
use super::damage::Damage;
use super::remove;
use super::segment::number_in;
use super::storage::{Storage, StorageFailure, StorageFile};
use crate::frame::{self, FrameError, HEADER_BYTES, Kind, PAYLOAD_BYTES_MAX};
use crate::{Epoch, Removed, SnapshotError, SnapshotReader, SnapshotStore, SnapshotSummary, SnapshotWriter};

pub(crate) const PREFIX: &str = "snapshot-";
pub(crate) const SUFFIX: &str = ".snap";
const UNFINISHED_SUFFIX: &str = ".snap.tmp";

/// Chunks are gathered up to this size before they are written.
const WRITE_BYTES: usize = 256 << 10;
/// The file is synced as it grows, because a commit's sync waits for earlier writes to the device: many short waits are better
/// than one long one.
const SYNC_BYTES: u64 = 4 << 20;

const END_PAYLOAD_BYTES: usize = 16;
const END_BYTES: usize = HEADER_BYTES + END_PAYLOAD_BYTES;

/// The snapshots of one directory.
pub struct FileSnapshots {
    storage: Arc<dyn Storage>,
}

impl FileSnapshots {
    pub fn new(storage: Arc<dyn Storage>) -> FileSnapshots {
        FileSnapshots { storage }
    }

    fn names(&self) -> Result<Vec<String>, StorageFailure> {
        self.storage.list().map_err(StorageFailure::on("list", "the snapshots' directory"))
    }

    /// The first epochs of all published snapshots, in order.
    fn published(&self) -> Result<Vec<Epoch>, StorageFailure> {
        let mut epochs: Vec<Epoch> = self.names()?.iter().filter_map(|name| number_in(name, PREFIX, SUFFIX)).collect();
        epochs.sort_unstable();
        Ok(epochs)
    }
}

impl SnapshotStore for FileSnapshots {
    fn begin(&self, first_epoch: Epoch) -> Result<Box<dyn SnapshotWriter>, SnapshotError> {
        self.discard_unfinished()?;
        let storage = self.storage.clone();
        let unfinished_name = file_name(first_epoch, UNFINISHED_SUFFIX);
        let file = storage.create(&unfinished_name, 0).map_err(StorageFailure::on("create", &unfinished_name))?;
        let buffer = Vec::new();
        Ok(Box::new(FileWriter {
            storage,
            file,
            unfinished_name,
            first_epoch,
            chunks: 0,
            buffer,
            written: 0,
            synced: 0,
        }))
    }

    fn newest(&self) -> Result<Option<Box<dyn SnapshotReader>>, SnapshotError> {
        match self.published()?.last() {
            Some(&first_epoch) => Ok(Some(Box::new(FileReader::open(self.storage.as_ref(), first_epoch)?))),
            None => Ok(None),
        }
    }

    fn delete_superseded(&self) -> Result<Removed, SnapshotError> {
        let mut removed = Removed::default();
        if let Some((_newest, older)) = self.published()?.split_last() {
            for &first_epoch in older {
                remove(self.storage.as_ref(), &name(first_epoch), &mut removed)?;
            }
        }
        Ok(removed)
    }

    fn discard_unfinished(&self) -> Result<(), SnapshotError> {
        for name in self.names()? {
            if number_in(&name, PREFIX, UNFINISHED_SUFFIX).is_some() {
                self.storage.remove(&name).map_err(StorageFailure::on("remove", &name))?;
            }
        }
        Ok(())
    }
}

struct FileWriter {
    storage: Arc<dyn Storage>,
    file: Arc<dyn StorageFile>,
    unfinished_name: String,
    first_epoch: Epoch,
    chunks: u64,
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
}

impl SnapshotWriter for FileWriter {
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
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

    fn finish(mut self: Box<Self>, last_epoch: Epoch) -> Result<SnapshotSummary, SnapshotError> {
        assert!(last_epoch + 1 >= self.first_epoch, "a snapshot shows everything before its first epoch");
        let mut end = [0; END_PAYLOAD_BYTES];
        end[..8].copy_from_slice(&self.chunks.to_le_bytes());
        end[8..].copy_from_slice(&last_epoch.to_le_bytes());
        frame::encode(&mut self.buffer, Kind::SnapshotEnd, self.first_epoch, self.chunks + 1, &end);
        self.write_out()?;
        self.sync()?;
        let name = file_name(self.first_epoch, SUFFIX);
        self.storage.rename(&self.unfinished_name, &name).map_err(StorageFailure::on("publish", &name))?;
        let FileWriter { first_epoch, chunks, written, .. } = *self;
        Ok(SnapshotSummary { first_epoch, last_epoch, chunks, bytes: written })
    }
}

impl FileWriter {
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

struct FileReader {
    summary: SnapshotSummary,
    cursor: FrameCursor,
    next_chunk: u64,
}

impl SnapshotReader for FileReader {
    fn summary(&self) -> SnapshotSummary {
        self.summary
    }

    fn next_chunk(&mut self) -> Result<Option<&[u8]>, SnapshotError> {
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
}

impl FileReader {
    /// A published snapshot ends with its end frame, which is read before the first chunk.
    fn open(storage: &dyn Storage, first_epoch: Epoch) -> Result<FileReader, SnapshotError> {
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
        Ok(FileReader { summary, cursor, next_chunk: 1 })
    }

    fn damage(&self, found: FrameError) -> Damage {
        Damage::new(self.cursor.name(), self.cursor.offset(), found)
    }
}

impl From<Damage> for SnapshotError {
    fn from(damage: Damage) -> SnapshotError {
        SnapshotError::Damaged(damage.into())
    }
}

pub(crate) fn name(first_epoch: Epoch) -> String {
    file_name(first_epoch, SUFFIX)
}

fn file_name(first_epoch: Epoch, suffix: &str) -> String {
    format!("{PREFIX}{first_epoch:020}{suffix}")
}
