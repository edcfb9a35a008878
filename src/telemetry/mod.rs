//! Every metric of the service: name, unit, labels, help, buckets.
//!
//! Handles are made once and kept; nothing is looked up by name on the way of a request. Invariant: upkeep runs as long
//! as the service does. The exporter keeps every sample of a histogram until upkeep folds it, so without it memory
//! would grow for ever.

mod edge;
mod feed;
mod machinery;
mod sales;

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use self::{
    edge::Edge,
    feed::Events,
    machinery::{Journal, Store, StoreLag},
    sales::{Reservations, Totals},
};

/// Seconds; from a refusal without a lock to a disk that stalls.
const LATENCY_BUCKETS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
const BATCH_BYTES_BUCKETS: &[f64] = &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0];
/// Around the 100 ms within which due holds are back in stock.
const EXPIRY_LAG_BUCKETS: &[f64] = &[0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 1.0, 10.0];

pub struct Telemetry {
    handle: PrometheusHandle,
    pub edge: Edge,
    pub reservations: Reservations,
    pub totals: Totals,
    pub journal: Journal,
    pub store: Store,
    pub events: Events,
}

impl Telemetry {
    /// `routes`: names of the API's calls, by number. `items_max`: items with series of their own.
    pub fn new(routes: &'static [&'static str], items_max: usize) -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets(LATENCY_BUCKETS)
            .and_then(|builder| {
                let bytes = Matcher::Full("doorbuster_journal_batch_bytes".into());
                builder.set_buckets_for_metric(bytes, BATCH_BYTES_BUCKETS)
            })
            .and_then(|builder| {
                let lag = Matcher::Full("doorbuster_expiry_lag_seconds".into());
                builder.set_buckets_for_metric(lag, EXPIRY_LAG_BUCKETS)
            })
            .expect("bucket bounds are given")
            .build_recorder();
        let handle = recorder.handle();
        let make = Maker(Arc::new(recorder));
        let version = env!("CARGO_PKG_VERSION");
        make.gauge("doorbuster_build_info", "Always 1; the version is a label.", &[("version", version)]).set(1.0);
        Self {
            handle,
            edge: Edge::new(&make, routes),
            reservations: Reservations::new(&make),
            totals: Totals::new(&make, items_max),
            journal: Journal::new(&make),
            store: Store::new(&make),
            events: Events::new(&make),
        }
    }

    /// The Prometheus text of this moment.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds histogram samples into their buckets. To be called every second or so.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Makes handles, each with its description.
#[derive(Clone)]
struct Maker(Arc<PrometheusRecorder>);

static METADATA: Metadata<'static> = Metadata::new("doorbuster", Level::INFO, None);

type Labels<'a> = &'a [(&'static str, &'a str)];

impl Maker {
    fn counter(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Counter {
        self.0.describe_counter(KeyName::from(name), None, help.into());
        self.0.register_counter(&key(name, labels), &METADATA)
    }

    fn gauge(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Gauge {
        self.0.describe_gauge(KeyName::from(name), None, help.into());
        self.0.register_gauge(&key(name, labels), &METADATA)
    }

    fn histogram(&self, name: &'static str, help: &'static str, labels: Labels<'_>) -> Histogram {
        self.0.describe_histogram(KeyName::from(name), None, help.into());
        self.0.register_histogram(&key(name, labels), &METADATA)
    }
}

fn key(name: &'static str, labels: Labels<'_>) -> Key {
    let labels = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(name, labels.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_observed_is_rendered_and_zero_series_are_not_made_up() {
        let telemetry = Telemetry::new(&["unknown", "reserve"], 10);
        telemetry.edge.observe(1, 201, Duration::from_micros(300));
        telemetry.edge.observe(1, 299, Duration::from_micros(300));
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
