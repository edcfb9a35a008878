//! Everything the checks judge by: the offer, the demo's own count, and what the service answered when asked again.

use super::{
    answers::{Reservation, Sale},
    client::Moment,
    plan::Offer,
    tally::{End, Grant, Tally},
};
use crate::store::{ItemTotals, StoredReservation};

#[derive(Debug, Clone)]
pub struct History {
    pub offer: Offer,
    pub tally: Tally,
    /// The sale, looked at again and again while it was on.
    pub looks: Vec<Sale>,
    pub audit: Audit,
}

/// What the service answered after the sale.
#[derive(Debug, Clone)]
pub struct Audit {
    /// When it was asked.
    pub at: Moment,
    /// The sale; None when there was no proper answer.
    pub sale: Option<Sale>,
    /// Acknowledged reservations, by their index in the tally, as the service shows them now.
    pub seen: Vec<(usize, Option<Reservation>)>,
    /// Double clicks, by their index in the tally, sent once more.
    pub repeats: Vec<(usize, Option<Repeat>)>,
    /// The epoch of the latest change, and the last one on disk.
    pub latest_epoch: u64,
    pub durable_epoch: u64,
    pub store: Result<Stored, String>,
    pub limits: Vec<LimitTried>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    pub status: u16,
    pub replayed: bool,
    pub reservation: Option<Reservation>,
}

/// What the SQL store holds.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    pub cursor: u64,
    /// Of this sale.
    pub items: Vec<ItemTotals>,
    /// As `Audit::seen`.
    pub reservations: Vec<Option<StoredReservation>>,
}

/// A request past a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitTried {
    pub what: String,
    pub expected: u16,
    /// None when there was no answer.
    pub status: Option<u16>,
}

impl History {
    /// Units of an item that are confirmed by the demo's own count.
    pub fn confirmed(&self, item: usize) -> u64 {
        self.units(item, |grant| matches!(grant.end, End::Confirmed(_)))
    }

    /// Units of an item that are in holds which have not run out, by the demo's own count.
    pub fn held(&self, item: usize) -> u64 {
        let at = self.audit.at;
        self.units(item, |grant| grant.end == End::Open && super::client::moment(grant.made.expires_at) > at)
    }

    /// Units of an item of which the demo cannot know, for want of an answer.
    pub fn unknown(&self, item: usize) -> u64 {
        let reserves = self.tally.doubtful.iter().flat_map(|(basket, _)| basket).filter(|line| line.0 == item);
        let reserved: u64 = reserves.map(|line| u64::from(line.1)).sum();
        reserved + self.units(item, |grant| matches!(grant.end, End::Unknown(_)))
    }

    fn units(&self, item: usize, counts: impl Fn(&Grant) -> bool) -> u64 {
        let grants = self.tally.grants.iter().filter(|grant| counts(grant));
        let lines = grants.flat_map(|grant| &grant.basket).filter(|line| line.0 == item);
        lines.map(|line| u64::from(line.1)).sum()
    }

    /// The grants that were asked for again, with what was shown.
    pub fn seen(&self) -> impl Iterator<Item = (&Grant, Option<&Reservation>)> {
        self.audit.seen.iter().map(|(grant, shown)| (&self.tally.grants[*grant], shown.as_ref()))
    }
}
