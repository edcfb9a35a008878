//! Reads a PostgreSQL store, for checks and tools.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};
use uuid::Uuid;

use super::{
    Driver, PostgresError, get,
    link::{Link, Patience, PostgresSettings},
    schema, standing,
    values::Moment,
};
use crate::{
    clock::monotonic,
    sale::{audit::Broken, ids::ReservationId},
    store::{
        audit::{AuditCheck, AuditGap, AuditRow},
        error::StoreError,
        groups::By,
        owner::Standing,
        reader::{
            AUDIT, AUDIT_GAPS, COUNT_BY_STATE, EachRow, ITEMS, SALES, StateCounts, StoreReader, StoredItem, StoredLine,
            StoredReservation, StoredSale, TOTALS, Totals, parse_state,
        },
        report::{self, Cells, SaleReport},
        rows::{natural, small},
        tables::{Dialect, Table},
        trail::{self, TrailAsk, TrailPage},
    },
};

/// Looks into a database and never writes it. Not for use within a tokio runtime: it has one of its own.
pub struct PostgresReader {
    runtime: Driver,
    link: RefCell<Option<Link>>,
    /// Within a transaction that sees one moment.
    still: Cell<bool>,
}

impl PostgresReader {
    pub fn open(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let runtime = Driver::new()?;
        let link = runtime.block_on(async {
            let patience = Arc::new(Patience::new(Arc::new(AtomicBool::new(false)), settings.drain_time));
            let link = Link::open(settings, patience).await?;
            match schema::check(&link, &settings.url.to_string()).await {
                // A repair makes the cursor's row again, should somebody have deleted it.
                Ok(true) | Err(StoreError::NoCursor) => Ok(link),
                Ok(false) => Err(StoreError::Lost { what: "the store has no tables".to_owned() }),
                Err(error) => Err(error),
            }
        })?;
        Ok(Self { runtime, link: RefCell::new(Some(link)), still: Cell::new(false) })
    }

    fn with<T>(&self, ask: impl AsyncFnOnce(&Link) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let link = self.link.borrow();
        self.runtime.block_on(ask(link.as_ref().expect("there until it is dropped")))
    }

    /// As `at_one_moment`, for this long at most; after that the reader is of no more use.
    fn at_one_moment_within<T>(
        &self,
        limit: Duration,
        ask: impl AsyncFnOnce(&Link) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.at_one_moment(async |link| {
            let in_time = tokio::time::timeout(limit, ask(link)).await;
            in_time.unwrap_or_else(|_| Err(PostgresError::TimedOut { what: "a report", limit }.into()))
        })
    }

    /// All that is asked is of one moment: the one that this reader stands still at, or one for this alone.
    fn at_one_moment<T>(&self, ask: impl AsyncFnOnce(&Link) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.with(async |link| {
            if self.still.get() {
                return ask(link).await;
            }
            link.batch("beginning to read", BEGIN).await?;
            let answer = ask(link).await?;
            link.batch("ending to read", "ROLLBACK").await?;
            Ok(answer)
        })
    }
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

impl Drop for PostgresReader {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.runtime.block_on(link.close());
        }
    }
}

impl Cells for Row {
    fn integer(&self, column: usize) -> Result<Option<i64>, StoreError> {
        get(self, column)
    }

    fn real(&self, column: usize) -> Result<Option<f64>, StoreError> {
        get(self, column)
    }

    fn text(&self, column: usize) -> Result<Option<String>, StoreError> {
        get(self, column)
    }

    fn time(&self, column: usize) -> Result<Option<String>, StoreError> {
        Ok(get::<Option<Moment>>(self, column)?.map(|moment| moment.0.to_string()))
    }
}

impl StoreReader for PostgresReader {
    fn hold_still(&self) -> Result<(), StoreError> {
        self.with(async |link| {
            link.batch("beginning to read", BEGIN).await?;
            // The first read is what fixes the moment.
            standing_of(link).await
        })?;
        self.still.set(true);
        Ok(())
    }

    fn standing(&self) -> Result<Standing, StoreError> {
        self.with(standing_of)
    }

