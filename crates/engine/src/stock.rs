//! Stock over all shards: the bound that answers without a lock, and units moved between slices.
//!
//! Invariant: a bound is either loose and says nothing, or tight and is exactly the sum of its pool's slices. It turns
//! tight only under all shard locks, by a refusal or by a grant that found the pool too small; while it is tight each grant and
//! each return moves it under the lock of its shard. So what it refuses is true at the instant it is read.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crossbeam::utils::CachePadded;

use sale::{
    ids::PoolNumber,
    judge::{Reading, Stock},
    shard::Shard,
    stock::{Account, Move},
    time::Timestamp,
};

const LOOSE: u64 = u64::MAX;

/// The lower bits of a tight bound are units, the others count returns: what was read twice was the same in between. (A double
/// collect: Afek et al., Atomic Snapshots of Shared Memory, 1993.)
const UNITS_BITS: u32 = 40;
const UNITS_MAX: u64 = (1 << UNITS_BITS) - 1;

/// What is known of a pool without a lock.
#[derive(Debug)]
pub(crate) struct Bound {
    available: AtomicU64,
    /// Units in holds, while the bound is tight.
    held: AtomicU64,
    /// When the first of them may come back, in milliseconds, as it was known lately; 0: no hold was found.
    release: AtomicU64,
    /// When that was looked for, in milliseconds.
    looked_at: AtomicU64,
    /// Somebody waits for the pool's item: units that come back are set aside. Written under all locks.
    waited_for: AtomicBool,
    /// Units that are set aside in all shards.
    set_aside: AtomicU64,
    /// There once somebody waited for this pool.
    awaited: OnceLock<Arc<Awaited>>,
}

/// What of a sale is to be offered to those who wait before anybody else gets it. While there is something, a driver that is not
/// under all locks knows nothing of pools that are waited for: who waits may want several items.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    /// Units of all of its pools that are set aside.
    set_aside: AtomicU64,
    /// From this moment on, in milliseconds, entries may fit that did not before, though nothing came back.
    look_at: AtomicU64,
}

impl Awaited {
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.set_aside.load(Ordering::Acquire) > 0 || self.is_to_be_looked_at(now)
    }

    pub(crate) fn is_to_be_looked_at(&self, now: Timestamp) -> bool {
        self.look_at.load(Ordering::Acquire) <= now.millis()
    }

    /// Under all shard locks: all entries were looked at, and none fits before then.
    pub(crate) fn looked_until(&self, until: Timestamp) {
        self.look_at.store(until.millis(), Ordering::Release);
    }

    /// Entries may fit from then on.
    pub(crate) fn look_from(&self, at: Timestamp) {
        self.look_at.fetch_min(at.millis(), Ordering::AcqRel);
    }
}

/// By pool. Shared by all versions of the catalogue, until there are more pools.
pub(crate) type Bounds = Arc<Vec<Arc<CachePadded<Bound>>>>;

impl Bound {
    pub(crate) fn loose() -> Self {
        Self {
            available: AtomicU64::new(LOOSE),
            held: AtomicU64::new(0),
            release: AtomicU64::new(0),
            looked_at: AtomicU64::new(0),
            waited_for: AtomicBool::new(false),
            set_aside: AtomicU64::new(0),
            awaited: OnceLock::new(),
        }
    }

    /// The available units, exact at this instant; None when the bound is loose.
    pub(crate) fn get(&self) -> Option<Reading> {
        let stamp = self.available.load(Ordering::Acquire);
        (stamp != LOOSE && !self.has_aside_in_sale()).then_some(Reading { units: stamp & UNITS_MAX, stamp })
    }

    /// Whether the available units have been these since they were read.
    pub(crate) fn is_still(&self, reading: Reading) -> bool {
        self.available.load(Ordering::Acquire) == reading.stamp
    }

    /// Under all shard locks: from here on the bound is exact.
    pub(crate) fn tighten(&self, available: u64, held: u64) {
        // A tight bound is exact already, and its count of returns must go on.
        if available < UNITS_MAX && self.get().is_none() {
            self.held.store(held, Ordering::Relaxed);
            self.available.store(available, Ordering::Release);
        }
    }

    /// From here on the bound says nothing.
    pub(crate) fn loosen(&self) {
        self.available.store(LOOSE, Ordering::Release);
    }

