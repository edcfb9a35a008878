//! Closing connections by the server: the answer announces it, and the answer arrives.
//!
//! An answer may be ready before its request's body has been read: the head was enough, or the body is too large or too late. A
//! server that then simply closes loses its answer: the kernel resets a connection that is closed with unread bytes, and a
//! client that is still sending fails before it reads anything. `Inbound` sees every body that a call leaves unread and decides
//! what happens to the connection:
//!
//! - HTTP/1.1, and a small rest of a known size: the server reads and drops it, then answers, and the connection continues.
//! - HTTP/1.1 otherwise: the answer says `Connection: close`, and the socket lingers (`timed.rs`).
//! - HTTP/2: the server reads and drops the rest before it answers, which restores the flow-control window. Past the bounds it
//!   resets the stream after the answer. Streams are independent, so the connection continues.
//!
//! Invariant: every body that a call drops goes through this module.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{
    activity::{Activity, Lingering, Rest},
    buffers::Allowance,
};

/// The body of a request.
pub(super) struct Inbound {
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
    pub(super) fn new(incoming: Incoming, activity: Rc<Activity>, number: u64) -> Self {
        Self { incoming: Some(incoming), activity, number, held_back: Cell::new(false), ended: false, given_up: false }
    }

    /// The head has `Expect: 100-continue`.
    pub(super) fn hold_back(&self) {
        self.held_back.set(true);
    }

    /// The connection's allowance of uncounted bytes.
    pub(super) fn allowance(&self) -> Allowance {
        self.activity.allowance()
    }

    /// The server no longer waits for the rest.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
    }

    fn incoming(&self) -> &Incoming {
        self.incoming.as_ref().expect("it is there until it is dropped")
    }

    /// What happens to the unread rest.
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

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenOff {
    #[error(transparent)]
    Connection(hyper::Error),
    #[error("the client closed its side of the connection")]
    HalfClosed,
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.held_back.set(false);
        let incoming = self.incoming.as_mut().expect("it is there until it is dropped");
        let frame = match Pin::new(incoming).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(BrokenOff::Connection))),
            Poll::Pending if self.activity.may_go_on(self.number, context) => Poll::Pending,
            Poll::Pending => Poll::Ready(Some(Err(BrokenOff::HalfClosed))),
        };
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
        self.activity.forget_body(self.number);
        if !self.is_end_stream()
            && let Some(rest) = self.incoming.take()
        {
            self.leave(rest);
        }
    }
}
