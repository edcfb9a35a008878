//! Calls on webhooks.

use super::{Access, BARE, Method, Row, Tag, links, may_ask, ok_then};
use crate::{api::problems, auth::Role};

pub(super) static LIST_WEBHOOKS: Row = Row {
    name: "list_webhooks",
    method: Method::Get,
    path: "/v1/webhooks",
    access: Access::Any(Role::Viewer),
    of_all_channels: true,
    id: "listWebhooks",
    tag: Tag::Events,
    summary: "List webhooks and their states",
    description: "The endpoints that the configuration names, and whether events arrive there. A key that is limited to certain \
                  sales sees those that get only events of these sales.",
    answers: &[ok_then("WebhookList", "The webhooks, by name", links::OF_WEBHOOKS)],
    ..BARE
};

pub(super) static RESUME_WEBHOOK: Row = Row {
    name: "resume_webhook",
    method: Method::Post,
    path: "/v1/webhooks/{webhook}/resume",
    access: Access::Any(Role::Operator),
    of_all_channels: true,
    id: "resumeWebhook",
    tag: Tag::Events,
    summary: "Resume a parked webhook",
    description: "The service sends events to a parked webhook again, beginning with the first that did not arrive. A webhook that fails \
                  tries again at once. Nothing happens if the webhook is active.",
    body: may_ask("NoMembers"),
    answers: &[ok_then("Webhook", "The webhook, resumed", &[])],
    problems: &[&problems::WEBHOOK_NOT_FOUND],
    ..BARE
};
