//! Extensions of all holds of a sale: each hold is extended exactly once, whatever happens in the middle.

use std::collections::BTreeMap;

use doorbuster::{
    engine::{ExtensionOfAll, Settings},
    journal::files::{MemoryStorage, Survival},
    sale::{
        audit::Actor,
        command::ExtendAll,
        ids::ReservationId,
        outcome::{Refusal, Reservation, State},
        settings::SaleSettings,
        time::Timestamp,
    },
};

use crate::support::{
    ask,
    dice::Dice,
    harness::Harness,
    threads::{LOOKS, together},
};

/// Over so many customers that each tick comes to some of them.
const HOLDS: usize = 300;
const SECONDS: u32 = 900;
const ASKED: ExtendAll<'static> =
    ExtendAll { sale: "drop", seconds: SECONDS, reason: Some("no payments"), key: Some("outage") };

fn settings(shards: usize) -> Settings {
    Settings { shards, ..Settings::default() }
}

fn extend_all(harness: &Harness, asked: &ExtendAll<'_>) -> Result<ExtensionOfAll, Refusal> {
    harness.engine.extend_all(harness.now, Actor::Anybody, asked).value
}

/// What there is before, and when each is to end.
#[derive(Clone, Default)]
struct Expected {
    ends: BTreeMap<ReservationId, Timestamp>,
    /// Holds of the sale that are extended.
    holds: u64,
}

impl Expected {
    fn add(&mut self, made: &Reservation, is_extended: bool) {
        let more = if is_extended { SECONDS } else { 0 };
        self.holds += u64::from(is_extended);
        self.ends.insert(made.id, made.expires_at.plus_seconds(more.into()));
    }
}

/// Holds of the sale and of another one, and some that are over.
fn before() -> (Harness, Expected) {
    let (mut harness, mut expected) = (Harness::new(settings(4)), Expected::default());
    for id in ["drop", "other"] {
        harness.put(&SaleSettings { hold_seconds: 600, ..ask::sale(id, &[("tv", 10_000)]) });
    }
    for number in 0..HOLDS {
        let customer = format!("customer-{number}");
        let made = harness.hold(&customer, "tv", 1);
        match number % 10 {
            0 => drop(harness.release(made.id).unwrap()),
            1 => drop(harness.confirm(made.id).unwrap()),
            // Another end than the others'.
            2 => expected.add(&harness.extend(made.id, 1000).unwrap(), true),
            _ => expected.add(&made, true),
        }
        if number % 5 == 0 {
            expected.add(&harness.reserve(&ask::reserve("other", &customer, &[("tv", 1)])).unwrap().reservation, false);
        }
    }
    harness.commit();
    (harness, expected)
}

/// The request is repeated until it is done. Then each hold was extended once, and the count says so.
fn finish(harness: &mut Harness, expected: &Expected, told: &str) {
    let mut ticks = 0;
    let holds = loop {
        match extend_all(harness, &ASKED).expect("it is the same request") {
            ExtensionOfAll::Running(_) => drop(harness.tick()),
            ExtensionOfAll::Done { holds, replayed } => {
                assert!(replayed, "{told}");
                break holds;
            }
        }
        ticks += 1;
        assert!(ticks <= 8, "{told}: it has an end");
    };
    assert_eq!(holds, expected.holds, "{told}: the count");
    for (&id, &end) in &expected.ends {
        let known = harness.look(id).unwrap_or_else(|refusal| panic!("{told}: {refusal:?}"));
        let extensions = u16::from(known.extensions > 0);
        assert_eq!((known.state, known.expires_at, known.extensions), (State::Held, end, extensions), "{told}: {id}");
    }
    // It counts towards nobody's extensions, and another request with the key is another one.
    let other = ExtendAll { seconds: 1, ..ASKED };
    assert_eq!(extend_all(harness, &other), Err(Refusal::IdempotencyKeyReused), "{told}");
}

