//! `doorbuster demo --sale FILE`: plays a crowd against any sale document, in simulated time and in memory, and says what would
//! sell out when, who would be refused why, and what the limits did.
//!
//! The engine is the one that serves; only time is simulated, so that a sale of many hours takes seconds. Everything follows
//! from the document and the seed. Nothing is written, and no address is opened.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::screen::{Paint, Screen, counted};
use crate::{
    cli::{exit::ExitCode, inspect::report::grouped, table::Table},
    config::Config,
    engine::Engine,
    journal::Source,
    sale::{
        attributes::Attributes,
        audit::Actor,
        command::{AskedLine, Extras, Reserve},
        ids::ReservationId,
        outcome::{Refusal, Reservation},
        settings::SaleSettings,
        time::Timestamp,
    },
};

const SEED: u64 = 2026;

/// Of an opening, half of the shoppers have come after so many seconds.
const HALF_LIFE_SECONDS: f64 = 20.0;

/// Of a hundred holders, so many pay, and so many let go; the others let their holds expire.
const PAY: u32 = 82;
const LET_GO: u32 = 6;

/// How often a shopper comes back who was told when to.
const RETURNS_MAX: u32 = 2;

/// Between two looks at the stock, in simulated milliseconds.
const LOOK_EVERY_MILLIS: u64 = 200;

/// Rows of one table.
const ROWS_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Come { shopper: u32, returned: u32 },
    Pay(ReservationId),
    LetGo(ReservationId),
}

/// What became of a group of shoppers.
#[derive(Debug, Default)]
struct Group {
    shoppers: u64,
    got: u64,
    units: u64,
    /// First refusals, by code.
    refused: BTreeMap<&'static str, u64>,
}

/// Who comes: tiers, channels and regions of the document, and nobody in particular.
struct Crowd {
    tiers: Vec<Option<String>>,
    channels: Vec<Option<String>>,
    regions: Vec<Option<String>>,
    /// When the sale opens to somebody.
    openings: Vec<Timestamp>,
}

struct Rehearsal<'a> {
    settings: &'a SaleSettings,
    engine: Engine,
    random: SmallRng,
    crowd: Crowd,
    steps: BinaryHeap<Reverse<(Timestamp, u64, Step)>>,
    numbered: u64,
    groups: BTreeMap<(String, String), Group>,
    refusals: BTreeMap<&'static str, u64>,
    /// When a pool was first seen without units, by SKU and pool.
    sold_out: BTreeMap<(String, String), Timestamp>,
    looked_at: Timestamp,
    returns: u64,
    revenue: BTreeMap<String, u64>,
}

/// Plays the sale and prints what came of it.
pub(in crate::cli) fn run(config: &Config, settings: &SaleSettings, shoppers: u32, tiers: &[String]) -> ExitCode {
    let screen = Screen::of_stdout();
    let mut rehearsal = Rehearsal::new(config, settings, tiers);
    screen.line(format_args!(
        "{} come to the sale {}, in simulated time; nothing is written.",
        screen.paint(Paint::Bold, counted(shoppers as usize, "shopper")),
        settings.id
    ));
    if let Err(refusal) = rehearsal.open() {
        super::complain(&format_args!("the sale cannot be put: {refusal:?}"));
        return ExitCode::BadConfig;
    }
    rehearsal.invite(shoppers);
    rehearsal.play();
    rehearsal.report(screen);
    ExitCode::Clean
}

impl Crowd {
    fn of(settings: &SaleSettings, tiers: &[String]) -> Self {
        let pools = || settings.items.iter().flat_map(|item| &item.pools);
        let of_document = |phases: Vec<&String>, pools: Vec<&String>| {
            let mut all: Vec<Option<String>> = phases.into_iter().chain(pools).cloned().map(Some).collect();
            all.sort();
            all.dedup();
            // Customers that the document does not name come, too.
            all.push(None);
            all
        };
        let phases = &settings.phases;
        let named = of_document(
            phases.iter().filter_map(|phase| phase.tiers.as_ref()).flatten().collect(),
            pools().filter_map(|pool| pool.tiers.as_ref()).flatten().collect(),
        );
        let channels = of_document(
            phases.iter().filter_map(|phase| phase.channels.as_ref()).flatten().collect(),
            pools().filter_map(|pool| pool.channels.as_ref()).flatten().collect(),
        );
        let regions =
            of_document(Vec::new(), pools().filter_map(|pool| pool.costs.as_ref()).flat_map(BTreeMap::keys).collect());
        let mut openings: Vec<Timestamp> = phases.iter().map(|phase| phase.opens_at).collect();
        openings.push(settings.opens_at);
        openings.sort();
        openings.dedup();
        let given: Vec<_> = tiers.iter().cloned().map(Some).collect();
        Self { tiers: if given.is_empty() { named } else { given }, channels, regions, openings }
    }
}

