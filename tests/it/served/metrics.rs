//! Reads the Prometheus text format, strictly, as far as this service uses it.

use std::collections::{BTreeMap, BTreeSet};

/// The families of one scrape by name.
#[derive(Debug)]
pub struct Scrape(BTreeMap<String, Family>);

#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    pub samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// With a histogram's `_bucket`, `_sum` or `_count`.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Scrape {
    /// Fails on anything that Prometheus would not read, and on samples without a type or help.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        assert!(text.ends_with('\n'), "the last line ends");
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap_or_else(|| panic!("no help in {line:?}"));
                let family = families.entry(name.to_owned()).or_default();
                assert!(family.help.is_empty(), "two helps for {name}");
                family.help = help.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap_or_else(|| panic!("no type in {line:?}"));
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line:?}");
                let family = families.entry(name.to_owned()).or_default();
                assert!(family.kind.is_empty(), "two types for {name}");
                family.kind = kind.to_owned();
            } else {
                assert!(!line.starts_with('#'), "an unknown comment: {line:?}");
                let sample = parse_sample(line);
                assert!(seen.insert((sample.name.clone(), sample.labels.clone())), "twice in a scrape: {line:?}");
                let name = family_of(&sample.name, &families);
                let name = name.unwrap_or_else(|| panic!("no type stands before {line:?}"));
                families.get_mut(&name).expect("just found").samples.push(sample);
            }
        }
        Self(families)
    }

    pub fn families(&self) -> impl Iterator<Item = (&str, &Family)> {
        self.0.iter().map(|(name, family)| (name.as_str(), family))
    }

    /// The one sample with this name and, among others, these labels.
    #[track_caller]
    pub fn value<const N: usize>(&self, name: &str, labels: [(&str, &str); N]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("there is no {name}{labels:?}"))
    }

    pub fn find<const N: usize>(&self, name: &str, labels: [(&str, &str); N]) -> Option<f64> {
        let has = |sample: &&Sample| {
            let labelled = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|own| own == value);
            sample.name == name && labels.iter().all(labelled)
        };
        let mut found = self.0.values().flat_map(|family| &family.samples).filter(has);
        let first = found.next();
        assert!(found.next().is_none(), "more than one {name}{labels:?}");
        first.map(|sample| sample.value)
    }
}

fn family_of(sample: &str, families: &BTreeMap<String, Family>) -> Option<String> {
    let of_histogram = ["_bucket", "_sum", "_count"].iter().filter_map(|suffix| sample.strip_suffix(suffix));
    let histogram = of_histogram.into_iter().find(|name| families.get(*name).is_some_and(|it| it.kind == "histogram"));
    histogram.or(families.get(sample).filter(|family| !family.kind.is_empty()).map(|_| sample)).map(str::to_owned)
}

fn parse_sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line:?}"));
    let value = match value {
        "+Inf" => f64::INFINITY,
        other => other.parse().unwrap_or_else(|_| panic!("{other:?} is no number in {line:?}")),
    };
    let (name, labels) = match series.split_once('{') {
        None => (series, ""),
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("{line:?}"))),
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    assert!(!name.is_empty() && name.bytes().all(valid), "{name:?} is no metric name");
    Sample { name: name.to_owned(), labels: parse_labels(labels), value }
}

fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label in {rest:?}"));
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().unwrap_or_else(|| panic!("a label does not end in {text:?}")) {
                (at, '"') => break at + 1,
                (_, '\\') => match characters.next().map(|(_, escaped)| escaped) {
                    Some('n') => value.push('\n'),
                    Some(escaped @ ('"' | '\\')) => value.push(escaped),
                    other => panic!("an unknown escape {other:?} in {text:?}"),
                },
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "label {name} stands twice in {text:?}");
        rest = after[end..].strip_prefix(',').unwrap_or(&after[end..]);
    }
    labels
}
