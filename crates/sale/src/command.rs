//! Commands: callers' requests, parsed and well formed, but not checked against state.

use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3Default;

use super::{
    attributes::{Attributes, NONE},
    ids::GroupId,
};

/// A request to hold units for one customer, all lines or none.
#[derive(Debug, Clone)]
pub struct Reserve<'a> {
    pub sale: &'a str,
    pub customer: &'a str,
    /// Each SKU once: lines of the same SKU are summed before. Never empty.
    pub lines: SmallVec<[AskedLine<'a>; 2]>,
    /// Absent: the sale's.
    pub hold_seconds: Option<u32>,
    pub reference: Option<&'a str>,
    pub key: Option<&'a str>,
    /// What most requests leave out.
    pub extras: Option<&'a Extras<'a>>,
}

/// The members of a reserve that most requests leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras<'a> {
    pub attributes: Attributes<'a>,
    /// Each line gets what is there of it.
    pub allow_partial: bool,
    /// Of an item that is sold to groups: the group to join. Absent: it opens one.
    pub group: Option<GroupId>,
}

/// What a request without any has.
static NO_EXTRAS: Extras<'static> = Extras { attributes: NONE, allow_partial: false, group: None };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedLine<'a> {
    pub sku: &'a str,
    /// At least 1.
    pub units: u32,
}

impl<'a> Reserve<'a> {
    pub fn extras(&self) -> &'a Extras<'a> {
        self.extras.unwrap_or(&NO_EXTRAS)
    }

    /// What "the same request" means for an idempotency key: the summed lines in any order, the hold time asked for
    /// and the reference. Sale and customer are the key's scope. Stable across versions: it is kept in the journal.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3Default::new();
        put_lines(&mut hasher, &self.lines);
        hasher.update(&self.hold_seconds.unwrap_or(0).to_le_bytes());
        put_text(&mut hasher, self.reference.unwrap_or(""));
        // A request without any has the fingerprint that it always had.
        if let Some(Extras { attributes, allow_partial, group }) = self.extras.filter(|extras| **extras != NO_EXTRAS) {
            for text in [&attributes.tier, &attributes.channel, &attributes.region] {
                put_text(&mut hasher, text.as_deref().unwrap_or(""));
            }
            for (name, value) in &attributes.labels {
                put_text(&mut hasher, name);
                put_text(&mut hasher, value);
            }
            for location in &attributes.locations {
                put_text(&mut hasher, "");
                put_text(&mut hasher, location);
            }
            hasher.update(&[u8::from(*allow_partial)]);
            if let Some(group) = group {
                hasher.update(group.bytes());
            }
        }
        hasher.digest()
    }
}

/// A request to confirm a reservation.
#[derive(Debug, Clone, Default)]
pub struct Confirm<'a> {
    /// What is confirmed, each SKU once; the rest goes back. None: everything.
    pub lines: Option<SmallVec<[AskedLine<'a>; 2]>>,
    pub reference: Option<&'a str>,
}

impl<'a> From<Option<&'a str>> for Confirm<'a> {
    /// Of everything, with this reference.
    fn from(reference: Option<&'a str>) -> Self {
        Self { lines: None, reference }
    }
}

/// A request to give back units of a confirmed reservation.
#[derive(Debug, Clone)]
pub struct Cancel<'a> {
    /// What is cancelled, each SKU once. None: everything.
    pub lines: Option<SmallVec<[AskedLine<'a>; 2]>>,
    pub reason: Option<&'a str>,
    /// Whether the units are sold again; if not, they leave the sale.
    pub restock: bool,
    /// Required if `lines` are given.
    pub key: Option<&'a str>,
}

impl Cancel<'_> {
    /// As `Reserve::fingerprint`; the reservation is the key's scope.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3Default::new();
        put_lines(&mut hasher, self.lines.as_deref().unwrap_or_default());
        hasher.update(&[u8::from(self.restock)]);
        put_text(&mut hasher, self.reason.unwrap_or(""));
        hasher.digest()
    }
}

