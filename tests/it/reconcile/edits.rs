//! Kinds of changes by hand: for each, what is found, and that the repair makes every row what it was.
//!
//! Each table, each of its columns that follows from the journal, missing and invented rows. What `found` names is a table and a
//! column of a difference; an empty column is a row as a whole.

use serde_json::json;

use super::{
    Place, Store, cap, lives,
    repairing::{everything_is_in_the_store, stop},
    short_of_caps,
};
use crate::{
    served::{Ask, open_sale, process::Process, reserve_body, wait_until},
    support::postgres::Sql,
};

struct Kind {
    name: &'static str,
    sql: &'static str,
    found: (&'static str, &'static str),
}

const fn kind(name: &'static str, sql: &'static str, table: &'static str, column: &'static str) -> Kind {
    Kind { name, sql, found: (table, column) }
}

/// Retention's work by hand: what was over is in the archive. It is no difference.
const ARCHIVED: &str = "
    INSERT INTO reservations_archive SELECT * FROM reservations WHERE id = '{sold}';
    INSERT INTO reservation_lines_archive SELECT * FROM reservation_lines WHERE reservation_id = '{sold}';
    DELETE FROM reservation_lines WHERE reservation_id = '{sold}';
    DELETE FROM reservations WHERE id = '{sold}';
    INSERT INTO audit_archive SELECT * FROM audit WHERE sequence <= 2;
    DELETE FROM audit WHERE sequence <= 2;";

/// Takes that back.
const NOT_ARCHIVED: &str = "
    INSERT INTO reservations SELECT * FROM reservations_archive;
    INSERT INTO reservation_lines SELECT * FROM reservation_lines_archive;
    DELETE FROM reservation_lines_archive;
    DELETE FROM reservations_archive;
    INSERT INTO audit SELECT * FROM audit_archive;
    DELETE FROM audit_archive";

const GHOST: &str = "
    INSERT INTO reservations (id, sale, customer, state, created_at, expires_at, extensions, confirmed_at, released_at)
    SELECT '{ghost}', sale, customer, ";

