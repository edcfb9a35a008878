//! The commit loop, over files in memory.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::*;
use crate::{
    files::{EIO, FileLog, FileSettings, MemoryStorage, scan},
    memory::{Fault, MemoryLog},
    signal::CONTENDED_ANSWERS,
};

/// Time stands still.
pub(crate) struct StoppedClock;

impl MonotonicClock for StoppedClock {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

/// The machine's, and how often it was read: a loop that does not sleep reads it all the time.
struct MachineClock {
    started: Instant,
    reads: AtomicU64,
}

impl MachineClock {
    fn start() -> Arc<MachineClock> {
        Arc::new(MachineClock { started: Instant::now(), reads: AtomicU64::new(0) })
    }
}

impl MonotonicClock for MachineClock {
    fn elapsed(&self) -> Duration {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.started.elapsed()
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::yield_now();
    }
}

/// Numbers handed in by any thread, cut into batches of eight bytes each.
#[derive(Default)]
struct Desk {
    state: Mutex<DeskState>,
    changed: Condvar,
    /// Of a thread that is idle until a commit.
    idle_caller: Mutex<Option<CommitSignal>>,
}

#[derive(Default)]
struct DeskState {
    gathered: Vec<u64>,
    in_flight: u64,
    epoch: Epoch,
    committed_epoch: Epoch,
    committed: u64,
    failed: Option<String>,
}

impl Desk {
    fn hand_in(&self, number: u64) {
        self.state.lock().gathered.push(number);
    }

    fn wait_for(&self, committed: u64) {
        let mut state = self.state.lock();
        while state.committed < committed {
            let timed_out = self.changed.wait_for(&mut state, Duration::from_secs(20)).timed_out();
            assert!(!timed_out, "a notification was lost: {} of {committed} committed", state.committed);
        }
    }
}

impl Source for Desk {
    fn cut(&self, payload: &mut Vec<u8>) -> Option<Epoch> {
        assert!(payload.is_empty());
        let mut state = self.state.lock();
        if state.gathered.is_empty() {
            return None;
        }
        state.in_flight = state.gathered.len() as u64;
        state.gathered.drain(..).for_each(|number| payload.extend(number.to_le_bytes()));
        state.epoch += 1;
        Some(state.epoch)
    }

    fn committed(&self, epoch: Epoch, stats: &CommitStats) {
        let mut state = self.state.lock();
        assert_eq!(epoch, state.committed_epoch + 1);
        assert_eq!(stats.payload_bytes, state.in_flight * 8);
        assert!(state.failed.is_none());
        state.committed_epoch = epoch;
        state.committed += state.in_flight;
        if let Some(signal) = self.idle_caller.lock().take() {
            signal.thread_busy();
        }
        self.changed.notify_all();
    }

