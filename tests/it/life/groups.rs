//! Group deals: complete for all members at one instant or failed for all, with many threads, at every millisecond and through crashes.

use std::collections::{BTreeMap, BTreeSet};

use doorbuster::{
    engine::{Engine, Settings},
    journal::files::Survival,
    sale::{
        ids::{Bucket, GroupId, ReservationId},
        outcome::{GroupState, Refusal, Reservation, State},
        settings::SaleSettings,
        time::Timestamp,
    },
};

use super::{assert_in_order, draw};
use crate::support::{
    OPENING, ask, counts,
    dice::Dice,
    harness::Harness,
    threads::{THREADS, together},
};

const SIZE: u8 = 3;
const SECONDS: u32 = 60;

fn a_sale(stock: u64) -> SaleSettings {
    let closes_at = OPENING.plus_seconds(30 * 86_400);
    let items = vec![ask::group_item("tv", stock, SIZE, SECONDS), ask::item("mug", 1000)];
    SaleSettings { items, hold_seconds: 20, late_confirm_seconds: 600, closes_at, ..ask::sale("drop", &[]) }
}

fn a_service(shards: usize, stock: u64) -> Harness {
    let mut harness = Harness::with_shards(shards);
    harness.put(&a_sale(stock));
    harness
}

fn join(engine: &Engine, now: Timestamp, customer: &str, group: Option<GroupId>) -> Result<Reservation, Refusal> {
    let extras = ask::in_group(group);
    let asked =
        doorbuster::sale::command::Reserve { extras: Some(&extras), ..ask::reserve("drop", customer, &[("tv", 1)]) };
    engine.reserve(now, &asked, draw()).value.map(|made| made.reservation)
}

fn group_of(reservation: &Reservation) -> GroupId {
    reservation.group.as_ref().expect("it is of a group").id
}

/// Ids, states and groups agree: a group is open, complete or failed for all of its members, and whoever is confirmed is of a complete
/// one.
fn assert_together(looked: &[Reservation]) {
    let mut states: BTreeMap<GroupId, BTreeSet<u8>> = BTreeMap::new();
    let mut members: BTreeMap<GroupId, (u8, u64)> = BTreeMap::new();
    for reservation in looked {
        let Some(group) = reservation.group.as_deref() else {
            assert_eq!(reservation.state, State::Released, "only who left has no group: {reservation:?}");
            continue;
        };
        states.entry(group.id).or_default().insert(group.state as u8);
        let seen = members.entry(group.id).or_insert((group.members, 0));
        assert_eq!(seen.0, group.members, "all members see the same number: {reservation:?}");
        seen.1 += 1;
        match group.state {
            GroupState::Open => {
                assert_eq!((reservation.state, reservation.expires_at), (State::Held, group.expires_at))
            }
            GroupState::Complete => assert_eq!(group.members, group.size, "{reservation:?}"),
            GroupState::Failed => assert_eq!(reservation.state, State::Released, "{reservation:?}"),
        }
    }
    for (group, states) in states {
        assert_eq!(states.len(), 1, "group {group} is one for all of its members");
    }
}

/// Customers of different shards, whatever their number.
fn customers(count: usize) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let names = (0..).map(|number| format!("customer-{number}"));
    names.filter(|name| seen.insert(Bucket::of(name).index() % 8) || seen.len() == 8).take(count).collect()
}

