//! All holds of a sale are extended, in steps between which requests go on.
//!
//! Invariant: a bucket of customers is extended in one step under its shard's lock, and buckets in their order. A cut of the lanes is
//! consistent, so the journal has a prefix of the buckets, and after a crash the extension continues behind it.

use super::{Answer, Engine, Written};
use sale::{
    audit::{self, Action, Actor, NewRecord},
    command::ExtendAll,
    event::{CatalogueEvent, HoldsExtended, HoldsExtending},
    ids::{BUCKETS, Bucket, SaleNumber},
    outcome::Refusal,
    time::Timestamp,
};

/// Steps of one tick. Between two of them commits and operators go on.
const STEPS_PER_TICK: usize = 8;
/// Reservations that one step looks at, and buckets.
const LOOKS_PER_STEP: usize = 512;
const BUCKETS_PER_STEP: usize = 64;

/// Extensions that may be under way. The refusal names it.
const EXTENSIONS_MAX: usize = 16;

/// How an extension of all holds stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionOfAll {
    /// It is under way: ask again.
    Running(Extending),
    /// So many holds were extended. `replayed`: by an earlier request with the same key.
    Done { holds: u64, replayed: bool },
}

/// An extension under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extending {
    run: u64,
}

impl Engine {
    /// Begins to extend all holds of a sale, or joins an extension with the same key. `tick` carries it out.
    pub fn extend_all(
        &self,
        now: Timestamp,
        by: Actor<'_>,
        asked: &ExtendAll<'_>,
    ) -> Answer<Result<ExtensionOfAll, Refusal>> {
        let mut control = self.control.lock();
        let now = control.advance(now);
        let sale = match control.catalogue.sale(asked.sale) {
            Ok(sale) => sale.number,
            Err(refusal) => return self.judged(Err(refusal)),
        };
        let key = asked.key.map(|key| (key, asked.fingerprint()));
        if let Some((known, found)) = key.and_then(|(key, _)| find(&control, sale, key)) {
            let same = key.is_some_and(|(_, fingerprint)| fingerprint == known);
            let found = if same { Ok(found) } else { Err(Refusal::IdempotencyKeyReused) };
            return self.answer(found, &control.lane);
        }
        if control.extensions.len() >= EXTENSIONS_MAX {
            return self.judged(Err(Refusal::Full("the limit of 16 extensions of all holds at once")));
        }
        let (run, seconds) = (control.extensions.next_run(), asked.seconds);
        let extending = HoldsExtending { sale, at: now, run, seconds, key, done: None };
        let detail = audit::of_extension(asked);
        let entry = NewRecord { by, action: Action::HoldsExtend, sale: Some(asked.sale), sku: None, detail };
        let record = control.trail.record(now, &entry);
        let mut written = Written::default();
        control.write(&CatalogueEvent::HoldsExtending(extending), &mut written);
        control.write(&record, &mut written);
        self.append(&mut control, &mut self.lock_all(), written);
        self.answer(Ok(ExtensionOfAll::Running(Extending { run })), &control.lane)
    }

    /// How an extension stands that `extend_all` began or joined. None if it was finished so long ago that nothing is known of it.
    pub fn extension_of_all(&self, extending: Extending) -> Answer<Option<ExtensionOfAll>> {
        let control = self.control.lock();
        let is_running = control.extensions.iter().any(|running| running.run == extending.run);
        let state = if is_running {
            Some(ExtensionOfAll::Running(extending))
        } else {
            let holds = control.extensions.finished(extending.run);
            holds.map(|holds| ExtensionOfAll::Done { holds, replayed: false })
        };
        self.answer(state, &control.lane)
    }

    /// The next steps of the extension that is under way. Returns how many holds were extended.
    pub(super) fn extend_due(&self, now: Timestamp) -> u64 {
        (0..STEPS_PER_TICK).map_while(|_| self.step_extension(now)).sum()
    }

