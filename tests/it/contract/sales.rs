//! Sales and their stock: put, get, list, availability, adjustments, pause, resume, close.

use serde_json::{Value, json};

use crate::served::{
    Ask, Client, Service,
    documents::{items, rfc3339, with},
    lines, open_sale, shapes,
};

/// A document that has every member there is.
fn full_document() -> Value {
    json!({
        "id": "drop",
        "name": "The drop",
        "opens_at": "2020-01-01T00:00:00.000Z",
        "closes_at": "2199-01-01T00:00:00.000Z",
        "hold_seconds": 300,
        "max_extensions": 2,
        "customer_limit": 5,
        "items": [
            { "sku": "tv", "initial_stock": 10, "price": { "amount": 19900, "currency": "EUR" }, "customer_limit": 1, "low_stock_at": 3 },
            { "sku": "mug", "initial_stock": 0 },
        ],
    })
}

/// The document as GET shows it while nothing is reserved or adjusted.
fn untouched(document: &Value, status: &str) -> Value {
    let mut shown = with(document.clone(), json!({ "status": status }));
    for item in shown["items"].as_array_mut().unwrap() {
        let stock = item["initial_stock"].clone();
        *item = with(item.clone(), json!({ "stock": stock, "available": stock, "held": 0, "confirmed": 0 }));
    }
    shown
}

#[test]
fn a_sale_is_created_read_and_replaced() {
    let service = Service::start();
    let mut client = service.client();
    let document = full_document();
    assert_eq!(client.put("/v1/sales/drop", &document).success(201), document);
    assert_eq!(client.sale("drop"), untouched(&document, "open"));

    // The id may be left to the path; times may come with an offset and finer than milliseconds.
    let replaced = json!({
        "name": "Renamed", "hold_seconds": 60,
        "opens_at": "2020-01-01T02:00:00.0009+02:00", "closes_at": "2100-01-01T00:00:00Z",
        "items": [
            { "sku": "mug", "initial_stock": 0, "price": { "amount": 0, "currency": "JPY" } },
            { "sku": "tv", "initial_stock": 10 },
            { "sku": "größe/Ü 1", "initial_stock": 3 },
        ],
    });
    let times =
        json!({ "id": "drop", "opens_at": "2020-01-01T00:00:00.000Z", "closes_at": "2100-01-01T00:00:00.000Z" });
    let expected = with(replaced.clone(), times);
    assert_eq!(client.put("/v1/sales/drop", &replaced).success(200), expected);
    assert_eq!(client.sale("drop"), untouched(&expected, "open"));

    // What PUT answers can be put again, and changes nothing.
    assert_eq!(client.put("/v1/sales/drop", &expected).success(200), expected);
    assert_eq!(client.sale("drop"), untouched(&expected, "open"));
}

#[test]
fn times_reach_to_the_end_of_9999_in_any_offset() {
    let service = Service::start();
    let mut client = service.client();
    for (opens_at, closes_at, shown) in [
        (
            "1970-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            Some(["1970-01-01T00:00:00.000Z", "9999-12-31T23:59:59.000Z"]),
        ),
        (
            "1970-01-01T08:00:00+08:00",
            "9999-12-31T23:59:59.999Z",
            Some(["1970-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"]),
        ),
        (
            "2026-11-27T16:00:00.5+08:00",
            "9999-12-31T15:59:59.9999-08:00",
            Some(["2026-11-27T08:00:00.500Z", "9999-12-31T23:59:59.999Z"]),
        ),
        (
            "2016-12-31T23:59:60Z",
            "9999-12-31T23:59:59+14:00",
            Some(["2016-12-31T23:59:59.000Z", "9999-12-31T09:59:59.000Z"]),
        ),
        ("1970-01-01T00:00:00+00:01", "9999-12-31T23:59:59Z", None),
        ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59-00:01", None),
        ("1970-01-01T00:00:00Z", "10000-01-01T00:00:00Z", None),
    ] {
        let times = json!({ "opens_at": opens_at, "closes_at": closes_at });
        let answer = client.put("/v1/sales/drop", &with(open_sale(items([("tv", 1)])), times));
        match shown {
            None => assert_eq!(answer.pointers().len(), 1, "{opens_at} {closes_at}"),
            Some([opens_at, closes_at]) => {
                assert!(answer.status < 300, "{}", answer.text());
                let sale = client.sale("drop");
                assert_eq!((&sale["opens_at"], &sale["closes_at"]), (&json!(opens_at), &json!(closes_at)));
            }
        }
    }
    assert_eq!(client.sale("drop")["status"], "open");
    client.hold("drop", "ann", [("tv", 1)]);
}

