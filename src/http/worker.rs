//! A worker: the state that one core's requests share, and the path of a request.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, EXPECT, HOST, HeaderValue},
};
use rand::{Rng, rngs::ThreadRng};
use tokio::sync::{Notify, Semaphore};

use super::{
    Body, BoxedRequest, BoxedResponse, auth, body,
    buffers::Buffers,
    closing::Inbound,
    handlers,
    invalid::Bounds,
    openapi, problem,
    rates::{Limited, Rates},
    refusals::{Counting, Refusals},
    requests::{self, Answered, RequestLog, X_REQUEST_ID},
    router::{self, Matched, Route},
    status::Board,
    timed::Patience,
    tls::Tls,
    waiters::{OutcomeUnknown, Waiters},
    wire::ReserveLimits,
};
use crate::{
    auth::{Caller, Keyring},
    clock::{Clock, Monotonic},
    engine::{Engine, Epoch},
    events::Events,
    journal::CommitSignal,
    privacy::CustomerIds,
    reports::Reports,
    sale::{catalogue::Sale, ids::SaleNumber, outcome::Refusal, settings::Invalid, time::Timestamp},
    telemetry::{Tally, Telemetry},
    traces::{self, Trace, Tracer},
};

/// What all workers share.
pub struct Service {
    pub engine: Arc<Engine>,
    /// Wakes the journal's writer for a commit.
    pub signal: CommitSignal,
    pub clock: Arc<dyn Clock>,
    pub telemetry: Arc<Telemetry>,
    pub limits: Limits,
    /// The memory budget for bodies and answers in flight.
    pub buffers: Arc<Buffers>,
    /// The keys in force; replaced as a whole.
    pub keyring: ArcSwap<Keyring>,
    pub rates: Rates<Monotonic>,
    /// How the service identifies customers.
    pub customer_ids: CustomerIds,
    /// None: the API is unencrypted.
    pub tls: Option<Tls>,
    pub contracts: Contracts,
    /// Figures of the service, for the status call.
    pub board: Board,
    /// The feed of events.
    pub events: Events,
    pub reports: Reports,
    /// Refused reserves of each sale.
    pub refusals: Refusals,
    pub request_log: RequestLog,
    /// None: nothing is traced.
    pub tracer: Option<Arc<Tracer>>,
    /// Whether answers wait for the disk; false is `journal.ack = "buffered"`.
    pub wait_for_disk: bool,
    /// Set when the service is stopping: it then refuses new requests.
    pub draining: AtomicBool,
}

impl Service {
    /// The limits that errors name.
    pub fn bounds(&self) -> Bounds<'_> {
        Bounds { edge: &self.limits, sale: &self.engine.settings().limits }
    }
}

/// The OpenAPI document, made once for a service without keys and once for one with keys.
pub struct Contracts {
    pub open: Bytes,
    pub with_keys: Bytes,
}

/// Limits of the edge; each is a key of the configuration's `limits`.
#[derive(Debug, Clone)]
pub struct Limits {
    pub reserve: ReserveLimits,
    pub body_bytes_max: usize,
    pub sale_body_bytes_max: usize,
    pub batch_entries_max: usize,
    pub batch_body_bytes_max: usize,
    pub header_bytes_max: usize,
    pub path_bytes_max: usize,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    /// Connections past a limit that one worker is answering.
    pub refused_connections_max: usize,
    /// Answers of one worker that wait for the disk.
    pub waiting_max: usize,
    pub patience: Patience,
    pub body_read_time: Duration,
    pub drain_time: Duration,
    pub sales_page_max: usize,
    pub customer_reservations_max: usize,
    pub h2_streams_max: u32,
    /// Streams of one connection that its peer may reset before they were begun.
    pub h2_resets_max: usize,
}

/// An admitted call.
pub struct Call {
    pub matched: Matched,
    /// The sale in its path, if it exists.
    pub sale: Option<SaleNumber>,
    pub caller: Arc<Caller>,
}

/// The keys in force, as a worker has them.
struct Keys {
    /// The published keys, of which `own` is a copy.
    published: Arc<Keyring>,
    own: Keyring,
}

impl Keys {
    fn new(published: Arc<Keyring>) -> Self {
        Self { own: published.apart(), published }
    }
}

