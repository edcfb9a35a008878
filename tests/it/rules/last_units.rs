//! Ladders, lines that may not be split and partial fill, down to the last unit.

use doorbuster::sale::{
    command::Extras,
    ids::ReservationId,
    outcome::{Refusal, ReservedLine},
    settings::{ItemSettings, SaleSettings},
};

use super::{a_sale, available, drawn_from, line, pools};
use crate::support::{
    OPENING, ask,
    dice::Dice,
    threads::{Running, THREADS, together},
};

/// Steps of a ladder: units and the price of one.
const LADDER: [(u64, u64); 3] = [(7, 9_900), (11, 12_900), (23, 14_900)];

fn a_ladder() -> SaleSettings {
    let steps = LADDER.iter().enumerate().map(|(step, &(units, price))| {
        let pool = ask::pool(&format!("step-{step}"), units);
        doorbuster::sale::settings::PoolSettings { price: ask::cents(price), ..pool }
    });
    SaleSettings { hold_seconds: 1, ..a_sale(vec![ask::item_of("tv", steps.collect())]) }
}

/// No step gives more units than it has, a unit has the price of its step, and a unit that comes back by whatever way goes
/// back to its step.
#[test]
fn a_ladder_sells_each_step_at_its_price() {
    let service = Running::start(8, &a_ladder());
    let pool_at = service.catalogue().sale("drop").unwrap().items[0].pools.clone();
    let step_of = |line: &ReservedLine| {
        let step = pool_at.iter().position(|pool| *pool == line.pool).expect("a step of the ladder");
        assert_eq!(line.price, ask::cents(LADDER[step].1), "the price of step {step}");
        step
    };
    let confirmed = together(
        |number| {
            let mut dice = Dice::new(number);
            let (mut confirmed, mut held) = ([0_u64; 3], Vec::<(ReservationId, Vec<(usize, u32)>)>::new());
            for turn in 0..6000_u64 {
                let now = OPENING.plus_millis(turn / 4);
                let customer = format!("customer-{}", dice.below(60));
                let units = 1 + dice.below(9) as u32;
                let asked = ask::reserve("drop", &customer, &[("tv", units)]);
                if let Ok(made) = service.ask(now, &asked) {
                    let lines = &made.reservation.lines;
                    assert_eq!(lines.iter().map(|line| line.amounts.held).sum::<u32>(), units, "all of it or nothing");
                    let steps: Vec<_> = lines.iter().map(|line| (step_of(line), line.amounts.held)).collect();
                    assert!(steps.windows(2).all(|pair| pair[0].0 < pair[1].0), "{steps:?} goes up, a step at a time");
                    held.push((made.reservation.id, steps));
                }
                if held.len() > 2 || dice.one_in(3) {
                    let Some((id, steps)) = held.pop() else { continue };
                    if dice.one_in(400) && service.confirm(now, id, None).value.is_ok() {
                        steps.iter().for_each(|&(step, units)| confirmed[step] += u64::from(units));
                    } else {
                        // Overdue holds are expired by this.
                        let _ = service.release(now, id, None);
                    }
                }
                if dice.one_in(50) {
                    service.tick(now);
                }
            }
            confirmed
        },
        || {
            for (counts, (units, _)) in pools(&service)[0].iter().zip(LADDER) {
                assert_eq!(counts.stock(), units, "a step has the units that it has");
            }
        },
    );
    service.tick(OPENING.plus_seconds(3600));
    for (step, counts) in pools(&service)[0].iter().enumerate() {
        let sold: u64 = confirmed.iter().map(|by_thread| by_thread[step]).sum();
        assert_eq!((counts.available, counts.confirmed), (LADDER[step].0 - sold, sold), "step {step} at the end");
    }
    assert!(confirmed.iter().flatten().sum::<u64>() > 0, "something was sold");
    service.stop();
}

