//! Erasing customers, and the memory of it until the journal names them no longer.

use std::sync::atomic::Ordering;

use super::{Answer, Engine, Epoch};
use crate::sale::{ids::Bucket, time::Timestamp};

/// Erasures of customers whom the journal still names: in the events that erased them, and in those from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasures {
    /// When the first of them was decided.
    pub oldest_at: Timestamp,
    /// The batch that the last of them is in, or a later one.
    pub newest_epoch: Epoch,
}

impl Engine {
    /// Erases who the customer is. Answers how many reservations in memory were the customer's.
    pub fn erase_customer(&self, now: Timestamp, customer: &str) -> Answer<u64> {
        let index = Bucket::of(customer).shard(self.cells.len());
        let mut cell = self.cells[index].cell.lock();
        let published = self.published.load();
        let reservations = self
            .decide(index, &published.bounds, &mut cell, |shard, record| shard.erase_customer(now, customer, record));
        self.note_erasures(Erasures { oldest_at: now, newest_epoch: cell.lane.last_epoch });
        self.answer(reservations, &cell.lane)
    }

    /// Adds to the erasures that the journal must be cleared of.
    pub fn note_erasures(&self, erasures: Erasures) {
        let mut noted = self.erasures.lock();
        *noted = Some(noted.map_or(erasures, |noted| Erasures {
            oldest_at: noted.oldest_at.min(erasures.oldest_at),
            newest_epoch: noted.newest_epoch.max(erasures.newest_epoch),
        }));
    }

    pub fn erasures(&self) -> Option<Erasures> {
        *self.erasures.lock()
    }

    /// Hands the erasures over to whoever clears the journal of them.
    pub fn take_erasures(&self) -> Option<Erasures> {
        self.erasures.lock().take()
    }

    /// Has the next cut make a batch even of nothing. Its epoch: whoever waits for it should ring the journal's bell.
    pub fn want_batch(&self) -> Epoch {
        // A cut counts under this lock.
        let _control = self.control.lock();
        self.batch_wanted.store(true, Ordering::Relaxed);
        self.open_epoch.load(Ordering::Relaxed)
    }
}
