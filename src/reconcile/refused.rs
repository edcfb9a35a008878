//! Compares refused confirmations.

use std::collections::BTreeSet;

use super::{
    compare::{Comparison, Pair, merge, shown},
    repair::Cells,
};
use crate::store::{StoreError, Table};

impl Comparison<'_> {
    /// After reservations: what belongs to one that may be gone may be gone as well. Rows from before the journal's beginning are
    /// as they are.
    pub(super) fn refused(&mut self) -> Result<(), StoreError> {
        let [at, reference] = ["at", "reference"].map(|name| Table::Refused.cell(name));
        let since = self.truth.since.map(|at| at.to_string());
        let (truth, reader) = (self.truth, self.reader);
        let mut wrong = BTreeSet::new();
        let keys = Table::Refused.key_cells();
        let moment = |row: &Cells| [0, at].map(|cell| row[cell].clone().unwrap_or_default());
        merge(&truth.reference, reader, Table::Refused, |pair| {
            self.report.compared.refused_confirmations += u64::from(!matches!(pair, Pair::Stranger(_)));
            match pair {
                Pair::Missing(known) => {
                    let id = known[0].clone().unwrap_or_default();
                    if self.kept_from.is_none() || !truth.reference.may_be_gone(&id)? {
                        self.lone("refused_confirmations", &shown(&known[..keys]), true);
                        wrong.insert(moment(&known));
                    }
                }
                Pair::Stranger(found) => {
                    if since.is_none() || found[at] > since {
                        self.lone("refused_confirmations", &shown(&found[..keys]), false);
                        wrong.insert(moment(found));
                    }
                }
                Pair::Both(known, found) => {
                    let id = known[0].clone().unwrap_or_default();
                    let is_doubtful = known[reference].is_none() && self.is_doubtful(&id)?;
                    let unknown: &[&str] = if is_doubtful { &["reference"] } else { &[] };
                    if self.cells(Table::Refused, &shown(&known[..keys]), &known, found, unknown) {
                        wrong.insert(moment(&known));
                    }
                }
            }
            Ok(())
        })?;
        let wrong: Vec<[String; 2]> = wrong.into_iter().collect();
        self.repair.refused(truth, &wrong)
    }

    /// Whether texts of a reservation may have been erased without the reference's knowing it.
    pub(super) fn is_doubtful(&self, id: &str) -> Result<bool, StoreError> {
        Ok(!self.truth.is_whole() && !self.truth.reference.knows_customer_of(id)?)
    }
}