#[test]
fn all_members_see_the_same_group_at_every_step() {
    let mut harness = a_service(8, 10);
    let names = customers(4);
    let first = join(&harness.engine, harness.now, &names[0], None).unwrap();
    let group = group_of(&first);
    assert_ne!(group, first.id, "who knows the group does not know the reservation");
    harness.wait_seconds(5);
    let second = join(&harness.engine, harness.now, &names[1], Some(group)).unwrap();
    assert_eq!((second.expires_at, second.group.as_ref().unwrap().members), (first.expires_at, 2));
    assert_eq!(harness.look(first.id).unwrap().group, second.group);
    for refused in [harness.confirm(first.id), harness.extend(second.id, 600)] {
        assert!(matches!(refused, Err(Refusal::GroupIncomplete(_))), "{refused:?}");
    }
    let again = join(&harness.engine, harness.now, &names[0], Some(group));
    assert!(matches!(&again, Err(Refusal::AlreadyInGroup(shown)) if shown.id == first.id), "{again:?}");
    harness.wait_seconds(5);
    let third = join(&harness.engine, harness.now, &names[2], Some(group)).unwrap();
    let complete = third.group.clone().unwrap();
    assert_eq!((complete.state, complete.members, complete.expires_at), (GroupState::Complete, 3, first.expires_at));
    let until = harness.now.plus_seconds(20);
    for id in [first.id, second.id, third.id] {
        let shown = harness.look(id).unwrap();
        assert_eq!((shown.group.as_ref(), shown.expires_at, shown.state), (third.group.as_ref(), until, State::Held));
    }
    assert_eq!(join(&harness.engine, harness.now, &names[3], Some(group)), Err(Refusal::GroupFull));
    // From then on each hold is one like any other.
    harness.confirm(first.id).unwrap();
    harness.release(second.id).unwrap();
    harness.wait_seconds(20);
    harness.tick();
    let ended = [first.id, second.id, third.id].map(|id| harness.look(id).unwrap());
    assert_eq!(ended.each_ref().map(|it| it.state), [State::Confirmed, State::Released, State::Expired]);
    assert!(ended.iter().all(|it| it.group.as_deref() == third.group.as_deref()));
    assert_eq!(harness.counts("tv"), (9, 0, 1));
    assert_eq!(harness.engine.group_counts().completed, 1);
}

#[test]
fn all_members_get_the_same_end_though_their_shards_have_seen_different_times() {
    let mut harness = a_service(8, 10);
    let names = customers(3);
    let first = join(&harness.engine, harness.now, &names[0], None).unwrap();
    let second = join(&harness.engine, harness.now, &names[1], Some(group_of(&first))).unwrap();
    // A request that took longer has read the clock before this one.
    let later = harness.now.plus_seconds(5);
    harness.engine.look(later, first.id).value.unwrap();
    let third = join(&harness.engine, harness.now, &names[2], Some(group_of(&first))).unwrap();
    assert_eq!(third.expires_at, later.plus_seconds(20));
    harness.now = later;
    for id in [first.id, second.id, third.id] {
        assert_eq!(harness.look(id).unwrap().expires_at, third.expires_at);
    }
}

#[test]
fn a_request_at_the_deadline_finds_a_failed_group() {
    for by in 0..5 {
        let mut harness = a_service(8, 10);
        let names = customers(3);
        let first = join(&harness.engine, harness.now, &names[0], None).unwrap();
        let second = join(&harness.engine, harness.now, &names[1], Some(group_of(&first))).unwrap();
        harness.now = Timestamp::from_millis(first.expires_at.millis() - 1);
        assert_eq!((harness.tick().group_releases, harness.look(second.id).unwrap().state), (0, State::Held));
        harness.wait_millis(1);
        // Whatever touches it first.
        match by {
            0 => assert_eq!(harness.tick().group_releases, 2),
            1 => assert_eq!(harness.look(first.id).unwrap().state, State::Released),
            2 => assert!(matches!(harness.confirm(second.id), Err(Refusal::AlreadyReleased(_)))),
            3 => assert_eq!(harness.release(first.id).unwrap().state, State::Released),
            _ => assert_eq!(
                join(&harness.engine, harness.now, &names[2], Some(group_of(&first))),
                Err(Refusal::GroupClosed)
            ),
        }
        for id in [first.id, second.id] {
            let shown = harness.look(id).unwrap();
            let group = shown.group.as_deref().unwrap();
            assert_eq!((shown.state, group.state, group.members), (State::Released, GroupState::Failed, 2), "{by}");
            assert_eq!(shown.ended_at, Some(harness.now));
        }
        assert_eq!((harness.counts("tv"), harness.engine.group_counts().failed), ((10, 0, 0), 1));
        harness.restart();
        assert_eq!(harness.look(first.id).unwrap().group.as_deref().unwrap().state, GroupState::Failed);
    }
}

