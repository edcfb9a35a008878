//! The log and the snapshots in memory.

use super::*;
use crate::memory::{Fault, MemoryLog, MemorySnapshots};

#[derive(Default)]
struct InMemory {
    log: MemoryLog,
    snapshots: MemorySnapshots,
}

impl Subject for InMemory {
    fn open(&mut self) -> Opened {
        Opened { log: Arc::new(self.log.clone()), snapshots: Arc::new(self.snapshots.clone()) }
    }

    fn crash(&mut self) {}

    fn inject(&mut self, trouble: Trouble) -> bool {
        match trouble {
            Trouble::UnknownAppend => self.log.fail_after(0, Fault::Unknown { appended: true }),
            Trouble::RetryableAppend => self.log.fail_after(0, Fault::Retryable),
            Trouble::StopAfter(steps) => {
                self.log.fail_after(steps, Fault::Unknown { appended: steps.is_multiple_of(2) });
                // Snapshots have no steps.
                return steps < 60;
            }
        }
        true
    }

    fn lets_owners_overtake(&self) -> bool {
        true
    }
}

super::suite!(InMemory::default());