const KINDS: &[Kind] = &[
    kind("a sale's name", "UPDATE sales SET name = 'Another' WHERE id = 'drop'", "sales", "name"),
    kind("a sale's number", "UPDATE sales SET number = 77 WHERE id = 'drop'", "sales", "number"),
    kind(
        "the numbers of two sales",
        "UPDATE sales SET number = -5 WHERE id = 'drop'; UPDATE sales SET number = 0 WHERE id = 'second';
         UPDATE sales SET number = 1 WHERE id = 'drop'",
        "sales",
        "number",
    ),
    kind("when a sale opens", "UPDATE sales SET opens_at = created_at WHERE id = 'drop'", "sales", "opens_at"),
    kind("when a sale closes", "UPDATE sales SET closes_at = '2030-01-01T00:00:00.000Z'", "sales", "closes_at"),
    kind("a sale's hold time", "UPDATE sales SET hold_seconds = 7 WHERE id = 'drop'", "sales", "hold_seconds"),
    kind("a sale's extensions", "UPDATE sales SET max_extensions = 7 WHERE id = 'drop'", "sales", "max_extensions"),
    kind("a sale's limit", "UPDATE sales SET customer_limit = 7 WHERE id = 'drop'", "sales", "customer_limit"),
    kind("a pause", "UPDATE sales SET paused_at = updated_at WHERE id = 'drop'", "sales", "paused_at"),
    kind("no pause", "UPDATE sales SET paused_at = NULL WHERE id = 'third'", "sales", "paused_at"),
    kind("when a sale was paused", "UPDATE sales SET paused_at = created_at WHERE id = 'third'", "sales", "paused_at"),
    kind("a close", "UPDATE sales SET closed_at = updated_at WHERE id = 'drop'", "sales", "closed_at"),
    kind("when a sale was closed", "UPDATE sales SET closed_at = opens_at WHERE id = 'second'", "sales", "closed_at"),
    kind("when a sale was made", "UPDATE sales SET created_at = opens_at WHERE id = 'drop'", "sales", "created_at"),
    kind("when a sale changed", "UPDATE sales SET updated_at = opens_at WHERE id = 'drop'", "sales", "updated_at"),
    kind("a sale is deleted", "DELETE FROM sales WHERE id = 'second'", "sales", ""),
    kind(
        "a sale is invented",
        "INSERT INTO sales (id, number, name, opens_at, closes_at, hold_seconds, created_at, updated_at)
         SELECT 'ghost', 99, name, opens_at, closes_at, hold_seconds, created_at, updated_at FROM sales WHERE id = 'drop'",
        "sales",
        "",
    ),
    kind("an item's number", "UPDATE items SET number = 77 WHERE sku = 'tv'", "items", "number"),
    kind("an item's first stock", "UPDATE items SET initial_stock = 7 WHERE sku = 'tv'", "items", "initial_stock"),
    kind("an item's stock", "UPDATE items SET stock = stock + 1, available = available + 1 WHERE sku = 'mat'", "items", "stock"),
    kind("what is available", "UPDATE items SET available = available - 1, held = held + 1 WHERE sku = 'mat'", "items", "available"),
    kind("what is held", "UPDATE items SET held = held - 1, confirmed = confirmed + 1 WHERE sku = 'mat'", "items", "held"),
    kind("what is confirmed", "UPDATE items SET confirmed = confirmed + 1, available = available - 1 WHERE sku = 'tv'", "items", "confirmed"),
    kind("a price", "UPDATE items SET price_amount = 1 WHERE sku = 'tv'", "items", "price_amount"),
    kind("a price where there is none", "UPDATE items SET price_amount = 1 WHERE sku = 'mat'", "items", "price_amount"),
    kind("a currency", "UPDATE items SET price_currency = 'USD' WHERE sku = 'tv'", "items", "price_currency"),
    kind("an item's limit", "UPDATE items SET customer_limit = NULL WHERE sku = 'mat'", "items", "customer_limit"),
    kind("that an item sold out", "UPDATE items SET sold_out_at = NULL WHERE sku = 'pin'", "items", "sold_out_at"),
    kind("when an item sold out", "UPDATE items SET sold_out_at = '2026-01-01T00:00:00.000Z' WHERE sku = 'pin'", "items", "sold_out_at"),
    kind("that an item sold out that did not", "UPDATE items SET sold_out_at = '2026-01-01T00:00:00.000Z' WHERE sku = 'tv'", "items", "sold_out_at"),
    kind("units confirmed before", "UPDATE items SET confirmed_before = 1 WHERE sku = 'tv'", "items", "confirmed_before"),
    kind("an item is deleted", "DELETE FROM items WHERE sku = 'mat'", "items", ""),
    kind(
        "an item is invented",
        "INSERT INTO items (sale, sku, number, initial_stock, stock, available, held, confirmed)
         VALUES ('drop', 'ghost', 99, 5, 5, 5, 0, 0)",
        "items",
        "",
    ),
    kind("a pool's number", "UPDATE pools SET number = 77 WHERE sku = 'tv'", "pools", "number"),
    kind(
        "the numbers of two pools",
        "UPDATE pools SET number = -5 WHERE sku = 'tv'; UPDATE pools SET number = 0 WHERE sku = 'mat';
         UPDATE pools SET number = 1 WHERE sku = 'tv'",
        "pools",
        "number",
    ),
    kind("a pool's place", "UPDATE pools SET position = 7 WHERE pool = 'members'", "pools", "position"),
    kind("where a pool is", "UPDATE pools SET location = 'rome' WHERE pool = 'members'", "pools", "location"),
    kind("that a pool is nowhere", "UPDATE pools SET location = NULL WHERE pool = 'members'", "pools", "location"),
    kind("a pool's first stock", "UPDATE pools SET initial_stock = 7 WHERE pool = 'members'", "pools", "initial_stock"),
    kind("a pool's stock", "UPDATE pools SET stock = stock + 1, available = available + 1 WHERE pool = 'members'", "pools", "stock"),
    kind("what is available of a pool", "UPDATE pools SET available = available - 1, held = held + 1 WHERE sku = 'mat'", "pools", "available"),
    kind("what is held of a pool", "UPDATE pools SET held = held - 1, confirmed = confirmed + 1 WHERE sku = 'mat'", "pools", "held"),
    kind("what is confirmed of a pool", "UPDATE pools SET confirmed = confirmed + 1, available = available - 1 WHERE sku = 'tv'", "pools", "confirmed"),
    kind("a pool's price", "UPDATE pools SET price_amount = 1 WHERE pool = 'members'", "pools", "price_amount"),
    kind("a pool's currency", "UPDATE pools SET price_currency = 'USD' WHERE sku = 'tv'", "pools", "price_currency"),
    kind("a pool's tiers", "UPDATE pools SET tiers = '[\"silver\"]' WHERE pool = 'members'", "pools", "tiers"),
    kind("a pool's channels", "UPDATE pools SET channels = '[]' WHERE pool = 'members'", "pools", "channels"),
    kind("when a pool is shared", "UPDATE pools SET shared_at = NULL WHERE pool = 'members'", "pools", "shared_at"),
    kind("units of a pool confirmed before", "UPDATE pools SET confirmed_before = 1 WHERE sku = 'tv'", "pools", "confirmed_before"),
    kind("a pool is deleted", "DELETE FROM pools WHERE pool = 'members'", "pools", ""),
    kind(
        "a pool is invented",
        "INSERT INTO pools (sale, sku, pool, number, position, initial_stock, stock, available, held, confirmed)
         VALUES ('drop', 'tv', 'ghost', 99, 2, 5, 5, 5, 0, 0)",
        "pools",
        "",
    ),
    kind("whose pool's movement it is", "UPDATE stock_movements SET pool = 'default' WHERE pool = 'members' AND reason = 'initial'", "stock_movements", ""),
    kind("where units were transferred to", "UPDATE stock_movements SET other_pool = NULL WHERE pool = 'members'", "stock_movements", "other_pool"),
    kind("a movement", "UPDATE stock_movements SET delta = delta + 1 WHERE reason = 'found'", "stock_movements", "delta"),
    kind(
        "two movements with the same sum",
        "UPDATE stock_movements SET delta = delta + 1 WHERE reason = 'found';
         UPDATE stock_movements SET delta = delta - 1 WHERE reason = 'broken'",
        "stock_movements",
        "delta",
    ),
    kind("a movement's reason", "UPDATE stock_movements SET reason = 'theft' WHERE reason = 'found'", "stock_movements", "reason"),
    kind("a movement's reference", "UPDATE stock_movements SET reference = 'x' WHERE reason = 'found'", "stock_movements", "reference"),
    kind("a movement's time", "UPDATE stock_movements SET at = '2026-01-01T00:00:00.000Z' WHERE reason = 'found'", "stock_movements", "at"),
    kind("the time of an item's first stock", "UPDATE stock_movements SET at = '2026-01-01T00:00:00.000Z' WHERE reason = 'initial' AND sku = 'tv'", "stock_movements", "at"),
    kind("stock after a movement", "UPDATE stock_movements SET stock_after = 7 WHERE reason = 'found'", "stock_movements", "stock_after"),
    kind("available after a movement", "UPDATE stock_movements SET available_after = 7 WHERE reason = 'found'", "stock_movements", "available_after"),
    kind("whose movement it is", "UPDATE stock_movements SET sku = 'tv' WHERE reason = 'found'", "stock_movements", ""),
    kind("a movement is deleted", "DELETE FROM stock_movements WHERE reason = 'broken'", "stock_movements", ""),
    kind("all movements are deleted", "DELETE FROM stock_movements", "stock_movements", ""),
    kind(
        "a movement of nothing is invented",
        "INSERT INTO stock_movements (sale, sku, pool, delta, reason, at, stock_after, available_after)
         SELECT sale, sku, pool, 0, 'ghost', at, stock_after, available_after FROM stock_movements WHERE reason = 'found'",
        "stock_movements",
        "",
    ),
    kind(
        "a movement of no item is invented",
        "INSERT INTO stock_movements (sale, sku, pool, delta, reason, at, stock_after, available_after)
         SELECT sale, 'ghost', pool, 1, 'ghost', at, 1, 1 FROM stock_movements WHERE reason = 'found'",
        "stock_movements",
        "",
    ),
    kind("a reservation's sale", "UPDATE reservations SET sale = 'second' WHERE id = '{held}'", "reservations", "sale"),
    kind("whose reservation it is", "UPDATE reservations SET customer = 'mallory' WHERE id = '{held}'", "reservations", "customer"),
    kind("that a customer was erased", "UPDATE reservations SET customer = 'eve' WHERE id = '{erased}'", "reservations", "customer"),
    kind("a hold becomes confirmed", "UPDATE reservations SET state = 'confirmed', confirmed_at = created_at WHERE id = '{held}'", "reservations", "state"),
    kind("a confirmed one becomes a hold", "UPDATE reservations SET state = 'held', confirmed_at = NULL WHERE id = '{sold}'", "reservations", "state"),
    kind("a released one becomes expired", "UPDATE reservations SET state = 'expired', expired_at = released_at, released_at = NULL WHERE id = '{released}'", "reservations", "state"),
    kind("a cart's reference", "UPDATE reservations SET reference = 'x' WHERE id = '{held}'", "reservations", "reference"),
    kind("an order's reference", "UPDATE reservations SET reference = 'x' WHERE id = '{sold}'", "reservations", "reference"),
    kind("when it was made", "UPDATE reservations SET created_at = '2026-01-01T00:00:00.000Z' WHERE id = '{sold}'", "reservations", "created_at"),
    kind("when it expires", "UPDATE reservations SET expires_at = created_at WHERE id = '{held}'", "reservations", "expires_at"),
    kind("how often it was extended", "UPDATE reservations SET extensions = 0 WHERE id = '{held}'", "reservations", "extensions"),
    kind("when it was confirmed", "UPDATE reservations SET confirmed_at = expires_at WHERE id = '{sold}'", "reservations", "confirmed_at"),
    kind("when it was released", "UPDATE reservations SET released_at = expires_at WHERE id = '{released}'", "reservations", "released_at"),
    kind("when it expired", "UPDATE reservations SET expired_at = created_at WHERE id = '{expired}'", "reservations", "expired_at"),
    kind("when it was cancelled", "UPDATE reservations SET cancelled_at = expires_at WHERE id = '{cancelled}'", "reservations", "cancelled_at"),
    kind("a cancelled one becomes confirmed", "UPDATE reservations SET state = 'confirmed', cancelled_at = NULL WHERE id = '{cancelled}'", "reservations", "state"),
    kind("that it was late", "UPDATE reservations SET late = NOT late WHERE id = '{late}'", "reservations", "late"),
    kind("that it was late that was not", "UPDATE reservations SET late = NOT late WHERE id = '{sold}'", "reservations", "late"),
    kind(
        "a late one becomes expired",
        "UPDATE reservations SET state = 'expired', expired_at = confirmed_at, confirmed_at = NULL, late = NOT late WHERE id = '{late}'",
        "reservations",
        "state",
    ),
    kind("why some of it was cancelled", "UPDATE reservations SET cancel_reason = 'x' WHERE id = '{parts}'", "reservations", "cancel_reason"),
    kind("why it was cancelled", "UPDATE reservations SET cancel_reason = NULL WHERE id = '{cancelled}'", "reservations", "cancel_reason"),
    kind("why it was released", "UPDATE reservations SET release_reason = 'x' WHERE id = '{released}'", "reservations", "release_reason"),
    kind("why it was released that was not", "UPDATE reservations SET release_reason = 'x' WHERE id = '{sold}'", "reservations", "release_reason"),
    kind(
        "a hold is deleted with its lines",
        "DELETE FROM reservation_lines WHERE reservation_id = '{held}'; DELETE FROM reservations WHERE id = '{held}'",
        "reservations",
        "",
    ),
    kind(
        "a released one is deleted with its lines",
        "DELETE FROM reservation_lines WHERE reservation_id = '{released}'; DELETE FROM reservations WHERE id = '{released}'",
        "reservations",
        "",
    ),
    kind("a confirmed one is deleted without its lines", "DELETE FROM reservations WHERE id = '{sold}'", "reservation_lines", ""),
    kind("all reservations are deleted", "DELETE FROM reservation_lines; DELETE FROM reservations", "reservations", ""),
    kind("a hold is invented", "{GHOST} 'held', created_at, expires_at, 0, NULL, NULL FROM reservations WHERE id = '{held}'", "reservations", ""),
    kind(
        "a released one is invented",
        "{GHOST} 'released', created_at, expires_at, 0, NULL, created_at FROM reservations WHERE id = '{held}'",
        "reservations",
        "",
    ),
    kind(
        "a confirmed one is invented",
        "{GHOST} 'confirmed', created_at, expires_at, 0, created_at, NULL FROM reservations WHERE id = '{held}';
         INSERT INTO reservation_lines (reservation_id, line, sku, pool, quantity) VALUES ('{ghost}', 1, 'tv', 'default', 1)",
        "reservations",
        "",
    ),
    kind("a line's units", "UPDATE reservation_lines SET quantity = 1 WHERE reservation_id = '{held}' AND sku = 'mat'", "reservations", "lines"),
    kind("what was returned of a line", "UPDATE reservation_lines SET returned = 0 WHERE reservation_id = '{parts}'", "reservations", "lines"),
    kind("what was cancelled of a line", "UPDATE reservation_lines SET cancelled = 0 WHERE reservation_id = '{parts}'", "reservations", "lines"),
    kind("what was cancelled of a cancelled one", "UPDATE reservation_lines SET cancelled = 0 WHERE reservation_id = '{cancelled}'", "reservations", "lines"),
    kind("a line's number", "UPDATE reservation_lines SET line = 7 WHERE reservation_id = '{parts}'", "reservations", "lines"),
    kind("what was cancelled of an archived line", "{ARCHIVED} UPDATE reservation_lines_archive SET cancelled = 1", "reservations", "lines"),
    kind("whose units left the sale", "UPDATE stock_movements SET reservation_id = NULL WHERE reason = 'damaged'", "stock_movements", "reservation_id"),
    kind("whose units came", "UPDATE stock_movements SET reservation_id = '{sold}' WHERE reason = 'found'", "stock_movements", "reservation_id"),
    kind("the reference of a refused confirmation", "UPDATE refused_confirmations SET reference = 'x' WHERE reservation_id = '{parts}'", "refused_confirmations", "reference"),
    kind("why a confirmation was refused", "UPDATE refused_confirmations SET cause = 'stock' WHERE reservation_id = '{parts}'", "refused_confirmations", "cause"),
    kind("in which sale it was refused", "UPDATE refused_confirmations SET sale = 'second' WHERE reservation_id = '{parts}'", "refused_confirmations", "sale"),
    kind("when it was refused", "UPDATE refused_confirmations SET at = '2026-01-01T00:00:00.000Z' WHERE reservation_id = '{parts}'", "refused_confirmations", ""),
    kind("whose confirmation was refused", "UPDATE refused_confirmations SET reservation_id = '{held}' WHERE reservation_id = '{parts}'", "refused_confirmations", ""),
    kind("a refused confirmation is deleted", "DELETE FROM refused_confirmations WHERE reservation_id = '{released}'", "refused_confirmations", ""),
    kind(
        "a refused confirmation is invented",
        "INSERT INTO refused_confirmations (reservation_id, sale, at, reference, cause)
         SELECT reservation_id, sale, at, 'ghost', cause FROM refused_confirmations WHERE reservation_id = '{parts}'",
        "refused_confirmations",
        "",
    ),
    kind("a line's item", "UPDATE reservation_lines SET sku = 'pin' WHERE reservation_id = '{held}' AND sku = 'mat'", "reservations", "lines"),
    kind("a line's price", "UPDATE reservation_lines SET price_amount = 1 WHERE reservation_id = '{held}' AND sku = 'tv'", "reservations", "lines"),
    kind("half a price of a line", "UPDATE reservation_lines SET price_amount = 1 WHERE reservation_id = '{held}' AND sku = 'mat'", "reservations", "lines"),
    kind("a line's currency", "UPDATE reservation_lines SET price_currency = 'USD' WHERE reservation_id = '{held}' AND sku = 'tv'", "reservations", "lines"),
    kind("where a line's units come from", "UPDATE reservation_lines SET pool = 'ghost' WHERE reservation_id = '{short}' AND pool = 'default'", "reservations", "lines"),
    kind("that a line has two pools", "DELETE FROM reservation_lines WHERE reservation_id = '{short}' AND pool = 'default'", "reservations", "lines"),
    kind("a tier", "UPDATE reservations SET tier = 'silver' WHERE id = '{short}'", "reservations", "tier"),
    kind("a channel", "UPDATE reservations SET channel = NULL WHERE id = '{short}'", "reservations", "channel"),
    kind("a region", "UPDATE reservations SET region = 'us' WHERE id = '{short}'", "reservations", "region"),
    kind("a label", "UPDATE reservations SET labels = '{}' WHERE id = '{short}'", "reservations", "labels"),
    kind("what it got less of", "UPDATE reservations SET short = NULL WHERE id = '{short}'", "reservations", "short"),
    kind("an archived one's tier", "{ARCHIVED} UPDATE reservations_archive SET tier = 'silver'", "reservations", "tier"),
    kind("a line is deleted", "DELETE FROM reservation_lines WHERE reservation_id = '{released}'", "reservations", "lines"),
    kind("a line is added", "INSERT INTO reservation_lines (reservation_id, line, sku, pool, quantity) VALUES ('{released}', 2, 'tv', 'default', 1)", "reservations", "lines"),
    kind("a line of nothing", "INSERT INTO reservation_lines (reservation_id, line, sku, pool, quantity) VALUES ('{ghost}', 1, 'tv', 'default', 1)", "reservation_lines", ""),
    kind("whose archived reservation it is", "{ARCHIVED} UPDATE reservations_archive SET customer = 'mallory'", "reservations", "customer"),
    kind("when an archived one was confirmed", "{ARCHIVED} UPDATE reservations_archive SET confirmed_at = expires_at", "reservations", "confirmed_at"),
    kind("an archived line's units", "{ARCHIVED} UPDATE reservation_lines_archive SET quantity = 99", "reservations", "lines"),
    kind("an archived one is deleted", "{ARCHIVED} DELETE FROM reservation_lines_archive; DELETE FROM reservations_archive", "reservations", ""),
    kind("archived lines stay behind", "{ARCHIVED} DELETE FROM reservations_archive", "reservation_lines", ""),
    kind(
        "an archived one is invented",
        "INSERT INTO reservations_archive (id, sale, customer, state, created_at, expires_at, extensions, released_at)
         SELECT '{ghost}', sale, customer, 'released', created_at, expires_at, 0, created_at FROM reservations WHERE id = '{held}'",
        "reservations",
        "",
    ),
    kind(
        "one stands in the archive as well",
        "INSERT INTO reservations_archive (id, sale, customer, state, created_at, expires_at, extensions, released_at)
         SELECT id, sale, customer, state, created_at, expires_at, extensions, released_at FROM reservations WHERE id = '{released}'",
        "reservations",
        "",
    ),
    kind("an archived line of nothing", "INSERT INTO reservation_lines_archive (reservation_id, line, sku, pool, quantity) VALUES ('{ghost}', 1, 'tv', 'default', 1)", "reservation_lines", ""),
    kind("when a record was made", "UPDATE audit SET at = '2026-01-01T00:00:00.000Z' WHERE sequence = 3", "audit", "at"),
    kind("who did it", "UPDATE audit SET actor = 'key:mallory' WHERE sequence = 3", "audit", "actor"),
    kind("what was done", "UPDATE audit SET action = 'sale.close' WHERE sequence = 3", "audit", "action"),
    kind("to which sale", "UPDATE audit SET sale = 'second' WHERE sequence = 1", "audit", "sale"),
    kind("to which item", "UPDATE audit SET sku = 'tv' WHERE sequence = 1", "audit", "sku"),
    kind("a record's detail", "UPDATE audit SET detail = '{}' WHERE sequence = 3", "audit", "detail"),
    kind("a record's hash", "UPDATE audit SET hash = (SELECT hash FROM audit WHERE sequence = 1) WHERE sequence = 3", "audit", "hash"),
    kind("an archived record", "{ARCHIVED} UPDATE audit_archive SET actor = 'key:mallory' WHERE sequence = 2", "audit", "actor"),
    kind("the first record is deleted", "DELETE FROM audit WHERE sequence = 1", "audit", ""),
    kind("a record is deleted", "DELETE FROM audit WHERE sequence = 3", "audit", ""),
    kind("the last record is deleted", "DELETE FROM audit WHERE sequence = (SELECT max(sequence) FROM audit)", "audit", ""),
    kind("all records are deleted", "DELETE FROM audit", "audit", ""),
    kind(
        "records are deleted and called a gap",
        "INSERT INTO audit_gaps SELECT 1, sequence, hash FROM audit WHERE sequence = 3; DELETE FROM audit WHERE sequence IN (2, 3)",
        "audit",
        "",
    ),
    kind(
        "all records are deleted and called a gap",
        "INSERT INTO audit_gaps SELECT 0, sequence, hash FROM audit WHERE sequence = (SELECT max(sequence) FROM audit);
         DELETE FROM audit",
        "audit",
        "",
    ),
    kind("a gap where there is none", "INSERT INTO audit_gaps SELECT 0, sequence, hash FROM audit WHERE sequence = 2", "audit_gaps", ""),
    kind(
        "a record is invented",
        "INSERT INTO audit (sequence, at, actor, action, detail, hash)
         SELECT 999, at, actor, action, detail, hash FROM audit WHERE sequence = 1",
        "audit",
        "",
    ),
    kind("a record stands in the archive as well", "INSERT INTO audit_archive SELECT * FROM audit WHERE sequence = 2", "audit", ""),
    kind("when the store changed", "UPDATE write_behind SET updated_at = '2026-01-01T00:00:00.000Z'", "write_behind", "updated_at"),
    kind("from when on rows are kept", "UPDATE write_behind SET kept_from = '2099-01-01T00:00:00.000Z'", "write_behind", "kept_from"),
    kind(
        "a confirmed one is deleted as if it was old",
        "UPDATE write_behind SET kept_from = '2099-01-01T00:00:00.000Z'; UPDATE items SET confirmed_before = 3 WHERE sku = 'mat';
         DELETE FROM reservation_lines WHERE reservation_id = '{sold}'; DELETE FROM reservations WHERE id = '{sold}'",
        "reservations",
        "",
    ),
    kind("the cursor is put back", "UPDATE write_behind SET cursor = 1", "sales", ""),
    kind("the cursor is deleted", "DELETE FROM write_behind", "write_behind", ""),
    kind(
        "everything is deleted",
        "DELETE FROM reservation_lines; DELETE FROM reservations; DELETE FROM stock_movements; DELETE FROM refused_confirmations; DELETE FROM pools; DELETE FROM items; DELETE FROM sales;
         DELETE FROM audit",
        "sales",
        "",
    ),
    kind(
        "everything is deleted, the cursor too",
        "DELETE FROM reservation_lines; DELETE FROM reservations; DELETE FROM stock_movements; DELETE FROM refused_confirmations; DELETE FROM pools; DELETE FROM items; DELETE FROM sales;
         DELETE FROM audit; DELETE FROM write_behind",
        "write_behind",
        "",
    ),
];

