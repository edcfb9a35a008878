//! The settings of a sale: the document of `PUT /v1/sales/{sale}`, and its checks.
//!
//! Invariant: every accepted `SaleSettings` has passed `check`.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    attributes::Audience,
    ids::{SaleId, check_name, check_slug, check_text},
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
/// The name of a phase.
pub const PHASE_NAME: Rule = Rule::Slug { example: "early-access" };
/// The id of a pool, unique within its item.
pub const POOL_ID: Rule = Rule::Slug { example: "members" };
pub const TIER: Rule = Rule::Slug { example: "gold" };
pub const CHANNEL: Rule = Rule::Slug { example: "livestream" };
pub const REGION: Rule = Rule::Slug { example: "eu-west" };
pub const LOCATION: Rule = Rule::Slug { example: "berlin-1" };
/// What a unit costs to send from a pool to a region, in a measure of the caller's.
pub const COST: Rule = Rule::Whole { least: 0, most: AMOUNT_MAX, example: 490 };
pub const SOURCING: Rule = Rule::OneOf { words: &["in_order", "cheapest", "most_available"] };

/// Phases of one sale.
pub const PHASES_MAX: usize = 20;
/// Pools of one item.
pub const POOLS_MAX: usize = 64;
/// Tiers, or channels, of one phase or pool; regions with costs of one pool.
pub const NAMES_MAX: usize = 64;
/// The pool of an item that declares none.
pub const DEFAULT_POOL: &str = "default";

/// Customers that may wait in one sale at once.
pub const WAITLIST_ENTRIES: Rule = Rule::Whole { least: 1, most: WAITLIST_ENTRIES_MAX as u64, example: 10_000 };
pub const WAITLIST_ENTRIES_MAX: u32 = 10_000_000;
/// How long a waitlist entry waits at the most.
pub const WAITLIST_SECONDS: Rule = Rule::Whole { least: 1, most: WAITLIST_SECONDS_MAX as u64, example: 3600 };
pub const WAITLIST_SECONDS_MAX: u32 = 30 * 86_400;
/// For how long after its end a hold may still be confirmed.
pub const LATE_CONFIRM_SECONDS: Rule = Rule::Whole { least: 0, most: LATE_CONFIRM_SECONDS_MAX as u64, example: 600 };
pub const LATE_CONFIRM_SECONDS_MAX: u32 = 7 * 86_400;
/// Holds of one customer in a sale.
pub const BUDGET: Rule = Rule::Whole { least: 1, most: u32::MAX as u64, example: 3 };

/// Members of a group.
pub const GROUP_SIZE: Rule = Rule::Whole { least: GROUP_SIZE_MIN as i64, most: GROUP_SIZE_MAX as u64, example: 3 };
pub const GROUP_SIZE_MIN: u8 = 2;
pub const GROUP_SIZE_MAX: u8 = 100;

pub const QUOTA_REQUESTS: Rule = Rule::Whole { least: 0, most: u32::MAX as u64, example: 20 };
pub const QUOTA_WINDOW: Rule = Rule::Whole { least: 1, most: WINDOW_SECONDS_MAX as u64, example: 10 };

impl Limits {
    pub fn initial_stock(&self) -> Rule {
        Rule::Whole { least: 0, most: self.stock_max, example: self.stock_max.min(5000) as i64 }
    }

    /// The level from which on an item's stock is low.
    pub fn low_stock_at(&self) -> Rule {
        Rule::Whole { least: 0, most: self.stock_max, example: self.stock_max.min(100) as i64 }
    }

    pub fn delta(&self) -> Rule {
        Rule::Change { most: self.stock_max, example: self.stock_max.min(50) as i64 }
    }

