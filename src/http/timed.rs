//! A connection's socket: its timeouts (idle, head of a request, unread writes), and how it is closed.
//!
//! Each connection has one timer, which is reset only when it fires. A request that arrives whole and is answered whole costs
//! no timer, and one reading of the clock. The body has a limit of its own where it is read.
//!
//! Invariant: when the server closes a connection whose client may still be sending, it half-closes first, then reads and drops
//! what comes, within `Lingering`. Otherwise the kernel would answer those bytes with a reset, which discards what the client
//! has not yet read.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::BTreeMap,
    future::Future,
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use memchr::memmem;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{
    buffers::Allowance,
    closing::{Lingering, Rest, last_word},
    problem::{self, Problem},
};

/// How an HTTP/2 connection begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long an HTTP/2 connection stays open after its last answer if the client has half-closed: frames of that answer may
/// still be on their way from the stream to the socket.
const LAST_FRAMES_TIME: Duration = Duration::from_secs(1);

/// Read at a time from what nobody wants.
const DISCARDED_BYTES: usize = 16 << 10;

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
    pub lingering: Lingering,
}

impl Patience {
    /// Looked at so often, each of the times is kept.
    fn shortest(&self) -> Duration {
        self.idle_time.min(self.head_time).min(self.stall_time)
    }
}

/// What a connection is doing, told by its service and its socket.
pub struct Activity {
    patience: Patience,
    phase: Cell<Phase>,
    requests: Cell<usize>,
    /// It speaks HTTP/2: bytes alone begin no head, since peers may ping between requests.
    multiplexed: Cell<bool>,
    /// HTTP/2: since when the client sends nothing more.
    half_closed_since: Cell<Option<Instant>>,
    /// HTTP/2: tasks that wait for more of a body, by the numbers of their requests.
    awaiting_bodies: RefCell<BTreeMap<u64, Waker>>,
    /// The client may be sending what nobody reads, so that where the next request would begin is not known.
    unread: Cell<bool>,
    /// Rests of bodies, by the numbers of their requests, until these are answered.
    rests: RefCell<Vec<(u64, Rest)>>,
    begun: Cell<u64>,
    /// Made when a request first needs it: one that comes in whole does not.
    allowance: OnceCell<Allowance>,
}

impl Activity {
    pub fn new(patience: Patience) -> Rc<Self> {
        Rc::new(Self {
            patience,
            phase: Cell::new(Phase::Idle { since: Instant::now() }),
            requests: Cell::new(0),
            multiplexed: Cell::new(false),
            half_closed_since: Cell::new(None),
            awaiting_bodies: RefCell::default(),
            unread: Cell::new(false),
            rests: RefCell::new(Vec::new()),
            begun: Cell::new(0),
            allowance: OnceCell::new(),
        })
    }

    /// A request's head is complete. It is in flight until its answer is handed over.
    pub fn begin(self: &Rc<Self>) -> InFlight {
        self.requests.set(self.requests.get() + 1);
        self.begun.set(self.begun.get() + 1);
        self.phase.set(Phase::Busy);
        InFlight { activity: self.clone(), number: self.begun.get(), ended: None }
    }

    pub fn is_multiplexed(&self) -> bool {
        self.multiplexed.get()
    }

    /// Whether more of a body can come that has not come yet. If so, the task is woken should that change.
    pub fn may_go_on(&self, request: u64, context: &Context<'_>) -> bool {
        if !self.multiplexed.get() {
            // hyper sees the end by itself.
            return true;
        }
        if self.half_closed_since.get().is_some() {
            return false;
        }
        self.awaiting_bodies.borrow_mut().insert(request, context.waker().clone());
        true
    }

    /// Nobody reads the request's body any more.
    pub fn forget_body(&self, request: u64) {
        if self.multiplexed.get() {
            self.awaiting_bodies.borrow_mut().remove(&request);
        }
    }

    /// The client of an HTTP/2 connection sends nothing more: bodies that are not complete never will be.
    fn half_close(&self) {
        self.half_closed_since.set(Some(Instant::now()));
        self.awaiting_bodies.take().into_values().for_each(Waker::wake);
    }

    pub fn allowance(&self) -> Allowance {
        self.allowance.get_or_init(Allowance::of_connection).clone()
    }

    pub fn lingering(&self) -> Lingering {
        self.patience.lingering
    }

    /// The connection ends with the next answer. HTTP/2 knows where each frame ends: nothing is left unread there.
    pub fn end_unread(&self) {
        if !self.multiplexed.get() {
            self.unread.set(true);
        }
    }

    /// Whether the connection ends with the answer that is about to be given.
    pub fn is_ending(&self) -> bool {
        self.unread.get()
    }

    pub fn set_aside(&self, request: u64, rest: Rest) {
        self.rests.borrow_mut().push((request, rest));
    }

