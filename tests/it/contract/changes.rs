//! Changes of a sale that lose nobody else's: ETags, conditions, patches.

use std::thread;

use serde_json::{Value, json};

use crate::served::{
    Answer, Ask, Client, Service,
    documents::{items, with},
    open_sale,
};

const SALE: &str = "/v1/sales/drop";
const PATCH: &str = "application/merge-patch+json";

fn put(document: &Value) -> Ask {
    Ask::new("PUT", SALE).json(document)
}

fn patch(changes: &Value) -> Ask {
    Ask::new("PATCH", SALE).header("Content-Type", PATCH).bytes(changes.to_string())
}

fn tag(answer: &Answer) -> String {
    let tag = answer.header("etag").unwrap_or_else(|| panic!("no ETag: {answer:?}"));
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "a strong tag: {tag}");
    tag.to_owned()
}

fn tag_of(client: &mut Client) -> String {
    tag(&client.get(SALE))
}

fn start() -> (Service, Client) {
    let service = Service::start();
    let mut client = service.client();
    let tv = json!({ "sku": "tv", "initial_stock": 10, "price": { "amount": 19_900, "currency": "EUR" } });
    let mug = json!({ "sku": "mug", "initial_stock": 5, "customer_limit": 3 });
    let document = with(open_sale(json!([tv, mug])), json!({ "customer_limit": 2, "max_extensions": 1 }));
    client.put(SALE, &document).success(201);
    (service, client)
}

#[test]
fn what_get_answers_can_be_put_and_patched_and_changes_nothing() {
    let (_service, mut client) = start();
    client.hold("drop", "ann", [("tv", 2)]);
    client.post(&format!("{SALE}/items/tv/adjustments"), &json!({ "delta": 5 })).success(201);
    for verb in ["pause", "resume"] {
        client.post_nothing(&format!("{SALE}/{verb}")).success(200);
        let (before, tag) = (client.sale("drop"), tag_of(&mut client));
        let put = client.send(&put(&before));
        put.success(200);
        assert_eq!((client.sale("drop"), self::tag(&put)), (before.clone(), tag.clone()));
        let patched = client.send(&patch(&before));
        patched.success(200);
        assert_eq!((client.sale("drop"), self::tag(&patched)), (before.clone(), tag), "{}", patched.text());
        // Whatever they hold: computed members are not looked at.
        let mut strange = with(before.clone(), json!({ "status": ["open"] }));
        strange["items"][0]["stock"] = json!("many");
        client.send(&self::put(&strange)).success(200);
        assert_eq!(client.sale("drop"), before);
    }
    let unknown = with(client.sale("drop"), json!({ "state": "open" }));
    assert_eq!(client.send(&put(&unknown)).pointers(), ["/state"]);
}

#[test]
fn the_tag_changes_exactly_with_the_settings() {
    let service = Service::start();
    let mut client = service.client();
    let document = open_sale(items([("tv", 10)]));
    let created = client.send(&put(&document));
    assert_eq!(created.status, 201);
    let first = tag(&created);
    assert_eq!(tag_of(&mut client), first);
    let head = client.send(&Ask::new("HEAD", SALE));
    assert_eq!(tag(&head), first);
    let held = client.hold("drop", "ann", [("tv", 2)]);
    client.act(&held, "confirm", json!({})).reservation(200);
    client.post(&format!("{SALE}/items/tv/adjustments"), &json!({ "delta": 5 })).success(201);
    client.post_nothing(&format!("{SALE}/pause")).success(200);
    assert_eq!(tag_of(&mut client), first, "neither stock nor status is in it");
    assert_eq!(tag(&client.send(&put(&document))), first, "the same document again");
    let mut seen = vec![first.clone()];
    for change in [
        json!({ "name": "Another" }),
        json!({ "closes_at": "2198-01-01T00:00:00.000Z" }),
        json!({ "hold_seconds": 601 }),
        json!({ "customer_limit": 2 }),
        json!({ "items": [{ "sku": "tv", "price": { "amount": 1, "currency": "EUR" } }] }),
        json!({ "items": [{ "sku": "mug", "initial_stock": 1 }] }),
    ] {
        let changed = tag(&client.send(&patch(&change)));
        assert!(!seen.contains(&changed), "{change} gives {changed} again");
        assert_eq!(tag_of(&mut client), changed);
        seen.push(changed);
    }
    let other = client.put("/v1/sales/other", &document);
    assert_ne!(tag(&other), first, "another sale is another document");
}

#[test]
fn a_reader_that_has_the_settings_is_told_so() {
    let (_service, mut client) = start();
    let tag = tag_of(&mut client);
    let mut get = |method: &str, tags: &str| client.send(&Ask::new(method, SALE).header("If-None-Match", tags));
    for tags in [&*tag, "*", &format!("\"other\", {tag}"), &format!("W/{tag}")] {
        for method in ["GET", "HEAD"] {
            let answer = get(method, tags);
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{tags}");
            assert_eq!(self::tag(&answer), tag);
        }
    }
    for tags in ["\"other\"", "\"\""] {
        assert_eq!(get("GET", tags).status, 200, "{tags}");
    }
    for malformed in ["no tag", ""] {
        get("GET", malformed).refused("invalid_request");
    }
    client.send(&patch(&json!({ "name": "Another" }))).success(200);
    let answer = client.send(&Ask::new("GET", SALE).header("If-None-Match", &tag));
    assert_eq!(answer.status, 200);
}

