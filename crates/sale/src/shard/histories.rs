//! Reservations with every history that they may have: what a snapshot brings back is what was there, to the byte that is counted.

use std::collections::BTreeSet;

use proptest::prelude::*;
use smallvec::SmallVec;

use super::{
    Shard, Slice,
    testing::{DROP, NOW, Nowhere},
};
use crate::{
    catalogue::Catalogue,
    change::{Judged, Target},
    command::{AskedLine, Cancel, Confirm, Reserve},
    event::{record, samples},
    extensions::Running,
    ids::{Bucket, ItemNumber, PoolNumber, ReservationId},
    judge::{BudgetExceeded, Judgement, PlanLine, Reading, Request, Stock, allocate, allocate_lines},
    outcome::{Refusal, Reservation, State},
    time::{Now, Timestamp},
};

const RETENTION_MILLIS: u64 = 100_000;
/// Units of each pool: two of `tv`, two of `lamp`, one of `mug`.
const STOCK: [u64; 5] = [3, 4, 2, 6, 9];
const SKUS: [&str; 3] = ["tv", "lamp", "mug"];
const CUSTOMERS: [&str; 3] = ["ann", "bob", "cleo"];
const KEYS: [&str; 2] = ["key-1", "key-2"];

/// A line of `tv` may be split, one of `lamp` may not. `mug`: the price of the third item.
fn catalogue(mug: u64, hold_budget: &str) -> Catalogue {
    let document = format!(
        r#"{{"id":"drop","name":"Drop","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-28T08:00:00Z",
        "hold_seconds":20,"late_confirm_seconds":20,"customer_limit":8,"hold_budget":{hold_budget},"items":[
        {{"sku":"tv","initial_stock":7,"pools":[
            {{"id":"a","initial_stock":3,"price":{{"amount":100,"currency":"EUR"}}}},
            {{"id":"b","initial_stock":4,"price":{{"amount":120,"currency":"EUR"}}}}]}},
        {{"sku":"lamp","initial_stock":8,"split":false,"pools":[
            {{"id":"a","initial_stock":2}},{{"id":"b","initial_stock":6}}]}},
        {{"sku":"mug","initial_stock":9,"price":{{"amount":{mug},"currency":"EUR"}}}}]}}"#
    );
    let settings = serde_json::from_str(&document).expect("a document");
    let numbers = |item, pools: &[u32]| record::Numbers {
        item: ItemNumber(item),
        pools: pools.iter().map(|&pool| PoolNumber(pool)).collect(),
    };
    let numbers = [numbers(0, &[0, 1]), numbers(1, &[2, 3]), numbers(2, &[4])];
    let mut catalogue = Catalogue::default();
    catalogue.apply(&samples::defined(DROP, NOW, &record::encode(&settings, &numbers)));
    catalogue
}

fn a_shard() -> Shard {
    let mut shard = Shard::new(1, RETENTION_MILLIS, 0);
    shard.resize(STOCK.len());
    for (pool, &units) in STOCK.iter().enumerate() {
        shard.set_available(PoolNumber(pool as u32), units);
    }
    shard
}

fn lines<'a>(lines: &[(&'a str, u32)]) -> SmallVec<[AskedLine<'a>; 2]> {
    lines.iter().map(|&(sku, units)| AskedLine { sku, units }).collect()
}

/// The stock of a shard that is the only one.
struct All<'a>(&'a Shard);

impl Stock for All<'_> {
    const ONE_INSTANT: bool = true;

    fn here(&self, pool: PoolNumber) -> u64 {
        self.0.here(pool)
    }

    fn everywhere(&self, pool: PoolNumber) -> Option<Reading> {
        Some(Reading { units: self.here(pool), stamp: 0 })
    }

    fn is_still(&self, _: PoolNumber, _: Reading) -> bool {
        true
    }
}

/// A shard that has all units.
struct Scene {
    shard: Shard,
    catalogue: Catalogue,
    now: Timestamp,
    made: Vec<ReservationId>,
}

impl Scene {
    fn new(hold_budget: &str) -> Self {
        Self { shard: a_shard(), catalogue: catalogue(700, hold_budget), now: NOW, made: Vec::new() }
    }

