//! The audit trail in the database: as it was journaled, and every tampering with it found.

use super::*;
use crate::sale::audit::{Action, Actor, Broken, Deed, Head, Trail};

/// A journal of a sale and six records in three batches, and where its trail ends.
fn journal_with_trail() -> (MemoryJournal, Head) {
    let journal = journal_with_sale(OPENS);
    let mut trail = Trail::default();
    let mut batch = Vec::new();
    let deeds = [
        (Actor::Key("eu"), Action::SalePut, Some("drop"), None, r#"{"created":true}"#),
        (
            Actor::Key("eu"),
            Action::StockAdjust,
            Some("drop"),
            Some("tv"),
            r#"{"delta":2,"reason":"it's \"found\" 🛒"}"#,
        ),
        (Actor::Anybody, Action::SalePause, Some("drop"), None, "{}"),
        (Actor::Anybody, Action::SaleResume, Some("drop"), None, "{}"),
        (Actor::Process, Action::KeysChange, None, None, r#"{"keys":1}"#),
        (Actor::Key("eu"), Action::SaleClose, Some("drop"), None, "{}"),
    ];
    for (index, (by, action, sale, sku, detail)) in deeds.into_iter().enumerate() {
        let deed = Deed { by, action, sale, sku, detail: detail.to_owned() };
        let event = trail.record(OPENS.plus_millis(index as u64), &deed);
        trail.apply(&event).unwrap();
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        batch.extend(bytes);
        if index % 2 == 1 {
            let mut payload = Vec::new();
            put_section(&mut payload, CATALOGUE_LANE, &std::mem::take(&mut batch));
            journal.batches.lock().push(payload);
        }
    }
    (journal, trail.head())
}

fn check(path: &Path, own: &Head) -> Result<(), Broken> {
    let checked = SqliteStore::open_read_only(path).unwrap().check_audit().unwrap();
    checked.and_then(|check| check.end(own))
}

#[test]
fn records_are_rows_that_can_be_read_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let (journal, head) = journal_with_trail();
    catch_up(&mut write_behind(&journal, &path));
    assert_eq!(
        query(&path, "SELECT sequence, at, actor, action, sale, sku, detail FROM audit WHERE sale = 'drop'")[1],
        [
            "2",
            "2026-11-27T08:00:00.001Z",
            "key:eu",
            "stock.adjust",
            "drop",
            "tv",
            r#"{"delta":2,"reason":"it's \"found\" 🛒"}"#
        ]
    );
    let delta = "SELECT actor, detail ->> 'delta' FROM audit WHERE action = 'stock.adjust'";
    assert_eq!(query(&path, delta), [["key:eu", "2"]]);
    assert_eq!(query(&path, "SELECT actor, sale, sku FROM audit WHERE sequence = 5"), [["process", "-", "-"]]);
    assert_eq!(check(&path, &head), Ok(()));
}

/// What somebody with the file in hand may do to it, and what is said of it.
#[test]
fn each_tampering_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("store.db");
    let (journal, head) = journal_with_trail();
    catch_up(&mut write_behind(&journal, &original));
    Connection::open(&original).unwrap().pragma_update(None, "journal_mode", "DELETE").unwrap();
    let changed = |sequence| Broken::Changed { sequence };
    let missing = |first, last| Broken::Missing { first, last };
    let foreign = |number: &str| Broken::Foreign { number: number.into() };
    let of_another = blake3::hash(b"another").to_hex();
    let hash = format!("UPDATE audit SET hash = '{of_another}' WHERE sequence = 3");
    for (sql, expected) in [
        ("UPDATE audit SET at = '2026-11-27T08:00:00.003Z' WHERE sequence = 3", changed(3)),
        ("UPDATE audit SET at = '2026-11-27T09:00:00.002+01:00' WHERE sequence = 3", changed(3)),
        ("UPDATE audit SET at = 'yesterday' WHERE sequence = 3", changed(3)),
        ("UPDATE audit SET actor = 'key:us' WHERE sequence = 2", changed(2)),
        ("UPDATE audit SET actor = 'nobody' WHERE sequence = 2", changed(2)),
        ("UPDATE audit SET actor = 'key:' || hex(zeroblob(200)) WHERE sequence = 2", changed(2)),
        ("UPDATE audit SET action = 'sale.resume' WHERE sequence = 3", changed(3)),
        ("UPDATE audit SET action = 'sale.sell' WHERE sequence = 3", changed(3)),
        ("UPDATE audit SET sale = 'other' WHERE sequence = 1", changed(1)),
        ("UPDATE audit SET sale = NULL WHERE sequence = 1", changed(1)),
        ("UPDATE audit SET sale = '' WHERE sequence = 5", changed(5)),
        ("UPDATE audit SET sku = 'phone' WHERE sequence = 2", changed(2)),
        ("UPDATE audit SET detail = '{\"delta\":20}' WHERE sequence = 2", changed(2)),
        ("UPDATE audit SET detail = detail || ' ' WHERE sequence = 6", changed(6)),
        ("UPDATE audit SET detail = cast(x'7bff7d' AS TEXT) WHERE sequence = 6", changed(6)),
        (hash.as_str(), changed(3)),
        ("UPDATE audit SET hash = upper(hash) WHERE sequence = 4", changed(4)),
        ("UPDATE audit SET hash = '' WHERE sequence = 4", changed(4)),
        ("DELETE FROM audit WHERE sequence = 1", missing(1, 1)),
        ("DELETE FROM audit WHERE sequence IN (2, 3)", missing(2, 3)),
        ("DELETE FROM audit WHERE sequence > 4", missing(5, 6)),
        ("DELETE FROM audit", missing(1, 6)),
        ("UPDATE audit SET sequence = 9 WHERE sequence = 6", missing(6, 8)),
        (
            "INSERT INTO audit SELECT 7, at, actor, action, sale, sku, detail, hash FROM audit WHERE sequence = 6",
            changed(7),
        ),
        // Rows that change places.
        (
            "UPDATE audit SET sequence = 10 WHERE sequence = 3; UPDATE audit SET sequence = 3 WHERE sequence = 4;
             UPDATE audit SET sequence = 4 WHERE sequence = 10",
            changed(3),
        ),
        // A file in which the database's own checks were taken out of the way.
        (
            "PRAGMA ignore_check_constraints = ON;
             INSERT INTO audit SELECT -1, at, actor, action, sale, sku, detail, hash FROM audit WHERE sequence = 6",
            foreign("-1"),
        ),
    ] {
        let path = directory.path().join("tampered.db");
        std::fs::copy(&original, &path).unwrap();
        assert_eq!(check(&path, &head), Ok(()), "before {sql}");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        assert_eq!(check(&path, &head), Err(expected), "{sql}");
    }
}

