//! Bodies of requests.
//!
//! Invariant: what parses here is well formed. Unknown members, wrong types and values out of range are refused with a pointer
//! to each.

mod stock;
mod waitlist;

pub use stock::{ADJUSTMENTS_MAX, AdjustBody, AdjustmentsBody, TransferBody};
pub use waitlist::JoinBody;

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use smallvec::SmallVec;
use utoipa::ToSchema;

use crate::{
    api::{
        Limits,
        commands::{CheckedCancel, CheckedConfirm, CheckedLine, CheckedLines, CheckedReserve},
    },
    privacy::CustomerIds,
    sale::{
        attributes::{Attributes, LABELS_MAX},
        command::Extras,
        ids::{GroupId, check_label, check_name, check_slug, check_text},
        object::Object,
        rule::Rule,
        settings::{self, CHANNEL, Invalid, LOCATION, POOL_ID, REGION, SKU, TIER},
    },
};

use super::invalid::escape;

pub const CUSTOMER: Rule = Rule::Name { example: "ann" };
pub const REFERENCE: Rule = Rule::Text { example: "order-1" };
pub const REASON: Rule = Rule::Text { example: "the customer changed their mind" };

/// Units to hold for one customer, all lines or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with the members of a reserve")]
#[schema(as = ReserveRequest)]
pub struct ReserveWire<'a> {
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
    /// The customer's tier. The caller vouches for it.
    #[serde(default, borrow)]
    tier: Option<Cow<'a, str>>,
    /// The channel that the request came through. A key tied to one channel has it as the default.
    #[serde(default, borrow)]
    channel: Option<Cow<'a, str>>,
    /// Where the units are to go; for items whose pools are drawn from by cost.
    #[serde(default, borrow)]
    region: Option<Cow<'a, str>>,
    /// Up to four names with values of 1 to 32 bytes, such as experiments and campaigns. The service stores them and shows them.
    #[serde(default, borrow)]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    labels: Option<Labels<'a>>,
    /// Only pools of these locations are drawn from. Left out: pools of all locations, and of none.
    #[serde(default, borrow)]
    #[schema(value_type = Option<Vec<String>>)]
    locations: Option<Texts<'a>>,
    /// Whether each line gets what is there of it, instead of all lines or none.
    #[serde(default)]
    allow_partial: Option<bool>,
    /// Of an item that is sold to groups: the group to join, which the reservation that opened it shows. Left out: the reserve opens
    /// a group.
    #[serde(default, borrow)]
    group: Option<Cow<'a, str>>,
}

/// A reserve as it was sent: small, because it is moved often, so what most requests leave out is apart.
#[derive(Debug, Deserialize)]
#[serde(from = "ReserveWire<'a>", bound(deserialize = "'de: 'a"))]
pub struct ReserveBody<'a> {
    customer: Cow<'a, str>,
    lines: SmallVec<[Object<LineBody<'a>>; 2]>,
    hold_seconds: Option<u64>,
    reference: Option<Cow<'a, str>>,
    extras: Option<Box<ExtrasBody<'a>>>,
}

impl<'a> From<ReserveWire<'a>> for ReserveBody<'a> {
    fn from(wire: ReserveWire<'a>) -> Self {
        let ReserveWire { customer, lines, hold_seconds, reference, .. } = wire;
        let ReserveWire { tier, channel, region, labels, locations, allow_partial, group, .. } = wire;
        let extras = ExtrasBody { tier, channel, region, labels, locations, allow_partial, group };
        Self::of(customer, lines, hold_seconds, reference, extras.boxed())
    }
}

/// Names and values, each name once.
#[derive(Debug)]
pub struct Labels<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Pairs<'a> {
            type Value = Labels<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Labels<'a>, A::Error> {
                let mut labels = Vec::new();
                while let Some((Text(name), Text(value))) = object.next_entry::<Text<'a>, Text<'a>>()? {
                    if labels.len() == LABELS_MAX || labels.iter().any(|(known, _)| *known == name) {
                        return Err(serde::de::Error::custom("too many labels, or one twice"));
                    }
                    labels.push((name, value));
                }
                labels.sort();
                Ok(Labels(labels))
            }
        }
        deserializer.deserialize_map(Pairs(std::marker::PhantomData))
    }
}

/// A text that is borrowed where it can be.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A list of texts.
#[derive(Debug, Deserialize)]
pub struct Texts<'a>(#[serde(borrow)] Vec<Text<'a>>);

/// The members of a reserve that most requests leave out, as they were sent.
#[derive(Debug, Default)]
pub struct ExtrasBody<'a> {
    pub tier: Option<Cow<'a, str>>,
    pub channel: Option<Cow<'a, str>>,
    pub region: Option<Cow<'a, str>>,
    pub labels: Option<Labels<'a>>,
    pub locations: Option<Texts<'a>>,
    pub allow_partial: Option<bool>,
    pub group: Option<Cow<'a, str>>,
}

