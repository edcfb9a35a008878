//! A connection's patience: how long it may be idle, and how long the head of a request may take to arrive.
//!
//! One timer a connection, set again only when it fires: a request that comes in costs two clock readings and no timer.
//! The body has a limit of its own where it is read.

use std::{
    cell::Cell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::{Instant, Sleep};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between requests.
    Idle,
    /// Bytes came in, and no request has begun yet.
    Head,
    /// Requests are being answered.
    Busy,
}

/// What a connection is doing, told by its service and its socket.
#[derive(Debug)]
pub struct Activity {
    idle_time: Duration,
    head_time: Duration,
    phase: Cell<Phase>,
    since: Cell<Instant>,
    requests: Cell<usize>,
    /// HTTP/2 peers may ping between requests: their bytes alone begin no head.
    multiplexed: Cell<bool>,
}

impl Activity {
    pub fn new(idle_time: Duration, head_time: Duration) -> Rc<Self> {
        Rc::new(Self {
            idle_time,
            head_time,
            phase: Cell::new(Phase::Idle),
            since: Cell::new(Instant::now()),
            requests: Cell::new(0),
            multiplexed: Cell::new(false),
        })
    }

    /// A request's head is complete. The guard is to be held until its answer is handed over.
    pub fn begin(self: &Rc<Self>, version: hyper::Version) -> InFlight {
        self.multiplexed.set(version == hyper::Version::HTTP_2);
        self.requests.set(self.requests.get() + 1);
        self.phase.set(Phase::Busy);
        InFlight(self.clone())
    }

    fn bytes_came_in(&self) {
        if self.phase.get() == Phase::Idle && !self.multiplexed.get() {
            self.enter(Phase::Head);
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
    }

    /// When patience ends if nothing happens; None while requests are being answered.
    fn deadline(&self) -> Option<Instant> {
        match self.phase.get() {
            Phase::Idle => Some(self.since.get() + self.idle_time),
            Phase::Head => Some(self.since.get() + self.head_time),
            Phase::Busy => None,
        }
    }
}

/// A request between its head and its answer.
pub struct InFlight(Rc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let requests = self.0.requests.get() - 1;
        self.0.requests.set(requests);
        if requests == 0 {
            self.0.enter(Phase::Idle);
        }
    }
}

/// A socket that ends when its connection's patience does.
pub struct Timed<T> {
    inner: T,
    activity: Rc<Activity>,
    timer: Pin<Box<Sleep>>,
}

impl<T> Timed<T> {
    pub fn new(inner: T, activity: Rc<Activity>) -> Self {
        // Looked at often enough for the shorter of the two times to be kept.
        let timer = Box::pin(tokio::time::sleep(activity.head_time.min(activity.idle_time)));
        Self { inner, activity, timer }
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let pause = self.activity.head_time.min(self.activity.idle_time);
            let next = match self.activity.deadline() {
                Some(deadline) if deadline <= now => return Poll::Ready(()),
                Some(deadline) => deadline.min(now + pause),
                None => now + pause,
            };
            self.timer.as_mut().reset(next);
        }
        Poll::Pending
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
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
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
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }
}
