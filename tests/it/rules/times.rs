//! Phases that begin and pools that are shared at a time: exact to the millisecond at the decision, without a timer.

use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster::sale::{
    command::Extras,
    outcome::Refusal,
    settings::{Phase, PoolSettings, SaleSettings},
    time::Timestamp,
};

use super::{a_sale, drawn_from, line};
use crate::support::{
    OPENING, ask,
    dice::Dice,
    harness::Harness,
    threads::{Running, together},
};

const MEMBERS: u64 = 1_000_000;
const BEGINS: Timestamp = OPENING.plus_millis(500);

fn gold() -> Option<Vec<String>> {
    Some(vec!["gold".into()])
}

/// Threads ask at times around `BEGINS`, each by a clock that is a little off. A shard's time never goes back, so a decision may
/// be later than its request: the reservation's id says when it was made. Gold customers may buy at any time, others from
/// `BEGINS` on. `refusal`: whether it is the one that must come before.
fn exact_to_the_millisecond(sale: &SaleSettings, refusal: impl Fn(&Refusal) -> bool + Sync) {
    let service = Running::start(8, sale);
    let clock = AtomicU64::new(0);
    let everybody = Extras::default();
    let [too_early, in_time] = together(
        |number| {
            let (mut dice, mut too_early, mut in_time) = (Dice::new(500 + number), 0_u64, 0_u64);
            for turn in 0..8000_u64 {
                // From 100 ms before to 100 ms after.
                let passed = clock.fetch_add(1, Ordering::Relaxed) / 160;
                let now = OPENING.plus_millis(400 + passed + dice.below(4));
                let customer = format!("customer-{}", dice.below(200));
                match service.ask(now, &line(&customer, "tv", 1, &everybody)) {
                    Ok(made) => {
                        let made_at = made.reservation.id.created_at();
                        assert!(made_at >= BEGINS, "a unit was had at {made_at}, before {BEGINS}");
                        in_time += 1;
                    }
                    Err(refused) => {
                        assert!(now < BEGINS, "refused at {now}, from {BEGINS} on: {refused:?}");
                        assert!(refusal(&refused), "{refused:?}");
                        too_early += 1;
                    }
                }
                if turn % 3 == 0 {
                    service.ask(now, &line(&customer, "tv", 1, &ask::tier("gold"))).expect("gold may buy at any time");
                }
            }
            [too_early, in_time]
        },
        || {},
    )
    .into_iter()
    .fold([0, 0], |sum, one| [sum[0] + one[0], sum[1] + one[1]]);
    assert!(too_early > 1000 && in_time > 1000, "{too_early} refused, {in_time} served");
    service.stop();
}

#[test]
fn a_set_aside_is_shared_at_its_time() {
    let members = PoolSettings { tiers: gold(), shared_at: Some(BEGINS), ..ask::pool("members", MEMBERS) };
    let sale = a_sale(vec![ask::item_of("tv", vec![ask::pool("open", 0), members])]);
    exact_to_the_millisecond(&sale, |refusal| matches!(refusal, Refusal::Short(lines) if lines[0].available == 0));
}

#[test]
fn a_phase_begins_at_its_time() {
    let early = Phase { tiers: gold(), ..ask::phase("early", OPENING) };
    let sale = ask::sale("drop", &[("tv", MEMBERS)]);
    let sale = SaleSettings { phases: vec![early, ask::phase("all", BEGINS)], ..sale };
    exact_to_the_millisecond(&sale, |refusal| *refusal == Refusal::SaleNotStarted { opens_at: BEGINS });
}

/// In a batch, too: what is planned before the time and decided after it is decided by the time of the decision.
#[test]
fn a_batch_is_judged_by_the_time_of_each_decision() {
    let members = PoolSettings { tiers: gold(), shared_at: Some(BEGINS), ..ask::pool("members", 1000) };
    let mut harness = Harness::with_shards(4);
    harness.put(&a_sale(vec![ask::item_of("tv", vec![ask::pool("open", 500), members])]));
    let engine = harness.engine.clone();
    let names: Vec<String> = (0..100).map(|number| format!("customer-{number}")).collect();
    for (planned, decided) in [(-1, -1), (-1, 0), (0, 0)] {
        let asked: Vec<_> = names.iter().map(|name| ask::reserve("drop", name, &[("tv", 1)])).collect();
        let mut bulk = engine.bulk(asked.len());
        let entropies: Vec<u64> = asked.iter().map(|_| harness.draw()).collect();
        asked.iter().zip(&entropies).for_each(|(asked, &drawn)| bulk.push(BEGINS.shifted(planned), asked, drawn));
        while bulk.decide_some(BEGINS.shifted(decided), 8) {}
        for (asked, &drawn) in asked.iter().zip(&entropies) {
            let answer = bulk.next_outcome().unwrap_or_else(|| engine.reserve(BEGINS.shifted(decided), asked, drawn));
            let made = answer.value.expect("there is enough");
            assert_eq!(drawn_from(&engine, &made.reservation), [(0, 1)], "planned at {planned}, decided at {decided}");
        }
    }
    // The open pool has 200 units left, and who asks for 300 gets them from the instant of sharing on.
    let asked = ask::reserve("drop", "zoe", &[("tv", 300)]);
    let mut bulk = engine.bulk(1);
    bulk.push(BEGINS.shifted(-1), &asked, harness.draw());
    while bulk.decide_some(BEGINS, 8) {}
    let drawn = harness.draw();
    let answer = bulk.next_outcome().unwrap_or_else(|| engine.reserve(BEGINS, &asked, drawn));
    assert_eq!(drawn_from(&engine, &answer.value.unwrap().reservation), [(0, 200), (1, 100)]);
}
