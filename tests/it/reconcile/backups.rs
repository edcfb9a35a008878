//! `doorbuster backup`: a copy made while the service works is a data directory with everything that was acknowledged before.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Place, Said, Store,
    repairing::{everything_is_in_the_store, stop, work_until_pruned},
};
use crate::{
    postgres::load::Load,
    served::{
        Client, open_sale,
        process::{Process, without_environment},
        reserve_body,
    },
};

impl Place {
    fn backup(&self, to: &Path) -> Said {
        self.say(&["backup", "--json", "--to", to.to_str().unwrap()])
    }

    /// What a copy is asked, beside a store of its own.
    fn of_copy(&self, copy: &Path) -> Place {
        let directory = tempfile::tempdir().unwrap();
        let from = Command::new("cp").arg("-a").arg(copy).arg(directory.path().join("data")).status().unwrap();
        assert!(from.success());
        Place { directory, store: Store::Sqlite }
    }
}

fn inspected(data: &Path) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    without_environment(&mut command);
    let said = command.args(["inspect", "--json", "--data"]).arg(data).output().unwrap();
    assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stdout));
    serde_json::from_slice(&said.stdout).unwrap()
}

fn batch(client: &mut Client, round: usize) -> Vec<Value> {
    let entry = |number| reserve_body(&format!("many-{round}-{number}"), [("tv", 1)]);
    let many: Vec<Value> = (0..500).map(entry).collect();
    let answer = client.post("/v1/sales/drop/reservations/batch", &json!({ "reservations": many })).success(200);
    answer["results"].as_array().unwrap().iter().map(|result| result["reservation"].clone()).collect()
}

/// A service that held something and was stopped. Gives the hold.
fn stopped_with_a_hold(place: &Place) -> Value {
    let mut process = Process::start(&place.data(), &place.settings());
    let mut client = process.client();
    client.put("/v1/sales/drop", &open_sale(json!([{ "sku": "tv", "initial_stock": 10 }]))).success(201);
    let held = client.hold("drop", "ann", [("tv", 3)]);
    stop(&mut process);
    held
}

fn has_all(process: &Process, acknowledged: &[Value]) {
    let mut client = process.client();
    for reservation in acknowledged {
        let id = reservation["id"].as_str().unwrap();
        assert_eq!(client.get(&format!("/v1/reservations/{id}")).success(200)["state"], reservation["state"], "{id}");
    }
}

#[test]
fn a_copy_made_under_load_has_what_was_acknowledged_before() {
    let place = Place::sqlite();
    let mut process = Process::start(&place.data(), &place.settings());
    let mut client = process.client();
    client.put("/v1/sales/drop", &open_sale(json!([{ "sku": "tv", "initial_stock": 1_000_000 }]))).success(201);
    let mut load = Load::start(process.api);
    let (mut acknowledged, mut copies) = (Vec::new(), Vec::new());
    for round in 0..5 {
        acknowledged.extend(batch(&mut client, round));
        let to = place.directory.path().join(format!("copy-{round}"));
        let said = place.backup(&to);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        copies.push((to, acknowledged.len(), said.report));
        work_until_pruned_of(&process, &place, round);
    }
    load.stop();
    stop(&mut process);
    for (copy, known, told) in copies {
        assert_eq!(inspected(&copy)["tail"]["last_epoch"], told["epoch"], "{told}");
        let restored = place.of_copy(&copy);
        // What the store lags behind is pending, and nobody is about to apply it.
        let said = restored.reconcile();
        let pending = said.report["journal"]["pending_batches"].as_u64().unwrap();
        assert_eq!((said.code, said.differences()), (Some(i32::from(pending > 0)), vec![]), "{}", said.stderr);
        assert_eq!(said.report["epoch"], told["store"]["epoch"]);
        let mut process = Process::start(&restored.data(), &restored.settings());
        has_all(&process, &acknowledged[..known]);
        let held = process.client().hold("drop", "after", [("tv", 1)]);
        process.client().act(&held, "confirm", json!({})).reservation(200);
        everything_is_in_the_store(&process);
        stop(&mut process);
        restored.reconcile().is_equal();
    }
}

/// Some of the journal goes away between one copy and the next.
fn work_until_pruned_of(process: &Process, place: &Place, round: usize) {
    if round == 1 {
        work_until_pruned(process, &place.data());
    }
}

