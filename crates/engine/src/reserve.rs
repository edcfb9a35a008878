//! Customers' commands: reserve. `life` has those on reservations.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use smallvec::SmallVec;

use super::{
    Answer, Bounds, CatalogueGuard, Cell, DISK_LOW, Engine, Guards, Published, Settings, groups,
    stock::{AllShards, BoundsAlone, OneShard, total_open},
};
use sale::{
    catalogue::{Catalogue, Sale},
    command::Reserve,
    ids::{Bucket, PoolNumber, SaleNumber},
    judge::{
        Allocation, BudgetExceeded, Grant, Judgement, LimitExceeded, Plan, PlanLine, Request, Shortages, allocate,
    },
    outcome::{Refusal, Replay, Reservation, Shortage, Standing},
    time::Timestamp,
};

/// How far from a limit of memory it begins to be looked at closely: more than can come in between two ticks, even when
/// a tick is late by seconds.
const NEAR_FULL: u64 = 1_000_000;
const NEAR_FULL_BYTES: u64 = 1 << 30;

/// Holds that are looked at under one lock, when the first end of some pool's holds is looked for.
const ENDS_PER_LOCK: usize = 256;
/// How often a shard is locked for one such look.
const LOOKS_PER_SHARD: usize = 16;
/// Holds of one shard that are looked at under all locks, when a bound turns tight.
pub(super) const ENDS_UNDER_ALL_LOCKS: usize = 64;
/// Pools whose holds are looked for together, and those that may wait for it.
const POOLS_PER_LOOK: usize = 64;
const LOOKS_QUEUED_MAX: usize = 10_000;

/// Why a reserve is to be planned again.
pub(super) enum Again {
    /// The catalogue changed meanwhile.
    Catalogue,
    /// By this time the plan is another.
    At(Timestamp),
    /// The key stands for a member of a group whose time was over: it failed.
    Group,
}

/// What a reserve would get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub grant: Grant,
    pub expires_at: Timestamp,
}

/// A reservation as the answer to its reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub reservation: Reservation,
    /// The key was known: this is the first answer again, and so the reservation stands now.
    pub replayed_of: Option<Standing>,
}

impl Engine {
    /// Holds all lines for the customer or none. Checks in this order:
    /// sale exists; key known (answered as the first time, or refused when the request differs); service limits;
    /// sale open; items exist; stock; customer limits. `entropy`: random bits for the id.
    pub fn reserve(&self, now: Timestamp, asked: &Reserve<'_>, entropy: u64) -> Answer<Result<Made, Refusal>> {
        let mut catalogue = self.catalogue();
        match catalogue.sale(asked.sale).map(|sale| sale.number) {
            Ok(sale) => self.reserve_in(&mut catalogue, sale, now, asked, entropy),
            Err(refusal) => self.judged(Err(refusal)),
        }
    }

    /// As [`Engine::reserve`], in a sale of this catalogue. Replaces the guard if the catalogue has changed meanwhile: afterwards
    /// it is the one that decided, and names everything in the outcome.
    pub fn reserve_in(
        &self,
        catalogue: &mut CatalogueGuard,
        sale: SaleNumber,
        now: Timestamp,
        asked: &Reserve<'_>,
        entropy: u64,
    ) -> Answer<Result<Made, Refusal>> {
        let mut not_before = Timestamp::default();
        loop {
            let published = &*catalogue.0;
            let found = published.catalogue.sale_numbered(sale);
            match self.try_reserve(now, not_before, asked, found, published, entropy) {
                Ok(answer) => return answer,
                Err(Again::Catalogue) => *catalogue = self.catalogue(),
                Err(Again::At(time)) => not_before = time,
                Err(Again::Group) => {}
            }
        }
    }

