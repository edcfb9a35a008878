//! A store file that is damaged, cannot be written, or goes away: the service serves, says so, and goes on by itself.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use doorbuster::store::{SqliteStore, StoreReader};
use serde_json::Value;

use crate::served::{open_sale, process::Process, wait_until};

/// Puts something in the store's place.
type Put<'a> = &'a dyn Fn(&Path);

fn settings() -> Vec<(&'static str, String)> {
    [
        ("journal.segment_bytes", "1048576"),
        ("store.retry_ms_max", "200"),
        ("store.linger_ms", "10"),
        ("engine.shards", "2"),
    ]
    .map(|(key, value)| (key, value.to_owned()))
    .to_vec()
}

fn store(process: &Process) -> Value {
    let ready = process.ops().get("/readyz");
    assert_eq!(ready.status, 200, "the store is no reason to take no requests: {}", ready.text());
    ready.json()["store"].clone()
}

#[track_caller]
fn wait_for_store(process: &Process) {
    wait_until("the store has everything", || {
        let store = store(process);
        store["state"] == "following" && store["lag_epochs"] == 0
    });
}

/// The store as others open it has exactly so many holds, and adds up.
#[track_caller]
fn assert_held(data: &Path, held: u64) {
    let reader = SqliteStore::open_read_only(data.join("store.db")).unwrap();
    assert_eq!(reader.count_by_state().unwrap().held, held);
    assert!(reader.totals().unwrap().iter().all(|item| item.stored == item.recomputed));
}

fn remove_store(data: &Path) {
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = fs::remove_file(data.join(name));
    }
}

#[test]
fn a_store_that_cannot_be_used_at_the_start_is_stuck_and_the_service_serves() {
    let garbage =
        |path: &Path| fs::write(path, "this is no database, and long enough to be looked at: ".repeat(90)).unwrap();
    let directory = |path: &Path| fs::create_dir(path).unwrap();
    let of_something_else = |path: &Path| {
        let other = rusqlite::Connection::open(path).unwrap();
        other.execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    };
    let cases: [(&str, Put<'_>, &str); 3] = [
        ("damaged", &garbage, "move the file"),
        ("not to be opened", &directory, "let the service's user"),
        ("of another program", &of_something_else, "a database of another program"),
    ];
    for (name, put, advice) in cases {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        let mut process = Process::start(&data, &settings());
        process.client().put_open_sale("drop", [("tv", 100)]);
        process.client().hold("drop", "ann", [("tv", 1)]);
        wait_for_store(&process);
        process.terminate();
        assert_eq!(process.wait(crate::served::PATIENCE).code(), Some(0));
        remove_store(&data);
        put(&data.join("store.db"));

        let process = Process::start(&data, &settings());
        process.client().hold("drop", "bob", [("tv", 1)]);
        let told = store(&process);
        assert_eq!((&told["state"], &told["up"]), (&Value::from("stuck"), &Value::from(false)), "{name}: {told}");
        assert!(told["last_error"].as_str().unwrap().contains(advice), "{name}: {told}");
        assert!(told["lag_epochs"].as_u64().unwrap() > 0, "{name}: {told}");
        assert!(process.log().contains(advice), "{name}: {}", process.log());

        // What was in the way is moved away.
        fs::rename(data.join("store.db"), data.join("aside")).unwrap();
        wait_for_store(&process);
        assert_held(&data, 2);
    }
}

#[test]
fn a_store_file_that_goes_away_is_noticed_and_made_anew() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let process = Process::start(&data, &settings());
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 100)]);
    let path = data.join("store.db");
    let copy = place.path().join("copy.db");
    let files = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    let cases: [(&str, &dyn Fn(), &str); 5] = [
        ("deleted with all beside it", &|| remove_store(&data), "was deleted or moved"),
        ("deleted alone", &|| fs::remove_file(&path).unwrap(), "was deleted or moved"),
        ("replaced by a copy", &|| fs::rename(&copy, &path).unwrap(), "was replaced"),
        ("emptied", &|| drop(File::create(&path).unwrap()), "was emptied"),
        ("without its log", &|| fs::remove_file(files("-wal")).unwrap(), "lost its -wal file"),
    ];
    for (number, (name, lose, words)) in (1..).zip(cases) {
        client.hold("drop", &format!("before-{number}"), [("tv", 1)]);
        wait_for_store(&process);
        if name == "replaced by a copy" {
            rusqlite::Connection::open(&path).unwrap().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        }
        let told_before = process.log().matches(words).count();
        lose();
        // Nobody writes anything: it is noticed all the same.
        wait_until(name, || process.log().matches(words).count() > told_before);
        client.hold("drop", &format!("after-{number}"), [("tv", 1)]);
        wait_for_store(&process);
        assert_held(&data, 2 * number);
    }
    drop(process);
    let process = Process::start(&data, &settings());
    wait_for_store(&process);
    assert_held(&data, 10);
}

