//! The service against a naive model of it: random sequences of everything that can be asked or can happen, answers and
//! state compared after each command.
//!
//! `DOORBUSTER_MODEL_COMMANDS` sets how many commands are run (default 200,000).

mod commands;
mod naive;
use std::{
    collections::BTreeMap,
    env,
    fmt::Debug,
    sync::{Mutex, PoisonError},
};

use doorbuster::{
    engine::{Answer, Durable, Settings},
    journal::{SnapshotStore, files::Survival},
    sale::{
        audit::Actor,
        command::Adjust,
        ids::{Bucket, ReservationId},
        outcome::{Refusal, Status},
        settings::{Currency, ItemSettings, Limits, Price, SaleSettings},
        time::Timestamp,
    },
};
use proptest::{
    strategy::Strategy,
    test_runner::{Config, TestRunner},
};

use self::{
    commands::{CUSTOMERS, Command, Document, Ending, KEYS, REFERENCES, SALES, SHARDS, SKUS, STOCKS},
    naive::{Adjusted, Model, Request, Ticked},
};
use crate::support::{ask, harness::Harness, without_holds};

const DEFAULT_COMMANDS: u64 = 200_000;
const SEQUENCE_MOST: usize = 400;

/// Short enough that reservations and keys are forgotten within a sequence.
const RETENTION_MILLIS: u64 = 90_000;
/// Low enough that restocking meets it.
const STOCK_MAX: u64 = 60;
const EXTENSIONS_MAX: u32 = 4;

#[test]
fn the_service_answers_as_the_naive_model_does() {
    let wanted = match env::var("DOORBUSTER_MODEL_COMMANDS") {
        Ok(text) => text.parse().expect("DOORBUSTER_MODEL_COMMANDS is a number of commands"),
        Err(_) => DEFAULT_COMMANDS,
    };
    // Each half has proptest's own seed; two, because test machines have at least two cores.
    let halves = [wanted / 2, wanted - wanted / 2];
    let tallies = std::thread::scope(|scope| {
        let halves = halves.map(|half| scope.spawn(move || run_commands(half)));
        halves.map(|half| half.join().expect("the service answers as the model does"))
    });
    let mut tally = Tally::default();
    tallies.iter().for_each(|half| tally.add(half));
    println!("{} commands compared, with these outcomes: {:#?}", tally.commands, tally.outcomes);
    assert!(tally.commands >= wanted, "{wanted} commands were to be compared, and only {} were", tally.commands);
    if wanted >= DEFAULT_COMMANDS {
        let missed: Vec<_> = OUTCOMES.iter().filter(|outcome| !tally.outcomes.contains_key(*outcome)).collect();
        assert!(missed.is_empty(), "the sequences never came to {missed:?}");
    }
}

/// What every run of the default size must come to, or the sequences test less than they seem to.
const OUTCOMES: [&str; 23] = [
    "done",
    "replayed",
    "lost in a crash or retired",
    "invalid",
    "sale not found",
    "item not found",
    "short",
    "limit exceeded",
    "sale not started",
    "sale ended",
    "sale paused",
    "expired",
    "already confirmed",
    "already released",
    "extension limit reached",
    "initial stock immutable",
    "key reused",
    "erased",
    "restart",
    "power loss",
    "snapshot",
    "snapshot, pruned",
    "snapshot, left unfinished",
];

#[derive(Default)]
struct Tally {
    commands: u64,
    outcomes: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
    }

    fn note(&mut self, outcome: &'static str) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    fn note_refusal(&mut self, refusal: &Refusal) {
        self.note(match refusal {
            Refusal::Invalid(_) => "invalid",
            Refusal::SaleNotFound => "sale not found",
            Refusal::ItemNotFound { .. } => "item not found",
            Refusal::PreconditionFailed { .. } => "precondition failed",
            Refusal::ReservationNotFound => "lost in a crash or retired",
            Refusal::Short(_) => "short",
            Refusal::CustomerLimitExceeded { .. } => "limit exceeded",
            Refusal::SaleNotStarted { .. } => "sale not started",
            Refusal::NotEligible => "not eligible",
            Refusal::SaleEnded => "sale ended",
            Refusal::SalePaused => "sale paused",
            Refusal::ReservationExpired(_) => "expired",
            Refusal::AlreadyConfirmed(_) => "already confirmed",
            Refusal::AlreadyReleased(_) => "already released",
            Refusal::ExtensionLimitReached(_) => "extension limit reached",
            Refusal::InitialStockImmutable { .. } => "initial stock immutable",
            Refusal::IdempotencyKeyReused => "key reused",
            Refusal::Full(_) | Refusal::BacklogFull | Refusal::DiskLow => "full",
        });
    }

    fn note_result<T>(&mut self, result: &Result<T, Refusal>) {
        match result {
            Ok(_) => self.note("done"),
            Err(refusal) => self.note_refusal(refusal),
        }
    }
}

