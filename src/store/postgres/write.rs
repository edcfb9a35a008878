//! Writes a window's rows, in one transaction.
//!
//! Invariant: a statement changes exactly the expected number of rows, or the window fails. The store never hides a difference
//! from the journal.

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{erase, get, lines, link::Link, values::Moment};
use crate::{
    sale::{
        ids::{ReservationId, SaleNumber},
        time::Timestamp,
    },
    store::{
        audit::AuditRow,
        error::StoreError,
        fold::{CountChange, Definition, Erasures, Movement, SaleChange, Window},
        life::{ReservationChange, Told},
        names::Names,
        owner::Token,
        rows::{ChangedReservation, INITIAL, NewReservation, PoolRow, integer, price_columns},
    },
};

/// What a transaction begins with. All of it ends with the transaction, as a pooler may give the next one to another
/// session:
/// - time limits on the server's side, for when this side is gone and nobody tells the server;
/// - `synchronous_commit`, where it was turned off: a cursor that was reported must stay, as the journal goes by it.
pub(super) fn begin(link: &Link) -> String {
    let millis = link.statement_time().as_millis().max(1);
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
         SET LOCAL statement_timeout = {millis};
         SET LOCAL lock_timeout = {millis};
         SET LOCAL idle_in_transaction_session_timeout = {millis};
         SET LOCAL client_min_messages = warning;
         SET LOCAL jit = off;
         SELECT set_config('synchronous_commit', 'on', true)
          WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )
}

const MOVE_CURSOR: &str = "
    UPDATE write_behind SET cursor = $2, updated_at = greatest(updated_at, $3)
     WHERE cursor = $1 AND owner = $4 AND owner_epoch = $5 AND session = $6";

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
                       price_currency, customer_limit)
    SELECT $1, sku, number, initial_stock, initial_stock, initial_stock, 0, 0, price_amount, price_currency,
           customer_limit
      FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[])
             AS put (sku, number, initial_stock, price_amount, price_currency, customer_limit)
    ON CONFLICT (sale, sku) DO NOTHING";

/// All that were put, the new ones too: each must be there with its number.
const PUT_ITEMS: &str = "
    UPDATE items
       SET price_amount = put.price_amount, price_currency = put.price_currency, customer_limit = put.customer_limit
      FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[])
             AS put (sku, number, price_amount, price_currency, customer_limit)
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

const ADD_MOVEMENTS: &str = "
    COPY stock_movements (sale, sku, pool, delta, reason, reference, at, stock_after, available_after, other_pool,
                          reservation_id)
    FROM STDIN (FORMAT binary)";

const ADD_AUDIT: &str = "
    COPY audit (sequence, at, actor, action, sale, sku, detail, hash) FROM STDIN (FORMAT binary)";

const ADD_RESERVATIONS: &str = "
    COPY reservations (id, sale, customer, state, reference, created_at, expires_at, extensions, confirmed_at,
                       released_at, expired_at, cancelled_at, late, release_reason, cancel_reason, tier, channel,
                       region, labels, short)
    FROM STDIN (FORMAT binary)";

const ADD_REFUSED: &str = "
    COPY refused_confirmations (reservation_id, sale, at, reference, cause) FROM STDIN (FORMAT binary)";

/// Once for each session: made anew where a pooler gave this transaction another one. In its name is the format of the
/// schema, so that a session that an older program used is no trouble. It has no statistics: its rows are looked up one by
/// one, whatever is guessed of their number, and never by reading all reservations. Nothing is planned after this that would
/// be planned otherwise.
const MAKE_CHANGES: &str = "
    SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off;
    SET LOCAL enable_seqscan = off;
    CREATE TEMPORARY TABLE IF NOT EXISTS doorbuster_changes_4 (
      id uuid, found text, state text, reference text, expires_at timestamptz, extensions bigint,
      confirmed_at timestamptz, released_at timestamptz, expired_at timestamptz, cancelled_at timestamptz, late boolean,
      release_reason text, cancel_reason text, is_changed boolean
    ) ON COMMIT DELETE ROWS";

