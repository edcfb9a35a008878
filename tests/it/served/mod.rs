//! What the tests over a real socket stand on: a running service, in this process or as the real binary, and a client
//! that looks at every answer it gets.
//!
//! Invariant: an answer of the API with a status of 400 or more is checked against the contract's table of problems
//! wherever it turns up, and so is every reservation in it; a test only says which problem it expects. Every answer is
//! checked against the service's own OpenAPI document too (`described`).

pub mod answer;
pub mod batches;
pub mod client;
pub mod clock;
pub mod described;
pub mod documents;
pub mod feed;
pub mod here;
pub mod metrics;
pub mod problems;
pub mod process;
pub mod shapes;

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

pub use self::{
    answer::Answer,
    client::{Ask, Client, Connection},
    documents::{lines, open_sale, reserve_body},
    feed::{Feed, Told},
    here::Service,
};

/// Longer than anything that is waited for; what takes longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The machine's time, in milliseconds since the epoch: the clock that the service decides by.
pub fn now_millis() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set");
    u64::try_from(since_epoch.as_millis()).expect("the clock is set")
}

/// Waits until `is_so`, and fails when that takes too long.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
