//! Reads snapshot and journal at start-up, and builds the engine and the writer that continue from there.

use std::{sync::Arc, time::Instant};

use super::StartError;
use crate::{
    config::Config,
    engine::{Engine, Recovered},
    journal::{self, DirectoryStorage, Storage, Writer},
};

pub struct Opened {
    pub engine: Engine,
    pub writer: Writer,
    pub storage: Arc<dyn Storage>,
}

pub fn open(config: &Config) -> Result<Opened, StartError> {
    let path = config.journal_dir();
    let storage = DirectoryStorage::open(&path).map_err(|source| StartError::Directory { path, source })?;
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let started = Instant::now();

    journal::discard_unfinished(&*storage).map_err(journal::SnapshotError::from)?;
    let mut recovered = Recovered::new(config.engine_settings(rand::random()));
    let (mut from, mut reaches) = (1, 0);
    if let Some(mut snapshot) = journal::latest(&*storage)? {
        let summary = snapshot.summary();
        (from, reaches) = (summary.first_epoch, summary.last_epoch);
        while let Some(chunk) = snapshot.next_chunk()? {
            recovered.chunk(chunk)?;
        }
    }
    let of_snapshot = recovered.events();
    let tail = journal::replay(&*storage, from, reaches, |epoch, payload| recovered.batch(epoch, payload))?;
    let events = recovered.events();
    let engine = recovered.finish(tail.last_epoch)?;
    tracing::info!(
        last_epoch = tail.last_epoch,
        of_snapshot,
        of_journal = events - of_snapshot,
        reservations = engine.reservations(),
        seconds = started.elapsed().as_secs_f64(),
        "state recovered"
    );
    let writer = Writer::open(storage.clone(), &tail, config.journal.writer_settings())?;
    Ok(Opened { engine, writer, storage })
}
