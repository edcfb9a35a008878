//! Where users of other systems were hurt, and that it cannot happen here: one test for each public report.
//!
//! Those about HTTP, metrics and the kernel stand elsewhere.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use doorbuster::{
    config::Config,
    engine::Settings,
    http::json::{parse, requests::ReserveBody},
    journal::files::EIO,
    privacy::CustomerIds,
    sale::{
        outcome::{Refusal, ReservedLine, State},
        settings::SaleSettings,
    },
    service::api_limits,
};

use crate::support::{OPENING, ask, dice::scramble, harness::Harness, short};

fn harness(stock: u64) -> Harness {
    let mut harness = Harness::with_shards(8);
    harness.put(&ask::sale("drop", &[("tv", stock)]));
    harness
}

/// Pain 1: Availability is checked first and taken later, without one lock over both: two buyers pass the check for the same
/// unit. (medusa #16569)
#[test]
fn concurrent_buyers_do_not_oversubscribe() {
    const THREADS: u64 = 8;
    for stock in [1, 7] {
        let harness = harness(stock);
        let (engine, drawn, start) = (&harness.engine, AtomicU64::new(0), Barrier::new(THREADS as usize));
        let held: u64 = thread::scope(|scope| {
            let buyers: Vec<_> = (0..THREADS)
                .map(|number| {
                    let (drawn, start) = (&drawn, &start);
                    scope.spawn(move || {
                        start.wait();
                        let mut held = 0;
                        for turn in 0..50 {
                            let customer = format!("customer-{number}-{turn}");
                            let asked = ask::reserve("drop", &customer, &[("tv", 1)]);
                            let entropy = scramble(drawn.fetch_add(1, Ordering::Relaxed));
                            held += u64::from(engine.reserve(OPENING, &asked, entropy).value.is_ok());
                        }
                        held
                    })
                })
                .collect();
            buyers.into_iter().map(|buyer| buyer.join().unwrap()).sum()
        });
        assert_eq!(held, stock, "every unit is sold, and none twice");
        assert_eq!(harness.counts("tv"), (0, stock, 0));
    }
}

/// Pain 2: The same SKU stands in one request twice, each line passes the check by itself, and together they oversell.
/// (medusa #16502)
#[test]
fn the_same_item_twice_in_one_request_does_not_oversell() {
    let mut harness = harness(3);
    let limits = api_limits(&Config::default());
    let mut send = |body: &str| {
        let body: ReserveBody<'_> = parse::parse(body.as_bytes(), &limits).unwrap();
        let checked = body.check(&limits, &CustomerIds::Plain).unwrap();
        harness.reserve(&checked.asked("drop", None))
    };
    let two_and_two = r#"{"customer": "ann", "lines": [{"sku": "tv", "quantity": 2}, {"sku": "tv", "quantity": 2}]}"#;
    let two_and_one = r#"{"customer": "ann", "lines": [{"sku": "tv", "quantity": 2}, {"sku": "tv", "quantity": 1}]}"#;
    assert_eq!(send(two_and_two), Err(short("tv", 4, 3)));
    let held = send(two_and_one).unwrap().reservation;
    assert_eq!((held.lines.len(), held.lines[0].amounts.held), (1, 3));
    assert_eq!(harness.counts("tv"), (0, 3, 0));
}

/// Pain 3: Counts go negative, and nothing repairs them. (medusa #12401)
#[test]
fn counts_never_go_negative() {
    let mut harness = harness(5);
    let held = harness.hold("ann", "tv", 4);
    assert_eq!(harness.adjust(&ask::adjust("drop", "tv", -2)).unwrap_err(), short("tv", 2, 1), "four are held");
    harness.adjust(&ask::adjust("drop", "tv", -1)).unwrap();
    assert_eq!(harness.counts("tv"), (0, 4, 0));
    harness.confirm(held.id).unwrap();
    assert_eq!(harness.adjust(&ask::adjust("drop", "tv", -1)).unwrap_err(), short("tv", 1, 0), "four are sold");
    harness.restart();
    assert_eq!(harness.counts("tv"), (0, 0, 4));
}

/// Pain 4: Stock is deducted ahead of the check for duplicates, so that impatient clicks burn it. (springboot-seckill #35)
#[test]
fn duplicate_clicks_burn_no_stock() {
    let mut harness = harness(10);
    let mut click = ask::reserve("drop", "ann", &[("tv", 2)]);
    click.key = Some("checkout-1");
    let first = harness.reserve(&click).unwrap();
    for _ in 0..20 {
        let again = harness.reserve(&click).unwrap();
        assert!(again.replayed_of.is_some());
        assert_eq!(again.reservation, first.reservation);
    }
    assert_eq!(harness.counts("tv"), (8, 2, 0));
    harness.restart();
    assert!(harness.reserve(&click).unwrap().replayed_of.is_some());
    assert_eq!(harness.counts("tv"), (8, 2, 0));
}

