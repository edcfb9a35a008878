//! Confirms that come late: they take what is free, never what another customer has, and each one that is refused leaves an event.

use std::collections::BTreeSet;

use doorbuster::sale::{
    audit::Actor,
    event::RefusedConfirm,
    ids::ReservationId,
    outcome::{Refusal, State},
    settings::{PoolSettings, SaleSettings},
};

use super::{change, confirm_some, refused, reserve};
use crate::support::{
    OPENING, a_customer_on_each_of, ask, counts,
    dice::Dice,
    harness::Harness,
    threads::{THREADS, together},
};

fn a_sale(items: &[(&str, u64)]) -> SaleSettings {
    SaleSettings { hold_seconds: 10, late_confirm_seconds: 600, ..ask::sale("drop", items) }
}

/// Payments of holds that expired race new customers for the last units. Everybody asks for one unit, and is refused only if there
/// is none; nothing comes back. So as many get one as there are, and who holds one keeps it.
#[test]
fn late_payments_and_new_customers_share_what_is_there() {
    const STOCK: u64 = 30;
    for round in 0..40_u64 {
        let mut harness = Harness::with_shards(8);
        harness.put(&a_sale(&[("tv", STOCK)]));
        let lost: Vec<ReservationId> = (0..STOCK).map(|n| harness.hold(&format!("late-{n}"), "tv", 1).id).collect();
        harness.wait_seconds(30);
        assert_eq!(harness.tick().expired as u64, STOCK);
        let now = harness.now;
        let engine = &harness.engine;
        let outcomes = together(
            |number| {
                let mut dice = Dice::new(round * THREADS + number);
                let (mut late, mut refused, mut held) = (0_u64, BTreeSet::new(), Vec::new());
                for turn in 0..STOCK {
                    if number % 2 == 0 {
                        let id = lost[((turn * 7 + number * 15 + round) % STOCK) as usize];
                        if number == 2 && dice.one_in(2) {
                            continue;
                        }
                        match engine.confirm(now, id, Some(&*format!("payment of {id}"))).value {
                            Ok(shown) => {
                                assert!(shown.late && shown.state == State::Confirmed, "{shown:?}");
                                late += 1;
                            }
                            Err(Refusal::ExpiredAndShort { reservation, short }) => {
                                assert_eq!(reservation.state, State::Expired);
                                assert_eq!((short[0].requested, short[0].available), (1, 0));
                                refused.insert(id);
                            }
                            Err(other) => panic!("{other:?}"),
                        }
                    } else {
                        let customer = format!("new-{number}-{turn}");
                        match reserve(engine, now, &ask::reserve("drop", &customer, &[("tv", 1)])) {
                            Ok(made) => held.push(made.reservation.id),
                            Err(Refusal::Short(short)) => assert_eq!(short[0].available, 0),
                            Err(other) => panic!("{other:?}"),
                        }
                    }
                }
                (late, refused, held)
            },
            || {
                let (available, held, confirmed) = counts(engine, "drop", "tv");
                assert!(available <= STOCK && held + confirmed <= STOCK);
            },
        );
        // Two threads may have been told of one that was confirmed: it is counted once.
        let confirmed = lost.iter().filter(|id| harness.look(**id).unwrap().state == State::Confirmed).count();
        let held: Vec<ReservationId> = outcomes.iter().flat_map(|outcome| outcome.2.clone()).collect();
        assert!(outcomes.iter().map(|outcome| outcome.0).sum::<u64>() >= confirmed as u64);
        assert_eq!(confirmed + held.len(), STOCK as usize, "round {round}: each unit is somebody's");
        assert_eq!(harness.counts("tv"), (0, held.len() as u64, confirmed as u64));
        for id in &held {
            assert_eq!(harness.look(*id).unwrap().state, State::Held, "nobody took it");
        }
        harness.commit();
        super::assert_in_order(&harness);
        let told: BTreeSet<ReservationId> = outcomes.iter().flat_map(|outcome| outcome.1.clone()).collect();
        let noted = super::refused(&harness);
        assert_eq!(noted.len(), told.len(), "one event for each payment, however often it was refused");
        for (id, reference, cause) in noted {
            assert!(told.contains(&id) && cause == RefusedConfirm::Stock, "{id}: {cause:?}");
            assert_eq!(reference, Some(format!("payment of {id}")));
        }
    }
}

