//! Reports over HTTP, on real stores of both kinds: every figure against a recount of the feed, to the unit.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    served::{
        Ask, Client, Feed, PATIENCE, Told,
        clock::MachineClock,
        metrics::Scrape,
        open_sale,
        process::{Process, serve, without_environment},
        wait_until,
    },
    support::{
        dice::Dice,
        postgres::{Server, Sql},
    },
};

/// A data directory and its store, on a machine with a clock of its own.
struct Place {
    directory: TempDir,
    clock: MachineClock,
    postgres: Option<(Server, String)>,
}

impl Place {
    fn sqlite() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), clock: MachineClock::new(), postgres: None }
    }

    fn postgres() -> Self {
        let server = Server::start(&[]);
        let url = server.new_database();
        Self { postgres: Some((server, url)), ..Self::sqlite() }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings: Vec<_> = [
            ("journal.segment_bytes", "1048576"),
            ("store.linger_ms", "10"),
            ("engine.shards", "4"),
            ("limits.report_kept_seconds", "0"),
        ]
        .map(|(key, value)| (key, value.to_owned()))
        .to_vec();
        if let Some((_, url)) = &self.postgres {
            settings.push(("store.url", url.clone()));
        }
        settings
    }

    fn start(&self) -> Process {
        self.start_with(&[])
    }

    fn start_with(&self, more: &[(&'static str, &str)]) -> Process {
        let mut settings = self.settings();
        settings.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let mut command = serve(&self.data(), &settings);
        self.clock.give_to(&mut command);
        Process::launch(command, &self.data()).unwrap_or_else(|ended| panic!("does not serve: {ended:?}"))
    }

    fn count(&self, sql: &str) -> i64 {
        match &self.postgres {
            None => {
                let connection = rusqlite::Connection::open(self.data().join("store.db")).unwrap();
                connection.query_row(sql, [], |row| row.get(0)).unwrap()
            }
            Some((_, url)) => Sql::connect(url).number(sql),
        }
    }

    /// What `reconcile` finds.
    fn differences(&self) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
        without_environment(&mut command);
        command.arg("reconcile").arg("--data").arg(self.data());
        if let Some((_, url)) = &self.postgres {
            command.env("DOORBUSTER_STORE__URL", url);
        }
        let said = command.output().unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        if said.status.code() == Some(0) { String::new() } else { told }
    }
}

fn wait_for_store(service: &Process) {
    wait_until("the store has caught up", || service.ops().get("/readyz").json()["store"]["lag_epochs"] == 0);
}

const SALES: [&str; 2] = ["drop", "other"];
const SKUS: [&str; 3] = ["tv", "phone", "mug"];

fn put_sales(client: &mut Client, late_confirm_seconds: u64) {
    let price = |amount: u64, currency: &str| json!({ "amount": amount, "currency": currency });
    let items = json!([
        { "sku": "tv", "initial_stock": 12, "price": price(19_900, "EUR") },
        { "sku": "phone", "initial_stock": 30, "price": price(500, "USD") },
        { "sku": "mug", "initial_stock": 0 },
    ]);
    for sale in SALES {
        let mut document = open_sale(items.clone());
        document["late_confirm_seconds"] = json!(late_confirm_seconds);
        client.put(&format!("/v1/sales/{sale}"), &document).success(201);
    }
}

