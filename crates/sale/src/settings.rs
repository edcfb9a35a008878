//! The settings of a sale: the document of `PUT /v1/sales/{sale}`, and its checks.
//!
//! Invariant: every accepted `SaleSettings` has passed `check`.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ids::{SaleId, check_name, check_text},
    object,
    rule::Rule,
    time::Timestamp,
};

/// Bounds of a sale document; each is a key of the configuration's `limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Items in one sale.
    pub items_per_sale_max: usize,
    /// Units of one item, initial stock and adjustments together.
    pub stock_max: u64,
    /// The longest hold, by settings or by request, in seconds.
    pub hold_seconds_max: u64,
    /// Extensions of one hold, also when the sale sets none.
    pub extensions_max: u32,
    /// Different lines of one reservation request.
    pub lines_max: usize,
}

/// The name of a sale, for people.
pub const SALE_NAME: Rule = Rule::Text { example: "Television doorbuster" };
pub const SKU: Rule = Rule::Name { example: "tv-55" };
/// Units that one customer may have.
pub const CUSTOMER_LIMIT: Rule = Rule::Whole { least: 1, most: u32::MAX as u64, example: 2 };
pub const PRICE_AMOUNT: Rule = Rule::Whole { least: 0, most: AMOUNT_MAX, example: 19_900 };
pub const QUOTA_REQUESTS: Rule = Rule::Whole { least: 0, most: u32::MAX as u64, example: 20 };
pub const QUOTA_WINDOW: Rule = Rule::Whole { least: 1, most: WINDOW_SECONDS_MAX as u64, example: 10 };

impl Limits {
    pub fn initial_stock(&self) -> Rule {
        Rule::Whole { least: 0, most: self.stock_max, example: self.stock_max.min(5000) as i64 }
    }

    pub fn delta(&self) -> Rule {
        Rule::Change { most: self.stock_max, example: self.stock_max.min(50) as i64 }
    }

    pub fn hold_seconds(&self) -> Rule {
        hold_seconds(self.hold_seconds_max)
    }

    pub fn max_extensions(&self) -> Rule {
        let most = u64::from(self.extensions_max);
        Rule::Whole { least: 0, most, example: most.min(2) as i64 }
    }
}

/// How long a hold may last.
pub fn hold_seconds(most: u64) -> Rule {
    Rule::Whole { least: 1, most, example: most.min(300) as i64 }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            items_per_sale_max: 10_000,
            stock_max: 1_000_000_000_000,
            hold_seconds_max: 86_400,
            extensions_max: 100,
            lines_max: 20,
        }
    }
}

/// An error in a request: where (an RFC 6901 pointer into its body) and what to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Invalid {
    /// Where: an RFC 6901 pointer into the body. Empty for the body as a whole, a header or the query.
    pub pointer: String,
    /// What is wrong there and what would be right, for people.
    pub detail: String,
}

impl Invalid {
    pub fn new(pointer: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self { pointer: pointer.into(), detail: detail.to_string() }
    }
}

/// The settings of a sale, as its operator sends them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaleSettings {
    /// The sale's id, the same as in the path. May be empty or left out.
    #[serde(default)]
    pub id: String,
    /// The sale's name, for people.
    pub name: String,
    /// When the sale opens: from then on units can be reserved. Before `closes_at`.
    pub opens_at: Timestamp,
    /// When the sale closes: from then on no more units can be reserved.
    pub closes_at: Timestamp,
    /// How long a hold lasts, in seconds, if the request does not say.
    pub hold_seconds: u64,
    /// How often one hold may be extended. Left out: as often as `limits.extensions_max` allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_extensions: Option<u32>,
    /// Units of each item that one customer may have, held and confirmed together. Left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_limit: Option<u32>,
    /// Quotas of requests that replace those of the configuration.
    #[serde(default, deserialize_with = "object::optional", skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<RateLimits>,
    /// What is on sale. Items can be added later, but not removed.
    #[serde(deserialize_with = "object::list")]
    pub items: Vec<ItemSettings>,
}

