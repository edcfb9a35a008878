//! Describes damage: the file, the byte, what was found there, and why it is not a torn tail.

use super::Epoch;
use super::frame::FrameError;

/// Bytes that were once written in full are no longer what they were.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is damaged at byte {offset}: {found}{follows}")]
pub struct Damage {
    pub file: String,
    /// Where the bad frame starts, in bytes from the file's start.
    pub offset: u64,
    pub found: FrameError,
    pub follows: Follows,
}

/// What stands behind the damage and shows that it is not a torn tail.
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
    pub(super) fn new(file: impl Into<String>, offset: u64, found: FrameError) -> Damage {
        Damage { file: file.into(), offset, found, follows: Follows::Nothing }
    }
}
