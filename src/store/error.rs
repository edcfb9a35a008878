//! Errors of the store, and whether a retry can help.

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
        "the store has format {found}, but this version supports formats up to {known}: run the version that wrote \
         it, or a newer one"
    )]
    Newer { found: i64, known: i64 },

    /// What was written may be gone, and is written again: the journal has it, or what became of it.
    #[error("{what}: the service rebuilds the store from the journal")]
    Lost { what: String },

    #[error(
        "the table write_behind has lost its row, so the service does not know how far the store is. Stop the service \
         and run `doorbuster reconcile --repair`; or delete the store's tables, or its file, and the service rebuilds \
         it from the journal"
    )]
    NoCursor,

    #[error("the database cannot serve as the store: {0}")]
    Unsuitable(String),

    #[error(
        "the store is empty, and the service could not rebuild it from the newest snapshot and the journal after it: \
         {0}"
    )]
    Rebuild(String),

    #[error("{path} is a database of another program: give the store a file of its own")]
    Foreign { path: String },

    #[error(
        "the store belongs to the data directory with the id {owner}, but this directory has the id {this} (its file \
         `identity`): give each data directory a store of its own, or put back the data directory of this store"
    )]
    OtherOwner { owner: Uuid, this: Uuid },

    #[error(
        "another process took over the store (owner_epoch {epoch}) and writes it now; this process no longer does. \
         Find the second process, on a copy of this data directory, and stop one of the two; then restart the other"
    )]
    Fenced { epoch: u64 },

    #[error(
        "the store has applied batches up to {cursor}, but the journal ends at {durable}: the data directory is older \
         than its store. Put back the journal that belongs to this store, or the store from the same copy"
    )]
    Ahead { cursor: u64, durable: u64 },

    #[error(
        "the store has applied batches up to {cursor}, but the journal begins at {oldest}: the batches in between are \
         gone. Stop the service and run `doorbuster reconcile --repair`, or `doorbuster rebuild` for an empty store; \
         or put back a later copy of the store, whose cursor is {least} or more", least = .oldest - 1
    )]
    Behind { cursor: u64, oldest: u64 },

    #[error("batch {expected} should come next, but batch {found} came: nothing was applied past {}", .expected - 1)]
    Gap { expected: u64, found: u64 },

    #[error("the store's cursor is no longer at {expected}, or another process took the store: checking again")]
    CursorMoved { expected: u64 },

    #[error("batch {epoch} cannot be folded: {source}")]
    Batch { epoch: u64, source: FoldError },

    #[error("item {sku:?} of sale {sale:?} breaks `stock = available + held + confirmed, none negative`: {detail}")]
    Conservation { sale: String, sku: String, detail: String },

    #[error("the store contradicts the journal: {0}")]
    Contradiction(String),

    #[error("{path}, which lists what the store may lack: {source}")]
    Absences { path: String, source: std::io::Error },

    /// A read on behalf of a caller took longer than the caller may wait.
    #[error("{what} took too long to read")]
    TooSlow { what: &'static str },

    #[error("the store holds a value that this program never writes: {0}")]
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
                    "move the file away, together with its -wal and -shm files, and the service makes a new store \
                     from the journal; or put back a copy",
                ),
                ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
                    Some("let the service's user read and write the file and its directory")
                }
                ErrorCode::Unknown => Some(
                    "somebody changed the store's tables: put back a copy, or move the file away, and the service \
                     makes a new store from the journal",
                ),
                ErrorCode::DiskFull => Some("free space on the store's disk"),
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
