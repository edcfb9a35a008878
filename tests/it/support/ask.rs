//! Requests and sale documents in few words.

use doorbuster::sale::{
    command::{Adjust, AskedLine, Reserve},
    settings::{ItemSettings, SaleSettings},
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
        limit_counts_since: None,
    }
}

pub fn reserve<'a>(sale: &'a str, customer: &'a str, lines: &[(&'a str, u32)]) -> Reserve<'a> {
    let lines = lines.iter().map(|&(sku, units)| AskedLine { sku, units }).collect();
    Reserve { sale, customer, lines, hold_seconds: None, reference: None, key: None, extras: None }
}

pub fn adjust<'a>(sale: &'a str, sku: &'a str, delta: i64) -> Adjust<'a> {
    Adjust { sale, sku, pool: None, delta, reason: None, reference: None, key: None }
}
