//! Folding in windows against applying event by event: the same content, however the windows are cut.

mod groups;
mod stock;
mod waitlist;

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestRunner};

use super::{naive::Naive, *};
use crate::sale::{
    attributes::Attributes,
    audit::{Action, Actor, NewRecord, Trail},
    catalogue::Catalogue,
    event::{
        Adjusted, AskedUnits, Cancelled, Changed, ConfirmRefused, NoRoom, PoolLevels, Portions, PricedPortions,
        RefusedConfirm, SaleDefined, Transferred, record,
    },
    expected::Tag,
    outcome::State,
    settings::{Phase, PoolSettings},
    stock::StockBook,
};

/// What may happen next, chosen blindly; whatever does not fit the world's state is skipped.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Wait {
        millis: u64,
    },
    Define {
        sale: u32,
        items: usize,
        /// Whether items get a pool that they did not begin with.
        more_pools: bool,
    },
    Reserve {
        customer: u8,
        item: usize,
        units: u32,
        second: bool,
        reference: bool,
        /// Of whom: chooses attributes and whether it may get less than it asks for.
        sort: u8,
    },
    Extend {
        pick: usize,
    },
    End {
        pick: usize,
        state: u8,
        text: bool,
        /// Of a confirmation: so many units are left over.
        left_over: u32,
    },
    /// Gives a hold other lines.
    Change {
        pick: usize,
        back: u32,
        item: usize,
        more: u32,
        sort: u8,
    },
    /// Confirms what has expired: all but so many units.
    ConfirmLate {
        pick: usize,
        text: bool,
        left_over: u32,
    },
    /// Cancels so many of the confirmed units.
    Cancel {
        pick: usize,
        units: u32,
        restock: bool,
        text: bool,
    },
    RefuseConfirm {
        pick: usize,
        cause: usize,
        text: bool,
    },
    /// An open group fails.
    FailGroup {
        pick: usize,
    },
    Join {
        customer: u8,
        item: usize,
        units: u32,
        reference: bool,
        sort: u8,
    },
    /// Offers a waitlist entry what it waits for, if that is available.
    Offer {
        pick: usize,
        sort: u8,
    },
    /// Passes an entry over.
    PassOver {
        pick: usize,
        cause: usize,
    },
    /// An entry is left, or expires.
    EndWait {
        pick: usize,
        is_left: bool,
    },
    Adjust {
        pool: usize,
        delta: i64,
    },
    Transfer {
        from: usize,
        to: usize,
        units: u64,
    },
    Turn {
        sale: u32,
        turn: u8,
    },
    Erase {
        customer: u8,
    },
    /// Events that change no row.
    Noise,
    Cut,
}

impl Step {
    /// Whether it happens to a reservation that is no longer held.
    pub(super) fn is_of_what_is_over(&self) -> bool {
        matches!(self, Self::ConfirmLate { .. } | Self::Cancel { .. } | Self::RefuseConfirm { .. })
    }
}