    fn failed(&self, error: &AppendError) {
        assert!(self.state.lock().failed.replace(error.to_string()).is_none(), "said once");
    }
}

fn committer(storage: &MemoryStorage, settings: CommitterSettings) -> (Arc<Desk>, Committer<Desk>) {
    committer_of(file_log(storage), MachineClock::start(), settings)
}

fn file_log(storage: &MemoryStorage) -> Arc<dyn Log> {
    let settings = FileSettings { segment_bytes: 2048, clock: Arc::new(StoppedClock) };
    let log: Arc<dyn Log> = Arc::new(FileLog::new(Arc::new(storage.clone()), settings));
    log.recover(1, 0, |_, _| Ok::<_, Infallible>(())).expect("the log is sound");
    log
}

fn committer_of(
    log: Arc<dyn Log>,
    clock: Arc<dyn MonotonicClock>,
    settings: CommitterSettings,
) -> (Arc<Desk>, Committer<Desk>) {
    let desk = Arc::new(Desk::default());
    (desk.clone(), Committer::new(desk, log, clock, settings))
}

fn never_idle() -> CommitterSettings {
    CommitterSettings { flush_interval: None, gather_interval: GATHER_INTERVAL, seal_after: Duration::from_secs(3600) }
}

fn numbers(storage: &MemoryStorage) -> Vec<u64> {
    let mut bytes = Vec::new();
    let each = |_, payload: &[u8]| {
        bytes.extend_from_slice(payload);
        Ok::<_, Infallible>(())
    };
    scan(&storage.crash(files::Survival::Nothing), 1, 0, each).unwrap();
    bytes.chunks(8).map(|number| u64::from_le_bytes(number.try_into().unwrap())).collect()
}

#[test]
fn a_step_commits_what_has_gathered() {
    let storage = MemoryStorage::new();
    let (desk, mut committer) = committer(&storage, never_idle());
    assert!(!committer.step().unwrap());
    desk.hand_in(1);
    desk.hand_in(2);
    assert!(committer.step().unwrap());
    assert!(!committer.step().unwrap());
    assert_eq!((desk.state.lock().committed, storage.syncs()), (2, 1));
    assert_eq!(numbers(&storage), [1, 2]);
}

#[test]
fn a_failure_is_said_once_and_nothing_is_committed_after() {
    let storage = MemoryStorage::new();
    let (desk, mut committer) = committer(&storage, never_idle());
    desk.hand_in(1);
    committer.step().unwrap();
    storage.fail_sync(1, EIO);
    desk.hand_in(2);
    assert!(matches!(committer.step(), Err(AppendError::Unknown(_))));
    desk.hand_in(3);
    assert!(matches!(committer.step(), Err(AppendError::Unknown(_))));
    assert!(matches!(committer.seal(), Err(AppendError::Unknown(_))));
    let state = desk.state.lock();
    assert_eq!((state.committed_epoch, state.gathered.len()), (1, 1), "what comes later is not even cut");
    assert!(state.failed.as_ref().unwrap().contains("cannot sync"));
    assert_eq!(numbers(&storage), [1]);
}

#[test]
fn a_running_committer_ends_with_the_failure() {
    let storage = MemoryStorage::new();
    let (desk, committer) = committer(&storage, never_idle());
    let signal = committer.signal();
    storage.fail_write(3, files::ENOSPC);
    let running = thread::spawn(|| committer.run());
    let mut numbers = 0..;
    wait_until("the failure", || {
        desk.hand_in(numbers.next().unwrap());
        signal.notify();
        desk.state.lock().failed.is_some()
    });
    assert!(running.join().unwrap().is_err());
    assert_eq!(desk.state.lock().committed_epoch, 2);
}

/// One wait for each notification: a single lost one would leave the loop waiting.
#[test]
fn no_notification_is_lost() {
    let storage = MemoryStorage::new();
    let (desk, committer) = committer(&storage, never_idle());
    let signal = committer.signal();
    let running = thread::spawn(|| committer.run());
    for number in 1..=20_000 {
        desk.hand_in(number);
        signal.notify();
        desk.wait_for(number);
    }
    signal.stop();
    running.join().unwrap().unwrap();
    assert_eq!(numbers(&storage).len(), 20_000);
}

#[test]
fn many_threads_notify_and_nothing_is_left_behind() {
    let storage = MemoryStorage::new();
    let (desk, committer) = committer(&storage, never_idle());
    let signal = committer.signal();
    let running = thread::spawn(|| committer.run());
    thread::scope(|scope| {
        for thread in 0..4 {
            let (desk, signal) = (desk.clone(), signal.clone());
            scope.spawn(move || {
                for number in 0..5_000 {
                    desk.hand_in(thread * 5_000 + number);
                    signal.notify();
                }
            });
        }
    });
    desk.wait_for(20_000);
    signal.stop();
    running.join().unwrap().unwrap();
    let mut found = numbers(&storage);
    found.sort_unstable();
    assert!(found.into_iter().eq(0..20_000));
}

#[test]
fn batches_gather_while_a_sync_runs() {
    let storage = MemoryStorage::new();
    let (desk, committer) = committer(&storage, never_idle());
    let signal = committer.signal();
    let running = thread::spawn(|| committer.run());
    storage.hold_syncs();
    desk.hand_in(1);
    signal.notify();
    wait_until("the first sync", || storage.syncs() == 1);
    for number in 2..=100 {
        desk.hand_in(number);
        signal.notify();
    }
    assert_eq!(desk.state.lock().committed, 0, "nothing is committed before its sync");
    storage.release_syncs();
    desk.wait_for(100);
    assert_eq!(desk.state.lock().committed_epoch, 2);
    signal.stop();
    running.join().unwrap().unwrap();
}

#[test]
fn what_nobody_waits_for_gathers() {
    let storage = MemoryStorage::new();
    let (desk, committer) = committer(&storage, never_idle());
    let signal = committer.signal();
    let running = thread::spawn(|| committer.run());
    // The thread sleeps before the notification that is tested: none is left over from its beginning.
    thread::sleep(Duration::from_millis(50));
    storage.hold_syncs();
    desk.hand_in(1);
    signal.notify();
    wait_until("the first sync", || storage.syncs() == 1);
    for number in 2..=50 {
        desk.hand_in(number);
    }
    storage.release_syncs();
    desk.wait_for(1);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(desk.state.lock().committed_epoch, 1, "nobody notified for the rest");
    desk.hand_in(51);
    signal.notify();
    desk.wait_for(51);
    assert_eq!(desk.state.lock().committed_epoch, 2);
    signal.stop();
    running.join().unwrap().unwrap();
}

#[test]
fn stopping_commits_the_rest_and_seals() {
    let storage = MemoryStorage::new();
    let (desk, committer) = committer(&storage, never_idle());
    let signal = committer.signal();
    desk.hand_in(1);
    signal.stop();
    committer.run().unwrap();
    assert_eq!(numbers(&storage), [1]);
    assert!(scan(&storage, 1, 0, |_, _| Ok::<_, Infallible>(())).unwrap().tail.sealed);
    assert_eq!(desk.state.lock().committed, 1);
}

#[test]
fn an_idle_journal_is_sealed_once_and_then_sleeps() {
    let storage = MemoryStorage::new();
    let settings = CommitterSettings {
        flush_interval: None,
        gather_interval: GATHER_INTERVAL,
        seal_after: Duration::from_millis(5),
    };
    let clock = MachineClock::start();
    let (desk, committer) = committer_of(file_log(&storage), clock.clone(), settings);
    let signal = committer.signal();
    let running = thread::spawn(|| committer.run());
    for number in 1..=3 {
        desk.hand_in(number);
        signal.notify();
        desk.wait_for(number);
        wait_until("the seal", || storage.syncs() == number * 2);
        thread::sleep(Duration::from_millis(20));
        assert_eq!(storage.syncs(), number * 2, "one for the batch, one for its seal");
    }
    signal.stop();
    running.join().unwrap().unwrap();
    assert_eq!(storage.syncs(), 6);
    let reads = clock.reads.load(Ordering::Relaxed);
    assert!(reads < 100, "the clock was read {reads} times");
}

#[test]
fn a_flush_interval_gathers_and_does_not_hold_up_stopping() {
    let storage = MemoryStorage::new();
    let settings = CommitterSettings { flush_interval: Some(Duration::from_secs(3600)), ..never_idle() };
    let (desk, committer) = committer(&storage, settings);
    let signal = committer.signal();
    let running = thread::spawn(|| committer.run());
    for number in 1..=10 {
        desk.hand_in(number);
        signal.notify();
        if number == 1 {
            desk.wait_for(1);
        }
    }
    thread::sleep(Duration::from_millis(20));
    assert_eq!(desk.state.lock().committed, 1, "the second batch waits for the interval");
    signal.stop();
    running.join().unwrap().unwrap();
    let state = desk.state.lock();
    assert_eq!((state.committed, state.committed_epoch), (10, 2));
}

/// A simulation steps the loop with one thread and its own time.
#[test]
fn turns_say_what_to_wait_for() {
    #[derive(Default)]
    struct SetClock(AtomicU64);
    impl MonotonicClock for SetClock {
        fn elapsed(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }
    let (storage, clock) = (MemoryStorage::new(), Arc::new(SetClock::default()));
    let settings = CommitterSettings { seal_after: Duration::from_millis(50), ..never_idle() };
    let (desk, mut committer) = committer_of(file_log(&storage), clock.clone(), settings);
    let wait = |gather, until: Option<u64>| Pause::Wait { gather, until: until.map(Duration::from_millis) };
    assert_eq!(committer.turn().unwrap(), wait(Gather::No, None), "nothing was ever written");
    desk.hand_in(1);
    assert_eq!(committer.turn().unwrap(), wait(Gather::No, Some(50)));
    clock.0.store(49, Ordering::Relaxed);
    assert_eq!(committer.turn().unwrap(), wait(Gather::No, Some(50)));
    assert_eq!(storage.syncs(), 1);
    clock.0.store(50, Ordering::Relaxed);
    assert_eq!(committer.turn().unwrap(), wait(Gather::No, None));
    assert_eq!(storage.syncs(), 2, "sealed");
    desk.hand_in(2);
    committer.signal().notify_for(CONTENDED_ANSWERS);
    assert_eq!(committer.turn().unwrap(), wait(Gather::UntilIdle(GATHER_INTERVAL), Some(100)));
    desk.hand_in(3);
    committer.signal().stop();
    assert_eq!(committer.turn().unwrap(), Pause::None);
    assert_eq!(committer.turn().unwrap(), Pause::Stopped);
    assert_eq!(numbers(&storage), [1, 2, 3]);
}

#[test]
fn what_can_be_retried_is_appended_once() {
    let log = MemoryLog::new();
    let taken: &dyn Log = &log;
    taken.recover(1, 0, |_, _| Ok::<_, Infallible>(())).unwrap();
    let reading = log.clone();
    let (desk, mut committer) = committer_of(Arc::new(log), MachineClock::start(), never_idle());
    reading.fail_after(1, Fault::Retryable);
    desk.hand_in(1);
    committer.step().unwrap();
    desk.hand_in(2);
    assert!(matches!(committer.step(), Err(AppendError::Retryable(_))));
    assert!(desk.state.lock().failed.is_none());
    desk.hand_in(3);
    assert!(committer.step().unwrap(), "the batch that failed");
    assert!(committer.step().unwrap());
    let mut reader = reading.read(0);
    for number in 1..=3_u64 {
        assert_eq!(reader.next(3).unwrap().unwrap().payload, number.to_le_bytes());
    }
    // The loop does the same without being asked.
    reading.fail_after(0, Fault::Retryable);
    let signal = committer.signal();
    let running = thread::spawn(|| committer.run());
    desk.hand_in(4);
    signal.notify();
    desk.wait_for(4);
    signal.stop();
    running.join().unwrap().unwrap();
}

/// Hands in a number for so many answers, then another for one more; whether the second one was left to gather.
fn second_gathers(answers: usize, before: impl FnOnce(&Desk, &CommitSignal)) -> bool {
    second_gathers_until(answers, before, |_| {})
}

/// As that; `then`: what happens once the second one was handed in.
fn second_gathers_until(
    answers: usize,
    before: impl FnOnce(&Desk, &CommitSignal),
    then: impl FnOnce(&CommitSignal),
) -> bool {
    let storage = MemoryStorage::new();
    let settings = CommitterSettings { gather_interval: Duration::from_secs(3600), ..never_idle() };
    let (desk, committer) = committer(&storage, settings);
    let signal = committer.signal();
    signal.thread_started();
    before(&desk, &signal);
    desk.hand_in(1);
    signal.notify_for(answers);
    let running = thread::spawn(|| committer.run());
    desk.wait_for(1);
    desk.hand_in(2);
    signal.notify_for(1);
    then(&signal);
    let gathers = {
        let mut state = desk.state.lock();
        let wait = |state: &mut DeskState| state.committed < 2;
        desk.changed.wait_while_for(&mut state, wait, Duration::from_millis(200)).timed_out()
    };
    signal.stop();
    running.join().unwrap().unwrap();
    assert_eq!(desk.state.lock().committed, 2);
    gathers
}

#[test]
fn a_batch_gathers_after_a_contended_commit_while_all_are_busy() {
    assert!(second_gathers(CONTENDED_ANSWERS, |_, _| {}));
    assert!(!second_gathers(CONTENDED_ANSWERS - 1, |_, _| {}), "no contention");
    assert!(!second_gathers(CONTENDED_ANSWERS, |_, signal| signal.thread_idle()), "somebody has nothing to do");
    let briefly_idle = |_: &Desk, signal: &CommitSignal| {
        signal.thread_idle();
        signal.thread_busy();
    };
    assert!(second_gathers(CONTENDED_ANSWERS, briefly_idle));
    let woken_by_the_commit = |desk: &Desk, signal: &CommitSignal| {
        signal.thread_idle();
        *desk.idle_caller.lock() = Some(signal.clone());
    };
    assert!(!second_gathers(CONTENDED_ANSWERS, woken_by_the_commit), "somebody had nothing to do until then");
}

#[test]
fn a_batch_gathers_until_all_are_idle() {
    let gathers = |threads, fall_asleep: fn(&CommitSignal)| {
        let join = |_: &Desk, signal: &CommitSignal| (1..threads).for_each(|_| signal.thread_started());
        second_gathers_until(CONTENDED_ANSWERS, join, fall_asleep)
    };
    let one = |signal: &CommitSignal| signal.thread_idle();
    let two = |signal: &CommitSignal| {
        // So that the batch is being gathered, and somebody has to end that.
        thread::sleep(Duration::from_millis(20));
        signal.thread_idle();
        thread::sleep(Duration::from_millis(20));
        signal.thread_idle();
    };
    let comes_back = |signal: &CommitSignal| {
        signal.thread_idle();
        signal.thread_busy();
        signal.thread_idle();
    };
    assert!(!gathers(1, one));
    assert!(gathers(2, one), "one is busy still");
    assert!(!gathers(2, two));
    assert!(gathers(2, comes_back), "it was the same one twice");
}
