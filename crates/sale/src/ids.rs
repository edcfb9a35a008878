//! Ids of sales, items, customers and reservations, and the bucket that places a customer.
//!
//! Invariant: a value of these types is well formed; other text is refused.

use std::fmt;

use compact_str::CompactString;

use super::time::Timestamp;

/// Longest sale id, SKU and customer id, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Longest `reference`, `reason` and idempotency key, in bytes.
pub const TEXT_BYTES_MAX: usize = 255;

/// Longest value of a label, in bytes.
pub const LABEL_BYTES_MAX: usize = 32;

/// Buckets that customers are spread over. A bucket is the unit of placement (today: on a shard) and of snapshots.
/// Twelve bits, because the `rand_a` field of a UUIDv7 holds twelve.
pub const BUCKETS: usize = 4096;

/// Why a text is not a valid name; the message says what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("must match [a-z0-9][a-z0-9._-]{{0,63}}")]
    Slug,
    #[error("must be 1 to 64 bytes")]
    NameLength,
    #[error("must be 1 to 255 bytes")]
    TextLength,
    #[error("must be 1 to 32 bytes")]
    LabelLength,
    #[error("must not contain control characters")]
    Control,
}

/// A sale's id: a slug `[a-z0-9][a-z0-9._-]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaleId(CompactString);

impl SaleId {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_slug(text).map(|()| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SaleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A slug `[a-z0-9][a-z0-9._-]{0,63}`: what ids that operators choose must be.
pub fn check_slug(text: &str) -> Result<(), NameError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let well_formed = !bytes.is_empty()
        && bytes.len() <= NAME_BYTES_MAX
        && plain(bytes[0])
        && bytes.iter().all(|&byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'));
    if well_formed { Ok(()) } else { Err(NameError::Slug) }
}

/// The value of a label: 1 to 32 bytes without control characters.
pub fn check_label(text: &str) -> Result<(), NameError> {
    if text.is_empty() || text.len() > LABEL_BYTES_MAX {
        return Err(NameError::LabelLength);
    }
    check_printable(text)
}

/// A name of 1 to 64 bytes without control characters: what a SKU and a customer id must be.
/// (PostgreSQL cannot store NUL in text, and control characters in logs mislead their readers.)
pub fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(NameError::NameLength);
    }
    check_printable(text)
}

/// Free text of 1 to 255 bytes without control characters: references and reasons.
pub fn check_text(text: &str) -> Result<(), NameError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(NameError::TextLength);
    }
    check_printable(text)
}

/// The prefix of erased customers.
const ERASED: &str = "erased-";

/// Replaces an erased customer's id: different for each reservation, so that nothing links the reservations of one customer. A
/// test checks that the store's SQL uses the same text.
pub fn erased_customer(id: ReservationId) -> CompactString {
    let mut name = CompactString::with_capacity(ERASED.len() + 36);
    name.push_str(ERASED);
    name.push_str(id.encode(&mut [0; 36]));
    name
}

/// Whether the reservation's customer was erased. No caller can reserve under such a name, because it contains the
/// reservation's random id.
pub fn is_erased(customer: &str, id: ReservationId) -> bool {
    customer.strip_prefix(ERASED).is_some_and(|rest| rest == id.encode(&mut [0; 36]))
}

fn check_printable(text: &str) -> Result<(), NameError> {
    // Nearly all text is ASCII, whose control characters are seen byte by byte.
    let is_control = |byte: u8| byte < b' ' || byte == 0x7f;
    let has_control = text.bytes().any(is_control) || (!text.is_ascii() && text.chars().any(char::is_control));
    if has_control { Err(NameError::Control) } else { Ok(()) }
}

/// A sale's place in the catalogue: dense, given at creation, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaleNumber(pub u32);

/// An item's place in the catalogue: dense, given at creation, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemNumber(pub u32);

/// A pool's place in every shard's slices: dense over all items, given at creation, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolNumber(pub u32);

impl SaleNumber {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl PoolNumber {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ItemNumber {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a customer's reservations live: a stable hash of the customer id, the same on every machine and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    pub fn of(customer: &str) -> Self {
        let hash = xxhash_rust::xxh3::xxh3_64(customer.as_bytes());
        Self((hash % BUCKETS as u64) as u16)
    }

