//! The embedded store: one SQLite file in the data directory.
//!
//! WAL, so that people can read while windows are written. `synchronous = FULL`, although `NORMAL` would keep rows and cursor
//! just as consistent: with `NORMAL` a power loss may undo the last transactions, and the journal deletes segments once the
//! cursor has passed them, so the undone changes could be lost. One sync per window of thousands of rows costs little, and
//! makes a reported cursor durable.

mod copy;
mod erase;
mod lines;
mod pace;
mod read;
mod reference;
mod repair;
mod retire;
mod schema;
mod write;

use std::{
    fs, io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig, params};
use uuid::Uuid;

use crate::{
    clock::{Runtime, SystemClock},
    sale::ids::{ItemNumber, PoolNumber, SaleNumber},
};

use super::{
    AfterKeeping, RetentionStep, Sink, Stepped, TrailPermit,
    error::StoreError,
    fold::Window,
    names::Names,
    owner::{Standing, Token},
    reader::STANDING,
    rows::{integer, natural},
};

pub use copy::SqliteMoment;
pub use read::SqliteReader;
pub use reference::Reference;
pub use repair::SqliteRepairer;

/// Pages kept in memory: the ends of the trees that reservations are added to, and the rows of those still held.
const CACHE_KIB_MAX: i64 = 64 << 10;

/// How long one statement waits for another process's lock. Short: the loop around it retries and can be stopped.
const BUSY_MS_MAX: u64 = 250;

/// Pages of WAL that start a checkpoint, 4 KiB each. A page that changed in several windows is copied home only once.
const CHECKPOINT_PAGES: i64 = 8 << 10;

/// What the WAL file may keep on disk once a checkpoint has emptied it.
const WAL_BYTES_KEPT_MAX: i64 = 64 << 20;

/// Statements kept prepared; more than there are.
const STATEMENTS_MAX: usize = 64;

/// Between two looks whether the tables are still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A database file has at least one page, and this is the least that a page may have.
const PAGE_BYTES_MIN: u64 = 512;

/// The writer of a store file. One at a time: a second one finds its cursor moved and stops. Opens the file on first use, so a
/// file that cannot be opened does not stop a start.
pub struct SqliteStore {
    path: PathBuf,
    runtime: Arc<dyn Runtime>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// The file itself, to look at its beginning. Only closed after the connection: whoever closes any handle of a file gives up all
    /// POSIX locks that the process has on it, those of SQLite included (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).
    handle: fs::File,
    names: Names,
    /// The WAL may hold pages with customers who were erased since.
    wal_names_erased: bool,
    file: FileId,
    /// Once there was one.
    wal: Option<FileId>,
    looked_at: Instant,
}

/// Which file a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

const LOST_WAL: &str = "lost its -wal file";
const EMPTIED: &str = "was emptied";
const OVERWRITTEN: &str = "was overwritten with something that is not a database";

/// How each SQLite file begins (<https://www.sqlite.org/fileformat.html>).
const HEADER: &[u8; 16] = b"SQLite format 3\0";

impl FileId {
    fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::of)
    }

    fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Whether a file begins as a database does. One that cannot be read is not judged.
fn is_database(file: &fs::File) -> bool {
    let mut begin = [0; HEADER.len()];
    file.read_exact_at(&mut begin, 0).is_err() || begin == *HEADER
}

impl SqliteStore {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::on(path, Arc::new(SystemClock))
    }

    pub fn on(path: impl Into<PathBuf>, runtime: Arc<dyn Runtime>) -> Self {
        Self { path: path.into(), runtime, open: None }
    }

    /// Opens the file, making it where needed.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let mut store = Self::new(path);
        store.connect()?;
        Ok(store)
    }

    fn connect(&mut self) -> Result<&mut Open, StoreError> {
        if self.open.is_none() {
            let connection = connect(&self.path)?;
            let names = load_names(&connection)?;
            let handle = fs::File::open(&self.path).map_err(|error| self.lost(&error.to_string()))?;
            let metadata = handle.metadata().map_err(|error| self.lost(&error.to_string()))?;
            // An earlier run may have ended between an erasure and its checkpoint.
            let (file, wal_names_erased) = (FileId::of(&metadata), true);
            self.open = Some(Open {
                connection,
                handle,
                names,
                wal_names_erased,
                file,
                wal: None,
                looked_at: self.runtime.monotonic(),
            });
        }
        Ok(self.open.as_mut().expect("opened above"))
    }

    /// Whether the file that is open is still the one that others find under its name. SQLite does not notice: it would go on
    /// writing a file that nobody sees, and that is gone when it is closed.
    fn look_for_file(&mut self) -> Result<(), StoreError> {
        let wal_path = self.beside("-wal");
        let Some(Open { connection, handle, file, wal, .. }) = &mut self.open else { return Ok(()) };
        let what = match fs::metadata(&self.path) {
            Ok(found) if FileId::of(&found) != *file => "was replaced",
            Ok(found) if found.len() < PAGE_BYTES_MIN => EMPTIED,
            Ok(_) if !is_database(handle) => OVERWRITTEN,
            Ok(_) => {
                let found = FileId::at(&wal_path);
                if wal.is_none() || *wal == found {
                    *wal = found;
                    return Ok(());
                }
                LOST_WAL
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => "was deleted or moved",
            Err(error) => return Err(self.lost(&format!("can no longer be found ({error})"))),
        };
        // Closing writes what the log holds into the file that is open, wherever that is now, and removes the log by its name. Not
        // so where the file was emptied or overwritten: it would get some of its pages. Nor where the log is that of another file.
        let (ours, found) = (*wal, FileId::at(&wal_path));
        let leave = [EMPTIED, OVERWRITTEN].contains(&what) || (found.is_some() && found != ours);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave)?;
        self.open = None;
        // What is left of ours belongs to no file: SQLite would take it for that of the next one of this name.
        if what != LOST_WAL && ours.is_some() && FileId::at(&wal_path) == ours {
            let _ = fs::remove_file(&wal_path);
            let _ = fs::remove_file(self.beside("-shm"));
        }
        Err(self.lost(what))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    fn lost(&self, what: &str) -> StoreError {
        StoreError::Lost { what: format!("{} {what}", self.path.display()) }
    }

    /// Opens a file to look into, beside a writer or without one.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<SqliteReader, StoreError> {
        SqliteReader::open(path.as_ref())
    }
}

