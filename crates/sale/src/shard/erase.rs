//! Erasing a customer: the shard forgets the identity and keeps the stock.
//!
//! Invariant: no unit moves. The customer's holds stay, without an owner: they can be confirmed, released and extended, and
//! expire as before. Their units count towards no limit.

use super::{Bucket, Customer, NOBODY, Shard};

impl Shard {
    /// Reservations in memory that are the customer's.
    pub fn reservations_of(&self, customer: &str) -> u64 {
        self.find_customer(Bucket::of(customer), customer).map_or(0, |slot| self.customers[slot].reservations.into())
    }

    /// Removes the customer from its reservations, and with it the texts from callers: idempotency keys and references may also
    /// name a person.
    pub(super) fn erase(&mut self, customer: &str) {
        let Some(slot) = self.find_customer(Bucket::of(customer), customer) else { return };
        let bucket = Bucket::of(customer).index() / self.shards;
        // Nothing lists the reservations of a customer; those of a bucket are few.
        let of_bucket = self.buckets[bucket].by_id.iter();
        let of_customer: Vec<u32> =
            of_bucket.filter(|&reservation| self.reservations[reservation].customer == slot).collect();
        for reservation in of_customer {
            self.unindex_key(reservation);
            let entry = &mut self.reservations[reservation];
            let bytes_before = entry.bytes();
            (entry.customer, entry.texts) = (NOBODY, None);
            self.bytes = self.bytes + entry.bytes() - bytes_before;
        }
        let Customer { holdings, .. } = self.drop_customer(slot);
        for holding in holdings.iter().filter(|holding| holding.carried > 0) {
            *self.buckets[bucket].forgotten.entry(holding.item).or_default() += holding.carried;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalogue::{Plan, PlanLine},
        decide::{Record, Reserved},
        event::{Event, PricedLine},
        ids::{ItemNumber, ReservationId, SaleNumber, erased_customer},
        outcome::State,
        time::Timestamp,
    };

    const NOW: Timestamp = Timestamp::from_millis(1_795_766_400_000);
    const TV: ItemNumber = ItemNumber(0);
    const RETENTION_MILLIS: u64 = 1000;

    struct Nowhere;

    impl Record for Nowhere {
        fn record(&mut self, _: &Event<'_>) {}
    }

    fn shard() -> Shard {
        let mut shard = Shard::new(1, RETENTION_MILLIS, 0);
        shard.resize(1);
        shard.set_available(TV, 100);
        shard
    }

    fn plan<'a>(customer: &'a str, key: Option<&'a str>) -> Plan<'a> {
        let line = PlanLine { line: PricedLine { item: TV, units: 2, price: None }, customer_limit: Some(6) };
        let (sale, lines, key) = (SaleNumber(0), [line].into_iter().collect(), key.map(|key| (key, 7)));
        let reference = Some(if customer == "ann" { "cart of ann" } else { "cart" });
        let (bucket, hold_seconds, closes_at) = (Bucket::of(customer), 60, Timestamp::MAX);
        Plan { sale, customer, bucket, lines, hold_seconds, closes_at, reference, key }
    }

    fn hold(shard: &mut Shard, customer: &str, key: Option<&str>, entropy: u64) -> ReservationId {
        match shard.reserve(NOW, &plan(customer, key), entropy << 8, &mut Nowhere) {
            Reserved::Held(reservation) => reservation.id,
            other => panic!("{other:?}"),
        }
    }

    /// A shard in which `ann` has one of everything: held, confirmed, released, and confirmed so long ago that it is gone.
    fn lived() -> (Shard, [ReservationId; 4]) {
        let mut shard = shard();
        let gone = hold(&mut shard, "ann", None, 1);
        shard.confirm(NOW, gone, Some("order of ann"), &mut Nowhere).unwrap();
        shard.retire_due(NOW.plus_seconds(3), 9, |_| true, &mut Nowhere);
        assert_eq!(shard.reservations(), 0);
        let held = hold(&mut shard, "ann", Some("key of ann"), 2);
        let released = hold(&mut shard, "ann", None, 3);
        shard.release(NOW, released, Some("ann moved"), &mut Nowhere).unwrap();
        let confirmed = hold(&mut shard, "ann", None, 4);
        shard.confirm(NOW, confirmed, Some("order of ann"), &mut Nowhere).unwrap();
        hold(&mut shard, "bob", Some("key of bob"), 5);
        (shard, [gone, held, released, confirmed])
    }

    fn told(shard: &Shard) -> Vec<String> {
        let mut told = Vec::new();
        for bucket in ["ann", "bob"].map(Bucket::of) {
            shard.retell(bucket, |event| told.push(format!("{event:?}")));
        }
        told.sort();
        told
    }

    #[test]
    fn nothing_of_the_customer_is_left_and_no_unit_moves() {
        let (mut shard, [_, held, released, confirmed]) = lived();
        let slice = shard.slice(TV);
        assert!(told(&shard).concat().matches("ann").count() > 5);
        assert_eq!(shard.erase_customer(NOW, "ann", &mut Nowhere), 3);
        assert_eq!((shard.slice(TV), shard.reservations(), shard.customers()), (slice, 4, 1));
        assert!(!told(&shard).concat().contains("ann"), "{:#?}", told(&shard));
        assert!(told(&shard).concat().contains("key of bob"));
        for (id, state) in [(held, State::Held), (released, State::Released), (confirmed, State::Confirmed)] {
            let shown = shard.look(NOW, id, &mut Nowhere).unwrap();
            assert_eq!((shown.state, shown.customer, shown.reference), (state, erased_customer(id), None));
        }
        assert_eq!(shard.erase_customer(NOW, "ann", &mut Nowhere), 0);
        assert_eq!(shard.erase_customer(NOW, "nobody", &mut Nowhere), 0);
    }

    #[test]
    fn what_was_erased_is_brought_back_erased() {
        let (mut shard, _) = lived();
        shard.erase_customer(NOW, "ann", &mut Nowhere);
        let mut again = super::super::Shard::new(1, RETENTION_MILLIS, 1);
        again.resize(1);
        for bucket in ["ann", "bob"].map(Bucket::of) {
            shard.retell(bucket, |event| again.apply(event));
        }
        assert_eq!(told(&again), told(&shard));
        assert_eq!((again.customers(), again.slice(TV).held, again.slice(TV).confirmed), (1, 4, 4));
    }

    #[test]
    fn what_was_held_goes_on_and_counts_towards_nobody() {
        for state in [State::Confirmed, State::Released, State::Expired] {
            let (mut shard, [_, held, ..]) = lived();
            shard.erase_customer(NOW, "ann", &mut Nowhere);
            // Who comes back begins anew: the whole limit, and a key that is not known.
            assert!(shard.known(SaleNumber(0), "ann", ("key of ann", 7)).is_none());
            for entropy in 10..13 {
                hold(&mut shard, "ann", (entropy == 10).then_some("key of ann"), entropy);
            }
            let more = shard.reserve(NOW, &plan("ann", None), 99 << 8, &mut Nowhere);
            assert!(matches!(more, Reserved::LimitExceeded(exceeded) if exceeded.already == 6));
            let ended = match state {
                State::Confirmed => shard.confirm(NOW, held, Some("later"), &mut Nowhere).unwrap(),
                State::Released => shard.release(NOW, held, None, &mut Nowhere).unwrap(),
                _ => shard.look(NOW.plus_seconds(70), held, &mut Nowhere).unwrap(),
            };
            assert_eq!((ended.state, ended.customer), (state, erased_customer(held)));
            let units = shard.slice(TV);
            assert_eq!(units.available + (units.held + units.confirmed) as i64, 100);
            // All that is over leaves memory; what was confirmed stays confirmed, for nobody.
            let confirmed = units.confirmed;
            shard.retire_due(NOW.plus_seconds(90), 99, |_| true, &mut Nowhere);
            assert_eq!((shard.slice(TV).confirmed, shard.find(held)), (confirmed, None));
            assert!(!told(&shard).concat().contains("Carried"), "{:#?}", told(&shard));
        }
    }
}
