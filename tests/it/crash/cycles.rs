//! Load, kill, restart, and the accounts.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use doorbuster::{
    sale::ids::ReservationId,
    store::{SqliteReader, SqliteStore, StoreReader},
};
use serde_json::{Value, json};

use super::{
    ledger::{self, Ledger},
    load::{ITEMS, Load, SALE},
};
use crate::{
    served::{
        now_millis, open_sale,
        process::{self, Process},
        shapes, wait_until,
    },
    support::dice::Dice,
};

const CLIENTS: usize = 6;
const CYCLES: u64 = 50;
/// So that no cycle outgrows its time on a fast machine.
const REQUESTS_PER_CYCLE_MAX: usize = 1500;
/// Every so many cycles the store is compared, and everything ever acknowledged is looked at.
const CYCLES_PER_AUDIT: u64 = 10;

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}")))
}

#[test]
fn whatever_was_acknowledged_survives_every_end() {
    let cycles = number_from("DOORBUSTER_CRASH_CYCLES").unwrap_or(CYCLES);
    let seed = number_from("DOORBUSTER_CRASH_SEED").unwrap_or_else(now_millis);
    println!("DOORBUSTER_CRASH_SEED={seed}");
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut dice = Dice::new(seed);
    let mut loads: Vec<Load> = (0..CLIENTS).map(|number| Load::new(number, dice.throw())).collect();
    let mut process = Process::start(&data, &settings(&mut dice));
    put_sale(&process);
    for cycle in 1..=cycles {
        let started = Instant::now();
        let how = end_under_load(&mut process, &mut loads, &mut dice);
        if dice.one_in(4) {
            end_while_starting(&data, &mut dice);
        }
        process = Process::start(&data, &settings(&mut dice));
        let up = started.elapsed();
        resolve(&process, &mut loads);
        check_accounts(&process, &mut loads, false);
        if cycle % CYCLES_PER_AUDIT == 0 || cycle == cycles {
            audit(&process, &mut loads, &data);
        }
        let known: usize = loads.iter().map(|load| load.ledger.reservations.len()).sum();
        println!("cycle {cycle}: {how}, up after {up:?}, checked after {:?}, {known} known", started.elapsed());
    }
    let known: usize = loads.iter().map(|load| load.ledger.reservations.len()).sum();
    assert!(known as u64 > cycles * 20, "only {known} reservations were made: this says little");
    let told = |words: &str| process.log().matches(words).count();
    println!(
        "{} snapshots, {} times the journal was trimmed",
        told("snapshot taken"),
        told("removed old snapshots and batches")
    );
    process.terminate();
    assert_eq!(process.wait(Duration::from_secs(20)).code(), Some(0));
}

/// A configuration unlike the last one: another number of shards, snapshots and new segments now or later.
fn settings(dice: &mut Dice) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("engine.shards", dice.pick(&[1, 2, 3, 4, 8, 16]).to_string()),
        ("journal.segment_bytes", (1 << 20).to_string()),
        ("journal.seal_after_ms", dice.pick(&[1, 20, 1000]).to_string()),
        ("store.linger_ms", dice.pick(&[1, 20, 100]).to_string()),
        ("server.workers", dice.pick(&[1, 2, 3]).to_string()),
    ];
    if !dice.one_in(3) {
        settings.push(("snapshot.journal_bytes", (64 << 10).to_string()));
    }
    settings
}

fn put_sale(process: &Process) {
    let items = ITEMS.iter().map(|(sku, stock, limit)| {
        let price = json!({ "amount": 100, "currency": "EUR" });
        json!({ "sku": sku, "initial_stock": stock, "customer_limit": limit, "price": price })
    });
    let mut sale = open_sale(items.collect());
    sale["max_extensions"] = json!(3);
    process.client().put(&format!("/v1/sales/{SALE}"), &sale).success(201);
}

