//! Stock that is watched: `low_stock_at` and its event, and the call that says when items sell out.

use serde_json::{Value, json};

use crate::served::{
    Ask, Client, Feed, Service, Told,
    documents::{items, with},
    metrics::Scrape,
    now_millis, open_sale,
    shapes::{check_time, members},
    wait_until,
};

fn watched(low_stock_at: u64) -> Value {
    open_sale(
        json!([{ "sku": "tv", "initial_stock": 10, "low_stock_at": low_stock_at }, { "sku": "mug", "initial_stock": 5 }]),
    )
}

fn put_last(client: &mut Client) {
    client.put("/v1/sales/end", &open_sale(items([("nothing", 0)]))).success(201);
}

/// Kind and data of what was told about levels of items.
fn levels(told: &[Told]) -> Vec<(String, Value)> {
    let of_levels = |told: &&Told| told.kind.starts_with("item.");
    told.iter().filter(of_levels).map(|told| (told.kind.clone(), told.data().clone())).collect()
}

fn low(available: u64, low_stock_at: u64) -> (String, Value) {
    let data = json!({ "sale": "drop", "sku": "tv", "available": available, "low_stock_at": low_stock_at });
    ("item.low_stock".to_owned(), data)
}

#[test]
fn low_stock_is_told_once_until_there_was_more() {
    let service = Service::start();
    let mut client = service.client();
    client.put("/v1/sales/drop", &watched(4)).success(201);
    let first = client.hold("drop", "ann", [("tv", 6)]);
    client.hold("drop", "bob", [("tv", 2)]);
    client.act(&first, "release", json!({})).reservation(200);
    client.hold("drop", "cy", [("tv", 5)]);
    client.put("/v1/sales/drop", &watched(2)).success(200);
    client.put("/v1/sales/drop", &watched(3)).success(200);
    client.hold("drop", "dee", [("tv", 3)]);
    put_last(&mut client);
    let sold_out = ("item.sold_out".to_owned(), json!({ "sale": "drop", "sku": "tv", "available": 0 }));
    let expected = [low(4, 4), low(3, 4), low(3, 3), sold_out];
    let told = Feed::open(service.address(), "?after=0").until_put("end");
    assert_eq!(levels(&told), expected);
    // From any place on, the same.
    let raw = |told: &[Told]| told.iter().map(|told| told.raw.clone()).collect::<Vec<_>>();
    for (place, from) in told.iter().enumerate().take(told.len() - 1) {
        let rest = Feed::open(service.address(), &format!("?after={}", from.cursor())).until_put("end");
        assert_eq!(raw(&rest), raw(&told)[place + 1..], "after {place}");
    }
}

#[test]
fn how_items_sell_is_shown_with_what_follows() {
    let service = Service::start();
    let mut client = service.client();
    client.put("/v1/sales/drop", &watched(4)).success(201);
    let path = "/v1/sales/drop/replenishment";
    let held = client.hold("drop", "ann", [("tv", 6)]);
    client.act(&held, "confirm", json!({})).reservation(200);
    let before = now_millis();
    wait_until("the pace was measured", || {
        client.get(path).success(200)["items"][0]["units_per_minute"].as_f64().unwrap() > 0.0
    });
    let shown = client.get(path).success(200);
    assert_eq!(members(&shown), ["as_of", "closes_at", "items", "sale", "status"]);
    assert_eq!((&shown["sale"], &shown["status"]), (&json!("drop"), &json!("open")));
    let as_of = check_time(&shown["as_of"]);
    assert!((before..=now_millis()).contains(&as_of));
    let [tv, mug] = [0, 1].map(|place| &shown["items"][place]);
    let everything = [
        "available",
        "low_stock",
        "low_stock_at",
        "measured_seconds",
        "sells_out_at",
        "sku",
        "stock",
        "suggested_restock",
        "turnover",
        "units_per_minute",
    ];
    assert_eq!(members(tv), everything);
    assert_eq!((&tv["available"], &tv["stock"], &tv["turnover"]), (&json!(4), &json!(10), &json!(0.6)));
    assert_eq!((&tv["low_stock_at"], &tv["low_stock"]), (&json!(4), &json!(true)));
    // What is shown follows from what is shown.
    let per_minute = (tv["units_per_minute"].as_f64().unwrap() * 100.0).round() as u128;
    assert_eq!(check_time(&tv["sells_out_at"]), as_of + (4 * 6_000_000 / per_minute) as u64);
    let left = u128::from(check_time(&shown["closes_at"]) - as_of);
    let wanted = (per_minute * left).div_ceil(6_000_000) - 4;
    assert_eq!(tv["suggested_restock"].as_u64().map(u128::from), Some(wanted.min(1_000_000_000_000 - 10)));
    let untouched = json!({
        "sku": "mug", "stock": 5, "available": 5, "units_per_minute": 0.0, "measured_seconds": mug["measured_seconds"],
        "turnover": 0.0, "suggested_restock": 0,
    });
    assert_eq!(*mug, untouched);
    client.get("/v1/sales/nope/replenishment").refused("sale_not_found");
    client.send(&Ask::new("POST", path)).refused("method_not_allowed");

    let metrics = || Scrape::parse(service.ops().get("/metrics").text());
    assert_eq!(metrics().value("doorbuster_sale_items_low_stock", [("sale", "drop")]), 1.0);
    let labels = [("sale", "drop"), ("sku", "tv")];
    assert!(metrics().value("doorbuster_item_units_per_minute", labels) > 0.0);
    client.put("/v1/sales/drop", &watched(3)).success(200);
    wait_until("no item is low", || metrics().value("doorbuster_sale_items_low_stock", [("sale", "drop")]) == 0.0);
}

#[test]
fn a_level_of_low_stock_is_checked_kept_and_warned_of() {
    let service = Service::start();
    let mut client = service.client();
    let put = |client: &mut Client, level: Value| {
        let item = with(json!({ "sku": "tv", "initial_stock": 10 }), json!({ "low_stock_at": level }));
        client.put("/v1/sales/drop?dry_run=true", &with(open_sale(json!([item])), json!({ "hold_seconds": 60 })))
    };
    for wrong in [json!(-1), json!(1.5), json!("4"), json!(1_000_000_000_001_u64)] {
        assert_eq!(put(&mut client, wrong).pointers(), ["/items/0/low_stock_at"]);
    }
    let warned = put(&mut client, json!(10)).success(200)["warnings"].clone();
    assert_eq!(warned.as_array().map(Vec::len), Some(1), "{warned}");
    assert_eq!(
        (&warned[0]["pointer"], &warned[0]["code"]),
        (&json!("/items/0/low_stock_at"), &json!("low_stock_above_stock"))
    );
    assert_eq!(put(&mut client, json!(9)).success(200)["warnings"], json!([]));
    client.put("/v1/sales/drop", &watched(4)).success(201);
    assert_eq!(client.sale("drop")["items"][0]["low_stock_at"], 4);
    let mut patch = |level: Value| {
        let changes = json!({ "items": [{ "sku": "tv", "low_stock_at": level }] });
        let ask = Ask::new("PATCH", "/v1/sales/drop").header("Content-Type", "application/merge-patch+json");
        client.send(&ask.bytes(changes.to_string())).success(200)
    };
    assert_eq!(patch(json!(0))["items"][0]["low_stock_at"], 0);
    let patched = patch(Value::Null);
    assert_eq!(patched["items"][0].get("low_stock_at"), None);
}
