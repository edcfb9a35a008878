//! Stock of the world in miniature: put in, taken out, moved between pools.

use super::*;

impl World {
    pub(super) fn adjust(&mut self, pool: usize, delta: i64) {
        let pool = PoolNumber((pool % self.available.len()) as u32);
        if self.available[pool.index()].checked_add_signed(delta).is_some() {
            self.put_in(pool, delta, Some("counted again"), (delta > 0).then_some("wh-1"), None);
            self.record(Action::StockAdjust, &format!("{{\"delta\":{delta}}}"));
        }
    }

    /// Adjusts a pool.
    pub(super) fn put_in(
        &mut self,
        pool: PoolNumber,
        delta: i64,
        reason: Option<&str>,
        reference: Option<&str>,
        of_reservation: Option<ReservationId>,
    ) {
        let available = self.available[pool.index()].checked_add_signed(delta).unwrap();
        self.available[pool.index()] = available;
        let item = self.catalogue.item_of(pool);
        let pools = self.pools(item.index());
        let of_pool = PoolLevels { stock: self.stock.of(pool).checked_add_signed(delta).unwrap(), available };
        let mut of_item = of_pool;
        for &other in pools.iter().filter(|other| **other != pool) {
            of_item.stock += self.levels(other).stock;
            of_item.available += self.levels(other).available;
        }
        self.tell_catalogue(CatalogueEvent::Adjusted(Adjusted {
            item,
            pool,
            at: self.now,
            delta,
            reason,
            reference,
            key: None,
            of_sale: (delta % 2 == 0 && of_reservation.is_none()).then(|| self.sale_of(item.index())),
            of_reservation,
            stock: of_item.stock,
            available: of_item.available,
            of_pool: (pools.len() > 1).then_some(of_pool),
        }));
    }

    pub(super) fn transfer(&mut self, from: usize, to: usize, units: u64) {
        let from = PoolNumber((from % self.available.len()) as u32);
        let item = self.catalogue.item_of(from);
        let others: Vec<PoolNumber> = self.pools(item.index()).into_iter().filter(|pool| *pool != from).collect();
        let Some(&to) = others.get(to % others.len().max(1)) else { return };
        if self.available[from.index()] < units {
            return;
        }
        self.available[from.index()] -= units;
        self.available[to.index()] += units;
        let (mut gave, mut got) = (self.levels(from), self.levels(to));
        gave.stock -= units;
        got.stock += units;
        let (reason, reference) = (Some("rebalance"), (units > 1).then_some("wh-2"));
        self.tell_catalogue(CatalogueEvent::Transferred(Transferred {
            item,
            from,
            to,
            at: self.now,
            units,
            reason,
            reference,
            key: None,
            after: [gave, got],
        }));
        self.record(Action::StockTransfer, &format!("{{\"quantity\":{units}}}"));
    }
}
