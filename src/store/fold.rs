//! Folds a window of batches to its final rows, so that each key is written once, however often it changed.
//!
//! Pure: no SQL, no look-ups, no clock. Invariant: applying the window at once leaves the same rows as applying its
//! events one by one. That works because events carry what they need: a `Held` its lines and prices, every other event the
//! units that it moved.
//!
//! A window has only whole batches. A batch is a consistent cut, so the sums at its end conserve stock, even though its lanes
//! follow one another and the sums in between may not.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;

use super::{
    audit::AuditRow,
    levels::Level,
    life::{Extension, Refused, ReservationChange, Told},
    waitlist::EntryChange,
};
use crate::{
    engine::batch,
    sale::{
        codec::Malformed,
        event::{
            Adjusted, CatalogueEvent, CustomerEvent, Event, PoolLevels, SaleDefined, Transferred,
            record::{self, BadRecord, Numbers},
        },
        ids::{Bucket, EntryId, ItemNumber, PoolNumber, ReservationId, SaleNumber},
        outcome::{State, WaitState},
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
    #[error("reservation {id} was {event} while it was {state}")]
    OutOfOrder { id: ReservationId, event: &'static str, state: &'static str },
    #[error("waitlist entry {id} was {event} while it was {state}")]
    EntryOutOfOrder { id: EntryId, event: &'static str, state: &'static str },
    #[error("reservation {id} lacks units that an event moves")]
    LacksUnits { id: ReservationId },
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
    entries: BTreeMap<EntryId, EntryChange>,
    /// Confirmations that were refused.
    refused: Vec<Refused>,
    /// Customers who were erased, and where in the window that was first.
    erased: BTreeMap<CompactString, Place>,
    movements: Vec<Movement>,
    audit: Vec<AuditRow>,
}

/// The number of an event within its window.
pub(super) type Place = u64;

/// Reservations whose customers were erased in a window, and where.
pub(super) type Erasures = BTreeMap<ReservationId, Place>;

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

/// An adjustment of stock, or one side of a transfer. Movements are never folded together: each is a row of its own.
#[derive(Debug)]
pub struct Movement {
    pub pool: PoolNumber,
    pub at: Timestamp,
    pub delta: i64,
    pub reason: Option<Told>,
    pub reference: Option<Box<str>>,
    /// The reservation whose units were cancelled and left the sale.
    pub reservation: Option<ReservationId>,
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

    /// Waitlist entries, in the order of ids.
    pub fn entries(&self) -> &BTreeMap<EntryId, EntryChange> {
        &self.entries
    }

    /// Lets go of all other waitlist entries.
    pub(super) fn keep_entries(&mut self, mut keep: impl FnMut(&EntryId) -> bool) {
        self.entries.retain(|id, _| keep(id));
    }

    /// Customers who were erased in the window, and where that was first. Rows from before the window are still to be
    /// rid of them, and of every text that was put there before that place; the window's own new rows are.
    pub fn erased(&self) -> &BTreeMap<CompactString, Place> {
        &self.erased
    }

    /// Where the window erased the customer first.
    pub fn erased_at(&self, customer: &str) -> Option<Place> {
        self.erased.get(customer).copied()
    }

    /// Reservations from before the window of which it tells a text, and whose customer may be one whom it erases: only the
    /// database knows whose they are.
    pub fn doubtful(&self) -> BTreeSet<ReservationId> {
        let buckets: BTreeSet<Bucket> = self.erased.keys().map(|customer| Bucket::of(customer)).collect();
        if buckets.is_empty() {
            return BTreeSet::new();
        }
        let changed = self.reservations.iter().filter(|(_, change)| change.has_text()).map(|(id, _)| *id);
        let refused = self.refused.iter().filter(|refused| refused.reference.is_some()).map(|refused| refused.id);
        let taken_out = self.movements.iter().filter(|movement| movement.reason.is_some());
        let taken_out = taken_out.filter_map(|movement| movement.reservation);
        let is_from_before = |id: &ReservationId| self.reservations.get(id).is_none_or(|change| change.begun.is_none());
        let all = changed.chain(refused).chain(taken_out);
        all.filter(|id| buckets.contains(&id.bucket()) && is_from_before(id)).collect()
    }

    /// In the order in which they happened.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
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
        let (at, place) = (event.at().unwrap_or_default(), self.events);
        match &event {
            // Snapshots say again what rows already show.
            CustomerEvent::Sold { .. } => {}
            event => event.moves(|moved| self.count(&moved, at)),
        }
        match event {
            CustomerEvent::Held(held) => self.change(held.id, at).begin(held),
            CustomerEvent::Extended(extended) => {
                let extension = Extension { expires_at: extended.expires_at, count: extended.extensions };
                self.change(extended.id, at).extend(extended.id, extension)
            }
            CustomerEvent::Confirmed(settled) => self.change(settled.id, at).end(settled, State::Confirmed, place),
            CustomerEvent::Released(settled) => self.change(settled.id, at).end(settled, State::Released, place),
            CustomerEvent::Expired(settled) => self.change(settled.id, at).end(settled, State::Expired, place),
            CustomerEvent::Changed(changed) => self.change(changed.id, at).change(changed),
            // In a snapshot, an event without units brings back a key.
            CustomerEvent::Cancelled(cancelled) if cancelled.portions.is_empty() => Ok(()),
            CustomerEvent::Cancelled(cancelled) => self.change(cancelled.id, at).cancel(cancelled, place),
            CustomerEvent::ConfirmRefused(refused) => {
                self.pass(at);
                self.refused.push(Refused::of(&refused, place));
                Ok(())
            }
            CustomerEvent::GroupNoted(noted) => self.change(noted.id, at).note_group(&noted),
            // The rows of its members say it.
            CustomerEvent::GroupChanged(_) => {
                self.pass(at);
                Ok(())
            }
            CustomerEvent::Joined(joined) => self.entry(joined.id, at).join(joined),
            CustomerEvent::Offered(offered) => self.entry(offered.id, at).offer(&offered),
            CustomerEvent::LeftWaitlist(ended) => self.entry(ended.id, at).end(&ended, WaitState::Left),
            CustomerEvent::WaitExpired(ended) => self.entry(ended.id, at).end(&ended, WaitState::Expired),
            CustomerEvent::PassedOver(passed) => self.entry(passed.id, at).pass_over(&passed),
            CustomerEvent::CustomerErased { customer, .. } => self.erase(at, customer),
            // What memory keeps: the rows already show it.
            CustomerEvent::EntryRetired { .. }
            | CustomerEvent::Retired { .. }
            | CustomerEvent::Carried { .. }
            | CustomerEvent::Sold { .. } => Ok(()),
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

    /// What became of a reservation, for an event of this time.
    fn change(&mut self, id: ReservationId, at: Timestamp) -> &mut ReservationChange {
        self.pass(at);
        self.reservations.entry(id).or_default()
    }

    /// What became of a waitlist entry, for an event of this time.
    fn entry(&mut self, id: EntryId, at: Timestamp) -> &mut EntryChange {
        self.pass(at);
        self.entries.entry(id).or_default()
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
        let Adjusted { pool, at, delta, reason, reference, of_reservation, stock, available, of_pool, .. } = adjusted;
        self.pass(at);
        CatalogueEvent::Adjusted(adjusted).moves(|moved| self.count(&moved, at));
        // A pool that has no other beside it has all of the item.
        let after = of_pool.unwrap_or(PoolLevels { stock, available });
        let (reason, reference) = (Told::of(reason, self.events), reference.map(Into::into));
        let reservation = of_reservation;
        self.movements.push(Movement { pool, at, delta, reason, reference, reservation, after, other: None });
        Ok(())
    }

    fn transfer(&mut self, transferred: Transferred<'_>) -> Result<(), FoldError> {
        let Transferred { from, to, at, units, reason, reference, after, .. } = transferred;
        self.pass(at);
        CatalogueEvent::Transferred(transferred).moves(|moved| self.count(&moved, at));
        let delta = i64::try_from(units).expect("stock is limited to 2^63");
        for (pool, delta, after, other) in [(from, -delta, after[0], to), (to, delta, after[1], from)] {
            let (reason, reference) = (Told::of(reason, self.events), reference.map(Into::into));
            let (reservation, other) = (None, Some(other));
            self.movements.push(Movement { pool, at, delta, reason, reference, reservation, after, other });
        }
        Ok(())
    }

    fn erase(&mut self, at: Timestamp, customer: &str) -> Result<(), FoldError> {
        self.pass(at);
        self.erased.entry(customer.into()).or_insert(self.events);
        let bucket = Bucket::of(customer);
        let mut theirs = BTreeSet::new();
        for (&id, change) in self.reservations.iter_mut().filter(|(id, _)| id.bucket() == bucket) {
            if change.erase(id, customer) {
                theirs.insert(id);
            }
        }
        for (&id, change) in self.entries.iter_mut().filter(|(id, _)| id.bucket() == bucket) {
            change.erase(id, customer);
        }
        for refused in self.refused.iter_mut().filter(|refused| theirs.contains(&refused.id)) {
            refused.reference = None;
        }
        for movement in self.movements.iter_mut() {
            if movement.reservation.is_some_and(|id| theirs.contains(&id)) {
                movement.reason = None;
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
