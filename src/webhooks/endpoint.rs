//! Drives one endpoint: reads events for it, starts deliveries as its schedule says, and notes how they end.

use std::{future, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Endpoint, Failure, FailureKind, LastFailure, Outcome, Parts, Sender,
    delivering::Board,
    file::Place,
    schedule::{Ended, Next, Rules, Schedule, Sequence},
};
use crate::{
    engine::{Durability, Durable, Epoch},
    events::{Cursor, Filter, Item, Refused, Start, Told, ViewCursors},
    sale::time::Timestamp,
    telemetry::DeliveryOutcome,
};

/// How long deliveries under way may take when the service stops. Those that take longer are sent again after the restart.
const STOP_TIME: Duration = Duration::from_secs(2);

/// Between two looks whether the record of a resume is durable.
const DURABLE_INTERVAL: Duration = Duration::from_millis(5);

/// Between two tries to read the journal.
const REOPEN: Duration = Duration::from_secs(1);

/// An event on its way.
struct Event {
    id: String,
    document: bytes::Bytes,
}

/// A delivery that ended, and how long it took.
type Ending = (Sequence, Outcome, Duration);

/// Why an endpoint is no longer driven as it was.
enum Halted {
    Parked,
    Resumed,
    Stopping,
}

pub(super) struct Driver {
    endpoint: Arc<Endpoint>,
    sender: Rc<Sender>,
    parts: Parts,
    board: Rc<Board>,
    cursors: ViewCursors,
    filter: Filter,
    rules: Rules,
    schedule: Schedule<Event>,
    deliveries: JoinSet<Ending>,
    is_parked: bool,
    /// Whether it was said that events are missed, since the last one that arrived.
    has_told_missed: bool,
    /// The first batch that the journal has.
    journal_from: watch::Receiver<Epoch>,
    stopping: watch::Receiver<bool>,
}

