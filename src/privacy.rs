//! How the service identifies customers: by the ids that callers send, or by pseudonyms that the edge makes of them.
//!
//! A pseudonym is the BLAKE3 hash of the id in keyed mode, 120 bits in 24 letters and digits. It is the same for the same id
//! and key, so limits, idempotency and look-ups work as with ids, and only the key leads back to the id. Invariant: behind
//! [`CustomerIds::known_as`] no code sees an id, and no output shows the key.

use std::{borrow::Cow, fmt, fs, io, path::PathBuf};

use data_encoding::BASE32_DNSSEC;

/// Bits of the hash: 24 characters, which fit into a customer's entry without another allocation. For a billion customers, the
/// chance that two collide is 1 in 10^18.
const PSEUDONYM_BYTES: usize = 15;

/// The context of a key's fingerprint.
const FINGERPRINT: &str = "doorbuster 2026 fingerprint of the key that makes pseudonyms of customers";

pub enum CustomerIds {
    Plain,
    Keyed(CustomerKey),
}

/// 32 random bytes.
#[derive(Clone, Copy)]
pub struct CustomerKey([u8; 32]);

/// Errors in reading the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("privacy.customer_key_file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("privacy.customer_key_file {}: must hold 64 hexadecimal digits, as `doorbuster keys customer` prints them", path.display())]
    Malformed { path: PathBuf },
}

impl CustomerKey {
    pub fn of_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text.trim()).ok().map(|bytes| Self(bytes.into()))
    }

    pub fn load(path: PathBuf) -> Result<Self, KeyError> {
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).ok_or(KeyError::Malformed { path }),
            Err(source) => Err(KeyError::Unreadable { path, source }),
        }
    }

    /// The key as the configuration has it.
    pub fn reveal(&self) -> String {
        blake3::Hash::from(self.0).to_hex().to_string()
    }
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl CustomerIds {
    /// The customer's id or pseudonym for all layers below.
    pub fn known_as<'a>(&self, customer: impl Into<Cow<'a, str>>) -> Cow<'a, str> {
        let customer = customer.into();
        match self {
            Self::Plain => customer,
            Self::Keyed(CustomerKey(key)) => {
                let hash = blake3::keyed_hash(key, customer.as_bytes());
                Cow::Owned(BASE32_DNSSEC.encode(&hash.as_bytes()[..PSEUDONYM_BYTES]))
            }
        }
    }

    /// Identifies the setting and the key, without revealing the key.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Plain => "plain".to_owned(),
            Self::Keyed(CustomerKey(key)) => {
                let derived = blake3::derive_key(FINGERPRINT, key);
                format!("keyed_hash {}", BASE32_DNSSEC.encode(&derived[..10]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(byte: u8) -> CustomerIds {
        CustomerIds::Keyed(CustomerKey::of_bytes([byte; 32]))
    }

    /// In stores and journals of those who use it: must never change.
    #[test]
    fn a_pseudonym_is_always_the_same_and_says_nothing() {
        assert_eq!(keyed(7).known_as("ann@example.com"), PINNED);
        assert_eq!(CustomerIds::Plain.known_as("ann@example.com"), "ann@example.com");
        assert_ne!(keyed(7).known_as("ann@example.con"), PINNED);
        assert_ne!(keyed(8).known_as("ann@example.com"), PINNED);
        for id in ["a", "é", &"x".repeat(64)] {
            let pseudonym = keyed(7).known_as(id).into_owned();
            assert_eq!(pseudonym.len(), 24);
            assert!(pseudonym.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{pseudonym}");
        }
    }

    const PINNED: &str = "snh5d4h0m13c82hrce9to998";

    #[test]
    fn a_fingerprint_tells_keys_apart_and_is_no_part_of_them() {
        let prints = [CustomerIds::Plain, keyed(7), keyed(8)].map(|ids| ids.fingerprint());
        assert_eq!(prints[0], "plain");
        assert!(prints[1].starts_with("keyed_hash ") && prints[1] != prints[2]);
        assert_eq!(prints[1], keyed(7).fingerprint());
    }

    #[test]
    fn a_key_is_64_digits_and_is_not_shown() {
        let key = CustomerKey::of_bytes([0xab; 32]);
        assert_eq!(key.reveal(), "ab".repeat(32));
        assert_eq!(CustomerKey::parse(&format!(" {}\n", key.reveal())).unwrap().reveal(), key.reveal());
        for wrong in ["", "ab", &"ab".repeat(33), &"xy".repeat(32)] {
            assert!(CustomerKey::parse(wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{key:?}"), "…");
    }
}
