//! Doorbuster once more, written to be obviously right: lists, and loops over all of them. No shards, no indexes, no
//! slices, no journal. Where the real service keeps a sum, this one counts.

use std::collections::{BTreeMap, BTreeSet};

use doorbuster::{
    engine::{Counts, Made},
    sale::{
        catalogue::Put,
        command::{Adjust, AskedLine, Reserve},
        ids::{Bucket, ItemNumber, PoolNumber, ReservationId, SaleNumber},
        outcome::{self, Refusal, ReservedLine, Shortage, Standing, State, Status},
        settings::{Invalid, Price, SaleSettings},
        time::Timestamp,
    },
};

/// How late the service may take a due hold, and let a reservation that is over go, by its own word: the clock's tick
/// finds either once the whole span that the deadline falls in has passed.
const EXPIRY_SPAN_MILLIS: u64 = 16;
const RETIREMENT_SPAN_MILLIS: u64 = 1000;

pub type Name = &'static str;

#[derive(Debug, Clone)]
pub struct Request {
    pub sale: Name,
    pub customer: Name,
    pub lines: Vec<(Name, u32)>,
    pub hold_seconds: Option<u32>,
    pub reference: Option<Name>,
    pub key: Option<Name>,
}

impl Request {
    pub fn command(&self) -> Reserve<'_> {
        let lines = self.lines.iter().map(|&(sku, units)| AskedLine { sku, units }).collect();
        let Self { sale, customer, hold_seconds, reference, key, .. } = *self;
        Reserve { sale, customer, lines, hold_seconds, reference, key, extras: None }
    }

    fn is_the_same_as(&self, other: &Self) -> bool {
        let sorted = |request: &Self| {
            let mut lines = request.lines.clone();
            lines.sort_unstable();
            lines
        };
        sorted(self) == sorted(other) && self.hold_seconds == other.hold_seconds && self.reference == other.reference
    }
}

#[derive(Debug, Clone)]
pub struct Model {
    pub retention_millis: u64,
    pub stock_max: u64,
    pub extensions_max: u32,
    pub sales: BTreeMap<Name, Sale>,
    /// Items in the order they came to be: their numbers.
    items: Vec<(Name, String)>,
    /// By the position of their creation in the whole test.
    pub reservations: BTreeMap<usize, Reservation>,
    /// Confirmed reservations that left memory.
    gone: Vec<Gone>,
    adjustments: Vec<Adjustment>,
    /// Reservations changed since the last commit.
    pub uncommitted: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
pub struct Sale {
    number: SaleNumber,
    pub settings: SaleSettings,
    /// By SKU.
    pub stock: BTreeMap<String, u64>,
    paused: bool,
    closed: bool,
    announced: Status,
}

#[derive(Debug, Clone)]
pub struct Reservation {
    id: ReservationId,
    request: Request,
    prices: Vec<Option<Price>>,
    /// As first answered.
    first_expires_at: Timestamp,
    pub expires_at: Timestamp,
    pub state: State,
    ended_at: Option<Timestamp>,
    extensions: u16,
    confirm_reference: Option<Name>,
    /// Nobody's, and its request is not known any more.
    erased: bool,
}

#[derive(Debug, Clone)]
struct Gone {
    sale: Name,
    customer: Name,
    lines: Vec<(Name, u32)>,
    /// Whether a limit could still ask for it when it left.
    counted: bool,
}

#[derive(Debug, Clone)]
struct Adjustment {
    sale: Name,
    sku: String,
    key: String,
    request: (i64, Option<String>, Option<String>),
    at: Timestamp,
    stock: u64,
    available: u64,
}

/// What an adjustment comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adjusted {
    pub at: Timestamp,
    pub stock: u64,
    pub available: u64,
    pub replayed: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticked {
    pub expired: usize,
    pub turned: usize,
    pub lag_millis: u64,
}

impl Sale {
    pub fn status(&self, now: Timestamp) -> Status {
        if self.closed || now >= self.settings.closes_at {
            Status::Closed
        } else if self.paused {
            Status::Paused
        } else if now < self.settings.opens_at {
            Status::Scheduled
        } else {
            Status::Open
        }
    }

