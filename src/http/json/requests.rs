//! Bodies of requests.
//!
//! Invariant: what parses here is well formed. Unknown members, wrong types and values out of range are refused with a pointer
//! to each.

use std::borrow::Cow;

use serde::Deserialize;
use smallvec::SmallVec;
use utoipa::ToSchema;

use crate::{
    api::{
        Limits,
        commands::{CheckedLine, CheckedReserve},
    },
    privacy::CustomerIds,
    sale::{
        ids::{check_name, check_text},
        object::Object,
        rule::Rule,
        settings::{self, Invalid, SKU},
    },
};

pub const CUSTOMER: Rule = Rule::Name { example: "ann" };
pub const REFERENCE: Rule = Rule::Text { example: "order-1" };
pub const REASON: Rule = Rule::Text { example: "the customer changed their mind" };

/// Units to hold for one customer, all lines or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with the members of a reserve")]
#[schema(as = ReserveRequest)]
pub struct ReserveBody<'a> {
    /// The customer's id: opaque, chosen by the caller.
    #[serde(borrow)]
    customer: Cow<'a, str>,
    /// What to hold. The service adds up lines of the same SKU before any check.
    #[serde(borrow)]
    #[schema(value_type = Vec<LineBody>)]
    lines: SmallVec<[Object<LineBody<'a>>; 2]>,
    /// How long to hold, in seconds. Left out: the sale's `hold_seconds`.
    #[serde(default)]
    hold_seconds: Option<u64>,
    /// The caller's name for this reservation, such as a cart's id. The service stores it and shows it, but never uses it.
    #[serde(default, borrow)]
    reference: Option<Cow<'a, str>>,
}

/// Units of one item.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReserveLine)]
pub struct LineBody<'a> {
    /// An item of the sale.
    #[serde(borrow)]
    pub sku: Cow<'a, str>,
    /// Units; lines of the same SKU together have the same bound.
    pub quantity: u64,
}

impl<'a> ReserveBody<'a> {
    pub fn of(
        customer: Cow<'a, str>,
        lines: SmallVec<[Object<LineBody<'a>>; 2]>,
        hold_seconds: Option<u64>,
        reference: Option<Cow<'a, str>>,
    ) -> Self {
        Self { customer, lines, hold_seconds, reference }
    }

    /// Everything that is wrong with the members; lines of the same SKU are summed.
    pub fn check(self, limits: &Limits, ids: &CustomerIds) -> Result<CheckedReserve<'a>, Vec<Invalid>> {
        let mut wrong = Vec::new();
        if check_name(&self.customer).is_err() {
            wrong.push(Invalid::new("/customer", CUSTOMER));
        }
        if self.lines.is_empty() || self.lines.len() > limits.sale.lines_max {
            wrong.push(Invalid::new("/lines", format!("must be a list of 1 to {} lines", limits.sale.lines_max)));
        }
        check_text_of(&mut wrong, "/reference", REFERENCE, &self.reference);
        let hold_seconds = check_hold(self.hold_seconds, limits.sale.hold_seconds_max, &mut wrong);
        let mut lines: SmallVec<[CheckedLine<'_>; 2]> = SmallVec::new();
        for (index, Object(line)) in self.lines.into_iter().enumerate().take(limits.sale.lines_max) {
            if check_name(&line.sku).is_err() {
                wrong.push(Invalid::new(format!("/lines/{index}/sku"), SKU));
            }
            let most = u64::from(limits.quantity_max);
            if line.quantity == 0 || line.quantity > most {
                wrong.push(Invalid::new(format!("/lines/{index}/quantity"), Rule::whole(1, most)));
                continue;
            }
            let units = line.quantity as u32;
            match lines.iter_mut().find(|known| known.sku == line.sku) {
                None => lines.push(CheckedLine { sku: line.sku, units }),
                Some(known) if u64::from(known.units) + line.quantity <= most => known.units += units,
                Some(_) => {
                    let detail = format!("the units of {:?} add up to more than {most}", line.sku);
                    wrong.push(Invalid::new(format!("/lines/{index}/quantity"), detail));
                }
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let (customer, reference) = (ids.known_as(self.customer), self.reference);
        Ok(CheckedReserve { customer, lines, hold_seconds, reference })
    }
}

fn check_hold(seconds: Option<u64>, most: u64, wrong: &mut Vec<Invalid>) -> Option<u32> {
    let seconds = seconds?;
    if seconds == 0 || seconds > most {
        wrong.push(Invalid::new("/hold_seconds", settings::hold_seconds(most)));
    }
    u32::try_from(seconds).ok()
}

/// Why a hold is confirmed. All members are optional.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConfirmRequest)]
pub struct ConfirmBody<'a> {
    /// The caller's name for the confirmation, such as an order number. Replaces the reservation's reference.
    #[serde(default, borrow)]
    pub reference: Option<Cow<'a, str>>,
}

impl ConfirmBody<'_> {
    pub fn check(&self) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        check_text_of(&mut wrong, "/reference", REFERENCE, &self.reference);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// Why a hold is released. All members are optional.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReleaseRequest)]
pub struct ReleaseBody<'a> {
    /// Kept in the store, for people.
    #[serde(default, borrow)]
    pub reason: Option<Cow<'a, str>>,
}

impl ReleaseBody<'_> {
    pub fn check(&self) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        check_text_of(&mut wrong, "/reason", REASON, &self.reason);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// How long a hold lasts from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExtendRequest)]
pub struct ExtendBody {
    /// Seconds from now until the new `expires_at`, which is never earlier than before.
    hold_seconds: u64,
}

impl ExtendBody {
    pub fn check(&self, limits: &Limits) -> Result<u32, Vec<Invalid>> {
        let mut wrong = Vec::new();
        let seconds = check_hold(Some(self.hold_seconds), limits.sale.hold_seconds_max, &mut wrong);
        seconds.filter(|_| wrong.is_empty()).ok_or(wrong)
    }
}

/// The body of calls that take no members.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NoMembers)]
pub struct NoBody {}

/// A change of an item's stock.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AdjustRequest)]
pub struct AdjustBody<'a> {
    /// Units to add, or to remove if negative. Only available units can be removed.
    pub delta: i64,
    /// Why, for people.
    #[serde(default, borrow)]
    pub reason: Option<Cow<'a, str>>,
    /// The caller's name for the change, such as a delivery number.
    #[serde(default, borrow)]
    pub reference: Option<Cow<'a, str>>,
}

