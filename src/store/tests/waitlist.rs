//! Waitlist entries: what their rows and views say, also of those that were erased, archived or deleted.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{naive::Naive, *};
use crate::sale::{
    attributes::Attributes,
    event::{AskedUnits, Joined, NoRoom, Offered, PassedOver, WaitEnded},
    ids::{EntryId, erased_customer},
    outcome::State,
};

on_both! {
    a_wait_is_told_from_its_beginning_to_its_end,
    demand_is_what_those_who_wait_ask_for,
    who_is_erased_is_erased_on_the_waitlist_in_every_window_and_in_the_archive,
    entries_go_before_the_reservations_that_were_offered,
    an_entry_that_the_store_lacks_or_that_has_ended_is_told,
}

/// At a place in the order of joining.
pub(super) fn joined<'a>(
    at: Timestamp,
    customer: &'a str,
    entropy: u64,
    place: u64,
    lines: &[(ItemNumber, u32)],
) -> Event<'a> {
    let labels = vec![("host".into(), format!("friend of {customer}").into())];
    CustomerEvent::Joined(Joined {
        id: entry_id(at, customer, entropy),
        sale: SALE,
        customer,
        place,
        expires_at: at.plus_seconds(3600),
        lines: lines.iter().map(|&(item, units)| AskedUnits { item, units }).collect(),
        reference: Some("cart"),
        key: None,
        attributes: Some(Box::new(Attributes { channel: Some("app".into()), labels, ..Attributes::default() })),
    })
    .into()
}

fn entry_id(at: Timestamp, customer: &str, entropy: u64) -> EntryId {
    reservation_id(at, customer, entropy << 8)
}

fn passed_over(id: EntryId, at: Timestamp, cause: NoRoom) -> Event<'static> {
    CustomerEvent::PassedOver(PassedOver { id, sale: SALE, at, cause }).into()
}

fn left(id: EntryId, at: Timestamp) -> Event<'static> {
    CustomerEvent::LeftWaitlist(WaitEnded { id, sale: SALE, at }).into()
}

fn expired(id: EntryId, at: Timestamp) -> Event<'static> {
    CustomerEvent::WaitExpired(WaitEnded { id, sale: SALE, at }).into()
}

/// A hold for the entry, and the offer of it.
fn offered(entry: EntryId, at: Timestamp, customer: &str, entropy: u64) -> [Event<'_>; 2] {
    let id = reservation_id(at, customer, entropy << 8);
    let Event::Customer(CustomerEvent::Held(hold)) = held(id, customer, 2) else { unreachable!() };
    let hold = CustomerEvent::Held(Held { entry: Some(entry), ..hold });
    [hold.into(), CustomerEvent::Offered(Offered { id: entry, sale: SALE, at, reservation: id }).into()]
}

/// The report of a sale's waitlist, counted entry by entry.
pub(super) fn recount(naive: &Naive, sale: &str, counts_from: Option<&str>) -> Option<WaitlistReport> {
    let counts =
        |row: &&[String; 18]| row[1] == sale && (row[9] == "-" || counts_from.is_none_or(|from| *row[9] >= *from));
    let entries: Vec<&[String; 18]> = naive.entries.values().filter(counts).collect();
    let of = |state: &str| entries.iter().filter(|row| row[3] == state).count() as u64;
    let offers = |state| {
        let offered = entries.iter().filter_map(|row| naive.reservations.values().find(|found| found.id == row[10]));
        offered.filter(|found| found.state == state).count() as u64
    };
    let millis = |text: &String| Timestamp::parse(text).unwrap().millis();
    let waits = entries.iter().filter(|row| row[3] == "offered").map(|row| millis(&row[9]) - millis(&row[7]));
    let mean = waits.sum::<u64>() as f64 / of("offered") as f64 / 1000.0;
    (!entries.is_empty()).then(|| WaitlistReport {
        entries: entries.len() as u64,
        waiting: of("waiting"),
        offered: of("offered"),
        left: of("left"),
        expired: of("expired"),
        passed_over: entries.iter().filter(|row| row[11] != "-").count() as u64,
        open_offers: offers(State::Held),
        confirmed_offers: offers(State::Confirmed),
        seconds_to_offer: (of("offered") > 0).then_some((mean * 1000.0).round() / 1000.0),
    })
}