/// A unit that came back to any shard is found for a late payment.
#[test]
fn a_late_payment_finds_its_units_wherever_they_are() {
    let mut harness = Harness::with_shards(16);
    harness.put(&a_sale(&[("tv", 5)]));
    for round in 0..20 {
        let customer = format!("customer-{round}");
        let late = harness.hold(&customer, "tv", 5).id;
        harness.wait_seconds(30);
        harness.tick();
        let other = harness.hold(&format!("other-{round}"), "tv", 1).id;
        let Err(Refusal::ExpiredAndShort { short, .. }) = harness.confirm(late) else { panic!("one unit is lacking") };
        assert_eq!((short[0].requested, short[0].available, short[0].held), (5, 4, 1));
        harness.release(other).unwrap();
        let shown = harness.confirm(late).unwrap();
        assert!(shown.late && shown.units_of(shown.lines[0].item) == 5);
        harness.engine.cancel(harness.now, late, &super::of_all(true)).value.unwrap();
    }
    assert_eq!(harness.counts("tv"), (5, 0, 0));
}

/// Events of one shard that are read before those of another one take no unit that the other returns later in the same batch.
#[test]
fn a_part_that_is_confirmed_late_is_read_after_the_return_of_its_units() {
    let mut harness = Harness::with_shards(2);
    harness.put(&a_sale(&[("tv", 3)]));
    let customers = a_customer_on_each_of(2);
    let late = harness.hold(&customers[0], "tv", 3).id;
    harness.wait_seconds(30);
    harness.tick();
    harness.hold(&customers[1], "tv", 1);
    let other = harness.hold(&customers[1], "tv", 2).id;
    harness.release(other).unwrap();
    let shown = confirm_some(&harness.engine, harness.now, late, &[("tv", 2)], "payment").unwrap();
    assert_eq!((shown.late, shown.lines[0].amounts.confirmed), (true, 2));
    harness.commit();
    super::assert_in_order(&harness);
}

/// A part of it is enough, though all of it is not there.
#[test]
fn a_part_is_confirmed_late_with_units_of_other_shards() {
    let mut harness = Harness::with_shards(16);
    harness.put(&a_sale(&[("tv", 3)]));
    for (round, customer) in a_customer_on_each_of(16).iter().enumerate() {
        let late = harness.hold(customer, "tv", 3).id;
        harness.wait_seconds(30);
        harness.tick();
        let other = harness.hold(&format!("other-{round}"), "tv", 1).id;
        let now = harness.now;
        let refusal = confirm_some(&harness.engine, now, late, &[("tv", 3)], "payment").unwrap_err();
        assert!(matches!(refusal, Refusal::ExpiredAndShort { .. }), "{refusal:?}");
        // The first payment was refused for good.
        let shown = confirm_some(&harness.engine, now, late, &[("tv", 2)], "another").unwrap();
        assert_eq!((shown.lines[0].amounts.confirmed, shown.lines[0].amounts.returned), (2, 1));
        harness.release(other).unwrap();
        harness.engine.cancel(now, late, &super::of_all(true)).value.unwrap();
    }
    harness.commit();
    super::assert_in_order(&harness);
}

/// Units of one pool that were held at two prices are lines of their own. Together they need what the pool has.
#[test]
fn units_of_one_pool_at_two_prices_are_counted_together() {
    let mut harness = Harness::with_shards(1);
    let at = |price| {
        let mut settings = a_sale(&[("tv", 3)]);
        settings.items[0].price = ask::cents(price);
        settings
    };
    harness.put(&at(100));
    let id = harness.hold("ann", "tv", 2).id;
    harness.put(&at(120));
    let shown = change(&harness, id, &[("tv", 3)]).unwrap();
    let prices: Vec<_> = shown.lines.iter().map(|line| (line.amounts.held, line.price)).collect();
    assert_eq!(prices, [(2, ask::cents(100)), (1, ask::cents(120))]);
    harness.wait_seconds(30);
    harness.tick();
    harness.hold("bob", "tv", 1);
    for _ in 0..2 {
        let Err(Refusal::ExpiredAndShort { short, .. }) = harness.confirm(id) else { panic!("bob has one of them") };
        assert_eq!((short[0].requested, short[0].available), (3, 2));
        assert_eq!(harness.counts("tv"), (2, 1, 0));
        harness.commit();
        harness.kill_and_start_with(4);
    }
    harness.engine.adjust(OPENING, Actor::Anybody, &ask::adjust("drop", "tv", 1)).value.unwrap();
    let shown = harness.confirm(id).unwrap();
    let prices: Vec<_> = shown.lines.iter().map(|line| (line.amounts.confirmed, line.price)).collect();
    assert_eq!(prices, [(2, ask::cents(100)), (1, ask::cents(120))], "the prices that were locked");
    assert_eq!(harness.counts("tv"), (0, 1, 3));
}

