//! The journal: an append-only log of batches, and snapshots that bound how much of it a start must read.
//!
//! A *batch* is opaque bytes with an *epoch*, a number that counts up from 1 without a gap. A batch is in the log whole or not at
//! all. [`Log`] and [`SnapshotStore`] say what every implementation guarantees; callers know nothing else about it. There are two:
//! [`files`], and [`memory`] for tests and simulations. One suite of tests (`conformance`) runs against both.
//!
//! A state is the chunks of the newest snapshot, then the batches from its `first_epoch` on. Such a state is complete only when
//! the log reaches the snapshot's `last_epoch`, which [`Log::take_over`] checks.
//!
//! [`Committer`] is the one thread that appends: it cuts a batch, makes it durable, and reports it.
//!
//! Nothing here knows what a payload means, or reads a clock of its own.

#![warn(unreachable_pub)]

mod clock;
mod committer;
#[cfg(test)]
mod conformance;
pub mod files;
pub mod frame;
mod log;
pub mod memory;
mod signal;
mod snapshots;
#[cfg(test)]
mod tests;

pub use clock::MonotonicClock;
pub use committer::{Committer, CommitterSettings, GATHER_INTERVAL, Gather, Pause, Source};
pub use frame::PAYLOAD_BYTES_MAX;
pub use log::{AppendError, Batch, Cause, CommitStats, Epoch, Log, LogReader, ReadError, RecoveryError, Removed};
pub use signal::CommitSignal;
pub use snapshots::{SnapshotError, SnapshotReader, SnapshotStore, SnapshotSummary, SnapshotWriter};

/// What log lines are filtered by.
const TARGET: &str = "doorbuster::journal";
