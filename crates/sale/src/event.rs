//! Events: decided facts, with everything that replay, the store and the feed need. Replay never re-decides.
//!
//! There are two closed families: what happened to customers' reservations, which shards apply, and what happened to sales, which
//! the catalogue applies. Both are matched without wildcards, so no reader can lose a new event. `moves` says what an event does
//! to which pool. `event/encoding.rs` defines the bytes on disk.

mod encoding;
pub mod record;
#[cfg(any(test, feature = "samples"))]
pub mod samples;

use smallvec::SmallVec;

use super::{
    attributes::Attributes,
    audit::{Audited, Head, KeyPrint},
    code::Code,
    ids::{Bucket, EntryId, GroupId, ItemNumber, PoolNumber, ReservationId, SaleNumber},
    outcome::{GroupState, State, Status},
    settings::Price,
    stock::{Account, Move},
    time::Timestamp,
    timeline::ClockSet,
};

/// Units of one item from one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    pub item: ItemNumber,
    pub pool: PoolNumber,
    pub units: u32,
}

/// A portion of a new hold, at the price that the hold locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PricedPortion {
    pub item: ItemNumber,
    pub pool: PoolNumber,
    pub units: u32,
    pub price: Option<Price>,
}

pub type Portions = SmallVec<[Portion; 2]>;
pub type PricedPortions = SmallVec<[PricedPortion; 1]>;

/// A hold as it began. Its creation time is in its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held<'a> {
    pub id: ReservationId,
    pub sale: SaleNumber,
    pub customer: &'a str,
    pub hold_seconds: u32,
    pub portions: PricedPortions,
    pub reference: Option<&'a str>,
    /// The idempotency key and the fingerprint of its request.
    pub key: Option<(&'a str, u64)>,
    /// None if it has none.
    pub attributes: Option<Box<Attributes<'a>>>,
    /// What was asked of the items of which it got less.
    pub short: Box<[AskedUnits]>,
    /// The group that it opened or joined.
    pub group: Option<Box<JoinedGroup>>,
    /// The waitlist entry that it was offered to.
    pub entry: Option<EntryId>,
}

impl Held<'_> {
    /// When the hold ends, as it was made: with its group, while members are missing.
    pub fn expires_at(&self) -> Timestamp {
        match &self.group {
            Some(group) if group.members < group.size => group.expires_at,
            _ => self.id.created_at().plus_seconds(self.hold_seconds.into()),
        }
    }
}

/// A group as a new member finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinedGroup {
    pub id: GroupId,
    /// Members that make it complete.
    pub size: u8,
    /// This one included. As many as `size`: the group is complete.
    pub members: u8,
    pub expires_at: Timestamp,
}

/// A group was opened, ended, or its end was moved with the clock. Its members have events of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupChanged {
    pub id: GroupId,
    pub sale: SaleNumber,
    pub item: ItemNumber,
    pub at: Timestamp,
    pub step: GroupStep,
    pub size: u8,
    /// When it fails, or would have failed.
    pub expires_at: Timestamp,
    /// Its members at this moment; of one that failed, those who were still in it.
    pub members: Box<[ReservationId]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum GroupStep {
    Opened = 0,
    Completed = 1,
    Failed = 2,
    Moved = 3,
}

impl GroupStep {
    pub const ALL: [Self; 4] = [Self::Opened, Self::Completed, Self::Failed, Self::Moved];

    /// How the group stands from then on.
    pub fn state(self) -> GroupState {
        match self {
            Self::Opened | Self::Moved => GroupState::Open,
            Self::Completed => GroupState::Complete,
            Self::Failed => GroupState::Failed,
        }
    }
}

/// What became of the group of a reservation. In a snapshot also: how it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupNoted {
    /// The member's.
    pub id: ReservationId,
    pub sale: SaleNumber,
    pub at: Timestamp,
    pub state: GroupState,
    pub members: u8,
    /// When the group fails, or would have failed.
    pub deadline: Timestamp,
    /// When the hold ends from here on.
    pub expires_at: Timestamp,
}

/// Units of an item that a request asked for, where it got less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedUnits {
    pub item: ItemNumber,
    pub units: u32,
}

/// The hold's end was moved: by its caller, which `extensions` counts, or with the clock or with all holds of its sale, which it
/// does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended {
    pub id: ReservationId,
    pub sale: SaleNumber,
    pub at: Timestamp,
    pub expires_at: Timestamp,
    pub extensions: u16,
    /// It was moved with all holds of its sale.
    pub with_all: Option<Progress>,
}

