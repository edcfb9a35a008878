//! Totals: units by state, over all shards, at one instant.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use super::{Answer, Engine, Guards};
use journal::Epoch;
use sale::{
    catalogue::{Item, Sale},
    codec::Reader,
    command::Extras,
    event::{CatalogueEvent, CustomerEvent, Event},
    ids::{BUCKETS, Bucket, ItemNumber, PoolNumber, ReservationId},
    outcome::{Refusal, Status},
    stock::{Account, StockBook},
    time::{Now, Timestamp},
};

/// Items whose totals are taken under one hold of all locks when many are asked for.
const STEP: usize = 256;

/// As `STEP`, where less is looked at of each item.
const STEP_OF_AVAILABLE: usize = 4096;

/// Where an item's units are; `stock` is their sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub available: u64,
    pub held: u64,
    pub confirmed: u64,
}

/// What was available of an item at the end of a batch, and the level at which its stock was low then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtCut {
    pub cut: Epoch,
    pub available: i64,
    pub low_stock_at: Option<u64>,
}

impl Counts {
    pub fn stock(&self) -> u64 {
        self.available + self.held + self.confirmed
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.available += other.available;
        self.held += other.held;
        self.confirmed += other.confirmed;
    }
}

/// A sale with the counts of its items, in their order.
#[derive(Debug, Clone)]
pub struct SaleView {
    pub sale: Arc<Sale>,
    pub status: Status,
    pub counts: Vec<Counts>,
    /// Of each item that declares pools, those of its pools in their order; else empty.
    pub pools: Vec<Vec<Counts>>,
    /// Customers that wait; None if the sale has no waitlist and nobody waits.
    pub waiting: Option<u64>,
    /// Of each item, its open groups; None if it is not sold to groups and none is open.
    pub open_groups: Vec<Option<u64>>,
}

impl SaleView {
    /// Counts only the pools that are open to such a request.
    fn narrow(&mut self, now: Now, asked: &Extras<'_>) {
        let Self { sale, counts, pools, .. } = self;
        for ((item, sum), pools) in sale.items.iter().zip(counts).zip(pools).filter(|(_, pools)| !pools.is_empty()) {
            let open = item.open_pools(now, asked);
            let all = item.pools.iter().zip(pools).filter(|(pool, _)| open.contains(pool));
            *sum = all.fold(Counts::default(), |mut sum, (_, counts)| {
                sum += *counts;
                sum
            });
        }
    }
}

/// How full the service is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Levels {
    pub live_holds: u64,
    pub reservations: u64,
    pub customers: u64,
    /// The latest epoch that anything was decided in.
    pub latest_epoch: Epoch,
}

impl Engine {
    /// The sale: settings, status, counts, as of one instant. For a sale with more than `STEP` items, each portion of counts
    /// has an instant of its own, because requests wait while all shards are locked.
    pub fn sale(&self, now: Timestamp, id: &str) -> Answer<Result<SaleView, Refusal>> {
        let mut counting = Counting::default();
        loop {
            let control = self.control.lock();
            let guards = self.lock_all();
            let durable_at = guards.iter().map(|cell| cell.lane.last_epoch).fold(control.lane.last_epoch, Epoch::max);
            match control.catalogue.sale(id) {
                Err(refusal) => return Answer { value: Err(refusal), durable_at },
                Ok(sale) if counting.proceed(sale, &guards, Some(&control.stock)) => {
                    let now = control.dial.now(now);
                    return Answer { value: Ok(self.with_queues(counting.view(sale, now))), durable_at };
                }
                Ok(_) => {}
            }
        }
    }

    /// What can be had of each item, as of the instants of [`Engine::sale`]: of all its pools, or of those that are open to such a
    /// request. No reservation shows in it, so it waits for operators' changes alone.
    pub fn availability(
        &self,
        now: Timestamp,
        id: &str,
        asked: Option<&Extras<'_>>,
    ) -> Answer<Result<SaleView, Refusal>> {
        let mut counting = Counting::default();
        loop {
            let guards = self.lock_all();
            let published = self.published.load();
            match published.catalogue.sale(id) {
                Err(refusal) => return self.judged(Err(refusal)),
                Ok(sale) if counting.proceed(sale, &guards, None) => {
                    let now = published.dial.now(now);
                    let mut view = self.with_queues(counting.view(sale, now));
                    if let Some(extras) = asked {
                        view.narrow(now, extras);
                    }
                    return self.judged(Ok(view));
                }
                Ok(_) => {}
            }
        }
    }

    /// Under all locks: adds who waits and the open groups.
    fn with_queues(&self, view: SaleView) -> SaleView {
        let waiting = self.waiting_in(view.sale.number);
        let waiting = Some(waiting).filter(|_| waiting > 0 || view.sale.settings.waitlist.is_some());
        let groups = self.groups.lock();
        let open_of = |item: &Item| {
            let open = groups.open_of(item.number);
            Some(open).filter(|_| open > 0 || item.settings.group.is_some())
        };
        let open_groups = view.sale.items.iter().map(open_of).collect();
        SaleView { waiting, open_groups, ..view }
    }

