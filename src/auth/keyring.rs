//! The keys in force, and the caller that a request's key stands for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Channel, KeySettings, Pattern, Role, hash::identifier};
use crate::sale::audit::Actor;

/// The sender of a request: a key, or anybody if no keys are configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key's name.
    pub name: String,
    pub role: Role,
    sales: Vec<Pattern>,
    channels: Vec<Channel>,
    has_key: bool,
}

impl Caller {
    /// The caller of a service without keys, which serves only its own machine.
    fn anybody() -> Self {
        Self {
            name: "anybody".to_owned(),
            role: Role::Operator,
            sales: Vec::new(),
            channels: Vec::new(),
            has_key: false,
        }
    }

    /// Whether the caller may see the sale.
    pub fn sees(&self, sale: &str) -> bool {
        self.sees_all() || self.sales.iter().any(|pattern| pattern.matches(sale))
    }

    /// The name of the caller's key, if it has one.
    pub fn key(&self) -> Option<&str> {
        self.has_key.then_some(&self.name)
    }

    /// The caller's name in the audit trail.
    pub fn actor(&self) -> Actor<'_> {
        if self.has_key { Actor::Key(&self.name) } else { Actor::Anybody }
    }

    /// Sales that the caller may see; empty: all.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.sales.iter().map(Pattern::as_str)
    }

    pub fn sees_all(&self) -> bool {
        self.sales.is_empty()
    }

    /// Whether it is tied to no sales and no channels.
    pub fn sees_everything(&self) -> bool {
        self.sales.is_empty() && self.channels.is_empty()
    }

    /// Channels that the caller is tied to; empty: none.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.channels.iter().map(Channel::as_str)
    }

    /// Whether the caller may see what came through this channel.
    pub fn sees_channel(&self, channel: Option<&str>) -> bool {
        self.channels.is_empty() || channel.is_some_and(|channel| self.channels().any(|own| own == channel))
    }
}

/// Why a request has no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    #[error("send your key: Authorization: Bearer db_…")]
    NoKey,
    #[error("the Authorization header must be: Bearer, a space, and a key that starts with db_")]
    Malformed,
    #[error("this key is unknown or revoked")]
    Unknown,
}

/// The keys in force at a moment.
#[derive(Debug)]
pub struct Keyring {
    anybody: Option<Arc<Caller>>,
    keys: HashMap<u32, (KeySettings, Arc<Caller>)>,
}

impl Keyring {
    /// Without keys, it accepts everybody.
    pub fn new(keys: &BTreeMap<String, KeySettings>) -> Self {
        Self { anybody: keys.is_empty().then(|| Arc::new(Caller::anybody())), ..Self::closed(keys) }
    }

    /// Without keys, it refuses everybody: deleting the last key must not open the service.
    pub fn closed(keys: &BTreeMap<String, KeySettings>) -> Self {
        let keys = keys.iter().map(|(name, key)| {
            let (sales, channels) = (key.sales.clone(), key.channels.clone());
            let caller = Caller { name: name.clone(), role: key.role, sales, channels, has_key: true };
            (key.hash.identifier(), (key.clone(), Arc::new(caller)))
        });
        Self { anybody: None, keys: keys.collect() }
    }

    /// Replaces the keys after a reload. A service that has required keys keeps requiring them.
    pub fn replaced_by(&self, keys: &BTreeMap<String, KeySettings>) -> Self {
        if self.anybody.is_some() { Self::new(keys) } else { Self::closed(keys) }
    }

    /// A copy of the keys for one thread. Handing out a caller changes a reference count, for which several threads would
    /// contend.
    pub fn apart(&self) -> Self {
        let apart = |caller: &Arc<Caller>| Arc::new(Caller::clone(caller));
        let keys = self.keys.iter().map(|(&identifier, (key, caller))| (identifier, (key.clone(), apart(caller))));
        Self { anybody: self.anybody.as_ref().map(apart), keys: keys.collect() }
    }

    pub fn asks_for_key(&self) -> bool {
        self.anybody.is_none()
    }

    /// The caller that an `Authorization` header names.
    pub fn authenticate(&self, authorization: Option<&[u8]>) -> Result<Arc<Caller>, Unauthenticated> {
        if let Some(anybody) = &self.anybody {
            return Ok(anybody.clone());
        }
        let header = authorization.ok_or(Unauthenticated::NoKey)?;
        let header = std::str::from_utf8(header).map_err(|_| Unauthenticated::Malformed)?;
        let (scheme, key) = header.split_once(' ').ok_or(Unauthenticated::Malformed)?;
        let key = key.trim_matches(' ');
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Unauthenticated::Malformed);
        }
        let identifier = identifier(key).ok_or(Unauthenticated::Malformed)?;
        let (settings, caller) = self.keys.get(&identifier).ok_or(Unauthenticated::Unknown)?;
        if settings.hash.is_of(key) { Ok(caller.clone()) } else { Err(Unauthenticated::Unknown) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Minted, mint};

    fn keys(role: Role, hash: super::super::KeyHash) -> BTreeMap<String, KeySettings> {
        BTreeMap::from([("eu".to_owned(), KeySettings { role, sales: Vec::new(), channels: Vec::new(), hash })])
    }

    #[test]
    fn only_the_whole_key_lets_in() {
        let Minted { key, hash } = mint(1, [1, 2, 3], [4; 32]);
        let ring = Keyring::new(&keys(Role::Checkout, hash));
        let ask = |header: &str| ring.authenticate(Some(header.as_bytes())).map(|caller| caller.name.clone());
        assert_eq!(ask(&format!("Bearer {key}")), Ok("eu".to_owned()));
        assert_eq!(ask(&format!("bearer  {key} ")), Ok("eu".to_owned()));
        let other = mint(1, [1, 2, 4], [4; 32]).key;
        for (header, refused) in [
            (format!("Bearer {other}"), Unauthenticated::Unknown),
            (format!("Bearer {}", mint(2, [1, 2, 3], [4; 32]).key), Unauthenticated::Unknown),
            (format!("Basic {key}"), Unauthenticated::Malformed),
            (key.clone(), Unauthenticated::Malformed),
            ("Bearer ".to_owned(), Unauthenticated::Malformed),
        ] {
            assert_eq!(ask(&header), Err(refused), "{header}");
        }
        assert_eq!(ring.authenticate(None), Err(Unauthenticated::NoKey));
    }

    #[test]
    fn a_copy_knows_the_same_keys_and_counts_callers_apart() {
        let Minted { key, hash } = mint(1, [1, 2, 3], [4; 32]);
        let header = format!("Bearer {key}");
        for keys in [BTreeMap::new(), keys(Role::Checkout, hash)] {
            let ring = Keyring::new(&keys);
            let copy = ring.apart();
            let [one, other] = [&ring, &copy].map(|ring| ring.authenticate(Some(header.as_bytes())).unwrap());
            assert_eq!((&one, ring.asks_for_key()), (&other, copy.asks_for_key()));
            assert!(!Arc::ptr_eq(&one, &other));
        }
    }

    #[test]
    fn taking_the_last_key_away_opens_no_door() {
        let Minted { key, hash } = mint(1, [1, 2, 3], [4; 32]);
        let none = BTreeMap::new();
        assert!(!Keyring::new(&none).asks_for_key());
        let ring = Keyring::new(&none).replaced_by(&keys(Role::Viewer, hash));
        assert!(ring.asks_for_key());
        let ring = ring.replaced_by(&none);
        assert!(ring.asks_for_key());
        assert_eq!(ring.authenticate(Some(format!("Bearer {key}").as_bytes())), Err(Unauthenticated::Unknown));
    }
}
