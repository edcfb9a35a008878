//! The files of a journal as they were at one moment, for reading only.
//!
//! The service may run meanwhile. Invariants: a view writes nothing and opens nothing for writing; and it sees a prefix of what
//! was written, so a batch in progress looks like a torn tail and never like damage.
//!
//! How: it opens all files first, so that none disappears. Then it measures segments, newest first, each up to its last byte
//! that is not zero, and shows nothing after that. Frames are written in order, so everything before a byte that it saw was
//! written before. It stops at the first segment that is not empty: earlier ones are complete.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use super::{
    FileSnapshots, segment, snapshot,
    storage::{Storage, StorageFile},
};

/// Tries to list and open all files while others are removed.
const ATTEMPTS_MAX: usize = 10;
const CHUNK_BYTES: u64 = 1 << 20;

#[derive(Clone)]
pub struct View {
    files: BTreeMap<String, Arc<ViewedFile>>,
}

pub struct ViewedFile {
    file: File,
    pub bytes: u64,
    pub modified: SystemTime,
    /// What stands at this offset and behind it is shown as zeros.
    visible_bytes: u64,
}

impl View {
    /// Opens every file of the directory.
    pub fn open(directory: &Path) -> io::Result<View> {
        let mut attempts = 1;
        let mut files = loop {
            match open_all(directory) {
                // Pruned between being listed and being opened; its successors are there by now.
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS_MAX => attempts += 1,
                opened => break opened?,
            }
        };
        for (_, file) in files.iter_mut().rev().filter(|(name, _)| segment_id(name).is_some()) {
            file.visible_bytes = file.written_bytes()?;
            if file.visible_bytes > 0 {
                break;
            }
        }
        Ok(View { files: files.into_iter().map(|(name, file)| (name, Arc::new(file))).collect() })
    }

    /// Only one of the files.
    pub fn only(&self, name: &str) -> View {
        let mut files = self.files.clone();
        files.retain(|other, _| other == name);
        View { files }
    }

    /// Its snapshots, for reading.
    pub fn snapshots(&self) -> FileSnapshots {
        FileSnapshots::new(Arc::new(self.clone()))
    }

    pub fn files(&self) -> impl Iterator<Item = (&str, &ViewedFile)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file.as_ref()))
    }
}

fn open_all(directory: &Path) -> io::Result<BTreeMap<String, ViewedFile>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !entry.file_type()?.is_file() {
            continue;
        }
        let file = File::open(entry.path())?;
        let metadata = file.metadata()?;
        let (bytes, modified) = (metadata.len(), metadata.modified()?);
        files.insert(name, ViewedFile { file, bytes, modified, visible_bytes: u64::MAX });
    }
    Ok(files)
}

/// The number of a segment's file, `journal-<20 digits>.seg`.
pub fn segment_id(name: &str) -> Option<u64> {
    segment::number_in(name, segment::PREFIX, segment::SUFFIX)
}

/// The first epoch of a snapshot's file, `snapshot-<20 digits>.snap`.
pub fn snapshot_epoch(name: &str) -> Option<u64> {
    segment::number_in(name, snapshot::PREFIX, snapshot::SUFFIX)
}

impl ViewedFile {
    /// Whether anything but zeros is seen of it.
    pub fn has_content(&self) -> bool {
        self.visible_bytes > 0
    }

    /// Writes what is seen of it into a new file of the same size, whose end stays a hole where it is zeros. Says how many bytes
    /// were written.
    pub fn copy_to(&self, copy: &mut File) -> io::Result<u64> {
        let end = self.visible_bytes.min(self.bytes);
        let mut chunk = vec![0; CHUNK_BYTES as usize];
        let mut offset = 0;
        while offset < end {
            let wanted = CHUNK_BYTES.min(end - offset) as usize;
            let read = self.read_full_at(offset, &mut chunk[..wanted])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            copy.write_all_at(&chunk[..read], offset)?;
            offset += read as u64;
        }
        copy.set_len(self.bytes)?;
        Ok(end)
    }

    /// Up to the last byte that is not zero, searched from the end.
    fn written_bytes(&self) -> io::Result<u64> {
        let mut chunk = vec![0; CHUNK_BYTES as usize];
        let mut end = self.bytes;
        while end > 0 {
            let start = end.saturating_sub(CHUNK_BYTES);
            let read = self.read_full_at(start, &mut chunk[..(end - start) as usize])?;
            if let Some(last) = chunk[..read].iter().rposition(|&byte| byte != 0) {
                return Ok(start + last as u64 + 1);
            }
            end = start;
        }
        Ok(0)
    }
}

impl StorageFile for ViewedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.bytes.saturating_sub(offset);
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..wanted];
        if offset >= self.visible_bytes {
            buffer.fill(0);
            return Ok(wanted);
        }
        let visible = buffer.len().min(usize::try_from(self.visible_bytes - offset).unwrap_or(usize::MAX));
        self.file.read_at(&mut buffer[..visible], offset)
    }

    fn write_at(&self, _offset: u64, _bytes: &[u8]) -> io::Result<usize> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Err(read_only())
    }
}

/// What `Storage` opens: a file of the view, shared.
struct Shared(Arc<ViewedFile>);

impl StorageFile for Shared {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

impl Storage for View {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.keys().cloned().collect())
    }

    fn create(&self, _name: &str, _bytes: u64) -> io::Result<Arc<dyn StorageFile>> {
        Err(read_only())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Shared(file.clone())))
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Err(read_only())
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "this view of the journal is read-only")
}
