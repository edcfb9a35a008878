//! Folding in windows against applying event by event: the same content, however the windows are cut.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::{
    engine::batch::for_each,
    sale::{
        audit::{Action, Actor, NewRecord, Trail},
        catalogue::Catalogue,
        codec::Malformed,
        event::{Adjusted, SaleDefined, record},
        expected::Tag,
        outcome::State,
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
    },
    Reserve {
        customer: u8,
        item: usize,
        units: u32,
        second: bool,
        reference: bool,
    },
    Extend {
        pick: usize,
    },
    End {
        pick: usize,
        state: u8,
        text: bool,
    },
    Adjust {
        item: usize,
        delta: i64,
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

/// Few, so that those who are erased have something.
const CUSTOMERS: u8 = 9;

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..400_000u64).prop_map(|millis| Step::Wait { millis }),
        1 => (0..2u32, 1..5usize).prop_map(|(sale, items)| Step::Define { sale, items }),
        9 => (0..CUSTOMERS, 0..8usize, 1..4u32, any::<bool>(), any::<bool>()).prop_map(
            |(customer, item, units, second, reference)| Step::Reserve { customer, item, units, second, reference }
        ),
        3 => any::<usize>().prop_map(|pick| Step::Extend { pick }),
        6 => (any::<usize>(), 0..3u8, any::<bool>()).prop_map(|(pick, state, text)| Step::End { pick, state, text }),
        2 => (0..8usize, -5..9i64).prop_map(|(item, delta)| Step::Adjust { item, delta }),
        2 => (0..2u32, 0..3u8).prop_map(|(sale, turn)| Step::Turn { sale, turn }),
        1 => (0..CUSTOMERS).prop_map(|customer| Step::Erase { customer }),
        1 => Just(Step::Noise),
        6 => Just(Step::Cut),
    ];
    proptest::collection::vec(step, 20..250)
}

type HeldLines = Vec<(usize, u32)>;

/// A service in miniature: turns steps into events that could have happened, and cuts them into batches.
struct World {
    now: Timestamp,
    entropy: u64,
    catalogue: Catalogue,
    trail: Trail,
    stock: StockBook,
    available: Vec<u64>,
    /// What is held: lines as item and units, and how often it was extended.
    holds: Vec<(ReservationId, HeldLines, u16)>,
    lanes: BTreeMap<u16, Vec<u8>>,
    batches: Vec<Vec<u8>>,
}

