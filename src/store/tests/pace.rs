//! The SQLite store leaves its core to others now and then.

use super::*;
use crate::clock::{Clock, SystemClock};

const HOLDS: u64 = 20_000;

#[test]
fn a_window_is_written_with_rests_and_one_that_is_far_behind_without() {
    let just_now = sleeps(SystemClock.now());
    let long_ago = sleeps(Timestamp::from_millis(1_000_000));
    // Ten thousand rows are some milliseconds of work at the least. What is left are syncs of the disk.
    assert!(just_now >= long_ago + 5, "{just_now} and {long_ago}");
}

/// How often the thread went to sleep by itself while holds of that time were written.
fn sleeps(at: Timestamp) -> u64 {
    let (database, journal) = (Database::sqlite(), MemoryJournal::default());
    let mut settings = settings();
    settings.items[0].initial_stock = HOLDS;
    let record = samples::record_of(&settings, &[TV, PHONE]);
    let defined = samples::defined(SALE, at, &record).into();
    journal.push(&[(CATALOGUE_LANE, &[defined])]);
    let mut write_behind = write_behind(&journal, &database);
    catch_up(&mut write_behind);

    let holds: Vec<_> = (0..HOLDS).map(|entropy| held(reservation_id(at, "ann", entropy << 8), "ann", 1)).collect();
    journal.push(&[(0, &holds)]);
    let before = voluntary_switches();
    catch_up(&mut write_behind);
    voluntary_switches() - before
}

fn voluntary_switches() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}
