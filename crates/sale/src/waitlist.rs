//! The waitlist of a sale: who joins, who leaves, and who is offered units that came back.
//!
//! Invariant: a decision applies its events and hands them to the recorder in one step under the shard's lock.

use crate::{
    decide::Record,
    event::{AskedUnits, CustomerEvent, Joined, JoinedGroup, NoRoom, Offered, PassedOver, WaitEnded},
    ids::{EntryId, SaleNumber},
    judge::{Allocation, BudgetExceeded, Grant, LimitExceeded, Plan, Request},
    outcome::{Refusal, Reservation, WaitState, WaitlistEntry},
    shard::Shard,
    time::Timestamp,
};

/// What comes of a request to wait.
#[derive(Debug)]
pub enum JoinJudgement {
    /// The key stands for this entry already.
    Known(EntryId),
    Refused(Refusal),
    LimitExceeded(LimitExceeded),
    /// When it came to be decided the plan was no longer the sale's.
    Outdated,
    /// The driver's stock does not decide whether it could be held now.
    Unsure,
    Join,
}

/// Where an entry of a waitlist begins.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// In the order of joining.
    pub place: u64,
    pub expires_at: Timestamp,
    /// Random bits for the id.
    pub entropy: u64,
}

/// What comes of an entry whose units are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferJudgement {
    /// Its customer has room.
    Offer,
    PassOver(NoRoom),
}

/// The result of handling passed deadlines of entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntriesOver {
    /// Looked at.
    pub deadlines: usize,
    pub over: usize,
}

