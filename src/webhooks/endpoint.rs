//! Drives one endpoint: reads events for it, starts deliveries as its schedule says, and notes how they end.

use std::{future, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Endpoint, Failure, FailureKind, LastFailure, Outcome, Parts, Sender,
    delivering::Board,
    file::Place,
    schedule::{Ended, Next, Rules, Schedule, Sequence},
};
use crate::{
    events::{Cursor, Filter, Item, Refused, Start, Told, ViewCursors},
    sale::time::Timestamp,
    telemetry::DeliveryOutcome,
};

/// How long deliveries under way may take when the service stops. Those that take longer are sent again after the restart.
const STOP_TIME: Duration = Duration::from_secs(2);

/// Between two tries to read the journal.
const REOPEN: Duration = Duration::from_secs(1);

/// An event on its way.
struct Event {
    id: String,
    document: bytes::Bytes,
}

/// A delivery that ended, and how long it took.
type Ending = (Sequence, Outcome, Duration);

pub(super) struct Driver {
    endpoint: Arc<Endpoint>,
    sender: Rc<Sender>,
    parts: Parts,
    board: Rc<Board>,
    cursors: ViewCursors,
    filter: Filter,
    schedule: Schedule<Event>,
    deliveries: JoinSet<Ending>,
    stopping: watch::Receiver<bool>,
}