    pub fn take_rest(&self, request: u64) -> Option<Rest> {
        let mut rests = self.rests.borrow_mut();
        let place = rests.iter().position(|(number, _)| *number == request)?;
        Some(rests.swap_remove(place).1)
    }

    /// Since when the connection waits for its client; None while requests are being answered.
    pub fn waits_since(&self) -> Option<Instant> {
        match self.phase.get() {
            Phase::Idle { since } => Some(since),
            Phase::Head { since } => Some(since.unwrap_or_else(Instant::now)),
            Phase::Busy => None,
        }
    }

    fn bytes_came_in(&self) {
        if matches!(self.phase.get(), Phase::Idle { .. }) && !self.multiplexed.get() {
            self.phase.set(Phase::Head { since: None });
        }
    }

    /// The socket has no bytes. A head that has arrived never gets here.
    fn waits(&self) {
        if self.phase.get() == (Phase::Head { since: None }) {
            self.phase.set(Phase::Head { since: Some(Instant::now()) });
        }
    }

    /// When patience ends if nothing happens; None while there is nothing to wait for but answers.
    fn deadline(&self) -> Option<Instant> {
        match (self.phase.get(), self.half_closed_since.get()) {
            (Phase::Idle { since }, Some(half_closed)) => Some(since.max(half_closed) + LAST_FRAMES_TIME),
            (Phase::Idle { since }, None) => Some(since + self.patience.idle_time),
            (Phase::Head { since }, _) => Some(since? + self.patience.head_time),
            (Phase::Busy, _) => None,
        }
    }
}

/// A request between its head and its answer. Dropped, it ends at that moment.
pub struct InFlight {
    activity: Rc<Activity>,
    /// Among the requests of its connection.
    number: u64,
    ended: Option<Instant>,
}

impl InFlight {
    pub fn number(&self) -> u64 {
        self.number
    }

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

/// A socket that applies the connection's timeouts, closes so that the last answer arrives, and answers unparsable requests in
/// our format.
///
/// hyper answers a request that it cannot parse by itself, with a bare status line and no body, and closes. This socket drops
/// that answer and writes the contract's problem for its status instead.
pub struct Timed<T> {
    inner: T,
    activity: Rc<Activity>,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer, as it is set, will wake the connection's task. A task's waker does not change on a worker.
    armed: bool,
    /// How much of the HTTP/2 preface has come in; None: all of it, or something else.
    preface: Option<usize>,
    /// What is written before the connection is closed.
    last_word: Bytes,
    /// Since when the other side takes nothing of what is to be written.
    stalled_since: Option<Instant>,
    closing: Closing,
}

#[derive(Debug, Clone, Copy)]
enum Closing {
    Not,
    /// The last word and the half-close are on their way.
    Writing,
    /// Nothing more is written; so many bytes are still read.
    Reading {
        bytes_left: u64,
    },
}

impl<T> Timed<T> {
    pub fn new(inner: T, activity: Rc<Activity>) -> Self {
        let timer = Box::pin(tokio::time::sleep(activity.patience.shortest()));
        let (preface, last_word) = (Some(0), Bytes::new());
        Self { inner, activity, timer, armed: false, preface, last_word, stalled_since: None, closing: Closing::Not }
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.activity.waits();
        if self.armed && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let half_closed = self.activity.half_closed_since.get().is_some();
            let pause = if half_closed { LAST_FRAMES_TIME } else { self.activity.patience.shortest() };
            let stalled = self.stalled_since.map(|since| since + self.activity.patience.stall_time);
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
        match self.poll_patience(context) {
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
            self.activity.multiplexed.set(true);
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Timed<T> {
    /// Writes only this, and closes.
    pub async fn close_with(mut self, last_word: Bytes) {
        self.last_word = last_word;
        self.activity.end_unread();
        // How the peer disconnects does not matter.
        let _ = std::future::poll_fn(|context| Pin::new(&mut self).poll_shutdown(context)).await;
    }

    /// Writes the last word and half-closes; then, where the client may still be sending, reads until it closes as well.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.closing {
                Closing::Not => {
                    self.closing = Closing::Writing;
                    self.timer.as_mut().reset(Instant::now() + self.activity.lingering().time);
                }
                Closing::Writing if self.last_word.has_remaining() => {
                    match ready!(Pin::new(&mut self.inner).poll_write(context, &self.last_word)) {
                        Err(error) => return Poll::Ready(Err(error)),
                        Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        Ok(count) => self.last_word.advance(count),
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
        if this.activity.half_closed_since.get().is_none() {
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
        match this.poll_patience(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) if this.activity.half_closed_since.get().is_some() => Poll::Ready(Ok(())),
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(problem) = bare_answer(bytes) {
            self.last_word = last_word(problem, "the request could not be read as HTTP/1.1", "");
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
