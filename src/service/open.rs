//! Opens the log and the snapshots, recovers the state from them, and builds the engine that continues from there.

use std::sync::Arc;

use super::StartError;
use crate::{
    clock::monotonic,
    config::Config,
    engine::{Engine, Recovered},
    journal::{Log, SnapshotStore, files},
};

pub(super) struct Opened {
    pub engine: Engine,
    /// Recovered up to its tail.
    pub log: Arc<dyn Log>,
    pub snapshots: Arc<dyn SnapshotStore>,
}

pub(super) fn open(config: &Config) -> Result<Opened, StartError> {
    // The one place of the service that knows what stores the journal.
    let path = config.journal_dir();
    let (log, snapshots) =
        files::open(&path, config.journal.file_settings()).map_err(|source| StartError::Directory { path, source })?;
    let log: Arc<dyn Log> = Arc::new(log.with_preparing_thread());
    let started = monotonic();

    snapshots.discard_unfinished()?;
    let mut recovered = Recovered::new(config.engine_settings(rand::random()));
    let (mut from, mut reaches) = (1, 0);
    if let Some(mut snapshot) = snapshots.newest()? {
        let summary = snapshot.summary();
        (from, reaches) = (summary.first_epoch, summary.last_epoch);
        while let Some(chunk) = snapshot.next_chunk()? {
            recovered.chunk(chunk)?;
        }
    }
    let of_snapshot = recovered.events();
    let last_epoch = log.recover(from, reaches, |epoch, payload| recovered.batch(epoch, payload))?;
    let events = recovered.events();
    let engine = recovered.finish(last_epoch)?;
    tracing::info!(
        last_epoch,
        of_snapshot,
        of_journal = events - of_snapshot,
        reservations = engine.reservations(),
        seconds = started.elapsed().as_secs_f64(),
        "state recovered"
    );
    Ok(Opened { engine, log, snapshots: Arc::new(snapshots) })
}
