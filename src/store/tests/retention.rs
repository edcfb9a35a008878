//! Retention: what goes, what stays, and that every sum, report and trail is the same afterwards, through faults and crashes.

use proptest::prelude::*;

use super::{
    model::{batches, for_cases, steps},
    naive::{ENTRY, Naive},
    reports::compare,
    *,
};
use crate::sale::audit::{Action, Actor, Broken, Head, NewRecord, Trail};

on_both! {
    what_was_over_goes_to_the_archive_and_every_figure_stays,
    what_was_over_is_deleted_and_sums_and_trail_stay,
    faults_and_crashes_between_steps_lose_and_double_nothing,
    what_was_archived_is_deleted_once_it_is_not_to_be_kept,
    who_is_erased_is_erased_in_the_archive,
    a_step_is_done_by_the_owner_alone_and_not_before_its_time,
    a_trail_that_was_changed_is_not_deleted,
    gaps_in_what_is_deleted_of_the_trail_are_joined,
}

fn retention(database: &Database, after: AfterKeeping, step_rows: u32, before: Timestamp) -> Retention {
    retention_from(0, database, after, step_rows, before)
}

/// From this epoch on.
fn retention_from(
    applied: u64,
    database: &Database,
    after: AfterKeeping,
    step_rows: u32,
    before: Timestamp,
) -> Retention {
    let horizon = Box::new(move || Horizon { before, applied });
    Retention { after, step_rows, horizon, absences: database.absences() }
}

/// How far the trail holds, over what may be absent of it.
fn check(database: &Database, head: &Head) -> Result<(), Broken> {
    let gaps = database.absences().read().unwrap().audit_gaps;
    database.reader().check_audit(&gaps).unwrap().and_then(|mut check| check.end(head))
}

/// Applies a window and does a step in turns, until there is neither. Says how many reservations and waitlist entries went.
fn follow<S: Sink>(write_behind: &mut WriteBehind<MemoryFeed, S>) -> u64 {
    let mut gone = 0;
    loop {
        let idle = write_behind.step().unwrap() == Progress::Idle;
        let stepped = write_behind.retire_some().unwrap();
        gone += stepped.map_or(0, |stepped| stepped.reservations + stepped.waitlist_entries);
        if idle && stepped.is_none() {
            return gone;
        }
    }
}

const COLUMNS: &str =
    "id, sale, customer, state, reference, created_at, expires_at, extensions, confirmed_at, released_at,
                       expired_at, cancelled_at, late, release_reason, cancel_reason, tier, channel, region, labels, short, waitlist_entry";
const LINES: &str = "reservation_id, line, sku, pool, quantity, returned, cancelled, price_amount, price_currency";
const AUDIT: &str = "sequence, at, actor, action, sale, sku, detail, hash";

/// Every row of the table and of its archive, and of which it was.
fn both(database: &Database, table: &str, columns: &str, order: &str) -> Vec<Vec<String>> {
    database.query(&format!(
        "SELECT {columns} FROM {table} UNION ALL SELECT {columns} FROM {table}_archive ORDER BY {order}"
    ))
}

fn numbers(database: &Database, sql: &str) -> u64 {
    database.query(sql)[0][0].parse().unwrap()
}

fn sums_hold(database: &Database) {
    for item in database.reader().totals().unwrap() {
        assert_eq!(item.stored, item.recomputed, "{} {} {:?}", item.sale, item.sku, item.pool);
    }
}

fn cases() -> impl Strategy<Value = (Vec<model::Step>, u64, u32, u64)> {
    (steps(), 1..120u64, 1..9u32, 0..6000u64)
}

/// The same, and from which epoch on rows may go: from the beginning where nothing happens to reservations that are over, and
/// else when everything is applied, as in a service, whose memory keeps those to which something may happen.
fn cases_in_turns() -> impl Strategy<Value = (Vec<model::Step>, u64, u32, u64, bool)> {
    (cases(), any::<bool>()).prop_map(|((mut steps, window_events_max, step_rows, seconds), in_turns)| {
        steps.retain(|step| !in_turns || !step.is_of_what_is_over());
        (steps, window_events_max, step_rows, seconds, in_turns)
    })
}

