//! What a caller says of a request beside what is asked for: tier, channel, region, locations and labels. The caller vouches for them.

use std::borrow::Cow;

/// Labels of one request.
pub const LABELS_MAX: usize = 4;

/// The attributes of a reservation. Requests are judged by all of them but labels, which are only kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Attributes<'a> {
    /// The customer's, such as `gold`.
    pub tier: Option<Cow<'a, str>>,
    /// Where the request comes from, such as `livestream`.
    pub channel: Option<Cow<'a, str>>,
    /// Where the units are to go.
    pub region: Option<Cow<'a, str>>,
    /// Only pools of these locations are drawn from, by name, each once; empty: of all, and of none.
    pub locations: Vec<Cow<'a, str>>,
    /// Names and values, by name.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// What a request without any has.
pub const NONE: Attributes<'static> =
    Attributes { tier: None, channel: None, region: None, locations: Vec::new(), labels: Vec::new() };

impl<'a> Attributes<'a> {
    pub fn is_empty(&self) -> bool {
        *self == NONE
    }

    /// The same, in memory of its own.
    pub fn into_owned(self) -> Attributes<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Attributes {
            tier: self.tier.map(own),
            channel: self.channel.map(own),
            region: self.region.map(own),
            locations: self.locations.into_iter().map(own).collect(),
            labels: self.labels.into_iter().map(|(name, value)| (own(name), own(value))).collect(),
        }
    }

    /// The same without its labels.
    pub fn without_labels(&self) -> Self {
        Self { labels: Vec::new(), ..self.clone() }
    }

    /// Names and values in one order, each once per name: what the journal keeps and what requests are compared by.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = [("tier", &self.tier), ("channel", &self.channel), ("region", &self.region)];
        let named = named.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
        named.chain(self.labels.iter().map(|(name, value)| (&**name, &**value)))
    }

    /// Bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        self.texts().map(|(name, text)| name.len() + text.len()).sum()
    }
}

/// Who something is for: customers of these tiers, through these channels. A list that is absent has all.
#[derive(Debug, Clone, Copy)]
pub struct Audience<'a> {
    pub tiers: Option<&'a [String]>,
    pub channels: Option<&'a [String]>,
}

impl Audience<'_> {
    /// Whether a request with these attributes is among it.
    pub fn has(self, attributes: &Attributes<'_>) -> bool {
        let among = |list: Option<&[String]>, text: &Option<Cow<'_, str>>| match (list, text) {
            (None, _) => true,
            (Some(list), Some(text)) => list.iter().any(|each| each == text),
            (Some(_), None) => false,
        };
        among(self.tiers, &attributes.tier) && among(self.channels, &attributes.channel)
    }

    /// Whether some request could be among both.
    pub fn meets(self, other: Audience<'_>) -> bool {
        let meets = |one: Option<&[String]>, other: Option<&[String]>| match (one, other) {
            (Some(one), Some(other)) => one.iter().any(|each| other.contains(each)),
            _ => true,
        };
        meets(self.tiers, other.tiers) && meets(self.channels, other.channels)
    }

    pub fn is_all(self) -> bool {
        self.tiers.is_none() && self.channels.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(tier: Option<&'static str>, channel: Option<&'static str>) -> Attributes<'static> {
        Attributes { tier: tier.map(Cow::Borrowed), channel: channel.map(Cow::Borrowed), ..NONE.clone() }
    }

    #[test]
    fn an_audience_has_who_is_in_all_of_its_lists() {
        let (gold, live) = (["gold".to_owned()], ["live".to_owned(), "app".to_owned()]);
        let both = Audience { tiers: Some(&gold), channels: Some(&live) };
        assert!(both.has(&attributes(Some("gold"), Some("app"))));
        assert!(!both.has(&attributes(Some("gold"), None)));
        assert!(!both.has(&attributes(Some("silver"), Some("app"))));
        let all = Audience { tiers: None, channels: None };
        assert!(all.has(&NONE) && all.is_all() && !both.is_all());
        let others = ["web".to_owned()];
        assert!(both.meets(all) && !both.meets(Audience { tiers: None, channels: Some(&others) }));
    }

    #[test]
    fn texts_come_in_one_order() {
        let labels = vec![(Cow::Borrowed("exp"), Cow::Borrowed("B"))];
        let all = Attributes { labels, ..attributes(Some("gold"), Some("app")) };
        let texts: Vec<_> = all.texts().collect();
        assert_eq!(texts, [("tier", "gold"), ("channel", "app"), ("exp", "B")]);
        assert_eq!(all.clone().into_owned(), all);
        assert!(NONE.is_empty() && !all.is_empty());
    }
}
