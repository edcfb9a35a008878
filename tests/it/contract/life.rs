//! The life of a reservation: every state and command of the table, changes, parts, late confirmations, cancellations, hold budgets.

use std::{thread, time::Duration};

use doorbuster::sale::{
    outcome::State,
    transition::{Command, Transition, transition},
};
use serde_json::{Value, json};

use crate::served::{
    Answer, Ask, Client, Feed, Service,
    documents::{address, lines, only, with},
    now_millis, open_sale,
    shapes::{check_reservation, check_time},
    wait_until,
};

/// Items with prices and limits as a test needs them; a hold may be confirmed ten minutes late.
fn sale(items: Value) -> Value {
    with(open_sale(items), json!({ "late_confirm_seconds": 600 }))
}

fn stocked(sku: &str, units: u64) -> Value {
    json!({ "sku": sku, "initial_stock": units })
}

fn start(items: Value) -> (Service, Client) {
    let service = Service::start();
    let mut client = service.client();
    client.put("/v1/sales/drop", &sale(items)).success(201);
    (service, client)
}

fn short_hold<const N: usize>(client: &mut Client, customer: &str, asked: [(&str, u64); N]) -> Value {
    let body = json!({ "customer": customer, "lines": lines(asked), "hold_seconds": 1 });
    client.post("/v1/sales/drop/reservations", &body).reservation(201)
}

fn wait_for_end(client: &mut Client, held: &Value) {
    let ends = check_time(&held["expires_at"]);
    thread::sleep(Duration::from_millis(ends.saturating_sub(now_millis())));
    wait_until("the hold has expired", || client.look(held)["state"] == "expired");
}

fn cancel(client: &mut Client, reservation: &Value, key: &str, body: &Value) -> Answer {
    client.send(&Ask::new("POST", &format!("{}/cancel", address(reservation))).key(key).json(body))
}

/// What the feed has told of a reservation so far, up to an event of this kind.
fn told_until(service: &Service, reservation: &Value, kind: &str) -> Vec<Value> {
    let mut feed = Feed::open(service.address(), "?after=0");
    let id = reservation["id"].as_str().unwrap().to_owned();
    let all = feed.until(|told| told.kind == kind && told.cloud["subject"] == id.as_str());
    let own = all.into_iter().filter(|told| told.cloud["subject"] == id.as_str());
    own.map(|told| with(told.data().clone(), json!({ "kind": told.kind }))).collect()
}

#[test]
fn a_changed_hold_takes_units_from_the_locations_that_its_request_named() {
    let pools = json!([
        { "id": "paris", "initial_stock": 1, "location": "paris" }, { "id": "berlin", "initial_stock": 5, "location": "berlin" }
    ]);
    let (_service, mut client) = start(json!([{ "sku": "tv", "initial_stock": 6, "pools": pools }]));
    let body = json!({ "customer": "ann", "lines": lines([("tv", 1)]), "locations": ["paris"] });
    let held = client.post("/v1/sales/drop/reservations", &body).reservation(201);
    client.act(&held, "change", json!({ "lines": lines([("tv", 2)]) })).refused("insufficient_stock");
    let anywhere = json!({ "customer": "bob", "lines": lines([("tv", 1)]) });
    let held = client.post("/v1/sales/drop/reservations", &anywhere).reservation(201);
    client.act(&held, "change", json!({ "lines": lines([("tv", 2)]) })).reservation(200);
}

#[test]
fn an_empty_body_may_have_any_type_and_no_call_ignores_a_query() {
    let (_service, mut client) = start(json!([stocked("tv", 9)]));
    let body = json!({ "customer": "ann", "lines": lines([("tv", 1)]) });
    let held = client.post("/v1/sales/drop/reservations", &body).reservation(201);
    let post = |path: String| Ask::new("POST", &path);
    let adjustments = "/v1/sales/drop/items/tv/adjustments";
    for (path, body) in [
        (format!("{}/confirm?dry_run=true", address(&held)), json!({})),
        (format!("{adjustments}?dry_run=true"), json!({ "delta": 1 })),
        ("/v1/sales/drop/pause?reason=stock".to_owned(), json!({})),
    ] {
        client.send(&post(path).json(&body)).refused("invalid_request");
    }
    assert_eq!(client.units("drop", "tv"), [9, 8, 1, 0]);
    let binary = post(format!("{}/confirm", address(&held))).header("Content-Type", "application/octet-stream");
    client.send(&binary.clone().header("Content-Length", "0")).reservation(200);
    client.send(&binary.bytes("{}")).refused("unsupported_media_type");
}

