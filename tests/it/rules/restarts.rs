//! Starts with other numbers of shards: pools, their order and their prices are the same.

use doorbuster::sale::{
    audit::Actor,
    command::{Extras, Transfer},
    ids::ReservationId,
    outcome::{Refusal, Reservation},
    settings::{ItemSettings, PoolSettings, Sourcing},
};

use super::{a_sale, available, drawn_from, line, pools};
use crate::support::{ask, dice::Dice, harness::Harness};

const SHARDS: [usize; 7] = [1, 64, 2, 8, 3, 16, 5];

fn reserve(harness: &mut Harness, customer: &str, units: u32, extras: &Extras<'_>) -> Result<Reservation, Refusal> {
    harness.reserve(&line(customer, "tv", units, extras)).map(|made| made.reservation)
}

/// A ladder of which one unit is sold with each number of shards, and of which units come back to their steps afterwards.
#[test]
fn a_ladder_goes_on_where_it_was() {
    let step = |id, units, price| PoolSettings { price: ask::cents(price), ..ask::pool(id, units) };
    let mut harness = Harness::with_shards(4);
    harness.put(&a_sale(vec![ask::item_of("tv", vec![step("a", 3, 100), step("b", 3, 120), step("c", 9, 150)])]));
    let mut held = Vec::new();
    for (turn, shards) in SHARDS.into_iter().enumerate() {
        harness.commit();
        let digest = harness.engine.digest();
        if turn % 3 == 1 {
            let taken = harness.snapshot();
            harness.prune(taken);
        }
        harness.kill_and_start_with(shards);
        assert_eq!(harness.engine.digest(), digest);
        let made = reserve(&mut harness, &format!("customer-{turn}"), 1, &Extras::default()).unwrap();
        assert_eq!(drawn_from(&harness.engine, &made), [(turn / 3, 1)]);
        assert_eq!(made.lines[0].price, ask::cents([100, 120, 150][turn / 3]));
        held.push(made);
    }
    for (back, shards) in SHARDS.into_iter().enumerate() {
        harness.commit();
        harness.kill_and_start_with(shards);
        let known = harness.look(held[back].id).unwrap();
        assert_eq!(known, held[back], "it has its pools and prices");
        harness.release(known.id).unwrap();
        let returned: u64 = available(&pools(&harness.engine)[0]).iter().sum();
        assert_eq!(returned, 8 + back as u64 + 1);
        assert_eq!(pools(&harness.engine)[0][back / 3].available, if back / 3 == 2 { 9 } else { back as u64 % 3 + 1 });
    }
}

/// Random life of an item whose pools are drawn from in each of the ways, with a restart every now and then. What a reserve
/// gets after a start with one number of shards is what it gets after a start with another.
#[test]
fn the_number_of_shards_decides_nothing() {
    let members = PoolSettings { tiers: Some(vec!["gold".into()]), ..ask::pool("members", 12) };
    let (berlin, dallas) = (ask::pool("berlin", 15), ask::pool("dallas", 9));
    for (sourcing, split) in [(Sourcing::InOrder, true), (Sourcing::InOrder, false), (Sourcing::MostAvailable, true)] {
        let all = vec![members.clone(), berlin.clone(), dallas.clone()];
        let item = ItemSettings { sourcing: Some(sourcing), split: Some(split), ..ask::item_of("tv", all) };
        let mut harnesses = [1, 3, 8].map(|shards| {
            let mut harness = Harness::with_shards(shards);
            harness.put(&a_sale(vec![item.clone()]));
            harness
        });
        let (mut dice, mut held) = (Dice::new(77), Vec::new());
        for turn in 0..1500_usize {
            let (customer, units) = (format!("customer-{}", dice.below(40)), 1 + dice.below(9) as u32);
            let extras = if dice.one_in(2) { ask::tier("gold") } else { Extras::default() };
            let extras = Extras { allow_partial: dice.one_in(4), ..extras };
            let (chance, which) = (dice.below(8), dice.throw() as usize);
            let restart = dice.one_in(40);
            let outcomes = harnesses.iter_mut().enumerate().map(|(at, harness)| {
                if restart {
                    harness.commit();
                    harness.kill_and_start_with(SHARDS[(turn + harness.settings().shards) % SHARDS.len()]);
                }
                match chance {
                    0..=3 => reserve(harness, &customer, units, &extras).map_err(Some),
                    4 => {
                        let [from, to] = [["berlin", "dallas"], ["dallas", "members"]][which % 2];
                        let (reason, reference, key) = (None, None, None);
                        let asked = Transfer { sale: "drop", sku: "tv", from, to, units: 2, reason, reference, key };
                        let _ = harness.engine.transfer(harness.now, Actor::Anybody, &asked).value;
                        Err(None)
                    }
                    _ if held.is_empty() => Err(None),
                    _ => {
                        let ids: &Vec<ReservationId> = &held[which % held.len()];
                        // Again, for some.
                        let _ = harness.release(ids[at]);
                        Err(None)
                    }
                }
            });
            let outcomes: Vec<_> = outcomes.collect();
            let first = outcomes[0].as_ref().map(|made| drawn_from(&harnesses[0].engine, made));
            for (harness, outcome) in harnesses.iter().zip(&outcomes) {
                let drawn = outcome.as_ref().map(|made| drawn_from(&harness.engine, made));
                assert_eq!(drawn, first, "with {} shards", harness.settings().shards);
                assert_eq!(pools(&harness.engine), pools(&harnesses[0].engine));
            }
            let ids: Result<Vec<_>, _> = outcomes.iter().map(|made| made.as_ref().map(|made| made.id)).collect();
            held.extend(ids.ok());
        }
    }
}
