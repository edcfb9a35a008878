//! `Shard`: the decision, the customer's limit, the idempotency key and the event, without locks, threads or a catalogue.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use doorbuster::sale::{
    catalogue::Catalogue,
    command::Confirm,
    decide::Record,
    event::CustomerEvent,
    ids::{Bucket, ItemNumber, PoolNumber, ReservationId, SaleNumber},
    judge::{Judgement, Plan, PlanLine, Request, Source, allocate, allocate_lines},
    shard::Shard,
    time::Timestamp,
};

use crate::support::{NOW, customers, entropy};

/// Decisions between two cuts.
const BATCH: u64 = 256;
const ITEM: ItemNumber = ItemNumber(0);
const POOL: PoolNumber = PoolNumber(0);
const SALE: SaleNumber = SaleNumber(0);

/// A lane as the engine has one.
#[derive(Default)]
struct Lane(Vec<u8>);

impl Record for Lane {
    fn record(&mut self, event: &CustomerEvent<'_>) {
        event.encode(&mut self.0);
    }
}

struct Stage {
    shard: Shard,
    lane: Lane,
    now: Timestamp,
    number: u64,
}

impl Stage {
    fn new(available: u64) -> Self {
        let mut shard = Shard::new(1, 1000, 7);
        shard.resize(1);
        shard.set_available(POOL, available);
        Self { shard, lane: Lane::default(), now: NOW, number: 0 }
    }

    /// Later, with everything gone that there was: the state stays small however long it is measured.
    fn turn(&mut self) -> Vec<String> {
        self.now = self.now.plus_seconds(60);
        self.shard.expire_due(self.now, usize::MAX, &mut self.lane);
        self.now = self.now.plus_seconds(60);
        self.shard.retire_due(self.now, usize::MAX, |_| false, &mut self.lane);
        self.lane.0.clear();
        self.number += BATCH;
        customers(self.number, BATCH)
    }

    fn reserve(&mut self, customer: &str, number: u64, key: Option<(&str, u64)>) -> Result<ReservationId, Judgement> {
        let sources = [Source { pool: POOL, price: None }].into_iter().collect();
        let (customer_limit, may_split, most_available_first) = (Some(2), true, false);
        let line = PlanLine { item: ITEM, units: 1, customer_limit, sources, may_split, most_available_first };
        let bucket = Bucket::of(customer);
        let request = Request { sale: SALE, customer, bucket, key, reference: None, attributes: None };
        let (lines, allow_partial) = ([line].into_iter().collect(), false);
        let (hold_seconds, hold_budget, group, entry, until) = (30, None, None, None, Timestamp::MAX);
        let plan = Plan { request, lines, allow_partial, hold_seconds, hold_budget, group, entry, until };
        match self.shard.judge(self.now, &request, Ok(&plan), |shard, plan| allocate(plan, shard)) {
            Judgement::Grant(grant) => Ok(self.shard.hold(&plan, grant, entropy(number), &mut self.lane).id),
            other => Err(other),
        }
    }

    fn hold(&mut self, customer: &str, number: u64, key: Option<(&str, u64)>) -> ReservationId {
        self.reserve(customer, number, key).expect("there is stock")
    }
}

pub fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard");
    group.throughput(Throughput::Elements(BATCH));

    for (name, key) in [("reserve", None), ("reserve with a key", Some(("key", 7)))] {
        let mut stage = Stage::new(1_000_000_000);
        group.bench_function(format!("{name}, 256 of them"), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut time = std::time::Duration::ZERO;
                for _ in 0..rounds {
                    let (names, first) = (stage.turn(), stage.number);
                    let started = std::time::Instant::now();
                    for (step, customer) in names.iter().enumerate() {
                        black_box(stage.hold(customer, first + step as u64, key));
                    }
                    time += started.elapsed();
                }
                time
            });
        });
    }

    let (mut stage, catalogue) = (Stage::new(1_000_000_000), Catalogue::default());
    group.bench_function("confirm, 256 of them", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut time = std::time::Duration::ZERO;
            for _ in 0..rounds {
                let (names, first) = (stage.turn(), stage.number);
                let mut hold = |(step, name): (usize, &String)| stage.hold(name, first + step as u64, None);
                let held: Vec<ReservationId> = names.iter().enumerate().map(&mut hold).collect();
                let started = std::time::Instant::now();
                for id in held {
                    let asked = Confirm { lines: None, reference: Some("order") };
                    let stock = |shard: &Shard, lines: &[PlanLine]| allocate_lines(lines, false, shard);
                    let confirmed = stage.shard.confirm(stage.now, id, &asked, &catalogue, stock, &mut stage.lane);
                    black_box(confirmed).expect("the shard decides it").expect("it is held");
                }
                time += started.elapsed();
            }
            time
        });
    });

    let mut sold_out = Stage::new(0);
    group.bench_function("refusal: nothing in the slice, 256 of them", |bencher| {
        bencher
            .iter(|| (0..BATCH).all(|number| matches!(sold_out.reserve("ann", number, None), Err(Judgement::Unsure))));
    });

    let mut limited = Stage::new(10);
    limited.hold("ann", 1, None);
    limited.hold("ann", 2, None);
    group.bench_function("refusal: the customer's limit, 256 of them", |bencher| {
        let refused =
            |stage: &mut Stage, number| matches!(stage.reserve("ann", number, None), Err(Judgement::LimitExceeded(_)));
        bencher.iter_batched(|| (), |()| (0..BATCH).all(|number| refused(&mut limited, number)), BatchSize::SmallInput);
    });

    let mut repeated = Stage::new(10);
    repeated.hold("ann", 1, Some(("key", 7)));
    group.bench_function("duplicate: a known key, 256 of them", |bencher| {
        bencher.iter(|| {
            let known = |number| repeated.reserve(black_box("ann"), number, Some(("key", 7)));
            (0..BATCH).map(known).all(|judged| matches!(judged, Err(Judgement::Known(_))))
        });
    });
    group.finish();
}
