//! A shard: a share of the customers' buckets, with a slice of every pool's stock.
//!
//! Invariants, for every pool and at every instant:
//! - the slice's `held` is the sum over the shard's reservations, and so is its `confirmed`, those that left memory included;
//! - over all shards `available + held + confirmed` is the pool's stock, and while the shard serves none is negative;
//! - a customer's units are what the customer holds or has confirmed, as far as a limit may ask for them.
//!
//! This file has the state and `apply`, the only way to change it; `decide.rs` has the decisions. Replay uses only `apply`, and
//! `available` may be negative until it ends.

mod budget;
mod entry;
mod erase;
mod group;
#[cfg(test)]
mod histories;
mod life;
mod search;
mod show;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod waiting;

use budget::Budgets;
pub(super) use entry::Entry;
use entry::{Customer, Extras, History, Line, Lines, Membership, NOBODY, SOLD_BYTES, Texts, bytes_of};
pub use group::GROUP_FAILED;
pub use search::Search;
use waiting::Waiting;

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    sync::Arc,
    time::Duration,
};

use super::{
    attributes::Attributes,
    deadlines::Deadlines,
    event::{CustomerEvent, Held, Portion, Portions},
    ids::{BUCKETS, Bucket, ItemNumber, PoolNumber, ReservationId, SaleNumber, is_erased},
    index::Index,
    judge::{Plan, Request},
    outcome::{State, WaitState},
    settings::Price,
    slab::Slab,
    stock::{Account, Amounts, Move},
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
    pools: Vec<Pool>,
    pub(super) reservations: Slab<Entry>,
    customers: Slab<Customer>,
    prices: Prices,
    /// Attributes of reservations in memory, each once.
    attributes: Shared,
    pub(super) expiries: Deadlines,
    pub(super) retirements: Deadlines,
    budgets: Budgets,
    pub(super) waiting: Waiting,
    live_holds: u64,
    /// Reservations that opened or joined a group.
    members: usize,
    /// What reservations and customers take in memory.
    bytes: u64,
}

/// A slice of a pool's stock, in units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slice {
    pub available: i64,
    pub held: u64,
    pub confirmed: u64,
    /// Available units that came back while somebody waits for the item: only the waitlist gets them.
    pub set_aside: u64,
}

impl Slice {
    fn shift(&mut self, moved: &Move, is_waited_for: bool) {
        match moved.from {
            Account::Outside => {}
            Account::Available => self.available -= signed(moved.units),
            Account::Held => self.held = self.held.checked_sub(moved.units).expect("a hold's units are held"),
            Account::Confirmed => {
                self.confirmed = self.confirmed.checked_sub(moved.units).expect("confirmed units are confirmed");
            }
        }
        match moved.to {
            Account::Outside => {}
            Account::Available if is_waited_for => self.set_aside += moved.units,
            Account::Available => self.available += signed(moved.units),
            Account::Held => self.held += moved.units,
            Account::Confirmed => self.confirmed += moved.units,
        }
    }
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).expect("stock is limited to 2^63")
}

/// What a shard has of a pool.
#[derive(Debug, Clone, Copy)]
struct Pool {
    /// The item that it is a pool of; known from the first event on.
    item: ItemNumber,
    slice: Slice,
    /// Somebody waits for the item: units that come back are set aside.
    is_waited_for: bool,
}

/// The index tables of one bucket of customers. They hold slots only; small tables also grow in small steps.
#[derive(Debug, Default)]
struct Customers {
    by_id: Index,
    by_key: Index,
    by_name: Index,
    /// Waitlist entries, by id.
    entries: Index,
    /// Confirmed units of reservations that have left memory.
    sold: BTreeMap<PoolNumber, u64>,
}

/// Prices that holds were made at, each kept once. Index 0 is "no price".
#[derive(Debug, Default)]
struct Prices {
    list: Vec<Price>,
    by_price: HashMap<Price, u32, FixedState>,
}