/// The share in the view, which the report works out by itself.
pub(super) fn compare_views(database: &Database, sale: &str, report: Option<&WaitlistReport>) {
    let row = database.query(&format!("SELECT offer_conversion FROM report_waitlist WHERE sale = '{sale}'"));
    match report {
        None => assert_eq!(row, [[""; 0]; 0]),
        Some(report) if report.offered == 0 => assert_eq!(row, [["-"]]),
        Some(report) => {
            let share = report.confirmed_offers as f64 / report.offered as f64;
            assert!((row[0][0].parse::<f64>().unwrap() - share).abs() < 0.000_051, "{} for {share}", row[0][0]);
        }
    }
}

fn a_wait_is_told_from_its_beginning_to_its_end(new: New) {
    let at = |seconds| OPENS.plus_seconds(seconds);
    let id = |customer, entropy| entry_id(OPENS, customer, entropy);
    let [ann, bob, cid, dan] = [("ann", 1), ("bob", 2), ("cid", 3), ("dan", 4)].map(|(name, number)| id(name, number));
    let lanes: Vec<Vec<Event<'_>>> = vec![
        [("ann", 1), ("bob", 2), ("cid", 3), ("dan", 4)]
            .map(|(name, number)| joined(OPENS, name, number, number, &[(TV, 2)]))
            .into(),
        vec![passed_over(bob, at(5), NoRoom::OpenHolds), passed_over(cid, at(5), NoRoom::ExpiredHolds)],
        offered(ann, at(10), "ann", 9).into(),
        vec![left(cid, at(11)), passed_over(bob, at(12), NoRoom::CustomerLimit)],
        vec![expired(dan, at(3600))],
        vec![CustomerEvent::EntryRetired { id: dan }.into()],
    ];
    for window_events_max in 1..=12 {
        let (database, journal) = (new(), journal_with_sale(OPENS));
        lanes.iter().for_each(|events| journal.push(&[(0, events)]));
        let settings = WriteBehindSettings { window_events_max, ..Default::default() };
        catch_up(&mut write_behind_with(&journal, &database, settings));
        let columns =
            "customer, state, place, ended_at, reservation_id, passed_over_at, passed_over_code, lines, channel";
        let rows = database.query(&format!("SELECT {columns} FROM waitlist_entries ORDER BY place"));
        let (hold, two) = (reservation_id(at(10), "ann", 9 << 8).to_string(), "[{\"sku\":\"tv\",\"quantity\":2}]");
        let none = "-";
        let expected = [
            ["ann", "offered", "1", "2026-11-27T08:00:10.000Z", hold.as_str(), none, none, two, "app"],
            ["bob", "waiting", "2", none, none, "2026-11-27T08:00:12.000Z", "customer_limit_exceeded", two, "app"],
            [
                "cid",
                "left",
                "3",
                "2026-11-27T08:00:11.000Z",
                none,
                "2026-11-27T08:00:05.000Z",
                "cooling_down",
                two,
                "app",
            ],
            ["dan", "expired", "4", "2026-11-27T09:00:00.000Z", none, none, none, two, "app"],
        ];
        assert_eq!(rows, expected, "{window_events_max}");
        let held = "SELECT customer, waitlist_entry FROM reservations";
        assert_eq!(database.query(held), [["ann".to_owned(), ann.to_string()]]);
        let report = "SELECT waiting_entries, offered_entries, left_entries, expired_entries, seconds_to_offer FROM report_waitlist";
        assert_eq!(database.query(report), [["1", "1", "1", "1", "10"]]);
    }
}

