//! The audit trail over HTTP: pages, filters, and who is told what.

use std::fs;

use doorbuster::auth::Role;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::keys::{Keys, put};
use crate::served::{Ask, Client, Service, shapes, wait_until};

/// Four sales are put, and each is adjusted, paused and resumed. With the change of keys at the start: 17 records.
fn lived(keys: &Keys) -> Service {
    let service = Service::start_with(|config| {
        config.auth.keys = keys.settings.clone();
        config.limits.report_kept_seconds = 0;
    });
    let mut client = service.client();
    for sale in ["summer-1", "winter-1", "summer-2", "winter-2"] {
        keys.send(&mut client, "operator", put(sale)).success(201);
        let adjust = Ask::new("POST", &format!("/v1/sales/{sale}/items/tv/adjustments"));
        let change = json!({ "delta": -2, "reason": "damaged" });
        keys.send(&mut client, "operator", adjust.json(&change)).success(201);
        for verb in ["pause", "resume"] {
            keys.send(&mut client, "operator", Ask::new("POST", &format!("/v1/sales/{sale}/{verb}"))).success(200);
        }
    }
    service.wait_for_store();
    service
}

fn read(keys: &Keys, client: &mut Client, name: &str, query: &str) -> Value {
    keys.send(client, name, Ask::new("GET", &format!("/v1/audit?{query}"))).success(200)
}

/// All records, page by page.
fn walk(keys: &Keys, client: &mut Client, name: &str, limit: usize, more: &str) -> (Vec<Value>, usize) {
    let (mut all, mut before) = (Vec::new(), String::new());
    for pages in 1..100 {
        let page = read(keys, client, name, &format!("limit={limit}{more}{before}"));
        let records = page["records"].as_array().unwrap();
        assert!(records.len() <= limit);
        all.extend(records.iter().cloned());
        match page.get("next") {
            None => return (all, pages),
            Some(next) => before = format!("&before={}", next.as_str().unwrap()),
        }
    }
    panic!("there is no end");
}

fn actions(records: &[Value]) -> Vec<(&str, &str)> {
    records.iter().map(|it| (it["action"].as_str().unwrap(), it["sale"].as_str().unwrap_or("-"))).collect()
}

