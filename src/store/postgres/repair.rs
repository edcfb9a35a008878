//! Repairs a PostgreSQL store.

use std::sync::{Arc, atomic::AtomicBool};

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{
    Driver,
    link::{Link, Patience, PostgresSettings},
    read, schema,
};
use crate::store::{
    error::StoreError,
    owner::{Standing, Token},
    reader::Totals,
    repair::{Repairer, Step},
    rows::integer,
};

/// A transaction on a database that puts rows right. Dropped before its end, it changes nothing. Not for use within a tokio
/// runtime: it has one of its own.
pub struct PostgresRepairer {
    runtime: Driver,
    link: Option<Link>,
}

impl PostgresRepairer {
    /// Connects, and brings the database to this program's format where needed.
    pub fn open(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let runtime = Driver::new()?;
        let link = runtime.block_on(async {
            let patience = Arc::new(Patience::new(Arc::new(AtomicBool::new(false)), settings.drain_time));
            let link = Link::open(settings, patience).await?;
            let place = settings.url.to_string();
            match schema::create(&link, &place).await {
                Err(StoreError::NoCursor) => {
                    link.execute("making the cursor's row", MAKE_ROW, &[(&schema::FORMAT, Type::INT8)]).await?;
                    schema::create(&link, &place).await?;
                }
                created => created?,
            }
            Ok::<_, StoreError>(link)
        })?;
        Ok(Self { runtime, link: Some(link) })
    }

    fn with<T>(&mut self, ask: impl AsyncFnOnce(&Link) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.runtime.block_on(ask(self.link.as_ref().expect("there until it is dropped")))
    }
}

impl Drop for PostgresRepairer {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.runtime.block_on(link.close());
        }
    }
}

/// Between two statements the rows are compared: as long as that takes.
const BEGIN: &str = "
    BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL client_min_messages = warning;
    SELECT set_config('synchronous_commit', 'on', true)
     WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// Somebody deleted it.
const MAKE_ROW: &str = "INSERT INTO write_behind (one, cursor, format) VALUES (1, 0, $1) ON CONFLICT (one) DO NOTHING";

const TAKE_OVER: &str = "
    UPDATE write_behind SET owner = $1, owner_epoch = $2, session = $3, cursor = $4
     WHERE owner IS NOT DISTINCT FROM $5 AND owner_epoch = $6 AND session IS NOT DISTINCT FROM $7 AND cursor = $8";

impl Repairer for PostgresRepairer {
    fn begin(&mut self, before: &Standing, token: &Token, cursor: u64) -> Result<(), StoreError> {
        let (owner, session): (Option<Uuid>, Option<Uuid>) =
            before.held_by.map(|token| (token.owner, token.session)).unzip();
        let (epoch, epoch_before) = (integer(token.epoch)?, integer(before.epoch())?);
        let (cursor, cursor_before) = (integer(cursor)?, integer(before.cursor)?);
        let taken = self.with(async |link| {
            link.batch("beginning to repair", BEGIN).await?;
            let parameters: [(&(dyn ToSql + Sync), Type); 8] = [
                (&token.owner, Type::UUID),
                (&epoch, Type::INT8),
                (&token.session, Type::UUID),
                (&cursor, Type::INT8),
                (&owner, Type::UUID),
                (&epoch_before, Type::INT8),
                (&session, Type::UUID),
                (&cursor_before, Type::INT8),
            ];
            Ok(link.execute("taking the store over", TAKE_OVER, &parameters).await?)
        })?;
        if taken == 1 { Ok(()) } else { Err(StoreError::CursorMoved { expected: before.cursor }) }
    }

    fn put(&mut self, step: Step, rows: &str) -> Result<u64, StoreError> {
        self.with(async |link| {
            let mut touched = 0;
            for sql in statements(step) {
                touched += link.execute("repairing", sql, &[(&rows, Type::TEXT)]).await?;
            }
            Ok(touched)
        })
    }

    fn totals(&mut self) -> Result<Vec<Totals>, StoreError> {
        self.with(read::totals)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.with(async |link| Ok(link.batch("COMMIT", "COMMIT").await?))
    }
}

