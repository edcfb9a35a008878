//! The whole service in one thread: engine, journal, snapshots, write-behind, expiry and the feed, stepped in an order that one
//! seed decides. Two runs of one seed give the same answers, rows and events, byte for byte.

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use doorbuster::{
    api::calls::Call,
    clock::{Clock, Runtime, Simulated},
    engine::{Engine, Recovered, Settings},
    events::{CursorKey, Events, Followed, Format, Hub, Parts as FeedParts, Settings as FeedSettings, Start},
    journal::{
        Committer, CommitterSettings, GATHER_INTERVAL, Log,
        memory::{MemoryLog, MemorySnapshots},
    },
    sale::{
        audit::Actor,
        command::{Adjust, AskedLine, Reserve},
        ids::ReservationId,
        settings::SaleSettings,
        time::Timestamp,
    },
    service::{backlog::Backlog, feed::JournalFeed, snapshots},
    store::{SqliteStore, WriteBehind, WriteBehindSettings},
    telemetry::{Bounds, Telemetry},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::task::LocalSet;
use uuid::Uuid;

const START: Timestamp = Timestamp::from_millis(1_795_852_800_000);
const STEPS: usize = 1000;
const SALE: &str = "drop";
const SKUS: [&str; 3] = ["tv", "pad", "mug"];

/// Of a run: every answer in order, the store's rows, and the events that a reader of the feed received.
#[derive(PartialEq, Eq)]
struct Trace {
    answers: Vec<String>,
    rows: Vec<String>,
    events: Vec<String>,
}

struct Service {
    machine: Arc<Simulated>,
    random: SmallRng,
    engine: Arc<Engine>,
    committer: Committer<Engine>,
    write_behind: WriteBehind<JournalFeed, SqliteStore>,
    snapshots: snapshots::Snapshots,
    made: Vec<ReservationId>,
    answers: Vec<String>,
}

impl Service {
    fn new(seed: u64, store: &Path) -> (Self, FeedParts) {
        let machine = Arc::new(Simulated::new(START, seed));
        let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
        let recovered = Recovered::new(Settings { shards: 3, ..Settings::default() });
        let last_epoch = log.recover(1, 0, |_, _| Ok::<_, std::fmt::Error>(())).unwrap();
        let engine = Arc::new(recovered.finish(last_epoch).unwrap());
        let backlog = Arc::new(Backlog::new(engine.clone(), u64::MAX));
        let settings =
            CommitterSettings { flush_interval: None, gather_interval: GATHER_INTERVAL, seal_after: Duration::MAX };
        let committer = Committer::new(engine.clone(), log.clone(), machine.clone(), settings);
        let seen = backlog.clone();
        engine.observe_commits(move |epoch, stats| seen.appended(epoch, stats));

        let feed = JournalFeed::new(log.clone(), engine.clone(), backlog.clone());
        let sink = SqliteStore::on(store, machine.clone());
        let settings = WriteBehindSettings { window_events_max: 50, ..WriteBehindSettings::default() };
        let write_behind = WriteBehind::on(feed, sink, Uuid::from_u128(7), settings, machine.clone());
        let telemetry = Arc::new(Telemetry::new(Call::NAMES, Bounds { items_max: 10, sales_max: 10 }));
        let parts = snapshots::Parts {
            engine: engine.clone(),
            log: log.clone(),
            snapshots: Arc::new(MemorySnapshots::default()),
            signal: committer.signal(),
            clock: machine.clone(),
            runtime: machine.clone(),
            telemetry: telemetry.clone(),
            backlog,
            store: write_behind.status(),
            webhooks: Arc::default(),
        };
        let settings = snapshots::Settings { journal_bytes: 8 << 10, erase_seconds: 5, webhook_bytes_max: 0 };
        let snapshots = snapshots::Snapshots::new(settings, parts);
        let of_feed = FeedParts { engine: engine.clone(), log, telemetry };
        let random = SmallRng::seed_from_u64(seed);
        let service =
            Self { machine, random, engine, committer, write_behind, snapshots, made: Vec::new(), answers: Vec::new() };
        (service, of_feed)
    }

    fn put_sale(&mut self) {
        let settings: SaleSettings = serde_json::from_str(
            r#"{"id":"drop","name":"Drop","opens_at":"2026-11-28T08:00:01Z","closes_at":"2026-11-29T08:00:00Z",
                "hold_seconds":10,"max_extensions":2,"customer_limit":4,"items":[
                {"sku":"tv","initial_stock":20,"price":{"amount":19900,"currency":"EUR"}},
                {"sku":"pad","initial_stock":50},{"sku":"mug","initial_stock":200}]}"#,
        )
        .unwrap();
        self.engine.put_sale(self.machine.now(), Actor::Anybody, &settings).value.unwrap();
    }

    /// One step of anything that may happen.
    fn step(&mut self) {
        let (engine, now) = (self.engine.clone(), self.machine.now());
        let answer = match self.random.random_range(0..100) {
            0..35 => self.reserve(now),
            35..43 => self.one_made().map_or_else(String::new, |id| {
                let reference = self.random.random_bool(0.5).then_some("order");
                format!("confirm {:?}", engine.confirm(now, id, reference).value)
            }),
            43..47 => self
                .one_made()
                .map_or_else(String::new, |id| format!("release {:?}", engine.release(now, id, None).value)),
            47..50 => {
                self.one_made().map_or_else(String::new, |id| format!("extend {:?}", engine.extend(now, id, 20).value))
            }
            50..53 => {
                let (sku, delta) = (self.one_sku(), self.random.random_range(-3..8));
                let asked = Adjust { sale: SALE, sku, pool: None, delta, reason: None, reference: None, key: None };
                format!("adjust {:?}", engine.adjust(now, Actor::Key("ops"), &asked).value)
            }
            53 => format!("pause {:?}", engine.pause(now, Actor::Anybody, SALE).value),
            54..56 => format!("resume {:?}", engine.resume(now, Actor::Anybody, SALE).value),
            56 => {
                let customer = self.one_customer();
                format!("erase {:?}", engine.erase_customer(now, Actor::Anybody, &customer).value)
            }
            57..70 => {
                self.machine.sleep(Duration::from_millis(self.random.random_range(0..1500)));
                format!("tick {:?}", engine.tick(self.machine.now()))
            }
            70..85 => format!("commit {:?}", self.committer.step().unwrap()),
            85..95 => format!("write behind {:?}", self.write_behind.advance().unwrap()),
            _ => {
                let committer = &mut self.committer;
                format!("snapshot {:?}", self.snapshots.step(&mut || committer.step().is_ok()))
            }
        };
        self.answers.push(answer);
    }

    fn reserve(&mut self, now: Timestamp) -> String {
        let customer = self.one_customer();
        let lines = [(self.one_sku(), self.random.random_range(1..3)), ("mug", 1)];
        let count = if lines[0].0 == "mug" { 1 } else { self.random.random_range(1..=2) };
        let lines = lines.into_iter().take(count).map(|(sku, units)| AskedLine { sku, units }).collect();
        let key = self.random.random_bool(0.3).then_some("key");
        let asked =
            Reserve { sale: SALE, customer: &customer, lines, hold_seconds: None, reference: None, key, extras: None };
        let made = self.engine.reserve(now, &asked, self.machine.random()).value;
        self.made.extend(made.iter().map(|made| made.reservation.id));
        format!("reserve {made:?}")
    }

    fn one_customer(&mut self) -> String {
        format!("customer-{}", self.random.random_range(0..60))
    }

    fn one_sku(&mut self) -> &'static str {
        SKUS[self.random.random_range(0..SKUS.len())]
    }

    /// Of late, most of all.
    fn one_made(&mut self) -> Option<ReservationId> {
        let back = self.random.random_range(1..=20);
        self.made.len().checked_sub(back).map(|index| self.made[index])
    }
}

