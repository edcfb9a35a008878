//! The whole service: recovers a data directory, runs its threads, and stops them in order.
//!
//! Threads: one per HTTP worker; `journal`, which makes batches durable; `clock`, which expires due holds; `disk`, which
//! measures the journal's free space; `store`, which writes behind; `snapshots`; `events`, which serves readers of the feed;
//! `webhooks`, if there are any; `observer`, which reads totals for metrics; `traces`, if requests are traced; `ops`, which answers probes.
//!
//! Invariant: the service takes requests only after recovery is complete and holds that fell due meanwhile have expired; every
//! acknowledged change is on disk before the process ends.

pub mod backlog;
mod cores;
mod cursor_key;
mod customers;
mod deadlines;
pub mod descriptors;
mod disk;
mod events;
pub mod feed;
mod figures;
mod health;
pub mod identity;
mod lag;
mod limits;
pub mod lock;
mod observer;
mod open;
pub mod pages;
mod priority;
mod reports;
pub mod snapshots;
mod store;
mod sweep;
mod webhooks;

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use self::limits::ops_limits;
pub use self::limits::{api_limits, http_limits};
pub(crate) use self::priority::yield_to_requests;
use self::{
    backlog::Backlog,
    disk::DiskSpace,
    health::ServiceHealth,
    lag::CommitTimes,
    lock::DirectoryLock,
    priority::{go_before_requests, run_beside_requests},
};
use crate::{
    api::{self, Rates, calls::Call, figures::FigureCache, refusal_counts::RefusalCounts},
    auth::{Channel, KeySettings, Keyring},
    clock::{Clock, Monotonic, Runtime, SteadyClock, SystemClock, monotonic, uptime},
    config::{self, Ack, Config},
    engine::{Engine, Noticed, RecoverError},
    http::{self, Listeners, ServerHandle, Tls, TlsError},
    journal::{self, AppendError, CommitSignal, Committer, SnapshotStore},
    pace::Paces,
    privacy::KeyError,
    sale::shard::EXPIRY_SPAN,
    store::StoreError,
    telemetry::{Bounds, Telemetry},
    traces::{self, Exporting, Tracer},
    webhooks::Unusable,
};

/// How long waiting answers get to leave after the disk failed.
const FAILURE_GRACE: Duration = Duration::from_millis(500);

