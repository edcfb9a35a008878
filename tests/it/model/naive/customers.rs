//! What customers do, and how their reservations are shown.

use std::sync::Arc;

use doorbuster::{
    engine::Made,
    sale::{
        command::{AskedLine, Extras, Reserve},
        event::AskedUnits,
        ids::{Bucket, GroupId, PoolNumber, ReservationId},
        outcome::{self, OfCustomer, Refusal, ReservedLine, Standing, State},
        stock::Amounts,
        time::Timestamp,
    },
};

use super::{At, First, Model, Name, Reservation, Unit};

#[derive(Debug, Clone)]
pub struct Request {
    pub sale: Name,
    pub customer: Name,
    pub lines: Vec<(Name, u32)>,
    pub hold_seconds: Option<u32>,
    pub reference: Option<Name>,
    pub key: Option<Name>,
    pub tier: Option<Name>,
    pub channel: Option<Name>,
    pub region: Option<Name>,
    pub label: Option<Name>,
    pub locations: Vec<Name>,
    pub allow_partial: bool,
    /// The group to join.
    pub group: Option<GroupId>,
}

impl Request {
    /// One that asks for no more than this.
    pub fn plain(sale: Name, customer: Name, lines: Vec<(Name, u32)>) -> Self {
        Self {
            sale,
            customer,
            lines,
            hold_seconds: None,
            reference: None,
            key: None,
            tier: None,
            channel: None,
            region: None,
            label: None,
            locations: Vec::new(),
            allow_partial: false,
            group: None,
        }
    }

    pub fn extras(&self) -> Extras<'static> {
        Extras {
            attributes: self.attributes().unwrap_or_default(),
            allow_partial: self.allow_partial,
            group: self.group,
        }
    }

    /// `extras`: its own.
    pub fn command<'a>(&self, extras: &'a Extras<'static>) -> Reserve<'a> {
        let lines = self.lines.iter().map(|&(sku, units)| AskedLine { sku, units }).collect();
        let Self { sale, customer, hold_seconds, reference, key, .. } = *self;
        Reserve { sale, customer, lines, hold_seconds, reference, key, extras: Some(extras) }
    }

    fn is_the_same_as(&self, other: &Self) -> bool {
        let in_one_order = |request: &Self| {
            let (mut lines, mut locations) = (request.lines.clone(), request.locations.clone());
            lines.sort_unstable();
            locations.sort_unstable();
            locations.dedup();
            (lines, locations)
        };
        in_one_order(self) == in_one_order(other)
            && self.hold_seconds == other.hold_seconds
            && self.reference == other.reference
            && self.attributes() == other.attributes()
            && self.allow_partial == other.allow_partial
            && self.group == other.group
    }
}

impl Model {
    /// `position` and `entropy`: of the reservation, if one comes of it.
    pub fn reserve(
        &mut self,
        now: Timestamp,
        request: &Request,
        position: usize,
        entropy: u64,
    ) -> Result<(usize, Made), Refusal> {
        self.fail_if_asked(now, request);
        if let Some((first, known)) = self.find_key(request) {
            if !known.request.is_the_same_as(request) {
                return Err(Refusal::IdempotencyKeyReused);
            }
            let state = self.current(now, first)?;
            let stands = Standing { state, expires_at: self.reservations[&first].expires_at };
            return Ok((first, Made { reservation: self.show_as_made(first), replayed_of: Some(stands) }));
        }
        let taken = match self.take(now, request) {
            Err(Refusal::AlreadyInGroup(member)) => {
                let own = self.reservations.iter().find(|(_, known)| known.id == member.id);
                let position = *own.expect("it is shown").0;
                return Err(Refusal::AlreadyInGroup(Box::new(self.look(now, position)?)));
            }
            taken => taken?,
        };
        let units: Vec<Unit> = taken.lines.iter().flat_map(Unit::held).collect();
        let short: Vec<Name> = taken.short.iter().map(|short| short.0).collect();
        let reservation = Reservation {
            id: ReservationId::new(now, Bucket::of(request.customer), entropy),
            request: request.clone(),
            first: First { units: units.clone(), short: short.clone(), expires_at: taken.expires_at },
            units,
            short,
            expires_at: taken.expires_at,
            state: State::Held,
            ended_at: None,
            confirmed_at: None,
            late: false,
            extensions: 0,
            confirm_reference: None,
            cancellations: Vec::new(),
            refused: Vec::new(),
            erased: false,
            hold_seconds_then: taken.hold_seconds,
            group: None,
        };
        self.reservations.insert(position, reservation);
        self.uncommitted.insert(position);
        if let Some(joins) = &taken.group {
            self.follow_join(now, position, joins, entropy);
        }
        Ok((position, Made { reservation: self.show(position), replayed_of: None }))
    }

