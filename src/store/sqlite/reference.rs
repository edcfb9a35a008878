//! The expected contents of a store, built from the journal by the code that writes stores.
//!
//! A reference is a SQLite database of its own, in memory while it is small and then in an unnamed temporary file. Built from a
//! whole journal, it equals a store exactly. Built from the journal's end, on top of the service's memory, it lacks older rows,
//! and an item's `sold_out_at`, and `confirmed_before`, mean nothing; it lacks earlier refused confirmations too.

use rusqlite::{CachedStatement, Connection, Row, params};

use super::{schema, write};
use crate::{
    sale::ids::{PoolNumber, ReservationId},
    store::{
        error::StoreError,
        fold::Window,
        names::Names,
        owner::Token,
        reader::Counts,
        rows::integer,
        tables::{Dialect, Table},
    },
};

const CACHE_KIB_MAX: i64 = 64 << 10;

/// A reference has no other writer.
const TOKEN: Token = Token { owner: uuid::Uuid::nil(), epoch: 1, session: uuid::Uuid::nil() };

const ABSENT: &str = "
    CREATE TEMPORARY TABLE absent (id TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID";

#[derive(Debug)]
pub struct Reference {
    connection: Connection,
    names: Names,
    /// Changes of rows that are not known are passed over.
    of_the_end: bool,
}

impl Reference {
    /// An empty one, for batches from `epoch + 1` on.
    pub fn starting_after(epoch: u64) -> Result<Self, StoreError> {
        let mut connection = Connection::open("")?;
        connection.pragma_update(None, "journal_mode", "OFF")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB_MAX)?;
        connection.pragma_update(None, "foreign_keys", false)?;
        connection.set_prepared_statement_cache_capacity(64);
        schema::create(&mut connection, std::path::Path::new("a temporary database"))?;
        connection.execute(
            "UPDATE write_behind SET cursor = ?1, owner = ?2, owner_epoch = 1, session = ?2",
            params![integer(epoch)?, TOKEN.owner.to_string()],
        )?;
        connection.execute_batch(ABSENT)?;
        Ok(Self { connection, names: Names::default(), of_the_end: epoch > 0 })
    }

    /// Applies the next batches.
    pub fn apply(&mut self, window: &Window) -> Result<(), StoreError> {
        self.names.learn(window);
        let transaction = self.connection.transaction()?;
        write::window_of_reference(&transaction, &self.names, window, &TOKEN, self.of_the_end)?;
        Ok(transaction.commit()?)
    }

    /// Sales, items and pools as they are now, before the end of the journal is applied: it names some by their numbers alone. No
    /// count is of use before `count`.
    pub fn know_catalogue(&mut self, window: &Window) -> Result<(), StoreError> {
        self.connection.pragma_update(None, "ignore_check_constraints", true)?;
        self.names.learn(window);
        let transaction = self.connection.transaction()?;
        write::catalogue_of_reference(&transaction, &self.names, window)?;
        // How items began is known only where the journal says it.
        transaction.execute("DELETE FROM stock_movements", [])?;
        Ok(transaction.commit()?)
    }

    /// Reservations and waitlist entries as the service's memory has them, but for those that the journal told of.
    pub fn know_customers(&mut self, mut window: Window) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        {
            let mut failed = None;
            let mut is_new = |known: &mut CachedStatement<'_>, id: &ReservationId| match known.exists([id.to_string()])
            {
                Ok(known) => !known,
                Err(error) => {
                    failed = Some(error);
                    false
                }
            };
            let mut known = transaction.prepare_cached("SELECT 1 FROM reservations WHERE id = ?1")?;
            window.keep_reservations(|id| is_new(&mut known, id));
            let mut known = transaction.prepare_cached("SELECT 1 FROM waitlist_entries WHERE id = ?1")?;
            window.keep_entries(|id| is_new(&mut known, id));
            if let Some(error) = failed {
                return Err(error.into());
            }
        }
        write::customers_of_reference(&transaction, &self.names, &window)?;
        Ok(transaction.commit()?)
    }

    /// Where a pool's units are. To be called for all pools, and before `sum_pools`.
    pub fn count(&mut self, pool: PoolNumber, counts: &Counts) -> Result<(), StoreError> {
        let Counts { stock, available, held, confirmed } = *counts;
        let mut count = self.connection.prepare_cached(
            "UPDATE pools SET stock = ?2, available = ?3, held = ?4, confirmed = ?5 WHERE number = ?1",
        )?;
        count.execute(params![pool.0, stock, available, held, confirmed])?;
        Ok(())
    }

    /// Has items count what their pools have.
    pub fn sum_pools(&mut self) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE items SET stock = sums.stock, available = sums.available, held = sums.held, confirmed = sums.confirmed
               FROM (SELECT sale, sku, sum(stock) AS stock, sum(available) AS available, sum(held) AS held,
                            sum(confirmed) AS confirmed FROM pools GROUP BY sale, sku) AS sums
              WHERE items.sale = sums.sale AND items.sku = sums.sku",
            [],
        )?;
        Ok(())
    }

    /// A reservation that may be absent from the store, and is.
    pub fn is_absent(&self, id: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached("INSERT INTO absent (id) VALUES (?1)")?.execute([id])?;
        Ok(())
    }

    /// Whether the store may lack what belongs to a reservation, because it may lack the reservation.
    pub fn may_be_gone(&self, id: &str) -> Result<bool, StoreError> {
        let mut ask = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM absent WHERE id = ?1) OR NOT EXISTS (SELECT 1 FROM reservations WHERE id = ?1)",
        )?;
        Ok(ask.query_row([id], |row| row.get(0))?)
    }

    /// Whether it knows the customer of a reservation, who was not erased.
    pub fn knows_customer_of(&self, id: &str) -> Result<bool, StoreError> {
        let mut ask = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM reservations WHERE id = ?1 AND customer <> 'erased-' || id)",
        )?;
        Ok(ask.query_row([id], |row| row.get(0))?)
    }

    /// Once all reservations are known: texts whose customer is not known may have been erased, and are of no use.
    pub fn forget_doubtful_texts(&self) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch(
            "UPDATE refused_confirmations SET reference = NULL
              WHERE NOT EXISTS (SELECT 1 FROM reservations AS r WHERE r.id = reservation_id AND r.customer <> 'erased-' || r.id);
             UPDATE stock_movements SET reason = NULL
              WHERE reservation_id IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM reservations AS r WHERE r.id = reservation_id AND r.customer <> 'erased-' || r.id)",
        )?)
    }

    /// A new comparison begins.
    pub fn forget_absent(&self) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch(
            "DELETE FROM absent; UPDATE items SET confirmed_before = 0; UPDATE pools SET confirmed_before = 0",
        )?)
    }

    /// Once all that are absent are known: has items and pools count the units of theirs that were confirmed.
    pub fn count_absent(&self) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch(
            "UPDATE pools SET confirmed_before = gone.units
               FROM (SELECT sale, sku, pool, sum(quantity - returned - cancelled) AS units
                       FROM absent JOIN reservations USING (id) JOIN reservation_lines ON reservation_id = id
                      WHERE state = 'confirmed' GROUP BY sale, sku, pool) AS gone
              WHERE pools.sale = gone.sale AND pools.sku = gone.sku AND pools.pool = gone.pool;
             UPDATE items SET confirmed_before = gone.units
               FROM (SELECT sale, sku, sum(confirmed_before) AS units FROM pools GROUP BY sale, sku) AS gone
              WHERE items.sale = gone.sale AND items.sku = gone.sku",
        )?)
    }

    /// Goes through a table's rows one by one, in the order of their keys.
    pub fn walk<T>(
        &self,
        table: Table,
        walk: impl FnOnce(&mut Walk<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut statement = self.connection.prepare(&table.select(Dialect::Sqlite))?;
        let columns = statement.column_count();
        let mut walk_of = Walk { rows: statement.query([])?, columns, ahead: None };
        walk_of.advance()?;
        walk(&mut walk_of)
    }

    /// The rows with these keys, a JSON array of arrays, as a JSON array of objects.
    pub fn rows(&self, table: Table, keys: &str) -> Result<String, StoreError> {
        Ok(self.connection.prepare_cached(&table.as_json())?.query_row([keys], |row| row.get(0))?)
    }
}

