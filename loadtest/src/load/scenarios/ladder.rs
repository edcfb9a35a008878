//! Early birds: members first, then everybody, at prices that rise with each unit sold. Nobody gives units back, so the steps of
//! the ladder must sell out one after the other.

use super::any_sku;
use crate::{
    run::{CHANNELS, MEMBERS},
    visitor::{Verb, Visitor},
};

pub async fn visit(visitor: &mut Visitor<'_>) {
    let mut wanted = visitor.wants(visitor.new_customer(), vec![(any_sku(visitor), rand::random_range(1..=2))]);
    wanted.tier = rand::random_bool(0.5).then_some(MEMBERS);
    wanted.channel = Some(CHANNELS[rand::random_range(0..CHANNELS.len())]);
    let outcome = visitor.reserve(&wanted).await;
    let run = visitor.run;
    if outcome.code() == Some("sale_not_started") {
        run.watch.sleep_until(run.opens_to(&wanted)).await;
    }
    if let Some(held) = outcome.done()
        && rand::random_bool(0.5)
    {
        visitor.act(&held.id, Verb::Confirm, &[]).await;
        visitor.look(&held.id).await;
    }
    visitor.think(1..20).await;
}
