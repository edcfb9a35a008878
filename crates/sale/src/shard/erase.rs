//! Erasing a customer: the shard forgets the identity and keeps the stock.
//!
//! Invariant: no unit moves. The customer's holds stay, without an owner: they can be confirmed, released and extended, and
//! expire as before. Their units count towards no limit.

use super::{Bucket, Extras, NOBODY, Shard, Texts, entry::History};

impl Shard {
    /// Reservations in memory that are the customer's.
    pub fn reservations_of(&self, customer: &str) -> u64 {
        self.find_customer(Bucket::of(customer), customer).map_or(0, |slot| self.customers[slot].reservations.into())
    }

    /// Removes the customer from its reservations, and with it the texts from callers: idempotency keys, references and labels
    /// may also name a person.
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
            entry.customer = NOBODY;
            let texts = entry.texts.take();
            let kept = texts.as_deref().and_then(|texts| texts.extras.as_deref()).map(|extras| {
                let attributes = extras.attributes.as_deref().map(|attributes| attributes.without_labels());
                let history = extras.history.as_deref().and_then(History::without_texts);
                (attributes, extras.short.clone(), history, extras.group.clone())
            });
            self.bytes = self.bytes + self.reservations[reservation].bytes() - bytes_before;
            self.forget(texts);
            // Tier, channel and region are many customers'.
            let Some((attributes, short, history, group)) = kept else { continue };
            let attributes = attributes.filter(|kept| !kept.is_empty()).map(|attributes| self.intern(&attributes));
            if attributes.is_some() || !short.is_empty() || history.is_some() || group.is_some() {
                let entry = &mut self.reservations[reservation];
                let bytes_before = entry.bytes();
                let extras = Some(Box::new(Extras { attributes, short, history: history.map(Box::new), group }));
                entry.texts = Some(Box::new(Texts { extras, ..Texts::default() }));
                self.bytes = self.bytes + entry.bytes() - bytes_before;
            }
        }
        self.erase_entries(slot, Bucket::of(customer));
        self.drop_customer(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{self, DROP, ITEM, NOW, Nowhere, POOL, request},
        *,
    };
    use crate::{
        event::{CustomerEvent, Portion, Portions, Settled},
        ids::{ReservationId, erased_customer},
        judge::Judgement,
        outcome::State,
        stock::Amounts,
    };

    const RETENTION_MILLIS: u64 = 1000;
    const LIMIT: Option<u32> = Some(6);

    fn hold(shard: &mut Shard, customer: &str, key: Option<&str>, entropy: u64) -> ReservationId {
        testing::reserve(shard, NOW, request(DROP, customer, key), LIMIT, entropy << 8).unwrap()
    }

    /// A shard in which `ann` has one of everything: held, confirmed, released, and confirmed so long ago that it is gone.
    fn lived() -> (Shard, [ReservationId; 4]) {
        let mut shard = testing::shard(RETENTION_MILLIS, 100);
        let gone = hold(&mut shard, "ann", None, 1);
        testing::confirm(&mut shard, NOW, gone, Some("order of ann")).unwrap();
        shard.retire_due(NOW.plus_seconds(3), 9, |_| true, &mut Nowhere);
        assert_eq!(shard.reservations(), 0);
        let held = hold(&mut shard, "ann", Some("key of ann"), 2);
        let released = hold(&mut shard, "ann", None, 3);
        shard.release(NOW, released, Some("ann moved"), &mut Nowhere).unwrap();
        let confirmed = hold(&mut shard, "ann", None, 4);
        testing::confirm(&mut shard, NOW, confirmed, Some("order of ann")).unwrap();
        hold(&mut shard, "bob", Some("key of bob"), 5);
        (shard, [gone, held, released, confirmed])
    }

    fn exported(shard: &Shard) -> Vec<String> {
        let mut exported = Vec::new();
        for bucket in ["ann", "bob"].map(Bucket::of) {
            shard.export(bucket, |event| exported.push(format!("{event:?}")));
        }
        exported.sort();
        exported
    }

    #[test]
    fn nothing_of_the_customer_is_left_and_no_unit_moves() {
        let (mut shard, [_, held, released, confirmed]) = lived();
        let slice = shard.slice(POOL);
        assert!(exported(&shard).concat().matches("ann").count() > 5);
        assert_eq!(shard.erase_customer(NOW, "ann", &mut Nowhere), 3);
        assert_eq!((shard.slice(POOL), shard.reservations(), shard.customers()), (slice, 4, 1));
        assert!(!exported(&shard).concat().contains("ann"), "{:#?}", exported(&shard));
        assert!(exported(&shard).concat().contains("key of bob"));
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
            shard.export(bucket, |event| again.apply(event));
        }
        assert_eq!(exported(&again), exported(&shard));
        assert_eq!((again.customers(), again.slice(POOL).held, again.slice(POOL).confirmed), (1, 4, 4));
    }

    #[test]
    fn what_was_held_goes_on_and_counts_towards_nobody() {
        for state in [State::Confirmed, State::Released, State::Expired] {
            let (mut shard, [_, held, ..]) = lived();
            shard.erase_customer(NOW, "ann", &mut Nowhere);
            // A customer that comes back has the whole limit, and no key is known.
            for entropy in 10..13 {
                hold(&mut shard, "ann", (entropy == 10).then_some("key of ann"), entropy);
            }
            let more = testing::reserve(&mut shard, NOW, request(DROP, "ann", None), LIMIT, 99 << 8);
            assert!(matches!(more, Err(Judgement::LimitExceeded(exceeded)) if exceeded.already == 6));
            let ended = match state {
                State::Confirmed => testing::confirm(&mut shard, NOW, held, Some("later")).unwrap(),
                State::Released => shard.release(NOW, held, None, &mut Nowhere).unwrap(),
                _ => shard.look(NOW.plus_seconds(70), held, &mut Nowhere).unwrap(),
            };
            assert_eq!((ended.state, ended.customer), (state, erased_customer(held)));
            let units = shard.slice(POOL);
            assert_eq!(units.available + (units.held + units.confirmed) as i64, 100);
            // All that is over leaves memory; what was confirmed stays confirmed, for nobody.
            let confirmed = units.confirmed;
            shard.retire_due(NOW.plus_seconds(90), 99, |_| true, &mut Nowhere);
            assert_eq!((shard.slice(POOL).confirmed, shard.find(held)), (confirmed, None));
            assert!(!exported(&shard).concat().contains("Carried"), "{:#?}", exported(&shard));
        }
    }

    #[test]
    fn units_that_are_settled_in_parts_are_where_their_events_say() {
        let mut shard = testing::shard(RETENTION_MILLIS, 100);
        let id = hold(&mut shard, "ann", None, 1);
        let part = |units| [Portion { item: ITEM, pool: POOL, units }].into_iter().collect();
        let settled = |units, text| Settled {
            id,
            sale: DROP,
            at: NOW,
            text,
            portions: part(units),
            returned: Portions::new(),
            late: false,
        };
        shard.apply(&CustomerEvent::Released(settled(1, None)));
        assert_eq!(shard.look(NOW, id, &mut Nowhere).unwrap().state, State::Held);
        shard.apply(&CustomerEvent::Confirmed(settled(1, Some("order"))));
        let shown = shard.look(NOW, id, &mut Nowhere).unwrap();
        assert_eq!(
            (shown.state, shown.lines[0].amounts),
            (State::Confirmed, Amounts { confirmed: 1, returned: 1, ..Amounts::default() })
        );
        let slice = shard.slice(POOL);
        assert_eq!((slice.available, slice.held, slice.confirmed, shard.live_holds()), (99, 0, 1, 0));
        // A snapshot brings back the same.
        let mut again = testing::shard(RETENTION_MILLIS, 100);
        shard.export(Bucket::of("ann"), |event| again.apply(event));
        assert_eq!(again.look(NOW, id, &mut Nowhere).unwrap(), shown);
        assert_eq!((again.slice(POOL), again.bytes()), (slice, shard.bytes()));
        // What was confirmed of it stays sold when it leaves memory.
        shard.retire_due(NOW.plus_seconds(90), 99, |_| false, &mut Nowhere);
        assert_eq!((shard.slice(POOL), shard.reservations(), shard.customers()), (slice, 0, 0));
    }
}
