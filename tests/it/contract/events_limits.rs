//! The feed at its edges: cursors that lead nowhere, readers that do not read, and the protocols around it.

use std::{thread, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::served::{
    Ask, Client, Connection, Feed, PATIENCE, Service, documents::with, metrics::Scrape, open_sale, wait_until,
};

fn metric(service: &Service, name: &str) -> f64 {
    Scrape::parse(service.ops().get("/metrics").text()).value(name, [])
}

/// Puts a document of about half a megabyte: a quick way to fill a journal, and a stream.
fn put_large(client: &mut Client, name: &str) {
    let items: Vec<Value> =
        (0..5000).map(|number| json!({ "sku": format!("{number:064}"), "initial_stock": 1 })).collect();
    let sale = with(open_sale(Value::Array(items)), json!({ "name": name }));
    assert!(client.put("/v1/sales/large", &sale).status < 300);
}

#[test]
fn cursors_that_are_none_are_refused() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    // Put, opened, and the record of who put it, which is not told.
    let last = Feed::open(service.address(), "?after=0").take(2).pop().unwrap();
    for bad in
        ["", "x", "-1", "1.", "1.2.3", "0.0", "01", "1.1", "1e3", "999999999", "snh5d4h0m13c82hrce9to998kg", "%ff"]
    {
        assert_eq!(client.get(&format!("/v1/events?after={bad}")).pointers(), ["/after"], "{bad}");
    }
    let ask = Ask::new("GET", "/v1/events").header("Last-Event-ID", "nothing");
    assert_eq!(client.send(&ask).pointers(), ["/Last-Event-ID"]);
    assert_eq!(client.get("/v1/events?since=1").pointers(), ["/since"]);
    client.send(&Ask::new("GET", "/v1/events").header("Accept", "application/json")).refused("not_acceptable");
    assert_eq!(client.post_nothing("/v1/events").refused("method_not_allowed")["status"], 405);
    let cursor = last.cursor();
    let head = client.send(&Ask::new("HEAD", &format!("/v1/events?after={cursor}")));
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!((head.header("event-cursor"), head.header("content-length")), (Some(cursor), None));
    assert_eq!(client.send(&Ask::new("HEAD", "/v1/events?after=x")).status, 400);
    client.get("/v1/sales/drop").success(200);
    wait_until("nobody is followed up any more", || metric(&service, "doorbuster_event_readers") == 0.0);
}

fn pruning() -> Service {
    Service::start_with(|config| {
        config.snapshot.journal_bytes = 64 << 10;
        config.limits.event_stall_seconds = 60;
    })
}

/// Fills segments until the first is removed.
fn fill(service: &Service) {
    let mut client = service.client();
    let first = service.directory().join("journal/journal-00000000000000000001.seg");
    let mut number = 0;
    wait_until("the first segment is removed", || {
        number += 1;
        if number < 60 {
            put_large(&mut client, &format!("number {number}"));
        }
        !first.exists()
    });
    // What is still to be removed is: it is looked for every second.
    thread::sleep(Duration::from_millis(2500));
}

/// The earliest cursor that can be gone on from, once the beginning is gone.
#[track_caller]
fn oldest(client: &mut Client) -> String {
    client.get("/v1/events?after=0").refused("cursor_too_old")["oldest"].as_str().unwrap().to_owned()
}

#[test]
fn a_cursor_whose_event_was_removed_is_too_old() {
    let service = pruning();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 5)]);
    client.hold("drop", "ann", [("tv", 5)]);
    let told = Feed::lines(service.address(), "?after=0").until(|told| told.kind == "item.sold_out");
    fill(&service);

    let oldest = oldest(&mut client);
    for cursor in told.iter().map(|told| told.cursor()) {
        client.get(&format!("/v1/events?after={cursor}")).refused("cursor_too_old");
    }
    // What an item had before it was removed from the journal is known all the same.
    let mut feed = Feed::open(service.address(), &format!("?after={oldest}"));
    client.post("/v1/sales/drop/items/tv/adjustments", &json!({ "delta": 1 })).success(201);
    let told = feed.until(|told| told.kind == "item.back_in_stock");
    assert_eq!(told.last().unwrap().data()["sku"], "tv");
    assert!(told.iter().all(|told| told.kind != "item.sold_out"));
}

