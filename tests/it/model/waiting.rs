//! A sale with a waitlist against a naive model of it: who waits is in one list, and whatever changes serves the list from its beginning.
//!
//! The service is looked at after a tick; in between, commands meet units that are set aside, and are answered as if those
//! had been offered already.

use doorbuster::{
    engine::Settings,
    sale::{
        audit::Actor,
        command::{Cancel, Confirm},
        ids::{EntryId, ReservationId},
        outcome::{Refusal, State, WaitState},
        settings::Waitlist,
        time::Timestamp,
    },
};
use proptest::{collection::vec, prelude::*};

use super::commands::{CUSTOMERS, SHARDS};
use crate::support::{ask, harness::Harness};

const SKUS: [&str; 2] = ["tv", "mug"];
const LIMIT: u32 = 4;
const ENTRIES_MAX: u32 = 4;
const HOLD_SECONDS: u64 = 20;
const OFFER_SECONDS: u32 = 15;
const ENTRY_SECONDS: u32 = 60;

type Lines = Vec<(usize, u32)>;

#[derive(Debug, Clone)]
enum Step {
    Reserve {
        customer: usize,
        lines: Lines,
    },
    Join {
        customer: usize,
        lines: Lines,
    },
    /// `ago`: which of those that there were, counted back from the latest.
    Leave {
        ago: usize,
    },
    Confirm {
        ago: usize,
        whole: bool,
    },
    Release {
        ago: usize,
    },
    Cancel {
        ago: usize,
    },
    Adjust {
        item: usize,
        units: u64,
    },
    Pause,
    Resume,
    Wait {
        seconds: u64,
    },
    Tick,
    Restart {
        shards: usize,
    },
}

fn lines() -> impl Strategy<Value = Lines> {
    let one = (0..SKUS.len(), 1..4_u32).prop_map(|line| vec![line]);
    prop_oneof![4 => one, 1 => (1..3_u32, 1..3_u32).prop_map(|(tv, mug)| vec![(0, tv), (1, mug)])]
}

fn step() -> impl Strategy<Value = Step> {
    let customer = || 0..CUSTOMERS.len();
    prop_oneof![
        6 => (customer(), lines()).prop_map(|(customer, lines)| Step::Reserve { customer, lines }),
        8 => (customer(), lines()).prop_map(|(customer, lines)| Step::Join { customer, lines }),
        1 => (0..6_usize).prop_map(|ago| Step::Leave { ago }),
        2 => (0..6_usize, any::<bool>()).prop_map(|(ago, whole)| Step::Confirm { ago, whole }),
        4 => (0..6_usize).prop_map(|ago| Step::Release { ago }),
        2 => (0..6_usize).prop_map(|ago| Step::Cancel { ago }),
        1 => (0..SKUS.len(), 1..3_u64).prop_map(|(item, units)| Step::Adjust { item, units }),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        2 => (1..25_u64).prop_map(|seconds| Step::Wait { seconds }),
        3 => Just(Step::Tick),
        1 => prop::sample::select(SHARDS.to_vec()).prop_map(|shards| Step::Restart { shards }),
    ]
}

#[derive(Debug)]
struct Hold {
    customer: usize,
    /// What is held or confirmed.
    lines: Lines,
    state: State,
    expires_at: Timestamp,
}

#[derive(Debug)]
struct Entry {
    customer: usize,
    lines: Lines,
    state: WaitState,
    expires_at: Timestamp,
    /// The place of its hold.
    hold: Option<usize>,
    passed_over: bool,
}

struct Model {
    available: [u64; SKUS.len()],
    holds: Vec<Hold>,
    entries: Vec<Entry>,
    is_paused: bool,
    now: Timestamp,
}

impl Model {
    fn has(&self, lines: &Lines) -> bool {
        lines.iter().all(|&(item, units)| self.available[item] >= u64::from(units))
    }