/// Locations of one request.
pub const LOCATIONS_MAX: usize = 64;
pub const LABEL_NAME: Rule = Rule::Slug { example: "experiment" };
pub const LABEL: Rule = Rule::Label { example: "B" };

impl<'a> ExtrasBody<'a> {
    /// None if there are none.
    pub fn boxed(self) -> Option<Box<Self>> {
        let Self { tier, channel, region, labels, locations, allow_partial, group } = &self;
        let some = tier.is_some() || channel.is_some() || region.is_some();
        let more = labels.is_some() || locations.is_some() || allow_partial.is_some() || group.is_some();
        (some || more).then(|| Box::new(self))
    }

    /// None if there are none.
    fn check(self, wrong: &mut Vec<Invalid>) -> Option<Box<Extras<'a>>> {
        let Self { tier, channel, region, labels, locations, allow_partial, group } = self;
        for (pointer, rule, text) in
            [("/tier", TIER, &tier), ("/channel", CHANNEL, &channel), ("/region", REGION, &region)]
        {
            if text.as_deref().is_some_and(|text| check_slug(text).is_err()) {
                wrong.push(Invalid::new(pointer, rule));
            }
        }
        for (name, value) in labels.iter().flat_map(|labels| &labels.0) {
            let pointer = format!("/labels/{}", escape(name));
            if check_slug(name).is_err() {
                wrong.push(Invalid::new(&pointer, format!("its name {LABEL_NAME}")));
            }
            if check_label(value).is_err() {
                wrong.push(Invalid::new(pointer, LABEL));
            }
        }
        if labels.as_ref().is_some_and(|labels| labels.0.is_empty()) {
            wrong.push(Invalid::new("/labels", format!("must have 1 to {LABELS_MAX} members; leave it out for none")));
        }
        if let Some(Texts(texts)) = &locations {
            if texts.is_empty() || texts.len() > LOCATIONS_MAX {
                wrong.push(Invalid::new("/locations", format!("must be a list of 1 to {LOCATIONS_MAX} locations")));
            }
            for (index, Text(text)) in texts.iter().enumerate().take(LOCATIONS_MAX) {
                if check_slug(text).is_err() {
                    wrong.push(Invalid::new(format!("/locations/{index}"), LOCATION));
                }
            }
        }
        let mut locations: Vec<Cow<'_, str>> =
            locations.map(|texts| texts.0.into_iter().map(|Text(text)| text).collect()).unwrap_or_default();
        locations.sort_unstable();
        locations.dedup();
        let labels = labels.map(|labels| labels.0).unwrap_or_default();
        let attributes = Attributes { tier, channel, region, locations, labels };
        let joins = group.as_deref().and_then(GroupId::parse);
        if group.is_some() && joins.is_none() {
            wrong.push(Invalid::new("/group", Rule::GroupId));
        }
        let extras = Extras { attributes, allow_partial: allow_partial.unwrap_or(false), group: joins };
        (extras != Extras::default()).then(|| Box::new(extras))
    }
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
        extras: Option<Box<ExtrasBody<'a>>>,
    ) -> Self {
        Self { customer, lines, hold_seconds, reference, extras }
    }

    /// Everything that is wrong with the members; lines of the same SKU are summed.
    pub fn check(self, limits: &Limits, ids: &CustomerIds) -> Result<CheckedReserve<'a>, Vec<Invalid>> {
        let mut wrong = Vec::new();
        if check_name(&self.customer).is_err() {
            wrong.push(Invalid::new("/customer", CUSTOMER));
        }
        check_count(&self.lines, limits, &mut wrong);
        check_text_of(&mut wrong, "/reference", REFERENCE, &self.reference);
        let hold_seconds = check_hold(self.hold_seconds, limits.sale.hold_seconds_max, &mut wrong);
        let extras = self.extras.and_then(|extras| extras.check(&mut wrong));
        let lines = sum_lines(self.lines, limits, &mut wrong);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let (customer, reference) = (ids.known_as(self.customer), self.reference);
        Ok(CheckedReserve { customer, lines, hold_seconds, reference, extras })
    }
}

type LinesBody<'a> = SmallVec<[Object<LineBody<'a>>; 2]>;

fn check_count(lines: &LinesBody<'_>, limits: &Limits, wrong: &mut Vec<Invalid>) {
    if lines.is_empty() || lines.len() > limits.sale.lines_max {
        wrong.push(Invalid::new("/lines", format!("must be a list of 1 to {} lines", limits.sale.lines_max)));
    }
}

/// Checks lines, and sums those of the same SKU.
fn sum_lines<'a>(asked: LinesBody<'a>, limits: &Limits, wrong: &mut Vec<Invalid>) -> CheckedLines<'a> {
    let mut lines = CheckedLines::new();
    for (index, Object(line)) in asked.into_iter().enumerate().take(limits.sale.lines_max) {
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
    lines
}

