//! So many connections of strangers at a time, and always room for the next one.
//!
//! Invariant: a newcomer is never turned away and never waits. Past the limit the connection that has been waiting for its
//! client the longest is closed. A connection that is being answered is closed only when all of them are.

use std::rc::Rc;

use tokio::task::{AbortHandle, JoinHandle};

use super::timed::Activity;

pub struct Crowd {
    most: usize,
    connections: Vec<(Rc<Activity>, AbortHandle)>,
}

impl Crowd {
    /// `most`: at least 1.
    pub fn new(most: usize) -> Self {
        Self { most, connections: Vec::new() }
    }

    /// Takes in a connection that this task serves.
    pub fn admit(&mut self, activity: Rc<Activity>, serving: &JoinHandle<()>) {
        self.connections.retain(|(_, serving)| !serving.is_finished());
        if self.connections.len() >= self.most {
            let waiting = |(_, (activity, _)): &(usize, &(Rc<Activity>, AbortHandle))| {
                let since = activity.waits_since();
                (since.is_none(), since)
            };
            let longest = self.connections.iter().enumerate().min_by_key(waiting);
            let (place, _) = longest.expect("the limit is at least 1");
            self.connections.remove(place).1.abort();
        }
        self.connections.push((activity, serving.abort_handle()));
    }
}
