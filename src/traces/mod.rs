//! Traces: which requests are traced, and the contents of their spans.
//!
//! A traced request is one span and, if it waits for the disk, a child span for the wait. The decision to trace is made when a
//! request begins: it traces requests whose caller traces them, and a share of those without a caller's decision. Both are
//! limited, because a caller can claim anything. Invariants: no request waits for a span; and of the caller's data, only trace
//! and span ids and `tracestate` get into one: no path, no customer, no key, no SKU.

mod context;
mod export;

use std::{
    borrow::Cow,
    num::NonZero,
    sync::Arc,
    time::{Duration, SystemTime},
};

use governor::{
    RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use hyper::{HeaderMap, StatusCode, Version};
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use rand::Rng;
use tokio::sync::mpsc::{self, error::TrySendError};

pub use self::export::{Exporting, Unusable, start};
use crate::{
    clock::{Monotonic, time_of_day},
    telemetry,
};

/// Which requests are traced, and where their spans go.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Scheme, host and port of a collector.
    pub endpoint: String,
    /// Share of the requests without a caller's decision; 0 to 1.
    pub share: f64,
    pub samples_per_second: NonZero<u32>,
    /// None: no caller is heeded.
    pub caller_samples_per_second: Option<NonZero<u32>>,
    pub queue_spans: usize,
    pub export_time: Duration,
}

type Direct<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Decides which requests are traced, and takes their spans.
pub struct Tracer<C: Clock = Monotonic> {
    /// Traced of 2^32 requests of whom no caller says anything.
    share: u64,
    samples: Direct<C>,
    caller_samples: Option<Direct<C>>,
    queue: mpsc::Sender<SpanData>,
    scope: InstrumentationScope,
    count: Arc<telemetry::Traces>,
}

/// The attributes of a request's span.
#[derive(Debug)]
pub struct Request {
    /// A method that has a name, or `_OTHER`.
    pub method: &'static str,
    /// The path of its call with the names of its variable parts, where it is a call.
    pub route: Option<&'static str>,
    pub version: Version,
    pub tls: bool,
    pub status: StatusCode,
    /// Of the problem that it is answered with.
    pub code: Option<&'static str>,
}

impl<C: Clock> Tracer<C> {
    fn new(settings: &Settings, queue: mpsc::Sender<SpanData>, count: Arc<telemetry::Traces>, clock: C) -> Self
    where
        C: Clone,
    {
        let limit = |most| RateLimiter::direct_with_clock(governor::Quota::per_second(most), clock.clone());
        Self {
            share: (settings.share * 2_f64.powi(32)) as u64,
            samples: limit(settings.samples_per_second),
            caller_samples: settings.caller_samples_per_second.map(limit),
            queue,
            scope: InstrumentationScope::builder("doorbuster").with_version(env!("CARGO_PKG_VERSION")).build(),
            count,
        }
    }

    /// The trace of a request with this head, if it is to be traced.
    pub fn begin(self: &Arc<Self>, headers: &HeaderMap) -> Option<Trace<C>> {
        let mut random = rand::rng();
        let parent = context::parent(headers);
        let admitted = match &parent {
            Some(parent) if !parent.sampled => return None,
            Some(_) => self.caller_samples.as_ref()?.check().is_ok() && self.samples.check().is_ok(),
            None if u64::from(random.next_u32()) >= self.share => return None,
            None => self.samples.check().is_ok(),
        };
        if !admitted {
            self.count.over_limit();
            return None;
        }
        let (trace, caller, state) = match parent {
            Some(parent) => (parent.trace, parent.span, context::state(headers)),
            None => (new_trace(&mut random), SpanId::INVALID, TraceState::NONE),
        };
        let context = SpanContext::new(trace, new_span(&mut random), TraceFlags::SAMPLED, false, state);
        Some(Trace { tracer: self.clone(), context, caller, began: time_of_day() })
    }

    fn tell(&self, span: SpanData) {
        match self.queue.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.count.queue_full(),
            // The service is stopping, and waits no longer.
            Err(TrySendError::Closed(_)) => self.count.export_failed(1),
        }
    }
}