const COPY_CHANGES: &str = "
    COPY pg_temp.doorbuster_changes_4 (id, found, state, reference, expires_at, extensions, confirmed_at, released_at,
                                       expired_at, cancelled_at, late, release_reason, cancel_reason, is_changed)
    FROM STDIN (FORMAT binary)";

const CHANGE_RESERVATIONS: &str = "
    UPDATE reservations AS reservation
       SET state = change.state, reference = coalesce(change.reference, reservation.reference),
           expires_at = coalesce(change.expires_at, reservation.expires_at),
           extensions = coalesce(change.extensions, reservation.extensions),
           confirmed_at = coalesce(change.confirmed_at, reservation.confirmed_at), released_at = change.released_at,
           expired_at = change.expired_at, cancelled_at = change.cancelled_at,
           late = coalesce(change.late, reservation.late), release_reason = change.release_reason,
           cancel_reason = coalesce(change.cancel_reason, reservation.cancel_reason),
           short = CASE WHEN change.is_changed THEN NULL ELSE reservation.short END
      FROM pg_temp.doorbuster_changes_4 AS change
     WHERE reservation.id = change.id AND reservation.state = change.found";

/// One that the statement above did not touch: no row of this id was written by this transaction.
const UNCHANGED_RESERVATION: &str = "
    SELECT change.id, change.found
      FROM pg_temp.doorbuster_changes_4 AS change LEFT JOIN reservations AS reservation USING (id)
     WHERE reservation.id IS NULL OR reservation.xmin::text <> pg_current_xact_id()::xid::text
     ORDER BY change.id LIMIT 1";

/// Writes the window's rows and moves the cursor; says how many rows were touched. After an error the link is of no use.
pub(super) async fn window(link: &Link, names: &Names, window: &Window, token: &Token) -> Result<u64, StoreError> {
    let mut writer = Writer { link, names, rows: 0 };
    link.batch("beginning a transaction", &begin(link)).await?;
    // First, because a writer holds this row, and a process that lost the store finds out here.
    writer.move_cursor(window, token).await?;
    writer.sales(window).await?;
    // Before what is new: who comes back is a new customer.
    let erased = erase::customers(link, window).await?;
    writer.rows += erased.rows;
    writer.movements(window.movements(), &erased.erasures).await?;
    writer.audit(window.audit()).await?;
    writer.counts(window).await?;
    writer.refused(window, &erased.erasures).await?;
    writer.new_reservations(window).await?;
    writer.rows += lines::add_new(link, names, window).await?;
    writer.changes(window, &erased.erasures).await?;
    writer.rows += lines::change(link, names, window).await?;
    link.batch("COMMIT", "COMMIT").await?;
    Ok(writer.rows)
}

struct Writer<'a> {
    link: &'a Link,
    names: &'a Names,
    rows: u64,
}

