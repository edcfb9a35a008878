//! Operators' commands: put, pause, resume and close sales, adjust stock, change keys.
//!
//! Invariants: a change of the catalogue is decided under the control lock and published under all locks, so the catalogue
//! before a reserve in the journal is the one that decided it. Work that grows with the number of items is done before the
//! shards' locks are taken, and for a sale document before the control lock, so requests wait only for a change of a few
//! pointers. No answer rests on a change that is not durable: each decision reads `operator_epoch` afterwards, and its answer
//! waits for it. Each change has its audit record, written under the same hold of the control lock, so a cut takes both or
//! neither. A command that changes nothing, refused or repeated, has no record.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use crossbeam::utils::CachePadded;
use smallvec::SmallVec;

use super::{Answer, Bound, Control, Engine, Guards, Published, Written, reserve::ENDS_UNDER_ALL_LOCKS, stock};
use sale::{
    adjustments::{Remembered, RememberedTransfer},
    audit::{self, Action, Actor, Head, KeyFacts, NewRecord},
    catalogue::{Catalogue, Item, Put, Sale},
    command::{Adjust, AdjustAll, Transfer},
    event::{
        Adjusted, CatalogueEvent, OpenedPool, PoolLevels, SaleDefined, Transferred,
        record::{self, Numbers},
    },
    expected::{Expected, Tag},
    ids::{ItemNumber, PoolNumber, SaleNumber},
    outcome::{Refusal, Shortage},
    settings::{Invalid, SaleSettings},
    time::Timestamp,
};

/// An adjustment as it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    pub made: Remembered,
    /// The key was known: this is the first answer again.
    pub replayed: bool,
}

/// One of several adjustments that were made together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustmentOf {
    pub item: ItemNumber,
    pub adjustment: Adjustment,
}

/// A transfer as it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferMade {
    pub item: ItemNumber,
    pub made: RememberedTransfer,
    /// The key was known: this is the first answer again.
    pub replayed: bool,
}

impl Engine {
    /// Creates the sale or replaces its settings. The stored settings say since when units count towards limits, whatever the
    /// document says. Takes long for a sale with many items, and meanwhile blocks only other puts of documents.
    pub fn put_sale(
        &self,
        now: Timestamp,
        by: Actor<'_>,
        settings: &SaleSettings,
    ) -> Answer<Result<(Put, Arc<Sale>), Refusal>> {
        self.put_sale_if(now, by, &Expected::default(), settings)
    }

    /// As `put_sale`, if the sale is as the caller expects. Whether it is and the change are one step.
    pub fn put_sale_if(
        &self,
        now: Timestamp,
        by: Actor<'_>,
        expected: &Expected,
        settings: &SaleSettings,
    ) -> Answer<Result<(Put, Arc<Sale>), Refusal>> {
        // Only documents add sales and items and change what an item is: as judged now it stays until this one is in force.
        let _documents = self.documents.lock();
        let published = self.published.load_full();
        let present = published.catalogue.sale(&settings.id).ok().map(|sale| sale.tag());
        if !expected.is_met(present) {
            return self.judged(Err(Refusal::PreconditionFailed { present }));
        }
        let (put, number, numbers) = match published.catalogue.judge_put(settings, &self.settings.limits) {
            Ok(judged) => judged,
            Err(refusal) => return self.judged(Err(refusal)),
        };
        if published.catalogue.sales().len() <= number.index() && number.index() >= self.settings.sales_max {
            return self.judged(Err(Refusal::Full("limits.sales_max")));
        }
        if numbers.iter().any(|numbers: &Numbers| numbers.item.index() >= self.settings.items_max) {
            return self.judged(Err(Refusal::Full("limits.items_max")));
        }
        let pools_max = self.settings.pools_max;
        if numbers.iter().flat_map(|numbers| &numbers.pools).any(|pool| pool.index() >= pools_max) {
            return self.judged(Err(Refusal::Full("limits.pools_max")));
        }
        let at = published.dial.now(now).time;
        let settings = &published.catalogue.with_counts(at, settings, self.settings.retention_millis);
        let record = record::encode(settings, &numbers);
        let before = published.catalogue.sale(&settings.id).ok().map(|sale| &*sale.settings);
        let detail = audit::of_put(before, settings);
        let entry = NewRecord { by, action: Action::SalePut, sale: Some(&settings.id), sku: None, detail };
        let definition = published.catalogue.prepare(number, &numbers, settings.clone(), Tag::of(&record));
        let opened = published.catalogue.opened_by(&definition);
        self.stock_up(&opened);
        drop(published);

        // Freed last, when no lock is held: it has as many items.
        let _superseded;
        let mut control = self.control.lock();
        let now = control.advance(now);
        if control.catalogue.sale(&settings.id).is_ok_and(|sale| sale.is_closed()) {
            return self.judged(Err(Refusal::SaleEnded));
        }
        let mut written = Written::default();
        let defined = SaleDefined { sale: number, at: now, opened, record: &record };
        control.write(&CatalogueEvent::SaleDefined(defined), &mut written);
        control.catalogue.define(definition, now);
        // Its times may say that it is open already: in the same batch, as the control lock is held.
        let defined = control.catalogue.sale_numbered(number).clone();
        let mut events = defined.changes_by_clock(now);
        events.push(control.trail.record(now, &entry));
        _superseded = self.publish_behind(written, &mut control, &events);
        self.reschedule(&mut control, number);
        let sale = control.catalogue.sale_numbered(number).clone();
        self.answer(Ok((put, sale)), &control.lane)
    }