/// A walk through a table, with the next row known.
pub struct Walk<'a> {
    rows: rusqlite::Rows<'a>,
    columns: usize,
    ahead: Option<Vec<Option<String>>>,
}

impl Walk<'_> {
    pub fn ahead(&self) -> Option<&[Option<String>]> {
        self.ahead.as_deref()
    }

    /// The next row; the one behind it becomes the next.
    pub fn advance(&mut self) -> Result<Option<Vec<Option<String>>>, StoreError> {
        let next = match self.rows.next()? {
            Some(row) => Some(cells(row, self.columns)?),
            None => None,
        };
        Ok(std::mem::replace(&mut self.ahead, next))
    }
}

/// Each cell as text; what is not UTF-8 was not written by us and does not pass for what was.
pub(super) fn cells(row: &Row<'_>, columns: usize) -> rusqlite::Result<Vec<Option<String>>> {
    use rusqlite::types::ValueRef;
    let cell = |index| {
        Ok(match row.get_ref(index)? {
            ValueRef::Null => None,
            ValueRef::Integer(number) => Some(number.to_string()),
            ValueRef::Real(number) => Some(number.to_string()),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        })
    };
    (0..columns).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in no comparison, and why.
    const NOT_COMPARED: [(&str, &str); 6] = [
        // Given by the database, in the order in which rows came.
        ("stock_movements", "id"),
        ("refused_confirmations", "id"),
        // Where the comparison stands, whose store it is, and which process wrote it.
        ("write_behind", "cursor"),
        ("write_behind", "owner"),
        ("write_behind", "owner_epoch"),
        ("write_behind", "session"),
    ];

    #[test]
    fn every_column_is_compared() {
        let reference = Reference::starting_after(0).unwrap();
        let columns = "SELECT m.name, c.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c
                        WHERE m.type = 'table' ORDER BY m.name, c.cid";
        let mut statement = reference.connection.prepare(columns).unwrap();
        let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let columns: Vec<(String, String)> = columns.map(Result::unwrap).collect();
        assert!(columns.len() > 60);
        let tables = [
            Table::Sales,
            Table::Items,
            Table::Pools,
            Table::Movements,
            Table::Reservations,
            Table::Refused,
            Table::Waitlist,
            Table::Audit,
            Table::WriteBehind,
        ];
        for (table, column) in columns {
            let (table, column) = (table.trim_end_matches("_archive"), column.as_str());
            // Lines are compared with their reservation, gaps with what may be absent.
            let is_known = ["reservation_lines", "audit_gaps"].contains(&table)
                || NOT_COMPARED.contains(&(table, column))
                || tables.iter().any(|known| known.name() == table && known.cells().any(|cell| cell == column));
            assert!(is_known, "{table}.{column}");
        }
    }
}
