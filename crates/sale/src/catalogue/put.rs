//! Judges sale documents against what is there.

use std::collections::HashMap;

use super::{Catalogue, Definition, Put, RETIRED_AHEAD_MILLIS, Sale};
use crate::{
    event::{LowStockChange, record::Numbers},
    ids::{ItemNumber, PoolNumber, SaleNumber},
    outcome::Refusal,
    settings::{DEFAULT_POOL, Invalid, ItemSettings, Limits, SaleSettings},
    time::Timestamp,
};

impl Catalogue {
    /// Judges a sale document against what is there; on success the numbers of its items and pools, new ones at the end.
    pub fn judge_put(
        &self,
        settings: &SaleSettings,
        limits: &Limits,
    ) -> Result<(Put, SaleNumber, Vec<Numbers>), Refusal> {
        let wrong = settings.check(limits);
        if !wrong.is_empty() {
            return Err(Refusal::Invalid(wrong));
        }
        let present = self.sale(&settings.id).ok();
        if let Some(sale) = present {
            judge_replacement(sale, settings)?;
        }
        let (mut items, mut pools) = (self.items.len() as u32.., self.pools.len() as u32..);
        let numbers = settings.items.iter().map(|item| match present.and_then(|sale| sale.item(&item.sku)) {
            Some(known) => {
                let mut number =
                    |id| known.pool(id).unwrap_or_else(|| PoolNumber(pools.next().expect("pools are limited")));
                let pools = item.pools_or_default().map(|(id, _)| number(id)).collect();
                Numbers { item: known.number, pools }
            }
            None => Numbers {
                item: ItemNumber(items.next().expect("items are limited")),
                pools: item.pools_or_default().map(|_| PoolNumber(pools.next().expect("pools are limited"))).collect(),
            },
        });
        let numbers = numbers.collect();
        match present {
            Some(sale) => Ok((Put::Replaced, sale.number, numbers)),
            None => Ok((Put::Created, SaleNumber(self.sales.len() as u32), numbers)),
        }
    }

    /// The items of a prepared document whose stock is low at another level than before, and new ones that have one.
    pub fn low_stock_changed_by(&self, definition: &Definition) -> Vec<LowStockChange> {
        let changes = definition.items.iter().filter_map(|item| {
            let (item, to) = (item.number, item.settings.low_stock_at);
            if item.index() >= self.items.len() {
                return to.map(|_| LowStockChange { item, from: to, to });
            }
            let from = self.item_numbered(item).settings.low_stock_at;
            (from != to).then_some(LowStockChange { item, from, to })
        });
        changes.collect()
    }

    /// The document as it is kept: with the moment since when units count, for each item whose limit came later than some of
    /// its units may have left memory. `retention_millis`: how long what is over stays in memory.
    pub fn with_counts(&self, now: Timestamp, settings: &SaleSettings, retention_millis: u64) -> SaleSettings {
        let mut settings = settings.clone();
        let present = self.sale(&settings.id).ok();
        let limits_all =
            settings.customer_limit.is_some() || settings.phases.iter().any(|phase| phase.customer_limit.is_some());
        let remembered_since = now.minus_millis(retention_millis).plus_millis(RETIRED_AHEAD_MILLIS);
        for item in &mut settings.items {
            item.limit_counts_since = present.and_then(|sale| {
                let known = sale.item(&item.sku)?;
                if item.customer_limit.is_none() && !limits_all {
                    return None;
                }
                if sale.may_limit_customers(&known.settings) {
                    return known.settings.limit_counts_since;
                }
                (remembered_since > sale.created_at).then_some(remembered_since)
            });
        }
        settings
    }
}

fn judge_replacement(sale: &Sale, settings: &SaleSettings) -> Result<(), Refusal> {
    if sale.is_closed() {
        return Err(Refusal::SaleEnded);
    }
    let mut named: HashMap<&str, &ItemSettings> = HashMap::with_capacity(settings.items.len());
    named.extend(settings.items.iter().map(|item| (item.sku.as_str(), item)));
    for known in &*sale.items {
        let sku = &known.settings.sku;
        match named.get(sku.as_str()) {
            None => {
                let detail = format!("must still have the item {sku:?}: items can be added, but not removed");
                return Err(Refusal::Invalid(vec![Invalid::new("/items", detail)]));
            }
            Some(item) if item.initial_stock != known.settings.initial_stock => {
                let initial_stock = known.settings.initial_stock;
                return Err(Refusal::InitialStockImmutable { sku: sku.clone(), pool: None, initial_stock });
            }
            Some(item) => judge_pools(&known.settings, item)?,
        }
    }
    Ok(())
}

/// Pools of an item can be added without stock, and stay otherwise.
fn judge_pools(known: &ItemSettings, item: &ItemSettings) -> Result<(), Refusal> {
    let sku = &known.sku;
    for (id, initial_stock) in known.pools_or_default() {
        match item.pools_or_default().find(|(other, _)| *other == id) {
            None => {
                let advice = match id {
                    DEFAULT_POOL => "; the pool of an item that declared none is named so",
                    _ => "",
                };
                let detail = format!(
                    "the item {sku:?} must still have the pool {id:?}: pools can be added, but not removed{advice}"
                );
                return Err(Refusal::Invalid(vec![Invalid::new("/items", detail)]));
            }
            Some((_, other)) if other != initial_stock => {
                let pool = Some(id.to_owned());
                return Err(Refusal::InitialStockImmutable { sku: sku.clone(), pool, initial_stock });
            }
            Some(_) => {}
        }
    }
    let known_too = |id: &str| known.pools_or_default().any(|(known, _)| known == id);
    match item.pools_or_default().find(|(id, initial_stock)| *initial_stock > 0 && !known_too(id)) {
        None => Ok(()),
        Some((id, _)) => {
            Err(Refusal::InitialStockImmutable { sku: sku.clone(), pool: Some(id.to_owned()), initial_stock: 0 })
        }
    }
}
