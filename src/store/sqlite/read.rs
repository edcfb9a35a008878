//! The read side, for checks and tools: what the store says, and the same computed again from other rows.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

use crate::{
    sale::{audit::Broken, ids::ReservationId, outcome::State},
    store::{
        audit::{AuditCheck, AuditRow},
        error::StoreError,
    },
};

use super::{BUSY_MS_MAX, schema};

/// Looks into a store file and never writes it.
#[derive(Debug)]
pub struct SqliteReader {
    connection: Connection,
}

/// Where an item's units are. Signed: this is what stands in a file, whatever that may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub stock: i64,
    pub available: i64,
    pub held: i64,
    pub confirmed: i64,
}

/// An item's counts as its row has them, and as its movements, reservations and lines add up to: always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemTotals {
    pub sale: String,
    pub sku: String,
    pub stored: Counts,
    pub recomputed: Counts,
}

/// Reservations in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateCounts {
    pub held: u64,
    pub confirmed: u64,
    pub released: u64,
    pub expired: u64,
}

/// A reservation as its rows have it; times are RFC 3339 text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReservation {
    pub id: String,
    pub sale: String,
    pub customer: String,
    pub state: State,
    pub reference: Option<String>,
    pub created_at: String,
    pub expires_at: String,
    pub extensions: u32,
    pub confirmed_at: Option<String>,
    pub released_at: Option<String>,
    pub expired_at: Option<String>,
    pub release_reason: Option<String>,
    /// By SKU.
    pub lines: Vec<StoredLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLine {
    pub sku: String,
    pub quantity: u32,
    /// Minor units and ISO 4217 code.
    pub price: Option<(i64, String)>,
}

const TOTALS: &str = "
    WITH moved AS (SELECT sale, sku, sum(delta) AS stock FROM stock_movements GROUP BY sale, sku),
         reserved AS (
           SELECT sale, sku,
                  sum(quantity) FILTER (WHERE state = 'held') AS held,
                  sum(quantity) FILTER (WHERE state = 'confirmed') AS confirmed
             FROM reservations JOIN reservation_lines ON reservation_id = id
            WHERE state IN ('held', 'confirmed')
            GROUP BY sale, sku)
    SELECT sale, sku, items.stock, items.available, items.held, items.confirmed,
           coalesce(moved.stock, 0), coalesce(reserved.held, 0), coalesce(reserved.confirmed, 0)
      FROM items LEFT JOIN moved USING (sale, sku) LEFT JOIN reserved USING (sale, sku)
     ORDER BY sale, sku";