    fn has_room(&self, customer: usize, lines: &Lines) -> bool {
        let own = |item| {
            let holds = self
                .holds
                .iter()
                .filter(|hold| hold.customer == customer && matches!(hold.state, State::Held | State::Confirmed));
            holds.flat_map(|hold| &hold.lines).filter(|line| line.0 == item).map(|line| line.1).sum::<u32>()
        };
        lines.iter().all(|&(item, units)| own(item) + units <= LIMIT)
    }

    fn hold(&mut self, customer: usize, lines: &Lines, seconds: u64) -> usize {
        for &(item, units) in lines {
            self.available[item] -= u64::from(units);
        }
        let expires_at = self.now.plus_seconds(seconds);
        self.holds.push(Hold { customer, lines: lines.clone(), state: State::Held, expires_at });
        self.holds.len() - 1
    }

    fn end(&mut self, hold: usize, state: State) {
        self.holds[hold].state = state;
        for &(item, units) in &self.holds[hold].lines {
            self.available[item] += u64::from(units);
        }
    }

    fn waiting(&self) -> impl Iterator<Item = usize> {
        (0..self.entries.len()).filter(|&entry| self.entries[entry].state == WaitState::Waiting)
    }

    /// Gives everybody who waits what fits, from the first to the last.
    fn serve(&mut self) {
        if self.is_paused {
            return;
        }
        for entry in self.waiting().collect::<Vec<_>>() {
            let (customer, lines) = (self.entries[entry].customer, self.entries[entry].lines.clone());
            if !self.has(&lines) {
                continue;
            }
            if self.has_room(customer, &lines) {
                let hold = self.hold(customer, &lines, OFFER_SECONDS.into());
                self.entries[entry].state = WaitState::Offered;
                self.entries[entry].hold = Some(hold);
            } else {
                self.entries[entry].passed_over = true;
            }
        }
    }

    /// Ends what is due.
    fn expire(&mut self) {
        for entry in &mut self.entries {
            if entry.state == WaitState::Waiting && entry.expires_at <= self.now {
                entry.state = WaitState::Expired;
            }
        }
        for hold in 0..self.holds.len() {
            if self.holds[hold].state == State::Held && self.holds[hold].expires_at <= self.now {
                self.end(hold, State::Expired);
            }
        }
    }
}

struct World {
    harness: Harness,
    model: Model,
    /// Ids of the model's, in its order.
    holds: Vec<Option<ReservationId>>,
    entries: Vec<EntryId>,
}

impl World {
    fn new() -> Self {
        let mut harness = Harness::new(Settings { shards: 3, ..Settings::default() });
        let mut sale = ask::sale("drop", &[("tv", 3), ("mug", 2)]);
        sale.hold_seconds = HOLD_SECONDS;
        sale.customer_limit = Some(LIMIT);
        sale.waitlist = Some(Waitlist {
            entries_max: ENTRIES_MAX,
            entry_seconds: ENTRY_SECONDS,
            hold_seconds: Some(OFFER_SECONDS),
        });
        harness.put(&sale);
        let now = harness.now;
        let model = Model { available: [3, 2], holds: Vec::new(), entries: Vec::new(), is_paused: false, now };
        Self { harness, model, holds: Vec::new(), entries: Vec::new() }
    }