fn what_was_over_goes_to_the_archive_and_every_figure_stays(new: New) {
    for_cases(new, 20, &cases_in_turns(), |(steps, window_events_max, step_rows, seconds, in_turns)| {
        let (batches, before) = (batches(&steps), OPENS.plus_seconds(seconds));
        let (kept, calm, naive) = (new(), new(), Naive::of(&batches));
        let journal = MemoryJournal::of(&batches);
        catch_up(&mut write_behind(&journal, &calm));
        let settings = WriteBehindSettings { window_events_max, ..Default::default() };
        let mut following = write_behind_with(&journal, &kept, settings);
        let applied = if in_turns { 0 } else { journal.durable() };
        following.keep(retention_from(applied, &kept, AfterKeeping::Archive, step_rows, before));
        follow(&mut following);
        // A pass that began later sees what ended meanwhile.
        let before = before.plus_millis(1);
        following.keep(retention_from(applied, &kept, AfterKeeping::Archive, step_rows, before));
        follow(&mut following);

        let over = format!("coalesce(cancelled_at, confirmed_at, released_at, expired_at) < '{before}'");
        prop_assert_eq!(numbers(&kept, &format!("SELECT count(*) FROM reservations WHERE {over}")), 0);
        prop_assert_eq!(numbers(&kept, &format!("SELECT count(*) FROM reservations_archive WHERE NOT {over}")), 0);
        let over = format!("ended_at < '{before}'");
        prop_assert_eq!(numbers(&kept, &format!("SELECT count(*) FROM waitlist_entries WHERE {over}")), 0);
        prop_assert_eq!(numbers(&kept, &format!("SELECT count(*) FROM waitlist_entries_archive WHERE NOT {over}")), 0);
        for (table, columns, order) in [
            ("reservations", COLUMNS, "id"),
            ("waitlist_entries", ENTRY, "id"),
            ("reservation_lines", LINES, "reservation_id, line"),
            ("audit", AUDIT, "sequence"),
        ] {
            let rows = calm.query(&format!("SELECT {columns} FROM {table} ORDER BY {order}"));
            prop_assert_eq!(both(&kept, table, columns, order), rows);
        }
        sums_hold(&kept);
        compare(&kept, &naive, None);
        prop_assert_eq!(check(&kept, &naive.trail.head()), Ok(()));
        Ok(())
    });
}

fn what_was_over_is_deleted_and_sums_and_trail_stay(new: New) {
    for_cases(new, 20, &cases_in_turns(), |(steps, window_events_max, step_rows, seconds, in_turns)| {
        let (batches, before) = (batches(&steps), OPENS.plus_seconds(seconds));
        let (kept, calm, naive) = (new(), new(), Naive::of(&batches));
        let journal = MemoryJournal::of(&batches);
        catch_up(&mut write_behind(&journal, &calm));
        let settings = WriteBehindSettings { window_events_max, ..Default::default() };
        let mut following = write_behind_with(&journal, &kept, settings);
        let applied = if in_turns { 0 } else { journal.durable() };
        following.keep(retention_from(applied, &kept, AfterKeeping::Delete, step_rows, before));
        let mut gone = follow(&mut following);
        let before = before.plus_millis(1);
        following.keep(retention_from(applied, &kept, AfterKeeping::Delete, step_rows, before));
        gone += follow(&mut following);

        let stays = format!("coalesce(cancelled_at, confirmed_at, released_at, expired_at, '{before}') >= '{before}'");
        let rows = |database: &Database, only: &str| {
            database.query(&format!("SELECT {COLUMNS} FROM reservations WHERE {only} ORDER BY id"))
        };
        prop_assert_eq!(rows(&kept, "1 = 1"), rows(&calm, &stays));
        let entries = |database: &Database, only: &str| {
            database.query(&format!("SELECT {ENTRY} FROM waitlist_entries WHERE {only} ORDER BY id"))
        };
        let waits = format!("coalesce(ended_at, '{before}') >= '{before}'");
        prop_assert_eq!(entries(&kept, "1 = 1"), entries(&calm, &waits));
        let went = numbers(&calm, &format!("SELECT count(*) FROM reservations WHERE NOT ({stays})"))
            + numbers(&calm, &format!("SELECT count(*) FROM waitlist_entries WHERE NOT ({waits})"));
        prop_assert_eq!(gone, went);
        let orphans =
            "SELECT count(*) FROM reservation_lines WHERE reservation_id NOT IN (SELECT id FROM reservations)";
        prop_assert_eq!(numbers(&kept, orphans), 0);
        let refused = |of: &str| {
            let columns =
                "SELECT reservation_id, at, reference, cause FROM refused_confirmations WHERE reservation_id IN";
            format!("{columns} (SELECT id FROM reservations WHERE {of}) ORDER BY reservation_id, id")
        };
        prop_assert_eq!(kept.query(&refused("1 = 1")), calm.query(&refused(&stays)));
        let orphans = orphans.replace("reservation_lines", "refused_confirmations");
        prop_assert_eq!(numbers(&kept, &orphans), 0);
        let kept_from = kept.query("SELECT kept_from FROM write_behind").remove(0).remove(0);
        prop_assert_eq!(kept_from == "-", gone == 0);
        sums_hold(&kept);
        compare(&kept, &naive, Some(&kept_from).filter(|_| gone > 0).map(String::as_str));
        prop_assert_eq!(check(&kept, &naive.trail.head()), Ok(()));
        let records = |database: &Database, only: &str| {
            database.query(&format!("SELECT {AUDIT} FROM audit WHERE {only} ORDER BY sequence"))
        };
        prop_assert_eq!(records(&kept, "1 = 1"), records(&calm, &format!("at >= '{before}'")));
        Ok(())
    });
}

