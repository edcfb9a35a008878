//! Available units of each item at the end of a batch, and the items that the batch sold out, brought back, or left with low stock.
//!
//! A batch is a consistent cut, so sums at its end are exact. Within it they are never negative, but lanes of one generation
//! follow one another, so they do not show whether an item was sold out for a moment in between. An item's initial stock counts
//! as if it had always been there, so that a new item is no item that is back in stock. So does its first `low_stock_at`: an item
//! that starts with low stock did not fall to it. Stock is low while no more than `low_stock_at` units are available; it becomes
//! so when units leave, or when an operator sets a higher level.
//!
//! Invariant: the levels after a batch depend only on the journal, not on where or when a reader started.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    engine::{AtCut, Engine, Epoch, batch::Events},
    sale::{
        codec::Malformed,
        event::{CatalogueEvent, Event, LowStockChange, SaleDefined},
        ids::ItemNumber,
        stock::{Account, Move},
        time::Timestamp,
    },
};

pub(super) struct Levels {
    /// By item.
    items: Vec<Level>,
    /// Items that the reader knew when it began.
    known: usize,
    /// What the present batch changed.
    changed: BTreeMap<ItemNumber, Changed>,
}

#[derive(Clone, Copy, Default)]
struct Level {
    available: i64,
    low_stock_at: Option<u64>,
}

impl Level {
    fn units(self) -> u64 {
        u64::try_from(self.available).unwrap_or(0)
    }

    /// The level at which its stock is low, if it is.
    fn low(self) -> Option<u64> {
        self.low_stock_at.filter(|&low_stock_at| self.units() <= low_stock_at)
    }
}

struct Changed {
    before: Level,
    at: Timestamp,
}

/// What a batch did to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LevelChange {
    pub item: ItemNumber,
    pub to: Reached,
    pub available: u64,
    /// When the last of what changed it happened.
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    LowStock { low_stock_at: u64 },
    SoldOut,
    BackInStock,
}

/// Most changes of an item by one batch: it has low stock, and is sold out.
pub(super) const CHANGES_MAX: usize = 2;

/// Levels on their way back in time: known at a cut, wanted at an earlier one.
pub(super) struct Unwinding {
    items: Vec<AtCut>,
    /// Items of which a change of `low_stock_at` was undone. Batches are undone in their order, and the first change knows what
    /// was before all of them.
    low_stock_known: BTreeSet<ItemNumber>,
}

impl Unwinding {
    pub(super) fn begin(engine: &Engine) -> Self {
        Self { items: engine.available_at_cuts(), low_stock_known: BTreeSet::new() }
    }

    /// The last batch that has to be undone.
    pub(super) fn reach(&self) -> Epoch {
        self.items.iter().map(|item| item.cut).max().unwrap_or(0)
    }

    pub(super) fn undo(&mut self, epoch: Epoch, payload: &[u8]) -> Result<(), Malformed> {
        let mut events = Events::new(payload);
        while let Some((_, _, event)) = events.next()? {
            if let Some(defined) = defined(&event) {
                defined.low_stock.iter().for_each(|change| self.undo_low_stock(epoch, change));
                continue;
            }
            event.moves(|moved| {
                if let Some(item) = self.items.get_mut(moved.item.index())
                    && epoch <= item.cut
                {
                    item.available -= moved.change_of(Account::Available);
                }
            });
        }
        Ok(())
    }

    fn undo_low_stock(&mut self, epoch: Epoch, change: &LowStockChange) {
        if let Some(item) = self.items.get_mut(change.item.index())
            && epoch <= item.cut
            && self.low_stock_known.insert(change.item)
        {
            item.low_stock_at = change.from;
        }
    }

    /// To be called when every batch behind the one wanted was undone.
    pub(super) fn finish(self) -> Levels {
        let level = |AtCut { available, low_stock_at, .. }| Level { available, low_stock_at };
        let items: Vec<_> = self.items.into_iter().map(level).collect();
        Levels { known: items.len(), items, changed: BTreeMap::new() }
    }
}

impl Levels {
    pub(super) fn take(&mut self, event: &Event<'_>) {
        if let Some(defined) = defined(event) {
            event.moves(|moved| self.open(&moved));
            return defined.low_stock.iter().for_each(|change| self.set_low_stock(change, defined.at));
        }
        let at = event.at().unwrap_or_default();
        event.moves(|moved| {
            let change = moved.change_of(Account::Available);
            if change != 0
                && let Some(level) = self.change(moved.item, at)
            {
                level.available += change;
            }
        });
    }

