//! The read side, for checks and tools: the store's figures, and the same figures computed again from other rows.

use std::time::Instant;

use crate::sale::{audit::Broken, ids::ReservationId, outcome::State};

use super::{
    audit::{AuditCheck, AuditGap},
    error::StoreError,
    groups::By,
    owner::Standing,
    report::SaleReport,
    tables::Table,
    trail::{TrailAsk, TrailPage},
};

/// What is done with each row of a table.
pub(super) type EachRow<'a> = &'a mut dyn FnMut(&[Option<String>]) -> Result<(), StoreError>;

/// Looks into a store and never writes it.
pub trait StoreReader {
    /// From now on everything is read as it stands at this moment, whatever is written meanwhile.
    fn hold_still(&self) -> Result<(), StoreError>;

    /// How far the store is, and whose.
    fn standing(&self) -> Result<Standing, StoreError>;

    /// The last epoch applied.
    fn cursor(&self) -> Result<u64, StoreError> {
        Ok(self.standing()?.cursor)
    }

    /// By id.
    fn sales(&self) -> Result<Vec<StoredSale>, StoreError>;

    /// By sale and SKU.
    fn items(&self) -> Result<Vec<StoredItem>, StoreError>;

    /// Every item by sale and SKU, and after it each of its pools, at one moment. Reads all reservations.
    fn totals(&self) -> Result<Vec<Totals>, StoreError>;

    /// Reads all reservations.
    fn count_by_state(&self) -> Result<StateCounts, StoreError>;

    fn reservation(&self, id: &ReservationId) -> Result<Option<StoredReservation>, StoreError>;

    /// Those of them that are there, in any order. For many, to be called while the reader holds still.
    fn reservations(&self, ids: &[ReservationId]) -> Result<Vec<StoredReservation>, StoreError>;

    /// The id of every reservation whose row says that it is held. To be called while the reader holds still.
    fn held(&self, each: &mut dyn FnMut(&str)) -> Result<(), StoreError>;

    /// How a sale did, and each group of its reservations; None when the store does not have the sale. Reads all reservations, and
    /// gives up at the deadline.
    fn report(&mut self, sale: &str, by: Option<&By>, deadline: Instant) -> Result<Option<SaleReport>, StoreError>;

    /// A page of the audit trail. Gives up at the deadline.
    fn trail(&mut self, ask: &TrailAsk, deadline: Instant) -> Result<TrailPage, StoreError>;

    /// Walks the whole audit trail in order, as of one moment, over what may be absent of it, and says how far it holds, or what
    /// is wrong first. Whether it ends where it should is for whoever knows the service's own head.
    fn check_audit(&self, gaps: &[AuditGap]) -> Result<Result<AuditCheck, Broken>, StoreError>;

    /// The cells of every row, in the order of their keys. To be called while the reader holds still.
    fn rows(&self, table: Table, each: EachRow<'_>) -> Result<(), StoreError>;

    /// What the store says of its audit trail's gaps: after a number, through a number, and the hash there.
    fn audit_gaps(&self) -> Result<Vec<(i64, i64, String)>, StoreError>;
}

/// Where the units of an item or a pool are. Signed: this is what stands in the store, whatever that may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub stock: i64,
    pub available: i64,
    pub held: i64,
    pub confirmed: i64,
}

/// The counts of an item or a pool as its row has them, and as its movements, reservations and lines add up to: always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    pub sale: String,
    pub sku: String,
    /// None: the item's.
    pub pool: Option<String>,
    pub stored: Counts,
    pub recomputed: Counts,
}

/// Reservations in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateCounts {
    pub held: u64,
    pub confirmed: u64,
    pub released: u64,
    pub expired: u64,
    pub cancelled: u64,
}

/// A sale as its row has it; times are RFC 3339 text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSale {
    pub id: String,
    pub number: i64,
    pub name: String,
    pub opens_at: String,
    pub closes_at: String,
    pub hold_seconds: i64,
    pub max_extensions: Option<i64>,
    pub customer_limit: Option<i64>,
    pub paused: bool,
    pub closed: bool,
}

/// What an item's row says besides its counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredItem {
    pub sale: String,
    pub sku: String,
    pub number: i64,
    pub initial_stock: i64,
    /// Minor units and ISO 4217 code.
    pub price: Option<(i64, String)>,
    pub customer_limit: Option<i64>,
    pub low_stock_at: Option<i64>,
}

/// A reservation as its rows have it; times are RFC 3339 text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReservation {
    pub id: String,
    pub sale: String,
    pub customer: String,
    pub state: State,
    pub reference: Option<String>,
    pub created_at: String,
    pub expires_at: String,
    pub extensions: u32,
    pub confirmed_at: Option<String>,
    pub released_at: Option<String>,
    pub expired_at: Option<String>,
    pub cancelled_at: Option<String>,
    pub late: bool,
    pub release_reason: Option<String>,
    pub cancel_reason: Option<String>,
    pub tier: Option<String>,
    pub channel: Option<String>,
    pub region: Option<String>,
    /// JSON.
    pub labels: Option<String>,
    pub short: Option<String>,
    pub group_id: Option<String>,
    pub group_size: Option<i64>,
    pub group_state: Option<String>,
    pub waitlist_entry: Option<String>,
    /// In the order in which units were taken.
    pub lines: Vec<StoredLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLine {
    pub sku: String,
    pub pool: String,
    pub quantity: u32,
    /// Of them: left over by a confirmation of fewer.
    pub returned: u32,
    /// Of them: confirmed, and cancelled later.
    pub cancelled: u32,
    /// Minor units and ISO 4217 code.
    pub price: Option<(i64, String)>,
}