impl<'a> Rehearsal<'a> {
    fn new(config: &Config, settings: &'a SaleSettings, tiers: &[String]) -> Self {
        Self {
            settings,
            engine: Engine::new(config.engine_settings(SEED)),
            random: SmallRng::seed_from_u64(SEED),
            crowd: Crowd::of(settings, tiers),
            steps: BinaryHeap::new(),
            numbered: 0,
            groups: BTreeMap::new(),
            refusals: BTreeMap::new(),
            sold_out: BTreeMap::new(),
            looked_at: Timestamp::default(),
            returns: 0,
            revenue: BTreeMap::new(),
        }
    }

    /// Puts the document a second before it opens.
    fn open(&mut self) -> Result<(), Refusal> {
        let before = self.settings.opens_at.minus_millis(1000);
        self.engine.put_sale(before, Actor::Anybody, self.settings).value.map(drop)
    }

    fn at(&mut self, at: Timestamp, step: Step) {
        self.numbered += 1;
        self.steps.push(Reverse((at, self.numbered, step)));
    }

    /// Has each shopper come soon after one of the openings.
    fn invite(&mut self, shoppers: u32) {
        let window = self.settings.closes_at.millis_since(self.settings.opens_at);
        for shopper in 0..shoppers {
            let opening = self.crowd.openings[self.random.random_range(0..self.crowd.openings.len())];
            let half_lives = -self.random.random_range(f64::MIN_POSITIVE..1.0).log2();
            let after = ((half_lives * HALF_LIFE_SECONDS * 1000.0) as u64).min(window.saturating_sub(1));
            self.at(opening.plus_millis(after), Step::Come { shopper, returned: 0 });
        }
    }

    fn play(&mut self) {
        let mut payload = Vec::new();
        let mut last = self.settings.opens_at;
        while let Some(Reverse((at, _, step))) = self.steps.pop() {
            last = at.max(last);
            self.engine.tick(last);
            match step {
                Step::Come { shopper, returned } => self.come(last, shopper, returned),
                Step::Pay(id) => self.pay(last, id),
                Step::LetGo(id) => drop(self.engine.release(last, id, None)),
            }
            if last.millis_since(self.looked_at) >= LOOK_EVERY_MILLIS {
                self.look(last);
                // What a journal would take.
                self.engine.cut(&mut payload);
                payload.clear();
            }
        }
        // The last holds end.
        self.engine.tick(last.plus_seconds(self.settings.hold_seconds + 1));
    }

    fn pay(&mut self, now: Timestamp, id: ReservationId) {
        let Ok(confirmed) = self.engine.confirm(now, id, None).value else { return };
        for line in &confirmed.lines {
            let Some(price) = line.price else { continue };
            *self.revenue.entry(price.currency.as_str().to_owned()).or_default() +=
                price.amount * u64::from(line.amounts.confirmed);
        }
    }

