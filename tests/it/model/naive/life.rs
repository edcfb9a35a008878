//! What happens to a reservation after it was made: change, confirm in time and late, cancel.

use std::collections::BTreeMap;

use doorbuster::sale::{
    outcome::{self, Refusal, Shortage, State, Status},
    settings::Invalid,
    time::Timestamp,
};

use super::{At, Line, Model, Name, Request, Reservation, Unit};

/// Items and units, each item once.
type Lines = Vec<(Name, u32)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    pub lines: Option<Lines>,
    pub restock: bool,
    pub key: Option<Name>,
}

impl Unit {
    pub(super) fn held(line: &Line) -> impl Iterator<Item = Self> {
        let unit = Self { pool: line.pool, price: line.price, at: At::Held };
        std::iter::repeat_n(unit, line.units as usize)
    }
}

impl Reservation {
    /// Puts a unit beside those of its pool and price.
    fn put(&mut self, unit: Unit) {
        let beside = self.units.iter().rposition(|known| (known.pool, known.price) == (unit.pool, unit.price));
        self.units.insert(beside.map_or(self.units.len(), |place| place + 1), unit);
    }
}

impl Model {
    fn get(&mut self, position: usize) -> &mut Reservation {
        self.uncommitted.insert(position);
        self.reservations.get_mut(&position).expect("it was just seen")
    }

    /// Places among the reservation's units of those of an item that are there, the first first.
    fn places(&self, position: usize, sku: &str, at: At) -> Vec<usize> {
        let units = self.reservations[&position].units.iter().enumerate();
        units.filter(|(_, unit)| unit.at == at && self.pools[unit.pool].sku == sku).map(|(place, _)| place).collect()
    }

    /// How many units of an item a reservation has there.
    pub fn has(&self, position: usize, sku: &str, at: At) -> u32 {
        self.places(position, sku, at).len() as u32
    }

    /// Everything that is there, by item.
    fn all(&self, position: usize, at: At) -> Lines {
        let mut all = Lines::new();
        for unit in self.reservations[&position].units.iter().filter(|unit| unit.at == at) {
            let sku = self.pools[unit.pool].sku;
            match all.iter_mut().find(|line| line.0 == sku) {
                Some(line) => line.1 += 1,
                None => all.push((sku, 1)),
            }
        }
        all
    }

    /// The lines that are meant: those asked for, of which there must be as many, or all.
    fn meant(&self, position: usize, asked: &Option<Lines>, at: At) -> Result<Lines, Refusal> {
        let Some(lines) = asked else { return Ok(self.all(position, at)) };
        let wrong = lines.iter().filter(|line| line.1 > self.has(position, line.0, at));
        let wrong: Vec<_> = wrong.map(|_| Invalid::new("/lines", "")).collect();
        if wrong.is_empty() { Ok(lines.clone()) } else { Err(Refusal::Invalid(wrong)) }
    }

    pub fn confirm(
        &mut self,
        now: Timestamp,
        position: usize,
        reference: Option<Name>,
        lines: &Option<Lines>,
    ) -> Result<outcome::Reservation, Refusal> {
        match self.current(now, position)? {
            State::Held => {
                self.refuse_if_open(position)?;
                for (sku, units) in self.meant(position, lines, At::Held)? {
                    for place in self.places(position, sku, At::Held).into_iter().take(units as usize) {
                        self.get(position).units[place].at = At::Confirmed;
                    }
                }
                for unit in self.get(position).units.iter_mut().filter(|unit| unit.at == At::Held) {
                    unit.at = At::Returned;
                }
                self.end(now, position, State::Confirmed);
                self.get(position).confirm_reference = reference;
                Ok(self.show(position))
            }
            State::Confirmed => {
                let shown = self.show(position);
                let same_reference = reference.is_none() || reference == shown.reference.as_deref();
                if same_reference && self.is_what_was_confirmed(position, lines) {
                    return Ok(shown);
                }
                if !same_reference {
                    self.note_refused(position, reference);
                }
                Err(Refusal::AlreadyConfirmed(Box::new(shown)))
            }
            State::Expired => self.confirm_late(now, position, reference, lines),
            State::Released | State::Cancelled => {
                self.note_refused(position, reference);
                Err(self.refuse_ended(position))
            }
        }
    }

    fn is_what_was_confirmed(&self, position: usize, lines: &Option<Lines>) -> bool {
        let Some(lines) = lines else { return self.all(position, At::Returned).is_empty() };
        let mut asked: BTreeMap<Name, u32> = lines.iter().copied().collect();
        for (sku, units) in self.all(position, At::Confirmed).into_iter().chain(self.all(position, At::Cancelled)) {
            match asked.get_mut(sku) {
                Some(left) if *left >= units => *left -= units,
                _ => return false,
            }
        }
        asked.values().all(|&left| left == 0)
    }

