//! Doorbuster once more, written to be obviously right: lists, and loops over all of them. No shards, no indexes, no
//! slices, no journal. Where the real service keeps a sum, this one counts.

mod customers;
mod extensions;
mod groups;
mod life;
mod rules;
mod stock;

use std::collections::{BTreeMap, BTreeSet};

use doorbuster::{
    engine::Counts,
    sale::{
        catalogue::Put,
        ids::{GroupId, ItemNumber, ReservationId, SaleNumber},
        outcome::{Refusal, State, Status},
        settings::{Invalid, ItemSettings, Price, SaleSettings},
        time::Timestamp,
    },
};

pub use self::{
    customers::Request,
    extensions::{Extending, Run},
    life::Cancel,
    stock::{Adjusted, Level, Transferred},
};
use super::commands::{POOLS, SKUS};

/// How late the service may take a due hold, and let a reservation that is over go, by its own word: the clock's tick
/// finds either once the whole span that the deadline falls in has passed.
const EXPIRY_SPAN_MILLIS: u64 = 16;
const RETIREMENT_SPAN_MILLIS: u64 = 1000;

pub type Name = &'static str;

#[derive(Debug, Clone)]
pub struct Model {
    pub retention_millis: u64,
    pub stock_max: u64,
    pub extensions_max: u32,
    pub sales: BTreeMap<Name, Sale>,
    /// Items in the order they came to be: their numbers.
    items: Vec<(Name, Name)>,
    /// Pools in the same way.
    pools: Vec<Pool>,
    /// By the position of their creation in the whole test.
    pub reservations: BTreeMap<usize, Reservation>,
    /// Confirmed reservations that left memory.
    gone: Vec<Gone>,
    /// Groups that are open.
    groups: BTreeMap<GroupId, groups::Open>,
    /// The members of those that are complete.
    complete: BTreeMap<GroupId, Vec<usize>>,
    memory: stock::Memory,
    /// Extensions of all holds that are under way, in their order.
    pub runs: Vec<Run>,
    /// How many there ever were.
    runs_begun: u64,
    /// The numbers of those that are done, and how many holds each extended.
    runs_done: Vec<(u64, u64)>,
    /// Reservations changed since the last commit.
    pub uncommitted: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
pub struct Sale {
    number: SaleNumber,
    pub settings: SaleSettings,
    paused: bool,
    closed: bool,
    announced: Status,
}

#[derive(Debug, Clone)]
struct Pool {
    sale: Name,
    sku: Name,
    id: Name,
    stock: u64,
}

#[derive(Debug, Clone)]
pub struct Reservation {
    id: ReservationId,
    request: Request,
    /// Every single unit. Those of one pool and price are beside each other.
    units: Vec<Unit>,
    /// Items of which it got less than it asked for.
    short: Vec<Name>,
    /// As first answered.
    first: First,
    pub expires_at: Timestamp,
    pub state: State,
    ended_at: Option<Timestamp>,
    /// Known once it is cancelled.
    confirmed_at: Option<Timestamp>,
    late: bool,
    extensions: u16,
    confirm_reference: Option<Name>,
    /// Keys of cancellations, and what was asked with them.
    cancellations: Vec<(Name, Cancel)>,
    /// References of confirms whose refusal was recorded.
    refused: Vec<Option<Name>>,
    /// Nobody's, and its request is not known any more.
    erased: bool,
    /// How long the hold was to last when it was made.
    hold_seconds_then: u64,
    pub group: Option<groups::InGroup>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    pool: usize,
    price: Option<Price>,
    at: At,
}

/// Where a unit of a reservation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Held,
    Confirmed,
    /// Back, having been held only.
    Returned,
    /// Back, having been confirmed.
    Cancelled,
}

#[derive(Debug, Clone)]
struct First {
    units: Vec<Unit>,
    short: Vec<Name>,
    expires_at: Timestamp,
}

/// Units from one pool, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub pool: usize,
    pub units: u32,
    pub price: Option<Price>,
}

