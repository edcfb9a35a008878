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
        event::{
            Adjusted, AskedUnits, CatalogueEvent, CustomerEvent, Event, Held, Joined, Portion, PricedPortion,
            SaleDefined, Settled, record,
        },
        time::Timestamp,
    },
};

/// Every kind of event, in the order in which totals are told.
pub(super) const KINDS: [&str; 37] = [
    "sale_defined",
    "sale_paused",
    "sale_resumed",
    "sale_closed",
    "status_reached",
    "phase_opened",
    "pool_shared",
    "adjusted",
    "transferred",
    "holds_extending",
    "holds_extended",
    "stocked",
    "audited",
    "keys_noted",
    "audit_reached",
    "clock_set",
    "written_by",
    "held",
    "extended",
    "confirmed",
    "released",
    "expired",
    "changed",
    "cancelled",
    "confirm_refused",
    "group_changed",
    "group_noted",
    "joined",
    "offered",
    "left_waitlist",
    "wait_expired",
    "passed_over",
    "entry_retired",
    "retired",
    "carried",
    "sold",
    "customer_erased",
];

pub(super) fn kind(event: &Event<'_>) -> &'static str {
    match event {
        Event::Customer(event) => match event {
            CustomerEvent::Held(_) => "held",
            CustomerEvent::Extended(_) => "extended",
            CustomerEvent::Confirmed(_) => "confirmed",
            CustomerEvent::Released(_) => "released",
            CustomerEvent::Expired(_) => "expired",
            CustomerEvent::Changed(_) => "changed",
            CustomerEvent::Cancelled(_) => "cancelled",
            CustomerEvent::ConfirmRefused(_) => "confirm_refused",
            CustomerEvent::GroupChanged(_) => "group_changed",
            CustomerEvent::GroupNoted(_) => "group_noted",
            CustomerEvent::Joined(_) => "joined",
            CustomerEvent::Offered(_) => "offered",
            CustomerEvent::LeftWaitlist(_) => "left_waitlist",
            CustomerEvent::WaitExpired(_) => "wait_expired",
            CustomerEvent::PassedOver(_) => "passed_over",
            CustomerEvent::EntryRetired { .. } => "entry_retired",
            CustomerEvent::Retired { .. } => "retired",
            CustomerEvent::Carried { .. } => "carried",
            CustomerEvent::Sold { .. } => "sold",
            CustomerEvent::CustomerErased { .. } => "customer_erased",
        },
        Event::Catalogue(event) => match event {
            CatalogueEvent::SaleDefined(_) => "sale_defined",
            CatalogueEvent::SalePaused { .. } => "sale_paused",
            CatalogueEvent::SaleResumed { .. } => "sale_resumed",
            CatalogueEvent::SaleClosed { .. } => "sale_closed",
            CatalogueEvent::StatusReached { .. } => "status_reached",
            CatalogueEvent::PhaseOpened { .. } => "phase_opened",
            CatalogueEvent::PoolShared { .. } => "pool_shared",
            CatalogueEvent::Adjusted(_) => "adjusted",
            CatalogueEvent::Transferred(_) => "transferred",
            CatalogueEvent::HoldsExtending(_) => "holds_extending",
            CatalogueEvent::HoldsExtended(_) => "holds_extended",
            CatalogueEvent::Stocked { .. } => "stocked",
            CatalogueEvent::Audited(_) => "audited",
            CatalogueEvent::KeysNoted { .. } => "keys_noted",
            CatalogueEvent::AuditReached(_) => "audit_reached",
            CatalogueEvent::ClockSet(_) => "clock_set",
            CatalogueEvent::WrittenBy { .. } => "written_by",
        },
    }
}

/// How many events there are of each kind, in the order of [`KINDS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Totals([u64; KINDS.len()]);

impl Default for Totals {
    fn default() -> Self {
        Self([0; KINDS.len()])
    }
}

impl Totals {
    pub(crate) fn count(&mut self, event: &Event<'_>) {
        let kind = kind(event);
        let index = KINDS.iter().position(|known| *known == kind).expect("every kind is listed");
        self.0[index] += 1;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS.into_iter().zip(self.0)
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Serialize for Totals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().filter(|(_, count)| *count > 0))
    }
}