    fn try_reserve(
        &self,
        now: Timestamp,
        not_before: Timestamp,
        asked: &Reserve<'_>,
        sale: &Sale,
        published: &Published,
        entropy: u64,
    ) -> Result<Answer<Result<Made, Refusal>>, Again> {
        let request = request_of(sale, asked);
        let index = request.bucket.shard(self.cells.len());
        let planned = self.plan(now, not_before, asked, sale, request, published, index);
        // Only a known key could bring another answer.
        let planned = match planned {
            Err(refusal) if request.key.is_none() => return Ok(self.judged(Err(refusal))),
            planned => planned,
        };
        if let Ok(plan) = &planned
            && plan.group.is_some()
        {
            return self.reserve_in_group(now, plan, published, index, entropy);
        }
        let mut cell = self.cells[index].cell.lock();
        if cell.catalogue_version != published.catalogue.version() {
            return Err(Again::Catalogue);
        }
        if let Ok(plan) = &planned {
            cell.shard.prefetch(&request, plan, entropy);
        }
        let judgement = cell.shard.judge(now, &request, planned.as_ref(), |shard, plan| {
            allocate(plan, &OneShard { shard, bounds: &published.bounds })
        });
        match judgement {
            Judgement::Outdated => Err(Again::At(cell.shard.now())),
            Judgement::Known(id) if cell.shard.overdue_group(now, id).is_some() => {
                drop(cell);
                self.fail_group_of(now, id);
                Err(Again::Group)
            }
            Judgement::Unsure => {
                drop(cell);
                let plan = planned.as_ref().expect("only a plan is judged by stock");
                self.reserve_from_all(now, plan, published, index, entropy)
            }
            judgement => Ok(self.conclude(now, judgement, planned.as_ref().ok(), published, index, &mut cell, entropy)),
        }
    }

