//! The section for webhooks: one table for each endpoint, under its name.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use figment::value::{Dict, Value};
use serde::{Deserialize, Serialize};

use super::{
    allowed::{Allowed, integer, quote},
    sections::{Key, Section, Wrong, key},
};
use crate::{
    auth::{Pattern, is_key_name},
    webhooks::{self, KindPattern, Target},
};

/// Endpoints that may be configured: each has metrics, connections and memory of its own.
const WEBHOOKS_MAX: usize = 32;

/// Endpoints by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Webhooks(pub BTreeMap<String, Webhook>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: String,
    /// Empty: all.
    #[serde(default)]
    pub events: Vec<KindPattern>,
    /// Empty: all.
    #[serde(default)]
    pub sales: Vec<Pattern>,
    pub secret_file: String,
    #[serde(default)]
    pub ca_file: String,
    #[serde(default = "park_after_seconds")]
    pub park_after_seconds: u64,
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u64,
    #[serde(default = "retry_seconds_max")]
    pub retry_seconds_max: u64,
    #[serde(default = "deliveries_max")]
    pub deliveries_max: usize,
    #[serde(default)]
    pub allow_private_addresses: bool,
}

fn park_after_seconds() -> u64 {
    86_400
}

fn timeout_seconds() -> u64 {
    15
}

fn retry_seconds_max() -> u64 {
    300
}

fn deliveries_max() -> usize {
    32
}

/// What a member of an endpoint may be.
#[derive(Clone, Copy)]
enum Member {
    Of(Allowed),
    Url,
    Events,
    Sales,
}

/// The members, the required ones first.
const MEMBERS: [(&str, Member); 10] = [
    ("url", Member::Url),
    ("secret_file", Member::Of(Allowed::File)),
    ("events", Member::Events),
    ("sales", Member::Sales),
    ("ca_file", Member::Of(Allowed::File)),
    ("park_after_seconds", Member::Of(integer(1, 30 * 86_400))),
    ("timeout_seconds", Member::Of(integer(1, 60))),
    ("retry_seconds_max", Member::Of(integer(1, 86_400))),
    ("deliveries_max", Member::Of(integer(1, 256))),
    ("allow_private_addresses", Member::Of(Allowed::Boolean)),
];
const REQUIRED: usize = 2;

impl Section for Webhooks {
    const NAME: &'static str = "webhooks";
    /// The whole section is one value, because its keys are names.
    const KEYS: &'static [Key] = &[key("", Allowed::Webhooks)];

    fn check(&self) -> Vec<Wrong> {
        judge(&Value::serialize(self).expect("a section is plain data"))
    }
}

/// Every error in the section.
pub(super) fn judge(value: &Value) -> Vec<Wrong> {
    let Some(endpoints) = value.as_dict() else {
        return vec![Wrong::new(Webhooks::NAME, "one value", ALLOWED_ENDPOINT)];
    };
    if endpoints.len() > WEBHOOKS_MAX {
        let allowed = format!("must be at most {WEBHOOKS_MAX}");
        return vec![Wrong::new(Webhooks::NAME, format!("{} sections", endpoints.len()), allowed)];
    }
    endpoints.iter().flat_map(|(name, endpoint)| judge_endpoint(name, endpoint)).collect()
}

const ALLOWED_ENDPOINT: &str =
    "must be a section with url and secret_file under a name of its own, such as [webhooks.orders]";

fn judge_endpoint(name: &str, endpoint: &Value) -> Vec<Wrong> {
    let full = |key: &str| format!("{}.{key}", Webhooks::NAME);
    if !is_key_name(name) {
        let allowed = "must have a name of 1 to 64 characters from a-z, 0-9, - and _";
        return vec![Wrong::new(full(&quote(name)), "a section", allowed)];
    }
    let Some(members) = endpoint.as_dict() else {
        return vec![Wrong::new(full(name), "one value", ALLOWED_ENDPOINT)];
    };
    let full = |member: &str| format!("{}.{name}.{member}", Webhooks::NAME);
    let unknown = members.keys().filter(|key| MEMBERS.iter().all(|(known, _)| known != key)).map(|key| {
        // It may be a secret in the wrong place.
        let known = MEMBERS.map(|(name, _)| name).join(", ");
        Wrong::new(full(key), quote("…"), format!("is not a key of a webhook; the keys are {known}"))
    });
    let judged = MEMBERS.iter().enumerate().filter_map(|(place, (member, allowed))| {
        let value = members.get(*member);
        if place < REQUIRED && value.is_none_or(|value| value.as_str() == Some("")) {
            return Some(Wrong::new(full(member), quote(""), "is required"));
        }
        let value = value?;
        let refused = judge_member(*allowed, value).err()?;
        Some(Wrong::new(full(member), show_member(*allowed, value), refused))
    });
    unknown.chain(judged).collect()
}

