//! Short rests in the store's work, for the sake of requests.
//!
//! The store's thread runs only when nothing else wants a core. But a core that runs any thread, even this one, is not idle,
//! and Linux moves waiting threads at once only to an idle core. So a store that never rests takes more processor time from a
//! spike than the spike leaves. While the thread sleeps, its core is free for threads that wait elsewhere; a late wake-up shows
//! that there were some.
//!
//! The further behind the store is, the longer it works between two rests. Under a lasting load that leaves it little, it takes
//! more, and its lag settles where the load allows it.

use std::time::{Duration, Instant};

use crate::{
    clock::{Runtime, SystemClock},
    sale::time::Timestamp,
};

/// The least time between two rests: some hundreds of rows.
const PIECE: Duration = Duration::from_micros(500);

/// The part that a piece is of how far the store is behind, where that is more: 1 ms at 5 s.
const PIECES_BEHIND: u32 = 5_000;

/// A rest: a tenth of a piece, and another tenth that the kernel's timers add.
const REST: Duration = Duration::from_micros(50);

/// The pace of one window.
pub(super) struct Pace<'a> {
    runtime: &'a dyn Runtime,
    began: Instant,
    /// How old the newest change of the window was then.
    behind: Duration,
    piece_began: Instant,
}

impl<'a> Pace<'a> {
    /// `newest`: the time of the newest change to be written.
    pub(super) fn of(newest: Option<Timestamp>, runtime: &'a dyn Runtime) -> Self {
        let now = runtime.now();
        let behind = now.millis().saturating_sub(newest.unwrap_or(now).millis());
        Self::starting(runtime, Duration::from_millis(behind))
    }

    /// For work that no request waits beside.
    pub(super) fn without_rests() -> Self {
        Self::starting(&SystemClock, Duration::MAX)
    }

    fn starting(runtime: &'a dyn Runtime, behind: Duration) -> Self {
        let now = runtime.monotonic();
        Self { runtime, began: now, behind, piece_began: now }
    }

    /// To be called between statements.
    pub(super) fn rest_if_due(&mut self) {
        if self.is_rest_due(self.runtime.monotonic()) {
            self.runtime.sleep(REST);
            self.piece_began = self.runtime.monotonic();
        }
    }

    fn is_rest_due(&self, now: Instant) -> bool {
        let behind = self.behind.saturating_add(now.duration_since(self.began));
        now.duration_since(self.piece_began) >= PIECE.max(behind / PIECES_BEHIND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Simulated};

    const MILLI: Duration = Duration::from_millis(1);

    fn machine() -> Simulated {
        Simulated::new(Timestamp::from_millis(1_000_000_000), 1)
    }

    #[test]
    fn a_store_that_keeps_up_rests_after_each_piece() {
        let machine = machine();
        let (start, mut pace) = (machine.monotonic(), Pace::starting(&machine, MILLI));
        assert!(!pace.is_rest_due(start + PIECE / 2));
        assert!(pace.is_rest_due(start + PIECE));
        pace.piece_began = start + PIECE * 3;
        assert!(!pace.is_rest_due(start + PIECE * 3 + PIECE / 2));
        assert!(pace.is_rest_due(start + PIECE * 4));
    }

    #[test]
    fn one_that_is_behind_or_falls_behind_works_for_longer() {
        let machine = machine();
        let (start, behind) = (machine.monotonic(), Pace::starting(&machine, MILLI * 20_000));
        assert!(!behind.is_rest_due(start + MILLI));
        assert!(behind.is_rest_due(start + MILLI * 5));
        let mut held_up = Pace::starting(&machine, MILLI);
        held_up.piece_began = start + MILLI * 20_000;
        assert!(!held_up.is_rest_due(held_up.piece_began + MILLI));
        assert!(held_up.is_rest_due(held_up.piece_began + MILLI * 5));
        // What lay in the journal for a month.
        let month = Pace::starting(&machine, Duration::from_secs(30 * 86_400));
        assert!(!month.is_rest_due(start + MILLI * 60_000));
    }

    #[test]
    fn a_rest_begins_a_piece() {
        let machine = machine();
        let mut pace = Pace::starting(&machine, Duration::ZERO);
        machine.sleep(PIECE);
        let before = machine.monotonic();
        pace.rest_if_due();
        assert_eq!((pace.piece_began, machine.monotonic()), (before + REST, before + REST));
        pace.rest_if_due();
        assert_eq!(machine.monotonic(), before + REST);
    }

    #[test]
    fn how_far_behind_is_the_age_of_the_newest_change() {
        let machine = machine();
        let now = machine.now();
        let behind = |newest| Pace::of(newest, &machine).behind;
        assert_eq!(behind(Some(Timestamp::from_millis(now.millis() - 60_000))).as_secs(), 60);
        // From a clock that was set back since, and a window that tells no time.
        assert_eq!(behind(Some(now.plus_seconds(60))), Duration::ZERO);
        assert_eq!(behind(None), Duration::ZERO);
    }
}
