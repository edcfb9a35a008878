//! Callers' commands on a reservation: look, extend, change, confirm, release, cancel.
//!
//! Most are decided by the reservation's shard alone. A change that asks for more and a late confirmation need stock: if the shard's
//! slices do not decide them, they are judged again under all locks, as a reserve is.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::MutexGuard;

use super::{
    Answer, Cell, Engine, Published, Recorder, Written,
    reserve::{Totals, limit_exceeded, shortages_of},
    restock::Place,
    stock::{AllShards, OneShard},
};
use sale::{
    cancel::Cancellation,
    catalogue::Catalogue,
    change::{Hold, Judged, Target},
    command::{AskedLine, Cancel, Confirm},
    event::{Adjusted, CatalogueEvent},
    ids::{PoolNumber, ReservationId},
    judge::{Unsure, allocate_lines},
    outcome::{Extension, Refusal, Reservation},
    settings::Limits,
    shard::Shard,
    time::Timestamp,
};

/// A cancelled reservation as it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelMade {
    pub reservation: Reservation,
    /// The key was known, so nothing changed.
    pub replayed: bool,
}

impl Engine {
    /// The reservation as it is now; a hold whose time is over is expired by looking at it.
    pub fn look(&self, now: Timestamp, id: ReservationId) -> Answer<Result<Reservation, Refusal>> {
        self.by_shard(now, id, |shard, _, record| shard.look(now, id, record))
    }

    pub fn release(
        &self,
        now: Timestamp,
        id: ReservationId,
        reason: Option<&str>,
    ) -> Answer<Result<Reservation, Refusal>> {
        let index = self.shard_of(id);
        let mut cell = self.cells[index].cell.lock();
        if cell.shard.open_group(id).is_some() {
            drop(cell);
            return self.leave_group(now, id, reason);
        }
        let published = self.published.load();
        let released =
            self.decide(index, &published.bounds, &mut cell, |shard, record| shard.release(now, id, reason, record));
        self.answer(released, &cell.lane)
    }

    pub fn extend(&self, now: Timestamp, id: ReservationId, hold_seconds: u32) -> Answer<Result<Extension, Refusal>> {
        let limits: &Limits = &self.settings.limits;
        self.by_shard(now, id, |shard, catalogue, record| {
            let most = |sale| catalogue.sale_numbered(sale).max_extensions(limits);
            shard.extend(now, id, hold_seconds, most, record)
        })
    }

