//! What answers show of waitlist entries, and whether those who waited were served in their turn.

use std::collections::BTreeMap;

use crate::{
    guarantees::{Findings, Guarantee},
    http::{Call, Exchange},
    ledger::{Became, Books, Span, Wait, Wanted},
    run::Run,
    watch::{Moment, Watch},
    wire::{Entry, EntryState, Reservation, State},
};

impl Run {
    pub fn join_call(&self, wanted: &Wanted) -> Call {
        Call { name: "join", path: format!("{}/waitlist", self.sale_path()), ..self.reserve_call(wanted) }
    }

    /// Whoever asks for a place is in the books from before the request is sent.
    pub fn asks_to_join(&self, wanted: &Wanted) {
        let joined = Span { sent: self.watch.now(), answered: Moment::MAX };
        let wait = Wait { wanted: wanted.clone(), joined, entry: None, became: Became::Unknown };
        self.ledger.books().waits.insert(wanted.key.clone(), wait);
    }

    /// Judges an answer that shows an entry, and enters it.
    pub fn judge_entry(&self, key: &str, call: &Call, exchange: &Exchange, may: &[&str]) -> Option<Entry> {
        let answer = exchange.answer.as_ref().ok()?;
        if exchange.unknown() {
            return None;
        }
        if !matches!(answer.status, 200 | 201) {
            let is_refused = self.problem(call.name, answer, may).is_some() && call.name == "join";
            if is_refused && let Some(wait) = self.ledger.books().waits.get_mut(key) {
                wait.became = Became::Refused;
            }
            return None;
        }
        let entry = match answer.read::<Entry>() {
            Ok(entry) => entry,
            Err(error) => {
                self.findings.broken(Guarantee::Contract, format!("a {} was answered with {error}", call.name));
                return None;
            }
        };
        let mut books = self.ledger.books();
        let wait = books.waits.get_mut(key)?;
        let wanted = &wait.wanted;
        let is_of_it = entry.sale == self.sale
            && (&entry.customer, &entry.lines) == (&wanted.customer, &wanted.summed())
            && entry.position.is_some() == (entry.state == EntryState::Waiting)
            && entry.reservation.is_some() == (entry.state == EntryState::Offered);
        self.findings.check(Guarantee::Contract, is_of_it, || format!("{wanted:?} is shown as {entry:?}"));
        let same = wait.entry.as_ref().is_none_or(|known| *known == entry.id);
        self.findings.check(Guarantee::Once, same, || format!("key {key} made {:?} and {}", wait.entry, entry.id));
        if wait.entry.is_none() {
            wait.joined.answered = exchange.answered;
            wait.entry = Some(entry.id.clone());
        }
        let became = match (entry.state, entry.offered_at, entry.left_at) {
            (EntryState::Waiting, ..) => Some(Became::Waiting),
            (EntryState::Offered, Some(at), _) => Some(Became::Offered(at)),
            (EntryState::Left, _, Some(at)) => Some(Became::Left(at)),
            // Entries wait for longer than any run.
            _ => None,
        };
        let follows = became.is_some_and(|became| match wait.became {
            Became::Unknown | Became::Waiting => true,
            ended => ended == became,
        });
        self.findings.check(Guarantee::NoLostAnswer, follows, || {
            format!("{} was {:?}, and is shown as {}: {}", entry.id, wait.became, entry.state.name(), answer.told())
        });
        wait.became = became.unwrap_or(wait.became);
        Some(entry)
    }

    /// Judges the answer that shows the hold which was made for an entry, and enters it.
    pub fn judge_offer(&self, key: &str, entry: &Entry, exchange: &Exchange) -> Option<Reservation> {
        let answer = exchange.answer.as_ref().ok()?;
        if exchange.unknown() {
            return None;
        }
        let made = match answer.read::<Reservation>() {
            Ok(made) if answer.status == 200 => made,
            _ => {
                let lost =
                    format!("{} was offered {:?}, which is answered {}", entry.id, entry.reservation, answer.told());
                self.findings.broken(Guarantee::NoLostAnswer, lost);
                return None;
            }
        };
        let is_of_it = made.waitlist.as_ref() == Some(&entry.id)
            && Some(&made.id) == entry.reservation.as_ref()
            && made.customer == entry.customer
            && matches!(made.state, State::Held | State::Expired);
        self.findings.check(Guarantee::Contract, is_of_it, || format!("{entry:?} was offered {}", answer.told()));
        self.findings.check(Guarantee::AllOrNothing, made.lines == entry.lines, || {
            format!("{:?} was waited for, but {:?} was held", entry.lines, made.lines)
        });
        let held = made.expires_at - made.created_at;
        let is_timely = Some(made.created_at) == entry.offered_at && held == self.plan.hold_seconds as i64 * 1_000_000;
        self.findings.check(Guarantee::ExactTime, is_timely, || format!("{entry:?} was offered {}", answer.told()));
        let mut books = self.ledger.books();
        let wait = books.waits.get(key)?;
        let (wanted, span) = (wait.wanted.clone(), Span { sent: wait.joined.sent, answered: exchange.answered });
        let entered = books.granted(&wanted, &made, span);
        self.findings.check(Guarantee::Once, entered.is_ok(), || entered.unwrap_err());
        Some(made)
    }
}

