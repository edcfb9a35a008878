//! The cost of growth: the same load on services with more and more live holds, their memory, scrape times and recovery times.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::{
    Common, batch,
    bout::{self, median},
    contenders::{Ask, Contender, Figures, Running},
    generator::Pace,
    machine, plot,
    service::{Setup, call},
};

const CONNECTIONS: usize = 256;

/// Holds that are made before the store is waited for: what it has not written yet takes memory as well.
const STRIDE: u64 = 500_000;

const SCRAPES: usize = 20;

/// A service that was given so many holds.
pub struct Grown {
    holds: u64,
    pub running: Running,
    /// Resident bytes before there was any hold, and with all of them.
    resident: [f64; 2],
    figures: Vec<Figures>,
}

impl Grown {
    pub fn start(binary: &Path, holds: u64, items: u64) -> anyhow::Result<Self> {
        let running = Contender::Doorbuster(Setup { items, ..Setup::DURABLE }).start(binary)?;
        let empty = resident(&running)?;
        let mut made = 0;
        while made < holds {
            let stride = STRIDE.min(holds - made);
            batch::hold(&running, made, stride)?;
            made += stride;
            running.service().settle()?;
        }
        let resident = [empty, resident(&running)?];
        Ok(Self { holds, running, resident, figures: Vec::new() })
    }

    pub fn measure(&mut self, common: &Common) -> anyhow::Result<()> {
        let figures = self.running.measure(&ask(common))?;
        println!("    {}", bout::line(&format!("with {} holds", self.holds), &figures));
        self.figures.push(figures);
        Ok(())
    }

    pub fn median(&self, of: fn(&Figures) -> f64) -> f64 {
        median(&self.figures.iter().map(of).collect::<Vec<_>>())
    }

    pub fn bytes_a_hold(&self) -> f64 {
        (self.resident[1] - self.resident[0]) / self.holds as f64
    }
}

fn ask(common: &Common) -> Ask {
    let warm_up = Duration::from_secs(1);
    Ask { connections: CONNECTIONS, pace: Pace::AsAnswered, warm_up, time: common.time(), check: false }
}

pub fn rate(figures: &Figures) -> f64 {
    figures.seen.rate()
}

pub fn p99(figures: &Figures) -> f64 {
    figures.seen.service.value_at_quantile(0.99) as f64 / 1000.0
}

fn cpu(figures: &Figures) -> f64 {
    figures.cpu_micros
}

/// As the service sees itself, once its observer has looked again.
fn resident(running: &Running) -> anyhow::Result<f64> {
    std::thread::sleep(Duration::from_millis(2500));
    running.service().metric("doorbuster_process_resident_bytes")
}

pub fn run(sizes: &[u64], items: u64, common: &Common) -> anyhow::Result<()> {
    ensure!(
        sizes.len() > 1 && sizes.is_sorted_by(|a, b| a < b),
        "give two or more numbers of holds, in ascending order"
    );
    let binary = crate::service::binary(common.doorbuster.as_deref())?;
    println!("{}\n{items} items, {CONNECTIONS} connections, single durable reserves", machine::describe());
    let mut grown = Vec::new();
    for &holds in sizes {
        let begin = Instant::now();
        let service = Grown::start(&binary, holds, items)?;
        println!("{holds:>9} holds made and written to the store in {:.1} s", begin.elapsed().as_secs_f64());
        grown.push(service);
    }
    for round in 0..common.pairs {
        // The smallest would not stay small: what is measured makes holds.
        let figures = std::mem::take(&mut grown[0].figures);
        grown[0] = Grown { figures, resident: grown[0].resident, ..Grown::start(&binary, sizes[0], items)? };
        let mut order: Vec<usize> = (0..grown.len()).collect();
        let turn = round % order.len();
        order.rotate_left(turn);
        for place in order {
            grown[place].measure(common)?;
        }
    }
    tell_load(&grown);
    for service in &grown {
        tell_scrapes(service)?;
    }
    let largest = grown.last().expect("there are two or more");
    tell_scraped(&largest.running, common)?;
    for service in &mut grown {
        let state = service.running.journal_bytes()?;
        let took = service.running.crash_and_recover(&binary)?;
        println!(
            "{:>9} holds and what was measured: ready {:.2} s after a kill ({:.0} MB of snapshot, {:.0} MB of journal behind it)",
            service.holds,
            took.as_secs_f64(),
            state.snapshot as f64 / 1e6,
            state.journal as f64 / 1e6
        );
    }
    if let Some(directory) = &common.plots {
        draw(directory, &grown)?;
    }
    Ok(())
}

