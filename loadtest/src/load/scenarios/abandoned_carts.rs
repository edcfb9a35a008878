//! Abandoned holds: they expire, not before their time, and their units come back for others.

use super::any_sku;
use crate::visitor::{Verb, Visitor};

/// Beyond the end of a hold by both clocks, in microseconds.
const LATE: i64 = 50_000;

pub async fn visit(visitor: &mut Visitor<'_>) {
    let run = visitor.run;
    visitor.availability().await;
    let wanted = visitor.wants(visitor.new_customer(), vec![(any_sku(visitor), 1)]);
    let Some(held) = visitor.reserve(&wanted).await.done() else { return visitor.think(10..60).await };
    match rand::random_range(0..10) {
        0..2 => {
            visitor.act(&held.id, Verb::Confirm, &[]).await;
        }
        2 => {
            visitor.act(&held.id, Verb::Release, &[]).await;
        }
        3..6 => {
            // Payment comes too late.
            run.watch.sleep_until(run.watch.latest(held.expires_at) + LATE).await;
            let outcome = visitor.act(&held.id, Verb::Confirm, &["reservation_expired"]).await;
            if outcome.code() == Some("reservation_expired") {
                visitor.look(&held.id).await;
            }
        }
        // Payment that may come just in time or just too late.
        6 => {
            run.watch.sleep_until(run.watch.earliest(held.expires_at)).await;
            visitor.act(&held.id, Verb::Confirm, &["reservation_expired"]).await;
        }
        _ => visitor.think(20..100).await,
    }
}
