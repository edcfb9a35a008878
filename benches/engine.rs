//! The core alone, without HTTP and without a disk: what one reserve costs, granted and refused.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use doorbuster::{
    engine::{Engine, Settings},
    journal::Source,
    sale::{
        audit::Actor,
        command::{AskedLine, Reserve},
        settings::SaleSettings,
        time::Timestamp,
    },
};

const NOW: Timestamp = Timestamp::from_millis(1_795_852_800_000);

/// Requests between two cuts: about what gathers in a busy commit.
const BATCH: u64 = 256;

fn engine(stock: u64) -> Engine {
    let engine = Engine::new(Settings::default());
    let document = format!(
        r#"{{"id":"bench","name":"Bench","opens_at":"2026-01-01T00:00:00Z","closes_at":"2036-01-01T00:00:00Z",
            "hold_seconds":300,"customer_limit":2,"items":[{{"sku":"tv","initial_stock":{stock}}}]}}"#
    );
    let settings: SaleSettings = serde_json::from_str(&document).expect("the document is well formed");
    engine.put_sale(NOW, Actor::Anybody, &settings).value.expect("the document is valid");
    engine
}

fn reserve(engine: &Engine, customer: &str, number: u64, key: Option<&str>) -> bool {
    let lines = [AskedLine { sku: "tv", units: 1 }].into_iter().collect();
    let asked = Reserve { sale: "bench", customer, lines, hold_seconds: None, reference: None, key };
    engine.reserve(NOW, &asked, number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).value.is_ok()
}

fn engine_reserve(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.throughput(criterion::Throughput::Elements(BATCH));

    let granting = engine(1_000_000_000);
    let mut number = 0;
    let mut payload = Vec::new();
    group.bench_function("reserve granted: limit, event, bound", |bencher| {
        bencher.iter_batched(
            || {
                payload.clear();
                granting.cut(&mut payload);
                let names: Vec<String> = (0..BATCH).map(|step| format!("customer-{}", number + step)).collect();
                number += BATCH;
                (names, number)
            },
            |(names, first)| {
                for (step, name) in names.iter().enumerate() {
                    assert!(reserve(&granting, name, first + step as u64, None));
                }
                names
            },
            BatchSize::SmallInput,
        );
    });

    let repeating = engine(10);
    assert!(reserve(&repeating, "ann", 1, Some("key")));
    group.bench_function("reserve repeated: known key", |bencher| {
        bencher.iter(|| (0..BATCH).all(|number| reserve(&repeating, black_box("ann"), number, Some("key"))));
    });

    let sold_out = engine(0);
    group.bench_function("reserve refused: sold out, no lock", |bencher| {
        bencher.iter(|| (0..BATCH).any(|number| reserve(&sold_out, black_box("ann"), number, None)));
    });
    group.finish();
}

criterion_group!(benches, engine_reserve);
criterion_main!(benches);
