//! The feed's thread, at the lowest priority: in a spike readers may lag, but requests may not.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::watch;

use super::{StartError, cursor_key, yield_to_requests};
use crate::{
    config::Config,
    engine::Engine,
    events::{Events, Hub, Parts, Settings},
    journal::Log,
    telemetry::Telemetry,
};

pub(super) struct Following {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

pub(super) fn start(
    config: &Config,
    engine: &Arc<Engine>,
    log: &Arc<dyn Log>,
    telemetry: &Arc<Telemetry>,
) -> Result<(Following, Events), StartError> {
    let parts = Parts { engine: engine.clone(), log: log.clone(), telemetry: telemetry.clone() };
    let settings = Settings {
        readers_max: config.limits.event_readers_max,
        stall_time: Duration::from_secs(config.limits.event_stall_seconds),
        cursor_key: cursor_key::of(&config.data.dir)?,
    };
    let (hub, events, stop) = Hub::new(parts, settings);
    let run = move || {
        yield_to_requests();
        hub.run();
    };
    let thread = thread::Builder::new().name("events".to_owned()).spawn(run).map_err(StartError::Thread)?;
    Ok((Following { stop, thread: Some(thread) }, events))
}

impl Following {
    /// Ends every reader's answer, and waits until each has its last event.
    pub(super) fn stop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the feed's thread does not panic");
        }
    }
}
