//! The same key with the same request is the same answer; with another request it is an error. Never a second reservation.

use std::thread;

use serde_json::{Value, json};

use crate::served::{
    Answer, Ask, Client, Service,
    documents::{as_made, items, lines, only},
    now_millis, open_sale, reserve_body, shapes, wait_until,
};

fn reserve(sale: &str, key: &str, body: &Value) -> Ask {
    Ask::new("POST", &format!("/v1/sales/{sale}/reservations")).key(key).json(body)
}

#[track_caller]
fn assert_first(answer: &Answer) -> Value {
    assert!(!answer.is_replayed(), "{answer:?}");
    answer.reservation(201)
}

/// The answer is the first one again, header for header but for the replay and the date.
#[track_caller]
fn assert_replay(answer: &Answer, first: &Answer) {
    assert!(answer.is_replayed(), "{answer:?}");
    let (document, stands) = split(answer.json());
    assert_eq!(stands.is_some(), document.get("created_at").is_some(), "a reservation's replay says how it stands");
    assert_eq!((answer.status, document), (first.status, first.json()));
    assert_eq!(answer.header("location"), first.header("location"));
    assert_eq!(answer.header("content-type"), first.header("content-type"));
}

/// A reservation's document without what only a replay has, and that.
fn split(mut document: Value) -> (Value, Option<Value>) {
    let stands = document.as_object_mut().and_then(|members| members.remove("replayed_of"));
    (document, stands)
}

/// How the reservation stands, in the words of a replay.
fn standing(reservation: &Value) -> Value {
    only(reservation, &["state", "expires_at"])
}

#[test]
fn a_repeat_says_how_the_reservation_stands_now() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let body = |seconds: u64| json!({ "customer": "ann", "lines": lines([("tv", 1)]), "hold_seconds": seconds });
    for (key, verb, change) in [
        ("confirmed", "confirm", json!({ "reference": "order-1" })),
        ("released", "release", json!({})),
        ("held", "extend", json!({ "hold_seconds": 900 })),
    ] {
        let ask = reserve("drop", key, &body(60));
        let held = assert_first(&client.send(&ask));
        let (again, stands) = split(client.send(&ask).reservation(201));
        assert_eq!((&again, stands), (&held, Some(standing(&held))), "also while nothing has happened");
        let changed = client.act(&held, verb, change).reservation(200);
        assert_eq!(changed["state"], key);
        let (again, stands) = split(client.send(&ask).reservation(201));
        assert_eq!((&again, stands), (&held, Some(standing(&changed))));
        let in_batch = json!({ "reservations": [with_key(body(60), key)] });
        let results = client.post("/v1/sales/drop/reservations/batch", &in_batch).success(200);
        assert_eq!(results["results"][0]["replayed"], true, "{results}");
        let (again, stands) = split(results["results"][0]["reservation"].clone());
        assert_eq!((&again, stands), (&held, Some(standing(&changed))), "in a batch as well");
    }
    let ask = reserve("drop", "expired", &body(1));
    let held = assert_first(&client.send(&ask));
    wait_until("the hold has expired by the word of a replay", || {
        let (again, stands) = split(client.send(&ask).reservation(201));
        assert_eq!(again, held);
        let state = stands.unwrap()["state"].clone();
        assert!(state == "held" || state == "expired");
        let over = shapes::check_time(&held["expires_at"]) <= now_millis();
        state == "expired" && over
    });
}

fn with_key(mut entry: Value, key: &str) -> Value {
    entry["idempotency_key"] = json!(key);
    entry
}

