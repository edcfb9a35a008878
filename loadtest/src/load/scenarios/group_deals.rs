//! Group deals: customers open groups and join those of others. A group is complete for all of its members or fails for all.

use super::any_sku;
use crate::{
    visitor::{Verb, Visitor},
    wire::{GroupState, Reservation, State},
};

/// Members that a group must have, and how long it may take them, in seconds.
pub const SIZE: u64 = 3;
pub const SECONDS: u64 = 2;

pub async fn visit(visitor: &mut Visitor<'_>) {
    let run = visitor.run;
    let invitation = if rand::random_bool(0.7) { run.invitation() } else { None };
    let sku = invitation.as_ref().map_or_else(|| any_sku(visitor), |(_, sku)| sku.clone());
    let mut wanted = visitor.wants(visitor.new_customer(), vec![(sku, 1)]);
    wanted.group = invitation.map(|(group, _)| group);
    let Some(mut shown) = visitor.reserve(&wanted).await.done() else { return visitor.think(5..20).await };
    if rand::random_bool(0.3) {
        // Pays before all are there.
        let outcome = visitor.act(&shown.id, Verb::Confirm, &["group_incomplete", "already_released"]).await;
        if outcome.done().is_some() {
            return;
        }
    }
    if rand::random_bool(0.15) {
        visitor.act(&shown.id, Verb::Release, &[]).await;
        visitor.look(&shown.id).await;
        return;
    }
    while is_open(&shown) {
        visitor.think(20..60).await;
        let Some(now) = visitor.look(&shown.id).await else { return };
        shown = now;
    }
    if shown.state == State::Held {
        let verb = if rand::random_bool(0.7) { Verb::Confirm } else { Verb::Release };
        visitor.act(&shown.id, verb, &[]).await;
    }
}

fn is_open(shown: &Reservation) -> bool {
    shown.state == State::Held && shown.group.as_ref().is_some_and(|group| group.state == GroupState::Open)
}