#[test]
fn every_state_answers_every_command_as_the_table_says() {
    let (_service, mut client) = start(json!([stocked("tv", 1000)]));
    let mut cases = Vec::new();
    for state in State::ALL {
        for command in Command::ALL {
            let customer = format!("{}-{}", state.as_str(), command.as_str());
            let held = match state {
                State::Expired => short_hold(&mut client, &customer, [("tv", 2)]),
                _ => client.hold("drop", &customer, [("tv", 2)]),
            };
            match state {
                State::Held | State::Expired => {}
                State::Confirmed => drop(client.act(&held, "confirm", json!({})).reservation(200)),
                State::Released => drop(client.act(&held, "release", json!({})).reservation(200)),
                State::Cancelled => {
                    client.act(&held, "confirm", json!({})).reservation(200);
                    client.act(&held, "cancel", json!({})).reservation(200);
                }
            }
            cases.push((state, command, held));
        }
    }
    let expiring = &cases.iter().rfind(|(state, ..)| *state == State::Expired).unwrap().2;
    wait_for_end(&mut client, &expiring.clone());
    for (state, command, held) in cases {
        let before = client.look(&held);
        assert_eq!(before["state"], state.as_str());
        let (verb, body) = match command {
            Command::Extend => ("extend", json!({ "hold_seconds": 3600 })),
            Command::Change => ("change", json!({ "lines": lines([("tv", 3)]) })),
            Command::Confirm => ("confirm", json!({})),
            Command::Release => ("release", json!({})),
            Command::Cancel => ("cancel", json!({})),
            // Nobody can ask for it; `expiry` tests it.
            Command::Expire => continue,
        };
        let answer = client.act(&held, verb, body);
        let after = client.look(&held);
        let told = format!("{state:?} {command:?}: {answer:?}");
        match transition(state, command) {
            Transition::Become(next) => {
                assert_eq!((&answer.reservation(200), &after["state"]), (&after, &json!(next.as_str())), "{told}");
            }
            Transition::Lengthen => {
                assert!(check_time(&after["expires_at"]) > check_time(&before["expires_at"]), "{told}");
            }
            Transition::Change => assert_eq!(answer.reservation(200)["lines"], lines([("tv", 3)]), "{told}"),
            Transition::ConfirmLate => {
                assert_eq!(
                    only(&answer.reservation(200), &["state", "late"]),
                    json!({ "state": "confirmed", "late": true })
                );
            }
            Transition::Repeat => assert_eq!((&answer.reservation(200), &after), (&before, &before), "{told}"),
            Transition::Refuse(reason) => {
                let refused = answer.refused(reason.code().as_str());
                assert_eq!((&refused["reservation"], &after), (&before, &before), "{told}");
            }
            Transition::Nothing => unreachable!("{told}"),
        }
    }
}

