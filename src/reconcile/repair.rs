//! Repairs differences as the comparison finds them.
//!
//! The repair rewrites rows that the journal has, and deletes rows that it rules out. It cannot recover data that the journal
//! no longer has: confirmed units from before are counted in `confirmed_before` of items and pools, and the missing movements of a
//! pool become one with the reason `reconciled`. It writes audit records only if the journal has them, so a changed record from
//! before stays detectable for ever.

use serde_json::{Map, Value, json};

use super::truth::Truth;
use crate::{
    sale::time::Timestamp,
    store::{Absences, Counts, Link, Reference, Repairer, Step, StoreError, Table, Totals},
};

/// Rows that go to the store at once.
const ROWS_AT_ONCE: usize = 500;

/// A row as the comparison has it.
pub(super) type Cells = [Option<String>];

/// Without a repairer it does nothing.
#[derive(Default)]
pub(super) struct Repair<'a> {
    repairer: Option<&'a mut dyn Repairer>,
    /// Keys of reservations to be written.
    reservations: Vec<Value>,
    /// Ids of those to be deleted, and of those to be deleted from the archive alone.
    strangers: Vec<Value>,
    copies: Vec<Value>,
}

impl<'a> Repair<'a> {
    pub(super) fn with(repairer: &'a mut dyn Repairer) -> Self {
        Self { repairer: Some(repairer), ..Self::default() }
    }

    fn put(&mut self, step: Step, rows: &[Value]) -> Result<(), StoreError> {
        let Some(repairer) = self.repairer.as_deref_mut() else { return Ok(()) };
        for rows in rows.chunks(ROWS_AT_ONCE) {
            repairer.put(step, &text(rows))?;
        }
        Ok(())
    }

    /// The rows with these keys, as the reference has them.
    fn copy(&mut self, step: Step, reference: &Reference, table: Table, keys: &[Value]) -> Result<(), StoreError> {
        let Some(repairer) = self.repairer.as_deref_mut() else { return Ok(()) };
        for keys in keys.chunks(ROWS_AT_ONCE) {
            repairer.put(step, &reference.rows(table, &text(keys))?)?;
        }
        Ok(())
    }

    /// Keys of sales that are not what they should be, and ids of those that should not be there.
    pub(super) fn sales(&mut self, truth: &Truth, wrong: &[Value], strangers: &[Value]) -> Result<(), StoreError> {
        // They may have the numbers of those that are missing.
        self.put(Step::RemoveSales, strangers)?;
        self.copy(Step::PutSales, &truth.reference, Table::Sales, wrong)
    }

    pub(super) fn items(&mut self, truth: &Truth, wrong: &[Value], strangers: &[Value]) -> Result<(), StoreError> {
        self.put(Step::RemoveItems, strangers)?;
        self.copy(Step::PutItems, &truth.reference, Table::Items, wrong)?;
        if truth.is_whole() {
            self.copy(Step::PutItemHistory, &truth.reference, Table::Items, wrong)?;
        }
        Ok(())
    }

    pub(super) fn pools(&mut self, truth: &Truth, wrong: &[Value], strangers: &[Value]) -> Result<(), StoreError> {
        self.put(Step::RemovePools, strangers)?;
        self.copy(Step::PutPools, &truth.reference, Table::Pools, wrong)?;
        if truth.is_whole() {
            self.copy(Step::PutPoolHistory, &truth.reference, Table::Pools, wrong)?;
        }
        Ok(())
    }

    /// A pool's movements: the first `keep` stay, and these follow.
    pub(super) fn movements(
        &mut self,
        pool: &[String; 3],
        keep: usize,
        movements: &[Vec<Option<String>>],
    ) -> Result<(), StoreError> {
        let movements: Vec<Value> = movements.iter().map(|row| object(Table::Movements, row)).collect();
        let [sale, sku, pool] = pool;
        let row = json!({ "sale": sale, "sku": sku, "pool": pool, "keep": keep, "movements": movements });
        self.put(Step::ReplaceMovements, &[row])
    }

    /// Lines of no reservation. To be called before reservations are written.
    pub(super) fn lines(&mut self, strangers: &[Value]) -> Result<(), StoreError> {
        self.put(Step::RemoveLines, strangers)
    }

    pub(super) fn reservation(&mut self, truth: &Truth, id: &str) -> Result<(), StoreError> {
        if self.repairer.is_some() {
            self.reservations.push(json!([id]));
            if self.reservations.len() >= ROWS_AT_ONCE {
                self.flush(truth)?;
            }
        }
        Ok(())
    }

    /// One that should not be there.
    pub(super) fn stranger(&mut self, id: &str) {
        if self.repairer.is_some() {
            self.strangers.push(json!({ "id": id }));
        }
    }

