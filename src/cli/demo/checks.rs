//! The guarantees, each compared with what the service answered and what the demo counted itself.
//!
//! Invariant: every check can fail; one that found nothing to judge says so instead of passing.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    crowd::{ANSWER_TIME_MAX, Answer, End, Grant, Ledger, Moment, moment, time_in},
    plan::{CUSTOMER_LIMIT, Plan},
    screen::counted,
};
use crate::{cli::inspect::report::grouped, reconcile::Report};

/// The service's times are whole milliseconds, cut off, and its clock and the demo's may differ by about one.
const SLACK: Moment = 2_000;

/// Due holds are back in stock within this.
const OVERDUE_MAX: Moment = 100_000;

/// Everything the checks judge by.
#[derive(Debug, Clone)]
pub(super) struct Story {
    pub plan: Plan,
    /// Whether changes are acknowledged only once they are durable.
    pub durable: bool,
    pub ledger: Ledger,
    /// The sale's document, again and again while it was on, and last of all at the end.
    pub looks: Vec<Value>,
    /// When the following were asked for.
    pub at: Moment,
    /// Acknowledged reservations, by their index in the ledger, as they are shown now.
    pub seen: Vec<(usize, Option<Value>)>,
    /// Double clicks, by their index in the ledger, sent once more.
    pub repeats: Vec<(usize, Option<Answer>)>,
    /// The epoch of the latest change, and the store compared with the journal.
    pub latest_epoch: u64,
    pub store: Result<Report, String>,
    /// The status of a body that is larger than allowed.
    pub too_large: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Holds,
    Broken,
    /// There was nothing in this run to judge by.
    NotSeen,
}

#[derive(Debug, Clone)]
pub(super) struct Check {
    pub guarantee: &'static str,
    pub title: &'static str,
    pub verdict: Verdict,
    pub evidence: String,
}

/// Contradictions, how much there was to judge, and what to say when nothing is broken.
type Finding = (Vec<String>, usize, String);

pub(super) fn all(story: &Story) -> Vec<Check> {
    [
        ("G1", "no oversell", Story::no_oversell as fn(&Story) -> Finding),
        ("G2", "no lost answer", Story::no_lost_answer),
        ("G3", "all or nothing", Story::all_or_nothing),
        ("G4", "once", Story::once),
        ("G5", "true refusals", Story::true_refusals),
        ("G6", "exact time", Story::exact_time),
        ("G7", "limits hold", Story::limits_hold),
        ("G8", "disk first", Story::disk_first),
        ("G9", "store = journal", Story::store_is_journal),
        ("G10", "all answered", Story::all_answered),
    ]
    .map(|(guarantee, title, check)| {
        let (broken, seen, evidence) = check(story);
        let (verdict, evidence) = match broken.as_slice() {
            [] if seen == 0 => (Verdict::NotSeen, "nothing to judge by in this run".to_owned()),
            [] => (Verdict::Holds, evidence),
            [only] => (Verdict::Broken, only.clone()),
            [first, rest @ ..] => (Verdict::Broken, format!("{first} (and {} more)", rest.len())),
        };
        Check { guarantee, title, verdict, evidence }
    })
    .into()
}

impl Story {
    /// Units of an item in grants that count.
    pub(super) fn units(&self, item: usize, counts: impl Fn(&Grant) -> bool) -> u64 {
        self.ledger.grants.iter().filter(|grant| counts(grant)).map(|grant| units_in(&grant.basket, item) as u64).sum()
    }

    pub(super) fn confirmed(&self, item: usize) -> u64 {
        self.units(item, |grant| matches!(grant.end, End::Confirmed { .. }))
    }