#[test]
fn whoever_reads_the_store_beside_the_service_takes_nothing_away() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let process = Process::start(&data, &settings());
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 100)]);
    for number in 1..=20 {
        client.hold("drop", &format!("bob-{number}"), [("tv", 1)]);
        wait_for_store(&process);
        // As the shell of SQLite opens it. The last one that closes a database removes its log: the service must not seem gone.
        let reader = rusqlite::Connection::open(data.join("store.db")).unwrap();
        let held: i64 = reader.query_row("SELECT count(*) FROM reservations", [], |row| row.get(0)).unwrap();
        assert_eq!(held, number);
    }
    assert!(data.join("store.db-wal").exists());
    assert!(!process.log().contains("lost its"), "{}", process.log());
}

#[test]
fn a_store_file_that_is_overwritten_is_noticed_and_a_window_of_one_row_without_its_table_is_survived() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let process = Process::start(&data, &settings());
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 100)]);
    client.hold("drop", "ann", [("tv", 1)]);
    let stuck = |what: &str| wait_until(what, || store(&process)["state"] == "stuck");
    wait_for_store(&process);
    let file = File::options().write(true).open(data.join("store.db")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[b'x'; 8192], 0).unwrap();
    // Nobody writes anything: it is noticed all the same.
    stuck("the garbage is noticed");
    assert!(process.log().contains("was overwritten"), "{}", process.log());
    remove_store(&data);
    for (number, table) in ["reservation_lines", "reservations"].into_iter().enumerate() {
        wait_for_store(&process);
        let connection = rusqlite::Connection::open(data.join("store.db")).unwrap();
        connection.execute_batch(&format!("PRAGMA foreign_keys = off; DROP TABLE {table}")).unwrap();
        drop(connection);
        client.hold("drop", &format!("bob-{number}"), [("tv", 1)]);
        stuck(table);
        remove_store(&data);
    }
    wait_for_store(&process);
    assert_held(&data, 3);
}

#[test]
fn tables_that_somebody_drops_are_noticed_and_said() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let process = Process::start(&data, &settings());
    process.client().put_open_sale("drop", [("tv", 100)]);
    process.client().hold("drop", "ann", [("tv", 1)]);
    for (sql, words) in [
        ("DROP TABLE stock_movements", "dropped tables"),
        ("DELETE FROM write_behind", "write_behind has lost its row"),
    ] {
        wait_for_store(&process);
        rusqlite::Connection::open(data.join("store.db")).unwrap().execute_batch(sql).unwrap();
        wait_until(words, || {
            let store = store(&process);
            store["state"] == "stuck" && store["last_error"].as_str().unwrap_or_default().contains(words)
        });
        remove_store(&data);
    }
    wait_for_store(&process);
    assert_held(&data, 1);
}

#[test]
fn a_store_whose_first_batches_the_journal_has_no_more_is_made_anew_from_the_snapshot() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let mut process = Process::start(&data, &settings());
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 100)]);
    client.hold("drop", "ann", [("tv", 1)]);
    // A megabyte of a sale that is put again fills segments, which the snapshot at the end makes needless.
    let large = |name: &str| {
        let item = |number: u32| serde_json::json!({ "sku": format!("{number:064}"), "initial_stock": 1 });
        crate::served::documents::with(open_sale((0..5000).map(item).collect()), serde_json::json!({ "name": name }))
    };
    for name in 0..6 {
        client.put("/v1/sales/large", &large(&format!("number {name}")));
    }
    wait_for_store(&process);
    process.terminate();
    assert_eq!(process.wait(crate::served::PATIENCE).code(), Some(0));
    let process = Process::start(&data, &settings());
    let first = data.join("journal/journal-00000000000000000001.seg");
    wait_until("the journal's beginning is removed", || !first.exists());
    wait_for_store(&process);

    remove_store(&data);
    process.client().hold("drop", "bob", [("tv", 1)]);
    wait_until("it is told", || process.log().contains("rebuilds the store from the newest snapshot"));
    wait_for_store(&process);
    assert_held(&data, 2);
    process.client().hold("drop", "eve", [("tv", 1)]);
    wait_for_store(&process);
    assert_held(&data, 3);
    assert!(process.log().contains("The store lacks"), "{}", process.log());
    // The same at a start.
    drop(process);
    remove_store(&data);
    let process = Process::start(&data, &settings());
    wait_for_store(&process);
    assert_held(&data, 3);
}
