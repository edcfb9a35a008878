//! Compares two builds of the service, measured in turn: the cost of a change, as ratios with their spread.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::{
    Common,
    batch::{self, Flood},
    bout::{Ratio, line},
    children::{self, Directory},
    contenders::Contender,
    growth::{self, Grown},
    machine,
    service::{Setup, held},
    targets::ask,
};

/// Entries of a batch.
const ENTRIES: usize = 10_000;

/// Live holds of the small service, which the large one is compared with.
const FEW: u64 = 1_000;

/// One of the two builds.
#[derive(Debug, Clone)]
pub struct Build {
    pub binary: PathBuf,
    /// The executable of `benches/core`.
    pub benches: Option<PathBuf>,
}

/// One figure of one measurement.
struct Figure {
    name: String,
    value: f64,
    larger_is_better: bool,
}

fn larger(name: &str, value: f64) -> Figure {
    Figure { name: name.to_owned(), value, larger_is_better: true }
}

fn smaller(name: &str, value: f64) -> Figure {
    Figure { name: name.to_owned(), value, larger_is_better: false }
}

/// What is measured of a build in one turn, on services that begin with nothing. `many`: live holds of a large service.
type Measure = fn(&Build, u64, &Common) -> anyhow::Result<Vec<Figure>>;

/// By the names of the design's targets.
const LOADS: [(&str, Measure); 6] = [
    ("P1  reserves that do not wait for the disk, 64 connections", |build, _, common| {
        singles(build, Setup { durable: false, ..Setup::DURABLE }, 64, common)
    }),
    ("P2  durable reserves, 256 connections", |build, _, common| singles(build, Setup::DURABLE, 256, common)),
    ("P4  durable reserves in batches of 10,000", |build, _, common| batches(build, common)),
    ("P6  refusals after sell-out, 256 connections", |build, _, common| {
        singles(build, Setup { stock: 1, ..Setup::DURABLE }, 256, common)
    }),
    ("P7  the rules alone", |build, _, common| benches(build, common)),
    ("P8, P9, P10  few and many live holds", holds),
];

