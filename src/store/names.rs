//! Names for the numbers in events: rows have slugs and SKUs, because people read them.
//!
//! A number once given keeps its name for ever, so a name may be learned before the row that holds it commits.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::sale::ids::{ItemNumber, PoolNumber, ReservationId, SaleNumber};

use super::{
    error::StoreError,
    fold::Window,
    lines::{Lines, LinesChange},
    rows::PoolKey,
};

#[derive(Debug, Default)]
pub(super) struct Names {
    sales: HashMap<SaleNumber, Box<str>, RandomState>,
    items: HashMap<ItemNumber, ItemName, RandomState>,
    pools: HashMap<PoolNumber, PoolName, RandomState>,
}

#[derive(Debug)]
pub(super) struct ItemName {
    pub sale: Box<str>,
    pub sku: Box<str>,
}

#[derive(Debug)]
pub(super) struct PoolName {
    pub item: ItemNumber,
    pub id: Box<str>,
}

impl Names {
    pub(super) fn learn_sale(&mut self, number: SaleNumber, id: &str) {
        self.sales.entry(number).or_insert_with(|| id.into());
    }

    pub(super) fn learn_item(&mut self, number: ItemNumber, sale: &str, sku: &str) {
        self.items.entry(number).or_insert_with(|| ItemName { sale: sale.into(), sku: sku.into() });
    }

    pub(super) fn learn_pool(&mut self, number: PoolNumber, item: ItemNumber, id: &str) {
        self.pools.entry(number).or_insert_with(|| PoolName { item, id: id.into() });
    }

    pub(super) fn learn(&mut self, window: &Window) {
        for (&number, sale) in window.sales() {
            let Some(definition) = &sale.definition else { continue };
            self.learn_sale(number, &definition.settings.id);
            for (numbers, settings) in definition.numbers.iter().zip(&definition.settings.items) {
                self.learn_item(numbers.item, &definition.settings.id, &settings.sku);
                for (&pool, (id, _)) in numbers.pools.iter().zip(settings.pools_or_default()) {
                    self.learn_pool(pool, numbers.item, id);
                }
            }
        }
    }

    pub(super) fn sale(&self, number: SaleNumber) -> Result<&str, StoreError> {
        let unknown = || StoreError::Contradiction(format!("an event names sale number {}, never defined", number.0));
        self.sales.get(&number).map(|id| &**id).ok_or_else(unknown)
    }

    pub(super) fn item(&self, number: ItemNumber) -> Result<&ItemName, StoreError> {
        let unknown = || StoreError::Contradiction(format!("an event names item number {}, never defined", number.0));
        self.items.get(&number).ok_or_else(unknown)
    }

    /// Applies changes to the lines that a reservation has in the store.
    pub(super) fn apply(
        &self,
        id: &ReservationId,
        changes: &[LinesChange],
        lines: &mut Lines<PoolKey>,
    ) -> Result<(), StoreError> {
        for change in changes {
            let key = |_, pool| self.pool(pool).map(|(item, pool)| (item.sku.to_string(), pool.to_owned()));
            if !change.apply(lines, key)? {
                let lacks =
                    format!("reservation {id} lacks units that an event moves: its lines are not as they were written");
                return Err(StoreError::Contradiction(lacks));
            }
        }
        Ok(())
    }

    /// The pool's item and its id.
    pub(super) fn pool(&self, number: PoolNumber) -> Result<(&ItemName, &str), StoreError> {
        let unknown = || StoreError::Contradiction(format!("an event names pool number {}, never defined", number.0));
        let name = self.pools.get(&number).ok_or_else(unknown)?;
        Ok((self.item(name.item)?, &name.id))
    }
}
