//! Impatience: each request twice at once, once more later, and keys that are used for something else.

use super::any_sku;
use crate::{
    guarantees::Guarantee,
    ledger::Wanted,
    visitor::{Noted, Outcome, Verb, Visitor},
};

pub async fn visit(visitor: &mut Visitor<'_>) {
    let run = visitor.run;
    visitor.think(1..20).await;
    let wanted = visitor.wants(visitor.new_customer(), vec![(any_sku(visitor), rand::random_range(1..=2))]);
    let Some(made) = click_twice(visitor, &wanted).await else { return };
    // Later, when the first answer is long there.
    if let Outcome::Done { reservation, replayed } = visitor.reserve(&wanted).await {
        let same = replayed && reservation == made;
        run.findings.check(Guarantee::Once, same, || {
            format!(
                "key {} made {} and gave {} when repeated (replayed: {replayed})",
                wanted.key, made.id, reservation.id
            )
        });
    } else {
        run.findings
            .broken(Guarantee::Once, format!("key {} made {} and was refused when repeated", wanted.key, made.id));
    }
    use_for_another(visitor, &wanted).await;
    let verb = if rand::random_bool(0.5) { Verb::Confirm } else { Verb::Release };
    let outcomes = visitor.act_twice(&made.id, verb).await;
    if let [Outcome::Done { reservation: first, .. }, Outcome::Done { reservation: second, .. }] = &outcomes {
        run.findings.check(Guarantee::Once, first == second, || {
            format!("{} was ended twice at once, with two answers: {first:?} and {second:?}", made.id)
        });
    }
    visitor.look(&made.id).await;
}

/// Both answers are of one reservation, and one of them says that it is a repeat. Where stock came back in between, one may be
/// refused and the other granted.
async fn click_twice(visitor: &mut Visitor<'_>, wanted: &Wanted) -> Option<crate::wire::Reservation> {
    let (run, call) = (visitor.run, visitor.run.reserve_call(wanted));
    run.ledger.books().asking(wanted, run.watch.now());
    let (first, second) = tokio::join!(run.http.send(&call), run.http.send(&call));
    let unknown = first.unknown() || second.unknown();
    let mut made = Vec::new();
    // A grant is entered after a refusal, which would otherwise close the key.
    let mut exchanges = [first, second];
    exchanges.sort_by_key(|exchange| exchange.answer.as_ref().is_ok_and(|answer| answer.status == 201));
    for exchange in &exchanges {
        let outcome = run.judge_reserve(wanted, exchange, run.plan.refusals);
        visitor.note_outcome(&call, exchange, &outcome).await;
        if let Outcome::Done { reservation, replayed } = outcome {
            made.push((reservation, replayed));
        }
    }
    if unknown {
        // Nobody knows: asked once more, with the same key.
        return visitor.reserve(wanted).await.done();
    }
    if let [(first, first_replayed), (second, second_replayed)] = &made[..] {
        let once = first.id == second.id && first_replayed != second_replayed;
        run.findings.check(Guarantee::Once, once, || {
            format!(
                "key {} sent twice at once made {} and {}, replayed {first_replayed} and {second_replayed}",
                wanted.key, first.id, second.id
            )
        });
    }
    made.pop().map(|(reservation, _)| reservation)
}

/// The same key for another request is an error, never a second reservation.
async fn use_for_another(visitor: &mut Visitor<'_>, wanted: &Wanted) {
    let run = visitor.run;
    let mut other = wanted.clone();
    other.lines[0].1 += 1;
    let call = run.reserve_call(&other);
    let exchange = run.http.send(&call).await;
    if exchange.unknown() {
        return visitor.note(&call, &exchange, Noted::Wrong).await;
    }
    let Ok(answer) = &exchange.answer else { return };
    run.findings.check(Guarantee::Once, answer.status == 422, || {
        format!("key {} was used for another request and answered {}", wanted.key, answer.told())
    });
    let noted = match run.problem("reserve with a used key", answer, &["idempotency_key_reused"]) {
        Some(_) => Noted::Refused("idempotency_key_reused"),
        None => Noted::Wrong,
    };
    visitor.note(&call, &exchange, noted).await;
}
