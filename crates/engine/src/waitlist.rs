//! Waitlists: who waits, and who gets the units that come back.
//!
//! While somebody waits for an item, its pools are *waited for*: units that come back in a shard are set aside there, where no
//! reserve finds them. A step under all locks offers them in the order of joining, to each entry that fits, and gives to the
//! shards what nobody who waits can take. The clock takes this step, and so does every decision that would look at such a pool
//! before: while units of a sale are set aside, the bounds of what is waited for there say nothing and its slices count as empty,
//! so the decision comes to all locks.
//!
//! Invariants: pools are waited for in all shards or in none; from the instant at which a unit comes back while an entry waits
//! that fits, no other request gets it. Nothing of this is state: a restart sets aside all that is available of what is waited
//! for, and begins with a step.

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use super::{
    Answer, Cell, Engine, Guards, Published,
    reserve::{Totals, limit_exceeded, request_of},
    stock::{AllShards, OneShard},
};
use sale::{
    attributes::{Attributes, NONE},
    catalogue::Sale,
    command::{AskedLine, Extras, Reserve},
    event::CustomerEvent,
    ids::{EntryId, ItemNumber, PoolNumber, SaleNumber},
    judge::{Allocation, Plan, Request, allocate},
    outcome::{Refusal, Status, WaitState, WaitlistEntry},
    settings::Waitlist,
    shard::Shard,
    time::Timestamp,
    waitlist::{JoinJudgement, OfferJudgement, Start},
};

/// Entries that one step looks at. Each takes about a microsecond, and everybody waits for the step.
const LOOKS_PER_STEP: usize = 128;
/// Steps of one tick for a sale. Between two of them others get the locks.
const STEPS_PER_TICK: usize = 8;
/// Entries that expire under one lock.
const EXPIRED_PER_STEP: usize = 128;

/// A waitlist entry as it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryView {
    pub entry: WaitlistEntry,
    /// 1 is first; None if it does not wait.
    pub position: Option<u64>,
    /// The key was known, so nothing changed.
    pub replayed: bool,
}

/// Who waits, as far as all shards must know.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// The next place in the order of joining.
    places: AtomicU64,
    sales: RwLock<BTreeMap<SaleNumber, Arc<Waited>>>,
    /// Of each sale that somebody ever waited in: its pools have it for good.
    set_aside: Mutex<BTreeMap<SaleNumber, Arc<AtomicU64>>>,
    /// Sales that somebody waits in, so that nobody takes the lock in vain.
    waited: AtomicU64,
    totals: EntryCounts,
}

/// What happened to entries since the start.
#[derive(Debug, Default)]
struct EntryCounts {
    joined: AtomicU64,
    offered: AtomicU64,
    left: AtomicU64,
    expired: AtomicU64,
    passed_over: AtomicU64,
    waited_millis: AtomicU64,
}

/// What happened to waitlist entries since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitlistTotals {
    pub joined: u64,
    pub offered: u64,
    pub left: u64,
    pub expired: u64,
    /// Each cause that an entry was passed over for counts once after another.
    pub passed_over: u64,
    /// From joining to the offer, summed over those that were offered something.
    pub waited_millis: u64,
}

/// A sale in which somebody waits or waited.
#[derive(Debug, Default)]
struct Waited {
    entries: AtomicU64,
    /// Units that are set aside in the sale.
    set_aside: Arc<AtomicU64>,
    /// By this time somebody may fit who did not, in milliseconds.
    look_at: AtomicU64,
    /// Written under all locks.
    look: Mutex<Look>,
}

#[derive(Debug, Default)]
struct Look {
    /// The version of the catalogue at the last step that looked at all queues.
    version: u64,
    /// Its pools that are waited for.
    pools: BTreeSet<PoolNumber>,
}

impl Waits {
    /// What waits in these shards.
    pub(super) fn of(shards: &[Shard]) -> Self {
        let waits = Self::default();
        let last = shards.iter().filter_map(Shard::last_place).max();
        waits.places.store(last.map_or(1, |last| last + 1), Ordering::Relaxed);
        for shard in shards {
            for sale in shard.waited_sales() {
                waits.begun(sale).entries.fetch_add(shard.waiting_in(sale) as u64, Ordering::Relaxed);
            }
        }
        waits
    }

