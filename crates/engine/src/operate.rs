//! Operators' commands: put, pause, resume and close sales, change keys. `restock` has those on stock.
//!
//! Invariants: a change of the catalogue is decided under the control lock and published under all locks, so the catalogue
//! before a reserve in the journal is the one that decided it. Work that grows with the number of items is done before the
//! shards' locks are taken, and for a sale document before the control lock, so requests wait only for a change of a few
//! pointers. No answer rests on a change that is not durable: each decision reads `operator_epoch` afterwards, and its answer
//! waits for it. Each change has its audit record, written under the same hold of the control lock, so a cut takes both or
//! neither. A command that changes nothing, refused or repeated, has no record.

use std::sync::{Arc, atomic::Ordering};

use crossbeam::utils::CachePadded;

use super::{Answer, Bound, Control, Engine, Guards, Published, Written, stock};
use sale::{
    audit::{self, Action, Actor, Head, KeyFacts, NewRecord},
    catalogue::{Catalogue, Put, Sale},
    event::{
        CatalogueEvent, OpenedPool, SaleDefined,
        record::{self, Numbers},
    },
    expected::{Expected, Tag},
    ids::SaleNumber,
    outcome::Refusal,
    settings::{Invalid, SaleSettings},
    time::Timestamp,
};

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
        let (put, number, numbers) = match self.judge_document(&published.catalogue, expected, settings) {
            Ok(judged) => judged,
            Err(refusal) => return self.judged(Err(refusal)),
        };
        let at = published.dial.now(now).time;
        let settings = &published.catalogue.with_counts(at, settings, self.settings.retention_millis);
        let record = record::encode(settings, &numbers);
        let before = published.catalogue.sale(&settings.id).ok().map(|sale| &*sale.settings);
        let detail = audit::of_put(before, settings);
        let entry = NewRecord { by, action: Action::SalePut, sale: Some(&settings.id), sku: None, detail };
        let definition = published.catalogue.prepare(number, &numbers, settings.clone(), Tag::of(&record));
        let opened = published.catalogue.opened_by(&definition);
        let low_stock = published.catalogue.low_stock_changed_by(&definition);
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
        let defined = SaleDefined { sale: number, at: now, opened, low_stock, record: &record };
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
        self.judged(self.judge_document(&published.catalogue, expected, settings).map(|(put, ..)| put))
    }

    /// Judges a document by what is there and by the limits of the service; on success the numbers of its items and pools.
    fn judge_document(
        &self,
        catalogue: &Catalogue,
        expected: &Expected,
        settings: &SaleSettings,
    ) -> Result<(Put, SaleNumber, Vec<Numbers>), Refusal> {
        let present = catalogue.sale(&settings.id).ok().map(|sale| sale.tag());
        if !expected.is_met(present) {
            return Err(Refusal::PreconditionFailed { present });
        }
        let (put, number, numbers) = catalogue.judge_put(settings, &self.settings.limits)?;
        let retention_seconds = self.settings.retention_millis / 1000;
        if u64::from(settings.late_confirm_seconds) > retention_seconds {
            let detail = format!(
                "must be at most {retention_seconds}, because a reservation leaves memory that long after its end; set \
                 retention_seconds in the configuration for more"
            );
            return Err(Refusal::Invalid(vec![Invalid::new("/late_confirm_seconds", detail)]));
        }
        if catalogue.sales().len() <= number.index() && number.index() >= self.settings.sales_max {
            return Err(Refusal::Full("limits.sales_max"));
        }
        if numbers.iter().any(|numbers| numbers.item.index() >= self.settings.items_max) {
            return Err(Refusal::Full("limits.items_max"));
        }
        let pools_max = self.settings.pools_max;
        if numbers.iter().flat_map(|numbers| &numbers.pools).any(|pool| pool.index() >= pools_max) {
            return Err(Refusal::Full("limits.pools_max"));
        }
        Ok((put, number, numbers))
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

    /// Records that an operator resumed a webhook endpoint. The endpoint's state is not the engine's.
    pub fn note_webhook_resumed(&self, now: Timestamp, by: Actor<'_>, webhook: &str) -> Answer<()> {
        let mut control = self.control.lock();
        let now = control.advance(now);
        let detail = audit::of_webhook(webhook);
        let entry = NewRecord { by, action: Action::WebhookResume, sale: None, sku: None, detail };
        let record = control.trail.record(now, &entry);
        let mut written = Written::default();
        control.write(&record, &mut written);
        self.append(&mut control, &mut self.lock_all(), written);
        self.answer((), &control.lane)
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
        self.waits.look_again();
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
        Action::SalePut
        | Action::StockAdjust
        | Action::StockTransfer
        | Action::HoldsExtend
        | Action::KeysChange
        | Action::CustomerErase
        | Action::WebhookResume => unreachable!("changes no status"),
    }
}
