//! Calls on webhooks.

use super::{Judged, Service, problems};
use crate::{
    auth::Caller,
    engine::{Answer, Epoch},
    webhooks::{Endpoint, Status},
};

/// A webhook, and its state now.
pub struct Shown<'a> {
    pub endpoint: &'a Endpoint,
    pub status: Status,
    /// Age of the oldest event that it still has to get.
    pub lag_seconds: f64,
    /// Whether the journal has more for it than was read.
    pub has_unread: bool,
}

impl Service {
    /// The webhooks that the caller may know of.
    pub fn list_webhooks(&self, caller: &Caller) -> Vec<Shown<'_>> {
        let seen = self.webhooks.endpoints().filter(|endpoint| endpoint.is_seen_by(caller));
        seen.map(|endpoint| self.shown(endpoint, self.engine.durability().epoch())).collect()
    }

    /// Has a parked webhook continue where it was, and one that fails try again at once, when the record of this is durable. What
    /// changes nothing leaves no record.
    pub fn resume_webhook(&self, caller: &Caller, name: &str) -> Judged<Shown<'_>> {
        let found = self.webhooks.named(name).filter(|endpoint| endpoint.is_seen_by(caller));
        let endpoint = found.ok_or_else(|| problems::WEBHOOK_NOT_FOUND.because("there is no such webhook"))?;
        let record = || self.engine.note_webhook_resumed(self.now(), caller.actor(), name).durable_at;
        let recorded = endpoint.resume(record);
        if recorded.is_some() {
            self.signal.notify();
        }
        let durable_at = recorded.unwrap_or_else(|| self.engine.durability().epoch());
        Ok(Answer { value: self.shown(endpoint, durable_at), durable_at })
    }

    /// As it is when the batches up to `durable` are durable.
    fn shown<'a>(&self, endpoint: &'a Endpoint, durable: Epoch) -> Shown<'a> {
        let (status, now) = (endpoint.status(durable), self.engine.time(self.now()));
        let (lag_seconds, has_unread) = (status.lag_seconds(now), status.has_unread(now));
        Shown { endpoint, status, lag_seconds, has_unread }
    }
}
