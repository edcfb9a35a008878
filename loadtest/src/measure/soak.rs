//! A soak test: mixed load at a steady rate for a long time, and the service's memory.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use crate::{
    Common, batch,
    bout::median,
    contenders::{Ask, Contender, Running},
    generator::Pace,
    machine, plot,
    service::{SALE, Setup, call},
};

const CONNECTIONS: usize = 64;
const SINGLES: f64 = 2000.0;
const BATCH_ENTRIES: usize = 500;
/// Shoppers that do more than reserve: so many a second.
const SHOPPERS: u32 = 50;
/// Holds last so long, and what is over is kept as long again: the run is many times that.
const HOLD_SECONDS: u64 = 10;
const RETENTION_SECONDS: u64 = 60;

/// One look.
struct Look {
    minute: f64,
    p99: f64,
    resident: f64,
}

pub fn run(minutes: u64, common: &Common) -> anyhow::Result<()> {
    ensure!(minutes >= 3, "must be 3 minutes or more: memory grows until ended reservations leave it");
    let binary = crate::service::binary(common.doorbuster.as_deref())?;
    let setup =
        Setup { hold_seconds: HOLD_SECONDS, retention_seconds: Some(RETENTION_SECONDS), items: 1000, ..Setup::DURABLE };
    let running = Contender::Doorbuster(setup).start(&binary)?;
    println!(
        "{}\n{SINGLES} reserves per second, a batch of {BATCH_ENTRIES} each second, and {SHOPPERS} shoppers per \
         second who confirm, release, extend, repeat or abandon; holds of {HOLD_SECONDS} s, ended reservations kept \
         for {RETENTION_SECONDS} s",
        machine::describe()
    );
    let (done, shopped) = (AtomicBool::new(false), AtomicU64::new(0));
    let looks = std::thread::scope(|scope| {
        let shopping = scope.spawn(|| shop(&running, &done, &shopped));
        let looks = batch::while_batches_run(&running, BATCH_ENTRIES, || look_each_minute(&running, minutes));
        done.store(true, Ordering::Relaxed);
        shopping.join().expect("shopping does not panic")?;
        looks
    })?;
    let third = looks.len() / 3;
    let resident = |looks: &[Look]| median(&looks.iter().map(|look| look.resident).collect::<Vec<_>>());
    let (middle, last) = (resident(&looks[third..2 * third]), resident(&looks[2 * third..]));
    println!(
        "\nresident memory, last third / middle third: {:.3} ({:.0} MB, {:.0} MB); {} shoppers",
        last / middle,
        last / 1e6,
        middle / 1e6,
        shopped.load(Ordering::Relaxed)
    );
    if let Some(directory) = &common.plots {
        let line = |of: fn(&Look) -> f64| looks.iter().map(|look| (look.minute, of(look))).collect();
        plot::lines(
            &directory.join("soak-memory.svg"),
            "Resident memory under steady mixed load",
            ("minutes", "MB"),
            &[("resident", line(|look| look.resident / 1e6))],
        )?;
        plot::lines(
            &directory.join("soak-latency.svg"),
            "p99 of reserves under steady mixed load",
            ("minutes", "milliseconds from when each was due"),
            &[("p99", line(|look| look.p99))],
        )?;
    }
    Ok(())
}

fn look_each_minute(running: &Running, minutes: u64) -> anyhow::Result<Vec<Look>> {
    println!(
        "\n{:>7} {:>9} {:>8} {:>8} {:>9} {:>12} {:>14}",
        "minute", "rate/s", "p50 ms", "p99 ms", "CPU µs", "resident MB", "reservations"
    );
    let ask = Ask {
        connections: CONNECTIONS,
        pace: Pace::PerSecond(SINGLES),
        warm_up: Duration::from_millis(300),
        time: Duration::from_secs(58),
        check: true,
    };
    let begin = Instant::now();
    let mut looks = Vec::new();
    while begin.elapsed() < Duration::from_secs(60 * minutes) {
        let figures = running.ask(&ask)?;
        let metric = |name| running.service().metric(name);
        let millis = |quantile| figures.seen.response.value_at_quantile(quantile) as f64 / 1000.0;
        let look = Look {
            minute: begin.elapsed().as_secs_f64() / 60.0,
            p99: millis(0.99),
            resident: metric("doorbuster_process_resident_bytes")?,
        };
        println!(
            "{:>7.1} {:>9.0} {:>8.2} {:>8.2} {:>9.1} {:>12.1} {:>14.0}",
            look.minute,
            figures.seen.rate(),
            millis(0.5),
            look.p99,
            figures.cpu_micros,
            look.resident / 1e6,
            metric("doorbuster_reservations_in_memory")?
        );
        looks.push(look);
    }
    Ok(looks)
}

/// What shoppers do beside reserving, each over connections of its own.
fn shop(running: &Running, done: &AtomicBool, shopped: &AtomicU64) -> anyhow::Result<()> {
    let address = running.address();
    let ask = |path: &str, body: &str, expected: &[u16]| {
        let (status, text) = call(address, "POST", path, body)?;
        ensure!(expected.contains(&status), "POST {path}: {status} {text}");
        anyhow::Ok(text)
    };
    for number in 0_u64.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let begin = Instant::now();
        let sku = number % 1000;
        let body = format!(r#"{{"customer":"s-{}","lines":[{{"sku":"sku-{sku}","quantity":2}}]}}"#, number % 100_000);
        let text = ask(&format!("/v1/sales/{SALE}/reservations"), &body, &[201])?;
        let made: serde_json::Value = serde_json::from_str(&text)?;
        let path = format!("/v1/reservations/{}", made["id"].as_str().context("a reservation has an id")?);
        match number % 4 {
            0 => drop(ask(&format!("{path}/confirm"), r#"{"reference":"order"}"#, &[200])?),
            1 => drop(ask(&format!("{path}/release"), "", &[200])?),
            2 => {
                ask(&format!("{path}/extend"), r#"{"hold_seconds":20}"#, &[200])?;
                ask(&format!("{path}/confirm"), "", &[200])?;
            }
            _ => {}
        }
        shopped.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep((Duration::from_secs(1) / SHOPPERS).saturating_sub(begin.elapsed()));
    }
    Ok(())
}
