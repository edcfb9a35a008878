//! Every metric of the service: name, unit, labels, help, buckets.
//!
//! Handles are made once and kept, so no request looks up a name. Invariant: upkeep runs as long as the service does. The
//! exporter keeps every histogram sample until upkeep folds it, so without upkeep memory would grow for ever.

mod deadlines;
mod edge;
pub mod families;
mod feed;
mod machinery;
pub mod output;
mod process;
mod reading;
mod reload;
mod sales;
pub mod seldom;
mod shards;
mod stock;
mod tally;
mod traces;
mod waitlists;
mod webhooks;

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use parking_lot::Mutex;

use self::families::{Family, Kind};
pub use self::{
    deadlines::Deadlines,
    edge::Edge,
    feed::Events,
    machinery::{Clock, Journal, Store, StoreLag},
    process::Process,
    reading::{Distribution, Reading},
    reload::Reloads,
    sales::Reservations,
    shards::Shards,
    stock::{Bounds, Totals},
    tally::Tally,
    traces::Traces,
    waitlists::Waitlists,
    webhooks::{DeliveryOutcome, Webhook},
};

pub struct Telemetry {
    handle: PrometheusHandle,
    make: Maker,
    pub edge: Edge,
    pub reservations: Reservations,
    pub totals: Totals,
    pub waitlists: Waitlists,
    pub shards: Shards,
    pub clock: Clock,
    pub journal: Journal,
    pub store: Store,
    pub events: Events,
    pub deadlines: Deadlines,
    pub process: Process,
    pub reloads: Reloads,
    log_lines_dropped: Counter,
    /// Shared with the thread that sends them.
    pub traces: Arc<Traces>,
    /// Counts of workers that are not yet gathered.
    tallies: Mutex<Vec<Arc<Tally>>>,
}

impl Telemetry {
    /// `routes`: names of the API's calls, by number. `bounds`: what has series of its own.
    pub fn new(routes: &'static [&'static str], bounds: Bounds) -> Self {
        let mut builder = PrometheusBuilder::new();
        for family in families::ALL {
            if let Kind::Histogram(bounds) = family.kind {
                let name = Matcher::Full(family.name.to_owned());
                builder = builder.set_buckets_for_metric(name, bounds).expect("bucket bounds are given");
            }
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        let make = Maker(Arc::new(recorder));
        make.gauge(&families::BUILD_INFO, &[env!("CARGO_PKG_VERSION")]).set(1.0);
        Self {
            handle,
            edge: Edge::new(&make, routes),
            reservations: Reservations::new(&make),
            totals: Totals::new(&make, bounds),
            waitlists: Waitlists::new(&make),
            shards: Shards::new(&make),
            clock: Clock::new(&make),
            journal: Journal::new(&make),
            store: Store::new(&make),
            events: Events::new(&make),
            deadlines: Deadlines::new(&make),
            process: Process::new(&make),
            reloads: Reloads::new(&make),
            log_lines_dropped: make.counter(&families::LOG_LINES_DROPPED, &[]),
            traces: Arc::new(Traces::new(&make)),
            tallies: Mutex::default(),
            make,
        }
    }

    /// Where one more worker notes what it counts.
    pub fn tally(&self) -> Arc<Tally> {
        let tally = Arc::<Tally>::default();
        self.tallies.lock().push(tally.clone());
        tally
    }

    fn gather(&self) {
        self.tallies.lock().iter().for_each(|tally| tally.tell(self));
        self.log_lines_dropped.absolute(output::log_lines_dropped());
    }

    /// The Prometheus text of this moment.
    pub fn render(&self) -> String {
        self.gather();
        self.handle.render()
    }

    /// The current values. Costs as much as a scrape.
    pub fn reading(&self) -> Reading {
        Reading::of(&self.render())
    }

    /// Folds histogram samples into their buckets. To be called every second or so.
    pub fn upkeep(&self) {
        self.gather();
        self.handle.run_upkeep();
    }

    /// The series of a webhook, by its name in the configuration.
    pub fn webhook(&self, name: &str) -> Webhook {
        Webhook::new(&self.make, name)
    }

    /// Records a limit of the configuration, by its key.
    pub fn limit(&self, key: &str, value: f64) {
        self.make.gauge(&families::LIMIT, &[key]).set(value);
    }

    pub fn started_at(&self, seconds_since_1970: f64) {
        self.make.gauge(&families::START_TIME, &[]).set(seconds_since_1970);
    }
}

/// Makes handles of declared families, each with its description.
#[derive(Clone)]
struct Maker(Arc<PrometheusRecorder>);

static METADATA: Metadata<'static> = Metadata::new("doorbuster", Level::INFO, None);

impl Maker {
    fn counter(&self, family: &'static Family, values: &[&str]) -> Counter {
        assert_eq!(family.kind, Kind::Counter, "{} is declared as something else", family.name);
        self.0.describe_counter(KeyName::from(family.name), None, family.help.into());
        self.0.register_counter(&key(family, values), &METADATA)
    }

    fn gauge(&self, family: &'static Family, values: &[&str]) -> Gauge {
        assert_eq!(family.kind, Kind::Gauge, "{} is declared as something else", family.name);
        self.0.describe_gauge(KeyName::from(family.name), None, family.help.into());
        self.0.register_gauge(&key(family, values), &METADATA)
    }

    fn histogram(&self, family: &'static Family, values: &[&str]) -> Histogram {
        assert!(matches!(family.kind, Kind::Histogram(_)), "{} is declared as something else", family.name);
        self.0.describe_histogram(KeyName::from(family.name), None, family.help.into());
        self.0.register_histogram(&key(family, values), &METADATA)
    }
}

/// `values`: of the family's labels, in their order.
fn key(family: &'static Family, values: &[&str]) -> Key {
    assert_eq!(family.labels.len(), values.len(), "{} has labels {:?}", family.name, family.labels);
    let labels = family.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(family.name, labels.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_observed_is_rendered_and_zero_series_are_not_made_up() {
        let telemetry = Telemetry::new(&["unknown", "reserve"], Bounds { items_max: 10, sales_max: 10 });
        telemetry.edge.observe(1, 201, [Duration::from_micros(300)].into_iter());
        telemetry.edge.observe(1, 299, [Duration::from_micros(300)].into_iter());
        telemetry.upkeep();
        let text = telemetry.render();
        for line in [
            r#"doorbuster_http_requests_total{route="reserve",status="201"} 1"#,
            r#"doorbuster_http_requests_total{route="reserve",status="other"} 1"#,
            r#"doorbuster_http_request_duration_seconds_bucket{route="reserve",le="0.0005"} 2"#,
            "# TYPE doorbuster_http_request_duration_seconds histogram",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#"route="unknown",status"#));
    }
}
