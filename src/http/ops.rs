//! The ops listener: probes and metrics, on a runtime of its own, so that a scrape never waits behind a sale.

use std::{convert::Infallible, net::TcpListener, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{clock::monotonic, telemetry::seldom::Seldom};

/// Lines about connections that could not be accepted.
static ACCEPT_FAILURES: Seldom = Seldom::new(Duration::from_secs(5));

const READ_TIME: Duration = Duration::from_secs(10);

/// What the probes and the scraper ask.
pub trait Health: Send + Sync {
    /// Whether the service takes requests, and what a person wants to know about that.
    fn ready(&self) -> (bool, Value);
    /// Metrics in the Prometheus text format.
    fn metrics(&self) -> String;
}

/// Serves until the runtime it runs on is dropped.
/// `connections_max`: of probes and scrapers at a time.
pub async fn serve_ops(listener: TcpListener, health: Arc<dyn Health>, connections_max: usize) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(connections_max));
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if let Some(left_out) = ACCEPT_FAILURES.admit(monotonic()) {
                    tracing::warn!(%error, left_out, "could not accept a connection on the ops listener");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let health = health.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &*health);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(READ_TIME);
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, health: &dyn Health) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET and HEAD are allowed here\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => respond(StatusCode::OK, "text/plain", "alive\n"),
        "/readyz" => {
            let (ready, details) = health.ready();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            respond(status, "application/json", details.to_string())
        }
        "/metrics" => respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", health.metrics()),
        _ => respond(StatusCode::NOT_FOUND, "text/plain", "here are /livez, /readyz and /metrics\n"),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
