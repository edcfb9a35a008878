//! The schema: made in an empty database, and looked at in every other.
//!
//! Invariant: a database has the schema below, whole, or is not changed. Making it holds an advisory lock, so if two services
//! start at once, one waits and finds the work done.

use super::{error::PostgresError, get, link::Link, write};
use crate::store::{error::StoreError, rows::natural};

/// The same tables and columns as SQLite's.
const SCHEMA: &str = include_str!("../schema/postgres.sql");

/// The schema's number, in `write_behind.format`.
pub(super) const FORMAT: i64 = 1;

/// "DOORBUST": of this database alone, as PostgreSQL's advisory locks are.
const CREATION_LOCK: i64 = 0x444F_4F52_4255_5354;

/// Our tables that are there already. From the catalogue itself, as of one moment: `to_regclass` remembers what it did not
/// find, and would not see what another session committed while this one waited for its lock.
const TABLES: &str = "
    SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
     WHERE nspname = ANY (current_schemas(false))
       AND relname IN ('sales', 'items', 'pools', 'reservations', 'reservation_lines', 'stock_movements', 'audit', 'audit_gaps',
                       'write_behind', 'reservations_archive', 'reservation_lines_archive', 'audit_archive', 'refused_confirmations',
                       'waitlist_entries', 'waitlist_entries_archive')";

/// How many there are.
const TABLES_COUNT: usize = 15;

/// What a database must be before anything else is asked of it.
const SERVER: &str = "
    SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding'), pg_is_in_recovery(),
           current_schema()::text, current_user::text, current_database()::text,
           has_database_privilege(current_database(), 'TEMPORARY'),
           coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)";

const VERSION_MIN: i64 = 13;

/// Rights that every window needs and the role does not have.
const RIGHTS_MISSING: &str = "
    SELECT right_name || ' on ' || relname
      FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
      JOIN (VALUES ('sales', 'SELECT'), ('sales', 'INSERT'), ('sales', 'UPDATE'), ('items', 'SELECT'), ('items', 'INSERT'),
                   ('items', 'UPDATE'), ('pools', 'SELECT'), ('pools', 'INSERT'), ('pools', 'UPDATE'),
                   ('reservations', 'SELECT'), ('reservations', 'INSERT'), ('reservations', 'UPDATE'),
                   ('reservation_lines', 'SELECT'), ('reservation_lines', 'INSERT'), ('reservation_lines', 'DELETE'),
                   ('refused_confirmations', 'SELECT'), ('refused_confirmations', 'INSERT'),
                   ('waitlist_entries', 'SELECT'), ('waitlist_entries', 'INSERT'), ('waitlist_entries', 'UPDATE'),
                   ('stock_movements', 'SELECT'),
                   ('stock_movements', 'INSERT'), ('audit', 'SELECT'), ('audit', 'INSERT'), ('write_behind', 'SELECT'),
                   ('write_behind', 'UPDATE')) AS needed (table_name, right_name) ON table_name = relname
     WHERE nspname = current_schema() AND NOT has_table_privilege(pg_class.oid, right_name)
     ORDER BY 1";

/// Whether a store can be in this database at all, asked at each connection: what is wrong is said at once, and not by the
/// first row that shows it. Says whether the role may make tables.
async fn check_server(link: &Link) -> Result<bool, StoreError> {
    let rows = link.query("looking at the server", SERVER, &[]).await?;
    let row = rows.first().ok_or_else(|| StoreError::Content("no answer about the server".to_owned()))?;
    let (version, encoding): (i64, &str) = (get(row, 0)?, get(row, 1)?);
    let (schema, role, database): (Option<&str>, &str, &str) = (get(row, 3)?, get(row, 4)?, get(row, 5)?);
    let unsuitable = |what: String| Err(StoreError::Unsuitable(what));
    if version / 10_000 < VERSION_MIN {
        return unsuitable(format!(
            "the server is PostgreSQL {}, but the store needs {VERSION_MIN} or newer",
            version / 10_000
        ));
    }
    if encoding != "UTF8" {
        return unsuitable(format!(
            "{database} has the encoding {encoding}, which cannot hold every customer id and reference: make another \
             with CREATE DATABASE {database}_utf8 ENCODING 'UTF8' TEMPLATE template0, and put it into store.url"
        ));
    }
    if get(row, 2)? {
        // Passes by itself when it is promoted, or when another host of the URL answers.
        return Err(PostgresError::Setup(
            "the server is a standby, which takes no writes: put the primary into store.url".to_owned(),
        )
        .into());
    }
    if schema.is_none() {
        return unsuitable(format!(
            "{role} can use none of the schemas in search_path: create one, or GRANT USAGE on it"
        ));
    }
    if !get::<bool>(row, 6)? {
        return unsuitable(format!(
            "{role} may not create temporary tables: GRANT TEMPORARY ON DATABASE {database} TO {role}"
        ));
    }
    get(row, 7)
}

