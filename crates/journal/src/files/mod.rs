//! The log and the snapshots in the files of one directory.
//!
//! A batch is one [`frame`](crate::frame) in a preallocated segment file; a snapshot is a file of frames. Invariants beyond those of the
//! traits:
//!
//! - A torn tail is not corruption, and corruption is not a torn tail: the first is cut off, the second is refused with file and
//!   offset.
//! - A failed write or sync is final. No sync is tried twice.
//!
//! The parts, bottom up: [`Storage`] is the seam to the disk ([`DirectoryStorage`], and [`MemoryStorage`] with faults and power
//! loss for tests); `writer` appends; `recovery` reads and repairs at a start; `reader` follows the writer; `snapshot` is the
//! store of snapshots. [`View`] reads a directory without changing anything, also while a service runs on it: what inspects,
//! copies or compares files uses that, and nothing else needs to know that there are files.
//!
//! The directory's lock is not here: whoever opens it has made sure that nobody else has it open.

mod cursor;
mod damage;
mod memory_storage;
mod prepared;
mod reader;
mod recovery;
mod segment;
mod snapshot;
mod storage;
mod view;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

pub use self::{
    damage::{Damage, Follows},
    memory_storage::{EIO, ENOSPC, MemoryStorage, Survival},
    recovery::{Scan, Tail, Torn, replay, scan},
    segment::{Position, oldest_epoch},
    snapshot::FileSnapshots,
    storage::{DirectoryStorage, Storage, StorageFailure, StorageFile},
    view::{View, ViewedFile, segment_id, snapshot_epoch},
};
use self::{prepared::PreparedSegment, reader::Reader, writer::Writer};
use crate::{
    AppendError, Cause, CommitStats, Epoch, Log, LogReader, MonotonicClock, ReadError, RecoveryError, Removed, TARGET,
};

#[derive(Clone)]
pub struct FileSettings {
    /// Size of a segment in bytes. A larger frame gets a segment of its own size.
    pub segment_bytes: u64,
    /// Measures writes and syncs.
    pub clock: Arc<dyn MonotonicClock>,
}

/// The log and the snapshots of a directory, which is created if it is missing.
pub fn open(directory: &Path, settings: FileSettings) -> io::Result<(FileLog, FileSnapshots)> {
    let storage = Arc::new(DirectoryStorage::open(directory)?);
    Ok((FileLog::new(storage.clone(), settings), FileSnapshots::new(storage)))
}

/// The log in segment files.
pub struct FileLog {
    storage: Arc<dyn Storage>,
    settings: FileSettings,
    prepared: Arc<PreparedSegment>,
    preparing: Option<JoinHandle<()>>,
    /// None until the log is taken over.
    writer: Mutex<Option<Writer>>,
    /// Where the writer has come to; readers of it do not wait for an append.
    end: Mutex<End>,
    /// The latest epoch for which a segment is to be left.
    removable: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct End {
    epoch: Epoch,
    /// None without any batch.
    position: Option<Position>,
}

impl FileLog {
    /// Reads and writes nothing yet.
    pub fn new(storage: Arc<dyn Storage>, settings: FileSettings) -> FileLog {
        let prepared = Arc::new(PreparedSegment::new(storage.clone()));
        let (writer, end, removable) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        FileLog { storage, settings, prepared, preparing: None, writer, end, removable }
    }

    /// Has a thread of its own prepare segments, so that no append has to.
    pub fn with_preparing_thread(mut self) -> FileLog {
        let prepared = self.prepared.clone();
        match thread::Builder::new().name("journal-segments".to_owned()).spawn(move || prepared.work()) {
            Ok(thread) => self.preparing = Some(thread),
            Err(error) => tracing::warn!(target: TARGET, %error, "could not start the thread that prepares journal \
                                         segments; commits will wait for them"),
        }
        self
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        self.prepared.close();
        if let Some(thread) = self.preparing.take() {
            // A panic in it was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// The caller of a replay has broken it off.
#[derive(Debug, thiserror::Error)]
#[error("broken off")]
struct BrokenOff;

impl Log for FileLog {
    fn take_over(
        &self,
        from: Epoch,
        reaches: Epoch,
        each: &mut dyn FnMut(Epoch, &[u8]) -> ControlFlow<()>,
    ) -> Result<Epoch, ReadError> {
        let mut writer = self.writer.lock();
        assert!(writer.is_none(), "a log is taken over once");
        let replayed =
            recovery::replay(self.storage.as_ref(), from, reaches, |epoch, payload| match each(epoch, payload) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(BrokenOff),
            });
        let tail = match replayed {
            Ok(tail) => tail,
            Err(RecoveryError::Read(error)) => return Err(error),
            Err(RecoveryError::Refused { error: BrokenOff, .. }) => return Ok(0),
        };
        let opened = Writer::open(self.storage.as_ref(), self.prepared.clone(), &tail, self.settings.clone())?;
        *writer = Some(opened);
        *self.end.lock() = End { epoch: tail.last_epoch, position: tail.position };
        Ok(tail.last_epoch)
    }

    fn append(&self, tail: Epoch, payload: &[u8]) -> Result<CommitStats, AppendError> {
        let mut writer = self.writer.lock();
        let writer = writer.as_mut().expect("a log is taken over before it is appended to");
        let stats = writer.append(tail, self.removable.load(Ordering::Acquire), payload)?;
        *self.end.lock() = End { epoch: writer.last_epoch(), position: Some(writer.position()) };
        Ok(stats)
    }

    fn tail(&self) -> Epoch {
        self.end.lock().epoch
    }

    fn read(&self, after: Epoch) -> Box<dyn LogReader> {
        Box::new(Reader::new(self.storage.clone(), after))
    }

    fn bytes_after(&self, epoch: Epoch) -> Result<u64, ReadError> {
        let end = *self.end.lock();
        match end.position {
            Some(position) if epoch < end.epoch => Reader::new(self.storage.clone(), epoch).bytes_until(position),
            _ => Ok(0),
        }
    }

    fn make_removable(&self, through: Epoch) {
        self.removable.fetch_max(through, Ordering::AcqRel);
    }

    fn trim(&self, keep_from: Epoch) -> Result<Removed, Cause> {
        let storage = self.storage.as_ref();
        let mut removed = Removed::default();
        // Oldest first: what a crash leaves is without a gap. A segment goes only when the next one starts with an epoch
        // before `keep_from`, which is durable; so a durable frame is always left, and with it the count of epochs.
        for pair in segment::list(storage)?.windows(2) {
            match segment::first_epoch(storage, pair[1])? {
                Some(first) if first < keep_from => remove(storage, &segment::name(pair[0]), &mut removed)?,
                _ => break,
            }
        }
        Ok(removed)
    }

    fn seal(&self) -> Result<(), AppendError> {
        self.writer.lock().as_mut().expect("a log is taken over before it is sealed").seal()
    }
}

fn remove(storage: &dyn Storage, name: &str, removed: &mut Removed) -> Result<(), StorageFailure> {
    let size = storage.open(name).and_then(|file| file.size()).map_err(StorageFailure::on("stat", name))?;
    storage.remove(name).map_err(StorageFailure::on("remove", name))?;
    removed.units += 1;
    removed.bytes += size;
    Ok(())
}
