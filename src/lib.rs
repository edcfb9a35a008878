//! Doorbuster: flash-sale inventory reservation from memory, durable before it is answered.
//!
//! The house, from the ground up; each floor imports only what stands below it:
//!
//! | room | what it is |
//! |---|---|
//! | [`sale`] | the rules, pure: ids, settings, commands, outcomes, events, a shard |
//! | [`journal`] | frames, segments, group commit, recovery, snapshots; knows no event |
//! | [`engine`] | shards behind locks, stock slices, the catalogue, expiry, durability |
//! | [`store`] | write-behind into SQL |
//! | [`reconcile`] | whether the store is what the journal says |
//! | [`backup`] | a copy of a data directory, while it is served |
//! | [`telemetry`] | every metric |
//! | [`traces`] | requests told to a collector, as spans |
//! | [`privacy`] | what customers are known by |
//! | [`auth`] | API keys, roles, and the sales they reach |
//! | [`events`] | the feed: every durable change, for whoever follows |
//! | [`reports`] | reports on sales, read from the store for whoever asks |
//! | [`runbook`] | what to do about each alert |
//! | [`http`] | the API and the ops listener |
//! | [`service`] | start-up and shutdown: all of it put together |

// They panic where the stream is broken, and block where nobody reads it.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod auth;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod events;
pub mod http;
pub mod journal;
pub mod privacy;
pub mod reconcile;
pub mod reports;
pub mod runbook;
pub mod sale;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod traces;
