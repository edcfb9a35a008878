//! The one reader of time. What decides takes `now` as an argument and gets it from here, through whoever calls it.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use crate::sale::{time::Timestamp, timeline::Uptime};

/// Tells a time: the machine's, or one that decisions are asked with.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// Longer than this between two looks at one clock, and what another clock says in between is not compared with it.
const LOOK_MILLIS: u64 = 10;

const BEGINNING_LOOKS: usize = 16;

/// The steady time that the engine is asked with: it goes on from where it began, however the machine's clock is set. As NTP
/// adjusts the speed of both alike, they come to differ only where the machine's clock is set, or the machine sleeps.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock {
    /// The time at its beginning, since 1970.
    began_at: Duration,
    began: Instant,
}

impl SteadyClock {
    /// Begins at what `at` makes of the machine's clock.
    pub fn begin(at: impl FnOnce(Timestamp) -> Timestamp) -> Self {
        // The two clocks are read one after the other. Of several times, the one with the least in between.
        let look = |_| {
            let began = Instant::now();
            let wall = time_of_day();
            (began.elapsed(), began, wall)
        };
        let (_, began, wall) = (0..BEGINNING_LOOKS).map(look).min_by_key(|look| look.0).expect("there are some");
        let wall = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now = Timestamp::from_millis(wall.as_millis() as u64);
        let ahead = at(now).signed_since(now);
        let by = Duration::from_millis(ahead.unsigned_abs());
        let began_at = if ahead < 0 { wall.saturating_sub(by) } else { wall + by };
        Self { began_at, began }
    }

    /// This clock and another at the same moment; None where the moment was too long.
    pub fn beside(&self, other: &impl Clock) -> Option<(Timestamp, Timestamp)> {
        let (before, theirs, after) = (self.now(), other.now(), self.now());
        (after.millis_since(before) <= LOOK_MILLIS).then_some((after, theirs))
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis((self.began_at + self.began.elapsed()).as_millis() as u64)
    }
}

/// How long the machine has been up; None where the system does not say. Nobody sets this clock, and it goes on while no process
/// of ours runs.
pub fn uptime() -> Option<Uptime> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let millis = seconds.parse::<u64>().ok()? * 1000 + hundredths.parse::<u64>().ok()? * 10;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(Uptime { boot: *uuid::Uuid::try_parse(boot.trim()).ok()?.as_bytes(), millis })
}

/// The machine's clock. It may be set at any time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 is not set at all; nothing can be decided by it, and 1970 fits every rule.
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The time of day as others write it down beside their own, to the nanosecond. Nothing is decided by it.
pub fn time_of_day() -> SystemTime {
    SystemTime::now()
}

/// For measuring how long something took; never goes backwards.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// The same, as rate limits read it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Monotonic;

impl governor::clock::Clock for Monotonic {
    type Instant = Instant;

    fn now(&self) -> Instant {
        monotonic()
    }
}

/// A clock that tests turn by hand.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    pub fn at(start: Timestamp) -> Self {
        Self(AtomicU64::new(start.millis()))
    }

    pub fn set(&self, now: Timestamp) {
        self.0.store(now.millis(), Ordering::SeqCst);
    }

    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let add = |now: u64| Some(Timestamp::from_millis(now).plus_millis(millis).millis());
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).expect("the closure always has an answer");
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_where_it_was_put() {
        let clock = ManualClock::at(Timestamp::from_millis(1000));
        clock.advance(Duration::from_millis(250));
        assert_eq!(clock.now(), Timestamp::from_millis(1250));
        clock.set(Timestamp::from_millis(7));
        assert_eq!(clock.now(), Timestamp::from_millis(7));
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Timestamp::MAX);
    }

    #[test]
    fn a_steady_clock_goes_on_from_where_it_began() {
        let began = Timestamp::from_millis(1000);
        let steady = SteadyClock::begin(|_| began);
        let first = steady.now();
        assert!(first >= began && steady.now() >= first);
        let manual = ManualClock::at(Timestamp::from_millis(7));
        if let Some((now, theirs)) = steady.beside(&manual) {
            assert!(now >= first && theirs == manual.now());
        }
    }

    #[test]
    fn the_uptime_goes_on_in_one_run_of_the_machine() {
        let (first, second) = (uptime().expect("Linux tells it"), uptime().expect("Linux tells it"));
        assert!(first.boot == second.boot && first.millis <= second.millis && first.millis > 0);
    }

    #[test]
    fn the_system_clock_is_past_the_year_2020() {
        assert!(SystemClock.now() > Timestamp::from_millis(1_577_836_800_000));
    }
}