    /// The checks that need no shard: service limits, the sale is open, items exist, and stock as far as the bounds know it.
    #[expect(clippy::too_many_arguments, reason = "everything that the plan rests on")]
    fn plan<'a>(
        &self,
        now: Timestamp,
        not_before: Timestamp,
        asked: &Reserve<'a>,
        sale: &Sale,
        request: Request<'a>,
        published: &Published,
        index: usize,
    ) -> Result<Plan<'a>, Refusal> {
        let Published { catalogue, bounds, dial } = published;
        self.refuse_if_full(index, asked.customer)?;
        let time = dial.now(now).not_before(not_before);
        let plan = catalogue.plan(time, sale, request, asked)?;
        // Whether a group can be joined is more than its stock.
        if plan.group.as_ref().is_some_and(|group| group.joins.is_some()) {
            return Ok(plan);
        }
        match allocate(&plan, &BoundsAlone(bounds)) {
            Allocation::Short(short) => {
                self.look_for_releases(time.time, &plan, &short, bounds);
                Err(Refusal::Short(shortages(&short, &plan, published)))
            }
            Allocation::Grant(_) | Allocation::Unsure => Ok(plan),
        }
    }

    /// The slow path, when one shard's slices do not decide it: under all locks, units are gathered into them or the refusal is
    /// exact.
    fn reserve_from_all(
        &self,
        now: Timestamp,
        plan: &Plan<'_>,
        published: &Published,
        index: usize,
        entropy: u64,
    ) -> Result<Answer<Result<Made, Refusal>>, Again> {
        self.gathers.fetch_add(1, Ordering::Relaxed);
        let mut guards = self.lock_all();
        if guards[index].catalogue_version != published.catalogue.version() {
            return Err(Again::Catalogue);
        }
        self.serve_pools(now, pools_of(&plan.lines), &mut guards, published);
        // The lock was released in between, so the same key may have arrived: everything is judged again.
        let totals = Totals::of(plan, &guards);
        let judgement = guards[index]
            .shard
            .judge(now, &plan.request, Ok(plan), |_, plan| allocate(plan, &AllShards(|pool| totals.available(pool))));
        match &judgement {
            Judgement::Outdated => return Err(Again::At(guards[index].shard.now())),
            Judgement::Known(id) if guards[index].shard.overdue_group(now, *id).is_some() => {
                drop(guards);
                self.fail_group_of(now, *id);
                return Err(Again::Group);
            }
            Judgement::Short(_) => {
                self.tighten_short(&plan.lines, &totals, &guards, published, None);
            }
            Judgement::Grant(grant) => {
                // What is too small for this is likely to be asked again: then nobody needs all locks for it.
                self.tighten_short(&plan.lines, &totals, &guards, published, Some(grant));
                let portions = grant.portions.iter().map(|portion| (portion.pool, portion.units));
                self.gather(&mut guards, portions, |pool| totals.available(pool), index);
            }
            Judgement::Known(_)
            | Judgement::Refused(_)
            | Judgement::LimitExceeded(_)
            | Judgement::BudgetExceeded(_)
            | Judgement::Unsure => {}
        }
        let cell = &mut guards[index];
        Ok(self.conclude(now, judgement, Some(plan), published, index, cell, entropy))
    }

    /// Under all locks: makes the bounds exact of pools that lack units for these lines. `grant`: what they get nevertheless.
    pub(super) fn tighten_short<'a>(
        &self,
        lines: impl IntoIterator<Item = &'a PlanLine>,
        totals: &Totals,
        guards: &Guards<'_>,
        published: &Published,
        grant: Option<&Grant>,
    ) {
        let mut pools: SmallVec<[PoolNumber; 4]> = SmallVec::new();
        for line in lines {
            let mut missing = u64::from(line.units);
            let is_short = grant.is_none_or(|grant| grant.short.iter().any(|short| short.item == line.item));
            for source in &line.sources {
                let available = totals.available(source.pool);
                if available >= missing && !is_short {
                    break;
                }
                missing = missing.saturating_sub(available);
                pools.push(source.pool);
            }
        }
        self.tighten(pools, totals, guards, published);
    }

    /// Under all locks: makes the bounds of these pools exact.
    pub(super) fn tighten(
        &self,
        pools: impl IntoIterator<Item = PoolNumber>,
        totals: &Totals,
        guards: &Guards<'_>,
        published: &Published,
    ) {
        let now = guards.iter().map(|cell| cell.shard.now()).max().unwrap_or_default();
        let mut tightened: BTreeMap<PoolNumber, Option<Timestamp>> = BTreeMap::new();
        for pool in pools {
            let bound = &published.bounds[pool.index()];
            bound.tighten(totals.available(pool), totals.held(pool));
            if !bound.knows_release(now) {
                tightened.insert(pool, None);
            }
        }
        if tightened.is_empty() {
            return;
        }
        for cell in guards {
            cell.shard.earliest_ends(now, &mut tightened, ENDS_UNDER_ALL_LOCKS);
        }
        for (pool, release) in tightened {
            published.bounds[pool.index()].note_release(now, release);
        }
    }

    /// Moves units to a shard that is about to give them away.
    pub(super) fn gather(
        &self,
        guards: &mut Guards<'_>,
        portions: impl IntoIterator<Item = (PoolNumber, u32)>,
        total: impl Fn(PoolNumber) -> u64,
        index: usize,
    ) {
        for (pool, units) in portions {
            if guards[index].shard.slice(pool).available < i64::from(units) {
                self.set_available(guards, pool, total(pool), index, units.into());
            }
        }
    }

    /// Carries out a judgement, under the lock that it was made under.
    #[expect(clippy::too_many_arguments, reason = "everything that the judgement rests on")]
    pub(super) fn conclude(
        &self,
        now: Timestamp,
        judgement: Judgement,
        plan: Option<&Plan<'_>>,
        published: &Published,
        index: usize,
        cell: &mut Cell,
        entropy: u64,
    ) -> Answer<Result<Made, Refusal>> {
        let Published { catalogue, bounds, .. } = published;
        let value = match judgement {
            Judgement::Grant(grant) => {
                let plan = plan.expect("only a plan is granted");
                let reservation =
                    self.decide(index, bounds, cell, |shard, record| shard.hold(plan, grant, entropy, record));
                Ok(Made { reservation, replayed_of: None })
            }
            Judgement::Known(id) => {
                let Replay { first, stands } =
                    self.decide(index, bounds, cell, |shard, record| shard.replay(now, id, record));
                Ok(Made { reservation: first, replayed_of: Some(stands) })
            }
            Judgement::LimitExceeded(exceeded) => Err(limit_exceeded(exceeded, catalogue)),
            Judgement::BudgetExceeded(exceeded) => Err(budget_exceeded(exceeded)),
            Judgement::Refused(Refusal::IdempotencyKeyReused) => Err(Refusal::IdempotencyKeyReused),
            // These show no customer's state.
            Judgement::Refused(refusal) => return self.judged(Err(refusal)),
            Judgement::Short(short) => {
                let plan = plan.expect("only a plan is short of stock");
                return self.judged(Err(Refusal::Short(shortages(&short, plan, published))));
            }
            Judgement::Outdated => unreachable!("it is planned again"),
            Judgement::Unsure => unreachable!("all shards together know everything"),
        };
        self.answer(value, &cell.lane)
    }

    /// What would come of a reserve, without any effect: the lines that it would get and when its hold would end. A key is not
    /// looked up.
    pub fn try_out(&self, now: Timestamp, asked: &Reserve<'_>) -> Answer<Result<Tried, Refusal>> {
        let mut not_before = Timestamp::default();
        loop {
            let published = self.published.load_full();
            let sale = match published.catalogue.sale(asked.sale) {
                Ok(sale) => sale,
                Err(refusal) => return self.judged(Err(refusal)),
            };
            let request = Request { key: None, ..request_of(sale, asked) };
            let index = request.bucket.shard(self.cells.len());
            let plan = match self.plan(now, not_before, asked, sale, request, &published, index) {
                Ok(plan) => plan,
                Err(refusal) => return self.judged(Err(refusal)),
            };
            let mut guards = self.lock_all();
            if guards[index].catalogue_version != published.catalogue.version() {
                continue;
            }
            let joins = plan.group.is_some().then(|| self.try_group(now, &plan, &mut guards, index)).transpose();
            self.serve_pools(now, pools_of(&plan.lines), &mut guards, &published);
            let totals = Totals::of(&plan, &guards);
            let judgement = guards[index].shard.judge(now, &request, joins.as_ref().map(|_| &plan), |_, plan| {
                allocate(plan, &AllShards(|pool| totals.available(pool)))
            });
            let value = match judgement {
                Judgement::Outdated => {
                    not_before = guards[index].shard.now();
                    continue;
                }
                Judgement::Grant(grant) => {
                    let time = guards[index].shard.now();
                    let in_group = joins.ok().flatten().map(|joined| groups::expires_at(&joined, time, &plan));
                    let expires_at = in_group.unwrap_or_else(|| time.plus_seconds(plan.hold_seconds.into()));
                    Ok(Tried { grant, expires_at })
                }
                Judgement::Short(short) => {
                    self.tighten_short(&plan.lines, &totals, &guards, &published, None);
                    Err(Refusal::Short(shortages(&short, &plan, &published)))
                }
                Judgement::LimitExceeded(exceeded) => Err(limit_exceeded(exceeded, &published.catalogue)),
                Judgement::BudgetExceeded(exceeded) => Err(budget_exceeded(exceeded)),
                Judgement::Refused(refusal) => Err(refusal),
                Judgement::Known(_) | Judgement::Unsure => unreachable!("it has no key, and everything is known"),
            };
            let answer = self.answer(value, &guards[index].lane);
            return match &plan.group {
                // It rests on other members, too.
                Some(_) => Answer { durable_at: answer.durable_at.max(groups::newest(&guards)), ..answer },
                None => answer,
            };
        }
    }

    /// Finds out when the first holds of pools that a refusal names end, unless that is known: at most once a millisecond, so
    /// that refusals cost the same whatever else is held.
    fn look_for_releases(&self, now: Timestamp, plan: &Plan<'_>, short: &Shortages, bounds: &Bounds) {
        let lines = plan.lines.iter().filter(|line| short.iter().any(|short| short.item == line.item));
        let pools = lines.flat_map(|line| &line.sources).map(|source| source.pool);
        let is_wanted = |pool: &PoolNumber| {
            let bound = &bounds[pool.index()];
            bound.held() > 0 && !bound.knows_release(now)
        };
        let mut wanted: BTreeMap<PoolNumber, Option<Timestamp>> = BTreeMap::new();
        pools.filter(is_wanted).for_each(|pool| _ = wanted.insert(pool, None));
        if wanted.is_empty() {
            return;
        }
        let last = self.looked_at.load(Ordering::Relaxed);
        let is_turn = last != now.millis()
            && self.looked_at.compare_exchange(last, now.millis(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !is_turn {
            // With the next look; a long queue means that others look for the same.
            if self.to_look_for.len() < LOOKS_QUEUED_MAX {
                wanted.keys().for_each(|&pool| self.to_look_for.push(pool));
            }
            return;
        }
        while wanted.len() < POOLS_PER_LOOK
            && let Some(pool) = self.to_look_for.pop()
        {
            if pool.index() < bounds.len() && is_wanted(&pool) {
                wanted.insert(pool, None);
            }
        }
        for slot in &self.cells {
            let mut from = Some(now);
            for _ in 0..LOOKS_PER_SHARD {
                let Some(at) = from else { break };
                from = slot.cell.lock().shard.earliest_ends(at, &mut wanted, ENDS_PER_LOCK);
            }
        }
        for (pool, release) in wanted {
            bounds[pool.index()].note_release(now, release);
        }
    }

    /// Why no new units are taken at all.
    pub(super) fn refuse_if_asked_to(&self) -> Result<(), Refusal> {
        match self.refusing.load(Ordering::Relaxed) {
            0 => Ok(()),
            reasons if reasons & DISK_LOW != 0 => Err(Refusal::DiskLow),
            _ => Err(Refusal::BacklogFull),
        }
    }

    /// Limits of the whole service. Read without a lock: requests that meet at a limit may pass it by their number.
    pub(super) fn refuse_if_full(&self, index: usize, customer: &str) -> Result<(), Refusal> {
        self.refuse_if_asked_to()?;
        if self.cells[index].lane_full.load(Ordering::Relaxed) {
            return Err(Refusal::Full("journal.lane_bytes_max"));
        }
        // Far from the limits nothing is summed up; the tick looks how far.
        if !self.near_full.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Settings { reservations_max, customers_max, memory_bytes_max, .. } = self.settings;
        if self.reservations() >= reservations_max {
            return Err(Refusal::Full("limits.reservations_max"));
        }
        if self.memory_bytes() >= memory_bytes_max {
            return Err(Refusal::Full("limits.memory_bytes_max"));
        }
        if self.customers() >= customers_max && !self.cells[index].cell.lock().shard.knows(customer) {
            return Err(Refusal::Full("limits.customers_max"));
        }
        Ok(())
    }

    /// Whether a limit of the whole service, or of this shard, is reached or so near that each reserve must look.
    pub(super) fn is_near_full(&self, index: usize) -> bool {
        self.refusing.load(Ordering::Relaxed) != 0
            || self.cells[index].lane_full.load(Ordering::Relaxed)
            || self.near_full.load(Ordering::Relaxed)
    }

    /// Finds out whether the limits of memory are so near that each reserve must look.
    pub(super) fn measure_fullness(&self) {
        let Settings { reservations_max, customers_max, memory_bytes_max, .. } = self.settings;
        let near = self.reservations() + NEAR_FULL >= reservations_max
            || self.customers() + NEAR_FULL >= customers_max
            || self.memory_bytes() + NEAR_FULL_BYTES >= memory_bytes_max;
        self.near_full.store(near, Ordering::Relaxed);
    }

    /// Reservations in memory over all shards, each shard as of its last change.
    pub fn reservations(&self) -> u64 {
        self.cells.iter().map(|slot| slot.reservations.load(Ordering::Relaxed)).sum()
    }

    /// Customers in memory over all shards, each shard as of its last change.
    pub fn customers(&self) -> u64 {
        self.cells.iter().map(|slot| slot.customers.load(Ordering::Relaxed)).sum()
    }

    /// Bytes that reservations and customers take in memory, each shard as of its last change.
    pub fn memory_bytes(&self) -> u64 {
        self.cells.iter().map(|slot| slot.bytes.load(Ordering::Relaxed)).sum()
    }
}

/// The pools that lines may draw from.
pub(super) fn pools_of(lines: &[PlanLine]) -> impl Iterator<Item = &PoolNumber> {
    lines.iter().flat_map(|line| &line.sources).map(|source| &source.pool)
}

/// Who asks, with the key's fingerprint.
pub(super) fn request_of<'a>(sale: &Sale, asked: &Reserve<'a>) -> Request<'a> {
    Request {
        sale: sale.number,
        customer: asked.customer,
        bucket: Bucket::of(asked.customer),
        key: asked.key.map(|key| (key, asked.fingerprint())),
        reference: asked.reference,
        attributes: asked.extras.map(|extras| &extras.attributes).filter(|attributes| !attributes.is_empty()),
    }
}

