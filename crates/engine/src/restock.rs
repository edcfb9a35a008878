//! Operators' changes of stock: adjustments of one pool or of many, and transfers between pools.
//!
//! Invariants: as in `operate`; a change touches its pools and no document; several changes of one request are one step.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::{Answer, Control, Engine, Guards, Written, reserve::ENDS_UNDER_ALL_LOCKS, stock};
use sale::{
    adjustments::{Remembered, RememberedTransfer},
    audit::{self, Action, Actor, NewRecord},
    catalogue::{Catalogue, Item},
    command::{Adjust, AdjustAll, Transfer},
    event::{Adjusted, CatalogueEvent, PoolLevels, Portion, Transferred},
    ids::{ItemNumber, PoolNumber, SaleNumber},
    outcome::{Refusal, Shortage},
    settings::Invalid,
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
    /// Puts units into a sale, or takes out units that are available.
    pub fn adjust(&self, now: Timestamp, by: Actor<'_>, asked: &Adjust<'_>) -> Answer<Result<Adjustment, Refusal>> {
        let mut control = self.control.lock();
        let (steady, now) = (now, control.advance(now));
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
        self.serve_before(steady, [place.pool], &mut guards);
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
        let (steady, now) = (now, control.advance(now));
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
        self.serve_before(steady, places.iter().map(|place| place.pool), &mut guards);
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
        let (steady, now) = (now, control.advance(now));
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
        self.serve_before(steady, [from], &mut guards);
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

    /// Under all locks: whoever waits for units of these pools comes before an operator takes them out.
    fn serve_before(&self, now: Timestamp, pools: impl IntoIterator<Item = PoolNumber>, guards: &mut Guards<'_>) {
        let pools: Vec<_> = pools.into_iter().collect();
        self.serve_pools(now, &pools, guards, &self.published.load());
    }

    /// Judges one change of a pool's stock, after those that `levels` already has.
    fn judge_adjustment<'a>(
        &self,
        control: &Control,
        guards: &Guards<'_>,
        levels: &mut BTreeMap<PoolNumber, PoolLevels>,
        at: Timestamp,
        asked: &Adjust<'a>,
        place: &Place,
    ) -> Result<Adjusted<'a>, Refusal> {
        match self.adjusted(control, guards, levels, at, asked.delta, place) {
            Ok(adjusted) => Ok(Adjusted { reason: asked.reason, reference: asked.reference, ..adjusted }),
            Err(Impossible::Short { available }) => {
                let requested = asked.delta.unsigned_abs();
                Err(Refusal::Short(vec![shortage_of(asked.sku, requested, place.pool, available, guards)]))
            }
            Err(Impossible::TooMuch { stock_max }) => {
                let detail = format!("must not raise the item's stock above {stock_max} units");
                Err(Refusal::Invalid(vec![Invalid::new("/delta", detail)]))
            }
        }
    }

    /// A change of a pool's stock, after those that `levels` already has.
    pub(super) fn adjusted(
        &self,
        control: &Control,
        guards: &Guards<'_>,
        levels: &mut BTreeMap<PoolNumber, PoolLevels>,
        at: Timestamp,
        delta: i64,
        place: &Place,
    ) -> Result<Adjusted<'static>, Impossible> {
        let &Place { item, pool, ref pools } = place;
        let current = |pool: PoolNumber, levels: &BTreeMap<PoolNumber, PoolLevels>| {
            levels.get(&pool).copied().unwrap_or_else(|| PoolLevels {
                stock: control.stock.of(pool),
                available: stock::total_available(guards.iter().map(|cell| &cell.shard), pool),
            })
        };
        let before = current(pool, levels);
        let available = before.available.checked_add_signed(delta);
        let available = available.ok_or(Impossible::Short { available: before.available })?;
        let stock_max = self.settings.limits.stock_max;
        let stock = before.stock.checked_add_signed(delta).filter(|&stock| stock <= stock_max);
        let others = pools.iter().filter(|&&other| other != pool).map(|&other| current(other, levels));
        let others = others.fold(PoolLevels::default(), |sum, other| PoolLevels {
            stock: sum.stock + other.stock,
            available: sum.available + other.available,
        });
        let stock = stock.filter(|stock| stock + others.stock <= stock_max);
        let stock = stock.ok_or(Impossible::TooMuch { stock_max })?;
        let of_pool = PoolLevels { stock, available };
        levels.insert(pool, of_pool);
        Ok(Adjusted {
            item,
            pool,
            at,
            delta,
            reason: None,
            reference: None,
            key: None,
            of_sale: None,
            of_reservation: None,
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
        self.spread(control, guards, levels);
    }

    /// Under all locks: spreads what these pools have from now on.
    pub(super) fn spread(&self, control: &Control, guards: &mut Guards<'_>, levels: &BTreeMap<PoolNumber, PoolLevels>) {
        for (&pool, levels) in levels {
            let bound = &control.bounds[pool.index()];
            if bound.is_waited_for() {
                // Whoever waits comes first.
                self.set_available(guards, pool, 0, 0, 0);
                guards.iter_mut().for_each(|cell| cell.shard.set_aside(pool, 0));
                guards[0].shard.set_aside(pool, levels.available);
                bound.set_aside(levels.available);
            } else {
                self.set_available(guards, pool, levels.available, 0, 0);
            }
            // There may be many more: the bound says nothing until somebody is refused again.
            bound.loosen();
        }
    }
}

