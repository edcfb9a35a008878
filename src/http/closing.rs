//! Closings that the server decides on: they are announced in the answer, and the answer arrives.
//!
//! An answer may be ready before its request's body was read: the head was enough, or the body is too large or too late. A
//! server that then simply closes loses its own answer, because the kernel resets a connection that is closed with bytes
//! unread, and a client that is still sending fails before it reads anything. `Inbound` sees every body that a call leaves
//! unread and decides what becomes of the connection:
//!
//! - HTTP/1.1, and a small rest of a known size: it is read and dropped, then the answer leaves, and the connection goes on.
//! - HTTP/1.1 otherwise: the answer says `Connection: close`, and the socket lingers (`timed.rs`).
//! - HTTP/2: the rest is read and dropped before the answer, which gives its flow-control window back. Past the bounds the
//!   stream is reset behind its answer. Streams are independent, so the connection goes on.
//!
//! Invariant: no call's body is dropped but through here.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
};

use super::{problem::Problem, timed::Activity};

/// How much of what nobody wants is read.
#[derive(Debug, Clone, Copy)]
pub struct Lingering {
    /// Up to so much of a body is read so that its connection can go on.
    pub rest_bytes_max: u64,
    /// Up to so much is read before a connection is closed, or an HTTP/2 stream is reset.
    pub bytes_max: u64,
    /// How long either may take.
    pub time: Duration,
}

/// The body of a request.
pub struct Inbound {
    /// None once it is dropped.
    incoming: Option<Incoming>,
    activity: Rc<Activity>,
    /// Of the request, among those of its connection.
    number: u64,
    /// The caller waits for `100 Continue`, and may never send the body.
    held_back: Cell<bool>,
    ended: bool,
    given_up: bool,
}

impl Inbound {
    pub fn new(incoming: Incoming, activity: Rc<Activity>, number: u64) -> Self {
        Self { incoming: Some(incoming), activity, number, held_back: Cell::new(false), ended: false, given_up: false }
    }

    /// The head has `Expect: 100-continue`.
    pub fn hold_back(&self) {
        self.held_back.set(true);
    }

    /// The rest is not waited for any longer.
    pub fn give_up(&mut self) {
        self.given_up = true;
    }

    fn incoming(&self) -> &Incoming {
        self.incoming.as_ref().expect("it is there until it is dropped")
    }

    /// What is to become of what was not read.
    #[cold]
    fn leave(&self, body: Incoming) {
        let Lingering { rest_bytes_max, bytes_max, time } = self.activity.lingering();
        let is_small = body.size_hint().exact().is_some_and(|bytes| bytes <= rest_bytes_max);
        let bytes_max = if self.activity.is_multiplexed() { bytes_max } else { rest_bytes_max };
        if self.given_up || self.held_back.get() || !(is_small || self.activity.is_multiplexed()) {
            return self.activity.end_unread();
        }
        self.activity.set_aside(self.number, Rest { body, bytes_max, time });
    }
}

/// The rest of a body, which is read and dropped before its request is answered: a client that is still sending does not
/// expect its answer, and many take one that comes too early for a fault.
pub struct Rest {
    body: Incoming,
    bytes_max: u64,
    time: Duration,
}

impl Rest {
    /// Whether it came to its end within its limits.
    pub async fn discard(self) -> bool {
        let Self { body, bytes_max, time } = self;
        tokio::time::timeout(time, discard(body, bytes_max)).await == Ok(true)
    }
}

/// An answer that no request is needed for, and behind which the connection is closed. `headers`: more of them, each with its
/// line end.
pub fn last_word(problem: &Problem, detail: &str, headers: &str) -> Bytes {
    let body = problem.document(detail);
    let reason = StatusCode::from_u16(problem.status).ok().and_then(|status| status.canonical_reason());
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         connection: close\r\n{headers}\r\n",
        problem.status,
        reason.unwrap_or(""),
        body.len(),
    );
    [head.as_bytes(), &body].concat().into()
}

/// Reads up to so many bytes; whether that was all.
async fn discard(mut rest: Incoming, bytes_max: u64) -> bool {
    let mut bytes = 0;
    while let Some(frame) = rest.frame().await {
        let Ok(frame) = frame else { return false };
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > bytes_max {
            return false;
        }
    }
    true
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.held_back.set(false);
        let incoming = self.incoming.as_mut().expect("it is there until it is dropped");
        let frame = Pin::new(incoming).poll_frame(context);
        match &frame {
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Err(_))) => {
                self.ended = true;
                self.activity.end_unread();
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.incoming().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming().size_hint()
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if !self.is_end_stream()
            && let Some(rest) = self.incoming.take()
        {
            self.leave(rest);
        }
    }
}
