//! After the load: resolves unknown outcomes, waits for holds that expire soon, and compares the ledger with the service.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use crate::{
    guarantees::Guarantee,
    http::Call,
    ledger::{Became, Span, Wanted},
    run::{LADDER, Run},
    visitor::JOIN_REFUSALS,
    watch::Moment,
    wire::{EntryState, Item, Sale, State},
};

const REPEATS_MAX: usize = 50;
const REPEAT_AFTER: Duration = Duration::from_millis(200);

/// Due holds are back within 100 ms by the service's promise. The load shares the machine: the run allows it a second.
pub const OVERDUE_MAX: Moment = 1_000_000;

/// Holds that end within so long are waited for; longer ones are there at the end.
const WAIT_MAX: Moment = 60_000_000;

/// Most reservations to check one by one.
const LOOKS_MAX: usize = 5000;
const LOOKS_AT_ONCE: usize = 16;

/// Resolves all unknown outcomes, as far as possible.
pub async fn settle(run: &Arc<Run>) {
    let open: Vec<_> = run.ledger.books().open.values().map(|(wanted, _)| wanted.clone()).collect();
    for wanted in open {
        let call = run.reserve_call(&wanted);
        let mut known = false;
        for _ in 0..REPEATS_MAX {
            let exchange = run.http.send(&call).await;
            if !exchange.unknown() {
                run.judge_reserve(&wanted, &exchange, run.plan.refusals);
                known = true;
                break;
            }
            tokio::time::sleep(REPEAT_AFTER).await;
        }
        if !known {
            run.ledger.books().undecided.push(format!("the reserve of key {} had no answer", wanted.key));
        }
    }
    let doubtful: Vec<_> = {
        let books = run.ledger.books();
        books.grants.iter().filter(|(_, grant)| grant.doubtful).map(|(id, _)| id.clone()).collect()
    };
    for id in doubtful {
        adopt(run, &id).await;
    }
    leave_waitlist(run).await;
    wait_for_ends(run).await;
    // What became of groups that were open when their members looked last.
    let of_groups: Vec<_> = {
        let books = run.ledger.books();
        let held = books.grants.iter().filter(|(_, grant)| grant.group.is_some() && grant.state == State::Held);
        held.map(|(id, _)| id.clone()).collect()
    };
    for id in of_groups {
        adopt(run, &id).await;
    }
}

/// Everybody who still waits leaves. Whoever was offered a hold since has it.
async fn leave_waitlist(run: &Run) {
    let waits: Vec<_> = {
        let books = run.ledger.books();
        let open = books.waits.iter().filter(|(key, wait)| match wait.became {
            Became::Unknown | Became::Waiting => true,
            Became::Offered(_) => !books.is_granted(key),
            Became::Refused | Became::Left(_) => false,
        });
        open.map(|(_, wait)| wait.wanted.clone()).collect()
    };
    for wanted in waits {
        let mut is_known = false;
        for _ in 0..REPEATS_MAX {
            is_known = leave(run, &wanted).await;
            if is_known {
                break;
            }
            tokio::time::sleep(REPEAT_AFTER).await;
        }
        if !is_known {
            run.ledger.books().undecided.push(format!("the place of key {} had no answer", wanted.key));
        }
    }
}

/// Whether it is known now what became of it.
async fn leave(run: &Run, wanted: &Wanted) -> bool {
    let call = run.join_call(wanted);
    let exchange = run.http.send(&call).await;
    let Some(entry) = run.judge_entry(&wanted.key, &call, &exchange, JOIN_REFUSALS) else {
        return !exchange.unknown();
    };
    match entry.state {
        EntryState::Waiting => {
            let call = Call::post("leave", format!("/v1/waitlist/{}/leave", entry.id), None);
            let exchange = run.http.send(&call).await;
            run.judge_entry(&wanted.key, &call, &exchange, &["not_waiting"]).is_some()
        }
        EntryState::Offered => {
            let hold = entry.reservation.as_deref().unwrap_or_default();
            let exchange = run.http.send(&Call::get("look", format!("/v1/reservations/{hold}"))).await;
            run.judge_offer(&wanted.key, &entry, &exchange);
            !exchange.unknown()
        }
        EntryState::Left | EntryState::Expired => true,
    }
}

/// Takes over what the service says became of a reservation whose last call had no answer.
async fn adopt(run: &Run, id: &str) {
    let call = Call::get("look", format!("/v1/reservations/{id}"));
    for _ in 0..REPEATS_MAX {
        let exchange = run.http.send(&call).await;
        if exchange.unknown() {
            tokio::time::sleep(REPEAT_AFTER).await;
            continue;
        }
        let Some(shown) = run.judge_shown(id, &exchange) else { return };
        let mut books = run.ledger.books();
        let Some(grant) = books.grants.get_mut(id) else { return };
        grant.doubtful = false;
        grant.expires_at = shown.expires_at;
        if grant.state == State::Held && shown.state != State::Held {
            grant.state = shown.state;
            grant.ended = Some(Span { sent: grant.granted.sent, answered: exchange.answered });
        }
        return;
    }
    run.ledger.books().undecided.push(format!("could not ask for the outcome of {id}"));
}

