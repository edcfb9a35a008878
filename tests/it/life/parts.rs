//! Parts of a reservation that are confirmed and cancelled: each unit returns to its pool.

use doorbuster::sale::{
    command::Cancel,
    ids::ReservationId,
    outcome::{Refusal, Reservation, State},
    settings::{ItemSettings, PoolSettings, SaleSettings},
};

use super::{confirm_some, lines, of_all};
use crate::support::{OPENING, ask, harness::Harness};

fn a_ladder() -> SaleSettings {
    let step = |id, units, price| PoolSettings { price: ask::cents(price), ..ask::pool(id, units) };
    let tv = ask::item_of("tv", vec![step("a", 2, 100), step("b", 2, 120), step("c", 8, 150)]);
    let lamp = ItemSettings { split: Some(false), ..ask::item_of("lamp", vec![ask::pool("x", 2), ask::pool("y", 5)]) };
    SaleSettings { items: vec![tv, lamp], late_confirm_seconds: 600, ..ask::sale("drop", &[]) }
}

/// Available, held and confirmed units of each pool of both items.
fn pools(harness: &Harness) -> [Vec<(u64, u64, u64)>; 2] {
    let pools = harness.engine.sale(OPENING, "drop").value.unwrap().pools;
    [0, 1].map(|item| pools[item].iter().map(|it| (it.available, it.held, it.confirmed)).collect())
}

fn cancel_some(
    harness: &Harness,
    id: ReservationId,
    part: &[(&str, u32)],
    restock: bool,
    key: &str,
) -> Result<Reservation, Refusal> {
    let asked = Cancel { lines: Some(lines(part).into()), reason: None, restock, key: Some(key) };
    harness.engine.cancel(harness.now, id, &asked).value.map(|made| made.reservation)
}

/// In time and late; with a restart between any two steps or none.
#[test]
fn units_that_are_not_confirmed_and_units_that_are_cancelled_go_back_to_their_pools() {
    for late in [false, true] {
        for restarts in [false, true] {
            let mut harness = Harness::with_shards(4);
            harness.put(&a_ladder());
            let again = |harness: &mut Harness| {
                if restarts {
                    let digest = {
                        harness.snapshot();
                        harness.commit();
                        harness.engine.digest()
                    };
                    harness.kill_and_start_with(3);
                    assert_eq!(harness.engine.digest(), digest);
                }
            };
            let asked = ask::reserve("drop", "ann", &[("tv", 5), ("lamp", 3)]);
            let id = harness.reserve(&asked).unwrap().reservation.id;
            assert_eq!(pools(&harness), [vec![(0, 2, 0), (0, 2, 0), (7, 1, 0)], vec![(2, 0, 0), (2, 3, 0)]]);
            again(&mut harness);
            if late {
                harness.wait_seconds(301);
                harness.tick();
                assert_eq!(pools(&harness), [vec![(2, 0, 0), (2, 0, 0), (8, 0, 0)], vec![(2, 0, 0), (5, 0, 0)]]);
            }
            again(&mut harness);
            let shown = confirm_some(&harness.engine, harness.now, id, &[("tv", 3), ("lamp", 2)], "order").unwrap();
            assert_eq!((shown.state, shown.late), (State::Confirmed, late));
            let confirmed = [vec![(0, 0, 2), (1, 0, 1), (8, 0, 0)], vec![(2, 0, 0), (3, 0, 2)]];
            assert_eq!(pools(&harness), confirmed, "late: {late}");
            again(&mut harness);
            // Repeated with the same lines, in any order: the same. With others, or without: refused.
            assert_eq!(
                confirm_some(&harness.engine, harness.now, id, &[("lamp", 2), ("tv", 3)], "order").unwrap(),
                shown
            );
            for other in [&[("tv", 3)][..], &[("tv", 2), ("lamp", 2)], &[("tv", 5), ("lamp", 3)]] {
                let refusal = confirm_some(&harness.engine, harness.now, id, other, "order").unwrap_err();
                assert_eq!(refusal, Refusal::AlreadyConfirmed(Box::new(shown.clone())), "{other:?}");
            }
            let refusal = harness.engine.confirm(harness.now, id, Some("order")).value.unwrap_err();
            assert_eq!(refusal, Refusal::AlreadyConfirmed(Box::new(shown.clone())));
            again(&mut harness);
            // The last step's units go back first.
            let shown = cancel_some(&harness, id, &[("tv", 2)], true, "one").unwrap();
            assert_eq!(shown.state, State::Confirmed);
            let cancelled = [vec![(1, 0, 1), (2, 0, 0), (8, 0, 0)], vec![(2, 0, 0), (3, 0, 2)]];
            assert_eq!(pools(&harness), cancelled);
            again(&mut harness);
            assert_eq!(cancel_some(&harness, id, &[("tv", 2)], true, "one").unwrap(), shown, "the key is known");
            let refusal = cancel_some(&harness, id, &[("tv", 1)], true, "one").unwrap_err();
            assert_eq!(refusal, Refusal::IdempotencyKeyReused);
            assert!(matches!(cancel_some(&harness, id, &[("tv", 2)], true, "two"), Err(Refusal::Invalid(_))));
            // Of the lamps one leaves the sale.
            cancel_some(&harness, id, &[("lamp", 1)], false, "three").unwrap();
            let left = [vec![(1, 0, 1), (2, 0, 0), (8, 0, 0)], vec![(2, 0, 0), (3, 0, 1)]];
            assert_eq!(pools(&harness), left);
            again(&mut harness);
            // A confirm still asks what was confirmed first.
            assert!(confirm_some(&harness.engine, harness.now, id, &[("tv", 3), ("lamp", 2)], "order").is_ok());
            let shown = harness.engine.cancel(harness.now, id, &of_all(true)).value.unwrap().reservation;
            assert_eq!(shown.state, State::Cancelled);
            let gone = [vec![(2, 0, 0), (2, 0, 0), (8, 0, 0)], vec![(2, 0, 0), (4, 0, 0)]];
            assert_eq!(pools(&harness), gone);
            again(&mut harness);
            let repeated = harness.engine.cancel(harness.now, id, &of_all(true)).value.unwrap().reservation;
            assert_eq!(repeated, shown);
            assert_eq!(cancel_some(&harness, id, &[("tv", 2)], true, "one").unwrap(), shown, "a known key repeats");
            let refusal = cancel_some(&harness, id, &[("tv", 1)], true, "four").unwrap_err();
            assert_eq!(refusal, Refusal::AlreadyCancelled(Box::new(shown)));
        }
    }
}
