//! What events of the feed contain: their `data` members.

use super::*;

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Data<'a> {
    Reservation(ReservationData<'a>),
    Entry(EntryData<'a>),
    Adjustment(AdjustmentData<'a>),
    Transfer(TransferData<'a>),
    Phase(PhaseData<'a>),
    Sharing(SharingData<'a>),
    Level(LevelData<'a>),
    Status(StatusData<'a>),
    /// The new settings of the sale.
    Settings(Value),
    Erasure(ErasureData<'a>),
    Ending(EndingData),
}

/// The part of a reservation that one event contains.
#[derive(Serialize, ToSchema)]
pub struct ReservationData<'a> {
    /// A UUIDv7: it sorts by the time of creation.
    pub(super) id: String,
    /// The id of its sale.
    pub(super) sale: &'a str,
    /// The customer's id; only when the hold is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) customer: Option<&'a str>,
    /// The state that the change led to; of a refused confirmation the state that it found.
    pub(super) state: &'static str,
    /// The units that the event is about, one line per SKU; with prices when units are held, and left out for an extension.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(super) lines: Vec<LineData<'a>>,
    /// Units that went back: those that were not confirmed, or that a change gave back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(super) returned: Vec<LineData<'a>>,
    /// True if the confirmation came when the hold had expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) late: Option<bool>,
    /// Whether cancelled units are sold again; only for cancellations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restock: Option<bool>,
    /// Why a confirmation was refused: `too_late`, `stock`, `limit`, `released`, `cancelled` or `already_confirmed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<&'static str>,
    /// The lines that got less than they asked for; only when the hold is made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(super) short: Vec<ShortData<'a>>,
    /// The customer's tier; only when the hold is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) tier: Option<Cow<'a, str>>,
    /// The channel that the request came through; only when the hold is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) channel: Option<Cow<'a, str>>,
    /// Where the units are to go; only when the hold is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) region: Option<Cow<'a, str>>,
    /// The labels of the request; only when the hold is made.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false, value_type = std::collections::BTreeMap<String, String>)]
    pub(super) labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// The caller's name for the reservation, from the hold or from its confirmation, also from a refused one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<&'a str>,
    /// The reason of the release or of the cancellation, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
    /// When the hold was made.
    #[schema(value_type = String)]
    pub(super) created_at: Timestamp,
    /// When the hold ends; only in events that set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) expires_at: Option<Timestamp>,
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
    /// When units were cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) cancelled_at: Option<Timestamp>,
    /// How often the hold was extended; only for holds and extensions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extensions: Option<u16>,
    /// The waitlist entry that it was offered to; only when the hold is made for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) waitlist: Option<String>,
}

/// The part of a waitlist entry that one event contains.
#[derive(Serialize, ToSchema)]
pub struct EntryData<'a> {
    /// A UUIDv7: it sorts by the time of joining.
    pub(super) id: String,
    /// The id of its sale.
    pub(super) sale: &'a str,
    /// The customer's id; only when the customer joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) customer: Option<&'a str>,
    /// The state that the change led to.
    pub(super) state: &'static str,
    /// What the customer waits for; only when the customer joins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(super) lines: Vec<AskedData<'a>>,
    /// The hold that was made for the entry; only in state `offered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reservation: Option<String>,
    /// Why the entry was passed over: `customer_limit_exceeded`, `too_many_holds` or `cooling_down`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    /// The customer's tier; only when the customer joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) tier: Option<Cow<'a, str>>,
    /// The channel that the request came through; only when the customer joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) channel: Option<Cow<'a, str>>,
    /// Where the units are to go; only when the customer joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) region: Option<Cow<'a, str>>,
    /// The labels of the request; only when the customer joins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false, value_type = std::collections::BTreeMap<String, String>)]
    pub(super) labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// The locations that units may come from, if the request names some; only when the customer joins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, value_type = Vec<String>)]
    pub(super) locations: Vec<Cow<'a, str>>,
    /// The caller's name for the entry; only when the customer joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<&'a str>,
    /// When the customer joined.
    #[schema(value_type = String)]
    pub(super) joined_at: Timestamp,
    /// When the entry expires; only when the customer joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) expires_at: Option<Timestamp>,
}

/// Units of one item that a customer waits for.
#[derive(Serialize, ToSchema)]
pub(super) struct AskedData<'a> {
    /// An item of the sale.
    pub(super) sku: &'a str,
    /// Units.
    pub(super) quantity: u32,
}

/// Reserved units of one item.
#[derive(Serialize, ToSchema)]
pub(super) struct LineData<'a> {
    /// An item of the sale.
    pub(super) sku: &'a str,
    /// Units.
    pub(super) quantity: u32,
    /// The price of one unit when the hold was made; left out if the item has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) price: Option<Price>,
    /// Where the units came from, or went back to; left out if the item declares no pools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(super) from: Vec<PoolData<'a>>,
}

/// Units of one pool.
#[derive(Serialize, ToSchema)]
pub(super) struct PoolData<'a> {
    /// The pool's id.
    pub(super) pool: &'a str,
    /// Units.
    pub(super) quantity: u32,
    /// The price of one unit when the hold was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) price: Option<Price>,
}

/// A line that got less than it asked for.
#[derive(Serialize, ToSchema)]
pub(super) struct ShortData<'a> {
    /// The item's SKU.
    pub(super) sku: &'a str,
    /// Units that the request asked for.
    pub(super) requested: u32,
    /// Units that it got.
    pub(super) granted: u32,
}

/// Units that went from one pool of an item to another.
#[derive(Serialize, ToSchema)]
pub struct TransferData<'a> {
    /// The id of the sale.
    pub(super) sale: &'a str,
    /// The item's SKU.
    pub(super) sku: &'a str,
    /// The pool that gave.
    pub(super) from: &'a str,
    /// The pool that got.
    pub(super) to: &'a str,
    /// Units.
    pub(super) quantity: u64,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<&'a str>,
}

/// A phase that began.
#[derive(Serialize, ToSchema)]
pub struct PhaseData<'a> {
    /// The id of the sale.
    pub(super) sale: &'a str,
    /// The phase's name.
    pub(super) phase: &'a str,
    /// When it began.
    #[schema(value_type = String)]
    pub(super) opens_at: Timestamp,
}