#[derive(Debug, Clone)]
struct Gone {
    customer: Name,
    /// The pool of each confirmed unit.
    pools: Vec<usize>,
    /// Whether a limit could still ask for it when it left.
    counted: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticked {
    pub expired: usize,
    pub turned: usize,
    pub lag_millis: u64,
    /// Holds that were extended with all of their sale.
    pub extended: u64,
    /// Members of groups that failed.
    pub group_releases: usize,
}

/// The name among those that commands use.
fn known_name(names: &[Name], text: &str) -> Name {
    names.iter().find(|name| **name == text).expect("a name that commands use")
}

impl Sale {
    pub fn status(&self, now: Timestamp) -> Status {
        if self.closed || now >= self.settings.closes_at {
            Status::Closed
        } else if self.paused {
            Status::Paused
        } else if now < self.settings.opens_at {
            Status::Scheduled
        } else {
            Status::Open
        }
    }

    fn item(&self, sku: &str) -> Option<&ItemSettings> {
        self.settings.items.iter().find(|item| item.sku == sku)
    }

    pub fn limit(&self, sku: &str) -> Option<u32> {
        self.item(sku).expect("an item of the sale").customer_limit.or(self.settings.customer_limit)
    }

    /// Whether some request's limit counts units of this item.
    fn may_limit(&self, sku: &str) -> bool {
        self.limit(sku).is_some() || self.settings.phases.iter().any(|phase| phase.customer_limit.is_some())
    }

    /// Moments that its rules name.
    pub fn times(&self) -> Vec<Timestamp> {
        let SaleSettings { opens_at, closes_at, phases, items, .. } = &self.settings;
        let mut times = vec![*opens_at, *closes_at];
        for phase in phases {
            times.push(phase.opens_at);
            times.extend(phase.closes_at);
        }
        times.extend(items.iter().flat_map(|item| &item.pools).filter_map(|pool| pool.shared_at));
        times
    }
}

impl Reservation {
    pub fn request(&self) -> &Request {
        &self.request
    }

    pub fn is_late(&self) -> bool {
        self.late
    }

    pub fn has(&self, at: At) -> bool {
        self.units.iter().any(|unit| unit.at == at)
    }

    pub fn has_other_units_than(&self, other: &Self) -> bool {
        self.units != other.units
    }
}

impl Model {
    pub fn new(retention_millis: u64, stock_max: u64, extensions_max: u32) -> Self {
        Self {
            retention_millis,
            stock_max,
            extensions_max,
            sales: BTreeMap::new(),
            items: Vec::new(),
            pools: Vec::new(),
            reservations: BTreeMap::new(),
            gone: Vec::new(),
            groups: BTreeMap::new(),
            complete: BTreeMap::new(),
            memory: stock::Memory::default(),
            runs: Vec::new(),
            runs_begun: 0,
            runs_done: Vec::new(),
            uncommitted: BTreeSet::new(),
        }
    }

    // Counting.

    pub fn counts_of_pool(&self, pool: usize) -> Counts {
        let (mut held, mut confirmed) = (0, 0);
        for unit in self.reservations.values().flat_map(|known| &known.units).filter(|unit| unit.pool == pool) {
            match unit.at {
                At::Held => held += 1,
                At::Confirmed => confirmed += 1,
                At::Returned | At::Cancelled => {}
            }
        }
        confirmed += self.gone.iter().flat_map(|gone| &gone.pools).filter(|gone| **gone == pool).count() as u64;
        let taken = held + confirmed;
        let available = self.pools[pool].stock.checked_sub(taken).expect("the model does not oversell");
        Counts { available, held, confirmed }
    }

    pub fn available(&self, pool: usize) -> u64 {
        self.counts_of_pool(pool).available
    }

    pub fn counts(&self, sale: &str, sku: &str) -> Counts {
        self.sum(&self.pools_of(sale, sku))
    }

