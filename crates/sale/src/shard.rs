//! A shard: a share of the customers' buckets, with a slice of every item's stock.
//!
//! Invariants, for every item and at every instant:
//! - the slice's `held` is the sum over the shard's live holds, its `confirmed` the sum over its confirmed reservations,
//!   those that left memory included;
//! - over all shards `available + held + confirmed` is the item's stock, and while the shard serves none is negative;
//! - a customer's units are what the customer holds or has confirmed, as far as a limit may ask for them.
//!
//! This file has the state and `apply`, the only way to change it; `decide.rs` has the decisions. Replay uses only `apply`, and
//! `available` may be negative until it ends.

mod entry;
mod erase;
mod search;
mod show;

pub(super) use entry::Entry;
use entry::{Customer, Line, Lines, NOBODY, Texts};
pub use search::Search;

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    time::Duration,
};

use super::{
    catalogue::Plan,
    deadlines::Deadlines,
    event::{Ended, Event, Held, Quantities, Quantity},
    ids::{BUCKETS, Bucket, ItemNumber, ReservationId, SaleNumber, is_erased},
    index::Index,
    outcome::State,
    settings::Price,
    slab::Slab,
    time::Timestamp,
};
use foldhash::quality::FixedState;
use prefetch_index::prefetch_index;

/// How late a shard may expire a due hold. Together with the engine's tick it stays well below the promised 100 ms.
pub const EXPIRY_SPAN: Duration = Duration::from_millis(EXPIRY_WIDTH_MILLIS);
const EXPIRY_WIDTH_MILLIS: u64 = 16;

/// How late an ended reservation may leave memory, in milliseconds.
const RETIREMENT_WIDTH_MILLIS: u64 = 1000;

#[derive(Debug)]
pub struct Shard {
    /// The latest moment: time never runs backwards in a shard.
    pub(super) now: Timestamp,
    /// The offset to add to the steady time of decisions.
    offset: i64,
    /// When time was set forward within the retention, and by how much.
    forward: Vec<(Timestamp, u64)>,
    shards: usize,
    retention_millis: u64,
    pub(super) hasher: FixedState,
    buckets: Vec<Customers>,
    slices: Vec<Slice>,
    pub(super) reservations: Slab<Entry>,
    customers: Slab<Customer>,
    prices: Prices,
    pub(super) expiries: Deadlines,
    pub(super) retirements: Deadlines,
    live_holds: u64,
    /// What reservations and customers take in memory.
    bytes: u64,
}

/// A slice of an item's stock, in units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slice {
    pub available: i64,
    pub held: u64,
    pub confirmed: u64,
}

/// The index tables of one bucket of customers. They hold slots only; small tables also grow in small steps.
#[derive(Debug, Default)]
struct Customers {
    by_id: Index,
    by_key: Index,
    by_name: Index,
    /// Confirmed units of reservations that have left memory and count towards no limit.
    forgotten: BTreeMap<ItemNumber, u64>,
}

/// Prices that holds were made at, each kept once. Index 0 is "no price".
#[derive(Debug, Default)]
struct Prices {
    list: Vec<Price>,
    by_price: HashMap<Price, u32, FixedState>,
}

impl Prices {
    fn intern(&mut self, price: Option<Price>) -> u32 {
        let Some(price) = price else { return 0 };
        *self.by_price.entry(price).or_insert_with(|| {
            self.list.push(price);
            self.list.len() as u32
        })
    }

    fn get(&self, index: u32) -> Option<Price> {
        index.checked_sub(1).map(|index| self.list[index as usize])
    }
}

impl Shard {
    /// A shard of `shards`. `retention_millis`: how long an ended reservation stays in memory. `seed` keeps callers from
    /// choosing customer ids that collide in a table; it has no visible effect.
    pub fn new(shards: usize, retention_millis: u64, seed: u64) -> Self {
        Self {
            now: Timestamp::default(),
            offset: 0,
            forward: Vec::new(),
            shards,
            retention_millis,
            hasher: FixedState::with_seed(seed),
            buckets: std::iter::repeat_with(Customers::default).take(BUCKETS.div_ceil(shards)).collect(),
            slices: Vec::new(),
            reservations: Slab::default(),
            customers: Slab::default(),
            prices: Prices::default(),
            expiries: Deadlines::new(EXPIRY_WIDTH_MILLIS),
            retirements: Deadlines::new(RETIREMENT_WIDTH_MILLIS),
            live_holds: 0,
            bytes: 0,
        }
    }