    fn no_oversell(&self) -> Finding {
        let mut broken = Vec::new();
        let mut left = [0, 0];
        for (look, sale) in self.looks.iter().enumerate() {
            for (index, item) in self.plan.items.iter().enumerate() {
                let shown = sale["items"].as_array().into_iter().flatten().find(|shown| shown["sku"] == item.sku);
                let units = |member: &str| shown.and_then(|shown| shown[member].as_u64());
                let counts = (units("stock"), units("available"), units("held"), units("confirmed"));
                let (Some(stock), Some(available), Some(held), Some(confirmed)) = counts else {
                    broken.push(format!("{} is not shown with all of its counts", item.sku));
                    continue;
                };
                if stock != available + held + confirmed || stock != item.stock {
                    let sum = available + held + confirmed;
                    broken.push(format!("{}: stock is {stock} of {}, its parts are {sum}", item.sku, item.stock));
                }
                if look + 1 == self.looks.len() {
                    let open = |grant: &Grant| grant.end == End::Open && time_in(&grant.shown, "expires_at") > self.at;
                    let (holds, sold) = (self.units(index, open), self.confirmed(index));
                    let doubtful = self.ledger.doubtful.iter().map(|basket| units_in(basket, index) as u64);
                    let unknown = self.units(index, |grant| grant.end == End::Unknown) + doubtful.sum::<u64>();
                    if !(holds..=holds + unknown).contains(&held) || !(sold..=sold + unknown).contains(&confirmed) {
                        let (sku, counted) = (item.sku, format!("the demo counted {holds} and {sold}"));
                        broken.push(format!("{sku}: held is {held} and confirmed {confirmed}; {counted}"));
                    }
                    left = [left[0] + confirmed, left[1] + 1];
                }
            }
        }
        let looks = counted(self.looks.len(), "look");
        let evidence =
            format!("stock = available + held + confirmed in {looks}; {} sold, as counted", grouped(left[0]));
        (broken, left[1] as usize, evidence)
    }

    fn no_lost_answer(&self) -> Finding {
        let broken = self.seen().filter_map(|(grant, shown)| {
            let id = &grant.shown["id"];
            let Some(shown) = shown else { return Some(format!("{id} was acknowledged but is missing")) };
            let mut expected = grant.shown.clone();
            if grant.end == End::Open && shown["expired_at"].is_string() {
                expected["state"] = "expired".into();
                expected["expired_at"] = shown["expired_at"].clone();
            }
            let differs = grant.end != End::Unknown && *shown != expected;
            differs.then(|| format!("{id} is {}, which is not what the answer said", shown["state"]))
        });
        let (seen, all) = (counted(self.seen.len(), "reservation"), grouped(self.ledger.grants.len() as u64));
        (broken.collect(), self.seen.len(), format!("{seen} of {all} read again, each exactly as answered"))
    }

    fn seen(&self) -> impl Iterator<Item = (&Grant, Option<&Value>)> {
        self.seen.iter().map(|(grant, shown)| (&self.ledger.grants[*grant], shown.as_ref()))
    }

    fn all_or_nothing(&self) -> Finding {
        let by_sku = |lines: &Value| {
            let mut lines = lines.as_array().cloned().unwrap_or_default();
            lines.sort_by_key(|line| line["sku"].to_string());
            lines
        };
        let wrong = |grant: &&Grant| by_sku(&grant.shown["lines"]) != by_sku(&self.plan.lines(&grant.basket));
        let grants = &self.ledger.grants;
        let broken =
            grants.iter().filter(wrong).map(|grant| format!("{} has other lines than asked", grant.shown["id"]));
        let several = grants.iter().filter(|grant| grant.basket.len() > 1).count();
        (broken.collect(), several, format!("{} of 2 or 3 items got every line", counted(several, "basket")))
    }

    fn once(&self) -> Finding {
        let mut broken = Vec::new();
        let clicks = &self.ledger.double_clicks;
        let first_of = |answer: &Answer| {
            let mut body = answer.body.clone();
            body.as_object_mut().map(|body| body.remove("replayed_of"));
            body
        };
        for click in clicks {
            let originals = click.answers.iter().filter(|answer| !answer.replayed).count();
            if originals != 1 || click.answers.iter().any(|it| it.body["id"] != click.answers[0].body["id"]) {
                broken.push(format!("key {} made {originals} reservations", click.key));
            }
        }
        for (index, repeat) in &self.repeats {
            let (click, repeat) = (&clicks[*index], repeat.as_ref());
            let first = first_of(&click.answers[0]);
            if !repeat.is_some_and(|it| it.status == 201 && it.replayed && first_of(it) == first) {
                broken.push(format!("key {}, repeated, did not give {} again", click.key, first["id"]));
            }
        }
        let both = clicks.iter().filter(|click| click.answers.len() == 2).count();
        let (gave, repeated) = (counted(both, "double click"), counted(self.repeats.len(), "key"));
        let evidence = format!("{gave} gave one id each; {repeated} repeated, each with its first answer");
        (broken, both.min(self.repeats.len()), evidence)
    }

