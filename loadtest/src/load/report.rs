//! The summary of a run, and its plots.

use std::{fmt::Write as _, fs, path::Path};

use doorbuster_loadtest::{machine, plot};

use crate::run::Run;

/// The summary, as text. `unchecked`: what was not looked at, and why.
pub fn summary(run: &Run, users: usize, unchecked: &[String]) -> String {
    let told = run.samples.told();
    let books = run.ledger.books();
    let mut text = format!("{}: {users} users, sale {}\n{}\n\n", run.scenario.name(), run.sale, machine::describe());
    let answers: u64 = told.seconds.iter().map(|second| second.granted + second.refused + second.other).sum();
    let seconds = told.seconds.len().max(1);
    let _ = writeln!(text, "{answers} answers in {seconds} seconds, {:.0}/s", answers as f64 / seconds as f64);
    let _ = writeln!(
        text,
        "service time p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms (a closed loop: see loadtest/README.md)",
        told.p50, told.p99, told.max
    );
    for (code, times) in &told.codes {
        let _ = writeln!(text, "{times:>10}  {code}");
    }
    let _ = writeln!(text, "\n{} reservations were granted\n", books.grants.len());
    for line in run.findings.lines() {
        let _ = writeln!(text, "{line}");
    }
    for line in &books.undecided {
        let _ = writeln!(text, "UNDECIDED  {line}");
    }
    for line in unchecked {
        let _ = writeln!(text, "NOT CHECKED  {line}");
    }
    text
}

pub fn write(run: &Run, directory: &Path, summary: &str) -> anyhow::Result<()> {
    fs::write(directory.join("summary.txt"), summary)?;
    let told = run.samples.told();
    let line = |of: fn(&crate::samples::Second) -> f64| -> Vec<(f64, f64)> {
        told.seconds.iter().map(|second| (second.at, of(second))).collect()
    };
    plot::lines(
        &directory.join("rate.svg"),
        "Answers each second",
        ("seconds", "answers"),
        &[
            ("granted", line(|second| second.granted as f64)),
            ("refused", line(|second| second.refused as f64)),
            ("other", line(|second| second.other as f64)),
        ],
    )?;
    plot::lines(
        &directory.join("latency.svg"),
        "Service time each second",
        ("seconds", "milliseconds"),
        &[("p50", line(|second| second.p50)), ("p99", line(|second| second.p99))],
    )?;
    let look = |of: fn(&crate::samples::Look) -> i64| -> Vec<(f64, f64)> {
        told.looks.iter().map(|look| (look.at, of(look) as f64)).collect()
    };
    plot::lines(
        &directory.join("stock.svg"),
        "Where the units are",
        ("seconds", "units of all items"),
        &[
            ("available", look(|look| look.available)),
            ("held", look(|look| look.held)),
            ("confirmed", look(|look| look.confirmed)),
        ],
    )
}
