//! An orderly end and what comes after it: nothing in flight is lost, and everything is there again.

use std::{collections::BTreeMap, sync::mpsc, thread, time::Duration};

use serde_json::{Value, json};

use doorbuster::sale::ids::ReservationId;

use crate::served::{
    Ask, Client, PATIENCE, Service,
    documents::{address, as_made, items, lines, with},
    open_sale, reserve_body, shapes, wait_until,
};

#[test]
fn requests_in_flight_finish_and_later_ones_are_refused() {
    let mut service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let request = Ask::new("POST", "/v1/sales/drop/reservations").json(&reserve_body("ann", [("tv", 1)])).encode();
    let (first_half, second_half) = request.split_at(request.len() - 10);
    let mut in_flight: Vec<_> = (0..3).map(|_| service.connect()).collect();
    in_flight.iter_mut().for_each(|connection| connection.send(first_half).unwrap());
    let mut idle = service.connect();
    idle.send(&Ask::new("GET", "/v1/sales/drop").encode()).unwrap();
    idle.answer().success(200);
    // The heads have come to where they wait for the rest.
    thread::sleep(Duration::from_millis(200));

    let mut ops = service.ops();
    let address = service.address();
    let running = service.take();
    let (stopped, stop) = mpsc::channel();
    thread::spawn(move || stopped.send(running.stop()));
    wait_until("readiness says draining", || ops.get("/readyz").status == 503);
    assert_eq!(ops.get("/readyz").json()["status"], "draining");
    assert_eq!(ops.get("/livez").status, 200);
    wait_until("nobody is let in", || std::net::TcpStream::connect(address).is_err());
    idle.closed_within(PATIENCE);
    stop.try_recv().expect_err("the service waits for what is in flight");

    let held: Vec<Value> = in_flight
        .iter_mut()
        .map(|connection| {
            connection.send(second_half).unwrap();
            connection.answer().reservation(201)
        })
        .collect();
    for connection in &mut in_flight {
        connection.closed_within(PATIENCE);
    }
    stop.recv_timeout(PATIENCE).expect("it stops").expect("in good order");

    service.start_again();
    let mut client = service.client();
    for held in &held {
        assert_eq!(client.look(held), *held);
    }
    assert_eq!(client.units("drop", "tv"), [10, 7, 3, 0]);
}

#[test]
fn a_request_that_never_ends_does_not_keep_the_service_from_stopping() {
    let mut service = Service::start_with(|config| {
        config.limits.drain_seconds = 1;
        config.limits.body_read_seconds = 600;
    });
    service.client().put_open_sale("drop", [("tv", 10)]);
    let mut connection = service.connect();
    connection.send(b"POST /v1/sales/drop/reservations HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").unwrap();
    thread::sleep(Duration::from_millis(200));
    let started = std::time::Instant::now();
    service.stop();
    assert!(started.elapsed() < PATIENCE, "took {:?}", started.elapsed());
}

