//! What a key's value may be, and the error for any other value.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use figment::{
    providers::{Format, Toml},
    value::{Dict, Value},
};

use super::{
    levels::{self, Levels},
    sections::Wrong,
    webhooks,
};
use crate::{
    auth::{Channel, KeyHash, KeySettings, Pattern, Role, is_key_name},
    privacy::CustomerKey,
    sale::settings::{Quota, WINDOW_SECONDS_MAX},
    store::PostgresUrl,
};

#[derive(Debug, Clone, Copy)]
pub enum Allowed {
    /// Both ends are included.
    Integer {
        least: u64,
        most: u64,
    },
    OneOf(&'static [&'static str]),
    /// An IP address and a port.
    Address,
    Directory,
    /// Empty: none.
    File,
    Boolean,
    /// A level, and levels by module.
    LogLevels,
    StoreUrl,
    /// A password; empty for none.
    Secret,
    /// API keys by name.
    ApiKeys,
    /// Requests per window, such as `20/10s`.
    Quota,
    /// A key in hexadecimal, never shown. Empty: none.
    CustomerKey,
    /// A number from 0 to 1.
    Ratio,
    /// The address of a collector. Empty: none.
    OtlpEndpoint,
    /// Webhooks by name.
    Webhooks,
}

pub(super) const fn integer(least: u64, most: u64) -> Allowed {
    Allowed::Integer { least, most }
}

impl Allowed {
    /// What is allowed instead, if the value is not.
    pub fn judge(self, value: &Value) -> Result<(), String> {
        let text = value.as_str();
        let allowed = match self {
            Self::Integer { least, most } => {
                whole(value).is_some_and(|number| (i128::from(least)..=i128::from(most)).contains(&number))
            }
            Self::OneOf(words) => text.is_some_and(|text| words.contains(&text)),
            Self::Address => text.is_some_and(|text| text.parse::<SocketAddr>().is_ok()),
            Self::Directory => text.is_some_and(|text| !text.is_empty() && !text.contains('\0')),
            Self::File | Self::Secret => text.is_some_and(|text| !text.contains('\0')),
            Self::Boolean => value.to_bool().is_some(),
            Self::LogLevels => {
                let Some(text) = text else { return Err(format!("must be {self}")) };
                return Levels::parse(text).map(drop).map_err(|wrong| format!("must be {self}: {wrong}"));
            }
            Self::StoreUrl => {
                if let Some(url) = text.filter(|text| is_postgres(text)) {
                    return PostgresUrl::parse(url).map(drop).map_err(|wrong| format!("must be {self}: {wrong}"));
                }
                text.is_some_and(|url| url.is_empty() || sqlite_path(url).is_some())
            }
            Self::Quota => text.is_some_and(|text| text.is_empty() || Quota::parse(text).is_some()),
            Self::CustomerKey => text.is_some_and(|text| text.is_empty() || CustomerKey::parse(text).is_some()),
            Self::Ratio => number(value).is_some_and(|number| (0.0..=1.0).contains(&number)),
            Self::OtlpEndpoint => text.is_some_and(|text| text.is_empty() || is_collector(text)),
            Self::Webhooks => {
                let first = webhooks::judge(value).into_iter().next();
                return first.map_or(Ok(()), |wrong| Err(format!("must be {self}: {} {}", wrong.key, wrong.allowed)));
            }
            Self::ApiKeys => return judge_keys(value).map_err(|wrong| format!("must be {self}: {wrong}")),
        };
        if allowed { Ok(()) } else { Err(format!("must be {self}")) }
    }

    /// A value from a source in which everything is text. What cannot be read stays text, for `judge` to refuse.
    pub fn read(self, text: &str) -> Value {
        match self {
            Self::Integer { .. } => match text.trim().replace('_', "").parse::<i128>() {
                // As a file's integers come: fields are deserialized from 64 bits, not from 128.
                Ok(number) => i64::try_from(number).map_or_else(|_| Value::from(number), Value::from),
                Err(_) => Value::from(text),
            },
            Self::Boolean => text.trim().parse::<bool>().map_or_else(|_| Value::from(text), Value::from),
            Self::Ratio => text.trim().parse::<f64>().map_or_else(|_| Value::from(text), Value::from),
            Self::ApiKeys | Self::Webhooks => {
                let read = Toml::from_str::<Dict>(&format!("keys = {text}"));
                read.ok().and_then(|mut read| read.remove("keys")).unwrap_or_else(|| Value::from(text))
            }
            _ => Value::from(text),
        }
    }

