use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn reader(storage: &MemoryStorage, after: Epoch) -> Reader {
    Reader::new(Arc::new(storage.clone()), after)
}

fn read_all(reader: &mut Reader, durable: Epoch) -> Batches {
    let mut batches = Batches::new();
    while let Some(batch) = reader.next(durable).unwrap() {
        batches.push((batch.epoch, batch.payload.to_vec()));
    }
    batches
}

#[test]
fn a_reader_starts_anywhere_and_stops_at_what_is_durable() {
    let (storage, _writer) = journal(60);
    for after in [0, 1, 29, 59, 60] {
        for durable in [0, 1, 30, 60] {
            let found = read_all(&mut reader(&storage, after), durable);
            assert_eq!(found, batches(after + 1..=durable), "after {after}, durable {durable}");
        }
    }
}

#[test]
fn a_reader_at_the_end_goes_on_when_there_is_more() {
    let (storage, mut writer) = journal(0);
    let mut reader = reader(&storage, 0);
    for epoch in 1..=80 {
        append_to(&mut writer, epoch);
        if epoch % 7 == 0 {
            writer.seal().unwrap();
        }
        assert!(reader.next(epoch - 1).unwrap().is_none());
        assert_eq!(read_all(&mut reader, epoch), batches(epoch..=epoch));
    }
}

/// What is read ahead may be half a frame. It must not be believed later.
#[test]
fn bytes_read_ahead_before_they_were_written_are_read_anew() {
    let (storage, mut writer) = journal(2);
    let mut reader = reader(&storage, 0);
    let mut third = Vec::new();
    frame::encode(&mut third, frame::Kind::Batch, 1, 3, &payload(3));
    storage.overwrite(FIRST_SEGMENT, writer.position().offset, &third[..third.len() / 2]);
    assert_eq!(read_all(&mut reader, 2), batches(1..=2));
    append_to(&mut writer, 3);
    assert_eq!(read_all(&mut reader, 3), batches(3..=3));
}

#[test]
fn readers_follow_a_running_writer() {
    let (storage, mut writer) = journal(0);
    let durable = AtomicU64::new(0);
    thread::scope(|scope| {
        for after in [0, 0, 1000] {
            let mut reader = reader(&storage, after);
            let durable = &durable;
            scope.spawn(move || {
                let mut last = after;
                while last < 3000 {
                    let limit = durable.load(Ordering::Acquire);
                    while let Some(batch) = reader.next(limit).unwrap() {
                        assert_eq!(batch.epoch, last + 1);
                        assert!(batch.epoch <= limit);
                        assert_eq!(batch.payload, payload(batch.epoch));
                        last = batch.epoch;
                    }
                    thread::yield_now();
                }
            });
        }
        for epoch in 1..=3000 {
            writer.append(epoch, &payload(epoch)).unwrap();
            durable.store(epoch, Ordering::Release);
        }
    });
}

#[test]
fn frames_larger_than_the_window_are_read() {
    let (storage, mut writer) = journal(1);
    let large = vec![5; 700_000];
    writer.append(2, &large).unwrap();
    append_to(&mut writer, 5);
    let found = read_all(&mut reader(&storage, 0), 5);
    assert_eq!(found[1], (2, large));
    assert_eq!(found[2..], batches(3..=5));
}

#[test]
fn an_epoch_that_was_pruned_is_too_old() {
    let (storage, _writer) = journal(60);
    let mut behind = reader(&storage, 0);
    behind.next(60).unwrap().unwrap();
    prune(&storage, 50).unwrap();
    let oldest = match reader(&storage, 0).next(60) {
        Err(ReadError::TooOld { wanted: 1, oldest }) => oldest,
        other => panic!("{other:?}"),
    };
    assert_eq!(read_all(&mut reader(&storage, oldest - 1), 60), batches(oldest..=60));
    // One that still holds a removed segment open reads that to its end, and then learns the same.
    let error = loop {
        match behind.next(60) {
            Ok(batch) => assert!(batch.is_some()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReadError::TooOld { .. }), "{error}");
}

#[test]
fn damage_is_reported_with_file_and_offset() {
    let (whole, _writer) = journal(9);
    let (start, header) = frames(&whole, FIRST_SEGMENT, 1)[4];
    for byte in 0..32 + header.payload_bytes as u64 {
        let storage = whole.crash(Survival::Nothing);
        storage.flip_bit(FIRST_SEGMENT, start + byte, (byte % 8) as u8);
        let mut reader = reader(&storage, 0);
        for _ in 0..4 {
            reader.next(9).unwrap().unwrap();
        }
        match reader.next(9) {
            Err(ReadError::Damaged(damage)) => {
                assert_eq!((damage.file.as_str(), damage.offset), (FIRST_SEGMENT, start))
            }
            other => panic!("byte {byte}: {other:?}"),
        }
    }
}

#[test]
fn a_durable_batch_that_is_not_there_is_damage() {
    let (storage, writer) = journal(9);
    let mut reader = reader(&storage, 8);
    assert_eq!(read_all(&mut reader, 9), batches(9..=9));
    match reader.next(10) {
        Err(ReadError::Damaged(damage)) => assert_eq!(damage.offset, writer.position().offset),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        super::super::Reader::new(Arc::new(MemoryStorage::new()), 3).next(4),
        Err(ReadError::Missing { wanted: 4 })
    ));
}

#[test]
fn the_bytes_behind_shrink_to_nothing() {
    let (storage, writer) = journal(60);
    let mut reader = reader(&storage, 0);
    let mut before = reader.behind_bytes(60, writer.position()).unwrap();
    let all: u64 = (1..=60).map(|epoch| frame::frame_bytes(payload(epoch).len()) as u64).sum();
    let slack = writer.position().segment * 400;
    assert!((all..=all + slack).contains(&before), "{before} of {all}");
    while let Some(batch) = reader.next(60).unwrap() {
        let anew = Reader::new(Arc::new(storage.clone()), batch.epoch).behind_bytes(60, writer.position()).unwrap();
        let now = reader.behind_bytes(60, writer.position()).unwrap();
        assert!(now < before);
        assert_eq!(now, anew, "however one came there");
        before = now;
    }
    assert_eq!(before, 0);
}
