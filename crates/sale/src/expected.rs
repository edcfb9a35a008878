//! Preconditions of a change of a sale, so that no change overwrites another by mistake.

use xxhash_rust::xxh3::xxh3_64;

/// Names a state of a sale's settings: the same for the same settings, whatever happens to stock and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub u64);

impl Tag {
    /// Of settings as events keep them.
    pub fn of(encoded: &[u8]) -> Self {
        Self(xxh3_64(encoded))
    }
}

/// Some tags, or any at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    Any,
    Of(Vec<Tag>),
}

impl Tags {
    /// Whether the sale has one of them. `present`: its tag; None: there is no such sale.
    pub fn has(&self, present: Option<Tag>) -> bool {
        match (self, present) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::Of(tags), Some(tag)) => tags.contains(&tag),
        }
    }
}

/// Conditions of a change; with neither it is made in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The sale has one of these tags.
    pub tags: Option<Tags>,
    /// It has none of these.
    pub no_tags: Option<Tags>,
}

impl Expected {
    /// This state and no other.
    pub fn exactly(tag: Tag) -> Self {
        Self { tags: Some(Tags::Of(vec![tag])), no_tags: None }
    }

    pub fn is_met(&self, present: Option<Tag>) -> bool {
        let has = |tags: &Tags| tags.has(present);
        self.tags.as_ref().is_none_or(has) && !self.no_tags.as_ref().is_some_and(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_those_of_http() {
        let (here, other) = (Some(Tag(1)), Some(Tag(2)));
        let of = |tags: Option<Tags>, no_tags: Option<Tags>| Expected { tags, no_tags };
        let one = || Some(Tags::Of(vec![Tag(7), Tag(1)]));
        for (expected, met) in [
            (Expected::default(), [true, true, true]),
            (Expected::exactly(Tag(1)), [true, false, false]),
            (of(one(), None), [true, false, false]),
            (of(Some(Tags::Any), None), [true, true, false]),
            (of(None, Some(Tags::Any)), [false, false, true]),
            (of(None, one()), [false, true, true]),
            (of(Some(Tags::Any), one()), [false, true, false]),
        ] {
            assert_eq!([here, other, None].map(|present| expected.is_met(present)), met, "{expected:?}");
        }
    }
}
