//! Which requests are traced, and what is told of them.

use governor::clock::FakeRelativeClock;
use opentelemetry::Value;

use super::*;
use crate::telemetry::{Bounds, Telemetry};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Bench {
    tracer: Arc<Tracer<FakeRelativeClock>>,
    spans: mpsc::Receiver<SpanData>,
    clock: FakeRelativeClock,
    telemetry: Telemetry,
}

impl Bench {
    fn new(share: f64, samples: u32, caller_samples: u32, queue_spans: usize) -> Self {
        let settings = Settings {
            endpoint: String::new(),
            share,
            samples_per_second: NonZero::new(samples).unwrap(),
            caller_samples_per_second: NonZero::new(caller_samples),
            queue_spans,
            export_time: Duration::from_secs(1),
        };
        let (queue, spans) = mpsc::channel(queue_spans);
        let (clock, telemetry) =
            (FakeRelativeClock::default(), Telemetry::new(&[], Bounds { items_max: 0, sales_max: 0 }));
        let tracer = Arc::new(Tracer::new(&settings, queue, telemetry.traces.clone(), clock.clone()));
        Self { tracer, spans, clock, telemetry }
    }

    /// How many of so many requests with this `traceparent` are traced.
    fn traced(&self, requests: usize, caller: Option<&str>) -> usize {
        (0..requests).filter(|_| self.tracer.begin(&head(caller)).is_some()).count()
    }

    fn counted(&self, outcome: &str) -> u64 {
        let series = format!("doorbuster_trace_spans_total{{outcome=\"{outcome}\"}} ");
        let text = self.telemetry.render();
        text.lines().find_map(|line| line.strip_prefix(&series)).expect("the series").parse().unwrap()
    }
}

fn head(caller: Option<&str>) -> HeaderMap {
    caller.iter().map(|caller| ("traceparent".parse().unwrap(), caller.parse().unwrap())).collect()
}

fn request(status: u16, code: Option<&'static str>) -> Request {
    Request {
        method: "POST",
        route: Some("/v1/sales/{sale}/reservations"),
        version: Version::HTTP_11,
        tls: false,
        status: StatusCode::from_u16(status).unwrap(),
        code,
    }
}

#[test]
fn a_share_is_traced_where_no_caller_says_anything() {
    let traced = |share| Bench::new(share, u32::MAX, 1, 1).traced(20_000, None);
    assert_eq!((traced(0.0), traced(1.0)), (0, 20_000));
    let tenth = traced(0.1);
    // Five standard deviations: sqrt(20,000 x 0.1 x 0.9) = 42.
    assert!((1790..2210).contains(&tenth), "{tenth}");
}

#[test]
fn a_caller_decides_within_its_limit_and_all_within_theirs() {
    let bench = Bench::new(1.0, 8, 5, 1);
    let unsampled = CALLER.replace("-01", "-00");
    assert_eq!(bench.traced(100, Some(&unsampled)), 0, "its caller does not trace it");
    assert_eq!(bench.counted("over_limit"), 0);
    assert_eq!(bench.traced(100, Some(CALLER)), 5);
    assert_eq!(bench.traced(100, None), 3, "the limit of all");
    assert_eq!(bench.counted("over_limit"), 192);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.traced(100, None), 8);
    assert_eq!(bench.traced(100, Some(CALLER)), 0);
    assert_eq!(Bench::new(1.0, 8, 0, 1).traced(10, Some(CALLER)), 0, "no caller is heeded");
    assert_eq!(Bench::new(0.0, 8, 8, 1).traced(10, Some("00-broken")), 0, "as if it had said nothing");
}

