//! Folds a window of batches to its final rows, so that each key is written once, however often it changed.
//!
//! Pure: no SQL, no look-ups, no clock. Invariant: applying the window at once leaves the same rows as applying its
//! events one by one. That works because events carry what they need: a `Held` its lines and prices, an ending its
//! lines.
//!
//! A window has only whole batches. A batch is a consistent cut, so the sums at its end conserve stock, even though its lanes
//! follow one another and the sums in between may not.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;

use super::{audit::AuditRow, levels::Level};
use crate::{
    engine::batch,
    sale::{
        attributes::Attributes,
        codec::Malformed,
        event::{
            Adjusted, AskedUnits, CatalogueEvent, CustomerEvent, Event, Held, PoolLevels, PricedPortions, SaleDefined,
            Settled, Transferred,
            record::{self, BadRecord, Numbers},
        },
        ids::{Bucket, ItemNumber, PoolNumber, ReservationId, SaleNumber, erased_customer},
        outcome::State,
        settings::SaleSettings,
        stock::{Account, Move},
        time::Timestamp,
    },
};

/// Why a batch makes no sense. Its frame was intact, so a newer or a broken program wrote it.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("sale number {}: {source}", sale.0)]
    Record { sale: SaleNumber, source: BadRecord },
    #[error("reservation {id} was {event} after it had already {before}")]
    OutOfOrder { id: ReservationId, event: &'static str, before: &'static str },
}

/// Batches `after + 1` to `through`, folded. Its memory is a small multiple of `payload_bytes`.
#[derive(Debug, Default)]
pub struct Window {
    after: u64,
    through: u64,
    events: u64,
    payload_bytes: u64,
    at: Option<Timestamp>,
    sales: BTreeMap<SaleNumber, SaleChange>,
    items: BTreeMap<ItemNumber, CountChange>,
    pools: BTreeMap<PoolNumber, CountChange>,
    /// When a document of the window first listed a pool.
    listed: BTreeMap<PoolNumber, Timestamp>,
    /// How low items went, at the ends of batches.
    levels: BTreeMap<ItemNumber, Level>,
    /// Items that the batch being folded moved, and when it did so last.
    moved: BTreeMap<ItemNumber, Timestamp>,
    reservations: BTreeMap<ReservationId, ReservationChange>,
    /// Customers who were erased, and where in the window that was first.
    erased: BTreeMap<CompactString, Place>,
    movements: Vec<Movement>,
    audit: Vec<AuditRow>,
}

/// The number of an event within its window.
pub(super) type Place = u64;

/// What became of a sale.
#[derive(Debug)]
pub struct SaleChange {
    /// The last document put; None when none was.
    pub definition: Option<Definition>,
    /// The operator's last word on pausing: `Some(Some(at))` paused, `Some(None)` resumed, None nothing said.
    pub paused_at: Option<Option<Timestamp>>,
    pub closed_at: Option<Timestamp>,
    /// When the sale changed last. Its status is what its times and the operator's words come to at that moment.
    pub at: Timestamp,
}

#[derive(Debug)]
pub struct Definition {
    pub settings: SaleSettings,
    /// The numbers of the items and their pools, in the order of the settings.
    pub numbers: Vec<Numbers>,
    /// When the first document of the window was put: the creation, should the sale be new.
    pub created_at: Timestamp,
}

/// Units to add to the counts of an item or a pool.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CountChange {
    pub stock: i64,
    pub available: i64,
    pub held: i64,
    pub confirmed: i64,
}

/// What became of a reservation: a new row when it has `begun`, else a change of one written before.
#[derive(Debug, Default)]
pub struct ReservationChange {
    pub begun: Option<Begun>,
    pub extension: Option<Extension>,
    pub end: Option<End>,
}

/// A hold as it began; its creation time is in its id.
#[derive(Debug)]
pub struct Begun {
    pub sale: SaleNumber,
    pub customer: CompactString,
    pub hold_seconds: u32,
    pub reference: Option<Box<str>>,
    pub portions: PricedPortions,
    pub attributes: Option<Box<Attributes<'static>>>,
    /// What was asked of the items of which it got less.
    pub short: Box<[AskedUnits]>,
}

/// The last extension; `count` is how many there were since the hold began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    pub expires_at: Timestamp,
    pub count: u16,
}

#[derive(Debug)]
pub struct End {
    /// Never `Held`.
    pub state: State,
    pub at: Timestamp,
    /// Confirmed: the order's reference, which takes the place of the hold's. Released: the reason.
    pub text: Option<Box<str>>,
    /// For the text of a reservation from before the window whose customer was erased within it: before that or after.
    pub place: Place,
}