#[test]
fn initial_stock_stays_and_items_are_not_removed() {
    let service = Service::start();
    let mut client = service.client();
    let document = open_sale(items([("tv", 10), ("mug", 5)]));
    client.put("/v1/sales/drop", &document).success(201);
    client.post("/v1/sales/drop/items/tv/adjustments", &json!({ "delta": 5 })).success(201);

    let changed = with(document.clone(), json!({ "items": items([("tv", 15), ("mug", 5)]) }));
    client.put("/v1/sales/drop", &changed).refused("initial_stock_immutable");
    let fewer = with(document.clone(), json!({ "items": items([("tv", 10)]) }));
    assert_eq!(client.put("/v1/sales/drop", &fewer).pointers(), ["/items"]);

    client.put("/v1/sales/drop", &document).success(200);
    assert_eq!(client.units("drop", "tv"), [15, 15, 0, 0], "replacing settings leaves stock as it is");
}

#[test]
fn a_document_that_is_wrong_is_refused_with_every_pointer() {
    let service = Service::start();
    let mut client = service.client();
    let good = full_document();
    let mut put = |changes: Value| client.put("/v1/sales/drop", &with(good.clone(), changes));
    for (changes, pointers) in [
        (json!({ "id": "other" }), vec!["/id"]),
        (json!({ "name": "" }), vec!["/name"]),
        (json!({ "name": "x".repeat(256) }), vec!["/name"]),
        (json!({ "name": "a\u{0}b" }), vec!["/name"]),
        (json!({ "name": null }), vec!["/name"]),
        (json!({ "opens_at": "tomorrow" }), vec!["/opens_at"]),
        (json!({ "opens_at": 1_795_766_400 }), vec!["/opens_at"]),
        (json!({ "opens_at": "2026-11-27T08:00:00" }), vec!["/opens_at"]),
        (json!({ "opens_at": "2026-11-27 08:00:00Z" }), vec!["/opens_at"]),
        (json!({ "opens_at": "2026-11-27T08:00:00Z[UTC]" }), vec!["/opens_at"]),
        (json!({ "closes_at": "2020-01-01T00:00:00Z" }), vec!["/closes_at"]),
        (json!({ "hold_seconds": 0 }), vec!["/hold_seconds"]),
        (json!({ "hold_seconds": 86_401 }), vec!["/hold_seconds"]),
        (json!({ "hold_seconds": 1.5 }), vec!["/hold_seconds"]),
        (json!({ "hold_seconds": "300" }), vec!["/hold_seconds"]),
        (json!({ "max_extensions": 101 }), vec!["/max_extensions"]),
        (json!({ "max_extensions": -1 }), vec!["/max_extensions"]),
        (json!({ "customer_limit": 0 }), vec!["/customer_limit"]),
        (json!({ "customer_limit": 4_294_967_296_u64 }), vec!["/customer_limit"]),
        (json!({ "items": [] }), vec!["/items"]),
        (json!({ "items": {} }), vec!["/items"]),
        (json!({ "items": [{ "sku": "", "initial_stock": 1 }] }), vec!["/items/0/sku"]),
        (json!({ "items": [{ "sku": "x".repeat(65), "initial_stock": 1 }] }), vec!["/items/0/sku"]),
        (json!({ "items": items([("a", 1), ("a", 1)]) }), vec!["/items/1/sku"]),
        (json!({ "items": items([("a", 1_000_000_000_001)]) }), vec!["/items/0/initial_stock"]),
        (json!({ "items": [{ "sku": "a", "initial_stock": -1 }] }), vec!["/items/0/initial_stock"]),
        (json!({ "items": [{ "sku": "a", "initial_stock": 1, "reserved": 1 }] }), vec!["/items/0/reserved"]),
        (
            json!({ "items": [{ "sku": "a", "initial_stock": 1, "customer_limit": 0 }] }),
            vec!["/items/0/customer_limit"],
        ),
        (price(json!({ "amount": -1, "currency": "EUR" })), vec!["/items/0/price/amount"]),
        (price(json!({ "amount": 9_007_199_254_740_992_u64, "currency": "EUR" })), vec!["/items/0/price/amount"]),
        (price(json!({ "amount": 1.5, "currency": "EUR" })), vec!["/items/0/price/amount"]),
        (price(json!({ "amount": 1, "currency": "eur" })), vec!["/items/0/price/currency"]),
        (price(json!({ "amount": 1, "currency": "EUR", "tax": 1 })), vec!["/items/0/price/tax"]),
        (json!({ "state": "open" }), vec!["/state"]),
        (
            json!({ "hold_seconds": 0, "customer_limit": 0, "items": [] }),
            vec!["/hold_seconds", "/customer_limit", "/items"],
        ),
    ] {
        assert_eq!(put(changes.clone()).pointers(), pointers, "{changes}");
    }
    client.get("/v1/sales/drop").refused("sale_not_found");

    let slug = with(good, json!({ "id": null }));
    for id in ["Drop", "-drop", "dr%20op", "dr%C3%BCp", &"x".repeat(65)] {
        assert_eq!(client.put(&format!("/v1/sales/{id}"), &slug).pointers(), ["/id"], "{id}");
    }
    client.put(&format!("/v1/sales/{}", "x".repeat(64)), &slug).success(201);
}

