//! What is refused, and that the refusal says what is wrong.

use super::*;

fn store_at(epochs: usize) -> (tempfile::TempDir, std::path::PathBuf, MemoryJournal) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let journal = journal_with_sale(OPENS);
    for entropy in 1..epochs {
        journal.push(&[(0, &[held(reservation_id(OPENS, "ann", (entropy as u64) << 8), "ann", 1)])]);
    }
    catch_up(&mut write_behind(&journal, &path));
    (directory, path, journal)
}

#[test]
fn a_store_ahead_of_its_journal() {
    let (_directory, path, journal) = store_at(3);
    journal.batches.lock().truncate(2);
    let error = write_behind(&journal, &path).settle().unwrap_err();
    assert!(matches!(error, StoreError::Ahead { cursor: 3, durable: 2 }), "{error}");
    assert!(error.is_final());
}

#[test]
fn a_store_behind_what_the_journal_still_holds() {
    let (_directory, path, journal) = store_at(2);
    let pruned = MemoryJournal { pruned: 3, ..journal.clone() };
    for entropy in 8..12 {
        journal.push(&[(0, &[held(reservation_id(OPENS, "bob", entropy << 8), "bob", 1)])]);
    }
    let error = write_behind(&pruned, &path).step().unwrap_err();
    assert!(matches!(error, StoreError::Behind { cursor: 2, oldest: 4 }), "{error}");
    assert!(error.is_final());
    // Right at the edge it goes on.
    let mut write_behind = write_behind(&MemoryJournal { pruned: 2, ..journal }, &path);
    catch_up(&mut write_behind);
    assert_eq!(write_behind.status().applied_epoch(), 6);
}

#[test]
fn a_gap_between_batches() {
    struct Skipping(MemoryFeed);
    impl Feed for Skipping {
        fn seek(&mut self, epoch: u64) -> Result<Span, FeedError> {
            self.0.seek(epoch)
        }
        fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<u64>, FeedError> {
            Ok(self.0.next(payload)?.map(|epoch| epoch + u64::from(epoch > 1)))
        }
    }
    let (_directory, path, journal) = store_at(1);
    journal.push(&[(0, &[held(reservation_id(OPENS, "ann", 4), "ann", 1)])]);
    let store = SqliteStore::open(&path).unwrap();
    let mut write_behind = WriteBehind::new(Skipping(journal.feed()), store, WriteBehindSettings::default());
    assert!(matches!(write_behind.step(), Err(StoreError::Gap { expected: 2, found: 3 })));
}

#[test]
fn a_newer_format_and_a_foreign_file_are_left_as_they_are() {
    let (_directory, path, _journal) = store_at(1);
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 3).unwrap();
    for error in [SqliteStore::open(&path).err(), SqliteStore::open_read_only(&path).err()] {
        assert!(matches!(error, Some(StoreError::Newer { found: 3, known: 2 })), "{error:?}");
    }

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Foreign { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);

    std::fs::write(&path, "no database at all, and long enough to be looked at as one: ".repeat(20)).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(error.is_final(), "{error}");
}

#[test]
fn a_sum_that_does_not_conserve_names_the_item() {
    let (_directory, path, journal) = store_at(1);
    let before = content(&path);
    // Eleven of ten.
    journal.push(&[(0, &[held(reservation_id(OPENS, "ann", 4), "ann", 11)])]);
    let error = write_behind(&journal, &path).step().unwrap_err();
    assert!(matches!(&error, StoreError::Conservation { sale, sku, .. } if sale == "drop" && sku == "tv"), "{error}");
    assert!(error.is_final());
    assert_eq!(content(&path), before);
}

#[test]
fn a_file_changed_by_hand_is_an_error_and_no_panic() {
    let (_directory, path, journal) = store_at(2);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM reservations").unwrap();
    let id = reservation_id(OPENS, "ann", 1 << 8);
    journal.push(&[(0, &[Event::Confirmed(ended(id, OPENS, 1, None))])]);
    let error = write_behind(&journal, &path).step().unwrap_err();
    assert!(matches!(&error, StoreError::Contradiction(what) if what.contains(&id.to_string())), "{error}");

    connection.execute_batch("UPDATE items SET available = 9, held = 1 WHERE sku = 'phone'").unwrap();
    let totals = SqliteStore::open_read_only(&path).unwrap().totals().unwrap();
    assert!(totals.iter().all(|item| item.stored != item.recomputed), "{totals:?}");
}

#[test]
fn events_that_contradict_each_other() {
    let id = reservation_id(OPENS, "ann", 4);
    let confirmed = Event::Confirmed(ended(id, OPENS, 1, None));
    for events in [
        vec![held(id, "ann", 1), held(id, "ann", 1)],
        vec![confirmed.clone(), held(id, "ann", 1)],
        vec![held(id, "ann", 1), confirmed.clone(), confirmed.clone()],
        vec![confirmed, Event::Extended { id, at: OPENS, expires_at: OPENS, extensions: 1, sale: None }],
    ] {
        let mut window = Window::starting_after(0);
        let error = window.fold(1, &batch(&[(0, &events)])).unwrap_err();
        assert!(matches!(error, FoldError::OutOfOrder { id: found, .. } if found == id), "{error}");
    }
    let (mut window, mut cut_short) = (Window::starting_after(0), batch(&[(0, &[held(id, "ann", 1)])]));
    cut_short.pop();
    assert!(matches!(window.fold(1, &cut_short), Err(FoldError::Malformed(_))));
}
