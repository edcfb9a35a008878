//! Bytes on disk that must stay readable, and a history that must go on being written as these bytes.
//!
//! `tests/golden/format-1` holds the journal and the snapshot of the history below. `UPDATE_GOLDENFILES=1` writes them again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use doorbuster::{
    clock::Monotonic,
    engine::{Engine, RecoverError, Recovered, Settings},
    journal::{
        Committer, CommitterSettings, GATHER_INTERVAL, Log, SnapshotStore,
        files::{self, FileSettings, FileSnapshots, View},
    },
    sale::{
        attributes::Attributes,
        audit::{Actor, KeyFacts},
        codec::{Reader, Write, put_block},
        command::{Adjust, AdjustAll, AskedLine, Extras, Reserve, Transfer},
        ids::ReservationId,
        settings::SaleSettings,
        time::Timestamp,
        timeline::Uptime,
    },
};

const START: u64 = 1_795_852_800_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

/// Reads what a directory holds, and goes on from there.
fn open(directory: &Path) -> (Arc<Engine>, Committer<Engine>, FileSnapshots) {
    let settings = FileSettings { segment_bytes: 16_384, clock: Arc::new(Monotonic) };
    let (log, snapshots) = files::open(directory, settings).unwrap();
    let mut recovered = Recovered::new(Settings { shards: 4, ..Settings::default() });
    let (mut from, mut reaches) = (1, 0);
    if let Some(mut snapshot) = snapshots.newest().unwrap() {
        (from, reaches) = (snapshot.summary().first_epoch, snapshot.summary().last_epoch);
        while let Some(chunk) = snapshot.next_chunk().unwrap() {
            recovered.chunk(chunk).unwrap();
        }
    }
    let log: Arc<dyn Log> = Arc::new(log);
    let last_epoch = log.recover(from, reaches, |epoch, payload| recovered.batch(epoch, payload)).unwrap();
    let engine = Arc::new(recovered.finish(last_epoch).unwrap());
    let settings = CommitterSettings {
        flush_interval: None,
        gather_interval: GATHER_INTERVAL,
        seal_after: std::time::Duration::MAX,
    };
    (engine.clone(), Committer::new(engine, log, Arc::new(Monotonic), settings), snapshots)
}

fn reserve(engine: &Engine, second: u64, customer: &str, lines: &[(&str, u32)], key: Option<&str>) -> ReservationId {
    let lines = lines.iter().map(|&(sku, units)| AskedLine { sku, units }).collect();
    let asked =
        Reserve { sale: "golden", customer, lines, hold_seconds: None, reference: Some("cart"), key, extras: None };
    engine.reserve(at(second), &asked, second * 7919).value.unwrap().reservation.id
}

/// One of everything that is written, with a snapshot in the middle.
fn live(engine: &Engine, committer: &mut Committer<Engine>, snapshots: &FileSnapshots) {
    let settings: SaleSettings = serde_json::from_str(
        r#"{"id":"golden","name":"Golden sale","opens_at":"2026-11-28T08:00:05Z","closes_at":"2026-11-28T09:00:00Z",
            "hold_seconds":60,"max_extensions":2,"customer_limit":5,"items":[
            {"sku":"tv","initial_stock":100,"price":{"amount":19900,"currency":"EUR"}},{"sku":"pad","initial_stock":50}]}"#,
    )
    .unwrap();
    engine.note_start(at(0), Some(Uptime { boot: [5; 16], millis: 123_450 }), "0.1.0");
    engine.put_sale(at(0), Actor::Anybody, &settings).value.unwrap();
    let key = |name, role| KeyFacts { name, role, sales: vec!["gold*"], channels: vec![], print: [7; 16] };
    engine.note_keys(at(1), "start", &[key("ops", "operator"), key("stock", "operator")]);
    committer.step().unwrap();
    engine.tick(at(5));
    let kept = reserve(engine, 6, "ann", &[("tv", 2), ("pad", 1)], Some("key-ann"));
    let gone = reserve(engine, 7, "bob", &[("tv", 1)], None);
    reserve(engine, 8, "cy", &[("pad", 3)], None);
    committer.step().unwrap();
    engine.confirm(at(9), kept, Some("order-1")).value.unwrap();
    engine.release(at(10), gone, Some("changed mind")).value.unwrap();
    let adjust = Adjust {
        sale: "golden",
        sku: "tv",
        pool: None,
        delta: 11,
        reason: Some("found"),
        reference: Some("wh-1"),
        key: Some("key-adjust"),
    };
    engine.adjust(at(11), Actor::Key("stock"), &adjust).value.unwrap();
    engine.pause(at(12), Actor::Key("ops"), "golden").value.unwrap();
    // Customers are erased before the snapshot, which keeps traces of it, and after it.
    assert_eq!(engine.erase_customer(at(12), Actor::Key("ops"), "bob").value, 1);
    committer.step().unwrap();
    engine.snapshot(snapshots, |_| ()).unwrap();
    engine.resume(at(13), Actor::Key("ops"), "golden").value.unwrap();
    let extended = reserve(engine, 14, "dee", &[("tv", 4)], None);
    engine.extend(at(15), extended, 120).value.unwrap();
    assert_eq!(engine.erase_customer(at(16), Actor::Key("ops"), "ann").value, 1);
    committer.step().unwrap();
    use_rules(engine);
    committer.step().unwrap();
    engine.tick(at(100));
    engine.tick(at(100_000));
    committer.step().unwrap();
    engine.close(at(100_001), Actor::Key("ops"), "golden").value.unwrap();
    committer.step().unwrap();
    committer.seal().unwrap();
}