#[test]
fn a_reader_that_falls_behind_what_is_kept_is_told_so() {
    let service = pruning();
    let mut client = service.client();
    put_large(&mut client, "first");
    let mut slow = Feed::lines(service.address(), "?after=0");
    fill(&service);
    for number in 0..30 {
        put_large(&mut client, &format!("more {number}"));
    }
    let (mut others_dropped, mut others) = (0.0, 0.0);
    let mut oldest_put = || {
        others += 1.0;
        // What was the oldest may be gone before it is asked for, and before it is read.
        let ask = Ask::new("GET", &format!("/v1/events?after={}", oldest(&mut client)));
        let mut feed = Feed::send(service.address(), &ask.header("Accept", "application/x-ndjson")).ok()?;
        let told = feed.until(|told| ["sale.put", "stream.ended"].contains(&told.kind.as_str())).pop().unwrap();
        others_dropped += f64::from(u8::from(told.kind == "stream.ended"));
        told.data()["name"].as_str().map(str::to_owned)
    };
    let is_late = |name: &str| name.strip_prefix("number ").is_none_or(|number| number.parse::<u32>().unwrap() > 25);
    wait_until("much of it is gone", || oldest_put().is_some_and(|name| is_late(&name)));
    let told = slow.rest();
    let (ended, told) = told.split_last().unwrap();
    assert_eq!(ended.data(), &json!({ "reason": "cursor_too_old", "cursor": told.last().unwrap().cursor() }));
    assert!(told.len() < 40, "not all of it was there any more");
    // One that got what it wanted may also be dropped before its end is noticed.
    let dropped = metric(&service, "doorbuster_event_readers_dropped_total");
    assert!((1.0 + others_dropped..=1.0 + others).contains(&dropped), "{dropped} of {others} others");
}

#[test]
fn a_reader_that_takes_nothing_is_dropped_and_nobody_else_notices() {
    let service = Service::start_with(|config| {
        config.limits.event_stall_seconds = 1;
        // Long enough for the client that asks between two waits for the feed.
        config.limits.idle_seconds = 6;
    });
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1_000_000)]);
    let mut slow = Feed::lines(service.address(), "?after=0");
    let mut never = service.connect();
    never.send(&Ask::new("GET", "/v1/events?after=0").encode()).unwrap();
    let mut live = Feed::open(service.address(), "?after=0");
    live.take(2);
    let mut puts = 0;
    wait_until("the two that do not read are dropped", || {
        if puts < 60 {
            puts += 1;
            put_large(&mut client, &format!("number {puts}"));
            live.until(|told| told.kind == "sale.put");
        }
        client.hold("drop", "ann", [("tv", 1)]);
        live.until(|told| told.kind == "reservation.held");
        metric(&service, "doorbuster_event_readers_dropped_total") == 2.0
    });
    assert_eq!(metric(&service, "doorbuster_event_readers"), 1.0);

    // One of them reads after all: what it was told is whole, and it goes on from there.
    let told = slow.rest();
    let (ended, told) = told.split_last().unwrap();
    let cursor = told.last().unwrap().cursor();
    assert_eq!(ended.data(), &json!({ "reason": "slow", "cursor": cursor }));
    let all = Feed::lines(service.address(), "?after=0").take(told.len() + 1);
    assert_eq!(&all[..told.len()], told);
    assert_eq!(Feed::lines(service.address(), &format!("?after={cursor}")).next().unwrap(), all[told.len()]);
    // The other one never does, and is not kept for ever.
    drop((slow, client));
    wait_until("only the live reader is connected", || metric(&service, "doorbuster_http_connections") == 1.0);
    drop(never);
}

#[test]
fn readers_past_the_limit_are_refused() {
    let service = Service::start_with(|config| config.limits.event_readers_max = 2);
    let mut client = service.client();
    let first = Feed::open(service.address(), "");
    let _second = Feed::lines(service.address(), "?after=0");
    client.get("/v1/events").refused("overloaded");
    client.send(&Ask::new("GET", "/v1/events?after=0")).refused("overloaded");
    assert_eq!(metric(&service, "doorbuster_event_readers"), 2.0);
    // HEAD reads nothing: it needs no place, and takes none.
    for path in ["/v1/events", "/v1/events?after=0"] {
        let head = client.send(&Ask::new("HEAD", path));
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")), "{path}");
    }
    assert_eq!(metric(&service, "doorbuster_event_readers"), 2.0);
    drop(first);
    wait_until("there is a place again", || metric(&service, "doorbuster_event_readers") == 1.0);
    for _ in 0..3 {
        // Who is refused takes no place.
        client.get("/v1/events?after=5").pointers();
    }
    let mut third = Feed::open(service.address(), "");
    client.put_open_sale("drop", [("tv", 1)]);
    assert_eq!(third.next().unwrap().kind, "sale.put");
}

