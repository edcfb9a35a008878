//! Bodies of answers about sales and their stock.

use super::*;

/// A sale: its settings, its status, and the units of its items by state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sale)]
pub struct SaleBody<'a> {
    /// The sale's id.
    id: &'a str,
    /// The sale's name, for people.
    name: &'a str,
    /// When the sale opens: from then on units can be reserved.
    #[schema(value_type = String)]
    opens_at: Timestamp,
    /// When the sale closes: from then on no more units can be reserved.
    #[schema(value_type = String)]
    closes_at: Timestamp,
    /// How long a hold lasts, in seconds, if the request does not say.
    hold_seconds: u64,
    /// How often one hold may be extended; left out if only the service's own limit applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_extensions: Option<u32>,
    /// Units of each item that one customer may have, held and confirmed together; left out if there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_limit: Option<u32>,
    /// For how long after its end a hold may still be confirmed, in seconds; left out: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    late_confirm_seconds: Option<u32>,
    /// How many holds a customer may have at once, and let expire; left out: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_budget: Option<HoldBudget>,
    /// Customers who find too few units may wait for those that come back; left out: nobody waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    waitlist: Option<Waitlist>,
    /// Quotas of requests; left out if only those of the configuration apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limits: Option<RateLimits>,
    /// Who may buy when; left out if everybody may.
    #[serde(skip_serializing_if = "<[Phase]>::is_empty")]
    phases: &'a [Phase],
    /// The status, by the clock and by operators' commands. Only an `open` sale takes reservations.
    status: &'static str,
    /// Customers that wait; left out if the sale has no waitlist and nobody waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u64>,
    /// In the order of the sale's settings.
    items: Vec<ItemBody<'a>>,
}

/// The result of an extension of all holds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExtendedHolds)]
pub struct ExtendedHoldsBody {
    /// Holds that end later now.
    pub holds: u64,
}

/// The result of an erasure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Erasure)]
pub struct ErasureBody {
    /// The customer's reservations and waitlist entries in memory. Those that only the store has are erased there, but not counted.
    pub reservations: u64,
}

/// An item: its settings, and its units by state: `stock = available + held + confirmed`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Item)]
pub(super) struct ItemBody<'a> {
    /// The item's SKU.
    sku: &'a str,
    /// Units that the item started with.
    initial_stock: u64,
    /// The price of one unit; left out if the item has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    /// Units that one customer may have, held and confirmed together; left out if the sale's limit applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_limit: Option<u32>,
    /// Units confirmed before this moment do not count towards the customer's limit, because they may have left memory before
    /// the limit was set. Left out when all units count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    limit_counts_since: Option<Timestamp>,
    /// The parts of its stock; left out if the item declares none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pools: Vec<PoolOfItem<'a>>,
    /// Which pools a line draws from first; left out: `in_order`.
    #[serde(skip_serializing_if = "Option::is_none")]
    sourcing: Option<Sourcing>,
    /// Whether a line may draw from several pools; left out: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<bool>,
    /// Its stock is low while no more units than this are available; left out: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    low_stock_at: Option<u64>,
    /// How the item is sold to groups of customers; left out: to each customer alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<GroupSettings>,
    /// Groups that are open now; left out if the item is not sold to groups and none is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    open_groups: Option<u64>,
    /// Units in the sale: initial stock plus adjustments.
    stock: u64,
    /// Units that can be reserved.
    available: u64,
    /// Units in holds.
    held: u64,
    /// Units confirmed.
    confirmed: u64,
}

/// A pool: its settings, and its units by state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pool)]
pub(super) struct PoolOfItem<'a> {
    /// The pool's id, unique within the item.
    id: &'a str,
    /// Units that the pool started with.
    initial_stock: u64,
    /// Open to customers of these tiers; left out: of all tiers, and of none.
    #[serde(skip_serializing_if = "Option::is_none")]
    tiers: Option<&'a [String]>,
    /// Open to requests through these channels; left out: through all channels, and through none.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<&'a [String]>,
    /// From this moment on the pool is open to everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    shared_at: Option<Timestamp>,
    /// Where its units are.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    /// What a unit costs to send to each region.
    #[serde(skip_serializing_if = "Option::is_none")]
    costs: Option<&'a BTreeMap<String, u64>>,
    /// The price of one unit from this pool; left out: the item's.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    /// Units in the pool: initial stock, adjustments and transfers.
    stock: u64,
    /// Units that can be reserved.
    available: u64,
    /// Units in holds.
    held: u64,
    /// Units confirmed.
    confirmed: u64,
}

