//! How fast a journal and a snapshot come back into memory.

use std::{convert::Infallible, hint::black_box, path::Path};

use criterion::{Criterion, Throughput};
use doorbuster::{
    engine::{Engine, Recovered, Settings},
    journal::{SnapshotStore, Source},
};

use crate::{
    disk::{directory, open},
    support::{NOW, asked, customers, engine, entropy},
};

const HOLDS: u64 = 500_000;
const PER_BATCH: u64 = 1000;

/// A journal of holds, half of them confirmed; and, if it is asked for, a snapshot of them in its place.
fn write(directory: &Path, as_snapshot: bool) -> u64 {
    let (log, snapshots) = open(directory);
    log.recover(1, 0, |_, _| Ok::<_, Infallible>(())).expect("nothing");
    let engine = engine(1, 1_000_000_000);
    let mut payload = Vec::new();
    let mut commit = || {
        payload.clear();
        if let Some(epoch) = engine.cut(&mut payload) {
            let stats = log.append(epoch - 1, &payload).expect("it is written");
            engine.committed(epoch, &stats);
        }
    };
    for first in (0..HOLDS).step_by(PER_BATCH as usize) {
        for (step, customer) in customers(first, PER_BATCH).iter().enumerate() {
            let made = engine.reserve(NOW, &asked(customer, "sku-0", None), entropy(first + step as u64)).value;
            if step % 2 == 0 {
                engine.confirm(NOW, made.expect("it is granted").reservation.id, None).value.expect("it is held");
            }
        }
        commit();
    }
    if as_snapshot {
        engine.snapshot(&snapshots, |_| ()).expect("a snapshot");
    }
    HOLDS + HOLDS / 2
}

/// As a start does it; says how many events were taken over.
fn read(directory: &Path) -> (Engine, u64) {
    let (log, snapshots) = open(directory);
    let mut recovered = Recovered::new(Settings::default());
    let (mut from, mut reaches) = (1, 0);
    if let Some(mut snapshot) = snapshots.newest().expect("a snapshot") {
        (from, reaches) = (snapshot.summary().first_epoch, snapshot.summary().last_epoch);
        while let Some(chunk) = snapshot.next_chunk().expect("a chunk") {
            recovered.chunk(chunk).expect("events");
        }
    }
    let last_epoch = log.recover(from, reaches, |epoch, payload| recovered.batch(epoch, payload)).expect("a journal");
    let events = recovered.events();
    (recovered.finish(last_epoch).expect("a state"), events)
}

pub fn from_disk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery");
    group.sample_size(10);
    for (name, as_snapshot) in [("from the journal", false), ("from a snapshot", true)] {
        let directory = directory();
        let written = write(directory.path(), as_snapshot);
        let (engine, events) = read(directory.path());
        assert_eq!(engine.reservations(), HOLDS);
        assert!(as_snapshot || events >= written, "{events} of {written}");
        group.throughput(Throughput::Elements(events));
        group.bench_function(format!("{name}: {HOLDS} reservations"), |bencher| {
            bencher.iter(|| black_box(read(directory.path())));
        });
    }
    group.finish();
}