fn shortages(short: &Shortages, plan: &Plan<'_>, published: &Published) -> Vec<Shortage> {
    shortages_of(short, &plan.lines, published)
}

pub(super) fn shortages_of<'a>(
    short: &Shortages,
    lines: impl IntoIterator<Item = &'a PlanLine> + Copy,
    published: &Published,
) -> Vec<Shortage> {
    let Published { catalogue, bounds, .. } = published;
    let named = short.iter().map(|short| {
        let line = lines.into_iter().find(|line| line.item == short.item).expect("a line of the plan is short");
        let sources = line.sources.iter().map(|source| &bounds[source.pool.index()]);
        let held: u64 = sources.clone().map(|bound| bound.held()).sum();
        let releases = sources.filter(|bound| bound.held() > 0).filter_map(|bound| bound.release());
        Shortage {
            sku: catalogue.sku(short.item).into(),
            requested: short.requested.into(),
            available: short.available,
            held,
            next_release_at: releases.min(),
            waitlist: catalogue.sale_numbered(catalogue.sale_of(short.item)).settings.waitlist.is_some(),
        }
    });
    named.collect()
}

fn budget_exceeded(exceeded: BudgetExceeded) -> Refusal {
    match exceeded {
        BudgetExceeded::Open { limit, open } => Refusal::TooManyHolds { limit, open },
        BudgetExceeded::Expired { limit, expired, retry_after_seconds } => {
            Refusal::CoolingDown { limit, expired, retry_after_seconds }
        }
    }
}

