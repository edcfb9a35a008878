//! What the edge does with a request: the body read and checked, the answer written, the limits asked.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput};
use doorbuster::{
    api::{Rates, calls::Call},
    clock::Monotonic,
    http::json::{answers::ReservationBody, encode, parse::parse_reserve},
    privacy::CustomerIds,
    sale::settings::{Quota, RateLimits},
    telemetry::{self, Telemetry},
};

use crate::support::{NOW, asked, engine, entropy};

pub fn bodies(criterion: &mut Criterion) {
    let body = br#"{"customer":"customer-123456","lines":[{"sku":"sku-0","quantity":1}],"reference":"cart-123456"}"#;
    let limits = doorbuster::service::api_limits(&doorbuster::config::Config::default());
    let mut group = criterion.benchmark_group("edge");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("parse and check a reserve", |bencher| {
        bencher.iter(|| {
            let parsed = parse_reserve(black_box(body), &limits).expect("a reserve");
            black_box(parsed.check(&limits, &CustomerIds::Plain).expect("a valid one"));
        });
    });

    let engine = engine(1, 10);
    let made = engine.reserve(NOW, &asked("customer-123456", "sku-0", None), entropy(1)).value.expect("a grant");
    let catalogue = engine.catalogue();
    let mut answer = Vec::with_capacity(encode::RESERVATION_BYTES);
    group.throughput(Throughput::Elements(1));
    group.bench_function("write a reservation", |bencher| {
        bencher.iter(|| {
            answer.clear();
            let reservation = black_box(&made.reservation);
            encode::reservation(
                &mut answer,
                &ReservationBody::new(reservation, &catalogue),
                &reservation.id.to_string(),
            );
        });
    });
    group.finish();
}

pub fn limits(criterion: &mut Criterion) {
    let engine = engine(1, 10);
    let catalogue = engine.catalogue();
    let sale = catalogue.sale("bench").expect("the sale");
    let quota = Quota { requests: 1_000_000, window_seconds: 3600 };
    let mut group = criterion.benchmark_group("limits");
    for customers in [1000, 10_000_000] {
        let limits = RateLimits { customer: Some(quota), ..RateLimits::default() };
        let rates = Rates::new(limits, customers * 2, Monotonic);
        let mut name = String::new();
        let mut admit = |number: usize| {
            use std::fmt::Write;
            name.clear();
            write!(name, "customer-{number}").expect("it fits");
            rates.admit_customer(sale, &name).is_ok()
        };
        assert!((0..customers).all(&mut admit));
        assert_eq!(rates.remembered(), customers);
        let mut asked = 0;
        group.bench_function(format!("a customer's quota among {customers} customers"), |bencher| {
            bencher.iter(|| {
                asked += 1;
                admit(entropy(asked) as usize % customers)
            });
        });
    }
    group.finish();
}

/// What counting one request costs, with the folding of its samples that comes each second.
pub fn metrics(criterion: &mut Criterion) {
    const A_SECOND: u64 = 50_000;
    let telemetry = Telemetry::new(Call::NAMES, telemetry::Bounds { items_max: 200, sales_max: 50 });
    let reserve = Call::index(Some(Call::Reserve));
    let mut group = criterion.benchmark_group("metrics");
    let mut number = 0;
    group.bench_function("count a granted reserve", |bencher| {
        bencher.iter(|| {
            number += 1;
            let took = Duration::from_nanos(entropy(number) % 3_000_000);
            telemetry.edge.observe(black_box(reserve), 201, [took].into_iter());
            telemetry.reservations.held(black_box(1));
            if number % A_SECOND == 0 {
                telemetry.upkeep();
            }
        });
    });
    group.finish();
}
