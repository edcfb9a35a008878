//! The JSON of a page of the audit trail. `docs/audit.md` describes its records.

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::report::AsOf;
use crate::{
    events::{Cursor, ViewCursors},
    reports::Read,
    store::{AuditRow, TrailPage},
};

/// A page of the audit trail, newest record first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditTrail)]
pub struct TrailBody<'a> {
    /// How far the store was when the page was read: it lags behind the service.
    as_of: AsOf<'a>,
    /// The records. There may be fewer than `limit`, or none, although there is a `next`.
    records: Vec<RecordBody<'a>>,
    /// The `before` of the next page; left out on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An action of an operator that changed something.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditRecord)]
pub struct RecordBody<'a> {
    /// Its number in the trail, from 1 and without gaps. Only for a key for all sales, because it would reveal how many records
    /// other sales have.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<i64>,
    /// When the action was carried out.
    at: &'a str,
    /// `key:` and the key's name; `anybody` if no keys are configured; `process` for changes that the service read from its
    /// configuration.
    actor: &'a str,
    /// The action.
    action: &'a str,
    /// The sale that it changed, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    sale: Option<&'a str>,
    /// The SKU of the item that it changed, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    sku: Option<&'a str>,
    /// The values of the action; its members depend on `action`.
    #[schema(value_type = Object)]
    detail: Map<String, Value>,
    /// BLAKE3 over the record and the hash before it, 64 hexadecimal digits. Only for a key for all sales.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<&'a str>,
}

impl<'a> TrailBody<'a> {
    /// `sees_all`: whether the caller may see all sales.
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
        // Somebody else may have written there: shown as it is.
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

/// A record's number as an opaque text, which does not reveal how many records there are.
fn write_cursor(cursors: &ViewCursors, before: u64) -> String {
    cursors.write(Cursor::at(before, 0))
}

pub fn read_cursor(cursors: &ViewCursors, text: &str) -> Option<u64> {
    let cursor = cursors.read(text)?;
    (cursor.place == Some(0)).then_some(cursor.epoch)
}
