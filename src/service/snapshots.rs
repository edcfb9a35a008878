//! Takes snapshots when the journal has grown enough, and removes batches that are no longer needed.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{StartError, Stoppable, backlog::Backlog, priority::run_beside_requests, sweep::Sweep};
use crate::{
    clock::{Clock, Runtime},
    config::Config,
    engine::{Engine, SnapshotError, SnapshotTaken},
    journal::{Cause, CommitSignal, Epoch, Log, ReadError, SnapshotStore},
    store::StoreStatus,
    telemetry::Telemetry,
    webhooks::Webhooks,
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
    pub runtime: Arc<dyn Runtime>,
    pub telemetry: Arc<Telemetry>,
    pub backlog: Arc<Backlog>,
    pub store: Arc<StoreStatus>,
    pub webhooks: Arc<Webhooks>,
}

pub(super) fn start(config: &Config, parts: Parts) -> Result<Stoppable, StartError> {
    let settings = Settings {
        journal_bytes: config.snapshot.journal_bytes,
        erase_seconds: config.privacy.journal_erase_seconds,
        webhook_bytes_max: config.journal.webhook_bytes_max,
    };
    Stoppable::start("snapshots", move |stop| {
        // It holds a shard's lock while it looks at a bucket.
        run_beside_requests();
        let is_stopping = || stop.load(Ordering::Acquire);
        let (signal, runtime) = (parts.signal.clone(), parts.runtime.clone());
        let mut wait = || {
            signal.notify();
            runtime.sleep(Duration::from_millis(1));
            !is_stopping()
        };
        let mut snapshots = Snapshots::new(settings, parts);
        snapshots.look_back(is_stopping);
        while !is_stopping() {
            thread::park_timeout(snapshots.step(&mut wait));
        }
    })
}

/// Limits of what the journal keeps.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How much the journal grows between two snapshots.
    pub journal_bytes: u64,
    /// How long an erased customer may stay in the journal.
    pub erase_seconds: u64,
    /// How much of the journal is kept for webhooks that are behind.
    pub webhook_bytes_max: u64,
}

/// Decides when a snapshot is due, takes it, and deletes older snapshots and batches.
pub struct Snapshots {
    parts: Parts,
    settings: Settings,
    first_epoch: Epoch,
    appended_at_last: u64,
    failed_at: Option<Instant>,
    sweep: Sweep,
    has_told_webhooks: bool,
}

impl Snapshots {
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let (first_epoch, appended_at_last) = (newest(&*parts.snapshots), parts.backlog.appended_total());
        let sweep = Sweep::new(settings.erase_seconds);
        Self { parts, settings, first_epoch, appended_at_last, failed_at: None, sweep, has_told_webhooks: false }
    }

    /// Finds customers who were erased in earlier runs.
    pub fn look_back(&self, is_stopping: impl Fn() -> bool) {
        if let Err(error) = Sweep::look_back(&self.parts, is_stopping) {
            tracing::warn!(%error, "could not search the journal for customers that were erased before this start");
        }
    }

    /// Does what is due, and returns how long to wait before the next call. `wait`: lets the journal commit; false: stop.
    pub fn step(&mut self, wait: &mut dyn FnMut() -> bool) -> Duration {
        let Parts { engine, log, snapshots, telemetry, backlog, store, runtime, .. } = &self.parts;
        let sweeps = self.sweep.begin(&self.parts, wait);
        let appended = backlog.appended_total();
        let waits = self.failed_at.is_some_and(|at| runtime.monotonic() - at < RETRY);
        if sweeps || (appended - self.appended_at_last >= self.settings.journal_bytes && !waits) {
            match take(engine, &**snapshots, telemetry, &**runtime, || _ = wait()) {
                Ok(taken) => {
                    (self.first_epoch, self.appended_at_last, self.failed_at) = (taken.first_epoch, appended, None);
                }
                Err(error) => {
                    tracing::warn!(%error, "a snapshot failed; the service tries again, and keeps the journal \
                                            until then");
                    self.failed_at = Some(runtime.monotonic());
                    if sweeps {
                        self.sweep.failed(&self.parts);
                    }
                }
            }
        }
        let keep_from = self.first_epoch.min(store.applied_epoch() + 1);
        let kept = self.kept_for_webhooks(keep_from).unwrap_or(keep_from);
        if trim(&**log, &**snapshots, kept) || !self.has_told_webhooks {
            self.tell_webhooks();
        }
        self.sweep.removed(&self.parts);
        INTERVAL
    }

    /// The batch from which the journal is kept for webhooks that are behind. None if nothing needs to be kept for them, or if erased
    /// customers have to leave. A webhook that is too far behind misses events, and does not keep the journal from others.
    fn kept_for_webhooks(&self, otherwise: Epoch) -> Option<Epoch> {
        let most = self.settings.webhook_bytes_max;
        if most == 0 || self.sweep.is_under_way() {
            return None;
        }
        let is_near = |needed: &Epoch| {
            *needed < otherwise && self.parts.log.bytes_after(needed - 1).is_ok_and(|bytes| bytes <= most)
        };
        self.parts.webhooks.needs_from().filter(is_near).min()
    }

    /// Tells webhooks with which batch the journal begins.
    fn tell_webhooks(&mut self) {
        let Parts { engine, log, webhooks, .. } = &self.parts;
        if let Err(ReadError::TooOld { oldest, .. }) = log.read(0).next(engine.durability().epoch()) {
            webhooks.journal_begins(oldest);
        }
        self.has_told_webhooks = true;
    }
}

/// Takes a snapshot while the service serves. `wait`: lets the journal commit.
pub fn take(
    engine: &Engine,
    snapshots: &dyn SnapshotStore,
    telemetry: &Telemetry,
    runtime: &dyn Runtime,
    mut wait: impl FnMut(),
) -> Result<SnapshotTaken, SnapshotError> {
    let started = runtime.monotonic();
    let taken = engine.snapshot(snapshots, |_| wait());
    let taken = taken.inspect_err(|_| {
        // What is there of it would take room from the journal.
        let _ = snapshots.discard_unfinished();
    })?;
    let seconds = (runtime.monotonic() - started).as_secs_f64();
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

/// Removes all snapshots but the newest, and batches before `keep_from`. Whether anything was removed.
fn trim(log: &dyn Log, snapshots: &dyn SnapshotStore, keep_from: Epoch) -> bool {
    let removed = snapshots.delete_superseded().map_err(Cause::from).and_then(|snapshots| {
        let batches = log.trim(keep_from)?;
        Ok((snapshots.units + batches.units, snapshots.bytes + batches.bytes))
    });
    match removed {
        Ok((0, _)) => false,
        Ok((units, bytes)) => {
            tracing::info!(units, bytes, "removed old snapshots and batches from the journal");
            true
        }
        Err(error) => {
            tracing::warn!(%error, "could not remove old snapshots and batches from the journal");
            // Some may be gone.
            true
        }
    }
}
