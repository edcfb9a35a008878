//! Reading the database, for checks and tools.

use std::{
    cell::RefCell,
    sync::{Arc, atomic::AtomicBool},
};

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    Driver, get,
    link::{Link, Patience, PostgresSettings},
    schema,
    values::Moment,
};
use crate::{
    sale::{audit::Broken, ids::ReservationId},
    store::{
        audit::{AuditCheck, AuditRow},
        error::StoreError,
        reader::{
            COUNT_BY_STATE, ItemTotals, StateCounts, StoreReader, StoredLine, StoredReservation, TOTALS, parse_state,
        },
        rows::natural,
    },
};

/// Looks into a database and never writes it. Not for use within a tokio runtime: it has one of its own.
pub struct PostgresReader {
    runtime: Driver,
    link: RefCell<Option<Link>>,
}

impl PostgresReader {
    pub fn open(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let runtime = Driver::new()?;
        let link = runtime.block_on(async {
            let patience = Arc::new(Patience::new(Arc::new(AtomicBool::new(false)), settings.drain_time));
            let link = Link::open(settings, patience).await?;
            match schema::check(&link, &settings.url.to_string()).await? {
                schema::FORMAT => Ok(link),
                older => {
                    Err(StoreError::Content(format!("format {older}; the service brings it to {}", schema::FORMAT)))
                }
            }
        })?;
        Ok(Self { runtime, link: RefCell::new(Some(link)) })
    }

    fn with<T>(&self, ask: impl AsyncFnOnce(&Link) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let link = self.link.borrow();
        self.runtime.block_on(ask(link.as_ref().expect("there until it is dropped")))
    }
}

impl Drop for PostgresReader {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.runtime.block_on(link.close());
        }
    }
}

impl StoreReader for PostgresReader {
    fn cursor(&self) -> Result<u64, StoreError> {
        self.with(async |link| {
            let rows = link.query("reading the cursor", "SELECT cursor FROM write_behind", &[]).await?;
            let row = rows.first().ok_or_else(|| StoreError::Content("no row in write_behind".to_owned()))?;
            natural("a cursor", get(row, 0)?)
        })
    }

    fn totals(&self) -> Result<Vec<ItemTotals>, StoreError> {
        self.with(async |link| {
            let rows = link.query("adding up", TOTALS, &[]).await?;
            let total = |row: &tokio_postgres::Row| {
                let mut columns = [0; 7];
                for (index, column) in columns.iter_mut().enumerate() {
                    *column = get(row, index + 2)?;
                }
                Ok(ItemTotals::of(get(row, 0)?, get(row, 1)?, columns))
            };
            rows.iter().map(total).collect()
        })
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
        self.with(async |link| {
            let id = Uuid::from_bytes(*id.bytes());
            // One transaction: the lines belong to the row.
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
            link.batch("beginning to read", begin).await?;
            let found = link.query("reading a reservation", RESERVATION, &[(&id, Type::UUID)]).await?;
            let lines = link.query("reading its lines", LINES, &[(&id, Type::UUID)]).await?;
            link.batch("ending to read", "COMMIT").await?;
            found.first().map(|row| reservation(&id, row, &lines)).transpose()
        })
    }

    fn check_audit(&self) -> Result<Result<AuditCheck, Broken>, StoreError> {
        self.with(async |link| {
            link.batch("beginning to read", AUDIT).await?;
            let checked = walk(link).await;
            link.batch("ending to read", "ROLLBACK").await?;
            checked
        })
    }
}

/// As of one moment, and by a cursor: by their numbers, rows that share one could be passed over.
const AUDIT: &str = "
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    DECLARE trail NO SCROLL CURSOR FOR
     SELECT sequence, at, actor, action, sale, sku, detail, hash FROM audit ORDER BY sequence";

/// The trail is as long as the service is old: it is never in memory as a whole.
const NEXT_RECORDS: &str = if cfg!(test) { "FETCH 4 FROM trail" } else { "FETCH 10000 FROM trail" };

async fn walk(link: &Link) -> Result<Result<AuditCheck, Broken>, StoreError> {
    let mut check = AuditCheck::new();
    loop {
        let rows = link.query("reading the audit trail", NEXT_RECORDS, &[]).await?;
        if rows.is_empty() {
            return Ok(Ok(check));
        }
        for row in &rows {
            if let Err(broken) = check.row(&audit_row(row)?) {
                return Ok(Err(broken));
            }
        }
    }
}

fn audit_row(row: &tokio_postgres::Row) -> Result<AuditRow, StoreError> {
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

const RESERVATION: &str = "
    SELECT sale, customer, state, reference, created_at, expires_at, extensions, confirmed_at, released_at, expired_at,
           release_reason
      FROM reservations WHERE id = $1";

const LINES: &str = "
    SELECT sku, quantity, price_amount, price_currency FROM reservation_lines WHERE reservation_id = $1 ORDER BY sku";

fn reservation(
    id: &Uuid,
    row: &tokio_postgres::Row,
    lines: &[tokio_postgres::Row],
) -> Result<StoredReservation, StoreError> {
    let small =
        |what: &str, number: i64| u32::try_from(number).map_err(|_| StoreError::Content(format!("{what} of {number}")));
    let moment = |column| get::<Moment>(row, column).map(|moment| moment.0.to_string());
    let end = |column| get::<Option<Moment>>(row, column).map(|moment| moment.map(|moment| moment.0.to_string()));
    let line = |row: &tokio_postgres::Row| {
        let (amount, currency): (Option<i64>, Option<String>) = (get(row, 2)?, get(row, 3)?);
        let quantity = small("a quantity", get(row, 1)?)?;
        Ok(StoredLine { sku: get(row, 0)?, quantity, price: amount.zip(currency) })
    };
    Ok(StoredReservation {
        id: id.to_string(),
        sale: get(row, 0)?,
        customer: get(row, 1)?,
        state: parse_state(get(row, 2)?)?,
        reference: get(row, 3)?,
        created_at: moment(4)?,
        expires_at: moment(5)?,
        extensions: small("extensions", get(row, 6)?)?,
        confirmed_at: end(7)?,
        released_at: end(8)?,
        expired_at: end(9)?,
        release_reason: get(row, 10)?,
        lines: lines.iter().map(line).collect::<Result<_, StoreError>>()?,
    })
}
