//! Inspecting journals that real writers wrote, whole, torn and damaged.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::{
    clock,
    engine::{self, Engine},
    journal::{
        Committer, CommitterSettings, GATHER_INTERVAL, Log, SnapshotStore,
        files::{DirectoryStorage, FileLog, FileSettings, FileSnapshots, Position, Storage, StorageFile},
        frame,
    },
    sale::{
        audit::Actor,
        codec::Write as _,
        command::{AskedLine, Reserve},
        event::{CatalogueEvent, CustomerEvent, Held, Portion, Portions, PricedPortion, Settled, samples},
        ids::{Bucket, ItemNumber, PoolNumber, ReservationId, SaleNumber},
        settings::SaleSettings,
        time::Timestamp,
    },
};

const SEGMENT_BYTES: u64 = 4096;
const DOCUMENT: &str = r#"{"id":"drop","name":"Drop of the day","opens_at":"2026-11-27T08:00:00Z",
    "closes_at":"2026-11-27T09:00:00Z","hold_seconds":300,
    "items":[{"sku":"tv","initial_stock":10},{"sku":"mat","initial_stock":5}]}"#;
const OPEN: Timestamp = Timestamp::from_millis(1_795_767_300_000);

/// A data directory and what writes its journal.
struct Place {
    directory: TempDir,
    storage: Arc<dyn Storage>,
}

impl Place {
    fn new() -> Place {
        let directory = TempDir::new().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(DirectoryStorage::open(directory.path().join("journal")).unwrap());
        Place { directory, storage }
    }

    fn log(&self) -> Arc<dyn Log> {
        self.log_of(SEGMENT_BYTES)
    }

    fn log_of(&self, segment_bytes: u64) -> Arc<dyn Log> {
        let settings = FileSettings { segment_bytes, clock: Arc::new(clock::Monotonic) };
        let log: Arc<dyn Log> = Arc::new(FileLog::new(self.storage.clone(), settings));
        log.recover(1, 0, |_, _| Ok::<_, Malformed>(())).unwrap();
        log
    }

    /// Behind the last frame.
    fn end(&self) -> Position {
        files::scan(self.storage.as_ref(), 1, 0, |_, _| Ok::<_, Malformed>(())).unwrap().tail.position.unwrap()
    }

    /// A sale, then holds, the first of which is confirmed.
    fn with_holds(holds: u64) -> (Place, Arc<dyn Log>) {
        let place = Place::new();
        let log = place.log();
        let record = record();
        let defined = samples::defined(SaleNumber(0), OPEN, &record).into();
        log.append(0, &payload(batch::CATALOGUE_LANE, &[defined])).unwrap();
        for number in 0..holds {
            log.append(1 + number, &payload(3, &[held(number)])).unwrap();
        }
        let portions = [Portion { item: ItemNumber(0), pool: PoolNumber(0), units: 2 }].into_iter().collect();
        let (id, sale, at, returned) = (id(0), SaleNumber(0), OPEN.plus_seconds(5), Portions::new());
        let ended = Settled { id, sale, at, text: Some("order 9"), portions, returned, late: false };
        log.append(1 + holds, &payload(3, &[Event::Customer(CustomerEvent::Confirmed(ended))])).unwrap();
        (place, log)
    }

    fn segment(&self, id: u64) -> PathBuf {
        self.directory.path().join(format!("journal/journal-{id:020}.seg"))
    }

    fn overwrite(&self, segment: u64, offset: u64, bytes: &[u8]) {
        File::options().write(true).open(self.segment(segment)).unwrap().write_all_at(bytes, offset).unwrap();
    }

    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs::read_dir(self.directory.path().join("journal")).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// What is printed, and the exit code. Checks that nothing was changed.
    fn inspect(&self, options: InspectOptions) -> (String, ExitCode) {
        let before = self.contents();
        let mut out = Vec::new();
        let code = inspect(self.directory.path(), options, Style { bold: false }, &mut out).unwrap();
        assert_eq!(self.contents(), before, "a look changes nothing");
        (String::from_utf8(out).unwrap(), code)
    }

