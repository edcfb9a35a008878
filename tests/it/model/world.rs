//! The service and its model side by side: each command goes to both, and their answers are compared.

use std::fmt::Debug;

use doorbuster::{
    engine::{Answer, Durable, Extending, Made, Settings},
    journal::{SnapshotStore, files::Survival},
    sale::{
        adjustments::{Remembered, RememberedTransfer},
        audit::Actor,
        command::{Adjust, AdjustAll, Transfer},
        event::PoolLevels,
        expected::Expected,
        ids::{Bucket, PoolNumber, ReservationId},
        outcome::{GroupState, Refusal},
        settings::{Limits, SaleSettings},
        time::Timestamp,
    },
};

use super::{
    commands::{
        self, CHANNELS, CUSTOMERS, Change, Command, Document, Ending, KEYS, LABELS, LOCATIONS, POOLS, REFERENCES,
        REGIONS, SALES, SKUS, TIERS,
    },
    documents,
    naive::{Adjusted, Level, Model, Name, Request, Ticked, Transferred},
    tally::Tally,
};
use crate::support::harness::Harness;

/// Short enough that reservations and keys are forgotten within a sequence.
const RETENTION_MILLIS: u64 = 90_000;
/// Low enough that restocking meets it.
const STOCK_MAX: u64 = 60;
const EXTENSIONS_MAX: u32 = 4;

/// The service and its model, side by side.
pub struct World {
    pub harness: Harness,
    pub model: Model,
    /// The model as of the last commit, and the service's digest then.
    durable: (Model, u64),
    /// Every reservation ever made, also those that a crash undid.
    pub made: Vec<(ReservationId, Request)>,
    /// Operators' commands that had keys.
    keyed: Vec<Command>,
    /// Extensions of all holds that are waited for, and their numbers in the model.
    pub(super) waiting: Vec<(Extending, u64)>,
    pub tally: Tally,
}

impl World {
    pub fn new(shards: usize, first: &Document) -> Self {
        let limits = Limits { stock_max: STOCK_MAX, extensions_max: EXTENSIONS_MAX, ..Limits::default() };
        let harness =
            Harness::new(Settings { shards, retention_millis: RETENTION_MILLIS, limits, ..Settings::default() });
        let model = Model::new(RETENTION_MILLIS, STOCK_MAX, EXTENSIONS_MAX);
        let durable = (model.clone(), harness.engine.digest());
        let (made, keyed, waiting) = (Vec::new(), Vec::new(), Vec::new());
        let mut world = Self { harness, model, durable, made, keyed, waiting, tally: Tally::default() };
        world.put(0, first);
        world.commit();
        world
    }

    pub fn run(&mut self, command: &Command) {
        self.tally.commands += 1;
        if let Command::Adjust { key: Some(_), .. }
        | Command::AdjustAll { key: Some(_), .. }
        | Command::ExtendAll { key: Some(_), .. }
        | Command::Transfer { key: Some(_), .. } = command
        {
            self.keyed.push(command.clone());
        }
        self.carry_out(command);
        self.compare();
    }