fn judge_member(member: Member, value: &Value) -> Result<(), String> {
    match member {
        Member::Of(allowed) => allowed.judge(value),
        Member::Url => {
            let told = "must be an address with https, or with http to this machine, and must not contain a user name or a fragment, such as \
                        \"https://orders.example/hooks\" or \"http://127.0.0.1:9000/hooks\"";
            value.as_str().and_then(Target::parse).map(drop).ok_or_else(|| told.to_owned())
        }
        Member::Events => texts(value, "must be a list of types of events, such as [\"reservation.*\"]")?
            .try_for_each(|text| KindPattern::try_from(text).map(drop)),
        Member::Sales => {
            let told = "must be a list of ids of sales, in which * matches any characters, such as [\"summer-*\"]";
            texts(value, told)?.try_for_each(|text| Pattern::try_from(text).map(drop).map_err(|_| told.to_owned()))
        }
    }
}

fn texts<'a>(value: &'a Value, told: &str) -> Result<impl Iterator<Item = String> + 'a, String> {
    let list = value.as_array().filter(|list| list.iter().all(|text| text.as_str().is_some()));
    let list = list.ok_or_else(|| told.to_owned())?;
    Ok(list.iter().filter_map(Value::as_str).map(str::to_owned))
}

/// The endpoint's members as lines of TOML.
fn lines(endpoint: &Dict) -> impl Iterator<Item = String> + '_ {
    let shown = |(name, member): &(&str, Member)| {
        let value = endpoint.get(*name)?;
        Some(format!("{name} = {}", show_member(*member, value)))
    };
    MEMBERS.iter().filter_map(shown)
}

/// A member as TOML. A text that is no URL may still hold a password.
fn show_member(member: Member, value: &Value) -> String {
    match (member, value.as_array()) {
        (_, Some(list)) => {
            let quoted: Vec<_> = list.iter().filter_map(Value::as_str).map(quote).collect();
            format!("[{}]", quoted.join(", "))
        }
        (Member::Of(allowed), None) => allowed.show(value),
        (Member::Url, None) => quote(&value.as_str().map_or_else(|| "…".to_owned(), show_url)),
        (Member::Events | Member::Sales, None) => quote("…"),
    }
}

/// A URL without its query, which may hold a token.
fn show_url(url: &str) -> String {
    let Some(target) = Target::parse(url) else { return "…".to_owned() };
    let query = if target.uri.query().is_some() { "?…" } else { "" };
    format!("{}{query}", target.shown())
}

/// The webhooks on one line.
pub(super) fn show(value: &Value) -> String {
    let endpoints = value.as_dict().into_iter().flatten();
    let shown = endpoints.map(|(name, endpoint)| {
        let members = endpoint.as_dict().map(|members| lines(members).collect::<Vec<_>>().join(", "));
        format!("{name} = {{ {} }}", members.unwrap_or_default())
    });
    format!("{{ {} }}", shown.collect::<Vec<_>>().join(", "))
}

/// The webhooks as sections.
pub(super) fn sections(value: &Value) -> String {
    let endpoints = value.as_dict().into_iter().flatten();
    let shown = endpoints.filter_map(|(name, endpoint)| {
        let members: String = lines(endpoint.as_dict()?).map(|line| line + "\n").collect();
        Some(format!("\n[webhooks.{name}]\n{members}"))
    });
    shown.collect()
}

impl Webhooks {
    pub fn settings(&self) -> Vec<webhooks::Settings> {
        let seconds = Duration::from_secs;
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let settings = self.0.iter().map(|(name, webhook)| webhooks::Settings {
            name: name.clone(),
            target: Target::parse(&webhook.url).expect("checked with the configuration"),
            events: webhook.events.clone(),
            sales: webhook.sales.clone(),
            secret_file: PathBuf::from(&webhook.secret_file),
            ca_file: path(&webhook.ca_file),
            park_after: seconds(webhook.park_after_seconds),
            timeout: seconds(webhook.timeout_seconds),
            retry_max: seconds(webhook.retry_seconds_max),
            deliveries_max: webhook.deliveries_max,
            allow_private_addresses: webhook.allow_private_addresses,
        });
        settings.collect()
    }
}
