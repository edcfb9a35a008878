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

mod offers;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
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
    stock::{AllShards, Awaited, OneShard},
};
use sale::{
    catalogue::Sale,
    command::Reserve,
    event::CustomerEvent,
    ids::{EntryId, ItemNumber, PoolNumber, SaleNumber},
    judge::{Allocation, Plan, allocate},
    outcome::{Refusal, WaitState, WaitlistEntry},
    settings::Waitlist,
    shard::Shard,
    time::Timestamp,
    waitlist::{JoinJudgement, Start},
};

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
    awaited: Mutex<BTreeMap<SaleNumber, Arc<Awaited>>>,
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
    awaited: Arc<Awaited>,
    /// Written under all locks.
    look: Mutex<Look>,
}

#[derive(Debug, Default)]
struct Look {
    /// Its pools that are waited for.
    pools: BTreeSet<PoolNumber>,
    passed: Passed,
}

/// Who was passed over in a hand-over that takes more than one step: the next step goes on behind them.
#[derive(Debug, Default)]
struct Passed {
    /// The version of the catalogue that this is about.
    version: u64,
    /// The last place in a queue, by shard and queue.
    places: BTreeMap<(usize, u32), u64>,
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
        let awaited = || self.awaited.lock().entry(sale).or_default().clone();
        let begin = || Arc::new(Waited { awaited: awaited(), ..Waited::default() });
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

    /// Under all locks: the catalogue was changed, so entries may fit that did not.
    pub(super) fn look_again(&self) {
        self.all().iter().for_each(|(_, waited)| waited.awaited.look_from(Timestamp::default()));
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
                // What is to be offered to others comes first: they wait no longer then.
                let is_due = |pool: &PoolNumber| published.bounds[pool.index()].is_awaited(shard.now());
                if is_waited_for && !pools.iter().any(is_due) {
                    allocate(plan, &OneShard { shard, bounds: &published.bounds })
                } else {
                    Allocation::Unsure
                }
            });
            let joining = Joining { waitlist, sale, published: &published, index, entropy };
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
        // Whoever is offered something now does not wait before this customer.
        self.serve_sale(now, sale.number, &mut guards, published);
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
                if look.pools.is_empty() {
                    // The first who waits does not fit now.
                    waited.awaited.looked_until(Timestamp::MAX);
                }
                let pools = pools.iter().copied().filter(|&pool| look.pools.insert(pool));
                pools.for_each(|pool| waited.set_waited_for(pool, true, &mut guards, published));
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
        let &Joining { waitlist, sale, published, index, entropy } = joining;
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
                waited.awaited.look_from(plan.until);
                let place = self.waits.places.fetch_add(1, Ordering::AcqRel);
                let expires_at = at.plus_seconds(waitlist.entry_seconds.into()).min(last);
                let start = Start { place, expires_at, entropy };
                let entry =
                    self.decide(index, &published.bounds, cell, |shard, record| shard.join(plan, start, record));
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
        let with_position = |Joined { mut entry, replayed }: Joined| {
            let is_waiting = entry.state == WaitState::Waiting;
            let position = is_waiting.then(|| 1 + self.waiting_before(entry.sale, entry.place));
            let published = self.published.load();
            let sale = published.catalogue.sale_numbered(entry.sale);
            // The sale may end earlier by now than it was to end when the customer joined. If that is past, the next tick says so.
            if let Some(waitlist) = sale.settings.waitlist.filter(|_| is_waiting)
                && let Some(last) = last_offer_of(sale, waitlist).filter(|&last| last > entry.id.created_at())
            {
                entry.expires_at = entry.expires_at.min(last);
            }
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
    index: usize,
    entropy: u64,
}

impl Look {
    fn has_aside(&self, published: &Published) -> bool {
        self.pools.iter().any(|pool| published.bounds[pool.index()].has_aside())
    }
}

impl Waited {
    /// Under all locks: from here on units of the pool that come back are set aside, or not.
    fn set_waited_for(&self, pool: PoolNumber, is_waited_for: bool, guards: &mut Guards<'_>, published: &Published) {
        guards.iter_mut().for_each(|cell| cell.shard.set_waited_for(pool, is_waited_for));
        published.bounds[pool.index()].set_waited_for(is_waited_for, &self.awaited);
    }
}

/// All pools of an item.
fn pools_of(published: &Published, item: ItemNumber) -> impl Iterator<Item = PoolNumber> {
    published.catalogue.item_numbered(item).pools.iter().copied()
}

/// Until when something is offered in the sale: what is held then still ends before the sale does. Refused if that is past.
fn last_offer(sale: &Sale, waitlist: Waitlist, now: Timestamp) -> Result<Timestamp, Refusal> {
    last_offer_of(sale, waitlist).filter(|&last| now <= last).ok_or(Refusal::OffersEnded)
}

fn last_offer_of(sale: &Sale, waitlist: Waitlist) -> Option<Timestamp> {
    let hold_seconds = waitlist.hold_seconds.map_or(sale.settings.hold_seconds, u64::from);
    sale.settings.closes_at.millis().checked_sub(hold_seconds * 1000).map(Timestamp::from_millis)
}
