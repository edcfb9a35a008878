//! The API without HTTP: typed calls, results and refusals.
//!
//! `calls` is the one table of calls. A caller of this module has parsed a request into a command, and turns into bytes what it gets: a
//! result, a `Refusal` by the rules of the sale, or a `Refused` before these were asked. Invariant: nothing here knows a protocol.

mod admission;
mod batch;
pub mod calls;
pub mod commands;
pub mod figures;
mod limits;
mod names;
mod operations;
pub mod problems;
mod rates;
pub mod refusal_counts;
pub mod refused;
mod reservations;
mod sales;
mod service;
mod waitlist;
mod webhooks;

use self::refused::Refused;
pub use self::{
    admission::authorize,
    batch::Asked,
    limits::Limits,
    names::Names,
    operations::NO_CURSOR,
    rates::Rates,
    reservations::{Api, SaleRef, parse_id},
    sales::{Replenishment, StatusChange, is_large},
    service::Service,
    waitlist::parse_entry_id,
    webhooks::Shown as ShownWebhook,
};
use crate::{engine::Answer, sale::outcome::Refusal};

/// What a call comes to: a refusal before the rules were asked, which shows no state, or what may be shown once it is durable.
pub type Outcome<T> = Result<Answer<Result<T, Refusal>>, Refused>;

/// As `Outcome`, for a call that no rule refuses.
pub type Judged<T> = Result<Answer<T>, Refused>;
