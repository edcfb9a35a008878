//! Writes a window's rows, inside a transaction that the caller commits.
//!
//! Invariant: a statement for one row changes exactly one row, or the window fails. The store never hides a difference from the
//! journal.

mod waitlist;

use std::fmt::Write as _;

use rusqlite::{
    CachedStatement, ErrorCode, ToSql, Transaction, params,
    types::{ToSqlOutput, ValueRef},
};

use super::{erase, lines, pace::Pace};
use crate::{
    clock::Runtime,
    sale::{
        event::record::Numbers,
        ids::{ItemNumber, PoolNumber, ReservationId, SaleNumber},
        settings::ItemSettings,
        time::Timestamp,
    },
    store::{
        audit::AuditRow,
        error::StoreError,
        fold::{CountChange, Definition, Erasures, Movement, SaleChange, Window},
        life::{Begun, ReservationChange, Told},
        lines::Line,
        names::{ItemName, Names},
        owner::Token,
        rows::{ChangedReservation, INITIAL, NewReservation, PoolRow, integer, price_columns},
    },
};

const PUT_SALE: &str = "
    INSERT INTO sales (id, number, name, opens_at, closes_at, hold_seconds, max_extensions, customer_limit,
                       created_at, updated_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT (id) DO UPDATE
       SET name = excluded.name, opens_at = excluded.opens_at, closes_at = excluded.closes_at,
           hold_seconds = excluded.hold_seconds, max_extensions = excluded.max_extensions,
           customer_limit = excluded.customer_limit, updated_at = excluded.updated_at
     WHERE number = excluded.number";

const TURN_SALE: &str = "
    UPDATE sales
       SET paused_at = CASE WHEN ?2 THEN ?3 ELSE paused_at END, closed_at = coalesce(closed_at, ?4), updated_at = ?5
     WHERE number = ?1";

const ADD_ITEM: &str = "
    INSERT INTO items (sale, sku, number, initial_stock, stock, available, held, confirmed, price_amount,
                       price_currency, customer_limit, low_stock_at)
    VALUES (?1, ?2, ?3, ?4, ?4, ?4, 0, 0, ?5, ?6, ?7, ?8)
    ON CONFLICT (sale, sku) DO NOTHING";

const PUT_ITEM: &str = "
    UPDATE items SET price_amount = ?4, price_currency = ?5, customer_limit = ?6, low_stock_at = ?7
     WHERE sale = ?1 AND sku = ?2 AND number = ?3";

const ADD_POOL: &str = "
    INSERT INTO pools (sale, sku, pool, number, position, location, initial_stock, stock, available, held, confirmed,
                       price_amount, price_currency, tiers, channels, shared_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?12, ?12, ?12, 0, 0, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT (sale, sku, pool) DO NOTHING";

const PUT_POOL: &str = "
    UPDATE pools SET position = ?5, location = ?6, price_amount = ?7, price_currency = ?8, tiers = ?9, channels = ?10,
                     shared_at = ?11
     WHERE sale = ?1 AND sku = ?2 AND pool = ?3 AND number = ?4";

const COUNT_ITEM: &str = "
    UPDATE items
       SET stock = stock + ?2, available = available + ?3, held = held + ?4, confirmed = confirmed + ?5,
           sold_out_at = coalesce(sold_out_at, CASE WHEN available = 0 THEN ?8 WHEN available + ?6 = 0 THEN ?7 END)
     WHERE number = ?1";

const COUNT_POOL: &str = "
    UPDATE pools
       SET stock = stock + ?2, available = available + ?3, held = held + ?4, confirmed = confirmed + ?5
     WHERE number = ?1";

const ADD_MOVEMENT: &str = "
    INSERT INTO stock_movements (sale, sku, pool, delta, reason, reference, at, stock_after, available_after, other_pool,
                                 reservation_id)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

/// OR FAIL: what a statement added before the row that fails stays until the transaction is rolled back, so SQLite keeps no
/// copy of each page to take the statement back alone.
const ADD_RESERVATION: &str = "
    INSERT OR FAIL INTO reservations (id, sale, customer, state, reference, created_at, expires_at, extensions, confirmed_at,
                              released_at, expired_at, cancelled_at, late, release_reason, cancel_reason, tier, channel,
                              region, labels, short, group_id, group_size, group_state, waitlist_entry)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)";

const CHANGE_RESERVATION: &str = "
    UPDATE reservations
       SET state = ?3, reference = coalesce(?4, reference), expires_at = coalesce(?5, expires_at),
           extensions = coalesce(?6, extensions), confirmed_at = coalesce(?7, confirmed_at), released_at = ?8,
           expired_at = ?9, cancelled_at = ?10, late = coalesce(?11, late), release_reason = ?12,
           cancel_reason = coalesce(?13, cancel_reason), short = CASE WHEN ?14 THEN NULL ELSE short END,
           group_state = coalesce(?15, CASE WHEN ?3 = 'released' AND group_state = 'open' THEN 'left' ELSE group_state END)
     WHERE id = ?1 AND state = ?2";

const ADD_REFUSED: &str = "
    INSERT INTO refused_confirmations (reservation_id, sale, at, reference, cause) VALUES (?1, ?2, ?3, ?4, ?5)";

const ADD_AUDIT: &str = "
    INSERT INTO audit (sequence, at, actor, action, sale, sku, detail, hash)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const MOVE_CURSOR: &str = "
    UPDATE write_behind SET cursor = ?2, updated_at = max(coalesce(updated_at, ''), coalesce(?3, updated_at))
     WHERE cursor = ?1 AND owner = ?4 AND owner_epoch = ?5 AND session = ?6";

pub(super) const TAKE_OVER: &str = "
    UPDATE write_behind SET owner = ?1, owner_epoch = ?2, session = ?3
     WHERE owner IS ?4 AND owner_epoch = ?5 AND session IS ?6 AND cursor = ?7";

/// Rows that one statement adds. Measured: 4.5 µs for a reservation and its line one by one, 3.4 with 16 or more of each at once.
const ROWS_AT_ONCE: usize = 16;

/// Writes the window's rows and moves the cursor; says how many rows were touched.
pub(super) fn window(
    transaction: &Transaction<'_>,
    names: &Names,
    window: &Window,
    token: &Token,
    runtime: &dyn Runtime,
) -> Result<u64, StoreError> {
    let mut writer = Writer { transaction, names, pace: Pace::of(window.at(), runtime), rows: 0, of_the_end: false };
    writer.window(window, token)?;
    Ok(writer.rows)
}

/// The same for a reference, without rests. `of_the_end`: rows from before the journal's beginning are not there.
pub(super) fn window_of_reference(
    transaction: &Transaction<'_>,
    names: &Names,
    window: &Window,
    token: &Token,
    of_the_end: bool,
) -> Result<(), StoreError> {
    Writer { transaction, names, pace: Pace::without_rests(), rows: 0, of_the_end }.window(window, token)
}

/// The window's sales, items and pools alone.
pub(super) fn catalogue_of_reference(
    transaction: &Transaction<'_>,
    names: &Names,
    window: &Window,
) -> Result<(), StoreError> {
    Writer { transaction, names, pace: Pace::without_rests(), rows: 0, of_the_end: true }.sales(window)
}

/// The window's reservations, their lines, and waitlist entries alone.
pub(super) fn customers_of_reference(
    transaction: &Transaction<'_>,
    names: &Names,
    window: &Window,
) -> Result<(), StoreError> {
    let mut writer = Writer { transaction, names, pace: Pace::without_rests(), rows: 0, of_the_end: true };
    writer.reservations(window, &Erasures::new())?;
    writer.new_lines(window)?;
    writer.entries(window)
}

struct Writer<'a> {
    transaction: &'a Transaction<'a>,
    names: &'a Names,
    pace: Pace<'a>,
    rows: u64,
    /// Of a reference that lacks what was before: changes of rows that are not there are passed over.
    of_the_end: bool,
}

