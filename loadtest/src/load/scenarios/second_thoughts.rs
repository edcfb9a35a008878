//! Second thoughts: holds that change, payments for a part or late, and goods that come back in parts.

use serde_json::{Value, json};

use super::any_sku;
use crate::{
    guarantees::Guarantee,
    http::Call,
    ledger::{Adjusted, Span},
    visitor::{Outcome, Visitor},
    wire::{Lines, Reservation, State},
};

/// For how long a hold may be confirmed after its end, in seconds: longer than any stall of the machine.
pub const LATE_CONFIRM_SECONDS: u64 = 60;

/// Beyond the end of a hold by both clocks, in microseconds.
const LATE: i64 = 50_000;
const UNITS_MAX: u64 = 4;

pub async fn visit(visitor: &mut Visitor<'_>) {
    let run = visitor.run;
    let some = |visitor: &Visitor<'_>| (any_sku(visitor), rand::random_range(2..=UNITS_MAX));
    let wanted = visitor.wants(visitor.new_customer(), vec![some(visitor)]);
    let Some(held) = visitor.reserve(&wanted).await.done() else { return };
    let mut order = Order { id: held.id, lines: held.lines, payment: format!("payment-{}", run.number()) };
    if rand::random_bool(0.5) {
        let other = Lines::from([some(visitor)]);
        order.change(visitor, other).await;
    }
    visitor.think(1..20).await;
    let is_late = rand::random_bool(0.5);
    if is_late {
        run.watch.sleep_until(run.watch.latest(held.expires_at) + LATE).await;
    }
    if !order.pay(visitor, is_late).await {
        return;
    }
    order.pay_twice(visitor).await;
    visitor.look(&order.id).await;
    if rand::random_bool(0.6) && order.return_one(visitor).await && rand::random_bool(0.5) {
        order.return_all(visitor).await;
    }
    visitor.look(&order.id).await;
}

/// A reservation, and the lines that its customer has.
struct Order {
    id: String,
    lines: Lines,
    /// The reference of its payment.
    payment: String,
}

impl Order {
    fn call(&self, verb: &'static str, body: &Value) -> Call {
        Call::post(verb, format!("/v1/reservations/{}/{verb}", self.id), Some(body.to_string()))
    }

    /// Other lines, in one step; or none of it, if the hold is over already.
    async fn change(&mut self, visitor: &mut Visitor<'_>, other: Lines) {
        let call = self.call("change", &json!({"lines": wire(&other)}));
        let (outcome, _) = visitor.ask(&call, &["reservation_expired"]).await;
        let Some(changed) = outcome.done() else { return };
        self.must_have(visitor, "change", &changed, State::Held, &other);
        self.lines = other;
        if let Some(grant) = visitor.run.ledger.books().grants.get_mut(&self.id) {
            grant.lines.clone_from(&self.lines);
        }
    }

    /// Confirms a part or all of it, twice. Returns whether it is sold.
    async fn pay(&mut self, visitor: &mut Visitor<'_>, is_late: bool) -> bool {
        let run = visitor.run;
        let paid: Lines = self.lines.iter().map(|(sku, held)| (sku.clone(), rand::random_range(1..=*held))).collect();
        let call = self.call("confirm", &json!({"reference": self.payment, "lines": wire(&paid)}));
        let (outcome, span) = visitor.ask(&call, &[]).await;
        let Some(sold) = outcome.done() else {
            self.is_unknown(visitor, "confirm");
            return false;
        };
        self.must_have(visitor, "confirm", &sold, State::Confirmed, &paid);
        let returned = less(&self.lines, &paid);
        let told = sold.returned == returned && sold.late >= is_late && sold.reference.as_ref() == Some(&self.payment);
        run.findings.check(Guarantee::Contract, told, || {
            format!("{returned:?} of {} were to return, late {is_late}, but: {sold:?}", self.id)
        });
        self.lines = paid;
        run.ledger.books().stands(&self.id, State::Confirmed, &self.lines, sold.late, span);
        let (again, _) = visitor.ask(&call, &[]).await;
        must_be(visitor, "confirm", &again, &sold);
        true
    }

    /// Another payment for what is sold is refused.
    async fn pay_twice(&self, visitor: &mut Visitor<'_>) {
        let call = self.call("confirm", &json!({"reference": format!("{}-again", self.payment)}));
        let (outcome, _) = visitor.ask(&call, &["already_confirmed"]).await;
        must_be_refused(visitor, "a second payment", &outcome);
    }

