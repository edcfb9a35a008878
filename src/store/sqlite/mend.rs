//! Mending a store file.

use std::path::Path;

use rusqlite::{Connection, params};

use super::{connect, read};
use crate::store::{
    error::StoreError,
    mend::{Mender, Step},
    owner::{Standing, Token},
    reader::ItemTotals,
    rows::integer,
};

/// A transaction on a store file that puts rows right. Dropped before its end, it changes nothing.
#[derive(Debug)]
pub struct SqliteMender {
    connection: Connection,
}

impl SqliteMender {
    /// Opens the file, making it or bringing it to this program's format where needed.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { connection: connect(path)? })
    }
}

const TAKE_OVER: &str = "
    UPDATE write_behind SET owner = ?1, owner_epoch = ?2, session = ?3, cursor = ?4
     WHERE owner IS ?5 AND owner_epoch = ?6 AND session IS ?7 AND cursor = ?8";

impl Mender for SqliteMender {
    fn begin(&mut self, before: &Standing, token: &Token, cursor: u64) -> Result<(), StoreError> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let (owner, session) = before.held_by.map(|token| (token.owner.to_string(), token.session.to_string())).unzip();
        let taken = self.connection.execute(
            TAKE_OVER,
            params![
                token.owner.to_string(),
                integer(token.epoch)?,
                token.session.to_string(),
                integer(cursor)?,
                owner,
                integer(before.epoch())?,
                session,
                integer(before.cursor)?,
            ],
        )?;
        if taken == 1 { Ok(()) } else { Err(StoreError::CursorMoved { expected: before.cursor }) }
    }

    fn put(&mut self, step: Step, rows: &str) -> Result<u64, StoreError> {
        let mut touched = 0;
        for sql in statements(step) {
            touched += self.connection.prepare_cached(sql)?.execute([rows])? as u64;
        }
        Ok(touched)
    }

    fn totals(&mut self) -> Result<Vec<ItemTotals>, StoreError> {
        read::totals(&self.connection)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch("COMMIT")?)
    }
}

