//! What the rows of the service's own state should say, in the words of the reader: for whoever compares the two.

use super::{
    fold::ReservationChange,
    reader::{StoredItem, StoredLine, StoredReservation, StoredSale},
    rows::NewReservation,
};
use crate::sale::{
    catalogue::{Catalogue, Item, Sale},
    ids::ReservationId,
};

impl StoredSale {
    pub fn of(sale: &Sale) -> Self {
        let settings = &sale.settings;
        Self {
            id: settings.id.clone(),
            number: sale.number.0.into(),
            name: settings.name.clone(),
            opens_at: settings.opens_at.to_string(),
            closes_at: settings.closes_at.to_string(),
            hold_seconds: signed(settings.hold_seconds),
            max_extensions: settings.max_extensions.map(i64::from),
            customer_limit: settings.customer_limit.map(i64::from),
            paused: sale.is_paused(),
            closed: sale.is_closed(),
        }
    }
}

impl StoredItem {
    pub fn of(sale: &Sale, item: &Item) -> Self {
        let settings = &item.settings;
        Self {
            sale: sale.settings.id.clone(),
            sku: settings.sku.clone(),
            number: item.number.0.into(),
            initial_stock: signed(settings.initial_stock),
            price: settings.price.map(|price| (signed(price.amount), price.currency.as_str().to_owned())),
            customer_limit: settings.customer_limit.map(i64::from),
        }
    }
}

impl StoredReservation {
    /// None for a change of which the beginning is not known.
    pub fn of(id: &ReservationId, change: &ReservationChange, catalogue: &Catalogue) -> Option<Self> {
        let begun = change.begun.as_ref()?;
        let row = NewReservation::of(id, begun, change);
        let text = |text: Option<&str>| text.map(str::to_owned);
        let mut lines: Vec<_> = begun
            .lines
            .iter()
            .map(|line| StoredLine {
                sku: catalogue.sku(line.item).to_owned(),
                quantity: line.units,
                price: line.price.map(|price| (signed(price.amount), price.currency.as_str().to_owned())),
            })
            .collect();
        lines.sort_unstable_by(|one, other| one.sku.cmp(&other.sku));
        Some(Self {
            id: id.to_string(),
            sale: catalogue.sale_numbered(begun.sale).settings.id.clone(),
            customer: row.customer.to_owned(),
            state: row.rest.state,
            reference: text(row.rest.reference),
            created_at: row.created_at.to_string(),
            expires_at: row.expires_at.to_string(),
            extensions: row.extensions.into(),
            confirmed_at: row.rest.confirmed_at.map(|at| at.to_string()),
            released_at: row.rest.released_at.map(|at| at.to_string()),
            expired_at: row.rest.expired_at.map(|at| at.to_string()),
            release_reason: text(row.rest.release_reason),
            lines,
        })
    }
}

/// What a column holds, which the writer checked.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
