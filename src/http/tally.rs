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

use crate::{
    sale::outcome::Refusal,
    telemetry::{REASONS, Telemetry, reason_place},
};

/// Requests noted before they are told all the same.
const NOTED_MAX: usize = 256;

pub struct Tally {
    telemetry: Arc<Telemetry>,
    requests: RefCell<Vec<Answered>>,
    /// Holds made.
    held: Cell<u64>,
    /// Reserves refused, by the places of their reasons.
    refused: [Cell<u64>; REASONS.len()],
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
        let refused = std::array::from_fn(|_| Cell::new(0));
        let tally = Rc::new(Self { telemetry, requests, held: Cell::new(0), refused, due: Notify::new() });
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

    /// A reserve made a hold.
    pub fn held(&self) {
        self.count(&self.held);
    }

    /// A reserve was refused.
    pub fn refused(&self, refusal: &Refusal) {
        self.count(&self.refused[reason_place(refusal)]);
    }

    fn count(&self, cell: &Cell<u64>) {
        if cell.replace(cell.get() + 1) == 0 {
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
        let reservations = &self.telemetry.reservations;
        if self.held.get() > 0 {
            reservations.held(self.held.take());
        }
        for (place, refused) in self.refused.iter().enumerate().filter(|(_, refused)| refused.get() > 0) {
            reservations.refused(place, refused.take());
        }
    }
}
