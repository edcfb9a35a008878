//! The core without HTTP and without a disk: catalogue, shard and its lock, limits, idempotency, event.

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use doorbuster::{engine::Engine, journal::Source};

use crate::support::{NOW, asked, customers, engine, entropy};

/// Requests between two cuts: about what gathers in a busy commit.
const BATCH: u64 = 256;

fn reserve(engine: &Engine, customer: &str, sku: &str, number: u64, key: Option<&str>) -> bool {
    engine.reserve(NOW, &asked(customer, sku, key), entropy(number)).value.is_ok()
}

pub fn one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(BATCH));

    let granting = engine(1, 1_000_000_000);
    let mut number = 0;
    let mut payload = Vec::new();
    group.bench_function("reserve granted: limit, event, bound", |bencher| {
        bencher.iter_batched(
            || {
                payload.clear();
                granting.cut(&mut payload);
                number += BATCH;
                (customers(number, BATCH), number)
            },
            |(names, first)| {
                for (step, name) in names.iter().enumerate() {
                    assert!(reserve(&granting, name, "sku-0", first + step as u64, None));
                }
                names
            },
            BatchSize::SmallInput,
        );
    });

    let repeating = engine(1, 10);
    assert!(reserve(&repeating, "ann", "sku-0", 1, Some("key")));
    group.bench_function("reserve repeated: known key", |bencher| {
        bencher.iter(|| (0..BATCH).all(|number| reserve(&repeating, black_box("ann"), "sku-0", number, Some("key"))));
    });

    let sold_out = engine(1, 0);
    group.bench_function("reserve refused: sold out, no lock", |bencher| {
        bencher.iter(|| (0..BATCH).any(|number| reserve(&sold_out, black_box("ann"), "sku-0", number, None)));
    });
    group.finish();
}

/// Reserves that a thread makes between two looks at the clock, in which nothing is measured.
const TURN: u64 = 4096;

pub fn threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine threads");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).throughput(Throughput::Elements(TURN));
    for threads in [1, 2, 4, 8] {
        for (name, items, stock) in
            [("one hot item", 1, 100_000_000), ("10,000 items", 10_000, 100_000_000), ("sold out", 1, 0)]
        {
            measure(&mut group, &format!("{name}, {threads} threads"), threads, items, stock);
        }
    }
    group.finish();
}

/// So many threads share the reserves of each round; another one cuts batches, as the journal does.
fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, threads: u64, items: usize, stock: u64) {
    let mut round = 0;
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            // A new one each time: what was held would not fit into memory for long.
            let engine = engine(items, stock);
            let stop = AtomicBool::new(false);
            let skus: Vec<String> = (0..items).map(|item| format!("sku-{item}")).collect();
            let mut time = Duration::ZERO;
            thread::scope(|scope| {
                scope.spawn(|| cut(&engine, &stop));
                for _ in 0..rounds {
                    round += 1;
                    let shares: Vec<Vec<String>> = (0..threads)
                        .map(|thread| customers((round * threads + thread) * TURN, TURN / threads))
                        .collect();
                    let started = Instant::now();
                    thread::scope(|scope| {
                        for (thread, share) in shares.iter().enumerate() {
                            let (engine, skus) = (&engine, &skus);
                            scope.spawn(move || {
                                for (step, name) in share.iter().enumerate() {
                                    let number = (round * threads + thread as u64) * TURN + step as u64;
                                    let sku = &skus[entropy(number) as usize % skus.len()];
                                    assert_eq!(reserve(engine, name, sku, number, None), stock > 0);
                                }
                            });
                        }
                    });
                    time += started.elapsed();
                }
                stop.store(true, Ordering::Relaxed);
            });
            time
        });
    });
}

fn cut(engine: &Engine, stop: &AtomicBool) {
    let mut payload = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        payload.clear();
        engine.cut(&mut payload);
        thread::sleep(Duration::from_micros(500));
    }
}
