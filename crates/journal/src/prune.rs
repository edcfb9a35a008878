//! Deletes segments and snapshots that are no longer needed.

use super::storage::{Storage, StorageFailure};
use super::{Epoch, segment, snapshot};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub files: Vec<String>,
    /// Their sizes together.
    pub bytes: u64,
}

/// Removes snapshots older than the newest, and segments of which no epoch from `keep_from` on needs anything.
///
/// `keep_from` is the least epoch that anybody still has to read: the newest snapshot's first, or the one after the
/// store's cursor, whichever is less. All epochs before it must be durable. Safe while a writer and readers run.
pub fn prune(storage: &dyn Storage, keep_from: Epoch) -> Result<Pruned, StorageFailure> {
    let mut pruned = Pruned::default();
    if let Some((_newest, older)) = snapshot::published(storage)?.split_last() {
        for &first_epoch in older {
            remove(storage, snapshot::name(first_epoch), &mut pruned)?;
        }
    }
    // Oldest first: what a crash leaves is without a gap. A segment goes only when the next one starts with an epoch
    // before `keep_from`, which is durable; so a durable frame is always left, and with it the count of epochs.
    for pair in segment::list(storage)?.windows(2) {
        match segment::first_epoch(storage, pair[1])? {
            Some(first) if first < keep_from => remove(storage, segment::name(pair[0]), &mut pruned)?,
            _ => break,
        }
    }
    Ok(pruned)
}

fn remove(storage: &dyn Storage, name: String, pruned: &mut Pruned) -> Result<(), StorageFailure> {
    let size = storage.open(&name).and_then(|file| file.size()).map_err(StorageFailure::on("stat", &name))?;
    storage.remove(&name).map_err(StorageFailure::on("remove", &name))?;
    pruned.bytes += size;
    pruned.files.push(name);
    Ok(())
}
