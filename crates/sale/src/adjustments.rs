//! Remembers changes of stock, and extensions of all holds, with an idempotency key, so that a repeat gets the first answer.
//!
//! Invariant: a change is remembered for at least the retention time. The scope of a key is the item of one change, and the sale
//! of several that were made together; adjustments and transfers have keys of their own.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use super::{
    event::{Adjusted, CatalogueEvent, HoldsExtended, PoolLevels, Transferred},
    ids::{ItemNumber, PoolNumber, SaleNumber},
    time::Timestamp,
};

#[derive(Debug, Clone)]
pub struct Adjustments {
    single: Memory<ItemNumber, Remembered>,
    together: Memory<SaleNumber, Vec<(ItemNumber, Remembered)>>,
    transfers: Memory<ItemNumber, RememberedTransfer>,
    /// How many holds of a sale were extended together.
    extensions: Memory<SaleNumber, u64>,
}

/// Answers by key, with the fingerprint of the request of each.
#[derive(Debug, Clone)]
struct Memory<S, A> {
    retention_millis: u64,
    by_key: HashMap<(S, Box<str>), (u64, A)>,
    /// In the order in which they were made, and will be forgotten.
    order: VecDeque<(Timestamp, S, Box<str>)>,
}

/// The data of an adjustment's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    pub pool: PoolNumber,
    pub at: Timestamp,
    pub delta: i64,
    pub reason: Option<Box<str>>,
    pub reference: Option<Box<str>>,
    pub stock: u64,
    pub available: u64,
    pub of_pool: Option<PoolLevels>,
}

/// The data of a transfer's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedTransfer {
    pub from: PoolNumber,
    pub to: PoolNumber,
    pub at: Timestamp,
    pub units: u64,
    pub reason: Option<Box<str>>,
    pub reference: Option<Box<str>>,
    pub after: [PoolLevels; 2],
}

impl<S: Hash + Eq + Copy, A> Memory<S, A> {
    fn new(retention_millis: u64) -> Self {
        Self { retention_millis, by_key: HashMap::new(), order: VecDeque::new() }
    }

    fn find(&self, scope: S, key: &str) -> Option<(u64, &A)> {
        self.by_key.get(&(scope, Box::from(key))).map(|(fingerprint, answer)| (*fingerprint, answer))
    }

    fn put(&mut self, at: Timestamp, scope: S, (key, fingerprint): (&str, u64), answer: A) {
        while let Some((before, ..)) = self.order.front() {
            if at.millis_since(*before) <= self.retention_millis {
                break;
            }
            let (_, scope, key) = self.order.pop_front().expect("just seen");
            self.by_key.remove(&(scope, key));
        }
        self.order.push_back((at, scope, key.into()));
        self.by_key.insert((scope, key.into()), (fingerprint, answer));
    }

    /// They are remembered for as long as before.
    fn set_clock(&mut self, by: i64) {
        self.order.iter_mut().for_each(|(at, ..)| *at = at.shifted(by));
    }

    fn iter(&self) -> impl Iterator<Item = (Timestamp, S, &str, u64, &A)> {
        self.order.iter().map(|(at, scope, key)| {
            let (fingerprint, answer) = &self.by_key[&(*scope, key.clone())];
            (*at, *scope, &**key, *fingerprint, answer)
        })
    }
}

impl Adjustments {
    pub fn new(retention_millis: u64) -> Self {
        Self {
            single: Memory::new(retention_millis),
            together: Memory::new(retention_millis),
            transfers: Memory::new(retention_millis),
            extensions: Memory::new(retention_millis),
        }
    }

    /// The adjustment that a key stands for, with the fingerprint of its request.
    pub fn find(&self, item: ItemNumber, key: &str) -> Option<(u64, &Remembered)> {
        self.single.find(item, key)
    }

    /// The adjustments that a key of a sale stands for.
    pub fn find_together(&self, sale: SaleNumber, key: &str) -> Option<(u64, &[(ItemNumber, Remembered)])> {
        self.together.find(sale, key).map(|(fingerprint, made)| (fingerprint, made.as_slice()))
    }

    pub fn find_transfer(&self, item: ItemNumber, key: &str) -> Option<(u64, &RememberedTransfer)> {
        self.transfers.find(item, key)
    }

    /// How many holds were extended by the request that a key of a sale stands for.
    pub fn find_extension(&self, sale: SaleNumber, key: &str) -> Option<(u64, u64)> {
        self.extensions.find(sale, key).map(|(fingerprint, holds)| (fingerprint, *holds))
    }

