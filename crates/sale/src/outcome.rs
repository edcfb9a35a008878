//! Outcomes: the answers of the rules. A refusal here is a business answer, not an error.

use std::{borrow::Cow, sync::Arc};

use compact_str::CompactString;
use smallvec::SmallVec;

use super::{
    attributes::Attributes,
    event::{AskedUnits, NoRoom},
    expected::Tag,
    ids::{EntryId, GroupId, ItemNumber, PoolNumber, ReservationId, SaleNumber},
    settings::{Invalid, Price},
    stock::{Account, Amounts},
    time::Timestamp,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    Held = 0,
    Confirmed = 1,
    Released = 2,
    Expired = 3,
    Cancelled = 4,
}

impl State {
    pub const ALL: [Self; 5] = [Self::Held, Self::Confirmed, Self::Released, Self::Expired, Self::Cancelled];

    /// Where the units of a reservation are that are all in one place.
    pub fn account(self) -> Account {
        match self {
            Self::Held => Account::Held,
            Self::Confirmed => Account::Confirmed,
            Self::Released | Self::Expired | Self::Cancelled => Account::Available,
        }
    }

    /// The amounts of a line whose units are all there.
    pub fn amounts(self, units: u32) -> Amounts {
        let mut amounts = Amounts::default();
        match self {
            Self::Held => amounts.held = units,
            Self::Confirmed => amounts.confirmed = units,
            Self::Released | Self::Expired => amounts.returned = units,
            Self::Cancelled => amounts.cancelled = units,
        }
        amounts
    }

    /// The units that a line of a reservation in this state is about.
    pub fn units(self, amounts: Amounts) -> u32 {
        match self {
            Self::Held => amounts.held,
            Self::Confirmed => amounts.confirmed,
            Self::Released | Self::Expired => amounts.returned,
            Self::Cancelled => amounts.cancelled,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Confirmed => "confirmed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The status of a sale, by its operator's commands and by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    Scheduled = 0,
    Open = 1,
    Paused = 2,
    Closed = 3,
}

impl Status {
    pub const ALL: [Self; 4] = [Self::Scheduled, Self::Open, Self::Paused, Self::Closed];

    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.get(usize::from(value)).copied()
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Closed => "closed",
        }
    }
}

/// How a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GroupState {
    /// Members are missing; none can be confirmed.
    Open = 0,
    Complete = 1,
    /// The time was over before it was complete, or everybody left.
    Failed = 2,
}

impl GroupState {
    pub const ALL: [Self; 3] = [Self::Open, Self::Complete, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Complete => "complete",
            Self::Failed => "failed",
        }
    }
}

/// The group of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    pub id: GroupId,
    /// Members that make it complete.
    pub size: u8,
    pub members: u8,
    pub state: GroupState,
    /// When it fails, or would have failed, unless it is complete.
    pub expires_at: Timestamp,
}

/// A reservation's units from one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReservedLine {
    pub item: ItemNumber,
    pub pool: PoolNumber,
    /// The price that the hold locked.
    pub price: Option<Price>,
    pub amounts: Amounts,
}

/// A reservation as an answer shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub id: ReservationId,
    pub sale: SaleNumber,
    pub customer: CompactString,
    pub state: State,
    pub lines: SmallVec<[ReservedLine; 1]>,
    pub reference: Option<Box<str>>,
    pub expires_at: Timestamp,
    /// When it came to its state: confirmed, released, expired or cancelled; None while it is held.
    pub ended_at: Option<Timestamp>,
    /// When it was confirmed, if it was cancelled since.
    pub confirmed_at: Option<Timestamp>,
    /// It was confirmed when the hold had expired.
    pub late: bool,
    pub extensions: u16,
    /// None if it has none.
    pub attributes: Option<Arc<Attributes<'static>>>,
    /// What was asked of the items of which it got less.
    pub short: Box<[AskedUnits]>,
    /// None if it has none, or left it.
    pub group: Option<Box<Group>>,
    /// The waitlist entry that it was offered to.
    pub entry: Option<EntryId>,
}

impl Reservation {
    /// The lines with the units that its state is about.
    pub fn shown_lines(&self) -> Cow<'_, [ReservedLine]> {
        let is_all = |line: &ReservedLine| self.state.units(line.amounts) == line.amounts.sum();
        if self.lines.iter().all(is_all) {
            return Cow::Borrowed(&self.lines);
        }
        let shown = self.lines.iter().map(|line| {
            let amounts = self.state.amounts(self.state.units(line.amounts));
            ReservedLine { amounts, ..*line }
        });
        Cow::Owned(shown.filter(|line| line.amounts.sum() > 0).collect())
    }

    /// Units of an item: those that its state is about.
    pub fn units_of(&self, item: ItemNumber) -> u32 {
        self.sum_of(item, |amounts| self.state.units(amounts))
    }

    /// A sum over the item's lines.
    pub fn sum_of(&self, item: ItemNumber, units: impl Fn(Amounts) -> u32) -> u32 {
        self.lines.iter().filter(|line| line.item == item).map(|line| units(line.amounts)).sum()
    }
}

