//! A complete, consistent copy of a data directory, also while the service runs.
//!
//! The copy is itself a data directory: it can be inspected, compared, moved and served like any other. Invariants: a backup
//! changes nothing in the original but its note about the backup ([`note`]), and does not block a running service. The copy has
//! everything that was acknowledged before it began. It gets its name only when it is complete, on disk and read back.
//!
//! How: the backup pins a snapshot of the store and reads where webhooks are first, then opens all files of the journal. So the
//! journal has everything that the store has and that webhooks were sent, and none of its files disappears. Later appends are not
//! seen ([`View`]).

use std::{
    borrow::Cow,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    journal::{
        Epoch, RecoveryError, SnapshotError, SnapshotStore,
        files::{self, View, segment_id, snapshot_epoch},
    },
    replace::replace,
    sale::time::Timestamp,
    store::{ABSENCES_FILE, SqliteMoment, StoreError},
    webhooks,
};

/// How long to wait until the store has everything in the newest snapshot.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// Small files beside the journal that belong to it.
const BESIDE: [&str; 4] = ["identity", "customer-ids", "cursor-key", ABSENCES_FILE];

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} already exists: choose a new directory", .0.display())]
    InTheWay(PathBuf),
    #[error("{} is left from an interrupted backup, or another backup is writing it: remove it if no backup is running", .0.display())]
    Unfinished(PathBuf),
    #[error("{} is not a data directory: it has no journal in it", .0.display())]
    NoJournal(PathBuf),
    #[error("{}: its journal is empty, so there is nothing to copy", .0.display())]
    Empty(PathBuf),
    #[error("the copy ends with epoch {copied}, but the original ends with {original}: the copy is incomplete")]
    Short { copied: Epoch, original: Epoch },
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Journal(#[from] RecoveryError<std::convert::Infallible>),
}

/// The contents of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// The last epoch: everything up to it is in the copy.
    pub epoch: Epoch,
    /// The first epoch that its journal has; 0 without any.
    pub first_epoch: Epoch,
    /// The last epoch of its snapshot, if it has one.
    pub snapshot_epoch: Option<Epoch>,
    pub journal_bytes: u64,
    /// None: the store is not a file, does not exist yet, or cannot be read.
    pub store: Option<StoreCopy>,
    /// Why the store's file could not be copied. The journal has everything that it had, so it can be rebuilt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreCopy {
    /// The epoch up to which the store has everything; the journal has what is later.
    pub epoch: Epoch,
    pub bytes: u64,
}

/// Copies the data directory `data` and the store file `store` into a new directory `to`.
pub fn run(data: &Path, store: Option<&Path>, to: &Path) -> Result<Backup, BackupError> {
    if !data.join("journal").is_dir() {
        return Err(BackupError::NoJournal(data.to_owned()));
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(BackupError::InTheWay(to.to_owned()));
    }
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    match DirBuilder::new().mode(0o700).create(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Unfinished(unfinished));
        }
        Err(error) => return Err(on("create", &unfinished)(error)),
    }
    let done = copy(data, store, &unfinished).and_then(|backup| {
        publish(&unfinished, to)?;
        Ok(backup)
    });
    if done.is_err() {
        // Best effort: the first error is the one to report, and the directory's name says what it is.
        let _ = fs::remove_dir_all(&unfinished);
    }
    done
}

fn copy(data: &Path, store: Option<&Path>, to: &Path) -> Result<Backup, BackupError> {
    let Moment { store, places, view } = moment(data, store.filter(|path| path.is_file()))?;
    let (_, original, _) = read(&view)?;
    if original == 0 {
        return Err(BackupError::Empty(data.to_owned()));
    }
    let journal = to.join("journal");
    fs::create_dir(&journal).map_err(on("create", &journal))?;
    let journal_bytes = copy_journal(&view, &journal)?;
    drop(view);
    for name in BESIDE {
        copy_small(&data.join(name), &to.join(name))?;
    }
    if let Some(places) = places {
        let path = to.join(webhooks::FILE);
        fs::write(&path, places).map_err(on("write", &path))?;
        sync(&path)?;
    }
    let (store, store_error) = match copy_store(store, &to.join("store.db")) {
        Ok(store) => (store, None),
        Err(error) => (None, Some(error.to_string())),
    };
    sync(&journal)?;
    sync(to)?;
    let (first_epoch, epoch, snapshot_epoch) = read(&View::open(&journal).map_err(on("read back", &journal))?)?;
    // A truncated copy looks like the end of a journal.
    if epoch != original {
        return Err(BackupError::Short { copied: epoch, original });
    }
    Ok(Backup { epoch, first_epoch, snapshot_epoch, journal_bytes, store, store_error })
}

fn copy_store(moment: Option<Result<SqliteMoment, StoreError>>, to: &Path) -> Result<Option<StoreCopy>, StoreError> {
    let Some(moment) = moment.transpose()? else { return Ok(None) };
    let copied = moment.copy_to(to);
    if copied.is_err() {
        // A part of a store is none.
        let _ = fs::remove_file(to);
    }
    Ok(Some(StoreCopy { epoch: moment.cursor(), bytes: copied? }))
}

