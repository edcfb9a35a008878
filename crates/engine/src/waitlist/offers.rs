//! Offers: units that were set aside go to whoever waits first and fits, and the rest to everybody.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::atomic::Ordering,
};

use smallvec::SmallVec;

use super::{Look, Passed, Waited, last_offer, pools_of};
use crate::{Engine, Guards, Published, reserve::request_of, stock::AllShards};
use sale::{
    attributes::{Attributes, NONE},
    catalogue::Sale,
    command::{AskedLine, Extras, Reserve},
    ids::{EntryId, ItemNumber, PoolNumber, SaleNumber},
    judge::{Allocation, Plan, Request, allocate},
    outcome::{Refusal, Status},
    settings::Waitlist,
    shard::Shard,
    time::Timestamp,
    waitlist::OfferJudgement,
};

/// Entries that one step looks at. Each takes about a microsecond, and everybody waits for the step.
const LOOKS_PER_STEP: usize = 128;
/// Steps of one tick for a sale. Between two of them others get the locks.
const STEPS_PER_TICK: usize = 16;
/// Entries that expire under one lock.
const EXPIRED_PER_STEP: usize = 128;

impl Engine {
    /// Entries expire whose time is over, or in whose sale nothing is offered any more; units that were set aside are offered.
    /// Returns how many were.
    pub(crate) fn serve_waiting(&self, now: Timestamp) -> u64 {
        let mut offered = 0;
        for (number, waited) in self.waits.all() {
            let published = self.published.load_full();
            let sale = published.catalogue.sale_numbered(number);
            let time = published.dial.now(now);
            let is_over = sale.status(time.time) == Status::Closed
                || sale.settings.waitlist.is_none_or(|waitlist| last_offer(sale, waitlist, time.time).is_err());
            if is_over {
                self.expire_all(now, number, &published);
            }
            if sale.status_in_doubt(time) == Status::Paused {
                continue;
            }
            let is_due = waited.entries.load(Ordering::Acquire) == 0
                || waited.awaited.is_to_be_looked_at(time.time)
                || waited.look.lock().has_aside(&published);
            if !is_due {
                continue;
            }
            for _ in 0..STEPS_PER_TICK {
                let mut guards = self.lock_all();
                let published = self.published.load_full();
                offered += self.serve(now, number, &waited, &mut guards, &published);
                drop(guards);
                if !waited.look.lock().has_aside(&published) {
                    break;
                }
            }
        }
        offered
    }

    fn expire_all(&self, now: Timestamp, sale: SaleNumber, published: &Published) {
        for (index, slot) in self.cells.iter().enumerate() {
            loop {
                let mut cell = slot.cell.lock();
                let expired = self.decide(index, &published.bounds, &mut cell, |shard, record| {
                    shard.expire_entries_of(now, sale, EXPIRED_PER_STEP, record)
                });
                if expired < EXPIRED_PER_STEP {
                    break;
                }
            }
        }
    }

    /// After a restart: all that is available of what somebody waits for is set aside, as nothing says what of it was.
    pub(crate) fn set_aside_all(&self) {
        let published = self.published.load_full();
        let mut guards = self.lock_all();
        for (number, waited) in self.waits.all() {
            let items: BTreeSet<ItemNumber> =
                guards.iter().flat_map(|cell| cell.shard.items_waited_for(number)).collect();
            let mut look = waited.look.lock();
            self.follow_items(&items, &waited, &mut look, &mut guards, &published);
            for &pool in &look.pools {
                let units = take_all(pool, &mut guards, &published);
                guards[0].shard.set_aside(pool, units);
                published.bounds[pool.index()].set_aside(units);
            }
        }
    }

