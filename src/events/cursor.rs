//! Cursors of the feed: a position in the journal, and its opaque text for callers.
//!
//! A cursor points at an event, by the batch and the index in it, or after a whole batch. Neither depends on the run that
//! reads: a batch never changes, and derived events are numbered after those in it.
//!
//! The text is one block of AES. Its key is derived from the data directory's cursor key and from the sales that the caller
//! sees, its *view*. Invariants:
//! - An event has one text per view, which is the same after a restart and for each API key with that view.
//! - Texts reveal no order, distance or number: a caller cannot count the events between two of them.
//! - A text of another view is not a cursor, like any other text.
//! - A text for the end of a batch is never the same twice. Otherwise two requests would learn whether anything happened
//!   between them, in sales that the caller does not see as well.

use std::fmt;

use aes::{
    Aes128,
    cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit},
};
use data_encoding::BASE32_DNSSEC;

use crate::engine::Epoch;

/// What a view's key is derived for.
const CONTEXT: &str = "doorbuster 2026-11 cursors of the feed of events, as a view has them";

/// And for pages of the audit trail, whose cursors name a record: no text is a cursor of both.
const TRAIL_CONTEXT: &str = "doorbuster 2026-11 cursors of the audit trail, as a view has them";

/// Of a text: 16 bytes in lower-case letters and digits.
pub const TEXT_BYTES: usize = 26;

/// More batches than a journal will ever have, in six bytes.
const EPOCH_MAX: Epoch = (1 << 48) - 1;

const AT_EVENT: u16 = 0;
const BEHIND_BATCH: u16 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub epoch: Epoch,
    /// From 0 on; None is behind everything of the batch, so epoch 0 is the beginning.
    pub place: Option<u32>,
}

impl Cursor {
    pub const BEGINNING: Self = Self::behind(0);

    pub const fn behind(epoch: Epoch) -> Self {
        Self { epoch, place: None }
    }

    pub const fn at(epoch: Epoch, place: u32) -> Self {
        Self { epoch, place: Some(place) }
    }
}

/// What all texts of a data directory are made with.
#[derive(Clone, Copy)]
pub struct CursorKey {
    bytes: [u8; 32],
    random: fn() -> u64,
}

impl CursorKey {
    pub fn of_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes, random: rand::random }
    }

    /// With another source of random numbers, for simulations.
    pub fn drawing_from(self, random: fn() -> u64) -> Self {
        Self { random, ..self }
    }

    /// Reads and writes the cursors of a view. `sales`: the patterns of sales that it sees; none: it sees everything.
    pub fn of_view<'a>(&self, sales: impl IntoIterator<Item = &'a str>) -> ViewCursors {
        self.derive(CONTEXT, sales)
    }

    /// As `of_view`, for pages of the audit trail.
    pub fn of_trail<'a>(&self, sales: impl IntoIterator<Item = &'a str>) -> ViewCursors {
        self.derive(TRAIL_CONTEXT, sales)
    }

    fn derive<'a>(&self, context: &str, sales: impl IntoIterator<Item = &'a str>) -> ViewCursors {
        let mut sales: Vec<&str> = sales.into_iter().collect();
        sales.sort_unstable();
        sales.dedup();
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.bytes);
        // A pattern has no zeros in it: neighbours cannot run into each other.
        for sale in sales {
            hasher.update(sale.as_bytes()).update(&[0]);
        }
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        ViewCursors { cipher: Aes128::new(&key.into()), random: self.random }
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The cursors of one view.
#[derive(Clone)]
pub struct ViewCursors {
    cipher: Aes128,
    random: fn() -> u64,
}

/// Of the 16 bytes: six of the epoch, eight of either the place and four zeros, or a random number, and two that say which.
/// A text that somebody makes up is no cursor, but for one in 2^48 that would stand at an event; one in 2^16 would stand
/// behind a batch, of which only one in 2^18 or fewer is in the journal.
impl ViewCursors {
    pub fn write(&self, cursor: Cursor) -> String {
        if cursor == Cursor::BEGINNING {
            return "0".to_owned();
        }
        assert!(cursor.epoch <= EPOCH_MAX, "a journal has fewer than 2^48 batches");
        let (detail, kind) = match cursor.place {
            Some(place) => (u64::from(place), AT_EVENT),
            None => ((self.random)(), BEHIND_BATCH),
        };
        let mut block =
            (u128::from(cursor.epoch) << 80 | u128::from(detail) << 16 | u128::from(kind)).to_be_bytes().into();
        self.cipher.encrypt_block(&mut block);
        BASE32_DNSSEC.encode(&block)
    }

