//! The only module that reads clocks, draws random numbers for work beside the requests, and makes such work sleep. Decisions
//! take `now` as an argument, work beside the requests takes a [`Runtime`], and what awaits uses tokio's clock, which a test can
//! pause.

use std::{
    fs,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::sale::{time::Timestamp, timeline::Uptime};

/// A source of time: the machine's clock, or the steady time for decisions.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// What work beside the requests asks of the machine: the time of day, durations, randomness, and rest. A simulation passes
/// [`Simulated`], in which one seed decides all of them.
pub trait Runtime: Clock {
    /// For measuring durations; never goes backwards.
    fn monotonic(&self) -> Instant;
    fn random(&self) -> u64;
    fn sleep(&self, time: Duration);
}

/// The longest time between two readings of one clock for which a reading of another clock in between is comparable.
const LOOK_MILLIS: u64 = 10;

const BEGINNING_LOOKS: usize = 16;

/// The steady time for the engine: it continues from its start, however somebody sets the machine's clock. NTP adjusts the
/// speed of both alike, so the two differ only if somebody sets the machine's clock or the machine sleeps.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock {
    /// The time at its beginning, since 1970.
    began_at: Duration,
    began: Instant,
}

impl SteadyClock {
    /// Begins at the time that `at` computes from the machine's clock.
    pub fn begin(at: impl FnOnce(Timestamp) -> Timestamp) -> Self {
        // The two clocks are read one after the other. Of several tries, takes the one with the shortest gap.
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

    /// This clock and another at the same moment; None if the readings were too far apart.
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

/// How long the machine has been up; None if the system does not say. Nobody can set this clock, and it runs between our
/// processes.
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
        timestamp(SystemTime::now())
    }
}

impl Runtime for SystemClock {
    fn monotonic(&self) -> Instant {
        monotonic()
    }

    fn random(&self) -> u64 {
        rand::random()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// What the machine's clock said, to the millisecond. A clock before 1970 is not set at all: no decision can rest on it, and 1970
/// fits every rule.
pub fn timestamp(time: SystemTime) -> Timestamp {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// The time of day to the nanosecond, for spans. No decision rests on it.
pub fn time_of_day() -> SystemTime {
    SystemTime::now()
}

/// For measuring durations; never goes backwards.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// The same, as rate limits and the journal read it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Monotonic;

impl crate::journal::MonotonicClock for Monotonic {
    fn elapsed(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(monotonic);
        START.elapsed()
    }
}

impl governor::clock::Clock for Monotonic {
    type Instant = Instant;

    fn now(&self) -> Instant {
        monotonic()
    }
}

/// A clock that tests set by hand.
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

/// A machine whose time passes only when it is told to or something sleeps, and whose randomness is that of a seed.
#[derive(Debug)]
pub struct Simulated {
    start: Timestamp,
    began: Instant,
    elapsed_nanos: AtomicU64,
    random: Mutex<SmallRng>,
}

impl Simulated {
    pub fn new(start: Timestamp, seed: u64) -> Self {
        let random = Mutex::new(SmallRng::seed_from_u64(seed));
        Self { start, began: monotonic(), elapsed_nanos: AtomicU64::new(0), random }
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed_nanos.load(Ordering::SeqCst))
    }
}

impl Clock for Simulated {
    fn now(&self) -> Timestamp {
        self.start.plus_millis(self.elapsed().as_millis() as u64)
    }
}

impl crate::journal::MonotonicClock for Simulated {
    fn elapsed(&self) -> Duration {
        Simulated::elapsed(self)
    }
}

impl Runtime for Simulated {
    fn monotonic(&self) -> Instant {
        self.began + self.elapsed()
    }

    fn random(&self) -> u64 {
        self.random.lock().random()
    }

    fn sleep(&self, time: Duration) {
        self.elapsed_nanos.fetch_add(time.as_nanos() as u64, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_machine_follows_from_its_seed_and_its_sleep() {
        let start = Timestamp::from_millis(1000);
        let drawn = |seed| {
            let machine = Simulated::new(start, seed);
            [machine.random(), machine.random()]
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let machine = Simulated::new(start, 7);
        let before = machine.monotonic();
        machine.sleep(Duration::from_micros(2500));
        assert_eq!((machine.now().millis(), machine.monotonic() - before), (1002, Duration::from_micros(2500)));
    }

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