#[test]
fn a_change_is_one_step_and_units_that_stay_keep_their_price() {
    let priced =
        |amount: u64| json!({ "sku": "tv", "initial_stock": 10, "price": { "amount": amount, "currency": "EUR" } });
    let (service, mut client) = start(json!([priced(100), stocked("mug", 2)]));
    let held = client.hold("drop", "ann", [("tv", 2)]);
    client.put("/v1/sales/drop", &sale(json!([priced(300), stocked("mug", 2)]))).success(200);
    let changed = client.act(&held, "change", json!({ "lines": lines([("mug", 2), ("tv", 3)]) })).reservation(200);
    assert_eq!((&changed["expires_at"], &changed["id"]), (&held["expires_at"], &held["id"]));
    let tv = changed["lines"].as_array().unwrap().iter().find(|line| line["sku"] == "tv").unwrap();
    assert_eq!(only(tv, &["quantity", "price"]), json!({ "quantity": 3 }), "units of two prices have no one price");
    assert_eq!((client.units("drop", "tv"), client.units("drop", "mug")), ([10, 7, 3, 0], [2, 0, 2, 0]));
    // Refused: nothing changes.
    let refused =
        client.act(&held, "change", json!({ "lines": lines([("tv", 1), ("mug", 3)]) })).refused("insufficient_stock");
    assert_eq!(
        only(&refused["lines"][0], &["sku", "requested", "available"]),
        json!({ "sku": "mug", "requested": 3, "available": 2 })
    );
    assert_eq!(client.look(&held), changed);
    client.act(&held, "change", json!({ "lines": lines([("pan", 1)]) })).refused("item_not_found");
    assert_eq!(client.act(&held, "change", json!({ "lines": [] })).pointers(), ["/lines"]);
    // Repeated: the same answer, and no event.
    let asked = json!({ "lines": lines([("tv", 1)]) });
    let fewer = client.act(&held, "change", asked.clone()).reservation(200);
    assert_eq!(client.act(&held, "change", asked).reservation(200), fewer);
    assert_eq!(fewer["lines"][0]["price"]["amount"], 100, "the first unit stays");
    assert_eq!((client.units("drop", "tv"), client.units("drop", "mug")), ([10, 9, 1, 0], [2, 2, 0, 0]));
    client.act(&held, "release", json!({})).reservation(200);
    let told = told_until(&service, &held, "reservation.released");
    let kinds: Vec<_> = told.iter().map(|data| data["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reservation.held", "reservation.changed", "reservation.changed", "reservation.released"]);
    assert_eq!(told[2]["returned"].as_array().unwrap().len(), 2, "{}", told[2]);
}

#[test]
fn a_repeat_of_the_reserve_after_a_change_is_the_first_answer() {
    let (_service, mut client) = start(json!([stocked("tv", 10)]));
    let ask = Ask::new("POST", "/v1/sales/drop/reservations").key("k").json(&json!({
        "customer": "ann", "lines": lines([("tv", 2)]),
    }));
    let held = client.send(&ask).reservation(201);
    client.act(&held, "change", json!({ "lines": lines([("tv", 5)]) })).reservation(200);
    let again = client.send(&ask).reservation(201);
    assert_eq!(with(again, json!({ "replayed_of": null })), held);
}

#[test]
fn what_a_change_adds_is_judged_as_a_reserve_and_what_it_gives_back_is_not() {
    let limited = json!([{ "sku": "tv", "initial_stock": 10, "customer_limit": 3 }]);
    let (_service, mut client) = start(limited);
    let held = client.hold("drop", "ann", [("tv", 2)]);
    let refused =
        client.act(&held, "change", json!({ "lines": lines([("tv", 4)]) })).refused("customer_limit_exceeded");
    assert_eq!(
        only(&refused, &["limit", "already"]),
        json!({ "limit": 3, "already": 0 }),
        "its own units are free for it"
    );
    client.act(&held, "change", json!({ "lines": lines([("tv", 3)]) })).reservation(200);
    client.post_nothing("/v1/sales/drop/pause").success(200);
    client.act(&held, "change", json!({ "lines": lines([("tv", 4)]) })).refused("sale_paused");
    client.act(&held, "change", json!({ "lines": lines([("tv", 1)]) })).reservation(200);
    client.post_nothing("/v1/sales/drop/resume").success(200);
    assert_eq!(client.units("drop", "tv"), [10, 9, 1, 0]);
}