impl Driver {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        sender: Sender,
        parts: Parts,
        board: Rc<Board>,
        place: Place,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let settings = endpoint.settings.clone();
        let rules = Rules {
            deliveries_max: settings.deliveries_max,
            retry_max: settings.retry_max,
            park_after: settings.park_after,
        };
        let cursors = parts.events.cursors_of(settings.sales.iter().map(|pattern| pattern.as_str()));
        let schedule = Schedule::new(rules, place.cursor(), place.parked_at().is_some());
        let filter: Filter = Arc::new(move |sale, kind| settings.wants(sale, kind));
        let (sender, deliveries) = (Rc::new(sender), JoinSet::new());
        Self { endpoint, sender, parts, board, cursors, filter, schedule, deliveries, stopping }
    }

    pub(super) async fn run(mut self) {
        let mut events = None;
        let mut reopen_at = Instant::now();
        let mut stopping = self.stopping.clone();
        loop {
            let wait_until = self.start_due();
            self.show();
            let takes = self.schedule.has_room();
            tokio::select! {
                Some(ended) = self.deliveries.join_next() => self.ended(ended.expect("a delivery does not panic")),
                piece = next_piece(&mut events, reopen_at), if takes => match piece {
                    Piece::Items(items) => items.into_iter().for_each(|item| self.take(item)),
                    // Continues where it was as soon as that can be read.
                    Piece::Ended => (events, reopen_at) = (None, Instant::now() + REOPEN),
                    Piece::Closed => {
                        events = self.open().await;
                        reopen_at = Instant::now() + REOPEN;
                    }
                },
                () = until(wait_until) => {}
                () = self.endpoint.resumed.notified() => self.resume(),
                () = stop(&mut stopping) => break,
            }
        }
        let _ = timeout(STOP_TIME, self.finish()).await;
        self.show();
    }

    /// Lets deliveries under way end.
    async fn finish(&mut self) {
        while let Some(ended) = self.deliveries.join_next().await {
            self.ended(ended.expect("a delivery does not panic"));
        }
    }

    /// The steady time, which nobody can set: pauses are measured by it.
    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// The service's time then, as people are shown it.
    fn shown(&self, at: Timestamp) -> Timestamp {
        self.parts.engine.time(at)
    }

    /// Reads on behind what was taken in.
    async fn open(&mut self) -> Option<mpsc::Receiver<Vec<Item>>> {
        let start = Start::After(self.schedule.taken_to());
        match self.parts.events.tap(start, self.filter.clone(), self.cursors.clone()).await {
            Ok(events) => Some(events),
            Err(Refused::TooOld { oldest }) => {
                let oldest = self.cursors.read(&oldest).expect("the feed's own cursor");
                self.skip_to(oldest);
                None
            }
            // The journal was replaced by one that ends earlier.
            Err(Refused::Unknown) => {
                self.skip_to(Cursor::behind(self.parts.engine.durability().epoch()));
                None
            }
            Err(Refused::Full | Refused::Stopping | Refused::Unreadable) => None,
        }
    }

    /// What comes next is no longer there. What was taken in is delivered first.
    fn skip_to(&mut self, position: Cursor) {
        tracing::error!(
            webhook = self.endpoint.settings.name,
            "the journal no longer has the events that come next for this webhook: it continues with the oldest that there are"
        );
        self.endpoint.count.skipped();
        let now = self.shown(self.now());
        self.endpoint.status.lock().skipped_at = Some(now);
        self.schedule.reached(position);
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Event(Told { cursor, id, subject, time, document, .. }) => {
                let (subject, bytes) = (xxh3_64(subject.as_bytes()), document.len());
                self.schedule.take(cursor, subject, time, bytes, Event { id, document });
            }
            Item::Reached(epoch) => self.schedule.reached(Cursor::behind(epoch)),
        }
    }

    /// Starts what is due; when the next delivery is, if none is before.
    fn start_due(&mut self) -> Option<Instant> {
        loop {
            let now = self.now();
            match self.schedule.next(now) {
                Next::Start(sequence) => {
                    let Event { id, document } = self.schedule.start(sequence, now);
                    let (id, document, sender) = (id.clone(), document.clone(), self.sender.clone());
                    let (secrets, at) = (self.endpoint.secrets.load_full(), self.parts.runtime.now());
                    self.deliveries.spawn_local(async move {
                        let began = Instant::now();
                        let outcome = sender.deliver(&secrets, &id, document, at).await;
                        (sequence, outcome, began.elapsed())
                    });
                }
                Next::Wait(at) => return Some(Instant::now() + Duration::from_millis(at.millis_since(now))),
                Next::Idle => return None,
            }
        }
    }

    fn ended(&mut self, (sequence, outcome, took): Ending) {
        self.endpoint.count.ended(counted_as(&outcome), took);
        let now = self.now();
        let random = [(); 2].map(|()| self.parts.runtime.random());
        match outcome {
            Outcome::Delivered => {
                self.schedule.end(sequence, now, Ended::Delivered, random);
                let shown = self.shown(now);
                self.endpoint.status.lock().last_delivered_at = Some(shown);
            }
            Outcome::Failed(failure) => self.failed(sequence, now, failure, random),
        }
    }

    fn failed(&mut self, sequence: Sequence, now: Timestamp, failure: Failure, random: [u64; 2]) {
        let Failure { detail, retry_after, .. } = failure;
        let name = &self.endpoint.settings.name;
        if !self.schedule.is_failing() {
            tracing::warn!(webhook = name, detail, "a webhook was not delivered; the service tries again");
        }
        let parks = self.schedule.end(sequence, now, Ended::Failed { retry_after }, random);
        let shown = self.shown(now);
        let mut status = self.endpoint.status.lock();
        status.last_failure = Some(LastFailure { at: shown, detail });
        if parks {
            status.parked_at = Some(shown);
            let seconds = self.endpoint.settings.park_after.as_secs();
            tracing::warn!(
                webhook = name,
                "an event could not be delivered for {seconds} s: the webhook is parked until an operator resumes it"
            );
            self.board.save_now();
        }
    }

    fn resume(&mut self) {
        if self.schedule.is_parked() {
            tracing::info!(webhook = self.endpoint.settings.name, "the webhook was resumed");
            self.schedule.resume();
            self.board.save_now();
        }
    }

    /// Shows where it is.
    fn show(&self) {
        let parked_at = {
            let mut status = self.endpoint.status.lock();
            status.failing_since = self.schedule.failing_since().map(|at| self.shown(at));
            status.waiting = self.schedule.waiting() as u64;
            status.oldest_at = self.schedule.oldest();
            status.parked_at
        };
        self.board.note(&self.endpoint.settings.name, Place::new(self.schedule.position(), parked_at));
    }
}

fn counted_as(outcome: &Outcome) -> DeliveryOutcome {
    match outcome {
        Outcome::Delivered => DeliveryOutcome::Delivered,
        Outcome::Failed(failure) => match failure.kind {
            FailureKind::Refused => DeliveryOutcome::Refused,
            FailureKind::TimedOut => DeliveryOutcome::TimedOut,
            FailureKind::Unreachable => DeliveryOutcome::Unreachable,
        },
    }
}

/// What came of waiting for more events.
enum Piece {
    Items(Vec<Item>),
    /// No more come from this reader.
    Ended,
    /// There is no reader, and it is time for one.
    Closed,
}

async fn next_piece(events: &mut Option<mpsc::Receiver<Vec<Item>>>, reopen_at: Instant) -> Piece {
    match events {
        Some(events) => events.recv().await.map_or(Piece::Ended, Piece::Items),
        None => {
            sleep_until(reopen_at).await;
            Piece::Closed
        }
    }
}

/// Resolves when the service stops.
async fn stop(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => future::pending().await,
    }
}
