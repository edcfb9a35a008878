use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

use super::*;

/// Numbers handed in by any thread, cut into batches of eight bytes each.
#[derive(Default)]
struct Desk {
    state: Mutex<DeskState>,
    changed: Condvar,
    /// Of a thread that has nothing to do until a commit.
    sleeper: Mutex<Option<Bell>>,
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
            assert!(!timed_out, "a ring was lost: {} of {committed} committed", state.committed);
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
        if let Some(bell) = self.sleeper.lock().take() {
            bell.wakes_up();
        }
        self.changed.notify_all();
    }

    fn failed(&self, error: &WriteError) {
        assert!(self.state.lock().failed.replace(error.to_string()).is_none(), "said once");
    }
}

fn committer(storage: &MemoryStorage, settings: CommitterSettings) -> (Arc<Desk>, Committer<Desk>) {
    let desk = Arc::new(Desk::default());
    (desk.clone(), Committer::new(desk, writer(storage), settings))
}

fn never_idle() -> CommitterSettings {
    CommitterSettings {
        flush_interval: None,
        crowd_interval: CROWD_INTERVAL,
        seal_after: Duration::from_secs(3600),
        now: Instant::now,
    }
}

fn numbers(storage: &MemoryStorage) -> Vec<u64> {
    let (batches, _) = recover(&storage.crash(Survival::Nothing)).unwrap();
    let bytes: Vec<u8> = batches.into_iter().flat_map(|(_, payload)| payload).collect();
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
    storage.fail_sync(1, memory::EIO);
    desk.hand_in(2);
    assert!(matches!(committer.step(), Err(WriteError::Storage(_))));
    desk.hand_in(3);
    assert!(matches!(committer.step(), Err(WriteError::Poisoned)));
    assert!(matches!(committer.seal(), Err(WriteError::Poisoned)));
    let state = desk.state.lock();
    assert_eq!((state.committed_epoch, state.gathered.len()), (1, 1), "what comes later is not even cut");
    assert!(state.failed.as_ref().unwrap().contains("cannot sync"));
    assert_eq!(numbers(&storage), [1]);
}

#[test]
fn a_running_committer_ends_with_the_failure() {
    let storage = MemoryStorage::new();
    let (desk, committer) = committer(&storage, never_idle());
    let bell = committer.bell();
    storage.fail_write(3, memory::ENOSPC);
    let running = thread::spawn(|| committer.run());
    let mut numbers = 0..;
    wait_until("the failure", || {
        desk.hand_in(numbers.next().unwrap());
        bell.ring();
        desk.state.lock().failed.is_some()
    });
    assert!(running.join().unwrap().is_err());
    assert_eq!(desk.state.lock().committed_epoch, 2);
}

/// One wait for each ring: a single lost one would leave the loop waiting.
#[test]
fn no_ring_is_lost() {
    let storage = MemoryStorage::new();
    let (desk, committer) = committer(&storage, never_idle());
    let bell = committer.bell();
    let running = thread::spawn(|| committer.run());
    for number in 1..=20_000 {
        desk.hand_in(number);
        bell.ring();
        desk.wait_for(number);
    }
    bell.stop();
    running.join().unwrap().unwrap();
    assert_eq!(numbers(&storage).len(), 20_000);
}

#[test]
fn many_threads_ring_and_nothing_is_left_behind() {
    let storage = MemoryStorage::new();
    let (desk, committer) = committer(&storage, never_idle());
    let bell = committer.bell();
    let running = thread::spawn(|| committer.run());
    thread::scope(|scope| {
        for thread in 0..4 {
            let (desk, bell) = (desk.clone(), bell.clone());
            scope.spawn(move || {
                for number in 0..5_000 {
                    desk.hand_in(thread * 5_000 + number);
                    bell.ring();
                }
            });
        }
    });
    desk.wait_for(20_000);
    bell.stop();
    running.join().unwrap().unwrap();
    let mut found = numbers(&storage);
    found.sort_unstable();
    assert!(found.into_iter().eq(0..20_000));
}

