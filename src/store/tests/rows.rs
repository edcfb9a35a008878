//! What people find in the store: rows as they were meant, and views that say what their comments promise.

use super::*;
use crate::sale::outcome::{State, Status};

#[test]
fn a_window_holds_one_change_per_key_and_only_for_whom_something_changed() {
    let id = reservation_id(OPENS, "ann", 4);
    let (later, expires_at) = (OPENS.plus_seconds(30), OPENS.plus_seconds(400));
    let lane = [
        held(id, "ann", 2),
        Event::Customer(CustomerEvent::Extended(Extended {
            id,
            at: later,
            expires_at,
            extensions: 1,
            sale: SALE,
            with_all: None,
        })),
        Event::Customer(CustomerEvent::Confirmed(ended(id, later, 2, Some("order-9")))),
        Event::Customer(CustomerEvent::Retired { id, counted: true }),
    ];
    let mut window = Window::starting_after(6);
    window.fold(7, &batch(&[(0, &lane[..1])])).unwrap();
    window.fold(8, &batch(&[(0, &lane[1..])])).unwrap();

    assert_eq!((window.after(), window.through(), window.events()), (6, 8, 4));
    assert_eq!(window.at(), Some(later));
    let change = &window.reservations()[&id];
    assert_eq!(change.extension, Some(Extension { expires_at, count: 1 }));
    assert_eq!(change.end.as_ref().unwrap().state, State::Confirmed);
    let counts = CountChange { available: -2, confirmed: 2, ..CountChange::default() };
    assert_eq!(window.items().iter().collect::<Vec<_>>(), [(&TV, &counts)]);
}

on_both! {
    texts_of_users_come_back_as_they_were,
    the_views_answer_their_questions,
    the_questions_asked_of_millions_of_rows_use_their_indexes,
}

fn texts_of_users_come_back_as_they_were(new: New) {
    let database = new();
    let journal = journal_with_sale(OPENS);
    let texts = ["'; DROP TABLE sales; --", "\"quoted\" `and` [more]", "é 漢字 🛒‍👩", "100% _\\", "NULL", "1"];
    for (index, text) in texts.into_iter().enumerate() {
        let id = reservation_id(OPENS, text, (index as u64) << 8);
        let Event::Customer(CustomerEvent::Held(held)) = held(id, text, 1) else { unreachable!() };
        journal.push(&[(0, &[Event::Customer(CustomerEvent::Held(Held { reference: Some(text), ..held }))])]);
        journal.push(&[(0, &[Event::Customer(CustomerEvent::Released(ended(id, OPENS, 1, Some(text))))])]);
    }
    catch_up(&mut write_behind(&journal, &database));
    let reader = database.reader();
    for (index, text) in texts.into_iter().enumerate() {
        let found = reader.reservation(&reservation_id(OPENS, text, (index as u64) << 8)).unwrap().unwrap();
        assert_eq!(found.customer, text);
        assert_eq!((found.reference.as_deref(), found.release_reason.as_deref()), (Some(text), Some(text)));
    }
    assert_eq!(reader.reservation(&reservation_id(OPENS, "nobody", 0)).unwrap(), None);
}

