//! How the program ends, and what it says then: exit codes and messages, for supervisors and for people.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use crate::served::{
    Ask,
    documents::address,
    open_sale,
    process::{Ended, Process, serve, serve_in_shell, without_environment},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn small() -> Vec<(&'static str, String)> {
    vec![("journal.segment_bytes", (1 << 20).to_string()), ("engine.shards", "2".to_owned())]
}

/// A start that must not succeed.
#[track_caller]
fn refused(data: &Path, settings: &[(&str, String)]) -> Ended {
    match Process::launch(serve(data, settings), data) {
        Ok(_) => panic!("it serves"),
        Err(ended) => ended,
    }
}

/// It ended with this code, said these words, and did not panic.
#[track_caller]
fn assert_says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is not in:\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn a_second_process_on_the_same_directory_ends_with_5() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let process = Process::start(&data, &small());
    process.client().put_open_sale("drop", [("tv", 10)]);
    let ended = refused(&data, &small());
    assert_says(&ended, 5, &[data.to_str().unwrap(), "in use"]);
    process.client().hold("drop", "ann", [("tv", 1)]);
    drop(process);
    let process = Process::start(&data, &small());
    assert_eq!(process.client().units("drop", "tv"), [10, 9, 1, 0], "and nothing of it was touched");
}

#[test]
fn a_bad_configuration_ends_with_2_and_names_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let with_setting = |key: &'static str, value: &str| {
        let mut settings = small();
        settings.push((key, value.to_owned()));
        refused(&data, &settings)
    };
    assert_says(
        &with_setting("journal.flsh_ms", "5"),
        2,
        &["DOORBUSTER_JOURNAL__FLSH_MS", "DOORBUSTER_JOURNAL__FLUSH_MS"],
    );
    assert_says(&with_setting("journal.flush_ms", "0"), 2, &["journal.flush_ms", "1 to 1000"]);
    assert_says(&with_setting("journal.ack", "maybe"), 2, &["journal.ack", "durable", "buffered"]);
    assert_says(&with_setting("nothing.here", "1"), 2, &["DOORBUSTER_NOTHING__HERE"]);
    let levels = "off, error, warn, info, debug, trace";
    assert_says(&with_setting("log.level", "loud"), 2, &["log.level", levels, "\"loud\""]);
    assert_says(
        &with_setting("log.level", "info,doorbuster::stor=debug"),
        2,
        &["log.level", "doorbuster::stor", "store"],
    );
    assert_says(&with_setting("auth.required", "maybe"), 2, &["auth.required", "true or false"]);
    assert_says(&with_setting("tracing.otlp_endpoint", "http://127.0.0.1:0"), 2, &["tracing.otlp_endpoint"]);
    assert_says(&with_setting("store.url", "postgres://app:secret@db/x?sslmode=prefer"), 2, &["store.url"]);

    let mut elsewhere = serve(&data, &small());
    elsewhere.args(["--ops-listen", "127.0.0.1:0"]);
    let ended = Process::launch(elsewhere, &data).err().expect("an option given twice is refused");
    assert_eq!(ended.code, Some(2));

    let file = directory.path().join("bad.toml");
    fs::write(&file, "[limits]\nlines_maximum = 3\n").unwrap();
    let mut configured = serve(&data, &small());
    configured.arg("--config").arg(&file);
    let ended = Process::launch(configured, &data).err().expect("refused");
    assert_says(&ended, 2, &["limits.lines_maximum", "bad.toml"]);
    assert!(!data.exists(), "nothing is made before the configuration is known to be good");
}

#[test]
fn an_address_that_others_reach_ends_with_2() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for address in ["0.0.0.0:0", "[::]:0"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_doorbuster"));
        without_environment(&mut command);
        command.arg("serve").arg("--data").arg(&data).args(["--listen", address, "--ops-listen", "127.0.0.1:0"]);
        let ended = Process::launch(command, &data).err().expect("refused");
        assert_says(&ended, 2, &["server.listen", "loopback"]);
    }
}

#[test]
fn sigterm_right_after_the_start_is_an_orderly_end() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for _ in 0..10 {
        let mut process = Process::start(&data, &small());
        process.terminate();
        assert_eq!(process.wait(PATIENCE).code(), Some(0), "{}", process.log());
    }
}

#[test]
fn an_orderly_end_leaves_a_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut process = Process::start(&data, &small());
    process.client().put_open_sale("drop", [("tv", 10)]);
    process.client().hold("drop", "ann", [("tv", 1)]);
    process.terminate();
    assert_eq!(process.wait(PATIENCE).code(), Some(0));
    assert!(journal_files(&data).iter().any(|path| name(path).contains("snapshot")), "{:?}", journal_files(&data));
    let process = Process::start(&data, &small());
    assert_eq!(process.client().units("drop", "tv"), [10, 9, 1, 0]);
}

fn journal_files(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("journal")).expect("the journal's directory");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// The first segment with what was written into it, up to its last byte that is not zero.
fn segment(data: &Path) -> (PathBuf, Vec<u8>) {
    let path = journal_files(data).into_iter().find(|path| name(path).ends_with(".seg")).expect("a segment");
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).expect("something was written") + 1
}

