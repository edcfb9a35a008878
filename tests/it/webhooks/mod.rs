//! Webhooks: signed events at receivers of all sorts, their order, restarts, parking, and who may see and resume them.

mod faults;
mod places;
mod receiver;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use doorbuster::{
    auth::Role,
    config::{Config, Webhook},
};
use serde_json::{Value, json};

use self::receiver::{OK, Receiver, Reply};
use crate::{
    contract::keys::Keys,
    served::{
        Ask, Client, Feed, Service, documents::items, metrics::Scrape, open_sale, process::without_environment,
        reserve_body,
    },
};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_SECRET: &str = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// Deliveries run in the idle class: on a machine that is busy otherwise they take long.
const PATIENCE: Duration = Duration::from_secs(120);

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A file with the secret, that stays as long as the test.
pub fn secret_file(secrets: &str) -> PathBuf {
    let path = tempfile::tempdir().unwrap().keep().join("secret");
    fs::write(&path, secrets).unwrap();
    path
}

pub fn webhook(url: String) -> Webhook {
    Webhook {
        url,
        events: Vec::new(),
        sales: Vec::new(),
        secret_file: secret_file(SECRET).to_str().unwrap().to_owned(),
        ca_file: String::new(),
        park_after_seconds: 3600,
        timeout_seconds: 30,
        retry_seconds_max: 1,
        deliveries_max: 16,
        allow_private_addresses: false,
    }
}

pub fn with(config: &mut Config, name: &str, webhook: Webhook) {
    config.webhooks.0.insert(name.to_owned(), webhook);
}

