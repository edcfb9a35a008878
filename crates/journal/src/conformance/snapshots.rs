//! The suite for [`SnapshotStore`].

use super::*;
use crate::{SnapshotError, SnapshotSummary};

fn chunk(number: u64) -> Vec<u8> {
    vec![number as u8; (number as usize * 1000) % 5000]
}

fn write(store: &dyn SnapshotStore, first: Epoch, last: Epoch, chunks: u64) -> Result<SnapshotSummary, SnapshotError> {
    let mut writer = store.begin(first)?;
    for number in 1..=chunks {
        writer.chunk(&chunk(number))?;
    }
    writer.finish(last)
}

fn newest(store: &dyn SnapshotStore) -> Option<(Epoch, Epoch, Vec<Vec<u8>>)> {
    let reader = store.newest().expect("it can be read")?;
    let summary = reader.summary();
    let chunks = chunks(reader);
    assert_eq!(summary.chunks, chunks.len() as u64);
    Some((summary.first_epoch, summary.last_epoch, chunks))
}

fn written(first: Epoch, last: Epoch, chunks: u64) -> Option<(Epoch, Epoch, Vec<Vec<u8>>)> {
    Some((first, last, (1..=chunks).map(chunk).collect()))
}

pub(crate) fn a_snapshot_reads_back(make: Make<'_>) {
    let mut subject = make();
    let mut store = subject.open().snapshots;
    assert!(store.newest().unwrap().is_none());
    for (first, chunks) in [(1, 0), (5, 1), (9, 300), (12, 700)] {
        let summary = write(&*store, first, first + 3, chunks).unwrap();
        assert_eq!(store.newest().unwrap().unwrap().summary(), summary);
        assert_eq!(newest(&*store), written(first, first + 3, chunks));
        subject.crash();
        store = subject.open().snapshots;
        assert_eq!(newest(&*store), written(first, first + 3, chunks));
    }
}

pub(crate) fn an_unfinished_snapshot_is_never_shown(make: Make<'_>) {
    let mut subject = make();
    let store = subject.open().snapshots;
    write(&*store, 3, 4, 20).unwrap();
    for chunks in [0, 1, 300] {
        let mut writer = store.begin(8).unwrap();
        for number in 0..chunks {
            writer.chunk(&chunk(number)).unwrap();
        }
        assert_eq!(newest(&*store), written(3, 4, 20));
        drop(writer);
        assert_eq!(newest(&*store), written(3, 4, 20));
    }
    subject.crash();
    let store = subject.open().snapshots;
    store.discard_unfinished().unwrap();
    assert_eq!(newest(&*store), written(3, 4, 20));
    write(&*store, 8, 9, 2).unwrap();
    assert_eq!(newest(&*store), written(8, 9, 2), "what was left is not in the way of the next");
}

pub(crate) fn the_newest_snapshot_stays(make: Make<'_>) {
    let mut subject = make();
    let store = subject.open().snapshots;
    assert_eq!(store.delete_superseded().unwrap().units, 0);
    for first in [5, 20, 31] {
        write(&*store, first, first, 3).unwrap();
    }
    let removed = store.delete_superseded().unwrap();
    assert!(removed.units == 2 && removed.bytes > 0, "{removed:?}");
    assert_eq!(newest(&*store), written(31, 31, 3));
    assert_eq!(store.delete_superseded().unwrap().units, 0);
    subject.crash();
    assert_eq!(newest(&*subject.open().snapshots), written(31, 31, 3));
}

pub(crate) fn no_crash_point_loses_a_snapshot(make: Make<'_>) {
    for steps in 0.. {
        let mut subject = make();
        write(&*subject.open().snapshots, 3, 4, 20).unwrap();
        let store = subject.open().snapshots;
        if !subject.inject(Trouble::StopAfter(steps)) {
            return;
        }
        let is_finished = write(&*store, 8, 9, 300).is_ok();
        subject.crash();
        let store = subject.open().snapshots;
        let found = newest(&*store);
        assert!(found == written(8, 9, 300) || !is_finished && found == written(3, 4, 20), "after {steps} steps");
        write(&*store, 10, 10, 3).unwrap();
        assert_eq!(newest(&*store), written(10, 10, 3), "after {steps} steps");
        if is_finished {
            return;
        }
    }
}
