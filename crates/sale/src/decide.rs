//! Decisions: turn a command, the state and a moment into an outcome and events.
//!
//! Invariant: every decision applies its events, then hands them to the recorder, in one step under the shard's lock. The
//! answer is what was recorded.

use super::{
    catalogue::Plan,
    event::{Ended, Event, Held},
    ids::{ItemNumber, ReservationId, SaleNumber},
    outcome::{Extension, OfCustomer, Refusal, Replay, Reservation, Standing, State},
    shard::{Search, Shard},
    time::Timestamp,
};

/// Where decided facts go, in order.
pub trait Record {
    fn record(&mut self, event: &Event<'_>);
}

/// A shard's outcome of a reserve.
#[derive(Debug)]
pub enum Reserved {
    Held(Reservation),
    /// This shard's slices cannot serve it; others may.
    SliceShort,
    /// The sale's window was over when it came to be decided.
    SaleEnded,
    LimitExceeded(LimitExceeded),
}

/// A customer's limit that a plan would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitExceeded {
    pub item: ItemNumber,
    pub limit: u32,
    /// Units that the customer holds or has confirmed.
    pub already: u64,
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
    /// The reservation that the key stands for, or a refusal when it was made by another request. None: the key is new.
    pub fn known(
        &self,
        sale: SaleNumber,
        customer: &str,
        (key, fingerprint): (&str, u64),
    ) -> Option<Result<ReservationId, Refusal>> {
        let (slot, first) = self.find_key(sale, customer, key)?;
        Some(if first == fingerprint { Ok(self.reservations[slot].id) } else { Err(Refusal::IdempotencyKeyReused) })
    }

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

    /// Holds all lines of the plan or none. Checks the end of the sale's window first, as time has passed since the plan was
    /// made, then stock, then the customer's limits. `entropy`: random bits for the id.
    pub fn reserve(&mut self, now: Timestamp, plan: &Plan<'_>, entropy: u64, record: &mut impl Record) -> Reserved {
        let now = self.advance(now);
        if now >= plan.closes_at {
            return Reserved::SaleEnded;
        }
        let served = plan.lines.iter().all(|line| self.slice(line.line.item).available >= i64::from(line.line.units));
        if !served {
            return Reserved::SliceShort;
        }
        let id = ReservationId::new(now, plan.bucket, entropy);
        if let Err(exceeded) = self.check_limits(plan) {
            return Reserved::LimitExceeded(exceeded);
        }
        let event = Event::Held(Held {
            id,
            sale: plan.sale,
            customer: plan.customer,
            hold_seconds: plan.hold_seconds,
            lines: plan.lines.iter().map(|line| line.line).collect(),
            reference: plan.reference,
            key: plan.key,
        });
        self.take(&event, record);
        let Event::Held(Held { lines, .. }) = event else { unreachable!("it was made above") };
        Reserved::Held(Reservation {
            id,
            sale: plan.sale,
            customer: plan.customer.into(),
            state: State::Held,
            lines,
            reference: plan.reference.map(Box::from),
            expires_at: now.plus_seconds(plan.hold_seconds.into()),
            ended_at: None,
            extensions: 0,
        })
    }

