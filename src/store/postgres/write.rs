//! Writes a window's rows, in one transaction.
//!
//! Invariant: a statement changes exactly the expected number of rows, or the window fails. The store never hides a difference
//! from the journal.

mod catalogue;

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{erase, get, lines, link::Link, values::Moment, waitlist};
use crate::{
    sale::ids::ReservationId,
    store::{
        audit::AuditRow,
        error::StoreError,
        fold::{Erasures, Movement, Window},
        life::{ReservationChange, Told},
        names::Names,
        owner::Token,
        rows::{ChangedReservation, NewReservation, integer},
    },
};

/// What a transaction begins with. All of it ends with the transaction, as a pooler may give the next one to another
/// session:
/// - time limits on the server's side, for when this side is gone and nobody tells the server;
/// - `synchronous_commit`, where it was turned off: a cursor that was reported must stay, as the journal goes by it.
pub(super) fn begin(link: &Link) -> String {
    let millis = link.statement_time().as_millis().max(1);
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
         SET LOCAL statement_timeout = {millis};
         SET LOCAL lock_timeout = {millis};
         SET LOCAL idle_in_transaction_session_timeout = {millis};
         SET LOCAL client_min_messages = warning;
         SET LOCAL jit = off;
         SELECT set_config('synchronous_commit', 'on', true)
          WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )
}

const MOVE_CURSOR: &str = "
    UPDATE write_behind SET cursor = $2, updated_at = greatest(updated_at, $3)
     WHERE cursor = $1 AND owner = $4 AND owner_epoch = $5 AND session = $6";

const ADD_MOVEMENTS: &str = "
    COPY stock_movements (sale, sku, pool, delta, reason, reference, at, stock_after, available_after, other_pool,
                          reservation_id)
    FROM STDIN (FORMAT binary)";

const ADD_AUDIT: &str = "
    COPY audit (sequence, at, actor, action, sale, sku, detail, hash) FROM STDIN (FORMAT binary)";

const ADD_RESERVATIONS: &str = "
    COPY reservations (id, sale, customer, state, reference, created_at, expires_at, extensions, confirmed_at,
                       released_at, expired_at, cancelled_at, late, release_reason, cancel_reason, tier, channel,
                       region, labels, short, group_id, group_size, group_state, waitlist_entry)
    FROM STDIN (FORMAT binary)";

const ADD_REFUSED: &str = "
    COPY refused_confirmations (reservation_id, sale, at, reference, cause) FROM STDIN (FORMAT binary)";

/// Once for each session: made anew where a pooler gave this transaction another one. In its name is the format of the
/// schema, so that a session that an older program used is no trouble. It has no statistics: its rows are looked up one by
/// one, whatever is guessed of their number, and never by reading all reservations. Nothing is planned after this that would
/// be planned otherwise.
const MAKE_CHANGES: &str = "
    SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off;
    SET LOCAL enable_seqscan = off;
    CREATE TEMPORARY TABLE IF NOT EXISTS doorbuster_changes_5 (
      id uuid, found text, state text, reference text, expires_at timestamptz, extensions bigint,
      confirmed_at timestamptz, released_at timestamptz, expired_at timestamptz, cancelled_at timestamptz, late boolean,
      release_reason text, cancel_reason text, is_changed boolean, group_state text
    ) ON COMMIT DELETE ROWS";

const COPY_CHANGES: &str = "
    COPY pg_temp.doorbuster_changes_5 (id, found, state, reference, expires_at, extensions, confirmed_at, released_at,
                                       expired_at, cancelled_at, late, release_reason, cancel_reason, is_changed,
                                       group_state)
    FROM STDIN (FORMAT binary)";

const CHANGE_RESERVATIONS: &str = "
    UPDATE reservations AS reservation
       SET state = change.state, reference = coalesce(change.reference, reservation.reference),
           expires_at = coalesce(change.expires_at, reservation.expires_at),
           extensions = coalesce(change.extensions, reservation.extensions),
           confirmed_at = coalesce(change.confirmed_at, reservation.confirmed_at), released_at = change.released_at,
           expired_at = change.expired_at, cancelled_at = change.cancelled_at,
           late = coalesce(change.late, reservation.late), release_reason = change.release_reason,
           cancel_reason = coalesce(change.cancel_reason, reservation.cancel_reason),
           short = CASE WHEN change.is_changed THEN NULL ELSE reservation.short END,
           group_state = coalesce(change.group_state,
                                  CASE WHEN change.state = 'released' AND reservation.group_state = 'open' THEN 'left'
                                       ELSE reservation.group_state END)
      FROM pg_temp.doorbuster_changes_5 AS change
     WHERE reservation.id = change.id AND reservation.state = change.found";

/// One that the statement above did not touch: no row of this id was written by this transaction.
const UNCHANGED_RESERVATION: &str = "
    SELECT change.id, change.found
      FROM pg_temp.doorbuster_changes_5 AS change LEFT JOIN reservations AS reservation USING (id)
     WHERE reservation.id IS NULL OR reservation.xmin::text <> pg_current_xact_id()::xid::text
     ORDER BY change.id LIMIT 1";

