//! The audit trail, as far as snapshot and journal tell of it.
//!
//! A journal begins where its first segment that is left begins, so the first record that is met is taken as it is, and
//! each one after it must follow. That is what a start asks of it too.

use serde::Serialize;

use crate::sale::{
    audit::{Broken, Head},
    event::{CatalogueEvent, Event},
};

/// Where the trail ends. Kept elsewhere, it shows later whether the trail up to it was written anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TrailFacts {
    pub sequence: u64,
    pub hash: String,
}

#[derive(Debug, Default)]
pub(super) struct Trail {
    of_snapshot: Option<Head>,
    of_journal: Option<Head>,
}

impl Trail {
    pub(super) fn learn_of_snapshot(&mut self, event: &Event<'_>) {
        if let Event::Catalogue(CatalogueEvent::AuditReached(head)) = event {
            self.of_snapshot = Some(*head);
        }
    }

    pub(super) fn follow(&mut self, event: &Event<'_>) -> Result<(), Broken> {
        let Event::Catalogue(CatalogueEvent::Audited(audited)) = event else { return Ok(()) };
        match &mut self.of_journal {
            Some(head) => head.follow(audited),
            None if audited.record.sequence == 1 => self.of_journal.insert(Head::default()).follow(audited),
            None => {
                self.of_journal = Some(Head { sequence: audited.record.sequence, hash: audited.hash });
                Ok(())
            }
        }
    }

    pub(super) fn facts(&self) -> Option<TrailFacts> {
        let heads = self.of_journal.into_iter().chain(self.of_snapshot);
        let head = heads.max_by_key(|head| head.sequence)?;
        Some(TrailFacts { sequence: head.sequence, hash: head.hash.to_hex().to_string() })
    }
}
