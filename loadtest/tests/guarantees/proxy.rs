//! Stands between the load and the service, and breaks one guarantee, once or whenever it comes up.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// A reserve that was refused as sold out is answered as granted.
    LastUnitTwice,
    /// A repeat is answered with another id.
    AnotherIdForTheKey,
    /// A grant is answered with one unit more.
    OtherQuantity,
    /// A reserve is refused as sold out without being asked.
    FalseSoldOut,
    /// A confirm is answered as done and not passed on.
    DroppedConfirm,
    /// A reserve is answered as granted and not passed on.
    DroppedReserve,
    /// A confirm that came too late is answered as done.
    LateConfirm,
    /// A reserve that was refused by a customer's limit is answered as granted.
    AboveTheLimit,
    /// A reserve that was refused in a pause is answered as granted.
    GrantInAPause,
    /// Some reserves that were refused as sold out are answered as granted, so that others wait meanwhile.
    PastTheLine,
    /// Some entries are shown as offered later than they were, as if others had been served before them.
    LateOffer,
    /// A confirm that was refused because the group is incomplete is answered as done.
    ConfirmedAlone,
    /// A refusal has a code that is not of the contract.
    UnknownRefusal,
}

/// Reserves and confirms are first left alone so many times.
const SOUND_AT_FIRST: u64 = 4;

pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    // Dropped with the proxy: its connections end.
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    upstream: SocketAddr,
    fault: Fault,
    broke: AtomicU64,
    reserves: AtomicU64,
    confirms: AtomicU64,
    /// A grant, to make others of.
    grant: Mutex<Option<Value>>,
}

