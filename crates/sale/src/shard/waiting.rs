//! Waitlist entries of a shard's customers, and what events do to them.
//!
//! Entries that ask for the same in the same way have one *queue*: what one of them could get, each could. Invariants: a queue
//! has the entries that wait, by place; `order` has the places of all of a sale's; of one customer at most one entry waits in a
//! sale.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, Hash, Hasher},
    num::NonZeroU64,
    sync::Arc,
};

use compact_str::CompactString;
use smallvec::SmallVec;

use super::{
    Shard,
    entry::{CELL_BYTES, allocated},
};
use crate::{
    attributes::Attributes,
    deadlines::Deadlines,
    event::{AskedUnits, CustomerEvent, Joined, NoRoom, Offered, PassedOver, WaitEnded},
    ids::{Bucket, EntryId, ItemNumber, ReservationId, SaleNumber},
    index::Index,
    outcome::{WaitState, WaitlistEntry},
    ranks::Ranks,
    slab::Slab,
    time::Timestamp,
};

/// In the place of a slot: there is none.
const NONE: u32 = u32::MAX;

/// What an entry takes in memory beside its texts: its slot, cells of two indexes, its place in its queue and in the sale's
/// order, and its deadline.
const ENTRY_BYTES: usize = size_of::<Option<Waiter>>() + 2 * CELL_BYTES + 24 + 4 + 8;

#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) entries: Slab<Waiter>,
    /// The latest entry of a customer in a sale.
    by_customer: Index,
    queues: Slab<Queue>,
    by_request: Index,
    sales: BTreeMap<SaleNumber, OfSale>,
    pub(crate) expiries: Deadlines,
    pub(crate) retirements: Deadlines,
}

/// A waitlist entry in memory. When it was made and its bucket are in its id.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub id: EntryId,
    place: NonZeroU64,
    /// In milliseconds from when it was made.
    lasts_millis: u32,
    customer: u32,
    /// Which knows the sale.
    queue: u32,
    /// The customer's entry before it in the same sale.
    older: u32,
    more: Option<Box<More>>,
}

/// What most waiting entries lack.
#[derive(Debug, Default)]
struct More {
    key: Option<(Box<str>, u64)>,
    reference: Option<Box<str>>,
    /// With its labels, if it has some; else they are the queue's.
    attributes: Option<Arc<Attributes<'static>>>,
    passed_over: Option<(Timestamp, NoRoom)>,
    /// When and how it ceased to wait.
    ended: Option<(Timestamp, WaitState)>,
    /// What was offered.
    reservation: Option<ReservationId>,
}

/// Entries that ask for the same in the same way.
#[derive(Debug)]
pub struct Queue {
    pub sale: SaleNumber,
    pub lines: SmallVec<[AskedUnits; 1]>,
    /// Without labels, by which nothing is judged.
    pub attributes: Option<Arc<Attributes<'static>>>,
    /// Those that wait, by place.
    waiting: BTreeMap<u64, u32>,
    /// All entries in memory that are of this queue.
    entries: u32,
}

#[derive(Debug, Default)]
struct OfSale {
    order: Ranks,
    /// Those in which somebody waits, by the items that they ask for.
    queues: BTreeSet<(ItemNumber, u32)>,
}

impl Waiting {
    pub(crate) fn new(expiry_millis: u64, retirement_millis: u64) -> Self {
        Self {
            entries: Slab::default(),
            by_customer: Index::default(),
            queues: Slab::default(),
            by_request: Index::default(),
            sales: BTreeMap::new(),
            expiries: Deadlines::new(expiry_millis),
            retirements: Deadlines::new(retirement_millis),
        }
    }

