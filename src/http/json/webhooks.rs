//! The JSON of webhooks.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{api::ShownWebhook, sale::time::Timestamp, webhooks::LastFailure};

/// The webhooks that the key may know of.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookList)]
pub struct WebhooksBody<'a> {
    /// The webhooks, by name.
    pub webhooks: Vec<WebhookBody<'a>>,
}

/// An endpoint that is sent events, and whether they arrive.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookBody<'a> {
    /// Its name in the configuration.
    name: &'a str,
    /// Where events are posted to, without the query.
    url: String,
    /// Types of events that it gets, with `*` for any characters; empty: all.
    events: Vec<&'a str>,
    /// Ids of sales whose events it gets, with `*` for any characters; empty: all.
    sales: Vec<&'a str>,
    /// `active`: nothing failed that is not delivered by now; `failing`: an event could not be delivered yet; `parked`: the service
    /// sends nothing until an operator resumes it.
    state: &'static str,
    /// Events that were read and are to be sent, at most about 1000.
    waiting: u64,
    /// Whether there is more in the journal that was not read yet: `waiting` is then the least that it has to get.
    has_unread: bool,
    /// Age of the oldest event that was not delivered, in seconds; 0 if there is none.
    lag_seconds: f64,
    /// When the last event arrived, since the service started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    last_delivered_at: Option<Timestamp>,
    /// The last delivery that failed, since the service started.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<LastFailureBody>,
    /// Since when an event could not be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    failing_since: Option<Timestamp>,
    /// When it was parked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    parked_at: Option<Timestamp>,
    /// When it last missed events, because the journal no longer had them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    skipped_at: Option<Timestamp>,
}

/// A delivery that failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookFailure)]
pub struct LastFailureBody {
    /// When it failed.
    #[schema(value_type = String)]
    at: Timestamp,
    /// Why, for people.
    detail: String,
}

impl<'a> WebhookBody<'a> {
    pub fn of(shown: ShownWebhook<'a>) -> Self {
        let ShownWebhook { endpoint, status, lag_seconds, has_unread } = shown;
        let settings = &endpoint.settings;
        Self {
            name: &settings.name,
            url: settings.target.shown(),
            events: settings.events.iter().map(|pattern| pattern.as_str()).collect(),
            sales: settings.sales.iter().map(|pattern| pattern.as_str()).collect(),
            state: status.state().as_str(),
            waiting: status.waiting,
            has_unread,
            lag_seconds,
            last_delivered_at: status.last_delivered_at,
            last_failure: status.last_failure.map(|LastFailure { at, detail }| LastFailureBody { at, detail }),
            failing_since: status.failing_since,
            parked_at: status.parked_at,
            skipped_at: status.skipped_at,
        }
    }
}
