//! Names an event of the feed: the batch it is of, and its place in it.
//!
//! Neither depends on the run that reads: a batch is the same bytes for ever, and what is derived from it is numbered
//! behind what is in it. To callers a cursor is opaque.

use std::{fmt, str::FromStr};

use crate::engine::Epoch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub epoch: Epoch,
    /// From 0 on; None is behind everything of the batch, so epoch 0 is the beginning.
    pub place: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the cursor of an event as it was told, or 0 for the beginning")]
pub struct NotACursor;

impl Cursor {
    pub const BEGINNING: Self = Self::behind(0);

    pub const fn behind(epoch: Epoch) -> Self {
        Self { epoch, place: None }
    }

    pub const fn at(epoch: Epoch, place: u32) -> Self {
        Self { epoch, place: Some(place) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            None => write!(f, "{}", self.epoch),
            Some(place) => write!(f, "{}.{place}", self.epoch),
        }
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (epoch, place) = match text.split_once('.') {
            None => (number(text)?, None),
            Some((epoch, place)) => (number(epoch)?, Some(number(place)?)),
        };
        if epoch == 0 && place.is_some() {
            return Err(NotACursor);
        }
        Ok(Self { epoch, place })
    }
}

/// A number in its one form: one event has one cursor.
fn number<T: FromStr>(digits: &str) -> Result<T, NotACursor> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| plain).ok_or(NotACursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_and_nothing_else() {
        for cursor in [Cursor::BEGINNING, Cursor::behind(7), Cursor::at(1, 0), Cursor::at(u64::MAX, u32::MAX)] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        assert_eq!(Cursor::at(12, 3).to_string(), "12.3");
        for bad in
            ["", ".", "1.", ".1", "1.2.3", "01", "1.00", "+1", "-1", " 1", "x", "0.1", "1.4294967296", "1e3", "ä", "1٣"]
        {
            assert_eq!(bad.parse::<Cursor>(), Err(NotACursor), "{bad:?}");
        }
        assert!("18446744073709551616".parse::<Cursor>().is_err());
    }
}