    /// As `inspect` in JSON, while the journal may be written.
    fn look(&self) -> (Value, ExitCode) {
        let mut out = Vec::new();
        let options = InspectOptions { json: true, events: false };
        let code = inspect(self.directory.path(), options, Style { bold: false }, &mut out).unwrap();
        (serde_json::from_slice(&out).unwrap(), code)
    }

    fn json(&self) -> (Value, ExitCode) {
        let (text, code) = self.inspect(InspectOptions { json: true, events: false });
        (serde_json::from_str(&text).unwrap(), code)
    }
}

fn id(number: u64) -> ReservationId {
    ReservationId::new(OPEN.plus_millis(number), Bucket::of("ann"), number << 2)
}

/// What the journal keeps of the sale.
fn record() -> Vec<u8> {
    samples::record_of(&serde_json::from_str(DOCUMENT).unwrap(), &[ItemNumber(0), ItemNumber(1)])
}

fn held(number: u64) -> Event<'static> {
    Event::Customer(CustomerEvent::Held(Held {
        id: id(number),
        sale: SaleNumber(0),
        customer: "ann",
        hold_seconds: 300,
        portions: [PricedPortion { item: ItemNumber(0), pool: PoolNumber(0), units: 2, price: None }]
            .into_iter()
            .collect(),
        reference: Some("a text that makes the event as long as one with a key"),
        key: None,
        attributes: None,
        short: Box::default(),
        group: None,
        entry: None,
    }))
}

fn payload(lane: u16, events: &[Event<'_>]) -> Vec<u8> {
    let (mut payload, mut bytes) = (Vec::new(), Vec::new());
    events.iter().for_each(|event| event.encode(&mut bytes));
    batch::put_section(&mut payload, lane, &bytes);
    payload
}

const EVENTS: InspectOptions = InspectOptions { json: false, events: true };

#[test]
fn a_journal_is_shown_with_segments_totals_and_tail() {
    let (place, log) = Place::with_holds(100);
    log.seal().unwrap();
    let (report, code) = place.json();
    assert_eq!(code, ExitCode::Clean);
    assert_eq!(report["journal_events"], serde_json::json!({"sale_defined": 1, "held": 100, "confirmed": 1}));
    let segments = report["segments"].as_array().unwrap();
    assert!(segments.len() > 2);
    assert_eq!(segments[0]["first_epoch"], 1);
    let mut next = 1;
    for segment in segments.iter().filter(|segment| !segment["first_epoch"].is_null()) {
        assert_eq!(segment["first_epoch"], next);
        assert_eq!(segment["allocated_bytes"], SEGMENT_BYTES);
        next = segment["last_epoch"].as_u64().unwrap() + 1;
    }
    assert_eq!(next, 103);
    let position = place.end();
    assert_eq!(segments[position.segment as usize - 1]["used_bytes"], position.offset);
    assert_eq!(report["tail"]["last_epoch"], 102);
    assert_eq!(report["tail"]["offset"], position.offset);
    assert_eq!(report["tail"]["sealed"], true);
    assert_eq!(report["damage"], serde_json::json!([]));
}

#[test]
fn events_are_lines_with_names() {
    let (place, _log) = Place::with_holds(2);
    let (text, code) = place.inspect(EVENTS);
    assert_eq!(code, ExitCode::Clean);
    let expected = [
        "1  catalogue   2026-11-27T08:15:00.000Z  sale_defined    sale=drop  name=\"Drop of the day\"".to_owned(),
        format!(
            "2  shard 3     2026-11-27T08:15:00.000Z  held            reservation={}  sale=drop  customer=ann  \
             lines=2*tv  expires_at=2026-11-27T08:20:00.000Z",
            id(0)
        ),
        format!(
            "4  shard 3     2026-11-27T08:15:05.000Z  confirmed       reservation={}  sale=drop  lines=2*tv  \
             reference=\"order 9\"",
            id(0)
        ),
    ];
    for line in expected {
        assert!(text.lines().any(|printed| printed.starts_with(&line)), "{line}\nis not in\n{text}");
    }
    assert!(text.lines().any(|line| line == "        2         0  held"), "{text}");
    assert!(text.contains("  last epoch  4\n"), "{text}");
}

#[test]
fn as_json_events_are_objects_and_the_last_line_is_the_report() {
    let (place, _log) = Place::with_holds(2);
    let (text, _) = place.inspect(InspectOptions { json: true, events: true });
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(kinds, ["sale_defined", "held", "held", "confirmed"]);
    assert_eq!(lines[1]["lines"], serde_json::json!([{"sku": "tv", "quantity": 2}]));
    assert_eq!(lines[1]["reservation"], id(0).to_string());
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[4]["tail"]["last_epoch"], 4);
}

