//! `reconcile --repair` and `rebuild`: what differs is put right, in stores of both kinds, and what cannot be is told.

use std::{fs, path::Path, thread, time::Duration};

use serde_json::{Value, json};

use super::{Place, Said, Store, copy_store, story};
use crate::{
    served::{open_sale, process::Process, reserve_body, wait_until},
    support::postgres::Sql,
};

/// What was found is put right, and nothing else is found.
pub fn mends(place: &Place, found: &Said) {
    let said = place.say(&["reconcile", "--repair", "--json"]);
    assert_eq!(said.report["found"], found.report);
    assert_eq!(said.code, Some(0), "{} {}", said.report, said.stderr);
    place.reconcile().is_equal();
    let again = place.say(&["reconcile", "--repair", "--json"]);
    assert_eq!((again.code, &again.report["found"]["differences_total"]), (Some(0), &json!(0)));
}

pub fn stop(process: &mut Process) {
    process.terminate();
    assert_eq!(process.wait(Duration::from_secs(150)).code(), Some(0), "{}", process.log());
}

pub fn everything_is_in_the_store(process: &Process) {
    let mut ops = process.ops();
    wait_until("the store has everything", || {
        let answer = ops.get("/metrics");
        String::from_utf8_lossy(&answer.body).lines().any(|line| line == "doorbuster_store_backlog_bytes 0")
    });
}

/// Reserves, confirms and releases until the journal's first segment is gone.
pub fn work_until_pruned(process: &Process, data: &Path) {
    let mut client = process.client();
    let first = data.join("journal/journal-00000000000000000001.seg");
    // The next segment is always there; the one after it when that is begun.
    let third = data.join("journal/journal-00000000000000000003.seg");
    // Bounded by rounds: the store and a snapshot must pass a segment before it goes, however slow the machine is.
    for round in 0..6000 {
        // Long names fill a segment soon. Once it is full, little more is written: every row is compared later.
        let is_full = third.exists();
        let entry = |number| reserve_body(&format!("more-{round}-{number:050}"), [("tv", 1)]);
        let many: Vec<Value> = (0..if is_full { 2 } else { 500 }).map(entry).collect();
        let answer = client.post("/v1/sales/drop/reservations/batch", &json!({ "reservations": many })).success(200);
        for (number, result) in answer["results"].as_array().unwrap().iter().enumerate().take(20) {
            client
                .act(&result["reservation"], if number % 2 == 0 { "confirm" } else { "release" }, json!({}))
                .reservation(200);
        }
        if !first.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(if is_full { 20 } else { 0 }));
    }
    panic!("the first segment is still there");
}

impl Place {
    /// Puts the store as it is now aside; gives back what puts it in the place again.
    fn copy_of_store(&mut self) -> Copy {
        match &self.store {
            Store::Sqlite => {
                let kept = self.directory.path().join("old");
                copy_store(&self.data(), &kept);
                Copy::Sqlite(kept)
            }
            Store::Postgres { server, url } => {
                let name = url.rsplit_once('/').unwrap().1;
                server.admin().run(&format!("CREATE DATABASE old TEMPLATE {name}"));
                Copy::Postgres(server.url("old"))
            }
        }
    }

    fn put_back(&mut self, copy: Copy) {
        match (&mut self.store, copy) {
            (Store::Sqlite, Copy::Sqlite(kept)) => copy_store(&kept, &self.data()),
            (Store::Postgres { url, .. }, Copy::Postgres(old)) => *url = old,
            _ => unreachable!(),
        }
    }

    /// A store with nothing in it.
    fn lose_store(&mut self) {
        match &mut self.store {
            Store::Sqlite => {
                for name in ["store.db", "store.db-wal", "store.db-shm"] {
                    let _ = fs::remove_file(self.directory.path().join("data").join(name));
                }
            }
            Store::Postgres { server, url } => *url = server.new_database(),
        }
    }

    fn number(&self, sql: &str) -> i64 {
        match &self.store {
            Store::Sqlite => {
                let connection = rusqlite::Connection::open(self.data().join("store.db")).unwrap();
                connection.query_row(sql, [], |row| row.get(0)).unwrap()
            }
            Store::Postgres { url, .. } => Sql::connect(url).number(sql),
        }
    }
}

enum Copy {
    Sqlite(std::path::PathBuf),
    Postgres(String),
}

/// The service goes on with a mended store, and what both say is the same.
pub fn goes_on(place: &Place) {
    let mut process = Process::start(&place.data(), &place.settings());
    let mut client = process.client();
    let held = client.hold("drop", "after", [("tv", 2)]);
    client.act(&held, "confirm", json!({})).reservation(200);
    client.post("/v1/sales/drop/items/tv/adjustments", &json!({ "delta": 7 })).success(201);
    everything_is_in_the_store(&process);
    place.reconcile().is_equal();
    let shown = client.get("/v1/sales/drop").success(200);
    stop(&mut process);
    place.reconcile().is_equal();
    for item in shown["items"].as_array().unwrap() {
        for column in ["stock", "available", "held", "confirmed"] {
            let sql = format!("SELECT {column} FROM items WHERE sku = '{}'", item["sku"].as_str().unwrap());
            assert_eq!(place.number(&sql), item[column].as_i64().unwrap(), "{sql}");
        }
    }
}

