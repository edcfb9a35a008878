//! `doorbuster reconcile` against real stores of both kinds: nothing differs while the service works, whatever somebody
//! changes by hand is found, and nothing else, and is put right where it can be; and copies of data directories.

mod backups;
mod directories;
mod edits;
mod repairing;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    postgres::load::Load,
    served::{
        Ask, Client, open_sale,
        process::{Process, without_environment},
        reserve_body, wait_until,
    },
    support::postgres::{Server, Sql},
};

/// A data directory and its store.
struct Place {
    directory: TempDir,
    store: Store,
}

enum Store {
    Sqlite,
    Postgres { server: Server, url: String },
}

/// What `reconcile` said.
struct Said {
    code: Option<i32>,
    report: Value,
    stderr: String,
}

impl Place {
    fn sqlite() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), store: Store::Sqlite }
    }

    fn postgres() -> Self {
        let server = Server::start(&[]);
        let url = server.new_database();
        Self { directory: tempfile::tempdir().unwrap(), store: Store::Postgres { server, url } }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("journal.segment_bytes", "1048576".to_owned()),
            ("snapshot.journal_bytes", "65536".to_owned()),
            ("store.linger_ms", "10".to_owned()),
            ("engine.shards", "4".to_owned()),
        ];
        if let Store::Postgres { url, .. } = &self.store {
            settings.push(("store.url", url.clone()));
        }
        settings
    }

    fn reconcile(&self) -> Said {
        self.say(&["reconcile", "--json"])
    }

    fn say(&self, arguments: &[&str]) -> Said {
        let Output { status, stdout, stderr } = self.run(arguments);
        let report = serde_json::from_slice(&stdout).unwrap_or_default();
        Said { code: status.code(), report, stderr: String::from_utf8(stderr).unwrap() }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
        without_environment(&mut command);
        command.args(arguments).arg("--data").arg(self.data());
        if let Store::Postgres { url, .. } = &self.store {
            command.env("DOORBUSTER_STORE__URL", url);
        }
        command.output().unwrap()
    }

    /// What somebody does by hand in a store that nothing else has open, and how to take it back.
    fn change(&mut self, sql: &str, then: impl FnOnce(&Self)) {
        match &mut self.store {
            Store::Sqlite => {
                let (data, kept) = (self.data(), self.directory.path().join("kept"));
                copy_store(&data, &kept);
                let connection = rusqlite::Connection::open(data.join("store.db")).unwrap();
                connection.execute_batch(&format!("PRAGMA foreign_keys = off; {sql}")).unwrap();
                drop(connection);
                then(self);
                copy_store(&kept, &data);
            }
            Store::Postgres { server, url } => {
                let name = url.rsplit_once('/').unwrap().1.to_owned();
                server.admin().run("DROP DATABASE IF EXISTS changed");
                server.admin().run(&format!("CREATE DATABASE changed TEMPLATE {name}"));
                let changed = server.url("changed");
                let sql_of = Sql::connect(&changed);
                sql_of.run(&format!("SET session_replication_role = replica; {sql}"));
                drop(sql_of);
                let kept = std::mem::replace(url, changed);
                then(self);
                let Store::Postgres { url, .. } = &mut self.store else { unreachable!() };
                *url = kept;
            }
        }
    }
}

