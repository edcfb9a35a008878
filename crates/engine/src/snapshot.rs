//! Snapshots: the state as events that rebuild it from nothing, taken part by part while the service runs.
//!
//! A chunk holds parts: `part u16, epoch u64, place u32, length u32, events`, little-endian; a part is a bucket of
//! customers, or the catalogue (65535). Each part is taken under one lock, and says where in the journal it was taken:
//! it contains every event of its part before that position and none after. So parts of different moments become one
//! state by replaying the journal from the first position on, each part from its own.
//!
//! Invariant: a snapshot is finished only when the journal is durable as far as any of its parts reaches.

use super::{Engine, batch::CATALOGUE_LANE, durability::Durable};
use journal::{Epoch, SnapshotStore, SnapshotWriter};
use sale::{
    codec::Write,
    event::CatalogueEvent,
    ids::{BUCKETS, Bucket},
    time::Timestamp,
};

/// Bytes of a chunk before it is written.
const CHUNK_BYTES: usize = 256 << 10;

/// The part that is the catalogue; the others are buckets.
pub(super) const CATALOGUE_PART: u16 = CATALOGUE_LANE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotTaken {
    /// The journal is needed from this epoch on.
    pub first_epoch: Epoch,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Storage(#[from] journal::SnapshotError),
    #[error("the journal failed")]
    JournalFailed,
}

/// A snapshot under way: its steps may be taken one by one, with the service at work in between.
pub struct Snapshotter<'a> {
    engine: &'a Engine,
    writer: Box<dyn SnapshotWriter>,
    chunk: Vec<u8>,
    first_epoch: Epoch,
    /// The latest epoch that any part has events of.
    reaches: Epoch,
    next_bucket: usize,
}

impl Engine {
    /// Takes a snapshot from beginning to end. `wait`: lets the journal get on until the epoch is durable or failed.
    pub fn snapshot(&self, store: &dyn SnapshotStore, wait: impl FnMut(Epoch)) -> Result<SnapshotTaken, SnapshotError> {
        let mut snapshot = self.begin_snapshot(store)?;
        while snapshot.step()? {}
        snapshot.finish(wait)
    }

    pub fn begin_snapshot(&self, store: &dyn SnapshotStore) -> Result<Snapshotter<'_>, SnapshotError> {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        let control = self.control.lock();
        let seen = self.cells.iter().map(|slot| slot.cell.lock().shard.now());
        let now = seen.fold(control.timeline.latest(), Timestamp::max);
        let first_epoch = self.open_epoch.load(std::sync::atomic::Ordering::Relaxed);
        let (catalogue, events) = (control.catalogue.clone(), control.lane.events);
        let stock = control.stock.clone();
        control.timeline.export(now, |event| event.encode(&mut first));
        if !control.written_by.is_empty() {
            CatalogueEvent::WrittenBy { version: &control.written_by }.encode(&mut first);
        }
        control.adjustments.export(|event| event.encode(&mut last));
        control.extensions.export(|event| event.encode(&mut last));
        control.trail.export(|event| event.encode(&mut last));
        // At least as far as what comes before: the last batch may be one of nothing, which is in no lane.
        let reaches = control.lane.last_epoch.max(first_epoch - 1);
        drop(control);
        let mut chunk = Vec::new();
        // Of many items it takes long, and commits wait for the lock.
        put_part(&mut chunk, CATALOGUE_PART, first_epoch, events, |chunk| {
            // The time comes first, because no event behind it says what time it is.
            chunk.extend_from_slice(&first);
            catalogue.export(|event| event.encode(chunk));
            stock.export(|pool| catalogue.item_of(pool), |event| event.encode(chunk));
            chunk.extend_from_slice(&last);
        });
        let writer = store.begin(first_epoch)?;
        Ok(Snapshotter { engine: self, writer, chunk, first_epoch, reaches, next_bucket: 0 })
    }
}

impl Snapshotter<'_> {
    /// Takes the next bucket; false when there is none left.
    pub fn step(&mut self) -> Result<bool, SnapshotError> {
        let Some(bucket) = Bucket::from_index(self.next_bucket) else { return Ok(false) };
        self.next_bucket += 1;
        let engine = self.engine;
        let cell = engine.cells[bucket.shard(engine.cells.len())].cell.lock();
        let epoch = engine.open_epoch.load(std::sync::atomic::Ordering::Relaxed);
        put_part(&mut self.chunk, bucket.index() as u16, epoch, cell.lane.events, |chunk| {
            cell.shard.export(bucket, |event| event.encode(chunk));
        });
        self.reaches = self.reaches.max(cell.lane.last_epoch);
        drop(cell);
        if self.chunk.len() >= CHUNK_BYTES || self.next_bucket == BUCKETS {
            self.writer.chunk(&self.chunk)?;
            self.chunk.clear();
        }
        Ok(true)
    }

    /// Makes the snapshot count. Before that it does not exist for a restart.
    pub fn finish(self, mut wait: impl FnMut(Epoch)) -> Result<SnapshotTaken, SnapshotError> {
        assert_eq!(self.next_bucket, BUCKETS, "every bucket was taken");
        loop {
            match self.engine.durability.of(self.reaches) {
                Durable::Yes => break,
                Durable::NotYet => wait(self.reaches),
                Durable::Unknown => return Err(SnapshotError::JournalFailed),
            }
        }
        let summary = self.writer.finish(self.reaches)?;
        Ok(SnapshotTaken { first_epoch: self.first_epoch, bytes: summary.bytes })
    }
}

/// `place`: events of the open epoch that are in the part already.
fn put_part(chunk: &mut Vec<u8>, part: u16, open_epoch: Epoch, place: u32, export: impl FnOnce(&mut Vec<u8>)) {
    chunk.u16(part);
    chunk.u64(open_epoch);
    chunk.u32(place);
    let start = chunk.len();
    chunk.u32(0);
    export(chunk);
    let length = u32::try_from(chunk.len() - start - 4).expect("a part is below 4 GiB");
    chunk[start..start + 4].copy_from_slice(&length.to_le_bytes());
}
