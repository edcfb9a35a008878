//! Events as people read them: a word for the kind, the time, and the rest by name.

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeStruct},
};
use serde_json::{Value, json};

use super::names::Names;
use crate::{
    engine::batch::CATALOGUE_LANE,
    journal::Epoch,
    sale::{
        audit::{Audited, Record},
        event::{Adjusted, Ended, Event, Held, Quantity},
        time::Timestamp,
    },
};

/// Every kind of event, in the order in which totals are told.
pub const KINDS: [&str; 20] = [
    "sale_defined",
    "sale_paused",
    "sale_resumed",
    "sale_closed",
    "status_reached",
    "adjusted",
    "stocked",
    "audited",
    "keys_noted",
    "audit_reached",
    "clock_set",
    "held",
    "extended",
    "confirmed",
    "released",
    "expired",
    "retired",
    "carried",
    "forgotten",
    "customer_erased",
];

pub fn kind(event: &Event<'_>) -> &'static str {
    match event {
        Event::Held(_) => "held",
        Event::Extended { .. } => "extended",
        Event::Confirmed(_) => "confirmed",
        Event::Released(_) => "released",
        Event::Expired(_) => "expired",
        Event::Retired { .. } => "retired",
        Event::Carried { .. } => "carried",
        Event::Forgotten { .. } => "forgotten",
        Event::CustomerErased { .. } => "customer_erased",
        Event::SaleDefined { .. } => "sale_defined",
        Event::SalePaused { .. } => "sale_paused",
        Event::SaleResumed { .. } => "sale_resumed",
        Event::SaleClosed { .. } => "sale_closed",
        Event::StatusReached { .. } => "status_reached",
        Event::Adjusted(_) => "adjusted",
        Event::Stocked { .. } => "stocked",
        Event::Audited(_) => "audited",
        Event::KeysNoted { .. } => "keys_noted",
        Event::AuditReached(_) => "audit_reached",
        Event::ClockSet(_) => "clock_set",
    }
}

/// How many events there are of each kind, in the order of [`KINDS`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals([u64; KINDS.len()]);

impl Totals {
    pub fn count(&mut self, event: &Event<'_>) {
        let kind = kind(event);
        let index = KINDS.iter().position(|known| *known == kind).expect("every kind is listed");
        self.0[index] += 1;
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS.into_iter().zip(self.0)
    }

    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Serialize for Totals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().filter(|(_, count)| *count > 0))
    }
}

/// An event of the journal, with numbers replaced by names.
pub struct EventLine {
    pub epoch: Epoch,
    pub lane: u16,
    pub kind: &'static str,
    /// None where the event holds no time.
    pub at: Option<Timestamp>,
    pub fields: Vec<(&'static str, Value)>,
}

impl EventLine {
    pub fn new(epoch: Epoch, lane: u16, event: &Event<'_>, names: &Names) -> EventLine {
        let (at, mut fields) = describe(event, names);
        fields.retain(|(_, value)| !value.is_null());
        EventLine { epoch, lane, kind: kind(event), at, fields }
    }

    /// `catalogue`, or the shard of the run that wrote the event.
    fn lane(&self) -> String {
        if self.lane == CATALOGUE_LANE { "catalogue".to_owned() } else { format!("shard {}", self.lane) }
    }

