//! Patterns of sale ids, with stars.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A sale's id, in which each `*` stands for any characters or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, sale: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == sale };
        let Some(mut left) = sale.strip_prefix(first) else { return false };
        // What stands before the last star is found as early as may be, what stands behind it ends the name.
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for piece in middle.split('*') {
            let Some(at) = left.find(piece) else { return false };
            left = &left[at + piece.len()..];
        }
        left.ends_with(last)
    }
}

impl TryFrom<String> for Pattern {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-' | b'*');
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        if fits {
            Ok(Self(text))
        } else {
            Err("sales must be ids of sales, in which * matches any characters, such as \"summer-*\"")
        }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, sale, expected) in [
            ("summer-1", "summer-1", true),
            ("summer-1", "summer-10", false),
            ("summer-*", "summer-1", true),
            ("summer-*", "summer-", true),
            ("summer-*", "summer", false),
            ("summer-*", "xsummer-1", false),
            ("*", "x", true),
            ("*-eu", "summer-eu", true),
            ("*-eu", "summer-eu-2", false),
            ("s*-*-eu", "summer-2-eu", true),
            ("s*-*-eu", "summer-eu", false),
            ("a*a", "a", false),
            ("a*b*b", "ab", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(Pattern::try_from(pattern.to_owned()).unwrap().matches(sale), expected, "{pattern} {sale}");
        }
        for refused in ["", "A*", "a?", "a/b"] {
            assert!(Pattern::try_from(refused.to_owned()).is_err(), "{refused}");
        }
    }
}
