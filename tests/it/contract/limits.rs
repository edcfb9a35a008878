//! Limits of the whole service: a clear refusal past each, at once, and what was promised before goes on.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::served::{Ask, Client, Connection, PATIENCE, Service, documents::items, open_sale, wait_until};

#[test]
fn connections_past_the_limit_are_told_so_and_the_others_go_on() {
    let service = Service::start_with(|config| config.limits.connections_max = 4);
    let mut clients: Vec<Client> = (0..4).map(|_| service.client()).collect();
    clients[0].put_open_sale("drop", [("tv", 100)]);
    for (number, client) in clients.iter_mut().enumerate() {
        client.hold("drop", &format!("customer-{number}"), [("tv", 1)]);
    }
    for _ in 0..10 {
        let mut silent = service.connect();
        silent.answer().refused("overloaded");
        silent.closed_within(PATIENCE);
        let mut asking = service.connect();
        asking.send(&Ask::new("GET", "/v1/sales/drop").encode()).unwrap();
        asking.answer().refused("overloaded");
    }
    for client in &mut clients {
        assert_eq!(client.sale("drop")["status"], "open");
    }
    drop(clients.pop());
    wait_until("the place that was left is free", || {
        let mut connection = service.connect();
        // Refused, or answered: a refusal may close before the request is out.
        let _ = connection.send(&Ask::new("GET", "/v1/sales/drop").encode());
        connection.try_answer(false).is_ok_and(|answer| answer.status == 200)
    });
}

/// Reserves one unit for each of many customers, one after the other, and gives what was granted.
fn reserve_for_many(client: &mut Client, customers: usize) -> Vec<Value> {
    let mut granted = Vec::new();
    for number in 0..customers {
        let answer = client.reserve("drop", &format!("customer-{number}"), [("tv", 1)]);
        if answer.status == 201 {
            granted.push(answer.reservation(201));
        } else {
            answer.refused("overloaded");
        }
    }
    granted
}

#[test]
fn reservations_past_the_limit_are_refused_and_those_that_are_there_go_on() {
    let service = Service::start_with(|config| {
        config.engine.shards = 1;
        config.engine.retention_seconds = 1;
        config.limits.reservations_max = 5;
    });
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 100)]);
    let ask =
        Ask::new("POST", "/v1/sales/drop/reservations").key("k").json(&crate::served::reserve_body("ann", [("tv", 1)]));
    let first = client.send(&ask).reservation(201);
    let held = reserve_for_many(&mut client, 20);
    assert_eq!(held.len(), 4);
    assert!(client.send(&ask).is_replayed(), "a repeat is no new reservation");
    client.act(&held[0], "extend", json!({ "hold_seconds": 700 })).reservation(200);
    client.act(&held[0], "confirm", json!({})).reservation(200);
    client.act(&held[1], "release", json!({})).reservation(200);
    assert_eq!(client.look(&first), first);
    // What is over stays known for its retention, and counts until then.
    client.reserve("drop", "zoe", [("tv", 1)]).refused("overloaded");
    wait_until("what is over has left memory", || client.reserve("drop", "zoe", [("tv", 1)]).status == 201);
}

#[test]
fn the_limit_of_reservations_is_that_of_all_shards_together() {
    let service = Service::start_with(|config| {
        config.engine.shards = 8;
        config.limits.reservations_max = 16;
    });
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1000)]);
    assert_eq!(reserve_for_many(&mut client, 200).len(), 16);
    assert_eq!(client.units("drop", "tv"), [1000, 984, 16, 0]);
}

#[test]
fn new_customers_past_the_limit_are_refused_and_those_known_go_on() {
    let service = Service::start_with(|config| {
        config.engine.shards = 1;
        config.limits.customers_max = 3;
    });
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 100)]);
    let held = reserve_for_many(&mut client, 10);
    assert_eq!(held.len(), 3);
    client.act(&held[2], "confirm", json!({})).reservation(200);
    client.act(&held[1], "release", json!({})).reservation(200);
    // A customer who is known already takes no further place.
    client.hold("drop", "customer-0", [("tv", 1)]);
}

#[test]
fn sales_past_the_limit_are_refused_and_those_that_are_there_can_change() {
    let service = Service::start_with(|config| config.limits.sales_max = 2);
    let mut client = service.client();
    client.put_open_sale("one", [("tv", 1)]);
    client.put_open_sale("two", [("tv", 1)]);
    client.put("/v1/sales/three", &open_sale(items([("tv", 1)]))).refused("overloaded");
    client.get("/v1/sales/three").refused("sale_not_found");
    client.put("/v1/sales/two", &open_sale(items([("tv", 1), ("mug", 1)]))).success(200);
    client.post_nothing("/v1/sales/one/close").success(200);
    client.put("/v1/sales/three", &open_sale(items([("tv", 1)]))).refused("overloaded");
    client.hold("two", "ann", [("mug", 1)]);
}

