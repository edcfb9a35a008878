//! Reads a shard's reservations, for answers and snapshots.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{
    Shard,
    entry::{Entry, Line, Membership, NOBODY},
};
use crate::{
    attributes::Attributes,
    event::{
        Cancelled, Changed, ConfirmRefused, CustomerEvent, Extended, GroupNoted, Held, Portion, Portions,
        PricedPortion, PricedPortions, Settled,
    },
    ids::{Bucket, erased_customer},
    outcome::{self, ReservedLine, State},
    time::Timestamp,
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
        self.export_entries(bucket, &mut each);
    }

    fn export_reservation(&self, entry: &Entry, each: &mut impl FnMut(&CustomerEvent<'_>)) {
        let (id, sale, texts) = (entry.id, entry.sale, entry.texts.as_deref());
        let as_made = entry.history().and_then(|history| history.as_made.as_ref());
        let portions = self.priced_portions(entry.lines.iter(entry.state));
        let (first, short) = match as_made {
            Some((lines, short)) => (self.priced_portions(lines.iter().copied()), short.clone()),
            None => (portions.clone(), entry.short().into()),
        };
        let returned = first.iter().map(|&PricedPortion { item, pool, units, .. }| Portion { item, pool, units });
        let returned = returned.collect();
        each(&CustomerEvent::Held(Held {
            id,
            sale,
            customer: &self.customer_of(entry),
            hold_seconds: entry.hold_seconds,
            portions: first,
            reference: texts.and_then(|texts| texts.reference.as_deref()),
            key: texts.and_then(|texts| texts.key.as_ref()).map(|(key, fingerprint)| (&**key, *fingerprint)),
            attributes: entry.attributes().map(|attributes| Box::new(Attributes::clone(attributes))),
            short,
            group: entry.membership().map(|membership| Box::new(membership.joined)),
            entry: entry.history().and_then(|history| history.entry),
        }));
        if let Some(membership) = entry.membership()
            && let Some(state) = membership.group_state()
            && membership.joined.members < membership.joined.size
        {
            let (at, expires_at) = (membership.completed_at, entry.expires_at);
            let (members, deadline) = (membership.members, membership.deadline);
            each(&CustomerEvent::GroupNoted(GroupNoted { id, sale, at, state, members, deadline, expires_at }));
        }
        let moved = entry.expires_at != self.made_until(entry)
            && entry.membership().is_none_or(|it| it.joined.members == it.joined.size);
        if entry.extensions > 0 || moved {
            let (at, expires_at, extensions) = (id.created_at(), entry.expires_at, entry.extensions);
            each(&CustomerEvent::Extended(Extended { id, sale, at, expires_at, extensions, with_all: None }));
        }
        if as_made.is_some() {
            each(&CustomerEvent::Changed(Changed { id, sale, at: id.created_at(), returned, taken: portions }));
        }
        self.export_end(entry, each);
        for (reference, cause) in entry.history().iter().flat_map(|history| &history.refused) {
            let (at, reference, cause) = (entry.ended_at, reference.as_deref(), *cause);
            each(&CustomerEvent::ConfirmRefused(ConfirmRefused { id, sale, at, reference, cause }));
        }
    }

    /// The events by which a reservation came to its state.
    fn export_end(&self, entry: &Entry, each: &mut impl FnMut(&CustomerEvent<'_>)) {
        let (id, sale) = (entry.id, entry.sale);
        let text = entry.texts.as_deref().and_then(|texts| texts.end_text.as_deref());
        let settled = |at, portions, text| {
            let (returned, late) = (Portions::new(), false);
            Settled { id, sale, at, text, portions, returned, late }
        };
        let returned = self.portions(entry, |amounts| amounts.returned);
        match entry.state {
            State::Held => return,
            State::Released => return each(&CustomerEvent::Released(settled(entry.ended_at, returned, text))),
            State::Expired => return each(&CustomerEvent::Expired(settled(entry.ended_at, returned, None))),
            State::Confirmed | State::Cancelled => {}
        }
        let (history, late) = (entry.history(), entry.late);
        let at = history.and_then(|history| history.confirmed_at).unwrap_or(entry.ended_at);
        let portions = self.portions(entry, |amounts| amounts.confirmed + amounts.cancelled);
        let returned = if late {
            let all = self.portions(entry, |amounts| amounts.sum());
            each(&CustomerEvent::Expired(settled(entry.expires_at, all, None)));
            Portions::new()
        } else {
            returned
        };
        each(&CustomerEvent::Confirmed(Settled { returned, late, ..settled(at, portions, text) }));
        let cancelled = Cancelled {
            id,
            sale,
            at: entry.ended_at,
            reason: None,
            portions: Portions::new(),
            restock: true,
            is_all: entry.state == State::Cancelled,
            key: None,
        };
        let keys = history.iter().flat_map(|history| &history.cancellations);
        for (key, fingerprint) in keys {
            each(&CustomerEvent::Cancelled(Cancelled { key: Some((key, *fingerprint)), ..cancelled.clone() }));
        }
        let portions = self.portions(entry, |amounts| amounts.cancelled);
        if !portions.is_empty() {
            let reason = history.and_then(|history| history.cancel_reason.as_deref());
            each(&CustomerEvent::Cancelled(Cancelled { portions, reason, ..cancelled }));
        }
    }

    /// All units of these lines, wherever they are.
    fn priced_portions(&self, lines: impl Iterator<Item = Line>) -> PricedPortions {
        let portion = |line: Line| PricedPortion {
            item: self.pools[line.pool.index()].item,
            pool: line.pool,
            units: line.amounts.sum(),
            price: self.prices.get(line.price),
        };
        lines.map(portion).collect()
    }

    /// The reservation as it is now.
    pub(crate) fn show(&self, slot: u32) -> outcome::Reservation {
        let entry = &self.reservations[slot];
        let texts = entry.texts.as_deref();
        let has_order = matches!(entry.state, State::Confirmed | State::Cancelled);
        let of_order = texts.and_then(|texts| texts.end_text.as_ref()).filter(|_| has_order);
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
            confirmed_at: entry.history().and_then(|history| history.confirmed_at),
            late: entry.late,
            extensions: entry.extensions,
            attributes: entry.attributes().cloned(),
            short: entry.short().into(),
            group: entry.membership().and_then(Membership::show),
            entry: entry.history().and_then(|history| history.entry),
        }
    }

    /// When the hold was to end when it was made.
    fn made_until(&self, entry: &Entry) -> Timestamp {
        match entry.membership() {
            Some(Membership { joined, .. }) if joined.members < joined.size => joined.expires_at,
            _ => entry.id.created_at().plus_seconds(entry.hold_seconds.into()),
        }
    }

    /// The reservation as it was answered when it was made.
    pub(crate) fn show_as_made(&self, slot: u32) -> outcome::Reservation {
        let entry = &self.reservations[slot];
        let mut shown = outcome::Reservation {
            state: State::Held,
            reference: entry.texts.as_deref().and_then(|texts| texts.reference.clone()),
            expires_at: self.made_until(entry),
            ended_at: None,
            confirmed_at: None,
            late: false,
            extensions: 0,
            group: entry.membership().map(|membership| membership.joined.show()),
            ..self.show(slot)
        };
        if let Some((lines, short)) = entry.history().and_then(|history| history.as_made.as_ref()) {
            shown.lines = lines.iter().map(|&line| self.reserved_line(line)).collect();
            shown.short.clone_from(short);
        }
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
        entry.lines.iter(entry.state).map(|line| self.reserved_line(line)).collect()
    }

    fn reserved_line(&self, line: Line) -> ReservedLine {
        let Line { pool, price, amounts } = line;
        ReservedLine { item: self.pools[pool.index()].item, pool, price: self.prices.get(price), amounts }
    }
}
