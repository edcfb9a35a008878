//! Commands on reservations: grants, refusals by reason, and what time ends.

use metrics::{Counter, Histogram};

use super::{Maker, families};
use crate::{
    engine::Tick,
    sale::outcome::{Extension, Refusal, Reservation},
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

/// Why commands are refused: codes of problems.
pub const REASONS: [&str; 18] = [
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
    "disk_low",
];

/// The code of the problem that the refusal is answered with, as metrics name it.
pub fn refusal_reason(refusal: &Refusal) -> &'static str {
    match refusal {
        // Those of an operator's document are counted nowhere.
        Refusal::Invalid(_) | Refusal::InitialStockImmutable { .. } => "invalid_request",
        Refusal::PreconditionFailed { .. } => "invalid_request",
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
        Refusal::DiskLow => "disk_low",
    }
}

/// The place of the refusal's reason in `REASONS`.
pub fn reason_place(refusal: &Refusal) -> usize {
    let reason = refusal_reason(refusal);
    REASONS.iter().position(|&known| known == reason).expect("every reason is in the table")
}

impl Reservations {
    pub(super) fn new(make: &Maker) -> Self {
        let outcome = |outcome| make.counter(&families::RESERVATIONS, &[outcome]);
        let refused = |reason| make.counter(&families::REFUSALS, &[reason]);
        Self {
            held: outcome("held"),
            replayed: outcome("replayed"),
            confirmed: outcome("confirmed"),
            released: outcome("released"),
            extended: outcome("extended"),
            expired: outcome("expired"),
            retired: outcome("retired"),
            refused: REASONS.map(refused),
            expiry_lag: make.histogram(&families::EXPIRY_LAG, &[]),
        }
    }

    /// So many reserves made a hold.
    pub fn held(&self, count: u64) {
        self.held.increment(count);
    }

    /// A reserve whose key was known.
    pub fn replayed(&self) {
        self.replayed.increment(1);
    }

    pub fn confirm(&self, outcome: &Result<Reservation, Refusal>) {
        self.count(&self.confirmed, outcome);
    }

    pub fn release(&self, outcome: &Result<Reservation, Refusal>) {
        self.count(&self.released, outcome);
    }

    /// A hold that does not last longer than before was not extended.
    pub fn extend(&self, outcome: &Result<Extension, Refusal>) {
        match outcome {
            Ok(extension) => self.extended.increment(extension.longer.into()),
            Err(refusal) => self.refuse(refusal),
        }
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

    /// So many reserves were refused for the reason at this place of `REASONS`.
    pub fn refused(&self, place: usize, count: u64) {
        self.refused[place].increment(count);
    }

    fn refuse(&self, refusal: &Refusal) {
        self.refused(reason_place(refusal), 1);
    }
}