/// Every row of every table, as text, but for what says which process wrote it and the numbers of movements.
const CONTENT: &[&str] = &[
    "SELECT * FROM sales ORDER BY id",
    "SELECT * FROM items ORDER BY sale, sku",
    "SELECT * FROM pools ORDER BY sale, sku, pool",
    "SELECT sale, sku, pool, delta, reason, reference, at, stock_after, available_after, other_pool, reservation_id
       FROM stock_movements
      ORDER BY sale, sku, pool, id",
    "SELECT * FROM reservations ORDER BY id",
    "SELECT * FROM reservation_lines ORDER BY reservation_id, line",
    "SELECT reservation_id, sale, at, reference, cause FROM refused_confirmations ORDER BY reservation_id, at, reference",
    "SELECT * FROM waitlist_entries ORDER BY id",
    "SELECT * FROM waitlist_entries_archive",
    "SELECT * FROM reservations_archive",
    "SELECT * FROM reservation_lines_archive",
    "SELECT * FROM audit ORDER BY sequence",
    "SELECT * FROM audit_archive",
    "SELECT * FROM audit_gaps",
    "SELECT cursor, updated_at, format, owner, kept_from FROM write_behind",
];

impl Place {
    fn edit(&self, sql: &str) {
        match &self.store {
            Store::Sqlite => {
                let connection = rusqlite::Connection::open(self.data().join("store.db")).unwrap();
                connection.execute_batch(&format!("PRAGMA foreign_keys = off; {sql}")).unwrap();
            }
            Store::Postgres { url, .. } => {
                Sql::connect(url).run(&format!("SET session_replication_role = replica; {sql}"));
            }
        }
    }