/// Who used the limit otherwise meanwhile is refused, with an event, and may pay late once there is room again.
#[test]
fn a_late_payment_keeps_the_customers_limit() {
    let mut harness = Harness::with_shards(3);
    harness.put(&SaleSettings { customer_limit: Some(2), ..a_sale(&[("tv", 10)]) });
    let late = harness.hold("ann", "tv", 2).id;
    harness.wait_seconds(30);
    harness.tick();
    let other = harness.hold("ann", "tv", 1).id;
    for shards in [2, 5] {
        let refusal = harness.engine.confirm(harness.now, late, Some("payment")).value.unwrap_err();
        assert_eq!(refusal, Refusal::CustomerLimitExceeded { sku: "tv".into(), limit: 2, already: 1 });
        harness.commit();
        harness.kill_and_start_with(shards);
    }
    let reference = Some("payment".to_owned());
    assert_eq!(refused(&harness), [(late, reference, RefusedConfirm::Limit)], "once, also over a restart");
    harness.release(other).unwrap();
    assert!(harness.confirm(late).unwrap().late);
    let over = harness.reserve(&ask::reserve("drop", "ann", &[("tv", 1)])).unwrap_err();
    assert_eq!(over, Refusal::CustomerLimitExceeded { sku: "tv".into(), limit: 2, already: 2 });
    // What was cancelled counts no more.
    harness.engine.cancel(harness.now, late, &super::of_all(true)).value.unwrap();
    harness.hold("ann", "tv", 2);
}

/// The last moment is `late_confirm_seconds` after the end, and neither a pause nor the sale's end nor a restart matter.
#[test]
fn a_late_payment_is_taken_up_to_its_last_moment_whatever_became_of_the_sale() {
    for (wait, is_in_time) in [(610_000, true), (610_001, false)] {
        for turn in ["none", "pause", "close", "restart", "snapshot"] {
            let mut harness = Harness::with_shards(2);
            let step = |id, units, price| PoolSettings { price: ask::cents(price), ..ask::pool(id, units) };
            let item = ask::item_of("tv", vec![step("early", 2, 100), step("late", 9, 150)]);
            harness.put(&SaleSettings { items: vec![item], ..a_sale(&[]) });
            let made = harness.hold("ann", "tv", 3);
            harness.wait_millis(wait);
            harness.tick();
            match turn {
                "pause" => harness.engine.pause(harness.now, Actor::Anybody, "drop").value.unwrap(),
                "close" => harness.engine.close(harness.now, Actor::Anybody, "drop").value.unwrap(),
                "restart" => harness.restart(),
                "snapshot" => {
                    let taken = harness.snapshot();
                    harness.prune(taken);
                    harness.kill_and_start_with(5);
                }
                _ => {}
            }
            let outcome = harness.confirm(made.id);
            if !is_in_time {
                assert!(matches!(outcome, Err(Refusal::ReservationExpired(_))), "{turn}: {outcome:?}");
                continue;
            }
            let shown = outcome.unwrap_or_else(|refusal| panic!("{turn}: {refusal:?}"));
            let at = |lines: &[doorbuster::sale::outcome::ReservedLine]| -> Vec<_> {
                lines.iter().map(|line| (line.pool, line.price, line.amounts.sum())).collect()
            };
            assert_eq!(at(&shown.lines), at(&made.lines), "{turn}: the same pools at the locked prices");
            assert!(shown.late && shown.state == State::Confirmed);
            harness.restart();
            assert_eq!(harness.look(made.id).unwrap(), shown, "{turn}: over a restart");
        }
    }
}
