//! Repairs a SQLite store.

use std::path::Path;

use rusqlite::{Connection, params};

use super::{connect, read, schema};
use crate::store::{
    error::StoreError,
    owner::{Standing, Token},
    reader::Totals,
    repair::{Repairer, Step},
    rows::integer,
};

/// A transaction on a store file that puts rows right. Dropped before its end, it changes nothing.
#[derive(Debug)]
pub struct SqliteRepairer {
    connection: Connection,
}

impl SqliteRepairer {
    /// Opens the file, making it where needed.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = match connect(path) {
            Err(StoreError::NoCursor) => {
                Connection::open(path)?.execute(MAKE_ROW, [schema::FORMAT])?;
                connect(path)
            }
            connected => connected,
        };
        Ok(Self { connection: connection? })
    }
}

/// Somebody deleted it.
const MAKE_ROW: &str = "INSERT INTO write_behind (one, cursor, format) VALUES (1, 0, ?1) ON CONFLICT (one) DO NOTHING";

const TAKE_OVER: &str = "
    UPDATE write_behind SET owner = ?1, owner_epoch = ?2, session = ?3, cursor = ?4
     WHERE owner IS ?5 AND owner_epoch = ?6 AND session IS ?7 AND cursor = ?8";

impl Repairer for SqliteRepairer {
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

