//! Reads a SQLite store, for checks and tools.

use std::{path::Path, time::Instant};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

use crate::{
    clock::monotonic,
    sale::{audit::Broken, ids::ReservationId, outcome::State},
    store::{
        audit::{AuditCheck, AuditGap, AuditRow},
        error::StoreError,
        groups::By,
        owner::Standing,
        reader::{
            AUDIT, AUDIT_GAPS, COUNT_BY_STATE, EachRow, ITEMS, SALES, StateCounts, StoreReader, StoredItem, StoredLine,
            StoredReservation, StoredSale, TOTALS, Totals, parse_state,
        },
        report::{self, Cells, SaleReport},
        rows::natural,
        tables::{Dialect, Table},
        trail::{self, TrailAsk, TrailPage},
    },
};

use super::{BUSY_MS_MAX, reference::cells, schema, standing};

/// Steps of SQLite's machine between two looks at the time: well below a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// Looks into a store file and never writes it.
#[derive(Debug)]
pub struct SqliteReader {
    connection: Connection,
}

impl SqliteReader {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS_MAX))?;
        if schema::check(&connection, path)? {
            Ok(Self { connection })
        } else {
            Err(StoreError::Lost { what: "the store has no tables".to_owned() })
        }
    }
}

impl SqliteReader {
    fn each_of(
        &self,
        query: &str,
        sale: &str,
        mut each: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(query)?;
        let mut rows = statement.query([sale])?;
        while let Some(row) = rows.next()? {
            each(row)?;
        }
        Ok(())
    }

    fn find(&self, id: &ReservationId) -> Result<Option<StoredReservation>, StoreError> {
        let id = id.to_string();
        let mut statement = self.connection.prepare_cached("SELECT * FROM reservations WHERE id = ?1")?;
        let found = statement.query_row([&id], |row| Ok((row.get::<_, String>("state")?, reservation(row)?)));
        let Some((state, mut found)) = found.optional()? else { return Ok(None) };
        found.state = parse_state(&state)?;
        let mut statement = self
            .connection
            .prepare_cached("SELECT * FROM reservation_lines WHERE reservation_id = ?1 ORDER BY line")?;
        found.lines = statement.query_map([&id], line)?.collect::<Result<_, _>>()?;
        Ok(Some(found))
    }
}

impl Cells for Row<'_> {
    fn integer(&self, column: usize) -> Result<Option<i64>, StoreError> {
        Ok(self.get(column)?)
    }

    fn real(&self, column: usize) -> Result<Option<f64>, StoreError> {
        Ok(self.get(column)?)
    }

    fn text(&self, column: usize) -> Result<Option<String>, StoreError> {
        Ok(self.get(column)?)
    }

    fn time(&self, column: usize) -> Result<Option<String>, StoreError> {
        self.text(column)
    }
}

impl StoreReader for SqliteReader {
    fn hold_still(&self) -> Result<(), StoreError> {
        // The first read is what fixes the moment.
        Ok(self.connection.execute_batch("BEGIN; SELECT count(*) FROM write_behind")?)
    }

    fn standing(&self) -> Result<Standing, StoreError> {
        match standing(&self.connection) {
            Err(StoreError::NoCursor) => Ok(Standing::nowhere()),
            found => found,
        }
    }

    fn sales(&self) -> Result<Vec<StoredSale>, StoreError> {
        let mut statement = self.connection.prepare_cached(SALES)?;
        let sales = statement.query_map([], |row| {
            Ok(StoredSale {
                id: row.get(0)?,
                number: row.get(1)?,
                name: row.get(2)?,
                opens_at: row.get(3)?,
                closes_at: row.get(4)?,
                hold_seconds: row.get(5)?,
                max_extensions: row.get(6)?,
                customer_limit: row.get(7)?,
                paused: row.get(8)?,
                closed: row.get(9)?,
            })
        })?;
        Ok(sales.collect::<Result<_, _>>()?)
    }

    fn items(&self) -> Result<Vec<StoredItem>, StoreError> {
        let mut statement = self.connection.prepare_cached(ITEMS)?;
        let items = statement.query_map([], |row| {
            Ok(StoredItem {
                sale: row.get(0)?,
                sku: row.get(1)?,
                number: row.get(2)?,
                initial_stock: row.get(3)?,
                price: row.get::<_, Option<i64>>(4)?.zip(row.get(5)?),
                customer_limit: row.get(6)?,
                low_stock_at: row.get(7)?,
            })
        })?;
        Ok(items.collect::<Result<_, _>>()?)
    }

    fn totals(&self) -> Result<Vec<Totals>, StoreError> {
        totals(&self.connection)
    }

    fn count_by_state(&self) -> Result<StateCounts, StoreError> {
        let mut statement = self.connection.prepare_cached(COUNT_BY_STATE)?;
        let mut rows = statement.query([])?;
        let mut counts = StateCounts::default();
        while let Some(row) = rows.next()? {
            counts.add(&row.get::<_, String>(0)?, row.get(1)?)?;
        }
        Ok(counts)
    }

    fn reservation(&self, id: &ReservationId) -> Result<Option<StoredReservation>, StoreError> {
        // One moment: the lines belong to the row.
        let _moment = self.connection.is_autocommit().then(|| self.connection.unchecked_transaction()).transpose()?;
        self.find(id)
    }

