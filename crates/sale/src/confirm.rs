//! Confirmations: of all that is held or of a part, in time or late.
//!
//! Invariant: a payment is never lost. A confirmation gets its units, or it is refused with a reason and leaves an event that names
//! its reference, once for each reference. A reference that was refused stays refused: its payment may have been returned.

use std::collections::BTreeMap;

use smallvec::{SmallVec, smallvec};

use super::{
    catalogue::{Catalogue, Sale},
    command::{AskedLine, Confirm},
    decide::Record,
    event::{ConfirmRefused, CustomerEvent, Portion, Portions, RefusedConfirm, Settled},
    ids::{ItemNumber, ReservationId},
    judge::{Allocation, PlanLine, Source, Unsure},
    outcome::{Refusal, Reservation, Shortage},
    settings::Invalid,
    shard::Shard,
    stock::{Account, Amounts},
    time::Timestamp,
    transition::{Command, Reason, Transition, transition},
};

/// Units of items.
pub(crate) type UnitsByItem = SmallVec<[(ItemNumber, u32); 2]>;

impl Shard {
    /// Confirms a hold, or a hold that expired lately. `stock`: what the driver knows of it, for a late confirmation.
    ///
    /// A confirmed reservation is answered again to a request for the same. Another reference is most likely another payment, and
    /// is refused.
    pub fn confirm(
        &mut self,
        now: Timestamp,
        id: ReservationId,
        asked: &Confirm<'_>,
        catalogue: &Catalogue,
        stock: impl FnOnce(&Self, &[PlanLine]) -> Allocation,
        record: &mut impl Record,
    ) -> Result<Result<Reservation, Refusal>, Unsure> {
        let (slot, at) = match self.current(now, id, record) {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match transition(self.reservations[slot].state, Command::Confirm) {
            Transition::Become(_) => {
                Ok(self.refuse_if_open(slot).and_then(|()| self.confirm_held(slot, at, asked, catalogue, record)))
            }
            Transition::ConfirmLate => self.confirm_late(slot, at, asked, catalogue, stock, record),
            Transition::Repeat => Ok(self.confirm_again(slot, at, asked, catalogue, record)),
            Transition::Refuse(reason) => {
                let cause = match reason {
                    Reason::AlreadyReleased => RefusedConfirm::Released,
                    Reason::AlreadyCancelled => RefusedConfirm::Cancelled,
                    Reason::NotConfirmed | Reason::AlreadyConfirmed | Reason::ReservationExpired => {
                        unreachable!("no confirmation is refused for {reason:?}")
                    }
                };
                self.note_refusal(slot, at, asked.reference, cause, record);
                Ok(Err(self.refuse(slot, reason)))
            }
            Transition::Lengthen | Transition::Change | Transition::Nothing => {
                unreachable!("a confirmation moves units, is repeated or refused")
            }
        }
    }

    fn confirm_held(
        &mut self,
        slot: u32,
        at: Timestamp,
        asked: &Confirm<'_>,
        catalogue: &Catalogue,
        record: &mut impl Record,
    ) -> Result<Reservation, Refusal> {
        let entry = &self.reservations[slot];
        let (id, sale) = (entry.id, entry.sale);
        let (portions, returned) = match &asked.lines {
            None => (self.held_portions(slot), Portions::new()),
            Some(lines) => {
                let wanted = self.wanted(slot, lines, catalogue.sale_numbered(sale), Account::Held)?;
                self.portions_of(slot, &wanted, Account::Held, false)
            }
        };
        let settled = Settled { id, sale, at, text: asked.reference, portions, returned, late: false };
        self.take(&CustomerEvent::Confirmed(settled), record);
        Ok(self.show(slot))
    }

    fn confirm_again(
        &mut self,
        slot: u32,
        at: Timestamp,
        asked: &Confirm<'_>,
        catalogue: &Catalogue,
        record: &mut impl Record,
    ) -> Result<Reservation, Refusal> {
        let shown = self.show(slot);
        let same_reference = asked.reference.is_none() || asked.reference == shown.reference.as_deref();
        let same_lines = match &asked.lines {
            None => shown.lines.iter().all(|line| line.amounts.returned == 0),
            Some(lines) => {
                let sale = catalogue.sale_numbered(shown.sale);
                let was_confirmed = |amounts: Amounts| amounts.confirmed + amounts.cancelled;
                let confirmed = self.by_item(slot, was_confirmed);
                let is_same = |line: &AskedLine<'_>| {
                    let item = sale.item(line.sku).map(|item| item.number);
                    confirmed.iter().any(|&(known, units)| Some(known) == item && units == line.units)
                };
                lines.len() == confirmed.len() && lines.iter().all(is_same)
            }
        };
        if same_reference && same_lines {
            return Ok(shown);
        }
        if !same_reference {
            self.note_refusal(slot, at, asked.reference, RefusedConfirm::AlreadyConfirmed, record);
        }
        Err(Refusal::AlreadyConfirmed(Box::new(shown)))
    }

