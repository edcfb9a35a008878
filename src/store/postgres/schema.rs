//! The schema's formats, and how a database comes to the newest one.
//!
//! Invariant: a database has one of the formats below, whole, or is not touched. Whoever migrates holds an advisory lock,
//! so that of two services that start at once one waits and finds it done.

use super::{error::PostgresError, link::Link, write};
use crate::store::{error::StoreError, rows::natural};

/// `MIGRATIONS[n]` leads from format n to n + 1, as SQLite's of the same number does. Once released, one is never changed:
/// a new one follows it.
const MIGRATIONS: [&str; 5] = [
    include_str!("../schema/1.postgres.sql"),
    include_str!("../schema/2.postgres.sql"),
    include_str!("../schema/3.postgres.sql"),
    include_str!("../schema/4.postgres.sql"),
    include_str!("../schema/5.postgres.sql"),
];

/// The format that this program writes.
pub(super) const FORMAT: i64 = MIGRATIONS.len() as i64;

/// "DOORBUST": of this database alone, as PostgreSQL's advisory locks are.
const MIGRATION_LOCK: i64 = 0x444F_4F52_4255_5354;

/// Our tables that are there already. From the catalogue itself, as of one moment: `to_regclass` remembers what it did not
/// find, and would not see what another session committed while this one waited for its lock.
const TABLES: &str = "
    SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
     WHERE nspname = ANY (current_schemas(false))
       AND relname IN ('sales', 'items', 'reservations', 'reservation_lines', 'stock_movements', 'audit', 'write_behind',
                       'reservations_archive', 'reservation_lines_archive', 'audit_archive')";

/// Refuses a database of a newer format, or with tables of something else. Says the format; 0 when there is none yet.
pub(super) async fn check(link: &Link, place: &str) -> Result<i64, StoreError> {
    let foreign = || StoreError::Foreign { path: place.to_owned() };
    let rows = link.query("looking at the schema", TABLES, &[]).await?;
    let mut tables = rows.iter().map(|row| row.try_get::<_, &str>(0).map_err(PostgresError::from)).peekable();
    if tables.peek().is_none() {
        return Ok(0);
    }
    if !tables.collect::<Result<Vec<_>, _>>()?.contains(&"write_behind") {
        return Err(foreign());
    }
    let found = link.query("reading the format", "SELECT format FROM write_behind", &[]).await;
    let rows = match found {
        Err(error) if error.is_unknown_name() => return Err(foreign()),
        found => found?,
    };
    let row = rows.first().ok_or_else(|| StoreError::Content("no row in write_behind".to_owned()))?;
    let format: i64 = row.try_get(0).map_err(PostgresError::from)?;
    natural("a format", format)?;
    if format > FORMAT {
        return Err(StoreError::Newer { found: format, known: FORMAT });
    }
    Ok(format)
}

/// Brings a database to the newest format, in one transaction. Takes no lock when it has that already.
pub(super) async fn migrate(link: &Link, place: &str) -> Result<(), StoreError> {
    if check(link, place).await? == FORMAT {
        return Ok(());
    }
    link.batch("beginning a migration", &write::begin(link)).await?;
    let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
    link.batch("waiting for another migration", &lock).await?;
    // Asked again under the lock.
    let format = check(link, place).await?;
    for (number, migration) in (1..).zip(MIGRATIONS).skip(usize::try_from(format).unwrap_or(0)) {
        link.batch("migrating", migration).await?;
        tracing::info!(format = number, "the store's schema was brought to a new format");
    }
    let set = format!("UPDATE write_behind SET format = {FORMAT}; COMMIT");
    Ok(link.batch("ending a migration", &set).await?)
}
