//! The feed: every durable change, in the journal's order, for whoever wants to follow.
//!
//! Readers are followed up from the journal's segment files by one thread of low priority, each at its own pace and each
//! from where it asked; nothing is kept for them in memory but a few pieces on their way out. What this module keeps:
//!
//! - Only durable batches are shown, each event once and in order, and a [`Cursor`] names the same event for ever.
//! - What is derived (an item sold out, an item back in stock) follows from the journal alone, so every reader is told
//!   the same under the same cursors.
//! - Nothing waits for a reader: not the journal, not its pruning, not a worker. One that stops reading is dropped, and
//!   told where to go on.

mod cloud;
mod cursor;
mod follower;
mod hub;
mod levels;
mod opening;
mod outbox;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use self::{
    cloud::{Envelope, ToldAdjustment, ToldEnding, ToldErasure, ToldLevel, ToldReservation, ToldTurn},
    cursor::{Cursor, NotACursor},
    hub::{Hub, Parts, Settings},
};

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Server-sent events.
    Stream,
    /// One JSON object a line.
    Lines,
}

/// Which sales a reader is told of, by their ids; None: what is of no sale. What it leaves out does not change the cursors
/// of the rest.
pub type Filter = Arc<dyn Fn(Option<&str>) -> bool + Send + Sync>;

/// Where a reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what becomes durable from now on.
    Now,
    After(Cursor),
}

/// Why a reader cannot start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// `limits.event_readers_max` is reached.
    Full,
    /// The segment that held the cursor's event is gone; the earliest cursor that can be gone on from.
    TooOld {
        oldest: Cursor,
    },
    /// No event has this cursor, as it says.
    Unknown(String),
    Stopping,
    Unreadable,
}

/// A reader that has started.
pub struct Followed {
    /// The cursor it started after.
    pub from: Cursor,
    pub pieces: mpsc::Receiver<Bytes>,
    /// Resolves, with an error, when no further piece comes; pieces may be left then.
    pub ended: oneshot::Receiver<()>,
}

/// Lets readers in. Any number of them may be held by any number of threads.
#[derive(Clone)]
pub struct Events {
    asks: mpsc::Sender<hub::Ask>,
    places: Arc<Semaphore>,
}

impl Events {
    pub async fn follow(&self, start: Start, format: Format, filter: Filter) -> Result<Followed, Refused> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Refused::Full)?;
        let (answer, answered) = oneshot::channel();
        let ask = hub::Ask { start, format, filter, place, answer };
        self.asks.send(ask).await.map_err(|_| Refused::Stopping)?;
        answered.await.unwrap_or(Err(Refused::Stopping))
    }
}
