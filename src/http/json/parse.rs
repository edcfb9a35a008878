//! Parses bodies, and says what is wrong with one that does not parse.

use serde::Deserialize;

use super::{
    invalid::{self, Described},
    quick,
    requests::ReserveBody,
};
use crate::{
    api::Limits,
    sale::{object::Object, settings::Invalid},
};

/// Parses a body. Reads a refused body a second time, to find its errors.
pub fn parse<'a, T: Deserialize<'a> + Described>(bytes: &'a [u8], limits: &Limits) -> Result<T, Vec<Invalid>> {
    serde_json::from_slice::<Object<T>>(bytes).map(|Object(body)| body).map_err(|_| explain::<T>(bytes, limits))
}

/// As `parse`, for the most frequent body.
pub fn parse_reserve<'a>(bytes: &'a [u8], limits: &Limits) -> Result<ReserveBody<'a>, Vec<Invalid>> {
    match quick::reserve(bytes) {
        Some((body, None, end)) if bytes[end..].trim_ascii().is_empty() => Ok(body),
        _ => parse(bytes, limits),
    }
}

/// As `parse`; an empty body has no members.
pub fn parse_optional<'a, T: Deserialize<'a> + Described + Default>(
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<T, Vec<Invalid>> {
    if bytes.is_empty() { Ok(T::default()) } else { parse(bytes, limits) }
}

/// What is wrong with a body that does not parse.
pub fn explain<T: Described>(bytes: &[u8], limits: &Limits) -> Vec<Invalid> {
    let errors = invalid::errors_of_text(&T::shape(limits), bytes);
    debug_assert!(!errors.is_empty(), "serde refused a body in which the shape finds nothing wrong");
    if errors.is_empty() {
        vec![Invalid::new("", "is not a body that this call takes; see /openapi.json")]
    } else {
        errors
    }
}
