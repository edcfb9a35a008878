//! This machine's clock, and its offset from the service's clock.
//!
//! An answer has the service's time of its reservation; by this clock that was between the request and the answer. Many answers
//! together bound the offset of the two clocks to less than the shortest round trip.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Microseconds since the Unix epoch.
pub type Moment = i64;

/// What clocks that are corrected in the middle of a run may be wrong by.
const MARGIN: Moment = 20_000;

#[derive(Debug)]
pub struct Watch {
    instant: Instant,
    moment: Moment,
    /// The service's clock is ahead of this one by at least and at most this.
    ahead_least: AtomicI64,
    ahead_most: AtomicI64,
}

impl Watch {
    pub fn start() -> Self {
        let moment = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as Moment);
        let (ahead_least, ahead_most) = (AtomicI64::new(i64::MIN / 4), AtomicI64::new(i64::MAX / 4));
        Self { instant: Instant::now(), moment, ahead_least, ahead_most }
    }

    pub fn now(&self) -> Moment {
        self.moment + self.instant.elapsed().as_micros() as Moment
    }

    /// Learns from a time that the service told in milliseconds, of something that it did in between.
    pub fn learn(&self, told: Moment, sent: Moment, answered: Moment) {
        self.ahead_least.fetch_max(told - answered, Ordering::Relaxed);
        self.ahead_most.fetch_min(told + 999 - sent, Ordering::Relaxed);
    }

    /// A moment of the service's clock was surely not yet there before this one.
    pub fn earliest(&self, told: Moment) -> Moment {
        told - self.ahead_most.load(Ordering::Relaxed) - MARGIN
    }

    /// A moment of the service's clock was surely over after this one.
    pub fn latest(&self, told: Moment) -> Moment {
        told - self.ahead_least.load(Ordering::Relaxed) + MARGIN
    }

    pub async fn sleep_until(&self, moment: Moment) {
        tokio::time::sleep(Duration::from_micros((moment - self.now()).max(0) as u64)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_say_how_far_the_clocks_are_apart() {
        let watch = Watch::start();
        // The service is five seconds ahead; round trips of 10 ms and of 2 ms.
        watch.learn(5_004_000, 0, 10_000);
        watch.learn(6_001_000, 1_000_000, 1_002_000);
        assert!(watch.earliest(7_000_000) <= 2_000_000 && watch.earliest(7_000_000) > 1_970_000);
        assert!(watch.latest(7_000_000) >= 2_000_000 && watch.latest(7_000_000) < 2_030_000);
    }
}
