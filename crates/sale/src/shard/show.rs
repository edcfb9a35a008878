//! Reads a shard's reservations, for answers and snapshots.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{
    Shard,
    entry::{Entry, Line, NOBODY},
};
use crate::{
    event::{Ended, Event, Held, PricedLine},
    ids::{Bucket, erased_customer},
    outcome::{self, State},
};

impl Shard {
    /// The events that rebuild one bucket's state from nothing.
    pub fn retell(&self, bucket: Bucket, mut each: impl FnMut(&Event<'_>)) {
        let tables = &self.buckets[bucket.index() / self.shards];
        for slot in tables.by_id.iter() {
            self.retell_reservation(&self.reservations[slot], &mut each);
        }
        for slot in tables.by_name.iter() {
            let customer = &self.customers[slot];
            for holding in customer.holdings.iter().filter(|holding| holding.carried > 0) {
                each(&Event::Carried { customer: &customer.name, item: holding.item, units: holding.carried });
            }
        }
        for (&item, &units) in &tables.forgotten {
            each(&Event::Forgotten { bucket, item, units });
        }
    }

    fn retell_reservation(&self, entry: &Entry, each: &mut impl FnMut(&Event<'_>)) {
        let texts = entry.texts.as_deref();
        each(&Event::Held(Held {
            id: entry.id,
            sale: entry.sale,
            customer: &self.customer_of(entry),
            hold_seconds: entry.hold_seconds,
            lines: self.priced_lines(entry),
            reference: texts.and_then(|texts| texts.reference.as_deref()),
            key: texts.and_then(|texts| texts.key.as_ref()).map(|(key, fingerprint)| (&**key, *fingerprint)),
        }));
        let (id, extensions) = (entry.id, entry.extensions);
        let moved = entry.expires_at != id.created_at().plus_seconds(entry.hold_seconds.into());
        if extensions > 0 || moved {
            let (expires_at, sale) = (entry.expires_at, Some(entry.sale));
            each(&Event::Extended { id, at: id.created_at(), expires_at, extensions, sale });
        }
        let text = texts.and_then(|texts| texts.end_text.as_deref());
        let ended = Ended { id, at: entry.ended_at, text, lines: self.quantities(entry) };
        match entry.state {
            State::Held => {}
            State::Confirmed => each(&Event::Confirmed(ended)),
            State::Released => each(&Event::Released(ended)),
            State::Expired => each(&Event::Expired(ended)),
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
            lines: self.priced_lines(entry),
            reference: reference.cloned(),
            expires_at: entry.expires_at,
            ended_at: (entry.state != State::Held).then_some(entry.ended_at),
            extensions: entry.extensions,
        }
    }

    /// The reservation as it was answered when it was made.
    pub(crate) fn show_as_made(&self, slot: u32) -> outcome::Reservation {
        let entry = &self.reservations[slot];
        outcome::Reservation {
            state: State::Held,
            reference: entry.texts.as_deref().and_then(|texts| texts.reference.clone()),
            expires_at: entry.id.created_at().plus_seconds(entry.hold_seconds.into()),
            ended_at: None,
            extensions: 0,
            ..self.show(slot)
        }
    }

    /// The entry's customer id, or its replacement after an erasure.
    fn customer_of(&self, entry: &Entry) -> Cow<'_, str> {
        match entry.customer {
            NOBODY => Cow::Owned(erased_customer(entry.id).into_string()),
            slot => Cow::Borrowed(self.customers[slot].name.as_str()),
        }
    }

    fn priced_lines(&self, entry: &Entry) -> SmallVec<[PricedLine; 1]> {
        let priced =
            |line: &Line| PricedLine { item: line.item, units: line.units, price: self.prices.get(line.price) };
        entry.lines.as_slice().iter().map(priced).collect()
    }
}
