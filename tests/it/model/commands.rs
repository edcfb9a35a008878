//! Commands as proptest draws and shrinks them. They name sales, items and customers by small numbers and reservations by
//! how long ago they were made, so that a sequence keeps its meaning when commands are taken out of it.

use std::ops::Range;

use doorbuster::sale::settings::{HoldBudget, Sourcing};
use proptest::{collection::vec, option, prelude::*};

pub const SALES: [&str; 3] = ["drop", "flash", "night"];
pub const SKUS: [&str; 4] = ["tv", "phone", "lamp", "mug"];
/// Few, so that slices and lines collide.
pub const STOCKS: [u64; 4] = [1, 4, 9, 30];
/// The first is that of an item that declares none.
pub const POOLS: [&str; 4] = ["default", "members", "live", "late"];
pub const CUSTOMERS: [&str; 6] = ["ann", "bob", "cleo", "dan", "eve", "fred"];
pub const TIERS: [&str; 2] = ["gold", "silver"];
pub const CHANNELS: [&str; 2] = ["app", "livestream"];
pub const REGIONS: [&str; 2] = ["eu", "us"];
pub const LOCATIONS: [&str; 2] = ["berlin", "dallas"];
pub const LABELS: [&str; 2] = ["a", "b"];
pub const KEYS: [&str; 3] = ["key-a", "key-b", "key-c"];
pub const REFERENCES: [&str; 2] = ["cart-1", "cart-2"];
pub const SHARDS: [usize; 4] = [1, 2, 3, 8];

#[derive(Debug, Clone)]
pub enum Command {
    Put(usize, Document),
    /// A dry run.
    TryPut(usize, Document),
    Pause(usize),
    Resume(usize),
    Close(usize),
    Adjust {
        sale: usize,
        change: Change,
        key: Option<usize>,
    },
    AdjustAll {
        sale: usize,
        changes: Vec<Change>,
        key: Option<usize>,
    },
    Transfer {
        sale: usize,
        sku: usize,
        from: usize,
        to: usize,
        units: u64,
        key: Option<usize>,
    },
    /// An operator's command with a key once more.
    RepeatChange {
        ago: usize,
    },
    Reserve(Reserve),
    /// A dry run.
    TryOut(Reserve),
    Batch(Vec<Reserve>),
    /// The request of an earlier reservation once more, as a client that saw no answer sends it.
    Repeat {
        ago: usize,
    },
    /// `ago`: which reservation, counted back from the latest.
    Confirm {
        ago: usize,
        reference: Option<usize>,
        part: Option<Part>,
    },
    ChangeLines {
        ago: usize,
        lines: Vec<(usize, u32)>,
    },
    Cancel {
        ago: usize,
        part: Option<Part>,
        restock: bool,
        key: Option<usize>,
    },
    ExtendAll {
        sale: usize,
        seconds: u32,
        key: Option<usize>,
    },
    /// What there is of one customer in a sale.
    List {
        sale: usize,
        customer: usize,
    },
    Release {
        ago: usize,
    },
    Extend {
        ago: usize,
        seconds: u32,
    },
    Look {
        ago: usize,
    },
    Erase {
        customer: usize,
    },
    Tick,
    /// To the very end of a hold, or a millisecond before or after it, where that is still to come.
    WaitForEnd {
        ago: usize,
        offset: i64,
    },
    /// In the same way to a time that a sale's document names.
    WaitForRule {
        sale: usize,
        which: usize,
        offset: i64,
    },
    Wait {
        millis: u64,
    },
    Commit,
    Restart {
        shards: usize,
        gracefully: bool,
    },
    LosePower {
        seed: u64,
    },
    /// A snapshot with other commands after so many of its steps each.
    Snapshot {
        meanwhile: Vec<(usize, Command)>,
        ending: Ending,
    },
}

/// Lines of a reservation.
#[derive(Debug, Clone)]
pub struct Part {
    pub lines: Vec<(usize, u32)>,
    /// No more than the reservation has, if it has some of it.
    pub fits: bool,
}

