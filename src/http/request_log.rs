//! Request ids, and log lines about requests that failed or were slow.
//!
//! Invariant: every 5xx answer has an `X-Request-Id`, and its log line has the same id. Any other request that is fast and has
//! no id costs only one look at its headers.

use std::{
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use governor::{
    RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use hyper::{
    Method, Response,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use super::response::Body;
use crate::{
    api::{calls::Call, problems},
    clock::Monotonic,
    traces::{OTHER_METHOD, Trace},
};

pub(super) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that the service accepts.
pub(super) const REQUEST_ID_BYTES_MAX: usize = 128;

type Direct<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The caller's id for the request, if it is valid: visible ASCII, so that it cannot break the log.
pub(super) fn asked_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(&X_REQUEST_ID)?;
    let visible = id.as_bytes().iter().all(u8::is_ascii_graphic);
    (visible && (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())).then(|| id.clone())
}

fn new_id() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// A standard method; others are the caller's text.
pub(super) fn method_name(method: &Method) -> &'static str {
    let known = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PATCH];
    let names = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
    known.iter().position(|known| known == method).map_or(OTHER_METHOD, |place| names[place])
}

/// A request as the log shows it.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    pub method: &'static str,
    /// None: it is no call.
    pub call: Option<Call>,
    pub elapsed: Duration,
}

/// Log lines about requests that failed or were slow, limited per second.
pub struct RequestLog<C: Clock = Monotonic> {
    slow: Duration,
    lines: Direct<C>,
    /// Lines left out since the last one.
    left_out: AtomicU64,
}

impl<C: Clock> RequestLog<C> {
    pub fn new(slow: Duration, lines_per_second: NonZero<u32>, clock: C) -> Self {
        let lines = RateLimiter::direct_with_clock(governor::Quota::per_second(lines_per_second), clock);
        Self { slow, lines, left_out: AtomicU64::new(0) }
    }

    /// Whether to log a request with this answer.
    pub fn is_worth_a_line(&self, status: hyper::StatusCode, elapsed: Duration) -> bool {
        status.is_server_error() || elapsed >= self.slow
    }

    /// Gives the answer its id, and logs the request.
    #[cold]
    pub fn write(
        &self,
        response: &mut Response<Body>,
        id: Option<HeaderValue>,
        answered: Answered,
        trace: Option<&Trace>,
    ) {
        let id = id.unwrap_or_else(|| HeaderValue::try_from(new_id()).expect("an id is ASCII"));
        if let Some(left_out) = self.admit() {
            let status = response.status();
            let line = Line { id: id.to_str().unwrap_or_default(), status: status.as_u16(), left_out };
            line.write(answered, response.body().problem().map(|problem| problem.code), trace);
        }
        response.headers_mut().insert(&X_REQUEST_ID, id);
    }

    /// Logs a connection that is answered `overloaded` before anything is read, and returns the answer's id.
    pub fn write_unread(&self) -> String {
        let id = new_id();
        if let Some(left_out) = self.admit() {
            let code = problems::OVERLOADED.code;
            tracing::warn!(request_id = id, status = 503, code, left_out, "a connection was refused");
        }
        id
    }

    /// The number of lines left out since the last, if one may be written now.
    fn admit(&self) -> Option<u64> {
        if self.lines.check().is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

struct Line<'a> {
    id: &'a str,
    status: u16,
    left_out: u64,
}

impl Line<'_> {
    fn write(&self, Answered { method, call, elapsed }: Answered, code: Option<&'static str>, trace: Option<&Trace>) {
        let Self { id: request_id, status, left_out } = *self;
        let route = Call::NAMES[Call::index(call)];
        let duration_ms = elapsed.as_millis() as u64;
        let (trace_id, span_id) =
            trace.map(|trace| (trace.trace_id().to_string(), trace.span_id().to_string())).unzip();
        let what = if status >= 500 { "a request failed" } else { "a request took long" };
        tracing::warn!(request_id, trace_id, span_id, method, route, status, code, duration_ms, left_out, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use hyper::StatusCode;

    use super::*;

    #[test]
    fn an_id_is_taken_over_where_it_is_visible_ascii_within_its_length() {
        let taken = |bytes: &[u8]| {
            let headers = HeaderMap::from_iter([(X_REQUEST_ID.clone(), HeaderValue::from_bytes(bytes).unwrap())]);
            asked_id(&headers).map(|id| id.as_bytes().to_vec())
        };
        let longest = vec![b'~'; REQUEST_ID_BYTES_MAX];
        for right in [&b"a"[..], b"01a2-b3/c:4!", &longest] {
            assert_eq!(taken(right).as_deref(), Some(right));
        }
        for wrong in [&b""[..], b"a b", b"a\tb", b"\xc3\xbc", &[longest.clone(), b"x".to_vec()].concat()] {
            assert_eq!(taken(wrong), None, "{wrong:?}");
        }
        assert_eq!(asked_id(&HeaderMap::new()), None);
    }

    #[test]
    fn past_so_many_lines_a_second_they_are_counted_and_reported_with_the_next() {
        let clock = FakeRelativeClock::default();
        let log = RequestLog::new(Duration::from_secs(1), NonZero::new(2).unwrap(), clock.clone());
        let admitted: Vec<_> = (0..5).map(|_| log.admit()).collect();
        assert_eq!(admitted, [Some(0), Some(0), None, None, None]);
        clock.advance(Duration::from_millis(500));
        assert_eq!([log.admit(), log.admit()], [Some(3), None]);
        clock.advance(Duration::from_secs(1));
        assert_eq!(log.admit(), Some(1));
    }

    #[test]
    fn failures_and_slow_requests_are_logged_and_nothing_else() {
        let log = RequestLog::new(Duration::from_secs(1), NonZero::new(1).unwrap(), FakeRelativeClock::default());
        let logged = |status: StatusCode, millis| log.is_worth_a_line(status, Duration::from_millis(millis));
        assert!(logged(StatusCode::SERVICE_UNAVAILABLE, 0) && logged(StatusCode::OK, 1000));
        assert!(
            !logged(StatusCode::OK, 999) && !logged(StatusCode::CONFLICT, 0) && !logged(StatusCode::UNAUTHORIZED, 999)
        );
    }
}
