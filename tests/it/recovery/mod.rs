//! Engine and journal together, through crashes: what comes back is what was acknowledged, and all of it.

mod clock;
mod operators;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use doorbuster::{
    engine::{Durable, Settings},
    journal::{
        ReadError, RecoveryError, SnapshotError, SnapshotStore,
        files::{Damage, EIO, MemoryStorage, Position, Storage, Survival, scan},
    },
    sale::{
        command::{Adjust, Reserve},
        ids::ReservationId,
        outcome::{Refusal, State},
        settings::SaleSettings,
        time::Timestamp,
    },
};

use crate::support::{
    OPENING, ask,
    dice::{Dice, scramble},
    harness::{Harness, OpenError},
};

const CUSTOMERS: [&str; 6] = ["ann", "bob", "cleo", "dan", "eve", "fred"];
const SKUS: [&str; 3] = ["tv", "phone", "lamp"];

fn document() -> SaleSettings {
    SaleSettings { customer_limit: Some(40), ..ask::sale("drop", &[("tv", 30), ("phone", 80), ("lamp", 200)]) }
}

/// Retention of a minute, so that a history also forgets.
fn settings(shards: usize) -> Settings {
    Settings { shards, retention_millis: 60_000, ..Settings::default() }
}

/// One random thing that a customer, an operator or the clock does.
fn happen(harness: &mut Harness, dice: &mut Dice, made: &mut Vec<ReservationId>) {
    let customer = *dice.pick(&CUSTOMERS);
    let sku = *dice.pick(&SKUS);
    match dice.below(12) {
        0..=4 => {
            let key = format!("key-{}", dice.below(30));
            let lines = [(sku, 1 + dice.below(3) as u32), (SKUS[dice.below(3) as usize], 1)];
            let lines = if lines[0].0 == lines[1].0 { &lines[..1] } else { &lines[..] };
            let mut asked = ask::reserve("drop", customer, lines);
            asked.key = dice.one_in(2).then_some(key.as_str());
            asked.hold_seconds = dice.one_in(2).then_some(5);
            made.extend(harness.reserve(&asked).ok().map(|made| made.reservation.id));
        }
        5 => {
            let _ = harness.adjust(&ask::adjust("drop", sku, dice.below(7) as i64 - 2));
        }
        6..=8 if !made.is_empty() => {
            let id = *dice.pick(made);
            let _ = match dice.below(3) {
                0 => harness.confirm(id),
                1 => harness.release(id),
                _ => harness.extend(id, 10),
            };
        }
        9 => {
            let settings = SaleSettings { hold_seconds: 10 + dice.below(20), ..document() };
            harness.put(&settings);
        }
        _ => {
            harness.wait_millis(dice.below(4000));
            harness.tick();
        }
    }
}

#[test]
fn the_state_at_every_commit_boundary_is_the_state_after_replay() {
    for seed in 0..4 {
        let (mut dice, mut made) = (Dice::new(seed), Vec::new());
        let mut harness = Harness::new(settings(4));
        harness.put(&document());
        for _ in 0..150 {
            for _ in 0..dice.below(12) {
                happen(&mut harness, &mut dice, &mut made);
            }
            harness.commit();
            let shards = *dice.pick(&[1, 3, 4, 8]);
            let replayed =
                Harness::open(harness.storage.crash(Survival::Nothing), settings(shards), harness.now).unwrap();
            assert_eq!(replayed.engine.digest(), harness.engine.digest(), "seed {seed}");
        }
    }
}

