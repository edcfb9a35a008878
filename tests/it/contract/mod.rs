//! The HTTP contract over a real socket: every call, every refusal, and what the protocol itself may bring.
//!
//! What holds for every answer is checked where answers come in (`served/problems.rs`, `served/shapes.rs`,
//! `served/described.rs`); the tests here say which answer belongs to which request.

mod attacks;
mod audit;
mod batch;
mod batch_limits;
mod changes;
mod clock;
mod closings;
mod console;
mod customer_reservations;
mod customers;
mod events;
mod events_limits;
mod expiry;
mod groups;
mod hostile;
mod idempotency;
pub mod keys;
mod life;
mod limits;
mod malformed;
mod memory;
mod multiplexed;
mod openapi;
mod ops;
mod order;
mod privacy;
mod problems;
mod protocol;
mod rates;
mod replenishment;
mod reports;
mod request_ids;
mod reservations;
mod sales;
mod stopping;
mod tls;
mod traces;
mod trail;
mod waitlist;
mod words;
