//! Reads a shard's reservations, for answers and snapshots.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{
    Shard,
    entry::{Entry, NOBODY},
};
use crate::{
    attributes::Attributes,
    event::{CustomerEvent, Extended, Held, PricedPortion, Settled},
    ids::{Bucket, erased_customer},
    outcome::{self, ReservedLine, State},
};

impl Shard {
    /// The events that rebuild one bucket's state from nothing.
    pub fn export(&self, bucket: Bucket, mut each: impl FnMut(&CustomerEvent<'_>)) {
        let tables = &self.buckets[bucket.index() / self.shards];
        for slot in tables.by_id.iter() {
            self.export_reservation(&self.reservations[slot], &mut each);
        }
        for slot in tables.by_name.iter() {
            let customer = &self.customers[slot];
            for holding in customer.holdings.iter().filter(|holding| holding.carried > 0) {
                each(&CustomerEvent::Carried { customer: &customer.name, item: holding.item, units: holding.carried });
            }
        }
        for (&pool, &units) in &tables.sold {
            each(&CustomerEvent::Sold { bucket, item: self.pools[pool.index()].item, pool, units });
        }
    }

    fn export_reservation(&self, entry: &Entry, each: &mut impl FnMut(&CustomerEvent<'_>)) {
        let (id, sale, texts) = (entry.id, entry.sale, entry.texts.as_deref());
        let portion = |line: &ReservedLine| {
            let &ReservedLine { item, pool, price, amounts } = line;
            PricedPortion { item, pool, units: amounts.sum(), price }
        };
        each(&CustomerEvent::Held(Held {
            id,
            sale,
            customer: &self.customer_of(entry),
            hold_seconds: entry.hold_seconds,
            portions: self.reserved_lines(entry).iter().map(portion).collect(),
            reference: texts.and_then(|texts| texts.reference.as_deref()),
            key: texts.and_then(|texts| texts.key.as_ref()).map(|(key, fingerprint)| (&**key, *fingerprint)),
            attributes: entry.attributes().map(|attributes| Box::new(Attributes::clone(attributes))),
            short: entry.short().into(),
        }));
        let moved = entry.expires_at != id.created_at().plus_seconds(entry.hold_seconds.into());
        if entry.extensions > 0 || moved {
            let (expires_at, extensions) = (entry.expires_at, entry.extensions);
            each(&CustomerEvent::Extended(Extended { id, sale, at: id.created_at(), expires_at, extensions }));
        }
        let returned = self.portions(entry, |amounts| amounts.returned);
        let confirmed = self.portions(entry, |amounts| amounts.confirmed);
        let text = texts.and_then(|texts| texts.end_text.as_deref());
        let settled = |portions, text| Settled { id, sale, at: entry.ended_at, text, portions };
        if entry.state == State::Expired {
            return each(&CustomerEvent::Expired(settled(returned, text)));
        }
        if !returned.is_empty() {
            let text = text.filter(|_| entry.state == State::Released);
            each(&CustomerEvent::Released(settled(returned, text)));
        }
        if !confirmed.is_empty() {
            each(&CustomerEvent::Confirmed(settled(confirmed, text)));
        }
    }

    /// The reservation as it is now.
    pub(crate) fn show(&self, slot: u32) -> outcome::Reservation {
        let entry = &self.reservations[slot];
        let texts = entry.texts.as_deref();
        let of_order = texts.and_then(|texts| texts.end_text.as_ref()).filter(|_| entry.state == State::Confirmed);
        let reference = of_order.or(texts.and_then(|texts| texts.reference.as_ref()));
        outcome::Reservation {
            id: entry.id,
            sale: entry.sale,
            customer: self.customer_of(entry).as_ref().into(),
            state: entry.state,
            lines: self.reserved_lines(entry),
            reference: reference.cloned(),
            expires_at: entry.expires_at,
            ended_at: (entry.state != State::Held).then_some(entry.ended_at),
            extensions: entry.extensions,
            attributes: entry.attributes().cloned(),
            short: entry.short().into(),
        }
    }

    /// The reservation as it was answered when it was made.
    pub(crate) fn show_as_made(&self, slot: u32) -> outcome::Reservation {
        let entry = &self.reservations[slot];
        let mut shown = outcome::Reservation {
            state: State::Held,
            reference: entry.texts.as_deref().and_then(|texts| texts.reference.clone()),
            expires_at: entry.id.created_at().plus_seconds(entry.hold_seconds.into()),
            ended_at: None,
            extensions: 0,
            ..self.show(slot)
        };
        shown.lines.iter_mut().for_each(|line| line.amounts = State::Held.amounts(line.amounts.sum()));
        shown
    }

    /// The entry's customer id, or its replacement after an erasure.
    fn customer_of(&self, entry: &Entry) -> Cow<'_, str> {
        match entry.customer {
            NOBODY => Cow::Owned(erased_customer(entry.id).into_string()),
            slot => Cow::Borrowed(self.customers[slot].name.as_str()),
        }
    }

    fn reserved_lines(&self, entry: &Entry) -> SmallVec<[ReservedLine; 1]> {
        let lines = self.lines_of(entry);
        let shown = lines.map(|(item, line)| {
            let price = self.prices.get(line.price);
            ReservedLine { item, pool: line.pool, price, amounts: line.amounts }
        });
        shown.collect()
    }
}
