//! Decisions: turn a command, the state and a moment into an outcome and events.
//!
//! Invariant: every decision applies its events, then hands them to the recorder, in one step under the shard's lock. The
//! answer is what was recorded.

use super::{
    event::{AskedUnits, CustomerEvent, Extended, Held, JoinedGroup, Portions, PricedPortion, Progress, Settled},
    extensions::Running,
    ids::{Bucket, ItemNumber, ReservationId, SaleNumber},
    judge::{Grant, Plan},
    outcome::{Extension, OfCustomer, Refusal, Replay, Reservation, ReservedLine, Standing, State},
    shard::{Entry, Search, Shard},
    stock::Amounts,
    time::Timestamp,
    transition::{Command, Reason, Transition, transition},
};

/// Where decided events go, in order.
pub trait Record {
    fn record(&mut self, event: &CustomerEvent<'_>);
}

/// The result of handling passed deadlines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expiry {
    /// Looked at; some are of holds that ended or were extended meanwhile.
    pub deadlines: usize,
    pub expired: usize,
    /// The longest time that a hold was past its end, in milliseconds.
    pub lag_millis: u64,
}

/// The result of handling passed retention deadlines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retirement {
    /// Looked at; after a restart some are of reservations that had left before.
    pub deadlines: usize,
    pub retired: usize,
}

impl Shard {
    /// The answer to a request that is repeated: as the first time, and how the reservation stands now. A hold whose time
    /// is over is expired first.
    ///
    /// # Panics
    /// When the reservation is not in memory: its key says that it is.
    pub fn replay(&mut self, now: Timestamp, id: ReservationId, record: &mut impl Record) -> Replay {
        let (slot, _) = self.current(now, id, record).expect("a key leads to a reservation in memory");
        let entry = &self.reservations[slot];
        let stands = Standing { state: entry.state, expires_at: entry.expires_at };
        Replay { first: self.show_as_made(slot), stands }
    }

    /// Holds the units that a judgement granted, under the same lock. `entropy`: random bits for the id.
    pub fn hold(&mut self, plan: &Plan<'_>, grant: Grant, entropy: u64, record: &mut impl Record) -> Reservation {
        self.hold_in(plan, grant, entropy, None, record)
    }

    /// As [`Shard::hold`], as a member of a group.
    pub fn hold_in(
        &mut self,
        plan: &Plan<'_>,
        grant: Grant,
        entropy: u64,
        group: Option<Box<JoinedGroup>>,
        record: &mut impl Record,
    ) -> Reservation {
        let (request, now) = (&plan.request, self.now());
        let Grant { portions, short } = grant;
        let event = CustomerEvent::Held(Held {
            id: ReservationId::new(now, request.bucket, entropy),
            sale: request.sale,
            customer: request.customer,
            hold_seconds: plan.hold_seconds,
            portions,
            reference: request.reference,
            key: request.key,
            attributes: request.attributes.map(|attributes| Box::new(attributes.clone())),
            short: short.iter().map(|short| AskedUnits { item: short.item, units: short.requested }).collect(),
            group,
            entry: plan.entry,
        });
        self.take(&event, record);
        if plan.hold_budget.is_some() {
            self.count_new_customer(plan);
        }
        let CustomerEvent::Held(held) = event else { unreachable!("it was made above") };
        let line = |portion: &PricedPortion| {
            let (item, pool, price) = (portion.item, portion.pool, portion.price);
            ReservedLine { item, pool, price, amounts: Amounts::held(portion.units) }
        };
        Reservation {
            id: held.id,
            sale: held.sale,
            customer: held.customer.into(),
            state: State::Held,
            lines: held.portions.iter().map(line).collect(),
            reference: held.reference.map(Box::from),
            expires_at: held.expires_at(),
            ended_at: None,
            confirmed_at: None,
            late: false,
            extensions: 0,
            attributes: held.attributes.map(|attributes| self.intern(&attributes)),
            short: held.short,
            group: held.group.map(|group| group.show()),
            entry: held.entry,
        }
    }

    /// The reservation as it is at this moment; a hold whose time is over is expired first.
    pub fn look(
        &mut self,
        now: Timestamp,
        id: ReservationId,
        record: &mut impl Record,
    ) -> Result<Reservation, Refusal> {
        let (slot, _) = self.current(now, id, record)?;
        Ok(self.show(slot))
    }

