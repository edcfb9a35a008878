//! Retention in the store: archives or deletes reservations and waitlist entries that ended before `store.keep_days`, and the
//! beginning of the audit trail, in small steps and only while the store has nothing else to do.
//!
//! Invariants: a step is one transaction under the process's token, so a crash between steps or within one neither loses nor
//! repeats anything. What is retired has left the service's memory before, and the store knows that. Sums stay: deleted
//! confirmed units are added to the `confirmed_before` of their item and their pool. Only an intact beginning of the trail is deleted, and becomes
//! a gap before the rest. Deletions are recorded in the data directory first; `audit_gaps` and `kept_from` in the store repeat
//! that for its readers.

use uuid::Uuid;

use super::{absences::AbsencesFile, audit::AuditGap, error::StoreError};
use crate::sale::{audit::Head, time::Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterKeeping {
    Archive,
    Delete,
}

/// What may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// What was over before this moment.
    pub before: Timestamp,
    /// Nothing goes until the store has this epoch.
    pub applied: u64,
}

pub struct Retention {
    pub after: AfterKeeping,
    /// Reservations, waitlist entries and records of the trail that a step looks at, of each.
    pub step_rows: u32,
    /// Asked before each step.
    pub horizon: Box<dyn Fn() -> Horizon + Send>,
    /// Where it is noted, before rows are deleted, that they may be absent.
    pub absences: AbsencesFile,
}

/// What a step that deletes needs to know of the audit trail, and has to say before it commits.
pub struct TrailPermit<'a> {
    /// What may be absent before the step.
    pub gaps: &'a [AuditGap],
    /// Notes that the trail up to a record may be absent from now on.
    pub begin_behind: &'a mut dyn FnMut(&Head) -> Result<(), StoreError>,
}

/// Where a pass through the tables is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub source: Source,
    /// The last reservation or waitlist entry that was looked at.
    pub behind: Uuid,
}

/// What is deleted is looked for in the archive first: it may have been kept otherwise before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Archive,
    Live,
}

/// A step to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionStep {
    pub place: Place,
    pub before: Timestamp,
    pub after: AfterKeeping,
    pub rows_max: u32,
    /// The store's cursor, which a step leaves as it is.
    pub cursor: u64,
}

/// What a step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stepped {
    pub reservations: u64,
    pub waitlist_entries: u64,
    pub audit_records: u64,
    /// The last reservation or waitlist entry that was looked at; None when there was no further one.
    pub reached: Option<Uuid>,
    /// There may be more of the trail.
    pub more_audit: bool,
}

impl Source {
    /// The names of its tables: reservations, their lines, waitlist entries, the trail.
    pub(super) fn tables(self) -> [&'static str; 4] {
        match self {
            Self::Archive => {
                ["reservations_archive", "reservation_lines_archive", "waitlist_entries_archive", "audit_archive"]
            }
            Self::Live => ["reservations", "reservation_lines", "waitlist_entries", "audit"],
        }
    }
}

pub(super) const RESERVATION_COLUMNS: &str = "id, sale, customer, state, reference, created_at, expires_at, extensions, \
                                              confirmed_at, released_at, expired_at, cancelled_at, late, \
                                              release_reason, cancel_reason, tier, channel, region, labels, short, group_id, \
                                              group_size, group_state, waitlist_entry";
pub(super) const ENTRY_COLUMNS: &str = "id, sale, customer, state, place, lines, reference, joined_at, expires_at, ended_at, \
                                        reservation_id, passed_over_at, passed_over_code, tier, channel, region, \
                                        labels, locations";
pub(super) const LINE_COLUMNS: &str =
    "reservation_id, line, sku, pool, quantity, returned, cancelled, price_amount, price_currency";
pub(super) const AUDIT_COLUMNS: &str = "sequence, at, actor, action, sale, sku, detail, hash";

/// The statements that have items and pools count the confirmed units of reservations that go. `are_these`: what their ids are.
pub(super) fn remember_confirmed(source: Source, are_these: &str) -> [String; 2] {
    let [table, lines, ..] = source.tables();
    let statement = |sums: &str, key: &[&str]| {
        let same: Vec<String> = key.iter().map(|column| format!("{sums}.{column} = gone.{column}")).collect();
        let (same, key) = (same.join(" AND "), key.join(", "));
        format!(
            "UPDATE {sums} SET confirmed_before = confirmed_before + gone.units
               FROM (SELECT {key}, CAST(sum(quantity - returned - cancelled) AS bigint) AS units
                       FROM {table} JOIN {lines} ON reservation_id = id
                      WHERE id {are_these} AND state = 'confirmed' GROUP BY {key}) AS gone
              WHERE {same}"
        )
    };
    [statement("items", &["sale", "sku"]), statement("pools", &["sale", "sku", "pool"])]
}