    fn find_key(&self, request: &Request) -> Option<(usize, &Reservation)> {
        let same_scope = |known: &Request| known.sale == request.sale && known.customer == request.customer;
        let mut all = self.reservations.iter();
        let found = all.find(|(_, known)| {
            !known.erased && request.key.is_some() && known.request.key == request.key && same_scope(&known.request)
        });
        found.map(|(&position, known)| (position, known))
    }

    pub fn look(&mut self, now: Timestamp, position: usize) -> Result<outcome::Reservation, Refusal> {
        self.current(now, position)?;
        Ok(self.show(position))
    }

    pub fn release(&mut self, now: Timestamp, position: usize) -> Result<outcome::Reservation, Refusal> {
        match self.current(now, position)? {
            State::Held => {
                self.leave(position);
                self.end(now, position, State::Released);
                Ok(self.show(position))
            }
            State::Released => Ok(self.show(position)),
            _ => Err(self.refuse_ended(position)),
        }
    }

    pub fn extend(&mut self, now: Timestamp, position: usize, seconds: u32) -> Result<outcome::Extension, Refusal> {
        if self.current(now, position)? != State::Held {
            return Err(self.refuse_ended(position));
        }
        self.refuse_if_open(position)?;
        let reservation = &self.reservations[&position];
        let expires_at = now.plus_seconds(seconds.into());
        if expires_at <= reservation.expires_at {
            return Ok(outcome::Extension { reservation: self.show(position), longer: false });
        }
        let most = self.sales[reservation.request.sale].settings.max_extensions.unwrap_or(self.extensions_max);
        if u32::from(reservation.extensions) >= most {
            return Err(Refusal::ExtensionLimitReached(Box::new(self.show(position))));
        }
        let reservation = self.reservations.get_mut(&position).expect("just seen");
        reservation.expires_at = expires_at;
        reservation.extensions += 1;
        self.uncommitted.insert(position);
        Ok(outcome::Extension { reservation: self.show(position), longer: true })
    }

    /// Whether looking would change nothing.
    pub fn is_settled(&self, now: Timestamp, position: usize) -> bool {
        let known = self.reservations.get(&position);
        known.is_none_or(|known| known.state != State::Held || now < known.expires_at)
    }

    pub(super) fn current(&mut self, now: Timestamp, position: usize) -> Result<State, Refusal> {
        let known = self.reservations.get(&position).ok_or(Refusal::ReservationNotFound)?;
        if known.state == State::Held && now >= known.expires_at {
            match self.open_group(position) {
                Some(group) => self.fail_group(now, group),
                None => self.end(now, position, State::Expired),
            }
        }
        Ok(self.reservations[&position].state)
    }

    pub(super) fn end(&mut self, now: Timestamp, position: usize, state: State) {
        let reservation = self.reservations.get_mut(&position).expect("it is known");
        (reservation.state, reservation.ended_at) = (state, Some(now));
        if state != State::Confirmed {
            for unit in reservation.units.iter_mut().filter(|unit| unit.at == At::Held) {
                unit.at = At::Returned;
            }
        }
        self.uncommitted.insert(position);
    }

    pub(super) fn refuse_ended(&self, position: usize) -> Refusal {
        let reservation = Box::new(self.show(position));
        match reservation.state {
            State::Confirmed => Refusal::AlreadyConfirmed(reservation),
            State::Released => Refusal::AlreadyReleased(reservation),
            State::Expired => Refusal::ReservationExpired(reservation),
            State::Cancelled => Refusal::AlreadyCancelled(reservation),
            State::Held => panic!("a hold is not over"),
        }
    }

