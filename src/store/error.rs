//! Why the store did not move on, and whether trying again can help.

use rusqlite::ErrorCode;
use uuid::Uuid;

use super::{fold::FoldError, postgres::PostgresError};

/// The journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// May pass by itself; asked again later.
    #[error("the journal cannot be read: {0}")]
    Unreadable(String),
    /// Does not pass by itself.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the SQLite store: {0}")]
    Sqlite(#[from] rusqlite::Error),

    #[error("the PostgreSQL store: {0}")]
    Postgres(#[from] PostgresError),

    #[error(transparent)]
    Feed(#[from] FeedError),

    #[error(
        "the store has format {found}, this program knows up to {known}: run the program that wrote it, or a newer one"
    )]
    Newer { found: i64, known: i64 },

    /// What was written may be gone, and is written again: the journal has it, or what became of it.
    #[error("{what}: the store is made anew from the journal")]
    Lost { what: String },

    #[error(
        "the table write_behind has no row any more, so how far the store is cannot be known. Stop the service and run \
         `doorbuster reconcile --repair`; or delete the store's tables, or the file: it is then made anew from the journal"
    )]
    NoCursor,

    #[error("the database cannot be the store: {0}")]
    Unsuitable(String),

    #[error("the store is empty, and could not be made anew from the newest snapshot and the journal behind it: {0}")]
    Rebuild(String),

    #[error("{path} is a database of something else: give the store one of its own")]
    Foreign { path: String },

    #[error(
        "the store belongs to the data directory with the id {owner}, and this one has the id {this} (its file \
         `identity`): give each data directory a store of its own, or put back the data directory of this store"
    )]
    OtherOwner { owner: Uuid, this: Uuid },

    #[error(
        "another process took the store over (owner_epoch {epoch}) and writes it now: this one does not any more. Find \
         the second process on a copy of this data directory and stop one of them; then restart the one that stays"
    )]
    Fenced { epoch: u64 },

    #[error(
        "the store has applied batches up to {cursor}, but the journal ends at {durable}: the data directory is older \
         than its store. Put back the journal that belongs to this store, or the store of the same copy"
    )]
    Ahead { cursor: u64, durable: u64 },

    #[error(
        "the store has applied batches up to {cursor}, but the journal begins at {oldest}: the batches between are \
         gone. Stop the service and run `doorbuster reconcile --repair`, or `doorbuster rebuild` for a store that is empty; or put \
         back a later copy of the store: one whose cursor is {least} or more", least = .oldest - 1
    )]
    Behind { cursor: u64, oldest: u64 },

    #[error("batch {expected} should come next and batch {found} came: nothing was applied past {}", .expected - 1)]
    Gap { expected: u64, found: u64 },

    #[error("the store's cursor is not at {expected} any more, or another process took the store: looking again")]
    CursorMoved { expected: u64 },

    #[error("batch {epoch} cannot be folded: {source}")]
    Batch { epoch: u64, source: FoldError },

    #[error("item {sku:?} of sale {sale:?} breaks `stock = available + held + confirmed, none negative`: {detail}")]
    Conservation { sale: String, sku: String, detail: String },

    #[error("the store contradicts the journal: {0}")]
    Contradiction(String),

    #[error("{path}, which says what the store may lack: {source}")]
    Absences { path: String, source: std::io::Error },

    /// Of what is read for callers, who have waited long enough.
    #[error("{what} took too long to read")]
    TooSlow { what: &'static str },

    #[error("the store holds what this program never writes: {0}")]
    Content(String),
}

impl StoreError {
    /// Whether trying again is of no use until somebody has looked. A locked, full or absent database is worth a try.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        | ErrorCode::ConstraintViolation
                        | ErrorCode::ReadOnly
                        | ErrorCode::PermissionDenied
                        | ErrorCode::CannotOpen
                        | ErrorCode::DiskFull
                        // A table or column that is not there.
                        | ErrorCode::Unknown
                )
            ),
            Self::Postgres(error) => !error.passes(),
            Self::Feed(FeedError::Unreadable(_))
            | Self::CursorMoved { .. }
            | Self::Lost { .. }
            | Self::Absences { .. } => false,
            _ => true,
        }
    }

    /// What somebody can do about it, where the error itself does not say it.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Sqlite(error) => match error.sqlite_error_code()? {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(
                    "move the file, and those beside it that end in -wal and -shm, out of the way: a new store is made from the \
                     journal; or put back a copy",
                ),
                ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
                    Some("let the service's user read and write the file and the directory that it is in")
                }
                ErrorCode::Unknown => Some(
                    "somebody changed the store's tables: put back a copy, or move the file away, and a new store is made from the journal",
                ),
                ErrorCode::DiskFull => Some("free space on the disk that the store is on"),
                _ => None,
            },
            Self::Postgres(error) if error.is_denied() => Some("grant the role the rights that are missing"),
            _ => None,
        }
    }

    /// What is wrong, and what somebody can do about it.
    pub fn explained(&self) -> String {
        match self.advice() {
            Some(advice) => format!("{self}; {advice}"),
            None => self.to_string(),
        }
    }

    /// Whether the window may have been too large for the database as it is now.
    pub fn is_too_slow(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.is_too_slow())
    }

    /// Whether this process can never go on, also when somebody repairs the store: another one writes it, or the journal
    /// itself makes no sense.
    pub fn ends_following(&self) -> bool {
        matches!(self, Self::Fenced { .. } | Self::Feed(FeedError::Damaged(_)) | Self::Gap { .. } | Self::Batch { .. })
    }
}
