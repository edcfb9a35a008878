//! Data directories in each state that an operator finds them in: killed, stopped, copied under load, each with and without
//! snapshots. In each, `reconcile` says how far it compared, and `rebuild` and `reconcile --repair` leave a store that has
//! everything up to the journal's end.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    thread::{self, JoinHandle},
};

use serde_json::{Value, json};

use super::{
    Place, Said, Store,
    repairing::{everything_is_in_the_store, goes_on, stop, work_until_pruned},
};
use crate::{
    postgres::load::Load,
    served::{Ask, Client, open_sale, process::Process, reserve_body},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Killed,
    Stopped,
    Copied,
}

/// A directory in this state, and the reservations that were acknowledged. With snapshots the journal's beginning is gone;
/// without, the store lags by seconds.
fn left(state: State, with_snapshots: bool) -> (Place, Vec<Value>) {
    let mut place = Place::sqlite();
    let mut settings = place.settings();
    if !with_snapshots {
        settings.retain(|(key, _)| *key != "snapshot.journal_bytes" && *key != "store.linger_ms");
        settings.push(("store.linger_ms", "60000".to_owned()));
    }
    let mut process = Process::start(&place.data(), &settings);
    let mut client = process.client();
    let mut document =
        open_sale(json!([{ "sku": "tv", "initial_stock": 1_000_000 }, { "sku": "mat", "initial_stock": 50 }]));
    document["name"] = json!("The drop");
    client.put("/v1/sales/drop", &document).success(201);
    if with_snapshots {
        everything_is_in_the_store(&process);
        work_until_pruned(&process, &place.data());
    }
    let mut load = Load::start(process.api);
    let mut acknowledged: Vec<Value> =
        (0..20).map(|number| client.hold("drop", &format!("early-{number}"), [("mat", 1)])).collect();
    client.post("/v1/sales/drop/items/mat/adjustments", &json!({ "delta": 5, "reason": "found" })).success(201);
    let copy = place.directory.path().join("copy");
    match state {
        State::Killed => {
            load.stop();
            let callers: Vec<_> = (0..2).map(|caller| call_until_it_ends(process.api, caller)).collect();
            let held = process.client().hold("drop", "late", [("mat", 1)]);
            acknowledged.push(held);
            process.kill();
            callers.into_iter().for_each(|caller| caller.join().unwrap());
        }
        State::Stopped => {
            load.stop();
            stop(&mut process);
        }
        State::Copied => {
            let said = place.say(&["backup", "--json", "--to", copy.to_str().unwrap()]);
            assert_eq!(said.code, Some(0), "{}", said.stderr);
            load.stop();
            stop(&mut process);
            place = copied(&copy);
        }
    }
    if state == State::Killed {
        tear(&place);
    }
    if !with_snapshots {
        for entry in fs::read_dir(place.data().join("journal")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "snap") {
                fs::remove_file(path).unwrap();
            }
        }
    }
    (place, acknowledged)
}

/// Reserves for as long as there is an answer.
fn call_until_it_ends(address: SocketAddr, caller: usize) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut client = Client::new(address);
        for number in 0.. {
            let body = reserve_body(&format!("caller-{caller}-{number}"), [("tv", 1)]);
            let ask = Ask::new("POST", "/v1/sales/drop/reservations").json(&body);
            if client.try_send(&ask).is_err() {
                return;
            }
        }
    })
}

fn copied(data: &Path) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let done = Command::new("cp").arg("-a").arg(data).arg(directory.path().join("data")).status().unwrap();
    assert!(done.success());
    Place { directory, store: Store::Sqlite }
}

/// What a batch leaves that was being written.
fn tear(place: &Place) {
    let tail = place.say(&["inspect", "--json"]).report["tail"].clone();
    let path = place.data().join("journal").join(tail["file"].as_str().unwrap());
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0x55; 100], tail["offset"].as_u64().unwrap()).unwrap();
}

