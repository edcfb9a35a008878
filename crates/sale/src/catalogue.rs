//! The catalogue: sales, their items and their stock. Every request reads it; operators and the clock change it.
//!
//! Invariants: sales and items are numbered densely and never leave; an item never changes its sale; `initial_stock` never
//! changes; a sale closed by its operator stays closed; a sale that the clock opened or closed stays so, even if the clock is
//! set, until its operator sets other times. A catalogue is a value: the engine publishes a changed copy.

use std::{collections::HashMap, sync::Arc};

use compact_str::CompactString;
use foldhash::quality::RandomState;
use smallvec::SmallVec;

use super::{
    command::Reserve,
    event::{Event, PricedLine},
    expected::Tag,
    ids::{Bucket, ItemNumber, SaleNumber},
    outcome::{Refusal, Status},
    settings::{Invalid, ItemSettings, Limits, SaleSettings},
    time::{Now, Timestamp},
};

#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Counts changes: two catalogues of one run with the same version are the same.
    version: u64,
    sales: Vec<Arc<Sale>>,
    by_id: Arc<Names<SaleNumber>>,
    items: Arc<Vec<Place>>,
    /// Whether any sale has had rate limits of its own.
    rate_limited: bool,
}

/// By how much the clock that has reservations leave memory may be ahead of an operator's.
const RETIRED_AHEAD_MILLIS: u64 = 1000;

type Names<T> = HashMap<CompactString, T, RandomState>;

/// An item's position: its sale, and its index among the sale's items.
#[derive(Debug, Clone, Copy)]
struct Place {
    sale: SaleNumber,
    index: u32,
}

#[derive(Debug, Clone)]
pub struct Sale {
    pub number: SaleNumber,
    pub settings: Arc<SaleSettings>,
    pub created_at: Timestamp,
    /// In the order of the document; shared until the next document is put, so that other changes copy no item.
    pub items: Arc<Vec<Item>>,
    by_sku: Arc<Names<u32>>,
    /// Stock of each item: initial stock plus adjustments.
    stock: Arc<Vec<u64>>,
    /// By the operator, and not resumed since.
    paused_at: Option<Timestamp>,
    /// By the operator.
    closed_at: Option<Timestamp>,
    /// When the last event about it was.
    changed_at: Timestamp,
    /// How far the clock came in the window.
    reached: Reached,
    /// The status last put into an event, so that each change by the clock gets one event.
    announced: Status,
    tag: Tag,
}

/// The phase of a sale's window at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Before,
    Within,
    End,
}

impl Reached {
    fn at(now: Timestamp, settings: &SaleSettings) -> Self {
        if now >= settings.closes_at {
            Self::End
        } else if now >= settings.opens_at {
            Self::Within
        } else {
            Self::Before
        }
    }

