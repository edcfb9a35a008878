//! Events: decided facts, with everything that replay, the store and the feed need. Replay never re-decides.
//! `event/encoding.rs` defines their bytes on disk.

mod encoding;

use smallvec::SmallVec;

use super::{
    audit::{Audited, Head, KeyPrint},
    ids::{Bucket, ItemNumber, ReservationId, SaleNumber},
    outcome::Status,
    settings::Price,
    time::Timestamp,
    timeline::ClockSet,
};

/// Units of one item in a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    pub item: ItemNumber,
    pub units: u32,
}

/// Units of one item in a new hold, at the price that the hold locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PricedLine {
    pub item: ItemNumber,
    pub units: u32,
    pub price: Option<Price>,
}

pub type Quantities = SmallVec<[Quantity; 2]>;
pub type PricedLines = SmallVec<[PricedLine; 1]>;

/// A hold as it began. Its creation time is in its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held<'a> {
    pub id: ReservationId,
    pub sale: SaleNumber,
    pub customer: &'a str,
    pub hold_seconds: u32,
    pub lines: PricedLines,
    pub reference: Option<&'a str>,
    /// The idempotency key and the fingerprint of its request.
    pub key: Option<(&'a str, u64)>,
}

/// How a reservation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended<'a> {
    pub id: ReservationId,
    pub at: Timestamp,
    /// Confirmed: the order's reference. Released: the reason.
    pub text: Option<&'a str>,
    pub lines: Quantities,
}