/// Quotas of requests for one sale. A quota that is left out is that of the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimits {
    /// Reserves of all callers together.
    #[serde(default, deserialize_with = "object::optional", skip_serializing_if = "Option::is_none")]
    pub sale: Option<Quota>,
    /// Reserves for one customer.
    #[serde(default, deserialize_with = "object::optional", skip_serializing_if = "Option::is_none")]
    pub customer: Option<Quota>,
    /// All calls of one key that have the sale in their path.
    #[serde(default, deserialize_with = "object::optional", skip_serializing_if = "Option::is_none")]
    pub key: Option<Quota>,
}

/// A number of requests per window: all at once, or spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// 0: no limit.
    pub requests: u32,
    /// The seconds in which that many requests become available again.
    pub window_seconds: u32,
}

/// The longest window of a quota: a day.
pub const WINDOW_SECONDS_MAX: u32 = 86_400;

impl Quota {
    /// Reads `20/10s`: 20 requests in 10 seconds.
    pub fn parse(text: &str) -> Option<Self> {
        let (requests, window) = text.split_once('/')?;
        let quota = Self { requests: requests.parse().ok()?, window_seconds: window.strip_suffix('s')?.parse().ok()? };
        (1..=WINDOW_SECONDS_MAX).contains(&quota.window_seconds).then_some(quota)
    }
}

/// An item of a sale, as its operator sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemSettings {
    /// The item's SKU, unique within the sale.
    pub sku: String,
    /// Units that the item starts with. Cannot change once the item exists: adjust its stock instead.
    pub initial_stock: u64,
    /// The price of one unit. A reservation keeps the price of the moment when its hold was made.
    #[serde(default, deserialize_with = "object::optional", skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Units of this item that one customer may have, held and confirmed together. Overrides the sale's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_limit: Option<u32>,
    /// Computed by the service, and ignored in a request. Units confirmed before this moment do not count towards the
    /// customer's limit, because they may have left memory before the limit was set. Left out when all units count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_counts_since: Option<Timestamp>,
}

/// An amount in minor units of an ISO 4217 currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// In minor units, such as cents.
    pub amount: u64,
    /// Three letters of ISO 4217.
    #[schema(value_type = String)]
    pub currency: Currency,
}

/// Three capital letters. The service does not check that ISO 4217 has the code: its list changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 3] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_uppercase).then_some(Self(letters))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("letters are ASCII")
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(Rule::Currency))
    }
}

/// Largest price, in minor units: it must fit a signed 64-bit column and stay exact in JSON (2^53 - 1).
pub const AMOUNT_MAX: u64 = (1 << 53) - 1;

impl SaleSettings {
    /// Every error in the document, with its pointer; empty if the document is valid.
    pub fn check(&self, limits: &Limits) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        let mut refuse = |pointer: String, detail: String| wrong.push(Invalid { pointer, detail });
        if SaleId::parse(&self.id).is_err() {
            refuse("/id".into(), Rule::SaleId.to_string());
        }
        if check_text(&self.name).is_err() {
            refuse("/name".into(), SALE_NAME.to_string());
        }
        if self.opens_at >= self.closes_at {
            refuse("/closes_at".into(), format!("must be after opens_at, which is {}", self.opens_at));
        }
        if self.hold_seconds == 0 || self.hold_seconds > limits.hold_seconds_max {
            refuse("/hold_seconds".into(), limits.hold_seconds().to_string());
        }
        if self.max_extensions.is_some_and(|most| most > limits.extensions_max) {
            refuse("/max_extensions".into(), limits.max_extensions().to_string());
        }
        if self.customer_limit == Some(0) {
            refuse("/customer_limit".into(), format!("{CUSTOMER_LIMIT}; leave it out for no limit"));
        }
        let limits_of = self.rate_limits.unwrap_or_default();
        for (member, quota) in [("sale", limits_of.sale), ("customer", limits_of.customer), ("key", limits_of.key)] {
            if quota.is_some_and(|quota| !(1..=WINDOW_SECONDS_MAX).contains(&quota.window_seconds)) {
                refuse(format!("/rate_limits/{member}/window_seconds"), QUOTA_WINDOW.to_string());
            }
        }
        if self.items.is_empty() || self.items.len() > limits.items_per_sale_max {
            refuse("/items".into(), format!("must be a list of 1 to {} items", limits.items_per_sale_max));
        }
        let mut seen = HashSet::new();
        for (index, item) in self.items.iter().enumerate().take(limits.items_per_sale_max) {
            let mut refuse = |member: &str, detail: String| {
                wrong.push(Invalid { pointer: format!("/items/{index}/{member}"), detail });
            };
            item.check(limits, &mut refuse);
            if !seen.insert(item.sku.as_str()) {
                refuse("sku", format!("{:?} appears twice in this sale; remove one", item.sku));
            }
        }
        wrong
    }
}

