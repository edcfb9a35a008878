//! What is refused, and that the refusal says what is wrong.

use super::*;
use crate::sale::event::{Cancelled, Changed, PricedPortions};

on_both! {
    a_store_ahead_of_its_journal,
    a_store_behind_what_the_journal_still_holds,
    a_gap_between_batches,
    a_newer_format_is_left_as_it_is,
    a_database_of_something_else_is_left_as_it_is,
    a_sum_that_does_not_conserve_names_the_item,
    a_row_changed_by_hand_is_an_error_and_no_panic,
    a_row_added_by_hand_is_an_error_until_it_is_gone,
}

fn store_at(new: New, epochs: usize) -> (Database, MemoryJournal) {
    let database = new();
    let journal = journal_with_sale(OPENS);
    for entropy in 1..epochs {
        journal.push(&[(0, &[held(reservation_id(OPENS, "ann", (entropy as u64) << 8), "ann", 1)])]);
    }
    catch_up(&mut write_behind(&journal, &database));
    (database, journal)
}

fn a_store_ahead_of_its_journal(new: New) {
    let (database, journal) = store_at(new, 3);
    journal.batches.lock().truncate(2);
    let error = write_behind(&journal, &database).settle().unwrap_err();
    assert!(matches!(error, StoreError::Ahead { cursor: 3, durable: 2 }), "{error}");
    assert!(error.is_final());
}

fn a_store_behind_what_the_journal_still_holds(new: New) {
    let (database, journal) = store_at(new, 2);
    let pruned = MemoryJournal { pruned: 3, ..journal.clone() };
    for entropy in 8..12 {
        journal.push(&[(0, &[held(reservation_id(OPENS, "bob", entropy << 8), "bob", 1)])]);
    }
    let error = write_behind(&pruned, &database).step().unwrap_err();
    assert!(matches!(error, StoreError::Behind { cursor: 2, oldest: 4 }), "{error}");
    assert!(error.is_final());
    // Right at the edge it goes on.
    let mut write_behind = write_behind(&MemoryJournal { pruned: 2, ..journal }, &database);
    catch_up(&mut write_behind);
    assert_eq!(write_behind.status().applied_epoch(), 6);
}

fn a_gap_between_batches(new: New) {
    struct Skipping(MemoryFeed);
    impl Feed for Skipping {
        fn seek(&mut self, epoch: u64) -> Result<Span, FeedError> {
            self.0.seek(epoch)
        }
        fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<u64>, FeedError> {
            Ok(self.0.next(payload)?.map(|epoch| epoch + u64::from(epoch > 1)))
        }
    }
    let (database, journal) = store_at(new, 1);
    journal.push(&[(0, &[held(reservation_id(OPENS, "ann", 4), "ann", 1)])]);
    let feed = Skipping(journal.feed());
    let mut write_behind = WriteBehind::new(feed, database.store(), OWNER, WriteBehindSettings::default());
    assert!(matches!(write_behind.step(), Err(StoreError::Gap { expected: 2, found: 3 })));
}

fn a_newer_format_is_left_as_it_is(new: New) {
    let (database, _journal) = store_at(new, 1);
    database.execute("PRAGMA user_version = 2", "UPDATE write_behind SET format = 2");
    for error in [database.try_store().err(), database.try_reader().err()] {
        assert!(matches!(error, Some(StoreError::Newer { found: 2, known: 1 })), "{error:?}");
    }
}

fn a_database_of_something_else_is_left_as_it_is(new: New) {
    for table in ["sales", "write_behind"] {
        let database = new();
        let table = format!("CREATE TABLE {table} (recipe TEXT)");
        database.execute(&table, &table);
        let error = database.try_store().err().unwrap();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        assert!(error.is_final());
        let tables = if database.is_sqlite() {
            database.query("SELECT count(*) FROM sqlite_schema")
        } else {
            database.query("SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()")
        };
        assert_eq!(tables, [["1"]]);
    }
}

#[test]
fn a_file_that_is_no_database() {
    let database = Database::sqlite();
    std::fs::write(database.path(), "no database, and long enough to be looked at as one: ".repeat(20)).unwrap();
    let error = database.try_store().err().unwrap();
    assert!(error.is_final(), "{error}");
}

fn a_sum_that_does_not_conserve_names_the_item(new: New) {
    let (database, journal) = store_at(new, 1);
    let before = database.content();
    // Eleven of ten.
    journal.push(&[(0, &[held(reservation_id(OPENS, "ann", 4), "ann", 11)])]);
    let error = write_behind(&journal, &database).step().unwrap_err();
    assert!(matches!(&error, StoreError::Conservation { sale, sku, .. } if sale == "drop" && sku == "tv"), "{error}");
    assert!(error.is_final());
    assert_eq!(database.content(), before);
}