    pub fn limit(&self, sku: &str) -> Option<u32> {
        let item = self.settings.items.iter().find(|item| item.sku == sku).expect("an item of the sale");
        item.customer_limit.or(self.settings.customer_limit)
    }

    fn price(&self, sku: &str) -> Option<Price> {
        self.settings.items.iter().find(|item| item.sku == sku).expect("an item of the sale").price
    }
}

impl Model {
    pub fn new(retention_millis: u64, stock_max: u64, extensions_max: u32) -> Self {
        Self {
            retention_millis,
            stock_max,
            extensions_max,
            sales: BTreeMap::new(),
            items: Vec::new(),
            reservations: BTreeMap::new(),
            gone: Vec::new(),
            adjustments: Vec::new(),
            uncommitted: BTreeSet::new(),
        }
    }

    // Counting.

    fn units_in(&self, sale: &str, sku: &str, state: State) -> u64 {
        let mut units = 0;
        for reservation in self.reservations.values() {
            for &(line_sku, line_units) in &reservation.request.lines {
                if reservation.request.sale == sale && line_sku == sku && reservation.state == state {
                    units += u64::from(line_units);
                }
            }
        }
        units
    }

    fn units_gone(&self, sale: &str, sku: &str) -> u64 {
        let lines = self.gone.iter().filter(|gone| gone.sale == sale).flat_map(|gone| &gone.lines);
        lines.filter(|line| line.0 == sku).map(|line| u64::from(line.1)).sum()
    }

    pub fn counts(&self, sale: &str, sku: &str) -> Counts {
        let held = self.units_in(sale, sku, State::Held);
        let confirmed = self.units_in(sale, sku, State::Confirmed) + self.units_gone(sale, sku);
        let available = self.sales[sale].stock[sku].checked_sub(held + confirmed).expect("the model does not oversell");
        Counts { available, held, confirmed }
    }

    /// What the customer holds or has confirmed of an item, as far as limits count it.
    pub fn units_of(&self, customer: &str, sale: &str, sku: &str) -> u64 {
        let mut units = 0;
        let mut count = |lines: &[(Name, u32)]| {
            units += lines.iter().filter(|line| line.0 == sku).map(|line| u64::from(line.1)).sum::<u64>();
        };
        for Reservation { request, state, .. } in self.reservations.values().filter(|known| !known.erased) {
            if request.customer == customer && request.sale == sale && matches!(state, State::Held | State::Confirmed) {
                count(&request.lines);
            }
        }
        for gone in self.gone.iter().filter(|gone| gone.counted) {
            if gone.customer == customer && gone.sale == sale {
                count(&gone.lines);
            }
        }
        units
    }

    pub fn live_holds(&self) -> usize {
        self.reservations.values().filter(|reservation| reservation.state == State::Held).count()
    }

    pub fn customers(&self) -> usize {
        let present = self.reservations.values().filter(|known| !known.erased);
        let present = present.map(|reservation| reservation.request.customer);
        let counted = self.gone.iter().filter(|gone| gone.counted).map(|gone| gone.customer);
        present.chain(counted).collect::<BTreeSet<_>>().len()
    }

    fn item(&self, sale: &str, sku: &str) -> ItemNumber {
        let number = self.items.iter().position(|item| item.0 == sale && item.1 == sku).expect("an item of the sale");
        ItemNumber(number as u32)
    }

    // What operators do.

