//! Wire types: the JSON of the contract, in and out.
//!
//! Invariant: what parses here is well formed. Unknown members, wrong types and values out of range are refused with a pointer
//! to each. The OpenAPI document is made from these types: their comments are its descriptions, and `openapi/bounds.rs` has the
//! bounds of their members.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeSeq};
use smallvec::SmallVec;
use utoipa::ToSchema;

use super::{
    invalid::{self, Bounds, Described},
    quick,
};
use crate::{
    engine::{Made, SaleView},
    privacy::CustomerIds,
    sale::{
        adjustments::Remembered,
        catalogue::{Catalogue, Item, Sale},
        command::{AskedLine, Reserve},
        event::PricedLine,
        ids::{ReservationId, check_name, check_text},
        object::Object,
        outcome::{OfCustomer, Reservation, Standing, State, Status},
        rule::Rule,
        settings::{self, Invalid, Price, RateLimits, SKU, SaleSettings},
        time::Timestamp,
    },
};

pub const CUSTOMER: Rule = Rule::Name { example: "ann" };
pub(super) const REFERENCE: Rule = Rule::Text { example: "order-1" };
pub(super) const REASON: Rule = Rule::Text { example: "the customer changed their mind" };

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
    pub(super) sku: Cow<'a, str>,
    /// Units; lines of the same SKU together have the same bound.
    pub(super) quantity: u64,
}

/// Bounds of a reserve; each is a key of the configuration's `limits`.
#[derive(Debug, Clone, Copy)]
pub struct ReserveLimits {
    pub lines_max: usize,
    pub quantity_max: u32,
    pub hold_seconds_max: u64,
}

/// A reserve's members after their checks.
#[derive(Debug)]
pub struct CheckedReserve<'a> {
    /// The customer's id or pseudonym: all that the layers below see.
    pub customer: Cow<'a, str>,
    lines: SmallVec<[CheckedLine<'a>; 2]>,
    hold_seconds: Option<u32>,
    reference: Option<Cow<'a, str>>,
}

/// All units of a SKU.
#[derive(Debug)]
struct CheckedLine<'a> {
    sku: Cow<'a, str>,
    units: u32,
}

