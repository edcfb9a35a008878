//! The edge: HTTP/1.1 and h2c on one port, one worker per core, answers once changes are durable.
//!
//! Invariant: no answer that shows a change leaves before the change is on disk (unless `journal.ack` says otherwise),
//! and every request gets exactly one answer in the form of the contract. Nothing here reaches into a shard.

mod auth;
mod body;
mod buffers;
mod closing;
mod conditions;
mod connections;
mod crowd;
pub mod encode;
mod entries;
mod handlers;
pub mod invalid;
pub mod openapi;
mod ops;
pub mod problem;
mod query;
mod quick;
mod rates;
mod refusals;
mod report;
mod requests;
mod router;
mod server;
mod settings_body;
mod shapes;
pub mod status;
mod timed;
mod tls;
mod trail;
mod waiters;
pub mod wire;
mod worker;

pub use body::{Body, BoxedRequest, BoxedResponse};
pub use buffers::Buffers;
pub use closing::Lingering;
pub use ops::{Health, OpsLimits, serve_ops};
pub use rates::Rates;
pub use refusals::Refusals;
pub use requests::RequestLog;
pub use server::{Listeners, ServerHandle, start};
pub use timed::Patience;
pub use tls::{Tls, TlsError, TlsFiles};
pub use worker::{Contracts, Limits, Service};

/// Label values of the API's calls in metrics.
pub const ROUTE_NAMES: &[&str] = &router::Route::NAMES;