    /// The sale as the next change finds it.
    pub fn sale_to_change(&self, id: &str) -> Answer<Result<Arc<Sale>, Refusal>> {
        self.judged(self.published.load().catalogue.sale(id).cloned())
    }

    pub fn pause(&self, now: Timestamp, by: Actor<'_>, sale: &str) -> Answer<Result<(), Refusal>> {
        self.change_status(now, by, Action::SalePause, sale)
    }

    pub fn resume(&self, now: Timestamp, by: Actor<'_>, sale: &str) -> Answer<Result<(), Refusal>> {
        self.change_status(now, by, Action::SaleResume, sale)
    }

    /// Closes the sale for good.
    pub fn close(&self, now: Timestamp, by: Actor<'_>, sale: &str) -> Answer<Result<(), Refusal>> {
        self.change_status(now, by, Action::SaleClose, sale)
    }

    fn change_status(&self, now: Timestamp, by: Actor<'_>, action: Action, sale: &str) -> Answer<Result<(), Refusal>> {
        let mut control = self.control.lock();
        let now = control.advance(now);
        let found = control.catalogue.sale(sale).cloned();
        match found.and_then(|sale| judge_status_change(&control.catalogue, now, action, &sale)) {
            Ok(Some(event)) => {
                let entry = NewRecord { by, action, sale: Some(sale), sku: None, detail: audit::of_turn() };
                let record = control.trail.record(now, &entry);
                self.publish(&mut control, &[event, record]);
                let number = control.catalogue.sale(sale).expect("it was just changed").number;
                self.reschedule(&mut control, number);
                self.answer(Ok(()), &control.lane)
            }
            Ok(None) => self.answer(Ok(()), &control.lane),
            Err(refusal) => self.judged(Err(refusal)),
        }
    }

    /// What would come of putting the sale document: whether it would be created or replaced, or why not. Changes nothing.
    pub fn try_put(&self, expected: &Expected, settings: &SaleSettings) -> Answer<Result<Put, Refusal>> {
        let published = self.published.load_full();
        let present = published.catalogue.sale(&settings.id).ok().map(|sale| sale.tag());
        if !expected.is_met(present) {
            return self.judged(Err(Refusal::PreconditionFailed { present }));
        }
        self.judged(published.catalogue.judge_put(settings, &self.settings.limits).map(|(put, ..)| put))
    }

    /// Puts units into a sale, or takes out units that are available.
    pub fn adjust(&self, now: Timestamp, by: Actor<'_>, asked: &Adjust<'_>) -> Answer<Result<Adjustment, Refusal>> {
        let mut control = self.control.lock();
        let now = control.advance(now);
        let place = match find_pool(&control.catalogue, asked) {
            Ok(found) => found,
            Err(refusal) => return self.judged(Err(refusal)),
        };
        let key = asked.key.map(|key| (key, asked.fingerprint()));
        if let Some((key, fingerprint)) = key
            && let Some((known, made)) = control.adjustments.find(place.item, key)
        {
            let made = (known == fingerprint).then(|| Adjustment { made: made.clone(), replayed: true });
            return self.answer(made.ok_or(Refusal::IdempotencyKeyReused), &control.lane);
        }
        let mut guards = self.lock_all();
        let mut levels = BTreeMap::new();
        let adjusted = match self.judge_adjustment(&control, &guards, &mut levels, now, asked, &place) {
            Ok(adjusted) => Adjusted { key, ..adjusted },
            Err(refusal) => return self.judged(Err(refusal)),
        };
        let made = Remembered::of(&adjusted);
        let detail = audit::of_adjustment(&adjusted, asked.pool);
        let (sale, sku) = (Some(asked.sale), Some(asked.sku));
        let entry = NewRecord { by, action: Action::StockAdjust, sale, sku, detail };
        self.change_stock(&mut control, &mut guards, now, &[CatalogueEvent::Adjusted(adjusted)], &levels, &entry);
        drop(guards);
        self.answer(Ok(Adjustment { made, replayed: false }), &control.lane)
    }