/// An adjustment of stock, or one side of a transfer. Movements are never folded together: each is a row of its own.
#[derive(Debug)]
pub struct Movement {
    pub pool: PoolNumber,
    pub at: Timestamp,
    pub delta: i64,
    pub reason: Option<Box<str>>,
    pub reference: Option<Box<str>>,
    /// The pool's, right after.
    pub after: PoolLevels,
    /// Of a transfer: where the units went to, or came from.
    pub other: Option<PoolNumber>,
}

impl Window {
    /// An empty window that goes on from a cursor.
    pub fn starting_after(epoch: u64) -> Self {
        Self { after: epoch, through: epoch, ..Self::default() }
    }

    /// The cursor that the window goes on from.
    pub fn after(&self) -> u64 {
        self.after
    }

    /// The last epoch in the window; `after` when it is empty.
    pub fn through(&self) -> u64 {
        self.through
    }

    pub fn is_empty(&self) -> bool {
        self.after == self.through
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// The latest time in any event of the window.
    pub fn at(&self) -> Option<Timestamp> {
        self.at
    }

    pub fn sales(&self) -> &BTreeMap<SaleNumber, SaleChange> {
        &self.sales
    }

    pub fn items(&self) -> &BTreeMap<ItemNumber, CountChange> {
        &self.items
    }

    /// When a document of this window first listed the pool. It is new if the database does not know it.
    pub fn listed_at(&self, pool: PoolNumber) -> Option<Timestamp> {
        self.listed.get(&pool).copied()
    }

    /// Items whose counts change, or that were sold out meanwhile.
    pub(super) fn counted_items(&self) -> impl Iterator<Item = (ItemNumber, &CountChange, Level)> {
        let with_level = self.items.iter().map(|(&number, change)| {
            let level = self.levels.get(&number).copied().unwrap_or_default();
            (number, change, level)
        });
        with_level.filter(|(_, change, level)| !change.is_neutral() || level.is_notable())
    }

    /// Pools whose counts change.
    pub(super) fn counted_pools(&self) -> impl Iterator<Item = (PoolNumber, &CountChange)> {
        self.pools.iter().map(|(&number, change)| (number, change)).filter(|(_, change)| !change.is_neutral())
    }

    /// In the order of ids, which is the order of creation: a database inserts them at the end of its tree.
    pub fn reservations(&self) -> &BTreeMap<ReservationId, ReservationChange> {
        &self.reservations
    }

    /// Lets go of all other reservations.
    pub(super) fn keep_reservations(&mut self, mut keep: impl FnMut(&ReservationId) -> bool) {
        self.reservations.retain(|id, _| keep(id));
    }

    /// Customers who were erased in the window, and where that was first. Rows from before the window are still to be
    /// rid of them, and of every text that was put there before that place; the window's own new rows are.
    pub fn erased(&self) -> &BTreeMap<CompactString, Place> {
        &self.erased
    }

    /// Endings with a text of reservations from before the window, where their customer may be one whom the window erases:
    /// only the database knows whose they are. See `erases_text`.
    pub fn doubtful_texts(&self) -> impl Iterator<Item = (&ReservationId, &End)> {
        let buckets: BTreeSet<Bucket> = self.erased.keys().map(|customer| Bucket::of(customer)).collect();
        let changes = self.reservations.iter().filter(move |(id, change)| {
            change.begun.is_none() && !buckets.is_empty() && buckets.contains(&id.bucket())
        });
        changes.filter_map(|(id, change)| Some((id, change.end.as_ref().filter(|end| end.text.is_some())?)))
    }

    /// Whether the text was told before the customer was erased, and must not be written.
    pub fn erases_text(&self, customer: &str, end: &End) -> bool {
        self.erased.get(customer).is_some_and(|&place| end.place < place)
    }

    /// In the order in which they happened.
    pub fn movements(&self) -> &[Movement] {
        &self.movements
    }

    /// Records of the audit trail, in its order.
    pub fn audit(&self) -> &[AuditRow] {
        &self.audit
    }

    /// Folds one batch in. After an error the window is of no use.
    pub fn fold(&mut self, epoch: u64, payload: &[u8]) -> Result<(), FoldError> {
        debug_assert_eq!(epoch, self.through + 1, "batches come in order");
        self.through = epoch;
        self.payload_bytes += payload.len() as u64;
        batch::for_each(payload, |_lane, _place, event| self.event(event))?;
        // Only now are sums what they were at one moment.
        for (item, at) in std::mem::take(&mut self.moved) {
            let available = self.items.get(&item).map_or(0, |change| change.available);
            self.levels.entry(item).or_default().reach(available, at);
        }
        Ok(())
    }

    /// Folds one event in. Of a batch, all or none are to be folded.
    pub fn event(&mut self, event: Event<'_>) -> Result<(), FoldError> {
        self.events += 1;
        match event {
            Event::Customer(event) => self.customer_event(event),
            Event::Catalogue(event) => self.catalogue_event(event),
        }
    }

    fn customer_event(&mut self, event: CustomerEvent<'_>) -> Result<(), FoldError> {
        let at = event.at().unwrap_or_default();
        match &event {
            // Snapshots say again what rows already show.
            CustomerEvent::Sold { .. } => {}
            event => event.moves(|moved| self.count(&moved, at)),
        }
        match event {
            CustomerEvent::Held(held) => self.begin(held),
            CustomerEvent::Extended(extended) => {
                let extension = Extension { expires_at: extended.expires_at, count: extended.extensions };
                self.extend(extended.id, at, extension)
            }
            CustomerEvent::Confirmed(settled) => self.end(settled, State::Confirmed),
            CustomerEvent::Released(settled) => self.end(settled, State::Released),
            CustomerEvent::Expired(settled) => self.end(settled, State::Expired),
            CustomerEvent::Changed(_) | CustomerEvent::Cancelled(_) | CustomerEvent::ConfirmRefused(_) => Ok(()),
            CustomerEvent::CustomerErased { customer, .. } => self.erase(at, customer),
            // What memory keeps: the rows already show it.
            CustomerEvent::Retired { .. } | CustomerEvent::Carried { .. } | CustomerEvent::Sold { .. } => Ok(()),
        }
    }

    fn catalogue_event(&mut self, event: CatalogueEvent<'_>) -> Result<(), FoldError> {
        match event {
            CatalogueEvent::SaleDefined(defined) => self.define(&defined),
            CatalogueEvent::SalePaused { sale, at } => self.turn(sale, at, |change| change.paused_at = Some(Some(at))),
            CatalogueEvent::SaleResumed { sale, at } => self.turn(sale, at, |change| change.paused_at = Some(None)),
            CatalogueEvent::SaleClosed { sale, at } => self.turn(sale, at, |change| change.closed_at = Some(at)),
            CatalogueEvent::StatusReached { sale, at, .. } => self.turn(sale, at, |_| {}),
            // Only time passes: no row says what began.
            CatalogueEvent::PhaseOpened { at, .. } | CatalogueEvent::PoolShared { at, .. } => {
                self.pass(at);
                Ok(())
            }
            CatalogueEvent::Adjusted(adjusted) => self.adjust(adjusted),
            CatalogueEvent::Transferred(transferred) => self.transfer(transferred),
            CatalogueEvent::Audited(audited) => {
                self.pass(audited.record.at);
                self.audit.push(AuditRow::of(&audited));
                Ok(())
            }
            // Snapshots say again what rows already show.
            CatalogueEvent::Stocked { .. } => Ok(()),
            CatalogueEvent::HoldsExtending(_)
            | CatalogueEvent::HoldsExtended(_)
            | CatalogueEvent::KeysNoted { .. }
            | CatalogueEvent::AuditReached(_)
            | CatalogueEvent::ClockSet(_)
            | CatalogueEvent::WrittenBy { .. } => Ok(()),
        }
    }

    /// Counts units that moved. The initial stock of an item and its pools is not among them: their new rows have it.
    fn count(&mut self, moved: &Move, at: Timestamp) {
        self.items.entry(moved.item).or_default().add(moved);
        self.pools.entry(moved.pool).or_default().add(moved);
        if moved.change_of(Account::Available) != 0 {
            let last = self.moved.entry(moved.item).or_insert(at);
            *last = at.max(*last);
        }
    }

    fn begin(&mut self, held: Held<'_>) -> Result<(), FoldError> {
        self.pass(held.id.created_at());
        let change = self.reservations.entry(held.id).or_default();
        if change.begun.is_some() || change.extension.is_some() || change.end.is_some() {
            return Err(FoldError::OutOfOrder { id: held.id, event: "held", before: "begun" });
        }
        change.begun = Some(Begun {
            sale: held.sale,
            customer: held.customer.into(),
            hold_seconds: held.hold_seconds,
            reference: held.reference.map(Into::into),
            portions: held.portions,
            attributes: held.attributes.map(|attributes| Box::new(attributes.into_owned())),
            short: held.short,
        });
        Ok(())
    }

    fn extend(&mut self, id: ReservationId, at: Timestamp, extension: Extension) -> Result<(), FoldError> {
        self.pass(at);
        let change = self.reservations.entry(id).or_default();
        if change.end.is_some() {
            return Err(FoldError::OutOfOrder { id, event: "extended", before: "ended" });
        }
        change.extension = Some(extension);
        Ok(())
    }

    fn end(&mut self, settled: Settled<'_>, state: State) -> Result<(), FoldError> {
        self.pass(settled.at);
        let change = self.reservations.entry(settled.id).or_default();
        if change.end.is_some() {
            return Err(FoldError::OutOfOrder { id: settled.id, event: state.as_str(), before: "ended" });
        }
        change.end = Some(End { state, at: settled.at, text: settled.text.map(Into::into), place: self.events });
        Ok(())
    }

    fn define(&mut self, defined: &SaleDefined<'_>) -> Result<(), FoldError> {
        let (sale, at) = (defined.sale, defined.at);
        let decoded = record::decode(defined.record);
        let (settings, numbers) = decoded.map_err(|source| FoldError::Record { sale, source })?;
        for &pool in numbers.iter().flat_map(|numbers| &numbers.pools) {
            self.listed.entry(pool).or_insert(at);
        }
        self.turn(sale, at, |change| {
            let created_at = change.definition.as_ref().map_or(at, |before| before.created_at);
            change.definition = Some(Definition { settings, numbers, created_at });
        })
    }

    fn turn(&mut self, sale: SaleNumber, at: Timestamp, turn: impl FnOnce(&mut SaleChange)) -> Result<(), FoldError> {
        self.pass(at);
        let unchanged = SaleChange { definition: None, paused_at: None, closed_at: None, at };
        let change = self.sales.entry(sale).or_insert(unchanged);
        change.at = at;
        turn(change);
        Ok(())
    }

    fn adjust(&mut self, adjusted: Adjusted<'_>) -> Result<(), FoldError> {
        let Adjusted { pool, at, delta, reason, reference, stock, available, of_pool, .. } = adjusted;
        self.pass(at);
        CatalogueEvent::Adjusted(adjusted).moves(|moved| self.count(&moved, at));
        // A pool that has no other beside it has all of the item.
        let after = of_pool.unwrap_or(PoolLevels { stock, available });
        let (reason, reference) = (reason.map(Into::into), reference.map(Into::into));
        self.movements.push(Movement { pool, at, delta, reason, reference, after, other: None });
        Ok(())
    }

    fn transfer(&mut self, transferred: Transferred<'_>) -> Result<(), FoldError> {
        let Transferred { from, to, at, units, reason, reference, after, .. } = transferred;
        self.pass(at);
        CatalogueEvent::Transferred(transferred).moves(|moved| self.count(&moved, at));
        let delta = i64::try_from(units).expect("stock is limited to 2^63");
        for (pool, delta, after, other) in [(from, -delta, after[0], to), (to, delta, after[1], from)] {
            let (reason, reference) = (reason.map(Into::into), reference.map(Into::into));
            self.movements.push(Movement { pool, at, delta, reason, reference, after, other: Some(other) });
        }
        Ok(())
    }

    fn erase(&mut self, at: Timestamp, customer: &str) -> Result<(), FoldError> {
        self.pass(at);
        self.erased.entry(customer.into()).or_insert(self.events);
        let bucket = Bucket::of(customer);
        let of_bucket = self.reservations.iter_mut().filter(|(id, _)| id.bucket() == bucket);
        for (&id, change) in of_bucket {
            let Some(begun) = change.begun.as_mut().filter(|begun| begun.customer == customer) else { continue };
            (begun.customer, begun.reference) = (erased_customer(id), None);
            // Tier, channel and region are many customers'.
            if let Some(attributes) = &mut begun.attributes {
                attributes.labels.clear();
            }
            if let Some(end) = &mut change.end {
                end.text = None;
            }
        }
        Ok(())
    }

    fn pass(&mut self, at: Timestamp) {
        self.at = self.at.max(Some(at));
    }
}

impl CountChange {
    fn add(&mut self, moved: &Move) {
        self.stock = self.stock.saturating_add(moved.change_of_stock());
        self.available = self.available.saturating_add(moved.change_of(Account::Available));
        self.held += moved.change_of(Account::Held);
        self.confirmed += moved.change_of(Account::Confirmed);
    }

    /// Whether the counts stay as they are.
    pub fn is_neutral(&self) -> bool {
        (self.stock, self.available, self.held, self.confirmed) == (0, 0, 0, 0)
    }
}