fn run_commands(wanted: u64) -> Tally {
    let tally = Mutex::new(Tally::default());
    let lock = || tally.lock().unwrap_or_else(PoisonError::into_inner);
    let config =
        Config { failure_persistence: None, max_shrink_iters: 20_000, max_shrink_time: 60_000, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let sequences = (proptest::sample::select(&SHARDS[..]), commands::commands(SEQUENCE_MOST));
    while lock().commands < wanted {
        let sequence = sequences.new_tree(&mut runner).expect("nothing is filtered");
        let outcome = runner.run_one(sequence, |(shards, commands)| {
            let mut world = World::new(shards);
            for command in &commands {
                world.run(command);
            }
            lock().add(&world.tally);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
    }
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The service and its model, side by side.
struct World {
    harness: Harness,
    model: Model,
    /// The model as of the last commit, and the service's digest then.
    durable: (Model, u64),
    /// Every reservation ever made, also those that a crash undid.
    made: Vec<(ReservationId, Request)>,
    tally: Tally,
}

impl World {
    fn new(shards: usize) -> Self {
        let limits = Limits { stock_max: STOCK_MAX, extensions_max: EXTENSIONS_MAX, ..Limits::default() };
        let harness =
            Harness::new(Settings { shards, retention_millis: RETENTION_MILLIS, limits, ..Settings::default() });
        let model = Model::new(RETENTION_MILLIS, STOCK_MAX, EXTENSIONS_MAX);
        let durable = (model.clone(), harness.engine.digest());
        let mut world = Self { harness, model, durable, made: Vec::new(), tally: Tally::default() };
        let first = Document {
            items: 3,
            reversed: false,
            opens_in: 0,
            closes_in: 30 * 24 * 3600,
            hold_seconds: 20,
            max_extensions: Some(2),
            customer_limit: Some(4),
            item_limit: None,
            price: Some(19_900),
            changed_stock: false,
            removed_item: false,
        };
        world.put(0, &first);
        world.commit();
        world
    }

    fn run(&mut self, command: &Command) {
        self.tally.commands += 1;
        match command {
            Command::Put(sale, document) => self.put(*sale, document),
            Command::Pause(sale) => self.turn(*sale, "pause"),
            Command::Resume(sale) => self.turn(*sale, "resume"),
            Command::Close(sale) => self.turn(*sale, "close"),
            Command::Adjust { sale, sku, delta, key, reference } => {
                self.adjust(*sale, SKUS[*sku], *delta, key.map(|key| KEYS[key]), reference.map(|at| REFERENCES[at]));
            }
            Command::Reserve(reserve) => self.reserve(&request(reserve)),
            Command::Repeat { ago } => {
                let latest = self.made.len().checked_sub(1);
                if let Some((_, asked)) = latest.map(|latest| &self.made[latest - ago % (latest + 1)]) {
                    self.reserve(&asked.clone());
                }
            }
            Command::Confirm { ago, reference } => {
                let reference = reference.map(|at| REFERENCES[at]);
                self.change(
                    *ago,
                    |harness, id| harness.engine.confirm(harness.now, id, reference),
                    |model, now, position| model.confirm(now, position, reference),
                );
            }
            Command::Release { ago } => self.change(
                *ago,
                |harness, id| harness.engine.release(harness.now, id, Some("changed their mind")),
                |model, now, position| model.release(now, position),
            ),
            Command::Extend { ago, seconds } => self.change(
                *ago,
                |harness, id| harness.engine.extend(harness.now, id, *seconds),
                |model, now, position| model.extend(now, position, *seconds),
            ),
            Command::Look { ago } => self.change(
                *ago,
                |harness, id| harness.engine.look(harness.now, id),
                |model, now, position| model.look(now, position),
            ),
            Command::Erase { customer } => self.erase(CUSTOMERS[*customer]),
            Command::Tick => self.tick(),
            Command::Wait { millis } => self.harness.wait_millis(*millis),
            Command::WaitForEnd { ago, offset } => {
                let position = self.made.len().checked_sub(1).map(|latest| latest - ago % (latest + 1));
                if let Some(known) = position.and_then(|position| self.model.reservations.get(&position)) {
                    let end = Timestamp::from_millis(known.expires_at.millis().saturating_add_signed(*offset));
                    self.harness.now = self.harness.now.max(end);
                }
            }
            Command::Commit => self.commit(),
            Command::Restart { shards, gracefully } => {
                self.tally.note("restart");
                if *gracefully {
                    self.commit();
                }
                self.harness.kill_and_start_with(*shards);
                self.return_to_durable();
            }
            Command::LosePower { seed } => self.lose_power(*seed),
            Command::Snapshot { meanwhile, ending } => self.snapshot(meanwhile, *ending),
        }
        self.compare();
    }

    fn put(&mut self, sale: usize, document: &Document) {
        let id = SALES[sale];
        let known = self.model.sales.get(id).map_or(0, |sale| sale.stock.len());
        let count = if document.removed_item { known.saturating_sub(1) } else { known }.max(document.items);
        let settings = self.settings(id, document, count);
        let expected = self.model.put(self.harness.now, id, &settings);
        self.tally.note_result(&expected);
        let answer = self.harness.engine.put_sale(self.harness.now, Actor::Anybody, &settings);
        self.assert_pending(&answer, answer.value.is_ok());
        let shown = answer.value.map(|(put, sale)| {
            assert_eq!(as_put(&sale.settings), settings);
            put
        });
        assert_eq!(shown.map_err(without_details), expected);
    }

    fn settings(&self, id: &str, document: &Document, count: usize) -> SaleSettings {
        let at = |seconds: i64| match seconds {
            0.. => self.harness.now.plus_seconds(seconds as u64),
            _ => Timestamp::from_millis(self.harness.now.millis() - seconds.unsigned_abs() * 1000),
        };
        let mut items: Vec<ItemSettings> = (0..count).map(|at| ask::item(SKUS[at], STOCKS[at])).collect();
        let currency = Currency::parse("EUR").expect("a currency");
        items[0].price = document.price.map(|amount| Price { amount, currency });
        if let Some(second) = items.get_mut(1) {
            second.customer_limit = document.item_limit;
        }
        if document.changed_stock {
            items[0].initial_stock += 1;
        }
        if document.reversed {
            items.reverse();
        }
        SaleSettings {
            id: id.into(),
            name: format!("The {id} sale"),
            opens_at: at(document.opens_in),
            closes_at: at(document.closes_in),
            hold_seconds: document.hold_seconds,
            max_extensions: document.max_extensions,
            customer_limit: document.customer_limit,
            rate_limits: None,
            phases: Vec::new(),
            items,
        }
    }

    fn turn(&mut self, sale: usize, turn: &str) {
        let (id, now, engine) = (SALES[sale], self.harness.now, &self.harness.engine);
        let (answer, expected) = match turn {
            "pause" => (engine.pause(now, Actor::Anybody, id), self.model.pause(now, id)),
            "resume" => (engine.resume(now, Actor::Anybody, id), self.model.resume(now, id)),
            _ => (engine.close(now, Actor::Anybody, id), self.model.close(id)),
        };
        self.tally.note_result(&expected);
        assert_eq!(answer.value, expected, "{turn} {id}");
    }

    fn adjust(
        &mut self,
        sale: usize,
        sku: &str,
        delta: i64,
        key: Option<&'static str>,
        reference: Option<&'static str>,
    ) {
        let sale = SALES[sale];
        let asked = Adjust { sale, sku, pool: None, delta, reason: Some("counted anew"), reference, key };
        let expected = self.model.adjust(self.harness.now, sale, &asked);
        self.tally.note_result(&expected);
        let answer = self.harness.engine.adjust(self.harness.now, Actor::Anybody, &asked);
        self.assert_pending(&answer, matches!(expected, Ok(Adjusted { replayed: false, .. })));
        let shown = answer.value.map(|adjustment| {
            let made = adjustment.made;
            assert_eq!(
                (made.delta, made.reason.as_deref(), made.reference.as_deref()),
                (asked.delta, asked.reason, asked.reference)
            );
            Adjusted { at: made.at, stock: made.stock, available: made.available, replayed: adjustment.replayed }
        });
        assert_eq!(without_holds(shown).map_err(without_details), expected);
    }

    fn reserve(&mut self, request: &Request) {
        let (now, entropy, position) = (self.harness.now, self.harness.draw(), self.made.len());
        let expected = self.model.reserve(now, request, position, entropy);
        let answer = self.harness.engine.reserve(now, &request.command(), entropy);
        let is_new = matches!(expected, Ok((first, _)) if first == position);
        match &expected {
            Ok(_) if !is_new => self.tally.note("replayed"),
            expected => self.tally.note_result(expected),
        }
        let uncommitted = expected.as_ref().is_ok_and(|(first, _)| self.model.uncommitted.contains(first));
        self.assert_pending(&answer, uncommitted);
        assert_eq!(without_holds(answer.value), expected.map(|(_, made)| made), "{request:?}");
        if is_new {
            let id = ReservationId::new(now, Bucket::of(request.customer), entropy);
            self.made.push((id, request.clone()));
        }
    }

    fn change<T: Debug + PartialEq>(
        &mut self,
        ago: usize,
        change: impl Fn(&Harness, ReservationId) -> Answer<Result<T, Refusal>>,
        expect: impl Fn(&mut Model, Timestamp, usize) -> Result<T, Refusal>,
    ) {
        let Some(newest) = self.made.len().checked_sub(1) else { return };
        let position = newest - ago % (newest + 1);
        let expected = expect(&mut self.model, self.harness.now, position);
        self.tally.note_result(&expected);
        let answer = change(&self.harness, self.made[position].0);
        self.assert_pending(&answer, self.model.uncommitted.contains(&position));
        assert_eq!(answer.value, expected, "reservation {position}");
    }

    fn erase(&mut self, customer: &str) {
        let expected = self.model.erase(customer);
        if expected > 0 {
            self.tally.note("erased");
        }
        let answer = self.harness.engine.erase_customer(self.harness.now, Actor::Anybody, customer);
        self.assert_pending(&answer, true);
        assert_eq!(answer.value, expected, "reservations of {customer}");
    }

    fn tick(&mut self) {
        let expected = self.model.tick(self.harness.now);
        let tick = self.harness.tick();
        assert_eq!(
            Ticked { expired: tick.expired, turned: tick.status_changes, lag_millis: tick.lag_millis },
            expected
        );
    }

    /// An answer that shows what is not on disk yet must wait for it.
    fn assert_pending<T>(&self, answer: &Answer<T>, pending: bool) {
        let durable = self.harness.engine.durability().of(answer.durable_at);
        if pending {
            assert_eq!(durable, Durable::NotYet, "no answer outruns the disk");
        }
    }

    fn commit(&mut self) {
        self.harness.commit();
        self.remember_durable();
    }

    fn remember_durable(&mut self) {
        self.model.uncommitted.clear();
        self.durable = (self.model.clone(), self.harness.engine.digest());
        let latest = self.harness.engine.levels().latest_epoch;
        assert_eq!(self.harness.engine.durability().of(latest), Durable::Yes, "all is durable after a commit");
    }

    fn lose_power(&mut self, seed: u64) {
        self.tally.note("power loss");
        self.harness.lose_power(Survival::Sectors { seed, sector_bytes: 512 });
        self.return_to_durable();
    }

    /// After a crash: what was not committed never was.
    fn return_to_durable(&mut self) {
        self.model = self.durable.0.clone();
        assert_eq!(self.harness.engine.digest(), self.durable.1, "what comes back is what was committed");
    }

    fn snapshot(&mut self, meanwhile: &[(usize, Command)], ending: Ending) {
        let engine = self.harness.engine.clone();
        let mut snapshot = engine.begin_snapshot(&self.harness.snapshots()).expect("the storage works");
        for (steps, command) in meanwhile {
            for _ in 0..*steps {
                snapshot.step().expect("the storage works");
            }
            self.run(command);
        }
        match ending {
            Ending::Finish { prune } => {
                while snapshot.step().expect("the storage works") {}
                let mut committed = false;
                let taken = snapshot.finish(|_| {
                    self.harness.commit();
                    committed = true;
                });
                let taken = taken.expect("the storage works");
                if committed {
                    self.remember_durable();
                }
                self.tally.note("snapshot");
                if prune && self.harness.prune(taken) > 0 {
                    self.tally.note("snapshot, pruned");
                }
            }
            Ending::Abandon => self.tally.note("snapshot, left unfinished"),
            Ending::LosePower { seed } => self.lose_power(seed),
        }
        self.harness.snapshots().discard_unfinished().expect("the storage works");
    }

    /// The whole state, as far as it shows without changing anything.
    fn compare(&mut self) {
        self.compare_sales();
        self.compare_reservations();
        self.compare_limits();
    }

    fn compare_sales(&self) {
        let (engine, now) = (&self.harness.engine, self.harness.now);
        for id in SALES {
            let view = engine.sale(now, id).value;
            let Some(sale) = self.model.sales.get(id) else {
                assert_eq!(view.map(|view| view.status), Err(Refusal::SaleNotFound));
                continue;
            };
            let view = view.expect("the model has it");
            assert_eq!(
                (view.status, as_put(&view.sale.settings)),
                (sale.status(now), sale.settings.clone()),
                "sale {id}"
            );
            assert_eq!(view.counts.len(), sale.stock.len());
            for (item, counts) in view.sale.items.iter().zip(&view.counts) {
                let sku = item.settings.sku.as_str();
                assert_eq!(*counts, self.model.counts(id, sku), "counts of {id}/{sku}");
                assert_eq!(counts.stock(), sale.stock[sku], "stock of {id}/{sku}");
            }
            let availability = engine.availability(now, id, None).value.expect("the model has it");
            assert_eq!((availability.status, availability.counts), (view.status, view.counts));
        }
        let levels = engine.levels();
        let seen = (levels.live_holds, levels.reservations, levels.customers);
        let holds = self.model.live_holds() as u64;
        assert_eq!(seen, (holds, self.model.reservations.len() as u64, self.model.customers() as u64));
    }

    fn compare_reservations(&mut self) {
        for (position, &(id, _)) in self.made.iter().enumerate() {
            // To look at a hold that is overdue would expire it: the commands do that.
            if self.model.is_settled(self.harness.now, position) {
                let answer = self.harness.engine.look(self.harness.now, id);
                let expected = self.model.look(self.harness.now, position);
                assert_eq!(answer.value, expected, "reservation {position}");
            }
        }
    }

    /// What one customer has of one item shows in a refusal: ask for one unit too many.
    fn compare_limits(&mut self) {
        let sale_id = SALES[0];
        let customer = CUSTOMERS[self.tally.commands as usize % CUSTOMERS.len()];
        let sku = SKUS[self.tally.commands as usize / CUSTOMERS.len() % SKUS.len()];
        let sale = &self.model.sales[sale_id];
        if sale.status(self.harness.now) != Status::Open || !sale.stock.contains_key(sku) {
            return;
        }
        let Some(limit) = sale.limit(sku) else { return };
        let already = self.model.units_of(customer, sale_id, sku);
        let units = (u64::from(limit) + 1).saturating_sub(already).max(1);
        if self.model.counts(sale_id, sku).available >= units {
            let refused = self.harness.reserve(&ask::reserve(sale_id, customer, &[(sku, units as u32)]));
            assert_eq!(refused, Err(Refusal::CustomerLimitExceeded { sku: sku.into(), limit, already }));
        }
    }
}

fn request(reserve: &commands::Reserve) -> Request {
    let mut lines: Vec<(&'static str, u32)> = Vec::new();
    for &(sku, units) in &reserve.lines {
        match lines.iter_mut().find(|line| line.0 == SKUS[sku]) {
            Some(line) => line.1 += units,
            None => lines.push((SKUS[sku], units)),
        }
    }
    Request {
        sale: SALES[reserve.sale],
        customer: CUSTOMERS[reserve.customer],
        lines,
        hold_seconds: reserve.hold_seconds,
        reference: reserve.reference.map(|at| REFERENCES[at]),
        key: reserve.key.map(|key| KEYS[key]),
    }
}

/// The settings as they were put: since when limits count is worked out by the service.
fn as_put(settings: &SaleSettings) -> SaleSettings {
    let mut settings = settings.clone();
    settings.items.iter_mut().for_each(|item| item.limit_counts_since = None);
    settings
}

/// Details are prose; what is compared is which member is wrong.
fn without_details(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Invalid(mut wrong) => {
            wrong.iter_mut().for_each(|wrong| wrong.detail.clear());
            Refusal::Invalid(wrong)
        }
        other => other,
    }
}
