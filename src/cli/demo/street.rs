//! One thread's way to the service: sends a request, reads the answer, keeps count of both.

use std::{cell::RefCell, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::json;

use super::{
    answers::{Problem, Reservation, Reserved},
    client::{Answer, Ask, Client, Watch, moment},
    live::Live,
    plan::{Basket, Offer, Shopper},
    tally::{End, Grant, OverLimit, Shortage, Span, Tally},
};
use crate::engine::Engine;

/// What all threads of the crowd are given.
#[derive(Clone)]
pub struct Town {
    pub offer: Arc<Offer>,
    pub live: Arc<Live>,
    pub watch: Watch,
    /// Only asked which epoch is durable: no answer may come before its change is.
    pub engine: Arc<Engine>,
}

pub struct Street {
    pub town: Town,
    pub client: Client,
    pub tally: RefCell<Tally>,
}

/// What came of a reserve.
pub enum Tried {
    Granted(Box<Made>),
    Refused,
    /// No answer, or none that can be understood.
    Unknown,
}

pub struct Made {
    pub reservation: Reservation,
    pub replayed: bool,
    pub span: Span,
}

/// An answer, and the durable epoch before its request and after it.
struct Timed {
    answer: Answer,
    epochs: (u64, u64),
}

impl Timed {
    fn span(&self) -> Span {
        Span { sent: self.answer.sent, got: self.answer.got }
    }
}

impl Street {
    pub async fn reserve(&self, shopper: &Shopper, key: &str, basket: &Basket) -> Tried {
        let offer = &self.town.offer;
        let body = offer.request(shopper.number, basket);
        let path = format!("/v1/sales/{}/reservations", offer.sale);
        let asked_at = self.town.watch.now();
        let Some(timed) = self.ask(Ask::post(&path, body).with_key(key)).await else {
            self.tally.borrow_mut().doubtful.push((basket.clone(), asked_at));
            return Tried::Unknown;
        };
        if timed.answer.status != 201 {
            return self.refused_reserve(&timed, basket);
        }
        let Some(Reserved(reservation)) = self.read(&timed.answer) else {
            self.tally.borrow_mut().doubtful.push((basket.clone(), asked_at));
            return Tried::Unknown;
        };
        let (replayed, span) = (timed.answer.replayed, timed.span());
        if !replayed {
            self.town.live.granted();
            let mut tally = self.tally.borrow_mut();
            tally.acknowledged(timed.epochs.0, timed.epochs.1);
            tally.latencies.grants.saturating_record(span.got - span.sent);
        }
        Tried::Granted(Box::new(Made { reservation, replayed, span }))
    }

    fn refused_reserve(&self, timed: &Timed, basket: &Basket) -> Tried {
        let Some(problem) = self.read_problem(&timed.answer) else { return Tried::Unknown };
        self.town.live.refused();
        let span = timed.span();
        let mut tally = self.tally.borrow_mut();
        tally.latencies.refusals.saturating_record(span.got - span.sent);
        let asked_of = |item| basket.iter().find(|line| line.0 == item).map_or(0, |line| u64::from(line.1));
        match problem.code.as_str() {
            "sold_out" | "insufficient_stock" => {
                for line in &problem.lines {
                    let Some(item) = self.town.offer.item(&line.sku) else { continue };
                    let (asked, requested, available) = (asked_of(item), line.requested, line.available);
                    tally.short(Shortage { item, asked, requested, available, span });
                }
                tally.refused_whole += u64::from(problem.lines.len() < basket.len());
            }
            "customer_limit_exceeded" => {
                let asked = basket.iter().map(|line| u64::from(line.1)).max().unwrap_or(0);
                let (already, limit) = (problem.already.unwrap_or(0), problem.limit.unwrap_or(u64::MAX));
                tally.over_limit.push(OverLimit { asked, already, limit });
            }
            "sale_not_started" => tally.too_early.push(span),
            _ => {}
        }
        Tried::Refused
    }

    /// The shopper pays.
    pub async fn confirm(&self, grant: usize) {
        let shopper = self.tally.borrow().grants[grant].shopper;
        let body = json!({ "reference": format!("order-{shopper:05}") }).to_string();
        self.end(grant, "confirm", body, End::Confirmed).await;
    }

    /// The shopper gives the units back.
    pub async fn release(&self, grant: usize) {
        self.end(grant, "release", json!({ "reason": "changed my mind" }).to_string(), End::Released).await;
    }

    async fn end(&self, grant: usize, verb: &str, body: String, end: fn(Span) -> End) {
        let path = format!("/v1/reservations/{}/{verb}", self.tally.borrow().grants[grant].made.id);
        let asked_at = self.town.watch.now();
        let timed = self.ask(Ask::post(&path, body)).await;
        let shown = timed.as_ref().filter(|timed| timed.answer.status == 200).map(|timed| self.read(&timed.answer));
        match (timed, shown) {
            (Some(timed), Some(Some(shown))) => {
                let mut tally = self.tally.borrow_mut();
                let span = timed.span();
                tally.acknowledged(timed.epochs.0, timed.epochs.1);
                tally.latencies.ends.saturating_record(span.got - span.sent);
                let Grant { last, end: ended, .. } = &mut tally.grants[grant];
                *last = shown;
                *ended = end(span);
            }
            (Some(timed), None) => {
                let code = self.read_problem(&timed.answer).map(|problem| problem.code);
                let mut tally = self.tally.borrow_mut();
                if code.as_deref() == Some("reservation_expired") {
                    let expires_at = moment(tally.grants[grant].made.expires_at);
                    tally.too_late.push((timed.answer.got, expires_at));
                }
            }
            _ => self.tally.borrow_mut().grants[grant].end = End::Unknown(asked_at),
        }
    }

    async fn ask(&self, ask: Ask<'_>) -> Option<Timed> {
        let durability = self.town.engine.durability();
        let before = durability.epoch();
        let answered = self.client.send(ask).await;
        let after = durability.epoch();
        let mut tally = self.tally.borrow_mut();
        tally.requests += 1;
        match answered {
            Ok(answer) => {
                let micros = answer.got - answer.sent;
                self.town.live.answered(micros);
                tally.slowest = tally.slowest.max(micros);
                Some(Timed { answer, epochs: (before, after) })
            }
            Err(error) => {
                tally.unanswered += 1;
                tally.complain(error.to_string());
                None
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Option<T> {
        let read = serde_json::from_slice(&answer.body);
        read.inspect_err(|error| {
            let mut tally = self.tally.borrow_mut();
            tally.unexpected += 1;
            tally.complain(format!("status {} with a body that cannot be read: {error}", answer.status));
        })
        .ok()
    }

    /// A refusal, counted by its code.
    fn read_problem(&self, answer: &Answer) -> Option<Problem> {
        let problem: Problem = self.read(answer)?;
        let mut tally = self.tally.borrow_mut();
        if !matches!(answer.status, 409 | 429 | 503) {
            tally.unexpected += 1;
            tally.complain(format!("status {}: {}", answer.status, problem.detail));
        }
        *tally.refusals.entry(problem.code.clone()).or_default() += 1;
        Some(problem)
    }
}