    pub fn sum(&self, pools: &[usize]) -> Counts {
        let mut sum = Counts::default();
        pools.iter().for_each(|&pool| sum += self.counts_of_pool(pool));
        sum
    }

    pub fn stock(&self, sale: &str, sku: &str) -> u64 {
        self.pools_of(sale, sku).into_iter().map(|pool| self.pools[pool].stock).sum()
    }

    /// Numbers of the pools of an item, in the order of the document.
    pub fn pools_of(&self, sale: &str, sku: &str) -> Vec<usize> {
        let item = self.sales[sale].item(sku).expect("an item of the sale");
        item.pools_or_default().map(|(id, _)| self.pool(sale, sku, id).expect("a pool of the item")).collect()
    }

    fn pool(&self, sale: &str, sku: &str, id: &str) -> Option<usize> {
        self.pools.iter().position(|pool| pool.sale == sale && pool.sku == sku && pool.id == id)
    }

    fn item(&self, sale: &str, sku: &str) -> ItemNumber {
        let number = self.items.iter().position(|item| *item == (sale, sku)).expect("an item of the sale");
        ItemNumber(number as u32)
    }

    /// What the customer holds or has confirmed of an item, as far as limits count it.
    pub fn units_of(&self, customer: &str, sale: &str, sku: &str) -> u64 {
        let is_item = |pool: usize| self.pools[pool].sale == sale && self.pools[pool].sku == sku;
        let counts = |unit: &Unit| matches!(unit.at, At::Held | At::Confirmed) && is_item(unit.pool);
        let mut units = 0;
        for known in self.reservations.values() {
            if known.request.customer == customer && !known.erased {
                units += known.units.iter().filter(|unit| counts(unit)).count() as u64;
            }
        }
        for gone in self.gone.iter().filter(|gone| gone.counted && gone.customer == customer) {
            units += gone.pools.iter().filter(|pool| is_item(**pool)).count() as u64;
        }
        units
    }

    pub fn live_holds(&self) -> usize {
        self.reservations.values().filter(|reservation| reservation.state == State::Held).count()
    }

    pub fn customers(&self) -> usize {
        let present = self.reservations.values().filter(|known| !known.erased);
        let present = present.map(|reservation| reservation.request.customer);
        let counted = self.gone.iter().filter(|gone| gone.counted).map(|gone| gone.customer);
        present.chain(counted).collect::<BTreeSet<_>>().len()
    }

    // What operators do to sales.

    /// Whether a document would be let in.
    pub fn try_put(&self, id: Name, settings: &SaleSettings) -> Result<Put, Refusal> {
        let mut wrong = Vec::new();
        if settings.opens_at >= settings.closes_at {
            wrong.push(Invalid::new("/closes_at", ""));
        }
        for (index, item) in settings.items.iter().enumerate().filter(|(_, item)| item.has_pools()) {
            if item.pools.iter().map(|pool| pool.initial_stock).sum::<u64>() != item.initial_stock {
                wrong.push(Invalid::new(format!("/items/{index}/initial_stock"), ""));
            }
        }
        if !wrong.is_empty() {
            return Err(Refusal::Invalid(wrong));
        }
        let Some(known) = self.sales.get(id) else { return Ok(Put::Created) };
        if known.closed {
            return Err(Refusal::SaleEnded);
        }
        let removed = || Err(Refusal::Invalid(vec![Invalid::new("/items", "")]));
        for item in &known.settings.items {
            let Some(other) = settings.items.iter().find(|other| other.sku == item.sku) else { return removed() };
            let sku = || item.sku.clone();
            let initial_stock = item.initial_stock;
            if other.initial_stock != initial_stock {
                return Err(Refusal::InitialStockImmutable { sku: sku(), pool: None, initial_stock });
            }
            for (id, initial_stock) in item.pools_or_default() {
                let Some(other) = other.pools_or_default().find(|other| other.0 == id) else { return removed() };
                if other.1 != initial_stock {
                    let pool = Some(id.to_owned());
                    return Err(Refusal::InitialStockImmutable { sku: sku(), pool, initial_stock });
                }
            }
        }
        Ok(Put::Replaced)
    }