impl CheckedReserve<'_> {
    /// What the engine is asked.
    pub fn asked<'b>(&'b self, sale: &'b str, key: Option<&'b str>) -> Reserve<'b> {
        let lines = self.lines.iter().map(|line| AskedLine { sku: &line.sku, units: line.units }).collect();
        let Self { customer, hold_seconds, reference, .. } = self;
        Reserve { sale, customer, lines, hold_seconds: *hold_seconds, reference: reference.as_deref(), key }
    }
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
    pub fn check(self, limits: &ReserveLimits, ids: &CustomerIds) -> Result<CheckedReserve<'a>, Vec<Invalid>> {
        let mut wrong = Vec::new();
        if check_name(&self.customer).is_err() {
            wrong.push(Invalid::new("/customer", CUSTOMER));
        }
        if self.lines.is_empty() || self.lines.len() > limits.lines_max {
            wrong.push(Invalid::new("/lines", format!("must be a list of 1 to {} lines", limits.lines_max)));
        }
        check_text_of(&mut wrong, "/reference", REFERENCE, &self.reference);
        let hold_seconds = check_hold(self.hold_seconds, limits.hold_seconds_max, &mut wrong);
        let mut lines: SmallVec<[CheckedLine<'_>; 2]> = SmallVec::new();
        for (index, Object(line)) in self.lines.into_iter().enumerate().take(limits.lines_max) {
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
    pub fn check(&self, hold_seconds_max: u64) -> Result<u32, Vec<Invalid>> {
        let mut wrong = Vec::new();
        let seconds = check_hold(Some(self.hold_seconds), hold_seconds_max, &mut wrong);
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
    pub fn check(&self, limits: &settings::Limits) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        if self.delta == 0 {
            wrong.push(Invalid::new("/delta", limits.delta()));
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

/// Parses a body. Reads a refused body a second time, to find its errors.
pub fn parse<'a, T: Deserialize<'a> + Described>(bytes: &'a [u8], bounds: &Bounds<'_>) -> Result<T, Vec<Invalid>> {
    serde_json::from_slice::<Object<T>>(bytes).map(|Object(body)| body).map_err(|_| explain::<T>(bytes, bounds))
}

/// As `parse`, for the most frequent body.
pub fn parse_reserve<'a>(bytes: &'a [u8], bounds: &Bounds<'_>) -> Result<ReserveBody<'a>, Vec<Invalid>> {
    match quick::reserve(bytes) {
        Some((body, None, end)) if bytes[end..].trim_ascii().is_empty() => Ok(body),
        _ => parse(bytes, bounds),
    }
}

/// As `parse`; an empty body has no members.
pub fn parse_optional<'a, T: Deserialize<'a> + Described + Default>(
    bytes: &'a [u8],
    bounds: &Bounds<'_>,
) -> Result<T, Vec<Invalid>> {
    if bytes.is_empty() { Ok(T::default()) } else { parse(bytes, bounds) }
}

/// What is wrong with a body that does not parse.
pub fn explain<T: Described>(bytes: &[u8], bounds: &Bounds<'_>) -> Vec<Invalid> {
    let errors = invalid::errors_of_text(&T::shape(bounds), bytes);
    debug_assert!(!errors.is_empty(), "serde refused a body in which the shape finds nothing wrong");
    if errors.is_empty() {
        vec![Invalid::new("", "is not a body that this call takes; see /openapi.json")]
    } else {
        errors
    }
}

/// Units held for one customer, and their state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservation)]
pub struct ReservationBody<'a> {
    /// A UUIDv7: it sorts by the time of creation.
    #[serde(serialize_with = "write_id")]
    #[schema(value_type = String)]
    pub(super) id: ReservationId,
    /// The id of its sale.
    pub(super) sale: &'a str,
    /// The customer's id from the reserve.
    pub(super) customer: &'a str,
    /// `held` until the reservation is confirmed, released or expired; these three are final.
    pub(super) state: &'static str,
    /// One line per SKU, with the price at the time of the hold.
    #[serde(serialize_with = "write_lines")]
    #[schema(value_type = Vec<ReservedLine>)]
    pub(super) lines: (&'a [PricedLine], &'a Catalogue),
    /// The caller's name for the reservation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<&'a str>,
    /// When the hold was made.
    #[schema(value_type = String)]
    pub(super) created_at: Timestamp,
    /// When the hold ends. The service refuses a confirm at this moment or later.
    #[schema(value_type = String)]
    pub(super) expires_at: Timestamp,
    /// When the reservation was confirmed; only in state `confirmed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) confirmed_at: Option<Timestamp>,
    /// When the reservation was released; only in state `released`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) released_at: Option<Timestamp>,
    /// When the reservation expired; only in state `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) expired_at: Option<Timestamp>,
    /// How often the hold was extended.
    pub(super) extensions: u16,
    /// The reservation's current state; only in the answer to a reserve that repeats an idempotency key. The other members are
    /// then those of the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replayed_of: Option<StandingBody>,
}

/// The current state of a reservation.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = ReplayedOf)]
pub struct StandingBody {
    /// `held` until the reservation is confirmed, released or expired; these three are final.
    pub(super) state: &'static str,
    /// When the hold ends, or would have ended.
    #[schema(value_type = String)]
    pub(super) expires_at: Timestamp,
}

impl<'a> ReservationBody<'a> {
    pub fn new(reservation: &'a Reservation, catalogue: &'a Catalogue) -> Self {
        let ended = |state| reservation.ended_at.filter(|_| reservation.state == state);
        Self {
            id: reservation.id,
            sale: &catalogue.sale_numbered(reservation.sale).settings.id,
            customer: &reservation.customer,
            state: reservation.state.as_str(),
            lines: (&reservation.lines, catalogue),
            reference: reservation.reference.as_deref(),
            created_at: reservation.id.created_at(),
            expires_at: reservation.expires_at,
            confirmed_at: ended(State::Confirmed),
            released_at: ended(State::Released),
            expired_at: ended(State::Expired),
            extensions: reservation.extensions,
            replayed_of: None,
        }
    }

    /// The answer to a reserve.
    pub fn made(made: &'a Made, catalogue: &'a Catalogue) -> Self {
        let stands =
            |standing: Standing| StandingBody { state: standing.state.as_str(), expires_at: standing.expires_at };
        Self { replayed_of: made.replayed_of.map(stands), ..Self::new(&made.reservation, catalogue) }
    }
}

/// What memory has of one customer in one sale.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CustomerReservations)]
pub struct CustomerBody<'a> {
    /// The customer's reservations in the sale, the newest first.
    reservations: Vec<ReservationBody<'a>>,
    /// How many there are; left out when all are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    reservations_total: Option<u64>,
    /// The items of the sale that have a limit, in the order they were put.
    limits: Vec<CustomerLimitBody<'a>>,
}

/// A customer's units of one item against the limit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CustomerLimit)]
pub struct CustomerLimitBody<'a> {
    /// The item's SKU.
    sku: &'a str,
    /// Units that the customer may hold or have confirmed: the item's limit, or else the sale's.
    limit: u32,
    /// Units that the customer holds or has confirmed, as far as the limit counts them.
    already: u64,
}

impl<'a> CustomerBody<'a> {
    pub fn new(found: &'a OfCustomer, sale: &'a Sale, catalogue: &'a Catalogue) -> Self {
        let reservations = found.reservations.iter().map(|each| ReservationBody::new(each, catalogue)).collect();
        let units = |item: &Item| {
            let place = found.units.binary_search_by_key(&item.number, |(item, _)| *item);
            place.map_or(0, |place| found.units[place].1)
        };
        let limits = sale.items.iter().filter_map(|item| {
            let limit = sale.customer_limit(item)?;
            Some(CustomerLimitBody { sku: &item.settings.sku, limit, already: units(item) })
        });
        let reservations_total = Some(found.total as u64).filter(|_| found.total > found.reservations.len());
        Self { reservations, reservations_total, limits: limits.collect() }
    }
}

fn write_id<S: Serializer>(id: &ReservationId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.encode(&mut [0; 36]))
}

