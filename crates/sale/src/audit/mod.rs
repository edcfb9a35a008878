//! The audit trail: every operator action as a record, each chained to the one before it.
//!
//! Invariant: records are numbered from 1 without gaps, and the hash of each covers its own bytes and the previous hash. So the
//! last number and hash reveal every record that was changed, removed or inserted. The chain cannot reveal that somebody
//! rewrote all of it, including the last hash: keep a copy of the head elsewhere.

mod broken;
mod detail;

use std::{collections::BTreeMap, fmt};

use blake3::Hash;
use compact_str::CompactString;

pub use self::{
    broken::Broken,
    detail::{
        KeyFacts, of_adjustment, of_adjustments, of_erasure, of_extension, of_keys, of_put, of_transfer, of_turn,
        of_webhook,
    },
};
use super::{
    codec::{Malformed, Reader, Write},
    event::CatalogueEvent,
    time::Timestamp,
};

/// Most bytes of a record's detail. Its makers stay below by shortening lists.
pub const DETAIL_BYTES_MAX: usize = 64 << 10;

/// Keeps these hashes apart from all others.
const CONTEXT: &str = "doorbuster 2026-11 audit trail, record format 1";

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor<'a> {
    /// The holder of the key of this name.
    Key(&'a str),
    /// A caller of a service without keys.
    Anybody,
    /// The process itself, after it read its configuration.
    Process,
}

/// The action. A number never changes its meaning, because journals contain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    SalePut = 1,
    SalePause = 2,
    SaleResume = 3,
    SaleClose = 4,
    StockAdjust = 5,
    KeysChange = 6,
    CustomerErase = 7,
    StockTransfer = 8,
    HoldsExtend = 9,
    WebhookResume = 10,
}

/// An action that is about to be recorded.
#[derive(Debug, Clone)]
pub struct NewRecord<'a> {
    pub by: Actor<'a>,
    pub action: Action,
    pub sale: Option<&'a str>,
    pub sku: Option<&'a str>,
    /// What was asked, as a JSON object of at most `DETAIL_BYTES_MAX`.
    pub detail: String,
}

/// A record without its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub sequence: u64,
    pub at: Timestamp,
    pub actor: Actor<'a>,
    pub action: Action,
    pub sale: Option<&'a str>,
    pub sku: Option<&'a str>,
    pub detail: &'a str,
}

/// A record in its place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audited<'a> {
    pub record: Record<'a>,
    pub hash: Hash,
}

/// The last record of a trail, or of its beginning up to some record: its number, and the hash that stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub sequence: u64,
    pub hash: Hash,
}

/// Identifies a key without revealing it: a hash of its role, its sales and its stored hash.
pub type KeyPrint = [u8; 16];

/// The state of a trail: its head, and the keys that it recorded last.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    head: Head,
    keys: BTreeMap<CompactString, KeyPrint>,
}

impl<'a> Actor<'a> {
    /// Reads what `Display` writes.
    pub fn parse(text: &'a str) -> Option<Self> {
        match text {
            "anybody" => Some(Self::Anybody),
            "process" => Some(Self::Process),
            _ => text.strip_prefix("key:").map(Self::Key),
        }
    }
}

impl fmt::Display for Actor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => write!(f, "key:{name}"),
            Self::Anybody => f.write_str("anybody"),
            Self::Process => f.write_str("process"),
        }
    }
}

impl Action {
    pub const ALL: [Self; 10] = [
        Self::SalePut,
        Self::SalePause,
        Self::SaleResume,
        Self::SaleClose,
        Self::StockAdjust,
        Self::KeysChange,
        Self::CustomerErase,
        Self::StockTransfer,
        Self::HoldsExtend,
        Self::WebhookResume,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::SalePut => "sale.put",
            Self::SalePause => "sale.pause",
            Self::SaleResume => "sale.resume",
            Self::SaleClose => "sale.close",
            Self::StockAdjust => "stock.adjust",
            Self::KeysChange => "keys.change",
            Self::CustomerErase => "customer.erase",
            Self::StockTransfer => "stock.transfer",
            Self::HoldsExtend => "holds.extend",
            Self::WebhookResume => "webhook.resume",
        }
    }

    /// Reads what `as_str` says.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }

    fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|action| *action as u8 == number)
    }
}

impl<'a> Record<'a> {
    /// The bytes in the journal, which the hash covers.
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.u64(self.sequence);
        bytes.u64(self.at.millis());
        bytes.text(&self.actor.to_string());
        bytes.u8(self.action as u8);
        bytes.optional_text(self.sale);
        bytes.optional_text(self.sku);
        bytes.block(self.detail.as_bytes());
    }

    fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            sequence: fields.u64()?,
            at: Timestamp::from_millis(fields.u64()?),
            actor: Actor::parse(fields.text()?)
                .ok_or(Malformed::Bytes("an audit record's actor is unknown; was it written by a newer version?"))?,
            action: Action::from_u8(fields.u8()?)
                .ok_or(Malformed::Bytes("an audit record's action is unknown; was it written by a newer version?"))?,
            sale: fields.optional_text()?,
            sku: fields.optional_text()?,
            detail: std::str::from_utf8(fields.block()?)
                .map_err(|_| Malformed::Bytes("an audit record's detail is not UTF-8"))?,
        })
    }

    /// The hash that the record has behind one with the hash `previous`.
    fn hash_behind(&self, previous: &Hash) -> Hash {
        let mut bytes = Vec::with_capacity(128 + self.detail.len());
        self.encode(&mut bytes);
        blake3::Hasher::new_derive_key(CONTEXT).update(previous.as_bytes()).update(&bytes).finalize()
    }
}

