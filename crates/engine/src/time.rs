//! The service's time, and the machine's clock beside it.
//!
//! Callers of the engine pass the steady time: it starts at the service's time when the process starts, follows a clock that
//! nobody can set, and never jumps. The time of decisions and of the journal is the steady time plus an offset. Each tick
//! compares it with the machine's clock. If the two differ, somebody set the clock. For a while it is unknown which is right:
//! holds follow the service's time, and a sale is open only if it is open by both. If the clock returns, nothing has happened.
//! If it does not, the engine trusts it: in one step, under all locks, the offset and the end of every live hold move by the
//! same amount. Invariant: no hold lasts longer or shorter because of it.

use super::{Engine, Guards, Written};
use sale::{
    event::CatalogueEvent,
    time::{Now, Timestamp},
    timeline::{ClockSet, Uptime},
};

/// What the machine's clock may differ by: reading two clocks takes time.
pub(crate) const TOLERANCE_MILLIS: u64 = 50;

/// From the steady time to the service's.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dial {
    pub offset: i64,
    /// By how much the machine's clock is later than the service's time, as long as that is not settled; else 0.
    pub doubt: i64,
}

impl Dial {
    pub(crate) fn now(self, steady: Timestamp) -> Now {
        Now { time: steady.shifted(self.offset), doubt: self.doubt }
    }
}

/// The machine's clock, as it was seen last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Watch {
    /// Since when it says what the dial's doubt is; a steady time.
    since: Timestamp,
}

/// What a look at the machine's clock came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noticed {
    /// It was set by so many milliseconds, and differs from the service's time by `ahead`.
    Set { by: i64, ahead: i64 },
    /// It was set back to the service's time.
    Back { by: i64 },
    /// The engine trusts it from now on: the change of the time, and the number of moved holds.
    Believed { by: i64, holds: usize },
}

impl Engine {
    /// The service's time at a steady time.
    pub fn time(&self, now: Timestamp) -> Timestamp {
        self.published.load().dial.now(now).time
    }

    /// What time it is at a start, by the machine's clock and its uptime: what the steady time is to begin at.
    pub fn time_at_start(&self, wall: Timestamp, uptime: Option<Uptime>) -> Timestamp {
        self.control.lock().timeline.at_start(wall, uptime)
    }

    /// Records a start in the journal: the time, so that a later start can derive it from the machine's uptime, and the
    /// version of the program where it is another one.
    pub fn note_start(&self, now: Timestamp, uptime: Option<Uptime>, version: &str) {
        let mut control = self.control.lock();
        let at = control.advance(now);
        let mut events = vec![CatalogueEvent::ClockSet(ClockSet { at, by: 0, uptime })];
        if control.written_by != version {
            version.clone_into(&mut control.written_by);
            events.push(CatalogueEvent::WrittenBy { version });
        }
        self.publish(&mut control, &events);
    }

    /// By how many milliseconds the machine's clock is ahead of the service's time while that is not settled.
    pub fn clock_doubt(&self) -> i64 {
        self.published.load().dial.doubt
    }

    /// Compares the machine's clock with the service's time. To be called with each tick. `uptime` is asked when the time is set.
    pub fn watch_clock(
        &self,
        now: Timestamp,
        wall: Timestamp,
        uptime: impl FnOnce() -> Option<Uptime>,
    ) -> Option<Noticed> {
        let dial = self.published.load().dial;
        let ahead = wall.signed_since(dial.now(now).time);
        let by = ahead - dial.doubt;
        let is_as_before = by.unsigned_abs() <= TOLERANCE_MILLIS;
        if is_as_before && dial.doubt == 0 {
            return None;
        }
        let mut control = self.control.lock();
        if is_as_before {
            let lasts = now.millis_since(control.watch.since);
            if lasts < self.settings.clock_settle_millis {
                return None;
            }
            let holds = self.set_clock(&mut control, now, ahead, uptime());
            return Some(Noticed::Believed { by: ahead, holds });
        }
        control.watch.since = now;
        let is_back = ahead.unsigned_abs() <= TOLERANCE_MILLIS;
        control.dial.doubt = if is_back { 0 } else { ahead };
        // Plans from before this change are planned again.
        control.catalogue.outdate();
        let mut guards = self.lock_all();
        self.show(&control, &mut guards);
        Some(if is_back { Noticed::Back { by } } else { Noticed::Set { by, ahead } })
    }

    /// Under all locks, as no hold may be judged by the one time when its end is by the other. Takes well below a microsecond for
    /// each reservation in memory.
    fn set_clock(&self, control: &mut super::Control, now: Timestamp, by: i64, uptime: Option<Uptime>) -> usize {
        let mut guards: Guards<'_> = self.lock_all();
        control.dial = Dial { offset: control.dial.offset + by, doubt: 0 };
        let at = control.dial.now(now).time;
        let event = CatalogueEvent::ClockSet(ClockSet { at, by, uptime });
        let mut written = Written::default();
        control.catalogue.apply(&event);
        control.write(&event, &mut written);
        self.append(control, &mut guards, written);
        self.show(control, &mut guards);
        let mut holds = 0;
        for (index, cell) in guards.iter_mut().enumerate() {
            holds += self.decide(index, &control.bounds, cell, |shard, record| shard.set_clock(by, record));
        }
        let moved = self.groups.lock().set_clock(at, by);
        for changed in moved {
            self.note_group(changed, &mut guards, &control.bounds);
        }
        holds
    }
}