#[test]
fn a_quiet_stream_is_kept_alive() {
    let service = Service::start_with(|config| {
        config.limits.idle_seconds = 1;
        config.limits.header_read_seconds = 1;
    });
    let mut feed = Feed::open(service.address(), "");
    let mut lines = Feed::lines(service.address(), "");
    thread::sleep(Duration::from_millis(7000));
    service.client().put_open_sale("drop", [("tv", 1)]);
    for feed in [&mut feed, &mut lines] {
        assert_eq!(feed.next().unwrap().kind, "sale.put");
        assert!((2..=4).contains(&feed.heartbeats), "one every three seconds, and not {}", feed.heartbeats);
    }
}

#[test]
fn a_stream_shares_its_http_2_connection() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async {
        let stream = tokio::net::TcpStream::connect(service.address()).await.unwrap();
        let (mut sender, connection) =
            http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut ask = |method: &str, path: &str| {
            let uri = format!("http://doorbuster.test{path}");
            sender.send_request(Request::builder().method(method).uri(uri).body(Empty::new()).unwrap())
        };
        let head = ask("HEAD", "/v1/events").await.unwrap();
        assert_eq!(head.status(), 200);
        assert_eq!(head.headers()["content-type"], "text/event-stream");
        let answer = ask("GET", "/v1/events?after=0").await.unwrap();
        let (_, mut body) = answer.into_parts();
        let mut text = Vec::new();
        while !text.windows(11).any(|bytes| bytes == b"sale.opened") {
            text.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        let beside = ask("GET", "/v1/sales/drop/availability").await.unwrap();
        assert_eq!(beside.status(), 200);
        client.hold("drop", "ann", [("tv", 1)]);
        while !text.windows(13).any(|bytes| bytes == b"item.sold_out") {
            text.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("in time") });
}

#[test]
fn every_reader_of_many_is_told_everything_at_once() {
    let service = Service::start();
    service.client().put_open_sale("drop", [("tv", 1000)]);
    let mut feeds: Vec<Feed> = (0..50).map(|_| Feed::lines(service.address(), "")).collect();
    let mut late: Vec<Duration> = (0..20)
        .map(|number| {
            let held = service.client().hold("drop", &format!("customer-{number}"), [("tv", 1)]);
            let started = std::time::Instant::now();
            for feed in &mut feeds {
                assert_eq!(feed.next().unwrap().cloud["subject"], held["id"]);
            }
            started.elapsed()
        })
        .collect();
    late.sort_unstable();
    // A reader that nobody wakes looks for events every three seconds. The median, of all fifty together: a busy machine
    // may keep one of them waiting.
    assert!(late[late.len() / 2] < Duration::from_secs(2), "{late:?}");
}

#[test]
fn a_stop_ends_streams_whether_they_are_read_or_not() {
    let mut service = Service::start_with(|config| {
        config.limits.drain_seconds = 3;
        config.limits.event_stall_seconds = 600;
    });
    let mut client = service.client();
    put_large(&mut client, "one");
    let mut read = Feed::open(service.address(), "?after=0");
    let mut unread: Vec<Connection> = (0..3).map(|_| service.connect()).collect();
    unread.iter_mut().for_each(|unread| unread.send(&Ask::new("GET", "/v1/events?after=0").encode()).unwrap());
    for number in 0..5 {
        put_large(&mut client, &format!("number {number}"));
    }
    let told = read.until(|told| told.data()["name"] == "number 4");
    let started = std::time::Instant::now();
    service.stop();
    assert!(started.elapsed() < PATIENCE, "took {:?}", started.elapsed());
    let ended = read.rest();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].data(), &json!({ "reason": "draining", "cursor": told.last().unwrap().cursor() }));
}
