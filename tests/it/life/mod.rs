//! What happens to a reservation after it was made, under real threads and through crashes: change, confirm in time and late,
//! cancel, hold budgets, and extensions of all holds.
//!
//! Every checker here is sound: it calls nothing a lie that might have been true. Where that needs an argument, the test
//! gives it.

mod budgets;
mod cancelled;
mod changes;
mod extend_all;
mod groups;
mod late;
mod parts;
mod races;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use doorbuster::{
    engine::{Engine, Made, batch},
    journal::files::scan,
    sale::{
        codec::Malformed,
        command::{AskedLine, Cancel, Confirm, Reserve},
        event::{CustomerEvent, Event, RefusedConfirm},
        ids::{PoolNumber, ReservationId},
        outcome::{Refusal, Reservation},
        stock::Account,
        time::Timestamp,
    },
};

use crate::support::{dice::scramble, harness::Harness};

/// Random bits for threads that make reservations at once: no two are the same, and none is a harness's.
static DRAWN: AtomicU64 = AtomicU64::new(1 << 61);

fn draw() -> u64 {
    scramble(DRAWN.fetch_add(1, Ordering::Relaxed))
}

fn reserve(engine: &Engine, now: Timestamp, asked: &Reserve<'_>) -> Result<Made, Refusal> {
    engine.reserve(now, asked, draw()).value
}

fn lines<'a>(lines: &[(&'a str, u32)]) -> Vec<AskedLine<'a>> {
    lines.iter().map(|&(sku, units)| AskedLine { sku, units }).collect()
}

fn change(harness: &Harness, id: ReservationId, to: &[(&str, u32)]) -> Result<Reservation, Refusal> {
    harness.engine.change(harness.now, id, &lines(to)).value
}

fn confirm_some(
    engine: &Engine,
    now: Timestamp,
    id: ReservationId,
    part: &[(&str, u32)],
    reference: &str,
) -> Result<Reservation, Refusal> {
    let asked = Confirm { lines: Some(lines(part).into()), reference: Some(reference) };
    engine.confirm(now, id, asked).value
}

/// Everything, for good or to be sold again.
fn of_all(restock: bool) -> Cancel<'static> {
    Cancel { lines: None, reason: None, restock, key: None }
}

/// Reads the journal in its order, from the beginning: no event takes a unit that is not there.
fn assert_in_order(harness: &Harness) {
    let mut available: BTreeMap<PoolNumber, i64> = BTreeMap::new();
    scan(&harness.storage, 1, 0, |_, payload| {
        batch::for_each::<Malformed>(payload, |_, _, event| {
            event.moves(|moved| {
                let units = available.entry(moved.pool).or_default();
                *units += moved.change_of(Account::Available);
                assert!(*units >= 0, "{event:?} takes what is not available");
            });
            Ok(())
        })
        .map_err(|error| error.to_string())
    })
    .expect("nothing is damaged");
}

/// The confirms that the journal has as refused, with their references.
fn refused(harness: &Harness) -> Vec<(ReservationId, Option<String>, RefusedConfirm)> {
    let mut refused = Vec::new();
    scan(&harness.storage, 1, 0, |_, payload| {
        batch::for_each::<Malformed>(payload, |_, _, event| {
            if let Event::Customer(CustomerEvent::ConfirmRefused(event)) = event {
                refused.push((event.id, event.reference.map(str::to_owned), event.cause));
            }
            Ok(())
        })
        .map_err(|error| error.to_string())
    })
    .expect("nothing is damaged");
    refused
}