    fn take(&mut self, step: &Step) {
        // A request finds units that came back set aside, and has them offered first; everything else comes after a tick. So does
        // a request to join of a customer who has an entry: until units are offered to it, the answer is that it waits.
        let is_new = |customer| self.model.entries.iter().all(|entry| entry.customer != customer);
        let may_come_before = match step {
            Step::Reserve { .. } => true,
            Step::Join { customer, .. } => is_new(*customer),
            _ => false,
        };
        if !may_come_before {
            self.harness.tick();
        }
        match step {
            Step::Reserve { customer, lines } => self.reserve(*customer, lines),
            Step::Join { customer, lines } => self.join(*customer, lines),
            Step::Leave { ago } => {
                let Some(entry) = self.entries.len().checked_sub(1 + ago) else { return };
                let outcome = self.harness.engine.leave_waitlist(self.harness.now, self.entries[entry]).value;
                let known = &mut self.model.entries[entry];
                match known.state {
                    WaitState::Waiting | WaitState::Left => {
                        known.state = WaitState::Left;
                        assert_eq!(outcome.expect("who waits may leave").entry.state, WaitState::Left);
                    }
                    WaitState::Offered | WaitState::Expired => {
                        assert!(matches!(outcome, Err(Refusal::NotWaiting(_))), "{outcome:?}");
                    }
                }
            }
            Step::Confirm { ago, whole } => self.confirm(*ago, *whole),
            Step::Release { ago } => {
                let Some((hold, id)) = self.known(*ago, State::Held) else { return };
                self.harness.engine.release(self.harness.now, id, None).value.expect("a hold is released");
                self.model.end(hold, State::Released);
            }
            Step::Cancel { ago } => {
                let Some((hold, id)) = self.known(*ago, State::Confirmed) else { return };
                let asked = Cancel { lines: None, reason: None, restock: true, key: None };
                self.harness.engine.cancel(self.harness.now, id, &asked).value.expect("what is confirmed is cancelled");
                self.model.end(hold, State::Cancelled);
            }
            Step::Adjust { item, units } => {
                let asked = ask::adjust("drop", SKUS[*item], *units as i64);
                self.harness.adjust(&asked).expect("units can be put in");
                self.model.available[*item] += units;
            }
            Step::Pause | Step::Resume => {
                let (engine, now) = (&self.harness.engine, self.harness.now);
                self.model.is_paused = matches!(step, Step::Pause);
                let turned = match self.model.is_paused {
                    true => engine.pause(now, Actor::Anybody, "drop").value,
                    false => engine.resume(now, Actor::Anybody, "drop").value,
                };
                turned.expect("a sale can be paused and resumed");
            }
            Step::Wait { seconds } => {
                self.check();
                self.harness.wait_seconds(*seconds);
                self.model.now = self.harness.now;
                self.model.expire();
                // A tick may expire what is due some milliseconds late; whoever looks sees the exact time.
                let (engine, now) = (&self.harness.engine, self.harness.now);
                for id in self.holds.iter().flatten() {
                    engine.look(now, *id).value.expect("it is known");
                }
                for id in &self.entries {
                    engine.waitlist_entry(now, *id).value.expect("it is known");
                }
                self.check();
            }
            Step::Tick => self.check(),
            Step::Restart { shards } => {
                self.harness.commit();
                self.harness.kill_and_start_with(*shards);
            }
        }
        self.model.serve();
    }

