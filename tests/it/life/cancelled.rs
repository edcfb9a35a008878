//! Cancelled units that are not sold again: they go back and leave the sale in one step, also through a crash.

use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster::{
    engine::{Settings, batch},
    journal::files::{Survival, scan},
    sale::{
        codec::Malformed,
        command::Cancel,
        event::{CatalogueEvent, CustomerEvent, Event},
        ids::ReservationId,
        outcome::State,
        settings::SaleSettings,
    },
};

use super::{lines, of_all};
use crate::support::{
    OPENING, ask, counts,
    dice::Dice,
    harness::Harness,
    threads::{LOOKS, THREADS, TURNS_MOST, together},
};

fn settings(shards: usize) -> Settings {
    Settings { shards, ..Settings::default() }
}

/// The stock of tv, and what is available, held and confirmed of it.
fn figures(harness: &Harness) -> (u64, (u64, u64, u64)) {
    let (available, held, confirmed) = harness.counts("tv");
    (available + held + confirmed, (available, held, confirmed))
}

/// For each batch, the cancellations of units that leave the sale and the adjustments that take them out, in the journal's order.
fn journaled(harness: &Harness) -> Vec<Vec<(ReservationId, i64)>> {
    let mut batches = Vec::new();
    scan(&harness.storage, 1, 0, |_, payload| {
        let mut events = Vec::new();
        batch::for_each::<Malformed>(payload, |_, _, event| {
            match event {
                Event::Customer(CustomerEvent::Cancelled(cancelled)) if !cancelled.restock => {
                    let units = cancelled.portions.iter().map(|portion| i64::from(portion.units)).sum();
                    events.push((cancelled.id, units));
                }
                Event::Catalogue(CatalogueEvent::Adjusted(adjusted)) => {
                    events.push((adjusted.of_reservation.expect("nothing else is adjusted"), adjusted.delta));
                }
                _ => {}
            }
            Ok(())
        })
        .map_err(|error| error.to_string())?;
        batches.push(events);
        Ok::<_, String>(())
    })
    .expect("nothing is damaged");
    batches.retain(|batch| !batch.is_empty());
    batches
}

/// Threads cancel what they confirmed, and the committer cuts wherever it happens to.
#[test]
fn the_adjustment_follows_its_cancellation_in_the_same_batch() {
    const STOCK: u64 = 1_000_000;
    let mut harness = Harness::with_shards(8);
    harness.put(&ask::sale("drop", &[("tv", STOCK)]));
    let (engine, looks) = (harness.engine.clone(), AtomicU64::new(0));
    let gone: u64 = together(
        |number| {
            let (mut dice, mut gone) = (Dice::new(number), 0);
            for turn in 0_u64.. {
                if turn >= 400 && looks.load(Ordering::Relaxed) >= LOOKS || turn >= TURNS_MOST {
                    break;
                }
                let customer = format!("customer-{number}-{turn}");
                let asked = ask::reserve("drop", &customer, &[("tv", 3)]);
                let id = engine.reserve(OPENING, &asked, super::draw()).value.expect("there is enough").reservation.id;
                engine.confirm(OPENING, id, None).value.unwrap();
                let some =
                    Cancel { lines: Some(lines(&[("tv", 2)]).into()), key: Some("some"), ..of_all(dice.one_in(2)) };
                engine.cancel(OPENING, id, &some).value.unwrap();
                let rest = of_all(dice.one_in(2));
                engine.cancel(OPENING, id, &rest).value.unwrap();
                gone += u64::from(!some.restock) * 2 + u64::from(!rest.restock);
            }
            gone
        },
        || {
            harness.commit();
            looks.fetch_add(1, Ordering::Relaxed);
            let (available, held, confirmed) = counts(&engine, "drop", "tv");
            assert!(available + held + confirmed <= STOCK && held + confirmed <= 3 * THREADS);
        },
    )
    .iter()
    .sum();
    harness.commit();
    assert_eq!(figures(&harness), (STOCK - gone, (STOCK - gone, 0, 0)));
    super::assert_in_order(&harness);
    let batches = journaled(&harness);
    assert!(batches.len() > 1, "many cuts");
    for batch in &batches {
        let mut open: Vec<(ReservationId, i64)> = Vec::new();
        for &(id, units) in batch {
            if units > 0 {
                open.push((id, units));
            } else {
                let at = open.iter().position(|known| *known == (id, -units)).expect("the cancellation comes before");
                open.remove(at);
            }
        }
        assert_eq!(open, [], "every cancellation has its adjustment in its batch");
    }
    let digest = harness.engine.digest();
    for shards in [1, 5] {
        harness.kill_and_start_with(shards);
        assert_eq!((harness.engine.digest(), figures(&harness).0), (digest, STOCK - gone));
    }
}

/// The machine loses power while the batch is written: both events are there, or none.
#[test]
fn a_crash_leaves_both_events_or_none() {
    let (mut without, mut with) = (0, 0);
    for seed in 0..120 {
        let mut harness = Harness::new(settings(3));
        harness.put(&SaleSettings { customer_limit: Some(9), ..ask::sale("drop", &[("tv", 10), ("lamp", 500)]) });
        let id = harness.hold("ann", "tv", 4).id;
        harness.confirm(id).unwrap();
        for number in 0..seed % 7 * 20 {
            harness.hold(&format!("customer-{number}"), "lamp", 1);
        }
        harness.commit();
        let cancel = Cancel { lines: Some(lines(&[("tv", 3)]).into()), key: Some("key"), ..of_all(false) };
        let made = harness.engine.cancel(harness.now, id, &cancel).value.unwrap();
        assert_eq!((made.replayed, figures(&harness)), (false, (7, (6, 0, 1))));
        for number in 0..40 {
            harness.hold(&format!("other-{number}"), "lamp", 1);
        }
        harness.storage.die_after(1);
        harness.committer.step().expect_err("the machine died");
        let left = harness.storage.crash(Survival::Sectors { seed, sector_bytes: 512 });
        let mut again = Harness::open(left, settings(1 + seed as usize % 4), harness.now).unwrap();
        let known = again.look(id).unwrap();
        assert_eq!(known.state, State::Confirmed);
        match (known.units_of(known.lines[0].item), figures(&again)) {
            (4, (10, (6, 0, 4))) => without += 1,
            (1, (7, (6, 0, 1))) => with += 1,
            other => panic!("half of it came back with seed {seed}: {other:?}"),
        }
        // Repeated with its key it is done, once.
        let repeated = again.engine.cancel(again.now, id, &cancel).value.unwrap();
        assert_eq!(repeated.reservation, made.reservation);
        assert_eq!(figures(&again), (7, (6, 0, 1)));
        let over = again.reserve(&ask::reserve("drop", "ann", &[("tv", 7)])).unwrap_err();
        assert_eq!(over, crate::support::short("tv", 7, 6));
    }
    assert!(without > 0 && with > 0, "{without} times without the batch, {with} times with it");
}
