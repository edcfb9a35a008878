//! Reports: who may read them, and what they are refused for. Their figures are in `tests/it/reports.rs`.

use std::fs;

use serde_json::json;

use crate::served::{Ask, Service, open_sale, reserve_body, wait_until};

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
    for (query, pointer) in [("from=1", "/from"), ("by=region", "/by"), ("by=label:It's", "/by"), ("by=", "/by")] {
        let refused = client.get(&format!("/v1/sales/drop/report?{query}")).refused("invalid_request");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{query}");
    }
    client.post_nothing("/v1/sales/drop/report").refused("method_not_allowed");
}

#[test]
fn it_is_grouped_by_what_requests_and_pools_have_in_common() {
    let service = Service::start();
    let mut client = service.client();
    let price = json!({ "amount": 500, "currency": "EUR" });
    let pools = json!([
        { "id": "members", "initial_stock": 2, "tiers": ["gold"], "location": "berlin" },
        { "id": "default", "initial_stock": 8 },
    ]);
    let item = json!({ "sku": "tv", "initial_stock": 10, "price": price, "pools": pools });
    client.put("/v1/sales/drop", &open_sale(json!([item]))).success(201);
    let mut ask = |customer: &str, quantity: u32, attributes: serde_json::Value| {
        let mut body = reserve_body(customer, [("tv", quantity.into())]);
        body.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
        client.post("/v1/sales/drop/reservations", &body).reservation(201)
    };
    let campaign = json!({ "campaign": "friday" });
    let sold = ask("ann", 3, json!({ "tier": "gold", "channel": "app", "labels": campaign }));
    ask("bob", 1, json!({ "channel": "app" }));
    ask("cem", 1, json!({}));
    client.act(&sold, "confirm", json!({})).reservation(200);
    service.wait_for_store();

    let counts = |granted: u64, held: u64, confirmed: u64| json!({ "granted": granted, "held": held, "confirmed": confirmed, "released": 0, "expired": 0, "cancelled": 0 });
    let units = |granted: u64, held: u64, confirmed: u64| {
        let mut units = counts(granted, held, confirmed);
        units["returned"] = json!(0);
        units
    };
    let revenue = |units: u64| json!([{ "currency": "EUR", "units": units, "revenue": 500 * units }]);
    let rates = |conversion: f64, unit_conversion: f64| json!({ "conversion": conversion, "unit_conversion": unit_conversion, "expiry_rate": 0.0, "release_rate": 0.0 });
    let report = client.get("/v1/sales/drop/report?by=channel").success(200);
    assert_eq!((&report["by"], &report["groups_total"]), (&json!("channel"), &json!(2)));
    let expected = json!([
        { "value": "app", "reservations": counts(2, 1, 1), "units": units(4, 1, 3), "rates": rates(0.5, 0.75),
          "revenue_by_currency": revenue(3) },
        { "reservations": counts(1, 1, 0), "units": units(1, 1, 0), "rates": rates(0.0, 0.0), "revenue_by_currency": [] },
    ]);
    assert_eq!(report["groups"], expected);
    let mut values = |by: &str| {
        let groups = client.get(&format!("/v1/sales/drop/report?by={by}")).success(200)["groups"].clone();
        let of = |group: &serde_json::Value| {
            json!([group["value"], group["reservations"]["granted"], group["units"]["granted"]])
        };
        groups.as_array().unwrap().iter().map(of).collect::<serde_json::Value>()
    };
    assert_eq!(values("tier"), json!([[null, 2, 2], ["gold", 1, 3]]));
    // Ann's line is in both pools.
    assert_eq!(values("pool"), json!([["default", 3, 3], ["members", 1, 2]]));
    assert_eq!(values("location"), json!([[null, 3, 3], ["berlin", 1, 2]]));
    assert_eq!(values("label:campaign"), json!([[null, 2, 2], ["friday", 1, 3]]));
    let plain = client.get("/v1/sales/drop/report").success(200);
    assert!(["by", "groups", "groups_total"].iter().all(|member| plain.get(member).is_none()), "{plain}");
    assert_eq!(plain["items"][0]["reservations"], counts(3, 2, 1));
}
