//! The JSON of a page of the audit trail. What its records say is told in `docs/audit.md`.

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::report::AsOf;
use crate::{
    events::{Cursor, ViewCursors},
    reports::Read,
    store::{AuditRow, TrailPage},
};

/// What operators did, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditTrail)]
pub struct TrailBody<'a> {
    /// How far the store was that the page was read from: it lags behind the service.
    as_of: AsOf<'a>,
    /// The page. It may have fewer records than were asked for, or none, and still have a `next`.
    records: Vec<RecordBody<'a>>,
    /// The `before` of the next page; left out on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An action of an operator that changed something.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditRecord)]
pub struct RecordBody<'a> {
    /// Its number in the trail: 1, 2, 3 and so on, without gaps; only to a key of all sales, as records of other sales could be
    /// counted by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<i64>,
    /// When it was done.
    at: &'a str,
    /// Who did it: `key:` and the key's name; `anybody` where no keys are configured; `process` for what the service read from
    /// its configuration.
    actor: &'a str,
    /// What was done.
    action: &'a str,
    /// The sale; left out where it was done to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    sale: Option<&'a str>,
    /// The item's SKU; left out where it was done to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    sku: Option<&'a str>,
    /// What was asked; its members depend on `action`.
    #[schema(value_type = Object)]
    detail: Map<String, Value>,
    /// BLAKE3 over the record and the hash before it, 64 hexadecimal digits; only to a key of all sales.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<&'a str>,
}

impl<'a> TrailBody<'a> {
    /// `sees_all`: whether the caller may know of all sales.
    pub fn new(read: &'a Read<TrailPage>, cursors: &ViewCursors, sees_all: bool) -> Self {
        let page = &read.found;
        Self {
            as_of: AsOf::new(read, page.cursor, page.changed_at.as_deref(), sees_all),
            records: page.records.iter().map(|row| RecordBody::new(row, sees_all)).collect(),
            next: page.next.map(|before| write_cursor(cursors, before)),
        }
    }
}

impl<'a> RecordBody<'a> {
    fn new(row: &'a AuditRow, sees_all: bool) -> Self {
        // What somebody else wrote there is shown as it is.
        let detail = serde_json::from_str(&row.detail);
        let detail = detail.unwrap_or_else(|_| Map::from_iter([("unreadable".to_owned(), json!(row.detail))]));
        Self {
            sequence: Some(row.sequence).filter(|_| sees_all),
            at: &row.at,
            actor: &row.actor,
            action: &row.action,
            sale: row.sale.as_deref(),
            sku: row.sku.as_deref(),
            detail,
            hash: Some(row.hash.as_str()).filter(|_| sees_all),
        }
    }
}

/// The text that stands for a record's number: it says nothing of how many there are.
fn write_cursor(cursors: &ViewCursors, before: u64) -> String {
    cursors.write(Cursor::at(before, 0))
}

pub fn read_cursor(cursors: &ViewCursors, text: &str) -> Option<u64> {
    let cursor = cursors.read(text)?;
    (cursor.place == Some(0)).then_some(cursor.epoch)
}