    /// Changes the stock of several pools of a sale in one step: all or none. The refusal points at the changes, or names their
    /// lines.
    pub fn adjust_all(
        &self,
        now: Timestamp,
        by: Actor<'_>,
        asked: &AdjustAll<'_>,
    ) -> Answer<Result<Vec<AdjustmentOf>, Refusal>> {
        let mut control = self.control.lock();
        let now = control.advance(now);
        let sale = match control.catalogue.sale(asked.sale) {
            Ok(sale) => sale.number,
            Err(refusal) => return self.judged(Err(refusal)),
        };
        let key = asked.key.map(|key| (key, asked.fingerprint()));
        if let Some((key, fingerprint)) = key
            && let Some((known, all)) = control.adjustments.find_together(sale, key)
        {
            let replay = |(item, made): &(ItemNumber, Remembered)| AdjustmentOf {
                item: *item,
                adjustment: Adjustment { made: made.clone(), replayed: true },
            };
            let made = (known == fingerprint).then(|| all.iter().map(replay).collect());
            return self.answer(made.ok_or(Refusal::IdempotencyKeyReused), &control.lane);
        }
        let (mut places, mut wrong) = (Vec::with_capacity(asked.changes.len()), Vec::new());
        for (index, change) in asked.changes.iter().enumerate() {
            match find_pool(&control.catalogue, change) {
                Ok(place) => places.push(place),
                Err(Refusal::Invalid(errors)) => wrong.extend(point_into(index, errors)),
                Err(refusal) => return self.judged(Err(refusal)),
            }
        }
        if !wrong.is_empty() {
            return self.judged(Err(Refusal::Invalid(wrong)));
        }
        let mut guards = self.lock_all();
        let (mut levels, mut events, mut short) = (BTreeMap::new(), Vec::with_capacity(places.len()), Vec::new());
        for (index, (change, place)) in asked.changes.iter().zip(&places).enumerate() {
            match self.judge_adjustment(&control, &guards, &mut levels, now, change, place) {
                Ok(adjusted) => events.push(Adjusted { key, of_sale: Some(sale), ..adjusted }),
                Err(Refusal::Short(lines)) => short.extend(lines),
                Err(Refusal::Invalid(errors)) => wrong.extend(point_into(index, errors)),
                Err(refusal) => return self.judged(Err(refusal)),
            }
        }
        if !wrong.is_empty() {
            return self.judged(Err(Refusal::Invalid(wrong)));
        }
        if !short.is_empty() {
            return self.judged(Err(Refusal::Short(short)));
        }
        let made = events.iter().map(|adjusted| AdjustmentOf {
            item: adjusted.item,
            adjustment: Adjustment { made: Remembered::of(adjusted), replayed: false },
        });
        let made = made.collect();
        let entry = NewRecord {
            by,
            action: Action::StockAdjust,
            sale: Some(asked.sale),
            sku: None,
            detail: audit::of_adjustments(asked),
        };
        let events: Vec<_> = events.into_iter().map(CatalogueEvent::Adjusted).collect();
        self.change_stock(&mut control, &mut guards, now, &events, &levels, &entry);
        drop(guards);
        self.answer(Ok(made), &control.lane)
    }