/// How often it is looked whether rate limits remember too many callers, and every how many looks callers are forgotten.
const RATES_INTERVAL: Duration = Duration::from_millis(100);
const RATES_FORGOTTEN_EVERY: u64 = 10;

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{address}: {source}; choose another address, or stop the process that listens there")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the data directory {path} is in use by another process")]
    InUse { path: PathBuf },
    #[error("the data directory {path} cannot be used: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Journal(#[from] journal::RecoveryError<RecoverError>),
    #[error(transparent)]
    Snapshot(#[from] journal::SnapshotError),
    #[error("the journal and its snapshot contradict each other: {0}")]
    State(#[from] RecoverError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("TLS cannot be served: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    CustomerKey(#[from] KeyError),
    #[error(
        "the data directory identifies customers by {known}, but the configuration by {configured} (privacy): restore \
         the previous setting. With the new one, limits and idempotency keys would start afresh for everybody, and \
         erasing a customer would miss existing data. To accept that, delete {file}"
    )]
    OtherCustomers { known: String, configured: String, file: PathBuf },
    #[error(transparent)]
    Traces(#[from] traces::Unusable),
    #[error(transparent)]
    Webhooks(#[from] Unusable),
    #[error("could not start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// The journal failed while the service ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal could not be written; what was not acknowledged may be lost")]
pub struct JournalFailed;

/// A running service.
pub struct Running {
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where probes and metrics are.
    pub ops: SocketAddr,
    pub engine: Arc<Engine>,
    health: Arc<ServiceHealth>,
    edge: Arc<http::Service>,
    server: Option<ServerHandle>,
    journal_snapshots: Arc<dyn SnapshotStore>,
    telemetry: Arc<Telemetry>,
    signal: CommitSignal,
    journal: Option<JoinHandle<Result<(), AppendError>>>,
    journal_failed: Arc<Notify>,
    clock: Stoppable,
    store: Stoppable,
    snapshots: Stoppable,
    observer: Stoppable,
    rates: Stoppable,
    disk: Stoppable,
    events: events::Following,
    webhooks: Option<crate::webhooks::Delivering>,
    traces: Option<Exporting>,
    _lock: DirectoryLock,
}

/// A thread that looks at a flag, and is unparked to look at it at once.
struct Stoppable {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stoppable {
    fn start(name: &str, run: impl FnOnce(&AtomicBool) + Send + 'static) -> Result<Self, StartError> {
        Self::start_with(Arc::new(AtomicBool::new(false)), name, run)
    }

    /// Does what is due again and again: after the wait that `step` asks for, or at once when the thread is unparked.
    fn every(
        name: &str,
        prepare: impl FnOnce() + Send + 'static,
        mut step: impl FnMut() -> Duration + Send + 'static,
    ) -> Result<Self, StartError> {
        Self::start(name, move |stop| {
            prepare();
            while !stop.load(Ordering::Acquire) {
                thread::park_timeout(step());
            }
        })
    }

    /// As `start`, with a flag that others look at too.
    fn start_with(
        stop: Arc<AtomicBool>,
        name: &str,
        run: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> Result<Self, StartError> {
        let seen = stop.clone();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(&seen));
        Ok(Self { stop, thread: Some(thread.map_err(StartError::Thread)?) })
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().expect("a thread of the service does not panic");
        }
    }
}

impl Running {
    /// Brings the data directory back and serves it.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_then(config, || {})
    }

    /// As `start`; `about_to_serve` is called before the first request can come in.
    pub fn start_then(config: &Config, about_to_serve: impl FnOnce()) -> Result<Self, StartError> {
        let telemetry = Arc::new(telemetry(config));
        let tls = config.tls.files().as_ref().map(Tls::load).transpose()?;
        let customer_ids = config.privacy.customer_ids()?;
        let (tracer, traces) = traces(config, &telemetry)?;
        let lock = DirectoryLock::take(&config.data.dir)?;
        customers::keep(&config.data.dir, &customer_ids)?;
        let listeners = listen(config.server.listen, |address| Listeners::bind(address, config.workers()))?;
        let ops_listener = listen(config.server.ops_listen, TcpListener::bind)?;
        let ops = ops_listener.local_addr().map_err(StartError::Thread)?;
        let health = Arc::new(ServiceHealth::new(telemetry.clone()));
        serve_ops(ops_listener, health.clone(), ops_limits(config))?;

        let open::Opened { engine, log, snapshots: journal_snapshots } = open::open(config)?;
        let engine = Arc::new(engine);
        let steady = SteadyClock::begin(|wall| engine.time_at_start(wall, uptime()));
        let clock: Arc<dyn Clock> = Arc::new(steady);
        // The uptime is read after the time: what a later start makes of the two is rather late than early.
        engine.note_start(steady.now(), uptime(), env!("CARGO_PKG_VERSION"));
        // Keys that changed while nothing ran: before anybody can use one.
        note_keys(&engine, &*clock, "start", &config.auth.keys);
        // Holds are taken in spans of time: after one, everything that fell due before this start is taken.
        SystemClock.sleep(EXPIRY_SPAN);
        engine.tick(clock.now());
        let committer_settings = config.journal.committer_settings();
        let committer = Committer::new(engine.clone(), log.clone(), Arc::new(Monotonic), committer_settings);
        let signal = committer.signal();
        let backlog = Arc::new(Backlog::new(engine.clone(), config.journal.max_backlog_bytes));
        let commit_times = Arc::new(CommitTimes::new(monotonic()));
        observe_commits(&engine, &telemetry, &backlog, &commit_times);
        let disk = Arc::new(DiskSpace::new(engine.clone(), config));
        disk.measure(&telemetry);
        let (store, store_status) = store::start(config, &engine, &clock, &log, &backlog)?;

        let journal_failed = Arc::new(Notify::new());
        let journal = start_journal(committer, &journal_failed)?;
        let (following, events) = events::start(config, &engine, &log, &telemetry)?;
        let (webhooks, delivering) = webhooks::start(config, &engine, &events, &clock, &telemetry)?;
        let service = Arc::new(api::Service {
            events,
            reports: reports::start(config, &engine, &commit_times)?,
            paces: Paces::default(),
            webhooks: webhooks.clone(),
            refusals: RefusalCounts::new(clock.now()),
            engine: engine.clone(),
            signal: signal.clone(),
            clock: clock.clone(),
            telemetry: telemetry.clone(),
            limits: api_limits(config),
            keyring: ArcSwap::from_pointee(keyring(&config.auth)),
            customer_ids,
            names: names(config, &engine),
            rates: Rates::new(config.rate_limits.quotas(), config.rate_limits.callers_max, Monotonic),
            figures: FigureCache::default(),
            draining: AtomicBool::new(false),
        });
        let edge = Arc::new(http::Service {
            api: service.clone(),
            limits: http_limits(config),
            buffers: http::Buffers::new(config.limits.buffered_bytes_max),
            tls,
            contracts: contracts(config),
            request_log: config.log.of_requests(),
            tracer,
            wait_for_disk: config.journal.ack == Ack::Durable,
        });
        let store_kind = config.store_target().kind();
        health.attach(engine.clone(), store_status.clone(), store_kind, backlog.clone(), disk.clone(), commit_times);
        let (api, cores) = (listeners.address, cores::of_workers(config));
        about_to_serve();
        let server = http::start(listeners, edge.clone(), cores, run_beside_requests).map_err(StartError::Thread)?;
        let running = Self {
            api,
            ops,
            clock: start_clock(config.tick(), &engine, &signal, steady, &telemetry)?,
            snapshots: snapshots::start(
                config,
                snapshots::Parts {
                    engine: engine.clone(),
                    log,
                    snapshots: journal_snapshots.clone(),
                    signal: signal.clone(),
                    clock: clock.clone(),
                    runtime: Arc::new(SystemClock),
                    telemetry: telemetry.clone(),
                    backlog,
                    store: store_status,
                    webhooks,
                },
            )?,
            observer: observer::start(&edge, &health, config)?,
            rates: start_rates(&service)?,
            disk: disk::start(disk, &telemetry)?,
            events: following,
            webhooks: delivering,
            traces,
            server: Some(server),
            journal: Some(journal),
            health,
            edge,
            engine,
            journal_snapshots,
            telemetry,
            signal,
            journal_failed,
            store,
            _lock: lock,
        };
        running.health.set_ready();
        Ok(running)
    }

    /// Replaces the keys in force after a reload. Records the change first, so that the trail has it before any use of a new
    /// key. The keys are in force at once, because a removed key must not wait for the disk.
    pub fn replace_keys(&self, keys: &BTreeMap<String, KeySettings>) {
        if note_keys(&self.engine, &*self.edge.api.clock, "reload", keys) {
            self.signal.notify();
        }
        self.edge.api.names.learn_channels(keys.values().flat_map(|key| &key.channels).map(Channel::as_str));
        let keyring = self.edge.api.keyring.load().replaced_by(keys);
        self.edge.api.keyring.store(Arc::new(keyring));
    }

    /// From now on every caller needs a key, even if none are configured.
    pub fn require_keys(&self) {
        let keyring = self.edge.api.keyring.load();
        if !keyring.asks_for_key() {
            self.edge.api.keyring.store(Arc::new(Keyring::closed(&BTreeMap::new())));
        }
    }

    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Takes certificate and key as they are now, for connections to come. On an error all stays as it was.
    pub fn reload_tls(&self, settings: &config::Tls) -> Result<(), TlsError> {
        match (&self.edge.tls, settings.files()) {
            (Some(tls), Some(files)) => tls.reload(&files),
            // Whether TLS is spoken at all is settled at the start.
            _ => Ok(()),
        }
    }

    /// Takes the secrets of webhooks as their files are now. A webhook whose file is not valid keeps the secrets that it has; these
    /// errors are returned.
    pub fn reload_webhook_secrets(&self) -> Vec<Unusable> {
        self.edge.api.webhooks.reload_secrets()
    }

    /// Bytes that bodies and answers under way take in memory.
    pub fn buffered_bytes(&self) -> usize {
        self.edge.buffers.taken()
    }

    /// Resolves when the journal has failed: nothing more is acknowledged, and the process should end.
    pub async fn journal_failed(&self) {
        self.journal_failed.notified().await;
    }

    /// Stops taking requests, finishes those in flight, makes the last batch durable, writes a snapshot, and lets the
    /// store catch up as far as it may.
    pub fn stop(mut self) -> Result<(), JournalFailed> {
        self.health.set_draining();
        self.edge.api.draining.store(true, Ordering::Release);
        if self.engine.durability().failed() {
            thread::sleep(FAILURE_GRACE);
            return Err(JournalFailed);
        }
        // They read the feed, so they end before it.
        if let Some(webhooks) = &self.webhooks {
            webhooks.begin_to_stop();
        }
        // Their answers would never end by themselves.
        self.events.stop();
        if let Some(server) = self.server.take() {
            server.drain();
        }
        self.rates.stop();
        self.disk.stop();
        self.clock.stop();
        self.snapshots.stop();
        self.signal.stop();
        let journal = self.journal.take().expect("stopped once").join().expect("the journal's thread does not panic");
        if journal.is_err() {
            return Err(JournalFailed);
        }
        let wait = || {
            self.signal.notify();
            SystemClock.sleep(Duration::from_millis(1));
        };
        if let Err(error) = snapshots::take(&self.engine, &*self.journal_snapshots, &self.telemetry, &SystemClock, wait)
        {
            tracing::warn!(%error, "could not write a snapshot when stopping; the next start replays more of the \
                                    journal");
        }
        self.store.stop();
        if let Some(mut webhooks) = self.webhooks.take() {
            webhooks.stop();
        }
        self.observer.stop();
        // Last, as a collector may be slow: all else is safe by now, and most spans have left meanwhile.
        if let Some(traces) = self.traces.take() {
            traces.stop();
        }
        Ok(())
    }
}

fn note_keys(engine: &Engine, clock: &dyn Clock, when: &'static str, keys: &BTreeMap<String, KeySettings>) -> bool {
    let facts: Vec<_> = keys.iter().map(|(name, key)| key.facts(name)).collect();
    engine.note_keys(clock.now(), when, &facts).value
}

fn keyring(auth: &config::Auth) -> Keyring {
    if auth.required { Keyring::closed(&auth.keys) } else { Keyring::new(&auth.keys) }
}

fn listen<T>(address: SocketAddr, bind: impl FnOnce(SocketAddr) -> io::Result<T>) -> Result<T, StartError> {
    bind(address).map_err(|source| StartError::Listen { address, source })
}

fn serve_ops(listener: TcpListener, health: Arc<ServiceHealth>, limits: http::OpsLimits) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    let serve = move || {
        if let Err(error) = runtime.block_on(http::serve_ops(listener, health, limits)) {
            tracing::error!(%error, "the ops listener ended");
        }
    };
    // Ends with the process: a probe may ask until the very end.
    thread::Builder::new().name("ops".to_owned()).spawn(serve).map_err(StartError::Thread)?;
    Ok(())
}

