//! Events on their way to a reader within the process.
//!
//! Invariant: a few pieces wait at most; a reader that takes none stops the reading of the journal for itself alone. Unlike a
//! caller, it is never dropped for being slow: it learns where it is also while no event is for it.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{Cursor, Format, cloud::FeedEvent, outbox::End, outlet::Outlet};
use crate::{engine::Epoch, sale::time::Timestamp, telemetry};

/// Bytes that are gathered before they are handed over; one event may be longer by itself.
const PIECE_BYTES: usize = 32 << 10;
/// Pieces that wait for the reader.
const PIECES: usize = 2;
/// How often a reader learns at least how far the journal was read.
const REACH_INTERVAL: Duration = Duration::from_secs(1);

/// What a reader is told.
#[derive(Debug)]
pub enum Item {
    Event(Told),
    /// Everything up to the end of this batch was told, or is not for this reader.
    Reached(Epoch),
}

/// An event.
#[derive(Debug)]
pub struct Told {
    pub cursor: Cursor,
    /// Its id: the cursor as text.
    pub id: String,
    pub kind: &'static str,
    /// What it is about: events with the same text keep their order.
    pub subject: String,
    pub time: Timestamp,
    /// The CloudEvents document.
    pub document: Bytes,
}

pub(super) struct Tap {
    pieces: mpsc::Sender<Vec<Item>>,
    stopping: watch::Receiver<bool>,
    gathered: Vec<Item>,
    gathered_bytes: usize,
    handed_at: Instant,
}

impl Tap {
    pub(super) fn new(stopping: watch::Receiver<bool>) -> (Self, mpsc::Receiver<Vec<Item>>) {
        let (pieces, receiver) = mpsc::channel(PIECES);
        let (gathered, handed_at) = (Vec::new(), Instant::now());
        (Self { pieces, stopping, gathered, gathered_bytes: 0, handed_at }, receiver)
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow() || self.stopping.has_changed().is_err()
    }
}

impl Outlet for Tap {
    fn put(&mut self, told: &FeedEvent<'_>, at: Cursor, cursor: String) {
        let mut document = Vec::with_capacity(512);
        told.write(&cursor, Format::Lines, &mut document);
        // The line's end.
        document.pop();
        let (subject, time) = told.subject();
        let subject = format!("{}\n{subject}", told.sale.unwrap_or_default());
        self.gathered_bytes += document.len();
        let (document, kind) = (document.into(), told.kind);
        self.gathered.push(Item::Event(Told { cursor: at, id: cursor, kind, subject, time, document }));
    }

    fn reached(&mut self, epoch: Epoch) {
        match self.gathered.last_mut() {
            Some(Item::Reached(last)) => *last = epoch,
            _ => self.gathered.push(Item::Reached(epoch)),
        }
    }

    fn is_full(&self) -> bool {
        self.gathered_bytes >= PIECE_BYTES
    }

    async fn flush(&mut self, _telemetry: &telemetry::Events) -> Result<(), End> {
        let has_news = self.gathered_bytes > 0 || self.handed_at.elapsed() >= REACH_INTERVAL;
        if self.gathered.is_empty() || !has_news {
            return Ok(());
        }
        let place = tokio::select! {
            biased;
            place = self.pieces.reserve() => place.map_err(|_| End::Gone)?,
            _ = self.stopping.wait_for(|stopping| *stopping) => return Err(End::Stopping),
        };
        place.send(std::mem::take(&mut self.gathered));
        (self.gathered_bytes, self.handed_at) = (0, Instant::now());
        Ok(())
    }

    async fn keep_alive(&mut self, telemetry: &telemetry::Events) -> Result<(), End> {
        if self.is_stopping() {
            return Err(End::Stopping);
        }
        if self.handed_at.elapsed() >= REACH_INTERVAL {
            return self.flush(telemetry).await;
        }
        Ok(())
    }

    async fn interrupted(&mut self) {
        let has_gathered = !self.gathered.is_empty();
        tokio::select! {
            () = self.pieces.closed() => {}
            _ = self.stopping.wait_for(|stopping| *stopping) => {}
            () = tokio::time::sleep_until(self.handed_at + REACH_INTERVAL), if has_gathered => {}
        }
    }

    fn is_abandoned(&self) -> bool {
        self.pieces.is_closed()
    }

    /// Its reader sees that nothing more comes, and asks again from where it was: it is told then what was wrong.
    fn end(self, _end: End, _telemetry: &telemetry::Events) {}
}
