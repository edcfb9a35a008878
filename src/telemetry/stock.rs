//! Stock by state, how fast it sells, holds and sales. Read from the engine every second, never by a request.

use metrics::{Counter, Gauge};
use parking_lot::Mutex;

use super::{Maker, families};
use crate::{
    engine::{Counts, Engine},
    pace::Pace,
    sale::{
        catalogue::{Catalogue, Sale},
        groups::GroupCounts,
        ids::{ItemNumber, PoolNumber},
        outcome::Status,
        time::Timestamp,
    },
};

/// The label of what has no series of its own.
const OTHER: &str = "other";

/// What has series of its own: the first of each. The rest is summed up under `other`.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub items_max: usize,
    pub sales_max: usize,
}

pub struct Totals {
    make: Maker,
    bounds: Bounds,
    live_holds: Gauge,
    holds_expiring: Gauge,
    groups_open: Gauge,
    /// Completed and failed.
    groups: [Counter; 2],
    group_releases: Counter,
    reservations: Gauge,
    customers: Gauge,
    state_bytes: Gauge,
    drift: Gauge,
    oversold: Gauge,
    by_status: [Gauge; Status::ALL.len()],
    series: Mutex<Series>,
}

/// Series that come with sales and items, by their numbers.
#[derive(Default)]
struct Series {
    items: Vec<OfItem>,
    /// By pool, with their numbers; as many as items at most.
    pools: Vec<(PoolNumber, [Gauge; 3])>,
    /// Pools of which it is known whether they have series.
    pools_seen: usize,
    other_items: Option<OfItem>,
    /// None: a sale whose id is that of the rest.
    sales: Vec<Option<OfSale>>,
    other_sales: Option<OfOthers>,
}

/// Gauges of units by state.
struct Units([Gauge; 4]);

impl Units {
    fn new(make: impl Fn(&'static str) -> Gauge) -> Self {
        Self(["stock", "available", "held", "confirmed"].map(make))
    }

    fn set(&self, Sum { stock, counts, .. }: &Sum) {
        for (gauge, units) in self.0.iter().zip([*stock, counts.available, counts.held, counts.confirmed]) {
            gauge.set(units as f64);
        }
    }
}

struct OfItem {
    units: Units,
    per_minute: Gauge,
}

impl OfItem {
    fn new(make: &Maker, sale: &str, sku: &str) -> Self {
        Self {
            units: Units::new(|state| make.gauge(&families::STOCK, &[sale, sku, state])),
            per_minute: make.gauge(&families::ITEM_PACE, &[sale, sku]),
        }
    }

    fn set(&self, sum: &Sum, hundredths_per_minute: u64) {
        self.units.set(sum);
        self.per_minute.set(hundredths_per_minute as f64 / 100.0);
    }
}

struct OfOthers {
    units: Units,
    sold_out: Gauge,
    low_stock: Gauge,
    /// None until one of them has a waitlist.
    waiting: Option<Gauge>,
}

impl OfOthers {
    fn new(make: &Maker, sale: &str) -> Self {
        Self {
            units: Units::new(|state| make.gauge(&families::SALE_STOCK, &[sale, state])),
            sold_out: make.gauge(&families::SALE_SOLD_OUT, &[sale]),
            low_stock: make.gauge(&families::SALE_LOW_STOCK, &[sale]),
            waiting: None,
        }
    }

    fn set(&mut self, sum: &Sum, make: &Maker, sale: &str) {
        self.units.set(sum);
        self.sold_out.set(sum.sold_out as f64);
        self.low_stock.set(sum.low_stock as f64);
        if self.waiting.is_some() || sum.waiting.is_some() {
            let gauge = self.waiting.get_or_insert_with(|| make.gauge(&families::SALE_WAITING, &[sale]));
            gauge.set(sum.waiting.unwrap_or(0) as f64);
        }
    }
}

struct OfSale {
    units: OfOthers,
    status: [Gauge; Status::ALL.len()],
}

impl OfSale {
    fn new(make: &Maker, sale: &str) -> Self {
        let status = |status: Status| make.gauge(&families::SALE_STATUS, &[sale, status.as_str()]);
        Self { units: OfOthers::new(make, sale), status: Status::ALL.map(status) }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    stock: u64,
    counts: Counts,
    sold_out: u64,
    low_stock: u64,
    /// Customers that wait; None where nobody can.
    waiting: Option<u64>,
}

impl Sum {
    fn add(&mut self, other: &Sum) {
        self.stock += other.stock;
        self.counts.available += other.counts.available;
        self.counts.held += other.counts.held;
        self.counts.confirmed += other.counts.confirmed;
        self.sold_out += other.sold_out;
        self.low_stock += other.low_stock;
        self.waiting = self.waiting.into_iter().chain(other.waiting).reduce(|sum, more| sum + more);
    }
}

impl Totals {
    pub(super) fn new(make: &Maker, bounds: Bounds) -> Self {
        let gauge = |family| make.gauge(family, &[]);
        Self {
            live_holds: gauge(&families::LIVE_HOLDS),
            holds_expiring: gauge(&families::HOLDS_EXPIRING),
            groups_open: gauge(&families::GROUPS_OPEN),
            groups: ["completed", "failed"].map(|outcome| make.counter(&families::GROUPS, &[outcome])),
            group_releases: make.counter(&families::RESERVATIONS, &["group_failed"]),
            reservations: gauge(&families::RESERVATIONS_IN_MEMORY),
            customers: gauge(&families::CUSTOMERS_IN_MEMORY),
            state_bytes: gauge(&families::STATE_BYTES),
            drift: gauge(&families::DRIFT),
            oversold: gauge(&families::OVERSOLD),
            by_status: Status::ALL.map(|status| make.gauge(&families::SALES, &[status.as_str()])),
            series: Mutex::default(),
            bounds,
            make: make.clone(),
        }
    }

