//! Stock over all shards: the bound that answers without a lock, and units moved between slices.
//!
//! Invariant: a bound is either loose and says nothing, or tight and is exactly the sum of its pool's slices. It turns
//! tight only under all shard locks, by a refusal; while it is tight each grant and each return moves it under the lock
//! of its shard. So what it refuses is true at the instant it is read.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crossbeam::utils::CachePadded;

use sale::{
    ids::PoolNumber,
    judge::Stock,
    shard::Shard,
    stock::{Account, Move},
};

const LOOSE: u64 = u64::MAX;

/// What is known of a pool's availability without a lock.
#[derive(Debug)]
pub(crate) struct Bound(AtomicU64);

/// By pool. Shared by all versions of the catalogue, until there are more pools.
pub(crate) type Bounds = Arc<Vec<Arc<CachePadded<Bound>>>>;

impl Bound {
    pub(crate) fn loose() -> Self {
        Self(AtomicU64::new(LOOSE))
    }

    /// The available units, exact at this instant; None when the bound is loose.
    pub(crate) fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|&units| units != LOOSE)
    }

    /// Under all shard locks: from here on the bound is exact.
    pub(crate) fn tighten(&self, available: u64) {
        self.0.store(available, Ordering::Release);
    }

    /// Under all shard locks: from here on the bound says nothing.
    pub(crate) fn loosen(&self) {
        self.0.store(LOOSE, Ordering::Release);
    }

    /// Under the lock of the shard whose slice the units moved from or to. Whether a bound is tight changes only under all locks.
    pub(crate) fn follow(&self, moved: &Move) {
        if moved.from == Account::Available {
            self.take(moved.units);
        }
        if moved.to == Account::Available {
            self.give(moved.units);
        }
    }

    fn take(&self, units: u64) {
        if self.0.load(Ordering::Relaxed) != LOOSE {
            let before = self.0.fetch_sub(units, Ordering::AcqRel);
            assert!(before >= units, "a tight bound covers every grant");
        }
    }

    fn give(&self, units: u64) {
        if self.0.load(Ordering::Relaxed) != LOOSE {
            self.0.fetch_add(units, Ordering::AcqRel);
        }
    }
}

/// Units available over all shards.
pub(crate) fn total_available<'a>(shards: impl Iterator<Item = &'a Shard>, pool: PoolNumber) -> u64 {
    let available = shards.map(|shard| shard.slice(pool).available).sum::<i64>();
    u64::try_from(available).expect("available is never negative")
}

/// What is known without a lock: the bounds alone.
pub(crate) struct BoundsAlone<'a>(pub &'a Bounds);

impl Stock for BoundsAlone<'_> {
    const ONE_INSTANT: bool = false;

    fn here(&self, _: PoolNumber) -> u64 {
        0
    }

    fn everywhere(&self, pool: PoolNumber) -> Option<u64> {
        self.0[pool.index()].get()
    }
}

/// What is known under one shard's lock: its slices, and bounds.
pub(crate) struct OneShard<'a> {
    pub shard: &'a Shard,
    pub bounds: &'a Bounds,
}

impl Stock for OneShard<'_> {
    const ONE_INSTANT: bool = false;

    fn here(&self, pool: PoolNumber) -> u64 {
        self.shard.here(pool)
    }

    fn everywhere(&self, pool: PoolNumber) -> Option<u64> {
        self.bounds[pool.index()].get()
    }
}

/// What is known under all locks: everything.
pub(crate) struct AllShards<F>(pub F);

impl<F: Fn(PoolNumber) -> u64> Stock for AllShards<F> {
    const ONE_INSTANT: bool = true;

    fn here(&self, pool: PoolNumber) -> u64 {
        (self.0)(pool)
    }

    fn everywhere(&self, pool: PoolNumber) -> Option<u64> {
        Some(self.here(pool))
    }
}

/// How `total` units are spread over `shards` slices: evenly, after `reserved` went to shard `first`; what does not
/// divide goes one each to the shards from `first` on.
pub(crate) fn spread(total: u64, shards: usize, first: usize, reserved: u64) -> impl Iterator<Item = (usize, u64)> {
    let rest = total.checked_sub(reserved).expect("no more is set aside than there is");
    (0..shards).map(move |step| {
        let index = (first + step) % shards;
        (index, share(rest, shards, first, index) + if step == 0 { reserved } else { 0 })
    })
}

/// What shard `index` has of units that are spread evenly.
pub(crate) fn share(total: u64, shards: usize, first: usize, index: usize) -> u64 {
    let step = (index + shards - first) % shards;
    total / shards as u64 + u64::from((step as u64) < total % shards as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreading_loses_nothing_and_serves_the_first() {
        for (total, shards, first, reserved) in [(0, 4, 2, 0), (10, 4, 3, 2), (3, 8, 7, 3), (1_000_003, 7, 0, 5)] {
            let mut slices = vec![0; shards];
            spread(total, shards, first, reserved).for_each(|(index, units)| slices[index] = units);
            assert_eq!(slices.iter().sum::<u64>(), total);
            assert!(slices[first] >= reserved);
            let others = slices.iter().enumerate().filter(|&(index, _)| index != first).map(|(_, &units)| units);
            assert!(others.clone().max().unwrap() - others.min().unwrap() <= 1);
        }
    }

    #[test]
    fn a_loose_bound_says_nothing_and_a_tight_one_is_exact() {
        let bound = Bound::loose();
        bound.take(5);
        assert_eq!(bound.get(), None);
        bound.tighten(7);
        bound.take(5);
        bound.give(1);
        assert_eq!(bound.get(), Some(3));
    }
}