    fn try_reserve(
        &mut self,
        customer: &str,
        asked: &[(&str, u32)],
        key: Option<&str>,
    ) -> Result<ReservationId, Judgement> {
        let entropy = (self.made.len() as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let reserve = Reserve {
            sale: "drop",
            customer,
            lines: lines(asked),
            hold_seconds: None,
            reference: None,
            key,
            extras: None,
        };
        let sale = self.catalogue.sale("drop").expect("the sale");
        let key = key.map(|key| (key, reserve.fingerprint()));
        let (bucket, reference, attributes) = (Bucket::of(customer), None, None);
        let request = Request { sale: DROP, customer, bucket, key, reference, attributes };
        let plan = self.catalogue.plan(Now { time: self.now, doubt: 0 }, sale, request, &reserve).expect("it is open");
        match self.shard.judge(self.now, &request, Ok(&plan), |shard, plan| allocate(plan, &All(shard))) {
            Judgement::Grant(grant) => {
                let id = self.shard.hold(&plan, grant, entropy, &mut Nowhere).id;
                self.made.push(id);
                Ok(id)
            }
            other => Err(other),
        }
    }

    fn reserve(&mut self, customer: &str, asked: &[(&str, u32)]) -> ReservationId {
        self.try_reserve(customer, asked, None).expect("there is enough")
    }

    fn confirm(
        &mut self,
        id: ReservationId,
        part: Option<&[(&str, u32)]>,
        reference: Option<&str>,
    ) -> Result<Reservation, Refusal> {
        let asked = Confirm { lines: part.map(lines), reference };
        let stock = |shard: &Shard, lines: &[PlanLine]| allocate_lines(lines, false, &All(shard));
        let confirmed = self.shard.confirm(self.now, id, &asked, &self.catalogue, stock, &mut Nowhere);
        confirmed.expect("it knows everything")
    }

    fn change(&mut self, id: ReservationId, to: &[(&str, u32)]) -> Result<Reservation, Refusal> {
        let hold = self.shard.hold_to_change(self.now, id, &mut Nowhere)?;
        let target = Target::plan(&self.catalogue, Now { time: self.now, doubt: 0 }, &hold, &lines(to))?;
        match self.shard.judge_change(&hold, &target, &All(&self.shard)) {
            Judged::Change(moved) => Ok(self.shard.change(&hold, moved, &mut Nowhere)),
            Judged::Short(_) => Err(Refusal::Short(Vec::new())),
            Judged::Unsure => unreachable!("it knows everything"),
            Judged::LimitExceeded(exceeded) => {
                let sku = self.catalogue.sku(exceeded.item).into();
                Err(Refusal::CustomerLimitExceeded { sku, limit: exceeded.limit, already: exceeded.already })
            }
        }
    }

    fn cancel(
        &mut self,
        id: ReservationId,
        part: Option<&[(&str, u32)]>,
        key: Option<&str>,
    ) -> Result<(Reservation, bool), Refusal> {
        let asked = Cancel { lines: part.map(lines), reason: None, restock: true, key };
        let cancelled = self.shard.cancel(self.now, id, &asked, &self.catalogue, &mut Nowhere);
        cancelled.map(|cancelled| (cancelled.reservation, cancelled.replayed))
    }

    fn extend_all(&mut self) {
        let (at, key) = (self.now, None);
        let mut run = Running { sale: DROP, at, run: 1, seconds: 30, key, buckets: 0, holds: 0 };
        for bucket in buckets() {
            self.shard.extend_bucket(self.now, bucket, &mut run, &mut Nowhere);
        }
    }

    fn tick(&mut self) {
        self.shard.expire_due(self.now, 1000, &mut Nowhere);
        self.shard.retire_due(self.now, 1000, |_| true, &mut Nowhere);
    }

    /// Looks at everything, so that nothing is overdue.
    fn looks(&mut self) -> Vec<Option<Reservation>> {
        let Self { shard, made, now, .. } = self;
        made.iter().map(|&id| shard.look(*now, id, &mut Nowhere).ok()).collect()
    }

    fn slices(&self) -> Vec<Slice> {
        (0..STOCK.len()).map(|pool| self.shard.slice(PoolNumber(pool as u32))).collect()
    }

    fn exported(&self) -> Vec<String> {
        let mut exported = Vec::new();
        for bucket in buckets() {
            self.shard.export(bucket, |event| exported.push(format!("{event:?}")));
        }
        exported.sort();
        exported
    }

    /// What a start from a snapshot of it comes to.
    fn again(&self) -> Self {
        let mut shard = a_shard();
        for bucket in buckets() {
            self.shard.export(bucket, |event| shard.apply(event));
        }
        Self { shard, catalogue: self.catalogue.clone(), now: self.now, made: self.made.clone() }
    }
}

/// The customers'.
fn buckets() -> BTreeSet<Bucket> {
    CUSTOMERS.iter().map(|customer| Bucket::of(customer)).collect()
}

/// One random command. `which`: of the reservations that were made, the latest first.
#[derive(Debug, Clone)]
struct Step {
    what: u8,
    which: usize,
    asked: Vec<(usize, u32)>,
    some: bool,
    key: Option<usize>,
    wait: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let asked =
        prop::collection::btree_map(0..SKUS.len(), 1..5_u32, 1..3).prop_map(|lines| lines.into_iter().collect());
    let wait = prop_oneof![6 => Just(0), 2 => 1..3000_u64, 1 => 10_000..25_000_u64, 1 => Just(150_000)];
    (0..13_u8, 0..4_usize, asked, any::<bool>(), prop::option::of(0..KEYS.len()), wait)
        .prop_map(|(what, which, asked, some, key, wait)| Step { what, which, asked, some, key, wait })
}

fn run(scene: &mut Scene, step: &Step) {
    let asked: Vec<(&str, u32)> = step.asked.iter().map(|&(sku, units)| (SKUS[sku], units)).collect();
    let (part, key) = (step.some.then_some(&*asked), step.key.map(|key| KEYS[key]));
    let id = scene.made.len().checked_sub(1).map(|latest| scene.made[latest - step.which % (latest + 1)]);
    scene.now = scene.now.plus_millis(step.wait);
    match (step.what, id) {
        (0..=2, _) => drop(scene.try_reserve(CUSTOMERS[step.which % CUSTOMERS.len()], &asked, key)),
        (3 | 4, Some(id)) => drop(scene.confirm(id, part, key)),
        (5 | 6, Some(id)) => drop(scene.change(id, &asked)),
        (7 | 8, Some(id)) => drop(scene.cancel(id, part, key.or(part.map(|_| KEYS[0])))),
        (9, Some(id)) => drop(scene.shard.release(scene.now, id, key, &mut Nowhere)),
        (10, _) => scene.extend_all(),
        (11, _) if step.some => _ = scene.shard.erase_customer(scene.now, CUSTOMERS[step.which % 3], &mut Nowhere),
        // The price of the third item changes: one pool's units are at two.
        (11, _) => scene.catalogue = catalogue(700 + u64::from(step.asked[0].1) * 100, "null"),
        _ => scene.tick(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_snapshot_brings_back_every_history(steps in prop::collection::vec(step(), 1..60)) {
        let mut scene = Scene::new("null");
        for step in &steps {
            run(&mut scene, step);
        }
        let looks = scene.looks();
        let mut again = scene.again();
        prop_assert_eq!(again.looks(), looks);
        prop_assert_eq!(again.slices(), scene.slices());
        prop_assert_eq!(again.exported(), scene.exported());
        prop_assert_eq!(again.shard.bytes(), scene.shard.bytes());
        for (pool, slice) in scene.slices().iter().enumerate() {
            prop_assert!(slice.available >= 0, "pool {} has {:?}", pool, slice);
            prop_assert_eq!(slice.available as u64 + slice.held + slice.confirmed, STOCK[pool]);
        }
        // Both go on alike.
        for step in &steps {
            run(&mut scene, step);
            run(&mut again, step);
        }
        prop_assert_eq!(again.looks(), scene.looks());
        prop_assert_eq!(again.slices(), scene.slices());
        prop_assert_eq!(again.shard.bytes(), scene.shard.bytes());
    }

    /// A count of a customer's holds is what a recount gives.
    #[test]
    fn a_hold_budget_counts_the_same_after_a_start(steps in prop::collection::vec(step(), 1..60)) {
        let mut scene = Scene::new(r#"{"open_holds":4,"expired_per_hour":3}"#);
        for step in steps.iter().filter(|step| step.what != 11 || step.some) {
            run(&mut scene, step);
        }
        scene.looks();
        for customer in CUSTOMERS {
            let mut again = scene.again();
            let of = |scene: &mut Scene| match scene.try_reserve(customer, &[("mug", 1)], None) {
                Err(Judgement::BudgetExceeded(BudgetExceeded::Open { limit, open })) => (limit, open, 0),
                Err(Judgement::BudgetExceeded(BudgetExceeded::Expired { limit, expired, retry_after_seconds })) => {
                    (limit, expired, retry_after_seconds)
                }
                _ => (0, 0, 0),
            };
            prop_assert_eq!(of(&mut again), of(&mut scene), "{}", customer);
        }
    }
}

fn sums(shown: &Reservation) -> Vec<(u32, u32, u32, u32, u32)> {
    let amounts = |line: &crate::outcome::ReservedLine| {
        let of = line.amounts;
        (line.pool.0, of.held, of.confirmed, of.returned, of.cancelled)
    };
    shown.lines.iter().map(amounts).collect()
}

#[test]
fn a_part_is_confirmed_once_and_told_apart_from_other_parts() {
    let mut scene = Scene::new("null");
    let id = scene.reserve("ann", &[("tv", 5), ("mug", 2)]);
    for (wrong, count) in [(&[("tv", 6)][..], 1), (&[("tv", 6), ("lamp", 1)], 2), (&[("no such", 1)], 1)] {
        let Err(Refusal::Invalid(errors)) = scene.confirm(id, Some(wrong), None) else {
            panic!("{wrong:?} is too much")
        };
        assert_eq!((errors.len(), &*errors[0].pointer), (count, "/lines"));
    }
    let shown = scene.confirm(id, Some(&[("tv", 4)]), Some("order")).unwrap();
    assert_eq!(sums(&shown), [(0, 0, 3, 0, 0), (1, 0, 1, 1, 0), (4, 0, 0, 2, 0)]);
    assert_eq!(scene.confirm(id, Some(&[("tv", 4)]), Some("order")).unwrap(), shown);
    assert_eq!(scene.confirm(id, Some(&[("tv", 4)]), None).unwrap(), shown);
    type Part<'a> = Option<&'a [(&'a str, u32)]>;
    let others: [(Part<'_>, &str); 5] = [
        (Some(&[("tv", 4)]), "another"),
        (Some(&[("tv", 3)]), "order"),
        (Some(&[("tv", 4), ("mug", 1)]), "order"),
        (Some(&[("mug", 2)]), "order"),
        (None, "order"),
    ];
    for (part, reference) in others {
        let refusal = scene.confirm(id, part, Some(reference)).unwrap_err();
        assert_eq!(refusal, Refusal::AlreadyConfirmed(Box::new(shown.clone())), "{part:?} for {reference}");
    }
    // All of it, said line by line, is all of it.
    let id = scene.reserve("bob", &[("mug", 3)]);
    let shown = scene.confirm(id, Some(&[("mug", 3)]), None).unwrap();
    assert_eq!(scene.confirm(id, None, None).unwrap(), shown);
}

#[test]
fn a_key_of_a_cancellation_is_of_one_request_and_of_one_reservation() {
    let mut scene = Scene::new("null");
    let ids = ["ann", "bob"].map(|customer| scene.reserve(customer, &[("mug", 3)]));
    ids.iter().for_each(|&id| drop(scene.confirm(id, None, None).unwrap()));
    for id in ids {
        let (shown, replayed) = scene.cancel(id, Some(&[("mug", 1)]), Some("one")).unwrap();
        assert_eq!((sums(&shown), replayed), (vec![(4, 0, 2, 0, 1)], false));
        assert_eq!(scene.cancel(id, Some(&[("mug", 1)]), Some("one")).unwrap(), (shown, true));
        assert_eq!(scene.cancel(id, Some(&[("mug", 2)]), Some("one")), Err(Refusal::IdempotencyKeyReused));
        assert_eq!(scene.cancel(id, None, Some("one")), Err(Refusal::IdempotencyKeyReused));
    }
    let mut scene = scene.again();
    assert!(scene.cancel(ids[0], Some(&[("mug", 1)]), Some("one")).unwrap().1, "known after a start");
    assert!(matches!(scene.cancel(ids[0], Some(&[("mug", 3)]), Some("two")), Err(Refusal::Invalid(_))));
    let (shown, replayed) = scene.cancel(ids[0], Some(&[("mug", 2)]), Some("two")).unwrap();
    assert_eq!((shown.state, replayed, shown.confirmed_at), (State::Cancelled, false, Some(NOW)));
    assert!(scene.cancel(ids[0], Some(&[("mug", 2)]), Some("two")).unwrap().1);
    assert!(matches!(scene.cancel(ids[0], Some(&[("mug", 2)]), Some("three")), Err(Refusal::AlreadyCancelled(_))));
    assert_eq!(scene.cancel(ids[0], None, None).unwrap(), (shown, false));
}

#[test]
fn a_change_keeps_what_stays_and_takes_the_rest_as_a_reserve_does() {
    let mut scene = Scene::new("null");
    let id = scene.reserve("ann", &[("tv", 4)]);
    // Split: more from where a reserve would take it; less goes back from the last line.
    let shown = scene.change(id, &[("tv", 6)]).unwrap();
    assert_eq!(sums(&shown), [(0, 3, 0, 0, 0), (1, 3, 0, 0, 0)]);
    let shown = scene.change(id, &[("tv", 2), ("mug", 1)]).unwrap();
    assert_eq!(sums(&shown), [(0, 2, 0, 0, 0), (4, 1, 0, 0, 0)]);
    // At another price, in the same pool.
    scene.catalogue = catalogue(900, "null");
    let shown = scene.change(id, &[("mug", 3)]).unwrap();
    assert_eq!(sums(&shown), [(4, 1, 0, 0, 0), (4, 2, 0, 0, 0)]);
    assert_eq!(shown.lines.iter().map(|line| line.price.unwrap().amount).collect::<Vec<_>>(), [700, 900]);
    // Whole lines move as a whole, and their own units count where they are.
    let other = scene.reserve("bob", &[("lamp", 2)]);
    assert_eq!(sums(&scene.change(other, &[("lamp", 4)]).unwrap()), [(3, 4, 0, 0, 0)]);
    assert_eq!(sums(&scene.change(other, &[("lamp", 6)]).unwrap()), [(3, 6, 0, 0, 0)]);
    assert_eq!(sums(&scene.change(other, &[("lamp", 1)]).unwrap()), [(3, 1, 0, 0, 0)]);
    let before = (scene.looks(), scene.slices());
    for refused in [&[("lamp", 7)][..], &[("lamp", 3), ("mug", 8)], &[("lamp", 9)]] {
        assert!(scene.change(other, refused).is_err(), "{refused:?}");
        assert_eq!((scene.looks(), scene.slices()), before, "nothing changes");
    }
}

#[test]
fn units_of_one_pool_at_two_prices_are_needed_together() {
    let mut scene = Scene::new("null");
    let id = scene.reserve("ann", &[("mug", 2)]);
    scene.catalogue = catalogue(900, "null");
    scene.change(id, &[("mug", 4)]).unwrap();
    scene.now = NOW.plus_seconds(25);
    scene.tick();
    scene.reserve("bob", &[("mug", 6)]);
    assert!(scene.confirm(id, None, None).is_err(), "three are left");
    assert_eq!(scene.shard.slice(PoolNumber(4)), Slice { available: 3, held: 6, ..Slice::default() });
}

#[test]
fn a_budget_counts_open_holds_and_those_that_expired() {
    let mut scene = Scene::new(r#"{"open_holds":2,"expired_per_hour":2}"#);
    let ids = [scene.reserve("ann", &[("mug", 1)]), scene.reserve("ann", &[("mug", 1)])];
    let judged = scene.try_reserve("ann", &[("mug", 1)], None);
    let Err(Judgement::BudgetExceeded(exceeded)) = judged else { panic!("{judged:?}") };
    assert_eq!(exceeded, BudgetExceeded::Open { limit: 2, open: 2 });
    scene.reserve("bob", &[("mug", 1)]);
    scene.now = NOW.plus_seconds(20);
    ids.iter().for_each(|&id| drop(scene.shard.look(scene.now, id, &mut Nowhere)));
    scene.now = NOW.plus_seconds(25);
    let judged = scene.try_reserve("ann", &[("mug", 1)], None);
    let Err(Judgement::BudgetExceeded(exceeded)) = judged else { panic!("{judged:?}") };
    // They are kept for a hundred seconds: it cannot count for longer.
    assert_eq!(exceeded, BudgetExceeded::Expired { limit: 2, expired: 2, retry_after_seconds: 95 });
    scene.confirm(ids[0], None, Some("late")).unwrap();
    scene.reserve("ann", &[("mug", 1)]);
}
