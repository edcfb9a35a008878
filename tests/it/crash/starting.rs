//! Signals while the service starts: none is lost, none kills, and a start may be cut off anywhere.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::served::{
    batches::batch,
    process::{Process, serve},
    wait_until,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// SIGHUP, SIGINT and SIGTERM in a mask of `/proc/PID/status`.
const TAKEN: u64 = 1 | 1 << 1 | 1 << 14;

fn small() -> Vec<(&'static str, String)> {
    let settings = [("journal.segment_bytes", 1 << 20), ("engine.shards", 4), ("server.workers", 2)];
    settings.into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

/// The signals that a process takes itself. Without a handler, process 1 of a container loses them and others are killed.
fn taken(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
    u64::from_str_radix(mask.trim(), 16).unwrap()
}

fn wait_for_handlers(child: &Child) {
    let started = Instant::now();
    while taken(child.id()) & TAKEN != TAKEN {
        assert!(started.elapsed() < PATIENCE, "signals are not taken while the service starts");
        thread::yield_now();
    }
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

fn spawn(mut command: Command, log: &Path) -> Child {
    let stderr = File::options().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
}

#[track_caller]
fn ends_with_0(mut child: Child, log: &Path) {
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("still there: {}", fs::read_to_string(log).unwrap());
        }
        thread::sleep(Duration::from_millis(2));
    };
    assert_eq!(status.code(), Some(0), "{status}: {}", fs::read_to_string(log).unwrap());
}

#[test]
fn a_start_that_takes_for_ever_is_ended_by_sigterm_and_not_by_sighup() {
    let directory = tempfile::tempdir().unwrap();
    let (data, log, pipe) =
        (directory.path().join("data"), directory.path().join("log"), directory.path().join("certificate.pem"));
    // Nobody ever writes into it, so the start waits for a certificate.
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for signal in ["TERM", "INT"] {
        let mut settings = small();
        let file = pipe.to_str().unwrap().to_owned();
        settings.extend([("tls.certificate_file", file.clone()), ("tls.key_file", file)]);
        let mut child = spawn(serve(&data, &settings), &log);
        wait_for_handlers(&child);
        send(&child, "HUP");
        thread::sleep(Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none(), "a SIGHUP ended it: {}", fs::read_to_string(&log).unwrap());
        send(&child, signal);
        ends_with_0(child, &log);
    }
}

#[test]
fn a_recovery_is_cut_off_anywhere_and_the_next_one_finds_everything() {
    const BATCHES: u64 = 5;
    const ENTRIES: u64 = 4000;
    let directory = tempfile::tempdir().unwrap();
    let (data, log) = (directory.path().join("data"), directory.path().join("log"));
    let mut process = Process::start(&data, &small());
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 1_000_000)]);
    for number in 0..BATCHES {
        let entries: Vec<_> = (0..ENTRIES)
            .map(
                |entry| json!({ "customer": format!("c-{number}-{entry}"), "lines": [{ "sku": "tv", "quantity": 1 }] }),
            )
            .collect();
        assert_eq!(client.send(&batch("drop", entries)).status, 200);
    }
    process.kill();
    // From the first moment to when it serves.
    for millis in [0, 1, 3, 10, 30, 60, 100, 150] {
        let child = spawn(serve(&data, &small()), &log);
        wait_for_handlers(&child);
        thread::sleep(Duration::from_millis(millis));
        send(&child, "TERM");
        ends_with_0(child, &log);
    }
    let process = Process::start(&data, &small());
    assert_eq!(process.client().units("drop", "tv")[2], BATCHES * ENTRIES);
}

#[test]
fn a_hang_up_while_starting_is_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let (data, log) = (directory.path().join("data"), directory.path().join("log"));
    let child = spawn(serve(&data, &small()), &log);
    wait_for_handlers(&child);
    send(&child, "HUP");
    let text = || fs::read_to_string(&log).unwrap();
    wait_until("it is taken up", || text().contains("SIGHUP"));
    assert!(text().contains("listening on"), "{}", text());
    send(&child, "TERM");
    ends_with_0(child, &log);
}

#[test]
fn commands_that_do_not_serve_are_ended_by_signals() {
    use std::os::unix::process::ExitStatusExt;
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("doorbuster.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    command.arg("check-config").arg("--config").arg(&pipe).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    assert_eq!(taken(child.id()) & TAKEN, 0);
    send(&child, "TERM");
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}
