//! Answers that are given before a request was read, and callers that stop sending before they are answered: every answer
//! arrives, and what becomes of the connection is said.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::served::{
    Ask, Connection, Feed, PATIENCE, Service,
    batches::{batch, results},
    metrics::Scrape,
    reserve_body, wait_until,
};

const RESERVE: &str = "/v1/sales/drop/reservations";

fn service() -> Service {
    let service = Service::start();
    service.client().put_open_sale("drop", [("tv", 100_000)]);
    service
}

fn gauge(service: &Service, name: &str) -> f64 {
    Scrape::parse(service.ops().get("/metrics").text()).value(name, [])
}

/// A head that announces so many bytes, or chunks.
fn head(target: &str, headers: &str) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
}

#[test]
fn a_caller_that_half_closes_behind_its_request_is_answered() {
    let service = service();
    let body = reserve_body("ann", [("tv", 1)]);
    for _ in 0..50 {
        let mut connection = service.connect();
        connection.send(&Ask::new("POST", RESERVE).json(&body).encode()).unwrap();
        connection.half_close();
        connection.answer().reservation(201);
        connection.closed_within(PATIENCE);
    }
    let mut connection = service.connect();
    let text = body.to_string();
    let head = format!("POST {RESERVE} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", text.len());
    connection.send(format!("{head}{text}").as_bytes()).unwrap();
    connection.half_close();
    connection.answer().reservation(201);
    connection.closed_within(PATIENCE);

    let mut connection = service.connect();
    let entries = (0..3000).map(|number| reserve_body(&format!("customer-{number}"), [("tv", 1)]));
    connection.send(&batch("drop", entries).encode()).unwrap();
    connection.half_close();
    assert_eq!(results(&connection.answer()).len(), 3000);
    connection.closed_within(PATIENCE);

    let mut connection = service.connect();
    let both = [Ask::new("GET", "/v1/sales/none").encode(), Ask::new("GET", "/v1/sales/drop").encode()].concat();
    connection.send(&both).unwrap();
    connection.half_close();
    connection.answer().refused("sale_not_found");
    connection.answer().success(200);
    connection.closed_within(PATIENCE);
    assert_eq!(service.client().units("drop", "tv"), [100_000, 96_949, 3051, 0]);
    wait_until("only one connection is open", || gauge(&service, "doorbuster_http_connections") <= 1.0);
}

#[test]
fn a_reader_of_events_is_gone_when_writing_to_it_fails_and_not_before() {
    let service = service();
    let mut half_closed = Feed::open(service.address(), "");
    half_closed.half_close();
    service.client().put_open_sale("other", [("tv", 1)]);
    assert_eq!(half_closed.next().unwrap().kind, "sale.put");
    assert_eq!(gauge(&service, "doorbuster_event_readers"), 1.0);
    drop(half_closed);
    wait_until("the reader is known to be gone", || gauge(&service, "doorbuster_event_readers") == 0.0);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header fields of a POST in HPACK, from the static table.
fn post_fields(path: &str) -> Vec<u8> {
    let mut fields = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    fields.extend_from_slice(path.as_bytes());
    fields.extend_from_slice(&[0x01, 4]);
    fields.extend_from_slice(b"shop");
    fields
}

/// The bodies of the streams that were answered to their end, in the order in which they ended.
fn answered(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut bodies, mut ended) = (std::collections::BTreeMap::<u32, Vec<u8>>::new(), Vec::new());
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let (kind, flags) = (bytes[3], bytes[4]);
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        if kind == 0 {
            bodies.entry(stream).or_default().extend_from_slice(&bytes[9..9 + length]);
            if flags & 1 == 1 {
                ended.push(bodies.remove(&stream).unwrap());
            }
        }
        bytes = &bytes[9 + length..];
    }
    ended
}

