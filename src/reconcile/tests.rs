//! Comparing and repairing what no call of these tests' service can make: a journal is written event by event, and the store is
//! made out of it by a repair.

use std::sync::Arc;

use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::{
    clock,
    config::StoreTarget,
    engine::{Recovered, batch},
    journal::{
        Log,
        files::{FileLog, FileSettings},
    },
    sale::{
        codec::Malformed,
        event::{
            AskedUnits, CustomerEvent, Event, Held, Joined, NoRoom, Offered, PassedOver, PricedPortion, WaitEnded,
            samples,
        },
        ids::{Bucket, EntryId, ItemNumber, PoolNumber, ReservationId, SaleNumber},
        time::Timestamp,
    },
    store::{
        PostgresSettings, PostgresUrl,
        tests::postgres_server::{Server, Sql},
    },
};

const OPEN: Timestamp = Timestamp::from_millis(1_795_767_300_000);
const SALE: SaleNumber = SaleNumber(0);
const OWNER: Uuid = Uuid::from_bytes([7; 16]);
const DOCUMENT: &str = r#"{"id":"drop","name":"Drop of the day","opens_at":"2026-11-27T08:00:00Z",
    "closes_at":"2026-11-27T09:00:00Z","hold_seconds":300,"items":[{"sku":"tv","initial_stock":10}]}"#;

/// A data directory whose journal is written here.
struct Directory {
    directory: TempDir,
    storage: Arc<DirectoryStorage>,
    log: Arc<dyn Log>,
    payloads: Vec<Vec<u8>>,
}

impl Directory {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("identity"), OWNER.to_string()).unwrap();
        let storage = Arc::new(DirectoryStorage::open(directory.path().join("journal")).unwrap());
        let settings = FileSettings { segment_bytes: 4096, clock: Arc::new(clock::Monotonic) };
        let log: Arc<dyn Log> = Arc::new(FileLog::new(storage.clone(), settings));
        log.recover(1, 0, |_, _| Ok::<_, Malformed>(())).unwrap();
        Self { directory, storage, log, payloads: Vec::new() }
    }

    fn push(&mut self, lane: u16, events: &[Event<'_>]) {
        let (mut payload, mut bytes) = (Vec::new(), Vec::new());
        events.iter().for_each(|event| event.encode(&mut bytes));
        batch::put_section(&mut payload, lane, &bytes);
        self.log.append(self.payloads.len() as u64, &payload).unwrap();
        self.payloads.push(payload);
    }

    /// Puts a snapshot in the place of the journal's beginning.
    fn forget_the_beginning(&self) {
        let mut recovered = Recovered::new(engine::Settings::default());
        for (payload, epoch) in self.payloads.iter().zip(1..) {
            recovered.batch(epoch, payload).unwrap();
        }
        let last = self.payloads.len() as u64;
        let engine = recovered.finish(last).unwrap();
        engine.snapshot(&FileSnapshots::new(self.storage.clone()), |epoch| panic!("{epoch} is durable")).unwrap();
        self.log.trim(last - 2).unwrap();
    }
}

fn id(customer: &str, number: u64) -> ReservationId {
    ReservationId::new(OPEN.plus_millis(number), Bucket::of(customer), number << 8)
}

fn joined(customer: &str, place: u64) -> Event<'_> {
    CustomerEvent::Joined(Joined {
        id: id(customer, place),
        sale: SALE,
        customer,
        place,
        expires_at: OPEN.plus_seconds(600),
        lines: [AskedUnits { item: ItemNumber(0), units: 2 }].into_iter().collect(),
        reference: Some("cart"),
        key: None,
        attributes: Some(Box::new(crate::sale::attributes::Attributes {
            locations: vec!["berlin".into()],
            ..Default::default()
        })),
    })
    .into()
}

