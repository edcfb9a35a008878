//! Shards: how full, and how contended.

use metrics::{Counter, Gauge, Histogram};
use parking_lot::Mutex;

use super::{Maker, families};
use crate::{clock::monotonic, engine::Engine};

pub struct Shards {
    make: Maker,
    gauges: Mutex<Vec<[Gauge; 2]>>,
    lock_wait: Histogram,
    gathers: Counter,
}

impl Shards {
    pub(super) fn new(make: &Maker) -> Self {
        Self {
            gauges: Mutex::default(),
            lock_wait: make.histogram(&families::SHARD_LOCK_WAIT, &[]),
            gathers: make.counter(&families::STOCK_GATHERS, &[]),
            make: make.clone(),
        }
    }

    /// Locks each shard in turn, and measures the wait: a sample of what requests wait, which costs them nothing.
    pub fn observe(&self, engine: &Engine) {
        let mut gauges = self.gauges.lock();
        for index in 0..engine.settings().shards {
            if gauges.len() == index {
                let shard = index.to_string();
                let of = |family| self.make.gauge(family, &[&shard]);
                gauges.push([of(&families::SHARD_RESERVATIONS), of(&families::SHARD_LANE_BYTES)]);
            }
            let started = monotonic();
            let (reservations, lane_bytes) = engine.shard_levels(index);
            self.lock_wait.record(started.elapsed());
            gauges[index][0].set(reservations as f64);
            gauges[index][1].set(lane_bytes as f64);
        }
        self.gathers.absolute(engine.gathers_total());
    }
}