impl<'a> PoolOfItem<'a> {
    fn new(pool: &'a PoolSettings, counts: &Counts) -> Self {
        Self {
            id: &pool.id,
            initial_stock: pool.initial_stock,
            tiers: pool.tiers.as_deref(),
            channels: pool.channels.as_deref(),
            shared_at: pool.shared_at,
            location: pool.location.as_deref(),
            costs: pool.costs.as_ref(),
            price: pool.price,
            stock: counts.stock(),
            available: counts.available,
            held: counts.held,
            confirmed: counts.confirmed,
        }
    }
}

impl<'a> SaleBody<'a> {
    pub fn new(view: &'a SaleView) -> Self {
        let SaleSettings {
            id,
            name,
            opens_at,
            closes_at,
            hold_seconds,
            max_extensions,
            customer_limit,
            late_confirm_seconds,
            hold_budget,
            waitlist,
            rate_limits,
            phases,
            ..
        } = &*view.sale.settings;
        let items = view.sale.items.iter().zip(&view.counts).zip(&view.pools).zip(&view.open_groups);
        let items = items.map(|(((item, counts), pools), open_groups)| ItemBody {
            sku: &item.settings.sku,
            initial_stock: item.settings.initial_stock,
            price: item.settings.price,
            customer_limit: item.settings.customer_limit,
            limit_counts_since: item.settings.limit_counts_since,
            pools: item.settings.pools.iter().zip(pools).map(|(pool, counts)| PoolOfItem::new(pool, counts)).collect(),
            sourcing: item.settings.sourcing,
            split: item.settings.split,
            low_stock_at: item.settings.low_stock_at,
            group: item.settings.group,
            open_groups: *open_groups,
            stock: counts.stock(),
            available: counts.available,
            held: counts.held,
            confirmed: counts.confirmed,
        });
        Self {
            id,
            name,
            opens_at: *opens_at,
            closes_at: *closes_at,
            hold_seconds: *hold_seconds,
            max_extensions: *max_extensions,
            customer_limit: *customer_limit,
            late_confirm_seconds: Some(*late_confirm_seconds).filter(|&seconds| seconds > 0),
            hold_budget: *hold_budget,
            waitlist: *waitlist,
            rate_limits: *rate_limits,
            phases,
            status: view.status.as_str(),
            waiting: view.waiting,
            items: items.collect(),
        }
    }
}

/// A page of sales, by id.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SalesPage)]
pub struct SalesBody<'a> {
    /// The page.
    pub sales: Vec<SaleBody<'a>>,
    /// The `after` of the next page; left out on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<&'a str>,
}

/// What can be reserved now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Availability)]
pub struct AvailabilityBody<'a> {
    /// The sale's id.
    sale: &'a str,
    /// The status, by the clock and by operators' commands. Only an `open` sale takes reservations.
    status: &'static str,
    /// Customers that wait; left out if the sale has no waitlist and nobody waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u64>,
    /// In the order of the sale's settings.
    items: Vec<AvailableBody<'a>>,
}

/// Available units of one item.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AvailableItem)]
pub(super) struct AvailableBody<'a> {
    /// The item's SKU.
    sku: &'a str,
    /// Units that can be reserved.
    available: u64,
}

impl<'a> AvailabilityBody<'a> {
    pub fn new(view: &'a SaleView) -> Self {
        let items = view.sale.items.iter().zip(&view.counts);
        let items = items.map(|(item, counts)| AvailableBody { sku: &item.settings.sku, available: counts.available });
        let (sale, status) = (&view.sale.settings.id, Status::as_str(view.status));
        Self { sale, status, waiting: view.waiting, items: items.collect() }
    }
}

/// How a sale's items sell.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replenishment)]
pub struct ReplenishmentBody<'a> {
    /// The sale's id.
    sale: &'a str,
    /// The status, by the clock and by operators' commands.
    status: &'static str,
    /// The moment from which `sells_out_at` and `suggested_restock` are computed.
    #[schema(value_type = String)]
    as_of: Timestamp,
    /// When the sale closes.
    #[schema(value_type = String)]
    closes_at: Timestamp,
    /// In the order of the sale's settings.
    items: Vec<OutlookBody<'a>>,
}