impl Writer<'_> {
    fn window(&mut self, window: &Window, token: &Token) -> Result<(), StoreError> {
        // First, so that a second writer is found out before its work is done twice.
        self.move_cursor(window, token)?;
        self.sales(window)?;
        // Before what is new: a customer who comes back is a new one.
        let (erased, erasures) = erase::customers(self.transaction, window)?;
        self.rows += erased;
        self.movements(window.movements(), &erasures)?;
        self.audit(window.audit())?;
        self.counts(window)?;
        self.reservations(window, &erasures)?;
        self.new_lines(window)?;
        self.changed_lines(window)?;
        self.entries(window)?;
        self.refused(window, &erasures)
    }

    fn move_cursor(&mut self, window: &Window, token: &Token) -> Result<(), StoreError> {
        let mut statement = self.transaction.prepare_cached(MOVE_CURSOR)?;
        let (from, to, at) = (integer(window.after())?, integer(window.through())?, window.at().map(Moment::of));
        let (owner, session) = (token.owner.to_string(), token.session.to_string());
        let moved = statement.execute(params![from, to, at, owner, integer(token.epoch)?, session])?;
        if moved != 1 {
            return Err(StoreError::CursorMoved { expected: window.after() });
        }
        Ok(())
    }

    fn sales(&mut self, window: &Window) -> Result<(), StoreError> {
        for (&number, change) in window.sales() {
            if let Some(definition) = &change.definition {
                self.put_sale(number, definition, change.at)?;
                for (numbers, item) in definition.numbers.iter().zip(&definition.settings.items) {
                    self.put_item(&definition.settings.id, numbers, item)?;
                    for pool in PoolRow::of(numbers, item) {
                        let pool = pool?;
                        let listed_at = window.listed_at(pool.number).unwrap_or(change.at);
                        self.put_pool(&definition.settings.id, &item.sku, &pool, listed_at)?;
                    }
                }
            }
            self.turn_sale(number, change)?;
        }
        Ok(())
    }

    fn put_sale(&mut self, number: SaleNumber, definition: &Definition, at: Timestamp) -> Result<(), StoreError> {
        let Definition { settings, created_at, .. } = definition;
        let mut statement = self.transaction.prepare_cached(PUT_SALE)?;
        let touched = statement.execute(params![
            settings.id,
            number.0,
            settings.name,
            Moment::of(settings.opens_at),
            Moment::of(settings.closes_at),
            integer(settings.hold_seconds)?,
            settings.max_extensions,
            settings.customer_limit,
            Moment::of(*created_at),
            Moment::of(at),
        ])?;
        self.touched(touched, || format!("sale {:?} has another number than {}", settings.id, number.0))
    }

    fn turn_sale(&mut self, number: SaleNumber, change: &SaleChange) -> Result<(), StoreError> {
        let mut statement = self.transaction.prepare_cached(TURN_SALE)?;
        let (said, paused_at) = (change.paused_at.is_some(), change.paused_at.flatten().map(Moment::of));
        let closed_at = change.closed_at.map(Moment::of);
        let touched = statement.execute(params![number.0, said, paused_at, closed_at, Moment::of(change.at)])?;
        self.touched(touched, || format!("an event names sale number {}, never defined", number.0))
    }

    fn put_item(&mut self, sale: &str, numbers: &Numbers, settings: &ItemSettings) -> Result<(), StoreError> {
        let (ItemSettings { sku, customer_limit, .. }, number) = (settings, numbers.item.0);
        let (amount, currency) = price_columns(&settings.price)?;
        let (initial, low) = (integer(settings.initial_stock)?, settings.low_stock_at.map(integer).transpose()?);
        let mut add = self.transaction.prepare_cached(ADD_ITEM)?;
        if add.execute(params![sale, sku, number, initial, amount, currency, customer_limit, low])? == 1 {
            self.rows += 1;
            return Ok(());
        }
        let mut put = self.transaction.prepare_cached(PUT_ITEM)?;
        let touched = put.execute(params![sale, sku, number, amount, currency, customer_limit, low])?;
        self.touched(touched, || format!("item {sku:?} of sale {sale:?} has another number than {number}"))
    }

    fn put_pool(&mut self, sale: &str, sku: &str, pool: &PoolRow<'_>, listed_at: Timestamp) -> Result<(), StoreError> {
        let PoolRow { number, id, position, location, initial_stock, price, tiers, channels, shared_at } = pool;
        let (amount, currency) = price_columns(price)?;
        let shared_at = shared_at.map(Moment::of);
        let columns =
            params![sale, sku, id, number.0, position, location, amount, currency, tiers, channels, shared_at];
        let with_stock = [columns, params![initial_stock]].concat();
        if self.transaction.prepare_cached(ADD_POOL)?.execute(&*with_stock)? == 1 {
            let mut add = self.transaction.prepare_cached(ADD_MOVEMENT)?;
            let (none, at) = (None::<&str>, Moment::of(listed_at));
            let (stock, lone) = (initial_stock, none);
            add.execute(params![sale, sku, id, stock, INITIAL, none, at, stock, stock, none, lone])?;
            self.rows += 2;
            return Ok(());
        }
        let touched = self.transaction.prepare_cached(PUT_POOL)?.execute(columns)?;
        self.touched(touched, || {
            format!("pool {id:?} of {sku:?} of sale {sale:?} has another number than {}", number.0)
        })
    }

    fn movements(&mut self, movements: &[Movement], erasures: &Erasures) -> Result<(), StoreError> {
        let mut statement = self.transaction.prepare_cached(ADD_MOVEMENT)?;
        for movement in movements {
            let (item, pool) = self.names.pool(movement.pool)?;
            let other = movement.other.map(|other| self.names.pool(other)).transpose()?;
            let erased_at = movement.reservation.and_then(|id| erasures.get(&id).copied());
            self.rows += statement.execute(params![
                item.sale,
                item.sku,
                pool,
                movement.delta,
                Told::unless_erased(movement.reason.as_ref(), erased_at),
                movement.reference,
                Moment::of(movement.at),
                integer(movement.after.stock)?,
                integer(movement.after.available)?,
                other.map(|(_, id)| id),
                movement.reservation.map(|id| id.to_string()),
            ])? as u64;
        }
        Ok(())
    }

    fn audit(&mut self, rows: &[AuditRow]) -> Result<(), StoreError> {
        let mut statement = self.transaction.prepare_cached(ADD_AUDIT)?;
        for row in rows {
            let AuditRow { sequence, at, actor, action, sale, sku, detail, hash } = row;
            let added = statement
                .execute(params![sequence, at, actor, action, sale, sku, detail, hash])
                .map_err(|error| contradicted(&format_args!("audit record {sequence}"), error))?;
            self.rows += added as u64;
        }
        Ok(())
    }

    fn counts(&mut self, window: &Window) -> Result<(), StoreError> {
        let mut statement = self.transaction.prepare_cached(COUNT_ITEM)?;
        for (number, change, level) in window.counted_items() {
            let CountChange { stock, available, held, confirmed } = *change;
            let (low_at, back_at) = (level.low_at().map(Moment::of), level.back_at().map(Moment::of));
            let touched = statement
                .execute(params![number.0, stock, available, held, confirmed, level.low(), low_at, back_at])
                .map_err(|error| {
                    self.names.item(number).map_or_else(|unknown| unknown, |item| conservation(item, "", change, error))
                })?;
            self.touched(touched, || format!("an event names item number {}, never defined", number.0))?;
        }
        let mut statement = self.transaction.prepare_cached(COUNT_POOL)?;
        for (number, change) in window.counted_pools() {
            let CountChange { stock, available, held, confirmed } = *change;
            let touched = statement.execute(params![number.0, stock, available, held, confirmed]).map_err(|error| {
                self.names.pool(number).map_or_else(
                    |unknown| unknown,
                    |(item, id)| conservation(item, &format!("pool {id}: "), change, error),
                )
            })?;
            self.touched(touched, || format!("an event names pool number {}, never defined", number.0))?;
        }
        Ok(())
    }

    fn reservations(&mut self, window: &Window, erasures: &Erasures) -> Result<(), StoreError> {
        let begun = window.reservations().iter().filter_map(|(id, change)| Some((id, change.begun.as_ref()?, change)));
        self.add(ADD_RESERVATION, begun, |(id, ..)| format!("reservation {id}"), put_reservation)?;
        let mut change_one = self.transaction.prepare_cached(CHANGE_RESERVATION)?;
        for (id, change) in window.reservations().iter().filter(|(_, change)| change.begun.is_none()) {
            let row = ChangedReservation::of(change, erasures.get(id).copied());
            let touched = update(&mut change_one, id, &row)
                .map_err(|error| contradicted(&format_args!("reservation {id}"), error))?;
            self.touched(touched, || {
                format!("reservation {id} changed, but it is missing or not {}", row.found.as_str())
            })?;
            self.pace.rest_if_due();
        }
        Ok(())
    }

    /// After all reservations, so that each tree grows in one go.
    fn new_lines(&mut self, window: &Window) -> Result<(), StoreError> {
        let begun = window.reservations().iter().filter_map(|(id, change)| Some((id, change.begun.as_ref()?)));
        let lines = begun.flat_map(|(id, begun)| (1..).zip(&begun.lines).map(move |(number, line)| (id, number, line)));
        self.add(lines::ADD, lines, |(id, number, _)| format!("line {number} of reservation {id}"), put_line)
    }

    /// Lines of reservations from before the window, of which some units moved.
    fn changed_lines(&mut self, window: &Window) -> Result<(), StoreError> {
        for (id, change) in window.reservations().iter().filter(|(_, change)| !change.lines.is_empty()) {
            self.rows += lines::change(self.transaction, self.names, id, &change.lines, self.of_the_end)?;
            self.pace.rest_if_due();
        }
        Ok(())
    }

    fn refused(&mut self, window: &Window, erasures: &Erasures) -> Result<(), StoreError> {
        let mut statement = self.transaction.prepare_cached(ADD_REFUSED)?;
        for refused in window.refused() {
            self.rows += statement.execute(params![
                refused.id.to_string(),
                self.names.sale(refused.sale)?,
                Moment::of(refused.at),
                Told::unless_erased(refused.reference.as_ref(), erasures.get(&refused.id).copied()),
                refused.cause.as_str(),
            ])? as u64;
        }
        Ok(())
    }

    /// Adds rows to one table, many by one statement: it keeps its place at the end of the tree, where they all belong.
    fn add<R>(
        &mut self,
        sql: &str,
        mut rows: impl Iterator<Item = R>,
        name: impl Fn(&R) -> String,
        put: impl Fn(&mut Row<'_, '_>, &Names, &R) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut one = self.transaction.prepare_cached(sql)?;
        let mut many = None;
        let mut some = Vec::with_capacity(ROWS_AT_ONCE);
        loop {
            some.clear();
            some.extend(rows.by_ref().take(ROWS_AT_ONCE));
            if some.len() < ROWS_AT_ONCE {
                return some.chunks(1).try_for_each(|row| self.execute(&mut one, row, &name, &put));
            }
            let many = match &mut many {
                Some(many) => many,
                none => none.insert(self.transaction.prepare_cached(&of_many_rows(sql, one.parameter_count()))?),
            };
            self.execute(many, &some, &name, &put)?;
            self.pace.rest_if_due();
        }
    }

    /// Adds the rows, as many as the statement is for.
    fn execute<R>(
        &mut self,
        statement: &mut CachedStatement<'_>,
        rows: &[R],
        name: impl Fn(&R) -> String,
        put: impl Fn(&mut Row<'_, '_>, &Names, &R) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut row = Row { statement: &mut *statement, next: 1 };
        rows.iter().try_for_each(|it| put(&mut row, self.names, it))?;
        let added = statement.raw_execute().map_err(|error| {
            // After a broken constraint: the rows before the one that failed were added, and counted. After any other error,
            // such as a table that is gone, nothing ran, and the count is that of another statement.
            let failed = rows.get(self.transaction.changes() as usize).unwrap_or(&rows[0]);
            contradicted(&name(failed), error)
        })?;
        self.rows += added as u64;
        Ok(())
    }

    fn touched(&mut self, rows: usize, contradiction: impl FnOnce() -> String) -> Result<(), StoreError> {
        if rows != 1 && !self.of_the_end {
            return Err(StoreError::Contradiction(contradiction()));
        }
        self.rows += 1;
        Ok(())
    }
}

