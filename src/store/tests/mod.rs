//! What the tests share: a journal in memory, and databases to follow it into. The suite runs on SQLite and on PostgreSQL.

mod audit;
mod databases;
mod erasure;
mod exactly_once;
mod life;
mod model;
mod naive;
mod ownership;
mod pace;
mod postgres;
#[path = "../../../tests/it/support/postgres.rs"]
#[allow(dead_code, reason = "integration tests use the rest")]
pub(crate) mod postgres_server;
mod refusals;
mod reports;
mod retention;
mod rows;
mod views;
mod waitlist;

use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use self::databases::{Database, New, on_both};
use super::*;
use crate::{
    engine::batch::{CATALOGUE_LANE, put_section},
    sale::{
        event::{
            CatalogueEvent, CustomerEvent, Event, Extended, Held, Portion, Portions, PricedPortion, Settled, samples,
        },
        ids::{Bucket, ItemNumber, PoolNumber, ReservationId, SaleNumber},
        settings::{Currency, ItemSettings, Price, SaleSettings},
        time::Timestamp,
    },
};

/// 2026-11-27T08:00:00.000Z
const OPENS: Timestamp = Timestamp::from_millis(1_795_766_400_000);
const SALE: SaleNumber = SaleNumber(0);
const TV: ItemNumber = ItemNumber(0);
const PHONE: ItemNumber = ItemNumber(1);

/// Durable batches, shared between the test and the feeds it opens. Epochs count from 1.
#[derive(Debug, Default, Clone)]
struct MemoryJournal {
    batches: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Batches that were deleted.
    pruned: u64,
}

#[derive(Debug)]
struct MemoryFeed {
    journal: MemoryJournal,
    at: u64,
}

impl MemoryJournal {
    fn of(batches: &[Vec<u8>]) -> Self {
        Self { batches: Arc::new(Mutex::new(batches.to_vec())), pruned: 0 }
    }

    fn durable(&self) -> u64 {
        self.batches.lock().len() as u64
    }

    fn push(&self, lanes: &[(u16, &[Event<'_>])]) {
        self.batches.lock().push(batch(lanes));
    }

    fn feed(&self) -> MemoryFeed {
        MemoryFeed { journal: self.clone(), at: 0 }
    }
}

impl Feed for MemoryFeed {
    fn seek(&mut self, epoch: u64) -> Result<Span, FeedError> {
        self.at = epoch;
        Ok(Span { oldest: self.journal.pruned + 1, durable: self.journal.durable() })
    }

    fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<u64>, FeedError> {
        let batches = self.journal.batches.lock();
        let Some(batch) = batches.get(self.at as usize) else { return Ok(None) };
        payload.clear();
        payload.extend_from_slice(batch);
        self.at += 1;
        Ok(Some(self.at))
    }
}

fn batch(lanes: &[(u16, &[Event<'_>])]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (lane, events) in lanes {
        let mut bytes = Vec::new();
        events.iter().for_each(|event| event.encode(&mut bytes));
        put_section(&mut payload, *lane, &bytes);
    }
    payload
}

/// A transaction for every batch, and short waits.
fn single_batches() -> WriteBehindSettings {
    WriteBehindSettings { window_events_max: 1, linger_ms: 1, retry_ms_min: 1, retry_ms_max: 5, ..Default::default() }
}

/// The data directory that the journals of these tests stand in.
const OWNER: Uuid = Uuid::from_bytes([7; 16]);

fn write_behind(journal: &MemoryJournal, database: &Database) -> WriteBehind<MemoryFeed, Box<dyn Sink>> {
    write_behind_with(journal, database, WriteBehindSettings::default())
}

fn write_behind_with(
    journal: &MemoryJournal,
    database: &Database,
    settings: WriteBehindSettings,
) -> WriteBehind<MemoryFeed, Box<dyn Sink>> {
    WriteBehind::new(journal.feed(), database.store(), OWNER, settings)
}

/// Applies everything there is.
fn catch_up<F: Feed, S: Sink>(write_behind: &mut WriteBehind<F, S>) {
    while write_behind.step().unwrap() != Progress::Idle {}
}

/// A sale of ten `tv` and ten `phone`, opening at `OPENS` for an hour.
fn settings() -> SaleSettings {
    let price = Some(Price { amount: 19_900, currency: Currency::parse("EUR").unwrap() });
    let item = |sku: &str, price| ItemSettings {
        sku: sku.into(),
        initial_stock: 10,
        price,
        customer_limit: None,
        limit_counts_since: None,
        pools: Vec::new(),
        sourcing: None,
        split: None,
    };
    SaleSettings {
        id: "drop".into(),
        name: "The drop".into(),
        opens_at: OPENS,
        closes_at: OPENS.plus_seconds(3600),
        hold_seconds: 300,
        max_extensions: None,
        customer_limit: Some(4),
        rate_limits: None,
        late_confirm_seconds: 0,
        hold_budget: None,
        waitlist: None,
        phases: Vec::new(),
        items: vec![item("tv", price), item("phone", None)],
    }
}

fn journal_with_sale(at: Timestamp) -> MemoryJournal {
    let (journal, record) = (MemoryJournal::default(), samples::record_of(&settings(), &[TV, PHONE]));
    journal.push(&[(CATALOGUE_LANE, &[samples::defined(SALE, at, &record).into()])]);
    journal
}

fn reservation_id(at: Timestamp, customer: &str, entropy: u64) -> ReservationId {
    ReservationId::new(at, Bucket::of(customer), entropy)
}

fn held(id: ReservationId, customer: &str, units: u32) -> Event<'_> {
    let price = Some(Price { amount: 19_900, currency: Currency::parse("EUR").unwrap() });
    let portions = [PricedPortion { item: TV, pool: PoolNumber(TV.0), units, price }].into_iter().collect();
    let (sale, hold_seconds) = (SALE, 300);
    let (reference, key, attributes, short, entry) = (None, None, None, Box::default(), None);
    CustomerEvent::Held(Held { id, sale, customer, hold_seconds, portions, reference, key, attributes, short, entry })
        .into()
}

fn ended(id: ReservationId, at: Timestamp, units: u32, text: Option<&str>) -> Settled<'_> {
    let portions = [Portion { item: TV, pool: PoolNumber(TV.0), units }].into_iter().collect();
    Settled { id, sale: SALE, at, text, portions, returned: Portions::new(), late: false }
}
