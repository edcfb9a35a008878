//! Requests: rate, errors, duration; and connections.

use std::{sync::OnceLock, time::Duration};

use metrics::{Counter, Gauge, Histogram};

use super::Maker;

/// Statuses that answers have; the place after the last is for any other.
const STATUSES: [u16; 19] =
    [200, 201, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411, 413, 414, 415, 422, 429, 431, 503];

pub struct Edge {
    make: Maker,
    routes: &'static [&'static str],
    /// By route and status; a series exists from its first request on.
    requests: Vec<[OnceLock<Counter>; STATUSES.len() + 1]>,
    durations: Vec<Histogram>,
    connections: Gauge,
    connections_refused: Counter,
}

impl Edge {
    pub(super) fn new(make: &Maker, routes: &'static [&'static str]) -> Self {
        let durations = routes.iter().map(|route| {
            let help = "Seconds from a request's head to its answer, the wait for the disk included.";
            make.histogram("doorbuster_http_request_duration_seconds", help, &[("route", route)])
        });
        Self {
            durations: durations.collect(),
            requests: routes.iter().map(|_| Default::default()).collect(),
            connections: make.gauge("doorbuster_http_connections", "Open connections of the API.", &[]),
            connections_refused: make.counter(
                "doorbuster_http_connections_refused_total",
                "Connections answered 503 and closed because limits.connections_max was reached.",
                &[],
            ),
            routes,
            make: make.clone(),
        }
    }

    pub fn observe(&self, route: usize, status: u16, duration: Duration) {
        let place = STATUSES.iter().position(|&known| known == status).unwrap_or(STATUSES.len());
        let counter = self.requests[route][place].get_or_init(|| {
            let status = STATUSES.get(place).map_or("other".to_owned(), u16::to_string);
            let labels = [("route", self.routes[route]), ("status", status.as_str())];
            self.make.counter("doorbuster_http_requests_total", "Requests answered, by call and status.", &labels)
        });
        counter.increment(1);
        self.durations[route].record(duration);
    }

    pub fn connection_opened(&self) {
        self.connections.increment(1.0);
    }

    pub fn connection_closed(&self) {
        self.connections.decrement(1.0);
    }

    pub fn connection_refused(&self) {
        self.connections_refused.increment(1);
    }
}
