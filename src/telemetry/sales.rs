//! The domain: grants and refusals, stock by state, holds, sales.

use std::collections::HashMap;

use metrics::{Counter, Gauge, Histogram};
use parking_lot::Mutex;

use super::Maker;
use crate::{
    engine::{Counts, Engine, Made, Tick},
    sale::{
        outcome::{Refusal, Reservation},
        time::Timestamp,
    },
};

/// Outcomes of commands on reservations. Refusals bear the problem's code.
pub struct Reservations {
    held: Counter,
    replayed: Counter,
    confirmed: Counter,
    released: Counter,
    extended: Counter,
    expired: Counter,
    retired: Counter,
    refused: [Counter; REASONS.len()],
    expiry_lag: Histogram,
}

const REASONS: [&str; 17] = [
    "invalid_request",
    "sale_not_found",
    "item_not_found",
    "reservation_not_found",
    "sold_out",
    "insufficient_stock",
    "customer_limit_exceeded",
    "sale_not_started",
    "sale_ended",
    "sale_paused",
    "reservation_expired",
    "already_confirmed",
    "already_released",
    "extension_limit_reached",
    "idempotency_key_reused",
    "overloaded",
    "backlog_full",
];

fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Invalid(_) | Refusal::InitialStockImmutable { .. } => "invalid_request",
        Refusal::SaleNotFound => "sale_not_found",
        Refusal::ItemNotFound { .. } => "item_not_found",
        Refusal::ReservationNotFound => "reservation_not_found",
        Refusal::Short(lines) if lines.iter().any(|line| line.available == 0) => "sold_out",
        Refusal::Short(_) => "insufficient_stock",
        Refusal::CustomerLimitExceeded { .. } => "customer_limit_exceeded",
        Refusal::SaleNotStarted { .. } => "sale_not_started",
        Refusal::SaleEnded => "sale_ended",
        Refusal::SalePaused => "sale_paused",
        Refusal::ReservationExpired(_) => "reservation_expired",
        Refusal::AlreadyConfirmed(_) => "already_confirmed",
        Refusal::AlreadyReleased(_) => "already_released",
        Refusal::ExtensionLimitReached(_) => "extension_limit_reached",
        Refusal::IdempotencyKeyReused => "idempotency_key_reused",
        Refusal::Full(_) => "overloaded",
        Refusal::BacklogFull => "backlog_full",
    }
}

impl Reservations {
    pub(super) fn new(make: &Maker) -> Self {
        let outcome = |outcome| {
            let help = "Commands on reservations that were carried out, and holds that ended by themselves.";
            make.counter("doorbuster_reservations_total", help, &[("outcome", outcome)])
        };
        let refused = |reason| {
            let help = "Commands on reservations that were refused, by reason.";
            make.counter("doorbuster_reservation_refusals_total", help, &[("reason", reason)])
        };
        Self {
            held: outcome("held"),
            replayed: outcome("replayed"),
            confirmed: outcome("confirmed"),
            released: outcome("released"),
            extended: outcome("extended"),
            expired: outcome("expired"),
            retired: outcome("retired"),
            refused: REASONS.map(refused),
            expiry_lag: make.histogram(
                "doorbuster_expiry_lag_seconds",
                "Seconds that the latest of the holds expired together was past its time.",
                &[],
            ),
        }
    }

    pub fn reserve(&self, outcome: &Result<Made, Refusal>) {
        match outcome {
            Ok(made) if made.replayed => self.replayed.increment(1),
            Ok(_) => self.held.increment(1),
            Err(refusal) => self.refuse(refusal),
        }
    }

    pub fn confirm(&self, outcome: &Result<Reservation, Refusal>) {
        self.count(&self.confirmed, outcome);
    }

    pub fn release(&self, outcome: &Result<Reservation, Refusal>) {
        self.count(&self.released, outcome);
    }

    pub fn extend(&self, outcome: &Result<Reservation, Refusal>) {
        self.count(&self.extended, outcome);
    }

    pub fn ticked(&self, tick: &Tick) {
        self.expired.increment((tick.expired + tick.expired_meanwhile) as u64);
        self.retired.increment(tick.retired as u64);
        if tick.expired > 0 {
            self.expiry_lag.record(tick.lag_millis as f64 / 1000.0);
        }
    }

