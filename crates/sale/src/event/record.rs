//! A sale document as the journal keeps it: JSON with the numbers of items and pools.
//!
//! It is a type of its own, so that the document that operators send can change without the journal, and the other way round.
//! A new member is optional: earlier versions skip members that they do not know. Invariant: `decode(encode(...))` is what was
//! encoded.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{
    ids::{ItemNumber, PoolNumber},
    settings::{
        Currency, GroupSettings, HoldBudget, ItemSettings, Phase, PoolSettings, Price, Quota, RateLimits, SaleSettings,
        Sourcing, Waitlist,
    },
    time::Timestamp,
};

/// The numbers of an item and of its pools, in the order of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    pub item: ItemNumber,
    pub pools: SmallVec<[PoolNumber; 2]>,
}

/// A record that another program wrote, or that was damaged before its frame was made.
#[derive(Debug, thiserror::Error)]
#[error("a sale's record in the journal cannot be read: {0}")]
pub struct BadRecord(#[from] serde_json::Error);

#[derive(Serialize, Deserialize)]
struct SaleRecord<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    opens_at: u64,
    closes_at: u64,
    hold_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_extensions: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate_limits: Option<RateLimitsRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    late_confirm_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold_budget: Option<HoldBudgetRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waitlist: Option<WaitlistRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    phases: Vec<PhaseRecord>,
    items: Vec<ItemRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
struct PhaseRecord {
    name: String,
    opens_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closes_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tiers: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_limit: Option<u32>,
}

/// What a document says of a pool.
#[derive(Serialize, Deserialize)]
struct PoolRecord<'a> {
    id: String,
    initial_stock: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tiers: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shared_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    costs: Option<BTreeMap<String, u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    price: Option<PriceRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
struct RateLimitsRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sale: Option<QuotaRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer: Option<QuotaRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<QuotaRecord>,
}

#[derive(Serialize, Deserialize)]
struct HoldBudgetRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open_holds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expired_per_hour: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct GroupRecord {
    size: u8,
    seconds: u32,
}

#[derive(Serialize, Deserialize)]
struct WaitlistRecord {
    entries_max: u32,
    entry_seconds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold_seconds: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct QuotaRecord {
    requests: u32,
    window_seconds: u32,
}

#[derive(Serialize, Deserialize)]
struct ItemRecord<'a> {
    number: u32,
    pools: SmallVec<[u32; 2]>,
    #[serde(borrow)]
    sku: Cow<'a, str>,
    initial_stock: u64,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    price: Option<PriceRecord<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit_counts_since: Option<u64>,
    /// As many as `pools`, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty", borrow)]
    declared: Vec<PoolRecord<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sourcing: Option<SourcingRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    split: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    low_stock_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<GroupRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SourcingRecord {
    InOrder,
    Cheapest,
    MostAvailable,
}

#[derive(Serialize, Deserialize)]
struct PriceRecord<'a> {
    amount: u64,
    #[serde(borrow)]
    currency: Cow<'a, str>,
}

/// The bytes of a document whose items have these numbers.
pub fn encode(settings: &SaleSettings, numbers: &[Numbers]) -> Vec<u8> {
    assert_eq!(settings.items.len(), numbers.len(), "each item has its numbers");
    let quota = |quota: Quota| QuotaRecord { requests: quota.requests, window_seconds: quota.window_seconds };
    let record = SaleRecord {
        id: Cow::Borrowed(&settings.id),
        name: Cow::Borrowed(&settings.name),
        opens_at: settings.opens_at.millis(),
        closes_at: settings.closes_at.millis(),
        hold_seconds: settings.hold_seconds,
        max_extensions: settings.max_extensions,
        customer_limit: settings.customer_limit,
        rate_limits: settings.rate_limits.map(|limits| RateLimitsRecord {
            sale: limits.sale.map(quota),
            customer: limits.customer.map(quota),
            key: limits.key.map(quota),
        }),
        late_confirm_seconds: Some(settings.late_confirm_seconds).filter(|&seconds| seconds > 0),
        hold_budget: settings.hold_budget.map(|budget| HoldBudgetRecord {
            open_holds: budget.open_holds,
            expired_per_hour: budget.expired_per_hour,
        }),
        waitlist: settings.waitlist.map(|waitlist| WaitlistRecord {
            entries_max: waitlist.entries_max,
            entry_seconds: waitlist.entry_seconds,
            hold_seconds: waitlist.hold_seconds,
        }),
        phases: settings.phases.iter().map(PhaseRecord::new).collect(),
        items: settings.items.iter().zip(numbers).map(|(item, numbers)| ItemRecord::new(item, numbers)).collect(),
    };
    serde_json::to_vec(&record).expect("a record is plain data")
}