    /// Under all locks, before anything is judged by these pools: what is set aside of them goes to whoever waits first.
    pub(crate) fn serve_pools<'p>(
        &self,
        now: Timestamp,
        pools: impl IntoIterator<Item = &'p PoolNumber>,
        guards: &mut Guards<'_>,
        published: &Published,
    ) {
        let time = published.dial.now(now).not_before(latest(guards)).time;
        let is_awaited = |pool: &&PoolNumber| published.bounds[pool.index()].is_awaited(time);
        let Some(pool) = pools.into_iter().find(is_awaited) else { return };
        let sale = published.catalogue.sale_of(published.catalogue.item_of(*pool));
        let waited = self.waits.of_sale(sale).expect("units are set aside while somebody waits in the sale");
        self.serve(now, sale, &waited, guards, published);
    }

    /// As `serve_pools`, for all that somebody waits for in a sale.
    pub(super) fn serve_sale(&self, now: Timestamp, sale: SaleNumber, guards: &mut Guards<'_>, published: &Published) {
        let time = published.dial.now(now).not_before(latest(guards)).time;
        if let Some(waited) = self.waits.of_sale(sale).filter(|waited| waited.awaited.is_due(time)) {
            self.serve(now, sale, &waited, guards, published);
        }
    }

    /// Under all locks: offers units that were set aside, and gives back what nobody who waits can take. Returns how many
    /// entries were offered something.
    fn serve(
        &self,
        now: Timestamp,
        number: SaleNumber,
        waited: &Waited,
        guards: &mut Guards<'_>,
        published: &Published,
    ) -> u64 {
        let sale = published.catalogue.sale_numbered(number);
        let time = published.dial.now(now).not_before(latest(guards));
        let mut look = waited.look.lock();
        let wanted: BTreeSet<ItemNumber> = guards.iter().flat_map(|cell| cell.shard.items_waited_for(number)).collect();
        self.follow_items(&wanted, waited, &mut look, guards, published);
        if wanted.is_empty() {
            self.waits.forget(number);
            return 0;
        }
        // While the sale is paused everything stays as it is; who waits when it is over is expired first.
        let may_offer = sale.status_in_doubt(time) == Status::Open && self.refuse_if_asked_to().is_ok();
        let waitlist =
            sale.settings.waitlist.filter(|waitlist| may_offer && last_offer(sale, *waitlist, time.time).is_ok());
        let aside =
            |item: &ItemNumber| pools_of(published, *item).any(|pool| published.bounds[pool.index()].has_aside());
        let Some(waitlist) = waitlist else {
            // Nobody is offered anything now. What nobody who waits can take is everybody's all the same.
            for item in wanted.into_iter().filter(aside) {
                if queues_with_units(number, &[item], guards, published).is_empty() {
                    pools_of(published, item).for_each(|pool| self.give_to_all(pool, guards, published));
                }
            }
            return 0;
        };
        let is_whole = waited.awaited.is_to_be_looked_at(time.time);
        let items: Vec<ItemNumber> = wanted.into_iter().filter(|item| is_whole || aside(item)).collect();
        let version = published.catalogue.version();
        let passed = std::mem::take(&mut look.passed);
        let passed = if passed.version == version { passed.places } else { BTreeMap::new() };
        let mut serving = Serving { sale, waitlist, published, units: BTreeMap::new(), passed, looks: 0, offered: 0 };
        // Units of several shards are given to one: what comes after is of a later generation.
        self.begin_generation();
        let until = self.offer(now, time.time, &items, &mut serving, guards);
        let is_done = serving.looks < LOOKS_PER_STEP;
        let rest = look.pools.iter().filter(|pool| published.bounds[pool.index()].has_aside());
        serving.give_back(self, guards, rest, is_done);
        if !is_done {
            look.passed = Passed { version, places: serving.passed };
        }
        if is_whole && is_done {
            waited.awaited.looked_until(until);
        } else {
            waited.awaited.look_from(until);
        }
        serving.offered
    }

    /// Under all locks: pools of these items are waited for from here on, and the sale's others no longer.
    fn follow_items(
        &self,
        items: &BTreeSet<ItemNumber>,
        waited: &Waited,
        look: &mut Look,
        guards: &mut Guards<'_>,
        published: &Published,
    ) {
        let pools: BTreeSet<PoolNumber> = items.iter().flat_map(|&item| pools_of(published, item)).collect();
        if pools == look.pools {
            return;
        }
        for &pool in pools.difference(&look.pools) {
            waited.set_waited_for(pool, true, guards, published);
        }
        for &pool in look.pools.difference(&pools) {
            waited.set_waited_for(pool, false, guards, published);
            if published.bounds[pool.index()].has_aside() {
                self.give_to_all(pool, guards, published);
            }
        }
        look.pools = pools;
    }

    /// Under all locks: what is set aside of a pool is everybody's.
    fn give_to_all(&self, pool: PoolNumber, guards: &mut Guards<'_>, published: &Published) {
        let units = take_all(pool, guards, published);
        self.set_available(guards, pool, units, pool.index() % guards.len(), 0);
    }

    /// Under all locks: offers what there is of these items, in the order of joining. Returns until when nobody else fits.
    fn offer(
        &self,
        now: Timestamp,
        time: Timestamp,
        items: &[ItemNumber],
        serving: &mut Serving<'_>,
        guards: &mut Guards<'_>,
    ) -> Timestamp {
        let (sale, published) = (serving.sale, serving.published);
        let (mut until, mut turns) = (Timestamp::MAX, BinaryHeap::new());
        let queues = queues_with_units(sale.number, items, guards, published);
        let asked: Vec<AskedOf> =
            queues.iter().map(|&(index, queue)| AskedOf::of(&guards[index].shard, queue)).collect();
        let mut plans: Vec<Option<Plan<'_>>> = Vec::with_capacity(asked.len());
        for (&(index, queue), of_queue) in queues.iter().zip(&asked) {
            let skus =
                of_queue.lines.iter().map(|line| AskedLine { sku: published.catalogue.sku(line.0), units: line.1 });
            let reserve = Reserve {
                sale: &sale.settings.id,
                customer: "",
                lines: skus.collect(),
                hold_seconds: serving.waitlist.hold_seconds,
                reference: None,
                key: None,
                extras: Some(&of_queue.extras),
            };
            let plan = published.catalogue.plan(
                published.dial.now(now).not_before(time),
                sale,
                request_of(sale, &reserve),
                &reserve,
            );
            match &plan {
                Ok(plan) => {
                    until = until.min(plan.until);
                    if serving.fits(plan, guards) {
                        let from = serving.passed.get(&(index, queue)).map_or(0, |place| place + 1);
                        let first = guards[index].shard.queue(queue).from(from).next();
                        turns.extend(first.map(|(place, slot)| Reverse((place, slot, plans.len()))));
                    }
                }
                // A phase that lets these in comes later.
                Err(Refusal::SaleNotStarted { opens_at }) => until = until.min(*opens_at),
                Err(_) => {}
            }
            plans.push(plan.ok());
        }
        while serving.looks < LOOKS_PER_STEP
            && let Some(Reverse((place, slot, number))) = turns.pop()
        {
            let plan = plans[number].as_ref().expect("who has a turn has a plan");
            let Allocation::Grant(grant) = serving.allocate(plan, guards) else { continue };
            let (index, queue) = queues[number];
            serving.looks += 1;
            let next = guards[index].shard.queue(queue).from(place + 1).next();
            turns.extend(next.map(|(place, slot)| Reverse((place, slot, number))));
            let is_over = self.decide(index, &published.bounds, &mut guards[index], |shard, record| {
                shard.expire_if_due(now, slot, record)
            });
            if is_over {
                continue;
            }
            let (id, customer, reference, attributes) = guards[index].shard.waiter(slot);
            let request = Request {
                customer: &customer,
                bucket: id.bucket(),
                reference: reference.as_deref(),
                attributes: attributes.as_deref(),
                ..plan.request
            };
            let plan = Plan { request, entry: Some(id), ..plan.clone() };
            let opening = plan.group.is_some().then(|| self.opens_group(now, &plan, guards, index, entropy_of(id)));
            let group = opening.map(|(joined, _)| Box::new(joined));
            let cell = &mut guards[index];
            let offered = self.decide(index, &published.bounds, cell, |shard, record| {
                if let OfferJudgement::PassOver(cause) = shard.judge_offer(now, &plan) {
                    shard.pass_over(slot, cause, record);
                    return None;
                }
                for portion in &grant.portions {
                    serving.take(portion.pool, portion.units.into());
                    let here = u64::try_from(shard.slice(portion.pool).available).expect("never negative");
                    shard.set_available(portion.pool, here + u64::from(portion.units));
                }
                Some(shard.offer(slot, &plan, grant, entropy_of(id), group, record))
            });
            if let Some(reservation) = offered {
                serving.offered += 1;
                if let Some((joined, time)) = opening {
                    self.opened_group(&joined, &reservation, time, guards, &published.bounds);
                }
            } else {
                serving.passed.insert((index, queue), place);
            }
        }
        until
    }
}

