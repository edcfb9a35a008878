//! Reads totals into metrics and keeps the exporter's histograms small, every second.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use super::{StartError, Stoppable, health::ServiceHealth};
use crate::{clock::Clock, engine::Engine, telemetry::Telemetry};

const INTERVAL: Duration = Duration::from_secs(1);

pub fn start(
    engine: &Arc<Engine>,
    clock: &Arc<dyn Clock>,
    telemetry: &Arc<Telemetry>,
    health: &Arc<ServiceHealth>,
) -> Result<Stoppable, StartError> {
    let (engine, clock, telemetry, health) = (engine.clone(), clock.clone(), telemetry.clone(), health.clone());
    Stoppable::start("observer", move |stop| {
        while !stop.load(Ordering::Acquire) {
            telemetry.totals.observe(&engine, clock.now());
            if engine.durability().failed() {
                telemetry.journal.failed();
            }
            if let Some(lag) = health.store_lag() {
                telemetry.store.observe(&lag);
            }
            telemetry.upkeep();
            thread::park_timeout(INTERVAL);
        }
    })
}
