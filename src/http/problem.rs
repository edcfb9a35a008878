//! Problem details (RFC 9457): the one table from outcomes to status codes, and what each problem means to a person.
//!
//! Invariant: `PROBLEMS` has every problem that the service answers, with its status and the page behind its `type`.

use hyper::{
    StatusCode,
    header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{BoxedResponse, body, conditions, encode, rates::Limited, wire};
use crate::{
    engine::Engine,
    sale::{
        outcome::{Refusal, Reservation, Shortage, State},
        settings::{Invalid, Quota},
        time::Timestamp,
    },
};

/// One row of the contract's table of problems.
#[derive(Debug)]
pub struct Problem {
    pub code: &'static str,
    pub status: u16,
    pub title: &'static str,
    /// What it means, for people.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// What its document has beyond the standard members.
    pub members: Kind,
}

/// The members beyond the standard ones that a problem's document has: the variants of `Members`, without their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    None,
    Errors,
    Lines,
    Limit,
    OpensAt,
    Oldest,
    Reservation,
}

macro_rules! problems {
    ($($name:ident = $status:literal $code:literal $title:literal, $meaning:literal, $remedy:literal
        $(, with $members:ident)?;)*) => {
        $(pub static $name: Problem = Problem {
            code: $code,
            status: $status,
            title: $title,
            meaning: $meaning,
            remedy: $remedy,
            members: problems!(@members $($members)?),
        };)*
        pub static PROBLEMS: &[&Problem] = &[$(&$name),*];
    };
    (@members) => { Kind::None };
    (@members $members:ident) => { Kind::$members };
}

