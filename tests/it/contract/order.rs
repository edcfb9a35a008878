//! The order of checks, pinned by requests that break two rules at once: the one that stands first is told.
//!
//! Every call, by its head alone:
//!  1. the target's length (414), 2. the headers' size (431), 3. `Accept` (406), 4. the path (404), 5. the method (405).
//!
//! Then: room for one more answer that waits (503), the key (401), its role (403) and its sales (404), the quotas of the key
//! and, for a reserve, of the sale (429). `keys.rs`, `rates.rs` and `attacks.rs` pin these.
//!
//! Then, where the call has them:
//!  6. a reservation's id has its form (404), or the `Idempotency-Key` has (400),
//!  7. the body: its type (415), that its length is told (411), its size (413), that it arrives (408), that it is JSON of
//!     the members asked (400), and then everything that is wrong with their values at once (400).
//!
//! Reserve: the customer's quota (429) → sale exists (404) → key known (201 again, or 422) → limits of the service (503) → sale open (409 ended, paused,
//! not started) → items exist (404) → stock (409) → customer's limits (409).
//!
//! Join a waitlist: the customer's quota (429) → sale exists (404) → it has a waitlist (409) → key known (201 again, or 422) → limits of
//! the service (503) → sale open (409) → items exist (404) → the customer waits already (409) → stock (409) → customer's limits (409) →
//! room (409).
//!
//! Batch: no `Idempotency-Key` (400), the body as above, with its shape (400), sale exists (404); then each entry: the sale's
//! quota (429), its length (413), its form and all its values (400), and on as a reserve.
//!
//! Adjustment: sale (404) → item (404) → key known (201 again, or 422) → available (409) → stock_max (400).
//!
//! Confirm, release, extend: reservation exists (404) → its state (409) → for extend, the number of extensions (409).
//!
//! PUT: the document (400) → sale not closed (409) → items as they were (400 or 409) → limits of the service (503).

use serde_json::{Value, json};

use crate::served::{
    Ask, Service,
    documents::{address, items, with},
    open_sale, reserve_body,
};

const RESERVE: &str = "/v1/sales/drop/reservations";

#[test]
fn the_head_is_judged_before_the_body_and_in_its_own_order() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    let long_path = format!("/nothing/{}", "x".repeat(2048));
    let large = "x".repeat(17_000);
    let html = |ask: Ask| ask.header("Accept", "text/html");
    let text = |ask: Ask| ask.header("Content-Type", "text/plain").bytes("x".repeat(70_000));
    for (code, ask) in [
        ("uri_too_long", text(html(Ask::new("BREW", &long_path).header("X-Large", &large)))),
        ("request_header_fields_too_large", text(html(Ask::new("BREW", "/nothing").header("X-Large", &large)))),
        ("not_acceptable", text(html(Ask::new("BREW", "/nothing")))),
        ("not_acceptable", text(html(Ask::new("BREW", RESERVE)))),
        ("not_found", text(Ask::new("BREW", "/nothing"))),
        ("method_not_allowed", text(Ask::new("BREW", RESERVE).key(""))),
        ("invalid_request", text(Ask::new("POST", RESERVE).key(""))),
        ("unsupported_media_type", text(Ask::new("POST", RESERVE))),
        ("unsupported_media_type", Ask::new("POST", RESERVE).header("Content-Type", "text/plain")),
        ("length_required", Ask::new("POST", RESERVE).header("Content-Type", "application/json")),
        ("content_too_large", Ask::new("POST", RESERVE).bytes("x".repeat(70_000))),
        ("content_too_large", Ask::new("POST", "/v1/sales/none/reservations").bytes("x".repeat(70_000))),
        ("invalid_request", Ask::new("POST", "/v1/sales/none/reservations").bytes("x")),
        ("invalid_request", Ask::new("POST", "/v1/sales/none/items/none/adjustments").bytes("{}")),
        ("invalid_request", Ask::new("POST", "/v1/sales/none/pause").bytes("[1]")),
        ("reservation_not_found", text(Ask::new("POST", "/v1/reservations/x/confirm"))),
        ("reservation_not_found", text(Ask::new("POST", "/v1/reservations/x/extend"))),
        ("unsupported_media_type", text(Ask::new("POST", &format!("/v1/reservations/{UNKNOWN}/confirm")))),
        ("invalid_request", Ask::new("POST", &format!("/v1/reservations/{UNKNOWN}/confirm")).bytes("x")),
        (
            "invalid_request",
            Ask::new("POST", &format!("/v1/reservations/{UNKNOWN}/extend")).bytes("{\"hold_seconds\":0}"),
        ),
    ] {
        let answer = client.send(&ask);
        assert_eq!(answer.refused(code)["code"], code, "{} {}", ask.method, ask.path);
    }
    assert_eq!(client.units("drop", "tv"), [1, 1, 0, 0]);
}