pub struct Worker {
    pub service: Arc<Service>,
    pub tally: Arc<Tally>,
    waiters: Rc<Waiters>,
    /// Set when this iteration of the event loop changed something; the journal is woken once per iteration.
    changed: Rc<Notify>,
    /// Answers of this iteration that wait for the disk.
    left_waiting: Rc<Cell<usize>>,
    keys: RefCell<Keys>,
    random: RefCell<ThreadRng>,
    /// Portions of large requests come one at a time, however many such requests there are.
    turn: Semaphore,
    refused: Counting,
}

impl Worker {
    /// The calling thread's worker; must be called inside its `LocalSet`.
    pub fn start(service: Arc<Service>) -> Rc<Self> {
        let changed = Rc::new(Notify::new());
        let left_waiting = Rc::new(Cell::new(0));
        let (notified, waiting, signal) = (changed.clone(), left_waiting.clone(), service.signal.clone());
        tokio::task::spawn_local(async move {
            loop {
                // Wakes to the end of the ready queue, so that all ready tasks run first.
                notified.notified().await;
                signal.notify_for(waiting.take());
            }
        });
        let (tally, waiters) = (service.telemetry.tally(), Waiters::start(service.engine.clone()));
        let keys = RefCell::new(Keys::new(service.keyring.load_full()));
        let (random, turn, refused) = (RefCell::new(rand::rng()), Semaphore::new(1), Counting::default());
        Rc::new(Self { service, tally, waiters, changed, left_waiting, keys, random, turn, refused })
    }

    pub fn engine(&self) -> &Engine {
        &self.service.engine
    }

    pub fn limits(&self) -> &Limits {
        &self.service.limits
    }

