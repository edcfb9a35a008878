//! Pools, phases and prices under real threads and real locks: many customers, the last units.
//!
//! Every checker here is sound: it calls nothing a lie that might have been true. Where that needs an argument, the test
//! gives it.

mod last_units;
mod movements;
mod order;
mod restarts;
mod times;

use doorbuster::{
    engine::{Counts, Engine},
    sale::{
        command::{Extras, Reserve},
        outcome::Reservation,
        settings::{ItemSettings, SaleSettings},
    },
};

use crate::support::{OPENING, ask};

/// A sale `drop` of these items.
fn a_sale(items: Vec<ItemSettings>) -> SaleSettings {
    SaleSettings { items, ..ask::sale("drop", &[]) }
}

/// One line of sale `drop`.
fn line<'a>(customer: &'a str, sku: &'a str, units: u32, extras: &'a Extras<'a>) -> Reserve<'a> {
    Reserve { extras: Some(extras), ..ask::reserve("drop", customer, &[(sku, units)]) }
}

/// Where a reservation's units came from: places of pools among the first item's, and units.
fn drawn_from(engine: &Engine, reservation: &Reservation) -> Vec<(usize, u32)> {
    let sale = engine.catalogue().sale("drop").expect("the sale").clone();
    let place = |pool| sale.items.iter().find_map(|item| item.pools.iter().position(|known| *known == pool));
    let lines = reservation.lines.iter();
    lines.map(|line| (place(line.pool).expect("a pool of the sale"), line.amounts.sum())).collect()
}

/// The counts of the pools of each item, at one instant. Stock is conserved in each of them, or the engine panics.
fn pools(engine: &Engine) -> Vec<Vec<Counts>> {
    engine.sale(OPENING, "drop").value.expect("the sale").pools
}

fn available(counts: &[Counts]) -> Vec<u64> {
    counts.iter().map(|counts| counts.available).collect()
}
