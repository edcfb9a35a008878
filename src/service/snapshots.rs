//! Takes snapshots when the journal has grown enough, and deletes segments that are no longer needed.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{StartError, Stoppable, backlog::Backlog, priority::run_beside_requests, sweep::Sweep};
use crate::{
    clock::{Clock, monotonic},
    config::Config,
    engine::{Engine, SnapshotError, SnapshotTaken},
    journal::{self, Bell, Epoch, Storage},
    store::StoreStatus,
    telemetry::Telemetry,
};

/// How often it is asked whether something is due.
const INTERVAL: Duration = Duration::from_secs(1);

/// Between two tries, when one failed: a disk that was full may have room.
const RETRY: Duration = Duration::from_secs(10);

/// What the thread works with.
pub struct Parts {
    pub engine: Arc<Engine>,
    pub storage: Arc<dyn Storage>,
    pub bell: Bell,
    pub clock: Arc<dyn Clock>,
    pub telemetry: Arc<Telemetry>,
    pub backlog: Arc<Backlog>,
    pub store: Arc<StoreStatus>,
}

pub fn start(config: &Config, parts: Parts) -> Result<Stoppable, StartError> {
    let (journal_bytes, erase_seconds) = (config.snapshot.journal_bytes, config.privacy.journal_erase_seconds);
    Stoppable::start("snapshots", move |stop| {
        // It holds a shard's lock while it looks at a bucket.
        run_beside_requests();
        let Parts { engine, storage, bell, telemetry, backlog, store, .. } = &parts;
        let mut first_epoch = newest(&**storage);
        let mut appended_at_last = backlog.appended_total();
        let mut failed_at = None;
        let mut sweep = Sweep::new(erase_seconds);
        if let Err(error) = Sweep::look_back(&parts, stop) {
            tracing::warn!(%error, "could not search the journal for customers that were erased before this start");
        }
        while !stop.load(Ordering::Acquire) {
            let sweeps = sweep.begin(&parts, stop);
            let appended = backlog.appended_total();
            let waits = failed_at.is_some_and(|at| monotonic() - at < RETRY);
            if sweeps || (appended - appended_at_last >= journal_bytes && !waits) {
                match take(engine, storage, bell, telemetry) {
                    Ok(taken) => (first_epoch, appended_at_last, failed_at) = (taken.first_epoch, appended, None),
                    Err(error) => {
                        tracing::warn!(%error, "a snapshot failed; the service tries again, and keeps the journal \
                                                until then");
                        failed_at = Some(monotonic());
                        if sweeps {
                            sweep.failed(&parts);
                        }
                    }
                }
            }
            prune(&**storage, first_epoch, store.applied_epoch());
            sweep.removed(&parts);
            thread::park_timeout(INTERVAL);
        }
    })
}

/// Takes a snapshot while the service serves.
pub fn take(
    engine: &Engine,
    storage: &Arc<dyn Storage>,
    bell: &Bell,
    telemetry: &Telemetry,
) -> Result<SnapshotTaken, SnapshotError> {
    let started = Instant::now();
    let taken = engine.snapshot(storage, |_| {
        bell.ring();
        thread::sleep(Duration::from_millis(1));
    });
    let taken = taken.inspect_err(|_| {
        // What is there of it would take room from the journal.
        let _ = journal::discard_unfinished(&**storage);
    })?;
    let seconds = started.elapsed().as_secs_f64();
    telemetry.journal.snapshot_taken(taken.bytes, seconds);
    tracing::info!(first_epoch = taken.first_epoch, bytes = taken.bytes, seconds, "snapshot taken");
    Ok(taken)
}

/// The epoch from which the newest snapshot needs the journal; 0 when there is no snapshot.
fn newest(storage: &dyn Storage) -> Epoch {
    match journal::latest(storage) {
        Ok(snapshot) => snapshot.map_or(0, |snapshot| snapshot.summary().first_epoch),
        Err(_) => 0,
    }
}

fn prune(storage: &dyn Storage, snapshot_needs_from: Epoch, store_applied: Epoch) {
    match journal::prune(storage, snapshot_needs_from.min(store_applied + 1)) {
        Ok(pruned) if pruned.files.is_empty() => {}
        Ok(pruned) => tracing::info!(files = pruned.files.len(), bytes = pruned.bytes, "deleted journal files"),
        Err(error) => tracing::warn!(%error, "could not delete journal files that are no longer needed"),
    }
}
