//! Wire types: the JSON of the contract, in and out. The OpenAPI document is made from these types: their comments are its
//! descriptions, and `openapi/bounds.rs` has the bounds of their members.

mod answers;
mod requests;

pub use answers::*;
pub use requests::*;
