//! Measures the age of the oldest change that is not in the store.
//!
//! Invariant: memory is bounded, however long the store is away: the kept moments of commits get sparser as the store falls
//! behind. The reported age is never too small, and too large by at most 20 ms or a thousandth of the largest age.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::journal::Epoch;

const DISTANCE: Duration = Duration::from_millis(20);
const MARKS_MAX: usize = 4096;

pub(super) struct CommitTimes(Mutex<Marks>);

struct Marks {
    /// An epoch and when it became durable. Epochs up to the next mark's became durable after it.
    marks: VecDeque<(Epoch, Instant)>,
    distance: Duration,
}

impl CommitTimes {
    /// What is durable at the start became so before it: its age counts from there.
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Marks { marks: VecDeque::from([(0, now)]), distance: DISTANCE }))
    }

    /// On the journal's thread, once per commit.
    pub(super) fn committed(&self, epoch: Epoch, now: Instant) {
        let Marks { marks, distance } = &mut *self.0.lock();
        if marks.back().is_some_and(|&(_, last)| now.duration_since(last) < *distance) {
            return;
        }
        if marks.len() == MARKS_MAX {
            let mut number = 0_usize;
            marks.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            // As far apart as those that are left, which commits may have spaced wider than was asked.
            let span = marks.front().map_or(Duration::ZERO, |&(_, first)| now.duration_since(first));
            *distance = (*distance * 2).max(span / (MARKS_MAX / 2) as u32);
        }
        marks.push_back((epoch, now));
    }

    /// Seconds that the first epoch after `applied` has been durable; 0 when there is none up to `durable`.
    pub(super) fn lag_seconds(&self, applied: Epoch, durable: Epoch, now: Instant) -> f64 {
        let Marks { marks, distance } = &mut *self.0.lock();
        while marks.get(1).is_some_and(|&(next, _)| next <= applied.saturating_add(1)) {
            marks.pop_front();
        }
        let span = marks.front().map_or(Duration::ZERO, |&(_, since)| now.saturating_duration_since(since));
        // As it nears, moments are kept as close together as before.
        *distance = DISTANCE.max(span / (MARKS_MAX / 2) as u32);
        if applied >= durable {
            return 0.0;
        }
        span.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_busy_store_that_is_never_quite_there_lags_by_what_it_lacks_and_no_more() {
        let start = Instant::now();
        let times = CommitTimes::new(start);
        for epoch in 1..=4000 {
            times.committed(epoch, at(start, epoch));
            if epoch > 200 {
                let lag = times.lag_seconds(epoch - 100, epoch, at(start, epoch));
                assert!((0.099..=0.099 + 0.025).contains(&lag), "{lag} at {epoch}");
            }
        }
        assert_eq!(times.lag_seconds(4000, 4000, at(start, 60_000)), 0.0);
        // The first change after a long quiet time is as old as itself.
        times.committed(4001, at(start, 90_000));
        let lag = times.lag_seconds(4000, 4001, at(start, 90_007));
        assert!((lag - 0.007).abs() < 1e-6, "{lag}");
    }

    #[test]
    fn what_was_durable_before_the_start_counts_from_the_start() {
        let start = Instant::now();
        let times = CommitTimes::new(start);
        assert_eq!(times.lag_seconds(5, 9, at(start, 2000)), 2.0);
        times.committed(10, at(start, 3000));
        assert_eq!(times.lag_seconds(5, 10, at(start, 4000)), 4.0);
        assert_eq!(times.lag_seconds(9, 10, at(start, 4000)), 1.0);
    }

    #[test]
    fn a_store_that_is_away_for_a_day_costs_a_bounded_memory() {
        let start = Instant::now();
        let times = CommitTimes::new(start);
        for epoch in 1..=864_000 {
            times.committed(epoch, at(start, epoch * 100));
        }
        assert!(times.0.lock().marks.len() <= MARKS_MAX);
        let now = at(start, 86_400_000);
        for applied in [0, 1, 1000, 500_000, 800_000] {
            let (lag, exact) = (times.lag_seconds(applied, 864_000, now), (864_000 - applied - 1) as f64 / 10.0);
            assert!(lag >= exact && lag <= exact + 90.0, "{lag} for {exact}");
        }
    }
}
