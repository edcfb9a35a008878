//! Overlapping baskets: many lines at once, some of them of the same item.

use super::any_sku;
use crate::visitor::{Verb, Visitor};

const LINES_MAX: usize = 10;

pub async fn visit(visitor: &mut Visitor<'_>) {
    let count = rand::random_range(2..=LINES_MAX);
    let mut lines: Vec<_> = (0..count).map(|_| (any_sku(visitor), rand::random_range(1..=3))).collect();
    if rand::random_bool(0.2) {
        // The same once more: the service sums before it looks.
        lines.push((lines[0].0.clone(), 1));
    }
    let wanted = visitor.wants(visitor.new_customer(), lines);
    let Some(held) = visitor.reserve(&wanted).await.done() else { return visitor.think(1..20).await };
    visitor.think(1..20).await;
    match rand::random_range(0..10) {
        0..7 => {
            visitor.act(&held.id, Verb::Release, &[]).await;
        }
        7..9 => {
            visitor.act(&held.id, Verb::Confirm, &[]).await;
            visitor.look(&held.id).await;
        }
        _ => {}
    }
}
