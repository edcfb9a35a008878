//! What happens to databases.

use std::{fs::File, io::Write, time::Duration};

use doorbuster::store::StoreReader;
use serde_json::{Value, json};

use super::scene::Scene;
use crate::{
    served::{Client, open_sale},
    support::postgres::{Server, Sql},
};

#[test]
fn killed_and_started_again() {
    let mut scene = Scene::open();
    scene.server.kill();
    scene.go_on_without_store("away", &[]);
    assert_eq!(scene.metric("doorbuster_store_state", Some("away")), 1.0);
    scene.server.launch();
    scene.check();
}

#[test]
fn stopped_for_a_while() {
    let mut scene = Scene::open();
    scene.server.stop();
    scene.go_on_without_store("away", &["refused"]);
    scene.server.launch();
    scene.check();
}

#[test]
fn hanging() {
    let mut scene = Scene::open();
    scene.server.freeze();
    scene.go_on_without_store("away", &["took longer than 2 s", "timed out"]);
    scene.server.thaw();
    scene.check();
}

#[test]
fn a_service_ends_in_order_while_the_database_hangs() {
    let mut scene = Scene::open();
    scene.server.freeze();
    scene.go_on_without_store("away", &["took longer than 2 s", "timed out"]);
    let told = scene.load.stop();
    scene.process.terminate();
    assert_eq!(scene.process.wait(Duration::from_secs(15)).code(), Some(0), "{}", scene.process.log());
    assert!(scene.process.log().contains("the store is behind the journal"), "{}", scene.process.log());
    scene.server.thaw();

    scene.process = crate::served::process::Process::start(&scene.data, &scene.settings);
    scene.wait("the store has everything", |scene| scene.store()["lag_epochs"] == 0 && scene.store()["up"] == true);
    let counts = scene.reader().count_by_state().unwrap();
    assert_eq!(counts.held + counts.confirmed + counts.released, told.len() as u64);
}