fn serve(webhooks: impl IntoIterator<Item = (&'static str, Webhook)>) -> Service {
    Service::start_with(|config| webhooks.into_iter().for_each(|(name, webhook)| with(config, name, webhook)))
}

/// One that gets the puts of sales and the holds, and so a number of events that is easily told.
pub fn of_puts_and_holds(url: String) -> Webhook {
    let events = ["sale.put", "reservation.held"].map(|kind| kind.to_owned().try_into().unwrap()).to_vec();
    Webhook { events, ..webhook(url) }
}

/// A sale with enough for everybody.
pub fn put(client: &mut Client, sale: &str) {
    client.put(&format!("/v1/sales/{sale}"), &open_sale(items([("tv", 100_000)]))).success(201);
}

/// Holds, each with what it is about.
pub fn reserve(client: &mut Client, sale: &str, count: usize) -> Vec<String> {
    let path = format!("/v1/sales/{sale}/reservations");
    let hold = |number| {
        let made = client.post(&path, &reserve_body(&format!("customer-{number}"), [("tv", 1)])).success(201);
        made["id"].as_str().unwrap().to_owned()
    };
    (0..count).map(hold).collect()
}

/// How a webhook is, by its name.
pub fn state(client: &mut Client, name: &str) -> Value {
    let all = client.get("/v1/webhooks").success(200);
    let found = all["webhooks"].as_array().unwrap().iter().find(|webhook| webhook["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {all}")).clone()
}

/// The feed's events up to the put of a last sale.
fn fed(service: &Service) -> Vec<(String, Value)> {
    let mut feed = Feed::lines(service.address(), "?after=0");
    feed.until_put("last").into_iter().map(|told| (told.cursor().to_owned(), told.cloud.clone())).collect()
}

#[test]
fn every_event_arrives_signed_as_the_feed_has_it() {
    let receiver = Receiver::good();
    let service = serve([("orders", webhook(receiver.url()))]);
    let mut client = service.client();
    put(&mut client, "drop");
    for id in reserve(&mut client, "drop", 5) {
        client.post_nothing(&format!("/v1/reservations/{id}/confirm")).success(200);
    }
    client.send(&Ask::new("DELETE", "/v1/customers/customer-1")).success(200);
    put(&mut client, "last");
    let fed: BTreeMap<String, Value> = fed(&service).into_iter().collect();
    let all = || fed.keys().all(|id| receiver.ids().contains(id));
    wait_until("all arrived", all);
    // The last sale is opened behind its put.
    let received: Vec<_> = receiver.received().into_iter().filter(|it| fed.contains_key(it.id())).collect();
    assert_eq!(received.len(), fed.len(), "each once, as nothing failed");
    for received in received {
        assert_eq!(received.event, fed[received.id()]);
        assert_eq!(received.headers["content-type"], "application/cloudevents+json; charset=utf-8");
        assert!(received.headers["user-agent"].starts_with("doorbuster/"));
        assert!(received.is_signed_by(SECRET) && !received.is_signed_by(OTHER_SECRET));
    }
    wait_until("it is shown", || state(&mut client, "orders")["waiting"] == 0);
    let shown = state(&mut client, "orders");
    assert_eq!(shown["state"], "active");
    assert!(shown["last_delivered_at"].is_string() && shown.get("last_failure").is_none(), "{shown}");
    assert!(!shown.to_string().contains("whsec"), "{shown}");
    let metrics = service.ops().get("/metrics").text().to_owned();
    let delivered = Scrape::parse(&metrics)
        .value("doorbuster_webhook_deliveries_total", [("webhook", "orders"), ("outcome", "delivered")]);
    assert_eq!(delivered, receiver.count() as f64);
}

#[test]
fn it_gets_only_the_types_and_sales_it_asks_for() {
    let receiver = Receiver::good();
    let mut filtered = webhook(receiver.url());
    filtered.events = ["reservation.*", "customer.erased"].map(|text| text.to_owned().try_into().unwrap()).to_vec();
    filtered.sales = vec!["summer-*".to_owned().try_into().unwrap()];
    let service = serve([("orders", filtered)]);
    let mut client = service.client();
    for sale in ["summer-1", "winter-1"] {
        put(&mut client, sale);
        reserve(&mut client, sale, 3);
    }
    client.send(&Ask::new("DELETE", "/v1/customers/customer-1")).success(200);
    put(&mut client, "summer-2");
    reserve(&mut client, "summer-2", 1);
    wait_until("all arrived", || receiver.count() >= 4);
    let kinds: Vec<_> = receiver.received().iter().map(|it| it.event["type"].clone()).collect();
    assert_eq!(kinds, vec![json!("reservation.held"); 4]);
    assert!(receiver.received().iter().all(|it| it.event["source"].as_str().unwrap().starts_with("/v1/sales/summer-")));
}

/// Receivers that fail and are slow now and then see each subject's events in order, many subjects at a time.
#[test]
fn the_events_of_a_subject_arrive_in_order_whatever_fails() {
    let receiver = Receiver::start(|received| {
        let first = received.body.iter().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
        let again = received.headers["webhook-timestamp"].len() as u8;
        match first.wrapping_add(again) % 23 {
            0 if received.at_a_time > 2 => Reply::Status(500, ""),
            number => Reply::Slow(Duration::from_millis(u64::from(number))),
        }
    });
    let service = serve([("orders", webhook(receiver.url()))]);
    let mut client = service.client();
    put(&mut client, "drop");
    for id in reserve(&mut client, "drop", 20) {
        client.post(&format!("/v1/reservations/{id}/extend"), &json!({ "hold_seconds": 200 })).success(200);
        client.post_nothing(&format!("/v1/reservations/{id}/confirm")).success(200);
        client.post_nothing(&format!("/v1/reservations/{id}/cancel")).success(200);
    }
    put(&mut client, "last");
    let fed = fed(&service);
    wait_until("all arrived", || fed.iter().all(|(id, _)| receiver.ids().contains(id)));
    let place: BTreeMap<&str, usize> = fed.iter().enumerate().map(|(place, (id, _))| (&**id, place)).collect();
    // What was refused may have come before, so the last time counts: that it was taken.
    let mut newest: BTreeMap<String, usize> = BTreeMap::new();
    for received in receiver.received() {
        let subject = received.event["subject"].to_string();
        let Some(&place) = place.get(received.id()) else { continue };
        assert!(newest.insert(subject, place).is_none_or(|before| before <= place), "{} came late", received.event);
    }
    assert!(receiver.received().iter().any(|received| received.at_a_time > 4), "several at a time");
}

#[test]
fn while_a_secret_is_replaced_both_are_valid() {
    let receiver = Receiver::good();
    let [rotated, other] = [(); 2].map(|()| of_puts_and_holds(receiver.url()));
    let (file, other_file) = (rotated.secret_file.clone(), other.secret_file.clone());
    // The other gets nothing; its secret only must not stand in the way.
    let other = Webhook { sales: vec!["none".to_owned().try_into().unwrap()], ..other };
    let service = serve([("another", other), ("orders", rotated)]);
    let mut client = service.client();
    put(&mut client, "one");
    wait_until("it arrived", || receiver.count() == 1);
    fs::write(&file, format!("{OTHER_SECRET}\n{SECRET}\n")).unwrap();
    assert!(service.running().reload_webhook_secrets().is_empty());
    put(&mut client, "two");
    wait_until("it arrived", || receiver.count() == 2);
    // What is wrong changes nothing.
    fs::write(&file, "whsec_short").unwrap();
    let told = service.running().reload_webhook_secrets();
    assert_eq!(told.len(), 1);
    let told = told[0].to_string();
    assert!(told.starts_with("webhooks.orders.secret_file ") && told.contains("line 1 must be"), "{told}");
    put(&mut client, "three");
    wait_until("it arrived", || receiver.count() == 3);
    // What is wrong with one keeps no other from being replaced, and each is told.
    fs::write(&other_file, "whsec_short").unwrap();
    assert_eq!(service.running().reload_webhook_secrets().len(), 2);
    fs::write(&file, OTHER_SECRET).unwrap();
    let told = service.running().reload_webhook_secrets();
    assert!(told.len() == 1 && told[0].to_string().starts_with("webhooks.another.secret_file "), "{told:?}");
    put(&mut client, "four");
    wait_until("it arrived", || receiver.count() == 4);
    let signed: Vec<_> =
        receiver.received().iter().map(|it| (it.is_signed_by(SECRET), it.is_signed_by(OTHER_SECRET))).collect();
    assert_eq!(signed, [(true, false), (true, true), (true, true), (false, true)]);
}

#[test]
fn a_webhook_that_cannot_be_used_stops_the_start_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let start = |change: &dyn Fn(&mut Webhook)| {
        let mut config = Config::default();
        config.data.dir = directory.path().join("data");
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.server.ops_listen = "127.0.0.1:0".parse().unwrap();
        let mut webhook = webhook("https://orders.example/".to_owned());
        change(&mut webhook);
        with(&mut config, "orders", webhook);
        match doorbuster::service::Running::start(&config) {
            Ok(_) => panic!("it starts"),
            Err(error) => error.to_string(),
        }
    };
    let no_file = start(&|webhook| webhook.secret_file = "/nowhere/secret".to_owned());
    assert!(no_file.starts_with("webhooks.orders.secret_file /nowhere/secret: cannot be read"), "{no_file}");
    let no_secret = start(&|webhook| webhook.secret_file = secret_file("hunter2").to_str().unwrap().to_owned());
    assert!(no_secret.contains("doorbuster keys webhook") && !no_secret.contains("hunter2"), "{no_secret}");
    let no_authority = start(&|webhook| webhook.ca_file = webhook.secret_file.clone());
    assert!(no_authority.starts_with("webhooks.orders.ca_file "), "{no_authority}");
}

