//! Row by row: what the state says, and what the store says.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
};

use uuid::Uuid;

use super::{
    mend::Mend,
    report::{Difference, Report},
};
use crate::{
    engine::{self, Engine},
    sale::{
        audit::{Broken, Head},
        ids::{BUCKETS, Bucket, ReservationId},
        outcome::State,
    },
    store::{Counts, Standing, StoreError, StoreReader, StoredItem, StoredReservation, StoredSale, Window},
};

/// Reservations that are looked up in the store at once.
const LOOK_UP: usize = 500;

pub struct Comparison<'a> {
    engine: &'a Engine,
    reader: &'a dyn StoreReader,
    mend: Mend<'a>,
    report: Report,
    /// Ids of all reservations that are held, by the journal.
    held: Vec<[u8; 16]>,
    /// The store is brought further than it was: what of the audit trail it does not have, it never had.
    brought_on: bool,
}

impl<'a> Comparison<'a> {
    pub fn new(engine: &'a Engine, reader: &'a dyn StoreReader) -> Self {
        let (mend, report) = (Mend::default(), Report::default());
        Self { engine, reader, mend, report, held: Vec::new(), brought_on: false }
    }

    /// What differs is put right. `brought_on`: the state is later than the store was.
    pub fn mending(mut self, mend: Mend<'a>, brought_on: bool) -> Self {
        (self.mend, self.brought_on) = (mend, brought_on);
        self
    }

    /// The state is that of `epoch`.
    pub fn run(mut self, epoch: u64, owner: Option<Uuid>, standing: &Standing) -> Result<Report, StoreError> {
        self.report.epoch = epoch;
        let held_by = standing.held_by.map(|token| token.owner);
        // A store that nobody took yet is nobody's.
        if held_by.is_some() && held_by != owner {
            self.differs("write_behind", "", "owner", owner, held_by);
        }
        self.sales()?;
        self.items()?;
        self.reservations()?;
        self.held()?;
        self.sums()?;
        self.audit()?;
        Ok(self.report)
    }

    fn differs(
        &mut self,
        table: &'static str,
        key: &str,
        column: &'static str,
        journal: Option<impl Display>,
        store: Option<impl Display>,
    ) {
        let text = |value: Option<&dyn Display>| value.map(ToString::to_string);
        self.report.note(Difference {
            table,
            key: key.to_owned(),
            column,
            journal: text(journal.as_ref().map(|value| value as &dyn Display)),
            store: text(store.as_ref().map(|value| value as &dyn Display)),
        });
    }

    /// A row that only one side has.
    fn lone(&mut self, table: &'static str, key: &str, in_journal: bool) {
        let there = |is_there: bool| is_there.then_some("there");
        self.differs(table, key, "", there(in_journal), there(!in_journal));
    }

