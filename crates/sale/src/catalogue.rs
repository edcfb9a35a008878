//! The catalogue: sales, their items and the pools of these. Every request reads it; operators and the clock change it.
//!
//! Invariants: sales, items and pools are numbered densely and never leave; an item never changes its sale; `initial_stock` never
//! changes; a sale closed by its operator stays closed; a sale that the clock opened or closed stays so, even if the clock is
//! set, until its operator sets other times. A catalogue is a value: the engine publishes a changed copy.

mod plan;
mod put;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use compact_str::CompactString;
use foldhash::quality::RandomState;
use smallvec::SmallVec;

use super::{
    event::{
        CatalogueEvent, OpenedPool, SaleDefined,
        record::{self, Numbers},
    },
    expected::Tag,
    ids::{ItemNumber, PoolNumber, SaleNumber},
    outcome::{Refusal, Status},
    settings::{ItemSettings, Limits, Phase, PoolSettings, SaleSettings},
    time::{Now, Timestamp},
};

#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Counts changes: two catalogues of one run with the same version are the same.
    version: u64,
    sales: Vec<Arc<Sale>>,
    by_id: Arc<Names<SaleNumber>>,
    items: Arc<Vec<Place>>,
    /// The item of each pool.
    pools: Arc<Vec<ItemNumber>>,
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
    /// Phases and pools whose beginning, or sharing, has its event, with the time that was set for it.
    begun: Arc<Begun>,
    tag: Tag,
}

/// What began by the clock within a sale's window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Begun {
    phases: BTreeSet<(CompactString, Timestamp)>,
    pools: BTreeSet<(PoolNumber, Timestamp)>,
}

