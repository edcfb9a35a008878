//! The suite for [`Log`].

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::ReadError;

pub(crate) fn what_was_appended_is_read_back(make: Make<'_>) {
    let mut subject = make();
    let opened = subject.open();
    assert_eq!(recover(&*opened.log, 1, 0).unwrap(), (vec![], 0));
    append_to(&*opened.log, 60);
    opened.log.seal().unwrap();
    append_to(&*opened.log, 100);
    assert_eq!(opened.log.tail(), 100);
    subject.crash();
    let again = subject.open();
    assert_eq!(recover(&*again.log, 1, 100).unwrap(), (batches(1..=100), 100));
    append_to(&*again.log, 120);
    subject.crash();
    let later = subject.open();
    assert_eq!(recover(&*later.log, 77, 120).unwrap(), (batches(77..=120), 120));
    subject.crash();
    let at_end = subject.open();
    assert_eq!(recover(&*at_end.log, 121, 0).unwrap(), (vec![], 120));
}

pub(crate) fn an_append_with_another_tail_is_fenced(make: Make<'_>) {
    for wrong in [0, 4, 6] {
        let mut subject = make();
        let opened = owner(&mut *subject);
        append_to(&*opened.log, 5);
        assert!(matches!(opened.log.append(wrong, b"wrong"), Err(AppendError::Fenced(_))), "behind {wrong}");
        assert!(opened.log.append(5, b"after").is_err(), "it is final");
        subject.crash();
        assert_eq!(recover(&*subject.open().log, 1, 5).unwrap().0, batches(1..=5));
    }
}

pub(crate) fn an_owner_that_was_overtaken_is_fenced(make: Make<'_>) {
    let mut subject = make();
    if !subject.lets_owners_overtake() {
        return;
    }
    let first = owner(&mut *subject);
    append_to(&*first.log, 3);
    let second = owner(&mut *subject);
    assert!(matches!(append(&*first.log, 4), Err(AppendError::Fenced(_))));
    append_to(&*second.log, 4);
    assert!(append(&*first.log, 5).is_err());
    subject.crash();
    assert_eq!(recover(&*subject.open().log, 1, 4).unwrap().0, batches(1..=4));
}

pub(crate) fn an_unknown_append_is_there_or_not_and_final(make: Make<'_>) {
    let mut subject = make();
    let opened = owner(&mut *subject);
    append_to(&*opened.log, 7);
    if !subject.inject(Trouble::UnknownAppend) {
        return;
    }
    assert!(matches!(append(&*opened.log, 8), Err(AppendError::Unknown(_))));
    assert_eq!(opened.log.tail(), 7);
    assert!(matches!(append(&*opened.log, 8), Err(AppendError::Unknown(_))), "it is never tried again");
    subject.crash();
    let again = subject.open();
    let (found, tail) = recover(&*again.log, 1, 7).unwrap();
    assert!(tail == 7 || tail == 8, "{tail}");
    assert_eq!(found, batches(1..=tail));
    // What a recovery has shown is durable.
    subject.crash();
    assert_eq!(recover(&*subject.open().log, 1, tail).unwrap().0, batches(1..=tail));
}

pub(crate) fn a_retryable_append_changes_nothing(make: Make<'_>) {
    let mut subject = make();
    let opened = owner(&mut *subject);
    append_to(&*opened.log, 7);
    if !subject.inject(Trouble::RetryableAppend) {
        return;
    }
    assert!(matches!(append(&*opened.log, 8), Err(AppendError::Retryable(_))));
    assert_eq!(opened.log.tail(), 7);
    append_to(&*opened.log, 9);
    subject.crash();
    assert_eq!(recover(&*subject.open().log, 1, 9).unwrap().0, batches(1..=9));
}

pub(crate) fn a_reader_starts_anywhere_and_stops_at_what_is_durable(make: Make<'_>) {
    let mut subject = make();
    let opened = owner(&mut *subject);
    append_to(&*opened.log, 60);
    for after in [0, 1, 29, 59, 60] {
        for durable in [0, 1, 30, 60] {
            let mut reader = opened.log.read(after);
            assert_eq!(reader.last_epoch(), after);
            assert_eq!(
                read_all(&mut *reader, durable),
                batches(after + 1..=durable),
                "after {after}, durable {durable}"
            );
            assert_eq!(reader.last_epoch(), durable.max(after));
        }
    }
    let mut reader = opened.log.read(60);
    assert!(reader.next(60).unwrap().is_none());
    append_to(&*opened.log, 61);
    assert_eq!(read_all(&mut *reader, 61), batches(61..=61));
    assert!(matches!(opened.log.read(62).next(63), Err(ReadError::Missing { wanted: 63 } | ReadError::Damaged(_))));
}

pub(crate) fn readers_follow_a_running_owner(make: Make<'_>) {
    let mut subject = make();
    let log = owner(&mut *subject).log;
    let durable = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for after in [0, 0, 100] {
            let mut reader = log.read(after);
            let durable = &durable;
            scope.spawn(move || {
                while reader.last_epoch() < 300 {
                    let limit = durable.load(Ordering::Acquire);
                    while let Some(batch) = reader.next(limit).unwrap() {
                        assert!(batch.epoch <= limit);
                        assert_eq!(batch.payload, payload(batch.epoch));
                    }
                    std::thread::yield_now();
                }
            });
        }
        for epoch in 1..=300 {
            append(&*log, epoch).unwrap();
            durable.store(epoch, Ordering::Release);
        }
    });
}