    fn come(&mut self, now: Timestamp, shopper: u32, returned: u32) {
        // A shopper is the same each time.
        let mut who = SmallRng::seed_from_u64(SEED ^ (u64::from(shopper) << 20));
        let mut one_of = |all: &[Option<String>]| all[who.random_range(0..all.len())].clone();
        let (tier, channel) = (one_of(&self.crowd.tiers), one_of(&self.crowd.channels));
        let region = one_of(&self.crowd.regions);
        // The first items of the list are wanted most.
        let wanted = who.random_range(0.0..1.0_f64).powi(2) * self.settings.items.len() as f64;
        let item = &self.settings.items[wanted as usize];
        let units = if who.random_range(0..4) == 0 { 2 } else { 1 };
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        let group = self.groups.entry((name(&tier), name(&channel))).or_default();
        group.shoppers += u64::from(returned == 0);

        let customer = format!("shopper-{shopper}");
        let own = |text: Option<String>| text.map(Into::into);
        let attributes =
            Attributes { tier: own(tier), channel: own(channel), region: own(region), ..Attributes::default() };
        let extras = Extras { attributes, ..Extras::default() };
        let asked = Reserve {
            sale: &self.settings.id,
            customer: &customer,
            lines: [AskedLine { sku: &item.sku, units }].into_iter().collect(),
            hold_seconds: None,
            reference: None,
            key: None,
            extras: Some(&extras),
        };
        match self.engine.reserve(now, &asked, self.random.random()).value {
            Ok(made) => {
                group.got += 1;
                group.units += u64::from(units);
                self.decide(now, &made.reservation);
            }
            Err(refusal) => {
                let code = refusal.code().as_str();
                *self.refusals.entry(code).or_default() += 1;
                if returned == 0 {
                    *group.refused.entry(code).or_default() += 1;
                }
                self.come_back(now, shopper, returned, &refusal);
            }
        }
    }

    /// What a holder does next.
    fn decide(&mut self, now: Timestamp, held: &Reservation) {
        let lasts = held.expires_at.millis_since(now);
        let at = now.plus_millis(lasts * self.random.random_range(5..80) / 100);
        match self.random.random_range(0..100) {
            chance if chance < PAY => self.at(at, Step::Pay(held.id)),
            chance if chance < PAY + LET_GO => self.at(at, Step::LetGo(held.id)),
            _ => {}
        }
    }

    /// Who was told when to come back does so.
    fn come_back(&mut self, now: Timestamp, shopper: u32, returned: u32, refusal: &Refusal) {
        let at = match refusal {
            Refusal::SaleNotStarted { opens_at } => Some(*opens_at),
            Refusal::Short(lines) => lines.iter().filter_map(|line| line.next_release_at).min(),
            _ => None,
        };
        if let Some(at) = at.filter(|&at| at >= now && at < self.settings.closes_at && returned < RETURNS_MAX) {
            self.returns += 1;
            self.at(at.plus_millis(1), Step::Come { shopper, returned: returned + 1 });
        }
    }

    /// Notes which pools have no units left.
    fn look(&mut self, now: Timestamp) {
        self.looked_at = now;
        let Ok(view) = self.engine.sale(now, &self.settings.id).value else { return };
        for ((item, sum), pools) in view.sale.items.iter().zip(&view.counts).zip(&view.pools) {
            let all = if pools.is_empty() { std::slice::from_ref(sum) } else { pools };
            for (index, counts) in all.iter().enumerate().filter(|(_, counts)| counts.available == 0) {
                let place = (item.settings.sku.clone(), item.settings.pool_id(index).to_owned());
                if counts.stock() > 0 {
                    self.sold_out.entry(place).or_insert(now);
                }
            }
        }
    }

    fn report(&self, screen: Screen) {
        self.report_stock(screen);
        self.report_groups(screen);
        screen.heading("Refusals, all attempts");
        let mut table = Table::new(["count", "code"], 1);
        self.refusals.iter().for_each(|(code, count)| table.row([grouped(*count), (*code).to_owned()]));
        print(screen, &table);
        screen.line(format_args!("  {} came back when they were told to.", grouped(self.returns)));
        let limited = self.refusals.get("customer_limit_exceeded").copied().unwrap_or(0);
        screen.line(format_args!("  The customer limits refused {} attempts.", grouped(limited)));
        for (currency, amount) in &self.revenue {
            screen.line(format_args!("  Revenue: {} {currency} in minor units.", grouped(*amount)));
        }
    }