    fn reservations(&self, ids: &[ReservationId]) -> Result<Vec<StoredReservation>, StoreError> {
        ids.iter().filter_map(|id| self.find(id).transpose()).collect()
    }

    fn held(&self, each: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT id FROM reservations WHERE state = 'held'")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(&row.get::<_, String>(0)?);
        }
        Ok(())
    }

    fn report(&mut self, sale: &str, by: Option<&By>, deadline: Instant) -> Result<Option<SaleReport>, StoreError> {
        self.connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || monotonic() >= deadline))?;
        // One moment.
        let _moment = self.connection.is_autocommit().then(|| self.connection.unchecked_transaction()).transpose()?;
        let mut head = self.connection.prepare_cached(report::HEAD)?;
        let mut head = head.query([sale])?;
        let Some(row) = head.next()? else { return Ok(None) };
        let mut found = SaleReport::begin(row, by)?;
        self.each_of(report::OF_ITEMS, sale, |row| found.item(row))?;
        self.each_of(report::OF_RESERVATIONS, sale, |row| found.state(row))?;
        self.each_of(report::OF_REFUSED, sale, |row| found.refused(row))?;
        self.each_of(report::OF_WAITLIST, sale, |row| found.waited(row))?;
        self.each_of(report::OF_GROUP_DEALS, sale, |row| found.group_deals(row))?;
        self.each_of(report::OF_MINUTES, sale, |row| found.minute(row))?;
        self.each_of(report::OF_REVENUE, sale, |row| found.revenue(row))?;
        if let Some(by) = by {
            self.each_of(&by.select(Dialect::Sqlite), sale, |row| found.group(row))?;
        }
        Ok(Some(found.finish()))
    }

    fn trail(&mut self, ask: &TrailAsk, deadline: Instant) -> Result<TrailPage, StoreError> {
        self.connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || monotonic() >= deadline))?;
        // One moment.
        let _moment = self.connection.is_autocommit().then(|| self.connection.unchecked_transaction()).transpose()?;
        let head: Option<(i64, Option<String>)> =
            self.connection.query_row(trail::HEAD, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let (cursor, changed_at) = head.ok_or(StoreError::NoCursor)?;
        trail::read(ask, (natural("a cursor", cursor)?, changed_at), deadline, |statement, before, sale| {
            let mut statement = self.connection.prepare_cached(statement)?;
            let rows: rusqlite::Result<Vec<AuditRow>> = match sale {
                None => statement.query_map([before], audit_row)?.collect(),
                Some(sale) => statement.query_map(rusqlite::params![before, sale], audit_row)?.collect(),
            };
            Ok(rows?)
        })
    }

    fn check_audit(&self, gaps: &[AuditGap]) -> Result<Result<AuditCheck, Broken>, StoreError> {
        let mut check = AuditCheck::over(gaps.to_vec());
        let mut statement = self.connection.prepare_cached(AUDIT)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Err(broken) = check.row(&audit_row(row)?) {
                return Ok(Err(broken));
            }
        }
        Ok(Ok(check))
    }

    fn rows(&self, table: Table, each: EachRow<'_>) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare(&table.select(Dialect::Sqlite))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(&cells(row, columns)?)?;
        }
        Ok(())
    }

    fn audit_gaps(&self) -> Result<Vec<(i64, i64, String)>, StoreError> {
        let mut statement = self.connection.prepare_cached(AUDIT_GAPS)?;
        let gaps = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(gaps.collect::<Result<_, _>>()?)
    }
}

pub(super) fn totals(connection: &Connection) -> Result<Vec<Totals>, StoreError> {
    let mut statement = connection.prepare_cached(TOTALS)?;
    let totals = statement.query_map([], |row| {
        let mut columns = [0; 7];
        for (index, column) in columns.iter_mut().enumerate() {
            *column = row.get(index + 3)?;
        }
        Ok(Totals::of([row.get(0)?, row.get(1)?], row.get(2)?, columns))
    })?;
    Ok(totals.collect::<Result<_, _>>()?)
}

pub(super) fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
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
        cancelled_at: row.get("cancelled_at")?,
        late: row.get("late")?,
        release_reason: row.get("release_reason")?,
        cancel_reason: row.get("cancel_reason")?,
        tier: row.get("tier")?,
        channel: row.get("channel")?,
        region: row.get("region")?,
        labels: row.get("labels")?,
        short: row.get("short")?,
        group_id: row.get("group_id")?,
        group_size: row.get("group_size")?,
        group_state: row.get("group_state")?,
        waitlist_entry: row.get("waitlist_entry")?,
        lines: Vec::new(),
    })
}

fn line(row: &Row<'_>) -> rusqlite::Result<StoredLine> {
    let amount: Option<i64> = row.get("price_amount")?;
    let currency: Option<String> = row.get("price_currency")?;
    Ok(StoredLine {
        sku: row.get("sku")?,
        pool: row.get("pool")?,
        quantity: row.get("quantity")?,
        returned: row.get("returned")?,
        cancelled: row.get("cancelled")?,
        price: amount.zip(currency),
    })
}
