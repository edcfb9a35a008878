//! Checks that the rows of `audit` are the trail that the service wrote.
//!
//! Pure: takes rows one by one and in order, from any database. Invariant: a row's hash covers every column, so a row passes
//! only with its original bytes.

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

    /// The row from its cells as `Table::Audit` has them.
    pub fn from_cells(cells: &[Option<String>]) -> Self {
        let text = |index: usize| cells.get(index).cloned().flatten();
        // What somebody put in the place of a text that must be there does not pass for what was.
        let given = |index| text(index).unwrap_or_default();
        Self {
            sequence: given(0).parse().unwrap_or(0),
            at: given(1),
            actor: given(2),
            action: given(3),
            sale: text(4),
            sku: text(5),
            detail: given(6),
            hash: given(7),
        }
    }

    /// The trail's head where it ends with this row.
    pub fn head(&self) -> Option<Head> {
        let sequence = u64::try_from(self.sequence).ok()?;
        Some(Head { sequence, hash: blake3::Hash::from_hex(&self.hash).ok()? })
    }

    /// A hash of all columns.
    pub fn print(&self) -> blake3::Hash {
        let Self { sequence, at, actor, action, sale, sku, detail, hash } = self;
        let columns = (sequence, at, actor, action, sale, sku, detail, hash);
        blake3::hash(&serde_json::to_vec(&columns).expect("numbers and texts"))
    }
}

/// Records that a store may lack: those after `after`, up to and with `through`. It is a fact of the data directory, never of
/// the store: whoever may write the store could add to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditGap {
    pub after: u64,
    pub through: u64,
    pub link: Link,
}

/// How the chain continues behind a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The hash of the gap's last record, which the next record's hash covers.
    Hash(blake3::Hash),
    /// The gap's last record is unknown: a hash of all columns of the row behind it.
    NextRow(blake3::Hash),
}

impl AuditGap {
    /// Everything up to a record.
    pub fn up_to(head: &Head) -> Self {
        Self { after: 0, through: head.sequence, link: Link::Hash(head.hash) }
    }
}

/// Walks the rows in order of their numbers, up to the first that is missing, changed or foreign.
#[derive(Debug, Clone, Default)]
pub struct AuditCheck {
    reached: Head,
    gaps: Vec<AuditGap>,
    passed_over: u64,
    /// Behind a gap whose last record is unknown: what the next row must be.
    next_row: Option<blake3::Hash>,
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
        while let Some(gap) = self
            .gaps
            .iter()
            .find(|gap| gap.after == self.reached.sequence && gap.through > gap.after && gap.through <= until)
        {
            self.passed_over += gap.through - gap.after;
            self.reached.sequence = gap.through;
            self.next_row = None;
            match gap.link {
                Link::Hash(hash) => self.reached.hash = hash,
                Link::NextRow(print) => self.next_row = Some(print),
            }
        }
    }

    /// Takes the next row.
    pub fn row(&mut self, row: &AuditRow) -> Result<(), Broken> {
        let foreign = || Broken::Foreign { number: row.sequence.to_string() };
        let sequence = u64::try_from(row.sequence).map_err(|_| foreign())?;
        self.pass_gaps(sequence.saturating_sub(1));
        self.reached.expect(sequence)?;
        let audited = row.record(sequence).ok_or(Broken::Changed { sequence })?;
        match self.next_row.take() {
            Some(print) if print == row.print() => self.reached = Head { sequence, hash: audited.hash },
            Some(_) => return Err(Broken::Changed { sequence }),
            None => self.reached.follow(&audited)?,
        }
        Ok(())
    }

    /// Takes the next record from elsewhere: from the journal, where the database does not have it yet.
    pub fn record(&mut self, audited: &Audited<'_>) -> Result<(), Broken> {
        self.reached.follow(audited)
    }

    /// How far the trail holds, and over what gap goes on behind that up to a record.
    pub fn reached_over(&mut self, until: u64) -> Head {
        self.pass_gaps(until);
        self.reached
    }

    /// How far the trail holds.
    pub fn reached(&self) -> Head {
        self.reached
    }

    /// That the trail comes to the record before `next`, and goes on with that.
    pub fn leads_to(&mut self, next: &AuditRow) -> Result<(), Broken> {
        self.row(next).map_err(|broken| match broken {
            Broken::Changed { sequence } => Broken::Rewritten { sequence: sequence.saturating_sub(1) },
            other => other,
        })
    }

    /// That nothing follows: the trail is whole if it comes to the service's own head.
    pub fn end(&mut self, own: &Head) -> Result<(), Broken> {
        self.pass_gaps(own.sequence);
        self.reached.is_whole(own)
    }
}