    /// The status of a sale that its operator neither paused nor closed.
    fn status(self) -> Status {
        match self {
            Self::Before => Status::Scheduled,
            Self::Within => Status::Open,
            Self::End => Status::Closed,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Item {
    pub number: ItemNumber,
    pub settings: ItemSettings,
}

/// A sale document prepared for [`Catalogue::define`]: all work that grows with the number of items is done.
#[derive(Debug)]
pub struct Definition {
    number: SaleNumber,
    settings: Arc<SaleSettings>,
    items: Arc<Vec<Item>>,
    by_sku: Arc<Names<u32>>,
    /// The items of the sale that this document replaces; None for a new sale.
    replaces: Option<Arc<Vec<Item>>>,
    /// Each item's index among those; None for a new item.
    known_at: Vec<Option<u32>>,
    tag: Tag,
}

impl Definition {
    /// Items that the sale did not have, with their initial stock.
    pub fn new_items(&self) -> impl Iterator<Item = (ItemNumber, u64)> {
        let items = self.items.iter().zip(&self.known_at);
        items.filter(|(_, known)| known.is_none()).map(|(item, _)| (item.number, item.settings.initial_stock))
    }
}

/// A reserve that has passed all checks without a shard: what to hold, and the limits.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    pub sale: SaleNumber,
    pub customer: &'a str,
    pub bucket: Bucket,
    pub lines: SmallVec<[PlanLine; 2]>,
    pub hold_seconds: u32,
    /// No more holds from here on.
    pub closes_at: Timestamp,
    pub reference: Option<&'a str>,
    pub key: Option<(&'a str, u64)>,
}

#[derive(Debug, Clone, Copy)]
pub struct PlanLine {
    pub line: PricedLine,
    pub customer_limit: Option<u32>,
}

/// The result of putting a sale document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Created,
    Replaced,
}

impl Sale {
    /// The status at a moment. The operator's close wins over the clock, the clock's end over a pause. An earlier moment
    /// takes back nothing that was reached.
    pub fn status(&self, now: Timestamp) -> Status {
        let reached = self.reached.max(Reached::at(now, &self.settings));
        if self.is_closed() || reached == Reached::End {
            Status::Closed
        } else if self.paused_at.is_some() {
            Status::Paused
        } else {
            reached.status()
        }
    }

    /// As `status`, where the machine's clock may be right and the service's time wrong: a sale is open by both or not at all.
    pub fn status_in_doubt(&self, now: Now) -> Status {
        match self.status(now.time) {
            Status::Open if now.doubt != 0 => self.status(now.time.shifted(now.doubt)),
            status => status,
        }
    }

    /// Records that an operator changed the sale at this moment.
    fn turned(&mut self, at: Timestamp) {
        self.reached = self.reached.max(Reached::at(at, &self.settings));
        if self.is_closed() {
            self.reached = Reached::End;
        }
        (self.announced, self.changed_at) = (self.status(at), at);
    }

    /// Records that the change by the clock has its event.
    fn announce(&mut self, status: Status, at: Timestamp) {
        (self.announced, self.changed_at) = (status, at);
        self.reached = match status {
            Status::Scheduled => Reached::Before,
            Status::Open => Reached::Within,
            Status::Closed => Reached::End,
            Status::Paused => self.reached,
        };
    }

    /// The event of a change by the clock that has none yet.
    pub fn turn(&self, now: Timestamp) -> Option<Event<'static>> {
        let status = self.status(now);
        (status != self.announced).then_some(Event::StatusReached { sale: self.number, at: now, status })
    }

    /// The status last put into an event.
    pub fn announced(&self) -> Status {
        self.announced
    }

    /// Names the settings as they are.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// By the operator, and not resumed since.
    pub fn is_paused(&self) -> bool {
        self.paused_at.is_some()
    }

    /// By the operator.
    pub fn is_closed(&self) -> bool {
        self.closed_at.is_some()
    }

    pub fn item(&self, sku: &str) -> Option<&Item> {
        self.by_sku.get(sku).map(|&index| &self.items[index as usize])
    }

    /// Units put into the sale of the item at this index: initial stock plus adjustments.
    pub fn stock(&self, index: usize) -> u64 {
        self.stock[index]
    }

    pub fn max_extensions(&self, limits: &Limits) -> u32 {
        self.settings.max_extensions.unwrap_or(limits.extensions_max)
    }

    /// Units of the item that one customer may hold or have confirmed.
    pub fn customer_limit(&self, item: &Item) -> Option<u32> {
        item.settings.customer_limit.or(self.settings.customer_limit)
    }

    fn refuse_unless_open(&self, now: Now) -> Result<(), Refusal> {
        match self.status_in_doubt(now) {
            Status::Open => Ok(()),
            Status::Closed => Err(Refusal::SaleEnded),
            Status::Paused => Err(Refusal::SalePaused),
            Status::Scheduled => Err(Refusal::SaleNotStarted { opens_at: self.settings.opens_at }),
        }
    }
}

impl Catalogue {
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Counts a change of what sales are judged by beside the catalogue.
    pub fn outdate(&mut self) {
        self.version += 1;
    }

    pub fn sales(&self) -> &[Arc<Sale>] {
        &self.sales
    }

    pub fn items(&self) -> usize {
        self.items.len()
    }

    pub fn sale(&self, id: &str) -> Result<&Arc<Sale>, Refusal> {
        self.by_id.get(id).map(|number| &self.sales[number.index()]).ok_or(Refusal::SaleNotFound)
    }

    /// Whether a sale may have rate limits of its own.
    pub fn rate_limited(&self) -> bool {
        self.rate_limited
    }

    pub fn sale_numbered(&self, number: SaleNumber) -> &Arc<Sale> {
        &self.sales[number.index()]
    }

    pub fn item_numbered(&self, number: ItemNumber) -> &Item {
        let place = self.items[number.index()];
        &self.sales[place.sale.index()].items[place.index as usize]
    }

    /// Units put into the item's sale: initial stock plus adjustments.
    pub fn stock(&self, number: ItemNumber) -> u64 {
        let place = self.items[number.index()];
        self.sales[place.sale.index()].stock(place.index as usize)
    }