    fn sales(&self) -> Result<Vec<StoredSale>, StoreError> {
        let sale = |row: &tokio_postgres::Row| {
            Ok(StoredSale {
                id: get(row, 0)?,
                number: get(row, 1)?,
                name: get(row, 2)?,
                opens_at: get::<Moment>(row, 3)?.0.to_string(),
                closes_at: get::<Moment>(row, 4)?.0.to_string(),
                hold_seconds: get(row, 5)?,
                max_extensions: get(row, 6)?,
                customer_limit: get(row, 7)?,
                paused: get(row, 8)?,
                closed: get(row, 9)?,
            })
        };
        self.with(async |link| link.query("reading the sales", SALES, &[]).await?.iter().map(sale).collect())
    }

    fn items(&self) -> Result<Vec<StoredItem>, StoreError> {
        let item = |row: &tokio_postgres::Row| {
            Ok(StoredItem {
                sale: get(row, 0)?,
                sku: get(row, 1)?,
                number: get(row, 2)?,
                initial_stock: get(row, 3)?,
                price: get::<Option<i64>>(row, 4)?.zip(get(row, 5)?),
                customer_limit: get(row, 6)?,
                low_stock_at: get(row, 7)?,
            })
        };
        self.with(async |link| link.query("reading the items", ITEMS, &[]).await?.iter().map(item).collect())
    }

    fn totals(&self) -> Result<Vec<Totals>, StoreError> {
        self.with(totals)
    }

    fn count_by_state(&self) -> Result<StateCounts, StoreError> {
        self.with(async |link| {
            let mut counts = StateCounts::default();
            for row in link.query("counting", COUNT_BY_STATE, &[]).await? {
                counts.add(get(&row, 0)?, get(&row, 1)?)?;
            }
            Ok(counts)
        })
    }

    fn reservation(&self, id: &ReservationId) -> Result<Option<StoredReservation>, StoreError> {
        Ok(self.at_one_moment(async |link| reservations(link, &[*id]).await)?.pop())
    }

    fn reservations(&self, ids: &[ReservationId]) -> Result<Vec<StoredReservation>, StoreError> {
        self.at_one_moment(async |link| reservations(link, ids).await)
    }

    fn held(&self, each: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
        self.at_one_moment(async |link| {
            each_row(link, "SELECT id FROM reservations WHERE state = 'held'", |row| {
                each(&get::<Uuid>(row, 0)?.to_string());
                Ok::<_, StoreError>(())
            })
            .await?
        })
    }

    fn report(&mut self, sale: &str, by: Option<&By>, deadline: Instant) -> Result<Option<SaleReport>, StoreError> {
        let limit = deadline.saturating_duration_since(monotonic());
        self.at_one_moment_within(limit, async |link| {
            // Should this side be gone, the server ends it too.
            let millis = limit.as_millis().max(1);
            link.batch("beginning a report", &format!("SET LOCAL statement_timeout = {millis}; SET LOCAL jit = off"))
                .await?;
            let of_sale: [(&(dyn ToSql + Sync), Type); 1] = [(&sale, Type::TEXT)];
            let head = link.query("beginning a report", report::HEAD, &of_sale).await?;
            let Some(head) = head.first() else { return Ok(None) };
            let mut found = SaleReport::begin(head, by)?;
            let rows = link.query("reporting on items", report::OF_ITEMS, &of_sale).await?;
            rows.iter().try_for_each(|row| found.item(row))?;
            let rows = link.query("reporting on reservations", report::OF_RESERVATIONS, &of_sale).await?;
            rows.iter().try_for_each(|row| found.state(row))?;
            let rows = link.query("reporting on refused confirmations", report::OF_REFUSED, &of_sale).await?;
            rows.iter().try_for_each(|row| found.refused(row))?;
            let rows = link.query("reporting on the waitlist", report::OF_WAITLIST, &of_sale).await?;
            rows.iter().try_for_each(|row| found.waited(row))?;
            let rows = link.query("reporting on group deals", report::OF_GROUP_DEALS, &of_sale).await?;
            rows.iter().try_for_each(|row| found.group_deals(row))?;
            let rows = link.query("reporting on minutes", report::OF_MINUTES, &of_sale).await?;
            rows.iter().try_for_each(|row| found.minute(row))?;
            let rows = link.query("reporting on revenue", report::OF_REVENUE, &of_sale).await?;
            rows.iter().try_for_each(|row| found.revenue(row))?;
            if let Some(by) = by {
                let rows = link.query("reporting on groups", &by.select(Dialect::Postgres), &of_sale).await?;
                rows.iter().try_for_each(|row| found.group(row))?;
            }
            Ok(Some(found.finish()))
        })
    }