/// Whether all tables and the row of the cursor are still there.
pub(super) async fn look(link: &Link) -> Result<(), StoreError> {
    let tables = link.query("looking at the schema", TABLES, &[]).await?;
    if tables.len() < TABLES_COUNT {
        let tables = tables.iter().map(|row| get::<&str>(row, 0)).collect::<Result<Vec<_>, _>>()?;
        return Err(lacking(&tables));
    }
    if link.query("looking for the cursor", "SELECT FROM write_behind", &[]).await?.is_empty() {
        return Err(StoreError::NoCursor);
    }
    Ok(())
}

/// Of a database that has some of the tables.
fn lacking(tables: &[&str]) -> StoreError {
    if tables.is_empty() {
        return StoreError::Lost { what: "the store's tables were dropped".to_owned() };
    }
    StoreError::Unsuitable(format!(
        "some of the store's tables were dropped, and these are left: {}. Put back a backup; or drop these too \
         (CASCADE), and the service rebuilds the store from the journal",
        tables.join(", ")
    ))
}

/// Refuses a database of a newer format, or with tables of something else. Returns whether the schema is there.
pub(super) async fn check(link: &Link, place: &str) -> Result<bool, StoreError> {
    let foreign = || StoreError::Foreign { path: place.to_owned() };
    let rows = link.query("looking at the schema", TABLES, &[]).await?;
    let mut tables = rows.iter().map(|row| row.try_get::<_, &str>(0).map_err(PostgresError::from)).peekable();
    if tables.peek().is_none() {
        return Ok(false);
    }
    let tables = tables.collect::<Result<Vec<_>, _>>()?;
    if !tables.contains(&"write_behind") {
        return Err(foreign());
    }
    let found = link.query("reading the format", "SELECT format FROM write_behind", &[]).await;
    let rows = match found {
        Err(error) if error.is_unknown_name() => return Err(foreign()),
        found => found?,
    };
    let row = rows.first().ok_or(StoreError::NoCursor)?;
    let format: i64 = row.try_get(0).map_err(PostgresError::from)?;
    natural("a format", format)?;
    if format > FORMAT {
        return Err(StoreError::Newer { found: format, known: FORMAT });
    }
    if tables.len() < TABLES_COUNT {
        return Err(lacking(&tables));
    }
    Ok(true)
}

/// Makes the schema in an empty database, in one transaction. Takes no lock where it is there already.
pub(super) async fn create(link: &Link, place: &str) -> Result<(), StoreError> {
    let may_create = check_server(link).await?;
    let found = check(link, place).await;
    let is_denied = matches!(&found, Err(StoreError::Postgres(error)) if error.is_denied());
    if is_denied || matches!(found, Ok(true)) {
        let missing = link.query("looking at rights", RIGHTS_MISSING, &[]).await?;
        let missing = missing.iter().map(|row| get::<&str>(row, 0)).collect::<Result<Vec<_>, _>>()?;
        if !missing.is_empty() {
            return Err(StoreError::Unsuitable(format!("the role lacks rights: GRANT {}", missing.join(", "))));
        }
        return found.map(drop);
    }
    if !may_create {
        return Err(StoreError::Unsuitable(
            "the role may not create tables in its schema: GRANT CREATE ON SCHEMA … TO the role, or let it own the \
             schema"
                .to_owned(),
        ));
    }
    link.batch("beginning to make tables", &write::begin(link)).await?;
    let lock = format!("SELECT pg_advisory_xact_lock({CREATION_LOCK})");
    link.batch("waiting for another service that makes tables", &lock).await?;
    // Asked again under the lock.
    if !check(link, place).await? {
        link.batch("making tables", SCHEMA).await?;
        tracing::info!(format = FORMAT, "created the store's tables");
    }
    Ok(link.batch("ending to make tables", "COMMIT").await?)
}
