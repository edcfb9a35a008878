//! The design's targets that are ratios of two loads, and the table of all peers.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{bail, ensure};

use crate::{
    Common,
    batch::{self, Flood},
    bout,
    bout::{Side, compare, median},
    children::{self, Directory},
    contenders::{Ask, Contender, Figures},
    generator::Pace,
    machine, plot,
    redis::Sync,
    service::{Setup, binary},
};

struct Target {
    name: &'static str,
    what: &'static str,
    first: Side,
    second: Side,
    figure: fn(&Figures) -> f64,
    /// At least, or at most.
    bound: Bound,
}

enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// No target: told because it says where a target's time goes.
    None,
}

fn rate(figures: &Figures) -> f64 {
    figures.seen.rate()
}

fn cpu(figures: &Figures) -> f64 {
    figures.cpu_micros
}

fn targets(common: &Common) -> Vec<Target> {
    let side = |name: &str, contender, connections| Side {
        name: name.to_owned(),
        contender,
        ask: ask(connections, common.time()),
    };
    let doorbuster = |name: &str, setup, connections| side(name, Contender::Doorbuster(setup), connections);
    let durable = Setup::DURABLE;
    let target = |name, what, first, second, figure, bound| Target { name, what, first, second, figure, bound };
    vec![
        target(
            "P1",
            "rate, not waiting for the disk / bare hyper, 64 connections",
            doorbuster("doorbuster, buffered", Setup { durable: false, ..durable }, 64),
            side("bare hyper", Contender::Ceiling, 64),
            rate,
            Bound::AtLeast(0.85),
        ),
        target(
            "P2",
            "rate, durable / bare hyper, 256 connections",
            doorbuster("doorbuster, durable", durable, 256),
            side("bare hyper", Contender::Ceiling, 256),
            rate,
            Bound::AtLeast(0.70),
        ),
        target(
            "P3",
            "rate, durable over HTTP / Redis script, appendfsync always, 64 connections",
            doorbuster("doorbuster, durable", durable, 64),
            side("redis, always", Contender::Redis(Sync::Always), 64),
            rate,
            Bound::AtLeast(1.5),
        ),
        target(
            "P5",
            "rate, one item / 10,000 items, 256 connections",
            doorbuster("one item", durable, 256),
            doorbuster("10,000 items", Setup { items: 10_000, ..durable }, 256),
            rate,
            Bound::AtLeast(0.95),
        ),
        target(
            "P6",
            "processor time, a sold-out refusal / a grant, 256 connections",
            doorbuster("sold out", Setup { stock: 1, ..durable }, 256),
            doorbuster("granted", durable, 256),
            cpu,
            Bound::AtMost(0.6),
        ),
        target(
            "P6a",
            "processor time, a sold-out refusal / a bare answer, 256 connections: how far P6 is from the least there can be",
            doorbuster("sold out", Setup { stock: 1, ..durable }, 256),
            side("bare hyper", Contender::Ceiling, 256),
            cpu,
            Bound::None,
        ),
        target(
            "P12",
            "rate, rate limits on / off, 256 connections",
            doorbuster("quotas on", Setup { quotas: true, ..durable }, 256),
            doorbuster("quotas off", durable, 256),
            rate,
            Bound::AtLeast(0.95),
        ),
        target(
            "P14",
            "rate, a sale with phases, a ladder of three pools and limits / a plain sale, 256 connections",
            doorbuster("with rules", Setup { rules: true, ..durable }, 256),
            doorbuster("plain", durable, 256),
            rate,
            Bound::AtLeast(0.90),
        ),
        target(
            "P14r",
            "as P14, refusals after sell-out",
            doorbuster("with rules, sold out", Setup { rules: true, stock: 3, ..durable }, 256),
            doorbuster("plain, sold out", Setup { stock: 3, ..durable }, 256),
            rate,
            Bound::AtLeast(0.95),
        ),
        target(
            "P1a",
            "as P1 with the store away: what the rows behind an answer cost",
            doorbuster("buffered, store away", Setup { durable: false, store_away: true, ..durable }, 64),
            side("bare hyper", Contender::Ceiling, 64),
            rate,
            Bound::None,
        ),
        target(
            "P2a",
            "as P2 with the store away: what the rows behind an answer cost",
            doorbuster("durable, store away", Setup { store_away: true, ..durable }, 256),
            side("bare hyper", Contender::Ceiling, 256),
            rate,
            Bound::None,
        ),
        target(
            "P2b",
            "rate, 1 worker / 2 workers, durable, 256 connections",
            doorbuster("1 worker", Setup { workers: Some(1), ..durable }, 256),
            doorbuster("2 workers", Setup { workers: Some(2), ..durable }, 256),
            rate,
            Bound::None,
        ),
    ]
}

