//! HTTP/2 with prior knowledge on the same port: the same answers, many at a time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::served::{
    Answer, Ask, PATIENCE, Service,
    batches::{self, batch},
    described::{self, Described},
    documents::{address, as_made},
    problems, reserve_body,
};

/// One HTTP/2 connection.
#[derive(Clone)]
pub struct Multiplexed {
    sender: http2::SendRequest<Full<Bytes>>,
    described: Arc<Described>,
}

impl Multiplexed {
    async fn open(service: &Service) -> Self {
        Self::connect(service.address()).await
    }

    pub async fn connect(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a handshake");
        tokio::spawn(connection);
        Self { sender, described: described::at(address).expect("a document") }
    }

    pub async fn send(&self, ask: &Ask) -> Answer {
        let mut request =
            Request::builder().method(ask.method.as_str()).uri(format!("http://doorbuster.test{}", ask.path));
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let body = Full::new(Bytes::from(ask.body.clone().unwrap_or_default()));
        let request = request.body(body).expect("a request");
        let mut sender = self.sender.clone();
        let response =
            tokio::time::timeout(PATIENCE, sender.send_request(request)).await.expect("in time").expect("an answer");
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.to_str().expect("ASCII").to_owned()));
        let (status, headers) = (response.status().as_u16(), headers.collect());
        let body = response.into_body().collect().await.expect("a body").to_bytes().to_vec();
        let answer = Answer { version: "HTTP/2".to_owned(), status, headers, body };
        if status >= 400 && ask.method != "HEAD" {
            problems::check(&answer);
        }
        self.described.check(ask, &answer);
        answer
    }
}

pub fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test ends") })
}

#[test]
fn answers_are_those_of_http_1() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1), ("mug", 1)]);
    let held = client.hold("drop", "ann", [("tv", 1)]);
    let reserve = "/v1/sales/drop/reservations";
    let asks = [
        Ask::new("GET", "/v1/sales/drop"),
        Ask::new("GET", "/v1/sales"),
        Ask::new("HEAD", "/v1/sales/drop"),
        Ask::new("GET", "/v1/sales/drop/availability"),
        Ask::new("GET", &address(&held)),
        Ask::new("GET", "/v1/sales/none"),
        Ask::new("GET", "/nothing"),
        Ask::new("DELETE", "/v1/sales/drop"),
        Ask::new("POST", reserve).json(&reserve_body("bob", [("tv", 1)])),
        Ask::new("POST", reserve).json(&json!({ "customer": "bob", "lines": [], "vip": 1 })),
        Ask::new("POST", reserve).bytes("x".repeat(70_000)),
        Ask::new("POST", reserve).header("Content-Type", "text/plain").bytes("x"),
        Ask::new("POST", reserve).key("a b").json(&json!({})),
        Ask::new("GET", "/v1/sales/drop").header("Accept", "text/html"),
        Ask::new("GET", &format!("/v1/sales/{}", "x".repeat(3000))),
        Ask::new("GET", "/v1/sales/drop").header("X-Large", &"x".repeat(17_000)),
        Ask::new("GET", "/problems/sold-out").header("Accept", "text/html"),
        Ask::new("POST", "/v1/sales/drop/items/mug/adjustments").key("k").json(&json!({ "delta": 1 })),
        Ask::new("POST", "/v1/sales/drop/items/mug/adjustments").key("k").json(&json!({ "delta": 1 })),
        Ask::new("POST", "/v1/sales/drop/pause"),
    ];
    // An adjustment is only the same over both when each meets its key as a known one.
    client.send(&asks[17]).success(201);
    run(async {
        let multiplexed = Multiplexed::open(&service).await;
        for ask in &asks {
            let (one, two) = (client.send(ask), multiplexed.send(ask).await);
            assert_eq!((two.status, &two.body), (one.status, &one.body), "{} {}", ask.method, ask.path);
            for header in ["content-type", "content-length", "allow", "location", "idempotent-replayed"] {
                assert_eq!(two.header(header), one.header(header), "{header} of {} {}", ask.method, ask.path);
            }
        }
        // A body without a length is no error here: the stream's end tells it.
        let put = crate::served::open_sale(json!([{ "sku": "tv", "initial_stock": 1 }]));
        multiplexed.send(&Ask::new("PUT", "/v1/sales/two").json(&put)).await.success(201);
        multiplexed.send(&Ask::new("POST", "/v1/sales/two/reservations")).await.refused("invalid_request");
    });
}

