//! When a window sold an item out: the data from which the database derives it, because the fold does not know the previous
//! level.
//!
//! Invariant: the moment does not depend on how batches are grouped into windows: it is the end of the first batch that left
//! nothing, if there had been some. The feed's first `item.sold_out` has the same moment.

use crate::sale::time::Timestamp;

/// What is available, against what there was before the window, at the ends of its batches.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    last: i64,
    low: i64,
    low_at: Option<Timestamp>,
    back_at: Option<Timestamp>,
}

impl Level {
    /// A batch that moved the item, last at `at`, ended with so much more or less than before the window.
    pub(super) fn reach(&mut self, change: i64, at: Timestamp) {
        if change < self.low {
            (self.low, self.low_at) = (change, Some(at));
        }
        if change == 0 && self.last > 0 {
            self.back_at.get_or_insert(at);
        }
        self.last = change;
    }

    /// Whether some item may have been sold out by this.
    pub(super) fn is_notable(&self) -> bool {
        self.low_at.is_some() || self.back_at.is_some()
    }

    /// By how much it fell at most, 0 or less: it was sold out if there was as much. As nothing falls below nothing, that
    /// was then the first time.
    pub(super) fn low(&self) -> i64 {
        self.low
    }

    /// When it first fell as low.
    pub(super) fn low_at(&self) -> Option<Timestamp> {
        self.low_at
    }

    /// When it first came back to what there was: it was sold out then if there had been nothing.
    pub(super) fn back_at(&self) -> Option<Timestamp> {
        self.back_at
    }
}