    /// Goes on at this time, which is the steady time from here on. `forward`: when it was set forward, and by how much.
    pub fn go_on_at(&mut self, now: Timestamp, forward: Vec<(Timestamp, u64)>) {
        (self.now, self.forward) = (now, forward);
    }

    /// The shard's latest time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Time as this shard sees it at a steady time: never backwards, whatever the machine's clock does.
    pub(super) fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now.shifted(self.offset));
        self.now
    }

    /// From here on time is so much later, or earlier. The slots of live holds, which are to be moved with it.
    pub(super) fn begin_set_clock(&mut self, by: i64) -> Vec<u32> {
        self.offset += by;
        self.now = self.now.shifted(by);
        if let Ok(by) = u64::try_from(by) {
            self.forward.push((self.now, by));
        }
        let slots = self.buckets.iter().flat_map(|bucket| bucket.by_id.iter());
        slots.filter(|&slot| self.reservations[slot].state == State::Held).collect()
    }

    /// The time up to which retention is over. What ended before time was set forward is kept for as long as if it had not been.
    pub(super) fn retired_until(&mut self) -> Timestamp {
        let (now, retention_millis) = (self.now, self.retention_millis);
        self.forward.retain(|(at, _)| now < at.plus_millis(retention_millis));
        let ahead: u64 = self.forward.iter().map(|(_, by)| by).sum();
        Timestamp::from_millis(now.millis().saturating_sub(ahead))
    }

    /// Reservations in memory, whatever their state.
    pub fn reservations(&self) -> usize {
        self.reservations.len()
    }

    /// Customers in memory: those with reservations in memory, and those whose units still count.
    pub fn customers(&self) -> usize {
        self.customers.len()
    }

    /// Bytes of memory for reservations and customers, including their share of the indexes: bytes in use, without what the
    /// allocator keeps for reuse.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reservations in state `held`.
    pub fn live_holds(&self) -> u64 {
        self.live_holds
    }

    /// Holds that expire from one moment to another, and where to go on when there is more to look at. Exact where up to
    /// four fall due within 16 ms of each other; of more, four are looked at and the rest is taken to be like them.
    pub fn expiring(&self, from: Timestamp, until: Timestamp) -> (u64, Option<Timestamp>) {
        const BUCKETS_AT_ONCE: usize = 64;
        const LOOKS: usize = 4;
        let mut holds = 0;
        for (looked_at, (bucket, slots)) in self.expiries.filed(from, until).enumerate() {
            let looks = slots.len().min(LOOKS);
            let held = |look: &usize| {
                let entry = self.reservations.get(slots[look * slots.len() / looks]);
                entry.is_some_and(|it| it.state == State::Held && self.expiries.bucket(it.expires_at) == bucket)
            };
            let found = (0..looks).filter(held).count();
            holds += (found * slots.len()).div_ceil(looks.max(1)) as u64;
            if looked_at + 1 == BUCKETS_AT_ONCE {
                let next = self.expiries.after(bucket);
                return (holds, (next <= until).then_some(next));
            }
        }
        (holds, None)
    }

    pub fn slice(&self, item: ItemNumber) -> Slice {
        self.slices.get(item.index()).copied().unwrap_or_default()
    }

    /// Makes room for items up to `count`.
    pub fn resize(&mut self, count: usize) {
        if self.slices.len() < count {
            self.slices.resize(count, Slice::default());
        }
    }

    /// Sets the units of an item that this shard may give away. Only for callers that hold all shards and keep the sum.
    pub fn set_available(&mut self, item: ItemNumber, available: u64) {
        self.slices[item.index()].available = i64::try_from(available).expect("stock is limited to 2^63");
    }

    /// Applies an event. Events of the catalogue change nothing here.
    ///
    /// # Panics
    /// On a fact that cannot follow what is there: the journal is not ours or a rule is broken.
    pub fn apply(&mut self, event: &Event<'_>) {
        self.now = self.now.max(event.at().unwrap_or_default());
        match event {
            Event::Held(held) => self.hold(held),
            Event::Extended { id, expires_at, extensions, .. } => {
                let slot = self.expect(*id);
                let entry = &mut self.reservations[slot];
                assert_eq!(entry.state, State::Held, "only a hold is extended: {id}");
                let bytes_before = entry.bytes();
                (entry.expires_at, entry.extensions) = (*expires_at, *extensions);
                self.bytes = self.bytes + entry.bytes() - bytes_before;
                self.expiries.file(*expires_at, slot);
            }
            Event::Confirmed(ended) => self.end(ended, State::Confirmed),
            Event::Released(ended) => self.end(ended, State::Released),
            Event::Expired(ended) => self.end(ended, State::Expired),
            Event::Retired { id, counted } => self.retire(*id, *counted),
            Event::Carried { customer, item, units } => {
                let customer = self.customer(Bucket::of(customer), customer);
                let customer = &mut self.customers[customer];
                let grown = customer.take(*item, *units) + customer.carry(*item, *units);
                self.bytes = self.bytes.strict_add_signed(grown);
                self.confirmed_in_the_past(*item, *units);
            }
            Event::Forgotten { bucket, item, units } => {
                *self.bucket(*bucket).forgotten.entry(*item).or_default() += units;
                self.confirmed_in_the_past(*item, *units);
            }
            Event::CustomerErased { customer, .. } => self.erase(customer),
            // The catalogue's.
            Event::SaleDefined { .. }
            | Event::SalePaused { .. }
            | Event::SaleResumed { .. }
            | Event::SaleClosed { .. }
            | Event::StatusReached { .. }
            | Event::Adjusted(_)
            | Event::Stocked { .. }
            | Event::Audited(_)
            | Event::KeysNoted { .. }
            | Event::AuditReached(_)
            | Event::ClockSet(_) => {}
        }
    }

    pub(super) fn find(&self, id: ReservationId) -> Option<u32> {
        let bucket = &self.buckets[id.bucket().index() / self.shards];
        bucket.by_id.find(id.entropy(), |slot| self.reservations[slot].id == id)
    }

    /// Has the processor fetch what the reserve that comes next looks at and writes to, all of it at once: another core
    /// has written most of it last.
    pub fn expect_next(&self, plan: &Plan<'_>, entropy: u64) {
        prefetch_index(&self.buckets, plan.bucket.index() / self.shards);
        for line in &plan.lines {
            prefetch_index(&self.slices, line.line.item.index());
        }
        self.reservations.expect_insert();
        self.customers.expect_insert();
        self.expect_soon(plan, entropy);
    }

    /// Has the processor fetch the places where a plan's customer and reservation are about to be looked for and filed.
    pub fn expect_soon(&self, plan: &Plan<'_>, entropy: u64) {
        let bucket = &self.buckets[plan.bucket.index() / self.shards];
        bucket.by_name.prefetch(self.hasher.hash_one(plan.customer));
        bucket.by_id.prefetch(entropy);
    }

    /// The sale that a reservation belongs to.
    pub fn sale_of(&self, id: ReservationId) -> Option<SaleNumber> {
        self.find(id).map(|slot| self.reservations[slot].sale)
    }

    /// The reservation that a key stands for, with the fingerprint of its request.
    pub(super) fn find_key(&self, sale: SaleNumber, customer: &str, key: &str) -> Option<(u32, u64)> {
        let bucket = &self.buckets[Bucket::of(customer).index() / self.shards];
        let hash = key_hash(&self.hasher, sale, customer, key);
        let is_it = |slot| {
            let entry: &Entry = &self.reservations[slot];
            entry.sale == sale && entry.key() == Some(key) && self.customers[entry.customer].name == customer
        };
        let slot = bucket.by_key.find(hash, is_it)?;
        let fingerprint = self.reservations[slot].texts.as_deref().and_then(|texts| texts.key.as_ref())?.1;
        Some((slot, fingerprint))
    }

    /// Whether the customer is in memory.
    pub fn knows(&self, customer: &str) -> bool {
        self.find_customer(Bucket::of(customer), customer).is_some()
    }

    /// Units of the item that the customer holds or has confirmed.
    pub(super) fn units_of(&self, bucket: Bucket, customer: &str, item: ItemNumber) -> u64 {
        self.find_customer(bucket, customer).map_or(0, |slot| self.customers[slot].units(item))
    }

    fn find_customer(&self, bucket: Bucket, name: &str) -> Option<u32> {
        let bucket = &self.buckets[bucket.index() / self.shards];
        bucket.by_name.find(self.hasher.hash_one(name), |slot| self.customers[slot].name == name)
    }

    pub(super) fn quantities(&self, entry: &Entry) -> Quantities {
        entry.lines.as_slice().iter().map(|line| Quantity { item: line.item, units: line.units }).collect()
    }

    fn bucket(&mut self, bucket: Bucket) -> &mut Customers {
        &mut self.buckets[bucket.index() / self.shards]
    }

    fn expect(&self, id: ReservationId) -> u32 {
        self.find(id).unwrap_or_else(|| panic!("a fact speaks of reservation {id}, which is not known"))
    }

    /// The customer's slot; made when there is none.
    fn customer(&mut self, bucket: Bucket, name: &str) -> u32 {
        let Self { buckets, customers, hasher, shards, .. } = self;
        let bucket = &mut buckets[bucket.index() / *shards];
        let hash = hasher.hash_one(name);
        if let Some(slot) = bucket.by_name.find(hash, |slot| customers[slot].name == name) {
            return slot;
        }
        let customer = Customer::new(name);
        self.bytes += customer.bytes();
        let slot = customers.insert(customer);
        bucket.by_name.insert(hash, slot);
        slot
    }

    /// Drops a customer without reservations or counted units.
    fn drop_customer_if_unknown(&mut self, slot: u32) {
        let customer = &self.customers[slot];
        if customer.reservations == 0 && customer.holdings.is_empty() {
            self.drop_customer(slot);
        }
    }

    fn drop_customer(&mut self, slot: u32) -> Customer {
        let name = &self.customers[slot].name;
        let (hash, bucket) = (self.hasher.hash_one(name.as_str()), Bucket::of(name));
        self.bucket(bucket).by_name.remove(hash, slot);
        let customer = self.customers.remove(slot);
        self.bytes -= customer.bytes();
        customer
    }

    fn hold(&mut self, held: &Held<'_>) {
        // In a snapshot, the replaced customer id marks a reservation of an erased customer.
        let customer =
            if is_erased(held.customer, held.id) { NOBODY } else { self.customer(held.id.bucket(), held.customer) };
        for line in &held.lines {
            self.resize(line.item.index() + 1);
            let slice = &mut self.slices[line.item.index()];
            slice.available -= i64::from(line.units);
            slice.held += u64::from(line.units);
            if customer != NOBODY {
                let grown = self.customers[customer].take(line.item, line.units.into());
                self.bytes = self.bytes.strict_add_signed(grown);
            }
        }
        if customer != NOBODY {
            self.customers[customer].reservations += 1;
        }
        let priced = held.lines.iter();
        let lines: Lines = priced
            .map(|line| Line { item: line.item, units: line.units, price: self.prices.intern(line.price) })
            .collect();
        let key = held.key.filter(|_| customer != NOBODY).map(|(key, fingerprint)| (Box::from(key), fingerprint));
        let reference = held.reference.map(Box::from);
        let has_texts = key.is_some() || reference.is_some();
        let created_at = held.id.created_at();
        let entry = Entry {
            id: held.id,
            expires_at: created_at.plus_seconds(held.hold_seconds.into()),
            ended_at: Timestamp::default(),
            lines,
            texts: has_texts.then(|| Box::new(Texts { key, reference, end_text: None })),
            customer,
            sale: held.sale,
            hold_seconds: held.hold_seconds,
            extensions: 0,
            state: State::Held,
        };
        self.bytes += entry.bytes();
        let expires_at = entry.expires_at;
        let slot = self.reservations.insert(entry);
        self.expiries.file(expires_at, slot);
        self.index(slot, held);
        self.live_holds += 1;
    }

    fn index(&mut self, slot: u32, held: &Held<'_>) {
        let Self { buckets, reservations, hasher, shards, .. } = self;
        let bucket = &mut buckets[held.id.bucket().index() / *shards];
        let hash = held.id.entropy();
        let twice = bucket.by_id.find(hash, |other| reservations[other].id == held.id);
        assert!(twice.is_none(), "reservation id {} was drawn twice", held.id);
        bucket.by_id.insert(hash, slot);
        if let Some(key) = reservations[slot].key() {
            bucket.by_key.insert(key_hash(hasher, held.sale, held.customer, key), slot);
        }
    }

    fn end(&mut self, ended: &Ended<'_>, state: State) {
        let slot = self.expect(ended.id);
        let Self { reservations, customers, slices, bytes, .. } = self;
        let entry = &mut reservations[slot];
        assert_eq!(entry.state, State::Held, "only a hold becomes {}: {}", state.as_str(), ended.id);
        (entry.state, entry.ended_at) = (state, ended.at);
        for line in entry.lines.as_slice() {
            let slice = &mut slices[line.item.index()];
            let units = u64::from(line.units);
            slice.held = slice.held.checked_sub(units).expect("a hold's units are held");
            if state == State::Confirmed {
                slice.confirmed += units;
            } else {
                slice.available += i64::from(line.units);
                if entry.customer != NOBODY {
                    *bytes = bytes.strict_add_signed(customers[entry.customer].give_up(line.item, units));
                }
            }
        }
        if let Some(text) = ended.text {
            let bytes_before = entry.bytes();
            entry.texts.get_or_insert_default().end_text = Some(text.into());
            *bytes = *bytes + entry.bytes() - bytes_before;
        }
        self.retirements.file(ended.at.plus_millis(self.retention_millis), slot);
        self.live_holds -= 1;
    }

    fn retire(&mut self, id: ReservationId, counted: bool) {
        let slot = self.expect(id);
        self.unindex(slot);
        let entry = self.reservations.remove(slot);
        self.bytes -= entry.bytes();
        assert_ne!(entry.state, State::Held, "a hold does not leave memory: {id}");
        let mut customer = (entry.customer != NOBODY).then(|| &mut self.customers[entry.customer]);
        if let Some(customer) = &mut customer {
            customer.reservations -= 1;
        }
        if entry.state == State::Confirmed {
            for line in entry.lines.as_slice() {
                let units = u64::from(line.units);
                match &mut customer {
                    Some(customer) if counted => {
                        self.bytes = self.bytes.strict_add_signed(customer.carry(line.item, units));
                        continue;
                    }
                    Some(customer) => {
                        self.bytes = self.bytes.strict_add_signed(customer.give_up(line.item, units));
                    }
                    None => {}
                }
                let bucket = &mut self.buckets[id.bucket().index() / self.shards];
                *bucket.forgotten.entry(line.item).or_default() += units;
            }
        }
        if customer.is_some() {
            self.drop_customer_if_unknown(entry.customer);
        }
    }

    fn unindex(&mut self, slot: u32) {
        self.unindex_key(slot);
        let Self { buckets, reservations, shards, .. } = self;
        let entry = &reservations[slot];
        let bucket = &mut buckets[entry.id.bucket().index() / *shards];
        bucket.by_id.remove(entry.id.entropy(), slot);
    }

    fn unindex_key(&mut self, slot: u32) {
        let Self { buckets, reservations, customers, hasher, shards, .. } = self;
        let entry = &reservations[slot];
        if let Some(key) = entry.key() {
            let bucket = &mut buckets[entry.id.bucket().index() / *shards];
            let hash = key_hash(hasher, entry.sale, &customers[entry.customer].name, key);
            bucket.by_key.remove(hash, slot);
        }
    }

    fn confirmed_in_the_past(&mut self, item: ItemNumber, units: u64) {
        self.resize(item.index() + 1);
        let slice = &mut self.slices[item.index()];
        slice.confirmed += units;
        slice.available -= i64::try_from(units).expect("stock is limited to 2^63");
    }

    /// When the entry's reservation is due to leave memory.
    pub(super) fn retires_at(&self, entry: &Entry) -> Timestamp {
        entry.ended_at.plus_millis(self.retention_millis)
    }
}

fn key_hash(hasher: &FixedState, sale: SaleNumber, customer: &str, key: &str) -> u64 {
    hasher.hash_one((sale.0, customer, key))
}