/// Names the item whose counts the database refused. `which`: of what of it they are.
fn conservation(item: &ItemName, which: &str, change: &CountChange, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => StoreError::Conservation {
            sale: item.sale.to_string(),
            sku: item.sku.to_string(),
            detail: format!(
                "{which}{error}, on adding {} to stock, {} to available, {} to held, {} to confirmed",
                change.stock, change.available, change.held, change.confirmed
            ),
        },
        _ => error.into(),
    }
}

/// The statement for many rows that the one for a row, whose text ends with its values, stands for.
fn of_many_rows(sql: &str, columns: usize) -> String {
    let mut many = sql.to_owned();
    for row in 1..ROWS_AT_ONCE {
        for column in 1..=columns {
            let lead = if column == 1 { ", (" } else { ", " };
            let _ = write!(many, "{lead}?{}", row * columns + column);
        }
        many.push(')');
    }
    many
}

/// Where the values of a row go, in the order of the statement's columns.
struct Row<'a, 'b> {
    statement: &'a mut CachedStatement<'b>,
    next: usize,
}

impl Row<'_, '_> {
    fn put(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }
}

type Begins<'a> = (&'a ReservationId, &'a Begun, &'a ReservationChange);
type NumberedLine<'a> = (&'a ReservationId, u32, &'a Line<(ItemNumber, PoolNumber)>);