/// The document, and the numbers of its items.
pub fn decode(bytes: &[u8]) -> Result<(SaleSettings, Vec<Numbers>), BadRecord> {
    let record: SaleRecord<'_> = serde_json::from_slice(bytes)?;
    let quota = |quota: QuotaRecord| Quota { requests: quota.requests, window_seconds: quota.window_seconds };
    let numbers = record.items.iter().map(ItemRecord::numbers).collect();
    let settings = SaleSettings {
        id: record.id.into(),
        name: record.name.into(),
        opens_at: Timestamp::from_millis(record.opens_at),
        closes_at: Timestamp::from_millis(record.closes_at),
        hold_seconds: record.hold_seconds,
        max_extensions: record.max_extensions,
        customer_limit: record.customer_limit,
        rate_limits: record.rate_limits.map(|limits| RateLimits {
            sale: limits.sale.map(quota),
            customer: limits.customer.map(quota),
            key: limits.key.map(quota),
        }),
        late_confirm_seconds: record.late_confirm_seconds.unwrap_or_default(),
        hold_budget: record
            .hold_budget
            .map(|budget| HoldBudget { open_holds: budget.open_holds, expired_per_hour: budget.expired_per_hour }),
        waitlist: record.waitlist.map(|waitlist| Waitlist {
            entries_max: waitlist.entries_max,
            entry_seconds: waitlist.entry_seconds,
            hold_seconds: waitlist.hold_seconds,
        }),
        phases: record.phases.into_iter().map(PhaseRecord::settings).collect(),
        items: record.items.into_iter().map(ItemRecord::settings).collect::<Result<_, _>>()?,
    };
    Ok((settings, numbers))
}

impl PhaseRecord {
    fn new(phase: &Phase) -> Self {
        Self {
            name: phase.name.clone(),
            opens_at: phase.opens_at.millis(),
            closes_at: phase.closes_at.map(|end| end.millis()),
            tiers: phase.tiers.clone(),
            channels: phase.channels.clone(),
            customer_limit: phase.customer_limit,
        }
    }

    fn settings(self) -> Phase {
        Phase {
            name: self.name,
            opens_at: Timestamp::from_millis(self.opens_at),
            closes_at: self.closes_at.map(Timestamp::from_millis),
            tiers: self.tiers,
            channels: self.channels,
            customer_limit: self.customer_limit,
        }
    }
}

impl<'a> PoolRecord<'a> {
    fn new(pool: &'a PoolSettings) -> Self {
        Self {
            id: pool.id.clone(),
            initial_stock: pool.initial_stock,
            tiers: pool.tiers.clone(),
            channels: pool.channels.clone(),
            shared_at: pool.shared_at.map(|at| at.millis()),
            location: pool.location.clone(),
            costs: pool.costs.clone(),
            price: pool.price.as_ref().map(PriceRecord::new),
        }
    }

    fn settings(self) -> Result<PoolSettings, serde_json::Error> {
        Ok(PoolSettings {
            id: self.id,
            initial_stock: self.initial_stock,
            tiers: self.tiers,
            channels: self.channels,
            shared_at: self.shared_at.map(Timestamp::from_millis),
            location: self.location,
            costs: self.costs,
            price: self.price.map(PriceRecord::settings).transpose()?,
        })
    }
}

impl<'a> PriceRecord<'a> {
    fn new(price: &'a Price) -> Self {
        Self { amount: price.amount, currency: Cow::Borrowed(price.currency.as_str()) }
    }

    fn settings(self) -> Result<Price, serde_json::Error> {
        let currency = Currency::parse(&self.currency);
        let currency = currency.ok_or_else(|| serde::de::Error::custom("a currency is not ISO 4217"))?;
        Ok(Price { amount: self.amount, currency })
    }
}

impl From<Sourcing> for SourcingRecord {
    fn from(sourcing: Sourcing) -> Self {
        match sourcing {
            Sourcing::InOrder => Self::InOrder,
            Sourcing::Cheapest => Self::Cheapest,
            Sourcing::MostAvailable => Self::MostAvailable,
        }
    }
}

impl From<SourcingRecord> for Sourcing {
    fn from(record: SourcingRecord) -> Self {
        match record {
            SourcingRecord::InOrder => Self::InOrder,
            SourcingRecord::Cheapest => Self::Cheapest,
            SourcingRecord::MostAvailable => Self::MostAvailable,
        }
    }
}