/// Ends the process at a moment within its load, and says how.
fn end_under_load(process: &mut Process, loads: &mut [Load], dice: &mut Dice) -> String {
    // Snapshots and pruning are due once a second: some cycles last until around then.
    let delay = if dice.one_in(4) { 950 + dice.below(500) } else { 10 + dice.below(350) };
    let orderly = dice.one_in(5);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for load in loads.iter_mut() {
            let (client, second, stop) = (process.client(), process.client(), &stop);
            scope.spawn(move || load.run(client, second, stop, REQUESTS_PER_CYCLE_MAX));
        }
        thread::sleep(Duration::from_millis(delay));
        if orderly {
            process.terminate();
            assert_eq!(process.wait(Duration::from_secs(20)).code(), Some(0), "an orderly end:\n{}", process.log());
        } else {
            process.kill();
        }
        stop.store(true, Ordering::Relaxed);
    });
    format!("{} after {delay} ms", if orderly { "SIGTERM" } else { "SIGKILL" })
}

/// A start that is killed on its way.
fn end_while_starting(data: &Path, dice: &mut Dice) {
    let mut child = process::serve(data, &settings(dice));
    let child = child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn();
    let mut child = child.expect("the binary");
    thread::sleep(Duration::from_millis(dice.below(120)));
    child.kill().expect("a child");
    child.wait().expect("a child");
}

/// For all ledgers at once, each with a client of its own.
fn for_each(process: &Process, loads: &mut [Load], each: impl Fn(&mut Ledger, &mut crate::served::Client) + Sync) {
    thread::scope(|scope| {
        for load in loads {
            let (mut client, each) = (process.client(), &each);
            scope.spawn(move || each(&mut load.ledger, &mut client));
        }
    });
}

fn resolve(process: &Process, loads: &mut [Load]) {
    for_each(process, loads, |ledger, client| ledger.resolve(client));
}

/// Every acknowledged answer is still true, and every item's units are where the reservations say. `all`: also those that
/// are long over.
fn check_accounts(process: &Process, loads: &mut [Load], all: bool) {
    let mut client = process.client();
    // Holds may expire while they are looked at; when the sale is the same before and after, none did.
    let mut sale = client.sale(SALE);
    for attempt in 1.. {
        for_each(process, loads, |ledger, client| ledger.look(client, all && attempt == 1));
        let after = client.sale(SALE);
        if after == sale {
            break;
        }
        assert!(attempt < 50, "the sale does not come to rest: {sale} and then {after}");
        sale = after;
    }
    let ledgers = || loads.iter().map(|load| &load.ledger);
    for ((sku, initial, limit), item) in ITEMS.iter().zip(sale["items"].as_array().unwrap()) {
        let added: i64 = ledgers().filter_map(|ledger| ledger.adjusted.get(*sku)).sum();
        let stock = initial.checked_add_signed(added).expect("stock is never negative");
        let [held, confirmed] = ledger::units(ledgers(), sku);
        let available = stock.checked_sub(held + confirmed).unwrap_or_else(|| panic!("{sku} is oversold: {item}"));
        let shown = ["stock", "available", "held", "confirmed"].map(|member| item[member].as_u64().unwrap());
        assert_eq!(shown, [stock, available, held, confirmed], "stock, available, held, confirmed of {sku}");
        if let Some(limit) = limit {
            check_limit(ledgers(), sku, *limit);
        }
    }
}

fn check_limit<'a>(ledgers: impl Iterator<Item = &'a Ledger>, sku: &str, limit: u64) {
    let mut by_customer: BTreeMap<&str, u64> = BTreeMap::new();
    for known in ledgers.flat_map(|ledger| ledger.reservations.values()) {
        if known.latest["state"] == "held" || known.latest["state"] == "confirmed" {
            let customer = known.latest["customer"].as_str().unwrap();
            *by_customer.entry(customer).or_default() += ledger::units_of(&known.latest, sku);
        }
    }
    for (customer, units) in by_customer {
        assert!(units <= limit, "{customer} has {units} of {sku}, and the limit is {limit}");
    }
}

