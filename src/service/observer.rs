//! Reads totals into metrics, measures how fast items sell, and folds the exporter's histograms, every second. So a scrape only
//! prints values, and takes no shard's lock. Also collects the status call's figures while somebody asks for them.

use std::{sync::Arc, time::Duration};

use super::{StartError, Stoppable, deadlines::Deadlines, figures, health::ServiceHealth};
use crate::{api, config::Config, http, pace::Pacer};

const INTERVAL: Duration = Duration::from_secs(1);

/// Holds about to expire are counted every so many seconds.
const EXPIRING_EVERY: u64 = 5;

/// Files that tell of certificates and backups are read every so many seconds.
const DEADLINES_EVERY: u64 = 10;

pub(super) fn start(
    edge: &Arc<http::Service>,
    health: &Arc<ServiceHealth>,
    config: &Config,
) -> Result<Stoppable, StartError> {
    let (edge, health, directory) = (edge.clone(), health.clone(), config.data.dir.clone());
    let deadlines = Deadlines::new(config);
    let (mut looks, mut pacer) = (0_u64, Pacer::default());
    let step = move || {
        let api::Service { engine, clock, telemetry, rates, paces, figures: cache, webhooks, .. } = &*edge.api;
        let (now, stock) = (clock.now(), engine.stock());
        pacer.look((now, engine.time(now)), &stock, &engine.catalogue(), paces);
        telemetry.totals.observe(engine, &stock, &paces.get(), now);
        telemetry.waitlists.observe(engine);
        if looks.is_multiple_of(EXPIRING_EVERY) {
            telemetry.totals.observe_expiring(engine, clock.now());
        }
        if looks.is_multiple_of(DEADLINES_EVERY) {
            deadlines.observe(telemetry);
        }
        looks += 1;
        telemetry.shards.observe(engine);
        webhooks.observe(engine.time(clock.now()), engine.durability().epoch());
        telemetry.edge.callers_remembered(rates.remembered());
        telemetry.edge.buffered(edge.buffers.taken());
        telemetry.process.observe(&directory);
        if engine.durability().failed() {
            telemetry.journal.failed();
        }
        if let Some(lag) = health.store_lag() {
            telemetry.store.observe(&lag);
        }
        telemetry.upkeep();
        cache.refresh(|| figures::read(telemetry, &health, engine.time(clock.now())));
        INTERVAL
    };
    Stoppable::every("observer", || {}, step)
}
