//! Customers, erased: what is left of their reservations, in memory, in the store, in the feed and on disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use doorbuster::sale::ids::ReservationId;
use serde_json::{Value, json};

use crate::served::{
    Answer, Ask, Client, Feed, Service,
    documents::{items, with},
    open_sale,
    process::Process,
    reserve_body, wait_until,
};

fn erase(client: &mut Client, customer: &str) -> Answer {
    client.send(&Ask::new("DELETE", &format!("/v1/customers/{customer}")))
}

#[track_caller]
fn erased(client: &mut Client, customer: &str, reservations: u64) {
    assert_eq!(erase(client, customer).success(200), json!({ "reservations": reservations }));
}

/// The reservation, and nothing of whose it was.
#[track_caller]
fn assert_nobodys(before: &Value, now: &Value) {
    let id = before["id"].as_str().unwrap();
    let expected = with(before.clone(), json!({ "customer": format!("erased-{id}"), "reference": null }));
    assert_eq!(*now, expected);
}

fn limited_sale(client: &mut Client) {
    let sale = with(open_sale(items([("tv", 20)])), json!({ "customer_limit": 3 }));
    client.put("/v1/sales/drop", &sale).success(201);
}

fn keyed(customer: &str, units: u64) -> Ask {
    let body = with(reserve_body(customer, [("tv", units)]), json!({ "reference": "cart-1" }));
    Ask::new("POST", "/v1/sales/drop/reservations").key("one").json(&body)
}

#[test]
fn what_is_left_is_nobodys_goes_on_and_counts_for_nobody() {
    let mut service = Service::start();
    let mut client = service.client();
    limited_sale(&mut client);
    let held = client.send(&keyed("ann", 2)).reservation(201);
    let sold = client.hold("drop", "ann", [("tv", 1)]);
    let sold = client.act(&sold, "confirm", json!({ "reference": "order of ann" })).reservation(200);
    let other = client.send(&keyed("bob", 2)).reservation(201);
    let units = client.units("drop", "tv");
    erased(&mut client, "ann", 2);
    assert_eq!(client.units("drop", "tv"), units);
    assert_nobodys(&held, &client.look(&held));
    assert_nobodys(&sold, &client.look(&sold));
    assert_eq!(client.look(&other), other);

    // Again, and for whom nobody knows: no error, and no difference.
    erased(&mut client, "ann", 0);
    erased(&mut client, "zoe", 0);

    // Who comes back begins anew: a key of before stands for nothing, and the limit is whole.
    let again = client.send(&keyed("ann", 2));
    assert!(!again.is_replayed() && again.reservation(201)["id"] != held["id"]);
    client.hold("drop", "ann", [("tv", 1)]);
    client.reserve("drop", "ann", [("tv", 1)]).refused("customer_limit_exceeded");
    assert!(client.send(&keyed("bob", 2)).is_replayed());

    // What was held is extended, confirmed and released by whoever has its id; what they say of it then is kept.
    let extended = client.act(&held, "extend", json!({ "hold_seconds": 3600 })).reservation(200);
    assert_eq!(extended["customer"], format!("erased-{}", held["id"].as_str().unwrap()));
    let confirmed = client.act(&held, "confirm", json!({ "reference": "order-9" })).reservation(200);
    assert_eq!((&confirmed["state"], &confirmed["reference"]), (&json!("confirmed"), &json!("order-9")));
    assert_eq!(client.units("drop", "tv"), [20, 12, 5, 3]);
    let refused = client.act(&held, "release", json!({})).refused("already_confirmed");
    assert_eq!(refused["reservation"], confirmed);

    service.wait_for_store();
    for shown in [&confirmed, &client.look(&sold), &other] {
        let row = service.store().reservation(&ReservationId::parse(shown["id"].as_str().unwrap()).unwrap()).unwrap();
        assert_eq!(crate::served::shapes::as_document(&row.unwrap()), *shown);
    }
    service.stop();
    service.start_again();
    let mut client = service.client();
    assert_eq!(client.look(&held), confirmed);
    assert_nobodys(&sold, &client.look(&sold));
    client.reserve("drop", "ann", [("tv", 1)]).refused("customer_limit_exceeded");
}

#[test]
fn reservations_that_left_memory_are_erased_in_the_store_and_count_no_longer() {
    let service = Service::start_with(|config| config.engine.retention_seconds = 1);
    let mut client = service.client();
    limited_sale(&mut client);
    let sold = client.hold("drop", "ann", [("tv", 3)]);
    client.act(&sold, "confirm", json!({ "reference": "order of ann" })).reservation(200);
    let path = format!("/v1/reservations/{}", sold["id"].as_str().unwrap());
    wait_until("it has left memory", || client.get(&path).status == 404);
    client.reserve("drop", "ann", [("tv", 1)]).refused("customer_limit_exceeded");
    erased(&mut client, "ann", 0);
    service.wait_for_store();
    let id = ReservationId::parse(sold["id"].as_str().unwrap()).unwrap();
    let row = service.store().reservation(&id).unwrap().unwrap();
    assert_eq!((row.customer, row.reference), (format!("erased-{id}"), None));
    client.hold("drop", "ann", [("tv", 3)]);
    assert_eq!(client.units("drop", "tv"), [20, 14, 3, 3]);
}

