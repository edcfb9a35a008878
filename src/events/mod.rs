//! The feed: every durable change, in the journal's order.
//!
//! One low-priority thread serves all readers from the journal's segment files, each at its own pace and from its own position.
//! In memory there are only a few pieces per reader on their way out. Invariants:
//!
//! - Readers get only durable batches, each event once and in order, and a [`Cursor`] names the same event for ever.
//! - Derived events (an item sold out, back in stock, or with low stock) follow from the journal alone, so every reader gets the same
//!   ones. Readers that see the same sales get the same cursors, which reveal nothing about other sales.
//! - Nothing waits for a reader: not the journal, not its pruning, not a worker. A reader that stops reading is dropped, with
//!   the cursor to continue from.

mod cloud;
mod cursor;
mod follower;
mod hub;
mod levels;
mod opening;
mod outbox;
mod outlet;
mod tap;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::hub::Ask;
pub use self::{
    cloud::{
        AdjustmentData, EndingData, EntryData, Envelope, ErasureData, GroupData, KINDS, LevelData, LowStockData,
        PhaseData, ReservationData, SharingData, StatusData, TransferData,
    },
    cursor::{Cursor, CursorKey, TEXT_BYTES as CURSOR_BYTES, ViewCursors},
    hub::{Hub, Parts, Settings},
    tap::{Item, Told},
};

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Server-sent events.
    Stream,
    /// One JSON object a line.
    Lines,
}

/// Whether a reader is to get an event, by the id of its sale and its type; None: it has no sale.
pub type Filter = Arc<dyn Fn(Option<&str>, &str) -> bool + Send + Sync>;

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
    /// The segment with the cursor's event has been deleted; the oldest resumable cursor.
    TooOld {
        oldest: String,
    },
    /// The cursor lies beyond the journal, or its batch has fewer events: it was given before the data was replaced.
    Unknown,
    Stopping,
    Unreadable,
}

/// A reader that has started.
pub struct Followed {
    /// The cursor it started after.
    pub from: String,
    pub pieces: mpsc::Receiver<Bytes>,
    /// Resolves, with an error, when no further piece comes; pieces may be left then.
    pub ended: oneshot::Receiver<()>,
}

/// Lets readers in. Any number of them may be held by any number of threads.
#[derive(Clone)]
pub struct Events {
    asks: mpsc::Sender<hub::Ask>,
    places: Arc<Semaphore>,
    cursor_key: CursorKey,
}

impl Events {
    /// The cursors of readers that may see the sales of these patterns; empty: all sales.
    pub fn cursors_of<'a>(&self, sales: impl IntoIterator<Item = &'a str>) -> ViewCursors {
        self.cursor_key.of_view(sales)
    }

    /// As `cursors_of`, for pages of the audit trail.
    pub fn trail_cursors_of<'a>(&self, sales: impl IntoIterator<Item = &'a str>) -> ViewCursors {
        self.cursor_key.of_trail(sales)
    }

    pub async fn follow(
        &self,
        start: Start,
        format: Format,
        filter: Filter,
        cursors: ViewCursors,
    ) -> Result<Followed, Refused> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Refused::Full)?;
        let (answer, answered) = oneshot::channel();
        let outlet = hub::Outlet::Answer { format, place, answer };
        self.asks.send(Ask { start, filter, cursors, outlet }).await.map_err(|_| Refused::Stopping)?;
        answered.await.unwrap_or(Err(Refused::Stopping))
    }

    /// Events for a reader within the process: it takes no reader's place, and is never dropped for being slow.
    pub async fn tap(
        &self,
        start: Start,
        filter: Filter,
        cursors: ViewCursors,
    ) -> Result<mpsc::Receiver<Vec<Item>>, Refused> {
        let (answer, answered) = oneshot::channel();
        let outlet = hub::Outlet::Tap { answer };
        self.asks.send(Ask { start, filter, cursors, outlet }).await.map_err(|_| Refused::Stopping)?;
        answered.await.unwrap_or(Err(Refused::Stopping))
    }
}
