//! What the suite runs on: each kind of store, empty, and ways to look into it that say the same of both.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, types::Value};
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::postgres_server::{Server, Sql};
use crate::{
    sale::time::Timestamp,
    store::{
        AbsencesFile, PostgresReader, PostgresSettings, PostgresStore, PostgresUrl, Sink, SqliteStore, StoreError,
        StoreReader,
    },
};

/// Makes a test of each function, for SQLite and for PostgreSQL.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test] fn $test() { super::$test($crate::store::tests::databases::Database::sqlite) })+
        }
        mod postgres {
            $(#[test] fn $test() { super::$test($crate::store::tests::databases::Database::postgres) })+
        }
    };
}
pub(crate) use on_both;

/// Makes an empty one.
pub(super) type New = fn() -> Database;

pub(super) enum Database {
    Sqlite(tempfile::TempDir),
    /// A schema of its own, on the one server of all tests, and its data directory.
    Postgres(String, tempfile::TempDir),
}

static SERVER: OnceLock<Server> = OnceLock::new();
static SCHEMAS: AtomicU64 = AtomicU64::new(0);

pub(super) fn server() -> &'static Server {
    SERVER.get_or_init(|| Server::start(&[]))
}

impl Database {
    pub(super) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(super) fn postgres() -> Self {
        let schema = format!("test_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
        server().admin().run(&format!("CREATE SCHEMA {schema}"));
        Self::at(format!("{}?options=-c%20search_path%3D{schema}", server().url("postgres")))
    }

    pub(super) fn at(url: String) -> Self {
        Self::Postgres(url, tempfile::tempdir().unwrap())
    }

    /// Where it is noted what may be absent.
    pub(super) fn absences(&self) -> AbsencesFile {
        let (Self::Sqlite(directory) | Self::Postgres(_, directory)) = self;
        AbsencesFile::of(directory.path())
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    pub(super) fn path(&self) -> std::path::PathBuf {
        let Self::Sqlite(directory) = self else { panic!("no file") };
        directory.path().join("store.db")
    }

    pub(super) fn try_store(&self) -> Result<Box<dyn Sink>, StoreError> {
        Ok(match self {
            Self::Sqlite(_) => Box::new(SqliteStore::open(self.path())?),
            Self::Postgres(url, _) => {
                let mut store = PostgresStore::new(settings(url), Arc::new(AtomicBool::new(false)))?;
                // So that what is wrong is told here, as with a file.
                store.reopen()?;
                Box::new(store)
            }
        })
    }

    pub(super) fn store(&self) -> Box<dyn Sink> {
        self.try_store().unwrap()
    }

    pub(super) fn try_reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(match self {
            Self::Sqlite(_) => Box::new(SqliteStore::open_read_only(self.path())?),
            Self::Postgres(url, _) => Box::new(PostgresReader::open(&settings(url))?),
        })
    }

    pub(super) fn reader(&self) -> Box<dyn StoreReader> {
        self.try_reader().unwrap()
    }

    /// What somebody does by hand, in the words of the one and of the other.
    pub(super) fn execute(&self, sqlite: &str, postgres: &str) {
        match self {
            Self::Sqlite(_) => Connection::open(self.path()).unwrap().execute_batch(sqlite).unwrap(),
            Self::Postgres(url, _) => Sql::connect(url).run(postgres),
        }
    }

    /// Somebody's lock on the cursor, until it is dropped.
    pub(super) fn lock(&self) -> Box<dyn std::any::Any> {
        match self {
            Self::Sqlite(_) => {
                let other = Connection::open(self.path()).unwrap();
                other.execute_batch("BEGIN EXCLUSIVE").unwrap();
                Box::new(other)
            }
            Self::Postgres(url, _) => {
                let other = Sql::connect(url);
                other.run("BEGIN; LOCK TABLE write_behind IN ACCESS EXCLUSIVE MODE");
                Box::new(other)
            }
        }
    }

    /// The rows of a query, cell by cell, as a person would read them.
    pub(super) fn query(&self, sql: &str) -> Vec<Vec<String>> {
        match self {
            Self::Sqlite(_) => {
                let connection = Connection::open(self.path()).unwrap();
                let mut statement = connection.prepare(sql).unwrap();
                let columns = statement.column_count();
                let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column).map(of_sqlite)).collect();
                statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
            }
            Self::Postgres(url, _) => {
                let cells = |row: Row| (0..row.len()).map(|column| of_postgres(&row, column)).collect();
                Sql::connect(url).rows(sql).into_iter().map(cells).collect()
            }
        }
    }

    /// Everything in the store, except what the cuts between windows may change: the order of different pools' movements;
    /// and except whose it is.
    pub(super) fn content(&self) -> Vec<Vec<Vec<String>>> {
        [
            "SELECT * FROM sales ORDER BY id",
            "SELECT * FROM items ORDER BY sale, sku",
            "SELECT * FROM pools ORDER BY sale, sku, pool",
            "SELECT * FROM reservations ORDER BY id",
            "SELECT * FROM reservation_lines ORDER BY reservation_id, line",
            "SELECT * FROM waitlist_entries ORDER BY id",
            "SELECT reservation_id, sale, at, reference, cause FROM refused_confirmations ORDER BY reservation_id, id",
            "SELECT sale, sku, pool, delta, reason, reference, at, stock_after, available_after, other_pool,
                    reservation_id
               FROM stock_movements ORDER BY sale, sku, pool, id",
            "SELECT * FROM audit ORDER BY sequence",
            "SELECT one, cursor, updated_at, format FROM write_behind",
        ]
        .map(|sql| self.query(sql))
        .to_vec()
    }
}

/// Patient enough for a busy machine, and short enough to see a lock.
pub(super) fn settings(url: &str) -> PostgresSettings {
    PostgresSettings {
        url: PostgresUrl::parse(url).unwrap(),
        password: None,
        ca_file: None,
        connect_time: Duration::from_secs(10),
        statement_time: Duration::from_secs(10),
        drain_time: Duration::from_secs(10),
    }
}

fn of_sqlite(value: Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) => real.to_string(),
        Value::Text(text) => text,
        Value::Blob(_) => "blob".to_owned(),
    }
}

fn of_postgres(row: &Row, column: usize) -> String {
    fn shown<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    match row.columns()[column].type_() {
        &Type::INT8 => shown(row.get::<_, Option<i64>>(column)),
        &Type::FLOAT8 => shown(row.get::<_, Option<f64>>(column)),
        &Type::BOOL => shown(row.get::<_, Option<bool>>(column).map(i32::from)),
        &Type::UUID => shown(row.get::<_, Option<Uuid>>(column)),
        &Type::TIMESTAMPTZ => {
            let at: Option<std::time::SystemTime> = row.get(column);
            shown(at.map(|at| {
                let since = at.duration_since(std::time::UNIX_EPOCH).unwrap();
                Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
            }))
        }
        &Type::TEXT => shown(row.get::<_, Option<String>>(column)),
        other => panic!("{other} is a type that the store should not have"),
    }
}
