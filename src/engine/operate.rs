//! What operators do: put, pause, resume and close sales, adjust stock, change keys.
//!
//! Invariants: a change of the catalogue is decided under the control lock and published under all locks, so every
//! reserve is judged by the catalogue that stands before it in the journal. Nobody is answered by a change that is not
//! durable: whoever judges reads `operator_epoch` afterwards and waits for it. Each change has its record in the audit
//! trail, written under the same hold of the control lock: a cut takes both or neither. What changes nothing, be it
//! refused or a repeat, has no record.

use std::sync::{Arc, atomic::Ordering};

use crossbeam::utils::CachePadded;

use super::{Answer, Bound, Control, Engine, Guards, Published, stock};
use crate::sale::{
    adjustments::Remembered,
    audit::{self, Action, Actor, Deed, Head, KeyFacts},
    catalogue::{Catalogue, Put, Sale, encode_settings},
    command::Adjust,
    event::{Adjusted, Event},
    ids::ItemNumber,
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

impl Engine {
    /// Creates the sale or replaces its settings. What is kept says since when units count towards limits, whatever the
    /// document says.
    pub fn put_sale(
        &self,
        now: Timestamp,
        by: Actor<'_>,
        settings: &SaleSettings,
    ) -> Answer<Result<(Put, Arc<Sale>), Refusal>> {
        let mut control = self.control.lock();
        let now = control.advance(now);
        let (put, sale, items) = match control.catalogue.judge_put(settings, &self.settings.limits) {
            Ok(judged) => judged,
            Err(refusal) => return self.judged(Err(refusal)),
        };
        if control.catalogue.sales().len() <= sale.index() && sale.index() >= self.settings.sales_max {
            return self.judged(Err(Refusal::Full("limits.sales_max")));
        }
        if items.iter().any(|item| item.index() >= self.settings.items_max) {
            return self.judged(Err(Refusal::Full("limits.items_max")));
        }
        let settings = &control.catalogue.with_counts(now, settings, self.settings.retention_millis);
        let encoded = encode_settings(settings);
        let before = control.catalogue.sale(&settings.id).ok().map(|sale| &sale.settings);
        let detail = audit::of_put(before, settings, &encoded);
        let deed = Deed { by, action: Action::SalePut, sale: Some(&settings.id), sku: None, detail };
        self.publish(&mut control, &[Event::SaleDefined { sale, at: now, items, settings: &encoded }]);
        // Its times may say that it is open already: in the same batch, as the control lock is held.
        let turn = control.catalogue.sale_numbered(sale).turn(now);
        let record = control.trail.record(now, &deed);
        let events: Vec<_> = turn.into_iter().chain([record]).collect();
        self.publish(&mut control, &events);
        let sale = control.catalogue.sale_numbered(sale).clone();
        self.answer(Ok((put, sale)), &control.lane)
    }

    pub fn pause(&self, now: Timestamp, by: Actor<'_>, sale: &str) -> Answer<Result<(), Refusal>> {
        self.turn(now, by, Action::SalePause, sale)
    }

    pub fn resume(&self, now: Timestamp, by: Actor<'_>, sale: &str) -> Answer<Result<(), Refusal>> {
        self.turn(now, by, Action::SaleResume, sale)
    }

    /// Closes the sale for good.
    pub fn close(&self, now: Timestamp, by: Actor<'_>, sale: &str) -> Answer<Result<(), Refusal>> {
        self.turn(now, by, Action::SaleClose, sale)
    }

    fn turn(&self, now: Timestamp, by: Actor<'_>, action: Action, sale: &str) -> Answer<Result<(), Refusal>> {
        let mut control = self.control.lock();
        let now = control.advance(now);
        let found = control.catalogue.sale(sale).cloned();
        match found.and_then(|sale| judge_turn(&control.catalogue, now, action, &sale)) {
            Ok(Some(event)) => {
                let deed = Deed { by, action, sale: Some(sale), sku: None, detail: audit::of_turn() };
                let record = control.trail.record(now, &deed);
                self.publish(&mut control, &[event, record]);
                self.answer(Ok(()), &control.lane)
            }
            Ok(None) => self.answer(Ok(()), &control.lane),
            Err(refusal) => self.judged(Err(refusal)),
        }
    }

    /// Puts units into a sale, or takes out units that are available.
    pub fn adjust(&self, now: Timestamp, by: Actor<'_>, asked: &Adjust<'_>) -> Answer<Result<Adjustment, Refusal>> {
        let mut control = self.control.lock();
        let now = control.advance(now);
        let item = match find_item(&control.catalogue, asked) {
            Ok(found) => found,
            Err(refusal) => return self.judged(Err(refusal)),
        };
        let key = asked.key.map(|key| (key, asked.fingerprint()));
        if let Some((key, fingerprint)) = key
            && let Some(known) = control.adjustments.find(item, key)
        {
            let same = known.fingerprint == fingerprint;
            let made = same.then(|| Adjustment { made: known.clone(), replayed: true });
            return self.answer(made.ok_or(Refusal::IdempotencyKeyReused), &control.lane);
        }

        let mut guards = self.lock_all();
        let available = stock::total_available(guards.iter().map(|cell| &cell.shard), item);
        let (available, stock) = match self.judge_adjustment(&control, asked, item, available) {
            Ok(after) => after,
            Err(refusal) => return self.judged(Err(refusal)),
        };
        let Adjust { sale, sku, delta, reason, reference, .. } = *asked;
        let adjusted = Adjusted { item, at: now, delta, reason, reference, key, stock, available };
        let made = Remembered::of(&adjusted);
        let detail = audit::of_adjustment(&adjusted);
        let deed = Deed { by, action: Action::StockAdjust, sale: Some(sale), sku: Some(sku), detail };
        let record = control.trail.record(now, &deed);
        self.publish_locked(&mut control, &mut guards, &[Event::Adjusted(adjusted), record]);
        self.set_available(&mut guards, item, available, 0, 0);
        // A restock may be large: the bound says nothing until somebody is refused again.
        control.bounds[item.index()].loosen();
        self.answer(Ok(Adjustment { made, replayed: false }), &control.lane)
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
        let deed = Deed { by: Actor::Process, action: Action::KeysChange, sale: None, sku: None, detail };
        let noted = Event::KeysNoted { keys: keys.iter().map(|key| (key.name, key.print)).collect() };
        let record = control.trail.record(now, &deed);
        self.publish(&mut control, &[noted, record]);
        self.answer(true, &control.lane)
    }

    /// Where the audit trail ends.
    pub fn audit_head(&self) -> Answer<Head> {
        let control = self.control.lock();
        self.answer(control.trail.head(), &control.lane)
    }

    /// The item's available units and stock after the adjustment.
    fn judge_adjustment(
        &self,
        control: &Control,
        asked: &Adjust<'_>,
        item: ItemNumber,
        available: u64,
    ) -> Result<(u64, u64), Refusal> {
        let stock_max = self.settings.limits.stock_max;
        let Some(after) = available.checked_add_signed(asked.delta) else {
            let requested = asked.delta.unsigned_abs();
            return Err(Refusal::Short(vec![Shortage { sku: asked.sku.into(), requested, available }]));
        };
        let stock = control.catalogue.item_numbered(item).stock;
        let stock = stock.checked_add_signed(asked.delta).filter(|&stock| stock <= stock_max);
        let too_much = || Invalid::new("/delta", format!("the item's stock would exceed {stock_max} units"));
        Ok((after, stock.ok_or_else(|| Refusal::Invalid(vec![too_much()]))?))
    }

    /// Makes facts of the catalogue true: recorded, taken over, seen by every shard.
    pub(super) fn publish(&self, control: &mut Control, events: &[Event<'_>]) {
        if !events.is_empty() {
            let mut guards = self.lock_all();
            self.publish_locked(control, &mut guards, events);
        }
    }

    pub(super) fn publish_locked(&self, control: &mut Control, guards: &mut Guards<'_>, events: &[Event<'_>]) {
        let open_epoch = self.open_epoch.load(Ordering::Relaxed);
        // Before anything of it can be seen.
        self.operator_epoch.store(open_epoch, Ordering::Release);
        let generation = self.begin_generation();
        let known = control.catalogue.items();
        for event in events {
            control.lane.push(event, open_epoch, generation);
            control.catalogue.apply(event);
            control.adjustments.apply(event);
            control.trail.apply(event).expect("a record is made to follow the one before");
            control.timeline.see(event);
        }
        let items = control.catalogue.items();
        control.bounds.resize_with(items, || Arc::new(CachePadded::new(Bound::loose())));
        for cell in guards.iter_mut() {
            cell.shard.resize(items);
        }
        for number in known..items {
            let item = ItemNumber(number as u32);
            self.set_available(guards, item, control.catalogue.item_numbered(item).stock, number % guards.len(), 0);
        }
        self.show(control, guards);
    }

    /// Has every request judged by what the catalogue is now.
    pub(super) fn show(&self, control: &mut Control, guards: &mut Guards<'_>) {
        guards.iter_mut().for_each(|cell| cell.catalogue_version = control.catalogue.version());
        let (catalogue, bounds, dial) = (control.catalogue.clone(), control.bounds.clone(), control.dial);
        self.published.store(Arc::new(Published { catalogue, bounds, dial }));
    }
}

impl Control {
    /// Time as the catalogue sees it at a steady time: never backwards.
    pub(super) fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.timeline.advance(self.dial.now(now).time)
    }
}

/// The event that a turn makes; None when the sale stands so already.
fn judge_turn(
    catalogue: &Catalogue,
    now: Timestamp,
    action: Action,
    sale: &Sale,
) -> Result<Option<Event<'static>>, Refusal> {
    match action {
        Action::SalePause => catalogue.pause(now, sale),
        Action::SaleResume => catalogue.resume(now, sale),
        Action::SaleClose => Ok(catalogue.close(now, sale)),
        Action::SalePut | Action::StockAdjust | Action::KeysChange | Action::CustomerErase => {
            unreachable!("no turn of a sale")
        }
    }
}

fn find_item(catalogue: &Catalogue, asked: &Adjust<'_>) -> Result<ItemNumber, Refusal> {
    let item = catalogue.sale(asked.sale)?.item(asked.sku);
    item.map(|item| item.number).ok_or_else(|| Refusal::ItemNotFound { sku: asked.sku.to_owned() })
}
