//! Hold budgets: exact from many threads at once, and over restarts.

use doorbuster::sale::{
    ids::ReservationId,
    outcome::Refusal,
    settings::{HoldBudget, SaleSettings},
};

use super::reserve;
use crate::support::{
    OPENING, ask, counts,
    harness::Harness,
    threads::{THREADS, together},
};

fn a_sale(open_holds: Option<u32>, expired_per_hour: Option<u32>) -> SaleSettings {
    let hold_budget = Some(HoldBudget { open_holds, expired_per_hour });
    let closes_at = OPENING.plus_seconds(30 * 86_400);
    SaleSettings { hold_seconds: 60, closes_at, hold_budget, ..ask::sale("drop", &[("tv", 100)]) }
}

/// Four threads ask for one customer at once, three times each: what they were given, and what they were refused with.
fn rush(harness: &Harness) -> (Vec<ReservationId>, Vec<Refusal>) {
    let (engine, now) = (&harness.engine, harness.now);
    let told = together(
        |_| (0..3).map(|_| reserve(engine, now, &ask::reserve("drop", "ann", &[("tv", 1)]))).collect::<Vec<_>>(),
        || _ = counts(engine, "drop", "tv"),
    );
    let (mut given, mut refused) = (Vec::new(), Vec::new());
    for outcome in told.into_iter().flatten() {
        match outcome {
            Ok(made) => given.push(made.reservation.id),
            Err(refusal) => refused.push(refusal),
        }
    }
    assert_eq!((given.len() + refused.len()) as u64, 3 * THREADS);
    (given, refused)
}

/// `step`: 0 for a restart from the journal, 1 from a snapshot, else none.
fn start_again(harness: &mut Harness, step: u64) {
    match step % 3 {
        0 => harness.commit(),
        1 => {
            let taken = harness.snapshot();
            harness.prune(taken);
        }
        _ => return,
    }
    let shards = [3, 1, 8][(step % 3) as usize];
    harness.kill_and_start_with(shards);
}

#[test]
fn a_customer_never_has_more_open_holds_than_the_budget_and_gets_all_of_it() {
    for round in 0..30 {
        let mut harness = Harness::with_shards(8);
        harness.put(&a_sale(Some(5), None));
        let over = Refusal::TooManyHolds { limit: 5, open: 5 };
        let (held, refused) = rush(&harness);
        assert_eq!(held.len(), 5);
        assert!(refused.iter().all(|refusal| *refusal == over), "{refused:?}");
        start_again(&mut harness, round);
        assert_eq!(rush(&harness).0, [], "all of it is used, over a restart too");
        // One is released, one confirmed, one changed, which stays open.
        harness.release(held[0]).unwrap();
        harness.confirm(held[1]).unwrap();
        super::change(&harness, held[2], &[("tv", 2)]).unwrap();
        start_again(&mut harness, round + 1);
        let (more, refused) = rush(&harness);
        assert_eq!(more.len(), 2);
        assert!(refused.iter().all(|refusal| *refusal == over), "{refused:?}");
        // Others are not affected, and no limit of another sale is.
        harness.hold("bob", "tv", 1);
    }
}

/// Within an hour three holds may expire. The fourth reserve is told when it may come again, and to the second it may.
#[test]
fn whoever_lets_holds_expire_waits_until_they_are_an_hour_old() {
    for round in 0..9 {
        let mut harness = Harness::with_shards(4);
        harness.put(&SaleSettings { late_confirm_seconds: 6000, ..a_sale(None, Some(3)) });
        let opened = harness.now;
        let mut lost = Vec::new();
        for _ in 0..3 {
            lost.push(harness.hold("ann", "tv", 1).id);
            // It expires by being looked at, at its very end.
            harness.wait_seconds(60);
            harness.look(*lost.last().unwrap()).unwrap();
            start_again(&mut harness, round);
        }
        // The first that expired is the first to be forgotten.
        let retry_after_seconds = 3600 - 120;
        let (given, refused) = rush(&harness);
        assert_eq!(given, []);
        for refusal in refused {
            assert_eq!(refusal, Refusal::CoolingDown { limit: 3, expired: 3, retry_after_seconds });
        }
        harness.wait_millis(retry_after_seconds * 1000 - 1);
        harness.tick();
        start_again(&mut harness, round + 1);
        let refusal = harness.reserve(&ask::reserve("drop", "ann", &[("tv", 1)])).unwrap_err();
        assert_eq!(refusal, Refusal::CoolingDown { limit: 3, expired: 3, retry_after_seconds: 1 });
        harness.wait_millis(1);
        let id = harness.hold("ann", "tv", 1).id;
        assert_eq!(harness.now, opened.plus_seconds(60 + 3600));
        harness.release(id).unwrap();
    }
}

/// A payment that comes late after all: its hold did not expire for nothing, whether the count is kept or made anew.
#[test]
fn a_hold_that_is_paid_late_is_not_one_that_expired() {
    for round in 0..3 {
        let mut harness = Harness::with_shards(4);
        harness.put(&SaleSettings { late_confirm_seconds: 6000, ..a_sale(None, Some(2)) });
        let lost = [harness.hold("ann", "tv", 1).id, harness.hold("ann", "tv", 1).id];
        harness.wait_seconds(61);
        harness.tick();
        for id in lost {
            let refusal = harness.reserve(&ask::reserve("drop", "ann", &[("tv", 1)])).unwrap_err();
            assert!(matches!(refusal, Refusal::CoolingDown { limit: 2, expired: 2, .. }), "{refusal:?}");
            harness.confirm(id).unwrap();
            start_again(&mut harness, round + 2);
            let next = harness.hold("ann", "tv", 1);
            harness.wait_seconds(61);
            harness.look(next.id).unwrap();
        }
    }
}

/// A budget that is set when holds are there already counts them.
#[test]
fn a_new_budget_counts_what_there_is() {
    let mut harness = Harness::with_shards(4);
    harness.put(&SaleSettings { hold_budget: None, ..a_sale(None, None) });
    for _ in 0..7 {
        harness.hold("ann", "tv", 1);
    }
    harness.put(&a_sale(Some(4), None));
    let refusal = harness.reserve(&ask::reserve("drop", "ann", &[("tv", 1)])).unwrap_err();
    assert_eq!(refusal, Refusal::TooManyHolds { limit: 4, open: 7 });
    // Counted from here on, whatever the budget is in between.
    harness.put(&SaleSettings { hold_budget: None, ..a_sale(None, None) });
    harness.hold("ann", "tv", 1);
    harness.put(&a_sale(Some(4), None));
    let refusal = harness.reserve(&ask::reserve("drop", "ann", &[("tv", 1)])).unwrap_err();
    assert_eq!(refusal, Refusal::TooManyHolds { limit: 4, open: 8 });
}

/// Memory of counts is bounded: it leaves with the customer, and counts of long ago leave earlier.
#[test]
fn counts_leave_memory() {
    let mut harness = Harness::with_shards(1);
    harness.put(&a_sale(Some(4), Some(1000)));
    let before = harness.engine.memory_bytes();
    let mut most = 0;
    for _ in 0..100 {
        for number in 0..10 {
            harness.hold(&format!("customer-{number}"), "tv", 1);
        }
        harness.wait_seconds(1200);
        harness.tick();
        most = most.max(harness.engine.memory_bytes());
    }
    harness.wait_seconds(25 * 3600);
    harness.tick();
    let levels = harness.engine.levels();
    assert_eq!((levels.customers, levels.reservations), (0, 0));
    assert_eq!(harness.engine.memory_bytes(), before);
    assert!(most > before);
}
