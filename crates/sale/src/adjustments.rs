//! Remembers adjustments with an idempotency key, so that a repeat gets the first answer.
//!
//! Invariant: an adjustment is remembered for at least the retention time; the scope of a key is its item.

use std::collections::{HashMap, VecDeque};

use super::{
    event::{Adjusted, CatalogueEvent},
    ids::{ItemNumber, PoolNumber},
    time::Timestamp,
};

#[derive(Debug, Clone)]
pub struct Adjustments {
    retention_millis: u64,
    by_key: HashMap<(ItemNumber, Box<str>), Remembered>,
    /// In the order in which they were made, and will be forgotten.
    order: VecDeque<(Timestamp, ItemNumber, Box<str>)>,
}

/// The data of an adjustment's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    pub pool: PoolNumber,
    pub fingerprint: u64,
    pub at: Timestamp,
    pub delta: i64,
    pub reason: Option<Box<str>>,
    pub reference: Option<Box<str>>,
    pub stock: u64,
    pub available: u64,
}

impl Adjustments {
    pub fn new(retention_millis: u64) -> Self {
        Self { retention_millis, by_key: HashMap::new(), order: VecDeque::new() }
    }

    pub fn find(&self, item: ItemNumber, key: &str) -> Option<&Remembered> {
        self.by_key.get(&(item, Box::from(key)))
    }

    pub fn apply(&mut self, event: &CatalogueEvent<'_>) {
        if let CatalogueEvent::ClockSet(set) = event {
            // They are remembered for as long as before.
            self.order.iter_mut().for_each(|(at, ..)| *at = at.shifted(set.by));
        }
        let CatalogueEvent::Adjusted(adjusted) = event else { return };
        let Some((key, _)) = adjusted.key else { return };
        while let Some((at, ..)) = self.order.front() {
            if adjusted.at.millis_since(*at) <= self.retention_millis {
                break;
            }
            let (_, item, key) = self.order.pop_front().expect("just seen");
            self.by_key.remove(&(item, key));
        }
        self.order.push_back((adjusted.at, adjusted.item, key.into()));
        self.by_key.insert((adjusted.item, key.into()), Remembered::of(adjusted));
    }

    /// The events that rebuild this memory from nothing.
    pub fn export(&self, mut each: impl FnMut(&CatalogueEvent<'_>)) {
        for (at, item, key) in &self.order {
            let kept = &self.by_key[&(*item, key.clone())];
            each(&CatalogueEvent::Adjusted(Adjusted {
                item: *item,
                pool: kept.pool,
                at: *at,
                delta: kept.delta,
                reason: kept.reason.as_deref(),
                reference: kept.reference.as_deref(),
                key: Some((key, kept.fingerprint)),
                stock: kept.stock,
                available: kept.available,
            }));
        }
    }
}

impl Remembered {
    pub fn of(adjusted: &Adjusted<'_>) -> Self {
        Self {
            pool: adjusted.pool,
            fingerprint: adjusted.key.map_or(0, |(_, fingerprint)| fingerprint),
            at: adjusted.at,
            delta: adjusted.delta,
            reason: adjusted.reason.map(Box::from),
            reference: adjusted.reference.map(Box::from),
            stock: adjusted.stock,
            available: adjusted.available,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjusted(key: &'static str, at: u64) -> CatalogueEvent<'static> {
        CatalogueEvent::Adjusted(Adjusted {
            item: ItemNumber(0),
            pool: PoolNumber(0),
            at: Timestamp::from_millis(at),
            delta: 5,
            reason: None,
            reference: None,
            key: Some((key, 1)),
            stock: 15,
            available: 15,
        })
    }

    #[test]
    fn a_key_is_remembered_for_the_retention_and_then_forgotten() {
        let mut adjustments = Adjustments::new(1000);
        adjustments.apply(&adjusted("a", 0));
        adjustments.apply(&adjusted("b", 1000));
        assert!(adjustments.find(ItemNumber(0), "a").is_some());
        adjustments.apply(&adjusted("c", 1001));
        assert!(adjustments.find(ItemNumber(0), "a").is_none());
        assert!(adjustments.find(ItemNumber(0), "b").is_some());

        let mut again = Adjustments::new(1000);
        adjustments.export(|event| again.apply(event));
        assert_eq!(again.find(ItemNumber(0), "c"), adjustments.find(ItemNumber(0), "c"));
    }
}