    /// Cancels one unit, twice with the same key. Returns whether others are still sold.
    async fn return_one(&mut self, visitor: &mut Visitor<'_>) -> bool {
        let run = visitor.run;
        let (sku, restock) = (self.lines.keys().next().expect("an order has lines").clone(), rand::random_bool(0.7));
        let one = Lines::from([(sku.clone(), 1)]);
        let mut call = self.call("cancel", &json!({"lines": wire(&one), "restock": restock}));
        call.idempotency_key = Some(format!("return-{}", self.payment));
        let (outcome, span) = visitor.ask(&call, &[]).await;
        let Some(after) = outcome.done() else {
            self.is_unknown(visitor, "cancel");
            return false;
        };
        let rest = less(&self.lines, &one);
        if !restock {
            run.ledger.books().left.push(Adjusted { sku, delta: -1, span });
        }
        let (again, _) = visitor.ask(&call, &[]).await;
        must_be(visitor, "cancel", &again, &after);
        let is_marked = matches!(again, Outcome::Done { replayed: true, .. } | Outcome::Nothing);
        run.findings.check(Guarantee::Once, is_marked, || format!("a repeated cancel of {} is not marked", self.id));
        if rest.is_empty() {
            self.is_cancelled(visitor, &after, span);
            return false;
        }
        self.must_have(visitor, "cancel", &after, State::Confirmed, &rest);
        run.findings.check(Guarantee::Contract, after.cancelled == one, || format!("one was cancelled: {after:?}"));
        run.ledger.books().stands(&self.id, State::Confirmed, &rest, after.late, span);
        true
    }

    /// Cancels the rest, twice. Then its payment is refused, too.
    async fn return_all(&mut self, visitor: &mut Visitor<'_>) {
        let call = self.call("cancel", &json!({"reason": "second thoughts"}));
        let (outcome, span) = visitor.ask(&call, &[]).await;
        let Some(after) = outcome.done() else { return self.is_unknown(visitor, "cancel") };
        self.is_cancelled(visitor, &after, span);
        let (again, _) = visitor.ask(&call, &[]).await;
        must_be(visitor, "cancel", &again, &after);
        let call = self.call("confirm", &json!({"reference": self.payment}));
        let (outcome, _) = visitor.ask(&call, &["already_cancelled"]).await;
        must_be_refused(visitor, "a payment for what was cancelled", &outcome);
    }

    /// A cancelled reservation shows what was sold.
    fn is_cancelled(&self, visitor: &Visitor<'_>, after: &Reservation, span: Span) {
        self.must_have(visitor, "cancel", after, State::Cancelled, &self.lines);
        visitor.run.ledger.books().stands(&self.id, State::Cancelled, &self.lines, after.late, span);
    }

    fn must_have(&self, visitor: &Visitor<'_>, verb: &str, after: &Reservation, state: State, lines: &Lines) {
        let holds = after.id == self.id && after.state == state && after.lines == *lines;
        visitor.run.findings.check(Guarantee::AllOrNothing, holds, || {
            format!("{} must be {} with {lines:?} after its {verb}: {after:?}", self.id, state.name())
        });
    }

    fn is_unknown(&self, visitor: &Visitor<'_>, verb: &str) {
        visitor.run.ledger.books().undecided.push(format!("the {verb} of {} had no answer", self.id));
    }
}

fn must_be(visitor: &Visitor<'_>, verb: &str, again: &Outcome, first: &Reservation) {
    let same = match again {
        Outcome::Done { reservation, .. } => reservation == first,
        Outcome::Refused(_) => false,
        Outcome::Nothing => true,
    };
    visitor.run.findings.check(Guarantee::Once, same, || format!("a {verb} was {first:?}, and repeated {again:?}"));
}

fn must_be_refused(visitor: &Visitor<'_>, what: &str, outcome: &Outcome) {
    let is_granted = matches!(outcome, Outcome::Done { .. });
    visitor.run.findings.check(Guarantee::Once, !is_granted, || format!("{what} was granted: {outcome:?}"));
}

fn wire(lines: &Lines) -> Value {
    lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect()
}

/// What is left of lines.
fn less(lines: &Lines, of: &Lines) -> Lines {
    let rest = lines.iter().map(|(sku, quantity)| (sku.clone(), quantity - of.get(sku).unwrap_or(&0)));
    rest.filter(|(_, quantity)| *quantity > 0).collect()
}