    /// Moves available units from one pool of an item to another.
    pub fn transfer(
        &self,
        now: Timestamp,
        by: Actor<'_>,
        asked: &Transfer<'_>,
    ) -> Answer<Result<TransferMade, Refusal>> {
        let mut control = self.control.lock();
        let now = control.advance(now);
        let (item, [from, to]) = match find_pools(&control.catalogue, asked) {
            Ok(found) => found,
            Err(refusal) => return self.judged(Err(refusal)),
        };
        let key = asked.key.map(|key| (key, asked.fingerprint()));
        if let Some((key, fingerprint)) = key
            && let Some((known, made)) = control.adjustments.find_transfer(item, key)
        {
            let made = (known == fingerprint).then(|| TransferMade { item, made: made.clone(), replayed: true });
            return self.answer(made.ok_or(Refusal::IdempotencyKeyReused), &control.lane);
        }
        let mut guards = self.lock_all();
        let levels_of = |pool| PoolLevels {
            stock: control.stock.of(pool),
            available: stock::total_available(guards.iter().map(|cell| &cell.shard), pool),
        };
        let (mut given, mut got) = (levels_of(from), levels_of(to));
        if given.available < asked.units {
            let shortage = shortage_of(asked.sku, asked.units, from, given.available, &guards);
            return self.judged(Err(Refusal::Short(vec![shortage])));
        }
        let stock_max = self.settings.limits.stock_max;
        if got.stock + asked.units > stock_max {
            let too_much =
                Invalid::new("/quantity", format!("must not raise the pool's stock above {stock_max} units"));
            return self.judged(Err(Refusal::Invalid(vec![too_much])));
        }
        for (levels, sign) in [(&mut given, -1_i64), (&mut got, 1)] {
            let change = sign * i64::try_from(asked.units).expect("no more than there is");
            levels.stock = levels.stock.checked_add_signed(change).expect("it was checked");
            levels.available = levels.available.checked_add_signed(change).expect("it was checked");
        }
        let Transfer { units, reason, reference, .. } = *asked;
        let transferred = Transferred { item, from, to, at: now, units, reason, reference, key, after: [given, got] };
        let made = RememberedTransfer::of(&transferred);
        let (sale, sku) = (Some(asked.sale), Some(asked.sku));
        let entry = NewRecord { by, action: Action::StockTransfer, sale, sku, detail: audit::of_transfer(asked) };
        let levels = [(from, given), (to, got)].into();
        self.change_stock(&mut control, &mut guards, now, &[CatalogueEvent::Transferred(transferred)], &levels, &entry);
        drop(guards);
        self.answer(Ok(TransferMade { item, made, replayed: false }), &control.lane)
    }

