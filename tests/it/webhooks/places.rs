//! Where a webhook continues: after a stop, after a crash, after it was parked, and when the journal no longer has what is next.

use std::fs;

use doorbuster::config::Webhook;

use super::{
    SECRET, of_puts_and_holds, put,
    receiver::{OK, Receiver, Reply},
    reserve, secret_file, serve, state, wait_until, webhook, with,
};
use crate::served::{
    Ask, Client, Service,
    metrics::Scrape,
    process::{self, Process},
    reserve_body,
};

#[test]
fn it_continues_where_it_was_after_a_stop() {
    let receiver = Receiver::good();
    let mut service = serve([("orders", of_puts_and_holds(receiver.url()))]);
    let mut client = service.client();
    put(&mut client, "drop");
    reserve(&mut client, "drop", 20);
    wait_until("all arrived", || receiver.count() == 21);
    service.stop();
    service.start_again();
    put(&mut service.client(), "late");
    wait_until("the next one arrived", || receiver.ids().len() == 22);
    assert_eq!(receiver.count(), 22, "what arrived before is not sent again");
    // One that is added later gets what comes from then on.
    let added = Receiver::good();
    service.stop();
    with(&mut service.config, "added", of_puts_and_holds(added.url()));
    service.start_again();
    put(&mut service.client(), "later");
    wait_until("both have it", || receiver.ids().len() == 23 && added.count() == 1);
    assert_eq!(added.received()[0].event["subject"], "later");
}

#[test]
fn nothing_is_lost_when_the_service_is_killed() {
    let receiver = Receiver::good();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let secret = secret_file(SECRET);
    let webhooks = format!(
        "{{ orders = {{ url = \"{}\", secret_file = \"{}\", events = [\"sale.put\", \"reservation.held\"] }} }}",
        receiver.url(),
        secret.display()
    );
    let settings = [("webhooks", webhooks)];
    let mut expected = 0;
    for round in 0..4 {
        let mut process = Process::launch(process::serve(&data, &settings), &data).unwrap();
        let mut client = process.client();
        let sale = format!("drop-{round}");
        put(&mut client, &sale);
        reserve(&mut client, &sale, 40);
        expected += 41;
        // In the middle of its deliveries.
        process.kill();
    }
    let mut process = Process::launch(process::serve(&data, &settings), &data).unwrap();
    wait_until("all arrived", || receiver.ids().len() >= expected);
    let kinds = |kind: &str| receiver.received().iter().filter(|it| it.event["type"] == kind).count();
    assert!(kinds("sale.put") >= 4 && kinds("reservation.held") >= 160);
    process.kill();
}

#[test]
fn a_parked_one_stays_parked_until_it_is_resumed() {
    let receiver = Receiver::start(|_| Reply::Status(500, ""));
    let mut parks = of_puts_and_holds(receiver.url());
    parks.park_after_seconds = 1;
    let mut service = serve([("orders", parks)]);
    let mut client = service.client();
    put(&mut client, "drop");
    wait_until("it is parked", || state(&mut client, "orders")["state"] == "parked");
    let parked_at = state(&mut client, "orders")["parked_at"].clone();
    service.stop();
    receiver.behave(|_| OK);
    let before = receiver.count();
    service.start_again();
    let mut client = service.client();
    reserve(&mut client, "drop", 10);
    wait_until("they wait", || state(&mut client, "orders")["waiting"] == 11);
    let shown = state(&mut client, "orders");
    assert_eq!((&shown["state"], &shown["parked_at"]), (&"parked".into(), &parked_at));
    let metrics = service.ops().get("/metrics").text().to_owned();
    wait_until("it is in the metrics", || {
        service.ops().get("/metrics").text().contains("doorbuster_webhook_parked{webhook=\"orders\"} 1")
    });
    assert!(metrics.contains("doorbuster_webhook_lag_seconds"), "{metrics}");
    assert_eq!(receiver.count(), before, "nothing was sent");
    let shown = client.post_nothing("/v1/webhooks/orders/resume").success(200);
    assert!(shown.get("parked_at").is_none(), "{shown}");
    wait_until("all arrived", || receiver.count() == before + 11);
    wait_until("it is saved", || {
        !fs::read_to_string(service.directory().join("webhooks.json")).unwrap().contains("parked")
    });
}

