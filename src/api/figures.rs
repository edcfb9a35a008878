//! Figures of the running service, for the console and for people without Prometheus.
//!
//! Invariant: a request never collects figures itself. The thread that collects metrics also collects these, once a second and
//! only while somebody asks. Every request of that second gets the same figures.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{sync::watch, time::timeout};
use utoipa::ToSchema;

use crate::{clock::monotonic, sale::time::Timestamp};

/// Rounds for which figures are collected after a request.
const ROUNDS_ASKED: u32 = 5;
/// The age up to which figures are used again.
const FRESH: Duration = Duration::from_millis(1500);
/// How long the first request waits for the next round.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// The latest figures, read only while somebody asks for them.
pub struct FigureCache {
    latest: watch::Sender<Option<(Instant, Arc<Figures>)>>,
    rounds_asked: AtomicU32,
}

impl Default for FigureCache {
    fn default() -> Self {
        Self { latest: watch::Sender::new(None), rounds_asked: AtomicU32::new(0) }
    }
}

impl FigureCache {
    /// Figures of about this second; None if no thread collects any.
    pub async fn latest(&self) -> Option<Arc<Figures>> {
        self.rounds_asked.store(ROUNDS_ASKED, Relaxed);
        let mut latest = self.latest.subscribe();
        let is_fresh =
            |read: &Option<(Instant, Arc<Figures>)>| read.as_ref().is_some_and(|(at, _)| at.elapsed() < FRESH);
        let fresh = timeout(WAIT_MAX, latest.wait_for(is_fresh)).await.ok()?.ok()?;
        fresh.as_ref().map(|(_, figures)| figures.clone())
    }

    /// One round: publishes the figures from `read`, if somebody has asked recently.
    pub fn refresh(&self, read: impl FnOnce() -> Option<Figures>) {
        if self.rounds_asked.fetch_update(Relaxed, Relaxed, |rounds| rounds.checked_sub(1)).is_ok()
            && let Some(figures) = read()
        {
            self.latest.send_replace(Some((monotonic(), Arc::new(figures))));
        }
    }
}

/// Figures of the whole service, collected together about once a second. Counts begin at its start. A rate is the difference of
/// two answers' counts divided by the difference of their `at`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatusService)]
pub struct Figures {
    /// When the service collected these figures.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// When the service started, and its counts began at 0.
    #[schema(value_type = String)]
    pub started_at: Timestamp,
    /// The program's version.
    pub version: &'static str,
    /// Open connections.
    pub connections: u64,
    /// Requests and batch entries refused by a quota.
    pub rate_limited: u64,
    /// Operations on reservations.
    pub reservations: Outcomes,
    /// Refused operations on reservations, by reason.
    pub refusals: Vec<Refused>,
    /// Upper bounds of durations, in seconds. Each call counts its answers up to each bound.
    pub duration_bounds: Vec<f64>,
    /// Durations of answers, by call.
    pub durations: Vec<Durations>,
    /// Holds of all sales.
    pub holds: Holds,
    /// How far the store is behind the journal.
    pub store: StoreFigures,
    /// Whether new reservations are refused because the journal's disk has too little room.
    pub disk_low: bool,
    /// Times that the machine's clock was set, since the start.
    pub clock_jumps: u64,
    /// Seconds that the machine's clock is ahead of the service's time while it is not settled which of them is right; 0 when they
    /// agree.
    pub clock_ahead_seconds: f64,
}

/// Operations on reservations, by kind.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatusOutcomes)]
pub struct Outcomes {
    /// Holds granted.
    pub held: u64,
    /// Answers to a repeated idempotency key.
    pub replayed: u64,
    /// Holds confirmed.
    pub confirmed: u64,
    /// Holds released.
    pub released: u64,
    /// Holds extended.
    pub extended: u64,
    /// Holds that expired.
    pub expired: u64,
}

/// Refusals for one reason.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatusRefusals)]
pub struct Refused {
    /// The problem's code.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

/// Durations of answers to one call, from the request's head to the answer, including the wait for the disk.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatusDurations)]
pub struct Durations {
    /// The call, as metrics name it.
    pub call: &'static str,
    /// All answers.
    pub count: u64,
    /// The sum of their durations, in seconds.
    pub seconds_sum: f64,
    /// Answers that took at most each of `duration_bounds`, in that order.
    pub within: Vec<u64>,
}

/// Holds of all sales.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatusHolds)]
pub struct Holds {
    /// Reservations in state `held`.
    pub live: u64,
    /// How many of these expire within a minute. Counted every five seconds, and estimated if there are very many.
    pub expiring_next_minute: u64,
}

/// How far the store is behind the journal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatusStore)]
pub struct StoreFigures {
    /// Which store it is.
    pub kind: &'static str,
    /// The state of writing the journal's changes to the store.
    pub state: &'static str,
    /// Age of the oldest durable change that is not in the store, in seconds; 0 if the store has everything.
    pub lag_seconds: f64,
    /// Bytes of journal that are not in the store.
    pub backlog_bytes: u64,
    /// Whether the service refuses new reservations because the store is too far behind.
    pub backlog_full: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(live: u64) -> Figures {
        Figures {
            at: Timestamp::from_millis(1),
            started_at: Timestamp::from_millis(0),
            version: "0",
            connections: 0,
            rate_limited: 0,
            reservations: Outcomes { held: 0, replayed: 0, confirmed: 0, released: 0, extended: 0, expired: 0 },
            refusals: Vec::new(),
            duration_bounds: Vec::new(),
            durations: Vec::new(),
            holds: Holds { live, expiring_next_minute: 0 },
            store: StoreFigures {
                kind: "sqlite",
                state: "following",
                lag_seconds: 0.0,
                backlog_bytes: 0,
                backlog_full: false,
            },
            disk_low: false,
            clock_jumps: 0,
            clock_ahead_seconds: 0.0,
        }
    }

    #[tokio::test]
    async fn figures_are_read_while_somebody_asks_and_not_else() {
        let cache = FigureCache::default();
        cache.refresh(|| panic!("nobody asked"));
        let (answered, ()) = tokio::join!(cache.latest(), async { cache.refresh(|| Some(figures(7))) });
        assert_eq!(answered.expect("read for whoever asked").holds.live, 7);
        // A second request within the second gets the same figures, without another round.
        assert_eq!(cache.latest().await.unwrap().holds.live, 7);
        for live in 0..u64::from(ROUNDS_ASKED) {
            cache.refresh(|| Some(figures(live)));
        }
        cache.refresh(|| panic!("nobody has asked for long"));
    }
}
