//! Decides reserves of one sale that came together, shard by shard instead of one by one.
//!
//! A decision takes less time than fetching the shard's memory from the core that changed it last. So each shard is visited
//! once for all its reserves, and their look-ups are prefetched while others are decided.
//!
//! Invariant: without other concurrent requests, each outcome equals that of deciding all reserves one by one in order. A shard
//! decides its own in that order, which is the only order that customers and keys can observe. It decides them only if its
//! slices alone have the units that all of these reserves together ask for, so none is refused because of another. The first
//! reserve that is not so simple is deferred, and so are those after it in its shard.

use std::{collections::HashMap, ops::Range, sync::Arc};

use foldhash::fast::RandomState;

use super::{Answer, Bounds, Engine, Made, Published, reserve::request_of, stock::open_here};
use sale::{
    command::Reserve,
    ids::{Bucket, PoolNumber},
    judge::{Judgement, Plan, Reading, Stock, allocate},
    outcome::Refusal,
    shard::Shard,
    time::Timestamp,
};

/// Reserves in order: first push all, then visit shards, then read all outcomes.
pub struct Bulk<'e, 'a> {
    engine: &'e Engine,
    published: Arc<Published>,
    reserves: Vec<Progress<'a>>,
    /// Units that all of them may take, by pool.
    asked: HashMap<PoolNumber, u64, RandomState>,
    /// Shards and places in `reserves`; in order once visits have begun.
    visits: Vec<(u32, u32)>,
    visited: usize,
    returned: usize,
}

enum Progress<'a> {
    Planned(Plan<'a>, u64),
    Decided(Answer<Result<Made, Refusal>>),
    /// To be asked in its turn.
    Deferred,
}

impl Engine {
    /// Room for so many reserves.
    pub fn bulk<'a>(&self, count: usize) -> Bulk<'_, 'a> {
        Bulk {
            engine: self,
            published: self.published.load_full(),
            reserves: Vec::with_capacity(count),
            asked: HashMap::default(),
            visits: Vec::with_capacity(count),
            visited: 0,
            returned: 0,
        }
    }
}

impl<'a> Bulk<'_, 'a> {
    /// Adds the next. `entropy`: random bits for the id.
    pub fn push(&mut self, now: Timestamp, asked: &Reserve<'a>, entropy: u64) {
        let (catalogue, now) = (&self.published.catalogue, self.published.dial.now(now));
        let sale = catalogue.sale(asked.sale);
        let plan = sale.and_then(|sale| catalogue.plan(now, sale, request_of(sale, asked), asked));
        let bucket = plan.as_ref().map_or_else(|_| Bucket::of(asked.customer), |plan| plan.request.bucket);
        self.visits.push((bucket.shard(self.engine.cells.len()) as u32, self.reserves.len() as u32));
        let Ok(plan) = plan else { return self.reserves.push(Progress::Deferred) };
        for line in &plan.lines {
            for source in &line.sources {
                *self.asked.entry(source.pool).or_default() += u64::from(line.units);
            }
        }
        // A group's members are of several shards.
        let progress = if plan.group.is_some() { Progress::Deferred } else { Progress::Planned(plan, entropy) };
        self.reserves.push(progress);
    }

    /// Visits the next shards, as many as have about `most` of the reserves; whether more are to be visited.
    pub fn decide_some(&mut self, now: Timestamp, most: usize) -> bool {
        if self.visited == 0 {
            self.visits.sort_unstable();
        }
        let stop = self.visited + most;
        while self.visited < stop
            && let Some(&(shard, _)) = self.visits.get(self.visited)
        {
            let rest = &self.visits[self.visited..];
            let own = rest.partition_point(|visit| visit.0 == shard);
            let places = self.visited..self.visited + own.min(most);
            let all = self.visit(now, shard as usize, places.clone());
            // What was left keeps the others of its shard back.
            self.visited += if all { places.len() } else { own };
        }
        self.visited < self.visits.len()
    }

    /// The outcome of the next reserve in their order; None: it is to be asked now, all before it having been.
    pub fn next_outcome(&mut self) -> Option<Answer<Result<Made, Refusal>>> {
        self.returned += 1;
        match std::mem::replace(&mut self.reserves[self.returned - 1], Progress::Deferred) {
            Progress::Decided(answer) => Some(answer),
            Progress::Planned(..) | Progress::Deferred => None,
        }
    }

    /// Decides these in one shard; whether it got to the end.
    fn visit(&mut self, now: Timestamp, shard: usize, visits: Range<usize>) -> bool {
        let Self { engine, published, reserves, asked, .. } = self;
        let visits = &self.visits[visits];
        if engine.is_near_full(shard) {
            return false;
        }
        let mut cell = engine.cells[shard].cell.lock();
        if cell.catalogue_version != published.catalogue.version() {
            return false;
        }
        for &(_, place) in visits {
            if let Progress::Planned(plan, entropy) = &reserves[place as usize] {
                cell.shard.prefetch_lookups(&plan.request, *entropy);
            }
        }
        for &(_, place) in visits {
            let reserve = &mut reserves[place as usize];
            let Progress::Planned(plan, entropy) = reserve else { return false };
            let judgement = cell.shard.judge(now, &plan.request, Ok(plan), |shard, plan| {
                allocate(plan, &Plenty { shard, asked, bounds: &published.bounds })
            });
            let mut overdue = |id| cell.shard.overdue_group(now, id).is_some();
            let is_simple = match judgement {
                Judgement::Unsure | Judgement::Short(_) | Judgement::Outdated => false,
                Judgement::Known(id) => !overdue(id),
                Judgement::Refused(_)
                | Judgement::LimitExceeded(_)
                | Judgement::BudgetExceeded(_)
                | Judgement::Grant(_) => true,
            };
            if !is_simple {
                return false;
            }
            let answer = engine.conclude(now, judgement, Some(plan), published, shard, &mut cell, *entropy);
            *reserve = Progress::Decided(answer);
        }
        true
    }
}

/// What one shard has of pools from which it can serve all reserves of the list.
struct Plenty<'a> {
    shard: &'a Shard,
    asked: &'a HashMap<PoolNumber, u64, RandomState>,
    bounds: &'a Bounds,
}

impl Stock for Plenty<'_> {
    const ONE_INSTANT: bool = false;

    fn here(&self, pool: PoolNumber) -> u64 {
        let here = open_here(self.shard, self.bounds, pool);
        if here >= self.asked[&pool] { here } else { 0 }
    }

    /// A pool that is empty stays so for the whole list: nothing in it gives units back, but for holds whose time is over, and
    /// these end at any time.
    fn everywhere(&self, pool: PoolNumber) -> Option<Reading> {
        self.bounds[pool.index()].get().filter(|reading| reading.units == 0)
    }

    fn is_still(&self, pool: PoolNumber, reading: Reading) -> bool {
        self.bounds[pool.index()].is_still(reading)
    }
}
