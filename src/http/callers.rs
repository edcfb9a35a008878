//! What rate limits remember of callers: a moment each, by a hash of who it is.
//!
//! Most callers of a sale are new to it, so a call takes one lock and looks once; governor's own store looks for a caller
//! first and then for a place.

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use governor::{
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};

/// Locks: few callers meet at one, and forgetting holds up few.
const LOCKS: usize = 512;

/// Callers by their hash, which nobody outside can choose.
pub struct Callers(DashMap<u64, Nanos, RandomState>);

impl Callers {
    pub fn new() -> Self {
        Self(DashMap::with_capacity_and_hasher_and_shard_amount(0, RandomState::default(), LOCKS))
    }
}

impl StateStore for Callers {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, caller: &u64, judge: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        match self.0.entry(*caller) {
            Entry::Occupied(mut known) => {
                let (admitted, moment) = judge(Some(*known.get()))?;
                known.insert(moment);
                Ok(admitted)
            }
            Entry::Vacant(place) => {
                let (admitted, moment) = judge(None)?;
                place.insert(moment);
                Ok(admitted)
            }
        }
    }
}

impl ShrinkableKeyedStateStore<u64> for Callers {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.retain(|_, moment| *moment > drop_below);
    }

    fn shrink_to_fit(&self) {
        self.0.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
