//! Reserves that are decided together, shard by shard, have the outcomes of reserves that are asked one after the other.

use doorbuster::{
    engine::{Answer, Made, Settings},
    sale::{audit::Actor, command::Reserve, outcome::Refusal, settings::SaleSettings},
};
use proptest::prelude::*;

use crate::support::{ask, counts, harness::Harness};

const SHARDS: usize = 3;
const CUSTOMERS: [&str; 8] = ["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"];
const ITEMS: [&str; 4] = ["tv", "mug", "gone", "car"];
const KEYS: [&str; 3] = ["k1", "k2", "k3"];

#[derive(Debug, Clone)]
struct Asked {
    customer: usize,
    lines: Vec<(usize, u32)>,
    key: Option<usize>,
    hold_seconds: Option<u32>,
}

impl Asked {
    fn reserve(&self) -> Reserve<'static> {
        let mut lines: Vec<(&str, u32)> = self.lines.iter().map(|&(item, units)| (ITEMS[item], units)).collect();
        lines.dedup_by_key(|line| line.0);
        let key = self.key.map(|key| KEYS[key]);
        Reserve { hold_seconds: self.hold_seconds, key, ..ask::reserve("drop", CUSTOMERS[self.customer], &lines) }
    }
}

fn some_asked() -> impl Strategy<Value = Asked> {
    let line = (prop_oneof![6 => 0..2_usize, 1 => 2..4_usize], 1..4_u32);
    let customer = 0..CUSTOMERS.len();
    let key = prop::option::weighted(0.3, 0..KEYS.len());
    (customer, prop::collection::vec(line, 1..3), key, prop::option::weighted(0.1, 60..62_u32)).prop_map(
        |(customer, mut lines, key, hold_seconds)| {
            lines.sort_unstable();
            Asked { customer, lines, key, hold_seconds }
        },
    )
}

/// "car" is no item of it.
fn a_sale(tv: u64, mug: u64) -> SaleSettings {
    let mut sale = ask::sale("drop", &[("tv", tv), ("mug", mug), ("gone", 0)]);
    sale.items[1].customer_limit = Some(4);
    sale
}

type Told = Answer<Result<Made, Refusal>>;

fn one_by_one(harness: &mut Harness, list: &[Asked]) -> Vec<Told> {
    let ask = |asked: &Asked| {
        let entropy = harness.draw();
        harness.engine.reserve(harness.now, &asked.reserve(), entropy)
    };
    list.iter().map(ask).collect()
}

/// The outcomes, and how many of them were known before their turn. `meanwhile`: done before the first is decided.
fn together(
    harness: &mut Harness,
    list: &[Asked],
    most: usize,
    meanwhile: impl FnOnce(&mut Harness),
) -> (Vec<Told>, usize) {
    let engine = harness.engine.clone();
    let entropies: Vec<u64> = list.iter().map(|_| harness.draw()).collect();
    let mut bulk = engine.bulk(list.len());
    for (asked, &entropy) in list.iter().zip(&entropies) {
        bulk.push(harness.now, &asked.reserve(), entropy);
    }
    meanwhile(harness);
    while bulk.decide_some(harness.now, most) {}
    let mut foreseen = 0;
    let mut tell = |(asked, &entropy): (&Asked, &u64)| match bulk.next_outcome() {
        None => engine.reserve(harness.now, &asked.reserve(), entropy),
        Some(answer) => {
            foreseen += 1;
            answer
        }
    };
    let told = list.iter().zip(&entropies).map(&mut tell).collect();
    (told, foreseen)
}

fn two_harnesses(settings: &Settings, sale: &SaleSettings) -> (Harness, Harness) {
    let open = || {
        let mut harness = Harness::new(settings.clone());
        harness.put(sale);
        harness.commit();
        harness.tick();
        harness
    };
    (open(), open())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is scarce, limited, repeated or wrong, the answers are the same to the bit, and so is what is left.
    #[test]
    fn outcomes_are_those_of_asking_one_by_one(
        lists in prop::collection::vec(prop::collection::vec(some_asked(), 1..40), 1..4),
        tv in prop_oneof![0..60_u64, 300..400_u64],
        mug in prop_oneof![0..60_u64, 300..400_u64],
        most in 1..9_usize,
        almost_full in any::<bool>(),
    ) {
        let settings = Settings { shards: SHARDS, ..Settings::default() };
        let settings = if almost_full { Settings { reservations_max: 20, ..settings } } else { settings };
        let (mut single, mut joint) = two_harnesses(&settings, &a_sale(tv, mug));
        for list in &lists {
            let expected = one_by_one(&mut single, list);
            let (told, _) = together(&mut joint, list, most, |_| {});
            for (place, (told, expected)) in told.iter().zip(&expected).enumerate() {
                prop_assert_eq!(told, expected, "place {} of {:?}", place, list);
            }
            for sku in ["tv", "mug", "gone"] {
                prop_assert_eq!(counts(&joint.engine, "drop", sku), counts(&single.engine, "drop", sku));
            }
            for harness in [&mut single, &mut joint] {
                harness.commit();
                harness.wait_seconds(1);
            }
        }
        joint.kill();
        for sku in ["tv", "mug", "gone"] {
            prop_assert_eq!(counts(&joint.engine, "drop", sku), counts(&single.engine, "drop", sku));
        }
    }
}

/// As many as there are customers, one "tv" each.
fn one_each() -> Vec<Asked> {
    (0..CUSTOMERS.len())
        .map(|customer| Asked { customer, lines: vec![(0, 1)], key: None, hold_seconds: None })
        .collect()
}

#[test]
fn where_nothing_is_scarce_all_are_known_before_their_turn() {
    let settings = Settings { shards: SHARDS, ..Settings::default() };
    let (mut single, mut joint) = two_harnesses(&settings, &a_sale(SHARDS as u64 * 8, 0));
    let expected = one_by_one(&mut single, &one_each());
    let (told, foreseen) = together(&mut joint, &one_each(), 100, |_| {});
    assert_eq!(told, expected);
    assert!(told.iter().all(|answer| answer.value.is_ok()));
    // Each shard has eight units and eight are asked in all: the first of each shard is known, and then seven are left.
    assert_eq!(foreseen, SHARDS);

    let (_, mut rich) = two_harnesses(&settings, &a_sale(1000, 0));
    assert_eq!(together(&mut rich, &one_each(), 100, |_| {}).1, CUSTOMERS.len());
}

#[test]
fn what_changes_meanwhile_is_heeded() {
    let settings = Settings { shards: SHARDS, ..Settings::default() };
    let (_, mut harness) = two_harnesses(&settings, &a_sale(1000, 0));
    let pause = |harness: &mut Harness| {
        harness.engine.pause(harness.now, Actor::Anybody, "drop").value.unwrap();
    };
    let (told, foreseen) = together(&mut harness, &one_each(), 100, pause);
    assert_eq!(foreseen, 0);
    assert!(told.iter().all(|answer| answer.value == Err(Refusal::SalePaused)), "{told:?}");
}