/// What traces requests, where that was chosen, and the thread that sends what it tells.
fn traces(config: &Config, telemetry: &Telemetry) -> Result<(Option<Arc<Tracer>>, Option<Exporting>), StartError> {
    let Some(settings) = config.tracing.settings() else { return Ok((None, None)) };
    let (tracer, exporting) = traces::start(&settings, telemetry.traces.clone(), yield_to_requests)?;
    Ok((Some(tracer), Some(exporting)))
}

/// The metrics, with the limits that they are held against.
fn telemetry(config: &Config) -> Telemetry {
    let Config { metrics, limits, journal, rate_limits, .. } = config;
    let bounds = Bounds { items_max: metrics.items_max, sales_max: metrics.sales_max };
    let telemetry = Telemetry::new(Call::NAMES, bounds);
    for (key, most) in [
        ("limits.connections_max", limits.connections_max as f64),
        ("limits.ops_connections_max", limits.ops_connections_max as f64),
        ("limits.event_readers_max", limits.event_readers_max as f64),
        ("limits.reservations_max", limits.reservations_max as f64),
        ("limits.customers_max", limits.customers_max as f64),
        ("limits.memory_bytes_max", limits.memory_bytes_max as f64),
        ("limits.buffered_bytes_max", limits.buffered_bytes_max as f64),
        ("rate_limits.callers_max", rate_limits.callers_max as f64),
        ("journal.max_backlog_bytes", journal.max_backlog_bytes as f64),
        ("journal.lane_bytes_max", config.engine_settings(0).lane_bytes_max as f64),
    ] {
        telemetry.limit(key, most);
    }
    telemetry.started_at(SystemClock.now().millis() as f64 / 1000.0);
    telemetry
}

