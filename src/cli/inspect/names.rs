//! What the numbers in events are called.
//!
//! A name once given never changes, so names may be learned from a snapshot and used for events before it. (A whole
//! `Catalogue` is no help here: it insists on taking each event once and in order, and a look at a journal must not
//! fail where a start would.)

use std::collections::HashMap;

use crate::sale::{
    event::{CatalogueEvent, Event, record},
    ids::{ItemNumber, SaleNumber},
};

#[derive(Debug, Default)]
pub(super) struct Names {
    sales: HashMap<SaleNumber, String>,
    items: HashMap<ItemNumber, (SaleNumber, String)>,
}

impl Names {
    pub(super) fn learn(&mut self, event: &Event<'_>) {
        let Event::Catalogue(CatalogueEvent::SaleDefined(defined)) = event else { return };
        let Ok((settings, numbers)) = record::decode(defined.record) else { return };
        for (numbers, item) in numbers.iter().zip(settings.items) {
            self.items.insert(numbers.item, (defined.sale, item.sku));
        }
        self.sales.insert(defined.sale, settings.id);
    }

    /// The sale's id, or `#number` where it was never told.
    pub(super) fn sale(&self, number: SaleNumber) -> String {
        self.sales.get(&number).cloned().unwrap_or_else(|| format!("#{}", number.0))
    }

    /// The item's SKU, or `#number` where it was never told.
    pub(super) fn sku(&self, number: ItemNumber) -> String {
        self.items.get(&number).map_or_else(|| format!("#{}", number.0), |(_, sku)| sku.clone())
    }

    pub(super) fn sale_of(&self, item: ItemNumber) -> Option<String> {
        self.items.get(&item).map(|(sale, _)| self.sale(*sale))
    }
}