    pub(super) fn show(&self, position: usize) -> outcome::Reservation {
        let known = &self.reservations[&position];
        let Request { sale, customer, ref lines, reference, .. } = known.request;
        let asked = lines.iter().filter(|line| known.short.contains(&line.0));
        let short = asked.map(|&(sku, units)| AskedUnits { item: self.item(sale, sku), units });
        // Labels may name a person.
        let attributes = match known.erased {
            false => known.request.attributes(),
            true => Request { label: None, ..known.request.clone() }.attributes(),
        };
        let reference = reference.filter(|_| !known.erased);
        outcome::Reservation {
            id: known.id,
            sale: self.sales[sale].number,
            customer: if known.erased { format!("erased-{}", known.id).into() } else { customer.into() },
            state: known.state,
            lines: self.lines_of(sale, &known.units).into(),
            reference: known.confirm_reference.or(reference).map(Box::from),
            expires_at: known.expires_at,
            ended_at: known.ended_at,
            confirmed_at: known.confirmed_at,
            late: known.late,
            extensions: known.extensions,
            attributes: attributes.map(Arc::new),
            short: short.collect(),
            group: known.group.as_ref().and_then(|group| self.show_group(group, false)),
            entry: None,
        }
    }

    fn show_as_made(&self, position: usize) -> outcome::Reservation {
        let known = &self.reservations[&position];
        let First { units, short, expires_at } = known.first.clone();
        let (state, ended_at, confirmed_at, extensions) = (State::Held, None, None, 0);
        let late = false;
        let mut as_made = Reservation {
            units,
            short,
            expires_at,
            state,
            ended_at,
            confirmed_at,
            extensions,
            late,
            confirm_reference: None,
            ..known.clone()
        };
        let mut then = self.clone();
        let group = as_made.group.take();
        then.reservations.insert(position, as_made);
        let group = group.as_ref().and_then(|group| self.show_group(group, true));
        outcome::Reservation { group, ..then.show(position) }
    }

    /// Units of one pool and price are a line.
    fn lines_of(&self, sale: Name, units: &[Unit]) -> Vec<ReservedLine> {
        let mut lines: Vec<ReservedLine> = Vec::new();
        for unit in units {
            let (item, pool) = (self.item(sale, self.pools[unit.pool].sku), PoolNumber(unit.pool as u32));
            if !lines.last().is_some_and(|last| (last.pool, last.price) == (pool, unit.price)) {
                lines.push(ReservedLine { item, pool, price: unit.price, amounts: Amounts::default() });
            }
            let amounts = &mut lines.last_mut().expect("just pushed").amounts;
            match unit.at {
                At::Held => amounts.held += 1,
                At::Confirmed => amounts.confirmed += 1,
                At::Returned => amounts.returned += 1,
                At::Cancelled => amounts.cancelled += 1,
            }
        }
        // Lines of an item stand together, where its first one does.
        let items: Vec<_> = lines.iter().map(|line| line.item).collect();
        lines.sort_by_key(|line| items.iter().position(|&item| item == line.item));
        lines
    }

    /// The newest three of a customer in a sale, how many there are, and units by item.
    pub fn of_customer(&mut self, now: Timestamp, customer: Name, sale: Name) -> OfCustomer {
        let mut found: Vec<(ReservationId, usize)> = Vec::new();
        for (&position, known) in &self.reservations {
            if known.request.customer == customer && known.request.sale == sale && !known.erased {
                found.push((known.id, position));
            }
        }
        found.sort();
        found.reverse();
        let newest = found.iter().take(3);
        let reservations = newest.map(|&(_, position)| self.look(now, position).expect("it is known")).collect();
        let mut units = Vec::new();
        for &(of, sku) in &self.items {
            let has = self.units_of(customer, of, sku);
            if has > 0 {
                units.push((self.item(of, sku), has));
            }
        }
        OfCustomer { reservations, total: found.len(), units }
    }

    /// How many reservations were the customer's.
    pub fn erase(&mut self, customer: &str) -> u64 {
        let mut erased = 0;
        for (&position, known) in &mut self.reservations {
            if known.request.customer == customer && !known.erased {
                (known.erased, known.confirm_reference) = (true, None);
                (known.cancellations, known.refused) = (Vec::new(), Vec::new());
                self.uncommitted.insert(position);
                erased += 1;
            }
        }
        self.gone.iter_mut().filter(|gone| gone.customer == customer).for_each(|gone| gone.counted = false);
        erased
    }
}
