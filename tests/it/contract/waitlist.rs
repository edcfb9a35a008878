//! Waitlists: who may wait, what an entry says in each of its states, and who gets the units that come back.

use doorbuster::auth::{KeySettings, Role, mint};
use serde_json::{Value, json};

use super::keys::Keys;
use crate::served::{
    Answer, Ask, Client, Service,
    documents::{items, lines, only, with},
    now_millis, open_sale, problems, reserve_body,
    shapes::{check_entry, check_time},
    wait_until,
};

const JOIN: &str = "/v1/sales/drop/waitlist";

/// A sale whose waitlist has room for three; offered holds last ten minutes.
fn sale(items: Value) -> Value {
    with(open_sale(items), json!({ "waitlist": { "entries_max": 3, "entry_seconds": 3600 } }))
}

fn start(items: Value) -> (Service, Client) {
    let service = Service::start();
    let mut client = service.client();
    client.put("/v1/sales/drop", &sale(items)).success(201);
    (service, client)
}

/// Everything of the sale is held.
fn sold_out(units: u64) -> (Service, Client, Value) {
    let (service, mut client) = start(items([("tv", units)]));
    let held = client.hold("drop", "holder", [("tv", units)]);
    (service, client, held)
}

fn join(client: &mut Client, customer: &str, units: u64) -> Answer {
    client.post(JOIN, &reserve_body(customer, [("tv", units)]))
}

#[track_caller]
fn joined(client: &mut Client, customer: &str, units: u64) -> Value {
    entry_of(&join(client, customer, units), 201)
}

#[track_caller]
fn entry_of(answer: &Answer, status: u16) -> Value {
    let entry = answer.success(status);
    check_entry(&entry);
    entry
}

fn path(entry: &Value) -> String {
    format!("/v1/waitlist/{}", entry["id"].as_str().expect("an entry has an id"))
}

#[track_caller]
fn look(client: &mut Client, entry: &Value) -> Value {
    entry_of(&client.get(&path(entry)), 200)
}

fn leave(client: &mut Client, entry: &Value) -> Answer {
    client.post_nothing(&format!("{}/leave", path(entry)))
}

/// Waits until the entry is in this state.
#[track_caller]
fn becomes(client: &mut Client, entry: &Value, state: &str) -> Value {
    wait_until(&format!("the entry is {state}"), || look(client, entry)["state"] == state);
    look(client, entry)
}

/// The reservation that an entry was offered.
#[track_caller]
fn offered(client: &mut Client, entry: &Value) -> Value {
    let entry = becomes(client, entry, "offered");
    let path = format!("/v1/reservations/{}", entry["reservation"].as_str().unwrap());
    let reservation = client.get(&path).reservation(200);
    assert_eq!(reservation["waitlist"], entry["id"], "{reservation}");
    reservation
}

#[test]
fn an_entry_has_what_was_asked_and_its_place() {
    let (_service, mut client, _) = sold_out(2);
    let body = with(
        reserve_body("ann", [("tv", 1)]),
        json!({
            "reference": "cart-1", "tier": "gold", "channel": "app", "region": "eu", "labels": { "campaign": "mail" },
            "locations": ["berlin"],
        }),
    );
    // No pool is in Berlin, but the item declares none: its pool has no location.
    let answer = client.post(JOIN, &body);
    let ann = entry_of(&answer, 201);
    assert_eq!(answer.header("location"), Some(&*path(&ann)));
    let told = [
        "sale",
        "customer",
        "lines",
        "state",
        "position",
        "reference",
        "tier",
        "channel",
        "region",
        "labels",
        "locations",
    ];
    let expected = with(body, json!({ "sale": "drop", "state": "waiting", "position": 1 }));
    assert_eq!(only(&ann, &told), expected);
    assert_eq!(check_time(&ann["expires_at"]) - check_time(&ann["joined_at"]), 3_600_000);
    // The same SKU twice is one line.
    let bob = entry_of(&client.post(JOIN, &reserve_body("bob", [("tv", 1), ("tv", 1)])), 201);
    assert_eq!((&bob["lines"], &bob["position"]), (&lines([("tv", 2)]), &json!(2)));
    assert_eq!(look(&mut client, &ann), ann);
    assert_eq!(client.sale("drop")["waiting"], 2);
    assert_eq!(client.get("/v1/sales/drop/availability").success(200)["waiting"], 2);
    // Who leaves lets the others move up.
    let left = entry_of(&leave(&mut client, &ann), 200);
    assert_eq!(left["state"], "left");
    assert_eq!(entry_of(&leave(&mut client, &ann), 200), left, "leaving again changes nothing");
    assert_eq!(look(&mut client, &bob)["position"], 1);
    assert_eq!(client.sale("drop")["waiting"], 1);
}

