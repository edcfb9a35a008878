//! Few open files and a crowd that wants them all: the durable path has its own, probes answer, and callers past the rest are
//! answered.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;

use crate::served::{
    Client,
    batches::batch,
    metrics::Scrape,
    process::{Ended, Process, serve_in_shell},
    wait_until,
};

const PATIENCE: Duration = Duration::from_secs(20);

const ENTRIES: usize = 2000;

fn settings() -> Vec<(&'static str, String)> {
    let settings = [
        ("journal.segment_bytes", 1 << 20),
        ("snapshot.journal_bytes", 1 << 20),
        ("server.workers", 2),
        ("engine.shards", 4),
    ];
    settings.into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

fn start_with(files: u64, data: &Path) -> Result<Process, Ended> {
    Process::launch(serve_in_shell(&format!("ulimit -n {files}"), data, &settings()), data)
}

fn metric<const N: usize>(process: &Process, name: &str, labels: [(&str, &str); N]) -> f64 {
    Scrape::parse(process.ops().get("/metrics").text()).value(name, labels)
}

/// Stops the crowd, however the test ends.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Connects, and reads what it is told without having asked: a refusal, or nothing for as long as it may stay.
fn reconnect(api: SocketAddr, refused: &AtomicU64) {
    let Ok(mut stream) = TcpStream::connect(api) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let mut answer = [0; 12];
    if stream.read_exact(&mut answer).is_ok() && answer == *b"HTTP/1.1 503" {
        refused.fetch_add(1, Ordering::Relaxed);
    }
}

#[track_caller]
fn serves_a_crowd_with(files: u64) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut process = start_with(files, &data).expect("it serves");
    assert!(process.log().contains(&format!("may open {files}")), "{}", process.log());
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 1_000_000)]);
    let (api, mut batches) = (process.api, Client::unchecked(process.api));
    batches.get("/v1/sales");
    let (stop, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let idle: Vec<_> = (0..files + 50).filter_map(|_| TcpStream::connect(api).ok()).collect();
    let made = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    reconnect(api, &refused);
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        let mut made = 0;
        // Several segments, and a snapshot, while the crowd is there.
        while metric(&process, "doorbuster_journal_bytes_total", []) < f64::from(4 << 20) {
            let entries: Vec<_> = (0..ENTRIES)
                .map(|entry| json!({ "customer": format!("c{made}-{entry}"), "lines": [{ "sku": "tv", "quantity": 1 }] }))
                .collect();
            // Checked by others, and here there are many.
            let answer = batches.send(&batch("drop", entries)).success(200);
            client.act(&answer["results"][0]["reservation"], "confirm", json!({})).reservation(200);
            made += 1;
            assert_eq!(process.ops().get("/livez").status, 200);
            assert_eq!(process.ops().get("/readyz").status, 200);
        }
        wait_until("a snapshot is taken", || metric(&process, "doorbuster_snapshots_total", []) > 0.0);
        wait_until("the store follows", || metric(&process, "doorbuster_store_lag_epochs", []) == 0.0);
        wait_until("callers past the rest are answered", || refused.load(Ordering::Relaxed) > 0);
        made
    });
    let served = metric(&process, "doorbuster_limit", [("limit", "limits.connections_max")]);
    assert!(served < files as f64 && (idle.len() as f64) > served, "{served} of {files}");
    let log = process.log();
    assert!(!log.contains("could not accept") && !log.contains("ERROR"), "{log}");
    assert_eq!(
        client.units("drop", "tv"),
        [1_000_000, 1_000_000 - made * ENTRIES as u64, made * (ENTRIES as u64 - 1), made]
    );
    process.terminate();
    assert_eq!(process.wait(PATIENCE).code(), Some(0), "{}", process.log());
}

#[test]
fn a_crowd_leaves_the_journal_its_files() {
    for files in [64, 128, 256] {
        serves_a_crowd_with(files);
    }
}

#[test]
fn too_few_files_to_serve_at_all_are_refused_with_the_number_that_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let Err(ended) = start_with(24, &data) else { panic!("it serves") };
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let needed = ended.stderr.split("needs at least ").nth(1).and_then(|rest| rest.split([' ', ',']).next());
    let needed: u64 = needed.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{}", ended.stderr));
    assert!(!data.exists(), "nothing was made");
    let mut process = start_with(needed, &data).expect("that many are enough");
    process.client().put_open_sale("drop", [("tv", 1)]);
    assert!(start_with(needed - 1, &directory.path().join("other")).is_err());
    process.terminate();
    assert_eq!(process.wait(PATIENCE).code(), Some(0), "{}", process.log());
}
