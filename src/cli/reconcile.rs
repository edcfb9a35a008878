//! `reconcile`: whether the store is what the journal says, for people and for scripts.

use std::io::{self, BufWriter, Write};

use super::{complain, exit::ExitCode, inspect::report::grouped, table::Table};
use crate::{
    config::{Config, StoreTarget},
    journal::{RecoveryError, SnapshotError},
    reconcile::{self, ReconcileError, Report, TruthError},
    store::{PostgresReader, SqliteStore, StoreError, StoreReader},
};

pub fn run(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let data = &config.data.dir;
    if !data.join("journal").is_dir() {
        complain(&format_args!("{} is not a data directory: it has no journal in it", data.display()));
        return Ok(ExitCode::BadConfig);
    }
    let target = config.store_target();
    if let StoreTarget::Sqlite(path) = &target
        && !path.is_file()
    {
        complain(&format_args!("there is no store at {}: name the one to compare in store.url", path.display()));
        return Ok(ExitCode::BadConfig);
    }
    let settings = config.engine_settings(rand::random());
    match reconcile::run(data, &settings, || open(&target)) {
        Ok(report) => {
            let mut out = BufWriter::new(io::stdout().lock());
            if json {
                serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
                writeln!(out)?;
            } else {
                write(&report, &mut out)?;
            }
            out.flush()?;
            Ok(if report.is_equal() { ExitCode::Clean } else { ExitCode::CheckFailed })
        }
        Err(error) => {
            complain(&error);
            Ok(exit_code(&error))
        }
    }
}

fn open(target: &StoreTarget) -> Result<Box<dyn StoreReader>, StoreError> {
    Ok(match target {
        StoreTarget::Sqlite(path) => Box::new(SqliteStore::open_read_only(path)?),
        StoreTarget::Postgres(settings) => Box::new(PostgresReader::open(settings)?),
    })
}

fn exit_code(error: &ReconcileError) -> ExitCode {
    match error {
        // Not read, or not yet comparable: nothing is known of damage.
        ReconcileError::Directory { .. } | ReconcileError::Store(_) | ReconcileError::StoreLags { .. } => {
            ExitCode::StorageFailed
        }
        ReconcileError::Truth(TruthError::Journal(RecoveryError::Storage(_)))
        | ReconcileError::Truth(TruthError::Snapshot(SnapshotError::Storage(_))) => ExitCode::StorageFailed,
        ReconcileError::Truth(_) | ReconcileError::StoreIsAhead { .. } => ExitCode::JournalDamaged,
    }
}

fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let compared = &report.compared;
    writeln!(out, "store and journal at epoch {}", report.epoch)?;
    let mut table = Table::new(["compared", ""], 1);
    for (count, what) in [
        (compared.sales, "sales"),
        (compared.items, "items, and what their rows add up to"),
        (compared.reservations, "reservations that the service knows"),
        (compared.held, "of them held"),
        (compared.audit_records, "records of the audit trail"),
    ] {
        table.row([grouped(count), what.to_owned()]);
    }
    table.write(out, "")?;
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
            writeln!(out, "{} differences, the first {} of them told", grouped(total), grouped(told))
        }
        total => writeln!(out, "{} differences", grouped(total)),
    }
}
