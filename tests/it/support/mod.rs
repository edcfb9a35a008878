//! What the integration tests stand on: a service without HTTP, threads or a real clock, and short ways to ask it.

pub mod ask;
pub mod dice;
pub mod harness;
#[allow(dead_code, reason = "the tests of `src/store` and a bench use the rest")]
pub mod postgres;
pub mod threads;

use doorbuster::{
    engine::Engine,
    sale::{
        ids::{Bucket, ItemNumber},
        outcome::{Refusal, Shortage},
        time::Timestamp,
    },
};

/// 2026-11-27T08:00:00Z: when the sales of these tests open, unless they say otherwise.
pub const OPENING: Timestamp = Timestamp::from_millis(1_795_766_400_000);

/// Customer names that fall on pairwise different shards, one for each of `shards`, in the shards' order.
pub fn a_customer_on_each_of(shards: usize) -> Vec<String> {
    let on_shard =
        |shard| (0..).map(|number| format!("customer-{number}")).find(|name| Bucket::of(name).shard(shards) == shard);
    (0..shards).map(|shard| on_shard(shard).expect("names do not run out")).collect()
}

/// The refusal for stock of a single line, without what may come back.
pub fn short(sku: &str, requested: u64, available: u64) -> Refusal {
    Refusal::Short(vec![Shortage {
        sku: sku.into(),
        requested,
        available,
        held: 0,
        next_release_at: None,
        waitlist: false,
    }])
}

/// The outcome without what a refusal for stock says of holds: these figures may be 100 ms old.
pub fn without_holds<T>(outcome: Result<T, Refusal>) -> Result<T, Refusal> {
    outcome.map_err(|refusal| match refusal {
        Refusal::Short(mut lines) => {
            lines.iter_mut().for_each(|line| (line.held, line.next_release_at) = (0, None));
            Refusal::Short(lines)
        }
        other => other,
    })
}

/// Available, held, confirmed of an item, having checked that nothing is lost or made up.
pub fn counts(engine: &Engine, sale: &str, sku: &str) -> (u64, u64, u64) {
    let number: ItemNumber = engine.catalogue().sale(sale).expect("the sale").item(sku).expect("the item").number;
    let (stock, counts) = engine.stock()[number.index()];
    assert_eq!(stock, counts.available + counts.held + counts.confirmed, "conservation of {sale}/{sku}");
    (counts.available, counts.held, counts.confirmed)
}
