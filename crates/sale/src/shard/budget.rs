//! Hold budgets: how many holds a customer has in a sale, and how many expired lately.
//!
//! Counted only for customers of sales that ask: a customer is counted from the first reserve in such a sale on, once from all
//! reservations in memory, and event by event from then on. So a sale without a budget pays nothing, counts survive restarts, and
//! they leave memory with the customer. Invariant: a count is what a recount of the reservations in memory gives.

use std::collections::HashMap;

use foldhash::quality::FixedState;
use smallvec::SmallVec;

use super::{Shard, entry::NOBODY};
use crate::{
    ids::SaleNumber,
    judge::{BudgetExceeded, Plan},
    outcome::State,
    settings::HoldBudget,
    time::Timestamp,
};

/// For how long an expired hold counts.
const WINDOW_MILLIS: u64 = 3_600_000;

/// What a counted customer takes in memory, and what an expired hold adds.
const COUNTS_BYTES: u64 = 72;
const EXPIRED_BYTES: u64 = 8;

#[derive(Debug, Default)]
pub(super) struct Budgets {
    by_customer: HashMap<u32, SmallVec<[Counts; 1]>, FixedState>,
}

#[derive(Debug)]
struct Counts {
    sale: SaleNumber,
    open: u32,
    /// When holds expired, the earliest first; those of long ago are dropped when another is added.
    expired: Vec<Timestamp>,
}

impl Budgets {
    fn get(&mut self, customer: u32, sale: SaleNumber) -> Option<&mut Counts> {
        if self.by_customer.is_empty() || customer == NOBODY {
            return None;
        }
        self.by_customer.get_mut(&customer)?.iter_mut().find(|counts| counts.sale == sale)
    }

    fn begin(&mut self, customer: u32, counts: Counts, bytes: &mut u64) {
        *bytes += COUNTS_BYTES + counts.expired.len() as u64 * EXPIRED_BYTES;
        self.by_customer.entry(customer).or_default().push(counts);
    }

    pub(super) fn open(&mut self, customer: u32, sale: SaleNumber) {
        if let Some(counts) = self.get(customer, sale) {
            counts.open += 1;
        }
    }

    pub(super) fn close(&mut self, customer: u32, sale: SaleNumber) {
        if let Some(counts) = self.get(customer, sale) {
            counts.open -= 1;
        }
    }

    pub(super) fn expire(&mut self, customer: u32, sale: SaleNumber, at: Timestamp, bytes: &mut u64) {
        if let Some(counts) = self.get(customer, sale) {
            let before = counts.expired.len();
            counts.expired.retain(|expired| at < expired.plus_millis(WINDOW_MILLIS));
            counts.expired.push(at);
            *bytes = *bytes + counts.expired.len() as u64 * EXPIRED_BYTES - before as u64 * EXPIRED_BYTES;
        }
    }

    /// A hold that expired then was confirmed late.
    pub(super) fn unexpire(&mut self, customer: u32, sale: SaleNumber, at: Timestamp, bytes: &mut u64) {
        if let Some(counts) = self.get(customer, sale)
            && let Some(index) = counts.expired.iter().position(|&expired| expired == at)
        {
            counts.expired.remove(index);
            *bytes -= EXPIRED_BYTES;
        }
    }

    /// The customer leaves memory.
    pub(super) fn forget(&mut self, customer: u32, bytes: &mut u64) {
        if self.by_customer.is_empty() {
            return;
        }
        for counts in self.by_customer.remove(&customer).into_iter().flatten() {
            *bytes -= COUNTS_BYTES + counts.expired.len() as u64 * EXPIRED_BYTES;
        }
    }
}

impl Shard {
    /// Whether the hold budget of the plan's sale leaves room for one more hold.
    pub(crate) fn check_budget(&mut self, plan: &Plan<'_>, budget: HoldBudget) -> Result<(), BudgetExceeded> {
        let (request, now) = (&plan.request, self.now);
        // A customer without reservations in memory has none that count.
        let Some(customer) = self.find_customer(request.bucket, request.customer) else { return Ok(()) };
        if self.budgets.get(customer, request.sale).is_none() {
            let counts = self.recount(customer, request.sale, request.bucket);
            self.budgets.begin(customer, counts, &mut self.bytes);
        }
        let window = WINDOW_MILLIS.min(self.retention_millis);
        let counts = self.budgets.get(customer, request.sale).expect("it was just counted");
        if let Some(limit) = budget.open_holds.filter(|&limit| counts.open >= limit) {
            return Err(BudgetExceeded::Open { limit, open: counts.open });
        }
        let lately = counts.expired.iter().filter(|expired| now < expired.plus_millis(window));
        let lately: SmallVec<[Timestamp; 8]> = lately.copied().collect();
        if let Some(limit) = budget.expired_per_hour.filter(|&limit| lately.len() as u64 >= u64::from(limit)) {
            // As soon as one less than the limit is left.
            let last = lately[lately.len() - limit as usize];
            let retry_after_seconds = last.plus_millis(window).millis_since(now).div_ceil(1000).max(1);
            return Err(BudgetExceeded::Expired { limit, expired: lately.len() as u32, retry_after_seconds });
        }
        Ok(())
    }

    /// Counts the customer of a hold that was just made from now on, if the customer was new.
    pub(crate) fn count_new_customer(&mut self, plan: &Plan<'_>) {
        let request = &plan.request;
        let Some(customer) = self.find_customer(request.bucket, request.customer) else { return };
        if self.customers[customer].reservations == 1 && self.budgets.get(customer, request.sale).is_none() {
            let counts = Counts { sale: request.sale, open: 1, expired: Vec::new() };
            self.budgets.begin(customer, counts, &mut self.bytes);
        }
    }

    fn recount(&self, customer: u32, sale: SaleNumber, bucket: crate::ids::Bucket) -> Counts {
        let mut counts = Counts { sale, open: 0, expired: Vec::new() };
        if self.customers[customer].reservations == 0 {
            return counts;
        }
        let slots = self.buckets[bucket.index() / self.shards].by_id.iter();
        for entry in slots.map(|slot| &self.reservations[slot]) {
            if entry.customer == customer && entry.sale == sale {
                counts.open += u32::from(entry.state == State::Held);
                counts.expired.extend((entry.state == State::Expired).then_some(entry.ended_at));
            }
        }
        counts.expired.sort_unstable();
        counts
    }
}