    /// One step; None if no extension is under way.
    fn step_extension(&self, now: Timestamp) -> Option<u64> {
        let mut control = self.control.lock();
        let running = control.extensions.first_mut()?;
        let holds_before = running.holds;
        let (mut looks, mut buckets) = (0, 0);
        while looks < LOOKS_PER_STEP && buckets < BUCKETS_PER_STEP {
            let Some(bucket) = Bucket::from_index(running.buckets as usize) else { break };
            let index = bucket.shard(self.cells.len());
            let mut cell = self.cells[index].cell.lock();
            let published = self.published.load();
            looks += self.decide(index, &published.bounds, &mut cell, |shard, record| {
                shard.extend_bucket(now, bucket, running, record)
            });
            buckets += 1;
        }
        let (sale, run, holds, done) = (running.sale, running.run, running.holds, running.buckets as usize == BUCKETS);
        let key = running.key.clone();
        if done {
            let at = control.advance(now);
            let key = key.as_ref().map(|(key, fingerprint)| (&**key, *fingerprint));
            let extended = CatalogueEvent::HoldsExtended(HoldsExtended { sale, at, run, holds, key });
            let mut written = Written::default();
            control.write(&extended, &mut written);
            self.append(&mut control, &mut self.lock_all(), written);
        }
        Some(holds - holds_before)
    }
}

/// What a key of a sale stands for, with the fingerprint of its request.
fn find(control: &super::Control, sale: SaleNumber, key: &str) -> Option<(u64, ExtensionOfAll)> {
    if let Some((fingerprint, holds)) = control.adjustments.find_extension(sale, key) {
        return Some((fingerprint, ExtensionOfAll::Done { holds, replayed: true }));
    }
    let running = control.extensions.iter().filter(|running| running.sale == sale);
    let mut with_key = running.filter_map(|running| Some((running.key.as_ref()?, running.run)));
    let ((_, fingerprint), run) = with_key.find(|((known, _), _)| **known == *key)?;
    Some((*fingerprint, ExtensionOfAll::Running(Extending { run })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use sale::{
        command::{AskedLine, Extras, Reserve},
        ids::GroupId,
        outcome::{GroupState, Reservation},
    };

    /// A sale of an item that is sold to groups of three.
    const DOCUMENT: &str = r#"{"id":"drop","name":"Drop","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-28T08:00:00Z",
        "hold_seconds":300,"items":[{"sku":"tv","initial_stock":9,"group":{"size":3,"seconds":600}}]}"#;

    fn join(engine: &Engine, now: Timestamp, customer: &str, entropy: u64, group: Option<GroupId>) -> Reservation {
        let extras = Extras { group, ..Extras::default() };
        let reserve = Reserve {
            sale: "drop",
            customer,
            lines: [AskedLine { sku: "tv", units: 1 }].into_iter().collect(),
            hold_seconds: None,
            reference: None,
            key: None,
            extras: Some(&extras),
        };
        engine.reserve(now, &reserve, entropy << 32).value.unwrap().reservation
    }

    #[test]
    fn the_members_of_a_group_are_extended_all_or_none() {
        let opened = Timestamp::from_millis(1_795_766_400_000);
        for completes_after in [-1, 0, 1] {
            let engine = Engine::new(Settings { shards: 4, ..Settings::default() });
            engine.put_sale(opened, Actor::Anybody, &serde_json::from_str(DOCUMENT).unwrap()).value.unwrap();
            let at = |millis: i64| Timestamp::from_millis(opened.millis().checked_add_signed(10_000 + millis).unwrap());
            engine.tick(at(-100));
            let first = join(&engine, at(-100), "ann", 1, None);
            let group = first.group.as_ref().map(|group| group.id);
            let second = join(&engine, at(-100), "bob", 2, group);
            let complete = || join(&engine, at(completes_after), "cid", 3, group);
            let before = (completes_after < 0).then(complete);
            let asked = ExtendAll { sale: "drop", seconds: 1000, reason: None, key: None };
            engine.extend_all(at(0), Actor::Anybody, &asked).value.unwrap();
            let last = before.unwrap_or_else(complete);
            assert_eq!(last.group.as_ref().map(|group| group.state), Some(GroupState::Complete));
            (0..20).for_each(|_| _ = engine.tick(at(10)));
            let ends = [first.id, second.id, last.id].map(|id| engine.look(at(10), id).value.unwrap().expires_at);
            let extended = if completes_after < 0 { 1000 } else { 0 };
            assert_eq!(
                ends,
                [at(completes_after).plus_seconds(300 + extended); 3],
                "{completes_after} ms after it began"
            );
        }
    }
}