pub(super) fn batches(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut world = World {
        now: OPENS,
        entropy: 0,
        catalogue: Catalogue::default(),
        trail: Trail::default(),
        stock: StockBook::default(),
        available: Vec::new(),
        holds: Vec::new(),
        lanes: BTreeMap::new(),
        batches: Vec::new(),
    };
    world.define(0, 2);
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
            Step::Define { sale, items } => self.define(sale, items),
            Step::Reserve { customer, item, units, second, reference } => {
                self.reserve(&format!("customer-{customer}"), item, units, second, reference.then_some("cart"));
            }
            Step::Extend { pick } => self.extend(pick),
            Step::End { pick, state, text } => self.end(pick, state, text.then_some("it's \"said\" 🛒")),
            Step::Adjust { item, delta } => self.adjust(item, delta),
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

    fn define(&mut self, sale: u32, items: usize) {
        let number = sale.min(self.catalogue.sales().len() as u32);
        let known = self.catalogue.sales().get(number as usize);
        if known.is_some_and(|sale| sale.items.len() > items) {
            return;
        }
        let items = (0..items)
            .map(|index| {
                let settings = settings().items[index % 2].clone();
                // Some item begins with nothing, and prices change.
                let initial_stock = [5, 2, 0, 7, 8][index];
                let price = settings.price.map(|price| Price { amount: 100 + self.now.millis() % 3, ..price });
                ItemSettings { sku: format!("sku-{index}"), initial_stock, price, ..settings }
            })
            .collect();
        let (opens_at, closes_at) = (self.now.plus_seconds(60), self.now.plus_seconds(600));
        let name = format!("as of {}", self.now);
        let document = SaleSettings { id: format!("sale-{number}"), name, opens_at, closes_at, items, ..settings() };
        let Ok((_, sale, numbers)) = self.catalogue.judge_put(&document, &Default::default()) else { return };
        for (numbers, settings) in numbers.iter().zip(&document.items) {
            if numbers.item.index() == self.available.len() {
                self.available.push(settings.initial_stock);
            }
        }
        let record = record::encode(&document, &numbers);
        let definition = self.catalogue.prepare(sale, &numbers, document.clone(), Tag::of(&record));
        let opened = self.catalogue.opened_by(&definition);
        let defined = SaleDefined { sale, at: self.now, opened, record: &record };
        self.tell_catalogue(CatalogueEvent::SaleDefined(defined));
        self.record(Action::SalePut, &format!("{{\"items\":{}}}", document.items.len()));
    }

    fn reserve(&mut self, customer: &str, item: usize, units: u32, second: bool, reference: Option<&str>) {
        let item = item % self.available.len();
        let sale = self.sale_of(item);
        let other = (item + 1) % self.available.len();
        let mut lines = vec![(item, units)];
        if second && other != item && self.sale_of(other) == sale {
            lines.push((other, 1));
        }
        if lines.iter().any(|&(item, units)| self.available[item] < u64::from(units)) {
            return;
        }
        lines.iter().for_each(|&(item, units)| self.available[item] -= u64::from(units));
        self.entropy += 1 << 20;
        let id = reservation_id(self.now, customer, self.entropy);
        let priced = lines.iter().map(|&(item, units)| {
            let item = ItemNumber(item as u32);
            PricedPortion {
                item,
                pool: PoolNumber(item.0),
                units,
                price: self.catalogue.item_numbered(item).settings.price,
            }
        });
        let portions = priced.collect();
        self.tell(&Event::Customer(CustomerEvent::Held(Held {
            id,
            sale,
            customer,
            hold_seconds: 120,
            portions,
            reference,
            key: Some(("key", 9)),
            attributes: None,
            short: Box::default(),
        })));
        self.holds.push((id, lines, 0));
    }

    fn extend(&mut self, pick: usize) {
        let (count, expires_at) = (self.holds.len(), self.now.plus_seconds(500));
        let Some((id, lines, extensions)) = self.holds.get_mut(pick % count.max(1)) else { return };
        *extensions += 1;
        let (id, item, extensions) = (*id, lines[0].0, *extensions);
        let extended = Extended { id, sale: self.sale_of(item), at: self.now, expires_at, extensions };
        self.tell(&CustomerEvent::Extended(extended).into());
    }

    fn end(&mut self, pick: usize, state: u8, text: Option<&'static str>) {
        if self.holds.is_empty() {
            return;
        }
        let (id, lines, _) = self.holds.swap_remove(pick % self.holds.len());
        if state != 0 {
            lines.iter().for_each(|&(item, units)| self.available[item] += u64::from(units));
        }
        let sale = self.sale_of(lines[0].0);
        let portion = |&(item, units)| {
            let item = item as u32;
            Portion { item: ItemNumber(item), pool: PoolNumber(item), units }
        };
        let ended = Settled { id, sale, at: self.now, text, portions: lines.iter().map(portion).collect() };
        self.tell(&match state {
            0 => Event::Customer(CustomerEvent::Confirmed(ended)),
            1 => Event::Customer(CustomerEvent::Released(ended)),
            _ => Event::Customer(CustomerEvent::Expired(Settled { text: None, ..ended })),
        });
    }

    fn adjust(&mut self, item: usize, delta: i64) {
        let item = item % self.available.len();
        let Some(available) = self.available[item].checked_add_signed(delta) else { return };
        self.available[item] = available;
        let number = ItemNumber(item as u32);
        let pool = PoolNumber(number.0);
        let stock = self.stock.of(pool).checked_add_signed(delta).unwrap();
        let (reason, reference) = (Some("counted again"), (delta > 0).then_some("wh-1"));
        self.tell_catalogue(CatalogueEvent::Adjusted(Adjusted {
            item: number,
            pool,
            at: self.now,
            delta,
            reason,
            reference,
            key: None,
            of_sale: None,
            stock,
            available,
            of_pool: None,
        }));
        self.record(Action::StockAdjust, &format!("{{\"delta\":{delta}}}"));
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

/// The rows as applying one event after the other makes them, without a thought for speed.
#[derive(Default)]
pub(super) struct Naive {
    pub catalogue: Catalogue,
    changed_at: BTreeMap<SaleNumber, Timestamp>,
    pub counts: BTreeMap<ItemNumber, Counts>,
    /// What was available when the last batch ended, and when an item was first sold out by one.
    left: BTreeMap<ItemNumber, i64>,
    touched: BTreeMap<ItemNumber, Timestamp>,
    pub sold_out: BTreeMap<ItemNumber, Timestamp>,
    pub reservations: BTreeMap<ReservationId, StoredReservation>,
    /// Delta, reason, time, and stock after.
    movements: BTreeMap<ItemNumber, Vec<[String; 4]>>,
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
                let row = self.end(ended, State::Confirmed);
                row.confirmed_at = Some(ended.at.to_string());
                row.reference = ended.text.map(str::to_owned).or(row.reference.take());
            }
            Event::Customer(CustomerEvent::Released(ended)) => {
                let row = self.end(ended, State::Released);
                row.released_at = Some(ended.at.to_string());
                row.release_reason = ended.text.map(str::to_owned);
            }
            Event::Customer(CustomerEvent::Expired(ended)) => {
                self.end(ended, State::Expired).expired_at = Some(ended.at.to_string())
            }
            Event::Customer(CustomerEvent::CustomerErased { customer, .. }) => {
                for (id, row) in self.reservations.iter_mut().filter(|(_, row)| row.customer == *customer) {
                    row.customer = format!("erased-{id}");
                    (row.reference, row.release_reason) = (None, None);
                }
            }
            Event::Catalogue(CatalogueEvent::SaleDefined(SaleDefined { sale, at, record, .. })) => {
                self.changed_at.insert(*sale, *at);
                for item in record::decode(record).unwrap().1.iter().map(|numbers| &numbers.item) {
                    let stock = self.catalogue.item_numbered(*item).settings.initial_stock as i64;
                    let movements = self.movements.entry(*item).or_default();
                    if movements.is_empty() {
                        movements.push([stock.to_string(), "initial".into(), at.to_string(), stock.to_string()]);
                        self.counts.insert(*item, Counts { stock, available: stock, held: 0, confirmed: 0 });
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
                let counts = self.counts.get_mut(&adjusted.item).unwrap();
                counts.stock += adjusted.delta;
                counts.available += adjusted.delta;
                let (delta, reason) = (adjusted.delta.to_string(), adjusted.reason.unwrap().to_owned());
                let row = [delta, reason, adjusted.at.to_string(), adjusted.stock.to_string()];
                self.movements.get_mut(&adjusted.item).unwrap().push(row);
            }
            Event::Catalogue(CatalogueEvent::Audited(audited)) => {
                self.trail.apply(&CatalogueEvent::Audited(*audited)).unwrap();
                let record = audited.record;
                self.records.push([record.sequence.to_string(), record.at.to_string(), record.detail.to_owned()]);
            }
            _ => {}
        }
    }

    fn hold(&mut self, held: &Held<'_>) {
        let mut lines = Vec::new();
        for line in &held.portions {
            let counts = self.counts.get_mut(&line.item).unwrap();
            counts.available -= i64::from(line.units);
            counts.held += i64::from(line.units);
            let price = line.price.map(|price| (price.amount as i64, price.currency.as_str().to_owned()));
            lines.push(StoredLine { sku: self.catalogue.sku(line.item).to_owned(), quantity: line.units, price });
        }
        lines.sort_by(|one, other| one.sku.cmp(&other.sku));
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
            release_reason: None,
            lines,
        };
        assert!(self.reservations.insert(held.id, row).is_none());
    }

    fn end(&mut self, ended: &Settled<'_>, state: State) -> &mut StoredReservation {
        for line in &ended.portions {
            let counts = self.counts.get_mut(&line.item).unwrap();
            counts.held -= i64::from(line.units);
            match state {
                State::Confirmed => counts.confirmed += i64::from(line.units),
                _ => counts.available += i64::from(line.units),
            }
        }
        let row = self.reservations.get_mut(&ended.id).unwrap();
        row.state = state;
        row
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
            }
        }
        assert_eq!(reader.count_by_state().unwrap(), by_state);

        let totals: BTreeMap<_, _> =
            reader.totals().unwrap().into_iter().map(|item| ((item.sale.clone(), item.sku.clone()), item)).collect();
        assert_eq!(totals.len(), self.counts.len());
        let moved = database
            .query("SELECT sale, sku, delta, reason, at, stock_after FROM stock_movements ORDER BY sale, sku, id");
        let mut expected_moves: Vec<Vec<String>> = Vec::new();
        for sale in self.catalogue.sales() {
            let status = sale.status(self.changed_at[&sale.number]).as_str();
            let sql = format!("SELECT name, status FROM sales WHERE id = '{}'", sale.settings.id);
            assert_eq!(database.query(&sql), [[sale.settings.name.clone(), status.into()]]);
            for item in &*sale.items {
                let found = &totals[&(sale.settings.id.clone(), item.settings.sku.clone())];
                assert_eq!(found.stored, self.counts[&item.number]);
                assert_eq!(found.recomputed, found.stored);
                for movement in &self.movements[&item.number] {
                    let name = [sale.settings.id.clone(), item.settings.sku.clone()];
                    expected_moves.push(name.iter().chain(movement).cloned().collect());
                }
            }
        }
        expected_moves.sort_by(|one, other| one[..2].cmp(&other[..2]));
        assert_eq!(moved, expected_moves);
    }
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