/// A sale with phases and pools, and what can be done with them.
fn use_rules(engine: &Engine) {
    let settings: SaleSettings = serde_json::from_str(
        r#"{"id":"rules","name":"Rules","opens_at":"2026-11-28T08:00:00Z","closes_at":"2026-11-28T09:00:00Z",
            "hold_seconds":60,"phases":[
            {"name":"early","opens_at":"2026-11-28T08:00:00Z","closes_at":"2026-11-28T08:00:50Z","tiers":["gold"],
             "customer_limit":9},{"name":"all","opens_at":"2026-11-28T08:00:50Z"}],
            "items":[{"sku":"tv","initial_stock":10,"sourcing":"cheapest","split":true,"low_stock_at":2,"pools":[
            {"id":"members","initial_stock":4,"tiers":["gold"],"channels":["app"],"shared_at":"2026-11-28T08:00:40Z",
             "location":"berlin","costs":{"eu":5},"price":{"amount":100,"currency":"EUR"}},
            {"id":"rest","initial_stock":6,"price":{"amount":200,"currency":"EUR"}}]},{"sku":"pad","initial_stock":1}]}"#,
    )
    .unwrap();
    engine.put_sale(at(20), Actor::Anybody, &settings).value.unwrap();
    let attributes = Attributes {
        tier: Some("gold".into()),
        channel: Some("app".into()),
        region: Some("eu".into()),
        locations: Vec::new(),
        labels: vec![("experiment".into(), "B".into())],
    };
    let extras = Extras { attributes, allow_partial: true, group: None };
    let line = |sku, units| AskedLine { sku, units };
    let asked = Reserve {
        sale: "rules",
        customer: "eve",
        lines: [line("tv", 5), line("pad", 2)].into_iter().collect(),
        hold_seconds: None,
        reference: None,
        key: Some("key-eve"),
        extras: Some(&extras),
    };
    let made = engine.reserve(at(21), &asked, 21 * 7919).value.unwrap();
    assert_eq!((made.reservation.lines.len(), made.reservation.short.len()), (3, 1));
    let (reason, reference) = (Some("rebalance"), Some("wh-2"));
    let transfer = Transfer {
        sale: "rules",
        sku: "tv",
        from: "rest",
        to: "members",
        units: 2,
        reason,
        reference,
        key: Some("key-move"),
    };
    engine.transfer(at(22), Actor::Key("stock"), &transfer).value.unwrap();
    let change =
        |sku, pool, delta| Adjust { sale: "rules", sku, pool, delta, reason: None, reference: None, key: None };
    let changes = vec![change("tv", Some("rest"), -1), change("pad", None, 3)];
    let all = AdjustAll { sale: "rules", changes, key: Some("key-all") };
    engine.adjust_all(at(23), Actor::Key("stock"), &all).value.unwrap();
    engine.tick(at(41));
    deal_with_groups(engine);
}

/// Groups that are complete, left, and failed when time has passed.
fn deal_with_groups(engine: &Engine) {
    let settings: SaleSettings = serde_json::from_str(
        r#"{"id":"deal","name":"Deal","opens_at":"2026-11-28T08:00:00Z","closes_at":"2026-11-28T09:00:00Z",
            "hold_seconds":60,"items":[{"sku":"kit","initial_stock":9,"group":{"size":2,"seconds":300}}]}"#,
    )
    .unwrap();
    engine.put_sale(at(42), Actor::Anybody, &settings).value.unwrap();
    let join = |second, customer, group| {
        let extras = Extras { group, ..Extras::default() };
        let lines = [AskedLine { sku: "kit", units: 1 }].into_iter().collect();
        let (hold_seconds, reference, key) = (None, None, None);
        let asked = Reserve { sale: "deal", customer, lines, hold_seconds, reference, key, extras: Some(&extras) };
        let made = engine.reserve(at(second), &asked, second * 7919).value.unwrap().reservation;
        (made.id, made.group.map(|group| group.id))
    };
    let (_, first) = join(43, "flo", None);
    join(44, "gil", first);
    join(45, "hal", None);
    let (left, _) = join(46, "ida", None);
    engine.release(at(47), left, None).value.unwrap();
}

