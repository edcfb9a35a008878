//! A worker: the state that one core's requests share.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use arc_swap::Guard;
use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};

use super::{
    buffers::Buffers,
    limits::Limits,
    request_log::RequestLog,
    response::{self, BoxedResponse},
    tls::Tls,
    waiters::{OutcomeUnknown, Waiters},
};
use crate::{
    api::{self, Api, problems, refused::Refused},
    auth::Keyring,
    engine::{Engine, Epoch},
    traces::{self, Tracer},
};

/// What all workers share.
pub struct Service {
    pub api: Arc<api::Service>,
    pub limits: Limits,
    /// The memory budget for bodies and answers in flight.
    pub buffers: Arc<Buffers>,
    /// None: the API is unencrypted.
    pub tls: Option<Tls>,
    pub contracts: Contracts,
    pub request_log: RequestLog,
    /// None: nothing is traced.
    pub tracer: Option<Arc<Tracer>>,
    /// Whether answers wait for the disk; false is `journal.ack = "buffered"`.
    pub wait_for_disk: bool,
}

/// The OpenAPI document, made once for a service without keys and once for one with keys.
pub struct Contracts {
    pub open: Bytes,
    pub with_keys: Bytes,
}

/// The keys in force, as a worker has them.
struct Keys {
    /// The published keys, of which `own` is a copy.
    published: Arc<Keyring>,
    own: Keyring,
}

impl Keys {
    fn new(published: Arc<Keyring>) -> Self {
        Self { own: published.apart(), published }
    }
}

pub(super) struct Worker {
    pub service: Arc<Service>,
    pub api: Api,
    waiters: Rc<Waiters>,
    /// Set when this iteration of the event loop changed something; the journal is woken once per iteration.
    changed: Rc<Notify>,
    /// Answers of this iteration that wait for the disk.
    left_waiting: Rc<Cell<usize>>,
    keys: RefCell<Keys>,
    /// Portions of large requests come one at a time, however many such requests there are.
    portions: Semaphore,
}

impl Worker {
    /// The calling thread's worker; must be called inside its `LocalSet`.
    pub(super) fn start(service: Arc<Service>) -> Rc<Self> {
        let changed = Rc::new(Notify::new());
        let left_waiting = Rc::new(Cell::new(0));
        let (notified, waiting, signal) = (changed.clone(), left_waiting.clone(), service.api.signal.clone());
        tokio::task::spawn_local(async move {
            loop {
                // Wakes to the end of the ready queue, so that all ready tasks run first.
                notified.notified().await;
                signal.notify_for(waiting.take());
            }
        });
        let (api, waiters) = (Api::new(service.api.clone()), Waiters::start(service.api.engine.clone()));
        let keys = RefCell::new(Keys::new(service.api.keyring.load_full()));
        Rc::new(Self { service, api, waiters, changed, left_waiting, keys, portions: Semaphore::new(1) })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.service.api.engine
    }

    /// Limits of what a call may ask.
    pub(super) fn limits(&self) -> &api::Limits {
        &self.service.api.limits
    }

    /// Answers that wait for the disk.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Looks at this worker's copy of the keys in force.
    pub(super) fn with_keys<T>(&self, look: impl FnOnce(&Keyring) -> T) -> T {
        let mut keys = self.keys.borrow_mut();
        let published = self.service.api.keyring.load();
        if !Arc::ptr_eq(&published, &keys.published) {
            *keys = Keys::new(Guard::into_inner(published));
        }
        look(&keys.own)
    }

    /// Resolves once the epoch is durable, or at once if the journal acknowledges early.
    pub(super) async fn durable(&self, epoch: Epoch) -> Result<(), OutcomeUnknown> {
        if epoch > self.engine().durability().epoch() {
            self.notify_journal();
            if self.service.wait_for_disk {
                self.left_waiting.update(|waiting| waiting + 1);
                let durable = self.waiters.durable(epoch);
                let traced = self.service.tracer.is_some();
                return if traced { traces::wait_for_disk(epoch, durable).await } else { durable.await };
            }
        }
        // After all ready requests: answers that leave together wake their callers once.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// The answer to a request that was refused before the rules were asked, once the state that it rests on is durable: among these refusals, only those about
    /// quotas rest on an operator's change.
    pub(super) fn refuse(&self, refused: Refused) -> impl Future<Output = BoxedResponse> + use<'_> {
        let rests_on =
            if refused.problem.code == problems::RATE_LIMITED.code { self.engine().operator_epoch() } else { 0 };
        let answer = response::refused(&refused);
        async move {
            if rests_on <= self.engine().durability().epoch() {
                return answer;
            }
            // Boxed: it is rare, and the futures of all requests should not be larger for it.
            match Box::pin(self.durable(rests_on)).await {
                Ok(()) => answer,
                Err(OutcomeUnknown) => response::refused(&Refused::outcome_unknown()),
            }
        }
    }

    /// Wakes the journal for a change that no request waits for.
    pub(super) fn notify_journal(&self) {
        self.changed.notify_one();
    }

    /// Does a portion of a large request's work. All ready tasks, and sockets, run before the next portion of any such request.
    pub(super) async fn in_portions<T>(&self, portion: impl FnOnce() -> T) -> T {
        let _portion = self.portions.acquire().await.expect("it is never closed");
        let done = portion();
        tokio::task::yield_now().await;
        done
    }

    /// Does long work on a low-priority thread, while the worker's other requests continue. The work runs to its end, even if
    /// nobody waits for it any more.
    pub(super) async fn aside<T: Send + 'static>(&self, work: impl FnOnce(&Service) -> T + Send + 'static) -> T {
        let service = self.service.clone();
        tokio::task::spawn_blocking(move || work(&service)).await.expect("the work does not panic")
    }
}
