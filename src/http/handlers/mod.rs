//! One function per call: reads the request, makes the call, writes its answer.

mod batch;
mod customers;
mod events;
pub(super) mod pages;
pub(super) mod problems;
mod reports;
mod reservations;
mod sales;
mod status;
pub(super) mod trail;
mod waitlist;
mod webhooks;

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use hyper::{
    Request, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::Serialize;

use super::{
    body::{self, BodyLimit, BoxedRequest},
    buffers::Share,
    closing::Inbound,
    query,
    response::{self, Body, BoxedResponse},
    router::Matched,
    waiters::OutcomeUnknown,
    worker::{Service, Worker},
};
use crate::{
    api::{Judged, StatusChange, calls::Call, refused::Refused},
    auth::Caller,
    engine::{Answer, CatalogueGuard},
    sale::{
        ids::SaleNumber,
        rule::{Rule, bare_key},
        settings::Invalid,
    },
};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An admitted call.
pub(super) struct Admitted {
    pub matched: Matched,
    /// The sale in its path, if it exists.
    pub sale: Option<SaleNumber>,
    pub caller: Arc<Caller>,
    /// In which the sale was looked up.
    pub catalogue: CatalogueGuard,
}

/// Calls that need an authenticated caller.
pub(super) async fn handle(worker: &Rc<Worker>, admitted: Admitted, request: BoxedRequest) -> BoxedResponse {
    let Admitted { matched: Matched { call, subject, sku }, sale, caller, catalogue } = admitted;
    let caller = &caller;
    if let Some(query) = request.uri().query()
        && call.row().refuses_query()
        && let Err(unknown) = query::none(query)
    {
        return worker.refuse(unknown.into()).await;
    }
    // The other calls wait in between: nobody holds a guard of the catalogue while waiting.
    let catalogue = Some(catalogue).filter(|_| call == Call::Reserve);
    let judged = match call {
        Call::ListSales => sales::list(worker, caller, request.uri().query()).await,
        Call::PutSale => sales::put(worker, caller, &subject, request).await,
        Call::PatchSale => sales::patch(worker, caller, &subject, request).await,
        Call::GetSale => sales::get(worker, &subject, request.headers()).await,
        Call::PauseSale => sales::change_status(worker, caller, StatusChange::Pause, &subject, request).await,
        Call::ResumeSale => sales::change_status(worker, caller, StatusChange::Resume, &subject, request).await,
        Call::CloseSale => sales::change_status(worker, caller, StatusChange::Close, &subject, request).await,
        Call::Availability => sales::availability(worker, &subject, request.uri().query()).await,
        Call::Replenishment => sales::replenishment(worker, &subject).await,
        Call::Report => at_once(reports::get(worker, caller, &subject, sale, request.uri().query()).await),
        Call::Adjust => sales::adjust(worker, caller, (&subject, &sku), request).await,
        Call::AdjustAll => Box::pin(sales::adjust_all(worker, caller, &subject, request)).await,
        Call::Transfer => Box::pin(sales::transfer(worker, caller, (&subject, &sku), request)).await,
        Call::ExtendAll => Box::pin(sales::extend_all(worker, caller, &subject, request)).await,
        Call::Reserve => reservations::reserve(worker, caller, catalogue, sale, &subject, request).await,
        Call::ReserveBatch => at_once(batch::reserve(worker, caller, sale, request).await),
        Call::CustomerReservations => {
            Box::pin(reservations::of_customer(worker, caller, sale, request.uri().query())).await
        }
        Call::GetReservation => reservations::get(worker, caller, &subject),
        Call::Confirm => reservations::confirm(worker, caller, &subject, request).await,
        Call::Release => reservations::release(worker, caller, &subject, request).await,
        Call::Change => reservations::change(worker, caller, &subject, request).await,
        Call::Cancel => reservations::cancel(worker, caller, &subject, request).await,
        Call::Extend => reservations::extend(worker, caller, &subject, request).await,
        Call::JoinWaitlist => Box::pin(waitlist::join(worker, caller, sale, &subject, request)).await,
        Call::GetWaitlistEntry => waitlist::get(worker, caller, &subject),
        Call::LeaveWaitlist => Box::pin(waitlist::leave(worker, caller, &subject, request)).await,
        Call::EraseCustomer => customers::erase(worker, caller, &subject),
        Call::Audit => at_once(Box::pin(trail::get(worker, caller, request.uri().query())).await),
        Call::Events => at_once(events::follow(worker, caller, request).await),
        Call::ListWebhooks => at_once(webhooks::list(worker, caller)),
        Call::ResumeWebhook => Box::pin(webhooks::resume(worker, caller, &subject, request)).await,
        Call::Status => at_once(status::get(worker, caller).await),
        Call::Console | Call::ConsoleFile | Call::Docs | Call::DocsFile | Call::Problem | Call::OpenApi => {
            unreachable!("answered by handle_public")
        }
    };
    let answer = match judged {
        Ok(answer) => answer,
        Err(refused) => return worker.refuse(refused).await,
    };
    // Answers wait only here, after the call has released everything that it read, so that connections can reuse the memory.
    match worker.durable(answer.durable_at).await {
        Ok(()) => answer.value,
        Err(OutcomeUnknown) => response::refused(&Refused::outcome_unknown()),
    }
}

/// Calls that anybody may make.
pub(super) fn handle_public(worker: &Worker, matched: &Matched, request: &Request<Inbound>) -> BoxedResponse {
    let answered = match matched.call {
        Call::Console => pages::CONSOLE.page(request.headers()),
        Call::ConsoleFile => pages::CONSOLE.file(&matched.subject, request.headers()),
        Call::Docs => pages::DOCS.page(request.headers()),
        Call::DocsFile => pages::DOCS.file(&matched.subject, request.headers()),
        Call::Problem => problems::get(&matched.subject, request.headers()),
        Call::OpenApi => Ok(contract(worker)),
        _ => unreachable!("its row says that it needs a key"),
    };
    answered.unwrap_or_else(|refused| response::refused(&refused))
}

/// The OpenAPI document.
fn contract(worker: &Worker) -> BoxedResponse {
    let contracts = &worker.service.contracts;
    let asks_for_key = worker.service.api.keyring.load().asks_for_key();
    let contract = if asks_for_key { &contracts.with_keys } else { &contracts.open };
    response::revalidated(json_bytes(StatusCode::OK, contract.clone()))
}

/// A response, or why there is none.
type Answered = Result<BoxedResponse, Refused>;

fn at_once(answered: Answered) -> Judged<BoxedResponse> {
    answered.map(|value| Answer { value, durable_at: 0 })
}

/// The body of one of the small calls.
async fn read_small(worker: &Worker, request: BoxedRequest, required: bool) -> Result<Bytes, Refused> {
    body::read(&worker.service.buffers, request, small(worker), required).await
}

fn small(worker: &Worker) -> BodyLimit {
    let limits = &worker.service.limits;
    BodyLimit { bytes_max: limits.body_bytes_max, time_max: limits.body_read_time, share: Share::Small }
}

fn json(status: StatusCode, value: &impl Serialize) -> BoxedResponse {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, value).expect("answers are plain JSON");
    json_bytes(status, bytes)
}

