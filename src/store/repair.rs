//! Repairs rows that differ from the journal, for `reconcile --repair` and `rebuild`.
//!
//! Invariants: a repair is one transaction, in which it takes over the store. So a service that writes the store meanwhile is
//! fenced off, and an interrupted repair leaves every row as it was.

use super::{
    error::StoreError,
    owner::{Standing, Token},
    reader::Totals,
};

/// A kind of change, with rows as a JSON array of objects. What members they have: the SQL of each says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Sales that the journal does not know, with everything in them.
    RemoveSales,
    /// Items that the journal does not know, with all pools, lines and movements of theirs.
    RemoveItems,
    /// Pools that the journal does not know, with their movements.
    RemovePools,
    /// Reservations that the journal does not know, with their lines, wherever they stand.
    RemoveReservations,
    /// Reservations that stand in the archive as well.
    RemoveArchived,
    /// Lines of no reservation.
    RemoveLines,
    /// All refused confirmations of reservations at certain moments.
    RemoveRefused,
    /// Waitlist entries that the journal does not know, wherever they stand.
    RemoveEntries,
    /// Waitlist entries that stand in the archive as well.
    RemoveArchivedEntries,
    PutSales,
    /// Items with their counts.
    PutItems,
    /// What of an item only a whole journal tells: `sold_out_at` and `confirmed_before`.
    PutItemHistory,
    /// Pools with their counts.
    PutPools,
    /// What of a pool only a whole journal tells: `confirmed_before`.
    PutPoolHistory,
    /// Reservations with their lines, in the place of those that are there or in the archive.
    PutReservations,
    PutRefused,
    /// Waitlist entries in the place of those that are there or in the archive.
    PutEntries,
    /// Movements of pools in the place of all but the first so many.
    ReplaceMovements,
    /// Changes of `confirmed_before` of items, and where they name a pool of that, where it stays at zero or above.
    AddConfirmedBefore,
    /// Numbers of audit records that the service never wrote.
    RemoveAudit,
    PutAudit,
    /// All gaps of the trail, in the place of what is there.
    PutGaps,
    /// What the cursor's row says besides the cursor and whose it is.
    PutWriteBehind,
}

pub trait Repairer {
    /// Begins the transaction: takes the store over from `before` and moves its cursor to `cursor`; else `CursorMoved`.
    fn begin(&mut self, before: &Standing, token: &Token, cursor: u64) -> Result<(), StoreError>;

    /// Says how many rows were touched.
    fn put(&mut self, step: Step, rows: &str) -> Result<u64, StoreError>;

    /// The counts and sums of every item and pool as the transaction has left them so far.
    fn totals(&mut self) -> Result<Vec<Totals>, StoreError>;

    fn commit(&mut self) -> Result<(), StoreError>;
}