    /// Units of one transfer.
    pub fn transfer(&self) -> Rule {
        Rule::Whole { least: 1, most: self.stock_max, example: self.stock_max.min(50) as i64 }
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
    /// For how long after its end a hold may still be confirmed, in seconds, if its units are still available. Left out: 0, not at
    /// all. No longer than reservations stay in memory (`retention_seconds` of the configuration).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late_confirm_seconds: u32,
    /// How many holds a customer may have at once, and let expire. Left out: any number.
    #[serde(default, deserialize_with = "object::optional", skip_serializing_if = "Option::is_none")]
    pub hold_budget: Option<HoldBudget>,
    /// Who finds too few units may wait for those that come back. Left out: nobody waits.
    #[serde(default, deserialize_with = "object::optional", skip_serializing_if = "Option::is_none")]
    pub waitlist: Option<Waitlist>,
    /// Quotas of requests that replace those of the configuration.
    #[serde(default, deserialize_with = "object::optional", skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<RateLimits>,
    /// Who may buy when. Left out: everybody, for as long as the sale is open.
    #[serde(default, deserialize_with = "object::list", skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// What is on sale. Items can be added later, but not removed.
    #[serde(deserialize_with = "object::list")]
    pub items: Vec<ItemSettings>,
}

/// A part of a sale's window in which certain customers may buy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// The phase's name, unique within the sale.
    pub name: String,
    /// When it begins. Inside the sale's window.
    #[schema(value_type = String)]
    pub opens_at: Timestamp,
    /// When it ends. Left out: with the sale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub closes_at: Option<Timestamp>,
    /// Customers of these tiers are let in. Left out: of all tiers, and of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<Vec<String>>,
    /// Requests through these channels are let in. Left out: through all channels, and through none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
    /// Units of each item that a customer whom this phase lets in may have. The smaller one of this and the item's limit counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_limit: Option<u32>,
}

impl Phase {
    pub fn audience(&self) -> Audience<'_> {
        Audience { tiers: self.tiers.as_deref(), channels: self.channels.as_deref() }
    }

    /// Whether it runs at this moment of the sale's window.
    pub fn runs(&self, at: Timestamp) -> bool {
        at >= self.opens_at && self.closes_at.is_none_or(|end| at < end)
    }
}

/// Holds of one customer in a sale. A member that is left out limits nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldBudget {
    /// Holds that a customer may have at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_holds: Option<u32>,
    /// Holds that a customer may let expire within an hour. Whoever reached it waits until fewer of them are that recent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired_per_hour: Option<u32>,
}

/// The waitlist of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Waitlist {
    /// Customers that may wait at once.
    pub entries_max: u32,
    /// How long an entry waits at the most, in seconds.
    pub entry_seconds: u32,
    /// How long a hold lasts that is made for an entry, in seconds. Left out: the sale's `hold_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<u32>,
}

/// Which pools a line draws from first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sourcing {
    /// As listed.
    #[default]
    InOrder,
    /// By `costs` of the request's region; pools without that region come last, else as listed.
    Cheapest,
    /// The pool with the most available units first.
    MostAvailable,
}

/// A part of an item's stock with units of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSettings {
    /// The pool's id, unique within the item.
    pub id: String,
    /// Units that the pool starts with. Cannot change once the pool exists: adjust or transfer stock instead.
    pub initial_stock: u64,
    /// Open to customers of these tiers. Left out: of all tiers, and of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<Vec<String>>,
    /// Open to requests through these channels. Left out: through all channels, and through none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
    /// From this moment on it is open to everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_at: Option<Timestamp>,
    /// Where its units are, such as a warehouse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What a unit costs to send to each region, for `sourcing: cheapest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub costs: Option<BTreeMap<String, u64>>,
    /// The price of one unit from this pool; left out: the item's.
    #[serde(default, deserialize_with = "object::optional", skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

impl PoolSettings {
    pub fn audience(&self) -> Audience<'_> {
        Audience { tiers: self.tiers.as_deref(), channels: self.channels.as_deref() }
    }

    pub fn is_shared(&self, at: Timestamp) -> bool {
        self.shared_at.is_some_and(|shared_at| at >= shared_at)
    }
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
    /// The parts of its stock. Left out: one pool, `default`. Pools can be added later with `initial_stock` 0, but not removed.
    #[serde(default, deserialize_with = "object::list", skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolSettings>,
    /// Which pools a line draws from first. Left out: `in_order`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sourcing: Option<Sourcing>,
    /// Whether a line may draw from several pools. Left out: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<bool>,
    /// Its stock is low while no more units than this are available: when it becomes so, the feed has an event. Left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_stock_at: Option<u64>,
    /// It is sold to groups of customers only. Left out: to each customer alone.
    #[serde(default, deserialize_with = "object::optional", skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupSettings>,
    /// Computed by the service, and ignored in a request. Units confirmed before this moment do not count towards the
    /// customer's limit, because they may have left memory before the limit was set. Left out when all units count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_counts_since: Option<Timestamp>,
}

