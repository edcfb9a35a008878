//! Writes a window's rows of the catalogue: sales, items, pools, and their counts.

use tokio_postgres::types::{ToSql, Type};

use super::Writer;
use crate::{
    sale::{ids::SaleNumber, time::Timestamp},
    store::{
        error::StoreError,
        fold::{CountChange, Definition, SaleChange, Window},
        postgres::{get, values::Moment},
        rows::{INITIAL, PoolRow, integer, price_columns},
    },
};

const PUT_SALE: &str = "
    INSERT INTO sales (id, number, name, opens_at, closes_at, hold_seconds, max_extensions, customer_limit,
                       created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (id) DO UPDATE
       SET name = excluded.name, opens_at = excluded.opens_at, closes_at = excluded.closes_at,
           hold_seconds = excluded.hold_seconds, max_extensions = excluded.max_extensions,
           customer_limit = excluded.customer_limit, updated_at = excluded.updated_at
     WHERE sales.number = excluded.number";

const TURN_SALE: &str = "
    UPDATE sales
       SET paused_at = CASE WHEN $2 THEN $3 ELSE paused_at END, closed_at = coalesce(closed_at, $4), updated_at = $5
     WHERE number = $1";

/// Those that are not there yet.
const ADD_ITEMS: &str = "
    INSERT INTO items (sale, sku, number, initial_stock, stock, available, held, confirmed, price_amount,
                       price_currency, customer_limit, low_stock_at)
    SELECT $1, sku, number, initial_stock, initial_stock, initial_stock, 0, 0, price_amount, price_currency,
           customer_limit, low_stock_at
      FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[])
             AS put (sku, number, initial_stock, price_amount, price_currency, customer_limit, low_stock_at)
    ON CONFLICT (sale, sku) DO NOTHING";

/// All that were put, the new ones too: each must be there with its number.
const PUT_ITEMS: &str = "
    UPDATE items
       SET price_amount = put.price_amount, price_currency = put.price_currency, customer_limit = put.customer_limit,
           low_stock_at = put.low_stock_at
      FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[])
             AS put (sku, number, price_amount, price_currency, customer_limit, low_stock_at)
     WHERE items.sale = $1 AND items.sku = put.sku AND items.number = put.number";

/// Those that are not there yet, each with its first movement.
const ADD_POOLS: &str = "
    WITH put AS (
           SELECT * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::text[],
                                $9::text[], $10::text[], $11::timestamptz[], $12::bigint[], $13::timestamptz[])
             WITH ORDINALITY AS put (sku, pool, number, position, location, price_amount, price_currency, tiers, channels,
                                     shared_at, initial_stock, listed_at, place)),
         added AS (
           INSERT INTO pools (sale, sku, pool, number, position, location, initial_stock, stock, available, held,
                              confirmed, price_amount, price_currency, tiers, channels, shared_at)
           SELECT $1, sku, pool, number, position, location, initial_stock, initial_stock, initial_stock, 0, 0,
                  price_amount, price_currency, tiers, channels, shared_at
             FROM put
           ON CONFLICT (sale, sku, pool) DO NOTHING
           RETURNING number)
    INSERT INTO stock_movements (sale, sku, pool, delta, reason, at, stock_after, available_after)
    SELECT $1, sku, pool, initial_stock, $14, listed_at, initial_stock, initial_stock
      FROM put JOIN added USING (number)
     ORDER BY place";

/// All that were put, the new ones too: each must be there with its number.
const PUT_POOLS: &str = "
    UPDATE pools
       SET position = put.position, location = put.location, price_amount = put.price_amount,
           price_currency = put.price_currency, tiers = put.tiers, channels = put.channels, shared_at = put.shared_at
      FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::text[], $9::text[],
                  $10::text[], $11::timestamptz[])
             AS put (sku, pool, number, position, location, price_amount, price_currency, tiers, channels, shared_at)
     WHERE pools.sale = $1 AND pools.sku = put.sku AND pools.pool = put.pool AND pools.number = put.number";