    /// What is wrong with the value of a key: each of its members, where a value has some.
    pub fn wrong(self, key: &str, value: &Value) -> Vec<Wrong> {
        match self {
            Self::Webhooks => webhooks::judge(value),
            _ => {
                self.judge(value).err().map(|refused| Wrong::new(key, self.show(value), refused)).into_iter().collect()
            }
        }
    }

    /// The value as TOML, without secrets.
    pub fn show(self, value: &Value) -> String {
        match (self, value.as_str()) {
            // Never shown: a text that is not a key may be most of one.
            (Self::CustomerKey, text) if text != Some("") => quote("…"),
            // A URL that cannot be parsed may still hold a password.
            (Self::StoreUrl, Some(url)) if is_postgres(url) => {
                quote(&PostgresUrl::parse(url).map_or_else(|_| "postgres://…".to_owned(), |url| url.to_string()))
            }
            (Self::StoreUrl, Some(url)) if url.contains('@') => {
                let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
                quote(&format!("{scheme}://…"))
            }
            (Self::Secret, Some(text)) if !text.is_empty() => quote("…"),
            (Self::ApiKeys, None) => show_keys(value),
            (Self::Webhooks, None) if value.as_dict().is_some() => webhooks::show(value),
            (_, Some(text)) => quote(text),
            (_, None) => show_other(value),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { least, most } => write!(f, "a whole number from {least} to {most}"),
            Self::OneOf(words) => {
                let quoted: Vec<_> = words.iter().map(|word| quote(word)).collect();
                f.write_str(&quoted.join(" or "))
            }
            Self::Address => f.write_str("an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\""),
            Self::Directory => f.write_str("the path of a directory"),
            Self::File => f.write_str("the path of a file, or \"\" for none"),
            Self::Boolean => f.write_str("true or false"),
            Self::LogLevels => write!(
                f,
                "a level ({}), or a level and levels of single modules, such as \"info,doorbuster::store=debug\"",
                levels::NAMES.map(|(name, _)| name).join(", ")
            ),
            Self::Quota => write!(
                f,
                "requests and a window of 1 to {WINDOW_SECONDS_MAX} seconds, such as \"20/10s\", or \"\" for no limit"
            ),
            Self::CustomerKey => {
                f.write_str("64 hexadecimal digits, as `doorbuster keys customer` prints them, or \"\" for none")
            }
            Self::Ratio => f.write_str("a number from 0 to 1"),
            Self::OtlpEndpoint => f.write_str(
                "\"\" for none, or the address of a collector that takes OTLP over HTTP, such as \
                 \"http://127.0.0.1:4318\", without path, query or user. For TLS, run a local collector and let it \
                 speak TLS",
            ),
            Self::ApiKeys => f.write_str("keys by name, each as `doorbuster keys new` prints it"),
            Self::Webhooks => f.write_str("webhooks by name, each with url and secret_file"),
            Self::Secret => f.write_str("text, or \"\" for none"),
            Self::StoreUrl => f.write_str(
                "\"\" for store.db in the data directory, sqlite://path, or postgres://user@host:port/database",
            ),
        }
    }
}

fn judge_keys(value: &Value) -> Result<(), String> {
    let keys = value.as_dict().ok_or("put them in [auth.keys], one per line")?;
    let mut identifiers = BTreeMap::new();
    for (name, key) in keys {
        if !is_key_name(name) {
            return Err(format!("the name {name:?} must be 1 to 64 characters from a-z, 0-9, - and _"));
        }
        judge_key(key).map_err(|wrong| format!("{name}: {wrong}"))?;
        let settings: KeySettings = key.deserialize().map_err(|_| format!("{name}: it must be {KEY_FORM}"))?;
        if let Some(other) = identifiers.insert(settings.hash.identifier(), name) {
            return Err(format!("{name} and {other} are the same key"));
        }
    }
    Ok(())
}