/// Runs the loads on both builds, in turns: all, or those whose names begin with one of `only`. A ratio above 1 is in favour
/// of the new build.
pub fn run(builds: &[Build; 2], only: &[String], many: u64, common: &Common) -> anyhow::Result<()> {
    let [old, new] = builds;
    println!("{}\nold: {}\nnew: {}", machine::describe(), old.binary.display(), new.binary.display());
    let mut lines = Vec::new();
    for (name, measure) in LOADS {
        let named = |wanted: &String| name.split([' ', ',']).any(|word| word == wanted);
        if !only.is_empty() && !only.iter().any(named) {
            continue;
        }
        println!("{name}");
        if name.starts_with("P7") && builds.iter().any(|build| build.benches.is_none()) {
            println!("    left out: give the executables of both builds with --benches OLD NEW");
            continue;
        }
        let mut ratios: Vec<(String, Ratio)> = Vec::new();
        for pair in 0..common.pairs {
            // The order changes from pair to pair: whatever the first does to the machine, the second meets.
            let (old, new) = if pair % 2 == 0 {
                let old = measure(old, many, common)?;
                (old, measure(new, many, common)?)
            } else {
                let new = measure(new, many, common)?;
                (measure(old, many, common)?, new)
            };
            for (what, ratio) in compare(&old, &new) {
                match ratios.iter_mut().find(|(known, _)| *known == what) {
                    Some((_, of)) => of.pairs.push(ratio),
                    None => ratios.push((what, Ratio { pairs: vec![ratio] })),
                }
            }
        }
        for (what, ratio) in ratios {
            let (least, most) = ratio.spread();
            lines.push(format!("{name:<60} {what:<46} {:.3} ({least:.3} to {most:.3})", ratio.median()));
        }
    }
    println!("\nmedian of {} pairs (least to most)", common.pairs);
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// The ratio of each figure that both have.
fn compare(old: &[Figure], new: &[Figure]) -> Vec<(String, f64)> {
    let pairs = old.iter().filter_map(|old| Some((old, new.iter().find(|new| new.name == old.name)?)));
    let ratio = |(old, new): (&Figure, &Figure)| {
        if old.larger_is_better {
            (format!("{}, new / old", old.name), new.value / old.value)
        } else {
            (format!("{}, old / new", old.name), old.value / new.value)
        }
    };
    pairs.map(ratio).collect()
}

fn singles(build: &Build, setup: Setup, connections: usize, common: &Common) -> anyhow::Result<Vec<Figure>> {
    let running = Contender::Doorbuster(setup).start(&build.binary)?;
    let figures = running.measure(&ask(connections, common.time()))?;
    println!("    {}", line(&name_of(&build.binary), &figures));
    Ok(vec![larger("rate", figures.seen.rate()), smaller("processor time", figures.cpu_micros)])
}

fn batches(build: &Build, common: &Common) -> anyhow::Result<Vec<Figure>> {
    rustix::fs::sync();
    let running = Contender::Doorbuster(Setup::DURABLE).start(&build.binary)?;
    let Flood { rate, cpu, .. } = batch::flood(&running, ENTRIES, common.time())?;
    println!("    {:<34} {rate:>9.0}/s  {cpu:>6.2} µs CPU each", name_of(&build.binary));
    running.settle()?;
    Ok(vec![larger("rate", rate), smaller("processor time", cpu)])
}

/// Memory of a hold (P8), recovery over the peak rate (P9), and many holds over few (P10).
fn holds(build: &Build, many: u64, common: &Common) -> anyhow::Result<Vec<Figure>> {
    let mut few = Grown::start(&build.binary, FEW, 1)?;
    let mut large = Grown::start(&build.binary, many, 1)?;
    few.measure(common)?;
    large.measure(common)?;
    let ratio = |of| large.median(of) / few.median(of);
    let (rate, p99, bytes) = (ratio(growth::rate), ratio(growth::p99), large.bytes_a_hold());
    let peak = few.median(growth::rate);
    let held = held(large.running.service())? as f64;
    let recovered = held / large.running.crash_and_recover(&build.binary)?.as_secs_f64();
    println!(
        "    {:<34} {bytes:.0} bytes a hold, {recovered:.0} reservations recovered a second, {peak:.0}/s with few \
         holds; many / few: rate {rate:.3}, p99 {p99:.3}",
        name_of(&build.binary)
    );
    Ok(vec![
        smaller("P8 bytes of a live hold", bytes),
        larger("P9 recovery / peak rate", recovered / peak),
        larger("P10 rate with many / few holds", rate),
        smaller("P10 p99 with many / few holds", p99),
    ])
}

/// The times of the benches in the group `shard`, as Criterion stores them.
fn benches(build: &Build, common: &Common) -> anyhow::Result<Vec<Figure>> {
    let executable = build.benches.as_deref().context("no benches were given")?;
    let home = Directory::new()?;
    let mut command = Command::new(executable);
    command.args(["--bench", "--noplot", "--warm-up-time", "1", "--measurement-time", &common.seconds.to_string()]);
    command.arg("shard/").env("CRITERION_HOME", home.path());
    let output = children::run(command)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}\n{said}", executable.display(), output.status);
    let mut figures = Vec::new();
    estimates(home.path(), &mut figures)?;
    ensure!(!figures.is_empty(), "{} has no benches whose names begin with shard/", executable.display());
    figures.sort_by(|one, other| one.name.cmp(&other.name));
    for Figure { name, value, .. } in &figures {
        println!("    {:<34} {name:<46} {value:>9.0} ns", name_of(executable));
    }
    Ok(figures)
}

/// Finds each bench's latest estimates below a directory.
fn estimates(directory: &Path, found: &mut Vec<Figure>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.ends_with("new") {
            let read = |file| anyhow::Ok(serde_json::from_slice::<serde_json::Value>(&fs::read(path.join(file))?)?);
            let (estimates, bench) = (read("estimates.json")?, read("benchmark.json")?);
            let name = bench["full_id"].as_str().context("a bench without a name")?;
            let median = estimates["median"]["point_estimate"].as_f64().context("a bench without a median")?;
            found.push(smaller(name, median));
        } else if path.is_dir() {
            self::estimates(&path, found)?;
        }
    }
    Ok(())
}

/// The end of its path, which tells two builds apart.
fn name_of(binary: &Path) -> String {
    let parts: PathBuf = binary.components().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
    let text = parts.display().to_string();
    text.chars().rev().take(34).collect::<Vec<_>>().into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_is_in_favour_of_the_new_build() {
        let old = [larger("rate", 100.0), smaller("bytes", 150.0), smaller("gone", 1.0)];
        let new = [smaller("bytes", 100.0), larger("rate", 200.0), larger("added", 1.0)];
        let expected = [("rate, new / old".to_owned(), 2.0), ("bytes, old / new".to_owned(), 1.5)];
        assert_eq!(compare(&old, &new), expected);
    }

    #[test]
    fn estimates_are_read_where_criterion_stores_them() {
        let home = Directory::new().unwrap();
        let bench = home.path().join("shard").join("reserve").join("new");
        fs::create_dir_all(&bench).unwrap();
        fs::write(bench.join("estimates.json"), r#"{"median":{"point_estimate":120.5}}"#).unwrap();
        fs::write(bench.join("benchmark.json"), r#"{"full_id":"shard/reserve"}"#).unwrap();
        let mut found = Vec::new();
        estimates(home.path(), &mut found).unwrap();
        assert_eq!(found.iter().map(|it| (it.name.as_str(), it.value)).collect::<Vec<_>>(), [("shard/reserve", 120.5)]);
    }
}
