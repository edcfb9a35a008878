//! Removes erased customers from rows older than the window.

use std::collections::BTreeMap;

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{get, link::Link};
use crate::{
    sale::ids::ReservationId,
    store::{
        error::StoreError,
        fold::{Erasures, Window},
    },
};

/// Rows that one statement looks at. All at once could take longer than any one statement may, at each try anew.
const ROWS_MAX: i64 = if cfg!(test) { 1000 } else { 500_000 };

const CUSTOMERS_OF: &str = "SELECT id, customer FROM reservations WHERE id = ANY ($1)";

/// The first row of the part after the one that begins with $1.
fn next_part(table: &str) -> String {
    format!("SELECT id FROM {table} WHERE id >= $1 ORDER BY id OFFSET $2 LIMIT 1")
}

/// The words of `erased_customer`, and no texts.
fn erase(table: &str, texts: &[&str]) -> String {
    let texts: String = texts.iter().map(|text| format!(", {text} = NULL")).collect();
    format!(
        "UPDATE {table} SET customer = 'erased-' || id::text{texts}
          WHERE customer = ANY ($1) AND id >= $2 AND id < $3"
    )
}

/// Texts of erased customers in rows without a customer: to be erased while reservations still name them.
fn erase_texts(table: &str, text: &str) -> String {
    let is_theirs = |reservations: &str| {
        format!("EXISTS (SELECT 1 FROM {reservations} AS r WHERE r.id = reservation_id AND r.customer = ANY ($1))")
    };
    let (live, archived) = (is_theirs("reservations"), is_theirs("reservations_archive"));
    format!(
        "UPDATE {table} SET {text} = NULL
          WHERE reservation_id IS NOT NULL AND {text} IS NOT NULL AND ({live} OR {archived})"
    )
}

#[derive(Default)]
pub(super) struct Erased {
    pub rows: u64,
    /// Where the customers of reservations that change in this window were erased: earlier texts must not be written.
    pub erasures: Erasures,
}

pub(super) async fn customers(link: &Link, window: &Window) -> Result<Erased, StoreError> {
    if window.erased().is_empty() {
        return Ok(Erased::default());
    }
    let erasures = erasures(link, window).await?;
    let customers: Vec<&str> = window.erased().keys().map(|customer| customer.as_str()).collect();
    let mut rows = 0;
    for (table, text) in [("refused_confirmations", "reference"), ("stock_movements", "reason")] {
        let these: [(&(dyn ToSql + Sync), Type); 1] = [(&customers, Type::TEXT_ARRAY)];
        rows += link.execute("erasing texts of customers", &erase_texts(table, text), &these).await?;
    }
    const OF_RESERVATIONS: &[&str] = &["reference", "release_reason", "cancel_reason", "labels"];
    const OF_ENTRIES: &[&str] = &["reference", "labels"];
    for (table, texts) in [
        ("reservations", OF_RESERVATIONS),
        ("reservations_archive", OF_RESERVATIONS),
        ("waitlist_entries", OF_ENTRIES),
        ("waitlist_entries_archive", OF_ENTRIES),
    ] {
        rows += erase_in(link, table, texts, &customers).await?;
    }
    Ok(Erased { rows, erasures })
}

async fn erase_in(link: &Link, table: &str, texts: &[&str], customers: &[&str]) -> Result<u64, StoreError> {
    let (next_part, erase) = (next_part(table), erase(table, texts));
    let (mut rows, mut part) = (0, Some(Uuid::nil()));
    while let Some(from) = part {
        let asked: [(&(dyn ToSql + Sync), Type); 2] = [(&from, Type::UUID), (&ROWS_MAX, Type::INT8)];
        let next = link.query("finding the rows of erased customers", &next_part, &asked).await?;
        part = next.first().map(|row| get(row, 0)).transpose()?;
        let to = part.unwrap_or(Uuid::max());
        let asked: [(&(dyn ToSql + Sync), Type); 3] =
            [(&customers, Type::TEXT_ARRAY), (&from, Type::UUID), (&to, Type::UUID)];
        rows += link.execute("erasing customers", &erase, &asked).await?;
    }
    Ok(rows)
}

async fn erasures(link: &Link, window: &Window) -> Result<Erasures, StoreError> {
    let uuid = |id: &ReservationId| Uuid::from_bytes(*id.bytes());
    let doubtful = window.doubtful();
    let ids: Vec<Uuid> = doubtful.iter().map(uuid).collect();
    if ids.is_empty() {
        return Ok(Erasures::new());
    }
    let rows = link.query("finding the customers of these texts", CUSTOMERS_OF, &[(&ids, Type::UUID_ARRAY)]).await?;
    let customers: BTreeMap<Uuid, &str> =
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect::<Result<_, StoreError>>()?;
    let erased = doubtful.iter().filter_map(|id| Some((*id, window.erased_at(customers.get(&uuid(id))?)?)));
    Ok(erased.collect())
}