/// A machine loses power in the middle of a commit: the batch being written is there in full or not at all, whatever
/// became of its sectors, and everything acknowledged before is there.
#[test]
fn power_loss_in_a_commit_keeps_all_that_was_acknowledged_and_no_half_of_the_rest() {
    let (mut without, mut with) = (0, 0);
    for seed in 0..150 {
        let (mut dice, mut made) = (Dice::new(seed), Vec::new());
        let mut harness = Harness::new(settings(3));
        harness.put(&document());
        for _ in 0..dice.below(20) {
            happen(&mut harness, &mut dice, &mut made);
            if dice.one_in(3) {
                harness.commit();
            }
        }
        harness.commit();
        let acknowledged = harness.engine.digest();
        for _ in 0..40 {
            happen(&mut harness, &mut dice, &mut made);
        }
        harness.hold("gina", "lamp", 1);
        let unacknowledged = harness.engine.digest();
        assert_ne!(acknowledged, unacknowledged);
        // The write still goes through, the sync does not.
        harness.storage.die_after(1);
        harness.committer.step().expect_err("the machine died");
        assert_eq!(harness.engine.durability().of(harness.engine.levels().latest_epoch), Durable::Unknown);

        let survival = Survival::Sectors { seed, sector_bytes: 512 };
        let found = Harness::open(harness.storage.crash(survival), settings(3), harness.now).unwrap().engine.digest();
        match found {
            found if found == acknowledged => without += 1,
            found if found == unacknowledged => with += 1,
            _ => panic!("half a batch came back with seed {seed}"),
        }
    }
    assert!(without > 0 && with > 0, "{without} times without the last batch, {with} times with it");
}

/// After a failed sync nothing more is acknowledged, though the engine would go on deciding.
#[test]
fn nothing_is_acknowledged_after_a_failed_sync() {
    let mut harness = Harness::new(settings(2));
    harness.put(&document());
    harness.commit();
    let durable = harness.engine.durability().epoch();
    harness.storage.fail_sync(1, EIO);
    harness.hold("ann", "tv", 1);
    harness.committer.step().expect_err("the sync failed");
    harness.hold("bob", "tv", 1);
    harness.committer.step().expect_err("no sync is tried again");
    let durability = harness.engine.durability();
    assert!(durability.failed());
    assert_eq!((durability.epoch(), durability.of(durable + 1)), (durable, Durable::Unknown));
}

#[test]
fn a_snapshot_interrupted_at_any_step_is_ignored() {
    let (mut dice, mut made) = (Dice::new(7), Vec::new());
    let mut harness = Harness::new(settings(4));
    harness.put(&document());
    for _ in 0..200 {
        happen(&mut harness, &mut dice, &mut made);
    }
    harness.commit();
    let before = harness.engine.digest();
    let engine = harness.engine.clone();

    // Dropped after so many of its 4096 buckets.
    for steps in [0, 1, 2, 100, 4095, 4096] {
        let mut snapshot = engine.begin_snapshot(&harness.snapshots()).unwrap();
        for _ in 0..steps {
            snapshot.step().unwrap();
        }
        drop(snapshot);
        assert!(harness.snapshots().newest().unwrap().is_none(), "unfinished after {steps} steps");
        harness.lose_power(Survival::Everything);
        assert_eq!(harness.engine.digest(), before);
        assert!(harness.storage.list().unwrap().iter().any(|name| name.ends_with(".tmp")), "it was under way");
    }

    // The storage dies after so many changes; whatever sectors made it, the state comes back.
    let sound = harness.storage.crash(Survival::Everything);
    for changes in 0.. {
        let dying = sound.crash(Survival::Everything);
        let harness = Harness::open(dying.clone(), settings(4), harness.now).unwrap();
        dying.die_after(changes);
        let finished = harness.engine.snapshot(&harness.snapshots(), |_| {}).is_ok();
        for seed in 0..8 {
            let left = dying.crash(Survival::Sectors { seed, sector_bytes: 512 });
            let opened = Harness::open(left, settings(4), harness.now).unwrap();
            assert_eq!(opened.engine.digest(), before, "died after {changes} changes, seed {seed}");
        }
        if finished {
            assert!(changes > 3, "creating, writing, syncing and renaming are four changes");
            return;
        }
    }
}