/// What customers and operators do, at random.
fn live(client: &mut Client, dice: &mut Dice, commands: usize, refused: &mut BTreeMap<(String, String), u64>) {
    let (mut holds, mut short, mut confirmed) = (Vec::<Value>::new(), Vec::<Value>::new(), Vec::<Value>::new());
    for number in 0..commands {
        let sale = SALES[dice.below(2) as usize];
        match dice.below(16) {
            0..5 => {
                let mut lines = vec![json!({ "sku": dice.pick(&SKUS), "quantity": 1 + dice.below(3) })];
                if dice.one_in(3) {
                    lines.push(json!({ "sku": dice.pick(&SKUS), "quantity": 1 }));
                }
                // Some expire while the test runs.
                let seconds = if dice.one_in(4) { 1 } else { 600 };
                let body = json!({ "customer": format!("customer-{number}"), "lines": lines, "hold_seconds": seconds });
                let answer = client.post(&format!("/v1/sales/{sale}/reservations"), &body);
                match answer.status {
                    201 if seconds > 1 => holds.push(answer.json()),
                    201 => short.push(answer.json()),
                    _ => {
                        let code = answer.json()["code"].as_str().unwrap().to_owned();
                        *refused.entry((sale.to_owned(), code)).or_default() += 1;
                    }
                }
            }
            5..8 if !holds.is_empty() => {
                let hold = holds.swap_remove(dice.below(holds.len() as u64) as usize);
                if dice.one_in(3) {
                    client.act(&hold, "release", json!({})).success(200);
                    continue;
                }
                let mut body = json!({ "reference": format!("order-{number}") });
                if dice.one_in(3) {
                    body["lines"] = json!([{ "sku": hold["lines"][0]["sku"], "quantity": 1 }]);
                }
                confirmed.push(client.act(&hold, "confirm", body).success(200));
            }
            9 | 10 if !holds.is_empty() => {
                let at = dice.below(holds.len() as u64) as usize;
                let hold = &mut holds[at];
                let lines = json!([{ "sku": dice.pick(&SKUS), "quantity": 1 + dice.below(3) }]);
                let answer = client.act(hold, "change", json!({ "lines": lines }));
                assert!(matches!(answer.status, 200 | 409), "{answer:?}");
                if answer.status == 200 {
                    *hold = answer.json();
                }
            }
            11 | 12 if !confirmed.is_empty() => {
                let order = &confirmed[dice.below(confirmed.len() as u64) as usize];
                let mut body = json!({ "restock": dice.one_in(2), "reason": "sent back" });
                if dice.one_in(2) {
                    body["lines"] = json!([{ "sku": order["lines"][0]["sku"], "quantity": 1 }]);
                }
                let path = format!("/v1/reservations/{}/cancel", order["id"].as_str().unwrap());
                let answer = client.send(&Ask::new("POST", &path).key(&format!("cancel-{number}")).json(&body));
                assert!(matches!(answer.status, 200 | 400 | 404 | 409), "{answer:?}");
            }
            13 if !short.is_empty() => {
                let hold = short.swap_remove(dice.below(short.len() as u64) as usize);
                let answer = client.act(&hold, "confirm", json!({ "reference": format!("pay-{number}") }));
                assert!(matches!(answer.status, 200 | 404 | 409), "{answer:?}");
                if answer.status == 200 {
                    confirmed.push(answer.json());
                }
            }
            14 if !confirmed.is_empty() => {
                let order = &confirmed[dice.below(confirmed.len() as u64) as usize];
                let answer = client.act(order, "confirm", json!({ "reference": "again" }));
                assert!(matches!(answer.status, 404 | 409), "{answer:?}");
            }
            8 => {
                let path = format!("/v1/sales/{sale}/items/{}/adjustments", dice.pick(&SKUS));
                client.post(&path, &json!({ "delta": 1 + dice.below(4) })).success(201);
            }
            _ => {}
        }
    }
}

/// Everything that the feed tells, up to now.
fn feed(service: &Process) -> Vec<Told> {
    static MARKS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let mark = format!("mark-{}", MARKS.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let mut marked = open_sale(json!([{ "sku": "x", "initial_stock": 1 }]));
    marked["id"] = json!(mark);
    service.client().put(&format!("/v1/sales/{mark}"), &marked).success(201);
    Feed::lines(service.api, "?after=0").until_put(&mark)
}

#[derive(Default, Clone)]
struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    fn add(&mut self, what: &'static str, units: u64) {
        *self.0.entry(what).or_default() += units;
    }

    fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// As the report has reservations.
    fn shown(&self) -> Value {
        let outcomes = ["held", "confirmed", "released", "expired", "cancelled"];
        let mut shown = json!({ "granted": self.of("granted") });
        outcomes.into_iter().for_each(|outcome| shown[outcome] = json!(self.of(outcome)));
        assert_eq!(
            self.of("granted"),
            outcomes.into_iter().chain(["returned"]).map(|outcome| self.of(outcome)).sum::<u64>()
        );
        shown
    }

    /// As the report has units.
    fn shown_units(&self) -> Value {
        let mut shown = self.shown();
        shown["returned"] = json!(self.of("returned"));
        shown
    }
}

