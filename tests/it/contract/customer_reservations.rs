//! What memory has of one customer in one sale.

use std::{thread, time::Duration};

use doorbuster::auth::Role;
use serde_json::{Value, json};

use super::keys::{Keys, put, reserve};
use crate::served::{
    Ask, Client, Service,
    documents::{items, with},
    open_sale, shapes, wait_until,
};

fn of(client: &mut Client, sale: &str, customer: &str) -> Value {
    let told = client.get(&format!("/v1/sales/{sale}/reservations?customer={customer}")).success(200);
    told["reservations"].as_array().unwrap().iter().for_each(shapes::check_reservation);
    told
}

#[test]
fn all_of_the_customer_in_the_sale_is_told_the_newest_first_with_units_against_limits() {
    let service = Service::start();
    let mut client = service.client();
    let two = json!([
        { "sku": "tv", "initial_stock": 100 },
        { "sku": "mug", "initial_stock": 100, "customer_limit": 9 },
    ]);
    client.put("/v1/sales/drop", &with(open_sale(two), json!({ "customer_limit": 5 }))).success(201);
    client.put_open_sale("other", [("tv", 100)]);
    assert_eq!(
        of(&mut client, "drop", "ann"),
        json!({ "reservations": [], "limits": [
            { "sku": "tv", "limit": 5, "already": 0 }, { "sku": "mug", "limit": 9, "already": 0 },
        ] })
    );
    let first = client.hold("drop", "ann", [("tv", 2)]);
    // Those of one millisecond have no order.
    thread::sleep(Duration::from_millis(2));
    let second = client.hold("drop", "ann", [("tv", 1), ("mug", 3)]);
    thread::sleep(Duration::from_millis(2));
    let third = client.hold("drop", "ann", [("mug", 4)]);
    let elsewhere = client.hold("other", "ann", [("tv", 7)]);
    client.hold("drop", "bob", [("tv", 5)]);
    let second = client.act(&second, "confirm", json!({ "reference": "order-1" })).reservation(200);
    let third = client.act(&third, "release", json!({})).reservation(200);
    assert_eq!(
        of(&mut client, "drop", "ann"),
        json!({ "reservations": [third, second, first], "limits": [
            { "sku": "tv", "limit": 5, "already": 3 }, { "sku": "mug", "limit": 9, "already": 3 },
        ] })
    );
    // What it says is left of the limit is what may be reserved.
    client.reserve("drop", "ann", [("tv", 3)]).refused("customer_limit_exceeded");
    client.hold("drop", "ann", [("tv", 2)]);
    assert_eq!(of(&mut client, "drop", "ann")["limits"][0]["already"], 5);
    assert_eq!(of(&mut client, "other", "ann"), json!({ "reservations": [elsewhere], "limits": [] }));
    let head = client.send(&Ask::new("HEAD", "/v1/sales/drop/reservations?customer=ann"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    // Whom nobody is any more has nothing.
    client.send(&Ask::new("DELETE", "/v1/customers/ann")).success(200);
    let told = of(&mut client, "drop", "ann");
    assert_eq!((&told["reservations"], &told["limits"][0]["already"]), (&json!([]), &json!(0)));
}

#[test]
fn a_hold_whose_time_is_over_is_told_as_expired_and_counts_no_longer() {
    let service = Service::start();
    let mut client = service.client();
    client.put("/v1/sales/drop", &with(open_sale(items([("tv", 9)])), json!({ "customer_limit": 5 }))).success(201);
    let body = json!({ "customer": "ann", "lines": [{ "sku": "tv", "quantity": 2 }], "hold_seconds": 1 });
    client.post("/v1/sales/drop/reservations", &body).reservation(201);
    wait_until("it has expired", || {
        let told = of(&mut client, "drop", "ann");
        let (state, already) = (&told["reservations"][0]["state"], &told["limits"][0]["already"]);
        let pair = (state.as_str().unwrap().to_owned(), already.as_u64().unwrap());
        assert!([("held".to_owned(), 2), ("expired".to_owned(), 0)].contains(&pair), "{pair:?}");
        pair.1 == 0
    });
}

#[test]
fn of_many_the_newest_are_told_and_how_many_there_are() {
    let service = Service::start_with(|config| config.limits.customer_reservations_max = 3);
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 100)]);
    let all: Vec<Value> = (0..8).map(|_| client.hold("drop", "ann", [("tv", 1)])).collect();
    let told = of(&mut client, "drop", "ann");
    // Those of one millisecond have no order.
    let newest: Vec<_> = told["reservations"].as_array().unwrap().iter().map(|each| &each["created_at"]).collect();
    let expected: Vec<_> = all.iter().rev().take(3).map(|each| &each["created_at"]).collect();
    assert_eq!((newest, &told["reservations_total"]), (expected, &json!(8)));
    assert_eq!(of(&mut client, "drop", "bob").get("reservations_total"), None);
}

#[test]
fn the_customer_is_asked_for_in_the_query() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 100)]);
    let held = client.hold("drop", "ann & b+c/\u{fc}", [("tv", 1)]);
    for written in ["ann%20%26%20b%2Bc%2F%C3%BC", "ann+%26+b%2bc/%c3%bc"] {
        assert_eq!(of(&mut client, "drop", written)["reservations"], json!([held]), "{written}");
    }
    let long = "x".repeat(65);
    let mut pointer = |query: &str| {
        let refused = client.get(&format!("/v1/sales/drop/reservations{query}")).refused("invalid_request");
        refused["errors"][0]["pointer"].as_str().unwrap().to_owned()
    };
    for query in ["", "?", "?customer", "?customer=", "?customer=a%00", "?customer=a&customer=a"] {
        assert_eq!(pointer(query), "/customer", "{query}");
    }
    assert_eq!(pointer(&format!("?customer={long}")), "/customer");
    assert_eq!(pointer("?customer=ann&limit=1"), "/limit");
    client.get("/v1/sales/none/reservations?customer=ann").refused("sale_not_found");
    let allowed = client.send(&Ask::new("PUT", "/v1/sales/drop/reservations"));
    assert_eq!(allowed.header("allow"), Some("GET, HEAD, POST"));
}

#[test]
fn a_checkout_key_of_the_sale_may_ask() {
    let keys = Keys::all_roles().add("summer", Role::Checkout, &["summer-*"]);
    let service = keys.serve();
    let mut client = service.client();
    for sale in ["summer-1", "winter-1"] {
        keys.send(&mut client, "operator", put(sale)).success(201);
        keys.send(&mut client, "checkout", reserve(sale)).success(201);
    }
    let ask = |sale: &str| Ask::new("GET", &format!("/v1/sales/{sale}/reservations?customer=ann"));
    client.send(&ask("summer-1")).refused("unauthenticated");
    keys.send(&mut client, "viewer", ask("summer-1")).refused("forbidden");
    for name in ["checkout", "operator", "summer"] {
        let told = keys.send(&mut client, name, ask("summer-1")).success(200);
        assert_eq!(told["reservations"].as_array().unwrap().len(), 1, "{name}");
    }
    let hidden = keys.send(&mut client, "summer", ask("winter-1")).refused("sale_not_found");
    assert_eq!(hidden, keys.send(&mut client, "summer", ask("summer-9")).refused("sale_not_found"));
}
