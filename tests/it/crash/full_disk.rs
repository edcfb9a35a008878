//! A disk that fills up: new reservations are refused while there is room left for confirms and releases, nothing is lost, and
//! all goes on by itself once there is room.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::served::{Ask, batches::outcomes, metrics::Scrape, process::Process, reserve_body, wait_until};

const MIB: u64 = 1 << 20;

/// A file system of its own, unmounted in the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where mounting is not permitted.
    fn mount(at: &Path, mebibytes: u64) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let size = format!("size={mebibytes}m,mode=777");
        let mount = ["-t", "tmpfs", "-o", &size, "none"];
        let is_root = rustix::process::geteuid().is_root();
        let mut command = Command::new(if is_root { "mount" } else { "sudo" });
        if !is_root {
            command.args(["-n", "mount"]);
        }
        let mounted = command.args(mount).arg(at).output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    fn available(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.0).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Somebody's file that leaves only so many bytes; 0: not one.
    fn fill(&self, leave: u64) {
        let mut file = File::options().create(true).append(true).open(self.0.join("ballast")).unwrap();
        let mut piece = vec![0; 64 << 10];
        while !piece.is_empty() && self.available() > leave {
            let most = usize::try_from(self.available() - leave).unwrap().min(piece.len());
            if file.write_all(&piece[..most]).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let is_root = rustix::process::geteuid().is_root();
        let mut command = Command::new(if is_root { "umount" } else { "sudo" });
        if !is_root {
            command.args(["-n", "umount"]);
        }
        let _ = command.arg("-l").arg(&self.0).status();
    }
}

fn journal(process: &Process) -> Value {
    let ready = process.ops().get("/readyz");
    assert_eq!(ready.status, 200, "a disk that is nearly full is no reason to take no requests: {}", ready.text());
    ready.json()["journal"].clone()
}

fn store(process: &Process) -> Value {
    process.ops().get("/readyz").json()["store"].clone()
}

#[test]
fn a_disk_that_fills_refuses_reserves_alone_and_goes_on_when_it_has_room() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let Some(disk) = SmallDisk::mount(&data, 64) else {
        return println!("skipped: a small file system cannot be mounted here");
    };
    let settings = [
        ("journal.segment_bytes", MIB.to_string()),
        ("journal.max_backlog_bytes", (2 * MIB).to_string()),
        ("journal.disk_reserve_bytes", (16 * MIB).to_string()),
        ("store.retry_ms_max", "200".to_owned()),
        ("engine.shards", "2".to_owned()),
    ];
    let mut process = Process::start(&data, &settings);
    let mut client = process.client();
    client.put_open_sale("drop", [("tv", 10_000)]);
    let held: Vec<Value> = (0..60).map(|number| client.hold("drop", &format!("c{number}"), [("tv", 1)])).collect();
    let ask = Ask::new("POST", "/v1/sales/drop/reservations").key("k").json(&reserve_body("kim", [("tv", 1)]));
    client.send(&ask).reservation(201);
    assert_eq!(
        (&journal(&process)["disk_low"], &journal(&process)["disk_reserve_bytes"]),
        (&json!(false), &json!(16 * MIB))
    );

    // Somebody fills the disk, and leaves a part of the reserve.
    disk.fill(8 * MIB);
    wait_until("it is noticed", || journal(&process)["disk_low"] == true);
    wait_until("the status says so", || client.get("/v1/status").json()["service"]["disk_low"] == true);
    client.reserve("drop", "zoe", [("tv", 1)]).refused("disk_low");
    assert_eq!(outcomes(&client.batch("drop", &[reserve_body("zoe", [("tv", 1)])])), ["disk_low"]);
    assert!(client.send(&ask).is_replayed(), "a repeat is no new reservation");
    client.act(&held[0], "confirm", json!({ "reference": "o-0" })).reservation(200);
    client.act(&held[1], "release", json!({})).reservation(200);
    client.act(&held[2], "extend", json!({ "hold_seconds": 700 })).reservation(200);
    client.post("/v1/sales/drop/items/tv/adjustments", &json!({ "delta": 5 })).success(201);
    client.post_nothing("/v1/sales/drop/pause").success(200);
    client.post_nothing("/v1/sales/drop/resume").success(200);
    let told = journal(&process);
    assert_eq!(told["disk_low"], true, "{told}");
    assert!(told["disk_available_bytes"].as_u64().unwrap() < 16 * MIB, "{told}");
    let page = client.get("/problems/disk-low");
    assert_eq!(page.status, 200);
    let scrape = Scrape::parse(process.ops().get("/metrics").text());
    assert_eq!(scrape.value("doorbuster_journal_disk_low", []), 1.0);
    assert_eq!(scrape.value("doorbuster_journal_disk_reserve_bytes", []), (16 * MIB) as f64);

    // Until not a byte is left: what was made in advance still takes confirms and releases.
    disk.fill(0);
    for (number, hold) in held.iter().enumerate().skip(10).take(20) {
        client.act(hold, "confirm", json!({ "reference": format!("o-{number}") })).reservation(200);
    }
    for hold in &held[30..40] {
        client.act(hold, "release", json!({})).reservation(200);
    }
    let known: Vec<Value> = held.iter().map(|hold| client.look(hold)).collect();
    let units = client.units("drop", "tv");
    assert_eq!(units, [10_005, 9_955, 29, 21]);

    // With kill -9 nothing is lost, and it starts on the full disk.
    process.kill();
    let mut process = Process::start(&data, &settings);
    let mut client = process.client();
    for hold in &known {
        assert_eq!(client.look(hold), *hold);
    }
    assert_eq!(client.units("drop", "tv"), units);
    client.reserve("drop", "zoe", [("tv", 1)]).refused("disk_low");
    client.act(&held[40], "confirm", json!({})).reservation(200);

    disk.free();
    wait_until("reserves are taken again", || client.reserve("drop", "zoe", [("tv", 1)]).status == 201);
    wait_until("the store has everything", || {
        let store = store(&process);
        store["state"] == "following" && store["lag_epochs"] == 0
    });
    let log = process.log();
    for words in ["nearly full", "disk_low", "has enough space again"] {
        assert!(log.contains(words), "{words} is not in:\n{log}");
    }
    process.terminate();
    assert_eq!(process.wait(crate::served::PATIENCE).code(), Some(0));
}