const KEY_FORM: &str = "{ role = \"checkout\", hash = \"…\" }, with sales = [\"summer-*\"] or channels = [\"app\"] to limit it to certain sales or channels";

/// Checks member by member, so that errors name the member.
fn judge_key(key: &Value) -> Result<(), String> {
    let Some(members) = key.as_dict() else { return Err(format!("it must be {KEY_FORM}")) };
    for (member, value) in members {
        let text = value.as_str();
        match member.as_str() {
            "role" => {
                let roles = [Role::Viewer, Role::Checkout, Role::Operator].map(Role::as_str);
                if !text.is_some_and(|text| roles.contains(&text)) {
                    let shown = text.map(|text| format!(", not {}", quote(text))).unwrap_or_default();
                    return Err(format!("role must be {}{shown}", roles.map(quote).join(", ")));
                }
            }
            "hash" => {
                text.ok_or("hash must be text")?.parse::<KeyHash>().map(drop).map_err(|error| error.to_string())?
            }
            "sales" => {
                let patterns = value.as_array().ok_or("sales must be a list of sale ids, such as [\"summer-*\"]")?;
                for pattern in patterns {
                    let pattern = pattern.as_str().ok_or("each of sales must be text, such as \"summer-*\"")?;
                    Pattern::try_from(pattern.to_owned())
                        .map_err(|wrong| format!("sales: {}: {wrong}", quote(pattern)))?;
                }
            }
            "channels" => {
                let channels = value.as_array().ok_or("channels must be a list of channels, such as [\"app\"]")?;
                for channel in channels {
                    let channel = channel.as_str().ok_or("each of channels must be text, such as \"app\"")?;
                    Channel::try_from(channel.to_owned())
                        .map_err(|wrong| format!("channels: {}: {wrong}", quote(channel)))?;
                }
            }
            other => {
                let told = "is not a member of a key; a key has role, sales, channels and hash";
                return Err(format!("{} {told}", quote(other)));
            }
        }
    }
    match ["role", "hash"].into_iter().find(|member| !members.contains_key(*member)) {
        Some(missing) => Err(format!("{missing} is required: it must be {KEY_FORM}")),
        None => Ok(()),
    }
}

/// Keys on one line, as TOML. Hashes are safe to show.
fn show_keys(value: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| show_other(value), quote);
    let of_key = |(name, key): (&String, &Value)| {
        let members = key.as_dict().into_iter().flatten().map(|(member, value)| match value.as_array() {
            Some(list) => format!("{member} = [{}]", list.iter().map(text).collect::<Vec<_>>().join(", ")),
            None => format!("{member} = {}", text(value)),
        });
        format!("{name} = {{ {} }}", members.collect::<Vec<_>>().join(", "))
    };
    let keys: Vec<_> = value.as_dict().into_iter().flatten().map(of_key).collect();
    if keys.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", keys.join(", ")) }
}

/// The path in `sqlite://path`.
pub(super) fn sqlite_path(url: &str) -> Option<&str> {
    // A question mark would start parameters, of which there are none.
    url.strip_prefix("sqlite://").filter(|path| !path.is_empty() && !path.contains(['\0', '?']))
}

