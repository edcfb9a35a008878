//! Bodies: the bytes of answers, and the bytes of requests within their limits.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    Request, Response, StatusCode,
    body::{Frame, SizeHint},
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    buffers::{self, Buffers, Full, Room, Share, WAITING_BYTES},
    closing::{BrokenOff, Inbound},
    problem,
};
use crate::sale::settings::Invalid;

/// A request on its way to its handler. Boxed, because each future on that way would otherwise hold and move it.
pub type BoxedRequest = Box<Request<Inbound>>;

/// Limits on reading a body, and the share of the buffers that it uses.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub bytes_max: usize,
    pub time_max: Duration,
    pub share: Share,
}

/// An answer on its way to hyper. Boxed, because every function that it passes through would copy it.
pub type BoxedResponse = Box<Response<Body>>;

/// An answer with this body and media type. Caches must not store it: nearly every answer is true only for an instant, and the
/// others set their own header.
pub fn respond(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> BoxedResponse {
    let mut response = Box::new(Response::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Caches may store the answer but must revalidate it: it changes only with the program.
pub fn revalidated(mut response: BoxedResponse) -> BoxedResponse {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

static X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The answer comes in pieces, which proxies such as nginx must pass on at once.
pub fn unbuffered(mut response: BoxedResponse) -> BoxedResponse {
    response.headers_mut().insert(&X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// The whole body; empty once hyper has taken it.
    Whole(Bytes),
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
            Self::Whole(_) => None,
            Self::Streamed(stream) => stream.ended.take(),
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
            Self::Whole(bytes) => bytes,
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
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed(_) => SizeHint::default(),
        }
    }
}

/// Whether the caller accepts JSON: with no Accept header, or one that names JSON or a range that includes it.
pub fn accepts_json(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(hyper::header::ACCEPT).iter().peekable();
    if ranges.peek().is_none() {
        return true;
    }
    ranges.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        let refused =
            parts.any(|parameter| matches!(parameter.strip_prefix("q="), Some("0" | "0.0" | "0.00" | "0.000")));
        let json = ["*/*", "application/*", "application/json", "application/problem+json"];
        !refused && json.iter().any(|known| media.eq_ignore_ascii_case(known))
    })
}

/// The whole body of a JSON request, or the answer that refuses it. The body counts towards the buffers for as long as any of
/// its bytes is in use, unless it is a small one that came whole with its head: the caller must process that one at once.
///
/// `required`: whether the call needs a body, so that a missing length is an error of its own.
pub async fn read(
    buffers: &Arc<Buffers>,
    request: BoxedRequest,
    limit: Limit,
    required: bool,
) -> Result<Bytes, BoxedResponse> {
    if let Some(content_type) = request.headers().get(CONTENT_TYPE)
        && content_type.as_bytes() != b"application/json"
        && let Some(media) = other_media_type(content_type, &["application/json"])
    {
        return Err(
            problem::UNSUPPORTED_MEDIA_TYPE.respond(format!("the Content-Type is {media:?}; send application/json"))
        );
    }
    read_json(buffers, request, limit, required).await
}

/// As `read`, for a merge patch (RFC 7396).
pub async fn read_patch(buffers: &Arc<Buffers>, request: BoxedRequest, limit: Limit) -> Result<Bytes, BoxedResponse> {
    if let Some(content_type) = request.headers().get(CONTENT_TYPE)
        && let Some(media) = other_media_type(content_type, &[MERGE_PATCH, "application/json"])
    {
        let mut response = problem::UNSUPPORTED_MEDIA_TYPE
            .respond(format!("the Content-Type is {media:?}; send {MERGE_PATCH} or application/json"));
        response.headers_mut().insert(&ACCEPT_PATCH, HeaderValue::from_static(MERGE_PATCH));
        return Err(response);
    }
    read_json(buffers, request, limit, true).await
}

/// The media type of a merge patch.
pub const MERGE_PATCH: &str = "application/merge-patch+json";
static ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// The media type, if it is none of these.
fn other_media_type<'a>(content_type: &'a HeaderValue, known: &[&str]) -> Option<&'a str> {
    let media = content_type.to_str().unwrap_or("").split(';').next().unwrap_or("").trim();
    (!known.iter().any(|known| media.eq_ignore_ascii_case(known))).then_some(media)
}