    pub fn apply(&mut self, event: &CatalogueEvent<'_>) {
        match event {
            CatalogueEvent::ClockSet(set) => {
                self.single.set_clock(set.by);
                self.together.set_clock(set.by);
                self.transfers.set_clock(set.by);
                self.extensions.set_clock(set.by);
            }
            CatalogueEvent::Adjusted(adjusted) => {
                let Some(key) = adjusted.key else { return };
                let made = Remembered::of(adjusted);
                let Some(sale) = adjusted.of_sale else {
                    return self.single.put(adjusted.at, adjusted.item, key, made);
                };
                let known = self.together.by_key.get_mut(&(sale, Box::from(key.0)));
                match known.map(|(_, all)| all).filter(|all| all[0].1.at == adjusted.at) {
                    Some(all) => all.push((adjusted.item, made)),
                    None => self.together.put(adjusted.at, sale, key, vec![(adjusted.item, made)]),
                }
            }
            CatalogueEvent::Transferred(transferred) => {
                let Some(key) = transferred.key else { return };
                self.transfers.put(transferred.at, transferred.item, key, RememberedTransfer::of(transferred));
            }
            CatalogueEvent::HoldsExtended(extended) => {
                let Some(key) = extended.key else { return };
                self.extensions.put(extended.at, extended.sale, key, extended.holds);
            }
            CatalogueEvent::SaleDefined(_)
            | CatalogueEvent::SalePaused { .. }
            | CatalogueEvent::SaleResumed { .. }
            | CatalogueEvent::SaleClosed { .. }
            | CatalogueEvent::StatusReached { .. }
            | CatalogueEvent::PhaseOpened { .. }
            | CatalogueEvent::PoolShared { .. }
            | CatalogueEvent::HoldsExtending(_)
            | CatalogueEvent::Stocked { .. }
            | CatalogueEvent::Audited(_)
            | CatalogueEvent::KeysNoted { .. }
            | CatalogueEvent::AuditReached(_)
            | CatalogueEvent::WrittenBy { .. } => {}
        }
    }

    /// The events that rebuild this memory from nothing.
    pub fn export(&self, mut each: impl FnMut(&CatalogueEvent<'_>)) {
        for (at, item, key, fingerprint, made) in self.single.iter() {
            each(&CatalogueEvent::Adjusted(made.event(at, item, (key, fingerprint), None)));
        }
        for (at, sale, key, fingerprint, all) in self.together.iter() {
            for (item, made) in all {
                each(&CatalogueEvent::Adjusted(made.event(at, *item, (key, fingerprint), Some(sale))));
            }
        }
        for (at, item, key, fingerprint, made) in self.transfers.iter() {
            each(&CatalogueEvent::Transferred(Transferred {
                item,
                from: made.from,
                to: made.to,
                at,
                units: made.units,
                reason: made.reason.as_deref(),
                reference: made.reference.as_deref(),
                key: Some((key, fingerprint)),
                after: made.after,
            }));
        }
        for (at, sale, key, fingerprint, &holds) in self.extensions.iter() {
            let (run, key) = (0, Some((key, fingerprint)));
            each(&CatalogueEvent::HoldsExtended(HoldsExtended { sale, at, run, holds, key }));
        }
    }
}

impl Remembered {
    pub fn of(adjusted: &Adjusted<'_>) -> Self {
        Self {
            pool: adjusted.pool,
            at: adjusted.at,
            delta: adjusted.delta,
            reason: adjusted.reason.map(Box::from),
            reference: adjusted.reference.map(Box::from),
            stock: adjusted.stock,
            available: adjusted.available,
            of_pool: adjusted.of_pool,
        }
    }

    fn event<'a>(
        &'a self,
        at: Timestamp,
        item: ItemNumber,
        key: (&'a str, u64),
        of_sale: Option<SaleNumber>,
    ) -> Adjusted<'a> {
        Adjusted {
            item,
            pool: self.pool,
            at,
            delta: self.delta,
            reason: self.reason.as_deref(),
            reference: self.reference.as_deref(),
            key: Some(key),
            of_sale,
            of_reservation: None,
            stock: self.stock,
            available: self.available,
            of_pool: self.of_pool,
        }
    }
}

impl RememberedTransfer {
    pub fn of(transferred: &Transferred<'_>) -> Self {
        Self {
            from: transferred.from,
            to: transferred.to,
            at: transferred.at,
            units: transferred.units,
            reason: transferred.reason.map(Box::from),
            reference: transferred.reference.map(Box::from),
            after: transferred.after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjusted(key: &'static str, at: u64, of_sale: Option<SaleNumber>) -> CatalogueEvent<'static> {
        CatalogueEvent::Adjusted(Adjusted {
            item: ItemNumber(0),
            pool: PoolNumber(0),
            at: Timestamp::from_millis(at),
            delta: 5,
            reason: None,
            reference: None,
            key: Some((key, 1)),
            of_sale,
            of_reservation: None,
            stock: 15,
            available: 15,
            of_pool: None,
        })
    }

    #[test]
    fn a_key_is_remembered_for_the_retention_and_then_forgotten() {
        let mut adjustments = Adjustments::new(1000);
        adjustments.apply(&adjusted("a", 0, None));
        adjustments.apply(&adjusted("b", 1000, None));
        assert!(adjustments.find(ItemNumber(0), "a").is_some());
        adjustments.apply(&adjusted("c", 1001, None));
        assert!(adjustments.find(ItemNumber(0), "a").is_none());
        assert!(adjustments.find(ItemNumber(0), "b").is_some());

        let mut again = Adjustments::new(1000);
        adjustments.export(|event| again.apply(event));
        assert_eq!(again.find(ItemNumber(0), "c"), adjustments.find(ItemNumber(0), "c"));
    }

    #[test]
    fn changes_that_were_made_together_are_one_answer() {
        let (mut adjustments, sale) = (Adjustments::new(1000), SaleNumber(4));
        for _ in 0..3 {
            adjustments.apply(&adjusted("a", 7, Some(sale)));
        }
        let mut again = Adjustments::new(1000);
        adjustments.export(|event| again.apply(event));
        for adjustments in [adjustments, again] {
            assert_eq!(adjustments.find_together(sale, "a").map(|(_, all)| all.len()), Some(3));
            assert!(adjustments.find(ItemNumber(0), "a").is_none());
        }
    }
}