#[test]
fn each_record_stands_on_one_page_as_the_store_has_it_the_newest_first() {
    let keys = Keys::all_roles();
    let service = lived(&keys);
    let mut client = service.client();
    let (all, pages) = walk(&keys, &mut client, "operator", 5, "");
    assert_eq!((all.len(), pages), (17, 4));
    let sequences: Vec<_> = all.iter().map(|record| record["sequence"].as_i64().unwrap()).collect();
    assert_eq!(sequences, (1..=17).rev().collect::<Vec<_>>());
    let store = Connection::open(service.config.store_path()).unwrap();
    let mut rows =
        store.prepare("SELECT at, actor, action, sale, sku, detail, hash FROM audit WHERE sequence = ?1").unwrap();
    for record in &all {
        let text = |row: &rusqlite::Row<'_>, column: usize| row.get::<_, Option<String>>(column).unwrap();
        rows.query_row([record["sequence"].as_i64().unwrap()], |row| {
            for (column, member) in ["at", "actor", "action", "sale", "sku"].into_iter().enumerate() {
                assert_eq!(record.get(member).map(|it| it.as_str().unwrap().to_owned()), text(row, column), "{member}");
            }
            assert_eq!(record["detail"], serde_json::from_str::<Value>(&text(row, 5).unwrap()).unwrap());
            assert_eq!(record["hash"].as_str().map(str::to_owned), text(row, 6));
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(all[2]["detail"], json!({ "delta": -2, "reason": "damaged", "stock": 8, "available": 8 }));
    assert_eq!(actions(&all[16..]), [("keys.change", "-")]);
    // How far the store was.
    let page = read(&keys, &mut client, "operator", "");
    let as_of = &page["as_of"];
    assert_eq!((page.get("next"), &as_of["lag_epochs"]), (None, &json!(0)));
    assert!(as_of["epoch"].as_u64() > Some(16) && as_of["lag_seconds"].is_number());
    assert!(shapes::check_time(&as_of["changed_at"]) <= shapes::check_time(&as_of["read_at"]) + 1000);
    let of_sale = walk(&keys, &mut client, "operator", 3, "&sale=winter-1").0;
    let expected = ["sale.resume", "sale.pause", "stock.adjust", "sale.put"].map(|action| (action, "winter-1"));
    assert_eq!(actions(&of_sale), expected);
    assert_eq!(read(&keys, &mut client, "operator", "sale=none")["records"], json!([]));
}

#[test]
fn a_key_of_some_sales_is_told_of_these_alone_and_cannot_count_the_others() {
    let keys =
        Keys::all_roles().add("summer", Role::Operator, &["summer-*"]).add("seller", Role::Checkout, &["summer-*"]);
    let service = lived(&keys);
    let mut client = service.client();
    let (some, _) = walk(&keys, &mut client, "summer", 3, "");
    assert_eq!(some.len(), 8);
    for record in &some {
        assert!(record["sale"].as_str().unwrap().starts_with("summer-"), "{record}");
        assert!(record.get("sequence").is_none() && record.get("hash").is_none(), "{record}");
    }
    let page = read(&keys, &mut client, "summer", "limit=1");
    assert_eq!(shapes::members(&page["as_of"]), ["lag_seconds", "read_at"]);
    // A sale that it may not know of is like one that is not there.
    let nothing = |page: Value| (page["records"].clone(), page.get("next").cloned());
    let hidden = nothing(read(&keys, &mut client, "summer", "sale=winter-1"));
    assert_eq!(hidden, nothing(read(&keys, &mut client, "summer", "sale=none")));
    assert_eq!(hidden, (json!([]), None));
    // Cursors of others are none, nor are those of the feed.
    let next = |page: &Value| page["next"].as_str().unwrap().to_owned();
    let of_all = next(&read(&keys, &mut client, "operator", "limit=1"));
    let ask = |before: &str| Ask::new("GET", &format!("/v1/audit?before={before}"));
    let feed = keys.send(&mut client, "summer", Ask::new("HEAD", "/v1/events"));
    let feed = feed.header("event-cursor").unwrap().to_owned();
    for before in [&*of_all, &feed, "0", "5", "x", ""] {
        let refused = keys.send(&mut client, "summer", ask(before)).refused("invalid_request");
        assert_eq!(refused["errors"][0]["pointer"], "/before", "{before}");
    }
    keys.send(&mut client, "summer", ask(&next(&page))).success(200);
    for name in ["viewer", "checkout", "seller"] {
        keys.send(&mut client, name, Ask::new("GET", "/v1/audit")).refused("forbidden");
    }
    client.get("/v1/audit").refused("unauthenticated");
}

#[test]
fn what_is_no_such_question_is_refused() {
    let service = Service::start();
    let mut client = service.client();
    for (query, pointer) in [
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=%2b5", "/limit"),
        ("limit=5&limit=5", "/limit"),
        ("sale=A%20b", "/sale"),
        ("sale=", "/sale"),
        ("after=1", "/after"),
    ] {
        let refused = client.get(&format!("/v1/audit?{query}")).refused("invalid_request");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{query}");
    }
    client.get("/v1/audit?limit=200").success(200);
    client.post_nothing("/v1/audit").refused("method_not_allowed");
}

#[test]
fn a_store_that_cannot_be_read_is_told() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 2)]);
    let (there, away) = (service.directory().join("store.db"), service.directory().join("away.db"));
    wait_until("there is a trail", || {
        client.get("/v1/audit").json()["records"].as_array().is_some_and(|it| !it.is_empty())
    });
    fs::rename(&there, &away).unwrap();
    while fs::create_dir(&there).is_err() {
        let _ = fs::remove_file(&there);
    }
    let refused = client.get("/v1/audit").refused("store_unavailable");
    assert!(!refused["detail"].as_str().unwrap().contains("store.db"), "paths are for the log");
    fs::remove_dir(&there).unwrap();
    fs::rename(&away, &there).unwrap();
    wait_until("it is read again", || client.get("/v1/audit").status == 200);
}
