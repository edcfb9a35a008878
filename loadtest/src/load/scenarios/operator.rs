//! Shoppers, and an operator who adds and removes stock, pauses and resumes.

use std::time::Duration;

use serde_json::json;

use super::any_sku;
use crate::{
    guarantees::Guarantee,
    http::{Call, Exchange},
    ledger::{Adjusted, Pause, Span},
    visitor::{Noted, Verb, Visitor},
    wire::{Adjustment, Sale},
};

/// The user that is the operator.
const OPERATOR: usize = 0;

/// How often what has no answer is repeated, and after what time.
const REPEATS_MAX: usize = 25;
const REPEAT_AFTER: Duration = Duration::from_millis(200);

pub async fn visit(visitor: &mut Visitor<'_>) {
    if visitor.user.weighted_users_index == OPERATOR { operate(visitor).await } else { shop(visitor).await }
}

async fn shop(visitor: &mut Visitor<'_>) {
    visitor.think(1..30).await;
    let wanted = visitor.wants(visitor.new_customer(), vec![(any_sku(visitor), rand::random_range(1..=2))]);
    let outcome = visitor.reserve(&wanted).await;
    let Some(held) = outcome.done() else { return visitor.think(5..30).await };
    visitor.think(1..30).await;
    match rand::random_range(0..10) {
        0..5 => visitor.act(&held.id, Verb::Confirm, &[]).await,
        5..9 => visitor.act(&held.id, Verb::Release, &[]).await,
        _ => return,
    };
}

async fn operate(visitor: &mut Visitor<'_>) {
    let run = visitor.run;
    let sku = any_sku(visitor);
    adjust(visitor, &sku, rand::random_range(5..50), &[]).await;
    // Taken back where it is still there.
    adjust(visitor, &sku, -rand::random_range(1..5), &["insufficient_stock", "sold_out"]).await;
    visitor.think(50..150).await;

    // Something held, to be confirmed while the sale is paused. Bought before, so that there is some.
    let wanted = visitor.wants(visitor.new_customer(), vec![(sku.clone(), 1)]);
    let held = visitor.reserve(&wanted).await.done();
    let Some(pause) = switch(visitor, "pause", "paused").await else { return };
    run.ledger.books().pauses.push(Pause { pause, resume: None });
    let wanted = visitor.wants(visitor.new_customer(), vec![(sku, 1)]);
    let outcome = visitor.reserve(&wanted).await;
    run.findings.check(Guarantee::Contract, outcome.code() == Some("sale_paused"), || {
        format!("a reserve in a paused sale: {outcome:?}")
    });
    if let Some(held) = held {
        visitor.act(&held.id, Verb::Confirm, &[]).await;
    }
    visitor.think(20..80).await;
    let resume = switch(visitor, "resume", "open").await;
    if let (Some(resume), Some(last)) = (resume, run.ledger.books().pauses.last_mut()) {
        last.resume = Some(resume);
    }
    visitor.think(50..150).await;
}

/// Adjusts, repeating with the same key until somebody knows what came of it; and once more, which must change nothing.
async fn adjust(visitor: &mut Visitor<'_>, sku: &str, delta: i64, may: &[&str]) {
    let run = visitor.run;
    let body = json!({"delta": delta, "reason": "load test"}).to_string();
    let mut call = Call::post("adjust", format!("{}/items/{sku}/adjustments", run.sale_path()), Some(body));
    call.idempotency_key = Some(format!("adjustment-{}", run.number()));
    let Some(exchange) = ask_until_known(visitor, &call).await else { return };
    let answer = exchange.answer.as_ref().expect("known");
    if answer.status != 201 {
        let problem = run.problem("adjust", answer, may);
        let noted = problem.as_ref().map_or(Noted::Wrong, |problem| Noted::Refused(&problem.code));
        return visitor.note(&call, &exchange, noted).await;
    }
    let made = answer.read::<Adjustment>();
    let right = made.as_ref().is_ok_and(|made| made.delta == delta && (0..=made.stock).contains(&made.available));
    run.findings.check(Guarantee::Contract, right, || format!("an adjustment by {delta}: {}", answer.told()));
    let span = Span { sent: exchange.sent, answered: exchange.answered };
    run.ledger.books().adjusted.push(Adjusted { sku: sku.to_owned(), delta, span });
    visitor.note(&call, &exchange, Noted::Other).await;

    let Some(again) = ask_until_known(visitor, &call).await else { return };
    let repeated = again.answer.as_ref().expect("known");
    let same = repeated.status == 201 && repeated.replayed && repeated.read::<Adjustment>() == made;
    run.findings.check(Guarantee::Once, same, || {
        format!("an adjustment was answered {} and, repeated, {}", answer.told(), repeated.told())
    });
    visitor.note(&call, &again, Noted::Other).await;
}

/// Pauses or resumes. Repeating either is safe.
async fn switch(visitor: &mut Visitor<'_>, verb: &'static str, status: &str) -> Option<Span> {
    let run = visitor.run;
    let call = Call::post(verb, format!("{}/{verb}", run.sale_path()), None);
    let exchange = ask_until_known(visitor, &call).await?;
    let answer = exchange.answer.as_ref().expect("known");
    let done = answer.status == 200 && answer.read::<Sale>().is_ok_and(|sale| sale.status == status);
    run.findings.check(Guarantee::Contract, done, || format!("a {verb} was answered {}", answer.told()));
    visitor.note(&call, &exchange, if done { Noted::Other } else { Noted::Wrong }).await;
    done.then_some(Span { sent: exchange.sent, answered: exchange.answered })
}

/// The answer, from the first time that it was sent.
async fn ask_until_known(visitor: &mut Visitor<'_>, call: &Call) -> Option<Exchange> {
    let first_sent = visitor.run.watch.now();
    for _ in 0..REPEATS_MAX {
        let exchange = visitor.run.http.send(call).await;
        if !exchange.unknown() {
            return Some(Exchange { sent: first_sent, ..exchange });
        }
        visitor.note(call, &exchange, Noted::Wrong).await;
        tokio::time::sleep(REPEAT_AFTER).await;
    }
    visitor.run.ledger.books().undecided.push(format!("{} {} had no answer", call.name, call.path));
    None
}