/// Scheme and authority only.
fn is_collector(url: &str) -> bool {
    let Some(authority) = url.strip_prefix("http://") else { return false };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let Ok(parsed) = authority.parse::<hyper::http::uri::Authority>() else { return false };
    let host = parsed.host();
    let port_is_one = authority == host || parsed.port_u16().is_some_and(|port| port > 0);
    !host.is_empty() && port_is_one && !authority.contains('@')
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

fn whole(value: &Value) -> Option<i128> {
    let small = || value.to_u128().and_then(|number| i128::try_from(number).ok());
    value.to_i128().or_else(small)
}

fn number(value: &Value) -> Option<f64> {
    let fraction = || value.to_num().and_then(|number| number.to_f64());
    whole(value).map(|number| number as f64).or_else(fraction)
}

/// Text as a TOML basic string.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

fn show_other(value: &Value) -> String {
    if let Some(number) = whole(value) {
        return number.to_string();
    }
    match value {
        Value::Num(_, number) => number.to_f64().map_or_else(|| "a number".to_owned(), |number| number.to_string()),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(..) => "an array".to_owned(),
        _ => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_reads_back_as_toml() {
        for text in ["", "plain", "a \"b\" \\ c", "tab\tline\nend", "ü×\u{7f}"] {
            let read: figment::value::Dict = Toml::from_str(&format!("key = {}", quote(text))).unwrap();
            assert_eq!(read["key"].as_str(), Some(text));
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        for (url, shown) in [
            ("postgres://app:secret@db/doorbuster", "\"postgres://app@db:5432/doorbuster\""),
            ("postgres://app:secret@db:x/doorbuster", "\"postgres://…\""),
            ("mysql://app:secret@db/doorbuster", "\"mysql://…\""),
        ] {
            assert_eq!(Allowed::StoreUrl.show(&Value::from(url)), shown);
            let judged = Allowed::StoreUrl.judge(&Value::from(url));
            assert!(
                judged.is_ok() == (url.starts_with("postgres") && url.contains("@db/"))
                    && !format!("{judged:?}").contains("secret"),
                "{judged:?}"
            );
        }
        assert_eq!(Allowed::Secret.show(&Value::from("secret")), "\"…\"");
    }

    #[test]
    fn each_kind_takes_what_it_says() {
        for (allowed, good, bad) in [
            (
                integer(1, 10),
                vec![Value::from(1), Value::from(10_u64)],
                vec![Value::from(0), Value::from(-1), Value::from("5"), Value::from(5.0)],
            ),
            (
                Allowed::Address,
                vec![Value::from("127.0.0.1:0"), Value::from("[::1]:80")],
                vec![Value::from("localhost:80"), Value::from("127.0.0.1"), Value::from(80)],
            ),
            (Allowed::OneOf(&["a", "b"]), vec![Value::from("a")], vec![Value::from("A"), Value::from("")]),
            (Allowed::Directory, vec![Value::from("."), Value::from("/x y")], vec![Value::from(""), Value::from(true)]),
            (
                Allowed::LogLevels,
                vec![Value::from("debug"), Value::from("info,doorbuster::store=trace")],
                vec![Value::from(""), Value::from("loud"), Value::from("x=y=z"), Value::from(3)],
            ),
            (Allowed::Boolean, vec![Value::from(true), Value::from(false)], vec![Value::from("yes"), Value::from(1)]),
            (
                Allowed::OtlpEndpoint,
                vec![Value::from(""), Value::from("http://127.0.0.1:4318"), Value::from("http://collector/")],
                vec![
                    Value::from("http://127.0.0.1:0"),
                    Value::from("127.0.0.1:4318"),
                    Value::from("https://collector"),
                ],
            ),
            (Allowed::Quota, vec![Value::from(""), Value::from("20/10s")], vec![Value::from("20"), Value::from(20)]),
            (
                Allowed::StoreUrl,
                vec![Value::from(""), Value::from("sqlite:///var/x.db")],
                vec![Value::from("sqlite://"), Value::from("mysql://x"), Value::from("store.db")],
            ),
        ] {
            good.iter().for_each(|value| assert_eq!(allowed.judge(value), Ok(()), "{value:?}"));
            bad.iter().for_each(|value| assert!(allowed.judge(value).is_err(), "{value:?}"));
        }
    }

    #[test]
    fn text_becomes_a_number_where_a_number_belongs() {
        assert_eq!(whole(&integer(0, 9).read("67_108_864")), Some(67_108_864));
        assert_eq!(integer(0, 9).read("5ms").as_str(), Some("5ms"));
        assert_eq!(Allowed::Directory.read("123").as_str(), Some("123"));
    }
}
