//! The lines of a reservation as its rows have them, and what events do to them.
//!
//! Most events move all units of a reservation, so that its state says where they are and no row of a line changes. The others
//! are kept as changes, in their order, and applied to the lines: by the fold to those of a reservation that began in its window,
//! and by a database's writer to the rows that it has. Invariant: both follow the rule of the shard, by which a pool's first
//! line is confirmed first and its last line goes back first.

use smallvec::SmallVec;

use crate::sale::{
    event::{Portion, Portions, PricedPortion, PricedPortions},
    ids::{ItemNumber, PoolNumber},
    settings::Price,
};

/// A reservation's units from one pool at one price. `K`: how the pool is named, its item first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<K> {
    pub pool: K,
    pub price: Option<Price>,
    /// Units that the hold had when it ended, or has.
    pub quantity: u32,
    /// Of them: those that a confirmation left over, and that went back.
    pub returned: u32,
    /// Of them: those that were confirmed and then cancelled.
    pub cancelled: u32,
}

/// Those of a reservation, in their order.
pub type Lines<K> = SmallVec<[Line<K>; 1]>;

/// What an event does to some lines of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinesChange {
    /// A hold has other lines.
    Changed {
        returned: Portions,
        taken: PricedPortions,
    },
    /// Held units that a confirmation left over.
    LeftOver(Portions),
    /// Units that were confirmed late. The others stay where they were.
    ConfirmedLate(Portions),
    Cancelled(Portions),
}

impl<K> Line<K> {
    pub fn held(pool: K, units: u32, price: Option<Price>) -> Self {
        Self { pool, price, quantity: units, returned: 0, cancelled: 0 }
    }
}

impl LinesChange {
    /// Applies it to all lines of a reservation, in their order. False: they lack units that it moves. `key`: how a pool of an item
    /// is named.
    pub fn apply<I: PartialEq, P: PartialEq, E>(
        &self,
        lines: &mut Lines<(I, P)>,
        key: impl Fn(ItemNumber, PoolNumber) -> Result<(I, P), E>,
    ) -> Result<bool, E> {
        match self {
            Self::Changed { returned, taken } => {
                for portion in returned {
                    let back = |line: &mut Line<(I, P)>, units: u32| {
                        let moved = units.min(line.quantity);
                        line.quantity -= moved;
                        moved
                    };
                    if !spread(lines.iter_mut().rev(), &key(portion.item, portion.pool)?, portion.units, back) {
                        return Ok(false);
                    }
                }
                lines.retain(|line| line.quantity > 0);
                for &PricedPortion { item, pool, units, price } in taken {
                    let pool = key(item, pool)?;
                    match lines.iter_mut().find(|line| line.pool == pool && line.price == price) {
                        Some(line) => line.quantity += units,
                        None => {
                            // Lines of an item stay together.
                            let last = lines.iter().rposition(|line| line.pool.0 == pool.0);
                            lines.insert(last.map_or(lines.len(), |last| last + 1), Line::held(pool, units, price));
                        }
                    }
                }
            }
            Self::LeftOver(portions) => {
                return move_back(lines, portions, key, |line| (&mut line.returned, line.quantity));
            }
            Self::ConfirmedLate(portions) => {
                lines.iter_mut().for_each(|line| line.returned = line.quantity);
                for portion in portions {
                    let confirm = |line: &mut Line<(I, P)>, units: u32| {
                        let moved = units.min(line.returned);
                        line.returned -= moved;
                        moved
                    };
                    if !spread(lines.iter_mut(), &key(portion.item, portion.pool)?, portion.units, confirm) {
                        return Ok(false);
                    }
                }
            }
            Self::Cancelled(portions) => {
                return move_back(lines, portions, key, |line| {
                    let confirmed = line.quantity.saturating_sub(line.returned);
                    (&mut line.cancelled, confirmed)
                });
            }
        }
        Ok(true)
    }
}

