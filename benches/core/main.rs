//! The parts of the hot path, each alone: what a decision costs, what a batch on disk costs, how fast a journal is read back.
//!
//! `cargo bench --bench core` runs all of it; `cargo bench --bench core -- shard` only what has "shard" in its name. Times are of
//! one operation unless the name says otherwise.

// The modules are one program: `pub` is how they see each other.
#![allow(unreachable_pub)]

mod disk;
mod edge;
mod engine;
mod recovery;
mod shard;
mod support;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    shard::decisions,
    engine::one_thread,
    engine::threads,
    disk::events_and_frames,
    disk::commits,
    recovery::from_disk,
    edge::bodies,
    edge::limits,
    edge::metrics,
);
criterion_main!(benches);