fn demand_is_what_those_who_wait_ask_for(new: New) {
    let (database, journal) = (new(), journal_with_sale(OPENS));
    let later = OPENS.plus_seconds(1);
    let (gone, over) = (entry_id(later, "cid", 3), entry_id(later, "dan", 4));
    journal.push(&[(
        0,
        &[
            joined(OPENS, "ann", 1, 1, &[(TV, 2), (PHONE, 1)]),
            joined(later, "bob", 2, 2, &[(TV, 3)]),
            joined(later, "cid", 3, 3, &[(PHONE, 4)]),
            joined(later, "dan", 4, 4, &[(PHONE, 5)]),
            left(gone, later),
            expired(over, later),
        ],
    )]);
    catch_up(&mut write_behind(&journal, &database));
    let demand = "SELECT sku, entries, units, first_joined_at FROM waitlist_demand WHERE sale = 'drop' ORDER BY sku";
    let first = "2026-11-27T08:00:00.000Z";
    assert_eq!(database.query(demand), [["phone", "1", "1", first], ["tv", "2", "5", first]]);
}

fn who_is_erased_is_erased_on_the_waitlist_in_every_window_and_in_the_archive(new: New) {
    let id = |customer, entropy| entry_id(OPENS, customer, entropy);
    let (first, second) = (id("ann", 1), id("ann", 2));
    let erased = CustomerEvent::CustomerErased { at: OPENS.plus_seconds(2), customer: "ann" };
    let events = [
        joined(OPENS, "ann", 1, 1, &[(TV, 1)]),
        expired(first, OPENS.plus_seconds(1)),
        joined(OPENS, "bob", 3, 2, &[(TV, 1)]),
        joined(OPENS, "ann", 2, 3, &[(TV, 1)]),
        left(second, OPENS.plus_seconds(2)),
        erased.into(),
        // Who comes back is a new customer.
        joined(OPENS, "ann", 4, 4, &[(TV, 1)]),
    ];
    for (window_events_max, archives) in (1..=8).map(|most| (most, most % 2 == 1)) {
        let (database, journal) = (new(), journal_with_sale(OPENS));
        let settings = WriteBehindSettings { window_events_max, ..Default::default() };
        let mut following = write_behind_with(&journal, &database, settings);
        // Each event has a pass of its own, behind the first end and before the second.
        let pass = Arc::new(AtomicU64::new(1001));
        if archives {
            let pass = pass.clone();
            let horizon =
                Box::new(move || Horizon { before: OPENS.plus_millis(pass.load(Ordering::Relaxed)), applied: 0 });
            let (after, absences) = (AfterKeeping::Archive, database.absences());
            following.keep(Retention { after, step_rows: 1, horizon, absences });
        }
        for event in &events {
            journal.push(&[(0, std::slice::from_ref(event))]);
            pass.fetch_add(1, Ordering::Relaxed);
            if archives {
                while following.step().unwrap() != Progress::Idle || following.retire_some().unwrap().is_some() {}
            }
        }
        catch_up(&mut following);
        let rows = |table: &str| {
            database.query(&format!("SELECT customer, reference, labels, channel FROM {table} ORDER BY place"))
        };
        let gone = |id| [erased_customer(id).to_string(), "-".into(), "-".into(), "app".into()];
        let kept =
            |name: &str| [name.into(), "cart".into(), format!("{{\"host\":\"friend of {name}\"}}"), "app".into()];
        let (mut live, archived) = (rows("waitlist_entries"), rows("waitlist_entries_archive"));
        assert_eq!(archived.len(), usize::from(archives));
        live.splice(..0, archived);
        assert_eq!(live, [gone(first), kept("bob"), gone(second), kept("ann")], "{window_events_max}");
    }
}

