//! Whether the rows of `audit` are the trail that the service wrote.
//!
//! Pure: rows come in one by one and in order, from whatever database. Invariant: every column of a row is covered by
//! its hash, so a row passes only with the bytes that it was written with.

use super::{error::StoreError, rows::natural};
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

/// Records that a store does not have, and says so: after this number, and up to this head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditGap {
    pub after: u64,
    pub through: Head,
}

impl AuditGap {
    /// A row of `audit_gaps`.
    pub(super) fn of_row(after: i64, through: i64, hash: &str) -> Result<Self, StoreError> {
        let unreadable = || StoreError::Content(format!("a gap in the audit trail with the hash {hash:?}"));
        let hash = blake3::Hash::from_hex(hash).map_err(|_| unreadable())?;
        let through = Head { sequence: natural("a through_sequence", through)?, hash };
        Ok(Self { after: natural("an after_sequence", after)?, through })
    }
}

/// Walks the rows in order of their numbers, up to the first that is missing, changed or foreign.
#[derive(Debug, Clone, Default)]
pub struct AuditCheck {
    reached: Head,
    gaps: Vec<AuditGap>,
    passed_over: u64,
}

impl AuditCheck {
    /// A walk from the first record on, in a store without gaps.
    pub fn new() -> Self {
        Self::default()
    }

    /// A walk that goes on behind each of the gaps that it comes to.
    pub fn over(gaps: Vec<AuditGap>) -> Self {
        Self { gaps, ..Self::default() }
    }

    /// Records in gaps that the walk went over.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    fn pass_gaps(&mut self, until: u64) {
        while let Some(gap) =
            self.gaps.iter().find(|gap| gap.after == self.reached.sequence && gap.through.sequence <= until)
        {
            self.passed_over += gap.through.sequence - gap.after;
            self.reached = gap.through;
        }
    }

    /// Takes the next row.
    pub fn row(&mut self, row: &AuditRow) -> Result<(), Broken> {
        let foreign = || Broken::Foreign { number: row.sequence.to_string() };
        let sequence = u64::try_from(row.sequence).map_err(|_| foreign())?;
        self.pass_gaps(sequence.saturating_sub(1));
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
    pub fn end(&mut self, own: &Head) -> Result<(), Broken> {
        self.pass_gaps(own.sequence);
        self.reached.is_whole(own)
    }
}