#[test]
fn many_streams_share_what_there_is() {
    const STREAMS: usize = 400;
    const UNITS: u64 = 250;
    let service = Service::start_with(|config| config.limits.h2_streams_max = 50);
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", UNITS)]);
    let granted = run(async {
        let multiplexed = Multiplexed::open(&service).await;
        // Once an answer is here the client also knows how many streams it may open at once.
        multiplexed.send(&Ask::new("GET", "/v1/sales/drop")).await.success(200);
        let asked: Vec<_> = (0..STREAMS)
            .map(|number| {
                let multiplexed = multiplexed.clone();
                let body = reserve_body(&format!("customer-{number}"), [("tv", 1)]);
                tokio::spawn(async move {
                    let answer = multiplexed.send(&Ask::new("POST", "/v1/sales/drop/reservations").json(&body)).await;
                    (number, answer)
                })
            })
            .collect();
        let mut granted: Vec<Value> = Vec::new();
        for asked in asked {
            let (number, answer) = asked.await.expect("a task");
            if answer.status == 201 {
                let held = answer.reservation(201);
                assert_eq!(held["customer"], format!("customer-{number}"), "each stream gets its own answer");
                granted.push(held["id"].clone());
            } else {
                answer.refused("sold_out");
            }
        }
        granted
    });
    assert_eq!(granted.len() as u64, UNITS);
    let distinct: std::collections::BTreeSet<String> = granted.iter().map(Value::to_string).collect();
    assert_eq!(distinct.len() as u64, UNITS);
    assert_eq!(client.units("drop", "tv"), [UNITS, 0, UNITS, 0]);
}

#[test]
fn batches_and_single_requests_share_a_connection() {
    let service = Service::start_with(|config| config.server.workers = 1);
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1500)]);
    let entry = |number: usize| {
        let mut entry = reserve_body(&format!("customer-{number}"), [("tv", 1)]);
        entry["idempotency_key"] = json!(format!("key-{number}"));
        entry
    };
    let batches = [0, 1].map(|half| batch("drop", (half * 1000..(half + 1) * 1000).map(entry)));
    run(async {
        let multiplexed = Multiplexed::open(&service).await;
        let single = async |number: usize| {
            let ask = Ask::new("POST", "/v1/sales/drop/reservations").json(&reserve_body("ann", [("tv", 1)]));
            (number, multiplexed.send(&ask).await)
        };
        let (first, second, singles) =
            tokio::join!(multiplexed.send(&batches[0]), multiplexed.send(&batches[1]), one_after_another(40, &single),);
        let first = [batches::results(&first), batches::results(&second)].concat();
        let granted = first.iter().filter(|result| batches::outcome(result) == "held").count();
        assert_eq!(granted + singles.iter().filter(|(_, answer)| answer.status == 201).count(), 1500);
        // The same over HTTP/1.1 is answered the same, but for what is new about it.
        for (batch, first) in batches.iter().zip(first.chunks(1000)) {
            for (again, first) in batches::results(&client.send(batch)).iter().zip(first) {
                assert_eq!(again["status"], first["status"]);
                if first["reservation"].is_object() {
                    assert_eq!(as_made(again["reservation"].clone()), as_made(first["reservation"].clone()));
                }
            }
        }
    });
    assert_eq!(client.units("drop", "tv"), [1500, 0, 1500, 0]);
}

/// So many requests one after the other.
async fn one_after_another<T>(count: usize, one: &impl AsyncFn(usize) -> T) -> Vec<T> {
    let mut all = Vec::new();
    for number in 0..count {
        all.push(one(number).await);
    }
    all
}