fn faults_and_crashes_between_steps_lose_and_double_nothing(new: New) {
    let inputs = (cases(), exactly_once::faults(), any::<bool>());
    model::for_cases(new, 18, &inputs, |((steps, _, step_rows, seconds), faults, deletes)| {
        let (batches, before) = (batches(&steps), OPENS.plus_seconds(seconds));
        let after = if deletes { AfterKeeping::Delete } else { AfterKeeping::Archive };
        let (faulty, calm) = (new(), new());
        let journal = MemoryJournal::of(&batches);
        let mut following = write_behind(&journal, &calm);
        following.keep(retention(&calm, after, step_rows, before));
        follow(&mut following);
        drop(following);

        let faults = Arc::new(Mutex::new(faults));
        'process: loop {
            let sink = exactly_once::Unreliable::new(faulty.store(), &faults);
            let mut following = WriteBehind::new(journal.feed(), sink, OWNER, single_batches());
            following.keep(retention(&faulty, after, step_rows, before));
            loop {
                let crashes = exactly_once::crashes_next(&faults);
                // What is applied behind a pass waits for the next one: so all is applied first, as a service does.
                let done = following.step().and_then(|progress| match progress {
                    Progress::Idle => Ok(following.retire_some()?.is_none()),
                    Progress::Applied { .. } => Ok(false),
                });
                match done {
                    Ok(true) => break 'process,
                    Err(_) if crashes => continue 'process,
                    _ => {}
                }
            }
        }
        let of = |database: &Database| {
            let rows = [
                ("reservations", "id"),
                ("reservation_lines", "reservation_id, line"),
                ("waitlist_entries", "id"),
                ("audit", "sequence"),
            ]
            .map(|(table, order)| {
                let archive = database.query(&format!("SELECT * FROM {table}_archive ORDER BY {order}"));
                (database.query(&format!("SELECT * FROM {table} ORDER BY {order}")), archive)
            });
            let gaps = database.query("SELECT after_sequence, through_sequence, hash FROM audit_gaps");
            (rows, gaps, database.query("SELECT kept_from FROM write_behind"))
        };
        prop_assert_eq!(of(&faulty), of(&calm));
        for sums in ["items", "pools"] {
            let sql = format!("SELECT sale, sku, confirmed, confirmed_before FROM {sums} ORDER BY number");
            prop_assert_eq!(faulty.query(&sql), calm.query(&sql));
        }
        sums_hold(&faulty);
        Ok(())
    });
}