#[test]
fn a_snapshot_and_the_journal_behind_it_are_enough() {
    let (mut dice, mut made) = (Dice::new(11), Vec::new());
    let mut harness = Harness::new(settings(4));
    harness.put(&document());
    let mut pruned = 0;
    for round in 0..12 {
        for _ in 0..150 {
            happen(&mut harness, &mut dice, &mut made);
            if dice.one_in(4) {
                harness.commit();
            }
        }
        let taken = harness.snapshot();
        pruned += harness.prune(taken);
        for _ in 0..20 {
            happen(&mut harness, &mut dice, &mut made);
        }
        harness.commit();
        let before = harness.engine.digest();
        harness.kill_and_start_with(1 + round % 5);
        assert_eq!(harness.engine.digest(), before, "round {round}");
    }
    assert!(pruned > 3, "segments and snapshots that nobody needs are gone: {pruned}");
}

/// Events between a bucket's turn and the snapshot's end are replayed on top of it, each exactly once.
#[test]
fn a_snapshot_taken_while_everything_goes_on_recovers_to_the_same_state() {
    for seed in 0..20 {
        let (mut dice, mut made) = (Dice::new(1000 + seed), Vec::new());
        let mut harness = Harness::new(settings(4));
        harness.put(&document());
        for _ in 0..100 {
            happen(&mut harness, &mut dice, &mut made);
        }
        let engine = harness.engine.clone();
        let mut snapshot = engine.begin_snapshot(&harness.snapshots()).unwrap();
        let mut taking = true;
        while taking {
            for _ in 0..dice.below(200) {
                taking = snapshot.step().unwrap();
            }
            happen(&mut harness, &mut dice, &mut made);
            if dice.one_in(5) {
                harness.commit();
            }
        }
        snapshot.finish(|_| harness.commit()).unwrap();
        harness.commit();
        let before = harness.engine.digest();
        harness.kill_and_start_with(1 + seed as usize % 6);
        assert_eq!(harness.engine.digest(), before, "seed {seed}");
    }
}

/// The same with threads: writers reserve, confirm and release, one commits, one takes snapshots.
#[test]
fn a_snapshot_taken_while_threads_write_recovers_to_the_same_state() {
    let mut harness = Harness::new(settings(4));
    harness.put(&ask::sale("drop", &[("tv", 3_000), ("phone", 100_000)]));
    let engine = harness.engine.clone();
    let snapshots = harness.snapshots();
    let now = harness.now;
    let signal = harness.committer.signal();
    let Harness { committer, storage, .. } = harness;
    let committing = thread::spawn(move || committer.run());
    let taking = AtomicBool::new(true);
    thread::scope(|scope| {
        for writer in 0..2_u64 {
            let (engine, signal, taking) = (&engine, &signal, &taking);
            scope.spawn(move || {
                let mut dice = Dice::new(writer);
                for turn in 0_u64.. {
                    if turn >= 5_000 && !taking.load(Ordering::Acquire) {
                        break;
                    }
                    let customer = format!("customer-{}-{}", writer, dice.below(500));
                    let asked = ask::reserve("drop", &customer, &[("tv", 1), ("phone", 1 + turn as u32 % 3)]);
                    let entropy = scramble((1 << 50) | (writer << 40) | turn);
                    if let Ok(made) = engine.reserve(now, &asked, entropy).value {
                        let _ = match turn % 64 {
                            0 => engine.confirm(now, made.reservation.id, None),
                            _ => engine.release(now, made.reservation.id, None),
                        };
                    }
                    signal.notify();
                }
            });
        }
        // Until three were taken, the last with commits in between. The writers are still at work then.
        let taken = (1..=1000).find(|&number| {
            let wait = |_| {
                signal.notify();
                thread::yield_now();
            };
            engine.snapshot(&snapshots, wait).expect("the storage works");
            let summary = snapshots.newest().unwrap().unwrap().summary();
            number >= 3 && summary.last_epoch > summary.first_epoch
        });
        taking.store(false, Ordering::Release);
        assert!(taken.is_some(), "no commit came in while a snapshot was taken");
    });
    signal.stop();
    committing.join().unwrap().expect("the storage works");

    let reopened = Harness::open(storage, settings(3), now).unwrap();
    assert_eq!(reopened.engine.digest(), engine.digest());
}

