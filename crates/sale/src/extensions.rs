//! Extensions of all holds of a sale, which take many steps.
//!
//! Buckets are extended in their order, each in one step, and each extended hold has an event that says how far its extension has
//! come. So after a crash the same extension continues behind the last bucket of the journal, and extends no hold twice.

use std::collections::VecDeque;

use super::{
    event::{CatalogueEvent, CustomerEvent, HoldsExtending},
    ids::SaleNumber,
    time::Timestamp,
};

/// Extensions under way, the first to be finished first.
#[derive(Debug, Clone, Default)]
pub struct Extensions {
    latest: u64,
    running: VecDeque<Running>,
    /// The last ones that were finished, and how many holds they extended: for the requests that wait for one.
    finished: VecDeque<(u64, u64)>,
}

/// Finished ones that are remembered. A request looks every few milliseconds, and each extension takes several ticks.
const FINISHED_MAX: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub sale: SaleNumber,
    /// When it was asked for: holds that were made later are not extended.
    pub at: Timestamp,
    pub run: u64,
    pub seconds: u32,
    /// The idempotency key, and the fingerprint of the request.
    pub key: Option<(Box<str>, u64)>,
    /// Buckets that are done.
    pub buckets: u32,
    /// Holds that were extended.
    pub holds: u64,
}

impl Extensions {
    /// The number of the next one.
    pub fn next_run(&self) -> u64 {
        self.latest + 1
    }

    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The one that is worked on.
    pub fn first_mut(&mut self) -> Option<&mut Running> {
        self.running.front_mut()
    }

    /// How many holds a finished one extended.
    pub fn finished(&self, run: u64) -> Option<u64> {
        self.finished.iter().find(|(known, _)| *known == run).map(|(_, holds)| *holds)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Running> {
        self.running.iter()
    }

    /// Takes over an event of the catalogue.
    pub fn apply(&mut self, event: &CatalogueEvent<'_>) {
        match event {
            CatalogueEvent::HoldsExtending(extending) => {
                let &HoldsExtending { sale, at, run, seconds, key, done } = extending;
                let (buckets, holds) = done.unwrap_or_default();
                let key = key.map(|(key, fingerprint)| (Box::from(key), fingerprint));
                self.latest = self.latest.max(run);
                self.running.push_back(Running { sale, at, run, seconds, key, buckets, holds });
            }
            CatalogueEvent::HoldsExtended(extended) => {
                self.running.retain(|running| running.run != extended.run);
                self.finished.push_back((extended.run, extended.holds));
                if self.finished.len() > FINISHED_MAX {
                    self.finished.pop_front();
                }
            }
            // Ids of reservations keep the time of their creation, and so does an extension.
            CatalogueEvent::ClockSet(_)
            | CatalogueEvent::SaleDefined(_)
            | CatalogueEvent::SalePaused { .. }
            | CatalogueEvent::SaleResumed { .. }
            | CatalogueEvent::SaleClosed { .. }
            | CatalogueEvent::StatusReached { .. }
            | CatalogueEvent::PhaseOpened { .. }
            | CatalogueEvent::PoolShared { .. }
            | CatalogueEvent::Adjusted(_)
            | CatalogueEvent::Transferred(_)
            | CatalogueEvent::Stocked { .. }
            | CatalogueEvent::Audited(_)
            | CatalogueEvent::KeysNoted { .. }
            | CatalogueEvent::AuditReached(_)
            | CatalogueEvent::WrittenBy { .. } => {}
        }
    }

    /// Replay: takes over how far an extension came. May see an event more than once.
    pub fn see(&mut self, event: &CustomerEvent<'_>) {
        let CustomerEvent::Extended(extended) = event else { return };
        let Some(progress) = extended.with_all else { return };
        if let Some(running) = self.running.iter_mut().find(|running| running.run == progress.run) {
            running.buckets = running.buckets.max(extended.id.bucket().index() as u32 + 1);
            running.holds = running.holds.max(progress.holds);
        }
    }

    /// The events that rebuild this from nothing.
    pub fn export(&self, mut each: impl FnMut(&CatalogueEvent<'_>)) {
        for Running { sale, at, run, seconds, key, buckets, holds } in &self.running {
            let key = key.as_ref().map(|(key, fingerprint)| (&**key, *fingerprint));
            let done = Some((*buckets, *holds));
            let (sale, at, run, seconds) = (*sale, *at, *run, *seconds);
            each(&CatalogueEvent::HoldsExtending(HoldsExtending { sale, at, run, seconds, key, done }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::ClockSet;

    #[test]
    fn a_clock_that_is_set_changes_nothing_about_which_holds_are_meant() {
        let at = Timestamp::from_millis(1_795_852_800_000);
        let (sale, run, seconds) = (SaleNumber(0), 1, 60);
        let mut extensions = Extensions::default();
        extensions.apply(&CatalogueEvent::HoldsExtending(HoldsExtending {
            sale,
            at,
            run,
            seconds,
            key: None,
            done: None,
        }));
        // Holds that were made before it keep the times in their ids.
        extensions.apply(&CatalogueEvent::ClockSet(ClockSet { at, by: -3_600_000, uptime: None }));
        assert_eq!(extensions.iter().next().map(|running| running.at), Some(at));
    }
}