    pub fn put(&mut self, now: Timestamp, id: Name, settings: &SaleSettings) -> Result<Put, Refusal> {
        let invalid = |pointer: &str| Err(Refusal::Invalid(vec![Invalid::new(pointer, "")]));
        if settings.opens_at >= settings.closes_at {
            return invalid("/closes_at");
        }
        let known = self.sales.get(id).cloned();
        if let Some(known) = &known {
            if known.closed {
                return Err(Refusal::SaleEnded);
            }
            for item in &known.settings.items {
                match settings.items.iter().find(|other| other.sku == item.sku) {
                    None => return invalid("/items"),
                    Some(other) if other.initial_stock != item.initial_stock => {
                        let (sku, initial_stock) = (item.sku.clone(), item.initial_stock);
                        return Err(Refusal::InitialStockImmutable { sku, pool: None, initial_stock });
                    }
                    Some(_) => {}
                }
            }
        }
        let put = if known.is_some() { Put::Replaced } else { Put::Created };
        let mut sale = known.unwrap_or_else(|| Sale {
            number: SaleNumber(self.sales.len() as u32),
            settings: settings.clone(),
            stock: BTreeMap::new(),
            paused: false,
            closed: false,
            announced: Status::Scheduled,
        });
        sale.settings = settings.clone();
        for item in &settings.items {
            if !sale.stock.contains_key(&item.sku) {
                sale.stock.insert(item.sku.clone(), item.initial_stock);
                self.items.push((id, item.sku.clone()));
            }
        }
        sale.announced = sale.status(now);
        self.sales.insert(id, sale);
        Ok(put)
    }

    pub fn pause(&mut self, now: Timestamp, sale: &str) -> Result<(), Refusal> {
        self.turn(now, sale, |sale| sale.paused = true)
    }

    pub fn resume(&mut self, now: Timestamp, sale: &str) -> Result<(), Refusal> {
        self.turn(now, sale, |sale| sale.paused = false)
    }

    fn turn(&mut self, now: Timestamp, sale: &str, turn: impl FnOnce(&mut Sale)) -> Result<(), Refusal> {
        let sale = self.sales.get_mut(sale).ok_or(Refusal::SaleNotFound)?;
        if sale.status(now) == Status::Closed {
            return Err(Refusal::SaleEnded);
        }
        let before = sale.paused;
        turn(sale);
        if sale.paused != before {
            sale.announced = sale.status(now);
        }
        Ok(())
    }

    pub fn close(&mut self, sale: &str) -> Result<(), Refusal> {
        let sale = self.sales.get_mut(sale).ok_or(Refusal::SaleNotFound)?;
        sale.closed = true;
        sale.announced = Status::Closed;
        Ok(())
    }

    pub fn adjust(&mut self, now: Timestamp, sale_id: Name, asked: &Adjust<'_>) -> Result<Adjusted, Refusal> {
        let sale = self.sales.get(sale_id).ok_or(Refusal::SaleNotFound)?;
        let Some(&stock) = sale.stock.get(asked.sku) else {
            return Err(Refusal::ItemNotFound { sku: asked.sku.into() });
        };
        let request = (asked.delta, asked.reason.map(String::from), asked.reference.map(String::from));
        let is_known = |known: &&Adjustment| {
            Some(known.key.as_str()) == asked.key && known.sale == sale_id && known.sku == asked.sku
        };
        if let Some(known) = self.adjustments.iter().find(is_known) {
            let Adjustment { at, stock, available, .. } = *known;
            let same = known.request == request;
            return same
                .then_some(Adjusted { at, stock, available, replayed: true })
                .ok_or(Refusal::IdempotencyKeyReused);
        }
        let available = self.counts(sale_id, asked.sku).available;
        let Some(available) = available.checked_add_signed(asked.delta) else {
            let requested = asked.delta.unsigned_abs();
            return Err(Refusal::Short(vec![Shortage {
                sku: asked.sku.into(),
                requested,
                available,
                held: 0,
                next_release_at: None,
            }]));
        };
        let stock = stock.checked_add_signed(asked.delta).expect("no less than what is available");
        if stock > self.stock_max {
            return Err(Refusal::Invalid(vec![Invalid::new("/delta", "")]));
        }
        self.sales.get_mut(sale_id).expect("just seen").stock.insert(asked.sku.into(), stock);
        if let Some(key) = asked.key {
            self.adjustments.retain(|known| now.millis_since(known.at) <= self.retention_millis);
            let (sku, key) = (asked.sku.into(), key.into());
            self.adjustments.push(Adjustment { sale: sale_id, sku, key, request, at: now, stock, available });
        }
        Ok(Adjusted { at: now, stock, available, replayed: false })
    }