/// Few, so that those who are erased have something.
const CUSTOMERS: u8 = 9;

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..400_000u64).prop_map(|millis| Step::Wait { millis }),
        1 => (0..2u32, 1..5usize, any::<bool>())
            .prop_map(|(sale, items, more_pools)| Step::Define { sale, items, more_pools }),
        9 => (0..CUSTOMERS, 0..8usize, 1..4u32, any::<bool>(), any::<bool>(), any::<u8>()).prop_map(
            |(customer, item, units, second, reference, sort)| {
                Step::Reserve { customer, item, units, second, reference, sort }
            }
        ),
        3 => any::<usize>().prop_map(|pick| Step::Extend { pick }),
        8 => (any::<usize>(), 0..4u8, any::<bool>(), 0..3u32)
            .prop_map(|(pick, state, text, left_over)| Step::End { pick, state: state % 3, text, left_over }),
        4 => (any::<usize>(), 0..3u32, 0..8usize, 0..3u32, any::<u8>())
            .prop_map(|(pick, back, item, more, sort)| Step::Change { pick, back, item, more, sort }),
        3 => (any::<usize>(), any::<bool>(), 0..2u32)
            .prop_map(|(pick, text, left_over)| Step::ConfirmLate { pick, text, left_over }),
        5 => (any::<usize>(), 1..5u32, any::<bool>(), any::<bool>())
            .prop_map(|(pick, units, restock, text)| Step::Cancel { pick, units, restock, text }),
        2 => (any::<usize>(), 0..RefusedConfirm::ALL.len(), any::<bool>())
            .prop_map(|(pick, cause, text)| Step::RefuseConfirm { pick, cause, text }),
        2 => any::<usize>().prop_map(|pick| Step::FailGroup { pick }),
        4 => (0..CUSTOMERS, 0..8usize, 1..4u32, any::<bool>(), any::<u8>()).prop_map(
            |(customer, item, units, reference, sort)| Step::Join { customer, item, units, reference, sort }
        ),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(pick, sort)| Step::Offer { pick, sort }),
        1 => (any::<usize>(), 0..NoRoom::ALL.len()).prop_map(|(pick, cause)| Step::PassOver { pick, cause }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(pick, is_left)| Step::EndWait { pick, is_left }),
        2 => (0..16usize, -5..9i64).prop_map(|(pool, delta)| Step::Adjust { pool, delta }),
        2 => (0..16usize, 0..4usize, 1..4u64).prop_map(|(from, to, units)| Step::Transfer { from, to, units }),
        2 => (0..2u32, 0..3u8).prop_map(|(sale, turn)| Step::Turn { sale, turn }),
        1 => (0..CUSTOMERS).prop_map(|customer| Step::Erase { customer }),
        1 => Just(Step::Noise),
        6 => Just(Step::Cut),
    ];
    proptest::collection::vec(step, 20..250)
}

/// What callers say.
const TEXT: &str = "it's \"said\" 🛒";

/// A service in miniature: turns steps into events that could have happened, and cuts them into batches.
struct World {
    now: Timestamp,
    entropy: u64,
    catalogue: Catalogue,
    trail: Trail,
    stock: StockBook,
    /// Of each pool.
    available: Vec<u64>,
    reservations: Vec<Made>,
    groups: Vec<groups::Open>,
    /// Entries that wait.
    waiting: Vec<waitlist::Waits>,
    places: u64,
    lanes: BTreeMap<u16, Vec<u8>>,
    batches: Vec<Vec<u8>>,
}

/// A reservation, with the units of it that may still move: of a pool, one portion.
struct Made {
    id: ReservationId,
    sale: SaleNumber,
    state: State,
    units: Portions,
    extensions: u16,
}

impl Made {
    /// Takes so many of the units, from the first pool on.
    fn take(&mut self, mut units: u32) -> Portions {
        let mut taken = Portions::new();
        for portion in &mut self.units {
            let moved = units.min(portion.units);
            units -= moved;
            portion.units -= moved;
            taken.push(Portion { units: moved, ..*portion });
        }
        self.units.retain(|portion| portion.units > 0);
        taken.retain(|portion| portion.units > 0);
        taken
    }

    fn count(&self) -> u32 {
        self.units.iter().map(|portion| portion.units).sum()
    }
}

pub(super) fn batches(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut world = World {
        now: OPENS,
        entropy: 0,
        catalogue: Catalogue::default(),
        trail: Trail::default(),
        stock: StockBook::default(),
        available: Vec::new(),
        reservations: Vec::new(),
        groups: Vec::new(),
        waiting: Vec::new(),
        places: 0,
        lanes: BTreeMap::new(),
        batches: Vec::new(),
    };
    world.define(0, 2, false);
    steps.iter().for_each(|step| world.take(step));
    world.cut();
    world.batches
}

