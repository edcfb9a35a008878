//! Traces, by a collector: what a traced request's spans say, and that no collector can harm the service.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Is},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use parking_lot::Mutex;
use prost::Message;
use serde_json::Value;

use crate::served::{
    Ask,
    documents::items,
    metrics::Scrape,
    open_sale,
    process::{self, Process},
    reserve_body, wait_until,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Takes what is posted to it, and keeps it.
struct Collector {
    endpoint: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    /// The last `x-tenant` that it was sent.
    tenant: Arc<Mutex<String>>,
    /// Whether it answers 503.
    refuses: Arc<AtomicBool>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self { endpoint, bodies: Arc::default(), tenant: Arc::default(), refuses: Arc::default() };
        let (bodies, tenant, refuses) = (collector.bodies.clone(), collector.tenant.clone(), collector.refuses.clone());
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (bodies, tenant, refuses) = (bodies.clone(), tenant.clone(), refuses.clone());
                thread::spawn(move || while take(&stream, &bodies, &tenant, &refuses).is_some() {});
            }
        });
        collector
    }

    fn settings(&self, others: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let own = [("tracing.otlp_endpoint", self.endpoint.clone()), ("log.format", "json".to_owned())];
        own.into_iter().chain(others.iter().map(|(key, value)| (*key, (*value).to_owned()))).collect()
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.bodies.lock().iter().map(|body| Message::decode(&**body).expect("OTLP")).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let of_resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        of_resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

fn take(stream: &TcpStream, bodies: &Mutex<Vec<Vec<u8>>>, tenant: &Mutex<String>, refuses: &AtomicBool) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    assert_eq!(line, "POST /v1/traces HTTP/1.1\r\n");
    let (mut length, mut kind) = (0, String::new());
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            None => break,
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("x-tenant", value)) => value.clone_into(&mut tenant.lock()),
            Some(("content-type", value)) => kind = value.to_owned(),
            Some(_) => {}
        }
    }
    assert_eq!(kind, "application/x-protobuf");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let refused = refuses.load(Ordering::Relaxed);
    if !refused {
        bodies.lock().push(body);
    }
    let status = if refused { "400 Bad Request" } else { "200 OK" };
    (&*stream).write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).ok()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text; empty where there is none.