    /// Confirms a hold, all of it or a part, or one that expired lately.
    pub fn confirm<'a>(
        &self,
        now: Timestamp,
        id: ReservationId,
        asked: impl Into<Confirm<'a>>,
    ) -> Answer<Result<Reservation, Refusal>> {
        let (index, asked) = (self.shard_of(id), asked.into());
        let mut cell = self.lock_shard_of(now, id);
        let published = self.published.load();
        let confirmed = self.decide(index, &published.bounds, &mut cell, |shard, record| {
            let stock = |shard: &Shard, lines: &[_]| {
                allocate_lines(lines, false, &OneShard { shard, bounds: &published.bounds })
            };
            shard.confirm(now, id, &asked, &published.catalogue, stock, record)
        });
        match confirmed {
            Ok(value) => self.answer(value.map_err(|refusal| with_held(refusal, &published)), &cell.lane),
            Err(Unsure) => {
                drop(cell);
                self.confirm_from_all(now, id, &asked)
            }
        }
    }

    /// A late confirmation under all locks: its units are gathered, as far as there are enough, and then it is judged again.
    fn confirm_from_all(
        &self,
        now: Timestamp,
        id: ReservationId,
        asked: &Confirm<'_>,
    ) -> Answer<Result<Reservation, Refusal>> {
        let index = self.shard_of(id);
        let mut guards = self.lock_all();
        let published = self.published.load();
        let pools = guards[index].shard.pools_of(id);
        self.serve_pools(now, pools.iter().map(|(pool, _)| pool), &mut guards, &published);
        let totals = Totals::of_pools(pools.iter().map(|(pool, _)| *pool), &guards);
        // As much as there is of what it had: it may ask for a part.
        let units_there = |&(pool, units): &(PoolNumber, u32)| {
            let available = totals.available(pool);
            (pool, u32::try_from(available).map_or(units, |available| available.min(units)))
        };
        self.gather(&mut guards, pools.iter().map(units_there), |pool| totals.available(pool), index);
        let lacking = pools.iter().filter(|&&(pool, units)| totals.available(pool) < u64::from(units));
        self.tighten(lacking.map(|(pool, _)| *pool), &totals, &guards, &published);
        let cell = &mut guards[index];
        let confirmed = self.decide(index, &published.bounds, cell, |shard, record| {
            let stock =
                |_: &Shard, lines: &[_]| allocate_lines(lines, false, &AllShards(|pool| totals.available(pool)));
            shard.confirm(now, id, asked, &published.catalogue, stock, record)
        });
        let value = confirmed.expect("all shards together know everything");
        self.answer(value.map_err(|refusal| with_held(refusal, &published)), &cell.lane)
    }

    /// Gives a hold other lines, in one step.
    pub fn change(
        &self,
        now: Timestamp,
        id: ReservationId,
        lines: &[AskedLine<'_>],
    ) -> Answer<Result<Reservation, Refusal>> {
        let index = self.shard_of(id);
        let mut cell = self.lock_shard_of(now, id);
        let published = self.published.load();
        let (hold, target) = match self.plan_change(now, id, lines, index, &mut cell, &published) {
            Ok(planned) => planned,
            Err(refusal) => return self.answer(Err(refusal), &cell.lane),
        };
        let judged =
            cell.shard.judge_change(&hold, &target, &OneShard { shard: &cell.shard, bounds: &published.bounds });
        if !matches!(judged, Judged::Unsure) {
            return self.conclude_change(judged, &hold, &target, index, &mut cell, &published);
        }
        drop(cell);
        let mut guards = self.lock_all();
        // The lock was released in between: everything is judged again.
        let published = self.published.load();
        let (hold, target) = match self.plan_change(now, id, lines, index, &mut guards[index], &published) {
            Ok(planned) => planned,
            Err(refusal) => return self.answer(Err(refusal), &guards[index].lane),
        };
        let growing = target.growing().flat_map(|line| &line.sources).map(|source| &source.pool);
        self.serve_pools(now, growing, &mut guards, &published);
        let pools = target.growing().flat_map(|line| &line.sources).map(|source| source.pool);
        let totals = Totals::of_pools(pools, &guards);
        let judged = guards[index].shard.judge_change(&hold, &target, &AllShards(|pool| totals.available(pool)));
        match &judged {
            Judged::Change(moved) => {
                let taken = moved.taken.iter().map(|portion| (portion.pool, portion.units));
                self.gather(&mut guards, taken, |pool| totals.available(pool), index);
            }
            Judged::Short(_) => self.tighten_short(target.growing(), &totals, &guards, &published, None),
            Judged::LimitExceeded(_) | Judged::Unsure => {}
        }
        self.conclude_change(judged, &hold, &target, index, &mut guards[index], &published)
    }

    fn plan_change(
        &self,
        now: Timestamp,
        id: ReservationId,
        lines: &[AskedLine<'_>],
        index: usize,
        cell: &mut Cell,
        published: &Published,
    ) -> Result<(Hold, Target), Refusal> {
        let hold =
            self.decide(index, &published.bounds, cell, |shard, record| shard.hold_to_change(now, id, record))?;
        let time = published.dial.now(now).not_before(cell.shard.now());
        let target = Target::plan(&published.catalogue, time, &hold, lines)?;
        if target.grows() {
            self.refuse_if_asked_to()?;
        }
        Ok((hold, target))
    }

    fn conclude_change(
        &self,
        judged: Judged,
        hold: &Hold,
        target: &Target,
        index: usize,
        cell: &mut Cell,
        published: &Published,
    ) -> Answer<Result<Reservation, Refusal>> {
        let value = match judged {
            Judged::Change(moved) => {
                Ok(self.decide(index, &published.bounds, cell, |shard, record| shard.change(hold, moved, record)))
            }
            Judged::Short(short) => {
                let lines: Vec<_> = target.growing().cloned().collect();
                Err(Refusal::Short(shortages_of(&short, &lines, published)))
            }
            Judged::LimitExceeded(exceeded) => Err(limit_exceeded(exceeded, &published.catalogue)),
            Judged::Unsure => unreachable!("all shards together know everything"),
        };
        self.answer(value, &cell.lane)
    }

    /// Cancels confirmed units, all or some.
    pub fn cancel(&self, now: Timestamp, id: ReservationId, asked: &Cancel<'_>) -> Answer<Result<CancelMade, Refusal>> {
        let made = |Cancellation { reservation, replayed, .. }| CancelMade { reservation, replayed };
        if asked.restock {
            return self
                .by_shard(now, id, |shard, catalogue, record| shard.cancel(now, id, asked, catalogue, record))
                .map(|value| value.map(made));
        }
        // The units leave the sale in the same step: they go back, and an adjustment takes them out.
        let mut control = self.control.lock();
        let at = control.advance(now);
        let index = self.shard_of(id);
        let mut guards = self.lock_all();
        let published = self.published.load_full();
        self.fail_if_overdue(now, id, &mut guards, &published.bounds);
        let cancelled = self.decide(index, &published.bounds, &mut guards[index], |shard, record| {
            shard.cancel(now, id, asked, &published.catalogue, record)
        });
        let cancelled = match cancelled {
            Ok(cancelled) => cancelled,
            Err(refusal) => return self.answer(Err(refusal), &guards[index].lane),
        };
        if !cancelled.portions.is_empty() {
            let (mut levels, mut written) = (BTreeMap::new(), Written::default());
            for portion in &cancelled.portions {
                let place = Place::of(&control.catalogue, cancelled.reservation.sale, portion);
                let change = -i64::from(portion.units);
                let adjusted = self
                    .adjusted(&control, &guards, &mut levels, at, change, &place)
                    .expect("the units are available, as they were just cancelled");
                let adjusted = Adjusted { of_reservation: Some(id), reason: asked.reason, ..adjusted };
                control.write(&CatalogueEvent::Adjusted(adjusted), &mut written);
            }
            self.append(&mut control, &mut guards, written);
            self.spread(&control, &mut guards, &levels);
        }
        // Shown when both the reservation's event and the stock's are durable: they are in one batch.
        let answer = self.answer(Ok(made(cancelled)), &guards[index].lane);
        Answer { durable_at: answer.durable_at.max(control.lane.last_epoch), ..answer }
    }

    /// Locks the reservation's shard. If the time of its group is over, the group has failed.
    pub(super) fn lock_shard_of(&self, now: Timestamp, id: ReservationId) -> MutexGuard<'_, Cell> {
        loop {
            let mut cell = self.cells[self.shard_of(id)].cell.lock();
            if cell.shard.overdue_group(now, id).is_none() {
                return cell;
            }
            drop(cell);
            self.fail_group_of(now, id);
        }
    }

    /// Runs a decision of the reservation's shard.
    pub(super) fn by_shard<T>(
        &self,
        now: Timestamp,
        id: ReservationId,
        decide: impl FnOnce(&mut Shard, &Catalogue, &mut Recorder<'_>) -> T,
    ) -> Answer<T> {
        let index = self.shard_of(id);
        let mut cell = self.lock_shard_of(now, id);
        // Loaded under the lock: the bounds then cover every item that the shard knows.
        let published = self.published.load();
        let value = self
            .decide(index, &published.bounds, &mut cell, |shard, record| decide(shard, &published.catalogue, record));
        self.answer(value, &cell.lane)
    }
}

/// Adds what bounds know of units that come back, for a late confirmation that lacks some.
fn with_held(refusal: Refusal, published: &Published) -> Refusal {
    let Refusal::ExpiredAndShort { reservation, mut short } = refusal else { return refusal };
    for line in &mut short {
        let of_item = reservation.lines.iter().filter(|of| published.catalogue.sku(of.item) == line.sku);
        // Units of one pool at several prices are several lines.
        let pools: BTreeSet<PoolNumber> = of_item.map(|of| of.pool).collect();
        let bounds = pools.iter().map(|pool| &published.bounds[pool.index()]);
        line.held = bounds.clone().map(|bound| bound.held()).sum();
        line.next_release_at = bounds.filter(|bound| bound.held() > 0).filter_map(|bound| bound.release()).min();
    }
    Refusal::ExpiredAndShort { reservation, short }
}