impl World {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Wait { millis } => {
                self.now = self.now.plus_millis(millis);
                let sales = self.catalogue.sales().to_vec();
                let now = self.now;
                let changes = sales.iter().flat_map(|sale| sale.changes_by_clock(now));
                changes.for_each(|event| self.tell_catalogue(event));
            }
            Step::Define { sale, items, more_pools } => self.define(sale, items, more_pools),
            Step::Reserve { customer, item, units, second, reference, sort } => {
                let reference = reference.then_some("cart");
                self.reserve(&format!("customer-{customer}"), item, units, second, reference, sort);
            }
            Step::Extend { pick } => self.extend(pick),
            Step::End { pick, state, text, left_over } => self.end(pick, state, text.then_some(TEXT), left_over),
            Step::Change { pick, back, item, more, sort } => self.change(pick, back, item, more, sort),
            Step::ConfirmLate { pick, text, left_over } => self.confirm_late(pick, text.then_some(TEXT), left_over),
            Step::Cancel { pick, units, restock, text } => self.cancel(pick, units, restock, text.then_some(TEXT)),
            Step::RefuseConfirm { pick, cause, text } => {
                self.refuse_confirm(pick, RefusedConfirm::ALL[cause], text.then_some(TEXT));
            }
            Step::FailGroup { pick } => self.fail(pick),
            Step::Join { customer, item, units, reference, sort } => {
                self.join(format!("customer-{customer}"), item, units, reference.then_some("cart"), sort);
            }
            Step::Offer { pick, sort } => self.offer(pick, sort),
            Step::PassOver { pick, cause } => self.pass_over(pick, NoRoom::ALL[cause]),
            Step::EndWait { pick, is_left } => self.end_wait(pick, is_left),
            Step::Adjust { pool, delta } => self.adjust(pool, delta),
            Step::Transfer { from, to, units } => self.transfer(from, to, units),
            Step::Turn { sale, turn } => self.turn(sale, turn),
            Step::Erase { customer } => {
                let (at, customer) = (self.now, format!("customer-{customer}"));
                self.leave_all(&customer);
                self.tell(&CustomerEvent::CustomerErased { at, customer: &customer }.into());
            }
            Step::Noise => {
                let bucket = Bucket::of("ann");
                self.tell(&Event::Customer(CustomerEvent::Retired {
                    id: reservation_id(self.now, "ann", 1),
                    counted: true,
                }));
                self.tell(&CustomerEvent::EntryRetired { id: reservation_id(self.now, "ann", 2) }.into());
                self.tell(&Event::Customer(CustomerEvent::Carried { customer: "ann", item: TV, units: 3 }));
                self.tell(&Event::Customer(CustomerEvent::Sold { bucket, item: TV, pool: PoolNumber(0), units: 3 }));
                self.tell(&Event::Catalogue(CatalogueEvent::Stocked { item: TV, pool: PoolNumber(0), stock: 999 }));
                self.tell(&Event::Catalogue(CatalogueEvent::KeysNoted { keys: vec![("eu", [1; 16])] }));
                self.tell(&Event::Catalogue(CatalogueEvent::AuditReached(self.trail.head())));
            }
            Step::Cut => self.cut(),
        }
    }

    /// Writes an event into its lane: the catalogue's, or one of three shards'.
    fn tell(&mut self, event: &Event<'_>) {
        let lane = match event {
            Event::Customer(event) => event.bucket().shard(3) as u16,
            Event::Catalogue(event) => {
                self.catalogue.apply(event);
                CATALOGUE_LANE
            }
        };
        event.encode(self.lanes.entry(lane).or_default());
    }

    fn tell_catalogue(&mut self, event: CatalogueEvent<'_>) {
        self.stock.apply(&event);
        self.tell(&event.into());
    }

    /// Records an operator's action.
    fn record(&mut self, action: Action, detail: &str) {
        let entry =
            NewRecord { by: Actor::Key("eu"), action, sale: Some("sale-0"), sku: None, detail: detail.to_owned() };
        let event = self.trail.record(self.now, &entry);
        self.trail.apply(&event).unwrap();
        self.tell(&event.into());
    }

    fn cut(&mut self) {
        let mut payload = Vec::new();
        let lanes = std::mem::take(&mut self.lanes);
        // The catalogue first.
        let (catalogue, shards): (Vec<_>, Vec<_>) = lanes.iter().partition(|(lane, _)| **lane == CATALOGUE_LANE);
        catalogue.into_iter().chain(shards).for_each(|(lane, bytes)| put_section(&mut payload, *lane, bytes));
        self.batches.push(payload);
    }

    fn define(&mut self, sale: u32, items: usize, more_pools: bool) {
        let number = sale.min(self.catalogue.sales().len() as u32);
        let known = self.catalogue.sales().get(number as usize);
        if known.is_some_and(|sale| sale.items.len() > items) {
            return;
        }
        let opens_at = self.now.plus_seconds(60);
        let items = (0..items)
            .map(|index| {
                let settings = settings().items[index % 2].clone();
                // Some item begins with nothing, and prices change.
                let initial_stock = [5, 2, 0, 7, 8][index];
                let price = settings.price.map(|price| Price { amount: 100 + self.now.millis() % 3, ..price });
                let sku = format!("sku-{index}");
                let known = known.and_then(|sale| sale.item(&sku)).map(|item| item.settings.pools.as_slice());
                let has_more = more_pools || known.is_some_and(|pools| pools.iter().any(|pool| pool.id == "later"));
                let pools = pools_of(index, initial_stock, has_more, opens_at, self.now.millis());
                let low_stock_at = [None, Some(self.now.millis() % 3)][index % 2];
                ItemSettings { sku, initial_stock, price, pools, low_stock_at, ..settings }
            })
            .collect();
        let closes_at = self.now.plus_seconds(600);
        let (tiers, channels, customer_limit) = (Some(vec!["gold".to_owned()]), None, None);
        let phase = Phase { name: "early".into(), opens_at, closes_at: None, tiers, channels, customer_limit };
        let name = format!("as of {}", self.now);
        let document = SaleSettings {
            id: format!("sale-{number}"),
            name,
            opens_at,
            closes_at,
            phases: vec![phase],
            items,
            ..settings()
        };
        let Ok((_, sale, numbers)) = self.catalogue.judge_put(&document, &Default::default()) else { return };
        let record = record::encode(&document, &numbers);
        let definition = self.catalogue.prepare(sale, &numbers, document.clone(), Tag::of(&record));
        let opened = self.catalogue.opened_by(&definition);
        self.available.extend(opened.iter().map(|opened| opened.units));
        let low_stock = self.catalogue.low_stock_changed_by(&definition);
        let defined = SaleDefined { sale, at: self.now, opened, low_stock, record: &record };
        self.tell_catalogue(CatalogueEvent::SaleDefined(defined));
        self.record(Action::SalePut, &format!("{{\"items\":{}}}", document.items.len()));
    }

    fn pools(&self, item: usize) -> Vec<PoolNumber> {
        self.catalogue.item_numbered(ItemNumber(item as u32)).pools.to_vec()
    }

    fn levels(&self, pool: PoolNumber) -> PoolLevels {
        PoolLevels { stock: self.stock.of(pool), available: self.available[pool.index()] }
    }

    /// Takes units of an item, from its pools in an order that `sort` turns.
    fn draw(&mut self, item: usize, units: u32, sort: u8) -> PricedPortions {
        let (mut pools, mut missing) = (self.pools(item), units);
        let count = pools.len();
        pools.rotate_left(usize::from(sort) % count);
        let mut portions = PricedPortions::new();
        for pool in pools {
            let units = u64::from(missing).min(self.available[pool.index()]) as u32;
            if units > 0 {
                self.available[pool.index()] -= u64::from(units);
                missing -= units;
                let item = ItemNumber(item as u32);
                portions.push(PricedPortion { item, pool, units, price: price_of(&self.catalogue, pool) });
            }
        }
        portions
    }

    fn reserve(&mut self, customer: &str, item: usize, units: u32, second: bool, reference: Option<&str>, sort: u8) {
        let item = item % self.catalogue.items();
        let sale = self.sale_of(item);
        let other = (item + 1) % self.catalogue.items();
        let mut lines = vec![(item, units)];
        if second && other != item && self.sale_of(other) == sale {
            lines.push((other, 1));
        }
        let mut short = Vec::new();
        for &(item, units) in &lines {
            let available: u64 = self.pools(item).iter().map(|pool| self.available[pool.index()]).sum();
            if available < u64::from(units) {
                short.push(AskedUnits { item: ItemNumber(item as u32), units });
            }
        }
        if !short.is_empty() && sort < 100 {
            return;
        }
        let portions: PricedPortions = lines.iter().flat_map(|&(item, units)| self.draw(item, units, sort)).collect();
        if portions.is_empty() {
            return;
        }
        self.entropy += 1 << 20;
        let id = reservation_id(self.now, customer, self.entropy);
        let item_number = ItemNumber(item as u32);
        let in_group = lines.len() == 1 && short.is_empty() && sort % 4 == 3;
        let group = in_group.then(|| self.joined(id, item_number, sort / 4));
        let held = portions.iter().map(|&PricedPortion { item, pool, units, .. }| Portion { item, pool, units });
        let units = held.collect();
        self.reservations.push(Made { id, sale, state: State::Held, units, extensions: 0 });
        self.tell(&Event::Customer(CustomerEvent::Held(Held {
            id,
            sale,
            customer,
            hold_seconds: 120,
            portions,
            reference,
            key: Some(("key", 9)),
            attributes: attributes_of(sort).map(Box::new),
            short: short.into(),
            group: group.map(Box::new),
            entry: None,
        })));
        if let Some(joined) = group {
            self.follow(&joined, id, sale, item_number);
        }
    }

    /// One of the reservations in this state.
    fn pick(&self, pick: usize, state: State) -> Option<usize> {
        let is_meant = |made: &Made| made.state == state && !self.is_open_member(made.id);
        let found = self.reservations.iter().enumerate().filter(|(_, made)| is_meant(made)).map(|(index, _)| index);
        let found: Vec<usize> = found.collect();
        (!found.is_empty()).then(|| found[pick % found.len()])
    }

    fn put_back(&mut self, portions: &Portions) {
        portions.iter().for_each(|portion| self.available[portion.pool.index()] += u64::from(portion.units));
    }

    fn extend(&mut self, pick: usize) {
        let expires_at = self.now.plus_seconds(500);
        let Some(index) = self.pick(pick, State::Held) else { return };
        let made = &mut self.reservations[index];
        made.extensions += 1;
        let Made { id, sale, extensions, .. } = *made;
        let extended = Extended { id, sale, at: self.now, expires_at, extensions, with_all: None };
        self.tell(&CustomerEvent::Extended(extended).into());
    }

    fn change(&mut self, pick: usize, back: u32, item: usize, more: u32, sort: u8) {
        let Some(index) = self.pick(pick, State::Held) else { return };
        let item = item % self.catalogue.items();
        let (id, sale) = (self.reservations[index].id, self.reservations[index].sale);
        let taken = if self.sale_of(item) == sale { self.draw(item, more, sort) } else { PricedPortions::new() };
        let back = back.min((self.reservations[index].count() - 1).max(taken.len() as u32));
        let returned = self.reservations[index].take(back);
        self.put_back(&returned);
        for &PricedPortion { item, pool, units, .. } in &taken {
            let has = &mut self.reservations[index].units;
            match has.iter_mut().find(|portion| portion.pool == pool) {
                Some(portion) => portion.units += units,
                None => has.push(Portion { item, pool, units }),
            }
        }
        if !returned.is_empty() || !taken.is_empty() {
            let changed = Changed { id, sale, at: self.now, returned, taken };
            self.tell(&CustomerEvent::Changed(changed).into());
        }
    }

    fn end(&mut self, pick: usize, state: u8, text: Option<&'static str>, left_over: u32) {
        // A member of an open group can only be released.
        let leaver =
            self.reservations.iter().position(|made| made.state == State::Held && self.is_open_member(made.id));
        let leaver = leaver.filter(|_| state == 1 && pick.is_multiple_of(3));
        let Some(index) = leaver.or_else(|| self.pick(pick, State::Held)) else { return };
        self.leave(self.reservations[index].id);
        let made = &mut self.reservations[index];
        let (id, sale, at, late) = (made.id, made.sale, self.now, false);
        if state == 0 {
            let returned = made.take(left_over.min(made.count() - 1));
            made.state = State::Confirmed;
            let portions = made.units.clone();
            self.put_back(&returned);
            let settled = Settled { id, sale, at, text, portions, returned, late };
            return self.tell(&Event::Customer(CustomerEvent::Confirmed(settled)));
        }
        made.state = if state == 1 { State::Released } else { State::Expired };
        let portions = made.units.clone();
        self.put_back(&portions);
        let ended = Settled { id, sale, at, text, portions, returned: Portions::new(), late };
        self.tell(&match state {
            1 => Event::Customer(CustomerEvent::Released(ended)),
            _ => Event::Customer(CustomerEvent::Expired(Settled { text: None, ..ended })),
        });
    }

    fn confirm_late(&mut self, pick: usize, text: Option<&'static str>, left_over: u32) {
        let Some(index) = self.pick(pick, State::Expired) else { return };
        let has = |portion: &Portion| self.available[portion.pool.index()] >= u64::from(portion.units);
        if !self.reservations[index].units.iter().all(has) {
            return;
        }
        let made = &mut self.reservations[index];
        made.take(left_over.min(made.count() - 1));
        made.state = State::Confirmed;
        let (id, sale, portions) = (made.id, made.sale, made.units.clone());
        portions.iter().for_each(|portion| self.available[portion.pool.index()] -= u64::from(portion.units));
        let (at, returned, late) = (self.now, Portions::new(), true);
        let settled = Settled { id, sale, at, text, portions, returned, late };
        self.tell(&CustomerEvent::Confirmed(settled).into());
    }

    fn cancel(&mut self, pick: usize, units: u32, restock: bool, reason: Option<&'static str>) {
        let Some(index) = self.pick(pick, State::Confirmed) else { return };
        let (made, at) = (&mut self.reservations[index], self.now);
        let portions = made.take(units);
        let is_all = made.units.is_empty();
        if is_all {
            made.state = State::Cancelled;
        }
        let (id, sale, key) = (made.id, made.sale, Some(("key", 3)));
        self.put_back(&portions);
        let cancelled = Cancelled { id, sale, at, reason, portions: portions.clone(), restock, is_all, key };
        self.tell(&CustomerEvent::Cancelled(cancelled).into());
        for portion in portions.iter().filter(|_| !restock) {
            self.put_in(portion.pool, -i64::from(portion.units), reason, None, Some(id));
        }
    }

    fn refuse_confirm(&mut self, pick: usize, cause: RefusedConfirm, reference: Option<&str>) {
        let Some(index) = self.pick(pick, cause.state()) else { return };
        let (id, sale) = (self.reservations[index].id, self.reservations[index].sale);
        let refused = ConfirmRefused { id, sale, at: self.now, reference, cause };
        self.tell(&CustomerEvent::ConfirmRefused(refused).into());
    }

    fn turn(&mut self, sale: u32, turn: u8) {
        let Some(sale) = self.catalogue.sales().get(sale as usize).cloned() else { return };
        let event = match turn {
            0 => self.catalogue.pause(self.now, &sale).ok().flatten(),
            1 => self.catalogue.resume(self.now, &sale).ok().flatten(),
            // Seldom: nothing follows a close.
            _ if self.now.millis().is_multiple_of(7) => self.catalogue.close(self.now, &sale),
            _ => None,
        };
        if let Some(event) = event {
            self.tell_catalogue(event);
            self.record(Action::SalePause, "{}");
        }
    }

    fn sale_of(&self, item: usize) -> SaleNumber {
        let number = ItemNumber(item as u32);
        let owner = self.catalogue.sales().iter().find(|sale| sale.items.iter().any(|item| item.number == number));
        owner.unwrap().number
    }
}