/// What `serve` would refuse, `check-config` says.
#[test]
fn files_of_webhooks_are_checked_with_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("doorbuster.toml");
    let check = |more: &str, secret: &str| {
        let text = format!(
            "[webhooks.orders]\nurl = \"https://127.0.0.1/hooks?token=hidden\"\nsecret_file = \"{secret}\"\n{more}"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
        without_environment(&mut command);
        let said = command.arg("check-config").arg("--config").arg(&file).output().unwrap();
        let [out, error] = [said.stdout, said.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(!out.contains("hidden") && !error.contains("hidden"), "{out}{error}");
        (said.status.code(), error)
    };
    let secret = secret_file(SECRET);
    let secret = secret.to_str().unwrap();
    let (code, error) = check("ca_file = \"/nowhere/ca.pem\"\n", "/nowhere/secret");
    assert_eq!(code, Some(2));
    let lines: Vec<_> = error.lines().collect();
    assert!(
        lines[0].starts_with("error: webhooks.orders.secret_file /nowhere/secret: cannot be read")
            && lines[1].starts_with("error: webhooks.orders.ca_file /nowhere/ca.pem: cannot be read"),
        "{error}"
    );
    assert_eq!(check("allow_private_addresses = 1\n", secret).0, Some(2));
    // With both files there is nothing wrong.
    assert_eq!(check(&format!("ca_file = \"{}\"\n", faults::certified().1), secret), (Some(0), String::new()));
}

#[test]
fn keys_see_and_resume_what_they_reach() {
    let receiver = Receiver::start(|_| Reply::Status(500, ""));
    let keys = Keys::all_roles().add("summer", Role::Operator, &["summer-*"]);
    let service = Service::start_with(|config| {
        config.auth.keys = keys.settings.clone();
        for (name, sales) in [("all", &[][..]), ("summer", &["summer-1", "summer-eu-*"]), ("both", &["summer-1", "w*"])]
        {
            let mut webhook = webhook(receiver.url());
            webhook.sales = sales.iter().map(|text| (*text).to_owned().try_into().unwrap()).collect();
            webhook.park_after_seconds = 1;
            with(config, name, webhook);
        }
    });
    let mut client = service.client();
    let names = |client: &mut Client, key| {
        let seen = keys.send(client, key, Ask::new("GET", "/v1/webhooks")).success(200);
        let names = seen["webhooks"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&mut client, "viewer"), ["all", "both", "summer"]);
    assert_eq!(names(&mut client, "summer"), ["summer"]);
    let resume = |name: &str| Ask::new("POST", &format!("/v1/webhooks/{name}/resume"));
    for key in ["viewer", "checkout"] {
        keys.send(&mut client, key, resume("all")).refused("forbidden");
    }
    for (key, name) in [("summer", "all"), ("summer", "both"), ("operator", "none")] {
        keys.send(&mut client, key, resume(name)).refused("webhook_not_found");
    }
    let shown = keys.send(&mut client, "operator", resume("all")).success(200);
    assert_eq!(shown["state"], "active", "it was not parked");
    client.send(&resume("all")).refused("unauthenticated");
    // A parked one: resumed once, recorded once.
    keys.send(&mut client, "operator", crate::contract::keys::put("summer-1")).success(201);
    let parked = |client: &mut Client| {
        let seen = keys.send(client, "summer", Ask::new("GET", "/v1/webhooks")).success(200);
        seen["webhooks"][0]["state"] == "parked"
    };
    wait_until("it is parked", || parked(&mut client));
    receiver.behave(|_| OK);
    for _ in 0..2 {
        assert_eq!(keys.send(&mut client, "summer", resume("summer")).success(200)["state"], "active");
    }
    service.wait_for_store();
    let trail = keys.send(&mut client, "operator", Ask::new("GET", "/v1/audit?limit=100")).success(200);
    let records = trail["records"].as_array().unwrap().iter();
    let resumed: Vec<_> = records.filter(|record| record["action"] == "webhook.resume").collect();
    assert_eq!(resumed.len(), 1, "{resumed:?}");
    assert_eq!((&resumed[0]["actor"], &resumed[0]["detail"]), (&json!("key:summer"), &json!({ "webhook": "summer" })));
}
