//! One request and its answer, timed: from before the request is written until the whole body is read.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use reqwest::{Client, Method, Url, header};
use serde::de::DeserializeOwned;

use crate::watch::{Moment, Watch};

/// A request without an answer for this long is given up; its outcome is asked for later.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// A request. `name`: its name in reports.
#[derive(Debug, Clone)]
pub struct Call {
    pub name: &'static str,
    pub method: Method,
    pub path: String,
    pub body: Option<String>,
    pub idempotency_key: Option<String>,
}

impl Call {
    pub fn get(name: &'static str, path: String) -> Self {
        Self { name, method: Method::GET, path, body: None, idempotency_key: None }
    }

    pub fn post(name: &'static str, path: String, body: Option<String>) -> Self {
        Self { name, method: Method::POST, path, body, idempotency_key: None }
    }
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub replayed: bool,
    pub location: Option<String>,
    pub body: Bytes,
}

impl Answer {
    /// The document that the body is, or what is wrong with it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("{error} in {}", self.told()))
    }

    /// Status and body for people, shortened.
    pub fn told(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let short: String = text.chars().take(300).collect();
        format!("{} {short}", self.status)
    }
}

/// A request that was made, and its answer, if there was one.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub sent: Moment,
    pub answered: Moment,
    pub elapsed: Duration,
    pub answer: Result<Answer, String>,
}

impl Exchange {
    /// Whether the request took effect is unknown.
    pub fn unknown(&self) -> bool {
        match &self.answer {
            Err(_) => true,
            // What a proxy in between says about a service that it lost, and the service's own word for it.
            Ok(answer) => {
                matches!(answer.status, 502 | 504)
                    || answer.status == 503 && memchr::memmem::find(&answer.body, b"outcome_unknown").is_some()
            }
        }
    }
}

pub struct Http {
    client: Client,
    host: Url,
    key: Option<String>,
    watch: Arc<Watch>,
}

impl Http {
    pub fn new(host: &Url, key: Option<String>, users: usize, watch: Arc<Watch>) -> anyhow::Result<Self> {
        let client = Client::builder()
            .timeout(ANSWER_TIME_MAX)
            .pool_max_idle_per_host(users * 2)
            .tcp_nodelay(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("an HTTP client")?;
        Ok(Self { client, host: host.clone(), key, watch })
    }

    pub async fn send(&self, call: &Call) -> Exchange {
        let mut request = self.client.request(call.method.clone(), self.host.join(&call.path).expect("a sound path"));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = &call.body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        let (sent, begin) = (self.watch.now(), Instant::now());
        let answer = Self::answer(request).await.map_err(|error| error.to_string());
        Exchange { sent, answered: self.watch.now(), elapsed: begin.elapsed(), answer }
    }

    async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.send().await?;
        let text = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (status, location) = (response.status().as_u16(), text("location"));
        let replayed = text("idempotent-replayed").is_some_and(|value| value == "true");
        Ok(Answer { status, replayed, location, body: response.bytes().await? })
    }
}
