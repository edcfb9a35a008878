//! Whether the store is what the journal says.
//!
//! The store is read as of one moment, and the journal exactly as far as the store was then: so the two must be equal to the
//! unit, also while the service runs and the store lags. Invariant: nothing is changed, and nobody is held up.
//!
//! What is compared: whose the store is; every sale; every item, with its counts as its row has them and as movements,
//! reservations and lines add up to; every reservation that the service knows; every row that says it is held; the audit trail.
//! Reservations that left the service's memory are in the store alone: of them the sums are compared.

mod compare;
mod report;
mod truth;

use std::{fs, io, path::Path, thread, time::Duration};

use uuid::Uuid;

use self::compare::Comparison;
pub use self::{
    report::{Compared, Difference, Report},
    truth::TruthError,
};
use crate::{
    engine,
    journal::View,
    store::{StoreError, StoreReader},
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
}

/// Compares the store that `open` opens with the journal of a data directory.
pub fn run(
    data: &Path,
    settings: &engine::Settings,
    mut open: impl FnMut() -> Result<Box<dyn StoreReader>, StoreError>,
) -> Result<Report, ReconcileError> {
    let owner = owner(data)?;
    let mut tries = PATIENCE.as_millis() / PAUSE.as_millis();
    loop {
        let reader = open()?;
        reader.hold_still()?;
        let standing = reader.standing()?;
        // After the store: the journal holds at least what it does.
        let journal = data.join("journal");
        let unreadable = |source| ReconcileError::Directory { path: journal.display().to_string(), source };
        let view = View::open(&journal).map_err(unreadable)?;
        match truth::at(&view, settings.clone(), standing.cursor) {
            Ok(engine) => return Ok(Comparison::new(&engine, &*reader).run(owner, &standing)?),
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
