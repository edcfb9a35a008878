//! What supervisors rely on beside exit codes: the limit of open files, and the question whether the service is well.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use crate::served::process::{Process, serve, serve_in_shell, without_environment};

const PATIENCE: Duration = Duration::from_secs(20);

fn connections(most: usize) -> Vec<(&'static str, String)> {
    let settings = [("journal.segment_bytes", 1 << 20), ("limits.connections_max", most), ("server.workers", 2)];
    settings.into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

/// The soft and the hard limit of open files that the process has.
fn open_files(process: &Process) -> (u64, u64) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("the limit is there");
    let mut values = line.split_whitespace().map(|value| value.parse().expect("a number"));
    (values.next().unwrap(), values.next().unwrap())
}

fn start_within(soft: u64, hard: u64, most: usize, data: &Path) -> Process {
    let command = serve_in_shell(&format!("ulimit -Sn {soft}; ulimit -Hn {hard}"), data, &connections(most));
    Process::launch(command, data).expect("it serves")
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_goes_and_a_shortage_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let process = start_within(300, 900, 100, &data);
    assert_eq!(open_files(&process), (900, 900), "100 connections need more than 300 files");
    assert!(!process.log().contains("open files"), "and 900 are enough:\n{}", process.log());
    drop(process);

    let process = start_within(300, 900, 1000, &data);
    assert_eq!(open_files(&process), (900, 900));
    let log = process.log();
    assert!(log.contains("limits.connections_max = 1000") && log.contains("may open 900"), "{log}");
    drop(process);

    let process = start_within(880, 900, 100, &data);
    assert_eq!(open_files(&process), (880, 900), "what is enough is left as it is");
}

#[test]
fn systemd_is_told_when_requests_are_taken_and_when_no_more_are() {
    let directory = tempfile::tempdir().unwrap();
    let (data, path) = (directory.path().join("data"), directory.path().join("notify"));
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).expect("systemd is told");
        String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned()
    };
    let mut command = serve(&data, &connections(100));
    command.env("NOTIFY_SOCKET", &path);
    let mut process = Process::launch(command, &data).expect("it serves");
    assert_eq!(told(), "READY=1");
    process.terminate();
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(process.wait(PATIENCE).code(), Some(0));

    let mut command = serve(&data, &connections(0));
    command.env("NOTIFY_SOCKET", &path);
    assert!(Process::launch(command, &data).is_err(), "no connection at all is refused");
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 1]).is_err(), "and nothing was told of it");
}

fn health(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    without_environment(&mut command);
    command.arg("health").args(arguments).output().expect("the binary")
}

#[test]
fn health_is_0_while_the_service_takes_requests_and_1_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut process = Process::start(&data, &connections(100));
    let ops = process.ops.to_string();
    let asked = health(&["--ops-listen", &ops]);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    assert!(String::from_utf8_lossy(&asked.stdout).contains("\"status\":\"ready\""), "{asked:?}");
    assert_eq!(health(&["--ops-listen", &ops, "--live"]).stdout, b"alive\n");

    let file = directory.path().join("doorbuster.toml");
    fs::write(&file, format!("[server]\nops_listen = \"0.0.0.0:{}\"\n", process.ops.port())).unwrap();
    let asked = health(&["--config", file.to_str().unwrap()]);
    assert_eq!(asked.status.code(), Some(0), "the configuration says where: {asked:?}");

    process.terminate();
    assert_eq!(process.wait(PATIENCE).code(), Some(0));
    let asked = health(&["--ops-listen", &ops]);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    assert!(String::from_utf8_lossy(&asked.stderr).contains(&ops), "it says whom it asked: {asked:?}");
    assert_eq!(health(&["--ops-listen", "nowhere"]).status.code(), Some(2));
}