impl<'a> Audited<'a> {
    pub(super) fn encode(&self, lane: &mut Vec<u8>) {
        self.record.encode(lane);
        lane.put(self.hash.as_bytes());
    }

    pub(super) fn decode(fields: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { record: Record::decode(fields)?, hash: decode_hash(fields)? })
    }
}

pub(super) fn decode_hash(fields: &mut Reader<'_>) -> Result<Hash, Malformed> {
    Ok(Hash::from_bytes(fields.take(32)?.try_into().expect("took 32 bytes")))
}

impl Default for Head {
    /// Where a trail begins.
    fn default() -> Self {
        Self { sequence: 0, hash: Hash::from_bytes([0; 32]) }
    }
}

impl Head {
    /// Appends the record, if it is the next one and its hash is right.
    pub fn follow(&mut self, audited: &Audited<'_>) -> Result<(), Broken> {
        let Audited { record, hash } = audited;
        self.expect(record.sequence)?;
        if record.hash_behind(&self.hash) != *hash {
            return Err(Broken::Changed { sequence: record.sequence });
        }
        *self = Self { sequence: record.sequence, hash: *hash };
        Ok(())
    }

    /// Whether a record of this number comes next.
    pub fn expect(&self, sequence: u64) -> Result<(), Broken> {
        let next = self.sequence.saturating_add(1);
        match sequence {
            _ if sequence == next => Ok(()),
            _ if sequence > next => Err(Broken::Missing { first: next, last: sequence - 1 }),
            _ => Err(Broken::Foreign { number: sequence.to_string() }),
        }
    }

    /// Whether a trail that came this far is the whole one whose own head is `own`.
    pub fn is_whole(&self, own: &Self) -> Result<(), Broken> {
        match self.sequence {
            _ if self.sequence < own.sequence => Err(Broken::Missing { first: self.sequence + 1, last: own.sequence }),
            _ if self.sequence > own.sequence => Err(Broken::Foreign { number: (own.sequence + 1).to_string() }),
            _ if self.hash != own.hash => Err(Broken::Rewritten { sequence: own.sequence }),
            _ => Ok(()),
        }
    }
}

impl Trail {
    pub fn head(&self) -> Head {
        self.head
    }

    /// The keys that were in force when they were recorded last.
    pub fn keys(&self) -> &BTreeMap<CompactString, KeyPrint> {
        &self.keys
    }

    /// The next record. It is part of the trail once it is applied.
    pub fn record<'a>(&self, at: Timestamp, entry: &'a NewRecord<'a>) -> CatalogueEvent<'a> {
        assert!(entry.detail.len() <= DETAIL_BYTES_MAX, "the detail of an audit record is bounded");
        let NewRecord { by: actor, action, sale, sku, ref detail } = *entry;
        let record = Record { sequence: self.head.sequence + 1, at, actor, action, sale, sku, detail };
        CatalogueEvent::Audited(Audited { hash: record.hash_behind(&self.head.hash), record })
    }

    /// Applies an event. Other events change nothing here.
    pub fn apply(&mut self, event: &CatalogueEvent<'_>) -> Result<(), Broken> {
        match event {
            CatalogueEvent::Audited(audited) => self.head.follow(audited)?,
            CatalogueEvent::AuditReached(head) => self.head = *head,
            CatalogueEvent::KeysNoted { keys } => {
                self.keys = keys.iter().map(|&(name, print)| (name.into(), print)).collect();
            }
            CatalogueEvent::SaleDefined(_)
            | CatalogueEvent::SalePaused { .. }
            | CatalogueEvent::SaleResumed { .. }
            | CatalogueEvent::SaleClosed { .. }
            | CatalogueEvent::StatusReached { .. }
            | CatalogueEvent::PhaseOpened { .. }
            | CatalogueEvent::PoolShared { .. }
            | CatalogueEvent::Adjusted(_)
            | CatalogueEvent::Transferred(_)
            | CatalogueEvent::HoldsExtending(_)
            | CatalogueEvent::HoldsExtended(_)
            | CatalogueEvent::Stocked { .. }
            | CatalogueEvent::ClockSet(_)
            | CatalogueEvent::WrittenBy { .. } => {}
        }
        Ok(())
    }

    /// The events that rebuild this trail's state from nothing.
    pub fn export(&self, mut each: impl FnMut(&CatalogueEvent<'_>)) {
        if self.head != Head::default() {
            each(&CatalogueEvent::AuditReached(self.head));
        }
        if !self.keys.is_empty() {
            let keys = self.keys.iter().map(|(name, &print)| (name.as_str(), print)).collect();
            each(&CatalogueEvent::KeysNoted { keys });
        }
    }
}

#[cfg(test)]
mod tests;
