//! Keys, roles, and the sales that a key reaches.

use std::collections::{BTreeMap, BTreeSet};

use doorbuster::auth::{KeySettings, Role, mint};
use serde_json::json;

use crate::served::{
    Answer, Ask, Client, Feed, Service, Told,
    batches::batch,
    documents::{items, with},
    open_sale, reserve_body,
};

/// Keys of the tests, by name.
pub struct Keys {
    pub settings: BTreeMap<String, KeySettings>,
    pub texts: BTreeMap<&'static str, String>,
}

impl Keys {
    pub fn new() -> Self {
        Self { settings: BTreeMap::new(), texts: BTreeMap::new() }
    }

    pub fn add(mut self, name: &'static str, role: Role, sales: &[&str]) -> Self {
        let minted = mint(self.texts.len() as u32, [1, 2, 3], [4; 32]);
        let sales = sales.iter().map(|&sale| sale.to_owned().try_into().unwrap()).collect();
        self.settings.insert(name.to_owned(), KeySettings { role, sales, channels: Vec::new(), hash: minted.hash });
        self.texts.insert(name, minted.key);
        self
    }

    pub fn all_roles() -> Self {
        let keys = Self::new().add("viewer", Role::Viewer, &[]).add("checkout", Role::Checkout, &[]);
        keys.add("operator", Role::Operator, &[])
    }

    pub fn serve(&self) -> Service {
        Service::start_with(|config| config.auth.keys = self.settings.clone())
    }

    pub fn sign(&self, ask: Ask, name: &str) -> Ask {
        ask.header("Authorization", &format!("Bearer {}", self.texts[name]))
    }

    pub fn send(&self, client: &mut Client, name: &str, ask: Ask) -> Answer {
        client.send(&self.sign(ask, name))
    }
}

pub fn put(sale: &str) -> Ask {
    Ask::new("PUT", &format!("/v1/sales/{sale}")).json(&open_sale(items([("tv", 10)])))
}

pub fn reserve(sale: &str) -> Ask {
    Ask::new("POST", &format!("/v1/sales/{sale}/reservations")).json(&reserve_body("ann", [("tv", 1)]))
}

#[test]
fn without_a_known_key_nothing_is_told_but_the_contract() {
    let keys = Keys::all_roles();
    let service = keys.serve();
    let mut client = service.client();
    let key = &keys.texts["operator"];
    let other = mint(2, [1, 2, 9], [4; 32]).key;
    let flipped = format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    for header in [
        None,
        Some(String::new()),
        Some(key.clone()),
        Some("Bearer".to_owned()),
        Some(format!("Basic {key}")),
        Some(format!("Bearer {flipped}")),
        Some(format!("Bearer {other}")),
        Some(format!("Bearer {key}0")),
        Some(format!("Bearer {}", key.to_uppercase())),
        Some(format!("Bearer {key}, Bearer {key}")),
        Some(format!("Bearer {}", keys.settings["operator"].hash)),
    ] {
        for ask in [Ask::new("GET", "/v1/sales"), put("drop"), reserve("drop"), Ask::new("GET", "/v1/reservations/x")] {
            let ask = header.iter().fold(ask, |ask, header| ask.header("Authorization", header));
            client.send(&ask).refused("unauthenticated");
        }
    }
    // What anybody may ask, and what is no call at all.
    client.get("/problems/unauthenticated").success(200);
    assert_eq!(client.get("/console").status, 200);
    client.get("/nothing").refused("not_found");
    client.send(&Ask::new("DELETE", "/v1/sales")).refused("method_not_allowed");
    keys.send(&mut client, "operator", Ask::new("GET", "/v1/sales/drop")).refused("sale_not_found");
}

