//! Customers' commands: reserve, extend, confirm, release, look.

use std::sync::atomic::Ordering;

use super::{Answer, Bounds, Cell, DISK_LOW, Engine, Published, Recorder, Settings, stock};
use crate::sale::{
    catalogue::{Catalogue, Plan},
    command::Reserve,
    decide::{LimitExceeded, Reserved},
    ids::{Bucket, ItemNumber, ReservationId, SaleNumber},
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
        let fingerprint = if asked.key.is_some() { asked.fingerprint() } else { 0 };
        loop {
            let published = self.published.load();
            if let Some(answer) = self.try_reserve(now, asked, fingerprint, entropy, &published) {
                return answer;
            }
        }
    }

    /// None when the catalogue changed meanwhile.
    fn try_reserve(
        &self,
        now: Timestamp,
        asked: &Reserve<'_>,
        fingerprint: u64,
        entropy: u64,
        published: &Published,
    ) -> Option<Answer<Result<Made, Refusal>>> {
        let Published { catalogue, bounds, dial } = published;
        let sale = match catalogue.sale(asked.sale) {
            Ok(sale) => sale,
            Err(refusal) => return Some(self.judged(Err(refusal))),
        };
        let index = Bucket::of(asked.customer).shard(self.cells.len());
        let judge = |knows: &dyn Fn() -> bool| -> Result<Plan<'_>, Refusal> {
            self.refuse_if_full(index, knows)?;
            let plan = catalogue.plan(dial.now(now), sale, asked, fingerprint)?;
            self.refuse_by_bounds(&plan, published)?;
            Ok(plan)
        };
        let mut judged = None;
        if asked.key.is_none() {
            match judge(&|| self.cells[index].cell.lock().shard.knows(asked.customer)) {
                Ok(plan) => judged = Some(plan),
                Err(refusal) => return Some(self.judged(Err(refusal))),
            }
        }

        let mut cell = self.cells[index].cell.lock();
        if cell.catalogue_version != catalogue.version() {
            return None;
        }
        if let Some(key) = asked.key
            && let Some(made) =
                self.replay(now, index, bounds, &mut cell, (sale.number, asked.customer, (key, fingerprint)))
        {
            return Some(self.answer(made, &cell.lane));
        }
        let plan = match judged.map_or_else(|| judge(&|| cell.shard.knows(asked.customer)), Ok) {
            Ok(plan) => plan,
            Err(refusal) => return Some(self.judged(Err(refusal))),
        };
        cell.shard.expect_next(&plan, entropy);
        let reserved =
            self.decide(index, bounds, &mut cell, |shard, record| shard.reserve(now, &plan, entropy, record));
        if let Reserved::SliceShort = reserved {
            drop(cell);
            return self.reserve_from_all(now, &plan, entropy, published, index);
        }
        Some(self.answer(conclude(reserved, catalogue), &cell.lane))
    }

    /// The first answer again, where the key is known. `key`: with the fingerprint of its request.
    pub(super) fn replay(
        &self,
        now: Timestamp,
        index: usize,
        bounds: &Bounds,
        cell: &mut Cell,
        (sale, customer, key): (SaleNumber, &str, (&str, u64)),
    ) -> Option<Result<Made, Refusal>> {
        let id = match cell.shard.known(sale, customer, key)? {
            Ok(id) => id,
            Err(refusal) => return Some(Err(refusal)),
        };
        let Replay { first, stands } = self.decide(index, bounds, cell, |shard, record| shard.replay(now, id, record));
        Some(Ok(Made { reservation: first, replayed_of: Some(stands) }))
    }

    /// The slow path, when the shard's slices cannot serve: under all locks, units are gathered into them or the
    /// refusal is exact.
    fn reserve_from_all(
        &self,
        now: Timestamp,
        plan: &Plan<'_>,
        entropy: u64,
        published: &Published,
        index: usize,
    ) -> Option<Answer<Result<Made, Refusal>>> {
        let Published { catalogue, bounds, .. } = published;
        self.gathers.fetch_add(1, Ordering::Relaxed);
        let mut guards = self.lock_all();
        if guards[index].catalogue_version != catalogue.version() {
            return None;
        }
        // The lock was released in between, so the same key may have arrived.
        if let Some(key) = plan.key
            && let Some(made) = self.replay(now, index, bounds, &mut guards[index], (plan.sale, plan.customer, key))
        {
            return Some(self.answer(made, &guards[index].lane));
        }
        let available = |item| stock::total_available(guards.iter().map(|cell| &cell.shard), item);
        let short = shortages(plan, catalogue, available);
        if !short.is_empty() {
            for line in &plan.lines {
                bounds[line.line.item.index()].tighten(available(line.line.item));
            }
            return Some(self.judged(Err(Refusal::Short(short))));
        }
        if let Err(exceeded) = guards[index].shard.check_limits(plan) {
            return Some(self.answer(conclude(Reserved::LimitExceeded(exceeded), catalogue), &guards[index].lane));
        }
        for line in &plan.lines {
            let (item, units) = (line.line.item, u64::from(line.line.units));
            if guards[index].shard.slice(item).available < i64::from(line.line.units) {
                let total = stock::total_available(guards.iter().map(|cell| &cell.shard), item);
                self.set_available(&mut guards, item, total, index, units);
            }
        }
        let cell = &mut *guards[index];
        let reserved = self.decide(index, bounds, cell, |shard, record| shard.reserve(now, plan, entropy, record));
        assert!(!matches!(reserved, Reserved::SliceShort), "stock that was gathered serves its request");
        Some(self.answer(conclude(reserved, catalogue), &cell.lane))
    }

    /// Refuses without a lock if every line's availability is known exactly and only one line is short. Two bounds are not read
    /// at one instant, so two short lines are decided under all locks.
    fn refuse_by_bounds(&self, plan: &Plan<'_>, published: &Published) -> Result<(), Refusal> {
        let bound = |item: ItemNumber| published.bounds[item.index()].get();
        let mut any_short = false;
        for line in &plan.lines {
            let Some(available) = bound(line.line.item) else { return Ok(()) };
            any_short |= available < u64::from(line.line.units);
        }
        if !any_short {
            return Ok(());
        }
        // Read again: a short line's units may have come back, and the refusal shows only lines that are short now.
        let short = shortages(plan, &published.catalogue, |item| bound(item).unwrap_or(u64::MAX));
        if short.len() == 1 { Err(Refusal::Short(short)) } else { Ok(()) }
    }

    /// Limits of the whole service. Read without a lock: requests that meet at a limit may pass it by their number.
    /// `knows`: whether the customer is in memory; it may take the shard's lock where that is not held.
    fn refuse_if_full(&self, index: usize, knows: &dyn Fn() -> bool) -> Result<(), Refusal> {
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
        if self.customers() >= customers_max && !knows() {
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

pub(super) fn conclude(reserved: Reserved, catalogue: &Catalogue) -> Result<Made, Refusal> {
    match reserved {
        Reserved::Held(reservation) => Ok(Made { reservation, replayed_of: None }),
        Reserved::LimitExceeded(LimitExceeded { item, limit, already }) => {
            Err(Refusal::CustomerLimitExceeded { sku: catalogue.sku(item).into(), limit, already })
        }
        Reserved::SaleEnded => Err(Refusal::SaleEnded),
        Reserved::SliceShort => unreachable!("a short slice goes the slow path"),
    }
}

fn shortages(plan: &Plan<'_>, catalogue: &Catalogue, available: impl Fn(ItemNumber) -> u64) -> Vec<Shortage> {
    let lines = plan.lines.iter().map(|line| (line.line, available(line.line.item)));
    let short = lines.filter(|&(line, available)| available < u64::from(line.units));
    short
        .map(|(line, available)| Shortage {
            sku: catalogue.sku(line.item).into(),
            requested: line.units.into(),
            available,
        })
        .collect()
}