/// Each with the rows as its one parameter. Children go before their parents, and come behind them.
fn statements(step: Step) -> &'static [&'static str] {
    match step {
        Step::RemoveSales => &[
            "DELETE FROM reservation_lines WHERE reservation_id IN (
               SELECT id FROM reservations WHERE sale IN (SELECT value ->> '$.id' FROM json_each(?1)))",
            "DELETE FROM reservations WHERE sale IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM reservation_lines_archive WHERE reservation_id IN (
               SELECT id FROM reservations_archive WHERE sale IN (SELECT value ->> '$.id' FROM json_each(?1)))",
            "DELETE FROM reservations_archive WHERE sale IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM stock_movements WHERE sale IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM items WHERE sale IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM sales WHERE id IN (SELECT value ->> '$.id' FROM json_each(?1))",
        ],
        Step::RemoveItems => &[
            "DELETE FROM reservation_lines WHERE (reservation_id, sku) IN (
               SELECT reservations.id, value ->> '$.sku'
                 FROM json_each(?1) JOIN reservations ON reservations.sale = value ->> '$.sale')",
            "DELETE FROM reservation_lines_archive WHERE (reservation_id, sku) IN (
               SELECT id, value ->> '$.sku'
                 FROM json_each(?1) JOIN reservations_archive ON reservations_archive.sale = value ->> '$.sale')",
            "DELETE FROM stock_movements WHERE (sale, sku) IN (
               SELECT value ->> '$.sale', value ->> '$.sku' FROM json_each(?1))",
            "DELETE FROM items WHERE (sale, sku) IN (SELECT value ->> '$.sale', value ->> '$.sku' FROM json_each(?1))",
        ],
        Step::RemoveReservations => &[
            "DELETE FROM reservation_lines WHERE reservation_id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM reservations WHERE id IN (SELECT value ->> '$.id' FROM json_each(?1))",
        ],
        // Times that only the row knew stay; what takes their place is the last that the journal says of the sale.
        Step::PutSales => &["
            INSERT INTO sales (id, number, name, opens_at, closes_at, hold_seconds, max_extensions, customer_limit,
                               paused_at, closed_at, created_at, updated_at)
            SELECT value ->> '$.id', value ->> '$.number', value ->> '$.name', value ->> '$.opens_at',
                   value ->> '$.closes_at', value ->> '$.hold_seconds', value ->> '$.max_extensions',
                   value ->> '$.customer_limit', iif(value ->> '$.paused', value ->> '$.updated_at', NULL),
                   iif(value ->> '$.closed', value ->> '$.updated_at', NULL), value ->> '$.created_at',
                   value ->> '$.updated_at'
              FROM json_each(?1) WHERE true
            ON CONFLICT (id) DO UPDATE
               SET number = excluded.number, name = excluded.name, opens_at = excluded.opens_at,
                   closes_at = excluded.closes_at, hold_seconds = excluded.hold_seconds,
                   max_extensions = excluded.max_extensions, customer_limit = excluded.customer_limit,
                   paused_at = iif(excluded.paused_at IS NULL, NULL, coalesce(sales.paused_at, excluded.paused_at)),
                   closed_at = iif(excluded.closed_at IS NULL, NULL, coalesce(sales.closed_at, excluded.closed_at)),
                   updated_at = max(sales.updated_at, excluded.updated_at)"],
        Step::PutItems => &[
            "INSERT INTO items (sale, sku, number, initial_stock, stock, available, held, confirmed, price_amount,
                                price_currency, customer_limit)
             SELECT value ->> '$.sale', value ->> '$.sku', value ->> '$.number', value ->> '$.initial_stock',
                    value ->> '$.stock', value ->> '$.available', value ->> '$.held', value ->> '$.confirmed',
                    value ->> '$.price_amount', value ->> '$.price_currency', value ->> '$.customer_limit'
               FROM json_each(?1) WHERE true
             ON CONFLICT (sale, sku) DO UPDATE
                SET number = excluded.number, initial_stock = excluded.initial_stock, stock = excluded.stock,
                    available = excluded.available, held = excluded.held, confirmed = excluded.confirmed,
                    price_amount = excluded.price_amount, price_currency = excluded.price_currency,
                    customer_limit = excluded.customer_limit",
            "INSERT INTO stock_movements (sale, sku, delta, reason, at, stock_after, available_after)
             SELECT value ->> '$.sale', value ->> '$.sku', value ->> '$.initial_stock', 'initial', value ->> '$.at',
                    value ->> '$.initial_stock', value ->> '$.initial_stock'
               FROM json_each(?1)
              WHERE NOT EXISTS (SELECT 1 FROM stock_movements AS movement
                                 WHERE movement.sale = value ->> '$.sale' AND movement.sku = value ->> '$.sku')",
        ],
        Step::PutReservations => &[
            "INSERT INTO reservations (id, sale, customer, state, reference, created_at, expires_at, extensions,
                                       confirmed_at, released_at, expired_at, release_reason)
             SELECT value ->> '$.id', value ->> '$.sale', value ->> '$.customer', value ->> '$.state',
                    value ->> '$.reference', value ->> '$.created_at', value ->> '$.expires_at',
                    value ->> '$.extensions', value ->> '$.confirmed_at', value ->> '$.released_at',
                    value ->> '$.expired_at', value ->> '$.release_reason'
               FROM json_each(?1) WHERE true
             ON CONFLICT (id) DO UPDATE
                SET sale = excluded.sale, customer = excluded.customer, state = excluded.state,
                    reference = excluded.reference, created_at = excluded.created_at,
                    expires_at = excluded.expires_at, extensions = excluded.extensions,
                    confirmed_at = excluded.confirmed_at, released_at = excluded.released_at,
                    expired_at = excluded.expired_at, release_reason = excluded.release_reason",
            "DELETE FROM reservation_lines WHERE reservation_id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "INSERT INTO reservation_lines (reservation_id, sku, quantity, price_amount, price_currency)
             SELECT row.value ->> '$.id', line.value ->> '$.sku', line.value ->> '$.quantity',
                    line.value ->> '$.price_amount', line.value ->> '$.price_currency'
               FROM json_each(?1) AS row, json_each(row.value, '$.lines') AS line",
        ],
        Step::AddMovements => &["
            INSERT INTO stock_movements (sale, sku, delta, reason, at, stock_after, available_after)
            SELECT value ->> '$.sale', value ->> '$.sku', value ->> '$.delta', 'reconciled',
                   coalesce((SELECT updated_at FROM write_behind), value ->> '$.at'), value ->> '$.stock',
                   value ->> '$.available'
              FROM json_each(?1)"],
        Step::AddConfirmedBefore => &["
            UPDATE items SET confirmed_before = confirmed_before + change.delta
              FROM (SELECT value ->> '$.sale' AS sale, value ->> '$.sku' AS sku, value ->> '$.delta' AS delta
                      FROM json_each(?1)) AS change
             WHERE items.sale = change.sale AND items.sku = change.sku AND confirmed_before + change.delta >= 0"],
        Step::AddAuditGap => &["
            INSERT INTO audit_gaps (after_sequence, through_sequence, hash)
            SELECT value ->> '$.after', value ->> '$.through', value ->> '$.hash' FROM json_each(?1)"],
    }
}