#[test]
fn each_role_may_do_its_calls_and_no_others() {
    let keys = Keys::all_roles();
    let service = keys.serve();
    let mut client = service.client();
    keys.send(&mut client, "operator", put("drop")).success(201);
    let held = keys.send(&mut client, "checkout", reserve("drop")).success(201);
    let id = held["id"].as_str().unwrap();
    let reservation = |verb: &str| format!("/v1/reservations/{id}{verb}");
    let post = |path: &str| Ask::new("POST", path);
    // By the least role that may.
    let calls = [
        (0, Ask::new("GET", "/v1/sales")),
        (0, Ask::new("GET", "/v1/sales/drop")),
        (0, Ask::new("HEAD", "/v1/sales/drop")),
        (0, Ask::new("GET", "/v1/sales/drop/availability")),
        (0, Ask::new("GET", "/v1/sales/drop/report")),
        (0, Ask::new("GET", &reservation(""))),
        (0, Ask::new("GET", "/v1/status")),
        (1, reserve("drop")),
        (1, Ask::new("GET", "/v1/sales/drop/reservations?customer=ann")),
        (1, batch("drop", [reserve_body("bob", [("tv", 1)])])),
        (1, post(&reservation("/extend")).json(&json!({ "hold_seconds": 60 }))),
        (1, post(&reservation("/confirm"))),
        (2, put("drop")),
        (2, post("/v1/sales/drop/items/tv/adjustments").json(&json!({ "delta": 1 }))),
        (2, post("/v1/sales/drop/pause")),
        (2, post("/v1/sales/drop/resume")),
        (2, Ask::new("DELETE", "/v1/customers/nobody")),
        (2, Ask::new("GET", "/v1/audit")),
    ];
    for (least, ask) in calls {
        for (rank, role) in ["viewer", "checkout", "operator"].into_iter().enumerate() {
            let answer = keys.send(&mut client, role, ask.clone());
            let told = format!("{role}: {} {} {answer:?}", ask.method, ask.path);
            if rank < least {
                assert_eq!(answer.refused("forbidden")["code"], "forbidden", "{told}");
            } else {
                assert!(answer.status < 300, "{told}");
            }
        }
    }
    keys.send(&mut client, "viewer", post(&reservation("/release"))).refused("forbidden");
    keys.send(&mut client, "checkout", post("/v1/sales/drop/close")).refused("forbidden");
    keys.send(&mut client, "operator", post("/v1/sales/drop/close")).success(200);
}