    /// What a search found, as it is at this moment, and the units that count towards the customer's limits. Holds whose time is
    /// over are expired first; what left memory meanwhile, or is nobody's any more, is left out.
    pub fn of_customer(&mut self, now: Timestamp, search: &Search, record: &mut impl Record) -> OfCustomer {
        let (newest, found) = search.newest();
        let wanted = newest.len();
        let mut reservations = Vec::with_capacity(wanted);
        for id in newest {
            if self.is_of(id, search)
                && let Ok((slot, _)) = self.current(now, id, record)
            {
                reservations.push(self.show(slot));
            }
        }
        let total = reservations.len() + found - wanted;
        OfCustomer { reservations, total, units: self.units_by_item(&search.customer) }
    }

    pub fn release(
        &mut self,
        now: Timestamp,
        id: ReservationId,
        reason: Option<&str>,
        record: &mut impl Record,
    ) -> Result<Reservation, Refusal> {
        let (slot, at) = self.current(now, id, record)?;
        let entry = &self.reservations[slot];
        match transition(entry.state, Command::Release) {
            Transition::Become(_) => {
                let (portions, returned) = (self.held_portions(slot), Portions::new());
                let settled = Settled { id, sale: entry.sale, at, text: reason, portions, returned, late: false };
                self.take(&CustomerEvent::Released(settled), record);
                Ok(self.show(slot))
            }
            Transition::Refuse(reason) => Err(self.refuse(slot, reason)),
            Transition::Repeat => Ok(self.show(slot)),
            other => unreachable!("a release comes to {other:?}"),
        }
    }

    /// Moves a hold's end to `now + hold_seconds`. When the hold lasts that long already nothing changes, and it does not
    /// count as an extension. `extensions_max`: of the reservation's sale.
    pub fn extend(
        &mut self,
        now: Timestamp,
        id: ReservationId,
        hold_seconds: u32,
        extensions_max: impl FnOnce(SaleNumber) -> u32,
        record: &mut impl Record,
    ) -> Result<Extension, Refusal> {
        let (slot, at) = self.current(now, id, record)?;
        let entry = &self.reservations[slot];
        if let Transition::Refuse(reason) = transition(entry.state, Command::Extend) {
            return Err(self.refuse(slot, reason));
        }
        self.refuse_if_open(slot)?;
        let expires_at = at.plus_seconds(hold_seconds.into());
        if expires_at <= entry.expires_at {
            return Ok(Extension { reservation: self.show(slot), longer: false });
        }
        let sale = entry.sale;
        if u32::from(entry.extensions) >= extensions_max(sale) {
            return Err(Refusal::ExtensionLimitReached(Box::new(self.show(slot))));
        }
        let extensions = entry.extensions + 1;
        self.take(&CustomerEvent::Extended(Extended { id, sale, at, expires_at, extensions, with_all: None }), record);
        Ok(Extension { reservation: self.show(slot), longer: true })
    }

    /// Extends all holds of a bucket as one step of an extension. Returns how many reservations it looked at.
    pub fn extend_bucket(
        &mut self,
        now: Timestamp,
        bucket: Bucket,
        run: &mut Running,
        record: &mut impl Record,
    ) -> usize {
        let at = self.advance(now);
        let slots = self.slots_of(bucket);
        for &slot in &slots {
            let entry = &self.reservations[slot];
            let is_meant = entry.sale == run.sale && entry.state == State::Held && entry.id.created_at() <= run.at;
            // Nobody could pay for a member of a group that was open when this began. All members of a group are extended, or none.
            if !is_meant || entry.is_of_group_open_at(run.at) {
                continue;
            }
            if at >= entry.expires_at {
                self.expire(at, slot, record);
                continue;
            }
            run.holds += 1;
            let (id, sale, extensions) = (entry.id, entry.sale, entry.extensions);
            let expires_at = entry.expires_at.plus_seconds(run.seconds.into());
            let with_all = Some(Progress { run: run.run, holds: run.holds });
            self.take(&CustomerEvent::Extended(Extended { id, sale, at, expires_at, extensions, with_all }), record);
        }
        run.buckets = bucket.index() as u32 + 1;
        slots.len()
    }