#[test]
fn refusing_connections() {
    let mut scene = Scene::open();
    let (admin, name) = (scene.server.admin(), scene.url.rsplit_once('/').unwrap().1.to_owned());
    admin.run(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    admin.run(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"));
    scene.go_on_without_store("away", &["not currently accepting connections"]);
    admin.run(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    scene.check();
}

#[test]
fn a_full_disk() {
    let server = Server::start_on_disk(160, &["max_wal_size=32MB", "min_wal_size=32MB", "wal_recycle=off"]);
    let ballast = server.directory().join("ballast");
    let mut scene = Scene::open_on(server, |_| {});
    // Until not a byte is left.
    let mut file = File::create(&ballast).unwrap();
    let mut piece = vec![0; 1 << 20];
    while !piece.is_empty() {
        if file.write_all(&piece).is_err() {
            piece.truncate(piece.len() / 2);
        }
    }
    scene.go_on_without_store("away", &[]);
    assert!(scene.server.log().contains("No space left on device"), "{}", scene.server.log());
    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    // Where the log of transactions had no room, the server ended itself.
    scene.server.launch_if_ended();
    scene.check();
}

#[test]
fn a_constraint_that_somebody_put_in_the_way() {
    let mut scene = Scene::open();
    let other = Sql::connect(&scene.url);
    other.run("ALTER TABLE reservations ADD CONSTRAINT in_the_way CHECK (customer = '') NOT VALID");
    scene.go_on_without_store("stuck", &["in_the_way"]);
    assert_eq!(scene.metric("doorbuster_store_state", Some("stuck")), 1.0);
    other.run("ALTER TABLE reservations DROP CONSTRAINT in_the_way");
    scene.check();
}

#[test]
fn a_key_that_is_taken() {
    let mut scene = Scene::open();
    let other = Sql::connect(&scene.url);
    // From in a second on one reservation is the only one that there may be.
    let at = doorbuster::sale::time::Timestamp::from_millis(crate::served::now_millis() + 1000);
    other.run(&format!("CREATE UNIQUE INDEX in_the_way ON reservations ((1)) WHERE created_at > '{at}'"));
    scene.go_on_without_store("stuck", &["duplicate key", "already exists"]);
    other.run("DROP INDEX in_the_way");
    scene.check();
}

#[test]
fn a_column_of_another_type() {
    let mut scene = Scene::open();
    let other = Sql::connect(&scene.url);
    other.run("DROP VIEW customer_reservations, holds_about_to_expire");
    other.run("ALTER TABLE reservations ALTER COLUMN customer TYPE varchar(64), ALTER COLUMN extensions TYPE text");
    scene.go_on_without_store("stuck", &["22", "42"]);
    other.run("ALTER TABLE reservations ALTER COLUMN extensions TYPE bigint USING extensions::bigint");
    scene.check();
}

#[test]
fn an_older_copy_that_the_journal_reaches_back_to() {
    let mut scene = Scene::open();
    scene.server.stop();
    scene.server.back_up("older");
    scene.server.launch();
    scene.wait("the store follows again", |scene| scene.store()["state"] == "following");
    scene.go_on();
    scene.server.stop();
    scene.server.put_back("older");
    scene.server.launch();
    scene.wait("it is told", |scene| scene.process.log().contains("the store holds older data than before"));
    scene.check();
}

/// A sale document of about half a megabyte: a quick way to fill a journal.
fn put_large_sale(client: &mut Client, name: &str) {
    let item = |number: u32| json!({ "sku": format!("{number:064}"), "initial_stock": 1 });
    let mut sale = open_sale(Value::Array((0..5000).map(item).collect()));
    sale["name"] = json!(name);
    let status = client.put("/v1/sales/large", &sale).status;
    assert!(matches!(status, 200 | 201), "{status}");
}

#[test]
fn an_older_copy_that_the_journal_does_not_reach() {
    let mut scene =
        Scene::open_on(Server::start(&[]), |settings| settings.push(("snapshot.journal_bytes", "65536".into())));
    scene.server.stop();
    scene.server.back_up("older");
    scene.server.launch();
    scene.wait("the store follows again", |scene| scene.store()["state"] == "following");
    let mut client = scene.process.client();
    let mut number = 0;
    scene.wait("the journal's beginning is gone", |scene| {
        number += 1;
        put_large_sale(&mut client, &format!("number {number}"));
        scene.process.log().contains("removed old snapshots and batches")
    });
    scene.wait("the store has it", |scene| scene.store()["lag_seconds"].as_f64().unwrap() < 0.5);
    scene.server.stop();
    scene.server.back_up("later");
    scene.server.put_back("older");
    scene.server.launch();
    scene.go_on_without_store("stuck", &["the batches in between are gone. Stop the service and run"]);

    // The way out that it was told: a later copy.
    scene.server.stop();
    scene.server.put_back("later");
    scene.server.launch();
    scene.check();
}

#[test]
fn a_backlog_past_its_limit_stops_new_reserves_alone() {
    let mut scene =
        Scene::open_on(Server::start(&[]), |settings| settings.push(("journal.max_backlog_bytes", "2097152".into())));
    let mut client = scene.process.client();
    let held: Vec<Value> = (0..3).map(|_| client.hold("drop", "ann", [("tv", 1)])).collect();
    scene.server.stop();
    let mut number = 0;
    scene.wait("reserves are refused", |scene| {
        number += 1;
        put_large_sale(&mut client, &format!("number {number}"));
        scene.store()["backlog_full"] == true
    });
    client.reserve("drop", "bob", [("tv", 1)]).refused("backlog_full");
    client.act(&held[0], "confirm", json!({})).reservation(200);
    client.act(&held[1], "release", json!({})).reservation(200);
    client.act(&held[2], "extend", json!({ "hold_seconds": 700 })).reservation(200);
    assert_eq!(scene.metric("doorbuster_store_backlog_full", None), 1.0);
    assert!(scene.load.refused().iter().all(|refusal| refusal.contains("backlog_full")));

    // A start in the meantime forgets nothing of it.
    scene.load.stop();
    scene.process.terminate();
    assert_eq!(scene.process.wait(Duration::from_secs(20)).code(), Some(0), "{}", scene.process.log());
    scene.process = crate::served::process::Process::start(&scene.data, &scene.settings);
    let mut client = scene.process.client();
    assert_eq!(scene.store()["backlog_full"], true, "{}", scene.store());
    client.reserve("drop", "bob", [("tv", 1)]).refused("backlog_full");

    scene.server.launch();
    scene.wait("reserves are taken again", |_| client.reserve("drop", "bob", [("tv", 1)]).status == 201);
    scene.wait("the store has everything", |scene| scene.store()["lag_epochs"] == 0);
    assert!(scene.reader().totals().unwrap().iter().all(|item| item.stored == item.recomputed));
}