fn a_lost_store_is_rebuilt(mut place: Place) {
    let mut settings = place.settings();
    // Short enough that confirmed reservations leave memory before the snapshot.
    settings.push(("engine.retention_seconds", "1".to_owned()));
    let mut process = Process::start(&place.data(), &settings);
    let mut client = process.client();
    client.put("/v1/sales/drop", &open_sale(json!([{ "sku": "tv", "initial_stock": 1_000_000 }]))).success(201);
    let early = client.hold("drop", "early", [("tv", 3)]);
    client.act(&early, "confirm", json!({ "reference": "order-1" })).reservation(200);
    client.post("/v1/sales/drop/items/tv/adjustments", &json!({ "delta": 11 })).success(201);
    wait_until("it left memory", || {
        client.get(&format!("/v1/reservations/{}", early["id"].as_str().unwrap())).status == 404
    });
    work_until_pruned(&process, &place.data());
    let kept = client.hold("drop", "kept", [("tv", 4)]);
    let running = place.say(&["rebuild"]);
    assert_eq!(running.code, Some(5), "{}", running.stderr);
    stop(&mut process);
    let full = place.say(&["rebuild"]);
    assert_eq!(full.code, Some(2), "{}", full.stderr);
    assert!(full.stderr.contains("the store is not empty"), "{}", full.stderr);
    place.reconcile().is_equal();

    place.lose_store();
    let said = place.say(&["rebuild", "--json"]);
    assert_eq!(said.code, Some(0), "{} {}", said.report, said.stderr);
    assert_eq!((&said.report["epoch_before"], &said.report["left"]["differences_total"]), (&json!(0), &json!(0)));
    assert!(said.report["left"]["epoch"].as_u64().unwrap() > 0, "{}", said.report);
    let reconciled = place.reconcile();
    reconciled.is_equal();
    assert_eq!(reconciled.report["compared"]["audit_records_elsewhere"], json!(2), "{}", reconciled.report);
    assert!(place.number("SELECT confirmed_before FROM items") >= 3);
    assert_eq!(place.number("SELECT CAST(sum(delta) AS bigint) FROM stock_movements"), 1_000_011);
    assert_eq!(
        place.number(&format!("SELECT count(*) FROM reservations WHERE id = '{}'", kept["id"].as_str().unwrap())),
        1
    );
    goes_on(&place);
}

#[test]
fn in_sqlite_a_lost_store_is_rebuilt() {
    a_lost_store_is_rebuilt(Place::sqlite());
}

#[test]
fn in_postgres_a_lost_store_is_rebuilt() {
    a_lost_store_is_rebuilt(Place::postgres());
}

fn an_old_store_is_brought_on(mut place: Place) {
    story(&place);
    let old = place.copy_of_store();
    let confirmed_before = place.number("SELECT count(*) FROM reservations WHERE release_reason = 'too late'");
    let mut process = Process::start(&place.data(), &place.settings());
    work_until_pruned(&process, &place.data());
    process.client().post_nothing("/v1/sales/drop/pause").success(200);
    process.client().post_nothing("/v1/sales/drop/resume").success(200);
    everything_is_in_the_store(&process);
    stop(&mut process);
    place.reconcile().is_equal();

    place.put_back(old);
    let said = place.reconcile();
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let said = place.say(&["reconcile", "--repair", "--json"]);
    assert_eq!(said.code, Some(0), "{} {}", said.report, said.stderr);
    assert!(said.report["left"]["epoch"].as_u64() > said.report["epoch_before"].as_u64(), "{}", said.report);
    assert!(said.report["found"]["differences_total"].as_u64().unwrap() > 1000, "{}", said.report);
    let reconciled = place.reconcile();
    reconciled.is_equal();
    // The records that it lacked were in the journal still.
    assert_eq!(reconciled.report["compared"]["audit_records_elsewhere"], json!(0), "{}", reconciled.report);
    assert_eq!(place.number("SELECT count(*) FROM audit"), 8);
    // What only the old store knew is still there.
    assert_eq!(confirmed_before, 1);
    assert_eq!(place.number("SELECT count(*) FROM reservations WHERE release_reason = 'too late'"), 1);
    goes_on(&place);
}

#[test]
fn in_sqlite_an_old_store_is_brought_on() {
    an_old_store_is_brought_on(Place::sqlite());
}

#[test]
fn in_postgres_an_old_store_is_brought_on() {
    an_old_store_is_brought_on(Place::postgres());
}

#[test]
fn a_lost_store_of_a_whole_journal_is_rebuilt_to_the_letter() {
    let mut place = Place::sqlite();
    let mut settings = place.settings();
    settings.retain(|(key, _)| *key != "journal.segment_bytes");
    let mut process = Process::start(&place.data(), &settings);
    let mut client = process.client();
    client.put("/v1/sales/drop", &open_sale(json!([{ "sku": "tv", "initial_stock": 10 }]))).success(201);
    let held = client.hold("drop", "ann", [("tv", 1)]);
    client.act(&held, "release", json!({ "reason": "too late" })).reservation(200);
    client.post("/v1/sales/drop/items/tv/adjustments", &json!({ "delta": 7, "reason": "found" })).success(201);
    everything_is_in_the_store(&process);
    stop(&mut process);
    let before = place.content();
    place.lose_store();
    // The snapshot of the stop is later than an empty store, and the journal has all of it.
    let said = place.say(&["rebuild", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    place.reconcile().is_equal();
    assert_eq!(place.content(), before);
    let mut process = Process::start(&place.data(), &settings);
    everything_is_in_the_store(&process);
    stop(&mut process);
    place.reconcile().is_equal();
}