/// Writes the window's rows and moves the cursor; says how many rows were touched. After an error the link is of no use.
pub(super) async fn window(link: &Link, names: &Names, window: &Window, token: &Token) -> Result<u64, StoreError> {
    let mut writer = Writer { link, names, rows: 0 };
    link.batch("beginning a transaction", &begin(link)).await?;
    // First, because a writer holds this row, and a process that lost the store finds out here.
    writer.move_cursor(window, token).await?;
    writer.sales(window).await?;
    // Before what is new: who comes back is a new customer.
    let erased = erase::customers(link, window).await?;
    writer.rows += erased.rows;
    writer.movements(window.movements(), &erased.erasures).await?;
    writer.audit(window.audit()).await?;
    writer.counts(window).await?;
    writer.refused(window, &erased.erasures).await?;
    writer.new_reservations(window).await?;
    writer.rows += lines::add_new(link, names, window).await?;
    writer.rows += waitlist::add_new(link, names, window).await?;
    writer.changes(window, &erased.erasures).await?;
    writer.rows += lines::change(link, names, window).await?;
    writer.rows += waitlist::change_old(link, window).await?;
    link.batch("COMMIT", "COMMIT").await?;
    Ok(writer.rows)
}

struct Writer<'a> {
    link: &'a Link,
    names: &'a Names,
    rows: u64,
}

