//! How fast items sell, against sales whose course is known: stepped by hand, second by second.
//!
//! What is forecast at one moment is compared with what happens when the sale goes on in the same way.

use doorbuster::{
    engine::Settings,
    pace::{Outlook, Pacer, Paces},
    sale::{ids::ReservationId, settings::SaleSettings, time::Timestamp},
};

use crate::support::{OPENING, ask, harness::Harness};

const STOCK_MAX: u64 = 1_000_000;

/// A service with a sale `drop` that is looked at every second.
struct Sale {
    harness: Harness,
    pacer: Pacer,
    paces: Paces,
    seconds: u64,
    customers: u32,
}

impl Sale {
    fn start(settings: &SaleSettings) -> Self {
        let mut harness = Harness::new(Settings { shards: 3, ..Settings::default() });
        harness.put(settings);
        let mut sale = Self { harness, pacer: Pacer::default(), paces: Paces::default(), seconds: 0, customers: 0 };
        sale.look();
        sale
    }

    fn look(&mut self) {
        let Harness { engine, now, .. } = &self.harness;
        let times = (*now, engine.time(*now));
        self.pacer.look(times, &engine.stock(), &engine.catalogue(), &self.paces);
    }

    /// A second passes: `buy` does what customers do in it.
    fn pass(&mut self, mut buy: impl FnMut(&mut Self, u64)) {
        self.harness.wait_seconds(1);
        self.seconds += 1;
        self.harness.tick();
        let second = self.seconds;
        buy(self, second);
        self.look();
    }

    /// So many seconds pass.
    fn pass_many(&mut self, seconds: u64, mut buy: impl FnMut(&mut Self, u64)) {
        (0..seconds).for_each(|_| self.pass(&mut buy));
    }

    /// A new customer takes one unit, if there is one.
    fn hold(&mut self, sku: &str) -> Option<ReservationId> {
        self.customers += 1;
        let customer = format!("customer-{}", self.customers);
        let made = self.harness.reserve(&ask::reserve("drop", &customer, &[(sku, 1)])).ok()?;
        Some(made.reservation.id)
    }

    fn buy(&mut self, sku: &str) {
        if let Some(id) = self.hold(sku) {
            self.harness.confirm(id).expect("it was just made");
        }
    }

    fn outlook(&self, place: usize) -> Outlook {
        let view = self.harness.engine.sale(self.harness.now, "drop").value.expect("the sale");
        let pace = self.paces.get()[view.sale.items[place].number.index()];
        let of = (&*view.sale.settings, view.status);
        Outlook::of(pace, &view.counts[place], of, self.harness.now, STOCK_MAX)
    }

    fn available(&self, sku: &str) -> u64 {
        self.harness.counts(sku).0
    }
}

/// From 08:00 to 10:00.
fn two_hours(items: &[(&str, u64)]) -> SaleSettings {
    SaleSettings { closes_at: OPENING.plus_seconds(7200), ..ask::sale("drop", items) }
}

fn minutes(minutes: u64) -> Timestamp {
    OPENING.plus_seconds(60 * minutes)
}

/// The example of `docs/kpi.md`: one unit every three seconds, all of them paid.
#[test]
fn the_example_of_the_guide() {
    let mut sale = Sale::start(&two_hours(&[("tv", 1000)]));
    let every_three = |sale: &mut Sale, second: u64| {
        if second.is_multiple_of(3) {
            sale.buy("tv");
        }
    };
    sale.pass_many(20 * 60, every_three);
    let expected = Outlook {
        hundredths_per_minute: 2000,
        measured_seconds: 300,
        sells_out_at: Some(minutes(50)),
        turnover: 4000,
        suggested_restock: 1400,
    };
    assert_eq!(sale.outlook(0), expected);

    // It sells out when it was said.
    sale.pass_many(30 * 60 - 3, every_three);
    assert_eq!(sale.available("tv"), 1);
    sale.pass_many(3, every_three);
    assert_eq!(sale.available("tv"), 0);
    // Twenty minutes later its pace is still known.
    sale.pass_many(20 * 60, every_three);
    let sold_out = Outlook { sells_out_at: None, turnover: 10_000, suggested_restock: 50 * 20, ..expected };
    assert_eq!(sale.outlook(0), sold_out);
    // With so many more it lasts to the end, and no longer.
    sale.harness.adjust(&ask::adjust("drop", "tv", 1000)).unwrap();
    let restocked = sale.outlook(0);
    assert_eq!((restocked.sells_out_at, restocked.suggested_restock), (None, 0));
    sale.pass_many(50 * 60 - 1, every_three);
    assert_eq!(sale.available("tv"), 1);
    // The sale closes at the moment in which the last one would be sold.
    sale.pass(every_three);
    assert_eq!(sale.available("tv"), 1);
    let over = sale.outlook(0);
    assert_eq!((over.sells_out_at, over.suggested_restock), (None, 0));
}

