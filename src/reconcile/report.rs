//! What was compared and what differs.

use serde::Serialize;

/// Differences that are told one by one; beyond that they are counted.
pub const DIFFERENCES_TOLD_MAX: usize = 1000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The last batch that is in the store; the journal was read as far.
    pub epoch: u64,
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
    pub reservations: u64,
    /// Of the reservations: those that are held.
    pub held: u64,
    pub audit_records: u64,
    /// Of the audit records: those that the store does not have, as it was repaired or rebuilt behind them.
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
}