#[test]
fn damage_in_the_middle_refuses_to_start_and_says_where() {
    let (mut dice, mut made) = (Dice::new(3), Vec::new());
    let mut harness = Harness::new(settings(2));
    harness.put(&document());
    let mut starts = Vec::new();
    for _ in 0..30 {
        happen(&mut harness, &mut dice, &mut made);
        harness.hold("ann", "lamp", 1);
        starts.push(file_end(&harness.storage));
        harness.commit();
        let id = harness.hold("bob", "lamp", 1).id;
        harness.release(id).unwrap();
        harness.commit();
    }
    let (file, offset) = starts[10].clone();
    assert_eq!(starts[20].0, file, "the damage is followed by more of the same file");
    harness.storage.flip_bit(&file, offset + 40, 3);
    match Harness::open(harness.storage.clone(), settings(2), harness.now).map(|_| ()) {
        Err(OpenError::Journal(RecoveryError::Read(ReadError::Damaged(cause)))) => {
            let damage = cause.downcast_ref::<Damage>().expect("files say what is damaged");
            assert_eq!((damage.file(), damage.offset()), (file.as_str(), Some(offset)));
            let message = damage.to_string();
            assert!(message.contains(&file) && message.contains(&offset.to_string()), "{message}");
        }
        Err(other) => panic!("refused, and not for its damage: {other}"),
        Ok(()) => panic!("a damaged journal was served"),
    }
}

/// The newest segment, and where its last frame ends.
fn file_end(storage: &MemoryStorage) -> (String, u64) {
    let scan = scan(storage, 1, 0, |_, _| Ok::<_, String>(())).unwrap();
    let position = scan.tail.position.unwrap_or(Position { segment: 1, offset: 0 });
    (format!("journal-{:020}.seg", position.segment), position.offset)
}

#[test]
fn a_damaged_snapshot_refuses_to_start() {
    let mut harness = Harness::new(settings(2));
    harness.put(&document());
    harness.hold("ann", "tv", 1);
    harness.snapshot();
    let names = harness.storage.list().unwrap();
    let name = names.iter().find(|name| name.ends_with(".snap")).unwrap();
    harness.storage.flip_bit(name, 100, 0);
    let opened = Harness::open(harness.storage.clone(), settings(2), harness.now);
    assert!(matches!(opened.map(|_| ()), Err(OpenError::Snapshot(SnapshotError::Damaged(_)))));
}

#[test]
fn holds_due_while_the_service_was_down_expire_at_the_first_tick_and_not_before() {
    for with_snapshot in [false, true] {
        let mut harness = Harness::new(settings(4));
        harness.put(&document());
        let due = harness.hold("ann", "tv", 5);
        let mut longer = ask::reserve("drop", "bob", &[("tv", 7)]);
        longer.hold_seconds = Some(3600);
        let longer = harness.reserve(&longer).unwrap().reservation;
        let extended = harness.hold("cleo", "tv", 1);
        harness.extend(extended.id, 900).unwrap();
        if with_snapshot {
            harness.snapshot();
        }
        harness.commit();

        harness.wait_seconds(600);
        harness.kill();
        assert_eq!(harness.counts("tv"), (17, 13, 0), "starting alone expires nothing");
        let tick = harness.tick();
        assert_eq!((tick.expired, tick.lag_millis), (1, 300_000));
        assert_eq!(harness.counts("tv"), (22, 8, 0));
        let expired = harness.look(due.id).unwrap();
        assert_eq!((expired.state, expired.ended_at), (State::Expired, Some(harness.now)));
        assert_eq!(harness.look(longer.id).unwrap(), longer);
        assert_eq!(harness.look(extended.id).unwrap().expires_at, OPENING.plus_seconds(900));

        harness.restart();
        assert_eq!(harness.look(due.id).unwrap(), expired, "expiry is a fact, not worked out anew");
        harness.now = OPENING.plus_seconds(900).plus_millis(16);
        harness.tick();
        assert_eq!(harness.counts("tv"), (23, 7, 0), "an extended hold has its own time after a restart too");
    }
}