impl Sink for SqliteStore {
    fn standing(&mut self) -> Result<Standing, StoreError> {
        standing(&self.connect()?.connection)
    }

    fn take_over(&mut self, before: &Standing, token: &Token) -> Result<(), StoreError> {
        let connection = &self.connect()?.connection;
        let (owner, session) = before.held_by.map(|token| (token.owner.to_string(), token.session.to_string())).unzip();
        let taken = connection.execute(
            write::TAKE_OVER,
            params![
                token.owner.to_string(),
                integer(token.epoch)?,
                token.session.to_string(),
                owner,
                integer(before.epoch())?,
                session,
                integer(before.cursor)?,
            ],
        )?;
        if taken == 1 { Ok(()) } else { Err(StoreError::CursorMoved { expected: before.cursor }) }
    }

    fn apply(&mut self, window: &Window, token: &Token) -> Result<u64, StoreError> {
        let runtime = self.runtime.clone();
        let open = self.connect()?;
        open.names.learn(window);
        let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let rows = write::window(&transaction, &open.names, window, token, &*runtime)?;
        transaction.commit()?;
        open.wal_names_erased |= !window.erased().is_empty();
        Ok(rows)
    }

    /// Looks whether the file is still there, and empties the WAL after an erasure. Whoever reads at this moment is in the way,
    /// and is not waited for: then it is tried again.
    fn tidy(&mut self) -> Result<(), StoreError> {
        self.look_for_file()?;
        let now = self.runtime.monotonic();
        let Open { connection, wal_names_erased, looked_at, .. } = self.connect()?;
        if now - *looked_at >= LOOK_INTERVAL {
            schema::look(connection)?;
            *looked_at = now;
        }
        if *wal_names_erased {
            connection.busy_timeout(Duration::ZERO)?;
            let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX))?;
            *wal_names_erased = busy?;
        }
        Ok(())
    }

    fn retire(
        &mut self,
        step: &RetentionStep,
        token: &Token,
        permit: &mut TrailPermit<'_>,
    ) -> Result<Stepped, StoreError> {
        let open = self.connect()?;
        let transaction = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let stepped = retire::step(&transaction, step, token, permit)?;
        transaction.commit()?;
        // What was deleted is overwritten in its pages, and stays in the log until that is emptied: at the end of a pass.
        open.wal_names_erased |= step.after == AfterKeeping::Delete && stepped.reached.is_none();
        Ok(stepped)
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        // Closed first: a file that took the place of this one has its own log under the same name.
        self.open = None;
        self.connect().map(drop)
    }
}

fn standing(connection: &Connection) -> Result<Standing, StoreError> {
    let (cursor, owner, epoch, session): (i64, Option<String>, i64, Option<String>) = connection
        .query_row(STANDING, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .map_err(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => StoreError::NoCursor,
            error => error.into(),
        })?;
    let (owner, session) = (parse_id("an owner", owner)?, parse_id("a session", session)?);
    Standing::new(natural("a cursor", cursor)?, owner, natural("an owner_epoch", epoch)?, session)
}

fn parse_id(what: &str, text: Option<String>) -> Result<Option<Uuid>, StoreError> {
    let unreadable = |text: &str| StoreError::Content(format!("{what} of {text:?}"));
    text.map(|text| Uuid::try_parse(&text).map_err(|_| unreadable(&text))).transpose()
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Before anything is written: a file of something else, or of a newer program, is left as it is.
    schema::check(&connection, path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // What is deleted or replaced is overwritten with zeros, so that who was erased is not left in unused parts of pages.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB_MAX)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT_MAX)?;
    // References are for readers of the schema: the journal's order guarantees them, and a check costs a look-up a row.
    connection.pragma_update(None, "foreign_keys", false)?;
    schema::create(&mut connection, path)?;
    Ok(connection)
}

fn load_names(connection: &Connection) -> Result<Names, StoreError> {
    let mut names = Names::default();
    let mut sales = connection.prepare("SELECT number, id FROM sales")?;
    let mut rows = sales.query([])?;
    while let Some(row) = rows.next()? {
        names.learn_sale(SaleNumber(row.get(0)?), row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?);
    }
    let mut items = connection.prepare("SELECT number, sale, sku FROM items")?;
    let mut rows = items.query([])?;
    while let Some(row) = rows.next()? {
        let (sale, sku) = (row.get_ref(1)?, row.get_ref(2)?);
        names.learn_item(
            ItemNumber(row.get(0)?),
            sale.as_str().map_err(rusqlite::Error::from)?,
            sku.as_str().map_err(rusqlite::Error::from)?,
        );
    }
    let mut pools =
        connection.prepare("SELECT pools.number, items.number, pool FROM pools JOIN items USING (sale, sku)")?;
    let mut rows = pools.query([])?;
    while let Some(row) = rows.next()? {
        let id = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        names.learn_pool(PoolNumber(row.get(0)?), ItemNumber(row.get(1)?), id);
    }
    Ok(names)
}