/// The time of the shard that is ahead of the others.
fn latest(guards: &Guards<'_>) -> Timestamp {
    guards.iter().map(|cell| cell.shard.now()).max().unwrap_or_default()
}

/// Queues of these items for which there may be enough: of others nobody has a turn, whatever the rules say. So very many who
/// each wait for something else cost little.
fn queues_with_units(
    sale: SaleNumber,
    items: &[ItemNumber],
    guards: &Guards<'_>,
    published: &Published,
) -> Vec<(usize, u32)> {
    let mut units = BTreeMap::new();
    let mut units_of = |item: ItemNumber| {
        *units.entry(item).or_insert_with(|| {
            let slices =
                pools_of(published, item).flat_map(|pool| guards.iter().map(move |cell| cell.shard.slice(pool)));
            slices
                .map(|slice| u64::try_from(slice.available).expect("available is never negative") + slice.set_aside)
                .sum::<u64>()
        })
    };
    let mut queues = Vec::new();
    for (index, cell) in guards.iter().enumerate() {
        let of_items = items.iter().flat_map(|&item| cell.shard.queues_of(sale, item));
        let with_units = of_items
            .filter(|&queue| cell.shard.queue(queue).lines.iter().all(|line| units_of(line.item) >= line.units.into()));
        queues.extend(with_units.map(|queue| (index, queue)));
    }
    // One that asks for several items is of each.
    queues.sort_unstable();
    queues.dedup();
    queues
}