/// Where the next frame would begin: frames may end with zeros.
fn end_of_frames(bytes: &[u8]) -> usize {
    const HEAD_BYTES: usize = 32;
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut end = 0;
    // Each has the version of its format behind its length and its checksum.
    while number(end + 8) == 1 {
        end = (end + HEAD_BYTES + number(end) as usize).next_multiple_of(8);
    }
    end
}

/// Some reservations, and then a kill.
fn lived_through(data: &Path) {
    let mut process = Process::start(data, &small());
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 100)]);
    for number in 0..30 {
        client.hold("drop", &format!("customer-{number}"), [("tv", 1)]);
    }
    process.kill();
}

#[test]
fn damage_in_the_middle_of_the_journal_ends_with_3_and_names_the_place() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    lived_through(&data);
    let (path, good) = segment(&data);
    let half = written(&good) / 2;
    for place in [half, half + 13, 40] {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        fs::write(&path, &bad).unwrap();
        let ended = refused(&data, &small());
        assert_says(&ended, 3, &[name(&path)]);
        // `… is damaged at byte N …`: the frame that the bad byte is in starts there.
        let start = offset_in(&ended.stderr);
        assert!(start <= place && place - start < 1024, "damage at {place} is told at {start}: {}", ended.stderr);
        assert_eq!(fs::read(&path).unwrap(), bad, "what is damaged is left as it is");
        fs::remove_file(data.with_extension("log")).unwrap();
    }
    fs::write(&path, &good).unwrap();
    let process = Process::start(&data, &small());
    assert_eq!(process.client().units("drop", "tv"), [100, 70, 30, 0]);
}

/// The number in `is damaged at byte N`.
#[track_caller]
fn offset_in(message: &str) -> usize {
    let (_, rest) = message.split_once("is damaged at byte ").unwrap_or_else(|| panic!("no place in {message}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

#[test]
fn a_batch_that_a_crash_interrupted_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    lived_through(&data);
    let (path, mut bytes) = segment(&data);
    let end = end_of_frames(&bytes);
    assert!(end >= written(&bytes), "frames were followed to their end");
    // The beginning of a frame that was being written: its first bytes came to the disk, the others did not.
    let begun: Vec<u8> = bytes[..20].to_vec();
    bytes[end..end + 20].copy_from_slice(&begun);
    fs::write(&path, &bytes).unwrap();
    let process = Process::start(&data, &small());
    assert_eq!(process.client().units("drop", "tv"), [100, 70, 30, 0]);
}

#[test]
fn a_missing_segment_or_a_damaged_snapshot_ends_with_3() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut process = Process::start(&data, &small());
    process.client().put_open_sale("drop", [("tv", 10)]);
    process.client().hold("drop", "ann", [("tv", 1)]);
    process.terminate();
    assert_eq!(process.wait(PATIENCE).code(), Some(0));
    let files = journal_files(&data);
    let snapshot = files.iter().find(|path| name(path).contains("snapshot")).expect("a snapshot");
    let good = fs::read(snapshot).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(snapshot, bad).unwrap();
    assert_says(&refused(&data, &small()), 3, &[name(snapshot)]);
    fs::write(snapshot, &good).unwrap();

    let (path, segment) = segment(&data);
    fs::remove_file(&path).unwrap();
    assert_says(&refused(&data, &small()), 3, &["journal"]);
    fs::write(&path, segment).unwrap();
    assert_eq!(Process::start(&data, &small()).client().units("drop", "tv"), [10, 9, 1, 0]);
}

/// The kernel refuses files beyond a size: the journal's next segment cannot be made.
#[test]
fn a_disk_that_fails_is_told_once_and_ends_with_4() {
    // On a machine with other things to do the process may be gone before its answer has left, but not each time.
    assert!((0..5).any(|_| a_disk_fails()), "no caller is told");
}

/// Whether the caller whose change failed got its answer.
fn a_disk_fails() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // In blocks of 512 bytes: 1.25 MiB. The signal that comes with the refusal is ignored, as a full disk sends none.
    let command = serve_in_shell("ulimit -f 2560; trap '' XFSZ", &data, &small());
    let mut process = Process::launch(command, &data).expect("it serves");
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 10)]);
    let held = client.hold("drop", "ann", [("tv", 1)]);

    // One change that needs a file larger than that.
    let item = |number: u32| {
        let price = json!({ "amount": 9_007_199_254_740_991_u64, "currency": "EUR" });
        json!({ "sku": format!("{number:064}"), "initial_stock": 1_000_000_000, "price": price, "customer_limit": 1 })
    };
    let sale = open_sale((0..10_000).map(item).collect());
    assert!(sale.to_string().len() > 2560 * 512, "{} bytes are not enough", sale.to_string().len());
    let told = client.try_send(&Ask::new("PUT", "/v1/sales/large").json(&sale));
    if let Ok(answer) = &told {
        answer.refused("outcome_unknown");
    }
    // From then on nothing is acknowledged, until the process is gone.
    if let Ok(answer) = client.try_send(&Ask::new("GET", &address(&held))) {
        answer.refused("outcome_unknown");
    }
    assert_eq!(process.wait(PATIENCE).code(), Some(4), "{}", process.log());
    assert!(process.log().contains("journal"), "{}", process.log());

    let process = Process::start(&data, &small());
    let mut client = process.client();
    assert_eq!(client.look(&held), held);
    assert_eq!(client.units("drop", "tv"), [10, 9, 1, 0]);
    told.is_ok()
}
