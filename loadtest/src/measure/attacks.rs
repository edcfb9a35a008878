//! A good client beside attackers: its latency alone, and during each attack.
//!
//! The attackers pause between strikes, because on machines of their own they would not take this machine's processor time. The
//! output has the number of strikes.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use anyhow::ensure;

use crate::{
    Common,
    bout::median,
    contenders::{Ask, Contender, Running},
    generator::Pace,
    machine,
    service::{Setup, binary},
};

/// The good client's requests a second, over so many connections.
const GOOD: f64 = 4000.0;
const GOOD_CONNECTIONS: usize = 64;

/// Attackers that strike at once, each from a thread of its own.
const ATTACKERS: usize = 4;

const WARM_UP: Duration = Duration::from_secs(1);

/// Between two blows of an attacker.
const REST: Duration = Duration::from_millis(5);

type Blow = fn(&mut Attacker) -> std::io::Result<()>;

const ATTACKS: [(&str, Blow); 8] = [
    ("heads byte by byte", slow_heads),
    ("bodies byte by byte", slow_bodies),
    ("answers left unread", unread_answers),
    ("oversize heads and bodies", oversize),
    ("smuggling and bare line feeds", malformed),
    ("connections opened and left", churn),
    ("h2 rapid reset", rapid_reset),
    ("h2 CONTINUATION flood", continuation_flood),
];

pub fn run(names: &[String], common: &Common) -> anyhow::Result<()> {
    let known: Vec<_> = ATTACKS.iter().map(|(name, _)| *name).collect();
    for name in names {
        ensure!(known.contains(&name.as_str()), "there is no attack {name:?}; the attacks are {}", known.join(", "));
    }
    let binary = binary(common.doorbuster.as_deref())?;
    println!("{}", machine::describe());
    println!(
        "a good client's {GOOD} durable reserves a second over {GOOD_CONNECTIONS} connections, medians of {} rounds\n\
         elsewhere: the same attack, struck at a bare hyper server beside the service, for what it burns by itself",
        common.pairs
    );
    println!(
        "{:<32} {:>8} {:>29} {:>29} {:>16}",
        "attack", "blows/s", "p50 ms alone, elsewhere, here", "p99 ms alone, elsewhere, here", "p50, p99 ratio"
    );
    let elsewhere = Contender::Ceiling.start(&binary)?;
    for (name, blow) in
        ATTACKS.into_iter().filter(|attack| names.is_empty() || names.iter().any(|name| name == attack.0))
    {
        // A service of its own for each: what one attack leaves behind is not the next one's.
        let running = Contender::Doorbuster(Setup::DURABLE).start(&binary)?;
        let mut rounds = Vec::new();
        for _ in 0..common.pairs {
            let alone = latency(&running, common)?;
            let (aside, _) = under_attack(elsewhere.address(), blow, || latency(&running, common))?;
            let (here, struck) = under_attack(running.address(), blow, || latency(&running, common))?;
            let blows = struck as f64 / (common.time() + WARM_UP).as_secs_f64();
            rounds.push(Round { alone, aside, here, blows });
        }
        println!("{}", line(name, &rounds));
    }
    Ok(())
}

/// Response times of the good client, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Latency {
    p50: f64,
    p99: f64,
}

struct Round {
    alone: Latency,
    aside: Latency,
    here: Latency,
    blows: f64,
}

fn line(name: &str, rounds: &[Round]) -> String {
    let of = |figure: &dyn Fn(&Round) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
    format!(
        "{name:<32} {:>8.0} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>8.2} {:>7.2}",
        of(&|round| round.blows),
        of(&|round| round.alone.p50),
        of(&|round| round.aside.p50),
        of(&|round| round.here.p50),
        of(&|round| round.alone.p99),
        of(&|round| round.aside.p99),
        of(&|round| round.here.p99),
        of(&|round| round.here.p50 / round.alone.p50),
        of(&|round| round.here.p99 / round.alone.p99),
    )
}

/// Every request of the good client must be granted.
fn latency(running: &Running, common: &Common) -> anyhow::Result<Latency> {
    let ask = Ask {
        connections: GOOD_CONNECTIONS,
        pace: Pace::PerSecond(GOOD),
        warm_up: WARM_UP,
        time: common.time(),
        check: true,
    };
    let seen = running.measure(&ask)?.seen;
    ensure!(seen.statuses.keys().all(|&status| status == 201), "the good client was refused: {:?}", seen.statuses);
    ensure!(seen.closed == 0 && seen.given_up == 0, "the good client was cut off");
    let millis = |quantile| seen.response.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Latency { p50: millis(0.5), p99: millis(0.99) })
}