    fn trail(&mut self, ask: &TrailAsk, deadline: Instant) -> Result<TrailPage, StoreError> {
        let was_still = self.still.get();
        if !was_still {
            self.hold_still()?;
        }
        let head = self.with(async |link| {
            let rows = link.query("beginning a page of the audit trail", trail::HEAD, &[]).await?;
            let head = rows.first().ok_or(StoreError::NoCursor)?;
            Ok((natural("a cursor", get(head, 0)?)?, head.time(1)?))
        })?;
        let page = trail::read(ask, head, deadline, |statement, before, sale| {
            self.with(async |link| {
                let both: [(&(dyn ToSql + Sync), Type); 2] = [(&before, Type::INT8), (&sale, Type::TEXT)];
                let parameters = &both[..if sale.is_some() { 2 } else { 1 }];
                let rows = link.query("reading the audit trail", statement, parameters).await?;
                rows.iter().map(audit_row).collect()
            })
        })?;
        if !was_still {
            self.with(async |link| Ok(link.batch("ending to read", "ROLLBACK").await?))?;
            self.still.set(false);
        }
        Ok(page)
    }

    fn check_audit(&self, gaps: &[AuditGap]) -> Result<Result<AuditCheck, Broken>, StoreError> {
        self.at_one_moment(async |link| {
            let mut check = AuditCheck::over(gaps.to_vec());
            let walked = each_row(link, AUDIT, |row| check.row(&audit_row(row)?).map_err(Stop::Broken)).await?;
            match walked {
                Ok(()) => Ok(Ok(check)),
                Err(Stop::Broken(broken)) => Ok(Err(broken)),
                Err(Stop::Store(error)) => Err(error),
            }
        })
    }

    fn rows(&self, table: Table, each: EachRow<'_>) -> Result<(), StoreError> {
        let columns = table.cells().len();
        let is_still = self.still.get();
        self.with(async |link| {
            if !is_still {
                link.batch("beginning to read", BEGIN).await?;
            }
            let walk = format!("DECLARE walk NO SCROLL CURSOR FOR {}", table.select(Dialect::Postgres));
            Ok(link.batch("beginning to walk", &walk).await?)
        })?;
        // What is done with a row may wait for the database as well, by a connection of its own: not while this one is waited for.
        loop {
            let page = self.with(async |link| {
                let rows = link.query("walking", NEXT_ROWS, &[]).await?;
                let cells = |row| (0..columns).map(|index| get(row, index)).collect::<Result<Vec<_>, _>>();
                rows.iter().map(cells).collect::<Result<Vec<_>, StoreError>>()
            })?;
            if page.is_empty() {
                break;
            }
            page.iter().try_for_each(|cells| each(cells))?;
        }
        self.with(async |link| {
            Ok(link.batch("ending to walk", if is_still { "CLOSE walk" } else { "ROLLBACK" }).await?)
        })
    }

    fn audit_gaps(&self) -> Result<Vec<(i64, i64, String)>, StoreError> {
        self.with(async |link| {
            let rows = link.query("reading the gaps of the audit trail", AUDIT_GAPS, &[]).await?;
            rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?))).collect()
        })
    }
}

async fn standing_of(link: &Link) -> Result<Standing, StoreError> {
    match standing(link).await {
        Err(StoreError::NoCursor) => Ok(Standing::nowhere()),
        found => found,
    }
}

