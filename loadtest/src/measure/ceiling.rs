//! The ceiling: a bare hyper server that reads a reserve and answers the bytes of a grant.

use std::net::SocketAddr;

use bytes::Bytes;
use hyper::StatusCode;

/// As Doorbuster answers a reserve of one line with a price.
const GRANT: &[u8] = br#"{"id":"01a20516-5067-72c8-b095-20ea3b80beb9","sale":"measured","customer":"c-000000000000","state":"held","lines":[{"sku":"sku-0","quantity":1,"price":{"amount":19900,"currency":"EUR"}}],"created_at":"2026-11-27T08:00:00.000Z","expires_at":"2026-11-27T08:10:00.000Z","extensions":0}"#;

pub fn serve(address: SocketAddr) -> anyhow::Result<()> {
    crate::workers::serve(
        address,
        || async { Ok(()) },
        |_, _| std::future::ready((StatusCode::CREATED, Bytes::from_static(GRANT))),
    )
}
