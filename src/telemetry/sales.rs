//! Commands on reservations: grants, refusals by reason, and what time ends.

use std::collections::HashMap;

use compact_str::CompactString;
use metrics::{Counter, Histogram};
use parking_lot::Mutex;

use super::{Maker, families};
use crate::{
    engine::{CancelMade, Tick},
    sale::{
        code::Code,
        outcome::{Extension, Refusal, Reservation},
    },
};

/// Outcomes of commands on reservations. Refusals bear the problem's code.
pub struct Reservations {
    held: Counter,
    replayed: Counter,
    confirmed: Counter,
    released: Counter,
    confirmed_late: Counter,
    confirm_refused: Counter,
    changed: Counter,
    cancelled: Counter,
    extended: Counter,
    expired: Counter,
    retired: Counter,
    /// By code; those of operators' documents are counted nowhere.
    refused: Vec<Counter>,
    expiry_lag: Histogram,
    /// By channel: held and refused. As many as the service knows channels.
    channels: Mutex<HashMap<CompactString, [Counter; 2]>>,
    make: Maker,
}

impl Reservations {
    pub(super) fn new(make: &Maker) -> Self {
        let outcome = |outcome| make.counter(&families::RESERVATIONS, &[outcome]);
        let mut refused = vec![Counter::noop(); Code::ALL.len()];
        for code in Code::of_reservations() {
            refused[code as usize] = make.counter(&families::REFUSALS, &[code.as_str()]);
        }
        Self {
            held: outcome("held"),
            replayed: outcome("replayed"),
            confirmed: outcome("confirmed"),
            released: outcome("released"),
            confirmed_late: outcome("confirmed_late"),
            confirm_refused: outcome("confirm_refused"),
            changed: outcome("changed"),
            cancelled: outcome("cancelled"),
            extended: outcome("extended"),
            expired: outcome("expired"),
            retired: outcome("retired"),
            refused,
            expiry_lag: make.histogram(&families::EXPIRY_LAG, &[]),
            channels: Mutex::default(),
            make: make.clone(),
        }
    }

    /// So many reserves made a hold.
    pub fn held(&self, count: u64) {
        self.held.increment(count);
    }

    /// So many reserves named this channel.
    pub fn came_through(&self, channel: &str, held: u64, refused: u64) {
        let mut channels = self.channels.lock();
        let counters = channels.entry(channel.into()).or_insert_with(|| {
            ["held", "refused"].map(|outcome| self.make.counter(&families::CHANNEL_RESERVES, &[channel, outcome]))
        });
        counters[0].increment(held);
        counters[1].increment(refused);
    }

    /// A reserve whose key was known.
    pub fn replayed(&self) {
        self.replayed.increment(1);
    }

    pub fn confirm(&self, outcome: &Result<Reservation, Refusal>) {
        match outcome {
            Ok(reservation) if reservation.late => self.confirmed_late.increment(1),
            Ok(_) => self.confirmed.increment(1),
            Err(refusal) => {
                self.confirm_refused.increment(u64::from(refusal.loses_payment()));
                self.refuse(refusal);
            }
        }
    }

    pub fn release(&self, outcome: &Result<Reservation, Refusal>) {
        self.count(&self.released, outcome);
    }

    pub fn change(&self, outcome: &Result<Reservation, Refusal>) {
        self.count(&self.changed, outcome);
    }

    pub fn cancel(&self, outcome: &Result<CancelMade, Refusal>) {
        match outcome {
            Ok(made) => self.cancelled.increment(u64::from(!made.replayed)),
            Err(refusal) => self.refuse(refusal),
        }
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
        self.extended.increment(tick.extended);
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

    /// So many commands were refused with this code.
    pub fn refused(&self, code: Code, count: u64) {
        self.refused[code as usize].increment(count);
    }

    fn refuse(&self, refusal: &Refusal) {
        self.refused(refusal.code(), 1);
    }
}