/// Attributes of reservations, each kept once.
#[derive(Debug, Default)]
struct Shared {
    by_hash: Index,
    list: Slab<Arc<Attributes<'static>>>,
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
            pools: Vec::new(),
            reservations: Slab::default(),
            customers: Slab::default(),
            prices: Prices::default(),
            attributes: Shared::default(),
            expiries: Deadlines::new(EXPIRY_WIDTH_MILLIS),
            retirements: Deadlines::new(RETIREMENT_WIDTH_MILLIS),
            budgets: Budgets::default(),
            waiting: Waiting::new(EXPIRY_WIDTH_MILLIS, RETIREMENT_WIDTH_MILLIS),
            live_holds: 0,
            members: 0,
            bytes: 0,
        }
    }

    /// Continues at this time, which is the steady time from here on. `forward`: when it was set forward, and by how much.
    pub fn continue_at(&mut self, now: Timestamp, forward: Vec<(Timestamp, u64)>) {
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

    /// The earliest end of a live hold of each of these pools, among holds that end from this moment on. Looks at about `most` of
    /// them; says where to go on when there are more and some pool has none yet.
    pub fn earliest_ends(
        &self,
        from: Timestamp,
        pools: &mut BTreeMap<PoolNumber, Option<Timestamp>>,
        most: usize,
    ) -> Option<Timestamp> {
        let mut looked_at = 0;
        for (bucket, slots) in self.expiries.filed(from, Timestamp::MAX) {
            if pools.values().all(|end| end.is_some_and(|end| self.expiries.bucket(end) < bucket)) {
                return None;
            }
            for &slot in slots.iter().take(most) {
                let entry = self
                    .reservations
                    .get(slot)
                    .filter(|entry| entry.state == State::Held && self.expiries.bucket(entry.expires_at) == bucket);
                let Some(entry) = entry else { continue };
                for line in entry.lines.iter(entry.state).filter(|line| line.amounts.held > 0) {
                    if let Some(end) = pools.get_mut(&line.pool) {
                        *end = Some(end.map_or(entry.expires_at, |end| end.min(entry.expires_at)));
                    }
                }
            }
            looked_at += slots.len();
            if looked_at >= most {
                return Some(self.expiries.after(bucket));
            }
        }
        None
    }

    pub fn slice(&self, pool: PoolNumber) -> Slice {
        self.pools.get(pool.index()).map(|pool| pool.slice).unwrap_or_default()
    }

    /// Makes room for so many pools.
    pub fn resize(&mut self, count: usize) {
        if self.pools.len() < count {
            self.pools.resize(count, Pool { item: ItemNumber(0), slice: Slice::default(), is_waited_for: false });
        }
    }

    /// Sets the units of a pool that this shard may give away. Only for callers that hold all shards and keep the sum.
    pub fn set_available(&mut self, pool: PoolNumber, available: u64) {
        self.pools[pool.index()].slice.available = signed(available);
    }

    /// Whether units of the pool that come back are set aside.
    pub fn is_waited_for(&self, pool: PoolNumber) -> bool {
        self.pools.get(pool.index()).is_some_and(|pool| pool.is_waited_for)
    }

    /// From here on units of the pool that come back are set aside, or not. Only for callers that hold all shards.
    pub fn set_waited_for(&mut self, pool: PoolNumber, is_waited_for: bool) {
        self.resize(pool.index() + 1);
        self.pools[pool.index()].is_waited_for = is_waited_for;
    }

    /// Sets how many units of a pool are set aside in this shard. Only for callers that hold all shards and keep the sum.
    pub fn set_aside(&mut self, pool: PoolNumber, units: u64) {
        self.pools[pool.index()].slice.set_aside = units;
    }

    /// Applies an event.
    ///
    /// # Panics
    /// On a fact that cannot follow what is there: the journal is not ours or a rule is broken.
    pub fn apply(&mut self, event: &CustomerEvent<'_>) {
        self.now = self.now.max(event.at().unwrap_or_default());
        event.moves(|moved| self.shift(&moved));
        match event {
            CustomerEvent::Held(held) => self.insert(held),
            CustomerEvent::Extended(extended) => self.lengthen(extended),
            CustomerEvent::Confirmed(settled) => self.settle(settled, State::Confirmed),
            CustomerEvent::Released(settled) => self.settle(settled, State::Released),
            CustomerEvent::Expired(settled) => self.settle(settled, State::Expired),
            CustomerEvent::Changed(changed) => self.change_lines(changed),
            CustomerEvent::Cancelled(cancelled) => self.cancel_units(cancelled),
            CustomerEvent::ConfirmRefused(refused) => self.note_refused(refused),
            // Members know what follows from it.
            CustomerEvent::GroupChanged(_) => {}
            CustomerEvent::GroupNoted(noted) => self.apply_noted(noted),
            CustomerEvent::Joined(joined) => self.join_waitlist(joined),
            CustomerEvent::Offered(offered) => self.note_offered(offered),
            CustomerEvent::LeftWaitlist(ended) => self.end_wait(ended, WaitState::Left),
            CustomerEvent::WaitExpired(ended) => self.end_wait(ended, WaitState::Expired),
            CustomerEvent::PassedOver(passed) => self.note_passed_over(passed),
            CustomerEvent::EntryRetired { id } => self.retire_entry(*id),
            CustomerEvent::Retired { id, counted } => self.retire(*id, *counted),
            CustomerEvent::Carried { customer, item, units } => {
                let customer = self.customer(Bucket::of(customer), customer);
                let customer = &mut self.customers[customer];
                let grown = customer.take(*item, *units) + customer.carry(*item, *units);
                self.bytes = self.bytes.strict_add_signed(grown);
            }
            CustomerEvent::Sold { bucket, pool, units, .. } => self.add_sold(*bucket, *pool, *units),
            CustomerEvent::CustomerErased { customer, .. } => self.erase(customer),
        }
    }

    fn shift(&mut self, moved: &Move) {
        self.resize(moved.pool.index() + 1);
        let pool = &mut self.pools[moved.pool.index()];
        pool.item = moved.item;
        pool.slice.shift(moved, pool.is_waited_for);
    }

    /// The slots of a bucket's reservations.
    pub(super) fn slots_of(&self, bucket: Bucket) -> Vec<u32> {
        self.buckets[bucket.index() / self.shards].by_id.iter().collect()
    }

    pub(super) fn find(&self, id: ReservationId) -> Option<u32> {
        let bucket = &self.buckets[id.bucket().index() / self.shards];
        bucket.by_id.find(id.entropy(), |slot| self.reservations[slot].id == id)
    }

    /// Has the processor fetch what this request reads and writes, all of it at once: another core has written most of it
    /// last.
    pub fn prefetch(&self, request: &Request<'_>, plan: &Plan<'_>, entropy: u64) {
        prefetch_index(&self.buckets, request.bucket.index() / self.shards);
        for source in plan.lines.iter().filter_map(|line| line.sources.first()) {
            prefetch_index(&self.pools, source.pool.index());
        }
        self.reservations.prefetch_insert();
        self.customers.prefetch_insert();
        self.prefetch_lookups(request, entropy);
    }

    /// Has the processor fetch the cells where a request's customer and reservation are looked up and inserted.
    pub fn prefetch_lookups(&self, request: &Request<'_>, entropy: u64) {
        let bucket = &self.buckets[request.bucket.index() / self.shards];
        bucket.by_name.prefetch(self.hasher.hash_one(request.customer));
        bucket.by_id.prefetch(entropy);
    }

    /// The sale that a reservation belongs to, and its channel.
    pub fn place_of(&self, id: ReservationId) -> Option<(SaleNumber, Option<String>)> {
        let entry = &self.reservations[self.find(id)?];
        let channel = entry.attributes().and_then(|attributes| attributes.channel.as_deref());
        Some((entry.sale, channel.map(str::to_owned)))
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

    /// The slot of a customer in memory.
    pub(super) fn customer_slot(&self, bucket: Bucket, name: &str) -> Option<u32> {
        self.find_customer(bucket, name)
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

    /// The entry's lines, with the items of their pools.
    fn lines_of(&self, entry: &Entry) -> impl ExactSizeIterator<Item = (ItemNumber, Line)> {
        entry.lines.iter(entry.state).map(|line| (self.pools[line.pool.index()].item, line))
    }

    /// The portions of an entry whose units are there.
    pub(super) fn portions(&self, entry: &Entry, units: impl Fn(Amounts) -> u32) -> Portions {
        let portions =
            self.lines_of(entry).map(|(item, line)| Portion { item, pool: line.pool, units: units(line.amounts) });
        portions.filter(|portion| portion.units > 0).collect()
    }

    fn bucket(&mut self, bucket: Bucket) -> &mut Customers {
        &mut self.buckets[bucket.index() / self.shards]
    }

    fn slot_of(&self, id: ReservationId) -> u32 {
        self.find(id).unwrap_or_else(|| panic!("an event is about reservation {id}, which is unknown"))
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
        self.budgets.forget(slot, &mut self.bytes);
        customer
    }

    fn insert(&mut self, held: &Held<'_>) {
        // In a snapshot, the replaced customer id marks a reservation of an erased customer.
        let customer =
            if is_erased(held.customer, held.id) { NOBODY } else { self.customer(held.id.bucket(), held.customer) };
        for portion in held.portions.iter().filter(|_| customer != NOBODY) {
            let grown = self.customers[customer].take(portion.item, portion.units.into());
            self.bytes = self.bytes.strict_add_signed(grown);
        }
        if customer != NOBODY {
            self.customers[customer].reservations += 1;
        }
        let prices = &mut self.prices;
        let lines = Lines::held(held.portions.iter().map(|portion| Line {
            pool: portion.pool,
            price: prices.intern(portion.price),
            amounts: Amounts::held(portion.units),
        }));
        let key = held.key.filter(|_| customer != NOBODY).map(|(key, fingerprint)| (Box::from(key), fingerprint));
        let reference = held.reference.map(Box::from);
        let extras = self.extras_of(held);
        let has_texts = key.is_some() || reference.is_some() || extras.is_some();
        let entry = Entry {
            id: held.id,
            expires_at: held.expires_at(),
            ended_at: Timestamp::default(),
            lines,
            texts: has_texts.then(|| Box::new(Texts { key, reference, end_text: None, extras })),
            customer,
            sale: held.sale,
            hold_seconds: held.hold_seconds,
            extensions: 0,
            state: State::Held,
            late: false,
        };
        self.members += usize::from(held.group.is_some());
        self.budgets.open(customer, held.sale);
        self.bytes += entry.bytes();
        let expires_at = entry.expires_at;
        let slot = self.reservations.insert(entry);
        self.expiries.file(expires_at, slot);
        self.index(slot, held);
        self.live_holds += 1;
    }

    fn extras_of(&mut self, held: &Held<'_>) -> Option<Box<Extras>> {
        if held.attributes.is_none() && held.short.is_empty() && held.group.is_none() && held.entry.is_none() {
            return None;
        }
        let attributes = held.attributes.as_deref().map(|attributes| self.intern(attributes));
        let group = held.group.as_deref().map(|&joined| Box::new(Membership::new(joined, held.id.created_at())));
        let history = held.entry.map(|entry| Box::new(History { entry: Some(entry), ..History::default() }));
        Some(Box::new(Extras { attributes, short: held.short.clone(), history, group }))
    }

    /// Attributes in memory, which all reservations with the same share: a sale has few tiers, channels and experiments.
    pub(super) fn intern(&mut self, attributes: &Attributes<'_>) -> Arc<Attributes<'static>> {
        let hash = self.hasher.hash_one(attributes);
        let Shared { by_hash, list } = &mut self.attributes;
        if let Some(slot) = by_hash.find(hash, |slot| *list[slot] == *attributes) {
            return list[slot].clone();
        }
        let new = Arc::new(attributes.clone().into_owned());
        self.bytes += bytes_of(&new);
        by_hash.insert(hash, list.insert(new.clone()));
        new
    }

    /// Forgets attributes that no other reservation has.
    fn forget(&mut self, texts: Option<Box<Texts>>) {
        self.forget_attributes(texts.and_then(|texts| texts.extras).and_then(|extras| extras.attributes));
    }

    fn forget_attributes(&mut self, attributes: Option<Arc<Attributes<'static>>>) {
        // One is this, one is in the table.
        if let Some(attributes) = attributes.filter(|attributes| Arc::strong_count(attributes) == 2) {
            self.bytes -= bytes_of(&attributes);
            let hash = self.hasher.hash_one(&*attributes);
            let Shared { by_hash, list } = &mut self.attributes;
            let slot = by_hash.find(hash, |slot| Arc::ptr_eq(&list[slot], &attributes)).expect("they are shared");
            by_hash.remove(hash, slot);
            list.remove(slot);
        }
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

    fn retire(&mut self, id: ReservationId, counted: bool) {
        let slot = self.slot_of(id);
        self.unindex(slot);
        let mut entry = self.reservations.remove(slot);
        self.bytes -= entry.bytes();
        self.members -= usize::from(entry.membership().is_some());
        self.forget(entry.texts.take());
        assert_ne!(entry.state, State::Held, "a hold does not leave memory: {id}");
        if entry.customer != NOBODY {
            self.customers[entry.customer].reservations -= 1;
        }
        for line in entry.lines.iter(entry.state).filter(|line| line.amounts.confirmed > 0) {
            let (item, units) = (self.pools[line.pool.index()].item, line.amounts.confirmed.into());
            if entry.customer != NOBODY {
                let customer = &mut self.customers[entry.customer];
                let grown = if counted { customer.carry(item, units) } else { customer.give_up(item, units) };
                self.bytes = self.bytes.strict_add_signed(grown);
            }
            self.add_sold(id.bucket(), line.pool, units);
        }
        if entry.customer != NOBODY {
            self.drop_customer_if_unknown(entry.customer);
        }
    }

    fn add_sold(&mut self, bucket: Bucket, pool: PoolNumber, units: u64) {
        let sold = &mut self.buckets[bucket.index() / self.shards].sold;
        let pools = sold.len();
        *sold.entry(pool).or_default() += units;
        self.bytes += (sold.len() - pools) as u64 * SOLD_BYTES;
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

    /// Until when what ended then stays in memory.
    pub(super) fn kept_until(&self, ended_at: Timestamp) -> Timestamp {
        ended_at.plus_millis(self.retention_millis)
    }

    /// When the entry's reservation is due to leave memory.
    pub(super) fn retires_at(&self, entry: &Entry) -> Timestamp {
        entry.ended_at.plus_millis(self.retention_millis)
    }
}

fn key_hash(hasher: &FixedState, sale: SaleNumber, customer: &str, key: &str) -> u64 {
    hasher.hash_one((sale.0, customer, key))
}
