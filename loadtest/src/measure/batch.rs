//! The batch call: reservations per second, and its effect on concurrent single requests.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::{net::TcpStream, task::LocalSet};

use crate::{
    Common,
    bout::{median, middle_half},
    contenders::{Ask, Contender, Running},
    generator::Pace,
    machine,
    service::{SALE, Setup, binary},
};

/// Connections that send batches at once when the rate is asked for: one being read, decided or shown on each worker.
const SENDERS: usize = 4;

/// Single requests a second beside the batches, over so many connections: far from what can be sustained.
const SINGLES: f64 = 4000.0;
const SINGLE_CONNECTIONS: usize = 64;

/// A turn of the single requests: two batches fall into it.
const TURN: Duration = Duration::from_secs(2);

pub fn run(entries: usize, common: &Common) -> anyhow::Result<()> {
    let binary = binary(common.doorbuster.as_deref())?;
    println!("{}", machine::describe());
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..common.pairs {
        let running = Contender::Doorbuster(Setup::DURABLE).start(&binary)?;
        let Flood { rate, cpu, .. } = flood(&running, entries, common.time())?;
        println!("    {rate:>9.0} reservations/s in batches of {entries}, {cpu:.2} µs CPU each");
        rates.push(rate);
        costs.push(cpu);
    }
    println!(
        "P4   {:.0} durable reservations a second through the batch call, {:.2} µs CPU each\n",
        median(&rates),
        median(&costs)
    );

    println!(
        "{SINGLES} single requests a second to one worker, in turns alone and beside a batch of {entries} each second"
    );
    println!("Difference that a batch makes: median of the pairs of turns, and where the middle half of them lies");
    for (ack, durable) in [("durable", true), ("buffered", false)] {
        let running = Contender::Doorbuster(Setup { durable, workers: Some(1), ..Setup::DURABLE }).start(&binary)?;
        let turns = neighbours(&running, entries, common)?;
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            let millis = |times: &Histogram<u64>| times.value_at_quantile(quantile) as f64 / 1000.0;
            let alone: Vec<f64> = turns.iter().map(|(alone, _)| millis(alone)).collect();
            let more: Vec<f64> = turns.iter().map(|(alone, beside)| millis(beside) - millis(alone)).collect();
            let (low, high) = middle_half(&more);
            println!(
                "{ack:<9} {name}  {:>6.2} ms alone  {:>+6.2} ms more ({low:+.2} to {high:+.2}, {} pairs)",
                median(&alone),
                median(&more),
                more.len()
            );
        }
    }
    Ok(())
}

/// Response times of single requests, without batches and with them, turn by turn. A stall of the machine or of its disk makes
/// one pair a bad one; that a batch delays its neighbours would show in all.
fn neighbours(
    running: &Running,
    entries: usize,
    common: &Common,
) -> anyhow::Result<Vec<(Histogram<u64>, Histogram<u64>)>> {
    let ask = Ask {
        connections: SINGLE_CONNECTIONS,
        pace: Pace::PerSecond(SINGLES),
        warm_up: Duration::from_millis(300),
        time: TURN,
        check: false,
    };
    let alone = || anyhow::Ok(running.measure(&ask)?.seen.response);
    let beside = || while_batches_run(running, entries, alone);
    let pairs = common.pairs * (common.time().as_millis() / TURN.as_millis()).max(1) as usize;
    // Who goes first changes: whatever the first does to the machine, the second meets.
    let pair = |number: usize| {
        anyhow::Ok(if number.is_multiple_of(2) {
            (alone()?, beside()?)
        } else {
            let beside = beside()?;
            (alone()?, beside)
        })
    };
    (0..pairs).map(pair).collect()
}

/// What came of sending batches as fast as their answers come.
pub struct Flood {
    pub granted: u64,
    /// Reservations a second.
    pub rate: f64,
    /// Microseconds of processor time for each.
    pub cpu: f64,
}

