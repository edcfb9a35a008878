//! Measures two sides in turn and reports their ratio: the machine's condition is the same for both sides of a pair, and the
//! spread over pairs shows how far to trust the ratio.

use std::path::Path;

use crate::contenders::{Ask, Contender, Figures};

pub struct Side {
    pub name: String,
    pub contender: Contender,
    pub ask: Ask,
}

/// A ratio over pairs.
#[derive(Debug, Clone)]
pub struct Ratio {
    pub pairs: Vec<f64>,
}

impl Ratio {
    pub fn median(&self) -> f64 {
        median(&self.pairs)
    }

    pub fn spread(&self) -> (f64, f64) {
        let least = self.pairs.iter().copied().fold(f64::INFINITY, f64::min);
        (least, self.pairs.iter().copied().fold(0.0, f64::max))
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The quartiles.
pub fn middle_half(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quarter = sorted.len() / 4;
    (sorted[quarter], sorted[sorted.len() - 1 - quarter])
}

/// Measures both sides `pairs` times in turn, each time begun anew: what a process was dealt with its memory and its
/// connections stays with it, and may make one of two that are alike a tenth faster. `figure` is what is compared: first over second.
pub fn compare(
    doorbuster: &Path,
    [first, second]: [&Side; 2],
    pairs: usize,
    figure: impl Fn(&Figures) -> f64,
) -> anyhow::Result<Ratio> {
    let sides = [first, second];
    let mut ratios = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        let running = [first.contender.start(doorbuster)?, second.contender.start(doorbuster)?];
        let mut of = [0.0; 2];
        // Who goes first changes: whatever the first does to the machine, the second meets.
        for place in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
            let figures = running[place].measure(&sides[place].ask)?;
            of[place] = figure(&figures);
            println!("    {}", line(&sides[place].name, &figures));
        }
        ratios.push(of[0] / of[1]);
    }
    Ok(Ratio { pairs: ratios })
}

/// One measurement in a line.
pub fn line(name: &str, figures: &Figures) -> String {
    let seen = &figures.seen;
    let millis = |quantile: f64| seen.service.value_at_quantile(quantile) as f64 / 1000.0;
    let statuses: Vec<_> = seen.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
    format!(
        "{name:<34} {:>9.0}/s  {:>6.1} µs CPU each  p50 {:>6.2} ms  p99 {:>6.2} ms  {}",
        seen.rate(),
        figures.cpu_micros,
        millis(0.5),
        millis(0.99),
        statuses.join(", ")
    )
}
