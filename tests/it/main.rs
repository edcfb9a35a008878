//! The service from outside: one module for each subject, in one program.
//!
//! Run them by cargo-nextest (`cargo nextest run --test it SUBJECT`), which gives each test a process of its own.
//! `memory` measures its process, and the tests of the contract read counters of it.

// The modules are one program: `pub` is how they see each other.
#![allow(unreachable_pub)]

mod served;
mod support;

mod audit;
mod batches_as_singles;
mod concurrency;
mod contract;
mod crash;
mod golden;
mod life;
mod memory;
mod model;
mod modules;
mod postgres;
mod reconcile;
mod recovery;
mod replenishment;
mod reported_problems;
mod reports;
mod rules;
mod scenarios;
mod stepping;
mod webhooks;

/// The binary's own allocator, whose size classes the engine counts by.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