    /// One line with aligned columns; `epoch_width` is the number of digits of the greatest epoch.
    pub fn to_text(&self, epoch_width: usize) -> String {
        let at = self.at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let (epoch, lane, kind) = (self.epoch, self.lane(), self.kind);
        let mut line = format!("{epoch:>epoch_width$}  {lane:<10}  {at:<24}  {kind:<14}");
        for (name, value) in &self.fields {
            line.push_str(&format!("  {name}={}", plain(value)));
        }
        line
    }
}

impl Serialize for EventLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", self.kind)?;
        map.serialize_entry("epoch", &self.epoch)?;
        map.serialize_entry("lane", &self.lane())?;
        if let Some(at) = self.at {
            map.serialize_entry("at", &at)?;
        }
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

type Described = (Option<Timestamp>, Vec<(&'static str, Value)>);

fn describe(event: &Event<'_>, names: &Names) -> Described {
    match event {
        Event::Held(held) => describe_held(held, names),
        Event::Extended { id, at, expires_at, extensions, sale } => {
            let fields = vec![
                ("reservation", json!(id.to_string())),
                ("sale", json!(sale.map(|sale| names.sale(sale)))),
                ("expires_at", json!(expires_at)),
                ("extensions", json!(extensions)),
            ];
            (Some(*at), fields)
        }
        Event::Confirmed(ended) => describe_ended(ended, "reference", names),
        Event::Released(ended) | Event::Expired(ended) => describe_ended(ended, "reason", names),
        Event::Retired { id, counted } => {
            (None, vec![("reservation", json!(id.to_string())), ("counted", json!(counted))])
        }
        Event::Carried { customer, item, units } => {
            let fields = vec![("customer", json!(customer)), ("sku", json!(names.sku(*item))), ("units", json!(units))];
            (None, fields)
        }
        Event::Forgotten { bucket, item, units } => {
            let fields =
                vec![("bucket", json!(bucket.index())), ("sku", json!(names.sku(*item))), ("units", json!(units))];
            (None, fields)
        }
        Event::CustomerErased { at, customer } => (Some(*at), vec![("customer", json!(customer))]),
        Event::SaleDefined { sale, at, items, settings } => {
            let document = serde_json::from_slice::<Value>(settings).unwrap_or_default();
            let member = |name: &str| document.get(name).cloned().unwrap_or_default();
            let fields = vec![
                ("sale", json!(names.sale(*sale))),
                ("name", member("name")),
                ("opens_at", member("opens_at")),
                ("closes_at", member("closes_at")),
                ("items", json!(items.len())),
            ];
            (Some(*at), fields)
        }
        Event::SalePaused { sale, at } | Event::SaleResumed { sale, at } | Event::SaleClosed { sale, at } => {
            (Some(*at), vec![("sale", json!(names.sale(*sale)))])
        }
        Event::StatusReached { sale, at, status } => {
            (Some(*at), vec![("sale", json!(names.sale(*sale))), ("status", json!(status.as_str()))])
        }
        Event::Adjusted(adjusted) => describe_adjusted(adjusted, names),
        Event::Stocked { item, stock } => {
            let fields =
                vec![("sale", json!(names.sale_of(*item))), ("sku", json!(names.sku(*item))), ("stock", json!(stock))];
            (None, fields)
        }
        Event::Audited(audited) => describe_audited(audited),
        Event::KeysNoted { keys } => (None, vec![("keys", json!(keys.len()))]),
        Event::AuditReached(head) => {
            (None, vec![("sequence", json!(head.sequence)), ("hash", json!(head.hash.to_hex().as_str()))])
        }
        Event::ClockSet(set) => (Some(set.at), vec![("by_millis", json!(set.by))]),
    }
}

fn describe_audited(audited: &Audited<'_>) -> Described {
    let Audited { record: Record { sequence, at, actor, action, sale, sku, detail }, hash } = *audited;
    let fields = vec![
        ("sequence", json!(sequence)),
        ("actor", json!(actor.to_string())),
        ("action", json!(action.as_str())),
        ("sale", json!(sale)),
        ("sku", json!(sku)),
        // What is no JSON was not written by this program, and is shown as it is.
        ("detail", serde_json::from_str(detail).unwrap_or_else(|_| json!(detail))),
        ("hash", json!(hash.to_hex().as_str())),
    ];
    (Some(at), fields)
}

fn describe_held(held: &Held<'_>, names: &Names) -> Described {
    let at = held.id.created_at();
    let lines = held.lines.iter().map(|line| Line {
        sku: names.sku(line.item),
        quantity: line.units,
        price: line.price.map(|price| json!(price)),
    });
    let fields = vec![
        ("reservation", json!(held.id.to_string())),
        ("sale", json!(names.sale(held.sale))),
        ("customer", json!(held.customer)),
        ("lines", lines.map(|line| json!(line)).collect()),
        ("expires_at", json!(at.plus_seconds(held.hold_seconds.into()))),
        ("reference", json!(held.reference)),
        ("idempotency_key", json!(held.key.map(|(key, _)| key))),
    ];
    (Some(at), fields)
}

fn describe_ended(ended: &Ended<'_>, text: &'static str, names: &Names) -> Described {
    let line = |line: &Quantity| json!(Line { sku: names.sku(line.item), quantity: line.units, price: None });
    let sale = ended.lines.first().and_then(|line| names.sale_of(line.item));
    let fields = vec![
        ("reservation", json!(ended.id.to_string())),
        ("sale", json!(sale)),
        ("lines", ended.lines.iter().map(line).collect()),
        (text, json!(ended.text)),
    ];
    (Some(ended.at), fields)
}

fn describe_adjusted(adjusted: &Adjusted<'_>, names: &Names) -> Described {
    let fields = vec![
        ("sale", json!(names.sale_of(adjusted.item))),
        ("sku", json!(names.sku(adjusted.item))),
        ("delta", json!(adjusted.delta)),
        ("reason", json!(adjusted.reason)),
        ("reference", json!(adjusted.reference)),
        ("idempotency_key", json!(adjusted.key.map(|(key, _)| key))),
        ("stock", json!(adjusted.stock)),
        ("available", json!(adjusted.available)),
    ];
    (Some(adjusted.at), fields)
}

/// A line of a reservation, as the API shows it.
struct Line {
    sku: String,
    quantity: u32,
    price: Option<Value>,
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Line", 2 + usize::from(self.price.is_some()))?;
        line.serialize_field("sku", &self.sku)?;
        line.serialize_field("quantity", &self.quantity)?;
        if let Some(price) = &self.price {
            line.serialize_field("price", price)?;
        }
        line.end()
    }
}

/// A value without quotes where none are needed; lines as `2*tv,1*mat`.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains(|letter: char| letter == '"' || letter == ' ' || letter.is_control()) => {
            format!("{text:?}")
        }
        Value::String(text) => text.clone(),
        Value::Array(lines) => {
            let line = |line: &Value| format!("{}*{}", plain(&line["quantity"]), plain(&line["sku"]));
            lines.iter().map(line).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}
