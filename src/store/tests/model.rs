//! Folding in windows against applying event by event: the same content, however the windows are cut.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::{
    engine::batch::for_each,
    sale::{
        attributes::Attributes,
        audit::{Action, Actor, NewRecord, Trail},
        catalogue::Catalogue,
        codec::Malformed,
        event::{
            Adjusted, AskedUnits, Cancelled, Changed, ConfirmRefused, PoolLevels, Portions, PricedPortions,
            RefusedConfirm, SaleDefined, Transferred, record,
        },
        expected::Tag,
        outcome::State,
        settings::{Phase, PoolSettings},
        stock::{Account, StockBook},
    },
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
            Step::Adjust { pool, delta } => self.adjust(pool, delta),
            Step::Transfer { from, to, units } => self.transfer(from, to, units),
            Step::Turn { sale, turn } => self.turn(sale, turn),
            Step::Erase { customer } => {
                self.tell(&Event::Customer(CustomerEvent::CustomerErased {
                    at: self.now,
                    customer: &format!("customer-{customer}"),
                }));
            }
            Step::Noise => {
                let bucket = Bucket::of("ann");
                self.tell(&Event::Customer(CustomerEvent::Retired {
                    id: reservation_id(self.now, "ann", 1),
                    counted: true,
                }));
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
                ItemSettings { sku, initial_stock, price, pools, ..settings }
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
        let defined = SaleDefined { sale, at: self.now, opened, record: &record };
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
        })));
    }

    /// One of the reservations in this state.
    fn pick(&self, pick: usize, state: State) -> Option<usize> {
        let found =
            self.reservations.iter().enumerate().filter(|(_, made)| made.state == state).map(|(index, _)| index);
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
        let Some(index) = self.pick(pick, State::Held) else { return };
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

    fn adjust(&mut self, pool: usize, delta: i64) {
        let pool = PoolNumber((pool % self.available.len()) as u32);
        if self.available[pool.index()].checked_add_signed(delta).is_some() {
            self.put_in(pool, delta, Some("counted again"), (delta > 0).then_some("wh-1"), None);
            self.record(Action::StockAdjust, &format!("{{\"delta\":{delta}}}"));
        }
    }

    /// Adjusts a pool.
    fn put_in(
        &mut self,
        pool: PoolNumber,
        delta: i64,
        reason: Option<&str>,
        reference: Option<&str>,
        of_reservation: Option<ReservationId>,
    ) {
        let available = self.available[pool.index()].checked_add_signed(delta).unwrap();
        self.available[pool.index()] = available;
        let item = self.catalogue.item_of(pool);
        let pools = self.pools(item.index());
        let of_pool = PoolLevels { stock: self.stock.of(pool).checked_add_signed(delta).unwrap(), available };
        let mut of_item = of_pool;
        for &other in pools.iter().filter(|other| **other != pool) {
            of_item.stock += self.levels(other).stock;
            of_item.available += self.levels(other).available;
        }
        self.tell_catalogue(CatalogueEvent::Adjusted(Adjusted {
            item,
            pool,
            at: self.now,
            delta,
            reason,
            reference,
            key: None,
            of_sale: (delta % 2 == 0 && of_reservation.is_none()).then(|| self.sale_of(item.index())),
            of_reservation,
            stock: of_item.stock,
            available: of_item.available,
            of_pool: (pools.len() > 1).then_some(of_pool),
        }));
    }

    fn transfer(&mut self, from: usize, to: usize, units: u64) {
        let from = PoolNumber((from % self.available.len()) as u32);
        let item = self.catalogue.item_of(from);
        let others: Vec<PoolNumber> = self.pools(item.index()).into_iter().filter(|pool| *pool != from).collect();
        let Some(&to) = others.get(to % others.len().max(1)) else { return };
        if self.available[from.index()] < units {
            return;
        }
        self.available[from.index()] -= units;
        self.available[to.index()] += units;
        let (mut gave, mut got) = (self.levels(from), self.levels(to));
        gave.stock -= units;
        got.stock += units;
        let (reason, reference) = (Some("rebalance"), (units > 1).then_some("wh-2"));
        self.tell_catalogue(CatalogueEvent::Transferred(Transferred {
            item,
            from,
            to,
            at: self.now,
            units,
            reason,
            reference,
            key: None,
            after: [gave, got],
        }));
        self.record(Action::StockTransfer, &format!("{{\"quantity\":{units}}}"));
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
    Some(Attributes { tier, channel, region, labels }).filter(|attributes| !attributes.is_empty())
}

/// The price of a unit from the pool.
fn price_of(catalogue: &Catalogue, pool: PoolNumber) -> Option<Price> {
    let item = catalogue.item_numbered(catalogue.item_of(pool));
    let place = item.pools.iter().position(|known| *known == pool).unwrap();
    item.settings.pools.get(place).and_then(|pool| pool.price).or(item.settings.price)
}

/// The rows as applying one event after the other makes them, without a thought for speed.
#[derive(Default)]
pub(super) struct Naive {
    pub catalogue: Catalogue,
    changed_at: BTreeMap<SaleNumber, Timestamp>,
    pub counts: BTreeMap<ItemNumber, Counts>,
    pools: BTreeMap<PoolNumber, Counts>,
    /// What was available when the last batch ended, and when an item was first sold out by one.
    left: BTreeMap<ItemNumber, i64>,
    touched: BTreeMap<ItemNumber, Timestamp>,
    pub sold_out: BTreeMap<ItemNumber, Timestamp>,
    pub reservations: BTreeMap<ReservationId, StoredReservation>,
    /// Delta, reason, time, stock after, the other pool of a transfer, and the reservation of cancelled units.
    movements: BTreeMap<PoolNumber, Vec<[String; 6]>>,
    /// Reservation, sale, time, reference and cause.
    pub refused: Vec<[String; 5]>,
    pub trail: Trail,
    /// Number, time and detail of each record.
    records: Vec<[String; 3]>,
}

impl Naive {
    pub(super) fn of(batches: &[Vec<u8>]) -> Self {
        let mut naive = Self::default();
        for batch in batches {
            for_each::<Malformed>(batch, |_, _, event| {
                naive.apply(&event);
                let is_news = !matches!(
                    event,
                    Event::Catalogue(CatalogueEvent::SaleDefined(_) | CatalogueEvent::Stocked { .. })
                        | Event::Customer(CustomerEvent::Sold { .. })
                );
                event.moves(|moved| {
                    if is_news && moved.change_of(Account::Available) != 0 {
                        let at = event.at().unwrap();
                        let last = naive.touched.entry(moved.item).or_insert(at);
                        *last = at.max(*last);
                    }
                });
                Ok(())
            })
            .unwrap();
            naive.end_batch();
        }
        naive
    }

    fn end_batch(&mut self) {
        for (item, at) in std::mem::take(&mut self.touched) {
            // Stock that an item begins with counts as if it had always been there.
            let initial = self.catalogue.item_numbered(item).settings.initial_stock as i64;
            let before = self.left.insert(item, self.counts[&item].available).unwrap_or(initial);
            if before > 0 && self.counts[&item].available == 0 {
                self.sold_out.entry(item).or_insert(at);
            }
        }
    }

    fn apply(&mut self, event: &Event<'_>) {
        if let Event::Catalogue(event) = event {
            self.catalogue.apply(event);
        }
        match event {
            Event::Customer(CustomerEvent::Held(held)) => self.hold(held),
            Event::Customer(CustomerEvent::Extended(Extended { id, expires_at, extensions, .. })) => {
                let row = self.reservations.get_mut(id).unwrap();
                (row.expires_at, row.extensions) = (expires_at.to_string(), u32::from(*extensions));
            }
            Event::Customer(CustomerEvent::Confirmed(ended)) => {
                let expires = |line: &mut StoredLine| line.returned = line.quantity;
                if ended.late {
                    self.row(ended.id).lines.iter_mut().for_each(expires);
                    self.each_unit(ended.id, &ended.portions, false, |line| give(&mut line.returned));
                }
                self.each_unit(ended.id, &ended.returned, true, |line| add_below(&mut line.returned, line.quantity));
                let from = if ended.late { "available" } else { "held" };
                self.shift(&ended.portions, from, "confirmed");
                self.shift(&ended.returned, "held", "available");
                let row = self.row(ended.id);
                (row.state, row.late) = (State::Confirmed, ended.late);
                (row.confirmed_at, row.expired_at) = (Some(ended.at.to_string()), None);
                row.reference = ended.text.map(str::to_owned).or(row.reference.take());
            }
            Event::Customer(CustomerEvent::Released(ended)) => {
                self.shift(&ended.portions, "held", "available");
                let row = self.row(ended.id);
                (row.state, row.released_at) = (State::Released, Some(ended.at.to_string()));
                row.release_reason = ended.text.map(str::to_owned);
            }
            Event::Customer(CustomerEvent::Expired(ended)) => {
                self.shift(&ended.portions, "held", "available");
                let row = self.row(ended.id);
                (row.state, row.expired_at) = (State::Expired, Some(ended.at.to_string()));
            }
            Event::Customer(CustomerEvent::Changed(changed)) => self.change(changed),
            Event::Customer(CustomerEvent::Cancelled(cancelled)) => {
                self.each_unit(cancelled.id, &cancelled.portions, true, |line| {
                    add_below(&mut line.cancelled, line.quantity - line.returned)
                });
                self.shift(&cancelled.portions, "confirmed", "available");
                let row = self.row(cancelled.id);
                if cancelled.is_all {
                    (row.state, row.cancelled_at) = (State::Cancelled, Some(cancelled.at.to_string()));
                }
                row.cancel_reason = cancelled.reason.map(str::to_owned).or(row.cancel_reason.take());
            }
            Event::Customer(CustomerEvent::ConfirmRefused(refused)) => {
                let sale = self.catalogue.sale_numbered(refused.sale).settings.id.clone();
                let reference = refused.reference.unwrap_or("-").to_owned();
                let cause = refused.cause.as_str().to_owned();
                self.refused.push([refused.id.to_string(), sale, refused.at.to_string(), reference, cause]);
            }
            Event::Customer(CustomerEvent::CustomerErased { customer, .. }) => {
                for (id, row) in self.reservations.iter_mut().filter(|(_, row)| row.customer == *customer) {
                    row.customer = format!("erased-{id}");
                    (row.reference, row.release_reason, row.cancel_reason, row.labels) = (None, None, None, None);
                    let theirs = self.refused.iter_mut().filter(|refused| refused[0] == row.id);
                    theirs.for_each(|refused| refused[3] = "-".to_owned());
                    let theirs = self.movements.values_mut().flatten().filter(|movement| movement[5] == row.id);
                    theirs.for_each(|movement| movement[1] = "-".to_owned());
                }
            }
            Event::Catalogue(CatalogueEvent::SaleDefined(SaleDefined { sale, at, record, .. })) => {
                self.changed_at.insert(*sale, *at);
                for numbers in record::decode(record).unwrap().1 {
                    let item = self.catalogue.item_numbered(numbers.item).clone();
                    let stock = item.settings.initial_stock as i64;
                    let all = Counts { stock, available: stock, held: 0, confirmed: 0 };
                    self.counts.entry(numbers.item).or_insert(all);
                    for (&pool, (_, stock)) in numbers.pools.iter().zip(item.settings.pools_or_default()) {
                        let stock = stock as i64;
                        let all = Counts { stock, available: stock, held: 0, confirmed: 0 };
                        self.pools.entry(pool).or_insert(all);
                        let (stock, none) = (stock.to_string(), "-".to_owned());
                        let first = [stock.clone(), "initial".into(), at.to_string(), stock, none.clone(), none];
                        self.movements.entry(pool).or_insert_with(|| vec![first]);
                    }
                }
            }
            Event::Catalogue(CatalogueEvent::SalePaused { sale, at })
            | Event::Catalogue(CatalogueEvent::SaleResumed { sale, at })
            | Event::Catalogue(CatalogueEvent::SaleClosed { sale, at })
            | Event::Catalogue(CatalogueEvent::StatusReached { sale, at, .. }) => {
                self.changed_at.insert(*sale, *at);
            }
            Event::Catalogue(CatalogueEvent::Adjusted(adjusted)) => {
                let Adjusted { item, pool, at, delta, reason, of_reservation, .. } = adjusted;
                self.put(*item, *pool, *delta);
                let none = "-".to_owned();
                let reservation = of_reservation.map_or_else(|| none.clone(), |id| id.to_string());
                self.moved(*pool, *delta, reason.unwrap_or("-"), *at, [none, reservation]);
            }
            Event::Catalogue(CatalogueEvent::Transferred(transferred)) => {
                let Transferred { item, from, to, at, units, reason, .. } = transferred;
                let units = *units as i64;
                for (pool, delta, other) in [(*from, -units, *to), (*to, units, *from)] {
                    self.put(*item, pool, delta);
                    let [.., other] = self.names(other);
                    self.moved(pool, delta, reason.unwrap(), *at, [other, "-".to_owned()]);
                }
            }
            Event::Catalogue(CatalogueEvent::Audited(audited)) => {
                self.trail.apply(&CatalogueEvent::Audited(*audited)).unwrap();
                let record = audited.record;
                self.records.push([record.sequence.to_string(), record.at.to_string(), record.detail.to_owned()]);
            }
            _ => {}
        }
    }

    /// Sale, SKU and id of a pool.
    fn names(&self, pool: PoolNumber) -> [String; 3] {
        let item = self.catalogue.item_numbered(self.catalogue.item_of(pool));
        let place = item.pools.iter().position(|known| *known == pool).unwrap();
        let (sale, sku) = self.catalogue.names(item.number);
        [sale, sku, item.settings.pool_id(place)].map(str::to_owned)
    }

    /// Puts units into a pool and its item.
    fn put(&mut self, item: ItemNumber, pool: PoolNumber, delta: i64) {
        for counts in [self.counts.get_mut(&item).unwrap(), self.pools.get_mut(&pool).unwrap()] {
            counts.stock += delta;
            counts.available += delta;
        }
    }

    fn moved(&mut self, pool: PoolNumber, delta: i64, reason: &str, at: Timestamp, [other, reservation]: [String; 2]) {
        let stock = self.pools[&pool].stock.to_string();
        let row = [delta.to_string(), reason.to_owned(), at.to_string(), stock, other, reservation];
        self.movements.get_mut(&pool).unwrap().push(row);
    }

    fn hold(&mut self, held: &Held<'_>) {
        let mut lines = Vec::new();
        for line in &held.portions {
            for counts in [self.counts.get_mut(&line.item).unwrap(), self.pools.get_mut(&line.pool).unwrap()] {
                counts.available -= i64::from(line.units);
                counts.held += i64::from(line.units);
            }
            let price = line.price.map(|price| (price.amount as i64, price.currency.as_str().to_owned()));
            let [_, sku, pool] = self.names(line.pool);
            lines.push(StoredLine { sku, pool, quantity: line.units, returned: 0, cancelled: 0, price });
        }
        let attributes = held.attributes.as_deref();
        let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let labels = attributes.filter(|attributes| !attributes.labels.is_empty()).map(|attributes| {
            let labels = attributes.labels.iter().map(|(name, value)| format!("{name:?}:{}", serde_json::json!(value)));
            format!("{{{}}}", labels.collect::<Vec<_>>().join(","))
        });
        let short = held.short.iter().map(|asked| {
            let granted: u32 = held.portions.iter().filter(|line| line.item == asked.item).map(|line| line.units).sum();
            let sku = self.catalogue.sku(asked.item);
            format!("{{\"sku\":{sku:?},\"requested\":{},\"granted\":{granted}}}", asked.units)
        });
        let short = short.collect::<Vec<_>>();
        let created_at = held.id.created_at();
        let row = StoredReservation {
            id: held.id.to_string(),
            sale: self.catalogue.sale_numbered(held.sale).settings.id.clone(),
            customer: held.customer.to_owned(),
            state: State::Held,
            reference: held.reference.map(str::to_owned),
            created_at: created_at.to_string(),
            expires_at: created_at.plus_seconds(held.hold_seconds.into()).to_string(),
            extensions: 0,
            confirmed_at: None,
            released_at: None,
            expired_at: None,
            cancelled_at: None,
            late: false,
            release_reason: None,
            cancel_reason: None,
            tier: attributes.and_then(|attributes| text(&attributes.tier)),
            channel: attributes.and_then(|attributes| text(&attributes.channel)),
            region: attributes.and_then(|attributes| text(&attributes.region)),
            labels,
            short: (!short.is_empty()).then(|| format!("[{}]", short.join(","))),
            lines,
        };
        assert!(self.reservations.insert(held.id, row).is_none());
    }

    fn row(&mut self, id: ReservationId) -> &mut StoredReservation {
        self.reservations.get_mut(&id).unwrap()
    }

    /// Moves units between accounts.
    fn shift(&mut self, portions: &Portions, from: &str, to: &str) {
        for line in portions {
            for counts in [self.counts.get_mut(&line.item).unwrap(), self.pools.get_mut(&line.pool).unwrap()] {
                for (account, units) in [(from, -i64::from(line.units)), (to, i64::from(line.units))] {
                    *match account {
                        "available" => &mut counts.available,
                        "held" => &mut counts.held,
                        _ => &mut counts.confirmed,
                    } += units;
                }
            }
        }
    }

    /// Does something to a line of the pool for each unit: the first line that it can be done to, or the last one.
    fn each_unit(&mut self, id: ReservationId, portions: &Portions, last: bool, act: impl Fn(&mut StoredLine) -> bool) {
        for portion in portions {
            let [_, sku, pool] = self.names(portion.pool);
            for _ in 0..portion.units {
                let lines = self.row(id).lines.iter_mut().filter(|line| line.sku == sku && line.pool == pool);
                let mut lines: Vec<&mut StoredLine> = lines.collect();
                if last {
                    lines.reverse();
                }
                assert!(lines.into_iter().any(|line| act(line)), "{id} has the unit");
            }
        }
    }

    fn change(&mut self, changed: &Changed) {
        self.shift(&changed.returned, "held", "available");
        self.each_unit(changed.id, &changed.returned, true, |line| give(&mut line.quantity));
        self.row(changed.id).lines.retain(|line| line.quantity > 0);
        for &PricedPortion { item, pool, units, price } in &changed.taken {
            self.shift(&[Portion { item, pool, units }].into_iter().collect(), "available", "held");
            let price = price.map(|price| (price.amount as i64, price.currency.as_str().to_owned()));
            let [_, sku, pool] = self.names(pool);
            let lines = &mut self.row(changed.id).lines;
            let same = |line: &&mut StoredLine| line.sku == sku && line.pool == pool && line.price == price;
            match lines.iter_mut().find(same) {
                Some(line) => line.quantity += units,
                None => {
                    let after = lines.iter().rposition(|line| line.sku == sku).map_or(lines.len(), |last| last + 1);
                    lines.insert(after, StoredLine { sku, pool, quantity: units, returned: 0, cancelled: 0, price });
                }
            }
        }
        self.row(changed.id).short = None;
    }

    fn compare(&self, database: &Database) {
        let reader = database.reader();
        for (id, expected) in &self.reservations {
            assert_eq!(reader.reservation(id).unwrap().as_ref(), Some(expected));
        }
        reader.check_audit(&[]).unwrap().unwrap().end(&self.trail.head()).unwrap();
        assert_eq!(database.query("SELECT sequence, at, detail FROM audit ORDER BY sequence"), self.records);
        let mut by_state = StateCounts::default();
        for row in self.reservations.values() {
            match row.state {
                State::Held => by_state.held += 1,
                State::Confirmed => by_state.confirmed += 1,
                State::Released => by_state.released += 1,
                State::Expired => by_state.expired += 1,
                State::Cancelled => by_state.cancelled += 1,
            }
        }
        assert_eq!(reader.count_by_state().unwrap(), by_state);

        let totals = reader.totals().unwrap().into_iter();
        let totals: BTreeMap<_, _> =
            totals.map(|total| ((total.sale.clone(), total.sku.clone(), total.pool.clone()), total)).collect();
        assert_eq!(totals.len(), self.counts.len() + self.pools.len());
        let check = |[sale, sku]: [&String; 2], pool: Option<&String>, counts: &Counts| {
            let found = &totals[&(sale.clone(), sku.clone(), pool.cloned())];
            assert_eq!((found.stored, found.recomputed), (*counts, *counts), "{sale} {sku} {pool:?}");
        };
        for sale in self.catalogue.sales() {
            let status = sale.status(self.changed_at[&sale.number]).as_str();
            let sql = format!("SELECT name, status FROM sales WHERE id = '{}'", sale.settings.id);
            assert_eq!(database.query(&sql), [[sale.settings.name.clone(), status.into()]]);
            for item in &*sale.items {
                check([&sale.settings.id, &item.settings.sku], None, &self.counts[&item.number]);
            }
        }
        let (mut moves, mut settings) = (Vec::new(), Vec::new());
        for (&pool, counts) in &self.pools {
            let names = self.names(pool);
            check([&names[0], &names[1]], Some(&names[2]), counts);
            let movements = self.movements[&pool].iter();
            moves.extend(movements.map(|movement| names.iter().chain(movement).cloned().collect::<Vec<_>>()));
            settings.push(names.into_iter().chain(self.settings_of(pool)).collect::<Vec<_>>());
        }
        moves.sort_by(|one, other| one[..3].cmp(&other[..3]));
        settings.sort();
        let columns = "SELECT sale, sku, pool, delta, reason, at, stock_after, other_pool, reservation_id";
        assert_eq!(database.query(&format!("{columns} FROM stock_movements ORDER BY sale, sku, pool, id")), moves);
        let columns = "SELECT reservation_id, sale, at, reference, cause FROM refused_confirmations";
        let mut refused = self.refused.clone();
        // Of each reservation in their order.
        refused.sort_by(|one, other| one[0].cmp(&other[0]));
        assert_eq!(database.query(&format!("{columns} ORDER BY reservation_id, id")), refused);
        let columns = "SELECT sale, sku, pool, number, position, location, initial_stock, price_amount, price_currency,
                              tiers, channels, shared_at";
        assert_eq!(database.query(&format!("{columns} FROM pools ORDER BY sale, sku, pool")), settings);
    }

    /// What the last document says of a pool.
    fn settings_of(&self, pool: PoolNumber) -> [String; 9] {
        let item = self.catalogue.item_numbered(self.catalogue.item_of(pool));
        let place = item.pools.iter().position(|known| *known == pool).unwrap();
        let declared = item.settings.pools.get(place);
        let none = || "-".to_owned();
        let list = |list: Option<&Vec<String>>| list.map_or_else(none, |names| format!("{names:?}").replace(", ", ","));
        let price = price_of(&self.catalogue, pool);
        [
            pool.0.to_string(),
            (place + 1).to_string(),
            declared.and_then(|pool| pool.location.clone()).unwrap_or_else(none),
            declared.map_or(item.settings.initial_stock, |pool| pool.initial_stock).to_string(),
            price.map_or_else(none, |price| price.amount.to_string()),
            price.map_or_else(none, |price| price.currency.as_str().to_owned()),
            list(declared.and_then(|pool| pool.tiers.as_ref())),
            list(declared.and_then(|pool| pool.channels.as_ref())),
            declared.and_then(|pool| pool.shared_at).map_or_else(none, |at| at.to_string()),
        ]
    }
}

/// Takes one away, if there is one.
fn give(units: &mut u32) -> bool {
    let had = *units > 0;
    *units -= u32::from(had);
    had
}

/// Adds one, if it stays at most `most`.
fn add_below(units: &mut u32, most: u32) -> bool {
    let room = *units < most;
    *units += u32::from(room);
    room
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
