//! What a connection is doing, and how long it may take for it.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::buffers::Allowance;

/// How long an HTTP/2 connection stays open after its last answer if the client has half-closed: frames of that answer may
/// still be on their way from the stream to the socket.
pub(super) const LAST_FRAMES_TIME: Duration = Duration::from_secs(1);

/// How long a connection may do nothing, by what is due.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub idle_time: Duration,
    pub head_time: Duration,
    pub stall_time: Duration,
    pub lingering: Lingering,
}

impl Timeouts {
    /// Checked this often, each of the timeouts is kept.
    pub fn shortest(&self) -> Duration {
        self.idle_time.min(self.head_time).min(self.stall_time)
    }
}

/// Limits on reading an unwanted body.
#[derive(Debug, Clone, Copy)]
pub struct Lingering {
    /// Most bytes read so that the connection can continue.
    pub rest_bytes_max: u64,
    /// Most bytes read before a connection is closed, or an HTTP/2 stream is reset.
    pub bytes_max: u64,
    /// How long either may take.
    pub time: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between requests.
    Idle { since: Instant },
    /// Bytes came in, and no request has begun yet. None: more may be there already.
    Head { since: Option<Instant> },
    /// Requests are being answered.
    Busy,
}

/// What a connection is doing, as its service and its socket report it.
pub(super) struct Activity {
    timeouts: Timeouts,
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
    pub(super) fn new(timeouts: Timeouts) -> Rc<Self> {
        Rc::new(Self {
            timeouts,
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
    pub(super) fn begin(self: &Rc<Self>) -> InFlight {
        self.requests.set(self.requests.get() + 1);
        self.begun.set(self.begun.get() + 1);
        self.phase.set(Phase::Busy);
        InFlight { activity: self.clone(), number: self.begun.get(), ended: None }
    }

    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.get()
    }

    /// Whether more of a body can come that has not come yet. If so, the task is woken should that change.
    pub(super) fn may_go_on(&self, request: u64, context: &Context<'_>) -> bool {
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
    pub(super) fn forget_body(&self, request: u64) {
        if self.multiplexed.get() {
            self.awaiting_bodies.borrow_mut().remove(&request);
        }
    }

    /// The client of an HTTP/2 connection sends nothing more: bodies that are not complete never will be.
    pub(super) fn half_close(&self) {
        self.half_closed_since.set(Some(Instant::now()));
        self.awaiting_bodies.take().into_values().for_each(Waker::wake);
    }

    pub(super) fn allowance(&self) -> Allowance {
        self.allowance.get_or_init(Allowance::of_connection).clone()
    }

    /// HTTP/2: since when the client sends nothing more.
    pub(super) fn half_closed_since(&self) -> Option<Instant> {
        self.half_closed_since.get()
    }

    /// The connection speaks HTTP/2.
    pub(super) fn set_multiplexed(&self) {
        self.multiplexed.set(true);
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    pub(super) fn lingering(&self) -> Lingering {
        self.timeouts.lingering
    }

    /// The connection ends with the next answer. HTTP/2 knows where each frame ends: nothing is left unread there.
    pub(super) fn end_unread(&self) {
        if !self.multiplexed.get() {
            self.unread.set(true);
        }
    }

    /// Whether the connection ends with the answer that is about to be given.
    pub(super) fn is_ending(&self) -> bool {
        self.unread.get()
    }

    pub(super) fn set_aside(&self, request: u64, rest: Rest) {
        self.rests.borrow_mut().push((request, rest));
    }

    pub(super) fn take_rest(&self, request: u64) -> Option<Rest> {
        let mut rests = self.rests.borrow_mut();
        let place = rests.iter().position(|(number, _)| *number == request)?;
        Some(rests.swap_remove(place).1)
    }

    /// Since when the connection waits for its client; None while requests are being answered.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        match self.phase.get() {
            Phase::Idle { since } => Some(since),
            Phase::Head { since } => Some(since.unwrap_or_else(Instant::now)),
            Phase::Busy => None,
        }
    }

    pub(super) fn bytes_came_in(&self) {
        if matches!(self.phase.get(), Phase::Idle { .. }) && !self.multiplexed.get() {
            self.phase.set(Phase::Head { since: None });
        }
    }

    /// The socket has no bytes. A head that has arrived never gets here.
    pub(super) fn waits(&self) {
        if self.phase.get() == (Phase::Head { since: None }) {
            self.phase.set(Phase::Head { since: Some(Instant::now()) });
        }
    }

    /// When the connection times out if nothing happens; None while there is nothing to wait for but answers.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match (self.phase.get(), self.half_closed_since.get()) {
            (Phase::Idle { since }, Some(half_closed)) => Some(since.max(half_closed) + LAST_FRAMES_TIME),
            (Phase::Idle { since }, None) => Some(since + self.timeouts.idle_time),
            (Phase::Head { since }, _) => Some(since? + self.timeouts.head_time),
            (Phase::Busy, _) => None,
        }
    }
}

/// A request between its head and its answer. Dropped, it ends at that moment.
pub(super) struct InFlight {
    activity: Rc<Activity>,
    /// Among the requests of its connection.
    number: u64,
    ended: Option<Instant>,
}

impl InFlight {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The answer was there at this moment.
    pub(super) fn end(mut self, at: Instant) {
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

/// Reads and drops the rest of a body before the answer: a client that is still sending does not expect an answer yet, and many
/// treat an early one as an error.
pub(super) struct Rest {
    pub body: Incoming,
    pub bytes_max: u64,
    pub time: Duration,
}

impl Rest {
    /// Whether the body ended within its limits.
    pub(super) async fn discard(self) -> bool {
        let Self { body, bytes_max, time } = self;
        tokio::time::timeout(time, discard(body, bytes_max)).await == Ok(true)
    }
}

/// Reads up to this many bytes, and says whether that was all.
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
