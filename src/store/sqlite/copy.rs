//! Copies a store file as of one moment, also while it is being written.

use std::{path::Path, time::Duration};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};

use super::{BUSY_MS_MAX, schema};
use crate::store::{error::StoreError, rows::natural};

/// Pages copied at a time.
const PAGES_PER_STEP: i32 = 4096;

/// A moment of a store file, held until this is dropped: its writer goes on, and its write-ahead log grows meanwhile.
#[derive(Debug)]
pub struct SqliteMoment {
    connection: Connection,
    cursor: u64,
}

impl SqliteMoment {
    pub fn of(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX))?;
        schema::check(&connection, path)?;
        connection.execute_batch("BEGIN")?;
        let cursor = connection.query_row("SELECT cursor FROM write_behind", [], |row| row.get(0))?;
        let cursor = natural("a cursor", cursor)?;
        Ok(Self { connection, cursor })
    }

    /// The epoch up to which it has everything.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Writes it into a new file, and syncs that. Says its size in bytes.
    pub fn copy_to(&self, path: &Path) -> Result<u64, StoreError> {
        let mut copy = Connection::open(path)?;
        {
            let backup = Backup::new(&self.connection, &mut copy)?;
            while backup.step(PAGES_PER_STEP)? == StepResult::More {}
        }
        // It was copied as one with a write-ahead log beside it, which a file to be moved about should not have.
        copy.pragma_update(None, "journal_mode", "delete")?;
        let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let bytes: i64 = copy.query_row(size, [], |row| row.get(0))?;
        Ok(bytes.unsigned_abs())
    }
}
