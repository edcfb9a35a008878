//! Finding the reservations of one customer in one sale.
//!
//! No index lists them, because it would make every reserve slower. A search looks at all reservations of the customer's bucket, in
//! portions, and releases the shard's lock between them. It finds ids only: `Shard::of_customer` then reads their state at one
//! moment.

use compact_str::CompactString;

use super::Shard;
use crate::{
    ids::{Bucket, ItemNumber, ReservationId, SaleNumber},
    index::{Walk, Walked},
};

/// Cells that are looked at under one hold of the lock: some microseconds.
const CELLS_AT_ONCE: usize = if cfg!(test) { 4 } else { 128 };

/// A search, and what it has found so far.
#[derive(Debug)]
pub struct Search {
    pub(crate) customer: CompactString,
    pub(crate) sale: SaleNumber,
    /// How many are kept: the newest of those found.
    most: usize,
    walk: Walk,
    found: Vec<ReservationId>,
    found_total: usize,
}

impl Search {
    /// `most`: how many reservations are wanted, the newest first.
    pub fn new(customer: &str, sale: SaleNumber, most: usize) -> Self {
        let (walk, found, found_total) = (Walk::default(), Vec::new(), 0);
        Self { customer: customer.into(), sale, most, walk, found, found_total }
    }

    pub fn bucket(&self) -> Bucket {
        Bucket::of(&self.customer)
    }

    /// The newest of those found, in their order, and how many were found in all.
    pub(crate) fn newest(&self) -> (Vec<ReservationId>, usize) {
        let mut newest = self.found.clone();
        newest.sort_unstable_by(|one, other| other.cmp(one));
        newest.truncate(self.most);
        (newest, self.found_total)
    }

    fn restart(&mut self) {
        self.found.clear();
        self.found_total = 0;
    }

    fn keep(&mut self, id: ReservationId) {
        self.found.push(id);
        self.found_total += 1;
        // Whatever there is, memory stays bounded.
        if self.found.len() > 2 * self.most {
            self.found.select_nth_unstable_by(self.most, |one, other| other.cmp(one));
            self.found.truncate(self.most);
        }
    }
}

impl Shard {
    /// Looks at the next portion. Whether that was the last.
    pub fn search(&self, search: &mut Search) -> bool {
        let bucket = search.bucket();
        let Some(customer) = self.find_customer(bucket, &search.customer) else {
            search.restart();
            return true;
        };
        let table = &self.buckets[bucket.index() / self.shards].by_id;
        let mut walk = search.walk;
        let walked = table.walk(&mut walk, CELLS_AT_ONCE, |slot| {
            let entry = &self.reservations[slot];
            if entry.customer == customer && entry.sale == search.sale {
                search.keep(entry.id);
            }
        });
        search.walk = walk;
        if walked == Walked::Restarted {
            search.restart();
        }
        walked == Walked::Over
    }

    /// The slot of a reservation that was found, if it is still the customer's.
    pub(crate) fn is_of(&self, id: ReservationId, search: &Search) -> bool {
        let customer = self.find_customer(search.bucket(), &search.customer);
        self.find(id).is_some_and(|slot| Some(self.reservations[slot].customer) == customer)
    }

