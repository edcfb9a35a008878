//! Write-behind: copies the journal's changes into an SQL database that people can query.
//!
//! [`WriteBehind`] reads durable batches from a [`Feed`], folds a [`Window`] of them to the final row per key, and has
//! a [`Sink`] write those rows and the cursor (the last epoch applied) in one transaction. Invariants:
//!
//! - Each batch is applied exactly once and in order: rows and cursor commit together or not at all, and after any doubt (a
//!   crash, a failed commit) work continues from the cursor in the database.
//! - The store may lag but never lies: every state that it shows is the service's state at the end of a batch.
//! - A cursor that was reported as applied is durable, so the journal may delete the batches up to it.
//! - One process writes: each transaction carries a [`Token`] and does nothing once the store holds another.
//! - Nothing here answers a request. The database may be slow, locked or away; the service runs without it.
//!
//! The fold knows no SQL; [`Sink`] hides the differences between databases. No clock decides what is written: every time in the
//! database comes from an event.

mod absences;
mod audit;
mod error;
mod fold;
mod groups;
mod levels;
mod life;
mod lines;
mod names;
mod owner;
mod postgres;
mod reader;
mod repair;
mod report;
mod retention;
mod rows;
mod sqlite;
mod status;
mod tables;
mod trail;
mod waitlist;
mod write_behind;

#[cfg(test)]
pub(crate) mod tests;

pub use absences::{ABSENCES_FILE, Absences, AbsencesFile};
pub use audit::{AuditCheck, AuditGap, AuditRow, Link};
pub use error::{FeedError, StoreError};
pub use fold::{CountChange, Definition, FoldError, Movement, SaleChange, Window};
pub use groups::{By, GroupReport, Groups};
pub use life::{Begun, Cancellation, End, Extension, GroupWord, Refused, ReservationChange, Told};
pub use lines::{Line, Lines, LinesChange};
pub use owner::{Standing, Token};
pub use postgres::{
    Password, PostgresError, PostgresReader, PostgresRepairer, PostgresSettings, PostgresStore, PostgresUrl,
};
pub use reader::{Counts, StateCounts, StoreReader, StoredItem, StoredLine, StoredReservation, StoredSale, Totals};
pub use repair::{Repairer, Step};
pub use report::{
    GroupDealsReport, ItemReport, MinuteReport, ROWS_MAX, Reserved, RevenueReport, SaleReport, Stock, Units,
    WaitlistReport,
};
pub use retention::{AfterKeeping, Horizon, Place, Retention, RetentionStep, Source, Stepped, TrailPermit};
pub use sqlite::{Reference, SqliteMoment, SqliteReader, SqliteRepairer, SqliteStore};
pub use status::{StoreState, StoreStatus};
pub use tables::Table;
pub use trail::{RECORDS_MAX, TrailAsk, TrailPage};
pub use waitlist::{EntryChange, WaitEnd, Waiter};
pub use write_behind::{Progress, Rebuild, WriteBehind, WriteBehindSettings};

/// A database that takes windows. A call may take as long as the database's time limits allow, and no longer.
pub trait Sink: Send {
    /// What the cursor row says; connects where that is still to be done.
    fn standing(&mut self) -> Result<Standing, StoreError>;

    /// Puts `token` in the place of what `before` says, if that is still so; else `CursorMoved`.
    fn take_over(&mut self, before: &Standing, token: &Token) -> Result<(), StoreError>;

    /// Writes all rows of the window and moves the cursor from `window.after()` to `window.through()`, both or neither,
    /// and neither when the store holds another token: `CursorMoved`. Says how many rows it wrote. After an error it is
    /// open which of the two happened, until `standing` tells.
    fn apply(&mut self, window: &Window, token: &Token) -> Result<u64, StoreError>;

    /// Reconnects after an error.
    fn reopen(&mut self) -> Result<(), StoreError>;

    /// Called before each window and while there is none: for what cannot be done within one. An error is taken like one
    /// of `apply`.
    fn tidy(&mut self) -> Result<(), StoreError>;

    /// Moves or deletes some of what was kept long enough, in one transaction, or nothing and `CursorMoved` when the store holds
    /// another token or cursor. An error is taken like one of `apply`.
    fn retire(
        &mut self,
        step: &RetentionStep,
        token: &Token,
        permit: &mut TrailPermit<'_>,
    ) -> Result<Stepped, StoreError>;
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn standing(&mut self) -> Result<Standing, StoreError> {
        (**self).standing()
    }

    fn take_over(&mut self, before: &Standing, token: &Token) -> Result<(), StoreError> {
        (**self).take_over(before, token)
    }

    fn apply(&mut self, window: &Window, token: &Token) -> Result<u64, StoreError> {
        (**self).apply(window, token)
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        (**self).reopen()
    }

    fn tidy(&mut self) -> Result<(), StoreError> {
        (**self).tidy()
    }

    fn retire(
        &mut self,
        step: &RetentionStep,
        token: &Token,
        permit: &mut TrailPermit<'_>,
    ) -> Result<Stepped, StoreError> {
        (**self).retire(step, token, permit)
    }
}

/// Where batches come from: the journal, durable frames only.
pub trait Feed: Send {
    /// Makes the batch after `epoch` the next one, and says which batches the journal holds durably now.
    fn seek(&mut self, epoch: u64) -> Result<Span, FeedError>;

    /// The next batch: fills `payload` (whose old content is dropped) and names the epoch. None when there is none yet.
    fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<u64>, FeedError>;

    /// All that was given out since `seek` is in the store.
    fn applied(&mut self) {}
}

/// Epochs that a journal holds: from `oldest` to `durable`. Empty, as in a new journal, when `oldest == durable + 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub oldest: u64,
    pub durable: u64,
}
