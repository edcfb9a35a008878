//! Whether the store is what the journal says, and making it so.
//!
//! The store is read as of one moment, and the journal exactly as far as the store was then: so the two must be equal to the
//! unit, also while the service runs and the store lags. Invariant: comparing changes nothing and holds nobody up; repairing
//! is for a directory that no service has, and is one transaction.
//!
//! What is compared: whose the store is; every sale; every item, with its counts as its row has them and as movements,
//! reservations and lines add up to; every reservation that the service knows; every row that says it is held; the audit trail.
//! Reservations that left the service's memory are in the store alone: of them the sums are compared.

mod compare;
mod mend;
mod report;
mod truth;

use std::{fs, io, path::Path, thread, time::Duration};

use serde::Serialize;
use uuid::Uuid;

use self::{compare::Comparison, mend::Mend};
pub use self::{
    report::{Compared, Difference, Report},
    truth::TruthError,
};
use crate::{
    engine,
    journal::View,
    store::{Mender, Standing, StoreError, StoreReader, Token},
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
        "the store has applied batches up to {cursor}, but the journal ends at {last}: the data directory is older than its \
         store. Put back the journal that belongs to this store, or the store of the same copy"
    )]
    StoreIsAhead { cursor: u64, last: u64 },
    #[error(
        "the newest snapshot reaches epoch {reaches} and the store only epoch {cursor}: nothing is left to compare it with. \
         Let the service run until /readyz says that the store has everything, and ask again"
    )]
    StoreLags { cursor: u64, reaches: u64 },
    #[error(
        "the store has batches up to {cursor}, the newest snapshot is later ({reaches}), and the journal has everything in \
         between: start the service, let it catch up until /readyz says that the store has everything, and look again"
    )]
    StoreFollows { cursor: u64, reaches: u64 },
}

/// Where the store is, and who may open it how.
pub trait Place {
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError>;
    /// Makes a store where there is none.
    fn mender(&self) -> Result<Box<dyn Mender>, StoreError>;
}

/// Compares a store with the journal of a data directory.
pub fn run(data: &Path, settings: &engine::Settings, place: &dyn Place) -> Result<Report, ReconcileError> {
    let owner = owner(data)?;
    let mut tries = PATIENCE.as_millis() / PAUSE.as_millis();
    loop {
        let reader = place.reader()?;
        reader.hold_still()?;
        let standing = reader.standing()?;
        // After the store: the journal holds at least what it does.
        match truth::at(&open_journal(data)?, settings.clone(), standing.cursor) {
            Ok(engine) => return Ok(Comparison::new(&engine, &*reader).run(standing.cursor, owner, &standing)?),
            Err(TruthError::SnapshotIsLater { .. }) if tries > 0 => {
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

/// Makes the store what the journal says, as `owner`, whose directory must be locked. A store whose next batches the journal
/// has no more is brought on to where the newest snapshot is whole; what is later is for the service to write behind.
pub fn repair(
    data: &Path,
    settings: &engine::Settings,
    owner: Uuid,
    place: &dyn Place,
) -> Result<Repaired, ReconcileError> {
    let token_after = |before: &Standing| {
        let session = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        Token { owner, epoch: before.epoch() + 1, session }
    };
    repair_as(data, settings, owner, token_after, place)
}

/// Makes an empty store what the newest snapshot and the journal behind it say, in the name of whoever has this token, and says
/// up to which epoch. None: it is not empty, and was left as it is. The directory's service may run: it writes only its journal
/// meanwhile, and keeps the segments from the snapshot on.
pub fn rebuild_as(
    data: &Path,
    settings: &engine::Settings,
    token: &Token,
    place: &dyn Place,
) -> Result<Option<u64>, ReconcileError> {
    let reader = place.reader()?;
    if reader.standing()?.cursor > 0 || !reader.sales()?.is_empty() {
        return Ok(None);
    }
    drop(reader);
    Ok(Some(repair_as(data, settings, token.owner, |_| *token, place)?.found.epoch))
}

fn repair_as(
    data: &Path,
    settings: &engine::Settings,
    owner: Uuid,
    token_after: impl FnOnce(&Standing) -> Token,
    place: &dyn Place,
) -> Result<Repaired, ReconcileError> {
    let mut mender = place.mender()?;
    let reader = place.reader()?;
    reader.hold_still()?;
    let before = reader.standing()?;
    if let Some(held) = before.held_by.filter(|held| held.owner != owner) {
        return Err(StoreError::OtherOwner { owner: held.owner, this: owner }.into());
    }
    let view = open_journal(data)?;
    let (epoch, engine) = match truth::at(&view, settings.clone(), before.cursor) {
        Ok(engine) => (before.cursor, engine),
        Err(TruthError::SnapshotIsLater { reaches, cursor }) => {
            if truth::goes_on_from(&view, cursor, reaches)? {
                return Err(ReconcileError::StoreFollows { cursor, reaches });
            }
            (reaches, truth::at(&view, settings.clone(), reaches)?)
        }
        Err(TruthError::JournalIsEarlier { last, cursor }) => {
            return Err(ReconcileError::StoreIsAhead { cursor, last });
        }
        Err(error) => return Err(error.into()),
    };
    mender.begin(&before, &token_after(&before), epoch)?;
    let comparison = Comparison::new(&engine, &*reader).mending(Mend::with(&mut *mender), epoch > before.cursor);
    let found = comparison.run(epoch, Some(owner), &before)?;
    mender.commit()?;
    drop((reader, mender));

    let reader = place.reader()?;
    reader.hold_still()?;
    let after = reader.standing()?;
    let left = Comparison::new(&engine, &*reader).run(epoch, Some(owner), &after)?;
    Ok(Repaired { epoch_before: before.cursor, found, left })
}

fn open_journal(data: &Path) -> Result<View, ReconcileError> {
    let journal = data.join("journal");
    View::open(&journal).map_err(|source| ReconcileError::Directory { path: journal.display().to_string(), source })
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
