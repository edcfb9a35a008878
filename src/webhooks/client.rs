//! One delivery: resolves, connects, sends, and reads what matters of the answer.
//!
//! Invariants: an answer begins within `timeout`, or the delivery has failed; redirects are not followed; of an answer's body at most a few KiB are read; one
//! name is resolved by one thread at a time, so an endpoint whose name server hangs takes no thread from another.

use std::{
    error::Error,
    io,
    net::{SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, USER_AGENT},
};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tower_service::Service;

use super::{Secrets, address::Target};
use crate::sale::time::Timestamp;

/// What is read of an answer's body, so that the connection can be used again. Of a longer answer the connection is closed.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// How long the body of an answer may take.
const BODY_TIME: Duration = Duration::from_secs(1);

/// Connections without a delivery are closed after this.
const IDLE: Duration = Duration::from_secs(30);

const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";
const AGENT: &str = concat!("doorbuster/", env!("CARGO_PKG_VERSION"));

static WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
static WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
static WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    Failed(Failure),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// For people.
    pub detail: String,
    /// How long the endpoint asked to be left alone.
    pub retry_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// It answered something else than success.
    Refused,
    TimedOut,
    /// No connection, or it broke.
    Unreachable,
}

/// Sends to one endpoint.
pub struct Sender {
    target: Target,
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
}

impl Sender {
    /// `tls`: None only for a target without TLS.
    pub fn new(
        target: Target,
        private: bool,
        tls: Option<Arc<ClientConfig>>,
        timeout: Duration,
        connections: usize,
    ) -> Self {
        let connector = Connector { target: Arc::new(target.clone()), private, tls, resolving: Arc::default() };
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(connections);
        Self { target, client: builder.build(connector), timeout }
    }

    /// Delivers a document, signed now, which is the time of day `at`.
    pub async fn deliver(&self, secrets: &Secrets, id: &str, document: Bytes, at: Timestamp) -> Outcome {
        let timestamp = at.millis() / 1000;
        let request = Request::post(self.target.uri.clone())
            .header(CONTENT_TYPE, STRUCTURED)
            .header(USER_AGENT, AGENT)
            .header(&WEBHOOK_ID, id)
            .header(&WEBHOOK_TIMESTAMP, timestamp)
            .header(&WEBHOOK_SIGNATURE, secrets.sign(id, timestamp, &document))
            .body(Full::new(document))
            .expect("ids and signatures are ASCII");
        let failed = |kind, detail| Outcome::Failed(Failure { kind, detail, retry_after: None });
        match timeout(self.timeout, self.client.request(request)).await {
            Ok(Ok(response)) => judge(response, at).await,
            Ok(Err(error)) => failed(FailureKind::Unreachable, in_words(&error)),
            Err(_) => failed(FailureKind::TimedOut, format!("no answer within {} s", self.timeout.as_secs())),
        }
    }
}

/// What was answered. The head decides; the body is read only to use the connection again.
async fn judge(response: Response<Incoming>, at: Timestamp) -> Outcome {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, at));
    // The head is what counts: a body that does not end, or does not come, changes nothing.
    let _ = timeout(BODY_TIME, Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect()).await;
    if status.is_success() {
        return Outcome::Delivered;
    }
    let detail = if status.is_redirection() {
        format!("answered {}, but redirects are not followed: configure the address that takes events", status.as_u16())
    } else {
        format!("answered {}", status.as_u16())
    };
    Outcome::Failed(Failure { kind: FailureKind::Refused, detail, retry_after })
}

/// Seconds, or a date.
fn retry_after(text: &str, at: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_millisecond();
    Some(Duration::from_millis(u64::try_from(date).ok()?.saturating_sub(at.millis())))
}

/// The error and its causes, in one line.
fn in_words(error: &dyn Error) -> String {
    let mut words = Vec::new();
    let mut cause = error.source().or(Some(error));
    while let Some(error) = cause {
        let word = error.to_string();
        // Some errors repeat their causes.
        if !words.iter().any(|known: &String| known.contains(&word)) {
            words.push(word);
        }
        cause = error.source();
    }
    words.join(": ")
}

/// Makes connections to the one target.
#[derive(Clone)]
struct Connector {
    target: Arc<Target>,
    private: bool,
    tls: Option<Arc<ClientConfig>>,
    resolving: Arc<Mutex<()>>,
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("{host} cannot be resolved: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("{host} resolves to {ip}, which is {}", refused(*.private))]
    Address { host: String, ip: String, private: bool },
    #[error("no connection to {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("TLS with {host} failed: {source}")]
    Tls { host: String, source: io::Error },
}

fn refused(private: bool) -> &'static str {
    if private {
        "not an address of this host or cannot be sent to"
    } else {
        "not a public address: set allow_private_addresses = true for this webhook if that is meant"
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connection for Box<dyn Stream> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { Ok(TokioIo::new(connector.connect().await?)) })
    }
}

impl Connector {
    async fn connect(&self) -> Result<Box<dyn Stream>, ConnectError> {
        let host = || self.target.host.clone();
        let stream = self.connect_tcp().await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let failed = |source| ConnectError::Tls { host: host(), source };
        let name = ServerName::try_from(host()).map_err(|error| failed(io::Error::other(error)))?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await.map_err(failed)?;
        Ok(Box::new(stream))
    }

    async fn connect_tcp(&self) -> Result<TcpStream, ConnectError> {
        let Target { host, .. } = &*self.target;
        let addresses = self.resolve().await.map_err(|source| ConnectError::Resolve { host: host.clone(), source })?;
        let mut failed = None;
        for address in addresses {
            if !self.target.allows(address.ip(), self.private) {
                let (host, ip, private) = (host.clone(), address.ip().to_string(), self.private);
                failed.get_or_insert(ConnectError::Address { host, ip, private });
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // A document is sent at once, whatever was sent before.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(source) => failed = Some(ConnectError::Connect { address, source }),
            }
        }
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
        Err(failed.unwrap_or_else(|| ConnectError::Resolve { host: host.clone(), source: none() }))
    }

    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let guard: OwnedMutexGuard<()> = self.resolving.clone().lock_owned().await;
        let (host, port) = (self.target.host.clone(), self.target.port);
        let resolve = move || {
            let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // Held until the system has answered, also when nobody waits for it any longer.
            drop(guard);
            addresses
        };
        tokio::task::spawn_blocking(resolve).await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_says_when_to_come_back() {
        let at = Timestamp::parse("2026-11-27T08:00:00Z").unwrap();
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Fri, 27 Nov 2026 08:01:30 GMT", Some(90)),
            ("Fri, 27 Nov 2026 07:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(text, at), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
