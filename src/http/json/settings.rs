//! A sale's document as callers send it: whole, or as a patch of the current settings.
//!
//! Invariant: callers may send the answer of a GET back as it is. The service ignores the members that GET computes.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::invalid::{self, Described, Member, Shape};
use crate::api::Limits;
use crate::sale::{
    object::{self, Object},
    rule::Rule,
    settings::{
        BUDGET, CHANNEL, COST, CUSTOMER_LIMIT, GROUP_SIZE, GroupSettings, HoldBudget, Invalid, ItemSettings,
        LATE_CONFIRM_SECONDS, LOCATION, NAMES_MAX, PHASE_NAME, PHASES_MAX, POOL_ID, POOLS_MAX, PRICE_AMOUNT, Phase,
        PoolSettings, Price, QUOTA_REQUESTS, QUOTA_WINDOW, REGION, RateLimits, SALE_NAME, SKU, SOURCING, SaleSettings,
        Sourcing, TIER, WAITLIST_ENTRIES, WAITLIST_SECONDS, Waitlist,
    },
    time::Timestamp,
};

/// The settings of a sale, as its operator sends them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SaleSettings)]
pub struct SettingsBody {
    /// The sale's id, the same as in the path. May be empty or left out.
    #[serde(default)]
    id: String,
    /// The sale's name, for people.
    name: String,
    /// When the sale opens: from then on units can be reserved. Before `closes_at`.
    #[schema(value_type = String)]
    opens_at: Timestamp,
    /// When the sale closes: from then on no more units can be reserved.
    #[schema(value_type = String)]
    closes_at: Timestamp,
    /// How long a hold lasts, in seconds, if the request does not say.
    hold_seconds: u64,
    /// How often one hold may be extended. Left out: as often as `limits.extensions_max` allows.
    #[serde(default)]
    max_extensions: Option<u32>,
    /// Units of each item that one customer may have, held and confirmed together. Left out: no limit.
    #[serde(default)]
    customer_limit: Option<u32>,
    /// For how long after its end a hold may still be confirmed, in seconds, if its units are still available. At most the
    /// configuration's `retention_seconds`. Left out: not at all.
    #[serde(default)]
    late_confirm_seconds: Option<u32>,
    /// How many holds a customer may have at once, and let expire. Left out: any number.
    #[serde(default, deserialize_with = "object::optional")]
    hold_budget: Option<HoldBudget>,
    /// Who finds too few units may wait for those that come back. Left out: nobody waits.
    #[serde(default, deserialize_with = "object::optional")]
    waitlist: Option<Waitlist>,
    /// Quotas of requests that replace those of the configuration.
    #[serde(default, deserialize_with = "object::optional")]
    rate_limits: Option<RateLimits>,
    /// Who may buy when; up to 20. Left out: everybody, for as long as the sale is open.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Phase>>)]
    phases: Option<Vec<Object<Phase>>>,
    /// What is on sale. Items can be added later, but not removed.
    #[schema(value_type = Vec<ItemSettingsBody>)]
    items: Vec<Object<ItemSettingsBody>>,
    /// Ignored, so that the answer of a GET can be sent back.
    #[serde(default, rename = "status")]
    #[schema(value_type = Value)]
    _status: IgnoredAny,
    /// Ignored, so that the answer of a GET can be sent back.
    #[serde(default, rename = "waiting")]
    #[schema(value_type = Value)]
    _waiting: IgnoredAny,
}

/// An item of a sale, as its operator sends it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ItemSettings)]
pub struct ItemSettingsBody {
    /// The item's SKU, unique within the sale.
    sku: String,
    /// Units that the item starts with. Cannot change once the item exists: adjust its stock instead.
    initial_stock: u64,
    /// The price of one unit. A reservation keeps the price of the moment when its hold was made.
    #[serde(default, deserialize_with = "object::optional")]
    price: Option<Price>,
    /// Units of this item that one customer may have, held and confirmed together. Overrides the sale's limit.
    #[serde(default)]
    customer_limit: Option<u32>,
    /// The parts of its stock; up to 64. Left out: one pool, `default`. Pools can be added later with `initial_stock` 0, but not
    /// removed. The initial stocks of the pools add up to the item's.
    #[serde(default)]
    #[schema(value_type = Option<Vec<PoolBody>>)]
    pools: Option<Vec<Object<PoolBody>>>,
    /// Which pools a line draws from first. Left out: `in_order`.
    #[serde(default)]
    sourcing: Option<Sourcing>,
    /// Whether a line may draw from several pools. Left out: true.
    #[serde(default)]
    split: Option<bool>,
    /// Its stock is low while no more units than this are available: when it becomes so, the feed has an event. Left out: never.
    #[serde(default)]
    low_stock_at: Option<u64>,
    /// The item is sold to groups of customers only: all members of a group get their units, or none does. Left out: it is sold to
    /// each customer alone.
    #[serde(default, deserialize_with = "object::optional")]
    group: Option<GroupSettings>,
    /// Ignored, so that the answer of a GET can be sent back.
    #[serde(default, rename = "stock")]
    #[schema(value_type = Value)]
    _stock: IgnoredAny,
    /// Ignored, so that the answer of a GET can be sent back.
    #[serde(default, rename = "available")]
    #[schema(value_type = Value)]
    _available: IgnoredAny,
    /// Ignored, so that the answer of a GET can be sent back.
    #[serde(default, rename = "held")]
    #[schema(value_type = Value)]
    _held: IgnoredAny,
    /// Ignored, so that the answer of a GET can be sent back.
    #[serde(default, rename = "confirmed")]
    #[schema(value_type = Value)]
    _confirmed: IgnoredAny,
    /// Ignored, so that the answer of a GET can be sent back. Units confirmed before this moment do not count towards the
    /// customer's limit, because they may have left memory before the limit was set.
    #[serde(default, rename = "limit_counts_since")]
    #[schema(value_type = Value)]
    _limit_counts_since: IgnoredAny,
}

