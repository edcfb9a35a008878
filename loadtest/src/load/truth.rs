//! Checks that follow from the times of all requests and answers.
//!
//! The exact time of a decision is unknown: it is between the request and the answer. So each check uses the bound that favours
//! the service, and every reported violation is real.

use std::collections::BTreeMap;

use crate::{
    groups,
    guarantees::{Findings, Guarantee},
    ledger::{Books, Grant, SHORTAGES_MAX},
    run::Run,
    settle::OVERDUE_MAX,
    waitlist,
    watch::{Moment, Watch},
    wire::State,
};

pub fn judge(run: &Run) {
    let books = run.ledger.books();
    let (findings, watch) = (&run.findings, &*run.watch);
    for sku in run.skus() {
        let stock = Stock::of(&books, &sku, run.plan.stock as i64);
        let peak = stock.oversold(takings(books.grants.values(), &sku, watch));
        findings.check(Guarantee::NoOversell, peak <= 0, || {
            format!("{peak} units of {sku} more than its stock were out at once")
        });
        shortages(&books, &sku, &stock, watch, findings);
    }
    if books.shortages_left_out > 0 {
        eprintln!("{} refusals beyond {SHORTAGES_MAX} were not judged", books.shortages_left_out);
    }
    limits(&books, run.plan.customer_limit, watch, findings);
    times(&books, watch, findings);
    pauses(&books, findings);
    groups::judge(&books, findings);
    waitlist::judge(&books, watch, findings);
}

/// Units that went out for certain at a moment, and back at the earliest at another.
type Taking = (i64, Moment, Option<Moment>);

fn takings<'a>(grants: impl Iterator<Item = &'a Grant>, sku: &str, watch: &Watch) -> Vec<Taking> {
    let of = |grant: &Grant| {
        let units = *grant.lines.get(sku)? as i64;
        let back = match grant.state {
            State::Confirmed => None,
            State::Released | State::Cancelled => grant.ended.map(|ended| ended.sent),
            State::Held | State::Expired => Some(watch.earliest(grant.expires_at)),
        };
        Some((units, grant.granted.answered, back))
    };
    grants.filter_map(of).collect()
}

/// An item's stock over time.
struct Stock {
    initial: i64,
    /// Delta, when it was sent, when it was answered.
    adjusted: Vec<(i64, Moment, Moment)>,
}

impl Stock {
    fn of(books: &Books, sku: &str, initial: i64) -> Self {
        let adjusted = books.changes_of(sku);
        Self { initial, adjusted: adjusted.map(|it| (it.delta, it.span.sent, it.span.answered)).collect() }
    }

    /// The least that it was in all of a span.
    fn least(&self, sent: Moment, answered: Moment) -> i64 {
        let in_by = |(delta, from, by): &(i64, Moment, Moment)| if *delta > 0 { *by < sent } else { *from <= answered };
        self.initial + self.adjusted.iter().filter(|it| in_by(it)).map(|it| it.0).sum::<i64>()
    }

    /// By how many units more than stock were out for certain, at the worst instant.
    fn oversold(&self, takings: Vec<Taking>) -> i64 {
        // At one moment what comes back goes first.
        let mut changes: Vec<(Moment, i64)> = Vec::new();
        for (delta, sent, answered) in &self.adjusted {
            changes.push((if *delta > 0 { *sent } else { *answered }, -delta));
        }
        peak(takings, changes, -self.initial)
    }
}

fn peak(takings: Vec<Taking>, mut changes: Vec<(Moment, i64)>, mut level: i64) -> i64 {
    for (units, out, back) in takings {
        match back {
            // It may have been back before its grant was read.
            Some(back) if back <= out => {}
            back => {
                changes.push((out, units));
                changes.extend(back.map(|back| (back, -units)));
            }
        }
    }
    changes.sort_unstable();
    let mut most = level;
    for (_, change) in changes {
        level += change;
        most = most.max(level);
    }
    most
}

