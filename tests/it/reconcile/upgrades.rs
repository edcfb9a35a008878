//! Data directories as earlier releases left them (`tests/golden/data-N`, N the store's format): served, followed and compared
//! like those of today.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    Place, Store,
    mending::{everything_is_in_the_store, stop},
};
use crate::served::process::Process;

/// The directories, and the store's format in each.
fn left_by_releases() -> Vec<(u32, PathBuf)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let named = |path: PathBuf| {
        let format = path.file_name()?.to_str()?.strip_prefix("data-")?.parse().ok()?;
        Some((format, path))
    };
    let mut all: Vec<_> = fs::read_dir(golden).unwrap().filter_map(|entry| named(entry.unwrap().path())).collect();
    all.sort();
    all
}

fn place_of(left: &Path) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(left).arg(directory.path().join("data")).status().unwrap();
    assert!(copied.success());
    Place { directory, store: Store::Sqlite }
}

fn format_of(place: &Place) -> u32 {
    let connection = rusqlite::Connection::open(place.data().join("store.db")).unwrap();
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// What the release answered last, and what is to be expected of it now: holds run out while nobody looks.
struct Told {
    sale: Value,
    reservations: Vec<Value>,
}

impl Told {
    fn of(left: &Path) -> Self {
        let told: Value = serde_json::from_slice(&fs::read(left.join("told.json")).unwrap()).unwrap();
        Self { sale: told["sale"].clone(), reservations: told["reservations"].as_array().unwrap().clone() }
    }

    /// The sale as it is once the one hold has run out, if its time is over.
    fn sale_now(&self, is_over: bool) -> Value {
        let mut sale = self.sale.clone();
        for item in sale["items"].as_array_mut().unwrap() {
            let held = item["held"].as_u64().unwrap();
            if is_over {
                item["available"] = json!(item["available"].as_u64().unwrap() + held);
                item["held"] = json!(0);
            }
        }
        sale
    }
}

fn in_the_store(place: &Place, id: &str) -> Value {
    let connection = rusqlite::Connection::open(place.data().join("store.db")).unwrap();
    let query =
        "SELECT json_object('id', id, 'sale', sale, 'customer', customer, 'state', state, 'reference', reference,
                        'created_at', created_at, 'expires_at', expires_at, 'extensions', extensions,
                        'confirmed_at', confirmed_at, 'released_at', released_at, 'expired_at', expired_at)
                   FROM reservations WHERE id = ?1";
    let row: String = connection.query_row(query, [id], |row| row.get(0)).unwrap();
    let mut row: Value = serde_json::from_str(&row).unwrap();
    row.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    row
}

#[test]
fn what_earlier_releases_left_is_served_and_brought_on() {
    let (newest, fresh) = (Place::sqlite(), left_by_releases());
    stop(&mut Process::start(&newest.data(), &newest.settings()));
    let newest = format_of(&newest);
    let formats: Vec<u32> = fresh.iter().map(|(format, _)| *format).collect();
    assert_eq!((formats.first(), formats.last()), (Some(&1), Some(&newest)), "a directory of each release");
    for (format, left) in fresh {
        let (place, told) = (place_of(&left), Told::of(&left));
        assert_eq!(format_of(&place), format);
        // Copied and inspected before anything is brought on.
        let copy = place.directory.path().join("copy");
        let said = place.say(&["backup", "--json", "--to", copy.to_str().unwrap()]);
        assert_eq!(said.code, Some(0), "format {format}: {}", said.stderr);
        let inspected = place.say(&["inspect", "--json"]);
        assert_eq!(inspected.code, Some(0), "format {format}: {}", inspected.stderr);
        assert_eq!(inspected.report["tail"]["last_epoch"], said.report["epoch"]);
        for data in [place.data(), copy] {
            if data != place.data() {
                fs::remove_dir_all(place.data()).unwrap();
                fs::rename(&data, place.data()).unwrap();
            }
            serves_on(&place, &told);
            assert_eq!(format_of(&place), newest);
        }
    }
}

fn serves_on(place: &Place, told: &Told) {
    let mut process = Process::start(&place.data(), &place.settings());
    let mut client = process.client();
    everything_is_in_the_store(&process);
    let now = client.get("/v1/sales/drop").success(200);
    let is_over = now["items"][0]["held"] == json!(0);
    for (key, value) in told.sale_now(is_over).as_object().unwrap() {
        assert_eq!(&now[key], value, "{key}");
    }
    for reservation in &told.reservations {
        let mut expected = reservation.as_object().unwrap().clone();
        expected.remove("lines");
        let mut row = in_the_store(place, reservation["id"].as_str().unwrap());
        if is_over && reservation["state"] == "held" {
            assert_eq!(row["state"], "expired");
            row["state"] = json!("held");
            row.as_object_mut().unwrap().remove("expired_at");
        }
        assert_eq!(row, Value::Object(expected));
    }
    let held = client.hold("drop", "after", [("tv", 1)]);
    client.act(&held, "confirm", json!({})).reservation(200);
    client.post_nothing("/v1/sales/drop/pause").success(200);
    everything_is_in_the_store(&process);
    place.reconcile().is_equal();
    stop(&mut process);
    place.reconcile().is_equal();
}