/// Three reservations of `ann`: one confirmed early, one released early, one held.
fn story(journal: &MemoryJournal) -> [ReservationId; 3] {
    let ids = [1, 2, 3].map(|entropy| reservation_id(OPENS, "ann", entropy << 8));
    let [sold, back, open] = ids;
    let hold = |id| held(id, "ann", 2);
    journal.push(&[(0, &[hold(sold), hold(back), hold(open)])]);
    let sold = Event::Customer(CustomerEvent::Confirmed(ended(sold, OPENS.plus_seconds(1), 2, Some("order of ann"))));
    journal.push(&[(
        0,
        &[sold, Event::Customer(CustomerEvent::Released(ended(back, OPENS.plus_seconds(2), 2, Some("ann's reason"))))],
    )]);
    ids
}

fn what_was_archived_is_deleted_once_it_is_not_to_be_kept(new: New) {
    let (database, journal) = (new(), journal_with_sale(OPENS));
    story(&journal);
    let mut following = write_behind(&journal, &database);
    let later = OPENS.plus_seconds(100);
    following.keep(retention(&database, AfterKeeping::Archive, 2, OPENS.plus_seconds(2)));
    assert_eq!(follow(&mut following), 1);
    assert_eq!(numbers(&database, "SELECT count(*) FROM reservations_archive"), 1);
    assert_eq!(
        numbers(&database, "SELECT count(*) FROM customer_reservations"),
        2,
        "the archive is looked into by itself"
    );
    following.keep(retention(&database, AfterKeeping::Delete, 2, later));
    assert_eq!(follow(&mut following), 2);
    for table in ["reservations_archive", "reservation_lines_archive"] {
        assert_eq!(numbers(&database, &format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
    assert_eq!(database.query("SELECT state FROM reservations"), [["held"]]);
    let counts = "SELECT confirmed, confirmed_before FROM items WHERE sku = 'tv'";
    assert_eq!(database.query(counts), [["2", "2"]]);
    sums_hold(&database);
    // What ends later is counted on top.
    let open = reservation_id(OPENS, "ann", 3 << 8);
    journal.push(&[(0, &[Event::Customer(CustomerEvent::Confirmed(ended(open, later, 2, None)))])]);
    follow(&mut following);
    assert_eq!(database.query(counts), [["4", "2"]]);
    sums_hold(&database);
}

fn who_is_erased_is_erased_in_the_archive(new: New) {
    let (database, journal) = (new(), journal_with_sale(OPENS));
    story(&journal);
    let bob = reservation_id(OPENS, "bob", 9 << 8);
    journal.push(&[(0, &[held(bob, "bob", 1), Event::Customer(CustomerEvent::Expired(ended(bob, OPENS, 1, None)))])]);
    let mut following = write_behind(&journal, &database);
    following.keep(retention(&database, AfterKeeping::Archive, 10, OPENS.plus_seconds(100)));
    assert_eq!(follow(&mut following), 3);
    journal.push(&[(0, &[Event::Customer(CustomerEvent::CustomerErased { at: OPENS, customer: "ann" })])]);
    follow(&mut following);
    let named = "customer = 'ann' OR reference LIKE '%ann%' OR release_reason LIKE '%ann%'";
    for table in ["reservations", "reservations_archive"] {
        assert_eq!(numbers(&database, &format!("SELECT count(*) FROM {table} WHERE {named}")), 0, "{table}");
    }
    let erased = "SELECT count(*) FROM reservations_archive WHERE customer LIKE 'erased-%'";
    assert_eq!(numbers(&database, erased), 2);
    assert_eq!(numbers(&database, "SELECT count(*) FROM reservations_archive WHERE customer = 'bob'"), 1);
    sums_hold(&database);
}

fn a_step_is_done_by_the_owner_alone_and_not_before_its_time(new: New) {
    let (database, journal) = (new(), journal_with_sale(OPENS));
    story(&journal);
    let mut first = write_behind(&journal, &database);
    let far = OPENS.plus_seconds(100);
    let horizon = move || Horizon { before: far, applied: 4 };
    let absences = database.absences();
    first.keep(Retention { after: AfterKeeping::Delete, step_rows: 10, horizon: Box::new(horizon), absences });
    assert_eq!(follow(&mut first), 0, "the store does not have epoch 4");
    journal.push(&[(0, &[])]);
    assert_eq!(first.step().unwrap(), Progress::Applied { through: 4, rows: 0, caught_up: true });
    // Another takes the store: whoever had it does nothing any more.
    let mut second = write_behind(&journal, &database);
    second.settle().unwrap();
    assert!(matches!(first.retire_some(), Err(StoreError::CursorMoved { .. })));
    assert_eq!(numbers(&database, "SELECT count(*) FROM reservations"), 3);
    second.keep(retention(&database, AfterKeeping::Delete, 10, far));
    assert_eq!(follow(&mut second), 2);
}

fn journal_with_four_records() -> (MemoryJournal, Head) {
    let (journal, mut trail) = (journal_with_sale(OPENS), Trail::default());
    for number in 0..4 {
        let detail = format!("{{\"number\":{number}}}");
        let entry = NewRecord { by: Actor::Key("eu"), action: Action::SalePut, sale: Some("drop"), sku: None, detail };
        let event = trail.record(OPENS, &entry);
        trail.apply(&event).unwrap();
        journal.push(&[(CATALOGUE_LANE, &[event.into()])]);
    }
    (journal, trail.head())
}

fn a_trail_that_was_changed_is_not_deleted(new: New) {
    let (database, (journal, head)) = (new(), journal_with_four_records());
    let mut following = write_behind(&journal, &database);
    catch_up(&mut following);
    let change = "UPDATE audit SET actor = 'key:us' WHERE sequence = 3";
    database.execute(change, change);
    following.keep(retention(&database, AfterKeeping::Delete, 10, OPENS.plus_seconds(100)));
    follow(&mut following);
    assert_eq!(database.query("SELECT sequence FROM audit ORDER BY sequence"), [["3"], ["4"]]);
    assert_eq!(check(&database, &head), Err(Broken::Changed { sequence: 3 }));
    let back = "UPDATE audit SET actor = 'key:eu' WHERE sequence = 3";
    database.execute(back, back);
    assert_eq!(check(&database, &head), Ok(()));
}

fn gaps_in_what_is_deleted_of_the_trail_are_joined(new: New) {
    let (database, (journal, head)) = (new(), journal_with_four_records());
    let mut following = write_behind(&journal, &database);
    catch_up(&mut following);
    // As a repair leaves what it could not make again.
    let gap = "INSERT INTO audit_gaps SELECT 1, sequence, hash FROM audit WHERE sequence = 3;
               DELETE FROM audit WHERE sequence IN (2, 3)";
    let third = database.query("SELECT hash FROM audit WHERE sequence = 3").remove(0).remove(0);
    database.execute(gap, gap);
    // What the store says of itself excuses nothing, and is not deleted as if it did.
    assert_eq!(check(&database, &head), Err(Broken::Missing { first: 2, last: 3 }));
    following.keep(retention(&database, AfterKeeping::Delete, 10, OPENS.plus_seconds(100)));
    follow(&mut following);
    assert_eq!(database.query("SELECT sequence FROM audit"), [["4"]]);
    assert_eq!(check(&database, &head), Err(Broken::Missing { first: 2, last: 3 }));

    let file = database.absences();
    let mut absences = file.read().unwrap();
    let link = Link::Hash(blake3::Hash::from_hex(third).unwrap());
    absences.audit_gaps.push(AuditGap { after: 1, through: 3, link });
    file.write(&absences).unwrap();
    assert_eq!(check(&database, &head), Ok(()));
    following.keep(retention(&database, AfterKeeping::Delete, 10, OPENS.plus_seconds(101)));
    follow(&mut following);
    assert_eq!(database.query("SELECT count(*) FROM audit"), [["0"]]);
    assert_eq!(database.query("SELECT after_sequence, through_sequence FROM audit_gaps"), [["0", "4"]]);
    assert_eq!(check(&database, &head), Ok(()));
    assert_eq!(file.read().unwrap().audit_gaps, [AuditGap::up_to(&head)]);
}