#[test]
fn batches_gather_while_a_sync_runs() {
    let storage = MemoryStorage::new();
    let (desk, committer) = committer(&storage, never_idle());
    let bell = committer.bell();
    let running = thread::spawn(|| committer.run());
    storage.hold_syncs();
    desk.hand_in(1);
    bell.ring();
    wait_until("the first sync", || storage.syncs() == 1);
    for number in 2..=100 {
        desk.hand_in(number);
        bell.ring();
    }
    assert_eq!(desk.state.lock().committed, 0, "nothing is committed before its sync");
    storage.release_syncs();
    desk.wait_for(100);
    assert_eq!(desk.state.lock().committed_epoch, 2);
    bell.stop();
    running.join().unwrap().unwrap();
}

#[test]
fn what_nobody_waits_for_gathers() {
    let storage = MemoryStorage::new();
    let (desk, committer) = committer(&storage, never_idle());
    let bell = committer.bell();
    let running = thread::spawn(|| committer.run());
    // The thread sleeps before the ring that is looked at: none is left over from its beginning.
    thread::sleep(Duration::from_millis(50));
    storage.hold_syncs();
    desk.hand_in(1);
    bell.ring();
    wait_until("the first sync", || storage.syncs() == 1);
    for number in 2..=50 {
        desk.hand_in(number);
    }
    storage.release_syncs();
    desk.wait_for(1);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(desk.state.lock().committed_epoch, 1, "nobody rang for the rest");
    desk.hand_in(51);
    bell.ring();
    desk.wait_for(51);
    assert_eq!(desk.state.lock().committed_epoch, 2);
    bell.stop();
    running.join().unwrap().unwrap();
}

#[test]
fn stopping_commits_the_rest_and_seals() {
    let storage = MemoryStorage::new();
    let (desk, committer) = committer(&storage, never_idle());
    let bell = committer.bell();
    desk.hand_in(1);
    bell.stop();
    committer.run().unwrap();
    assert_eq!(numbers(&storage), [1]);
    assert!(recover(&storage).unwrap().1.sealed);
    assert_eq!(desk.state.lock().committed, 1);
}

/// How often the clock was read: a loop that does not sleep reads it all the time.
static CLOCK_READS: AtomicU64 = AtomicU64::new(0);

fn counted_now() -> Instant {
    CLOCK_READS.fetch_add(1, Ordering::Relaxed);
    Instant::now()
}

#[test]
fn an_idle_journal_is_sealed_once_and_then_sleeps() {
    let storage = MemoryStorage::new();
    let settings = CommitterSettings {
        flush_interval: None,
        crowd_interval: CROWD_INTERVAL,
        seal_after: Duration::from_millis(5),
        now: counted_now,
    };
    let (desk, committer) = committer(&storage, settings);
    let bell = committer.bell();
    let running = thread::spawn(|| committer.run());
    for number in 1..=3 {
        desk.hand_in(number);
        bell.ring();
        desk.wait_for(number);
        wait_until("the seal", || storage.syncs() == number * 2);
        thread::sleep(Duration::from_millis(20));
        assert_eq!(storage.syncs(), number * 2, "one for the batch, one for its seal");
    }
    bell.stop();
    running.join().unwrap().unwrap();
    assert_eq!(storage.syncs(), 6);
    let reads = CLOCK_READS.load(Ordering::Relaxed);
    assert!(reads < 100, "the clock was read {reads} times");
}

#[test]
fn a_flush_interval_gathers_and_does_not_hold_up_stopping() {
    let storage = MemoryStorage::new();
    let settings = CommitterSettings { flush_interval: Some(Duration::from_secs(3600)), ..never_idle() };
    let (desk, committer) = committer(&storage, settings);
    let bell = committer.bell();
    let running = thread::spawn(|| committer.run());
    for number in 1..=10 {
        desk.hand_in(number);
        bell.ring();
        if number == 1 {
            desk.wait_for(1);
        }
    }
    thread::sleep(Duration::from_millis(20));
    assert_eq!(desk.state.lock().committed, 1, "the second batch waits for the interval");
    bell.stop();
    running.join().unwrap().unwrap();
    let state = desk.state.lock();
    assert_eq!((state.committed, state.committed_epoch), (10, 2));
}