problems! {
    INVALID_REQUEST = 400 "invalid_request" "The request is malformed",
        "The body, a header or a path segment is not what the contract asks for.",
        "Read `errors`: each entry points at a member and says what to change. Do not retry unchanged.",
        with Errors;
    UNAUTHENTICATED = 401 "unauthenticated" "An API key is required",
        "The service requires an API key, and the request carries none that it knows.",
        "Send `Authorization: Bearer` with your key. If the key worked before, an operator has revoked it: ask for a \
         new one.";
    FORBIDDEN = 403 "forbidden" "The key does not allow this call",
        "The service knows the key, but the key's role or its list of sales does not allow this call.",
        "Use a key that allows it; the detail says what this one lacks.";
    NOT_FOUND = 404 "not_found" "There is nothing at this path",
        "The API has no such path.",
        "Check the path against `/openapi.json`.";
    SALE_NOT_FOUND = 404 "sale_not_found" "The sale does not exist",
        "No sale has this id.",
        "Check the id, or create the sale with PUT.";
    ITEM_NOT_FOUND = 404 "item_not_found" "The sale has no such item",
        "The sale exists, but none of its items has this SKU.",
        "Check the SKU, or add the item to the sale with PUT.";
    RESERVATION_NOT_FOUND = 404 "reservation_not_found" "The reservation does not exist",
        "No reservation has this id, or the reservation ended longer ago than the retention time and left memory.",
        "Check the id. What happened to old reservations is in the store.";
    METHOD_NOT_ALLOWED = 405 "method_not_allowed" "The method is not allowed here",
        "The path exists, but not with this method.",
        "Use one of the methods in the Allow header.";
    NOT_ACCEPTABLE = 406 "not_acceptable" "The request accepts no format of this call",
        "The Accept header excludes every format that this call answers in.",
        "Accept a format that the detail names, or send no Accept header.";
    REQUEST_TIMEOUT = 408 "request_timeout" "The body did not arrive in time",
        "The body was still incomplete when its time limit ran out. Nothing was done.",
        "Send the whole request at once; it is safe to retry.";
    CURSOR_TOO_OLD = 410 "cursor_too_old" "The cursor is too old",
        "The journal no longer has the events after the cursor. The service removes a segment once a snapshot and the \
         store have its changes.",
        "Read the current state (sales, availability, the store), then continue with `after` set to `oldest`. To \
         prevent this, read the feed more often than the service removes segments.", with Oldest;
    PRECONDITION_FAILED = 412 "precondition_failed" "The sale does not match the precondition",
        "`If-Match` does not name the sale's current settings, or `If-None-Match` excludes them. Somebody else may \
         have changed the sale. Nothing was done.",
        "GET the sale with its `ETag`, apply your change to its current settings, and send it again with that ETag.";
    LENGTH_REQUIRED = 411 "length_required" "Content-Length is required",
        "This call takes a body, and the request does not say how long it is.",
        "Send Content-Length, or use chunked transfer encoding.";
    CONTENT_TOO_LARGE = 413 "content_too_large" "The body is too large",
        "The body exceeds the limit for this call. Nothing was done.",
        "Send a smaller body; the detail names the limit.";
    URI_TOO_LONG = 414 "uri_too_long" "The path is too long",
        "The request target exceeds the limit.",
        "No valid path is that long; check how your client builds it.";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported_media_type" "The body is not JSON",
        "The Content-Type header names a format that this call does not take.",
        "Send JSON with `Content-Type: application/json`.";
    HEADERS_TOO_LARGE = 431 "request_header_fields_too_large" "The headers are too large",
        "The request's headers together exceed the limit.",
        "Send fewer or shorter headers.";
    SOLD_OUT = 409 "sold_out" "Sold out",
        "At some instant between the request and this answer, an item of the request had no available units. Units \
         may come back when holds expire or are released.",
        "Tell the customer. To see whether units come back, poll availability rather than retrying the reserve.",
        with Lines;
    INSUFFICIENT_STOCK = 409 "insufficient_stock" "Not enough stock",
        "At some instant between the request and this answer, an item had fewer available units than its line asks \
         for.",
        "Ask for at most `available` units.",
        with Lines;
    CUSTOMER_LIMIT_EXCEEDED = 409 "customer_limit_exceeded" "The customer's limit is reached",
        "This reservation would take the customer's held and confirmed units of the item past its limit.",
        "Ask for at most `limit - already` units. Releasing a hold frees its units for the customer's limit.",
        with Limit;
    SALE_NOT_STARTED = 409 "sale_not_started" "The sale has not started",
        "The sale is not open yet.",
        "Try again at `opens_at`.",
        with OpensAt;
    SALE_ENDED = 409 "sale_ended" "The sale has ended",
        "The sale's window is over, or an operator closed the sale. Confirm and release still work.",
        "Do not retry: this sale takes no more reservations.";
    SALE_PAUSED = 409 "sale_paused" "The sale is paused",
        "An operator paused the sale. Confirm and release still work.",
        "Try again after an operator resumes the sale.";
    RESERVATION_EXPIRED = 409 "reservation_expired" "The hold has expired",
        "The hold expired before the service decided this request. Its units are back in stock.",
        "Reserve again. If a payment arrived for the expired hold, refund it or make a new reservation for the \
         customer.",
        with Reservation;
    ALREADY_CONFIRMED = 409 "already_confirmed" "The reservation is confirmed",
        "A confirmed reservation cannot be released, extended, or confirmed again with another reference.",
        "Compare `reservation.reference` with yours. If they differ, the reservation was sold for another order: \
         refund the second payment, or make a new reservation for it. To put units that a customer returns back into \
         stock, use an adjustment.",
        with Reservation;
    ALREADY_RELEASED = 409 "already_released" "The reservation is released",
        "A released reservation cannot be confirmed or extended. Its units are back in stock.",
        "Reserve again.",
        with Reservation;
    EXTENSION_LIMIT_REACHED = 409 "extension_limit_reached" "The hold has no extensions left",
        "The number of extensions per hold is limited, and this hold has used them all.",
        "Confirm before `expires_at`, or let the hold expire.",
        with Reservation;
    INITIAL_STOCK_IMMUTABLE = 409 "initial_stock_immutable" "The initial stock of an item cannot change",
        "An item's initial stock is fixed once the item exists.",
        "Send the old `initial_stock`, and change the stock with an adjustment.";
    IDEMPOTENCY_KEY_REUSED = 422 "idempotency_key_reused" "The idempotency key belongs to another request",
        "A different request used this key before, in the same scope. Nothing was done.",
        "Use a new key for a new request, and the same key only to repeat the same request.";
    RATE_LIMITED = 429 "rate_limited" "Too many requests",
        "The key, the customer in this sale, or the sale has used up its quota; `RateLimit-Policy` names which. \
         Nothing was done.",
        "Try again after Retry-After: the quota then admits the next request.";
    OVERLOADED = 503 "overloaded" "The service is at a limit",
        "The service has reached one of its limits. Nothing was done.",
        "Try again after Retry-After.";
    BACKLOG_FULL = 503 "backlog_full" "The store is too far behind",
        "The database is so far behind that the service takes no new reservations. Confirm and release still work.",
        "Try again after Retry-After.";
    DISK_LOW = 503 "disk_low" "The disk is nearly full",
        "The journal's disk has less free space than the reserve for confirms and releases, which still work. Nothing \
         was done.",
        "Try again after Retry-After. Reserving works again once an operator has freed space.";
    STORE_UNAVAILABLE = 503 "store_unavailable" "The store cannot answer",
        "The service cannot reach or read its database, or the database does not have the sale yet. Reserving still \
         works.",
        "Try again after Retry-After. If the problem stays, look at `store` in /readyz.";
    DRAINING = 503 "draining" "The service is shutting down",
        "This process is stopping and takes no more requests. Nothing was done.",
        "Try again after Retry-After.";
    OUTCOME_UNKNOWN = 503 "outcome_unknown" "The outcome is unknown",
        "The disk failed before the change was durable. After the restart, the change may or may not be there.",
        "Repeat the request with the same idempotency key: if the change is there, you get the same answer.";
}

