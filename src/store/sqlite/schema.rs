//! The schema's formats, and the migration to the newest one.
//!
//! Invariant: a file has one of the formats below, whole, or is not touched.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::store::error::StoreError;

/// `MIGRATIONS[n]` leads from format n to n + 1. Once released, one is never changed: a new one follows it.
const MIGRATIONS: [&str; 5] = [
    include_str!("../schema/1.sqlite.sql"),
    include_str!("../schema/2.sqlite.sql"),
    include_str!("../schema/3.sqlite.sql"),
    include_str!("../schema/4.sqlite.sql"),
    include_str!("../schema/5.sqlite.sql"),
];

/// The format that this program writes.
pub(super) const FORMAT: i64 = MIGRATIONS.len() as i64;

/// "DOOR": tells our files from other SQLite databases, also to `file`.
const APPLICATION_ID: i64 = 0x444F_4F52;

/// Refuses a file of a newer format, or of something else. Says the format; 0 for a file with nothing in it.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (format, application_id) = (pragma("user_version")?, pragma("application_id")?);
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application_id != APPLICATION_ID && (application_id, format, objects) != (0, 0, 0) {
        return Err(StoreError::Foreign { path: path.display().to_string() });
    }
    if format > FORMAT {
        return Err(StoreError::Newer { found: format, known: FORMAT });
    }
    Ok(format)
}

/// Whether all tables and the row of the cursor are still there.
pub(super) fn look(connection: &Connection) -> Result<(), StoreError> {
    const TABLES: &str = "
        SELECT count(*) FROM sqlite_schema
         WHERE type = 'table' AND name IN ('sales', 'items', 'reservations', 'reservation_lines', 'stock_movements', 'audit',
                                           'audit_gaps', 'write_behind', 'reservations_archive',
                                           'reservation_lines_archive', 'audit_archive')";
    const TABLES_COUNT: i64 = 11;
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

/// The newest format in a database of which nothing is to be kept.
pub(super) fn create(connection: &mut Connection) -> Result<(), StoreError> {
    migrate(connection, Path::new("a temporary database"))
}

/// Brings a file to the newest format, in one transaction. Takes no write lock when it has that already.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    if check(connection, path)? == FORMAT {
        return look(connection);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Asked again under the lock.
    let format = check(&transaction, path)?;
    for migration in &MIGRATIONS[usize::try_from(format).unwrap_or(0)..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.execute("UPDATE write_behind SET format = ?1", [FORMAT])?;
    transaction.commit()?;
    Ok(())
}
