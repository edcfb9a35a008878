//! The one thread that delivers to all endpoints, and saves where they are.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::{JoinSet, LocalSet},
    time::{Instant, sleep_until},
};

use super::{
    Endpoint, Sender, Settings, Status, Unusable, Webhooks,
    endpoint::Driver,
    file::{self, FILE, Place, Places},
};
use crate::{
    clock::{Clock, Runtime},
    engine::Engine,
    events::{Cursor, Events},
    telemetry::Telemetry,
};

/// How often positions are saved at most. After a crash, at least what was delivered in this time is sent again.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// What endpoints work with.
#[derive(Clone)]
pub struct Parts {
    pub engine: Arc<Engine>,
    pub events: Events,
    /// The steady time, for decisions.
    pub clock: Arc<dyn Clock>,
    /// The time of day that signatures name, and randomness.
    pub runtime: Arc<dyn Runtime>,
    pub telemetry: Arc<Telemetry>,
}

/// Forgets where endpoints were that the configuration no longer has.
pub fn forget_all(directory: &Path) -> Result<(), Unusable> {
    let unusable = |source| Unusable::File { path: directory.join(FILE), source };
    let known = file::read(directory).map_err(unusable)?;
    tell_forgotten(&known, &Places::new());
    if known.is_empty() { Ok(()) } else { file::write(directory, &Places::new()).map_err(unusable) }
}

fn tell_forgotten(known: &Places, places: &Places) {
    for name in known.keys().filter(|name| !places.contains_key(*name)) {
        tracing::warn!(
            webhook = name,
            "the configuration no longer has this webhook: events that it did not get are dropped, and a webhook of another name, \
             or of this name later, begins with the events from then on"
        );
    }
}

/// The running thread.
pub struct Delivering {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Reads what the endpoints need, and starts the thread; `prepare` is run on it first. Endpoints without a position begin with what
/// becomes durable from now on.
pub fn start(
    settings: Vec<Settings>,
    directory: PathBuf,
    parts: Parts,
    prepare: impl FnOnce() + Send + 'static,
) -> Result<(Arc<Webhooks>, Delivering), Unusable> {
    let unusable = |source| Unusable::File { path: directory.join(FILE), source };
    let known = file::read(&directory).map_err(unusable)?;
    let now = Cursor::behind(parts.engine.durability().epoch());
    let mut places = Places::new();
    let mut senders = Vec::new();
    let mut endpoints = Vec::new();
    for settings in settings {
        let place = known.get(&settings.name).copied().unwrap_or_else(|| Place::new(now));
        senders.push(settings.sender()?);
        places.insert(settings.name.clone(), place);
        endpoints.push(Arc::new(Endpoint {
            secrets: ArcSwap::from_pointee(settings.secrets()?),
            status: Mutex::new(status_of(place)),
            resumed: Notify::new(),
            saved_epoch: place.cursor().epoch.into(),
            count: parts.telemetry.webhook(&settings.name),
            settings,
        }));
    }
    tell_forgotten(&known, &places);
    if places != known {
        // Before the first request: what it changes is for the endpoints that are new now.
        file::write(&directory, &places).map_err(unusable)?;
    }
    let webhooks = Arc::new(Webhooks { endpoints, ..Webhooks::default() });
    let (stop, stopping) = watch::channel(false);
    // Each endpoint resolves one name at a time.
    let threads = webhooks.endpoints.len().max(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(threads).build();
    let runtime = runtime.map_err(Unusable::Thread)?;
    let delivery = Delivery { webhooks: webhooks.clone(), directory, parts, places, stopping };
    let thread = thread::Builder::new().name("webhooks".to_owned()).spawn(move || {
        prepare();
        LocalSet::new().block_on(&runtime, delivery.run(senders));
        // A name that is being resolved is not waited for.
        runtime.shutdown_background();
    });
    Ok((webhooks, Delivering { stop, thread: Some(thread.map_err(Unusable::Thread)?) }))
}

fn status_of(place: Place) -> Status {
    let (parked_at, skipped_at) = (place.parked_at(), place.skipped_at());
    Status { parked_at, skipped_at, read_to: place.cursor().epoch, ..Status::default() }
}

impl Delivering {
    /// From now on nothing more is started, and deliveries under way have a moment to end.
    pub fn begin_to_stop(&self) {
        let _ = self.stop.send(true);
    }

    /// Waits until they have, and where each endpoint is has been saved.
    pub fn stop(&mut self) {
        self.begin_to_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the webhooks' thread does not panic");
        }
    }
}

struct Delivery {
    webhooks: Arc<Webhooks>,
    directory: PathBuf,
    parts: Parts,
    places: Places,
    stopping: watch::Receiver<bool>,
}

/// Where the endpoints are, as they say it; what is saved follows.
pub(super) struct Board {
    places: Mutex<Places>,
    /// Something changed that is to be saved at once.
    urgent: Notify,
}

impl Board {
    pub(super) fn note(&self, name: &str, place: Place) {
        if let Some(known) = self.places.lock().get_mut(name) {
            *known = place;
        }
    }

    pub(super) fn save_now(&self) {
        self.urgent.notify_one();
    }
}

impl Delivery {
    async fn run(mut self, senders: Vec<Sender>) {
        let board = Rc::new(Board { places: Mutex::new(self.places.clone()), urgent: Notify::new() });
        let mut drivers = JoinSet::new();
        for (endpoint, sender) in self.webhooks.endpoints.iter().zip(senders) {
            let place = self.places[&endpoint.settings.name];
            let (parts, stopping) = (self.parts.clone(), self.stopping.clone());
            let journal_from = self.webhooks.journal_from.subscribe();
            let driver = Driver::new(endpoint.clone(), sender, parts, board.clone(), place, journal_from, stopping);
            drivers.spawn_local(driver.run());
        }
        let mut due = Instant::now() + SAVE_INTERVAL;
        loop {
            tokio::select! {
                () = sleep_until(due) => {}
                () = board.urgent.notified() => {}
                ended = drivers.join_next() => if ended.is_none() {
                    break;
                },
            }
            self.save(&board);
            due = Instant::now() + SAVE_INTERVAL;
        }
        self.save(&board);
    }

    fn save(&mut self, board: &Board) {
        let places = board.places.lock().clone();
        if places == self.places {
            return;
        }
        match file::write(&self.directory, &places) {
            Ok(()) => {
                for endpoint in &self.webhooks.endpoints {
                    let epoch = places[&endpoint.settings.name].cursor().epoch;
                    endpoint.saved_epoch.store(epoch, Ordering::Release);
                }
                self.places = places;
            }
            Err(error) => tracing::warn!(
                %error,
                "could not save where webhooks are; the service tries again, and after a crash sends more events twice"
            ),
        }
    }
}
