//! What the tests of a shard share: one pool, reserves of two of its units, and the sale of both.

use super::Shard;
use crate::{
    catalogue::Catalogue,
    command::Confirm,
    decide::Record,
    event::{CustomerEvent, samples},
    ids::{Bucket, ItemNumber, PoolNumber, ReservationId, SaleNumber},
    judge::{Judgement, Plan, PlanLine, Request, Source, allocate, allocate_lines},
    outcome::{Refusal, Reservation},
    time::Timestamp,
};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_766_400_000);
pub(crate) const DROP: SaleNumber = SaleNumber(0);
pub(crate) const ITEM: ItemNumber = ItemNumber(0);
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
    let (allow_partial, hold_seconds, hold_budget, until) = (false, 60, None, Timestamp::MAX);
    let (group, entry) = (None, None);
    let plan = Plan { request, lines, allow_partial, hold_seconds, hold_budget, group, entry, until };
    match shard.judge(now, &request, Ok(&plan), |shard, plan| allocate(plan, shard)) {
        Judgement::Grant(grant) => Ok(shard.hold(&plan, grant, entropy, &mut Nowhere).id),
        other => Err(other),
    }
}

/// The sale: a hold may be confirmed up to ten minutes late.
pub(crate) fn catalogue() -> Catalogue {
    let document = r#"{"id":"drop","name":"Drop","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-28T08:00:00Z",
        "hold_seconds":60,"late_confirm_seconds":600,"items":[{"sku":"tv","initial_stock":100}]}"#;
    let settings = serde_json::from_str(document).expect("a document");
    let mut catalogue = Catalogue::default();
    catalogue.apply(&samples::defined(DROP, NOW, &samples::record_of(&settings, &[ITEM])));
    catalogue
}

/// Confirms as the shard alone can.
pub(crate) fn confirm<'a>(
    shard: &mut Shard,
    now: Timestamp,
    id: ReservationId,
    asked: impl Into<Confirm<'a>>,
) -> Result<Reservation, Refusal> {
    let stock = |shard: &Shard, lines: &[PlanLine]| allocate_lines(lines, false, shard);
    shard.confirm(now, id, &asked.into(), &catalogue(), stock, &mut Nowhere).expect("the shard has all units")
}