fn tell_load(grown: &[Grown]) {
    println!(
        "\n{:>9} {:>9} {:>9} {:>9} {:>12} {:>12} {:>14}",
        "holds", "rate/s", "p99 ms", "CPU µs", "rate ratio", "p99 ratio", "bytes a hold"
    );
    let of_pairs = |service: &Grown, of: fn(&Figures) -> f64| {
        let pairs = service.figures.iter().zip(&grown[0].figures);
        median(&pairs.map(|(large, small)| of(large) / of(small)).collect::<Vec<_>>())
    };
    for service in grown {
        println!(
            "{:>9} {:>9.0} {:>9.2} {:>9.1} {:>12.3} {:>12.3} {:>14.0}",
            service.holds,
            service.median(rate),
            service.median(p99),
            service.median(cpu),
            of_pairs(service, rate),
            of_pairs(service, p99),
            service.bytes_a_hold()
        );
    }
    println!(
        "ratios to the smallest: medians of {} pairs (P10: rate >= 0.95, p99 <= 1.1; P8: <= 200 bytes)\n",
        grown[0].figures.len()
    );
}

fn scrape(running: &Running) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let (status, _) = call(running.service().ops, "GET", "/metrics", "")?;
    ensure!(status == 200, "GET /metrics: {status}");
    Ok(begin.elapsed().as_secs_f64() * 1000.0)
}

fn tell_scrapes(service: &Grown) -> anyhow::Result<()> {
    let times = (0..SCRAPES).map(|_| scrape(&service.running)).collect::<anyhow::Result<Vec<_>>>()?;
    let most = times.iter().copied().fold(0.0, f64::max);
    println!("{:>9} holds: a scrape takes {:.1} ms, {most:.1} at most of {SCRAPES}", service.holds, median(&times));
    Ok(())
}

/// What one scrape a second does to the p99 of requests.
fn tell_scraped(running: &Running, common: &Common) -> anyhow::Result<()> {
    let mut ratios = Vec::new();
    for pair in 0..common.pairs {
        let mut of = [0.0; 2];
        for place in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
            let done = AtomicBool::new(place == 0);
            of[place] = std::thread::scope(|scope| {
                let scraping = scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        scrape(running)?;
                        std::thread::sleep(Duration::from_secs(1));
                    }
                    anyhow::Ok(())
                });
                let figures = running.measure(&ask(common));
                done.store(true, Ordering::Relaxed);
                scraping.join().expect("scraping does not panic")?;
                anyhow::Ok(p99(&figures?))
            })?;
        }
        ratios.push(of[1] / of[0]);
    }
    println!(
        "p99 of reserves with a scrape each second / without, at the most holds: {:.3} (median of {} pairs)\n",
        median(&ratios),
        ratios.len()
    );
    Ok(())
}

fn draw(directory: &Path, grown: &[Grown]) -> anyhow::Result<()> {
    let line = |of: fn(&Figures) -> f64| grown.iter().map(|it| (it.holds as f64 / 1e6, it.median(of))).collect();
    plot::lines(
        &directory.join("growth-cost.svg"),
        "Processor time of a durable reserve against live holds",
        ("million live holds", "microseconds"),
        &[("durable", line(cpu))],
    )?;
    plot::lines(
        &directory.join("growth-latency.svg"),
        "p99 of durable reserves against live holds",
        ("million live holds", "milliseconds"),
        &[("durable", line(p99))],
    )
}
