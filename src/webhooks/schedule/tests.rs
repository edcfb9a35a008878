//! The state machine, step by step, and against a model of what a receiver may see.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const RULES: Rules =
    Rules { deliveries_max: 3, retry_max: Duration::from_secs(60), park_after: Duration::from_secs(600) };

const REFUSED: Ended = Ended::Failed { retry_after: None };

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// A schedule with events of these subjects, of batches 1, 2 and so on.
fn with(subjects: &[u64]) -> Schedule<u64> {
    let mut schedule = Schedule::new(RULES, Cursor::behind(0));
    for (number, subject) in (1..).zip(subjects) {
        schedule.take(Cursor::at(number, 0), *subject, at(number), 10, number);
    }
    schedule
}

fn start_all(schedule: &mut Schedule<u64>, now: Timestamp) -> Vec<Sequence> {
    let mut started = Vec::new();
    while let Next::Start(sequence) = schedule.next(now) {
        schedule.start(sequence, now);
        started.push(sequence);
    }
    started
}

#[test]
fn a_subject_keeps_its_order_and_others_go_on() {
    let mut schedule = with(&[7, 7, 8, 9, 9]);
    assert_eq!(start_all(&mut schedule, at(9)), [0, 2, 3]);
    schedule.end(2, at(9), Ended::Delivered, [0; 2]);
    assert_eq!(schedule.position(), Cursor::behind(0), "an earlier event is under way");
    assert!(start_all(&mut schedule, at(9)).is_empty(), "what is left waits for its subject");
    schedule.end(0, at(9), Ended::Delivered, [0; 2]);
    assert_eq!(schedule.position(), Cursor::at(1, 0));
    assert_eq!(start_all(&mut schedule, at(9)), [1]);
    schedule.end(3, at(9), Ended::Delivered, [0; 2]);
    schedule.end(1, at(9), Ended::Delivered, [0; 2]);
    assert_eq!((schedule.position(), schedule.waiting(), schedule.oldest()), (Cursor::at(4, 0), 1, Some(at(5))));
}

#[test]
fn what_is_not_for_it_moves_the_position_behind_what_arrived() {
    let mut schedule = with(&[7]);
    schedule.reached(Cursor::behind(5));
    assert_eq!((schedule.position(), schedule.taken_to()), (Cursor::behind(0), Cursor::behind(5)));
    assert_eq!(start_all(&mut schedule, at(9)), [0]);
    schedule.end(0, at(9), Ended::Delivered, [0; 2]);
    assert_eq!(schedule.position(), Cursor::behind(5));
    schedule.reached(Cursor::behind(6));
    assert_eq!((schedule.position(), schedule.waiting()), (Cursor::behind(6), 0));
}

#[test]
fn while_it_fails_one_delivery_at_a_time_tries_again() {
    let mut schedule = with(&[1, 2, 3, 4]);
    assert_eq!(start_all(&mut schedule, at(10)), [0, 1, 2]);
    // Three that ran together are one failure of the endpoint, so the next pause is at most a second.
    for sequence in 0..3 {
        assert!(!schedule.end(sequence, at(11), REFUSED, [u64::MAX - 15; 2]));
    }
    let Next::Wait(next) = schedule.next(at(11)) else { panic!("{:?}", schedule.next(at(11))) };
    assert!(next > at(11) && next <= at(12), "{next:?}");
    assert_eq!(start_all(&mut schedule, at(12)), [0], "only one");
    schedule.end(0, at(13), Ended::Delivered, [0; 2]);
    assert_eq!(start_all(&mut schedule, at(14)), [1, 2, 3], "all again once one arrived");
}

#[test]
fn an_endpoint_is_left_alone_as_long_as_it_asks_within_bounds() {
    for (asked, expected) in [(30, 30), (100_000, 60)] {
        let mut schedule = with(&[1, 2]);
        schedule.start(0, at(10));
        schedule.end(0, at(10), Ended::Failed { retry_after: Some(Duration::from_secs(asked)) }, [0; 2]);
        assert_eq!(schedule.next(at(10)), Next::Wait(at(10 + expected)));
    }
}