    /// What a refusal says is available must be possible: not less than the stock without all units that may have been out
    /// at some moment between request and answer.
    fn true_refusals(&self) -> Finding {
        let mut broken = Vec::new();
        let out: Vec<_> = (0..self.plan.items.len()).map(|item| self.most_out(item)).collect();
        for shortage in &self.ledger.shortages {
            let (item, out) = (&self.plan.items[shortage.item], &out[shortage.item]);
            let first = out.partition_point(|step| step.0 <= shortage.sent).saturating_sub(1);
            let within = out[first..].iter().take_while(|step| step.0 <= shortage.got);
            let least = item.stock as i64 - within.map(|step| step.1).max().unwrap_or(0);
            if shortage.available >= shortage.requested || (shortage.available as i64) < least {
                let (requested, available) = (shortage.requested, shortage.available);
                broken.push(format!("{}: {requested} refused with {available}, and at least {least}, left", item.sku));
            }
        }
        let refused = counted(self.ledger.shortages.len(), "refused line");
        (broken, self.ledger.shortages.len(), format!("{refused} match the stock by the demo's count"))
    }

    /// How many units of an item may have been out, from each moment on.
    fn most_out(&self, item: usize) -> Vec<(Moment, i64)> {
        let expired: HashMap<_, _> = self
            .seen
            .iter()
            .filter_map(|(grant, shown)| Some((*grant, time_in(shown.as_ref()?, "expired_at"))))
            .collect();
        let doubtful = self.ledger.doubtful.iter().map(|basket| (0, units_in(basket, item)));
        let grants = self.ledger.grants.iter().enumerate().flat_map(|(index, grant)| {
            let back = match (grant.end, expired.get(&index)) {
                (End::Released { got, .. }, _) => got,
                (End::Open, Some(&at)) if at > 0 => at + 1000 + SLACK,
                _ => Moment::MAX,
            };
            let units = units_in(&grant.basket, item);
            [(grant.sent, units), (back, -units)]
        });
        sums(doubtful.chain(grants).filter(|change| change.1 != 0).collect())
    }

    fn exact_time(&self) -> Finding {
        let (mut broken, mut expired, mut latest) = (Vec::new(), 0, 0);
        for (grant, shown) in self.seen() {
            let Some(shown) = shown else { continue };
            let time = |member| time_in(shown, member);
            let (id, expires_at) = (&shown["id"], time("expires_at"));
            match (time("expired_at"), time("confirmed_at")) {
                (0, 0) if shown["state"] == "held" && expires_at + SLACK < self.at => {
                    broken.push(format!("{id} is held after its end"));
                }
                (0, at) if at >= expires_at => broken.push(format!("{id} was confirmed at or after its end")),
                (0, _) => {}
                (at, _) if at < expires_at => broken.push(format!("{id} expired early")),
                (at, _) => (expired, latest) = (expired + 1, (at - expires_at).max(latest)),
            }
            if matches!(grant.end, End::Confirmed { sent } if sent > expires_at + SLACK) {
                broken.push(format!("{id} accepted a confirm that was sent after its end"));
            }
        }
        if latest > OVERDUE_MAX {
            broken.push(format!("a hold came back {} ms after its end", latest / 1000));
        }
        let (ledger, opens_at) = (&self.ledger, moment(self.plan.opens_at));
        let early = |what: &str, count: usize| (count > 0).then(|| format!("{}: {what}", grouped(count as u64)));
        let too_late = ledger.too_late.iter().filter(|(got, expires_at)| got + SLACK < *expires_at).count();
        broken.extend(early("confirms refused as too late before the end of their hold", too_late));
        let too_early = ledger.too_early.iter().filter(|sent| **sent > opens_at + SLACK).count();
        broken.extend(early("reserves refused as too early after the opening", too_early));
        let granted = ledger.grants.iter().filter(|grant| grant.got + SLACK < opens_at).count();
        broken.extend(early("grants before the opening", granted));
        let (holds, late) = (counted(expired, "hold"), counted(ledger.too_late.len(), "late payment"));
        let evidence = format!("{holds} expired, none early, none over {} ms late; {late} refused", latest / 1000);
        (broken, expired, evidence)
    }