/// A refusal is false when, at every instant between request and answer, more was available than was asked for.
fn shortages(books: &Books, sku: &str, stock: &Stock, watch: &Watch, findings: &Findings) {
    let mut sent = Vec::new();
    let mut gone = Vec::new();
    for grant in books.grants.values() {
        let Some(&units) = grant.lines.get(sku) else { continue };
        sent.push((grant.granted.sent, units as i64));
        let back = match grant.state {
            State::Released | State::Cancelled => grant.ended.map(|ended| ended.answered),
            State::Expired => Some(watch.latest(grant.expires_at) + OVERDUE_MAX),
            State::Held | State::Confirmed => None,
        };
        gone.extend(back.map(|back| (back, units as i64)));
    }
    let (sent, gone) = (Sums::new(sent), Sums::new(gone));
    for refused in books.shortages.iter().filter(|refused| refused.sku == sku) {
        let span = refused.span;
        // Most that can have been out: all that was sent before the answer, less what was back before the request.
        let out = sent.through(span.answered) - gone.through(span.sent - 1);
        let available = stock.least(span.sent, span.answered) - out;
        findings.check(Guarantee::SoldOutIsTrue, available < refused.requested as i64, || {
            format!("{} of {sku} were refused while at least {available} were available", refused.requested)
        });
    }
}

/// Sums over time.
struct Sums {
    sums: Vec<(Moment, i64)>,
}

impl Sums {
    fn new(mut values: Vec<(Moment, i64)>) -> Self {
        values.sort_unstable();
        let mut sum = 0;
        for value in &mut values {
            sum += value.1;
            value.1 = sum;
        }
        Self { sums: values }
    }

    fn through(&self, moment: Moment) -> i64 {
        let count = self.sums.partition_point(|(at, _)| *at <= moment);
        if count == 0 { 0 } else { self.sums[count - 1].1 }
    }
}

fn limits(books: &Books, limit: Option<u64>, watch: &Watch, findings: &Findings) {
    let Some(limit) = limit else { return };
    let mut of: BTreeMap<(&str, &str), Vec<&Grant>> = BTreeMap::new();
    for grant in books.grants.values() {
        for sku in grant.lines.keys() {
            of.entry((&grant.customer, sku)).or_default().push(grant);
        }
    }
    for ((customer, sku), grants) in of {
        let most = peak(takings(grants.into_iter(), sku, watch), Vec::new(), 0);
        findings.check(Guarantee::LimitsHold, most <= limit as i64, || {
            format!("{customer} had {most} units of {sku} at once, and the limit is {limit}")
        });
    }
}

fn times(books: &Books, watch: &Watch, findings: &Findings) {
    for (id, grant) in &books.grants {
        let late = (grant.state == State::Confirmed && !grant.late)
            .then(|| grant.ended.map(|ended| ended.sent - watch.latest(grant.expires_at)))
            .flatten();
        findings.check(Guarantee::ExactTime, late.is_none_or(|late| late <= 0), || {
            format!("{id} accepted a confirm that was sent {} ms after its end", late.unwrap_or(0) / 1000)
        });
        let early = grant.told_expired.is_some_and(|told| told < watch.earliest(grant.expires_at));
        findings.check(Guarantee::ExactTime, !early, || format!("{id} was reported expired before its end"));
        let overdue = grant.seen_held.is_some_and(|seen| seen > watch.latest(grant.expires_at) + OVERDUE_MAX);
        findings
            .check(Guarantee::ExactTime, !overdue, || format!("{id} was still held more than a second after its end"));
    }
    for (sent, opens_at) in &books.refused_as_early {
        findings.check(Guarantee::ExactTime, *sent <= watch.latest(*opens_at), || {
            "a reserve was refused as too early after the opening".to_owned()
        });
    }
}