#[test]
fn an_event_that_fails_too_long_parks_and_begins_anew_when_resumed() {
    let mut schedule = with(&[1, 2]);
    schedule.start(0, at(100));
    assert!(!schedule.end(0, at(100), REFUSED, [0; 2]));
    assert_eq!(schedule.failing_since(), Some(at(100)));
    // Another event that arrives does not hide the one that fails.
    schedule.start(1, at(699));
    schedule.end(1, at(699), Ended::Delivered, [0; 2]);
    schedule.start(0, at(699));
    assert!(!schedule.end(0, at(699), REFUSED, [0; 2]));
    schedule.start(0, at(700));
    assert!(schedule.end(0, at(700), REFUSED, [0; 2]), "600 s after its first failure");
    schedule.resume();
    assert_eq!(schedule.next(at(10_000)), Next::Start(0));
    schedule.start(0, at(10_000));
    assert!(!schedule.end(0, at(10_000), REFUSED, [0; 2]), "its time begins anew");
}

#[test]
fn pauses_double_up_to_the_longest_and_are_spread_evenly() {
    let longest = Duration::from_secs(60);
    for (failures, most) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (40, 60), (u32::MAX, 60)] {
        let most = Duration::from_secs(most);
        let pauses = (0..1000).map(|step| pause(failures, longest, step * most.as_millis() as u64 / 1000));
        let pauses: Vec<_> = pauses.collect();
        assert!(pauses.iter().all(|pause| !pause.is_zero() && *pause <= most), "{failures}");
        let mean = pauses.iter().sum::<Duration>() / 1000;
        assert!(mean > most * 49 / 100 && mean < most * 51 / 100, "{failures}: {mean:?}");
    }
}

#[test]
fn only_so_much_waits() {
    let mut schedule = with(&[]);
    for number in 1..=WAITING_MAX as u64 {
        assert!(schedule.has_room());
        schedule.take(Cursor::at(number, 0), 1, at(1), 0, number);
    }
    assert!(!schedule.has_room());
    let mut schedule = with(&[]);
    schedule.take(Cursor::at(1, 0), 1, at(1), WAITING_BYTES_MAX, 1);
    assert!(!schedule.has_room());
    schedule.start(0, at(1));
    schedule.end(0, at(1), Ended::Delivered, [0; 2]);
    assert!(schedule.has_room());
}

#[test]
fn one_that_fails_is_tried_at_once_when_it_is_resumed() {
    let mut schedule = with(&[1]);
    schedule.start(0, at(100));
    schedule.end(0, at(100), Ended::Failed { retry_after: Some(Duration::from_secs(50)) }, [0; 2]);
    assert_eq!(schedule.next(at(101)), Next::Wait(at(150)));
    schedule.resume();
    assert_eq!((schedule.next(at(101)), schedule.failing_since()), (Next::Start(0), None));
}

#[test]
fn what_the_journal_no_longer_has_leaves_memory() {
    // Batches 1 to 4; the journal begins with batch 3.
    let mut schedule = with(&[1, 2, 3, 4]);
    schedule.start(0, at(5));
    assert!(!schedule.drop_before(1), "nothing before it");
    assert!(schedule.drop_before(3), "the second waited");
    assert_eq!((schedule.waiting(), schedule.position()), (3, Cursor::behind(0)), "what is under way may end");
    schedule.end(0, at(6), REFUSED, [0; 2]);
    assert!(schedule.drop_before(3), "the first waits again");
    assert_eq!((schedule.waiting(), schedule.oldest(), schedule.position()), (2, Some(at(3)), Cursor::behind(2)));
    assert!(!schedule.drop_before(3), "no longer");
    // Beyond what was taken in.
    assert!(schedule.drop_before(9));
    assert_eq!(
        (schedule.waiting(), schedule.position(), schedule.taken_to()),
        (0, Cursor::behind(8), Cursor::behind(8))
    );
    assert!(!schedule.drop_before(9));
    assert!(schedule.has_room() && schedule.next(at(99)) == Next::Idle);
    // With one under way.
    let mut schedule = with(&[1]);
    schedule.start(0, at(5));
    assert!(schedule.drop_before(9), "batches 2 to 8 were not taken in");
    schedule.end(0, at(6), Ended::Delivered, [0; 2]);
    assert_eq!((schedule.position(), schedule.waiting()), (Cursor::behind(8), 0));
}