/// An event of the journal, with numbers replaced by names.
pub(super) struct EventLine {
    pub epoch: Epoch,
    pub lane: u16,
    pub kind: &'static str,
    /// None where the event holds no time.
    pub at: Option<Timestamp>,
    pub fields: Vec<(&'static str, Value)>,
}

impl EventLine {
    pub(super) fn new(epoch: Epoch, lane: u16, event: &Event<'_>, names: &Names) -> EventLine {
        let (at, mut fields) = describe(event, names);
        fields.retain(|(_, value)| !value.is_null());
        EventLine { epoch, lane, kind: kind(event), at, fields }
    }

    /// `catalogue`, or the shard of the run that wrote the event.
    fn lane(&self) -> String {
        if self.lane == CATALOGUE_LANE { "catalogue".to_owned() } else { format!("shard {}", self.lane) }
    }

    /// One line with aligned columns; `epoch_width` is the number of digits of the greatest epoch.
    pub(super) fn to_text(&self, epoch_width: usize) -> String {
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

type Described = (Option<Timestamp>, Fields);

fn describe(event: &Event<'_>, names: &Names) -> Described {
    match event {
        Event::Customer(event) => (event.at(), describe_customer_event(event, names)),
        Event::Catalogue(event) => (event.at(), describe_catalogue_event(event, names)),
    }
}

type Fields = Vec<(&'static str, Value)>;

fn describe_customer_event(event: &CustomerEvent<'_>, names: &Names) -> Fields {
    match event {
        CustomerEvent::Held(held) => describe_held(held, names),
        CustomerEvent::Extended(extended) => vec![
            ("reservation", json!(extended.id.to_string())),
            ("sale", json!(names.sale(extended.sale))),
            ("expires_at", json!(extended.expires_at)),
            ("extensions", json!(extended.extensions)),
        ],
        CustomerEvent::Confirmed(settled) => describe_settled(settled, "reference", names),
        CustomerEvent::Released(settled) | CustomerEvent::Expired(settled) => {
            describe_settled(settled, "reason", names)
        }
        CustomerEvent::Changed(changed) => vec![
            ("reservation", json!(changed.id.to_string())),
            ("sale", json!(names.sale(changed.sale))),
            ("returned", lines_of(&changed.returned, names)),
            ("lines", priced_lines_of(&changed.taken, names)),
        ],
        CustomerEvent::Cancelled(cancelled) => vec![
            ("reservation", json!(cancelled.id.to_string())),
            ("sale", json!(names.sale(cancelled.sale))),
            ("lines", lines_of(&cancelled.portions, names)),
            ("restock", json!(cancelled.restock)),
            ("reason", json!(cancelled.reason)),
            ("idempotency_key", json!(cancelled.key.map(|(key, _)| key))),
        ],
        CustomerEvent::ConfirmRefused(refused) => vec![
            ("reservation", json!(refused.id.to_string())),
            ("sale", json!(names.sale(refused.sale))),
            ("cause", json!(refused.cause.as_str())),
            ("reference", json!(refused.reference)),
        ],
        CustomerEvent::GroupChanged(changed) => vec![
            ("group", json!(changed.id.to_string())),
            ("sale", json!(names.sale(changed.sale))),
            ("sku", json!(names.sku(changed.item))),
            ("state", json!(changed.step.state().as_str())),
            ("members", json!(changed.members.len())),
            ("size", json!(changed.size)),
            ("expires_at", json!(changed.expires_at)),
        ],
        CustomerEvent::GroupNoted(noted) => vec![
            ("reservation", json!(noted.id.to_string())),
            ("sale", json!(names.sale(noted.sale))),
            ("state", json!(noted.state.as_str())),
            ("members", json!(noted.members)),
            ("expires_at", json!(noted.expires_at)),
        ],
        CustomerEvent::Joined(joined) => describe_joined(joined, names),
        CustomerEvent::Offered(offered) => vec![
            ("entry", json!(offered.id.to_string())),
            ("sale", json!(names.sale(offered.sale))),
            ("reservation", json!(offered.reservation.to_string())),
        ],
        CustomerEvent::LeftWaitlist(ended) | CustomerEvent::WaitExpired(ended) => {
            vec![("entry", json!(ended.id.to_string())), ("sale", json!(names.sale(ended.sale)))]
        }
        CustomerEvent::PassedOver(passed) => vec![
            ("entry", json!(passed.id.to_string())),
            ("sale", json!(names.sale(passed.sale))),
            ("code", json!(passed.cause.code().as_str())),
        ],
        CustomerEvent::EntryRetired { id } => vec![("entry", json!(id.to_string()))],
        CustomerEvent::Retired { id, counted } => {
            vec![("reservation", json!(id.to_string())), ("counted", json!(counted))]
        }
        CustomerEvent::Carried { customer, item, units } => {
            vec![("customer", json!(customer)), ("sku", json!(names.sku(*item))), ("units", json!(units))]
        }
        CustomerEvent::Sold { bucket, item, pool, units } => vec![
            ("bucket", json!(bucket.index())),
            ("sku", json!(names.sku(*item))),
            ("pool", json!(pool.0)),
            ("units", json!(units)),
        ],
        CustomerEvent::CustomerErased { customer, .. } => vec![("customer", json!(customer))],
    }
}

fn describe_catalogue_event(event: &CatalogueEvent<'_>, names: &Names) -> Fields {
    match event {
        CatalogueEvent::SaleDefined(defined) => describe_sale(defined, names),
        CatalogueEvent::SalePaused { sale, .. }
        | CatalogueEvent::SaleResumed { sale, .. }
        | CatalogueEvent::SaleClosed { sale, .. } => vec![("sale", json!(names.sale(*sale)))],
        CatalogueEvent::StatusReached { sale, status, .. } => {
            vec![("sale", json!(names.sale(*sale))), ("status", json!(status.as_str()))]
        }
        CatalogueEvent::PhaseOpened { sale, phase, opens_at, .. } => {
            vec![("sale", json!(names.sale(*sale))), ("phase", json!(phase)), ("opens_at", json!(opens_at.to_string()))]
        }
        CatalogueEvent::PoolShared { sale, item, pool, shared_at, .. } => vec![
            ("sale", json!(names.sale(*sale))),
            ("sku", json!(names.sku(*item))),
            ("pool", json!(pool.0)),
            ("shared_at", json!(shared_at.to_string())),
        ],
        CatalogueEvent::Adjusted(adjusted) => describe_adjusted(adjusted, names),
        CatalogueEvent::Transferred(transferred) => vec![
            ("sale", json!(names.sale_of(transferred.item))),
            ("sku", json!(names.sku(transferred.item))),
            ("from", json!(transferred.from.0)),
            ("to", json!(transferred.to.0)),
            ("quantity", json!(transferred.units)),
            ("reason", json!(transferred.reason)),
            ("reference", json!(transferred.reference)),
            ("idempotency_key", json!(transferred.key.map(|(key, _)| key))),
        ],
        CatalogueEvent::HoldsExtending(extending) => vec![
            ("sale", json!(names.sale(extending.sale))),
            ("seconds", json!(extending.seconds)),
            ("idempotency_key", json!(extending.key.map(|(key, _)| key))),
        ],
        CatalogueEvent::HoldsExtended(extended) => vec![
            ("sale", json!(names.sale(extended.sale))),
            ("holds", json!(extended.holds)),
            ("idempotency_key", json!(extended.key.map(|(key, _)| key))),
        ],
        CatalogueEvent::Stocked { item, pool, stock } => vec![
            ("sale", json!(names.sale_of(*item))),
            ("sku", json!(names.sku(*item))),
            ("pool", json!(pool.0)),
            ("stock", json!(stock)),
        ],
        CatalogueEvent::Audited(audited) => describe_audited(audited),
        CatalogueEvent::KeysNoted { keys } => vec![("keys", json!(keys.len()))],
        CatalogueEvent::AuditReached(head) => {
            vec![("sequence", json!(head.sequence)), ("hash", json!(head.hash.to_hex().as_str()))]
        }
        CatalogueEvent::ClockSet(set) => vec![("by_millis", json!(set.by))],
        CatalogueEvent::WrittenBy { version } => vec![("version", json!(version))],
    }
}

fn describe_sale(defined: &SaleDefined<'_>, names: &Names) -> Fields {
    let mut fields = vec![("sale", json!(names.sale(defined.sale)))];
    // A record that cannot be read was not written by this program, and a start refuses it.
    if let Ok((settings, numbers)) = record::decode(defined.record) {
        fields.extend([
            ("name", json!(settings.name)),
            ("opens_at", json!(settings.opens_at)),
            ("closes_at", json!(settings.closes_at)),
            ("items", json!(numbers.len())),
        ]);
    }
    if !defined.low_stock.is_empty() {
        let changes = defined.low_stock.iter().map(|change| {
            let shown = |level: Option<u64>| level.map_or_else(|| "never".to_owned(), |level| level.to_string());
            format!("{} {}→{}", names.sku(change.item), shown(change.from), shown(change.to))
        });
        fields.push(("low_stock_at", json!(changes.collect::<Vec<_>>())));
    }
    fields
}

fn describe_audited(audited: &Audited<'_>) -> Fields {
    let Audited { record: Record { sequence, at: _, actor, action, sale, sku, detail }, hash } = *audited;
    vec![
        ("sequence", json!(sequence)),
        ("actor", json!(actor.to_string())),
        ("action", json!(action.as_str())),
        ("sale", json!(sale)),
        ("sku", json!(sku)),
        // What is no JSON was not written by this program, and is shown as it is.
        ("detail", serde_json::from_str(detail).unwrap_or_else(|_| json!(detail))),
        ("hash", json!(hash.to_hex().as_str())),
    ]
}

fn describe_held(held: &Held<'_>, names: &Names) -> Fields {
    vec![
        ("reservation", json!(held.id.to_string())),
        ("sale", json!(names.sale(held.sale))),
        ("customer", json!(held.customer)),
        ("lines", priced_lines_of(&held.portions, names)),
        ("expires_at", json!(held.expires_at())),
        ("reference", json!(held.reference)),
        ("group", json!(held.group.as_ref().map(|group| group.id.to_string()))),
        ("idempotency_key", json!(held.key.map(|(key, _)| key))),
        ("entry", json!(held.entry.map(|entry| entry.to_string()))),
    ]
}

fn describe_joined(joined: &Joined<'_>, names: &Names) -> Fields {
    let line = |line: &AskedUnits| json!(Line { sku: names.sku(line.item), quantity: line.units, price: None });
    let locations = joined.attributes.as_ref().map(|it| &it.locations).filter(|locations| !locations.is_empty());
    vec![
        ("entry", json!(joined.id.to_string())),
        ("sale", json!(names.sale(joined.sale))),
        ("customer", json!(joined.customer)),
        ("place", json!(joined.place)),
        ("lines", joined.lines.iter().map(line).collect()),
        ("expires_at", json!(joined.expires_at)),
        ("locations", json!(locations)),
        ("reference", json!(joined.reference)),
        ("idempotency_key", json!(joined.key.map(|(key, _)| key))),
    ]
}

fn describe_settled(settled: &Settled<'_>, text: &'static str, names: &Names) -> Fields {
    let mut fields = vec![
        ("reservation", json!(settled.id.to_string())),
        ("sale", json!(names.sale(settled.sale))),
        ("lines", lines_of(&settled.portions, names)),
        (text, json!(settled.text)),
    ];
    if !settled.returned.is_empty() {
        fields.push(("returned", lines_of(&settled.returned, names)));
    }
    if settled.late {
        fields.push(("late", json!(true)));
    }
    fields
}

fn lines_of(portions: &[Portion], names: &Names) -> Value {
    let line = |line: &Portion| json!(Line { sku: names.sku(line.item), quantity: line.units, price: None });
    portions.iter().map(line).collect()
}

fn priced_lines_of(portions: &[PricedPortion], names: &Names) -> Value {
    let line = |line: &PricedPortion| {
        let price = line.price.map(|price| json!(price));
        json!(Line { sku: names.sku(line.item), quantity: line.units, price })
    };
    portions.iter().map(line).collect()
}

fn describe_adjusted(adjusted: &Adjusted<'_>, names: &Names) -> Fields {
    vec![
        ("sale", json!(names.sale_of(adjusted.item))),
        ("sku", json!(names.sku(adjusted.item))),
        ("delta", json!(adjusted.delta)),
        ("reason", json!(adjusted.reason)),
        ("reference", json!(adjusted.reference)),
        ("idempotency_key", json!(adjusted.key.map(|(key, _)| key))),
        ("stock", json!(adjusted.stock)),
        ("available", json!(adjusted.available)),
    ]
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
            let line = |line: &Value| match line {
                Value::Object(line) => format!("{}*{}", plain(&line["quantity"]), plain(&line["sku"])),
                name => plain(name),
            };
            lines.iter().map(line).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}