#[test]
fn a_change_of_what_was_changed_meanwhile_is_refused() {
    let (_service, mut client) = start();
    let (seen, tag) = (client.sale("drop"), tag_of(&mut client));
    for (ask, name) in
        [(put(&with(seen.clone(), json!({ "name": "One" }))), "One"), (patch(&json!({ "name": "Two" })), "Two")]
    {
        let current = tag_of(&mut client);
        let done = client.send(&ask.clone().header("If-Match", &format!("\"other\", {current}")));
        assert_eq!((done.status, &done.json()["name"]), (200, &json!(name)));
        let refused = client.send(&ask.clone().header("If-Match", &current));
        refused.refused("precondition_failed");
        assert!(refused.json()["detail"].as_str().unwrap().contains(tag_of(&mut client).trim_matches('"')));
        client.send(&ask.clone().header("If-Match", &tag)).refused("precondition_failed");
        let weak = format!("W/{}", tag_of(&mut client));
        client.send(&ask.clone().header("If-Match", &weak)).refused("precondition_failed");
        client.send(&ask.clone().header("If-None-Match", "*")).refused("precondition_failed");
        client.send(&ask.clone().header("If-Match", "*")).success(200);
        assert_eq!(client.sale("drop")["name"], name);
        for malformed in ["other", "\"", "*, *", "\"a\" \"b\""] {
            assert_eq!(client.send(&ask.clone().header("If-Match", malformed)).pointers(), [""], "{malformed}");
        }
    }
    // What is wrong in itself is told as that.
    assert_eq!(client.send(&put(&json!({})).header("If-Match", &tag)).status, 400);
    // Where nothing is, nothing matches, and a put with If-None-Match creates.
    let new = |name: &str, value: &str| {
        Ask::new("PUT", "/v1/sales/new").json(&open_sale(items([("tv", 1)]))).header(name, value)
    };
    client.send(&new("If-Match", "*")).refused("precondition_failed");
    client.send(&new("If-Match", &tag)).refused("precondition_failed");
    client.get("/v1/sales/new").refused("sale_not_found");
    client.send(&new("If-None-Match", "*")).success(201);
    client.send(&new("If-None-Match", "*")).refused("precondition_failed");
}

#[test]
fn a_patch_changes_what_it_names() {
    let (_service, mut client) = start();
    client.hold("drop", "ann", [("tv", 2)]);
    let mut expect = client.send(&patch(&json!({}))).success(200);
    let mut check = |changes: Value, change: &dyn Fn(&mut Value)| {
        let answer = client.send(&patch(&changes));
        change(&mut expect);
        assert_eq!(answer.success(200), expect, "{changes}");
    };
    check(json!({}), &|_| {});
    check(json!({ "name": "Renamed", "hold_seconds": 60 }), &|sale| {
        sale["name"] = json!("Renamed");
        sale["hold_seconds"] = json!(60);
    });
    check(json!({ "customer_limit": null, "max_extensions": null }), &|sale| {
        *sale = with(sale.clone(), json!({ "customer_limit": null, "max_extensions": null }));
    });
    check(json!({ "items": [{ "sku": "tv", "price": { "amount": 17_900 } }] }), &|sale| {
        sale["items"][0]["price"]["amount"] = json!(17_900);
    });
    check(json!({ "items": [{ "sku": "mug", "customer_limit": null }, { "sku": "tv", "price": null }] }), &|sale| {
        sale["items"][1] = with(sale["items"][1].clone(), json!({ "customer_limit": null }));
        sale["items"][0] = with(sale["items"][0].clone(), json!({ "price": null }));
    });
    check(json!({ "items": [{ "sku": "pan", "initial_stock": 7 }] }), &|sale| {
        sale["items"].as_array_mut().unwrap().push(json!({ "sku": "pan", "initial_stock": 7 }));
    });
    check(json!({ "rate_limits": { "sale": { "requests": 5, "window_seconds": 1 } } }), &|sale| {
        sale["rate_limits"] = json!({ "sale": { "requests": 5, "window_seconds": 1 } });
    });
    check(json!({ "rate_limits": { "sale": { "requests": 6 }, "key": null } }), &|sale| {
        sale["rate_limits"]["sale"]["requests"] = json!(6);
    });
    check(json!({ "rate_limits": null, "id": "drop", "status": "closed" }), &|sale| {
        *sale = with(sale.clone(), json!({ "rate_limits": null }));
    });
    assert_eq!(client.units("drop", "tv"), [10, 8, 2, 0], "stock stays as it is");
    assert_eq!(client.units("drop", "pan"), [7, 7, 0, 0]);
}