fn open(storage: &MemoryStorage, survival: Survival, shards: usize, now: Timestamp) -> Harness {
    Harness::open(storage.crash(survival), settings(shards), now).expect("nothing is damaged")
}

/// A crash before, between and after any two ticks, with and without what was not committed, on other numbers of shards.
#[test]
fn a_crash_at_any_tick_extends_each_hold_once() {
    let (mut harness, mut expected) = before();
    extend_all(&harness, &ASKED).expect("the sale is there");
    harness.wait_millis(1);
    // Made later, hence not meant.
    for number in 0..40 {
        expected.add(&harness.hold(&format!("later-{number}"), "tv", 1), false);
    }
    harness.commit();
    let mut at_once = Vec::new();
    for tick in 0..10 {
        let told = format!("after {tick} ticks");
        for shards in [1, 3, 8] {
            let survival = Survival::Nothing;
            let mut again = open(&harness.storage, survival, shards, harness.now);
            finish(&mut again, &expected, &format!("{told}, {shards} shards"));
            // And the next start has all of it, too.
            again.restart();
            finish(&mut again, &expected, &format!("{told}, {shards} shards, started again"));
        }
        at_once.push(harness.tick().extended);
        // Nothing of this tick is durable.
        let mut again = open(&harness.storage, Survival::Everything, 5, harness.now);
        finish(&mut again, &expected, &format!("{told}, and one more that was lost"));
        harness.commit();
    }
    assert!(at_once.iter().filter(|&&extended| extended > 0).count() > 4, "in many steps: {at_once:?}");
    assert_eq!(at_once.iter().sum::<u64>(), expected.holds);
    finish(&mut harness, &expected, "without a crash");
}

/// The machine loses power while a batch is written in the middle.
#[test]
fn power_loss_in_a_commit_extends_each_hold_once() {
    let (harness, expected) = before();
    for seed in 0..24 {
        let (mut dice, now) = (Dice::new(seed), harness.now);
        let mut dying = open(&harness.storage, Survival::Nothing, 3, now);
        extend_all(&dying, &ASKED).unwrap();
        for _ in 0..dice.below(6) {
            dying.wait_millis(1);
            dying.tick();
            if dice.one_in(2) {
                dying.commit();
            }
        }
        dying.tick();
        dying.storage.die_after(dice.below(2));
        while dying.committer.step().is_ok_and(|worked| worked) {}
        let survival = Survival::Sectors { seed, sector_bytes: 512 };
        let mut again = open(&dying.storage, survival, 2, dying.now);
        finish(&mut again, &expected, &format!("seed {seed}"));
    }
}

/// A snapshot is taken while buckets are extended: some of its parts are of before, some of after, and the run itself is of when the
/// snapshot began.
#[test]
fn a_snapshot_in_the_middle_extends_each_hold_once() {
    let (harness, expected) = before();
    for begun_after in [0, 1, 4, 7, 8] {
        for steps in [0, 700, 2048, 4096] {
            let mut harness = open(&harness.storage, Survival::Nothing, 4, harness.now);
            let mut expected = expected.clone();
            extend_all(&harness, &ASKED).unwrap();
            harness.wait_millis(1);
            for _ in 0..begun_after {
                harness.tick();
            }
            let engine = harness.engine.clone();
            let mut snapshot = engine.begin_snapshot(&harness.snapshots()).unwrap();
            let mut left = steps;
            // A tick in the middle of each third.
            for _ in 0..2 {
                for _ in 0..left.min(steps / 2) {
                    snapshot.step().unwrap();
                }
                left -= left.min(steps / 2);
                harness.tick();
                expected.add(&harness.hold(&format!("later-{left}-{begun_after}"), "tv", 1), false);
            }
            while snapshot.step().unwrap() {}
            let taken = snapshot.finish(|_| harness.commit()).unwrap();
            harness.commit();
            harness.prune(taken);
            let told = format!("a snapshot after {begun_after} ticks, with two more after {steps} steps");
            for shards in [1, 6] {
                let mut again = open(&harness.storage, Survival::Nothing, shards, harness.now);
                finish(&mut again, &expected, &format!("{told}, {shards} shards"));
                // From the snapshot once more, with a journal that has the rest.
                again.restart();
                finish(&mut again, &expected, &format!("{told}, started again"));
            }
            finish(&mut harness, &expected, &told);
        }
    }
}