/// The id of no reservation, in the form of one.
const UNKNOWN: &str = "019a0000-0000-7000-8000-000000000000";

#[test]
fn form_and_values_are_judged_at_once() {
    let service = Service::start();
    let mut client = service.client();
    let wrong = json!({ "customer": "", "lines": [{ "sku": "", "quantity": 0 }], "hold_seconds": 0, "reference": "" });
    let mut pointers = client.post("/v1/sales/none/reservations", &wrong).pointers();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/customer", "/hold_seconds", "/lines/0/quantity", "/lines/0/sku", "/reference"]);
    // Also where the form is wrong: a caller mends everything at once.
    let malformed = with(wrong, json!({ "vip": true, "reference": 7 }));
    let mut pointers = client.post("/v1/sales/none/reservations", &malformed).pointers();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/customer", "/hold_seconds", "/lines/0/quantity", "/lines/0/sku", "/reference", "/vip"]);
}

#[test]
fn a_reserve_is_judged_in_its_order() {
    let service = Service::start();
    let mut client = service.client();
    let limited = json!([
        { "sku": "gone", "initial_stock": 0, "customer_limit": 1 },
        { "sku": "tv", "initial_stock": 5, "customer_limit": 1 },
    ]);
    client.put("/v1/sales/drop", &open_sale(limited)).success(201);
    let ask = |key: &str, body: Value| Ask::new("POST", RESERVE).key(key).json(&body);
    let first = client.send(&ask("k", reserve_body("ann", [("tv", 1)])));
    first.reservation(201);

    // Items exist, before stock, before limits.
    client.reserve("drop", "ann", [("gone", 1), ("car", 1)]).refused("item_not_found");
    client.reserve("drop", "ann", [("tv", 1), ("car", 1)]).refused("item_not_found");
    client.reserve("drop", "ann", [("tv", 1), ("gone", 1)]).refused("sold_out");
    client.reserve("drop", "ann", [("tv", 5)]).refused("insufficient_stock");
    client.reserve("drop", "ann", [("tv", 4)]).refused("customer_limit_exceeded");
    // A known key before all of them.
    for other in [("car", 1), ("gone", 1), ("tv", 5), ("tv", 4)] {
        client.send(&ask("k", reserve_body("ann", [other]))).refused("idempotency_key_reused");
    }

    // The sale's state before what is in it, and after the key.
    client.post_nothing("/v1/sales/drop/pause").success(200);
    client.reserve("drop", "bob", [("car", 1)]).refused("sale_paused");
    client.reserve("drop", "bob", [("gone", 1)]).refused("sale_paused");
    client.send(&ask("k", reserve_body("ann", [("car", 1)]))).refused("idempotency_key_reused");
    assert!(client.send(&ask("k", reserve_body("ann", [("tv", 1)]))).is_replayed());

    // Ended before paused before not started.
    let scheduled = with(open_sale(items([("tv", 1)])), json!({ "opens_at": "2198-01-01T00:00:00.000Z" }));
    client.put("/v1/sales/later", &scheduled).success(201);
    client.reserve("later", "ann", [("car", 1)]).refused("sale_not_started");
    client.post_nothing("/v1/sales/later/pause").success(200);
    client.reserve("later", "ann", [("car", 1)]).refused("sale_paused");
    client.post_nothing("/v1/sales/later/close").success(200);
    client.reserve("later", "ann", [("car", 1)]).refused("sale_ended");
    client.post_nothing("/v1/sales/drop/close").success(200);
    client.reserve("drop", "ann", [("car", 1)]).refused("sale_ended");
    assert!(client.send(&ask("k", reserve_body("ann", [("tv", 1)]))).is_replayed());
}

