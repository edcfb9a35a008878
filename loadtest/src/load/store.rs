//! Compares the SQL store, read like any client of it, with the ledger.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use reqwest::{Client, Url};
use rusqlite::{Connection, OpenFlags, Row};
use tokio_postgres::NoTls;

use crate::{
    guarantees::Guarantee,
    ledger::Became,
    run::Run,
    wire::{EntryState, State},
};

/// How long the store may take to have everything.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
const LOOK_AFTER: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub enum Store {
    Sqlite(PathBuf),
    Postgres(Box<tokio_postgres::Config>),
}

/// What the store has of the sale. Counts by state; units by SKU and state; stock, available, held, confirmed by SKU.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stored {
    reservations: BTreeMap<String, i64>,
    units: BTreeMap<(String, String), i64>,
    items: BTreeMap<String, [i64; 4]>,
    /// The sum of an item's movements.
    movements: BTreeMap<String, i64>,
    /// Waitlist entries by state.
    entries: BTreeMap<String, i64>,
    /// Records of the audit trail by action.
    actions: BTreeMap<String, i64>,
    /// Reservations that were confirmed too late or expired too early, by the store's own times.
    untimely: i64,
}

const RESERVATIONS: &str = "SELECT state, count(*) FROM reservations WHERE sale = $1 GROUP BY state";
/// Of a cancelled reservation what was cancelled, of others what is left of it.
const UNITS: &str = "SELECT sku, state, \
    CAST(sum(CASE state WHEN 'cancelled' THEN cancelled ELSE quantity - returned - cancelled END) AS bigint) \
    FROM reservations JOIN reservation_lines ON reservation_id = id WHERE sale = $1 GROUP BY sku, state";
const ITEMS: &str = "SELECT sku, stock, available, held, confirmed FROM stock_per_item WHERE sale = $1";
const MOVEMENTS: &str = "SELECT sku, CAST(sum(delta) AS bigint) FROM stock_movements WHERE sale = $1 GROUP BY sku";
const ENTRIES: &str = "SELECT state, count(*) FROM waitlist_entries WHERE sale = $1 GROUP BY state";
const ACTIONS: &str = "SELECT action, count(*) FROM audit WHERE sale = $1 GROUP BY action";
const UNTIMELY: &str = "SELECT count(*) FROM reservations WHERE sale = $1 AND (confirmed_at >= expires_at AND NOT late OR expired_at < expires_at)";

impl Store {
    /// A path of a SQLite file, or the URL of a PostgreSQL database.
    pub fn parse(text: &str, password_file: Option<&Path>) -> anyhow::Result<Self> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            let path = PathBuf::from(text.strip_prefix("sqlite://").unwrap_or(text));
            ensure!(path.is_file(), "--store {}: the file does not exist", path.display());
            return Ok(Self::Sqlite(path));
        }
        let mut config: tokio_postgres::Config =
            text.parse().context("--store: not a URL such as postgres://user@host:5432/database")?;
        if let Some(path) = password_file {
            let password = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            config.password(password.lines().next().unwrap_or(""));
        }
        config.connect_timeout(Duration::from_secs(10));
        Ok(Self::Postgres(Box::new(config)))
    }

    async fn read(&self, sale: &str) -> anyhow::Result<Stored> {
        match self {
            Self::Sqlite(path) => read_sqlite(path, sale),
            Self::Postgres(config) => read_postgres(config, sale).await,
        }
    }
}

fn read_sqlite(path: &Path, sale: &str) -> anyhow::Result<Stored> {
    let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    // One view for all questions.
    let view = connection.transaction()?;
    Ok(Stored {
        reservations: gather(&view, RESERVATIONS, sale, |row| Ok((row.get(0)?, row.get(1)?)))?,
        units: gather(&view, UNITS, sale, |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?,
        items: gather(&view, ITEMS, sale, |row| {
            Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?]))
        })?,
        movements: gather(&view, MOVEMENTS, sale, |row| Ok((row.get(0)?, row.get(1)?)))?,
        entries: gather(&view, ENTRIES, sale, |row| Ok((row.get(0)?, row.get(1)?)))?,
        actions: gather(&view, ACTIONS, sale, |row| Ok((row.get(0)?, row.get(1)?)))?,
        untimely: view.query_row(UNTIMELY, [sale], |row| row.get(0))?,
    })
}