#[test]
fn a_trail_that_lags_is_gone_on_with_from_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let (journal, head) = journal_with_trail();
    let mut write_behind = WriteBehind::new(journal.feed(), SqliteStore::open(&path).unwrap(), single_batches());
    write_behind.step().unwrap();
    write_behind.step().unwrap();
    assert_eq!(check(&path, &head), Err(Broken::Missing { first: 3, last: 6 }));
    let reader = SqliteStore::open_read_only(&path).unwrap();
    let mut check = reader.check_audit().unwrap().unwrap();
    for payload in &journal.batches.lock()[reader.cursor().unwrap() as usize..] {
        crate::engine::batch::for_each(payload, |_, _, event| {
            if let Event::Audited(audited) = event {
                check.record(&audited).unwrap();
            }
            Ok::<_, crate::sale::codec::Malformed>(())
        })
        .unwrap();
    }
    assert_eq!(check.end(&head), Ok(()));
}

#[test]
fn a_row_that_somebody_put_in_the_way_is_told_and_not_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let (journal, _) = journal_with_trail();
    let mut write_behind = WriteBehind::new(journal.feed(), SqliteStore::open(&path).unwrap(), single_batches());
    write_behind.step().unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("INSERT INTO audit VALUES (2, 'x', 'x', 'x', NULL, NULL, 'x', 'x')").unwrap();
    let error = write_behind.step().unwrap_err();
    assert!(matches!(&error, StoreError::Contradiction(what) if what.contains("audit record 2")), "{error}");
    assert!(error.is_final());
    assert_eq!(query(&path, "SELECT sequence, at FROM audit"), [["2", "x"]]);
}

/// A file of the format before the trail: its rows stay, and what is recorded from then on comes behind.
#[test]
fn a_store_of_the_format_before_is_brought_on() {
    let directory = tempfile::tempdir().unwrap();
    let (path, calm) = (directory.path().join("store.db"), directory.path().join("calm.db"));
    let (journal, head) = journal_with_trail();
    journal.batches.lock().insert(1, batch(&[(0, &[held(reservation_id(OPENS, "ann", 4), "ann", 2)])]));
    catch_up(&mut write_behind(&journal, &calm));

    let mut first = WriteBehind::new(journal.feed(), SqliteStore::open(&path).unwrap(), single_batches());
    first.step().unwrap();
    first.step().unwrap();
    drop(first);
    let older = Connection::open(&path).unwrap();
    older.execute_batch("DROP TABLE audit; UPDATE write_behind SET format = 1; PRAGMA user_version = 1").unwrap();
    drop(older);
    let schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name";
    let as_released = directory.path().join("format_1.db");
    Connection::open(&as_released).unwrap().execute_batch(include_str!("../sqlite/schema_1.sql")).unwrap();
    assert_eq!(query(&path, schema), query(&as_released, schema), "this is what format 1 was");
    assert!(matches!(SqliteStore::open_read_only(&path), Err(StoreError::Content(_))));

    let mut later = write_behind(&journal, &path);
    later.settle().unwrap();
    assert_eq!(later.status().applied_epoch(), 2, "it goes on where it was");
    assert_eq!(query(&path, "PRAGMA user_version"), [["2"]]);
    catch_up(&mut later);
    assert_eq!(content(&path), content(&calm));
    assert_eq!(query(&path, schema), query(&calm, schema));
    assert_eq!(check(&path, &head), Ok(()));
}
