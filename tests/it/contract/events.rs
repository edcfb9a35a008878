//! The feed: what was done is what is told, in order, once, to everybody the same.

use std::{collections::BTreeMap, thread, time::Duration};

use serde_json::{Value, json};

use crate::served::{
    Ask, Client, Feed, Service, Told,
    documents::{address, items, lines, with},
    now_millis, open_sale,
    process::Process,
    shapes, wait_until,
};

fn raw(told: &[Told]) -> Vec<&str> {
    told.iter().map(|told| told.raw.as_str()).collect()
}

/// The last thing that a test does, to be read up to.
fn put_last(client: &mut Client, name: &str) {
    client.put(&format!("/v1/sales/{name}"), &open_sale(items([("nothing", 0)]))).success(201);
}

/// What several customers do at the same time, with stock that runs out and comes back.
fn crowd(service: &Service) {
    let mut client = service.client();
    let items = json!([
        { "sku": "tv", "initial_stock": 40, "price": { "amount": 19900, "currency": "EUR" } },
        { "sku": "mug", "initial_stock": 1000 },
    ]);
    client.put("/v1/sales/drop", &open_sale(items)).success(201);
    thread::scope(|scope| {
        for customer in 0..4 {
            let mut client = service.client();
            scope.spawn(move || (0..25).for_each(|number| shop(&mut client, customer, number)));
        }
        scope.spawn(|| {
            for delta in [3, -1, 5] {
                let answer = service.client().post("/v1/sales/drop/items/mug/adjustments", &json!({ "delta": delta }));
                answer.success(201);
            }
        });
    });
}

fn shop(client: &mut Client, customer: usize, number: usize) {
    let body = json!({
        "customer": format!("customer-{customer}"), "lines": lines([("tv", 2), ("mug", 1)]),
        "reference": format!("cart-{customer}-{number}"),
    });
    let answer = client.post("/v1/sales/drop/reservations", &body);
    if answer.status != 201 {
        answer.refused("sold_out");
        return;
    }
    let held = answer.reservation(201);
    match number % 8 {
        0 => client.act(&held, "confirm", json!({ "reference": "order" })).reservation(200),
        1 => client.act(&held, "extend", json!({ "hold_seconds": 900 })).reservation(200),
        2 => client.act(&held, "confirm", json!({})).reservation(200),
        _ => client.act(&held, "release", json!({ "reason": "other plans" })).reservation(200),
    };
}

/// Makes state of events as a reader would.
#[derive(Default)]
struct Folded {
    reservations: BTreeMap<String, Value>,
    available: BTreeMap<String, i64>,
    sold_out: BTreeMap<String, bool>,
}

impl Folded {
    #[track_caller]
    fn take(&mut self, told: &Told) {
        let (subject, data) = (told.cloud["subject"].as_str().unwrap().to_owned(), told.data());
        let moved = match told.kind.as_str() {
            "reservation.held" => {
                shapes::check_reservation(data);
                assert!(self.reservations.insert(subject, data.clone()).is_none(), "held twice: {data}");
                -1
            }
            "reservation.extended" | "reservation.confirmed" | "reservation.released" | "reservation.expired" => {
                let known = self.reservations.get_mut(&subject).expect("held before");
                assert_eq!(known["state"], "held", "{data} comes after {known}");
                let news =
                    data.as_object().unwrap().iter().filter(|(name, _)| !["lines", "reason"].contains(&&***name));
                news.for_each(|(name, value)| known[name.as_str()] = value.clone());
                i64::from(matches!(told.kind.as_str(), "reservation.released" | "reservation.expired"))
            }
            "stock.adjusted" => {
                *self.available.entry(subject).or_default() += data["delta"].as_i64().unwrap();
                return;
            }
            "sale.put" => {
                for item in data["items"].as_array().unwrap() {
                    let sku = item["sku"].as_str().unwrap().to_owned();
                    self.available.entry(sku).or_insert(item["initial_stock"].as_i64().unwrap());
                }
                return;
            }
            "item.sold_out" | "item.back_in_stock" => {
                assert_eq!(data["available"], self.available[&subject], "exact at the end of a batch: {data}");
                let sold_out = told.kind == "item.sold_out";
                assert_eq!(sold_out, data["available"] == 0);
                let before = self.sold_out.insert(subject, sold_out).unwrap_or(false);
                assert_ne!(before, sold_out, "told when it changes: {data}");
                return;
            }
            _ => return,
        };
        for line in data.get("lines").and_then(Value::as_array).into_iter().flatten() {
            let units = line["quantity"].as_i64().unwrap();
            *self.available.get_mut(line["sku"].as_str().unwrap()).unwrap() += moved * units;
        }
    }
}

