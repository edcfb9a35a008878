//! `backup`: copies the data directory, whether or not a service runs on it.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use super::{complain, exit::ExitCode, inspect::report::grouped};
use crate::{
    backup::{self, Backup, BackupError},
    clock::{Clock, SystemClock},
    config::{Config, StoreTarget},
    journal::{ReadError, RecoveryError, SnapshotError},
    service::yield_to_requests,
};

pub(super) fn run(config: &Config, to: &Path, json: bool) -> anyhow::Result<ExitCode> {
    // Whoever waits for an answer goes first.
    yield_to_requests();
    let target = config.store_target();
    let store = match &target {
        StoreTarget::Sqlite(path) => Some(path.as_path()),
        StoreTarget::Postgres(_) => None,
    };
    let at = SystemClock.now();
    match backup::run(&config.data.dir, store, to) {
        Ok(backup) => {
            if let Err(error) = backup::note(&config.data.dir, at, &backup, to) {
                complain(&format_args!("the backup is complete, but the service will not know of it: {error}"));
            }
            let mut out = BufWriter::new(io::stdout().lock());
            if json {
                serde_json::to_writer_pretty(&mut out, &backup).map_err(io::Error::from)?;
                writeln!(out)?;
            } else {
                write(&backup, &target, to, &mut out)?;
            }
            out.flush()?;
            Ok(if backup.store_error.is_none() { ExitCode::Clean } else { ExitCode::CheckFailed })
        }
        Err(error) => {
            complain(&error);
            Ok(exit_code(&error))
        }
    }
}

fn write(backup: &Backup, target: &StoreTarget, to: &Path, out: &mut dyn Write) -> io::Result<()> {
    let Backup { epoch, first_epoch, snapshot_epoch, journal_bytes, store, store_error } = backup;
    let snapshot = snapshot_epoch.map_or_else(|| "none".to_owned(), |epoch| format!("up to epoch {epoch}"));
    writeln!(out, "{}: everything up to epoch {epoch}, read back without an error", to.display())?;
    writeln!(out, "journal   epochs {first_epoch} to {epoch}, {} bytes with the snapshot", grouped(*journal_bytes))?;
    writeln!(out, "snapshot  {snapshot}")?;
    if let Some(error) = store_error {
        writeln!(out, "store     not included, because it cannot be read: {error}")?;
        return writeln!(out, "to make the copy's store from its journal: doorbuster rebuild --data {}", to.display());
    }
    match (store, target) {
        (Some(store), _) => {
            writeln!(out, "store     store.db, up to epoch {}, {} bytes", store.epoch, grouped(store.bytes))?;
        }
        (None, StoreTarget::Sqlite(path)) => writeln!(out, "store     none: {} does not exist", path.display())?,
        (None, StoreTarget::Postgres(_)) => {
            writeln!(out, "store     not included: back up PostgreSQL with its own tools, or rebuild it")?;
        }
    }
    writeln!(out, "to check all of it: doorbuster reconcile --data {}", to.display())
}

fn exit_code(error: &BackupError) -> ExitCode {
    match error {
        BackupError::InTheWay(_) | BackupError::Unfinished(_) | BackupError::NoJournal(_) => ExitCode::BadConfig,
        BackupError::Empty(_) => ExitCode::CheckFailed,
        BackupError::File { .. }
        | BackupError::Short { .. }
        | BackupError::Snapshot(SnapshotError::Failed(_))
        | BackupError::Journal(RecoveryError::Read(ReadError::Unreadable(_))) => ExitCode::StorageFailed,
        BackupError::Snapshot(_) | BackupError::Journal(_) => ExitCode::JournalDamaged,
    }
}