    fn totals(&mut self) -> Result<Vec<Totals>, StoreError> {
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
            "DELETE FROM refused_confirmations WHERE sale IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM waitlist_entries WHERE sale IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM waitlist_entries_archive WHERE sale IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM stock_movements WHERE sale IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM pools WHERE sale IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM items WHERE sale IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM sales WHERE id IN (SELECT value ->> '$.id' FROM json_each(?1))",
        ],
        Step::RemoveItems => &[
            "DELETE FROM reservation_lines WHERE (reservation_id, sku) IN (
               SELECT reservations.id, value ->> '$.sku'
                 FROM json_each(?1) JOIN reservations ON reservations.sale = value ->> '$.sale')",
            "DELETE FROM reservation_lines_archive WHERE (reservation_id, sku) IN (
               SELECT reservations_archive.id, value ->> '$.sku'
                 FROM json_each(?1) JOIN reservations_archive ON reservations_archive.sale = value ->> '$.sale')",
            "DELETE FROM stock_movements WHERE (sale, sku) IN (
               SELECT value ->> '$.sale', value ->> '$.sku' FROM json_each(?1))",
            "DELETE FROM pools WHERE (sale, sku) IN (SELECT value ->> '$.sale', value ->> '$.sku' FROM json_each(?1))",
            "DELETE FROM items WHERE (sale, sku) IN (SELECT value ->> '$.sale', value ->> '$.sku' FROM json_each(?1))",
        ],
        Step::RemovePools => &[
            "DELETE FROM stock_movements WHERE (sale, sku, pool) IN (
               SELECT value ->> '$.sale', value ->> '$.sku', value ->> '$.pool' FROM json_each(?1))",
            "DELETE FROM pools WHERE (sale, sku, pool) IN (
               SELECT value ->> '$.sale', value ->> '$.sku', value ->> '$.pool' FROM json_each(?1))",
        ],
        Step::RemoveReservations => &[
            "DELETE FROM refused_confirmations WHERE reservation_id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM reservation_lines WHERE reservation_id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM reservations WHERE id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM reservation_lines_archive WHERE reservation_id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM reservations_archive WHERE id IN (SELECT value ->> '$.id' FROM json_each(?1))",
        ],
        Step::RemoveArchived => &[
            "DELETE FROM reservation_lines_archive WHERE reservation_id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM reservations_archive WHERE id IN (SELECT value ->> '$.id' FROM json_each(?1))",
        ],
        Step::RemoveLines => &[
            "DELETE FROM reservation_lines WHERE (reservation_id, line, 'live') IN (
               SELECT value ->> '$.reservation_id', CAST(value ->> '$.line' AS integer), value ->> '$.place'
                 FROM json_each(?1))",
            "DELETE FROM reservation_lines_archive WHERE (reservation_id, line, 'archive') IN (
               SELECT value ->> '$.reservation_id', CAST(value ->> '$.line' AS integer), value ->> '$.place'
                 FROM json_each(?1))",
        ],
        Step::RemoveRefused => &["DELETE FROM refused_confirmations WHERE (reservation_id, at) IN (
               SELECT value ->> '$.reservation_id', value ->> '$.at' FROM json_each(?1))"],
        Step::PutRefused => &["
            INSERT INTO refused_confirmations (reservation_id, sale, at, reference, cause)
             SELECT value ->> '$.reservation_id', value ->> '$.sale', value ->> '$.at', value ->> '$.reference',
                    value ->> '$.cause'
               FROM json_each(?1) ORDER BY key"],
        Step::RemoveEntries => &[
            "DELETE FROM waitlist_entries WHERE id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM waitlist_entries_archive WHERE id IN (SELECT value ->> '$.id' FROM json_each(?1))",
        ],
        Step::RemoveArchivedEntries => {
            &["DELETE FROM waitlist_entries_archive WHERE id IN (SELECT value ->> '$.id' FROM json_each(?1))"]
        }
        Step::PutEntries => &[
            "DELETE FROM waitlist_entries_archive WHERE id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "INSERT INTO waitlist_entries (id, sale, customer, state, place, lines, reference, joined_at, expires_at, ended_at,
                    reservation_id, passed_over_at, passed_over_code, tier, channel, region, labels, locations)
             SELECT value ->> '$.id', value ->> '$.sale', value ->> '$.customer', value ->> '$.state',
                    value ->> '$.place', value ->> '$.lines', value ->> '$.reference',
                    value ->> '$.joined_at', value ->> '$.expires_at', value ->> '$.ended_at',
                    value ->> '$.reservation_id', value ->> '$.passed_over_at',
                    value ->> '$.passed_over_code', value ->> '$.tier', value ->> '$.channel',
                    value ->> '$.region', value ->> '$.labels', value ->> '$.locations'
               FROM json_each(?1) WHERE true
             ON CONFLICT (id) DO UPDATE
                SET sale = excluded.sale, customer = excluded.customer, state = excluded.state,
                    place = excluded.place, lines = excluded.lines, reference = excluded.reference,
                    joined_at = excluded.joined_at, expires_at = excluded.expires_at,
                    ended_at = excluded.ended_at, reservation_id = excluded.reservation_id,
                    passed_over_at = excluded.passed_over_at, passed_over_code = excluded.passed_over_code,
                    tier = excluded.tier, channel = excluded.channel, region = excluded.region,
                    labels = excluded.labels, locations = excluded.locations",
        ],
        // Numbers are unique, and two rows may have each other's.
        Step::PutSales => &[
            "UPDATE sales SET number = -1 - number WHERE id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "INSERT INTO sales (id, number, name, opens_at, closes_at, hold_seconds, max_extensions, customer_limit, paused_at,
                    closed_at, created_at, updated_at)
             SELECT value ->> '$.id', value ->> '$.number', value ->> '$.name', value ->> '$.opens_at',
                    value ->> '$.closes_at', value ->> '$.hold_seconds', value ->> '$.max_extensions',
                    value ->> '$.customer_limit', value ->> '$.paused_at', value ->> '$.closed_at',
                    value ->> '$.created_at', value ->> '$.updated_at'
               FROM json_each(?1) WHERE true
             ON CONFLICT (id) DO UPDATE
                SET number = excluded.number, name = excluded.name, opens_at = excluded.opens_at,
                    closes_at = excluded.closes_at, hold_seconds = excluded.hold_seconds,
                    max_extensions = excluded.max_extensions, customer_limit = excluded.customer_limit,
                    paused_at = excluded.paused_at, closed_at = excluded.closed_at,
                    created_at = excluded.created_at, updated_at = excluded.updated_at",
        ],
        Step::PutItems => &[
            "UPDATE items SET number = -1 - number
              WHERE (sale, sku) IN (SELECT value ->> '$.sale', value ->> '$.sku' FROM json_each(?1))",
            "INSERT INTO items (sale, sku, number, initial_stock, stock, available, held, confirmed, price_amount,
                    price_currency, customer_limit, low_stock_at)
             SELECT value ->> '$.sale', value ->> '$.sku', value ->> '$.number', value ->> '$.initial_stock',
                    value ->> '$.stock', value ->> '$.available', value ->> '$.held', value ->> '$.confirmed',
                    value ->> '$.price_amount', value ->> '$.price_currency', value ->> '$.customer_limit',
                    value ->> '$.low_stock_at'
               FROM json_each(?1) WHERE true
             ON CONFLICT (sale, sku) DO UPDATE
                SET number = excluded.number, initial_stock = excluded.initial_stock, stock = excluded.stock,
                    available = excluded.available, held = excluded.held, confirmed = excluded.confirmed,
                    price_amount = excluded.price_amount, price_currency = excluded.price_currency,
                    customer_limit = excluded.customer_limit, low_stock_at = excluded.low_stock_at",
        ],
        Step::PutItemHistory => &["
            UPDATE items SET sold_out_at = put.sold_out_at, confirmed_before = put.confirmed_before
              FROM (SELECT value ->> '$.sale' AS sale, value ->> '$.sku' AS sku, value ->> '$.sold_out_at' AS sold_out_at,
                           value ->> '$.confirmed_before' AS confirmed_before
                      FROM json_each(?1)) AS put
             WHERE items.sale = put.sale AND items.sku = put.sku"],
        Step::PutPools => &[
            "UPDATE pools SET number = -1 - number
              WHERE (sale, sku, pool) IN (SELECT value ->> '$.sale', value ->> '$.sku', value ->> '$.pool' FROM json_each(?1))",
            "INSERT INTO pools (sale, sku, pool, number, position, location, initial_stock, stock, available, held, confirmed,
                    price_amount, price_currency, tiers, channels, shared_at)
             SELECT value ->> '$.sale', value ->> '$.sku', value ->> '$.pool', value ->> '$.number',
                    value ->> '$.position', value ->> '$.location', value ->> '$.initial_stock', value ->> '$.stock',
                    value ->> '$.available', value ->> '$.held', value ->> '$.confirmed', value ->> '$.price_amount',
                    value ->> '$.price_currency', value ->> '$.tiers', value ->> '$.channels', value ->> '$.shared_at'
               FROM json_each(?1) WHERE true
             ON CONFLICT (sale, sku, pool) DO UPDATE
                SET number = excluded.number, position = excluded.position, location = excluded.location,
                    initial_stock = excluded.initial_stock, stock = excluded.stock, available = excluded.available,
                    held = excluded.held, confirmed = excluded.confirmed, price_amount = excluded.price_amount,
                    price_currency = excluded.price_currency, tiers = excluded.tiers, channels = excluded.channels,
                    shared_at = excluded.shared_at",
        ],
        Step::PutPoolHistory => &["
            UPDATE pools SET confirmed_before = put.confirmed_before
              FROM (SELECT value ->> '$.sale' AS sale, value ->> '$.sku' AS sku, value ->> '$.pool' AS pool,
                           value ->> '$.confirmed_before' AS confirmed_before
                      FROM json_each(?1)) AS put
             WHERE pools.sale = put.sale AND pools.sku = put.sku AND pools.pool = put.pool"],
        Step::PutReservations => &[
            "DELETE FROM reservation_lines_archive WHERE reservation_id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "DELETE FROM reservations_archive WHERE id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "INSERT INTO reservations (id, sale, customer, state, reference, created_at, expires_at, extensions, confirmed_at,
                    released_at, expired_at, cancelled_at, late, release_reason, cancel_reason, tier, channel, region,
                    labels, short, group_id, group_size, group_state, waitlist_entry)
             SELECT value ->> '$.id', value ->> '$.sale', value ->> '$.customer', value ->> '$.state',
                    value ->> '$.reference', value ->> '$.created_at', value ->> '$.expires_at',
                    value ->> '$.extensions', value ->> '$.confirmed_at', value ->> '$.released_at',
                    value ->> '$.expired_at', value ->> '$.cancelled_at', value ->> '$.late',
                    value ->> '$.release_reason', value ->> '$.cancel_reason', value ->> '$.tier',
                    value ->> '$.channel', value ->> '$.region', value ->> '$.labels', value ->> '$.short',
                    value ->> '$.group_id', value ->> '$.group_size', value ->> '$.group_state',
                    value ->> '$.waitlist_entry'
               FROM json_each(?1) WHERE true
             ON CONFLICT (id) DO UPDATE
                SET sale = excluded.sale, customer = excluded.customer, state = excluded.state,
                    reference = excluded.reference, created_at = excluded.created_at,
                    expires_at = excluded.expires_at, extensions = excluded.extensions,
                    confirmed_at = excluded.confirmed_at, released_at = excluded.released_at,
                    expired_at = excluded.expired_at, cancelled_at = excluded.cancelled_at, late = excluded.late,
                    release_reason = excluded.release_reason, cancel_reason = excluded.cancel_reason,
                    tier = excluded.tier, channel = excluded.channel, region = excluded.region,
                    labels = excluded.labels, short = excluded.short, group_id = excluded.group_id,
                    group_size = excluded.group_size, group_state = excluded.group_state,
                    waitlist_entry = excluded.waitlist_entry",
            "DELETE FROM reservation_lines WHERE reservation_id IN (SELECT value ->> '$.id' FROM json_each(?1))",
            "INSERT INTO reservation_lines (reservation_id, line, sku, pool, quantity, returned, cancelled, price_amount,
                    price_currency)
             SELECT row.value ->> '$.id', line.value ->> '$.line', line.value ->> '$.sku', line.value ->> '$.pool',
                    line.value ->> '$.quantity', line.value ->> '$.returned', line.value ->> '$.cancelled',
                    line.value ->> '$.price_amount', line.value ->> '$.price_currency'
               FROM json_each(?1) AS row, json_each(row.value, '$.lines') AS line",
        ],
        Step::ReplaceMovements => &[
            "DELETE FROM stock_movements WHERE id IN (
               SELECT id
                 FROM (SELECT movement.id, value ->> '$.keep' AS keep,
                              row_number() OVER (PARTITION BY movement.sale, movement.sku, movement.pool
                                                     ORDER BY movement.id) AS place
                         FROM json_each(?1) JOIN stock_movements AS movement
                           ON movement.sale = value ->> '$.sale' AND movement.sku = value ->> '$.sku'
                              AND movement.pool = value ->> '$.pool')
                WHERE place > keep)",
            "INSERT INTO stock_movements (sale, sku, pool, delta, reason, reference, at, stock_after, available_after, other_pool,
                    reservation_id)
             SELECT pool.value ->> '$.sale', pool.value ->> '$.sku', pool.value ->> '$.pool', movement.value ->> '$.delta',
                    movement.value ->> '$.reason', movement.value ->> '$.reference', movement.value ->> '$.at',
                    movement.value ->> '$.stock_after', movement.value ->> '$.available_after',
                    movement.value ->> '$.other_pool', movement.value ->> '$.reservation_id'
               FROM json_each(?1) AS pool, json_each(pool.value, '$.movements') AS movement
              ORDER BY pool.key, movement.key",
        ],
        Step::AddConfirmedBefore => &[
            "UPDATE items SET confirmed_before = confirmed_before + change.delta
              FROM (SELECT value ->> '$.sale' AS sale, value ->> '$.sku' AS sku, value ->> '$.delta' AS delta
                      FROM json_each(?1) WHERE value ->> '$.pool' IS NULL) AS change
             WHERE items.sale = change.sale AND items.sku = change.sku AND confirmed_before + change.delta >= 0",
            "UPDATE pools SET confirmed_before = confirmed_before + change.delta
              FROM (SELECT value ->> '$.sale' AS sale, value ->> '$.sku' AS sku, value ->> '$.pool' AS pool,
                           value ->> '$.delta' AS delta
                      FROM json_each(?1)) AS change
             WHERE pools.sale = change.sale AND pools.sku = change.sku AND pools.pool = change.pool
               AND confirmed_before + change.delta >= 0",
        ],
        Step::RemoveAudit => &[
            "DELETE FROM audit WHERE sequence IN (SELECT value ->> '$.sequence' FROM json_each(?1))",
            "DELETE FROM audit_archive WHERE sequence IN (SELECT value ->> '$.sequence' FROM json_each(?1))",
        ],
        Step::PutAudit => &[
            "DELETE FROM audit WHERE sequence IN (SELECT value ->> '$.sequence' FROM json_each(?1))",
            "DELETE FROM audit_archive WHERE sequence IN (SELECT value ->> '$.sequence' FROM json_each(?1))",
            "INSERT INTO audit (sequence, at, actor, action, sale, sku, detail, hash)
             SELECT value ->> '$.sequence', value ->> '$.at', value ->> '$.actor', value ->> '$.action',
                    value ->> '$.sale', value ->> '$.sku', value ->> '$.detail', value ->> '$.hash'
               FROM json_each(?1)",
        ],
        Step::PutGaps => &[
            "DELETE FROM audit_gaps WHERE ?1 IS NOT NULL",
            "INSERT INTO audit_gaps (after_sequence, through_sequence, hash)
             SELECT value ->> '$.after', value ->> '$.through', value ->> '$.hash' FROM json_each(?1)",
        ],
        Step::PutWriteBehind => &["
            UPDATE write_behind SET updated_at = put.updated_at, kept_from = put.kept_from, format = put.format
              FROM (SELECT value ->> '$.updated_at' AS updated_at, value ->> '$.kept_from' AS kept_from,
                           value ->> '$.format' AS format
                      FROM json_each(?1)) AS put"],
    }
}
