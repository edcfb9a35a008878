//! Bodies of answers.

mod sales;
mod waitlist;

pub use sales::{
    AdjustedItem, AdjustmentBody, AdjustmentsBody, AvailabilityBody, ErasureBody, ExtendedHoldsBody, PutDryRunBody,
    ReplenishmentBody, SaleBody, SalesBody, TransferBody,
};
pub use waitlist::WaitlistEntryBody;

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Serialize, Serializer, ser::SerializeSeq};
use utoipa::ToSchema;

use crate::{
    api::Replenishment,
    engine::{Counts, Made, SaleView, Tried},
    sale::{
        adjustments::{Remembered, RememberedTransfer},
        catalogue::{Catalogue, Item, Sale},
        event::PoolLevels,
        ids::{EntryId, GroupId, ReservationId},
        outcome::{self, OfCustomer, Reservation, Standing, State, Status},
        settings::{
            GroupSettings, HoldBudget, Phase, PoolSettings, Price, RateLimits, SaleSettings, Sourcing, Waitlist,
        },
        stock::Amounts,
        time::Timestamp,
        warnings::Warning,
    },
};

/// Units held for one customer, and their state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservation)]
pub struct ReservationBody<'a> {
    /// A UUIDv7: it sorts by the time of creation.
    #[serde(serialize_with = "write_id")]
    #[schema(value_type = String)]
    pub(in crate::http) id: ReservationId,
    /// The id of its sale.
    pub(in crate::http) sale: &'a str,
    /// The customer's id from the reserve.
    pub(in crate::http) customer: &'a str,
    /// `held` until the reservation is confirmed, released or expired. A confirmed one can be cancelled, and an expired one may be
    /// confirmed late.
    pub(in crate::http) state: &'static str,
    /// One line per SKU, with the price at the time of the hold. The units that `state` is about: of a confirmed reservation those
    /// that are still confirmed.
    #[serde(serialize_with = "write_lines")]
    #[schema(value_type = Vec<ReservedLine>)]
    pub(in crate::http) lines: (Cow<'a, [outcome::ReservedLine]>, &'a Catalogue),
    /// Held units that were not confirmed and went back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::http) returned: Vec<UnitsBody<'a>>,
    /// Confirmed units that were cancelled; only while others are still confirmed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::http) cancelled: Vec<UnitsBody<'a>>,
    /// True if it was confirmed when the hold had expired.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::http) late: bool,
    /// The lines that got less than they asked for; only of a reserve that allowed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::http) short: Vec<ShortBody<'a>>,
    /// The group that it opened or joined; left out if its item is not sold to groups, and after leaving an open group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) group: Option<GroupBody>,
    /// The caller's name for the reservation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) reference: Option<&'a str>,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) tier: Option<&'a str>,
    /// As in the request, or the channel of the caller's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) channel: Option<&'a str>,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) region: Option<&'a str>,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_labels")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    pub(in crate::http) labels: Option<&'a [(Cow<'static, str>, Cow<'static, str>)]>,
    /// When the hold was made.
    #[schema(value_type = String)]
    pub(in crate::http) created_at: Timestamp,
    /// When the hold ends. From this moment on a confirm is refused, unless the sale allows late ones.
    #[schema(value_type = String)]
    pub(in crate::http) expires_at: Timestamp,
    /// When the reservation was confirmed; only in states `confirmed` and `cancelled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(in crate::http) confirmed_at: Option<Timestamp>,
    /// When the reservation was released; only in state `released`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(in crate::http) released_at: Option<Timestamp>,
    /// When the reservation expired; only in state `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(in crate::http) expired_at: Option<Timestamp>,
    /// When the last of its units was cancelled; only in state `cancelled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(in crate::http) cancelled_at: Option<Timestamp>,
    /// How often the hold was extended.
    pub(in crate::http) extensions: u16,
    /// The waitlist entry that the hold was offered to; left out if it was reserved.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_optional_id")]
    #[schema(value_type = Option<String>)]
    pub(in crate::http) waitlist: Option<EntryId>,
    /// The reservation's current state; only in the answer to a reserve that repeats an idempotency key. The other members are
    /// then those of the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) replayed_of: Option<StandingBody>,
}

