//! The state that the journal comes to at one epoch.

use std::sync::Arc;

use crate::{
    engine::{Engine, RecoverError, Recovered, Settings},
    journal::{self, Epoch, ReadError, Reader, RecoveryError, SnapshotError, View},
};

#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Journal(#[from] RecoveryError<RecoverError>),
    #[error(transparent)]
    State(#[from] RecoverError),
    #[error(transparent)]
    Batches(#[from] ReadError),
    /// The snapshot holds more than the store: what there was at the store's cursor cannot be made out of it.
    #[error("the newest snapshot reaches epoch {reaches}, and the store has epoch {cursor}")]
    SnapshotIsLater { reaches: Epoch, cursor: Epoch },
    #[error("the journal ends with epoch {last}, and the store has epoch {cursor}")]
    JournalIsEarlier { last: Epoch, cursor: Epoch },
}

/// Reads the newest snapshot and the journal behind it, up to and with `epoch`. Changes nothing.
pub fn at(view: &View, settings: Settings, epoch: Epoch) -> Result<Engine, TruthError> {
    let mut recovered = Recovered::new(settings);
    let mut from = 1;
    if let Some(mut snapshot) = journal::latest(view)? {
        let summary = snapshot.summary();
        if summary.last_epoch > epoch {
            return Err(TruthError::SnapshotIsLater { reaches: summary.last_epoch, cursor: epoch });
        }
        from = summary.first_epoch;
        while let Some(chunk) = snapshot.next_chunk()? {
            recovered.chunk(chunk)?;
        }
    }
    let scan = journal::scan(view, from, 0, |number, payload| {
        // What is later than the store is still to come there.
        if number <= epoch { recovered.batch(number, payload) } else { Ok(()) }
    })?;
    if scan.tail.last_epoch < epoch {
        return Err(TruthError::JournalIsEarlier { last: scan.tail.last_epoch, cursor: epoch });
    }
    Ok(recovered.finish(epoch)?)
}

/// Whether the journal has the batch after `epoch`, and so all that follow. There are some, up to `reaches`.
pub fn goes_on_from(view: &View, epoch: Epoch, reaches: Epoch) -> Result<bool, TruthError> {
    match Reader::new(Arc::new(view.clone()), epoch).next(reaches) {
        Ok(_) => Ok(true),
        Err(ReadError::TooOld { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
