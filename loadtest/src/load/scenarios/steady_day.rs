//! The day after the rush: more looking than buying, and returning customers.

use super::any_sku;
use crate::visitor::{Verb, Visitor};

/// Customers of each user: few enough that their limits are met.
const CUSTOMERS: usize = 3;

pub async fn visit(visitor: &mut Visitor<'_>) {
    visitor.think(5..60).await;
    if rand::random_bool(0.5) {
        return visitor.availability().await;
    }
    let number = visitor.user.weighted_users_index * CUSTOMERS + rand::random_range(0..CUSTOMERS);
    // Two of all items are what a customer likes best.
    let sku = if rand::random_bool(0.8) { visitor.run.sku(number % 2) } else { any_sku(visitor) };
    let wanted = visitor.wants(format!("regular-{number}"), vec![(sku, rand::random_range(1..=2))]);
    let Some(held) = visitor.reserve(&wanted).await.done() else { return };
    visitor.look(&held.id).await;
    if rand::random_bool(0.2) {
        visitor.think(1..20).await;
        visitor.act(&held.id, Verb::Extend, &[]).await;
    }
    visitor.think(1..30).await;
    match rand::random_range(0..10) {
        0..6 => {
            visitor.act(&held.id, Verb::Release, &[]).await;
        }
        6..9 => {
            visitor.act(&held.id, Verb::Confirm, &[]).await;
            visitor.look(&held.id).await;
            visitor.act(&held.id, Verb::Release, &["already_confirmed"]).await;
        }
        _ => {}
    }
}
