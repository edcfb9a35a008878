//! One delivery: resolves, connects, sends, and reads what matters of the answer.
//!
//! Invariants: an answer begins within `timeout`, or the delivery has failed; redirects are not followed; of an answer's body at most
//! a few KiB are read. How connections are made, and how many: see `connecting`.

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, USER_AGENT},
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use super::{
    Secrets,
    address::Target,
    connecting::{ConnectError, Connector},
};
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
    /// `tls`: None only for a target without TLS. `connections`: how many there may be at a time.
    pub fn new(
        target: Target,
        private: bool,
        tls: Option<Arc<ClientConfig>>,
        timeout: Duration,
        connections: usize,
    ) -> Self {
        let connector = Connector::new(target.clone(), private, tls, timeout, connections);
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
            Ok(Err(error)) if !is_late(&error) => failed(FailureKind::Unreachable, in_words(&error)),
            Ok(Err(_)) | Err(_) => {
                failed(FailureKind::TimedOut, format!("no answer within {} s", self.timeout.as_secs()))
            }
        }
    }
}

/// Whether the time was over before there was a connection.
fn is_late(error: &dyn Error) -> bool {
    matches!(error.source().and_then(|cause| cause.downcast_ref()), Some(ConnectError::TimedOut))
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