#[test]
fn a_key_and_a_dry_run_know_groups() {
    let mut harness = a_service(4, 10);
    let extras = ask::in_group(None);
    let asked = |key, extras| doorbuster::sale::command::Reserve {
        key: Some(key),
        extras: Some(extras),
        ..ask::reserve("drop", "ann", &[("tv", 1)])
    };
    let first = harness.reserve(&asked("one", &extras)).unwrap().reservation;
    let joins = ask::in_group(Some(group_of(&first)));
    assert_eq!(harness.reserve(&asked("one", &joins)), Err(Refusal::IdempotencyKeyReused));
    let bob = doorbuster::sale::command::Reserve { customer: "bob", ..asked("two", &joins) };
    let tried = harness.engine.try_out(harness.now, &bob).value.unwrap();
    assert_eq!(tried.expires_at, first.expires_at);
    assert_eq!(harness.look(first.id).unwrap().group.unwrap().members, 1, "a dry run joins nothing");
    harness.reserve(&bob).unwrap();
    let again = harness.reserve(&asked("one", &extras)).unwrap();
    assert_eq!((again.reservation, again.replayed_of.unwrap().state), (first.clone(), State::Held));
    // At the deadline the repeat finds out that the group failed.
    harness.now = first.expires_at;
    let again = harness.reserve(&asked("one", &extras)).unwrap();
    assert_eq!((again.reservation, again.replayed_of.unwrap().state), (first, State::Released));
}

#[test]
fn batches_open_and_join_groups_in_their_order() {
    let harness = a_service(8, 4);
    let engine = &harness.engine;
    let first = join(engine, harness.now, "opener", None).unwrap();
    let (opens, joins) = (ask::in_group(None), ask::in_group(Some(group_of(&first))));
    let names = customers(6);
    let mut bulk = engine.bulk(6);
    let asked: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(place, name)| doorbuster::sale::command::Reserve {
            extras: Some(if place < 3 { &joins } else { &opens }),
            ..ask::reserve("drop", name, &[("tv", 1)])
        })
        .collect();
    asked.iter().for_each(|asked| bulk.push(harness.now, asked, draw()));
    while bulk.decide_some(harness.now, 4) {}
    let outcomes: Vec<_> = asked
        .iter()
        .map(|asked| {
            let outcome = bulk.next_outcome().unwrap_or_else(|| engine.reserve(harness.now, asked, draw()));
            outcome.value.map(|made| made.reservation.group.unwrap().members).map_err(|refusal| refusal.code().as_str())
        })
        .collect();
    let expected = [Ok(2), Ok(3), Err("group_full"), Ok(1), Err("sold_out"), Err("sold_out")];
    assert_eq!(outcomes, expected);
}

#[test]
fn an_open_group_is_not_extended_with_all_holds_and_moves_with_the_clock() {
    let mut harness = a_service(4, 10);
    let first = join(&harness.engine, harness.now, "ann", None).unwrap();
    join(&harness.engine, harness.now, "bob", Some(group_of(&first))).unwrap();
    let steady = harness.now;
    let ahead = 3_600_000;
    assert!(harness.engine.watch_clock(steady, steady.plus_millis(ahead), || None).is_some());
    harness.wait_seconds(6);
    let settled = harness.now;
    harness.engine.watch_clock(settled, settled.plus_millis(ahead), || None).expect("it is trusted now");
    let moved = first.expires_at.plus_millis(ahead);
    let shown = harness.look(first.id).unwrap();
    assert_eq!((shown.expires_at, shown.group.unwrap().expires_at), (moved, moved));
    // Nothing is early, and the same time passes until it fails.
    harness.now = Timestamp::from_millis(first.expires_at.millis() - 1);
    assert_eq!(harness.tick().group_releases, 0);
    harness.wait_millis(1);
    assert_eq!(harness.tick().group_releases, 2);
}

#[test]
fn an_erased_customer_stays_in_the_group_without_a_name() {
    let mut harness = a_service(4, 10);
    let first = join(&harness.engine, harness.now, "ann", None).unwrap();
    let group = group_of(&first);
    harness.engine.erase_customer(harness.now, doorbuster::sale::audit::Actor::Anybody, "ann");
    harness.restart();
    // Nobody knows that it is the same person.
    join(&harness.engine, harness.now, "ann", Some(group)).unwrap();
    let last = join(&harness.engine, harness.now, "bob", Some(group)).unwrap();
    assert_eq!(last.group.unwrap().state, GroupState::Complete);
    assert_eq!(harness.look(first.id).unwrap().group.unwrap().state, GroupState::Complete);
    harness.confirm(first.id).unwrap();
}

