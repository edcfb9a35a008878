//! The service's answers as a client of the contract reads them. On purpose not the service's own types: it is taken
//! at its word on the wire.

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value};

use crate::sale::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    pub id: String,
    pub sale: String,
    pub customer: String,
    pub state: String,
    pub lines: Vec<Line>,
    pub reference: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub confirmed_at: Option<Timestamp>,
    pub released_at: Option<Timestamp>,
    pub expired_at: Option<Timestamp>,
    pub extensions: u32,
}

/// The answer to a reserve. What a repeat says beyond the first answer, how the reservation stands now, is left out.
#[derive(Debug)]
pub struct Reserved(pub Reservation);

impl<'de> Deserialize<'de> for Reserved {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut document = Map::deserialize(deserializer)?;
        document.remove("replayed_of");
        Reservation::deserialize(Value::Object(document)).map(Self).map_err(D::Error::custom)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub sku: String,
    pub quantity: u64,
    pub price: Option<Price>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub amount: i64,
    pub currency: String,
}

/// Those members of a sale that the demo looks at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Sale {
    pub id: String,
    pub status: String,
    pub items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Item {
    pub sku: String,
    pub stock: u64,
    pub available: u64,
    pub held: u64,
    pub confirmed: u64,
}

/// Those members of a problem that the demo looks at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    pub code: String,
    pub detail: String,
    #[serde(default)]
    pub lines: Vec<ShortLine>,
    pub limit: Option<u64>,
    pub already: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ShortLine {
    pub sku: String,
    pub requested: u64,
    pub available: u64,
}