/// How far an extension of all holds of a sale has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The number of this extension: the service counts them.
    pub run: u64,
    /// Holds that it has extended so far.
    pub holds: u64,
}

/// Units of a reservation were confirmed, or held ones went back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled<'a> {
    pub id: ReservationId,
    pub sale: SaleNumber,
    pub at: Timestamp,
    /// Confirmed: the order's reference. Released: the reason.
    pub text: Option<&'a str>,
    /// The units that moved.
    pub portions: Portions,
    /// Of a confirmation: the held units that were not confirmed and went back in the same step.
    pub returned: Portions,
    /// Of a confirmation: the hold had expired, so the units were taken from what was available.
    pub late: bool,
}

/// A hold has other lines from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub id: ReservationId,
    pub sale: SaleNumber,
    pub at: Timestamp,
    /// Units that went back.
    pub returned: Portions,
    /// Units that were added, at the price that they lock.
    pub taken: PricedPortions,
}

/// Confirmed units went back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled<'a> {
    pub id: ReservationId,
    pub sale: SaleNumber,
    pub at: Timestamp,
    pub reason: Option<&'a str>,
    pub portions: Portions,
    /// False: an adjustment in the same step takes the units out of the sale.
    pub restock: bool,
    /// Whether the reservation has no confirmed units left.
    pub is_all: bool,
    pub key: Option<(&'a str, u64)>,
}

/// A payment arrived for a reservation that could not be confirmed: it is to be returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfirmRefused<'a> {
    pub id: ReservationId,
    pub sale: SaleNumber,
    pub at: Timestamp,
    /// The confirmation's.
    pub reference: Option<&'a str>,
    pub cause: RefusedConfirm,
}

/// Why a reservation was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RefusedConfirm {
    /// The hold had expired, and the time for a late confirmation was over.
    TooLate = 0,
    /// Its units were no longer available.
    Stock = 1,
    /// The customer has used the limit otherwise.
    Limit = 2,
    Released = 3,
    Cancelled = 4,
    /// It is confirmed with another reference.
    AlreadyConfirmed = 5,
}

impl RefusedConfirm {
    pub const ALL: [Self; 6] =
        [Self::TooLate, Self::Stock, Self::Limit, Self::Released, Self::Cancelled, Self::AlreadyConfirmed];

    /// The state in which it found the reservation.
    pub fn state(self) -> State {
        match self {
            Self::TooLate | Self::Stock | Self::Limit => State::Expired,
            Self::Released => State::Released,
            Self::Cancelled => State::Cancelled,
            Self::AlreadyConfirmed => State::Confirmed,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLate => "too_late",
            Self::Stock => "stock",
            Self::Limit => "limit",
            Self::Released => "released",
            Self::Cancelled => "cancelled",
            Self::AlreadyConfirmed => "already_confirmed",
        }
    }
}

/// A customer waits for units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined<'a> {
    pub id: EntryId,
    pub sale: SaleNumber,
    pub customer: &'a str,
    /// Its place in the order of joining: the service counts them.
    pub place: u64,
    pub expires_at: Timestamp,
    /// Never empty.
    pub lines: SmallVec<[AskedUnits; 1]>,
    pub reference: Option<&'a str>,
    pub key: Option<(&'a str, u64)>,
    /// None if it has none.
    pub attributes: Option<Box<Attributes<'a>>>,
}

/// A hold was made for a waitlist entry, right before this event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    pub id: EntryId,
    pub sale: SaleNumber,
    pub at: Timestamp,
    pub reservation: ReservationId,
}

/// A waitlist entry waits no longer, and was offered nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitEnded {
    pub id: EntryId,
    pub sale: SaleNumber,
    pub at: Timestamp,
}

/// There were units for a waitlist entry, but its customer had no room for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassedOver {
    pub id: EntryId,
    pub sale: SaleNumber,
    pub at: Timestamp,
    pub cause: NoRoom,
}

/// What a customer has no room by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum NoRoom {
    CustomerLimit = 0,
    OpenHolds = 1,
    ExpiredHolds = 2,
}

impl NoRoom {
    pub const ALL: [Self; 3] = [Self::CustomerLimit, Self::OpenHolds, Self::ExpiredHolds];