/// Threads open, join, leave, look, pay and let time pass around a deadline, with few units. Each watches what it is told; at the end,
/// and after a restart, groups are one for all.
#[test]
fn groups_are_one_for_all_whoever_comes_between() {
    const STOCK: u64 = 12;
    const ROUNDS: u64 = 300;
    let mut harness = a_service(8, STOCK);
    let (mut complete, mut failed, mut left) = (0, 0, 0);
    for round in 0..ROUNDS {
        harness.wait_seconds(1000);
        let opener = join(&harness.engine, harness.now, &format!("opener-{round}"), None).unwrap();
        let (engine, deadline, group) = (&harness.engine, opener.expires_at, group_of(&opener));
        let near = round % 3 != 0;
        let made: Vec<Vec<Reservation>> = together(
            |number| {
                let mut dice = Dice::new(round * THREADS + number);
                let mut mine: Vec<Reservation> = Vec::new();
                for step in 0..6 {
                    let early = Timestamp::from_millis(deadline.millis() - 1 - u64::from(near) * dice.below(2));
                    let now = if near { early.plus_millis(dice.below(3)) } else { early };
                    let customer = format!("customer-{round}-{number}-{}", dice.below(2));
                    match dice.below(8) {
                        0..=3 => {
                            let group = if dice.one_in(5) { None } else { Some(group) };
                            match join(engine, now, &customer, group) {
                                Ok(reservation) => mine.push(reservation),
                                Err(
                                    Refusal::GroupFull
                                    | Refusal::GroupClosed
                                    | Refusal::AlreadyInGroup(_)
                                    | Refusal::Short(_),
                                ) => {}
                                Err(other) => panic!("{other:?}"),
                            }
                        }
                        4 | 5 => {
                            if let Some(reservation) = mine.get(dice.below(mine.len().max(1) as u64) as usize) {
                                let outcome = engine.confirm(now, reservation.id, None).value;
                                if let Ok(shown) = outcome {
                                    assert_eq!(shown.group.unwrap().state, GroupState::Complete, "nobody alone");
                                }
                            }
                        }
                        6 => {
                            if let Some(reservation) = mine.get(step % mine.len().max(1)) {
                                _ = engine.release(now, reservation.id, None);
                            }
                        }
                        _ => drop(engine.tick(now)),
                    }
                    let shown = engine.look(now, opener.id).value.unwrap();
                    let ended_at = shown.ended_at.filter(|_| shown.state == State::Released);
                    assert!(ended_at.is_none_or(|at| at >= deadline), "not before its time: {shown:?}");
                }
                mine
            },
            || {},
        );
        let ids: Vec<ReservationId> = made.iter().flatten().map(|it| it.id).chain([opener.id]).collect();
        let looked: Vec<_> = ids.iter().map(|&id| harness.engine.look(harness.now, id).value.unwrap()).collect();
        assert_together(&looked);
        left += looked.iter().filter(|it| it.group.is_none()).count();
        match looked.last().unwrap().group.as_deref().unwrap().state {
            GroupState::Complete => complete += 1,
            GroupState::Failed => failed += 1,
            GroupState::Open => {}
        }
        let (available, held, confirmed) = counts(&harness.engine, "drop", "tv");
        assert_eq!(available + held + confirmed, STOCK);
        if round % 50 == 0 {
            harness.kill_and_start_with(1 + (round / 50) as usize % 8);
            harness.put(&a_sale(STOCK));
        }
        // What is confirmed comes back for the next round.
        for it in looked.iter().filter(|it| it.state == State::Confirmed) {
            _ = harness.engine.cancel(harness.now, it.id, &super::of_all(true));
        }
    }
    assert!(complete > 20 && failed > 20 && left > 2, "{complete} complete, {failed} failed, {left} left");
    harness.commit();
    assert_in_order(&harness);
}