/// A part of an item's stock with units of its own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PoolSettings)]
pub struct PoolBody {
    /// The pool's id, unique within the item.
    id: String,
    /// Units that the pool starts with. Cannot change once the pool exists: adjust or transfer stock instead.
    initial_stock: u64,
    /// Open to customers of these tiers. Left out: of all tiers, and of none.
    #[serde(default)]
    tiers: Option<Vec<String>>,
    /// Open to requests through these channels. Left out: through all channels, and through none.
    #[serde(default)]
    channels: Option<Vec<String>>,
    /// From this moment on the pool is open to everybody.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    shared_at: Option<Timestamp>,
    /// Where its units are, such as a warehouse.
    #[serde(default)]
    location: Option<String>,
    /// What a unit costs to send to each region, for `sourcing: cheapest`.
    #[serde(default)]
    costs: Option<BTreeMap<String, u64>>,
    /// The price of one unit from this pool. Left out: the item's.
    #[serde(default, deserialize_with = "object::optional")]
    price: Option<Price>,
    /// Ignored, so that the answer of a GET can be sent back.
    #[serde(default, rename = "stock")]
    #[schema(value_type = Value)]
    _stock: IgnoredAny,
    /// Ignored, so that the answer of a GET can be sent back.
    #[serde(default, rename = "available")]
    #[schema(value_type = Value)]
    _available: IgnoredAny,
    /// Ignored, so that the answer of a GET can be sent back.
    #[serde(default, rename = "held")]
    #[schema(value_type = Value)]
    _held: IgnoredAny,
    /// Ignored, so that the answer of a GET can be sent back.
    #[serde(default, rename = "confirmed")]
    #[schema(value_type = Value)]
    _confirmed: IgnoredAny,
}

impl From<PoolBody> for PoolSettings {
    fn from(body: PoolBody) -> Self {
        let PoolBody { id, initial_stock, tiers, channels, shared_at, location, costs, price, .. } = body;
        Self { id, initial_stock, tiers, channels, shared_at, location, costs, price }
    }
}

impl From<SettingsBody> for SaleSettings {
    fn from(body: SettingsBody) -> Self {
        let SettingsBody {
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
            items,
            ..
        } = body;
        let phases = phases.into_iter().flatten().map(|Object(phase)| phase).collect();
        let items = items.into_iter().map(|Object(item)| item.into()).collect();
        Self {
            id,
            name,
            opens_at,
            closes_at,
            hold_seconds,
            max_extensions,
            customer_limit,
            late_confirm_seconds: late_confirm_seconds.unwrap_or_default(),
            hold_budget,
            waitlist,
            rate_limits,
            phases,
            items,
        }
    }
}

impl From<ItemSettingsBody> for ItemSettings {
    fn from(body: ItemSettingsBody) -> Self {
        let ItemSettingsBody {
            sku,
            initial_stock,
            price,
            customer_limit,
            pools,
            sourcing,
            split,
            low_stock_at,
            group,
            ..
        } = body;
        let pools = pools.into_iter().flatten().map(|Object(pool)| pool.into()).collect();
        let limit_counts_since = None;
        Self {
            sku,
            initial_stock,
            price,
            customer_limit,
            pools,
            sourcing,
            split,
            low_stock_at,
            group,
            limit_counts_since,
        }
    }
}

/// Members of a sale and of its items that GET computes.
const COMPUTED: [&str; 2] = ["status", "waiting"];
const COMPUTED_OF_POOL: [&str; 4] = ["stock", "available", "held", "confirmed"];
const COMPUTED_OF_ITEM: [&str; 5] = ["stock", "available", "held", "confirmed", "limit_counts_since"];