/// A pool that is open to everybody from here on.
#[derive(Serialize, ToSchema)]
pub struct SharingData<'a> {
    /// The id of the sale.
    pub(super) sale: &'a str,
    /// The item's SKU.
    pub(super) sku: &'a str,
    /// The pool's id.
    pub(super) pool: &'a str,
    /// Since when it is open.
    #[schema(value_type = String)]
    pub(super) shared_at: Timestamp,
}

/// A change of an item's stock.
#[derive(Serialize, ToSchema)]
pub struct AdjustmentData<'a> {
    /// The id of the sale.
    pub(super) sale: &'a str,
    /// The item's SKU.
    pub(super) sku: &'a str,
    /// The pool whose stock changed; left out if the item has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pool: Option<&'a str>,
    /// Units added, or removed if negative.
    pub(super) delta: i64,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<&'a str>,
    /// Units in the sale after the change.
    pub(super) stock: u64,
    /// Units that could be reserved after the change.
    pub(super) available: u64,
}

/// An item that was sold out, or is back in stock.
#[derive(Serialize, ToSchema)]
pub struct LevelData<'a> {
    /// The id of the sale.
    pub(super) sale: &'a str,
    /// The item's SKU.
    pub(super) sku: &'a str,
    /// Units that can be reserved.
    pub(super) available: u64,
}

/// An erased customer.
#[derive(Serialize, ToSchema)]
pub struct ErasureData<'a> {
    /// The customer's id, so that readers can erase their copies.
    pub(super) customer: &'a str,
}

/// A change of a sale's status: opened, paused, resumed or closed.
#[derive(Serialize, ToSchema)]
pub struct StatusData<'a> {
    /// The id of the sale.
    pub(super) sale: &'a str,
    /// What changed it: the clock or an operator.
    pub(super) by: &'static str,
}

/// The end of a stream.
#[derive(Serialize, ToSchema)]
pub struct EndingData {
    /// Why it ends.
    pub(super) reason: &'static str,
    /// The cursor to continue from.
    pub(super) cursor: String,
}

impl<'a> ReservationData<'a> {
    pub(super) fn new(id: ReservationId, sale: &'a str, state: State) -> Self {
        Self {
            id: id.to_string(),
            sale,
            customer: None,
            state: state.as_str(),
            lines: Vec::new(),
            returned: Vec::new(),
            late: None,
            restock: None,
            cause: None,
            short: Vec::new(),
            tier: None,
            channel: None,
            region: None,
            labels: BTreeMap::new(),
            reference: None,
            reason: None,
            created_at: id.created_at(),
            expires_at: None,
            confirmed_at: None,
            released_at: None,
            expired_at: None,
            cancelled_at: None,
            extensions: None,
            waitlist: None,
        }
    }
}

impl<'a> EntryData<'a> {
    pub(super) fn new(id: EntryId, sale: &'a str, state: WaitState) -> Self {
        Self {
            id: id.to_string(),
            sale,
            customer: None,
            state: state.as_str(),
            lines: Vec::new(),
            reservation: None,
            code: None,
            tier: None,
            channel: None,
            region: None,
            labels: BTreeMap::new(),
            locations: Vec::new(),
            reference: None,
            joined_at: id.created_at(),
            expires_at: None,
        }
    }
}

impl<'a> LineData<'a> {
    /// Without prices.
    pub(super) fn unpriced(portions: &[Portion], catalogue: &'a Catalogue) -> Vec<Self> {
        let priced = |&Portion { item, pool, units }: &Portion| PricedPortion { item, pool, units, price: None };
        Self::of(&portions.iter().map(priced).collect::<Vec<_>>(), catalogue)
    }

    /// One for each item.
    pub(super) fn of(portions: &[PricedPortion], catalogue: &'a Catalogue) -> Vec<Self> {
        let of_item = |portions: &[PricedPortion]| {
            let (item, price) = (catalogue.item_numbered(portions[0].item), portions[0].price);
            let from = portions.iter().filter(|_| item.settings.has_pools()).map(|portion| PoolData {
                pool: item.pool_id(portion.pool),
                quantity: portion.units,
                price: portion.price,
            });
            Self {
                sku: &item.settings.sku,
                quantity: portions.iter().map(|portion| portion.units).sum(),
                price: price.filter(|_| portions.iter().all(|portion| portion.price == price)),
                from: from.collect(),
            }
        };
        portions.chunk_by(|portion, next| portion.item == next.item).map(of_item).collect()
    }
}
