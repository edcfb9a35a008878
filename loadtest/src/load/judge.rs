//! Checks an answer against its request, and records both in the ledger.

use serde_json::json;

use crate::{
    guarantees::Guarantee,
    http::{Answer, Call, Exchange},
    ledger::{Span, Wanted},
    run::{LADDER, Run},
    scenarios::group_deals,
    visitor::{Outcome, Verb},
    wire::{GroupState, Problem, Reservation, Short, State},
};

/// The service's codes when it is at a limit of its own.
const LIMITS: [&str; 5] = ["rate_limited", "overloaded", "backlog_full", "disk_low", "draining"];

impl Run {
    pub fn reserve_call(&self, wanted: &Wanted) -> Call {
        let lines: Vec<_> =
            wanted.lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
        let mut body = json!({"customer": wanted.customer, "lines": lines});
        for (name, text) in [("tier", wanted.tier), ("channel", wanted.channel)] {
            if let Some(text) = text {
                body[name] = json!(text);
            }
        }
        if let Some(group) = &wanted.group {
            body["group"] = json!(group);
        }
        let body = body.to_string();
        let mut call = Call::post("reserve", format!("{}/reservations", self.sale_path()), Some(body));
        call.idempotency_key = Some(wanted.key.clone());
        call
    }

    pub fn verb_call(&self, id: &str, verb: Verb) -> Call {
        let body = (verb == Verb::Extend).then(|| json!({"hold_seconds": self.plan.hold_seconds}).to_string());
        Call::post(verb.name(), format!("/v1/reservations/{id}/{}", verb.name()), body)
    }

    /// The problem that an answer is, if it is one that may come here.
    pub fn problem(&self, name: &str, answer: &Answer, may: &[&str]) -> Option<Problem> {
        let read = answer.read::<Problem>().ok().filter(|problem| problem.status == answer.status);
        let allowed = read.filter(|problem| {
            may.contains(&problem.code.as_str()) || self.elsewhere && LIMITS.contains(&problem.code.as_str())
        });
        self.findings.check(Guarantee::Contract, allowed.is_some(), || {
            format!("{name} may be refused here as {}, but was answered {}", may.join(", "), answer.told())
        });
        allowed
    }

    /// Judges the answer to a reserve, and enters it.
    pub fn judge_reserve(&self, wanted: &Wanted, exchange: &Exchange, may: &[&str]) -> Outcome {
        let Ok(answer) = &exchange.answer else { return Outcome::Nothing };
        let span = Span { sent: exchange.sent, answered: exchange.answered };
        if exchange.unknown() {
            return Outcome::Nothing;
        }
        if answer.status != 201 {
            let Some(problem) = self.problem("reserve", answer, may) else { return Outcome::Nothing };
            self.judge_refusal(wanted, &problem, span);
            return Outcome::Refused(problem);
        }
        let made = match answer.read::<Reservation>() {
            Ok(made) => made,
            Err(error) => {
                self.findings.broken(Guarantee::Contract, format!("a reserve was answered with {error}"));
                return Outcome::Nothing;
            }
        };
        let (findings, id) = (&self.findings, &made.id);
        findings.check(Guarantee::AllOrNothing, made.lines == wanted.summed(), || {
            format!("{id}: {:?} was asked, but {:?} was held", wanted.summed(), made.lines)
        });
        let location = answer.location.as_deref() == Some(&format!("/v1/reservations/{id}"));
        let is_of_it = made.customer == wanted.customer && made.sale == self.sale && location;
        findings.check(Guarantee::Contract, is_of_it, || {
            format!("a reserve of {} was answered {:?} {}", wanted.customer, answer.location, answer.told())
        });
        self.judge_pools(wanted, &made);
        if !answer.replayed {
            let held = made.expires_at - made.created_at;
            let lasts = match made.group.as_ref().filter(|group| group.state == GroupState::Open) {
                Some(group) => made.expires_at == group.expires_at && held <= group_deals::SECONDS as i64 * 1_000_000,
                None => held == self.plan.hold_seconds as i64 * 1_000_000,
            };
            let whole = lasts && made.state == State::Held;
            findings.check(Guarantee::ExactTime, whole && made.created_at >= self.opens_to(wanted), || {
                format!(
                    "{id} is {} for {} ms, made {} ms after the opening",
                    made.state.name(),
                    held / 1000,
                    (made.created_at - self.opens_at) / 1000
                )
            });
            self.watch.learn(made.created_at, span.sent, span.answered);
        }
        let entered = self.ledger.books().granted(wanted, &made, span);
        findings.check(Guarantee::Once, entered.is_ok(), || entered.unwrap_err());
        let is_in_group = match (&made.group, &wanted.group) {
            (Some(made), Some(wanted)) => made.id == *wanted,
            (made, wanted) => made.is_some() == self.plan.group_deals && wanted.is_none(),
        };
        findings
            .check(Guarantee::Contract, is_in_group, || format!("{id}, of {:?}, is in {:?}", wanted.group, made.group));
        self.judge_group(&made);
        Outcome::Done { reservation: made, replayed: answer.replayed }
    }

