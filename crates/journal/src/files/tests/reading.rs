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
fn frames_larger_than_the_window_are_read() {
    let (storage, mut writer) = journal(1);
    let large = vec![5; 700_000];
    writer.append(1, 0, &large).unwrap();
    append_to(&mut writer, 5);
    let found = read_all(&mut reader(&storage, 0), 5);
    assert_eq!(found[1], (2, large));
    assert_eq!(found[2..], batches(3..=5));
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
            Err(error) => {
                let damage = damage(&error);
                assert_eq!((damage.file(), damage.offset()), (FIRST_SEGMENT, Some(start)))
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
        Err(error) => assert_eq!(damage(&error).offset(), Some(writer.position().offset)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(Reader::new(Arc::new(MemoryStorage::new()), 3).next(4), Err(ReadError::Missing { wanted: 4 })));
}

#[test]
fn the_bytes_behind_shrink_to_nothing() {
    let (storage, writer) = journal(60);
    let mut reader = reader(&storage, 0);
    let mut before = reader.bytes_until(writer.position()).unwrap();
    let all: u64 = (1..=60).map(|epoch| frame::frame_bytes(payload(epoch).len()) as u64).sum();
    let slack = writer.position().segment * 400;
    assert!((all..=all + slack).contains(&before), "{before} of {all}");
    while let Some(batch) = reader.next(60).unwrap() {
        if batch.epoch == 60 {
            break;
        }
        let anew = Reader::new(Arc::new(storage.clone()), batch.epoch).bytes_until(writer.position()).unwrap();
        let now = reader.bytes_until(writer.position()).unwrap();
        assert!(now < before);
        assert_eq!(now, anew, "however one came there");
        before = now;
    }
    assert_eq!(before, frame::frame_bytes(payload(60).len()) as u64);
}
