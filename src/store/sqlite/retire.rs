//! Archives or deletes some rows past `store.keep_days`.

use rusqlite::{Transaction, params};
use uuid::Uuid;

use super::read::audit_row;
use crate::store::{
    audit::AuditCheck,
    error::StoreError,
    owner::Token,
    retention::{
        AUDIT_COLUMNS, AfterKeeping, Candidates, ENTRY_COLUMNS, ENTRY_ENDED_AT, LINE_COLUMNS, LookedAt,
        RESERVATION_COLUMNS, RESERVATION_ENDED_AT, RetentionStep, Source, Stepped, TrailPermit, first_id,
        remember_confirmed,
    },
    rows::integer,
};

/// First in the transaction: a process that lost the store finds out here.
const HOLD: &str = "
    UPDATE write_behind SET cursor = cursor WHERE cursor = ?1 AND owner = ?2 AND owner_epoch = ?3 AND session = ?4";

const KEPT_FROM: &str = "UPDATE write_behind SET kept_from = max(coalesce(kept_from, ''), ?1)";

/// The trail's beginning that is not here: the gaps that were in it are part of it.
const BEGINS_BEHIND: &str = "INSERT INTO audit_gaps (after_sequence, through_sequence, hash) VALUES (0, ?1, ?2)";

const THESE: &str = "(SELECT value FROM json_each(?1))";

pub(super) fn step(
    transaction: &Transaction<'_>,
    step: &RetentionStep,
    token: &Token,
    permit: &mut TrailPermit<'_>,
) -> Result<Stepped, StoreError> {
    let (owner, session) = (token.owner.to_string(), token.session.to_string());
    let held = transaction.prepare_cached(HOLD)?.execute(params![
        integer(step.cursor)?,
        owner,
        integer(token.epoch)?,
        session
    ])?;
    if held != 1 {
        return Err(StoreError::CursorMoved { expected: step.cursor });
    }
    let Candidates { reached, reservations, entries } = candidates(transaction, step)?;
    let unreadable = |id: &str| StoreError::Content(format!("a reservation or waitlist entry with the id {id:?}"));
    let reached = reached.map(|id| Uuid::try_parse(&id).map_err(|_| unreadable(&id))).transpose()?;
    if step.after == AfterKeeping::Delete && !(reservations.is_empty() && entries.is_empty()) {
        transaction.prepare_cached(KEPT_FROM)?.execute([step.before.to_string()])?;
    }
    if !reservations.is_empty() {
        reservations_go(transaction, step, &reservations)?;
    }
    if !entries.is_empty() {
        entries_go(transaction, step, &entries)?;
    }
    let (audit_records, more_audit) = audit(transaction, step, permit)?;
    let (reservations, waitlist_entries) = (reservations.len() as u64, entries.len() as u64);
    Ok(Stepped { reservations, waitlist_entries, audit_records, reached, more_audit })
}

fn candidates(transaction: &Transaction<'_>, step: &RetentionStep) -> Result<Candidates<String>, StoreError> {
    let [reservations, _, entries, _] = step.place.source.tables();
    let reservations = looked_at(transaction, step, reservations, RESERVATION_ENDED_AT)?;
    let entries = looked_at(transaction, step, entries, ENTRY_ENDED_AT)?;
    Ok(Candidates::of(reservations, entries, step.rows_max))
}

