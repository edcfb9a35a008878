//! The files themselves, over storage that fails.

mod faults;
mod files;
mod reading;
mod recovering;
mod snapshots;

use std::convert::Infallible;
use std::sync::Arc;

use super::recovery::replay;
use super::snapshot;
use super::*;
use crate::{
    SnapshotError, SnapshotReader, SnapshotStore, SnapshotSummary, frame, frame::FrameError, tests::StoppedClock,
};

const SEGMENT_BYTES: u64 = 2048;
const FIRST_SEGMENT: &str = "journal-00000000000000000001.seg";
const SECOND_SEGMENT: &str = "journal-00000000000000000002.seg";

type Batches = Vec<(Epoch, Vec<u8>)>;

fn settings() -> FileSettings {
    FileSettings { segment_bytes: SEGMENT_BYTES, clock: Arc::new(StoppedClock) }
}

/// Something that differs in bytes and length from epoch to epoch, at most 300 bytes.
fn payload(epoch: Epoch) -> Vec<u8> {
    let length = (epoch * 37) % 300;
    (0..length).map(|index| (epoch * 31 + index * 7 + 1) as u8).collect()
}

fn batches(epochs: std::ops::RangeInclusive<Epoch>) -> Batches {
    epochs.map(|epoch| (epoch, payload(epoch))).collect()
}

/// Everything in the journal, after which it is fit to be written on.
fn recover(storage: &MemoryStorage) -> Result<(Batches, Tail), RecoveryError<Infallible>> {
    recover_from(storage, 1, 0)
}

fn recover_from(
    storage: &MemoryStorage,
    from: Epoch,
    reaches: Epoch,
) -> Result<(Batches, Tail), RecoveryError<Infallible>> {
    let mut batches = Batches::new();
    let tail = replay(storage, from, reaches, |epoch, payload| {
        batches.push((epoch, payload.to_vec()));
        Ok(())
    })?;
    Ok((batches, tail))
}

fn writer(storage: &MemoryStorage) -> Writer {
    let (_, tail) = recover(storage).expect("the journal is sound");
    open_writer(Arc::new(storage.clone()), &tail)
}

fn open_writer(storage: Arc<dyn Storage>, tail: &Tail) -> Writer {
    let prepared = Arc::new(PreparedSegment::new(storage.clone()));
    Writer::open(storage.as_ref(), prepared, tail, settings()).expect("the storage works")
}

/// Appends up to and with `last`; what the writer had before it comes from its own count.
fn append_to(writer: &mut Writer, last: Epoch) {
    for epoch in writer.last_epoch() + 1..=last {
        append(writer, epoch).expect("the storage works");
    }
}

fn append(writer: &mut Writer, epoch: Epoch) -> Result<CommitStats, AppendError> {
    writer.append(epoch - 1, 0, &payload(epoch))
}

/// A log over the storage, which removes what `prune` removes.
fn trim(storage: &MemoryStorage, keep_from: Epoch) -> usize {
    FileLog::new(Arc::new(storage.clone()), settings()).trim(keep_from).expect("the storage works").units
}

/// A journal of so many batches, without a seal.
fn journal(last: Epoch) -> (MemoryStorage, Writer) {
    let storage = MemoryStorage::new();
    let mut writer = writer(&storage);
    append_to(&mut writer, last);
    (storage, writer)
}

/// Where the frames of a file start, with their headers.
fn frames(storage: &MemoryStorage, name: &str, owner: u64) -> Vec<(u64, frame::Header)> {
    let bytes = storage.bytes(name).expect("the file is there");
    let mut offset = 0;
    let mut frames = Vec::new();
    while let Ok(header) = frame::decode(&bytes[offset..], owner) {
        frames.push((offset as u64, header));
        offset += header.frame_bytes();
    }
    frames
}

fn refused_at(storage: &MemoryStorage) -> (String, u64) {
    match recover(storage) {
        Err(RecoveryError::Read(error)) => {
            let damage = damage(&error);
            (damage.file().to_owned(), damage.offset().expect("it is somewhere"))
        }
        other => panic!("expected damage, got {other:?}"),
    }
}

fn damage(error: &ReadError) -> Damage {
    match error {
        ReadError::Damaged(cause) => cause.downcast_ref::<Damage>().expect("files say what is damaged").clone(),
        other => panic!("expected damage, got {other:?}"),
    }
}

fn recovery_damage<T: std::fmt::Debug>(recovered: Result<T, RecoveryError<Infallible>>) -> Damage {
    match recovered {
        Err(RecoveryError::Read(error)) => damage(&error),
        other => panic!("expected damage, got {other:?}"),
    }
}