#[derive(Default)]
struct Recount {
    reservations: Counts,
    units: Counts,
    items: BTreeMap<String, (Counts, Counts)>,
    minutes: BTreeMap<String, Counts>,
    revenue: BTreeMap<(String, u64), (u64, String)>,
    sold_out: BTreeMap<String, Value>,
    late: u64,
    refused: BTreeMap<String, u64>,
}

/// A reservation as the feed tells its life.
struct Life {
    state: &'static str,
    late: bool,
    /// By SKU.
    lines: BTreeMap<String, LineLife>,
    created_at: String,
    ended_at: String,
}

#[derive(Default)]
struct LineLife {
    quantity: u64,
    returned: u64,
    cancelled: u64,
    price: Value,
}

/// The lives of a sale's reservations, from the feed alone; refused confirmations are counted.
fn lives(told: &[Told], sale: &str, recount: &mut Recount) -> HashMap<String, Life> {
    let mut lives: HashMap<String, Life> = HashMap::new();
    for event in told.iter().filter(|event| event.data()["sale"] == sale) {
        let data = event.data();
        if event.kind == "item.sold_out" {
            let sku = data["sku"].as_str().unwrap().to_owned();
            recount.sold_out.entry(sku).or_insert_with(|| event.cloud["time"].clone());
        }
        if !event.kind.starts_with("reservation.") {
            continue;
        }
        let text = |member: &str| data[member].as_str().unwrap().to_owned();
        let units = |member: &str| {
            let lines = data[member].as_array().cloned().unwrap_or_default().into_iter();
            lines.map(|line| (line["sku"].as_str().unwrap().to_owned(), line["quantity"].as_u64().unwrap(), line))
        };
        if event.kind == "reservation.held" {
            let (state, created_at, lines) = ("held", text("created_at"), BTreeMap::new());
            lives.insert(text("id"), Life { state, late: false, lines, created_at, ended_at: String::new() });
        }
        let Life { state, late, lines, ended_at, .. } = lives.get_mut(&text("id")).unwrap();
        match event.kind.as_str() {
            "reservation.held" | "reservation.changed" => {
                units("returned").for_each(|(sku, units, _)| lines.get_mut(&sku).unwrap().quantity -= units);
                for (sku, units, line) in units("lines") {
                    let of = lines.entry(sku).or_default();
                    (of.quantity, of.price) = (of.quantity + units, line["price"].clone());
                }
                lines.retain(|_, line| line.quantity > 0);
            }
            "reservation.confirmed" => {
                (*state, *late, *ended_at) = ("confirmed", data["late"] == true, text("confirmed_at"));
                lines.values_mut().for_each(|line| line.returned = line.quantity);
                units("lines").for_each(|(sku, units, _)| lines.get_mut(&sku).unwrap().returned -= units);
            }
            "reservation.released" => (*state, *ended_at) = ("released", text("released_at")),
            "reservation.expired" => (*state, *ended_at) = ("expired", text("expired_at")),
            "reservation.cancelled" => {
                units("lines").for_each(|(sku, units, _)| lines.get_mut(&sku).unwrap().cancelled += units);
                *state = if data["state"] == "cancelled" { "cancelled" } else { "confirmed" };
            }
            "reservation.confirm_refused" => *recount.refused.entry(text("cause")).or_default() += 1,
            _ => {}
        }
    }
    lives
}