/// Seconds after which a refused caller may try again. The spread keeps callers from coming back all at once.
const RETRY_AFTER_SECONDS: std::ops::RangeInclusive<u16> = 1..=3;

impl Problem {
    /// The path of the page that explains it: the problem's `type`.
    pub fn path(&self) -> String {
        format!("/problems/{}", self.slug())
    }

    pub fn slug(&self) -> String {
        self.code.replace('_', "-")
    }

    pub fn respond(&self, detail: impl Into<String>) -> BoxedResponse {
        self.respond_with(detail, Members::None {})
    }

    /// The document of a request that never became one.
    pub fn document(&self, detail: &str) -> Vec<u8> {
        let errors = [Invalid::new("", detail)];
        let named = self.code == INVALID_REQUEST.code;
        self.encode(
            detail.to_owned(),
            if named { Members::Errors(Errors { errors: &errors }) } else { Members::None {} },
        )
    }

    fn respond_with(&self, detail: impl Into<String>, members: Members<'_>) -> BoxedResponse {
        self.respond_bytes(self.encode(detail.into(), members))
    }

    fn respond_bytes(&self, document: Vec<u8>) -> BoxedResponse {
        let status = StatusCode::from_u16(self.status).expect("statuses in the table are valid");
        let mut response = body::respond(status, "application/problem+json", document);
        let headers = response.headers_mut();
        if self.status == 401 {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"doorbuster\""));
        }
        if self.status == 503 {
            headers.insert(RETRY_AFTER, rand::random_range(RETRY_AFTER_SECONDS).into());
        }
        response
    }

    fn encode(&self, detail: String, members: Members<'_>) -> Vec<u8> {
        debug_assert_eq!(members.kind(), self.members, "{} has the members that its row in the table says", self.code);
        let document =
            Document { kind: &self.path(), title: self.title, status: self.status, code: self.code, detail, members };
        let mut body = Vec::with_capacity(320);
        serde_json::to_writer(&mut body, &document).expect("problems are plain JSON");
        body
    }
}

/// A refusal (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document<'a> {
    /// The path of the page that explains it.
    #[serde(rename = "type")]
    kind: &'a str,
    /// What happened, in a few fixed words.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// The code by which programs tell problems apart.
    code: &'a str,
    /// What happened this time, for people.
    detail: String,
    #[serde(flatten)]
    #[schema(ignore)]
    members: Members<'a>,
}

/// Members beyond the standard ones, as the contract names them for each problem.
#[derive(Serialize)]
#[serde(untagged)]
enum Members<'a> {
    None {},
    Errors(Errors<'a>),
    Lines(Lines<'a>),
    Limit(Limit<'a>),
    OpensAt(OpensAt),
    Oldest(Oldest),
    Reservation(Of<'a>),
}

impl Members<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::None {} => Kind::None,
            Self::Errors(_) => Kind::Errors,
            Self::Lines(_) => Kind::Lines,
            Self::Limit(_) => Kind::Limit,
            Self::OpensAt(_) => Kind::OpensAt,
            Self::Oldest(_) => Kind::Oldest,
            Self::Reservation(_) => Kind::Reservation,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct Errors<'a> {
    /// Everything that is wrong with the request.
    errors: &'a [Invalid],
}

#[derive(Serialize, ToSchema)]
pub struct Lines<'a> {
    /// The lines that ask for more than is available.
    lines: Vec<Line<'a>>,
}

#[derive(Serialize, ToSchema)]
pub struct Oldest {
    /// The oldest resumable cursor.
    oldest: String,
}

/// A line that asks for more than is available.
#[derive(Serialize, ToSchema)]
#[schema(as = ShortLine)]
pub struct Line<'a> {
    /// The item's SKU.
    sku: &'a str,
    /// Units that the request asks for.
    requested: u64,
    /// Units that were available at that instant.
    available: u64,
}

