//! Batches at the limits of the service, and with callers that do not take their answer.

use std::{sync::mpsc, thread, time::Duration};

use serde_json::{Value, json};

use crate::served::{
    Connection, Service,
    batches::{batch, outcome, outcomes, results, send_unread},
    documents::with,
    reserve_body, wait_until,
};

fn entry(customer: &str) -> Value {
    reserve_body(customer, [("tv", 1)])
}

fn keyed(key: &str, customer: &str) -> Value {
    with(entry(customer), json!({ "idempotency_key": key }))
}

#[test]
fn a_batch_has_as_many_entries_and_bytes_as_it_may_have() {
    let service = Service::start_with(|config| {
        config.limits.batch_entries_max = 3;
        config.limits.batch_body_bytes_max = 4096;
    });
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    assert_eq!(outcomes(&client.batch("drop", &[entry("ann"), entry("bob"), entry("cid")])), ["held"; 3]);
    let four = batch("drop", [entry("ann"), entry("bob"), entry("cid"), entry("dan")]);
    assert_eq!(client.send(&four).pointers(), ["/reservations"]);
    // What follows the entry that is too many is not even looked at.
    assert_eq!(client.send(&batch("drop", ["1", "2", "3", "4", "x"])).pointers(), ["/reservations"]);
    let padded = |bytes: usize| {
        let ask = batch("drop", [entry("ann")]);
        let body = ask.body.clone().unwrap();
        let padding = vec![b' '; bytes - body.len()];
        ask.bytes([body, padding].concat())
    };
    assert_eq!(outcomes(&results(&client.send(&padded(4096)))), ["held"]);
    client.send(&padded(4097)).refused("content_too_large");
    assert_eq!(client.units("drop", "tv"), [10, 6, 4, 0]);
}

#[test]
fn an_entry_is_as_long_as_a_single_request_may_be() {
    let service = Service::start_with(|config| config.limits.body_bytes_max = 2000);
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let longest = format!("{{\"customer\":\"ann\",{}\"lines\":[{{\"sku\":\"tv\",\"quantity\":1}}]}}", " ".repeat(1940));
    let longer = |entry: &str| entry.replacen(' ', "  ", 1);
    assert!(longest.len() < 2000);
    let longest = longest.replacen(' ', &" ".repeat(2001 - longest.len()), 1);
    let tricky = format!("{{\"a\":\"]}}\\\"\\\\\",\"b\":[[{{}}]],\"c\":[{}1]}}", "\"}\\\\\",".repeat(50_000));
    let nested = format!("{}{}", "[".repeat(3000), "]".repeat(3000));
    let text = format!("\"{}\\\"\"", "x".repeat(200_000));
    let entries =
        [entry("bob").to_string(), longer(&longest), longest.clone(), tricky, nested, text, entry("cid").to_string()];
    let results = results(&send_unread(&service, &batch("drop", &entries)));
    let large = "content_too_large";
    assert_eq!(outcomes(&results), ["held", large, "held", large, large, large, "held"]);
    assert_eq!(results[1]["status"], 413);
    assert_eq!(client.units("drop", "tv"), [10, 7, 3, 0]);
    // Its end must be there, all the same.
    let open = format!("{{\"a\":[{}1", "1,".repeat(5000));
    assert_eq!(client.send(&batch("drop", [entry("bob").to_string(), open])).pointers(), [""]);
    assert_eq!(client.units("drop", "tv"), [10, 7, 3, 0]);
}

#[test]
fn limits_of_the_service_are_met_entry_by_entry() {
    let service = Service::start_with(|config| {
        config.engine.shards = 1;
        config.limits.reservations_max = 2;
    });
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let entries = [keyed("k", "ann"), entry("bob"), entry("cid"), keyed("k", "ann"), entry("dan")];
    let results = client.batch("drop", &entries);
    assert_eq!(outcomes(&results), ["held", "held", "overloaded", "replayed", "overloaded"]);
    assert_eq!(results[2]["status"], 503);
    assert_eq!(client.units("drop", "tv"), [10, 8, 2, 0]);
}