/// The state of a waitlist entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WaitState {
    Waiting = 0,
    /// A hold was made for it.
    Offered = 1,
    Left = 2,
    Expired = 3,
}

impl WaitState {
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Offered, Self::Left, Self::Expired];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Offered => "offered",
            Self::Left => "left",
            Self::Expired => "expired",
        }
    }
}

/// A waitlist entry as an answer shows it, but for its position. When it was made is in its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitlistEntry {
    pub id: EntryId,
    pub sale: SaleNumber,
    pub customer: CompactString,
    pub lines: SmallVec<[AskedUnits; 1]>,
    pub state: WaitState,
    /// In the service's order of joining.
    pub place: u64,
    pub expires_at: Timestamp,
    /// When it ceased to wait.
    pub ended_at: Option<Timestamp>,
    /// What was offered.
    pub reservation: Option<ReservationId>,
    /// When there were units for it last but its customer had no room, and why.
    pub passed_over: Option<(Timestamp, NoRoom)>,
    pub reference: Option<Box<str>>,
    /// None if it has none.
    pub attributes: Option<Arc<Attributes<'static>>>,
}

/// What memory has of one customer in one sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfCustomer {
    /// The newest first, as many as were wanted.
    pub reservations: Vec<Reservation>,
    /// How many there are, those that are not shown included.
    pub total: usize,
    /// Units that the customer holds or has confirmed, by item in ascending order. Items of other sales are among them.
    pub units: Vec<(ItemNumber, u64)>,
}

/// A reservation as first answered, and its current state when the request is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    pub first: Reservation,
    pub stands: Standing,
}

/// The state of a reservation at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub state: State,
    pub expires_at: Timestamp,
}

/// The result of an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    pub reservation: Reservation,
    /// Whether the hold lasts longer than before. If not, nothing was recorded.
    pub longer: bool,
}

/// A line that asks for more units than are available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    pub sku: CompactString,
    pub requested: u64,
    pub available: u64,
    /// Units in holds that such a request could draw from when they come back.
    pub held: u64,
    /// The earliest end of such a hold, as it was known lately.
    pub next_release_at: Option<Timestamp>,
    /// The sale has a waitlist.
    pub waitlist: bool,
}

/// Why a command was refused. It changed nothing, except that a hold found past its end is expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Invalid(Vec<Invalid>),
    SaleNotFound,
    ItemNotFound {
        sku: String,
    },
    /// The sale does not match the precondition. `present`: its current tag; None: there is no such sale.
    PreconditionFailed {
        present: Option<Tag>,
    },
    ReservationNotFound,
    /// At one instant since the request arrived, each of these lines asked for more units than were available.
    Short(Vec<Shortage>),
    CustomerLimitExceeded {
        sku: CompactString,
        limit: u32,
        already: u64,
    },
    SaleNotStarted {
        opens_at: Timestamp,
    },
    /// No phase lets such a customer in, now or later.
    NotEligible,
    SaleEnded,
    /// A hold that is offered from the waitlist now would outlast the sale.
    OffersEnded,
    SalePaused,
    ReservationExpired(Box<Reservation>),
    /// It expired, and a late confirmation finds too few units.
    ExpiredAndShort {
        reservation: Box<Reservation>,
        short: Vec<Shortage>,
    },
    NotConfirmed(Box<Reservation>),
    AlreadyConfirmed(Box<Reservation>),
    AlreadyReleased(Box<Reservation>),
    AlreadyCancelled(Box<Reservation>),
    ExtensionLimitReached(Box<Reservation>),
    EntryNotFound,
    /// The sale has no waitlist.
    NoWaitlist,
    /// What is asked for could be held now.
    StockAvailable,
    /// The customer waits in the sale already.
    AlreadyWaiting(Box<WaitlistEntry>),
    WaitlistFull {
        limit: u32,
    },
    /// The entry was offered a hold, or has expired.
    NotWaiting(Box<WaitlistEntry>),
    InitialStockImmutable {
        sku: String,
        /// None: the item's.
        pool: Option<String>,
        initial_stock: u64,
    },
    IdempotencyKeyReused,
    /// The customer has as many holds in the sale as its hold budget allows.
    TooManyHolds {
        limit: u32,
        open: u32,
    },
    /// Too many of the customer's holds in the sale expired lately.
    CoolingDown {
        limit: u32,
        expired: u32,
        retry_after_seconds: u64,
    },
    /// The customer is a member of the group already, with this reservation.
    AlreadyInGroup(Box<Reservation>),
    /// The group has all of its members.
    GroupFull,
    /// No such group is open.
    GroupClosed,
    /// The reservation's group is still open.
    GroupIncomplete(Box<Reservation>),
    /// A limit of the whole service is reached: its name.
    Full(&'static str),
    /// The store is too far behind.
    BacklogFull,
    /// The journal's disk has too little room.
    DiskLow,
}