/// Each with the rows as its one parameter. Children go before their parents, and come behind them.
fn statements(step: Step) -> &'static [&'static str] {
    match step {
        Step::RemoveSales => &[
            "DELETE FROM reservation_lines USING reservations, json_to_recordset($1::json) AS gone (id text)
              WHERE reservation_id = reservations.id AND sale = gone.id",
            "DELETE FROM reservations USING json_to_recordset($1::json) AS gone (id text) WHERE sale = gone.id",
            "DELETE FROM reservation_lines_archive USING reservations_archive, json_to_recordset($1::json) AS gone (id text)
              WHERE reservation_id = reservations_archive.id AND sale = gone.id",
            "DELETE FROM reservations_archive USING json_to_recordset($1::json) AS gone (id text) WHERE sale = gone.id",
            "DELETE FROM refused_confirmations USING json_to_recordset($1::json) AS gone (id text) WHERE sale = gone.id",
            "DELETE FROM waitlist_entries USING json_to_recordset($1::json) AS gone (id text) WHERE sale = gone.id",
            "DELETE FROM waitlist_entries_archive USING json_to_recordset($1::json) AS gone (id text) WHERE sale = gone.id",
            "DELETE FROM stock_movements USING json_to_recordset($1::json) AS gone (id text) WHERE sale = gone.id",
            "DELETE FROM pools USING json_to_recordset($1::json) AS gone (id text) WHERE sale = gone.id",
            "DELETE FROM items USING json_to_recordset($1::json) AS gone (id text) WHERE sale = gone.id",
            "DELETE FROM sales USING json_to_recordset($1::json) AS gone (id text) WHERE sales.id = gone.id",
        ],
        Step::RemoveItems => &[
            "DELETE FROM reservation_lines AS line
              USING reservations, json_to_recordset($1::json) AS gone (sale text, sku text)
              WHERE line.reservation_id = reservations.id AND reservations.sale = gone.sale AND line.sku = gone.sku",
            "DELETE FROM reservation_lines_archive AS line
              USING reservations_archive AS owner, json_to_recordset($1::json) AS gone (sale text, sku text)
              WHERE line.reservation_id = owner.id AND owner.sale = gone.sale AND line.sku = gone.sku",
            "DELETE FROM stock_movements AS movement USING json_to_recordset($1::json) AS gone (sale text, sku text)
              WHERE movement.sale = gone.sale AND movement.sku = gone.sku",
            "DELETE FROM pools USING json_to_recordset($1::json) AS gone (sale text, sku text)
              WHERE pools.sale = gone.sale AND pools.sku = gone.sku",
            "DELETE FROM items USING json_to_recordset($1::json) AS gone (sale text, sku text)
              WHERE items.sale = gone.sale AND items.sku = gone.sku",
        ],
        Step::RemovePools => &[
            "DELETE FROM stock_movements AS movement USING json_to_recordset($1::json) AS gone (sale text, sku text, pool text)
              WHERE movement.sale = gone.sale AND movement.sku = gone.sku AND movement.pool = gone.pool",
            "DELETE FROM pools USING json_to_recordset($1::json) AS gone (sale text, sku text, pool text)
              WHERE pools.sale = gone.sale AND pools.sku = gone.sku AND pools.pool = gone.pool",
        ],
        Step::RemoveReservations => &[
            "DELETE FROM refused_confirmations USING json_to_recordset($1::json) AS gone (id uuid)
              WHERE reservation_id = gone.id",
            "DELETE FROM reservation_lines USING json_to_recordset($1::json) AS gone (id uuid)
              WHERE reservation_id = gone.id",
            "DELETE FROM reservations USING json_to_recordset($1::json) AS gone (id uuid)
              WHERE reservations.id = gone.id",
            "DELETE FROM reservation_lines_archive USING json_to_recordset($1::json) AS gone (id uuid)
              WHERE reservation_id = gone.id",
            "DELETE FROM reservations_archive USING json_to_recordset($1::json) AS gone (id uuid)
              WHERE reservations_archive.id = gone.id",
        ],
        Step::RemoveArchived => &[
            "DELETE FROM reservation_lines_archive USING json_to_recordset($1::json) AS gone (id uuid)
              WHERE reservation_id = gone.id",
            "DELETE FROM reservations_archive USING json_to_recordset($1::json) AS gone (id uuid)
              WHERE reservations_archive.id = gone.id",
        ],
        Step::RemoveLines => &[
            "DELETE FROM reservation_lines AS line
              USING json_to_recordset($1::json) AS gone (reservation_id uuid, line bigint, place text)
              WHERE line.reservation_id = gone.reservation_id AND line.line = gone.line AND gone.place = 'live'",
            "DELETE FROM reservation_lines_archive AS line
              USING json_to_recordset($1::json) AS gone (reservation_id uuid, line bigint, place text)
              WHERE line.reservation_id = gone.reservation_id AND line.line = gone.line AND gone.place = 'archive'",
        ],
        Step::RemoveRefused => &["
            DELETE FROM refused_confirmations AS refused
              USING json_to_recordset($1::json) AS gone (reservation_id uuid, at timestamptz)
              WHERE refused.reservation_id = gone.reservation_id AND refused.at = gone.at"],
        Step::PutRefused => &["
            INSERT INTO refused_confirmations (reservation_id, sale, at, reference, cause)
             SELECT (one ->> 'reservation_id')::uuid, one ->> 'sale', (one ->> 'at')::timestamptz, one ->> 'reference',
                    one ->> 'cause'
               FROM json_array_elements($1::json) WITH ORDINALITY AS put (one, place)
              ORDER BY place"],
        Step::RemoveEntries => &[
            "DELETE FROM waitlist_entries AS entry USING json_to_recordset($1::json) AS gone (id uuid)
              WHERE entry.id = gone.id",
            "DELETE FROM waitlist_entries_archive AS entry USING json_to_recordset($1::json) AS gone (id uuid)
              WHERE entry.id = gone.id",
        ],
        Step::RemoveArchivedEntries => &["
            DELETE FROM waitlist_entries_archive AS entry USING json_to_recordset($1::json) AS gone (id uuid)
              WHERE entry.id = gone.id"],
        Step::PutEntries => &[
            "DELETE FROM waitlist_entries_archive AS entry USING json_to_recordset($1::json) AS put (id uuid)
              WHERE entry.id = put.id",
            "INSERT INTO waitlist_entries (id, sale, customer, state, place, lines, reference, joined_at, expires_at, ended_at,
                    reservation_id, passed_over_at, passed_over_code, tier, channel, region, labels, locations)
             SELECT id, sale, customer, state, place, lines, reference, joined_at, expires_at, ended_at,
                    reservation_id, passed_over_at, passed_over_code, tier, channel, region, labels, locations
               FROM json_to_recordset($1::json)
                      AS put (id uuid, sale text, customer text, state text, place bigint, lines text,
                              reference text, joined_at timestamptz, expires_at timestamptz, ended_at timestamptz,
                              reservation_id uuid, passed_over_at timestamptz, passed_over_code text, tier text,
                              channel text, region text, labels text, locations text)
             ON CONFLICT (id) DO UPDATE
                SET sale = excluded.sale, customer = excluded.customer, state = excluded.state,
                    place = excluded.place, lines = excluded.lines, reference = excluded.reference,
                    joined_at = excluded.joined_at, expires_at = excluded.expires_at,
                    ended_at = excluded.ended_at, reservation_id = excluded.reservation_id,
                    passed_over_at = excluded.passed_over_at, passed_over_code = excluded.passed_over_code,
                    tier = excluded.tier, channel = excluded.channel, region = excluded.region,
                    labels = excluded.labels, locations = excluded.locations",
        ],
        // Numbers are unique, and two rows may have each other's.
        Step::PutSales => &[
            "UPDATE sales SET number = -1 - number FROM json_to_recordset($1::json) AS put (id text)
              WHERE sales.id = put.id",
            "INSERT INTO sales (id, number, name, opens_at, closes_at, hold_seconds, max_extensions, customer_limit, paused_at,
                    closed_at, created_at, updated_at)
             SELECT id, number, name, opens_at, closes_at, hold_seconds, max_extensions, customer_limit, paused_at,
                    closed_at, created_at, updated_at
               FROM json_to_recordset($1::json)
                      AS put (id text, number bigint, name text, opens_at timestamptz, closes_at timestamptz,
                              hold_seconds bigint, max_extensions bigint, customer_limit bigint,
                              paused_at timestamptz, closed_at timestamptz, created_at timestamptz,
                              updated_at timestamptz)
             ON CONFLICT (id) DO UPDATE
                SET number = excluded.number, name = excluded.name, opens_at = excluded.opens_at,
                    closes_at = excluded.closes_at, hold_seconds = excluded.hold_seconds,
                    max_extensions = excluded.max_extensions, customer_limit = excluded.customer_limit,
                    paused_at = excluded.paused_at, closed_at = excluded.closed_at,
                    created_at = excluded.created_at, updated_at = excluded.updated_at",
        ],
        Step::PutItems => &[
            "UPDATE items SET number = -1 - number FROM json_to_recordset($1::json) AS put (sale text, sku text)
              WHERE items.sale = put.sale AND items.sku = put.sku",
            "INSERT INTO items (sale, sku, number, initial_stock, stock, available, held, confirmed, price_amount,
                    price_currency, customer_limit, low_stock_at)
             SELECT sale, sku, number, initial_stock, stock, available, held, confirmed, price_amount,
                    price_currency, customer_limit, low_stock_at
               FROM json_to_recordset($1::json)
                      AS put (sale text, sku text, number bigint, initial_stock bigint, stock bigint,
                              available bigint, held bigint, confirmed bigint, price_amount bigint,
                              price_currency text, customer_limit bigint, low_stock_at bigint)
             ON CONFLICT (sale, sku) DO UPDATE
                SET number = excluded.number, initial_stock = excluded.initial_stock, stock = excluded.stock,
                    available = excluded.available, held = excluded.held, confirmed = excluded.confirmed,
                    price_amount = excluded.price_amount, price_currency = excluded.price_currency,
                    customer_limit = excluded.customer_limit, low_stock_at = excluded.low_stock_at",
        ],
        Step::PutItemHistory => &["
            UPDATE items SET sold_out_at = put.sold_out_at, confirmed_before = put.confirmed_before
              FROM json_to_recordset($1::json)
                     AS put (sale text, sku text, sold_out_at timestamptz, confirmed_before bigint)
             WHERE items.sale = put.sale AND items.sku = put.sku"],
        Step::PutPools => &[
            "UPDATE pools SET number = -1 - number FROM json_to_recordset($1::json) AS put (sale text, sku text, pool text)
              WHERE pools.sale = put.sale AND pools.sku = put.sku AND pools.pool = put.pool",
            "INSERT INTO pools (sale, sku, pool, number, position, location, initial_stock, stock, available, held, confirmed,
                    price_amount, price_currency, tiers, channels, shared_at)
             SELECT sale, sku, pool, number, position, location, initial_stock, stock, available, held, confirmed,
                    price_amount, price_currency, tiers, channels, shared_at
               FROM json_to_recordset($1::json)
                      AS put (sale text, sku text, pool text, number bigint, position bigint, location text,
                              initial_stock bigint, stock bigint, available bigint, held bigint, confirmed bigint,
                              price_amount bigint, price_currency text, tiers text, channels text,
                              shared_at timestamptz)
             ON CONFLICT (sale, sku, pool) DO UPDATE
                SET number = excluded.number, position = excluded.position, location = excluded.location,
                    initial_stock = excluded.initial_stock, stock = excluded.stock, available = excluded.available,
                    held = excluded.held, confirmed = excluded.confirmed, price_amount = excluded.price_amount,
                    price_currency = excluded.price_currency, tiers = excluded.tiers, channels = excluded.channels,
                    shared_at = excluded.shared_at",
        ],
        Step::PutPoolHistory => &["
            UPDATE pools SET confirmed_before = put.confirmed_before
              FROM json_to_recordset($1::json) AS put (sale text, sku text, pool text, confirmed_before bigint)
             WHERE pools.sale = put.sale AND pools.sku = put.sku AND pools.pool = put.pool"],
        Step::PutReservations => &[
            "DELETE FROM reservation_lines_archive USING json_to_recordset($1::json) AS put (id uuid)
              WHERE reservation_id = put.id",
            "DELETE FROM reservations_archive USING json_to_recordset($1::json) AS put (id uuid)
              WHERE reservations_archive.id = put.id",
            "INSERT INTO reservations (id, sale, customer, state, reference, created_at, expires_at, extensions, confirmed_at,
                    released_at, expired_at, cancelled_at, late, release_reason, cancel_reason, tier, channel, region,
                    labels, short, group_id, group_size, group_state, waitlist_entry)
             SELECT id, sale, customer, state, reference, created_at, expires_at, extensions, confirmed_at,
                    released_at, expired_at, cancelled_at, late, release_reason, cancel_reason, tier, channel, region,
                    labels, short, group_id, group_size, group_state, waitlist_entry
               FROM json_to_recordset($1::json)
                      AS put (id uuid, sale text, customer text, state text, reference text, created_at timestamptz,
                              expires_at timestamptz, extensions bigint, confirmed_at timestamptz,
                              released_at timestamptz, expired_at timestamptz, cancelled_at timestamptz, late boolean,
                              release_reason text, cancel_reason text, tier text, channel text,
                              region text, labels text, short text, group_id uuid, group_size bigint,
                              group_state text, waitlist_entry uuid)
             ON CONFLICT (id) DO UPDATE
                SET sale = excluded.sale, customer = excluded.customer, state = excluded.state,
                    reference = excluded.reference, created_at = excluded.created_at,
                    expires_at = excluded.expires_at, extensions = excluded.extensions,
                    confirmed_at = excluded.confirmed_at, released_at = excluded.released_at,
                    expired_at = excluded.expired_at, cancelled_at = excluded.cancelled_at, late = excluded.late,
                    release_reason = excluded.release_reason, cancel_reason = excluded.cancel_reason,
                    tier = excluded.tier, channel = excluded.channel, region = excluded.region,
                    labels = excluded.labels, short = excluded.short, group_id = excluded.group_id,
                    group_size = excluded.group_size, group_state = excluded.group_state,
                    waitlist_entry = excluded.waitlist_entry",
            "DELETE FROM reservation_lines USING json_to_recordset($1::json) AS put (id uuid)
              WHERE reservation_id = put.id",
            "INSERT INTO reservation_lines (reservation_id, line, sku, pool, quantity, returned, cancelled, price_amount,
                    price_currency)
             SELECT put.id, line.line, line.sku, line.pool, line.quantity, line.returned, line.cancelled,
                    line.price_amount, line.price_currency
               FROM json_to_recordset($1::json) AS put (id uuid, lines json),
                    json_to_recordset(put.lines)
                      AS line (line bigint, sku text, pool text, quantity bigint, returned bigint, cancelled bigint,
                               price_amount bigint, price_currency text)",
        ],
        Step::ReplaceMovements => &[
            "DELETE FROM stock_movements USING (
               SELECT movement.id, put.keep,
                      row_number() OVER (PARTITION BY movement.sale, movement.sku, movement.pool ORDER BY movement.id) AS place
                 FROM json_to_recordset($1::json) AS put (sale text, sku text, pool text, keep bigint)
                 JOIN stock_movements AS movement
                   ON movement.sale = put.sale AND movement.sku = put.sku AND movement.pool = put.pool) AS gone
              WHERE stock_movements.id = gone.id AND gone.place > gone.keep",
            "INSERT INTO stock_movements (sale, sku, pool, delta, reason, reference, at, stock_after, available_after, other_pool,
                    reservation_id)
             SELECT put.sale, put.sku, put.pool, (one ->> 'delta')::bigint, one ->> 'reason', one ->> 'reference',
                    (one ->> 'at')::timestamptz, (one ->> 'stock_after')::bigint, (one ->> 'available_after')::bigint,
                    one ->> 'other_pool', (one ->> 'reservation_id')::uuid
               FROM json_to_recordset($1::json) AS put (sale text, sku text, pool text, movements json),
                    json_array_elements(put.movements) WITH ORDINALITY AS movement (one, place)
              ORDER BY put.sale, put.sku, put.pool, place",
        ],
        Step::AddConfirmedBefore => &[
            "UPDATE items SET confirmed_before = confirmed_before + change.delta
              FROM json_to_recordset($1::json) AS change (sale text, sku text, pool text, delta bigint)
             WHERE items.sale = change.sale AND items.sku = change.sku AND change.pool IS NULL
               AND confirmed_before + change.delta >= 0",
            "UPDATE pools SET confirmed_before = confirmed_before + change.delta
              FROM json_to_recordset($1::json) AS change (sale text, sku text, pool text, delta bigint)
             WHERE pools.sale = change.sale AND pools.sku = change.sku AND pools.pool = change.pool
               AND confirmed_before + change.delta >= 0",
        ],
        Step::RemoveAudit => &[
            "DELETE FROM audit USING json_to_recordset($1::json) AS gone (sequence bigint)
              WHERE audit.sequence = gone.sequence",
            "DELETE FROM audit_archive USING json_to_recordset($1::json) AS gone (sequence bigint)
              WHERE audit_archive.sequence = gone.sequence",
        ],
        Step::PutAudit => &[
            "DELETE FROM audit USING json_to_recordset($1::json) AS put (sequence bigint)
              WHERE audit.sequence = put.sequence",
            "DELETE FROM audit_archive USING json_to_recordset($1::json) AS put (sequence bigint)
              WHERE audit_archive.sequence = put.sequence",
            "INSERT INTO audit (sequence, at, actor, action, sale, sku, detail, hash)
             SELECT sequence, at, actor, action, sale, sku, detail, hash
               FROM json_to_recordset($1::json)
                      AS put (sequence bigint, at text, actor text, action text, sale text, sku text, detail text,
                              hash text)",
        ],
        Step::PutGaps => &[
            "DELETE FROM audit_gaps WHERE $1::text IS NOT NULL",
            "INSERT INTO audit_gaps (after_sequence, through_sequence, hash)
             SELECT after, through, hash
               FROM json_to_recordset($1::json) AS put (after bigint, through bigint, hash text)",
        ],
        Step::PutWriteBehind => &["
            UPDATE write_behind SET updated_at = put.updated_at, kept_from = put.kept_from, format = put.format
              FROM json_to_recordset($1::json) AS put (updated_at timestamptz, kept_from timestamptz, format bigint)"],
    }
}