    fn report_stock(&self, screen: Screen) {
        screen.heading("What sold, and when it was out");
        let Ok(view) = self.engine.sale(self.settings.closes_at, &self.settings.id).value else { return };
        let mut table = Table::new(["stock", "sold", "left", "out after", "price", "pool", "item"], 5);
        let rows = view.sale.items.iter().zip(&view.counts).zip(&view.pools).flat_map(|((item, sum), pools)| {
            let all = if pools.is_empty() { std::slice::from_ref(sum) } else { pools };
            all.iter().enumerate().map(move |(index, counts)| (item, index, *counts))
        });
        let mut more = 0_u64;
        for (place, (item, index, counts)) in rows.enumerate() {
            if place >= ROWS_MAX {
                more += 1;
                continue;
            }
            let id = item.settings.pool_id(index);
            let price = item.settings.pools.get(index).and_then(|pool| pool.price).or(item.settings.price);
            let out = self.sold_out.get(&(item.settings.sku.clone(), id.to_owned()));
            table.row([
                grouped(counts.stock()),
                grouped(counts.confirmed),
                grouped(counts.available + counts.held),
                out.map_or_else(|| "-".to_owned(), |at| lasting(at.millis_since(self.settings.opens_at))),
                price.map_or_else(|| "-".to_owned(), |price| format!("{} {}", price.amount, price.currency.as_str())),
                id.to_owned(),
                item.settings.sku.clone(),
            ]);
        }
        print(screen, &table);
        if more > 0 {
            screen.line(format_args!("  and {} more", grouped(more)));
        }
    }

    fn report_groups(&self, screen: Screen) {
        screen.heading("Who got what: tier and channel");
        let mut table = Table::new(["shoppers", "got it", "units", "tier", "channel", "first refusals"], 3);
        for ((tier, channel), group) in self.groups.iter().take(ROWS_MAX) {
            let refused: Vec<_> =
                group.refused.iter().map(|(code, count)| format!("{code} {}", grouped(*count))).collect();
            table.row([
                grouped(group.shoppers),
                grouped(group.got),
                grouped(group.units),
                tier.clone(),
                channel.clone(),
                refused.join(", "),
            ]);
        }
        print(screen, &table);
    }
}

fn print<const COLUMNS: usize>(screen: Screen, table: &Table<COLUMNS>) {
    let mut text = Vec::new();
    table.write(&mut text, "nothing").expect("memory can be written");
    screen.line(String::from_utf8_lossy(&text).trim_end());
}

/// As hours, minutes and seconds.
fn lasting(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_sells_its_steps_in_order_and_twice_the_same() {
        let document = r#"{"id":"drop","name":"Drop","opens_at":"2099-11-27T08:00:00Z","closes_at":"2099-11-27T20:00:00Z",
            "hold_seconds":300,"customer_limit":1,
            "phases":[{"name":"gold","opens_at":"2099-11-27T08:00:00Z","closes_at":"2099-11-27T09:00:00Z","tiers":["gold"]},
                {"name":"all","opens_at":"2099-11-27T09:00:00Z"}],
            "items":[{"sku":"tv","initial_stock":60,"pools":[
                {"id":"early","initial_stock":20,"price":{"amount":100,"currency":"EUR"}},
                {"id":"late","initial_stock":40,"price":{"amount":200,"currency":"EUR"}}]}]}"#;
        let settings: SaleSettings = serde_json::from_str(document).unwrap();
        let play = |tiers: &[String]| {
            let config = Config::default();
            let mut rehearsal = Rehearsal::new(&config, &settings, tiers);
            rehearsal.open().unwrap();
            rehearsal.invite(500);
            rehearsal.play();
            let out = |pool: &str| rehearsal.sold_out.get(&("tv".to_owned(), pool.to_owned())).copied();
            let groups: Vec<_> = rehearsal.groups.iter().map(|(who, group)| (who.clone(), group.got)).collect();
            (out("early"), out("late"), groups, rehearsal.refusals.clone(), rehearsal.revenue.clone())
        };
        let (early, late, _, refusals, revenue) = play(&[]);
        assert!(early.unwrap() < late.unwrap(), "{early:?} {late:?}");
        assert!(refusals["customer_limit_exceeded"] > 0 && refusals["sale_not_started"] > 0, "{refusals:?}");
        assert!(revenue["EUR"] > 20 * 100);
        assert_eq!(play(&[]), play(&[]));
        // Nobody is gold: nothing sells before the second phase.
        let (early, ..) = play(&["silver".to_owned()]);
        assert!(early.unwrap() >= Timestamp::parse("2099-11-27T09:00:00Z").unwrap());
    }
}