#[test]
fn a_key_of_some_sales_sees_nothing_of_others() {
    let keys = Keys::all_roles().add("summer", Role::Operator, &["summer-*", "one"]);
    let service = keys.serve();
    let mut client = service.client();
    for sale in ["summer-1", "winter-1", "one", "one-2"] {
        keys.send(&mut client, "operator", put(sale)).success(201);
    }
    let hidden = keys.send(&mut client, "operator", reserve("winter-1")).success(201);
    let hidden = hidden["id"].as_str().unwrap();
    let unknown = "019a0000-0000-7000-8000-000000000000";
    let post = |path: &str| Ask::new("POST", path);
    // What is hidden is answered as what does not exist, to the byte.
    let verbs = [
        "/availability",
        "/report",
        "/pause",
        "/close",
        "/reservations",
        "/reservations/batch",
        "/items/tv/adjustments",
    ];
    for verb in [""].into_iter().chain(verbs) {
        let ask = |sale: &str| {
            let method = if matches!(verb, "" | "/availability" | "/report") { "GET" } else { "POST" };
            let ask = Ask::new(method, &format!("/v1/sales/{sale}{verb}"));
            match verb {
                "/reservations/batch" => batch(sale, [reserve_body("ann", [("tv", 1)])]),
                "/reservations" => ask.json(&reserve_body("ann", [("tv", 1)])),
                "/items/tv/adjustments" => ask.json(&json!({ "delta": 1 })),
                _ => ask,
            }
        };
        let refused = keys.send(&mut client, "summer", ask("winter-1")).refused("sale_not_found");
        assert_eq!(refused, keys.send(&mut client, "summer", ask("summer-9")).refused("sale_not_found"), "{verb}");
    }
    keys.send(&mut client, "summer", put("winter-1")).refused("sale_not_found");
    keys.send(&mut client, "summer", put("winter-2")).refused("sale_not_found");
    for verb in ["", "/confirm", "/release", "/extend"] {
        let ask = |id: &str| match verb {
            "" => Ask::new("GET", &format!("/v1/reservations/{id}")),
            "/extend" => post(&format!("/v1/reservations/{id}/extend")).json(&json!({ "hold_seconds": 60 })),
            verb => post(&format!("/v1/reservations/{id}{verb}")),
        };
        let refused = keys.send(&mut client, "summer", ask(hidden)).refused("reservation_not_found");
        assert_eq!(refused, keys.send(&mut client, "summer", ask(unknown)).refused("reservation_not_found"), "{verb}");
    }
    let still = keys.send(&mut client, "viewer", Ask::new("GET", &format!("/v1/reservations/{hidden}"))).success(200);
    assert_eq!((&still["state"], &still["extensions"]), (&json!("held"), &json!(0)));

    let ids = |list: serde_json::Value| -> Vec<String> {
        list["sales"].as_array().unwrap().iter().map(|sale| sale["id"].as_str().unwrap().to_owned()).collect()
    };
    let list = keys.send(&mut client, "summer", Ask::new("GET", "/v1/sales")).success(200);
    assert_eq!(ids(list), ["one", "summer-1"]);
    let first = keys.send(&mut client, "summer", Ask::new("GET", "/v1/sales?limit=1")).success(200);
    assert_eq!(first["next"], "one");
    let second = keys.send(&mut client, "summer", Ask::new("GET", "/v1/sales?limit=1&after=one")).success(200);
    assert_eq!(second.get("next"), None);
    assert_eq!(ids(second), ["summer-1"]);

    // An erasure reaches into every sale, and is no way to find out about customers of others.
    for customer in ["ann", "nobody", "%00"] {
        keys.send(&mut client, "summer", Ask::new("DELETE", &format!("/v1/customers/{customer}"))).refused("forbidden");
    }

    keys.send(&mut client, "summer", put("summer-2")).success(201);
    let held = keys.send(&mut client, "summer", reserve("one")).success(201);
    let confirm = post(&format!("/v1/reservations/{}/confirm", held["id"].as_str().unwrap()));
    assert_eq!(keys.send(&mut client, "summer", confirm).success(200)["state"], "confirmed");
}

#[test]
fn a_key_of_some_sales_is_told_of_their_events_alone() {
    let keys = Keys::all_roles().add("summer", Role::Viewer, &["summer-*"]);
    let service = keys.serve();
    let mut client = service.client();
    for sale in ["winter-1", "summer-1", "winter-2", "summer-2"] {
        keys.send(&mut client, "operator", put(sale)).success(201);
        keys.send(&mut client, "checkout", reserve(sale)).success(201);
        // Told to those of all sales alone: the customer may never have been in any other.
        keys.send(&mut client, "operator", Ask::new("DELETE", "/v1/customers/ann")).success(200);
    }
    client.send(&Ask::new("GET", "/v1/events?after=0")).refused("unauthenticated");
    let told_to = |name: &str, count: usize| {
        let ask = Ask::new("GET", "/v1/events?after=0").header("Accept", "application/x-ndjson");
        Feed::send(service.address(), &keys.sign(ask, name)).unwrap().take(count)
    };
    // A sale is put, opened, and a unit of it held; then the customer is erased.
    let all = told_to("viewer", 16);
    assert_eq!(all.iter().filter(|told| told.kind == "customer.erased").count(), 4);
    let some = told_to("summer", 6);
    assert!(
        some.iter().all(|told| told.cloud["source"].as_str().unwrap().starts_with("/v1/sales/summer-")),
        "{some:?}"
    );
    // Another view has cursors of its own, and knows none of the others: not of what it does not see, not of the same event.
    let strip = |told: &Told| with(told.cloud.clone(), json!({ "id": null, "cursor": null }));
    let all_stripped: Vec<_> = all.iter().map(strip).collect();
    assert!(some.iter().all(|told| all_stripped.contains(&strip(told)) && !all.contains(told)), "{some:?}");
    let go_on = |cursor: &str, name: &str| {
        let mut client = service.client();
        keys.send(&mut client, name, Ask::new("HEAD", &format!("/v1/events?after={cursor}"))).status
    };
    let refusal = |cursor: &str| {
        let mut client = service.client();
        keys.send(&mut client, "summer", Ask::new("GET", &format!("/v1/events?after={cursor}")))
            .refused("invalid_request")
    };
    let never = refusal("snh5d4h0m13c82hrce9to998kg");
    for told in &all {
        assert_eq!(
            (go_on(told.cursor(), "viewer"), go_on(told.cursor(), "operator")),
            (200, 200),
            "one view, two keys"
        );
        assert_eq!(refusal(told.cursor()), never, "as one that never was");
    }
    assert!(some.iter().all(|told| go_on(told.cursor(), "summer") == 200 && go_on(told.cursor(), "viewer") == 400));

    // Where a reader begins does not tell whether anything happened in between.
    let begin = || {
        let mut client = service.client();
        let head = keys.send(&mut client, "summer", Ask::new("HEAD", "/v1/events"));
        head.header("event-cursor").unwrap().to_owned()
    };
    let begins: BTreeSet<_> = (0..4).map(|_| begin()).collect();
    assert_eq!(begins.len(), 4, "{begins:?}");

    // Nor does a report say how many batches there were.
    let report = |name: &str| {
        let mut client = service.client();
        keys.send(&mut client, name, Ask::new("GET", "/v1/sales/summer-1/report")).success(200)
    };
    let of_all = ["epoch", "changed_at", "lag_epochs"].map(|member| report("viewer")["as_of"].get(member).is_some());
    let of_some = ["epoch", "changed_at", "lag_epochs"].map(|member| report("summer")["as_of"].get(member).is_some());
    assert_eq!((of_all, of_some), ([true; 3], [false; 3]));
}