/// An entry in each state, one that was passed over, and one of a customer who was erased.
fn lived() -> Directory {
    let mut directory = Directory::new();
    let record = samples::record_of(&serde_json::from_str(DOCUMENT).unwrap(), &[ItemNumber(0)]);
    directory.push(batch::CATALOGUE_LANE, &[samples::defined(SALE, OPEN, &record).into()]);
    let at = OPEN.plus_seconds(1);
    let ended = |id: EntryId| WaitEnded { id, sale: SALE, at };
    directory.push(
        0,
        &[
            joined("ann", 1),
            joined("bob", 2),
            joined("cid", 3),
            joined("dan", 4),
            joined("eve", 5),
            CustomerEvent::LeftWaitlist(ended(id("eve", 5))).into(),
            CustomerEvent::CustomerErased { at, customer: "eve" }.into(),
        ],
    );
    let hold = Held {
        id: id("ann", 6),
        sale: SALE,
        customer: "ann",
        hold_seconds: 300,
        portions: [PricedPortion { item: ItemNumber(0), pool: PoolNumber(0), units: 2, price: None }]
            .into_iter()
            .collect(),
        reference: None,
        key: None,
        attributes: None,
        short: Box::default(),
        group: None,
        entry: Some(id("ann", 1)),
    };
    let offered = Offered { id: id("ann", 1), sale: SALE, at, reservation: hold.id };
    directory.push(
        0,
        &[
            CustomerEvent::Held(hold).into(),
            CustomerEvent::Offered(offered).into(),
            CustomerEvent::LeftWaitlist(ended(id("cid", 3))).into(),
            CustomerEvent::WaitExpired(ended(id("dan", 4))).into(),
        ],
    );
    // Enough for several segments.
    for number in 0..200 {
        let (at, cause) = (at.plus_millis(number), NoRoom::ALL[number as usize % NoRoom::ALL.len()]);
        directory.push(0, &[CustomerEvent::PassedOver(PassedOver { id: id("bob", 2), sale: SALE, at, cause }).into()]);
    }
    directory
}

/// Each with the table and the column of a difference that must be found; an empty column is a row as a whole.
const EDITS: [(&str, &str, &str); 21] = [
    ("UPDATE waitlist_entries SET customer = 'bea' WHERE place = 2", "waitlist_entries", "customer"),
    ("UPDATE waitlist_entries SET state = 'expired' WHERE state = 'left' AND place = 3", "waitlist_entries", "state"),
    ("UPDATE waitlist_entries SET place = 77 WHERE place = 2", "waitlist_entries", "place"),
    ("UPDATE waitlist_entries SET lines = '[]' WHERE place = 2", "waitlist_entries", "lines"),
    ("UPDATE waitlist_entries SET reference = NULL WHERE place = 2", "waitlist_entries", "reference"),
    ("UPDATE waitlist_entries SET joined_at = expires_at WHERE place = 1", "waitlist_entries", "joined_at"),
    ("UPDATE waitlist_entries SET expires_at = joined_at WHERE place = 1", "waitlist_entries", "expires_at"),
    ("UPDATE waitlist_entries SET ended_at = joined_at WHERE place = 3", "waitlist_entries", "ended_at"),
    ("UPDATE waitlist_entries SET reservation_id = id WHERE place = 1", "waitlist_entries", "reservation_id"),
    ("UPDATE waitlist_entries SET passed_over_at = joined_at WHERE place = 2", "waitlist_entries", "passed_over_at"),
    ("UPDATE waitlist_entries SET passed_over_code = NULL WHERE place = 2", "waitlist_entries", "passed_over_code"),
    ("UPDATE waitlist_entries SET tier = 'gold' WHERE place = 2", "waitlist_entries", "tier"),
    ("UPDATE waitlist_entries SET channel = 'app' WHERE place = 2", "waitlist_entries", "channel"),
    ("UPDATE waitlist_entries SET region = 'eu' WHERE place = 2", "waitlist_entries", "region"),
    ("UPDATE waitlist_entries SET labels = '{}' WHERE place = 2", "waitlist_entries", "labels"),
    ("UPDATE waitlist_entries SET locations = NULL WHERE place = 2", "waitlist_entries", "locations"),
    ("DELETE FROM waitlist_entries WHERE place = 2", "waitlist_entries", ""),
    (
        "INSERT INTO waitlist_entries (id, sale, customer, state, place, lines, joined_at, expires_at)
         SELECT '01a2212b-107b-72c8-8048-d159e26af37b', sale, customer, 'waiting', 99, lines, joined_at, expires_at
           FROM waitlist_entries WHERE place = 2",
        "waitlist_entries",
        "",
    ),
    ("INSERT INTO waitlist_entries_archive SELECT * FROM waitlist_entries WHERE place = 3", "waitlist_entries", ""),
    (
        "INSERT INTO sales (id, number, name, opens_at, closes_at, hold_seconds, created_at, updated_at)
         SELECT 'ghost', 99, name, opens_at, closes_at, hold_seconds, created_at, updated_at FROM sales;
         UPDATE waitlist_entries SET sale = 'ghost' WHERE place = 2",
        "waitlist_entries",
        "sale",
    ),
    ("UPDATE reservations SET waitlist_entry = NULL", "reservations", "waitlist_entry"),
];

