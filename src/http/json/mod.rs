//! The JSON of the contract, in and out. The OpenAPI document is made from these types: their comments are its descriptions, and
//! `openapi/bounds.rs` has the bounds of their members.

pub mod answers;
pub mod encode;
pub(super) mod entries;
pub mod invalid;
pub mod parse;
pub mod problem;
mod quick;
pub mod report;
pub mod requests;
pub mod settings;
mod shapes;
pub mod status;
pub mod trail;
pub mod webhooks;
