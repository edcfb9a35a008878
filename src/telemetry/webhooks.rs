//! Deliveries to a webhook.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::{Maker, families};

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryOutcome {
    Delivered,
    Refused,
    TimedOut,
    Unreachable,
}

/// The series of one webhook.
pub struct Webhook {
    delivered: Counter,
    refused: Counter,
    timed_out: Counter,
    unreachable: Counter,
    duration: Histogram,
    waiting: Gauge,
    lag: Gauge,
    parked: Gauge,
    skips: Counter,
}

impl Webhook {
    pub(super) fn new(make: &Maker, name: &str) -> Self {
        let outcome = |outcome| make.counter(&families::WEBHOOK_DELIVERIES, &[name, outcome]);
        Self {
            delivered: outcome("delivered"),
            refused: outcome("refused"),
            timed_out: outcome("timed_out"),
            unreachable: outcome("unreachable"),
            duration: make.histogram(&families::WEBHOOK_DURATION, &[name]),
            waiting: make.gauge(&families::WEBHOOK_WAITING, &[name]),
            lag: make.gauge(&families::WEBHOOK_LAG, &[name]),
            parked: make.gauge(&families::WEBHOOK_PARKED, &[name]),
            skips: make.counter(&families::WEBHOOK_SKIPS, &[name]),
        }
    }

    pub fn ended(&self, outcome: DeliveryOutcome, took: Duration) {
        let counter = match outcome {
            DeliveryOutcome::Delivered => &self.delivered,
            DeliveryOutcome::Refused => &self.refused,
            DeliveryOutcome::TimedOut => &self.timed_out,
            DeliveryOutcome::Unreachable => &self.unreachable,
        };
        counter.increment(1);
        self.duration.record(took.as_secs_f64());
    }

    /// Events were missed.
    pub fn skipped(&self) {
        self.skips.increment(1);
    }

    pub fn observe(&self, parked: bool, waiting: u64, lag_seconds: f64) {
        self.parked.set(f64::from(u8::from(parked)));
        self.waiting.set(waiting as f64);
        self.lag.set(lag_seconds);
    }
}