pub(super) const SALES: &str = "
    SELECT id, number, name, opens_at, closes_at, hold_seconds, max_extensions, customer_limit,
           paused_at IS NOT NULL, closed_at IS NOT NULL
      FROM sales ORDER BY id";

pub(super) const ITEMS: &str = "
    SELECT sale, sku, number, initial_stock, price_amount, price_currency, customer_limit, low_stock_at FROM items
     ORDER BY sale, sku";

pub(super) const STANDING: &str = "SELECT cursor, owner, owner_epoch, session FROM write_behind";

/// Counts of every item and every pool, and in the last three columns stock, held and confirmed as other rows add up to. In the
/// SQL that SQLite and PostgreSQL share.
pub(super) const TOTALS: &str = "
    WITH moved AS MATERIALIZED (
           SELECT sale, sku, pool, CAST(sum(delta) AS bigint) AS stock FROM stock_movements GROUP BY sale, sku, pool),
         reserved AS MATERIALIZED (
           SELECT sale, sku, pool,
                  CAST(coalesce(sum(quantity) FILTER (WHERE state = 'held'), 0) AS bigint) AS held,
                  CAST(coalesce(sum(quantity - returned - cancelled) FILTER (WHERE state = 'confirmed'), 0) AS bigint)
                    AS confirmed
             FROM (SELECT sale, sku, pool, state, quantity, returned, cancelled
                     FROM reservations JOIN reservation_lines ON reservation_id = id
                    WHERE state IN ('held', 'confirmed')
                   UNION ALL
                   SELECT sale, sku, pool, state, quantity, returned, cancelled
                     FROM reservations_archive JOIN reservation_lines_archive ON reservation_id = id
                    WHERE state = 'confirmed') AS line
            GROUP BY sale, sku, pool),
         moved_of_item AS (SELECT sale, sku, CAST(sum(stock) AS bigint) AS stock FROM moved GROUP BY sale, sku),
         reserved_of_item AS (
           SELECT sale, sku, CAST(sum(held) AS bigint) AS held, CAST(sum(confirmed) AS bigint) AS confirmed
             FROM reserved GROUP BY sale, sku)
    SELECT sale, sku, pool, stock, available, held, confirmed, moved, of_held, of_confirmed
      FROM (SELECT sale, sku, NULL AS pool, items.stock, items.available, items.held, items.confirmed,
                   coalesce(moved.stock, 0) AS moved, coalesce(reserved.held, 0) AS of_held,
                   coalesce(reserved.confirmed, 0) + items.confirmed_before AS of_confirmed
              FROM items LEFT JOIN moved_of_item AS moved USING (sale, sku)
                         LEFT JOIN reserved_of_item AS reserved USING (sale, sku)
            UNION ALL
            SELECT sale, sku, pool, pools.stock, pools.available, pools.held, pools.confirmed,
                   coalesce(moved.stock, 0), coalesce(reserved.held, 0),
                   coalesce(reserved.confirmed, 0) + pools.confirmed_before
              FROM pools LEFT JOIN moved USING (sale, sku, pool) LEFT JOIN reserved USING (sale, sku, pool)) AS total
     ORDER BY sale, sku, pool IS NOT NULL, pool";

/// The whole trail as far as it is here.
pub(super) const AUDIT: &str = "
    SELECT sequence, at, actor, action, sale, sku, detail, hash FROM audit_archive
    UNION ALL
    SELECT sequence, at, actor, action, sale, sku, detail, hash FROM audit
    ORDER BY sequence";

/// Where the audit trail has no rows here, in order.
pub(super) const AUDIT_GAPS: &str =
    "SELECT after_sequence, through_sequence, hash FROM audit_gaps ORDER BY after_sequence";

pub(super) const COUNT_BY_STATE: &str = "SELECT state, count(*) FROM reservations GROUP BY state";

impl Totals {
    /// `columns`: the numbers of a row of `TOTALS`, in its order.
    pub(super) fn of([sale, sku]: [String; 2], pool: Option<String>, columns: [i64; 7]) -> Self {
        let [stock, available, held, confirmed, moved, of_held, of_confirmed] = columns;
        let stored = Counts { stock, available, held, confirmed };
        let left = moved.saturating_sub(of_held).saturating_sub(of_confirmed);
        let recomputed = Counts { stock: moved, available: left, held: of_held, confirmed: of_confirmed };
        Self { sale, sku, pool, stored, recomputed }
    }
}

impl StateCounts {
    pub(super) fn add(&mut self, state: &str, count: i64) -> Result<(), StoreError> {
        let place = match parse_state(state)? {
            State::Held => &mut self.held,
            State::Confirmed => &mut self.confirmed,
            State::Released => &mut self.released,
            State::Expired => &mut self.expired,
            State::Cancelled => &mut self.cancelled,
        };
        *place = count.unsigned_abs();
        Ok(())
    }
}

pub(super) fn parse_state(word: &str) -> Result<State, StoreError> {
    let found = State::ALL.into_iter().find(|state| state.as_str() == word);
    found.ok_or_else(|| StoreError::Content(format!("a reservation in state {word:?}")))
}