/// Reserved units of one item.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReservedLine<'a> {
    /// An item of the sale.
    sku: &'a str,
    /// Units.
    quantity: u32,
    /// The price of one unit when the hold was made; left out if the item had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
}

fn write_lines<S: Serializer>(lines: &(&[PricedLine], &Catalogue), serializer: S) -> Result<S::Ok, S::Error> {
    let (lines, catalogue) = lines;
    let mut list = serializer.serialize_seq(Some(lines.len()))?;
    for line in *lines {
        let (sku, quantity, price) = (catalogue.sku(line.item), line.units, line.price);
        list.serialize_element(&ReservedLine { sku, quantity, price })?;
    }
    list.end()
}

/// A sale: its settings, its status, and the units of its items by state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sale)]
pub struct SaleBody<'a> {
    /// The sale's id.
    id: &'a str,
    /// The sale's name, for people.
    name: &'a str,
    /// When the sale opens: from then on units can be reserved.
    #[schema(value_type = String)]
    opens_at: Timestamp,
    /// When the sale closes: from then on no more units can be reserved.
    #[schema(value_type = String)]
    closes_at: Timestamp,
    /// How long a hold lasts, in seconds, if the request does not say.
    hold_seconds: u64,
    /// How often one hold may be extended; left out if only the service's own limit applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_extensions: Option<u32>,
    /// Units of each item that one customer may have, held and confirmed together; left out if there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_limit: Option<u32>,
    /// Quotas of requests; left out if only those of the configuration apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limits: Option<RateLimits>,
    /// The status, by the clock and by operators' commands. Only an `open` sale takes reservations.
    status: &'static str,
    /// In the order of the sale's settings.
    items: Vec<ItemBody<'a>>,
}

/// The result of an erasure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Erasure)]
pub struct ErasureBody {
    /// The customer's reservations in memory. Those that only the store has are erased there, but not counted.
    pub reservations: u64,
}