#[test]
fn keys_change_while_requests_come_in() {
    let keys = Keys::all_roles();
    let service = keys.serve();
    let mut client = service.client();
    keys.send(&mut client, "operator", put("drop")).success(201);
    let mut fewer = keys.settings.clone();
    fewer.remove("operator");
    service.running().replace_keys(&fewer);
    keys.send(&mut client, "operator", Ask::new("GET", "/v1/sales")).refused("unauthenticated");
    keys.send(&mut client, "viewer", Ask::new("GET", "/v1/sales")).success(200);
    // The last key taken away opens no door.
    service.running().replace_keys(&BTreeMap::new());
    keys.send(&mut client, "viewer", Ask::new("GET", "/v1/sales")).refused("unauthenticated");
    client.get("/v1/sales").refused("unauthenticated");
    service.running().replace_keys(&keys.settings);
    keys.send(&mut client, "operator", Ask::new("GET", "/v1/sales/drop")).success(200);
}

/// Keys come while the service runs; from then on its document says that they are needed.
#[test]
fn the_document_says_whether_a_key_is_needed() {
    let security =
        |client: &mut Client| client.get("/openapi.json").success(200)["paths"]["/v1/sales"]["get"]["security"].clone();
    let keys = Keys::all_roles();
    assert_eq!(security(&mut keys.serve().client()), json!([{ "key": [] }]));
    let service = Service::start();
    let mut client = service.client();
    assert_eq!(security(&mut client), json!([{ "key": [] }, {}]));
    service.running().replace_keys(&BTreeMap::new());
    assert_eq!(security(&mut client), json!([{ "key": [] }, {}]));
    service.running().replace_keys(&keys.settings);
    assert_eq!(security(&mut client), json!([{ "key": [] }]));
}

#[test]
fn who_calls_is_asked_before_the_body_is_looked_at() {
    let keys = Keys::all_roles();
    let service = keys.serve();
    let mut client = service.client();
    let bad = || Ask::new("POST", "/v1/sales/drop/reservations").header("Content-Type", "text/plain").bytes("x");
    client.send(&bad()).refused("unauthenticated");
    keys.send(&mut client, "viewer", bad()).refused("forbidden");
    keys.send(&mut client, "checkout", bad()).refused("unsupported_media_type");
    let huge = with(open_sale(items([("tv", 1)])), json!({ "name": "x".repeat(100_000) }));
    client.send(&Ask::new("PUT", "/v1/sales/drop").json(&huge)).refused("unauthenticated");
}
