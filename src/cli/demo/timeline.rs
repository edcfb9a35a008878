//! How many units of an item were out at each moment, as far as a client can know.
//!
//! A client knows of each change only between which moments it happened. So it knows two numbers for every moment:
//! units that may have been out, and units that surely were. What the service says of its stock must lie between them,
//! at some moment between request and answer. When nothing was under way the two are one number, and the check is
//! exact.

use super::{
    client::{Moment, moment},
    history::History,
    tally::{End, Shortage},
};

/// The service's times are whole milliseconds, cut off, and its clock and this watch may differ by about one.
pub const SLACK: u64 = 2_000;

/// From this moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    from: Moment,
    /// Units that may have been out.
    most: i64,
    /// Units that surely were.
    least: i64,
}

pub struct Timeline {
    stock: i64,
    steps: Vec<Step>,
}

/// How a statement compares with the demo's own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The count was known exactly all the time, and the statement is it.
    Exact,
    /// The statement fits what is known.
    Possible,
    /// It cannot have been so.
    Impossible,
}

impl Timeline {
    pub fn of(history: &History, item: usize) -> Self {
        // (moment, change of most, change of least)
        let mut changes: Vec<(Moment, i64, i64)> = Vec::new();
        let units_in =
            |basket: &[(usize, u32)]| basket.iter().find(|line| line.0 == item).map_or(0, |line| i64::from(line.1));
        let mut expired_at = vec![None; history.tally.grants.len()];
        for (index, shown) in &history.audit.seen {
            expired_at[*index] = shown.as_ref().and_then(|shown| shown.expired_at);
        }
        for (grant, expired_at) in history.tally.grants.iter().zip(expired_at) {
            let units = units_in(&grant.basket);
            if units == 0 {
                continue;
            }
            // When the units may have been back at the earliest, and surely were.
            let (maybe_back, surely_back) = match grant.end {
                End::Confirmed(_) => (Moment::MAX, Moment::MAX),
                End::Released(span) => (span.sent, span.got),
                End::Unknown(sent) => (sent, Moment::MAX),
                End::Open => {
                    let surely = expired_at.map_or(Moment::MAX, |at| moment(at) + 1000 + SLACK);
                    (moment(grant.made.expires_at).saturating_sub(SLACK), surely)
                }
            };
            changes.push((grant.span.sent, units, 0));
            changes.push((surely_back, -units, 0));
            if grant.span.got < maybe_back {
                changes.push((grant.span.got, 0, units));
                changes.push((maybe_back, 0, -units));
            }
        }
        for (basket, sent) in &history.tally.doubtful {
            changes.push((*sent, units_in(basket), 0));
        }
        changes.sort_unstable();
        let mut steps = vec![Step { from: 0, most: 0, least: 0 }];
        for (from, most, least) in changes {
            let last = *steps.last().expect("there is a first step");
            let next = Step { from, most: last.most + most, least: last.least + least };
            if last.from == from {
                *steps.last_mut().expect("there is a first step") = next;
            } else {
                steps.push(next);
            }
        }
        Self { stock: history.offer.items[item].stock as i64, steps }
    }

    /// Whether `available` can have been what was there at some moment between request and answer.
    pub fn judge(&self, shortage: &Shortage) -> Match {
        let available = shortage.available as i64;
        let first = self.steps.partition_point(|step| step.from <= shortage.span.sent) - 1;
        let steps = self.steps[first..].iter().take_while(|step| step.from <= shortage.span.got);
        let (mut possible, mut exact) = (false, true);
        for step in steps {
            possible |= self.stock - step.most <= available && available <= self.stock - step.least;
            exact &= step.most == step.least;
        }
        match (possible, exact) {
            (false, _) => Match::Impossible,
            (true, false) => Match::Possible,
            (true, true) => Match::Exact,
        }
    }
}