#[test]
fn what_is_told_folds_to_what_get_shows() {
    let service = Service::start();
    // One that is there from the beginning, and does not read until all is over.
    let mut live = Feed::open(service.address(), "");
    crowd(&service);
    let mut client = service.client();
    put_last(&mut client, "end");
    let told = live.until_put("end");

    let mut folded = Folded::default();
    told.iter().for_each(|told| folded.take(told));
    assert!(folded.reservations.len() > 20, "{}", folded.reservations.len());
    for reservation in folded.reservations.values() {
        assert_eq!(client.look(reservation), *reservation);
    }
    let available = client.get("/v1/sales/drop/availability").success(200);
    for item in available["items"].as_array().unwrap() {
        assert_eq!(item["available"], folded.available[item["sku"].as_str().unwrap()]);
    }
    assert!(folded.sold_out.contains_key("tv"), "televisions ran out");

    let mut cursors: Vec<_> = told.iter().map(Told::cursor).collect();
    cursors.sort_unstable();
    cursors.dedup();
    assert_eq!(cursors.len(), told.len(), "one cursor, one event");
    let stream = Feed::open(service.address(), "?after=0").until_put("end");
    let lines = Feed::lines(service.address(), "?after=0").until_put("end");
    assert_eq!(raw(&stream), raw(&told), "whenever it is read");
    assert_eq!(raw(&lines), raw(&told), "in either format");
}

/// A service whose batches hold many events: they gather for some time.
fn gathering() -> Service {
    Service::start_with(|config| {
        config.journal.ack = doorbuster::config::Ack::Buffered;
        config.journal.flush_ms = 60;
    })
}

#[test]
fn a_reader_goes_on_behind_any_event() {
    let service = gathering();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 3), ("mug", 3)]);
    for number in 0..6 {
        let held = client.hold("drop", &format!("customer-{number}"), [("tv", 3), ("mug", 3)]);
        if number % 2 == 0 {
            // A batch ends here, and else somewhere.
            thread::sleep(Duration::from_millis(130));
        }
        client.act(&held, "release", json!({})).reservation(200);
    }
    client.hold("drop", "last", [("tv", 3), ("mug", 3)]);
    put_last(&mut client, "end");
    let all = Feed::lines(service.address(), "?after=0").until_put("end");
    assert!(all.iter().map(Told::cursor).all(|cursor| cursor.len() == 26), "texts that say nothing");
    let turns = all.iter().filter(|told| told.kind == "item.sold_out").count();
    assert!(turns >= 4, "some batches end with items sold out");
    for (index, told) in all.iter().enumerate().take(all.len() - 1) {
        let rest = Feed::lines(service.address(), &format!("?after={}", told.cursor())).until_put("end");
        assert_eq!(raw(&rest), raw(&all[index + 1..]), "behind {}", told.raw);
    }

    let [first, second] = [&all[1], &all[3]];
    let ask = Ask::new("GET", "/v1/events").header("Last-Event-ID", first.cursor());
    let mut feed = Feed::send(service.address(), &ask).unwrap();
    assert_eq!(feed.head.header("event-cursor"), Some(first.cursor()));
    assert_eq!(feed.next().unwrap(), all[2]);
    let ask = Ask::new("GET", &format!("/v1/events?after={}", second.cursor())).header("Last-Event-ID", "0");
    assert_eq!(Feed::send(service.address(), &ask).unwrap().next().unwrap(), all[4], "the query wins");
}

