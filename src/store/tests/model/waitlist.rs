//! Waitlists of the world in miniature: joined, offered, passed over, left and expired.

use super::*;
use crate::sale::{
    event::{Joined, Offered, PassedOver, WaitEnded},
    ids::EntryId,
};

/// A waitlist entry.
pub(super) struct Waits {
    id: EntryId,
    sale: SaleNumber,
    customer: String,
    item: usize,
    units: u32,
}

impl World {
    pub(super) fn join(&mut self, customer: String, item: usize, units: u32, reference: Option<&str>, sort: u8) {
        let item = item % self.catalogue.items();
        let sale = self.sale_of(item);
        self.entropy += 1 << 20;
        self.places += 1;
        let id = reservation_id(self.now, &customer, self.entropy);
        let mut lines = vec![AskedUnits { item: ItemNumber(item as u32), units }];
        let other = (item + 1) % self.catalogue.items();
        if sort.is_multiple_of(4) && other != item && self.sale_of(other) == sale {
            lines.push(AskedUnits { item: ItemNumber(other as u32), units: 1 });
        }
        self.tell(&Event::Customer(CustomerEvent::Joined(Joined {
            id,
            sale,
            customer: &customer,
            place: self.places,
            expires_at: self.now.plus_seconds(3600),
            lines: lines.into(),
            reference,
            key: Some(("key", 7)),
            attributes: attributes_of(sort).map(Box::new),
        })));
        self.waiting.push(Waits { id, sale, customer, item, units });
    }

    /// Makes a hold for a waitlist entry, of its first line.
    pub(super) fn offer(&mut self, pick: usize, sort: u8) {
        let Some(index) = pick.checked_rem(self.waiting.len()) else { return };
        let Waits { item, units, .. } = self.waiting[index];
        let available: u64 = self.pools(item).iter().map(|pool| self.available[pool.index()]).sum();
        if available < u64::from(units) {
            return;
        }
        let Waits { id: entry, sale, customer, .. } = self.waiting.remove(index);
        let portions = self.draw(item, units, sort);
        self.entropy += 1 << 20;
        let id = reservation_id(self.now, &customer, self.entropy);
        let held = portions.iter().map(|&PricedPortion { item, pool, units, .. }| Portion { item, pool, units });
        self.reservations.push(Made { id, sale, state: State::Held, units: held.collect(), extensions: 0 });
        let (customer, attributes, short, reference, key) = (&*customer, None, Box::default(), None, None);
        let (hold_seconds, of_entry) = (60, Some(entry));
        self.tell(
            &CustomerEvent::Held(Held {
                id,
                sale,
                customer,
                hold_seconds,
                portions,
                reference,
                key,
                attributes,
                short,
                group: None,
                entry: of_entry,
            })
            .into(),
        );
        self.tell(&CustomerEvent::Offered(Offered { id: entry, sale, at: self.now, reservation: id }).into());
    }

    pub(super) fn pass_over(&mut self, pick: usize, cause: NoRoom) {
        let Some(waits) = self.waiting.get(pick % self.waiting.len().max(1)) else { return };
        let (id, sale, at) = (waits.id, waits.sale, self.now);
        self.tell(&CustomerEvent::PassedOver(PassedOver { id, sale, at, cause }).into());
    }

    pub(super) fn end_wait(&mut self, pick: usize, is_left: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let Waits { id, sale, .. } = self.waiting.remove(pick % self.waiting.len());
        let ended = WaitEnded { id, sale, at: self.now };
        let event = if is_left { CustomerEvent::LeftWaitlist(ended) } else { CustomerEvent::WaitExpired(ended) };
        self.tell(&event.into());
    }

    /// A customer is about to be erased.
    pub(super) fn leave_all(&mut self, customer: &str) {
        let at = self.now;
        for Waits { id, sale, .. } in
            self.waiting.extract_if(.., |waits| waits.customer == customer).collect::<Vec<_>>()
        {
            self.tell(&CustomerEvent::LeftWaitlist(WaitEnded { id, sale, at }).into());
        }
    }
}
