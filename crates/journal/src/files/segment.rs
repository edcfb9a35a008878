//! Segment files: their names, and positions in them.
//!
//! Segments are numbered from 1 without a gap; the oldest are deleted first. The first frame of a segment is a batch, so its
//! epoch shows what the segment holds. The writer leaves a segment only when all of its frames are durable, so zeros (or the
//! end of the file) in a segment with a successor mean that the journal continues there.

use super::cursor::FrameCursor;
use super::storage::{Storage, StorageFailure};
use crate::{Epoch, frame};

pub(crate) const PREFIX: &str = "journal-";
pub(crate) const SUFFIX: &str = ".seg";

/// A place in the journal: a segment's id and an offset in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub segment: u64,
    pub offset: u64,
}

pub(crate) fn name(segment: u64) -> String {
    format!("{PREFIX}{segment:020}{SUFFIX}")
}

/// The number in a file name of the form `prefix`, 20 digits, `suffix`.
pub(crate) fn number_in(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// The ids of all segments, in order.
pub(crate) fn list(storage: &dyn Storage) -> Result<Vec<u64>, StorageFailure> {
    let names = storage.list().map_err(StorageFailure::on("list", "the journal's directory"))?;
    let mut ids: Vec<u64> = names.iter().filter_map(|name| number_in(name, PREFIX, SUFFIX)).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// The epoch of a segment's first frame; nothing when there is no readable frame, or no such segment any more.
pub(crate) fn first_epoch(storage: &dyn Storage, segment: u64) -> Result<Option<Epoch>, StorageFailure> {
    let mut cursor = match FrameCursor::open(storage, name(segment), segment) {
        Ok(cursor) => cursor,
        Err(failure) if failure.is_not_found() => return Ok(None),
        Err(failure) => return Err(failure),
    };
    Ok(match cursor.peek()? {
        Ok(header) if header.kind == frame::Kind::Batch => Some(header.epoch),
        Ok(_) | Err(_) => None,
    })
}

/// The first epoch that the journal still has; nothing when it has none.
pub fn oldest_epoch(storage: &dyn Storage) -> Result<Option<Epoch>, StorageFailure> {
    match list(storage)?.first() {
        Some(&segment) => first_epoch(storage, segment),
        None => Ok(None),
    }
}

/// The newest of `segments` that starts at `epoch` or before it: where that epoch is, if it is anywhere.
pub(crate) fn holding(storage: &dyn Storage, segments: &[u64], epoch: Epoch) -> Result<Option<u64>, StorageFailure> {
    for &segment in segments.iter().rev() {
        if first_epoch(storage, segment)?.is_some_and(|first| first <= epoch) {
            return Ok(Some(segment));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_like_their_numbers_and_read_back() {
        assert_eq!(name(1), "journal-00000000000000000001.seg");
        for id in [1, 42, u64::MAX] {
            assert_eq!(number_in(&name(id), PREFIX, SUFFIX), Some(id));
        }
        for other in ["journal-1.seg", "journal-0000000000000000000x.seg", "journal-00000000000000000001.seg.tmp", "x"]
        {
            assert_eq!(number_in(other, PREFIX, SUFFIX), None, "{other}");
        }
    }
}