/// Every other item declares pools from the beginning; each gets one more if `has_more`.
fn pools_of(index: usize, initial_stock: u64, has_more: bool, shared_at: Timestamp, tick: u64) -> Vec<PoolSettings> {
    let pool = |id: &str, initial_stock| PoolSettings {
        id: id.into(),
        initial_stock,
        tiers: None,
        channels: None,
        shared_at: None,
        location: None,
        costs: None,
        price: None,
    };
    let (begins_with_two, members) = (index % 2 == 1, initial_stock.min(1));
    let mut pools = Vec::new();
    if begins_with_two {
        let (tiers, shared_at) = (Some(vec!["gold".to_owned(), "silver".to_owned()]), Some(shared_at));
        let price = Some(Price { amount: 90 + tick % 2, currency: Currency::parse("EUR").unwrap() });
        let location = Some("berlin".to_owned());
        pools.push(PoolSettings { tiers, shared_at, location, price, ..pool("members", members) });
        pools.push(pool("default", initial_stock - members));
    } else if has_more {
        pools.push(pool("default", initial_stock));
    }
    if has_more {
        let (channels, location) =
            (Some(vec!["livestream".to_owned()]), tick.is_multiple_of(2).then(|| "paris".to_owned()));
        pools.insert(pools.len() / 2, PoolSettings { channels, location, ..pool("later", 0) });
    }
    pools
}