#[test]
fn a_part_is_confirmed_and_the_rest_goes_back_in_the_same_step() {
    let (service, mut client) = start(json!([stocked("tv", 10), stocked("mug", 10)]));
    let held = client.hold("drop", "ann", [("tv", 3), ("mug", 2)]);
    let part = json!({ "lines": lines([("tv", 2)]), "reference": "order-1" });
    for too_much in [json!({ "lines": lines([("tv", 4)]) }), json!({ "lines": lines([("pan", 1)]) })] {
        assert_eq!(client.act(&held, "confirm", too_much).pointers(), ["/lines"]);
    }
    let confirmed = client.act(&held, "confirm", part.clone()).reservation(200);
    assert_eq!(confirmed["lines"], lines([("tv", 2)]));
    assert_eq!(confirmed["returned"], lines([("tv", 1), ("mug", 2)]));
    assert_eq!((client.units("drop", "tv"), client.units("drop", "mug")), ([10, 8, 0, 2], [10, 10, 0, 0]));
    assert_eq!(client.act(&held, "confirm", part.clone()).reservation(200), confirmed);
    assert_eq!(
        client.act(&held, "confirm", with(part.clone(), json!({ "reference": null }))).reservation(200),
        confirmed
    );
    for other in [json!({}), json!({ "lines": lines([("tv", 1)]) }), json!({ "lines": lines([("tv", 2), ("mug", 1)]) })]
    {
        assert_eq!(client.act(&held, "confirm", other).refused("already_confirmed")["reservation"], confirmed);
    }
    client.act(&held, "confirm", with(part, json!({ "reference": "order-2" }))).refused("already_confirmed");
    let told = told_until(&service, &held, "reservation.confirm_refused");
    assert_eq!(told[1]["returned"], lines([("tv", 1), ("mug", 2)]));
    assert_eq!(
        only(&told[2], &["reference", "cause", "state"]),
        json!({ "reference": "order-2", "cause": "already_confirmed", "state": "confirmed" })
    );
    // What was released can be sold again.
    client.hold("drop", "bob", [("mug", 10)]);
}

#[test]
fn cancelled_units_are_sold_again_or_leave_the_sale() {
    let (service, mut client) = start(json!([{ "sku": "tv", "initial_stock": 10, "customer_limit": 4 }]));
    let held = client.hold("drop", "ann", [("tv", 4)]);
    client.act(&held, "confirm", json!({ "reference": "order-1" })).reservation(200);
    let part = json!({ "lines": lines([("tv", 1)]), "reason": "one was broken", "restock": false });
    assert_eq!(client.act(&held, "cancel", part.clone()).pointers(), [""], "a part needs a key");
    let first = cancel(&mut client, &held, "c-1", &part);
    assert!(!first.is_replayed());
    let fewer = first.reservation(200);
    assert_eq!(
        only(&fewer, &["state", "lines", "cancelled"]),
        json!({
            "state": "confirmed", "lines": lines([("tv", 3)]), "cancelled": lines([("tv", 1)]),
        })
    );
    assert_eq!(client.units("drop", "tv"), [9, 6, 0, 3], "the stock falls");
    let again = cancel(&mut client, &held, "c-1", &part);
    assert!(again.is_replayed());
    assert_eq!(again.reservation(200), fewer);
    cancel(&mut client, &held, "c-1", &json!({ "lines": lines([("tv", 2)]) })).refused("idempotency_key_reused");
    let too_much = cancel(&mut client, &held, "c-2", &json!({ "lines": lines([("tv", 4)]) }));
    assert_eq!(too_much.pointers(), ["/lines"]);
    // Cancelled units count towards no limit.
    client.hold("drop", "ann", [("tv", 1)]);
    let cancelled = client.act(&held, "cancel", json!({ "reason": "sent back" })).reservation(200);
    assert_eq!(
        only(&cancelled, &["state", "lines", "reference"]),
        json!({
            "state": "cancelled", "lines": lines([("tv", 4)]), "reference": "order-1",
        })
    );
    assert_eq!(client.act(&held, "cancel", json!({})).reservation(200), cancelled);
    assert_eq!(client.units("drop", "tv"), [9, 8, 1, 0]);
    let refused = client.act(&held, "confirm", json!({ "reference": "order-1" })).refused("already_cancelled");
    assert_eq!(refused["reservation"], cancelled);
    let told = told_until(&service, &held, "reservation.confirm_refused");
    let of: Vec<_> = told.iter().filter(|data| data["kind"] == "reservation.cancelled").collect();
    assert_eq!(
        only(of[0], &["restock", "state", "reason", "lines"]),
        json!({
            "restock": false, "state": "confirmed", "reason": "one was broken", "lines": lines([("tv", 1)]),
        })
    );
    assert_eq!(
        only(of[1], &["restock", "state", "lines"]),
        json!({
            "restock": true, "state": "cancelled", "lines": lines([("tv", 3)]),
        })
    );
}