fn put_reservation(row: &mut Row<'_, '_>, names: &Names, (id, begun, change): &Begins<'_>) -> Result<(), StoreError> {
    let new = NewReservation::of(names, id, begun, change)?;
    row.put(id.encode(&mut [0; 36]))?;
    row.put(names.sale(begun.sale)?)?;
    row.put(new.customer)?;
    row.put(new.rest.state.as_str())?;
    row.put(new.rest.reference)?;
    row.put(Moment::of(new.created_at))?;
    row.put(Moment::of(new.expires_at))?;
    row.put(new.extensions)?;
    row.put(new.rest.confirmed_at.map(Moment::of))?;
    row.put(new.rest.released_at.map(Moment::of))?;
    row.put(new.rest.expired_at.map(Moment::of))?;
    row.put(new.rest.cancelled_at.map(Moment::of))?;
    row.put(new.rest.is_late.unwrap_or(false))?;
    row.put(new.rest.release_reason)?;
    row.put(new.rest.cancel_reason)?;
    row.put(new.tier)?;
    row.put(new.channel)?;
    row.put(new.region)?;
    row.put(new.labels)?;
    row.put(new.short)?;
    row.put(new.group.map(|(id, _)| id.to_string()))?;
    row.put(new.group.map(|(_, size)| size))?;
    row.put(new.rest.group_state)?;
    row.put(new.entry.map(|entry| entry.to_string()))?;
    Ok(())
}

