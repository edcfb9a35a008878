//! The store in PostgreSQL: tables of the schema that the role's `search_path` names.
//!
//! New rows go straight into their tables (binary COPY), changed rows through a temporary table and one UPDATE. The cursor
//! moves first in the same transaction, so a process without the token finds out before it does any work, and waits for the one
//! that has it.
//!
//! Times and texts come from the rules, which refuse control characters, including the NUL that PostgreSQL's text cannot hold.
//! If a journal has one anyway, PostgreSQL refuses the row, and nothing is written past it.

mod erase;
mod error;
mod lines;
mod link;
mod read;
mod repair;
mod retire;
mod schema;
mod url;
mod values;
mod waitlist;
mod write;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::Type;
use uuid::Uuid;

use self::link::{Link, Patience};
use super::{
    RetentionStep, Sink, Stepped, TrailPermit,
    error::StoreError,
    fold::Window,
    names::Names,
    owner::{Standing, Token},
    reader::STANDING,
    rows::{integer, natural},
};
use crate::{
    clock::monotonic,
    sale::ids::{ItemNumber, PoolNumber, SaleNumber},
};

pub use self::{
    error::PostgresError,
    link::{Password, PostgresSettings},
    read::PostgresReader,
    repair::PostgresRepairer,
    url::PostgresUrl,
};

/// Between two looks whether the tables are still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The writer of a database. Connects on first use, so a database that is away does not stop a start.
pub struct PostgresStore {
    settings: PostgresSettings,
    patience: Arc<Patience>,
    runtime: Driver,
    link: Option<Link>,
    names: Names,
    looked_at: Instant,
}

impl PostgresStore {
    /// `stop`: set when the service stops; from then on everything ends within `drain_time`.
    pub fn new(settings: PostgresSettings, stop: Arc<AtomicBool>) -> Result<Self, StoreError> {
        let patience = Arc::new(Patience::new(stop, settings.drain_time));
        let (runtime, names, looked_at) = (Driver::new()?, Names::default(), monotonic());
        Ok(Self { settings, patience, runtime, link: None, names, looked_at })
    }

    /// Connects, where that is still to be done.
    fn connect(&mut self) -> Result<(), StoreError> {
        if self.link.is_none() {
            let (link, names) = self.runtime.block_on(connect(&self.settings, &self.patience))?;
            (self.link, self.names, self.looked_at) = (Some(link), names, monotonic());
        }
        Ok(())
    }

    fn connected(&self) -> &Link {
        self.link.as_ref().expect("connect comes first")
    }

    /// Closes the link after an error: a transaction that was left open would hold its locks until the next try, against
    /// whoever repairs something by hand.
    fn keep_if_well<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_err() {
            self.close();
        }
        result
    }

    /// Ends sessions that hold the cursor's row longer than a statement may wait, for whoever takes the store over. A process
    /// that froze in the middle of a COPY, or whose machine is gone, holds it for hours: of the server's limits none counts
    /// while it waits for a client's rows. What such a transaction would have written is in the journal.
    fn end_who_is_in_the_way(&mut self) -> Result<(), StoreError> {
        self.connect()?;
        let ended =
            self.runtime.block_on(self.connected().query("ending sessions that hold the cursor", END_OTHERS, &[]));
        for row in self.keep_if_well(ended.map_err(StoreError::from))? {
            tracing::warn!(pid = get::<i32>(&row, 0)?, "a session that held the store's cursor was ended");
        }
        Ok(())
    }

    fn close(&mut self) {
        if let Some(link) = self.link.take() {
            self.runtime.block_on(link.close());
        }
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl Sink for PostgresStore {
    fn standing(&mut self) -> Result<Standing, StoreError> {
        self.connect()?;
        self.runtime.block_on(standing(self.connected()))
    }

    fn take_over(&mut self, before: &Standing, token: &Token) -> Result<(), StoreError> {
        self.connect()?;
        let taken = self.runtime.block_on(take_over(self.connected(), before, token));
        let taken = self.keep_if_well(taken);
        if let Err(StoreError::Postgres(error)) = &taken
            && error.is_waited_out()
        {
            self.end_who_is_in_the_way()?;
        }
        taken
    }

    fn apply(&mut self, window: &Window, token: &Token) -> Result<u64, StoreError> {
        self.connect()?;
        self.names.learn(window);
        let applied = self.runtime.block_on(write::window(self.connected(), &self.names, window, token));
        self.keep_if_well(applied)
    }

    fn retire(
        &mut self,
        step: &RetentionStep,
        token: &Token,
        permit: &mut TrailPermit<'_>,
    ) -> Result<Stepped, StoreError> {
        self.connect()?;
        let stepped = self.runtime.block_on(retire::step(self.connected(), step, token, permit));
        self.keep_if_well(stepped)
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.close();
        self.connect()
    }

    /// Looks now and then whether the tables are still there: while there is nothing to write, nothing else would notice. Old
    /// versions of rows are autovacuum's.
    fn tidy(&mut self) -> Result<(), StoreError> {
        if monotonic() - self.looked_at < LOOK_INTERVAL {
            return Ok(());
        }
        self.connect()?;
        let looked = self.runtime.block_on(schema::look(self.connected()));
        self.keep_if_well(looked)?;
        self.looked_at = monotonic();
        Ok(())
    }
}

/// A runtime that runs only while this thread waits for the database.
struct Driver(Option<Runtime>);

impl Driver {
    fn new() -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| PostgresError::Setup(format!("no runtime can be made: {error}")))?;
        Ok(Self(Some(runtime)))
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.0.as_ref().expect("there until it is dropped").block_on(work)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A pending name look-up does not delay the end.
            runtime.shutdown_background();
        }
    }
}

