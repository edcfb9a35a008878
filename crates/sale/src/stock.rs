//! Units and where they are: moves between accounts of a pool, the amounts of a reservation, and the book of stock.
//!
//! A pool is a counter of units of one item. Its units are available, held or confirmed; other units are outside of the sale.
//! `Event::moves` is the only place that says what an event does to which pool. Shards, bounds, recovery, the store's fold and
//! the feed all follow it.

use super::{
    event::CatalogueEvent,
    ids::{ItemNumber, PoolNumber},
};

/// Where a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// Not in the sale: not put in yet, or taken out.
    Outside,
    Available,
    Held,
    Confirmed,
}

/// Units of one pool that went from one account to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    pub item: ItemNumber,
    pub pool: PoolNumber,
    pub from: Account,
    pub to: Account,
    pub units: u64,
}

impl Move {
    /// Units that an account gained or lost.
    pub fn change_of(&self, account: Account) -> i64 {
        let units = i64::try_from(self.units).expect("stock is limited to 2^63");
        i64::from(self.to == account) * units - i64::from(self.from == account) * units
    }

    /// Units put into the sale, or taken out of it.
    pub fn change_of_stock(&self) -> i64 {
        -self.change_of(Account::Outside)
    }
}

/// Where the units of a reservation's line are. Their sum is what the hold had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    pub held: u32,
    pub confirmed: u32,
    /// Held units that went back: released, expired, or left over by a confirmation.
    pub returned: u32,
    /// Confirmed units that went back.
    pub cancelled: u32,
}

impl Amounts {
    pub fn held(units: u32) -> Self {
        Self { held: units, ..Self::default() }
    }

    pub fn sum(&self) -> u32 {
        self.held + self.confirmed + self.returned + self.cancelled
    }

    /// Units in an account, as far as they can still move. What was available again may be confirmed late.
    pub fn in_account(&self, account: Account) -> u32 {
        match account {
            Account::Held => self.held,
            Account::Confirmed => self.confirmed,
            Account::Available => self.returned,
            Account::Outside => 0,
        }
    }

    /// Moves units from one account to another.
    ///
    /// # Panics
    /// If the reservation does not have them there, or if no event moves units so.
    pub fn shift(&mut self, from: Account, to: Account, units: u32) {
        let (source, target) = match (from, to) {
            (Account::Held, Account::Confirmed) => (&mut self.held, &mut self.confirmed),
            (Account::Held, Account::Available) => (&mut self.held, &mut self.returned),
            (Account::Available, Account::Confirmed) => (&mut self.returned, &mut self.confirmed),
            (Account::Confirmed, Account::Available) => (&mut self.confirmed, &mut self.cancelled),
            (from, to) => panic!("no unit of a reservation moves from {from:?} to {to:?}"),
        };
        *source = source.checked_sub(units).expect("a reservation has the units that an event moves");
        *target += units;
    }
}

/// Units put into each pool: initial stock plus adjustments. It is apart from the documents, so that an adjustment touches one
/// pool.
#[derive(Debug, Clone, Default)]
pub struct StockBook {
    units: Vec<u64>,
}

impl StockBook {
    /// Units in the pool's sale, wherever they are.
    pub fn of(&self, pool: PoolNumber) -> u64 {
        self.units[pool.index()]
    }

    /// Pools in the book.
    pub fn pools(&self) -> usize {
        self.units.len()
    }

    /// Applies an event.
    ///
    /// # Panics
    /// If a pool would have fewer than no units: the journal is not ours or a rule is broken.
    pub fn apply(&mut self, event: &CatalogueEvent<'_>) {
        event.moves(|moved| {
            let units = self.entry(moved.pool);
            *units = units.checked_add_signed(moved.change_of_stock()).expect("stock is never negative");
        });
    }

    /// The events that rebuild the book from nothing. `item_of`: the item of a pool.
    pub fn export(&self, item_of: impl Fn(PoolNumber) -> ItemNumber, mut each: impl FnMut(&CatalogueEvent<'_>)) {
        for (number, &stock) in self.units.iter().enumerate() {
            let pool = PoolNumber(number as u32);
            each(&CatalogueEvent::Stocked { item: item_of(pool), pool, stock });
        }
    }

    fn entry(&mut self, pool: PoolNumber) -> &mut u64 {
        if self.units.len() <= pool.index() {
            self.units.resize(pool.index() + 1, 0);
        }
        &mut self.units[pool.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_follow_their_units() {
        let mut amounts = Amounts::held(5);
        amounts.shift(Account::Held, Account::Confirmed, 3);
        amounts.shift(Account::Held, Account::Available, 2);
        amounts.shift(Account::Confirmed, Account::Available, 1);
        assert_eq!(amounts, Amounts { held: 0, confirmed: 2, returned: 2, cancelled: 1 });
        assert_eq!(amounts.sum(), 5);
        amounts.shift(Account::Available, Account::Confirmed, 2);
        assert_eq!(amounts, Amounts { held: 0, confirmed: 4, returned: 0, cancelled: 1 });
    }

    #[test]
    #[should_panic(expected = "a reservation has the units that an event moves")]
    fn no_unit_is_moved_twice() {
        Amounts::held(1).shift(Account::Held, Account::Confirmed, 2);
    }
}
