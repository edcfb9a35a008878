//! A connection's socket: its timeouts (idle, head of a request, unread writes), and how it is closed.
//!
//! Each connection has one timer, which is reset only when it fires. A request that arrives whole and is answered whole costs
//! no timer, and one reading of the clock. The body has a limit of its own where it is read.
//!
//! Invariant: when the server closes a connection whose client may still be sending, it half-closes first, then reads and drops
//! what comes, within `Lingering`. Otherwise the kernel would answer those bytes with a reset, which discards what the client
//! has not yet read.

use std::{
    future::Future,
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use memchr::memmem;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{
    activity::{Activity, LAST_FRAMES_TIME},
    response::last_answer,
};
use crate::{
    api::{
        problems::{self, Problem},
        refused::Refused,
    },
    sale::settings::Invalid,
};

/// How an HTTP/2 connection begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Read at a time from what nobody wants.
const DISCARDED_BYTES: usize = 16 << 10;

/// A socket that applies the connection's timeouts, closes so that the last answer arrives, and answers unparsable requests in
/// our format.
///
/// hyper answers a request that it cannot parse by itself, with a bare status line and no body, and closes. This socket drops
/// that answer and writes the contract's problem for its status instead.
pub(super) struct Timed<T> {
    inner: T,
    activity: Rc<Activity>,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer, as it is set, will wake the connection's task. A task's waker does not change on a worker.
    armed: bool,
    /// How much of the HTTP/2 preface has come in; None: all of it, or something else.
    preface: Option<usize>,
    /// What is written before the connection is closed.
    last_answer: Bytes,
    /// Since when the other side takes nothing of what is to be written.
    stalled_since: Option<Instant>,
    closing: Closing,
}

#[derive(Debug, Clone, Copy)]
enum Closing {
    Not,
    /// The last answer and the half-close are on their way.
    Writing,
    /// Nothing more is written; so many bytes are still read.
    Reading {
        bytes_left: u64,
    },
}

impl<T> Timed<T> {
    pub(super) fn new(inner: T, activity: Rc<Activity>) -> Self {
        let timer = Box::pin(tokio::time::sleep(activity.timeouts().shortest()));
        let (preface, last_answer) = (Some(0), Bytes::new());
        Self { inner, activity, timer, armed: false, preface, last_answer, stalled_since: None, closing: Closing::Not }
    }

    fn poll_timeout(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.activity.waits();
        if self.armed && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let half_closed = self.activity.half_closed_since().is_some();
            let pause = if half_closed { LAST_FRAMES_TIME } else { self.activity.timeouts().shortest() };
            let stalled = self.stalled_since.map(|since| since + self.activity.timeouts().stall_time);
            // Behind a half-close, what still waits to be written has its whole time.
            let own = if half_closed && stalled.is_some() { None } else { self.activity.deadline() };
            let next = match own.into_iter().chain(stalled).min() {
                Some(deadline) if deadline <= now => return Poll::Ready(()),
                Some(deadline) => deadline.min(now + pause),
                None => now + pause,
            };
            self.timer.as_mut().reset(next);
        }
        self.armed = true;
        Poll::Pending
    }

    /// What a write came to, unless nothing could be written for too long.
    fn note_written(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled_since = None;
            return written;
        }
        self.stalled_since.get_or_insert_with(Instant::now);
        match self.poll_timeout(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Whether these bytes make the connection one of HTTP/2.
    fn note_preface(&mut self, matched: usize, bytes: &[u8]) {
        let rest = &PREFACE[matched..];
        let both = bytes.len().min(rest.len());
        self.preface = (bytes[..both] == rest[..both]).then_some(matched + both);
        if self.preface == Some(PREFACE.len()) {
            self.preface = None;
            self.activity.set_multiplexed();
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Timed<T> {
    /// Writes only this, and closes.
    pub(super) async fn close_with(mut self, last_answer: Bytes) {
        self.last_answer = last_answer;
        self.activity.end_unread();
        // How the peer disconnects does not matter.
        let _ = std::future::poll_fn(|context| Pin::new(&mut self).poll_shutdown(context)).await;
    }

    /// Writes the last answer and half-closes; then, where the client may still be sending, reads until it closes as well.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.closing {
                Closing::Not => {
                    self.closing = Closing::Writing;
                    self.timer.as_mut().reset(Instant::now() + self.activity.lingering().time);
                }
                Closing::Writing if self.last_answer.has_remaining() => {
                    match ready!(Pin::new(&mut self.inner).poll_write(context, &self.last_answer)) {
                        Err(error) => return Poll::Ready(Err(error)),
                        Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        Ok(count) => self.last_answer.advance(count),
                    }
                }
                Closing::Writing => {
                    ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
                    if !self.activity.is_ending() {
                        return Poll::Ready(Ok(()));
                    }
                    self.closing = Closing::Reading { bytes_left: self.activity.lingering().bytes_max };
                }
                Closing::Reading { bytes_left } => {
                    let mut room = [MaybeUninit::uninit(); DISCARDED_BYTES];
                    let mut buffer = ReadBuf::uninit(&mut room);
                    ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer))?;
                    let bytes = buffer.filled().len() as u64;
                    if bytes == 0 || bytes > bytes_left {
                        return Poll::Ready(Ok(()));
                    }
                    self.closing = Closing::Reading { bytes_left: bytes_left - bytes };
                }
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.activity.half_closed_since().is_none() {
            let before = buffer.filled().len();
            if let Poll::Ready(outcome) = Pin::new(&mut this.inner).poll_read(context, buffer) {
                let came = &buffer.filled()[before..];
                if let Some(matched) = this.preface {
                    this.note_preface(matched, came);
                }
                // A client that sends nothing more is not gone: it may wait for answers. HTTP/1.1 is read no further while
                // one is due; with HTTP/2 the end is not shown to hyper until they are written.
                if !came.is_empty() || outcome.is_err() || !this.activity.is_multiplexed() {
                    this.activity.bytes_came_in();
                    return Poll::Ready(outcome);
                }
                this.activity.half_close();
                // The timer may be set for much later than the connection's new end.
                this.timer.as_mut().reset(Instant::now());
                this.armed = false;
            }
        }
        match this.poll_timeout(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) if this.activity.half_closed_since().is_some() => Poll::Ready(Ok(())),
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(problem) = bare_answer(bytes) {
            self.last_answer = last_answer(&unreadable(problem), "");
            self.activity.end_unread();
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note_written(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context).map_ok(|()| 0);
        self.note_written(context, flushed).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(outcome) = self.poll_close(context) {
            return Poll::Ready(outcome);
        }
        self.timer.as_mut().poll(context).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.note_written(context, written)
    }
}

fn unreadable(problem: &'static Problem) -> Refused {
    const DETAIL: &str = "the request could not be read as HTTP/1.1";
    if problem.status == 400 { Invalid::new("", DETAIL).into() } else { problem.because(DETAIL) }
}

/// The problem for an answer that hyper made by itself. Ours always have a body.
fn bare_answer(bytes: &[u8]) -> Option<&'static Problem> {
    let status = bytes.strip_prefix(b"HTTP/1.1 4")?;
    let problem = match status.first_chunk()? {
        b"00" => &problems::INVALID_REQUEST,
        b"14" => &problems::URI_TOO_LONG,
        b"31" => &problems::HEADERS_TOO_LARGE,
        _ => return None,
    };
    memmem::find(bytes, b"content-length: 0\r\n").map(|_| problem)
}
