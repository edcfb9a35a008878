//! A sale document as the journal keeps it: JSON with the numbers of items and pools.
//!
//! It is a type of its own, so that the document that operators send can change without the journal, and the other way round.
//! A new member is optional: earlier versions skip members that they do not know. Invariant: `decode(encode(...))` is what was
//! encoded.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{
    ids::{ItemNumber, PoolNumber},
    settings::{Currency, ItemSettings, Price, Quota, RateLimits, SaleSettings},
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
    items: Vec<ItemRecord<'a>>,
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
        items: record.items.into_iter().map(ItemRecord::settings).collect::<Result<_, _>>()?,
    };
    Ok((settings, numbers))
}

impl<'a> ItemRecord<'a> {
    fn new(item: &'a ItemSettings, numbers: &Numbers) -> Self {
        Self {
            number: numbers.item.0,
            pools: numbers.pools.iter().map(|pool| pool.0).collect(),
            sku: Cow::Borrowed(&item.sku),
            initial_stock: item.initial_stock,
            price: item
                .price
                .as_ref()
                .map(|price| PriceRecord { amount: price.amount, currency: Cow::Borrowed(price.currency.as_str()) }),
            customer_limit: item.customer_limit,
            limit_counts_since: item.limit_counts_since.map(|since| since.millis()),
        }
    }

    fn numbers(&self) -> Numbers {
        Numbers { item: ItemNumber(self.number), pools: self.pools.iter().copied().map(PoolNumber).collect() }
    }

    fn settings(self) -> Result<ItemSettings, serde_json::Error> {
        let price = self.price.map(|price| {
            let currency = Currency::parse(&price.currency);
            let currency = currency.ok_or_else(|| serde::de::Error::custom("a currency is not ISO 4217"))?;
            Ok::<_, serde_json::Error>(Price { amount: price.amount, currency })
        });
        Ok(ItemSettings {
            sku: self.sku.into(),
            initial_stock: self.initial_stock,
            price: price.transpose()?,
            customer_limit: self.customer_limit,
            limit_counts_since: self.limit_counts_since.map(Timestamp::from_millis),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> (SaleSettings, Vec<Numbers>) {
        let text = r#"{"id":"drop","name":"\"Drop\" \u00e4","opens_at":"2026-11-27T08:00:00Z",
            "closes_at":"2026-11-27T09:00:00Z","hold_seconds":300,"max_extensions":2,"customer_limit":5,
            "rate_limits":{"sale":{"requests":1,"window_seconds":2},"key":{"requests":3,"window_seconds":4}},
            "items":[{"sku":"tv","initial_stock":10,"price":{"amount":19900,"currency":"EUR"},"customer_limit":1,
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
