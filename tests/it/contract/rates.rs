//! Rate limits: quotas of a key, a customer and a sale, from the configuration and from the sale's own document.

use std::{collections::BTreeMap, thread, time::Duration};

use doorbuster::auth::{KeySettings, Role, mint};
use serde_json::{Value, json};

use crate::served::{
    Answer, Ask, Client, Service,
    batches::outcomes,
    documents::{items, with},
    open_sale, reserve_body,
};

fn sale(rate_limits: Value) -> Value {
    with(open_sale(items([("tv", 100)])), json!({ "rate_limits": rate_limits }))
}

fn quota(requests: u32, window_seconds: u32) -> Value {
    json!({ "requests": requests, "window_seconds": window_seconds })
}

/// It was limited by this policy, for up to so many seconds.
#[track_caller]
fn assert_limited(answer: &Answer, policy: &str, requests: u32, window: u32, wait_max: u32) {
    assert_eq!(answer.refused("rate_limited")["status"], 429);
    assert_eq!(answer.header("ratelimit-policy"), Some(&*format!("\"{policy}\";q={requests};w={window}")));
    let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=wait_max).contains(&wait), "{answer:?}");
    assert_eq!(answer.header("ratelimit"), Some(&*format!("\"{policy}\";r=0;t={wait}")));
}

fn reserve(client: &mut Client, customer: &str) -> Answer {
    client.post("/v1/sales/drop/reservations", &reserve_body(customer, [("tv", 1)]))
}

#[test]
fn a_customer_and_a_sale_have_the_quotas_of_the_configuration() {
    let service = Service::start_with(|config| {
        config.rate_limits.customer = "2/60s".to_owned();
        config.rate_limits.sale = "5/60s".to_owned();
    });
    let mut client = service.client();
    client.put("/v1/sales/drop", &open_sale(items([("tv", 100)]))).success(201);
    for _ in 0..2 {
        reserve(&mut client, "ann").success(201);
    }
    assert_limited(&reserve(&mut client, "ann"), "customer", 2, 60, 30);
    reserve(&mut client, "bob").success(201);
    reserve(&mut client, "eve").success(201);
    assert_limited(&reserve(&mut client, "joe"), "sale", 5, 60, 12);
    // What was limited took nothing, and only reserves are counted.
    assert_eq!(client.units("drop", "tv"), [100, 96, 4, 0]);
    for _ in 0..20 {
        client.get("/v1/sales/drop/availability").success(200);
    }
}

#[test]
fn a_limit_is_over_when_it_said() {
    let service = Service::start_with(|config| config.rate_limits.customer = "1/1s".to_owned());
    let mut client = service.client();
    client.put("/v1/sales/drop", &open_sale(items([("tv", 100)]))).success(201);
    reserve(&mut client, "ann").success(201);
    let limited = reserve(&mut client, "ann");
    assert_limited(&limited, "customer", 1, 1, 1);
    thread::sleep(Duration::from_secs(limited.header("retry-after").unwrap().parse().unwrap()));
    reserve(&mut client, "ann").success(201);
}

