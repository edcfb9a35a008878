//! Walks the frames of one file, reading ahead in one window.
//!
//! The window may hold bytes that were read before they were written. A frame with a valid checksum is final, because frames
//! are written once; any other bytes are read again before they count.

use std::sync::Arc;

use super::storage::{Storage, StorageFailure, StorageFile};
use crate::frame::{self, FrameError, HEADER_BYTES, Header};

/// The least that is read at once: what a reader at the journal's end needs.
const WINDOW_BYTES_MIN: usize = 16 << 10;
/// The most that is read ahead, for one that catches up. A frame longer than this gets a window of its size, for itself.
const WINDOW_BYTES_MAX: usize = 256 << 10;

pub(crate) struct FrameCursor {
    file: Arc<dyn StorageFile>,
    name: String,
    owner: u64,
    window: Vec<u8>,
    /// Where in the window the next frame starts; at its end when nothing is held.
    next: usize,
    /// Where in the file the next frame starts.
    offset: u64,
    read_bytes: usize,
}

impl FrameCursor {
    pub(crate) fn open(storage: &dyn Storage, name: String, owner: u64) -> Result<FrameCursor, StorageFailure> {
        let file = storage.open(&name).map_err(StorageFailure::on("open", &name))?;
        let read_bytes = WINDOW_BYTES_MIN;
        Ok(FrameCursor { file, name, owner, window: Vec::new(), next: 0, offset: 0, read_bytes })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where the next frame starts, in bytes from the start of the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn size(&self) -> Result<u64, StorageFailure> {
        self.file.size().map_err(StorageFailure::on("stat", &self.name))
    }

    /// The header of the next frame, or what is there instead as of this call.
    pub(crate) fn peek(&mut self) -> Result<Result<Header, FrameError>, StorageFailure> {
        let ran_out = match frame::decode(self.held(), self.owner) {
            Ok(header) => return Ok(Ok(header)),
            Err(error) => matches!(error, FrameError::Truncated { .. }),
        };
        // A caller that used up the window is catching up; one at the journal's end needs little.
        self.read_bytes = if ran_out { WINDOW_BYTES_MAX.min(2 * self.read_bytes) } else { WINDOW_BYTES_MIN };
        self.fill(self.read_bytes)?;
        if let Err(FrameError::Truncated { needed }) = frame::decode(self.held(), self.owner)
            && needed as u64 <= self.size()?.saturating_sub(self.offset)
        {
            self.fill(needed)?;
        }
        let decided = frame::decode(self.held(), self.owner);
        // Fewer bytes than a header are left in the file, and nothing was ever written there.
        let at_end = self.held().len() < HEADER_BYTES && frame::is_blank(self.held());
        Ok(if at_end { Err(FrameError::Empty) } else { decided })
    }

    /// The payload of the frame that was last peeked at.
    pub(crate) fn payload(&self, header: &Header) -> &[u8] {
        &self.held()[HEADER_BYTES..][..header.payload_bytes]
    }

    /// Moves behind the frame that was last peeked at.
    pub(crate) fn skip(&mut self, header: &Header) {
        self.offset += header.frame_bytes() as u64;
        self.next = self.window.len().min(self.next + header.frame_bytes());
    }

    /// Moves behind the frame that was last peeked at, and hands out its payload.
    pub(crate) fn take(&mut self, header: &Header) -> &[u8] {
        let start = self.next + HEADER_BYTES;
        self.skip(header);
        &self.window[start..][..header.payload_bytes]
    }

    /// Everything from the next frame's start to the end of the file.
    pub(crate) fn rest(&self) -> Result<Vec<u8>, StorageFailure> {
        let bytes = self.size()?.saturating_sub(self.offset);
        self.read(self.offset, bytes as usize)
    }

    /// Up to `bytes` from anywhere in the file.
    pub(crate) fn read(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, StorageFailure> {
        let mut buffer = vec![0; bytes];
        let read = self.file.read_full_at(offset, &mut buffer).map_err(StorageFailure::on("read", &self.name))?;
        buffer.truncate(read);
        Ok(buffer)
    }

    fn held(&self) -> &[u8] {
        &self.window[self.next..]
    }

    fn fill(&mut self, bytes: usize) -> Result<(), StorageFailure> {
        self.next = 0;
        self.window.resize(bytes, 0);
        if bytes <= WINDOW_BYTES_MAX {
            self.window.shrink_to(WINDOW_BYTES_MAX);
        }
        let read = self.file.read_full_at(self.offset, &mut self.window);
        // On an error nothing is held, so that no stale byte is taken for the file's.
        self.window.truncate(*read.as_ref().unwrap_or(&0));
        read.map(drop).map_err(StorageFailure::on("read", &self.name))
    }
}
