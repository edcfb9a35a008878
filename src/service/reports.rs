//! The thread that reads reports from the store, at the lowest priority, so that requests go first.

use std::{sync::Arc, thread, time::Duration};

use super::{StartError, lag::CommitTimes, yield_to_requests};
use crate::{
    clock::{SystemClock, monotonic},
    config::{Config, StoreTarget},
    engine::Engine,
    reports::{Parts, Reading, Reports, Settings},
    store::{PostgresReader, SqliteStore, StoreError, StoreReader},
};

pub(super) fn start(
    config: &Config,
    engine: &Arc<Engine>,
    commit_times: &Arc<CommitTimes>,
) -> Result<Reports, StartError> {
    let (engine, commit_times, target) = (engine.clone(), commit_times.clone(), config.store_target());
    let lag = move |cursor: u64| {
        let durable = engine.durability().epoch();
        (durable.saturating_sub(cursor), commit_times.lag_seconds(cursor, durable, monotonic()))
    };
    let parts =
        Parts { open: Box::new(move |time| open(&target, time)), lag: Box::new(lag), clock: Arc::new(SystemClock) };
    let limits = &config.limits;
    let settings = Settings {
        waiting_max: limits.reports_max,
        time: Duration::from_secs(limits.report_seconds),
        kept: Duration::from_secs(limits.report_kept_seconds),
    };
    let (reading, reports) = Reading::new(parts, settings);
    let run = move || {
        yield_to_requests();
        reading.run();
    };
    // Ends when the last worker has ended: it changes nothing, so nothing waits for it.
    thread::Builder::new().name("reports".to_owned()).spawn(run).map_err(StartError::Thread)?;
    Ok(reports)
}

fn open(target: &StoreTarget, time: Duration) -> Result<Box<dyn StoreReader>, StoreError> {
    Ok(match target {
        StoreTarget::Sqlite(path) => Box::new(SqliteStore::open_read_only(path)?),
        StoreTarget::Postgres(settings) => {
            let mut settings = settings.clone();
            settings.connect_time = settings.connect_time.min(time);
            settings.statement_time = settings.statement_time.min(time);
            Box::new(PostgresReader::open(&settings)?)
        }
    })
}
