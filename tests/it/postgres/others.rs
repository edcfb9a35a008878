//! Others that would write the same store, and a service that starts without one.

use std::process::Command;

use serde_json::Value;

use super::scene::Scene;
use crate::{
    served::{
        PATIENCE,
        process::{Process, serve},
        wait_until,
    },
    support::postgres::{Server, Sql},
};

#[test]
fn a_second_process_on_a_copy_of_the_data_directory_fences_the_first() {
    let mut scene = Scene::open();
    // As a machine that was thought dead: it comes back when another has taken its place.
    scene.process.signal("STOP");
    let copy = scene.data.with_file_name("copy");
    assert!(Command::new("cp").arg("-a").arg(&scene.data).arg(&copy).status().unwrap().success());
    let second = Process::start(&copy, &scene.settings);
    let taken = |sql: &Sql| sql.number("SELECT owner_epoch FROM write_behind");
    wait_until("the second has the store", || taken(&Sql::connect(&scene.url)) == 2);
    let mut of_second = second.client();
    for customer in 0..20 {
        of_second.reserve("drop", &format!("of-second-{customer}"), [("tv", 1)]).reservation(201);
    }
    let everything = || {
        let store = second.ops().get("/readyz").json()["store"].clone();
        store["lag_epochs"] == 0 && store["up"] == true
    };
    wait_until("the second's changes are in the store", everything);
    scene.process.signal("CONT");

    scene.wait("the first finds out", |scene| scene.store()["state"] == "fenced");
    scene.go_on();
    let store = scene.store();
    let told = store["last_error"].as_str().unwrap();
    assert!(store["up"] == Value::Bool(false) && told.contains("another process took over the store"), "{store}");
    assert_eq!(scene.metric("doorbuster_store_state", Some("fenced")), 1.0);
    scene.load.stop();
    wait_until("the second's changes are in the store", everything);
    let count = "SELECT count(*) FROM reservations WHERE customer LIKE 'of-second-%'";
    assert_eq!(Sql::connect(&scene.url).number(count), 20);
    let epoch = second.ops().get("/readyz").json()["journal"]["durable_epoch"].as_i64();
    assert_eq!(Some(Sql::connect(&scene.url).number("SELECT cursor FROM write_behind")), epoch);
}

#[test]
fn another_data_directory_is_refused_and_told_why() {
    let scene = Scene::open();
    let other = scene.data.with_file_name("other");
    let ended = Process::launch(serve(&other, &scene.settings), &other).err().expect("it does not start");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let id = std::fs::read_to_string(scene.data.join("identity")).unwrap();
    assert!(ended.stderr.contains(id.trim()) && ended.stderr.contains("a store of its own"), "{}", ended.stderr);
    scene.go_on();
    assert_eq!(scene.store()["state"], "following");
}

#[test]
fn a_start_without_the_database_serves_and_catches_up() {
    let mut server = Server::start(&[]);
    let url = server.new_database();
    server.stop();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let settings = [("store.url", url.clone()), ("store.retry_ms_max", "200".to_owned())];
    let mut process = Process::start(&data, &settings);
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 100)]);
    client.hold("drop", "ann", [("tv", 1)]);
    let ready = process.ops().get("/readyz");
    assert_eq!((ready.status, &ready.json()["store"]["state"]), (200, &Value::from("away")));
    server.launch();
    wait_until("the store has everything", || {
        let store = process.ops().get("/readyz").json()["store"].clone();
        store["state"] == "following" && store["lag_epochs"] == 0
    });
    assert_eq!(Sql::connect(&url).number("SELECT held FROM items"), 1);

    // A wrong password, or a database that is not there, is no reason not to serve either.
    process.terminate();
    assert_eq!(process.wait(PATIENCE).code(), Some(0));
    let wrong = [("store.url", server.url("nowhere"))];
    let process = Process::start(&data, &wrong);
    process.client().hold("drop", "bob", [("tv", 1)]);
    let told = process.ops().get("/readyz").json()["store"]["last_error"].as_str().unwrap_or_default().to_owned();
    assert!(told.contains("does not exist"), "{told}");
}