#[test]
fn a_caller_s_trace_is_gone_on_with_and_others_begin_one() {
    let mut bench = Bench::new(1.0, 100, 100, 10);
    let mut head = head(Some(CALLER));
    head.insert("tracestate", "rojo=1,congo=2".parse().unwrap());
    bench.tracer.begin(&head).unwrap().end(&request(201, None), Duration::from_millis(3));
    let told = bench.spans.try_recv().unwrap();
    assert_eq!(told.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((told.parent_span_id.to_string(), told.parent_span_is_remote), ("b7ad6b7169203331".to_owned(), true));
    assert_eq!(told.span_context.trace_state().header(), "rojo=1,congo=2");
    assert_eq!((&*told.name, told.span_kind), ("POST /v1/sales/{sale}/reservations", SpanKind::Server));
    assert_eq!(told.end_time.duration_since(told.start_time).unwrap(), Duration::from_millis(3));

    let trace = bench.tracer.begin(&HeaderMap::new()).unwrap();
    trace.tell_wait(7, trace.began, true);
    trace.end(&request(201, None), Duration::ZERO);
    let [wait, whole] = [(); 2].map(|()| bench.spans.try_recv().unwrap());
    assert_ne!(whole.span_context.trace_id(), told.span_context.trace_id());
    assert!(whole.span_context.is_valid() && whole.span_context.is_sampled());
    assert_eq!((whole.parent_span_id, whole.parent_span_is_remote), (SpanId::INVALID, false));
    assert_eq!(wait.parent_span_id, whole.span_context.span_id());
    assert_eq!(wait.span_context.trace_id(), whole.span_context.trace_id());
    assert_eq!(wait.attributes, [KeyValue::new("doorbuster.epoch", 7)]);
}

#[test]
fn a_span_says_what_became_of_the_request() {
    let mut bench = Bench::new(1.0, 100, 100, 10);
    let mut told = |request: &Request| {
        bench.tracer.begin(&HeaderMap::new()).unwrap().end(request, Duration::ZERO);
        let span = bench.spans.try_recv().unwrap();
        let mut attributes: Vec<_> =
            span.attributes.iter().map(|it| (it.key.to_string(), Value::to_string(&it.value))).collect();
        attributes.sort();
        (span.name.into_owned(), span.status, attributes)
    };
    let attributes = |all: &[(&str, &str)]| -> Vec<_> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let (_, status, refused) = told(&request(409, Some("sold_out")));
    assert_eq!(status, Status::Unset, "a refusal is no failure of the service");
    let mut expected = attributes(&[
        ("doorbuster.problem", "sold_out"),
        ("http.request.method", "POST"),
        ("http.response.status_code", "409"),
        ("http.route", "/v1/sales/{sale}/reservations"),
        ("network.protocol.version", "1.1"),
        ("url.scheme", "http"),
    ]);
    assert_eq!(refused, expected);
    let (_, status, failed) = told(&request(503, Some("overloaded")));
    assert_eq!(status, Status::error(""));
    (expected[0].1, expected[2].1) = ("overloaded".to_owned(), "503".to_owned());
    expected.insert(1, ("error.type".to_owned(), "overloaded".to_owned()));
    assert_eq!(failed, expected);
    let other = Request { method: OTHER_METHOD, tls: true, version: Version::HTTP_2, ..request(405, None) };
    let (name, _, told_of_other) = told(&other);
    assert_eq!(name, "HTTP /v1/sales/{sale}/reservations");
    assert!(told_of_other.contains(&("url.scheme".to_owned(), "https".to_owned())));
    assert!(told_of_other.contains(&("network.protocol.version".to_owned(), "2".to_owned())));
    assert_eq!(told(&Request { route: None, ..request(404, None) }).0, "POST");
}

#[test]
fn past_the_queue_spans_are_dropped_and_counted() {
    let bench = Bench::new(1.0, 100, 100, 3);
    for _ in 0..10 {
        bench.tracer.begin(&HeaderMap::new()).unwrap().end(&request(200, None), Duration::ZERO);
    }
    assert_eq!((bench.spans.len(), bench.counted("queue_full")), (3, 7));
    drop(bench.spans);
    let tracer = bench.tracer;
    tracer.begin(&HeaderMap::new()).unwrap().end(&request(200, None), Duration::ZERO);
    assert!(bench.telemetry.render().contains("outcome=\"export_failed\"} 1\n"));
}
