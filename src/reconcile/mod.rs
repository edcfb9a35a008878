//! Compares the store with the journal, and repairs it.
//!
//! It reads the store as of one moment, and the journal exactly up to the store's cursor at that moment. So the two must agree
//! to the unit, even while the service runs and the store lags. Invariants: comparing changes nothing and blocks nobody;
//! repairing needs a directory without a running service, reads the journal to its end, and is one transaction; the contents of
//! the store never excuse a missing row.
//!
//! The code that writes stores builds a reference from the journal ([`Reference`](crate::store::Reference)), which is compared
//! table by table, every column. For rows from before the journal's beginning, sums are compared.

mod compare;
mod refused;
mod repair;
mod report;
mod truth;
mod waitlist;

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use serde::Serialize;
use uuid::Uuid;

use self::{
    compare::Comparison,
    repair::Repair,
    truth::{Truth, UpTo},
};
pub use self::{
    report::{Compared, Difference, Report},
    truth::{JournalFacts, TruthError},
};
use crate::{
    engine,
    journal::{
        Epoch, RecoveryError, SnapshotStore,
        files::{self, DirectoryStorage, FileSnapshots, View},
    },
    store::{
        Absences, AbsencesFile, AuditCheck, AuditGap, AuditRow, Link, Repairer, Standing, StoreError, StoreReader,
        Table, Token,
    },
};

/// How long a store may take to come to what the newest snapshot holds: it follows a running service within a moment.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("cannot read {path}: {source}")]
    Directory { path: String, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the journal: {0}")]
    Truth(#[from] TruthError),
    #[error(
        "the store has applied batches up to {cursor}, but the journal ends at {last}: the data directory is older \
         than its store. Put back the journal that belongs to this store, or the store from the same copy"
    )]
    StoreIsAhead { cursor: u64, last: u64 },
    #[error(
        "nothing was compared: the newest snapshot reaches epoch {reaches}, the store has only epoch {cursor}, and \
         the journal no longer begins with its first batch. Let the service run until /readyz says that the store has \
         everything and compare again, or stop it and run `doorbuster reconcile --repair`"
    )]
    StoreLags { cursor: u64, reaches: u64 },
}

/// Where the store is, and who may open it how.
pub trait Place {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError>;
    /// Makes a store where there is none.
    fn repairer(&self) -> Result<Box<dyn Repairer>, StoreError>;
}