/// Each thread has at most one reservation at a time, of at most `QUOTA` units from one pool, and there is a pool of `QUOTA`
/// units for each thread. So while a thread that has nothing asks, one pool at least is whole: it is never refused.
#[test]
fn a_line_that_may_not_be_split_comes_from_one_pool_and_finds_it() {
    const QUOTA: u32 = 5;
    let ids: Vec<String> = (0..THREADS).map(|number| format!("shelf-{number}")).collect();
    let shelves = ids.iter().map(|id| ask::pool(id, QUOTA.into())).collect();
    let item = ItemSettings { split: Some(false), ..ask::item_of("tv", shelves) };
    let service = Running::start(16, &a_sale(vec![item]));
    let later = together(
        |number| {
            let (mut dice, mut later) = (Dice::new(40 + number), 0_u64);
            for _ in 0..6000 {
                let customer = format!("customer-{number}-{}", dice.below(64));
                let units = 1 + dice.below(QUOTA.into()) as u32;
                let asked = ask::reserve("drop", &customer, &[("tv", units)]);
                let made = service.ask(OPENING, &asked).expect("one pool is whole");
                let from = drawn_from(&service, &made.reservation);
                assert!(matches!(from[..], [(_, all)] if all == units), "{units} units came from {from:?}");
                later += u64::from(from[0].0 > 0);
                let too_many = service.reserve(OPENING, &customer, &[("tv", QUOTA + 1)]);
                let Err(Refusal::Short(lines)) = too_many else { panic!("no pool has so many: {too_many:?}") };
                assert!(lines[0].available <= QUOTA.into(), "{lines:?}");
                service.release(OPENING, made.reservation.id, None).value.unwrap();
            }
            later
        },
        || {},
    );
    assert!(later.iter().sum::<u64>() > 0, "later pools were drawn from, too");
    assert_eq!(available(&pools(&service)[0]), vec![u64::from(QUOTA); THREADS as usize]);
    service.stop();
}

/// Nothing comes back here. So once a request got less than it asked for, there is nothing left for ever: no other one gets
/// anything afterwards, and in the end all units are somebody's.
#[test]
fn partial_fill_gives_out_the_last_unit_and_no_unit_twice() {
    const STOCK: [u64; 2] = [37, 20];
    let partly = Extras { allow_partial: true, ..Extras::default() };
    for round in 0..60 {
        let both = STOCK.iter().enumerate().map(|(at, &units)| ask::pool(&format!("pool-{at}"), units)).collect();
        let service = Running::start(8, &a_sale(vec![ask::item_of("tv", both)]));
        let got = together(
            |number| {
                let mut dice = Dice::new(round * THREADS + number);
                let (mut got, mut short) = ([0_u64; 2], 0_u64);
                loop {
                    let customer = format!("customer-{}", dice.below(500));
                    let units = 2 + dice.below(4) as u32;
                    match service.ask(OPENING, &line(&customer, "tv", units, &partly)) {
                        Ok(made) => {
                            let from = drawn_from(&service, &made.reservation);
                            let granted: u32 = from.iter().map(|(_, units)| units).sum();
                            from.iter().for_each(|&(pool, units)| got[pool] += u64::from(units));
                            assert!((1..=units).contains(&granted), "{granted} of {units}");
                            assert_eq!(made.reservation.short.is_empty(), granted == units);
                            if let [asked] = &made.reservation.short[..] {
                                short += 1;
                                assert_eq!(asked.units, units);
                            }
                        }
                        Err(Refusal::Short(lines)) => {
                            assert_eq!(lines[0].available, 0, "who asks for part of it gets what there is");
                            return (got, short);
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                }
            },
            || {},
        );
        for (pool, stock) in STOCK.into_iter().enumerate() {
            assert_eq!(got.iter().map(|(got, _)| got[pool]).sum::<u64>(), stock, "pool {pool}");
        }
        assert!(got.iter().map(|(_, short)| short).sum::<u64>() <= 1, "one at most gets the rest: {got:?}");
        service.stop();
    }
}
