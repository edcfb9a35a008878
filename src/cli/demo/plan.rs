//! What is on sale, and who comes for it. A shopper follows from the seed and its number, so nothing of it is stored.

use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use serde_json::{Value, json};

use crate::{cli::DemoOptions, config::Config, sale::time::Timestamp};

/// Units of each item that a customer may have.
pub(super) const CUSTOMER_LIMIT: u32 = 2;

/// Short enough to wait for.
const HOLD_SECONDS: u64 = 4;

/// From the sale's creation to its opening.
const COUNTDOWN_MILLIS: u64 = 1200;

/// Shoppers who come before the opening.
const EARLY_MAX: u32 = 250;

/// Refused shoppers who wait for units to come back.
const PATIENT_MAX: f64 = 20_000.0;

/// SKU, price in cents, percent of all units, percent of all shoppers: the scarcer the more wanted.
const GOODS: [(&str, u64, u64, u32); 4] = [
    ("game-console", 39_900, 5, 40),
    ("oled-tv-55", 69_900, 15, 30),
    ("noise-free-buds", 12_900, 30, 20),
    ("espresso-mug", 1_490, 50, 10),
];

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub sku: &'static str,
    /// In cents.
    pub price: u64,
    pub stock: u64,
    /// How many want it, relative to the others.
    popularity: u32,
}

/// What is put on sale, on which terms, and to how many shoppers.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub sale: String,
    pub items: Vec<Item>,
    pub hold_seconds: u64,
    pub opens_at: Timestamp,
    pub shoppers: u32,
    early: u32,
    patient: f64,
    lines_max: usize,
}

/// Units of items, by their index in the plan; each item once, in that order.
pub(super) type Basket = Vec<(usize, u32)>;

/// How somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Once,
    /// The same request with the same key, twice at the same time.
    DoubleClick,
    /// Three requests for one unit each at the same time; the limit is two.
    Greedy,
}

/// What becomes of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Pays,
    LetsGo,
    WalksAway,
    /// Pays around the end of the hold, mostly after it.
    PaysLate,
}

#[derive(Debug, Clone)]
pub(super) struct Shopper {
    pub number: u32,
    pub basket: Basket,
    pub manner: Manner,
    pub fate: Fate,
    /// Comes before the opening, too.
    pub early: bool,
    /// Tries again when the holds of others expire.
    pub patient: bool,
    /// Milliseconds from hold to decision.
    pub think: u64,
    /// A number from 0 to 1 for everything else that is up to chance.
    pub chance: f64,
}

impl Plan {
    pub(super) fn new(config: &Config, options: DemoOptions, now: Timestamp) -> Self {
        let stamp: String = now.to_string()[2..19].chars().filter(char::is_ascii_digit).collect();
        let units = u64::from(options.units);
        let mut items: Vec<_> = GOODS
            .map(|(sku, price, share, popularity)| Item { sku, price, stock: units * share / 100, popularity })
            .into();
        let rest = units - items.iter().map(|item| item.stock).sum::<u64>();
        items.last_mut().expect("there are goods").stock += rest;
        items.retain(|item| item.stock > 0);
        Self {
            sale: format!("demo-{}-{}", &stamp[..6], &stamp[6..]),
            items,
            hold_seconds: HOLD_SECONDS.min(config.limits.hold_seconds_max),
            opens_at: now.plus_millis(COUNTDOWN_MILLIS),
            shoppers: options.shoppers,
            early: EARLY_MAX.min(options.shoppers / 20),
            // About as many as there are units, since a part of those comes back.
            patient: (f64::from(options.units).clamp(100.0, PATIENT_MAX) / f64::from(options.shoppers)).min(0.3),
            lines_max: config.limits.lines_max,
        }
    }

    pub(super) fn stock(&self) -> u64 {
        self.items.iter().map(|item| item.stock).sum()
    }

    pub(super) fn item(&self, sku: &str) -> Option<usize> {
        self.items.iter().position(|item| item.sku == sku)
    }

    /// The body of a reserve.
    pub(super) fn reserve(&self, shopper: u32, basket: &Basket) -> Value {
        let lines = basket.iter().map(|&(item, units)| json!({ "sku": self.items[item].sku, "quantity": units }));
        json!({ "customer": format!("shopper-{shopper:05}"), "lines": lines.collect::<Vec<_>>() })
    }

    /// The lines of a reservation of this basket.
    pub(super) fn lines(&self, basket: &Basket) -> Value {
        let line = |&(item, units): &(usize, u32)| {
            let Item { sku, price, .. } = &self.items[item];
            json!({ "sku": sku, "quantity": units, "price": { "amount": price, "currency": "EUR" } })
        };
        basket.iter().map(line).collect()
    }