#[test]
fn a_repeat_answers_as_the_first_time_whatever_happened_meanwhile() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let body = json!({ "customer": "ann", "lines": lines([("tv", 1)]), "reference": "cart-1", "hold_seconds": 60 });
    let asks = ["to-confirm", "to-release", "to-extend"].map(|key| reserve("drop", key, &body));
    let firsts = asks.clone().map(|ask| client.send(&ask));
    let [confirmed, released, extended] = firsts.clone().map(|first| assert_first(&first));
    for (ask, first) in asks.iter().zip(&firsts) {
        assert_replay(&client.send(ask), first);
    }
    client.act(&confirmed, "confirm", json!({ "reference": "order-1" })).reservation(200);
    client.act(&released, "release", json!({})).reservation(200);
    client.act(&extended, "extend", json!({ "hold_seconds": 900 })).reservation(200);
    client.post_nothing("/v1/sales/drop/pause").success(200);
    for (ask, first) in asks.iter().zip(&firsts) {
        assert_replay(&client.send(ask), first);
    }
    client.post_nothing("/v1/sales/drop/close").success(200);
    for (ask, first) in asks.iter().zip(&firsts) {
        assert_replay(&client.send(ask), first);
    }
    assert_eq!(client.units("drop", "tv"), [10, 8, 1, 1]);
}

#[test]
fn a_repeat_after_the_hold_has_expired_is_the_first_answer_and_no_new_hold() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    let body = json!({ "customer": "ann", "lines": lines([("tv", 1)]), "hold_seconds": 1 });
    let ask = reserve("drop", "k", &body);
    let first = client.send(&ask);
    let held = assert_first(&first);
    wait_until("the hold has expired", || client.look(&held)["state"] == "expired");
    assert_replay(&client.send(&ask), &first);
    assert_eq!(client.units("drop", "tv"), [1, 1, 0, 0]);
}

#[test]
fn a_key_is_the_same_bare_and_quoted() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let body = reserve_body("ann", [("tv", 1)]);
    let first = client.send(&reserve("drop", "k-1", &body));
    assert_first(&first);
    assert_replay(&client.send(&reserve("drop", "\"k-1\"", &body)), &first);
    assert_first(&client.send(&reserve("drop", "K-1", &body)));
    let longest = "x".repeat(255);
    let first = client.send(&reserve("drop", &longest, &body));
    assert_first(&first);
    assert_replay(&client.send(&reserve("drop", &format!("\"{longest}\""), &body)), &first);
    let visible: String = ('!'..='~').filter(|character| *character != '"').collect();
    assert_first(&client.send(&reserve("drop", &visible, &body)));
}

#[test]
fn a_key_that_is_none_is_refused() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let body = reserve_body("ann", [("tv", 1)]);
    let too_long = "x".repeat(256);
    for key in ["", "\"\"", "a b", "a\tb", "ä", "\"a", "a\"", "a\"b", &too_long] {
        assert_eq!(client.send(&reserve("drop", key, &body)).pointers(), [""], "{key:?}");
        let adjust = Ask::new("POST", "/v1/sales/drop/items/tv/adjustments").key(key).json(&json!({ "delta": 1 }));
        assert_eq!(client.send(&adjust).pointers(), [""], "{key:?}");
    }
    let twice = reserve("drop", "a", &body).key("b");
    assert_eq!(client.send(&twice).pointers(), [""]);
    assert_eq!(client.units("drop", "tv"), [10, 10, 0, 0]);
}

#[test]
fn a_key_with_another_request_is_refused_and_does_nothing() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10), ("mug", 10)]);
    let body = json!({ "customer": "ann", "lines": lines([("tv", 1), ("mug", 2)]), "reference": "cart-1" });
    let first = client.send(&reserve("drop", "k", &body));
    assert_first(&first);
    let change = |change: Value| crate::served::documents::with(body.clone(), change);
    for other in [
        change(json!({ "lines": lines([("tv", 2), ("mug", 2)]) })),
        change(json!({ "lines": lines([("tv", 1)]) })),
        change(json!({ "reference": "cart-2" })),
        change(json!({ "reference": null })),
        change(json!({ "hold_seconds": 600 })),
        change(json!({ "lines": lines([("car", 1)]) })),
        change(json!({ "lines": lines([("tv", 11)]) })),
    ] {
        client.send(&reserve("drop", "k", &other)).refused("idempotency_key_reused");
    }
    // What means the same is the same request: lines in another order, or a line in two parts.
    assert_replay(
        &client.send(&reserve("drop", "k", &change(json!({ "lines": lines([("mug", 2), ("tv", 1)]) })))),
        &first,
    );
    let parts = change(json!({ "lines": lines([("mug", 1), ("tv", 1), ("mug", 1)]) }));
    assert_replay(&client.send(&reserve("drop", "k", &parts)), &first);
    assert_eq!(client.units("drop", "tv"), [10, 9, 1, 0]);
}

