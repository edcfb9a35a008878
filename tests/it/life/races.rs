//! All commands at once on one reservation: one outcome wins, and no unit is lost.

use doorbuster::sale::{
    audit::Actor,
    command::ExtendAll,
    outcome::{Refusal, State},
    settings::SaleSettings,
    time::Timestamp,
};

use super::{draw, lines, of_all};
use crate::support::{
    OPENING, ask, counts,
    dice::Dice,
    harness::Harness,
    threads::{THREADS, together},
};

/// What one thread was told that it did.
#[derive(Debug, Default)]
struct Told {
    /// By its own reference.
    confirmed: bool,
    released: bool,
    cancelled: bool,
    refused: u64,
}

const ROUNDS: u64 = 1500;
const STOCK: u64 = 24;

/// Confirms with a reference of each thread's own, changes, cancellations, releases, the clock, and an extension of all holds
/// meet at the very end of a hold. A hold that is confirmed is confirmed for one reference, and is neither released nor expired.
#[test]
fn one_outcome_wins_and_every_unit_is_somewhere() {
    let mut harness = Harness::with_shards(8);
    let closes_at = OPENING.plus_seconds(30 * 86_400);
    harness.put(&SaleSettings { hold_seconds: 10, closes_at, ..ask::sale("drop", &[("tv", STOCK)]) });
    let (mut seen, mut longer) = ([0_u64; 5], 0_u64);
    for round in 0..ROUNDS {
        harness.wait_seconds(100);
        let customer = format!("customer-{}", round % 40);
        let made = harness.hold(&customer, "tv", 2);
        let end = made.expires_at;
        let engine = &harness.engine;
        if round % 2 == 0 {
            let asked = ExtendAll { sale: "drop", seconds: 5, reason: None, key: None };
            engine.extend_all(harness.now, Actor::Anybody, &asked).value.expect("few are under way");
            // It may come to the hold before the others do, in between or never.
            (0..round / 2 % 10).for_each(|_| _ = engine.tick(harness.now));
        }
        // In every third round nothing expires, and little else happens.
        let (moments, steps) = if round % 3 == 0 { (1, 1) } else { (2, 4) };
        let told = together(
            |number| {
                let mut dice = Dice::new(round * THREADS + number);
                let reference = format!("payment-{number}");
                let mut told = Told::default();
                for _ in 0..steps {
                    // A millisecond before the end of the hold, or at it.
                    let now = Timestamp::from_millis(end.millis() - 1 + dice.below(moments));
                    let outcome = match dice.below(8) {
                        0 | 1 => engine.confirm(now, made.id, Some(&*reference)).value.map(|shown| {
                            assert_eq!(shown.reference.as_deref(), Some(&*reference), "not told of another's payment");
                            told.confirmed = true;
                        }),
                        2 => engine.release(now, made.id, None).value.map(|_| told.released = true),
                        3 => engine.cancel(now, made.id, &of_all(true)).value.map(|_| told.cancelled = true),
                        4 | 5 => {
                            let units = 1 + dice.below(STOCK / 2) as u32;
                            engine.change(now, made.id, &lines(&[("tv", units)])).value.map(|shown| {
                                assert_eq!((shown.state, shown.units_of(made.lines[0].item)), (State::Held, units));
                            })
                        }
                        _ => {
                            engine.tick(now);
                            Ok(())
                        }
                    };
                    told.refused += u64::from(outcome.is_err());
                }
                told
            },
            || _ = counts(engine, "drop", "tv"),
        );
        let last = Timestamp::from_millis(end.millis() - 2 + moments);
        let after = engine.look(last, made.id).value.expect("it is in memory");
        let count = |was: fn(&Told) -> bool| told.iter().filter(|told| was(told)).count();
        let winners = [count(|told| told.confirmed), count(|told| told.released), count(|told| told.cancelled)];
        let fits = match after.state {
            State::Held => winners == [0, 0, 0],
            State::Confirmed => winners == [1, 0, 0],
            State::Released => winners[0] == 0 && winners[1] > 0 && winners[2] == 0,
            State::Expired => winners == [0, 0, 0],
            State::Cancelled => winners[0] == 1 && winners[1] == 0 && winners[2] > 0,
        };
        assert!(fits, "round {round}: {after:?} after {told:?}");
        let units: u64 = after.lines.iter().map(|line| u64::from(line.amounts.held + line.amounts.confirmed)).sum();
        let (available, held, confirmed) = counts(engine, "drop", "tv");
        assert_eq!((available, held + confirmed), (STOCK - units, units), "round {round}: {after:?}");
        seen[after.state as usize] += 1;
        longer += u64::from(after.expires_at > end);
        // All of it goes back for the next round.
        match after.state {
            State::Held => drop(engine.release(last, made.id, None).value.expect("it is held")),
            State::Confirmed => drop(engine.cancel(last, made.id, &of_all(true)).value.expect("it is confirmed")),
            State::Released | State::Expired | State::Cancelled => {}
        }
        assert_eq!(counts(engine, "drop", "tv"), (STOCK, 0, 0), "round {round}");
        harness.commit();
    }
    assert!(seen.iter().all(|&rounds| rounds > 0), "rounds that ended in each state: {seen:?}");
    assert!(longer > 0, "some were extended in time");
    super::assert_in_order(&harness);
    let digest = harness.engine.digest();
    harness.kill_and_start_with(3);
    assert_eq!(harness.engine.digest(), digest);
}

/// Four threads each confirm another part of one hold. One of them gets its part, and the others are told what was confirmed.
#[test]
fn one_of_many_partial_confirms_wins() {
    let mut harness = Harness::with_shards(8);
    harness.put(&ask::sale("drop", &[("tv", 10), ("lamp", 10)]));
    let parts: [&[(&str, u32)]; 4] =
        [&[("tv", 1)], &[("tv", 3), ("lamp", 1)], &[("lamp", 2)], &[("tv", 3), ("lamp", 2)]];
    for round in 0..800 {
        let asked = ask::reserve("drop", "ann", &[("tv", 3), ("lamp", 2)]);
        let id = harness.engine.reserve(harness.now, &asked, draw()).value.expect("there is enough").reservation.id;
        let (engine, now) = (&harness.engine, harness.now);
        let told = together(
            |number| super::confirm_some(engine, now, id, parts[number as usize], "one order"),
            || _ = counts(engine, "drop", "tv"),
        );
        let won: Vec<usize> = (0..4).filter(|&number| told[number].is_ok()).collect();
        let &[won] = &won[..] else { panic!("round {round}: {told:?}") };
        for outcome in &told {
            match outcome {
                Ok(_) => {}
                Err(Refusal::AlreadyConfirmed(shown)) => assert_eq!(**shown, *told[won].as_ref().unwrap()),
                Err(other) => panic!("{other:?}"),
            }
        }
        let units = |sku: &str| parts[won].iter().find(|line| line.0 == sku).map_or(0, |line| u64::from(line.1));
        for sku in ["tv", "lamp"] {
            assert_eq!(
                counts(&harness.engine, "drop", sku),
                (10 - units(sku), 0, units(sku)),
                "{sku} in round {round}"
            );
        }
        harness.engine.cancel(harness.now, id, &of_all(true)).value.expect("it is confirmed");
    }
}