    fn confirm_late(
        &mut self,
        slot: u32,
        at: Timestamp,
        asked: &Confirm<'_>,
        catalogue: &Catalogue,
        stock: impl FnOnce(&Self, &[PlanLine]) -> Allocation,
        record: &mut impl Record,
    ) -> Result<Result<Reservation, Refusal>, Unsure> {
        let entry = &self.reservations[slot];
        let (id, sale) = (entry.id, catalogue.sale_numbered(entry.sale));
        let seconds = sale.settings.late_confirm_seconds;
        if seconds == 0 || at > entry.expires_at.plus_seconds(seconds.into()) {
            self.note_refusal(slot, at, asked.reference, RefusedConfirm::TooLate, record);
            return Ok(Err(self.refuse(slot, Reason::ReservationExpired)));
        }
        let wanted = match &asked.lines {
            None => self.by_item(slot, |amounts| amounts.returned),
            Some(lines) => match self.wanted(slot, lines, sale, Account::Available) {
                Ok(wanted) => wanted,
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        if let Some(exceeded) = self.late_limit(slot, &wanted, catalogue, sale) {
            self.note_refusal(slot, at, asked.reference, RefusedConfirm::Limit, record);
            return Ok(Err(exceeded));
        }
        let (portions, _) = self.portions_of(slot, &wanted, Account::Available, false);
        let lines = lines_of(&portions);
        match stock(self, &lines) {
            Allocation::Unsure => Err(Unsure),
            // An event told readers to return this payment.
            Allocation::Grant(_) if asked.reference.is_some() && self.has_refused(slot, asked.reference) => {
                Ok(Err(self.refuse(slot, Reason::ReservationExpired)))
            }
            Allocation::Grant(_) => {
                let (sale, text, returned) = (sale.number, asked.reference, Portions::new());
                let settled = Settled { id, sale, at, text, portions, returned, late: true };
                self.take(&CustomerEvent::Confirmed(settled), record);
                Ok(Ok(self.show(slot)))
            }
            Allocation::Short(short) => {
                // Units asked for and units missing.
                let mut lacking: BTreeMap<ItemNumber, (u64, u64)> = BTreeMap::new();
                for short in &short {
                    lacking.entry(short.item).or_default().1 += u64::from(short.requested) - short.available;
                }
                for line in &lines {
                    if let Some((requested, _)) = lacking.get_mut(&line.item) {
                        *requested += u64::from(line.units);
                    }
                }
                let short = lacking.into_iter().map(|(item, (requested, missing))| Shortage {
                    sku: catalogue.sku(item).into(),
                    requested,
                    available: requested - missing,
                    held: 0,
                    next_release_at: None,
                    waitlist: false,
                });
                let short = short.collect();
                self.note_refusal(slot, at, asked.reference, RefusedConfirm::Stock, record);
                Ok(Err(Refusal::ExpiredAndShort { reservation: Box::new(self.show(slot)), short }))
            }
        }
    }

    /// The customer's limit that a late confirmation would break. An erased customer has none.
    fn late_limit(&self, slot: u32, wanted: &UnitsByItem, catalogue: &Catalogue, sale: &Sale) -> Option<Refusal> {
        let entry = &self.reservations[slot];
        if !entry.is_somebodys() {
            return None;
        }
        wanted.iter().find_map(|&(number, units)| {
            let item = sale.item(catalogue.sku(number)).expect("a sale has the items of its reservations");
            let (limit, already) = (sale.customer_limit(item)?, self.units_of_customer(entry, number));
            let sku = catalogue.sku(number).into();
            (already + u64::from(units) > u64::from(limit)).then_some(Refusal::CustomerLimitExceeded {
                sku,
                limit,
                already,
            })
        })
    }

    /// Records that a payment is to be returned, once for each reference.
    fn note_refusal(
        &mut self,
        slot: u32,
        at: Timestamp,
        reference: Option<&str>,
        cause: RefusedConfirm,
        record: &mut impl Record,
    ) {
        if !self.has_refused(slot, reference) {
            let entry = &self.reservations[slot];
            let refused = ConfirmRefused { id: entry.id, sale: entry.sale, at, reference, cause };
            self.take(&CustomerEvent::ConfirmRefused(refused), record);
        }
    }

    /// The items of these lines. Refused if the reservation has fewer units of one there.
    pub(super) fn wanted(
        &self,
        slot: u32,
        lines: &[AskedLine<'_>],
        sale: &Sale,
        account: Account,
    ) -> Result<UnitsByItem, Refusal> {
        let has = self.by_item(slot, |amounts| amounts.in_account(account));
        let (mut wanted, mut wrong) = (UnitsByItem::new(), Vec::new());
        for line in lines {
            let found = sale.item(line.sku).and_then(|item| has.iter().find(|(known, _)| *known == item.number));
            match found {
                Some(&(item, units)) if line.units <= units => wanted.push((item, line.units)),
                found => {
                    let units = found.map_or(0, |(_, units)| *units);
                    let detail =
                        format!("must ask for at most {units} units of {:?}, as many as the reservation has", line.sku);
                    wrong.push(Invalid::new("/lines", detail));
                }
            }
        }
        if wrong.is_empty() { Ok(wanted) } else { Err(Refusal::Invalid(wrong)) }
    }
}

/// Lines that ask for these units, one for each pool: units of one pool that were held at several prices are needed together.
fn lines_of(portions: &[Portion]) -> SmallVec<[PlanLine; 2]> {
    let mut lines: SmallVec<[PlanLine; 2]> = SmallVec::new();
    for portion in portions {
        if let Some(line) = lines.iter_mut().find(|line| line.sources[0].pool == portion.pool) {
            line.units += portion.units;
            continue;
        }
        lines.push(PlanLine {
            item: portion.item,
            units: portion.units,
            customer_limit: None,
            sources: smallvec![Source { pool: portion.pool, price: None }],
            may_split: true,
            most_available_first: false,
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        outcome::State,
        shard::testing::{DROP, NOW, Nowhere, confirm, request, reserve, shard},
    };

    #[test]
    fn a_refused_reference_stays_refused_when_the_units_are_back() {
        let mut shard = shard(3_600_000, 2);
        let late = NOW.plus_seconds(61);
        let first = reserve(&mut shard, NOW, request(DROP, "ann", None), None, 1).unwrap();
        shard.look(late, first, &mut Nowhere).unwrap();
        let slot = shard.find(first).unwrap();
        shard.note_refusal(slot, late, Some("payment-1"), RefusedConfirm::Stock, &mut Nowhere);
        let again = confirm(&mut shard, late, first, Some("payment-1"));
        assert!(matches!(again, Err(Refusal::ReservationExpired(_))), "{again:?}");
        let another = confirm(&mut shard, late, first, Some("payment-2")).unwrap();
        assert_eq!((another.state, another.late), (State::Confirmed, true));
    }
}
