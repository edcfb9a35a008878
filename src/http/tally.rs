//! What one worker counted since its last turn.
//!
//! Counters and samples are of the whole service: a cache line each, which workers would take from one another with every
//! request. So a worker notes what it counts, and tells it once per turn of its event loop, behind all that was ready.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::sync::Notify;

use crate::telemetry::Telemetry;

/// Requests noted before they are told all the same.
const NOTED_MAX: usize = 256;

pub struct Tally {
    telemetry: Arc<Telemetry>,
    requests: RefCell<Vec<Answered>>,
    /// Holds made.
    held: Cell<u64>,
    due: Notify,
}

/// A request that was answered.
struct Answered {
    route: usize,
    status: u16,
    took: Duration,
}

impl Tally {
    /// The calling thread's; must be called inside its `LocalSet`.
    pub fn start(telemetry: Arc<Telemetry>) -> Rc<Self> {
        let requests = RefCell::new(Vec::with_capacity(NOTED_MAX));
        let tally = Rc::new(Self { telemetry, requests, held: Cell::new(0), due: Notify::new() });
        let told = tally.clone();
        tokio::task::spawn_local(async move {
            loop {
                // Woken to the end of the queue of tasks that are ready.
                told.due.notified().await;
                told.tell();
            }
        });
        tally
    }

    pub fn answered(&self, route: usize, status: u16, took: Duration) {
        let mut requests = self.requests.borrow_mut();
        requests.push(Answered { route, status, took });
        match requests.len() {
            1 => self.due.notify_one(),
            NOTED_MAX => {
                drop(requests);
                self.tell();
            }
            _ => {}
        }
    }

    pub fn held(&self) {
        if self.held.replace(self.held.get() + 1) == 0 {
            self.due.notify_one();
        }
    }

    fn tell(&self) {
        let mut requests = self.requests.borrow_mut();
        for alike in requests.chunk_by(|one, next| (one.route, one.status) == (next.route, next.status)) {
            let took = alike.iter().map(|request| request.took);
            self.telemetry.edge.observe(alike[0].route, alike[0].status, took);
        }
        requests.clear();
        match self.held.take() {
            0 => {}
            held => self.telemetry.reservations.held(held),
        }
    }
}
