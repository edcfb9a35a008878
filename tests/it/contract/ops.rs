//! The ops listener: probes, and metrics that count what was done.

use serde_json::{Value, json};

use crate::served::{
    Ask, Service,
    documents::{items, lines},
    metrics::Scrape,
    open_sale, reserve_body, shapes, wait_until,
};

fn scrape(service: &Service) -> Scrape {
    let answer = service.ops().get("/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Scrape::parse(answer.text())
}

#[test]
fn probes_say_alive_and_ready_with_details() {
    let service = Service::start();
    service.client().put_open_sale("drop", [("tv", 1)]);
    let mut ops = service.ops();
    assert_eq!(ops.get("/livez").status, 200);
    service.wait_for_store();
    let ready = ops.get("/readyz");
    assert_eq!((ready.status, ready.header("content-type")), (200, Some("application/json")));
    let details = ready.json();
    assert_eq!(shapes::members(&details), ["journal", "status", "store"]);
    assert_eq!(details["status"], "ready");
    let journal = &details["journal"];
    let expected = json!({
        "durable_epoch": journal["durable_epoch"], "failed": false,
        "disk_available_bytes": journal["disk_available_bytes"], "disk_reserve_bytes": journal["disk_reserve_bytes"],
        "disk_low": false,
    });
    assert_eq!(*journal, expected);
    assert!(journal["disk_available_bytes"].as_u64() > journal["disk_reserve_bytes"].as_u64(), "{journal}");
    assert!(journal["disk_reserve_bytes"].as_u64().unwrap() > 0, "{journal}");
    let durable_epoch = details["journal"]["durable_epoch"].as_u64().unwrap();
    assert!(durable_epoch > 0);
    let expected = json!({
        "kind": "sqlite", "state": "following", "up": true, "applied_epoch": durable_epoch, "lag_epochs": 0, "lag_seconds": details["store"]["lag_seconds"],
        "backlog_bytes": 0, "backlog_full": false, "last_error": null,
    });
    assert_eq!(details["store"], expected);

    let head = ops.send(&Ask::new("HEAD", "/readyz"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    let refused = ops.send(&Ask::new("POST", "/readyz"));
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(ops.get("/").status, 404);
    assert_eq!(ops.get("/v1/sales").status, 404, "the API is not here");
}

#[test]
fn every_family_has_help_type_and_a_name_that_says_its_unit() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    client.hold("drop", "ann", [("tv", 1)]);
    let text = service.ops().get("/metrics").text().to_owned();
    let scrape = Scrape::parse(&text);
    assert!(scrape.families().count() > 20);
    for (name, family) in scrape.families() {
        assert!(name.starts_with("doorbuster_"), "{name}");
        assert!(family.help.len() > 10 && family.help.ends_with('.'), "{name} says {:?}", family.help);
        assert!(!family.kind.is_empty(), "{name} has no type");
        for unusual in ["_ms", "_millis", "_milliseconds", "_micros", "_kb", "_mb", "_count", "_sum", "_bucket"] {
            assert!(!name.ends_with(unusual), "{name}");
        }
        let is_total = name.ends_with("_total");
        assert_eq!(is_total, family.kind == "counter", "{name} is a {}", family.kind);
        if family.kind == "histogram" {
            assert!(name.ends_with("_seconds") || name.ends_with("_bytes"), "{name}");
        }
        for sample in &family.samples {
            assert!(sample.value.is_finite() && sample.value >= 0.0, "{sample:?}");
        }
    }
    check_histograms(&scrape);
}

/// Buckets only grow, and the last one is the count.
fn check_histograms(scrape: &Scrape) {
    for (name, family) in scrape.families().filter(|(_, family)| family.kind == "histogram") {
        let mut last: Option<(Value, f64, f64)> = None;
        for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").unwrap_or_else(|| panic!("{name} has a bucket without a bound"));
            let bound: f64 = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a bound") };
            let labels = json!(labels);
            if let Some((_, least, below)) = last.filter(|(series, ..)| *series == labels) {
                assert!(bound > least && sample.value >= below, "{name}: {sample:?}");
            }
            if bound.is_infinite() {
                let count = format!("{name}_count");
                let counted = family.samples.iter().find(|other| other.name == count && json!(other.labels) == labels);
                assert_eq!(counted.map(|counted| counted.value), Some(sample.value), "{name}");
            }
            last = Some((labels, bound, sample.value));
        }
    }
}

#[test]
fn requests_are_counted_by_call_and_status() {
    let service = Service::start();
    let mut client = service.client();
    let document = open_sale(items([("tv", 2)]));
    client.put("/v1/sales/drop", &document).success(201);
    client.put("/v1/sales/drop", &document).success(200);
    let held = client.hold("drop", "ann", [("tv", 1)]);
    client.hold("drop", "ann", [("tv", 1)]);
    client.reserve("drop", "ann", [("tv", 1)]).refused("sold_out");
    client.send(&Ask::new("POST", "/v1/sales/drop/reservations").bytes("x")).refused("invalid_request");
    client.look(&held);
    client.act(&held, "extend", json!({ "hold_seconds": 700 })).reservation(200);
    client.act(&held, "confirm", json!({})).reservation(200);
    client.act(&held, "release", json!({})).refused("already_confirmed");
    client.post("/v1/sales/drop/items/tv/adjustments", &json!({ "delta": 1 })).success(201);
    for call in ["pause", "resume", "close"] {
        client.post_nothing(&format!("/v1/sales/drop/{call}")).success(200);
    }
    client.get("/v1/sales").success(200);
    client.get("/v1/sales/drop/availability").success(200);
    client.get("/v1/sales/drop/reservations?customer=ann").success(200);
    client.get("/v1/audit").success(200);
    client.get("/problems/sold-out").success(200);
    client.get("/nothing").refused("not_found");
    client.send(&Ask::new("DELETE", "/v1/sales/drop")).refused("method_not_allowed");
    client.get("/v1/sales/none").refused("sale_not_found");

    let scrape = scrape(&service);
    for (route, status, count) in [
        ("put_sale", "201", 1),
        ("put_sale", "200", 1),
        ("reserve", "201", 2),
        ("reserve", "409", 1),
        ("reserve", "400", 1),
        ("get_reservation", "200", 1),
        ("customer_reservations", "200", 1),
        ("audit", "200", 1),
        ("extend", "200", 1),
        ("confirm", "200", 1),
        ("release", "409", 1),
        ("adjust", "201", 1),
        ("pause_sale", "200", 1),
        ("resume_sale", "200", 1),
        ("close_sale", "200", 1),
        ("list_sales", "200", 1),
        ("availability", "200", 1),
        ("problem", "200", 1),
        ("unknown", "404", 1),
        ("get_sale", "404", 1),
        ("get_sale", "405", 1),
    ] {
        let counted = scrape.value("doorbuster_http_requests_total", [("route", route), ("status", status)]);
        assert_eq!(counted, f64::from(count), "{route} {status}");
    }
    let requests = scrape.families().find(|(name, _)| *name == "doorbuster_http_requests_total").unwrap().1;
    assert_eq!(requests.samples.iter().map(|sample| sample.value).sum::<f64>(), 22.0, "and nothing else");
    assert_eq!(scrape.value("doorbuster_http_request_duration_seconds_count", [("route", "reserve")]), 4.0);
    assert!(scrape.value("doorbuster_http_request_duration_seconds_sum", [("route", "reserve")]) > 0.0);
    assert_eq!(scrape.value("doorbuster_http_connections", []), 1.0);
}

#[test]
fn outcomes_stock_and_holds_are_counted() {
    let service = Service::start_with(|config| config.limits.connections_max = 3);
    let mut client = service.client();
    let document = json!([
        { "sku": "tv", "initial_stock": 10, "customer_limit": 5 }, { "sku": "a \"quoted\" sku", "initial_stock": 7 },
    ]);
    client.put("/v1/sales/drop", &open_sale(document)).success(201);
    let ask = Ask::new("POST", "/v1/sales/drop/reservations").key("k").json(&reserve_body("ann", [("tv", 1)]));
    let confirmed = client.send(&ask).reservation(201);
    assert!(client.send(&ask).is_replayed());
    let released = client.hold("drop", "bob", [("tv", 1)]);
    client.hold("drop", "cid", [("tv", 5)]);
    let short = |customer| json!({ "customer": customer, "lines": lines([("tv", 1)]), "hold_seconds": 1 });
    let [watched, _] =
        ["dan", "fay"].map(|customer| client.post("/v1/sales/drop/reservations", &short(customer)).reservation(201));
    client.act(&confirmed, "confirm", json!({})).reservation(200);
    client.act(&released, "release", json!({})).reservation(200);
    client.reserve("drop", "cid", [("tv", 1)]).refused("customer_limit_exceeded");
    client.reserve("drop", "eve", [("tv", 11)]).refused("insufficient_stock");
    client.reserve("drop", "eve", [("car", 1)]).refused("item_not_found");
    let other = Ask::new("POST", "/v1/sales/drop/reservations").key("k").json(&reserve_body("ann", [("tv", 2)]));
    client.send(&other).refused("idempotency_key_reused");
    client.act(&released, "confirm", json!({})).refused("already_released");
    // One is expired by whoever looks first, the other by the clock alone.
    wait_until("the hold has expired", || client.look(&watched)["state"] == "expired");
    wait_until("so has the other", || client.units("drop", "tv") == [10, 4, 5, 1]);

    let refusals =
        |scrape: &Scrape, reason: &str| scrape.value("doorbuster_reservation_refusals_total", [("reason", reason)]);
    let outcomes =
        |scrape: &Scrape, outcome: &str| scrape.value("doorbuster_reservations_total", [("outcome", outcome)]);
    let counts =
        |scrape: &Scrape| ["held", "replayed", "confirmed", "released", "expired"].map(|it| outcomes(scrape, it));
    // Stock and levels are read every second.
    wait_until("totals have been read since", || scrape(&service).find("doorbuster_live_holds", []) == Some(1.0));
    let scrape = scrape(&service);
    assert_eq!(counts(&scrape), [5.0, 1.0, 1.0, 1.0, 2.0]);
    for (reason, count) in [
        ("customer_limit_exceeded", 1.0),
        ("insufficient_stock", 1.0),
        ("item_not_found", 1.0),
        ("idempotency_key_reused", 1.0),
        ("already_released", 1.0),
        ("sold_out", 0.0),
    ] {
        assert_eq!(refusals(&scrape, reason), count, "{reason}");
    }
    for (state, units) in [("stock", 10.0), ("available", 4.0), ("held", 5.0), ("confirmed", 1.0)] {
        let labels = [("sale", "drop"), ("sku", "tv"), ("state", state)];
        assert_eq!(scrape.value("doorbuster_stock_units", labels), units, "{state}");
    }
    let quoted = [("sku", "a \"quoted\" sku"), ("state", "available")];
    assert_eq!(scrape.value("doorbuster_stock_units", quoted), 7.0);
    assert_eq!(scrape.value("doorbuster_reservations_in_memory", []), 5.0);
    assert_eq!(scrape.value("doorbuster_customers_in_memory", []), 5.0);
    assert_eq!(scrape.value("doorbuster_conservation_drift_units", []), 0.0);
    assert_eq!(scrape.value("doorbuster_sales", [("status", "open")]), 1.0);
    assert_eq!(scrape.value("doorbuster_oversold_units", []), 0.0);
    let sale = |state| scrape.value("doorbuster_sale_stock_units", [("sale", "drop"), ("state", state)]);
    assert_eq!(["stock", "available", "held", "confirmed"].map(sale), [17.0, 11.0, 5.0, 1.0]);
    let status = |status| scrape.value("doorbuster_sale_status", [("sale", "drop"), ("status", status)]);
    assert_eq!(["scheduled", "open", "paused", "closed"].map(status), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(scrape.value("doorbuster_sale_items_sold_out", [("sale", "drop")]), 0.0);
    let lag = "doorbuster_expiry_lag_seconds";
    let by_the_clock = scrape.value(&format!("{lag}_count"), []);
    assert!((1.0..=2.0).contains(&by_the_clock), "{by_the_clock}");
    assert!(scrape.value(&format!("{lag}_sum"), []) < 5.0);

    let mut others = [service.client(), service.client()];
    others.iter_mut().for_each(|other| assert_eq!(other.sale("drop")["status"], "open"));
    service.connect().answer().refused("overloaded");
    wait_until("the refused connection is counted", || {
        let text = service.ops().get("/metrics").text().to_owned();
        Scrape::parse(&text).value("doorbuster_http_connections_refused_total", []) == 1.0
    });
}

#[test]
fn the_journal_and_the_store_are_measured() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1000)]);
    service.wait_for_store();
    let before = scrape(&service);
    for number in 0..50 {
        client.hold("drop", &format!("customer-{number}"), [("tv", 1)]);
    }
    service.wait_for_store();
    let after = scrape(&service);
    let grown = |name: &str| after.value(name, []) - before.value(name, []);
    // One client that waits for each answer: each of its reservations is a batch of its own.
    assert_eq!(grown("doorbuster_journal_batches_total"), 50.0);
    for histogram in ["write_seconds", "sync_seconds", "batch_bytes"] {
        assert_eq!(grown(&format!("doorbuster_journal_{histogram}_count")), 50.0, "{histogram}");
        assert!(grown(&format!("doorbuster_journal_{histogram}_sum")) > 0.0, "{histogram}");
    }
    let payload = grown("doorbuster_journal_batch_bytes_sum");
    let bytes = grown("doorbuster_journal_bytes_total");
    assert!(bytes > payload && bytes < 50.0 * 1024.0, "{bytes} bytes with frames, {payload} of events");
    assert_eq!(grown("doorbuster_journal_durable_epoch"), 50.0);
    let details = service.ops().get("/readyz").json();
    let epoch = details["journal"]["durable_epoch"].as_f64().unwrap();
    assert_eq!(after.value("doorbuster_journal_durable_epoch", []), epoch);
    assert_eq!(after.value("doorbuster_store_applied_epoch", []), epoch);
    assert_eq!(after.value("doorbuster_store_lag_epochs", []), 0.0);
    assert_eq!(after.value("doorbuster_store_backlog_bytes", []), 0.0);
    assert_eq!(after.value("doorbuster_store_up", []), 1.0);
    assert_eq!(after.value("doorbuster_journal_failed", []), 0.0);
    assert!(after.value("doorbuster_store_lag_seconds", []) < 1.0);
    // A row for each reservation and each line; items and the cursor come on top.
    assert!(grown("doorbuster_store_rows_total") >= 100.0);
}