#[test]
fn a_sale_says_otherwise_for_itself() {
    let service = Service::start_with(|config| config.rate_limits.customer = "1/60s".to_owned());
    let mut client = service.client();
    let put =
        client.put("/v1/sales/drop", &sale(json!({ "customer": quota(3, 60), "sale": quota(4, 60) }))).success(201);
    assert_eq!(put["rate_limits"], json!({ "customer": quota(3, 60), "sale": quota(4, 60) }));
    assert_eq!(client.get("/v1/sales/drop").success(200)["rate_limits"], put["rate_limits"]);
    for _ in 0..3 {
        reserve(&mut client, "ann").success(201);
    }
    assert_limited(&reserve(&mut client, "ann"), "customer", 3, 60, 20);
    assert_limited(&reserve(&mut client, "bob"), "sale", 4, 60, 15);
    // No limit at all, from the next request on.
    client.put("/v1/sales/drop", &sale(json!({ "customer": quota(0, 1), "sale": quota(0, 1) }))).success(200);
    for _ in 0..20 {
        reserve(&mut client, "ann").success(201);
    }
    for (limits, pointer) in [
        (json!({ "customer": quota(1, 0) }), "/rate_limits/customer/window_seconds"),
        (json!({ "sale": quota(1, 86_401) }), "/rate_limits/sale/window_seconds"),
        (json!({ "key": { "requests": 1 } }), "/rate_limits/key/window_seconds"),
        (json!({ "customers": quota(1, 1) }), "/rate_limits/customers"),
        (json!([]), "/rate_limits"),
    ] {
        let refused = client.put("/v1/sales/drop", &sale(limits)).refused("invalid_request");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
}

#[test]
fn a_key_has_a_quota_of_all_its_calls() {
    let minted = [0, 1].map(|number| mint(number, [1, 2, 3], [4; 32]));
    let keys = ["eu", "us"].into_iter().zip(&minted).map(|(name, minted)| {
        let settings =
            KeySettings { role: Role::Operator, sales: Vec::new(), channels: Vec::new(), hash: minted.hash.clone() };
        (name.to_owned(), settings)
    });
    let keys: BTreeMap<_, _> = keys.collect();
    let service = Service::start_with(|config| {
        config.auth.keys = keys;
        config.rate_limits.key = "4/60s".to_owned();
    });
    let mut client = service.client();
    let mut send =
        |number: usize, ask: Ask| client.send(&ask.header("Authorization", &format!("Bearer {}", minted[number].key)));
    let get = |path: &str| Ask::new("GET", path);
    send(0, Ask::new("PUT", "/v1/sales/drop").json(&sale(json!({ "key": quota(2, 60) })))).success(201);
    for path in ["/v1/sales", "/v1/sales/none"] {
        assert!(send(0, get(path)).status < 500);
    }
    // The sale's own quota counts what names the sale, and only that.
    for _ in 0..2 {
        send(0, get("/v1/sales/drop")).success(200);
    }
    assert_limited(&send(0, get("/v1/sales/drop")), "key", 2, 60, 30);
    send(0, get("/v1/sales")).success(200);
    assert_limited(&send(0, get("/v1/sales")), "key", 4, 60, 15);
    send(1, get("/v1/sales")).success(200);
    // What needs no key has no quota.
    for _ in 0..10 {
        client.get("/problems/rate-limited").success(200);
        client.get("/v1/sales").refused("unauthenticated");
    }
}

#[test]
fn entries_of_a_batch_count_as_reserves() {
    let service = Service::start_with(|config| {
        config.rate_limits.customer = "2/60s".to_owned();
        config.rate_limits.sale = "6/60s".to_owned();
    });
    let mut client = service.client();
    client.put("/v1/sales/drop", &open_sale(items([("tv", 100)]))).success(201);
    let asked = ["ann", "ann", "ann", "bob", "eve", "eve", "joe", "sue"];
    let entries = asked.map(|customer| reserve_body(customer, [("tv", 1)]));
    let results = client.batch("drop", &entries);
    let limited = "rate_limited";
    assert_eq!(outcomes(&results), ["held", "held", limited, "held", "held", "held", limited, limited]);
    assert_eq!(results[2]["problem"]["detail"], "the quota of the customer is 2 requests in 60 s");
    assert_eq!(results[6]["problem"]["detail"], "the quota of the sale is 6 requests in 60 s");
    assert_limited(&reserve(&mut client, "ann"), "sale", 6, 60, 10);
    assert_eq!(client.units("drop", "tv"), [100, 95, 5, 0]);
}

#[test]
fn limits_stand_between_the_caller_and_the_body() {
    let service = Service::start_with(|config| {
        config.rate_limits.sale = "1/60s".to_owned();
        config.rate_limits.customer = "1/60s".to_owned();
    });
    let mut client = service.client();
    client.put("/v1/sales/drop", &open_sale(items([("tv", 100)]))).success(201);
    reserve(&mut client, "ann").success(201);
    let bad = Ask::new("POST", "/v1/sales/drop/reservations").header("Content-Type", "text/plain").bytes("x");
    client.send(&bad).refused("rate_limited");
    client.put("/v1/sales/drop", &sale(json!({ "sale": quota(0, 1) }))).success(200);
    // The customer's comes after the body was found well formed, and before the key is looked up.
    reserve(&mut client, "ann").success(201);
    client.send(&bad).refused("unsupported_media_type");
    client.post("/v1/sales/drop/reservations", &json!({ "customer": "ann", "lines": [] })).refused("invalid_request");
    assert_limited(&reserve(&mut client, "ann"), "customer", 1, 60, 60);
    client.post("/v1/sales/none/reservations", &reserve_body("ann", [("tv", 1)])).refused("sale_not_found");
}
