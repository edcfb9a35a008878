//! The load test itself, short: every scenario against the service as it is, and against one that is broken on purpose by a
//! proxy in between, which breaks one guarantee at a time.

mod built;
mod proxy;

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use doorbuster_loadtest::{machine, service::Service};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    built::doorbuster,
    proxy::{Fault, Proxy},
};

const LOAD: &str = env!("CARGO_BIN_EXE_load");

const SCENARIOS: [&str; 10] = [
    "opening-bell",
    "steady-day",
    "abandoned-carts",
    "baskets",
    "double-clickers",
    "ladder",
    "operator",
    "second-thoughts",
    "waitlist",
    "group-deals",
];

/// Longer than any run here.
const PATIENCE: Duration = Duration::from_secs(120);

fn load(report: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(LOAD);
    command.args(arguments).args(["--users", "16", "--run-time", "1s", "--report"]).arg(report);
    command.env_remove("DOORBUSTER_KEY").stdin(Stdio::null());
    command
}

/// Runs it, and ends it when it hangs. Its output is small enough for a pipe.
fn run(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{command:?} hangs: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[test]
fn every_scenario_holds_against_the_service() {
    let report = TempDir::new().unwrap();
    let (code, told) = run(load(report.path(), &["--doorbuster", doorbuster().to_str().unwrap()]));
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains("NOT CHECKED") && !told.contains("BROKEN"), "{told}");
    for scenario in SCENARIOS {
        let directory = report.path().join(scenario);
        for file in ["report.html", "summary.txt", "rate.svg", "latency.svg", "stock.svg"] {
            assert!(directory.join(file).metadata().is_ok_and(|file| file.len() > 100), "{scenario}: {file}");
        }
        let summary = std::fs::read_to_string(directory.join("summary.txt")).unwrap();
        let mut shown = vec!["No oversell", "No lost answer", "All or nothing", "Exact time", "Who did it is known"];
        shown.extend(["The SQL store equals the journal", "The contract"]);
        match scenario {
            "steady-day" => shown.push("Limits hold"),
            "double-clickers" | "second-thoughts" => shown.push("Once"),
            "ladder" => shown.push("In order"),
            "waitlist" => shown.push("Who waits is served"),
            "group-deals" => shown.push("Together or not at all"),
            _ => shown.push("\"Sold out\" is true"),
        }
        for guarantee in shown {
            assert!(
                summary.contains(&format!("holds   {guarantee}: ")),
                "{scenario} shows nothing of {guarantee}: {summary}"
            );
        }
    }
    // What each scenario is there for did come up in it.
    let told_of = |scenario: &str| std::fs::read_to_string(report.path().join(scenario).join("summary.txt")).unwrap();
    for (scenario, came) in [
        ("opening-bell", "reserve sold_out"),
        ("opening-bell", "reserve sale_not_started"),
        ("steady-day", "reserve customer_limit_exceeded"),
        ("abandoned-carts", "confirm reservation_expired"),
        ("baskets", "reserve insufficient_stock"),
        ("double-clickers", "reserve idempotency_key_reused"),
        ("ladder", "reserve sale_not_started"),
        ("ladder", "reserve sold_out"),
        ("operator", "reserve sale_paused"),
        ("operator", "adjust 201"),
        ("second-thoughts", "change 200"),
        ("second-thoughts", "confirm already_confirmed"),
        ("second-thoughts", "cancel 200"),
        ("second-thoughts", "confirm already_cancelled"),
        ("waitlist", "join 201"),
        ("waitlist", "entry 200"),
        ("group-deals", "confirm 200"),
        ("group-deals", "confirm group_incomplete"),
    ] {
        assert!(told_of(scenario).contains(came), "{scenario}: {}", told_of(scenario));
    }
}

/// A service of its own, behind a proxy that has a fault.
struct Scene {
    service: Service,
    proxy: Proxy,
    directory: TempDir,
}

impl Scene {
    fn new(fault: Fault) -> Self {
        let directory = TempDir::new().unwrap();
        let service = Service::start(doorbuster(), directory.path(), &[]).unwrap();
        let proxy = Proxy::start(service.address, fault);
        Self { service, proxy, directory }
    }

    fn load(&self, scenario: &str) -> (Option<i32>, String) {
        let (host, ops) = (format!("http://{}", self.proxy.address), format!("http://{}", self.service.ops));
        let store = self.directory.path().join("data/store.db");
        let arguments = [scenario, "--host", &host, "--ops", &ops, "--store", store.to_str().unwrap()];
        run(load(&self.directory.path().join("report"), &arguments))
    }
}

