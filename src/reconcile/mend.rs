//! Putting right what the comparison found, as it finds it.
//!
//! Rows that memory knows are written anew, rows that it cannot know of are taken away. What only a row knew and memory has
//! forgotten cannot be made again: units confirmed there are counted in `items.confirmed_before`, movements are summed up in
//! one with the reason `reconciled`. Rows of the audit trail are never written: a changed one has to be found for ever.

use serde_json::{Value, json};

use crate::{
    sale::{audit::Head, catalogue::Sale, outcome::Status, time::Timestamp},
    store::{Counts, Mender, Step, StoreError, StoredItem, StoredReservation, StoredSale},
};

/// Rows that go to the store at once.
const ROWS_AT_ONCE: usize = 500;

/// What the comparison tells of. Without a mender it listens to nothing.
#[derive(Default)]
pub struct Mend<'a> {
    mender: Option<&'a mut dyn Mender>,
    waiting: Vec<Value>,
}

impl<'a> Mend<'a> {
    pub fn with(mender: &'a mut dyn Mender) -> Self {
        Self { mender: Some(mender), waiting: Vec::new() }
    }

    fn put(&mut self, step: Step, rows: Vec<Value>) -> Result<(), StoreError> {
        let Some(mender) = self.mender.as_deref_mut() else { return Ok(()) };
        for rows in rows.chunks(ROWS_AT_ONCE) {
            mender.put(step, &serde_json::to_string(rows).expect("values of JSON"))?;
        }
        Ok(())
    }

    /// Sales that are not what they should be, and ids of those that should not be there.
    pub fn sales(&mut self, wrong: &[(&Sale, StoredSale)], strangers: &[&String]) -> Result<(), StoreError> {
        // They may have the numbers of those that are missing.
        self.put(Step::RemoveSales, strangers.iter().map(|id| json!({ "id": id })).collect())?;
        self.put(Step::PutSales, wrong.iter().map(|(sale, row)| of_sale(sale, row)).collect())
    }

    pub fn items(
        &mut self,
        wrong: &[(&Sale, StoredItem, Counts)],
        strangers: &[(String, String)],
    ) -> Result<(), StoreError> {
        self.put(Step::RemoveItems, strangers.iter().map(|(sale, sku)| json!({ "sale": sale, "sku": sku })).collect())?;
        self.put(Step::PutItems, wrong.iter().map(|(sale, row, counts)| of_item(sale, row, counts)).collect())
    }

    pub fn reservation(&mut self, row: &StoredReservation) -> Result<(), StoreError> {
        if self.mender.is_some() {
            self.waiting.push(of_reservation(row));
            if self.waiting.len() >= ROWS_AT_ONCE {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.put(Step::PutReservations, waiting)
    }

    /// The last of the reservations: those that say they are held, and that nobody knows.
    pub fn strangers(&mut self, ids: &[String]) -> Result<(), StoreError> {
        self.flush()?;
        self.put(Step::RemoveReservations, ids.iter().map(|id| json!({ "id": id })).collect())
    }

    /// Makes the rows that are there now add up to what `truth` says of each item.
    pub fn sums(&mut self, truth: impl Fn(&str, &str) -> Option<(Timestamp, Counts)>) -> Result<(), StoreError> {
        let Some(mender) = self.mender.as_deref_mut() else { return Ok(()) };
        let (mut movements, mut confirmed) = (Vec::new(), Vec::new());
        for item in mender.totals()? {
            let Some((at, counts)) = truth(&item.sale, &item.sku) else { continue };
            let moved = counts.stock - item.recomputed.stock;
            if moved != 0 {
                movements.push(json!({
                    "sale": item.sale, "sku": item.sku, "delta": moved, "at": at.to_string(),
                    "stock": counts.stock, "available": counts.available,
                }));
            }
            let more = counts.confirmed - item.recomputed.confirmed;
            if more != 0 {
                confirmed.push(json!({ "sale": item.sale, "sku": item.sku, "delta": more }));
            }
        }
        self.put(Step::AddMovements, movements)?;
        self.put(Step::AddConfirmedBefore, confirmed)
    }

    /// The trail goes on behind `through`, and what lies between was never in this store.
    pub fn audit_gap(&mut self, after: &Head, through: &Head) -> Result<(), StoreError> {
        let gap =
            json!({ "after": after.sequence, "through": through.sequence, "hash": through.hash.to_hex().as_str() });
        self.put(Step::AddAuditGap, vec![gap])
    }
}

fn of_sale(sale: &Sale, row: &StoredSale) -> Value {
    // When it last changed is in its row alone. This is the least that its status allows.
    let (created_at, settings) = (sale.created_at, &sale.settings);
    let updated_at = match sale.announced() {
        Status::Scheduled => created_at,
        Status::Open | Status::Paused => created_at.max(settings.opens_at),
        Status::Closed if sale.is_closed() => created_at,
        Status::Closed => created_at.max(settings.closes_at),
    };
    json!({
        "id": row.id, "number": row.number, "name": row.name, "opens_at": row.opens_at, "closes_at": row.closes_at,
        "hold_seconds": row.hold_seconds, "max_extensions": row.max_extensions, "customer_limit": row.customer_limit,
        "paused": row.paused, "closed": row.closed, "created_at": created_at.to_string(),
        "updated_at": updated_at.to_string(),
    })
}

fn of_item(sale: &Sale, row: &StoredItem, counts: &Counts) -> Value {
    let (amount, currency) = row.price.clone().unzip();
    json!({
        "sale": row.sale, "sku": row.sku, "number": row.number, "initial_stock": row.initial_stock,
        "stock": counts.stock, "available": counts.available, "held": counts.held, "confirmed": counts.confirmed,
        "price_amount": amount, "price_currency": currency, "customer_limit": row.customer_limit,
        "at": sale.created_at.to_string(),
    })
}

fn of_reservation(row: &StoredReservation) -> Value {
    let lines: Vec<Value> = row
        .lines
        .iter()
        .map(|line| {
            let (amount, currency) = line.price.clone().unzip();
            json!({ "sku": line.sku, "quantity": line.quantity, "price_amount": amount, "price_currency": currency })
        })
        .collect();
    json!({
        "id": row.id, "sale": row.sale, "customer": row.customer, "state": row.state.as_str(), "reference": row.reference,
        "created_at": row.created_at, "expires_at": row.expires_at, "extensions": row.extensions,
        "confirmed_at": row.confirmed_at, "released_at": row.released_at, "expired_at": row.expired_at,
        "release_reason": row.release_reason, "lines": lines,
    })
}