    /// Takes an entry out of what waits.
    fn dequeue(&mut self, slot: u32) {
        let waiter = &self.entries[slot];
        let queue = &mut self.queues[waiter.queue];
        queue.waiting.remove(&waiter.place()).expect("who waits is in a queue");
        let of_sale = self.sales.get_mut(&queue.sale).expect("who waits is in the order of the sale");
        of_sale.order.remove(waiter.place());
        if queue.waiting.is_empty() {
            for line in &queue.lines {
                of_sale.queues.remove(&(line.item, waiter.queue));
            }
        }
        if of_sale.order.len() == 0 {
            self.sales.remove(&queue.sale);
        }
    }
}

impl Waiter {
    pub(crate) fn key(&self) -> Option<(&str, u64)> {
        self.more.as_deref()?.key.as_ref().map(|(key, fingerprint)| (&**key, *fingerprint))
    }

    pub(crate) fn reference(&self) -> Option<&str> {
        self.more.as_deref()?.reference.as_deref()
    }

    pub(crate) fn passed_over(&self) -> Option<(Timestamp, NoRoom)> {
        self.more.as_deref()?.passed_over
    }

    pub(crate) fn place(&self) -> u64 {
        self.place.get()
    }

    pub(crate) fn expires_at(&self) -> Timestamp {
        self.id.created_at().plus_millis(self.lasts_millis.into())
    }

    pub(crate) fn state(&self) -> WaitState {
        self.more.as_deref().and_then(|more| more.ended).map_or(WaitState::Waiting, |(_, state)| state)
    }

    /// Whether it waits, and its time is not over.
    pub(crate) fn waits_at(&self, now: Timestamp) -> bool {
        self.state() == WaitState::Waiting && now < self.expires_at()
    }

    /// When it ceased to wait.
    pub(crate) fn ended_at(&self) -> Option<Timestamp> {
        self.more.as_deref()?.ended.map(|(at, _)| at)
    }

    /// What was offered.
    pub(crate) fn reservation(&self) -> Option<ReservationId> {
        self.more.as_deref()?.reservation
    }

    fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    fn bytes(&self) -> u64 {
        let text = |text: &Option<Box<str>>| text.as_deref().map_or(0, |text| allocated(text.len()));
        let more = self.more.as_deref().map_or(0, |more| {
            let key = more.key.as_ref().map_or(0, |(key, _)| allocated(key.len()));
            allocated(size_of::<More>()) + key + text(&more.reference)
        });
        (ENTRY_BYTES + more) as u64
    }
}

impl Queue {
    /// The places of those that wait, from a place on, with their slots.
    pub fn from(&self, place: u64) -> impl Iterator<Item = (u64, u32)> {
        self.waiting.range(place..).map(|(&place, &slot)| (place, slot))
    }

    /// Units of an item that those who wait ask for together.
    pub fn units_waited_for(&self, item: ItemNumber) -> u64 {
        let of_one = self.lines.iter().filter(|line| line.item == item).map(|line| u64::from(line.units)).sum::<u64>();
        of_one * self.waiting.len() as u64
    }

    fn is_of(&self, joined: &Joined<'_>) -> bool {
        self.sale == joined.sale
            && self.lines == joined.lines
            && self.attributes.as_deref() == judged_by(joined).as_ref()
    }
}

