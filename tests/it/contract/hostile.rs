//! Senders that are slow, half gone, or do not speak HTTP: each costs a bounded time and nobody else anything.

use std::{
    io::ErrorKind,
    thread,
    time::{Duration, Instant},
};

use crate::served::{Ask, Connection, PATIENCE, Service, reserve_body};

const RESERVE: &str = "/v1/sales/drop/reservations";

fn impatient() -> Service {
    let service = Service::start_with(|config| {
        config.limits.header_read_seconds = 1;
        config.limits.body_read_seconds = 1;
        config.limits.idle_seconds = 3;
    });
    service.client().put_open_sale("drop", [("tv", 10)]);
    service
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let service = impatient();
    let started = Instant::now();
    let stalled: Vec<Connection> = [0, 1, 30]
        .into_iter()
        .map(|sent| {
            let mut connection = service.connect();
            let head = format!("POST {RESERVE} HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n");
            connection.send(format!("{head}{}", " ".repeat(sent)).as_bytes()).unwrap();
            connection
        })
        .collect();
    service.client().hold("drop", "ann", [("tv", 1)]);
    for mut connection in stalled {
        connection.answer().refused("request_timeout");
        assert!(started.elapsed() >= Duration::from_millis(950), "given up after {:?}", started.elapsed());
        connection.closed_within(PATIENCE);
    }
    assert_eq!(service.client().units("drop", "tv"), [10, 9, 1, 0]);
}

#[test]
fn a_body_that_trickles_in_has_the_same_time_in_all() {
    let service = impatient();
    let started = Instant::now();
    let mut connection = service.connect();
    connection.send(format!("POST {RESERVE} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n").as_bytes()).unwrap();
    // Each pause is shorter than the limit, and the body would take minutes.
    while !connection.has_answer() {
        thread::sleep(Duration::from_millis(200));
        assert!(started.elapsed() < PATIENCE, "still read after {:?}", started.elapsed());
        // Once refused, the connection may be closed under our hands.
        if connection.send(b" ").is_err() {
            break;
        }
    }
    connection.answer().refused("request_timeout");
}

#[test]
fn a_head_that_does_not_end_is_not_waited_for() {
    let service = impatient();
    let mut halves: Vec<Connection> =
        ["G", "GET /v1/sa", "GET /v1/sales HTTP/1.1\r\nHost:", "GET /v1/sales HTTP/1.1\r\nX: y\r\n"]
            .into_iter()
            .map(|half| {
                let mut connection = service.connect();
                connection.send(half.as_bytes()).unwrap();
                connection
            })
            .collect();
    service.client().hold("drop", "ann", [("tv", 1)]);
    for connection in &mut halves {
        connection.closed_within(PATIENCE);
    }
}

#[test]
fn a_head_that_trickles_in_has_the_same_time_in_all() {
    let service = impatient();
    let mut connection = service.connect();
    let started = Instant::now();
    connection.send(b"GET /v1/sales HTTP/1.1\r\n").unwrap();
    while connection.send(b"X: y\r\n").is_ok() {
        thread::sleep(Duration::from_millis(100));
        assert!(started.elapsed() < PATIENCE, "still listening after {:?}", started.elapsed());
    }
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let service = impatient();
    let mut silent = service.connect();
    // These letters begin an HTTP/2 connection as well as a POST: which of them it will be is not known yet.
    let mut undecided = service.connect();
    undecided.send(b"P").unwrap();
    let mut preface = service.connect();
    preface.send(b"PRI * HTTP/2.0\r\n").unwrap();
    for (what, connection) in [("P", &mut undecided), ("half a preface", &mut preface), ("nothing", &mut silent)] {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| connection.closed_within(PATIENCE)));
        assert!(outcome.is_ok(), "a connection that said {what} is still open");
    }
}

#[test]
fn a_connection_may_rest_between_two_requests_for_its_idle_time() {
    let service = impatient();
    let mut connection = service.connect();
    for _ in 0..2 {
        connection.send(&Ask::new("GET", "/v1/sales/drop").encode()).expect("the connection is open");
        let answer = connection.try_answer(false).expect("the connection is open: idle_seconds is 3");
        answer.success(200);
        thread::sleep(Duration::from_millis(1800));
    }
    connection.closed_within(PATIENCE);
}

