//! G11: in order. And what the order costs: who takes all locks for it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use doorbuster::{
    engine::Engine,
    sale::{
        command::Extras,
        ids::ReservationId,
        outcome::Refusal,
        settings::{ItemSettings, PoolSettings, Sourcing},
    },
};

use super::{a_sale, available, drawn_from, line, pools};
use crate::support::{
    OPENING, a_customer_on_each_of, ask,
    dice::Dice,
    harness::Harness,
    threads::{Finally, Running, THREADS, together},
};

/// Nothing comes back here, so a pool that was empty once is empty for ever. Who gets a unit from a later pool says that the
/// earlier ones were empty at an instant before the answer: from the answer on nobody may get a unit from them, and
/// whoever looks must find them empty.
#[test]
fn no_unit_comes_from_a_later_pool_while_an_earlier_one_has_one() {
    for round in 0..40 {
        let stock = [40, 3, 60];
        let ids = ["first", "second", "third"];
        let all = ids.iter().zip(stock).map(|(id, units)| ask::pool(id, units)).collect();
        let service = Running::start(8, &a_sale(vec![ask::item_of("tv", all)]));
        // The last pool that somebody was answered to have a unit from.
        let reached = AtomicU64::new(0);
        let got = together(
            |number| {
                let mut dice = Dice::new(700 + round * THREADS + number);
                let mut got = [0_u64; 3];
                loop {
                    let customer = format!("customer-{}", dice.below(300));
                    let units = 1 + dice.below(4) as u32;
                    let before = reached.load(Ordering::SeqCst);
                    let asked = ask::reserve("drop", &customer, &[("tv", units)]);
                    let Ok(made) = service.ask(OPENING, &asked) else { return got };
                    let from = drawn_from(&service, &made.reservation);
                    assert!(from[0].0 as u64 >= before, "{from:?}, but somebody had a unit of pool {before} before");
                    from.iter().for_each(|&(pool, units)| got[pool] += u64::from(units));
                    let last = from.last().expect("units").0;
                    reached.fetch_max(last as u64, Ordering::SeqCst);
                    let left = available(&pools(&service)[0]);
                    assert!(left[..last].iter().all(|&units| units == 0), "{from:?} while {left:?} were there");
                }
            },
            || {},
        );
        let total: Vec<u64> = (0..3).map(|pool| got.iter().map(|got| got[pool]).sum()).collect();
        // Each thread ended when it was refused up to four units.
        assert!(total[..2] == stock[..2] && total[2] + 3 >= stock[2], "{total:?}");
        service.stop();
    }
}

/// Each thread holds at most `QUOTA` units and asks for no more, and the pool that comes first has `QUOTA` units for each
/// thread. So whenever a thread that holds nothing asks, the first pool has enough for it: a unit from another pool is a
/// breach of the order. Slices are far smaller than a request, and refused requests keep all bounds tight.
fn first_pool_serves_all(item: ItemSettings, first: usize, asking: &Extras<'_>) {
    let service = Running::start(16, &a_sale(vec![item]));
    let done = AtomicBool::new(false);
    together(
        |number| {
            let mut dice = Dice::new(900 + number);
            let _done = Finally(|| done.store(true, Ordering::Release));
            for _ in 0..5000 {
                let customer = format!("customer-{number}-{}", dice.below(64));
                let units = 1 + dice.below(QUOTA.into()) as u32;
                let made = service.ask(OPENING, &line(&customer, "tv", units, asking)).expect("there is enough");
                assert_eq!(drawn_from(&service, &made.reservation), [(first, units)], "the order was broken");
                if dice.one_in(4) {
                    let too_many = service.ask(OPENING, &line(&customer, "tv", 1_000_000, asking));
                    assert!(matches!(too_many, Err(Refusal::Short(_))));
                }
                service.release(OPENING, made.reservation.id, None).value.unwrap();
            }
        },
        || {},
    );
    service.stop();
}