/// Hashes lines, whatever their order.
fn put_lines(hasher: &mut Xxh3Default, lines: &[AskedLine<'_>]) {
    let mut lines: SmallVec<[AskedLine<'_>; 2]> = lines.into();
    lines.sort_unstable_by_key(|line| line.sku);
    for line in &lines {
        put_text(hasher, line.sku);
        hasher.update(&line.units.to_le_bytes());
    }
}

/// A request to extend all holds of a sale.
#[derive(Debug, Clone, Copy)]
pub struct ExtendAll<'a> {
    pub sale: &'a str,
    pub seconds: u32,
    pub reason: Option<&'a str>,
    pub key: Option<&'a str>,
}

impl ExtendAll<'_> {
    /// As `Reserve::fingerprint`; the sale is the key's scope.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3Default::new();
        hasher.update(&self.seconds.to_le_bytes());
        put_text(&mut hasher, self.reason.unwrap_or(""));
        hasher.digest()
    }
}

/// A request to put units into a sale or to take unsold ones out.
#[derive(Debug, Clone)]
pub struct Adjust<'a> {
    pub sale: &'a str,
    pub sku: &'a str,
    /// May be left out where the item has one.
    pub pool: Option<&'a str>,
    /// Not 0.
    pub delta: i64,
    pub reason: Option<&'a str>,
    pub reference: Option<&'a str>,
    pub key: Option<&'a str>,
}

impl Adjust<'_> {
    /// As `Reserve::fingerprint`; the item is the key's scope.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3Default::new();
        hasher.update(&self.delta.to_le_bytes());
        put_text(&mut hasher, self.reason.unwrap_or(""));
        put_text(&mut hasher, self.reference.unwrap_or(""));
        if let Some(pool) = self.pool {
            put_text(&mut hasher, pool);
        }
        hasher.digest()
    }
}

/// A request for several changes of stock in one sale, all or none.
#[derive(Debug, Clone)]
pub struct AdjustAll<'a> {
    pub sale: &'a str,
    /// Each of this sale, without a key of its own. Never empty.
    pub changes: Vec<Adjust<'a>>,
    pub key: Option<&'a str>,
}

impl AdjustAll<'_> {
    /// As `Reserve::fingerprint`; the sale is the key's scope.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3Default::new();
        for change in &self.changes {
            put_text(&mut hasher, change.sku);
            hasher.update(&change.fingerprint().to_le_bytes());
        }
        hasher.digest()
    }
}

/// A request to move available units from one pool of an item to another.
#[derive(Debug, Clone)]
pub struct Transfer<'a> {
    pub sale: &'a str,
    pub sku: &'a str,
    pub from: &'a str,
    /// Another one.
    pub to: &'a str,
    /// At least 1.
    pub units: u64,
    pub reason: Option<&'a str>,
    pub reference: Option<&'a str>,
    pub key: Option<&'a str>,
}

impl Transfer<'_> {
    /// As `Reserve::fingerprint`; the item is the key's scope.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3Default::new();
        hasher.update(&self.units.to_le_bytes());
        for text in [Some(self.from), Some(self.to), self.reason, self.reference] {
            put_text(&mut hasher, text.unwrap_or(""));
        }
        hasher.digest()
    }
}

/// Length first, so that neighbouring texts cannot run into each other.
fn put_text(hasher: &mut Xxh3Default, text: &str) {
    hasher.update(&(text.len() as u32).to_le_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve<'a>(lines: &[(&'a str, u32)], reference: Option<&'a str>) -> Reserve<'a> {
        let lines = lines.iter().map(|&(sku, units)| AskedLine { sku, units }).collect();
        Reserve { sale: "drop", customer: "ann", lines, hold_seconds: None, reference, key: None, extras: None }
    }

    #[test]
    fn the_fingerprint_tells_requests_apart_and_not_their_order() {
        let one = reserve(&[("a", 1), ("b", 2)], None).fingerprint();
        assert_eq!(one, reserve(&[("b", 2), ("a", 1)], None).fingerprint());
        assert_ne!(one, reserve(&[("a", 2), ("b", 1)], None).fingerprint());
        assert_ne!(one, reserve(&[("a", 1), ("b", 2)], Some("r")).fingerprint());
        assert_ne!(one, Reserve { hold_seconds: Some(60), ..reserve(&[("a", 1), ("b", 2)], None) }.fingerprint());
        assert_eq!(one, PINNED, "kept in journals: must never change");
    }

    const PINNED: u64 = 13_375_301_242_962_774_352;
}