    /// Units of each item that the customer holds or has confirmed, as limits count them.
    pub(crate) fn units_by_item(&self, customer: &str) -> Vec<(ItemNumber, u64)> {
        let customer = self.find_customer(Bucket::of(customer), customer).map(|slot| &self.customers[slot]);
        let holdings = customer.into_iter().flat_map(|customer| customer.holdings.iter());
        holdings.map(|holding| (holding.item, holding.units)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        super::testing::{self, DROP, ITEM, NOW, Nowhere, request},
        *,
    };
    use crate::{event::CustomerEvent, outcome::State};

    const OTHER: SaleNumber = SaleNumber(1);

    fn shard() -> Shard {
        testing::shard(1000, 1_000_000)
    }

    fn hold(shard: &mut Shard, customer: &str, sale: SaleNumber, number: u64) -> ReservationId {
        // Hashes that fall all over the table and often beside each other, and ids whose order is that of their numbers.
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let entropy = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        testing::reserve(shard, NOW.plus_millis(number), request(sale, customer, None), None, entropy).unwrap()
    }

    fn found(shard: &Shard, search: &mut Search) -> (Vec<ReservationId>, usize) {
        for _ in 0..100_000 {
            if shard.search(search) {
                return search.newest();
            }
        }
        panic!("the search does not end");
    }

    /// Another customer of the same bucket.
    fn neighbour(of: &str) -> String {
        (0..).map(|number| format!("n{number}")).find(|name| Bucket::of(name) == Bucket::of(of)).unwrap()
    }

    #[test]
    fn the_newest_of_the_customer_in_the_sale_are_found_and_all_are_counted() {
        let (mut shard, bob) = (shard(), neighbour("ann"));
        let mut own = Vec::new();
        for number in 0..300 {
            match number % 3 {
                0 => own.push(hold(&mut shard, "ann", DROP, number)),
                1 => drop(hold(&mut shard, "ann", OTHER, number)),
                _ => drop(hold(&mut shard, &bob, DROP, number)),
            }
        }
        own.reverse();
        assert_eq!(found(&shard, &mut Search::new("ann", DROP, 1000)), (own.clone(), 100));
        assert_eq!(found(&shard, &mut Search::new("ann", DROP, 7)), (own[..7].to_vec(), 100));
        assert_eq!(found(&shard, &mut Search::new(&bob, OTHER, 7)), (vec![], 0));
        assert_eq!(found(&shard, &mut Search::new("nobody", DROP, 7)), (vec![], 0));
    }

    #[test]
    fn what_was_there_from_the_beginning_to_the_end_is_found_whatever_comes_and_goes() {
        let mut number = 0;
        let mut next = |shard: &mut Shard, customer: &str| {
            number += 1;
            hold(shard, customer, DROP, number)
        };
        for round in 0..200_usize {
            let (mut shard, bob) = (shard(), neighbour("ann"));
            // Those that come last are often moved when others go.
            let mut others: Vec<_> = (0..70).map(|_| next(&mut shard, &bob)).collect();
            let kept: BTreeSet<_> = (0..20).map(|_| next(&mut shard, "ann")).collect();
            let mut search = Search::new("ann", DROP, 1000);
            let mut step = 0;
            while !shard.search(&mut search) {
                step += 1;
                // In between somebody else's come and go, and at times so many come that the table grows.
                for part in 0..4 {
                    let gone = others.swap_remove((step * 7 + part * 31 + round) % others.len());
                    shard.release(NOW, gone, None, &mut Nowhere).unwrap();
                    shard.apply(&CustomerEvent::Retired { id: gone, counted: false });
                    others.push(next(&mut shard, &bob));
                }
                let more = if round % 4 == 0 && step == 5 { 200 } else { 0 };
                others.extend((0..more).map(|_| next(&mut shard, &bob)));
                assert!(step < 10_000);
            }
            let (newest, total) = search.newest();
            assert_eq!(total, kept.len(), "each was met once");
            assert_eq!(newest.into_iter().collect::<BTreeSet<_>>(), kept);
        }
    }

    #[test]
    fn it_is_shown_as_it_stands_and_no_longer_when_it_is_not_the_customers() {
        let mut shard = shard();
        let [confirmed, held, due] = [1, 2, 3].map(|number| hold(&mut shard, "ann", DROP, number));
        testing::confirm(&mut shard, NOW.plus_seconds(1), confirmed, None).unwrap();
        shard.extend(NOW.plus_seconds(1), held, 600, |_| 9, &mut Nowhere).unwrap();
        let mut search = Search::new("ann", DROP, 9);
        found(&shard, &mut search);
        let later = NOW.plus_seconds(100);
        let shown = shard.of_customer(later, &search, &mut Nowhere);
        let states: Vec<_> = shown.reservations.iter().map(|shown| (shown.id, shown.state)).collect();
        assert_eq!(states, [(due, State::Expired), (held, State::Held), (confirmed, State::Confirmed)]);
        assert_eq!((shown.units, shown.total), (vec![(ITEM, 4)], 3), "what expired counts no longer");
        // Found before, and somebody else's by now.
        shard.erase_customer(later, "ann", &mut Nowhere);
        hold(&mut shard, "ann", OTHER, 200_000);
        let shown = shard.of_customer(later, &search, &mut Nowhere);
        assert_eq!((shown.reservations.len(), shown.units, shown.total), (0, vec![(ITEM, 2)], 0));
    }
}