#[test]
fn each_refusal_says_why() {
    let (_service, mut client, held) = sold_out(2);
    client.put_open_sale("plain", [("tv", 0)]);
    client.post("/v1/sales/plain/waitlist", &reserve_body("ann", [("tv", 1)])).refused("no_waitlist");
    client.post("/v1/sales/none/waitlist", &reserve_body("ann", [("tv", 1)])).refused("sale_not_found");
    client.post(JOIN, &reserve_body("ann", [("mug", 1)])).refused("item_not_found");
    for (member, value) in [("hold_seconds", json!(60)), ("allow_partial", json!(true)), ("vip", json!(1))] {
        let mut body = reserve_body("ann", [("tv", 1)]);
        body[member] = value;
        assert_eq!(client.post(JOIN, &body).pointers(), [format!("/{member}")]);
    }
    assert_eq!(client.post(JOIN, &json!({ "customer": "", "lines": [] })).pointers(), ["/customer", "/lines"]);
    // A line that is short says that one can wait.
    let short = client.reserve("drop", "ann", [("tv", 1)]).refused("sold_out");
    assert_eq!(short["lines"][0]["waitlist"], true);
    assert_eq!(client.reserve("plain", "ann", [("tv", 1)]).refused("sold_out")["lines"][0].get("waitlist"), None);
    let ann = joined(&mut client, "ann", 1);
    assert_eq!(join(&mut client, "ann", 2).refused("already_waiting")["entry"], ann["id"]);
    joined(&mut client, "bob", 2);
    joined(&mut client, "cem", 1);
    assert_eq!(join(&mut client, "dan", 1).refused("waitlist_full")["limit"], 3);
    // What is offered cannot be left, and what could be held is not waited for.
    client.act(&held, "release", json!({})).reservation(200);
    let reservation = offered(&mut client, &ann);
    let refused = leave(&mut client, &ann).refused("not_waiting");
    assert_eq!(
        only(&refused, &["state", "reservation"]),
        json!({ "state": "offered", "reservation": reservation["id"] })
    );
    client.post("/v1/sales/drop/items/tv/adjustments", &json!({ "delta": 10 })).success(201);
    join(&mut client, "dan", 1).refused("stock_available");
    for unknown in ["019a0000-0000-7000-8000-000000000000", "x", reservation["id"].as_str().unwrap()] {
        client.get(&format!("/v1/waitlist/{unknown}")).refused("waitlist_entry_not_found");
        client.post_nothing(&format!("/v1/waitlist/{unknown}/leave")).refused("waitlist_entry_not_found");
    }
    client.get(&format!("/v1/reservations/{}", ann["id"].as_str().unwrap())).refused("reservation_not_found");
    for code in ["no_waitlist", "stock_available", "already_waiting", "waitlist_full", "not_waiting"] {
        client.get(&problems::path(code)).success(200);
    }
}

#[test]
fn a_window_a_pause_a_phase_and_a_limit_refuse_who_would_wait_as_who_would_buy() {
    let service = Service::start();
    let mut client = service.client();
    let put = |client: &mut Client, id: &str, changes: Value| {
        let limited = json!([{ "sku": "tv", "initial_stock": 1, "customer_limit": 1 }]);
        client.put(&format!("/v1/sales/{id}"), &with(sale(limited), changes)).success(201);
        format!("/v1/sales/{id}/waitlist")
    };
    let body = reserve_body("ann", [("tv", 1)]);
    let later = put(&mut client, "later", json!({ "opens_at": "2198-01-01T00:00:00.000Z" }));
    assert_eq!(client.post(&later, &body).refused("sale_not_started")["opens_at"], "2198-01-01T00:00:00.000Z");
    let past = put(&mut client, "past", json!({ "closes_at": "2021-01-01T00:00:00.000Z" }));
    client.post(&past, &body).refused("sale_ended");
    let phased = json!({ "phases": [{ "name": "gold", "opens_at": "2020-01-01T00:00:00.000Z", "tiers": ["gold"] }] });
    let phased = put(&mut client, "phased", phased);
    client.post(&phased, &body).refused("not_eligible");
    let drop = put(&mut client, "drop", json!({}));
    client.hold("drop", "ann", [("tv", 1)]);
    let refused = client.post(&drop, &body).refused("customer_limit_exceeded");
    assert_eq!(only(&refused, &["sku", "limit", "already"]), json!({ "sku": "tv", "limit": 1, "already": 1 }));
    client.post_nothing("/v1/sales/drop/pause").success(200);
    client.post(&drop, &reserve_body("bob", [("tv", 1)])).refused("sale_paused");
}

