//! Removes erased customers from rows older than the window.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{get, link::Link};
use crate::{
    sale::ids::ReservationId,
    store::{error::StoreError, fold::Window},
};

/// Reservations that one statement looks at. All at once could take longer than any one statement may, at each try anew.
const ROWS_MAX: i64 = if cfg!(test) { 1000 } else { 500_000 };

const CUSTOMERS_OF: &str = "SELECT id, customer FROM reservations WHERE id = ANY ($1)";

/// The first reservation of the part after the one that begins with $1.
fn next_part(table: &str) -> String {
    format!("SELECT id FROM {table} WHERE id >= $1 ORDER BY id OFFSET $2 LIMIT 1")
}

/// The words of `erased_customer`.
fn erase(table: &str) -> String {
    format!(
        "UPDATE {table} SET customer = 'erased-' || id::text, reference = NULL, release_reason = NULL,
                labels = NULL
          WHERE customer = ANY ($1) AND id >= $2 AND id < $3"
    )
}

#[derive(Default)]
pub(super) struct Erased {
    pub rows: u64,
    /// Reservations that change in this window, and whose texts were told before their customer was erased: they must not
    /// be written.
    pub told_before: BTreeSet<ReservationId>,
}

pub(super) async fn customers(link: &Link, window: &Window) -> Result<Erased, StoreError> {
    if window.erased().is_empty() {
        return Ok(Erased::default());
    }
    let told_before = told_before(link, window).await?;
    let customers: Vec<&str> = window.erased().keys().map(|customer| customer.as_str()).collect();
    let mut rows = 0;
    for table in ["reservations", "reservations_archive"] {
        rows += erase_in(link, table, &customers).await?;
    }
    Ok(Erased { rows, told_before })
}

async fn erase_in(link: &Link, table: &str, customers: &[&str]) -> Result<u64, StoreError> {
    let (next_part, erase) = (next_part(table), erase(table));
    let (mut rows, mut part) = (0, Some(Uuid::nil()));
    while let Some(from) = part {
        let asked: [(&(dyn ToSql + Sync), Type); 2] = [(&from, Type::UUID), (&ROWS_MAX, Type::INT8)];
        let next = link.query("finding the reservations of erased customers", &next_part, &asked).await?;
        part = next.first().map(|row| get(row, 0)).transpose()?;
        let to = part.unwrap_or(Uuid::max());
        let asked: [(&(dyn ToSql + Sync), Type); 3] =
            [(&customers, Type::TEXT_ARRAY), (&from, Type::UUID), (&to, Type::UUID)];
        rows += link.execute("erasing customers", &erase, &asked).await?;
    }
    Ok(rows)
}

async fn told_before(link: &Link, window: &Window) -> Result<BTreeSet<ReservationId>, StoreError> {
    let uuid = |id: &ReservationId| Uuid::from_bytes(*id.bytes());
    let doubtful: Vec<Uuid> = window.doubtful_texts().map(|(id, _)| uuid(id)).collect();
    if doubtful.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows =
        link.query("finding the customers of these texts", CUSTOMERS_OF, &[(&doubtful, Type::UUID_ARRAY)]).await?;
    let customers: BTreeMap<Uuid, &str> =
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect::<Result<_, StoreError>>()?;
    let told_before = window
        .doubtful_texts()
        .filter(|(id, end)| customers.get(&uuid(id)).is_some_and(|customer| window.erases_text(customer, end)));
    Ok(told_before.map(|(id, _)| *id).collect())
}