fn the_views_answer_their_questions(new: New) {
    let database = new();
    // Of long ago, so that the holds made then are overdue by the database's clock.
    let then = Timestamp::from_millis(1_600_000_000_000);
    let journal = journal_with_sale(then);
    let far = Timestamp::parse("9000-01-01T00:00:00Z").unwrap();
    let [due, kept, sold] = [4, 8, 12].map(|entropy| reservation_id(then, "ann", entropy));
    let open = Event::Catalogue(CatalogueEvent::StatusReached { sale: SALE, at: OPENS, status: Status::Open });
    journal.push(&[
        (CATALOGUE_LANE, &[open]),
        (0, &[held(due, "ann", 1), held(kept, "ann", 2), held(sold, "bob", 3)]),
        (
            1,
            &[Event::Customer(CustomerEvent::Extended(Extended {
                id: kept,
                at: then,
                expires_at: far,
                extensions: 1,
                sale: SALE,
                with_all: None,
            }))],
        ),
        (2, &[Event::Customer(CustomerEvent::Confirmed(ended(sold, then, 3, Some("order-9"))))]),
    ]);
    catch_up(&mut write_behind(&journal, &database));

    assert_eq!(
        database.query("SELECT * FROM stock_per_item"),
        [
            ["drop", "phone", "10", "10", "0", "0", "0", "-", "-"],
            ["drop", "tv", "10", "4", "3", "3", "30", "19900", "EUR"]
        ]
    );
    assert_eq!(
        database.query("SELECT id, customer, units, expires_at, seconds_left < 0 FROM holds_about_to_expire"),
        [[&due.to_string(), "ann", "1", "2020-09-13T12:31:40.000Z", "1"]]
    );
    assert_eq!(
        database.query(
            "SELECT id, state, lines, amount, reference, extensions, ended_at FROM customer_reservations
              WHERE customer = 'bob'"
        ),
        [[&sold.to_string(), "confirmed", "3 x tv", "59700", "order-9", "0", "2020-09-13T12:26:40.000Z"]]
    );
    assert_eq!(
        database.query("SELECT id FROM customer_reservations WHERE customer = 'ann' ORDER BY id"),
        [[due.to_string()], [kept.to_string()]]
    );
    assert_eq!(
        database.query("SELECT * FROM sale_summary"),
        [[
            "drop",
            "The drop",
            "open",
            "2026-11-27T08:00:00.000Z",
            "2026-11-27T09:00:00.000Z",
            "2",
            "0",
            "20",
            "14",
            "3",
            "3",
            "15"
        ]]
    );
}

fn the_questions_asked_of_millions_of_rows_use_their_indexes(new: New) {
    let database = new();
    drop(database.store());
    let customer = "SELECT * FROM customer_reservations WHERE id = '01a2b3c4-0000-7000-8000-000000000000'";
    let (holds, movements) = ("holds_about_to_expire", "stock_movements WHERE sale = 'drop' AND sku = 'tv'");
    let questions = [
        (customer.to_owned(), ["PRIMARY KEY", "reservations_pkey"]),
        (format!("SELECT * FROM {holds}"), ["reservations_held_by_expiry"; 2]),
        (format!("SELECT * FROM {movements}"), ["stock_movements_by_pool"; 2]),
        ("SELECT * FROM audit WHERE sale = 'drop' ORDER BY sequence".to_owned(), ["audit_by_sale"; 2]),
    ];
    // As with millions of rows: for an empty table PostgreSQL would take the shortest way.
    database.execute("", "ALTER ROLE doorbuster SET enable_seqscan = off; ALTER ROLE doorbuster SET enable_sort = off");
    for (sql, [of_sqlite, of_postgres]) in questions {
        let (explain, cell, index, never) = if database.is_sqlite() {
            ("EXPLAIN QUERY PLAN", 3, of_sqlite, ["SCAN", "TEMP B-TREE FOR ORDER BY"])
        } else {
            ("EXPLAIN", 0, of_postgres, ["Seq Scan", "Sort"])
        };
        let plan = database.query(&format!("{explain} {sql}"));
        // The lines of one reservation, put in order, are read from there.
        let of_lines = |step: &str| step.starts_with("SCAN (subquery");
        let text: String =
            plan.iter().map(|row| &row[cell]).filter(|step| !of_lines(step)).map(|step| format!("{step}\n")).collect();
        assert!(text.contains(index) && never.iter().all(|word| !text.contains(word)), "{text}");
    }
    database.execute("", "ALTER ROLE doorbuster RESET enable_seqscan; ALTER ROLE doorbuster RESET enable_sort");
}