    /// The sale, from here on among those that somebody waits in.
    fn begun(&self, sale: SaleNumber) -> Arc<Waited> {
        if let Some(known) = self.sales.read().get(&sale) {
            return known.clone();
        }
        let mut sales = self.sales.write();
        let set_aside = || self.set_aside.lock().entry(sale).or_default().clone();
        let begin = || Arc::new(Waited { set_aside: set_aside(), ..Waited::default() });
        let waited = sales.entry(sale).or_insert_with(begin).clone();
        self.waited.store(sales.len() as u64, Ordering::Release);
        waited
    }

    fn of_sale(&self, sale: SaleNumber) -> Option<Arc<Waited>> {
        if self.waited.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.sales.read().get(&sale).cloned()
    }

    fn all(&self) -> Vec<(SaleNumber, Arc<Waited>)> {
        if self.waited.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        self.sales.read().iter().map(|(&sale, waited)| (sale, waited.clone())).collect()
    }

    /// Forgets a sale in which nobody waits. Under all locks, so nobody joins meanwhile.
    fn forget(&self, sale: SaleNumber) {
        let mut sales = self.sales.write();
        sales.remove(&sale);
        self.waited.store(sales.len() as u64, Ordering::Release);
    }

    /// Follows an event, under the lock of its shard.
    pub(super) fn follow(&self, event: &CustomerEvent<'_>) {
        let EntryCounts { joined, offered, left, expired, passed_over, waited_millis } = &self.totals;
        let count = |total: &AtomicU64| _ = total.fetch_add(1, Ordering::Relaxed);
        let sale = match event {
            CustomerEvent::Offered(offer) => {
                count(offered);
                let waited = offer.at.millis().saturating_sub(offer.id.created_at().millis());
                waited_millis.fetch_add(waited, Ordering::Relaxed);
                offer.sale
            }
            CustomerEvent::LeftWaitlist(ended) => {
                count(left);
                ended.sale
            }
            CustomerEvent::WaitExpired(ended) => {
                count(expired);
                ended.sale
            }
            CustomerEvent::Joined(_) => return count(joined),
            CustomerEvent::PassedOver(_) => return count(passed_over),
            CustomerEvent::Held(_)
            | CustomerEvent::Extended(_)
            | CustomerEvent::Confirmed(_)
            | CustomerEvent::Released(_)
            | CustomerEvent::Expired(_)
            | CustomerEvent::Changed(_)
            | CustomerEvent::Cancelled(_)
            | CustomerEvent::ConfirmRefused(_)
            | CustomerEvent::GroupChanged(_)
            | CustomerEvent::GroupNoted(_)
            | CustomerEvent::EntryRetired { .. }
            | CustomerEvent::Retired { .. }
            | CustomerEvent::Carried { .. }
            | CustomerEvent::Sold { .. }
            | CustomerEvent::CustomerErased { .. } => return,
        };
        let waited = self.of_sale(sale).expect("who waited did so in a sale that is known");
        waited.entries.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Engine {
    /// Puts a customer on the waitlist of a sale. Checks in this order: the sale and its waitlist exist; key known; service
    /// limits; sale open; items exist; the customer waits already; stock; customer limits; room.
    pub fn join_waitlist(
        &self,
        now: Timestamp,
        asked: &Reserve<'_>,
        entropy: u64,
    ) -> Answer<Result<EntryView, Refusal>> {
        let mut not_before = Timestamp::default();
        loop {
            let published = self.published.load_full();
            let sale = match published.catalogue.sale(asked.sale) {
                Ok(sale) => sale,
                Err(refusal) => return self.judged(Err(refusal)),
            };
            let Some(waitlist) = sale.settings.waitlist else { return self.judged(Err(Refusal::NoWaitlist)) };
            let request = request_of(sale, asked);
            let index = request.bucket.shard(self.cells.len());
            let time = published.dial.now(now).not_before(not_before);
            let planned = self
                .refuse_if_full(index, asked.customer)
                .and_then(|()| published.catalogue.plan(time, sale, request, asked))
                .and_then(|plan| last_offer(sale, waitlist, time.time).map(|_| plan));
            let mut cell = self.cells[index].cell.lock();
            if cell.catalogue_version != published.catalogue.version() {
                continue;
            }
            let pools: SmallVec<[PoolNumber; 4]> =
                planned.iter().flat_map(|plan| &plan.lines).flat_map(|line| pools_of(&published, line.item)).collect();
            let is_waited_for = pools.iter().all(|&pool| cell.shard.is_waited_for(pool));
            let judgement = cell.shard.judge_join(now, &request, planned.as_ref(), |shard, plan| {
                if is_waited_for {
                    allocate(plan, &OneShard { shard, bounds: &published.bounds })
                } else {
                    Allocation::Unsure
                }
            });
            let joining = Joining { waitlist, sale, published: &published, extras: asked.extras(), index, entropy };
            match judgement {
                JoinJudgement::Outdated => not_before = cell.shard.now(),
                JoinJudgement::Unsure => {
                    drop(cell);
                    let plan = planned.as_ref().expect("only a plan is judged by stock");
                    match self.join_under_all_locks(now, plan, &pools, &joining) {
                        Ok(answer) => return self.positioned(answer),
                        Err(at) => not_before = at.unwrap_or(not_before),
                    }
                }
                judgement => {
                    let answer = self.conclude_join(now, judgement, planned.as_ref().ok(), &mut cell, &joining);
                    drop(cell);
                    return self.positioned(answer);
                }
            }
        }
    }

    /// Err: it is to be planned again, perhaps for a later time.
    fn join_under_all_locks(
        &self,
        now: Timestamp,
        plan: &Plan<'_>,
        pools: &[PoolNumber],
        joining: &Joining<'_>,
    ) -> Result<Answer<Result<Joined, Refusal>>, Option<Timestamp>> {
        let &Joining { sale, published, index, .. } = joining;
        let mut guards = self.lock_all();
        if guards[index].catalogue_version != published.catalogue.version() {
            return Err(None);
        }
        self.serve_pools(now, pools, &mut guards, published);
        let totals = Totals::of(plan, &guards);
        let allocation = allocate(plan, &AllShards(|pool| totals.available(pool)));
        if let Allocation::Short(_) = allocation {
            self.tighten_short(&plan.lines, &totals, &guards, published, None);
        }
        let judgement = guards[index].shard.judge_join(now, &plan.request, Ok(plan), |_, _| allocation);
        match judgement {
            JoinJudgement::Outdated => return Err(Some(guards[index].shard.now())),
            JoinJudgement::Join => {
                let waited = self.waits.begun(sale.number);
                let mut look = waited.look.lock();
                let pools = pools.iter().copied().filter(|&pool| look.pools.insert(pool));
                pools.for_each(|pool| waited.set_waited_for(pool, true, &mut guards, published));
                if look.version == 0 {
                    look.version = published.catalogue.version();
                    waited.look_at.store(u64::MAX, Ordering::Relaxed);
                }
            }
            JoinJudgement::Known(_) | JoinJudgement::Refused(_) | JoinJudgement::LimitExceeded(_) => {}
            JoinJudgement::Unsure => unreachable!("all shards together know everything"),
        }
        Ok(self.conclude_join(now, judgement, Some(plan), &mut guards[index], joining))
    }

    fn conclude_join(
        &self,
        now: Timestamp,
        judgement: JoinJudgement,
        plan: Option<&Plan<'_>>,
        cell: &mut Cell,
        joining: &Joining<'_>,
    ) -> Answer<Result<Joined, Refusal>> {
        let &Joining { waitlist, sale, published, extras, index, entropy } = joining;
        let value = match judgement {
            JoinJudgement::Join => {
                let plan = plan.expect("only who has a plan joins");
                let waited = self.waits.begun(sale.number);
                let at = cell.shard.now();
                let last = match last_offer(sale, waitlist, at) {
                    Ok(last) => last,
                    Err(refusal) => return self.judged(Err(refusal)),
                };
                let limit = waitlist.entries_max;
                let claim = |entries| (entries < u64::from(limit)).then_some(entries + 1);
                if waited.entries.fetch_update(Ordering::AcqRel, Ordering::Acquire, claim).is_err() {
                    return self.judged(Err(Refusal::WaitlistFull { limit }));
                }
                waited.look_at.fetch_min(plan.until.millis(), Ordering::AcqRel);
                let place = self.waits.places.fetch_add(1, Ordering::AcqRel);
                let expires_at = at.plus_seconds(waitlist.entry_seconds.into()).min(last);
                let start = Start { place, expires_at, entropy };
                let entry = self
                    .decide(index, &published.bounds, cell, |shard, record| shard.join(plan, extras, start, record));
                Ok(Joined { entry, replayed: false })
            }
            JoinJudgement::Known(id) => self
                .decide(index, &published.bounds, cell, |shard, record| shard.look_at_entry(now, id, record))
                .map(|entry| Joined { entry, replayed: true }),
            JoinJudgement::LimitExceeded(exceeded) => Err(limit_exceeded(exceeded, &published.catalogue)),
            JoinJudgement::Refused(refusal @ (Refusal::IdempotencyKeyReused | Refusal::AlreadyWaiting(_))) => {
                Err(refusal)
            }
            // These show no customer's state.
            JoinJudgement::Refused(refusal) => return self.judged(Err(refusal)),
            JoinJudgement::Outdated => unreachable!("it is planned again"),
            JoinJudgement::Unsure => unreachable!("all shards together know everything"),
        };
        self.answer(value, &cell.lane)
    }

    /// The entry as it is now; one whose time is over is expired by looking at it.
    pub fn waitlist_entry(&self, now: Timestamp, id: EntryId) -> Answer<Result<EntryView, Refusal>> {
        let entry = self.by_shard(now, id, |shard, _, record| shard.look_at_entry(now, id, record));
        self.positioned(entry.map(|value| value.map(|entry| Joined { entry, replayed: false })))
    }

    pub fn leave_waitlist(&self, now: Timestamp, id: EntryId) -> Answer<Result<EntryView, Refusal>> {
        let entry = self.by_shard(now, id, |shard, _, record| shard.leave(now, id, record));
        self.positioned(entry.map(|value| value.map(|entry| Joined { entry, replayed: false })))
    }

    /// The sale and the channel of an entry in memory.
    pub fn place_of_entry(&self, id: EntryId) -> Option<(SaleNumber, Option<String>)> {
        self.cells[self.shard_of(id)].cell.lock().shard.place_of_entry(id)
    }

    /// Adds the position. Looks into one shard after the other.
    fn positioned(&self, answer: Answer<Result<Joined, Refusal>>) -> Answer<Result<EntryView, Refusal>> {
        let with_position = |Joined { entry, replayed }: Joined| {
            let is_waiting = entry.state == WaitState::Waiting;
            let position = is_waiting.then(|| 1 + self.waiting_before(entry.sale, entry.place));
            EntryView { entry, position, replayed }
        };
        answer.map(|value| value.map(with_position))
    }

    fn waiting_before(&self, sale: SaleNumber, place: u64) -> u64 {
        self.cells.iter().map(|slot| slot.cell.lock().shard.waiting_before(sale, place) as u64).sum()
    }

    pub fn waitlist_totals(&self) -> WaitlistTotals {
        let EntryCounts { joined, offered, left, expired, passed_over, waited_millis } = &self.waits.totals;
        let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
        WaitlistTotals {
            joined: read(joined),
            offered: read(offered),
            left: read(left),
            expired: read(expired),
            passed_over: read(passed_over),
            waited_millis: read(waited_millis),
        }
    }

    /// Customers that wait in a sale.
    pub fn waiting_in(&self, sale: SaleNumber) -> u64 {
        self.waits.of_sale(sale).map_or(0, |waited| waited.entries.load(Ordering::Acquire))
    }

    /// Entries expire whose time is over, or in whose sale nothing is offered any more; units that were set aside are offered.
    /// Returns how many were.
    pub(super) fn serve_waiting(&self, now: Timestamp) -> u64 {
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
                || waited.look_at.load(Ordering::Acquire) <= time.time.millis()
                || waited.look.lock().is_due(&published);
            if !is_due {
                continue;
            }
            for _ in 0..STEPS_PER_TICK {
                let mut guards = self.lock_all();
                let published = self.published.load_full();
                offered += self.serve(now, number, &waited, &mut guards, &published);
                drop(guards);
                if !waited.look.lock().is_due(&published) {
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
    pub(super) fn set_aside_all(&self) {
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
    pub(super) fn serve_pools<'p>(
        &self,
        now: Timestamp,
        pools: impl IntoIterator<Item = &'p PoolNumber>,
        guards: &mut Guards<'_>,
        published: &Published,
    ) {
        let is_awaited = |pool: &&PoolNumber| published.bounds[pool.index()].is_awaited();
        let Some(pool) = pools.into_iter().find(is_awaited) else { return };
        let sale = published.catalogue.sale_of(published.catalogue.item_of(*pool));
        let waited = self.waits.of_sale(sale).expect("units are set aside while somebody waits in the sale");
        self.serve(now, sale, &waited, guards, published);
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
        let latest = guards.iter().map(|cell| cell.shard.now()).max().unwrap_or_default();
        let time = published.dial.now(now).not_before(latest);
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
        let Some(waitlist) = waitlist else { return 0 };
        let is_whole = look.version != published.catalogue.version()
            || waited.look_at.load(Ordering::Acquire) <= time.time.millis();
        let aside =
            |item: &ItemNumber| pools_of(published, *item).any(|pool| published.bounds[pool.index()].has_aside());
        let items: Vec<ItemNumber> = wanted.into_iter().filter(|item| is_whole || aside(item)).collect();
        let mut serving = Serving { sale, waitlist, published, units: BTreeMap::new(), looks: 0, offered: 0 };
        // Units of several shards are given to one: what comes after is of a later generation.
        self.begin_generation();
        let until = self.offer(now, time.time, &items, &mut serving, guards);
        let is_done = serving.looks < LOOKS_PER_STEP;
        serving.give_back(self, guards, &look.pools, is_done);
        if is_whole && is_done {
            look.version = published.catalogue.version();
            waited.look_at.store(until.millis(), Ordering::Release);
        } else {
            waited.look_at.fetch_min(until.millis(), Ordering::AcqRel);
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
                let units = take_all(pool, guards, published);
                self.set_available(guards, pool, units, pool.index() % guards.len(), 0);
            }
        }
        look.pools = pools;
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
        let (mut until, mut turns, mut seen) = (Timestamp::MAX, BinaryHeap::new(), BTreeSet::new());
        let queues: Vec<(usize, u32)> = (0..guards.len())
            .flat_map(|index| items.iter().map(move |&item| (index, item)))
            .flat_map(|(index, item)| guards[index].shard.queues_of(sale.number, item).map(move |queue| (index, queue)))
            .filter(|queue| seen.insert(*queue))
            .collect();
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
                        let first = guards[index].shard.queue(queue).from(0).next();
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
            }
            let next = guards[index].shard.queue(queue).from(place + 1).next();
            turns.extend(next.map(|(place, slot)| Reverse((place, slot, number))));
        }
        until
    }
}

/// An entry, and whether a key led to it.
struct Joined {
    entry: WaitlistEntry,
    replayed: bool,
}

/// What joining rests on.
#[derive(Clone, Copy)]
struct Joining<'a> {
    waitlist: Waitlist,
    sale: &'a Sale,
    published: &'a Published,
    extras: &'a Extras<'a>,
    index: usize,
    entropy: u64,
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
        let locations = queue.locations.iter().map(|location| location.to_string().into()).collect();
        Self {
            lines: queue.lines.iter().map(|line| (line.item, line.units)).collect(),
            extras: Extras { attributes, locations, allow_partial: false, group: None },
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

    /// Gives what is left to the shards; sets it aside again if the step did not get to the end.
    fn give_back(&self, engine: &Engine, guards: &mut Guards<'_>, waited: &BTreeSet<PoolNumber>, is_done: bool) {
        let bounds = &self.published.bounds;
        let untouched = waited.iter().filter(|pool| bounds[pool.index()].has_aside() && !self.units.contains_key(pool));
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
                guards[0].shard.set_aside(pool, units);
                bounds[pool.index()].set_aside(units);
            }
        }
    }
}