/// Lets the feed's tasks go on until each waits for something.
async fn let_the_feed_run() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Every row of every table, in order.
fn rows(store: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(store).unwrap();
    let query = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let mut text = String::new();
            for column in 0..columns {
                write!(text, "{:?} ", row.get_ref(column)?).unwrap();
            }
            Ok(text)
        };
        statement.query_map([], row).unwrap().map(Result::unwrap).collect()
    };
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut names = connection.prepare(tables).unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let of_table = |name: &String| query(&format!("SELECT '{name}', * FROM {name} ORDER BY 2, 3, 4"));
    names.iter().flat_map(of_table).collect()
}

fn run(seed: u64) -> Trace {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store.db");
    let (mut service, parts) = Service::new(seed, &store);
    let cursor_key = CursorKey::of_bytes([7; 32]).drawing_from(|| 7);
    let settings = FeedSettings { readers_max: 2, stall_time: Duration::from_secs(600), cursor_key };
    let (hub, events, stop): (Hub, Events, _) = Hub::new(parts, settings);
    let mut text = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let feed = tokio::task::spawn_local(hub.serve());
        service.put_sale();
        service.committer.step().unwrap();
        let beginning = Start::After(doorbuster::events::Cursor::BEGINNING);
        let all = Arc::new(|_: Option<&str>, _: &str| true);
        let reader = events.follow(beginning, Format::Lines, all.clone(), events.cursors_of([])).await;
        let Followed { mut pieces, .. } = reader.unwrap();
        for _ in 0..STEPS {
            service.step();
            let_the_feed_run().await;
            while let Ok(piece) = pieces.try_recv() {
                text.extend_from_slice(&piece);
            }
        }
        while service.committer.step().unwrap() {}
        service.write_behind.drain(Duration::from_secs(60)).unwrap();
        let_the_feed_run().await;
        let late = events.follow(Start::Now, Format::Lines, all, events.cursors_of([])).await.unwrap();
        service.answers.push(format!("a reader from now on begins after {}", late.from));
        stop.send(true).unwrap();
        while let Some(piece) = pieces.recv().await {
            text.extend_from_slice(&piece);
        }
        feed.await.unwrap();
    });
    let Service { answers, .. } = service;
    // Without heartbeats, which are empty.
    let events = String::from_utf8(text).unwrap().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    Trace { answers, rows: rows(&store), events }
}

#[track_caller]
fn assert_same(what: &str, one: &[String], other: &[String]) {
    for (index, (one, other)) in one.iter().zip(other).enumerate() {
        assert_eq!(one, other, "{what} {index}");
    }
    assert_eq!(one.len(), other.len(), "{what}");
}

#[test]
fn a_thousand_steps_from_one_seed_are_the_same_twice() {
    let (one, other) = (run(7), run(7));
    let did = |what: &str| one.answers.iter().filter(|answer| answer.starts_with(what)).count();
    assert!(did("reserve Ok") > 100 && did("confirm Ok") > 10 && did("snapshot") > 10, "hardly anything happened");
    assert!(one.rows.len() > 200 && one.events.len() > 200, "{} rows, {} events", one.rows.len(), one.events.len());
    assert_same("answer", &one.answers, &other.answers);
    assert_same("row", &one.rows, &other.rows);
    assert_same("event", &one.events, &other.events);
    assert!(run(8) != one, "another seed is another run");
}
