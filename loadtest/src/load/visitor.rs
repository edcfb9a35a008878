//! A goose user of the run: sends requests, checks each answer, and records it in goose's figures.

use std::time::Duration;

use goose::goose::GooseUser;
use reqwest::Method;

use crate::{
    guarantees::Guarantee,
    http::{Call, Exchange},
    ledger::{Span, Wanted},
    run::Run,
    samples::Kind,
    wire::{Availability, Entry, EntryState, Problem, Reservation, State},
};

/// Repeats of a request whose outcome is not known, before it is left to the end of the run.
const REPEATS_MAX: usize = 5;
const REPEAT_AFTER: Duration = Duration::from_millis(200);

/// Codes that a request for a place on the waitlist may be refused with.
pub const JOIN_REFUSALS: &[&str] = &["stock_available"];

/// What came of a call.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "nearly all are done, and few exist at once")]
pub enum Outcome {
    Done {
        reservation: Reservation,
        replayed: bool,
    },
    Refused(Problem),
    /// There was no answer, or one that is not of the contract.
    Nothing,
}

impl Outcome {
    pub fn done(self) -> Option<Reservation> {
        if let Self::Done { reservation, .. } = self { Some(reservation) } else { None }
    }

    pub fn code(&self) -> Option<&str> {
        if let Self::Refused(problem) = self { Some(&problem.code) } else { None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Confirm,
    Release,
    Extend,
}

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Release => "release",
            Self::Extend => "extend",
        }
    }

    pub fn state(self) -> State {
        match self {
            Self::Confirm => State::Confirmed,
            Self::Release => State::Released,
            Self::Extend => State::Held,
        }
    }
}

pub struct Visitor<'a> {
    pub run: &'a Run,
    pub user: &'a mut GooseUser,
}

