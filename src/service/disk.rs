//! Measures the free space on the journal's file system, and refuses new reservations when it is too low.
//!
//! A full disk ends the service, and then customers who have paid get no confirm. So the last part of the disk is kept for
//! commands that end reservations. A request only reads a flag, which this thread sets.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{StartError, Stoppable, priority::run_beside_requests};
use crate::{config::Config, engine::Engine, telemetry::Telemetry};

/// Between two looks. A disk that takes 2 GB a second loses 200 MB meanwhile: less than half of the usual reserve.
const INTERVAL: Duration = Duration::from_millis(100);

/// What is kept where the configuration leaves it open, and the share of a small file system that takes its place.
const RESERVE_BYTES: u64 = 512 << 20;
const RESERVE_SHARE: u64 = 8;

/// What must be available beyond the reserve before reservations are taken again, so that they are not taken and refused in
/// turns: a share of the reserve, and no more than this.
const MARGIN_SHARE: u64 = 8;
const MARGIN_BYTES_MAX: u64 = 64 << 20;

pub(super) struct DiskSpace {
    engine: Arc<Engine>,
    journal: PathBuf,
    /// 0: to be chosen by the size of the file system.
    configured_bytes: u64,
    available_bytes: AtomicU64,
    reserve_bytes: AtomicU64,
    /// The kernel does not report it; this was logged.
    unknown: AtomicBool,
}

impl DiskSpace {
    pub(super) fn new(engine: Arc<Engine>, config: &Config) -> Self {
        Self {
            engine,
            journal: config.journal_dir(),
            configured_bytes: config.journal.disk_reserve_bytes,
            available_bytes: AtomicU64::new(0),
            reserve_bytes: AtomicU64::new(config.journal.disk_reserve_bytes),
            unknown: AtomicBool::new(false),
        }
    }

    pub(super) fn available_bytes(&self) -> u64 {
        self.available_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes.load(Ordering::Relaxed)
    }

    /// Reads the free space. If the kernel does not report it, nothing changes.
    pub(super) fn measure(&self, telemetry: &Telemetry) {
        let disk = match rustix::fs::statvfs(&self.journal) {
            Ok(disk) => disk,
            Err(error) => {
                if !self.unknown.swap(true, Ordering::Relaxed) {
                    let path = self.journal.display();
                    tracing::warn!(%error, %path, "cannot determine the free space on the journal's disk");
                }
                return;
            }
        };
        self.unknown.store(false, Ordering::Relaxed);
        let available = disk.f_bavail.saturating_mul(disk.f_frsize);
        let reserve = reserve(self.configured_bytes, disk.f_blocks.saturating_mul(disk.f_frsize));
        self.available_bytes.store(available, Ordering::Relaxed);
        self.reserve_bytes.store(reserve, Ordering::Relaxed);
        let was_low = self.engine.disk_low();
        let low = is_low(available, reserve, was_low);
        if low != was_low {
            self.engine.set_disk_low(low);
            if low {
                tracing::warn!(
                    available_bytes = available,
                    reserve_bytes = reserve,
                    path = %self.journal.display(),
                    "the journal's disk is nearly full: the service refuses new reservations with disk_low, confirms \
                     and releases still work. Free space on the disk; reserving then works again"
                );
            } else {
                tracing::info!(
                    available_bytes = available,
                    "the journal's disk has enough space again: the service takes reservations"
                );
            }
        }
        telemetry.journal.disk(available, reserve, low);
    }
}

pub(super) fn start(disk: Arc<DiskSpace>, telemetry: &Arc<Telemetry>) -> Result<Stoppable, StartError> {
    let telemetry = telemetry.clone();
    let step = move || {
        disk.measure(&telemetry);
        INTERVAL
    };
    Stoppable::every("disk", run_beside_requests, step)
}

fn reserve(configured_bytes: u64, disk_bytes: u64) -> u64 {
    match configured_bytes {
        0 => RESERVE_BYTES.min(disk_bytes / RESERVE_SHARE),
        bytes => bytes,
    }
}

fn is_low(available: u64, reserve: u64, was_low: bool) -> bool {
    let margin = if was_low { (reserve / MARGIN_SHARE).min(MARGIN_BYTES_MAX) } else { 0 };
    available < reserve + margin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_keeps_a_share_and_a_configured_reserve_is_kept_as_it_is() {
        assert_eq!(reserve(0, 1 << 40), 512 << 20);
        assert_eq!(reserve(0, 64 << 20), 8 << 20);
        assert_eq!(reserve(7, 1 << 40), 7);
    }

    #[test]
    fn it_is_low_below_the_reserve_until_there_is_a_margin_above_it() {
        let reserve = 800;
        assert!(!is_low(800, reserve, false) && is_low(799, reserve, false));
        assert!(is_low(899, reserve, true) && !is_low(900, reserve, true));
        let large = 1 << 40;
        assert!(!is_low(large + MARGIN_BYTES_MAX, large, true), "the margin is bounded");
        assert!(
            !is_low(1, 1, true) && !is_low(1, 1, false),
            "with a reserve of 1 it is never low while a byte is left"
        );
    }
}
