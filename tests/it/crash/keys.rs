//! Keys from the command that makes them to the running binary that knows them, and that forgets them in time.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::served::{Ask, metrics::Scrape, process::Process, wait_until};

/// As promised: a key that was removed stops working within this time.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(1);

/// A key, and the line of the configuration that the command printed with it.
fn make(arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_doorbuster")).args(["keys", "new"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let [key, line] = text.lines().collect::<Vec<_>>()[..] else { panic!("two lines, not {text:?}") };
    assert!(key.starts_with("db_") && !line.contains(&key[4..]), "{text}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains(key), "the key is told once");
    (key.to_owned(), line.to_owned())
}

fn write(file: &Path, lines: &[&str]) {
    write_whole(file, &format!("[server]\nlisten = \"0.0.0.0:0\"\n[auth.keys]\n{}\n", lines.join("\n")));
}

fn write_whole(file: &Path, text: &str) {
    // As editors and orchestrators do it: another file in its place.
    let next = file.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(&next, file).unwrap();
}

fn status(process: &Process, key: &str) -> u16 {
    let ask = Ask::new("GET", "/v1/sales").header("Authorization", &format!("Bearer {key}"));
    process.client().send(&ask).status
}

/// Serves on all addresses, which takes keys.
fn start(data: &Path, file: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    command.arg("serve").arg("--data").arg(data).arg("--config").arg(file).args(["--ops-listen", "127.0.0.1:0"]);
    Process::launch(command, data).unwrap_or_else(|ended| panic!("does not serve: {ended:?}"))
}

#[test]
fn keys_are_read_anew_and_forgotten_within_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let (data, file) = (directory.path().join("data"), directory.path().join("doorbuster.toml"));
    let (first, first_line) = make(&["--name", "first", "--role", "operator"]);
    let (second, second_line) = make(&["--name", "second", "--role", "viewer", "--sales", "a-*", "--sales", "b"]);
    assert_ne!(first, second);
    write(&file, &[&first_line]);
    let process = start(&data, &file);
    assert_eq!((status(&process, &first), status(&process, &second)), (200, 401));

    write(&file, &[&first_line, &second_line]);
    wait_until("the second key works", || status(&process, &second) == 200);

    // What cannot be used changes nothing, and says so.
    write(&file, &["broken"]);
    wait_until("the mistake is told", || process.log().contains("the previous keys stay in force"));
    assert_eq!((status(&process, &first), status(&process, &second)), (200, 200));

    let mut took = Vec::new();
    // A machine that is busy with something else may delay one look at the file, but not each.
    while took.last().is_none_or(|took| *took >= FORGOTTEN_WITHIN) {
        assert!(took.len() < 10, "{took:?}");
        write(&file, &[&first_line, &second_line]);
        wait_until("the first key works", || status(&process, &first) == 200);
        let removed = Instant::now();
        write(&file, &[&second_line]);
        wait_until("the first key is forgotten", || status(&process, &first) == 401);
        took.push(removed.elapsed());
        assert_eq!(status(&process, &second), 200);
    }

    // The last one too, on purpose: then nobody is let in.
    write_whole(&file, "[server]\nlisten = \"0.0.0.0:0\"\n[auth]\nrequired = true\n");
    wait_until("the last key is forgotten", || status(&process, &second) == 401);
    assert_eq!(process.client().get("/v1/sales").status, 401);
    assert!(!process.log().contains(&first) && !process.log().contains(&second), "a key is in the log");
}

/// Refused reloads so far, and whether the last one was.
fn refused(process: &Process) -> (f64, f64) {
    let scrape = Scrape::parse(process.ops().get("/metrics").text());
    let refused = scrape.value("doorbuster_config_reloads_total", [("outcome", "refused")]);
    (refused, scrape.value("doorbuster_config_reload_failed", []))
}

