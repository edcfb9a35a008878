use super::*;

#[test]
fn an_empty_directory_is_an_empty_journal() {
    let (batches, tail) = recover(&MemoryStorage::new()).unwrap();
    assert_eq!((batches, tail), (vec![], Tail { last_epoch: 0, position: None, sealed: false }));
}

#[test]
fn what_was_appended_is_read_back_over_many_segments() {
    let (storage, mut writer) = journal(100);
    assert!(segment::list(&storage).unwrap().len() > 5);
    let (found, tail) = recover(&storage).unwrap();
    assert_eq!(found, batches(1..=100));
    assert_eq!(tail.position, Some(writer.position()));
    append_to(&mut writer, 120);
    assert_eq!(recover(&storage).unwrap().0, batches(1..=120));
    assert_eq!(recover_from(&storage, 77, 120).unwrap().0, batches(77..=120));
    assert_eq!(recover_from(&storage, 121, 0).unwrap().0, vec![]);
}

#[test]
fn a_frame_larger_than_a_segment_gets_one_of_its_own() {
    let (storage, mut writer) = journal(3);
    let large = vec![7; 10_000];
    writer.append(4 - 1, 0, &large).unwrap();
    writer.append(5 - 1, 0, b"after").unwrap();
    writer.seal().unwrap();
    let (found, tail) = recover(&storage).unwrap();
    assert_eq!(found[3..], [(4, large), (5, b"after".to_vec())]);
    assert!(tail.sealed);
    assert_eq!(tail.position, Some(writer.position()));
    assert_eq!(segment::list(&storage).unwrap().len(), 3);
}

#[test]
fn a_frame_that_just_fits_leaves_room_for_its_seal() {
    for spare in 0..=150 {
        let (storage, mut writer) = journal(0);
        writer.append(0, 0, &vec![1; SEGMENT_BYTES as usize - 2 * 32 - spare]).unwrap();
        assert_eq!(writer.position().segment, 1);
        writer.seal().unwrap();
        let next_bytes = frame::frame_bytes(4) as u64;
        let fits = writer.position().offset + next_bytes + 32 <= SEGMENT_BYTES;
        writer.append(1, 0, b"next").unwrap();
        assert_eq!(writer.position().segment == 1, fits, "{spare} bytes left");
        assert_eq!(fits, spare >= 72, "{spare} bytes left");
        let (found, tail) = recover(&storage).unwrap();
        assert_eq!((found.len(), tail.position), (2, Some(writer.position())), "{spare} bytes left");
    }
}

/// The heart of it: wherever a write is cut, the batches before it are there, and the journal goes on.
#[test]
fn a_final_frame_torn_at_every_byte_is_cut_off() {
    for (last, sealed) in [(4, false), (4, true), (1, false)] {
        let (storage, mut writer) = journal(last - 1);
        if sealed {
            writer.seal().unwrap();
        }
        storage.fail_sync(1, EIO);
        writer.append(last - 1, 0, &payload(last)).unwrap_err();
        let whole = frame::HEADER_BYTES + payload(last).len();
        for cut in 0..=frame::frame_bytes(payload(last).len()) {
            let storage = storage.crash(Survival::Prefix(cut as u64));
            let kept = if cut < whole { last - 1 } else { last };
            let (found, _) = recover(&storage).unwrap();
            assert_eq!(found, batches(1..=kept), "cut at {cut}");
            let storage = storage.crash(Survival::Nothing);
            append_to(&mut super::writer(&storage), last + 20);
            assert_eq!(recover(&storage).unwrap().0, batches(1..=last + 20), "cut at {cut}");
        }
    }
}

#[test]
fn a_file_that_ends_at_any_byte_of_its_final_frame_is_cut_off() {
    let (whole, writer) = journal(4);
    let (start, _) = frames(&whole, FIRST_SEGMENT, 1)[3];
    for size in start..writer.position().offset {
        let storage = whole.crash(Survival::Nothing);
        storage.truncate(FIRST_SEGMENT, size);
        let kept = if size < start + 32 + payload(4).len() as u64 { 3 } else { 4 };
        assert_eq!(recover(&storage).unwrap().0, batches(1..=kept), "cut at {size}");
        append_to(&mut super::writer(&storage), 30);
        assert_eq!(recover(&storage).unwrap().0, batches(1..=30), "cut at {size}");
    }
}

#[test]
fn the_cut_leaves_no_stale_byte() {
    let (storage, mut writer) = journal(3);
    storage.fail_sync(1, EIO);
    writer.append(4 - 1, 0, &[0xee; 900]).unwrap_err();
    let end = frames(&storage, FIRST_SEGMENT, 1)[3].0 as usize;
    let storage = storage.crash(Survival::Prefix(700));
    recover(&storage).unwrap();
    let durable = storage.crash(Survival::Nothing).bytes(FIRST_SEGMENT).unwrap();
    assert!(frame::is_blank(&durable[end..]));
    assert_eq!(durable.len() as u64, SEGMENT_BYTES);
}

