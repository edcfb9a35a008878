//! The byte format of everything the journal writes: one header, one payload, one checksum over both.
//!
//! ```text
//! offset  bytes  field, all little-endian
//!      0      4  payload length in bytes
//!      4      4  checksum: CRC32C over every byte of header and payload but these four
//!      8      4  format version
//!     12      4  kind: 0 batch or chunk, 1 seal, 2 end of snapshot
//!     16      8  owner: the segment's id, or the snapshot's first epoch
//!     24      8  epoch, or the number of the chunk
//!     32      …  payload, then zeros up to a multiple of 8
//! ```
//!
//! The owner ties a frame to its file: stale bytes from another file on the same blocks never pass for this file's. Every frame
//! starts at a multiple of 8, so that a search for a later frame has few places to check.

use memchr::memmem;

/// Size of a header in bytes. No frame is shorter.
pub const HEADER_BYTES: usize = 32;
/// What this program writes, and the only version it reads.
pub const FORMAT_VERSION: u32 = 1;
/// The longest payload of one frame, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 30;

const CHECKSUM: std::ops::Range<usize> = 4..8;
const OWNER_OFFSET: usize = 16;
const ALIGNMENT: usize = 8;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A batch of a segment, or a chunk of a snapshot.
    Batch = 0,
    /// Says that the epoch it repeats is on disk. It proves that what stands before it had been written in full, so that
    /// damage to the last batch is not taken for a torn tail.
    Seal = 1,
    /// Ends a snapshot: what follows it is nothing.
    SnapshotEnd = 2,
}

/// A frame's header, already checked against the bytes that follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    /// Segment id, or the snapshot's first epoch.
    pub owner: u64,
    /// Epoch, or the number of the chunk from 1.
    pub epoch: u64,
    pub payload_bytes: usize,
}

impl Header {
    /// Size of the whole frame in bytes, with padding.
    pub fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_bytes)
    }
}

/// Why bytes are not the frame that should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("there are only zeros")]
    Empty,
    #[error("the frame should be {needed} bytes long and the file ends before that")]
    Truncated { needed: usize },
    #[error("the payload claims {0} bytes, more than any frame may have")]
    Length(u32),
    #[error("the checksum says {stored:#010x} and the bytes give {computed:#010x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("the frame has format version {0}, written by a newer doorbuster; this one reads version {FORMAT_VERSION}")]
    NewerVersion(u32),
    #[error("the frame has the unknown kind {0}")]
    UnknownKind(u32),
    #[error("the frame belongs to file number {found}, not {expected}")]
    Owner { expected: u64, found: u64 },
    #[error("the frame has number {found} where {expected} should be")]
    Epoch { expected: u64, found: u64 },
    #[error("a frame of kind {0:?} does not belong here")]
    Misplaced(Kind),
}

impl FrameError {
    /// Whether a write that was interrupted can leave this behind. A frame whose checksum holds was written in full, so
    /// whatever else is wrong with it is damage.
    pub fn may_be_torn(&self) -> bool {
        use FrameError::{Checksum, Empty, Length, Truncated};
        matches!(self, Empty | Truncated { .. } | Length(_) | Checksum { .. })
    }
}

/// Size in bytes of a frame around a payload of `payload_bytes`.
pub fn frame_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(ALIGNMENT)
}

/// Appends one frame to `buffer`.
///
/// # Panics
/// When the payload is longer than [`PAYLOAD_BYTES_MAX`]; callers check.
pub fn encode(buffer: &mut Vec<u8>, kind: Kind, owner: u64, epoch: u64, payload: &[u8]) {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a frame's payload of {} bytes is too long", payload.len());
    let start = buffer.len();
    let end = start + frame_bytes(payload.len());
    buffer.reserve(end - start);
    buffer.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&[0; CHECKSUM.end - CHECKSUM.start]);
    buffer.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    buffer.extend_from_slice(&(kind as u32).to_le_bytes());
    buffer.extend_from_slice(&owner.to_le_bytes());
    buffer.extend_from_slice(&epoch.to_le_bytes());
    buffer.extend_from_slice(payload);
    let frame = &mut buffer[start..];
    let checksum = checksum_of(frame).to_le_bytes();
    frame[CHECKSUM].copy_from_slice(&checksum);
    buffer.resize(end, 0);
}

/// Reads the frame that `bytes` start with; its payload is `bytes[HEADER_BYTES..][..payload_bytes]`.
pub fn decode(bytes: &[u8], owner: u64) -> Result<Header, FrameError> {
    let payload_bytes = checked_payload_bytes(bytes)?;
    let version = u32_at(bytes, 8);
    if version != FORMAT_VERSION {
        return Err(FrameError::NewerVersion(version));
    }
    let kind = match u32_at(bytes, 12) {
        0 => Kind::Batch,
        1 => Kind::Seal,
        2 => Kind::SnapshotEnd,
        unknown => return Err(FrameError::UnknownKind(unknown)),
    };
    let found = u64_at(bytes, OWNER_OFFSET);
    if found != owner {
        return Err(FrameError::Owner { expected: owner, found });
    }
    Ok(Header { kind, owner, epoch: u64_at(bytes, 24), payload_bytes })
}

