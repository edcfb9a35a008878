//! Bodies of answers about waitlists.

use super::*;
use crate::{
    engine::EntryView,
    sale::{outcome::WaitState, outcome::WaitlistEntry},
};

/// A customer that waits for units, or waited.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WaitlistEntry)]
pub struct WaitlistEntryBody<'a> {
    /// A UUIDv7: it sorts by the time of joining.
    #[serde(serialize_with = "write_id")]
    #[schema(value_type = String)]
    id: EntryId,
    /// The id of its sale.
    sale: &'a str,
    /// The customer's id from the request.
    customer: &'a str,
    /// One line per SKU: what the customer waits for, all of it or nothing.
    lines: Vec<UnitsBody<'a>>,
    /// `waiting` until a hold is made for it (`offered`), the customer leaves (`left`), or its time is over (`expired`).
    state: &'static str,
    /// The place in the order of joining, of all that wait in the sale; 1 is first. Only in state `waiting`.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    /// The reservation that it was offered; only in state `offered`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_optional_id")]
    #[schema(value_type = Option<String>)]
    reservation: Option<ReservationId>,
    /// The caller's name for the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<&'a str>,
    /// As in the request, or the channel of the caller's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_labels")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    labels: Option<&'a [(Cow<'static, str>, Cow<'static, str>)]>,
    /// As in the request.
    #[serde(skip_serializing_if = "<[Cow<'_, str>]>::is_empty")]
    #[schema(value_type = Vec<String>)]
    locations: &'a [Cow<'static, str>],
    /// When the customer joined.
    #[schema(value_type = String)]
    joined_at: Timestamp,
    /// When the entry expires if nothing is offered before.
    #[schema(value_type = String)]
    expires_at: Timestamp,
    /// When the hold was made for it; only in state `offered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    offered_at: Option<Timestamp>,
    /// When the customer left; only in state `left`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    left_at: Option<Timestamp>,
    /// When it expired; only in state `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    expired_at: Option<Timestamp>,
    /// Its units were there, but its customer could have no more. The entry kept its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed_over: Option<PassedOverBody>,
}

/// Why an entry was not offered units that were there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PassedOver)]
pub(super) struct PassedOverBody {
    /// When the entry was first passed over for this `code`.
    #[schema(value_type = String)]
    at: Timestamp,
    /// The code with which a reserve would have been refused; of several in a row, the last.
    code: &'static str,
}

impl<'a> WaitlistEntryBody<'a> {
    pub fn new(view: &'a EntryView, catalogue: &'a Catalogue) -> Self {
        let EntryView { entry, position, .. } = view;
        let WaitlistEntry { id, sale, customer, lines, state, expires_at, ended_at, reservation, .. } = entry;
        let ended = |ended: WaitState| ended_at.filter(|_| *state == ended);
        let lines = lines.iter().map(|line| UnitsBody { sku: catalogue.sku(line.item), quantity: line.units });
        let attributes = entry.attributes.as_deref();
        Self {
            id: *id,
            sale: &catalogue.sale_numbered(*sale).settings.id,
            customer,
            lines: lines.collect(),
            state: state.as_str(),
            position: *position,
            reservation: *reservation,
            reference: entry.reference.as_deref(),
            tier: attributes.and_then(|attributes| attributes.tier.as_deref()),
            channel: attributes.and_then(|attributes| attributes.channel.as_deref()),
            region: attributes.and_then(|attributes| attributes.region.as_deref()),
            labels: attributes.map(|attributes| attributes.labels.as_slice()).filter(|labels| !labels.is_empty()),
            locations: attributes.map(|attributes| attributes.locations.as_slice()).unwrap_or_default(),
            joined_at: id.created_at(),
            expires_at: *expires_at,
            offered_at: ended(WaitState::Offered),
            left_at: ended(WaitState::Left),
            expired_at: ended(WaitState::Expired),
            passed_over: entry.passed_over.map(|(at, cause)| PassedOverBody { at, code: cause.code().as_str() }),
        }
    }
}