#[test]
fn every_flipped_bit_of_a_frame_that_is_not_the_last_is_refused() {
    let (whole, _) = journal(16);
    for (name, owner) in [(FIRST_SEGMENT, 1), (SECOND_SEGMENT, 2)] {
        let frames = frames(&whole, name, owner);
        assert!(frames.len() > 2);
        for &(start, header) in frames.iter().filter(|(_, header)| header.epoch < 16) {
            for byte in 0..32 + header.payload_bytes as u64 {
                let storage = whole.crash(Survival::Nothing);
                storage.flip_bit(name, start + byte, (byte % 8) as u8);
                let before = storage.bytes(name);
                assert_eq!(refused_at(&storage), (name.to_owned(), start), "byte {byte} of the frame");
                assert_eq!(storage.bytes(name), before, "a journal that is refused is not touched");
            }
        }
    }
}

#[test]
fn a_final_frame_that_was_sealed_is_not_a_torn_tail() {
    let (whole, mut writer) = journal(4);
    let (start, header) = *frames(&whole, FIRST_SEGMENT, 1).last().unwrap();
    let flip_all = |refuse: bool| {
        for byte in 0..32 + header.payload_bytes as u64 {
            let storage = whole.crash(Survival::Nothing);
            storage.flip_bit(FIRST_SEGMENT, start + byte, (byte % 8) as u8);
            if refuse {
                assert_eq!(refused_at(&storage), (FIRST_SEGMENT.to_owned(), start), "byte {byte}");
            } else {
                assert_eq!(recover(&storage).unwrap().0, batches(1..=3), "byte {byte}");
            }
        }
    };
    flip_all(false);
    writer.seal().unwrap();
    flip_all(true);
}

#[test]
fn a_whole_frame_lost_to_zeros_is_noticed() {
    let (whole, _) = journal(12);
    for (name, owner) in [(FIRST_SEGMENT, 1), (SECOND_SEGMENT, 2)] {
        for (start, header) in frames(&whole, name, owner).into_iter().filter(|(_, header)| header.epoch < 12) {
            let storage = whole.crash(Survival::Nothing);
            storage.overwrite(name, start, &vec![0; header.frame_bytes()]);
            let last_in_file = frames(&whole, name, owner).last().unwrap().0 == start;
            let expected = if last_in_file { (SECOND_SEGMENT.to_owned(), 0) } else { (name.to_owned(), start) };
            assert_eq!(refused_at(&storage), expected);
        }
    }
}

#[test]
fn a_torn_place_before_a_segment_that_was_written_to_is_damage() {
    let (storage, writer) = journal(12);
    assert_eq!(writer.position().segment, 2);
    let first_end =
        frames(&storage, FIRST_SEGMENT, 1).last().map(|(start, header)| start + header.frame_bytes() as u64);
    storage.overwrite(FIRST_SEGMENT, first_end.unwrap(), b"garbage");
    assert_eq!(refused_at(&storage), (FIRST_SEGMENT.to_owned(), first_end.unwrap()));
    // The same when nothing in the later segment can be read.
    storage.overwrite(SECOND_SEGMENT, 0, &[0; SEGMENT_BYTES as usize]);
    storage.overwrite(SECOND_SEGMENT, 500, b"garbage");
    let error = recover(&storage).unwrap_err();
    assert!(error.to_string().contains("journal-00000000000000000002.seg was written after it"), "{error}");
}