#[test]
fn a_key_is_of_one_sale_and_one_customer() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    client.put_open_sale("other", [("tv", 10)]);
    for sale in ["drop", "other"] {
        for customer in ["ann", "bob"] {
            assert_first(&client.send(&reserve(sale, "k", &reserve_body(customer, [("tv", 1)]))));
        }
    }
    assert_eq!(client.units("drop", "tv"), [10, 8, 2, 0]);
    // An adjustment's key has nothing to do with a reservation's.
    let adjust = Ask::new("POST", "/v1/sales/drop/items/tv/adjustments").key("k").json(&json!({ "delta": 1 }));
    let adjusted = client.send(&adjust);
    assert!(!adjusted.is_replayed());
    adjusted.success(201);
}

#[test]
fn without_a_key_every_request_is_one_of_its_own() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let [first, second] = [(); 2].map(|()| client.hold("drop", "ann", [("tv", 1)]));
    assert_ne!(first["id"], second["id"]);
    assert_eq!(client.units("drop", "tv"), [10, 8, 2, 0]);
}

#[test]
fn a_refused_reserve_is_judged_afresh() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    let held = client.hold("drop", "bob", [("tv", 1)]);
    let ask = reserve("drop", "k", &reserve_body("ann", [("tv", 1)]));
    client.send(&ask).refused("sold_out");
    client.send(&reserve("drop", "k", &reserve_body("ann", [("tv", 2)]))).refused("sold_out");
    client.post_nothing("/v1/sales/drop/pause").success(200);
    client.send(&ask).refused("sale_paused");
    client.post_nothing("/v1/sales/drop/resume").success(200);
    client.act(&held, "release", json!({})).reservation(200);
    let first = client.send(&ask);
    assert_first(&first);
    assert_replay(&client.send(&ask), &first);
}

