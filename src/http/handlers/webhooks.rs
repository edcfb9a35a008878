//! Webhooks: their states, and resuming one.

use hyper::StatusCode;

use super::{Answered, json, read_small};
use crate::{
    api::Judged,
    auth::Caller,
    http::{
        body::BoxedRequest,
        json::{
            parse,
            requests::NoBody,
            webhooks::{WebhookBody, WebhooksBody},
        },
        response::BoxedResponse,
        worker::Worker,
    },
};

pub(super) fn list(worker: &Worker, caller: &Caller) -> Answered {
    let webhooks = worker.api.service.list_webhooks(caller).into_iter().map(WebhookBody::of).collect();
    Ok(json(StatusCode::OK, &WebhooksBody { webhooks }))
}

pub(super) async fn resume(
    worker: &Worker,
    caller: &Caller,
    webhook: &str,
    request: BoxedRequest,
) -> Judged<BoxedResponse> {
    let bytes = read_small(worker, request, false).await?;
    let NoBody {} = parse::parse_optional(&bytes, worker.limits())?;
    let answer = worker.api.service.resume_webhook(caller, webhook)?;
    Ok(answer.map(|shown| json(StatusCode::OK, &WebhookBody::of(shown))))
}