#[test]
fn a_turn_begins_a_segment_and_leaves_none_that_is_empty() {
    let storage = MemoryStorage::new();
    let (desk, mut committer) = committer(&storage, never_idle());
    let bell = committer.bell();
    let files = |storage: &MemoryStorage| segment::list(storage).unwrap().len();
    // Nothing stands in the first one yet.
    bell.turn_over();
    desk.hand_in(1);
    assert!(committer.step().unwrap());
    assert_eq!(files(&storage), 1);
    desk.hand_in(2);
    committer.step().unwrap();
    bell.turn_over();
    assert!(!committer.step().unwrap(), "nothing is made up for it");
    for number in 3..6 {
        desk.hand_in(number);
        committer.step().unwrap();
    }
    committer.seal().unwrap();
    assert_eq!(files(&storage), 2, "one batch turns, the next goes on");
    assert_eq!(segment::first_epoch(&storage, 2).unwrap(), Some(3));
    assert_eq!(numbers(&storage), [1, 2, 3, 4, 5]);
    let mut reader = Reader::new(Arc::new(storage.clone()), 0);
    (1..6).for_each(|epoch| assert_eq!(reader.next(5).unwrap().unwrap().epoch, epoch));
    assert_eq!(prune(&storage, 4).unwrap().files, [FIRST_SEGMENT]);
    assert_eq!(recover_from(&storage, 4, 5).unwrap().0.len(), 2);
}

/// Hands in a number for so many answers, then another for one more; whether the second one was left to gather.
fn second_gathers(answers: usize, before: impl FnOnce(&Desk, &Bell)) -> bool {
    second_gathers_until(answers, before, |_| {})
}

/// As that; `then`: what happens once the second one was handed in.
fn second_gathers_until(answers: usize, before: impl FnOnce(&Desk, &Bell), then: impl FnOnce(&Bell)) -> bool {
    let storage = MemoryStorage::new();
    let settings = CommitterSettings { crowd_interval: Duration::from_secs(3600), ..never_idle() };
    let (desk, committer) = committer(&storage, settings);
    let bell = committer.bell();
    bell.joins();
    before(&desk, &bell);
    desk.hand_in(1);
    bell.ring_for(answers);
    let running = thread::spawn(|| committer.run());
    desk.wait_for(1);
    desk.hand_in(2);
    bell.ring_for(1);
    then(&bell);
    let gathers = {
        let mut state = desk.state.lock();
        let wait = |state: &mut DeskState| state.committed < 2;
        desk.changed.wait_while_for(&mut state, wait, Duration::from_millis(200)).timed_out()
    };
    bell.stop();
    running.join().unwrap().unwrap();
    assert_eq!(desk.state.lock().committed, 2);
    gathers
}

#[test]
fn a_batch_gathers_behind_a_crowd_while_everybody_is_busy() {
    assert!(second_gathers(bell::CROWD, |_, _| {}));
    assert!(!second_gathers(bell::CROWD - 1, |_, _| {}), "no crowd");
    assert!(!second_gathers(bell::CROWD, |_, bell| bell.falls_asleep()), "somebody has nothing to do");
    let naps = |_: &Desk, bell: &Bell| {
        bell.falls_asleep();
        bell.wakes_up();
    };
    assert!(second_gathers(bell::CROWD, naps));
    let woken_by_the_commit = |desk: &Desk, bell: &Bell| {
        bell.falls_asleep();
        *desk.sleeper.lock() = Some(bell.clone());
    };
    assert!(!second_gathers(bell::CROWD, woken_by_the_commit), "somebody had nothing to do until then");
}

#[test]
fn a_crowd_gathers_until_nobody_is_busy() {
    let gathers = |threads, fall_asleep: fn(&Bell)| {
        let join = |_: &Desk, bell: &Bell| (1..threads).for_each(|_| bell.joins());
        second_gathers_until(bell::CROWD, join, fall_asleep)
    };
    let one = |bell: &Bell| bell.falls_asleep();
    let two = |bell: &Bell| {
        // So that the batch is being gathered, and somebody has to end that.
        thread::sleep(Duration::from_millis(20));
        bell.falls_asleep();
        thread::sleep(Duration::from_millis(20));
        bell.falls_asleep();
    };
    let comes_back = |bell: &Bell| {
        bell.falls_asleep();
        bell.wakes_up();
        bell.falls_asleep();
    };
    assert!(!gathers(1, one));
    assert!(gathers(2, one), "one is busy still");
    assert!(!gathers(2, two));
    assert!(gathers(2, comes_back), "it was the same one twice");
}
