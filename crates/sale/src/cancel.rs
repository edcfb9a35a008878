//! Cancellations: confirmed units go back, all of them or some.

use super::{
    catalogue::Catalogue,
    command::Cancel,
    decide::Record,
    event::{Cancelled, CustomerEvent, Portions},
    ids::ReservationId,
    outcome::{Refusal, Reservation},
    shard::Shard,
    stock::Account,
    time::Timestamp,
    transition::{Command, Reason, Transition, transition},
};

/// The result of a cancellation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancellation {
    pub reservation: Reservation,
    /// What went back, now; the units are available.
    pub portions: Portions,
    /// The key was known, so nothing changed.
    pub replayed: bool,
}

impl Shard {
    pub fn cancel(
        &mut self,
        now: Timestamp,
        id: ReservationId,
        asked: &Cancel<'_>,
        catalogue: &Catalogue,
        record: &mut impl Record,
    ) -> Result<Cancellation, Refusal> {
        let (slot, at) = self.current(now, id, record)?;
        let key = asked.key.map(|key| (key, asked.fingerprint()));
        let unchanged = |shard: &Self, replayed| {
            Ok(Cancellation { reservation: shard.show(slot), portions: Portions::new(), replayed })
        };
        if let Some((key, fingerprint)) = key
            && let Some(known) = self.cancelled_by(slot, key)
        {
            return if known == fingerprint { unchanged(self, true) } else { Err(Refusal::IdempotencyKeyReused) };
        }
        let entry = &self.reservations[slot];
        match transition(entry.state, Command::Cancel) {
            Transition::Become(_) => {
                let sale = entry.sale;
                let portions = match &asked.lines {
                    None => self.portions(entry, |amounts| amounts.confirmed),
                    Some(lines) => {
                        let wanted = self.wanted(slot, lines, catalogue.sale_numbered(sale), Account::Confirmed)?;
                        self.portions_of(slot, &wanted, Account::Confirmed, true).0
                    }
                };
                let &Cancel { reason, restock, .. } = asked;
                let confirmed: u32 =
                    self.by_item(slot, |amounts| amounts.confirmed).iter().map(|(_, units)| units).sum();
                let is_all = portions.iter().map(|portion| portion.units).sum::<u32>() == confirmed;
                let cancelled = Cancelled { id, sale, at, reason, portions, restock, is_all, key };
                self.take(&CustomerEvent::Cancelled(cancelled.clone()), record);
                Ok(Cancellation { reservation: self.show(slot), portions: cancelled.portions, replayed: false })
            }
            // There is nothing left of which a part could be cancelled.
            Transition::Repeat if asked.lines.is_some() => Err(self.refuse(slot, Reason::AlreadyCancelled)),
            Transition::Repeat => unchanged(self, false),
            Transition::Refuse(reason) => Err(self.refuse(slot, reason)),
            Transition::Lengthen | Transition::Change | Transition::ConfirmLate | Transition::Nothing => {
                unreachable!("a cancellation moves units, is repeated or refused")
            }
        }
    }
}
