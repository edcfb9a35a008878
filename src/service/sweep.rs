//! Clears erased customers from the journal.
//!
//! The event of an erasure comes after every event that contains the customer. So once the journal can remove everything up to
//! it, and snapshot and store have passed, every batch with the customer is removed like any other old batch. That happens anyway
//! as the journal grows; this module makes it happen in time. Invariant: an erasure is forgotten only when the journal no longer
//! reaches back to it, also across restarts.

use std::time::{Duration, Instant};

use super::snapshots::Parts;
use crate::{
    engine::{Durable, Epoch, Erasures, batch::Events},
    journal::ReadError,
    sale::{
        event::{CustomerEvent, Event},
        time::Timestamp,
    },
};

/// Between two tries, when one failed.
const RETRY: Duration = Duration::from_secs(60);

pub(super) struct Sweep {
    /// How long a name may stay.
    erase_millis: u64,
    /// What is to leave the journal with the batches that a snapshot has made needless.
    leaving: Option<Erasures>,
    failed_at: Option<Instant>,
}

impl Sweep {
    pub(super) fn new(erase_seconds: u64) -> Self {
        Self { erase_millis: erase_seconds * 1000, leaving: None, failed_at: None }
    }

    /// Finds erasures of earlier runs. Reads the whole journal, or until it is stopped.
    pub(super) fn look_back(parts: &Parts, is_stopping: impl Fn() -> bool) -> Result<(), ReadError> {
        let durable = parts.engine.durability().epoch();
        let mut journal = parts.log.read(0);
        if let Err(ReadError::TooOld { oldest, .. }) = journal.next(durable) {
            journal = parts.log.read(oldest - 1);
        } else {
            journal = parts.log.read(0);
        }
        while !is_stopping()
            && let Some(batch) = journal.next(durable)?
        {
            let mut events = Events::new(batch.payload);
            while let Ok(Some((_, _, event))) = events.next() {
                if let Event::Customer(CustomerEvent::CustomerErased { at, .. }) = event {
                    parts.engine.note_erasures(Erasures { oldest_at: at, newest_epoch: durable });
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether a snapshot is to be taken now. If so the journal can remove everything up to the erasures.
    pub(super) fn begin(&mut self, parts: &Parts, wait: &mut dyn FnMut() -> bool) -> bool {
        let now = parts.engine.time(parts.clock.now());
        let due = |erasures: &Erasures| now >= erasures.oldest_at.plus_millis(self.erase_millis);
        let waits = self.failed_at.is_some_and(|at| parts.runtime.monotonic() - at < RETRY);
        if waits || self.leaving.is_some() || !parts.engine.erasures().as_ref().is_some_and(due) {
            return false;
        }
        let Some(erasures) = parts.engine.take_erasures() else { return false };
        // What erased them becomes removable only when it is durable, and with the batch after that.
        let is_removable = wait_for(parts, wait, erasures.newest_epoch) && {
            if has_left(parts, erasures.newest_epoch) {
                return false;
            }
            parts.log.make_removable(erasures.newest_epoch);
            let epoch = parts.engine.want_batch();
            wait_for(parts, wait, epoch)
        };
        if is_removable {
            self.leaving = Some(erasures);
        } else {
            parts.engine.note_erasures(erasures);
        }
        is_removable
    }

    /// Whether erased customers are to leave the journal now.
    pub(super) fn is_under_way(&self) -> bool {
        self.leaving.is_some()
    }

    /// The snapshot that `begin` asked for could not be taken.
    pub(super) fn failed(&mut self, parts: &Parts) {
        self.failed_at = Some(parts.runtime.monotonic());
        if let Some(erasures) = self.leaving.take() {
            parts.engine.note_erasures(erasures);
        }
    }

    /// To be called after the journal was trimmed.
    pub(super) fn removed(&mut self, parts: &Parts) {
        if let Some(erasures) = self.leaving
            && has_left(parts, erasures.newest_epoch)
        {
            self.leaving = None;
            self.failed_at = None;
            tracing::info!("the journal no longer holds any customer that was erased until {}", erasures.oldest_at);
        }
        let oldest = self.leaving.into_iter().chain(parts.engine.erasures()).map(|erasures| erasures.oldest_at).min();
        let since = |at: Timestamp| parts.engine.time(parts.clock.now()).millis_since(at) as f64 / 1000.0;
        parts.telemetry.journal.erasures_pending(oldest.map_or(0.0, since));
    }
}

/// Whether the batch, and so all before it, is no longer in the journal.
fn has_left(parts: &Parts, epoch: Epoch) -> bool {
    matches!(parts.log.read(epoch - 1).next(epoch), Err(ReadError::TooOld { .. }))
}

/// Waits until the epoch is durable; false if it never will be, or the service stops.
fn wait_for(parts: &Parts, wait: &mut dyn FnMut() -> bool, epoch: Epoch) -> bool {
    loop {
        match parts.engine.durability().of(epoch) {
            Durable::Yes => return true,
            Durable::Unknown => return false,
            Durable::NotYet if !wait() => return false,
            Durable::NotYet => {}
        }
    }
}
