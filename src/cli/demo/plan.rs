//! What is on sale, and who comes for it: drawn from a seed and the shopper's number, so that nothing of it is stored.

use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use serde_json::json;

use crate::{cli::DemoOptions, config::Config, sale::time::Timestamp};

/// Units of each item that a customer may have.
pub const CUSTOMER_LIMIT: u32 = 2;

/// Short enough to wait for.
const HOLD_SECONDS: u64 = 4;

/// From the sale's making to its opening.
const COUNTDOWN_MILLIS: u64 = 1200;

/// Shoppers who cannot wait for the opening.
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
pub struct Item {
    pub sku: &'static str,
    /// In cents.
    pub price: u64,
    pub stock: u64,
    /// How many want it, relative to the others.
    popularity: u32,
}

/// What was put on sale, and on which terms.
#[derive(Debug, Clone)]
pub struct Offer {
    pub sale: String,
    pub items: Vec<Item>,
    pub hold_seconds: u64,
    pub opens_at: Timestamp,
    /// Whether changes are acknowledged only once they are on disk.
    pub durable: bool,
}

impl Offer {
    pub fn new(config: &Config, options: DemoOptions, now: Timestamp) -> Self {
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
            durable: config.journal.ack == crate::config::Ack::Durable,
        }
    }

    pub fn stock(&self) -> u64 {
        self.items.iter().map(|item| item.stock).sum()
    }

    pub fn item(&self, sku: &str) -> Option<usize> {
        self.items.iter().position(|item| item.sku == sku)
    }

    /// The body of a reserve.
    pub fn request(&self, shopper: u32, basket: &Basket) -> String {
        let lines = basket.iter().map(|&(item, units)| json!({ "sku": self.items[item].sku, "quantity": units }));
        json!({ "customer": customer(shopper), "lines": lines.collect::<Vec<_>>() }).to_string()
    }

    /// The document of `PUT /v1/sales/{sale}`.
    pub fn document(&self) -> Vec<u8> {
        let items = self.items.iter().map(|item| {
            let price = json!({ "amount": item.price, "currency": "EUR" });
            json!({ "sku": item.sku, "initial_stock": item.stock, "price": price })
        });
        let document = json!({
            "name": "Midnight doorbuster",
            "opens_at": self.opens_at,
            "closes_at": self.opens_at.plus_seconds(24 * 3600),
            "hold_seconds": self.hold_seconds,
            "customer_limit": CUSTOMER_LIMIT,
            "items": items.collect::<Vec<_>>(),
        });
        document.to_string().into_bytes()
    }
}

/// Units of items, by their index in the offer; each item once, in that order.
pub type Basket = Vec<(usize, u32)>;

/// How somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Once,
    /// The same request with the same key, twice at the same time.
    DoubleClick,
    /// Three requests for one unit each at the same time; the limit is two.
    Greedy,
}

/// What becomes of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Pays,
    LetsGo,
    WalksAway,
    /// Pays around the end of the hold, mostly after it.
    PaysLate,
}

#[derive(Debug, Clone)]
pub struct Shopper {
    pub number: u32,
    pub basket: Basket,
    pub manner: Manner,
    pub fate: Fate,
    /// Comes before the opening, too.
    pub early: bool,
    /// Tries again when the holds of others run out.
    pub patient: bool,
    /// With a hold in hand, asks for more of the same.
    pub comes_back: bool,
    /// Milliseconds from hold to decision.
    pub think: u64,
    /// A number from 0 to 1 for whatever else is up to chance.
    pub chance: f64,
}

/// The customer id of a shopper.
pub fn customer(shopper: u32) -> String {
    format!("shopper-{shopper:05}")
}

/// Everybody who comes.
#[derive(Debug, Clone)]
pub struct Crowd {
    pub shoppers: u32,
    early: u32,
    patient: f64,
    lines_max: usize,
    seed: u64,
}

impl Crowd {
    pub fn new(config: &Config, options: DemoOptions, seed: u64) -> Self {
        let shoppers = f64::from(options.shoppers);
        // About as many as there are units, since a part of those comes back.
        let patient = f64::from(options.units).clamp(100.0, PATIENT_MAX) / shoppers;
        Self {
            shoppers: options.shoppers,
            early: EARLY_MAX.min(options.shoppers / 20),
            patient: patient.min(0.3),
            lines_max: config.limits.lines_max,
            seed,
        }
    }

