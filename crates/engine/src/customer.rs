//! What there is of one customer: in one shard, found a portion at a time.

use super::{Answer, Engine};
use sale::{outcome::OfCustomer, shard::Search, time::Timestamp};

/// Portions in one call: between two of them the shard's lock is let go.
const PORTIONS: usize = 8;

impl Engine {
    /// Goes on with a search. Whether it is over.
    pub fn search(&self, search: &mut Search) -> bool {
        let slot = &self.cells[search.bucket().shard(self.cells.len())];
        (0..PORTIONS).any(|_| slot.cell.lock().shard.search(search))
    }

    /// What a search found, as it is now, at one instant.
    pub fn of_customer(&self, now: Timestamp, search: &Search) -> Answer<OfCustomer> {
        let index = search.bucket().shard(self.cells.len());
        let mut cell = self.cells[index].cell.lock();
        while let Some(member) = cell.shard.overdue_member(now, search) {
            drop(cell);
            self.fail_group_of(now, member);
            cell = self.cells[index].cell.lock();
        }
        let published = self.published.load();
        let found =
            self.decide(index, &published.bounds, &mut cell, |shard, record| shard.of_customer(now, search, record));
        self.answer(found, &cell.lane)
    }
}