/// A report's figures, from the feed alone.
fn recount(told: &[Told], sale: &str) -> Recount {
    let mut recount = Recount::default();
    for life in lives(told, sale, &mut recount).into_values() {
        let minute = |at: &str| format!("{}:00.000Z", &at[..16]);
        let of_all = |counts: &mut Counts, count| ["granted", life.state].map(|what| counts.add(what, count));
        of_all(&mut recount.reservations, 1);
        recount.late += u64::from(life.late);
        for (sku, line) in &life.lines {
            let was_confirmed = ["confirmed", "cancelled"].contains(&life.state);
            let sold = if was_confirmed { line.quantity - line.returned - line.cancelled } else { 0 };
            let (reservations, of_item) = recount.items.entry(sku.clone()).or_default();
            of_all(reservations, 1);
            for units in [of_item, &mut recount.units] {
                units.add("granted", line.quantity);
                if was_confirmed {
                    units.add("confirmed", sold);
                    units.add("returned", line.returned);
                    units.add("cancelled", line.cancelled);
                } else {
                    units.add(life.state, line.quantity);
                }
            }
            recount.minutes.entry(minute(&life.created_at)).or_default().add("granted", line.quantity);
            if life.state != "held" {
                let what = if was_confirmed { "confirmed" } else { life.state };
                let units = line.quantity - line.returned;
                recount.minutes.entry(minute(&life.ended_at)).or_default().add(what, units);
            }
            if sold > 0 {
                let amount = line.price["amount"].as_u64().unwrap_or(0);
                let currency = line.price["currency"].as_str().unwrap_or("").to_owned();
                recount.revenue.entry((sku.clone(), amount)).or_insert((0, currency)).0 += sold;
            }
        }
    }
    recount
}

/// Every figure of the report against the recount; what the API has `shown` is the judge of stock.
fn compare(told: &[Told], shown: &Value, sale: &str, report: &Value) {
    let recount = recount(told, sale);
    assert_eq!(report["sale"], sale);
    assert_eq!(report["as_of"]["lag_epochs"], 0);
    assert_eq!(report["reservations"], recount.reservations.shown());
    assert_eq!(report["units"], recount.units.shown_units());
    let by_cause = report["confirmations"]["refused_by_cause"].as_array().unwrap().iter();
    let by_cause = by_cause.map(|of| (of["cause"].as_str().unwrap().to_owned(), of["count"].as_u64().unwrap()));
    assert_eq!(by_cause.collect::<BTreeMap<_, _>>(), recount.refused);
    let late = ["too_late", "stock", "limit"].into_iter().filter_map(|cause| recount.refused.get(cause));
    assert_eq!(report["confirmations"]["refused"], recount.refused.values().sum::<u64>());
    assert_eq!(report["confirmations"]["refused_late"], late.sum::<u64>());
    assert_eq!(report["confirmations"]["late"], recount.late);
    let mut items: Vec<Value> = shown["items"].as_array().unwrap().clone();
    items.sort_by_key(|item| item["sku"].as_str().unwrap().to_owned());
    assert_eq!(report["items"].as_array().unwrap().len(), items.len());
    for (item, told) in items.iter().zip(report["items"].as_array().unwrap()) {
        let sku = item["sku"].as_str().unwrap();
        let (reservations, units) = recount.items.get(sku).cloned().unwrap_or_default();
        assert_eq!(told["sku"], sku);
        assert_eq!((&told["reservations"], &told["units"]), (&reservations.shown(), &units.shown_units()), "{sku}");
        for place in ["stock", "available", "held", "confirmed"] {
            assert_eq!(told["stock"][place], item[place], "{place} of {sku}");
        }
        assert_eq!(told.get("sold_out_at"), recount.sold_out.get(sku), "{sku}");
    }
    let minutes: Vec<Value> = recount
        .minutes
        .iter()
        .map(|(minute, counts)| {
            let [granted, confirmed, released, expired] =
                ["granted", "confirmed", "released", "expired"].map(|what| counts.of(what));
            json!({ "minute": minute, "granted": granted, "confirmed": confirmed, "released": released, "expired": expired })
        })
        .collect();
    assert_eq!(report["minutes"], json!(minutes));
    assert_eq!(report["minutes_total"], minutes.len());
    let revenue: Vec<Value> = recount
        .revenue
        .iter()
        .map(|((sku, amount), (units, currency))| match currency.as_str() {
            "" => json!({ "sku": sku, "units": units }),
            _ => json!({
                "sku": sku, "units": units, "revenue": units * amount,
                "price": { "amount": amount, "currency": currency },
            }),
        })
        .collect();
    assert_eq!(report["revenue"], json!(revenue));
    for total in report["revenue_by_currency"].as_array().unwrap() {
        let of_currency = recount.revenue.iter().filter(|(_, (_, currency))| total["currency"] == *currency);
        let sum: u64 = of_currency.map(|((_, amount), (units, _))| units * amount).sum();
        assert_eq!(total["revenue"], sum);
    }
}

