//! Waitlists: what happened to entries. Read from the engine every second, never by a request.

use metrics::Counter;

use super::{Maker, families};
use crate::engine::{Engine, WaitlistTotals};

pub struct Waitlists {
    joined: Counter,
    offered: Counter,
    left: Counter,
    expired: Counter,
    passed_over: Counter,
    waited: Counter,
}

impl Waitlists {
    pub(super) fn new(make: &Maker) -> Self {
        let outcome = |outcome| make.counter(&families::WAITLIST_ENTRIES, &[outcome]);
        Self {
            joined: outcome("joined"),
            offered: outcome("offered"),
            left: outcome("left"),
            expired: outcome("expired"),
            passed_over: outcome("passed_over"),
            waited: make.counter(&families::WAITLIST_WAITED, &[]),
        }
    }

    pub fn observe(&self, engine: &Engine) {
        let WaitlistTotals { joined, offered, left, expired, passed_over, waited_millis } = engine.waitlist_totals();
        self.joined.absolute(joined);
        self.offered.absolute(offered);
        self.left.absolute(left);
        self.expired.absolute(expired);
        self.passed_over.absolute(passed_over);
        self.waited.absolute(waited_millis / 1000);
    }
}
