//! Endpoints over a journal in memory that is committed only when a test says so.

use std::{fs, thread, time::Duration};

use super::{delivering::Delivering, *};
use crate::{
    clock::{Clock, Monotonic, SystemClock},
    engine::Engine,
    events::{CursorKey, Hub, Parts as HubParts, Settings as HubSettings},
    journal::{Committer, CommitterSettings, GATHER_INTERVAL, Log, memory::MemoryLog},
    sale::{audit::Actor, time::Timestamp},
    telemetry::{Bounds, Telemetry},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Epochs of the journal and the webhooks, of which one was parked before.
struct Place {
    directory: tempfile::TempDir,
    engine: Arc<Engine>,
    committer: Committer<Engine>,
    webhooks: Arc<Webhooks>,
    delivering: Delivering,
}

impl Place {
    fn with_a_parked_one() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("secret"), SECRET).unwrap();
        fs::write(path(FILE), "{\"orders\":{\"epoch\":0,\"parked_at\":7}}").unwrap();
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new());
        log.recover(1, 0, |_, _| Ok::<_, std::convert::Infallible>(())).unwrap();
        let engine = Arc::new(Engine::new(Default::default()));
        let settings =
            CommitterSettings { flush_interval: None, gather_interval: GATHER_INTERVAL, seal_after: Duration::MAX };
        let committer = Committer::new(engine.clone(), log.clone(), Arc::new(Monotonic), settings);
        let telemetry = Arc::new(Telemetry::new(&["unknown"], Bounds { items_max: 10, sales_max: 10 }));
        let cursor_key = CursorKey::of_bytes([3; 32]);
        let of_hub = HubSettings { readers_max: 4, stall_time: Duration::from_secs(9), cursor_key };
        let parts = HubParts { engine: engine.clone(), log, telemetry: telemetry.clone() };
        // Without a hub nobody reads the journal: what matters here is not what is delivered.
        let (_, events, _) = Hub::new(parts, of_hub);
        let orders = Settings {
            name: "orders".to_owned(),
            target: Target::parse("http://127.0.0.1:9/").unwrap(),
            events: Vec::new(),
            sales: Vec::new(),
            secret_file: path("secret"),
            ca_file: None,
            park_after: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            retry_max: Duration::from_secs(5),
            deliveries_max: 4,
            allow_private_addresses: false,
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let parts = Parts { engine: engine.clone(), events, clock, runtime: Arc::new(SystemClock), telemetry };
        let (webhooks, delivering) = start(vec![orders], directory.path().to_owned(), parts, || {}).unwrap();
        Self { directory, engine, committer, webhooks, delivering }
    }

    fn orders(&self) -> &Endpoint {
        self.webhooks.named("orders").unwrap()
    }

    /// How it is now.
    fn state(&self) -> State {
        self.orders().status(self.engine.durability().epoch()).state()
    }

    fn resume(&self) -> Option<u64> {
        let now = Timestamp::from_millis(1_795_852_800_000);
        self.orders().resume(|| self.engine.note_webhook_resumed(now, Actor::Anybody, "orders").durable_at)
    }

    fn is_saved_as_parked(&self) -> bool {
        fs::read_to_string(self.directory.path().join(FILE)).unwrap().contains("parked_at")
    }
}

#[test]
fn a_resume_takes_effect_only_when_its_record_is_durable() {
    let mut place = Place::with_a_parked_one();
    let epoch = place.resume().expect("it was parked");
    assert_eq!(place.resume(), Some(epoch), "recorded once");
    assert_eq!(place.state(), State::Parked, "the record may still be lost");
    assert_eq!(place.orders().status(epoch).state(), State::Active, "as it is once the record is durable");
    // Its thread looks again and again, and leaves it parked.
    for from in 2..30 {
        place.webhooks.journal_begins(from);
        while place.orders().status.lock().read_to + 1 < from {
            assert!(place.orders().status.lock().parked_at.is_some(), "it continued");
            thread::sleep(Duration::from_millis(1));
        }
    }
    // What is saved at the end says so, too.
    place.delivering.stop();
    assert!(place.is_saved_as_parked());

    let mut place = Place::with_a_parked_one();
    place.resume().expect("it was parked");
    place.committer.step().unwrap();
    assert_eq!(place.state(), State::Active, "at once, however late its thread is");
    while place.is_saved_as_parked() {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(place.resume(), None, "there is nothing to resume");
    place.delivering.stop();
}

#[test]
fn a_parked_one_says_at_once_that_events_are_gone() {
    let mut place = Place::with_a_parked_one();
    assert_eq!(place.orders().status(0).skipped_at, None);
    place.webhooks.journal_begins(9);
    while place.orders().status(0).skipped_at.is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(place.state(), State::Parked);
    // Also after a restart.
    place.delivering.stop();
    let saved = fs::read_to_string(place.directory.path().join(FILE)).unwrap();
    assert!(saved.contains("\"epoch\": 8") && saved.contains("skipped_at") && saved.contains("parked_at"), "{saved}");
}

#[test]
fn a_place_of_a_webhook_that_is_gone_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    forget_all(directory.path()).unwrap();
    assert!(!directory.path().join(FILE).exists(), "there was none");
    fs::write(directory.path().join(FILE), "{\"orders\":{\"epoch\":5}}").unwrap();
    forget_all(directory.path()).unwrap();
    assert_eq!(fs::read_to_string(directory.path().join(FILE)).unwrap().trim(), "{}");
}