/// Units of one item.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Units)]
pub struct UnitsBody<'a> {
    /// The item's SKU.
    pub(in crate::http) sku: &'a str,
    /// Units.
    pub(in crate::http) quantity: u32,
}

/// A group of customers who get an item together or not at all.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Group)]
pub struct GroupBody {
    /// A UUIDv7: with it other customers join.
    #[serde(serialize_with = "write_id")]
    #[schema(value_type = String)]
    id: GroupId,
    /// Members that make it complete.
    size: u8,
    /// Members that it has, or had when it failed.
    members: u8,
    /// `open` until the last member joins (`complete`), or until its time is over or everybody left (`failed`).
    state: &'static str,
    /// When it fails, or would have failed, unless it is complete.
    #[schema(value_type = String)]
    expires_at: Timestamp,
}

impl From<outcome::Group> for GroupBody {
    fn from(group: outcome::Group) -> Self {
        let outcome::Group { id, size, members, state, expires_at } = group;
        Self { id, size, members, state: state.as_str(), expires_at }
    }
}

/// A line that got less than it asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ShortOfRequest)]
pub struct ShortBody<'a> {
    /// The item's SKU.
    pub(in crate::http) sku: &'a str,
    /// Units that the request asked for.
    pub(in crate::http) requested: u32,
    /// Units that it got.
    pub(in crate::http) granted: u32,
}

fn write_labels<S: Serializer>(
    labels: &Option<&[(Cow<'static, str>, Cow<'static, str>)]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter().flat_map(|labels| labels.iter()).map(|(name, value)| (name, value)))
}

/// The current state of a reservation.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = ReplayedOf)]
pub struct StandingBody {
    /// As the reservation's.
    pub(in crate::http) state: &'static str,
    /// When the hold ends, or would have ended.
    #[schema(value_type = String)]
    pub(in crate::http) expires_at: Timestamp,
}

impl<'a> ReservationBody<'a> {
    pub fn new(reservation: &'a Reservation, catalogue: &'a Catalogue) -> Self {
        let ended = |state| reservation.ended_at.filter(|_| reservation.state == state);
        let attributes = reservation.attributes.as_deref();
        let short = reservation.short.iter().map(|asked| ShortBody {
            sku: catalogue.sku(asked.item),
            requested: asked.units,
            granted: reservation.sum_of(asked.item, |amounts| amounts.sum()),
        });
        Self {
            id: reservation.id,
            sale: &catalogue.sale_numbered(reservation.sale).settings.id,
            customer: &reservation.customer,
            state: reservation.state.as_str(),
            lines: (reservation.shown_lines(), catalogue),
            returned: units_by_item(reservation, catalogue, |amounts| match reservation.state {
                State::Confirmed | State::Cancelled => amounts.returned,
                State::Held | State::Released | State::Expired => 0,
            }),
            cancelled: units_by_item(reservation, catalogue, |amounts| match reservation.state {
                State::Confirmed => amounts.cancelled,
                State::Held | State::Released | State::Expired | State::Cancelled => 0,
            }),
            late: reservation.late,
            short: short.collect(),
            group: reservation.group.as_deref().map(|&group| group.into()),
            reference: reservation.reference.as_deref(),
            tier: attributes.and_then(|attributes| attributes.tier.as_deref()),
            channel: attributes.and_then(|attributes| attributes.channel.as_deref()),
            region: attributes.and_then(|attributes| attributes.region.as_deref()),
            labels: attributes.map(|attributes| attributes.labels.as_slice()).filter(|labels| !labels.is_empty()),
            created_at: reservation.id.created_at(),
            expires_at: reservation.expires_at,
            confirmed_at: ended(State::Confirmed).or(reservation.confirmed_at),
            released_at: ended(State::Released),
            expired_at: ended(State::Expired),
            cancelled_at: ended(State::Cancelled),
            extensions: reservation.extensions,
            waitlist: reservation.entry,
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

/// Units of each item, where there are some.
fn units_by_item<'a>(
    reservation: &Reservation,
    catalogue: &'a Catalogue,
    units: impl Fn(Amounts) -> u32,
) -> Vec<UnitsBody<'a>> {
    let mut by_item: Vec<UnitsBody<'a>> = Vec::new();
    for lines in by_item_of(&reservation.lines) {
        let quantity = lines.iter().map(|line| units(line.amounts)).sum();
        if quantity > 0 {
            by_item.push(UnitsBody { sku: catalogue.sku(lines[0].item), quantity });
        }
    }
    by_item
}

/// One customer's reservations in one sale, as far as memory has them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CustomerReservations)]
pub struct CustomerBody<'a> {
    /// The reservations, newest first.
    reservations: Vec<ReservationBody<'a>>,
    /// How many there are; left out if the answer has all of them.
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

pub(super) fn write_id<S: Serializer>(id: &ReservationId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.encode(&mut [0; 36]))
}

