//! When something of a sale changes by the clock: a queue of times, so that a tick costs what is due and not what exists.
//!
//! Invariant: a sale of which something began that has no event yet, or will, is in the queue at that time or earlier. A sale may
//! be there without need: whether something changed is decided when its time comes.

use std::collections::BTreeSet;

use sale::{
    catalogue::{Catalogue, Sale},
    ids::SaleNumber,
    time::Timestamp,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Schedule {
    due: BTreeSet<(Timestamp, SaleNumber)>,
}

impl Schedule {
    pub(super) fn of(catalogue: &Catalogue) -> Self {
        let mut schedule = Self::default();
        catalogue.sales().iter().for_each(|sale| schedule.add(sale));
        schedule
    }

    /// Adds the times of a sale that is new or was changed.
    pub(super) fn add(&mut self, sale: &Sale) {
        self.due.extend(sale.due_at().map(|at| (at, sale.number)));
    }

    /// The earliest time in the queue, in milliseconds.
    pub(super) fn next_millis(&self) -> u64 {
        self.due.first().map_or(u64::MAX, |(at, _)| at.millis())
    }

    /// Removes the sales whose time has come, each once.
    pub(super) fn take_due(&mut self, now: Timestamp) -> BTreeSet<SaleNumber> {
        let later = self.due.split_off(&(now.plus_millis(1), SaleNumber(0)));
        std::mem::replace(&mut self.due, later).into_iter().map(|(_, sale)| sale).collect()
    }
}