    /// The limits that errors name.
    pub fn bounds(&self) -> Bounds<'_> {
        self.service.bounds()
    }

    pub fn now(&self) -> Timestamp {
        self.service.clock.now()
    }

    pub fn entropy(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// Counts a refused reserve of a sale.
    pub fn refused(&self, sale: SaleNumber, refusal: &Refusal) {
        self.tally.refused(refusal);
        self.refused.count(&self.service.refusals, sale, refusal);
    }

    /// Resolves once the epoch is durable, or at once if the journal acknowledges early.
    pub async fn durable(&self, epoch: Epoch) -> Result<(), OutcomeUnknown> {
        if epoch > self.engine().durability().epoch() {
            self.tell_journal();
            if self.service.wait_for_disk {
                self.left_waiting.update(|waiting| waiting + 1);
                let durable = self.waiters.durable(epoch);
                let traced = self.service.tracer.is_some();
                return if traced { traces::wait_for_disk(epoch, durable).await } else { durable.await };
            }
        }
        // After all ready requests: answers that leave together wake their callers once.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// The same answer, once the state that it rests on is durable. Among answers that do not come from the engine, only those
    /// about quotas rest on an operator's change.
    pub async fn rest_on_durable(&self, answer: BoxedResponse) -> BoxedResponse {
        let epoch = self.engine().operator_epoch();
        if answer.status() != StatusCode::TOO_MANY_REQUESTS || epoch <= self.engine().durability().epoch() {
            return answer;
        }
        // Boxed: it is rare, and the futures of all requests should not be larger for it.
        match Box::pin(self.durable(epoch)).await {
            Ok(()) => answer,
            Err(OutcomeUnknown) => problem::outcome_unknown(),
        }
    }

    /// Records a change that no request waits for.
    pub fn tell_journal(&self) {
        self.changed.notify_one();
    }

    /// Does a portion of a large request's work. All ready tasks, and sockets, run before the next portion of any such request.
    pub async fn in_turn<T>(&self, portion: impl FnOnce() -> T) -> T {
        let _turn = self.turn.acquire().await.expect("it is never closed");
        let done = portion();
        tokio::task::yield_now().await;
        done
    }

    /// Does long work on a low-priority thread, while the worker's other requests continue. The work runs to its end, even if
    /// nobody waits for it any more.
    pub async fn aside<T: Send + 'static>(&self, work: impl FnOnce(&Service) -> T + Send + 'static) -> T {
        let service = self.service.clone();
        tokio::task::spawn_blocking(move || work(&service)).await.expect("the work does not panic")
    }

    /// One request, one answer, and when it was there.
    pub async fn handle(self: Rc<Self>, request: BoxedRequest) -> (Response<Body>, Instant) {
        let started = Instant::now();
        let method = request.method().clone();
        let version = request.version();
        let asked_id = requests::asked_id(request.headers());
        let trace = self.service.tracer.as_ref().and_then(|tracer| tracer.begin(request.headers())).map(Arc::new);
        let (route, mut response) = match self.find(&request) {
            Err((route, refused)) => (route, self.rest_on_durable(refused).await),
            Ok(call) => {
                let route = call.matched.route;
                let answering = handlers::handle(&self, call, request);
                let response = match &trace {
                    None => answering.await,
                    // Boxed: few requests are traced, and the tasks of the others should not be larger for it.
                    Some(trace) => Box::pin(trace.within(answering)).await,
                };
                (route, response)
            }
        };
        let (status, ended) = (response.status(), Instant::now());
        let elapsed = ended - started;
        self.tally.answered(&self.service.telemetry, route as usize, status.as_u16(), elapsed);
        if self.service.request_log.is_worth_telling(status, elapsed) {
            let answered = Answered { method: requests::method_name(&method), route, elapsed };
            self.service.request_log.tell(&mut response, asked_id, answered, trace.as_deref());
        } else if let Some(id) = asked_id {
            response.headers_mut().insert(&X_REQUEST_ID, id);
        }
        if let Some(trace) = trace {
            self.end_trace(&trace, &method, version, route, &response, elapsed);
        }
        (if method == Method::HEAD { without_body(*response) } else { *response }, ended)
    }

    /// Admits a call step by step: route, capacity, caller, quota. Or returns its answer, if the head is enough for that.
    fn find(&self, request: &Request<Inbound>) -> Result<Call, (Route, BoxedResponse)> {
        self.admit(request).map_err(|refused| (Route::Unknown, refused))?;
        let matched = router::route(request.method(), request.uri().path())
            .map_err(|unrouted| (unrouted.route, unrouted.response))?;
        let route = matched.route;
        let answered = |response| (route, response);
        self.admit_load(route).map_err(answered)?;
        let Some(caller) = self.authorize(request, &matched).map_err(answered)? else {
            return Err((route, handlers::handle_public(self, matched, request)));
        };
        let catalogue = self.engine().catalogue();
        let sale = if auth::is_of_sale(route) { catalogue.sale(&matched.subject).ok() } else { None };
        if !self.service.rates.idle(&catalogue) {
            self.admit_rate(&caller, route, sale).map_err(|limited| answered(self.rate_limited(&limited)))?;
        }
        let sale = sale.map(|sale| sale.number);
        Ok(Call { matched, sale, caller })
    }

    fn authorize(&self, request: &Request<Inbound>, matched: &Matched) -> Result<Option<Arc<Caller>>, BoxedResponse> {
        let mut keys = self.keys.borrow_mut();
        let published = self.service.keyring.load();
        if !Arc::ptr_eq(&published, &keys.published) {
            *keys = Keys::new(Guard::into_inner(published));
        }
        auth::authorize(&keys.own, request.headers(), matched)
    }

    #[cold]
    fn end_trace(
        &self,
        trace: &Trace,
        method: &Method,
        version: Version,
        route: Route,
        response: &Response<Body>,
        elapsed: Duration,
    ) {
        let told = traces::Request {
            method: requests::method_name(method),
            route: openapi::path_of(route),
            version,
            tls: self.service.tls.is_some(),
            status: response.status(),
            code: requests::problem_code(response),
        };
        trace.end(&told, elapsed);
    }

    /// Refuses calls while too many answers wait for the disk. Refuses new reserves first, so that holds can still be confirmed
    /// and released.
    fn admit_load(&self, route: Route) -> Result<(), BoxedResponse> {
        let most = self.limits().waiting_max;
        let most = if matches!(route, Route::Reserve | Route::ReserveBatch) { most } else { most + most.div_ceil(4) };
        if self.waiters.len() < most {
            return Ok(());
        }
        Err(problem::OVERLOADED.respond("too many answers wait for the disk: limits.waiting_max is reached"))
    }

    /// Refuses a request past its quota, and counts it.
    pub fn rate_limited(&self, limited: &Limited) -> BoxedResponse {
        self.service.telemetry.edge.rate_limited(limited.policy);
        problem::rate_limited(limited)
    }

    /// The quotas that need only the head. The customer's quota is checked after the body is read, and so is the sale's for
    /// batch entries.
    fn admit_rate(&self, caller: &Caller, route: Route, sale: Option<&Arc<Sale>>) -> Result<(), Limited> {
        let rates = &self.service.rates;
        if let Some(key) = caller.key() {
            rates.admit_key(key, sale.map(|sale| &**sale))?;
        }
        match sale {
            Some(sale) if route == Route::Reserve => rates.admit_reserve(sale),
            _ => Ok(()),
        }
    }

    pub fn refuse_if_stopping(&self) -> Result<(), BoxedResponse> {
        if self.engine().durability().failed() {
            return Err(problem::OUTCOME_UNKNOWN.respond("the disk failed; the service is stopping"));
        }
        if self.service.draining.load(Ordering::Relaxed) {
            return Err(problem::DRAINING.respond("the service is shutting down"));
        }
        Ok(())
    }

    /// The checks that need nothing but the head, cheapest first.
    fn admit(&self, request: &Request<Inbound>) -> Result<(), BoxedResponse> {
        self.refuse_if_stopping()?;
        let limits = self.limits();
        let target = request.uri();
        if target.path().len() + target.query().map_or(0, str::len) > limits.path_bytes_max {
            let detail = format!("the target may have up to {} bytes", limits.path_bytes_max);
            return Err(problem::URI_TOO_LONG.respond(detail));
        }
        let headers = request.headers();
        // One walk over all headers, which costs less than a look-up for each.
        let (mut bytes, mut hosts, mut host) = (0, 0, None);
        for (name, value) in headers {
            bytes += name.as_str().len() + value.len() + 4;
            if *name == HOST {
                (hosts, host) = (hosts + 1, Some(value));
            } else if *name == EXPECT {
                request.body().hold_back();
            }
        }
        if bytes > limits.header_bytes_max {
            let detail = format!("the headers may have up to {} bytes", limits.header_bytes_max);
            return Err(problem::HEADERS_TOO_LARGE.respond(detail));
        }
        let needs_host = request.version() == Version::HTTP_11;
        if hosts > 1 || (hosts == 0 && needs_host) || !host.is_none_or(names_a_host) {
            let wrong = "must be given once and name a host, such as shop.example:8080";
            return Err(problem::invalid(&[Invalid::new("/Host", wrong)]));
        }
        // Calls with other formats than JSON check Accept themselves.
        let path = target.path();
        let more_than_json = match path.strip_prefix("/v1/") {
            Some(call) => call == "events",
            None => {
                path.starts_with("/problems/")
                    || ["/console", "/docs"].contains(&path)
                    || ["/console/", "/docs/"].iter().any(|folder| path.starts_with(folder))
            }
        };
        if !more_than_json && !body::accepts_json(headers) {
            return Err(
                problem::NOT_ACCEPTABLE.respond("this call answers application/json or application/problem+json")
            );
        }
        Ok(())
    }
}