#[test]
fn a_caller_of_http_2_that_half_closes_is_answered() {
    let service = service();
    for away in [false, true] {
        let mut stream = TcpStream::connect(service.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
        for number in [1, 3, 5] {
            let body = reserve_body(&format!("customer-{number}"), [("tv", 1)]).to_string();
            bytes.extend(frame(1, 4, number, &post_fields(RESERVE)));
            bytes.extend(frame(0, 1, number, body.as_bytes()));
        }
        if away {
            bytes.extend(frame(7, 0, 0, &[0; 8]));
        }
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("it ends, and is not reset");
        let answered = answered(&all);
        assert_eq!(answered.len(), 3, "of three requests; {} bytes came", all.len());
        for body in answered {
            let reservation: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(reservation["state"], "held", "{reservation}");
        }
    }
    assert_eq!(service.client().units("drop", "tv"), [100_000, 99_994, 6, 0]);
}

#[test]
fn a_small_rest_of_a_body_is_read_and_the_connection_goes_on() {
    let service = service();
    let mut connection = service.connect();
    for (target, headers, code) in [
        ("/v1/nothing", "", "not_found"),
        ("/v1/sales/drop", "", "method_not_allowed"),
        (RESERVE, "Accept: text/html\r\n", "not_acceptable"),
        (RESERVE, "Content-Type: text/plain\r\n", "unsupported_media_type"),
        (RESERVE, "Idempotency-Key: \"\r\n", "invalid_request"),
    ] {
        // The body comes when it was refused already, with the next request behind it.
        connection.send(&head(target, &format!("Content-Length: 60000\r\n{headers}"))).unwrap();
        thread::sleep(Duration::from_millis(50));
        connection.send(&[&[b' '; 60_000], &*Ask::new("GET", "/v1/sales/drop").encode()].concat()).unwrap();
        let answer = connection.answer();
        answer.refused(code);
        assert_eq!(answer.header("connection"), None, "{code}");
        assert_eq!(connection.answer().success(200)["id"], "drop", "{code}");
    }
    let get = b"GET /v1/sales/drop HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{}\n";
    connection.send(&get.repeat(3)).unwrap();
    (0..3).for_each(|_| drop(connection.answer().success(200)));
}

/// Sends all of a request before it reads anything, as many clients do.
#[track_caller]
fn is_announced_and_arrives(service: &Service, bytes: &[u8], code: &str) {
    let mut connection = service.connect();
    connection.send(bytes).unwrap_or_else(|error| panic!("{code}: {error} while the request was sent"));
    let answer = connection.answer();
    answer.refused(code);
    assert_eq!(answer.header("connection"), Some("close"), "{code}");
    connection.closed_within(PATIENCE);
}

#[test]
fn otherwise_the_closing_is_announced_and_the_answer_arrives() {
    let service = service();
    const LARGE: usize = 12 << 20;
    let long = |target: &str, headers: &str| {
        [head(target, &format!("Content-Length: {LARGE}\r\n{headers}")), vec![b' '; LARGE]].concat()
    };
    is_announced_and_arrives(&service, &long(RESERVE, ""), "content_too_large");
    is_announced_and_arrives(&service, &long("/v1/sales/drop/reservations/batch", ""), "content_too_large");
    is_announced_and_arrives(&service, &long("/v1/nothing", ""), "not_found");
    is_announced_and_arrives(&service, &long("/v1/sales/drop", ""), "method_not_allowed");
    is_announced_and_arrives(&service, &long(RESERVE, "Accept: text/html\r\n"), "not_acceptable");
    is_announced_and_arrives(&service, &long(RESERVE, "Content-Type: text/plain\r\n"), "unsupported_media_type");
    is_announced_and_arrives(&service, &long("/v1/nothing", "Connection: close\r\n"), "not_found");
    let chunks = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat().repeat(40);
    let chunked = [head(RESERVE, "Transfer-Encoding: chunked\r\n"), chunks].concat();
    is_announced_and_arrives(&service, &chunked, "content_too_large");
    // Heads that never become a request.
    let endless = [b"GET / HTTP/1.1\r\nHost: x\r\nX: ".as_slice(), &vec![b'x'; 2 << 20], b"\r\n\r\n"].concat();
    is_announced_and_arrives(&service, &endless, "request_header_fields_too_large");
    let garbage = [b"GET / HTTP/1.1\r\nno colon\r\n\r\n".as_slice(), &vec![b'x'; 2 << 20]].concat();
    is_announced_and_arrives(&service, &garbage, "invalid_request");

    let mut connection = service.connect();
    let old = format!("POST /v1/nothing HTTP/1.0\r\nContent-Length: {LARGE}\r\n\r\n");
    connection.send(&[old.as_bytes(), &vec![b' '; LARGE]].concat()).unwrap();
    connection.answer().refused("not_found");
    connection.closed_within(PATIENCE);
}

#[test]
fn a_caller_that_asks_before_it_sends_is_refused_without_its_body() {
    let service = service();
    for (length, target, code) in [(10, "/v1/nothing", "not_found"), (100_000, RESERVE, "content_too_large")] {
        let mut connection = service.connect();
        connection.send(&head(target, &format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"))).unwrap();
        // No 100 comes before it. Whether the body comes is not known, so there can be no next request.
        let answer = connection.answer();
        answer.refused(code);
        assert_eq!(answer.header("connection"), Some("close"));
        connection.send(&vec![b' '; length]).expect("a caller that sends it all the same is not reset");
        connection.closed_within(PATIENCE);
    }
}

#[test]
fn a_body_that_is_too_late_is_refused_and_the_closing_announced() {
    let service = Service::start_with(|config| config.limits.body_read_seconds = 1);
    service.client().put_open_sale("drop", [("tv", 1)]);
    let mut connection = service.connect();
    connection.send(&head(RESERVE, "Content-Length: 50\r\n")).unwrap();
    let answer = connection.answer();
    answer.refused("request_timeout");
    assert_eq!(answer.header("connection"), Some("close"));
    connection.send(&[b' '; 50]).expect("what comes too late is not reset");
    connection.closed_within(PATIENCE);
}

#[test]
fn lingering_ends() {
    let service = Service::start_with(|config| {
        config.limits.linger_seconds = 1;
        config.limits.linger_bytes_max = 1 << 20;
    });
    service.client().put_open_sale("drop", [("tv", 1)]);
    let refused = |bytes: usize| {
        let mut connection = service.connect();
        connection.send(&head(RESERVE, "Content-Length: 999999999\r\n")).unwrap();
        connection.send(&vec![b' '; bytes]).unwrap();
        connection.answer().refused("content_too_large");
        connection
    };
    // One that never closes, and one that never stops sending.
    let silent = refused(10);
    let mut endless = refused(10);
    let started = Instant::now();
    while endless.send(&[b' '; 64 << 10]).is_ok() {
        assert!(started.elapsed() < PATIENCE, "still read after {:?}", started.elapsed());
    }
    wait_until("neither takes a place", || gauge(&service, "doorbuster_http_connections") <= 1.0);
    drop(silent);
    // A rest that was announced and does not come.
    let mut connection = service.connect();
    connection.send(&head("/v1/nothing", "Content-Length: 50\r\n")).unwrap();
    let answer = connection.answer();
    answer.refused("not_found");
    assert_eq!(answer.header("connection"), Some("close"));
    connection.closed_within(PATIENCE);
}

#[test]
fn a_lingering_connection_does_not_hold_up_the_end() {
    let mut service = Service::start_with(|config| {
        config.limits.linger_seconds = 600;
        config.limits.drain_seconds = 1;
    });
    service.client().put_open_sale("drop", [("tv", 1)]);
    let mut connection = service.connect();
    connection.send(&head(RESERVE, "Content-Length: 999999999\r\n")).unwrap();
    connection.answer().refused("content_too_large");
    let started = Instant::now();
    service.stop();
    assert!(started.elapsed() < PATIENCE, "took {:?}", started.elapsed());
}

#[test]
fn connections_past_the_limit_are_answered_whole_while_they_send() {
    let service = Service::start_with(|config| config.limits.connections_max = 1);
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    for bytes in [0, 100, 3 << 20] {
        let mut connection = service.connect();
        let ask = Ask::new("POST", RESERVE).bytes(vec![b' '; bytes]);
        connection.send(&ask.encode()).unwrap_or_else(|error| panic!("{error} with {bytes} bytes"));
        let answer = connection.answer();
        answer.refused("overloaded");
        assert_eq!(answer.header("connection"), Some("close"));
        connection.closed_within(PATIENCE);
    }
    // Some hundreds that hang on do not keep the next one from its answer.
    let mut crowd: Vec<Connection> = (0..600).map(|_| service.connect()).collect();
    crowd.last_mut().unwrap().answer().refused("overloaded");
    client.get("/v1/sales/drop").success(200);
}

#[test]
fn connections_of_http_2_past_the_limit_are_answered() {
    let service = Service::start_with(|config| config.limits.connections_max = 1);
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    super::multiplexed::run(async {
        for _ in 0..10 {
            let multiplexed = super::multiplexed::Multiplexed::connect(service.address()).await;
            let body = reserve_body("ann", [("tv", 1)]);
            multiplexed.send(&Ask::new("POST", RESERVE).json(&body)).await.refused("overloaded");
        }
    });
    client.get("/v1/sales/drop").success(200);
}

#[test]
fn a_refused_body_of_http_2_takes_no_window_from_others() {
    let service = service();
    super::multiplexed::run(async {
        let multiplexed = super::multiplexed::Multiplexed::connect(service.address()).await;
        for _ in 0..20 {
            let large = Ask::new("POST", RESERVE).bytes(vec![b' '; 3 << 20]);
            multiplexed.send(&large).await.refused("content_too_large");
            let nothing = Ask::new("POST", "/v1/nothing").bytes(vec![b' '; 100_000]);
            multiplexed.send(&nothing).await.refused("not_found");
        }
        let body = reserve_body("ann", [("tv", 1)]);
        multiplexed.send(&Ask::new("POST", RESERVE).json(&body)).await.reservation(201);
    });
}

#[test]
fn a_request_names_one_host() {
    let service = service();
    for (hosts, version, taken) in [
        ("", "1.1", false),
        ("Host: a\r\nHost: a\r\n", "1.1", false),
        ("Host:\r\n", "1.1", false),
        ("Host: a b\r\n", "1.1", false),
        ("Host: user@a\r\n", "1.1", false),
        ("Host: a/b\r\n", "1.1", false),
        ("Host: shop.example:8080\r\n", "1.1", true),
        ("Host: [::1]:8080\r\n", "1.1", true),
        ("", "1.0", true),
        ("Host: a\r\nHost: b\r\n", "1.0", false),
    ] {
        let mut connection = service.connect();
        connection.send(format!("GET /v1/sales/drop HTTP/{version}\r\n{hosts}\r\n").as_bytes()).unwrap();
        let answer = connection.answer();
        if taken {
            answer.success(200);
        } else {
            assert_eq!(answer.pointers(), ["/Host"], "{hosts:?}");
        }
    }
}

#[test]
fn what_lives_may_not_be_kept() {
    let service = service();
    let mut client = service.client();
    let held = client.hold("drop", "ann", [("tv", 1)]);
    let reservation = format!("/v1/reservations/{}", held["id"].as_str().unwrap());
    for (method, path, expected) in [
        ("GET", "/v1/sales", "no-store"),
        ("GET", "/v1/sales/drop", "no-store"),
        ("HEAD", "/v1/sales/drop", "no-store"),
        ("GET", "/v1/sales/drop/availability", "no-store"),
        ("GET", reservation.as_str(), "no-store"),
        ("GET", "/v1/status", "no-store"),
        ("POST", "/v1/sales/drop/pause", "no-store"),
        ("POST", "/v1/sales/drop/resume", "no-store"),
        ("GET", "/v1/sales/none", "no-store"),
        ("GET", "/nothing", "no-store"),
        ("DELETE", "/v1/sales/drop", "no-store"),
        ("POST", RESERVE, "no-store"),
        ("GET", "/problems/sold-out", "no-cache"),
        ("GET", "/openapi.json", "no-cache"),
        ("GET", "/console", "no-cache"),
        ("GET", "/console/nothing", "no-store"),
    ] {
        let answer = client.send(&Ask::new(method, path));
        assert_eq!(answer.header("cache-control"), Some(expected), "{method} {path}");
    }
    let answer = client.send(&batch("drop", [json!({})]));
    assert_eq!((answer.header("cache-control"), answer.header("x-accel-buffering")), (Some("no-store"), Some("no")));
    let feed = Feed::open(service.address(), "");
    assert_eq!(feed.head.header("x-accel-buffering"), Some("no"));
    for path in ["/livez", "/readyz", "/metrics", "/nothing"] {
        assert_eq!(service.ops().get(path).header("cache-control"), Some("no-store"), "{path}");
    }
    let mut unreadable = service.connect();
    unreadable.send(b"GET\r\n\r\n").unwrap();
    assert_eq!(unreadable.answer().header("cache-control"), Some("no-store"));
}

/// Fails where a probe is not answered.
#[track_caller]
fn probes_answer(service: &Service) {
    for path in ["/livez", "/readyz", "/metrics"] {
        let started = Instant::now();
        let mut probe = Connection::open(service.running().ops).unwrap();
        probe.send(&Ask::new("GET", path).encode()).unwrap();
        assert_eq!(probe.unchecked_answer(false).unwrap().status, 200, "{path}");
        assert!(started.elapsed() < PATIENCE, "{path} took {:?}", started.elapsed());
    }
}

#[test]
fn probes_are_answered_beside_crowds_that_do_nothing_or_little() {
    let service = service();
    let open = || TcpStream::connect(service.running().ops).unwrap();
    let metrics = Ask::new("GET", "/metrics").encode();
    let _never_write: Vec<TcpStream> = (0..200).map(|_| open()).collect();
    probes_answer(&service);
    let mut never_read: Vec<TcpStream> = (0..200).map(|_| open()).collect();
    for stream in &mut never_read {
        let _ = stream.write_all(&metrics.repeat(50));
    }
    probes_answer(&service);
    let mut trickle: Vec<TcpStream> = (0..200).map(|_| open()).collect();
    for byte in b"GET /livez" {
        for stream in &mut trickle {
            // Those whose places others took are closed.
            let _ = stream.write_all(&[*byte]);
        }
        probes_answer(&service);
    }
    // Reconnecting as fast as they can, from another thread.
    let address = service.running().ops;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let crowd = thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            drop(TcpStream::connect(address).and_then(|mut stream| stream.write_all(b"G")));
        }
    });
    (0..5).for_each(|_| probes_answer(&service));
    drop(stop);
    crowd.join().unwrap();
    // A body, half a connection, and a keep-alive connection are as good here.
    let mut probe = Connection::open(service.running().ops).unwrap();
    probe.send(&Ask::new("GET", "/livez").encode()).unwrap();
    assert_eq!(probe.unchecked_answer(false).unwrap().status, 200);
    probe.send(&Ask::new("POST", "/livez").bytes(vec![b' '; 3 << 20]).encode()).unwrap();
    let refused = probe.unchecked_answer(false).unwrap();
    assert_eq!((refused.status, refused.header("connection")), (405, Some("close")));
    let mut probe = Connection::open(service.running().ops).unwrap();
    probe.send(b"GET /livez HTTP/1.0\r\n\r\n").unwrap();
    probe.half_close();
    assert_eq!(probe.unchecked_answer(false).unwrap().status, 200);
}