/// Compares a store with the journal of a data directory.
pub fn run(data: &Path, settings: &engine::Settings, place: &dyn Place) -> Result<Report, ReconcileError> {
    let owner = owner(data)?;
    let mut tries = PATIENCE.as_millis() / PAUSE.as_millis();
    loop {
        let is_running = is_running(data)?;
        let reader = place.reader()?;
        reader.hold_still()?;
        let standing = reader.standing()?;
        // After the store: the journal and what may be absent are at least as far as it is.
        let absences = AbsencesFile::of(data).read()?;
        match truth::read(&open_journal(data)?, settings.clone(), standing.cursor, UpTo::Epoch(standing.cursor)) {
            Ok(truth) => return Ok(Comparison::new(&truth, &*reader, &absences).run(owner, is_running, &standing)?),
            Err(TruthError::SnapshotIsLater { .. }) if is_running && tries > 0 => {
                tries -= 1;
                drop(reader);
                thread::sleep(PAUSE);
            }
            Err(TruthError::SnapshotIsLater { reaches, cursor }) => {
                return Err(ReconcileError::StoreLags { cursor, reaches });
            }
            Err(TruthError::JournalIsEarlier { last, cursor }) => {
                return Err(ReconcileError::StoreIsAhead { cursor, last });
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What was found wrong, and what of it is still so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// The store's last batch before; the reports tell the one after.
    pub epoch_before: u64,
    pub found: Report,
    pub left: Report,
}

/// Makes the store what the journal says up to its end, as `owner`, whose directory must be locked.
pub fn repair(
    data: &Path,
    settings: &engine::Settings,
    owner: Uuid,
    place: &dyn Place,
) -> Result<Repaired, ReconcileError> {
    make_durable(data)?;
    let token_after = |before: &Standing| {
        let session = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        Token { owner, epoch: before.epoch() + 1, session }
    };
    repair_as(data, settings, owner, token_after, UpTo::End, place)
}

/// Makes an empty store what the journal says up to `durable`, in the name of whoever has this token, and says up to which epoch.
/// None: it is not empty, and was left as it is. The directory's service may run: it writes only its journal meanwhile, and keeps
/// the segments from the snapshot on.
pub fn rebuild_as(
    data: &Path,
    settings: &engine::Settings,
    token: &Token,
    durable: Epoch,
    place: &dyn Place,
) -> Result<Option<u64>, ReconcileError> {
    let reader = place.reader()?;
    if reader.standing()?.cursor > 0 || !reader.sales()?.is_empty() {
        return Ok(None);
    }
    drop(reader);
    let repaired = repair_as(data, settings, token.owner, |_| *token, UpTo::Epoch(durable), place)?;
    Ok(Some(repaired.found.epoch))
}

fn repair_as(
    data: &Path,
    settings: &engine::Settings,
    owner: Uuid,
    token_after: impl FnOnce(&Standing) -> Token,
    up_to: UpTo,
    place: &dyn Place,
) -> Result<Repaired, ReconcileError> {
    let mut repairer = place.repairer()?;
    let reader = place.reader()?;
    reader.hold_still()?;
    let before = reader.standing()?;
    if let Some(held) = before.held_by.filter(|held| held.owner != owner) {
        return Err(StoreError::OtherOwner { owner: held.owner, this: owner }.into());
    }
    let mut truth = truth::read(&open_journal(data)?, settings.clone(), before.cursor, up_to)?;
    if truth.epoch < before.cursor {
        return Err(ReconcileError::StoreIsAhead { cursor: before.cursor, last: truth.epoch });
    }
    // All of it is applied.
    (truth.journal.pending_batches, truth.journal.pending_bytes) = (0, 0);
    let file = AbsencesFile::of(data);
    let mut absences = file.read()?;
    if let Some(gap) = never_had(&truth, &*reader, &absences, &before)? {
        absences.audit_gaps.push(gap);
        file.write(&absences)?;
    }
    repairer.begin(&before, &token_after(&before), truth.epoch)?;
    let comparison = Comparison::new(&truth, &*reader, &absences).repairing(Repair::with(&mut *repairer));
    let found = comparison.run(Some(owner), false, &before)?;
    repairer.commit()?;
    drop((reader, repairer));

    let reader = place.reader()?;
    reader.hold_still()?;
    let after = reader.standing()?;
    let left = Comparison::new(&truth, &*reader, &absences).run(Some(owner), false, &after)?;
    Ok(Repaired { epoch_before: before.cursor, found, left })
}

/// The records of the audit trail that come behind what the store has, where the journal no longer has them either: the next
/// batch for the store is gone.
fn never_had(
    truth: &Truth,
    reader: &dyn StoreReader,
    absences: &Absences,
    before: &Standing,
) -> Result<Option<AuditGap>, ReconcileError> {
    if truth.journal.first_epoch <= before.cursor + 1 {
        return Ok(None);
    }
    let known_from = truth.first_record.as_ref().map_or(truth.head.sequence + 1, |row| row.sequence.unsigned_abs());
    let mut chain = AuditCheck::over(absences.audit_gaps.clone());
    let mut is_broken = false;
    reader.rows(Table::Audit, &mut |cells| {
        let row = AuditRow::from_cells(cells);
        if row.sequence.unsigned_abs() < known_from && !is_broken {
            is_broken = chain.row(&row).is_err();
        }
        Ok(())
    })?;
    let (after, through) = (chain.reached_over(known_from - 1).sequence, known_from - 1);
    if is_broken || after >= through {
        return Ok(None);
    }
    let link = match &truth.first_record {
        Some(row) => Link::NextRow(row.print()),
        None => Link::Hash(truth.head.hash),
    };
    Ok(Some(AuditGap { after, through, link }))
}

/// What the store is brought to must not be gone after the next power loss: so the journal's end is made durable first, as a
/// start does.
fn make_durable(data: &Path) -> Result<(), ReconcileError> {
    let path = data.join("journal");
    let unreadable = |source| ReconcileError::Directory { path: path.display().to_string(), source };
    let storage = Arc::new(DirectoryStorage::open(&path).map_err(unreadable)?);
    let snapshots = FileSnapshots::new(storage.clone());
    let snapshot = snapshots.newest().map_err(TruthError::from)?.map(|snapshot| snapshot.summary());
    let (from, reaches) = snapshot.map_or((1, 0), |snapshot| (snapshot.first_epoch, snapshot.last_epoch));
    let replayed = files::replay(&*storage, from, reaches, |_, _| Ok::<_, StoreError>(()));
    replayed.map(drop).map_err(|error: RecoveryError<StoreError>| TruthError::from(error).into())
}

fn open_journal(data: &Path) -> Result<View, ReconcileError> {
    let journal = data.join("journal");
    View::open(&journal).map_err(|source| ReconcileError::Directory { path: journal.display().to_string(), source })
}

/// Whether a process has the data directory. Whoever takes its lock at this very moment tries again.
fn is_running(data: &Path) -> Result<bool, ReconcileError> {
    let path = data.join("lock");
    let unreadable = |source| ReconcileError::Directory { path: path.display().to_string(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unreadable(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(unreadable(error)),
    }
}

/// The id that the store should know the directory by; None where no service ran yet.
fn owner(data: &Path) -> Result<Option<Uuid>, ReconcileError> {
    let path = data.join("identity");
    let unreadable = |source| ReconcileError::Directory { path: path.display().to_string(), source };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            Uuid::try_parse(text.trim()).map(Some).map_err(|error| unreadable(invalid(error)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}
