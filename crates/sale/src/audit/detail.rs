//! The detail of an audit record: what the operator asked, as a JSON object of bounded size for people.
//!
//! Invariant: it contains no key and no key's hash, and stays within `DETAIL_BYTES_MAX` whatever the operator asked. It counts
//! long lists in full and shows a part.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::Serialize;
use serde_json::Value;

use super::KeyPrint;
use crate::{
    command::{AdjustAll, ExtendAll, Transfer},
    event::Adjusted,
    settings::{ItemSettings, SaleSettings},
};

/// Entries of a list that are shown.
const SHOWN_MAX: usize = 20;

/// Patterns of sales that are shown of a key.
const PATTERNS_MAX: usize = 10;

/// A key as the trail records it.
#[derive(Debug, Clone)]
pub struct KeyFacts<'a> {
    pub name: &'a str,
    pub role: &'static str,
    /// Patterns of the sales that it reaches; none: all.
    pub sales: Vec<&'a str>,
    /// Channels that it is tied to; none: all.
    pub channels: Vec<&'a str>,
    pub print: KeyPrint,
}

/// The beginning of a list, and how long it is.
#[derive(Serialize)]
struct Shown<T> {
    count: usize,
    first: Vec<T>,
}

impl<T> Shown<T> {
    fn of(all: impl Iterator<Item = T>, most: usize) -> Option<Self> {
        let mut shown = Self { count: 0, first: Vec::new() };
        for entry in all {
            shown.count += 1;
            if shown.first.len() < most {
                shown.first.push(entry);
            }
        }
        (shown.count > 0).then_some(shown)
    }
}

#[derive(Serialize)]
struct Put<'a> {
    created: bool,
    /// BLAKE3 of the document as it is answered.
    document: String,
    items: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    changed: Changes,
    #[serde(skip_serializing_if = "Option::is_none")]
    items_added: Option<Shown<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items_changed: Option<Shown<ItemChange<'a>>>,
}

#[derive(Serialize)]
struct ItemChange<'a> {
    sku: &'a str,
    changed: Changes,
}

/// By member of the document.
type Changes = BTreeMap<String, Change>;

/// A member's old and new value; absent if the document had or has none.
#[derive(Serialize)]
struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Value>,
}

/// Of a sale document that was put in place of `before`.
pub fn of_put(before: Option<&SaleSettings>, after: &SaleSettings) -> String {
    let known: BTreeMap<&str, &ItemSettings> =
        before.into_iter().flat_map(|before| &before.items).map(|item| (item.sku.as_str(), item)).collect();
    let added = after.items.iter().map(|item| item.sku.as_str()).filter(|sku| !known.contains_key(sku));
    let changed = after.items.iter().filter_map(|item| {
        let before = known.get(item.sku.as_str()).filter(|before| **before != item)?;
        Some(ItemChange { sku: &item.sku, changed: changes(members(before), members(item)) })
    });
    write(&Put {
        created: before.is_none(),
        document: blake3::hash(&serde_json::to_vec(after).expect("settings are plain data")).to_hex().to_string(),
        items: after.items.len(),
        changed: changes(before.map(of_sale).unwrap_or_default(), of_sale(after)),
        items_added: Shown::of(added, SHOWN_MAX),
        items_changed: Shown::of(changed, SHOWN_MAX),
    })
}

/// The members of a sale document but for its items, of which there may be many.
fn of_sale(settings: &SaleSettings) -> BTreeMap<String, Value> {
    let SaleSettings {
        id,
        name,
        opens_at,
        closes_at,
        hold_seconds,
        max_extensions,
        customer_limit,
        late_confirm_seconds,
        hold_budget,
        waitlist,
        rate_limits,
        phases,
        ..
    } = settings;
    let mut sale = members(&SaleSettings {
        id: id.clone(),
        name: name.clone(),
        opens_at: *opens_at,
        closes_at: *closes_at,
        hold_seconds: *hold_seconds,
        max_extensions: *max_extensions,
        customer_limit: *customer_limit,
        late_confirm_seconds: *late_confirm_seconds,
        hold_budget: *hold_budget,
        waitlist: *waitlist,
        rate_limits: *rate_limits,
        phases: phases.clone(),
        items: Vec::new(),
    });
    // One never changes and stands beside the record, the others are told by themselves.
    sale.remove("id");
    sale.remove("items");
    sale
}

/// Lists that may be long; shown as their length and their BLAKE3.
const LONG_LISTS: [&str; 2] = ["phases", "pools"];