/// Does the work while the attack strikes at the address; and how often it struck.
fn under_attack<T>(
    address: SocketAddr,
    blow: Blow,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, u64)> {
    let (done, blows) = (AtomicBool::new(false), AtomicU64::new(0));
    let worked = std::thread::scope(|scope| {
        for _ in 0..ATTACKERS {
            scope.spawn(|| {
                let mut attacker = Attacker { address, streams: Vec::new(), blows: 0 };
                while !done.load(Ordering::Relaxed) {
                    // Cut off, or not let in: it tries again.
                    if blow(&mut attacker).is_err() {
                        attacker.streams.clear();
                    }
                    attacker.blows += 1;
                    std::thread::sleep(REST);
                }
                blows.fetch_add(attacker.blows, Ordering::Relaxed);
            });
        }
        let worked = work();
        done.store(true, Ordering::Relaxed);
        worked
    })?;
    let blows = blows.into_inner();
    ensure!(blows > 0, "the attack never struck");
    Ok((worked, blows))
}

struct Attacker {
    address: SocketAddr,
    streams: Vec<TcpStream>,
    blows: u64,
}

impl Attacker {
    fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_write_timeout(Some(Duration::from_millis(50)))?;
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(stream)
    }

    /// One more byte of this on every connection, of which there are up to 250.
    fn drip(&mut self, first: &[u8], byte: &[u8]) -> std::io::Result<()> {
        if self.streams.len() < 250 {
            let mut stream = self.connect()?;
            stream.write_all(first)?;
            self.streams.push(stream);
        }
        let place = self.blows as usize % self.streams.len();
        if self.streams[place].write_all(byte).is_err() {
            self.streams.swap_remove(place);
        }
        Ok(())
    }
}

fn slow_heads(attacker: &mut Attacker) -> std::io::Result<()> {
    attacker.drip(b"GET /v1/sales HTTP/1.1\r\nhost: here\r\nx-slow: ", b"a")
}

fn slow_bodies(attacker: &mut Attacker) -> std::io::Result<()> {
    let head = b"POST /v1/sales/measured/reservations HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n\
        content-length: 4000\r\n\r\n{\"customer\":\"";
    attacker.drip(head, b"a")
}

/// Asks for the longest document again and again and reads none of it.
fn unread_answers(attacker: &mut Attacker) -> std::io::Result<()> {
    if attacker.streams.len() < 50 {
        let stream = attacker.connect()?;
        stream.set_nonblocking(true)?;
        attacker.streams.push(stream);
    }
    let place = attacker.blows as usize % attacker.streams.len();
    match attacker.streams[place].write(&b"GET /openapi.json HTTP/1.1\r\nhost: here\r\n\r\n".repeat(16)) {
        Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
            attacker.streams.swap_remove(place);
        }
        _ => {}
    }
    Ok(())
}

fn oversize(attacker: &mut Attacker) -> std::io::Result<()> {
    let mut stream = attacker.connect()?;
    if attacker.blows.is_multiple_of(2) {
        write!(stream, "GET /v1/sales HTTP/1.1\r\nhost: here\r\nx-large: {}\r\n\r\n", "a".repeat(200_000))?;
    } else {
        let head = "POST /v1/sales/measured/reservations HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n";
        write!(stream, "{head}content-length: 100000000\r\n\r\n{}", " ".repeat(200_000))?;
    }
    let _ = stream.read(&mut [0; 1024])?;
    Ok(())
}

fn malformed(attacker: &mut Attacker) -> std::io::Result<()> {
    const SHAPES: [&[u8]; 4] = [
        b"POST /v1/sales/measured/reservations HTTP/1.1\r\nhost: here\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/sales/measured/reservations HTTP/1.1\r\nhost: here\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
        b"GET /v1/sales HTTP/1.1\nhost: here\n\n",
        b"GET /v1/sales HTTP/1.1\r\nhost: here\r\n folded: yes\r\n\r\n",
    ];
    let mut stream = attacker.connect()?;
    stream.write_all(SHAPES[attacker.blows as usize % SHAPES.len()])?;
    let _ = stream.read(&mut [0; 1024])?;
    Ok(())
}

fn churn(attacker: &mut Attacker) -> std::io::Result<()> {
    for _ in 0..10 {
        drop(attacker.connect()?);
    }
    Ok(())
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET /` of `here`, by indexes of HPACK's static table and one literal.
const HEADERS: &[u8] = b"\x82\x86\x84\x41\x04here";

/// A hundred streams, each reset as soon as it was begun.
fn rapid_reset(attacker: &mut Attacker) -> std::io::Result<()> {
    const RESET: u8 = 3;
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let mut stream = attacker.connect()?;
    let mut bytes = PREFACE.to_vec();
    for number in 0..100 {
        bytes.extend(frame(1, 0x5, 2 * number + 1, HEADERS));
        bytes.extend(frame(RESET, 0, 2 * number + 1, &CANCEL));
    }
    stream.write_all(&bytes)?;
    let _ = stream.read(&mut [0; 1024])?;
    Ok(())
}

/// Headers that never end.
fn continuation_flood(attacker: &mut Attacker) -> std::io::Result<()> {
    let mut stream = attacker.connect()?;
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(1, 0x1, 1, HEADERS));
    for _ in 0..64 {
        // A literal header, never indexed, of a kilobyte.
        let mut field = b"\x10\x01x\x7f\x81\x07".to_vec();
        field.extend([b'a'; 1024]);
        bytes.extend(frame(9, 0, 1, &field));
    }
    stream.write_all(&bytes)?;
    let _ = stream.read(&mut [0; 1024])?;
    Ok(())
}
