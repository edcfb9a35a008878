//! One function per call: parse, ask the engine, answer.

mod batch;
mod customers;
mod events;
pub mod pages;
pub mod problems;
mod reports;
mod reservations;
mod sales;
mod status;
pub mod trail;

use std::rc::Rc;

use bytes::Bytes;
use hyper::{
    Request, StatusCode,
    header::{HeaderMap, HeaderName},
};
use serde::Serialize;

use super::{
    Body, BoxedRequest, BoxedResponse,
    body::{self, Limit},
    buffers::Share,
    closing::Inbound,
    problem,
    router::{Matched, Route},
    waiters::OutcomeUnknown,
    worker::{Call, Service, Worker},
};
use crate::{
    engine::Answer,
    sale::rule::{Rule, bare_key},
    sale::settings::Invalid,
};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Calls that need an authenticated caller.
pub async fn handle(worker: &Rc<Worker>, Call { matched, sale, caller }: Call, request: BoxedRequest) -> BoxedResponse {
    let (subject, caller) = (&matched.subject, &caller);
    let judged = match matched.route {
        Route::ListSales => sales::list(worker, caller, request.uri().query()).await,
        Route::PutSale => sales::put(worker, caller, subject, request).await,
        Route::PatchSale => sales::patch(worker, caller, subject, request).await,
        Route::GetSale => sales::get(worker, subject, request.headers()).await,
        Route::PauseSale | Route::ResumeSale | Route::CloseSale => {
            sales::turn(worker, caller, matched.route, subject, request).await
        }
        Route::Availability => Ok(sales::availability(worker, subject).await),
        Route::Report => at_once(reports::get(worker, caller, subject, request.uri().query()).await),
        Route::Adjust => sales::adjust(worker, caller, &matched, request).await,
        Route::Reserve => reservations::reserve(worker, sale, request).await,
        Route::ReserveBatch => at_once(batch::reserve(worker, subject, request).await),
        Route::CustomerReservations => Box::pin(reservations::of_customer(worker, sale, request.uri().query())).await,
        Route::GetReservation => reservations::get(worker, caller, subject),
        Route::Confirm => reservations::confirm(worker, caller, subject, request).await,
        Route::Release => reservations::release(worker, caller, subject, request).await,
        Route::Extend => reservations::extend(worker, caller, subject, request).await,
        Route::EraseCustomer => customers::erase(worker, caller, subject),
        Route::Audit => at_once(Box::pin(trail::get(worker, caller, request.uri().query())).await),
        Route::Events => at_once(events::follow(worker, caller, request).await),
        Route::Status => at_once(status::get(worker, caller).await),
        Route::Console | Route::ConsoleFile | Route::Docs | Route::DocsFile => {
            return handle_public(worker, matched, &request);
        }
        Route::Problem | Route::OpenApi | Route::Unknown => {
            return handle_public(worker, matched, &request);
        }
    };
    let answer = match judged {
        Ok(answer) => answer,
        Err(refused) => return worker.rest_on_durable(refused).await,
    };
    // Answers wait only here, after the call has released everything that it read, so that connections can reuse the memory.
    match worker.durable(answer.durable_at).await {
        Ok(()) => answer.value,
        Err(OutcomeUnknown) => problem::outcome_unknown(),
    }
}

/// Calls that anybody may make.
pub fn handle_public(worker: &Worker, matched: Matched, request: &Request<Inbound>) -> BoxedResponse {
    let answered = match matched.route {
        Route::Console => pages::CONSOLE.page(request.headers()),
        Route::ConsoleFile => pages::CONSOLE.file(&matched.subject, request.headers()),
        Route::Docs => pages::DOCS.page(request.headers()),
        Route::DocsFile => pages::DOCS.file(&matched.subject, request.headers()),
        Route::Problem => problems::get(&matched.subject, request.headers()),
        Route::OpenApi => Ok(contract(worker)),
        _ => Err(problem::NOT_FOUND.respond("the API has no such path")),
    };
    answered.unwrap_or_else(|refused| refused)
}

/// The OpenAPI document.
fn contract(worker: &Worker) -> BoxedResponse {
    let contracts = &worker.service.contracts;
    let asks_for_key = worker.service.keyring.load().asks_for_key();
    let contract = if asks_for_key { &contracts.with_keys } else { &contracts.open };
    body::revalidated(json_bytes(StatusCode::OK, contract.clone()))
}

/// A response, or the problem to answer instead.
type Answered = Result<BoxedResponse, BoxedResponse>;

/// A response to send once it is durable, or a problem, which shows no state.
type Judged = Result<Answer<BoxedResponse>, BoxedResponse>;

fn at_once(answered: Answered) -> Judged {
    answered.map(|value| Answer { value, durable_at: 0 })
}

/// The body of one of the small calls.
async fn read_small(worker: &Worker, request: BoxedRequest, required: bool) -> Result<Bytes, BoxedResponse> {
    let limits = worker.limits();
    let limit = Limit { bytes_max: limits.body_bytes_max, time_max: limits.body_read_time, share: Share::Small };
    body::read(&worker.service.buffers, request, limit, required).await
}

fn json(status: StatusCode, value: &impl Serialize) -> BoxedResponse {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, value).expect("answers are plain JSON");
    json_bytes(status, bytes)
}

/// As `json`, for long answers: they count towards the buffers until they are sent.
fn long_json(service: &Service, status: StatusCode, value: &impl Serialize) -> BoxedResponse {
    let bytes = serde_json::to_vec(value).expect("answers are plain JSON");
    service.buffers.hold_answer(bytes).map_or_else(BoxedResponse::from, |bytes| json_bytes(status, bytes))
}

/// As `long_json`, for a call that has changed something: it is answered even if the buffers are full.
fn owed_json(service: &Service, status: StatusCode, value: &impl Serialize) -> BoxedResponse {
    let bytes = serde_json::to_vec(value).expect("answers are plain JSON");
    json_bytes(status, service.buffers.hold_owed_answer(bytes))
}

fn json_bytes(status: StatusCode, bytes: impl Into<Body>) -> BoxedResponse {
    body::respond(status, "application/json", bytes)
}

/// The `Idempotency-Key`, bare or quoted.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, BoxedResponse> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = bare_key(value.to_str().unwrap_or("")).filter(|_| values.next().is_none());
    let wrong = || Invalid::new("", format!("the header Idempotency-Key {}; send it only once", Rule::IdempotencyKey));
    key.map(Some).ok_or_else(|| problem::invalid(&[wrong()]))
}
