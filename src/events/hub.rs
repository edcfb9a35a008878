//! The one thread of the feed: lets readers in, and wakes them after each commit.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::{JoinSet, LocalSet},
};

use super::{
    CursorKey, Events, Filter, Followed, Format, Item, Refused, Start, ViewCursors,
    follower::Follower,
    opening::{self, Opening},
    outbox::Outbox,
    tap::Tap,
};
use crate::{engine::Engine, journal::Log, telemetry::Telemetry};

/// What the feed reads, and where it counts.
pub struct Parts {
    pub engine: Arc<Engine>,
    pub log: Arc<dyn Log>,
    pub telemetry: Arc<Telemetry>,
}

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Readers at a time.
    pub readers_max: usize,
    /// How long a reader may take nothing of what is there for it.
    pub stall_time: Duration,
    /// Of the data directory.
    pub cursor_key: CursorKey,
}

/// A reader that wants to start.
pub(super) struct Ask {
    pub start: Start,
    pub filter: Filter,
    /// For readers with this filter.
    pub cursors: ViewCursors,
    pub outlet: Outlet,
}

/// How its events leave.
pub(super) enum Outlet {
    /// As an answer's bytes.
    Answer {
        format: Format,
        /// Held as long as the reader is followed up.
        place: OwnedSemaphorePermit,
        answer: oneshot::Sender<Result<Followed, Refused>>,
    },
    /// Within the process.
    Tap { answer: oneshot::Sender<Result<mpsc::Receiver<Vec<Item>>, Refused>> },
}

impl Outlet {
    fn refuse(self, refused: Refused) {
        match self {
            Self::Answer { place, answer, .. } => {
                // Before the answer, so that a caller that retries at once finds the place free.
                drop(place);
                drop(answer.send(Err(refused)));
            }
            Self::Tap { answer } => drop(answer.send(Err(refused))),
        }
    }
}

/// To be run on a thread of its own.
pub struct Hub {
    parts: Parts,
    settings: Settings,
    asks: mpsc::Receiver<Ask>,
    stopping: watch::Receiver<bool>,
}

impl Hub {
    /// The hub, the door to it, and what ends it: when that says true, or is dropped.
    pub fn new(parts: Parts, settings: Settings) -> (Self, Events, watch::Sender<bool>) {
        let (door, asks) = mpsc::channel(settings.readers_max);
        let (stop, stopping) = watch::channel(false);
        let places = Arc::new(Semaphore::new(settings.readers_max));
        let events = Events { asks: door, places, cursor_key: settings.cursor_key };
        (Self { parts, settings, asks, stopping }, events, stop)
    }

    /// Serves readers until it is stopped, and ends each reader's answer.
    pub fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime without I/O needs nothing that could fail");
        LocalSet::new().block_on(&runtime, self.serve());
    }

    /// As `run`, on the caller's runtime and within its `LocalSet`. Time is tokio's, which a test can pause.
    pub async fn serve(self) {
        let Self { parts, settings, mut asks, mut stopping } = self;
        let (parts, commits) = (Rc::new(parts), Rc::new(Notify::new()));
        let committed = Arc::new(Notify::new());
        let notify = committed.clone();
        parts.engine.durability().subscribe(Box::new(move || notify.notify_one()));
        let mut followers = JoinSet::new();
        let seen = stopping.clone();
        loop {
            tokio::select! {
                () = committed.notified() => commits.notify_waiters(),
                Some(ask) = asks.recv() => {
                    admit(ask, &parts, &commits, settings.stall_time, &seen, &mut followers);
                }
                Some(_) = followers.join_next() => {}
                _ = stopping.wait_for(|stopping| *stopping) => break,
            }
        }
        asks.close();
        while followers.join_next().await.is_some() {}
    }
}

fn admit(
    ask: Ask,
    parts: &Rc<Parts>,
    commits: &Rc<Notify>,
    stall_time: Duration,
    stopping: &watch::Receiver<bool>,
    followers: &mut JoinSet<()>,
) {
    let Ask { start, filter, cursors, outlet } = ask;
    let opening: Opening = match opening::open(&*parts.log, parts.engine.durability().epoch(), start, &cursors) {
        Ok(opening) => opening,
        Err(refused) => return outlet.refuse(refused),
    };
    let (parts, commits, stopping) = (parts.clone(), commits.clone(), stopping.clone());
    match outlet {
        Outlet::Answer { format, place, answer } => {
            let from = cursors.write(opening.from);
            let (outbox, pieces) = Outbox::new(format, from.clone(), stall_time, stopping);
            let (through, ended) = oneshot::channel();
            parts.telemetry.events.reader_started();
            let follower = Follower { parts, commits, filter, cursors, outlet: outbox };
            followers.spawn_local(async move {
                follower.run(opening).await;
                drop(place);
                drop::<oneshot::Sender<()>>(through);
            });
            let _ = answer.send(Ok(Followed { from, pieces, ended }));
        }
        Outlet::Tap { answer } => {
            let (tap, items) = Tap::new(stopping);
            let follower = Follower { parts, commits, filter, cursors, outlet: tap };
            followers.spawn_local(follower.run(opening));
            let _ = answer.send(Ok(items));
        }
    }
}
