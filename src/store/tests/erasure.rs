//! Customers who were erased: out of rows, in order with everything around, and out of the bytes of SQLite's files.

use std::{fs, path::Path};

use rusqlite::Connection;

use super::*;
use crate::sale::{attributes::Attributes, ids::erased_customer};

on_both! {
    what_was_told_before_is_erased_and_what_comes_after_stays,
    two_erasures_of_a_customer_who_came_back_take_each_their_own,
    a_customer_of_many_reservations_is_erased_in_all_of_them,
}

fn erased(customer: &str) -> Event<'_> {
    Event::Customer(CustomerEvent::CustomerErased { at: OPENS, customer })
}

fn held_with_reference<'a>(id: ReservationId, customer: &'a str) -> Event<'a> {
    let Event::Customer(CustomerEvent::Held(held)) = held(id, customer, 1) else { unreachable!() };
    let labels = vec![("host".into(), format!("friend of {customer}").into())];
    let attributes = Attributes { channel: Some("app".into()), labels, ..Attributes::default() };
    let attributes = Some(Box::new(attributes));
    Event::Customer(CustomerEvent::Held(Held { reference: Some("cart"), attributes, ..held }))
}

fn held_without_labels<'a>(id: ReservationId, customer: &'a str) -> Event<'a> {
    let Event::Customer(CustomerEvent::Held(held)) = held(id, customer, 1) else { unreachable!() };
    Event::Customer(CustomerEvent::Held(Held { reference: Some("cart"), ..held }))
}

fn confirmed(id: ReservationId, text: &str) -> Event<'_> {
    Event::Customer(CustomerEvent::Confirmed(ended(id, OPENS, 1, Some(text))))
}

fn released(id: ReservationId, text: &str) -> Event<'_> {
    Event::Customer(CustomerEvent::Released(ended(id, OPENS, 1, Some(text))))
}

/// Customer, reference and reason of each reservation. Its labels name the customer as long as it does.
fn texts(database: &Database) -> Vec<Vec<String>> {
    let labels = "SELECT customer, labels, channel FROM reservations ORDER BY id";
    for row in database.query(labels) {
        let expected = format!("{{\"host\":\"friend of {}\"}}", row[0]);
        let expected = if row[0].starts_with("erased-") { "-".to_owned() } else { expected };
        assert_eq!((&row[1], row[2].as_str()), (&expected, "app"), "{}", row[0]);
    }
    database.query("SELECT customer, reference, release_reason FROM reservations ORDER BY id")
}

/// Every order in which an erasure may stand among what happens to the customer's reservations, in one window and in
/// windows of one batch each.
fn what_was_told_before_is_erased_and_what_comes_after_stays(new: New) {
    let ids: Vec<_> = (1..=6).map(|entropy| reservation_id(OPENS, "ann", entropy << 8)).collect();
    let other = reservation_id(OPENS, "bob", 7 << 8);
    let batches: Vec<Vec<Event<'_>>> = vec![
        (0..5).map(|index| held_with_reference(ids[index], "ann")).chain([held_with_reference(other, "bob")]).collect(),
        vec![confirmed(ids[0], "order-0")],
        vec![confirmed(ids[1], "order-1"), released(ids[2], "reason-2"), confirmed(other, "order-bob")],
        vec![erased("ann"), held_with_reference(ids[5], "ann"), confirmed(ids[3], "order-3")],
        vec![released(ids[4], "reason-4"), erased("nobody")],
    ];
    let gone = |index: usize| erased_customer(ids[index]).to_string();
    let dash = || "-".to_owned();
    let expected = vec![
        vec![gone(0), dash(), dash()],
        vec![gone(1), dash(), dash()],
        vec![gone(2), dash(), dash()],
        vec![gone(3), "order-3".into(), dash()],
        vec![gone(4), dash(), "reason-4".into()],
        vec!["ann".into(), "cart".into(), dash()],
        vec!["bob".into(), "order-bob".into(), dash()],
    ];
    // However the batches are cut into windows.
    for cuts in 0_u32..1 << batches.len() {
        let database = new();
        let journal = journal_with_sale(OPENS);
        let mut write_behind = write_behind(&journal, &database);
        for (index, events) in batches.iter().enumerate() {
            journal.push(&[(0, events)]);
            if cuts & 1 << index != 0 {
                catch_up(&mut write_behind);
            }
        }
        catch_up(&mut write_behind);
        assert_eq!(texts(&database), expected, "windows {cuts:b}");
        let reader = database.reader();
        assert!(reader.totals().unwrap().iter().all(|item| item.stored == item.recomputed));
    }
}

fn two_erasures_of_a_customer_who_came_back_take_each_their_own(new: New) {
    let [first, second, third] = [1, 2, 3].map(|entropy| reservation_id(OPENS, "ann", entropy << 8));
    let events = [
        held_with_reference(first, "ann"),
        erased("ann"),
        confirmed(first, "order-1"),
        held_with_reference(second, "ann"),
        erased("ann"),
        held_with_reference(third, "ann"),
    ];
    for window_events_max in 1..=7 {
        let database = new();
        let journal = journal_with_sale(OPENS);
        events.iter().for_each(|event| journal.push(&[(0, std::slice::from_ref(event))]));
        let settings = WriteBehindSettings { window_events_max, ..Default::default() };
        catch_up(&mut write_behind_with(&journal, &database, settings));
        let rows = texts(&database);
        assert_eq!(rows[0], [erased_customer(first).as_str(), "order-1", "-"], "{window_events_max}");
        assert_eq!(rows[1], [erased_customer(second).as_str(), "-", "-"]);
        assert_eq!(rows[2], ["ann", "cart", "-"]);
    }
}

const RECOGNISABLE: &str = "recognisable-person";