    fn limits_hold(&self) -> Finding {
        let mut changes: HashMap<(u32, usize), Vec<(Moment, i64)>> = HashMap::new();
        for grant in &self.ledger.grants {
            // Surely the customer's: from the answer until the units may have been given back.
            let until = match grant.end {
                End::Confirmed { .. } => Moment::MAX,
                End::Released { sent, .. } => sent,
                End::Open | End::Unknown => time_in(&grant.shown, "expires_at").saturating_sub(SLACK),
            };
            for &(item, units) in grant.basket.iter().filter(|_| grant.got < until) {
                let of = changes.entry((grant.shopper, item)).or_default();
                of.extend([(grant.got, i64::from(units)), (until, -i64::from(units))]);
            }
        }
        let peak = |changes| sums(changes).iter().map(|step| step.1).max().unwrap_or(0);
        let most = changes.into_values().map(peak).max().unwrap_or(0);
        let mut broken = Vec::new();
        if most > i64::from(CUSTOMER_LIMIT) {
            broken.push(format!("a customer had {most} of an item; the limit is {CUSTOMER_LIMIT}"));
        }
        let tries = &self.ledger.over_limit;
        broken.extend(tries.iter().filter(|it| it["limit"] != CUSTOMER_LIMIT).map(|it| format!("refused by {it}")));
        let refused = counted(tries.len(), "request");
        (broken, tries.len(), format!("nobody had more than {most} of an item; {refused} for more refused"))
    }

    fn disk_first(&self) -> Finding {
        if !self.durable {
            return (Vec::new(), 0, String::new());
        }
        let Ledger { committed, uncommitted, .. } = self.ledger;
        let early =
            (uncommitted > 0).then(|| format!("{} came without a commit", counted(uncommitted as usize, "answer")));
        let changes = counted(committed as usize, "change");
        let evidence = format!("{changes}, each with a commit between request and answer");
        (Vec::from_iter(early), committed as usize, evidence)
    }

    fn store_is_journal(&self) -> Finding {
        let report = match &self.store {
            Ok(report) => report,
            Err(error) => return (vec![error.clone()], 0, String::new()),
        };
        let mut broken = Vec::new();
        if report.epoch < self.latest_epoch {
            broken.push(format!("the store is at batch {} of {}", report.epoch, self.latest_epoch));
        }
        if !report.is_equal() {
            broken.push(format!(
                "{} between store and journal",
                counted(report.differences_total as usize, "difference")
            ));
        }
        let reservations = report.compared.reservations as usize;
        let what = counted(reservations, "reservation");
        (broken, reservations, format!("the store equals the journal up to batch {}: {what}", grouped(report.epoch)))
    }

    fn all_answered(&self) -> Finding {
        let Ledger { requests, slowest, failures: (failed, first), .. } = &self.ledger;
        let mut broken = Vec::new();
        if *failed > 0 {
            broken.push(format!("{} without a proper answer: {first}", counted(*failed as usize, "request")));
        }
        if self.too_large != Some(413) {
            broken.push(format!("a body that is too large was answered {:?}, not 413", self.too_large));
        }
        let requests = *requests as usize;
        let (asked, limit) = (counted(requests, "request"), ANSWER_TIME_MAX.as_millis());
        let evidence =
            format!("{asked}, each within {limit} ms, the slowest {} ms; a body too large: 413", slowest / 1000);
        (broken, requests, evidence)
    }
}

fn units_in(basket: &[(usize, u32)], item: usize) -> i64 {
    basket.iter().find(|line| line.0 == item).map_or(0, |line| i64::from(line.1))
}

/// The sum from each moment on, of changes at moments.
fn sums(mut changes: Vec<(Moment, i64)>) -> Vec<(Moment, i64)> {
    changes.sort_unstable();
    let mut sum = 0;
    for change in &mut changes {
        sum += change.1;
        change.1 = sum;
    }
    changes
}