    /// One that stands in the archive as well.
    pub(super) fn copy_in_archive(&mut self, id: &str) {
        if self.repairer.is_some() {
            self.copies.push(json!({ "id": id }));
        }
    }

    fn flush(&mut self, truth: &Truth) -> Result<(), StoreError> {
        let keys = std::mem::take(&mut self.reservations);
        self.copy(Step::PutReservations, &truth.reference, Table::Reservations, &keys)
    }

    /// Refused confirmations of these reservations at these moments.
    pub(super) fn refused(&mut self, truth: &Truth, wrong: &[[String; 2]]) -> Result<(), StoreError> {
        let gone: Vec<Value> = wrong.iter().map(|[id, at]| json!({ "reservation_id": id, "at": at })).collect();
        let keys: Vec<Value> = wrong.iter().map(|key| json!(key)).collect();
        self.put(Step::RemoveRefused, &gone)?;
        self.copy(Step::PutRefused, &truth.reference, Table::Refused, &keys)
    }

    /// Waitlist entries that are not what they should be, those that should not be there, and those that stand in the archive as well.
    pub(super) fn waitlist(
        &mut self,
        truth: &Truth,
        wrong: &[String],
        strangers: &[String],
        copies: &[String],
    ) -> Result<(), StoreError> {
        let named = |ids: &[String]| ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>();
        self.put(Step::RemoveArchivedEntries, &named(copies))?;
        self.put(Step::RemoveEntries, &named(strangers))?;
        let keys: Vec<Value> = wrong.iter().map(|id| json!([id])).collect();
        self.copy(Step::PutEntries, &truth.reference, Table::Waitlist, &keys)
    }

    /// There are no more reservations.
    pub(super) fn end_reservations(&mut self, truth: &Truth) -> Result<(), StoreError> {
        let (strangers, copies) = (std::mem::take(&mut self.strangers), std::mem::take(&mut self.copies));
        self.put(Step::RemoveArchived, &copies)?;
        self.put(Step::RemoveReservations, &strangers)?;
        self.flush(truth)
    }

    /// Where rows are gone that nobody can make again: what those that are left lack of the confirmed units of an item or a pool.
    pub(super) fn sums(&mut self, truth: impl Fn(&Totals) -> Option<Counts>) -> Result<(), StoreError> {
        let Some(repairer) = self.repairer.as_deref_mut() else { return Ok(()) };
        let mut confirmed = Vec::new();
        for total in repairer.totals()? {
            let Some(counts) = truth(&total) else { continue };
            let more = counts.confirmed - total.recomputed.confirmed;
            if more != 0 {
                let Totals { sale, sku, pool, .. } = total;
                confirmed.push(json!({ "sale": sale, "sku": sku, "pool": pool, "delta": more }));
            }
        }
        self.put(Step::AddConfirmedBefore, &confirmed)
    }

    /// Records that the journal has, and numbers of those that nobody wrote.
    pub(super) fn audit(&mut self, truth: &Truth, wrong: &[Value], strangers: &[Value]) -> Result<(), StoreError> {
        self.put(Step::RemoveAudit, strangers)?;
        self.copy(Step::PutAudit, &truth.reference, Table::Audit, wrong)
    }

    /// What the store says of its gaps.
    pub(super) fn gaps(&mut self, absences: &Absences) -> Result<(), StoreError> {
        let gap = |gap: &crate::store::AuditGap| {
            let (Link::Hash(hash) | Link::NextRow(hash)) = gap.link;
            json!({ "after": gap.after, "through": gap.through, "hash": hash.to_hex().as_str() })
        };
        let gaps: Vec<Value> = absences.audit_gaps.iter().map(gap).collect();
        match self.repairer.as_deref_mut() {
            Some(repairer) => repairer.put(Step::PutGaps, &text(&gaps)).map(drop),
            None => Ok(()),
        }
    }

    /// `updated_at`: None leaves what is there.
    pub(super) fn write_behind(
        &mut self,
        updated_at: Option<&str>,
        kept_from: Option<Timestamp>,
        format: Option<&str>,
    ) -> Result<(), StoreError> {
        let kept_from = kept_from.map(|at| at.to_string());
        let row = json!({ "updated_at": updated_at, "kept_from": kept_from, "format": format });
        self.put(Step::PutWriteBehind, &[row])
    }
}

fn text(rows: &[Value]) -> String {
    serde_json::to_string(rows).expect("values of JSON")
}

/// A row by the names of its cells. Numbers are texts: each database reads them as its columns want.
fn object(table: Table, row: &Cells) -> Value {
    let member = |(name, cell): (&str, &Option<String>)| (name.to_owned(), json!(cell));
    Value::Object(table.cells().zip(row).map(member).collect::<Map<_, _>>())
}