fn inspected(place: &Place) -> Value {
    let said = place.say(&["inspect", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    said.report["tail"]["last_epoch"].clone()
}

fn has_all(place: &Place, acknowledged: &[Value]) {
    let connection = rusqlite::Connection::open(place.data().join("store.db")).unwrap();
    for reservation in acknowledged {
        let id = reservation["id"].as_str().unwrap();
        let found: i64 =
            connection.query_row("SELECT count(*) FROM reservations WHERE id = ?1", [id], |row| row.get(0)).unwrap();
        assert_eq!(found, 1, "{id}");
    }
    let moved: i64 =
        connection.query_row("SELECT delta FROM stock_movements WHERE reason = 'found'", [], |row| row.get(0)).unwrap();
    assert_eq!(moved, 5);
}

/// The store has everything, and a check says so.
fn is_whole(place: &Place, said: &Said, acknowledged: &[Value], what: &str) {
    assert_eq!(said.code, Some(0), "{what}: {} {}", said.report, said.stderr);
    let left = &said.report["left"];
    assert_eq!(left["epoch"], inspected(place), "{what}");
    assert_eq!(left["differences_total"], json!(0), "{what}");
    let reconciled = place.reconcile();
    reconciled.is_equal();
    assert_eq!(reconciled.report["epoch"], inspected(place), "{what}");
    assert_eq!(reconciled.report["journal"]["pending_batches"], json!(0), "{what}");
    has_all(place, acknowledged);
    goes_on(place);
}

fn a_directory_is_compared_rebuilt_and_repaired(state: State, with_snapshots: bool) {
    let what = format!("{state:?}, snapshots: {with_snapshots}");
    let (place, acknowledged) = left(state, with_snapshots);
    let last = inspected(&place);
    let said = place.reconcile();
    if state == State::Stopped {
        said.is_equal();
        assert_eq!((&said.report["epoch"], &said.report["journal"]["last_epoch"]), (&last, &last), "{what}");
    } else if said.report.is_null() {
        // The snapshot is later than the store, and the beginning is gone.
        assert!(with_snapshots, "{what}: {}", said.stderr);
        assert_eq!(said.code, Some(1), "{what}: {}", said.stderr);
        assert!(said.stderr.contains("nothing was compared"), "{what}: {}", said.stderr);
    } else {
        let journal = &said.report["journal"];
        let pending = journal["pending_batches"].as_u64().unwrap();
        assert_eq!(said.code, Some(i32::from(pending > 0)), "{what}: {} {}", said.report, said.stderr);
        assert_eq!((&said.report["differences_total"], &journal["last_epoch"]), (&json!(0), &last), "{what}");
        assert_eq!(said.report["epoch"].as_u64().unwrap() + pending, last.as_u64().unwrap(), "{what}");
        if !with_snapshots {
            assert!(pending > 0 && journal["pending_bytes"].as_u64().unwrap() > 0, "{what}: {journal}");
            let text = String::from_utf8(place.run(&["reconcile"]).stdout).unwrap();
            assert!(text.contains("pending: ") && text.contains("no service is running"), "{text}");
        }
    }

    let other = copied(&place.data());
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = fs::remove_file(other.data().join(name));
    }
    let rebuilt = other.say(&["rebuild", "--json"]);
    is_whole(&other, &rebuilt, &acknowledged, &format!("{what}, rebuilt"));

    let repaired = place.say(&["reconcile", "--repair", "--json"]);
    is_whole(&place, &repaired, &acknowledged, &format!("{what}, repaired"));
}

#[test]
fn a_killed_directory_without_snapshots() {
    a_directory_is_compared_rebuilt_and_repaired(State::Killed, false);
}

#[test]
fn a_killed_directory_with_snapshots() {
    a_directory_is_compared_rebuilt_and_repaired(State::Killed, true);
}

#[test]
fn a_stopped_directory_without_snapshots() {
    a_directory_is_compared_rebuilt_and_repaired(State::Stopped, false);
}

#[test]
fn a_stopped_directory_with_snapshots() {
    a_directory_is_compared_rebuilt_and_repaired(State::Stopped, true);
}

#[test]
fn a_directory_copied_under_load_without_snapshots() {
    a_directory_is_compared_rebuilt_and_repaired(State::Copied, false);
}

#[test]
fn a_directory_copied_under_load_with_snapshots() {
    a_directory_is_compared_rebuilt_and_repaired(State::Copied, true);
}

#[test]
fn a_check_that_compared_nothing_did_not_succeed() {
    let mut place = Place::sqlite();
    fs::create_dir_all(place.data().join("journal")).unwrap();
    let said = place.say(&["rebuild"]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let text = String::from_utf8(place.run(&["reconcile"]).stdout).unwrap();
    assert!(text.contains("nothing was compared"), "{text}");
    assert_eq!(place.reconcile().code, Some(1));
    let copy = place.directory.path().join("copy");
    let said = place.say(&["backup", "--to", copy.to_str().unwrap()]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("is empty"), "{}", said.stderr);
    assert!(!copy.exists());
    let said = place.say(&["inspect", "--json"]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);

    // A service whose store has nothing yet, as nothing was put.
    place = Place::sqlite();
    let mut process = Process::start(&place.data(), &place.settings());
    let said = place.reconcile();
    assert_eq!(said.code, Some(1), "{} {}", said.report, said.stderr);
    assert_eq!(said.report["service_is_running"], json!(true));
    process.kill();
}
