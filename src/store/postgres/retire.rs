//! Archives or deletes some rows past `store.keep_days`.

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{get, link::Link, read::audit_row, values::Moment, write};
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
    UPDATE write_behind SET cursor = cursor WHERE cursor = $1 AND owner = $2 AND owner_epoch = $3 AND session = $4";

const KEPT_FROM: &str = "UPDATE write_behind SET kept_from = greatest(kept_from, $1)";

/// The trail's beginning that is not here: the gaps that were in it are part of it.
const BEGINS_BEHIND: &str = "INSERT INTO audit_gaps (after_sequence, through_sequence, hash) VALUES (0, $1, $2)";

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

pub(super) async fn step(
    link: &Link,
    step: &RetentionStep,
    token: &Token,
    permit: &mut TrailPermit<'_>,
) -> Result<Stepped, StoreError> {
    link.batch("beginning a step of retention", &write::begin(link)).await?;
    let (cursor, epoch) = (integer(step.cursor)?, integer(token.epoch)?);
    let holding: [Parameter<'_>; 4] =
        [(&cursor, Type::INT8), (&token.owner, Type::UUID), (&epoch, Type::INT8), (&token.session, Type::UUID)];
    if link.execute("holding the cursor", HOLD, &holding).await? != 1 {
        return Err(StoreError::CursorMoved { expected: step.cursor });
    }
    let Candidates { reached, reservations, entries } = candidates(link, step).await?;
    if step.after == AfterKeeping::Delete && !(reservations.is_empty() && entries.is_empty()) {
        let before = Moment(step.before);
        link.execute("recording what is kept", KEPT_FROM, &[(&before, Type::TIMESTAMPTZ)]).await?;
    }
    if !reservations.is_empty() {
        reservations_go(link, step, &reservations).await?;
    }
    if !entries.is_empty() {
        entries_go(link, step, &entries).await?;
    }
    let (audit_records, more_audit) = audit(link, step, permit).await?;
    link.batch("ending a step of retention", "COMMIT").await?;
    let (reservations, waitlist_entries) = (reservations.len() as u64, entries.len() as u64);
    Ok(Stepped { reservations, waitlist_entries, audit_records, reached, more_audit })
}

async fn candidates(link: &Link, step: &RetentionStep) -> Result<Candidates<Uuid>, StoreError> {
    let [reservations, _, entries, _] = step.place.source.tables();
    let reservations = looked_at(link, step, reservations, RESERVATION_ENDED_AT).await?;
    let entries = looked_at(link, step, entries, ENTRY_ENDED_AT).await?;
    Ok(Candidates::of(reservations, entries, step.rows_max))
}

async fn looked_at(
    link: &Link,
    step: &RetentionStep,
    table: &str,
    ended_at: &str,
) -> Result<LookedAt<Uuid>, StoreError> {
    let select = format!(
        "SELECT id, coalesce({ended_at} < $3, FALSE) FROM {table} WHERE id > $1 AND id < $2 ORDER BY id LIMIT $4"
    );
    let (end, before, most) = (first_id(step.before), Moment(step.before), i64::from(step.rows_max));
    let asked: [Parameter<'_>; 4] =
        [(&step.place.behind, Type::UUID), (&end, Type::UUID), (&before, Type::TIMESTAMPTZ), (&most, Type::INT8)];
    let rows = link.query("finding rows past store.keep_days", &select, &asked).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

async fn reservations_go(link: &Link, step: &RetentionStep, ids: &[Uuid]) -> Result<(), StoreError> {
    let [table, lines, ..] = step.place.source.tables();
    let [archive, archived_lines, ..] = Source::Archive.tables();
    let these: [Parameter<'_>; 1] = [(&ids, Type::UUID_ARRAY)];
    match step.after {
        AfterKeeping::Archive => {
            for (from, to, id, columns) in
                [(table, archive, "id", RESERVATION_COLUMNS), (lines, archived_lines, "reservation_id", LINE_COLUMNS)]
            {
                let copy = format!("INSERT INTO {to} ({columns}) SELECT {columns} FROM {from} WHERE {id} = ANY ($1)");
                link.execute("archiving", &copy, &these).await?;
            }
        }
        AfterKeeping::Delete => {
            for remember in remember_confirmed(step.place.source, "= ANY ($1)") {
                link.execute("saving sums", &remember, &these).await?;
            }
            let refused = "DELETE FROM refused_confirmations WHERE reservation_id = ANY ($1)";
            link.execute("deleting refused confirmations", refused, &these).await?;
        }
    }
    for (from, id) in [(lines, "reservation_id"), (table, "id")] {
        link.execute("deleting", &format!("DELETE FROM {from} WHERE {id} = ANY ($1)"), &these).await?;
    }
    Ok(())
}

async fn entries_go(link: &Link, step: &RetentionStep, ids: &[Uuid]) -> Result<(), StoreError> {
    let ([_, _, table, _], [_, _, archive, _]) = (step.place.source.tables(), Source::Archive.tables());
    let these: [Parameter<'_>; 1] = [(&ids, Type::UUID_ARRAY)];
    if step.after == AfterKeeping::Archive {
        let columns = ENTRY_COLUMNS;
        let copy = format!("INSERT INTO {archive} ({columns}) SELECT {columns} FROM {table} WHERE id = ANY ($1)");
        link.execute("archiving waitlist entries", &copy, &these).await?;
    }
    link.execute("deleting waitlist entries", &format!("DELETE FROM {table} WHERE id = ANY ($1)"), &these).await?;
    Ok(())
}

/// The trail's beginning: how many records went, and whether there may be more.
async fn audit(link: &Link, step: &RetentionStep, permit: &mut TrailPermit<'_>) -> Result<(u64, bool), StoreError> {
    let [.., table] = step.place.source.tables();
    let (before, most) = (step.before.to_string(), i64::from(step.rows_max));
    let select = format!("SELECT {AUDIT_COLUMNS} FROM {table} ORDER BY sequence LIMIT $1");
    let mut check = AuditCheck::over(permit.gaps.to_vec());
    let (mut last, mut count) = (None, 0);
    for row in link.query("looking at the trail", &select, &[(&most, Type::INT8)]).await? {
        let row = audit_row(&row)?;
        // What is not as it was written stays, for reconcile to tell.
        if row.at >= before || (step.after == AfterKeeping::Delete && check.row(&row).is_err()) {
            break;
        }
        (last, count) = (Some(row.sequence), count + 1);
    }
    let Some(last) = last else { return Ok((0, false)) };
    let up_to: [Parameter<'_>; 1] = [(&last, Type::INT8)];
    match step.after {
        AfterKeeping::Archive => {
            let copy = format!(
                "INSERT INTO audit_archive ({AUDIT_COLUMNS}) SELECT {AUDIT_COLUMNS} FROM {table} WHERE sequence <= $1"
            );
            link.execute("archiving the trail", &copy, &up_to).await?;
        }
        AfterKeeping::Delete => {
            let through = check.reached();
            (permit.begin_behind)(&through)?;
            let (sequence, hash) = (integer(through.sequence)?, through.hash.to_hex().to_string());
            let within = "DELETE FROM audit_gaps WHERE through_sequence <= $1";
            link.execute("joining gaps of the trail", within, &[(&sequence, Type::INT8)]).await?;
            let begins: [Parameter<'_>; 2] = [(&sequence, Type::INT8), (&hash, Type::TEXT)];
            link.execute("recording where the trail begins", BEGINS_BEHIND, &begins).await?;
        }
    }
    link.execute("deleting of the trail", &format!("DELETE FROM {table} WHERE sequence <= $1"), &up_to).await?;
    Ok((count, count == u64::from(step.rows_max)))
}