#[derive(Serialize, ToSchema)]
pub struct Limit<'a> {
    /// The item whose limit is reached.
    sku: &'a str,
    /// Units of it that one customer may hold or have confirmed.
    limit: u32,
    /// Units of it that the customer holds or has confirmed.
    already: u64,
}

#[derive(Serialize, ToSchema)]
pub struct OpensAt {
    /// When the sale opens.
    #[schema(value_type = String)]
    opens_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
pub struct Of<'a> {
    /// The reservation as it is.
    reservation: wire::ReservationBody<'a>,
}

pub fn method_not_allowed(allow: &'static str) -> BoxedResponse {
    let mut response = METHOD_NOT_ALLOWED.respond(format!("this path allows {allow}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// With the headers of draft-ietf-httpapi-ratelimit-headers-10.
pub fn rate_limited(limited: &Limited) -> BoxedResponse {
    let Limited { policy, quota: Quota { requests, window_seconds }, wait } = limited;
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0).max(u64::from(wait.is_zero()));
    let detail = format!("the quota of the {policy} is {requests} requests in {window_seconds} s");
    let mut response = RATE_LIMITED.respond(detail);
    let header = |text: String| HeaderValue::try_from(text).expect("digits and letters");
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, seconds.into());
    headers.insert(&RATE_LIMIT, header(format!("\"{policy}\";r=0;t={seconds}")));
    headers.insert(&RATE_LIMIT_POLICY, header(format!("\"{policy}\";q={requests};w={window_seconds}")));
    response
}

/// `oldest`: the oldest resumable cursor.
pub fn cursor_too_old(oldest: String) -> BoxedResponse {
    let detail =
        format!("the journal no longer has the events after this cursor; the oldest resumable cursor is {oldest}");
    CURSOR_TOO_OLD.respond_with(detail, Members::Oldest(Oldest { oldest }))
}

pub fn invalid(errors: &[Invalid]) -> BoxedResponse {
    let detail = match errors {
        [only] if only.pointer.is_empty() => only.detail.clone(),
        [only] => format!("{}: {}", only.pointer, only.detail),
        _ => format!("{} members are wrong; see errors", errors.len()),
    };
    INVALID_REQUEST.respond_with(detail, Members::Errors(Errors { errors }))
}

/// The answer to a change whose write failed.
pub fn outcome_unknown() -> BoxedResponse {
    OUTCOME_UNKNOWN.respond("the disk failed before this change was durable")
}

/// Also the answer for a sale that the caller may not see.
pub fn no_such_sale() -> BoxedResponse {
    SALE_NOT_FOUND.respond("no sale has this id")
}

/// Also the answer for a reservation that the caller may not see.
pub fn no_such_reservation() -> BoxedResponse {
    RESERVATION_NOT_FOUND.respond("no reservation has this id")
}

/// The answer to a refusal: the one place where outcomes become status codes. The catalogue in force names everything that a
/// reservation refers to.
pub fn refuse(refusal: &Refusal, engine: &Engine) -> BoxedResponse {
    match refusal {
        Refusal::Invalid(errors) => invalid(errors),
        Refusal::SaleNotFound => no_such_sale(),
        Refusal::ItemNotFound { sku } => ITEM_NOT_FOUND.respond(format!("the sale has no item {sku:?}")),
        Refusal::PreconditionFailed { present: None } => PRECONDITION_FAILED.respond("there is no such sale"),
        Refusal::PreconditionFailed { present: Some(tag) } => PRECONDITION_FAILED
            .respond(format!("the sale's ETag is {}, and the request expects another", conditions::etag(*tag))),
        Refusal::ReservationNotFound => no_such_reservation(),
        Refusal::Short(lines) => short(lines),
        Refusal::CustomerLimitExceeded { sku, limit, already } => CUSTOMER_LIMIT_EXCEEDED.respond_with(
            format!("the limit for {sku:?} is {limit} per customer, and the customer has {already}"),
            Members::Limit(Limit { sku, limit: *limit, already: *already }),
        ),
        Refusal::SaleNotStarted { opens_at } => SALE_NOT_STARTED
            .respond_with(format!("the sale opens at {opens_at}"), Members::OpensAt(OpensAt { opens_at: *opens_at })),
        Refusal::SaleEnded => SALE_ENDED.respond("the sale is closed"),
        Refusal::SalePaused => SALE_PAUSED.respond("the sale is paused"),
        Refusal::ReservationExpired(reservation) => ended(&RESERVATION_EXPIRED, "expired", reservation, engine),
        Refusal::AlreadyConfirmed(reservation) => ended(&ALREADY_CONFIRMED, "was confirmed", reservation, engine),
        Refusal::AlreadyReleased(reservation) => ended(&ALREADY_RELEASED, "was released", reservation, engine),
        Refusal::ExtensionLimitReached(reservation) => EXTENSION_LIMIT_REACHED.respond_with(
            match reservation.extensions {
                0 => "the sale allows no extensions".to_owned(),
                1 => "the hold has already been extended once; the sale allows no more".to_owned(),
                times => format!("the hold has already been extended {times} times; the sale allows no more"),
            },
            Members::Reservation(Of { reservation: wire::ReservationBody::new(reservation, &engine.catalogue()) }),
        ),
        Refusal::InitialStockImmutable { sku, initial_stock } => INITIAL_STOCK_IMMUTABLE.respond(format!(
            "the initial_stock of {sku:?} is {initial_stock} and cannot change; use an adjustment to change its stock"
        )),
        Refusal::IdempotencyKeyReused => {
            IDEMPOTENCY_KEY_REUSED.respond("a different request used this Idempotency-Key before")
        }
        Refusal::Full(limit) => OVERLOADED.respond(format!("{limit} is reached")),
        Refusal::BacklogFull => BACKLOG_FULL.respond("journal.max_backlog_bytes is reached"),
        Refusal::DiskLow => DISK_LOW.respond("the journal's disk has less free space than journal.disk_reserve_bytes"),
    }
}

/// Sold out when a line has nothing left, else not enough.
pub fn short(lines: &[Shortage]) -> BoxedResponse {
    let sold_out = lines.iter().any(|line| line.available == 0);
    let problem = if sold_out { &SOLD_OUT } else { &INSUFFICIENT_STOCK };
    short_as(problem, lines)
}

pub fn short_as(problem: &Problem, lines: &[Shortage]) -> BoxedResponse {
    match encode::shortage(problem, lines) {
        Some(document) => problem.respond_bytes(document),
        None => problem.respond_bytes(spell_short(problem, lines)),
    }
}

/// The same document through serde, for names that need escapes.
pub(super) fn spell_short(problem: &Problem, lines: &[Shortage]) -> Vec<u8> {
    let told =
        lines.iter().map(|line| format!("{:?}: {} requested, {} available", line.sku, line.requested, line.available));
    let detail = told.collect::<Vec<_>>().join("; ");
    let lines = lines.iter().map(|line| Line { sku: &line.sku, requested: line.requested, available: line.available });
    problem.encode(detail, Members::Lines(Lines { lines: lines.collect() }))
}

fn ended(problem: &Problem, how: &str, reservation: &Reservation, engine: &Engine) -> BoxedResponse {
    let at = reservation.ended_at.map(|at| format!(" at {at}")).unwrap_or_default();
    let confirmed = reservation.state == State::Confirmed;
    let reference = match &reservation.reference {
        _ if !confirmed => String::new(),
        None => ", without a reference".to_owned(),
        Some(reference) => format!(", with the reference {reference:?}"),
    };
    let catalogue = engine.catalogue();
    let reservation = wire::ReservationBody::new(reservation, &catalogue);
    problem.respond_with(format!("the reservation {how}{at}{reference}"), Members::Reservation(Of { reservation }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_a_code_of_its_own_and_a_valid_status() {
        let mut codes: Vec<_> = PROBLEMS.iter().map(|problem| problem.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), PROBLEMS.len());
        assert!(PROBLEMS.iter().all(|problem| StatusCode::from_u16(problem.status).is_ok()));
        assert_eq!(SOLD_OUT.path(), "/problems/sold-out");
    }
}
