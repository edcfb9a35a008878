//! Reads values of declared metrics, for other uses than a scrape.
//!
//! Values come from the text of a scrape, because the exporter does not expose its cells. So they equal what Prometheus sees,
//! at no cost to counting.

use std::collections::HashMap;

use super::families::{Family, Kind};

/// All values of one moment.
#[derive(Debug)]
pub struct Reading(HashMap<String, f64>);

/// What a histogram has seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    pub count: u64,
    pub sum: f64,
    /// Samples up to each of the family's bounds.
    pub within: Vec<u64>,
}

impl Reading {
    pub fn of(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let parse = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self(samples.filter_map(parse).collect())
    }

    /// The value of a series; 0 where nothing was counted yet. `labels`: values of the family's labels, in their order.
    pub fn value(&self, family: &Family, labels: &[&str]) -> f64 {
        self.series(family, "", labels, None)
    }

    /// As `value`, of what is counted in whole numbers.
    pub fn count(&self, family: &Family, labels: &[&str]) -> u64 {
        self.value(family, labels) as u64
    }

    /// The sum of all series of a family.
    pub fn sum(&self, family: &Family) -> u64 {
        let own = |series: &str| series.split('{').next() == Some(family.name);
        self.0.iter().filter(|(series, _)| own(series)).map(|(_, value)| *value as u64).sum()
    }

    pub fn distribution(&self, family: &Family, labels: &[&str]) -> Distribution {
        let Kind::Histogram(bounds) = family.kind else { panic!("{} is no histogram", family.name) };
        let within = bounds.iter().map(|bound| self.series(family, "_bucket", labels, Some(*bound)) as u64);
        Distribution {
            within: within.collect(),
            count: self.series(family, "_count", labels, None) as u64,
            sum: self.series(family, "_sum", labels, None),
        }
    }

    fn series(&self, family: &Family, suffix: &str, values: &[&str], bound: Option<f64>) -> f64 {
        assert_eq!(family.labels.len(), values.len(), "{} has labels {:?}", family.name, family.labels);
        let labels = family.labels.iter().zip(values).map(|(name, value)| format!("{name}=\"{value}\""));
        let labels: Vec<_> = labels.chain(bound.map(|bound| format!("le=\"{bound}\""))).collect();
        let name = format!("{}{suffix}", family.name);
        let series = if labels.is_empty() { name } else { format!("{name}{{{}}}", labels.join(",")) };
        self.0.get(&series).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::telemetry::{Bounds, Telemetry, families};

    /// Against the exporter itself: another way of writing its text must not read as nothing.
    #[test]
    fn what_was_counted_is_read() {
        let telemetry = Telemetry::new(&["unknown", "reserve"], Bounds { items_max: 10, sales_max: 10 });
        for micros in [60, 300, 7_000_000] {
            telemetry.edge.observe(1, 201, [Duration::from_micros(micros)].into_iter());
        }
        telemetry.edge.observe(0, 404, [Duration::from_micros(10)].into_iter());
        telemetry.edge.connection_opened();
        telemetry.upkeep();
        let reading = telemetry.reading();
        assert_eq!(reading.count(&families::HTTP_REQUESTS, &["reserve", "201"]), 3);
        assert_eq!(reading.count(&families::HTTP_REQUESTS, &["reserve", "409"]), 0);
        assert_eq!(reading.sum(&families::HTTP_REQUESTS), 4);
        assert_eq!(reading.value(&families::HTTP_CONNECTIONS, &[]), 1.0);
        let seen = reading.distribution(&families::HTTP_DURATION, &["reserve"]);
        assert_eq!((seen.count, seen.within.first(), seen.within.last()), (3, Some(&0), Some(&2)));
        assert_eq!(&seen.within[..4], [0, 1, 1, 2]);
        assert!((seen.sum - 7.00036).abs() < 1e-6, "{seen:?}");
    }
}