/// A service whose webhook fails while the journal fills several segments and is trimmed; it was stopped then.
fn behind(receiver: &Receiver, webhook_bytes_max: u64) -> Service {
    let mut service = Service::start_with(|config| {
        let mut webhook = webhook(receiver.url());
        webhook.events = vec!["sale.put".to_owned().try_into().unwrap()];
        with(config, "orders", webhook);
        config.journal.webhook_bytes_max = webhook_bytes_max;
        config.journal.segment_bytes = 128 << 10;
        config.snapshot.journal_bytes = 128 << 10;
    });
    let mut client = service.client();
    put(&mut client, "first");
    // Each look at the journal trims it, so after the second snapshot it was trimmed behind the first.
    for _ in 0..2 {
        grow(&service, &mut client);
    }
    service.stop();
    service
}

fn metric(service: &Service, name: &str) -> f64 {
    Scrape::parse(service.ops().get("/metrics").text()).value(name, [])
}

/// Grows the journal by some hundreds of KiB, until a snapshot was taken and the store has caught up, so that it is trimmed.
fn grow(service: &Service, client: &mut Client) {
    let mut body = reserve_body("ann", [("tv", 1)]);
    body["reference"] = "x".repeat(255).into();
    let entries = vec![body; 200];
    let before = metric(service, "doorbuster_snapshots_total");
    for _ in 0..5 {
        client.batch("first", &entries);
    }
    wait_until("a snapshot was taken", || metric(service, "doorbuster_snapshots_total") > before);
    wait_until("the store has caught up", || metric(service, "doorbuster_store_lag_epochs") == 0.0);
}

/// A parked one that is beyond the limit is told at once what it misses, and another one that is within loses nothing by that.
#[test]
fn the_limit_of_the_journal_is_each_ones_own() {
    let (bad, good) = (Receiver::start(|_| Reply::Status(500, "")), Receiver::good());
    let of_puts = |url| Webhook { events: vec!["sale.put".to_owned().try_into().unwrap()], ..webhook(url) };
    let mut service = Service::start_with(|config| {
        with(config, "far", Webhook { park_after_seconds: 1, ..of_puts(bad.url()) });
        with(config, "near", of_puts(good.url()));
        config.journal.webhook_bytes_max = 2 << 20;
        config.journal.segment_bytes = 128 << 10;
        config.snapshot.journal_bytes = 128 << 10;
    });
    let mut client = service.client();
    put(&mut client, "first");
    wait_until("it is parked", || state(&mut client, "far")["state"] == "parked");
    let skipped = |client: &mut Client| state(client, "far").get("skipped_at").cloned();
    let mut rounds = 0;
    let mut grow_until = |client: &mut Client, is_so: &dyn Fn(&mut Client) -> bool| {
        while !is_so(client) {
            grow(&service, client);
            rounds += 1;
            assert!(rounds < 60, "the journal is not trimmed");
        }
    };
    grow_until(&mut client, &|client| skipped(client).is_some());
    assert_eq!(state(&mut client, "far")["state"], "parked", "it is told before it is resumed");
    wait_until("it is counted", || {
        let metrics = Scrape::parse(service.ops().get("/metrics").text());
        metrics.value("doorbuster_webhook_skips_total", [("webhook", "far")]) > 0.0
    });
    // It is behind again, with an event of its own, and then the other one begins to fail.
    put(&mut client, "between");
    wait_until("the other one has it", || good.count() == 2);
    for _ in 0..3 {
        grow(&service, &mut client);
    }
    good.behave(|_| Reply::Status(500, ""));
    put(&mut client, "second");
    wait_until("it fails", || state(&mut client, "near")["state"] == "failing");
    let before = skipped(&mut client);
    grow_until(&mut client, &|client| skipped(client) != before);
    service.stop();
    good.behave(|_| OK);
    let count = good.count();
    service.start_again();
    wait_until("it arrived", || good.received()[count..].iter().any(|it| it.event["subject"] == "second"));
    assert_eq!(state(&mut service.client(), "near").get("skipped_at"), None);
}

