//! Codes: what programs and metrics tell refusals apart by.

use super::outcome::Refusal;

macro_rules! codes {
    ($($name:ident $text:literal,)*) => {
        /// The code of a refusal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Code {
            $($name,)*
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    InvalidRequest "invalid_request",
    SaleNotFound "sale_not_found",
    ItemNotFound "item_not_found",
    ReservationNotFound "reservation_not_found",
    SoldOut "sold_out",
    InsufficientStock "insufficient_stock",
    CustomerLimitExceeded "customer_limit_exceeded",
    SaleNotStarted "sale_not_started",
    NotEligible "not_eligible",
    SaleEnded "sale_ended",
    SalePaused "sale_paused",
    ReservationExpired "reservation_expired",
    AlreadyConfirmed "already_confirmed",
    AlreadyReleased "already_released",
    AlreadyCancelled "already_cancelled",
    NotConfirmed "not_confirmed",
    TooManyHolds "too_many_holds",
    CoolingDown "cooling_down",
    ExtensionLimitReached "extension_limit_reached",
    AlreadyInGroup "already_in_group",
    GroupFull "group_full",
    GroupClosed "group_closed",
    GroupIncomplete "group_incomplete",
    EntryNotFound "waitlist_entry_not_found",
    NoWaitlist "no_waitlist",
    StockAvailable "stock_available",
    AlreadyWaiting "already_waiting",
    WaitlistFull "waitlist_full",
    NotWaiting "not_waiting",
    IdempotencyKeyReused "idempotency_key_reused",
    Overloaded "overloaded",
    BacklogFull "backlog_full",
    DiskLow "disk_low",
    PreconditionFailed "precondition_failed",
    InitialStockImmutable "initial_stock_immutable",
}

impl Code {
    /// The codes of commands on reservations. Only an operator's document is refused with one of the others.
    pub fn of_reservations() -> impl Iterator<Item = Self> {
        let of_documents = [Self::PreconditionFailed, Self::InitialStockImmutable];
        Self::ALL.iter().copied().filter(move |code| !of_documents.contains(code))
    }
}

impl Refusal {
    /// Whether a confirmation that is refused so leaves a payment to be returned.
    pub fn loses_payment(&self) -> bool {
        let code = self.code();
        [
            Code::ReservationExpired,
            Code::AlreadyConfirmed,
            Code::AlreadyReleased,
            Code::AlreadyCancelled,
            Code::CustomerLimitExceeded,
        ]
        .contains(&code)
    }

    /// Sold out when a line has nothing left, else not enough.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidRequest,
            Self::SaleNotFound => Code::SaleNotFound,
            Self::ItemNotFound { .. } => Code::ItemNotFound,
            Self::PreconditionFailed { .. } => Code::PreconditionFailed,
            Self::ReservationNotFound => Code::ReservationNotFound,
            Self::Short(lines) if lines.iter().any(|line| line.available == 0) => Code::SoldOut,
            Self::Short(_) => Code::InsufficientStock,
            Self::CustomerLimitExceeded { .. } => Code::CustomerLimitExceeded,
            Self::SaleNotStarted { .. } => Code::SaleNotStarted,
            Self::NotEligible => Code::NotEligible,
            Self::SaleEnded | Self::OffersEnded => Code::SaleEnded,
            Self::SalePaused => Code::SalePaused,
            Self::ReservationExpired(_) | Self::ExpiredAndShort { .. } => Code::ReservationExpired,
            Self::AlreadyConfirmed(_) => Code::AlreadyConfirmed,
            Self::AlreadyReleased(_) => Code::AlreadyReleased,
            Self::AlreadyCancelled(_) => Code::AlreadyCancelled,
            Self::NotConfirmed(_) => Code::NotConfirmed,
            Self::TooManyHolds { .. } => Code::TooManyHolds,
            Self::CoolingDown { .. } => Code::CoolingDown,
            Self::ExtensionLimitReached(_) => Code::ExtensionLimitReached,
            Self::EntryNotFound => Code::EntryNotFound,
            Self::NoWaitlist => Code::NoWaitlist,
            Self::StockAvailable => Code::StockAvailable,
            Self::AlreadyWaiting(_) => Code::AlreadyWaiting,
            Self::WaitlistFull { .. } => Code::WaitlistFull,
            Self::NotWaiting(_) => Code::NotWaiting,
            Self::InitialStockImmutable { .. } => Code::InitialStockImmutable,
            Self::AlreadyInGroup(_) => Code::AlreadyInGroup,
            Self::GroupFull => Code::GroupFull,
            Self::GroupClosed => Code::GroupClosed,
            Self::GroupIncomplete(_) => Code::GroupIncomplete,
            Self::IdempotencyKeyReused => Code::IdempotencyKeyReused,
            Self::Full(_) => Code::Overloaded,
            Self::BacklogFull => Code::BacklogFull,
            Self::DiskLow => Code::DiskLow,
        }
    }
}
