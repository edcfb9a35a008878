//! Reports: who may read them, and what they are refused for. Their figures are in `tests/it/reports.rs`.

use std::fs;

use serde_json::json;

use crate::served::{Ask, Service, wait_until};

#[test]
fn it_is_answered_again_for_some_seconds_and_says_what_it_counts() {
    let service = Service::start_with(|config| config.limits.report_kept_seconds = 600);
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 2)]);
    let first = client.get("/v1/sales/drop/report").success(200);
    client.hold("drop", "ann", [("tv", 2)]);
    client.reserve("drop", "bob", [("tv", 1)]).refused("sold_out");
    service.wait_for_store();
    let again = client.get("/v1/sales/drop/report").success(200);
    assert_eq!((&again["as_of"], &again["units"]), (&first["as_of"], &first["units"]));
    // What is in memory is always told anew.
    assert_eq!(first["refusals"]["total"], 0);
    assert_eq!(again["refusals"]["by_reason"], json!([{ "reason": "sold_out", "count": 1 }]));
    let head = client.send(&Ask::new("HEAD", "/v1/sales/drop/report"));
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn entries_of_a_batch_and_other_sales_are_counted_where_they_belong() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 1)]);
    client.put_open_sale("calm", [("tv", 1)]);
    let entry = |sku: &str| json!({ "customer": "ann", "lines": [{ "sku": sku, "quantity": 1 }] });
    let batch = json!({ "reservations": [entry("tv"), entry("tv"), entry("none"), entry("tv")] });
    client.post("/v1/sales/drop/reservations/batch", &batch).success(200);
    let of = |told: serde_json::Value| told["refusals"]["by_reason"].clone();
    assert_eq!(
        of(client.get("/v1/sales/drop/report").success(200)),
        json!([{ "reason": "item_not_found", "count": 1 }, { "reason": "sold_out", "count": 2 }])
    );
    assert_eq!(of(client.get("/v1/sales/calm/report").success(200)), json!([]));
}

#[test]
fn a_store_that_cannot_be_read_is_told() {
    let service = Service::start_with(|config| config.limits.report_kept_seconds = 0);
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 2)]);
    client.get("/v1/sales/drop/report").success(200);
    let (there, away) = (service.directory().join("store.db"), service.directory().join("away.db"));
    // A file that only goes away is made anew; one that something else has the place of is not.
    fs::rename(&there, &away).unwrap();
    while fs::create_dir(&there).is_err() {
        let _ = fs::remove_file(&there);
    }
    let refused = client.get("/v1/sales/drop/report").refused("store_unavailable");
    assert!(!refused["detail"].as_str().unwrap().contains("store.db"), "paths are for the log");
    fs::remove_dir(&there).unwrap();
    fs::rename(&away, &there).unwrap();
    wait_until("reports are read again", || client.get("/v1/sales/drop/report").status == 200);
}

#[test]
fn what_is_no_sale_or_no_such_call_is_refused() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 2)]);
    client.get("/v1/sales/none/report").refused("sale_not_found");
    client.get("/v1/sales/drop/report?from=1").refused("invalid_request");
    client.post_nothing("/v1/sales/drop/report").refused("method_not_allowed");
}