/// Once an erased customer has left the journal, no event in memory has the id either: not for a parked one, nor for one that fails.
#[test]
fn an_erased_customer_is_not_sent_from_memory() {
    let receivers = [(); 2].map(|()| Receiver::start(|_| Reply::Status(500, "")));
    let service = Service::start_with(|config| {
        for (name, receiver, seconds) in [("parks", &receivers[0], 1), ("fails", &receivers[1], 3600)] {
            with(config, name, Webhook { park_after_seconds: seconds, ..of_puts_and_holds(receiver.url()) });
        }
        config.privacy.journal_erase_seconds = 1;
    });
    let mut client = service.client();
    put(&mut client, "drop");
    client.hold("drop", "gus-of-the-dock", [("tv", 1)]);
    wait_until("it is parked", || state(&mut client, "parks")["state"] == "parked");
    wait_until("the other fails", || state(&mut client, "fails")["state"] == "failing");
    client.send(&Ask::new("DELETE", "/v1/customers/gus-of-the-dock")).success(200);
    for name in ["parks", "fails"] {
        wait_until("it is told", || state(&mut client, name).get("skipped_at").is_some());
        wait_until("nothing waits", || state(&mut client, name)["waiting"] == 0);
    }
    for (name, receiver) in ["parks", "fails"].into_iter().zip(&receivers) {
        let before = receiver.count();
        receiver.behave(|_| OK);
        client.post_nothing(&format!("/v1/webhooks/{name}/resume")).success(200);
        put(&mut client, &format!("after-{name}"));
        let has_after =
            || receiver.received()[before..].iter().any(|it| it.event["subject"] == format!("after-{name}"));
        wait_until("it goes on", has_after);
        let sent = receiver.received()[before..].iter().any(|it| it.event.to_string().contains("gus-of-the-dock"));
        assert!(!sent, "{name}");
    }
}

/// Resuming one that fails has it try again at once, whatever its pause.
#[test]
fn one_that_fails_tries_again_at_once_when_it_is_resumed() {
    let receiver = Receiver::start(|_| Reply::Status(503, "retry-after: 86400\r\n"));
    let service = serve([("orders", Webhook { retry_seconds_max: 86_400, ..of_puts_and_holds(receiver.url()) })]);
    let mut client = service.client();
    put(&mut client, "drop");
    wait_until("it fails", || state(&mut client, "orders")["state"] == "failing");
    receiver.behave(|_| OK);
    let before = receiver.count();
    let shown = client.post_nothing("/v1/webhooks/orders/resume").success(200);
    assert_eq!(shown["state"], "active", "{shown}");
    wait_until("it arrived", || receiver.count() > before);
    service.wait_for_store();
    let trail = client.get("/v1/audit").success(200);
    let is_resume = |record: &&serde_json::Value| record["action"] == "webhook.resume";
    assert_eq!(trail["records"].as_array().unwrap().iter().filter(is_resume).count(), 1, "{trail}");
}

#[test]
fn one_that_was_removed_begins_anew() {
    let receiver = Receiver::good();
    let mut service = serve([("orders", of_puts_and_holds(receiver.url()))]);
    put(&mut service.client(), "first");
    wait_until("it arrived", || receiver.count() == 1);
    service.stop();
    let webhooks = std::mem::take(&mut service.config.webhooks);
    service.start_again();
    put(&mut service.client(), "meanwhile");
    service.stop();
    service.config.webhooks = webhooks;
    service.start_again();
    put(&mut service.client(), "after");
    wait_until("it goes on", || receiver.count() >= 2);
    assert_eq!(receiver.received()[1].event["subject"], "after");
}

#[test]
fn the_journal_is_kept_for_one_that_is_behind() {
    let receiver = Receiver::start(|_| Reply::Status(500, ""));
    let mut service = behind(&receiver, 1 << 30);
    receiver.behave(|_| OK);
    let before = receiver.count();
    service.start_again();
    wait_until("it arrived", || receiver.received()[before..].iter().any(|it| it.event["subject"] == "first"));
    let shown = state(&mut service.client(), "orders");
    assert!(shown.get("skipped_at").is_none(), "{shown}");
}

#[test]
fn what_the_journal_no_longer_has_is_skipped_and_told() {
    let receiver = Receiver::start(|_| Reply::Status(500, ""));
    let mut service = behind(&receiver, 0);
    receiver.behave(|_| OK);
    let before = receiver.count();
    service.start_again();
    wait_until("it is told", || state(&mut service.client(), "orders").get("skipped_at").is_some());
    put(&mut service.client(), "after");
    let subjects = || -> Vec<_> {
        let received = receiver.received();
        received[before..].iter().map(|it| it.event["subject"].as_str().unwrap().to_owned()).collect()
    };
    wait_until("it goes on with what there is", || !subjects().is_empty());
    assert_eq!(subjects(), ["after"], "the first was missed");
    assert!(service.directory().join("webhooks.json").exists());
}
