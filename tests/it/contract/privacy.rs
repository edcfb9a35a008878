//! What must not be found: ids of customers where they are kept as pseudonyms, and keys anywhere.
//!
//! The real binary at its most verbose, driven with ids and keys that are easy to recognise; then every file, the log and
//! the metrics are searched for them. The same with plain ids shows that the search finds what is there.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use doorbuster::auth::{Minted, Role, mint};
use serde_json::{Value, json};

use super::{
    customers::files_with,
    multiplexed::{Multiplexed, run},
};
use crate::served::{
    Answer, Ask, Feed, Service,
    batches::batch,
    documents::{address, items, with},
    open_sale,
    process::{self, Process},
    reserve_body, wait_until,
};

/// Every id of a customer that is sent has this in it.
const PERSON: &str = "recognisable-person";
/// What keys are made of: it is in the middle of each.
const SECRET: u64 = 0x5ec2_e7c0_ffee_5ec2;

struct Driven {
    data: tempfile::TempDir,
    process: Process,
    keys: Vec<String>,
}

fn pseudonym_key() -> String {
    format!("{SECRET:016x}").repeat(4)
}

fn start(keyed: bool) -> Driven {
    let data = tempfile::tempdir().unwrap();
    let minted: Vec<Minted> = (1..=3).map(|number| mint(number, [SECRET, SECRET, number.into()], [9; 32])).collect();
    let line = |name: &str, role: Role, sales: &str, minted: &Minted| {
        format!("{name} = {{ role = \"{}\", {sales}hash = \"{}\" }}", role.as_str(), minted.hash)
    };
    let lines = [
        line("operator", Role::Operator, "", &minted[0]),
        line("viewer", Role::Viewer, "", &minted[1]),
        line("some", Role::Operator, "sales = [\"other\"], ", &minted[2]),
    ];
    let mut settings = vec![
        ("log.level", "trace".to_owned()),
        ("auth.keys", format!("{{ {} }}", lines.join(", "))),
        ("journal.segment_bytes", (1 << 20).to_string()),
        ("rate_limits.customer", "30/60s".to_owned()),
    ];
    if keyed {
        settings.push(("privacy.customer_ids", "keyed_hash".to_owned()));
        settings.push(("privacy.customer_key", pseudonym_key()));
    }
    let process = Process::start(&data.path().join("data"), &settings);
    Driven { data, process, keys: minted.into_iter().map(|minted| minted.key).collect() }
}

impl Driven {
    fn sign(&self, ask: Ask) -> Ask {
        ask.header("Authorization", &format!("Bearer {}", self.keys[0]))
    }

    fn send(&self, ask: Ask) -> Answer {
        self.process.client().send(&self.sign(ask))
    }

    fn directory(&self) -> &Path {
        self.data.path()
    }
}

fn person(number: usize) -> String {
    format!("{PERSON}-{number}@example.com")
}

fn reserve(sale: &str, body: &Value) -> Ask {
    Ask::new("POST", &format!("/v1/sales/{sale}/reservations")).json(body)
}

fn one(number: usize) -> Value {
    reserve_body(&person(number), [("tv", 1)])
}

