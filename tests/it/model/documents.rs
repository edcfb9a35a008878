//! Sale documents made of what proptest draws and of what the sale has already.

use std::collections::BTreeMap;

use doorbuster::sale::{
    settings::{Currency, DEFAULT_POOL, GroupSettings, ItemSettings, Phase, PoolSettings, Price, SaleSettings},
    time::Timestamp,
};

use super::commands::{
    CHANNELS, Document, Fault, LOCATIONS, POOLS, PhaseShape, PoolShape, REGIONS, SKUS, STOCKS, TIERS,
};
use crate::support::ask;

/// `known`: the document in force.
pub fn settings(now: Timestamp, id: &str, document: &Document, known: Option<&SaleSettings>) -> SaleSettings {
    let at = |seconds: i64| now.shifted(seconds * 1000);
    let known_items = known.map_or(0, |known| known.items.len());
    let kept = if document.fault == Some(Fault::RemovedItem) { known_items.saturating_sub(1) } else { known_items };
    let mut items: Vec<_> = (0..kept.max(document.items)).map(|index| item(now, index, document, known)).collect();
    items[0].price = document.price.map(price);
    if let Some(second) = items.get_mut(1) {
        second.customer_limit = document.item_limit;
    }
    if document.fault == Some(Fault::ChangedStock) && known.is_some() {
        items[0].initial_stock += 1;
    }
    if document.reversed {
        items.reverse();
    }
    let (opens_at, closes_at) = (at(document.opens_in), at(document.closes_in));
    let phases = document.phases.iter().enumerate();
    SaleSettings {
        id: id.into(),
        name: format!("The {id} sale"),
        opens_at,
        closes_at,
        hold_seconds: document.hold_seconds,
        max_extensions: document.max_extensions,
        customer_limit: document.customer_limit,
        rate_limits: None,
        late_confirm_seconds: document.late_confirm_seconds,
        hold_budget: document.hold_budget,
        waitlist: None,
        phases: phases.filter_map(|(index, shape)| phase(now, index, shape, opens_at, closes_at)).collect(),
        items,
    }
}

fn price(amount: u64) -> Price {
    Price { amount, currency: Currency::parse("EUR").expect("a currency") }
}

fn names(list: &[&str], drawn: &Option<Vec<usize>>) -> Option<Vec<String>> {
    Some(drawn.as_ref()?.iter().map(|&index| list[index].to_owned()).collect())
}

/// None where it does not fit into the sale's window. No two phases begin at the same moment.
fn phase(now: Timestamp, index: usize, shape: &PhaseShape, opens_at: Timestamp, closes_at: Timestamp) -> Option<Phase> {
    let begins = now.shifted(shape.opens_in * 1000).max(opens_at).plus_millis(index as u64);
    (begins < closes_at).then(|| Phase {
        name: format!("phase-{index}"),
        opens_at: begins,
        closes_at: shape.seconds.map(|seconds| begins.plus_seconds(seconds)).filter(|&end| end <= closes_at),
        tiers: names(&TIERS, &shape.tiers),
        channels: names(&CHANNELS, &shape.channels),
        customer_limit: shape.customer_limit,
    })
}

fn item(now: Timestamp, index: usize, document: &Document, known: Option<&SaleSettings>) -> ItemSettings {
    let shape = &document.shapes[index];
    let mut item = ask::item(SKUS[index], STOCKS[index]);
    (item.sourcing, item.split) = (shape.sourcing, shape.split);
    item.group = shape.group.map(|(size, seconds)| GroupSettings { size, seconds });
    let known = known.and_then(|known| known.items.iter().find(|known| known.sku == item.sku));
    if shape.pools.is_empty() && known.is_none_or(|known| !known.has_pools()) {
        return item;
    }
    // What the item has stays. What it has not is opened, with stock if the item is new.
    let kept = known.into_iter().flat_map(ItemSettings::pools_or_default);
    let mut pools: Vec<(&str, u64)> = kept.collect();
    let mut left = if known.is_some() { 0 } else { STOCKS[index] };
    for drawn in &shape.pools {
        if !pools.iter().any(|(id, _)| *id == POOLS[drawn.name]) {
            let units = drawn.units.min(left);
            left -= units;
            pools.push((POOLS[drawn.name], units));
        }
    }
    pools[0].1 += left;
    if document.fault == Some(Fault::MovedStock) && pools.len() > 1 && pools[0].1 > 0 {
        pools[0].1 -= 1;
        pools[1].1 += 1;
    }
    if document.fault == Some(Fault::RemovedPool) && pools.len() > 1 {
        pools.pop();
    }
    let count = pools.len();
    pools.rotate_left(shape.turned_by % count);
    item.pools =
        pools.into_iter().enumerate().map(|(place, (id, units))| pool(now, place, id, units, &shape.pools)).collect();
    item
}

fn pool(now: Timestamp, place: usize, id: &str, initial_stock: u64, drawn: &[PoolShape]) -> PoolSettings {
    let plain = PoolSettings {
        id: id.to_owned(),
        initial_stock,
        tiers: None,
        channels: None,
        shared_at: None,
        location: None,
        costs: None,
        price: None,
    };
    // The default pool is open to everybody, so that most requests find something.
    let Some(shape) = drawn.get(place % drawn.len().max(1)).filter(|_| id != DEFAULT_POOL) else { return plain };
    let costs: BTreeMap<String, u64> =
        shape.costs.iter().map(|&(region, cost)| (REGIONS[region].into(), cost)).collect();
    PoolSettings {
        tiers: names(&TIERS, &shape.tiers),
        channels: names(&CHANNELS, &shape.channels),
        shared_at: shape.shared_in.map(|seconds| now.plus_seconds(seconds)),
        location: shape.location.map(|index| LOCATIONS[index].to_owned()),
        costs: (!costs.is_empty()).then_some(costs),
        price: shape.price.map(price),
        ..plain
    }
}
