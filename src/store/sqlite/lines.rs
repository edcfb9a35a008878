//! Changes the lines of a reservation that are in the store already: reads them, applies what moved, and writes them anew.

use rusqlite::{Transaction, params};

use crate::{
    sale::ids::ReservationId,
    store::{
        error::StoreError,
        lines::{Line, Lines, LinesChange},
        names::Names,
        rows::{PoolKey, price_columns, price_of, small},
    },
};

pub(super) const ADD: &str = "
    INSERT OR FAIL INTO reservation_lines (reservation_id, line, sku, pool, quantity, returned, cancelled, price_amount,
                                           price_currency)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

const OF_RESERVATION: &str = "
    SELECT sku, pool, quantity, returned, cancelled, price_amount, price_currency
      FROM reservation_lines WHERE reservation_id = ?1 ORDER BY line";

const DELETE: &str = "DELETE FROM reservation_lines WHERE reservation_id = ?1";

/// Says how many rows were touched. `may_lack`: where there are none, nothing is changed.
pub(super) fn change(
    transaction: &Transaction<'_>,
    names: &Names,
    id: &ReservationId,
    changes: &[LinesChange],
    may_lack: bool,
) -> Result<u64, StoreError> {
    let key = id.to_string();
    let mut lines: Lines<PoolKey> = Lines::new();
    {
        let mut statement = transaction.prepare_cached(OF_RESERVATION)?;
        let mut rows = statement.query([&key])?;
        while let Some(row) = rows.next()? {
            lines.push(Line {
                pool: (row.get(0)?, row.get(1)?),
                quantity: small("a quantity", row.get(2)?)?,
                returned: small("returned units", row.get(3)?)?,
                cancelled: small("cancelled units", row.get(4)?)?,
                price: price_of(row.get(5)?, row.get::<_, Option<String>>(6)?.as_deref())?,
            });
        }
    }
    if lines.is_empty() && may_lack {
        return Ok(0);
    }
    names.apply(id, changes, &mut lines)?;
    transaction.prepare_cached(DELETE)?.execute([&key])?;
    let mut add = transaction.prepare_cached(ADD)?;
    for (number, line) in (1..).zip(&lines) {
        let Line { pool: (sku, pool), quantity, returned, cancelled, price } = line;
        let (amount, currency) = price_columns(price)?;
        add.execute(params![key, number, sku, pool, quantity, returned, cancelled, amount, currency])?;
    }
    Ok(lines.len() as u64)
}