#[test]
fn nobody_waits_for_a_hold_that_would_end_after_the_sale() {
    let service = Service::start();
    let mut client = service.client();
    let closes_at = crate::served::documents::rfc3339(now_millis() + 3_600_000);
    let sale = with(sale(items([("tv", 0)])), json!({ "closes_at": closes_at }));
    let with_hold = |seconds: u64| {
        with(
            sale.clone(),
            json!({ "waitlist": { "entries_max": 3, "entry_seconds": 86_400, "hold_seconds": seconds } }),
        )
    };
    client.put("/v1/sales/drop", &with_hold(3500)).success(201);
    let ann = joined(&mut client, "ann", 1);
    let last = check_time(&json!(closes_at)) - 3_500_000;
    assert_eq!(check_time(&ann["expires_at"]), last, "nothing is offered later");
    client.put("/v1/sales/drop", &with_hold(3601)).success(200);
    client.post(JOIN, &reserve_body("bob", [("tv", 1)])).refused("sale_ended");
    let expired = becomes(&mut client, &ann, "expired");
    assert_eq!(leave(&mut client, &ann).refused("not_waiting")["state"], "expired");
    assert!(check_time(&expired["expired_at"]) < last);
}

#[test]
fn a_repeated_key_is_the_entry_as_it_is_now() {
    let (_service, mut client, held) = sold_out(1);
    let ask =
        |customer: &str, units: u64| Ask::new("POST", JOIN).key("k-1").json(&reserve_body(customer, [("tv", units)]));
    let first = client.send(&ask("ann", 1));
    assert!(!first.is_replayed());
    let ann = entry_of(&first, 201);
    let again = client.send(&ask("ann", 1));
    assert!(again.is_replayed());
    assert_eq!((entry_of(&again, 201), again.header("location")), (ann.clone(), first.header("location")));
    client.send(&ask("ann", 2)).refused("idempotency_key_reused");
    // The key's scope is the customer.
    assert!(!client.send(&ask("bob", 1)).is_replayed());
    client.act(&held, "release", json!({})).reservation(200);
    let reservation = offered(&mut client, &ann);
    let now = entry_of(&client.send(&ask("ann", 1)), 201);
    assert_eq!(only(&now, &["state", "reservation"]), json!({ "state": "offered", "reservation": reservation["id"] }));
    assert_eq!(client.send(&Ask::new("POST", JOIN).key("a b").json(&json!({}))).pointers(), [""]);
}

#[test]
fn what_comes_back_is_held_in_the_order_of_joining() {
    let (_service, mut client, held) = sold_out(3);
    let ann = joined(&mut client, "ann", 2);
    let bob = joined(&mut client, "bob", 2);
    let cem = joined(&mut client, "cem", 1);
    // Ann fits into what comes back. Bob does not fit into the rest, keeps his place, and Cem fits.
    client.act(&held, "release", json!({})).reservation(200);
    let of_ann = offered(&mut client, &ann);
    assert_eq!(
        only(&of_ann, &["state", "customer", "lines"]),
        json!({ "state": "held", "customer": "ann", "lines": lines([("tv", 2)]) })
    );
    let of_cem = offered(&mut client, &cem);
    assert_eq!(only(&look(&mut client, &bob), &["state", "position"]), json!({ "state": "waiting", "position": 1 }));
    client.reserve("drop", "eve", [("tv", 1)]).refused("sold_out");
    // What is confirmed does not come back; the part that is not does, and nobody else gets it.
    client.act(&of_ann, "confirm", json!({ "lines": lines([("tv", 1)]) })).reservation(200);
    client.act(&of_cem, "release", json!({})).reservation(200);
    let of_bob = offered(&mut client, &bob);
    assert_eq!((&of_bob["lines"], client.units("drop", "tv")), (&lines([("tv", 2)]), [3, 0, 2, 1]));
    client.act(&of_bob, "confirm", json!({ "reference": "order-1" })).reservation(200);
    assert_eq!(client.sale("drop")["waiting"], 0);
}

