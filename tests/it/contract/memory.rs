//! Memory: bodies and answers under way share one budget that a flood cannot exceed and that refuses no reserve; reservations and
//! customers are counted in bytes.

use std::{
    convert::Infallible,
    fs,
    pin::Pin,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request,
    body::{Body, Frame},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::{
    contract::multiplexed,
    served::{
        Ask, Client, Connection, Service,
        batches::{batch, results},
        metrics::Scrape,
        open_sale,
        process::Process,
        reserve_body, wait_until,
    },
};

const MIB: usize = 1 << 20;

/// By a connection of its own: one that is idle for long is closed.
fn gauge(ops: impl FnOnce() -> Client, name: &str) -> f64 {
    Scrape::parse(ops().get("/metrics").text()).value(name, [])
}

/// A service as a process of its own, whose memory is its own too.
fn serve(directory: &tempfile::TempDir, settings: &[(&str, String)]) -> Process {
    let common = [("server.workers", "2".to_owned()), ("engine.shards", "4".to_owned())];
    let settings: Vec<_> = common.into_iter().chain(settings.iter().cloned()).collect();
    Process::start(&directory.path().join("data"), &settings)
}

fn resident_bytes(process: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory is told");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

fn small_batch(customer: &str) -> Ask {
    batch("drop", [reserve_body(customer, [("tv", 1)])])
}

#[test]
fn unfinished_batches_are_bounded_together_and_refuse_no_reserve() {
    let directory = tempfile::tempdir().unwrap();
    let settings =
        [("limits.buffered_bytes_max", (32 * MIB).to_string()), ("limits.body_read_seconds", "120".to_owned())];
    let process = serve(&directory, &settings);
    let (mut client, ops) = (process.client(), || process.ops());
    client.put_open_sale("drop", [("tv", 1_000_000)]);
    results(&client.send(&small_batch("first")));
    let before = resident_bytes(&process);
    let head = "POST /v1/sales/drop/reservations/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
        Content-Length: 8388608\r\n\r\n{\"reservations\":[";
    let part = [head.as_bytes(), &vec![b' '; MIB]].concat();
    let mut flood = Vec::new();
    for number in 0..300 {
        let mut connection = Connection::open(process.api).unwrap();
        // Those past the budget are answered, and may find their connection closed.
        let _ = connection.send(&part);
        flood.push(connection);
        if number % 10 == 0 {
            client.hold("drop", &format!("beside-{number}"), [("tv", 1)]);
        }
    }
    wait_until("the share of batches is taken", || gauge(ops, "doorbuster_buffered_bytes") > 20e6);
    let mut late = small_batch("late");
    late.body.as_mut().unwrap().extend_from_slice(&vec![b' '; 2 * MIB]);
    client.send(&late).refused("overloaded");
    // A reserve in two pieces has its connection's allowance.
    let ask = Ask::new("POST", "/v1/sales/drop/reservations").json(&reserve_body("in pieces", [("tv", 1)])).encode();
    let mut pieces = Connection::open(process.api).unwrap();
    pieces.send(&ask[..ask.len() - 10]).unwrap();
    thread::sleep(Duration::from_millis(50));
    pieces.send(&ask[ask.len() - 10..]).unwrap();
    assert_eq!(pieces.answer().status, 201);
    let (taken, grown) = (gauge(ops, "doorbuster_buffered_bytes"), resident_bytes(&process).saturating_sub(before));
    assert!(taken <= 24.0 * MIB as f64, "{taken}");
    assert!(grown < 150 * MIB, "{grown} bytes for 300 MiB that were sent");
    drop(flood);
    wait_until("all is given back", || gauge(ops, "doorbuster_buffered_bytes") == 0.0);
    results(&client.send(&small_batch("again")));
}

/// A body that begins, and ends or not.
struct Sent(Option<Bytes>, bool);

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.0.take(), self.1) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            (None, true) => Poll::Ready(None),
            (None, false) => Poll::Pending,
        }
    }
}

/// An HTTP/2 connection whose every stream takes so many bytes of an answer that nobody reads.
async fn connect(service: &Service, window: u32) -> http2::SendRequest<Sent> {
    let stream = tokio::net::TcpStream::connect(service.address()).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str, body: Sent) -> Request<Sent> {
    let uri = format!("http://doorbuster.test{path}");
    Request::builder().method(method).uri(uri).header("content-type", "application/json").body(body).unwrap()
}

#[test]
fn unfinished_streams_of_http_2_are_bounded_together() {
    let service = Service::start_with(|config| {
        config.limits.buffered_bytes_max = 32 * MIB;
        config.limits.body_read_seconds = 120;
    });
    let (mut client, ops) = (service.client(), || service.ops());
    client.put_open_sale("drop", [("tv", 1000)]);
    multiplexed::run(async {
        let mut sender = connect(&service, 65_535).await;
        let begun = [b"{\"reservations\":[".to_vec(), vec![b' '; MIB / 2]].concat();
        let mut refused = 0;
        let mut waiting = Vec::new();
        for _ in 0..100 {
            let body = Sent(Some(begun.clone().into()), false);
            let path = "/v1/sales/drop/reservations/batch";
            waiting.push(tokio::spawn(sender.send_request(request("POST", path, body))));
        }
        // 50 MiB come in; 24 MiB of it may be kept.
        while refused < 40 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let (done, left): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|one| one.is_finished());
            waiting = left;
            for one in done {
                let answer = one.await.unwrap().unwrap();
                assert_eq!(
                    (answer.status(), answer.headers().contains_key("retry-after")),
                    (503.try_into().unwrap(), true)
                );
                refused += 1;
            }
        }
        let body = reserve_body("ann", [("tv", 1)]).to_string();
        let answer = sender.send_request(request("POST", "/v1/sales/drop/reservations", Sent(Some(body.into()), true)));
        assert_eq!(answer.await.unwrap().status(), 201);
        assert!(service.running().buffered_bytes() <= 24 * MIB);
        drop((sender, waiting));
    });
    wait_until("all is given back", || gauge(ops, "doorbuster_buffered_bytes") == 0.0);
    results(&client.send(&small_batch("again")));
}