impl Look {
    fn is_due(&self, published: &Published) -> bool {
        self.version != published.catalogue.version()
            || self.pools.iter().any(|pool| published.bounds[pool.index()].has_aside())
    }
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

impl Waited {
    /// Under all locks: from here on units of the pool that come back are set aside, or not.
    fn set_waited_for(&self, pool: PoolNumber, is_waited_for: bool, guards: &mut Guards<'_>, published: &Published) {
        guards.iter_mut().for_each(|cell| cell.shard.set_waited_for(pool, is_waited_for));
        published.bounds[pool.index()].set_waited_for(is_waited_for, &self.set_aside);
    }
}

/// All pools of an item.
fn pools_of(published: &Published, item: ItemNumber) -> impl Iterator<Item = PoolNumber> {
    published.catalogue.item_numbered(item).pools.iter().copied()
}

/// Until when something is offered in the sale: what is held then still ends before the sale does. Refused if that is past.
fn last_offer(sale: &Sale, waitlist: Waitlist, now: Timestamp) -> Result<Timestamp, Refusal> {
    let hold_seconds = waitlist.hold_seconds.map_or(sale.settings.hold_seconds, u64::from);
    let last = sale.settings.closes_at.millis().checked_sub(hold_seconds * 1000).map(Timestamp::from_millis);
    last.filter(|&last| now <= last).ok_or(Refusal::SaleEnded)
}

/// Random bits for the reservation that an entry is offered: as unguessable as the entry's id, which its caller knows.
fn entropy_of(id: EntryId) -> u64 {
    id.entropy().rotate_left(29) ^ 0x9e37_79b9_7f4a_7c15
}