#[test]
fn a_customer_is_named_in_the_path_and_must_be_a_name() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 9)]);
    let longest = "x".repeat(64);
    for (customer, path) in [("a/b c%", "a%2Fb%20c%25"), ("\u{e9}", "%C3%A9"), (".", "."), (&longest, &longest)] {
        client.hold("drop", customer, [("tv", 1)]);
        erased(&mut client, path, 1);
    }
    for path in ["", "%00", "a%0A", &"x".repeat(65)] {
        assert_eq!(erase(&mut client, path).pointers(), ["/customer"], "{path}");
    }
    erase(&mut client, "%ff").refused("not_found");
    client.get("/v1/customers/ann").refused("method_not_allowed");
    client.post_nothing("/v1/customers/ann").refused("method_not_allowed");
    client.get("/v1/customers").refused("not_found");
}

#[test]
fn it_is_durable_once_it_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut process = Process::start(&data, &[]);
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 9)]);
    for number in 0..5 {
        let held = client.hold("drop", "ann", [("tv", 1)]);
        erased(&mut client, "ann", 1);
        process.kill();
        process = Process::start(&data, &[("engine.shards", (number + 1).to_string())]);
        client = process.client();
        assert_nobodys(&held, &client.look(&held));
        erased(&mut client, "ann", 0);
    }
}

const PERSON: &str = "recognisable-person";

/// The names of the files in the directory, at any depth, that hold the text.
pub fn files_with(directory: &Path, text: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path).is_ok_and(|bytes| memchr::memmem::find(&bytes, text).is_some()) {
            found.push(PathBuf::from(path.file_name().unwrap()));
        }
    }
    found
}

/// Erases a person who is in journal and store.
fn erase_person(client: &mut Client) -> Value {
    client.put_open_sale("drop", [("tv", 9)]);
    let held = client.hold("drop", PERSON, [("tv", 1)]);
    client.hold("drop", "ann", [("tv", 1)]);
    erased(client, PERSON, 1);
    held
}

#[test]
fn the_journal_names_nobody_once_its_time_is_over() {
    let mut service = Service::start_with(|config| config.privacy.journal_erase_seconds = 0);
    let mut client = service.client();
    let held = erase_person(&mut client);
    wait_until("no file names the person", || files_with(service.directory(), PERSON.as_bytes()).is_empty());
    // All else is there, also after a start from what is left.
    service.stop();
    service.start_again();
    let mut client = service.client();
    assert_nobodys(&held, &client.look(&held));
    assert_eq!(client.units("drop", "tv"), [9, 7, 2, 0]);
    client.get("/v1/events?after=0").refused("cursor_too_old");
}

#[test]
fn until_then_the_feed_goes_back_to_the_beginning_and_an_earlier_run_is_not_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let settings = |seconds: u64| {
        let segment = ("journal.segment_bytes", (1 << 20).to_string());
        [segment, ("privacy.journal_erase_seconds", seconds.to_string())]
    };
    let pending = |process: &Process| {
        let scrape = process.ops().get("/metrics");
        crate::served::metrics::Scrape::parse(scrape.text()).value("doorbuster_erasure_pending_seconds", [])
    };
    let mut process = Process::start(&data, &settings(1000));
    let held = erase_person(&mut process.client());
    wait_until("it is known that the journal names somebody", || pending(&process) > 0.0);
    // An orderly end takes a snapshot behind it, so the next start does not read what erased the person.
    process.terminate();
    process.wait(std::time::Duration::from_secs(20));
    process = Process::start(&data, &settings(1000));
    wait_until("it is still known", || pending(&process) > 0.0);
    let told = Feed::lines(process.api, "?after=0").until(|told| told.kind == "customer.erased");
    assert_eq!(told.last().unwrap().data(), &json!({ "customer": PERSON }));
    assert_eq!(told.last().unwrap().cloud["subject"], PERSON);
    assert!(!files_with(&data.join("journal"), PERSON.as_bytes()).is_empty());
    process.kill();

    process = Process::start(&data, &settings(0));
    wait_until("no file names the person", || files_with(&data, PERSON.as_bytes()).is_empty());
    wait_until("and that is known", || pending(&process) == 0.0);
    assert!(process.log().contains("the journal no longer holds any customer that was erased"), "{}", process.log());
    assert!(!process.log().contains(PERSON));
    assert_nobodys(&held, &process.client().look(&held));
}
