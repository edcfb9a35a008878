//! Changes of holds: in one step, as if the old units were free, and a refused one changes nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster::sale::{
    outcome::{Refusal, State},
    settings::{ItemSettings, PoolSettings, SaleSettings},
};

use super::{change, confirm_some, lines};
use crate::support::{
    OPENING, a_customer_on_each_of, ask,
    dice::Dice,
    harness::Harness,
    threads::{LOOKS, THREADS, TURNS_MOST, together},
};

/// Each thread has a hold of one unit and changes it from one item to the other and back. Five units in all: both items are sold out
/// nearly always. At no instant is there a hold with both units or with none, whatever shard the last free unit is on.
#[test]
fn holds_swap_units_of_two_sold_out_items() {
    let mut harness = Harness::with_shards(8);
    harness.put(&ask::sale("drop", &[("tv", 2), ("lamp", 3)]));
    let customers = a_customer_on_each_of(8);
    let mine: Vec<_> = (0..THREADS as usize)
        .map(|number| harness.hold(&customers[2 * number], if number < 2 { "tv" } else { "lamp" }, 1).id)
        .collect();
    let (looks, engine) = (AtomicU64::new(0), &harness.engine);
    let swapped = together(
        |number| {
            let (mut dice, mut swapped, mut refused) = (Dice::new(number), 0_u64, 0_u64);
            let mut has = if number < 2 { "tv" } else { "lamp" };
            let id = mine[number as usize];
            for turn in 0_u64.. {
                if turn >= 4000 && looks.load(Ordering::Relaxed) >= LOOKS || turn >= TURNS_MOST {
                    break;
                }
                let wants = *dice.pick(&["tv", "lamp"]);
                match engine.change(OPENING, id, &lines(&[(wants, 1)])).value {
                    Ok(shown) => {
                        assert_eq!((shown.state, shown.lines.len(), shown.lines[0].amounts.held), (State::Held, 1, 1));
                        swapped += u64::from(wants != has);
                        has = wants;
                    }
                    Err(Refusal::Short(short)) => {
                        assert!(wants != has && short[0].available == 0 && short[0].sku == wants, "{short:?}");
                        refused += 1;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            let shown = engine.look(OPENING, id).value.unwrap();
            assert_eq!(engine.catalogue().sku(shown.lines[0].item), has, "a refusal changes nothing");
            (swapped, refused)
        },
        || {
            looks.fetch_add(1, Ordering::Relaxed);
            let view = engine.sale(OPENING, "drop").value.unwrap();
            let sum = |of: fn(&doorbuster::engine::Counts) -> u64| view.counts.iter().map(of).sum::<u64>();
            assert_eq!((sum(|counts| counts.held), sum(|counts| counts.available)), (THREADS, 1));
        },
    );
    let (swaps, refusals) = swapped.iter().fold((0, 0), |sum, told| (sum.0 + told.0, sum.1 + told.1));
    assert!(swaps > 0 && refusals > 0, "{swaps} swaps, {refusals} refusals");
}

/// All units of an item are in one hold: it may have fewer, and all of them again, and never more, on any number of shards.
#[test]
fn a_hold_grows_by_all_that_is_free_and_not_by_more() {
    for shards in [1, 3, 8] {
        let mut harness = Harness::with_shards(shards);
        harness.put(&ask::sale("drop", &[("tv", 9), ("lamp", 1)]));
        let id = harness.hold("ann", "tv", 4).id;
        harness.hold("bob", "lamp", 1);
        for (units, available) in [(9, None), (10, Some(9)), (2, None), (9, None), (1, None), (12, Some(9))] {
            let outcome = change(&harness, id, &[("tv", units)]);
            match (outcome, available) {
                (Ok(shown), None) => assert_eq!(shown.units_of(shown.lines[0].item), units),
                (Err(Refusal::Short(short)), Some(available)) => {
                    assert_eq!((short[0].requested, short[0].available), (units.into(), available));
                }
                (other, _) => panic!("to {units}: {other:?}"),
            }
        }
        // One of its lines cannot be: none is changed.
        let Err(Refusal::Short(short)) = change(&harness, id, &[("tv", 5), ("lamp", 1)]) else { panic!("bob has it") };
        assert_eq!((&*short[0].sku, short[0].available, short[0].held), ("lamp", 0, 1));
        assert_eq!((harness.counts("tv"), harness.counts("lamp")), ((8, 1, 0), (0, 1, 0)));
        harness.restart();
        assert_eq!(harness.look(id).unwrap().lines[0].amounts.held, 1);
    }
}

fn shelves(split: bool) -> SaleSettings {
    let shelf = |id, units, price| PoolSettings { price: ask::cents(price), ..ask::pool(id, units) };
    let item = ItemSettings {
        split: Some(split),
        ..ask::item_of("tv", vec![shelf("a", 2, 100), shelf("b", 3, 120), shelf("c", 6, 150)])
    };
    SaleSettings { items: vec![item], ..ask::sale("drop", &[]) }
}

fn of_pools(harness: &Harness) -> Vec<(u64, u64, u64)> {
    let pools = harness.engine.sale(OPENING, "drop").value.unwrap().pools[0].clone();
    pools.iter().map(|counts| (counts.available, counts.held, counts.confirmed)).collect()
}

/// Units that stay keep pool and price; the last ones taken go back first, each to its pool.
#[test]
fn a_changed_hold_keeps_its_steps_of_a_ladder() {
    let mut harness = Harness::with_shards(4);
    harness.put(&shelves(true));
    let id = harness.hold("ann", "tv", 3).id;
    assert_eq!(of_pools(&harness), [(0, 2, 0), (2, 1, 0), (6, 0, 0)]);
    let shown = change(&harness, id, &[("tv", 6)]).unwrap();
    let steps: Vec<_> = shown.lines.iter().map(|line| (line.price, line.amounts.held)).collect();
    assert_eq!(steps, [(ask::cents(100), 2), (ask::cents(120), 3), (ask::cents(150), 1)]);
    change(&harness, id, &[("tv", 4)]).unwrap();
    assert_eq!(of_pools(&harness), [(0, 2, 0), (1, 2, 0), (6, 0, 0)]);
    harness.restart();
    // A part of it is confirmed from the first step on, and the rest goes back to its steps.
    let shown = confirm_some(&harness.engine, harness.now, id, &[("tv", 3)], "order").unwrap();
    let steps: Vec<_> = shown.lines.iter().map(|line| (line.amounts.confirmed, line.amounts.returned)).collect();
    assert_eq!(steps, [(2, 0), (1, 1)]);
    assert_eq!(of_pools(&harness), [(0, 0, 2), (2, 0, 1), (6, 0, 0)]);
}

/// A line that may not be split moves as a whole to the first pool that can serve all of it, as if its units were free.
#[test]
fn a_line_that_may_not_be_split_moves_as_a_whole() {
    let mut harness = Harness::with_shards(4);
    harness.put(&shelves(false));
    let id = harness.hold("ann", "tv", 2).id;
    assert_eq!(of_pools(&harness), [(0, 2, 0), (3, 0, 0), (6, 0, 0)]);
    let shown = change(&harness, id, &[("tv", 3)]).unwrap();
    assert_eq!((shown.lines.len(), shown.lines[0].price), (1, ask::cents(120)));
    assert_eq!(of_pools(&harness), [(2, 0, 0), (0, 3, 0), (6, 0, 0)]);
    let Err(Refusal::Short(short)) = change(&harness, id, &[("tv", 7)]) else { panic!("no pool has seven") };
    assert_eq!((short[0].requested, short[0].available, short[0].held), (7, 6, 3));
    // Of the pool that it is in, its own units count.
    let other = harness.hold("bob", "tv", 5).id;
    assert_eq!(of_pools(&harness), [(2, 0, 0), (0, 3, 0), (1, 5, 0)]);
    change(&harness, other, &[("tv", 6)]).unwrap();
    assert_eq!(of_pools(&harness), [(2, 0, 0), (0, 3, 0), (0, 6, 0)]);
    assert!(matches!(change(&harness, id, &[("tv", 4)]), Err(Refusal::Short(_))));
    change(&harness, id, &[("tv", 1)]).unwrap();
    assert_eq!(of_pools(&harness), [(2, 0, 0), (2, 1, 0), (0, 6, 0)], "fewer stay where they are");
    let digest = {
        harness.commit();
        harness.engine.digest()
    };
    harness.kill_and_start_with(3);
    assert_eq!(harness.engine.digest(), digest);
}

/// A limit counts what the hold is to have, and not what it had.
#[test]
fn a_change_keeps_the_customers_limit() {
    let mut harness = Harness::with_shards(2);
    harness.put(&SaleSettings { customer_limit: Some(4), ..ask::sale("drop", &[("tv", 20)]) });
    let id = harness.hold("ann", "tv", 3).id;
    harness.hold("ann", "tv", 1);
    let refusal = change(&harness, id, &[("tv", 4)]).unwrap_err();
    assert_eq!(refusal, Refusal::CustomerLimitExceeded { sku: "tv".into(), limit: 4, already: 1 });
    change(&harness, id, &[("tv", 1)]).unwrap();
    change(&harness, id, &[("tv", 3)]).unwrap();
    harness.put(&SaleSettings { customer_limit: Some(1), ..ask::sale("drop", &[("tv", 20)]) });
    change(&harness, id, &[("tv", 2)]).expect("fewer are always allowed");
}

/// A hold that was changed is answered to its key as it was made.
#[test]
fn a_repeated_reserve_is_answered_as_at_first() {
    let mut harness = Harness::with_shards(2);
    harness.put(&ask::sale("drop", &[("tv", 3), ("lamp", 3)]));
    let asked = doorbuster::sale::command::Reserve {
        key: Some("key"),
        ..ask::reserve("drop", "ann", &[("tv", 2), ("lamp", 1)])
    };
    let first = harness.reserve(&asked).unwrap().reservation;
    change(&harness, first.id, &[("lamp", 3)]).unwrap();
    for restart in 0..3 {
        let again = harness.reserve(&asked).unwrap();
        assert_eq!(again.reservation, first, "after {restart} restarts");
        let now = harness.look(first.id).unwrap();
        assert_eq!((now.lines.len(), now.lines[0].amounts.held), (1, 3));
        if restart == 1 {
            harness.snapshot();
        }
        harness.restart();
    }
}
