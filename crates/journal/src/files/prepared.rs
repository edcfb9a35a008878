//! Prepares the next segment before it is needed, so that no commit waits for a file to be allocated.
//!
//! The thread that runs [`PreparedSegment::work`] makes the segments that the writer orders. It is optional: the writer makes a
//! missing segment itself, so it works the same without a second thread.

use std::mem;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::segment;
use super::storage::{Storage, StorageFailure, StorageFile};
use crate::TARGET;

pub(crate) struct PreparedSegment {
    storage: Arc<dyn Storage>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    order: Order,
    closed: bool,
}

enum Order {
    Nothing,
    Wanted { segment: u64, bytes: u64 },
    Making,
    Ready { segment: u64, file: Arc<dyn StorageFile> },
}

impl PreparedSegment {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> PreparedSegment {
        let state = Mutex::new(State { order: Order::Nothing, closed: false });
        PreparedSegment { storage, state, changed: Condvar::new() }
    }

    /// Asks for a segment of `bytes`, to be taken later.
    pub(crate) fn order(&self, segment: u64, bytes: u64) {
        self.state.lock().order = Order::Wanted { segment, bytes };
        self.changed.notify_all();
    }

    /// The segment, of at least `bytes`: the one made ahead where it is ready and large enough.
    pub(crate) fn take(&self, segment: u64, bytes: u64) -> Result<Arc<dyn StorageFile>, StorageFailure> {
        let mut state = self.state.lock();
        while matches!(state.order, Order::Making) {
            self.changed.wait(&mut state);
        }
        let order = mem::replace(&mut state.order, Order::Nothing);
        drop(state);
        let name = segment::name(segment);
        if let Order::Ready { segment: ready, file } = order {
            assert_eq!(ready, segment, "the prepared segment is not the next one");
            if file.size().map_err(StorageFailure::on("stat", &name))? >= bytes {
                return Ok(file);
            }
            self.storage.remove(&name).map_err(StorageFailure::on("remove", &name))?;
        }
        self.storage.create(&name, bytes).map_err(StorageFailure::on("create", &name))
    }

    /// Makes what is ordered, until closed.
    pub(crate) fn work(&self) {
        while self.step() {}
    }

    /// Waits for an order and carries it out; `false` once closed.
    pub(crate) fn step(&self) -> bool {
        let mut state = self.state.lock();
        let (segment, bytes) = loop {
            match state.order {
                _ if state.closed => return false,
                Order::Wanted { segment, bytes } => break (segment, bytes),
                _ => self.changed.wait(&mut state),
            }
        };
        state.order = Order::Making;
        drop(state);
        let made = self.make(segment, bytes);
        self.state.lock().order = made;
        self.changed.notify_all();
        true
    }

    /// Ends [`PreparedSegment::work`].
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    fn make(&self, segment: u64, bytes: u64) -> Order {
        let name = segment::name(segment);
        match self.storage.create(&name, bytes) {
            Ok(file) => Order::Ready { segment, file },
            Err(error) => {
                // Not final yet: there may be room again by the time the segment is needed, and it is tried once more then.
                tracing::warn!(target: TARGET, file = name, bytes, %error, "cannot prepare the next journal segment");
                Order::Nothing
            }
        }
    }
}
