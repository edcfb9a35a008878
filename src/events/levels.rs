//! Available units of each item at the end of a batch, and the items that the batch sold out or brought back.
//!
//! A batch is a consistent cut, so sums at its end are exact. Within it they are never negative, but lanes of one generation
//! follow one another, so they do not show whether an item was sold out for a moment in between. An item's initial stock counts
//! as if it had always been there, so that a new item is no item that is back in stock.
//!
//! Invariant: the levels after a batch depend only on the journal, not on where or when a reader started.

use std::collections::BTreeMap;

use crate::{
    engine::{Engine, Epoch, batch::Events},
    sale::{
        codec::Malformed,
        event::{CatalogueEvent, Event},
        ids::ItemNumber,
        stock::{Account, Move},
        time::Timestamp,
    },
};

pub(super) struct Levels {
    /// By item.
    available: Vec<i64>,
    /// Items that the reader knew when it began.
    known: usize,
    /// What the present batch moved.
    moved: BTreeMap<ItemNumber, Moved>,
}

struct Moved {
    before: i64,
    at: Timestamp,
}

/// An item that a batch left sold out, or brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LevelChange {
    pub item: ItemNumber,
    /// 0: sold out.
    pub available: u64,
    /// When the last of what moved it happened.
    pub at: Timestamp,
}

/// Levels on their way back in time: known at a cut, wanted at an earlier one.
pub(super) struct Unwinding(Vec<(Epoch, i64)>);

impl Unwinding {
    pub(super) fn begin(engine: &Engine) -> Self {
        Self(engine.available_at_cuts())
    }

    /// The last batch that has to be undone.
    pub(super) fn reach(&self) -> Epoch {
        self.0.iter().map(|&(cut, _)| cut).max().unwrap_or(0)
    }

    pub(super) fn undo(&mut self, epoch: Epoch, payload: &[u8]) -> Result<(), Malformed> {
        let mut events = Events::new(payload);
        while let Some((_, _, event)) = events.next()? {
            if is_initial_stock(&event) {
                continue;
            }
            event.moves(|moved| {
                if let Some((cut, available)) = self.0.get_mut(moved.item.index())
                    && epoch <= *cut
                {
                    *available -= moved.change_of(Account::Available);
                }
            });
        }
        Ok(())
    }

    /// To be called when every batch behind the one wanted was undone.
    pub(super) fn finish(self) -> Levels {
        let available: Vec<_> = self.0.into_iter().map(|(_, available)| available).collect();
        Levels { known: available.len(), available, moved: BTreeMap::new() }
    }
}

impl Levels {
    pub(super) fn take(&mut self, event: &Event<'_>) {
        if is_initial_stock(event) {
            return event.moves(|moved| self.open(&moved));
        }
        let at = event.at().unwrap_or_default();
        event.moves(|moved| {
            let change = moved.change_of(Account::Available);
            let Some(available) = self.available.get_mut(moved.item.index()).filter(|_| change != 0) else { return };
            let moved = self.moved.entry(moved.item).or_insert(Moved { before: *available, at });
            moved.at = moved.at.max(at);
            *available += change;
        });
    }

    /// Ends the batch: the items that it sold out or brought back, by number.
    pub(super) fn changes(&mut self) -> impl Iterator<Item = LevelChange> {
        let (moved, levels) = (std::mem::take(&mut self.moved), &self.available);
        moved.into_iter().filter_map(|(item, moved)| {
            let available = u64::try_from(levels[item.index()]).unwrap_or(0);
            ((moved.before > 0) != (available > 0)).then_some(LevelChange { item, available, at: moved.at })
        })
    }

    /// A pool of an item that is new to the reader. Of an item that was known at the cut, the initial stock is counted already.
    fn open(&mut self, moved: &Move) {
        let index = moved.item.index();
        if index < self.known {
            return;
        }
        if self.available.len() <= index {
            self.available.resize(index + 1, 0);
        }
        self.available[index] += moved.change_of(Account::Available);
    }
}

/// Whether what the event moves was never elsewhere, and so is no change that a reader is told.
fn is_initial_stock(event: &Event<'_>) -> bool {
    matches!(event, Event::Catalogue(CatalogueEvent::SaleDefined(_)))
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

    fn changes(levels: &mut Levels, batches: &[Vec<u8>]) -> Vec<(u32, u64, Timestamp)> {
        let mut all = Vec::new();
        for batch in batches {
            let mut events = Events::new(batch);
            while let Some((_, _, event)) = events.next().unwrap() {
                levels.take(&event);
            }
            all.extend(levels.changes().map(|change| (change.item.0, change.available, change.at)));
        }
        all
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
