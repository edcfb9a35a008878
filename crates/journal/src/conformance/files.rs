//! The log and the snapshots in files: in memory, with power losses, and in a real directory, with killed processes.

use super::*;
use crate::{
    files::{DirectoryStorage, EIO, FileLog, FileSettings, FileSnapshots, MemoryStorage, Storage, Survival},
    tests::StoppedClock,
};

fn open(storage: Arc<dyn Storage>) -> Opened {
    let settings = FileSettings { segment_bytes: 2048, clock: Arc::new(StoppedClock) };
    let log = Arc::new(FileLog::new(storage.clone(), settings));
    Opened { log, snapshots: Arc::new(FileSnapshots::new(storage)) }
}

mod with_power_losses {
    use super::*;

    #[derive(Default)]
    struct Disk {
        storage: MemoryStorage,
        crashes: u64,
    }

    impl Subject for Disk {
        fn open(&mut self) -> Opened {
            super::open(Arc::new(self.storage.clone()))
        }

        fn crash(&mut self) {
            self.crashes += 1;
            let survival = match self.crashes % 3 {
                0 => Survival::Everything,
                1 => Survival::Nothing,
                _ => Survival::Sectors { seed: self.crashes, sector_bytes: 64 },
            };
            self.storage = self.storage.crash(survival);
        }

        fn inject(&mut self, trouble: Trouble) -> bool {
            match trouble {
                Trouble::UnknownAppend => self.storage.fail_sync(1, EIO),
                // Whatever fails may have written something.
                Trouble::RetryableAppend => return false,
                Trouble::StopAfter(steps) => self.storage.die_after(steps),
            }
            true
        }

        /// The directory's lock keeps others out.
        fn lets_owners_overtake(&self) -> bool {
            false
        }
    }

    crate::conformance::suite!(Disk::default());
}

mod in_a_directory {
    use super::*;

    struct Directory(tempfile::TempDir);

    impl Subject for Directory {
        fn open(&mut self) -> Opened {
            super::open(Arc::new(DirectoryStorage::open(self.0.path().join("journal")).unwrap()))
        }

        /// The process is killed: what it wrote stays.
        fn crash(&mut self) {}

        fn inject(&mut self, _trouble: Trouble) -> bool {
            false
        }

        fn lets_owners_overtake(&self) -> bool {
            false
        }
    }

    crate::conformance::suite!(Directory(tempfile::tempdir().unwrap()));
}