fn observe_commits(
    engine: &Arc<Engine>,
    telemetry: &Arc<Telemetry>,
    backlog: &Arc<Backlog>,
    commit_times: &Arc<CommitTimes>,
) {
    let (telemetry, backlog, commit_times) = (telemetry.clone(), backlog.clone(), commit_times.clone());
    engine.observe_commits(move |epoch, stats| {
        commit_times.committed(epoch, monotonic());
        telemetry.journal.committed(epoch, stats);
        backlog.appended(epoch, stats);
    });
}

fn start_journal(
    committer: Committer<Engine>,
    failed: &Arc<Notify>,
) -> Result<JoinHandle<Result<(), AppendError>>, StartError> {
    let failed = failed.clone();
    let run = move || {
        go_before_requests();
        committer.run().inspect_err(|_| failed.notify_one())
    };
    thread::Builder::new().name("journal".to_owned()).spawn(run).map_err(StartError::Thread)
}

/// Keeps bounded what rate limits remember.
fn start_rates(service: &Arc<api::Service>) -> Result<Stoppable, StartError> {
    let service = service.clone();
    let mut looks = 0_u64;
    let step = move || {
        looks += 1;
        if looks.is_multiple_of(RATES_FORGOTTEN_EVERY) {
            service.rates.forget()
        } else {
            service.rates.measure()
        }
        RATES_INTERVAL
    };
    // At the priority of requests: they wait for the locks that it takes.
    Stoppable::every("rates", || {}, step)
}