    /// Where units came from and at which price, and what the request said of itself.
    fn judge_pools(&self, wanted: &Wanted, made: &Reservation) {
        let same = made.tier.as_deref() == wanted.tier && made.channel.as_deref() == wanted.channel;
        let prices =
            made.prices.iter().all(|(pool, price)| LADDER.iter().any(|step| (step.0, step.1) == (pool, *price)));
        let all = self.plan.ladder != made.pools.is_empty() && (!self.plan.ladder || !made.prices.is_empty());
        self.findings.check(Guarantee::Contract, same && prices && all, || {
            format!(
                "{}: {:?} at {:?}, for {:?} through {:?}",
                made.id, made.pools, made.prices, made.tier, made.channel
            )
        });
    }

    fn judge_refusal(&self, wanted: &Wanted, problem: &Problem, span: Span) {
        let mut books = self.ledger.books();
        books.refused(wanted);
        let asked = wanted.summed();
        match problem.code.as_str() {
            "sold_out" | "insufficient_stock" => {
                for line in &problem.lines {
                    books.short(&line.sku, line.requested, span);
                }
                let of_it =
                    |line: &Short| asked.get(&line.sku) == Some(&line.requested) && line.available < line.requested;
                let empty = problem.lines.iter().any(|line| line.available == 0);
                let told = !problem.lines.is_empty()
                    && problem.lines.iter().all(of_it)
                    && empty == (problem.code == "sold_out");
                self.findings.check(Guarantee::SoldOutIsTrue, told, || {
                    format!("{asked:?} was refused as {} because of {:?}", problem.code, problem.lines)
                });
            }
            "customer_limit_exceeded" => {
                let (limit, already) = (problem.limit.unwrap_or(0), problem.already.unwrap_or(0));
                let more = problem.sku.as_ref().and_then(|sku| asked.get(sku)).copied().unwrap_or(0);
                let holds = Some(limit) == self.plan.customer_limit && already <= limit && already + more > limit;
                self.findings.check(Guarantee::LimitsHold, holds, || {
                    format!(
                        "{} asked for {more} of {:?} and was refused by a limit of {limit}, with {already} already",
                        wanted.customer, problem.sku
                    )
                });
            }
            "sale_not_started" => books.refused_as_early.push((span.sent, self.opens_to(wanted))),
            "sale_paused" => books.refused_as_paused.push(span),
            _ => {}
        }
    }

