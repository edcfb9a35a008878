//! Reservations: reserve, look, confirm, release, extend, and the limits that a sale sets.

use serde_json::{Value, json};

use crate::served::{
    Feed, Service,
    documents::{address, items, only, with},
    lines, now_millis, open_sale,
    shapes::check_time,
};

#[test]
fn a_reservation_shows_what_was_asked() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10), ("mug", 10)]);
    let before = now_millis();
    let body = json!({ "customer": "ann", "lines": lines([("tv", 2), ("mug", 1)]), "reference": "cart-1" });
    let answer = client.post("/v1/sales/drop/reservations", &body);
    let after = now_millis();
    let held = answer.reservation(201);
    assert_eq!(answer.header("location"), Some(address(&held).as_str()));
    assert!(!answer.is_replayed());
    let told = only(&held, &["sale", "customer", "state", "lines", "reference", "extensions"]);
    let expected = json!({
        "sale": "drop", "customer": "ann", "state": "held", "lines": lines([("tv", 2), ("mug", 1)]),
        "reference": "cart-1", "extensions": 0,
    });
    assert_eq!(told, expected);
    let created_at = check_time(&held["created_at"]);
    assert!((before..=after).contains(&created_at), "created at {created_at}, not in {before}..={after}");
    assert_eq!(check_time(&held["expires_at"]), created_at + 600_000, "the sale's hold_seconds");

    assert_eq!(client.look(&held), held);
    assert_eq!(client.units("drop", "tv"), [10, 8, 2, 0]);
    assert_eq!(client.units("drop", "mug"), [10, 9, 1, 0]);
}

#[test]
fn the_hold_may_be_shorter_or_longer_than_the_sales() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    for seconds in [1, 599, 601, 86_400] {
        let body = json!({ "customer": "ann", "lines": lines([("tv", 1)]), "hold_seconds": seconds });
        let held = client.post("/v1/sales/drop/reservations", &body).reservation(201);
        assert_eq!(check_time(&held["expires_at"]) - check_time(&held["created_at"]), seconds * 1000);
    }
}

#[test]
fn the_same_sku_twice_is_summed_before_any_check() {
    let service = Service::start();
    let mut client = service.client();
    let limited =
        json!([{ "sku": "tv", "initial_stock": 5 }, { "sku": "mug", "initial_stock": 9, "customer_limit": 3 }]);
    client.put("/v1/sales/drop", &open_sale(limited)).success(201);
    let refused = client.reserve("drop", "ann", [("tv", 3), ("tv", 3)]).refused("insufficient_stock");
    assert_eq!(refused["lines"], json!([{ "sku": "tv", "requested": 6, "available": 5, "held": 0 }]));
    let refused = client.reserve("drop", "ann", [("mug", 2), ("tv", 1), ("mug", 2)]).refused("customer_limit_exceeded");
    assert_eq!(only(&refused, &["sku", "limit", "already"]), json!({ "sku": "mug", "limit": 3, "already": 0 }));
    let held = client.hold("drop", "ann", [("tv", 2), ("mug", 1), ("tv", 3)]);
    assert_eq!(held["lines"], lines([("tv", 5), ("mug", 1)]));
    // Twenty lines may be asked; that two of them are one item does not make room for a twenty-first.
    let many: Vec<Value> = (0..21).map(|_| json!({ "sku": "mug", "quantity": 1 })).collect();
    let body = json!({ "customer": "bob", "lines": many });
    assert_eq!(client.post("/v1/sales/drop/reservations", &body).pointers(), ["/lines"]);
}

#[test]
fn all_lines_are_held_or_none() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 2), ("mug", 2), ("pan", 2)]);
    let bobs = client.hold("drop", "bob", [("mug", 2)]);
    let asked = [("tv", 1), ("mug", 1), ("pan", 3)];
    let refused = client.reserve("drop", "ann", asked).refused("sold_out");
    let short = json!([
        { "sku": "mug", "requested": 1, "available": 0, "held": 2, "next_release_at": bobs["expires_at"] },
        { "sku": "pan", "requested": 3, "available": 2, "held": 0 },
    ]);
    assert_eq!(refused["lines"], short, "the lines that are short, and only they");
    let refused = client.reserve("drop", "ann", [("tv", 2), ("pan", 3)]).refused("insufficient_stock");
    assert_eq!(refused["lines"], json!([{ "sku": "pan", "requested": 3, "available": 2, "held": 0 }]));
    assert_eq!(client.units("drop", "tv"), [2, 2, 0, 0]);
    assert_eq!(client.units("drop", "pan"), [2, 2, 0, 0]);
    client.reserve("drop", "ann", [("tv", 1), ("car", 1)]).refused("item_not_found");
}