impl ItemSettings {
    fn check(&self, limits: &Limits, refuse: &mut impl FnMut(&str, String)) {
        if check_name(&self.sku).is_err() {
            refuse("sku", SKU.to_string());
        }
        if self.initial_stock > limits.stock_max {
            refuse("initial_stock", limits.initial_stock().to_string());
        }
        if self.price.is_some_and(|price| price.amount > AMOUNT_MAX) {
            refuse("price/amount", PRICE_AMOUNT.to_string());
        }
        if self.customer_limit == Some(0) {
            refuse("customer_limit", format!("{CUSTOMER_LIMIT}; leave it out for the sale's limit"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> SaleSettings {
        serde_json::from_str(
            r#"{"id":"drop","name":"Drop","opens_at":"2026-11-27T08:00:00Z","closes_at":"2026-11-27T09:00:00Z",
                "hold_seconds":300,"items":[{"sku":"tv","initial_stock":10,"price":{"amount":19900,"currency":"EUR"}}]}"#,
        )
        .unwrap()
    }

    fn pointers(settings: &SaleSettings) -> Vec<String> {
        settings.check(&Limits::default()).into_iter().map(|wrong| wrong.pointer).collect()
    }

    #[test]
    fn a_good_document_is_let_in() {
        assert_eq!(pointers(&document()), Vec::<String>::new());
    }

    #[test]
    fn each_wrong_member_is_pointed_at() {
        let mut bad = document();
        bad.id = "Drop".into();
        bad.name = String::new();
        bad.closes_at = bad.opens_at;
        bad.hold_seconds = 0;
        bad.max_extensions = Some(101);
        bad.customer_limit = Some(0);
        bad.items.push(bad.items[0].clone());
        bad.items[1].initial_stock = u64::MAX;
        bad.items[1].price = Some(Price { amount: u64::MAX, currency: Currency::parse("EUR").unwrap() });
        assert_eq!(
            pointers(&bad),
            [
                "/id",
                "/name",
                "/closes_at",
                "/hold_seconds",
                "/max_extensions",
                "/customer_limit",
                "/items/1/initial_stock",
                "/items/1/price/amount",
                "/items/1/sku"
            ]
        );
    }

    #[test]
    fn quotas_are_read_and_bounded() {
        assert_eq!(Quota::parse("20/10s"), Some(Quota { requests: 20, window_seconds: 10 }));
        for bad in ["", "20", "20/", "20/10", "20/0s", "20/86401s", "-1/1s", "x/1s"] {
            assert_eq!(Quota::parse(bad), None, "{bad}");
        }
        let mut sale = document();
        let window = |window_seconds| Some(Quota { requests: 1, window_seconds });
        sale.rate_limits = Some(RateLimits { sale: window(0), customer: window(1), key: window(86_401) });
        assert_eq!(pointers(&sale), ["/rate_limits/sale/window_seconds", "/rate_limits/key/window_seconds"]);
    }

    #[test]
    fn currencies_are_three_capital_letters() {
        assert!(Currency::parse("JPY").is_some());
        for bad in ["", "eur", "EURO", "E1R"] {
            assert!(Currency::parse(bad).is_none(), "{bad}");
        }
    }
}
