//! What each segment holds, as far as its frames can be read. Judges nothing: whether what follows the last good
//! frame is a torn tail or damage is for `files::scan` to say.

use std::io;

use serde::Serialize;

use crate::journal::{
    Epoch,
    files::{StorageFile, View, ViewedFile, segment_id},
    frame::{self, FrameError, HEADER_BYTES, Header, Kind},
};

/// Read ahead of the frames.
const WINDOW_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SegmentFacts {
    pub id: u64,
    pub file: String,
    /// Of the first and the last batch; none in a segment that was made in advance.
    pub first_epoch: Option<Epoch>,
    pub last_epoch: Option<Epoch>,
    pub frames: u64,
    pub used_bytes: u64,
    pub allocated_bytes: u64,
    /// The last frame is a seal.
    pub sealed: bool,
}

/// All segments, oldest first.
pub(super) fn survey(view: &View) -> io::Result<Vec<SegmentFacts>> {
    let segments = view.files().filter_map(|(name, file)| Some((segment_id(name)?, name, file)));
    segments.map(|(id, name, file)| survey_segment(id, name, file)).collect()
}

fn survey_segment(id: u64, name: &str, file: &ViewedFile) -> io::Result<SegmentFacts> {
    let mut facts = SegmentFacts {
        id,
        file: name.to_owned(),
        first_epoch: None,
        last_epoch: None,
        frames: 0,
        used_bytes: 0,
        allocated_bytes: file.bytes,
        sealed: false,
    };
    let mut frames = Frames { file, owner: id, offset: 0, window: Vec::new(), window_offset: 0 };
    while let Some(header) = frames.next()? {
        facts.frames += 1;
        facts.sealed = header.kind == Kind::Seal;
        if header.kind == Kind::Batch {
            facts.first_epoch.get_or_insert(header.epoch);
            facts.last_epoch = Some(header.epoch);
        }
    }
    facts.used_bytes = frames.offset;
    Ok(facts)
}

/// The headers of a file's frames, up to the first that is not good.
struct Frames<'a> {
    file: &'a ViewedFile,
    owner: u64,
    offset: u64,
    window: Vec<u8>,
    window_offset: u64,
}

impl Frames<'_> {
    fn next(&mut self) -> io::Result<Option<Header>> {
        let mut decoded = frame::decode(self.held(), self.owner);
        if matches!(decoded, Err(FrameError::Truncated { .. })) {
            self.fill(WINDOW_BYTES)?;
            decoded = frame::decode(self.held(), self.owner);
        }
        // A frame longer than the window. One longer than the file is none.
        if let Err(FrameError::Truncated { needed }) = decoded
            && needed > HEADER_BYTES
            && needed as u64 <= self.file.bytes.saturating_sub(self.offset)
        {
            self.fill(needed)?;
            decoded = frame::decode(self.held(), self.owner);
        }
        let Ok(header) = decoded else { return Ok(None) };
        self.offset += header.frame_bytes() as u64;
        Ok(Some(header))
    }

    fn held(&self) -> &[u8] {
        let start = (self.offset - self.window_offset).min(self.window.len() as u64);
        &self.window[start as usize..]
    }

    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        self.window.resize(bytes, 0);
        let read = self.file.read_full_at(self.offset, &mut self.window)?;
        self.window.truncate(read);
        self.window_offset = self.offset;
        Ok(())
    }
}