/// Looks at everything ever acknowledged, in the API and in the store.
fn audit(process: &Process, loads: &mut [Load], data: &Path) {
    rest(loads);
    check_accounts(process, loads, true);
    for_each(process, loads, |ledger, client| ledger.repeat(client, 7));
    wait_for_store(process);
    let sale = process.client().sale(SALE);
    let store = SqliteStore::open_read_only(data.join("store.db")).unwrap();
    let mut totals = store.totals().unwrap();
    assert!(totals.iter().all(|row| row.stored == row.recomputed), "{totals:?}");
    totals.retain(|row| row.pool.is_none());
    assert_eq!(totals.len(), ITEMS.len());
    for item in sale["items"].as_array().unwrap() {
        let row = totals.iter().find(|row| row.sku == item["sku"].as_str().unwrap()).expect("a row for each item");
        assert_eq!(row.stored, row.recomputed, "{}", row.sku);
        let stored = [row.stored.stock, row.stored.available, row.stored.held, row.stored.confirmed];
        let shown = ["stock", "available", "held", "confirmed"].map(|member| item[member].as_i64().unwrap());
        assert_eq!(stored, shown, "stock, available, held, confirmed of {} in the store and in the API", row.sku);
    }
    check_trail(&store, data, loads.iter().map(|load| &load.ledger));
    let mut known = 0;
    for reservation in loads.iter().flat_map(|load| load.ledger.reservations.values()) {
        known += 1;
        let id = ReservationId::parse(reservation.latest["id"].as_str().unwrap()).unwrap();
        let row = store.reservation(&id).unwrap();
        let row = row.unwrap_or_else(|| panic!("not in the store: {}", reservation.latest));
        assert_eq!(shapes::as_document(&row), reservation.latest);
    }
    let counts = store.count_by_state().unwrap();
    let rows = counts.held + counts.confirmed + counts.released + counts.expired;
    assert_eq!(rows, known, "rows of reservations in the store, and reservations that are known");
}

/// The audit trail came through every end: the chain holds, it ends where the journal says, and every adjustment that was
/// acknowledged is in it once.
fn check_trail<'a>(store: &SqliteReader, data: &Path, ledgers: impl Iterator<Item = &'a Ledger>) {
    let inspected = Command::new(env!("CARGO_BIN_EXE_doorbuster"))
        .args(["inspect", "--json", "--data"])
        .arg(data)
        .output()
        .expect("the binary");
    assert!(inspected.status.success(), "{inspected:?}");
    let inspected: Value = serde_json::from_slice(&inspected.stdout).expect("a report");
    let check = store.check_audit(&[]).unwrap().unwrap_or_else(|broken| panic!("{broken}"));
    let reached = check.reached();
    let expected = json!({ "sequence": reached.sequence, "hash": reached.hash.to_hex().as_str() });
    assert_eq!(inspected["audit"], expected, "where the trail ends in the journal");
    let rows = rusqlite::Connection::open(data.join("store.db")).unwrap();
    let sum = "SELECT count(*), sum(detail ->> 'delta') FROM audit WHERE action = 'stock.adjust' AND actor = 'anybody'";
    let (count, added): (i64, Option<i64>) = rows.query_row(sum, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let moved = "SELECT count(*), sum(delta) FROM stock_movements WHERE reason != 'initial'";
    let moved: (i64, Option<i64>) = rows.query_row(moved, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!((count, added), moved, "records of adjustments, and movements of stock");
    assert_eq!(added.unwrap_or(0), ledgers.flat_map(|ledger| ledger.adjusted.values()).sum::<i64>());
    assert_eq!(reached.sequence, count as u64 + 1, "the sale was put once, and nothing else was done");
}

/// Waits until no hold ends soon: from then on nothing moves by itself.
fn rest(loads: &[Load]) {
    let soon = now_millis() + 5000;
    let ends = loads.iter().flat_map(|load| load.ledger.reservations.values());
    let ends = ends.filter(|known| known.latest["state"] == "held");
    let last = ends.map(|known| shapes::check_time(&known.latest["expires_at"])).filter(|&end| end < soon).max();
    if let Some(last) = last {
        thread::sleep(Duration::from_millis((last + 150).saturating_sub(now_millis())));
    }
}

fn wait_for_store(process: &Process) {
    let mut ops = process.ops();
    wait_until("the store has caught up", || {
        let details: Value = ops.get("/readyz").json();
        details["store"]["lag_epochs"] == 0
    });
}
