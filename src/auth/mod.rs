//! API keys: the calls that their roles allow, and the sales that they are for.
//!
//! Invariant: the service stores only a keyed hash of a key, never the key, and compares hashes in constant time.

mod hash;
mod keyring;
mod pattern;

use serde::{Deserialize, Serialize};

use crate::sale::{
    audit::{KeyFacts, KeyPrint},
    ids::check_slug,
};

pub use self::{
    hash::{KeyHash, Minted, mint},
    keyring::{Caller, Keyring, Unauthenticated},
    pattern::Pattern,
};

/// Keeps prints of keys from being the hashes of anything else.
const PRINT_CONTEXT: &str = "doorbuster 2026-11 print of a key in the audit trail";

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
    /// Sales that the key is for; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sales: Vec<Pattern>,
    /// Channels that the key is for; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Channel>,
    pub hash: KeyHash,
}

/// A channel's name: a slug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Channel(String);

impl Channel {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Channel {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        check_slug(&name).map_err(|error| error.to_string())?;
        Ok(Self(name))
    }
}

impl KeySettings {
    /// The key as the audit trail records it.
    pub fn facts<'a>(&'a self, name: &'a str) -> KeyFacts<'a> {
        let sales: Vec<&str> = self.sales.iter().map(Pattern::as_str).collect();
        let mut hasher = blake3::Hasher::new_derive_key(PRINT_CONTEXT);
        let channels: Vec<&str> = self.channels.iter().map(Channel::as_str).collect();
        for part in [self.role.as_str(), &self.hash.to_string()].iter().chain(&sales) {
            // Neither contains zeros, so a zero separates them.
            hasher.update(part.as_bytes()).update(&[0]);
        }
        for channel in &channels {
            hasher.update(&[0]).update(channel.as_bytes());
        }
        let mut print = KeyPrint::default();
        hasher.finalize_xof().fill(&mut print);
        KeyFacts { name, role: self.role.as_str(), sales, channels, print }
    }
}

/// Whether the text is a valid key name: it needs no quotes in TOML, logs and the audit trail.
pub fn is_key_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}