/// What the entries of a queue ask for.
struct AskedOf {
    lines: SmallVec<[(ItemNumber, u32); 2]>,
    extras: Extras<'static>,
}

impl AskedOf {
    fn of(shard: &Shard, queue: u32) -> Self {
        let queue = shard.queue(queue);
        let attributes: Attributes<'static> = queue.attributes.as_deref().cloned().unwrap_or_else(|| NONE.clone());
        Self {
            lines: queue.lines.iter().map(|line| (line.item, line.units)).collect(),
            extras: Extras { attributes, allow_partial: false, group: None },
        }
    }
}

/// A step that offers units of a sale.
struct Serving<'a> {
    sale: &'a Sale,
    waitlist: Waitlist,
    published: &'a Published,
    /// Units that were taken out of the shards, to be offered or given back.
    units: BTreeMap<PoolNumber, u64>,
    /// In this hand-over, by shard and queue: the place of the last entry that was passed over.
    passed: BTreeMap<(usize, u32), u64>,
    /// Entries that it looked at.
    looks: usize,
    offered: u64,
}

impl Serving<'_> {
    fn fits(&mut self, plan: &Plan<'_>, guards: &mut Guards<'_>) -> bool {
        matches!(self.allocate(plan, guards), Allocation::Grant(_))
    }

    fn allocate(&mut self, plan: &Plan<'_>, guards: &mut Guards<'_>) -> Allocation {
        for source in plan.lines.iter().flat_map(|line| &line.sources) {
            self.units.entry(source.pool).or_insert_with(|| take_all(source.pool, guards, self.published));
        }
        allocate(plan, &AllShards(|pool| self.units[&pool]))
    }

    fn take(&mut self, pool: PoolNumber, units: u64) {
        let left = self.units.get_mut(&pool).expect("it was counted");
        *left = left.checked_sub(units).expect("no more is offered than there is");
    }

    /// Gives what is left to the shards, that of other pools too. If the step did not get to the end, as much is set aside again as
    /// those who wait may take.
    fn give_back<'p>(
        &self,
        engine: &Engine,
        guards: &mut Guards<'_>,
        others: impl Iterator<Item = &'p PoolNumber>,
        is_done: bool,
    ) {
        let bounds = &self.published.bounds;
        let untouched = others.filter(|pool| !self.units.contains_key(pool));
        let rest: Vec<_> = untouched.map(|&pool| (pool, take_all(pool, guards, self.published))).collect();
        for (pool, units) in self.units.iter().map(|(&pool, &units)| (pool, units)).chain(rest) {
            if is_done {
                engine.set_available(guards, pool, units, pool.index() % guards.len(), 0);
                // Until somebody is refused the bound says nothing, but what is empty is known to be.
                if units == 0 {
                    let held = guards.iter().map(|cell| cell.shard.slice(pool).held).sum();
                    bounds[pool.index()].tighten(0, held);
                }
            } else {
                let item = self.published.catalogue.item_of(pool);
                let aside = units.min(units_waited_for(self.sale.number, item, guards));
                engine.set_available(guards, pool, units - aside, pool.index() % guards.len(), 0);
                guards[0].shard.set_aside(pool, aside);
                bounds[pool.index()].set_aside(aside);
            }
        }
    }
}

/// Units of an item that all who wait ask for together.
fn units_waited_for(sale: SaleNumber, item: ItemNumber, guards: &Guards<'_>) -> u64 {
    let of_shard = |shard: &Shard| {
        let queues = shard.queues_of(sale, item).map(|queue| shard.queue(queue));
        queues.map(|queue| queue.units_waited_for(item)).sum::<u64>()
    };
    guards.iter().map(|cell| of_shard(&cell.shard)).sum()
}

/// Under all locks: takes all units of a pool out of the shards that could be had, those that are set aside included.
fn take_all(pool: PoolNumber, guards: &mut Guards<'_>, published: &Published) -> u64 {
    let mut units = 0;
    for cell in guards.iter_mut() {
        let slice = cell.shard.slice(pool);
        units += u64::try_from(slice.available).expect("available is never negative") + slice.set_aside;
        cell.shard.set_available(pool, 0);
        cell.shard.set_aside(pool, 0);
    }
    let bound = &published.bounds[pool.index()];
    bound.loosen();
    bound.set_aside(0);
    units
}

/// Random bits for the reservation that an entry is offered: as unguessable as the entry's id, which its caller knows.
fn entropy_of(id: EntryId) -> u64 {
    id.entropy().rotate_left(29) ^ 0x9e37_79b9_7f4a_7c15
}