    // What customers do.

    /// `position` and `entropy`: of the reservation, if one comes of it.
    pub fn reserve(
        &mut self,
        now: Timestamp,
        request: &Request,
        position: usize,
        entropy: u64,
    ) -> Result<(usize, Made), Refusal> {
        if !self.sales.contains_key(request.sale) {
            return Err(Refusal::SaleNotFound);
        }
        if let Some((first, known)) = self.find_key(request) {
            if !known.request.is_the_same_as(request) {
                return Err(Refusal::IdempotencyKeyReused);
            }
            let state = self.current(now, first)?;
            let stands = Standing { state, expires_at: self.reservations[&first].expires_at };
            return Ok((first, Made { reservation: self.show_as_made(first), replayed_of: Some(stands) }));
        }
        let sale = &self.sales[request.sale];
        match sale.status(now) {
            Status::Open => {}
            Status::Closed => return Err(Refusal::SaleEnded),
            Status::Paused => return Err(Refusal::SalePaused),
            Status::Scheduled => return Err(Refusal::SaleNotStarted { opens_at: sale.settings.opens_at }),
        }
        if let Some((sku, _)) = request.lines.iter().find(|line| !sale.stock.contains_key(line.0)) {
            return Err(Refusal::ItemNotFound { sku: (*sku).into() });
        }
        let mut short = Vec::new();
        for &(sku, units) in &request.lines {
            let available = self.counts(request.sale, sku).available;
            if available < u64::from(units) {
                let requested = units.into();
                short.push(Shortage { sku: sku.into(), requested, available, held: 0, next_release_at: None });
            }
        }
        if !short.is_empty() {
            return Err(Refusal::Short(short));
        }
        for &(sku, units) in &request.lines {
            let already = self.units_of(request.customer, request.sale, sku);
            if let Some(limit) = sale.limit(sku).filter(|&limit| already + u64::from(units) > limit.into()) {
                return Err(Refusal::CustomerLimitExceeded { sku: sku.into(), limit, already });
            }
        }
        let hold_seconds = request.hold_seconds.map_or(sale.settings.hold_seconds, u64::from);
        let expires_at = now.plus_seconds(hold_seconds);
        let reservation = Reservation {
            id: ReservationId::new(now, Bucket::of(request.customer), entropy),
            prices: request.lines.iter().map(|line| sale.price(line.0)).collect(),
            request: request.clone(),
            first_expires_at: expires_at,
            expires_at,
            state: State::Held,
            ended_at: None,
            extensions: 0,
            confirm_reference: None,
            erased: false,
        };
        self.reservations.insert(position, reservation);
        self.uncommitted.insert(position);
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

    pub fn confirm(
        &mut self,
        now: Timestamp,
        position: usize,
        reference: Option<Name>,
    ) -> Result<outcome::Reservation, Refusal> {
        match self.current(now, position)? {
            State::Held => {
                self.end(now, position, State::Confirmed);
                self.reservations.get_mut(&position).expect("just seen").confirm_reference = reference;
                Ok(self.show(position))
            }
            State::Confirmed => {
                let shown = self.show(position);
                let same = reference.is_none() || reference == shown.reference.as_deref();
                if same { Ok(shown) } else { Err(Refusal::AlreadyConfirmed(Box::new(shown))) }
            }
            _ => Err(self.refuse_ended(position)),
        }
    }

    pub fn release(&mut self, now: Timestamp, position: usize) -> Result<outcome::Reservation, Refusal> {
        match self.current(now, position)? {
            State::Held => {
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

    fn current(&mut self, now: Timestamp, position: usize) -> Result<State, Refusal> {
        let known = self.reservations.get(&position).ok_or(Refusal::ReservationNotFound)?;
        if known.state == State::Held && now >= known.expires_at {
            self.end(now, position, State::Expired);
        }
        Ok(self.reservations[&position].state)
    }

    fn end(&mut self, now: Timestamp, position: usize, state: State) {
        let reservation = self.reservations.get_mut(&position).expect("it is known");
        (reservation.state, reservation.ended_at) = (state, Some(now));
        self.uncommitted.insert(position);
    }

    fn refuse_ended(&self, position: usize) -> Refusal {
        let reservation = Box::new(self.show(position));
        match reservation.state {
            State::Confirmed => Refusal::AlreadyConfirmed(reservation),
            State::Released => Refusal::AlreadyReleased(reservation),
            State::Expired => Refusal::ReservationExpired(reservation),
            State::Held => panic!("a hold is not over"),
        }
    }

    fn show(&self, position: usize) -> outcome::Reservation {
        let known = &self.reservations[&position];
        let Request { sale, customer, ref lines, reference, .. } = known.request;
        let lines = lines.iter().zip(&known.prices).map(|(&(sku, units), &price)| {
            // An item that declares no pools has one, and both are numbered in the order of their creation.
            let item = self.item(sale, sku);
            ReservedLine { item, pool: PoolNumber(item.0), price, amounts: known.state.amounts(units) }
        });
        let reference = reference.filter(|_| !known.erased);
        outcome::Reservation {
            id: known.id,
            sale: self.sales[sale].number,
            customer: if known.erased { format!("erased-{}", known.id).into() } else { customer.into() },
            state: known.state,
            lines: lines.collect(),
            reference: known.confirm_reference.or(reference).map(Box::from),
            expires_at: known.expires_at,
            ended_at: known.ended_at,
            extensions: known.extensions,
            attributes: None,
            short: Box::default(),
        }
    }

    fn show_as_made(&self, position: usize) -> outcome::Reservation {
        let known = &self.reservations[&position];
        let mut made = outcome::Reservation {
            state: State::Held,
            reference: known.request.reference.map(Box::from),
            expires_at: known.first_expires_at,
            ended_at: None,
            extensions: 0,
            ..self.show(position)
        };
        made.lines.iter_mut().for_each(|line| line.amounts = State::Held.amounts(line.amounts.sum()));
        made
    }

    /// How many reservations were the customer's.
    pub fn erase(&mut self, customer: &str) -> u64 {
        let mut erased = 0;
        for (&position, known) in &mut self.reservations {
            if known.request.customer == customer && !known.erased {
                (known.erased, known.confirm_reference) = (true, None);
                self.uncommitted.insert(position);
                erased += 1;
            }
        }
        self.gone.iter_mut().filter(|gone| gone.customer == customer).for_each(|gone| gone.counted = false);
        erased
    }

    // What time does.

    pub fn tick(&mut self, now: Timestamp) -> Ticked {
        let mut ticked = Ticked::default();
        for sale in self.sales.values_mut() {
            if sale.announced != sale.status(now) {
                sale.announced = sale.status(now);
                ticked.turned += 1;
            }
        }
        for position in self.reservations.keys().copied().collect::<Vec<_>>() {
            let known = &self.reservations[&position];
            match known.ended_at {
                None if has_passed(known.expires_at, EXPIRY_SPAN_MILLIS, now) => {
                    ticked.lag_millis = ticked.lag_millis.max(now.millis_since(known.expires_at));
                    ticked.expired += 1;
                    self.end(now, position, State::Expired);
                }
                Some(at) if has_passed(at.plus_millis(self.retention_millis), RETIREMENT_SPAN_MILLIS, now) => {
                    self.retire(position);
                }
                _ => {}
            }
        }
        ticked
    }

    fn retire(&mut self, position: usize) {
        let Reservation { request, state, erased, .. } = self.reservations.remove(&position).expect("it is known");
        let sale = &self.sales[request.sale];
        let counted = !erased && !sale.closed && request.lines.iter().any(|line| sale.limit(line.0).is_some());
        if state == State::Confirmed {
            let Request { sale, customer, lines, .. } = request;
            self.gone.push(Gone { sale, customer, lines, counted });
        }
    }
}

fn has_passed(deadline: Timestamp, span_millis: u64, now: Timestamp) -> bool {
    let end_of_span = (deadline.millis() / span_millis + 1) * span_millis - 1;
    now.millis() >= end_of_span
}
