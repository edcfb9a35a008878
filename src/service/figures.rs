//! Collects the figures of the status call.

use super::health::ServiceHealth;
use crate::{
    api::{
        calls::Call,
        figures::{Durations, Figures, Holds, Outcomes, Refused, StoreFigures},
    },
    sale::{code::Code, time::Timestamp},
    telemetry::{
        Telemetry,
        families::{self, Kind},
    },
};

/// None before recovery is complete.
pub(super) fn read(telemetry: &Telemetry, health: &ServiceHealth, now: Timestamp) -> Option<Figures> {
    let (store_kind, lag) = (health.store_kind()?, health.store_lag()?);
    let reading = telemetry.reading();
    let Kind::Histogram(bounds) = families::HTTP_DURATION.kind else { unreachable!("durations are a histogram") };
    let outcome = |outcome| reading.count(&families::RESERVATIONS, &[outcome]);
    let durations = Call::NAMES.iter().map(|&call| {
        let seen = reading.distribution(&families::HTTP_DURATION, &[call]);
        Durations { call, count: seen.count, seconds_sum: seen.sum, within: seen.within }
    });
    let refused = |code: Code| {
        let reason = code.as_str();
        Refused { reason, count: reading.count(&families::REFUSALS, &[reason]) }
    };
    Some(Figures {
        at: now,
        started_at: Timestamp::from_millis((reading.value(&families::START_TIME, &[]) * 1000.0) as u64),
        version: env!("CARGO_PKG_VERSION"),
        connections: reading.count(&families::HTTP_CONNECTIONS, &[]),
        rate_limited: reading.sum(&families::RATE_LIMITED),
        reservations: Outcomes {
            held: outcome("held"),
            replayed: outcome("replayed"),
            confirmed: outcome("confirmed"),
            released: outcome("released"),
            extended: outcome("extended"),
            expired: outcome("expired"),
        },
        refusals: Code::of_reservations().map(refused).collect(),
        duration_bounds: bounds.to_vec(),
        durations: durations.collect(),
        holds: Holds {
            live: reading.count(&families::LIVE_HOLDS, &[]),
            expiring_next_minute: reading.count(&families::HOLDS_EXPIRING, &[]),
        },
        store: StoreFigures {
            kind: store_kind,
            state: lag.state.as_str(),
            lag_seconds: lag.seconds,
            backlog_bytes: lag.bytes,
            backlog_full: lag.backlog_full,
        },
        disk_low: health.disk_low()?,
        clock_jumps: reading.sum(&families::CLOCK_JUMPS),
        clock_ahead_seconds: health.clock_doubt()? as f64 / 1000.0,
    })
}
