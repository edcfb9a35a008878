//! Refused reserves of each sale, by reason, since the process started.
//!
//! Invariant: counting a refusal takes no lock and no cache line that another worker writes. Each worker has its own cells,
//! registered once per sale, so there are at most sales times workers of them.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use crate::sale::{code::Code, ids::SaleNumber, time::Timestamp};

/// Why a well-formed reserve of a sale may be refused.
pub const REASONS: [Code; 11] = [
    Code::ItemNotFound,
    Code::SoldOut,
    Code::InsufficientStock,
    Code::CustomerLimitExceeded,
    Code::SaleNotStarted,
    Code::SaleEnded,
    Code::SalePaused,
    Code::IdempotencyKeyReused,
    Code::Overloaded,
    Code::BacklogFull,
    Code::DiskLow,
];

type Cells = Arc<CachePadded<[AtomicU64; REASONS.len()]>>;

/// The counts of all workers.
pub struct RefusalCounts {
    since: Timestamp,
    known: Mutex<HashMap<SaleNumber, Vec<Cells>>>,
}

/// One worker's cells.
#[derive(Default)]
pub struct Counting(RefCell<HashMap<SaleNumber, Cells, foldhash::fast::RandomState>>);

impl RefusalCounts {
    pub fn new(since: Timestamp) -> Self {
        Self { since, known: Mutex::default() }
    }

    /// When counting began.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// By index in `REASONS`.
    pub fn of(&self, sale: SaleNumber) -> [u64; REASONS.len()] {
        let mut sums = [0; REASONS.len()];
        for cells in self.known.lock().get(&sale).into_iter().flatten() {
            sums.iter_mut().zip(cells.iter()).for_each(|(sum, cell)| *sum += cell.load(Relaxed));
        }
        sums
    }
}

impl Counting {
    pub fn count(&self, refusals: &RefusalCounts, sale: SaleNumber, code: Code) {
        let Some(place) = REASONS.iter().position(|&known| known == code) else { return };
        let mut own = self.0.borrow_mut();
        let cells = own.entry(sale).or_insert_with(|| {
            let cells = Cells::default();
            refusals.known.lock().entry(sale).or_default().push(cells.clone());
            cells
        });
        // Written by this worker alone.
        let cell = &cells[place];
        cell.store(cell.load(Relaxed) + 1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_worker_counts_adds_up_by_sale_and_reason() {
        let refusals = RefusalCounts::new(Timestamp::from_millis(7));
        let (one, other) = (Counting::default(), Counting::default());
        for _ in 0..3 {
            one.count(&refusals, SaleNumber(1), Code::SalePaused);
        }
        other.count(&refusals, SaleNumber(1), Code::SalePaused);
        other.count(&refusals, SaleNumber(2), Code::SaleEnded);
        // Of no sale, or not of reserves.
        one.count(&refusals, SaleNumber(1), Code::ReservationNotFound);
        let place = |reason| REASONS.iter().position(|&known| known == reason).unwrap();
        let (first, second) = (refusals.of(SaleNumber(1)), refusals.of(SaleNumber(2)));
        assert_eq!((first[place(Code::SalePaused)], first.iter().sum::<u64>()), (4, 4));
        assert_eq!((second[place(Code::SaleEnded)], second.iter().sum::<u64>()), (1, 1));
        assert_eq!(refusals.of(SaleNumber(3)), [0; REASONS.len()]);
    }
}
