//! The service's time over its runs, from the journal.
//!
//! This time dates every event, because the machine's clock is not always right. Within a run it advances steadily. When a
//! start, or a change of the machine's clock, sets it, an event records that. Invariant: the latest time is that of the newest
//! event since it was last set, whatever earlier events say.

use super::{
    event::{CatalogueEvent, Event},
    time::Timestamp,
};

/// How long the machine has been up, in milliseconds, and which of its runs that is: a clock that nobody sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uptime {
    pub boot: [u8; 16],
    pub millis: u64,
}

/// The service's time was set: to `at`, `by` so much later or earlier than it would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSet {
    pub at: Timestamp,
    pub by: i64,
    /// What the machine's uptime was then; None where it is not known.
    pub uptime: Option<Uptime>,
}

/// The uptime has a precision of a hundredth of a second.
const UPTIME_STEP_MILLIS: u64 = 10;

#[derive(Debug, Clone, Default)]
pub struct Timeline {
    retention_millis: u64,
    latest: Timestamp,
    /// The last time it was set, behind those when it was set forward within the retention.
    set: Vec<ClockSet>,
}

impl Timeline {
    pub fn new(retention_millis: u64) -> Self {
        Self { retention_millis, ..Self::default() }
    }

    /// Takes over an event of the journal, in the journal's order.
    pub fn see(&mut self, event: &Event<'_>) {
        match event {
            Event::Customer(event) => self.see_time(event.at()),
            Event::Catalogue(event) => self.see_catalogue(event),
        }
    }

    /// As `see`, for an event of the catalogue.
    pub fn see_catalogue(&mut self, event: &CatalogueEvent<'_>) {
        let CatalogueEvent::ClockSet(set) = event else { return self.see_time(event.at()) };
        self.set.retain(|before| before.by > 0 && set.at < before.at.plus_millis(self.retention_millis));
        self.set.push(*set);
        self.latest = set.at;
    }

    fn see_time(&mut self, at: Option<Timestamp>) {
        self.latest = self.latest.max(at.unwrap_or_default());
    }

    /// Takes over an event of a snapshot: these tell the time by themselves, and old ones by their events alone.
    pub fn see_in_snapshot(&mut self, event: &Event<'_>) {
        if self.set.is_empty() || matches!(event, Event::Catalogue(CatalogueEvent::ClockSet(_))) {
            self.see(event);
        }
    }

    /// The latest time that is known.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    /// The time at this moment: never earlier than before.
    pub fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.latest = self.latest.max(now);
        self.latest
    }

    /// What time it is at a start. As long as the machine was not restarted its uptime tells, however its clock was set
    /// meanwhile; else the clock does, but it is no earlier than it was.
    pub fn at_start(&self, wall: Timestamp, uptime: Option<Uptime>) -> Timestamp {
        let elapsed = self.set.last().and_then(|set| {
            let (before, after) = (set.uptime?, uptime?);
            let elapsed = after.millis.checked_sub(before.millis).filter(|_| before.boot == after.boot)?;
            // Rather a little late than early, as holds depend on it; but exact where the clock says the same.
            let least = set.at.plus_millis(elapsed.saturating_sub(UPTIME_STEP_MILLIS));
            let is_same = (0..=2 * UPTIME_STEP_MILLIS as i64).contains(&wall.signed_since(least));
            Some(if is_same { wall } else { least })
        });
        elapsed.unwrap_or(wall).max(self.latest)
    }

    /// When the time was set forward within the retention, and by how much.
    pub fn forward(&self) -> Vec<(Timestamp, u64)> {
        let forward = self.set.iter().filter(|set| set.by > 0);
        forward.map(|set| (set.at, set.by.unsigned_abs())).collect()
    }

    /// The events that record the time, when it is `now`.
    pub fn export(&self, now: Timestamp, mut each: impl FnMut(&CatalogueEvent<'_>)) {
        self.set.iter().for_each(|set| each(&CatalogueEvent::ClockSet(*set)));
        if let Some(last) = self.set.last() {
            let since = now.millis_since(last.at);
            let uptime = last.uptime.map(|uptime| Uptime { millis: uptime.millis + since, ..uptime });
            each(&CatalogueEvent::ClockSet(ClockSet { at: last.at.plus_millis(since), by: 0, uptime }));
        }
    }
}