#[test]
fn without_a_cursor_it_is_told_what_happens_from_now_on() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 2)]);
    let mut feed = Feed::lines(service.address(), "");
    let from = feed.head.header("event-cursor").unwrap().to_owned();
    let held = client.hold("drop", "ann", [("tv", 1)]);
    let told = feed.next().unwrap();
    assert_eq!((told.kind.as_str(), told.data()), ("reservation.held", &held));
    let again = Feed::lines(service.address(), &format!("?after={from}")).next().unwrap();
    assert_eq!(again, told, "who was told nothing yet has a cursor nevertheless");
}

#[test]
fn old_events_are_the_same_bytes_after_a_kill_and_with_other_shards() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let settings =
        |shards: usize| vec![("journal.segment_bytes", (1 << 20).to_string()), ("engine.shards", shards.to_string())];
    let mut process = Process::start(&data, &settings(4));
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 4), ("mug", 50)]);
    for number in 0..30 {
        let held = client.hold("drop", &format!("customer-{number}"), [("tv", 4), ("mug", 1)]);
        client.act(&held, if number % 7 == 6 { "extend" } else { "release" }, json!({ "hold_seconds": 900 }));
        client.act(&held, "release", json!({}));
    }
    put_last(&mut client, "end");
    let before = Feed::open(process.api, "?after=0").until_put("end");
    for shards in [1, 7] {
        process.kill();
        process = Process::start(&data, &settings(shards));
        assert_eq!(Feed::open(process.api, "?after=0").until_put("end"), before);
        let half = &before[before.len() / 2..];
        let rest = Feed::open(process.api, &format!("?after={}", half[0].cursor())).until_put("end");
        assert_eq!(rest, half[1..]);
    }

    // An orderly end ends the streams first, and says where they stood.
    let mut feed = Feed::open(process.api, &format!("?after={}", before.last().unwrap().cursor()));
    process.client().hold("drop", "zoe", [("mug", 1)]);
    let last = feed.until(|told| told.kind == "reservation.held").pop().unwrap();
    process.terminate();
    let ended = feed.rest();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(ended[0].data(), &json!({ "reason": "draining", "cursor": last.cursor() }));
    assert_eq!(process.wait(Duration::from_secs(8)).code(), Some(0), "{}", process.log());
}

#[test]
fn items_are_told_sold_out_and_back_in_stock() {
    let service = Service::start();
    let mut client = service.client();
    let mut feed = Feed::open(service.address(), "");
    client.put_open_sale("drop", [("tv", 2), ("none", 0)]);
    assert_eq!(kinds(&feed.take(2)), ["sale.put", "sale.opened"], "an item that begins with nothing is not sold out");
    let held = client.hold("drop", "ann", [("tv", 2)]);
    let told = feed.take(2);
    assert_eq!(kinds(&told), ["reservation.held", "item.sold_out"]);
    assert_eq!(told[1].data(), &json!({ "sale": "drop", "sku": "tv", "available": 0 }));
    assert_eq!((&told[1].cloud["subject"], &told[1].cloud["time"]), (&json!("tv"), &held["created_at"]));
    client.act(&held, "confirm", json!({})).reservation(200);
    client.post("/v1/sales/drop/items/tv/adjustments", &json!({ "delta": 1, "reason": "found" })).success(201);
    let told = feed.take(3);
    assert_eq!(kinds(&told), ["reservation.confirmed", "stock.adjusted", "item.back_in_stock"]);
    let adjusted = json!({ "sale": "drop", "sku": "tv", "delta": 1, "reason": "found", "stock": 3, "available": 1 });
    assert_eq!(told[1].data(), &adjusted);
    let short = json!({ "customer": "bob", "lines": lines([("tv", 1)]), "hold_seconds": 1 });
    let short = client.post("/v1/sales/drop/reservations", &short).reservation(201);
    let told = feed.take(4);
    let expected = ["reservation.held", "item.sold_out", "reservation.expired", "item.back_in_stock"];
    assert_eq!(kinds(&told), expected);
    assert_eq!(told[2].cloud["subject"], short["id"]);
    assert_eq!(told[3].cloud["time"], told[2].data()["expired_at"]);
    client.post("/v1/sales/drop/items/none/adjustments", &json!({ "delta": 5 })).success(201);
    assert_eq!(kinds(&feed.take(2)), ["stock.adjusted", "item.back_in_stock"]);
}

