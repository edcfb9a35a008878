//! What the commands came to.

use std::collections::BTreeMap;

use doorbuster::sale::outcome::Refusal;

/// What every run of the default size must come to, or the sequences test less than they seem to.
pub const OUTCOMES: [&str; 56] = [
    "done",
    "replayed",
    "lost in a crash or retired",
    "invalid",
    "sale not found",
    "item not found",
    "short",
    "limit exceeded",
    "sale not started",
    "sale ended",
    "sale paused",
    "expired",
    "already confirmed",
    "already released",
    "extension limit reached",
    "initial stock immutable",
    "key reused",
    "erased",
    "not eligible",
    "partly filled",
    "from several pools",
    "at several prices",
    "replayed transfer",
    "transferred",
    "adjusted together",
    "replayed together",
    "pool's initial stock immutable",
    "restart",
    "power loss",
    "snapshot",
    "snapshot, pruned",
    "snapshot, left unfinished",
    "expired, and short of stock",
    "not confirmed",
    "already cancelled",
    "too many holds",
    "cooling down",
    "changed",
    "partly confirmed",
    "confirmed late",
    "refused late for the limit",
    "cancelled",
    "partly cancelled",
    "cancelled, and not restocked",
    "partly cancelled, and not restocked",
    "all extended",
    "joined an extension of all",
    "replayed an extension of all",
    "an extension of all over a restart",
    "a group opened or joined",
    "a group completed",
    "a group failed",
    "already in the group",
    "group full",
    "group closed",
    "group incomplete",
];

#[derive(Default)]
pub struct Tally {
    pub commands: u64,
    pub outcomes: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
    }

    pub fn note(&mut self, outcome: &'static str) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    pub fn note_refusal(&mut self, refusal: &Refusal) {
        self.note(match refusal {
            Refusal::Invalid(_) => "invalid",
            Refusal::SaleNotFound => "sale not found",
            Refusal::ItemNotFound { .. } => "item not found",
            Refusal::PreconditionFailed { .. } => "precondition failed",
            Refusal::ReservationNotFound => "lost in a crash or retired",
            Refusal::Short(_) => "short",
            Refusal::CustomerLimitExceeded { .. } => "limit exceeded",
            Refusal::SaleNotStarted { .. } => "sale not started",
            Refusal::NotEligible => "not eligible",
            Refusal::SaleEnded | Refusal::OffersEnded => "sale ended",
            Refusal::SalePaused => "sale paused",
            Refusal::ReservationExpired(_) => "expired",
            Refusal::AlreadyConfirmed(_) => "already confirmed",
            Refusal::AlreadyReleased(_) => "already released",
            Refusal::ExtensionLimitReached(_) => "extension limit reached",
            Refusal::InitialStockImmutable { pool: Some(_), .. } => "pool's initial stock immutable",
            Refusal::InitialStockImmutable { .. } => "initial stock immutable",
            Refusal::IdempotencyKeyReused => "key reused",
            Refusal::ExpiredAndShort { .. } => "expired, and short of stock",
            Refusal::NotConfirmed(_) => "not confirmed",
            Refusal::AlreadyCancelled(_) => "already cancelled",
            Refusal::TooManyHolds { .. } => "too many holds",
            Refusal::CoolingDown { .. } => "cooling down",
            Refusal::AlreadyInGroup(_) => "already in the group",
            Refusal::GroupFull => "group full",
            Refusal::GroupClosed => "group closed",
            Refusal::GroupIncomplete(_) => "group incomplete",
            Refusal::EntryNotFound
            | Refusal::NoWaitlist
            | Refusal::StockAvailable
            | Refusal::AlreadyWaiting(_)
            | Refusal::WaitlistFull { .. }
            | Refusal::NotWaiting(_) => "no place on the waitlist",
            Refusal::Full(_) | Refusal::BacklogFull | Refusal::DiskLow => "full",
        });
    }

    pub fn note_result<T>(&mut self, result: &Result<T, Refusal>) {
        match result {
            Ok(_) => self.note("done"),
            Err(refusal) => self.note_refusal(refusal),
        }
    }
}