    pub fn put(&mut self, now: Timestamp, id: Name, settings: &SaleSettings) -> Result<Put, Refusal> {
        let put = self.try_put(id, settings)?;
        for item in &settings.items {
            let sku = known_name(&SKUS, &item.sku);
            if !self.items.contains(&(id, sku)) {
                self.items.push((id, sku));
            }
            for (pool, stock) in item.pools_or_default() {
                if self.pool(id, sku, pool).is_none() {
                    self.pools.push(Pool { sale: id, sku, id: known_name(&POOLS, pool), stock });
                }
            }
        }
        let number = SaleNumber(self.sales.len() as u32);
        let sale = self.sales.entry(id).or_insert_with(|| Sale {
            number,
            settings: settings.clone(),
            paused: false,
            closed: false,
            announced: Status::Scheduled,
        });
        sale.settings = settings.clone();
        sale.announced = sale.status(now);
        Ok(put)
    }

    pub fn pause(&mut self, now: Timestamp, sale: &str) -> Result<(), Refusal> {
        self.turn(now, sale, |sale| sale.paused = true)
    }

    pub fn resume(&mut self, now: Timestamp, sale: &str) -> Result<(), Refusal> {
        self.turn(now, sale, |sale| sale.paused = false)
    }

    fn turn(&mut self, now: Timestamp, sale: &str, turn: impl FnOnce(&mut Sale)) -> Result<(), Refusal> {
        let sale = self.sales.get_mut(sale).ok_or(Refusal::SaleNotFound)?;
        if sale.status(now) == Status::Closed {
            return Err(Refusal::SaleEnded);
        }
        let before = sale.paused;
        turn(sale);
        if sale.paused != before {
            sale.announced = sale.status(now);
        }
        Ok(())
    }

    pub fn close(&mut self, sale: &str) -> Result<(), Refusal> {
        let sale = self.sales.get_mut(sale).ok_or(Refusal::SaleNotFound)?;
        sale.closed = true;
        sale.announced = Status::Closed;
        Ok(())
    }

    // What time does.

    pub fn tick(&mut self, now: Timestamp) -> Ticked {
        let mut ticked = Ticked::default();
        for sale in self.sales.values_mut() {
            if sale.announced != sale.status(now) {
                sale.announced = sale.status(now);
                ticked.turned += 1;
            }
        }
        ticked.group_releases = self.fail_due_groups(now);
        for position in self.reservations.keys().copied().collect::<Vec<_>>() {
            let known = &self.reservations[&position];
            match known.ended_at {
                None if has_passed(known.expires_at, EXPIRY_SPAN_MILLIS, now) => {
                    ticked.lag_millis = ticked.lag_millis.max(now.millis_since(known.expires_at));
                    ticked.expired += 1;
                    self.end(now, position, State::Expired);
                }
                Some(at) if has_passed(at.plus_millis(self.retention_millis), RETIREMENT_SPAN_MILLIS, now) => {
                    self.retire(position);
                }
                _ => {}
            }
        }
        ticked.extended = self.extend_due(now);
        ticked
    }

    fn retire(&mut self, position: usize) {
        let Reservation { request, units, erased, .. } = self.reservations.remove(&position).expect("it is known");
        let sale = &self.sales[request.sale];
        let pools: Vec<usize> = units.iter().filter(|unit| unit.at == At::Confirmed).map(|unit| unit.pool).collect();
        let counted = !erased && !sale.closed && pools.iter().any(|&pool| sale.may_limit(self.pools[pool].sku));
        if !pools.is_empty() {
            self.gone.push(Gone { customer: request.customer, pools, counted });
        }
    }
}

fn has_passed(deadline: Timestamp, span_millis: u64, now: Timestamp) -> bool {
    let end_of_span = (deadline.millis() / span_millis + 1) * span_millis - 1;
    now.millis() >= end_of_span
}