#[test]
fn a_torn_tail_is_told_and_is_no_damage() {
    let (place, _log) = Place::with_holds(2);
    let position = place.end();
    place.overwrite(position.segment, position.offset, &[0x55; 100]);
    let (report, code) = place.json();
    assert_eq!(code, ExitCode::Clean);
    assert_eq!(report["tail"]["last_epoch"], 4);
    assert_eq!(report["tail"]["torn"]["offset"], position.offset);
    assert_eq!(report["tail"]["torn"]["bytes"], 100);
    let (text, _) = place.inspect(InspectOptions::default());
    assert!(text.contains("  torn        100 bytes at journal-00000000000000000001.seg"), "{text}");
}

#[test]
fn damage_is_told_with_file_and_offset_and_what_stands_before_it() {
    let (place, _log) = Place::with_holds(2);
    let (report, _) = place.json();
    let first_frame = frame::frame_bytes(
        payload(batch::CATALOGUE_LANE, &[samples::defined(SaleNumber(0), OPEN, &record()).into()]).len(),
    ) as u64;
    assert_eq!(report["damage"], serde_json::json!([]));
    place.overwrite(1, first_frame + 40, &[0xff]);
    let (report, code) = place.json();
    assert_eq!(code, ExitCode::JournalDamaged);
    assert_eq!(report["damage"][0]["file"], "journal-00000000000000000001.seg");
    assert_eq!(report["damage"][0]["offset"], first_frame);
    assert_eq!(report["tail"]["last_epoch"], 1);
    let (text, code) = place.inspect(EVENTS);
    assert_eq!(code, ExitCode::JournalDamaged);
    assert!(text.contains("sale_defined") && text.contains("  DAMAGED     journal-"), "{text}");
}

#[test]
fn a_missing_segment_is_damage() {
    let (place, _log) = Place::with_holds(100);
    fs::remove_file(place.segment(2)).unwrap();
    let (report, code) = place.json();
    assert_eq!(code, ExitCode::JournalDamaged);
    assert_eq!(report["damage"][0]["file"], "journal-00000000000000000002.seg");
}

/// A service with one sale and one hold, a snapshot of them, and another hold.
fn with_snapshot() -> (Place, Arc<Engine>) {
    let place = Place::new();
    let engine = Arc::new(Engine::new(engine::Settings::default()));
    let settings = CommitterSettings {
        flush_interval: None,
        gather_interval: GATHER_INTERVAL,
        seal_after: std::time::Duration::MAX,
    };
    let mut committer = Committer::new(engine.clone(), place.log(), Arc::new(clock::Monotonic), settings);
    let sale: SaleSettings = serde_json::from_str(DOCUMENT).unwrap();
    engine.put_sale(OPEN, Actor::Anybody, &sale).value.unwrap();
    let reserve = |customer| {
        let lines = [AskedLine { sku: "mat", units: 1 }].into_iter().collect();
        Reserve { sale: "drop", customer, lines, hold_seconds: None, reference: None, key: None, extras: None }
    };
    engine.reserve(OPEN, &reserve("ann"), 4).value.unwrap();
    engine.snapshot(&FileSnapshots::new(place.storage.clone()), |_| assert!(committer.step().unwrap())).unwrap();
    engine.reserve(OPEN, &reserve("bob"), 8).value.unwrap();
    committer.step().unwrap();
    (place, engine)
}