#[test]
fn a_batch_is_acknowledged_early_where_that_was_chosen() {
    let service = Service::start_with(|config| {
        config.journal.ack = doorbuster::config::Ack::Buffered;
        config.journal.flush_ms = 1000;
    });
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1000)]);
    let entries: Vec<Value> = (0..1000).map(|number| entry(&format!("customer-{number}"))).collect();
    let started = std::time::Instant::now();
    for _ in 0..2 {
        client.batch("drop", &entries);
    }
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(client.units("drop", "tv"), [1000, 0, 1000, 0]);
}

/// Entries of many lines, whose answers are more than sockets hold.
const ENTRIES: usize = 12_000;

fn service_with_large_batches() -> Service {
    let service = Service::start_with(|config| {
        config.server.workers = 1;
        config.limits.batch_entries_max = ENTRIES;
        config.limits.batch_body_bytes_max = 64 << 20;
        config.limits.write_stall_seconds = 60;
    });
    let items: Vec<Value> = (0..20).map(|number| json!({ "sku": sku(number), "initial_stock": 100_000 })).collect();
    service.client().put("/v1/sales/drop", &crate::served::open_sale(json!(items))).success(201);
    service
}

fn sku(number: u64) -> String {
    format!("{number:064}")
}

fn large_entry(number: u64) -> Value {
    let lines: Vec<Value> = (0..20).map(|number| json!({ "sku": sku(number), "quantity": 1 })).collect();
    json!({ "customer": format!("customer-{number}"), "lines": lines, "idempotency_key": format!("key-{number}") })
}

/// Sends a large batch and does not read the answer; waits until the service does no more for it.
fn begin_without_reading(service: &Service) -> (Connection, u64) {
    let mut connection = service.connect();
    connection.send(&batch("drop", (0..ENTRIES as u64).map(large_entry)).encode()).unwrap();
    let mut client = service.client();
    let mut held = 0;
    wait_until("the batch is held back", || {
        thread::sleep(Duration::from_millis(300));
        let before = std::mem::replace(&mut held, client.units("drop", &sku(0))[2]);
        held > 0 && held == before
    });
    assert!(held < ENTRIES as u64, "all of it was decided, though nobody takes the answer");
    (connection, held)
}

#[test]
fn a_caller_that_goes_away_ends_its_batch_and_may_repeat_it() {
    let service = service_with_large_batches();
    let (connection, before) = begin_without_reading(&service);
    drop(connection);
    thread::sleep(Duration::from_millis(500));
    let mut client = service.client();
    let held = client.units("drop", &sku(0))[2];
    assert!((before..before + 2000).contains(&held), "{before} were held before, and now {held}");
    // What was decided stays and is known by its keys; the rest was never begun.
    let entries: Vec<Value> = (held - 2..held + 2).map(large_entry).collect();
    assert_eq!(outcomes(&client.batch("drop", &entries)), ["replayed", "replayed", "held", "held"]);
    assert_eq!(client.units("drop", &sku(0))[2], held + 2);
}

#[test]
fn what_a_batch_has_not_reached_when_the_service_stops_is_refused() {
    let mut service = service_with_large_batches();
    let (mut connection, before) = begin_without_reading(&service);
    let mut ops = service.ops();
    let running = service.take();
    let (stopped, stop) = mpsc::channel();
    thread::spawn(move || stopped.send(running.stop()));
    wait_until("readiness says draining", || ops.get("/readyz").status == 503);
    let results = results(&connection.answer());
    assert_eq!(results.len(), ENTRIES);
    let held = results.iter().filter(|result| outcome(result) == "held").count();
    assert!(before as usize <= held && held < ENTRIES, "{before} before, {held} in the end");
    assert!(results[..held].iter().all(|result| outcome(result) == "held"));
    assert!(results[held..].iter().all(|result| outcome(result) == "draining"), "{}", results[held]);
    stop.recv_timeout(Duration::from_secs(20)).expect("it stops").expect("in good order");
    service.start_again();
    assert_eq!(service.client().units("drop", &sku(0))[2], held as u64);
}