    /// Judges one change of a pool's stock, after those that `levels` already has.
    fn judge_adjustment<'a>(
        &self,
        control: &Control,
        guards: &Guards<'_>,
        levels: &mut BTreeMap<PoolNumber, PoolLevels>,
        at: Timestamp,
        asked: &Adjust<'a>,
        place: &PoolPlace,
    ) -> Result<Adjusted<'a>, Refusal> {
        let &PoolPlace { item, pool, ref pools } = place;
        let current = |pool: PoolNumber, levels: &BTreeMap<PoolNumber, PoolLevels>| {
            levels.get(&pool).copied().unwrap_or_else(|| PoolLevels {
                stock: control.stock.of(pool),
                available: stock::total_available(guards.iter().map(|cell| &cell.shard), pool),
            })
        };
        let before = current(pool, levels);
        let Some(available) = before.available.checked_add_signed(asked.delta) else {
            let requested = asked.delta.unsigned_abs();
            return Err(Refusal::Short(vec![shortage_of(asked.sku, requested, pool, before.available, guards)]));
        };
        let stock_max = self.settings.limits.stock_max;
        let stock = before.stock.checked_add_signed(asked.delta).filter(|&stock| stock <= stock_max);
        let others = pools.iter().filter(|&&other| other != pool).map(|&other| current(other, levels));
        let others = others.fold(PoolLevels::default(), |sum, other| PoolLevels {
            stock: sum.stock + other.stock,
            available: sum.available + other.available,
        });
        let Some(stock) = stock.filter(|stock| stock + others.stock <= stock_max) else {
            let too_much = Invalid::new("/delta", format!("must not raise the item's stock above {stock_max} units"));
            return Err(Refusal::Invalid(vec![too_much]));
        };
        let of_pool = PoolLevels { stock, available };
        levels.insert(pool, of_pool);
        Ok(Adjusted {
            item,
            pool,
            at,
            delta: asked.delta,
            reason: asked.reason,
            reference: asked.reference,
            key: None,
            of_sale: None,
            stock: stock + others.stock,
            available: available + others.available,
            of_pool: (pools.len() > 1).then_some(of_pool),
        })
    }

    /// Under all locks: records changes of stock, and spreads what the pools have from now on.
    fn change_stock(
        &self,
        control: &mut Control,
        guards: &mut Guards<'_>,
        now: Timestamp,
        events: &[CatalogueEvent<'_>],
        levels: &BTreeMap<PoolNumber, PoolLevels>,
        entry: &NewRecord<'_>,
    ) {
        let record = control.trail.record(now, entry);
        let mut written = Written::default();
        for event in events {
            control.write(event, &mut written);
        }
        control.write(&record, &mut written);
        self.append(control, guards, written);
        for (&pool, levels) in levels {
            self.set_available(guards, pool, levels.available, 0, 0);
            // There may be many more: the bound says nothing until somebody is refused again.
            control.bounds[pool.index()].loosen();
        }
    }

    /// Records which keys came into force, where they are others than those recorded last. `when`: `start` or `reload`.
    /// Says whether there was something to record.
    pub fn note_keys(&self, now: Timestamp, when: &'static str, keys: &[KeyFacts<'_>]) -> Answer<bool> {
        let mut control = self.control.lock();
        let now = control.advance(now);
        let known = control.trail.keys();
        let same = |key: &KeyFacts<'_>| known.get(key.name) == Some(&key.print);
        if keys.len() == known.len() && keys.iter().all(same) {
            return self.answer(false, &control.lane);
        }
        let detail = audit::of_keys(when, known, keys);
        let entry = NewRecord { by: Actor::Process, action: Action::KeysChange, sale: None, sku: None, detail };
        let noted = CatalogueEvent::KeysNoted { keys: keys.iter().map(|key| (key.name, key.print)).collect() };
        let record = control.trail.record(now, &entry);
        let mut written = Written::default();
        control.write(&noted, &mut written);
        control.write(&record, &mut written);
        self.append(&mut control, &mut self.lock_all(), written);
        self.answer(true, &control.lane)
    }

    /// Where the audit trail ends.
    pub fn audit_head(&self) -> Answer<Head> {
        let control = self.control.lock();
        self.answer(control.trail.head(), &control.lane)
    }

    /// Makes facts of the catalogue true: recorded, taken over, seen by every shard. What they supersede is given back, to be
    /// freed when no lock is held.
    pub(super) fn publish(&self, control: &mut Control, events: &[CatalogueEvent<'_>]) -> Arc<Published> {
        self.publish_behind(Written::default(), control, events)
    }

    /// As `publish`, behind what the catalogue has taken over already.
    fn publish_behind(
        &self,
        mut written: Written,
        control: &mut Control,
        events: &[CatalogueEvent<'_>],
    ) -> Arc<Published> {
        for event in events {
            control.catalogue.apply(event);
            control.write(event, &mut written);
        }
        let pools = control.catalogue.pools();
        if control.bounds.len() < pools {
            Arc::make_mut(&mut control.bounds).resize_with(pools, || Arc::new(CachePadded::new(Bound::loose())));
        }
        let published = control.publishing(control.catalogue.clone());
        let mut guards = self.lock_all();
        self.append(control, &mut guards, written);
        self.replace_published(published, &mut guards)
    }

    /// Under all locks: the events stand in the catalogue's lane, behind everything that customers did so far.
    pub(super) fn append(&self, control: &mut Control, _all: &mut Guards<'_>, written: Written) {
        let open_epoch = self.open_epoch.load(Ordering::Relaxed);
        // Before anything of it can be seen.
        self.operator_epoch.store(open_epoch, Ordering::Release);
        let generation = self.begin_generation();
        control.lane.append(written, open_epoch, generation);
    }

    /// Under all locks: from here on every reserve is judged by this catalogue.
    fn replace_published(&self, published: Arc<Published>, guards: &mut Guards<'_>) -> Arc<Published> {
        for cell in guards.iter_mut() {
            cell.catalogue_version = published.catalogue.version();
        }
        self.published.swap(published)
    }

    /// Gives the shards their slices of new pools, one shard after the other: no request can use an unpublished pool.
    fn stock_up(&self, opened: &[OpenedPool]) {
        let Some(pools) = opened.iter().map(|opened| opened.pool.index() + 1).max() else { return };
        for (index, slot) in self.cells.iter().enumerate() {
            let mut cell = slot.cell.lock();
            cell.shard.resize(pools);
            for opened in opened {
                let first = opened.pool.index() % self.cells.len();
                let share = stock::share(opened.units, self.cells.len(), first, index);
                cell.shard.set_available(opened.pool, share);
            }
        }
    }

    /// Looks at the sale again when the clock reaches its times.
    fn reschedule(&self, control: &mut Control, sale: SaleNumber) {
        control.schedule.add(control.catalogue.sale_numbered(sale));
        self.next_status_change.store(control.schedule.next_millis(), Ordering::Relaxed);
    }

    /// Under all locks: from here on every request is judged by what the catalogue is now.
    pub(super) fn show(&self, control: &Control, guards: &mut Guards<'_>) -> Arc<Published> {
        self.replace_published(control.publishing(control.catalogue.clone()), guards)
    }
}

impl Control {
    /// Time as the catalogue sees it at a steady time: never backwards.
    pub(super) fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.timeline.advance(self.dial.now(now).time)
    }

    /// What all requests are to read from now on.
    fn publishing(&self, catalogue: Catalogue) -> Arc<Published> {
        Arc::new(Published { catalogue, bounds: self.bounds.clone(), dial: self.dial })
    }
}