    /// Ends the batch: what it did to items, by number.
    pub(super) fn changes(&mut self) -> impl Iterator<Item = LevelChange> {
        let (changed, levels) = (std::mem::take(&mut self.changed), &self.items);
        changed.into_iter().flat_map(|(item, Changed { before, at })| {
            let after = levels[item.index()];
            let low = after.low().filter(|_| before.low().is_none());
            let low = low.map(|low_stock_at| Reached::LowStock { low_stock_at });
            let turn = if after.available > 0 { Reached::BackInStock } else { Reached::SoldOut };
            let turn = ((before.available > 0) != (after.available > 0)).then_some(turn);
            [low, turn].into_iter().flatten().map(move |to| LevelChange { item, to, available: after.units(), at })
        })
    }

    /// A pool of an item that is new to the reader. Of an item that was known at the cut, the initial stock is counted already.
    fn open(&mut self, moved: &Move) {
        let index = moved.item.index();
        if index < self.known {
            return;
        }
        if self.items.len() <= index {
            self.items.resize(index + 1, Level::default());
        }
        self.items[index].available += moved.change_of(Account::Available);
    }

    fn set_low_stock(&mut self, change: &LowStockChange, at: Timestamp) {
        let index = change.item.index();
        if let Some(level) = self.items.get_mut(index) {
            // New to the reader, or already so.
            level.low_stock_at = change.from;
        }
        if let Some(level) = self.change(change.item, at) {
            level.low_stock_at = change.to;
        }
    }

    /// The level of an item that the present batch changes at this moment.
    fn change(&mut self, item: ItemNumber, at: Timestamp) -> Option<&mut Level> {
        let level = self.items.get_mut(item.index())?;
        let changed = self.changed.entry(item).or_insert(Changed { before: *level, at });
        changed.at = changed.at.max(at);
        Some(level)
    }
}