#[test]
fn a_patch_that_is_wrong_is_refused_with_pointers_into_it() {
    let (_service, mut client) = start();
    let before = client.sale("drop");
    for (changes, pointers) in [
        (json!([]), vec![""]),
        (json!("x"), vec![""]),
        (json!(null), vec![""]),
        (json!({ "nmae": "x" }), vec!["/nmae"]),
        (json!({ "name": null }), vec!["/name"]),
        (json!({ "name": 7, "hold_seconds": "x" }), vec!["/hold_seconds", "/name"]),
        (json!({ "opens_at": null, "items": null }), vec!["/items", "/opens_at"]),
        (json!({ "id": "other" }), vec!["/id"]),
        (json!({ "items": [] }), vec!["/items"]),
        (json!({ "items": [{ "initial_stock": 1 }] }), vec!["/items/0/sku"]),
        (json!({ "items": [{ "sku": "tv" }, { "sku": "tv" }] }), vec!["/items/1/sku"]),
        (json!({ "items": [{ "sku": "mug" }, { "sku": "new" }] }), vec!["/items/1/initial_stock"]),
        (json!({ "items": [{ "sku": "mug", "price": { "amount": 5 } }] }), vec!["/items/0/price/currency"]),
        (
            json!({ "items": [{ "sku": "mug", "price": { "amount": -5, "currency": "EUR" } }] }),
            vec!["/items/0/price/amount"],
        ),
        (json!({ "items": [{ "sku": "tv", "customer_limit": 0 }] }), vec!["/items/0/customer_limit"]),
        (json!({ "items": [{ "sku": "tv", "initial_stock": null }] }), vec!["/items/0/initial_stock"]),
        (json!({ "closes_at": "2019-01-01T00:00:00Z" }), vec!["/closes_at"]),
        (json!({ "rate_limits": { "sale": { "requests": 5 } } }), vec!["/rate_limits/sale/window_seconds"]),
    ] {
        assert_eq!(client.send(&patch(&changes)).pointers(), pointers, "{changes}");
    }
    client.send(&patch(&json!({ "items": [{ "sku": "mug", "initial_stock": 6 }] }))).refused("initial_stock_immutable");
    assert_eq!(client.sale("drop"), before);
    let none = Ask::new("PATCH", "/v1/sales/none").header("Content-Type", PATCH).bytes("{}");
    client.send(&none).refused("sale_not_found");
    client.send(&none.clone().header("If-Match", "*")).refused("sale_not_found");
    client.send(&Ask::new("PATCH", SALE)).refused("length_required");
    let json = Ask::new("PATCH", SALE).json(&json!({ "name": "By another type" }));
    assert_eq!(client.send(&json).success(200)["name"], "By another type");
    let patch_with = |media: &str| Ask::new("PATCH", SALE).header("Content-Type", media).bytes("{}");
    client.send(&patch_with("Application/Merge-Patch+JSON; charset=utf-8")).success(200);
    for media in ["application/json-patch+json", "text/plain", ""] {
        let refused = client.send(&patch_with(media));
        refused.refused("unsupported_media_type");
        assert_eq!(refused.header("accept-patch"), Some(PATCH), "{media}");
    }
    let put = Ask::new("PUT", SALE).header("Content-Type", PATCH).bytes(before.to_string());
    client.send(&put).refused("unsupported_media_type");
    let refused = client.send(&Ask::new("DELETE", SALE));
    refused.refused("method_not_allowed");
    assert_eq!(refused.header("allow"), Some("GET, HEAD, PATCH, PUT"));
    client.post_nothing(&format!("{SALE}/close")).success(200);
    client.send(&patch(&json!({ "name": "Late" }))).refused("sale_ended");
}

/// Of changes that were made of the same state, exactly one is made.
#[test]
fn of_conditional_changes_at_once_one_is_made() {
    let (service, mut client) = start();
    for round in 0..20 {
        let current = tag_of(&mut client);
        let made = thread::scope(|scope| {
            let changes = [0, 1, 2, 3].map(|number| {
                let (service, current) = (&service, &current);
                scope.spawn(move || {
                    let change = json!({ "name": format!("{round} by {number}") });
                    service.client().send(&patch(&change).header("If-Match", current)).status
                })
            });
            changes.map(|change| change.join().unwrap())
        });
        let count = |status| made.iter().filter(|made| **made == status).count();
        assert_eq!((count(200), count(412)), (1, 3), "{made:?}");
    }
}

/// Patches of different members at the same time are all made: each is applied to what the others left.
#[test]
fn patches_at_once_lose_nothing() {
    let (service, mut client) = start();
    thread::scope(|scope| {
        for number in 0..4_u64 {
            let service = &service;
            scope.spawn(move || {
                let mut client = service.client();
                for round in 1..=10 {
                    let item = json!({ "sku": format!("item-{number}-{round}"), "initial_stock": round });
                    client.send(&patch(&json!({ "items": [item] }))).success(200);
                }
            });
        }
    });
    let sale = client.sale("drop");
    let skus: Vec<&str> = sale["items"].as_array().unwrap().iter().map(|item| item["sku"].as_str().unwrap()).collect();
    for number in 0..4 {
        for round in 1..=10 {
            assert!(skus.contains(&&*format!("item-{number}-{round}")), "{number} {round}");
        }
    }
    assert_eq!(skus.len(), 42);
}