impl Shard {
    pub(crate) fn join_waitlist(&mut self, joined: &Joined<'_>) {
        let customer = self.customer(joined.id.bucket(), joined.customer);
        self.customers[customer].reservations += 1;
        let queue = self.queue_of(joined);
        let hash = self.of_customer_hash(customer, joined.sale);
        let older = self.newest_entry(customer, joined.sale);
        let labelled = joined.attributes.as_deref().filter(|attributes| !attributes.labels.is_empty());
        let attributes = labelled.map(|attributes| self.intern(attributes));
        let has_more = joined.key.is_some() || joined.reference.is_some() || attributes.is_some();
        let more = has_more.then(|| {
            let key = joined.key.map(|(key, fingerprint)| (key.into(), fingerprint));
            Box::new(More { key, reference: joined.reference.map(Box::from), attributes, ..More::default() })
        });
        let waiter = Waiter {
            id: joined.id,
            place: NonZeroU64::new(joined.place).expect("places are counted from 1"),
            lasts_millis: u32::try_from(joined.expires_at.millis_since(joined.id.created_at()))
                .expect("an entry waits for a month at the most"),
            customer,
            queue,
            older: older.unwrap_or(NONE),
            more,
        };
        self.bytes += waiter.bytes();
        let Self { waiting, buckets, shards, .. } = self;
        let slot = waiting.entries.insert(waiter);
        if let Some(older) = older {
            waiting.by_customer.remove(hash, older);
        }
        waiting.by_customer.insert(hash, slot);
        let of_queue = &mut waiting.queues[queue];
        of_queue.waiting.insert(joined.place, slot);
        of_queue.entries += 1;
        let of_sale = waiting.sales.entry(joined.sale).or_default();
        of_sale.order.insert(joined.place);
        of_sale.queues.extend(joined.lines.iter().map(|line| (line.item, queue)));
        waiting.expiries.file(joined.expires_at, slot);
        let bucket = &mut buckets[joined.id.bucket().index() / *shards];
        let twice = bucket.entries.find(joined.id.entropy(), |other| waiting.entries[other].id == joined.id);
        assert!(twice.is_none(), "waitlist entry {} was drawn twice", joined.id);
        bucket.entries.insert(joined.id.entropy(), slot);
    }

    /// The queue of what a customer asks for; made when there is none.
    fn queue_of(&mut self, joined: &Joined<'_>) -> u32 {
        let judged_by = judged_by(joined);
        let hash = self.request_hash(joined.sale, &joined.lines, judged_by.as_ref());
        let found = self.waiting.by_request.find(hash, |slot| self.waiting.queues[slot].is_of(joined));
        if let Some(found) = found {
            return found;
        }
        let attributes = judged_by.map(|attributes| self.intern(&attributes));
        let (sale, lines) = (joined.sale, joined.lines.clone());
        let queue = Queue { sale, lines, attributes, waiting: BTreeMap::new(), entries: 0 };
        self.bytes += queue_bytes(&queue);
        let slot = self.waiting.queues.insert(queue);
        self.waiting.by_request.insert(hash, slot);
        slot
    }

    fn request_hash(&self, sale: SaleNumber, lines: &[AskedUnits], attributes: Option<&Attributes<'_>>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        sale.0.hash(&mut hasher);
        lines.iter().for_each(|line| (line.item.0, line.units).hash(&mut hasher));
        attributes.hash(&mut hasher);
        hasher.finish()
    }

    fn of_customer_hash(&self, customer: u32, sale: SaleNumber) -> u64 {
        self.hasher.hash_one((customer, sale.0))
    }

    /// The customer's latest entry in the sale.
    pub(crate) fn newest_entry(&self, customer: u32, sale: SaleNumber) -> Option<u32> {
        let is_it = |slot: u32| {
            let waiter = &self.waiting.entries[slot];
            waiter.customer == customer && self.waiting.queues[waiter.queue].sale == sale
        };
        self.waiting.by_customer.find(self.of_customer_hash(customer, sale), is_it)
    }

    /// The customer's entries in the sale, the latest first.
    pub(crate) fn entries_of(&self, customer: u32, sale: SaleNumber) -> impl Iterator<Item = u32> {
        let newest = self.newest_entry(customer, sale);
        std::iter::successors(newest, |&slot| Some(self.waiting.entries[slot].older).filter(|&older| older != NONE))
    }

    pub(crate) fn find_entry(&self, id: EntryId) -> Option<u32> {
        let bucket = &self.buckets[id.bucket().index() / self.shards];
        bucket.entries.find(id.entropy(), |slot| self.waiting.entries[slot].id == id)
    }

    fn entry_slot(&self, id: EntryId) -> u32 {
        self.find_entry(id).unwrap_or_else(|| panic!("an event is about waitlist entry {id}, which is unknown"))
    }

