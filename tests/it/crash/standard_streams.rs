//! Nobody who reads standard error or standard output, or does not, holds the service up: it answers, commits and ends.

use std::{
    fs::File,
    io::{PipeReader, Read, Write, pipe},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::served::{
    Client,
    metrics::Scrape,
    process::{Process, serve, without_environment},
    wait_until,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// What a pipe takes before its writer waits.
const PIPE_BYTES: usize = 65_536;

/// Clients that reserve, and reserves of each.
const CLIENTS: usize = 4;
const RESERVES: usize = 50;

/// Connections beyond the limit: each is a line of the log, and together they are more than the queue takes.
const REFUSED: usize = 1200;

fn full_device() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe that takes no more; its reader must be kept, and does not read.
fn full_pipe() -> (Stdio, PipeReader) {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&[b'.'; PIPE_BYTES]).unwrap();
    (writer.into(), reader)
}

fn closed_pipe() -> Stdio {
    pipe().unwrap().1.into()
}

fn settings(queue_bytes: usize) -> Vec<(&'static str, String)> {
    let settings = [
        ("journal.segment_bytes", 1 << 20),
        ("engine.shards", 2),
        ("server.workers", 2),
        // One more than there are: whoever asked for the document before may still be on the way out.
        ("limits.connections_max", CLIENTS + 2),
        ("log.queue_bytes_max", queue_bytes),
        ("log.request_lines_per_second_max", 10_000),
    ];
    settings.into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

fn dropped(process: &Process) -> f64 {
    let answer = process.ops().get("/metrics");
    Scrape::parse(answer.text()).value("doorbuster_log_lines_dropped_total", [])
}

/// A connection past the limit is answered, and is a line of the log.
fn be_refused(api: SocketAddr) {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(api) {
        // One of them may find a place, and is told nothing.
        let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
        let _ = stream.read_to_end(&mut answer);
    }
}

/// Serves with this standard error under load: every request is answered, and lines are counted where they are lost.
#[track_caller]
fn serves_with(stderr: Stdio, told_in_all: bool) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let settings = settings(if told_in_all { 1 << 20 } else { 65_536 });
    let mut process = Process::launch_with_stderr(serve(&data, &settings), &data, stderr).expect("it serves");
    let mut operator = process.client();
    operator.put_open_sale("drop", [("tv", 1_000_000)]);
    let api = process.api;
    let mut connections: Vec<_> = (0..CLIENTS).map(|_| process.client()).collect();
    for (client, connection) in connections.iter_mut().enumerate() {
        connection.hold("drop", &format!("customer-{client}"), [("tv", 1)]);
    }
    thread::scope(|scope| {
        for (client, connection) in connections.iter_mut().enumerate() {
            scope.spawn(move || {
                for number in 1..RESERVES {
                    connection.hold("drop", &format!("customer-{client}-{number}"), [("tv", 1)]);
                    for _ in 0..REFUSED / CLIENTS / RESERVES {
                        be_refused(api);
                    }
                }
            });
        }
    });
    assert_eq!(operator.units("drop", "tv")[2], (CLIENTS * RESERVES) as u64);
    assert_eq!(process.ops().get("/readyz").status, 200);
    if told_in_all {
        assert_eq!(dropped(&process), 0.0);
    } else {
        wait_until("lost lines are counted", || dropped(&process) > 0.0);
    }
    process.terminate();
    assert_eq!(process.wait(PATIENCE).code(), Some(0));
    let process = Process::start(&data, &settings);
    assert_eq!(process.client().units("drop", "tv")[2], (CLIENTS * RESERVES) as u64, "nothing is lost");
}

#[test]
fn a_full_disk_under_the_log_costs_lines_and_nothing_else() {
    serves_with(full_device(), false);
}

#[test]
fn a_log_that_nobody_reads_costs_lines_and_nothing_else() {
    let (stderr, _reader) = full_pipe();
    serves_with(stderr, false);
}

#[test]
fn a_log_whose_reader_is_gone_costs_lines_and_nothing_else() {
    serves_with(closed_pipe(), false);
}

#[test]
fn a_log_that_is_read_loses_no_line_and_has_the_last_ones() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    serves_with(File::create(&log).unwrap().into(), true);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.matches("a connection was refused").count() >= REFUSED / 2, "{text}");
    assert!(text.contains("SIGTERM: stopping") && text.contains("snapshot taken"), "{text}");
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Runs the command on these ports with a standard output that takes nothing, until it is told to end.
#[track_caller]
fn runs_without_output(arguments: &[&str], data: &Path, stdout: Stdio) {
    let (api, ops) = (free_address(), free_address());
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    without_environment(&mut command);
    command.args(arguments).arg("--data").arg(data);
    command.args(["--listen", &api.to_string(), "--ops-listen", &ops.to_string()]);
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
    let mut process = Process::adopt(command.spawn().unwrap(), api, ops, data);
    let is_ready = || TcpStream::connect(ops).is_ok() && Client::unchecked(ops).get("/readyz").status == 200;
    wait_until("it is ready", is_ready);
    process.terminate();
    assert_eq!(process.wait(PATIENCE).code(), Some(0), "{arguments:?}");
}

#[test]
fn whoever_does_not_read_where_it_listens_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let (stuck, _reader) = full_pipe();
    for stdout in [full_device(), closed_pipe(), stuck] {
        runs_without_output(&["serve"], &data, stdout);
    }
}

#[test]
fn the_demo_ends_though_nobody_reads_what_it_prints() {
    let directory = tempfile::tempdir().unwrap();
    let (stuck, _reader) = full_pipe();
    for (number, stdout) in [stuck, closed_pipe()].into_iter().enumerate() {
        let data = directory.path().join(number.to_string());
        runs_without_output(&["demo", "--shoppers", "50", "--units", "10"], &data, stdout);
    }
}