/// The event of a change of status; None when the sale has it already.
fn judge_status_change(
    catalogue: &Catalogue,
    now: Timestamp,
    action: Action,
    sale: &Sale,
) -> Result<Option<CatalogueEvent<'static>>, Refusal> {
    match action {
        Action::SalePause => catalogue.pause(now, sale),
        Action::SaleResume => catalogue.resume(now, sale),
        Action::SaleClose => Ok(catalogue.close(now, sale)),
        Action::SalePut | Action::StockAdjust | Action::StockTransfer | Action::KeysChange | Action::CustomerErase => {
            unreachable!("changes no status")
        }
    }
}

/// A change that asks for more of a pool than is available, under all locks.
fn shortage_of(sku: &str, requested: u64, pool: PoolNumber, available: u64, guards: &Guards<'_>) -> Shortage {
    let mut ends = BTreeMap::from([(pool, None)]);
    for cell in guards {
        cell.shard.earliest_ends(cell.shard.now(), &mut ends, ENDS_UNDER_ALL_LOCKS);
    }
    let held = guards.iter().map(|cell| cell.shard.slice(pool).held).sum();
    Shortage { sku: sku.into(), requested, available, held, next_release_at: ends[&pool] }
}

/// Where a change of stock happens.
struct PoolPlace {
    item: ItemNumber,
    pool: PoolNumber,
    /// All of the item's.
    pools: SmallVec<[PoolNumber; 2]>,
}

fn find_item<'a>(catalogue: &'a Catalogue, sale: &str, sku: &str) -> Result<&'a Item, Refusal> {
    catalogue.sale(sale)?.item(sku).ok_or_else(|| Refusal::ItemNotFound { sku: sku.to_owned() })
}

fn find_pool(catalogue: &Catalogue, asked: &Adjust<'_>) -> Result<PoolPlace, Refusal> {
    let item = find_item(catalogue, asked.sale, asked.sku)?;
    let pool = match (asked.pool, &*item.pools) {
        (None, [only]) => *only,
        (None, _) => return Err(unknown_pool(item, "/pool", "is required, as the item has several pools: one of")),
        (Some(id), _) => {
            item.pool(id).ok_or_else(|| unknown_pool(item, "/pool", "must be one of the item's pools:"))?
        }
    };
    Ok(PoolPlace { item: item.number, pool, pools: item.pools.clone() })
}

fn find_pools(catalogue: &Catalogue, asked: &Transfer<'_>) -> Result<(ItemNumber, [PoolNumber; 2]), Refusal> {
    let item = find_item(catalogue, asked.sale, asked.sku)?;
    let find =
        |pointer, id| item.pool(id).ok_or_else(|| unknown_pool(item, pointer, "must be one of the item's pools:"));
    let (from, to) = (find("/from", asked.from)?, find("/to", asked.to)?);
    if from == to {
        let same = Invalid::new("/to", "must be another pool than `from`");
        return Err(Refusal::Invalid(vec![same]));
    }
    Ok((item.number, [from, to]))
}

fn unknown_pool(item: &Item, pointer: &str, what: &str) -> Refusal {
    let ids: Vec<&str> = item.settings.pools_or_default().map(|(id, _)| id).collect();
    Refusal::Invalid(vec![Invalid::new(pointer, format!("{what} {}", ids.join(", ")))])
}

/// Errors of one change, as errors of the list.
fn point_into(index: usize, errors: Vec<Invalid>) -> impl Iterator<Item = Invalid> {
    errors.into_iter().map(move |error| Invalid::new(format!("/adjustments/{index}{}", error.pointer), error.detail))
}