pub fn ask(connections: usize, time: Duration) -> Ask {
    Ask { connections, pace: Pace::AsAnswered, warm_up: Duration::from_secs(1), time, check: false }
}

pub fn run(names: &[String], common: &Common) -> anyhow::Result<()> {
    let all = targets(common);
    let known: Vec<_> = all.iter().map(|target| target.name).collect();
    for name in names {
        ensure!(known.contains(&name.as_str()), "there is no target {name}; the targets are {}", known.join(", "));
    }
    let binary = binary(common.doorbuster.as_deref())?;
    println!("{}", machine::describe());
    let mut told = Vec::new();
    for target in all.iter().filter(|target| names.is_empty() || names.iter().any(|name| name == target.name)) {
        println!("{}  {}", target.name, target.what);
        let ratio = compare(&binary, [&target.first, &target.second], common.pairs, target.figure)?;
        let (least, most) = ratio.spread();
        let (bound, holds) = match target.bound {
            Bound::AtLeast(bound) => (format!("target >= {bound}  "), Some(ratio.median() >= bound)),
            Bound::AtMost(bound) => (format!("target <= {bound}  "), Some(ratio.median() <= bound)),
            Bound::None => (String::new(), None),
        };
        let verdict = match holds {
            Some(true) => "holds  ",
            Some(false) => "DOES NOT HOLD  ",
            None => "",
        };
        told.push(format!(
            "{:<4} {:.3} ({least:.3} to {most:.3}, {} pairs)  {bound}{verdict}{}",
            target.name,
            ratio.median(),
            ratio.pairs.len(),
            target.what
        ));
    }
    println!("\nmedian of the pairs' ratios (least to most)");
    told.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Everybody in turn, as often as there are pairs.
pub fn peers(connections: usize, common: &Common) -> anyhow::Result<()> {
    let binary = binary(common.doorbuster.as_deref())?;
    let durable = Setup::DURABLE;
    let all = [
        ("bare hyper: the ceiling", Contender::Ceiling),
        ("doorbuster, buffered", Contender::Doorbuster(Setup { durable: false, ..durable })),
        ("doorbuster, durable", Contender::Doorbuster(durable)),
        ("redis script, everysec, RESP", Contender::Redis(Sync::EverySecond)),
        ("redis script, always, RESP", Contender::Redis(Sync::Always)),
        ("redis script, everysec, HTTP", Contender::RedisBehindHttp(Sync::EverySecond)),
        ("redis script, always, HTTP", Contender::RedisBehindHttp(Sync::Always)),
        ("postgres UPDATE + INSERT, HTTP", Contender::PostgresBehindHttp),
    ];
    println!(
        "{}\n{connections} connections, as fast as answers come, one reserve of one new customer a request",
        machine::describe()
    );
    let mut running = Vec::new();
    for (name, contender) in &all {
        running.push((name, contender.start(&binary)?, Vec::new()));
    }
    for round in 0..common.pairs {
        println!("round {}", round + 1);
        for (name, running, figures) in &mut running {
            let measured = running.measure(&ask(connections, common.time()))?;
            println!("    {}", bout::line(name, &measured));
            figures.push(measured);
        }
    }
    let figures: Vec<(&str, Vec<Figures>)> = running.into_iter().map(|(name, _, figures)| (*name, figures)).collect();
    let (batches, transfers) = batches(&binary, common)?;
    let ceiling: Vec<f64> = figures[0].1.iter().map(rate).collect();
    println!(
        "\n{:<34} {:>9} {:>16} {:>9} {:>9} {:>9}",
        "median of rounds", "rate/s", "of the ceiling", "CPU µs", "p50 ms", "p99 ms"
    );
    for (name, figures) in &figures {
        let of = |figure: &dyn Fn(&Figures) -> f64| median(&figures.iter().map(figure).collect::<Vec<_>>());
        let ratios: Vec<f64> = figures.iter().zip(&ceiling).map(|(figures, ceiling)| rate(figures) / ceiling).collect();
        let millis =
            |quantile| move |figures: &Figures| figures.seen.service.value_at_quantile(quantile) as f64 / 1000.0;
        println!(
            "{name:<34} {:>9.0} {:>16.3} {:>9.1} {:>9.2} {:>9.2}",
            of(&rate),
            median(&ratios),
            of(&cpu),
            of(&millis(0.5)),
            of(&millis(0.99))
        );
    }
    let (rates, costs): (Vec<f64>, Vec<f64>) = batches.iter().map(|flood| (flood.rate, flood.cpu)).unzip();
    println!(
        "{:<34} {:>9.0} {:>16.3} {:>9.1}",
        "doorbuster, durable, batches",
        median(&rates),
        median(&rates.iter().zip(&ceiling).map(|(rate, ceiling)| rate / ceiling).collect::<Vec<_>>()),
        median(&costs)
    );
    if transfers.is_empty() {
        println!("tigerbeetle is not on the PATH: left out");
    } else {
        let ratios: Vec<f64> = rates.iter().zip(&transfers).map(|(ours, theirs)| ours / theirs).collect();
        println!("{:<34} {:>9.0}", "tigerbeetle, pending, batches", median(&transfers));
        println!(
            "\nP4   batches of doorbuster / of tigerbeetle: {:.2}, median of {} rounds",
            median(&ratios),
            ratios.len()
        );
    }
    if let Some(directory) = &common.plots {
        let mut costs = vec![("doorbuster, durable, batches", median(&costs))];
        for (name, figures) in figures.iter().rev() {
            costs.push((name, median(&figures.iter().map(cpu).collect::<Vec<_>>())));
        }
        plot::bars(&directory.join("peers-cost.svg"), "Processor time of a reserve", "microseconds", &costs)?;
    }
    Ok(())
}

/// Doorbuster's batches, and the rate of TigerBeetle's where there is one, round by round. Nothing else runs
/// meanwhile; each begins with nothing, and with nothing left unwritten by the one before.
fn batches(binary: &Path, common: &Common) -> anyhow::Result<(Vec<Flood>, Vec<f64>)> {
    const ENTRIES: usize = 10_000;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..common.pairs {
        println!("batches, round {}", round + 1);
        rustix::fs::sync();
        let doorbuster = Contender::Doorbuster(Setup::DURABLE).start(binary)?;
        let flood = batch::flood(&doorbuster, ENTRIES, common.time())?;
        let Flood { granted, rate, cpu } = flood;
        println!("    doorbuster, durable, {granted} in batches of {ENTRIES}: {rate:.0}/s, {cpu:.2} µs CPU each");
        ours.push(flood);
        doorbuster.settle()?;
        drop(doorbuster);
        rustix::fs::sync();
        if let Some(rate) = tigerbeetle(granted)? {
            println!("    tigerbeetle, as many pending transfers in batches of {TIGERBEETLE_BATCH}: {rate:.0}/s");
            theirs.push(rate);
        }
    }
    Ok((ours, theirs))
}

/// Transfers in one of TigerBeetle's batches: as many as fit.
const TIGERBEETLE_BATCH: usize = 8189;

/// Transfers a second by its own benchmark, which starts and stops a replica of its own; pending ones are its holds. The more
/// of them there are the slower it is, so it is given as many as Doorbuster granted. None where there is no `tigerbeetle`.
fn tigerbeetle(transfers: u64) -> anyhow::Result<Option<f64>> {
    // The second is how older releases spelled it.
    let spelled = [
        ["--transfer-pending".to_owned(), format!("--transfer-batch-count={TIGERBEETLE_BATCH}")],
        ["--transfer-pending=true".to_owned(), format!("--transfer-batch-size={TIGERBEETLE_BATCH}")],
    ];
    let directory = Directory::new()?;
    let mut told = String::new();
    for options in spelled {
        let mut command = Command::new("tigerbeetle");
        command.args(["benchmark".to_owned(), format!("--transfer-count={transfers}")]);
        command.args(options).current_dir(directory.path());
        let Ok(output) = children::run(command) else { return Ok(None) };
        told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let accepted = told.lines().find_map(|line| line.strip_prefix("load accepted = ")?.strip_suffix(" tx/s"));
        if let Some(accepted) = accepted {
            return Ok(Some(accepted.parse()?));
        }
    }
    bail!("tigerbeetle's benchmark printed no rate: {told}")
}