#[test]
fn the_last_unit_is_sold_once_and_comes_back_with_a_release() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    let held = client.hold("drop", "ann", [("tv", 1)]);
    for _ in 0..3 {
        let refused = client.reserve("drop", "bob", [("tv", 1)]).refused("sold_out");
        let next_release_at = &held["expires_at"];
        let line =
            json!({ "sku": "tv", "requested": 1, "available": 0, "held": 1, "next_release_at": next_release_at });
        assert_eq!(refused["lines"], json!([line]));
    }
    client.act(&held, "release", json!({})).reservation(200);
    client.hold("drop", "bob", [("tv", 1)]);
    client.reserve("drop", "ann", [("tv", 1)]).refused("sold_out");
    assert_eq!(client.units("drop", "tv"), [1, 0, 1, 0]);
}

#[test]
fn the_whole_stock_can_be_had_in_one_reservation_whatever_the_shards() {
    let service = Service::start_with(|config| config.engine.shards = 16);
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1000)]);
    let held = client.hold("drop", "ann", [("tv", 1000)]);
    client.act(&held, "release", json!({})).reservation(200);
    // Units that came back to one customer's shard are there for every other customer.
    for number in 0..10 {
        client.hold("drop", &format!("customer-{number}"), [("tv", 100)]);
    }
    client.reserve("drop", "bob", [("tv", 1)]).refused("sold_out");
}

#[test]
fn confirm_is_final_and_repeatable() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let held = client.hold("drop", "ann", [("tv", 2)]);
    let before = now_millis();
    let confirmed = client.act(&held, "confirm", json!({ "reference": "order-9" })).reservation(200);
    let confirmed_at = check_time(&confirmed["confirmed_at"]);
    assert!((before..=now_millis()).contains(&confirmed_at));
    let expected = with(
        held.clone(),
        json!({
            "state": "confirmed", "reference": "order-9", "confirmed_at": confirmed["confirmed_at"],
        }),
    );
    assert_eq!(confirmed, expected);
    assert_eq!(client.units("drop", "tv"), [10, 8, 0, 2]);

    assert_eq!(client.act(&held, "confirm", json!({ "reference": "order-9" })).reservation(200), confirmed);
    let refused = client.act(&held, "confirm", json!({ "reference": "order-10" })).refused("already_confirmed");
    assert_eq!(refused["reservation"], confirmed, "a second payment must not pass for the first");
    assert!(refused["detail"].as_str().unwrap().contains("\"order-9\""), "{refused}");
    assert_eq!(client.post_nothing(&format!("{}/confirm", address(&held))).reservation(200), confirmed);
    assert_eq!(client.look(&held), confirmed);
    for (verb, body) in [("release", json!({})), ("extend", json!({ "hold_seconds": 60 }))] {
        assert_eq!(client.act(&held, verb, body).refused("already_confirmed")["reservation"], confirmed);
    }
    assert_eq!(client.units("drop", "tv"), [10, 8, 0, 2]);
}

#[test]
fn confirming_without_a_reference_keeps_that_of_the_hold() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let body = json!({ "customer": "ann", "lines": lines([("tv", 1)]), "reference": "cart-1" });
    let held = client.post("/v1/sales/drop/reservations", &body).reservation(201);
    let confirmed = client.post_nothing(&format!("{}/confirm", address(&held))).reservation(200);
    assert_eq!(confirmed["reference"], "cart-1");
    assert_eq!(client.act(&held, "confirm", json!({ "reference": "cart-1" })).reservation(200), confirmed);
    client.act(&held, "confirm", json!({ "reference": "order-1" })).refused("already_confirmed");
    let bare = client.hold("drop", "bob", [("tv", 1)]);
    let confirmed = client.act(&bare, "confirm", json!({})).reservation(200);
    assert_eq!(confirmed.get("reference"), None);
    let refused = client.act(&bare, "confirm", json!({ "reference": "order-2" })).refused("already_confirmed");
    assert_eq!(refused["reservation"], confirmed, "a reference that comes later is another one");
    assert_eq!(client.act(&bare, "confirm", json!({ "reference": null })).reservation(200), confirmed);
}

