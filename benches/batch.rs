//! What batches cost those who send single requests to the same worker, and how fast batches are.
//!
//! `cargo bench --bench batch` serves on one worker, sends single requests at a slow pace over one connection, with and
//! without batches of 10,000 beside them, in turn, and prints percentiles of both. Client and service share the machine.
//! `DOORBUSTER_BENCH_PAIRS` and `DOORBUSTER_BENCH_SECONDS` set how many pairs of how many seconds.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use doorbuster::{config::Config, service::Running};

use client::{Client, request};

#[path = "support/client.rs"]
mod client;

const ENTRIES: usize = 10_000;
/// Between two single requests.
const PACE: Duration = Duration::from_micros(500);

fn entry(customer: u64) -> String {
    format!(r#"{{"customer":"customer-{customer}","lines":[{{"sku":"tv","quantity":1}}]}}"#)
}

fn batch(first: u64) -> Vec<u8> {
    let entries: Vec<String> = (first..first + ENTRIES as u64).map(entry).collect();
    request("POST", "/v1/sales/bench/reservations/batch", &format!("{{\"reservations\":[{}]}}", entries.join(",")))
}

/// Latencies of single requests at their pace, sorted, for so long.
fn singles(address: SocketAddr, time: Duration, customer: &AtomicU64, reserve: bool) -> Vec<Duration> {
    let mut client = Client::connect(address);
    let mut latencies = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time {
        let request = if reserve {
            request("POST", "/v1/sales/bench/reservations", &entry(customer.fetch_add(1, Ordering::Relaxed)))
        } else {
            request("GET", "/v1/sales/bench/availability", "")
        };
        let sent = Instant::now();
        let (status, _) = client.send(&request);
        latencies.push(sent.elapsed());
        assert!(matches!(status, 200 | 201), "{status}");
        thread::sleep(PACE);
    }
    latencies.sort_unstable();
    latencies
}

fn show(what: &str, latencies: &[Duration]) {
    let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize].as_micros();
    println!(
        "{what:<34} {:>6} requests   p50 {:>6} µs   p90 {:>6} µs   p99 {:>6} µs   max {:>6} µs",
        latencies.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        latencies.last().expect("some requests").as_micros()
    );
}

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = Config::default();
    config.data.dir = directory.path().to_owned();
    config.server.listen.set_port(0);
    config.server.ops_listen.set_port(0);
    config.server.workers = 1;
    // The store follows when all is measured: what it takes of the processor is another question.
    config.store.linger_ms = 60_000;
    let running = Running::start(&config).expect("the service starts");
    let address = running.api;
    let sale = r#"{"name":"Bench","opens_at":"2020-01-01T00:00:00Z","closes_at":"2199-01-01T00:00:00Z",
        "hold_seconds":600,"items":[{"sku":"tv","initial_stock":1000000000000}]}"#;
    assert_eq!(Client::connect(address).send(&request("PUT", "/v1/sales/bench", sale)).0, 201);

    let customer = AtomicU64::new(0);
    let time = Duration::from_secs(number_from("DOORBUSTER_BENCH_SECONDS", 3));
    for pair in 1..=number_from("DOORBUSTER_BENCH_PAIRS", 5) {
        println!("pair {pair}");
        for (what, reserve) in [("availability", false), ("durable reserve", true)] {
            show(&format!("{what} alone"), &singles(address, time, &customer, reserve));
            let stop = AtomicBool::new(false);
            let (latencies, batches) = thread::scope(|scope| {
                let named = thread::Builder::new().name("batches".to_owned());
                let batches = named.spawn_scoped(scope, || send_batches(address, &customer, &stop)).expect("a thread");
                let latencies = singles(address, time, &customer, reserve);
                stop.store(true, Ordering::Relaxed);
                (latencies, batches.join().expect("batches are answered"))
            });
            show(&format!("{what} beside batches"), &latencies);
            let (sent, taken, bytes) = batches;
            let rate = (sent * ENTRIES) as f64 / taken.as_secs_f64();
            println!("{:34} {sent:>6} batches, {rate:.0} entries/s while one is asked, {bytes} bytes of answers", "");
        }
    }
    show_processor_time();
    running.stop().expect("an orderly end");
}

/// What each thread took of the processor, in seconds.
fn show_processor_time() {
    for task in std::fs::read_dir("/proc/self/task").expect("Linux").flatten() {
        let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        // utime and stime, in ticks of a hundredth of a second, stand twelve fields behind the name.
        let ticks: u64 = read("stat")
            .rsplit_once(") ")
            .map(|(_, fields)| fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum())
            .unwrap_or_default();
        println!("{:<20} {:.2} s", read("comm").trim(), ticks as f64 / 100.0);
    }
}

/// Batches one after the other: how many, the time that they took, and what came back. Making them is not counted.
fn send_batches(address: SocketAddr, customer: &AtomicU64, stop: &AtomicBool) -> (usize, Duration, usize) {
    let mut client = Client::connect(address);
    let (mut sent, mut taken, mut bytes) = (0, Duration::ZERO, 0);
    while !stop.load(Ordering::Relaxed) {
        let batch = batch(customer.fetch_add(ENTRIES as u64, Ordering::Relaxed));
        let started = Instant::now();
        let (status, length) = client.send(&batch);
        taken += started.elapsed();
        assert_eq!(status, 200);
        (sent, bytes) = (sent + 1, bytes + length);
    }
    (sent, taken, bytes)
}