fn looked_at(
    transaction: &Transaction<'_>,
    step: &RetentionStep,
    table: &str,
    ended_at: &str,
) -> Result<LookedAt<String>, StoreError> {
    let select = format!(
        "SELECT id, coalesce({ended_at} < ?3, FALSE) FROM {table} WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?4"
    );
    let mut statement = transaction.prepare_cached(&select)?;
    let (behind, end) = (step.place.behind.to_string(), first_id(step.before).to_string());
    let asked = params![behind, end, step.before.to_string(), step.rows_max];
    let rows = statement.query_map(asked, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn reservations_go(transaction: &Transaction<'_>, step: &RetentionStep, ids: &[String]) -> Result<(), StoreError> {
    let [table, lines, ..] = step.place.source.tables();
    let [archive, archived_lines, ..] = Source::Archive.tables();
    let these = serde_json::to_string(ids).expect("a list of texts");
    match step.after {
        AfterKeeping::Archive => {
            for (from, to, id, columns) in
                [(table, archive, "id", RESERVATION_COLUMNS), (lines, archived_lines, "reservation_id", LINE_COLUMNS)]
            {
                let copy = format!("INSERT INTO {to} ({columns}) SELECT {columns} FROM {from} WHERE {id} IN {THESE}");
                transaction.prepare_cached(&copy)?.execute([&these])?;
            }
        }
        AfterKeeping::Delete => {
            for remember in remember_confirmed(step.place.source, &format!("IN {THESE}")) {
                transaction.prepare_cached(&remember)?.execute([&these])?;
            }
            let refused = format!("DELETE FROM refused_confirmations WHERE reservation_id IN {THESE}");
            transaction.prepare_cached(&refused)?.execute([&these])?;
        }
    }
    for (from, id) in [(lines, "reservation_id"), (table, "id")] {
        transaction.prepare_cached(&format!("DELETE FROM {from} WHERE {id} IN {THESE}"))?.execute([&these])?;
    }
    Ok(())
}

fn entries_go(transaction: &Transaction<'_>, step: &RetentionStep, ids: &[String]) -> Result<(), StoreError> {
    let ([_, _, table, _], [_, _, archive, _]) = (step.place.source.tables(), Source::Archive.tables());
    let these = serde_json::to_string(ids).expect("a list of texts");
    if step.after == AfterKeeping::Archive {
        let columns = ENTRY_COLUMNS;
        let copy = format!("INSERT INTO {archive} ({columns}) SELECT {columns} FROM {table} WHERE id IN {THESE}");
        transaction.prepare_cached(&copy)?.execute([&these])?;
    }
    transaction.prepare_cached(&format!("DELETE FROM {table} WHERE id IN {THESE}"))?.execute([&these])?;
    Ok(())
}

/// The trail's beginning: how many records went, and whether there may be more.
fn audit(
    transaction: &Transaction<'_>,
    step: &RetentionStep,
    permit: &mut TrailPermit<'_>,
) -> Result<(u64, bool), StoreError> {
    let [.., table] = step.place.source.tables();
    let before = step.before.to_string();
    let select = format!("SELECT {AUDIT_COLUMNS} FROM {table} ORDER BY sequence LIMIT ?1");
    let mut check = AuditCheck::over(permit.gaps.to_vec());
    let (mut last, mut count) = (None, 0);
    {
        let mut statement = transaction.prepare_cached(&select)?;
        let mut rows = statement.query([step.rows_max])?;
        while let Some(row) = rows.next()? {
            let row = audit_row(row)?;
            // What is not as it was written stays, for reconcile to tell.
            if row.at >= before || (step.after == AfterKeeping::Delete && check.row(&row).is_err()) {
                break;
            }
            (last, count) = (Some(row.sequence), count + 1);
        }
    }
    let Some(last) = last else { return Ok((0, false)) };
    match step.after {
        AfterKeeping::Archive => {
            let copy = format!(
                "INSERT INTO audit_archive ({AUDIT_COLUMNS}) SELECT {AUDIT_COLUMNS} FROM {table} WHERE sequence <= ?1"
            );
            transaction.prepare_cached(&copy)?.execute([last])?;
        }
        AfterKeeping::Delete => {
            let through = check.reached();
            (permit.begin_behind)(&through)?;
            let (sequence, hash) = (integer(through.sequence)?, through.hash.to_hex());
            transaction.prepare_cached("DELETE FROM audit_gaps WHERE through_sequence <= ?1")?.execute([sequence])?;
            transaction.prepare_cached(BEGINS_BEHIND)?.execute(params![sequence, hash.as_str()])?;
        }
    }
    transaction.prepare_cached(&format!("DELETE FROM {table} WHERE sequence <= ?1"))?.execute([last])?;
    Ok((count, count == u64::from(step.rows_max)))
}
