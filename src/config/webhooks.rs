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
        let value = Value::serialize(self).expect("a section is plain data");
        let refused = Allowed::Webhooks.judge(&value).err();
        refused.map(|refused| Wrong::new(Self::NAME, Allowed::Webhooks.show(&value), refused)).into_iter().collect()
    }
}

pub(super) fn judge(value: &Value) -> Result<(), String> {
    let endpoints = value.as_dict().ok_or("put each webhook in a section of its own, such as [webhooks.orders]")?;
    if endpoints.len() > WEBHOOKS_MAX {
        return Err(format!("there are {}, but at most {WEBHOOKS_MAX} are possible", endpoints.len()));
    }
    for (name, endpoint) in endpoints {
        if !is_key_name(name) {
            return Err(format!("the name {name:?} must be 1 to 64 characters from a-z, 0-9, - and _"));
        }
        judge_endpoint(endpoint).map_err(|wrong| format!("{name}: {wrong}"))?;
    }
    Ok(())
}

fn judge_endpoint(endpoint: &Value) -> Result<(), String> {
    let required = MEMBERS[..REQUIRED].iter().map(|(name, _)| *name);
    let members = endpoint.as_dict().ok_or("it must have url and secret_file")?;
    for (name, value) in members {
        let Some((_, member)) = MEMBERS.iter().find(|(known, _)| known == name) else {
            let known = MEMBERS.map(|(name, _)| name).join(", ");
            return Err(format!("{} is not a key of a webhook; the keys are {known}", quote(name)));
        };
        judge_member(*member, value).map_err(|wrong| format!("{name} {wrong}"))?;
    }
    for name in required {
        if members.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(format!("{name} is required"));
        }
    }
    Ok(())
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
        Member::Sales => texts(value, "must be a list of ids of sales, such as [\"summer-*\"]")?
            .try_for_each(|text| Pattern::try_from(text).map(drop).map_err(|wrong| format!("is not valid: {wrong}"))),
    }
}

fn texts<'a>(value: &'a Value, told: &str) -> Result<impl Iterator<Item = String> + 'a, String> {
    let list = value.as_array().filter(|list| list.iter().all(|text| text.as_str().is_some()));
    let list = list.ok_or_else(|| told.to_owned())?;
    Ok(list.iter().filter_map(Value::as_str).map(str::to_owned))
}

/// The endpoint's members as lines of TOML. A text that is no URL may still hold a password.
fn lines(endpoint: &Dict) -> impl Iterator<Item = String> + '_ {
    MEMBERS.iter().filter_map(|(name, member)| {
        let value = endpoint.get(*name)?;
        let shown = match (member, value.as_array()) {
            (_, Some(list)) => {
                let quoted: Vec<_> = list.iter().filter_map(Value::as_str).map(quote).collect();
                format!("[{}]", quoted.join(", "))
            }
            (Member::Of(allowed), None) => allowed.show(value),
            (Member::Url, None) => quote(value.as_str().filter(|url| Target::parse(url).is_some()).unwrap_or("…")),
            (Member::Events | Member::Sales, None) => quote("…"),
        };
        Some(format!("{name} = {shown}"))
    })
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