/// An answer of the service, or what was made of it.
struct Passed {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Proxy {
    pub fn start(upstream: SocketAddr, fault: Fault) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            fault,
            broke: AtomicU64::new(0),
            reserves: AtomicU64::new(0),
            confirms: AtomicU64::new(0),
            grant: Mutex::new(None),
        });
        let serving = shared.clone();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let shared = shared.clone();
                        async move { shared.answer(request).await }
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, shared, _runtime: runtime }
    }

    pub fn broke_something(&self) -> bool {
        self.shared.broke.load(Ordering::Relaxed) > 0
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let path = parts.uri.path().to_owned();
        let (reserve, confirm) = (path.ends_with("/reservations"), path.ends_with("/confirm"));
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut passed = match self.instead(reserve, confirm, &path, &asked).await? {
            Some(made) => made,
            None => {
                let mut onward = Request::new(Full::new(body));
                (*onward.method_mut(), *onward.uri_mut(), *onward.headers_mut()) =
                    (parts.method, parts.uri, parts.headers);
                self.pass(onward).await?
            }
        };
        if reserve && passed.status == StatusCode::CREATED {
            self.grant.lock().unwrap().get_or_insert_with(|| passed.body.clone());
        }
        self.distort(reserve, &path, &asked, &mut passed).await?;
        let mut response = Response::new(Full::new(Bytes::from(passed.body.to_string())));
        *response.status_mut() = passed.status;
        passed.headers.remove(header::CONTENT_LENGTH);
        passed.headers.remove(header::TRANSFER_ENCODING);
        *response.headers_mut() = passed.headers;
        Ok(response)
    }

    /// An answer without asking the service.
    async fn instead(
        &self,
        reserve: bool,
        confirm: bool,
        path: &str,
        asked: &Value,
    ) -> Result<Option<Passed>, hyper::Error> {
        let turn = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed) == SOUND_AT_FIRST;
        match self.fault {
            Fault::DroppedReserve if reserve && turn(&self.reserves) => Ok(self.granted(asked)),
            Fault::FalseSoldOut if reserve && turn(&self.reserves) => {
                let line = &asked["lines"][0];
                let short = json!({"sku": line["sku"], "requested": line["quantity"], "available": 0});
                Ok(Some(self.refused("sold_out", json!([short]))))
            }
            Fault::UnknownRefusal if reserve && turn(&self.reserves) => {
                Ok(Some(self.refused("out_of_luck", json!([]))))
            }
            Fault::DroppedConfirm if confirm && turn(&self.confirms) => {
                let shown = self.get(path.trim_end_matches("/confirm")).await?;
                Ok(Some(self.confirmed(shown)))
            }
            _ => Ok(None),
        }
    }

    /// What is made of the service's answer.
    async fn distort(&self, reserve: bool, path: &str, asked: &Value, passed: &mut Passed) -> Result<(), hyper::Error> {
        let code = passed.body["code"].as_str().unwrap_or("").to_owned();
        let instead_of_refusal = match self.fault {
            Fault::LastUnitTwice => "sold_out",
            Fault::PastTheLine if self.reserves.fetch_add(1, Ordering::Relaxed) % 8 == 7 => "sold_out",
            Fault::AboveTheLimit => "customer_limit_exceeded",
            Fault::GrantInAPause => "sale_paused",
            _ => "none",
        };
        if reserve && code == instead_of_refusal {
            if let Some(granted) = self.granted(asked) {
                *passed = granted;
            }
        } else if path.ends_with("/confirm") && self.confirms_in_spite_of(&code) {
            let shown = self.get(path.trim_end_matches("/confirm")).await?;
            *passed = self.confirmed(shown);
        } else if self.fault == Fault::LateOffer && is_late(&passed.body) {
            let offered: Timestamp = passed.body["offered_at"].as_str().unwrap().parse().unwrap();
            passed.body["offered_at"] = json!(format!("{:.3}", offered + Duration::from_secs(5)));
            self.broke.fetch_add(1, Ordering::Relaxed);
        } else if reserve && passed.status == StatusCode::CREATED {
            let replayed = passed.headers.contains_key("idempotent-replayed");
            if self.fault == Fault::OtherQuantity {
                passed.body["lines"][0]["quantity"] =
                    json!(passed.body["lines"][0]["quantity"].as_u64().unwrap_or(0) + 1);
                self.broke.fetch_add(1, Ordering::Relaxed);
            } else if self.fault == Fault::AnotherIdForTheKey && replayed {
                self.rename(passed);
            }
        }
        Ok(())
    }

    fn confirms_in_spite_of(&self, code: &str) -> bool {
        match self.fault {
            Fault::LateConfirm => code == "reservation_expired",
            Fault::ConfirmedAlone => code == "group_incomplete",
            _ => false,
        }
    }

    /// Another id, one that nobody has.
    fn rename(&self, passed: &mut Passed) {
        let number = self.broke.fetch_add(1, Ordering::Relaxed);
        let id = format!("01a20000-0000-7000-8000-{number:012x}");
        passed.headers.insert(header::LOCATION, format!("/v1/reservations/{id}").parse().unwrap());
        passed.body["id"] = json!(id);
    }

    /// A grant of what was asked, made of one that there was.
    fn granted(&self, asked: &Value) -> Option<Passed> {
        let mut body = self.grant.lock().unwrap().clone()?;
        let time = |name: &str| body[name].as_str().unwrap().parse::<Timestamp>().unwrap();
        let (held, now) = (time("expires_at").duration_since(time("created_at")), Timestamp::now());
        body["created_at"] = json!(format!("{now:.3}"));
        // Counted from what is told, which has whole milliseconds.
        let told: Timestamp = body["created_at"].as_str().unwrap().parse().unwrap();
        body["expires_at"] = json!(format!("{:.3}", told + held));
        body["customer"] = asked["customer"].clone();
        body["lines"] = summed(&asked["lines"]);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        let mut passed = Passed { status: StatusCode::CREATED, headers, body };
        self.rename(&mut passed);
        Some(passed)
    }

    fn refused(&self, code: &str, lines: Value) -> Passed {
        self.broke.fetch_add(1, Ordering::Relaxed);
        let body =
            json!({"type": "/problems/x", "title": "x", "status": 409, "code": code, "detail": "x", "lines": lines});
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/problem+json".parse().unwrap());
        Passed { status: StatusCode::CONFLICT, headers, body }
    }

    /// The reservation, as if it had been confirmed just before its end.
    fn confirmed(&self, mut shown: Passed) -> Passed {
        self.broke.fetch_add(1, Ordering::Relaxed);
        let ends: Timestamp = shown.body["expires_at"].as_str().unwrap().parse().unwrap();
        shown.body["state"] = json!("confirmed");
        shown.body["confirmed_at"] = json!(format!("{:.3}", ends - Duration::from_millis(1)));
        shown.body.as_object_mut().unwrap().remove("expired_at");
        shown
    }

    async fn get(&self, path: &str) -> Result<Passed, hyper::Error> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = path.parse().unwrap();
        request.headers_mut().insert(header::HOST, self.upstream.to_string().parse().unwrap());
        self.pass(request).await
    }

    async fn pass(&self, request: Request<Full<Bytes>>) -> Result<Passed, hyper::Error> {
        let stream = TcpStream::connect(self.upstream).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = serde_json::from_slice(&body.collect().await?.to_bytes()).unwrap_or_default();
        Ok(Passed { status: parts.status, headers: parts.headers, body })
    }
}

/// Whether it is an entry that was offered a hold, and one of those that are told late.
fn is_late(body: &Value) -> bool {
    let id = body["id"].as_str().unwrap_or_default();
    body.get("offered_at").is_some() && id.ends_with(|last| ('0'..='7').contains(&last))
}

/// Each SKU once, as the service answers.
fn summed(lines: &Value) -> Value {
    let mut units = std::collections::BTreeMap::<&str, u64>::new();
    for line in lines.as_array().unwrap() {
        *units.entry(line["sku"].as_str().unwrap()).or_default() += line["quantity"].as_u64().unwrap();
    }
    units.into_iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect()
}