/// Every call with its refusals, well formed and malformed, over both protocols.
fn drive(driven: &Driven) {
    let limited = with(open_sale(items([("tv", 60), ("mug", 1)])), json!({ "customer_limit": 2 }));
    driven.send(Ask::new("PUT", "/v1/sales/drop").json(&limited)).success(201);
    let closed = with(open_sale(items([("tv", 1)])), json!({ "opens_at": "2198-01-01T00:00:00Z" }));
    driven.send(Ask::new("PUT", "/v1/sales/later").json(&closed)).success(201);
    let mut held = Vec::new();
    for number in 0..6 {
        let body = with(one(number), json!({ "hold_seconds": if number == 5 { 1 } else { 600 } }));
        held.push(driven.send(reserve("drop", &body).key(&format!("key-{number}"))).reservation(201));
    }
    let again = with(one(0), json!({ "hold_seconds": 600 }));
    assert!(driven.send(reserve("drop", &again).key("key-0")).is_replayed());
    driven.send(reserve("drop", &one(0)).key("key-0")).refused("idempotency_key_reused");
    driven.send(reserve("drop", &reserve_body(&person(0), [("tv", 2)]))).refused("customer_limit_exceeded");
    driven.send(reserve("drop", &reserve_body(&person(1), [("mug", 2)]))).refused("insufficient_stock");
    driven.send(reserve("drop", &reserve_body(&person(1), [("none", 2)]))).refused("item_not_found");
    driven.send(reserve("later", &one(1))).refused("sale_not_started");
    driven.send(reserve("none", &one(1))).refused("sale_not_found");
    for (verb, number) in [("confirm", 1), ("release", 2), ("extend", 3)] {
        let ask = |verb: &str| {
            Ask::new("POST", &format!("{}/{verb}", address(&held[number]))).json(&match verb {
                "extend" => json!({ "hold_seconds": 900 }),
                _ => json!({}),
            })
        };
        driven.send(ask(verb)).reservation(200);
        driven.send(ask(if verb == "confirm" { "release" } else { "confirm" }));
        driven.send(ask("extend"));
    }
    wait_until("the last hold has expired", || {
        driven.send(Ask::new("GET", &address(&held[5]))).json()["state"] == "expired"
    });
    let of_customer =
        |sale: &str, number| Ask::new("GET", &format!("/v1/sales/{sale}/reservations?customer={}", person(number)));
    let told = driven.send(of_customer("drop", 1)).success(200);
    assert_eq!(told["reservations"][0]["state"], "confirmed");
    driven.send(of_customer("none", 1)).refused("sale_not_found");
    driven.send(batch("drop", (10..20).map(one).chain([json!({ "customer": [person(1)] })]))).success(200);
    drive_malformed(driven);
    drive_limits_and_keys(driven);
    run(async {
        let multiplexed = Multiplexed::connect(driven.process.api).await;
        multiplexed.send(&driven.sign(reserve("drop", &one(21)))).await.reservation(201);
        multiplexed.send(&driven.sign(batch("drop", [one(22)]))).await.success(200);
        let erase = Ask::new("DELETE", &format!("/v1/customers/{}", person(21)));
        multiplexed.send(&driven.sign(erase)).await.success(200);
        multiplexed
            .send(&driven.sign(Ask::new("GET", &format!("/v1/customers/{PERSON}"))))
            .await
            .refused("method_not_allowed");
    });
    let feed = driven.sign(Ask::new("GET", "/v1/events?after=0"));
    Feed::send(driven.process.api, &feed).unwrap().until(|told| told.kind == "customer.erased");
    driven.send(Ask::new("DELETE", &format!("/v1/customers/{}", person(0)))).success(200);
    driven.send(Ask::new("DELETE", &format!("/v1/customers/{}%00", person(0)))).refused("invalid_request");
}

fn drive_malformed(driven: &Driven) {
    let text = person(30);
    for body in [
        format!("{{\"customer\":[\"{text}\"],\"lines\":[]}}"),
        format!("{{\"customer\":\"{text}\",\"lines\":\"{text}\"}}"),
        format!("{{\"customer\":\"{text}\",\"lines\":[{{\"sku\":\"tv\",\"quantity\":\"{text}\"}}]}}"),
        format!("{{\"customer\":\"{text}\",\"lines\":[{{\"sku\":\"tv\",\"quantity\":1}}],\"{text}\":1}}"),
        format!("{{\"customer\":\"{text}\",\"lines\":["),
        format!("\"{text}\""),
        text.clone(),
        format!("{{\"customer\":\"{text}\u{1}\",\"lines\":[]}}"),
        format!("{{\"customer\":\"{}\",\"lines\":[{{\"sku\":\"tv\",\"quantity\":1}}]}}", text.repeat(3)),
    ] {
        let answer = driven.send(Ask::new("POST", "/v1/sales/drop/reservations").bytes(body.clone()));
        let refused = answer.refused("invalid_request");
        // What is of the wrong type is not said again to the caller either, whose logs are read by others.
        let member = refused["errors"][0]["pointer"].as_str().unwrap().contains(PERSON)
            || refused["detail"].as_str().unwrap().contains("is not a known member");
        assert!(member || !answer.text().contains(PERSON), "{body}: {}", answer.text());
        driven.send(batch("drop", [&body]));
        driven.send(Ask::new("POST", "/v1/sales/drop/reservations").header("Content-Type", &text).bytes(body));
    }
    for path in [format!("/v1/reservations/{text}"), format!("/v1/sales/{text}"), format!("/{text}")] {
        driven.send(Ask::new("GET", &path));
        driven.send(Ask::new("POST", &path).json(&one(30)));
    }
    driven.send(Ask::new("GET", &format!("/v1/sales?customer={text}"))).refused("invalid_request");
    driven.send(Ask::new("GET", &format!("/v1/events?after={text}"))).refused("invalid_request");
    driven.send(Ask::new("GET", "/v1/sales").header("X-Customer", &text)).success(200);
}