/// Pain 4, without a key: clicks that a limit refuses burn nothing either.
#[test]
fn refused_clicks_burn_no_stock() {
    let mut harness = Harness::with_shards(8);
    harness.put(&SaleSettings { customer_limit: Some(1), ..ask::sale("drop", &[("tv", 10)]) });
    harness.hold("ann", "tv", 1);
    for _ in 0..20 {
        let refused = harness.reserve(&ask::reserve("drop", "ann", &[("tv", 1)]));
        assert!(matches!(refused, Err(Refusal::CustomerLimitExceeded { limit: 1, already: 1, .. })));
    }
    assert_eq!(harness.counts("tv"), (9, 1, 0));
}

/// Pain 5: A "sold out" flag, set once in memory, stays after stock has come back. (springboot-seckill #22)
#[test]
fn a_sold_out_flag_does_not_stick() {
    let mut harness = harness(1);
    let sold_out = |harness: &mut Harness| {
        for customer in ["bob", "cleo", "dan", "eve"] {
            assert_eq!(harness.reserve(&ask::reserve("drop", customer, &[("tv", 1)])), Err(short("tv", 1, 0)));
        }
    };
    let first = harness.hold("ann", "tv", 1);
    sold_out(&mut harness);
    harness.release(first.id).unwrap();
    harness.hold("bob", "tv", 1);
    sold_out(&mut harness);
    harness.wait_millis(300_100);
    harness.tick();
    let third = harness.hold("cleo", "tv", 1);
    sold_out(&mut harness);
    harness.adjust(&ask::adjust("drop", "tv", 1)).unwrap();
    harness.hold("dan", "tv", 1);
    sold_out(&mut harness);
    harness.wait_seconds(300);
    harness.look(third.id).unwrap();
    harness.hold("eve", "tv", 1);
}

/// Pain 6: Calls before the start burn the stock that the cache was warmed with. (newbee-mall #97)
#[test]
fn calls_before_the_start_burn_no_stock() {
    let mut harness = Harness::with_shards(8);
    let opens_at = OPENING.plus_seconds(60);
    harness.put(&SaleSettings { opens_at, ..ask::sale("drop", &[("tv", 3)]) });
    for customer in ["ann", "bob", "cleo", "dan"] {
        let early = harness.reserve(&ask::reserve("drop", customer, &[("tv", 1)]));
        assert_eq!(early, Err(Refusal::SaleNotStarted { opens_at }));
    }
    assert_eq!(harness.counts("tv"), (3, 0, 0));
    harness.now = opens_at;
    harness.hold("ann", "tv", 3);
}

/// Pain 6, the other half: after an exception, cache and database part ways. Here a failed write ends the service, and what
/// starts again is what the journal says.
#[test]
fn memory_and_disk_do_not_part_ways_after_a_failure() {
    let mut harness = harness(3);
    harness.hold("ann", "tv", 1);
    harness.commit();
    harness.storage.fail_write(1, EIO);
    harness.hold("bob", "tv", 1);
    harness.committer.step().expect_err("the disk failed");
    assert!(harness.engine.durability().failed(), "from here on no answer is given");
    harness.kill();
    assert_eq!(harness.counts("tv"), (2, 1, 0));
}

/// Pain 7: Payment lands after the hold has expired, and the order is shipped although its units were sold to somebody else.
/// (codingXiaxw/seckill #41, bn-api #1189)
#[test]
fn payment_after_expiry_does_not_sell_a_unit_twice() {
    let mut harness = harness(1);
    let late = harness.hold("ann", "tv", 1);
    harness.now = late.expires_at;
    let refused = harness.confirm(late.id).unwrap_err();
    let Refusal::ReservationExpired(shown) = refused else { panic!("{refused:?}") };
    assert_eq!((shown.state, shown.ended_at), (State::Expired, Some(late.expires_at)));
    let quick = harness.hold("bob", "tv", 1);
    harness.confirm(quick.id).unwrap();
    assert!(matches!(harness.confirm(late.id), Err(Refusal::ReservationExpired(_))));
    assert_eq!(harness.counts("tv"), (0, 0, 1));
}

/// Pain 8: Expired holds vanish without a trace. (alf.io #531)
#[test]
fn expired_holds_stay_known() {
    let mut harness = harness(1);
    let mut asked = ask::reserve("drop", "ann", &[("tv", 1)]);
    asked.reference = Some("cart-7");
    let held = harness.reserve(&asked).unwrap().reservation;
    harness.now = held.expires_at.plus_millis(50);
    harness.tick();
    harness.restart();
    harness.wait_seconds(12 * 3600);
    harness.tick();
    let found = harness.look(held.id).unwrap();
    assert_eq!((found.state, found.ended_at), (State::Expired, Some(held.expires_at.plus_millis(50))));
    let line = ReservedLine { amounts: State::Expired.amounts(1), ..held.lines[0] };
    assert_eq!((found.reference.as_deref(), found.lines.as_slice()), (Some("cart-7"), &[line][..]));
}