#[test]
fn what_has_left_memory_cannot_be_cancelled_and_the_answer_says_what_to_do() {
    let service = Service::start_with(|config| config.engine.retention_seconds = 1);
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 3)]);
    let held = client.hold("drop", "ann", [("tv", 1)]);
    client.act(&held, "confirm", json!({})).reservation(200);
    wait_until("it has left memory", || client.get(&address(&held)).status == 404);
    let refused = client.act(&held, "cancel", json!({})).refused("reservation_not_found");
    assert!(refused["detail"].as_str().unwrap().contains("adjustment"), "{refused}");
    assert_eq!(client.units("drop", "tv"), [3, 2, 0, 1]);
}

#[test]
fn a_late_payment_gets_its_units_or_leaves_an_event() {
    let priced = json!({ "sku": "tv", "initial_stock": 2, "price": { "amount": 100, "currency": "EUR" } });
    let (service, mut client) = start(json!([priced]));
    let [lucky, unlucky] = ["ann", "bob"].map(|customer| short_hold(&mut client, customer, [("tv", 1)]));
    client
        .put("/v1/sales/drop", &sale(json!([with(priced, json!({ "price": { "amount": 300, "currency": "EUR" } }))])))
        .success(200);
    wait_for_end(&mut client, &unlucky);
    client.hold("drop", "cyd", [("tv", 1)]);
    client.post_nothing("/v1/sales/drop/close").success(200);
    let late = client.act(&lucky, "confirm", json!({ "reference": "order-1" })).reservation(200);
    assert_eq!(
        (&late["late"], &late["lines"][0]["price"]["amount"]),
        (&json!(true), &json!(100)),
        "at the locked price"
    );
    assert_eq!(client.act(&lucky, "confirm", json!({ "reference": "order-1" })).reservation(200), late);
    for _ in 0..2 {
        let refused = client.act(&unlucky, "confirm", json!({ "reference": "order-2" })).refused("reservation_expired");
        assert_eq!(
            only(&refused["lines"][0], &["sku", "requested", "available"]),
            json!({ "sku": "tv", "requested": 1, "available": 0 })
        );
        assert_eq!(refused["reservation"]["state"], "expired");
    }
    assert_eq!(client.units("drop", "tv"), [2, 0, 1, 1]);
    let told = told_until(&service, &unlucky, "reservation.confirm_refused");
    assert_eq!(
        only(told.last().unwrap(), &["reference", "cause"]),
        json!({ "reference": "order-2", "cause": "stock" })
    );
    let told = told_until(&service, &lucky, "reservation.confirmed");
    assert_eq!(told.last().unwrap()["late"], true);
}

#[test]
fn a_late_confirmation_breaks_no_limit_and_a_sale_may_allow_none() {
    let (service, mut client) = start(json!([{ "sku": "tv", "initial_stock": 9, "customer_limit": 1 }]));
    let held = short_hold(&mut client, "ann", [("tv", 1)]);
    wait_for_end(&mut client, &held);
    client.hold("drop", "ann", [("tv", 1)]);
    let refused = client.act(&held, "confirm", json!({ "reference": "o" })).refused("customer_limit_exceeded");
    assert_eq!(only(&refused, &["limit", "already"]), json!({ "limit": 1, "already": 1 }));
    assert_eq!(told_until(&service, &held, "reservation.confirm_refused").last().unwrap()["cause"], "limit");

    client.put_open_sale("strict", [("tv", 9)]);
    let body = json!({ "customer": "ann", "lines": lines([("tv", 1)]), "hold_seconds": 1 });
    let strict = client.post("/v1/sales/strict/reservations", &body).reservation(201);
    wait_for_end(&mut client, &strict);
    let refused = client.act(&strict, "confirm", json!({ "reference": "o" })).refused("reservation_expired");
    assert!(refused.get("lines").is_none(), "stock is not what lacks");
    assert_eq!(told_until(&service, &strict, "reservation.confirm_refused").last().unwrap()["cause"], "too_late");
}