/// Retention's work by hand.
const ARCHIVED: &str = "INSERT INTO waitlist_entries_archive SELECT * FROM waitlist_entries WHERE place = 3;
                        DELETE FROM waitlist_entries WHERE place = 3";

fn whatever_is_changed_by_hand_is_found_and_repaired(place: &StoreTarget, execute: impl Fn(&str)) {
    let directory = lived();
    let (data, settings) = (directory.directory.path(), engine::Settings::default());
    let compare = || run(data, &settings, place).unwrap();
    let repair = || repair(data, &settings, OWNER, place).unwrap();
    let made = repair();
    assert!(made.left.is_equal() && !made.found.is_equal(), "{:?}", made.left.differences);
    for is_whole in [true, false] {
        if !is_whole {
            directory.forget_the_beginning();
        }
        let report = compare();
        assert!(report.is_equal(), "{:?}", report.differences);
        assert_eq!(report.journal.first_epoch == 1, is_whole);
        // Memory has forgotten the one whose customer was erased.
        let (known, beyond) = (report.compared.waitlist_entries, report.compared.waitlist_entries_beyond_the_journal);
        assert_eq!((known, beyond), if is_whole { (5, 0) } else { (4, 1) });
        for (sql, table, column) in EDITS {
            execute(sql);
            let found = compare().differences;
            assert!(found.iter().any(|found| (found.table, found.column) == (table, column)), "{sql}: {found:?}");
            assert!(found.iter().all(|found| [table, "sales"].contains(&found.table)), "{sql}: {found:?}");
            let left = repair().left;
            assert!(left.is_equal(), "{sql}: {:?}", left.differences);
        }
    }
    execute(ARCHIVED);
    let report = compare();
    assert!(report.is_equal(), "{:?}", report.differences);
}

#[test]
fn waitlist_entries_are_compared_and_repaired_in_sqlite() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("store.db");
    whatever_is_changed_by_hand_is_found_and_repaired(&StoreTarget::Sqlite(path.clone()), |sql| {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch(&format!("PRAGMA foreign_keys = off; {sql}")).unwrap();
    });
}

#[test]
fn waitlist_entries_are_compared_and_repaired_in_postgres() {
    let server = Server::start(&[]);
    let url = server.new_database();
    let time = Duration::from_secs(10);
    let settings = PostgresSettings {
        url: PostgresUrl::parse(&url).unwrap(),
        password: None,
        ca_file: None,
        connect_time: time,
        statement_time: time,
        drain_time: time,
    };
    whatever_is_changed_by_hand_is_found_and_repaired(&StoreTarget::Postgres(Box::new(settings)), |sql| {
        Sql::connect(&url).run(sql);
    });
}
