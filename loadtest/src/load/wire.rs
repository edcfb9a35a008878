//! The API's documents, as far as a load test reads them. An answer with a missing member violates the contract.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::watch::Moment;

/// Units by SKU, each SKU once.
pub type Lines = BTreeMap<String, u64>;

/// Units by SKU and pool.
pub type Pools = BTreeMap<(String, String), u64>;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Shown")]
pub struct Reservation {
    pub id: String,
    pub sale: String,
    pub customer: String,
    pub state: State,
    pub lines: Lines,
    /// Where units came from, where items declare pools.
    pub pools: Pools,
    /// The price of a unit by pool.
    pub prices: BTreeMap<String, u64>,
    pub tier: Option<String>,
    pub channel: Option<String>,
    pub reference: Option<String>,
    pub created_at: Moment,
    pub expires_at: Moment,
    pub confirmed_at: Option<Moment>,
    pub released_at: Option<Moment>,
    pub expired_at: Option<Moment>,
    pub cancelled_at: Option<Moment>,
    pub extensions: u32,
    /// Held units that went back.
    pub returned: Lines,
    /// Confirmed units that went back, while others are still confirmed.
    pub cancelled: Lines,
    pub late: bool,
    /// The waitlist entry that it was made for.
    pub waitlist: Option<String>,
    pub group: Option<Group>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Group {
    pub id: String,
    pub size: usize,
    pub members: usize,
    pub state: GroupState,
    #[serde(deserialize_with = "moment")]
    pub expires_at: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupState {
    Open,
    Complete,
    Failed,
}

/// A waitlist entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    pub id: String,
    pub sale: String,
    pub customer: String,
    #[serde(deserialize_with = "summed")]
    pub lines: Lines,
    pub state: EntryState,
    /// 1 is first.
    pub position: Option<u64>,
    #[serde(default, deserialize_with = "maybe_moment")]
    pub offered_at: Option<Moment>,
    #[serde(default, deserialize_with = "maybe_moment")]
    pub left_at: Option<Moment>,
    /// The hold that was made for it.
    pub reservation: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryState {
    Waiting,
    Offered,
    Left,
    Expired,
}

impl EntryState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Offered => "offered",
            Self::Left => "left",
            Self::Expired => "expired",
        }
    }
}

/// A reservation as it is written.
#[derive(Deserialize)]
struct Shown {
    id: String,
    sale: String,
    customer: String,
    state: State,
    #[serde(deserialize_with = "lines")]
    lines: Vec<Line>,
    tier: Option<String>,
    channel: Option<String>,
    reference: Option<String>,
    #[serde(deserialize_with = "moment")]
    created_at: Moment,
    #[serde(deserialize_with = "moment")]
    expires_at: Moment,
    #[serde(default, deserialize_with = "maybe_moment")]
    confirmed_at: Option<Moment>,
    #[serde(default, deserialize_with = "maybe_moment")]
    released_at: Option<Moment>,
    #[serde(default, deserialize_with = "maybe_moment")]
    expired_at: Option<Moment>,
    #[serde(default, deserialize_with = "maybe_moment")]
    cancelled_at: Option<Moment>,
    extensions: u32,
    #[serde(default)]
    returned: Vec<Line>,
    #[serde(default)]
    cancelled: Vec<Line>,
    #[serde(default)]
    late: bool,
    waitlist: Option<String>,
    group: Option<Group>,
}

#[derive(Deserialize)]
struct Line {
    sku: String,
    quantity: u64,
    #[serde(default)]
    from: Vec<From>,
}

#[derive(Deserialize)]
struct From {
    pool: String,
    quantity: u64,
    price: Option<Price>,
}

#[derive(Deserialize)]
struct Price {
    amount: u64,
}

impl std::convert::From<Shown> for Reservation {
    fn from(shown: Shown) -> Self {
        let units = |lines: &[Line]| lines.iter().map(|line| (line.sku.clone(), line.quantity)).collect();
        let from = || shown.lines.iter().flat_map(|line| line.from.iter().map(move |from| (&line.sku, from)));
        Self {
            lines: units(&shown.lines),
            returned: units(&shown.returned),
            cancelled: units(&shown.cancelled),
            late: shown.late,
            waitlist: shown.waitlist,
            group: shown.group,
            pools: from().map(|(sku, from)| ((sku.clone(), from.pool.clone()), from.quantity)).collect(),
            prices: from().filter_map(|(_, from)| Some((from.pool.clone(), from.price.as_ref()?.amount))).collect(),
            id: shown.id,
            sale: shown.sale,
            customer: shown.customer,
            state: shown.state,
            tier: shown.tier,
            channel: shown.channel,
            reference: shown.reference,
            created_at: shown.created_at,
            expires_at: shown.expires_at,
            confirmed_at: shown.confirmed_at,
            released_at: shown.released_at,
            expired_at: shown.expired_at,
            cancelled_at: shown.cancelled_at,
            extensions: shown.extensions,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Held,
    Confirmed,
    Released,
    Expired,
    Cancelled,
}

impl State {
    const ALL: [Self; 5] = [Self::Held, Self::Confirmed, Self::Released, Self::Expired, Self::Cancelled];

    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Confirmed => "confirmed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Sale {
    pub status: String,
    pub items: Vec<Item>,
}

/// Signed, so that a count below zero is read and told as what it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Item {
    pub sku: String,
    pub stock: i64,
    pub available: i64,
    pub held: i64,
    pub confirmed: i64,
    #[serde(default)]
    pub pools: Vec<Pool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pool {
    pub id: String,
    pub stock: i64,
    pub available: i64,
    pub held: i64,
    pub confirmed: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Availability {
    pub items: Vec<AvailableItem>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AvailableItem {
    pub sku: String,
    pub available: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Adjustment {
    pub delta: i64,
    pub stock: i64,
    pub available: i64,
}

/// A problem document, with the members that codes of a sale have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    pub status: u16,
    pub code: String,
    #[serde(default)]
    pub lines: Vec<Short>,
    pub limit: Option<u64>,
    pub already: Option<u64>,
    pub sku: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Short {
    pub sku: String,
    pub requested: u64,
    pub available: u64,
}

fn micros(text: &str) -> Result<Moment, String> {
    text.parse::<Timestamp>().map(Timestamp::as_microsecond).map_err(|error| error.to_string())
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
    micros(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn maybe_moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Moment>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| micros(&text)).transpose().map_err(serde::de::Error::custom)
}

fn summed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lines, D::Error> {
    Ok(lines(deserializer)?.into_iter().map(|line| (line.sku, line.quantity)).collect())
}

fn lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Line>, D::Error> {
    let lines = Vec::<Line>::deserialize(deserializer)?;
    let mut skus = BTreeSet::new();
    for line in &lines {
        if !skus.insert(&line.sku) {
            return Err(serde::de::Error::custom(format!("{} appears in two lines", line.sku)));
        }
        let from: u64 = line.from.iter().map(|from| from.quantity).sum();
        if !line.from.is_empty() && from != line.quantity {
            return Err(serde::de::Error::custom(format!(
                "{from} of {} units of {} have a pool",
                line.quantity, line.sku
            )));
        }
    }
    Ok(lines)
}