    pub fn sku(&self, number: ItemNumber) -> &str {
        &self.item_numbered(number).settings.sku
    }

    /// The item's sale id and SKU.
    pub fn names(&self, number: ItemNumber) -> (&str, &str) {
        let place = self.items[number.index()];
        (&self.sale_numbered(place.sale).settings.id, self.sku(number))
    }

    /// Whether a limit still needs to know how much of this item a customer has.
    pub fn counts_customers(&self, number: ItemNumber) -> bool {
        let sale = self.sale_numbered(self.items[number.index()].sale);
        !sale.is_closed() && sale.customer_limit(self.item_numbered(number)).is_some()
    }

    /// The checks of a reserve that need no shard, in their order: the sale is open, each item exists.
    ///
    /// # Panics
    /// When an item is asked for by two lines: they are summed where requests are parsed.
    pub fn plan<'a>(&self, now: Now, sale: &Sale, asked: &Reserve<'a>, fingerprint: u64) -> Result<Plan<'a>, Refusal> {
        sale.refuse_unless_open(now)?;
        let mut lines = SmallVec::new();
        for line in &asked.lines {
            let item = sale.item(line.sku).ok_or_else(|| Refusal::ItemNotFound { sku: line.sku.to_owned() })?;
            let price = item.settings.price;
            let once = lines.iter().all(|known: &PlanLine| known.line.item != item.number);
            assert!(once, "a reserve names each SKU once");
            lines.push(PlanLine {
                line: PricedLine { item: item.number, units: line.units, price },
                customer_limit: sale.customer_limit(item),
            });
        }
        let sale_hold_seconds = u32::try_from(sale.settings.hold_seconds).expect("checked against hold_seconds_max");
        Ok(Plan {
            sale: sale.number,
            customer: asked.customer,
            bucket: Bucket::of(asked.customer),
            lines,
            hold_seconds: asked.hold_seconds.unwrap_or(sale_hold_seconds),
            closes_at: sale.settings.closes_at.shifted(-now.doubt.max(0)),
            reference: asked.reference,
            key: asked.key.map(|key| (key, fingerprint)),
        })
    }

    /// Judges a sale document against what is there; on success the numbers of its items, new ones at the end.
    pub fn judge_put(
        &self,
        settings: &SaleSettings,
        limits: &Limits,
    ) -> Result<(Put, SaleNumber, Vec<ItemNumber>), Refusal> {
        let wrong = settings.check(limits);
        if !wrong.is_empty() {
            return Err(Refusal::Invalid(wrong));
        }
        let present = self.sale(&settings.id).ok();
        if let Some(sale) = present {
            judge_replacement(sale, settings)?;
        }
        let mut next = self.items.len() as u32;
        let numbers = settings.items.iter().map(|item| {
            present.and_then(|sale| sale.item(&item.sku)).map(|known| known.number).unwrap_or_else(|| {
                next += 1;
                ItemNumber(next - 1)
            })
        });
        let numbers = numbers.collect();
        match present {
            Some(sale) => Ok((Put::Replaced, sale.number, numbers)),
            None => Ok((Put::Created, SaleNumber(self.sales.len() as u32), numbers)),
        }
    }

    /// The document as it is kept: with the moment since when units count, for each item whose limit came later than some of
    /// its units may have left memory. `retention_millis`: how long what is over stays in memory.
    pub fn with_counts(&self, now: Timestamp, settings: &SaleSettings, retention_millis: u64) -> SaleSettings {
        let mut settings = settings.clone();
        let (present, limit_of_sale) = (self.sale(&settings.id).ok(), settings.customer_limit);
        let remembered_since = now.minus_millis(retention_millis).plus_millis(RETIRED_AHEAD_MILLIS);
        for item in &mut settings.items {
            item.limit_counts_since = present.and_then(|sale| {
                let known = sale.item(&item.sku)?;
                item.customer_limit.or(limit_of_sale)?;
                if sale.customer_limit(known).is_some() {
                    return known.settings.limit_counts_since;
                }
                (remembered_since > sale.created_at).then_some(remembered_since)
            });
        }
        settings
    }

    /// The event that pausing makes; None when the sale is paused already.
    pub fn pause(&self, now: Timestamp, sale: &Sale) -> Result<Option<Event<'static>>, Refusal> {
        match sale.status(now) {
            Status::Closed => Err(Refusal::SaleEnded),
            _ if sale.is_paused() => Ok(None),
            _ => Ok(Some(Event::SalePaused { sale: sale.number, at: now })),
        }
    }

    /// The event that resuming makes; None when the sale is not paused.
    pub fn resume(&self, now: Timestamp, sale: &Sale) -> Result<Option<Event<'static>>, Refusal> {
        match sale.status(now) {
            Status::Closed => Err(Refusal::SaleEnded),
            _ if !sale.is_paused() => Ok(None),
            _ => Ok(Some(Event::SaleResumed { sale: sale.number, at: now })),
        }
    }

    /// The event that closing makes; None when the operator closed the sale before.
    pub fn close(&self, now: Timestamp, sale: &Sale) -> Option<Event<'static>> {
        (!sale.is_closed()).then_some(Event::SaleClosed { sale: sale.number, at: now })
    }

    /// Events for sales whose window opened or ended since their last event.
    pub fn turns(&self, now: Timestamp) -> Vec<Event<'static>> {
        self.sales.iter().filter_map(|sale| sale.turn(now)).collect()
    }

    /// Applies an event. Events of other lanes change nothing here.
    ///
    /// # Panics
    /// On a fact that cannot follow what is there: the journal is not ours or a rule is broken.
    pub fn apply(&mut self, event: &Event<'_>) {
        match event {
            Event::SaleDefined { sale, at, items, settings } => {
                let tag = Tag::of(settings);
                let settings = serde_json::from_slice(settings).expect("an event holds the settings it was made from");
                self.define(self.prepare(*sale, items, settings, tag), *at);
            }
            Event::SalePaused { sale, at } => self.change(*sale, |sale| {
                sale.paused_at = Some(*at);
                sale.turned(*at);
            }),
            Event::SaleResumed { sale, at } => self.change(*sale, |sale| {
                sale.paused_at = None;
                sale.turned(*at);
            }),
            Event::SaleClosed { sale, at } => self.change(*sale, |sale| {
                sale.closed_at.get_or_insert(*at);
                sale.turned(*at);
            }),
            Event::StatusReached { sale, at, status } => self.change(*sale, |sale| sale.announce(*status, *at)),
            Event::Adjusted(adjusted) => {
                let stock = self.stock(adjusted.item).checked_add_signed(adjusted.delta);
                self.set_stock(adjusted.item, stock.expect("stock is never negative"));
            }
            Event::Stocked { item, stock } => self.set_stock(*item, *stock),
            // Plans by the previous time must be planned again.
            Event::ClockSet(_) => self.outdate(),
            // The trail's.
            Event::Audited(_) | Event::KeysNoted { .. } | Event::AuditReached(_) => {}
            // The shards'.
            Event::Held(_)
            | Event::Extended { .. }
            | Event::Confirmed(_)
            | Event::Released(_)
            | Event::Expired(_)
            | Event::Retired { .. }
            | Event::Carried { .. }
            | Event::Forgotten { .. }
            | Event::CustomerErased { .. } => {}
        }
    }

    /// The events that rebuild this catalogue from nothing.
    pub fn retell(&self, mut each: impl FnMut(&Event<'_>)) {
        for sale in &self.sales {
            let settings = encode_settings(&sale.settings);
            let items = sale.items.iter().map(|item| item.number).collect();
            each(&Event::SaleDefined { sale: sale.number, at: sale.created_at, items, settings: &settings });
            if let Some(at) = sale.paused_at {
                each(&Event::SalePaused { sale: sale.number, at });
            }
            if let Some(at) = sale.closed_at {
                each(&Event::SaleClosed { sale: sale.number, at });
            }
            // A paused sale's status does not say how far the clock came.
            for status in [sale.reached.status(), sale.announced] {
                each(&Event::StatusReached { sale: sale.number, at: sale.changed_at, status });
            }
            for (item, &stock) in sale.items.iter().zip(&*sale.stock) {
                each(&Event::Stocked { item: item.number, stock });
            }
        }
    }

    /// Prepares a sale document that was judged, with the numbers of its items. Nothing changes yet. `tag`: of the settings.
    pub fn prepare(&self, number: SaleNumber, numbers: &[ItemNumber], settings: SaleSettings, tag: Tag) -> Definition {
        assert_eq!(numbers.len(), settings.items.len(), "an item number for each item");
        let present = self.sales.get(number.index());
        let mut items = Vec::with_capacity(numbers.len());
        let mut known_at = Vec::with_capacity(numbers.len());
        let mut by_sku = Names::with_capacity_and_hasher(numbers.len(), RandomState::default());
        for (index, (&number, settings)) in numbers.iter().zip(&settings.items).enumerate() {
            known_at.push(present.and_then(|sale| sale.by_sku.get(settings.sku.as_str()).copied()));
            by_sku.insert(CompactString::from(&settings.sku), index as u32);
            items.push(Item { number, settings: settings.clone() });
        }
        Definition {
            number,
            settings: Arc::new(settings),
            items: Arc::new(items),
            by_sku: Arc::new(by_sku),
            replaces: present.map(|sale| sale.items.clone()),
            known_at,
            tag,
        }
    }

    /// Puts a prepared document in force.
    ///
    /// # Panics
    /// When another document of the sale was put since it was prepared.
    pub fn define(&mut self, definition: Definition, at: Timestamp) {
        let Definition { number, settings, items, by_sku, replaces, known_at, tag } = definition;
        let present = self.sales.get(number.index());
        let unchanged = match (present, &replaces) {
            (Some(sale), Some(items)) => Arc::ptr_eq(&sale.items, items),
            (None, None) => true,
            _ => false,
        };
        assert!(unchanged, "documents of a sale are put one after the other");
        let stock = items.iter().zip(known_at).map(|(item, known)| match (present, known) {
            (Some(sale), Some(index)) => sale.stock(index as usize),
            _ => item.settings.initial_stock,
        });
        let stock = Arc::new(stock.collect());
        self.rate_limited |= settings.rate_limits.is_some();
        let mut reached = Reached::at(at, &settings);
        if let Some(before) = &present
            && before.reached == Reached::Within
            && before.settings.opens_at == settings.opens_at
        {
            reached = reached.max(Reached::Within);
        }
        let sale = Sale {
            number,
            created_at: present.map_or(at, |sale| sale.created_at),
            items: items.clone(),
            by_sku,
            stock,
            paused_at: present.and_then(|sale| sale.paused_at),
            closed_at: present.and_then(|sale| sale.closed_at),
            changed_at: at,
            reached,
            // A sale that is open from the beginning, or by new times, is announced by a turn like every other.
            announced: present.map_or(Status::Scheduled, |sale| sale.announced),
            tag,
            settings,
        };
        if present.is_some() {
            self.sales[number.index()] = Arc::new(sale);
        } else {
            assert_eq!(self.sales.len(), number.index(), "sales are numbered densely");
            Arc::make_mut(&mut self.by_id).insert(sale.settings.id.as_str().into(), number);
            self.sales.push(Arc::new(sale));
        }
        let places = Arc::make_mut(&mut self.items);
        for (index, item) in items.iter().enumerate() {
            let place = Place { sale: number, index: index as u32 };
            if places.len() <= item.number.index() {
                places.resize(item.number.index() + 1, place);
            }
            places[item.number.index()] = place;
        }
        self.version += 1;
    }

    fn change(&mut self, number: SaleNumber, change: impl FnOnce(&mut Sale)) {
        change(Arc::make_mut(&mut self.sales[number.index()]));
        self.version += 1;
    }

    /// Sets the units put into the item's sale.
    pub fn set_stock(&mut self, number: ItemNumber, stock: u64) {
        let place = self.items[number.index()];
        self.change(place.sale, |sale| Arc::make_mut(&mut sale.stock)[place.index as usize] = stock);
    }
}

/// A sale document as events keep it.
pub fn encode_settings(settings: &SaleSettings) -> Vec<u8> {
    serde_json::to_vec(settings).expect("settings are plain data")
}

fn judge_replacement(sale: &Sale, settings: &SaleSettings) -> Result<(), Refusal> {
    if sale.is_closed() {
        return Err(Refusal::SaleEnded);
    }
    let mut named: HashMap<&str, &ItemSettings> = HashMap::with_capacity(settings.items.len());
    named.extend(settings.items.iter().map(|item| (item.sku.as_str(), item)));
    for known in &*sale.items {
        let sku = &known.settings.sku;
        match named.get(sku.as_str()) {
            None => {
                let detail = format!("must still have the item {sku:?}: items can be added, but not removed");
                return Err(Refusal::Invalid(vec![Invalid::new("/items", detail)]));
            }
            Some(item) if item.initial_stock != known.settings.initial_stock => {
                let initial_stock = known.settings.initial_stock;
                return Err(Refusal::InitialStockImmutable { sku: sku.clone(), initial_stock });
            }
            Some(_) => {}
        }
    }
    Ok(())
}