pub(crate) fn a_log_that_lacks_what_is_needed_is_refused(make: Make<'_>) {
    let mut subject = make();
    append_to(&*owner(&mut *subject).log, 9);
    for (from, reaches) in [(1, 10), (11, 0)] {
        subject.crash();
        let refused = recover(&*subject.open().log, from, reaches);
        assert!(matches!(refused, Err(RecoveryError::Read(ReadError::Damaged(_)))), "from {from}, reaches {reaches}");
    }
    subject.crash();
    assert_eq!(recover(&*subject.open().log, 10, 9).unwrap(), (vec![], 9), "it was not changed");
}

pub(crate) fn what_the_caller_refuses_is_passed_on(make: Make<'_>) {
    let mut subject = make();
    append_to(&*owner(&mut *subject).log, 5);
    subject.crash();
    let opened = subject.open();
    let refused = opened.log.recover(1, 0, |epoch, _| if epoch == 3 { Err("no") } else { Ok(()) });
    assert!(matches!(refused, Err(RecoveryError::Refused { epoch: 3, error: "no" })));
}

pub(crate) fn trimming_removes_only_what_is_not_needed(make: Make<'_>) {
    let mut subject = make();
    let log = owner(&mut *subject).log;
    append_to(&*log, 60);
    let mut behind = log.read(0);
    behind.next(60).unwrap().unwrap();
    let mut removed = 0;
    for keep_from in 1..=61 {
        removed += log.trim(keep_from).unwrap().units;
        let needed = keep_from.min(60);
        assert_eq!(read_all(&mut *log.read(needed - 1), 60), batches(needed..=60), "kept from {keep_from}");
    }
    assert!(removed > 0);
    let oldest = match log.read(0).next(60) {
        Err(ReadError::TooOld { wanted: 1, oldest }) => oldest,
        other => panic!("{other:?}"),
    };
    assert!(matches!(log.bytes_after(0), Err(ReadError::TooOld { .. })));
    assert_eq!(read_all(&mut *log.read(oldest - 1), 60), batches(oldest..=60));
    // A reader may finish what it has open, and then learns the same.
    let error = loop {
        match behind.next(60) {
            Ok(batch) => assert!(batch.is_some()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReadError::TooOld { .. }), "{error}");
    append_to(&*log, 90);
    subject.crash();
    let again = subject.open();
    assert_eq!(recover(&*again.log, 61, 90).unwrap(), (batches(61..=90), 90));
    subject.crash();
    let refused = recover(&*subject.open().log, 1, 0);
    assert!(matches!(refused, Err(RecoveryError::Read(ReadError::Damaged(_)))), "its beginning is gone");
}

pub(crate) fn what_is_made_removable_is_removed(make: Make<'_>) {
    let mut subject = make();
    let log = owner(&mut *subject).log;
    // Nothing is there yet to be removed.
    log.make_removable(0);
    append_to(&*log, 3);
    log.make_removable(2);
    append_to(&*log, 5);
    log.make_removable(2);
    append_to(&*log, 6);
    log.trim(5).unwrap();
    for epoch in 1..=2 {
        assert!(matches!(log.read(epoch - 1).next(6), Err(ReadError::TooOld { .. })), "{epoch} is gone");
    }
    assert_eq!(read_all(&mut *log.read(4), 6), batches(5..=6));
    subject.crash();
    assert_eq!(recover(&*subject.open().log, 5, 6).unwrap().0, batches(5..=6));
}

pub(crate) fn the_bytes_behind_shrink_to_nothing(make: Make<'_>) {
    let mut subject = make();
    let log = owner(&mut *subject).log;
    assert_eq!(log.bytes_after(0).unwrap(), 0);
    append_to(&*log, 60);
    let mut reader = log.read(0);
    let mut before = u64::MAX;
    for epoch in 0..=60 {
        let left = log.bytes_after(epoch).unwrap();
        let least: u64 = (epoch + 1..=60).map(|epoch| payload(epoch).len() as u64).sum();
        assert!(left >= least && left < before, "{left} after {epoch}");
        before = left;
        if let Some(batch) = reader.next(60).unwrap() {
            assert!(batch.stored_bytes >= batch.payload.len() as u64);
            assert!(batch.stored_bytes <= left);
        }
    }
    assert_eq!(before, 0);
}

pub(crate) fn no_crash_point_loses_a_batch(make: Make<'_>) {
    for steps in 0..60 {
        let mut subject = make();
        let mut committed = 0;
        for round in 0..4 {
            let opened = subject.open();
            let (found, tail) = recover(&*opened.log, 1, committed).unwrap();
            assert!(tail == committed || tail == committed + 1, "{tail} of {committed}, stopped after {steps} steps");
            assert_eq!(found, batches(1..=tail), "stopped after {steps} steps");
            committed = tail;
            if !subject.inject(Trouble::StopAfter((steps + round * 7) % 60)) {
                return;
            }
            while committed < 200 && append(&*opened.log, committed + 1).is_ok() {
                committed += 1;
                if committed % 5 == steps % 5 && opened.log.seal().is_err() {
                    break;
                }
            }
            subject.crash();
        }
    }
}