fn price(price: Value) -> Value {
    json!({ "items": [{ "sku": "a", "initial_stock": 1, "price": price }] })
}

#[test]
fn sales_are_listed_by_id_in_pages() {
    let service = Service::start_with(|config| config.limits.sales_page_max = 3);
    let mut client = service.client();
    assert_eq!(client.get("/v1/sales").success(200), json!({ "sales": [] }));
    for id in ["d", "b", "e", "a", "c"] {
        client.put_open_sale(id, [("tv", 1)]);
    }
    let mut page = |query: &str| {
        let page = client.get(&format!("/v1/sales{query}")).success(200);
        let sales = page["sales"].as_array().unwrap();
        sales.iter().for_each(shapes::check_sale);
        let ids: String = sales.iter().map(|sale| sale["id"].as_str().unwrap()).collect();
        match page.get("next") {
            None => assert_eq!(shapes::members(&page), ["sales"]),
            Some(_) => assert_eq!(shapes::members(&page), ["next", "sales"]),
        }
        (ids, page.get("next").map(|next| next.as_str().unwrap().to_owned()))
    };
    let next = |id: &str| Some(id.to_owned());
    assert_eq!(page(""), ("abc".into(), next("c")));
    assert_eq!(page("?after=c"), ("de".into(), None));
    assert_eq!(page("?limit=1"), ("a".into(), next("a")));
    assert_eq!(page("?after=a&limit=2"), ("bc".into(), next("c")));
    assert_eq!(page("?after=%61&limit=%32"), ("bc".into(), next("c")));
    assert_eq!(page("?limit=2&after=c"), ("de".into(), None), "the last page, exactly full, names no next one");
    assert_eq!(page("?after=e"), (String::new(), None));
    assert_eq!(page("?after=bb"), ("cde".into(), None), "an id that does not exist is a place all the same");
    assert_eq!(page("?after=%62"), ("cde".into(), None));
    for query in [
        "?limit=0",
        "?limit=4",
        "?limit=x",
        "?limit=",
        "?limit=-1",
        "?page=2",
        "?limit=99999999999999999999",
        "?limit=%2B1",
        "?limit=1&limit=1",
        "?after=a&after=b",
    ] {
        client.get(&format!("/v1/sales{query}")).refused("invalid_request");
    }
}

#[test]
fn availability_says_what_is_left_and_nothing_else() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10), ("mug", 1)]);
    let held = client.hold("drop", "ann", [("tv", 3), ("mug", 1)]);
    let expected = |status, tv, mug| {
        let items = json!([{ "sku": "tv", "available": tv }, { "sku": "mug", "available": mug }]);
        json!({ "sale": "drop", "status": status, "items": items })
    };
    assert_eq!(client.get("/v1/sales/drop/availability").success(200), expected("open", 7, 0));
    client.act(&held, "release", json!({})).reservation(200);
    client.post_nothing("/v1/sales/drop/pause").success(200);
    assert_eq!(client.get("/v1/sales/drop/availability").success(200), expected("paused", 10, 1));
    client.get("/v1/sales/none/availability").refused("sale_not_found");
}

fn adjust(client: &mut Client, body: Value) -> crate::served::Answer {
    client.post("/v1/sales/drop/items/tv/adjustments", &body)
}