fn copy_store(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = fs::remove_file(to.join(name));
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

impl Said {
    /// Table, row and column of each difference.
    fn differences(&self) -> Vec<[String; 3]> {
        let all = self.report["differences"].as_array().unwrap_or_else(|| panic!("{}", self.stderr));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        all.iter().map(|each| [text(&each["table"]), text(&each["key"]), text(&each["column"])]).collect()
    }

    #[track_caller]
    fn is_equal(&self) {
        assert_eq!(self.code, Some(0), "{} {}", self.stderr, self.report);
        assert_eq!((self.differences(), &self.report["differences_total"]), (vec![], &json!(0)));
    }
}

/// What was done before the service stopped.
struct Story {
    held: String,
}

/// A service that is loaded, asked while it works, and stopped.
fn story(place: &Place) -> Story {
    let mut process = Process::start(&place.data(), &place.settings());
    let mut client = process.client();
    let mut document = open_sale(json!([
        { "sku": "tv", "initial_stock": 1_000_000, "price": { "amount": 19_900, "currency": "EUR" } },
        { "sku": "mat", "initial_stock": 50, "customer_limit": 9 },
        cap(),
    ]));
    document["name"] = json!("The drop");
    document["late_confirm_seconds"] = json!(600);
    // It begins by the clock, and no row says so.
    document["phases"] = json!([{ "name": "all", "opens_at": document["opens_at"] }]);
    client.put("/v1/sales/drop", &document).success(201);
    repairing::everything_is_in_the_store(&process);
    place.reconcile().is_equal();

    let mut load = Load::start(process.api);
    let held = work(&mut client);
    // While the load goes on, across snapshots.
    let mut seen = 0;
    for round in 0..6 {
        let entry = |number| reserve_body(&format!("many-{round}-{number}"), [("tv", 1)]);
        let many: Vec<Value> = (0..500).map(entry).collect();
        client.post("/v1/sales/drop/reservations/batch", &json!({ "reservations": many })).success(200);
        let said = place.reconcile();
        said.is_equal();
        let now = said.report["compared"]["reservations"].as_u64().unwrap();
        assert!(now >= seen, "{now} after {seen}");
        seen = now;
        std::thread::sleep(Duration::from_millis(300));
    }
    wait_until("a snapshot", || process.log().contains("snapshot taken"));
    place.reconcile().is_equal();
    load.stop();
    repairing::everything_is_in_the_store(&process);
    process.terminate();
    assert_eq!(process.wait(Duration::from_secs(20)).code(), Some(0), "{}", process.log());

    let said = place.reconcile();
    said.is_equal();
    let compared = &said.report["compared"];
    assert!(compared["reservations"].as_u64().unwrap() >= seen.max(3000), "{compared}");
    assert!(compared["held"].as_u64().unwrap() > 2, "{compared}");
    assert_eq!((&compared["sales"], &compared["items"], &compared["audit_records"]), (&json!(1), &json!(3), &json!(6)));
    assert_eq!(compared["pools"], json!(4));
    Story { held }
}

/// One of everything.
fn work(client: &mut Client) -> String {
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let held = client.hold("drop", "ann", [("tv", 1), ("mat", 2)]);
    client.act(&held, "extend", json!({ "hold_seconds": 900 })).reservation(200);
    let confirmed = client.hold("drop", "bob", [("mat", 3)]);
    client.act(&confirmed, "confirm", json!({ "reference": "order-7" })).reservation(200);
    let released = client.hold("drop", "cem", [("mat", 1)]);
    client.act(&released, "release", json!({ "reason": "too late" })).reservation(200);
    let mut short = reserve_body("dee", [("mat", 1)]);
    short["hold_seconds"] = json!(1);
    let expired = client.post("/v1/sales/drop/reservations", &short).reservation(201);
    let path = format!("/v1/reservations/{}", id(&expired));
    wait_until("it expires", || client.get(&path).success(200)["state"] == "expired");
    let [parts, ..] = lives(client);
    let erased = client.hold("drop", "eve", [("mat", 1)]);
    client.act(&erased, "confirm", json!({ "reference": "pay-5" })).reservation(200);
    client.act(&erased, "confirm", json!({ "reference": "pay-6" })).refused("already_confirmed");
    client.act(&erased, "cancel", json!({ "reason": "eve's", "restock": false })).reservation(200);
    assert_eq!(client.send(&Ask::new("DELETE", "/v1/customers/eve")).status, 200);
    assert_eq!(client.look(&parts)["state"], "confirmed");
    let adjustment = json!({ "delta": 5, "reason": "found", "reference": "count-1" });
    client.post("/v1/sales/drop/items/mat/adjustments", &adjustment).success(201);
    client.post("/v1/sales/drop/reservations", &short_of_caps()).reservation(201);
    let sold = client.post("/v1/sales/drop/items/cap/adjustments", &json!({ "pool": "default", "delta": 4 }));
    sold.success(201);
    client.post_nothing("/v1/sales/drop/pause").success(200);
    client.post_nothing("/v1/sales/drop/resume").success(200);
    id(&held)
}

/// Reservations of which units moved in several steps: confirmed in part and cancelled in part, cancelled, confirmed late.
fn lives(client: &mut Client) -> [Value; 3] {
    let tv = |units: u64| json!([{ "sku": "tv", "quantity": units }]);
    let parts = client.hold("drop", "hal", [("tv", 2)]);
    let path = format!("/v1/reservations/{}", parts["id"].as_str().unwrap());
    client.act(&parts, "change", json!({ "lines": tv(5) })).reservation(200);
    client.act(&parts, "confirm", json!({ "lines": tv(4), "reference": "pay-1" })).reservation(200);
    client.act(&parts, "confirm", json!({ "lines": tv(4), "reference": "pay-2" })).refused("already_confirmed");
    for (key, reason, restock) in [("c-1", "one too many", true), ("c-2", "damaged", false)] {
        let body = json!({ "lines": tv(1), "reason": reason, "restock": restock });
        let ask = Ask::new("POST", &format!("{path}/cancel")).key(key).json(&body);
        client.send(&ask).reservation(200);
    }
    let cancelled = client.hold("drop", "ian", [("tv", 1), ("mat", 1)]);
    client.act(&cancelled, "confirm", json!({ "reference": "order-8" })).reservation(200);
    client.act(&cancelled, "cancel", json!({ "reason": "sent back" })).reservation(200);
    let mut body = reserve_body("joe", [("tv", 3)]);
    body["hold_seconds"] = json!(1);
    let late = client.post("/v1/sales/drop/reservations", &body).reservation(201);
    let path = format!("/v1/reservations/{}", late["id"].as_str().unwrap());
    wait_until("it expires", || client.get(&path).success(200)["state"] == "expired");
    let confirmed = client.act(&late, "confirm", json!({ "lines": tv(2), "reference": "order-9" })).reservation(200);
    assert_eq!(confirmed["late"], true);
    [parts, cancelled, late]
}

/// An item of two pools.
fn cap() -> Value {
    json!({ "sku": "cap", "initial_stock": 5, "pools": [
        { "id": "members", "initial_stock": 2, "tiers": ["gold"], "channels": ["app"], "shared_at": "2099-01-01T00:00:00Z",
          "location": "berlin", "price": { "amount": 900, "currency": "EUR" } },
        { "id": "default", "initial_stock": 3 },
    ] })
}

/// Asks for more of it than there is, and gets all of both pools.
fn short_of_caps() -> Value {
    let mut body = reserve_body("gus", [("cap", 9)]);
    body["allow_partial"] = json!(true);
    (body["tier"], body["channel"], body["region"]) = (json!("gold"), json!("app"), json!("eu"));
    body["labels"] = json!({ "campaign": "black friday" });
    body
}

fn nothing_differs_under_load_and_afterwards(mut place: Place) {
    let Story { held, .. } = story(&place);
    place.change("UPDATE items SET price_currency = 'USD' WHERE sku = 'tv'", |place| {
        let text = String::from_utf8(place.run(&["reconcile"]).stdout).unwrap();
        let row = ["items", "drop/tv", "price_currency", "EUR", "USD"];
        let line = text.lines().find(|line| line.contains("USD")).unwrap_or_else(|| panic!("{text}"));
        assert!(row.iter().all(|cell| line.contains(cell)), "{text}");
        assert!(text.contains("6  records of the audit trail") && text.ends_with("1 difference\n"), "{text}");
    });
    place.change(&format!("UPDATE reservations SET customer = 'mallory' WHERE id = '{held}'"), |place| {
        let said = place.reconcile();
        let expected = ["reservations", &held, "customer"].map(str::to_owned);
        assert_eq!((said.code, said.differences()), (Some(1), vec![expected]));
        repairing::mends(place, &said);
    });
    place.reconcile().is_equal();
}

#[test]
fn in_sqlite_nothing_differs_under_load_and_afterwards() {
    nothing_differs_under_load_and_afterwards(Place::sqlite());
}

#[test]
fn in_postgres_nothing_differs_under_load_and_afterwards() {
    nothing_differs_under_load_and_afterwards(Place::postgres());
}

#[test]
fn a_store_that_is_behind_the_snapshot_of_a_journal_without_beginning_is_told() {
    let mut place = Place::sqlite();
    story(&place);
    let mut process = Process::start(&place.data(), &place.settings());
    repairing::work_until_pruned(&process, &place.data());
    repairing::stop(&mut process);
    place.change("UPDATE write_behind SET cursor = 1", |place| {
        let said = place.reconcile();
        assert_eq!(said.code, Some(1), "{}", said.report);
        assert!(
            said.stderr.contains("nothing was compared") && said.stderr.contains("only epoch 1"),
            "{}",
            said.stderr
        );
    });
}

#[test]
fn what_is_no_data_directory_and_no_store_is_told() {
    let place = Place::sqlite();
    let said = place.reconcile();
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("is not a data directory"), "{}", said.stderr);
    fs::create_dir_all(place.data().join("journal")).unwrap();
    let said = place.reconcile();
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("there is no store at"), "{}", said.stderr);
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 1, "nothing was made");
}