    fn count(&self, counter: &Counter, outcome: &Result<Reservation, Refusal>) {
        match outcome {
            Ok(_) => counter.increment(1),
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn refuse(&self, refusal: &Refusal) {
        let reason = reason(refusal);
        let place = REASONS.iter().position(|&known| known == reason).expect("every reason is in the table");
        self.refused[place].increment(1);
    }
}

/// What is where: read from the engine every second.
pub struct Totals {
    make: Maker,
    items_max: usize,
    live_holds: Gauge,
    reservations: Gauge,
    customers: Gauge,
    drift: Gauge,
    sales: Mutex<HashMap<&'static str, Gauge>>,
    items: Mutex<Vec<ItemGauges>>,
    other: Mutex<Option<ItemGauges>>,
}

struct ItemGauges {
    stock: Gauge,
    available: Gauge,
    held: Gauge,
    confirmed: Gauge,
}

impl ItemGauges {
    fn new(make: &Maker, sale: &str, sku: &str) -> Self {
        let gauge = |state| {
            let help = "Units of an item, by where they are; `stock` is the sum of the others.";
            make.gauge("doorbuster_stock_units", help, &[("sale", sale), ("sku", sku), ("state", state)])
        };
        Self {
            stock: gauge("stock"),
            available: gauge("available"),
            held: gauge("held"),
            confirmed: gauge("confirmed"),
        }
    }

    fn set(&self, stock: u64, counts: &Counts) {
        self.stock.set(stock as f64);
        self.available.set(counts.available as f64);
        self.held.set(counts.held as f64);
        self.confirmed.set(counts.confirmed as f64);
    }
}

impl Totals {
    pub(super) fn new(make: &Maker, items_max: usize) -> Self {
        let gauge = |name, help| make.gauge(name, help, &[]);
        Self {
            live_holds: gauge("doorbuster_live_holds", "Reservations in state held."),
            reservations: gauge("doorbuster_reservations_in_memory", "Reservations in memory, whatever their state."),
            customers: gauge("doorbuster_customers_in_memory", "Customers of whom anything is in memory."),
            drift: gauge(
                "doorbuster_conservation_drift_units",
                "Sum over items of |stock - available - held - confirmed|: anything but 0 is a defect.",
            ),
            sales: Mutex::default(),
            items: Mutex::default(),
            other: Mutex::default(),
            items_max,
            make: make.clone(),
        }
    }

    /// Reads the engine's totals at `now`.
    pub fn observe(&self, engine: &Engine, now: Timestamp) {
        let levels = engine.levels();
        self.live_holds.set(levels.live_holds as f64);
        self.reservations.set(levels.reservations as f64);
        self.customers.set(levels.customers as f64);
        for (status, count) in engine.sales_by_status(now) {
            let mut sales = self.sales.lock();
            let gauge = sales.entry(status.as_str()).or_insert_with(|| {
                self.make.gauge("doorbuster_sales", "Sales, by status.", &[("status", status.as_str())])
            });
            gauge.set(count as f64);
        }
        self.observe_stock(engine);
    }

    /// The first `items_max` items have series of their own; the rest is one item called `other`.
    fn observe_stock(&self, engine: &Engine) {
        let stock = engine.stock();
        let catalogue = engine.catalogue();
        let mut items = self.items.lock();
        for number in items.len()..stock.len().min(self.items_max) {
            let (sale, sku) = catalogue.names(crate::sale::ids::ItemNumber(number as u32));
            items.push(ItemGauges::new(&self.make, sale, sku));
        }
        let mut drift = 0;
        let (mut other_stock, mut other) = (0, Counts::default());
        for (number, (stock, counts)) in stock.iter().enumerate() {
            drift += stock.abs_diff(counts.available + counts.held + counts.confirmed);
            match items.get(number) {
                Some(gauges) => gauges.set(*stock, counts),
                None => {
                    other_stock += stock;
                    other.available += counts.available;
                    other.held += counts.held;
                    other.confirmed += counts.confirmed;
                }
            }
        }
        if stock.len() > items.len() {
            let mut gauges = self.other.lock();
            gauges.get_or_insert_with(|| ItemGauges::new(&self.make, "other", "other")).set(other_stock, &other);
        }
        self.drift.set(drift as f64);
    }
}