/// Whether it is a host with or without a port (RFC 3986, 3.2.2).
fn names_a_host(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    // Nearly every request has a plain name or an IPv4 address: one pass, and nothing is searched.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let end = bytes.iter().position(|byte| !plain(byte)).unwrap_or(bytes.len());
    if end > 0 && (end == bytes.len() || (bytes[end] == b':' && bytes[end + 1..].iter().all(u8::is_ascii_digit))) {
        return true;
    }
    names_an_unusual_host(bytes)
}

fn names_an_unusual_host(bytes: &[u8]) -> bool {
    let (host, port) = match bytes.iter().rposition(|byte| *byte == b':') {
        // The colons of an IPv6 address are in brackets.
        Some(colon) if !bytes[colon..].contains(&b']') => (&bytes[..colon], &bytes[colon + 1..]),
        _ => (bytes, &[][..]),
    };
    let is_address = |inner: &[u8]| inner.iter().all(|byte| byte.is_ascii_alphanumeric() || b":.-_~".contains(byte));
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    let named = match host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        Some(inner) => !inner.is_empty() && is_address(inner),
        None => !host.is_empty() && host.iter().all(is_name),
    };
    named && port.iter().all(u8::is_ascii_digit)
}

/// The answer to HEAD: that of GET, with the length of the body, if known, but without the body.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = hyper::body::Body::size_hint(&body).exact() {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, Body::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        let named = |text: &str| names_a_host(&HeaderValue::from_str(text).unwrap());
        for right in
            ["shop.example", "shop.example:8080", "shop.example:", "10.0.0.1:80", "[::1]", "[2001:db8::1]:8080", "a_b"]
        {
            assert!(named(right), "{right}");
        }
        for wrong in
            ["", ":80", "a b", "a@b", "a/b", "a:b", "a:80:80", "::1", "[]", "[::1", "[::1]x", "a?b", "a#b", "http://a"]
        {
            assert!(!named(wrong), "{wrong}");
        }
    }
}
