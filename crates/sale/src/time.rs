//! Moments, in milliseconds since the Unix epoch. Nothing here reads a clock: moments are arguments.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::rule::Rule;

/// Milliseconds since 1970-01-01T00:00:00Z; at most 48 bits, as a UUIDv7 holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(u64);

/// What time it is by the service, and how much later (or earlier, when negative) the machine's clock says it is: not 0 while
/// nobody knows which of them is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub time: Timestamp,
    pub doubt: i64,
}

impl Now {
    /// Whether it holds by both clocks that may be right.
    pub fn surely(self, holds: impl Fn(Timestamp) -> bool) -> bool {
        holds(self.time) && (self.doubt == 0 || holds(self.time.shifted(self.doubt)))
    }

    /// When one of the clocks reaches this moment next; None if both have.
    pub fn reaches(self, at: Timestamp) -> Option<Timestamp> {
        let ahead = [at, at.shifted(-self.doubt)].into_iter().filter(|&at| at > self.time);
        ahead.min()
    }

    /// The same, or this moment if it is later.
    pub fn not_before(self, moment: Timestamp) -> Self {
        Self { time: self.time.max(moment), ..self }
    }
}

impl Timestamp {
    /// The last moment that is representable here and in RFC 3339: 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);

    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    pub const fn millis(self) -> u64 {
        self.0
    }

    pub const fn plus_millis(self, millis: u64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    pub const fn minus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_sub(millis))
    }

    pub const fn plus_seconds(self, seconds: u64) -> Self {
        self.plus_millis(seconds.saturating_mul(1000))
    }

    /// The moment so many milliseconds later, or earlier when negative.
    pub const fn shifted(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add_signed(millis))
    }

    /// Milliseconds from `other` to this moment; negative when it is later.
    pub const fn signed_since(self, other: Self) -> i64 {
        // Both are below 2^48.
        self.0 as i64 - other.0 as i64
    }

    /// Milliseconds from `earlier` to this moment; 0 when it is not earlier.
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// RFC 3339 with an offset, from 1970 to 9999; finer than milliseconds is cut off.
    pub fn parse(text: &str) -> Option<Self> {
        // jiff reads more: ISO 8601 without separators, a space for the T, names of zones. And its moments end a day earlier
        // than its calendar does, so the offset is read apart from the rest.
        let offset_at = offset_of_rfc_3339(text.as_bytes())?;
        let (local, offset) = text.split_at_checked(offset_at)?;
        let local: jiff::civil::DateTime = local.parse().ok()?;
        let since_epoch = local.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0));
        let since_epoch = since_epoch - jiff::SignedDuration::from_mins(offset_minutes(offset.as_bytes()));
        if since_epoch.is_negative() {
            return None;
        }
        let millis = u64::try_from(since_epoch.as_millis()).ok()?;
        (millis <= Self::MAX.0).then_some(Self(millis))
    }

    /// `2026-11-27T08:00:00.000Z` in `buffer`.
    pub fn encode(self, buffer: &mut [u8; 24]) -> &str {
        *buffer = self.encode_bytes();
        std::str::from_utf8(buffer).expect("digits and marks are ASCII")
    }

    /// The same as ASCII: written by hand because every answer carries two or three of them.
    pub fn encode_bytes(self) -> [u8; 24] {
        let (days, in_day) = (self.0 / 86_400_000, (self.0 % 86_400_000) as u32);
        let (year, month, day) = civil_from_days(days);
        let (seconds, millis) = (in_day / 1000, in_day % 1000);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, value: u32| {
            text[at] += (value / 10) as u8;
            text[at + 1] += (value % 10) as u8;
        };
        put(0, year as u32 / 100);
        put(2, year as u32 % 100);
        put(5, month as u32);
        put(8, day as u32);
        put(11, seconds / 3600);
        put(14, seconds / 60 % 60);
        put(17, seconds % 60);
        put(20, millis / 10);
        text[22] += (millis % 10) as u8;
        text
    }
}

/// Where the offset begins, if the text has the shape of RFC 3339's `date-time`, with no finer a fraction than nanoseconds.
fn offset_of_rfc_3339(text: &[u8]) -> Option<usize> {
    const START: &[u8] = b"0000-00-00T00:00:00";
    let has = |text: &[u8], shape: &[u8]| {
        let fits = |(byte, shape): (&u8, &u8)| match shape {
            b'0' => byte.is_ascii_digit(),
            mark => byte.eq_ignore_ascii_case(mark),
        };
        text.len() == shape.len() && text.iter().zip(shape).all(fits)
    };
    let (start, rest) = text.split_at_checked(START.len())?;
    let fraction = match rest.strip_prefix(b".") {
        None => 0,
        Some(rest) => 1 + rest.iter().take_while(|byte| byte.is_ascii_digit()).count(),
    };
    let offset = &rest[fraction..];
    let shape: &[u8] = match offset.first() {
        Some(b'+') => b"+00:00",
        Some(b'-') => b"-00:00",
        _ => b"Z",
    };
    let in_range = |at: usize, end: &[u8]| offset.get(at..at + 2).is_none_or(|digits| digits < end);
    let well_formed = has(start, START) && matches!(fraction, 0 | 2..=10) && has(offset, shape);
    (well_formed && in_range(1, b"24") && in_range(4, b"60")).then_some(START.len() + fraction)
}