fn a_row_changed_by_hand_is_an_error_and_no_panic(new: New) {
    let (database, journal) = store_at(new, 4);
    let [first, second, third] = [1, 2, 3].map(|entropy| reservation_id(OPENS, "ann", entropy << 8));
    let delete = format!("DELETE FROM reservations WHERE id = '{second}'");
    database.execute(&format!("PRAGMA foreign_keys = OFF; {delete}"), &delete);
    let confirmed =
        [first, second, third].map(|id| Event::Customer(CustomerEvent::Confirmed(ended(id, OPENS, 1, None))));
    journal.push(&[(0, &confirmed)]);
    let error = write_behind(&journal, &database).step().unwrap_err();
    assert!(matches!(&error, StoreError::Contradiction(what) if what.contains(&second.to_string())), "{error}");

    let update = "UPDATE items SET available = 9, held = 1 WHERE sku = 'phone'";
    database.execute(update, update);
    let totals = database.reader().totals().unwrap();
    let items = totals.iter().filter(|total| total.pool.is_none());
    assert!(items.clone().count() == 2 && items.clone().all(|item| item.stored != item.recomputed), "{totals:?}");
}

fn a_row_added_by_hand_is_an_error_until_it_is_gone(new: New) {
    let (database, journal) = store_at(new, 1);
    // Among many, which may be added by one statement, and neither the first nor the last of them.
    let numbered = |place: u64| reservation_id(OPENS, "ann", place << 8);
    let id = numbered(29);
    let insert = format!(
        "INSERT INTO reservations (id, sale, customer, state, created_at, expires_at, extensions)
         VALUES ('{id}', 'drop', 'eve', 'held', '2026-11-27T08:00:00.000Z', '2026-11-27T09:00:00.000Z', 0)"
    );
    database.execute(&insert, &insert);
    let before = database.content();
    // What is held is let go of again: there are not so many units.
    let events: Vec<_> = (9..59)
        .map(numbered)
        .flat_map(|id| [held(id, "ann", 1), Event::Customer(CustomerEvent::Released(ended(id, OPENS, 1, None)))])
        .filter(|event| !matches!(event, Event::Customer(CustomerEvent::Released(ended)) if ended.id == id))
        .collect();
    journal.push(&[(0, &events)]);
    let mut write_behind = write_behind(&journal, &database);
    for _ in 0..2 {
        let error = write_behind.step().unwrap_err();
        assert!(matches!(&error, StoreError::Contradiction(what) if what.contains(&id.to_string())), "{error}");
        assert_eq!(write_behind.status().state(), StoreState::Stuck);
        assert_eq!(database.content(), before);
    }
    let delete = "DELETE FROM reservations WHERE customer = 'eve'";
    database.execute(delete, delete);
    catch_up(&mut write_behind);
    assert_eq!(write_behind.status().state(), StoreState::Following);
    assert_eq!(database.reader().reservation(&id).unwrap().unwrap().customer, "ann");
}

#[test]
fn events_that_contradict_each_other() {
    let id = reservation_id(OPENS, "ann", 4);
    let confirmed = Event::Customer(CustomerEvent::Confirmed(ended(id, OPENS, 1, None)));
    let released = Event::Customer(CustomerEvent::Released(ended(id, OPENS, 1, None)));
    let expired = Event::Customer(CustomerEvent::Expired(ended(id, OPENS, 1, None)));
    let late = Event::Customer(CustomerEvent::Confirmed(Settled { late: true, ..ended(id, OPENS, 1, None) }));
    let (returned, taken) = (ended(id, OPENS, 1, None).portions, PricedPortions::new());
    let portions = returned.clone();
    let changed = Event::Customer(CustomerEvent::Changed(Changed { id, sale: SALE, at: OPENS, returned, taken }));
    let (reason, restock, is_all, key) = (None, true, true, None);
    let cancelled = Cancelled { id, sale: SALE, at: OPENS, reason, portions, restock, is_all, key };
    let cancelled = Event::Customer(CustomerEvent::Cancelled(cancelled));
    let more = Event::Customer(CustomerEvent::Confirmed(Settled {
        returned: ended(id, OPENS, 2, None).portions,
        ..ended(id, OPENS, 1, None)
    }));
    let mut window = Window::starting_after(0);
    let error = window.fold(1, &batch(&[(0, &[held(id, "ann", 1), more])])).unwrap_err();
    assert!(matches!(error, FoldError::LacksUnits { id: found } if found == id), "{error}");
    for events in [
        vec![held(id, "ann", 1), held(id, "ann", 1)],
        vec![confirmed.clone(), held(id, "ann", 1)],
        vec![held(id, "ann", 1), confirmed.clone(), confirmed.clone()],
        vec![held(id, "ann", 1), late.clone()],
        vec![held(id, "ann", 1), released.clone(), late.clone()],
        vec![expired.clone(), confirmed.clone()],
        vec![expired, changed.clone()],
        vec![late, changed],
        vec![held(id, "ann", 1), cancelled.clone()],
        vec![released, cancelled.clone()],
        vec![confirmed.clone(), cancelled.clone(), cancelled.clone()],
        vec![
            confirmed,
            Event::Customer(CustomerEvent::Extended(Extended {
                id,
                at: OPENS,
                expires_at: OPENS,
                extensions: 1,
                sale: SALE,
                with_all: None,
            })),
        ],
    ] {
        let mut window = Window::starting_after(0);
        let error = window.fold(1, &batch(&[(0, &events)])).unwrap_err();
        assert!(matches!(error, FoldError::OutOfOrder { id: found, .. } if found == id), "{error}");
    }
    let (mut window, mut cut_short) = (Window::starting_after(0), batch(&[(0, &[held(id, "ann", 1)])]));
    cut_short.pop();
    assert!(matches!(window.fold(1, &cut_short), Err(FoldError::Malformed(_))));
}
