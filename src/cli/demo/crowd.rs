//! The shoppers: they know the service by its HTTP answers, and note each one with its times.
//!
//! Invariant: bounded. At most one shopper for each connection waits for its first answer, nobody new comes after
//! [`RUSH_MAX`], and each request has its answer within [`ANSWER_TIME_MAX`] or counts as unanswered.

use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, header::CONTENT_TYPE};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use super::plan::{Basket, Fate, Manner, Plan, Shopper};
use crate::{
    clock::{Clock, SystemClock},
    engine::Engine,
    sale::time::Timestamp,
};

/// A request without an answer for so long is unanswered.
pub(super) const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// After the opening nobody new comes later than this.
const RUSH_MAX: Moment = 30_000_000;

/// Early shoppers come this long before the opening at the latest, to be answered before it.
const EARLY_UNTIL: Moment = 60_000;

/// Patient shoppers come back within so many microseconds after the first holds expire.
const SECOND_WAVE: f64 = 1.8e6;

/// Late payers come so many microseconds before the end of their hold at the earliest, and this after it at the latest.
const LATE: (f64, f64) = (-40e3, 150e3);

/// Microseconds since the Unix epoch, to compare with the service's times.
pub(super) type Moment = u64;

pub(super) fn moment(timestamp: Timestamp) -> Moment {
    timestamp.millis() * 1000
}

/// The time in a member of a document; 0 where there is none.
pub(super) fn time_in(document: &Value, member: &str) -> Moment {
    document[member].as_str().and_then(Timestamp::parse).map_or(0, moment)
}

/// An HTTP client with a limited number of connections.
pub(super) struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    connections: Semaphore,
    /// The monotonic clock, at a moment at which the time of day was known.
    start: (Instant, Moment),
}

#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub status: u16,
    /// Marked `Idempotent-Replayed: true`.
    pub replayed: bool,
    pub body: Value,
    pub sent: Moment,
    /// When the whole answer was here.
    pub got: Moment,
}

impl Client {
    pub(super) fn new(address: SocketAddr, connections: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        let start = (Instant::now(), moment(SystemClock.now()));
        Self { http, address, connections: Semaphore::new(connections), start }
    }

    pub(super) fn now(&self) -> Moment {
        self.start.1 + self.start.0.elapsed().as_micros() as Moment
    }

    pub(super) async fn sleep_until(&self, moment: Moment) {
        tokio::time::sleep(Duration::from_micros(moment.saturating_sub(self.now()))).await;
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, None, String::new()).await
    }

    pub(super) async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, key, body.to_string()).await
    }

    /// Sends when a connection is free. The time until then is not part of what the answer took.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: String,
    ) -> anyhow::Result<Answer> {
        let _connection = self.connections.acquire().await.expect("the semaphore is never closed");
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(body.into())).expect("paths and keys of the demo are valid");
        let sent = self.now();
        let exchange = async {
            let (head, body) = self.http.request(request).await?.into_parts();
            anyhow::Ok((head, body.collect().await?.to_bytes()))
        };
        let (head, body) = tokio::time::timeout(ANSWER_TIME_MAX, exchange).await.context("no answer for seconds")??;
        let got = self.now();
        let body = serde_json::from_slice(&body).with_context(|| format!("a body of status {}", head.status))?;
        let replayed = head.headers.get("idempotent-replayed").is_some_and(|value| value == "true");
        Ok(Answer { status: head.status.as_u16(), replayed, body, sent, got })
    }
}

/// An acknowledged reservation.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub shopper: u32,
    pub basket: Basket,
    pub sent: Moment,
    pub got: Moment,
    /// As the service last answered it.
    pub shown: Value,
    pub end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Confirmed {
        sent: Moment,
    },
    Released {
        sent: Moment,
        got: Moment,
    },
    /// A confirm or release without an answer.
    Unknown,
}

/// A line refused for stock.
#[derive(Debug, Clone)]
pub(super) struct Shortage {
    pub item: usize,
    pub requested: u64,
    pub available: u64,
    pub sent: Moment,
    pub got: Moment,
}

/// The same request with the same key, twice at the same time.
#[derive(Debug, Clone)]
pub(super) struct DoubleClick {
    pub key: String,
    pub body: Value,
    pub answers: Vec<Answer>,
}

/// Everything that the shoppers were answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    pub shoppers: u64,
    pub requests: u64,
    /// The first request without an answer, or with one outside the contract, and how many there were.
    pub failures: (u64, String),
    pub slowest: u64,
    pub grants: Vec<Grant>,
    pub shortages: Vec<Shortage>,
    /// Refusals by a customer's limit.
    pub over_limit: Vec<Value>,
    pub double_clicks: Vec<DoubleClick>,
    /// Reserves without an answer: their units may be held.
    pub doubtful: Vec<Basket>,
    /// When reserves were sent that came too early.
    pub too_early: Vec<Moment>,
    /// When confirms were refused as too late, and the end of their hold.
    pub too_late: Vec<(Moment, Moment)>,
    pub refusals: BTreeMap<String, u64>,
    /// Changes during whose request the durable epoch moved on, and those during which it did not.
    pub committed: u64,
    pub uncommitted: u64,
    /// Microseconds that answers took: grants, refusals, confirms and releases.
    pub times: [Vec<u64>; 3],
    /// Requests until everybody had a first answer, and when that was.
    pub rush: (u64, Moment),
}

