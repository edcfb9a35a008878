//! The thread that sends spans to a collector, by OTLP over HTTP.

use std::{mem, sync::Arc, thread, time::Duration};

use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{Settings, Tracer};
use crate::{clock::Monotonic, telemetry};

/// Spans that are sent together, and how long the first of them waits for others.
const BATCH: usize = 512;
const GATHER: Duration = Duration::from_millis(500);

/// Spans cannot be brought anywhere.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("spans cannot be sent to tracing.otlp_endpoint: {0}")]
    Endpoint(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("could not start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// The running thread.
pub struct Exporting {
    stop: oneshot::Sender<()>,
    /// Closed at the end; nothing is sent.
    ended: Receiver<()>,
    patience: Duration,
}

/// Starts the thread; `prepare` is run on it first.
pub fn start(
    settings: &Settings,
    count: Arc<telemetry::Traces>,
    prepare: impl FnOnce() + Send + 'static,
) -> Result<(Arc<Tracer>, Exporting), Unusable> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exporter = exporter(settings, &runtime)?;
    let (queue, spans) = mpsc::channel(settings.queue_spans);
    let (stop, stopped) = oneshot::channel();
    let (end, ended) = bounded::<()>(0);
    let patience = settings.export_time;
    let export =
        Export { spans, stopped, stopping: false, exporter, patience, count: count.clone(), lost_in_a_row: None };
    thread::Builder::new().name("traces".to_owned()).spawn(move || {
        prepare();
        runtime.block_on(export.run());
        drop(end);
    })?;
    let tracer = Arc::new(Tracer::new(settings, queue, count, Monotonic));
    Ok((tracer, Exporting { stop, ended, patience }))
}

impl Exporting {
    /// Lets the spans that wait leave, as long as one batch may take.
    pub fn stop(self) {
        let _ = self.stop.send(());
        if self.ended.recv_timeout(self.patience) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the trace collector did not take the last spans in time");
        }
    }
}

fn exporter(settings: &Settings, runtime: &Runtime) -> Result<SpanExporter, Unusable> {
    // The client is made for the runtime that it will run in.
    let _inside = runtime.enter();
    let endpoint = format!("{}/v1/traces", settings.endpoint.trim_end_matches('/'));
    let builder = SpanExporter::builder().with_http().with_endpoint(endpoint).with_protocol(Protocol::HttpBinary);
    let mut exporter = builder.with_timeout(settings.export_time).build()?;
    // Attributes from OTEL_RESOURCE_ATTRIBUTES come in as well, and headers from OTEL_EXPORTER_OTLP_HEADERS: where this runs is
    // known to those who run it.
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    exporter.set_resource(&Resource::builder().with_service_name("doorbuster").with_attribute(version).build());
    Ok(exporter)
}

struct Export {
    spans: mpsc::Receiver<SpanData>,
    stopped: oneshot::Receiver<()>,
    stopping: bool,
    exporter: SpanExporter,
    patience: Duration,
    count: Arc<telemetry::Traces>,
    /// Spans lost since the collector took none; None while it takes them.
    lost_in_a_row: Option<u64>,
}

impl Export {
    async fn run(mut self) {
        let mut batch = Vec::new();
        while self.gather(&mut batch).await {
            self.export(mem::take(&mut batch)).await;
        }
    }

    /// Fills the batch; false at the end.
    async fn gather(&mut self, batch: &mut Vec<SpanData>) -> bool {
        let mut due = None;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                // Stopping: what is in the queue is sent, and nothing is waited for.
                _ = &mut self.stopped, if !self.stopping => {
                    self.stopping = true;
                    self.spans.close();
                }
                received = self.spans.recv_many(batch, room) => {
                    if received == 0 {
                        break;
                    }
                    due.get_or_insert_with(|| Instant::now() + GATHER);
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => break,
            }
        }
        !batch.is_empty()
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        let sent = timeout(self.patience, self.exporter.export(batch)).await;
        let failure = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it did not answer in time".to_owned()),
        };
        match (failure, &mut self.lost_in_a_row) {
            (None, lost) => {
                self.count.exported(spans);
                if let Some(lost) = lost.take() {
                    tracing::info!(lost, "the trace collector takes spans again");
                }
            }
            (Some(_), Some(lost)) => *lost += spans,
            (Some(error), lost @ None) => {
                *lost = Some(spans);
                tracing::warn!(error, "the trace collector does not take spans: the service drops them until it does");
            }
        }
        if self.lost_in_a_row.is_some() {
            self.count.export_failed(spans);
        }
    }
}