fn gather<K: Ord, V>(
    view: &Connection,
    sql: &str,
    sale: &str,
    row: fn(&Row<'_>) -> rusqlite::Result<(K, V)>,
) -> rusqlite::Result<BTreeMap<K, V>> {
    view.prepare(sql)?.query_map([sale], row)?.collect()
}

async fn read_postgres(config: &tokio_postgres::Config, sale: &str) -> anyhow::Result<Stored> {
    let (mut client, connection) = config.connect(NoTls).await.context(
        "connecting to the store (this tool speaks to PostgreSQL without TLS: add ?sslmode=disable, or read it from its own machine)",
    )?;
    let driver = tokio::spawn(connection);
    let mut stored = Stored::default();
    // One view for all questions.
    let view = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    for row in view.query(RESERVATIONS, &[&sale]).await? {
        stored.reservations.insert(row.get(0), row.get(1));
    }
    for row in view.query(UNITS, &[&sale]).await? {
        stored.units.insert((row.get(0), row.get(1)), row.get(2));
    }
    for row in view.query(ITEMS, &[&sale]).await? {
        stored.items.insert(row.get(0), [row.get(1), row.get(2), row.get(3), row.get(4)]);
    }
    for row in view.query(MOVEMENTS, &[&sale]).await? {
        stored.movements.insert(row.get(0), row.get(1));
    }
    for row in view.query(ENTRIES, &[&sale]).await? {
        stored.entries.insert(row.get(0), row.get(1));
    }
    for row in view.query(ACTIONS, &[&sale]).await? {
        stored.actions.insert(row.get(0), row.get(1));
    }
    stored.untimely = view.query_one(UNTIMELY, &[&sale]).await?.get(0);
    view.commit().await?;
    drop(client);
    driver.await??;
    Ok(stored)
}

/// The expected contents of the store, by the ledger.
fn expected(run: &Run) -> Stored {
    let books = run.ledger.books();
    let mut expected = Stored::default();
    for grant in books.grants.values() {
        let state = grant.state.name();
        *expected.reservations.entry(state.to_owned()).or_default() += 1;
        for (sku, quantity) in &grant.lines {
            *expected.units.entry((sku.clone(), state.to_owned())).or_default() += *quantity as i64;
        }
    }
    let units = books.units();
    for sku in run.skus() {
        let stock = run.plan.stock as i64 + books.adjusted_units(&sku);
        let (held, confirmed) = units.get(&sku).copied().unwrap_or_default();
        expected.items.insert(sku.clone(), [stock, stock - held - confirmed, held, confirmed]);
        expected.movements.insert(sku, stock);
    }
    for wait in books.waits.values() {
        let state = match wait.became {
            Became::Waiting => EntryState::Waiting,
            Became::Offered(_) => EntryState::Offered,
            Became::Left(_) => EntryState::Left,
            Became::Unknown | Became::Refused => continue,
        };
        *expected.entries.entry(state.name().to_owned()).or_default() += 1;
    }
    let mut acted = |action: &str, times: usize| {
        if times > 0 {
            expected.actions.insert(action.to_owned(), times as i64);
        }
    };
    acted("sale.put", 1);
    acted("stock.adjust", books.adjusted.len());
    acted("sale.pause", books.pauses.len());
    acted("sale.resume", books.pauses.iter().filter(|pause| pause.resume.is_some()).count());
    expected
}

/// Waits until the store has everything, and compares it with the ledger.
pub async fn hold_against_books(run: &Run, store: &Store, ops: Option<&Url>) -> anyhow::Result<()> {
    if let Some(ops) = ops {
        wait_for(ops).await?;
    }
    let expected = expected(run);
    // Without the ops listener nobody says when the store has everything: it is read until it does.
    let patience = if ops.is_some() { Duration::ZERO } else { CATCH_UP_MAX };
    let begin = Instant::now();
    let stored = loop {
        let stored = store.read(&run.sale).await?;
        if stored == expected || begin.elapsed() >= patience {
            break stored;
        }
        tokio::time::sleep(LOOK_AFTER).await;
    };
    let findings = &run.findings;
    let same = |what: &str, holds: bool, of: String| {
        findings.check(Guarantee::StoreEqualsJournal, holds, || format!("{what}: {of}"));
    };
    let of = |stored: &dyn std::fmt::Debug, answered: &dyn std::fmt::Debug| {
        format!("the store has {stored:?}, the answers make {answered:?}")
    };
    same(
        "reservations by state",
        stored.reservations == expected.reservations,
        of(&stored.reservations, &expected.reservations),
    );
    same("units by item and state", stored.units == expected.units, differing(&stored.units, &expected.units));
    same(
        "stock, available, held, confirmed",
        stored.items == expected.items,
        differing(&stored.items, &expected.items),
    );
    same("stock movements", stored.movements == expected.movements, differing(&stored.movements, &expected.movements));
    same("waitlist entries by state", stored.entries == expected.entries, of(&stored.entries, &expected.entries));
    let known = stored.reservations.keys().all(|state| State::named(state).is_some());
    same("states", known, of(&stored.reservations, &"states of the contract"));
    findings.check(Guarantee::ExactTime, stored.untimely == 0, || {
        format!("{} reservations of the store were confirmed too late or expired too early", stored.untimely)
    });
    findings.check(Guarantee::WhoDidIt, stored.actions == expected.actions, || of(&stored.actions, &expected.actions));
    Ok(())
}

/// Where two maps differ.
fn differing<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    stored: &BTreeMap<K, V>,
    answered: &BTreeMap<K, V>,
) -> String {
    let keys: std::collections::BTreeSet<_> = stored.keys().chain(answered.keys()).collect();
    let differ = keys.into_iter().filter(|key| stored.get(key) != answered.get(key)).take(3);
    let told = differ
        .map(|key| format!("{key:?}: the store has {:?}, the answers make {:?}", stored.get(key), answered.get(key)));
    told.collect::<Vec<_>>().join("; ")
}

/// Waits until the store has applied what is durable now.
async fn wait_for(ops: &Url) -> anyhow::Result<()> {
    let client = Client::builder().no_proxy().timeout(CATCH_UP_MAX).build()?;
    let begin = Instant::now();
    let mut durable = None;
    loop {
        let told: serde_json::Value =
            serde_json::from_slice(&client.get(ops.join("/readyz")?).send().await?.bytes().await?)
                .context("reading /readyz")?;
        let epoch = |pointer: &str| {
            told.pointer(pointer)
                .and_then(serde_json::Value::as_u64)
                .with_context(|| format!("/readyz has no {pointer}"))
        };
        let durable = *durable.get_or_insert(epoch("/journal/durable_epoch")?);
        if epoch("/store/applied_epoch")? >= durable {
            return Ok(());
        }
        if begin.elapsed() > CATCH_UP_MAX {
            bail!("the store did not catch up within {CATCH_UP_MAX:?}: {told}");
        }
        tokio::time::sleep(LOOK_AFTER).await;
    }
}