#[test]
fn release_is_final_and_repeatable() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let held = client.hold("drop", "ann", [("tv", 2)]);
    let released = client.act(&held, "release", json!({ "reason": "cart emptied" })).reservation(200);
    let change = json!({ "state": "released", "released_at": released["released_at"] });
    assert_eq!(released, with(held.clone(), change));
    assert_eq!(client.units("drop", "tv"), [10, 10, 0, 0]);
    for body in [json!({ "reason": "cart emptied" }), json!({ "reason": "another" }), json!({})] {
        assert_eq!(client.act(&held, "release", body).reservation(200), released);
    }
    assert_eq!(client.look(&held), released);
    for (verb, body) in [("confirm", json!({})), ("extend", json!({ "hold_seconds": 60 }))] {
        assert_eq!(client.act(&held, verb, body).refused("already_released")["reservation"], released);
    }
    assert_eq!(client.units("drop", "tv"), [10, 10, 0, 0], "units come back once");
}

#[test]
fn extend_moves_the_end_and_never_backwards() {
    let service = Service::start();
    let mut client = service.client();
    let sale = with(open_sale(items([("tv", 10)])), json!({ "max_extensions": 2 }));
    client.put("/v1/sales/drop", &sale).success(201);
    let held = client.hold("drop", "ann", [("tv", 1)]);
    let first_end = check_time(&held["expires_at"]);

    let before = now_millis();
    let longer = client.act(&held, "extend", json!({ "hold_seconds": 1200 })).reservation(200);
    let end = check_time(&longer["expires_at"]);
    assert!(
        (before..=now_millis()).contains(&(end - 1_200_000)),
        "now and the seconds asked, not added to the old end"
    );
    assert!(end > first_end);
    assert_eq!(longer, with(held.clone(), json!({ "expires_at": longer["expires_at"], "extensions": 1 })));

    for seconds in [1, 60, 1199] {
        let shorter = client.act(&held, "extend", json!({ "hold_seconds": seconds })).reservation(200);
        assert_eq!(shorter, longer, "what does not make the hold last longer changes nothing and does not count");
    }
    let second = client.act(&held, "extend", json!({ "hold_seconds": 2400 })).reservation(200);
    assert_eq!(second["extensions"], 2);
    let refused = client.act(&held, "extend", json!({ "hold_seconds": 5000 })).refused("extension_limit_reached");
    assert_eq!(refused["reservation"], second);
    let unchanged = client.act(&held, "extend", json!({ "hold_seconds": 1 })).reservation(200);
    assert_eq!(unchanged, second, "the limit refuses what would be an extension");
    assert_eq!(client.look(&held), second);
    // The feed tells of the two that were.
    client.act(&held, "release", json!({})).reservation(200);
    let told = Feed::lines(service.address(), "?after=0").until(|told| told.kind == "reservation.released");
    let extended = told.iter().filter(|told| told.kind == "reservation.extended");
    assert_eq!(extended.map(|told| told.data()["extensions"].clone()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_sale_may_forbid_extensions_and_the_service_caps_them() {
    let service = Service::start_with(|config| config.limits.extensions_max = 2);
    let mut client = service.client();
    let sale = open_sale(items([("tv", 10)]));
    client.put("/v1/sales/none", &with(sale.clone(), json!({ "max_extensions": 0 }))).success(201);
    client.put("/v1/sales/some", &sale).success(201);
    let body = |seconds| json!({ "hold_seconds": seconds });
    let held = client.hold("none", "ann", [("tv", 1)]);
    assert_eq!(client.act(&held, "extend", body(700)).refused("extension_limit_reached")["reservation"], held);
    let held = client.hold("some", "ann", [("tv", 1)]);
    // Each moves the end, even if all arrive within a millisecond: an extension that does not is not counted.
    for seconds in [700, 701] {
        client.act(&held, "extend", body(seconds)).reservation(200);
    }
    client.act(&held, "extend", body(702)).refused("extension_limit_reached");
}

#[test]
fn the_price_is_locked_when_the_hold_is_made() {
    let service = Service::start();
    let mut client = service.client();
    let priced =
        |amount| json!([{ "sku": "tv", "initial_stock": 10, "price": { "amount": amount, "currency": "EUR" } }]);
    client.put("/v1/sales/drop", &open_sale(priced(19_900))).success(201);
    let first = client.hold("drop", "ann", [("tv", 1)]);
    client.put("/v1/sales/drop", &open_sale(priced(24_900))).success(200);
    let second = client.hold("drop", "bob", [("tv", 1)]);
    client.put("/v1/sales/drop", &open_sale(items([("tv", 10)]))).success(200);
    let third = client.hold("drop", "cid", [("tv", 1)]);

    let line = |price: Value| with(json!({ "sku": "tv", "quantity": 1 }), json!({ "price": price }));
    let euros = |amount| json!([line(json!({ "amount": amount, "currency": "EUR" }))]);
    assert_eq!(first["lines"], euros(19_900));
    assert_eq!(second["lines"], euros(24_900));
    assert_eq!(third["lines"], json!([line(Value::Null)]));
    assert_eq!(client.look(&first)["lines"], euros(19_900));
    assert_eq!(client.act(&first, "confirm", json!({})).reservation(200)["lines"], euros(19_900));
}

#[test]
fn the_limit_of_a_customer_counts_what_is_held_and_confirmed() {
    let service = Service::start();
    let mut client = service.client();
    let sale = with(open_sale(items([("tv", 100), ("mug", 100)])), json!({ "customer_limit": 3 }));
    client.put("/v1/sales/drop", &sale).success(201);
    let first = client.hold("drop", "ann", [("tv", 2)]);
    let exceeded = |already| json!({ "sku": "tv", "limit": 3, "already": already });
    let mut refused = |count| {
        let document = client.reserve("drop", "ann", [("tv", count)]).refused("customer_limit_exceeded");
        only(&document, &["sku", "limit", "already"])
    };
    assert_eq!(refused(2), exceeded(2));
    assert_eq!(refused(4), exceeded(2));
    client.hold("drop", "ann", [("mug", 3)]);
    client.hold("drop", "bob", [("tv", 3)]);
    let second = client.hold("drop", "ann", [("tv", 1)]);
    client.act(&first, "confirm", json!({})).reservation(200);
    let refused = client.reserve("drop", "ann", [("tv", 1)]).refused("customer_limit_exceeded");
    assert_eq!(only(&refused, &["sku", "limit", "already"]), exceeded(3), "confirmed units count");
    client.act(&second, "release", json!({})).reservation(200);
    client.hold("drop", "ann", [("tv", 1)]);

    // Limits are of one sale.
    client.put("/v1/sales/other", &sale).success(201);
    client.hold("other", "ann", [("tv", 3)]);
}

#[test]
fn the_limit_of_an_item_stands_before_that_of_its_sale() {
    let service = Service::start();
    let mut client = service.client();
    let items = json!([
        { "sku": "one", "initial_stock": 100, "customer_limit": 1 },
        { "sku": "ten", "initial_stock": 100, "customer_limit": 10 },
        { "sku": "sale", "initial_stock": 100 },
    ]);
    client.put("/v1/sales/drop", &with(open_sale(items), json!({ "customer_limit": 5 }))).success(201);
    for (sku, limit) in [("one", 1), ("ten", 10), ("sale", 5)] {
        client.hold("drop", "ann", [(sku, limit)]);
        let refused = client.reserve("drop", "ann", [(sku, 1)]).refused("customer_limit_exceeded");
        let expected = json!({ "sku": sku, "limit": limit, "already": limit });
        assert_eq!(only(&refused, &["sku", "limit", "already"]), expected);
    }
}

#[test]
fn a_limit_that_is_lowered_counts_what_was_held_before() {
    let service = Service::start();
    let mut client = service.client();
    let sale = open_sale(items([("tv", 100)]));
    client.put("/v1/sales/drop", &sale).success(201);
    client.hold("drop", "ann", [("tv", 5)]);
    client.put("/v1/sales/drop", &with(sale, json!({ "customer_limit": 4 }))).success(200);
    let refused = client.reserve("drop", "ann", [("tv", 1)]).refused("customer_limit_exceeded");
    assert_eq!(only(&refused, &["sku", "limit", "already"]), json!({ "sku": "tv", "limit": 4, "already": 5 }));
}

#[test]
fn reservations_that_do_not_exist_are_not_found_by_any_call() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    let held = client.hold("drop", "ann", [("tv", 1)]);
    let id = held["id"].as_str().unwrap();
    let other = format!("{}{}", &id[..35], if id.ends_with('0') { '1' } else { '0' });
    let version_4 = "6b7f1a52-8a0e-4f63-9d3c-1f2a3b4c5d6e";
    let bare = id.replace('-', "");
    let braced = format!("%7B{id}%7D");
    for id in [other.as_str(), version_4, &bare, &braced, "nonsense", "%20", "0"] {
        let path = format!("/v1/reservations/{id}");
        client.get(&path).refused("reservation_not_found");
        client.post(&format!("{path}/confirm"), &json!({})).refused("reservation_not_found");
        client.post(&format!("{path}/release"), &json!({})).refused("reservation_not_found");
        client.post(&format!("{path}/extend"), &json!({ "hold_seconds": 1 })).refused("reservation_not_found");
    }
    assert_eq!(client.look(&held), held);
}