impl Described for SettingsBody {
    fn shape(limits: &Limits) -> Shape {
        let quota = || {
            Shape::new(vec![Member::value("requests", QUOTA_REQUESTS), Member::value("window_seconds", QUOTA_WINDOW)])
        };
        let rate_limits = ["sale", "customer", "key"].map(|name| Member::object(name, quota()).optional());
        let budget = ["open_holds", "expired_per_hour"].map(|name| Member::value(name, BUDGET).optional());
        let waitlist = vec![
            Member::value("entries_max", WAITLIST_ENTRIES),
            Member::value("entry_seconds", WAITLIST_SECONDS),
            Member::value("hold_seconds", limits.sale.hold_seconds()).optional(),
        ];
        let members = [
            Member::value("id", Rule::SaleId).kept(),
            Member::value("name", SALE_NAME),
            Member::value("opens_at", Rule::Time),
            Member::value("closes_at", Rule::Time),
            Member::value("hold_seconds", limits.sale.hold_seconds()),
            Member::value("max_extensions", limits.sale.max_extensions()).optional(),
            Member::value("customer_limit", CUSTOMER_LIMIT).optional(),
            Member::value("late_confirm_seconds", LATE_CONFIRM_SECONDS).optional(),
            Member::object("hold_budget", Shape::new(budget.into())).optional(),
            Member::object("waitlist", Shape::new(waitlist)).optional(),
            Member::object("rate_limits", Shape::new(rate_limits.into())).optional(),
            Member::list("phases", phase(), PHASES_MAX).optional(),
            Member::list("items", ItemSettingsBody::shape(limits), limits.sale.items_per_sale_max),
        ];
        Shape::new(members.into_iter().chain(COMPUTED.map(Member::ignored)).collect())
    }
}

impl Described for ItemSettingsBody {
    fn shape(limits: &Limits) -> Shape {
        let members = [
            Member::value("sku", SKU),
            Member::value("initial_stock", limits.sale.initial_stock()),
            Member::object("price", price()).optional(),
            Member::value("customer_limit", CUSTOMER_LIMIT).optional(),
            Member::list("pools", PoolBody::shape(limits), POOLS_MAX).optional(),
            Member::value("sourcing", SOURCING).optional(),
            Member::value("split", Rule::Flag).optional(),
            Member::value("low_stock_at", limits.sale.low_stock_at()).optional(),
            Member::object("group", group(limits)).optional(),
        ];
        Shape::new(members.into_iter().chain(COMPUTED_OF_ITEM.map(Member::ignored)).collect())
    }
}

impl Described for PoolBody {
    fn shape(limits: &Limits) -> Shape {
        let members = [
            Member::value("id", POOL_ID),
            Member::value("initial_stock", limits.sale.initial_stock()),
            Member::values("tiers", TIER, NAMES_MAX).optional(),
            Member::values("channels", CHANNEL, NAMES_MAX).optional(),
            Member::value("shared_at", Rule::Time).optional(),
            Member::value("location", LOCATION).optional(),
            Member::map("costs", REGION, COST, NAMES_MAX).optional(),
            Member::object("price", price()).optional(),
        ];
        Shape::new(members.into_iter().chain(COMPUTED_OF_POOL.map(Member::ignored)).collect())
    }
}

fn group(limits: &Limits) -> Shape {
    Shape::new(vec![Member::value("size", GROUP_SIZE), Member::value("seconds", limits.sale.hold_seconds())])
}

fn price() -> Shape {
    Shape::new(vec![Member::value("amount", PRICE_AMOUNT), Member::value("currency", Rule::Currency)])
}

fn phase() -> Shape {
    Shape::new(vec![
        Member::value("name", PHASE_NAME),
        Member::value("opens_at", Rule::Time),
        Member::value("closes_at", Rule::Time).optional(),
        Member::values("tiers", TIER, NAMES_MAX).optional(),
        Member::values("channels", CHANNEL, NAMES_MAX).optional(),
        Member::value("customer_limit", CUSTOMER_LIMIT).optional(),
    ])
}

impl SettingsBody {
    /// The shape of a patch: any of the members; each item has at least its SKU.
    pub fn shape_of_patch(limits: &Limits) -> Shape {
        Self::shape(limits).of_change(&["sku"])
    }
}

/// A change of a sale: a merge patch (RFC 7396) whose items are merged by SKU.
#[derive(Debug)]
pub struct Patch {
    /// Members of the sale itself.
    head: Value,
    items: Vec<Value>,
    /// The index of each SKU in the patch.
    places: HashMap<String, usize>,
}

