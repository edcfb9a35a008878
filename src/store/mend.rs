//! Putting rows right that are not what the journal says, for `reconcile --repair` and `rebuild`.
//!
//! Invariants: all of it happens in one transaction, in which the store is taken over: a service that writes it meanwhile
//! is fenced off, and whatever ends the mending in the middle leaves every row as it was.

use super::{
    error::StoreError,
    owner::{Standing, Token},
    reader::ItemTotals,
};

/// A kind of change, with rows as a JSON array of objects. What members they have: the SQL of each says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Sales that the journal does not know, with everything in them.
    RemoveSales,
    /// Items that the journal does not know, with all lines and movements of theirs.
    RemoveItems,
    /// Reservations that the journal does not know, with their lines.
    RemoveReservations,
    PutSales,
    /// Items with their counts; a new one with its first movement.
    PutItems,
    /// Reservations with their lines, in the place of those that are there.
    PutReservations,
    /// Movements that make an item's deltas add up to its stock.
    AddMovements,
    /// Changes of `confirmed_before`, where it stays at zero or above.
    AddConfirmedBefore,
    AddAuditGap,
}

pub trait Mender {
    /// Begins the transaction: takes the store over from `before` and moves its cursor to `cursor`; else `CursorMoved`.
    fn begin(&mut self, before: &Standing, token: &Token, cursor: u64) -> Result<(), StoreError>;

    /// Says how many rows were touched.
    fn put(&mut self, step: Step, rows: &str) -> Result<u64, StoreError>;

    /// Every item's counts and sums as the transaction has left them so far.
    fn totals(&mut self) -> Result<Vec<ItemTotals>, StoreError>;

    fn commit(&mut self) -> Result<(), StoreError>;
}
