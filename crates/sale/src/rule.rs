//! Rules for values, in plain words: one wording for request bodies, headers, queries and the configuration.
//!
//! Invariant: every rule ends with an example that it allows, and none names a type or a parser.

use std::fmt;

use super::{
    ids::{
        GroupId, LABEL_BYTES_MAX, NAME_BYTES_MAX, SaleId, TEXT_BYTES_MAX, check_label, check_name, check_slug,
        check_text,
    },
    settings::Currency,
    time::Timestamp,
};

/// What one value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A whole number, both ends included.
    Whole {
        least: i64,
        most: u64,
        example: i64,
    },
    /// A whole number other than 0, up to `most` in either direction.
    Change {
        most: u64,
        example: i64,
    },
    /// A SKU or a customer's id.
    Name {
        example: &'static str,
    },
    /// Free text.
    Text {
        example: &'static str,
    },
    /// A name that programs and people choose for something: a tier, a channel, a region, a pool.
    Slug {
        example: &'static str,
    },
    /// The value of a label.
    Label {
        example: &'static str,
    },
    /// One of these words.
    OneOf {
        words: &'static [&'static str],
    },
    /// The id of a group.
    GroupId,
    /// `true` or `false`.
    Flag,
    /// A sale's id, or empty to leave it to the path.
    SaleId,
    Time,
    Currency,
    IdempotencyKey,
}

impl Rule {
    /// A count from `least` to `most`, with `least` as the example.
    pub const fn whole(least: u32, most: u64) -> Self {
        Self::Whole { least: least as i64, most, example: least as i64 }
    }

    pub fn allows_number(self, number: i128) -> bool {
        match self {
            Self::Whole { least, most, .. } => (i128::from(least)..=i128::from(most)).contains(&number),
            Self::Change { most, .. } => number != 0 && number.unsigned_abs() <= u128::from(most),
            _ => false,
        }
    }

    pub fn allows_text(self, text: &str) -> bool {
        match self {
            Self::Whole { .. } | Self::Change { .. } | Self::Flag => false,
            Self::Slug { .. } => check_slug(text).is_ok(),
            Self::Label { .. } => check_label(text).is_ok(),
            Self::OneOf { words } => words.contains(&text),
            Self::GroupId => GroupId::parse(text).is_some(),
            Self::Name { .. } => check_name(text).is_ok(),
            Self::Text { .. } => check_text(text).is_ok(),
            Self::SaleId => text.is_empty() || SaleId::parse(text).is_ok(),
            Self::Time => Timestamp::parse(text).is_some(),
            Self::Currency => Currency::parse(text).is_some(),
            Self::IdempotencyKey => bare_key(text).is_some(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole { least, most, example } => {
                write!(f, "must be a whole number from {least} to {most}, such as {example}")
            }
            Self::Change { most, example } => {
                write!(f, "must be a whole number from -{most} to {most} other than 0, such as {example}")
            }
            Self::Name { example } => {
                write!(f, "must be text of 1 to {NAME_BYTES_MAX} bytes without control characters, such as {example:?}")
            }
            Self::Text { example } => {
                write!(f, "must be text of 1 to {TEXT_BYTES_MAX} bytes without control characters, such as {example:?}")
            }
            Self::Slug { example } => write!(
                f,
                "must be 1 to {NAME_BYTES_MAX} characters from a-z, 0-9, dot, dash and underscore, and begin with a \
                 letter or digit, such as {example:?}"
            ),
            Self::Label { example } => {
                write!(
                    f,
                    "must be text of 1 to {LABEL_BYTES_MAX} bytes without control characters, such as {example:?}"
                )
            }
            Self::OneOf { words } => {
                write!(f, "must be one of {}, such as {:?}", words.join(", "), words[0])
            }
            Self::GroupId => f.write_str(
                "must be the id of a group, as the reservation that opened it shows it, such as \
                 \"01a2212b-107b-72c8-8048-d159e26af37b\"",
            ),
            Self::Flag => f.write_str("must be true or false"),
            Self::SaleId => write!(
                f,
                "must be 1 to {NAME_BYTES_MAX} characters from a-z, 0-9, dot, dash and underscore, and begin with a \
                 letter or digit, such as \"doorbuster-tv\""
            ),
            Self::Time => f.write_str(
                "must be an RFC 3339 time with an offset, from 1970 to 9999, such as \"2026-11-27T08:00:00Z\" or \
                 \"2026-11-27T16:00:00+08:00\"",
            ),
            Self::Currency => {
                f.write_str("must be the three capital letters of a currency in ISO 4217, such as \"EUR\"")
            }
            Self::IdempotencyKey => write!(
                f,
                "must be 1 to {TEXT_BYTES_MAX} visible ASCII characters, bare or in double quotes, such as \
                 6b7f1a52-8a0e-4f63-9d3c-1f2a3b4c5d6e"
            ),
        }
    }
}

/// The text as an idempotency key, if it is one. Bare and quoted forms are the same key.
pub fn bare_key(text: &str) -> Option<&str> {
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let visible = bare.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    (visible && (1..=TEXT_BYTES_MAX).contains(&bare.len())).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_allowed() {
        for rule in [
            Rule::Whole { least: 0, most: 1_000_000_000_000, example: 5000 },
            Rule::whole(1, 1),
            Rule::Change { most: 7, example: -7 },
            Rule::Name { example: "tv-55" },
            Rule::Text { example: "order-1" },
            Rule::Slug { example: "livestream" },
            Rule::Label { example: "B" },
            Rule::OneOf { words: &["in_order", "cheapest"] },
            Rule::SaleId,
            Rule::GroupId,
            Rule::Time,
            Rule::Currency,
            Rule::IdempotencyKey,
        ] {
            let told = rule.to_string();
            let (_, examples) = told.rsplit_once("such as ").unwrap_or_else(|| panic!("{told}"));
            for example in examples.split(" or ") {
                let allowed = match example.parse::<i128>() {
                    Ok(number) => rule.allows_number(number),
                    Err(_) => rule.allows_text(example.trim_matches('"')),
                };
                assert!(allowed, "{told}");
            }
        }
        let stock = Rule::Whole { least: 0, most: 1_000_000_000_000, example: 5000 };
        assert_eq!(stock.to_string(), "must be a whole number from 0 to 1000000000000, such as 5000");
    }

    #[test]
    fn both_ends_are_included() {
        let rule = Rule::whole(1, u64::MAX);
        for (number, allowed) in [(0, false), (1, true), (i128::from(u64::MAX), true), (1 << 64, false), (-1, false)] {
            assert_eq!(rule.allows_number(number), allowed, "{number}");
        }
        let rule = Rule::Change { most: 5, example: 5 };
        for (number, allowed) in [(0, false), (5, true), (-5, true), (6, false), (-6, false), (i128::MIN, false)] {
            assert_eq!(rule.allows_number(number), allowed, "{number}");
        }
    }
}