#[test]
fn an_offered_hold_that_expires_is_offered_to_the_next() {
    let service = Service::start();
    let mut client = service.client();
    let short = json!({ "waitlist": { "entries_max": 3, "entry_seconds": 3600, "hold_seconds": 1 } });
    client.put("/v1/sales/drop", &with(open_sale(items([("tv", 1)])), short)).success(201);
    let held = client.hold("drop", "holder", [("tv", 1)]);
    let (ann, bob) = (joined(&mut client, "ann", 1), joined(&mut client, "bob", 1));
    client.act(&held, "release", json!({})).reservation(200);
    let of_ann = offered(&mut client, &ann);
    assert_eq!(check_time(&of_ann["expires_at"]) - check_time(&of_ann["created_at"]), 1000);
    let of_bob = offered(&mut client, &bob);
    assert!(check_time(&of_bob["created_at"]) >= check_time(&of_ann["expires_at"]));
    assert_eq!(client.look(&of_ann)["state"], "expired");
    // The entry was offered something once; whoever let it pass may join again.
    let again = joined(&mut client, "ann", 1);
    assert_ne!(again["id"], ann["id"]);
    assert_eq!(look(&mut client, &ann)["state"], "offered");
}

#[test]
fn who_can_have_no_more_is_passed_over_and_keeps_the_place() {
    let (_service, mut client) = start(json!([{ "sku": "tv", "initial_stock": 3, "customer_limit": 2 }]));
    let ann_holds = client.hold("drop", "ann", [("tv", 1)]);
    let held = client.hold("drop", "holder", [("tv", 2)]);
    let ann = joined(&mut client, "ann", 1);
    let bob = joined(&mut client, "bob", 1);
    // The limit is lowered while she waits.
    let lower = json!([{ "sku": "tv", "initial_stock": 3, "customer_limit": 1 }]);
    client.put("/v1/sales/drop", &sale(lower)).success(200);
    client.act(&held, "release", json!({})).reservation(200);
    offered(&mut client, &bob);
    let passed = look(&mut client, &ann);
    assert_eq!(only(&passed, &["state", "position"]), json!({ "state": "waiting", "position": 1 }));
    assert_eq!(passed["passed_over"]["code"], "customer_limit_exceeded");
    // When she has room again, what comes back next is hers.
    client.act(&ann_holds, "release", json!({})).reservation(200);
    let of_ann = offered(&mut client, &ann);
    assert_eq!(of_ann["lines"], lines([("tv", 1)]));
}

#[test]
fn nothing_is_offered_while_the_sale_is_paused_and_nobody_waits_when_it_is_over() {
    let (_service, mut client, held) = sold_out(2);
    let (ann, bob) = (joined(&mut client, "ann", 2), joined(&mut client, "bob", 1));
    client.post_nothing("/v1/sales/drop/pause").success(200);
    client.act(&held, "release", json!({})).reservation(200);
    assert_eq!(look(&mut client, &ann)["state"], "waiting");
    entry_of(&leave(&mut client, &ann), 200);
    client.post_nothing("/v1/sales/drop/resume").success(200);
    offered(&mut client, &bob);
    let cem = joined(&mut client, "cem", 2);
    client.post_nothing("/v1/sales/drop/close").success(200);
    let expired = becomes(&mut client, &cem, "expired");
    assert!(check_time(&expired["expired_at"]) < check_time(&cem["expires_at"]));
    join(&mut client, "dan", 1).refused("sale_ended");
    assert_eq!(client.sale("drop")["waiting"], 0);
}

#[test]
fn entries_survive_a_restart_in_their_order() {
    let (mut service, mut client, held) = sold_out(1);
    let ask = Ask::new("POST", JOIN).key("k-1").json(&reserve_body("ann", [("tv", 1)]));
    let ann = entry_of(&client.send(&ask), 201);
    let bob = joined(&mut client, "bob", 1);
    let gone = joined(&mut client, "cem", 1);
    let gone = entry_of(&leave(&mut client, &gone), 200);
    drop(client);
    service.stop();
    service.start_again();
    let mut client = service.client();
    assert_eq!(
        (look(&mut client, &ann), look(&mut client, &bob), look(&mut client, &gone)),
        (ann.clone(), bob.clone(), gone)
    );
    let again = client.send(&ask);
    assert!(again.is_replayed());
    assert_eq!(entry_of(&again, 201), ann);
    client.act(&held, "release", json!({})).reservation(200);
    let of_ann = offered(&mut client, &ann);
    assert_eq!(look(&mut client, &bob)["position"], 1);
    client.act(&of_ann, "release", json!({})).reservation(200);
    offered(&mut client, &bob);
}

