//! One function per call: parse, ask the engine, answer.

mod batch;
pub mod console;
mod customers;
mod events;
pub mod problems;
mod reports;
mod reservations;
mod sales;
mod status;

use std::rc::Rc;

use bytes::Bytes;
use hyper::{
    Request, StatusCode,
    header::{HeaderMap, HeaderName},
};
use serde::Serialize;

use super::{
    Body, BoxedRequest, BoxedResponse, body,
    closing::Inbound,
    problem,
    router::{Matched, Route},
    waiters::OutcomeUnknown,
    worker::{Call, Worker},
};
use crate::{engine::Answer, sale::ids::TEXT_BYTES_MAX, sale::settings::Invalid};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Calls that need a caller.
pub async fn handle(worker: &Rc<Worker>, Call { matched, sale, caller }: Call, request: BoxedRequest) -> BoxedResponse {
    let (subject, caller) = (&matched.subject, &caller);
    let judged = match matched.route {
        Route::ListSales => sales::list(worker, caller, request.uri().query()),
        Route::PutSale => sales::put(worker, caller, subject, request).await,
        Route::GetSale => Ok(sales::get(worker, subject)),
        Route::PauseSale | Route::ResumeSale | Route::CloseSale => {
            sales::turn(worker, caller, matched.route, subject, request).await
        }
        Route::Availability => Ok(sales::availability(worker, subject)),
        Route::Report => at_once(reports::get(worker, caller, subject, request.uri().query()).await),
        Route::Adjust => sales::adjust(worker, caller, &matched, request).await,
        Route::Reserve => reservations::reserve(worker, sale, request).await,
        Route::ReserveBatch => at_once(batch::reserve(worker, subject, request).await),
        Route::GetReservation => reservations::get(worker, caller, subject),
        Route::Confirm => reservations::confirm(worker, caller, subject, request).await,
        Route::Release => reservations::release(worker, caller, subject, request).await,
        Route::Extend => reservations::extend(worker, caller, subject, request).await,
        Route::EraseCustomer => customers::erase(worker, caller, subject),
        Route::Events => at_once(events::follow(worker, caller, request).await),
        Route::Status => at_once(status::get(worker, caller).await),
        Route::Console | Route::ConsoleFile | Route::Problem | Route::OpenApi | Route::Unknown => {
            return handle_public(worker, matched, &request);
        }
    };
    let answer = match judged {
        Ok(answer) => answer,
        Err(refused) => return worker.rest_on_durable(refused).await,
    };
    // Here alone an answer waits, when all that its call had read was given back: connections read on into the same memory.
    match worker.durable(answer.durable_at).await {
        Ok(()) => answer.value,
        Err(OutcomeUnknown) => problem::outcome_unknown(),
    }
}

/// Calls that anybody may make.
pub fn handle_public(worker: &Worker, matched: Matched, request: &Request<Inbound>) -> BoxedResponse {
    let answered = match matched.route {
        Route::Console => console::get(console::PAGE, request.headers()),
        Route::ConsoleFile if matched.subject != console::PAGE => console::get(&matched.subject, request.headers()),
        Route::Problem => problems::get(&matched.subject, request.headers()),
        Route::OpenApi => Ok(contract(worker)),
        _ => Err(problem::NOT_FOUND.respond("no call of this service has this path")),
    };
    answered.unwrap_or_else(|refused| refused)
}

/// The document that describes all of this.
fn contract(worker: &Worker) -> BoxedResponse {
    let contracts = &worker.service.contracts;
    let asks_for_key = worker.service.keyring.load().asks_for_key();
    let contract = if asks_for_key { &contracts.with_keys } else { &contracts.open };
    body::revalidated(json_bytes(StatusCode::OK, contract.clone()))
}

/// A response, or the problem that stands in its place.
type Answered = Result<BoxedResponse, BoxedResponse>;

/// A response that is to be shown once it is durable, or the problem that stands in its place and shows nothing.
type Judged = Result<Answer<BoxedResponse>, BoxedResponse>;

fn at_once(answered: Answered) -> Judged {
    answered.map(|value| Answer { value, durable_at: 0 })
}

/// The body of one of the small calls.
async fn read_small(worker: &Worker, request: BoxedRequest, required: bool) -> Result<Bytes, BoxedResponse> {
    let limits = worker.limits();
    body::read(request, limits.body_bytes_max, limits.body_read_time, required).await
}

fn json(status: StatusCode, value: &impl Serialize) -> BoxedResponse {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, value).expect("answers are plain JSON");
    json_bytes(status, bytes)
}

fn json_bytes(status: StatusCode, bytes: impl Into<Body>) -> BoxedResponse {
    body::respond(status, "application/json", bytes)
}

impl<T> Answer<T> {
    /// The same answer with another value, made from this one.
    fn map<U>(self, map: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { value: map(self.value), durable_at: self.durable_at }
    }
}

/// The `Idempotency-Key`, bare or quoted.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, BoxedResponse> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = bare_key(value.to_str().unwrap_or("")).filter(|_| values.next().is_none());
    let wrong = || Invalid::new("", format!("Idempotency-Key must be given once: {}", key_form()));
    key.map(Some).ok_or_else(|| problem::invalid(&[wrong()]))
}

/// The idempotency key that the text is, if it is one: bare or quoted, it is the same key.
fn bare_key(text: &str) -> Option<&str> {
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let visible = bare.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    (visible && (1..=TEXT_BYTES_MAX).contains(&bare.len())).then_some(bare)
}

fn key_form() -> String {
    format!("1 to {TEXT_BYTES_MAX} visible ASCII characters, bare or in quotes")
}
