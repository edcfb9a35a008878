//! Commands as they come from a caller: well formed, and within the limits.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::sale::command::{AskedLine, Reserve};

/// A reserve's members after their checks.
#[derive(Debug)]
pub struct CheckedReserve<'a> {
    /// The customer's id or pseudonym: all that the layers below see.
    pub customer: Cow<'a, str>,
    pub lines: SmallVec<[CheckedLine<'a>; 2]>,
    pub hold_seconds: Option<u32>,
    pub reference: Option<Cow<'a, str>>,
}

/// All units of a SKU.
#[derive(Debug)]
pub struct CheckedLine<'a> {
    pub sku: Cow<'a, str>,
    pub units: u32,
}

impl CheckedReserve<'_> {
    /// What the engine is asked.
    pub fn asked<'b>(&'b self, sale: &'b str, key: Option<&'b str>) -> Reserve<'b> {
        let lines = self.lines.iter().map(|line| AskedLine { sku: &line.sku, units: line.units }).collect();
        let Self { customer, hold_seconds, reference, .. } = self;
        Reserve { sale, customer, lines, hold_seconds: *hold_seconds, reference: reference.as_deref(), key }
    }
}