    pub(crate) fn note_offered(&mut self, offered: &Offered) {
        self.end_entry(offered.id, WaitState::Offered, offered.at);
        let slot = self.entry_slot(offered.id);
        self.waiting.entries[slot].more_mut().reservation = Some(offered.reservation);
    }

    pub(crate) fn end_wait(&mut self, ended: &WaitEnded, state: WaitState) {
        self.end_entry(ended.id, state, ended.at);
    }

    fn end_entry(&mut self, id: EntryId, state: WaitState, at: Timestamp) {
        let slot = self.entry_slot(id);
        assert_eq!(self.waiting.entries[slot].state(), WaitState::Waiting, "only who waits ceases to: {id}");
        self.waiting.dequeue(slot);
        let waiter = &mut self.waiting.entries[slot];
        let bytes_before = waiter.bytes();
        waiter.more_mut().ended = Some((at, state));
        self.bytes = self.bytes + waiter.bytes() - bytes_before;
        self.waiting.retirements.file(at.plus_millis(self.retention_millis), slot);
    }

    pub(crate) fn note_passed_over(&mut self, passed: &PassedOver) {
        let slot = self.entry_slot(passed.id);
        let waiter = &mut self.waiting.entries[slot];
        let bytes_before = waiter.bytes();
        waiter.more_mut().passed_over = Some((passed.at, passed.cause));
        self.bytes = self.bytes + waiter.bytes() - bytes_before;
    }

    /// The entry leaves memory.
    pub(crate) fn retire_entry(&mut self, id: EntryId) {
        let slot = self.entry_slot(id);
        let customer = self.forget_entry(slot);
        self.customers[customer].reservations -= 1;
        self.drop_customer_if_unknown(customer);
    }

    /// Removes an entry that does not wait. Returns its customer.
    fn forget_entry(&mut self, slot: u32) -> u32 {
        let Waiter { id, customer, queue, older, .. } = self.waiting.entries[slot];
        assert_ne!(self.waiting.entries[slot].state(), WaitState::Waiting, "who waits does not leave memory: {id}");
        let sale = self.waiting.queues[queue].sale;
        let hash = self.of_customer_hash(customer, sale);
        if self.newest_entry(customer, sale) == Some(slot) {
            self.waiting.by_customer.remove(hash, slot);
            if older != NONE {
                self.waiting.by_customer.insert(hash, older);
            }
        } else {
            let newer = self.entries_of(customer, sale).find(|&newer| self.waiting.entries[newer].older == slot);
            self.waiting.entries[newer.expect("an entry is the latest or has one after it")].older = older;
        }
        let Self { buckets, shards, .. } = self;
        buckets[id.bucket().index() / *shards].entries.remove(id.entropy(), slot);
        let mut waiter = self.waiting.entries.remove(slot);
        self.bytes -= waiter.bytes();
        self.forget_attributes(waiter.more.as_deref_mut().and_then(|more| more.attributes.take()));
        let queue = &mut self.waiting.queues[waiter.queue];
        queue.entries -= 1;
        if queue.entries == 0 {
            let queue = self.waiting.queues.remove(waiter.queue);
            self.bytes -= queue_bytes(&queue);
            let hash = self.request_hash(queue.sale, &queue.lines, queue.attributes.as_deref());
            self.waiting.by_request.remove(hash, waiter.queue);
            self.forget_attributes(queue.attributes);
        }
        customer
    }

    /// Removes all entries of a customer that is erased, who waits for nothing any more.
    pub(crate) fn erase_entries(&mut self, customer: u32, bucket: Bucket) {
        for slot in self.entries_of_customer(customer, bucket) {
            self.forget_entry(slot);
        }
    }

    fn entries_of_customer(&self, customer: u32, bucket: Bucket) -> Vec<u32> {
        let slots = self.buckets[bucket.index() / self.shards].entries.iter();
        slots.filter(|&slot| self.waiting.entries[slot].customer == customer).collect()
    }

