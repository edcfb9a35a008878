//! Decides reserves of one sale that came together, shard by shard instead of one by one.
//!
//! A decision takes less time than fetching the shard's memory from the core that changed it last. So each shard is visited
//! once for all its reserves, and their look-ups are prefetched while others are decided.
//!
//! Invariant: without other concurrent requests, each outcome equals that of deciding all reserves one by one in order. A shard
//! decides its own in that order, which is the only order that customers and keys can observe. It decides them only if its
//! slices alone have the units that all of these reserves together ask for, so none is refused because of another. The first
//! reserve that is not so simple is left for its turn, and so are those after it in its shard.

use std::{collections::HashMap, ops::Range, sync::Arc};

use foldhash::fast::RandomState;

use super::{Answer, Engine, Made, Published, reserve::conclude};
use crate::sale::{
    catalogue::Plan,
    command::Reserve,
    ids::{Bucket, ItemNumber},
    outcome::Refusal,
    time::Timestamp,
};

/// Reserves in order: first push all, then visit shards, then read all outcomes.
pub struct Together<'e, 'a> {
    engine: &'e Engine,
    published: Arc<Published>,
    reserves: Vec<Foreseen<'a>>,
    /// Units that all of them ask.
    asked: HashMap<ItemNumber, u64, RandomState>,
    /// Shards and places in `reserves`; in order once visits have begun.
    visits: Vec<(u32, u32)>,
    visited: usize,
    told: usize,
}

enum Foreseen<'a> {
    Planned(Plan<'a>, u64),
    Decided(Answer<Result<Made, Refusal>>),
    /// To be asked in its turn.
    Left,
}

impl Engine {
    /// Room for so many reserves.
    pub fn together<'a>(&self, count: usize) -> Together<'_, 'a> {
        Together {
            engine: self,
            published: self.published.load_full(),
            reserves: Vec::with_capacity(count),
            asked: HashMap::default(),
            visits: Vec::with_capacity(count),
            visited: 0,
            told: 0,
        }
    }
}

impl<'a> Together<'_, 'a> {
    /// Adds the next. `entropy`: random bits for the id.
    pub fn push(&mut self, now: Timestamp, asked: &Reserve<'a>, entropy: u64) {
        let (catalogue, now) = (&self.published.catalogue, self.published.dial.now(now));
        let fingerprint = if asked.key.is_some() { asked.fingerprint() } else { 0 };
        let plan = catalogue.sale(asked.sale).and_then(|sale| catalogue.plan(now, sale, asked, fingerprint));
        let bucket = plan.as_ref().map_or_else(|_| Bucket::of(asked.customer), |plan| plan.bucket);
        self.visits.push((bucket.shard(self.engine.cells.len()) as u32, self.reserves.len() as u32));
        let Ok(plan) = plan else { return self.reserves.push(Foreseen::Left) };
        for line in &plan.lines {
            *self.asked.entry(line.line.item).or_default() += u64::from(line.line.units);
        }
        self.reserves.push(Foreseen::Planned(plan, entropy));
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
    pub fn tell_next(&mut self) -> Option<Answer<Result<Made, Refusal>>> {
        self.told += 1;
        match std::mem::replace(&mut self.reserves[self.told - 1], Foreseen::Left) {
            Foreseen::Decided(answer) => Some(answer),
            Foreseen::Planned(..) | Foreseen::Left => None,
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
            if let Foreseen::Planned(plan, entropy) = &reserves[place as usize] {
                cell.shard.expect_soon(plan, *entropy);
            }
        }
        for &(_, place) in visits {
            let reserve = &mut reserves[place as usize];
            let Foreseen::Planned(plan, entropy) = reserve else { return false };
            let replayed = plan.key.and_then(|key| {
                engine.replay(now, shard, &published.bounds, &mut cell, (plan.sale, plan.customer, key))
            });
            let outcome = match replayed {
                Some(made) => made,
                None => {
                    let plenty =
                        |item| u64::try_from(cell.shard.slice(item).available).is_ok_and(|it| it >= asked[&item]);
                    if !plan.lines.iter().all(|line| plenty(line.line.item)) {
                        return false;
                    }
                    let reserved = engine.decide(shard, &published.bounds, &mut cell, |shard, record| {
                        shard.reserve(now, plan, *entropy, record)
                    });
                    conclude(reserved, &published.catalogue)
                }
            };
            *reserve = Foreseen::Decided(engine.answer(outcome, &cell.lane));
        }
        true
    }
}