/// Adds the portions to one of the amounts of their lines, the last line first. `amount`: which one it is, and its most.
fn move_back<K: PartialEq, E>(
    lines: &mut [Line<K>],
    portions: &[Portion],
    key: impl Fn(ItemNumber, PoolNumber) -> Result<K, E>,
    amount: impl Fn(&mut Line<K>) -> (&mut u32, u32),
) -> Result<bool, E> {
    for portion in portions {
        let back = |line: &mut Line<K>, units: u32| {
            let (amount, most) = amount(line);
            let moved = units.min(most.saturating_sub(*amount));
            *amount += moved;
            moved
        };
        if !spread(lines.iter_mut().rev(), &key(portion.item, portion.pool)?, portion.units, back) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Moves units of a pool's lines, of one after the other, as many as each has; whether that were all.
fn spread<'a, K: PartialEq + 'a>(
    lines: impl Iterator<Item = &'a mut Line<K>>,
    pool: &K,
    mut units: u32,
    mut shift: impl FnMut(&mut Line<K>, u32) -> u32,
) -> bool {
    for line in lines.filter(|line| line.pool == *pool) {
        units -= shift(line, units);
    }
    units == 0
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::sale::settings::Currency;

    const POOL: PoolNumber = PoolNumber(7);
    const NAMED: (ItemNumber, PoolNumber) = (ItemNumber(0), POOL);

    fn portions(units: u32) -> Portions {
        [Portion { item: ItemNumber(0), pool: POOL, units }].into_iter().collect()
    }

    fn price(amount: u64) -> Option<Price> {
        Some(Price { amount, currency: Currency::parse("EUR").unwrap() })
    }

    fn apply(lines: &mut Lines<(ItemNumber, PoolNumber)>, change: LinesChange) -> bool {
        change.apply(lines, |item, pool| Ok::<_, Infallible>((item, pool))).unwrap()
    }

    fn amounts(lines: &[Line<(ItemNumber, PoolNumber)>]) -> Vec<[u32; 3]> {
        lines.iter().map(|line| [line.quantity, line.returned, line.cancelled]).collect()
    }

    /// A hold of two units that got three more when they cost more.
    fn two_prices() -> Lines<(ItemNumber, PoolNumber)> {
        let mut lines = Lines::from_iter([Line::held(NAMED, 2, price(100))]);
        let taken = [PricedPortion { item: ItemNumber(0), pool: POOL, units: 3, price: price(120) }];
        assert!(apply(&mut lines, LinesChange::Changed { returned: portions(0), taken: taken.into_iter().collect() }));
        assert_eq!(amounts(&lines), [[2, 0, 0], [3, 0, 0]]);
        lines
    }

    #[test]
    fn the_first_line_is_confirmed_first_and_the_last_goes_back_first() {
        let mut lines = two_prices();
        assert!(apply(&mut lines, LinesChange::LeftOver(portions(1))));
        assert_eq!(amounts(&lines), [[2, 0, 0], [3, 1, 0]]);
        assert!(apply(&mut lines, LinesChange::Cancelled(portions(3))));
        assert_eq!(amounts(&lines), [[2, 0, 1], [3, 1, 2]]);
        assert!(!apply(&mut lines, LinesChange::Cancelled(portions(2))), "only one is left");

        let mut lines = two_prices();
        assert!(apply(&mut lines, LinesChange::ConfirmedLate(portions(4))));
        assert_eq!(amounts(&lines), [[2, 0, 0], [3, 1, 0]]);
    }

    #[test]
    fn lines_of_an_item_stay_together() {
        let other = (ItemNumber(1), PoolNumber(8));
        let mut lines = Lines::from_iter([Line::held(NAMED, 2, price(100)), Line::held(other, 1, None)]);
        let taken =
            [PricedPortion { item: ItemNumber(0), pool: POOL, units: 3, price: price(120) }].into_iter().collect();
        assert!(apply(&mut lines, LinesChange::Changed { returned: Portions::new(), taken }));
        assert_eq!(lines.iter().map(|line| line.pool).collect::<Vec<_>>(), [NAMED, NAMED, other]);
    }

    #[test]
    fn a_line_without_units_leaves_a_hold_and_the_same_price_is_the_same_line() {
        let mut lines = two_prices();
        let taken = [PricedPortion { item: ItemNumber(0), pool: POOL, units: 1, price: price(100) }];
        let taken = taken.into_iter().collect();
        assert!(apply(&mut lines, LinesChange::Changed { returned: portions(3), taken }));
        assert_eq!(amounts(&lines), [[3, 0, 0]]);
        let none = PricedPortions::new();
        assert!(!apply(&mut lines, LinesChange::Changed { returned: portions(4), taken: none }));
    }
}