impl Shard {
    /// Judges a request to wait: the key first, then the plan, the customer's entry, stock and limits.
    pub fn judge_join(
        &mut self,
        now: Timestamp,
        request: &Request<'_>,
        planned: Result<&Plan<'_>, &Refusal>,
        stock: impl FnOnce(&Self, &Plan<'_>) -> Allocation,
    ) -> JoinJudgement {
        let now = self.advance(now);
        let customer = self.customer_slot(request.bucket, request.customer);
        if let Some((key, fingerprint)) = request.key
            && let Some(customer) = customer
        {
            let mut entries = self.entries_of(customer, request.sale).map(|slot| &self.waiting.entries[slot]);
            if let Some((waiter, first)) =
                entries.find_map(|it| it.key().filter(|known| known.0 == key).map(|known| (it, known.1)))
            {
                return if first == fingerprint {
                    JoinJudgement::Known(waiter.id)
                } else {
                    JoinJudgement::Refused(Refusal::IdempotencyKeyReused)
                };
            }
        }
        let plan = match planned {
            Ok(plan) => plan,
            Err(refusal) => return JoinJudgement::Refused(refusal.clone()),
        };
        if now >= plan.until {
            return JoinJudgement::Outdated;
        }
        let waits = customer.and_then(|customer| self.newest_entry(customer, request.sale));
        if let Some(slot) = waits.filter(|&slot| self.waiting.entries[slot].waits_at(now)) {
            return JoinJudgement::Refused(Refusal::AlreadyWaiting(Box::new(self.show_entry(slot))));
        }
        match stock(self, plan) {
            Allocation::Grant(_) => return JoinJudgement::Refused(Refusal::StockAvailable),
            Allocation::Short(_) => {}
            Allocation::Unsure => return JoinJudgement::Unsure,
        }
        match self.check_limits(plan, None) {
            Ok(()) => JoinJudgement::Join,
            Err(exceeded) => JoinJudgement::LimitExceeded(exceeded),
        }
    }

    /// Puts the customer at the end of the waitlist, after a judgement that says so, under the same lock.
    pub fn join(&mut self, plan: &Plan<'_>, start: Start, record: &mut impl Record) -> WaitlistEntry {
        let request = &plan.request;
        let customer = self.customer_slot(request.bucket, request.customer);
        if let Some(before) = customer.and_then(|customer| self.newest_entry(customer, request.sale)) {
            self.expire_if_due(self.now(), before, record);
        }
        let id = EntryId::new(self.now(), request.bucket, start.entropy);
        let lines = plan.lines.iter().map(|line| AskedUnits { item: line.item, units: line.units }).collect();
        let joined = Joined {
            id,
            sale: request.sale,
            customer: request.customer,
            place: start.place,
            expires_at: start.expires_at,
            lines,
            reference: request.reference,
            key: request.key,
            attributes: request.attributes.map(|attributes| Box::new(attributes.clone())),
        };
        self.take(&CustomerEvent::Joined(joined), record);
        self.show_entry(self.find_entry(id).expect("it was just made"))
    }

    /// The entry as it is at this moment; one whose time is over is expired first.
    pub fn look_at_entry(
        &mut self,
        now: Timestamp,
        id: EntryId,
        record: &mut impl Record,
    ) -> Result<WaitlistEntry, Refusal> {
        let slot = self.current_entry(now, id, record)?;
        Ok(self.show_entry(slot))
    }

    /// The customer waits no longer.
    pub fn leave(&mut self, now: Timestamp, id: EntryId, record: &mut impl Record) -> Result<WaitlistEntry, Refusal> {
        let slot = self.current_entry(now, id, record)?;
        let (state, sale) = (self.waiting.entries[slot].state(), self.sale_of_entry(slot));
        match state {
            WaitState::Waiting => {
                let at = self.now();
                self.take(&CustomerEvent::LeftWaitlist(WaitEnded { id, sale, at }), record);
                Ok(self.show_entry(slot))
            }
            WaitState::Left => Ok(self.show_entry(slot)),
            WaitState::Offered | WaitState::Expired => Err(Refusal::NotWaiting(Box::new(self.show_entry(slot)))),
        }
    }

    fn current_entry(&mut self, now: Timestamp, id: EntryId, record: &mut impl Record) -> Result<u32, Refusal> {
        let now = self.advance(now);
        let slot = self.find_entry(id).ok_or(Refusal::EntryNotFound)?;
        self.expire_if_due(now, slot, record);
        Ok(slot)
    }

    /// Expires an entry that waits but whose time is over. Returns whether it did.
    pub fn expire_if_due(&mut self, now: Timestamp, slot: u32, record: &mut impl Record) -> bool {
        let now = self.advance(now);
        let waiter = &self.waiting.entries[slot];
        let is_due = waiter.state() == WaitState::Waiting && !waiter.waits_at(now);
        if is_due {
            self.expire_entry(now, slot, record);
        }
        is_due
    }

    fn expire_entry(&mut self, at: Timestamp, slot: u32, record: &mut impl Record) {
        let (id, sale) = (self.waiting.entries[slot].id, self.sale_of_entry(slot));
        self.take(&CustomerEvent::WaitExpired(WaitEnded { id, sale, at }), record);
    }

    /// A customer that is about to be erased waits no longer.
    pub(crate) fn leave_all(&mut self, at: Timestamp, customer: &str, record: &mut impl Record) {
        for (id, sale) in self.waiting_entries_of(customer) {
            self.take(&CustomerEvent::LeftWaitlist(WaitEnded { id, sale, at }), record);
        }
    }

    /// Whether the customer of an entry has room for what its plan gets. Changes nothing.
    pub fn judge_offer(&mut self, now: Timestamp, plan: &Plan<'_>) -> OfferJudgement {
        self.advance(now);
        if self.check_limits(plan, None).is_err() {
            return OfferJudgement::PassOver(NoRoom::CustomerLimit);
        }
        match plan.hold_budget.map(|budget| self.check_budget(plan, budget)) {
            None | Some(Ok(())) => OfferJudgement::Offer,
            Some(Err(BudgetExceeded::Open { .. })) => OfferJudgement::PassOver(NoRoom::OpenHolds),
            Some(Err(BudgetExceeded::Expired { .. })) => OfferJudgement::PassOver(NoRoom::ExpiredHolds),
        }
    }

    /// Makes a hold for an entry, in one step. `group`: that it opens.
    pub fn offer(
        &mut self,
        slot: u32,
        plan: &Plan<'_>,
        grant: Grant,
        entropy: u64,
        group: Option<Box<JoinedGroup>>,
        record: &mut impl Record,
    ) -> Reservation {
        let reservation = self.hold_in(plan, grant, entropy, group, record);
        let (id, sale, at) = (self.waiting.entries[slot].id, plan.request.sale, self.now());
        self.take(&CustomerEvent::Offered(Offered { id, sale, at, reservation: reservation.id }), record);
        reservation
    }

    /// There were units for an entry, but its customer had no room. Recorded once for each cause after another.
    pub fn pass_over(&mut self, slot: u32, cause: NoRoom, record: &mut impl Record) {
        let waiter = &self.waiting.entries[slot];
        if waiter.passed_over().is_none_or(|(_, known)| known != cause) {
            let (id, sale, at) = (waiter.id, self.sale_of_entry(slot), self.now());
            self.take(&CustomerEvent::PassedOver(PassedOver { id, sale, at, cause }), record);
        }
    }

    /// Looks at up to `most` deadlines that have passed, and expires the entries that are still due.
    pub fn expire_entries(&mut self, now: Timestamp, most: usize, record: &mut impl Record) -> EntriesOver {
        let now = self.advance(now);
        let mut over = EntriesOver::default();
        while over.deadlines < most {
            let Some((bucket, slot)) = self.waiting.expiries.take_due(now) else { break };
            over.deadlines += 1;
            let due = self.waiting.entries.get(slot).is_some_and(|waiter| {
                waiter.state() == WaitState::Waiting && self.waiting.expiries.bucket(waiter.expires_at()) == bucket
            });
            if due {
                over.over += 1;
                self.expire_entry(now, slot, record);
            }
        }
        over
    }

    /// Expires up to `most` entries of a sale in which nothing can be offered any more. Returns how many.
    pub fn expire_entries_of(
        &mut self,
        now: Timestamp,
        sale: SaleNumber,
        most: usize,
        record: &mut impl Record,
    ) -> usize {
        let now = self.advance(now);
        let waiting = self.some_waiting(sale, most);
        waiting.iter().for_each(|&slot| self.expire_entry(now, slot, record));
        waiting.len()
    }

    /// Looks at up to `most` deadlines of retention, and lets the entries that are over and past theirs leave memory.
    pub fn retire_entries(&mut self, now: Timestamp, most: usize, record: &mut impl Record) -> EntriesOver {
        self.advance(now);
        let until = self.retired_until();
        let mut over = EntriesOver::default();
        while over.deadlines < most {
            let Some((bucket, slot)) = self.waiting.retirements.take_due(until) else { break };
            over.deadlines += 1;
            let due = self.waiting.entries.get(slot).filter(|waiter| {
                let ended_at = waiter.ended_at().map(|at| self.kept_until(at));
                ended_at.is_some_and(|until| self.waiting.retirements.bucket(until) == bucket)
            });
            if let Some(waiter) = due {
                let id = waiter.id;
                over.over += 1;
                self.take(&CustomerEvent::EntryRetired { id }, record);
            }
        }
        over
    }
}
