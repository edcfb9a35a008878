//! A log and snapshots in memory, for tests and simulations: simple, and with faults on demand.
//!
//! Clones share one log, as processes share a database: each is an owner of its own, and the last that took the log over may
//! append. What was appended survives everything that a test can do.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    AppendError, Batch, Cause, CommitStats, Epoch, Log, LogReader, PAYLOAD_BYTES_MAX, ReadError, Removed,
    SnapshotError, SnapshotReader, SnapshotStore, SnapshotSummary, SnapshotWriter,
};

/// How an append fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// [`AppendError::Unknown`], and whether the batch is in the log after all.
    Unknown { appended: bool },
    /// [`AppendError::Retryable`].
    Retryable,
}

/// One owner's access to a log.
#[derive(Default)]
pub struct MemoryLog {
    shared: Arc<Mutex<Shared>>,
    term: AtomicU64,
    tail: AtomicU64,
    ended: AtomicBool,
}

#[derive(Default)]
struct Shared {
    /// Of the owner that may append; counts up.
    term: u64,
    /// The epoch before the first batch that is left.
    before: Epoch,
    batches: VecDeque<Arc<[u8]>>,
    /// After so many more appends, the next fails.
    fault: Option<(u64, Fault)>,
}

impl Shared {
    fn tail(&self) -> Epoch {
        self.before + self.batches.len() as u64
    }

    fn batch(&self, epoch: Epoch) -> Option<&Arc<[u8]>> {
        self.batches.get(usize::try_from(epoch.checked_sub(self.before + 1)?).ok()?)
    }
}

impl Clone for MemoryLog {
    fn clone(&self) -> MemoryLog {
        MemoryLog { shared: self.shared.clone(), ..MemoryLog::default() }
    }
}

impl MemoryLog {
    pub fn new() -> MemoryLog {
        MemoryLog::default()
    }

    /// After `appends` more appends, of whichever owner, the next one fails.
    pub fn fail_after(&self, appends: u64, fault: Fault) {
        self.shared.lock().fault = Some((appends, fault));
    }
}

impl Log for MemoryLog {
    fn take_over(
        &self,
        from: Epoch,
        reaches: Epoch,
        each: &mut dyn FnMut(Epoch, &[u8]) -> ControlFlow<()>,
    ) -> Result<Epoch, ReadError> {
        let mut shared = self.shared.lock();
        let (from, tail) = (from.max(1), shared.tail());
        if from <= shared.before {
            return Err(ReadError::Damaged(
                format!("the log starts with epoch {}, not {from}", shared.before + 1).into(),
            ));
        }
        if tail < reaches.max(from - 1) {
            return Err(ReadError::Damaged(
                format!("the log ends with epoch {tail}, although more was durable").into(),
            ));
        }
        for epoch in from..=tail {
            if each(epoch, shared.batch(epoch).expect("it is between the first and the last")).is_break() {
                return Ok(tail);
            }
        }
        shared.term += 1;
        self.term.store(shared.term, Ordering::Release);
        self.tail.store(tail, Ordering::Release);
        Ok(tail)
    }

    fn append(&self, tail: Epoch, payload: &[u8]) -> Result<CommitStats, AppendError> {
        let mut shared = self.shared.lock();
        if self.ended.load(Ordering::Acquire) {
            return Err(AppendError::Unknown("an earlier append failed".into()));
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(AppendError::TooLong { payload_bytes: payload.len() });
        }
        let term = self.term.load(Ordering::Acquire);
        if term == 0 || term != shared.term || tail != shared.tail() {
            self.ended.store(true, Ordering::Release);
            let found = format!("term {} and epoch {}, not {term} and {tail}", shared.term, shared.tail());
            return Err(AppendError::Fenced(found.into()));
        }
        let fault = match &mut shared.fault {
            Some((0, fault)) => Some(*fault),
            Some((appends, _)) => {
                *appends -= 1;
                None
            }
            None => None,
        };
        if fault.is_some() {
            shared.fault = None;
        }
        if matches!(fault, None | Some(Fault::Unknown { appended: true })) {
            shared.batches.push_back(payload.into());
        }
        match fault {
            None => {}
            Some(Fault::Retryable) => return Err(AppendError::Retryable("it was asked to fail".into())),
            Some(Fault::Unknown { .. }) => {
                self.ended.store(true, Ordering::Release);
                return Err(AppendError::Unknown("it was asked to fail".into()));
            }
        }
        self.tail.store(tail + 1, Ordering::Release);
        let bytes = payload.len() as u64;
        Ok(CommitStats { payload_bytes: bytes, stored_bytes: bytes, write: Duration::ZERO, sync: Duration::ZERO })
    }

    fn tail(&self) -> Epoch {
        self.tail.load(Ordering::Acquire)
    }

    fn read(&self, after: Epoch) -> Box<dyn LogReader> {
        Box::new(MemoryReader { shared: self.shared.clone(), last: after, payload: Arc::default() })
    }