#[test]
fn the_services_limits_are_judged_after_the_key_and_before_the_sale() {
    let service = Service::start_with(|config| {
        config.engine.shards = 1;
        config.limits.reservations_max = 1;
    });
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 5), ("gone", 0)]);
    let ask = |body: Value| Ask::new("POST", RESERVE).key("k").json(&body);
    client.send(&ask(reserve_body("ann", [("tv", 1)]))).reservation(201);
    assert!(client.send(&ask(reserve_body("ann", [("tv", 1)]))).is_replayed());
    client.send(&ask(reserve_body("ann", [("tv", 2)]))).refused("idempotency_key_reused");
    client.reserve("none", "bob", [("tv", 1)]).refused("sale_not_found");
    client.reserve("drop", "bob", [("tv", 1)]).refused("overloaded");
    client.reserve("drop", "bob", [("tv", 6)]).refused("overloaded");
    client.reserve("drop", "bob", [("car", 1)]).refused("overloaded");
    client.post_nothing("/v1/sales/drop/pause").success(200);
    client.reserve("drop", "bob", [("tv", 1)]).refused("overloaded");
}

#[test]
fn an_adjustment_is_judged_in_its_order() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 5)]);
    let ask = |path: &str, delta: i64| Ask::new("POST", path).key("k").json(&json!({ "delta": delta }));
    client.send(&ask("/v1/sales/none/items/none/adjustments", 1)).refused("sale_not_found");
    client.send(&ask("/v1/sales/drop/items/none/adjustments", 1)).refused("item_not_found");
    let path = "/v1/sales/drop/items/tv/adjustments";
    client.send(&ask(path, 1)).success(201);
    client.send(&ask(path, -100)).refused("idempotency_key_reused");
    client.send(&ask(path, i64::MAX)).refused("idempotency_key_reused");
    client.post_nothing("/v1/sales/drop/close").success(200);
    assert!(client.send(&ask(path, 1)).is_replayed());
    client.post(path, &json!({ "delta": -6 })).success(201);
    client.post(path, &json!({ "delta": -1 })).refused("insufficient_stock");
}

#[test]
fn a_reservations_state_is_judged_before_its_extensions() {
    let service = Service::start();
    let mut client = service.client();
    let sale = with(open_sale(items([("tv", 5)])), json!({ "max_extensions": 0 }));
    client.put("/v1/sales/drop", &sale).success(201);
    let held = client.hold("drop", "ann", [("tv", 1)]);
    let extend = format!("{}/extend", address(&held));
    client.post(&extend, &json!({ "hold_seconds": 1200 })).refused("extension_limit_reached");
    client.act(&held, "release", json!({})).reservation(200);
    client.post(&extend, &json!({ "hold_seconds": 1 })).refused("already_released");
}

#[test]
fn a_sale_document_is_judged_in_its_order() {
    let service = Service::start_with(|config| {
        config.limits.sales_max = 1;
        (config.limits.items_max, config.limits.items_per_sale_max) = (2, 2);
    });
    let mut client = service.client();
    let put = |stock: Value| open_sale(stock);
    client.put("/v1/sales/drop", &put(items([("tv", 5), ("mug", 5)]))).success(201);
    client.put("/v1/sales/other", &put(items([]))).refused("invalid_request");
    client.put("/v1/sales/other", &put(items([("tv", 5)]))).refused("overloaded");
    let wrong = with(put(items([("tv", 6), ("mug", 5)])), json!({ "hold_seconds": 0 }));
    assert_eq!(client.put("/v1/sales/drop", &wrong).pointers(), ["/hold_seconds"]);
    client.put("/v1/sales/drop", &put(items([("tv", 6), ("mug", 5)]))).refused("initial_stock_immutable");
    client.post_nothing("/v1/sales/drop/close").success(200);
    client.put("/v1/sales/drop", &wrong).refused("invalid_request");
    client.put("/v1/sales/drop", &put(items([("tv", 6), ("mug", 5)]))).refused("sale_ended");
    client.put("/v1/sales/drop", &put(items([("tv", 5)]))).refused("sale_ended");
}
