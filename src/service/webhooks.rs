//! The thread that sends events to webhooks, at the lowest priority. Without webhooks there is none.

use std::sync::Arc;

use super::{StartError, yield_to_requests};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    engine::Engine,
    events::Events,
    telemetry::Telemetry,
    webhooks::{self, Delivering, Parts, Webhooks},
};

pub(super) fn start(
    config: &Config,
    engine: &Arc<Engine>,
    events: &Events,
    clock: &Arc<dyn Clock>,
    telemetry: &Arc<Telemetry>,
) -> Result<(Arc<Webhooks>, Option<Delivering>), StartError> {
    let settings = config.webhooks.settings();
    if settings.is_empty() {
        webhooks::forget_all(&config.data.dir)?;
        return Ok((Arc::default(), None));
    }
    let parts = Parts {
        engine: engine.clone(),
        events: events.clone(),
        clock: clock.clone(),
        runtime: Arc::new(SystemClock),
        telemetry: telemetry.clone(),
    };
    let (webhooks, delivering) = webhooks::start(settings, config.data.dir.clone(), parts, yield_to_requests)?;
    Ok((webhooks, Some(delivering)))
}
