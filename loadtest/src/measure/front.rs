//! An HTTP front for systems without HTTP: reads the same reserve, queries the system behind it, and answers the same JSON.

use std::{net::SocketAddr, rc::Rc};

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;

use crate::{postgres, redis, workers::Answer};

#[derive(Deserialize)]
struct Reserve<'a> {
    customer: &'a str,
    #[serde(borrow)]
    lines: Vec<Line<'a>>,
}

#[derive(Deserialize)]
struct Line<'a> {
    sku: &'a str,
    quantity: u32,
}

/// What came of a reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Granted,
    SoldOut,
    LimitExceeded,
}

pub fn serve_redis(address: SocketAddr, redis: SocketAddr) -> anyhow::Result<()> {
    crate::workers::serve(
        address,
        || redis::Client::connect(redis),
        |client: Rc<redis::Client>, body| async move {
            let Ok(reserve) = serde_json::from_slice::<Reserve<'_>>(&body) else { return malformed() };
            answer(&reserve, client.reserve(reserve.customer).await)
        },
    )
}

pub fn serve_postgres(address: SocketAddr, url: &str) -> anyhow::Result<()> {
    let url = url.to_owned();
    crate::workers::serve(
        address,
        move || postgres::Client::connect(url.clone()),
        |client: Rc<postgres::Client>, body| async move {
            let Ok(reserve) = serde_json::from_slice::<Reserve<'_>>(&body) else { return malformed() };
            let line = &reserve.lines[0];
            answer(&reserve, client.reserve(reserve.customer, line.sku, line.quantity).await)
        },
    )
}

fn answer(reserve: &Reserve<'_>, outcome: anyhow::Result<Outcome>) -> Answer {
    let (status, code) = match outcome {
        Ok(Outcome::Granted) => {
            let Line { sku, quantity } = &reserve.lines[0];
            let json = format!(
                r#"{{"id":"01a20516-5067-72c8-b095-20ea3b80beb9","sale":"measured","customer":"{}","state":"held","lines":[{{"sku":"{sku}","quantity":{quantity},"price":{{"amount":19900,"currency":"EUR"}}}}],"created_at":"2026-11-27T08:00:00.000Z","expires_at":"2026-11-27T08:10:00.000Z","extensions":0}}"#,
                reserve.customer
            );
            return (StatusCode::CREATED, json.into());
        }
        Ok(Outcome::SoldOut) => (StatusCode::CONFLICT, "sold_out"),
        Ok(Outcome::LimitExceeded) => (StatusCode::CONFLICT, "customer_limit_exceeded"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown"),
    };
    (status, format!(r#"{{"code":"{code}"}}"#).into())
}

fn malformed() -> Answer {
    (StatusCode::BAD_REQUEST, Bytes::from_static(br#"{"code":"invalid_request"}"#))
}
