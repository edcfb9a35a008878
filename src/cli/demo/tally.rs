//! The demo's own count: what was asked, what was answered, and when. It knows nothing of the service's state but the
//! answers it got, so it can be held against that state.
//!
//! Invariant: of each change it keeps the moments between which it must have happened: from sending to whole answer.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::{answers::Reservation, client::Moment, plan::Basket};

/// A change happened at some moment of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub sent: Moment,
    pub got: Moment,
}

/// A reservation that was acknowledged.
#[derive(Debug, Clone)]
pub struct Grant {
    pub shopper: u32,
    pub basket: Basket,
    pub span: Span,
    /// As it was granted.
    pub made: Reservation,
    /// As it was last shown.
    pub last: Reservation,
    pub end: End,
}

/// What the shopper did about a hold, as far as it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing that succeeded: its time runs out.
    Open,
    Confirmed(Span),
    Released(Span),
    /// A confirm or release, sent then, got no answer.
    Unknown(Moment),
}

/// A line of a refusal for want of stock.
#[derive(Debug, Clone, Copy)]
pub struct Shortage {
    pub item: usize,
    /// As the basket asks.
    pub asked: u64,
    /// As the refusal says.
    pub requested: u64,
    pub available: u64,
    pub span: Span,
}

/// A refusal for the customer's limit.
#[derive(Debug, Clone, Copy)]
pub struct OverLimit {
    pub asked: u64,
    pub already: u64,
    pub limit: u64,
}

/// What came of the same request with the same key, sent twice at the same time.
#[derive(Debug, Clone)]
pub struct DoubleClick {
    pub key: String,
    pub shopper: u32,
    pub basket: Basket,
    /// The ids of the grants among the two answers, and whether they were marked as replays.
    pub granted: Vec<(String, bool)>,
    pub made: Reservation,
}

/// Microseconds from sending to the whole answer.
#[derive(Debug, Clone)]
pub struct Latencies {
    pub grants: Histogram<u64>,
    pub refusals: Histogram<u64>,
    /// Confirms and releases that changed something.
    pub ends: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { grants: histogram(), refusals: histogram(), ends: histogram() }
    }
}

/// For microseconds up to a minute, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("these bounds are valid")
}

/// Everything before the opening is over and everybody is served who did not come to wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rush {
    pub requests: u64,
    /// When its last answer came.
    pub over: Moment,
}

#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Shoppers who came.
    pub shoppers: u64,
    pub requests: u64,
    pub rush: Rush,
    /// Requests without an answer, and of some of them why.
    pub unanswered: u64,
    /// Answers that do not belong to what was asked.
    pub unexpected: u64,
    pub complaints: Vec<String>,
    /// The longest time an answer took, in microseconds.
    pub slowest: u64,
    pub grants: Vec<Grant>,
    pub shortages: Vec<Shortage>,
    pub over_limit: Vec<OverLimit>,
    pub double_clicks: Vec<DoubleClick>,
    /// Reserves without an answer: they may have taken their units, from that moment on.
    pub doubtful: Vec<(Basket, Moment)>,
    /// Baskets of several lines that were refused for stock though a line of theirs was not short.
    pub refused_whole: u64,
    /// Refusals as too early, by when they were sent.
    pub too_early: Vec<Span>,
    /// Refusals as too late: when the answer was here, and when the hold was to end.
    pub too_late: Vec<(Moment, Moment)>,
    /// Refusals, by code.
    pub refusals: BTreeMap<String, u64>,
    /// Acknowledged changes between whose request and answer the durable epoch moved on, and those where it did not.
    pub synced: u64,
    pub unsynced: u64,
    pub latencies: Latencies,
    /// The first answer, by item, that said that none is left.
    pub sold_out_at: BTreeMap<usize, Moment>,
}

/// Complaints kept: the first ones tell enough.
const COMPLAINTS_MAX: usize = 3;

impl Tally {
    pub fn complain(&mut self, complaint: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(complaint);
        }
    }

    /// Whether the durable epoch moved on while a change was acknowledged.
    pub fn acknowledged(&mut self, epoch_before: u64, epoch_after: u64) {
        if epoch_after > epoch_before { self.synced += 1 } else { self.unsynced += 1 }
    }

    pub fn short(&mut self, shortage: Shortage) {
        if shortage.available == 0 {
            let first = self.sold_out_at.entry(shortage.item).or_insert(Moment::MAX);
            *first = shortage.span.got.min(*first);
        }
        self.shortages.push(shortage);
    }

    /// Takes over another thread's count.
    pub fn absorb(&mut self, other: Self) {
        self.shoppers += other.shoppers;
        self.requests += other.requests;
        self.rush.requests += other.rush.requests;
        self.rush.over = self.rush.over.max(other.rush.over);
        self.unanswered += other.unanswered;
        self.unexpected += other.unexpected;
        self.slowest = self.slowest.max(other.slowest);
        self.grants.extend(other.grants);
        self.shortages.extend(other.shortages);
        self.over_limit.extend(other.over_limit);
        self.double_clicks.extend(other.double_clicks);
        self.doubtful.extend(other.doubtful);
        self.refused_whole += other.refused_whole;
        self.too_early.extend(other.too_early);
        self.too_late.extend(other.too_late);
        self.synced += other.synced;
        self.unsynced += other.unsynced;
        other.complaints.into_iter().for_each(|complaint| self.complain(complaint));
        for (code, count) in other.refusals {
            *self.refusals.entry(code).or_default() += count;
        }
        for (item, moment) in other.sold_out_at {
            let first = self.sold_out_at.entry(item).or_insert(Moment::MAX);
            *first = moment.min(*first);
        }
        let Latencies { grants, refusals, ends } = other.latencies;
        let mine = &mut self.latencies;
        for (mine, other) in [(&mut mine.grants, grants), (&mut mine.refusals, refusals), (&mut mine.ends, ends)] {
            mine.add(other).expect("all have the same bounds");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortage(item: usize, available: u64, got: Moment) -> Shortage {
        Shortage { item, asked: 1, requested: 1, available, span: Span { sent: 0, got } }
    }

    #[test]
    fn counts_of_two_threads_add_up() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.requests = 3;
        other.requests = 4;
        one.rush = Rush { requests: 3, over: 10 };
        other.rush = Rush { requests: 1, over: 20 };
        *one.refusals.entry("sold_out".to_owned()).or_default() = 2;
        *other.refusals.entry("sold_out".to_owned()).or_default() = 5;
        one.latencies.grants.record(100).unwrap();
        other.latencies.grants.record(300).unwrap();
        one.short(shortage(0, 0, 50));
        other.short(shortage(0, 0, 40));
        other.short(shortage(1, 1, 30));
        one.absorb(other);
        assert_eq!((one.requests, one.refusals["sold_out"], one.shortages.len()), (7, 7, 3));
        assert_eq!(one.rush, Rush { requests: 4, over: 20 });
        assert_eq!((one.latencies.grants.len(), one.latencies.grants.max()), (2, 300));
        assert_eq!(one.sold_out_at, BTreeMap::from([(0, 40)]));
    }

    #[test]
    fn an_answer_without_a_new_durable_epoch_is_noticed() {
        let mut tally = Tally::default();
        tally.acknowledged(4, 5);
        tally.acknowledged(5, 5);
        assert_eq!((tally.synced, tally.unsynced), (1, 1));
    }

    #[test]
    fn of_many_complaints_the_first_are_kept() {
        let mut tally = Tally::default();
        (0..10).for_each(|number| tally.complain(number.to_string()));
        assert_eq!(tally.complaints, ["0", "1", "2"]);
    }
}