/// Of the stock of one pool.
#[derive(Debug, Clone)]
pub struct Change {
    pub sku: usize,
    pub pool: Option<usize>,
    pub delta: i64,
    pub reference: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct Reserve {
    pub sale: usize,
    pub customer: usize,
    /// Item and units; the same item twice is summed.
    pub lines: Vec<(usize, u32)>,
    pub hold_seconds: Option<u32>,
    pub reference: Option<usize>,
    pub key: Option<usize>,
    pub tier: Option<usize>,
    pub channel: Option<usize>,
    pub region: Option<usize>,
    pub label: Option<usize>,
    pub locations: Vec<usize>,
    pub allow_partial: bool,
    /// Joins the group of a reservation that was made so many before the latest, if it has one.
    pub join: Option<usize>,
}

/// A sale document: mostly one that is let in.
#[derive(Debug, Clone)]
pub struct Document {
    pub items: usize,
    pub reversed: bool,
    /// Seconds from now.
    pub opens_in: i64,
    pub closes_in: i64,
    pub hold_seconds: u64,
    pub max_extensions: Option<u32>,
    pub late_confirm_seconds: u32,
    pub hold_budget: Option<HoldBudget>,
    pub customer_limit: Option<u32>,
    /// Of the second item.
    pub item_limit: Option<u32>,
    /// Of the first item, in cents.
    pub price: Option<u64>,
    pub phases: Vec<PhaseShape>,
    /// One for each of `SKUS`.
    pub shapes: Vec<ItemShape>,
    pub fault: Option<Fault>,
}

/// What is wrong with a document that follows another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    ChangedStock,
    RemovedItem,
    /// A unit of one pool's initial stock has become another's.
    MovedStock,
    RemovedPool,
}

type Names = Option<Vec<usize>>;

#[derive(Debug, Clone)]
pub struct PhaseShape {
    /// Seconds from now.
    pub opens_in: i64,
    pub seconds: Option<u64>,
    pub tiers: Names,
    pub channels: Names,
    pub customer_limit: Option<u32>,
}

#[derive(Debug, Clone)]
pub struct ItemShape {
    /// None: the item declares none, unless it has before.
    pub pools: Vec<PoolShape>,
    pub sourcing: Option<Sourcing>,
    pub split: Option<bool>,
    /// Members and seconds.
    pub group: Option<(u8, u32)>,
    /// How far the list of pools is turned.
    pub turned_by: usize,
}