#[test]
fn items_past_the_limit_are_refused_and_those_that_are_there_can_change() {
    let service = Service::start_with(|config| (config.limits.items_max, config.limits.items_per_sale_max) = (3, 3));
    let mut client = service.client();
    client.put_open_sale("one", [("a", 1), ("b", 1)]);
    client.put("/v1/sales/two", &open_sale(items([("a", 1), ("b", 1)]))).refused("overloaded");
    client.put_open_sale("two", [("a", 1)]);
    client.put("/v1/sales/one", &open_sale(items([("a", 1), ("b", 1), ("c", 1)]))).refused("overloaded");
    client.put("/v1/sales/one", &open_sale(items([("a", 1), ("b", 1)]))).success(200);
    let four = items([("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
    assert_eq!(client.put("/v1/sales/one", &open_sale(four)).pointers(), ["/items"]);
    assert_eq!(client.sale("one")["items"].as_array().unwrap().len(), 2);
    client.hold("one", "ann", [("a", 1)]);
}

/// A sale document of about half a megabyte: a quick way to fill a journal.
fn large_sale(name: &str) -> Value {
    let items: Vec<Value> =
        (0..5000).map(|number| json!({ "sku": format!("{number:064}"), "initial_stock": 1 })).collect();
    crate::served::documents::with(open_sale(Value::Array(items)), json!({ "name": name }))
}

#[test]
fn a_store_that_stands_still_stops_new_reservations_and_nothing_else() {
    let service = Service::start_with(|config| {
        config.journal.max_backlog_bytes = 2 << 20;
        config.store.retry_ms_max = 50;
    });
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 100)]);
    let held: Vec<Value> = (0..3).map(|_| client.hold("drop", "ann", [("tv", 1)])).collect();
    let ask =
        Ask::new("POST", "/v1/sales/drop/reservations").key("k").json(&crate::served::reserve_body("ann", [("tv", 1)]));
    client.send(&ask).reservation(201);
    service.wait_for_store();

    // Somebody else has the database and does not let go of it.
    let database = rusqlite::Connection::open(service.config.store_path()).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    let mut number = 0;
    while client.reserve("drop", "bob", [("tv", 1)]).status == 201 {
        number += 1;
        assert!(started.elapsed() < Duration::from_secs(30) && number < 50, "reservations go on without a store");
        client.put("/v1/sales/large", &large_sale(&format!("number {number}")));
        thread::sleep(Duration::from_millis(20));
    }
    client.reserve("drop", "bob", [("tv", 1)]).refused("backlog_full");
    assert!(client.send(&ask).is_replayed(), "a repeat is no new reservation");
    client.act(&held[0], "confirm", json!({})).reservation(200);
    client.act(&held[1], "release", json!({})).reservation(200);
    client.act(&held[2], "extend", json!({ "hold_seconds": 700 })).reservation(200);
    assert_eq!(client.look(&held[0])["state"], "confirmed");
    let ready = service.ops().get("/readyz");
    let details = ready.json();
    assert_eq!((ready.status, &details["status"]), (200, &json!("ready")), "the store may be slow, down or away");
    assert_eq!(details["store"]["backlog_full"], true);
    assert!(details["store"]["lag_epochs"].as_u64().unwrap() > 0, "{details}");
    assert!(details["store"]["backlog_bytes"].as_u64().unwrap() > 2 << 20, "{details}");

    database.execute_batch("ROLLBACK").unwrap();
    wait_until("reservations are taken again", || client.reserve("drop", "bob", [("tv", 1)]).status == 201);
    service.wait_for_store();
}

#[test]
fn hundreds_of_connections_at_once_are_served() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 500)]);
    let mut connections: Vec<Connection> = (0..300).map(|_| service.connect()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        let body = crate::served::reserve_body(&format!("customer-{number}"), [("tv", 2)]);
        connection.send(&Ask::new("POST", "/v1/sales/drop/reservations").json(&body).encode()).unwrap();
    }
    let granted = connections.iter_mut().map(Connection::answer).filter(|answer| answer.status == 201).count();
    assert_eq!(granted, 250);
    assert_eq!(client.units("drop", "tv"), [500, 0, 500, 0]);
}