/// How far a sale's window has come at a moment.
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
    /// The counters of its units, in the order of the document. An item that declares none has one.
    pub pools: SmallVec<[PoolNumber; 2]>,
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
    tag: Tag,
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
    fn changed_by_operator(&mut self, at: Timestamp) {
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

    /// The events of changes by the clock that have none yet: of the sale's status, of phases that began, of pools that are shared.
    pub fn changes_by_clock(&self, now: Timestamp) -> Vec<CatalogueEvent<'_>> {
        let (sale, status) = (self.number, self.status(now));
        let mut changes = Vec::new();
        if status != self.announced {
            changes.push(CatalogueEvent::StatusReached { sale, at: now, status });
        }
        if status == Status::Closed {
            return changes;
        }
        let is_new = |phase: &&Phase| !self.begun.phases.contains(&(phase.name.as_str().into(), phase.opens_at));
        for phase in self.settings.phases.iter().filter(|phase| now >= phase.opens_at).filter(is_new) {
            let (name, opens_at) = (phase.name.as_str(), phase.opens_at);
            changes.push(CatalogueEvent::PhaseOpened { sale, at: now, phase: name, opens_at });
        }
        for (item, pool, shared_at) in self.shared_pools() {
            if now >= shared_at && !self.begun.pools.contains(&(pool, shared_at)) {
                changes.push(CatalogueEvent::PoolShared { sale, item, pool, at: now, shared_at });
            }
        }
        changes
    }

    /// Pools that are shared at a moment.
    fn shared_pools(&self) -> impl Iterator<Item = (ItemNumber, PoolNumber, Timestamp)> {
        self.items.iter().flat_map(|item| {
            let pools = item.settings.pools.iter().zip(&item.pools);
            pools.filter_map(|(pool, &number)| Some((item.number, number, pool.shared_at?)))
        })
    }

    /// What of this document began already.
    fn still_begun(&self, begun: &Begun) -> Begun {
        let phases = self.settings.phases.iter().map(|phase| (CompactString::from(&phase.name), phase.opens_at));
        let pools = self.shared_pools().map(|(_, pool, shared_at)| (pool, shared_at));
        Begun {
            phases: phases.filter(|known| begun.phases.contains(known)).collect(),
            pools: pools.filter(|known| begun.pools.contains(known)).collect(),
        }
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

    /// The document as events keep it.
    pub fn record(&self) -> Vec<u8> {
        let numbers = self.items.iter().map(|item| Numbers { item: item.number, pools: item.pools.clone() });
        record::encode(&self.settings, &numbers.collect::<Vec<_>>())
    }

    /// When something of it may change by the clock, at these times or later. Times may come more than once.
    pub fn due_at(&self) -> impl Iterator<Item = Timestamp> {
        let window = [self.settings.opens_at, self.settings.closes_at];
        let phases = self.settings.phases.iter().map(|phase| phase.opens_at);
        window.into_iter().chain(phases).chain(self.shared_pools().map(|(.., shared_at)| shared_at))
    }

    pub fn item(&self, sku: &str) -> Option<&Item> {
        self.by_sku.get(sku).map(|&index| &self.items[index as usize])
    }

    pub fn max_extensions(&self, limits: &Limits) -> u32 {
        self.settings.max_extensions.unwrap_or(limits.extensions_max)
    }

    /// Units of the item that one customer may hold or have confirmed.
    pub fn customer_limit(&self, item: &Item) -> Option<u32> {
        item.settings.customer_limit.or(self.settings.customer_limit)
    }

    /// Whether a customer may be limited for this item.
    pub fn may_limit_customers(&self, item: &ItemSettings) -> bool {
        let phases = || self.settings.phases.iter().any(|phase| phase.customer_limit.is_some());
        item.customer_limit.is_some() || self.settings.customer_limit.is_some() || phases()
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

    pub fn pools(&self) -> usize {
        self.pools.len()
    }

    /// The item that the pool belongs to.
    pub fn item_of(&self, pool: PoolNumber) -> ItemNumber {
        self.pools[pool.index()]
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

    pub fn sku(&self, number: ItemNumber) -> &str {
        &self.item_numbered(number).settings.sku
    }

    /// The item's sale.
    pub fn sale_of(&self, item: ItemNumber) -> SaleNumber {
        self.items[item.index()].sale
    }

    /// The item's sale id and SKU.
    pub fn names(&self, number: ItemNumber) -> (&str, &str) {
        let place = self.items[number.index()];
        (&self.sale_numbered(place.sale).settings.id, self.sku(number))
    }

    /// Whether a limit still needs to know how much of this item a customer has.
    pub fn counts_customers(&self, number: ItemNumber) -> bool {
        let sale = self.sale_numbered(self.items[number.index()].sale);
        !sale.is_closed() && sale.may_limit_customers(&self.item_numbered(number).settings)
    }

    /// The event that pausing makes; None when the sale is paused already.
    pub fn pause(&self, now: Timestamp, sale: &Sale) -> Result<Option<CatalogueEvent<'static>>, Refusal> {
        match sale.status(now) {
            Status::Closed => Err(Refusal::SaleEnded),
            _ if sale.is_paused() => Ok(None),
            _ => Ok(Some(CatalogueEvent::SalePaused { sale: sale.number, at: now })),
        }
    }

    /// The event that resuming makes; None when the sale is not paused.
    pub fn resume(&self, now: Timestamp, sale: &Sale) -> Result<Option<CatalogueEvent<'static>>, Refusal> {
        match sale.status(now) {
            Status::Closed => Err(Refusal::SaleEnded),
            _ if !sale.is_paused() => Ok(None),
            _ => Ok(Some(CatalogueEvent::SaleResumed { sale: sale.number, at: now })),
        }
    }

    /// The event that closing makes; None when the operator closed the sale before.
    pub fn close(&self, now: Timestamp, sale: &Sale) -> Option<CatalogueEvent<'static>> {
        (!sale.is_closed()).then_some(CatalogueEvent::SaleClosed { sale: sale.number, at: now })
    }

    /// Applies an event. What it does to stock is the stock book's.
    ///
    /// # Panics
    /// On a fact that cannot follow what is there: the journal is not ours or a rule is broken.
    pub fn apply(&mut self, event: &CatalogueEvent<'_>) {
        match event {
            CatalogueEvent::SaleDefined(SaleDefined { sale, at, record, .. }) => {
                let (settings, numbers) =
                    record::decode(record).expect("an event has the record that it was made with");
                self.define(self.prepare(*sale, &numbers, settings, Tag::of(record)), *at);
            }
            CatalogueEvent::SalePaused { sale, at } => self.change(*sale, |sale| {
                sale.paused_at = Some(*at);
                sale.changed_by_operator(*at);
            }),
            CatalogueEvent::SaleResumed { sale, at } => self.change(*sale, |sale| {
                sale.paused_at = None;
                sale.changed_by_operator(*at);
            }),
            CatalogueEvent::SaleClosed { sale, at } => self.change(*sale, |sale| {
                sale.closed_at.get_or_insert(*at);
                sale.changed_by_operator(*at);
            }),
            CatalogueEvent::StatusReached { sale, at, status } => {
                self.change(*sale, |sale| sale.announce(*status, *at));
            }
            // Plans know the times themselves; these only say that somebody was told.
            CatalogueEvent::PhaseOpened { sale, phase, opens_at, .. } => self.note(*sale, |begun| {
                begun.phases.insert(((*phase).into(), *opens_at));
            }),
            CatalogueEvent::PoolShared { sale, pool, shared_at, .. } => self.note(*sale, |begun| {
                begun.pools.insert((*pool, *shared_at));
            }),
            // Plans by the previous time must be planned again.
            CatalogueEvent::ClockSet(_) => self.outdate(),
            // The stock book's.
            CatalogueEvent::Adjusted(_) | CatalogueEvent::Transferred(_) | CatalogueEvent::Stocked { .. } => {}
            // The trail's.
            CatalogueEvent::Audited(_) | CatalogueEvent::KeysNoted { .. } | CatalogueEvent::AuditReached(_) => {}
            // The engine's.
            CatalogueEvent::HoldsExtending(_) | CatalogueEvent::HoldsExtended(_) | CatalogueEvent::WrittenBy { .. } => {
            }
        }
    }

    /// The events that rebuild this catalogue from nothing, without its stock.
    pub fn export(&self, mut each: impl FnMut(&CatalogueEvent<'_>)) {
        for sale in &self.sales {
            let (record, number, at) = (sale.record(), sale.number, sale.created_at);
            let (opened, low_stock) = (Vec::new(), Vec::new());
            let defined = SaleDefined { sale: number, at, opened, low_stock, record: &record };
            each(&CatalogueEvent::SaleDefined(defined));
            if let Some(at) = sale.paused_at {
                each(&CatalogueEvent::SalePaused { sale: number, at });
            }
            if let Some(at) = sale.closed_at {
                each(&CatalogueEvent::SaleClosed { sale: number, at });
            }
            // A paused sale's status does not say how far the clock came.
            for status in [sale.reached.status(), sale.announced] {
                each(&CatalogueEvent::StatusReached { sale: number, at: sale.changed_at, status });
            }
            for (phase, opens_at) in &sale.begun.phases {
                let (at, opens_at) = (sale.changed_at, *opens_at);
                each(&CatalogueEvent::PhaseOpened { sale: number, at, phase, opens_at });
            }
            for &(pool, shared_at) in &sale.begun.pools {
                let (at, item) = (sale.changed_at, self.item_of(pool));
                each(&CatalogueEvent::PoolShared { sale: number, item, pool, at, shared_at });
            }
        }
    }

    /// Prepares a sale document that was judged, with the numbers of its items. Nothing changes yet. `tag`: of the record.
    pub fn prepare(&self, number: SaleNumber, numbers: &[Numbers], settings: SaleSettings, tag: Tag) -> Definition {
        assert_eq!(numbers.len(), settings.items.len(), "each item has its numbers");
        let mut items = Vec::with_capacity(numbers.len());
        let mut by_sku = Names::with_capacity_and_hasher(numbers.len(), RandomState::default());
        for (index, (numbers, settings)) in numbers.iter().zip(&settings.items).enumerate() {
            by_sku.insert(CompactString::from(&settings.sku), index as u32);
            items.push(Item { number: numbers.item, settings: settings.clone(), pools: numbers.pools.clone() });
        }
        Definition {
            number,
            settings: Arc::new(settings),
            items: Arc::new(items),
            by_sku: Arc::new(by_sku),
            replaces: self.sales.get(number.index()).map(|sale| sale.items.clone()),
            tag,
        }
    }

    /// The pools that a prepared document opens, with their initial stock.
    pub fn opened_by(&self, definition: &Definition) -> Vec<OpenedPool> {
        let pools = definition.items.iter().flat_map(|item| {
            let pools = item.settings.pools_or_default().zip(&item.pools);
            pools.map(|((_, units), &pool)| OpenedPool { item: item.number, pool, units })
        });
        pools.filter(|opened| opened.pool.index() >= self.pools.len()).collect()
    }

    /// Puts a prepared document in force.
    ///
    /// # Panics
    /// When another document of the sale was put since it was prepared.
    pub fn define(&mut self, definition: Definition, at: Timestamp) {
        let Definition { number, settings, items, by_sku, replaces, tag } = definition;
        let present = self.sales.get(number.index());
        let unchanged = match (present, &replaces) {
            (Some(sale), Some(items)) => Arc::ptr_eq(&sale.items, items),
            (None, None) => true,
            _ => false,
        };
        assert!(unchanged, "documents of a sale are put one after the other");
        self.rate_limited |= settings.rate_limits.is_some();
        let mut reached = Reached::at(at, &settings);
        if let Some(before) = &present
            && before.reached == Reached::Within
            && before.settings.opens_at == settings.opens_at
        {
            reached = reached.max(Reached::Within);
        }
        let mut sale = Sale {
            number,
            created_at: present.map_or(at, |sale| sale.created_at),
            items: items.clone(),
            by_sku,
            paused_at: present.and_then(|sale| sale.paused_at),
            closed_at: present.and_then(|sale| sale.closed_at),
            changed_at: at,
            reached,
            // A sale that is open from the beginning, or by new times, is announced by an event of the clock like every other.
            announced: present.map_or(Status::Scheduled, |sale| sale.announced),
            begun: Arc::default(),
            tag,
            settings,
        };
        if let Some(before) = &present {
            sale.begun = Arc::new(sale.still_begun(&before.begun));
        }
        if present.is_some() {
            self.sales[number.index()] = Arc::new(sale);
        } else {
            assert_eq!(self.sales.len(), number.index(), "sales are numbered densely");
            Arc::make_mut(&mut self.by_id).insert(sale.settings.id.as_str().into(), number);
            self.sales.push(Arc::new(sale));
        }
        self.index_items(number, &items, replaces.as_deref());
        self.version += 1;
    }

    /// Keeps where the sale's items and pools are. `before`: its items by the document that was replaced.
    fn index_items(&mut self, sale: SaleNumber, items: &[Item], before: Option<&Vec<Item>>) {
        let is_in_place = |index: usize, item: &Item| {
            let known = before.and_then(|before| before.get(index));
            known.is_some_and(|known| known.number == item.number && known.pools == item.pools)
        };
        let moved: Vec<_> = items.iter().enumerate().filter(|&(index, item)| !is_in_place(index, item)).collect();
        if moved.is_empty() {
            return;
        }
        let (places, pools) = (Arc::make_mut(&mut self.items), Arc::make_mut(&mut self.pools));
        for (index, item) in moved {
            let place = Place { sale, index: index as u32 };
            if places.len() <= item.number.index() {
                places.resize(item.number.index() + 1, place);
            }
            places[item.number.index()] = place;
            for pool in &item.pools {
                if pools.len() <= pool.index() {
                    pools.resize(pool.index() + 1, item.number);
                }
                pools[pool.index()] = item.number;
            }
        }
    }

    /// Notes that something has its event. Nothing is judged by it, so the version stays.
    fn note(&mut self, number: SaleNumber, change: impl FnOnce(&mut Begun)) {
        change(Arc::make_mut(&mut Arc::make_mut(&mut self.sales[number.index()]).begun));
    }

    fn change(&mut self, number: SaleNumber, change: impl FnOnce(&mut Sale)) {
        change(Arc::make_mut(&mut self.sales[number.index()]));
        self.version += 1;
    }
}

impl Item {
    /// The pool of this id.
    pub fn pool(&self, id: &str) -> Option<PoolNumber> {
        self.settings.pool_index(id).map(|index| self.pools[index])
    }

    /// The id of a pool of this item.
    pub fn pool_id(&self, pool: PoolNumber) -> &str {
        let index = self.pools.iter().position(|&known| known == pool);
        self.settings.pool_id(index.expect("it is one of the item's pools"))
    }

    /// What the document says of a pool; None if it declares none.
    pub fn pool_settings(&self, pool: PoolNumber) -> Option<&PoolSettings> {
        let index = self.pools.iter().position(|&known| known == pool)?;
        self.settings.pools.get(index)
    }
}
