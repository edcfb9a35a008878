//! `reconcile` and `rebuild`: compare the store with the journal, and repair it; for people and scripts.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use uuid::Uuid;

use super::{complain, exit::ExitCode, inspect::report::grouped, serve::refuse_start, table::Table};
use crate::{
    config::{Config, StoreTarget},
    journal::{ReadError, RecoveryError, SnapshotError},
    reconcile::{self, JournalFacts, Place, ReconcileError, Repaired, Report, TruthError},
    service::{identity, lock::DirectoryLock},
    store::{PostgresReader, PostgresRepairer, Repairer, SqliteRepairer, SqliteStore, StoreError, StoreReader},
};

pub(super) fn run(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let target = config.store_target();
    if !has_journal(&config.data.dir) || !has_store(&target) {
        return Ok(ExitCode::BadConfig);
    }
    let settings = config.engine_settings(rand::random());
    match reconcile::run(&config.data.dir, &settings, &target) {
        Ok(report) => {
            let mut out = BufWriter::new(io::stdout().lock());
            if json {
                put_json(&report, &mut out)?;
            } else {
                write(&report, &mut out)?;
            }
            out.flush()?;
            Ok(verdict(&report))
        }
        Err(error) => {
            complain(&error);
            Ok(exit_code(&error))
        }
    }
}

/// A check that compared nothing, or not everything, fails.
fn verdict(report: &Report) -> ExitCode {
    if report.is_success() { ExitCode::Clean } else { ExitCode::CheckFailed }
}

/// `reconcile --repair`: repairs the store to match the journal.
pub(super) fn repair(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let target = config.store_target();
    if !has_journal(&config.data.dir) || !has_store(&target) {
        return Ok(ExitCode::BadConfig);
    }
    alone(config, |owner| run_repair(config, &target, owner, json))
}

/// `rebuild`: fills an empty store from the journal.
pub(super) fn rebuild(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let target = config.store_target();
    if !has_journal(&config.data.dir) {
        return Ok(ExitCode::BadConfig);
    }
    alone(config, |owner| match is_empty(&target) {
        Ok(true) => run_repair(config, &target, owner, json),
        Ok(false) => {
            complain(
                &"the store is not empty: move it away, set store.url to another one, or repair it with `doorbuster \
                  reconcile --repair`",
            );
            Ok(ExitCode::BadConfig)
        }
        Err(error) => {
            complain(&error);
            Ok(ExitCode::StorageFailed)
        }
    })
}

/// Does the work with the data directory locked against a service. The work gets the directory's id.
fn alone(config: &Config, work: impl FnOnce(Uuid) -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let data = &config.data.dir;
    match DirectoryLock::take(data).and_then(|lock| Ok((lock, identity::of(data)?))) {
        Ok((_lock, owner)) => work(owner),
        Err(error) => Ok(refuse_start(&error)),
    }
}

fn is_empty(target: &StoreTarget) -> Result<bool, StoreError> {
    // Brought to this program's format, or made, where it has none yet.
    drop(target.repairer()?);
    let reader = target.reader()?;
    Ok(reader.standing()?.cursor == 0 && reader.sales()?.is_empty())
}

fn run_repair(config: &Config, target: &StoreTarget, owner: Uuid, json: bool) -> anyhow::Result<ExitCode> {
    let data = &config.data.dir;
    let repaired = match reconcile::repair(data, &config.engine_settings(rand::random()), owner, target) {
        Ok(repaired) => repaired,
        Err(error) => {
            complain(&error);
            return Ok(exit_code(&error));
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if json {
        put_json(&repaired, &mut out)?;
    } else {
        write_repaired(&repaired, &mut out)?;
    }
    out.flush()?;
    Ok(verdict(&repaired.left))
}

fn write_repaired(repaired: &Repaired, out: &mut dyn Write) -> io::Result<()> {
    let Repaired { epoch_before, found, left } = repaired;
    if found.epoch > *epoch_before {
        writeln!(out, "updated the store from epoch {epoch_before} to {}, the end of the journal", found.epoch)?;
    }
    write(found, out)?;
    if found.is_equal() {
        return Ok(());
    }
    if left.is_equal() {
        return writeln!(out, "repaired all of it");
    }
    writeln!(out, "\nafter the repair, what it could not fix:")?;
    write(left, out)
}

fn has_journal(data: &Path) -> bool {
    let has = data.join("journal").is_dir();
    if !has {
        complain(&format_args!("{} is not a data directory: it has no journal in it", data.display()));
    }
    has
}

fn has_store(target: &StoreTarget) -> bool {
    if let StoreTarget::Sqlite(path) = target
        && !path.is_file()
    {
        complain(&format_args!(
            "there is no store at {}: set store.url to the store to compare, or make it with `doorbuster rebuild`",
            path.display()
        ));
        return false;
    }
    true
}

fn put_json(value: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)
}

impl Place for StoreTarget {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(match self {
            Self::Sqlite(path) => Box::new(SqliteStore::open_read_only(path)?),
            Self::Postgres(settings) => Box::new(PostgresReader::open(settings)?),
        })
    }

    fn repairer(&self) -> Result<Box<dyn Repairer>, StoreError> {
        Ok(match self {
            Self::Sqlite(path) => Box::new(SqliteRepairer::open(path)?),
            Self::Postgres(settings) => Box::new(PostgresRepairer::open(settings)?),
        })
    }
}