/// Pain 11: A shopper who comes back to the checkout is told "sold out" because of their own hold on the last unit.
/// (woocommerce #67354, spree #14040)
#[test]
fn a_shopper_is_not_blocked_by_their_own_hold() {
    let mut harness = harness(1);
    let mut asked = ask::reserve("drop", "ann", &[("tv", 1)]);
    asked.key = Some("cart-1");
    let held = harness.reserve(&asked).unwrap().reservation;
    assert_eq!(harness.reserve(&ask::reserve("drop", "bob", &[("tv", 1)])), Err(short("tv", 1, 0)));
    assert_eq!(harness.reserve(&asked).unwrap().reservation, held, "the same checkout again");
    harness.release(held.id).unwrap();
    asked.key = Some("cart-2");
    let again = harness.reserve(&asked).unwrap().reservation;
    harness.confirm(again.id).unwrap();
}

/// Pain 13: Releasing twice puts the units back twice. (mollie/magento2 #500)
#[test]
fn a_double_release_does_not_inflate_stock() {
    let mut harness = harness(5);
    let held = harness.hold("ann", "tv", 2);
    let released = harness.release(held.id).unwrap();
    harness.wait_seconds(1);
    assert_eq!(harness.release(held.id), Ok(released.clone()), "the same answer");
    harness.restart();
    assert_eq!(harness.release(held.id), Ok(released));
    assert_eq!(harness.counts("tv"), (5, 0, 0));

    let expired = harness.hold("bob", "tv", 2);
    harness.wait_seconds(301);
    assert!(matches!(harness.release(expired.id), Err(Refusal::ReservationExpired(_))));
    harness.tick();
    assert_eq!(harness.counts("tv"), (5, 0, 0));
    let bought = harness.hold("cleo", "tv", 2);
    harness.confirm(bought.id).unwrap();
    assert!(matches!(harness.release(bought.id), Err(Refusal::AlreadyConfirmed(_))));
    assert_eq!(harness.counts("tv"), (3, 0, 2));
}

/// Pain 14: What is shown as available ignores holds (saleor #10877), or still counts expired ones (tigerbeetle #2118).
#[test]
fn availability_counts_live_holds_and_no_expired_ones() {
    let mut harness = harness(5);
    let shown =
        |harness: &Harness| harness.engine.availability(harness.now, "drop", None).value.unwrap().counts[0].available;
    let held = harness.hold("ann", "tv", 2);
    assert_eq!(shown(&harness), 3);
    harness.now = held.expires_at.plus_millis(80);
    harness.tick();
    assert_eq!(shown(&harness), 5, "back within 100 ms");
    assert_eq!(harness.engine.levels().live_holds, 0);
    harness.hold("bob", "tv", 5);
}

/// Pain 15: A cap meant for each person is only held against each order. (lunar #463)
#[test]
fn a_cap_per_person_is_not_a_cap_per_order() {
    let settings = Settings { shards: 8, retention_millis: 60_000, ..Settings::default() };
    let mut harness = Harness::new(settings);
    harness.put(&SaleSettings { customer_limit: Some(2), ..ask::sale("drop", &[("tv", 10)]) });
    for already in 0..2 {
        let bought = harness.hold("ann", "tv", 1);
        harness.confirm(bought.id).unwrap();
        // Long enough for the reservation itself to be forgotten.
        harness.wait_seconds(120 + already);
        harness.tick();
        harness.restart();
    }
    let third = harness.reserve(&ask::reserve("drop", "ann", &[("tv", 1)]));
    assert_eq!(third, Err(Refusal::CustomerLimitExceeded { sku: "tv".into(), limit: 2, already: 2 }));
    harness.hold("bob", "tv", 2);
}

/// Pain 16: The hold time in the settings is ignored. (woocommerce #45245)
#[test]
fn the_hold_time_in_the_settings_is_the_hold_time() {
    for hold_seconds in [1, 90, 86_400] {
        let mut harness = Harness::with_shards(2);
        harness.put(&SaleSettings {
            hold_seconds,
            closes_at: OPENING.plus_seconds(90 * 3600),
            ..ask::sale("drop", &[("tv", 2)])
        });
        let held = harness.hold("ann", "tv", 1);
        assert_eq!(held.expires_at, OPENING.plus_seconds(hold_seconds));
        let mut asked = ask::reserve("drop", "bob", &[("tv", 1)]);
        asked.hold_seconds = Some(7);
        assert_eq!(harness.reserve(&asked).unwrap().reservation.expires_at, OPENING.plus_seconds(7));

        harness.now = OPENING.plus_millis(hold_seconds * 1000 - 1);
        harness.tick();
        assert_eq!(harness.look(held.id).unwrap().state, State::Held, "not a millisecond early");
        harness.wait_millis(1);
        assert_eq!(harness.look(held.id).unwrap().state, State::Expired);
    }
}
