//! Group deals over HTTP: opening, joining, completing, failing and leaving, in answers, batches, the feed, the store and metrics.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::served::{
    Answer, Ask, Client, Feed, Service, Told,
    documents::{lines, only, with},
    now_millis, open_sale,
    shapes::check_time,
    wait_until,
};

fn start(seconds: u64) -> (Service, Client) {
    let service = Service::start();
    let mut client = service.client();
    let items = json!([
        { "sku": "kettle", "initial_stock": 20, "group": { "size": 3, "seconds": seconds } },
        { "sku": "mug", "initial_stock": 20 },
    ]);
    client.put("/v1/sales/drop", &open_sale(items)).success(201);
    (service, client)
}

fn body(customer: &str, group: Option<&Value>) -> Value {
    let plain = json!({ "customer": customer, "lines": lines([("kettle", 1)]) });
    group.map_or_else(|| plain.clone(), |group| with(plain.clone(), json!({ "group": group["group"]["id"] })))
}

fn join(client: &mut Client, customer: &str, group: Option<&Value>) -> Answer {
    client.post("/v1/sales/drop/reservations", &body(customer, group))
}

#[test]
fn a_group_is_opened_joined_and_complete_for_all_at_once() {
    let (service, mut client) = start(3600);
    assert_eq!(client.sale("drop")["items"][0]["group"], json!({ "size": 3, "seconds": 3600 }));
    assert_eq!(client.sale("drop")["items"][0]["open_groups"], 0);
    let ann = join(&mut client, "ann", None).reservation(201);
    assert_eq!(only(&ann["group"], &["size", "members", "state"]), json!({ "size": 3, "members": 1, "state": "open" }));
    assert_eq!(check_time(&ann["expires_at"]), check_time(&ann["created_at"]) + 3_600_000);
    for (verb, request) in [
        ("confirm", json!({ "reference": "payment" })),
        ("extend", json!({ "hold_seconds": 7200 })),
        ("change", json!({ "lines": lines([("mug", 1)]) })),
    ] {
        assert_eq!(client.act(&ann, verb, request).refused("group_incomplete")["reservation"], ann);
    }
    client.act(&ann, "cancel", json!({})).refused("not_confirmed");
    assert_eq!(join(&mut client, "ann", Some(&ann)).refused("already_in_group")["reservation"], ann);
    let tried = client.post("/v1/sales/drop/reservations?dry_run=true", &body("bob", Some(&ann))).success(200);
    assert_eq!(tried["expires_at"], ann["expires_at"]);
    let ask = Ask::new("POST", "/v1/sales/drop/reservations").key("k").json(&body("bob", Some(&ann)));
    let bob = client.send(&ask).reservation(201);
    assert_eq!(client.look(&ann)["group"], bob["group"]);
    let cid = join(&mut client, "cid", Some(&ann)).reservation(201);
    assert_eq!(only(&cid["group"], &["members", "state"]), json!({ "members": 3, "state": "complete" }));
    for member in [&ann, &bob] {
        let now = client.look(member);
        assert_eq!((&now["group"], &now["expires_at"]), (&cid["group"], &cid["expires_at"]));
    }
    let again = client.send(&ask);
    assert!(again.is_replayed());
    assert_eq!(again.reservation(201)["group"], bob["group"], "as it was answered first");
    join(&mut client, "dan", Some(&ann)).refused("group_full");
    for member in [&ann, &bob, &cid] {
        assert_eq!(client.act(member, "confirm", json!({})).reservation(200)["group"]["state"], "complete");
    }
    assert_eq!(client.units("drop", "kettle"), [20, 17, 0, 3]);

    // In a batch, the group's event may come before those of its members.
    let last = |told: &Told| told.kind == "reservation.confirmed" && told.cloud["subject"] == cid["id"];
    let told = Feed::open(service.address(), "?after=0").until(last);
    let opened = told.iter().find(|told| told.kind == "group.opened").expect("it was opened");
    assert_eq!(opened.cloud["subject"], ann["group"]["id"]);
    assert_eq!(opened.data()["reservations"], json!([ann["id"]]));
    let completed = told.iter().find(|told| told.kind == "group.completed").expect("it is complete").data();
    assert_eq!(
        only(completed, &["sale", "sku", "size", "members", "state"]),
        json!({ "sale": "drop", "sku": "kettle", "size": 3, "members": 3, "state": "complete" })
    );
    assert_eq!(completed["reservations"], json!([ann["id"], bob["id"], cid["id"]]));
    let held = told.iter().filter(|told| told.kind == "reservation.held");
    assert!(held.clone().count() == 3 && held.into_iter().all(|told| told.data()["group"] == ann["group"]["id"]));
    let counted = || {
        let metrics = service.ops().get("/metrics");
        metrics.text().contains("doorbuster_groups_total{outcome=\"completed\"} 1\n")
            && metrics.text().contains("doorbuster_groups_open 0\n")
    };
    wait_until("the group is counted", counted);
}