#[test]
fn a_file_that_takes_all_keys_away_without_saying_so_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (data, file) = (directory.path().join("data"), directory.path().join("doorbuster.toml"));
    let (key, line) = make(&["--name", "eu", "--role", "operator"]);
    write(&file, &[&line]);
    let process = start(&data, &file);
    let whole = fs::read_to_string(&file).unwrap();
    let cut_off = whole.find("eu = ").unwrap();
    let in_the_key = whole.find("hash = ").unwrap() + 20;
    let broken = ["", "\n# nothing yet\n", &whole[..cut_off], &whole[..in_the_key], "[auth]\nrequired = 1\n", "\u{0}"];
    for text in broken {
        let before = refused(&process).0;
        // In place, as a shell's redirection does it: the file is empty first.
        fs::write(&file, text).unwrap();
        wait_until("the refusal shows", || refused(&process).0 > before);
        assert_eq!(refused(&process).1, 1.0);
        assert_eq!(status(&process, &key), 200, "{text:?}");
        assert_eq!(process.client().get("/v1/sales").status, 401, "{text:?}");
    }
    // A SIGHUP does not force it.
    let before = refused(&process).0;
    process.signal("HUP");
    wait_until("it is refused again", || refused(&process).0 > before);
    fs::write(&file, &whole).unwrap();
    wait_until("the file is in order", || refused(&process).1 == 0.0);
    assert_eq!(status(&process, &key), 200);
    let log = process.log();
    assert!(log.contains("no longer has any keys") && log.contains("auth") && !log.contains(&key), "{log}");
}

#[test]
fn a_file_is_not_read_while_it_is_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let (data, file) = (directory.path().join("data"), directory.path().join("doorbuster.toml"));
    let (first, first_line) = make(&["--name", "first", "--role", "operator"]);
    let (second, second_line) = make(&["--name", "second", "--role", "operator"]);
    write(&file, &[&first_line, &second_line]);
    let process = start(&data, &file);
    // Written again and again with one key only, which parses, and in the end with both.
    let halfway = format!("[server]\nlisten = \"0.0.0.0:0\"\n[auth.keys]\n{first_line}\n");
    let (mut written, mut comment) = (Instant::now(), 0);
    while comment < 50 {
        comment += 1;
        fs::write(&file, format!("{halfway}# {}\n", "x".repeat(comment))).unwrap();
        let known = status(&process, &second) == 200;
        if written.elapsed() > Duration::from_millis(90) {
            // The machine held the writer up for so long that the file was at rest.
            break;
        }
        assert!(known, "half a file was read");
        written = Instant::now();
        std::thread::sleep(Duration::from_millis(20));
    }
    write(&file, &[&first_line, &second_line]);
    wait_until("both are known", || (status(&process, &first), status(&process, &second)) == (200, 200));
    assert_eq!(refused(&process), (0.0, 0.0));
}

#[test]
fn where_keys_are_required_nobody_is_let_in_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let (data, file) = (directory.path().join("data"), directory.path().join("doorbuster.toml"));
    write_whole(&file, "[server]\nlisten = \"0.0.0.0:0\"\n[auth]\nrequired = true\n");
    let process = start(&data, &file);
    assert_eq!(process.client().get("/v1/sales").status, 401);
    let (key, line) = make(&["--name", "eu", "--role", "operator"]);
    write(&file, &[&line]);
    wait_until("the first key works", || status(&process, &key) == 200);
    assert_eq!(process.client().get("/v1/sales").status, 401);
}

#[test]
fn a_hang_up_reads_keys_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (data, file) = (directory.path().join("data"), directory.path().join("doorbuster.toml"));
    let (key, line) = make(&["--name", "eu", "--role", "checkout"]);
    write(&file, &[&line]);
    let process = start(&data, &file);
    process.signal("HUP");
    wait_until("the signal is handled", || process.log().contains("SIGHUP"));
    assert_eq!(status(&process, &key), 200);
}

#[test]
fn a_key_needs_a_name_and_a_role_that_exist() {
    for arguments in [
        &["--name", "x"][..],
        &["--role", "viewer"],
        &["--name", "x", "--role", "king"],
        &["--name", "X y", "--role", "viewer"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
        let status = command.args(["keys", "new"]).args(arguments).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
}