/// As `json`, for long answers: they count towards the buffers until they are sent.
fn long_json(service: &Service, status: StatusCode, value: &impl Serialize) -> BoxedResponse {
    let bytes = serde_json::to_vec(value).expect("answers are plain JSON");
    match service.buffers.hold_answer(bytes) {
        Ok(bytes) => json_bytes(status, bytes),
        Err(full) => response::refused(&full.into()),
    }
}

/// As `long_json`, for a call that has changed something: it is answered even if the buffers are full.
fn owed_json(service: &Service, status: StatusCode, value: &impl Serialize) -> BoxedResponse {
    let bytes = serde_json::to_vec(value).expect("answers are plain JSON");
    json_bytes(status, service.buffers.hold_owed_answer(bytes))
}

fn json_bytes(status: StatusCode, bytes: impl Into<Body>) -> BoxedResponse {
    response::respond(status, "application/json", bytes)
}

fn replayed_if(replayed: bool, mut response: BoxedResponse) -> BoxedResponse {
    if replayed {
        response.headers_mut().insert(&IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The `Idempotency-Key`, bare or quoted.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = bare_key(value.to_str().unwrap_or("")).filter(|_| values.next().is_none());
    let wrong = || Invalid::new("", format!("the header Idempotency-Key {}; send it only once", Rule::IdempotencyKey));
    key.map(Some).ok_or_else(|| wrong().into())
}
