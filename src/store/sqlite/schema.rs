//! The schema: made in an empty file, and looked at in every other.
//!
//! Invariant: a file has the schema below, whole, or is not changed.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::store::error::StoreError;

const SCHEMA: &str = include_str!("../schema/sqlite.sql");

/// The schema's number, in the file's `user_version` and in `write_behind.format`.
pub(super) const FORMAT: i64 = 1;

/// "DOOR": tells our files from other SQLite databases, also to `file`.
const APPLICATION_ID: i64 = 0x444F_4F52;

/// Refuses a file of a newer format, or of something else. Returns whether the schema is there; an empty file has none.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<bool, StoreError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (format, application_id) = (pragma("user_version")?, pragma("application_id")?);
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application_id != APPLICATION_ID && (application_id, format, objects) != (0, 0, 0) {
        return Err(StoreError::Foreign { path: path.display().to_string() });
    }
    if format > FORMAT {
        return Err(StoreError::Newer { found: format, known: FORMAT });
    }
    Ok(format == FORMAT)
}

/// Whether all tables and the row of the cursor are still there.
pub(super) fn look(connection: &Connection) -> Result<(), StoreError> {
    const TABLES: &str = "
        SELECT count(*) FROM sqlite_schema
         WHERE type = 'table' AND name IN ('sales', 'items', 'pools', 'reservations', 'reservation_lines', 'stock_movements',
                                           'audit', 'audit_gaps', 'write_behind', 'reservations_archive',
                                           'reservation_lines_archive', 'audit_archive', 'refused_confirmations',
                                           'waitlist_entries', 'waitlist_entries_archive')";
    const TABLES_COUNT: i64 = 15;
    if connection.prepare_cached(TABLES)?.query_row([], |row| row.get::<_, i64>(0))? < TABLES_COUNT {
        return Err(StoreError::Unsuitable(
            "somebody dropped tables of the store: put back a copy, or move the file away, and the service makes a \
             new store from the journal"
                .to_owned(),
        ));
    }
    let rows: i64 = connection.prepare_cached("SELECT count(*) FROM write_behind")?.query_row([], |row| row.get(0))?;
    if rows == 1 { Ok(()) } else { Err(StoreError::NoCursor) }
}

/// Makes the schema in an empty file, in one transaction. Takes no write lock where it is there already.
pub(super) fn create(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    if check(connection, path)? {
        return look(connection);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Asked again under the lock.
    if !check(&transaction, path)? {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    Ok(transaction.commit()?)
}
