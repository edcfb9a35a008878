//! Follows the journal behind the writer: returns every batch once and in order.
//!
//! Invariant: a reader never returns a batch beyond the caller's `durable` epoch. Every batch up to that epoch must be in the
//! files, so a reader never has to guess whether a frame is still being written: the next one is here, in the next segment, or
//! damaged.

use std::sync::Arc;

use super::cursor::FrameCursor;
use super::damage::Damage;
use super::segment::{self, Position};
use super::storage::{Storage, StorageFailure};
use crate::frame::{FrameError, Header, Kind};
use crate::{Batch, Epoch, LogReader, ReadError};

/// One follower.
pub(crate) struct Reader {
    storage: Arc<dyn Storage>,
    last: Epoch,
    /// In which segment, and where; found with the first batch that is wanted.
    place: Option<(u64, FrameCursor)>,
}

impl Reader {
    /// A reader whose first batch is the one after epoch `after`. Opens nothing yet.
    pub(crate) fn new(storage: Arc<dyn Storage>, after: Epoch) -> Reader {
        Reader { storage, last: after, place: None }
    }

    /// How many bytes of journal are left between this reader and `end`, which is behind the next batch. Exact within a segment;
    /// further off it counts the unused end of each segment between.
    pub(crate) fn bytes_until(&mut self, end: Position) -> Result<u64, ReadError> {
        self.find_next()?;
        let (segment, offset) = {
            let (segment, cursor) = self.placed()?;
            (*segment, cursor.offset())
        };
        if segment >= end.segment {
            return Ok(end.offset.saturating_sub(offset));
        }
        let mut bytes = end.offset;
        for id in segment..end.segment {
            let name = segment::name(id);
            bytes += match self.storage.open(&name).and_then(|file| file.size()) {
                Ok(size) if id == segment => size.saturating_sub(offset),
                Ok(size) => size,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
                Err(error) => return Err(StorageFailure::on("stat", &name)(error).into()),
            };
        }
        Ok(bytes)
    }

    /// Stops in front of the wanted batch, which is durable.
    fn find_next(&mut self) -> Result<Header, ReadError> {
        let wanted = self.last + 1;
        loop {
            let (segment, cursor) = self.placed()?;
            match cursor.peek()? {
                Ok(header) if header.kind == Kind::Batch && header.epoch == wanted => return Ok(header),
                // Only in the segment that the reader started in, and behind an idle time.
                Ok(header) if header.epoch < wanted => cursor.skip(&header),
                Ok(header) => {
                    let found = FrameError::Epoch { expected: wanted, found: header.epoch };
                    return Err(Damage::new(cursor.name(), cursor.offset(), found).into());
                }
                Err(FrameError::Empty) => {
                    let next = *segment + 1;
                    self.go_on_in(next)?;
                }
                Err(found) => return Err(Damage::new(cursor.name(), cursor.offset(), found).into()),
            }
        }
    }

    fn go_on_in(&mut self, segment: u64) -> Result<(), ReadError> {
        match FrameCursor::open(self.storage.as_ref(), segment::name(segment), segment) {
            Ok(cursor) => self.place = Some((segment, cursor)),
            Err(failure) if failure.is_not_found() => {
                // The next segment was deleted, or this one lacks data. Another look shows which.
                let (_, left) = self.place.take().expect("the reader comes from a segment");
                let (_, cursor) = self.placed()?;
                if cursor.name() == left.name() {
                    return Err(Damage::new(left.name(), left.offset(), FrameError::Empty).into());
                }
            }
            Err(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    /// The place in the journal, looked for where it is not known.
    fn placed(&mut self) -> Result<&mut (u64, FrameCursor), ReadError> {
        if self.place.is_none() {
            self.place = Some(self.locate(self.last + 1)?);
        }
        Ok(self.place.as_mut().expect("it was just found"))
    }

    fn locate(&self, wanted: Epoch) -> Result<(u64, FrameCursor), ReadError> {
        let storage = self.storage.as_ref();
        let segments = segment::list(storage)?;
        if let Some(segment) = segment::holding(storage, &segments, wanted)? {
            match FrameCursor::open(storage, segment::name(segment), segment) {
                Ok(cursor) => return Ok((segment, cursor)),
                Err(failure) if failure.is_not_found() => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        for &segment in &segments {
            if let Some(oldest) = segment::first_epoch(storage, segment)?.filter(|&oldest| oldest > wanted) {
                return Err(ReadError::TooOld { wanted, oldest });
            }
        }
        Err(ReadError::Missing { wanted })
    }
}

impl LogReader for Reader {
    fn next(&mut self, durable: Epoch) -> Result<Option<Batch<'_>>, ReadError> {
        if durable <= self.last {
            return Ok(None);
        }
        let header = self.find_next()?;
        self.last = header.epoch;
        let (_, cursor) = self.place.as_mut().expect("a frame was found, so it stands somewhere");
        let payload = cursor.take(&header);
        Ok(Some(Batch { epoch: header.epoch, payload, stored_bytes: header.frame_bytes() as u64 }))
    }

    fn last_epoch(&self) -> Epoch {
        self.last
    }
}