/// What a copy consists of, as it was at one moment.
struct Moment {
    /// None without a file of the store.
    store: Option<Result<SqliteMoment, StoreError>>,
    /// Where webhooks were, if there are any.
    places: Option<Vec<u8>>,
    view: View,
}

/// A consistent store and journal: the journal continues where the store and the webhooks are, and the snapshot is not ahead of the
/// store. A store that cannot be read keeps nobody from copying the journal.
fn moment(data: &Path, store: Option<&Path>) -> Result<Moment, BackupError> {
    let journal = data.join("journal");
    let mut tries = PATIENCE.as_millis() / PAUSE.as_millis();
    loop {
        let store = store.map(SqliteMoment::of);
        // Before the journal, which would otherwise end before them; and right before, so that it does not begin behind them.
        let places = read_small(&data.join(webhooks::FILE))?;
        let view = View::open(&journal).map_err(on("read", &journal))?;
        let Some(Ok(pinned)) = &store else { return Ok(Moment { store, places, view }) };
        let snapshot = view.snapshots().newest()?.map_or(0, |snapshot| snapshot.summary().last_epoch);
        let oldest = files::oldest_epoch(&view).map_err(RecoveryError::from)?.unwrap_or(1);
        // A store that stays behind, because it was lost or cannot be written, is copied as it is.
        if (snapshot <= pinned.cursor() && oldest <= pinned.cursor() + 1) || tries == 0 {
            return Ok(Moment { store, places, view });
        }
        tries -= 1;
        drop(store);
        thread::sleep(PAUSE);
    }
}

/// None if there is no such file.
fn read_small(path: &Path) -> Result<Option<Vec<u8>>, BackupError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(on("read", path)(error)),
    }
}

/// The newest snapshot, and every segment that is not empty.
fn copy_journal(view: &View, to: &Path) -> Result<u64, BackupError> {
    let newest = view.files().filter_map(|(name, _)| snapshot_epoch(name)).max();
    let mut bytes = 0;
    for (name, file) in view.files() {
        let is_needed =
            segment_id(name).is_some() && file.has_content() || newest.is_some() && snapshot_epoch(name) == newest;
        if is_needed {
            let path = to.join(name);
            let copied = File::create_new(&path).and_then(|mut copy| {
                let bytes = file.copy_to(&mut copy)?;
                copy.sync_all()?;
                Ok(bytes)
            });
            bytes += copied.map_err(on("copy to", &path))?;
        }
    }
    Ok(bytes)
}

fn copy_small(from: &Path, to: &Path) -> Result<(), BackupError> {
    match fs::copy(from, to) {
        Ok(_) => sync(to),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(on("copy", from)(error)),
    }
}

/// Checks every checksum, and that the journal covers what the snapshot needs. Returns the first epoch, the last, and the
/// snapshot's last.
fn read(view: &View) -> Result<(Epoch, Epoch, Option<Epoch>), BackupError> {
    let snapshot = match view.snapshots().newest()? {
        Some(mut snapshot) => {
            while snapshot.next_chunk()?.is_some() {}
            Some(snapshot.summary())
        }
        None => None,
    };
    let oldest = files::oldest_epoch(view).map_err(RecoveryError::from)?.unwrap_or(0);
    let needed = snapshot.map_or(1, |snapshot| snapshot.first_epoch);
    let reaches = snapshot.map_or(0, |snapshot| snapshot.last_epoch);
    let from = if oldest == 0 { needed } else { needed.min(oldest) };
    let scan = files::scan(view, from, reaches, |_, _| Ok(()))?;
    Ok((oldest, scan.tail.last_epoch, snapshot.map(|snapshot| snapshot.last_epoch)))
}

/// The contents of the directory's file `last-backup`.
#[derive(Serialize, Deserialize)]
struct Last<'a> {
    at: Timestamp,
    epoch: Epoch,
    to: Cow<'a, Path>,
}

const LAST_FILE: &str = "last-backup";

/// Records the backup in the data directory, so that the service can report its age.
pub fn note(data: &Path, at: Timestamp, backup: &Backup, to: &Path) -> Result<(), BackupError> {
    let last = Last { at, epoch: backup.epoch, to: to.into() };
    let file = data.join(LAST_FILE);
    let text = serde_json::to_string(&last).expect("a path, a time and a number are JSON") + "\n";
    replace(&file, text.as_bytes()).map_err(on("write", &file))
}

/// When the last recorded backup of the data directory began.
pub fn last(data: &Path) -> Option<Timestamp> {
    let text = fs::read(data.join(LAST_FILE)).ok()?;
    serde_json::from_slice::<Last<'_>>(&text).ok().map(|last| last.at)
}

fn publish(unfinished: &Path, to: &Path) -> Result<(), BackupError> {
    fs::rename(unfinished, to).map_err(on("rename", unfinished))?;
    match to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync(parent),
        None => sync(Path::new(".")),
    }
}

fn sync(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(on("sync", path))
}

fn on<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BackupError + 'a {
    move |source| BackupError::File { action, path: path.to_owned(), source }
}
