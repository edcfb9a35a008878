//! Requests: rate, errors, duration; and connections.

use std::{sync::OnceLock, time::Duration};

use metrics::{Counter, Gauge, Histogram};

use super::{Maker, families};

/// Statuses that answers have; the place after the last is for any other.
const STATUSES: [u16; 20] =
    [200, 201, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411, 413, 414, 415, 422, 429, 431, 503];

/// Whose quotas there are.
const POLICIES: [&str; 3] = ["key", "customer", "sale"];

pub struct Edge {
    make: Maker,
    routes: &'static [&'static str],
    /// By route and status; a series exists from its first request on.
    requests: Vec<[OnceLock<Counter>; STATUSES.len() + 1]>,
    durations: Vec<Histogram>,
    connections: Gauge,
    connections_refused: Counter,
    /// By place in `POLICIES`.
    rate_limited: [Counter; POLICIES.len()],
    callers: Gauge,
    buffered_bytes: Gauge,
}

impl Edge {
    pub(super) fn new(make: &Maker, routes: &'static [&'static str]) -> Self {
        let durations = routes.iter().map(|route| make.histogram(&families::HTTP_DURATION, &[route]));
        Self {
            durations: durations.collect(),
            requests: routes.iter().map(|_| Default::default()).collect(),
            connections: make.gauge(&families::HTTP_CONNECTIONS, &[]),
            connections_refused: make.counter(&families::HTTP_CONNECTIONS_REFUSED, &[]),
            rate_limited: POLICIES.map(|policy| make.counter(&families::RATE_LIMITED, &[policy])),
            callers: make.gauge(&families::RATE_LIMIT_CALLERS, &[]),
            buffered_bytes: make.gauge(&families::BUFFERED_BYTES, &[]),
            routes,
            make: make.clone(),
        }
    }

    /// Requests of one call that were answered with one status, and how long each took.
    pub fn observe(&self, route: usize, status: u16, took: impl ExactSizeIterator<Item = Duration>) {
        let place = STATUSES.iter().position(|&known| known == status).unwrap_or(STATUSES.len());
        let counter = self.requests[route][place].get_or_init(|| {
            let status = STATUSES.get(place).map_or("other".to_owned(), u16::to_string);
            self.make.counter(&families::HTTP_REQUESTS, &[self.routes[route], &status])
        });
        counter.increment(took.len() as u64);
        took.for_each(|duration| self.durations[route].record(duration));
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

    /// A request or an entry of a batch was beyond a quota of this policy.
    pub fn rate_limited(&self, policy: &str) {
        let place = POLICIES.iter().position(|&known| known == policy).expect("every policy is in the table");
        self.rate_limited[place].increment(1);
    }

    /// Bytes of requests and answers under way.
    pub fn buffered(&self, bytes: usize) {
        self.buffered_bytes.set(bytes as f64);
    }

    pub fn callers_remembered(&self, callers: usize) {
        self.callers.set(callers as f64);
    }
}