/// One hold every three seconds, of which each fourth is never paid: its unit comes back after five minutes.
#[test]
fn units_that_come_back_do_not_count() {
    let mut sale = Sale::start(&two_hours(&[("tv", 1500)]));
    let customers = |sale: &mut Sale, second: u64| {
        if !second.is_multiple_of(3) {
            return;
        }
        let held = sale.hold("tv");
        if let Some(id) = held.filter(|_| !second.is_multiple_of(12)) {
            sale.harness.confirm(id).expect("it was just made");
        }
    };
    // Before the first ones come back, all count.
    sale.pass_many(276, customers);
    assert_eq!(sale.outlook(0).hundredths_per_minute, 2000);
    sale.pass_many(20 * 60 - 276, customers);
    let outlook = sale.outlook(0);
    assert_eq!(outlook.hundredths_per_minute, 1500);
    let said = outlook.sells_out_at.expect("it sells out");
    while sale.available("tv") > 0 {
        sale.pass(customers);
    }
    let late = sale.harness.now.millis().abs_diff(said.millis());
    assert!(late <= 12_000, "sold out {late} ms from when it was said");
}

/// Nothing is known at first, then a pace over what was seen; it follows a change within five minutes.
#[test]
fn a_pace_begins_with_nothing_and_follows() {
    let mut sale = Sale::start(&two_hours(&[("tv", 100_000), ("mug", 10)]));
    let pace = |sale: &Sale| {
        let outlook = sale.outlook(0);
        (outlook.hundredths_per_minute, outlook.measured_seconds)
    };
    assert_eq!(pace(&sale), (0, 0));
    let each = |sale: &mut Sale, _| sale.buy("tv");
    // Five units in five seconds are thirty in a minute: less than ten seconds count as ten.
    sale.pass_many(5, each);
    assert_eq!(pace(&sale), (3000, 5));
    sale.pass_many(5, each);
    assert_eq!(pace(&sale), (6000, 10));
    sale.pass_many(50, each);
    assert_eq!(pace(&sale), (6000, 60));
    sale.pass_many(600, |sale, _| (0..3).for_each(|_| sale.buy("tv")));
    assert_eq!(pace(&sale).0, 18_000);
    sale.pass_many(300, |_, _| ());
    assert_eq!(pace(&sale), (0, 300));
    let untouched = sale.outlook(1);
    assert_eq!((untouched.hundredths_per_minute, untouched.sells_out_at, untouched.suggested_restock), (0, None, 0));
}

/// Time in which nobody can buy does not count: before the sale opens, and while it is paused.
#[test]
fn a_pause_keeps_the_pace() {
    let settings = SaleSettings { opens_at: OPENING.plus_seconds(600), ..two_hours(&[("tv", 5000)]) };
    let mut sale = Sale::start(&settings);
    sale.pass_many(599, |_, _| ());
    assert_eq!(sale.outlook(0).measured_seconds, 0);
    sale.pass_many(121, |sale, _| sale.buy("tv"));
    let open = sale.outlook(0);
    assert_eq!((open.hundredths_per_minute, open.measured_seconds), (6000, 121));
    let by = doorbuster::sale::audit::Actor::Anybody;
    sale.harness.engine.pause(sale.harness.now, by, "drop").value.unwrap();
    sale.pass_many(1, |_, _| ());
    let paused = sale.outlook(0);
    sale.pass_many(900, |_, _| ());
    let later = sale.outlook(0);
    assert_eq!(later.hundredths_per_minute, paused.hundredths_per_minute);
    assert_eq!((paused.sells_out_at, later.sells_out_at), (None, None));
    sale.harness.engine.resume(sale.harness.now, by, "drop").value.unwrap();
    sale.pass_many(300, |sale, _| sale.buy("tv"));
    assert_eq!(sale.outlook(0).hundredths_per_minute, 6000);
}

/// A start measures anew: what was sold before is no sale of the first second.
#[test]
fn a_restart_measures_anew() {
    let mut sale = Sale::start(&two_hours(&[("tv", 5000)]));
    sale.pass_many(300, |sale, _| sale.buy("tv"));
    sale.harness.restart();
    (sale.pacer, sale.paces) = Default::default();
    sale.look();
    let outlook = sale.outlook(0);
    assert_eq!((outlook.hundredths_per_minute, outlook.measured_seconds, outlook.turnover), (0, 0, 600));
    sale.pass_many(60, |sale, _| sale.buy("tv"));
    assert_eq!(sale.outlook(0).hundredths_per_minute, 6000);
    // An item that is new to a running service has sold nothing before.
    sale.harness.put(&two_hours(&[("tv", 5000), ("mug", 100)]));
    sale.pass_many(10, |sale, _| sale.buy("mug"));
    assert_eq!(sale.outlook(1).hundredths_per_minute, 6000);
}

/// Whatever the figures, nothing overflows, and no more is suggested than an item may have.
#[test]
fn suggestions_are_bounded() {
    let mut sale =
        Sale::start(&SaleSettings { closes_at: Timestamp::MAX, ..ask::sale("drop", &[("tv", STOCK_MAX / 2)]) });
    sale.pass_many(10, |sale, _| drop(sale.harness.hold("ann", "tv", 1000)));
    let outlook = sale.outlook(0);
    assert_eq!(outlook.hundredths_per_minute, 6_000_000);
    assert_eq!(outlook.suggested_restock, STOCK_MAX / 2);
    assert!(outlook.sells_out_at.is_some());
}
