//! The seam to the disk, below the log in files: few operations, each with a stated durability, so that tests can inject faults.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::{ReadError, RecoveryError, SnapshotError};

/// A flat directory of files. What changes names is durable when it returns.
pub trait Storage: Send + Sync {
    /// The names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file that must not exist yet, of `bytes` zeros on blocks of its own. Once it returns, the file survives a
    /// crash and writes inside that size need no further space. A full disk shows here, and leaves no file behind.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn StorageFile>>;

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Replaces `to` if it exists. After a crash there is the one or the other, never neither.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// A file still open elsewhere stays readable there.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// One open file. Reading and writing name their offset, so one handle serves many threads.
pub trait StorageFile: Send + Sync {
    /// Current size in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Reads some bytes; fewer than asked for is normal, 0 is the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes some bytes, growing the file when they end beyond it; fewer than given is normal.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Makes all earlier writes durable, and the size needed to read them (`fdatasync`). After an error nothing is known
    /// about them, and a second call may report success for bytes that are gone.
    fn sync(&self) -> io::Result<()>;

    /// Reads until the buffer is full or the file ends; returns the bytes read.
    fn read_full_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(offset + filled as u64, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Writes all of the bytes or fails.
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_at(offset + written as u64, &bytes[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The storage refused an operation.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {file}: {source}")]
pub struct StorageFailure {
    /// What was tried, such as "write" or "sync".
    pub action: &'static str,
    pub file: String,
    pub source: io::Error,
}

impl StorageFailure {
    /// For `map_err`: adds the action and the file.
    pub(crate) fn on<'a>(action: &'static str, file: &'a str) -> impl FnOnce(io::Error) -> StorageFailure + 'a {
        move |source| StorageFailure { action, file: file.to_owned(), source }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

impl From<StorageFailure> for ReadError {
    fn from(failure: StorageFailure) -> ReadError {
        ReadError::Unreadable(failure.into())
    }
}

impl<E: std::fmt::Display> From<StorageFailure> for RecoveryError<E> {
    fn from(failure: StorageFailure) -> RecoveryError<E> {
        RecoveryError::Read(failure.into())
    }
}

impl From<StorageFailure> for SnapshotError {
    fn from(failure: StorageFailure) -> SnapshotError {
        SnapshotError::Failed(failure.into())
    }
}

/// The files of one real directory.
pub struct DirectoryStorage {
    path: PathBuf,
    /// Held open: syncing it is what makes a name durable.
    directory: File,
}

impl DirectoryStorage {
    /// Opens the directory, and creates it (durably) if it is missing.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<DirectoryStorage> {
        let path = path.into();
        if !path.is_dir() {
            fs::create_dir_all(&path)?;
            if let Some(parent) = fs::canonicalize(&path)?.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        let directory = File::open(&path)?;
        Ok(DirectoryStorage { path, directory })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at(&self, name: &str) -> PathBuf {
        assert!(!name.contains('/') && name != "..", "a storage is flat, and {name:?} is not a plain file name");
        self.path.join(name)
    }
}

impl Storage for DirectoryStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn StorageFile>> {
        let path = self.at(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let filled = allocate(&file, bytes).and_then(|()| file.sync_all()).and_then(|()| self.directory.sync_all());
        if let Err(error) = filled {
            // Best effort: the first error is the one worth reporting, and an empty file does no harm.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Arc::new(DirectoryFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.at(name))?;
        Ok(Arc::new(DirectoryFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))?;
        self.directory.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.at(name))?;
        self.directory.sync_all()
    }
}

/// One step of filling a new file. Each is synced by itself, because a commit's sync waits behind whatever the device was
/// given before: 64 MiB at once held commits up for 60 ms, in steps of this size for about 5 ms (ext4, virtio disk).
const FILL_BYTES: usize = 1 << 20;

/// Gives a new file its blocks, and writes zeros over them. `fallocate` alone would leave them marked as unwritten, and
/// each sync of an append would then also have to commit that mark's removal: 0.42 ms instead of 0.21 ms (median, ext4).
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = vec![0; FILL_BYTES.min(usize::try_from(bytes).unwrap_or(FILL_BYTES))];
    let mut offset = 0;
    while offset < bytes {
        let step = (bytes - offset).min(zeros.len() as u64);
        file.write_all_at(&zeros[..step as usize], offset)?;
        file.sync_data()?;
        offset += step;
    }
    Ok(())
}

struct DirectoryFile(File);

impl StorageFile for DirectoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(&self.0, buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        FileExt::write_at(&self.0, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