#[test]
fn ids_keys_prices_and_adjustments_survive() {
    for with_snapshot in [false, true] {
        let mut harness = Harness::new(settings(3));
        harness.put(&document());
        let mut asked = ask::reserve("drop", "ann", &[("tv", 2), ("lamp", 3)]);
        (asked.key, asked.reference) = (Some("click-1"), Some("cart-9"));
        let first = harness.reserve(&asked).unwrap();
        let mut restock = ask::adjust("drop", "tv", 10);
        (restock.key, restock.reason) = (Some("truck-1"), Some("a truck came"));
        let restocked = harness.adjust(&restock).unwrap();
        if with_snapshot {
            harness.snapshot();
        }
        harness.commit();
        harness.kill_and_start_with(5);

        let again = harness.reserve(&asked).unwrap();
        assert_eq!((again.replayed_of.is_some(), &again.reservation), (true, &first.reservation));
        let another = Reserve { reference: Some("cart-10"), ..asked.clone() };
        assert_eq!(harness.reserve(&another), Err(Refusal::IdempotencyKeyReused));
        let again = harness.adjust(&restock).unwrap();
        assert_eq!((again.replayed, again.made), (true, restocked.made));
        assert_eq!(harness.adjust(&Adjust { delta: 11, ..restock.clone() }), { Err(Refusal::IdempotencyKeyReused) });
        assert_eq!(harness.counts("tv"), (38, 2, 0));
    }
}

/// Units that a customer had confirmed count towards the limit after their reservation has left memory, the process
/// was restarted, and a snapshot was taken of what is left.
#[test]
fn confirmed_units_count_towards_the_limit_for_as_long_as_the_sale_is_on() {
    let mut harness = Harness::new(settings(4));
    harness.put(&SaleSettings { customer_limit: Some(3), ..ask::sale("drop", &[("tv", 10)]) });
    let bought = harness.hold("ann", "tv", 2);
    harness.confirm(bought.id).unwrap();
    harness.wait_seconds(120);
    harness.tick();
    assert_eq!(harness.look(bought.id), Err(Refusal::ReservationNotFound), "past its retention");
    let too_many = ask::reserve("drop", "ann", &[("tv", 2)]);
    let refused = Err(Refusal::CustomerLimitExceeded { sku: "tv".into(), limit: 3, already: 2 });
    assert_eq!(harness.reserve(&too_many), refused);
    harness.restart();
    assert_eq!(harness.reserve(&too_many), refused);
    harness.snapshot();
    harness.kill_and_start_with(2);
    assert_eq!(harness.reserve(&too_many), refused);
    assert_eq!(harness.counts("tv"), (8, 0, 2));
}

