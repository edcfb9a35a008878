//! Reserves at a constant rate, and how long their callers wait.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{
    Common,
    contenders::{Ask, Contender},
    generator::Pace,
    machine,
    service::{Setup, binary},
};

const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("most", 1.0)];

pub fn run(per_second: u32, connections: usize, setup: Setup, check: bool, common: &Common) -> anyhow::Result<()> {
    let binary = binary(common.doorbuster.as_deref())?;
    println!("{}", machine::describe());
    println!(
        "{per_second} reserves per second are due over {connections} connections, {} s per turn\n",
        common.seconds
    );
    let ask = Ask {
        connections,
        pace: Pace::PerSecond(per_second.into()),
        warm_up: Duration::from_secs(1),
        time: common.time(),
        check,
    };
    for turn in 1..=common.pairs {
        let figures = Contender::Doorbuster(setup).start(&binary)?.measure(&ask)?;
        let seen = figures.seen;
        let statuses: Vec<_> = seen.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        println!(
            "turn {turn}: {:.0} answers/s ({}), {} given up, {:.1} µs CPU each",
            seen.rate(),
            statuses.join(", "),
            seen.given_up,
            figures.cpu_micros
        );
        println!("    from when it was due   {}", times(&seen.response));
        println!("    from when it was sent  {}", times(&seen.service));
    }
    if check {
        println!("\nevery grant was checked against its request");
    }
    Ok(())
}

fn times(histogram: &Histogram<u64>) -> String {
    let told: Vec<_> = QUANTILES
        .iter()
        .map(|&(name, quantile)| format!("{name} {:>7.2} ms", histogram.value_at_quantile(quantile) as f64 / 1000.0))
        .collect();
    told.join("  ")
}