#[test]
fn what_is_not_http_is_refused_and_closed() {
    let service = impatient();
    for bytes in [
        &b"\r\n\r\n\x00\x01\x02\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /v1/sales\r\n\r\n",
        b"GET /v1/sales HTTP/9.9\r\n\r\n",
        b"GET /v1/sales HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /v1/sales HTTP/1.1\r\nX : y\r\n\r\n",
        b"GET /v1/sales HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"GET /v1/sa les HTTP/1.1\r\n\r\n",
        b"POST /v1/sales/drop/reservations HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/sales/drop/reservations HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
        b"POST /v1/sales/drop/reservations HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/sales/drop/reservations HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /v1/sales/drop/reservations HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello",
    ] {
        let mut connection = service.connect();
        connection.send(bytes).unwrap();
        // Such an answer needs no document: who does not speak HTTP does not read the contract either.
        match connection.unchecked_answer(false) {
            Ok(answer) => assert_eq!(answer.status, 400, "{:?}", String::from_utf8_lossy(bytes)),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
                "{error} after {:?}",
                String::from_utf8_lossy(bytes)
            ),
        }
    }
    assert_eq!(service.client().units("drop", "tv"), [10, 10, 0, 0]);
}

#[test]
fn chunks_that_are_none_are_refused() {
    let service = impatient();
    for chunks in ["x\r\n", "-1\r\n", "fffffffffffffffff\r\n", "2\r\n{}x\r\n0\r\n\r\n"] {
        let mut connection = service.connect();
        let head = format!("POST {RESERVE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        connection.send(format!("{head}{chunks}").as_bytes()).unwrap();
        assert_eq!(connection.answer().status, 400, "{chunks:?}");
    }
    assert_eq!(service.client().units("drop", "tv"), [10, 10, 0, 0]);
}

/// Whoever sends both lengths wants two readers to disagree; one reading or a refusal is fine, a second request is not.
#[test]
fn a_request_does_not_hide_in_another() {
    let service = impatient();
    let hidden = Ask::new("POST", RESERVE).json(&reserve_body("mallory", [("tv", 1)])).encode();
    let head = format!(
        "POST {RESERVE} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        hidden.len() + 5
    );
    let mut connection = service.connect();
    connection.send(head.as_bytes()).unwrap();
    if let Ok(answer) = connection.unchecked_answer(false) {
        assert_eq!(answer.status, 400);
        let _ = connection.send(&hidden);
        assert!(connection.unchecked_answer(false).is_err(), "what follows such a request is not read as another");
    }
    assert_eq!(service.client().units("drop", "tv"), [10, 10, 0, 0]);
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let service = impatient();
    for number in 0..60 {
        let mut connection = service.connect();
        let request =
            Ask::new("POST", "/v1/sales/drop/items/tv/adjustments").json(&serde_json::json!({ "delta": 1 })).encode();
        connection.send(&request[..request.len() * (number % 5) / 4]).unwrap();
    }
    let mut last = [0; 4];
    crate::served::wait_until("nothing changes any more", || {
        thread::sleep(Duration::from_millis(250));
        let before = std::mem::replace(&mut last, service.client().units("drop", "tv"));
        before == last
    });
    let mut ops = service.ops();
    crate::served::wait_until("all connections are given back", || {
        let scrape = crate::served::metrics::Scrape::parse(ops.get("/metrics").text());
        scrape.value("doorbuster_http_connections", []) == 0.0
    });
    // Twelve requests went out whole. Each was carried out or not, as the service noticed that nobody waits for it; of
    // the others nothing happened, and nothing happens any more.
    let [stock, available, ..] = service.client().units("drop", "tv");
    assert!(stock == available && (10..=22).contains(&stock), "{stock} in stock, {available} available");
    assert_eq!(service.client().units("drop", "tv"), [stock, stock, 0, 0]);
    service.client().hold("drop", "ann", [("tv", 1)]);
}