    /// Looks at up to `most` deadlines that have passed, and expires the holds that are still due.
    pub fn expire_due(&mut self, now: Timestamp, most: usize, record: &mut impl Record) -> Expiry {
        let now = self.advance(now);
        let mut expiry = Expiry::default();
        while expiry.deadlines < most {
            let Some((bucket, slot)) = self.expiries.take_due(now) else { break };
            expiry.deadlines += 1;
            // A member of an open group ends with it.
            let is_due = |entry: &&Entry| {
                entry.state == State::Held
                    && self.expiries.bucket(entry.expires_at) == bucket
                    && !entry.is_open_member()
            };
            let due = self.reservations.get(slot).filter(is_due);
            if let Some(entry) = due {
                expiry.lag_millis = expiry.lag_millis.max(now.millis_since(entry.expires_at));
                expiry.expired += 1;
                self.expire(now, slot, record);
            }
        }
        expiry
    }

    /// Looks at up to `most` deadlines of retention, and lets the reservations that are over and past theirs leave memory.
    /// `counts_customers`: whether a limit of the item may still ask what a customer has.
    pub fn retire_due(
        &mut self,
        now: Timestamp,
        most: usize,
        counts_customers: impl Fn(ItemNumber) -> bool,
        record: &mut impl Record,
    ) -> Retirement {
        self.advance(now);
        let until = self.retired_until();
        let mut retirement = Retirement::default();
        while retirement.deadlines < most {
            let Some((bucket, slot)) = self.retirements.take_due(until) else { break };
            retirement.deadlines += 1;
            let due = self.reservations.get(slot).filter(|entry| {
                entry.state != State::Held && self.retirements.bucket(self.retires_at(entry)) == bucket
            });
            if let Some(entry) = due {
                let confirmed = self.portions(entry, |amounts| amounts.confirmed);
                let counted = entry.is_somebodys() && confirmed.iter().any(|portion| counts_customers(portion.item));
                self.take(&CustomerEvent::Retired { id: entry.id, counted }, record);
                retirement.retired += 1;
            }
        }
        retirement
    }

    /// Sets the time, and moves the ends of live holds with it: each lasts exactly as long as it was promised. Says how many.
    pub fn set_clock(&mut self, by: i64, record: &mut impl Record) -> usize {
        let slots = self.begin_set_clock(by);
        let at = self.now;
        for &slot in &slots {
            let entry = &self.reservations[slot];
            let (id, extensions, sale) = (entry.id, entry.extensions, entry.sale);
            let expires_at = entry.expires_at.shifted(by);
            self.take(
                &CustomerEvent::Extended(Extended { id, sale, at, expires_at, extensions, with_all: None }),
                record,
            );
        }
        slots.len()
    }

    /// Erases the customer's identity. Returns how many reservations in memory were the customer's. Records the erasure even if
    /// there were none, because the store may have older ones.
    pub fn erase_customer(&mut self, now: Timestamp, customer: &str, record: &mut impl Record) -> u64 {
        let at = self.advance(now);
        let reservations = self.reservations_of(customer);
        self.leave_all(at, customer, record);
        self.take(&CustomerEvent::CustomerErased { at, customer }, record);
        reservations
    }

    /// The slot of a reservation, expired first when its time is over.
    pub(super) fn current(
        &mut self,
        now: Timestamp,
        id: ReservationId,
        record: &mut impl Record,
    ) -> Result<(u32, Timestamp), Refusal> {
        let now = self.advance(now);
        let slot = self.find(id).ok_or(Refusal::ReservationNotFound)?;
        let entry = &self.reservations[slot];
        if entry.state == State::Held && now >= entry.expires_at {
            self.expire(now, slot, record);
        }
        Ok((slot, now))
    }

    pub(super) fn expire(&mut self, now: Timestamp, slot: u32, record: &mut impl Record) {
        let entry = &self.reservations[slot];
        assert!(now >= entry.expires_at, "no hold expires early");
        assert!(!entry.is_open_member(), "a member of an open group ends with it");
        let Transition::Become(_) = transition(entry.state, Command::Expire) else { return };
        let (portions, returned) = (self.held_portions(slot), Portions::new());
        let (id, sale) = (entry.id, entry.sale);
        let settled = Settled { id, sale, at: now, text: None, portions, returned, late: false };
        self.take(&CustomerEvent::Expired(settled), record);
    }

    pub(super) fn held_portions(&self, slot: u32) -> Portions {
        self.portions(&self.reservations[slot], |amounts| amounts.held)
    }

    pub(super) fn refuse(&self, slot: u32, reason: Reason) -> Refusal {
        let reservation = Box::new(self.show(slot));
        match reason {
            Reason::NotConfirmed => Refusal::NotConfirmed(reservation),
            Reason::AlreadyConfirmed => Refusal::AlreadyConfirmed(reservation),
            Reason::AlreadyReleased => Refusal::AlreadyReleased(reservation),
            Reason::AlreadyCancelled => Refusal::AlreadyCancelled(reservation),
            Reason::ReservationExpired => Refusal::ReservationExpired(reservation),
        }
    }