const COUNT_ITEMS: &str = "
    UPDATE items
       SET stock = stock + change.of_stock, available = available + change.of_available,
           held = held + change.of_held, confirmed = confirmed + change.of_confirmed,
           sold_out_at = coalesce(sold_out_at, CASE WHEN available = 0 THEN change.back_at
                                                    WHEN available + change.low = 0 THEN change.low_at END)
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[],
                  $8::timestamptz[])
             AS change (number, of_stock, of_available, of_held, of_confirmed, low, low_at, back_at)
     WHERE items.number = change.number";

const COUNT_POOLS: &str = "
    UPDATE pools
       SET stock = stock + change.of_stock, available = available + change.of_available,
           held = held + change.of_held, confirmed = confirmed + change.of_confirmed
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
             AS change (number, of_stock, of_available, of_held, of_confirmed)
     WHERE pools.number = change.number";

/// The first row of items or pools whose counts cannot be what they would come to.
fn broken(table: &str, which: &str) -> String {
    format!(
        "SELECT sale, sku, of_stock, of_available, of_held, of_confirmed, {which}
           FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
                  AS change (number, of_stock, of_available, of_held, of_confirmed)
           JOIN {table} USING (number)
          WHERE least(available::numeric + of_available, held::numeric + of_held, confirmed::numeric + of_confirmed) < 0
             OR stock::numeric + of_stock
                <> available::numeric + of_available + held + of_held + confirmed + of_confirmed
          ORDER BY number LIMIT 1"
    )
}

