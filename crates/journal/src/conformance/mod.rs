//! What every [`Log`] and every [`SnapshotStore`] must do: one suite, written against the traits.
//!
//! An implementation brings a [`Subject`], and calls [`suite!`] with what makes one.

mod files;
mod log;
mod memory;
mod snapshots;

use std::{convert::Infallible, sync::Arc};

use crate::{AppendError, Epoch, Log, LogReader, RecoveryError, SnapshotReader, SnapshotStore};

/// One log with its snapshots, and what can happen to them.
pub(crate) trait Subject {
    /// Opens it as a new process does; what an earlier process had open stays open. Nothing is taken over yet.
    fn open(&mut self) -> Opened;

    /// The process or the machine stops at once. What it had open is not used again.
    fn crash(&mut self);

    /// Has something go wrong; whether this implementation can do that here.
    fn inject(&mut self, trouble: Trouble) -> bool;

    /// Whether an owner can take the log over while another still believes that it owns it.
    fn lets_owners_overtake(&self) -> bool;
}

pub(crate) struct Opened {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) snapshots: Arc<dyn SnapshotStore>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The next append ends with an unknown outcome.
    UnknownAppend,
    /// The next append fails before it has done anything.
    RetryableAppend,
    /// The storage carries out so many more steps, and then none any more.
    StopAfter(u64),
}

type Batches = Vec<(Epoch, Vec<u8>)>;

/// Something that differs in bytes and length from epoch to epoch, at most 300 bytes.
fn payload(epoch: Epoch) -> Vec<u8> {
    let length = (epoch * 37) % 300;
    (0..length).map(|index| (epoch * 31 + index * 7 + 1) as u8).collect()
}

fn batches(epochs: std::ops::RangeInclusive<Epoch>) -> Batches {
    epochs.map(|epoch| (epoch, payload(epoch))).collect()
}

/// Takes the log over; what it showed, and its last epoch.
fn recover(log: &dyn Log, from: Epoch, reaches: Epoch) -> Result<(Batches, Epoch), RecoveryError<Infallible>> {
    let mut found = Batches::new();
    let tail = log.recover(from, reaches, |epoch, payload| {
        found.push((epoch, payload.to_vec()));
        Ok(())
    })?;
    Ok((found, tail))
}

/// A new process that owns the log and everything in it.
fn owner(subject: &mut dyn Subject) -> Opened {
    let opened = subject.open();
    recover(&*opened.log, 1, 0).expect("the log is sound");
    opened
}

fn append(log: &dyn Log, epoch: Epoch) -> Result<(), AppendError> {
    let stats = log.append(epoch - 1, &payload(epoch))?;
    assert_eq!(stats.payload_bytes, payload(epoch).len() as u64);
    Ok(())
}

fn append_to(log: &dyn Log, last: Epoch) {
    (log.tail() + 1..=last).for_each(|epoch| append(log, epoch).expect("the storage works"));
}

fn read_all(reader: &mut dyn LogReader, durable: Epoch) -> Batches {
    let mut found = Batches::new();
    while let Some(batch) = reader.next(durable).expect("it can be read") {
        found.push((batch.epoch, batch.payload.to_vec()));
    }
    found
}

fn chunks(mut reader: Box<dyn SnapshotReader>) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk().expect("it can be read") {
        chunks.push(chunk.to_vec());
    }
    chunks
}

/// Each part of the suite as a test of its own.
macro_rules! suite {
    ($subject:expr) => {
        crate::conformance::suite!($subject, log:
            what_was_appended_is_read_back, an_append_with_another_tail_is_fenced, an_owner_that_was_overtaken_is_fenced,
            an_unknown_append_is_there_or_not_and_final, a_retryable_append_changes_nothing,
            a_reader_starts_anywhere_and_stops_at_what_is_durable, readers_follow_a_running_owner,
            a_log_that_lacks_what_is_needed_is_refused, what_the_caller_refuses_is_passed_on,
            trimming_removes_only_what_is_not_needed, what_is_made_removable_is_removed, the_bytes_behind_shrink_to_nothing,
            no_crash_point_loses_a_batch);
        crate::conformance::suite!($subject, snapshots:
            a_snapshot_reads_back, an_unfinished_snapshot_is_never_shown, the_newest_snapshot_stays,
            no_crash_point_loses_a_snapshot);
    };
    ($subject:expr, $module:ident: $($test:ident),*) => {
        $(#[test]
        fn $test() {
            crate::conformance::$module::$test(&mut || Box::new($subject));
        })*
    };
}
use suite;

/// Makes subjects with nothing in them.
type Make<'a> = &'a mut dyn FnMut() -> Box<dyn Subject>;