/// The store's files that hold the text.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let holds = files.filter(|path| memchr::memmem::find(&fs::read(path).unwrap(), text.as_bytes()).is_some());
    holds.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Thousands of rows among which the customer's are spread, so that pages were split and rows moved.
fn lived(journal: &MemoryJournal) {
    let names: Vec<String> = (0..4000_u64)
        .map(|number| if number % 7 == 0 { RECOGNISABLE.to_owned() } else { format!("customer-{number}") })
        .collect();
    let adjusted = crate::sale::event::Adjusted {
        pool: PoolNumber(TV.0),
        item: TV,
        at: OPENS,
        delta: 5000,
        reason: None,
        reference: None,
        key: None,
        of_sale: None,
        of_reservation: None,
        stock: 5010,
        available: 5010,
        of_pool: None,
    };
    journal.push(&[(CATALOGUE_LANE, &[Event::Catalogue(CatalogueEvent::Adjusted(adjusted))])]);
    let id = |number: usize| {
        reservation_id(OPENS.plus_millis((number as u64 * 7919) % 5000), &names[number], (number as u64 + 1) << 20)
    };
    for numbers in (0..names.len()).collect::<Vec<_>>().chunks(100) {
        let hold = |&number: &usize| held_without_labels(id(number), &names[number]);
        let events: Vec<_> = numbers.iter().map(hold).collect();
        journal.push(&[(0, &events)]);
        let order = format!("order of {RECOGNISABLE}");
        let ends: Vec<_> = numbers
            .iter()
            .step_by(2)
            .map(|&number| confirmed(id(number), if number % 7 == 0 { &order } else { "o" }))
            .collect();
        journal.push(&[(0, &ends)]);
    }
}

fn a_customer_of_many_reservations_is_erased_in_all_of_them(new: New) {
    let database = new();
    let journal = journal_with_sale(OPENS);
    lived(&journal);
    let mut write_behind = write_behind(&journal, &database);
    catch_up(&mut write_behind);
    let others = "SELECT * FROM reservations WHERE customer LIKE 'customer-%' ORDER BY id";
    let (others_before, mut shown) = (database.query(others), database.query("SELECT * FROM reservations ORDER BY id"));
    assert_eq!((others_before.len(), shown.len()), (4000 - 572, 4000));
    journal.push(&[(0, &[erased(RECOGNISABLE)])]);
    catch_up(&mut write_behind);
    assert_eq!(database.query(others), others_before);
    // Customer, reference and reason are gone, and nothing else.
    for row in shown.iter_mut().filter(|row| row[2] == RECOGNISABLE) {
        row[2] = format!("erased-{}", row[0]);
        [4, 13].into_iter().for_each(|text| row[text] = "-".to_owned());
    }
    assert_eq!(database.query("SELECT * FROM reservations ORDER BY id"), shown);
    assert!(database.reader().totals().unwrap().iter().all(|item| item.stored == item.recomputed));
}

#[test]
fn nothing_of_the_customer_is_left_in_the_bytes_of_the_files_after_a_vacuum() {
    let database = Database::sqlite();
    let (path, directory) = (database.path(), database.path().parent().unwrap().to_owned());
    let journal = journal_with_sale(OPENS);
    lived(&journal);
    let settings = WriteBehindSettings { window_events_max: 300, ..Default::default() };
    let mut write_behind = write_behind_with(&journal, &database, settings);
    catch_up(&mut write_behind);
    assert!(!files_with(&directory, RECOGNISABLE).is_empty());

    // Whoever reads an older state is not waited for, and keeps the log of it from being emptied.
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM reservations").unwrap();
    journal.push(&[(0, &[erased(RECOGNISABLE)])]);
    catch_up(&mut write_behind);
    assert_eq!(database.query("SELECT count(*) FROM reservations WHERE customer = 'recognisable-person'"), [["0"]]);
    assert_eq!(database.query("SELECT count(*) FROM reservations WHERE customer LIKE 'erased-%'"), [["572"]]);
    assert!(!files_with(&directory, RECOGNISABLE).is_empty(), "the reader still needs it");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(write_behind.step().unwrap(), Progress::Idle);
    // A page that SQLite laid out anew before the erasure may have a copy of an old row where it uses no byte. The log has none.
    assert!(files_with(&directory, RECOGNISABLE).iter().all(|file| file == "store.db"));
    reader.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert_eq!(files_with(&directory, RECOGNISABLE), [""; 0]);
    assert!(database.reader().totals().unwrap().iter().all(|item| item.stored == item.recomputed));
}

/// A process that ended between an erasure and its checkpoint left the log as it was.
#[test]
fn a_log_that_was_left_behind_is_emptied_at_the_next_start() {
    let database = Database::sqlite();
    let (path, directory) = (database.path(), database.path().parent().unwrap().to_owned());
    let journal = journal_with_sale(OPENS);
    let id = reservation_id(OPENS, RECOGNISABLE, 1 << 8);
    journal.push(&[(0, &[held_with_reference(id, RECOGNISABLE)])]);
    // Keeps the log from being emptied as the first writer goes.
    let other = Connection::open(&path).unwrap();
    let mut first = write_behind(&journal, &database);
    catch_up(&mut first);
    other.query_row("SELECT count(*) FROM reservations", [], |row| row.get::<_, i64>(0)).unwrap();
    journal.push(&[(0, &[erased(RECOGNISABLE)])]);
    first.step().unwrap();
    drop(first);
    assert_eq!(files_with(&directory, RECOGNISABLE), ["store.db-wal"]);
    catch_up(&mut write_behind(&journal, &database));
    assert_eq!(files_with(&directory, RECOGNISABLE), [""; 0]);
    drop(other);
}
