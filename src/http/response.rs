//! Answers: their bytes, and the headers that go with them.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Frame, SizeHint},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use tokio::sync::{mpsc, oneshot};

use super::json::{self, problem::DOCUMENT_BYTES};
use crate::{
    api::{
        problems::{self, Problem},
        refused::{Facts, Limited, Refused},
    },
    sale::{catalogue::Catalogue, outcome::Refusal, settings::Quota},
};

/// An answer on its way to hyper. Boxed, because every function that it passes through would copy it.
pub(super) type BoxedResponse = Box<Response<Body>>;

/// An answer with this body and media type. Caches must not store it: nearly every answer is true only for an instant, and the
/// others set their own header.
pub(super) fn respond(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> BoxedResponse {
    let mut response = Box::new(Response::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Caches may store the answer but must revalidate it: it changes only with the program.
pub(super) fn revalidated(mut response: BoxedResponse) -> BoxedResponse {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The answer to a request that is refused before the rules are asked.
pub(super) fn refused(refused: &Refused) -> BoxedResponse {
    let mut response = of_problem(refused.problem, json::problem::of_refused(refused));
    let headers = response.headers_mut();
    match &refused.facts {
        Facts::Limited(limited) => say_quota(headers, limited),
        Facts::Allowed(allowed) => drop(headers.insert(ALLOW, HeaderValue::from_static(allowed))),
        Facts::TakesPatches => drop(headers.insert(&ACCEPT_PATCH, HeaderValue::from_static(MERGE_PATCH))),
        Facts::None | Facts::Errors(_) | Facts::Oldest(_) => {}
    }
    response
}

/// The answer to a command that the rules refuse.
pub(super) fn refusal(refusal: &Refusal, catalogue: &Catalogue) -> BoxedResponse {
    refusal_as(problems::of(refusal.code()), refusal, catalogue)
}

/// As `refusal`, where the call has a problem of its own for it.
pub(super) fn refusal_as(problem: &'static Problem, refusal: &Refusal, catalogue: &Catalogue) -> BoxedResponse {
    let mut document = Vec::with_capacity(DOCUMENT_BYTES);
    json::problem::write_refusal(&mut document, problem, refusal, catalogue);
    let mut response = of_problem(problem, document);
    if let Refusal::CoolingDown { retry_after_seconds, .. } = refusal {
        response.headers_mut().insert(RETRY_AFTER, (*retry_after_seconds).into());
    }
    response
}

fn of_problem(problem: &'static Problem, document: Vec<u8>) -> BoxedResponse {
    let status = StatusCode::from_u16(problem.status).expect("statuses in the table are valid");
    let mut response = respond(status, "application/problem+json", Body::Problem(problem, document.into()));
    let headers = response.headers_mut();
    if problem.status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"doorbuster\""));
    }
    if problem.status == 503 {
        headers.insert(RETRY_AFTER, rand::random_range(RETRY_AFTER_SECONDS).into());
    }
    response
}

/// Seconds after which a refused caller may try again. The spread keeps callers from coming back all at once.
const RETRY_AFTER_SECONDS: std::ops::RangeInclusive<u16> = 1..=3;

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The headers of draft-ietf-httpapi-ratelimit-headers-10.
fn say_quota(headers: &mut HeaderMap, limited: &Limited) {
    let Limited { policy, quota: Quota { requests, window_seconds }, wait } = limited;
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0).max(u64::from(wait.is_zero()));
    let header = |text: String| HeaderValue::try_from(text).expect("digits and letters");
    headers.insert(RETRY_AFTER, seconds.into());
    headers.insert(&RATE_LIMIT, header(format!("\"{policy}\";r=0;t={seconds}")));
    headers.insert(&RATE_LIMIT_POLICY, header(format!("\"{policy}\";q={requests};w={window_seconds}")));
}

/// The media type of a merge patch.
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
static ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// An answer outside hyper, after which the connection is closed. `headers`: additional ones, each with its line end.
pub(super) fn last_answer(refused: &Refused, headers: &str) -> Bytes {
    let body = json::problem::of_refused(refused);
    let status = refused.problem.status;
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let head = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         connection: close\r\n{headers}\r\n",
        reason.unwrap_or(""),
        body.len(),
    );
    [head.as_bytes(), &body].concat().into()
}

static X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The answer comes in pieces, which proxies such as nginx must pass on at once.
pub(super) fn unbuffered(mut response: BoxedResponse) -> BoxedResponse {
    response.headers_mut().insert(&X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// The whole body; empty once hyper has taken it.
    Whole(Bytes),
    /// As `Whole`: the document of this problem. So logs and traces know the problem without reading the document.
    Problem(&'static Problem, Bytes),
    /// Pieces as they are made.
    Streamed(Stream),
}

/// Pieces as they are made; ends when their sender is dropped. A full channel slows the producer down, and a closed channel
/// tells it that the caller has disconnected.
#[derive(Debug)]
pub struct Stream {
    pieces: mpsc::Receiver<Bytes>,
    /// The rest of the last piece.
    rest: Bytes,
    ended: Option<oneshot::Receiver<()>>,
}

/// Bytes passed to hyper at a time. hyper copies them, or keeps them in a stream's buffer, and takes no more while it has
/// enough. So little of a long answer is outside the budget.
const FRAME_BYTES: usize = 32 << 10;

impl Stream {
    /// `ended`: resolves, even with an error, when the producer is done. Until then the request counts as in flight. After
    /// that, a caller that leaves the rest unread has the timeout of an idle connection.
    pub fn new(pieces: mpsc::Receiver<Bytes>, ended: oneshot::Receiver<()>) -> Self {
        Self { pieces, rest: Bytes::new(), ended: Some(ended) }
    }

    /// A stream without pieces.
    pub fn empty() -> Self {
        Self { pieces: mpsc::channel(1).1, rest: Bytes::new(), ended: None }
    }
}

impl Body {
    /// Resolves when the producer of a stream is done; can be taken once.
    pub fn take_ended(&mut self) -> Option<oneshot::Receiver<()>> {
        match self {
            Self::Whole(_) | Self::Problem(..) => None,
            Self::Streamed(stream) => stream.ended.take(),
        }
    }

    /// The problem that it is the document of.
    pub fn problem(&self) -> Option<&'static Problem> {
        match self {
            Self::Problem(problem, _) => Some(problem),
            Self::Whole(_) | Self::Streamed(_) => None,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let bytes = match &mut *self {
            Self::Whole(bytes) | Self::Problem(_, bytes) => bytes,
            Self::Streamed(Stream { pieces, rest, .. }) => {
                if rest.is_empty() {
                    let Some(piece) = ready!(pieces.poll_recv(context)) else { return Poll::Ready(None) };
                    *rest = piece;
                }
                rest
            }
        };
        let piece = if bytes.len() > FRAME_BYTES { bytes.split_to(FRAME_BYTES) } else { std::mem::take(bytes) };
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) | Self::Problem(_, bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) | Self::Problem(_, bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed(_) => SizeHint::default(),
        }
    }
}
