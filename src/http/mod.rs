//! The edge: HTTP/1.1 and h2c on one port, one worker per core, answers once changes are durable.
//!
//! Requests become calls of `api`, and their results become bytes. Invariant: no answer that shows a change leaves before the
//! change is on disk (unless `journal.ack` says otherwise), and every request gets exactly one answer in the form of the contract.

mod activity;
mod body;
mod buffers;
mod closing;
mod conditions;
mod connections;
mod evicting;
mod handlers;
pub mod json;
mod limits;
pub mod openapi;
mod ops;
mod pipeline;
mod query;
mod request_log;
mod response;
mod router;
mod server;
mod timed;
mod tls;
mod waiters;
mod worker;

pub use activity::{Lingering, Timeouts};
pub use buffers::Buffers;
pub use limits::{Limits, OpsLimits};
pub use ops::{Health, serve_ops};
pub use request_log::RequestLog;
pub use server::{Listeners, ServerHandle, start};
pub use tls::{Tls, TlsError, TlsFiles};
pub use worker::{Contracts, Service};
