//! Rows per second into the store, sustained, while the service serves: batches of reserves at a steady pace, and single
//! requests beside them. PostgreSQL is a server of this program's own, with `fsync` on, on the same machine.
//!
//! Two loads: holds that stay, which is new rows alone; and holds that expire after seconds, which is a change for each.
//!
//! `DOORBUSTER_BENCH_SECONDS`: how long a load lasts. `DOORBUSTER_BENCH_STORES`: `sqlite,postgres` or one of them.
//! `DOORBUSTER_BENCH_RESERVES`: reserves per second that are offered, in a list: each is a run.

use std::{
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use doorbuster::{config::Config, service::Running};

use client::{Client, request};
use server::Server;

#[path = "support/client.rs"]
mod client;
#[path = "../tests/it/support/postgres.rs"]
#[allow(dead_code)]
mod server;

const ENTRIES: u64 = 2_000;
/// Between two single requests.
const PACE: Duration = Duration::from_millis(1);

fn setting(variable: &str, otherwise: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| otherwise.to_owned())
}

fn main() {
    let seconds: u64 = setting("DOORBUSTER_BENCH_SECONDS", "30").parse().expect("seconds");
    let reserves = setting("DOORBUSTER_BENCH_RESERVES", "40000,55000");
    for kind in setting("DOORBUSTER_BENCH_STORES", "sqlite,postgres").split(',') {
        for reserves in reserves.split(',') {
            for hold_seconds in [600, 5] {
                run(kind, reserves.parse().expect("a number"), hold_seconds, Duration::from_secs(seconds));
            }
        }
    }
}

fn run(kind: &str, reserves_per_second: u64, hold_seconds: u64, time: Duration) {
    let directory = tempfile::tempdir().expect("a directory");
    let server = (kind == "postgres")
        .then(|| Server::start(&["fsync=on", "shared_buffers=512MB", "max_wal_size=8GB", "checkpoint_timeout=5min"]));
    let mut config = Config::default();
    config.data.dir = directory.path().to_owned();
    config.server.listen.set_port(0);
    config.server.ops_listen.set_port(0);
    if let Some(server) = &server {
        config.store.url = server.new_database();
    }
    let running = Running::start(&config).expect("the service starts");
    let sale = format!(
        r#"{{"name":"Bench","opens_at":"2020-01-01T00:00:00Z","closes_at":"2199-01-01T00:00:00Z",
        "hold_seconds":{hold_seconds},"items":[{{"sku":"tv","initial_stock":1000000000000,
        "price":{{"amount":19900,"currency":"EUR"}}}}]}}"#
    );
    assert_eq!(Client::connect(running.api).send(&request("PUT", "/v1/sales/bench", &sale)).0, 201);
    let stop = AtomicBool::new(false);
    let (api, ops) = (running.api, running.ops);
    thread::scope(|scope| {
        let batches = scope.spawn(|| send_batches(api, reserves_per_second, &stop));
        let singles = scope.spawn(|| single_requests(api, &stop));
        // Until the first holds have expired, and all is warm.
        thread::sleep(Duration::from_secs(hold_seconds.min(5) + 3));
        let (before, started) = (Seen::now(ops), Instant::now());
        let processor = processor_seconds(server.as_ref());
        thread::sleep(time);
        let (after, took) = (Seen::now(ops), started.elapsed().as_secs_f64());
        let processor_after = processor_seconds(server.as_ref());
        stop.store(true, Ordering::Relaxed);
        let sent = batches.join().expect("batches are answered");
        let mut latencies = singles.join().expect("requests are answered");
        latencies.sort_unstable();
        let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize].as_micros();
        println!(
            "{kind:<9} holds of {hold_seconds:>3} s: offered {reserves_per_second} reserves/s, answered {:.0}/s; \
             {:.0} rows/s into the store; behind by {:.1} MB at the start and {:.1} MB at the end ({:.1} s)",
            sent as f64 / (took + hold_seconds.min(5) as f64 + 3.0),
            (after.rows - before.rows) / took,
            before.backlog_bytes / 1e6,
            after.backlog_bytes / 1e6,
            after.lag_seconds,
        );
        println!(
            "          single reserves beside: {} of them, p50 {} µs, p99 {} µs; processor: service {:.2}, its store \
             thread {:.2}, database {:.2} cores",
            latencies.len(),
            at(0.5),
            at(0.99),
            (processor_after[0] - processor[0]) / took,
            (processor_after[1] - processor[1]) / took,
            (processor_after[2] - processor[2]) / took,
        );
    });
    running.stop().expect("an orderly end");
}

/// What the service says of its store.
struct Seen {
    rows: f64,
    backlog_bytes: f64,
    lag_seconds: f64,
}

impl Seen {
    fn now(ops: SocketAddr) -> Self {
        let text = Client::connect(ops).get("/metrics");
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect("a metric");
            line.rsplit_once(' ').expect("a value").1.parse().expect("a number")
        };
        Self {
            rows: value("doorbuster_store_rows_total"),
            backlog_bytes: value("doorbuster_store_backlog_bytes"),
            lag_seconds: value("doorbuster_store_lag_seconds"),
        }
    }
}

/// Sends batches at the pace that was asked for; says how many reservations were answered.
fn send_batches(address: SocketAddr, reserves_per_second: u64, stop: &AtomicBool) -> u64 {
    let mut client = Client::connect(address);
    let interval = Duration::from_secs_f64(ENTRIES as f64 / reserves_per_second as f64);
    let (mut customer, mut next) = (0, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let entry = |customer| format!(r#"{{"customer":"customer-{customer}","lines":[{{"sku":"tv","quantity":1}}]}}"#);
        let entries: Vec<String> = (customer..customer + ENTRIES).map(entry).collect();
        let body = format!("{{\"reservations\":[{}]}}", entries.join(","));
        let (status, _) = client.send(&request("POST", "/v1/sales/bench/reservations/batch", &body));
        assert_eq!(status, 200);
        customer += ENTRIES;
        next += interval;
        match next.checked_duration_since(Instant::now()) {
            Some(left) => thread::sleep(left),
            // Not what was offered: the service, or this program beside it, cannot do it.
            None => next = Instant::now(),
        }
    }
    customer
}

fn single_requests(address: SocketAddr, stop: &AtomicBool) -> Vec<Duration> {
    let mut client = Client::connect(address);
    let mut latencies = Vec::new();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = format!(r#"{{"customer":"single-{number}","lines":[{{"sku":"tv","quantity":1}}]}}"#);
        let request = request("POST", "/v1/sales/bench/reservations", &body);
        let sent = Instant::now();
        assert_eq!(client.send(&request).0, 201);
        latencies.push(sent.elapsed());
        thread::sleep(PACE);
    }
    latencies
}

/// Seconds of the processor that were taken by this process, by its store's thread, and by the database.
fn processor_seconds(server: Option<&Server>) -> [f64; 3] {
    let database: f64 = server.map_or(0.0, |server| server.processes().iter().map(|id| of_process(*id)).sum());
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let store =
        tasks.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "store"));
    [of_process(std::process::id()), store.map(|task| of_stat(&task.path().join("stat"))).sum(), database]
}

fn of_process(id: u32) -> f64 {
    of_stat(Path::new(&format!("/proc/{id}/stat")))
}

/// utime and stime, in ticks of a hundredth of a second, stand twelve fields behind the name.
fn of_stat(path: &Path) -> f64 {
    let stat = std::fs::read_to_string(path).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