/// An item: its settings, and its units by state: `stock = available + held + confirmed`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Item)]
pub struct ItemBody<'a> {
    /// The item's SKU.
    sku: &'a str,
    /// Units that the item started with.
    initial_stock: u64,
    /// The price of one unit; left out if the item has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    /// Units that one customer may have, held and confirmed together; left out if the sale's limit applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_limit: Option<u32>,
    /// Units confirmed before this moment do not count towards the customer's limit, because they may have left memory before
    /// the limit was set. Left out when all units count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    limit_counts_since: Option<Timestamp>,
    /// Units in the sale: initial stock plus adjustments.
    stock: u64,
    /// Units that can be reserved.
    available: u64,
    /// Units in holds.
    held: u64,
    /// Units confirmed.
    confirmed: u64,
}

impl<'a> SaleBody<'a> {
    pub fn new(view: &'a SaleView) -> Self {
        let SaleSettings {
            id,
            name,
            opens_at,
            closes_at,
            hold_seconds,
            max_extensions,
            customer_limit,
            rate_limits,
            ..
        } = &*view.sale.settings;
        let items = view.sale.items.iter().zip(&view.counts).map(|(item, counts)| ItemBody {
            sku: &item.settings.sku,
            initial_stock: item.settings.initial_stock,
            price: item.settings.price,
            customer_limit: item.settings.customer_limit,
            limit_counts_since: item.settings.limit_counts_since,
            stock: counts.stock(),
            available: counts.available,
            held: counts.held,
            confirmed: counts.confirmed,
        });
        Self {
            id,
            name,
            opens_at: *opens_at,
            closes_at: *closes_at,
            hold_seconds: *hold_seconds,
            max_extensions: *max_extensions,
            customer_limit: *customer_limit,
            rate_limits: *rate_limits,
            status: view.status.as_str(),
            items: items.collect(),
        }
    }
}

/// A page of sales, by id.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SalesPage)]
pub struct SalesBody<'a> {
    /// The page.
    pub sales: Vec<SaleBody<'a>>,
    /// The `after` of the next page; left out on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<&'a str>,
}

/// What can be reserved now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Availability)]
pub struct AvailabilityBody<'a> {
    /// The sale's id.
    sale: &'a str,
    /// The status, by the clock and by operators' commands. Only an `open` sale takes reservations.
    status: &'static str,
    /// In the order of the sale's settings.
    items: Vec<AvailableBody<'a>>,
}

/// Available units of one item.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AvailableItem)]
pub struct AvailableBody<'a> {
    /// The item's SKU.
    sku: &'a str,
    /// Units that can be reserved.
    available: u64,
}

impl<'a> AvailabilityBody<'a> {
    pub fn new(view: &'a SaleView) -> Self {
        let items = view.sale.items.iter().zip(&view.counts);
        let items = items.map(|(item, counts)| AvailableBody { sku: &item.settings.sku, available: counts.available });
        Self { sale: &view.sale.settings.id, status: Status::as_str(view.status), items: items.collect() }
    }
}

/// A change of an item's stock, and its result.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Adjustment)]
pub struct AdjustmentBody<'a> {
    /// Units added, or removed if negative.
    delta: i64,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    /// Units in the sale after the change.
    stock: u64,
    /// Units that could be reserved after the change.
    available: u64,
}

impl<'a> AdjustmentBody<'a> {
    pub fn new(made: &'a Remembered) -> Self {
        Self {
            delta: made.delta,
            reason: made.reason.as_deref(),
            reference: made.reference.as_deref(),
            stock: made.stock,
            available: made.available,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ReserveLimits = ReserveLimits { lines_max: 20, quantity_max: 1000, hold_seconds_max: 3600 };

    fn parse_with_limits(body: &str) -> Result<ReserveBody<'_>, Vec<Invalid>> {
        let edge = crate::service::edge_limits(&crate::config::Config::default());
        let edge = crate::http::Limits { reserve: LIMITS, ..edge };
        parse(body.as_bytes(), &Bounds { edge: &edge, sale: &settings::Limits::default() })
    }

    fn wrong(body: &str) -> Vec<String> {
        let checked = parse_with_limits(body).and_then(|body| body.check(&LIMITS, &CustomerIds::Plain).map(drop));
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
        let checked = body.check(&LIMITS, &CustomerIds::Plain).unwrap();
        let lines = checked.asked("drop", None).lines;
        assert_eq!(lines.as_slice(), [AskedLine { sku: "x", units: 4 }, AskedLine { sku: "y", units: 2 }]);
    }
}
