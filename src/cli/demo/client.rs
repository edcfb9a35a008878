//! An HTTP client over a fixed number of keep-alive connections, and the watch that it measures by.
//!
//! Invariants: a request is sent once, whatever happens to it; every request has an answer or counts as unanswered
//! within [`ANSWER_TIME_MAX`]. Connections belong to the thread and the `LocalSet` that made the client.

use std::{
    cell::RefCell,
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Semaphore};

use crate::{
    clock::{Clock, SystemClock, monotonic},
    sale::time::Timestamp,
};

/// A request without an answer for so long is hanging.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Microseconds since the Unix epoch, so that what is measured here can be compared with the service's times.
pub type Moment = u64;

/// Measures by the monotonic clock, from a moment at which the time of day was known.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    instant: Instant,
    moment: Moment,
}

impl Watch {
    /// Waits for the next millisecond to begin: the time of day comes in whole ones.
    pub fn start() -> Self {
        let before = SystemClock.now();
        loop {
            let now = SystemClock.now();
            if now != before {
                return Self { instant: monotonic(), moment: moment(now) };
            }
            std::hint::spin_loop();
        }
    }

    pub fn now(&self) -> Moment {
        self.moment + self.instant.elapsed().as_micros() as u64
    }

    pub async fn sleep_until(&self, moment: Moment) {
        tokio::time::sleep(Duration::from_micros(moment.saturating_sub(self.now()))).await;
    }
}

pub fn moment(timestamp: Timestamp) -> Moment {
    timestamp.millis() * 1000
}

#[derive(Debug, Clone, Default)]
pub struct Ask<'a> {
    pub method: Method,
    pub path: &'a str,
    pub key: Option<&'a str>,
    pub body: Bytes,
}

impl<'a> Ask<'a> {
    pub fn get(path: &'a str) -> Self {
        Self { path, ..Self::default() }
    }

    pub fn post(path: &'a str, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, path, body: body.into(), key: None }
    }

    pub fn with_key(self, key: &'a str) -> Self {
        Self { key: Some(key), ..self }
    }
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Marked `Idempotent-Replayed: true`.
    pub replayed: bool,
    pub body: Bytes,
    pub sent: Moment,
    /// When the whole answer was here.
    pub got: Moment,
}

#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    #[error("the connection failed: {0}")]
    Broken(hyper::Error),
    #[error("no answer within {} s", ANSWER_TIME_MAX.as_secs())]
    Hanging,
}

pub struct Client {
    address: SocketAddr,
    host: HeaderValue,
    watch: Watch,
    /// One for each connection that there may be.
    places: Semaphore,
    idle: RefCell<VecDeque<SendRequest<Full<Bytes>>>>,
    connections: usize,
}

impl Client {
    pub fn new(address: SocketAddr, connections: usize, watch: Watch) -> Self {
        let host = HeaderValue::from_str(&address.to_string()).expect("an address is ASCII");
        Self { address, host, watch, places: Semaphore::new(connections), idle: RefCell::default(), connections }
    }

    /// Opens all connections, so that no request has to wait for one.
    pub async fn open(&self) -> Result<(), NoAnswer> {
        for _ in 0..self.connections {
            let connection = self.connect().await?;
            self.idle.borrow_mut().push_back(connection);
        }
        Ok(())
    }

    /// Sends on the next free connection. The time until there is one is not part of what the answer took.
    pub async fn send(&self, ask: Ask<'_>) -> Result<Answer, NoAnswer> {
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        let mut connection = self.ready().await?;
        let mut request = Request::builder().method(ask.method).uri(ask.path).header(HOST, &self.host);
        if !ask.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = ask.key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(ask.body)).expect("paths and keys of the demo are valid");
        let sent = self.watch.now();
        let exchange = async {
            let (head, body) = connection.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>((head, body.collect().await?.to_bytes()))
        };
        let (head, body) = match tokio::time::timeout(ANSWER_TIME_MAX, exchange).await {
            Ok(exchanged) => exchanged.map_err(NoAnswer::Broken)?,
            Err(_) => return Err(NoAnswer::Hanging),
        };
        let got = self.watch.now();
        self.idle.borrow_mut().push_back(connection);
        let replayed = head.headers.get("idempotent-replayed").is_some_and(|value| value == "true");
        Ok(Answer { status: head.status.as_u16(), replayed, body, sent, got })
    }

    /// A connection that takes a request now. One that the service closed while it was idle is replaced.
    async fn ready(&self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        let next = || self.idle.borrow_mut().pop_front();
        while let Some(mut connection) = next() {
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
        let connecting = tokio::time::timeout(ANSWER_TIME_MAX, TcpStream::connect(self.address));
        let stream = connecting.await.map_err(|_| NoAnswer::Hanging)?.map_err(NoAnswer::Connect)?;
        stream.set_nodelay(true).map_err(NoAnswer::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(NoAnswer::Broken)?;
        // Its errors show at the request that meets them.
        tokio::task::spawn_local(connection);
        sender.ready().await.map_err(NoAnswer::Broken)?;
        Ok(sender)
    }
}