/// Stock put into or taken out of a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjusted<'a> {
    pub item: ItemNumber,
    pub at: Timestamp,
    pub delta: i64,
    pub reason: Option<&'a str>,
    pub reference: Option<&'a str>,
    pub key: Option<(&'a str, u64)>,
    /// The item's stock and available units right after.
    pub stock: u64,
    pub available: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    // Of a customer's bucket.
    Held(Held<'a>),
    /// The hold's end was moved: by its caller, which `extensions` counts, or with the clock, which it does not. `sale`: None
    /// in events from before extensions had their sale.
    Extended {
        id: ReservationId,
        at: Timestamp,
        expires_at: Timestamp,
        extensions: u16,
        sale: Option<SaleNumber>,
    },
    Confirmed(Ended<'a>),
    Released(Ended<'a>),
    Expired(Ended<'a>),
    /// The reservation leaves memory. `counted`: its confirmed units go on counting towards the customer's limit.
    Retired {
        id: ReservationId,
        counted: bool,
    },
    /// Snapshots only: confirmed units of a customer's retired reservations that still count.
    Carried {
        customer: &'a str,
        item: ItemNumber,
        units: u64,
    },
    /// Snapshots only: confirmed units of a bucket's retired reservations that no longer count towards any limit.
    Forgotten {
        bucket: Bucket,
        item: ItemNumber,
        units: u64,
    },
    /// The customer's identity is erased from its reservations, together with the texts that callers gave. From here on they
    /// belong to `erased_customer` and count towards no limit; no unit moves.
    CustomerErased {
        at: Timestamp,
        customer: &'a str,
    },
    // Of the catalogue.
    /// A sale was put. `items` are the numbers of its items in the document's order; `settings` is that document.
    SaleDefined {
        sale: SaleNumber,
        at: Timestamp,
        items: Vec<ItemNumber>,
        settings: &'a [u8],
    },
    SalePaused {
        sale: SaleNumber,
        at: Timestamp,
    },
    SaleResumed {
        sale: SaleNumber,
        at: Timestamp,
    },
    SaleClosed {
        sale: SaleNumber,
        at: Timestamp,
    },
    /// The clock reached `opens_at` or `closes_at`.
    StatusReached {
        sale: SaleNumber,
        at: Timestamp,
        status: Status,
    },
    Adjusted(Adjusted<'a>),
    /// Snapshots only: an item's stock, all adjustments included.
    Stocked {
        item: ItemNumber,
        stock: u64,
    },
    /// The audit record of an operator's action, which comes right before it in the same batch.
    Audited(Audited<'a>),
    /// The keys in force, by name; the audit record of their change follows.
    KeysNoted {
        keys: Vec<(&'a str, KeyPrint)>,
    },
    /// Snapshots only: how far the audit trail had come.
    AuditReached(Head),
    /// The service's time was set: at a start, or because the machine's clock was. Holds that were live then were moved with
    /// it, as their own events behind this one tell.
    ClockSet(ClockSet),
}

impl Event<'_> {
    /// The bucket whose state this event changes; None for events of the catalogue.
    pub fn bucket(&self) -> Option<Bucket> {
        match self {
            Self::Held(held) => Some(held.id.bucket()),
            Self::Confirmed(ended) | Self::Released(ended) | Self::Expired(ended) => Some(ended.id.bucket()),
            Self::Extended { id, .. } | Self::Retired { id, .. } => Some(id.bucket()),
            Self::Carried { customer, .. } | Self::CustomerErased { customer, .. } => Some(Bucket::of(customer)),
            Self::Forgotten { bucket, .. } => Some(*bucket),
            Self::SaleDefined { .. }
            | Self::SalePaused { .. }
            | Self::SaleResumed { .. }
            | Self::SaleClosed { .. }
            | Self::StatusReached { .. }
            | Self::Adjusted(_)
            | Self::Stocked { .. }
            | Self::Audited(_)
            | Self::KeysNoted { .. }
            | Self::AuditReached(_)
            | Self::ClockSet(_) => None,
        }
    }

    /// When it was decided; None where it does not say.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Held(held) => Some(held.id.created_at()),
            Self::Confirmed(ended) | Self::Released(ended) | Self::Expired(ended) => Some(ended.at),
            Self::Adjusted(adjusted) => Some(adjusted.at),
            Self::Audited(audited) => Some(audited.record.at),
            Self::Extended { at, .. }
            | Self::CustomerErased { at, .. }
            | Self::SaleDefined { at, .. }
            | Self::SalePaused { at, .. }
            | Self::SaleResumed { at, .. }
            | Self::SaleClosed { at, .. }
            | Self::StatusReached { at, .. }
            | Self::ClockSet(ClockSet { at, .. }) => Some(*at),
            Self::Retired { .. } | Self::Carried { .. } | Self::Forgotten { .. } | Self::Stocked { .. } => None,
            Self::KeysNoted { .. } | Self::AuditReached(_) => None,
        }
    }

    /// Calls `each` with what the event adds to the available units of an item. The stock that an item begins with is
    /// left out: no event alone tells whether a put sale's item is new.
    pub fn for_each_available(&self, mut each: impl FnMut(ItemNumber, i64)) {
        match self {
            Self::Held(held) => held.lines.iter().for_each(|line| each(line.item, -i64::from(line.units))),
            Self::Released(ended) | Self::Expired(ended) => {
                ended.lines.iter().for_each(|line| each(line.item, i64::from(line.units)));
            }
            Self::Adjusted(adjusted) => each(adjusted.item, adjusted.delta),
            Self::Extended { .. }
            | Self::Confirmed(_)
            | Self::Retired { .. }
            | Self::Carried { .. }
            | Self::Forgotten { .. }
            | Self::CustomerErased { .. }
            | Self::SaleDefined { .. }
            | Self::SalePaused { .. }
            | Self::SaleResumed { .. }
            | Self::SaleClosed { .. }
            | Self::StatusReached { .. }
            | Self::Stocked { .. }
            | Self::Audited(_)
            | Self::KeysNoted { .. }
            | Self::AuditReached(_)
            | Self::ClockSet(_) => {}
        }
    }
}

#[cfg(any(test, feature = "samples"))]
pub mod tests {
    use super::*;
    use crate::{
        audit::{Action, Actor, Record},
        settings::Currency,
        timeline::Uptime,
    };

    /// One of each event, with every optional field once present and once absent.
    pub fn samples() -> Vec<Event<'static>> {
        let at = Timestamp::from_millis(1_795_852_800_123);
        let id = ReservationId::new(at, Bucket::of("ann"), 0x0123_4567_89ab_cdef);
        let (sale, item) = (SaleNumber(3), ItemNumber(70_000));
        let price = Some(Price { amount: 19_900, currency: Currency::parse("EUR").unwrap() });
        let held = Held {
            id,
            sale,
            customer: "ann",
            hold_seconds: 300,
            lines: [PricedLine { item, units: 2, price }, PricedLine { item: ItemNumber(1), units: 1, price: None }]
                .into_iter()
                .collect(),
            reference: Some("cart-7"),
            key: Some(("key-1", u64::MAX)),
        };
        let bare = Held { lines: PricedLines::new(), reference: None, key: None, ..held.clone() };
        let ended = Ended { id, at, text: Some("order-9"), lines: [Quantity { item, units: 2 }].into_iter().collect() };
        let adjusted = Adjusted {
            item,
            at,
            delta: -5,
            reason: Some("damaged"),
            reference: Some("wh-1"),
            key: Some(("k", 7)),
            stock: 95,
            available: 90,
        };
        let record = Record {
            sequence: 1,
            at,
            actor: Actor::Key("eu"),
            action: Action::StockAdjust,
            sale: Some("drop"),
            sku: Some("tv"),
            detail: r#"{"delta":-5}"#,
        };
        let bare_record = Record { actor: Actor::Process, action: Action::KeysChange, sale: None, sku: None, ..record };
        let audited = Event::Audited(Audited { record, hash: blake3::hash(b"1") });
        let bare_audited = Event::Audited(Audited { record: bare_record, hash: blake3::hash(b"2") });
        vec![
            Event::Held(held),
            Event::Held(bare),
            Event::Extended { id, at, expires_at: at.plus_seconds(60), extensions: 2, sale: Some(sale) },
            Event::Extended { id, at, expires_at: at.plus_seconds(60), extensions: 2, sale: None },
            Event::Confirmed(ended.clone()),
            Event::Released(Ended { text: None, ..ended.clone() }),
            Event::Expired(Ended { text: None, ..ended }),
            Event::Retired { id, counted: true },
            Event::Carried { customer: "ann", item, units: 4 },
            Event::Forgotten { bucket: Bucket::of("ann"), item, units: 9 },
            Event::CustomerErased { at, customer: "ann" },
            Event::SaleDefined { sale, at, items: vec![item, ItemNumber(1)], settings: b"{}" },
            Event::SalePaused { sale, at },
            Event::SaleResumed { sale, at },
            Event::SaleClosed { sale, at },
            Event::StatusReached { sale, at, status: Status::Open },
            Event::Adjusted(adjusted.clone()),
            Event::Adjusted(Adjusted { reason: None, reference: None, key: None, ..adjusted }),
            Event::Stocked { item, stock: 100 },
            audited,
            bare_audited,
            Event::KeysNoted { keys: vec![("eu", [7; 16]), ("us", [8; 16])] },
            Event::AuditReached(Head { sequence: 41, hash: blake3::hash(b"41") }),
            Event::ClockSet(ClockSet { at, by: -3_600_000, uptime: Some(Uptime { boot: [9; 16], millis: 1234 }) }),
            Event::ClockSet(ClockSet { at, by: 0, uptime: None }),
        ]
    }
}