    pub fn shopper(&self, number: u32, offer: &Offer) -> Shopper {
        let mut random = SmallRng::seed_from_u64(self.seed ^ (u64::from(number) << 20));
        let manner = match random.random_range(0..100) {
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
        let early = number < self.early;
        Shopper {
            number,
            basket: self.basket(manner, offer, &mut random),
            manner: if early { Manner::Once } else { manner },
            fate,
            early,
            patient: random.random_bool(self.patient),
            comes_back: manner == Manner::Once && random.random_bool(0.1),
            think: random.random_range(20..700),
            chance: random.random(),
        }
    }

    fn basket(&self, manner: Manner, offer: &Offer, random: &mut SmallRng) -> Basket {
        let most = offer.items.len().min(self.lines_max);
        if manner == Manner::Greedy || most < 2 || random.random_bool(0.7) {
            let units = if manner != Manner::Greedy && random.random_bool(0.25) { 2 } else { 1 };
            return vec![(favourite(offer, random), units)];
        }
        let mut items: Vec<_> = (0..offer.items.len()).collect();
        items.shuffle(random);
        items.truncate(random.random_range(2..=most.min(3)));
        items.sort_unstable();
        items.into_iter().map(|item| (item, 1)).collect()
    }
}

fn favourite(offer: &Offer, random: &mut SmallRng) -> usize {
    let all: u32 = offer.items.iter().map(|item| item.popularity).sum();
    let mut drawn = random.random_range(0..all);
    let chosen = offer.items.iter().position(|item| {
        let chosen = drawn < item.popularity;
        drawn = drawn.saturating_sub(item.popularity);
        chosen
    });
    chosen.expect("what is drawn is less than the sum")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(units: u32) -> Offer {
        let now = Timestamp::parse("2026-11-27T08:00:12.345Z").unwrap();
        Offer::new(&Config::default(), DemoOptions { shoppers: 1000, units }, now)
    }

    #[test]
    fn all_units_are_offered_however_few() {
        for units in [1, 3, 7, 99, 1000, 10_000_000] {
            assert_eq!(offer(units).stock(), u64::from(units));
            assert!(offer(units).items.iter().all(|item| item.stock > 0));
        }
        assert_eq!(offer(1000).sale, "demo-261127-080012");
    }

    #[test]
    fn the_document_passes_the_rules_of_a_sale() {
        let settings: crate::sale::settings::SaleSettings = serde_json::from_slice(&offer(1000).document()).unwrap();
        let settings = crate::sale::settings::SaleSettings { id: offer(1000).sale, ..settings };
        assert_eq!(settings.check(&crate::sale::settings::Limits::default()), []);
    }

    #[test]
    fn the_crowd_holds_every_kind_of_shopper() {
        let offer = offer(1000);
        let options = DemoOptions { shoppers: 5000, units: 1000 };
        let crowd = Crowd::new(&Config::default(), options, 7);
        let shoppers: Vec<_> = (0..5000).map(|number| crowd.shopper(number, &offer)).collect();
        let share = |is: fn(&Shopper) -> bool| shoppers.iter().filter(|shopper| is(shopper)).count() as f64 / 5000.0;
        assert!((0.07..0.13).contains(&share(|shopper| shopper.manner == Manner::DoubleClick)));
        assert!((0.2..0.4).contains(&share(|shopper| shopper.basket.len() > 1)));
        assert!((0.7..0.85).contains(&share(|shopper| shopper.fate == Fate::Pays)));
        assert!(share(|shopper| shopper.early) > 0.0 && share(|shopper| shopper.patient) > 0.1);
        assert!(share(|shopper| shopper.fate == Fate::PaysLate) > 0.01 && share(|shopper| shopper.comes_back) > 0.05);
        assert!(shoppers.iter().all(|shopper| shopper.basket.iter().all(|&(_, units)| units <= CUSTOMER_LIMIT)));
    }

    #[test]
    fn one_item_and_one_shopper_are_enough() {
        let options = DemoOptions { shoppers: 1, units: 1 };
        let crowd = Crowd::new(&Config::default(), options, 7);
        assert_eq!(crowd.shopper(0, &offer(1)).basket.len(), 1);
    }
}
