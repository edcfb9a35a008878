//! Reads the journal at a start, and prepares its end for appending.
//!
//! The rule: *a torn tail is not corruption, and corruption is not a torn tail.* The writer writes one frame at a time, and the
//! next only when it is durable. So a crash can leave one unreadable frame, at the very end. Unreadable bytes are cut off if
//! nothing was ever written after them, in this segment or a later one; otherwise the start is refused. A valid frame that is
//! not the next one is always refused.
//!
//! [`scan`] only reads. [`replay`] also repairs: it deletes segments without a frame, overwrites a torn tail with zeros so that
//! no stale byte is ever taken for a frame, and rewrites the last frame before it syncs. After a failed sync, that frame may be
//! readable only from the page cache; what a replay has shown must be on disk before anything builds on it.

use super::cursor::FrameCursor;
use super::damage::{Damage, Follows};
use super::segment::{self, Position};
use super::storage::{Storage, StorageFailure};
use crate::frame::{self, FrameError, Header, Kind};
use crate::{Epoch, RecoveryError, TARGET};

/// Where the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The last epoch, 0 when there is none.
    pub last_epoch: Epoch,
    /// Behind the last frame; nothing when there is no frame yet.
    pub position: Option<Position>,
    /// Whether the last frame is a seal.
    pub sealed: bool,
}

/// Bytes at the end of the journal that are no frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    pub file: String,
    /// Where they start, in bytes.
    pub offset: u64,
    /// Up to the last one that is not zero.
    pub bytes: u64,
    pub found: FrameError,
}

/// What reading the whole journal has shown.
#[derive(Clone, Debug)]
pub struct Scan {
    pub tail: Tail,
    pub torn: Option<Torn>,
    /// Segments behind the tail that hold no frame.
    unused: Vec<u64>,
    /// Where the last frame starts in the tail's segment.
    last_frame: u64,
}

/// Calls `each` for every batch from epoch `from` on, in order, and makes the journal fit to be written on.
///
/// `reaches` is the greatest epoch that is known from elsewhere to have been durable, such as the snapshot's last or the
/// store's cursor; 0 when nothing is known. Nothing is changed unless the journal is sound and reaches that far.
pub fn replay<E: std::fmt::Display>(
    storage: &dyn Storage,
    from: Epoch,
    reaches: Epoch,
    each: impl FnMut(Epoch, &[u8]) -> Result<(), E>,
) -> Result<Tail, RecoveryError<E>> {
    let scan = scan(storage, from, reaches, each)?;
    if let Some(Torn { file, offset, bytes, found }) = &scan.torn {
        tracing::warn!(target: TARGET, file, offset, bytes, %found, "cut off an incomplete batch at the end of the journal");
    }
    repair(storage, &scan)?;
    Ok(scan.tail)
}

/// Like [`replay`], and changes nothing.
pub fn scan<E: std::fmt::Display>(
    storage: &dyn Storage,
    from: Epoch,
    reaches: Epoch,
    each: impl FnMut(Epoch, &[u8]) -> Result<(), E>,
) -> Result<Scan, RecoveryError<E>> {
    let from = from.max(1);
    let segments = segment::list(storage)?;
    for pair in segments.windows(2) {
        if pair[0] + 1 != pair[1] {
            let (missing, after) = (segment::name(pair[0] + 1), segment::name(pair[1]));
            return Err(Damage::MissingSegment { missing, after }.into());
        }
    }
    let start = segment::holding(storage, &segments, from)?.or(segments.first().copied()).unwrap_or(1);
    let mut walk = Walk { storage, from, each, last: None, end: None, torn: None, unused: Vec::new() };
    for &segment in segments.iter().filter(|&&segment| segment >= start) {
        walk.segment(segment)?;
    }
    walk.finish(start, reaches)
}

/// Where the last frame was found.
#[derive(Clone, Copy)]
struct End {
    segment: u64,
    last_frame: u64,
    offset: u64,
    sealed: bool,
}

struct Walk<'a, F> {
    storage: &'a dyn Storage,
    from: Epoch,
    each: F,
    /// The last epoch read, unknown before the first.
    last: Option<Epoch>,
    end: Option<End>,
    torn: Option<Torn>,
    unused: Vec<u64>,
}