pub(super) struct Crowd {
    pub plan: Plan,
    pub client: Client,
    /// Asked for nothing but the durable epoch: an answer must not arrive before its change is durable.
    pub engine: Arc<Engine>,
    pub ledger: RefCell<Ledger>,
}

impl Crowd {
    /// Sends all shoppers, and returns when the last one is gone.
    pub(super) async fn visit(self: &Rc<Self>, connections: usize) {
        let (plan, client) = (&self.plan, &self.client);
        let mut visits = JoinSet::new();
        let early: Vec<_> = (0..plan.shoppers).map(|number| plan.shopper(number)).take_while(|it| it.early).collect();
        let opens_at = moment(plan.opens_at);
        let step = opens_at.saturating_sub(EARLY_UNTIL + client.now()) / (early.len() as u64 + 1);
        for shopper in early {
            client.sleep_until(client.now() + step).await;
            let crowd = self.clone();
            visits.spawn_local(async move {
                if let Some(answer) = crowd.reserve(&shopper, "early").await {
                    crowd.granted(&shopper, answer);
                }
            });
        }
        client.sleep_until(opens_at).await;
        let before = self.ledger.borrow().requests;
        let doors = Arc::new(Semaphore::new(connections));
        for number in 0..plan.shoppers {
            let door = doors.clone().acquire_owned().await.expect("never closed");
            if client.now() > opens_at + RUSH_MAX {
                break;
            }
            self.ledger.borrow_mut().shoppers += 1;
            let (crowd, shopper) = (self.clone(), plan.shopper(number));
            visits.spawn_local(async move {
                let grants = crowd.ask(&shopper).await;
                drop(door);
                crowd.decide(&shopper, grants).await;
            });
            while visits.try_join_next().is_some() {}
        }
        drop(doors.acquire_many(connections as u32).await.expect("never closed"));
        let requests = self.ledger.borrow().requests - before;
        self.ledger.borrow_mut().rush = (requests, client.now());
        while visits.join_next().await.is_some() {}
    }

    /// The numbers of the shopper's grants.
    async fn ask(&self, shopper: &Shopper) -> Vec<usize> {
        let click = |key| self.reserve(shopper, key);
        match shopper.manner {
            Manner::Once => Vec::from_iter(click("0").await.and_then(|answer| self.granted(shopper, answer))),
            Manner::Greedy => {
                let (one, two, three) = tokio::join!(click("0"), click("1"), click("2"));
                let answers = [one, two, three].into_iter().flatten();
                answers.filter_map(|answer| self.granted(shopper, answer)).collect()
            }
            Manner::DoubleClick => {
                let (one, two) = tokio::join!(click("0"), click("0"));
                let mut answers: Vec<_> = [one, two].into_iter().flatten().filter(|it| it.status == 201).collect();
                // The units left the stock once, for the request that was not a replay.
                answers.sort_by_key(|answer| answer.replayed);
                let Some(first) = answers.first().cloned() else { return Vec::new() };
                let earliest = answers.iter().map(|answer| answer.sent).min().unwrap_or(first.sent);
                let (key, body) = (key(shopper, "0"), self.plan.reserve(shopper.number, &shopper.basket));
                self.ledger.borrow_mut().double_clicks.push(DoubleClick { key, body, answers });
                Vec::from_iter(self.granted(shopper, Answer { sent: earliest, ..first }))
            }
        }
    }

    async fn decide(&self, shopper: &Shopper, mut grants: Vec<usize>) {
        let (client, mut fate) = (&self.client, shopper.fate);
        if grants.is_empty() && shopper.patient {
            let back = moment(self.plan.opens_at.plus_seconds(self.plan.hold_seconds));
            client.sleep_until(back + (shopper.chance * SECOND_WAVE) as Moment).await;
            grants.extend(self.reserve(shopper, "0").await.and_then(|answer| self.granted(shopper, answer)));
            // Nobody lets go now, or the demo would have to wait for that hold again.
            fate = Fate::Pays;
        }
        for grant in grants {
            let expires_at = time_in(&self.ledger.borrow().grants[grant].shown, "expires_at");
            match fate {
                Fate::WalksAway => continue,
                Fate::PaysLate => {
                    let late = LATE.0 + shopper.chance * (LATE.1 - LATE.0);
                    client.sleep_until(expires_at.saturating_add_signed(late as i64)).await;
                }
                Fate::Pays | Fate::LetsGo => tokio::time::sleep(Duration::from_millis(shopper.think)).await,
            }
            if fate == Fate::LetsGo {
                self.end(grant, "release", &json!({ "reason": "changed my mind" })).await;
            } else {
                self.end(grant, "confirm", &json!({ "reference": format!("order-{:05}", shopper.number) })).await;
            }
        }
    }

