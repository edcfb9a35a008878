//! Exactly once: through crashes, failed transactions, commits whose outcome is unknown, and a locked database.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use proptest::prelude::*;

use super::*;

/// Fails as a database may: before anything is done, or after the commit took effect and nobody was told.
struct Unreliable {
    store: SqliteStore,
    /// Taken from the end; shared with the test, which must know when the process died.
    faults: Arc<Mutex<Vec<Fault>>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    BeforeCommit,
    AfterCommit,
    /// The process is gone before it hears of the commit; the next one opens the file anew.
    Crash,
}

impl Sink for Unreliable {
    fn cursor(&mut self) -> Result<u64, StoreError> {
        self.store.cursor()
    }

    fn apply(&mut self, window: &Window) -> Result<u64, StoreError> {
        let away = || StoreError::Feed(FeedError::Unreadable("injected".into()));
        match self.faults.lock().pop().unwrap_or(Fault::None) {
            Fault::None => self.store.apply(window),
            Fault::BeforeCommit => Err(away()),
            Fault::AfterCommit | Fault::Crash => self.store.apply(window).and(Err(away())),
        }
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.store.reopen()
    }
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::BeforeCommit),
        1 => Just(Fault::AfterCommit),
        1 => Just(Fault::Crash),
    ];
    proptest::collection::vec(fault, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn faults_and_crashes_change_nothing(steps in model::steps(), faults in faults(), window_events_max in 1..60u64) {
        let directory = tempfile::tempdir().unwrap();
        let (faulty, calm) = (directory.path().join("faulty.db"), directory.path().join("calm.db"));
        let journal = MemoryJournal::of(&model::batches(&steps));
        catch_up(&mut write_behind(&journal, &calm));

        let settings = WriteBehindSettings { window_events_max, ..Default::default() };
        let (mut errors_left, faults) = (faults.len(), Arc::new(Mutex::new(faults)));
        'process: loop {
            let sink = Unreliable { store: SqliteStore::open(&faulty).unwrap(), faults: Arc::clone(&faults) };
            let mut write_behind = WriteBehind::new(journal.feed(), sink, settings);
            loop {
                let next = faults.lock().last().copied();
                match write_behind.step() {
                    Ok(Progress::Idle) => break 'process,
                    Ok(_) => continue,
                    Err(error) => errors_left = errors_left.checked_sub(1).ok_or(error).unwrap(),
                }
                if next == Some(Fault::Crash) {
                    continue 'process;
                }
            }
        }
        prop_assert_eq!(content(&faulty), content(&calm));
    }
}

#[test]
fn a_transaction_that_fails_half_way_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let journal = journal_with_sale(OPENS);
    let mut write_behind = write_behind(&journal, &path);
    catch_up(&mut write_behind);
    let before = content(&path);

    let id = reservation_id(OPENS, "ann", 1 << 8);
    journal.push(&[(0, &[held(id, "ann", 2)])]);
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER broken BEFORE INSERT ON reservation_lines BEGIN SELECT RAISE(ABORT, 'broken'); END",
        )
        .unwrap();
    assert!(write_behind.step().is_err());
    assert_eq!(content(&path), before, "neither rows nor cursor");
    assert_eq!(write_behind.status().applied_epoch(), 1);
    assert!(write_behind.status().last_error().unwrap().contains("broken"));

    other.execute_batch("DROP TRIGGER broken").unwrap();
    catch_up(&mut write_behind);
    let reader = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!((reader.cursor().unwrap(), reader.count_by_state().unwrap().held), (2, 1));
    assert_eq!(write_behind.status().last_error(), None);
}

#[test]
fn a_second_writer_is_found_out_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let journal = journal_with_sale(OPENS);
    let (mut first, mut second) = (write_behind(&journal, &path), write_behind(&journal, &path));
    first.settle().unwrap();
    catch_up(&mut second);
    let before = content(&path);
    assert!(matches!(first.step(), Err(StoreError::CursorMoved { expected: 0 })));
    assert_eq!(content(&path), before);
}

#[test]
fn a_locked_store_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let journal = journal_with_sale(OPENS);
    let mut write_behind = WriteBehind::new(journal.feed(), SqliteStore::open(&path).unwrap(), single_batches());
    let status = write_behind.status();
    let stop = Arc::new(AtomicBool::new(false));

    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let runner = thread::spawn({
        let stop = Arc::clone(&stop);
        move || write_behind.run(&stop)
    });
    wait_until(|| status.failures_total() >= 2);
    assert!(status.last_error().unwrap().contains("locked"), "{:?}", status.last_error());
    assert_eq!(status.applied_epoch(), 0);

    other.execute_batch("COMMIT").unwrap();
    wait_until(|| status.applied_epoch() == 1);
    wait_until(|| status.last_error().is_none());
    journal.push(&[(0, &[held(reservation_id(OPENS, "ann", 4), "ann", 1)])]);
    stop.store(true, Ordering::Release);
    runner.thread().unpark();
    runner.join().unwrap().unwrap();
    assert_eq!(status.applied_epoch(), 2, "what was durable before the stop is applied before the end");
}

fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..4_000 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("waited for 20 seconds");
}
