//! What large changes cost callers of another sale: p99 of reserves while a sale of 10,000 items is put again, while all holds of
//! a sale are extended, and while units come back to very many who wait, over p99 before. And batches of a sale with rules over those
//! of a plain one.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::ensure;

use crate::{
    Common, batch,
    bout::{self, Ratio},
    contenders::{Ask, Contender, Running},
    generator::Pace,
    growth::{Grown, p99},
    machine,
    service::{SALE, Setup, binary, call},
};

const CONNECTIONS: usize = 64;
const ITEMS: usize = 10_000;
const ENTRIES: usize = 10_000;
/// Callers that put customers on the waitlist at once, and units that come back at once.
const JOINING: u64 = 8;
const COME_BACK: u64 = 100;
/// Between two changes, so that the store can follow them.
const BETWEEN_CHANGES: Duration = Duration::from_millis(100);

pub fn run(per_second: u32, holds: u64, waiting: u64, common: &Common) -> anyhow::Result<()> {
    let binary = binary(common.doorbuster.as_deref())?;
    println!("{}\n{per_second} reserves a second over {CONNECTIONS} connections", machine::describe());
    let batches = batches(&binary, common)?;
    let pace = Pace::PerSecond(per_second.into());
    let ask =
        Ask { connections: CONNECTIONS, pace, warm_up: Duration::from_secs(1), time: common.time(), check: false };

    let running = Contender::Doorbuster(Setup::DURABLE).start(&binary)?;
    let document = document()?;
    let put = |address| {
        let (status, told) = call(address, "PUT", "/v1/sales/large", &document)?;
        ensure!(matches!(status, 200 | 201), "PUT of the large sale: {status} {told}");
        Ok(())
    };
    put(running.address())?;
    let puts = compare("a sale of 10,000 items is put", &running, &ask, common, u64::MAX, put)?;
    let adjust = format!(r#"{{"delta":{COME_BACK},"reason":"measured"}}"#);
    wait_for_units(running.address(), waiting)?;
    let come_back = |address| {
        let (status, told) = call(address, "POST", "/v1/sales/awaited/items/wanted/adjustments", &adjust)?;
        ensure!(status == 201 || status == 200, "an adjustment: {status} {told}");
        Ok(())
    };
    let offers =
        compare(&format!("units come back to {waiting} who wait"), &running, &ask, common, u64::MAX, come_back)?;
    drop(running);

    let Grown { running, .. } = Grown::start(&binary, holds, 1)?;
    let extend = |address| {
        let (status, told) =
            call(address, "POST", &format!("/v1/sales/{SALE}/holds/extend"), r#"{"seconds":1,"reason":"measured"}"#)?;
        ensure!(status == 200, "extending all holds: {status} {told}");
        Ok(())
    };
    // Once: the store has as much to write as there are holds.
    let extensions = compare(&format!("{holds} holds are extended"), &running, &ask, common, 1, extend)?;

    println!("\nmedian of the pairs' ratios (least to most)");
    for (what, ratio) in [
        ("P14b rate, batches with rules / plain, target >= 0.80", batches),
        ("P18  p99, while a sale of 10,000 items is put / before, target <= 2", puts),
        ("P18  p99, while all holds are extended / before, target <= 2", extensions),
        ("P15  p99, while units are offered to who waits / before, target <= 1.2", offers),
    ] {
        let (least, most) = ratio.spread();
        println!("{:.3} ({least:.3} to {most:.3}, {} pairs)  {what}", ratio.median(), ratio.pairs.len());
    }
    Ok(())
}

/// A sale without units, and so many customers who wait for some.
fn wait_for_units(address: SocketAddr, waiting: u64) -> anyhow::Result<()> {
    let document = r#"{"name":"Awaited","opens_at":"2020-01-01T00:00:00Z","closes_at":"2099-01-01T00:00:00Z","hold_seconds":3600,
        "waitlist":{"entries_max":10000000,"entry_seconds":86400},"items":[{"sku":"wanted","initial_stock":0}]}"#;
    let (status, told) = call(address, "PUT", "/v1/sales/awaited", document)?;
    ensure!(status == 201, "PUT of the awaited sale: {status} {told}");
    let join = |caller: u64| {
        for number in (caller..waiting).step_by(JOINING as usize) {
            let body = format!(r#"{{"customer":"waits-{number}","lines":[{{"sku":"wanted","quantity":1}}]}}"#);
            let (status, told) = call(address, "POST", "/v1/sales/awaited/waitlist", &body)?;
            ensure!(status == 201, "joining: {status} {told}");
        }
        anyhow::Ok(())
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..JOINING).map(|caller| scope.spawn(move || join(caller))).collect();
        callers.into_iter().try_for_each(|caller| caller.join().expect("it does not panic"))
    })
}

fn batches(binary: &Path, common: &Common) -> anyhow::Result<Ratio> {
    let flood = |rules| {
        rustix::fs::sync();
        let running = Contender::Doorbuster(Setup { rules, ..Setup::DURABLE }).start(binary)?;
        let flood = batch::flood(&running, ENTRIES, common.time())?;
        println!("    batches, {:<14} {:>9.0}/s", if rules { "with rules" } else { "plain" }, flood.rate);
        running.settle()?;
        anyhow::Ok(flood.rate)
    };
    let mut pairs = Vec::new();
    for pair in 0..common.pairs {
        let (with, plain) = if pair % 2 == 0 {
            let with = flood(true)?;
            (with, flood(false)?)
        } else {
            let plain = flood(false)?;
            (flood(true)?, plain)
        };
        pairs.push(with / plain);
    }
    Ok(Ratio { pairs })
}

/// p99 of reserves while `change` is made about ten times a second, but at most so many times, over p99 before.
fn compare(
    what: &str,
    running: &Running,
    ask: &Ask,
    common: &Common,
    times_max: u64,
    change: impl Fn(SocketAddr) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Ratio> {
    let mut pairs = Vec::new();
    for _ in 0..common.pairs {
        let before = running.measure(ask)?;
        println!("    {}", bout::line("alone", &before));
        let (over, changes) = (AtomicBool::new(false), AtomicU64::new(0));
        let (during, changed) = thread::scope(|scope| {
            let changing = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) && changes.load(Ordering::Relaxed) < times_max {
                    change(running.address())?;
                    changes.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(BETWEEN_CHANGES);
                }
                anyhow::Ok(())
            });
            let during = running.measure(ask);
            over.store(true, Ordering::Relaxed);
            (during, changing.join().expect("it does not panic"))
        });
        changed?;
        let during = during?;
        println!("    {}", bout::line(&format!("{what}, {} times", changes.into_inner()), &during));
        pairs.push(p99(&during) / p99(&before));
    }
    Ok(Ratio { pairs })
}

fn document() -> anyhow::Result<String> {
    let mut items = String::new();
    for number in 0..ITEMS {
        let comma = if number == 0 { "" } else { "," };
        write!(items, r#"{comma}{{"sku":"large-{number}","initial_stock":1000,"customer_limit":2}}"#)?;
    }
    Ok(format!(
        r#"{{"name":"Large","opens_at":"2020-01-01T00:00:00Z","closes_at":"2099-01-01T00:00:00Z","hold_seconds":300,"items":[{items}]}}"#
    ))
}