fn exit_code(error: &ReconcileError) -> ExitCode {
    match error {
        ReconcileError::Store(StoreError::OtherOwner { .. }) => ExitCode::BadConfig,
        // Not read: nothing is known of damage.
        ReconcileError::Directory { .. } | ReconcileError::Store(_) => ExitCode::StorageFailed,
        ReconcileError::StoreLags { .. } => ExitCode::CheckFailed,
        ReconcileError::Truth(TruthError::Reference(_))
        | ReconcileError::Truth(TruthError::Batches(RecoveryError::Read(ReadError::Unreadable(_))))
        | ReconcileError::Truth(TruthError::Journal(RecoveryError::Read(ReadError::Unreadable(_))))
        | ReconcileError::Truth(TruthError::Snapshot(SnapshotError::Failed(_))) => ExitCode::StorageFailed,
        ReconcileError::Truth(_) | ReconcileError::StoreIsAhead { .. } => ExitCode::JournalDamaged,
    }
}

fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let compared = &report.compared;
    let JournalFacts { first_epoch, last_epoch, pending_batches, pending_bytes } = report.journal;
    writeln!(out, "compared up to epoch {}; the journal has epochs {first_epoch} to {last_epoch}", report.epoch)?;
    if pending_batches > 0 {
        let (batches, bytes) = (grouped(pending_batches), grouped(pending_bytes));
        let who = if report.service_is_running {
            "the running service will apply them"
        } else {
            "no service is running: start it, or run `doorbuster reconcile --repair`"
        };
        writeln!(out, "pending: {batches} batches, {bytes} bytes, are not in the store yet; {who}")?;
    }
    let mut table = Table::new(["compared", ""], 1);
    for (count, what) in [
        (compared.sales, "sales"),
        (compared.items, "items, and the sums of their rows"),
        (compared.pools, "pools, and the sums of their rows"),
        (compared.stock_movements, "stock movements"),
        (compared.reservations, "reservations"),
        (compared.refused_confirmations, "refused confirmations"),
        (compared.waitlist_entries, "waitlist entries"),
        (compared.held, "of them held"),
        (compared.audit_records, "records of the audit trail"),
    ] {
        table.row([grouped(count), what.to_owned()]);
    }
    table.write(out, "")?;
    if compared.reservations_beyond_the_journal > 0 {
        let beyond = grouped(compared.reservations_beyond_the_journal);
        writeln!(
            out,
            "{beyond} reservations in the store ended before the journal begins: only their confirmed units were \
             compared"
        )?;
    }
    if compared.waitlist_entries_beyond_the_journal > 0 {
        let beyond = grouped(compared.waitlist_entries_beyond_the_journal);
        writeln!(
            out,
            "{beyond} waitlist entries in the store ended before the journal begins: they were not compared"
        )?;
    }
    if compared.audit_records_elsewhere > 0 {
        let elsewhere = grouped(compared.audit_records_elsewhere);
        writeln!(
            out,
            "{elsewhere} records of the audit trail are not in this store: they were deleted after store.keep_days, or the store was \
             rebuilt when the journal no longer had them"
        )?;
    }
    if report.compared_nothing() {
        return writeln!(out, "nothing was compared: up to epoch {} both store and journal are empty", report.epoch);
    }
    if report.is_equal() {
        return writeln!(out, "no difference");
    }
    writeln!(out)?;
    let mut table = Table::new(["table", "row", "column", "should be", "is"], 0);
    for difference in &report.differences {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        table.row([
            difference.table.to_owned(),
            difference.key.clone(),
            difference.column.to_owned(),
            shown(&difference.journal),
            shown(&difference.store),
        ]);
    }
    table.write(out, "")?;
    let told = report.differences.len() as u64;
    match report.differences_total {
        1 => writeln!(out, "1 difference"),
        total if total > told => {
            writeln!(out, "{} differences; these are the first {}", grouped(total), grouped(told))
        }
        total => writeln!(out, "{} differences", grouped(total)),
    }
}
