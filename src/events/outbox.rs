//! Events on their way to one reader: gathered into pieces, and sent as fast as the reader takes them.
//!
//! Invariant: a piece holds whole events, so a dropped reader never gets half an event. The space for its last event is
//! reserved from the start.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};

use super::{Cursor, Format, cloud, outlet::Outlet};
use crate::{engine::Epoch, telemetry};

/// Bytes that are gathered before they are handed over; one event may be longer by itself.
const PIECE_BYTES: usize = 32 << 10;
/// Pieces that wait for the reader: with what the kernel holds for the socket, enough to bridge its pauses.
const PIECES: usize = 8;
/// Bytes that wait for the reader. An event that is longer waits by itself: a large sale's document is one.
const WAITING_BYTES: usize = PIECES * PIECE_BYTES;
/// The longest silence. Proxies commonly close after a minute of it, and a reader learns by it that it is still there.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(3);

/// Why a reader is followed up no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It went away.
    Gone,
    /// It took nothing for `limits.event_stall_seconds`.
    Slow,
    /// It was so far behind that what it would read next was removed.
    TooOld,
    Stopping,
    /// The journal failed, or cannot be read.
    Failed,
}

impl End {
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Gone => None,
            Self::Slow => Some("slow"),
            Self::TooOld => Some("cursor_too_old"),
            Self::Stopping => Some("draining"),
            Self::Failed => Some("failed"),
        }
    }
}

/// A piece on its way. Its bytes count until they were written to the socket.
struct Piece {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pub(super) struct Outbox {
    format: Format,
    pieces: mpsc::Sender<Bytes>,
    last_word: mpsc::OwnedPermit<Bytes>,
    /// Bytes that may still be handed over before the reader takes some.
    room: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
    stall_time: Duration,
    gathered: Vec<u8>,
    gathered_events: u64,
    /// The last event gathered, and the last that was handed over.
    gathered_to: String,
    handed_to: String,
    handed_at: Instant,
}

impl Outbox {
    pub(super) fn new(
        format: Format,
        from: String,
        stall_time: Duration,
        stopping: watch::Receiver<bool>,
    ) -> (Self, mpsc::Receiver<Bytes>) {
        let (pieces, receiver) = mpsc::channel(PIECES + 1);
        let last_word = pieces.clone().try_reserve_owned().expect("a new channel has room");
        let mut gathered = Vec::new();
        if format == Format::Stream {
            // Sets the last event id of a browser's reader, so that it comes back to here even before the first event.
            gathered.extend_from_slice(format!("retry: 1000\nid: {from}\n\n").as_bytes());
        }
        let outbox = Self {
            format,
            pieces,
            last_word,
            room: Arc::new(Semaphore::new(WAITING_BYTES)),
            stopping,
            stall_time,
            gathered,
            gathered_events: 0,
            gathered_to: from.clone(),
            handed_to: from,
            handed_at: Instant::now(),
        };
        (outbox, receiver)
    }
}

impl Outlet for Outbox {
    fn put(&mut self, told: &cloud::FeedEvent<'_>, _at: Cursor, cursor: String) {
        told.write(&cursor, self.format, &mut self.gathered);
        self.gathered_events += 1;
        self.gathered_to = cursor;
    }

    fn is_full(&self) -> bool {
        self.gathered.len() >= PIECE_BYTES
    }

    fn reached(&mut self, _epoch: Epoch) {}

    /// Hands over what is gathered.
    async fn flush(&mut self, telemetry: &telemetry::Events) -> Result<(), End> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let bytes = self.gathered.len().min(WAITING_BYTES) as u32;
        let room = async {
            let place = self.pieces.reserve().await.map_err(|_| End::Gone)?;
            let room = self.room.clone().acquire_many_owned(bytes);
            tokio::select! {
                biased;
                () = self.pieces.closed() => Err(End::Gone),
                room = room => Ok((place, room.expect("it is never closed"))),
            }
        };
        let (place, room) = tokio::select! {
            biased;
            room = room => room?,
            // Its sender is gone only when the service is.
            _ = self.stopping.wait_for(|stopping| *stopping) => return Err(End::Stopping),
            () = tokio::time::sleep(self.stall_time) => return Err(End::Slow),
        };
        place.send(Bytes::from_owner(Piece { bytes: std::mem::take(&mut self.gathered), _room: room }));
        telemetry.sent(std::mem::take(&mut self.gathered_events));
        self.handed_to.clone_from(&self.gathered_to);
        self.handed_at = Instant::now();
        Ok(())
    }

    /// To be called between batches: ends when it has to, and breaks a long silence.
    async fn keep_alive(&mut self, telemetry: &telemetry::Events) -> Result<(), End> {
        if *self.stopping.borrow() || self.stopping.has_changed().is_err() {
            return Err(End::Stopping);
        }
        if self.gathered.is_empty() && self.handed_at.elapsed() >= HEARTBEAT {
            let heartbeat: &[u8] = if self.format == Format::Stream { b":\n\n" } else { b"\n" };
            self.gathered.extend_from_slice(heartbeat);
            return self.flush(telemetry).await;
        }
        Ok(())
    }

    /// Resolves when there is something to do but reading on: a heartbeat is due, the reader went, the service stops.
    async fn interrupted(&mut self) {
        tokio::select! {
            () = self.pieces.closed() => {}
            _ = self.stopping.wait_for(|stopping| *stopping) => {}
            () = tokio::time::sleep_until(self.handed_at + HEARTBEAT) => {}
        }
    }

    fn is_abandoned(&self) -> bool {
        self.pieces.is_closed()
    }

    /// The last word.
    fn end(self, end: End, telemetry: &telemetry::Events) {
        telemetry.reader_ended(matches!(end, End::Slow | End::TooOld));
        let Some(reason) = end.reason() else { return };
        let mut word = Vec::new();
        cloud::write_ending(reason, self.handed_to, self.format, &mut word);
        self.last_word.send(word.into());
    }
}