async fn read_json(
    buffers: &Arc<Buffers>,
    request: BoxedRequest,
    limit: Limit,
    required: bool,
) -> Result<Bytes, BoxedResponse> {
    let headers = request.headers();
    let size = hyper::body::Body::size_hint(request.body());
    let told_length =
        || size.lower() > 0 || headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    let must_tell_length = required && request.version() < hyper::Version::HTTP_2;
    if must_tell_length && !told_length() {
        return Err(problem::LENGTH_REQUIRED
            .respond("this call takes a JSON body: send Content-Length, or use chunked transfer encoding"));
    }
    let mut body = request.into_body();
    if size.lower() > limit.bytes_max as u64 {
        return Err(too_large(limit.bytes_max));
    }
    if hyper::body::Body::is_end_stream(&body) {
        return Ok(Bytes::new());
    }
    // Most bodies have arrived together with their head.
    let first = match poll_once(&mut body).await {
        Some(first) => data(first)?,
        None => Bytes::new(),
    };
    if first.len() > limit.bytes_max {
        return Err(too_large(limit.bytes_max));
    }
    let room = || buffers.begin(limit.share).with(body.allowance());
    if hyper::body::Body::is_end_stream(&body) {
        if limit.share == Share::Small {
            return Ok(first);
        }
        let mut room = room();
        room.take(first.len())?;
        return Ok(buffers::held(first, room));
    }
    let room = room();
    Box::pin(rest_in_time(body, limit, first, room)).await
}

/// Bytes of a large body that has arrived, copied before other tasks run.
const TURN_BYTES: usize = 64 << 10;

/// A buffer of the announced length is allocated at once only up to this size: copying a larger body a few times costs less
/// than memory for a body that never comes.
const ANNOUNCED_BYTES: usize = 1 << 20;

type Piece = Option<Result<Frame<Bytes>, BrokenOff>>;

/// The next frame, if it has arrived.
async fn poll_once(body: &mut Inbound) -> Option<Piece> {
    let mut frame = std::pin::pin!(body.frame());
    std::future::poll_fn(|context| {
        Poll::Ready(match frame.as_mut().poll(context) {
            Poll::Ready(piece) => Some(piece),
            Poll::Pending => None,
        })
    })
    .await
}

/// The rest of the body, after the bytes that have arrived. Boxed by its caller: few bodies come in pieces.
async fn rest_in_time(mut body: Inbound, limit: Limit, first: Bytes, mut room: Room) -> Result<Bytes, BoxedResponse> {
    let read = tokio::time::timeout(limit.time_max, rest(&mut body, limit.bytes_max, first, &mut room)).await;
    match read {
        Ok(Ok(whole)) => Ok(buffers::held(whole, room)),
        Ok(Err(Unread::Full(full))) => {
            // Answered at once, because the rest may never come.
            body.give_up();
            Err(full.into())
        }
        Ok(Err(Unread::Refused(refused))) => Err(refused),
        Err(_) => {
            body.give_up();
            Err(timed_out(limit.time_max))
        }
    }
}

/// Why a body could not be read to its end.
enum Unread {
    Full(Full),
    Refused(BoxedResponse),
}

impl From<Full> for Unread {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl From<BoxedResponse> for Unread {
    fn from(refused: BoxedResponse) -> Self {
        Self::Refused(refused)
    }
}

async fn rest(body: &mut Inbound, bytes_max: usize, first: Bytes, room: &mut Room) -> Result<BytesMut, Unread> {
    room.take(WAITING_BYTES + first.len())?;
    let announced = first.len() + hyper::body::Body::size_hint(body).lower() as usize;
    let mut whole = BytesMut::with_capacity(announced.min(ANNOUNCED_BYTES));
    whole.extend_from_slice(&first);
    drop(first);
    let mut turn_ends = TURN_BYTES;
    while let Some(piece) = body.frame().await {
        if whole.len() > turn_ends {
            turn_ends = whole.len() + TURN_BYTES;
            tokio::task::yield_now().await;
        }
        let bytes = data(Some(piece))?;
        if whole.len() + bytes.len() > bytes_max {
            return Err(too_large(bytes_max).into());
        }
        room.take(bytes.len())?;
        whole.extend_from_slice(&bytes);
    }
    Ok(whole)
}

fn data(piece: Piece) -> Result<Bytes, BoxedResponse> {
    match piece {
        None => Ok(Bytes::new()),
        Some(Ok(frame)) => Ok(frame.into_data().unwrap_or_default()),
        Some(Err(error)) => {
            tracing::debug!(%error, "a body could not be read");
            let detail = "the service could not read the whole body; send it again, exactly as long as its \
                          Content-Length says";
            Err(problem::invalid(&[Invalid::new("", detail)]))
        }
    }
}

/// The answer for a body, or a part of one with the same limit.
pub fn too_large(bytes_max: usize) -> BoxedResponse {
    problem::CONTENT_TOO_LARGE.respond(format!("the body may have up to {bytes_max} bytes"))
}

fn timed_out(time_max: Duration) -> BoxedResponse {
    problem::REQUEST_TIMEOUT.respond(format!("the body must be complete within {} s", time_max.as_secs()))
}