impl Writer<'_> {
    async fn move_cursor(&mut self, window: &Window, token: &Token) -> Result<(), StoreError> {
        let (from, to, at) = (integer(window.after())?, integer(window.through())?, window.at().map(Moment));
        let epoch = integer(token.epoch)?;
        let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
            (&from, Type::INT8),
            (&to, Type::INT8),
            (&at, Type::TIMESTAMPTZ),
            (&token.owner, Type::UUID),
            (&epoch, Type::INT8),
            (&token.session, Type::UUID),
        ];
        match self.link.execute("moving the cursor", MOVE_CURSOR, &parameters).await? {
            1 => Ok(()),
            _ => Err(StoreError::CursorMoved { expected: window.after() }),
        }
    }

    async fn movements(&mut self, movements: &[Movement], erasures: &Erasures) -> Result<(), StoreError> {
        if movements.is_empty() {
            return Ok(());
        }
        const TYPES: [Type; 11] = [
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::INT8,
            Type::TEXT,
            Type::TEXT,
            Type::TIMESTAMPTZ,
            Type::INT8,
            Type::INT8,
            Type::TEXT,
            Type::UUID,
        ];
        let written = self.link.copy("copying movements", ADD_MOVEMENTS, &TYPES, async |mut copying| {
            for movement in movements {
                let (item, pool) = self.names.pool(movement.pool)?;
                let other = movement.other.map(|other| self.names.pool(other)).transpose()?;
                let erased_at = movement.reservation.and_then(|id| erasures.get(&id).copied());
                let row: [&(dyn ToSql + Sync); 11] = [
                    &&*item.sale,
                    &&*item.sku,
                    &pool,
                    &movement.delta,
                    &Told::unless_erased(movement.reason.as_ref(), erased_at),
                    &movement.reference.as_deref(),
                    &Moment(movement.at),
                    &integer(movement.after.stock)?,
                    &integer(movement.after.available)?,
                    &other.map(|(_, id)| id),
                    &movement.reservation.map(uuid_of),
                ];
                copying.row(&row).await?;
            }
            Ok::<_, StoreError>(())
        });
        self.rows += written.await?;
        Ok(())
    }

    async fn audit(&mut self, rows: &[AuditRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        const TYPES: [Type; 8] =
            [Type::INT8, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT];
        let written = self.link.copy("copying the audit trail", ADD_AUDIT, &TYPES, async |mut copying| {
            for row in rows {
                let AuditRow { sequence, at, actor, action, sale, sku, detail, hash } = row;
                copying.row(&[sequence, at, actor, action, sale, sku, detail, hash]).await?;
            }
            Ok::<_, StoreError>(())
        });
        self.rows += written.await.map_err(|error| contradicted("audit", error))?;
        Ok(())
    }

    /// Straight to where they belong: an id that is there already contradicts the journal, and is refused by the key.
    async fn new_reservations(&mut self, window: &Window) -> Result<(), StoreError> {
        if begun(window).next().is_none() {
            return Ok(());
        }
        const TYPES: [Type; 24] = [
            Type::UUID,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::INT8,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::BOOL,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::UUID,
            Type::INT8,
            Type::TEXT,
            Type::UUID,
        ];
        let written = self.link.copy("copying reservations", ADD_RESERVATIONS, &TYPES, async |mut copying| {
            for (id, change) in begun(window) {
                let begun = change.begun.as_ref().expect("only these are chosen");
                let row = NewReservation::of(self.names, id, begun, change)?;
                let row: [&(dyn ToSql + Sync); 24] = [
                    &uuid_of(*id),
                    &self.names.sale(begun.sale)?,
                    &row.customer,
                    &row.rest.state.as_str(),
                    &row.rest.reference,
                    &Moment(row.created_at),
                    &Moment(row.expires_at),
                    &i64::from(row.extensions),
                    &row.rest.confirmed_at.map(Moment),
                    &row.rest.released_at.map(Moment),
                    &row.rest.expired_at.map(Moment),
                    &row.rest.cancelled_at.map(Moment),
                    &row.rest.is_late.unwrap_or(false),
                    &row.rest.release_reason,
                    &row.rest.cancel_reason,
                    &row.tier,
                    &row.channel,
                    &row.region,
                    &row.labels,
                    &row.short,
                    &row.group.map(|(id, _)| uuid_of(id)),
                    &row.group.map(|(_, size)| i64::from(size)),
                    &row.rest.group_state,
                    &row.entry.map(uuid_of),
                ];
                copying.row(&row).await?;
            }
            Ok(())
        });
        self.rows += written.await.map_err(|error| contradicted("reservations", error))?;
        Ok(())
    }

    async fn refused(&mut self, window: &Window, erasures: &Erasures) -> Result<(), StoreError> {
        if window.refused().is_empty() {
            return Ok(());
        }
        const TYPES: [Type; 5] = [Type::UUID, Type::TEXT, Type::TIMESTAMPTZ, Type::TEXT, Type::TEXT];
        let written = self.link.copy("copying refused confirmations", ADD_REFUSED, &TYPES, async |mut copying| {
            for refused in window.refused() {
                let reference = Told::unless_erased(refused.reference.as_ref(), erasures.get(&refused.id).copied());
                let row: [&(dyn ToSql + Sync); 5] = [
                    &uuid_of(refused.id),
                    &self.names.sale(refused.sale)?,
                    &Moment(refused.at),
                    &reference,
                    &refused.cause.as_str(),
                ];
                copying.row(&row).await?;
            }
            Ok::<_, StoreError>(())
        });
        self.rows += written.await?;
        Ok(())
    }

    /// What began in an earlier window and changed in this one.
    async fn changes(&mut self, window: &Window, erasures: &Erasures) -> Result<(), StoreError> {
        if changed(window).next().is_none() {
            return Ok(());
        }
        const TYPES: [Type; 15] = [
            Type::UUID,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::TIMESTAMPTZ,
            Type::INT8,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::BOOL,
            Type::TEXT,
            Type::TEXT,
            Type::BOOL,
            Type::TEXT,
        ];
        self.link.batch("making the temporary table", MAKE_CHANGES).await?;
        let copied = self.link.copy("copying changes", COPY_CHANGES, &TYPES, async |mut copying| {
            for (id, change) in changed(window) {
                let row = ChangedReservation::of(change, erasures.get(id).copied());
                let row: [&(dyn ToSql + Sync); 15] = [
                    &uuid_of(*id),
                    &row.found.as_str(),
                    &row.state.as_str(),
                    &row.reference,
                    &row.expires_at.map(Moment),
                    &row.extensions.map(i64::from),
                    &row.confirmed_at.map(Moment),
                    &row.released_at.map(Moment),
                    &row.expired_at.map(Moment),
                    &row.cancelled_at.map(Moment),
                    &row.is_late,
                    &row.release_reason,
                    &row.cancel_reason,
                    &row.is_changed,
                    &row.group_state,
                ];
                copying.row(&row).await?;
            }
            Ok::<_, StoreError>(())
        });
        let copied = copied.await?;
        let touched = self.link.execute("changing reservations", CHANGE_RESERVATIONS, &[]).await;
        let touched = touched.map_err(|error| contradicted("reservations", error.into()))?;
        if touched != copied {
            let rows = self.link.query("looking for the reservation", UNCHANGED_RESERVATION, &[]).await?;
            let (id, found) = match rows.first() {
                Some(row) => (get::<Uuid>(row, 0)?.to_string(), get(row, 1)?),
                None => ("of some id".to_owned(), "what it was"),
            };
            let told = format!("reservation {id} changed, but it is missing or not {found}");
            return Err(StoreError::Contradiction(told));
        }
        self.rows += touched;
        Ok(())
    }

    fn touched(
        &mut self,
        rows: u64,
        expected: usize,
        contradiction: impl FnOnce() -> String,
    ) -> Result<(), StoreError> {
        if rows != expected as u64 {
            return Err(StoreError::Contradiction(contradiction()));
        }
        self.rows += rows;
        Ok(())
    }
}

pub(super) fn uuid_of(id: ReservationId) -> Uuid {
    Uuid::from_bytes(*id.bytes())
}

pub(super) fn begun(window: &Window) -> impl Iterator<Item = (&ReservationId, &ReservationChange)> {
    window.reservations().iter().filter(|(_, change)| change.begun.is_some())
}

fn changed(window: &Window) -> impl Iterator<Item = (&ReservationId, &ReservationChange)> {
    window.reservations().iter().filter(|(_, change)| change.begun.is_none())
}

/// A row that a constraint refused says that the store is not what the journal made it.
pub(super) fn contradicted(table: &'static str, error: StoreError) -> StoreError {
    match error {
        StoreError::Postgres(error) if error.is_constraint_of(table) => {
            StoreError::Contradiction(format!("{table}: {error}"))
        }
        error => error,
    }
}
