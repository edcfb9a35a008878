//! The ops listener: probes and metrics, on a runtime of its own, so that a scrape never waits for API requests.
//!
//! Invariant: probes get answers, whatever else is connected. A new connection always gets a place: the connection that has
//! been idle longest loses its own. No client can block the thread, and another thread writes the metrics.

use std::{
    net::TcpListener,
    rc::Rc,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{
    Method, Response, StatusCode,
    header::{ALLOW, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, sync::oneshot, task::LocalSet};

use super::{
    activity::Activity,
    body::BoxedRequest,
    evicting::EvictingSet,
    limits::OpsLimits,
    response::{Body, respond},
    server::answer,
    timed::Timed,
};
use crate::{clock::monotonic, runbook, telemetry::seldom::Seldom};

/// Lines about connections that could not be accepted.
static ACCEPT_FAILURES: Seldom = Seldom::new(Duration::from_secs(5));

/// Room for the head of a request. hyper refuses to work with less.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// How long to wait before accepting again when the process is out of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What probes and scrapers query.
pub trait Health: Send + Sync {
    /// Whether the service takes requests, and details for people.
    fn ready(&self) -> (bool, Value);
    /// Metrics in the Prometheus text format.
    fn metrics(&self) -> String;
}

/// Serves until the runtime it runs on is dropped.
pub async fn serve_ops(listener: TcpListener, health: Arc<dyn Health>, limits: OpsLimits) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let probes = Rc::new(Probes { scrapes: start_scrapes(health.clone())?, health });
    LocalSet::new().run_until(accept(listener, probes, limits)).await
}

async fn accept(listener: tokio::net::TcpListener, probes: Rc<Probes>, limits: OpsLimits) -> std::io::Result<()> {
    let mut connections = EvictingSet::new(limits.connections_max);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if let Some(left_out) = ACCEPT_FAILURES.admit(monotonic()) {
                    tracing::warn!(%error, left_out, "could not accept a connection on the ops listener");
                }
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let activity = Activity::new(limits.timeouts);
        let serving = tokio::task::spawn_local(serve(stream, activity.clone(), probes.clone()));
        connections.admit(activity, &serving).await;
        // Serves accepted connections before others can take their places.
        tokio::task::yield_now().await;
    }
}

async fn serve(stream: TcpStream, activity: Rc<Activity>, probes: Rc<Probes>) {
    let _ = stream.set_nodelay(true);
    let socket = TokioIo::new(Timed::new(stream, activity.clone()));
    let service = service_fn(move |request| {
        let probes = probes.clone();
        answer(&activity, request, |request| async move { (probes.answer(request).await, Instant::now()) })
    });
    let mut builder = http1::Builder::new();
    // The socket has timeouts of its own.
    builder.header_read_timeout(None).half_close(true).max_buf_size(HEAD_BYTES_MAX);
    // How a client disconnects does not matter.
    let _ = builder.serve_connection(socket, service).await;
}

/// Requests that wait for metrics.
type Scrape = oneshot::Sender<Bytes>;

/// Writes metrics on a thread of its own. Requests that arrive while it writes share the next result. So many requests cost no
/// more than two scrapes, and each gets values from after it asked.
fn start_scrapes(health: Arc<dyn Health>) -> std::io::Result<mpsc::Sender<Scrape>> {
    let (scrapes, asked) = mpsc::channel::<Scrape>();
    std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        while let Ok(first) = asked.recv() {
            let waiting: Vec<Scrape> = std::iter::once(first).chain(asked.try_iter()).collect();
            let text = Bytes::from(health.metrics());
            for scrape in waiting {
                let _ = scrape.send(text.clone());
            }
        }
    })?;
    Ok(scrapes)
}

struct Probes {
    health: Arc<dyn Health>,
    scrapes: mpsc::Sender<Scrape>,
}

impl Probes {
    async fn answer(&self, request: BoxedRequest) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD are allowed here\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/livez" => plain(StatusCode::OK, "alive\n"),
            "/readyz" => {
                let (ready, details) = self.health.ready();
                let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                *respond(status, "application/json", details.to_string().into_bytes())
            }
            "/metrics" => {
                let (scrape, written) = oneshot::channel();
                self.scrapes.send(scrape).expect("the thread of metrics runs");
                let text = written.await.expect("the thread of metrics answers");
                *respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
            }
            "/runbook" => *respond(StatusCode::OK, "text/html; charset=utf-8", runbook::page().into_bytes()),
            _ => plain(StatusCode::NOT_FOUND, "this listener serves /livez, /readyz, /metrics and /runbook\n"),
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    *respond(status, "text/plain", Bytes::from_static(text.as_bytes()))
}