/// How an item is sold to groups: all members of a group get their units, or none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupSettings {
    /// Members that make a group complete.
    pub size: u8,
    /// For how long a group is open, in seconds. It never outlasts the sale's window.
    pub seconds: u32,
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

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
        if self.late_confirm_seconds > LATE_CONFIRM_SECONDS_MAX {
            refuse("/late_confirm_seconds".into(), LATE_CONFIRM_SECONDS.to_string());
        }
        let budget = self.hold_budget.unwrap_or_default();
        for (member, limit) in [("open_holds", budget.open_holds), ("expired_per_hour", budget.expired_per_hour)] {
            if limit == Some(0) {
                refuse(format!("/hold_budget/{member}"), format!("{BUDGET}; leave it out for no limit"));
            }
        }
        if let Some(waitlist) = self.waitlist {
            if !(1..=WAITLIST_ENTRIES_MAX).contains(&waitlist.entries_max) {
                refuse("/waitlist/entries_max".into(), WAITLIST_ENTRIES.to_string());
            }
            if !(1..=WAITLIST_SECONDS_MAX).contains(&waitlist.entry_seconds) {
                refuse("/waitlist/entry_seconds".into(), WAITLIST_SECONDS.to_string());
            }
            let hold_seconds = waitlist.hold_seconds.map(u64::from);
            if hold_seconds.is_some_and(|seconds| seconds == 0 || seconds > limits.hold_seconds_max) {
                refuse("/waitlist/hold_seconds".into(), limits.hold_seconds().to_string());
            }
        }
        let limits_of = self.rate_limits.unwrap_or_default();
        for (member, quota) in [("sale", limits_of.sale), ("customer", limits_of.customer), ("key", limits_of.key)] {
            if quota.is_some_and(|quota| !(1..=WINDOW_SECONDS_MAX).contains(&quota.window_seconds)) {
                refuse(format!("/rate_limits/{member}/window_seconds"), QUOTA_WINDOW.to_string());
            }
        }
        self.check_phases(&mut refuse);
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

    fn check_phases(&self, refuse: &mut impl FnMut(String, String)) {
        if self.phases.len() > PHASES_MAX {
            refuse("/phases".into(), format!("must be a list of 1 to {PHASES_MAX} phases"));
        }
        let mut seen = HashSet::new();
        for (index, phase) in self.phases.iter().enumerate().take(PHASES_MAX) {
            let mut refuse = |member: &str, detail: String| refuse(format!("/phases/{index}/{member}"), detail);
            if check_slug(&phase.name).is_err() {
                refuse("name", PHASE_NAME.to_string());
            }
            if !seen.insert(phase.name.as_str()) {
                refuse("name", format!("{:?} appears twice in this sale; rename one", phase.name));
            }
            if phase.opens_at < self.opens_at || phase.opens_at >= self.closes_at {
                refuse("opens_at", format!("must be from {} to before {}", self.opens_at, self.closes_at));
            }
            if phase.closes_at.is_some_and(|end| end <= phase.opens_at || end > self.closes_at) {
                let detail = format!("must be after {}, and at the latest {}", phase.opens_at, self.closes_at);
                refuse("closes_at", detail);
            }
            check_audience(phase.audience(), &mut refuse);
            if phase.customer_limit == Some(0) {
                refuse("customer_limit", format!("{CUSTOMER_LIMIT}; leave it out for the item's limit"));
            }
        }
    }
}

/// Checks the lists of an audience.
fn check_audience(audience: Audience<'_>, refuse: &mut impl FnMut(&str, String)) {
    for (member, list, rule) in [("tiers", audience.tiers, TIER), ("channels", audience.channels, CHANNEL)] {
        let Some(list) = list else { continue };
        if list.is_empty() || list.len() > NAMES_MAX {
            refuse(member, format!("must be a list of 1 to {NAMES_MAX} names; leave it out for all"));
        }
        for (index, name) in list.iter().enumerate().take(NAMES_MAX) {
            if check_slug(name).is_err() {
                refuse(&format!("{member}/{index}"), rule.to_string());
            }
        }
    }
}

impl ItemSettings {
    /// Whether the document declares its pools.
    pub fn has_pools(&self) -> bool {
        !self.pools.is_empty()
    }