#[test]
fn stock_is_adjusted_up_and_down_to_what_is_available() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let held = client.hold("drop", "ann", [("tv", 4)]);

    let up = adjust(&mut client, json!({ "delta": 5, "reason": "found a pallet", "reference": "po-7" }));
    let expected = json!({ "delta": 5, "reason": "found a pallet", "reference": "po-7", "stock": 15, "available": 11 });
    assert_eq!(up.success(201), expected);
    assert_eq!(up.header("location"), None);
    assert_eq!(
        adjust(&mut client, json!({ "delta": -1 })).success(201),
        json!({ "delta": -1, "stock": 14, "available": 10 })
    );

    let refused = adjust(&mut client, json!({ "delta": -11 })).refused("insufficient_stock");
    let line = &refused["lines"][0];
    assert_eq!((&line["requested"], &line["available"], &line["held"]), (&json!(11), &json!(10), &json!(4)));
    let all = json!({ "delta": -10, "stock": 4, "available": 0 });
    assert_eq!(adjust(&mut client, json!({ "delta": -10 })).success(201), all, "held units are not touched");
    let refused = adjust(&mut client, json!({ "delta": -1 })).refused("insufficient_stock");
    assert_eq!((&refused["lines"][0]["requested"], &refused["lines"][0]["available"]), (&json!(1), &json!(0)));
    let least = adjust(&mut client, json!({ "delta": i64::MIN })).refused("insufficient_stock");
    assert_eq!(least["lines"][0]["requested"], 9_223_372_036_854_775_808_u64);

    client.reserve("drop", "bob", [("tv", 1)]).refused("sold_out");
    adjust(&mut client, json!({ "delta": 1 })).success(201);
    client.hold("drop", "bob", [("tv", 1)]);
    client.act(&held, "confirm", json!({})).reservation(200);
    assert_eq!(client.units("drop", "tv"), [5, 0, 1, 4]);
}

#[test]
fn an_adjustment_that_makes_no_sense_is_refused() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    for (body, pointers) in [
        (json!({ "delta": 0 }), vec!["/delta"]),
        (json!({ "delta": 1.5 }), vec!["/delta"]),
        (json!({ "delta": "1" }), vec!["/delta"]),
        (json!({ "delta": 9_223_372_036_854_775_808_u64 }), vec!["/delta"]),
        (json!({ "delta": i64::MAX }), vec!["/delta"]),
        (json!({ "delta": 1_000_000_000_000_i64 }), vec!["/delta"]),
        (json!({}), vec!["/delta"]),
        (json!({ "delta": 1, "reason": "" }), vec!["/reason"]),
        (json!({ "delta": 1, "reason": "x".repeat(256) }), vec!["/reason"]),
        (json!({ "delta": 0, "reference": "a\nb" }), vec!["/delta", "/reference"]),
        (json!({ "delta": 1, "stock": 11 }), vec!["/stock"]),
    ] {
        assert_eq!(adjust(&mut client, body.clone()).pointers(), pointers, "{body}");
    }
    assert_eq!(client.units("drop", "tv"), [10, 10, 0, 0]);
    adjust(&mut client, json!({ "delta": 999_999_999_990_i64 })).success(201);
    assert_eq!(client.units("drop", "tv")[0], 1_000_000_000_000, "stock_max itself is allowed");
    client.post("/v1/sales/none/items/tv/adjustments", &json!({ "delta": 1 })).refused("sale_not_found");
    client.post("/v1/sales/drop/items/car/adjustments", &json!({ "delta": 1 })).refused("item_not_found");
}

#[test]
fn a_sku_of_any_letters_is_escaped_in_the_path() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("größe/Ü 1%", 2)]);
    let path = "/v1/sales/drop/items/gr%C3%B6%C3%9Fe%2F%c3%9c%201%25/adjustments";
    assert_eq!(
        client.post(path, &json!({ "delta": 1 })).success(201),
        json!({ "delta": 1, "stock": 3, "available": 3 })
    );
    let held = client.hold("drop", "Ünn ☂", [("größe/Ü 1%", 3)]);
    assert_eq!((&held["customer"], &held["lines"]), (&json!("Ünn ☂"), &lines([("größe/Ü 1%", 3)])));
    let raw = Ask::new("POST", "/v1/sales/drop/items/gr%C3/adjustments").json(&json!({ "delta": 1 }));
    assert_eq!(client.send(&raw).status, 404, "half a character is the name of nothing");
    let encoded = client.get("/v1/sales/%64rop").success(200);
    assert_eq!(encoded["id"], "drop");
}