fn kinds(told: &[Told]) -> Vec<&str> {
    told.iter().map(|told| told.kind.as_str()).collect()
}

/// `opened by clock`, and the like, of one sale.
fn turns(told: &[Told], sale: &str) -> Vec<String> {
    let of_sale = told.iter().filter(|told| told.kind.starts_with("sale.") && told.cloud["subject"] == sale);
    let turn = |told: &Told| match told.data()["by"].as_str() {
        Some(by) => format!("{} by {by}", &told.kind[5..]),
        None => told.kind[5..].to_owned(),
    };
    of_sale.map(turn).collect()
}

#[test]
fn the_clock_opens_and_closes_a_sale_once() {
    let mut service = Service::start();
    let mut client = service.client();
    let (opens, closes) = (now_millis() + 300, now_millis() + 800);
    let time = |millis| doorbuster::sale::time::Timestamp::from_millis(millis).to_string();
    let sale = with(open_sale(items([("tv", 1)])), json!({ "opens_at": time(opens), "closes_at": time(closes) }));
    client.put("/v1/sales/short", &sale).success(201);
    let mut feed = Feed::open(service.address(), "?after=0");
    let told = feed.take(3);
    assert_eq!(turns(&told, "short"), ["put", "opened by clock", "closed by clock"]);
    for (told, due) in told[1..].iter().zip([opens, closes]) {
        assert!((due..due + 2000).contains(&shapes::check_time(&told.cloud["time"])), "{}", told.raw);
    }

    client.put_open_sale("drop", [("tv", 1)]);
    client.post_nothing("/v1/sales/drop/pause").success(200);
    service.stop();
    service.start_again();
    thread::sleep(Duration::from_millis(100));
    let mut client = service.client();
    client.put("/v1/sales/drop", &open_sale(items([("tv", 1)]))).success(200);
    client.post_nothing("/v1/sales/drop/resume").success(200);
    client.post_nothing("/v1/sales/drop/resume").success(200);
    client.post_nothing("/v1/sales/drop/close").success(200);
    put_last(&mut client, "end");
    let told = Feed::open(service.address(), "?after=0").until_put("end");
    assert_eq!(turns(&told, "short"), ["put", "opened by clock", "closed by clock"]);
    let expected = ["put", "opened by clock", "paused by operator", "put", "resumed by operator", "closed by operator"];
    assert_eq!(turns(&told, "drop"), expected);
}

#[test]
fn what_is_told_of_an_end_is_what_its_event_holds() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 9)]);
    let mut feed = Feed::open(service.address(), "");
    let held = client.hold("drop", "ann", [("tv", 1)]);
    let extended = client.act(&held, "extend", json!({ "hold_seconds": 900 })).reservation(200);
    let confirmed = client.act(&held, "confirm", json!({ "reference": "order-1" })).reservation(200);
    let other = client.hold("drop", "bob", [("tv", 2)]);
    let released = client.act(&other, "release", json!({ "reason": "too dear" })).reservation(200);
    let told = feed.take(5);
    let common = |document: &Value| with(document.clone(), json!({ "customer": null }));
    let expected = with(common(&extended), json!({ "lines": null }));
    assert_eq!(told[1].data(), &expected);
    let without = json!({ "expires_at": null, "extensions": null });
    assert_eq!(told[2].data(), &with(common(&confirmed), without.clone()));
    assert_eq!(told[4].data(), &with(with(common(&released), without), json!({ "reason": "too dear" })));
    assert_eq!(told[4].cloud["time"], released["released_at"]);
    wait_until("everything handed over is counted", || {
        crate::served::metrics::Scrape::parse(service.ops().get("/metrics").text())
            .value("doorbuster_events_sent_total", [])
            == 5.0
    });
    assert!(client.get(&address(&held)).status == 200);
}