fn attributes_of(sort: u8) -> Option<Attributes<'static>> {
    let one_of = |names: &[&'static str], by: u8| names.get(usize::from(sort / by) % (names.len() + 1)).copied();
    let tier = one_of(&["gold", "silver"], 1).map(Into::into);
    let channel = one_of(&["app", "livestream"], 3).map(Into::into);
    let region = one_of(&["eu"], 9).map(Into::into);
    let labels = [("host", one_of(&["ann", "it's \"B\""], 2)), ("x.y-z", one_of(&["1"], 5))];
    let labels = labels.into_iter().filter_map(|(name, value)| Some((name.into(), value?.into()))).collect();
    let locations = if sort.is_multiple_of(3) { vec!["berlin".into(), "paris".into()] } else { Vec::new() };
    Some(Attributes { tier, channel, region, locations, labels }).filter(|attributes| !attributes.is_empty())
}

/// The price of a unit from the pool.
pub(super) fn price_of(catalogue: &Catalogue, pool: PoolNumber) -> Option<Price> {
    let item = catalogue.item_numbered(catalogue.item_of(pool));
    let place = item.pools.iter().position(|known| *known == pool).unwrap();
    item.settings.pools.get(place).and_then(|pool| pool.price).or(item.settings.price)
}

/// Runs `judge` on made-up inputs: so many for SQLite, and a third of them for PostgreSQL, where each takes longer.
pub(super) fn for_cases<S: Strategy>(
    new: New,
    cases: u32,
    inputs: &S,
    judge: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let cases = if new().is_sqlite() { cases } else { cases / 3 };
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    TestRunner::new(config).run(inputs, judge).unwrap_or_else(|error| panic!("{error}"));
}

on_both! { windows_leave_what_single_events_leave }

fn windows_leave_what_single_events_leave(new: New) {
    for_cases(new, 40, &(steps(), 1..120u64), |(steps, window_events_max)| {
        let batches = batches(&steps);
        let naive = Naive::of(&batches);

        let (cut, whole) = (new(), new());
        let journal = MemoryJournal::of(&batches);
        let settings = WriteBehindSettings { window_events_max, ..Default::default() };
        catch_up(&mut write_behind_with(&journal, &cut, settings));
        catch_up(&mut write_behind(&journal, &whole));

        naive.compare(&cut);
        prop_assert_eq!(cut.content(), whole.content());
        Ok(())
    });
}