    /// The entries of a customer that wait.
    pub(crate) fn waiting_entries_of(&self, customer: &str) -> Vec<(EntryId, SaleNumber)> {
        let bucket = Bucket::of(customer);
        let Some(customer) = self.customer_slot(bucket, customer) else { return Vec::new() };
        let entries = self.entries_of_customer(customer, bucket);
        let waiting = entries.into_iter().filter(|&slot| self.waiting.entries[slot].state() == WaitState::Waiting);
        waiting.map(|slot| (self.waiting.entries[slot].id, self.sale_of_entry(slot))).collect()
    }

    /// The events that rebuild a bucket's entries.
    pub(crate) fn export_entries(&self, bucket: Bucket, each: &mut impl FnMut(&CustomerEvent<'_>)) {
        let slots = self.buckets[bucket.index() / self.shards].entries.iter();
        let mut waiters: Vec<&Waiter> = slots.map(|slot| &self.waiting.entries[slot]).collect();
        // A customer's come in their order.
        waiters.sort_unstable_by_key(|waiter| waiter.place);
        for waiter in waiters {
            let (id, queue) = (waiter.id, &self.waiting.queues[waiter.queue]);
            let sale = queue.sale;
            each(&CustomerEvent::Joined(Joined {
                id,
                sale,
                customer: &self.customers[waiter.customer].name,
                place: waiter.place(),
                expires_at: waiter.expires_at(),
                lines: queue.lines.clone(),
                reference: waiter.reference(),
                key: waiter.key(),
                attributes: self.attributes_of(waiter).map(|attributes| Box::new(Attributes::clone(attributes))),
            }));
            if let Some((at, cause)) = waiter.passed_over() {
                each(&CustomerEvent::PassedOver(PassedOver { id, sale, at, cause }));
            }
            let Some(at) = waiter.ended_at() else { continue };
            match waiter.state() {
                WaitState::Waiting => unreachable!("it has ended"),
                WaitState::Offered => {
                    let reservation = waiter.reservation().expect("an offer is a reservation");
                    each(&CustomerEvent::Offered(Offered { id, sale, at, reservation }));
                }
                WaitState::Left => each(&CustomerEvent::LeftWaitlist(WaitEnded { id, sale, at })),
                WaitState::Expired => each(&CustomerEvent::WaitExpired(WaitEnded { id, sale, at })),
            }
        }
    }

    fn attributes_of<'a>(&'a self, waiter: &'a Waiter) -> Option<&'a Arc<Attributes<'static>>> {
        let own = waiter.more.as_deref().and_then(|more| more.attributes.as_ref());
        own.or(self.waiting.queues[waiter.queue].attributes.as_ref())
    }

    pub(crate) fn sale_of_entry(&self, slot: u32) -> SaleNumber {
        self.waiting.queues[self.waiting.entries[slot].queue].sale
    }

    /// The sale that an entry belongs to, and its channel.
    pub fn place_of_entry(&self, id: EntryId) -> Option<(SaleNumber, Option<String>)> {
        let waiter = &self.waiting.entries[self.find_entry(id)?];
        let channel = self.attributes_of(waiter).and_then(|attributes| attributes.channel.as_deref());
        Some((self.waiting.queues[waiter.queue].sale, channel.map(str::to_owned)))
    }

    /// Who waits at this slot: the entry's id, its customer, its reference and its attributes.
    pub fn waiter(&self, slot: u32) -> (EntryId, CompactString, Option<Box<str>>, Option<Arc<Attributes<'static>>>) {
        let waiter = &self.waiting.entries[slot];
        let (customer, attributes) = (&self.customers[waiter.customer].name, self.attributes_of(waiter).cloned());
        (waiter.id, customer.clone(), waiter.reference().map(Box::from), attributes)
    }