    fn columns<const COLUMNS: usize>(
        &mut self,
        table: &'static str,
        key: &str,
        journal: [(&'static str, Option<String>); COLUMNS],
        store: [(&'static str, Option<String>); COLUMNS],
    ) {
        for ((column, journal), (_, store)) in journal.into_iter().zip(store) {
            if journal != store {
                self.differs(table, key, column, journal, store);
            }
        }
    }

    fn sales(&mut self) -> Result<(), StoreError> {
        let mut stored: BTreeMap<String, StoredSale> =
            self.reader.sales()?.into_iter().map(|sale| (sale.id.clone(), sale)).collect();
        let catalogue = self.engine.catalogue();
        let mut wrong = Vec::new();
        for sale in catalogue.sales() {
            self.report.compared.sales += 1;
            let expected = StoredSale::of(sale);
            let found = stored.remove(&expected.id);
            if found.as_ref() == Some(&expected) {
                continue;
            }
            match found {
                None => self.lone("sales", &expected.id, true),
                Some(found) => self.columns("sales", &expected.id, of_sale(&expected), of_sale(&found)),
            }
            wrong.push((&**sale, expected));
        }
        stored.keys().for_each(|id| self.lone("sales", id, false));
        self.mend.sales(&wrong, &stored.keys().collect::<Vec<_>>())
    }

    fn items(&mut self) -> Result<(), StoreError> {
        let mut rows: BTreeMap<(String, String), StoredItem> = BTreeMap::new();
        for item in self.reader.items()? {
            rows.insert((item.sale.clone(), item.sku.clone()), item);
        }
        let mut totals: HashMap<(String, String), (Counts, Counts)> = HashMap::with_capacity(rows.len());
        for item in self.reader.totals()? {
            totals.insert((item.sale, item.sku), (item.stored, item.recomputed));
        }
        let (catalogue, counts) = (self.engine.catalogue(), self.engine.stock());
        let mut wrong = Vec::new();
        for sale in catalogue.sales() {
            for item in &*sale.items {
                self.report.compared.items += 1;
                let expected = StoredItem::of(sale, item);
                let truth = counts_of(counts[item.number.index()]);
                let key = (expected.sale.clone(), expected.sku.clone());
                let shown = format!("{}/{}", key.0, key.1);
                if let (Some(found), Some((stored, recomputed))) = (rows.remove(&key), totals.get(&key)) {
                    self.columns("items", &shown, of_item(&expected), of_item(&found));
                    self.columns("items", &shown, of_counts(&truth), of_counts(stored));
                    self.columns("sums of rows", &shown, of_counts(&truth), of_counts(recomputed));
                    if found == expected && *stored == truth {
                        continue;
                    }
                } else {
                    self.lone("items", &shown, true);
                }
                wrong.push((&**sale, expected, truth));
            }
        }
        rows.keys().for_each(|(sale, sku)| self.lone("items", &format!("{sale}/{sku}"), false));
        self.mend.items(&wrong, &rows.into_keys().collect::<Vec<_>>())
    }

    /// Once all rows are right that can be: what they still do not add up to.
    fn sums(&mut self) -> Result<(), StoreError> {
        let (catalogue, counts) = (self.engine.catalogue(), self.engine.stock());
        self.mend.sums(|sale, sku| {
            let sale = catalogue.sale(sale).ok()?;
            let item = sale.items.iter().find(|item| item.settings.sku == sku)?;
            Some((sale.created_at, counts_of(counts[item.number.index()])))
        })
    }

    fn reservations(&mut self) -> Result<(), StoreError> {
        let catalogue = self.engine.catalogue();
        let mut expected = Vec::with_capacity(LOOK_UP);
        for bucket in (0..BUCKETS).filter_map(Bucket::from_index) {
            // What memory holds, through the same fold as everything that the store ever took.
            let mut window = Window::starting_after(0);
            let mut folded = Ok(());
            self.engine.retell(bucket, |event| {
                if folded.is_ok() {
                    folded = window.event(event.clone());
                }
            });
            folded.map_err(|source| StoreError::Batch { epoch: self.report.epoch, source })?;
            for (id, change) in window.reservations() {
                let Some(row) = StoredReservation::of(id, change, &catalogue) else { continue };
                if row.state == State::Held {
                    self.held.push(*id.bytes());
                }
                expected.push((*id, row));
                if expected.len() == LOOK_UP {
                    self.look_up(&mut expected)?;
                }
            }
        }
        self.look_up(&mut expected)
    }

    fn look_up(&mut self, expected: &mut Vec<(ReservationId, StoredReservation)>) -> Result<(), StoreError> {
        let ids: Vec<ReservationId> = expected.iter().map(|(id, _)| *id).collect();
        let mut stored: HashMap<String, StoredReservation> =
            self.reader.reservations(&ids)?.into_iter().map(|row| (row.id.clone(), row)).collect();
        for (_, mut row) in expected.drain(..) {
            self.report.compared.reservations += 1;
            let Some(found) = stored.remove(&row.id) else {
                self.lone("reservations", &row.id, true);
                self.mend.reservation(&row)?;
                continue;
            };
            // Told in the event, and kept in the store alone.
            row.release_reason.clone_from(&found.release_reason);
            if row != found {
                self.columns("reservations", &row.id, of_reservation(&row), of_reservation(&found));
                self.mend.reservation(&row)?;
            }
        }
        Ok(())
    }

    /// Rows that say "held" of what the service knows as something else were told before: here are those that it does not know.
    fn held(&mut self) -> Result<(), StoreError> {
        self.held.sort_unstable();
        self.report.compared.held = self.held.len() as u64;
        let mut strangers = Vec::new();
        let (held, engine) = (&self.held, self.engine);
        self.reader.held(&mut |text| {
            let id = ReservationId::parse(text);
            let known = id.is_some_and(|id| held.binary_search(id.bytes()).is_ok() || engine.sale_of(id).is_some());
            if !known {
                strangers.push(text.to_owned());
            }
        })?;
        strangers.iter().for_each(|id| self.lone("reservations", id, false));
        self.mend.strangers(&strangers)
    }

    fn audit(&mut self) -> Result<(), StoreError> {
        let own: Head = self.engine.audit_head().value;
        self.report.compared.audit_records = own.sequence;
        let mut walked = self.reader.check_audit()?;
        if let Ok(check) = &walked
            && self.brought_on
            && check.reached().sequence < own.sequence
        {
            self.mend.audit_gap(&check.reached(), &own)?;
        }
        let ended = walked.as_mut().map_err(|broken| broken.clone()).and_then(|check| check.end(&own));
        self.report.compared.audit_records_elsewhere = walked.map_or(0, |check| check.passed_over());
        if let Err(broken) = ended {
            let key = match &broken {
                Broken::Foreign { number } => number.clone(),
                Broken::Missing { first, .. } => first.to_string(),
                Broken::Changed { sequence } | Broken::Rewritten { sequence } => sequence.to_string(),
            };
            self.differs("audit", &key, "", Some(format!("{} records", own.sequence)), Some(broken));
        }
        Ok(())
    }
}

fn counts_of((stock, of): (u64, engine::Counts)) -> Counts {
    let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
    Counts {
        stock: signed(stock),
        available: signed(of.available),
        held: signed(of.held),
        confirmed: signed(of.confirmed),
    }
}

fn text(value: &impl ToString) -> Option<String> {
    Some(value.to_string())
}

fn maybe(value: Option<&impl ToString>) -> Option<String> {
    value.map(ToString::to_string)
}

fn price(price: &Option<(i64, String)>) -> Option<String> {
    price.as_ref().map(|(amount, currency)| format!("{amount} {currency}"))
}

fn of_sale(sale: &StoredSale) -> [(&'static str, Option<String>); 9] {
    [
        ("number", text(&sale.number)),
        ("name", text(&sale.name)),
        ("opens_at", text(&sale.opens_at)),
        ("closes_at", text(&sale.closes_at)),
        ("hold_seconds", text(&sale.hold_seconds)),
        ("max_extensions", maybe(sale.max_extensions.as_ref())),
        ("customer_limit", maybe(sale.customer_limit.as_ref())),
        ("paused", text(&sale.paused)),
        ("closed", text(&sale.closed)),
    ]
}

fn of_item(item: &StoredItem) -> [(&'static str, Option<String>); 4] {
    [
        ("number", text(&item.number)),
        ("initial_stock", text(&item.initial_stock)),
        ("price", price(&item.price)),
        ("customer_limit", maybe(item.customer_limit.as_ref())),
    ]
}

fn of_counts(counts: &Counts) -> [(&'static str, Option<String>); 4] {
    [
        ("stock", text(&counts.stock)),
        ("available", text(&counts.available)),
        ("held", text(&counts.held)),
        ("confirmed", text(&counts.confirmed)),
    ]
}

fn of_reservation(row: &StoredReservation) -> [(&'static str, Option<String>); 11] {
    let lines: Vec<String> = row
        .lines
        .iter()
        .map(|line| {
            let at = price(&line.price).map(|price| format!(" at {price}")).unwrap_or_default();
            format!("{} x {}{at}", line.quantity, line.sku)
        })
        .collect();
    [
        ("sale", text(&row.sale)),
        ("customer", text(&row.customer)),
        ("state", text(&row.state.as_str())),
        ("reference", maybe(row.reference.as_ref())),
        ("created_at", text(&row.created_at)),
        ("expires_at", text(&row.expires_at)),
        ("extensions", text(&row.extensions)),
        ("confirmed_at", maybe(row.confirmed_at.as_ref())),
        ("released_at", maybe(row.released_at.as_ref())),
        ("expired_at", maybe(row.expired_at.as_ref())),
        ("lines", Some(lines.join(", "))),
    ]
}