    /// Archived rows that a repair wrote anew stand among the others again: where a row stands is retention's.
    pub fn content(&self) -> Vec<Vec<String>> {
        match &self.store {
            Store::Sqlite => {
                let connection = rusqlite::Connection::open(self.data().join("store.db")).unwrap();
                let rows_of = |sql: &&str| {
                    let mut statement = connection.prepare(sql).unwrap();
                    let columns = statement.column_count();
                    let row = |row: &rusqlite::Row<'_>| {
                        let cell = |index| row.get::<_, rusqlite::types::Value>(index).unwrap();
                        Ok((0..columns).map(|index| format!("{:?}", cell(index))).collect::<Vec<_>>().join("|"))
                    };
                    statement.query_map([], row).unwrap().collect::<Result<Vec<_>, _>>().unwrap()
                };
                CONTENT.iter().map(rows_of).collect()
            }
            Store::Postgres { url, .. } => {
                let sql = Sql::connect(url);
                let rows_of = |query: &&str| {
                    let query = format!("SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM ({query}) AS t");
                    sql.text(&query).lines().map(str::to_owned).collect()
                };
                CONTENT.iter().map(rows_of).collect()
            }
        }
    }
}

/// What the placeholders stand for.
fn lived(place: &Place) -> Vec<(&'static str, String)> {
    let mut process = Process::start(&place.data(), &place.settings());
    let mut client = process.client();
    let mut document = open_sale(json!([
        { "sku": "tv", "initial_stock": 1_000, "price": { "amount": 19_900, "currency": "EUR" } },
        { "sku": "mat", "initial_stock": 50, "customer_limit": 9 },
        { "sku": "pin", "initial_stock": 2 },
        cap(),
    ]));
    document["name"] = json!("The drop");
    document["late_confirm_seconds"] = json!(600);
    client.put("/v1/sales/drop", &document).success(201);
    client.put("/v1/sales/second", &open_sale(json!([{ "sku": "cup", "initial_stock": 3 }]))).success(201);
    client.put("/v1/sales/third", &open_sale(json!([{ "sku": "hat", "initial_stock": 3 }]))).success(201);
    let held = client.hold("drop", "ann", [("tv", 1), ("mat", 2)]);
    client.act(&held, "extend", json!({ "hold_seconds": 9000 })).reservation(200);
    let sold = client.hold("drop", "bob", [("mat", 3)]);
    client.act(&sold, "confirm", json!({ "reference": "order-7" })).reservation(200);
    let released = client.hold("drop", "cem", [("mat", 1)]);
    client.act(&released, "release", json!({ "reason": "too late" })).reservation(200);
    client.act(&released, "confirm", json!({ "reference": "pay-3" })).refused("already_released");
    let mut short = reserve_body("dee", [("mat", 1)]);
    short["hold_seconds"] = json!(1);
    let expired = client.post("/v1/sales/drop/reservations", &short).reservation(201);
    let [parts, cancelled, late] = lives(&mut client);
    let erased = client.hold("drop", "eve", [("mat", 1)]);
    assert_eq!(client.send(&Ask::new("DELETE", "/v1/customers/eve")).status, 200);
    client.hold("drop", "fay", [("pin", 2)]);
    for (delta, reason) in [(5, "found"), (-2, "broken")] {
        let adjustment = json!({ "delta": delta, "reason": reason, "reference": "count-1" });
        client.post("/v1/sales/drop/items/mat/adjustments", &adjustment).success(201);
    }
    let short = client.post("/v1/sales/drop/reservations", &short_of_caps()).reservation(201);
    client
        .post("/v1/sales/drop/items/cap/transfers", &json!({ "from": "members", "to": "default", "quantity": 1 }))
        .refused("insufficient_stock");
    client.post("/v1/sales/drop/items/cap/adjustments", &json!({ "pool": "default", "delta": 4 })).success(201);
    let transfer = json!({ "from": "default", "to": "members", "quantity": 3, "reason": "rebalance" });
    client.post("/v1/sales/drop/items/cap/transfers", &transfer).success(201);
    client.post_nothing("/v1/sales/third/pause").success(200);
    client.post_nothing("/v1/sales/second/close").success(200);
    let id = |reservation: &serde_json::Value| reservation["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/reservations/{}", id(&expired));
    wait_until("it expires", || client.get(&path).success(200)["state"] == "expired");
    everything_is_in_the_store(&process);
    stop(&mut process);
    vec![
        ("{held}", id(&held)),
        ("{sold}", id(&sold)),
        ("{released}", id(&released)),
        ("{expired}", id(&expired)),
        ("{erased}", id(&erased)),
        ("{short}", id(&short)),
        ("{parts}", id(&parts)),
        ("{cancelled}", id(&cancelled)),
        ("{late}", id(&late)),
        ("{ghost}", "0198c5f0-0000-7000-8000-000000000001".to_owned()),
    ]
}

