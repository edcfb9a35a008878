//! The write-behind thread and its state.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{
    StartError, Stoppable, backlog::Backlog, feed::JournalFeed, identity, priority::yield_no_longer, yield_to_requests,
};
use crate::{
    clock::Clock,
    config::{self, Config, StoreTarget},
    engine::Engine,
    journal::Log,
    reconcile::{self, ReconcileError},
    sale::time::Timestamp,
    store::{
        AbsencesFile, AfterKeeping, Horizon, PostgresStore, Rebuild, Retention, Sink, SqliteStore, StoreError,
        StoreStatus, WriteBehind,
    },
};

/// Starts to write behind, and says whether the store is there.
pub(super) fn start(
    config: &Config,
    engine: &Arc<Engine>,
    clock: &Arc<dyn Clock>,
    log: &Arc<dyn Log>,
    backlog: &Arc<Backlog>,
) -> Result<(Stoppable, Arc<StoreStatus>), StartError> {
    let feed = JournalFeed::new(log.clone(), engine.clone(), backlog.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let sink: Box<dyn Sink> = match config.store_target() {
        StoreTarget::Sqlite(path) => Box::new(SqliteStore::new(path)),
        StoreTarget::Postgres(settings) => Box::new(PostgresStore::new(*settings, stop.clone())?),
    };
    let owner = identity::of(&config.data.dir)?;
    let mut write_behind = WriteBehind::new(feed, sink, owner, config.store.write_behind_settings());
    if let Some(retention) = retention(config, engine, clock) {
        write_behind.keep(retention);
    }
    // A store of another journal stops the start. A store that is away or needs a repair does not.
    match write_behind.settle() {
        Ok(()) => {}
        Err(error @ (StoreError::OtherOwner { .. } | StoreError::Ahead { .. })) => return Err(error.into()),
        Err(error) if error.ends_following() => return Err(error.into()),
        Err(error) => {
            let error = error.explained();
            tracing::warn!(
                error,
                "cannot write to the store; the service runs without it, and the journal keeps everything until it is \
                 back"
            );
            write_behind.expect_the_worst()?;
        }
    }
    write_behind.rebuild_with(rebuild(config, engine));
    let status = write_behind.status();
    let drain_time = config.store.drain_time();
    let store = Stoppable::start_with(stop, "store", move |stop| {
        yield_to_requests();
        let mut run = || {
            while !stop.load(Ordering::Acquire) {
                thread::park_timeout(write_behind.advance()?);
            }
            yield_no_longer();
            write_behind.drain(drain_time)
        };
        if let Err(error) = run() {
            let error: StoreError = error;
            tracing::error!(%error, "the thread that writes the store has ended; the journal keeps everything until a \
                                     restart");
        }
    })?;
    Ok((store, status))
}

/// What `doorbuster rebuild` does, while the service runs: the journal is read beside it, as far as it is durable.
fn rebuild(config: &Config, engine: &Arc<Engine>) -> Rebuild {
    let (data, settings, target) =
        (config.data.dir.clone(), config.engine_settings(rand::random()), config.store_target());
    let engine = engine.clone();
    Box::new(move |token| {
        let durable = engine.durability().epoch();
        match reconcile::rebuild_as(&data, &settings, token, durable, &target) {
            Ok(epoch) => Ok(epoch),
            Err(ReconcileError::Store(error)) => Err(error),
            Err(error) => Err(StoreError::Rebuild(error.to_string())),
        }
    })
}

/// For how long the store keeps rows; None is for ever. To be called behind a tick.
fn retention(config: &Config, engine: &Arc<Engine>, clock: &Arc<dyn Clock>) -> Option<Retention> {
    const DAY_MILLIS: u64 = 86_400_000;
    let (days, asked, clock) = (config.store.keep_days, engine.clone(), clock.clone());
    // The tick had everything leave memory that was over for engine.retention_seconds, which is less than is kept: the next
    // batch says so. Whatever is over from now on leaves memory long before its day comes.
    let applied = engine.durability().epoch() + u64::from(engine.has_changes());
    let horizon = move || {
        let today = asked.time(clock.now()).millis() / DAY_MILLIS;
        Horizon { before: Timestamp::from_millis(today.saturating_sub(days) * DAY_MILLIS), applied }
    };
    let after = match config.store.after_keeping {
        config::AfterKeeping::Archive => AfterKeeping::Archive,
        config::AfterKeeping::Delete => AfterKeeping::Delete,
    };
    let step_rows = config.store.keep_step_rows;
    let absences = AbsencesFile::of(&config.data.dir);
    (days > 0).then(|| Retention { after, step_rows, horizon: Box::new(horizon), absences })
}
