//! The audit trail in the database: as it was journaled, and every tampering with it found.

use super::*;
use crate::sale::audit::{Action, Actor, Broken, Head, NewRecord, Trail};

/// A journal of a sale and six records in three batches, and where its trail ends.
fn journal_with_trail() -> (MemoryJournal, Head) {
    let journal = journal_with_sale(OPENS);
    let mut trail = Trail::default();
    let mut batch = Vec::new();
    let entries = [
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
    for (index, (by, action, sale, sku, detail)) in entries.into_iter().enumerate() {
        let entry = NewRecord { by, action, sale, sku, detail: detail.to_owned() };
        let event = trail.record(OPENS.plus_millis(index as u64), &entry);
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

on_both! {
    a_page_is_what_the_rows_say,
    records_are_rows_that_can_be_read_and_checked,
    each_tampering_is_found,
    a_trail_that_lags_is_gone_on_with_from_the_journal,
    a_row_that_somebody_put_in_the_way_is_told_and_not_written_over,
}

fn check(database: &Database, own: &Head) -> Result<(), Broken> {
    database.reader().check_audit(&[]).unwrap().and_then(|mut check| check.end(own))
}

/// Of the table and of the archive, in which the older ones are.
fn a_page_is_what_the_rows_say(new: New) {
    let (database, (journal, _)) = (new(), journal_with_trail());
    catch_up(&mut write_behind(&journal, &database));
    let far = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let ask = |before, sale: Option<&str>, limit| TrailAsk {
        before,
        sale: sale.map(str::to_owned),
        wanted: Box::new(|sale| sale != Some("none")),
        limit,
    };
    let read = |ask: &TrailAsk| {
        let page = database.reader().trail(ask, far).unwrap();
        let sequences = page.records.iter().map(|row| row.sequence).collect::<Vec<_>>();
        (sequences, page.next, page.cursor)
    };
    let look = || {
        assert_eq!(read(&ask(None, None, 9)), (vec![6, 5, 4, 3, 2, 1], None, 4));
        assert_eq!(read(&ask(None, None, 2)), (vec![6, 5], Some(5), 4));
        assert_eq!(read(&ask(Some(5), None, 2)), (vec![4, 3], Some(3), 4));
        assert_eq!(read(&ask(Some(3), None, 2)), (vec![2, 1], None, 4));
        assert_eq!(read(&ask(None, Some("drop"), 3)), (vec![6, 4, 3], Some(3), 4));
        assert_eq!(read(&ask(Some(3), Some("drop"), 3)), (vec![2, 1], None, 4));
        assert_eq!(read(&ask(Some(u64::MAX), Some("other"), 3)), (vec![], None, 4));
    };
    look();
    let archive =
        "INSERT INTO audit_archive SELECT * FROM audit WHERE sequence <= 3; DELETE FROM audit WHERE sequence <= 3";
    database.execute(archive, archive);
    look();
    let page = database.reader().trail(&ask(Some(3), None, 1), far).unwrap();
    let (row, changed_at) = (&page.records[0], page.changed_at.as_deref());
    assert_eq!((&*row.actor, &*row.action, row.sku.as_deref()), ("key:eu", "stock.adjust", Some("tv")));
    assert_eq!(
        (&*row.detail, changed_at),
        (r#"{"delta":2,"reason":"it's \"found\" 🛒"}"#, Some("2026-11-27T08:00:00.005Z"))
    );
}

fn records_are_rows_that_can_be_read_and_checked(new: New) {
    let database = new();
    let (journal, head) = journal_with_trail();
    catch_up(&mut write_behind(&journal, &database));
    let of_sale =
        "SELECT sequence, at, actor, action, sale, sku, detail FROM audit WHERE sale = 'drop' ORDER BY sequence";
    assert_eq!(
        database.query(of_sale)[1],
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
    let detail = if database.is_sqlite() { "detail" } else { "detail::jsonb" };
    let delta = format!("SELECT actor, {detail} ->> 'delta' FROM audit WHERE action = 'stock.adjust'");
    assert_eq!(database.query(&delta), [["key:eu", "2"]]);
    assert_eq!(database.query("SELECT actor, sale, sku FROM audit WHERE sequence = 5"), [["process", "-", "-"]]);
    assert_eq!(check(&database, &head), Ok(()));
}

/// What somebody who may write the database can do to it, and what is said of it.
fn each_tampering_is_found(new: New) {
    let database = new();
    let (journal, head) = journal_with_trail();
    catch_up(&mut write_behind(&journal, &database));
    let changed = |sequence| Broken::Changed { sequence };
    let missing = |first, last| Broken::Missing { first, last };
    let of_another = format!("UPDATE audit SET hash = '{}' WHERE sequence = 3", blake3::hash(b"another").to_hex());
    let too_long = format!("UPDATE audit SET actor = 'key:{}' WHERE sequence = 2", "0".repeat(400));
    let mut tamperings = vec![
        ("UPDATE audit SET at = '2026-11-27T08:00:00.003Z' WHERE sequence = 3", changed(3)),
        ("UPDATE audit SET at = '2026-11-27T09:00:00.002+01:00' WHERE sequence = 3", changed(3)),
        ("UPDATE audit SET at = 'yesterday' WHERE sequence = 3", changed(3)),
        ("UPDATE audit SET actor = 'key:us' WHERE sequence = 2", changed(2)),
        ("UPDATE audit SET actor = 'nobody' WHERE sequence = 2", changed(2)),
        (&too_long, changed(2)),
        ("UPDATE audit SET action = 'sale.resume' WHERE sequence = 3", changed(3)),
        ("UPDATE audit SET action = 'sale.sell' WHERE sequence = 3", changed(3)),
        ("UPDATE audit SET sale = 'other' WHERE sequence = 1", changed(1)),
        ("UPDATE audit SET sale = NULL WHERE sequence = 1", changed(1)),
        ("UPDATE audit SET sale = '' WHERE sequence = 5", changed(5)),
        ("UPDATE audit SET sku = 'phone' WHERE sequence = 2", changed(2)),
        ("UPDATE audit SET detail = '{\"delta\":20}' WHERE sequence = 2", changed(2)),
        ("UPDATE audit SET detail = detail || ' ' WHERE sequence = 6", changed(6)),
        (&of_another, changed(3)),
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
    ];
    // And with the database's own checks out of the way.
    let foreign = |number: &str| Broken::Foreign { number: number.into() };
    if database.is_sqlite() {
        tamperings.push(("UPDATE audit SET detail = cast(x'7bff7d' AS TEXT) WHERE sequence = 6", changed(6)));
        tamperings.push((
            "PRAGMA ignore_check_constraints = ON;
             INSERT INTO audit SELECT -1, at, actor, action, sale, sku, detail, hash FROM audit WHERE sequence = 6",
            foreign("-1"),
        ));
    } else {
        tamperings.push((
            "ALTER TABLE audit DROP CONSTRAINT audit_sequence_check;
             INSERT INTO audit SELECT -1, at, actor, action, sale, sku, detail, hash FROM audit WHERE sequence = 6",
            foreign("-1"),
        ));
        tamperings.push((
            "ALTER TABLE audit ALTER detail DROP NOT NULL; UPDATE audit SET detail = NULL WHERE sequence = 2",
            changed(2),
        ));
        // Where one reading of several rows ends and the next begins.
        tamperings.push((
            "ALTER TABLE audit DROP CONSTRAINT audit_pkey; INSERT INTO audit SELECT * FROM audit WHERE sequence = 4",
            foreign("4"),
        ));
    }
    let keep = "CREATE TABLE kept AS SELECT * FROM audit";
    database.execute(keep, keep);
    for (sql, expected) in tamperings {
        assert_eq!(check(&database, &head), Ok(()), "before {sql}");
        database.execute(sql, sql);
        assert_eq!(check(&database, &head), Err(expected), "{sql}");
        let restore = "DELETE FROM audit; INSERT INTO audit SELECT * FROM kept";
        database.execute(restore, restore);
    }
}

fn a_trail_that_lags_is_gone_on_with_from_the_journal(new: New) {
    let database = new();
    let (journal, head) = journal_with_trail();
    let mut write_behind = write_behind_with(&journal, &database, single_batches());
    write_behind.step().unwrap();
    write_behind.step().unwrap();
    assert_eq!(check(&database, &head), Err(Broken::Missing { first: 3, last: 6 }));
    let reader = database.reader();
    let mut check = reader.check_audit(&[]).unwrap().unwrap();
    for payload in &journal.batches.lock()[reader.cursor().unwrap() as usize..] {
        crate::engine::batch::for_each(payload, |_, _, event| {
            if let Event::Catalogue(CatalogueEvent::Audited(audited)) = event {
                check.record(&audited).unwrap();
            }
            Ok::<_, crate::sale::codec::Malformed>(())
        })
        .unwrap();
    }
    assert_eq!(check.end(&head), Ok(()));
}

fn a_row_that_somebody_put_in_the_way_is_told_and_not_written_over(new: New) {
    let database = new();
    let (journal, _) = journal_with_trail();
    let mut write_behind = write_behind_with(&journal, &database, single_batches());
    write_behind.step().unwrap();
    let insert = "INSERT INTO audit VALUES (2, 'x', 'x', 'x', NULL, NULL, 'x', 'x')";
    database.execute(insert, insert);
    let error = write_behind.step().unwrap_err();
    let named = if database.is_sqlite() { "audit record 2" } else { "(sequence)=(2)" };
    assert!(matches!(&error, StoreError::Contradiction(what) if what.contains(named)), "{error}");
    assert!(error.is_final());
    assert_eq!(database.query("SELECT sequence, at FROM audit"), [["2", "x"]]);
}