#[test]
fn a_snapshot_is_shown_with_what_it_holds() {
    let (place, _engine) = with_snapshot();
    let (report, code) = place.json();
    assert_eq!(code, ExitCode::Clean, "{report}");
    let snapshot = &report["snapshots"][0];
    assert_eq!((&snapshot["first_epoch"], &snapshot["last_epoch"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(report["snapshot_events"]["held"], 1);
    assert_eq!(report["journal_events"]["held"], 2);
    let (text, _) = place.inspect(EVENTS);
    assert!(text.contains("lines=1*mat"), "{text}");
}

#[test]
fn the_audit_trail_is_shown_with_where_it_ends() {
    let (place, engine) = with_snapshot();
    let head = engine.audit_head().value;
    let hash = head.hash.to_hex().to_string();
    let (report, _) = place.json();
    assert_eq!(report["audit"], serde_json::json!({ "sequence": 1, "hash": hash }));
    assert_eq!(
        (&report["journal_events"]["audited"], &report["snapshot_events"]["audit_reached"]),
        (&1.into(), &1.into())
    );
    let (text, _) = place.inspect(EVENTS);
    let record = "  audited         sequence=1  actor=anybody  action=sale.put  sale=drop  detail={";
    assert!(
        text.contains(record) && text.contains(&format!("\naudit trail\n  records     1\n  hash        {hash}\n")),
        "{text}"
    );
    // Known from the snapshot where the journal tells no more of it.
    let (bare, _log) = Place::with_holds(1);
    assert!(bare.json().0["audit"].is_null());
    let mut trail = Trail::default();
    trail.learn_of_snapshot(&Event::Catalogue(CatalogueEvent::AuditReached(head)));
    assert_eq!(trail.facts().unwrap().hash, hash);
}

#[test]
fn a_trail_that_does_not_hold_is_damage_as_it_is_for_a_start() {
    use crate::sale::audit::{Action, NewRecord, Trail};
    let entry = |action| NewRecord { by: Actor::Anybody, action, sale: Some("drop"), sku: None, detail: "{}".into() };
    let (pause, resume) = (entry(Action::SalePause), entry(Action::SaleResume));
    for first in [1, 2] {
        let (place, mut trail) = (Place::new(), Trail::default());
        let log = place.log();
        let mut events: Vec<Event<'_>> = Vec::new();
        for entry in [&pause, &resume, &pause, &resume] {
            let event = trail.record(OPEN, entry);
            trail.apply(&event).unwrap();
            events.push(event.into());
        }
        // A journal whose first segments were removed begins in the middle; a gap after that is none of its doing.
        for (epoch, event) in [&events[first - 1], &events[3]].into_iter().enumerate() {
            log.append(epoch as u64, &payload(batch::CATALOGUE_LANE, std::slice::from_ref(event))).unwrap();
        }
        let (report, code) = place.json();
        let missing = if first == 1 { "audit records 2 to 3 are missing" } else { "audit record 3 is missing" };
        assert_eq!(code, ExitCode::JournalDamaged);
        assert!(report["damage"][0]["message"].as_str().unwrap().contains(missing), "{report}");
    }
}

#[test]
fn names_are_known_from_the_snapshot_alone() {
    let (place, log) = Place::with_holds(100);
    let mut snapshot = FileSnapshots::new(place.storage.clone()).begin(60).unwrap();
    let mut events = Vec::new();
    samples::defined(SaleNumber(0), OPEN, &record()).encode(&mut events);
    let mut chunk = Vec::new();
    chunk.u16(batch::CATALOGUE_LANE);
    chunk.u64(60);
    chunk.u32(0);
    chunk.u32(events.len() as u32);
    chunk.put(&events);
    snapshot.chunk(&chunk).unwrap();
    snapshot.finish(61).unwrap();
    log.trim(60).unwrap();
    log.seal().unwrap();
    let (report, code) = place.json();
    assert_eq!(code, ExitCode::Clean, "{report}");
    assert!(report["journal_events"]["sale_defined"].is_null());
    let (text, _) = place.inspect(EVENTS);
    assert!(text.contains("sale=drop  customer=ann  lines=2*tv") && !text.contains('#'), "{text}");
}

#[test]
fn a_damaged_snapshot_is_told_and_the_journal_still_shown() {
    let (place, _engine) = with_snapshot();
    let path = place.directory.path().join("journal/snapshot-00000000000000000001.snap");
    File::options().write(true).open(&path).unwrap().write_all_at(&[0xff], 50).unwrap();
    let (report, code) = place.json();
    assert_eq!(code, ExitCode::JournalDamaged);
    assert_eq!(report["damage"][0]["file"], "snapshot-00000000000000000001.snap");
    assert_eq!(report["damage"][0]["offset"], 0);
    assert_eq!(report["journal_events"]["held"], 2);
}

#[test]
fn a_journal_that_ends_before_its_snapshot_is_damaged() {
    let (place, _engine) = with_snapshot();
    fs::write(place.segment(1), vec![0; SEGMENT_BYTES as usize]).unwrap();
    let (report, code) = place.json();
    assert_eq!(code, ExitCode::JournalDamaged);
    assert!(report["damage"][0]["message"].as_str().unwrap().contains("though epoch 1 was durable"), "{report}");
}

#[test]
fn what_is_no_data_directory_is_refused() {
    let directory = TempDir::new().unwrap();
    for path in [directory.path().to_owned(), directory.path().join("missing")] {
        let code = inspect(&path, InspectOptions::default(), Style { bold: false }, &mut Vec::new()).unwrap();
        assert_eq!(code, ExitCode::BadConfig);
        assert!(!path.join("journal").exists());
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (place, _log) = Place::with_holds(2);
    for (json, events) in [(false, false), (false, true), (true, false), (true, true)] {
        let result = inspect(place.directory.path(), InspectOptions { json, events }, Style { bold: true }, &mut Gone);
        assert_eq!(super::super::finish(result), ExitCode::Clean);
    }
}

/// The service appends while somebody looks: what is seen is a prefix, without damage. Segments are large enough for many
/// batches to be written while one is read.
#[test]
fn a_look_beside_a_busy_writer_never_shows_damage() {
    let place = Place::new();
    let log = place.log_of(4 << 20);
    let stop = AtomicBool::new(false);
    let payload = payload(3, &[held(0)]);
    // An empty journal is no clean one.
    log.append(0, &payload).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Bounded, so that a failing assertion below ends the test and fills no disk.
            for epoch in 2..100_000 {
                log.append(epoch - 1, &payload).unwrap();
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let mut last = 0;
        for _ in 0..50 {
            let (report, code) = place.look();
            if code != ExitCode::Clean {
                stop.store(true, Ordering::Relaxed);
            }
            assert_eq!(code, ExitCode::Clean, "{report}");
            let seen = report["tail"]["last_epoch"].as_u64().unwrap();
            assert!(seen >= last);
            last = seen;
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_view_cannot_write() {
    let (place, _log) = Place::with_holds(1);
    let view = View::open(&place.directory.path().join("journal")).unwrap();
    let name = "journal-00000000000000000001.seg";
    let file: Arc<dyn StorageFile> = view.open(name).unwrap();
    assert!(file.write_at(0, b"x").is_err() && file.sync().is_err());
    assert!(view.create("x", 0).is_err() && view.rename(name, "x").is_err() && view.remove(name).is_err());
}