#[test]
fn a_paused_sale_takes_no_reservations_until_it_is_resumed() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let [first, second, third] = ["a", "b", "c"].map(|customer| client.hold("drop", customer, [("tv", 1)]));

    for _ in 0..2 {
        let paused = client.post_nothing("/v1/sales/drop/pause").success(200);
        shapes::check_sale(&paused);
        assert_eq!(paused["status"], "paused");
    }
    client.reserve("drop", "d", [("tv", 1)]).refused("sale_paused");
    assert_eq!(client.act(&first, "confirm", json!({})).reservation(200)["state"], "confirmed");
    assert_eq!(client.act(&second, "release", json!({})).reservation(200)["state"], "released");
    assert_eq!(client.act(&third, "extend", json!({ "hold_seconds": 900 })).reservation(200)["extensions"], 1);
    assert_eq!(client.look(&third)["state"], "held");
    client.post("/v1/sales/drop/items/tv/adjustments", &json!({ "delta": 1 })).success(201);

    for _ in 0..2 {
        let resumed = client.post("/v1/sales/drop/resume", &json!({})).success(200);
        shapes::check_sale(&resumed);
        assert_eq!(resumed["status"], "open");
    }
    client.hold("drop", "d", [("tv", 1)]);
    assert_eq!(client.units("drop", "tv"), [11, 8, 2, 1]);
}

#[test]
fn a_closed_sale_stays_closed_and_lets_go_on_what_was_held() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let [first, second, third] = ["a", "b", "c"].map(|customer| client.hold("drop", customer, [("tv", 1)]));
    for _ in 0..2 {
        let closed = client.post_nothing("/v1/sales/drop/close").success(200);
        shapes::check_sale(&closed);
        assert_eq!(closed["status"], "closed");
    }
    client.reserve("drop", "d", [("tv", 1)]).refused("sale_ended");
    client.post_nothing("/v1/sales/drop/resume").refused("sale_ended");
    client.post_nothing("/v1/sales/drop/pause").refused("sale_ended");
    client.put("/v1/sales/drop", &open_sale(items([("tv", 10)]))).refused("sale_ended");
    client.act(&first, "confirm", json!({})).reservation(200);
    client.act(&second, "release", json!({})).reservation(200);
    assert_eq!(client.look(&third)["state"], "held");
    assert_eq!(client.units("drop", "tv"), [10, 8, 1, 1]);
}

#[test]
fn the_window_decides_when_a_sale_is_open() {
    let service = Service::start();
    let mut client = service.client();
    let sale = open_sale(items([("tv", 10)]));
    let later = with(sale.clone(), json!({ "opens_at": "2198-01-01T00:00:00.000Z" }));
    client.put("/v1/sales/later", &later).success(201);
    assert_eq!(client.sale("later")["status"], "scheduled");
    let refused = client.reserve("later", "ann", [("tv", 1)]).refused("sale_not_started");
    assert_eq!(refused["opens_at"], "2198-01-01T00:00:00.000Z");

    let over = with(sale.clone(), json!({ "closes_at": "2020-01-02T00:00:00.000Z" }));
    client.put("/v1/sales/over", &over).success(201);
    assert_eq!(client.sale("over")["status"], "closed");
    client.reserve("over", "ann", [("tv", 1)]).refused("sale_ended");

    // A window may be moved: what the clock closed opens again, what the operator closed does not.
    client.put("/v1/sales/over", &sale).success(200);
    client.hold("over", "ann", [("tv", 1)]);
    client.put("/v1/sales/later", &sale).success(200);
    client.hold("later", "ann", [("tv", 1)]);

    let soon = with(sale, json!({ "opens_at": rfc3339(crate::served::now_millis() + 400) }));
    client.put("/v1/sales/soon", &soon).success(201);
    let refused = client.reserve("soon", "ann", [("tv", 1)]);
    if refused.status != 201 {
        refused.refused("sale_not_started");
    }
    crate::served::wait_until("the sale has opened", || client.reserve("soon", "ann", [("tv", 1)]).status == 201);
    assert!(crate::served::now_millis() >= shapes::check_time(&soon["opens_at"]), "opened early");
    assert_eq!(client.sale("soon")["status"], "open");
}

#[test]
fn sales_that_do_not_exist_are_not_found_by_any_call() {
    let service = Service::start();
    let mut client = service.client();
    client.get("/v1/sales/none").refused("sale_not_found");
    for call in ["pause", "resume", "close"] {
        client.post_nothing(&format!("/v1/sales/none/{call}")).refused("sale_not_found");
    }
    client.reserve("none", "ann", [("tv", 1)]).refused("sale_not_found");
    for call in ["pause", "resume", "close"] {
        assert_eq!(client.post(&format!("/v1/sales/none/{call}"), &json!({ "why": 1 })).pointers(), ["/why"]);
    }
}
