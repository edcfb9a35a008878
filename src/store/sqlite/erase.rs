//! Removes erased customers from rows older than the window.
//!
//! `secure_delete` has SQLite overwrite what it deletes or replaces. It does not reach copies that SQLite left in the unused part of a
//! page when it laid the page out anew. Nearly all of them are older than the erasure: they were left when a row was written or grew.
//! Overwriting the texts first, in place, left 16 of 17 such copies (54 stores, 93,000 texts), so it is not done; a vacuum removes
//! all of them.

use rusqlite::{OptionalExtension, Transaction};

use crate::store::{
    error::StoreError,
    fold::{Erasures, Window},
};

const CUSTOMER_OF: &str = "SELECT customer FROM reservations WHERE id = ?1";

/// Without an index on the customer this reads the tables, once for all customers of the window.
const THEIRS: &str = "
    SELECT id FROM reservations WHERE customer IN (SELECT value FROM json_each(?1))
    UNION ALL
    SELECT id FROM reservations_archive WHERE customer IN (SELECT value FROM json_each(?1))
    UNION ALL
    SELECT id FROM waitlist_entries WHERE customer IN (SELECT value FROM json_each(?1))
    UNION ALL
    SELECT id FROM waitlist_entries_archive WHERE customer IN (SELECT value FROM json_each(?1))";

/// What of each table goes; `id`: the reservation or the waitlist entry.
const TEXTS: [(&str, &str, &[&str]); 6] = [
    ("reservations", "id", &["reference", "release_reason", "cancel_reason", "labels"]),
    ("reservations_archive", "id", &["reference", "release_reason", "cancel_reason", "labels"]),
    ("waitlist_entries", "id", &["reference", "labels"]),
    ("waitlist_entries_archive", "id", &["reference", "labels"]),
    ("refused_confirmations", "reservation_id", &["reference"]),
    ("stock_movements", "reservation_id", &["reason"]),
];

/// Says how many rows it changed, and where the customers of reservations were erased of which the window tells texts: earlier
/// ones must not be written.
pub(super) fn customers(transaction: &Transaction<'_>, window: &Window) -> Result<(u64, Erasures), StoreError> {
    let (mut rows, mut erasures) = (0, Erasures::new());
    if window.erased().is_empty() {
        return Ok((rows, erasures));
    }
    let mut customer_of = transaction.prepare_cached(CUSTOMER_OF)?;
    for id in window.doubtful() {
        let customer: Option<String> = customer_of.query_row([id.to_string()], |row| row.get(0)).optional()?;
        if let Some(erased_at) = customer.and_then(|customer| window.erased_at(&customer)) {
            erasures.insert(id, erased_at);
        }
    }
    let list = |texts: &[&str]| serde_json::to_string(texts).expect("a list of texts");
    let customers: Vec<&str> = window.erased().keys().map(|customer| customer.as_str()).collect();
    let mut theirs = transaction.prepare_cached(THEIRS)?;
    let ids = theirs.query_map([list(&customers)], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let ids = list(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    for (table, id, texts) in TEXTS {
        let mut changes: Vec<String> = texts.iter().map(|text| format!("{text} = NULL")).collect();
        if id == "id" {
            // The words of `erased_customer`.
            changes.push("customer = 'erased-' || id".to_owned());
        }
        let these = format!("{id} IN (SELECT value FROM json_each(?1))");
        let erase = format!("UPDATE {table} SET {} WHERE {these}", changes.join(", "));
        rows += transaction.prepare_cached(&erase)?.execute([&ids])? as u64;
    }
    Ok((rows, erasures))
}