/// Why the walk over the trail ended early.
enum Stop {
    Broken(Broken),
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A table may be as long as the service is old: it is never in memory as a whole.
const NEXT_ROWS: &str = if cfg!(test) { "FETCH 4 FROM walk" } else { "FETCH 10000 FROM walk" };

/// Every row of a query, within a transaction. By a cursor, and not by numbers: rows that share one could be passed over.
async fn each_row<E>(
    link: &Link,
    query: &str,
    mut each: impl FnMut(&tokio_postgres::Row) -> Result<(), E>,
) -> Result<Result<(), E>, StoreError> {
    link.batch("beginning to walk", &format!("DECLARE walk NO SCROLL CURSOR FOR {query}")).await?;
    let walked = loop {
        let rows = link.query("walking", NEXT_ROWS, &[]).await?;
        if let Err(error) = rows.iter().try_for_each(&mut each) {
            break Err(error);
        }
        if rows.is_empty() {
            break Ok(());
        }
    };
    link.batch("ending to walk", "CLOSE walk").await?;
    Ok(walked)
}

pub(super) fn audit_row(row: &tokio_postgres::Row) -> Result<AuditRow, StoreError> {
    // What somebody put in the place of a text that must be there does not pass for what was.
    let given = |column| get::<Option<String>>(row, column).map(Option::unwrap_or_default);
    Ok(AuditRow {
        sequence: get(row, 0)?,
        at: given(1)?,
        actor: given(2)?,
        action: given(3)?,
        sale: get(row, 4)?,
        sku: get(row, 5)?,
        detail: given(6)?,
        hash: given(7)?,
    })
}

const RESERVATIONS: &str = "
    SELECT id, sale, customer, state, reference, created_at, expires_at, extensions, confirmed_at, released_at,
           expired_at, release_reason, tier, channel, region, labels, short, cancelled_at, late, cancel_reason,
           group_id, group_size, group_state, waitlist_entry
      FROM reservations WHERE id = ANY ($1)";

const LINES: &str = "
    SELECT reservation_id, sku, quantity, price_amount, price_currency, pool, returned, cancelled
      FROM reservation_lines WHERE reservation_id = ANY ($1) ORDER BY reservation_id, line";

pub(super) async fn totals(link: &Link) -> Result<Vec<Totals>, StoreError> {
    let rows = link.query("adding up", TOTALS, &[]).await?;
    let total = |row: &tokio_postgres::Row| {
        let mut columns = [0; 7];
        for (index, column) in columns.iter_mut().enumerate() {
            *column = get(row, index + 3)?;
        }
        Ok(Totals::of([get(row, 0)?, get(row, 1)?], get(row, 2)?, columns))
    };
    rows.iter().map(total).collect()
}

async fn reservations(link: &Link, ids: &[ReservationId]) -> Result<Vec<StoredReservation>, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| Uuid::from_bytes(*id.bytes())).collect();
    let found = link.query("reading reservations", RESERVATIONS, &[(&ids, Type::UUID_ARRAY)]).await?;
    let mut lines: HashMap<Uuid, Vec<StoredLine>> = HashMap::with_capacity(found.len());
    for row in link.query("reading their lines", LINES, &[(&ids, Type::UUID_ARRAY)]).await? {
        lines.entry(get(&row, 0)?).or_default().push(line(&row)?);
    }
    let reservation = |row| {
        let id: Uuid = get(row, 0)?;
        reservation(id, row, lines.remove(&id).unwrap_or_default())
    };
    found.iter().map(reservation).collect()
}

fn line(row: &tokio_postgres::Row) -> Result<StoredLine, StoreError> {
    let (amount, currency): (Option<i64>, Option<String>) = (get(row, 3)?, get(row, 4)?);
    Ok(StoredLine {
        sku: get(row, 1)?,
        pool: get(row, 5)?,
        quantity: small("a quantity", get(row, 2)?)?,
        returned: small("returned units", get(row, 6)?)?,
        cancelled: small("cancelled units", get(row, 7)?)?,
        price: amount.zip(currency),
    })
}

fn reservation(id: Uuid, row: &tokio_postgres::Row, lines: Vec<StoredLine>) -> Result<StoredReservation, StoreError> {
    let moment = |column| get::<Moment>(row, column).map(|moment| moment.0.to_string());
    let end = |column| get::<Option<Moment>>(row, column).map(|moment| moment.map(|moment| moment.0.to_string()));
    Ok(StoredReservation {
        id: id.to_string(),
        sale: get(row, 1)?,
        customer: get(row, 2)?,
        state: parse_state(get(row, 3)?)?,
        reference: get(row, 4)?,
        created_at: moment(5)?,
        expires_at: moment(6)?,
        extensions: small("extensions", get(row, 7)?)?,
        confirmed_at: end(8)?,
        released_at: end(9)?,
        expired_at: end(10)?,
        cancelled_at: end(17)?,
        late: get(row, 18)?,
        release_reason: get(row, 11)?,
        cancel_reason: get(row, 19)?,
        tier: get(row, 12)?,
        channel: get(row, 13)?,
        region: get(row, 14)?,
        labels: get(row, 15)?,
        short: get(row, 16)?,
        group_id: get::<Option<Uuid>>(row, 20)?.map(|id| id.to_string()),
        group_size: get(row, 21)?,
        group_state: get(row, 22)?,
        waitlist_entry: get::<Option<Uuid>>(row, 23)?.map(|entry| entry.to_string()),
        lines,
    })
}