fn put_line(row: &mut Row<'_, '_>, names: &Names, (id, number, line): &NumberedLine<'_>) -> Result<(), StoreError> {
    let (amount, currency) = price_columns(&line.price)?;
    let (item, pool) = names.pool(line.pool.1)?;
    row.put(id.encode(&mut [0; 36]))?;
    row.put(number)?;
    row.put(&*item.sku)?;
    row.put(pool)?;
    row.put(line.quantity)?;
    row.put(line.returned)?;
    row.put(line.cancelled)?;
    row.put(amount)?;
    row.put(currency)?;
    Ok(())
}

fn update(
    statement: &mut CachedStatement<'_>,
    id: &ReservationId,
    row: &ChangedReservation<'_>,
) -> rusqlite::Result<usize> {
    statement.execute(params![
        id.encode(&mut [0; 36]),
        row.found.as_str(),
        row.state.as_str(),
        row.reference,
        row.expires_at.map(Moment::of),
        row.extensions,
        row.confirmed_at.map(Moment::of),
        row.released_at.map(Moment::of),
        row.expired_at.map(Moment::of),
        row.cancelled_at.map(Moment::of),
        row.is_late,
        row.release_reason,
        row.cancel_reason,
        row.is_changed,
        row.group_state,
    ])
}

/// A time as a column holds it: RFC 3339, on the stack, since every row has two of them.
#[derive(Clone, Copy)]
struct Moment([u8; 24]);

impl Moment {
    fn of(at: Timestamp) -> Self {
        let mut text = [0; 24];
        at.encode(&mut text);
        Self(text)
    }
}

impl ToSql for Moment {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(&self.0)))
    }
}

/// Names what the database refused the row of.
fn contradicted(what: &dyn std::fmt::Display, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => StoreError::Contradiction(format!("{what}: {error}")),
        _ => error.into(),
    }
}