#[test]
fn late_and_cancelled_reservations_survive_a_restart() {
    let (mut service, mut client) = start(json!([stocked("tv", 9)]));
    let [late, partly] = ["ann", "bob"].map(|customer| short_hold(&mut client, customer, [("tv", 2)]));
    let cancelled = client.hold("drop", "cyd", [("tv", 3)]);
    client.act(&cancelled, "confirm", json!({})).reservation(200);
    cancel(&mut client, &cancelled, "c-1", &json!({ "lines": lines([("tv", 1)]), "restock": false })).reservation(200);
    wait_for_end(&mut client, &partly);
    client.act(&partly, "confirm", json!({ "lines": lines([("tv", 1)]) })).reservation(200);
    let before = [&late, &partly, &cancelled].map(|each| client.look(each));
    let units = client.units("drop", "tv");
    service.stop();
    service.start_again();
    let mut client = service.client();
    assert_eq!([&late, &partly, &cancelled].map(|each| client.look(each)), before);
    assert_eq!(client.units("drop", "tv"), units);
    assert_eq!(units, [8, 5, 0, 3]);
    assert_eq!(client.act(&late, "confirm", json!({})).reservation(200)["late"], true);
    let again = cancel(&mut client, &cancelled, "c-1", &json!({ "lines": lines([("tv", 1)]), "restock": false }));
    assert!(again.is_replayed());
}

#[test]
fn a_hold_budget_limits_what_a_customer_holds_and_lets_expire() {
    let service = Service::start();
    let mut client = service.client();
    let budget = json!({ "hold_budget": { "open_holds": 2, "expired_per_hour": 2 } });
    client.put("/v1/sales/drop", &with(open_sale(json!([stocked("tv", 99)])), budget)).success(201);
    let holds = [1, 2].map(|_| short_hold(&mut client, "ann", [("tv", 1)]));
    let refused = client.reserve("drop", "ann", [("tv", 1)]).refused("too_many_holds");
    assert_eq!(only(&refused, &["limit", "open"]), json!({ "limit": 2, "open": 2 }));
    client.hold("drop", "bob", [("tv", 1)]);
    holds.iter().for_each(|held| wait_for_end(&mut client, held));
    let cooling = client.reserve("drop", "ann", [("tv", 1)]);
    let seconds: u64 = cooling.header("retry-after").unwrap().parse().unwrap();
    let refused = cooling.refused("cooling_down");
    assert_eq!(only(&refused, &["limit", "expired"]), json!({ "limit": 2, "expired": 2 }));
    assert!((3590..=3600).contains(&seconds), "{seconds}");
    let results = client.batch("drop", &[json!({ "customer": "ann", "lines": lines([("tv", 1)]) })]);
    assert_eq!(results[0]["problem"]["code"], "cooling_down");
}

#[test]
fn all_holds_of_a_sale_are_extended_once() {
    let (service, mut client) = start(json!([stocked("tv", 5000)]));
    client.put_open_sale("other", [("tv", 10)]);
    let elsewhere = client.hold("other", "ann", [("tv", 1)]);
    let holds: Vec<Value> = (0..300).map(|number| client.hold("drop", &format!("c-{number}"), [("tv", 1)])).collect();
    let confirmed = client.hold("drop", "zoe", [("tv", 1)]);
    client.act(&confirmed, "confirm", json!({})).reservation(200);
    let path = "/v1/sales/drop/holds/extend";
    let ask =
        Ask::new("POST", path).key("provider-down").json(&json!({ "seconds": 900, "reason": "provider is down" }));
    assert_eq!(client.send(&ask).success(200), json!({ "holds": 300 }));
    for held in &holds {
        let now = client.look(held);
        assert_eq!(check_time(&now["expires_at"]), check_time(&held["expires_at"]) + 900_000);
        assert_eq!(now["extensions"], 0);
    }
    assert_eq!(client.look(&elsewhere), elsewhere);
    let again = client.send(&ask);
    assert!(again.is_replayed());
    assert_eq!(again.success(200), json!({ "holds": 300 }));
    let other = Ask::new("POST", path).key("provider-down").json(&json!({ "seconds": 1 }));
    client.send(&other).refused("idempotency_key_reused");
    assert_eq!(client.post(path, &json!({ "seconds": 0 })).pointers(), ["/seconds"]);
    client.post("/v1/sales/nope/holds/extend", &json!({ "seconds": 1 })).refused("sale_not_found");
    service.wait_for_store();
    let trail = client.get("/v1/audit?sale=drop").success(200);
    let record = trail["records"].as_array().unwrap().iter().find(|record| record["action"] == "holds.extend").unwrap();
    assert_eq!(record["detail"], json!({ "seconds": 900, "reason": "provider is down" }));
    check_reservation(&client.look(&holds[0]));
}