impl Visitor<'_> {
    /// A reserve of a key of its own.
    pub fn wants(&self, customer: String, lines: Vec<(String, u64)>) -> Wanted {
        Wanted { key: format!("key-{}", self.run.number()), customer, lines, tier: None, channel: None, group: None }
    }

    pub fn new_customer(&self) -> String {
        format!("shopper-{}", self.run.number())
    }

    /// Waits for so many milliseconds, as shoppers do.
    pub async fn think(&self, millis: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(rand::random_range(millis))).await;
    }

    /// Enters an exchange into goose's figures and this run's.
    pub async fn note(&mut self, call: &Call, exchange: &Exchange, outcome: Noted<'_>) {
        let (kind, code, error) = match outcome {
            Noted::Granted => (Kind::Granted, None, None),
            Noted::Other => (Kind::Other, None, None),
            Noted::Refused(code) => (Kind::Refused, Some(code.to_owned()), None),
            Noted::Wrong => match &exchange.answer {
                Ok(answer) => (Kind::Other, None, Some(format!("{}: {}", answer.status, call.name))),
                Err(error) => (Kind::Unanswered, None, Some(error.clone())),
            },
        };
        let status = exchange.answer.as_ref().ok().map(|answer| answer.status);
        let code = code.or_else(|| status.map(|status| status.to_string())).unwrap_or_else(|| "unanswered".to_owned());
        self.run.samples.add(call.name, kind, &code, exchange.elapsed);
        // A refusal that may come is an answer. It fails only once goose itself has ended.
        let method = if call.method == Method::GET { "GET" } else { "POST" };
        let _ = self
            .user
            .record_custom_request_duration(
                method,
                call.name,
                exchange.elapsed,
                error.is_none(),
                status,
                error.as_deref(),
            )
            .await;
    }

    pub async fn note_outcome(&mut self, call: &Call, exchange: &Exchange, outcome: &Outcome) {
        let noted = match outcome {
            Outcome::Done { .. } if call.name == "reserve" => Noted::Granted,
            Outcome::Done { .. } => Noted::Other,
            Outcome::Refused(problem) => Noted::Refused(&problem.code),
            Outcome::Nothing => Noted::Wrong,
        };
        self.note(call, exchange, noted).await;
    }

    /// Reserves, and repeats with the same key while the outcome is unknown.
    pub async fn reserve(&mut self, wanted: &Wanted) -> Outcome {
        let (run, may) = (self.run, self.run.plan.refusals);
        let call = run.reserve_call(wanted);
        run.ledger.books().asking(wanted, run.watch.now());
        for _ in 0..REPEATS_MAX {
            let exchange = run.http.send(&call).await;
            let outcome = run.judge_reserve(wanted, &exchange, may);
            self.note_outcome(&call, &exchange, &outcome).await;
            if !exchange.unknown() {
                return outcome;
            }
            tokio::time::sleep(REPEAT_AFTER).await;
        }
        Outcome::Nothing
    }

    /// Confirms, releases or extends. Repeats confirm and release, which is safe, while the outcome is unknown.
    pub async fn act(&mut self, id: &str, verb: Verb, may: &[&str]) -> Outcome {
        let (run, call) = (self.run, self.run.verb_call(id, verb));
        for _ in 0..REPEATS_MAX {
            let exchange = run.http.send(&call).await;
            let outcome = run.judge_verb(id, verb, &exchange, may);
            self.note_outcome(&call, &exchange, &outcome).await;
            if !exchange.unknown() {
                return outcome;
            }
            if verb == Verb::Extend {
                break;
            }
            tokio::time::sleep(REPEAT_AFTER).await;
        }
        if let Some(grant) = run.ledger.books().grants.get_mut(id) {
            grant.doubtful = true;
        }
        Outcome::Nothing
    }

    /// A call on a reservation that can be repeated, until its outcome is known; and from when to when it was under way.
    pub async fn ask(&mut self, call: &Call, may: &[&str]) -> (Outcome, Span) {
        let run = self.run;
        let sent = run.watch.now();
        for _ in 0..REPEATS_MAX {
            let exchange = run.http.send(call).await;
            let outcome = run.judge_call(call, &exchange, may);
            self.note_outcome(call, &exchange, &outcome).await;
            if !exchange.unknown() {
                return (outcome, Span { sent, answered: exchange.answered });
            }
            tokio::time::sleep(REPEAT_AFTER).await;
        }
        (Outcome::Nothing, Span { sent, answered: run.watch.now() })
    }

    /// Waits on the waitlist, looks so many times, and leaves. The hold, if one was offered.
    pub async fn wait_in_line(&mut self, wanted: &Wanted, looks: usize) -> Option<Reservation> {
        let run = self.run;
        run.asks_to_join(wanted);
        let mut entry = self.entry(&wanted.key, &run.join_call(wanted), JOIN_REFUSALS).await?;
        let look = Call::get("entry", format!("/v1/waitlist/{}", entry.id));
        for _ in 0..looks {
            if entry.state != EntryState::Waiting {
                break;
            }
            self.think(20..60).await;
            entry = self.entry(&wanted.key, &look, &[]).await?;
        }
        if entry.state == EntryState::Waiting {
            let leave = Call::post("leave", format!("/v1/waitlist/{}/leave", entry.id), None);
            entry = match self.entry(&wanted.key, &leave, &["not_waiting"]).await {
                Some(entry) => entry,
                // It was offered a hold at the last moment.
                None => self.entry(&wanted.key, &look, &[]).await?,
            };
        }
        let call = Call::get("look", format!("/v1/reservations/{}", entry.reservation.as_ref()?));
        let exchange = run.http.send(&call).await;
        let offered = run.judge_offer(&wanted.key, &entry, &exchange);
        self.note(&call, &exchange, if offered.is_some() { Noted::Other } else { Noted::Wrong }).await;
        offered
    }

    /// A call that shows an entry when it succeeds, until its outcome is known.
    async fn entry(&mut self, key: &str, call: &Call, may: &[&str]) -> Option<Entry> {
        let run = self.run;
        for _ in 0..REPEATS_MAX {
            let exchange = run.http.send(call).await;
            let entry = run.judge_entry(key, call, &exchange, may);
            let problem = exchange.answer.as_ref().ok().and_then(|answer| answer.read::<Problem>().ok());
            let noted = match (&entry, &problem) {
                (Some(_), _) => Noted::Other,
                (None, Some(problem)) if may.contains(&problem.code.as_str()) => Noted::Refused(&problem.code),
                (None, _) => Noted::Wrong,
            };
            self.note(call, &exchange, noted).await;
            if !exchange.unknown() {
                return entry;
            }
            tokio::time::sleep(REPEAT_AFTER).await;
        }
        None
    }

    /// The same call twice at once.
    pub async fn act_twice(&mut self, id: &str, verb: Verb) -> [Outcome; 2] {
        let (run, call) = (self.run, self.run.verb_call(id, verb));
        let (first, second) = tokio::join!(run.http.send(&call), run.http.send(&call));
        let mut outcomes = [Outcome::Nothing, Outcome::Nothing];
        for (outcome, exchange) in outcomes.iter_mut().zip([first, second]) {
            *outcome = run.judge_verb(id, verb, &exchange, &[]);
            self.note_outcome(&call, &exchange, outcome).await;
            if exchange.unknown()
                && let Some(grant) = run.ledger.books().grants.get_mut(id)
            {
                grant.doubtful |= grant.state == State::Held;
            }
        }
        outcomes
    }

    /// Looks at a reservation.
    pub async fn look(&mut self, id: &str) -> Option<Reservation> {
        let call = Call::get("look", format!("/v1/reservations/{id}"));
        let exchange = self.run.http.send(&call).await;
        let shown = if exchange.unknown() { None } else { self.run.judge_shown(id, &exchange) };
        self.note(&call, &exchange, if shown.is_some() { Noted::Other } else { Noted::Wrong }).await;
        shown
    }

    /// Polls what is available, which is never below zero and never above stock.
    pub async fn availability(&mut self) {
        let call = Call::get("availability", format!("{}/availability", self.run.sale_path()));
        let exchange = self.run.http.send(&call).await;
        let Ok(answer) = &exchange.answer else { return self.note(&call, &exchange, Noted::Wrong).await };
        let read = answer.read::<Availability>();
        let whole = read.as_ref().is_ok_and(|told| answer.status == 200 && told.items.len() == self.run.plan.items);
        self.run.findings.check(Guarantee::Contract, whole, || format!("availability is answered {}", answer.told()));
        for item in read.iter().flat_map(|told| &told.items) {
            self.run.findings.check(Guarantee::NoOversell, item.available >= 0, || {
                format!("{} of {} are available", item.available, item.sku)
            });
        }
        self.note(&call, &exchange, if whole { Noted::Other } else { Noted::Wrong }).await;
    }
}

/// What an exchange counts as.
#[derive(Debug, Clone, Copy)]
pub enum Noted<'a> {
    Granted,
    Refused(&'a str),
    Other,
    Wrong,
}