#[derive(Debug, Clone)]
pub struct PoolShape {
    pub name: usize,
    /// Of the item's initial stock, if the pool comes with the item.
    pub units: u64,
    pub tiers: Names,
    pub channels: Names,
    /// Seconds from now; only of a pool that is not open to everybody.
    pub shared_in: Option<u64>,
    pub location: Option<usize>,
    /// Region and cost.
    pub costs: Vec<(usize, u64)>,
    pub price: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
pub enum Ending {
    Finish { prune: bool },
    Abandon,
    LosePower { seed: u64 },
}

pub fn commands(most: usize) -> impl Strategy<Value = Vec<Command>> {
    vec(command(), 1..=most)
}

/// The document that a sequence begins with.
pub fn first_document() -> impl Strategy<Value = Document> {
    document().prop_map(|document| Document {
        items: 3,
        opens_in: 0,
        closes_in: 30 * 24 * 3600,
        hold_seconds: 20,
        fault: None,
        ..document
    })
}

fn command() -> impl Strategy<Value = Command> {
    let meanwhile = vec((0..1500_usize, plain_command()), 0..8);
    let ending = prop_oneof![
        4 => any::<bool>().prop_map(|prune| Ending::Finish { prune }),
        1 => Just(Ending::Abandon),
        1 => any::<u64>().prop_map(|seed| Ending::LosePower { seed }),
    ];
    let restart = (prop::sample::select(&SHARDS[..]), any::<bool>());
    prop_oneof![
        300 => plain_command(),
        2 => restart.prop_map(|(shards, gracefully)| Command::Restart { shards, gracefully }),
        1 => any::<u64>().prop_map(|seed| Command::LosePower { seed }),
        2 => (meanwhile, ending).prop_map(|(meanwhile, ending)| Command::Snapshot { meanwhile, ending }),
    ]
}

fn plain_command() -> impl Strategy<Value = Command> {
    let sale = || prop_oneof![8 => Just(0_usize), 2 => Just(1_usize), 1 => Just(2_usize)];
    let ago = || prop_oneof![4 => 0..4_usize, 2 => 0..30_usize];
    let reference = || option::weighted(0.3, 0..REFERENCES.len());
    let key = |share| option::weighted(share, 0..KEYS.len());
    let transfer = (sale(), 0..SKUS.len(), 0..POOLS.len(), 0..POOLS.len(), 1..8_u64, key(0.3));
    let wait = prop_oneof![
        4 => 1..20_u64,
        4 => 100..5_000_u64,
        3 => 10_000..120_000_u64,
        1 => 600_000..10_000_000_u64,
    ];
    prop_oneof![
        3 => (sale(), document()).prop_map(|(sale, document)| Command::Put(sale, document)),
        1 => (sale(), document()).prop_map(|(sale, document)| Command::TryPut(sale, document)),
        1 => sale().prop_map(Command::Pause),
        4 => sale().prop_map(Command::Resume),
        // For good, hence seldom, and never the sale where most happens.
        1 => (1..SALES.len()).prop_map(Command::Close),
        6 => (sale(), change(), key(0.3)).prop_map(|(sale, change, key)| Command::Adjust { sale, change, key }),
        2 => (sale(), vec(change(), 1..4), key(0.3)).prop_map(|(sale, changes, key)| {
            Command::AdjustAll { sale, changes, key }
        }),
        4 => transfer.prop_map(|(sale, sku, from, to, units, key)| Command::Transfer { sale, sku, from, to, units, key }),
        3 => (0..4_usize).prop_map(|ago| Command::RepeatChange { ago }),
        40 => reserve().prop_map(Command::Reserve),
        4 => reserve().prop_map(Command::TryOut),
        2 => vec(reserve(), 1..6).prop_map(Command::Batch),
        8 => ago().prop_map(|ago| Command::Repeat { ago }),
        12 => (ago(), reference(), option::weighted(0.4, part())).prop_map(|(ago, reference, part)| {
            Command::Confirm { ago, reference, part }
        }),
        12 => (ago(), lines(1..4)).prop_map(|(ago, lines)| Command::ChangeLines { ago, lines }),
        8 => (ago(), option::weighted(0.6, part()), prop::bool::weighted(0.7), key(0.5)).prop_map(
            |(ago, part, restock, key)| Command::Cancel { ago, part, restock, key }
        ),
        3 => (sale(), prop::sample::select(vec![20, 60]), key(0.5)).prop_map(|(sale, seconds, key)| {
            Command::ExtendAll { sale, seconds, key }
        }),
        4 => (sale(), 0..CUSTOMERS.len()).prop_map(|(sale, customer)| Command::List { sale, customer }),
        12 => ago().prop_map(|ago| Command::Release { ago }),
        6 => (ago(), 1..60_u32).prop_map(|(ago, seconds)| Command::Extend { ago, seconds }),
        5 => ago().prop_map(|ago| Command::Look { ago }),
        2 => (0..CUSTOMERS.len()).prop_map(|customer| Command::Erase { customer }),
        12 => Just(Command::Tick),
        12 => wait.prop_map(|millis| Command::Wait { millis }),
        4 => (ago(), -1..=1_i64).prop_map(|(ago, offset)| Command::WaitForEnd { ago, offset }),
        4 => (sale(), 0..12_usize, -1..=1_i64).prop_map(|(sale, which, offset)| {
            Command::WaitForRule { sale, which, offset }
        }),
        8 => Just(Command::Commit),
    ]
}

fn lines(count: Range<usize>) -> impl Strategy<Value = Vec<(usize, u32)>> {
    vec((0..SKUS.len(), prop_oneof![6 => 1..3_u32, 2 => 3..7_u32]), count)
}

fn part() -> impl Strategy<Value = Part> {
    (lines(1..3), prop::bool::weighted(0.9)).prop_map(|(lines, fits)| Part { lines, fits })
}

fn change() -> impl Strategy<Value = Change> {
    let pool = prop_oneof![1 => Just(None), 3 => (0..POOLS.len()).prop_map(Some)];
    let delta = (-6..=8_i64).prop_map(|delta| if delta == 0 { 20 } else { delta });
    (0..SKUS.len(), pool, delta, option::weighted(0.3, 0..REFERENCES.len()))
        .prop_map(|(sku, pool, delta, reference)| Change { sku, pool, delta, reference })
}

fn reserve() -> impl Strategy<Value = Reserve> {
    let sale = prop_oneof![20 => Just(0_usize), 4 => Just(1_usize), 1 => Just(2_usize)];
    let units = prop_oneof![6 => 1..3_u32, 2 => 3..6_u32, 1 => 20..60_u32];
    let lines = prop_oneof![
        3 => vec((0..SKUS.len(), units.clone()), 1),
        2 => vec((0..SKUS.len(), units), 2..4),
    ];
    let hold_seconds = option::weighted(0.3, 1..40_u32);
    let reference = option::weighted(0.3, 0..REFERENCES.len());
    let key = option::weighted(0.35, 0..KEYS.len());
    let attributes = (
        option::weighted(0.6, 0..TIERS.len()),
        option::weighted(0.6, 0..CHANNELS.len()),
        option::weighted(0.5, 0..REGIONS.len()),
        option::weighted(0.1, 0..LABELS.len()),
    );
    let locations = prop_oneof![6 => Just(Vec::new()), 1 => vec(0..LOCATIONS.len(), 1..3)];
    let how = (locations, prop::bool::weighted(0.2), option::weighted(0.4, 0..12_usize));
    (sale, 0..CUSTOMERS.len(), lines, hold_seconds, reference, key, attributes, how).prop_map(
        |(sale, customer, lines, hold_seconds, reference, key, (tier, channel, region, label), how)| Reserve {
            sale,
            customer,
            lines,
            hold_seconds,
            reference,
            key,
            tier,
            channel,
            region,
            label,
            locations: how.0,
            allow_partial: how.1,
            join: how.2,
        },
    )
}

fn document() -> impl Strategy<Value = Document> {
    let opens_in = prop_oneof![8 => Just(-3600_i64), 1 => 0..20_i64, 1 => Just(3600_i64)];
    let closes_in = prop_oneof![8 => Just(30 * 24 * 3600_i64), 2 => 1..100_i64];
    let limit = || option::weighted(0.4, 1..5_u32);
    let fault = prop_oneof![
        Just(Fault::ChangedStock),
        Just(Fault::RemovedItem),
        Just(Fault::MovedStock),
        Just(Fault::RemovedPool),
    ];
    let times = (opens_in, closes_in, 1..60_u64, option::weighted(0.5, 0..3_u32));
    let budget = (option::weighted(0.7, 1..5_u32), option::weighted(0.7, 1..4_u32))
        .prop_map(|(open_holds, expired_per_hour)| HoldBudget { open_holds, expired_per_hour });
    let life = (prop_oneof![1 => Just(0), 3 => 1..60_u32], option::weighted(0.3, budget));
    let items = (1..=SKUS.len(), any::<bool>(), option::weighted(0.5, 1..5_u64), vec(item_shape(), SKUS.len()));
    let phases = prop_oneof![3 => Just(Vec::new()), 2 => vec(phase_shape(), 1..4)];
    (times, items, limit(), limit(), phases, option::weighted(0.15, fault), life).prop_map(
        |(times, items, customer_limit, item_limit, phases, fault, life)| Document {
            late_confirm_seconds: life.0,
            hold_budget: life.1,
            items: items.0,
            reversed: items.1,
            price: items.2.map(|price| price * 1000),
            shapes: items.3,
            opens_in: times.0,
            closes_in: times.1,
            hold_seconds: times.2,
            max_extensions: times.3,
            customer_limit,
            item_limit,
            phases,
            fault,
        },
    )
}

/// Some of a list's names.
fn names(count: usize) -> impl Strategy<Value = Names> {
    option::weighted(0.4, prop::sample::subsequence((0..count).collect::<Vec<_>>(), 1..=count))
}

fn phase_shape() -> impl Strategy<Value = PhaseShape> {
    let opens_in = prop_oneof![5 => Just(-3600_i64), 2 => -20..30_i64, 1 => 60..600_i64];
    let seconds = option::weighted(0.5, prop_oneof![1..60_u64, 3000..5000_u64]);
    let limit = option::weighted(0.3, 1..5_u32);
    (opens_in, seconds, names(TIERS.len()), names(CHANNELS.len()), limit).prop_map(
        |(opens_in, seconds, tiers, channels, customer_limit)| PhaseShape {
            opens_in,
            seconds,
            tiers,
            channels,
            customer_limit,
        },
    )
}

fn item_shape() -> impl Strategy<Value = ItemShape> {
    let pools = prop_oneof![2 => Just(Vec::new()), 3 => vec(pool_shape(), 1..4)];
    let sourcing = prop::sample::select(vec![Sourcing::InOrder, Sourcing::Cheapest, Sourcing::MostAvailable]);
    let group = option::weighted(0.35, (2..4_u8, 1..60_u32));
    (pools, option::weighted(0.6, sourcing), option::weighted(0.4, any::<bool>()), group, 0..3_usize)
        .prop_map(|(pools, sourcing, split, group, turned_by)| ItemShape { pools, sourcing, split, group, turned_by })
}

fn pool_shape() -> impl Strategy<Value = PoolShape> {
    let costs = vec((0..REGIONS.len(), 0..4_u64), 0..3);
    let shared_in = option::weighted(0.4, prop_oneof![1..40_u64, 100..1000_u64]);
    let place = (option::weighted(0.5, 0..LOCATIONS.len()), costs, option::weighted(0.4, 1..5_u64));
    (0..POOLS.len(), 0..6_u64, names(TIERS.len()), names(CHANNELS.len()), shared_in, place).prop_map(
        |(name, units, tiers, channels, shared_in, (location, costs, price))| PoolShape {
            name,
            units,
            shared_in: shared_in.filter(|_| tiers.is_some() || channels.is_some()),
            tiers,
            channels,
            location,
            costs,
            price: price.map(|price| price * 700),
        },
    )
}
