//! Reloads of the configuration.

use metrics::{Counter, Gauge};

use super::{Maker, families};

pub struct Reloads {
    done: Counter,
    refused: Counter,
    failed: Gauge,
}

impl Reloads {
    pub(super) fn new(make: &Maker) -> Self {
        let counter = |outcome| make.counter(&families::CONFIG_RELOADS, &[outcome]);
        Self {
            done: counter("ok"),
            refused: counter("refused"),
            failed: make.gauge(&families::CONFIG_RELOAD_FAILED, &[]),
        }
    }

    pub fn done(&self) {
        self.done.increment(1);
        self.failed.set(0.0);
    }

    /// All or a part of what was read could not be used.
    pub fn refused(&self) {
        self.refused.increment(1);
        self.failed.set(1.0);
    }
}