/// When a row was over; NULL where it is not.
pub(super) const RESERVATION_ENDED_AT: &str = "coalesce(cancelled_at, confirmed_at, released_at, expired_at)";
pub(super) const ENTRY_ENDED_AT: &str = "ended_at";

/// What a step looks at, and what of it goes. Reservations and waitlist entries are walked together, in the order of their ids.
pub(super) struct Candidates<Id> {
    /// None: there is nothing behind them.
    pub reached: Option<Id>,
    pub reservations: Vec<Id>,
    pub entries: Vec<Id>,
}

/// Ids in their order, each with whether it goes; `most` of them if there may be more.
pub(super) type LookedAt<Id> = Vec<(Id, bool)>;

impl<Id: Ord + Clone> Candidates<Id> {
    pub(super) fn of(reservations: LookedAt<Id>, entries: LookedAt<Id>, most: u32) -> Self {
        let last_of = |looked_at: &LookedAt<Id>| {
            looked_at.last().filter(|_| looked_at.len() == most as usize).map(|(id, _)| id.clone())
        };
        // Behind the end of either list may be more of it, so the other's turn goes no further.
        let reached = [last_of(&reservations), last_of(&entries)].into_iter().flatten().min();
        let gone = |looked_at: LookedAt<Id>| {
            let within = looked_at.into_iter().filter(|(id, _)| reached.as_ref().is_none_or(|reached| id <= reached));
            within.filter(|(_, goes)| *goes).map(|(id, _)| id).collect()
        };
        let (reservations, entries) = (gone(reservations), gone(entries));
        Self { reached, reservations, entries }
    }
}

/// The first id that a reservation made at this moment can have: what was over before was made before.
pub(super) fn first_id(at: Timestamp) -> Uuid {
    Uuid::from_u128(u128::from(at.millis()) << 80)
}

/// A pass after the other: each goes through everything once, and the next begins when more may go.
#[derive(Debug, Default)]
pub(super) struct Passes {
    before: Option<Timestamp>,
    place: Option<Place>,
    reservations: u64,
    waitlist_entries: u64,
    audit_records: u64,
}

impl Passes {
    /// The next step; None when there is nothing to do now.
    pub(super) fn next(&mut self, retention: &Retention, cursor: u64) -> Option<RetentionStep> {
        let Horizon { before, applied } = (retention.horizon)();
        if cursor < applied {
            return None;
        }
        if self.before.is_none_or(|last| last < before) {
            let source = match retention.after {
                AfterKeeping::Archive => Source::Live,
                AfterKeeping::Delete => Source::Archive,
            };
            let place = Some(Place { source, behind: Uuid::nil() });
            *self = Self { before: Some(before), place, ..Self::default() };
        }
        // A pass keeps the limits with which it began.
        let (place, before) = (self.place?, self.before?);
        Some(RetentionStep { place, before, after: retention.after, rows_max: retention.step_rows, cursor })
    }

    pub(super) fn stepped(&mut self, step: &RetentionStep, stepped: &Stepped) {
        self.reservations += stepped.reservations;
        self.waitlist_entries += stepped.waitlist_entries;
        self.audit_records += stepped.audit_records;
        let Place { source, behind } = step.place;
        self.place = match stepped.reached {
            Some(reached) => Some(Place { source, behind: reached }),
            None if stepped.more_audit => Some(Place { source, behind }),
            None if source == Source::Archive => Some(Place { source: Source::Live, behind: Uuid::nil() }),
            None => None,
        };
        if self.place.is_none() && self.reservations + self.waitlist_entries + self.audit_records > 0 {
            let Self { reservations, waitlist_entries, audit_records, .. } = *self;
            let (before, after) = (step.before.to_string(), step.after);
            tracing::info!(%before, ?after, reservations, waitlist_entries, audit_records, "retired rows past store.keep_days");
        }
    }
}
