//! Transfers and adjustments of several pools while customers reserve.

use std::sync::atomic::{AtomicI64, Ordering};

use doorbuster::sale::{
    audit::Actor,
    command::{Adjust, AdjustAll, Transfer},
    ids::ReservationId,
    outcome::Refusal,
};

use super::{a_sale, pools};
use crate::support::{
    OPENING, ask,
    dice::Dice,
    threads::{Running, together},
};

const IDS: [&str; 3] = ["berlin", "dallas", "osaka"];
const EACH: u64 = 40;

fn in_three_places() -> Running {
    Running::start(8, &a_sale(vec![ask::item_of("tv", IDS.iter().map(|id| ask::pool(id, EACH)).collect())]))
}

/// Two threads reserve and let go.
fn come_and_go(service: &Running, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut held: Vec<ReservationId> = Vec::new();
    for _ in 0..6000 {
        let (customer, units) = (format!("customer-{}", dice.below(100)), 1 + dice.below(12) as u32);
        held.extend(service.reserve(OPENING, &customer, &[("tv", units)]).ok());
        if held.len() > 3 || dice.one_in(2) {
            held.pop().into_iter().for_each(|id| drop(service.release(OPENING, id, None).value.unwrap()));
        }
    }
    held.into_iter().for_each(|id| drop(service.release(OPENING, id, None).value.unwrap()));
}

fn transfer(service: &Running, from: usize, to: usize, units: u64) -> bool {
    let (reason, reference, key) = (None, None, None);
    let asked = Transfer { sale: "drop", sku: "tv", from: IDS[from], to: IDS[to], units, reason, reference, key };
    match service.transfer(OPENING, Actor::Anybody, &asked).value {
        Ok(transfer) => {
            assert_eq!(transfer.made.units, units);
            true
        }
        Err(Refusal::Short(lines)) => {
            assert!(lines[0].available < units, "{lines:?}");
            false
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn adjust_all(service: &Running, changes: &[(usize, i64)]) -> bool {
    let change = |&(pool, delta): &(usize, i64)| Adjust { pool: Some(IDS[pool]), ..ask::adjust("drop", "tv", delta) };
    let asked = AdjustAll { sale: "drop", changes: changes.iter().map(change).collect(), key: None };
    match service.adjust_all(OPENING, Actor::Anybody, &asked).value {
        Ok(made) => {
            assert_eq!(made.len(), changes.len());
            true
        }
        Err(Refusal::Short(_)) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// Whatever moves, the item has the units that it had, at every instant.
#[test]
fn transfers_lose_no_unit_while_customers_reserve() {
    let service = in_three_places();
    let moved = [(); IDS.len()].map(|()| AtomicI64::new(0));
    together(
        |number| {
            if number < 2 {
                return come_and_go(&service, number);
            }
            let mut dice = Dice::new(number);
            for _ in 0..4000 {
                let (from, step, units) = (dice.below(3) as usize, 1 + dice.below(2) as usize, 1 + dice.below(20));
                let to = (from + step) % 3;
                if transfer(&service, from, to, units) {
                    moved[from].fetch_sub(units as i64, Ordering::Relaxed);
                    moved[to].fetch_add(units as i64, Ordering::Relaxed);
                }
            }
        },
        || {
            let stock: Vec<u64> = pools(&service)[0].iter().map(|counts| counts.stock()).collect();
            assert_eq!(stock.iter().sum::<u64>(), 3 * EACH, "{stock:?}");
        },
    );
    for (counts, moved) in pools(&service)[0].iter().zip(&moved) {
        let expected = EACH as i64 + moved.load(Ordering::Relaxed);
        assert_eq!((counts.available as i64, counts.held), (expected, 0), "each pool has what was moved to it");
    }
    assert!(moved.iter().any(|moved| moved.load(Ordering::Relaxed) != 0));
    service.stop();
}

/// Each list takes as many units out of one pool as it puts into another, or is impossible. So the item's stock never changes;
/// if it does for an instant, a list was carried out in part.
#[test]
fn adjustments_are_made_together_or_not_at_all() {
    let service = in_three_places();
    let refused = together(
        |number| {
            if number < 2 {
                come_and_go(&service, 20 + number);
                return 0;
            }
            let (mut dice, mut refused) = (Dice::new(30 + number), 0_u64);
            for _ in 0..3000 {
                let (from, units) = (dice.below(3) as usize, 1 + dice.below(9) as i64);
                let (to, third) = ((from + 1) % 3, (from + 2) % 3);
                let made = adjust_all(&service, &[(to, units), (from, -units - 1), (third, 1)]);
                refused += u64::from(!made);
                let made = adjust_all(&service, &[(to, 7), (third, -7), (from, -1_000_000)]);
                assert!(!made, "no pool has a million units");
            }
            refused
        },
        || {
            let stock: Vec<u64> = pools(&service)[0].iter().map(|counts| counts.stock()).collect();
            assert_eq!(stock.iter().sum::<u64>(), 3 * EACH, "a list was carried out in part: {stock:?}");
        },
    );
    assert!(refused.iter().sum::<u64>() > 0, "some lists ask for more than there is");
    let (available, held, confirmed) = service.counts("tv");
    assert_eq!((available, held, confirmed), (3 * EACH, 0, 0));
    service.stop();
}
