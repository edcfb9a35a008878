//! Patterns of types of events, with stars.

use serde::{Deserialize, Serialize};

use crate::{auth::Pattern, events::KINDS};

/// A type of events, in which each `*` stands for any characters or none. It matches at least one type that there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KindPattern(Pattern);

impl KindPattern {
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub fn matches(&self, kind: &str) -> bool {
        self.0.matches(kind)
    }
}

impl TryFrom<String> for KindPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let pattern = Pattern::try_from(text).ok().filter(|pattern| KINDS.iter().any(|kind| pattern.matches(kind)));
        let known = || {
            format!("must be a type of events or match one, as \"reservation.*\" does. The types: {}", KINDS.join(", "))
        };
        pattern.map(Self).ok_or_else(known)
    }
}

impl From<KindPattern> for String {
    fn from(KindPattern(pattern): KindPattern) -> Self {
        pattern.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_a_type_that_there_is() {
        for (text, kind) in [("*", "sale.put"), ("sale.*", "sale.closed"), ("item.sold_out", "item.sold_out")] {
            assert!(KindPattern::try_from(text.to_owned()).unwrap().matches(kind), "{text}");
        }
        for text in ["", "sale", "sales.*", "item.sold", "SALE.*", "stream.ended"] {
            let told = KindPattern::try_from(text.to_owned()).unwrap_err();
            assert!(told.contains("reservation.held"), "{told}");
        }
        assert!(!KindPattern::try_from("sale.*".to_owned()).unwrap().matches("item.sold_out"));
    }
}