#[test]
fn a_missing_segment_is_refused() {
    let (whole, writer) = journal(40);
    let segments = writer.position().segment;
    assert!(segments > 3);
    for missing in 1..=segments {
        let storage = whole.crash(Survival::Nothing);
        storage.remove(&segment::name(missing)).unwrap();
        match recovery_damage(recover_from(&storage, 1, 40)) {
            Damage::MissingStart { from: 1, .. } => assert_eq!(missing, 1),
            Damage::MissingSegment { missing: name, .. } => assert_eq!(name, segment::name(missing)),
            Damage::MissingEnd { reaches: 40, .. } => assert_eq!(missing, segments),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_journal_that_ends_before_what_was_durable_is_refused_and_not_touched() {
    let (storage, _) = journal(4);
    let (start, _) = frames(&storage, FIRST_SEGMENT, 1)[3];
    storage.flip_bit(FIRST_SEGMENT, start + 40, 0);
    let before = storage.bytes(FIRST_SEGMENT);
    let damage = recovery_damage(recover_from(&storage, 1, 4));
    assert!(matches!(damage, Damage::MissingEnd { last: 3, reaches: 4, .. }), "{damage}");
    assert_eq!(storage.bytes(FIRST_SEGMENT), before);
    assert!(matches!(recovery_damage(recover_from(&storage, 6, 0)), Damage::MissingEnd { reaches: 5, .. }));
}

#[test]
fn a_frame_that_reads_well_and_is_not_the_next_is_refused() {
    let cases = [
        (frame::Kind::Batch, 1, 5, FrameError::Epoch { expected: 4, found: 5 }),
        (frame::Kind::Batch, 1, 3, FrameError::Epoch { expected: 4, found: 3 }),
        (frame::Kind::Seal, 1, 2, FrameError::Epoch { expected: 3, found: 2 }),
        (frame::Kind::Batch, 9, 4, FrameError::Owner { expected: 1, found: 9 }),
        (frame::Kind::SnapshotEnd, 1, 4, FrameError::Misplaced(frame::Kind::SnapshotEnd)),
    ];
    for (kind, owner, epoch, expected) in cases {
        let (storage, writer) = journal(3);
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, kind, owner, epoch, b"strange");
        storage.overwrite(FIRST_SEGMENT, writer.position().offset, &bytes);
        match recovery_damage(recover(&storage)) {
            Damage::Frame { found, .. } => assert_eq!(found, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_newer_format_is_named() {
    let (storage, writer) = journal(3);
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, frame::Kind::Batch, 1, 4, b"");
    bytes[8] = 2;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &bytes[8..]);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    storage.overwrite(FIRST_SEGMENT, writer.position().offset, &bytes);
    let message = recover(&storage).unwrap_err().to_string();
    assert!(message.contains("format version 2, written by a newer doorbuster"), "{message}");
}

#[test]
fn an_interrupted_repair_costs_nothing() {
    let (storage, mut writer) = journal(9);
    storage.fail_sync(1, EIO);
    writer.append(10 - 1, 0, &[0xee; 400]).unwrap_err();
    let torn = storage.crash(Survival::Prefix(300));
    torn.create(&segment::name(writer.position().segment + 1), SEGMENT_BYTES).unwrap();
    for changes in 0.. {
        let storage = torn.crash(Survival::Nothing);
        storage.die_after(changes);
        let finished = recover(&storage).is_ok();
        for seed in 0..20 {
            let storage = storage.crash(Survival::Sectors { seed, sector_bytes: 64 });
            assert_eq!(recover(&storage).unwrap().0, batches(1..=9), "died after {changes} changes");
        }
        if finished {
            assert!(changes > 2, "removing, writing and syncing are three changes");
            return;
        }
    }
}

#[test]
fn trimming_removes_what_is_before_and_leaves_the_rest_readable() {
    let (storage, mut writer) = journal(60);
    let all = segment::list(&storage).unwrap();
    for keep_from in 1..=61 {
        let log = FileLog::new(Arc::new(storage.clone()), settings());
        let removed = log.trim(keep_from).unwrap();
        assert_eq!(removed.bytes, removed.units as u64 * SEGMENT_BYTES);
        assert_eq!(recover_from(&storage, keep_from, 60).unwrap().0, batches(keep_from..=60));
        let left = segment::list(&storage).unwrap();
        let second_left = left.get(1).and_then(|&id| segment::first_epoch(&storage, id).unwrap());
        assert!(second_left.is_none_or(|first| first >= keep_from), "nothing more could go");
    }
    assert_eq!(segment::list(&storage).unwrap(), all[all.len() - 1..], "the last segment always stays");
    append_to(&mut writer, 90);
    assert_eq!(recover_from(&storage, 61, 90).unwrap().0, batches(61..=90));
    assert!(matches!(recovery_damage(recover(&storage)), Damage::MissingStart { from: 1, .. }));
}

/// The first batch of a new segment is being written, and everything before it is done with.
#[test]
fn trimming_never_leaves_only_what_is_not_yet_durable() {
    let (storage, mut writer) = journal(0);
    let first_of_second = (1..).find(|&epoch| {
        storage.fail_sync(if writer.position().offset > 1500 { 1 } else { 2 }, EIO);
        writer.append(epoch - 1, 0, &[1; 500]).is_err()
    });
    let in_flight = first_of_second.unwrap();
    assert_eq!(writer.position().segment, 2);
    trim(&storage, in_flight);
    let storage = storage.crash(Survival::Nothing);
    let (found, tail) = recover_from(&storage, in_flight, in_flight - 1).unwrap();
    assert_eq!((found, tail.last_epoch), (vec![], in_flight - 1));
}
