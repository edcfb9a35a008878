//! Requests and sale documents in few words.

use doorbuster::sale::{
    command::{Adjust, AskedLine, Extras, Reserve},
    ids::GroupId,
    settings::{Currency, GroupSettings, ItemSettings, Phase, PoolSettings, Price, SaleSettings},
    time::Timestamp,
};

use super::OPENING;

/// A sale from `OPENING` on for eight hours, with holds of five minutes and no limits.
pub fn sale(id: &str, items: &[(&str, u64)]) -> SaleSettings {
    SaleSettings {
        id: id.into(),
        name: format!("The {id} sale"),
        opens_at: OPENING,
        closes_at: OPENING.plus_seconds(8 * 3600),
        hold_seconds: 300,
        max_extensions: None,
        customer_limit: None,
        rate_limits: None,
        late_confirm_seconds: 0,
        hold_budget: None,
        waitlist: None,
        phases: Vec::new(),
        items: items.iter().map(|&(sku, stock)| item(sku, stock)).collect(),
    }
}

pub fn item(sku: &str, initial_stock: u64) -> ItemSettings {
    ItemSettings {
        sku: sku.into(),
        initial_stock,
        price: None,
        customer_limit: None,
        pools: Vec::new(),
        sourcing: None,
        split: None,
        low_stock_at: None,
        group: None,
        limit_counts_since: None,
    }
}

/// An item whose stock lies in these pools.
pub fn item_of(sku: &str, pools: Vec<PoolSettings>) -> ItemSettings {
    let initial_stock = pools.iter().map(|pool| pool.initial_stock).sum();
    ItemSettings { pools, ..item(sku, initial_stock) }
}

/// An item that is sold to groups.
pub fn group_item(sku: &str, initial_stock: u64, size: u8, seconds: u32) -> ItemSettings {
    ItemSettings { group: Some(GroupSettings { size, seconds }), ..item(sku, initial_stock) }
}

/// Of a reserve that joins a group, or opens one.
pub fn in_group(group: Option<GroupId>) -> Extras<'static> {
    Extras { group, ..Extras::default() }
}

/// Open to everybody, at the item's price.
pub fn pool(id: &str, initial_stock: u64) -> PoolSettings {
    PoolSettings {
        id: id.into(),
        initial_stock,
        tiers: None,
        channels: None,
        shared_at: None,
        location: None,
        costs: None,
        price: None,
    }
}

/// For everybody, to the end of the sale.
pub fn phase(name: &str, opens_at: Timestamp) -> Phase {
    Phase { name: name.into(), opens_at, closes_at: None, tiers: None, channels: None, customer_limit: None }
}

pub fn cents(amount: u64) -> Option<Price> {
    Some(Price { amount, currency: Currency::parse("EUR").expect("a currency") })
}

/// What a customer of this tier says beside what is asked for.
pub fn tier(tier: &str) -> Extras<'_> {
    let mut extras = Extras::default();
    extras.attributes.tier = Some(tier.into());
    extras
}

pub fn reserve<'a>(sale: &'a str, customer: &'a str, lines: &[(&'a str, u32)]) -> Reserve<'a> {
    let lines = lines.iter().map(|&(sku, units)| AskedLine { sku, units }).collect();
    Reserve { sale, customer, lines, hold_seconds: None, reference: None, key: None, extras: None }
}

pub fn adjust<'a>(sale: &'a str, sku: &'a str, delta: i64) -> Adjust<'a> {
    Adjust { sale, sku, pool: None, delta, reason: None, reference: None, key: None }
}
