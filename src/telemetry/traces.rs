//! Spans by outcome.

use metrics::Counter;

use super::{Maker, families};

pub struct Traces {
    exported: Counter,
    over_limit: Counter,
    queue_full: Counter,
    export_failed: Counter,
}

impl Traces {
    pub(super) fn new(make: &Maker) -> Self {
        let counter = |outcome| make.counter(&families::TRACE_SPANS, &[outcome]);
        Self {
            exported: counter("exported"),
            over_limit: counter("over_limit"),
            queue_full: counter("queue_full"),
            export_failed: counter("export_failed"),
        }
    }

    pub fn exported(&self, spans: u64) {
        self.exported.increment(spans);
    }

    /// A request that would have been traced was not.
    pub fn over_limit(&self) {
        self.over_limit.increment(1);
    }

    pub fn queue_full(&self) {
        self.queue_full.increment(1);
    }

    pub fn export_failed(&self, spans: u64) {
        self.export_failed.increment(spans);
    }
}