    fn asked<'a>(lines: &Lines) -> Vec<(&'a str, u32)> {
        lines.iter().map(|&(item, units)| (SKUS[item], units)).collect()
    }

    fn reserve(&mut self, customer: usize, lines: &Lines) {
        let outcome = self.harness.reserve(&ask::reserve("drop", CUSTOMERS[customer], &Self::asked(lines)));
        let model = &mut self.model;
        match outcome {
            Ok(made) => {
                assert!(!model.is_paused && model.has(lines) && model.has_room(customer, lines), "{made:?}");
                let hold = model.hold(customer, lines, HOLD_SECONDS);
                self.holds.resize(hold, None);
                self.holds.push(Some(made.reservation.id));
            }
            Err(Refusal::SalePaused) => assert!(model.is_paused),
            Err(Refusal::Short(short)) => {
                assert!(!model.is_paused && !model.has(lines), "{short:?}, and there were {:?}", model.available);
                for line in short {
                    let item = SKUS.iter().position(|sku| *line.sku == **sku).expect("an item of the sale");
                    assert_eq!(line.available, model.available[item], "{line:?}");
                }
            }
            Err(Refusal::CustomerLimitExceeded { .. }) => assert!(model.has(lines) && !model.has_room(customer, lines)),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn join(&mut self, customer: usize, lines: &Lines) {
        let outcome = self.harness.join(&ask::reserve("drop", CUSTOMERS[customer], &Self::asked(lines)));
        let model = &mut self.model;
        let own = model.waiting().find(|&entry| model.entries[entry].customer == customer);
        let waiting = model.waiting().count();
        match outcome {
            Ok(view) => {
                assert!(!model.is_paused && own.is_none() && !model.has(lines) && model.has_room(customer, lines));
                assert_eq!(view.position, Some(waiting as u64 + 1));
                assert!(waiting < ENTRIES_MAX as usize);
                model.entries.push(Entry {
                    customer,
                    lines: lines.clone(),
                    state: WaitState::Waiting,
                    expires_at: model.now.plus_seconds(ENTRY_SECONDS.into()),
                    hold: None,
                    passed_over: false,
                });
                self.entries.push(view.entry.id);
            }
            Err(Refusal::SalePaused) => assert!(model.is_paused),
            Err(Refusal::AlreadyWaiting(entry)) => assert_eq!(Some(entry.id), own.map(|own| self.entries[own])),
            Err(Refusal::StockAvailable) => assert!(own.is_none() && model.has(lines)),
            Err(Refusal::CustomerLimitExceeded { .. }) => {
                assert!(own.is_none() && !model.has(lines) && !model.has_room(customer, lines));
            }
            Err(Refusal::WaitlistFull { limit }) => assert_eq!((limit, waiting), (ENTRIES_MAX, ENTRIES_MAX as usize)),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn confirm(&mut self, ago: usize, whole: bool) {
        let Some((hold, id)) = self.known(ago, State::Held) else { return };
        let lines = self.model.holds[hold].lines.clone();
        let kept: Lines = if whole { lines.clone() } else { vec![(lines[0].0, 1)] };
        let sold = ask::reserve("drop", "", &Self::asked(&kept)).lines;
        let asked = Confirm { lines: Some(sold), reference: None };
        self.harness.engine.confirm(self.harness.now, id, asked).value.expect("a hold is confirmed");
        self.model.end(hold, State::Confirmed);
        for &(item, units) in &kept {
            self.model.available[item] -= u64::from(units);
        }
        self.model.holds[hold].lines = kept;
    }

    /// A reservation whose id is known, if it is in this state.
    fn known(&mut self, ago: usize, state: State) -> Option<(usize, ReservationId)> {
        self.learn();
        let hold = self.model.holds.len().checked_sub(1 + ago)?;
        let id = self.holds.get(hold).copied().flatten()?;
        (self.model.holds[hold].state == state).then_some((hold, id))
    }

    /// Lets the service offer what it has set aside, and learns the ids of what it made.
    fn learn(&mut self) {
        self.harness.tick();
        self.holds.resize(self.model.holds.len(), None);
        for (entry, id) in self.model.entries.iter().zip(&self.entries) {
            if let Some(hold) = entry.hold {
                let view = self.harness.engine.waitlist_entry(self.harness.now, *id).value.expect("it is known");
                self.holds[hold] = view.entry.reservation;
                assert!(self.holds[hold].is_some(), "{entry:?} was to be offered something: {view:?}");
            }
        }
    }

    fn check(&mut self) {
        self.model.serve();
        self.learn();
        let (engine, now, model) = (&self.harness.engine, self.harness.now, &self.model);
        let mut position = 0;
        for (known, id) in model.entries.iter().zip(&self.entries) {
            let view = engine.waitlist_entry(now, *id).value.expect("it is known");
            position += u64::from(known.state == WaitState::Waiting);
            let expected = (known.state == WaitState::Waiting).then_some(position);
            assert_eq!((view.entry.state, view.position), (known.state, expected), "{known:?}");
            assert_eq!(view.entry.passed_over.is_some(), known.passed_over, "{known:?}");
        }
        for (known, id) in model.holds.iter().zip(&self.holds) {
            let id = id.expect("it was learnt");
            let found = engine.look(now, id).value.expect("it is known");
            assert_eq!((found.state, found.expires_at), (known.state, known.expires_at), "{known:?}");
        }
        let view = engine.sale(now, "drop").value.expect("it was put");
        assert_eq!(view.waiting, Some(position));
        let available: Vec<u64> = view.counts.iter().map(|counts| counts.available).collect();
        if !model.is_paused {
            assert_eq!(available, model.available);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn who_waits_is_served_in_order_and_nobody_else_gets_the_units(steps in vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.check();
    }
}