    fn carry_out(&mut self, command: &Command) {
        match command {
            Command::Put(sale, document) => self.put(*sale, document),
            Command::Pause(sale) => self.turn(*sale, "pause"),
            Command::Resume(sale) => self.turn(*sale, "resume"),
            Command::Close(sale) => self.turn(*sale, "close"),
            Command::TryPut(sale, document) => self.try_put(*sale, document),
            Command::Adjust { sale, change, key } => self.adjust(*sale, change, *key),
            Command::AdjustAll { sale, changes, key } => self.adjust_all(*sale, changes, *key),
            Command::Transfer { sale, sku, from, to, units, key } => {
                self.transfer(*sale, SKUS[*sku], [POOLS[*from], POOLS[*to]], *units, *key);
            }
            Command::RepeatChange { ago } => {
                let latest = self.keyed.len().checked_sub(1);
                if let Some(again) = latest.map(|latest| self.keyed[latest - ago % (latest + 1)].clone()) {
                    self.carry_out(&again);
                }
            }
            Command::Reserve(reserve) => self.reserve(&self.request(reserve)),
            Command::TryOut(reserve) => self.try_out(&self.request(reserve)),
            Command::Batch(reserves) => {
                let requests: Vec<_> = reserves.iter().map(|reserve| self.request(reserve)).collect();
                self.batch(&requests);
            }
            Command::Repeat { ago } => {
                let latest = self.made.len().checked_sub(1);
                if let Some((_, asked)) = latest.map(|latest| &self.made[latest - ago % (latest + 1)]) {
                    self.reserve(&asked.clone());
                }
            }
            Command::Confirm { ago, reference, part } => {
                self.confirm(*ago, reference.map(|at| REFERENCES[at]), part.as_ref());
            }
            Command::ChangeLines { ago, lines } => self.change_lines(*ago, lines),
            Command::Cancel { ago, part, restock, key } => {
                self.cancel(*ago, part.as_ref(), *restock, key.map(|key| KEYS[key]));
            }
            Command::ExtendAll { sale, seconds, key } => {
                self.extend_all(SALES[*sale], *seconds, key.map(|key| KEYS[key]));
            }
            Command::List { sale, customer } => self.list(SALES[*sale], CUSTOMERS[*customer]),
            Command::Release { ago } => drop(self.change(
                *ago,
                |harness, id| harness.engine.release(harness.now, id, Some("changed their mind")),
                |model, now, position| model.release(now, position),
            )),
            Command::Extend { ago, seconds } => drop(self.change(
                *ago,
                |harness, id| harness.engine.extend(harness.now, id, *seconds),
                |model, now, position| model.extend(now, position, *seconds),
            )),
            Command::Look { ago } => drop(self.change(
                *ago,
                |harness, id| harness.engine.look(harness.now, id),
                |model, now, position| model.look(now, position),
            )),
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
            Command::WaitForRule { sale, which, offset } => {
                let times = self.model.sales.get(SALES[*sale]).map(|sale| sale.times()).unwrap_or_default();
                let now = self.harness.now;
                let ahead: Vec<_> = times.into_iter().filter(|&at| at > now && at < now.plus_seconds(7200)).collect();
                if let Some(at) = ahead.get(which % ahead.len().max(1)) {
                    self.harness.now = now.max(at.shifted(*offset));
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
    }

    fn settings(&self, sale: usize, document: &Document) -> SaleSettings {
        let known = self.model.sales.get(SALES[sale]).map(|sale| &sale.settings);
        documents::settings(self.harness.now, SALES[sale], document, known)
    }

    fn put(&mut self, sale: usize, document: &Document) {
        let settings = self.settings(sale, document);
        let expected = self.model.put(self.harness.now, SALES[sale], &settings);
        self.tally.note_result(&expected);
        let answer = self.harness.engine.put_sale(self.harness.now, Actor::Anybody, &settings);
        self.assert_pending(&answer, answer.value.is_ok());
        let shown = answer.value.map(|(put, sale)| {
            assert_eq!(as_put(&sale.settings), settings);
            put
        });
        assert_eq!(shown.map_err(as_compared), expected);
    }

    fn try_put(&mut self, sale: usize, document: &Document) {
        let settings = self.settings(sale, document);
        let expected = self.model.try_put(SALES[sale], &settings);
        self.unchanged_by(|world| {
            let answer = world.harness.engine.try_put(&Expected::default(), &settings);
            assert_eq!(answer.value.map_err(as_compared), expected);
        });
    }

    /// A dry run changes nothing.
    fn unchanged_by(&mut self, run: impl FnOnce(&mut Self)) {
        let before = self.harness.engine.digest();
        run(self);
        assert_eq!(self.harness.engine.digest(), before, "a dry run has no effect");
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

    fn adjust(&mut self, sale: usize, change: &Change, key: Option<usize>) {
        let sale = SALES[sale];
        let asked = Adjust { key: key.map(|key| KEYS[key]), ..adjust(sale, change) };
        let expected = self.model.adjust(self.harness.now, sale, &asked);
        self.tally.note_result(&expected);
        let answer = self.harness.engine.adjust(self.harness.now, Actor::Anybody, &asked);
        self.assert_pending(&answer, matches!(expected, Ok((_, false))));
        let shown = answer.value.map(|adjustment| (as_adjusted(adjustment.made), adjustment.replayed));
        assert_eq!(shown.map_err(as_compared), expected);
    }

    fn adjust_all(&mut self, sale: usize, changes: &[Change], key: Option<usize>) {
        let sale = SALES[sale];
        let changes = changes.iter().map(|change| adjust(sale, change)).collect();
        let asked = AdjustAll { sale, changes, key: key.map(|key| KEYS[key]) };
        let expected = self.model.adjust_all(self.harness.now, sale, &asked);
        match &expected {
            Ok((all, false)) if all.len() > 1 => self.tally.note("adjusted together"),
            Ok((_, true)) => self.tally.note("replayed together"),
            expected => self.tally.note_result(expected),
        }
        let answer = self.harness.engine.adjust_all(self.harness.now, Actor::Anybody, &asked);
        self.assert_pending(&answer, matches!(expected, Ok((_, false))));
        let shown = answer.value.map(|all| {
            let replayed = all.iter().any(|each| each.adjustment.replayed);
            (all.into_iter().map(|each| as_adjusted(each.adjustment.made)).collect::<Vec<_>>(), replayed)
        });
        assert_eq!(shown.map_err(as_compared), expected);
    }

    fn transfer(&mut self, sale: usize, sku: &str, [from, to]: [Name; 2], units: u64, key: Option<usize>) {
        let (sale, key) = (SALES[sale], key.map(|key| KEYS[key]));
        let asked = Transfer { sale, sku, from, to, units, reason: Some("needed there"), reference: None, key };
        let expected = self.model.transfer(self.harness.now, sale, &asked);
        match &expected {
            Ok((_, replayed)) => self.tally.note(if *replayed { "replayed transfer" } else { "transferred" }),
            expected => self.tally.note_result(expected),
        }
        let answer = self.harness.engine.transfer(self.harness.now, Actor::Anybody, &asked);
        self.assert_pending(&answer, matches!(expected, Ok((_, false))));
        let shown = answer.value.map(|transfer| (as_transferred(&transfer.made), transfer.replayed));
        assert_eq!(shown.map_err(as_compared), expected);
    }

    /// What is asked; mostly for the item of the group that it joins.
    fn request(&self, reserve: &commands::Reserve) -> Request {
        let plain = request(reserve);
        let joins = reserve.join.and_then(|ago| {
            let known = self.model.reservations.get(&self.position(ago)?)?;
            Some((known.request().clone(), known.group.as_ref()?.id))
        });
        let Some((known, group)) = joins else { return plain };
        let is_other = reserve.join.is_some_and(|ago| ago % 5 == 4);
        let (sale, lines) =
            if is_other { (plain.sale, plain.lines) } else { (known.sale, vec![(known.lines[0].0, 1)]) };
        Request { sale, lines, group: Some(group), tier: known.tier, channel: known.channel, ..plain }
    }

    fn reserve(&mut self, request: &Request) {
        let (now, entropy) = (self.harness.now, self.harness.draw());
        let expected = self.expect_reserve(request, entropy);
        let answer = self.harness.engine.reserve(now, &request.command(&request.extras()), entropy);
        self.compare_reserve(request, answer, expected);
    }

    /// What the model makes of it: the reservation's position and the answer.
    fn expect_reserve(&mut self, request: &Request, entropy: u64) -> Result<(usize, Made), Refusal> {
        let (now, position) = (self.harness.now, self.made.len());
        let expected = self.model.reserve(now, request, position, entropy);
        match &expected {
            Ok((first, _)) if *first != position => self.tally.note("replayed"),
            expected => self.tally.note_result(expected),
        }
        let Ok((first, Made { reservation, .. })) = &expected else { return expected };
        if *first == position {
            let lines = &reservation.lines;
            let same_item = || lines.windows(2).filter(|pair| pair[0].item == pair[1].item);
            let group = |is: GroupState| reservation.group.as_ref().is_some_and(|group| group.state == is);
            for (outcome, is_so) in [
                ("a group opened or joined", group(GroupState::Open)),
                ("a group completed", group(GroupState::Complete)),
                ("partly filled", !reservation.short.is_empty()),
                ("from several pools", same_item().next().is_some()),
                ("at several prices", same_item().any(|pair| pair[0].price != pair[1].price)),
            ] {
                if is_so {
                    self.tally.note(outcome);
                }
            }
            self.made.push((ReservationId::new(now, Bucket::of(request.customer), entropy), request.clone()));
        }
        expected
    }

    fn compare_reserve(
        &self,
        request: &Request,
        answer: Answer<Result<Made, Refusal>>,
        expected: Result<(usize, Made), Refusal>,
    ) {
        let uncommitted = expected.as_ref().is_ok_and(|(first, _)| self.model.uncommitted.contains(first));
        self.assert_pending(&answer, uncommitted);
        assert_eq!(answer.value.map_err(as_compared), expected.map(|(_, made)| made), "{request:?}");
    }

    fn try_out(&mut self, request: &Request) {
        let (now, request) = (self.harness.now, Request { key: None, ..request.clone() });
        let expected = self.model.take(now, &request).map(|taken| self.model.as_tried(&taken, &request));
        self.unchanged_by(|world| {
            let answer = world.harness.engine.try_out(now, &request.command(&request.extras()));
            assert_eq!(answer.value.map_err(as_compared), expected, "{request:?}");
        });
    }

    /// What comes together is decided as if it came one after the other.
    fn batch(&mut self, requests: &[Request]) {
        let (engine, now) = (self.harness.engine.clone(), self.harness.now);
        let extras: Vec<_> = requests.iter().map(Request::extras).collect();
        let asked = requests.iter().zip(&extras).map(|(request, extras)| request.command(extras));
        let asked: Vec<_> = asked.map(|asked| (asked, self.harness.draw())).collect();
        let mut bulk = engine.bulk(asked.len());
        asked.iter().for_each(|(asked, entropy)| bulk.push(now, asked, *entropy));
        while bulk.decide_some(now, 2) {}
        for (request, (asked, entropy)) in requests.iter().zip(&asked) {
            let expected = self.expect_reserve(request, *entropy);
            let answer = bulk.next_outcome().unwrap_or_else(|| engine.reserve(now, asked, *entropy));
            self.compare_reserve(request, answer, expected);
        }
    }

    pub(super) fn change<T: Debug + PartialEq>(
        &mut self,
        ago: usize,
        change: impl Fn(&Harness, ReservationId) -> Answer<Result<T, Refusal>>,
        expect: impl Fn(&mut Model, Timestamp, usize) -> Result<T, Refusal>,
    ) -> Option<Result<T, Refusal>> {
        let position = self.position(ago)?;
        let expected = expect(&mut self.model, self.harness.now, position);
        self.tally.note_result(&expected);
        let answer = change(&self.harness, self.made[position].0);
        self.assert_pending(&answer, self.model.uncommitted.contains(&position));
        assert_eq!(answer.value.map_err(as_compared), expected, "reservation {position}");
        Some(expected)
    }

    /// Of the reservation that was made so many before the latest.
    pub(super) fn position(&self, ago: usize) -> Option<usize> {
        let newest = self.made.len().checked_sub(1)?;
        Some(newest - ago % (newest + 1))
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
        if expected.group_releases > 0 {
            self.tally.note("a group failed");
        }
        let tick = self.harness.tick();
        assert_eq!(
            Ticked {
                expired: tick.expired,
                turned: tick.status_changes,
                lag_millis: tick.lag_millis,
                extended: tick.extended,
                group_releases: tick.group_releases,
            },
            expected
        );
        self.compare_extensions();
    }

    /// An answer that shows what is not on disk yet must wait for it.
    pub(super) fn assert_pending<T>(&self, answer: &Answer<T>, pending: bool) {
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
        self.finish_extensions();
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
}

/// Each item once.
pub fn summed(drawn: &[(usize, u32)]) -> Vec<(Name, u32)> {
    let mut lines: Vec<(&'static str, u32)> = Vec::new();
    for &(sku, units) in drawn {
        match lines.iter_mut().find(|line| line.0 == SKUS[sku]) {
            Some(line) => line.1 += units,
            None => lines.push((SKUS[sku], units)),
        }
    }
    lines
}

pub fn request(reserve: &commands::Reserve) -> Request {
    Request {
        sale: SALES[reserve.sale],
        customer: CUSTOMERS[reserve.customer],
        lines: summed(&reserve.lines),
        hold_seconds: reserve.hold_seconds,
        reference: reserve.reference.map(|at| REFERENCES[at]),
        key: reserve.key.map(|key| KEYS[key]),
        tier: reserve.tier.map(|at| TIERS[at]),
        channel: reserve.channel.map(|at| CHANNELS[at]),
        region: reserve.region.map(|at| REGIONS[at]),
        label: reserve.label.map(|at| LABELS[at]),
        locations: reserve.locations.iter().map(|&at| LOCATIONS[at]).collect(),
        allow_partial: reserve.allow_partial,
        group: None,
    }
}

fn adjust(sale: Name, change: &Change) -> Adjust<'static> {
    let (sku, pool) = (SKUS[change.sku], change.pool.map(|pool| POOLS[pool]));
    let reference = change.reference.map(|at| REFERENCES[at]);
    Adjust { sale, sku, pool, delta: change.delta, reason: Some("counted anew"), reference, key: None }
}

fn as_level(levels: PoolLevels) -> Level {
    Level { stock: levels.stock, available: levels.available }
}

fn as_adjusted(made: Remembered) -> Adjusted {
    assert_eq!(made.reason.as_deref(), Some("counted anew"));
    Adjusted {
        pool: made.pool.index(),
        at: made.at,
        delta: made.delta,
        reference: made.reference.map(String::from),
        level: Level { stock: made.stock, available: made.available },
        of_pool: made.of_pool.map(as_level),
    }
}

fn as_transferred(made: &RememberedTransfer) -> Transferred {
    assert_eq!((made.reason.as_deref(), made.reference.as_deref()), (Some("needed there"), None));
    let pools = [made.from, made.to].map(PoolNumber::index);
    Transferred { at: made.at, units: made.units, pools, after: made.after.map(as_level) }
}

/// The settings as they were put: since when limits count is worked out by the service.
pub fn as_put(settings: &SaleSettings) -> SaleSettings {
    let mut settings = settings.clone();
    settings.items.iter_mut().for_each(|item| item.limit_counts_since = None);
    settings
}

/// What is compared of a refusal: of invalid members which ones they are, as details are prose; of a shortage all but the
/// earliest end of a hold, which may be 100 ms old.
pub fn as_compared(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Invalid(mut wrong) => {
            wrong.iter_mut().for_each(|wrong| wrong.detail.clear());
            Refusal::Invalid(wrong)
        }
        Refusal::Short(mut lines) => {
            lines.iter_mut().for_each(|line| line.next_release_at = None);
            Refusal::Short(lines)
        }
        Refusal::ExpiredAndShort { reservation, mut short } => {
            short.iter_mut().for_each(|line| (line.held, line.next_release_at) = (0, None));
            Refusal::ExpiredAndShort { reservation, short }
        }
        other => other,
    }
}
