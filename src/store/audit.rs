//! Whether the rows of `audit` are the trail that the service wrote.
//!
//! Pure: rows come in one by one and in order, from whatever database. Invariant: every column of a row is covered by
//! its hash, so a row passes only with the bytes that it was written with.

use crate::sale::{
    audit::{Action, Actor, Audited, Broken, Head, Record},
    time::Timestamp,
};

/// A row of `audit` as it stands in a database, whatever that may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub sequence: i64,
    pub at: String,
    pub actor: String,
    pub action: String,
    pub sale: Option<String>,
    pub sku: Option<String>,
    pub detail: String,
    pub hash: String,
}

impl AuditRow {
    /// The row as the service writes it.
    pub fn of(audited: &Audited<'_>) -> Self {
        let Audited { record: Record { sequence, at, actor, action, sale, sku, detail }, hash } = *audited;
        Self {
            sequence: i64::try_from(sequence).expect("there are fewer than 2^63 records"),
            at: at.to_string(),
            actor: actor.to_string(),
            action: action.as_str().to_owned(),
            sale: sale.map(str::to_owned),
            sku: sku.map(str::to_owned),
            detail: detail.to_owned(),
            hash: hash.to_hex().to_string(),
        }
    }

    /// The record that this is the row of; None when it is of none. A time or a hash in another spelling than the
    /// service's is a change as well.
    fn record(&self, sequence: u64) -> Option<Audited<'_>> {
        let Self { at, actor, action, sale, sku, detail, hash, .. } = self;
        let record = Record {
            sequence,
            at: Timestamp::parse(at)?,
            actor: Actor::parse(actor)?,
            action: Action::parse(action)?,
            sale: sale.as_deref(),
            sku: sku.as_deref(),
            detail,
        };
        let short = |text: &Option<String>| text.as_ref().is_none_or(|text| (1..=255).contains(&text.len()));
        let audited = Audited { record, hash: blake3::Hash::from_hex(hash).ok()? };
        (actor.len() <= 255 && short(sale) && short(sku) && Self::of(&audited) == *self).then_some(audited)
    }
}

/// Walks the rows in order of their numbers, up to the first that is missing, changed or foreign.
#[derive(Debug, Clone, Default)]
pub struct AuditCheck {
    reached: Head,
}

impl AuditCheck {
    /// A walk from the first record on.
    pub fn new() -> Self {
        Self::default()
    }

    /// A walk from the record behind this one on.
    pub fn behind(start: Head) -> Self {
        Self { reached: start }
    }

    /// Takes the next row.
    pub fn row(&mut self, row: &AuditRow) -> Result<(), Broken> {
        let foreign = || Broken::Foreign { number: row.sequence.to_string() };
        let sequence = u64::try_from(row.sequence).map_err(|_| foreign())?;
        self.reached.expect(sequence)?;
        let audited = row.record(sequence).ok_or(Broken::Changed { sequence })?;
        self.reached.follow(&audited)
    }

    /// Takes the next record from elsewhere: from the journal, where the database does not have it yet.
    pub fn record(&mut self, audited: &Audited<'_>) -> Result<(), Broken> {
        self.reached.follow(audited)
    }

    /// How far the trail holds.
    pub fn reached(&self) -> Head {
        self.reached
    }

    /// That nothing follows: the trail is whole if it comes to the service's own head.
    pub fn end(&self, own: &Head) -> Result<(), Broken> {
        self.reached.is_whole(own)
    }
}