    /// The entry as an answer shows it, but for its position.
    pub(crate) fn show_entry(&self, slot: u32) -> WaitlistEntry {
        let waiter = &self.waiting.entries[slot];
        let queue = &self.waiting.queues[waiter.queue];
        WaitlistEntry {
            id: waiter.id,
            sale: queue.sale,
            customer: self.customers[waiter.customer].name.clone(),
            lines: queue.lines.clone(),
            state: waiter.state(),
            place: waiter.place(),
            expires_at: waiter.expires_at(),
            ended_at: waiter.ended_at(),
            reservation: waiter.reservation(),
            passed_over: waiter.passed_over(),
            reference: waiter.reference().map(Box::from),
            attributes: self.attributes_of(waiter).cloned(),
        }
    }

    /// Customers that wait in the sale.
    pub fn waiting_in(&self, sale: SaleNumber) -> usize {
        self.waiting.sales.get(&sale).map_or(0, |of_sale| of_sale.order.len())
    }

    /// How many of those that wait in the sale have an earlier place.
    pub fn waiting_before(&self, sale: SaleNumber, place: u64) -> usize {
        self.waiting.sales.get(&sale).map_or(0, |of_sale| of_sale.order.below(place))
    }

    /// Sales in which somebody waits.
    pub fn waited_sales(&self) -> impl Iterator<Item = SaleNumber> {
        self.waiting.sales.keys().copied()
    }

    /// Items of the sale that somebody waits for.
    pub fn items_waited_for(&self, sale: SaleNumber) -> BTreeSet<ItemNumber> {
        let Some(OfSale { queues, .. }) = self.waiting.sales.get(&sale) else { return BTreeSet::new() };
        let first = queues.first().map(|(item, _)| *item);
        // Of each item only the first queue is looked at: there may be very many.
        let next =
            |item: &ItemNumber| queues.range((*item, u32::MAX)..).find(|queue| queue.0 != *item).map(|queue| queue.0);
        std::iter::successors(first, next).collect()
    }

    /// The queues of an item in which somebody waits.
    pub fn queues_of(&self, sale: SaleNumber, item: ItemNumber) -> impl Iterator<Item = u32> {
        let of_item = (item, 0)..=(item, u32::MAX);
        let queues = self.waiting.sales.get(&sale).into_iter().flat_map(move |sale| sale.queues.range(of_item.clone()));
        queues.map(|(_, queue)| *queue)
    }

    /// A queue in which somebody waits.
    pub fn queue(&self, queue: u32) -> &Queue {
        &self.waiting.queues[queue]
    }

    /// Slots of up to `most` entries that wait in the sale.
    pub(crate) fn some_waiting(&self, sale: SaleNumber, most: usize) -> Vec<u32> {
        let queues = self.waiting.sales.get(&sale).into_iter().flat_map(|of_sale| &of_sale.queues);
        // An entry that asks for several items is in one queue, which is listed for each.
        let first = |(item, queue): &&(ItemNumber, u32)| self.waiting.queues[*queue].lines[0].item == *item;
        queues
            .filter(first)
            .flat_map(|(_, queue)| self.waiting.queues[*queue].from(0))
            .map(|it| it.1)
            .take(most)
            .collect()
    }

    /// The latest place of any entry.
    pub fn last_place(&self) -> Option<u64> {
        let entries = self.buckets.iter().flat_map(|bucket| bucket.entries.iter());
        entries.map(|slot| self.waiting.entries[slot].place()).max()
    }
}

/// What an entry is judged by.
fn judged_by(joined: &Joined<'_>) -> Option<Attributes<'static>> {
    let attributes = joined.attributes.as_deref()?.without_labels().into_owned();
    (!attributes.is_empty()).then_some(attributes)
}

fn queue_bytes(queue: &Queue) -> u64 {
    let lines = if queue.lines.spilled() { allocated(size_of_val::<[AskedUnits]>(&queue.lines)) } else { 0 };
    (size_of::<Option<Queue>>() + CELL_BYTES + lines) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Option<Waiter>>(), 48);
    }
}