impl Writer<'_> {
    async fn move_cursor(&mut self, window: &Window, token: &Token) -> Result<(), StoreError> {
        let (from, to, at) = (integer(window.after())?, integer(window.through())?, window.at().map(Moment));
        let epoch = integer(token.epoch)?;
        let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
            (&from, Type::INT8),
            (&to, Type::INT8),
            (&at, Type::TIMESTAMPTZ),
            (&token.owner, Type::UUID),
            (&epoch, Type::INT8),
            (&token.session, Type::UUID),
        ];
        match self.link.execute("moving the cursor", MOVE_CURSOR, &parameters).await? {
            1 => Ok(()),
            _ => Err(StoreError::CursorMoved { expected: window.after() }),
        }
    }

    async fn sales(&mut self, window: &Window) -> Result<(), StoreError> {
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
        }
        let ItemColumns { skus, numbers, initial, amounts, currencies, limits } = &columns;
        let sale = &put.settings.id;
        let add: [(&(dyn ToSql + Sync), Type); 7] = [
            (sale, Type::TEXT),
            (skus, Type::TEXT_ARRAY),
            (numbers, Type::INT8_ARRAY),
            (initial, Type::INT8_ARRAY),
            (amounts, Type::INT8_ARRAY),
            (currencies, Type::TEXT_ARRAY),
            (limits, Type::INT8_ARRAY),
        ];
        self.link.execute("adding items", ADD_ITEMS, &add).await?;
        let again: [(&(dyn ToSql + Sync), Type); 6] = [
            (sale, Type::TEXT),
            (skus, Type::TEXT_ARRAY),
            (numbers, Type::INT8_ARRAY),
            (amounts, Type::INT8_ARRAY),
            (currencies, Type::TEXT_ARRAY),
            (limits, Type::INT8_ARRAY),
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

    async fn movements(&mut self, movements: &[Movement], erasures: &Erasures) -> Result<(), StoreError> {
        if movements.is_empty() {
            return Ok(());
        }
        const TYPES: [Type; 11] = [
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::INT8,
            Type::TEXT,
            Type::TEXT,
            Type::TIMESTAMPTZ,
            Type::INT8,
            Type::INT8,
            Type::TEXT,
            Type::UUID,
        ];
        let written = self.link.copy("copying movements", ADD_MOVEMENTS, &TYPES, async |mut copying| {
            for movement in movements {
                let (item, pool) = self.names.pool(movement.pool)?;
                let other = movement.other.map(|other| self.names.pool(other)).transpose()?;
                let erased_at = movement.reservation.and_then(|id| erasures.get(&id).copied());
                let row: [&(dyn ToSql + Sync); 11] = [
                    &&*item.sale,
                    &&*item.sku,
                    &pool,
                    &movement.delta,
                    &Told::unless_erased(movement.reason.as_ref(), erased_at),
                    &movement.reference.as_deref(),
                    &Moment(movement.at),
                    &integer(movement.after.stock)?,
                    &integer(movement.after.available)?,
                    &other.map(|(_, id)| id),
                    &movement.reservation.map(uuid_of),
                ];
                copying.row(&row).await?;
            }
            Ok::<_, StoreError>(())
        });
        self.rows += written.await?;
        Ok(())
    }

    async fn audit(&mut self, rows: &[AuditRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        const TYPES: [Type; 8] =
            [Type::INT8, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT];
        let written = self.link.copy("copying the audit trail", ADD_AUDIT, &TYPES, async |mut copying| {
            for row in rows {
                let AuditRow { sequence, at, actor, action, sale, sku, detail, hash } = row;
                copying.row(&[sequence, at, actor, action, sale, sku, detail, hash]).await?;
            }
            Ok::<_, StoreError>(())
        });
        self.rows += written.await.map_err(|error| contradicted("audit", error))?;
        Ok(())
    }

    async fn counts(&mut self, window: &Window) -> Result<(), StoreError> {
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

    /// Straight to where they belong: an id that is there already contradicts the journal, and is refused by the key.
    async fn new_reservations(&mut self, window: &Window) -> Result<(), StoreError> {
        if begun(window).next().is_none() {
            return Ok(());
        }
        const TYPES: [Type; 20] = [
            Type::UUID,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::INT8,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::BOOL,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
        ];
        let written = self.link.copy("copying reservations", ADD_RESERVATIONS, &TYPES, async |mut copying| {
            for (id, change) in begun(window) {
                let begun = change.begun.as_ref().expect("only these are chosen");
                let row = NewReservation::of(self.names, id, begun, change)?;
                let row: [&(dyn ToSql + Sync); 20] = [
                    &uuid_of(*id),
                    &self.names.sale(begun.sale)?,
                    &row.customer,
                    &row.rest.state.as_str(),
                    &row.rest.reference,
                    &Moment(row.created_at),
                    &Moment(row.expires_at),
                    &i64::from(row.extensions),
                    &row.rest.confirmed_at.map(Moment),
                    &row.rest.released_at.map(Moment),
                    &row.rest.expired_at.map(Moment),
                    &row.rest.cancelled_at.map(Moment),
                    &row.rest.is_late.unwrap_or(false),
                    &row.rest.release_reason,
                    &row.rest.cancel_reason,
                    &row.tier,
                    &row.channel,
                    &row.region,
                    &row.labels,
                    &row.short,
                ];
                copying.row(&row).await?;
            }
            Ok(())
        });
        self.rows += written.await.map_err(|error| contradicted("reservations", error))?;
        Ok(())
    }

    async fn refused(&mut self, window: &Window, erasures: &Erasures) -> Result<(), StoreError> {
        if window.refused().is_empty() {
            return Ok(());
        }
        const TYPES: [Type; 5] = [Type::UUID, Type::TEXT, Type::TIMESTAMPTZ, Type::TEXT, Type::TEXT];
        let written = self.link.copy("copying refused confirmations", ADD_REFUSED, &TYPES, async |mut copying| {
            for refused in window.refused() {
                let reference = Told::unless_erased(refused.reference.as_ref(), erasures.get(&refused.id).copied());
                let row: [&(dyn ToSql + Sync); 5] = [
                    &uuid_of(refused.id),
                    &self.names.sale(refused.sale)?,
                    &Moment(refused.at),
                    &reference,
                    &refused.cause.as_str(),
                ];
                copying.row(&row).await?;
            }
            Ok::<_, StoreError>(())
        });
        self.rows += written.await?;
        Ok(())
    }

    /// What began in an earlier window and changed in this one.
    async fn changes(&mut self, window: &Window, erasures: &Erasures) -> Result<(), StoreError> {
        if changed(window).next().is_none() {
            return Ok(());
        }
        const TYPES: [Type; 14] = [
            Type::UUID,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TIMESTAMPTZ,
            Type::INT8,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::BOOL,
            Type::TEXT,
            Type::TEXT,
            Type::BOOL,
        ];
        self.link.batch("making the temporary table", MAKE_CHANGES).await?;
        let copied = self.link.copy("copying changes", COPY_CHANGES, &TYPES, async |mut copying| {
            for (id, change) in changed(window) {
                let row = ChangedReservation::of(change, erasures.get(id).copied());
                let row: [&(dyn ToSql + Sync); 14] = [
                    &uuid_of(*id),
                    &row.found.as_str(),
                    &row.state.as_str(),
                    &row.reference,
                    &row.expires_at.map(Moment),
                    &row.extensions.map(i64::from),
                    &row.confirmed_at.map(Moment),
                    &row.released_at.map(Moment),
                    &row.expired_at.map(Moment),
                    &row.cancelled_at.map(Moment),
                    &row.is_late,
                    &row.release_reason,
                    &row.cancel_reason,
                    &row.is_changed,
                ];
                copying.row(&row).await?;
            }
            Ok::<_, StoreError>(())
        });
        let copied = copied.await?;
        let touched = self.link.execute("changing reservations", CHANGE_RESERVATIONS, &[]).await;
        let touched = touched.map_err(|error| contradicted("reservations", error.into()))?;
        if touched != copied {
            let rows = self.link.query("looking for the reservation", UNCHANGED_RESERVATION, &[]).await?;
            let (id, found) = match rows.first() {
                Some(row) => (get::<Uuid>(row, 0)?.to_string(), get(row, 1)?),
                None => ("of some id".to_owned(), "what it was"),
            };
            let told = format!("reservation {id} changed, but it is missing or not {found}");
            return Err(StoreError::Contradiction(told));
        }
        self.rows += touched;
        Ok(())
    }

    fn touched(
        &mut self,
        rows: u64,
        expected: usize,
        contradiction: impl FnOnce() -> String,
    ) -> Result<(), StoreError> {
        if rows != expected as u64 {
            return Err(StoreError::Contradiction(contradiction()));
        }
        self.rows += rows;
        Ok(())
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

pub(super) fn uuid_of(id: ReservationId) -> Uuid {
    Uuid::from_bytes(*id.bytes())
}

pub(super) fn begun(window: &Window) -> impl Iterator<Item = (&ReservationId, &ReservationChange)> {
    window.reservations().iter().filter(|(_, change)| change.begun.is_some())
}

fn changed(window: &Window) -> impl Iterator<Item = (&ReservationId, &ReservationChange)> {
    window.reservations().iter().filter(|(_, change)| change.begun.is_none())
}

/// A row that a constraint refused says that the store is not what the journal made it.
pub(super) fn contradicted(table: &'static str, error: StoreError) -> StoreError {
    match error {
        StoreError::Postgres(error) if error.is_constraint_of(table) => {
            StoreError::Contradiction(format!("{table}: {error}"))
        }
        error => error,
    }
}
