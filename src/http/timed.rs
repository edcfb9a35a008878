//! A connection's patience: how long it may be idle, how long the head of a request may take to arrive, and how long the
//! other side may leave unread what is written to it.
//!
//! One timer a connection, set again only when it fires: a request that comes in whole and is answered in whole costs no
//! timer, and no reading of the clock beside that of its answer.
//! The body has a limit of its own where it is read.

use std::{
    cell::Cell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use memchr::memmem;
use tokio::time::{Instant, Sleep};

use super::problem::{self, Problem};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between requests.
    Idle { since: Instant },
    /// Bytes came in, and no request has begun yet. None: more may be there already.
    Head { since: Option<Instant> },
    /// Requests are being answered.
    Busy,
}

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub idle_time: Duration,
    pub head_time: Duration,
    pub stall_time: Duration,
}

impl Patience {
    /// Looked at so often, each of the times is kept.
    fn shortest(&self) -> Duration {
        self.idle_time.min(self.head_time).min(self.stall_time)
    }
}

/// What a connection is doing, told by its service and its socket.
#[derive(Debug)]
pub struct Activity {
    patience: Patience,
    phase: Cell<Phase>,
    requests: Cell<usize>,
    /// HTTP/2 peers may ping between requests: their bytes alone begin no head.
    multiplexed: Cell<bool>,
}

impl Activity {
    pub fn new(patience: Patience) -> Rc<Self> {
        Rc::new(Self {
            patience,
            phase: Cell::new(Phase::Idle { since: Instant::now() }),
            requests: Cell::new(0),
            multiplexed: Cell::new(false),
        })
    }

    /// A request's head is complete. It is in flight until its answer is handed over.
    pub fn begin(self: &Rc<Self>, version: hyper::Version) -> InFlight {
        self.multiplexed.set(version == hyper::Version::HTTP_2);
        self.requests.set(self.requests.get() + 1);
        self.phase.set(Phase::Busy);
        InFlight { activity: self.clone(), ended: None }
    }

    fn bytes_came_in(&self) {
        if matches!(self.phase.get(), Phase::Idle { .. }) && !self.multiplexed.get() {
            self.phase.set(Phase::Head { since: None });
        }
    }

    /// The socket has nothing. A head that is there at once never comes to that.
    fn waits(&self) {
        if self.phase.get() == (Phase::Head { since: None }) {
            self.phase.set(Phase::Head { since: Some(Instant::now()) });
        }
    }

    /// When patience ends if nothing happens; None while there is nothing to wait for but answers.
    fn deadline(&self) -> Option<Instant> {
        match self.phase.get() {
            Phase::Idle { since } => Some(since + self.patience.idle_time),
            Phase::Head { since } => Some(since? + self.patience.head_time),
            Phase::Busy => None,
        }
    }
}

/// A request between its head and its answer. Dropped, it ends at that moment.
pub struct InFlight {
    activity: Rc<Activity>,
    ended: Option<Instant>,
}

impl InFlight {
    /// The answer was there at this moment.
    pub fn end(mut self, at: Instant) {
        self.ended = Some(at);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let requests = self.activity.requests.get() - 1;
        self.activity.requests.set(requests);
        if requests == 0 {
            self.activity.phase.set(Phase::Idle { since: self.ended.unwrap_or_else(Instant::now) });
        }
    }
}

/// A socket that ends when its connection's patience does, and that speaks of unreadable requests in our form.
///
/// What hyper cannot parse never becomes a request: it answers by itself, a bare status line and no body, and closes.
/// That answer is replaced here by the problem that the contract has for its status.
pub struct Timed<T> {
    inner: T,
    activity: Rc<Activity>,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer, as it is set, will wake the connection's task. A task's waker does not change on a worker.
    armed: bool,
    /// What is written in place of hyper's own answer, and how much of it was.
    replacement: Option<(Bytes, usize)>,
    /// Since when the other side takes nothing of what is to be written.
    stalled_since: Option<Instant>,
}

impl<T> Timed<T> {
    pub fn new(inner: T, activity: Rc<Activity>) -> Self {
        let timer = Box::pin(tokio::time::sleep(activity.patience.shortest()));
        Self { inner, activity, timer, armed: false, replacement: None, stalled_since: None }
    }

    /// Writes the replacement; ready when all of it is written.
    fn poll_replacement(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: Write + Unpin,
    {
        while let Some((bytes, written)) = &mut self.replacement {
            match ready!(Pin::new(&mut self.inner).poll_write(context, &bytes[*written..])) {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) if *written + count < bytes.len() => *written += count,
                Ok(_) => self.replacement = None,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.activity.waits();
        if self.armed && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let pause = self.activity.patience.shortest();
            let stalled = self.stalled_since.map(|since| since + self.activity.patience.stall_time);
            let next = match self.activity.deadline().into_iter().chain(stalled).min() {
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
        match self.poll_patience(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: Read + Unpin> Read for Timed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Ready(outcome) => {
                self.activity.bytes_came_in();
                Poll::Ready(outcome)
            }
            Poll::Pending => match self.poll_patience(context) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl<T: Write + Unpin> Write for Timed<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(problem) = bare_answer(bytes) {
            self.replacement = Some((on_the_wire(problem), 0));
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note_written(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        let flushed = Pin::new(&mut self.inner).poll_flush(context).map_ok(|()| 0);
        self.note_written(context, flushed).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(problem) = slices.first().and_then(|first| bare_answer(first)) {
            self.replacement = Some((on_the_wire(problem), 0));
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.note_written(context, written)
    }
}

/// The problem for an answer that hyper made by itself. Ours always have a body.
fn bare_answer(bytes: &[u8]) -> Option<&'static Problem> {
    let status = bytes.strip_prefix(b"HTTP/1.1 4")?;
    let problem = match status.first_chunk()? {
        b"00" => &problem::INVALID_REQUEST,
        b"14" => &problem::URI_TOO_LONG,
        b"31" => &problem::HEADERS_TOO_LARGE,
        _ => return None,
    };
    memmem::find(bytes, b"content-length: 0\r\n").map(|_| problem)
}

fn on_the_wire(problem: &Problem) -> Bytes {
    let body = problem.document("the request could not be read as HTTP/1.1");
    let reason = hyper::StatusCode::from_u16(problem.status).ok().and_then(|status| status.canonical_reason());
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        problem.status,
        reason.unwrap_or(""),
        body.len(),
    );
    [head.as_bytes(), &body].concat().into()
}
