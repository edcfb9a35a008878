//! Erases customers, and remembers the erasures until the journal no longer contains them.

use std::sync::atomic::Ordering;

use super::{Answer, Engine, Epoch, Written};
use sale::{
    audit::{self, Action, Actor, NewRecord},
    ids::Bucket,
    time::Timestamp,
};

/// Erasures whose customers the journal still contains: in the events of the erasures, and in earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasures {
    /// When the first of them was decided.
    pub oldest_at: Timestamp,
    /// The batch that the last of them is in, or a later one.
    pub newest_epoch: Epoch,
}

impl Engine {
    /// Erases the customer's identity. Answers how many reservations in memory were the customer's. The audit record does not
    /// contain the customer.
    pub fn erase_customer(&self, now: Timestamp, by: Actor<'_>, customer: &str) -> Answer<u64> {
        let index = Bucket::of(customer).shard(self.cells.len());
        let mut control = self.control.lock();
        let at = control.advance(now);
        // All locks until both are written: no cut parts the erasure from its record.
        let mut guards = self.lock_all();
        let reservations = self.decide(index, &control.bounds, &mut guards[index], |shard, record| {
            shard.erase_customer(now, customer, record)
        });
        let detail = audit::of_erasure(reservations);
        let entry = NewRecord { by, action: Action::CustomerErase, sale: None, sku: None, detail };
        let record = control.trail.record(at, &entry);
        let mut written = Written::default();
        control.write(&record, &mut written);
        self.append(&mut control, &mut guards, written);
        drop(guards);
        self.note_erasures(Erasures { oldest_at: at, newest_epoch: control.lane.last_epoch });
        self.answer(reservations, &control.lane)
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

    /// Takes the erasures, for the thread that clears the journal of them.
    pub fn take_erasures(&self) -> Option<Erasures> {
        self.erasures.lock().take()
    }

    /// Makes the next cut produce a batch even without changes, and returns its epoch. A caller that waits for it should ring
    /// the committing thread.
    pub fn want_batch(&self) -> Epoch {
        // A cut counts under this lock.
        let _control = self.control.lock();
        self.batch_wanted.store(true, Ordering::Relaxed);
        self.open_epoch.load(Ordering::Relaxed)
    }
}
