//! The audit trail as an auditor finds it: who did what through the API, in the store.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::keys::{Keys, put};
use crate::served::{Ask, Feed, Service, documents::items, open_sale, wait_until};
use doorbuster::{
    auth::Role,
    engine::{Answer, Durable},
};

/// Actor, action, sale, SKU and detail of each record.
type Row = (String, String, Option<String>, Option<String>, Value);

/// The rows of the trail, once they are there; fails where the chain does not hold or ends elsewhere than the service's.
fn trail(service: &Service) -> Vec<Row> {
    let engine = &service.running().engine;
    let Answer { value: own, durable_at } = engine.audit_head();
    // A change of keys answers nobody, so nobody has waited for it yet.
    wait_until("the last record is durable", || engine.durability().of(durable_at) == Durable::Yes);
    service.wait_for_store();
    let mut check = service.store().check_audit(&[]).unwrap().unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(check.end(&own), Ok(()));
    let store = Connection::open(service.config.store_path()).unwrap();
    let mut rows = store.prepare("SELECT actor, action, sale, sku, detail FROM audit ORDER BY sequence").unwrap();
    let rows = rows.query_map([], |row| {
        let detail: String = row.get(4)?;
        let detail = serde_json::from_str(&detail).expect("details are JSON");
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, detail))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

fn short(rows: &[Row]) -> Vec<(&str, &str)> {
    rows.iter().map(|(actor, action, ..)| (actor.as_str(), action.as_str())).collect()
}

fn post(path: &str) -> Ask {
    Ask::new("POST", path)
}

#[test]
fn each_key_answers_for_what_it_did() {
    let keys = Keys::all_roles().add("summer", Role::Operator, &["summer-*"]);
    let service = keys.serve();
    let mut client = service.client();
    let adjust = || post("/v1/sales/drop/items/tv/adjustments").json(&json!({ "delta": -2, "reason": "damaged" }));
    let document = keys.send(&mut client, "operator", put("drop")).success(201);
    keys.send(&mut client, "operator", adjust().key("once")).success(201);
    keys.send(&mut client, "operator", adjust().key("once")).success(201);
    keys.send(&mut client, "summer", put("summer-1")).success(201);
    keys.send(&mut client, "summer", post("/v1/sales/summer-1/pause")).success(200);
    keys.send(&mut client, "summer", post("/v1/sales/summer-1/pause")).success(200);
    keys.send(&mut client, "operator", post("/v1/sales/summer-1/resume")).success(200);
    keys.send(&mut client, "operator", post("/v1/sales/drop/close")).success(200);
    // Refused, each for another reason.
    keys.send(&mut client, "summer", adjust()).refused("sale_not_found");
    keys.send(&mut client, "viewer", adjust()).refused("forbidden");
    client.send(&adjust()).refused("unauthenticated");
    let too_many = post("/v1/sales/drop/items/tv/adjustments").json(&json!({ "delta": -20 }));
    keys.send(&mut client, "operator", too_many).refused("insufficient_stock");
    keys.send(&mut client, "operator", post("/v1/sales/drop/pause")).refused("sale_ended");

    let rows = trail(&service);
    assert_eq!(
        short(&rows),
        [
            ("process", "keys.change"),
            ("key:operator", "sale.put"),
            ("key:operator", "stock.adjust"),
            ("key:summer", "sale.put"),
            ("key:summer", "sale.pause"),
            ("key:operator", "sale.resume"),
            ("key:operator", "sale.close"),
        ]
    );
    let (_, _, sale, sku, detail) = &rows[2];
    assert_eq!((sale.as_deref(), sku.as_deref()), (Some("drop"), Some("tv")));
    assert_eq!(*detail, json!({ "delta": -2, "reason": "damaged", "stock": 8, "available": 8 }));
    let (_, _, sale, sku, detail) = &rows[1];
    assert_eq!((sale.as_deref(), sku.as_deref(), &detail["created"]), (Some("drop"), None, &json!(true)));
    // The digest is of the document as it was answered.
    let answered = keys.send(&mut client, "operator", put("summer-1"));
    assert_eq!(answered.status, 200);
    let rows = trail(&service);
    assert_eq!(rows.last().unwrap().4["document"], blake3::hash(answered.text().as_bytes()).to_hex().as_str());
    assert_eq!(document["id"], "drop");
}

/// The trail is never shortened, so it must not name whom it is to forget.
#[test]
fn who_erased_somebody_is_recorded_and_not_whom() {
    let keys = Keys::all_roles();
    let service = keys.serve();
    let mut client = service.client();
    keys.send(&mut client, "operator", put("drop")).success(201);
    keys.send(&mut client, "checkout", super::keys::reserve("drop")).success(201);
    for customer in ["ann", "ann", "nobody"] {
        keys.send(&mut client, "operator", Ask::new("DELETE", &format!("/v1/customers/{customer}"))).success(200);
    }
    keys.send(&mut client, "operator", Ask::new("DELETE", "/v1/customers/%00")).refused("invalid_request");
    keys.send(&mut client, "checkout", Ask::new("DELETE", "/v1/customers/ann")).refused("forbidden");
    let rows = trail(&service);
    let erasures: Vec<_> = rows.iter().filter(|row| row.1 == "customer.erase").collect();
    let expected = [1, 0, 0].map(|reservations| json!({ "reservations": reservations }));
    assert_eq!(erasures.iter().map(|row| row.4.clone()).collect::<Vec<_>>(), expected);
    assert!(erasures.iter().all(|row| (row.0.as_str(), &row.2, &row.3) == ("key:operator", &None, &None)));
}

#[test]
fn where_no_keys_are_configured_it_was_anybody() {
    let service = Service::start();
    service.client().put("/v1/sales/drop", &open_sale(items([("tv", 1)]))).success(201);
    assert_eq!(short(&trail(&service)), [("anybody", "sale.put")]);
}

#[test]
fn keys_that_change_are_recorded_with_names_and_rights_alone() {
    let keys = Keys::all_roles();
    let mut service = keys.serve();
    let (all, mut fewer) = (keys.settings.clone(), keys.settings.clone());
    fewer.remove("viewer");
    fewer.get_mut("checkout").unwrap().role = Role::Operator;
    service.running().replace_keys(&fewer);
    service.running().replace_keys(&fewer);
    let rows = trail(&service);
    assert_eq!(short(&rows), [("process", "keys.change"), ("process", "keys.change")]);
    assert_eq!((&rows[0].4["when"], &rows[0].4["added"]["count"]), (&json!("start"), &json!(3)));
    let expected = json!({
        "when": "reload",
        "keys": 2,
        "changed": { "count": 1, "first": [{ "name": "checkout", "role": "operator" }] },
        "removed": { "count": 1, "first": ["viewer"] },
    });
    assert_eq!(rows[1].4, expected);

    // The same keys at the next start are no change, others are.
    service.config.auth.keys = fewer;
    service.stop();
    service.start_again();
    assert_eq!(trail(&service).len(), 2);
    service.config.auth.keys = all;
    service.stop();
    service.start_again();
    let rows = trail(&service);
    assert_eq!(rows.len(), 3);
    assert_eq!((&rows[2].4["when"], &rows[2].4["added"]["first"][0]["name"]), (&json!("start"), &json!("viewer")));

    // Neither a key nor what is kept of it is anywhere in the trail.
    let told = rows.iter().map(|row| row.4.to_string()).collect::<String>();
    for (name, key) in &keys.texts {
        let hash = keys.settings[*name].hash.to_string();
        for part in hash.split(':').chain(key.split('_')).filter(|part| part.len() > 4) {
            assert!(!told.contains(part), "{part} in {told}");
        }
    }
}

#[test]
fn the_feed_tells_what_was_done_and_not_by_whom_under_cursors_that_stay() {
    let keys = Keys::all_roles();
    let mut service = keys.serve();
    let mut client = service.client();
    keys.send(&mut client, "operator", put("drop")).success(201);
    keys.send(&mut client, "operator", post("/v1/sales/drop/pause")).success(200);
    keys.send(&mut client, "operator", post("/v1/sales/drop/resume")).success(200);
    let adjust = post("/v1/sales/drop/items/tv/adjustments").json(&json!({ "delta": -10 }));
    keys.send(&mut client, "operator", adjust).success(201);
    let read = |service: &Service, query: &str, count: usize| {
        let ask = Ask::new("GET", &format!("/v1/events?{query}")).header("Accept", "application/x-ndjson");
        Feed::send(service.address(), &keys.sign(ask, "viewer")).unwrap().take(count)
    };
    let told = read(&service, "after=0", 6);
    let kinds: Vec<_> = told.iter().map(|told| told.kind.as_str()).collect();
    let expected = ["sale.put", "sale.opened", "sale.paused", "sale.resumed", "stock.adjusted", "item.sold_out"];
    assert_eq!(kinds, expected);
    assert!(!told.iter().any(|told| told.raw.contains("key:")));
    service.stop();
    service.start_again();
    assert_eq!(read(&service, "after=0", 6), told);
    for (index, event) in told.iter().enumerate().take(5) {
        assert_eq!(read(&service, &format!("after={}", event.cursor()), 5 - index), told[index + 1..]);
    }
}