/// A limit that is put later counts what is in memory and what comes; the sale says since when, through restarts and
/// snapshots, until the limit goes. Whoever confirmed before that has as much left as anybody.
#[test]
fn a_limit_that_is_put_later_says_since_when_units_count() {
    let mut harness = Harness::new(settings(4));
    let unlimited = ask::sale("drop", &[("tv", 20), ("phone", 20)]);
    let limited = SaleSettings { customer_limit: Some(3), ..unlimited.clone() };
    let since = |harness: &Harness| {
        let sale = harness.engine.catalogue().sale("drop").unwrap().clone();
        sale.items.iter().map(|item| item.settings.limit_counts_since).collect::<Vec<_>>()
    };
    harness.put(&unlimited);
    let forgotten = harness.hold("ann", "tv", 3);
    harness.confirm(forgotten.id).unwrap();
    harness.put(&limited);
    assert_eq!(since(&harness), [None, None], "nothing has left memory");
    harness.put(&unlimited);
    harness.wait_seconds(120);
    harness.tick();
    let remembered = harness.hold("bob", "tv", 3);
    let remembered = harness.confirm(remembered.id).unwrap();
    harness.wait_seconds(30);
    harness.tick();

    harness.put(&limited);
    let told = since(&harness)[0].expect("it may have forgotten somebody");
    assert_eq!(since(&harness), [Some(told); 2]);
    let confirmed_at = |ended_at: Option<Timestamp>| ended_at.unwrap();
    assert!(told <= confirmed_at(remembered.ended_at) && told.millis_since(OPENING) > 60_000, "{told}");
    let refused = |already| Err(Refusal::CustomerLimitExceeded { sku: "tv".into(), limit: 3, already });
    assert_eq!(harness.reserve(&ask::reserve("drop", "bob", &[("tv", 1)])), refused(3), "confirmed since then");
    harness.hold("ann", "tv", 3);
    assert_eq!(
        harness.reserve(&ask::reserve("drop", "ann", &[("tv", 1)])),
        refused(3),
        "what ann had before is forgotten"
    );

    // It is no document's to say, and stays as it is while there is a limit. A new item has counted from its beginning.
    let mut again = SaleSettings { customer_limit: Some(2), ..limited.clone() };
    again.items.push(ask::item("mug", 5));
    again.items[0].limit_counts_since = Some(OPENING);
    harness.put(&again);
    assert_eq!(since(&harness), [Some(told), Some(told), None]);
    harness.restart();
    assert_eq!(since(&harness), [Some(told), Some(told), None]);
    harness.snapshot();
    harness.kill_and_start_with(2);
    assert_eq!(since(&harness), [Some(told), Some(told), None]);
    let without = SaleSettings { customer_limit: None, ..again };
    harness.put(&without);
    assert_eq!(since(&harness), [None; 3]);
}

/// The clock of a machine may be set back: no hold ends early by it and none is given out as made in the past.
#[test]
fn a_clock_set_back_does_not_turn_time_back() {
    let mut harness = Harness::new(settings(1));
    harness.put(&document());
    harness.wait_seconds(100);
    let first = harness.hold("ann", "tv", 1);
    harness.now = Timestamp::from_millis(harness.now.millis() - 50_000);
    let second = harness.hold("ann", "tv", 1);
    assert_eq!(second.expires_at, first.expires_at);
    harness.restart();
    let third = harness.hold("bob", "tv", 1);
    assert_eq!(third.expires_at, first.expires_at, "a restart does not forget what time it was");
}

#[test]
fn a_tick_counts_only_what_it_retired_also_after_a_restart() {
    let mut harness = Harness::new(Settings { shards: 1, retention_millis: 1000, ..Settings::default() });
    harness.put(&ask::sale("drop", &[("tv", 5)]));
    let held = harness.hold("ann", "tv", 1);
    harness.release(held.id).unwrap();
    harness.wait_seconds(10);
    assert_eq!(harness.tick().retired, 1);
    harness.restart();
    assert_eq!((harness.engine.reservations(), harness.tick().retired), (0, 0), "nothing is left to retire");
}

#[test]
fn the_catalogues_time_does_not_run_backwards_over_a_restart() {
    let mut harness = Harness::with_shards(1);
    harness.put(&ask::sale("drop", &[("tv", 5)]));
    harness.wait_seconds(100);
    let first = harness.adjust(&ask::adjust("drop", "tv", 1)).unwrap().made.at;
    harness.now = Timestamp::from_millis(harness.now.millis() - 50_000);
    assert_eq!(harness.adjust(&ask::adjust("drop", "tv", 1)).unwrap().made.at, first);
    harness.restart();
    assert_eq!(harness.adjust(&ask::adjust("drop", "tv", 1)).unwrap().made.at, first);
}