/// Minutes that local time is ahead of UTC, from an offset of the right shape.
fn offset_minutes(offset: &[u8]) -> i64 {
    let [sign, tens, ones, _, ten_minutes, minutes] = offset else { return 0 };
    let two = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    let ahead = two(tens, ones) * 60 + two(ten_minutes, minutes);
    if *sign == b'-' { -ahead } else { ahead }
}

/// Days since 1970-01-01 to year, month and day of the Gregorian calendar.
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`, for days from 1970 on.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; 24]))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.encode(&mut [0; 24]))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(Rule::Time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_agrees_with_a_calendar_library() {
        let mut millis = 0;
        while millis <= Timestamp::MAX.millis() {
            let ours = Timestamp::from_millis(millis);
            let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
            let theirs = epoch.checked_add(jiff::SignedDuration::from_millis(millis as i64)).unwrap();
            assert_eq!(ours.to_string(), format!("{theirs:.3}Z"));
            assert_eq!(Timestamp::parse(&ours.to_string()), Some(ours));
            millis += 86_400_000 * 13 + 12_345_678_901;
        }
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn parse_takes_offsets_and_refuses_the_rest() {
        assert_eq!(Timestamp::parse("1970-01-01T01:00:00.5+01:00"), Some(Timestamp::from_millis(500)));
        let moment = Timestamp::parse("2026-11-27T08:00:00Z");
        for good in [
            "2026-11-27t08:00:00z",
            "2026-11-27T08:00:00-00:00",
            "2026-11-27T08:00:00.000999999Z",
            "2026-11-28T07:59:00.0+23:59",
        ] {
            assert!(moment.is_some() && Timestamp::parse(good) == moment, "{good}");
        }
        assert!(Timestamp::parse("2016-12-31T23:59:60Z").is_some(), "a leap second");
        let last = |millis| Some(Timestamp::from_millis(Timestamp::MAX.millis() - millis));
        for (text, moment) in [
            ("9999-12-31T23:59:59Z", last(999)),
            ("9999-12-31T23:59:59.999Z", last(0)),
            ("9999-12-31T23:59:59.999999999Z", last(0)),
            ("9999-12-31T23:59:60.999Z", last(0)),
            ("9999-12-31T23:59:59.999-00:00", last(0)),
            ("9999-12-31T23:59:59.999+08:00", last(8 * 3_600_000)),
            ("9999-12-31T15:59:59.999-08:00", last(0)),
            ("9999-12-31T00:00:00+23:59", last(47 * 3_600_000 + 59 * 60_000 - 1)),
            ("9999-12-31T15:59:60-08:00", last(999)),
            ("9999-12-31T16:00:00-08:00", None),
            ("9999-12-31T23:59:59.999-00:01", None),
            ("1970-01-01T00:00:00Z", Some(Timestamp::default())),
            ("1970-01-01T08:00:00+08:00", Some(Timestamp::default())),
            ("1969-12-31T16:00:00.001-08:00", Some(Timestamp::from_millis(1))),
            ("1970-01-01T07:59:59.999+08:00", None),
            ("1969-12-31T23:59:59.9999Z", None),
            ("0000-01-01T00:00:00Z", None),
        ] {
            assert_eq!(Timestamp::parse(text), moment, "{text}");
        }
        for bad in [
            "",
            "now",
            "2026-11-27",
            "2026-11-27T08:00:00",
            "1969-12-31T23:59:59Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-27T24:00:00Z",
            "2026-11-27T08:60:00Z",
            "2026-11-27T08:00:61Z",
            "2026-11-27 08:00:00Z",
            "20261127T080000Z",
            "2026-11-27T08:00Z",
            "2026-11-27T08Z",
            "2026-11-27T08:00:00,5Z",
            "2026-11-27T08:00:00.Z",
            "2026-11-27T08:00:00.0000000001Z",
            "2026-11-27T08:00:00+01",
            "2026-11-27T08:00:00+0100",
            "2026-11-27T08:00:00+24:00",
            "2026-11-27T08:00:00+01:60",
            "2026-11-27T08:00:00+01:00:00",
            "2026-11-27T08:00:00+01:00[Europe/Berlin]",
            "2026-11-27T08:00:00Z[UTC]",
            "+002026-11-27T08:00:00Z",
            " 2026-11-27T08:00:00Z",
            "2026-11-27T08:00:00\u{661}Z",
        ] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }
}
