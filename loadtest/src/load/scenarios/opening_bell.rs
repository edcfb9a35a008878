//! The rush: users reserve without pauses and release nothing.

use super::any_sku;
use crate::visitor::{Verb, Visitor};

/// One user in this many comes before the opening.
const EARLY: usize = 8;

pub async fn visit(visitor: &mut Visitor<'_>) {
    let run = visitor.run;
    let early = visitor.user.weighted_users_index.is_multiple_of(EARLY) && visitor.user.get_iterations() == 0;
    if !early {
        run.watch.sleep_until(run.opens_at).await;
    }
    let wanted = visitor.wants(visitor.new_customer(), vec![(any_sku(visitor), 1)]);
    let outcome = visitor.reserve(&wanted).await;
    if outcome.code() == Some("sale_not_started") {
        run.watch.sleep_until(run.opens_at).await;
    }
    if let Some(held) = outcome.done()
        && rand::random_bool(0.5)
    {
        visitor.act(&held.id, Verb::Confirm, &[]).await;
    }
}