    /// Whether the customer's limits allow the plan.
    pub fn check_limits(&self, plan: &Plan<'_>) -> Result<(), LimitExceeded> {
        for line in &plan.lines {
            let Some(limit) = line.customer_limit else { continue };
            let item = line.line.item;
            let already = self.units_of(plan.bucket, plan.customer, item);
            if already + u64::from(line.line.units) > u64::from(limit) {
                return Err(LimitExceeded { item, limit, already });
            }
        }
        Ok(())
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

    /// A confirmed reservation is answered again to the reference that it shows, or to none. Another reference is most
    /// likely another payment, and is refused.
    pub fn confirm(
        &mut self,
        now: Timestamp,
        id: ReservationId,
        reference: Option<&str>,
        record: &mut impl Record,
    ) -> Result<Reservation, Refusal> {
        let (slot, now) = self.current(now, id, record)?;
        match self.reservations[slot].state {
            State::Held => {
                let lines = self.quantities(&self.reservations[slot]);
                self.take(&Event::Confirmed(Ended { id, at: now, text: reference, lines }), record);
                Ok(self.show(slot))
            }
            State::Confirmed => {
                let shown = self.show(slot);
                let same = reference.is_none() || reference == shown.reference.as_deref();
                if same { Ok(shown) } else { Err(Refusal::AlreadyConfirmed(Box::new(shown))) }
            }
            State::Released | State::Expired => Err(self.refuse_ended(slot)),
        }
    }

    pub fn release(
        &mut self,
        now: Timestamp,
        id: ReservationId,
        reason: Option<&str>,
        record: &mut impl Record,
    ) -> Result<Reservation, Refusal> {
        let (slot, now) = self.current(now, id, record)?;
        match self.reservations[slot].state {
            State::Held => {
                let lines = self.quantities(&self.reservations[slot]);
                self.take(&Event::Released(Ended { id, at: now, text: reason, lines }), record);
                Ok(self.show(slot))
            }
            State::Released => Ok(self.show(slot)),
            State::Confirmed | State::Expired => Err(self.refuse_ended(slot)),
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
        let (slot, now) = self.current(now, id, record)?;
        let entry = &self.reservations[slot];
        if entry.state != State::Held {
            return Err(self.refuse_ended(slot));
        }
        let expires_at = now.plus_seconds(hold_seconds.into());
        if expires_at <= entry.expires_at {
            return Ok(Extension { reservation: self.show(slot), longer: false });
        }
        if u32::from(entry.extensions) >= extensions_max(entry.sale) {
            return Err(Refusal::ExtensionLimitReached(Box::new(self.show(slot))));
        }
        let (extensions, sale) = (entry.extensions + 1, Some(entry.sale));
        self.take(&Event::Extended { id, at: now, expires_at, extensions, sale }, record);
        Ok(Extension { reservation: self.show(slot), longer: true })
    }

    /// Looks at up to `most` deadlines that have passed, and expires the holds that are still due.
    pub fn expire_due(&mut self, now: Timestamp, most: usize, record: &mut impl Record) -> Expiry {
        let now = self.advance(now);
        let mut expiry = Expiry::default();
        while expiry.deadlines < most {
            let Some((bucket, slot)) = self.expiries.take_due(now) else { break };
            expiry.deadlines += 1;
            let due = self
                .reservations
                .get(slot)
                .filter(|entry| entry.state == State::Held && self.expiries.bucket(entry.expires_at) == bucket);
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
                let counted = entry.state == State::Confirmed
                    && entry.is_somebodys()
                    && self.quantities(entry).iter().any(|line| counts_customers(line.item));
                self.take(&Event::Retired { id: entry.id, counted }, record);
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
            let (id, extensions, sale) = (entry.id, entry.extensions, Some(entry.sale));
            let expires_at = entry.expires_at.shifted(by);
            self.take(&Event::Extended { id, at, expires_at, extensions, sale }, record);
        }
        slots.len()
    }

    /// Erases the customer's identity. Returns how many reservations in memory were the customer's. Records the erasure even if
    /// there were none, because the store may have older ones.
    pub fn erase_customer(&mut self, now: Timestamp, customer: &str, record: &mut impl Record) -> u64 {
        let at = self.advance(now);
        let reservations = self.reservations_of(customer);
        self.take(&Event::CustomerErased { at, customer }, record);
        reservations
    }

    /// The slot of a reservation, expired first when its time is over.
    fn current(
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

    fn expire(&mut self, now: Timestamp, slot: u32, record: &mut impl Record) {
        let entry = &self.reservations[slot];
        assert!(now >= entry.expires_at, "no hold expires early");
        let ended = Ended { id: entry.id, at: now, text: None, lines: self.quantities(entry) };
        self.take(&Event::Expired(ended), record);
    }

    fn refuse_ended(&self, slot: u32) -> Refusal {
        let reservation = Box::new(self.show(slot));
        match reservation.state {
            State::Confirmed => Refusal::AlreadyConfirmed(reservation),
            State::Released => Refusal::AlreadyReleased(reservation),
            State::Expired => Refusal::ReservationExpired(reservation),
            State::Held => unreachable!("a hold is not over"),
        }
    }

    fn take(&mut self, event: &Event<'_>, record: &mut impl Record) {
        self.apply(event);
        record.record(event);
    }
}
