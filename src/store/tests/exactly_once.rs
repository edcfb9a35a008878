//! Exactly once: through crashes, failed transactions, commits whose outcome is unknown, and a locked database.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use proptest::prelude::*;

use super::*;

on_both! {
    faults_and_crashes_change_nothing,
    a_transaction_that_fails_half_way_leaves_nothing,
    a_locked_store_is_waited_for,
}

/// Fails as a database may: before anything is done, or after the commit took effect and nobody was told.
pub(super) struct Unreliable {
    store: Box<dyn Sink>,
    /// Taken from the end; shared with the test, which must know when the process died.
    faults: Arc<Mutex<Vec<Fault>>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    None,
    BeforeCommit,
    AfterCommit,
    /// The process is gone before it hears of the commit; the next one opens the file anew.
    Crash,
}

impl Sink for Unreliable {
    fn standing(&mut self) -> Result<Standing, StoreError> {
        self.store.standing()
    }

    fn take_over(&mut self, before: &Standing, token: &Token) -> Result<(), StoreError> {
        self.store.take_over(before, token)
    }

    fn apply(&mut self, window: &Window, token: &Token) -> Result<u64, StoreError> {
        let away = || StoreError::Feed(FeedError::Unreadable("injected".into()));
        match self.faults.lock().pop().unwrap_or(Fault::None) {
            Fault::None => self.store.apply(window, token),
            Fault::BeforeCommit => Err(away()),
            Fault::AfterCommit | Fault::Crash => self.store.apply(window, token).and(Err(away())),
        }
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.store.reopen()
    }

    fn tidy(&mut self) -> Result<(), StoreError> {
        self.store.tidy()
    }

    fn retire(
        &mut self,
        step: &RetentionStep,
        token: &Token,
        permit: &mut TrailPermit<'_>,
    ) -> Result<Stepped, StoreError> {
        let away = || StoreError::Feed(FeedError::Unreadable("injected".into()));
        match self.faults.lock().pop().unwrap_or(Fault::None) {
            Fault::None => self.store.retire(step, token, permit),
            Fault::BeforeCommit => Err(away()),
            Fault::AfterCommit | Fault::Crash => self.store.retire(step, token, permit).and(Err(away())),
        }
    }
}

/// Whether the process is to die at the next transaction.
pub(super) fn crashes_next(faults: &Mutex<Vec<Fault>>) -> bool {
    faults.lock().last() == Some(&Fault::Crash)
}

impl Unreliable {
    pub(super) fn new(store: Box<dyn Sink>, faults: &Arc<Mutex<Vec<Fault>>>) -> Self {
        Self { store, faults: faults.clone() }
    }
}

pub(super) fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::BeforeCommit),
        1 => Just(Fault::AfterCommit),
        1 => Just(Fault::Crash),
    ];
    proptest::collection::vec(fault, 0..40)
}

fn faults_and_crashes_change_nothing(new: New) {
    let inputs = (model::steps(), faults(), 1..60u64);
    model::for_cases(new, 24, &inputs, |(steps, faults, window_events_max)| {
        let (faulty, calm) = (new(), new());
        let journal = MemoryJournal::of(&model::batches(&steps));
        catch_up(&mut write_behind(&journal, &calm));

        let settings = WriteBehindSettings { window_events_max, ..Default::default() };
        let (mut errors_left, faults) = (faults.len(), Arc::new(Mutex::new(faults)));
        'process: loop {
            let sink = Unreliable { store: faulty.store(), faults: Arc::clone(&faults) };
            let mut write_behind = WriteBehind::new(journal.feed(), sink, OWNER, settings);
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
        prop_assert_eq!(faulty.content(), calm.content());
        Ok(())
    });
}