    /// Reads the engine's totals at `now`. `stock`, `paces`: of every item, by number.
    pub fn observe(&self, engine: &Engine, stock: &[(u64, Counts)], paces: &[Pace], now: Timestamp) {
        let levels = engine.levels();
        self.live_holds.set(levels.live_holds as f64);
        let GroupCounts { open, completed, failed, released } = engine.group_counts();
        self.groups_open.set(open as f64);
        for (counter, count) in self.groups.iter().zip([completed, failed]) {
            counter.absolute(count);
        }
        self.group_releases.absolute(released);
        self.reservations.set(levels.reservations as f64);
        self.customers.set(levels.customers as f64);
        self.state_bytes.set(engine.memory_bytes() as f64);
        for ((_, count), gauge) in engine.sales_by_status(now).iter().zip(&self.by_status) {
            gauge.set(*count as f64);
        }
        let catalogue = engine.catalogue();
        let mut series = self.series.lock();
        self.observe_items(&mut series, stock, paces, &catalogue);
        self.observe_pools(&mut series, engine, &catalogue);
        self.observe_sales(&mut series, stock, engine, &catalogue, now);
    }

    /// As often as its cost allows: it looks at many holds.
    pub fn observe_expiring(&self, engine: &Engine, now: Timestamp) {
        self.holds_expiring.set(engine.holds_expiring(now, 60_000) as f64);
    }

    fn observe_items(&self, series: &mut Series, stock: &[(u64, Counts)], paces: &[Pace], catalogue: &Catalogue) {
        for number in series.items.len()..stock.len().min(self.bounds.items_max) {
            let (sale, sku) = catalogue.names(ItemNumber(number as u32));
            series.items.push(OfItem::new(&self.make, sale, sku));
        }
        let (mut drift, mut oversold, mut other, mut others_pace) = (0, 0, Sum::default(), 0);
        for (number, item) in stock.iter().enumerate() {
            let sum = sum(item);
            let sold = sum.counts.held + sum.counts.confirmed;
            drift += sum.stock.abs_diff(sum.counts.available + sold);
            oversold += sold.saturating_sub(sum.stock);
            let pace = paces.get(number).copied().unwrap_or_default().hundredths_per_minute();
            match series.items.get(number) {
                Some(item) => item.set(&sum, pace),
                None => {
                    other.add(&sum);
                    others_pace += pace;
                }
            }
        }
        if stock.len() > series.items.len() {
            let others = || OfItem::new(&self.make, OTHER, OTHER);
            series.other_items.get_or_insert_with(others).set(&other, others_pace);
        }
        self.drift.set(drift as f64);
        self.oversold.set(oversold as f64);
    }

    fn observe_pools(&self, series: &mut Series, engine: &Engine, catalogue: &Catalogue) {
        for number in series.pools_seen..catalogue.pools() {
            let pool = PoolNumber(number as u32);
            let item = catalogue.item_numbered(catalogue.item_of(pool));
            if !item.settings.has_pools() || series.pools.len() >= self.bounds.items_max {
                continue;
            }
            let (sale, sku) = catalogue.names(item.number);
            let gauge = |state| self.make.gauge(&families::POOL, &[sale, sku, item.pool_id(pool), state]);
            series.pools.push((pool, ["available", "held", "confirmed"].map(gauge)));
        }
        series.pools_seen = catalogue.pools();
        let counts = engine.counts_of(series.pools.iter().map(|(pool, _)| *pool));
        for ((_, gauges), counts) in series.pools.iter().zip(counts) {
            for (gauge, units) in gauges.iter().zip([counts.available, counts.held, counts.confirmed]) {
                gauge.set(units as f64);
            }
        }
    }

    fn observe_sales(
        &self,
        series: &mut Series,
        stock: &[(u64, Counts)],
        engine: &Engine,
        catalogue: &Catalogue,
        now: Timestamp,
    ) {
        let now = engine.time(now);
        let sales = catalogue.sales();
        for sale in &sales[series.sales.len()..sales.len().min(self.bounds.sales_max)] {
            let id = &sale.settings.id;
            series.sales.push((id != OTHER).then(|| OfSale::new(&self.make, id)));
        }
        let (mut others, mut other) = (0, Sum::default());
        for (number, sale) in sales.iter().enumerate() {
            let mut sum = sum_of_sale(sale, stock);
            sum.waiting = sale.settings.waitlist.map(|_| engine.waiting_in(sale.number));
            match series.sales.get_mut(number) {
                Some(Some(own)) => {
                    own.units.set(&sum, &self.make, &sale.settings.id);
                    let status = sale.status(now);
                    for (gauge, of) in own.status.iter().zip(Status::ALL) {
                        gauge.set(f64::from(u8::from(of == status)));
                    }
                }
                _ => {
                    others += 1;
                    other.add(&sum);
                }
            }
        }
        if others > 0 {
            let others = series.other_sales.get_or_insert_with(|| OfOthers::new(&self.make, OTHER));
            others.set(&other, &self.make, OTHER);
        }
    }
}

fn sum((stock, counts): &(u64, Counts)) -> Sum {
    let sold_out = u64::from(counts.available == 0);
    Sum { stock: *stock, counts: *counts, sold_out, low_stock: 0, waiting: None }
}

/// Of the items that were there when the stock was read.
fn sum_of_sale(sale: &Sale, stock: &[(u64, Counts)]) -> Sum {
    let mut all = Sum::default();
    for item in &*sale.items {
        let Some(of) = stock.get(item.number.index()) else { continue };
        all.add(&sum(of));
        all.low_stock += u64::from(item.settings.is_low(of.1.available));
    }
    all
}