/// The last units: groups compete, and no group is complete without units for all.
#[test]
fn the_last_units_go_to_whole_members() {
    for seed in 0..40 {
        let harness = a_service(8, 5);
        let openers: Vec<_> = (0..3)
            .map(|number| join(&harness.engine, harness.now, &format!("opener-{number}"), None).unwrap())
            .collect();
        let engine = &harness.engine;
        let told = together(
            |number| {
                let mut dice = Dice::new(seed * THREADS + number);
                let mut joined = 0;
                for step in 0..8 {
                    let group = group_of(&openers[dice.below(3) as usize]);
                    joined += u64::from(join(engine, harness.now, &format!("c-{number}-{step}"), Some(group)).is_ok());
                }
                joined
            },
            || {},
        );
        assert_eq!(told.iter().sum::<u64>(), 2, "as many as there were units");
        assert_eq!(harness.counts("tv"), (0, 5, 0));
        let looked: Vec<_> = openers.iter().map(|it| engine.look(harness.now, it.id).value.unwrap()).collect();
        assert_together(&looked);
        // What is not paid is there again.
        engine.tick(harness.now.plus_seconds(SECONDS.into()));
        assert_eq!(harness.counts("tv"), (5, 0, 0));
    }
}

/// What a start comes to, from what a crash left.
fn look_all(harness: &mut Harness, ids: &[ReservationId]) -> Vec<Reservation> {
    ids.iter().filter_map(|&id| harness.look(id).ok()).collect()
}

/// Groups open, complete and fail over many ticks; a crash between any two, with and without what was not committed, and on other
/// numbers of shards, leaves each group as one.
#[test]
fn a_crash_at_any_tick_leaves_groups_whole() {
    let settings = |shards| Settings { shards, ..Settings::default() };
    let mut harness = a_service(8, 2000);
    harness.commit();
    let (mut ids, mut dice) = (Vec::new(), Dice::new(7));
    let mut open: Vec<GroupId> = Vec::new();
    for step in 0..40_u64 {
        for number in 0..8 {
            let group = if open.is_empty() || dice.one_in(3) {
                None
            } else {
                Some(open[dice.below(open.len() as u64) as usize])
            };
            if let Ok(made) = join(&harness.engine, harness.now, &format!("customer-{step}-{number}"), group) {
                open.push(group_of(&made));
                ids.push(made.id);
            }
        }
        if dice.one_in(3) {
            let id = ids[dice.below(ids.len() as u64) as usize];
            _ = harness.release(id);
        }
        harness.wait_seconds(3);
        harness.tick();
        if step % 7 == 3 {
            let taken = harness.snapshot();
            harness.prune(taken);
        }
        for survival in [Survival::Nothing, Survival::Everything, Survival::Sectors { seed: step, sector_bytes: 512 }] {
            for shards in [1, 5] {
                let storage = harness.storage.crash(survival);
                let mut again = Harness::open(storage, settings(shards), harness.now).expect("nothing is damaged");
                assert_together(&look_all(&mut again, &ids));
                let (available, held, confirmed) = again.counts("tv");
                assert_eq!(available + held + confirmed, 2000);
                // The table is what members say: the next in line can join, and time goes on for all.
                if let Some(&group) = open.last() {
                    _ = join(&again.engine, again.now, "late", Some(group));
                }
                again.wait_seconds(u64::from(SECONDS) + 20);
                again.tick();
                let looked = look_all(&mut again, &ids);
                assert_together(&looked);
                assert!(looked.iter().all(|it| it.state != State::Held), "all that was open is over");
                assert_eq!(again.engine.group_counts().open, 0);
            }
        }
        if dice.one_in(2) {
            harness.commit();
        }
    }
    let counts = harness.engine.group_counts();
    assert!(counts.completed > 20 && counts.failed > 10, "{counts:?}");
}

/// A tick costs what is due, and requests what they are about: open groups lie still.
#[test]
fn many_open_groups_are_not_looked_at() {
    let mut harness = a_service(8, 1_000_000);
    for number in 0..5000 {
        join(&harness.engine, harness.now, &format!("customer-{number}"), None).unwrap();
    }
    harness.commit();
    assert_eq!(harness.engine.group_counts().open, 5000);
    harness.wait_millis(1);
    assert_eq!(harness.tick().group_releases, 0);
    assert!(!harness.engine.has_changes(), "a tick changes nothing that is not due");
    harness.wait_seconds(SECONDS.into());
    assert_eq!(harness.tick().group_releases, 5000);
    assert_eq!(harness.counts("tv"), (1_000_000, 0, 0));
}