    /// Ids and initial stocks of its pools, the default one included.
    pub fn pools_or_default(&self) -> impl Iterator<Item = (&str, u64)> {
        let default = (!self.has_pools()).then_some((DEFAULT_POOL, self.initial_stock));
        default.into_iter().chain(self.pools.iter().map(|pool| (pool.id.as_str(), pool.initial_stock)))
    }

    /// The place of a pool among its pools.
    pub fn pool_index(&self, id: &str) -> Option<usize> {
        self.pools_or_default().position(|(known, _)| known == id)
    }

    /// The id of the pool at this place.
    pub fn pool_id(&self, index: usize) -> &str {
        self.pools.get(index).map_or(DEFAULT_POOL, |pool| &pool.id)
    }

    pub fn sourcing(&self) -> Sourcing {
        self.sourcing.unwrap_or_default()
    }

    /// Whether its stock is low with so many units available.
    pub fn is_low(&self, available: u64) -> bool {
        self.low_stock_at.is_some_and(|low_stock_at| available <= low_stock_at)
    }

    pub fn may_split(&self) -> bool {
        self.split.unwrap_or(true)
    }

    fn check_pools(&self, limits: &Limits, refuse: &mut impl FnMut(&str, String)) {
        if self.pools.len() > POOLS_MAX {
            refuse("pools", format!("must be a list of 1 to {POOLS_MAX} pools"));
        }
        let (mut seen, mut sum) = (HashSet::new(), 0_u64);
        let mut currency = self.price.map(|price| price.currency);
        for (index, pool) in self.pools.iter().enumerate().take(POOLS_MAX) {
            let mut refuse = |member: &str, detail: String| refuse(&format!("pools/{index}/{member}"), detail);
            if check_slug(&pool.id).is_err() {
                refuse("id", POOL_ID.to_string());
            }
            if !seen.insert(pool.id.as_str()) {
                refuse("id", format!("{:?} appears twice in this item; rename one", pool.id));
            }
            if pool.initial_stock > limits.stock_max {
                refuse("initial_stock", limits.initial_stock().to_string());
            }
            sum = sum.saturating_add(pool.initial_stock);
            check_audience(pool.audience(), &mut refuse);
            if pool.shared_at.is_some() && pool.audience().is_all() {
                refuse(
                    "shared_at",
                    "must be left out: the pool is open to everybody, as it has no tiers or channels".into(),
                );
            }
            if pool.location.as_deref().is_some_and(|location| check_slug(location).is_err()) {
                refuse("location", LOCATION.to_string());
            }
            let costs = pool.costs.iter().flatten();
            if costs.clone().count() > NAMES_MAX {
                refuse("costs", format!("must have at most {NAMES_MAX} regions"));
            }
            for (region, &cost) in costs.take(NAMES_MAX) {
                if check_slug(region).is_err() {
                    refuse("costs", format!("each region {REGION}"));
                }
                if cost > AMOUNT_MAX {
                    refuse(&format!("costs/{region}"), COST.to_string());
                }
            }
            let Some(price) = pool.price else { continue };
            if price.amount > AMOUNT_MAX {
                refuse("price/amount", PRICE_AMOUNT.to_string());
            }
            let first = *currency.get_or_insert(price.currency);
            if first != price.currency {
                refuse("price/currency", format!("must be {}, as an item has one currency", first.as_str()));
            }
        }
        if self.has_pools() && sum != self.initial_stock {
            let detail = format!("must be {sum}, the sum of its pools' initial_stock");
            refuse("initial_stock", detail);
        }
    }

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
        if self.low_stock_at.is_some_and(|level| level > limits.stock_max) {
            refuse("low_stock_at", limits.low_stock_at().to_string());
        }
        if let Some(GroupSettings { size, seconds }) = self.group {
            if !(GROUP_SIZE_MIN..=GROUP_SIZE_MAX).contains(&size) {
                refuse("group/size", GROUP_SIZE.to_string());
            }
            if seconds == 0 || u64::from(seconds) > limits.hold_seconds_max {
                refuse("group/seconds", limits.hold_seconds().to_string());
            }
        }
        self.check_pools(limits, refuse);
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
        bad.items[1].low_stock_at = Some(u64::MAX);
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
                "/items/1/low_stock_at",
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
