//! A drop with a waitlist: holds expire, are released and cancelled, and their units go to those who wait, in order.

use serde_json::json;

use super::any_sku;
use crate::{
    http::Call,
    visitor::{Verb, Visitor},
    wire::{Reservation, State},
};

/// How often a customer looks at the page before leaving.
const LOOKS: usize = 30;

pub async fn visit(visitor: &mut Visitor<'_>) {
    let sku = any_sku(visitor);
    let wanted = visitor.wants(visitor.new_customer(), vec![(sku.clone(), 1)]);
    let outcome = visitor.reserve(&wanted).await;
    let held = if outcome.code() == Some("sold_out") {
        let place = visitor.wants(visitor.new_customer(), vec![(sku, 1)]);
        visitor.wait_in_line(&place, LOOKS).await
    } else {
        outcome.done()
    };
    let Some(held) = held else { return visitor.think(5..20).await };
    visitor.think(1..100).await;
    match rand::random_range(0..10) {
        0..4 => drop(visitor.act(&held.id, Verb::Release, &["reservation_expired"]).await),
        4..7 => buy_and_return(visitor, &held).await,
        // The hold expires.
        _ => visitor.think(20..100).await,
    }
}

/// Confirms, and mostly cancels later.
async fn buy_and_return(visitor: &mut Visitor<'_>, held: &Reservation) {
    let outcome = visitor.act(&held.id, Verb::Confirm, &["reservation_expired"]).await;
    if outcome.done().is_none() || rand::random_bool(0.1) {
        return;
    }
    visitor.think(1..100).await;
    let path = format!("/v1/reservations/{}/cancel", held.id);
    let call = Call::post("cancel", path, Some(json!({"reason": "second thoughts"}).to_string()));
    let (outcome, span) = visitor.ask(&call, &[]).await;
    let mut books = visitor.run.ledger.books();
    match outcome.done() {
        Some(after) => books.stands(&held.id, State::Cancelled, &held.lines, after.late, span),
        None => books.undecided.push(format!("the cancel of {} had no answer", held.id)),
    }
}