    pub fn from_index(index: usize) -> Option<Self> {
        (index < BUCKETS).then_some(Self(index as u16))
    }

    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The shard that owns this bucket when there are `shards` of them.
    pub fn shard(self, shards: usize) -> usize {
        self.index() % shards
    }
}

/// A waitlist entry's id: made as a reservation's is.
pub type EntryId = ReservationId;

/// A reservation's id: a UUIDv7 (RFC 9562) whose time is the moment of creation and whose `rand_a` is the bucket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReservationId([u8; 16]);

/// The id of a group: as a reservation's, with the bucket of the customer who opened it.
pub type GroupId = ReservationId;

impl ReservationId {
    /// `entropy` fills the 62 bits of `rand_b`; its two highest bits are dropped.
    pub fn new(created_at: Timestamp, bucket: Bucket, entropy: u64) -> Self {
        let high = (created_at.millis() << 16) | 0x7000 | u64::from(bucket.0);
        let low = (entropy >> 2) | (0b10 << 62);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        Self(bytes)
    }

    /// None unless the bytes are a UUID of version 7 and the RFC's variant.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes[6] >> 4 == 7 && bytes[8] >> 6 == 0b10).then_some(Self(bytes))
    }

    /// Takes the hyphenated form only: one reservation has one address.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 36 {
            return None;
        }
        uuid::Uuid::try_parse(text).ok().and_then(|uuid| Self::from_bytes(*uuid.as_bytes()))
    }

    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub fn created_at(&self) -> Timestamp {
        Timestamp::from_millis(self.high() >> 16)
    }

    pub fn bucket(&self) -> Bucket {
        Bucket((self.high() & 0x0fff) as u16)
    }

    /// The random bits: good enough to be a table's hash as they are.
    pub fn entropy(&self) -> u64 {
        u64::from_be_bytes(self.0[8..].try_into().expect("eight bytes")) << 2
    }

    fn high(&self) -> u64 {
        u64::from_be_bytes(self.0[..8].try_into().expect("eight bytes"))
    }

    /// The hyphenated lower-case form in `buffer`.
    pub fn encode<'a>(&self, buffer: &'a mut [u8; 36]) -> &'a str {
        uuid::Uuid::from_bytes(self.0).hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; 36]))
    }
}

impl fmt::Debug for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_time_and_bucket() {
        let at = Timestamp::from_millis(1_766_000_000_123);
        let bucket = Bucket::of("ann");
        let id = ReservationId::new(at, bucket, u64::MAX);
        assert_eq!((id.created_at(), id.bucket()), (at, bucket));
        assert_eq!(id.entropy(), !0b11);
        assert_eq!(ReservationId::parse(&id.to_string()), Some(id));
        assert_eq!(uuid::Uuid::from_bytes(*id.bytes()).get_version_num(), 7);
    }

    #[test]
    fn other_uuids_are_not_reservation_ids() {
        assert_eq!(ReservationId::parse("6b7f1a52-8a0e-4f63-9d3c-1f2a3b4c5d6e"), None, "version 4");
        assert_eq!(ReservationId::parse("019a0000000070008000000000000000"), None, "not hyphenated");
        assert_eq!(ReservationId::parse("nonsense"), None);
    }

    #[test]
    fn the_bucket_of_a_customer_never_changes() {
        assert_eq!(Bucket::of("ann").index(), BUCKET_OF_ANN);
        assert_eq!(Bucket::of("customer-42").index(), BUCKET_OF_CUSTOMER_42);
    }

    // Pinned: reservation ids on disk carry these numbers.
    const BUCKET_OF_ANN: usize = 712;
    const BUCKET_OF_CUSTOMER_42: usize = 3681;

    #[test]
    fn names_are_checked() {
        assert!(SaleId::parse("black-friday.2026_1").is_ok());
        for bad in ["", "-a", "A", "a b", "ä", &"a".repeat(65)] {
            assert_eq!(SaleId::parse(bad), Err(NameError::Slug), "{bad:?}");
        }
        assert_eq!(check_name(""), Err(NameError::NameLength));
        assert_eq!(check_name(&"é".repeat(33)), Err(NameError::NameLength));
        assert_eq!(check_name("a\0b"), Err(NameError::Control));
        assert_eq!(check_text(&"x".repeat(256)), Err(NameError::TextLength));
    }
}
