//! Compares two builds of the service, measured in turn: the cost of a change, as ratios with their spread.

use std::path::{Path, PathBuf};

use crate::{
    Common,
    batch::{self, Flood},
    bout::{Ratio, line},
    contenders::{Contender, Figures},
    machine,
    service::Setup,
    targets::ask,
};

/// Entries of a batch.
const ENTRIES: usize = 10_000;

/// Rate and processor time of one measurement.
struct Cost {
    rate: f64,
    cpu: f64,
}

/// A kind of load: its name, and one measurement of it on a service that begins with nothing.
struct Load {
    name: &'static str,
    measure: fn(&Path, &Common) -> anyhow::Result<Cost>,
}

const LOADS: [Load; 4] = [
    Load {
        name: "P1  reserves that do not wait for the disk, 64 connections",
        measure: |binary, common| singles(binary, Setup { durable: false, ..Setup::DURABLE }, 64, common),
    },
    Load {
        name: "P2  durable reserves, 256 connections",
        measure: |binary, common| singles(binary, Setup::DURABLE, 256, common),
    },
    Load { name: "P4  durable reserves in batches of 10,000", measure: batches },
    Load {
        name: "P6  refusals after sell-out, 256 connections",
        measure: |binary, common| singles(binary, Setup { stock: 1, ..Setup::DURABLE }, 256, common),
    },
];

/// Runs every load on both builds, in turns. A ratio above 1 is in favour of the new build.
pub fn run(old: &Path, new: &Path, common: &Common) -> anyhow::Result<()> {
    println!("{}\nold: {}\nnew: {}", machine::describe(), old.display(), new.display());
    let mut told = Vec::new();
    for Load { name, measure } in LOADS {
        println!("{name}");
        let (mut rates, mut costs) = (Ratio { pairs: Vec::new() }, Ratio { pairs: Vec::new() });
        for pair in 0..common.pairs {
            // The order changes from pair to pair: whatever the first does to the machine, the second meets.
            let (old, new) = if pair % 2 == 0 {
                let old = measure(old, common)?;
                (old, measure(new, common)?)
            } else {
                let new = measure(new, common)?;
                (measure(old, common)?, new)
            };
            rates.pairs.push(new.rate / old.rate);
            costs.pairs.push(old.cpu / new.cpu);
        }
        for (what, ratio) in [("rate, new / old", rates), ("processor time, old / new", costs)] {
            let (least, most) = ratio.spread();
            told.push(format!("{name:<60} {what:<26} {:.3} ({least:.3} to {most:.3})", ratio.median()));
        }
    }
    println!("\nmedian of {} pairs (least to most)", common.pairs);
    told.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn singles(binary: &Path, setup: Setup, connections: usize, common: &Common) -> anyhow::Result<Cost> {
    let running = Contender::Doorbuster(setup).start(binary)?;
    let figures: Figures = running.measure(&ask(connections, common.time()))?;
    println!("    {}", line(&name_of(binary), &figures));
    Ok(Cost { rate: figures.seen.rate(), cpu: figures.cpu_micros })
}

fn batches(binary: &Path, common: &Common) -> anyhow::Result<Cost> {
    rustix::fs::sync();
    let running = Contender::Doorbuster(Setup::DURABLE).start(binary)?;
    let Flood { rate, cpu, .. } = batch::flood(&running, ENTRIES, common.time())?;
    println!("    {:<34} {rate:>9.0}/s  {cpu:>6.2} µs CPU each", name_of(binary));
    running.settle()?;
    Ok(Cost { rate, cpu })
}

/// The end of its path, which tells two builds apart.
fn name_of(binary: &Path) -> String {
    let parts: PathBuf = binary.components().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
    let text = parts.display().to_string();
    text.chars().rev().take(34).collect::<Vec<_>>().into_iter().rev().collect()
}
