//! The result of a comparison.

use serde::Serialize;

use super::truth::JournalFacts;

/// Most differences listed; further ones are only counted.
pub(super) const DIFFERENCES_TOLD_MAX: usize = 1000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The last batch that is in the store, up to which the two were compared.
    pub epoch: u64,
    pub journal: JournalFacts,
    /// Whether a service has the data directory: then it is normal that batches are pending.
    pub service_is_running: bool,
    pub compared: Compared,
    /// The first thousand.
    pub differences: Vec<Difference>,
    pub differences_total: u64,
}

/// How many there are of each, by the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    pub sales: u64,
    pub items: u64,
    pub pools: u64,
    pub stock_movements: u64,
    pub refused_confirmations: u64,
    pub waitlist_entries: u64,
    /// Waitlist entries in the store that were over before the journal begins.
    pub waitlist_entries_beyond_the_journal: u64,
    /// Those of which the journal says, or the snapshot, what they are.
    pub reservations: u64,
    /// Of the reservations: those that are held.
    pub held: u64,
    /// Reservations in the store that were over before the journal begins: only their confirmed units are compared.
    pub reservations_beyond_the_journal: u64,
    pub audit_records: u64,
    /// Of the audit records: those that the store does not have, and by the data directory may lack.
    pub audit_records_elsewhere: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The store's table; `sums of rows`: what movements, reservations and lines add up to.
    pub table: &'static str,
    /// Which row of it.
    pub key: String,
    /// Empty: the row as a whole.
    pub column: &'static str,
    /// What it should be; None: nothing.
    pub journal: Option<String>,
    /// What it is.
    pub store: Option<String>,
}

impl Report {
    pub fn note(&mut self, difference: Difference) {
        self.differences_total += 1;
        if self.differences.len() < DIFFERENCES_TOLD_MAX {
            self.differences.push(difference);
        }
    }

    pub fn is_equal(&self) -> bool {
        self.differences_total == 0
    }

    /// Neither side has anything up to where they were compared.
    pub fn compared_nothing(&self) -> bool {
        let Compared { sales, items, reservations, audit_records, .. } = self.compared;
        sales + items + reservations + audit_records + self.differences_total == 0
    }

    /// Whether batches are pending that no service is about to apply.
    pub fn is_behind(&self) -> bool {
        self.journal.pending_batches > 0 && !self.service_is_running
    }

    /// Whether the check succeeded: something was compared, all of it is equal, and nothing is left out.
    pub fn is_success(&self) -> bool {
        self.is_equal() && !self.compared_nothing() && !self.is_behind()
    }
}