impl SqliteReader {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS_MAX))?;
        match schema::check(&connection, path)? {
            schema::FORMAT => Ok(Self { connection }),
            older => Err(StoreError::Content(format!("format {older}; the service brings it to {}", schema::FORMAT))),
        }
    }

    /// The last epoch applied.
    pub fn cursor(&self) -> Result<u64, StoreError> {
        let cursor: i64 = self.connection.query_row("SELECT cursor FROM write_behind", [], |row| row.get(0))?;
        u64::try_from(cursor).map_err(|_| StoreError::Content(format!("a cursor of {cursor}")))
    }

    /// Every item by sale and SKU, at one moment. Reads all reservations.
    pub fn totals(&self) -> Result<Vec<ItemTotals>, StoreError> {
        let mut statement = self.connection.prepare_cached(TOTALS)?;
        let totals = statement.query_map([], |row| {
            let stored =
                Counts { stock: row.get(2)?, available: row.get(3)?, held: row.get(4)?, confirmed: row.get(5)? };
            let (stock, held, confirmed) = (row.get::<_, i64>(6)?, row.get::<_, i64>(7)?, row.get::<_, i64>(8)?);
            let available = stock.saturating_sub(held).saturating_sub(confirmed);
            let recomputed = Counts { stock, available, held, confirmed };
            Ok(ItemTotals { sale: row.get(0)?, sku: row.get(1)?, stored, recomputed })
        })?;
        Ok(totals.collect::<Result<_, _>>()?)
    }

    /// Reads all reservations.
    pub fn count_by_state(&self) -> Result<StateCounts, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT state, count(*) FROM reservations GROUP BY state")?;
        let mut rows = statement.query([])?;
        let mut counts = StateCounts::default();
        while let Some(row) = rows.next()? {
            let count = row.get::<_, i64>(1)?.unsigned_abs();
            match parse_state(&row.get::<_, String>(0)?)? {
                State::Held => counts.held = count,
                State::Confirmed => counts.confirmed = count,
                State::Released => counts.released = count,
                State::Expired => counts.expired = count,
            }
        }
        Ok(counts)
    }

    pub fn reservation(&self, id: &ReservationId) -> Result<Option<StoredReservation>, StoreError> {
        let id = id.to_string();
        // One transaction: the lines belong to the row.
        let transaction = self.connection.unchecked_transaction()?;
        let mut statement = transaction.prepare_cached("SELECT * FROM reservations WHERE id = ?1")?;
        let found = statement.query_row([&id], |row| Ok((row.get::<_, String>("state")?, reservation(row)?)));
        let Some((state, mut found)) = found.optional()? else { return Ok(None) };
        found.state = parse_state(&state)?;
        let mut statement =
            transaction.prepare_cached("SELECT * FROM reservation_lines WHERE reservation_id = ?1 ORDER BY sku")?;
        found.lines = statement.query_map([&id], line)?.collect::<Result<_, _>>()?;
        Ok(Some(found))
    }

    /// Walks the whole audit trail in order, as of one moment, and says how far it holds, or what is wrong first. Whether
    /// it ends where it should is for whoever knows the service's own head.
    pub fn check_audit(&self) -> Result<Result<AuditCheck, Broken>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT * FROM audit ORDER BY sequence")?;
        let mut rows = statement.query([])?;
        let mut check = AuditCheck::new();
        while let Some(row) = rows.next()? {
            if let Err(broken) = check.row(&audit_row(row)?) {
                return Ok(Err(broken));
            }
        }
        Ok(Ok(check))
    }
}

fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    // Whatever somebody put there: what is not UTF-8 was not written by us and does not pass for what was.
    let text = |name: &str| -> rusqlite::Result<Option<String>> {
        Ok(row.get_ref(name)?.as_bytes_or_null()?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    };
    let given = |name: &str| text(name).map(Option::unwrap_or_default);
    Ok(AuditRow {
        sequence: row.get("sequence")?,
        at: given("at")?,
        actor: given("actor")?,
        action: given("action")?,
        sale: text("sale")?,
        sku: text("sku")?,
        detail: given("detail")?,
        hash: given("hash")?,
    })
}

/// All but the state, which is not SQLite's to judge, and the lines, which are other rows.
fn reservation(row: &Row<'_>) -> rusqlite::Result<StoredReservation> {
    Ok(StoredReservation {
        id: row.get("id")?,
        sale: row.get("sale")?,
        customer: row.get("customer")?,
        state: State::Held,
        reference: row.get("reference")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        extensions: row.get("extensions")?,
        confirmed_at: row.get("confirmed_at")?,
        released_at: row.get("released_at")?,
        expired_at: row.get("expired_at")?,
        release_reason: row.get("release_reason")?,
        lines: Vec::new(),
    })
}

fn line(row: &Row<'_>) -> rusqlite::Result<StoredLine> {
    let amount: Option<i64> = row.get("price_amount")?;
    let currency: Option<String> = row.get("price_currency")?;
    Ok(StoredLine { sku: row.get("sku")?, quantity: row.get("quantity")?, price: amount.zip(currency) })
}

fn parse_state(word: &str) -> Result<State, StoreError> {
    let states = [State::Held, State::Confirmed, State::Released, State::Expired];
    let found = states.into_iter().find(|state| state.as_str() == word);
    found.ok_or_else(|| StoreError::Content(format!("a reservation in state {word:?}")))
}
