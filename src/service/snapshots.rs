//! Takes snapshots when the journal has grown enough, and removes batches that are no longer needed.

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
    journal::{Cause, CommitSignal, Epoch, Log, SnapshotStore},
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
    pub log: Arc<dyn Log>,
    pub snapshots: Arc<dyn SnapshotStore>,
    pub signal: CommitSignal,
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
        let Parts { engine, log, snapshots, signal, telemetry, backlog, store, .. } = &parts;
        let mut first_epoch = newest(&**snapshots);
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
                match take(engine, &**snapshots, signal, telemetry) {
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
            trim(&**log, &**snapshots, first_epoch.min(store.applied_epoch() + 1));
            sweep.removed(&parts);
            thread::park_timeout(INTERVAL);
        }
    })
}

/// Takes a snapshot while the service serves.
pub fn take(
    engine: &Engine,
    snapshots: &dyn SnapshotStore,
    signal: &CommitSignal,
    telemetry: &Telemetry,
) -> Result<SnapshotTaken, SnapshotError> {
    let started = Instant::now();
    let taken = engine.snapshot(snapshots, |_| {
        signal.notify();
        thread::sleep(Duration::from_millis(1));
    });
    let taken = taken.inspect_err(|_| {
        // What is there of it would take room from the journal.
        let _ = snapshots.discard_unfinished();
    })?;
    let seconds = started.elapsed().as_secs_f64();
    telemetry.journal.snapshot_taken(taken.bytes, seconds);
    tracing::info!(first_epoch = taken.first_epoch, bytes = taken.bytes, seconds, "snapshot taken");
    Ok(taken)
}

/// The epoch from which the newest snapshot needs the journal; 0 when there is no snapshot.
fn newest(snapshots: &dyn SnapshotStore) -> Epoch {
    match snapshots.newest() {
        Ok(snapshot) => snapshot.map_or(0, |snapshot| snapshot.summary().first_epoch),
        Err(_) => 0,
    }
}

/// Removes what is no longer needed: snapshots but the newest, and batches before `keep_from`.
fn trim(log: &dyn Log, snapshots: &dyn SnapshotStore, keep_from: Epoch) {
    let removed = snapshots.delete_superseded().map_err(Cause::from).and_then(|snapshots| {
        let batches = log.trim(keep_from)?;
        Ok((snapshots.units + batches.units, snapshots.bytes + batches.bytes))
    });
    match removed {
        Ok((0, _)) => {}
        Ok((units, bytes)) => tracing::info!(units, bytes, "removed old snapshots and batches from the journal"),
        Err(error) => tracing::warn!(%error, "could not remove what is no longer needed from the journal"),
    }
}