pub(super) fn limit_exceeded(LimitExceeded { item, limit, already }: LimitExceeded, catalogue: &Catalogue) -> Refusal {
    Refusal::CustomerLimitExceeded { sku: catalogue.sku(item).into(), limit, already }
}

/// Units of a plan's pools over all shards, at one instant.
pub(super) struct Totals(SmallVec<[(PoolNumber, u64, u64); 4]>);

impl Totals {
    pub(super) fn of(plan: &Plan<'_>, guards: &Guards<'_>) -> Self {
        Self::of_pools(plan.lines.iter().flat_map(|line| &line.sources).map(|source| source.pool), guards)
    }

    pub(super) fn of_pools(pools: impl Iterator<Item = PoolNumber>, guards: &Guards<'_>) -> Self {
        let sum = |pool| {
            let shards = guards.iter().map(|cell| &cell.shard);
            let held = shards.clone().map(|shard| shard.slice(pool).held).sum();
            (pool, total_open(shards, pool), held)
        };
        Self(pools.map(sum).collect())
    }

    fn of_pool(&self, pool: PoolNumber) -> (u64, u64) {
        let known = self.0.iter().find(|known| known.0 == pool).expect("every source is summed");
        (known.1, known.2)
    }

    pub(super) fn available(&self, pool: PoolNumber) -> u64 {
        self.of_pool(pool).0
    }

    fn held(&self, pool: PoolNumber) -> u64 {
        self.of_pool(pool).1
    }
}