/// The scenario notices the fault, and calls it by the name of the guarantee.
fn notices(fault: Fault, scenario: &str, guarantee: &str) {
    let scene = Scene::new(fault);
    let (code, told) = scene.load(scenario);
    assert!(scene.proxy.broke_something(), "{fault:?} did not come up: {told}");
    assert_eq!(code, Some(1), "{fault:?}: {told}");
    assert!(told.contains(&format!("BROKEN  {guarantee}: ")), "{fault:?}: {told}");
}

#[test]
fn the_proxy_alone_breaks_nothing() {
    let (code, told) = Scene::new(Fault::None).load("abandoned-carts");
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn the_last_unit_granted_twice_is_noticed() {
    notices(Fault::LastUnitTwice, "opening-bell", "No oversell");
}

#[test]
fn another_reservation_for_the_same_key_is_noticed() {
    notices(Fault::AnotherIdForTheKey, "double-clickers", "Once");
}

#[test]
fn a_unit_for_a_passer_by_is_noticed() {
    notices(Fault::PastTheLine, "waitlist", "Who waits is served");
}

#[test]
fn an_offer_out_of_turn_is_noticed() {
    notices(Fault::LateOffer, "waitlist", "Who waits is served");
}

#[test]
fn a_member_confirmed_alone_is_noticed() {
    notices(Fault::ConfirmedAlone, "group-deals", "Together or not at all");
}

#[test]
fn another_quantity_is_noticed() {
    notices(Fault::OtherQuantity, "baskets", "All or nothing");
}

#[test]
fn sold_out_while_there_is_stock_is_noticed() {
    notices(Fault::FalseSoldOut, "opening-bell", "\"Sold out\" is true");
}

#[test]
fn a_confirm_that_was_dropped_is_noticed() {
    notices(Fault::DroppedConfirm, "operator", "No lost answer");
}

#[test]
fn a_reserve_that_was_dropped_is_noticed() {
    notices(Fault::DroppedReserve, "baskets", "No lost answer");
}

#[test]
fn a_confirm_after_the_end_is_noticed() {
    notices(Fault::LateConfirm, "abandoned-carts", "Exact time");
}

#[test]
fn a_customer_above_the_limit_is_noticed() {
    notices(Fault::AboveTheLimit, "steady-day", "Limits hold");
}

#[test]
fn a_grant_in_a_paused_sale_is_noticed() {
    notices(Fault::GrantInAPause, "operator", "The contract");
}

#[test]
fn an_unknown_refusal_is_noticed() {
    notices(Fault::UnknownRefusal, "steady-day", "The contract");
}

#[test]
fn a_store_that_is_another_is_noticed_and_one_that_is_not_named_is_told() {
    let (scene, other) = (Scene::new(Fault::None), TempDir::new().unwrap());
    let _other = Service::start(doorbuster(), other.path(), &[]).unwrap();
    let (host, ops) = (format!("http://{}", scene.service.address), format!("http://{}", scene.service.ops));
    let store = other.path().join("data/store.db");
    let with_store = ["baskets", "--host", &host, "--ops", &ops, "--store", store.to_str().unwrap()];
    let (code, told) = run(load(other.path(), &with_store));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("BROKEN  The SQL store equals the journal: "), "{told}");

    let (code, told) = run(load(other.path(), &["baskets", "--host", &host]));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("NOT CHECKED  the SQL store"), "{told}");
}

#[test]
fn what_cannot_be_run_says_why() {
    let directory = TempDir::new().unwrap();
    let (code, told) = run(load(directory.path(), &["baskets", "--host", "http://127.0.0.1:1"]));
    assert_eq!(code, Some(2), "{told}");
    let bad_time = Command::new(LOAD).args(["baskets", "--run-time", "2h"]).output().unwrap();
    assert_eq!(bad_time.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad_time.stderr).contains("from 1s to 1h"), "{bad_time:?}");
    let nobody = Command::new(LOAD).args(["baskets", "--users", "1"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(2));
}

#[test]
fn who_stops_it_stops_the_service_too() {
    let directory = TempDir::new().unwrap();
    let mut command = load(directory.path(), &["steady-day", "--doorbuster", doorbuster().to_str().unwrap()]);
    let temporary = TempDir::new().unwrap();
    let left = || std::fs::read_dir(temporary.path()).unwrap().count();
    command.env("TMPDIR", temporary.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    let service = loop {
        if let Some(&service) = machine::children(child.id()).first() {
            break service;
        }
        assert!(begin.elapsed() < PATIENCE, "it started no service");
        std::thread::sleep(Duration::from_millis(5));
    };
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(left(), 1);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(left(), 0, "its directory is left");
    let process = format!("/proc/{service}/cmdline");
    // Gone, or another process by now.
    while std::fs::read(&process).is_ok_and(|line| line.windows(10).any(|part| part == b"doorbuster")) {
        assert!(begin.elapsed() < PATIENCE, "the service outlives the load test");
        std::thread::sleep(Duration::from_millis(20));
    }
}