impl<'a> ItemRecord<'a> {
    fn new(item: &'a ItemSettings, numbers: &Numbers) -> Self {
        Self {
            number: numbers.item.0,
            pools: numbers.pools.iter().map(|pool| pool.0).collect(),
            sku: Cow::Borrowed(&item.sku),
            initial_stock: item.initial_stock,
            price: item.price.as_ref().map(PriceRecord::new),
            customer_limit: item.customer_limit,
            limit_counts_since: item.limit_counts_since.map(|since| since.millis()),
            declared: item.pools.iter().map(PoolRecord::new).collect(),
            sourcing: item.sourcing.map(Into::into),
            split: item.split,
            low_stock_at: item.low_stock_at,
            group: item.group.map(|group| GroupRecord { size: group.size, seconds: group.seconds }),
        }
    }

    fn numbers(&self) -> Numbers {
        Numbers { item: ItemNumber(self.number), pools: self.pools.iter().copied().map(PoolNumber).collect() }
    }

    fn settings(self) -> Result<ItemSettings, serde_json::Error> {
        if !self.declared.is_empty() && self.declared.len() != self.pools.len() {
            return Err(serde::de::Error::custom("an item has other pools than numbers"));
        }
        Ok(ItemSettings {
            sku: self.sku.into(),
            initial_stock: self.initial_stock,
            price: self.price.map(PriceRecord::settings).transpose()?,
            customer_limit: self.customer_limit,
            limit_counts_since: self.limit_counts_since.map(Timestamp::from_millis),
            pools: self.declared.into_iter().map(PoolRecord::settings).collect::<Result<_, _>>()?,
            sourcing: self.sourcing.map(Into::into),
            split: self.split,
            low_stock_at: self.low_stock_at,
            group: self.group.map(|group| GroupSettings { size: group.size, seconds: group.seconds }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> (SaleSettings, Vec<Numbers>) {
        let text = r#"{"id":"drop","name":"\"Drop\" \u00e4","opens_at":"2026-11-27T08:00:00Z",
            "closes_at":"2026-11-27T09:00:00Z","hold_seconds":300,"max_extensions":2,"customer_limit":5,
            "late_confirm_seconds":600,"hold_budget":{"open_holds":3,"expired_per_hour":5},
            "waitlist":{"entries_max":1000,"entry_seconds":3600,"hold_seconds":120},
            "rate_limits":{"sale":{"requests":1,"window_seconds":2},"key":{"requests":3,"window_seconds":4}},
            "phases":[{"name":"early","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-27T08:10:00Z",
            "tiers":["gold"],"channels":["app"],"customer_limit":1},{"name":"all","opens_at":"2026-11-27T08:10:00Z"}],
            "items":[{"sku":"tv","initial_stock":10,"price":{"amount":19900,"currency":"EUR"},"customer_limit":1,
            "pools":[{"id":"gold","initial_stock":10,"tiers":["gold"],"channels":["app"],
            "shared_at":"2026-11-27T08:20:00Z","location":"berlin","costs":{"eu":490},
            "price":{"amount":1,"currency":"EUR"}}],"sourcing":"cheapest","split":false,"low_stock_at":3,
            "group":{"size":3,"seconds":600},
            "limit_counts_since":"2026-11-27T08:30:00.5Z"},{"sku":"a \"b\"\n","initial_stock":0}]}"#;
        let numbers = |item, pool| Numbers { item: ItemNumber(item), pools: [PoolNumber(pool)].into_iter().collect() };
        (serde_json::from_str(text).unwrap(), vec![numbers(7, 9), numbers(0, 0)])
    }

    #[test]
    fn a_document_comes_back_as_it_was() {
        let (settings, numbers) = document();
        let bytes = encode(&settings, &numbers);
        assert_eq!(decode(&bytes).unwrap(), (settings, numbers));
    }

    #[test]
    fn members_of_later_versions_are_skipped() {
        let (settings, numbers) = document();
        let text = String::from_utf8(encode(&settings, &numbers)).unwrap();
        let later = text.replacen('{', r#"{"later":{"a":[1]},"#, 1).replace(r#""sku""#, r#""new":null,"sku""#);
        assert_ne!(later, text);
        assert_eq!(decode(later.as_bytes()).unwrap(), (settings, numbers));
        assert!(decode(b"{}").is_err());
    }
}