/// A frame of `owner` anywhere in `bytes` whose checksum holds and whose epoch is greater than `after`: its offset and
/// epoch. The kind and the version do not matter; what counts is that it was once written.
pub fn find(bytes: &[u8], owner: u64, after: u64) -> Option<(usize, u64)> {
    memmem::find_iter(bytes, &owner.to_le_bytes()).find_map(|owner_at| {
        let start = owner_at.checked_sub(OWNER_OFFSET)?;
        if !start.is_multiple_of(ALIGNMENT) {
            return None;
        }
        let candidate = &bytes[start..];
        if candidate.len() < HEADER_BYTES || u64_at(candidate, 24) <= after {
            return None;
        }
        checked_payload_bytes(candidate).ok()?;
        Some((start, u64_at(candidate, 24)))
    })
}

/// Whether all bytes are zero, as they are where nothing has been written yet.
pub fn is_blank(bytes: &[u8]) -> bool {
    // A chunk at a time, and whole chunks without a branch inside, so that it runs at the speed of memory.
    bytes.chunks(4096).all(|chunk| chunk.iter().fold(0, |seen, byte| seen | byte) == 0)
}

/// The payload's length, once length and checksum are known to be right.
fn checked_payload_bytes(bytes: &[u8]) -> Result<usize, FrameError> {
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        return Err(FrameError::Truncated { needed: HEADER_BYTES });
    };
    if is_blank(header) {
        return Err(FrameError::Empty);
    }
    let length = u32_at(header, 0);
    let payload_bytes = length as usize;
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(FrameError::Length(length));
    }
    let needed = HEADER_BYTES + payload_bytes;
    let frame = bytes.get(..needed).ok_or(FrameError::Truncated { needed })?;
    let (stored, computed) = (u32_at(frame, CHECKSUM.start), checksum_of(frame));
    if stored != computed {
        return Err(FrameError::Checksum { stored, computed });
    }
    Ok(payload_bytes)
}

fn checksum_of(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..CHECKSUM.start]), &frame[CHECKSUM.end..])
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("the range is four bytes long"))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("the range is eight bytes long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, Kind::Batch, 3, 7, payload);
        bytes
    }

    /// A program that reads today's files tomorrow relies on these very bytes.
    #[test]
    fn the_format_is_fixed() {
        let hex: String = frame(b"doorbuster").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            concat!(
                "0a000000",
                "f4a707e6",
                "01000000",
                "00000000",
                "0300000000000000",
                "0700000000000000",
                "646f6f72627573746572",
                "000000000000",
            )
        );
    }

    #[test]
    fn a_frame_reads_back() {
        for length in [0, 1, 7, 8, 9, 1000] {
            let payload = vec![0xab; length];
            let bytes = frame(&payload);
            let header = decode(&bytes, 3).unwrap();
            assert_eq!(header, Header { kind: Kind::Batch, owner: 3, epoch: 7, payload_bytes: length });
            assert_eq!(header.frame_bytes(), bytes.len());
            assert_eq!(&bytes[HEADER_BYTES..][..length], payload);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = frame(b"0123456789");
        for bit in 0..(HEADER_BYTES + 10) * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes, 3).unwrap_err().may_be_torn(), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let good = frame(b"0123456789");
        for cut in 0..HEADER_BYTES + 10 {
            assert!(matches!(decode(&good[..cut], 3), Err(FrameError::Truncated { .. })), "cut at {cut}");
        }
    }

    #[test]
    fn what_holds_its_checksum_and_is_wrong_is_not_torn() {
        assert_eq!(decode(&frame(b"x"), 4), Err(FrameError::Owner { expected: 4, found: 3 }));
        for (offset, expected) in [(8, FrameError::NewerVersion(9)), (12, FrameError::UnknownKind(9))] {
            let mut bytes = frame(b"x");
            bytes[offset] = 9;
            let checksum = checksum_of(&bytes[..HEADER_BYTES + 1]);
            bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
            let error = decode(&bytes, 3).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.may_be_torn());
        }
    }

    #[test]
    fn a_later_frame_is_found_and_an_earlier_one_is_not() {
        let mut bytes = vec![0x55; 64];
        bytes.extend(frame(b"here"));
        bytes.extend([0; 100]);
        assert_eq!(find(&bytes, 3, 6), Some((64, 7)));
        assert_eq!(find(&bytes, 3, 7), None);
        assert_eq!(find(&bytes, 4, 0), None);
        bytes[64 + HEADER_BYTES] ^= 1;
        assert_eq!(find(&bytes, 3, 6), None);
    }
}