fn members(of: &impl Serialize) -> BTreeMap<String, Value> {
    let short = |(name, value): (String, Value)| match &value {
        Value::Array(list) if LONG_LISTS.contains(&name.as_str()) => {
            let hash = blake3::hash(value.to_string().as_bytes()).to_hex();
            let shown = serde_json::json!({ "count": list.len(), "blake3": hash.as_str() });
            (name, shown)
        }
        _ => (name, value),
    };
    match serde_json::to_value(of) {
        Ok(Value::Object(members)) => members.into_iter().map(short).collect(),
        other => unreachable!("settings are plain objects: {other:?}"),
    }
}

fn changes(before: BTreeMap<String, Value>, mut after: BTreeMap<String, Value>) -> Changes {
    let mut changes = Changes::new();
    for (member, from) in before {
        let to = after.remove(&member);
        if to.as_ref() != Some(&from) {
            changes.insert(member, Change { from: Some(from), to });
        }
    }
    changes.extend(after.into_iter().map(|(member, to)| (member, Change { from: None, to: Some(to) })));
    changes
}

/// Of pause, resume and close: that is all there is to say.
pub fn of_turn() -> String {
    "{}".to_owned()
}

/// The detail of an erasure, without the customer: the trail stays for ever.
pub fn of_erasure(reservations: u64) -> String {
    format!("{{\"reservations\":{reservations}}}")
}

/// `pool`: where the item has several.
pub fn of_adjustment(adjusted: &Adjusted<'_>, pool: Option<&str>) -> String {
    #[derive(Serialize)]
    struct Adjustment<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        pool: Option<&'a str>,
        delta: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        stock: u64,
        available: u64,
    }
    let Adjusted { delta, reason, reference, stock, available, .. } = *adjusted;
    write(&Adjustment { pool, delta, reason, reference, stock, available })
}

/// Of changes that were made together.
pub fn of_adjustments(asked: &AdjustAll<'_>) -> String {
    #[derive(Serialize)]
    struct Adjustments<'a> {
        changes: Option<Shown<Change<'a>>>,
    }
    #[derive(Serialize)]
    struct Change<'a> {
        sku: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        pool: Option<&'a str>,
        delta: i64,
    }
    let changes = asked.changes.iter().map(|change| Change { sku: change.sku, pool: change.pool, delta: change.delta });
    write(&Adjustments { changes: Shown::of(changes, SHOWN_MAX) })
}

pub fn of_transfer(asked: &Transfer<'_>) -> String {
    #[derive(Serialize)]
    struct Detail<'a> {
        from: &'a str,
        to: &'a str,
        quantity: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
    }
    let Transfer { from, to, units: quantity, reason, reference, .. } = *asked;
    write(&Detail { from, to, quantity, reason, reference })
}

/// All holds of a sale are extended.
pub fn of_extension(asked: &ExtendAll<'_>) -> String {
    #[derive(Serialize)]
    struct Detail<'a> {
        seconds: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    }
    write(&Detail { seconds: asked.seconds, reason: asked.reason })
}

/// A webhook endpoint is resumed.
pub fn of_webhook(webhook: &str) -> String {
    #[derive(Serialize)]
    struct Detail<'a> {
        webhook: &'a str,
    }
    write(&Detail { webhook })
}

#[derive(Serialize)]
struct Key<'a> {
    name: &'a str,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sales: Option<Shown<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Shown<&'a str>>,
}

impl<'a> Key<'a> {
    fn of(facts: &KeyFacts<'a>) -> Self {
        let KeyFacts { name, role, sales, channels, .. } = facts;
        let shown = |all: &Vec<&'a str>| Shown::of(all.iter().copied(), PATTERNS_MAX);
        Self { name, role, sales: shown(sales), channels: shown(channels) }
    }
}

/// Of keys that came into force in place of others: which are new, which are gone, and which have another secret, role
/// or other sales. `when`: `start` or `reload`.
pub fn of_keys(when: &'static str, before: &BTreeMap<CompactString, KeyPrint>, after: &[KeyFacts<'_>]) -> String {
    #[derive(Serialize)]
    struct Keys<'a> {
        when: &'static str,
        keys: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        added: Option<Shown<Key<'a>>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        changed: Option<Shown<Key<'a>>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        removed: Option<Shown<&'a str>>,
    }
    let added = after.iter().filter(|key| !before.contains_key(key.name));
    let changed = after.iter().filter(|key| before.get(key.name).is_some_and(|print| *print != key.print));
    let present: std::collections::BTreeSet<&str> = after.iter().map(|key| key.name).collect();
    let removed = before.keys().map(CompactString::as_str).filter(|name| !present.contains(name));
    write(&Keys {
        when,
        keys: after.len(),
        added: Shown::of(added.map(Key::of), SHOWN_MAX),
        changed: Shown::of(changed.map(Key::of), SHOWN_MAX),
        removed: Shown::of(removed, SHOWN_MAX),
    })
}

fn write(detail: &impl Serialize) -> String {
    serde_json::to_string(detail).expect("details are plain data")
}