async fn connect(settings: &PostgresSettings, patience: &Arc<Patience>) -> Result<(Link, Names), StoreError> {
    let link = Link::open(settings, patience.clone()).await?;
    schema::create(&link, &settings.url.to_string()).await?;
    let mut names = Names::default();
    for row in link.query("reading the sales", "SELECT number, id FROM sales", &[]).await? {
        let (number, id): (i64, &str) = (get(&row, 0)?, get(&row, 1)?);
        names.learn_sale(SaleNumber(number_of(number)?), id);
    }
    for row in link.query("reading the items", "SELECT number, sale, sku FROM items", &[]).await? {
        let (number, sale, sku): (i64, &str, &str) = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
        names.learn_item(ItemNumber(number_of(number)?), sale, sku);
    }
    const POOLS: &str = "SELECT pools.number, items.number, pool FROM pools JOIN items USING (sale, sku)";
    for row in link.query("reading the pools", POOLS, &[]).await? {
        let (number, item, id): (i64, i64, &str) = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
        names.learn_pool(PoolNumber(number_of(number)?), ItemNumber(number_of(item)?), id);
    }
    Ok((link, names))
}

async fn standing(link: &Link) -> Result<Standing, StoreError> {
    let rows = link.query("reading the cursor", STANDING, &[]).await?;
    let row = rows.first().ok_or(StoreError::NoCursor)?;
    let (cursor, epoch) = (natural("a cursor", get(row, 0)?)?, natural("an owner_epoch", get(row, 2)?)?);
    Standing::new(cursor, get(row, 1)?, epoch, get(row, 3)?)
}

async fn take_over(link: &Link, before: &Standing, token: &Token) -> Result<(), StoreError> {
    let (owner, session): (Option<Uuid>, Option<Uuid>) =
        before.held_by.map(|token| (token.owner, token.session)).unzip();
    let sql = "UPDATE write_behind SET owner = $1, owner_epoch = $2, session = $3
                WHERE owner IS NOT DISTINCT FROM $4 AND owner_epoch = $5 AND session IS NOT DISTINCT FROM $6
                  AND cursor = $7";
    let (epoch, epoch_before, cursor) = (integer(token.epoch)?, integer(before.epoch())?, integer(before.cursor)?);
    link.batch("beginning to take the store over", &write::begin(link)).await?;
    let taken = link
        .execute(
            "taking the store over",
            sql,
            &[
                (&token.owner, Type::UUID),
                (&epoch, Type::INT8),
                (&token.session, Type::UUID),
                (&owner, Type::UUID),
                (&epoch_before, Type::INT8),
                (&session, Type::UUID),
                (&cursor, Type::INT8),
            ],
        )
        .await?;
    link.batch("taking the store over", "COMMIT").await?;
    if taken == 1 { Ok(()) } else { Err(StoreError::CursorMoved { expected: before.cursor }) }
}

/// Of this role and this name alone: nobody's at a console. Who is meant is found first: conditions beside each other are
/// evaluated in any order.
const END_OTHERS: &str = "
    WITH holding AS MATERIALIZED (
           SELECT DISTINCT pid FROM pg_stat_activity JOIN pg_locks USING (pid)
            WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND relation = 'write_behind'::regclass AND mode = 'RowExclusiveLock' AND granted
              AND pid <> pg_backend_pid() AND usename = current_user
              AND application_name = current_setting('application_name'))
    SELECT pid FROM holding WHERE pg_terminate_backend(pid)";

/// A column of a row, or what is wrong with it.
fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a tokio_postgres::Row,
    column: usize,
) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| StoreError::Content(url::with_sources(&error)))
}

fn number_of(number: i64) -> Result<u32, StoreError> {
    u32::try_from(number).map_err(|_| StoreError::Content(format!("a number of {number}")))
}