impl Writer<'_> {
    pub(super) async fn sales(&mut self, window: &Window) -> Result<(), StoreError> {
        for (&number, change) in window.sales() {
            if let Some(definition) = &change.definition {
                self.put_sale(number, definition, change.at).await?;
                self.put_items(definition).await?;
                self.put_pools(window, definition, change.at).await?;
            }
            self.turn_sale(number, change).await?;
        }
        Ok(())
    }

    async fn put_sale(&mut self, number: SaleNumber, put: &Definition, at: Timestamp) -> Result<(), StoreError> {
        let Definition { settings, created_at, .. } = put;
        let limit = |limit: Option<u32>| limit.map(i64::from);
        let parameters: [(&(dyn ToSql + Sync), Type); 10] = [
            (&settings.id, Type::TEXT),
            (&i64::from(number.0), Type::INT8),
            (&settings.name, Type::TEXT),
            (&Moment(settings.opens_at), Type::TIMESTAMPTZ),
            (&Moment(settings.closes_at), Type::TIMESTAMPTZ),
            (&integer(settings.hold_seconds)?, Type::INT8),
            (&limit(settings.max_extensions), Type::INT8),
            (&limit(settings.customer_limit), Type::INT8),
            (&Moment(*created_at), Type::TIMESTAMPTZ),
            (&Moment(at), Type::TIMESTAMPTZ),
        ];
        let touched = self.link.execute("putting a sale", PUT_SALE, &parameters).await?;
        self.touched(touched, 1, || format!("sale {:?} has another number than {}", settings.id, number.0))
    }

    async fn turn_sale(&mut self, number: SaleNumber, change: &SaleChange) -> Result<(), StoreError> {
        let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
            (&i64::from(number.0), Type::INT8),
            (&change.paused_at.is_some(), Type::BOOL),
            (&change.paused_at.flatten().map(Moment), Type::TIMESTAMPTZ),
            (&change.closed_at.map(Moment), Type::TIMESTAMPTZ),
            (&Moment(change.at), Type::TIMESTAMPTZ),
        ];
        let touched = self.link.execute("turning a sale", TURN_SALE, &parameters).await?;
        self.touched(touched, 1, || format!("an event names sale number {}, never defined", number.0))
    }

    async fn put_items(&mut self, put: &Definition) -> Result<(), StoreError> {
        let mut columns = ItemColumns::default();
        for (numbers, settings) in put.numbers.iter().zip(&put.settings.items) {
            let (amount, currency) = price_columns(&settings.price)?;
            columns.skus.push(&settings.sku);
            columns.numbers.push(i64::from(numbers.item.0));
            columns.initial.push(integer(settings.initial_stock)?);
            columns.amounts.push(amount);
            columns.currencies.push(currency);
            columns.limits.push(settings.customer_limit.map(i64::from));
            columns.low.push(settings.low_stock_at.map(integer).transpose()?);
        }
        let ItemColumns { skus, numbers, initial, amounts, currencies, limits, low } = &columns;
        let sale = &put.settings.id;
        let add: [(&(dyn ToSql + Sync), Type); 8] = [
            (sale, Type::TEXT),
            (skus, Type::TEXT_ARRAY),
            (numbers, Type::INT8_ARRAY),
            (initial, Type::INT8_ARRAY),
            (amounts, Type::INT8_ARRAY),
            (currencies, Type::TEXT_ARRAY),
            (limits, Type::INT8_ARRAY),
            (low, Type::INT8_ARRAY),
        ];
        self.link.execute("adding items", ADD_ITEMS, &add).await?;
        let again: [(&(dyn ToSql + Sync), Type); 7] = [
            (sale, Type::TEXT),
            (skus, Type::TEXT_ARRAY),
            (numbers, Type::INT8_ARRAY),
            (amounts, Type::INT8_ARRAY),
            (currencies, Type::TEXT_ARRAY),
            (limits, Type::INT8_ARRAY),
            (low, Type::INT8_ARRAY),
        ];
        let touched = self.link.execute("putting items", PUT_ITEMS, &again).await?;
        self.touched(touched, skus.len(), || format!("an item of sale {sale:?} has another number in the store"))
    }

    async fn put_pools(&mut self, window: &Window, put: &Definition, at: Timestamp) -> Result<(), StoreError> {
        let mut columns = PoolColumns::default();
        for (numbers, item) in put.numbers.iter().zip(&put.settings.items) {
            for pool in PoolRow::of(numbers, item) {
                let pool = pool?;
                let listed_at = window.listed_at(pool.number).unwrap_or(at);
                columns.push(&item.sku, pool, listed_at)?;
            }
        }
        let sale = &put.settings.id;
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![(sale, Type::TEXT)];
        parameters.extend(columns.parameters());
        parameters.push((&INITIAL, Type::TEXT));
        // An added pool is two rows: itself and its first movement.
        self.rows += self.link.execute("adding pools", ADD_POOLS, &parameters).await?;
        let touched = self.link.execute("putting pools", PUT_POOLS, &parameters[..11]).await?;
        let count = columns.numbers.len();
        self.touched(touched, count, || format!("a pool of sale {sale:?} has another number in the store"))
    }

    pub(super) async fn counts(&mut self, window: &Window) -> Result<(), StoreError> {
        let (mut items, mut lows, mut moments) = (CountColumns::default(), Vec::new(), [const { Vec::new() }; 2]);
        for (number, change, level) in window.counted_items() {
            items.push(number.0, change);
            lows.push(level.low());
            let at = [level.low_at(), level.back_at()];
            moments.iter_mut().zip(at).for_each(|(column, at)| column.push(at.map(Moment)));
        }
        let mut parameters = items.parameters();
        parameters.push((&lows, Type::INT8_ARRAY));
        parameters.extend(moments.iter().map(|column| (column as &(dyn ToSql + Sync), Type::TIMESTAMPTZ_ARRAY)));
        self.count("items", "''", COUNT_ITEMS, &parameters, lows.len()).await?;
        let mut pools = CountColumns::default();
        window.counted_pools().for_each(|(number, change)| pools.push(number.0, change));
        self.count("pools", "'pool ' || pool || ': '", COUNT_POOLS, &pools.parameters(), pools.numbers.len()).await
    }

    /// Adds to the counts of so many rows. `which`: what of an item they are, for whom reads the error.
    async fn count(
        &mut self,
        table: &'static str,
        which: &str,
        statement: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
        rows: usize,
    ) -> Result<(), StoreError> {
        if rows == 0 {
            return Ok(());
        }
        // To be able to ask which one it was.
        self.link.batch("counting", "SAVEPOINT counts").await?;
        match self.link.execute("counting", statement, parameters).await {
            Ok(touched) => {
                self.link.batch("counting", "RELEASE SAVEPOINT counts").await?;
                self.touched(touched, rows, || format!("an event names a number of {table} that was never defined"))
            }
            Err(error) if error.is_constraint_of(table) => {
                self.link.batch("counting", "ROLLBACK TO SAVEPOINT counts").await?;
                let found = self.link.query("looking for the item", &broken(table, which), &parameters[..5]).await?;
                let Some(row) = found.first() else { return Err(error.into()) };
                let [stock, available, held, confirmed]: [i64; 4] =
                    [get(row, 2)?, get(row, 3)?, get(row, 4)?, get(row, 5)?];
                Err(StoreError::Conservation {
                    sale: get(row, 0)?,
                    sku: get(row, 1)?,
                    detail: format!(
                        "{}{error}, on adding {stock} to stock, {available} to available, {held} to held, {confirmed} \
                         to confirmed",
                        get::<&str>(row, 6)?
                    ),
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The columns of a sale's items, as arrays.
#[derive(Default)]
struct ItemColumns<'a> {
    skus: Vec<&'a str>,
    numbers: Vec<i64>,
    initial: Vec<i64>,
    amounts: Vec<Option<i64>>,
    currencies: Vec<Option<&'a str>>,
    limits: Vec<Option<i64>>,
    low: Vec<Option<i64>>,
}

/// The columns of a sale's pools, as arrays.
#[derive(Default)]
struct PoolColumns<'a> {
    skus: Vec<&'a str>,
    ids: Vec<&'a str>,
    numbers: Vec<i64>,
    positions: Vec<i64>,
    locations: Vec<Option<&'a str>>,
    amounts: Vec<Option<i64>>,
    currencies: Vec<Option<String>>,
    tiers: Vec<Option<String>>,
    channels: Vec<Option<String>>,
    shared: Vec<Option<Moment>>,
    initial: Vec<i64>,
    listed: Vec<Moment>,
}

impl<'a> PoolColumns<'a> {
    fn push(&mut self, sku: &'a str, pool: PoolRow<'a>, listed_at: Timestamp) -> Result<(), StoreError> {
        let (amount, currency) = price_columns(&pool.price)?;
        self.skus.push(sku);
        self.ids.push(pool.id);
        self.numbers.push(i64::from(pool.number.0));
        self.positions.push(pool.position);
        self.locations.push(pool.location);
        self.amounts.push(amount);
        self.currencies.push(currency.map(str::to_owned));
        self.tiers.push(pool.tiers);
        self.channels.push(pool.channels);
        self.shared.push(pool.shared_at.map(Moment));
        self.initial.push(pool.initial_stock);
        self.listed.push(Moment(listed_at));
        Ok(())
    }

    fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 12] {
        [
            (&self.skus, Type::TEXT_ARRAY),
            (&self.ids, Type::TEXT_ARRAY),
            (&self.numbers, Type::INT8_ARRAY),
            (&self.positions, Type::INT8_ARRAY),
            (&self.locations, Type::TEXT_ARRAY),
            (&self.amounts, Type::INT8_ARRAY),
            (&self.currencies, Type::TEXT_ARRAY),
            (&self.tiers, Type::TEXT_ARRAY),
            (&self.channels, Type::TEXT_ARRAY),
            (&self.shared, Type::TIMESTAMPTZ_ARRAY),
            (&self.initial, Type::INT8_ARRAY),
            (&self.listed, Type::TIMESTAMPTZ_ARRAY),
        ]
    }
}

/// Changes of counts, as arrays: by what number, and of stock, available, held and confirmed.
#[derive(Default)]
struct CountColumns {
    numbers: Vec<i64>,
    units: [Vec<i64>; 4],
}

impl CountColumns {
    fn push(&mut self, number: u32, change: &CountChange) {
        self.numbers.push(i64::from(number));
        let units = [change.stock, change.available, change.held, change.confirmed];
        self.units.iter_mut().zip(units).for_each(|(column, units)| column.push(units));
    }

    fn parameters(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        let columns = [&self.numbers].into_iter().chain(&self.units);
        columns.map(|column| (column as &(dyn ToSql + Sync), Type::INT8_ARRAY)).collect()
    }
}