    /// None: this view was never given such a text.
    pub fn read(&self, text: &str) -> Option<Cursor> {
        if text == "0" {
            return Some(Cursor::BEGINNING);
        }
        let bytes: [u8; 16] = BASE32_DNSSEC.decode(text.as_bytes()).ok()?.try_into().ok()?;
        // Capitals would be decoded as well: a cursor has one text.
        if BASE32_DNSSEC.encode(&bytes) != text {
            return None;
        }
        let mut block = bytes.into();
        self.cipher.decrypt_block(&mut block);
        let block = u128::from_be_bytes(block.into());
        let (epoch, detail, kind) = ((block >> 80) as Epoch, (block >> 16) as u64, block as u16);
        let place = match kind {
            AT_EVENT => Some(u32::try_from(detail).ok()?),
            BEHIND_BATCH => None,
            _ => return None,
        };
        (epoch > 0).then_some(Cursor { epoch, place })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key() -> CursorKey {
        CursorKey::of_bytes([7; 32])
    }

    /// Readers keep it: must never change.
    #[test]
    fn an_event_has_one_text() {
        let view = key().of_view([]);
        assert_eq!(view.write(Cursor::at(12, 3)), PINNED);
        assert_eq!(view.read(PINNED), Some(Cursor::at(12, 3)));
        assert_eq!(PINNED.len(), TEXT_BYTES);
        assert_eq!((view.write(Cursor::BEGINNING).as_str(), view.read("0")), ("0", Some(Cursor::BEGINNING)));
        for cursor in [Cursor::behind(7), Cursor::at(1, 0), Cursor::behind(EPOCH_MAX), Cursor::at(EPOCH_MAX, u32::MAX)]
        {
            assert_eq!(view.read(&view.write(cursor)), Some(cursor));
        }
    }

    const PINNED: &str = "3flhsj63h89f613463bqud40f4";

    #[test]
    fn a_view_reads_its_own_and_no_others() {
        let views = [&[][..], &["one"], &["one", "two"], &["onetwo"], &["on", "etwo"], &["*"]];
        let views = views.map(|sales| key().of_view(sales.iter().copied()));
        let other = CursorKey::of_bytes([8; 32]).of_view([]);
        for (index, view) in views.iter().enumerate() {
            for cursor in [Cursor::at(1, 0), Cursor::behind(1)] {
                let text = view.write(cursor);
                let readers = views.iter().map(|view| view.read(&text)).collect::<Vec<_>>();
                assert!(
                    readers.iter().enumerate().all(|(reader, read)| read.is_some() == (reader == index)),
                    "{readers:?}"
                );
                assert_eq!(other.read(&text), None);
            }
        }
        let [same, order] =
            [&["two", "one", "one"][..], &["one", "two"]].map(|sales| key().of_view(sales.iter().copied()));
        assert_eq!(same.write(Cursor::at(1, 0)), order.write(Cursor::at(1, 0)), "neither order nor repetition matters");
        let (feed, trail) = (key().of_view([]), key().of_trail([]));
        assert_eq!(
            feed.read(&trail.write(Cursor::at(1, 0))),
            None,
            "pages of the audit trail have cursors of their own"
        );
    }

    #[test]
    fn what_was_never_given_is_no_cursor() {
        let view = key().of_view([]);
        let (capitals, longer) = (PINNED.to_uppercase(), format!("{PINNED}0"));
        for bad in ["", "1", "12.3", "00", " 0", "x", "ä", &PINNED[1..], &capitals, &longer, &"0".repeat(26)] {
            assert_eq!(view.read(bad), None, "{bad:?}");
        }
        for byte in 0..TEXT_BYTES {
            let mut changed = PINNED.as_bytes().to_vec();
            changed[byte] = if changed[byte] == b'0' { b'1' } else { b'0' };
            assert_eq!(view.read(std::str::from_utf8(&changed).unwrap()), None, "at {byte}");
        }
    }

    #[test]
    fn the_end_of_a_batch_is_never_the_same_text_twice() {
        let view = key().of_view([]);
        let texts: HashSet<_> = (0..100).map(|_| view.write(Cursor::behind(7))).collect();
        assert_eq!(texts.len(), 100);
        assert!(texts.iter().all(|text| view.read(text) == Some(Cursor::behind(7))));
    }
}