/// In steps of one row, however many of each lie beside one another.
fn entries_go_before_the_reservations_that_were_offered(new: New) {
    let at = |seconds| OPENS.plus_seconds(seconds);
    for step_rows in 1..=4 {
        let (database, journal) = (new(), journal_with_sale(OPENS));
        let names = ["ann", "bob", "cid", "dan", "eve"];
        for (name, number) in names.into_iter().zip(1..) {
            journal.push(&[(0, &[joined(OPENS, name, number, number, &[(TV, 2)])])]);
        }
        let entry = |number: usize| entry_id(OPENS, names[number], number as u64 + 1);
        journal.push(&[(0, &offered(entry(0), at(1), "ann", 9)), (1, &offered(entry(1), at(2), "bob", 10))]);
        journal.push(&[(0, &[expired(entry(2), at(3)), left(entry(3), at(50))])]);
        let paid = reservation_id(at(1), "ann", 9 << 8);
        let paid = Event::Customer(CustomerEvent::Confirmed(ended(paid, at(40), 2, None)));
        journal.push(&[(0, &[paid])]);
        let mut following = write_behind(&journal, &database);
        let horizon = Box::new(move || Horizon { before: at(30), applied: 0 });
        let (after, absences) = (AfterKeeping::Delete, database.absences());
        following.keep(Retention { after, step_rows, horizon, absences });
        let mut gone = BTreeMap::<&str, u64>::new();
        loop {
            let idle = following.step().unwrap() == Progress::Idle;
            let Some(stepped) = following.retire_some().unwrap() else {
                if idle {
                    break;
                }
                continue;
            };
            *gone.entry("reservations").or_default() += stepped.reservations;
            *gone.entry("entries").or_default() += stepped.waitlist_entries;
        }
        assert_eq!((gone["reservations"], gone["entries"]), (0, 3), "{step_rows}");
        let left_over = "SELECT customer, state FROM waitlist_entries ORDER BY place";
        assert_eq!(database.query(left_over), [["dan", "left"], ["eve", "waiting"]]);
        let kept_from = database.query("SELECT kept_from FROM write_behind");
        assert_eq!(kept_from, [["2026-11-27T08:00:30.000Z"]]);
        let report = "SELECT entries, offered_entries, open_offers, confirmed_offers FROM report_waitlist";
        assert_eq!(database.query(report), [["2", "0", "0", "0"]]);
    }
}

fn an_entry_that_the_store_lacks_or_that_has_ended_is_told(new: New) {
    for is_there in [false, true] {
        let (database, journal) = (new(), journal_with_sale(OPENS));
        let id = entry_id(OPENS, "ann", 1);
        journal.push(&[(0, &[joined(OPENS, "ann", 1, 1, &[(TV, 1)])])]);
        let mut following = write_behind(&journal, &database);
        catch_up(&mut following);
        let by_hand = if is_there {
            "UPDATE waitlist_entries SET state = 'left', ended_at = joined_at"
        } else {
            "DELETE FROM waitlist_entries"
        };
        database.execute(by_hand, by_hand);
        journal.push(&[(0, &[expired(id, OPENS.plus_seconds(1))])]);
        let error = following.step().unwrap_err().to_string();
        let expected = format!("waitlist entry {id} changed, but it is missing or not waiting");
        assert!(error.contains(&expected), "{error}");
    }
}

/// A journal that says what cannot be is not folded.
#[test]
fn an_entry_ends_once() {
    let id = entry_id(OPENS, "ann", 1);
    for (event, told) in [
        (left(id, OPENS), "was left while it was expired"),
        (passed_over(id, OPENS, NoRoom::OpenHolds), "was passed over while it was expired"),
        (joined(OPENS, "ann", 1, 1, &[(TV, 1)]), "was joined while it was expired"),
    ] {
        let mut window = Window::starting_after(0);
        window.event(joined(OPENS, "ann", 1, 1, &[(TV, 1)])).unwrap();
        window.event(expired(id, OPENS)).unwrap();
        let error = window.event(event).unwrap_err().to_string();
        assert_eq!(error, format!("waitlist entry {id} {told}"));
    }
}