/// Does something of everything, and gives every reservation as it was last answered.
fn live_through(client: &mut Client) -> BTreeMap<String, Value> {
    let document = json!([
        { "sku": "tv", "initial_stock": 100, "price": { "amount": 19900, "currency": "EUR" }, "customer_limit": 30 },
        { "sku": "mug", "initial_stock": 50 },
    ]);
    client.put("/v1/sales/drop", &with(open_sale(document), json!({ "max_extensions": 3 }))).success(201);
    client.put("/v1/sales/paused", &open_sale(items([("größe", 5)]))).success(201);
    client.post_nothing("/v1/sales/paused/pause").success(200);
    client.put("/v1/sales/closed", &open_sale(items([("tv", 5)]))).success(201);
    client.post_nothing("/v1/sales/closed/close").success(200);
    client
        .post("/v1/sales/drop/items/tv/adjustments", &json!({ "delta": 7, "reason": "pallet", "reference": "po" }))
        .success(201);
    client.post("/v1/sales/drop/items/mug/adjustments", &json!({ "delta": -5 })).success(201);
    let mut known = BTreeMap::new();
    for number in 0..40 {
        let body = json!({
            "customer": format!("customer-{}", number % 7), "lines": lines([("tv", 1), ("mug", 1)]),
            "reference": format!("cart-{number}"),
        });
        let ask = Ask::new("POST", "/v1/sales/drop/reservations").key(&format!("key-{number}")).json(&body);
        let held = client.send(&ask).reservation(201);
        let latest = match number % 5 {
            0 => client.act(&held, "confirm", json!({ "reference": format!("order-{number}") })).reservation(200),
            1 => client.act(&held, "release", json!({ "reason": "changed my mind" })).reservation(200),
            2 => client.act(&held, "extend", json!({ "hold_seconds": 900 })).reservation(200),
            3 => client.post_nothing(&format!("{}/confirm", address(&held))).reservation(200),
            _ => held,
        };
        known.insert(latest["id"].as_str().unwrap().to_owned(), latest);
    }
    let short = json!({ "customer": "late", "lines": lines([("tv", 2)]), "hold_seconds": 1 });
    let expiring = client.post("/v1/sales/drop/reservations", &short).reservation(201);
    wait_until("the hold has expired", || client.look(&expiring)["state"] == "expired");
    known.insert(expiring["id"].as_str().unwrap().to_owned(), client.look(&expiring));
    known
}

#[test]
fn everything_is_there_after_a_restart_whatever_the_shards() {
    let mut service = Service::start();
    let mut client = service.client();
    let known = live_through(&mut client);
    let list = client.get("/v1/sales").success(200);
    let digest = service.running().engine.digest();
    for shards in [1, 7, 4] {
        service.stop();
        service.config.engine.shards = shards;
        service.start_again();
        let mut client = service.client();
        assert_eq!(service.running().engine.digest(), digest);
        assert_eq!(client.get("/v1/sales").success(200), list);
        for reservation in known.values() {
            assert_eq!(client.look(reservation), *reservation);
        }
        // Keys and limits are remembered as well.
        let first = known.values().find(|known| known["reference"] == "cart-4").unwrap();
        let body = json!({
            "customer": first["customer"], "lines": lines([("mug", 1), ("tv", 1)]), "reference": "cart-4",
        });
        let replay = client.send(&Ask::new("POST", "/v1/sales/drop/reservations").key("key-4").json(&body));
        assert!(replay.is_replayed());
        assert_eq!(as_made(replay.reservation(201)), *first);
        client.reserve("drop", "customer-0", [("tv", 30)]).refused("customer_limit_exceeded");
    }
}

#[test]
fn the_store_has_what_the_api_had() {
    let mut service = Service::start();
    let mut client = service.client();
    let known = live_through(&mut client);
    let sale = client.sale("drop");
    service.stop();
    let store = service.store();

    let mut totals = store.totals().unwrap();
    assert!(totals.iter().all(|row| row.stored == row.recomputed), "{totals:?}");
    totals.retain(|row| row.pool.is_none());
    assert_eq!(totals.len(), 4);
    for item in sale["items"].as_array().unwrap() {
        let row = totals.iter().find(|row| row.sale == "drop" && row.sku == item["sku"].as_str().unwrap()).unwrap();
        assert_eq!(row.stored, row.recomputed);
        let stored = [row.stored.stock, row.stored.available, row.stored.held, row.stored.confirmed];
        assert_eq!(stored, ["stock", "available", "held", "confirmed"].map(|member| item[member].as_i64().unwrap()));
    }
    let counts = store.count_by_state().unwrap();
    assert_eq!([counts.held, counts.confirmed, counts.released, counts.expired], [16, 16, 8, 1]);
    for (id, reservation) in &known {
        let row = store.reservation(&ReservationId::parse(id).unwrap()).unwrap().expect("a row");
        assert_eq!(shapes::as_document(&row), *reservation);
        let reason = (reservation["state"] == "released").then_some("changed my mind");
        assert_eq!(row.release_reason.as_deref(), reason);
    }
}