    /// Up to `most` of the sales that `wanted` takes and whose ids come after `after`, by id, and whether there are more.
    pub fn sales(
        &self,
        now: Timestamp,
        after: &str,
        most: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Answer<(Vec<SaleView>, bool)> {
        let ids = {
            let published = self.published.load();
            let sales = published.catalogue.sales().iter().map(|sale| sale.settings.id.clone());
            let mut ids: Vec<String> = sales.filter(|id| id.as_str() > after && wanted(id)).collect();
            ids.sort_unstable();
            ids
        };
        let mut durable_at = 0;
        let mut views = Vec::new();
        for id in ids.iter().take(most) {
            let answer = self.sale(now, id);
            durable_at = durable_at.max(answer.durable_at);
            views.extend(answer.value);
        }
        // That there are more may rest on a sale that is not shown.
        Answer { value: (views, ids.len() > most), durable_at: durable_at.max(self.operator_epoch()) }
    }

    /// The sale of a reservation in memory, and its channel.
    pub fn place_of(&self, id: ReservationId) -> Option<(Arc<Sale>, Option<String>)> {
        let (number, channel) = self.cells[self.shard_of(id)].cell.lock().shard.place_of(id)?;
        Some((self.published.load().catalogue.sale_numbered(number).clone(), channel))
    }

    /// The counts of every item by number, each exact at an instant of its own, with its stock at that instant.
    pub fn stock(&self) -> Vec<(u64, Counts)> {
        let mut all: Vec<(u64, Counts)> = Vec::new();
        let mut counted = 0;
        loop {
            let control = self.control.lock();
            let guards = self.lock_all();
            all.resize(control.catalogue.items(), Default::default());
            let step = counted..control.catalogue.pools().min(counted + STEP);
            for number in step.clone() {
                let pool = PoolNumber(number as u32);
                let (stock, counts) = &mut all[control.catalogue.item_of(pool).index()];
                *stock += control.stock.of(pool);
                *counts += counts_of(pool, &guards);
            }
            counted = step.end;
            if counted == control.catalogue.pools() {
                return all;
            }
        }
    }

    /// The counts of these pools, in their order, each exact at an instant of its own.
    pub fn counts_of(&self, pools: impl Iterator<Item = PoolNumber>) -> Vec<Counts> {
        let pools: Vec<_> = pools.collect();
        let of_some = |some: &[PoolNumber]| {
            let guards = self.lock_all();
            some.iter().map(|&pool| counts_of(pool, &guards)).collect::<Vec<_>>()
        };
        pools.chunks(STEP).flat_map(of_some).collect()
    }

    /// What was available of each item, by number, at the end of the last cut before it was looked at. An item that is newer than
    /// its cut counts as having been there with its initial stock and its first `low_stock_at`.
    pub fn available_at_cuts(&self) -> Vec<AtCut> {
        let mut all: Vec<AtCut> = Vec::new();
        loop {
            let control = self.control.lock();
            let guards = self.lock_all();
            let cut = self.open_epoch.load(Ordering::Relaxed) - 1;
            let items = control.catalogue.items();
            let step = all.len()..items.min(all.len() + STEP_OF_AVAILABLE);
            for number in step.clone() {
                let item = control.catalogue.item_numbered(ItemNumber(number as u32));
                let slice = |pool: PoolNumber| {
                    let slices = guards.iter().map(move |cell| cell.shard.slice(pool));
                    slices.map(|slice| {
                        slice.available + i64::try_from(slice.set_aside).expect("stock is limited to 2^63")
                    })
                };
                let available = item.pools.iter().copied().flat_map(slice).sum();
                all.push(AtCut { cut, available, low_stock_at: item.settings.low_stock_at });
            }
            let lanes = std::iter::once(&control.lane).chain(guards.iter().map(|cell| &cell.lane));
            let lanes: Vec<Vec<u8>> = lanes.map(|lane| lane.encoded.bytes().to_vec()).collect();
            drop(guards);
            drop(control);
            // What no cut has taken yet is undone.
            let mut changed = BTreeSet::new();
            for lane in &lanes {
                let mut events = Reader::new(lane);
                while let Some(event) = Event::decode(&mut events).expect("a lane holds what was encoded") {
                    if let Event::Catalogue(CatalogueEvent::SaleDefined(defined)) = event {
                        let changes = defined.low_stock.iter().filter(|change| step.contains(&change.item.index()));
                        // The first of several knows what was before them.
                        let first = changes.filter(|change| changed.insert(change.item));
                        first.for_each(|change| all[change.item.index()].low_stock_at = change.from);
                        continue;
                    }
                    event.moves(|moved| {
                        if step.contains(&moved.item.index()) {
                            all[moved.item.index()].available -= moved.change_of(Account::Available);
                        }
                    });
                }
            }
            if step.end == items {
                return all;
            }
        }
    }

    pub fn levels(&self) -> Levels {
        let mut levels = Levels::default();
        for slot in &self.cells {
            let cell = slot.cell.lock();
            levels.live_holds += cell.shard.live_holds();
            levels.reservations += cell.shard.reservations() as u64;
            levels.customers += cell.shard.customers() as u64;
            levels.latest_epoch = levels.latest_epoch.max(cell.lane.last_epoch);
        }
        levels.latest_epoch = levels.latest_epoch.max(self.control.lock().lane.last_epoch);
        levels
    }

    /// Reservations in a shard's memory, and bytes of its changes that wait for their cut.
    pub fn shard_levels(&self, index: usize) -> (u64, usize) {
        let cell = self.cells[index].cell.lock();
        (cell.shard.reservations() as u64, cell.lane.encoded.payload_len())
    }

    /// Reserves so far that one shard's slices could not serve.
    pub fn gathers_total(&self) -> u64 {
        self.gathers.load(Ordering::Relaxed)
    }

    /// Holds that expire within `millis` of `now`. Releases each shard's lock every few microseconds; see [`Shard::expiring`]
    /// for the precision.
    ///
    /// [`Shard::expiring`]: sale::shard::Shard::expiring
    pub fn holds_expiring(&self, now: Timestamp, millis: u64) -> u64 {
        let now = self.time(now);
        let until = now.plus_millis(millis);
        let mut holds = 0;
        for slot in &self.cells {
            let mut from = Some(now);
            while let Some(at) = from {
                let (found, next) = slot.cell.lock().shard.expiring(at, until);
                holds += found;
                from = next;
            }
        }
        holds
    }

    /// What is in memory of the bucket's customers, as the events that rebuild it from nothing.
    pub fn export(&self, bucket: Bucket, each: impl FnMut(&CustomerEvent<'_>)) {
        self.cells[bucket.shard(self.cells.len())].cell.lock().shard.export(bucket, each);
    }

    /// A fingerprint of everything that survives a restart, whatever the number of shards.
    pub fn digest(&self) -> u64 {
        let control = self.control.lock();
        let guards = self.lock_all();
        let mut digest = 0_u64;
        let mut bytes = Vec::new();
        let mut add = |encode: &dyn Fn(&mut Vec<u8>)| {
            bytes.clear();
            encode(&mut bytes);
            digest = digest.wrapping_add(xxhash_rust::xxh3::xxh3_64(&bytes));
        };
        control.catalogue.export(|event| add(&|bytes| event.encode(bytes)));
        control.stock.export(|pool| control.catalogue.item_of(pool), |event| add(&|bytes| event.encode(bytes)));
        control.adjustments.export(|event| add(&|bytes| event.encode(bytes)));
        control.trail.export(|event| add(&|bytes| event.encode(bytes)));
        for bucket in (0..BUCKETS).filter_map(Bucket::from_index) {
            let shard = &guards[bucket.shard(guards.len())].shard;
            shard.export(bucket, |event| add(&|bytes| event.encode(bytes)));
        }
        digest
    }
}

/// The counts of a sale's items, portion by portion.
#[derive(Default)]
struct Counting {
    items: Option<Arc<Vec<Item>>>,
    counts: Vec<Counts>,
    pools: Vec<Vec<Counts>>,
}

impl Counting {
    /// Counts the next portion, under all locks; whether that was the last. A sale whose document was replaced meanwhile is
    /// counted from the beginning.
    fn proceed(&mut self, sale: &Sale, guards: &Guards<'_>, stock: Option<&StockBook>) -> bool {
        if !self.items.as_ref().is_some_and(|items| Arc::ptr_eq(items, &sale.items)) {
            let count = sale.items.len();
            *self = Self { items: Some(sale.items.clone()), counts: Vec::with_capacity(count), pools: Vec::new() };
        }
        for item in sale.items.iter().skip(self.counts.len()).take(STEP) {
            let (mut sum, mut pools) = (Counts::default(), Vec::new());
            for &pool in &item.pools {
                let counts = counts_of(pool, guards);
                if item.settings.has_pools() {
                    pools.push(counts);
                }
                if let Some(stock) = stock {
                    assert_eq!(stock.of(pool), counts.stock(), "stock is conserved");
                }
                sum += counts;
            }
            self.counts.push(sum);
            self.pools.push(pools);
        }
        self.counts.len() == sale.items.len()
    }

    fn view(self, sale: &Arc<Sale>, now: Now) -> SaleView {
        let status = sale.status_in_doubt(now);
        let (waiting, open_groups) = (None, Vec::new());
        SaleView { sale: sale.clone(), status, counts: self.counts, pools: self.pools, waiting, open_groups }
    }
}

fn counts_of(pool: PoolNumber, guards: &Guards<'_>) -> Counts {
    let mut available = 0;
    let mut counts = Counts::default();
    for cell in guards {
        let slice = cell.shard.slice(pool);
        available += slice.available + i64::try_from(slice.set_aside).expect("stock is limited to 2^63");
        counts.held += slice.held;
        counts.confirmed += slice.confirmed;
    }
    counts.available = u64::try_from(available).expect("available is never negative");
    counts
}