const QUOTA: u32 = 6;
const ENOUGH: u64 = QUOTA as u64 * THREADS;

#[test]
fn while_units_come_and_go_the_first_pool_serves_whom_it_can() {
    let item = ask::item_of("tv", vec![ask::pool("first", ENOUGH), ask::pool("second", 1000)]);
    first_pool_serves_all(item, 0, &Extras::default());
}

#[test]
fn the_cheapest_pool_serves_whom_it_can() {
    let costs = |cost| Some(BTreeMap::from([("eu".to_owned(), cost)]));
    let pools = vec![
        ask::pool("anywhere", 1000),
        PoolSettings { costs: costs(700), ..ask::pool("dallas", 1000) },
        PoolSettings { costs: costs(90), ..ask::pool("berlin", ENOUGH) },
    ];
    let item = ItemSettings { sourcing: Some(Sourcing::Cheapest), ..ask::item_of("tv", pools) };
    let mut from_europe = Extras::default();
    from_europe.attributes.region = Some("eu".into());
    first_pool_serves_all(item, 2, &from_europe);
}

#[test]
fn a_members_pool_serves_members_first() {
    let members = PoolSettings { tiers: Some(vec!["gold".into()]), ..ask::pool("members", ENOUGH) };
    let item = ask::item_of("tv", vec![members, ask::pool("all", 1000)]);
    first_pool_serves_all(item, 0, &ask::tier("gold"));
}

/// Only one thread moves units, and the others are always refused. So it knows which of the two pools has more.
#[test]
fn the_fullest_pool_comes_first_where_that_is_asked() {
    let both = vec![ask::pool("berlin", 30), ask::pool("dallas", 30)];
    let item = ItemSettings { sourcing: Some(Sourcing::MostAvailable), ..ask::item_of("tv", both) };
    let service = Running::start(8, &a_sale(vec![item]));
    let done = AtomicBool::new(false);
    together(
        |number| {
            if number > 0 {
                while !done.load(Ordering::Acquire) {
                    let refused = service.reserve(OPENING, &format!("customer-{number}"), &[("tv", 1000)]);
                    assert!(matches!(refused, Err(Refusal::Short(_))));
                }
                return;
            }
            let _done = Finally(|| done.store(true, Ordering::Release));
            let (mut dice, mut held, mut left) = (Dice::new(12), Vec::new(), [30_u64, 30]);
            for turn in 0..3000 {
                if left.iter().sum::<u64>() < 6 || dice.one_in(3) && !held.is_empty() {
                    let (id, from): (_, Vec<(usize, u32)>) = held.swap_remove(dice.below(held.len() as u64) as usize);
                    service.release(OPENING, id, None).value.unwrap();
                    from.iter().for_each(|&(pool, units)| left[pool] += u64::from(units));
                    continue;
                }
                let (customer, units) = (format!("customer-{}", turn % 100), 1 + dice.below(6) as u32);
                let fullest = usize::from(left[1] > left[0]);
                let made = service.ask(OPENING, &ask::reserve("drop", &customer, &[("tv", units)])).expect("enough");
                let from = drawn_from(&service, &made.reservation);
                assert_eq!(from[0], (fullest, left[fullest].min(units.into()) as u32), "of {left:?}");
                from.iter().for_each(|&(pool, units)| left[pool] -= u64::from(units));
                held.push((made.reservation.id, from));
            }
        },
        || {},
    );
    service.stop();
}

/// A pool that is empty, and one with plenty on each shard. And the hold of one unit of the first.
fn first_pool_is_gone() -> (Harness, Vec<String>, ReservationId) {
    let mut harness = Harness::with_shards(8);
    harness.put(&a_sale(vec![
        ask::item_of("tv", vec![ask::pool("first", 5), ask::pool("second", 1_000_000)]),
        ask::item_of("phone", vec![ask::pool("first", 1), ask::pool("second", 2), ask::pool("third", 0)]),
    ]));
    let customers = a_customer_on_each_of(8);
    let single = harness.hold(&customers[3], "tv", 1).id;
    harness.hold(&customers[3], "tv", 5);
    harness.hold(&customers[5], "phone", 3);
    // Finds out that no limit of memory is near.
    harness.tick();
    (harness, customers, single)
}

