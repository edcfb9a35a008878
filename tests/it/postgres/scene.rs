//! A database, a service that follows its journal into it, and load; and what must hold whatever happens to the database.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use doorbuster::{
    config::{Config, StoreTarget},
    store::{PostgresReader, StateCounts, StoreReader},
};
use serde_json::Value;
use tempfile::TempDir;

use super::load::{Load, SALE};
use crate::{
    served::{PATIENCE, metrics::Scrape, process::Process},
    support::postgres::Server,
};

/// Reserving goes on at this share of its rate.
const RATE_KEPT: f64 = 0.9;
const CALM: Duration = Duration::from_secs(2);

pub struct Scene {
    pub process: Process,
    pub load: Load,
    pub url: String,
    pub data: PathBuf,
    pub settings: Vec<(&'static str, String)>,
    /// Reserves in a slice of time while nothing was wrong.
    calm_rate: f64,
    // Dropped last.
    pub server: Server,
    _directory: TempDir,
}

/// How long a fault lasts.
pub fn fault_time() -> Duration {
    let seconds = std::env::var("DOORBUSTER_FAULT_SECONDS").map_or(2, |text| text.parse().expect("seconds"));
    Duration::from_secs(seconds)
}

/// Short waits, so that tests are short; the limits themselves are those of production.
fn settings(url: &str) -> Vec<(&'static str, String)> {
    [
        ("store.url", url),
        ("store.connect_seconds", "2"),
        ("store.statement_seconds", "2"),
        ("store.retry_ms_max", "200"),
        ("store.linger_ms", "10"),
        ("store.drain_seconds", "3"),
        ("journal.segment_bytes", "1048576"),
        ("server.workers", "2"),
        ("engine.shards", "4"),
    ]
    .map(|(key, value)| (key, value.to_owned()))
    .to_vec()
}

impl Scene {
    pub fn open() -> Self {
        Self::open_on(Server::start(&[]), |_| {})
    }

