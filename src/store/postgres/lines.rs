//! Writes the lines of reservations: those of new ones, and anew those of which some units moved.

use std::collections::HashMap;

use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};
use uuid::Uuid;

use super::{
    get,
    link::Link,
    write::{begun, contradicted, uuid_of},
};
use crate::store::{
    error::StoreError,
    fold::Window,
    lines::{Line, Lines},
    names::Names,
    rows::{PoolKey, price_columns, price_of, small},
};

const ADD: &str = "
    COPY reservation_lines (reservation_id, line, sku, pool, quantity, returned, cancelled, price_amount, price_currency)
    FROM STDIN (FORMAT binary)";

const TYPES: [Type; 9] =
    [Type::UUID, Type::INT8, Type::TEXT, Type::TEXT, Type::INT8, Type::INT8, Type::INT8, Type::INT8, Type::TEXT];

const OF_RESERVATIONS: &str = "
    SELECT reservation_id, sku, pool, quantity, returned, cancelled, price_amount, price_currency
      FROM reservation_lines WHERE reservation_id = ANY ($1) ORDER BY reservation_id, line";

const DELETE: &str = "DELETE FROM reservation_lines WHERE reservation_id = ANY ($1)";

/// Lines of reservations that began in the window. Says how many rows it wrote.
pub(super) async fn add_new(link: &Link, names: &Names, window: &Window) -> Result<u64, StoreError> {
    let new = begun(window).flat_map(|(id, change)| {
        let lines = (1..).zip(change.begun.iter().flat_map(|begun| &begun.lines));
        lines.map(move |(number, line)| (uuid_of(*id), number, line))
    });
    let rows = new.map(|(id, number, line)| {
        let (item, pool) = names.pool(line.pool.1)?;
        Ok((id, number, &*item.sku, pool, line))
    });
    copy(link, rows).await
}

/// Lines of reservations from before the window, of which some units moved: reads them, applies what moved, and writes them anew.
pub(super) async fn change(link: &Link, names: &Names, window: &Window) -> Result<u64, StoreError> {
    let changed = window.reservations().iter().filter(|(_, change)| !change.lines.is_empty());
    let ids: Vec<Uuid> = changed.clone().map(|(id, _)| uuid_of(*id)).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let asked: [(&(dyn ToSql + Sync), Type); 1] = [(&ids, Type::UUID_ARRAY)];
    let mut of_each: HashMap<Uuid, Lines<PoolKey>> = HashMap::with_capacity(ids.len());
    for row in link.query("reading lines", OF_RESERVATIONS, &asked).await? {
        of_each.entry(get(&row, 0)?).or_default().push(line(&row)?);
    }
    for (id, change) in changed {
        names.apply(id, &change.lines, of_each.entry(uuid_of(*id)).or_default())?;
    }
    link.execute("deleting changed lines", DELETE, &asked).await?;
    let rows = ids.iter().flat_map(|id| {
        let lines = (1..).zip(of_each.get(id).into_iter().flatten());
        lines.map(|(number, line)| Ok((*id, number, line.pool.0.as_str(), line.pool.1.as_str(), line)))
    });
    copy(link, rows).await
}

fn line(row: &Row) -> Result<Line<PoolKey>, StoreError> {
    Ok(Line {
        pool: (get(row, 1)?, get(row, 2)?),
        quantity: small("a quantity", get(row, 3)?)?,
        returned: small("returned units", get(row, 4)?)?,
        cancelled: small("cancelled units", get(row, 5)?)?,
        price: price_of(get(row, 6)?, get(row, 7)?)?,
    })
}

/// Copies lines into their table: the reservation, the line's number, SKU, pool and the line itself.
async fn copy<'a, K: 'a>(
    link: &Link,
    rows: impl Iterator<Item = Result<(Uuid, i64, &'a str, &'a str, &'a Line<K>), StoreError>>,
) -> Result<u64, StoreError> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(0);
    }
    let written = link.copy("copying lines", ADD, &TYPES, async |mut copying| {
        for row in rows {
            let (id, number, sku, pool, line) = row?;
            let (amount, currency) = price_columns(&line.price)?;
            let [quantity, returned, cancelled] = [line.quantity, line.returned, line.cancelled].map(i64::from);
            let row: [&(dyn ToSql + Sync); 9] =
                [&id, &number, &sku, &pool, &quantity, &returned, &cancelled, &amount, &currency];
            copying.row(&row).await?;
        }
        Ok(())
    });
    written.await.map_err(|error| contradicted("reservation_lines", error))
}
