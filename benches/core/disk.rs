//! What is written: the event, the frame, and the commit on a real file, with its sync.

use std::{convert::Infallible, hint::black_box, path::Path, sync::Arc};

use criterion::{Criterion, Throughput};
use doorbuster::{
    clock::Monotonic,
    journal::{
        Log,
        files::{self, FileSettings, FileSnapshots},
        frame,
    },
    sale::{
        event::{CustomerEvent, Held, PricedPortion},
        ids::{Bucket, ItemNumber, PoolNumber, ReservationId, SaleNumber},
        settings::Price,
    },
};

use crate::support::{NOW, entropy, settings};

pub fn held<'a>(customer: &'a str, price: Option<Price>) -> CustomerEvent<'a> {
    CustomerEvent::Held(Held {
        id: ReservationId::new(NOW, Bucket::of(customer), entropy(1)),
        sale: SaleNumber(0),
        customer,
        hold_seconds: 300,
        portions: [PricedPortion { item: ItemNumber(0), pool: PoolNumber(0), units: 1, price }].into_iter().collect(),
        reference: None,
        key: Some(("8e03978e-40d5-43dd-bc93-6894a57f9324", 7)),
        attributes: None,
        short: Box::default(),
        group: None,
        entry: None,
    })
}

pub fn events_and_frames(criterion: &mut Criterion) {
    let event = held("customer-1", settings(1, 1).items[0].price);
    let mut lane = Vec::new();
    event.encode(&mut lane);
    let event_bytes = lane.len();
    let mut group = criterion.benchmark_group("event");
    group.throughput(Throughput::Bytes(event_bytes as u64));
    group.bench_function(format!("encode a hold with a key, {event_bytes} bytes"), |bencher| {
        bencher.iter(|| {
            lane.clear();
            black_box(&event).encode(&mut lane);
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("frame");
    for payload_bytes in [1 << 10, 64 << 10, 1 << 20] {
        let payload = vec![7; payload_bytes];
        let mut frame = Vec::new();
        group.throughput(Throughput::Bytes(payload_bytes as u64));
        group.bench_function(format!("encode {} KiB", payload_bytes >> 10), |bencher| {
            bencher.iter(|| {
                frame.clear();
                frame::encode(&mut frame, frame::Kind::Batch, 1, 1, black_box(&payload));
            });
        });
    }
    group.finish();
}

/// In a directory under `target`, which is on a disk; the directory for temporary files may be memory.
pub fn directory() -> tempfile::TempDir {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    tempfile::tempdir_in(target).expect("a directory")
}

pub fn open(directory: &Path) -> (Arc<dyn Log>, FileSnapshots) {
    let settings = FileSettings { segment_bytes: 64 << 20, clock: Arc::new(Monotonic) };
    let (log, snapshots) = files::open(directory, settings).expect("a directory");
    (Arc::new(log), snapshots)
}

pub fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(50);
    for payload_bytes in [1 << 10, 16 << 10, 256 << 10] {
        let directory = directory();
        let (log, _) = open(directory.path());
        log.recover(1, 0, |_, _| Ok::<_, Infallible>(())).expect("nothing");
        let payload = vec![7; payload_bytes];
        group.throughput(Throughput::Bytes(payload_bytes as u64));
        group.bench_function(format!("write and sync {} KiB", payload_bytes >> 10), |bencher| {
            bencher.iter(|| log.append(log.tail(), &payload).expect("it is written"));
        });
    }
    group.finish();
}