impl<E: std::fmt::Display, F: FnMut(Epoch, &[u8]) -> Result<(), E>> Walk<'_, F> {
    fn segment(&mut self, segment: u64) -> Result<(), RecoveryError<E>> {
        let mut cursor = FrameCursor::open(self.storage, segment::name(segment), segment)?;
        let stopped_by = loop {
            match cursor.peek()? {
                Ok(header) => {
                    self.frame(&cursor, &header)?;
                    let last_frame = cursor.offset();
                    cursor.skip(&header);
                    let sealed = header.kind == Kind::Seal;
                    self.end = Some(End { segment, last_frame, offset: cursor.offset(), sealed });
                }
                Err(error) => break error,
            }
        };
        if self.end.is_none_or(|end| end.segment != segment) {
            self.unused.push(segment);
        }
        self.remainder(&cursor, segment, stopped_by)
    }

    fn frame(&mut self, cursor: &FrameCursor, header: &Header) -> Result<(), RecoveryError<E>> {
        if let Some(torn) = self.torn.take() {
            let (file, offset) = (cursor.name().to_owned(), cursor.offset());
            return Err(torn.into_damage(Follows::Frame { file, offset, epoch: header.epoch }).into());
        }
        let expected = match (header.kind, self.last) {
            (Kind::Batch, Some(last)) => last + 1,
            (Kind::Batch, None) if header.epoch > self.from => {
                let (from, oldest, file) = (self.from, header.epoch, cursor.name().to_owned());
                return Err(Damage::MissingStart { from, oldest, file }.into());
            }
            (Kind::Batch, None) => header.epoch,
            (Kind::Seal, Some(last)) => last,
            (kind, _) => return Err(damage(cursor, FrameError::Misplaced(kind)).into()),
        };
        if header.epoch != expected || header.epoch == 0 {
            return Err(damage(cursor, FrameError::Epoch { expected, found: header.epoch }).into());
        }
        self.last = Some(header.epoch);
        if header.kind == Kind::Batch && header.epoch >= self.from {
            (self.each)(header.epoch, cursor.payload(header))
                .map_err(|error| RecoveryError::Refused { epoch: header.epoch, error })?;
        }
        Ok(())
    }

    /// Judges what stands behind the last good frame of a segment.
    fn remainder(&mut self, cursor: &FrameCursor, segment: u64, found: FrameError) -> Result<(), RecoveryError<E>> {
        if !found.may_be_torn() {
            return Err(damage(cursor, found).into());
        }
        let rest = cursor.rest()?;
        if frame::is_blank(&rest) {
            return Ok(());
        }
        let (file, start) = (cursor.name().to_owned(), cursor.offset());
        if let Some((offset, epoch)) = frame::find(&rest, segment, self.last.unwrap_or(0)) {
            let follows = Follows::Frame { file: file.clone(), offset: start + offset as u64, epoch };
            return Err(Damage::Frame { file, offset: start, found, follows }.into());
        }
        if let Some(torn) = self.torn.take() {
            return Err(torn.into_damage(Follows::Segment { file }).into());
        }
        let bytes = rest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
        self.torn = Some(Torn { file, offset: start, bytes, found });
        Ok(())
    }

    fn finish(self, start: u64, reaches: Epoch) -> Result<Scan, RecoveryError<E>> {
        let last_epoch = self.last.unwrap_or(0);
        let position = self.end.map(|end| Position { segment: end.segment, offset: end.offset });
        // A journal's first segment has the number 1. One that begins later and holds nothing has lost its beginning.
        let reaches = reaches.max(self.from - 1).max(if start > 1 { 1 } else { 0 });
        if last_epoch < reaches {
            let at = position.unwrap_or(Position { segment: start, offset: 0 });
            let (file, offset) = (segment::name(at.segment), at.offset);
            return Err(Damage::MissingEnd { last: last_epoch, reaches, file, offset }.into());
        }
        let sealed = self.end.is_some_and(|end| end.sealed);
        let tail = Tail { last_epoch, position, sealed };
        let last_frame = self.end.map_or(0, |end| end.last_frame);
        Ok(Scan { tail, torn: self.torn, unused: self.unused, last_frame })
    }
}

impl Torn {
    fn into_damage(self, follows: Follows) -> Damage {
        Damage::Frame { file: self.file, offset: self.offset, found: self.found, follows }
    }
}

fn damage(cursor: &FrameCursor, found: FrameError) -> Damage {
    Damage::new(cursor.name(), cursor.offset(), found)
}

/// Every step leaves a journal that scans to the same end, so a crash in here costs nothing.
fn repair(storage: &dyn Storage, scan: &Scan) -> Result<(), StorageFailure> {
    // The newest first: what is left is without a gap.
    for &segment in scan.unused.iter().rev() {
        let name = segment::name(segment);
        storage.remove(&name).map_err(StorageFailure::on("remove", &name))?;
    }
    let Some(position) = scan.tail.position else {
        return Ok(());
    };
    let name = segment::name(position.segment);
    let file = storage.open(&name).map_err(StorageFailure::on("open", &name))?;
    let torn_bytes = scan.torn.as_ref().filter(|torn| torn.file == name).map_or(0, |torn| torn.bytes);
    let mut bytes = vec![0; (position.offset - scan.last_frame) as usize];
    let read = file.read_full_at(scan.last_frame, &mut bytes).map_err(StorageFailure::on("read", &name))?;
    bytes.truncate(read);
    bytes.resize(bytes.len() + torn_bytes as usize, 0);
    file.write_all_at(scan.last_frame, &bytes).map_err(StorageFailure::on("write", &name))?;
    file.sync().map_err(StorageFailure::on("sync", &name))
}