fn a_transaction_that_fails_half_way_leaves_nothing(new: New) {
    let database = new();
    let journal = journal_with_sale(OPENS);
    let mut write_behind = write_behind(&journal, &database);
    catch_up(&mut write_behind);
    let before = database.content();

    let id = reservation_id(OPENS, "ann", 1 << 8);
    journal.push(&[(0, &[held(id, "ann", 2)])]);
    database.execute(
        "CREATE TRIGGER broken BEFORE INSERT ON reservation_lines BEGIN SELECT RAISE(ABORT, 'broken'); END",
        "CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$;
         CREATE TRIGGER broken BEFORE INSERT ON reservation_lines FOR EACH ROW EXECUTE FUNCTION break_it()",
    );
    assert!(write_behind.step().is_err());
    assert_eq!(database.content(), before, "neither rows nor cursor");
    assert_eq!(write_behind.status().applied_epoch(), 1);
    assert!(write_behind.status().last_error().unwrap().contains("broken"));

    database.execute("DROP TRIGGER broken", "DROP TRIGGER broken ON reservation_lines");
    catch_up(&mut write_behind);
    let reader = database.reader();
    assert_eq!((reader.cursor().unwrap(), reader.count_by_state().unwrap().held), (2, 1));
    assert_eq!(write_behind.status().last_error(), None);
}

fn a_locked_store_is_waited_for(new: New) {
    let database = new();
    let journal = journal_with_sale(OPENS);
    let store: Box<dyn Sink> = match &database {
        Database::Sqlite(_) => database.store(),
        Database::Postgres(url, _) => {
            drop(database.store());
            let statement_time = Duration::from_millis(300);
            let settings = PostgresSettings { statement_time, ..databases::settings(url) };
            Box::new(PostgresStore::new(settings, Arc::default()).unwrap())
        }
    };
    let mut write_behind = WriteBehind::new(journal.feed(), store, OWNER, single_batches());
    let status = write_behind.status();
    let stop = Arc::new(AtomicBool::new(false));

    let lock = database.lock();
    let runner = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::Acquire) {
                thread::park_timeout(write_behind.advance()?);
            }
            write_behind.drain(Duration::from_secs(60))
        }
    });
    wait_until(|| status.failures_total() >= 2);
    let told = status.last_error().unwrap();
    assert!(told.contains("locked") || told.contains("took longer than 0.3 s"), "{told}");
    assert_eq!((status.applied_epoch(), status.state()), (0, StoreState::Away));

    drop(lock);
    wait_until(|| status.applied_epoch() == 1);
    wait_until(|| status.last_error().is_none());
    journal.push(&[(0, &[held(reservation_id(OPENS, "ann", 4), "ann", 1)])]);
    stop.store(true, Ordering::Release);
    runner.thread().unpark();
    runner.join().unwrap().unwrap();
    assert_eq!(status.applied_epoch(), 2, "what was durable before the stop is applied before the end");
}

/// Takes no more than so many events at a time.
struct Slow(Box<dyn Sink>, u64);

impl Sink for Slow {
    fn standing(&mut self) -> Result<Standing, StoreError> {
        self.0.standing()
    }

    fn take_over(&mut self, before: &Standing, token: &Token) -> Result<(), StoreError> {
        self.0.take_over(before, token)
    }

    fn apply(&mut self, window: &Window, token: &Token) -> Result<u64, StoreError> {
        let limit = Duration::from_secs(1);
        match window.events() {
            few if few <= self.1 => self.0.apply(window, token),
            _ => Err(PostgresError::TimedOut { what: "a window", limit }.into()),
        }
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.0.reopen()
    }

    fn tidy(&mut self) -> Result<(), StoreError> {
        self.0.tidy()
    }

    fn retire(
        &mut self,
        step: &RetentionStep,
        token: &Token,
        permit: &mut TrailPermit<'_>,
    ) -> Result<Stepped, StoreError> {
        self.0.retire(step, token, permit)
    }
}

#[test]
fn what_is_too_much_at_once_is_written_in_smaller_windows() {
    let database = Database::sqlite();
    let journal = journal_with_sale(OPENS);
    for entropy in 1..200_u64 {
        let event =
            Event::Customer(CustomerEvent::Retired { id: reservation_id(OPENS, "ann", entropy << 8), counted: true });
        journal.push(&[(0, &[event])]);
    }
    let sink = Slow(database.store(), 10);
    let settings = WriteBehindSettings { window_events_max: 100, ..Default::default() };
    let mut write_behind = WriteBehind::new(journal.feed(), sink, OWNER, settings);
    let mut steps = 0;
    while write_behind.step().ok() != Some(Progress::Idle) {
        steps += 1;
        assert!(steps < 100, "it does not come to an end");
    }
    assert_eq!(write_behind.status().applied_epoch(), 200);
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
