//! Bodies of answers.

use serde::{Serialize, Serializer, ser::SerializeSeq};
use utoipa::ToSchema;

use crate::{
    engine::{Made, SaleView},
    sale::{
        adjustments::Remembered,
        catalogue::{Catalogue, Item, Sale},
        ids::ReservationId,
        outcome::{self, OfCustomer, Reservation, Standing, State, Status},
        settings::{Price, RateLimits, SaleSettings},
        time::Timestamp,
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
    /// `held` until the reservation is confirmed, released or expired; these three are final.
    pub(in crate::http) state: &'static str,
    /// One line per SKU, with the price at the time of the hold.
    #[serde(serialize_with = "write_lines")]
    #[schema(value_type = Vec<ReservedLine>)]
    pub(in crate::http) lines: (&'a [outcome::ReservedLine], &'a Catalogue),
    /// The caller's name for the reservation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) reference: Option<&'a str>,
    /// When the hold was made.
    #[schema(value_type = String)]
    pub(in crate::http) created_at: Timestamp,
    /// When the hold ends. The service refuses a confirm at this moment or later.
    #[schema(value_type = String)]
    pub(in crate::http) expires_at: Timestamp,
    /// When the reservation was confirmed; only in state `confirmed`.
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
    /// How often the hold was extended.
    pub(in crate::http) extensions: u16,
    /// The reservation's current state; only in the answer to a reserve that repeats an idempotency key. The other members are
    /// then those of the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) replayed_of: Option<StandingBody>,
}

/// The current state of a reservation.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = ReplayedOf)]
pub struct StandingBody {
    /// `held` until the reservation is confirmed, released or expired; these three are final.
    pub(in crate::http) state: &'static str,
    /// When the hold ends, or would have ended.
    #[schema(value_type = String)]
    pub(in crate::http) expires_at: Timestamp,
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

fn write_lines<S: Serializer>(
    lines: &(&[outcome::ReservedLine], &Catalogue),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let (lines, catalogue) = lines;
    let mut list = serializer.serialize_seq(Some(lines.len()))?;
    for line in *lines {
        let (sku, quantity, price) = (catalogue.sku(line.item), line.amounts.sum(), line.price);
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