#[test]
fn an_erased_customer_waits_no_longer() {
    let (_service, mut client, held) = sold_out(1);
    let body = with(reserve_body("ann", [("tv", 1)]), json!({ "reference": "cart of ann" }));
    let ann = entry_of(&client.post(JOIN, &body), 201);
    let bob = joined(&mut client, "bob", 1);
    client.send(&Ask::new("DELETE", "/v1/customers/ann")).success(200);
    client.get(&path(&ann)).refused("waitlist_entry_not_found");
    assert_eq!(look(&mut client, &bob)["position"], 1);
    client.act(&held, "release", json!({})).reservation(200);
    offered(&mut client, &bob);
    assert!(!joined(&mut client, "ann", 1)["id"].is_null(), "who comes back begins anew");
}

#[test]
fn quotas_of_the_sale_and_the_customer_are_those_of_a_reserve() {
    let service = Service::start();
    let mut client = service.client();
    let quota = |kind: &str| json!({ "rate_limits": { kind: { "requests": 2, "window_seconds": 3600 } } });
    for kind in ["sale", "customer"] {
        client.put(&format!("/v1/sales/{kind}"), &with(sale(items([("tv", 0)])), quota(kind))).success(201);
        let path = format!("/v1/sales/{kind}/waitlist");
        client.reserve(kind, "ann", [("tv", 1)]).refused("sold_out");
        client.post(&path, &reserve_body("ann", [("tv", 1)])).success(201);
        let refused = client.post(&path, &reserve_body("ann", [("tv", 1)]));
        assert_eq!(refused.refused("rate_limited")["code"], "rate_limited");
        assert_eq!(refused.header("ratelimit-policy"), Some(&*format!("\"{kind}\";q=2;w=3600")));
    }
}

/// Keys of each role, and one that is tied to a channel.
fn keys() -> Keys {
    let mut keys = Keys::all_roles().add("other", Role::Operator, &["other"]);
    let minted = mint(9, [1, 2, 3], [4; 32]);
    let channels = vec!["app".to_owned().try_into().expect("a slug")];
    let settings = KeySettings { role: Role::Checkout, sales: Vec::new(), channels, hash: minted.hash };
    keys.settings.insert("app".to_owned(), settings);
    keys.texts.insert("app", minted.key);
    keys
}

#[test]
fn a_key_sees_entries_of_its_sales_and_channels_alone() {
    let keys = keys();
    let service = keys.serve();
    let mut client = service.client();
    let mut send = |name: &str, ask: Ask| keys.send(&mut client, name, ask);
    send("operator", Ask::new("PUT", "/v1/sales/drop").json(&sale(items([("tv", 0)])))).success(201);
    let join = |body: Value| Ask::new("POST", JOIN).json(&body);
    let body = |customer: &str| reserve_body(customer, [("tv", 1)]);
    send("viewer", join(body("ann"))).refused("forbidden");
    let web = entry_of(&send("checkout", join(with(body("ann"), json!({ "channel": "web" })))), 201);
    // A key that is tied to one channel has it as the default, and no other.
    let app = entry_of(&send("app", join(body("bob"))), 201);
    assert_eq!(app["channel"], "app");
    send("app", join(with(body("cem"), json!({ "channel": "web" })))).refused("forbidden");
    let get = |entry: &Value| Ask::new("GET", &path(entry));
    let leave = |entry: &Value| Ask::new("POST", &format!("{}/leave", path(entry)));
    for ask in [get(&web), leave(&web)] {
        send("app", ask.clone()).refused("waitlist_entry_not_found");
        send("other", ask).refused("waitlist_entry_not_found");
    }
    send("other", join(body("dan"))).refused("sale_not_found");
    entry_of(&send("viewer", get(&web)), 200);
    send("viewer", leave(&app)).refused("forbidden");
    assert_eq!(entry_of(&send("app", leave(&app)), 200)["state"], "left");
    assert_eq!(entry_of(&send("checkout", get(&web)), 200)["state"], "waiting");
}