#[test]
fn series_are_bounded_and_the_rest_is_summed_up() {
    let service = Service::start_with(|config| (config.metrics.items_max, config.metrics.sales_max) = (2, 2));
    let mut client = service.client();
    for sale in ["one", "other", "three"] {
        client.put_open_sale(sale, [("a", 3), ("b", 5)]);
    }
    client.hold("three", "ann", [("b", 5)]);
    wait_until("totals have been read since", || {
        scrape(&service).find("doorbuster_sale_items_sold_out", [("sale", "other")]) == Some(1.0)
    });
    let scrape = scrape(&service);
    let series = |name: &str| scrape.families().find(|(family, _)| *family == name).unwrap().1.samples.len();
    let stock = |name: &str, sale: &str| scrape.value(name, [("sale", sale), ("state", "stock")]);
    // Two items and the rest; one sale and the rest, to which the sale that bears its name belongs.
    assert_eq!((series("doorbuster_stock_units"), stock("doorbuster_stock_units", "other")), (12, 16.0));
    assert_eq!((series("doorbuster_sale_stock_units"), stock("doorbuster_sale_stock_units", "other")), (8, 16.0));
    assert_eq!(stock("doorbuster_sale_stock_units", "one"), 8.0);
    assert_eq!(series("doorbuster_sale_status"), 4);
}