    pub(super) fn take(&mut self, event: &CustomerEvent<'_>, record: &mut impl Record) {
        self.apply(event);
        record.record(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        change::{Judged, Target},
        command::{AskedLine, Cancel},
        shard::testing::{self, DROP, NOW, Nowhere, request},
        time::Now,
    };

    /// A reservation in this state, and a moment at which it is.
    fn in_state(state: State) -> (Shard, ReservationId, Timestamp) {
        let mut shard = testing::shard(1_000_000, 100);
        let id = testing::reserve(&mut shard, NOW, request(DROP, "ann", None), None, 1 << 8).unwrap();
        match state {
            State::Held => {}
            State::Confirmed => drop(testing::confirm(&mut shard, NOW, id, Some("order")).unwrap()),
            State::Released => drop(shard.release(NOW, id, None, &mut Nowhere).unwrap()),
            State::Expired => return (shard, id, NOW.plus_seconds(60)),
            State::Cancelled => {
                testing::confirm(&mut shard, NOW, id, Some("order")).unwrap();
                command(&mut shard, Command::Cancel, NOW, id).unwrap();
            }
        }
        (shard, id, NOW.plus_seconds(1))
    }

    fn command(shard: &mut Shard, command: Command, now: Timestamp, id: ReservationId) -> Result<Reservation, Refusal> {
        match command {
            Command::Extend => shard.extend(now, id, 600, |_| 1, &mut Nowhere).map(|extension| extension.reservation),
            Command::Change => {
                let (catalogue, lines) = (testing::catalogue(), [AskedLine { sku: "tv", units: 3 }]);
                let hold = shard.hold_to_change(now, id, &mut Nowhere)?;
                let target = Target::plan(&catalogue, Now { time: now, doubt: 0 }, &hold, &lines)?;
                let Judged::Change(moved) = shard.judge_change(&hold, &target, shard) else {
                    panic!("there is enough")
                };
                Ok(shard.change(&hold, moved, &mut Nowhere))
            }
            Command::Confirm => testing::confirm(shard, now, id, None),
            Command::Release => shard.release(now, id, None, &mut Nowhere),
            Command::Cancel => {
                let asked = Cancel { lines: None, reason: None, restock: true, key: None };
                let cancelled = shard.cancel(now, id, &asked, &testing::catalogue(), &mut Nowhere);
                cancelled.map(|cancelled| cancelled.reservation)
            }
            Command::Expire => shard.look(now.max(NOW.plus_seconds(60)), id, &mut Nowhere),
        }
    }

    #[test]
    fn a_shard_does_what_the_table_of_transitions_says() {
        for state in State::ALL {
            for asked in Command::ALL {
                let (mut shard, id, now) = in_state(state);
                let before = shard.look(now, id, &mut Nowhere).unwrap();
                assert_eq!(before.state, state);
                let outcome = command(&mut shard, asked, now, id);
                let after = shard.look(now, id, &mut Nowhere).unwrap();
                let told = format!("{state:?} {asked:?}: {outcome:?}");
                match transition(state, asked) {
                    Transition::Become(next) => {
                        assert_eq!((after.state, outcome.unwrap()), (next, after.clone()), "{told}");
                    }
                    Transition::Lengthen => assert!(after.expires_at > before.expires_at, "{told}"),
                    Transition::Change => {
                        assert_eq!((after.state, after.units_of(testing::ITEM)), (state, 3), "{told}")
                    }
                    Transition::ConfirmLate => {
                        assert_eq!((after.state, after.late), (State::Confirmed, true), "{told}")
                    }
                    Transition::Repeat | Transition::Nothing => {
                        assert_eq!((&outcome.unwrap(), &after), (&before, &before), "{told}");
                    }
                    Transition::Refuse(reason) => {
                        assert_eq!((outcome.unwrap_err().code(), &after), (reason.code(), &before), "{told}");
                    }
                }
                // A snapshot brings back the same.
                let mut again = testing::shard(1_000_000, 100);
                shard.export(Bucket::of("ann"), |event| again.apply(event));
                assert_eq!(again.look(now, id, &mut Nowhere).unwrap(), after, "{told}");
                assert_eq!(
                    (again.slice(testing::POOL), again.bytes()),
                    (shard.slice(testing::POOL), shard.bytes()),
                    "{told}"
                );
            }
        }
    }
}
