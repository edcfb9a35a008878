//! Compares waitlist entries.

use super::compare::{Comparison, Pair, merge};
use crate::store::{StoreError, Table};

impl Comparison<'_> {
    pub(super) fn waitlist(&mut self) -> Result<(), StoreError> {
        let [state, joined_at, ended_at] = ["state", "joined_at", "ended_at"].map(|name| Table::Waitlist.cell(name));
        let name = Table::Waitlist.name();
        let since = self.truth.since.map(|at| at.to_string());
        let (truth, reader) = (self.truth, self.reader);
        let (mut wrong, mut strangers, mut copies) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = None;
        merge(&truth.reference, reader, Table::Waitlist, |pair| {
            let compared = &mut self.report.compared;
            match pair {
                Pair::Missing(known) => {
                    compared.waitlist_entries += 1;
                    // None is before every text: who waits may not be absent, nor may what was not deleted.
                    if known[ended_at].is_none() || known[ended_at] >= self.kept_from {
                        let id = known[0].clone().unwrap_or_default();
                        self.lone(name, &id, true);
                        wrong.push(id);
                    }
                }
                Pair::Both(known, found) => {
                    compared.waitlist_entries += 1;
                    let id = known[0].clone().unwrap_or_default();
                    if self.cells(Table::Waitlist, &id, &known, found, &[]) {
                        wrong.push(id.clone());
                    }
                    last = Some(id);
                }
                Pair::Stranger(found) => {
                    let id = found[0].clone().unwrap_or_default();
                    // What began before the journal does, and is over, may have left the service's memory.
                    let is_over = found[state].as_deref() != Some("waiting");
                    if last.as_ref() == Some(&id) {
                        self.differs(name, &id, "", Some("there once"), Some("there, and in the archive"));
                        copies.push(id.clone());
                    } else if since.is_some() && is_over && found[joined_at] <= since {
                        compared.waitlist_entries_beyond_the_journal += 1;
                    } else {
                        self.lone(name, &id, false);
                        strangers.push(id.clone());
                    }
                    last = Some(id);
                }
            }
            Ok(())
        })?;
        self.repair.waitlist(truth, &wrong, &strangers, &copies)
    }
}