/// As `sum_lines`, where they may be left out.
fn sum_some_lines<'a>(
    asked: Option<LinesBody<'a>>,
    limits: &Limits,
    wrong: &mut Vec<Invalid>,
) -> Option<CheckedLines<'a>> {
    let lines = asked?;
    check_count(&lines, limits, wrong);
    Some(sum_lines(lines, limits, wrong))
}

fn check_hold(seconds: Option<u64>, most: u64, wrong: &mut Vec<Invalid>) -> Option<u32> {
    let seconds = seconds?;
    if seconds == 0 || seconds > most {
        wrong.push(Invalid::new("/hold_seconds", settings::hold_seconds(most)));
    }
    u32::try_from(seconds).ok()
}

/// What of a reservation is confirmed, and why. All members are optional.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConfirmRequest)]
pub struct ConfirmBody<'a> {
    /// What to confirm, at most what is held of each item; the rest goes back into stock in the same step. Left out: everything.
    #[serde(default, borrow)]
    #[schema(value_type = Option<Vec<LineBody>>)]
    lines: Option<LinesBody<'a>>,
    /// The caller's name for the confirmation, such as an order number. Replaces the reservation's reference.
    #[serde(default, borrow)]
    reference: Option<Cow<'a, str>>,
}

impl<'a> ConfirmBody<'a> {
    pub fn check(self, limits: &Limits) -> Result<CheckedConfirm<'a>, Vec<Invalid>> {
        let mut wrong = Vec::new();
        let lines = sum_some_lines(self.lines, limits, &mut wrong);
        check_text_of(&mut wrong, "/reference", REFERENCE, &self.reference);
        if wrong.is_empty() { Ok(CheckedConfirm { lines, reference: self.reference }) } else { Err(wrong) }
    }
}

/// The lines that a hold is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChangeRequest)]
pub struct ChangeBody<'a> {
    /// What to hold from now on. The service adds up lines of the same SKU.
    #[serde(borrow)]
    #[schema(value_type = Vec<LineBody>)]
    lines: LinesBody<'a>,
}

impl<'a> ChangeBody<'a> {
    pub fn check(self, limits: &Limits) -> Result<CheckedLines<'a>, Vec<Invalid>> {
        let mut wrong = Vec::new();
        check_count(&self.lines, limits, &mut wrong);
        let lines = sum_lines(self.lines, limits, &mut wrong);
        if wrong.is_empty() { Ok(lines) } else { Err(wrong) }
    }
}

/// What of a confirmed reservation is cancelled, and why. All members are optional.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CancelRequest)]
pub struct CancelBody<'a> {
    /// Kept in the store, for people.
    #[serde(default, borrow)]
    reason: Option<Cow<'a, str>>,
    /// Whether the units are sold again. If false, they leave the sale, and the item's `stock` falls by as many. Left out: true.
    #[serde(default)]
    restock: Option<bool>,
    /// What to cancel, at most what is confirmed of each item. An `Idempotency-Key` is then required. Left out: everything.
    #[serde(default, borrow)]
    #[schema(value_type = Option<Vec<LineBody>>)]
    lines: Option<LinesBody<'a>>,
}

impl<'a> CancelBody<'a> {
    /// `has_key`: whether the request has an idempotency key.
    pub fn check(self, limits: &Limits, has_key: bool) -> Result<CheckedCancel<'a>, Vec<Invalid>> {
        let mut wrong = Vec::new();
        check_text_of(&mut wrong, "/reason", REASON, &self.reason);
        let lines = sum_some_lines(self.lines, limits, &mut wrong);
        if lines.is_some() && !has_key {
            let detail =
                format!("the header Idempotency-Key is required to cancel `lines`, and {}", Rule::IdempotencyKey);
            wrong.push(Invalid::new("", detail));
        }
        let restock = self.restock.unwrap_or(true);
        if wrong.is_empty() { Ok(CheckedCancel { lines, reason: self.reason, restock }) } else { Err(wrong) }
    }
}

/// How much later all holds of a sale are to end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExtendAllRequest)]
pub struct ExtendAllBody<'a> {
    /// Seconds by which each hold ends later than before.
    seconds: u64,
    /// Kept in the audit trail, for people.
    #[serde(default, borrow)]
    pub reason: Option<Cow<'a, str>>,
}

impl ExtendAllBody<'_> {
    pub fn check(&self, limits: &Limits) -> Result<u32, Vec<Invalid>> {
        let mut wrong = Vec::new();
        let rule = settings::hold_seconds(limits.sale.hold_seconds_max);
        if !rule.allows_number(self.seconds.into()) {
            wrong.push(Invalid::new("/seconds", rule));
        }
        check_text_of(&mut wrong, "/reason", REASON, &self.reason);
        let seconds = u32::try_from(self.seconds).ok().filter(|_| wrong.is_empty());
        seconds.ok_or(wrong)
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

fn check_slug_of(wrong: &mut Vec<Invalid>, pointer: &str, rule: Rule, text: Option<&str>) {
    if text.is_some_and(|text| check_slug(text).is_err()) {
        wrong.push(Invalid::new(pointer, rule));
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