fn attribute(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Is::StringValue(text)) => text,
        Some(Is::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn told(process: &Process, outcome: &str) -> f64 {
    let metrics = Scrape::parse(process.ops().get("/metrics").text());
    metrics.value("doorbuster_trace_spans_total", [("outcome", outcome)])
}

fn reserve(units: u64) -> Ask {
    Ask::new("POST", "/v1/sales/recognised-sale/reservations")
        .key("recognised-key")
        .json(&reserve_body("recognised-customer", [("recognised-sku", units)]))
}

fn put_sale(process: &Process) {
    let sale = open_sale(items([("recognised-sku", 1000)]));
    process.client().put("/v1/sales/recognised-sale", &sale).success(201);
}

#[test]
fn a_caller_s_trace_is_gone_on_with_and_no_span_or_line_knows_who_asked_for_what() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start();
    let settings = collector.settings(&[("limits.sales_max", "1"), ("log.slow_request_ms", "1")]);
    let data = data.path().join("data");
    let mut command = process::serve(&data, &settings);
    command.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=here");
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop");
    let process = Process::launch(command, &data).unwrap();
    put_sale(&process);
    let mut client = process.client();
    let traced = |ask: Ask| {
        let caller = format!("00-{TRACE}-{CALLER}-01");
        ask.header("traceparent", &caller).header("tracestate", "rojo=1,congo=2").header("X-Request-Id", "told")
    };
    client.send(&traced(reserve(1))).reservation(201);
    client.send(&traced(reserve(2))).refused("idempotency_key_reused");
    let other = open_sale(items([("recognised-sku", 1)]));
    client.send(&traced(Ask::new("PUT", "/v1/sales/recognised-other")).json(&other)).refused("overloaded");
    // Nobody traces these.
    client.send(&reserve(1)).reservation(201);
    let unsampled = format!("00-{TRACE}-{CALLER}-00");
    client.send(&Ask::new("GET", "/v1/sales/recognised-sale").header("traceparent", &unsampled)).success(200);
    client.send(&Ask::new("GET", "/v1/sales").header("traceparent", "00-what-ever")).success(200);
    wait_until("the spans came", || collector.spans().len() >= 4);

    let spans = collector.spans();
    assert_eq!(spans.len(), 4, "{spans:?}");
    assert!(spans.iter().all(|span| hexadecimal(&span.trace_id) == TRACE && span.trace_state == "rojo=1,congo=2"));
    assert!(spans.iter().all(|span| span.end_time_unix_nano >= span.start_time_unix_nano));
    let [wait, held, refused, failed] = &spans[..] else { unreachable!() };
    for (span, name, status, code) in [
        (held, "POST /v1/sales/{sale}/reservations", "201", ""),
        (refused, "POST /v1/sales/{sale}/reservations", "422", "idempotency_key_reused"),
        (failed, "PUT /v1/sales/{sale}", "503", "overloaded"),
    ] {
        assert_eq!((&*span.name, hexadecimal(&span.parent_span_id).as_str()), (name, CALLER));
        assert_eq!(span.kind, SpanKind::Server as i32);
        let of_span = |name| attribute(&span.attributes, name);
        let (method, route) = name.split_once(' ').unwrap();
        assert_eq!((of_span("http.request.method").as_str(), of_span("http.route").as_str()), (method, route));
        assert_eq!((of_span("http.response.status_code"), of_span("doorbuster.problem")), (status.into(), code.into()));
        let wrong = span.status.as_ref().is_some_and(|told| told.code == StatusCode::Error as i32);
        assert_eq!(wrong, status == "503", "{span:?}");
        assert_eq!(of_span("error.type"), if wrong { "overloaded" } else { "" });
    }
    assert_eq!((&*wait.name, &wait.parent_span_id), ("wait for journal commit", &held.span_id));
    assert_eq!(wait.kind, SpanKind::Internal as i32);
    assert!(attribute(&wait.attributes, "doorbuster.epoch").parse::<u64>().unwrap() > 1);
    let within = held.start_time_unix_nano..=held.end_time_unix_nano + 1_000_000;
    assert!(within.contains(&wait.start_time_unix_nano) && within.contains(&wait.end_time_unix_nano), "{spans:?}");
    let resource = collector.requests()[0].resource_spans[0].resource.clone().unwrap();
    assert_eq!(attribute(&resource.attributes, "service.name"), "doorbuster");
    assert_eq!(attribute(&resource.attributes, "service.version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(attribute(&resource.attributes, "deployment.environment.name"), "here");
    assert_eq!(*collector.tenant.lock(), "shop");

    // The log's line about the failure leads to its trace.
    let log = process.log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = lines.iter().find(|line| line["fields"]["status"] == 503).unwrap_or_else(|| panic!("no line in {log}"));
    assert_eq!(line["fields"]["trace_id"], TRACE);
    assert_eq!(line["fields"]["span_id"], hexadecimal(&failed.span_id));
    assert_eq!(line["fields"]["request_id"], "told");
    for body in &*collector.bodies.lock() {
        assert!(!String::from_utf8_lossy(body).contains("recognised"), "a span knows what it must not");
    }
    assert!(!log.contains("recognised"), "{log}");
}

#[test]
fn what_is_traced_is_bounded_and_leaves_before_the_end() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start();
    let settings = collector.settings(&[("tracing.sample_ratio", "1"), ("tracing.samples_per_second_max", "5")]);
    let mut process = Process::start(&data.path().join("data"), &settings);
    let mut client = process.client();
    for _ in 0..200 {
        client.get("/v1/sales").success(200);
    }
    let left_out = told(&process, "over_limit");
    assert!(left_out > 100.0, "{left_out}");
    process.terminate();
    assert!(process.wait(Duration::from_secs(20)).success());
    // Before came the test's own look at the contract, and the first to come may have waited for what the start wrote.
    let mut spans = collector.spans();
    spans.retain(|span| span.name == "GET /v1/sales");
    assert_eq!(
        spans.len() as f64 + left_out,
        200.0,
        "at once, and before the half second in which others are waited for"
    );
    let traces: std::collections::BTreeSet<_> = spans.iter().map(|span| &span.trace_id).collect();
    assert_eq!(traces.len(), spans.len(), "each is a trace of its own");
    assert!(spans.iter().all(|span| span.parent_span_id.is_empty()));
}

#[test]
fn a_collector_that_is_away_or_hangs_harms_nothing() {
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, what) in [(hangs.local_addr().unwrap(), "hangs"), (away, "away")] {
        let data = tempfile::tempdir().unwrap();
        let settings = [
            ("tracing.otlp_endpoint", format!("http://{address}")),
            ("tracing.sample_ratio", "1.0".to_owned()),
            ("tracing.samples_per_second_max", "100000".to_owned()),
            ("tracing.queue_spans_max", "100".to_owned()),
            ("tracing.export_seconds", "1".to_owned()),
        ];
        let mut process = Process::start(&data.path().join("data"), &settings);
        put_sale(&process);
        let mut client = process.client();
        for _ in 0..2 {
            let before = told(&process, "export_failed");
            for _ in 0..1000 {
                client.get("/v1/sales").success(200);
            }
            wait_until("what did not leave is counted", || told(&process, "export_failed") > before);
        }
        assert!(told(&process, "queue_full") > 0.0 || what == "away", "{what}");
        assert_eq!(told(&process, "exported"), 0.0);
        let warned = process.log().matches("the trace collector does not take spans").count();
        assert_eq!(warned, 1, "once, and not for each batch: {}", process.log());
        process.terminate();
        assert!(process.wait(Duration::from_secs(10)).success(), "{what}");
    }
}

#[test]
fn a_collector_that_comes_back_is_told_again() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start();
    collector.refuses.store(true, Ordering::Relaxed);
    let process = Process::start(&data.path().join("data"), &collector.settings(&[("tracing.sample_ratio", "1")]));
    let mut client = process.client();
    client.get("/v1/sales").success(200);
    wait_until("it was refused", || told(&process, "export_failed") > 0.0);
    collector.refuses.store(false, Ordering::Relaxed);
    client.get("/v1/sales").success(200);
    wait_until("it was taken", || told(&process, "exported") > 0.0);
    assert_eq!(collector.spans().len() as f64, told(&process, "exported"));
    wait_until("both are in the log", || process.log().contains("takes spans again"));
}

#[test]
fn without_a_collector_a_caller_s_trace_costs_and_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let process = Process::start(&data.path().join("data"), &[("tracing.sample_ratio", "1".to_owned())]);
    let caller = format!("00-{TRACE}-{CALLER}-01");
    process.client().send(&Ask::new("GET", "/v1/sales").header("traceparent", &caller)).success(200);
    for outcome in ["exported", "over_limit", "queue_full", "export_failed"] {
        assert_eq!(told(&process, outcome), 0.0);
    }
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    assert!(!names.into_iter().any(|name| name.trim() == "traces"), "no thread of theirs runs");
}
