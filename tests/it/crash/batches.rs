//! A kill in the middle of batches: each entry that was answered is still true, and each that was not happened once or not
//! at all.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    served::{
        PATIENCE,
        batches::{batch, check_result, outcome, results},
        documents::{address, as_made, with},
        now_millis,
        process::Process,
        reserve_body,
    },
    support::dice::Dice,
};

const CLIENTS: usize = 3;
const CYCLES: usize = 6;
/// More cycles than that only for want of batches that broke on their way.
const CYCLES_MAX: usize = 40;
const ENTRIES: usize = 2_000;
const STOCK: u64 = 1_000_000;

fn settings(dice: &mut Dice) -> Vec<(&'static str, String)> {
    vec![
        ("journal.segment_bytes", (1 << 20).to_string()),
        ("engine.shards", (1 + dice.below(8)).to_string()),
        ("server.workers", (1 + dice.below(2)).to_string()),
    ]
}

/// The entries of one batch, each with a key of its own.
fn entries(cycle: usize, client: usize, number: usize) -> Vec<Value> {
    let entry = |place: usize| {
        let body = reserve_body(&format!("customer-{client}-{}", place % 700), [("tv", 1)]);
        with(body, json!({ "idempotency_key": format!("{cycle}-{client}-{number}-{place}") }))
    };
    (0..ENTRIES).map(entry).collect()
}

/// Sends a batch and gives the results that came until the connection ended.
fn send(process: &Process, entries: &[Value]) -> Vec<Value> {
    let mut bytes = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(process.api) {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        let ask = batch("drop", entries).header("Connection", "close");
        if stream.write_all(&ask.encode()).is_ok() {
            // How it ends does not matter here, but what came before.
            let _ = stream.read_to_end(&mut bytes);
        }
    }
    let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(&[][..], |end| &bytes[end + 4..]);
    whole_results(&dechunked(body))
}

/// What came of a chunked body, the beginning of its last chunk included.
fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    while let Some(end) = body.windows(2).position(|end| end == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        let chunk = &body[end + 2..];
        text.extend_from_slice(&chunk[..length.min(chunk.len())]);
        body = chunk.get(length + 2..).unwrap_or_default();
    }
    text
}

fn whole_results(text: &[u8]) -> Vec<Value> {
    let mut rest = text.strip_prefix(b"{\"results\":[").unwrap_or_default();
    let mut results = Vec::new();
    loop {
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Value>();
        let Some(Ok(result)) = values.next() else { return results };
        check_result(&result);
        results.push(result);
        rest = rest[values.byte_offset()..].strip_prefix(b",").unwrap_or_default();
    }
}

#[test]
fn a_kill_in_the_middle_of_batches_leaves_every_answer_true() {
    let seed = now_millis();
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut process = Process::start(&data, &settings(&mut dice));
    process.client().put_open_sale("drop", [("tv", STOCK)]);
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    let mut broken = 0;
    for cycle in 0..CYCLES_MAX {
        if cycle >= CYCLES && broken >= 2 {
            break;
        }
        let delay = Duration::from_millis(20 + dice.below(150));
        let told: Vec<_> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let process = &process;
                    scope.spawn(move || {
                        let mut told = Vec::new();
                        for number in 0.. {
                            let entries = entries(cycle, client, number);
                            let results = send(process, &entries);
                            let gone = results.len() < entries.len();
                            told.push((entries, results));
                            if gone {
                                return told;
                            }
                        }
                        unreachable!("the service is killed at some time")
                    })
                })
                .collect();
            thread::sleep(delay);
            process.signal("KILL");
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        process.kill();
        process = Process::start(&data, &settings(&mut dice));
        for (entries, results) in told {
            broken += usize::from(!results.is_empty() && results.len() < entries.len());
            take_over(&process, &mut known, &entries, &results);
        }
        let held = known.len() as u64;
        assert_eq!(process.client().units("drop", "tv"), [STOCK, STOCK - held, held, 0]);
        println!("cycle {cycle}: killed after {delay:?}, {held} known, {broken} batches broken on their way");
    }
    assert!(broken >= 2, "no batch broke on its way: this says little");
}

/// Looks at what was answered, and repeats the batch: who had an answer gets it again, and nobody gets a second hold.
fn take_over(process: &Process, known: &mut BTreeMap<String, Value>, entries: &[Value], answered: &[Value]) {
    let mut client = process.client();
    for result in answered.iter().step_by(50) {
        assert_eq!(client.look(&result["reservation"]), as_made(result["reservation"].clone()));
    }
    let again = results(&client.send(&batch("drop", entries)));
    for (place, result) in again.iter().enumerate() {
        assert!(["held", "replayed"].contains(&outcome(result)), "{result}");
        if let Some(first) = answered.get(place) {
            assert_eq!(outcome(result), "replayed", "acknowledged and made anew: {first}");
            assert_eq!(as_made(result["reservation"].clone()), as_made(first["reservation"].clone()));
        }
        known.insert(address(&result["reservation"]), as_made(result["reservation"].clone()));
    }
}