/// How many took all locks meanwhile.
fn gathers(engine: &Engine, run: impl FnOnce()) -> u64 {
    let before = engine.gathers_total();
    run();
    engine.gathers_total() - before
}

#[test]
fn nobody_takes_all_locks_for_a_pool_that_is_empty() {
    let (mut harness, customers, _) = first_pool_is_gone();
    let engine = harness.engine.clone();
    let partly = Extras { allow_partial: true, ..Extras::default() };
    let taken = gathers(&engine, || {
        for turn in 0..4000 {
            let customer = &customers[turn % 8];
            let made = harness.reserve(&line(customer, "tv", 1 + turn as u32 % 3, &Extras::default())).unwrap();
            assert_eq!(drawn_from(&engine, &made.reservation)[0].0, 1);
            if turn % 5 == 0 {
                harness.release(made.reservation.id).unwrap();
                harness.reserve(&line(customer, "tv", 2, &partly)).expect("there is plenty");
            }
        }
    });
    assert_eq!(taken, 0, "reserves from the later pool");

    // The first refusal finds out how much there is of each pool, and no other needs to.
    assert!(harness.reserve(&line(&customers[0], "phone", 1, &Extras::default())).is_err());
    let refused = gathers(&engine, || {
        for turn in 0..4000 {
            let extras = if turn % 2 == 0 { &partly } else { &Extras::default() };
            let refused = harness.reserve(&line(&customers[turn % 8], "phone", 1 + turn as u32 % 4, extras));
            assert!(matches!(refused, Err(Refusal::Short(_))), "{refused:?}");
        }
    });
    assert_eq!(refused, 0, "refusals of an item with several pools");
}

#[test]
fn a_batch_takes_no_locks_for_a_pool_that_is_empty() {
    let (mut harness, ..) = first_pool_is_gone();
    let engine = harness.engine.clone();
    let names: Vec<String> = (0..4000).map(|number| format!("customer-{number}")).collect();
    let asked: Vec<_> = names.iter().map(|name| ask::reserve("drop", name, &[("tv", 1)])).collect();
    let taken = gathers(&engine, || {
        let mut bulk = engine.bulk(asked.len());
        asked.iter().for_each(|asked| bulk.push(harness.now, asked, harness.draw()));
        while bulk.decide_some(harness.now, 64) {}
        for _ in &asked {
            let made = bulk.next_outcome().expect("it was decided before its turn").value.unwrap();
            assert_eq!(drawn_from(&engine, &made.reservation), [(1, 1)]);
        }
    });
    assert_eq!(taken, 0);
}

/// A unit that came back is taken, by whoever is on whatever shard; after that nobody needs all locks again.
#[test]
fn a_unit_that_comes_back_to_an_earlier_pool_is_the_next_one_to_go() {
    let (mut harness, customers, mut of_first) = first_pool_is_gone();
    let engine = harness.engine.clone();
    for turn in 0..200 {
        harness.release(of_first).unwrap();
        for (customer, pool) in [(turn, 0), (turn + 3, 1), (turn + 4, 1)] {
            let made = harness.reserve(&line(&customers[customer % 8], "tv", 1, &Extras::default())).unwrap();
            assert_eq!(drawn_from(&engine, &made.reservation), [(pool, 1)]);
            if pool == 0 {
                of_first = made.reservation.id;
            }
        }
        let taken = gathers(&engine, || {
            for customer in &customers {
                harness.reserve(&line(customer, "tv", 1, &Extras::default())).unwrap();
            }
        });
        assert_eq!(taken, 0);
    }
}