    /// `change`: settings that are not as usual.
    pub fn open_on(server: Server, change: impl FnOnce(&mut Vec<(&'static str, String)>)) -> Self {
        let url = server.new_database();
        Self::open_through(server, url.clone(), url, change)
    }

    /// `through`: where the service is told that the database is.
    pub fn open_through(
        server: Server,
        url: String,
        through: String,
        change: impl FnOnce(&mut Vec<(&'static str, String)>),
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let mut settings = settings(&through);
        change(&mut settings);
        let process = Process::start(&data, &settings);
        process.client().put_open_sale(SALE, [("tv", 1_000_000)]);
        let load = Load::start(process.api);
        let mut scene = Self { process, load, url, data, settings, calm_rate: 0.0, server, _directory: directory };
        scene.wait("the store follows", |scene| scene.store()["state"] == "following");
        let from = Instant::now();
        thread::sleep(CALM);
        scene.calm_rate = scene.load.rate_within(from, Instant::now());
        assert!(scene.calm_rate > 3.0, "only {} reserves in a slice: this says little", scene.calm_rate);
        scene
    }

    /// What `/readyz` says of the store. The service is ready whatever that is.
    #[track_caller]
    pub fn store(&self) -> Value {
        let answer = self.process.ops().get("/readyz");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["store"].clone()
    }

    /// The value of a metric without labels, or with this one `state`.
    pub fn metric(&self, name: &str, state: Option<&str>) -> f64 {
        let scrape = Scrape::parse(self.process.ops().get("/metrics").text());
        let (_, family) = scrape.families().find(|(known, _)| *known == name).expect("a metric of that name");
        let fits = |label: Option<&String>| label.map(String::as_str) == state;
        family.samples.iter().find(|sample| fits(sample.labels.get("state"))).expect("a sample").value
    }

    #[track_caller]
    pub fn wait(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            let (store, log) = (self.store(), self.process.log());
            assert!(started.elapsed() < 3 * PATIENCE, "waited in vain until {what}: {store}\n{log}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets the load go on for as long as a fault lasts: nothing is refused, and nothing gets slower.
    #[track_caller]
    pub fn go_on(&self) {
        let mut rates = Vec::new();
        // A machine with much else to do may be slow for a while. What the fault does, it does each time.
        while rates.len() < 5 {
            let from = Instant::now();
            thread::sleep(fault_time());
            let rate = self.load.rate_within(from, Instant::now());
            assert_eq!(self.load.refused(), Vec::<String>::new());
            println!("{rate} reserves in a slice, {} before: {:.2}", self.calm_rate, rate / self.calm_rate);
            if rate >= RATE_KEPT * self.calm_rate {
                return;
            }
            rates.push(rate);
        }
        panic!("{rates:?} reserves in a slice, and {} before", self.calm_rate);
    }

    /// Goes on while the store does not follow, and checks that this is told.
    #[track_caller]
    pub fn go_on_without_store(&self, state: &str, told: &[&str]) {
        self.wait("the fault is told", |scene| {
            let store = scene.store();
            let error = store["last_error"].as_str().unwrap_or_default();
            store["state"] == state && (told.is_empty() || told.iter().any(|text| error.contains(text)))
        });
        self.go_on();
        let store = self.store();
        assert_eq!((&store["up"], &store["kind"]), (&Value::Bool(false), &Value::from("postgres")), "{store}");
        assert!(store["lag_epochs"].as_u64().unwrap() > 0, "{store}");
        assert!(store["lag_seconds"].as_f64().unwrap() > 0.5, "{store}");
        assert!(store["backlog_bytes"].as_u64().unwrap() > 0, "{store}");
        assert_eq!(self.metric("doorbuster_store_up", None), 0.0);
        assert!(self.metric("doorbuster_store_lag_seconds", None) > 0.5);
        assert!(self.metric("doorbuster_store_backlog_bytes", None) > 0.0);
    }

    pub fn reader(&self) -> PostgresReader {
        let mut config = Config::default();
        config.store.url = self.url.clone();
        let StoreTarget::Postgres(settings) = config.store_target() else { panic!("PostgreSQL") };
        PostgresReader::open(&settings).expect("the store can be read")
    }

    /// The end of the fault: the store catches up while the load goes on, then is compared with every answer there was.
    #[track_caller]
    pub fn check(&mut self) {
        self.wait("the store follows again", |scene| scene.store()["state"] == "following");
        self.go_on();
        let told = self.load.stop();
        // Both at one look: a snapshot may still have made a batch of nothing.
        self.wait("the store has everything", |scene| {
            let store = scene.store();
            store["lag_epochs"] == 0 && store["backlog_bytes"] == 0
        });
        assert_eq!(self.metric("doorbuster_store_state", Some("following")), 1.0);
        assert_eq!(self.metric("doorbuster_store_up", None), 1.0);

        let reader = self.reader();
        let mut counts = StateCounts::default();
        for (id, answered) in &told {
            let row = reader.reservation(&doorbuster::sale::ids::ReservationId::parse(id).unwrap()).unwrap();
            let row = row.unwrap_or_else(|| panic!("{answered} is not in the store"));
            let text = |member: &str| answered[member].as_str();
            assert_eq!(Some(row.state.as_str()), text("state"), "{answered} {row:?}");
            assert_eq!(Some(row.customer.as_str()), text("customer"));
            assert_eq!(row.reference.as_deref(), text("reference"));
            assert_eq!(Some(row.created_at.as_str()), text("created_at"));
            assert_eq!(Some(row.expires_at.as_str()), text("expires_at"));
            assert_eq!(row.confirmed_at.as_deref(), text("confirmed_at"));
            assert_eq!(row.released_at.as_deref(), text("released_at"));
            assert_eq!(Some(u64::from(row.lines[0].quantity)), answered["lines"][0]["quantity"].as_u64());
            match row.state.as_str() {
                "held" => counts.held += 1,
                "confirmed" => counts.confirmed += 1,
                _ => counts.released += 1,
            }
        }
        assert_eq!(reader.count_by_state().unwrap(), counts, "and nothing that nobody was answered");
        let sale = self.process.client().get(&format!("/v1/sales/{SALE}")).success(200);
        let totals = reader.totals().unwrap();
        assert!(totals.iter().all(|total| total.stored == total.recomputed));
        let total = totals.iter().find(|total| total.sale == SALE && total.pool.is_none()).unwrap();
        let stored = [total.stored.available, total.stored.held, total.stored.confirmed];
        assert_eq!(stored, ["available", "held", "confirmed"].map(|count| sale["items"][0][count].as_i64().unwrap()));
        assert!(told.len() > 100, "only {} reservations: this says little", told.len());
    }
}
