//! Writes waitlist entries: new ones, and those of which something changed.

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{
    get,
    link::Link,
    values::Moment,
    write::{contradicted, uuid_of},
};
use crate::{
    sale::outcome::WaitState,
    store::{
        error::StoreError,
        fold::Window,
        names::Names,
        rows::integer,
        waitlist::{ChangedEntry, NewEntry},
    },
};

const ADD: &str = "
    COPY waitlist_entries (id, sale, customer, state, place, lines, reference, joined_at, expires_at, ended_at, reservation_id,
                           passed_over_at, passed_over_code, tier, channel, region, labels, locations)
    FROM STDIN (FORMAT binary)";

/// Rows are looked up one by one, and never by reading all entries, nor the index of all that wait: for that it is an array that says in
/// which state they are found.
const LOOK_UP: &str = "
    SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off;
    SET LOCAL enable_seqscan = off";

const CHANGES: &str = "
      unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[])
        AS change (id, state, ended_at, reservation_id, passed_over_at, passed_over_code, found)";

fn change() -> String {
    format!(
        "UPDATE waitlist_entries AS entry
            SET state = change.state, ended_at = change.ended_at, reservation_id = change.reservation_id,
                passed_over_at = coalesce(change.passed_over_at, entry.passed_over_at),
                passed_over_code = coalesce(change.passed_over_code, entry.passed_over_code)
           FROM {CHANGES}
          WHERE entry.id = change.id AND entry.state = change.found"
    )
}

/// One that the statement above did not touch: no row of this id was written by this transaction.
fn unchanged() -> String {
    format!(
        "SELECT change.id
           FROM {CHANGES} LEFT JOIN waitlist_entries AS entry USING (id)
          WHERE entry.id IS NULL OR entry.xmin::text <> pg_current_xact_id()::xid::text
          ORDER BY change.id LIMIT 1"
    )
}

/// Entries that began in the window. Says how many rows it wrote.
pub(super) async fn add_new(link: &Link, names: &Names, window: &Window) -> Result<u64, StoreError> {
    let joined = window.entries().iter().filter_map(|(id, change)| Some((id, change.joined.as_ref()?, change)));
    if joined.clone().next().is_none() {
        return Ok(0);
    }
    const TYPES: [Type; 18] = [
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::INT8,
        Type::TEXT,
        Type::TEXT,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::UUID,
        Type::TIMESTAMPTZ,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
    ];
    let written = link.copy("copying waitlist entries", ADD, &TYPES, async |mut copying| {
        for (id, waiter, change) in joined {
            let new = NewEntry::of(names, id, waiter, change)?;
            let row: [&(dyn ToSql + Sync); 18] = [
                &uuid_of(*id),
                &names.sale(waiter.sale)?,
                &new.customer,
                &new.rest.state.as_str(),
                &integer(new.place)?,
                &new.lines,
                &new.reference,
                &Moment(new.joined_at),
                &Moment(new.expires_at),
                &new.rest.ended_at.map(Moment),
                &new.rest.reservation.map(uuid_of),
                &new.rest.passed_over_at.map(Moment),
                &new.rest.passed_over_code,
                &new.tier,
                &new.channel,
                &new.region,
                &new.labels,
                &new.locations,
            ];
            copying.row(&row).await?;
        }
        Ok(())
    });
    written.await.map_err(|error| contradicted("waitlist_entries", error))
}

/// What began in an earlier window and changed in this one.
pub(super) async fn change_old(link: &Link, window: &Window) -> Result<u64, StoreError> {
    let mut columns = Columns::default();
    for (id, change) in window.entries().iter().filter(|(_, change)| change.joined.is_none()) {
        columns.push(uuid_of(*id), &ChangedEntry::of(change));
    }
    if columns.ids.is_empty() {
        return Ok(0);
    }
    link.batch("beginning to change waitlist entries", LOOK_UP).await?;
    let touched = link.execute("changing waitlist entries", &change(), &columns.parameters()).await;
    let touched = touched.map_err(|error| contradicted("waitlist_entries", error.into()))?;
    if touched != columns.ids.len() as u64 {
        let rows = link.query("looking for the waitlist entry", &unchanged(), &columns.parameters()).await?;
        let id = match rows.first() {
            Some(row) => get::<Uuid>(row, 0)?.to_string(),
            None => "of some id".to_owned(),
        };
        let told = format!("waitlist entry {id} changed, but it is missing or not waiting");
        return Err(StoreError::Contradiction(told));
    }
    Ok(touched)
}

/// Changes of entries, as arrays.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    states: Vec<&'static str>,
    ended: Vec<Option<Moment>>,
    reservations: Vec<Option<Uuid>>,
    passed_over: Vec<Option<Moment>>,
    codes: Vec<Option<&'static str>>,
    found: Vec<&'static str>,
}

impl Columns {
    fn push(&mut self, id: Uuid, row: &ChangedEntry) {
        self.ids.push(id);
        self.states.push(row.state.as_str());
        self.ended.push(row.ended_at.map(Moment));
        self.reservations.push(row.reservation.map(uuid_of));
        self.passed_over.push(row.passed_over_at.map(Moment));
        self.codes.push(row.passed_over_code);
        self.found.push(WaitState::Waiting.as_str());
    }

    fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 7] {
        [
            (&self.ids, Type::UUID_ARRAY),
            (&self.states, Type::TEXT_ARRAY),
            (&self.ended, Type::TIMESTAMPTZ_ARRAY),
            (&self.reservations, Type::UUID_ARRAY),
            (&self.passed_over, Type::TIMESTAMPTZ_ARRAY),
            (&self.codes, Type::TEXT_ARRAY),
            (&self.found, Type::TEXT_ARRAY),
        ]
    }
}
