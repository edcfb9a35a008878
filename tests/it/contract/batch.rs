//! A batch of reservations: each entry is answered in its place, as the single call would answer it.

use serde_json::{Value, json};

use crate::served::{
    Answer, Ask, Client, Service,
    batches::{batch, outcome, outcomes, pointers, results, send_unread},
    documents::{address, as_made, items, lines, with},
    metrics::Scrape,
    open_sale, reserve_body,
};

const BATCH: &str = "/v1/sales/drop/reservations/batch";

fn start(stock: u64) -> (Service, Client) {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", stock)]);
    (service, client)
}

fn entry(customer: &str, units: u64) -> Value {
    reserve_body(customer, [("tv", units)])
}

fn keyed(key: &str, entry: Value) -> Value {
    with(entry, json!({ "idempotency_key": key }))
}

/// What is the same of two reservations that were asked for alike.
fn asked(reservation: &Value) -> Value {
    with(reservation.clone(), json!({ "id": null, "sale": null, "created_at": null, "expires_at": null }))
}

/// A problem without the names of members that would have been allowed: an entry has one more.
fn without_names(problem: &Value) -> String {
    let mut problem = problem.clone();
    // The two sales have holds of their own.
    for line in problem.get_mut("lines").and_then(Value::as_array_mut).into_iter().flatten() {
        assert_eq!(line["held"] == 0, line.as_object_mut().unwrap().remove("next_release_at").is_none(), "{line}");
    }
    problem.to_string().replace(", group and idempotency_key", " and group")
}

/// Every outcome, in an order in which they follow from each other, and malformed ones of every kind between them.
fn entries_of_every_kind() -> Vec<String> {
    let good = [
        entry("ann", 2),
        json!({ "customer": "bob", "lines": lines([("tv", 1), ("mug", 1)]), "hold_seconds": 60, "reference": "cart" }),
        json!({ "customer": "cid", "lines": lines([("mug", 2), ("mug", 2)]) }),
        reserve_body("ann", [("limited", 3)]),
        reserve_body("ann", [("limited", 2)]),
        reserve_body("dan", [("gone", 1)]),
        reserve_body("dan", [("gone", 1), ("tv", 1)]),
        reserve_body("dan", [("mug", 100)]),
        json!({ "customer": "eve", "lines": lines([("tv", 1)]), "tier": "gold", "labels": { "test": "B" } }),
        json!({ "customer": "eve", "lines": lines([("tv", 100), ("mug", 1)]), "channel": "app", "allow_partial": true }),
        json!({ "customer": "eve", "lines": lines([("mug", 1)]), "locations": ["berlin"] }),
        json!({ "customer": "eve", "lines": lines([("mug", 1)]), "tier": "Gold", "labels": {} }),
        reserve_body("dan", [("car", 1)]),
        entry("ann", 4),
        entry("eve", 1),
    ];
    let malformed = [
        r#"{}"#,
        r#"null"#,
        r#"7"#,
        r#""ann""#,
        r#"[]"#,
        r#"["ann",[{"sku":"tv","quantity":1}]]"#,
        r#"{"customer":"ann"}"#,
        r#"{"customer":7,"lines":[{"sku":"tv","quantity":1}]}"#,
        r#"{"customer":"","lines":[{"sku":"tv","quantity":0},{"sku":"","quantity":1}],"hold_seconds":0,"reference":""}"#,
        r#"{"customer":"a\u0000b","lines":[{"sku":"tv","quantity":1}]}"#,
        r#"{"customer":"\ud800","lines":[{"sku":"tv","quantity":1}]}"#,
        r#"{"customer":"ann","lines":[]}"#,
        r#"{"customer":"ann","lines":[["tv",1]]}"#,
        r#"{"customer":"ann","lines":[{"sku":"tv","quantity":-1}]}"#,
        r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1.5}]}"#,
        r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1e400}]}"#,
        r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1000001}]}"#,
        r#"{"customer":"ann","lines":[{"sku":"tv","quantity":600000},{"sku":"tv","quantity":600000}]}"#,
        r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1}],"hold_seconds":86401}"#,
        r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1}],"vip":true}"#,
        r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1}],"a/b~c":1}"#,
        r#"{"customer":"ann","customer":"bob","lines":[{"sku":"tv","quantity":1}]}"#,
    ];
    let deep = format!(r#"{{"customer":"ann","lines":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    let mut entries: Vec<String> = Vec::new();
    let mut malformed = malformed.map(str::to_owned).into_iter().chain([deep]);
    for good in good {
        entries.extend(malformed.by_ref().take(2));
        entries.push(good.to_string());
    }
    entries.extend(malformed);
    entries
}

