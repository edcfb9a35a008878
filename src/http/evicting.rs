//! A bounded set of connections, which always has room for the next one.
//!
//! Invariant: a new connection is never refused and never waits. Past the limit, the connection that has waited longest for its
//! client is closed. A connection that is being answered is closed only if all of them are being answered.

use std::rc::Rc;

use tokio::task::{AbortHandle, JoinHandle, yield_now};

use super::activity::Activity;

pub(super) struct EvictingSet {
    most: usize,
    connections: Vec<(Rc<Activity>, AbortHandle)>,
}

impl EvictingSet {
    /// `most`: at least 1.
    pub(super) fn new(most: usize) -> Self {
        Self { most, connections: Vec::new() }
    }

    /// Adds a connection that this task serves. Returns once the set is within the limit: a listener that accepted more at once
    /// could hold many connections that are already closed, and use up descriptors.
    pub(super) async fn admit(&mut self, activity: Rc<Activity>, serving: &JoinHandle<()>) {
        self.connections.retain(|(_, serving)| !serving.is_finished());
        if self.connections.len() >= self.most {
            let waiting = |(_, (activity, _)): &(usize, &(Rc<Activity>, AbortHandle))| {
                let since = activity.waits_since();
                (since.is_none(), since)
            };
            let longest = self.connections.iter().enumerate().min_by_key(waiting);
            let (place, _) = longest.expect("the limit is at least 1");
            let closing = self.connections.remove(place).1;
            closing.abort();
            while !closing.is_finished() {
                yield_now().await;
            }
        }
        self.connections.push((activity, serving.abort_handle()));
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending, time::Duration};

    use tokio::task::{LocalSet, spawn_local};

    use super::*;
    use crate::http::activity::{Lingering, Timeouts};

    /// Counts itself as long as it is there, as a socket is.
    struct Open(Rc<Cell<usize>>);

    impl Open {
        fn new(open: &Rc<Cell<usize>>) -> Self {
            open.set(open.get() + 1);
            Self(open.clone())
        }
    }

    impl Drop for Open {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    #[test]
    fn what_takes_another_s_place_waits_until_that_is_closed() {
        let hour = Duration::from_secs(3600);
        let lingering = Lingering { rest_bytes_max: 1, bytes_max: 1, time: hour };
        let timeouts = Timeouts { idle_time: hour, head_time: hour, stall_time: hour, lingering };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (mut set, open) = (EvictingSet::new(2), Rc::new(Cell::new(0)));
            for _ in 0..100 {
                let connection = Open::new(&open);
                let serving = spawn_local(async move {
                    let _connection = connection;
                    pending::<()>().await;
                });
                set.admit(Activity::new(timeouts), &serving).await;
                assert!(open.get() <= 2, "{} are open", open.get());
            }
        });
    }
}
