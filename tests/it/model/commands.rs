//! Commands as proptest draws and shrinks them. They name sales, items and customers by small numbers and reservations by
//! how long ago they were made, so that a sequence keeps its meaning when commands are taken out of it.

use proptest::{collection::vec, option, prelude::*};

pub const SALES: [&str; 3] = ["drop", "flash", "night"];
pub const SKUS: [&str; 4] = ["tv", "phone", "lamp", "mug"];
/// Few, so that slices and lines collide.
pub const STOCKS: [u64; 4] = [1, 4, 9, 30];
pub const CUSTOMERS: [&str; 6] = ["ann", "bob", "cleo", "dan", "eve", "fred"];
pub const KEYS: [&str; 3] = ["key-a", "key-b", "key-c"];
pub const REFERENCES: [&str; 2] = ["cart-1", "cart-2"];
pub const SHARDS: [usize; 4] = [1, 2, 3, 8];

#[derive(Debug, Clone)]
pub enum Command {
    Put(usize, Document),
    Pause(usize),
    Resume(usize),
    Close(usize),
    Adjust {
        sale: usize,
        sku: usize,
        delta: i64,
        key: Option<usize>,
        reference: Option<usize>,
    },
    Reserve(Reserve),
    /// The request of an earlier reservation once more, as a client that saw no answer sends it.
    Repeat {
        ago: usize,
    },
    /// `ago`: which reservation, counted back from the latest.
    Confirm {
        ago: usize,
        reference: Option<usize>,
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

#[derive(Debug, Clone)]
pub struct Reserve {
    pub sale: usize,
    pub customer: usize,
    /// Item and units; the same item twice is summed.
    pub lines: Vec<(usize, u32)>,
    pub hold_seconds: Option<u32>,
    pub reference: Option<usize>,
    pub key: Option<usize>,
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
    pub customer_limit: Option<u32>,
    /// Of the second item.
    pub item_limit: Option<u32>,
    /// Of the first item, in cents.
    pub price: Option<u64>,
    pub changed_stock: bool,
    pub removed_item: bool,
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
    let adjust = (sale(), 0..SKUS.len(), -6..=8_i64, key(0.3), reference());
    let wait = prop_oneof![
        4 => 1..20_u64,
        4 => 100..5_000_u64,
        3 => 10_000..120_000_u64,
        1 => 600_000..10_000_000_u64,
    ];
    prop_oneof![
        3 => (sale(), document()).prop_map(|(sale, document)| Command::Put(sale, document)),
        1 => sale().prop_map(Command::Pause),
        4 => sale().prop_map(Command::Resume),
        // For good, hence seldom, and never the sale where most happens.
        1 => (1..SALES.len()).prop_map(Command::Close),
        6 => adjust.prop_map(|(sale, sku, delta, key, reference)| Command::Adjust {
            sale, sku, delta: if delta == 0 { 20 } else { delta }, key, reference
        }),
        40 => reserve().prop_map(Command::Reserve),
        8 => ago().prop_map(|ago| Command::Repeat { ago }),
        8 => (ago(), reference()).prop_map(|(ago, reference)| Command::Confirm { ago, reference }),
        12 => ago().prop_map(|ago| Command::Release { ago }),
        6 => (ago(), 1..60_u32).prop_map(|(ago, seconds)| Command::Extend { ago, seconds }),
        5 => ago().prop_map(|ago| Command::Look { ago }),
        2 => (0..CUSTOMERS.len()).prop_map(|customer| Command::Erase { customer }),
        12 => Just(Command::Tick),
        12 => wait.prop_map(|millis| Command::Wait { millis }),
        4 => (ago(), -1..=1_i64).prop_map(|(ago, offset)| Command::WaitForEnd { ago, offset }),
        8 => Just(Command::Commit),
    ]
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
    (sale, 0..CUSTOMERS.len(), lines, hold_seconds, reference, key).prop_map(
        |(sale, customer, lines, hold_seconds, reference, key)| Reserve {
            sale,
            customer,
            lines,
            hold_seconds,
            reference,
            key,
        },
    )
}

fn document() -> impl Strategy<Value = Document> {
    let opens_in = prop_oneof![8 => Just(-3600_i64), 1 => 0..20_i64, 1 => Just(3600_i64)];
    let closes_in = prop_oneof![8 => Just(30 * 24 * 3600_i64), 2 => 1..100_i64];
    let limit = || option::weighted(0.4, 1..5_u32);
    let seldom = || prop::bool::weighted(0.05);
    let times = (opens_in, closes_in, 1..60_u64, option::weighted(0.5, 0..3_u32));
    let items = (1..=SKUS.len(), any::<bool>(), option::weighted(0.5, 1..5_u64));
    (times, items, limit(), limit(), seldom(), seldom()).prop_map(
        |(times, items, customer_limit, item_limit, changed_stock, removed_item)| Document {
            items: items.0,
            reversed: items.1,
            price: items.2.map(|price| price * 1000),
            opens_in: times.0,
            closes_in: times.1,
            hold_seconds: times.2,
            max_extensions: times.3,
            customer_limit,
            item_limit,
            changed_stock,
            removed_item,
        },
    )
}
