//! Appends batches: one frame, one write, one sync each.
//!
//! Invariant: an append that returned `Ok` is durable, and after the first error every append fails. A sync is never retried,
//! because a second one may report success for pages that the kernel has dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Epoch;
use super::frame::{self, Kind, PAYLOAD_BYTES_MAX};
use super::recovery::Tail;
use super::segment::{self, Position};
use super::spare::Spare;
use super::storage::{Storage, StorageFailure, StorageFile};

/// Every batch leaves this much space after it, so that a seal always fits into the segment that it closes.
const SEAL_BYTES: u64 = frame::HEADER_BYTES as u64;

#[derive(Clone, Copy, Debug)]
pub struct WriterSettings {
    /// Size of a segment in bytes. A larger frame gets a segment of its own size.
    pub segment_bytes: u64,
    /// What measures the time of writes and syncs: `Instant::now`, or a simulation's clock.
    pub now: fn() -> Instant,
}

/// What one commit took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitStats {
    pub payload_bytes: u64,
    /// With header and padding.
    pub frame_bytes: u64,
    /// Writing, and changing over to the next segment where that was due.
    pub write: Duration,
    pub sync: Duration,
    /// Where the journal ends now.
    pub position: Position,
}

/// The disk failed, or cannot take what it is given. Final for the writer in each case.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    #[error("a batch of {payload_bytes} bytes is longer than the {PAYLOAD_BYTES_MAX} that a frame can hold")]
    TooLong { payload_bytes: usize },
    #[error("an earlier write to the journal failed, so nothing more is written")]
    Poisoned,
}

/// The one writer of a journal.
pub struct Writer {
    settings: WriterSettings,
    spare: Arc<Spare>,
    file: Arc<dyn StorageFile>,
    file_bytes: u64,
    position: Position,
    last_epoch: Epoch,
    /// A seal, or nothing at all, is the last thing written.
    sealed: bool,
    /// Makes the next batch start a new segment, whatever space this one has.
    turning: bool,
    poisoned: bool,
    frame: Vec<u8>,
}

impl Writer {
    /// Goes on where [`replay`](super::replay) found the journal's end. The first segment of a new journal is made here.
    pub fn open(storage: Arc<dyn Storage>, tail: &Tail, settings: WriterSettings) -> Result<Writer, WriteError> {
        let spare = Arc::new(Spare::new(storage.clone()));
        let (position, file) = match tail.position {
            Some(position) => {
                let name = segment::name(position.segment);
                (position, storage.open(&name).map_err(StorageFailure::on("open", &name))?)
            }
            None => (Position { segment: 1, offset: 0 }, spare.take(1, settings.segment_bytes)?),
        };
        let file_bytes = size_of(file.as_ref(), position.segment)?;
        spare.order(position.segment + 1, settings.segment_bytes);
        Ok(Writer {
            settings,
            spare,
            file,
            file_bytes,
            position,
            last_epoch: tail.last_epoch,
            sealed: tail.sealed || tail.last_epoch == 0,
            turning: false,
            poisoned: false,
            frame: Vec::new(),
        })
    }

    /// Makes one batch durable. An error is final: see the module.
    ///
    /// # Panics
    /// When `epoch` is not the one after the last: batches were lost or mixed up, and writing on would hide it.
    pub fn append(&mut self, epoch: Epoch, payload: &[u8]) -> Result<CommitStats, WriteError> {
        assert_eq!(epoch, self.last_epoch + 1, "epochs are consecutive");
        let appended = self.guarded(|writer| {
            if payload.len() > PAYLOAD_BYTES_MAX {
                return Err(WriteError::TooLong { payload_bytes: payload.len() });
            }
            let started = (writer.settings.now)();
            let frame_bytes = frame::frame_bytes(payload.len()) as u64;
            writer.make_room(frame_bytes)?;
            writer.write_frame(Kind::Batch, epoch, payload)?;
            let written = (writer.settings.now)();
            writer.sync()?;
            let synced = (writer.settings.now)();
            Ok(CommitStats {
                payload_bytes: payload.len() as u64,
                frame_bytes,
                write: written.saturating_duration_since(started),
                sync: synced.saturating_duration_since(written),
                position: writer.position,
            })
        })?;
        self.last_epoch = epoch;
        self.sealed = false;
        Ok(appended)
    }

    /// Writes a seal after the last batch, unless there is one: later damage to that batch is then recognizable. An error is as
    /// final as that of an append.
    pub fn seal(&mut self) -> Result<(), WriteError> {
        self.guarded(|writer| {
            // A file that was cut short by hand may lack the room. Its last batch stays unsealed, as after a crash.
            if !writer.sealed && writer.position.offset + SEAL_BYTES <= writer.file_bytes {
                writer.write_frame(Kind::Seal, writer.last_epoch, &[])?;
                writer.sync()?;
            }
            writer.sealed = true;
            Ok(())
        })
    }

    /// Has the next batch begin a segment.
    pub fn turn_over(&mut self) {
        self.turning = true;
    }

    /// The last durable epoch, 0 before the first.
    pub fn last_epoch(&self) -> Epoch {
        self.last_epoch
    }

    /// Where the next frame goes.
    pub fn position(&self) -> Position {
        self.position
    }

    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Whether an error has ended this writer.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    pub(super) fn spare(&self) -> Arc<Spare> {
        self.spare.clone()
    }

    /// Poisons the writer unless `write` succeeds.
    fn guarded<T>(&mut self, write: impl FnOnce(&mut Writer) -> Result<T, WriteError>) -> Result<T, WriteError> {
        if self.poisoned {
            return Err(WriteError::Poisoned);
        }
        let result = write(self);
        self.poisoned = result.is_err();
        result
    }

    /// Changes over to the next segment where this one has no room or is to be left. The one left is complete: all its frames are durable.
    fn make_room(&mut self, frame_bytes: u64) -> Result<(), WriteError> {
        let needed = frame_bytes + SEAL_BYTES;
        // A segment begins with a batch, so one that holds nothing is not left.
        let turning = std::mem::take(&mut self.turning) && self.position.offset > 0;
        if !turning && self.position.offset + needed <= self.file_bytes {
            return Ok(());
        }
        let segment = self.position.segment + 1;
        self.file = self.spare.take(segment, needed.max(self.settings.segment_bytes))?;
        self.file_bytes = size_of(self.file.as_ref(), segment)?;
        self.position = Position { segment, offset: 0 };
        self.spare.order(segment + 1, self.settings.segment_bytes);
        Ok(())
    }

    fn write_frame(&mut self, kind: Kind, epoch: Epoch, payload: &[u8]) -> Result<(), WriteError> {
        self.frame.clear();
        frame::encode(&mut self.frame, kind, self.position.segment, epoch, payload);
        self.file
            .write_all_at(self.position.offset, &self.frame)
            .map_err(StorageFailure::on("write", &segment::name(self.position.segment)))?;
        self.position.offset += self.frame.len() as u64;
        assert!(self.position.offset <= self.file_bytes, "a frame never grows the file it was given room in");
        Ok(())
    }

    fn sync(&self) -> Result<(), WriteError> {
        Ok(self.file.sync().map_err(StorageFailure::on("sync", &segment::name(self.position.segment)))?)
    }
}

fn size_of(file: &dyn StorageFile, segment: u64) -> Result<u64, StorageFailure> {
    file.size().map_err(StorageFailure::on("stat", &segment::name(segment)))
}