fn drive_limits_and_keys(driven: &Driven) {
    let too_many = reserve("drop", &reserve_body(&person(31), [("tv", 9)]));
    wait_until("the customer is limited", || driven.send(too_many.clone()).status == 429);
    let mut client = driven.process.client();
    let erase = || Ask::new("DELETE", &format!("/v1/customers/{}", person(2)));
    client.send(&erase()).refused("unauthenticated");
    for (key, code) in [
        (driven.keys[1].clone(), "forbidden"),
        (driven.keys[2].clone(), "forbidden"),
        (format!("{}0", driven.keys[0]), "unauthenticated"),
        (driven.keys[0].to_uppercase(), "unauthenticated"),
    ] {
        client.send(&erase().header("Authorization", &format!("Bearer {key}"))).refused(code);
        client.send(&erase().header("Authorization", &key)).refused("unauthenticated");
    }
}

/// What was found where: in the metrics, or in a file.
fn found(driven: &Driven, metrics: &str, text: &str) -> Vec<String> {
    let files = files_with(driven.directory(), text.as_bytes()).into_iter().map(|path| path.display().to_string());
    files.chain(metrics.contains(text).then(|| "metrics".to_owned())).collect()
}

/// Drives a service, and searches while it runs, when it was killed, and when it has ended in order.
fn search(keyed: bool, mut look: impl FnMut(&Driven, &str)) {
    let mut driven = start(keyed);
    drive(&driven);
    let mut ops = driven.process.ops();
    wait_until("the store has caught up", || ops.get("/readyz").json()["store"]["lag_epochs"] == 0);
    let metrics = ops.get("/metrics").text().to_owned();
    assert!(metrics.contains("route=\"erase_customer\",status=\"200\""), "{metrics}");
    look(&driven, &metrics);
    driven.process.terminate();
    driven.process.wait(std::time::Duration::from_secs(20));
    let log = driven.process.log();
    assert!(log.contains("TRACE") && log.contains("SIGTERM"), "it is as verbose as it can be: {log}");
    look(&driven, &metrics);
    let written = find_in_inspect(&driven);
    assert_eq!(written.contains(PERSON), !keyed, "{written}");
}

/// Journal and snapshots as people read them.
fn find_in_inspect(driven: &Driven) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    process::without_environment(&mut command);
    let data = driven.directory().join("data");
    let output = command.args(["inspect", "--events", "--data"]).arg(data).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("customer_erased") && text.contains("held"), "{text}");
    text
}

fn assert_no_keys(driven: &Driven, metrics: &str) {
    for text in [format!("{SECRET:016x}"), format!("{SECRET:016X}")] {
        assert_eq!(found(driven, metrics, &text), [""; 0], "a key");
    }
    let bytes = SECRET.to_be_bytes().repeat(4);
    assert!(files_with(driven.directory(), &bytes).is_empty(), "the key of pseudonyms");
}

#[test]
fn with_pseudonyms_no_id_is_found_anywhere_and_no_key() {
    search(true, |driven, metrics| {
        assert_eq!(found(driven, metrics, PERSON), [""; 0]);
        assert_no_keys(driven, metrics);
    });
}

#[test]
fn with_plain_ids_they_are_in_journal_and_store_and_not_in_log_and_metrics() {
    search(false, |driven, metrics| {
        let found = found(driven, metrics, PERSON);
        let has = |part: &str| found.iter().any(|place| place.contains(part));
        assert!(has("journal-") && has("store.db"), "the search finds what is there: {found:?}");
        assert!(!has("data.log") && !has("metrics"), "{found:?}");
        assert_no_keys(driven, metrics);
    });
}

