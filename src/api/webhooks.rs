//! Calls on webhooks.

use super::{Judged, Service, problems};
use crate::{
    auth::Caller,
    engine::Answer,
    webhooks::{Endpoint, Status},
};

/// A webhook, and its state now.
pub struct Shown<'a> {
    pub endpoint: &'a Endpoint,
    pub status: Status,
    /// Age of the oldest event that it still has to get.
    pub lag_seconds: f64,
}

impl Service {
    /// The webhooks that the caller may know of.
    pub fn list_webhooks(&self, caller: &Caller) -> Vec<Shown<'_>> {
        let seen = self.webhooks.endpoints().filter(|endpoint| endpoint.is_seen_by(caller));
        seen.map(|endpoint| self.shown(endpoint)).collect()
    }

    /// Has a parked webhook continue where it was. What changes nothing leaves no record.
    pub fn resume_webhook(&self, caller: &Caller, name: &str) -> Judged<Shown<'_>> {
        let found = self.webhooks.named(name).filter(|endpoint| endpoint.is_seen_by(caller));
        let endpoint = found.ok_or_else(|| problems::WEBHOOK_NOT_FOUND.because("there is no such webhook"))?;
        let durable_at = if endpoint.resume() {
            let noted = self.engine.note_webhook_resumed(self.now(), caller.actor(), name);
            self.signal.notify();
            noted.durable_at
        } else {
            0
        };
        Ok(Answer { value: self.shown(endpoint), durable_at })
    }

    fn shown<'a>(&self, endpoint: &'a Endpoint) -> Shown<'a> {
        let status = endpoint.status();
        let lag_seconds = status.lag_seconds(self.engine.time(self.now()));
        Shown { endpoint, status, lag_seconds }
    }
}
