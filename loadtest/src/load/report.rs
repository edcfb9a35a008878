//! The summary of a run, and its plots.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context;
use doorbuster_loadtest::{machine, plot};

use crate::run::Run;

/// Apache ECharts 5.6.0, which draws the charts of goose's report. goose links to it on the Internet; here the report contains it,
/// so that it can be read without a connection.
const ECHARTS: &str = include_str!("../../vendor/echarts.common.min.js");

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

/// Puts the charts' library into goose's report.
pub fn complete(directory: &Path) -> anyhow::Result<()> {
    let path = directory.join("report.html");
    let page = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(fs::write(&path, with_charts(&page)?)?)
}

fn with_charts(page: &str) -> anyhow::Result<String> {
    const BEGIN: &str = "<script src=\"https://";
    const END: &str = "</script>";
    let (before, rest) = page.split_once(BEGIN).context("goose's report no longer links to the charts' library")?;
    let (_, after) = rest.split_once(END).context("goose's report ends within a script")?;
    anyhow::ensure!(!after.contains("src=\"http"), "goose's report links to something else as well");
    Ok(format!("{before}<script>{ECHARTS}{END}{after}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_needs_no_connection() {
        let page =
            r#"<head><script src="https://elsewhere.example/echarts.min.js"></script></head><body>charts</body>"#;
        let complete = with_charts(page).unwrap();
        assert!(complete.starts_with("<head><script>") && complete.ends_with("</script></head><body>charts</body>"));
        assert!(complete.contains("Apache Software Foundation") && !complete.contains("elsewhere.example"));
        // What ends a script would end it in the middle.
        assert!(!ECHARTS.contains("</script"));
        assert!(with_charts("<head></head>").is_err());
        assert!(with_charts(&format!("{page}<img src=\"http://elsewhere.example\">")).is_err());
    }
}