#[derive(Debug, Clone)]
enum Step {
    Take(u64),
    Reach,
    /// Ends one of those under way, well or not.
    End(usize, bool),
    Pass(u64),
    Resume,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u64).prop_map(Step::Take),
        1 => Just(Step::Reach),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, arrives)| Step::End(which, arrives)),
        2 => (1..200_u64).prop_map(Step::Pass),
        1 => Just(Step::Resume),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    /// Whatever fails and whenever it crashes: each event arrives at least once, those of a subject in order, at most so many at a
    /// time, and the position never passes one that did not arrive.
    #[test]
    fn nothing_is_lost_and_order_holds(steps in prop::collection::vec(step(), 1..200), seed in any::<u64>()) {
        // By number: subject, and whether it arrived.
        let mut events: Vec<(u64, bool)> = Vec::new();
        let mut newest: BTreeMap<u64, usize> = BTreeMap::new();
        let mut schedule: Schedule<u64> = Schedule::new(RULES, Cursor::behind(0));
        let (mut now, mut flying, mut random) = (at(1), Vec::new(), seed);
        let take = |schedule: &mut Schedule<u64>, number: u64, subject: u64| {
            schedule.take(Cursor::behind(number + 1), subject, at(number), 1, number);
        };
        let run = |schedule: &mut Schedule<u64>, flying: &mut Vec<(Sequence, u64)>, now: Timestamp| {
            while let Next::Start(sequence) = schedule.next(now) {
                let number = *schedule.start(sequence, now);
                flying.push((sequence, number));
            }
        };
        let arrive = |events: &mut Vec<(u64, bool)>, newest: &mut BTreeMap<u64, usize>, number: u64| {
            let number = number as usize;
            let (subject, arrived) = &mut events[number];
            // Again is allowed; the first time is in order.
            let before = newest.insert(*subject, number);
            assert!(*arrived || before.is_none_or(|before| before < number), "out of order");
            *arrived = true;
        };
        for step in steps {
            match step {
                Step::Take(subject) => {
                    take(&mut schedule, events.len() as u64, subject);
                    events.push((subject, false));
                }
                Step::Reach => schedule.reached(Cursor::behind(events.len() as u64)),
                Step::End(which, arrives) if !flying.is_empty() => {
                    let (sequence, number) = flying.swap_remove(which % flying.len());
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if arrives {
                        arrive(&mut events, &mut newest, number);
                    }
                    let ended = if arrives { Ended::Delivered } else { REFUSED };
                    schedule.end(sequence, now, ended, [random, random >> 7]);
                }
                Step::End(..) => {}
                Step::Pass(seconds) => now = now.plus_seconds(seconds),
                Step::Resume => schedule.resume(),
                Step::Crash => {
                    let position = schedule.position();
                    schedule = Schedule::new(RULES, position);
                    flying.clear();
                    newest.clear();
                    for number in position.epoch..events.len() as u64 {
                        take(&mut schedule, number, events[number as usize].0);
                    }
                }
            }
            run(&mut schedule, &mut flying, now);
            assert!(flying.len() <= RULES.deliveries_max);
            let position = schedule.position().epoch as usize;
            assert!(events[..position].iter().all(|(_, arrived)| *arrived), "behind one that did not arrive");
        }
        // A receiver that takes everything gets the rest.
        for _ in 0..10 * events.len() + 10 {
            now = now.plus_seconds(61);
            schedule.resume();
            run(&mut schedule, &mut flying, now);
            for (sequence, number) in std::mem::take(&mut flying) {
                arrive(&mut events, &mut newest, number);
                schedule.end(sequence, now, Ended::Delivered, [0; 2]);
            }
        }
        assert!(events.iter().all(|(_, arrived)| *arrived));
        assert_eq!((schedule.waiting(), schedule.position().epoch), (0, events.len() as u64));
    }
}
