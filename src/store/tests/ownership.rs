//! Whose store it is: two processes, two data directories, and data that is older than it was.

use super::*;

on_both! {
    a_second_process_takes_the_store_and_the_first_finds_out,
    a_process_that_lost_the_store_writes_nothing_at_the_same_cursor,
    a_store_is_taken_from_whom_it_was_read_to_be_of,
    a_store_of_another_data_directory_is_refused,
    a_store_that_was_put_back_is_brought_up_to_date,
    a_store_put_back_too_far_is_told_and_repaired_by_a_later_copy,
    a_store_without_an_owner_is_taken,
}

fn push_held(journal: &MemoryJournal, entropy: u64) {
    journal.push(&[(0, &[held(reservation_id(OPENS, "ann", entropy << 8), "ann", 1)])]);
}

fn a_second_process_takes_the_store_and_the_first_finds_out(new: New) {
    let database = new();
    let journal = journal_with_sale(OPENS);
    let (mut first, mut second) = (write_behind(&journal, &database), write_behind(&journal, &database));
    first.settle().unwrap();
    catch_up(&mut second);
    let before = database.content();

    push_held(&journal, 1);
    assert!(matches!(first.step(), Err(StoreError::CursorMoved { expected: 0 })));
    for _ in 0..2 {
        let error = first.step().unwrap_err();
        assert!(matches!(error, StoreError::Fenced { epoch: 2 }) && error.ends_following(), "{error}");
    }
    assert_eq!(first.status().state(), StoreState::Fenced);
    assert_eq!(database.content(), before, "the first changed nothing");
    catch_up(&mut second);
    assert_eq!(second.status().applied_epoch(), 2);
}

fn a_process_that_lost_the_store_writes_nothing_at_the_same_cursor(new: New) {
    let database = new();
    let journal = journal_with_sale(OPENS);
    let (mut first, mut second) = (write_behind(&journal, &database), write_behind(&journal, &database));
    first.settle().unwrap();
    second.settle().unwrap();
    let before = database.content();
    assert!(matches!(first.step(), Err(StoreError::CursorMoved { expected: 0 })));
    assert_eq!(database.content(), before);
    assert!(matches!(first.step(), Err(StoreError::Fenced { epoch: 2 })));
    catch_up(&mut second);
}

fn a_store_is_taken_from_whom_it_was_read_to_be_of(new: New) {
    let database = new();
    let (mut one, mut other) = (database.store(), database.store());
    let before = one.standing().unwrap();
    let token = |session| Token { owner: OWNER, epoch: 1, session: Uuid::from_bytes([session; 16]) };
    one.take_over(&before, &token(1)).unwrap();
    let late = other.take_over(&before, &token(2)).unwrap_err();
    assert!(matches!(late, StoreError::CursorMoved { expected: 0 }), "{late}");
    assert_eq!(one.standing().unwrap(), Standing { cursor: 0, held_by: Some(token(1)) });
}

fn a_store_of_another_data_directory_is_refused(new: New) {
    let database = new();
    let journal = journal_with_sale(OPENS);
    catch_up(&mut write_behind(&journal, &database));
    let before = database.content();
    let other = Uuid::from_bytes([8; 16]);
    let mut stranger = WriteBehind::new(journal.feed(), database.store(), other, WriteBehindSettings::default());
    let error = stranger.settle().unwrap_err();
    assert!(matches!(error, StoreError::OtherOwner { owner: OWNER, this } if this == other), "{error}");
    assert!(error.is_final() && error.to_string().contains("identity"), "{error}");
    assert_eq!(database.content(), before);
    catch_up(&mut write_behind(&journal, &database));
}

/// What a backup of the store after its first batch would bring back.
fn put_back(database: &Database, cursor: u64, owner_epoch: u64) {
    let rows = format!(
        "DELETE FROM reservation_lines; DELETE FROM reservations;
         UPDATE items SET available = 10, held = 0, confirmed = 0;
         UPDATE pools SET available = 10, held = 0, confirmed = 0;
         UPDATE write_behind SET cursor = {cursor}, owner_epoch = {owner_epoch}"
    );
    database.execute(&rows, &rows);
}

fn a_store_that_was_put_back_is_brought_up_to_date(new: New) {
    // Of the same process; of the one before; of before there were any.
    for (owner_epoch, session) in [(2, ""), (1, ", session = '00000000-0000-4000-8000-000000000000'"), (0, "")] {
        let database = new();
        let journal = journal_with_sale(OPENS);
        drop(write_behind(&journal, &database).settle());
        let mut write_behind = write_behind(&journal, &database);
        (1..4).for_each(|entropy| push_held(&journal, entropy));
        catch_up(&mut write_behind);
        let before = database.content();

        put_back(&database, 1, owner_epoch);
        if owner_epoch == 0 {
            let nobody = "UPDATE write_behind SET owner = NULL, session = NULL";
            database.execute(nobody, nobody);
        } else {
            let sql = format!("UPDATE write_behind SET owner_epoch = {owner_epoch}{session}");
            database.execute(&sql, &sql);
        }
        push_held(&journal, 4);
        assert!(matches!(write_behind.step(), Err(StoreError::CursorMoved { expected: 4 })));
        catch_up(&mut write_behind);
        assert_eq!(write_behind.status().applied_epoch(), 5);
        let reader = database.reader();
        assert_eq!((reader.cursor().unwrap(), reader.count_by_state().unwrap().held), (5, 4));
        assert_ne!(database.content(), before);
        assert!(reader.totals().unwrap().iter().all(|item| item.stored == item.recomputed));
    }
}

fn a_store_put_back_too_far_is_told_and_repaired_by_a_later_copy(new: New) {
    let database = new();
    let journal = journal_with_sale(OPENS);
    (1..4).for_each(|entropy| push_held(&journal, entropy));
    let pruned = MemoryJournal { pruned: 2, ..journal.clone() };
    catch_up(&mut write_behind(&journal, &database));
    let mut write_behind = write_behind(&pruned, &database);
    write_behind.settle().unwrap();
    let cursor_to = |cursor| {
        let sql = format!("UPDATE write_behind SET cursor = {cursor}");
        database.execute(&sql, &sql);
    };
    cursor_to(1);
    push_held(&journal, 4);
    assert!(write_behind.step().is_err());
    for _ in 0..2 {
        let error = write_behind.step().unwrap_err();
        assert!(matches!(error, StoreError::Behind { cursor: 1, oldest: 3 }), "{error}");
        assert!(error.to_string().contains("cursor is 2 or more") && !error.ends_following(), "{error}");
        assert_eq!(write_behind.status().state(), StoreState::Stuck);
    }
    cursor_to(4);
    catch_up(&mut write_behind);
    assert_eq!((write_behind.status().applied_epoch(), write_behind.status().state()), (5, StoreState::Following));
}

fn a_store_without_an_owner_is_taken(new: New) {
    let database = new();
    let journal = journal_with_sale(OPENS);
    catch_up(&mut write_behind(&journal, &database));
    // As the format before the one with owners left it.
    let nobody = "UPDATE write_behind SET owner = NULL, owner_epoch = 0, session = NULL";
    database.execute(nobody, nobody);
    push_held(&journal, 1);
    catch_up(&mut write_behind(&journal, &database));
    let half = "UPDATE write_behind SET owner = NULL";
    database.execute(half, half);
    assert!(matches!(write_behind(&journal, &database).settle(), Err(StoreError::Content(_))));
}