/// The files of a journal, segments without the zeros at their ends.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| {
            let mut bytes = fs::read(&path).unwrap();
            let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| (last + 1).next_multiple_of(8));
            bytes.truncate(used);
            (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes)
        })
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect();
    files.sort();
    files
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1")
}

#[test]
fn the_history_is_written_as_the_golden_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, mut committer, snapshots) = open(directory.path());
    live(&engine, &mut committer, &snapshots);
    let written = files(directory.path());
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::create_dir_all(golden()).unwrap();
        written.iter().for_each(|(name, bytes)| fs::write(golden().join(name), bytes).unwrap());
    }
    let expected = files(&golden());
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&written), names(&expected));
    for ((name, written), (_, expected)) in written.iter().zip(&expected) {
        assert!(written == expected, "{name} is written in other bytes than before");
    }
}

#[test]
fn the_golden_bytes_are_read_as_the_history() {
    let fresh = tempfile::tempdir().unwrap();
    let (lived, mut committer, snapshots) = open(fresh.path());
    live(&lived, &mut committer, &snapshots);
    let head = lived.audit_head().value;
    assert_eq!(
        head.sequence, 12,
        "three puts, a change of keys, two adjustments, a transfer, pause, resume and close, two erasures"
    );

    let directory = tempfile::tempdir().unwrap();
    files(&golden()).iter().for_each(|(name, bytes)| fs::write(directory.path().join(name), bytes).unwrap());
    let (read, _, _) = open(directory.path());

    assert_eq!(read.digest(), lived.digest());
    assert_eq!(read.audit_head().value, head);
    let view = read.sale(at(100_002), "golden").value.unwrap();
    let counts = view.counts.iter().map(|counts| (counts.available, counts.held, counts.confirmed));
    assert_eq!(counts.collect::<Vec<_>>(), [(109, 0, 2), (49, 0, 1)]);
    assert_eq!(view.status.as_str(), "closed");
    // The audit trail is continued.
    let asked = Adjust { sale: "golden", sku: "tv", pool: None, delta: 1, reason: None, reference: None, key: None };
    read.adjust(at(100_003), Actor::Anybody, &asked).value.unwrap();
    assert_eq!(read.audit_head().value.sequence, head.sequence + 1);
}

/// The golden journal from its first batch on, each payload changed as `change` says, through a recovery of its own.
fn recovered(change: impl Fn(&[u8]) -> Vec<u8>) -> Result<Engine, RecoverError> {
    let directory = tempfile::tempdir().unwrap();
    files(&golden()).iter().for_each(|(name, bytes)| fs::write(directory.path().join(name), bytes).unwrap());
    let mut batches = Vec::new();
    files::scan(&View::open(directory.path()).unwrap(), 1, 0, |epoch, payload| {
        batches.push((epoch, payload.to_vec()));
        Ok::<_, RecoverError>(())
    })
    .unwrap();
    let mut recovered = Recovered::new(Settings { shards: 4, ..Settings::default() });
    batches.iter().try_for_each(|(epoch, payload)| recovered.batch(*epoch, &change(payload)))?;
    recovered.finish(batches.len() as u64)
}

/// A payload whose events `change` changes.
fn with_events(payload: &[u8], change: impl Fn(&[u8], &mut Vec<u8>)) -> Vec<u8> {
    let (mut sections, mut changed) = (Reader::new(payload), Vec::new());
    while !sections.is_empty() {
        changed.u16(sections.u16().unwrap());
        let length = sections.u32().unwrap() as usize;
        let (mut events, mut section) = (Reader::new(sections.take(length).unwrap()), Vec::new());
        while !events.is_empty() {
            let fields = events.block().unwrap();
            put_block(&mut section, |event| change(fields, event));
        }
        changed.u32(section.len() as u32);
        changed.put(&section);
    }
    changed
}

#[test]
fn optional_fields_that_a_later_version_adds_are_skipped() {
    let as_it_is = recovered(<[u8]>::to_vec).unwrap();
    let grown = |payload: &[u8]| {
        with_events(payload, |fields, event| {
            event.put(fields);
            event.text_field(201, Some("what a later version has to say"));
        })
    };
    assert_eq!(recovered(grown).unwrap().digest(), as_it_is.digest());
}

#[test]
fn an_event_that_a_later_version_adds_refuses_the_start_and_names_that_version() {
    let written_by_later = |payload: &[u8]| {
        with_events(payload, |fields, event| {
            let mut text = fields.to_vec();
            if let Some(at) = text.windows(5).position(|bytes| bytes == b"0.1.0") {
                text[at..at + 5].copy_from_slice(b"9.8.7");
            }
            // A release becomes an event that nobody here knows.
            if text[0] == 4 {
                text[0] = 60;
            }
            event.put(&text);
        })
    };
    let error = recovered(written_by_later).err().expect("it is refused").to_string();
    assert!(error.contains("kind 60") && error.contains("version 9.8.7") && error.contains("0.1.0"), "{error}");
}