    /// Judges the answer to a confirm, release or extend, and enters it.
    pub fn judge_verb(&self, id: &str, verb: Verb, exchange: &Exchange, may: &[&str]) -> Outcome {
        let span = Span { sent: exchange.sent, answered: exchange.answered };
        let Ok(answer) = &exchange.answer else { return Outcome::Nothing };
        if exchange.unknown() {
            return Outcome::Nothing;
        }
        let name = verb.name();
        if answer.status != 200 {
            let Some(problem) = self.problem(name, answer, may) else { return Outcome::Nothing };
            let mut books = self.ledger.books();
            let conflict = (problem.code == "reservation_expired").then(|| {
                if let Some(grant) = books.grants.get_mut(id) {
                    grant.told_expired = Some(span.answered);
                }
                books.ended(id, State::Expired, span).err()
            });
            if let Some(Some(conflict)) = conflict {
                self.findings.broken(Guarantee::NoLostAnswer, conflict);
            }
            return Outcome::Refused(problem);
        }
        let after = match answer.read::<Reservation>() {
            Ok(after) => after,
            Err(error) => {
                self.findings.broken(Guarantee::Contract, format!("a {name} was answered with {error}"));
                return Outcome::Nothing;
            }
        };
        let is_of_it = after.id == id && after.state == verb.state();
        self.findings
            .check(Guarantee::Contract, is_of_it, || format!("a {name} of {id} was answered {}", answer.told()));
        let mut books = self.ledger.books();
        if let Some(grant) = books.grants.get_mut(id) {
            let same = after.lines == grant.lines && after.customer == grant.customer;
            self.findings.check(Guarantee::AllOrNothing, same, || {
                format!("{id} held {:?}, but has {:?} after its {name}", grant.lines, after.lines)
            });
            let timely =
                after.expires_at >= grant.expires_at && after.confirmed_at.is_none_or(|at| at < after.expires_at);
            self.findings.check(Guarantee::ExactTime, timely, || format!("{id} after its {name}: {}", answer.told()));
            grant.expires_at = after.expires_at.max(grant.expires_at);
        }
        if verb != Verb::Extend {
            let entered = books.ended(id, verb.state(), span);
            self.findings.check(Guarantee::NoLostAnswer, entered.is_ok(), || entered.unwrap_err());
        }
        drop(books);
        self.judge_group(&after);
        Outcome::Done { reservation: after, replayed: false }
    }

    /// Judges the answer to a call that shows a reservation when it succeeds. What the reservation must be, the scenario knows.
    pub fn judge_call(&self, call: &Call, exchange: &Exchange, may: &[&str]) -> Outcome {
        let Ok(answer) = &exchange.answer else { return Outcome::Nothing };
        if exchange.unknown() {
            return Outcome::Nothing;
        }
        if answer.status != 200 {
            return self.problem(call.name, answer, may).map_or(Outcome::Nothing, Outcome::Refused);
        }
        match answer.read::<Reservation>() {
            Ok(reservation) => Outcome::Done { reservation, replayed: answer.replayed },
            Err(error) => {
                self.findings.broken(Guarantee::Contract, format!("a {} was answered with {error}", call.name));
                Outcome::Nothing
            }
        }
    }

    /// Judges an answer that shows a reservation. It may be shown in the state that the books have, or one that it can be in
    /// since: expired, or released with its group.
    pub fn judge_shown(&self, id: &str, exchange: &Exchange) -> Option<Reservation> {
        let Ok(answer) = &exchange.answer else { return None };
        if answer.status != 200 {
            let lost = format!("{id} was acknowledged, but is answered {}", answer.told());
            self.findings.broken(Guarantee::NoLostAnswer, lost);
            return None;
        }
        let shown = match answer.read::<Reservation>() {
            Ok(shown) => shown,
            Err(error) => {
                self.findings.broken(Guarantee::Contract, format!("{id} is shown with {error}"));
                return None;
            }
        };
        self.judge_group(&shown);
        let mut books = self.ledger.books();
        let grant = books.grants.get_mut(id)?;
        if shown.state == State::Held {
            grant.seen_held = grant.seen_held.max(Some(exchange.sent));
        }
        if let Some(group) = &shown.group {
            // The hold of a member lasts longer once the group is complete, and ends with a group that fails.
            grant.expires_at = grant.expires_at.max(shown.expires_at);
            if grant.state == State::Held && group.state == GroupState::Failed {
                grant.state = State::Released;
                let sent = self.watch.earliest(group.expires_at);
                grant.ended = Some(Span { sent, answered: exchange.answered });
            }
        }
        let state =
            grant.doubtful || shown.state == grant.state || (grant.state, shown.state) == (State::Held, State::Expired);
        self.findings.check(Guarantee::NoLostAnswer, state && shown.customer == grant.customer, || {
            format!("{id} was acknowledged as {}, but is shown as {}", grant.state.name(), answer.told())
        });
        self.findings.check(Guarantee::AllOrNothing, shown.lines == grant.lines, || {
            format!("{id} was acknowledged with {:?}, but is shown with {:?}", grant.lines, shown.lines)
        });
        let timely = shown.expired_at.is_none_or(|at| at >= shown.expires_at);
        self.findings.check(Guarantee::ExactTime, timely, || format!("{id} expired early: {}", answer.told()));
        Some(shown)
    }
}