    /// Under the lock of the shard whose slice the units moved from or to. Bounds turn tight only under all locks.
    pub(crate) fn follow(&self, moved: &Move) {
        let is_set_aside = moved.to == Account::Available && self.waited_for.load(Ordering::Relaxed);
        if is_set_aside {
            self.set_aside.fetch_add(moved.units, Ordering::AcqRel);
            self.of_sale().set_aside.fetch_add(moved.units, Ordering::AcqRel);
        }
        if self.available.load(Ordering::Relaxed) == LOOSE {
            return;
        }
        match moved.from {
            Account::Available => self.take(moved.units),
            Account::Held => _ = self.held.fetch_sub(moved.units, Ordering::Relaxed),
            Account::Confirmed | Account::Outside => {}
        }
        match moved.to {
            Account::Available if is_set_aside => {}
            Account::Available => self.give(moved.units),
            Account::Held => _ = self.held.fetch_add(moved.units, Ordering::Relaxed),
            Account::Confirmed | Account::Outside => {}
        }
    }

    fn take(&self, units: u64) {
        let _ = self.available.fetch_update(Ordering::AcqRel, Ordering::Acquire, |stamp| {
            assert!(stamp == LOOSE || stamp & UNITS_MAX >= units, "a tight bound covers every grant");
            (stamp != LOOSE).then(|| stamp - units)
        });
    }

    fn give(&self, units: u64) {
        let _ = self.available.fetch_update(Ordering::AcqRel, Ordering::Acquire, |stamp| match stamp & UNITS_MAX {
            _ if stamp == LOOSE => None,
            // Plenty: nobody is refused for it.
            before if before + units >= UNITS_MAX => Some(LOOSE),
            before => {
                let returns = (stamp >> UNITS_BITS).wrapping_add(1) << UNITS_BITS;
                Some((before + units) | returns)
            }
        });
    }

    /// Whether units of the pool are set aside for whoever waits.
    pub(crate) fn has_aside(&self) -> bool {
        self.set_aside.load(Ordering::Acquire) > 0
    }

    fn has_aside_in_sale(&self) -> bool {
        self.is_waited_for() && self.of_sale().set_aside.load(Ordering::Acquire) > 0
    }

    /// Whether something is to be offered in the sale before anything is decided by this pool.
    pub(crate) fn is_awaited(&self, now: Timestamp) -> bool {
        self.is_waited_for() && self.of_sale().is_due(now)
    }

    /// Under all shard locks. Somebody waits for the pool, or did.
    pub(crate) fn set_aside(&self, units: u64) {
        let before = self.set_aside.swap(units, Ordering::AcqRel);
        self.of_sale().set_aside.fetch_add(units.wrapping_sub(before), Ordering::AcqRel);
    }

    fn of_sale(&self) -> &Awaited {
        self.awaited.get().expect("somebody waits for the pool, or did")
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        self.waited_for.load(Ordering::Relaxed)
    }

    /// Under all shard locks. `of_sale`: of the pool's sale.
    pub(crate) fn set_waited_for(&self, is_waited_for: bool, of_sale: &Arc<Awaited>) {
        self.awaited.get_or_init(|| of_sale.clone());
        self.waited_for.store(is_waited_for, Ordering::Relaxed);
    }

    /// Units in holds, if the bound is tight.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// When the first held unit may come back, as it was known lately.
    pub(crate) fn release(&self) -> Option<Timestamp> {
        Some(self.release.load(Ordering::Relaxed)).filter(|&at| at != 0).map(Timestamp::from_millis)
    }

    /// Whether that was looked for so lately that it can be said.
    pub(crate) fn knows_release(&self, now: Timestamp) -> bool {
        let is_ahead = self.release().is_some_and(|release| release > now);
        is_ahead && now.millis().abs_diff(self.looked_at.load(Ordering::Relaxed)) <= RELEASE_AGE_MILLIS
    }

    /// A hold of this pool was made, and ends then.
    pub(crate) fn follow_hold(&self, expires_at: Timestamp) {
        if self.available.load(Ordering::Relaxed) == LOOSE {
            return;
        }
        let known = self.release.load(Ordering::Relaxed);
        if known == 0 || known > expires_at.millis() {
            self.release.store(expires_at.millis(), Ordering::Relaxed);
        }
    }

