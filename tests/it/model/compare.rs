//! The state of the service and of its model compared, as far as it shows without changing anything.

use doorbuster::sale::outcome::Refusal;

use super::{
    commands::{CHANNELS, CUSTOMERS, REGIONS, SALES, SKUS, TIERS},
    naive::Request,
    world::{World, as_put},
};

impl World {
    pub fn compare(&mut self) {
        self.compare_sales();
        self.compare_reservations();
        self.compare_limits();
    }

    fn compare_sales(&self) {
        let (engine, now) = (&self.harness.engine, self.harness.now);
        for id in SALES {
            let view = engine.sale(now, id).value;
            let Some(sale) = self.model.sales.get(id) else {
                assert_eq!(view.map(|view| view.status), Err(Refusal::SaleNotFound));
                continue;
            };
            let view = view.expect("the model has it");
            assert_eq!(
                (view.status, as_put(&view.sale.settings)),
                (sale.status(now), sale.settings.clone()),
                "sale {id}"
            );
            assert_eq!((view.counts.len(), view.pools.len()), (sale.settings.items.len(), sale.settings.items.len()));
            for ((item, counts), by_pool) in view.sale.items.iter().zip(&view.counts).zip(&view.pools) {
                let sku = item.settings.sku.as_str();
                assert_eq!(*counts, self.model.counts(id, sku), "counts of {id}/{sku}");
                assert_eq!(counts.stock(), self.model.stock(id, sku), "stock of {id}/{sku}");
                let pools = self.model.pools_of(id, sku);
                assert!(item.pools.iter().map(|pool| pool.index()).eq(pools.iter().copied()), "pools of {id}/{sku}");
                let expected = pools.iter().filter(|_| item.settings.has_pools());
                let expected: Vec<_> = expected.map(|&pool| self.model.counts_of_pool(pool)).collect();
                assert_eq!(*by_pool, expected, "pools of {id}/{sku}");
            }
            let availability = engine.availability(now, id, None).value.expect("the model has it");
            assert_eq!((availability.status, availability.counts), (view.status, view.counts));
            let somebody = self.somebody(id);
            let open = engine.availability(now, id, Some(&somebody.extras())).value.expect("the model has it");
            assert_eq!(open.counts, self.model.open_to(now, &somebody), "what is open to {somebody:?}");
        }
        let levels = engine.levels();
        let seen = (levels.live_holds, levels.reservations, levels.customers);
        assert_eq!(self.harness.engine.group_counts().open, self.model.open_groups() as u64, "open groups");
        let holds = self.model.live_holds() as u64;
        assert_eq!(seen, (holds, self.model.reservations.len() as u64, self.model.customers() as u64));
    }

    /// Another one with each command.
    fn somebody(&self, sale: &'static str) -> Request {
        let number = self.tally.commands as usize;
        let pick = |names: &[&'static str; 2], divisor: usize| names.get(number / divisor % 3).copied();
        let plain = Request::plain(sale, CUSTOMERS[0], Vec::new());
        Request { tier: pick(&TIERS, 1), channel: pick(&CHANNELS, 3), region: pick(&REGIONS, 9), ..plain }
    }

    fn compare_reservations(&mut self) {
        for (position, &(id, _)) in self.made.iter().enumerate() {
            // To look at a hold that is overdue would expire it: the commands do that.
            if self.model.is_settled(self.harness.now, position) {
                let answer = self.harness.engine.look(self.harness.now, id);
                let expected = self.model.look(self.harness.now, position);
                assert_eq!(answer.value, expected, "reservation {position}");
            }
        }
    }

    /// What one customer has of one item shows in a refusal: ask for one unit too many.
    fn compare_limits(&mut self) {
        let sale_id = SALES[0];
        let number = self.tally.commands as usize;
        let (customer, sku) = (CUSTOMERS[number % CUSTOMERS.len()], SKUS[number / CUSTOMERS.len() % SKUS.len()]);
        let sale = &self.model.sales[sale_id];
        if !sale.settings.items.iter().any(|item| item.sku == sku) {
            return;
        }
        let Some(limit) = sale.limit(sku) else { return };
        let already = self.model.units_of(customer, sale_id, sku);
        let units = (u64::from(limit) + 1).saturating_sub(already).max(1);
        let request = Request { lines: vec![(sku, units as u32)], ..self.somebody(sale_id) };
        let request = Request { customer, ..request };
        if let Err(expected @ Refusal::CustomerLimitExceeded { .. }) = self.model.take(self.harness.now, &request) {
            let extras = request.extras();
            assert_eq!(self.harness.reserve(&request.command(&extras)), Err(expected));
        }
    }
}