    async fn reserve(&self, shopper: &Shopper, click: &str) -> Option<Answer> {
        let (path, key) = (format!("/v1/sales/{}/reservations", self.plan.sale), key(shopper, click));
        let body = self.plan.reserve(shopper.number, &shopper.basket);
        let answer = self.send(&path, Some(&key), &body).await;
        let ledger = &mut *self.ledger.borrow_mut();
        let Some((answer, committed)) = answer else {
            ledger.doubtful.push(shopper.basket.clone());
            return None;
        };
        let Answer { status, sent, got, .. } = answer;
        if status == 201 && !answer.replayed {
            ledger.changed(committed);
            ledger.times[0].push(got - sent);
        } else if status != 201 {
            ledger.times[1].push(got - sent);
            match answer.body["code"].as_str() {
                Some("sold_out" | "insufficient_stock") => {
                    for line in answer.body["lines"].as_array().into_iter().flatten() {
                        let Some(item) = self.plan.item(line["sku"].as_str().unwrap_or_default()) else { continue };
                        let units = |member: &str| line[member].as_u64().unwrap_or(u64::MAX);
                        let (requested, available) = (units("requested"), units("available"));
                        ledger.shortages.push(Shortage { item, requested, available, sent, got });
                    }
                }
                Some("customer_limit_exceeded") => ledger.over_limit.push(answer.body.clone()),
                Some("sale_not_started") => ledger.too_early.push(sent),
                _ => {}
            }
        }
        Some(answer)
    }

    /// Notes a grant, and returns its number.
    fn granted(&self, shopper: &Shopper, answer: Answer) -> Option<usize> {
        let Answer { status: 201, sent, got, body: mut shown, .. } = answer else { return None };
        // How a replayed reservation stands now is no part of its first answer.
        shown.as_object_mut()?.remove("replayed_of");
        let grants = &mut self.ledger.borrow_mut().grants;
        let basket = shopper.basket.clone();
        grants.push(Grant { shopper: shopper.number, basket, sent, got, shown, end: End::Open });
        Some(grants.len() - 1)
    }

    async fn end(&self, grant: usize, verb: &str, body: &Value) {
        let id = self.ledger.borrow().grants[grant].shown["id"].as_str().unwrap_or_default().to_owned();
        let answer = self.send(&format!("/v1/reservations/{id}/{verb}"), None, body).await;
        let ledger = &mut *self.ledger.borrow_mut();
        let of = &mut ledger.grants[grant];
        match answer {
            Some((Answer { status: 200, body, sent, got, .. }, committed)) => {
                of.shown = body;
                of.end = if verb == "confirm" { End::Confirmed { sent } } else { End::Released { sent, got } };
                ledger.changed(committed);
                ledger.times[2].push(got - sent);
            }
            Some((answer, _)) if answer.body["code"] == "reservation_expired" => {
                ledger.too_late.push((answer.got, time_in(&of.shown, "expires_at")));
            }
            _ => of.end = End::Unknown,
        }
    }

    /// The answer, and whether the durable epoch moved on meanwhile.
    async fn send(&self, path: &str, key: Option<&str>, body: &Value) -> Option<(Answer, bool)> {
        let epoch = || self.engine.durability().epoch();
        let before = epoch();
        let answer = self.client.post(path, key, body).await;
        let committed = epoch() > before;
        let ledger = &mut *self.ledger.borrow_mut();
        ledger.requests += 1;
        let answer = answer.map_err(|error| ledger.fail(format!("{error:#}"))).ok()?;
        ledger.slowest = ledger.slowest.max(answer.got - answer.sent);
        match answer.status {
            200 | 201 => {}
            409 | 429 | 503 => {
                let code = answer.body["code"].as_str().unwrap_or("no code").to_owned();
                *ledger.refusals.entry(code).or_default() += 1;
            }
            status => ledger.fail(format!("status {status}: {}", answer.body)),
        }
        Some((answer, committed))
    }
}

impl Ledger {
    fn fail(&mut self, what: String) {
        if self.failures.0 == 0 {
            self.failures.1 = what;
        }
        self.failures.0 += 1;
    }

    fn changed(&mut self, committed: bool) {
        if committed { self.committed += 1 } else { self.uncommitted += 1 }
    }
}

/// The key of a shopper's click.
fn key(shopper: &Shopper, click: &str) -> String {
    format!("shopper-{:05}-{click}", shopper.number)
}