/// A document of about a megabyte.
fn large_sale() -> Value {
    let item = |number| json!({ "sku": format!("{number:064}"), "initial_stock": 1 });
    open_sale((0..5000).map(item).collect())
}

#[test]
fn answers_that_nobody_reads_are_bounded_together() {
    let service = Service::start_with(|config| {
        config.limits.buffered_bytes_max = 16 * MIB;
        config.limits.batch_body_bytes_max = 4 * MIB;
        config.limits.sale_body_bytes_max = 4 * MIB;
    });
    let (mut client, ops) = (service.client(), || service.ops());
    client.put("/v1/sales/large", &large_sale()).success(201);
    client.put_open_sale("drop", [("tv", 100_000)]);
    multiplexed::run(async {
        let mut sender = connect(&service, 1).await;
        let (mut kept, mut refused) = (Vec::new(), 0);
        for number in 0..40 {
            let path = ["/v1/sales/large", "/v1/sales", "/v1/sales/large/availability"][number % 3];
            let answer = sender.send_request(request("GET", path, Sent(None, true))).await.unwrap();
            match answer.status().as_u16() {
                200 => kept.push(answer),
                status => {
                    assert_eq!(status, 503);
                    refused += 1;
                }
            }
        }
        assert!(refused > 0 && !kept.is_empty(), "{refused} of 40 refused");
        assert!(service.running().buffered_bytes() <= 12 * MIB);
        drop(kept);
        drop(sender);
    });
    client.hold("drop", "ann", [("tv", 1)]);
    wait_until("all is given back", || gauge(ops, "doorbuster_buffered_bytes") == 0.0);
    multiplexed::run(async {
        let mut sender = connect(&service, 1).await;
        let entries = (0..2000).map(|number| reserve_body(&format!("c-{number}"), [("tv", 1)]));
        let body = Bytes::from(batch("drop", entries).body.unwrap());
        let mut kept = Vec::new();
        let refused = loop {
            let body = Sent(Some(body.clone()), true);
            let answer = sender.send_request(request("POST", "/v1/sales/drop/reservations/batch", body)).await.unwrap();
            if answer.status() != 200 {
                break answer.status();
            }
            kept.push(answer);
            assert!(kept.len() < 40, "batches that nobody reads are bounded");
        };
        assert_eq!((refused.as_u16(), kept.is_empty()), (503, false));
    });
    client.hold("drop", "bob", [("tv", 1)]);
    wait_until("all is given back", || gauge(ops, "doorbuster_buffered_bytes") == 0.0);
    client.get("/v1/sales/large").success(200);
}

#[test]
fn reservations_are_refused_past_their_bytes_and_counted_down_as_they_leave() {
    let service = Service::start_with(|config| {
        config.engine.retention_seconds = 1;
        config.limits.memory_bytes_max = MIB as u64;
    });
    let (mut client, ops) = (service.client(), || service.ops());
    client.put_open_sale("drop", [("tv", 1_000_000)]);
    let text = "r".repeat(255);
    let reserve = |number: usize| {
        let mut body = reserve_body(&format!("customer-{number:055}"), [("tv", 1)]);
        body["reference"] = text.as_str().into();
        Ask::new("POST", "/v1/sales/drop/reservations").json(&body).key(&format!("{number:0255}"))
    };
    let mut held: Vec<String> = Vec::new();
    let refused = loop {
        let answer = client.send(&reserve(held.len()));
        if answer.status != 201 {
            break answer;
        }
        held.push(answer.reservation(201)["id"].as_str().unwrap().to_owned());
        assert!(held.len() < 3000, "far beyond a mebibyte");
    };
    assert!(refused.refused("overloaded")["detail"].as_str().unwrap().contains("limits.memory_bytes_max"));
    assert!((800..2000).contains(&held.len()), "{}: each takes about 900 bytes", held.len());
    // The gauge is set once a second: one that shows the full memory is not from before.
    wait_until("the gauge shows it", || gauge(ops, "doorbuster_state_bytes") >= MIB as f64);
    for (number, id) in held.iter().enumerate() {
        let call = if number % 2 == 0 { "confirm" } else { "release" };
        client.post(&format!("/v1/reservations/{id}/{call}"), &json!({})).success(200);
    }
    // What was confirmed stays sold, in a few bytes for each bucket of customers.
    let sold_bytes = (held.len() / 2 + 1) as f64 * 24.0;
    wait_until("all have left memory", || gauge(ops, "doorbuster_state_bytes") <= sold_bytes);
    client.send(&reserve(held.len())).reservation(201);
}