    /// The code with which a reserve would be refused.
    pub fn code(self) -> Code {
        match self {
            Self::CustomerLimit => Code::CustomerLimitExceeded,
            Self::OpenHolds => Code::TooManyHolds,
            Self::ExpiredHolds => Code::CoolingDown,
        }
    }
}

/// What happened to a customer's reservations and waitlist entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomerEvent<'a> {
    Held(Held<'a>),
    Extended(Extended),
    Confirmed(Settled<'a>),
    Released(Settled<'a>),
    Expired(Settled<'a>),
    Changed(Changed),
    Cancelled(Cancelled<'a>),
    ConfirmRefused(ConfirmRefused<'a>),
    /// In the bucket of the group's id. No state follows from it: members have it.
    GroupChanged(GroupChanged),
    GroupNoted(GroupNoted),
    Joined(Joined<'a>),
    Offered(Offered),
    /// The caller said that the customer waits no longer.
    LeftWaitlist(WaitEnded),
    /// The time of the entry, or of the sale, is over.
    WaitExpired(WaitEnded),
    PassedOver(PassedOver),
    /// The waitlist entry leaves memory.
    EntryRetired {
        id: EntryId,
    },
    /// The reservation leaves memory. `counted`: its confirmed units go on counting towards the customer's limit.
    Retired {
        id: ReservationId,
        counted: bool,
    },
    /// Snapshots only: confirmed units of a customer's retired reservations that still count towards the limit.
    Carried {
        customer: &'a str,
        item: ItemNumber,
        units: u64,
    },
    /// Snapshots only: confirmed units of a bucket's retired reservations.
    Sold {
        bucket: Bucket,
        item: ItemNumber,
        pool: PoolNumber,
        units: u64,
    },
    /// The customer's identity is erased from its reservations, together with the texts that callers gave. From here on they
    /// belong to `erased_customer` and count towards no limit; no unit moves.
    CustomerErased {
        at: Timestamp,
        customer: &'a str,
    },
}

/// Stock put into or taken out of a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjusted<'a> {
    pub item: ItemNumber,
    pub pool: PoolNumber,
    pub at: Timestamp,
    pub delta: i64,
    pub reason: Option<&'a str>,
    pub reference: Option<&'a str>,
    pub key: Option<(&'a str, u64)>,
    /// One of several changes of a sale that were made together; the key is of all.
    pub of_sale: Option<SaleNumber>,
    /// The units were cancelled and not restocked: they were this reservation's.
    pub of_reservation: Option<ReservationId>,
    /// The item's stock and available units right after.
    pub stock: u64,
    pub available: u64,
    /// The pool's, where the item has others.
    pub of_pool: Option<PoolLevels>,
}

/// Available units went from one pool of an item to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transferred<'a> {
    pub item: ItemNumber,
    pub from: PoolNumber,
    pub to: PoolNumber,
    pub at: Timestamp,
    pub units: u64,
    pub reason: Option<&'a str>,
    pub reference: Option<&'a str>,
    pub key: Option<(&'a str, u64)>,
    /// Stock and available units of both pools right after: of the one that gave, and of the one that got.
    pub after: [PoolLevels; 2],
}

/// All holds of a sale are being extended. Each gets an event of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldsExtending<'a> {
    pub sale: SaleNumber,
    pub at: Timestamp,
    pub run: u64,
    pub seconds: u32,
    pub key: Option<(&'a str, u64)>,
    /// Snapshots only: buckets that are done, and holds that were extended.
    pub done: Option<(u32, u64)>,
}

/// All holds of a sale were extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldsExtended<'a> {
    pub sale: SaleNumber,
    pub at: Timestamp,
    pub run: u64,
    pub holds: u64,
    pub key: Option<(&'a str, u64)>,
}

/// A pool's stock and its available units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolLevels {
    pub stock: u64,
    pub available: u64,
}

/// A sale was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleDefined<'a> {
    pub sale: SaleNumber,
    pub at: Timestamp,
    /// Pools that the sale did not have before, and their initial stock.
    pub opened: Vec<OpenedPool>,
    /// Items whose stock counts as low at another level from here on, new ones included.
    pub low_stock: Vec<LowStockChange>,
    /// The whole document with the numbers of its items and pools; see [`record`].
    pub record: &'a [u8],
}

/// A new pool with its initial stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedPool {
    pub item: ItemNumber,
    pub pool: PoolNumber,
    pub units: u64,
}

/// The level at which an item's stock is low, and the one before; None: it never is. A new item's counts as if it had always been
/// there, as its initial stock does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LowStockChange {
    pub item: ItemNumber,
    pub from: Option<u64>,
    pub to: Option<u64>,
}

/// What happened to sales, their stock and the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogueEvent<'a> {
    SaleDefined(SaleDefined<'a>),
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
    /// A phase began, as far as readers of the feed are concerned: requests are judged by the time itself.
    PhaseOpened {
        sale: SaleNumber,
        at: Timestamp,
        phase: &'a str,
        opens_at: Timestamp,
    },
    /// A pool is open to everybody from here on; as `PhaseOpened`.
    PoolShared {
        sale: SaleNumber,
        item: ItemNumber,
        pool: PoolNumber,
        at: Timestamp,
        shared_at: Timestamp,
    },
    Adjusted(Adjusted<'a>),
    Transferred(Transferred<'a>),
    HoldsExtending(HoldsExtending<'a>),
    HoldsExtended(HoldsExtended<'a>),
    /// Snapshots only: a pool's stock, all adjustments included.
    Stocked {
        item: ItemNumber,
        pool: PoolNumber,
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
    /// it, each by an event of its own that comes after this one.
    ClockSet(ClockSet),
    /// From here on this version of the program writes the journal.
    WrittenBy {
        version: &'a str,
    },
}

/// An event of either family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    Customer(CustomerEvent<'a>),
    Catalogue(CatalogueEvent<'a>),
}

impl CustomerEvent<'_> {
    /// The bucket whose state this event changes.
    pub fn bucket(&self) -> Bucket {
        match self {
            Self::Held(held) => held.id.bucket(),
            Self::Extended(extended) => extended.id.bucket(),
            Self::Confirmed(settled) | Self::Released(settled) | Self::Expired(settled) => settled.id.bucket(),
            Self::Changed(changed) => changed.id.bucket(),
            Self::Cancelled(cancelled) => cancelled.id.bucket(),
            Self::ConfirmRefused(refused) => refused.id.bucket(),
            Self::GroupChanged(changed) => changed.id.bucket(),
            Self::GroupNoted(noted) => noted.id.bucket(),
            Self::Joined(joined) => joined.id.bucket(),
            Self::Offered(offered) => offered.id.bucket(),
            Self::LeftWaitlist(ended) | Self::WaitExpired(ended) => ended.id.bucket(),
            Self::PassedOver(passed) => passed.id.bucket(),
            Self::EntryRetired { id } => id.bucket(),
            Self::Retired { id, .. } => id.bucket(),
            Self::Carried { customer, .. } | Self::CustomerErased { customer, .. } => Bucket::of(customer),
            Self::Sold { bucket, .. } => *bucket,
        }
    }

    /// When it was decided; None where it does not say.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Held(held) => Some(held.id.created_at()),
            Self::Extended(extended) => Some(extended.at),
            Self::Confirmed(settled) | Self::Released(settled) | Self::Expired(settled) => Some(settled.at),
            Self::Changed(changed) => Some(changed.at),
            Self::Cancelled(cancelled) => Some(cancelled.at),
            Self::ConfirmRefused(refused) => Some(refused.at),
            Self::GroupChanged(changed) => Some(changed.at),
            Self::GroupNoted(noted) => Some(noted.at),
            Self::Joined(joined) => Some(joined.id.created_at()),
            Self::Offered(offered) => Some(offered.at),
            Self::LeftWaitlist(ended) | Self::WaitExpired(ended) => Some(ended.at),
            Self::PassedOver(passed) => Some(passed.at),
            Self::CustomerErased { at, .. } => Some(*at),
            Self::EntryRetired { .. } | Self::Retired { .. } | Self::Carried { .. } | Self::Sold { .. } => None,
        }
    }

    /// What it does to which pool.
    #[inline]
    pub fn moves(&self, mut each: impl FnMut(Move)) {
        let (available, held, confirmed) = (Account::Available, Account::Held, Account::Confirmed);
        let mut shift = |portions: &Portions, from, to| {
            for &Portion { item, pool, units } in portions {
                each(Move { item, pool, from, to, units: units.into() });
            }
        };
        match self {
            Self::Held(hold) => take(&hold.portions, each),
            Self::Confirmed(settled) => {
                shift(&settled.portions, if settled.late { available } else { held }, confirmed);
                shift(&settled.returned, held, available);
            }
            Self::Released(settled) | Self::Expired(settled) => shift(&settled.portions, held, available),
            Self::Changed(changed) => {
                shift(&changed.returned, held, available);
                take(&changed.taken, each);
            }
            Self::Cancelled(cancelled) => shift(&cancelled.portions, confirmed, available),
            &Self::Sold { item, pool, units, .. } => {
                each(Move { item, pool, from: Account::Available, to: Account::Confirmed, units });
            }
            Self::Extended(_)
            | Self::ConfirmRefused(_)
            | Self::GroupChanged(_)
            | Self::GroupNoted(_)
            | Self::Joined(_)
            | Self::Offered(_)
            | Self::LeftWaitlist(_)
            | Self::WaitExpired(_)
            | Self::PassedOver(_)
            | Self::EntryRetired { .. }
            | Self::Retired { .. }
            | Self::Carried { .. }
            | Self::CustomerErased { .. } => {}
        }
    }
}

/// The moves of units that a hold takes.
#[inline]
fn take(portions: &PricedPortions, mut each: impl FnMut(Move)) {
    for &PricedPortion { item, pool, units, .. } in portions {
        each(Move { item, pool, from: Account::Available, to: Account::Held, units: units.into() });
    }
}

impl CatalogueEvent<'_> {
    /// When it was decided; None where it does not say.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::SaleDefined(defined) => Some(defined.at),
            Self::SalePaused { at, .. }
            | Self::SaleResumed { at, .. }
            | Self::SaleClosed { at, .. }
            | Self::StatusReached { at, .. }
            | Self::PhaseOpened { at, .. }
            | Self::PoolShared { at, .. } => Some(*at),
            Self::Adjusted(adjusted) => Some(adjusted.at),
            Self::Transferred(transferred) => Some(transferred.at),
            Self::HoldsExtending(extending) => Some(extending.at),
            Self::HoldsExtended(extended) => Some(extended.at),
            Self::Audited(audited) => Some(audited.record.at),
            Self::ClockSet(set) => Some(set.at),
            Self::Stocked { .. } | Self::KeysNoted { .. } | Self::AuditReached(_) | Self::WrittenBy { .. } => None,
        }
    }

    /// What it does to which pool.
    pub fn moves(&self, mut each: impl FnMut(Move)) {
        let (outside, available) = (Account::Outside, Account::Available);
        match self {
            Self::SaleDefined(defined) => {
                for &OpenedPool { item, pool, units } in &defined.opened {
                    each(Move { item, pool, from: outside, to: available, units });
                }
            }
            &Self::Adjusted(Adjusted { item, pool, delta, .. }) => {
                let (from, to) = if delta < 0 { (available, outside) } else { (outside, available) };
                each(Move { item, pool, from, to, units: delta.unsigned_abs() });
            }
            &Self::Transferred(Transferred { item, from, to, units, .. }) => {
                each(Move { item, pool: from, from: available, to: outside, units });
                each(Move { item, pool: to, from: outside, to: available, units });
            }
            &Self::Stocked { item, pool, stock: units } => {
                each(Move { item, pool, from: outside, to: available, units })
            }
            Self::SalePaused { .. }
            | Self::SaleResumed { .. }
            | Self::SaleClosed { .. }
            | Self::StatusReached { .. }
            | Self::PhaseOpened { .. }
            | Self::PoolShared { .. }
            | Self::HoldsExtending(_)
            | Self::HoldsExtended(_)
            | Self::Audited(_)
            | Self::KeysNoted { .. }
            | Self::AuditReached(_)
            | Self::ClockSet(_)
            | Self::WrittenBy { .. } => {}
        }
    }
}

impl Event<'_> {
    /// When it was decided; None where it does not say.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Customer(event) => event.at(),
            Self::Catalogue(event) => event.at(),
        }
    }

    /// What it does to which pool.
    pub fn moves(&self, each: impl FnMut(Move)) {
        match self {
            Self::Customer(event) => event.moves(each),
            Self::Catalogue(event) => event.moves(each),
        }
    }
}

impl<'a> From<CustomerEvent<'a>> for Event<'a> {
    fn from(event: CustomerEvent<'a>) -> Self {
        Self::Customer(event)
    }
}

impl<'a> From<CatalogueEvent<'a>> for Event<'a> {
    fn from(event: CatalogueEvent<'a>) -> Self {
        Self::Catalogue(event)
    }
}