    fn bytes_after(&self, epoch: Epoch) -> Result<u64, ReadError> {
        let shared = self.shared.lock();
        if epoch >= self.tail() {
            return Ok(0);
        }
        if epoch < shared.before {
            return Err(ReadError::TooOld { wanted: epoch + 1, oldest: shared.before + 1 });
        }
        let skipped = usize::try_from(epoch - shared.before).expect("so many are in memory");
        Ok(shared.batches.iter().skip(skipped).map(|batch| batch.len() as u64).sum())
    }

    /// Each batch can be removed by itself.
    fn make_removable(&self, _through: Epoch) {}

    fn trim(&self, keep_from: Epoch) -> Result<Removed, Cause> {
        let mut shared = self.shared.lock();
        let mut removed = Removed::default();
        while shared.batches.len() > 1 && shared.before + 1 < keep_from {
            let batch = shared.batches.pop_front().expect("there is more than one");
            shared.before += 1;
            removed.units += 1;
            removed.bytes += batch.len() as u64;
        }
        Ok(removed)
    }

    /// No crash cuts an append off.
    fn seal(&self) -> Result<(), AppendError> {
        Ok(())
    }
}

struct MemoryReader {
    shared: Arc<Mutex<Shared>>,
    last: Epoch,
    payload: Arc<[u8]>,
}

impl LogReader for MemoryReader {
    fn next(&mut self, durable: Epoch) -> Result<Option<Batch<'_>>, ReadError> {
        if durable <= self.last {
            return Ok(None);
        }
        let wanted = self.last + 1;
        let shared = self.shared.lock();
        if wanted <= shared.before {
            return Err(ReadError::TooOld { wanted, oldest: shared.before + 1 });
        }
        self.payload = shared.batch(wanted).ok_or(ReadError::Missing { wanted })?.clone();
        self.last = wanted;
        Ok(Some(Batch { epoch: wanted, payload: &self.payload, stored_bytes: self.payload.len() as u64 }))
    }

    fn last_epoch(&self) -> Epoch {
        self.last
    }
}

/// Snapshots in memory. Clones are the same store.
#[derive(Clone, Default)]
pub struct MemorySnapshots {
    published: Arc<Mutex<BTreeMap<Epoch, Arc<Published>>>>,
}

struct Published {
    summary: SnapshotSummary,
    chunks: Vec<Vec<u8>>,
}

impl MemorySnapshots {
    pub fn new() -> MemorySnapshots {
        MemorySnapshots::default()
    }
}

impl SnapshotStore for MemorySnapshots {
    fn begin(&self, first_epoch: Epoch) -> Result<Box<dyn SnapshotWriter>, SnapshotError> {
        Ok(Box::new(MemoryWriter { store: self.clone(), first_epoch, chunks: Vec::new() }))
    }

    fn newest(&self) -> Result<Option<Box<dyn SnapshotReader>>, SnapshotError> {
        let newest = self.published.lock().last_key_value().map(|(_, published)| published.clone());
        Ok(newest.map(|published| Box::new(MemorySnapshotReader { published, next: 0 }) as Box<dyn SnapshotReader>))
    }

    fn delete_superseded(&self) -> Result<Removed, SnapshotError> {
        let mut published = self.published.lock();
        let mut removed = Removed::default();
        while published.len() > 1 {
            let (_, oldest) = published.pop_first().expect("there is more than one");
            removed.units += 1;
            removed.bytes += oldest.summary.bytes;
        }
        Ok(removed)
    }

    /// They disappear with their writer.
    fn discard_unfinished(&self) -> Result<(), SnapshotError> {
        Ok(())
    }
}

struct MemoryWriter {
    store: MemorySnapshots,
    first_epoch: Epoch,
    chunks: Vec<Vec<u8>>,
}

impl SnapshotWriter for MemoryWriter {
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.chunks.push(bytes.to_vec());
        Ok(())
    }

    fn finish(self: Box<Self>, last_epoch: Epoch) -> Result<SnapshotSummary, SnapshotError> {
        let MemoryWriter { store, first_epoch, chunks } = *self;
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let summary = SnapshotSummary { first_epoch, last_epoch, chunks: chunks.len() as u64, bytes };
        store.published.lock().insert(first_epoch, Arc::new(Published { summary, chunks }));
        Ok(summary)
    }
}

struct MemorySnapshotReader {
    published: Arc<Published>,
    next: usize,
}

impl SnapshotReader for MemorySnapshotReader {
    fn summary(&self) -> SnapshotSummary {
        self.published.summary
    }

    fn next_chunk(&mut self) -> Result<Option<&[u8]>, SnapshotError> {
        let chunk = self.published.chunks.get(self.next);
        self.next += usize::from(chunk.is_some());
        Ok(chunk.map(Vec::as_slice))
    }
}