#[test]
fn every_entry_is_judged_as_the_single_call_judges_it() {
    let service = Service::start();
    let mut client = service.client();
    let stock = json!([
        { "sku": "tv", "initial_stock": 7, "price": { "amount": 19900, "currency": "EUR" } },
        { "sku": "mug", "initial_stock": 7 },
        { "sku": "gone", "initial_stock": 0 },
        { "sku": "limited", "initial_stock": 9, "customer_limit": 4 },
    ]);
    for sale in ["drop", "single"] {
        client.put(&format!("/v1/sales/{sale}"), &open_sale(stock.clone())).success(201);
    }
    let entries = entries_of_every_kind();
    let results = results(&send_unread(&service, &batch("drop", &entries)));
    assert_eq!(results.len(), entries.len());
    for (entry, result) in entries.iter().zip(&results) {
        let single = client.send(&Ask::new("POST", "/v1/sales/single/reservations").bytes(entry.as_str()));
        assert_eq!(result["status"], single.status, "{entry} is answered {result}, and alone {}", single.text());
        if single.status == 201 {
            assert_eq!(asked(&result["reservation"]), asked(&single.json()), "{entry}");
            assert_eq!(client.look(&result["reservation"]), result["reservation"]);
        } else {
            assert_eq!(without_names(&result["problem"]), without_names(&single.json()), "{entry}");
        }
    }
    for sku in ["tv", "mug", "gone", "limited"] {
        assert_eq!(client.units("drop", sku), client.units("single", sku), "{sku}");
    }
    let seen: std::collections::BTreeSet<&str> = results.iter().map(outcome).collect();
    let expected =
        ["customer_limit_exceeded", "held", "insufficient_stock", "invalid_request", "item_not_found", "sold_out"];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_key_holds_inside_of_a_batch_across_batches_and_alone() {
    let (_service, mut client) = start(20);
    let entries = [
        keyed("k", entry("ann", 1)),
        keyed("k", entry("ann", 1)),
        keyed("\"k\"", entry("ann", 1)),
        keyed("k", entry("ann", 2)),
        keyed("k", entry("bob", 1)),
        entry("ann", 1),
        entry("ann", 1),
    ];
    let first = client.batch("drop", &entries);
    let expected = ["held", "replayed", "replayed", "idempotency_key_reused", "held", "held", "held"];
    assert_eq!(outcomes(&first), expected);
    for again in &first[1..3] {
        assert_eq!(as_made(again["reservation"].clone()), first[0]["reservation"]);
    }
    assert_eq!(first[3]["status"], 422);
    assert_eq!(client.units("drop", "tv"), [20, 16, 4, 0]);

    let again = client.batch("drop", &entries[..5]);
    assert_eq!(outcomes(&again), ["replayed", "replayed", "replayed", "idempotency_key_reused", "replayed"]);
    assert_eq!(as_made(again[4]["reservation"].clone()), first[4]["reservation"]);
    let single =
        |key: &str, customer| Ask::new("POST", "/v1/sales/drop/reservations").key(key).json(&entry(customer, 1));
    let answer = client.send(&single("k", "ann"));
    assert!(answer.is_replayed());
    assert_eq!(as_made(answer.reservation(201)), first[0]["reservation"]);
    let alone = client.send(&single("other", "ann")).reservation(201);
    let results = client.batch("drop", &[keyed("other", entry("ann", 1)), keyed("other", entry("ann", 3))]);
    assert_eq!(outcomes(&results), ["replayed", "idempotency_key_reused"]);
    assert_eq!(as_made(results[0]["reservation"].clone()), alone);
    // A refusal is not remembered: the retry is judged afresh.
    let results = client.batch("drop", &[keyed("later", entry("zoe", 16)), keyed("later", entry("zoe", 15))]);
    assert_eq!(outcomes(&results), ["insufficient_stock", "held"]);
    // A closed sale still knows its keys.
    client.post_nothing("/v1/sales/drop/close").success(200);
    let results = client.batch("drop", &[keyed("k", entry("ann", 1)), entry("ann", 1)]);
    assert_eq!(outcomes(&results), ["replayed", "sale_ended"]);
}

#[test]
fn a_key_that_is_none_is_the_entrys_mistake() {
    let (_service, mut client) = start(10);
    let long = "x".repeat(256);
    for key in ["", "\"\"", "a b", "a\tb", "ä", "\"a", "a\"", "a\"b", &long] {
        let results = client.batch("drop", &[keyed(key, entry("ann", 1)), keyed(key, entry("", 0))]);
        assert_eq!(pointers(&results[0]), ["/idempotency_key"], "{key:?}");
        assert_eq!(pointers(&results[1]), ["/customer", "/lines/0/quantity", "/idempotency_key"], "all of it at once");
    }
    let results = client.batch("drop", &[with(entry("ann", 1), json!({ "idempotency_key": 7 }))]);
    assert_eq!(pointers(&results[0]), ["/idempotency_key"]);
    assert_eq!(client.units("drop", "tv"), [10, 10, 0, 0]);
    let null = r#"{"customer":"ann","lines":[{"sku":"tv","quantity":1}],"idempotency_key":null}"#;
    let results = client.batch("drop", &[null]);
    assert_eq!(outcomes(&results), ["held"]);
    // Alone the key is a header and no member.
    let single = client.post("/v1/sales/drop/reservations", &keyed("k", entry("ann", 1)));
    assert_eq!(single.pointers(), ["/idempotency_key"]);
    let key_of_all = batch("drop", [entry("ann", 1)]).key("k");
    assert_eq!(client.send(&key_of_all).pointers(), [""]);
    assert_eq!(client.units("drop", "tv"), [10, 9, 1, 0]);
}

#[test]
fn what_is_no_batch_is_refused_as_a_whole_and_does_nothing() {
    let (_service, mut client) = start(10);
    let good = entry("ann", 1).to_string();
    let list = |entries: &str| format!("{{\"reservations\":[{entries}]}}");
    for (body, pointer) in [
        ("".to_owned(), ""),
        (" ".to_owned(), ""),
        ("x".to_owned(), ""),
        ("7".to_owned(), ""),
        ("null".to_owned(), ""),
        (format!("[{good}]"), ""),
        (good.clone(), "/customer"),
        ("{}".to_owned(), ""),
        ("{".to_owned(), ""),
        ("{reservations:[]}".to_owned(), ""),
        ("{\"reservations\"}".to_owned(), ""),
        ("{\"reservations\":".to_owned(), ""),
        ("{\"reservations\":null}".to_owned(), "/reservations"),
        (format!("{{\"reservations\":{good}}}"), "/reservations"),
        (list(""), "/reservations"),
        (list(&format!("{good},")), "/reservations/1"),
        (list(&format!(",{good}")), "/reservations/0"),
        (list(&format!("{good},,{good}")), "/reservations/1"),
        (list(&format!("{good} {good}")), ""),
        (list(&format!("{good},{{\"customer\":}}")), "/reservations/1"),
        (list(&format!("{good},x")), "/reservations/1"),
        (list(&format!("{good},01")), "/reservations/1"),
        (list(&format!("{good},1 2")), ""),
        (list(&format!("{good},{{\"customer\":\"a\nb\"}}")), "/reservations/1"),
        (format!("{{\"reservations\":[{good}"), ""),
        (format!("{{\"reservations\":[{good},"), ""),
        (format!("{{\"reservations\":[{good},{{\"customer\":\"an"), "/reservations/1"),
        (format!("{{\"reservations\":[{good}]"), ""),
        (format!("{}}}", list(&good)), ""),
        (format!("{} {{}}", list(&good)), ""),
        (format!("{{\"reservations\":[{good}],\"vip\":1}}"), ""),
        (format!("{{\"vip/1\":1,\"reservations\":[{good}]}}"), "/vip~11"),
        (format!("{{\"reservations\":[{good}],\"reservations\":[{good}]}}"), ""),
        ("[".repeat(100_000), ""),
        (list(&"[".repeat(50_000)), "/reservations/0"),
    ] {
        let answer = client.send(&Ask::new("POST", BATCH).bytes(body.as_str()));
        let shown: String = body.chars().take(100).collect();
        assert_eq!(answer.pointers(), [pointer], "{shown}");
    }
    for (code, ask) in [
        ("sale_not_found", batch("none", [&good])),
        ("invalid_request", batch("none", ["x"])),
        ("invalid_request", batch("drop", [&good]).key("k").header("Content-Type", "text/plain")),
        ("unsupported_media_type", batch("drop", [&good]).header("Content-Type", "text/plain")),
        ("length_required", Ask::new("POST", BATCH)),
        ("method_not_allowed", Ask::new("GET", BATCH)),
    ] {
        client.send(&ask).refused(code);
    }
    assert_eq!(client.units("drop", "tv"), [10, 10, 0, 0]);
    // Space and escapes are as free as in any JSON.
    let spaced = format!(" \r\n\t{{ \"reserv\\u0061tions\" : [ {good} ,\n{good}\t] }} \n");
    let results = results(&client.send(&Ask::new("POST", BATCH).bytes(spaced)));
    assert_eq!(outcomes(&results), ["held", "held"]);
}

#[test]
fn a_sale_that_takes_no_reserves_refuses_each_entry() {
    let (_service, mut client) = start(10);
    let two = [entry("ann", 1), entry("bob", 1)];
    client.post_nothing("/v1/sales/drop/pause").success(200);
    assert_eq!(outcomes(&client.batch("drop", &two)), ["sale_paused"; 2]);
    client.post_nothing("/v1/sales/drop/close").success(200);
    assert_eq!(outcomes(&client.batch("drop", &two)), ["sale_ended"; 2]);
    let scheduled = with(open_sale(items([("tv", 1)])), json!({ "opens_at": "2198-01-01T00:00:00.000Z" }));
    client.put("/v1/sales/later", &scheduled).success(201);
    let results = client.batch("later", &two);
    assert_eq!(outcomes(&results), ["sale_not_started"; 2]);
    assert_eq!(results[1]["problem"]["opens_at"], "2198-01-01T00:00:00.000Z");
}

#[test]
fn ten_thousand_entries_are_granted_in_their_order_until_the_stock_is_gone() {
    let (service, mut client) = start(7_500);
    let entries: Vec<Value> = (0..10_000).map(|number| entry(&format!("customer-{number}"), 1)).collect();
    let answer: Answer = client.send(&batch("drop", &entries));
    assert_eq!((answer.header("transfer-encoding"), answer.header("content-length")), (Some("chunked"), None));
    let results = results(&answer);
    assert_eq!(results.len(), 10_000);
    let mut ids = std::collections::BTreeSet::new();
    for (number, result) in results.iter().enumerate() {
        assert_eq!(outcome(result), if number < 7_500 { "held" } else { "sold_out" }, "entry {number}");
        if number < 7_500 {
            assert_eq!(result["reservation"]["customer"], format!("customer-{number}"));
            assert!(ids.insert(result["reservation"]["id"].to_string()), "an id for each");
        }
    }
    assert_eq!(client.units("drop", "tv"), [7_500, 0, 7_500, 0]);
    let scrape = Scrape::parse(service.ops().get("/metrics").text());
    let counted = |name, label| scrape.value(name, [label]);
    assert_eq!(counted("doorbuster_reservations_total", ("outcome", "held")), 7_500.0);
    assert_eq!(counted("doorbuster_reservation_refusals_total", ("reason", "sold_out")), 2_500.0);
    let labels = [("route", "reserve_batch"), ("status", "200")];
    assert_eq!(scrape.value("doorbuster_http_requests_total", labels), 1.0);
    for result in results.iter().take(7_500).step_by(500) {
        let confirmed = client.post_nothing(&format!("{}/confirm", address(&result["reservation"]))).reservation(200);
        assert_eq!(confirmed["state"], "confirmed");
    }
}

#[test]
fn the_limit_of_a_customer_holds_inside_of_a_batch() {
    let service = Service::start();
    let mut client = service.client();
    let sale = with(open_sale(items([("tv", 100)])), json!({ "customer_limit": 3 }));
    client.put("/v1/sales/drop", &sale).success(201);
    let asked = [("ann", 2), ("bob", 3), ("ann", 2), ("ann", 1), ("ann", 1), ("bob", 1)];
    let results = client.batch("drop", &asked.map(|(customer, units)| entry(customer, units)));
    let over = "customer_limit_exceeded";
    assert_eq!(outcomes(&results), ["held", "held", over, "held", over, over]);
    assert_eq!(results[2]["problem"]["already"], 2);
    assert_eq!(results[4]["problem"]["already"], 3);
    assert_eq!(client.units("drop", "tv"), [100, 94, 6, 0]);
}

#[test]
fn batches_and_single_requests_share_the_last_units() {
    const UNITS: u64 = 3_000;
    let (service, mut client) = start(UNITS);
    let granted: usize = std::thread::scope(|scope| {
        let batches = (0..3).map(|number| {
            let mut client = service.client();
            scope.spawn(move || {
                let entries: Vec<Value> = (0..1000).map(|own| entry(&format!("c-{number}-{own}"), 1)).collect();
                let results = client.batch("drop", &entries);
                results.iter().filter(|result| outcome(result) == "held").count()
            })
        });
        let singles = (0..2).map(|number| {
            let mut client = service.client();
            scope.spawn(move || {
                let answers = (0..300).map(|own| client.reserve("drop", &format!("s-{number}-{own}"), [("tv", 1)]));
                answers.filter(|answer| answer.status == 201).count()
            })
        });
        let running: Vec<_> = batches.chain(singles.collect::<Vec<_>>()).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(granted as u64, UNITS);
    assert_eq!(client.units("drop", "tv"), [UNITS, 0, UNITS, 0]);
}
