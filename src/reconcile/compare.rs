//! Compares the journal and the store row by row.

use std::{collections::BTreeMap, fmt::Display};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    repair::{Cells, Repair},
    report::{Difference, Report},
    truth::Truth,
};
use crate::{
    sale::audit::Broken,
    store::{
        Absences, AuditCheck, AuditGap, AuditRow, Counts, Link, Reference, Standing, StoreError, StoreReader, Table,
        Totals,
    },
};

pub(super) struct Comparison<'a> {
    pub(super) truth: &'a Truth,
    pub(super) reader: &'a dyn StoreReader,
    /// What the store may lack.
    absences: &'a Absences,
    pub(super) repair: Repair<'a>,
    pub(super) report: Report,
    /// What the store says of itself: reservations that ended before are gone.
    pub(super) kept_from: Option<String>,
}

pub(super) type Row = Vec<Option<String>>;

/// A row by its key: on one side, or on both.
pub(super) enum Pair<'a> {
    Missing(Row),
    Stranger(&'a Cells),
    Both(Row, &'a Cells),
}

/// Sale, SKU and pool.
type PoolKey = [String; 3];

/// The movements of a pool, by the journal.
#[derive(Default)]
struct Movements {
    /// The pool's stock; None for a pool that is not known.
    stock: Option<i64>,
    known: Vec<Row>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(truth: &'a Truth, reader: &'a dyn StoreReader, absences: &'a Absences) -> Self {
        let report = Report { epoch: truth.epoch, journal: truth.journal, ..Report::default() };
        Self { truth, reader, absences, repair: Repair::default(), report, kept_from: None }
    }

    /// What differs is put right.
    pub(super) fn repairing(mut self, repair: Repair<'a>) -> Self {
        self.repair = repair;
        self
    }

    /// `service_is_running`: on the data directory.
    pub(super) fn run(
        mut self,
        owner: Option<Uuid>,
        service_is_running: bool,
        standing: &Standing,
    ) -> Result<Report, StoreError> {
        self.report.service_is_running = service_is_running;
        let held_by = standing.held_by.map(|token| token.owner);
        // A store that nobody took yet is nobody's.
        if held_by.is_some() && held_by != owner {
            self.differs("write_behind", "", "owner", owner, held_by);
        }
        self.truth.reference.forget_absent()?;
        self.write_behind()?;
        self.sales()?;
        self.lines()?;
        self.reservations()?;
        self.refused()?;
        self.waitlist()?;
        self.items()?;
        self.pools()?;
        self.movements()?;
        self.sums()?;
        self.audit()?;
        Ok(self.report)
    }

    pub(super) fn differs(
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
    pub(super) fn lone(&mut self, table: &'static str, key: &str, in_journal: bool) {
        let there = |is_there: bool| is_there.then_some("there");
        self.differs(table, key, "", there(in_journal), there(!in_journal));
    }

    /// Notes the cells that differ, but for the key and those that are not known; says whether any do.
    pub(super) fn cells(&mut self, table: Table, key: &str, known: &Cells, found: &Cells, unknown: &[&str]) -> bool {
        let before = self.report.differences_total;
        for ((column, known), found) in table.cells().zip(known).zip(found).skip(table.key_cells()) {
            if known != found && !unknown.contains(&column) {
                self.differs(table.name(), key, column, known.as_ref(), found.as_ref());
            }
        }
        self.report.differences_total > before
    }

    /// Compares a table of few rows; gives the keys of rows to be written, and of those to be deleted.
    fn table(&mut self, table: Table, unknown: &[&str]) -> Result<(Vec<Value>, Vec<Value>, u64), StoreError> {
        let (mut wrong, mut strangers, mut count) = (Vec::new(), Vec::new(), 0);
        let (truth, reader) = (self.truth, self.reader);
        let keys = table.key_cells();
        merge(&truth.reference, reader, table, |pair| {
            match pair {
                Pair::Missing(known) => {
                    count += 1;
                    self.lone(table.name(), &shown(&known[..keys]), true);
                    wrong.push(json!(known[..keys]));
                }
                Pair::Stranger(found) => {
                    self.lone(table.name(), &shown(&found[..keys]), false);
                    let key = table.cells().zip(&found[..keys]).map(|(name, cell)| (name.to_owned(), json!(cell)));
                    strangers.push(Value::Object(key.collect()));
                }
                Pair::Both(known, found) => {
                    count += 1;
                    if self.cells(table, &shown(&known[..keys]), &known, found, unknown) {
                        wrong.push(json!(known[..keys]));
                    }
                }
            }
            Ok(())
        })?;
        Ok((wrong, strangers, count))
    }

    fn write_behind(&mut self) -> Result<(), StoreError> {
        let known = self.truth.reference.walk(Table::WriteBehind, |walk| walk.advance())?.unwrap_or_default();
        let mut found = None;
        self.reader.rows(Table::WriteBehind, &mut |row| {
            found = Some(row.to_vec());
            Ok(())
        })?;
        let [updated_at, kept_from, format] =
            ["updated_at", "kept_from", "format"].map(|name| Table::WriteBehind.cell(name));
        let permitted = self.absences.kept_from.map(|at| at.to_string());
        let is_wrong = match &found {
            None => {
                self.lone("write_behind", "", true);
                true
            }
            Some(found) => {
                let unknown: &[&str] =
                    if self.truth.is_whole() { &["kept_from"] } else { &["kept_from", "updated_at"] };
                let mut is_wrong = self.cells(Table::WriteBehind, "", &known, found, unknown);
                // It may be earlier: what may be absent is noted before rows are deleted.
                if found[kept_from] > permitted {
                    self.differs("write_behind", "", "kept_from", permitted.as_ref(), found[kept_from].as_ref());
                    is_wrong = true;
                }
                self.kept_from = found[kept_from].clone().min(permitted);
                is_wrong
            }
        };
        let found_at = found.as_ref().and_then(|found| found[updated_at].as_deref());
        // Where the journal's beginning is gone, the store may know of a later change than what is left of it.
        let at = if self.truth.is_whole() {
            known[updated_at].as_deref()
        } else {
            known[updated_at].as_deref().max(found_at)
        };
        if is_wrong || found_at != at {
            self.repair.write_behind(at, self.absences.kept_from, known[format].as_deref())?;
        }
        Ok(())
    }

    fn sales(&mut self) -> Result<(), StoreError> {
        let (wrong, strangers, count) = self.table(Table::Sales, &[])?;
        self.report.compared.sales = count;
        self.repair.sales(self.truth, &wrong, &strangers)
    }

    fn items(&mut self) -> Result<(), StoreError> {
        let unknown: &[&str] = if self.truth.is_whole() {
            self.truth.reference.count_absent()?;
            &[]
        } else {
            &["sold_out_at", "confirmed_before"]
        };
        let (wrong, strangers, count) = self.table(Table::Items, unknown)?;
        self.report.compared.items = count;
        self.repair.items(self.truth, &wrong, &strangers)
    }

    fn pools(&mut self) -> Result<(), StoreError> {
        let unknown: &[&str] = if self.truth.is_whole() { &[] } else { &["confirmed_before"] };
        let (wrong, strangers, count) = self.table(Table::Pools, unknown)?;
        self.report.compared.pools = count;
        self.repair.pools(self.truth, &wrong, &strangers)
    }

    fn lines(&mut self) -> Result<(), StoreError> {
        let (_, strangers, _) = self.table(Table::LoneLines, &[])?;
        self.repair.lines(&strangers)
    }

    fn reservations(&mut self) -> Result<(), StoreError> {
        let [state, created_at] = ["state", "created_at"].map(|name| Table::Reservations.cell(name));
        let ends = ["cancelled_at", "confirmed_at", "released_at", "expired_at"];
        let ends = ends.map(|name| Table::Reservations.cell(name));
        let since = self.truth.since.map(|at| at.to_string());
        let (truth, reader) = (self.truth, self.reader);
        let mut last = None;
        merge(&truth.reference, reader, Table::Reservations, |pair| {
            let compared = &mut self.report.compared;
            match pair {
                Pair::Missing(known) => {
                    compared.reservations += 1;
                    compared.held += u64::from(is(&known[state], "held"));
                    let ended = ends.into_iter().find_map(|end| known[end].as_ref());
                    let id = known[0].clone().unwrap_or_default();
                    // None is before every text: what was not deleted may not be absent.
                    if ended.is_some() && ended < self.kept_from.as_ref() {
                        return truth.reference.is_absent(&id);
                    }
                    self.lone("reservations", &id, true);
                    self.repair.reservation(truth, &id)
                }
                Pair::Both(known, found) => {
                    compared.reservations += 1;
                    compared.held += u64::from(is(&known[state], "held"));
                    let id = known[0].clone().unwrap_or_default();
                    if self.cells(Table::Reservations, &id, &known, found, &[]) {
                        self.repair.reservation(truth, &id)?;
                    }
                    last = Some(id);
                    Ok(())
                }
                Pair::Stranger(found) => {
                    let id = found[0].clone().unwrap_or_default();
                    if last.as_ref() == Some(&id) {
                        self.differs("reservations", &id, "", Some("there once"), Some("there, and in the archive"));
                        self.repair.copy_in_archive(&id);
                        return Ok(());
                    }
                    // What began before the journal does, and is over, may have left the service's memory.
                    let may_be = since.is_some() && !is(&found[state], "held") && found[created_at] <= since;
                    if may_be {
                        compared.reservations_beyond_the_journal += 1;
                    } else {
                        self.lone("reservations", &id, false);
                        self.repair.stranger(&id);
                    }
                    last = Some(id);
                    Ok(())
                }
            }
        })?;
        self.repair.end_reservations(truth)
    }

    fn movements(&mut self) -> Result<(), StoreError> {
        let mut pools: BTreeMap<PoolKey, Movements> = BTreeMap::new();
        let stock = Table::Pools.cell("stock");
        let [reservation, reason] = ["reservation_id", "reason"].map(|name| Table::Movements.cell(name));
        self.truth.reference.walk(Table::Pools, |walk| {
            while let Some(row) = walk.advance()? {
                pools.entry(pool_of(&row)).or_default().stock = Some(number(&row[stock]));
            }
            Ok(())
        })?;
        self.truth.reference.walk(Table::Movements, |walk| {
            while let Some(row) = walk.advance()? {
                pools.entry(pool_of(&row)).or_default().known.push(row);
            }
            Ok(())
        })?;
        let reader = self.reader;
        let (mut pool, mut found): (Option<PoolKey>, Vec<Row>) = (None, Vec::new());
        reader.rows(Table::Movements, &mut |row| {
            let of = pool_of(row);
            if pool.as_ref() != Some(&of)
                && let Some(done) = pool.replace(of)
            {
                let known = pools.remove(&done).unwrap_or_default();
                self.movements_of(&done, &known, &std::mem::take(&mut found))?;
            }
            found.push(row.to_vec());
            let row = found.last_mut().expect("just pushed");
            if let Some(id) = row[reservation].clone()
                && self.is_doubtful(&id)?
            {
                row[reason] = None;
            }
            Ok(())
        })?;
        if let Some(done) = pool {
            let known = pools.remove(&done).unwrap_or_default();
            self.movements_of(&done, &known, &found)?;
        }
        for (pool, known) in pools {
            self.movements_of(&pool, &known, &[])?;
        }
        Ok(())
    }

    /// The movements that the journal knows are the last of the pool; those before them lead to where they begin.
    fn movements_of(&mut self, pool: &PoolKey, movements: &Movements, found: &[Row]) -> Result<(), StoreError> {
        let [delta, stock_after] = ["delta", "stock_after"].map(|name| Table::Movements.cell(name));
        let Movements { stock, known } = movements;
        self.report.compared.stock_movements += known.len() as u64;
        let key = |index: usize| format!("{}/{}", pool.join("/"), index + 1);
        let is_whole = self.truth.is_whole() || stock.is_none();
        let earlier = if is_whole { 0 } else { found.len().saturating_sub(known.len()) };
        // Where those that are known begin.
        let start = known.first().map_or(stock.unwrap_or(0), |row| number(&row[stock_after]) - number(&row[delta]));
        let (mut reached, mut kept) = (0, 0);
        for row in &found[..earlier] {
            if number(&row[stock_after]) != reached + number(&row[delta]) {
                let expected = (reached + number(&row[delta])).to_string();
                self.differs("stock_movements", &key(kept), "stock_after", Some(expected), row[stock_after].as_ref());
                break;
            }
            reached = number(&row[stock_after]);
            kept += 1;
        }
        let is_led_to = is_whole || (kept == earlier && reached == start);
        if kept == earlier && !is_led_to {
            let at = earlier.checked_sub(1).map_or_else(|| pool.join("/"), key);
            self.differs("stock_movements", &at, "stock_after", Some(start), Some(reached));
        }
        let rest = &found[earlier..];
        let same = known.iter().zip(rest).take_while(|(one, other)| one == other).count();
        let same_end = known.iter().rev().zip(rest.iter().rev()).take_while(|(one, other)| one == other).count();
        let same_end = same_end.min(known.len().min(rest.len()) - same);
        let (missing, strange) = (&known[same..known.len() - same_end], &rest[same..rest.len() - same_end]);
        for (index, (known, found)) in missing.iter().zip(strange).enumerate() {
            self.cells(Table::Movements, &key(earlier + same + index), known, found, &[]);
        }
        let both = missing.len().min(strange.len());
        for index in both..missing.len() {
            self.lone("stock_movements", &key(earlier + same + index), true);
        }
        for index in both..strange.len() {
            self.lone("stock_movements", &key(earlier + same + index), false);
        }
        if is_led_to && missing.is_empty() && strange.is_empty() {
            return Ok(());
        }
        if is_led_to {
            return self.repair.movements(pool, earlier + same, &known[same..]);
        }
        // What the earlier ones were is not known any more: one stands for what they came to.
        let mut made = Vec::new();
        if start != reached {
            let mut summed: Row = vec![None; Table::Movements.cells().len()];
            summed.iter_mut().zip(pool).for_each(|(cell, name)| *cell = Some(name.clone()));
            for (name, value) in [
                ("delta", (start - reached).to_string()),
                ("reason", "reconciled".to_owned()),
                ("at", self.truth.since.unwrap_or_default().to_string()),
                ("stock_after", start.to_string()),
                ("available_after", start.to_string()),
            ] {
                summed[Table::Movements.cell(name)] = Some(value);
            }
            made.push(summed);
        }
        made.extend(known.iter().cloned());
        self.repair.movements(pool, kept, &made)
    }

    fn sums(&mut self) -> Result<(), StoreError> {
        let mut truth: BTreeMap<Vec<String>, Counts> = BTreeMap::new();
        for table in [Table::Items, Table::Pools] {
            let columns = ["stock", "available", "held", "confirmed"].map(|name| table.cell(name));
            self.truth.reference.walk(table, |walk| {
                while let Some(row) = walk.advance()? {
                    let [stock, available, held, confirmed] = columns.map(|column| number(&row[column]));
                    let key = row[..table.key_cells()].iter().map(|cell| cell.clone().unwrap_or_default());
                    truth.insert(key.collect(), Counts { stock, available, held, confirmed });
                }
                Ok(())
            })?;
        }
        let key = |total: &Totals| {
            let names = [Some(&total.sale), Some(&total.sku), total.pool.as_ref()];
            names.into_iter().flatten().cloned().collect::<Vec<_>>()
        };
        for total in self.reader.totals()? {
            let key = key(&total);
            let (Some(truth), sum) = (truth.get(&key), total.recomputed) else { continue };
            for (column, truth, sum) in [
                ("stock", truth.stock, sum.stock),
                ("available", truth.available, sum.available),
                ("held", truth.held, sum.held),
                ("confirmed", truth.confirmed, sum.confirmed),
            ] {
                if truth != sum {
                    self.differs("sums of rows", &key.join("/"), column, Some(truth), Some(sum));
                }
            }
        }
        if self.truth.is_whole() {
            return Ok(());
        }
        self.repair.sums(|total| truth.get(&key(total)).copied())
    }

    /// Records that the journal has are compared with it; those before are a chain that must lead to them.
    fn audit(&mut self) -> Result<(), StoreError> {
        let (truth, reader, absences) = (self.truth, self.reader, self.absences);
        let known_from = truth.first_record.as_ref().map_or(truth.head.sequence + 1, |row| row.sequence.unsigned_abs());
        let mut chain = AuditCheck::over(absences.audit_gaps.clone());
        let (mut broken, mut wrong, mut strangers, mut absent) = (None, Vec::new(), Vec::new(), 0);
        merge(&truth.reference, reader, Table::Audit, |pair| {
            match pair {
                Pair::Missing(known) => {
                    let sequence = number(&known[0]).unsigned_abs();
                    if absences.audit_gaps.iter().any(|gap| gap.after < sequence && sequence <= gap.through) {
                        absent += 1;
                    } else {
                        self.lone("audit", &sequence.to_string(), true);
                        wrong.push(json!([sequence]));
                    }
                }
                Pair::Stranger(found) => {
                    let row = AuditRow::from_cells(found);
                    if u64::try_from(row.sequence).is_ok_and(|sequence| sequence > 0 && sequence < known_from) {
                        if broken.is_none() {
                            broken = chain.row(&row).err();
                        }
                    } else {
                        self.lone("audit", &row.sequence.to_string(), false);
                        strangers.push(json!({ "sequence": row.sequence }));
                        // One of two with the number may be the right one.
                        if row.sequence > 0 {
                            wrong.push(json!([row.sequence]));
                        }
                    }
                }
                Pair::Both(known, found) => {
                    let sequence = number(&known[0]);
                    if self.cells(Table::Audit, &sequence.to_string(), &known, found, &[]) {
                        wrong.push(json!([sequence]));
                    }
                }
            }
            Ok(())
        })?;
        if broken.is_none() {
            broken = match &truth.first_record {
                Some(_) if known_from == 1 => None,
                Some(row) => chain.leads_to(row).err(),
                None => chain.end(&truth.head).err(),
            };
        }
        self.report.compared.audit_records = truth.head.sequence;
        self.report.compared.audit_records_elsewhere = chain.passed_over() + absent;
        if let Some(broken) = broken {
            let key = match &broken {
                Broken::Foreign { number } => number.clone(),
                Broken::Missing { first, .. } => first.to_string(),
                Broken::Changed { sequence } | Broken::Rewritten { sequence } => sequence.to_string(),
            };
            self.differs("audit", &key, "", Some(format!("{} records", truth.head.sequence)), Some(broken));
        }
        self.repair.audit(truth, &wrong, &strangers)?;
        self.gaps()
    }

    /// What the store says of its gaps follows from what it may lack and does.
    fn gaps(&mut self) -> Result<(), StoreError> {
        let mut told = 0;
        let before = self.report.differences_total;
        for (after, through, hash) in self.reader.audit_gaps()? {
            let is_of = |gap: &&AuditGap| {
                let (Link::Hash(of) | Link::NextRow(of)) = gap.link;
                let inside =
                    i128::from(after) >= i128::from(gap.after) && i128::from(through) <= i128::from(gap.through);
                inside && (i128::from(through) != i128::from(gap.through) || of.to_hex().as_str() == hash)
            };
            if self.absences.audit_gaps.iter().any(|gap| is_of(&gap)) {
                told += through.abs_diff(after);
            } else {
                self.differs("audit_gaps", &after.to_string(), "", None::<&str>, Some(format!("up to {through}")));
            }
        }
        let absent = self.report.compared.audit_records_elsewhere;
        if before == self.report.differences_total && told != absent {
            self.differs("audit_gaps", "", "", Some(format!("{absent} records")), Some(format!("{told} records")));
        }
        if before == self.report.differences_total { Ok(()) } else { self.repair.gaps(self.absences) }
    }
}

/// Goes through a table of both in the order of keys.
pub(super) fn merge(
    reference: &Reference,
    reader: &dyn StoreReader,
    table: Table,
    mut each: impl FnMut(Pair<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let keys = table.key_cells();
    reference.walk(table, |walk| {
        reader.rows(table, &mut |found| {
            while walk.ahead().is_some_and(|ahead| ahead[..keys] < found[..keys]) {
                if let Some(missing) = walk.advance()? {
                    each(Pair::Missing(missing))?;
                }
            }
            match walk.ahead() {
                Some(ahead) if ahead[..keys] == found[..keys] => {
                    let known = walk.advance()?.unwrap_or_default();
                    each(Pair::Both(known, found))
                }
                _ => each(Pair::Stranger(found)),
            }
        })?;
        while let Some(missing) = walk.advance()? {
            each(Pair::Missing(missing))?;
        }
        Ok(())
    })
}

pub(super) fn shown(key: &Cells) -> String {
    key.iter().map(|cell| cell.as_deref().unwrap_or("-")).collect::<Vec<_>>().join("/")
}

fn is(cell: &Option<String>, word: &str) -> bool {
    cell.as_deref() == Some(word)
}

fn pool_of(row: &Cells) -> PoolKey {
    [0, 1, 2].map(|cell| row[cell].clone().unwrap_or_default())
}

/// A number as a column of whole numbers has it.
fn number(cell: &Option<String>) -> i64 {
    cell.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
}
