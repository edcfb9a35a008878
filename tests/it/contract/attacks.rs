//! What is sent to do harm: each attack ends, and a good client beside it is served meanwhile.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::served::{Ask, PATIENCE, Service, open_sale, wait_until};

const RESERVE: &str = "/v1/sales/drop/reservations";

fn guarded() -> Service {
    let service = Service::start_with(|config| {
        config.limits.write_stall_seconds = 1;
        config.limits.idle_seconds = 60;
    });
    service.client().put_open_sale("drop", [("tv", 1000)]);
    service
}

/// A socket whose writes give up soon, and what one more write came to.
struct Attacker(TcpStream);

impl Attacker {
    fn connect(service: &Service) -> Self {
        let stream = TcpStream::connect(service.address()).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// False once the other side has closed the connection.
    fn is_open_after(&mut self, bytes: &[u8]) -> bool {
        match self.0.write_all(bytes) {
            Ok(()) => true,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Sends on and on until it is cut off; fails when that does not happen.
    #[track_caller]
    fn send_until_cut_off(&mut self, bytes: &[u8], service: &Service) {
        let (started, mut good) = (Instant::now(), service.client());
        while self.is_open_after(bytes) {
            good.get("/v1/sales/drop/availability").success(200);
            assert!(started.elapsed() < PATIENCE, "still there after {:?}", started.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn who_reads_nothing_is_cut_off() {
    let service = guarded();
    let large: Vec<_> = (0..2000).map(|number| json!({ "sku": format!("{number:060}"), "initial_stock": 1 })).collect();
    service.client().put("/v1/sales/large", &open_sale(json!(large))).success(201);
    let asks = Ask::new("GET", "/v1/sales/large").encode().repeat(50);
    Attacker::connect(&service).send_until_cut_off(&asks, &service);
}

#[test]
fn connections_of_one_address_are_limited() {
    let service = Service::start_with(|config| config.limits.connections_per_address_max = 3);
    let mut clients: Vec<_> = (0..3).map(|_| service.client()).collect();
    clients[0].put_open_sale("drop", [("tv", 1)]);
    clients.iter_mut().for_each(|client| drop(client.sale("drop")));
    service.connect().answer().refused("overloaded");
    drop(clients.pop());
    wait_until("the place that was left is free", || {
        let mut connection = service.connect();
        let _ = connection.send(&Ask::new("GET", "/v1/sales/drop").encode());
        connection.try_answer(false).is_ok_and(|answer| answer.status == 200)
    });
}

/// Many reserves of one turn of the event loop meet the limit of one that may wait; what was held can be confirmed.
#[test]
fn past_what_may_wait_for_the_disk_reserves_are_refused_first() {
    let service = Service::start_with(|config| {
        config.server.workers = 1;
        config.limits.waiting_max = 1;
    });
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 100_000)]);
    let (mut held, mut refused) = (0, 0);
    let started = Instant::now();
    while held == 0 || refused == 0 {
        assert!(started.elapsed() < PATIENCE, "{held} held, {refused} refused");
        let mut connections: Vec<_> = (0..20).map(|_| service.connect()).collect();
        for (number, connection) in connections.iter_mut().enumerate() {
            let body = json!({ "customer": format!("c{number}"), "lines": [{ "sku": "tv", "quantity": 1 }] });
            connection.send(&Ask::new("POST", RESERVE).json(&body).encode()).unwrap();
        }
        for connection in &mut connections {
            let answer = connection.answer();
            match answer.status {
                201 => held += 1,
                _ => {
                    let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
                    assert!((1..=3).contains(&wait));
                    assert!(answer.refused("overloaded")["detail"].as_str().unwrap().contains("limits.waiting_max"));
                    refused += 1;
                }
            }
        }
    }
    let [stock, available, in_hold, _] = client.units("drop", "tv");
    assert_eq!((stock - available, in_hold), (held, held), "what was refused took nothing");
}

#[test]
fn line_feeds_alone_end_no_lines_that_others_read_otherwise() {
    let service = guarded();
    let inner = Ask::new("POST", RESERVE).json(&json!({ "customer": "m", "lines": [{ "sku": "tv", "quantity": 1 }] }));
    let inner = String::from_utf8(inner.encode()).unwrap();
    for head in [
        format!(
            "GET /v1/sales HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX: a\rContent-Length: {}\r\n\r\n",
            inner.len()
        ),
        format!(
            "POST {RESERVE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
        ),
        format!(
            "POST {RESERVE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
        ),
        format!("POST {RESERVE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        format!("POST {RESERVE} HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n0\r\n\r\n"),
        format!("POST {RESERVE} HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n0\r\n\r\n"),
        format!("POST {RESERVE} HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("POST {RESERVE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\n\r\n\r\n"),
    ] {
        let mut connection = service.connect();
        connection.send(format!("{head}{inner}").as_bytes()).unwrap();
        if let Ok(answer) = connection.unchecked_answer(false) {
            assert_eq!(answer.status, 400, "{head:?}");
            let next = connection.unchecked_answer(false);
            assert!(next.is_err(), "{next:?} follows {head:?}");
        }
    }
    assert_eq!(service.client().units("drop", "tv"), [1000, 1000, 0, 0]);
}

#[test]
fn a_target_in_absolute_form_is_the_path_in_it() {
    let service = guarded();
    let mut connection = service.connect();
    for target in ["http://doorbuster.test/v1/sales/drop", "http://elsewhere.test:1/v1/sales/drop"] {
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: doorbuster.test\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(connection.answer().success(200)["id"], "drop");
    }
    connection.send(b"GET http://doorbuster.test/../v1/sales/drop HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    connection.answer().refused("not_found");
    connection.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    connection.answer().refused("not_found");
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET /` in static HPACK.
const GET: &[u8] = &[0x82, 0x84, 0x86];

/// Whether a GOAWAY comes before the end.
fn is_sent_away(mut attacker: Attacker) -> bool {
    let mut head = [0; 9];
    while attacker.0.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        if head[3] == GOAWAY {
            return true;
        }
        let mut payload = vec![0; length as usize];
        if attacker.0.read_exact(&mut payload).is_err() {
            break;
        }
    }
    false
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    let service = guarded();
    let mut attacker = Attacker::connect(&service);
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for number in 0..2000 {
        let stream = 2 * number + 1;
        bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, GET));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    // It may be cut off while it still sends.
    let _ = attacker.0.write_all(&bytes);
    assert!(is_sent_away(attacker), "it goes on");
    service.client().hold("drop", "ann", [("tv", 1)]);
}

#[test]
fn headers_that_never_end_end_the_connection() {
    let service = guarded();
    let mut attacker = Attacker::connect(&service);
    attacker.0.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
    attacker.0.write_all(&frame(HEADERS, END_STREAM, 1, GET)).unwrap();
    // A literal header without indexing, over and over.
    let header = [&[0x00, 0x01, b'x', 0x7f, 0x81, 0x01][..], &[b'y'; 256]].concat();
    attacker.send_until_cut_off(&frame(CONTINUATION, 0, 1, &header.repeat(50)), &service);
    service.client().hold("drop", "ann", [("tv", 1)]);
}