fn every_kind_is_found_and_repaired(place: Place) {
    let names = lived(&place);
    let filled = |sql: &str| {
        let sql = sql.replace("{ARCHIVED}", ARCHIVED).replace("{GHOST}", GHOST);
        names.iter().fold(sql, |sql, (name, id)| sql.replace(name, id))
    };
    place.reconcile().is_equal();
    let before = place.content();
    // What retention does is no difference, and a repair that finds none leaves it.
    place.edit(&filled(ARCHIVED));
    place.reconcile().is_equal();
    place.edit(&filled("UPDATE reservations_archive SET extensions = 1"));
    assert_eq!(place.say(&["reconcile", "--repair", "--json"]).code, Some(0));
    place.edit(NOT_ARCHIVED);
    assert_eq!(place.content(), before);

    for Kind { name, sql, found } in KINDS {
        let sql = filled(sql);
        place.edit(&sql);
        let said = place.reconcile();
        let told = said.differences();
        assert_eq!(said.code, Some(1), "{name}: {} {}", said.report, said.stderr);
        let is_told = told.iter().any(|[table, _, column]| (table.as_str(), column.as_str()) == *found);
        assert!(is_told, "{name}: {found:?} is not in {told:?}");
        let repaired = place.say(&["reconcile", "--repair", "--json"]);
        assert_eq!(repaired.code, Some(0), "{name}: {} {}", repaired.report, repaired.stderr);
        assert_eq!(repaired.report["left"]["differences_total"], json!(0), "{name}");
        place.reconcile().is_equal();
        if sql.contains("_archive") {
            place.edit(NOT_ARCHIVED);
        }
        assert_eq!(place.content(), before, "{name}");
    }
    // Whose the store is, and that it is of a later journal: nothing is touched.
    place.edit("UPDATE write_behind SET cursor = cursor + 1000");
    for arguments in [&["reconcile", "--json"][..], &["reconcile", "--repair", "--json"]] {
        let said = place.say(arguments);
        assert_eq!(said.code, Some(3), "{}", said.report);
        assert!(said.stderr.contains("the data directory is older than its store"), "{}", said.stderr);
    }
    place.edit("UPDATE write_behind SET cursor = cursor - 1000");
    place.edit("UPDATE write_behind SET owner = '0198c5f0-0000-4000-8000-000000000001'");
    let said = place.reconcile();
    assert_eq!((said.code, said.differences()), (Some(1), vec![["write_behind", "", "owner"].map(str::to_owned)]));
    let said = place.say(&["reconcile", "--repair", "--json"]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("belongs to the data directory"), "{}", said.stderr);
}

#[test]
fn in_sqlite_every_kind_of_edit_is_found_and_repaired() {
    assert!(KINDS.len() >= 60);
    every_kind_is_found_and_repaired(Place::sqlite());
}

#[test]
fn in_postgres_every_kind_of_edit_is_found_and_repaired() {
    every_kind_is_found_and_repaired(Place::postgres());
}