/// Why a pool's stock cannot change so.
#[derive(Debug)]
pub(super) enum Impossible {
    Short { available: u64 },
    TooMuch { stock_max: u64 },
}

/// A change that asks for more of a pool than is available, under all locks.
fn shortage_of(sku: &str, requested: u64, pool: PoolNumber, available: u64, guards: &Guards<'_>) -> Shortage {
    let mut ends = BTreeMap::from([(pool, None)]);
    for cell in guards {
        cell.shard.earliest_ends(cell.shard.now(), &mut ends, ENDS_UNDER_ALL_LOCKS);
    }
    let held = guards.iter().map(|cell| cell.shard.slice(pool).held).sum();
    Shortage { sku: sku.into(), requested, available, held, next_release_at: ends[&pool], waitlist: false }
}

/// Where a change of stock happens.
pub(super) struct Place {
    item: ItemNumber,
    pool: PoolNumber,
    /// All of the item's.
    pools: SmallVec<[PoolNumber; 2]>,
}

impl Place {
    /// Of a pool that a reservation of the sale has units of.
    pub(super) fn of(catalogue: &Catalogue, sale: SaleNumber, portion: &Portion) -> Self {
        let item = catalogue.sale_numbered(sale).item(catalogue.sku(portion.item));
        let pools = item.expect("a sale has the items of its reservations").pools.clone();
        Self { item: portion.item, pool: portion.pool, pools }
    }
}

fn find_item<'a>(catalogue: &'a Catalogue, sale: &str, sku: &str) -> Result<&'a Item, Refusal> {
    catalogue.sale(sale)?.item(sku).ok_or_else(|| Refusal::ItemNotFound { sku: sku.to_owned() })
}

fn find_pool(catalogue: &Catalogue, asked: &Adjust<'_>) -> Result<Place, Refusal> {
    let item = find_item(catalogue, asked.sale, asked.sku)?;
    let pool = match (asked.pool, &*item.pools) {
        (None, [only]) => *only,
        (None, _) => return Err(unknown_pool(item, "/pool", "is required, as the item has several pools: one of")),
        (Some(id), _) => {
            item.pool(id).ok_or_else(|| unknown_pool(item, "/pool", "must be one of the item's pools:"))?
        }
    };
    Ok(Place { item: item.number, pool, pools: item.pools.clone() })
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