/// Runs wait for each other; each extends every hold once, and holds that ended in between are not touched.
#[test]
fn runs_follow_each_other() {
    let mut harness = Harness::with_shards(3);
    harness.put(&SaleSettings { hold_seconds: 600, ..ask::sale("drop", &[("tv", 1000)]) });
    let made: Vec<_> = (0..60).map(|number| harness.hold(&format!("customer-{number}"), "tv", 1)).collect();
    let asked = |key| ExtendAll { sale: "drop", seconds: 60, reason: None, key };
    let runs: Vec<_> = [None, Some("a"), None]
        .map(|key| match extend_all(&harness, &asked(key)).unwrap() {
            ExtensionOfAll::Running(run) => run,
            done => panic!("{done:?}"),
        })
        .into();
    assert_eq!(extend_all(&harness, &asked(Some("a"))), Ok(ExtensionOfAll::Running(runs[1])), "the key joins it");
    harness.wait_millis(1);
    let mut released = 0;
    for tick in 0..24 {
        let done = runs.iter().filter(|run| {
            matches!(harness.engine.extension_of_all(**run).value, Some(ExtensionOfAll::Done { replayed: false, .. }))
        });
        assert_eq!(done.count(), tick / 8, "after {tick} ticks");
        harness.tick();
        if tick == 11 {
            harness.release(made[0].id).unwrap();
            released += 1;
        }
    }
    for known in &made[released..] {
        assert_eq!(harness.look(known.id).unwrap().expires_at, known.expires_at.plus_seconds(3 * 60));
    }
    assert_eq!(harness.look(made[0].id).unwrap().state, State::Released);
    let refusal = extend_all(&harness, &ExtendAll { sale: "no such", ..asked(None) });
    assert_eq!(refusal, Err(Refusal::SaleNotFound));
}

/// Customers go on while a run is under way: what they do with a hold meets the extension, and each hold that is live all the time
/// is extended once.
#[test]
fn customers_go_on_while_holds_are_extended() {
    let (harness, expected) = before();
    let engine = &harness.engine;
    let asked = ExtendAll { key: None, ..ASKED };
    extend_all(&harness, &asked).unwrap();
    let ids: Vec<ReservationId> = expected.ends.keys().copied().collect();
    let (now, mut looks) = (harness.now.plus_millis(1), 0);
    let touched = together(
        |number| {
            let (mut dice, mut touched) = (Dice::new(number), Vec::new());
            for turn in 0..200_usize {
                let id = ids[(turn * 4 + number as usize) % ids.len()];
                match dice.below(4) {
                    0 => touched.push((id, engine.release(now, id, None).value.is_ok())),
                    1 => touched.push((id, engine.confirm(now, id, None).value.is_ok())),
                    2 => drop(
                        harness
                            .engine
                            .change(now, id, &super::lines(&[("tv", 2)]))
                            .value
                            .unwrap_or_else(|refusal| panic!("{refusal:?}")),
                    ),
                    _ => drop(engine.look(now, id).value.unwrap()),
                }
                if touched.last().is_some_and(|last| last.0 == id) {
                    return touched;
                }
            }
            touched
        },
        || {
            looks += u64::from(engine.tick(now).extended > 0);
        },
    );
    for _ in 0..LOOKS {
        engine.tick(now);
    }
    let touched: BTreeMap<ReservationId, bool> = touched.into_iter().flatten().collect();
    for (&id, &end) in &expected.ends {
        let known = engine.look(now, id).value.unwrap();
        match touched.get(&id) {
            None => assert_eq!((known.state, known.expires_at), (State::Held, end)),
            Some(_) => assert_ne!(known.state, State::Held),
        }
    }
}