    pub(crate) fn note_release(&self, now: Timestamp, release: Option<Timestamp>) {
        self.release.store(release.map_or(0, Timestamp::millis), Ordering::Relaxed);
        self.looked_at.store(now.millis(), Ordering::Relaxed);
    }
}

/// For how long it counts when the first of a pool's holds was found to end.
const RELEASE_AGE_MILLIS: u64 = 80;

/// Units available over all shards, those included that are set aside for whoever waits.
pub(crate) fn total_available<'a>(shards: impl Iterator<Item = &'a Shard>, pool: PoolNumber) -> u64 {
    shards.map(|shard| shard.slice(pool)).map(|slice| unsigned(slice.available) + slice.set_aside).sum()
}

/// Units over all shards that anybody may take.
pub(crate) fn total_open<'a>(shards: impl Iterator<Item = &'a Shard>, pool: PoolNumber) -> u64 {
    shards.map(|shard| unsigned(shard.slice(pool).available)).sum()
}

fn unsigned(available: i64) -> u64 {
    u64::try_from(available).expect("available is never negative")
}

/// What a slice has that its shard may give away by itself.
pub(crate) fn open_here(shard: &Shard, bounds: &Bounds, pool: PoolNumber) -> u64 {
    // Who waits comes first: some of what there is may be for everybody.
    if shard.is_waited_for(pool) && bounds[pool.index()].is_awaited(shard.now()) { 0 } else { shard.here(pool) }
}

/// What is known without a lock: the bounds alone.
pub(crate) struct BoundsAlone<'a>(pub &'a Bounds);

impl Stock for BoundsAlone<'_> {
    const ONE_INSTANT: bool = false;

    fn here(&self, _: PoolNumber) -> u64 {
        0
    }

    fn everywhere(&self, pool: PoolNumber) -> Option<Reading> {
        self.0[pool.index()].get()
    }

    fn is_still(&self, pool: PoolNumber, reading: Reading) -> bool {
        self.0[pool.index()].is_still(reading)
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
        open_here(self.shard, self.bounds, pool)
    }

    fn everywhere(&self, pool: PoolNumber) -> Option<Reading> {
        self.bounds[pool.index()].get()
    }

    fn is_still(&self, pool: PoolNumber, reading: Reading) -> bool {
        self.bounds[pool.index()].is_still(reading)
    }
}

/// What is known under all locks: everything.
pub(crate) struct AllShards<F>(pub F);

impl<F: Fn(PoolNumber) -> u64> Stock for AllShards<F> {
    const ONE_INSTANT: bool = true;

    fn here(&self, pool: PoolNumber) -> u64 {
        (self.0)(pool)
    }

    fn everywhere(&self, pool: PoolNumber) -> Option<Reading> {
        Some(Reading { units: self.here(pool), stamp: 0 })
    }

    fn is_still(&self, _: PoolNumber, _: Reading) -> bool {
        true
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

    fn moved(from: Account, to: Account, units: u64) -> Move {
        Move { item: sale::ids::ItemNumber(0), pool: PoolNumber(0), from, to, units }
    }

    #[test]
    fn a_loose_bound_says_nothing_and_a_tight_one_is_exact() {
        let (bound, held, available) = (Bound::loose(), Account::Held, Account::Available);
        bound.follow(&moved(available, held, 5));
        assert_eq!(bound.get(), None);
        bound.tighten(7, 1);
        bound.follow(&moved(available, held, 5));
        bound.follow(&moved(held, available, 1));
        assert_eq!((bound.get().map(|reading| reading.units), bound.held()), (Some(3), 5));
    }

    #[test]
    fn a_unit_that_left_and_came_back_was_noticed() {
        let (bound, held, available) = (Bound::loose(), Account::Held, Account::Available);
        bound.tighten(7, 0);
        let reading = bound.get().unwrap();
        assert!(bound.is_still(reading));
        bound.follow(&moved(available, held, 1));
        bound.follow(&moved(held, available, 1));
        assert_eq!(bound.get().unwrap().units, reading.units);
        assert!(!bound.is_still(reading));
    }

    #[test]
    fn a_bound_that_holds_no_more_units_turns_loose() {
        let bound = Bound::loose();
        bound.tighten(7, 0);
        bound.follow(&moved(Account::Outside, Account::Available, UNITS_MAX));
        assert_eq!(bound.get(), None);
        bound.tighten(UNITS_MAX, 0);
        assert_eq!(bound.get(), None);
    }
}