    /// A payment that is to be returned is on record, once.
    fn note_refused(&mut self, position: usize, reference: Option<Name>) {
        let known = &self.reservations[&position];
        if !known.refused.contains(&reference) {
            // Of a customer who was erased no reference is kept.
            let kept = reference.filter(|_| !known.erased);
            self.get(position).refused.push(kept);
        }
    }

    fn confirm_late(
        &mut self,
        now: Timestamp,
        position: usize,
        reference: Option<Name>,
        lines: &Option<Lines>,
    ) -> Result<outcome::Reservation, Refusal> {
        let known = &self.reservations[&position];
        let (sale, customer) = (known.request.sale, known.request.customer);
        let seconds = self.sales[sale].settings.late_confirm_seconds;
        if seconds == 0 || now > known.expires_at.plus_seconds(seconds.into()) {
            self.note_refused(position, reference);
            return Err(self.refuse_ended(position));
        }
        let meant = self.meant(position, lines, At::Returned)?;
        for &(sku, units) in meant.iter().filter(|_| !self.reservations[&position].erased) {
            let already = self.units_of(customer, sale, sku);
            if let Some(limit) = self.sales[sale].limit(sku)
                && already + u64::from(units) > limit.into()
            {
                self.note_refused(position, reference);
                return Err(Refusal::CustomerLimitExceeded { sku: sku.into(), limit, already });
            }
        }
        let taken = |(sku, units): &(Name, u32)| {
            self.places(position, sku, At::Returned).into_iter().take(*units as usize).collect::<Vec<_>>()
        };
        let places: Vec<usize> = meant.iter().flat_map(taken).collect();
        // Unit by unit: what is left of its pool?
        let (mut left, mut missing) = (BTreeMap::new(), BTreeMap::new());
        for &place in &places {
            let pool = self.reservations[&position].units[place].pool;
            let left = left.entry(pool).or_insert_with(|| self.available(pool));
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => *missing.entry(self.item(sale, self.pools[pool].sku)).or_insert(0) += 1,
            }
        }
        if missing.is_empty() {
            // Its payment may have been returned already.
            if reference.is_some() && self.reservations[&position].refused.contains(&reference) {
                return Err(self.refuse_ended(position));
            }
            for place in places {
                self.get(position).units[place].at = At::Confirmed;
            }
            self.end(now, position, State::Confirmed);
            let known = self.get(position);
            (known.late, known.confirm_reference) = (true, reference);
            return Ok(self.show(position));
        }
        let short = missing.into_iter().map(|(item, missing)| {
            let sku = self.items[item.index()].1;
            let requested = meant.iter().find(|line| line.0 == sku).expect("it is meant").1.into();
            Shortage {
                sku: sku.into(),
                requested,
                available: requested - missing,
                held: 0,
                next_release_at: None,
                waitlist: false,
            }
        });
        let short = short.collect();
        self.note_refused(position, reference);
        Err(Refusal::ExpiredAndShort { reservation: Box::new(self.show(position)), short })
    }

    /// The answer, and whether the key was known.
    pub fn cancel(
        &mut self,
        now: Timestamp,
        position: usize,
        asked: &Cancel,
    ) -> Result<(outcome::Reservation, bool), Refusal> {
        let state = self.current(now, position)?;
        if let Some(key) = asked.key
            && let Some((_, known)) = self.reservations[&position].cancellations.iter().find(|known| known.0 == key)
        {
            return if known == asked { Ok((self.show(position), true)) } else { Err(Refusal::IdempotencyKeyReused) };
        }
        match state {
            State::Held => return Err(Refusal::NotConfirmed(Box::new(self.show(position)))),
            State::Cancelled if asked.lines.is_none() => return Ok((self.show(position), false)),
            State::Released | State::Expired | State::Cancelled => return Err(self.refuse_ended(position)),
            State::Confirmed => {}
        }
        for (sku, units) in self.meant(position, &asked.lines, At::Confirmed)? {
            for place in self.places(position, sku, At::Confirmed).into_iter().rev().take(units as usize) {
                let unit = &mut self.get(position).units[place];
                unit.at = At::Cancelled;
                let pool = unit.pool;
                if !asked.restock {
                    self.pools[pool].stock -= 1;
                }
            }
        }
        let known = self.get(position);
        known.cancellations.extend(asked.key.filter(|_| !known.erased).map(|key| (key, asked.clone())));
        if known.units.iter().all(|unit| unit.at != At::Confirmed) {
            known.confirmed_at = known.ended_at;
            self.end(now, position, State::Cancelled);
        }
        Ok((self.show(position), false))
    }

    pub fn change_lines(
        &mut self,
        now: Timestamp,
        position: usize,
        lines: &Lines,
    ) -> Result<outcome::Reservation, Refusal> {
        if self.current(now, position)? != State::Held {
            return Err(self.refuse_ended(position));
        }
        self.refuse_if_open(position)?;
        let known = &self.reservations[&position];
        let (request, erased) = (Request { group: None, ..known.request.clone() }, known.erased);
        let sale = &self.sales[request.sale];
        if let Some((sku, _)) = lines.iter().find(|line| sale.settings.items.iter().all(|item| item.sku != line.0)) {
            return Err(Refusal::ItemNotFound { sku: (*sku).into() });
        }
        let mut back: Vec<usize> = Vec::new();
        for (sku, held) in self.all(position, At::Held) {
            let kept = lines.iter().find(|line| line.0 == sku).map_or(0, |line| line.1);
            let places = self.places(position, sku, At::Held).into_iter().rev();
            back.extend(places.take(held.saturating_sub(kept) as usize));
        }
        let grows = |line: &&(Name, u32)| line.1 > self.has(position, line.0, At::Held);
        let growing: Lines = lines.iter().filter(grows).copied().collect();
        let mut more: Vec<Line> = Vec::new();
        if !growing.is_empty() {
            let phase_limit = self.may_take_more(now, &request)?;
            let of_groups = |line: &(Name, u32)| {
                let items = &self.sales[request.sale].settings.items;
                items.iter().any(|item| item.sku == line.0 && item.group.is_some())
            };
            if growing.iter().any(of_groups) {
                return Err(Refusal::Invalid(vec![Invalid::new("/lines", "")]));
            }
            let mut shortages = Vec::new();
            for &(sku, units) in &growing {
                let (taken, left, short) = self.grow(now, position, &request, (sku, units));
                more.extend(taken);
                back.extend(left);
                shortages.extend(short);
            }
            if !shortages.is_empty() {
                return Err(Refusal::Short(shortages));
            }
            for &(sku, units) in &growing {
                let Some(limit) = self.sales[request.sale].limit(sku).into_iter().chain(phase_limit).min() else {
                    continue;
                };
                let all = if erased { 0 } else { self.units_of(request.customer, request.sale, sku) };
                let already = all.saturating_sub(self.has(position, sku, At::Held).into());
                if already + u64::from(units) > limit.into() {
                    return Err(Refusal::CustomerLimitExceeded { sku: sku.into(), limit, already });
                }
            }
        }
        if !back.is_empty() || !more.is_empty() {
            let known = self.get(position);
            let mut place = 0;
            known.units.retain(|_| {
                place += 1;
                !back.contains(&(place - 1))
            });
            more.iter().flat_map(Unit::held).for_each(|unit| known.put(unit));
            known.short.clear();
        }
        Ok(self.show(position))
    }

    /// Whether the sale lets a hold have more units; the limit of the phase that lets it in.
    fn may_take_more(&self, now: Timestamp, request: &Request) -> Result<Option<u32>, Refusal> {
        let sale = &self.sales[request.sale];
        match sale.status(now) {
            Status::Open => {}
            Status::Closed => return Err(Refusal::SaleEnded),
            Status::Paused => return Err(Refusal::SalePaused),
            Status::Scheduled => return Err(Refusal::SaleNotStarted { opens_at: sale.settings.opens_at }),
        }
        Ok(sale.admit(now, request)?.and_then(|phase| phase.customer_limit))
    }

    /// What a line takes that is to have so many units, and which of its units go back for it.
    fn grow(
        &self,
        now: Timestamp,
        position: usize,
        request: &Request,
        (sku, units): (Name, u32),
    ) -> (Vec<Line>, Vec<usize>, Option<Shortage>) {
        let item = self.sales[request.sale].item(sku).expect("just seen");
        let own = self.places(position, sku, At::Held);
        let pools = |open: &[(usize, _)]| open.iter().map(|pool| pool.0).collect::<Vec<usize>>();
        let short = |open: &[(usize, _)], available: u64| {
            let (requested, held) = (units.into(), self.sum(&pools(open)).held);
            (available < requested).then(|| Shortage {
                sku: sku.into(),
                requested,
                available,
                held,
                next_release_at: None,
                waitlist: false,
            })
        };
        if item.split.unwrap_or(true) {
            let open = self.open_pools(now, request, item);
            let (taken, most) = self.take_line(item, units - own.len() as u32, &open, false);
            return (taken, Vec::new(), short(&open, most + own.len() as u64));
        }
        // One pool has all of it, as if these units were free.
        let mut free = self.clone();
        own.iter().for_each(|&place| free.get(position).units[place].at = At::Returned);
        let open = free.open_pools(now, request, item);
        let (mut taken, most) = free.take_line(item, units, &open, false);
        let mut left = Vec::new();
        if let Some(line) = taken.first_mut() {
            for place in own {
                if self.reservations[&position].units[place].pool == line.pool {
                    line.units -= 1;
                } else {
                    left.push(place);
                }
            }
        }
        (taken, left, short(&open, most))
    }
}
