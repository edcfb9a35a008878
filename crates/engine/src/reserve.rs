//! Customers' commands: reserve, extend, confirm, release, look.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::{
    Answer, CatalogueGuard, Cell, DISK_LOW, Engine, Guards, Published, Recorder, Settings,
    stock::{AllShards, BoundsAlone, OneShard, total_available},
};
use sale::{
    catalogue::{Catalogue, Sale},
    command::Reserve,
    event::PricedPortions,
    ids::{Bucket, PoolNumber, ReservationId, SaleNumber},
    judge::{Allocation, Judgement, LimitExceeded, Plan, Request, Shortages, allocate},
    outcome::{Extension, Refusal, Replay, Reservation, Shortage, Standing},
    settings::Limits,
    shard::Shard,
    time::Timestamp,
};

/// How far from a limit of memory it begins to be looked at closely: more than can come in between two ticks, even when
/// a tick is late by seconds.
const NEAR_FULL: u64 = 1_000_000;
const NEAR_FULL_BYTES: u64 = 1 << 30;

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
        loop {
            let published = &*catalogue.0;
            let found = published.catalogue.sale_numbered(sale);
            if let Some(answer) = self.try_reserve(now, asked, found, published, entropy) {
                return answer;
            }
            *catalogue = self.catalogue();
        }
    }

    /// None when the catalogue changed meanwhile.
    fn try_reserve(
        &self,
        now: Timestamp,
        asked: &Reserve<'_>,
        sale: &Sale,
        published: &Published,
        entropy: u64,
    ) -> Option<Answer<Result<Made, Refusal>>> {
        let request = request_of(sale, asked);
        let index = request.bucket.shard(self.cells.len());
        let planned = self.plan(now, asked, sale, request, published, index);
        // Only a known key could bring another answer.
        if let Err(refusal) = &planned
            && request.key.is_none()
        {
            return Some(self.judged(Err(refusal.clone())));
        }
        let mut cell = self.cells[index].cell.lock();
        if cell.catalogue_version != published.catalogue.version() {
            return None;
        }
        if let Ok(plan) = &planned {
            cell.shard.prefetch(&request, plan, entropy);
        }
        let judgement = cell.shard.judge(now, &request, planned.as_ref(), |shard, plan| {
            allocate(&plan.lines, &OneShard { shard, bounds: &published.bounds })
        });
        if let Judgement::Unsure = judgement {
            drop(cell);
            let plan = planned.as_ref().expect("only a plan is judged by stock");
            return self.reserve_from_all(now, plan, published, index, entropy);
        }
        Some(self.conclude(now, judgement, planned.as_ref().ok(), published, index, &mut cell, entropy))
    }

    /// The checks that need no shard: service limits, the sale is open, items exist, and stock as far as the bounds know it.
    fn plan<'a>(
        &self,
        now: Timestamp,
        asked: &Reserve<'a>,
        sale: &Sale,
        request: Request<'a>,
        published: &Published,
        index: usize,
    ) -> Result<Plan<'a>, Refusal> {
        let Published { catalogue, bounds, dial } = published;
        self.refuse_if_full(index, asked.customer)?;
        let plan = catalogue.plan(dial.now(now), sale, request, asked)?;
        match allocate(&plan.lines, &BoundsAlone(bounds)) {
            Allocation::Short(short) => Err(Refusal::Short(shortages(&short, catalogue))),
            Allocation::All(_) | Allocation::Unsure => Ok(plan),
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
    ) -> Option<Answer<Result<Made, Refusal>>> {
        self.gathers.fetch_add(1, Ordering::Relaxed);
        let mut guards = self.lock_all();
        if guards[index].catalogue_version != published.catalogue.version() {
            return None;
        }
        let pools = plan.lines.iter().flat_map(|line| &line.sources).map(|source| source.pool);
        let totals: SmallVec<[(PoolNumber, u64); 4]> =
            pools.map(|pool| (pool, total_available(guards.iter().map(|cell| &cell.shard), pool))).collect();
        let total = |pool| totals.iter().find(|known| known.0 == pool).expect("every source is summed").1;
        // The lock was released in between, so the same key may have arrived: everything is judged again.
        let judgement =
            guards[index].shard.judge(now, &plan.request, Ok(plan), |_, plan| allocate(&plan.lines, &AllShards(total)));
        match &judgement {
            Judgement::Short(_) => {
                totals.iter().for_each(|&(pool, total)| published.bounds[pool.index()].tighten(total));
            }
            Judgement::Grant(portions) => self.gather(&mut guards, portions, total, index),
            Judgement::Known(_)
            | Judgement::Refused(_)
            | Judgement::SaleEnded
            | Judgement::LimitExceeded(_)
            | Judgement::Unsure => {}
        }
        let cell = &mut guards[index];
        Some(self.conclude(now, judgement, Some(plan), published, index, cell, entropy))
    }

    /// Moves units to a shard that is about to give them away.
    fn gather(
        &self,
        guards: &mut Guards<'_>,
        portions: &PricedPortions,
        total: impl Fn(PoolNumber) -> u64,
        index: usize,
    ) {
        for portion in portions {
            let (pool, units) = (portion.pool, portion.units);
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
            Judgement::Grant(portions) => {
                let plan = plan.expect("only a plan is granted");
                let reservation =
                    self.decide(index, bounds, cell, |shard, record| shard.hold(plan, portions, entropy, record));
                Ok(Made { reservation, replayed_of: None })
            }
            Judgement::Known(id) => {
                let Replay { first, stands } =
                    self.decide(index, bounds, cell, |shard, record| shard.replay(now, id, record));
                Ok(Made { reservation: first, replayed_of: Some(stands) })
            }
            Judgement::LimitExceeded(LimitExceeded { item, limit, already }) => {
                Err(Refusal::CustomerLimitExceeded { sku: catalogue.sku(item).into(), limit, already })
            }
            Judgement::Refused(Refusal::IdempotencyKeyReused) => Err(Refusal::IdempotencyKeyReused),
            Judgement::SaleEnded => Err(Refusal::SaleEnded),
            // These show no customer's state.
            Judgement::Refused(refusal) => return self.judged(Err(refusal)),
            Judgement::Short(short) => return self.judged(Err(Refusal::Short(shortages(&short, catalogue)))),
            Judgement::Unsure => unreachable!("all shards together know everything"),
        };
        self.answer(value, &cell.lane)
    }

    /// Limits of the whole service. Read without a lock: requests that meet at a limit may pass it by their number.
    fn refuse_if_full(&self, index: usize, customer: &str) -> Result<(), Refusal> {
        match self.refusing.load(Ordering::Relaxed) {
            0 => {}
            reasons if reasons & DISK_LOW != 0 => return Err(Refusal::DiskLow),
            _ => return Err(Refusal::BacklogFull),
        }
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

    pub fn confirm(
        &self,
        now: Timestamp,
        id: ReservationId,
        reference: Option<&str>,
    ) -> Answer<Result<Reservation, Refusal>> {
        self.change(id, |shard, _, record| shard.confirm(now, id, reference, record))
    }

    pub fn release(
        &self,
        now: Timestamp,
        id: ReservationId,
        reason: Option<&str>,
    ) -> Answer<Result<Reservation, Refusal>> {
        self.change(id, |shard, _, record| shard.release(now, id, reason, record))
    }

    pub fn extend(&self, now: Timestamp, id: ReservationId, hold_seconds: u32) -> Answer<Result<Extension, Refusal>> {
        let limits: &Limits = &self.settings.limits;
        self.change(id, |shard, catalogue, record| {
            let most = |sale| catalogue.sale_numbered(sale).max_extensions(limits);
            shard.extend(now, id, hold_seconds, most, record)
        })
    }

    /// The reservation as it is now; a hold whose time is over is expired by looking at it.
    pub fn look(&self, now: Timestamp, id: ReservationId) -> Answer<Result<Reservation, Refusal>> {
        self.change(id, |shard, _, record| shard.look(now, id, record))
    }

    fn change<T>(
        &self,
        id: ReservationId,
        change: impl FnOnce(&mut Shard, &Catalogue, &mut Recorder<'_>) -> T,
    ) -> Answer<T> {
        let index = self.shard_of(id);
        let mut cell = self.cells[index].cell.lock();
        // Loaded under the lock: the bounds then cover every item that the shard knows.
        let published = self.published.load();
        let value = self
            .decide(index, &published.bounds, &mut cell, |shard, record| change(shard, &published.catalogue, record));
        self.answer(value, &cell.lane)
    }
}

/// Who asks, with the key's fingerprint.
pub(super) fn request_of<'a>(sale: &Sale, asked: &Reserve<'a>) -> Request<'a> {
    Request {
        sale: sale.number,
        customer: asked.customer,
        bucket: Bucket::of(asked.customer),
        key: asked.key.map(|key| (key, asked.fingerprint())),
        reference: asked.reference,
    }
}

fn shortages(short: &Shortages, catalogue: &Catalogue) -> Vec<Shortage> {
    let named = short.iter().map(|short| Shortage {
        sku: catalogue.sku(short.item).into(),
        requested: short.requested.into(),
        available: short.available,
    });
    named.collect()
}
