//! Who may call: API keys, what their roles permit, and which sales they reach.
//!
//! Invariant: a key itself is kept nowhere. What is kept is a keyed hash of it, compared in constant time.

mod hash;
mod keyring;
mod pattern;

use serde::{Deserialize, Serialize};

pub use self::{
    hash::{KeyHash, Minted, mint},
    keyring::{Caller, Keyring, Unauthenticated},
    pattern::Pattern,
};

/// What a key may do; each role may do all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read sales, reservations and events.
    Viewer,
    /// Reserve, extend, confirm, release.
    Checkout,
    /// Put, pause, resume and close sales; adjust stock.
    Operator,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Checkout => "checkout",
            Self::Operator => "operator",
        }
    }
}

/// A key as the configuration has it, under its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    pub role: Role,
    /// Sales that the key reaches; none named: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sales: Vec<Pattern>,
    pub hash: KeyHash,
}

/// Whether a key may be named so: what it can be called in a TOML file without quotes, in logs and in the audit.
pub fn is_key_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}
