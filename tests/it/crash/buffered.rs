//! `journal.ack = "buffered"`: what was answered in the last moments may be lost, and nothing else.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    served::{Answer, Ask, Client, documents::address, now_millis, process::Process, reserve_body, wait_until},
    support::dice::Dice,
};

const FLUSH_MS: u64 = 40;
const CLIENTS: u64 = 4;
const STOCK: u64 = 1_000_000;
/// What clients are told at least before a process ends.
const ACKNOWLEDGED_LEAST: u64 = 20;

/// A reserve that was acknowledged.
struct Acknowledged {
    reservation: Value,
    sent: Instant,
    answered: Instant,
}

#[derive(Default)]
struct Told {
    acknowledged: Vec<Acknowledged>,
    /// The request whose answer never came.
    open: Option<Ask>,
}

fn settings(shards: u64) -> Vec<(&'static str, String)> {
    vec![
        ("journal.ack", "buffered".to_owned()),
        ("journal.flush_ms", FLUSH_MS.to_string()),
        ("journal.segment_bytes", (1 << 20).to_string()),
        ("engine.shards", shards.to_string()),
    ]
}

fn reserve_until_gone(mut client: Client, prefix: &str, stop: &AtomicBool, acknowledged: &AtomicU64) -> Told {
    let mut told = Told::default();
    for number in 0..20_000 {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = reserve_body(&format!("{prefix}-{}", number % 50), [("tv", 1 + number % 3)]);
        let ask = Ask::new("POST", "/v1/sales/drop/reservations").key(&format!("{prefix}-{number}")).json(&body);
        let sent = Instant::now();
        match client.try_send(&ask) {
            Ok(answer) if answer.status == 201 => {
                let reservation = answer.reservation(201);
                acknowledged.fetch_add(1, Ordering::Relaxed);
                told.acknowledged.push(Acknowledged { reservation, sent, answered: Instant::now() });
            }
            Ok(answer) => {
                answer.refused("draining");
                break;
            }
            Err(_) => {
                told.open = Some(ask);
                break;
            }
        }
    }
    told
}

/// Runs load for at least so long, ends the process, and gives what the clients were told and when the end began.
fn load(process: &mut Process, cycle: u64, millis: u64, end: impl FnOnce(&mut Process)) -> (Vec<Told>, u64) {
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let loads: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (stop, acknowledged, connection) = (&stop, &acknowledged, process.client());
                let prefix = format!("cycle-{cycle}-client-{client}");
                scope.spawn(move || reserve_until_gone(connection, &prefix, stop, acknowledged))
            })
            .collect();
        thread::sleep(Duration::from_millis(millis));
        wait_until("there was some load", || acknowledged.load(Ordering::Relaxed) > ACKNOWLEDGED_LEAST);
        let ended_at = now_millis();
        end(process);
        stop.store(true, Ordering::Relaxed);
        (loads.into_iter().map(|load| load.join().unwrap()).collect(), ended_at)
    })
}

fn units(reservation: &Value) -> u64 {
    reservation["lines"][0]["quantity"].as_u64().unwrap()
}

#[test]
fn a_kill_takes_back_the_last_moments_and_nothing_before_them() {
    let seed = now_millis();
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // The sale itself is not to be lost.
    let mut process = Process::start(&data, &[]);
    process.client().put_open_sale("drop", [("tv", STOCK)]);
    process.kill();
    process = Process::start(&data, &settings(2));
    let (mut expected, mut kept_in_all) = (0, 0);
    for cycle in 0..5 {
        let (told, killed_at) = load(&mut process, cycle, 150 + dice.below(200), Process::kill);
        process = Process::start(&data, &settings(1 + dice.below(8)));
        let mut client = process.client();
        let (mut kept, mut lost) = (Vec::new(), Vec::new());
        for acknowledged in told.iter().flat_map(|told| &told.acknowledged) {
            let answer = client.get(&address(&acknowledged.reservation));
            if answer.status == 200 {
                assert_eq!(answer.reservation(200), acknowledged.reservation);
                kept.push(acknowledged);
            } else {
                answer.refused("reservation_not_found");
                lost.push(acknowledged);
            }
        }
        println!("cycle {cycle}: {} kept, {} lost", kept.len(), lost.len());
        kept_in_all += kept.len();
        // What is left is a prefix: nothing was sent after something that is lost had been answered, and is kept.
        let last_sent = kept.iter().map(|kept| kept.sent).max();
        for lost in &lost {
            assert!(
                last_sent.is_none_or(|sent| lost.answered >= sent),
                "lost, though what was sent later is kept: {}",
                lost.reservation
            );
            let created_at = crate::served::shapes::check_time(&lost.reservation["created_at"]);
            let age = killed_at.saturating_sub(created_at);
            assert!(age < FLUSH_MS + 1000, "lost {age} ms after it was made: {}", lost.reservation);
        }
        expected += kept.iter().map(|kept| units(&kept.reservation)).sum::<u64>();
        expected += told.iter().filter_map(|told| told.open.as_ref()).map(|ask| granted(client.send(ask))).sum::<u64>();
        assert_eq!(client.units("drop", "tv"), [STOCK, STOCK - expected, expected, 0]);
    }
    // In one cycle alone a slow sync may leave next to nothing.
    assert!(kept_in_all > 20, "too little load to say anything");
}

fn granted(answer: Answer) -> u64 {
    units(&answer.reservation(201))
}

#[test]
fn an_orderly_end_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut process = Process::start(&data, &settings(4));
    process.client().put_open_sale("drop", [("tv", STOCK)]);
    let (told, _) = load(&mut process, 0, 200, |process| {
        process.terminate();
        assert_eq!(process.wait(Duration::from_secs(20)).code(), Some(0), "{}", process.log());
    });
    let process = Process::start(&data, &settings(3));
    let mut client = process.client();
    let acknowledged: Vec<_> = told.iter().flat_map(|told| &told.acknowledged).collect();
    for acknowledged in &acknowledged {
        assert_eq!(client.look(&acknowledged.reservation), acknowledged.reservation);
    }
    let open = told.iter().filter_map(|told| told.open.as_ref()).map(|ask| granted(client.send(ask))).sum::<u64>();
    let held = acknowledged.iter().map(|acknowledged| units(&acknowledged.reservation)).sum::<u64>() + open;
    assert_eq!(client.units("drop", "tv"), [STOCK, STOCK - held, held, 0]);
}