impl Patch {
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Vec<Invalid>> {
        let wrong = invalid::errors_of_text(&SettingsBody::shape_of_patch(limits), bytes);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let mut head: Map<String, Value> = serde_json::from_slice(bytes).expect("its shape is that of an object");
        COMPUTED.iter().for_each(|computed| drop(head.remove(*computed)));
        let Value::Array(mut items) = head.remove("items").unwrap_or_else(|| Value::Array(Vec::new())) else {
            unreachable!("its shape has a list of items")
        };
        let (mut places, mut wrong) = (HashMap::with_capacity(items.len()), Vec::new());
        for (place, item) in items.iter_mut().enumerate() {
            let members = item.as_object_mut().expect("its shape has objects as items");
            COMPUTED_OF_ITEM.iter().for_each(|computed| drop(members.remove(*computed)));
            for pool in members.get_mut("pools").and_then(Value::as_array_mut).into_iter().flatten() {
                let pool = pool.as_object_mut().expect("its shape has objects as pools");
                COMPUTED_OF_POOL.iter().for_each(|computed| drop(pool.remove(*computed)));
            }
            let sku = members["sku"].as_str().expect("its shape requires a SKU").to_owned();
            if places.insert(sku, place).is_some() {
                wrong.push(Invalid::new(format!("/items/{place}/sku"), "appears twice in this patch; remove one"));
            }
        }
        if wrong.is_empty() { Ok(Self { head: Value::Object(head), items, places }) } else { Err(wrong) }
    }

    /// The sale id in the patch, if there is one.
    pub fn id(&self) -> Option<&str> {
        self.head.get("id").and_then(Value::as_str).filter(|id| !id.is_empty())
    }

    /// The settings with the patch merged in. New items come last, in their order.
    pub fn merge(&self, settings: &SaleSettings, limits: &Limits) -> Result<SaleSettings, Vec<Invalid>> {
        let (mut items, mut wrong) = (settings.items.clone(), Vec::new());
        let known: HashMap<&str, usize> =
            settings.items.iter().enumerate().map(|(place, item)| (item.sku.as_str(), place)).collect();
        for (place, patch) in self.items.iter().enumerate() {
            let present = patch["sku"].as_str().and_then(|sku| known.get(sku)).copied();
            let mut item = present.map_or_else(|| Value::Object(Map::new()), |at| value_of(&settings.items[at]));
            merge(&mut item, patch);
            match (read(item, &ItemSettingsBody::shape(limits), &format!("/items/{place}")), present) {
                (Ok(item), Some(at)) => items[at] = item,
                (Ok(item), None) => items.push(item),
                (Err(errors), _) => wrong.extend(errors),
            }
        }
        let mut head = value_of(&SaleSettings { items: Vec::new(), ..settings.clone() });
        merge(&mut head, &self.head);
        // The items are checked already, and the shape refuses an empty list.
        head.as_object_mut().expect("settings are an object").remove("items");
        let shape = SettingsBody::shape(limits).without("items");
        wrong.extend(invalid::errors_of_value(&shape, &head, ""));
        if !wrong.is_empty() {
            return Err(wrong);
        }
        head["items"] = Value::Array(Vec::new());
        head["id"] = Value::String(settings.id.clone());
        let head: SaleSettings = serde_json::from_value(head).expect("what has its shape is a sale");
        Ok(SaleSettings { items, ..head })
    }

    /// Points errors of the merged document at the members of the patch that caused them.
    pub fn point_back(&self, errors: &mut Vec<Invalid>, merged: &SaleSettings) {
        for error in errors {
            let Some(rest) = error.pointer.strip_prefix("/items/") else { continue };
            let (index, member) = rest.split_once('/').unwrap_or((rest, ""));
            let sku = index.parse::<usize>().ok().and_then(|index| merged.items.get(index)).map(|item| &item.sku);
            let Some(sku) = sku else { continue };
            match self.places.get(sku) {
                Some(place) => error.pointer = format!("/items/{place}/{member}"),
                None => {
                    error.detail =
                        format!("{member} of the item {sku:?}, which the patch does not change, {}", error.detail);
                    error.pointer = String::new();
                }
            }
        }
    }
}

fn value_of(settings: &impl serde::Serialize) -> Value {
    serde_json::to_value(settings).expect("settings are plain data")
}

fn read<T: serde::de::DeserializeOwned>(value: Value, shape: &Shape, pointer: &str) -> Result<T, Vec<Invalid>> {
    let wrong = invalid::errors_of_value(shape, &value, pointer);
    if wrong.is_empty() {
        Ok(serde_json::from_value(value).expect("what has its shape can be read"))
    } else {
        Err(wrong)
    }
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let members = target.as_object_mut().expect("it is one now");
    for (name, value) in patch {
        if value.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The cases of RFC 7396, appendix A.
    #[test]
    fn a_merge_is_that_of_the_rfc() {
        for (target, patch, merged) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let mut target = target;
            merge(&mut target, &patch);
            assert_eq!(target, merged, "{patch}");
        }
    }
}