fn start_clock(
    interval: Duration,
    engine: &Arc<Engine>,
    signal: &CommitSignal,
    clock: SteadyClock,
    telemetry: &Arc<Telemetry>,
) -> Result<Stoppable, StartError> {
    let (engine, signal, telemetry) = (engine.clone(), signal.clone(), telemetry.clone());
    let step = move || {
        watch_clock(&engine, &clock, &telemetry);
        let tick = engine.tick(clock.now());
        telemetry.reservations.ticked(&tick);
        // Also wakes the journal for changes whose callers disconnected before they could.
        if engine.has_changes() {
            signal.notify();
        }
        interval
    };
    Stoppable::every("clock", || {}, step)
}

/// Looks whether somebody set the machine's clock.
fn watch_clock(engine: &Engine, clock: &SteadyClock, telemetry: &Telemetry) {
    let Some((now, wall)) = clock.beside(&SystemClock) else { return };
    let noticed = engine.watch_clock(now, wall, uptime);
    telemetry.clock.ahead(wall.signed_since(engine.time(now)));
    let seconds = |millis: i64| millis as f64 / 1000.0;
    match noticed {
        None => {}
        Some(Noticed::Set { by, ahead }) => {
            telemetry.clock.jumped(by);
            tracing::warn!(
                by_seconds = seconds(by),
                ahead_seconds = seconds(ahead),
                "the machine's clock was set: the service trusts it once it has stayed so for \
                 engine.clock_settle_seconds"
            );
        }
        Some(Noticed::Back { by }) => {
            telemetry.clock.jumped(by);
            tracing::warn!(by_seconds = seconds(by), "the machine's clock was set back to the service's time");
        }
        Some(Noticed::Believed { by, holds }) => {
            tracing::warn!(
                by_seconds = seconds(by),
                holds,
                "the service trusts the machine's clock again, and has moved holds with it"
            );
        }
    }
}

/// The OpenAPI document of a service with this configuration.
pub fn contract(config: &Config) -> http::openapi::Document {
    document(config, config.auth.asks_for_key())
}

fn document(config: &Config, asks_for_key: bool) -> http::openapi::Document {
    http::openapi::document(&http_limits(config), &api_limits(config), asks_for_key)
}

/// Both documents: keys may come while the service runs.
fn contracts(config: &Config) -> http::Contracts {
    let text = |asks_for_key| document(config, asks_for_key).to_string().into();
    http::Contracts { open: text(false), with_keys: text(true) }
}

/// The tiers and channels that are known from the beginning.
fn names(config: &Config, engine: &Engine) -> api::Names {
    let names = api::Names::new(config.limits.tiers_max, config.limits.channels_max);
    names.learn_all(&engine.catalogue());
    names.learn_channels(config.auth.keys.values().flat_map(|key| &key.channels).map(Channel::as_str));
    names
}