#[test]
fn concurrent_duplicates_are_one_reservation() {
    const CONNECTIONS: usize = 16;
    const ROUNDS: usize = 25;
    let service = Service::start_with(|config| config.engine.shards = 8);
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 13), ("mug", 1000)]);
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| service.client()).collect();
    for round in 0..ROUNDS {
        // The scarce item goes the slow path, where the lock is let go in between; the other one the fast path.
        let sku = if round % 2 == 0 { "tv" } else { "mug" };
        let body = reserve_body(&format!("customer-{round}"), [(sku, 1)]);
        let ask = reserve("drop", &format!("round-{round}"), &body);
        let answers: Vec<Answer> = thread::scope(|scope| {
            let asked: Vec<_> = clients.iter_mut().map(|client| scope.spawn(|| client.send(&ask))).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert_eq!(answers.iter().filter(|answer| !answer.is_replayed()).count(), 1, "one of them is the first");
        let first = answers.iter().find(|answer| !answer.is_replayed()).unwrap();
        for answer in &answers {
            answer.reservation(201);
            assert_eq!(as_made(answer.json()), first.json());
        }
    }
    assert_eq!(client.units("drop", "tv"), [13, 0, 13, 0]);
    assert_eq!(client.units("drop", "mug"), [1000, 988, 12, 0]);
}

#[test]
fn concurrent_requests_that_differ_leave_one_and_refuse_the_rest() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 100)]);
    let mut clients: Vec<Client> = (0..8).map(|_| service.client()).collect();
    let answers: Vec<Answer> = thread::scope(|scope| {
        let asked = clients.iter_mut().enumerate().map(|(number, client)| {
            let ask = reserve("drop", "k", &reserve_body("ann", [("tv", number as u64 + 1)]));
            scope.spawn(move || client.send(&ask))
        });
        let asked: Vec<_> = asked.collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let granted: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(granted.len(), 1);
    let units = granted[0].reservation(201)["lines"][0]["quantity"].as_u64().unwrap();
    answers.iter().filter(|answer| answer.status != 201).for_each(|answer| {
        answer.refused("idempotency_key_reused");
    });
    assert_eq!(client.units("drop", "tv"), [100, 100 - units, units, 0]);
}

#[test]
fn an_adjustment_is_made_once_for_its_key() {
    let service = Service::start();
    let mut client = service.client();
    client.put("/v1/sales/drop", &open_sale(items([("tv", 10), ("mug", 10)]))).success(201);
    let adjust = |sku: &str, key: &str, body: Value| {
        Ask::new("POST", &format!("/v1/sales/drop/items/{sku}/adjustments")).key(key).json(&body)
    };
    let body = || json!({ "delta": 5, "reason": "pallet", "reference": "po-1" });
    let first = client.send(&adjust("tv", "k", body()));
    assert!(!first.is_replayed());
    first.success(201);
    client.hold("drop", "ann", [("tv", 3)]);
    client.send(&adjust("tv", "other", json!({ "delta": -2 }))).success(201);
    for key in ["k", "\"k\""] {
        let replay = client.send(&adjust("tv", key, body()));
        assert!(replay.is_replayed());
        assert_eq!((replay.status, replay.text()), (201, first.text()), "stock and available as the first time");
    }
    for other in [json!({ "delta": 6, "reason": "pallet", "reference": "po-1" }), json!({ "delta": 5 })] {
        client.send(&adjust("tv", "k", other)).refused("idempotency_key_reused");
    }
    let of_another_item = client.send(&adjust("mug", "k", body()));
    assert!(!of_another_item.is_replayed(), "the scope of an adjustment's key is its item");
    of_another_item.success(201);
    assert_eq!(client.units("drop", "tv"), [13, 10, 3, 0]);
    assert_eq!(client.units("drop", "mug"), [15, 15, 0, 0]);

    // A refused one is not remembered.
    client.send(&adjust("tv", "down", json!({ "delta": -11 }))).refused("insufficient_stock");
    client.post("/v1/sales/drop/items/tv/adjustments", &json!({ "delta": 1 })).success(201);
    client.send(&adjust("tv", "down", json!({ "delta": -11 }))).success(201);
}

#[test]
fn concurrent_adjustments_of_one_key_are_one() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 0)]);
    let mut clients: Vec<Client> = (0..12).map(|_| service.client()).collect();
    let ask = Ask::new("POST", "/v1/sales/drop/items/tv/adjustments").key("k").json(&json!({ "delta": 7 }));
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                assert_eq!(client.send(&ask).success(201), json!({ "delta": 7, "stock": 7, "available": 7 }))
            });
        }
    });
    assert_eq!(client.units("drop", "tv"), [7, 7, 0, 0]);
}

#[test]
fn a_key_is_known_as_long_as_its_reservation() {
    let service = Service::start_with(|config| config.engine.retention_seconds = 1);
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let [live, over] = ["live", "over"].map(|key| reserve("drop", key, &reserve_body("ann", [("tv", 1)])));
    let [first, second] = [&live, &over].map(|ask| client.send(ask));
    assert_first(&first);
    let ended = client.act(&assert_first(&second), "release", json!({})).reservation(200);
    let released_at = shapes::check_time(&ended["released_at"]);
    let path = crate::served::documents::address(&ended);
    wait_until("the reservation that is over has left memory", || {
        let answer = client.get(&path);
        let after = now_millis();
        if answer.status == 404 {
            assert!(after >= released_at + 1000, "left memory before its retention was over");
        } else {
            assert_eq!(answer.reservation(200), ended);
        }
        answer.status == 404
    });
    assert_replay(&client.send(&live), &first);
    let anew = client.send(&over);
    assert_ne!(only(&assert_first(&anew), &["id"]), only(&ended, &["id"]));
    assert_eq!(client.units("drop", "tv"), [10, 8, 2, 0]);
}
