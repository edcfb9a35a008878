//! Erasing a customer: what the shard knows of who somebody is goes, and what it knows of stock stays.
//!
//! Invariant: no unit moves. What the customer held is held on, by nobody, and can be confirmed, released and extended and
//! expires as before; what counted towards the customer's limits counts towards no limit.

use super::{Bucket, Customer, NOBODY, Shard};

impl Shard {
    /// Reservations in memory that are the customer's.
    pub fn reservations_of(&self, customer: &str) -> u64 {
        self.find_customer(customer).map_or(0, |slot| self.customers[slot].reservations.into())
    }

    /// Takes the customer from its reservations, and with it what callers said of them: idempotency keys and references
    /// may name a person as well.
    pub(super) fn erase(&mut self, customer: &str) {
        let Some(slot) = self.find_customer(customer) else { return };
        let bucket = Bucket::of(customer).index() / self.shards;
        // Nothing lists the reservations of a customer; those of a bucket are few.
        let of_bucket = self.buckets[bucket].by_id.iter().copied();
        let of_customer: Vec<u32> =
            of_bucket.filter(|&reservation| self.reservations[reservation].customer == slot).collect();
        for reservation in of_customer {
            self.unindex_key(reservation);
            let entry = &mut self.reservations[reservation];
            (entry.customer, entry.texts) = (NOBODY, None);
        }
        let Customer { holdings, .. } = self.drop_customer(slot);
        for holding in holdings.iter().filter(|holding| holding.carried > 0) {
            *self.buckets[bucket].forgotten.entry(holding.item).or_default() += holding.carried;
        }
    }
}