impl AdjustBody<'_> {
    pub fn check(&self, limits: &Limits) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        if self.delta == 0 {
            wrong.push(Invalid::new("/delta", limits.sale.delta()));
        }
        check_text_of(&mut wrong, "/reason", REASON, &self.reason);
        check_text_of(&mut wrong, "/reference", REFERENCE, &self.reference);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

fn check_text_of(wrong: &mut Vec<Invalid>, pointer: &str, rule: Rule, text: &Option<Cow<'_, str>>) {
    if text.as_deref().is_some_and(|text| check_text(text).is_err()) {
        wrong.push(Invalid::new(pointer, rule));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{http::json::parse::parse, sale::command::AskedLine};

    fn limits() -> Limits {
        let sale = settings::Limits { lines_max: 20, hold_seconds_max: 3600, ..settings::Limits::default() };
        Limits { sale, quantity_max: 1000, ..crate::service::api_limits(&crate::config::Config::default()) }
    }

    fn parse_with_limits(body: &str) -> Result<ReserveBody<'_>, Vec<Invalid>> {
        parse(body.as_bytes(), &limits())
    }

    fn wrong(body: &str) -> Vec<String> {
        let checked = parse_with_limits(body).and_then(|body| body.check(&limits(), &CustomerIds::Plain).map(drop));
        checked.err().into_iter().flatten().map(|wrong| wrong.pointer).collect()
    }

    #[test]
    fn a_pointer_leads_to_what_is_wrong() {
        for (body, pointers) in [
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":1}]}"#, vec![]),
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":-1}]}"#, vec!["/lines/0/quantity"]),
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":1.5}]}"#, vec!["/lines/0/quantity"]),
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":0}]}"#, vec!["/lines/0/quantity"]),
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":9223372036854775808}]}"#, vec!["/lines/0/quantity"]),
            (r#"{"customer":7,"lines":[]}"#, vec!["/customer", "/lines"]),
            (r#"{"customer":"","lines":[],"hold_seconds":0}"#, vec!["/customer", "/lines", "/hold_seconds"]),
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":1}],"vip":true}"#, vec!["/vip"]),
            (r#"{"customer":"a","lines":[{"sku":"x","quantity":1}]} x"#, vec![""]),
            (
                r#"{"customer":"a","lines":[{"sku":"x","quantity":600},{"sku":"x","quantity":600}]}"#,
                vec!["/lines/1/quantity"],
            ),
        ] {
            assert_eq!(wrong(body), pointers, "{body}");
        }
    }

    #[test]
    fn the_same_sku_twice_is_one_line() {
        let text =
            r#"{"customer":"a","lines":[{"sku":"x","quantity":1},{"sku":"y","quantity":2},{"sku":"x","quantity":3}]}"#;
        let body = parse_with_limits(text).unwrap();
        let checked = body.check(&limits(), &CustomerIds::Plain).unwrap();
        let lines = checked.asked("drop", None).lines;
        assert_eq!(lines.as_slice(), [AskedLine { sku: "x", units: 4 }, AskedLine { sku: "y", units: 2 }]);
    }
}
