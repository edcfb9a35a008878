//! Appends batches: one frame, one write, one sync each.
//!
//! Invariant: an append that returned `Ok` is durable, and after the first error every append fails. A sync is never retried,
//! because a second one may report success for pages that the kernel has dropped.

use std::sync::Arc;

use super::FileSettings;
use super::prepared::PreparedSegment;
use super::recovery::Tail;
use super::segment::{self, Position};
use super::storage::{Storage, StorageFailure, StorageFile};
use crate::frame::{self, Kind, PAYLOAD_BYTES_MAX};
use crate::{AppendError, CommitStats, Epoch};

/// Every batch leaves this much space after it, so that a seal always fits into the segment that it closes.
const SEAL_BYTES: u64 = frame::HEADER_BYTES as u64;

/// The one writer of a journal.
pub(crate) struct Writer {
    settings: FileSettings,
    prepared: Arc<PreparedSegment>,
    file: Arc<dyn StorageFile>,
    file_bytes: u64,
    position: Position,
    last_epoch: Epoch,
    /// A seal, or nothing at all, is the last thing written.
    sealed: bool,
    /// The first epoch in this segment, where there is one.
    first_epoch: Option<Epoch>,
    poisoned: bool,
    frame: Vec<u8>,
}

impl Writer {
    /// Continues where [`replay`](super::recovery::replay) found the journal's end. The first segment of a new journal is made here.
    pub(crate) fn open(
        storage: &dyn Storage,
        prepared: Arc<PreparedSegment>,
        tail: &Tail,
        settings: FileSettings,
    ) -> Result<Writer, StorageFailure> {
        let (position, file, first_epoch) = match tail.position {
            Some(position) => {
                let name = segment::name(position.segment);
                let file = storage.open(&name).map_err(StorageFailure::on("open", &name))?;
                (position, file, segment::first_epoch(storage, position.segment)?)
            }
            None => (Position { segment: 1, offset: 0 }, prepared.take(1, settings.segment_bytes)?, None),
        };
        let file_bytes = size_of(file.as_ref(), position.segment)?;
        prepared.order(position.segment + 1, settings.segment_bytes);
        Ok(Writer {
            settings,
            prepared,
            file,
            file_bytes,
            position,
            last_epoch: tail.last_epoch,
            sealed: tail.sealed || tail.last_epoch == 0,
            first_epoch,
            poisoned: false,
            frame: Vec::new(),
        })
    }

    /// Makes one batch durable behind epoch `tail`. Batches up to epoch `removable` are not to share a segment with it. An error
    /// is final: see the module.
    pub(crate) fn append(&mut self, tail: Epoch, removable: Epoch, payload: &[u8]) -> Result<CommitStats, AppendError> {
        let epoch = self.last_epoch + 1;
        let appended = self.guarded(|writer| {
            if tail != writer.last_epoch {
                let found = format!("it ends with epoch {}, but a batch was to follow epoch {tail}", writer.last_epoch);
                return Err(AppendError::Fenced(found.into()));
            }
            if payload.len() > PAYLOAD_BYTES_MAX {
                return Err(AppendError::TooLong { payload_bytes: payload.len() });
            }
            let clock = writer.settings.clock.clone();
            let started = clock.elapsed();
            let stored_bytes = frame::frame_bytes(payload.len()) as u64;
            writer.make_room(stored_bytes, removable).map_err(unknown)?;
            writer.write_frame(Kind::Batch, epoch, payload).map_err(unknown)?;
            writer.first_epoch.get_or_insert(epoch);
            let written = clock.elapsed();
            writer.sync().map_err(unknown)?;
            let payload_bytes = payload.len() as u64;
            let (write, sync) = (written.saturating_sub(started), clock.elapsed().saturating_sub(written));
            Ok(CommitStats { payload_bytes, stored_bytes, write, sync })
        })?;
        self.last_epoch = epoch;
        self.sealed = false;
        Ok(appended)
    }

    /// Writes a seal after the last batch, unless there is one: later damage to that batch is then recognizable. An error is as
    /// final as that of an append.
    pub(crate) fn seal(&mut self) -> Result<(), AppendError> {
        self.guarded(|writer| {
            // A file that was cut short by hand may lack the room. Its last batch stays unsealed, as after a crash.
            if !writer.sealed && writer.position.offset + SEAL_BYTES <= writer.file_bytes {
                writer.write_frame(Kind::Seal, writer.last_epoch, &[]).map_err(unknown)?;
                writer.sync().map_err(unknown)?;
            }
            writer.sealed = true;
            Ok(())
        })
    }

    /// The last durable epoch, 0 before the first.
    pub(crate) fn last_epoch(&self) -> Epoch {
        self.last_epoch
    }

    /// Where the next frame goes.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    #[cfg(test)]
    pub(crate) fn prepared(&self) -> &PreparedSegment {
        &self.prepared
    }

    /// Poisons the writer unless `write` succeeds.
    fn guarded<T>(&mut self, write: impl FnOnce(&mut Writer) -> Result<T, AppendError>) -> Result<T, AppendError> {
        if self.poisoned {
            return Err(AppendError::Unknown(
                "an earlier write to the journal failed, so nothing more is written".into(),
            ));
        }
        let result = write(self);
        self.poisoned = result.is_err();
        result
    }

    /// Changes over to the next segment where this one has no room or is to become removable. The one left is complete: all its
    /// frames are durable.
    fn make_room(&mut self, frame_bytes: u64, removable: Epoch) -> Result<(), StorageFailure> {
        let needed = frame_bytes + SEAL_BYTES;
        let is_removable = self.first_epoch.is_some_and(|first| first <= removable);
        if !is_removable && self.position.offset + needed <= self.file_bytes {
            return Ok(());
        }
        let segment = self.position.segment + 1;
        self.file = self.prepared.take(segment, needed.max(self.settings.segment_bytes))?;
        self.file_bytes = size_of(self.file.as_ref(), segment)?;
        self.position = Position { segment, offset: 0 };
        self.first_epoch = None;
        self.prepared.order(segment + 1, self.settings.segment_bytes);
        Ok(())
    }

    fn write_frame(&mut self, kind: Kind, epoch: Epoch, payload: &[u8]) -> Result<(), StorageFailure> {
        self.frame.clear();
        frame::encode(&mut self.frame, kind, self.position.segment, epoch, payload);
        self.file
            .write_all_at(self.position.offset, &self.frame)
            .map_err(StorageFailure::on("write", &segment::name(self.position.segment)))?;
        self.position.offset += self.frame.len() as u64;
        assert!(self.position.offset <= self.file_bytes, "a frame never grows the file it was given room in");
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageFailure> {
        self.file.sync().map_err(StorageFailure::on("sync", &segment::name(self.position.segment)))
    }
}

/// Whatever fails: the frame may have been written, and a restart may find it.
fn unknown(failure: StorageFailure) -> AppendError {
    AppendError::Unknown(failure.into())
}

fn size_of(file: &dyn StorageFile, segment: u64) -> Result<u64, StorageFailure> {
    file.size().map_err(StorageFailure::on("stat", &segment::name(segment)))
}
