//! The API's documents, as far as a load test reads them. An answer with a missing member violates the contract.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::watch::Moment;

/// Units by SKU, each SKU once.
pub type Lines = BTreeMap<String, u64>;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reservation {
    pub id: String,
    pub sale: String,
    pub customer: String,
    pub state: State,
    #[serde(deserialize_with = "lines")]
    pub lines: Lines,
    pub reference: Option<String>,
    #[serde(deserialize_with = "moment")]
    pub created_at: Moment,
    #[serde(deserialize_with = "moment")]
    pub expires_at: Moment,
    #[serde(default, deserialize_with = "maybe_moment")]
    pub confirmed_at: Option<Moment>,
    #[serde(default, deserialize_with = "maybe_moment")]
    pub released_at: Option<Moment>,
    #[serde(default, deserialize_with = "maybe_moment")]
    pub expired_at: Option<Moment>,
    pub extensions: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Held,
    Confirmed,
    Released,
    Expired,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Confirmed => "confirmed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::Held, Self::Confirmed, Self::Released, Self::Expired].into_iter().find(|state| state.name() == name)
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

fn lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lines, D::Error> {
    #[derive(Deserialize)]
    struct Line {
        sku: String,
        quantity: u64,
    }
    let mut lines = Lines::new();
    for line in Vec::<Line>::deserialize(deserializer)? {
        if lines.insert(line.sku.clone(), line.quantity).is_some() {
            return Err(serde::de::Error::custom(format!("{} appears in two lines", line.sku)));
        }
    }
    Ok(lines)
}