/// Zeros would be no id.
fn new_trace(random: &mut impl Rng) -> TraceId {
    let (high, low) = (u128::from(random.next_u64()), u128::from(random.next_u64()));
    TraceId::from((high << 64 | low).max(1))
}

fn new_span(random: &mut impl Rng) -> SpanId {
    SpanId::from(random.next_u64().max(1))
}

/// A request that is traced.
pub struct Trace<C: Clock = Monotonic> {
    tracer: Arc<Tracer<C>>,
    context: SpanContext,
    /// The caller's span, or none.
    caller: SpanId,
    began: SystemTime,
}

tokio::task_local! {
    static CURRENT: Arc<Trace>;
}

impl Trace {
    /// Runs the request's handler, so that its waits become child spans.
    pub async fn within<F: Future>(self: &Arc<Self>, answer: F) -> F::Output {
        CURRENT.scope(self.clone(), answer).await
    }
}

/// Waits for the disk, as a child span if the task's request is traced.
pub async fn wait_for_disk<T, E>(epoch: u64, wait: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let Ok(trace) = CURRENT.try_with(Arc::clone) else { return wait.await };
    let began = time_of_day();
    let done = wait.await;
    trace.tell_wait(epoch, began, done.is_ok());
    done
}

impl<C: Clock> Trace<C> {
    pub fn trace_id(&self) -> TraceId {
        self.context.trace_id()
    }

    pub fn span_id(&self) -> SpanId {
        self.context.span_id()
    }

    /// Tells of the request, which was answered after so long.
    pub fn end(&self, request: &Request, elapsed: Duration) {
        let name = request.route.map_or(Cow::Borrowed(request.method), |route| {
            let method = if request.method == OTHER_METHOD { "HTTP" } else { request.method };
            Cow::Owned(format!("{method} {route}"))
        });
        let status = if request.status.is_server_error() { Status::error("") } else { Status::Unset };
        self.tracer.tell(SpanData {
            span_context: self.context.clone(),
            parent_span_id: self.caller,
            parent_span_is_remote: self.caller != SpanId::INVALID,
            span_kind: SpanKind::Server,
            name,
            start_time: self.began,
            end_time: self.began + elapsed,
            attributes: attributes(request),
            status,
            ..self.blank()
        });
    }

    fn tell_wait(&self, epoch: u64, began: SystemTime, durable: bool) {
        let span = new_span(&mut rand::rng());
        let state = self.context.trace_state().clone();
        let context = SpanContext::new(self.trace_id(), span, TraceFlags::SAMPLED, false, state);
        self.tracer.tell(SpanData {
            span_context: context,
            parent_span_id: self.span_id(),
            span_kind: SpanKind::Internal,
            name: "wait for journal commit".into(),
            start_time: began,
            // The clock may have been set back meanwhile.
            end_time: time_of_day().max(began),
            attributes: vec![KeyValue::new("doorbuster.epoch", i64::try_from(epoch).unwrap_or(i64::MAX))],
            status: if durable { Status::Unset } else { Status::error("") },
            ..self.blank()
        });
    }

    fn blank(&self) -> SpanData {
        SpanData {
            span_context: SpanContext::NONE,
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time: self.began,
            end_time: self.began,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.tracer.scope.clone(),
        }
    }
}

pub const OTHER_METHOD: &str = "_OTHER";

/// OpenTelemetry's semantic conventions for HTTP servers, but for `url.path`: it holds ids.
fn attributes(request: &Request) -> Vec<KeyValue> {
    let version = match request.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        _ => "2",
    };
    let mut attributes = vec![
        KeyValue::new("http.request.method", request.method),
        KeyValue::new("url.scheme", if request.tls { "https" } else { "http" }),
        KeyValue::new("network.protocol.version", version),
        KeyValue::new("http.response.status_code", i64::from(request.status.as_u16())),
    ];
    attributes.extend(request.route.map(|route| KeyValue::new("http.route", route)));
    if request.status.is_server_error() {
        attributes.push(KeyValue::new("error.type", request.code.unwrap_or("_OTHER")));
    }
    attributes.extend(request.code.map(|code| KeyValue::new("doorbuster.problem", code)));
    attributes
}

#[cfg(test)]
mod tests;