/// Compares a report with what the feed and the API tell of the same moment. Holds of a second expire at any time: when
/// the feed moved on meanwhile or the store still followed, all are asked anew.
fn compare_at_one_moment(service: &Process, sale: &str) -> Value {
    let of_sale = |told: &[Told]| told.iter().filter(|event| event.data()["sale"] == sale).count();
    for _ in 0..100 {
        let told = feed(service);
        wait_for_store(service);
        let report = service.client().get(&format!("/v1/sales/{sale}/report")).success(200);
        let shown = service.client().get(&format!("/v1/sales/{sale}")).success(200);
        if report["as_of"]["lag_epochs"] == 0 && of_sale(&feed(service)) == of_sale(&told) {
            compare(&told, &shown, sale, &report);
            return report;
        }
    }
    panic!("in a hundred looks no report was made of a store that had all of the feed");
}

fn a_report_is_a_recount_of_the_feed(place: &Place) {
    let service = place.start();
    let mut client = service.client();
    put_sales(&mut client, 600);
    // Whoever asks at once is answered: it is waited for the store.
    let first = client.get("/v1/sales/drop/report").success(200);
    assert_eq!((&first["reservations"]["granted"], &first["items_total"]), (&json!(0), &json!(3)));
    assert_eq!(first["rates"], json!({ "sell_through": 0.0 }));
    let (mut dice, mut refused) = (Dice::new(7), BTreeMap::new());
    for _ in 0..3 {
        live(&mut client, &mut dice, 300, &mut refused);
        for sale in SALES {
            compare_at_one_moment(&service, sale);
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(1500));
    for sale in SALES {
        let report = compare_at_one_moment(&service, sale);
        assert!(
            report["reservations"]["expired"].as_u64() > Some(0) && report["revenue"].as_array().unwrap().len() > 1
        );
        assert!(report["sold_out_at"].is_string(), "everything was sold out once: {report}");
        for (what, outcome) in [("reservations", "cancelled"), ("units", "returned"), ("confirmations", "refused")] {
            assert!(report[what][outcome].as_u64() > Some(0), "{outcome} {what}: {}", report[what]);
        }
        let counted: BTreeMap<_, _> = report["refusals"]["by_reason"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                ((sale.to_owned(), entry["reason"].as_str().unwrap().to_owned()), entry["count"].as_u64().unwrap())
            })
            .collect();
        let expected: BTreeMap<_, _> = refused.clone().into_iter().filter(|((of, _), _)| of == sale).collect();
        assert_eq!(counted, expected);
    }
    // Refusals are of this process; everything else stays.
    let before = client.get("/v1/sales/drop/report").success(200);
    drop(service);
    let service = place.start();
    wait_for_store(&service);
    let after = service.client().get("/v1/sales/drop/report").success(200);
    for member in ["reservations", "units", "confirmations", "items", "minutes", "revenue", "sold_out_at"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    assert_eq!(after["refusals"]["total"], 0);
    assert!(after["refusals"]["since"].as_str() > before["refusals"]["since"].as_str());
}

#[test]
fn in_sqlite_a_report_is_a_recount_of_the_feed() {
    a_report_is_a_recount_of_the_feed(&Place::sqlite());
}

#[test]
fn in_postgres_a_report_is_a_recount_of_the_feed() {
    let place = Place::postgres();
    a_report_is_a_recount_of_the_feed(&place);
    // Away, and said so at once; reserving goes on.
    let service = place.start();
    let (mut server, _) = place.postgres.expect("PostgreSQL");
    server.stop();
    service.client().get("/v1/sales/drop/report").refused("store_unavailable");
    service.client().post("/v1/sales/drop/items/phone/adjustments", &json!({ "delta": 1 })).success(201);
    service.client().reserve("drop", "zoe", [("phone", 1_000_000)]).refused("insufficient_stock");
    server.launch();
    wait_until("reports are back", || service.client().get("/v1/sales/drop/report").status == 200);
}

/// While it serves, in small steps, and killed between them and within them.
fn what_is_old_goes_and_nothing_is_lost(place: &mut Place, after: &str) {
    const SIX_YEARS_MILLIS: i64 = 6 * 365 * 86_400_000;
    let short = [("engine.retention_seconds", "1"), ("engine.clock_settle_seconds", "1")];
    // Six years ago.
    place.clock.set_by(-SIX_YEARS_MILLIS);
    let service = place.start_with(&short);
    let mut client = service.client();
    // As long as the service's memory has them.
    put_sales(&mut client, 1);
    live(&mut client, &mut Dice::new(11), 1000, &mut BTreeMap::new());
    // Out of the service's memory.
    thread::sleep(Duration::from_millis(3500));
    wait_for_store(&service);
    let before = client.get("/v1/sales/drop/report").success(200);
    place.clock.set_by(SIX_YEARS_MILLIS);
    wait_until("the clock is believed", || {
        let scrape = Scrape::parse(service.ops().get("/metrics").text());
        scrape.value("doorbuster_clock_jumps_total", [("direction", "forward")]) == 1.0
            && scrape.value("doorbuster_clock_offset_seconds", []).abs() < 0.05
    });
    wait_for_store(&service);
    stop(service);
    let place = &*place;
    let left = || {
        place.count(
            "SELECT count(*) FROM reservations
              WHERE coalesce(cancelled_at, confirmed_at, released_at, expired_at) < '2024-01-01T00:00:00.000Z'",
        )
    };
    let old = left();
    assert!(old > 100, "{old}");
    assert_eq!(place.differences(), "");

    let keeping =
        [short[0], short[1], ("store.keep_days", "1"), ("store.after_keeping", after), ("store.keep_step_rows", "3")];
    for cycle in 0..20 {
        if cycle >= 4 && left() < old {
            break;
        }
        let mut service = place.start_with(&keeping);
        let answer = service.client().reserve("drop", &format!("late-{cycle}"), [("phone", 1)]);
        assert!(matches!(answer.status, 201 | 409), "{answer:?}");
        thread::sleep(Duration::from_millis(40 + 35 * cycle));
        service.kill();
    }
    let half_way = left();
    assert!(half_way < old, "some went");
    let service = place.start_with(&keeping);
    wait_until("everything old has gone", || left() == 0);
    wait_for_store(&service);
    let report = service.client().get("/v1/sales/drop/report").success(200);
    assert_eq!(report["stock"]["confirmed"], before["stock"]["confirmed"]);
    let archived = place.count("SELECT count(*) FROM reservations_archive");
    if after == "archive" {
        assert_eq!(archived, old);
        for state in ["confirmed", "released", "expired"] {
            assert_eq!(report["units"][state], before["units"][state], "{state}");
        }
        assert_eq!((&report["revenue"], report.get("counts_from")), (&before["revenue"], None));
    } else {
        assert_eq!((archived, &report["units"]["confirmed"]), (0, &json!(0)));
        assert_eq!(report["revenue"], json!([]));
        // The sale itself is of today: nothing of it can be old but what was made to look so.
        assert!(place.count("SELECT count(*) FROM write_behind WHERE kept_from IS NOT NULL") == 1);
    }
    assert_eq!(place.differences(), "", "beside the service");
    stop(service);
    assert_eq!(place.differences(), "");
}

fn stop(mut service: Process) {
    service.terminate();
    assert!(service.wait(PATIENCE).success());
}

#[test]
fn in_sqlite_what_is_old_is_archived() {
    what_is_old_goes_and_nothing_is_lost(&mut Place::sqlite(), "archive");
}

#[test]
fn in_sqlite_what_is_old_is_deleted() {
    what_is_old_goes_and_nothing_is_lost(&mut Place::sqlite(), "delete");
}

#[test]
fn in_postgres_what_is_old_is_archived() {
    what_is_old_goes_and_nothing_is_lost(&mut Place::postgres(), "archive");
}

#[test]
fn in_postgres_what_is_old_is_deleted() {
    what_is_old_goes_and_nothing_is_lost(&mut Place::postgres(), "delete");
}
