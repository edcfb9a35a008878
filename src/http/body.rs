//! Bodies of requests, read within their limits.

use std::{pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    Request,
    body::Frame,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING},
};

use super::{
    buffers::{self, Buffers, Full, Room, Share, WAITING_BYTES},
    closing::{BrokenOff, Inbound},
    response::MERGE_PATCH,
};
use crate::{
    api::{
        problems,
        refused::{Facts, Refused},
    },
    sale::settings::Invalid,
};

/// A request on its way to its handler. Boxed, because each future on that way would otherwise hold and move it.
pub(super) type BoxedRequest = Box<Request<Inbound>>;

/// Limits on reading a body, and the share of the buffers that it uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimit {
    pub bytes_max: usize,
    pub time_max: Duration,
    pub share: Share,
}

/// Whether the caller accepts JSON: with no Accept header, or one that names JSON or a range that includes it.
pub(super) fn accepts_json(headers: &HeaderMap) -> bool {
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

/// The whole body of a JSON request. The body counts towards the buffers for as long as any of its bytes is in use, unless it is a
/// small one that came whole with its head: the caller must process that one at once.
///
/// `required`: whether the call needs a body, so that a missing length is an error of its own.
pub(super) async fn read(
    buffers: &Arc<Buffers>,
    request: BoxedRequest,
    limit: BodyLimit,
    required: bool,
) -> Result<Bytes, Refused> {
    arrived(buffers, request, limit, required).await?.read().await
}

/// As `read`, but does not wait: what has arrived of the body.
pub(super) async fn arrived(
    buffers: &Arc<Buffers>,
    request: BoxedRequest,
    limit: BodyLimit,
    required: bool,
) -> Result<Arrived, Refused> {
    // Many clients send a type of their own with an empty body, which is fine where the call needs none.
    let is_nothing = || !required && hyper::body::Body::is_end_stream(request.body());
    if let Some(content_type) = request.headers().get(CONTENT_TYPE)
        && content_type.as_bytes() != b"application/json"
        && !is_nothing()
        && let Some(media) = other_media_type(content_type, &["application/json"])
    {
        let detail = format!("the Content-Type is {media:?}; send application/json");
        return Err(problems::UNSUPPORTED_MEDIA_TYPE.because(detail));
    }
    arrived_json(buffers, request, limit, required).await
}

/// What has arrived of a body.
pub(super) enum Arrived {
    Whole(Bytes),
    /// Only a part, or nothing; resolves to the whole body.
    Part(Pin<Box<dyn Future<Output = Result<Bytes, Refused>>>>),
}

impl Arrived {
    async fn read(self) -> Result<Bytes, Refused> {
        match self {
            Self::Whole(bytes) => Ok(bytes),
            Self::Part(rest) => rest.await,
        }
    }
}

/// As `read`, for a merge patch (RFC 7396).
pub(super) async fn read_patch(
    buffers: &Arc<Buffers>,
    request: BoxedRequest,
    limit: BodyLimit,
) -> Result<Bytes, Refused> {
    if let Some(content_type) = request.headers().get(CONTENT_TYPE)
        && let Some(media) = other_media_type(content_type, &[MERGE_PATCH, "application/json"])
    {
        let detail = format!("the Content-Type is {media:?}; send {MERGE_PATCH} or application/json");
        return Err(Refused { facts: Facts::TakesPatches, ..problems::UNSUPPORTED_MEDIA_TYPE.because(detail) });
    }
    arrived_json(buffers, request, limit, true).await?.read().await
}

/// The media type, if it is none of these.
fn other_media_type<'a>(content_type: &'a HeaderValue, known: &[&str]) -> Option<&'a str> {
    let media = content_type.to_str().unwrap_or("").split(';').next().unwrap_or("").trim();
    (!known.iter().any(|known| media.eq_ignore_ascii_case(known))).then_some(media)
}

async fn arrived_json(
    buffers: &Arc<Buffers>,
    request: BoxedRequest,
    limit: BodyLimit,
    required: bool,
) -> Result<Arrived, Refused> {
    let headers = request.headers();
    let size = hyper::body::Body::size_hint(request.body());
    let told_length =
        || size.lower() > 0 || headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    let must_tell_length = required && request.version() < hyper::Version::HTTP_2;
    if must_tell_length && !told_length() {
        return Err(problems::LENGTH_REQUIRED
            .because("this call takes a JSON body: send Content-Length, or use chunked transfer encoding"));
    }
    let mut body = request.into_body();
    if size.lower() > limit.bytes_max as u64 {
        return Err(too_large(limit.bytes_max));
    }
    if hyper::body::Body::is_end_stream(&body) {
        return Ok(Arrived::Whole(Bytes::new()));
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
            return Ok(Arrived::Whole(first));
        }
        let mut room = room();
        room.take(first.len())?;
        return Ok(Arrived::Whole(buffers::held(first, room)));
    }
    let room = room();
    Ok(Arrived::Part(Box::pin(rest_in_time(body, limit, first, room))))
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
async fn rest_in_time(mut body: Inbound, limit: BodyLimit, first: Bytes, mut room: Room) -> Result<Bytes, Refused> {
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
    Refused(Refused),
}

impl From<Full> for Unread {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl From<Refused> for Unread {
    fn from(refused: Refused) -> Self {
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

fn data(piece: Piece) -> Result<Bytes, Refused> {
    match piece {
        None => Ok(Bytes::new()),
        Some(Ok(frame)) => Ok(frame.into_data().unwrap_or_default()),
        Some(Err(error)) => {
            tracing::debug!(%error, "a body could not be read");
            let detail = "the service could not read the whole body; send it again, exactly as long as its \
                          Content-Length says";
            Err(Invalid::new("", detail).into())
        }
    }
}

/// The answer for a body, or a part of one with the same limit.
pub(super) fn too_large(bytes_max: usize) -> Refused {
    problems::CONTENT_TOO_LARGE.because(format!("the body may have up to {bytes_max} bytes"))
}

fn timed_out(time_max: Duration) -> Refused {
    problems::REQUEST_TIMEOUT.because(format!("the body must be complete within {} s", time_max.as_secs()))
}