impl Driver {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        sender: Sender,
        parts: Parts,
        board: Rc<Board>,
        place: Place,
        journal_from: watch::Receiver<Epoch>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let settings = endpoint.settings.clone();
        let rules = Rules {
            deliveries_max: settings.deliveries_max,
            retry_max: settings.retry_max,
            park_after: settings.park_after,
        };
        let cursors = parts.events.cursors_of(settings.sales.iter().map(|pattern| pattern.as_str()));
        let schedule = Schedule::new(rules, place.cursor());
        let filter: Filter = Arc::new(move |sale, kind| settings.wants(sale, kind));
        Self {
            endpoint,
            sender: Rc::new(sender),
            parts,
            board,
            cursors,
            filter,
            rules,
            schedule,
            deliveries: JoinSet::new(),
            is_parked: place.parked_at().is_some(),
            has_told_missed: false,
            journal_from,
            stopping,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let halted = if self.is_parked { self.rest().await } else { self.work().await };
            match halted {
                Halted::Parked | Halted::Resumed => {}
                Halted::Stopping => break,
            }
        }
        let _ = timeout(STOP_TIME, self.finish()).await;
        self.show(&self.schedule);
    }

    /// Delivers, until an event has failed for too long.
    async fn work(&mut self) -> Halted {
        let (mut reading, mut stopping) = (Reading::default(), self.stopping.clone());
        loop {
            self.drop_lost(&mut reading);
            let wait_until = self.start_due();
            self.show(&self.schedule);
            let takes = self.schedule.has_room();
            tokio::select! {
                Some(ended) = self.deliveries.join_next() => {
                    self.ended(ended.expect("a delivery does not panic"));
                    if self.is_parked {
                        return self.park().await;
                    }
                }
                piece = reading.next(), if takes => match self.follow(&mut reading, piece, self.schedule.taken_to()).await {
                    News::Items(items) => items.into_iter().for_each(|item| self.take(item)),
                    News::Missed(position) => {
                        self.schedule.reached(position);
                        self.missed();
                    }
                },
                () = until(wait_until) => {}
                () = resumed(&self.endpoint, self.parts.engine.durability()) => {
                    self.schedule.resume();
                    self.resumed();
                }
                () = changed(&mut self.journal_from) => {}
                () = stop(&mut stopping) => return Halted::Stopping,
            }
        }
    }

    /// Waits until an operator resumes the endpoint. What waits for it is only counted: events stay in the journal alone, so
    /// erased customers leave with it.
    async fn rest(&mut self) -> Halted {
        let mut seen = Schedule::new(self.rules, self.schedule.position());
        let (mut reading, mut stopping) = (Reading::default(), self.stopping.clone());
        let halted = loop {
            if seen.drop_before(*self.journal_from.borrow_and_update()) {
                reading.events = None;
                self.missed();
            }
            self.show(&seen);
            let takes = seen.has_room();
            if !takes {
                reading.events = None;
            }
            tokio::select! {
                piece = reading.next(), if takes => match self.follow(&mut reading, piece, seen.taken_to()).await {
                    News::Items(items) => for item in items {
                        match item {
                            Item::Event(told) => seen.take(told.cursor, 0, told.time, 0, ()),
                            Item::Reached(epoch) => seen.reached(Cursor::behind(epoch)),
                        }
                    },
                    News::Missed(position) => {
                        seen.reached(position);
                        self.missed();
                    }
                },
                () = resumed(&self.endpoint, self.parts.engine.durability()) => break Halted::Resumed,
                () = changed(&mut self.journal_from) => {}
                () = stop(&mut stopping) => break Halted::Stopping,
            }
        };
        self.schedule = Schedule::new(self.rules, seen.position());
        if matches!(halted, Halted::Resumed) {
            self.is_parked = false;
            self.resumed();
        }
        halted
    }

    /// Lets deliveries under way end, and then forgets what was read.
    async fn park(&mut self) -> Halted {
        self.show(&self.schedule);
        self.board.save_now();
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = self.finish() => Halted::Parked,
            () = stop(&mut stopping) => Halted::Stopping,
        }
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

    /// What came of a piece. Opens a reader behind `taken_to` if there is none.
    async fn follow(&self, reading: &mut Reading, piece: Piece, taken_to: Cursor) -> News {
        let nothing = News::Items(Vec::new());
        match piece {
            Piece::Items(items) => return News::Items(items),
            // Continues where it was as soon as that can be read.
            Piece::Ended => {
                *reading = Reading { events: None, reopen_at: Instant::now() + REOPEN };
                return nothing;
            }
            Piece::Closed => {}
        }
        let opened = self.parts.events.tap(Start::After(taken_to), self.filter.clone(), self.cursors.clone()).await;
        reading.reopen_at = Instant::now() + REOPEN;
        match opened {
            Ok(events) => {
                reading.events = Some(events);
                nothing
            }
            Err(Refused::TooOld { oldest }) => News::Missed(self.cursors.read(&oldest).expect("the feed's own cursor")),
            // The journal was replaced by one that ends earlier.
            Err(Refused::Unknown) => News::Missed(Cursor::behind(self.parts.engine.durability().epoch())),
            Err(Refused::Full | Refused::Stopping | Refused::Unreadable) => nothing,
        }
    }

    /// Events that the journal no longer has do not wait in memory either for an endpoint that fails.
    fn drop_lost(&mut self, reading: &mut Reading) {
        let from = *self.journal_from.borrow_and_update();
        if self.schedule.failing_since().is_some() && self.schedule.drop_before(from) {
            reading.events = None;
            self.missed();
        }
    }

    /// Notes that events are missed.
    fn missed(&mut self) {
        if !std::mem::replace(&mut self.has_told_missed, true) {
            tracing::error!(
                webhook = self.endpoint.settings.name,
                "the journal no longer has events that this webhook did not get: it continues with the oldest that there are"
            );
        }
        self.endpoint.count.skipped();
        let now = self.shown(self.now());
        self.endpoint.status.lock().skipped_at = Some(now);
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
                self.has_told_missed = false;
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
        if parks && !self.is_parked {
            self.is_parked = true;
            status.parked_at = Some(shown);
            let seconds = self.endpoint.settings.park_after.as_secs();
            tracing::warn!(
                webhook = name,
                "an event could not be delivered for {seconds} s: the webhook is parked until an operator resumes it"
            );
        }
    }

    /// Notes that it continues.
    fn resumed(&mut self) {
        tracing::info!(webhook = self.endpoint.settings.name, "the webhook was resumed");
        let mut status = self.endpoint.status.lock();
        (status.parked_at, status.resuming) = (None, None);
        drop(status);
        self.show(&self.schedule);
        self.board.save_now();
    }

    /// Shows where it is.
    fn show<T>(&self, schedule: &Schedule<T>) {
        let mut status = self.endpoint.status.lock();
        status.failing_since = schedule.failing_since().map(|at| self.shown(at));
        status.waiting = schedule.waiting() as u64;
        status.oldest_at = schedule.oldest();
        status.read_to = schedule.taken_to().epoch;
        let place = Place::new(schedule.position()).with_times(status.parked_at, status.skipped_at);
        drop(status);
        self.board.note(&self.endpoint.settings.name, place);
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

/// What a piece amounts to.
enum News {
    Items(Vec<Item>),
    /// What comes next is no longer there: it continues here.
    Missed(Cursor),
}

/// A reader of the feed, and when to open one again.
struct Reading {
    events: Option<mpsc::Receiver<Vec<Item>>>,
    reopen_at: Instant,
}

impl Default for Reading {
    fn default() -> Self {
        Self { events: None, reopen_at: Instant::now() }
    }
}

impl Reading {
    async fn next(&mut self) -> Piece {
        match &mut self.events {
            Some(events) => events.recv().await.map_or(Piece::Ended, Piece::Items),
            None => {
                sleep_until(self.reopen_at).await;
                Piece::Closed
            }
        }
    }
}

/// Resolves when an operator has resumed the endpoint and the record of that is durable.
async fn resumed(endpoint: &Endpoint, durability: &Durability) {
    loop {
        let resuming = endpoint.status.lock().resuming;
        match resuming.map(|epoch| durability.of(epoch)) {
            None => endpoint.resumed.notified().await,
            Some(Durable::Yes) => return,
            Some(Durable::NotYet) => sleep(DURABLE_INTERVAL).await,
            Some(Durable::Unknown) => future::pending().await,
        }
    }
}

/// Resolves when the value was changed.
async fn changed(journal_from: &mut watch::Receiver<Epoch>) {
    if journal_from.changed().await.is_err() {
        future::pending().await
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
