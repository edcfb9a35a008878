//! Describes damage: the file, the byte, what was found there, and why it is not a torn tail.

use crate::frame::FrameError;
use crate::{Epoch, ReadError, RecoveryError};

/// What was once written in full is no longer what it was, or is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// `offset`: where the bad frame starts, in bytes from the file's start.
    #[error("{file} is damaged at byte {offset}: {found}{follows}")]
    Frame { file: String, offset: u64, found: FrameError, follows: Follows },
    #[error("the journal lacks {missing}, although it has {after}")]
    MissingSegment { missing: String, after: String },
    #[error("the journal starts with epoch {oldest} in {file}, but the service needs epochs from {from} on")]
    MissingStart { from: Epoch, oldest: Epoch, file: String },
    #[error("the journal ends with epoch {last} ({file}, byte {offset}), although epoch {reaches} was durable")]
    MissingEnd { last: Epoch, reaches: Epoch, file: String, offset: u64 },
}

/// What stands behind a bad frame and shows that it is not a torn tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follows {
    /// The bad frame alone is proof enough.
    Nothing,
    /// A frame whose checksum holds.
    Frame { file: String, offset: u64, epoch: Epoch },
    /// A later segment was written to, which happens only when the earlier one is complete.
    Segment { file: String },
}

impl std::fmt::Display for Follows {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Follows::Nothing => Ok(()),
            Follows::Frame { file, offset, epoch } => {
                write!(
                    formatter,
                    "; not a torn tail, because {file} has a good frame of epoch {epoch} at byte {offset}"
                )
            }
            Follows::Segment { file } => {
                write!(formatter, "; not a torn tail, because {file} was written after it")
            }
        }
    }
}

impl Damage {
    pub(crate) fn new(file: impl Into<String>, offset: u64, found: FrameError) -> Damage {
        Damage::Frame { file: file.into(), offset, found, follows: Follows::Nothing }
    }

    /// The damaged or missing file.
    pub fn file(&self) -> &str {
        match self {
            Damage::Frame { file, .. } | Damage::MissingStart { file, .. } | Damage::MissingEnd { file, .. } => file,
            Damage::MissingSegment { missing, .. } => missing,
        }
    }

    /// Where in the file, in bytes from its start.
    pub fn offset(&self) -> Option<u64> {
        match self {
            Damage::Frame { offset, .. } | Damage::MissingEnd { offset, .. } => Some(*offset),
            Damage::MissingStart { .. } => Some(0),
            Damage::MissingSegment { .. } => None,
        }
    }
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> ReadError {
        ReadError::Damaged(damage.into())
    }
}

impl<E: std::fmt::Display> From<Damage> for RecoveryError<E> {
    fn from(damage: Damage) -> RecoveryError<E> {
        RecoveryError::Read(damage.into())
    }
}