#[test]
fn a_pseudonym_does_what_an_id_does() {
    let key = "ab".repeat(32);
    let mut service = Service::start_with(|config| {
        config.privacy.customer_ids = doorbuster::config::CustomerIds::KeyedHash;
        config.privacy.customer_key = doorbuster::config::Secret(key.clone());
        config.rate_limits.customer = "4/60s".to_owned();
    });
    let mut client = service.client();
    let sale = with(open_sale(items([("tv", 60)])), json!({ "customer_limit": 2 }));
    client.put("/v1/sales/drop", &sale).success(201);
    let held = client.send(&reserve("drop", &one(1)).key("k")).reservation(201);
    let pseudonym = held["customer"].as_str().unwrap().to_owned();
    assert_eq!(pseudonym.len(), 24);
    assert_eq!(client.look(&held)["customer"], held["customer"]);
    assert_ne!(client.hold("drop", &person(2), [("tv", 1)])["customer"], held["customer"]);
    // A pseudonym is no id: who sends one is somebody else.
    assert_ne!(client.hold("drop", &pseudonym, [("tv", 1)])["customer"], held["customer"]);
    service.stop();
    service.start_again();
    let mut client = service.client();
    assert!(client.send(&reserve("drop", &one(1)).key("k")).is_replayed());
    let results = client.batch("drop", &[one(1), one(1)]);
    assert_eq!(results[0]["reservation"]["customer"], held["customer"]);
    assert_eq!(results[1]["problem"]["code"], "customer_limit_exceeded");
    client.send(&reserve("drop", &one(1)));
    client.send(&reserve("drop", &one(1))).refused("rate_limited");
    service.wait_for_store();
    let id = doorbuster::sale::ids::ReservationId::parse(held["id"].as_str().unwrap()).unwrap();
    assert_eq!(service.store().reservation(&id).unwrap().unwrap().customer, pseudonym);
    // Erased by the id.
    let erase = |customer: &str| Ask::new("DELETE", &format!("/v1/customers/{customer}"));
    assert_eq!(client.send(&erase(&pseudonym)).success(200)["reservations"], 1, "of whom it is the id");
    assert_eq!(client.send(&erase(&person(1))).success(200)["reservations"], 2);
    assert!(client.look(&held)["customer"].as_str().unwrap().starts_with("erased-"));
}

/// What the command prints for these ids.
fn pseudonyms(config: &Path, ids: &[String]) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    process::without_environment(&mut command);
    command.arg("pseudonym").arg("--config").arg(config).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{}\n", ids.join("\n")).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Another key, or none, would let everybody begin anew without a word.
#[test]
fn a_data_directory_keeps_to_what_it_knows_customers_by() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let key_file = directory.path().join("customer.key");
    let made = Command::new(env!("CARGO_BIN_EXE_doorbuster")).args(["keys", "customer"]).output().unwrap();
    std::fs::write(&key_file, &made.stdout).unwrap();
    let keyed = [
        ("privacy.customer_ids", "keyed_hash".to_owned()),
        ("privacy.customer_key_file", key_file.to_str().unwrap().to_owned()),
    ];
    let mut process = Process::start(&data, &keyed);
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 9)]);
    let held = client.hold("drop", &person(1), [("tv", 1)]);
    process.kill();
    let config = directory.path().join("doorbuster.toml");
    let text = format!("[privacy]\ncustomer_ids = \"keyed_hash\"\ncustomer_key_file = {:?}\n", key_file);
    std::fs::write(&config, text).unwrap();
    assert_eq!(pseudonyms(&config, &[person(2), person(1)])[1], held["customer"]);

    let refused = |settings: &[(&str, String)]| {
        let ended = Process::launch(process::serve(&data, settings), &data).err().expect("it does not serve");
        assert_eq!(ended.code, Some(2), "{ended:?}");
        ended.stderr
    };
    assert!(refused(&[]).contains("the data directory identifies customers by keyed_hash"));
    let text = std::fs::read_to_string(&key_file).unwrap();
    std::fs::write(&key_file, "0".repeat(64)).unwrap();
    let told = refused(&keyed);
    assert!(told.contains("customer-ids") && !told.contains(text.trim()), "{told}");
    std::fs::write(&key_file, "0".repeat(63)).unwrap();
    assert!(refused(&keyed).contains("64 hexadecimal digits"));
    std::fs::remove_file(&key_file).unwrap();
    assert!(refused(&keyed).contains("customer.key: No such file"));

    std::fs::write(&key_file, &text).unwrap();
    process = Process::start(&data, &keyed);
    assert_eq!(process.client().look(&held), held);
    process.kill();
    // Who means it removes the file, and goes on with customers who are new to it.
    std::fs::remove_file(data.join("customer-ids")).unwrap();
    process = Process::start(&data, &[]);
    assert_eq!(process.client().look(&held), held);
    assert_eq!(process.client().hold("drop", &person(1), [("tv", 1)])["customer"], person(1));
}