pub(super) fn write_optional_id<S: Serializer>(id: &Option<ReservationId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => write_id(id, serializer),
        None => serializer.serialize_none(),
    }
}

/// Reserved units of one item.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReservedLine<'a> {
    /// An item of the sale.
    sku: &'a str,
    /// Units.
    quantity: u32,
    /// The price of one unit when the hold was made; left out if the item had none, or if the units have different ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    /// Where the units came from; left out if the item declares no pools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    from: Vec<FromPool<'a>>,
}

/// Units from one pool.
#[derive(Debug, Serialize, ToSchema)]
pub struct FromPool<'a> {
    /// The pool's id.
    pub(super) pool: &'a str,
    /// Units from it.
    pub(super) quantity: u32,
    /// The price of one of them when the hold was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) price: Option<Price>,
    /// Where the pool is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<&'a str>,
}

impl<'a> FromPool<'a> {
    pub(super) fn of(line: &outcome::ReservedLine, item: &'a Item) -> Self {
        Self {
            pool: item.pool_id(line.pool),
            quantity: line.amounts.sum(),
            price: line.price,
            location: item.pool_settings(line.pool).and_then(|pool| pool.location.as_deref()),
        }
    }
}

/// The lines of a reservation item by item: what it has of each.
pub(super) fn by_item_of(lines: &[outcome::ReservedLine]) -> impl Iterator<Item = &[outcome::ReservedLine]> {
    lines.chunk_by(|line, next| line.item == next.item)
}

/// The price that all of these units have.
pub(super) fn one_price(lines: &[outcome::ReservedLine]) -> Option<Price> {
    let first = lines[0].price;
    first.filter(|_| lines.iter().all(|line| line.price == first))
}

impl<'a> ReservedLine<'a> {
    fn of(lines: &[outcome::ReservedLine], catalogue: &'a Catalogue) -> Self {
        let item = catalogue.item_numbered(lines[0].item);
        let from = lines.iter().filter(|_| item.settings.has_pools()).map(|line| FromPool::of(line, item));
        Self {
            sku: &item.settings.sku,
            quantity: lines.iter().map(|line| line.amounts.sum()).sum(),
            price: one_price(lines),
            from: from.collect(),
        }
    }
}

/// What a reserve would get.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DryRun)]
pub struct DryRunBody<'a> {
    /// `hold`: the reserve would be granted.
    would: &'static str,
    /// The lines of the hold.
    lines: Vec<ReservedLine<'a>>,
    /// The lines that would get less than they ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    short: Vec<ShortBody<'a>>,
    /// When the hold would end.
    #[schema(value_type = String)]
    expires_at: Timestamp,
}

impl<'a> DryRunBody<'a> {
    pub fn new(tried: &Tried, catalogue: &'a Catalogue) -> Self {
        let lines: Vec<_> = tried
            .grant
            .portions
            .iter()
            .map(|portion| outcome::ReservedLine {
                item: portion.item,
                pool: portion.pool,
                price: portion.price,
                amounts: Amounts::held(portion.units),
            })
            .collect();
        let short = tried.grant.short.iter().map(|short| ShortBody {
            sku: catalogue.sku(short.item),
            requested: short.requested,
            granted: short.available as u32,
        });
        Self {
            would: "hold",
            lines: by_item_of(&lines).map(|lines| ReservedLine::of(lines, catalogue)).collect(),
            short: short.collect(),
            expires_at: tried.expires_at,
        }
    }
}

fn write_lines<S: Serializer>(
    lines: &(Cow<'_, [outcome::ReservedLine]>, &Catalogue),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let (lines, catalogue) = lines;
    let mut list = serializer.serialize_seq(None)?;
    for lines in by_item_of(lines) {
        list.serialize_element(&ReservedLine::of(lines, catalogue))?;
    }
    list.end()
}