/// How an item sells.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplenishmentItem)]
pub(super) struct OutlookBody<'a> {
    /// The item's SKU.
    sku: &'a str,
    /// Units in the sale: initial stock plus adjustments.
    stock: u64,
    /// Units that can be reserved.
    available: u64,
    /// Units held or confirmed per minute, less those that came back, with two digits; in the last five minutes in which the item
    /// could be bought. 0 as long as nothing was measured.
    units_per_minute: f64,
    /// The seconds that the pace was measured over; at most five minutes, and 0 if it is not known.
    measured_seconds: u64,
    /// When nothing is available any more at this pace. Left out if the sale is not open, or closes before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    sells_out_at: Option<Timestamp>,
    /// Confirmed units divided by the stock, with four digits; 0 without stock.
    turnover: f64,
    /// Units to add so that the item lasts until the sale closes at this pace; 0 if it lasts.
    suggested_restock: u64,
    /// The level at which the stock is low; left out if the item has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    low_stock_at: Option<u64>,
    /// Whether the stock is low now; left out if the item has no `low_stock_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    low_stock: Option<bool>,
}

impl<'a> ReplenishmentBody<'a> {
    pub fn new(replenishment: &'a Replenishment) -> Self {
        let Replenishment { view, outlooks, as_of } = replenishment;
        let SaleSettings { id, closes_at, .. } = &*view.sale.settings;
        let items =
            view.sale.items.iter().zip(&view.counts).zip(outlooks).map(|((item, counts), outlook)| OutlookBody {
                sku: &item.settings.sku,
                stock: counts.stock(),
                available: counts.available,
                units_per_minute: outlook.hundredths_per_minute as f64 / 100.0,
                measured_seconds: outlook.measured_seconds,
                sells_out_at: outlook.sells_out_at,
                turnover: outlook.turnover as f64 / 10_000.0,
                suggested_restock: outlook.suggested_restock,
                low_stock_at: item.settings.low_stock_at,
                low_stock: item.settings.low_stock_at.map(|_| item.settings.is_low(counts.available)),
            });
        Self { sale: id, status: view.status.as_str(), as_of: *as_of, closes_at: *closes_at, items: items.collect() }
    }
}

/// A change of an item's stock, and its result.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Adjustment)]
pub struct AdjustmentBody<'a> {
    /// The pool; left out if the item has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<&'a str>,
    /// Units added, or removed if negative.
    delta: i64,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    /// Units in the sale after the change.
    stock: u64,
    /// Units that could be reserved after the change.
    available: u64,
    /// Units in the pool after the change; left out if the item has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool_stock: Option<u64>,
    /// Units of the pool that could be reserved after the change; left out if the item has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool_available: Option<u64>,
}

/// Changes of stock that were made together.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Adjustments)]
pub struct AdjustmentsBody<'a> {
    /// The changes and their results, in the order of the request.
    pub results: Vec<AdjustedItem<'a>>,
}

/// One change of several, and its result.
#[derive(Debug, Serialize, ToSchema)]
pub struct AdjustedItem<'a> {
    /// The item's SKU.
    pub sku: &'a str,
    #[serde(flatten)]
    pub adjustment: AdjustmentBody<'a>,
}

/// A transfer between two pools of an item, and its result.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Transfer)]
pub struct TransferBody<'a> {
    /// The pool that gave.
    from: PoolAfter<'a>,
    /// The pool that got.
    to: PoolAfter<'a>,
    /// Units.
    quantity: u64,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
}

/// A pool after a change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PoolAfter<'a> {
    /// The pool's id.
    pool: &'a str,
    /// Units in the pool.
    stock: u64,
    /// Units that could be reserved.
    available: u64,
}

impl<'a> TransferBody<'a> {
    pub fn new(made: &'a RememberedTransfer, item: &'a Item) -> Self {
        let [given, got] = made.after;
        let after = |pool, levels: PoolLevels| PoolAfter {
            pool: item.pool_id(pool),
            stock: levels.stock,
            available: levels.available,
        };
        Self {
            from: after(made.from, given),
            to: after(made.to, got),
            quantity: made.units,
            reason: made.reason.as_deref(),
            reference: made.reference.as_deref(),
        }
    }
}

/// What would come of putting a sale document.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PutDryRun)]
pub struct PutDryRunBody<'a> {
    /// Whether the sale would be new.
    pub created: bool,
    /// What is likely to be a mistake.
    #[schema(value_type = Vec<Warning>)]
    pub warnings: &'a [Warning],
}

impl<'a> AdjustmentBody<'a> {
    pub fn new(made: &'a Remembered, item: &'a Item) -> Self {
        Self {
            pool: made.of_pool.map(|_| item.pool_id(made.pool)),
            pool_stock: made.of_pool.map(|levels| levels.stock),
            pool_available: made.of_pool.map(|levels| levels.available),
            delta: made.delta,
            reason: made.reason.as_deref(),
            reference: made.reference.as_deref(),
            stock: made.stock,
            available: made.available,
        }
    }
}