async fn wait_for_ends(run: &Run) {
    let now = run.watch.now();
    let last = {
        let books = run.ledger.books();
        let held = books.grants.values().filter(|grant| grant.state == State::Held);
        held.map(|grant| run.watch.latest(grant.expires_at)).filter(|end| *end < now + WAIT_MAX).max()
    };
    if let Some(last) = last {
        run.watch.sleep_until(last + OVERDUE_MAX).await;
    }
}

/// Looks at reservations one by one: as many as there are, or as many as may be, spread over all.
pub async fn look_at_each(run: &Arc<Run>) {
    let mut ids: Vec<_> = run.ledger.books().grants.keys().cloned().collect();
    let all = ids.len();
    // Ids come from a hash map: in no order.
    ids.truncate(LOOKS_MAX);
    if all > ids.len() {
        eprintln!("{} of {all} reservations are checked one by one", ids.len());
    }
    let mut looks = JoinSet::new();
    for id in ids {
        if looks.len() == LOOKS_AT_ONCE {
            looks.join_next().await;
        }
        let run = run.clone();
        looks.spawn(async move {
            let call = Call::get("look", format!("/v1/reservations/{id}"));
            let mut exchange = run.http.send(&call).await;
            for _ in 0..REPEATS_MAX {
                if !exchange.unknown() {
                    break;
                }
                tokio::time::sleep(REPEAT_AFTER).await;
                exchange = run.http.send(&call).await;
            }
            match exchange.answer {
                Ok(_) => drop(run.judge_shown(&id, &exchange)),
                Err(error) => run.ledger.books().undecided.push(format!("could not read {id}: {error}")),
            }
        });
    }
    while looks.join_next().await.is_some() {}
}

/// Holds that are over by now count as expired.
pub fn expire(run: &Run) {
    let now = run.watch.now();
    for grant in run.ledger.books().grants.values_mut() {
        if grant.state == State::Held && run.watch.latest(grant.expires_at) < now {
            grant.state = State::Expired;
        }
    }
}

/// One look at the sale as a whole: conservation, which holds at every instant.
pub async fn look_at_sale(run: &Run) -> Result<Vec<Item>, String> {
    let exchange = run.http.send(&Call::get("sale", run.sale_path())).await;
    let answer = exchange.answer?;
    if answer.status != 200 {
        return Err(answer.told());
    }
    let sale = answer.read::<Sale>()?;
    for item in &sale.items {
        let whole = item.stock == item.available + item.held + item.confirmed
            && [item.available, item.held, item.confirmed].iter().all(|units| *units >= 0);
        run.findings.check(Guarantee::NoOversell, whole, || format!("stock is not conserved: {item:?}"));
    }
    Ok(sale.items)
}

/// Compares the counts of pools, and looks whether they were drawn from in order: nothing came back in such a run.
fn hold_pools_against_books(run: &Run, items: &[Item], units: &BTreeMap<(String, String), i64>) {
    if !run.plan.ladder {
        return;
    }
    for item in items {
        let of_item = || item.pools.iter().map(|pool| (pool.id.clone(), pool.stock));
        let steps = LADDER.iter().zip(run.steps()).map(|(step, units)| (step.0.to_owned(), units as i64));
        run.findings.check(Guarantee::Contract, of_item().eq(steps), || {
            format!("the pools of {} are {:?}", item.sku, item.pools)
        });
        for pool in &item.pools {
            let out = units.get(&(item.sku.clone(), pool.id.clone())).copied().unwrap_or(0);
            let same = pool.held + pool.confirmed == out && pool.stock == pool.available + out && pool.available >= 0;
            run.findings.check(Guarantee::NoOversell, same, || {
                format!("{out} units of {} are out of {:?} by the answers", item.sku, pool)
            });
        }
        let in_order =
            item.pools.windows(2).all(|pools| pools[0].available == 0 || pools[1].available == pools[1].stock);
        run.findings.check(Guarantee::InOrder, in_order, || {
            format!("a later pool of {} was drawn from before an earlier one was empty: {:?}", item.sku, item.pools)
        });
    }
}

/// Compares the sale's counts with the ledger, to the unit.
pub async fn hold_against_books(run: &Run) {
    let items = match look_at_sale(run).await {
        Ok(items) => items,
        Err(error) => return run.ledger.books().undecided.push(format!("could not read the sale: {error}")),
    };
    let books = run.ledger.books();
    hold_pools_against_books(run, &items, &books.units_of_pools());
    let units = books.units();
    for sku in run.skus() {
        let stock = run.plan.stock as i64 + books.adjusted_units(&sku);
        let (held, confirmed) = units.get(&sku).copied().unwrap_or_default();
        run.findings.check(Guarantee::NoOversell, held + confirmed <= stock, || {
            format!("of {sku} {held} units are held and {confirmed} confirmed by the answers, of a stock of {stock}")
        });
        let Some(item) = items.iter().find(|item| item.sku == sku) else {
            run.findings.broken(Guarantee::NoLostAnswer, format!("{sku} is not in the sale"));
            continue;
        };
        let same = (item.stock, item.held, item.confirmed) == (stock, held, confirmed);
        run.findings.check(Guarantee::NoLostAnswer, same, || {
            format!(
                "of {sku} the answers make stock {stock}, held {held}, confirmed {confirmed}; the service has {}, {}, {}",
                item.stock, item.held, item.confirmed
            )
        });
    }
}
