//! One data directory, one process.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
    thread,
    time::Duration,
};

use super::StartError;

/// Whoever only looks whether a service runs has the lock for less than a moment: see `reconcile`.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Held as long as the service runs; the kernel lets it go with the process, however that ends.
pub struct DirectoryLock(#[expect(dead_code, reason = "held, not read")] File);

impl DirectoryLock {
    /// Makes the directory where it is missing, and takes its lock.
    pub fn take(path: &Path) -> Result<Self, StartError> {
        let refuse = |source| StartError::Directory { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(refuse)?;
        let file = File::options().create(true).truncate(false).write(true).open(path.join("lock")).map_err(refuse)?;
        let mut tries = TRIES;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if tries > 1 => {
                    tries -= 1;
                    thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => return Err(StartError::InUse { path: path.to_owned() }),
                Err(TryLockError::Error(source)) => return Err(refuse(source)),
            }
        }
    }
}