/// As many batches as are answered in this time, nearly all of new customers.
pub fn flood(running: &Running, entries: usize, time: Duration) -> anyhow::Result<Flood> {
    let address = running.address();
    // Made before: making them is not the service's work.
    let bodies: Vec<Bytes> = (0..256).map(|number| body(entries, number)).collect();
    let before = machine::cpu_seconds(&running.processes());
    let begin = Instant::now();
    let granted = local(async {
        let granted = Arc::new(AtomicU64::new(0));
        let next = Arc::new(AtomicU64::new(0));
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (bodies, granted, next) = (bodies.clone(), granted.clone(), next.clone());
                tokio::task::spawn_local(async move {
                    let mut sender = connect(address).await?;
                    while begin.elapsed() < time {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let body = bodies[number as usize % bodies.len()].clone();
                        granted.fetch_add(send(&mut sender, address, body).await?, Ordering::Relaxed);
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for sender in senders {
            sender.await??;
        }
        anyhow::Ok(granted.load(Ordering::Relaxed))
    })?;
    let elapsed = begin.elapsed().as_secs_f64();
    let cpu = machine::cpu_seconds(&running.processes()) - before;
    ensure!(granted > 0, "no entry was granted");
    Ok(Flood { granted, rate: granted as f64 / elapsed, cpu: cpu * 1e6 / granted as f64 })
}

/// Holds so many units for as many customers, the first with this number.
pub fn hold(running: &Running, first: u64, holds: u64) -> anyhow::Result<()> {
    const ENTRIES: u64 = 10_000;
    let address = running.address();
    local(async {
        let next = Arc::new(AtomicU64::new(first));
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let next = next.clone();
                tokio::task::spawn_local(async move {
                    let mut sender = connect(address).await?;
                    loop {
                        let begin = next.fetch_add(ENTRIES, Ordering::Relaxed);
                        let entries = ENTRIES.min((first + holds).saturating_sub(begin));
                        if entries == 0 {
                            return anyhow::Ok(());
                        }
                        // Numbered apart from those whose customers come again.
                        let granted = send(&mut sender, address, body(entries as usize, 1_000_000 + begin)).await?;
                        ensure!(granted == entries, "{granted} of {entries} entries were granted");
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await??;
        }
        Ok(())
    })
}

/// Does the work while a batch comes in each second.
pub fn while_batches_run<T: Send>(
    running: &Running,
    entries: usize,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let (address, done) = (running.address(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let batches = scope.spawn(|| {
            local(async {
                // Made before: making it is not the service's work. Customers may come again.
                let (body, mut sender) = (body(entries, 1000), connect(address).await?);
                let mut sent = 0;
                while !done.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    ensure!(send(&mut sender, address, body.clone()).await? > 0, "no entry was granted");
                    sent += 1;
                    tokio::time::sleep(Duration::from_secs(1).saturating_sub(begin.elapsed())).await;
                }
                Ok(sent)
            })
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        ensure!(batches.join().expect("the batches do not panic")? > 0, "no batch was sent");
        worked
    })
}

fn local<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, work)
}

fn body(entries: usize, number: u64) -> Bytes {
    let entry = |place| format!(r#"{{"customer":"b-{number}-{place}","lines":[{{"sku":"sku-0","quantity":1}}]}}"#);
    let entries: Vec<String> = (0..entries).map(entry).collect();
    format!(r#"{{"reservations":[{}]}}"#, entries.join(",")).into()
}

async fn connect(address: SocketAddr) -> anyhow::Result<http1::SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

/// Sends a batch and reads its answer; how many entries were granted.
async fn send(sender: &mut http1::SendRequest<Full<Bytes>>, address: SocketAddr, body: Bytes) -> anyhow::Result<u64> {
    let request = Request::post(format!("/v1/sales/{SALE}/reservations/batch"))
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let (mut granted, mut body) = (Granted::default(), response.into_body());
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame?.into_data() else { continue };
        granted.see(&bytes);
    }
    ensure!(status == 200, "a batch was answered {status}");
    Ok(granted.count)
}

/// Counts the entries of an answer that were granted, frame by frame.
#[derive(Default)]
struct Granted {
    count: u64,
    /// What came last, too short to hold a mark.
    tail: Vec<u8>,
}

impl Granted {
    const MARK: &'static [u8] = b"{\"status\":201,";

    fn see(&mut self, frame: &[u8]) {
        const LESS: usize = Granted::MARK.len() - 1;
        let count = |bytes: &[u8]| memmem::find_iter(bytes, Self::MARK).count() as u64;
        // A mark may lie across two frames.
        self.tail.extend_from_slice(&frame[..frame.len().min(LESS)]);
        self.count += count(&self.tail) + if frame.len() > LESS { count(frame) } else { 0 };
        if frame.len() > LESS {
            self.tail.clear();
            self.tail.extend_from_slice(&frame[frame.len() - LESS..]);
        } else {
            self.tail.drain(..self.tail.len().saturating_sub(LESS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_granted_is_counted_wherever_frames_end() {
        let answer = br#"{"results":[{"status":201,"a":1},{"status":409},{"status":201,"b":2},{"status":201,"c":3}]}"#;
        for size in 1..=answer.len() {
            let mut granted = Granted::default();
            answer.chunks(size).for_each(|frame| granted.see(frame));
            assert_eq!(granted.count, 3, "frames of {size} bytes");
        }
    }
}