#[test]
fn limits_threads_and_the_machine_are_told() {
    let service = Service::start_with(|config| config.rate_limits.customer = "1/60s".to_owned());
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 10)]);
    client.hold("drop", "ann", [("tv", 1)]);
    client.reserve("drop", "ann", [("tv", 1)]).refused("rate_limited");
    let soon = json!({ "customer": "bob", "lines": lines([("tv", 1)]), "hold_seconds": 50 });
    client.post("/v1/sales/drop/reservations", &soon).reservation(201);
    wait_until("holds about to expire are counted", || {
        scrape(&service).find("doorbuster_holds_expiring_next_minute", []) == Some(1.0)
    });
    let scrape = scrape(&service);
    assert_eq!(scrape.value("doorbuster_rate_limited_total", [("policy", "customer")]), 1.0);
    assert_eq!(scrape.value("doorbuster_rate_limit_callers", []), 2.0);
    assert_eq!(scrape.value("doorbuster_limit", [("limit", "limits.connections_max")]), 20_000.0);
    assert!(scrape.value("doorbuster_shard_lock_wait_seconds_count", []) > 0.0);
    assert!(scrape.value("doorbuster_thread_busy_ratio", [("thread", "journal")]) <= 1.0);
    assert!(scrape.value("doorbuster_process_resident_bytes", []) > 1e6);
    assert!(scrape.value("doorbuster_process_open_files", []) > 3.0);
    let disk = ["doorbuster_data_disk_available_bytes", "doorbuster_data_disk_bytes"];
    let [available, size] = disk.map(|name| scrape.value(name, []));
    assert!(0.0 < available && available <= size);
    assert!(scrape.value("doorbuster_start_time_seconds", []) > 1.7e9);
}
