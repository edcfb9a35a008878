//! Changes by the clock alone: due holds expire, ended reservations leave memory, sales open and close.

use std::sync::atomic::Ordering;

use super::Engine;
use sale::{event::CatalogueEvent, outcome::Status, time::Timestamp};

/// Reservations handled under one lock before it is released: each takes well below a microsecond, so nobody waits long.
const STEP: usize = 128;

/// What a tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tick {
    /// Holds that this tick expired.
    pub expired: usize,
    /// Holds that expired since the last tick because a request looked at them.
    pub expired_meanwhile: usize,
    pub retired: usize,
    /// Holds that were extended with all of their sale.
    pub extended: u64,
    /// Members of groups that failed.
    pub group_releases: usize,
    /// Waitlist entries that were offered something.
    pub offered: u64,
    /// Sales that opened or ended.
    pub status_changes: usize,
    /// The longest time that a hold expired by this tick was overdue, in milliseconds.
    pub lag_millis: u64,
}

impl Engine {
    /// Brings everything up to `now`. To be called every few milliseconds.
    pub fn tick(&self, now: Timestamp) -> Tick {
        let mut tick = Tick { status_changes: self.change_due_statuses(now), ..Tick::default() };
        tick.group_releases = self.fail_due_groups(now);
        for index in 0..self.cells.len() {
            loop {
                let mut cell = self.cells[index].cell.lock();
                let published = self.published.load();
                tick.expired_meanwhile += std::mem::take(&mut cell.expired);
                let expiry = self
                    .decide(index, &published.bounds, &mut cell, |shard, record| shard.expire_due(now, STEP, record));
                let retirement = self.decide(index, &published.bounds, &mut cell, |shard, record| {
                    shard.retire_due(now, STEP, |item| published.catalogue.counts_customers(item), record)
                });
                let entries = self.decide(index, &published.bounds, &mut cell, |shard, record| {
                    let expired = shard.expire_entries(now, STEP, record);
                    expired.deadlines.max(shard.retire_entries(now, STEP, record).deadlines)
                });
                cell.expired = 0;
                tick.expired += expiry.expired;
                tick.retired += retirement.retired;
                tick.lag_millis = tick.lag_millis.max(expiry.lag_millis);
                if expiry.deadlines < STEP && retirement.deadlines < STEP && entries < STEP {
                    break;
                }
            }
        }
        self.forget_groups(now);
        tick.extended = self.extend_due(now);
        tick.offered = self.serve_waiting(now);
        self.measure_fullness();
        tick
    }

    fn change_due_statuses(&self, now: Timestamp) -> usize {
        if self.time(now).millis() < self.next_status_change.load(Ordering::Relaxed) {
            return 0;
        }
        let _superseded;
        let mut control = self.control.lock();
        let now = control.advance(now);
        let due = control.schedule.take_due(now);
        self.next_status_change.store(control.schedule.next_millis(), Ordering::Relaxed);
        let sales: Vec<_> = due.into_iter().map(|sale| control.catalogue.sale_numbered(sale).clone()).collect();
        let changes: Vec<_> = sales.iter().flat_map(|sale| sale.changes_by_clock(now)).collect();
        if !changes.is_empty() {
            _superseded = self.publish(&mut control, &changes);
        }
        changes.iter().filter(|change| matches!(change, CatalogueEvent::StatusReached { .. })).count()
    }

    /// Sales by status at `now`, for metrics.
    pub fn sales_by_status(&self, now: Timestamp) -> [(Status, usize); 4] {
        let published = self.published.load();
        let now = published.dial.now(now);
        Status::ALL.map(|status| {
            let sales = published.catalogue.sales().iter();
            (status, sales.filter(|sale| sale.status_in_doubt(now) == status).count())
        })
    }
}
