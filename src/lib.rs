//! Doorbuster: flash-sale inventory reservation from memory, durable before it is answered.
//!
//! The modules, from the bottom up. Each imports only modules above it in this table:
//!
//! | module | what it is |
//! |---|---|
//! | [`sale`] | a crate: the rules, pure: settings, transitions, the judgement of a reserve, events, a shard |
//! | [`journal`] | a crate: the log and its snapshots, group commit, recovery; knows no event |
//! | [`engine`] | a crate: shards behind locks, stock over all of them, the catalogue, expiry, durability |
//! | [`store`] | write-behind into SQL |
//! | [`reconcile`] | compares the store with the journal, and repairs it |
//! | [`backup`] | copies a data directory while a service runs on it |
//! | [`pace`] | how fast items sell, and what follows from it |
//! | [`telemetry`] | every metric |
//! | [`traces`] | exports traced requests to a collector, as spans |
//! | [`privacy`] | customer ids or their pseudonyms |
//! | [`auth`] | API keys, their roles, and the sales they are for |
//! | [`events`] | the feed: every durable change, in order |
//! | [`webhooks`] | sends events to endpoints, signed, and remembers where each is |
//! | [`reports`] | reports on sales, read from the store |
//! | [`runbook`] | what to do about each alert |
//! | [`api`] | the table of calls; typed calls, results and refusals |
//! | [`http`] | translates between HTTP and the API; the ops listener |
//! | [`service`] | start-up and shutdown: puts all of it together |

// They panic if the stream is broken, and block if nobody reads it.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub use ::{engine, journal, sale};

pub mod api;
pub mod auth;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod events;
pub mod http;
pub mod pace;
pub mod privacy;
pub mod reconcile;
mod replace;
pub mod reports;
pub mod runbook;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod traces;
pub mod webhooks;