#[test]
fn a_group_fails_for_all_when_its_time_is_over() {
    let (service, mut client) = start(1);
    let ann = join(&mut client, "ann", None).reservation(201);
    let bob = join(&mut client, "bob", Some(&ann)).reservation(201);
    thread::sleep(Duration::from_millis(check_time(&ann["expires_at"]).saturating_sub(now_millis())));
    wait_until("the group has failed", || client.look(&ann)["state"] == "released");
    for member in [&ann, &bob] {
        let now = client.look(member);
        assert_eq!(
            (&now["state"], &now["group"]["state"], &now["group"]["members"]),
            (&json!("released"), &json!("failed"), &json!(2))
        );
        let refused = client.act(member, "confirm", json!({ "reference": "late" })).refused("already_released");
        assert_eq!(refused["reservation"], now);
    }
    join(&mut client, "cid", Some(&ann)).refused("group_closed");
    assert_eq!(client.units("drop", "kettle"), [20, 20, 0, 0]);
    let told = Feed::open(service.address(), "?after=0").until(|told| told.kind == "group.failed");
    let failed = told.last().unwrap().data();
    assert_eq!(only(failed, &["members", "state"]), json!({ "members": 2, "state": "failed" }));
    let all = Feed::open(service.address(), "?after=0").until(|told| told.kind == "reservation.confirm_refused");
    let released: Vec<_> = all.iter().filter(|told| told.kind == "reservation.released").collect();
    assert_eq!(released.len(), 2);
    assert!(released.iter().all(|told| told.data()["reason"] == "group_failed"));
    service.wait_for_store();
    let rows = service.store();
    for member in [&ann, &bob] {
        let id = member["id"].as_str().unwrap();
        let row = rows.reservation(&doorbuster::sale::ids::ReservationId::parse(id).unwrap()).unwrap().unwrap();
        assert_eq!((row.group_state.as_deref(), row.group_size), (Some("failed"), Some(3)));
        assert_eq!(row.group_id.as_deref(), member["group"]["id"].as_str());
        assert_eq!(row.release_reason.as_deref(), Some("group_failed"));
    }
}

#[test]
fn who_releases_leaves_and_the_last_one_fails_it() {
    let (service, mut client) = start(3600);
    let ann = join(&mut client, "ann", None).reservation(201);
    let bob = join(&mut client, "bob", Some(&ann)).reservation(201);
    let left = client.act(&bob, "release", json!({ "reason": "too slow" })).reservation(200);
    assert!(left.get("group").is_none());
    assert_eq!(client.look(&ann)["group"]["members"], 1);
    let bob = join(&mut client, "bob", Some(&ann)).reservation(201);
    client.act(&ann, "release", json!({})).reservation(200);
    assert_eq!(client.look(&bob)["group"]["members"], 1, "a group outlives who opened it");
    let last = client.act(&bob, "release", json!({})).reservation(200);
    assert!(last.get("group").is_none());
    let told = Feed::open(service.address(), "?after=0").until(|told| told.kind == "group.failed");
    let failed = told.last().unwrap().data();
    assert_eq!(only(failed, &["members", "state"]), json!({ "members": 0, "state": "failed" }));
    join(&mut client, "cid", Some(&ann)).refused("group_closed");
}

#[test]
fn requests_that_fit_no_group_say_what_is_wrong() {
    let (_service, mut client) = start(3600);
    let path = "/v1/sales/drop/reservations";
    let ann = join(&mut client, "ann", None).reservation(201);
    let both = json!({ "customer": "bob", "lines": lines([("kettle", 1), ("mug", 1)]) });
    assert_eq!(client.post(path, &both).pointers(), ["/lines"]);
    let mug = json!({ "customer": "bob", "lines": lines([("mug", 1)]), "group": ann["group"]["id"] });
    assert_eq!(client.post(path, &mug).pointers(), ["/group"]);
    assert_eq!(client.post(path, &with(mug, json!({ "group": "friends" }))).pointers(), ["/group"]);
    let nobody = json!({ "group": { "id": ann["id"] } });
    join(&mut client, "bob", Some(&nobody)).refused("group_closed");
    let hold = client.hold("drop", "bob", [("mug", 1)]);
    assert_eq!(client.act(&hold, "change", json!({ "lines": lines([("kettle", 1)]) })).pointers(), ["/lines"]);
    let results = client.batch(
        "drop",
        &[body("bob", Some(&ann)), body("bob", Some(&ann)), body("cid", Some(&ann)), body("dan", Some(&ann))],
    );
    let outcomes: Vec<_> = results.iter().map(|it| it["problem"]["code"].as_str().unwrap_or("held")).collect();
    assert_eq!(outcomes, ["held", "already_in_group", "held", "group_full"]);
    for (group, pointers) in [
        (json!({ "size": 1, "seconds": 60 }), vec!["/items/0/group/size"]),
        (json!({ "size": 101, "seconds": 0 }), vec!["/items/0/group/size", "/items/0/group/seconds"]),
        (json!({ "size": 2 }), vec!["/items/0/group/seconds"]),
    ] {
        let sale = open_sale(json!([{ "sku": "kettle", "initial_stock": 1, "group": group }]));
        assert_eq!(client.put("/v1/sales/wrong", &sale).pointers(), pointers);
    }
}