#[test]
fn with_another_store_the_copy_is_rebuilt_into_an_empty_one() {
    let mut place = Place::postgres();
    let mut process = Process::start(&place.data(), &place.settings());
    let mut client = process.client();
    client.put("/v1/sales/drop", &open_sale(json!([{ "sku": "tv", "initial_stock": 1_000_000 }]))).success(201);
    let acknowledged = batch(&mut client, 0);
    work_until_pruned(&process, &place.data());
    let copy = place.directory.path().join("copy");
    let said = place.backup(&copy);
    assert_eq!((said.code, &said.report["store"]), (Some(0), &Value::Null), "{}", said.stderr);
    assert!(!copy.join("store.db").exists());
    stop(&mut process);
    // The data directory is lost, and its database too.
    fs::remove_dir_all(place.data()).unwrap();
    fs::rename(&copy, place.data()).unwrap();
    let Store::Postgres { server, url } = &mut place.store else { unreachable!() };
    *url = server.new_database();
    let said = place.say(&["rebuild", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    place.reconcile().is_equal();
    let mut process = Process::start(&place.data(), &place.settings());
    has_all(&process, &acknowledged);
    stop(&mut process);
}

#[test]
fn a_copy_of_a_stopped_service_is_the_same() {
    let place = Place::sqlite();
    let held = stopped_with_a_hold(&place);
    let copy = place.directory.path().join("copy");
    let said = place.backup(&copy);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(said.report["epoch"], said.report["store"]["epoch"]);
    for name in ["identity", "customer-ids"] {
        assert_eq!(fs::read(copy.join(name)).unwrap(), fs::read(place.data().join(name)).unwrap());
    }
    let restored = place.of_copy(&copy);
    restored.reconcile().is_equal();
    let mut process = Process::start(&restored.data(), &restored.settings());
    has_all(&process, &[held]);
    stop(&mut process);
}

#[test]
fn the_journal_is_copied_when_the_store_is_damaged() {
    let place = Place::sqlite();
    let held = stopped_with_a_hold(&place);
    fs::write(place.data().join("store.db"), "no database, and longer than the header of one ".repeat(200)).unwrap();
    let copy = place.directory.path().join("copy");
    let said = place.backup(&copy);
    assert_eq!((said.code, &said.report["store"]), (Some(1), &Value::Null), "{}", said.stderr);
    assert!(said.report["store_error"].as_str().is_some_and(|error| error.contains("database")), "{}", said.report);
    assert!(!copy.join("store.db").exists());
    let restored = place.of_copy(&copy);
    let said = restored.say(&["rebuild", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    restored.reconcile().is_equal();
    let mut process = Process::start(&restored.data(), &restored.settings());
    has_all(&process, &[held]);
    stop(&mut process);
}

#[test]
fn what_cannot_be_copied_is_told_and_leaves_nothing() {
    let place = Place::sqlite();
    let copy = place.directory.path().join("copy");
    let nothing = place.backup(&copy);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.stderr.contains("is not a data directory"), "{}", nothing.stderr);
    let mut process = Process::start(&place.data(), &place.settings());
    let mut client = process.client();
    client.put("/v1/sales/drop", &open_sale(json!([{ "sku": "tv", "initial_stock": 10_000 }]))).success(201);
    batch(&mut client, 0);

    fs::create_dir(&copy).unwrap();
    let there = place.backup(&copy);
    assert_eq!(there.code, Some(2));
    assert!(there.stderr.contains("already exists"), "{}", there.stderr);
    fs::remove_dir(&copy).unwrap();

    // Files may have no more than 40 blocks of 512 bytes: a disk that is full.
    let mut full = Command::new("sh");
    without_environment(&mut full);
    let line = "trap '' XFSZ; ulimit -f 40; exec \"$0\" \"$@\"";
    full.args(["-c", line, env!("CARGO_BIN_EXE_doorbuster"), "backup", "--to"])
        .arg(&copy)
        .arg("--data")
        .arg(place.data());
    let said = full.output().unwrap();
    let told = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(4), "{told}");
    assert!(told.contains("File too large"), "{told}");
    let left: Vec<_> = fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name != "copy" && name != "copy.unfinished"), "{left:?}");

    let unfinished = place.directory.path().join("copy.unfinished");
    fs::create_dir(&unfinished).unwrap();
    let other = place.backup(&copy);
    assert_eq!(other.code, Some(2));
    assert!(other.stderr.contains("copy.unfinished is left from an interrupted backup"), "{}", other.stderr);
    fs::remove_dir(&unfinished).unwrap();

    // A byte of a batch that is another one.
    process.terminate();
    process.wait(Duration::from_secs(30));
    for entry in fs::read_dir(place.data().join("journal")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "snap") {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    let damaged = place.backup(&copy);
    assert_eq!(damaged.code, Some(3), "{}", damaged.stderr);
    assert!(damaged.stderr.contains("snapshot-"), "{}", damaged.stderr);
    assert!(!copy.exists());
}

/// Where webhooks are is read first, so the copied journal has every event that they were sent.
#[test]
fn the_journal_of_a_copy_does_not_end_before_its_webhooks() {
    let place = Place::sqlite();
    let process = Process::start(&place.data(), &place.settings());
    let mut client = process.client();
    client.put("/v1/sales/drop", &open_sale(json!([{ "sku": "tv", "initial_stock": 10 }]))).success(201);
    // A pipe tells when it is read, and makes that take as long as the next hold.
    let places = place.data().join("webhooks.json");
    assert!(Command::new("mkfifo").arg(&places).status().unwrap().success());
    let copy = place.data().with_extension("copy");
    let held = thread::scope(|scope| {
        let backup = scope.spawn(|| place.backup(&copy));
        let mut pipe = File::options().write(true).open(&places).unwrap();
        let held = client.hold("drop", "ann", [("tv", 3)]);
        pipe.write_all(b"{}").unwrap();
        drop(pipe);
        assert_eq!(backup.join().unwrap().code, Some(0));
        held
    });
    assert_eq!(fs::read_to_string(copy.join("webhooks.json")).unwrap(), "{}");
    let copied = place.of_copy(&copy);
    has_all(&Process::start(&copied.data(), &copied.settings()), &[held]);
}
