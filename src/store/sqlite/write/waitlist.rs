//! Writes waitlist entries: new ones, and those of which something changed.

use super::*;
use crate::{
    sale::ids::EntryId,
    store::waitlist::{ChangedEntry, EntryChange, NewEntry, Waiter},
};

const ADD: &str = "
    INSERT OR FAIL INTO waitlist_entries (id, sale, customer, state, place, lines, reference, joined_at, expires_at, ended_at,
                                          reservation_id, passed_over_at, passed_over_code, tier, channel, region,
                                          labels, locations)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

const CHANGE: &str = "
    UPDATE waitlist_entries
       SET state = ?2, ended_at = ?3, reservation_id = ?4, passed_over_at = coalesce(?5, passed_over_at),
           passed_over_code = coalesce(?6, passed_over_code)
     WHERE id = ?1 AND state = 'waiting'";

impl Writer<'_> {
    pub(super) fn entries(&mut self, window: &Window) -> Result<(), StoreError> {
        let joined = window.entries().iter().filter_map(|(id, change)| Some((id, change.joined.as_ref()?, change)));
        self.add(ADD, joined, |(id, ..)| format!("waitlist entry {id}"), put)?;
        let mut change_one = self.transaction.prepare_cached(CHANGE)?;
        for (id, change) in window.entries().iter().filter(|(_, change)| change.joined.is_none()) {
            let row = ChangedEntry::of(change);
            let reservation = row.reservation.map(|reservation| reservation.to_string());
            let (ended_at, passed_over_at) = (row.ended_at.map(Moment::of), row.passed_over_at.map(Moment::of));
            let touched = change_one
                .execute(params![
                    id.encode(&mut [0; 36]),
                    row.state.as_str(),
                    ended_at,
                    reservation,
                    passed_over_at,
                    row.passed_over_code,
                ])
                .map_err(|error| contradicted(&format_args!("waitlist entry {id}"), error))?;
            self.touched(touched, || format!("waitlist entry {id} changed, but it is missing or not waiting"))?;
            self.pace.rest_if_due();
        }
        Ok(())
    }
}

type Joins<'a> = (&'a EntryId, &'a Waiter, &'a EntryChange);

fn put(row: &mut Row<'_, '_>, names: &Names, (id, waiter, change): &Joins<'_>) -> Result<(), StoreError> {
    let new = NewEntry::of(names, id, waiter, change)?;
    row.put(id.encode(&mut [0; 36]))?;
    row.put(names.sale(waiter.sale)?)?;
    row.put(new.customer)?;
    row.put(new.rest.state.as_str())?;
    row.put(integer(new.place)?)?;
    row.put(new.lines)?;
    row.put(new.reference)?;
    row.put(Moment::of(new.joined_at))?;
    row.put(Moment::of(new.expires_at))?;
    row.put(new.rest.ended_at.map(Moment::of))?;
    row.put(new.rest.reservation.map(|reservation| reservation.to_string()))?;
    row.put(new.rest.passed_over_at.map(Moment::of))?;
    row.put(new.rest.passed_over_code)?;
    row.put(new.tier)?;
    row.put(new.channel)?;
    row.put(new.region)?;
    row.put(new.labels)?;
    row.put(new.locations)?;
    Ok(())
}