/// Whoever waited was served before those who came later for the same, in whichever way they came.
pub fn judge(books: &Books, watch: &Watch, findings: &Findings) {
    let mut by_sku = BTreeMap::<&str, Vec<(Moment, &Wait, Moment)>>::new();
    for wait in books.waits.values() {
        // Until when it waited, by the service's clock.
        let (Became::Offered(until) | Became::Left(until)) = wait.became else { continue };
        // All want one unit of one item.
        by_sku.entry(&wait.wanted.lines[0].0).or_default().push((wait.joined.answered, wait, until));
    }
    for (sku, mut waits) in by_sku {
        waits.sort_unstable_by_key(|(answered, ..)| *answered);
        let longest = Longest::new(waits.iter().map(|(answered, _, until)| (*answered, *until)));
        for (_, wait, served) in waits.iter().filter(|(_, wait, _)| matches!(wait.became, Became::Offered(_))) {
            let ahead = longest.of_those_before(wait.joined.sent);
            findings.check(Guarantee::WhoWaitsIsServed, ahead <= *served, || {
                format!(
                    "{:?} was served {} ms before an entry for {sku} ahead of it",
                    wait.entry,
                    (ahead - served) / 1000
                )
            });
        }
        for (id, grant) in &books.grants {
            if grant.lines.contains_key(sku) && !books.waits.contains_key(&grant.key) {
                let ahead = longest.of_those_before(grant.granted.sent);
                let passed = ahead > Moment::MIN && watch.earliest(ahead) > grant.granted.answered;
                findings.check(Guarantee::WhoWaitsIsServed, !passed, || {
                    format!("{id} got a unit of {sku} that somebody had waited for")
                });
            }
        }
    }
}

/// Until when the longest wait lasted, of all that began before a moment.
struct Longest {
    /// By their beginning, with the latest end of all up to here.
    waits: Vec<(Moment, Moment)>,
}

impl Longest {
    fn new(waits: impl Iterator<Item = (Moment, Moment)>) -> Self {
        let mut latest = Moment::MIN;
        let waits = waits.map(|(began, until)| {
            latest = latest.max(until);
            (began, latest)
        });
        Self { waits: waits.collect() }
    }

    fn of_those_before(&self, moment: Moment) -> Moment {
        let count = self.waits.partition_point(|(began, _)| *began < moment);
        if count == 0 { Moment::MIN } else { self.waits[count - 1].1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(key: &str, joined: (Moment, Moment), became: Became) -> (String, Wait) {
        let wanted = Wanted {
            key: key.to_owned(),
            customer: key.to_owned(),
            lines: vec![("tv".to_owned(), 1)],
            tier: None,
            channel: None,
            group: None,
        };
        let joined = Span { sent: joined.0, answered: joined.1 };
        (key.to_owned(), Wait { wanted, joined, entry: Some(key.to_owned()), became })
    }

    fn findings(waits: [(String, Wait); 2]) -> u64 {
        let mut books = Books::default();
        books.waits = waits.into();
        let findings = Findings::default();
        judge(&books, &Watch::start(), &findings);
        findings.count()
    }

    #[test]
    fn whoever_is_surely_behind_is_not_served_first() {
        let first = || wait("ann", (0, 10), Became::Offered(500));
        assert_eq!(findings([first(), wait("bob", (20, 30), Became::Offered(400))]), 1);
        assert_eq!(findings([first(), wait("bob", (20, 30), Became::Offered(500))]), 0);
        // Who of two joined first is not known if they asked at the same time.
        assert_eq!(findings([first(), wait("bob", (5, 30), Became::Offered(400))]), 0);
        assert_eq!(findings([wait("ann", (0, 10), Became::Left(300)), wait("bob", (20, 30), Became::Offered(400))]), 0);
        assert_eq!(findings([wait("ann", (0, 10), Became::Left(500)), wait("bob", (20, 30), Became::Offered(400))]), 1);
    }
}