    /// The document of `PUT /v1/sales/{sale}`.
    pub(super) fn document(&self) -> Value {
        let items = self.items.iter().map(|item| {
            let price = json!({ "amount": item.price, "currency": "EUR" });
            json!({ "sku": item.sku, "initial_stock": item.stock, "price": price })
        });
        json!({
            "name": "Midnight doorbuster",
            "opens_at": self.opens_at,
            "closes_at": self.opens_at.plus_seconds(24 * 3600),
            "hold_seconds": self.hold_seconds,
            "customer_limit": CUSTOMER_LIMIT,
            "items": items.collect::<Vec<_>>(),
        })
    }

    pub(super) fn shopper(&self, number: u32) -> Shopper {
        let mut random = SmallRng::seed_from_u64(self.opens_at.millis() ^ (u64::from(number) << 20));
        let early = number < self.early;
        let manner = match random.random_range(0..100) {
            _ if early => Manner::Once,
            0..10 => Manner::DoubleClick,
            10..13 => Manner::Greedy,
            _ => Manner::Once,
        };
        let fate = match random.random_range(0..100) {
            0..8 => Fate::LetsGo,
            8..19 => Fate::WalksAway,
            19..22 => Fate::PaysLate,
            _ => Fate::Pays,
        };
        Shopper {
            number,
            basket: self.basket(manner, &mut random),
            manner,
            fate,
            early,
            patient: random.random_bool(self.patient),
            think: random.random_range(20..700),
            chance: random.random(),
        }
    }

    fn basket(&self, manner: Manner, random: &mut SmallRng) -> Basket {
        let most = self.items.len().min(self.lines_max);
        if manner == Manner::Greedy || most < 2 || random.random_bool(0.7) {
            let units = if manner != Manner::Greedy && random.random_bool(0.25) { 2 } else { 1 };
            return vec![(self.favourite(random), units)];
        }
        let mut items: Vec<_> = (0..self.items.len()).collect();
        items.shuffle(random);
        items.truncate(random.random_range(2..=most.min(3)));
        items.sort_unstable();
        items.into_iter().map(|item| (item, 1)).collect()
    }

    fn favourite(&self, random: &mut SmallRng) -> usize {
        let all: u32 = self.items.iter().map(|item| item.popularity).sum();
        let drawn = random.random_range(0..all);
        let mut sum = 0;
        let chosen = self.items.iter().position(|item| {
            sum += item.popularity;
            drawn < sum
        });
        chosen.expect("what is drawn is less than the sum")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::settings::{Limits, SaleSettings};

    fn plan(shoppers: u32, units: u32) -> Plan {
        let now = Timestamp::parse("2026-11-27T08:00:12.345Z").unwrap();
        Plan::new(&Config::default(), DemoOptions { sale: None, tiers: Vec::new(), shoppers, units }, now)
    }

    #[test]
    fn all_units_are_offered_however_few_in_a_document_that_is_accepted() {
        for units in [1, 3, 7, 99, 1000, 10_000_000] {
            let plan = plan(1000, units);
            assert_eq!((plan.stock(), plan.sale.as_str()), (u64::from(units), "demo-261127-080012"));
            let settings: SaleSettings = serde_json::from_value(plan.document()).unwrap();
            assert_eq!(SaleSettings { id: plan.sale, ..settings }.check(&Limits::default()), []);
        }
    }

    #[test]
    fn the_crowd_has_every_kind_of_shopper() {
        let plan = plan(5000, 1000);
        let shoppers: Vec<_> = (0..5000).map(|number| plan.shopper(number)).collect();
        let share = |is: fn(&Shopper) -> bool| shoppers.iter().filter(|shopper| is(shopper)).count() as f64 / 5000.0;
        assert!((0.07..0.13).contains(&share(|shopper| shopper.manner == Manner::DoubleClick)));
        assert!((0.2..0.4).contains(&share(|shopper| shopper.basket.len() > 1)));
        assert!((0.7..0.85).contains(&share(|shopper| shopper.fate == Fate::Pays)));
        assert!(share(|shopper| shopper.early) > 0.0 && share(|shopper| shopper.patient) > 0.1);
        assert!(share(|shopper| shopper.fate == Fate::PaysLate) > 0.01);
        assert!(shoppers.iter().all(|shopper| shopper.basket.iter().all(|&(_, units)| units <= CUSTOMER_LIMIT)));
    }
}
