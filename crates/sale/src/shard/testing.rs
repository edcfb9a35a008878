//! What the tests of a shard share: one pool, and reserves of two of its units.

use super::Shard;
use crate::{
    decide::Record,
    event::CustomerEvent,
    ids::{Bucket, ItemNumber, PoolNumber, ReservationId, SaleNumber},
    judge::{Judgement, Plan, PlanLine, Request, Source, allocate},
    time::Timestamp,
};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_766_400_000);
pub(crate) const DROP: SaleNumber = SaleNumber(0);
pub(crate) const ITEM: ItemNumber = ItemNumber(7);
pub(crate) const POOL: PoolNumber = PoolNumber(0);

pub(crate) struct Nowhere;

impl Record for Nowhere {
    fn record(&mut self, _: &CustomerEvent<'_>) {}
}

pub(crate) fn shard(retention_millis: u64, available: u64) -> Shard {
    let mut shard = Shard::new(1, retention_millis, 0);
    shard.resize(1);
    shard.set_available(POOL, available);
    shard
}

pub(crate) fn request<'a>(sale: SaleNumber, customer: &'a str, key: Option<&'a str>) -> Request<'a> {
    let reference = Some(if customer == "ann" { "cart of ann" } else { "cart" });
    Request { sale, customer, bucket: Bucket::of(customer), key: key.map(|key| (key, 7)), reference, attributes: None }
}

pub(crate) fn reserve(
    shard: &mut Shard,
    now: Timestamp,
    request: Request<'_>,
    customer_limit: Option<u32>,
    entropy: u64,
) -> Result<ReservationId, Judgement> {
    let sources = [Source { pool: POOL, price: None }].into_iter().collect();
    let (may_split, most_available_first) = (true, false);
    let line = PlanLine { item: ITEM, units: 2, customer_limit, sources, may_split, most_available_first };
    let lines = [line].into_iter().collect();
    let plan = Plan { request, lines, allow_partial: false, hold_seconds: 60, until: Timestamp::MAX };
    match shard.judge(now, &request, Ok(&plan), |shard, plan| allocate(plan, shard)) {
        Judgement::Grant(grant) => Ok(shard.hold(&plan, grant, entropy, &mut Nowhere).id),
        other => Err(other),
    }
}
