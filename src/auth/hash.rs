//! API keys and their stored hashes.
//!
//! A key has the form `db_IDENTIFIER_SECRET`, both in hexadecimal: 32 bits that identify it, and 192 that only its holder
//! knows. The service stores `IDENTIFIER:SALT:HASH`, where the hash is BLAKE3 of the whole key in keyed mode with the salt as
//! the hash's key. 192 random bits cannot be guessed, so a slow hash is not needed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const PREFIX: &str = "db_";
const IDENTIFIER_DIGITS: usize = 8;
const SECRET_DIGITS: usize = 48;

/// The stored hash of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash {
    identifier: u32,
    salt: blake3::Hash,
    /// Comparing hashes takes the same time wherever they differ.
    hash: blake3::Hash,
}

/// A new key, to be shown once, and its hash to store.
pub struct Minted {
    pub key: String,
    pub hash: KeyHash,
}

/// A key of random bits; they must come from a cryptographic source.
pub fn mint(identifier: u32, secret: [u64; 3], salt: [u8; 32]) -> Minted {
    let [a, b, c] = secret;
    let key = format!("{PREFIX}{identifier:08x}_{a:016x}{b:016x}{c:016x}");
    let hash = blake3::keyed_hash(&salt, key.as_bytes());
    Minted { key, hash: KeyHash { identifier, salt: salt.into(), hash } }
}

/// The identifier in a text that may be a key.
pub(super) fn identifier(key: &str) -> Option<u32> {
    let (identifier, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let shaped = identifier.len() == IDENTIFIER_DIGITS && secret.len() == SECRET_DIGITS;
    (shaped && is_hex(identifier) && is_hex(secret)).then(|| u32::from_str_radix(identifier, 16).ok())?
}

impl KeyHash {
    pub fn identifier(&self) -> u32 {
        self.identifier
    }

    /// Whether this is the hash of the key.
    pub fn is_of(&self, key: &str) -> bool {
        blake3::keyed_hash(self.salt.as_bytes(), key.as_bytes()) == self.hash
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{}:{}", self.identifier, self.salt.to_hex(), self.hash.to_hex())
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_string()
    }
}

impl FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.split(':');
            let identifier = parts.next().filter(|digits| digits.len() == IDENTIFIER_DIGITS)?;
            let identifier = u32::from_str_radix(identifier, 16).ok()?;
            let salt = blake3::Hash::from_hex(parts.next()?).ok()?;
            let hash = blake3::Hash::from_hex(parts.next()?).ok()?;
            parts.next().is_none().then_some(Self { identifier, salt, hash })
        };
        parse().ok_or("hash must be as `doorbuster keys new` prints it")
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_and_no_other_is() {
        let Minted { key, hash } = mint(7, [1, 2, 3], [9; 32]);
        assert_eq!(key, "db_00000007_000000000000000100000000000000020000000000000003");
        assert_eq!(identifier(&key), Some(7));
        let kept: KeyHash = hash.to_string().parse().unwrap();
        assert!(kept.is_of(&key) && !hash.to_string().contains(&key[12..]));
        for other in [mint(7, [1, 2, 4], [9; 32]).key, key.to_uppercase(), key[..59].to_owned(), format!("{key}0")] {
            assert!(!kept.is_of(&other), "{other}");
        }
        assert!(!mint(7, [1, 2, 3], [8; 32]).hash.to_string().ends_with(hash.to_string().rsplit(':').next().unwrap()));
    }

    #[test]
    fn what_has_not_the_shape_of_a_key_or_a_hash_is_neither() {
        let key = mint(7, [1, 2, 3], [9; 32]).key;
        for text in ["", "db_", "db_00000007_", &key[1..], &key[..key.len() - 1], &key.replace("db_0", "db_+")] {
            assert_eq!(identifier(text), None, "{text}");
        }
        for text in ["", "00000007", "00000007:00:00", "x:y:z"] {
            assert!(text.parse::<KeyHash>().is_err(), "{text}");
        }
    }
}