fn pauses(books: &Books, findings: &Findings) {
    let resumed = |answered: Option<Moment>| answered.unwrap_or(Moment::MAX);
    for grant in books.grants.values() {
        let within = books.pauses.iter().any(|pause| {
            grant.granted.sent > pause.pause.answered
                && grant.granted.answered < resumed(pause.resume.map(|resume| resume.sent))
        });
        findings.check(Guarantee::Contract, !within, || format!("key {} was granted in a paused sale", grant.key));
    }
    for refused in &books.refused_as_paused {
        let around = books.pauses.iter().any(|pause| {
            pause.pause.sent <= refused.answered && refused.sent <= resumed(pause.resume.map(|resume| resume.answered))
        });
        findings.check(Guarantee::Contract, around, || "a reserve was refused as paused in an open sale".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Adjusted, Shortage, Span};

    fn grant(units: u64, sent: Moment, answered: Moment, ended: Option<(State, Moment, Moment)>) -> Grant {
        Grant {
            key: String::new(),
            customer: "ann".to_owned(),
            lines: [("tv".to_owned(), units)].into(),
            from: Default::default(),
            granted: Span { sent, answered },
            expires_at: Moment::MAX / 2,
            state: ended.map_or(State::Held, |ended| ended.0),
            ended: ended.map(|(_, sent, answered)| Span { sent, answered }),
            doubtful: false,
            told_expired: None,
            seen_held: None,
            late: false,
            group: None,
        }
    }

    fn oversold(grants: &[Grant], stock: i64) -> i64 {
        let stock = Stock { initial: stock, adjusted: Vec::new() };
        stock.oversold(takings(grants.iter(), "tv", &Watch::start()))
    }

    #[test]
    fn more_than_stock_is_seen_only_where_it_is_certain() {
        let released = Some((State::Released, 30, 40));
        assert_eq!(oversold(&[grant(2, 0, 10, released), grant(2, 5, 20, None)], 3), 1);
        // The first may have been back when the second was granted.
        assert_eq!(oversold(&[grant(2, 0, 10, released), grant(2, 5, 35, None)], 3), -1);
        assert_eq!(oversold(&[grant(2, 0, 10, None), grant(1, 5, 20, None)], 3), 0);
    }

    fn false_refusals(
        grants: Vec<Grant>,
        adjusted: Vec<Adjusted>,
        requested: u64,
        (sent, answered): (Moment, Moment),
    ) -> u64 {
        let mut books = Books::default();
        books.grants = grants.into_iter().enumerate().map(|(number, grant)| (number.to_string(), grant)).collect();
        books.adjusted = adjusted;
        books.shortages = vec![Shortage { sku: "tv".to_owned(), requested, span: Span { sent, answered } }];
        let findings = Findings::default();
        let stock = Stock::of(&books, "tv", 3);
        shortages(&books, "tv", &stock, &Watch::start(), &findings);
        findings.count()
    }

    #[test]
    fn a_refusal_is_false_only_where_there_was_enough_all_the_time() {
        assert_eq!(false_refusals(vec![grant(2, 0, 10, None)], vec![], 1, (20, 30)), 1);
        assert_eq!(false_refusals(vec![grant(2, 0, 10, None)], vec![], 2, (20, 30)), 0);
        // Something under way may have taken it.
        assert_eq!(false_refusals(vec![grant(2, 0, 10, None), grant(1, 25, 40, None)], vec![], 1, (20, 30)), 0);
        // What came back while it was asked for does not count, what came back before does.
        let back = |sent, answered| grant(3, 0, 10, Some((State::Released, sent, answered)));
        assert_eq!(false_refusals(vec![back(15, 25)], vec![], 1, (20, 30)), 0);
        assert_eq!(false_refusals(vec![back(12, 15)], vec![], 1, (20, 30)), 1);
        let put = |delta, sent, answered| Adjusted { sku: "tv".to_owned(), delta, span: Span { sent, answered } };
        assert_eq!(false_refusals(vec![grant(3, 0, 10, None)], vec![put(1, 12, 15)], 1, (20, 30)), 1);
        assert_eq!(false_refusals(vec![grant(3, 0, 10, None)], vec![put(1, 12, 25)], 1, (20, 30)), 0);
        assert_eq!(false_refusals(vec![grant(2, 0, 10, None)], vec![put(-1, 25, 40)], 1, (20, 30)), 0);
    }

    #[test]
    fn a_limit_counts_what_is_had_at_once() {
        let of = |grants: Vec<Grant>| {
            let mut books = Books::default();
            books.grants = grants.into_iter().enumerate().map(|(number, grant)| (number.to_string(), grant)).collect();
            let findings = Findings::default();
            limits(&books, Some(2), &Watch::start(), &findings);
            findings.count()
        };
        let confirmed = Some((State::Confirmed, 30, 40));
        assert_eq!(of(vec![grant(2, 0, 10, confirmed), grant(1, 50, 60, None)]), 1);
        assert_eq!(of(vec![grant(2, 0, 10, Some((State::Released, 30, 40))), grant(2, 50, 60, None)]), 0);
    }
}
