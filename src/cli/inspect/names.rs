//! What the numbers in events are called.
//!
//! A name once given never changes, so names may be learned from a snapshot and used for events before it. (A whole
//! `Catalogue` is no help here: it insists on taking each event once and in order, and a look at a journal must not
//! fail where a start would.)

use std::collections::HashMap;

use serde::Deserialize;

use crate::sale::{
    event::Event,
    ids::{ItemNumber, SaleNumber},
};

#[derive(Debug, Default)]
pub struct Names {
    sales: HashMap<SaleNumber, String>,
    items: HashMap<ItemNumber, (SaleNumber, String)>,
}

/// What is needed of a sale's document.
#[derive(Deserialize)]
struct Document {
    id: String,
    items: Vec<DocumentItem>,
}

#[derive(Deserialize)]
struct DocumentItem {
    sku: String,
}

impl Names {
    pub fn learn(&mut self, event: &Event<'_>) {
        let Event::SaleDefined { sale, items, settings, .. } = event else { return };
        let Ok(document) = serde_json::from_slice::<Document>(settings) else { return };
        for (&number, item) in items.iter().zip(document.items) {
            self.items.insert(number, (*sale, item.sku));
        }
        self.sales.insert(*sale, document.id);
    }

    /// The sale's id, or `#number` where it was never told.
    pub fn sale(&self, number: SaleNumber) -> String {
        self.sales.get(&number).cloned().unwrap_or_else(|| format!("#{}", number.0))
    }

    /// The item's SKU, or `#number` where it was never told.
    pub fn sku(&self, number: ItemNumber) -> String {
        self.items.get(&number).map_or_else(|| format!("#{}", number.0), |(_, sku)| sku.clone())
    }

    pub fn sale_of(&self, item: ItemNumber) -> Option<String> {
        self.items.get(&item).map(|(sale, _)| self.sale(*sale))
    }
}