/// A sale document. The stock in it was never elsewhere, and so is no change that a reader is told.
fn defined<'a, 'b>(event: &'b Event<'a>) -> Option<&'b SaleDefined<'a>> {
    let Event::Catalogue(CatalogueEvent::SaleDefined(defined)) = event else { return None };
    Some(defined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::Source,
        sale::{
            audit::Actor,
            command::{Adjust, AskedLine, Reserve},
            ids::ReservationId,
            settings::SaleSettings,
        },
    };

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(1_795_852_800_000 + second * 1000)
    }

    fn reserve(engine: &Engine, second: u64, customer: &str, sku: &str, units: u32) -> ReservationId {
        let lines = [AskedLine { sku, units }].into_iter().collect();
        let asked =
            Reserve { sale: "drop", customer, lines, hold_seconds: None, reference: None, key: None, extras: None };
        engine.reserve(at(second), &asked, second).value.unwrap().reservation.id
    }

    fn put(engine: &Engine, second: u64, items: &str) {
        let text = format!(
            r#"{{"id":"drop","name":"Drop","opens_at":"2026-11-28T00:00:00Z","closes_at":"2027-01-01T00:00:00Z",
                "hold_seconds":60,"items":[{items}]}}"#
        );
        let settings: SaleSettings = serde_json::from_str(&text).unwrap();
        engine.put_sale(at(second), Actor::Anybody, &settings).value.unwrap();
    }

    /// Cuts a batch after each step of a short life.
    fn live(engine: &Engine) -> Vec<Vec<u8>> {
        let mut batches = Vec::new();
        let mut cut = || {
            let mut payload = Vec::new();
            assert_eq!(engine.cut(&mut payload), Some(batches.len() as Epoch + 1));
            batches.push(payload);
        };
        put(engine, 0, r#"{"sku":"none","initial_stock":0},{"sku":"tv","initial_stock":2}"#);
        cut();
        reserve(engine, 1, "ann", "tv", 1);
        cut();
        let last = reserve(engine, 2, "bob", "tv", 1);
        // Sold out and back within one batch is no turn.
        put(
            engine,
            2,
            r#"{"sku":"pad","initial_stock":1},{"sku":"none","initial_stock":0},{"sku":"tv","initial_stock":2}"#,
        );
        let flicker = reserve(engine, 2, "cy", "pad", 1);
        engine.release(at(3), flicker, None).value.unwrap();
        cut();
        engine.confirm(at(4), last, None).value.unwrap();
        let adjust =
            Adjust { sale: "drop", sku: "none", pool: None, delta: 5, reason: None, reference: None, key: None };
        engine.adjust(at(4), Actor::Anybody, &adjust).value.unwrap();
        cut();
        engine.tick(at(70));
        reserve(engine, 70, "dee", "none", 5);
        cut();
        batches
    }

    /// Cuts a batch after each step of an item whose level of low stock changes, in batches of their own and within one.
    fn live_low(engine: &Engine) -> Vec<Vec<u8>> {
        let mut batches = Vec::new();
        let mut cut = || {
            let mut payload = Vec::new();
            engine.cut(&mut payload).unwrap();
            batches.push(payload);
        };
        // From the start as low as it may be, which is no fall.
        put(
            engine,
            0,
            r#"{"sku":"tv","initial_stock":10,"low_stock_at":4},{"sku":"low","initial_stock":3,"low_stock_at":3}"#,
        );
        cut();
        reserve(engine, 1, "ann", "tv", 5);
        cut();
        let second = reserve(engine, 2, "bob", "tv", 1);
        cut();
        // It is low already.
        reserve(engine, 3, "cy", "tv", 1);
        cut();
        // Above it, and back within one batch.
        engine.release(at(4), second, None).value.unwrap();
        reserve(engine, 4, "dee", "tv", 1);
        cut();
        let items = |level: &str| {
            format!(r#"{{"sku":"tv","initial_stock":10{level}}},{{"sku":"low","initial_stock":3,"low_stock_at":3}}"#)
        };
        // Higher while it is low; then lower, so that it is low no more.
        put(engine, 5, &items(r#","low_stock_at":8"#));
        cut();
        put(engine, 6, &items(r#","low_stock_at":1"#));
        cut();
        // Twice in one batch, and low in the end.
        put(engine, 7, &items(""));
        put(engine, 7, &items(r#","low_stock_at":3"#));
        cut();
        put(engine, 8, &items(""));
        cut();
        put(engine, 9, &items(r#","low_stock_at":0"#));
        cut();
        // Low and sold out at once.
        reserve(engine, 10, "eve", "tv", 3);
        cut();
        batches
    }

    #[test]
    fn low_stock_is_told_once_until_there_was_more_wherever_a_reader_starts() {
        let engine = Engine::new(Default::default());
        let batches = live_low(&engine);
        // In no batch yet.
        put(&engine, 11, r#"{"sku":"tv","initial_stock":10,"low_stock_at":7},{"sku":"low","initial_stock":3}"#);
        put(&engine, 12, r#"{"sku":"tv","initial_stock":10,"low_stock_at":9},{"sku":"low","initial_stock":3}"#);
        let low = |low_stock_at| Reached::LowStock { low_stock_at };
        let expected = [
            (3, LevelChange { item: ItemNumber(0), to: low(4), available: 4, at: at(2) }),
            (8, LevelChange { item: ItemNumber(0), to: low(3), available: 3, at: at(7) }),
            (11, LevelChange { item: ItemNumber(0), to: low(0), available: 0, at: at(10) }),
            (11, LevelChange { item: ItemNumber(0), to: Reached::SoldOut, available: 0, at: at(10) }),
        ];
        for start in 0..=batches.len() {
            let mut unwinding = Unwinding::begin(&engine);
            for (index, batch) in batches.iter().enumerate().skip(start) {
                unwinding.undo(index as Epoch + 1, batch).unwrap();
            }
            let told = all_changes(&mut unwinding.finish(), &batches[start..]);
            let behind = expected.iter().filter(|(batch, _)| *batch > start).map(|(_, change)| *change);
            assert_eq!(told, behind.collect::<Vec<_>>(), "after batch {start}");
        }
        let mut early = Unwinding::begin(&Engine::new(Default::default())).finish();
        assert_eq!(all_changes(&mut early, &batches), expected.map(|(_, change)| change));
    }

    fn all_changes(levels: &mut Levels, batches: &[Vec<u8>]) -> Vec<LevelChange> {
        let mut all = Vec::new();
        for batch in batches {
            let mut events = Events::new(batch);
            while let Some((_, _, event)) = events.next().unwrap() {
                levels.take(&event);
            }
            all.extend(levels.changes());
        }
        all
    }

    fn changes(levels: &mut Levels, batches: &[Vec<u8>]) -> Vec<(u32, u64, Timestamp)> {
        let all = all_changes(levels, batches);
        all.iter().map(|change| (change.item.0, change.available, change.at)).collect()
    }

    #[test]
    fn a_reader_is_told_the_same_wherever_and_whenever_it_starts() {
        const BEFORE: [usize; 6] = [0, 0, 0, 1, 2, 4];
        let engine = Engine::new(Default::default());
        let batches = live(&engine);
        // In no batch yet, and so of no concern to anybody.
        reserve(&engine, 71, "eve", "tv", 1);
        let expected = [(1, 0, at(2)), (0, 5, at(4)), (0, 0, at(70)), (1, 1, at(70))];
        for start in 0..=batches.len() {
            let mut unwinding = Unwinding::begin(&engine);
            assert_eq!(unwinding.reach(), batches.len() as Epoch);
            for (index, batch) in batches.iter().enumerate().skip(start) {
                unwinding.undo(index as Epoch + 1, batch).unwrap();
            }
            let told = changes(&mut unwinding.finish(), &batches[start..]);
            assert_eq!(told, expected[BEFORE[start]..], "after batch {start}");
        }
        // One that started when nothing was there learns of items as they come.
        let mut early = Unwinding::begin(&Engine::new(Default::default())).finish();
        assert_eq!(changes(&mut early, &batches), expected);
    }
}
