use super::*;

fn store(storage: &MemoryStorage) -> FileSnapshots {
    FileSnapshots::new(Arc::new(storage.clone()))
}

fn latest(storage: &MemoryStorage) -> Result<Option<Box<dyn SnapshotReader>>, SnapshotError> {
    store(storage).newest()
}

fn chunk(number: u64) -> Vec<u8> {
    vec![number as u8; (number as usize * 1000) % 5000]
}

fn write(storage: &MemoryStorage, first: Epoch, last: Epoch, chunks: u64) -> Result<SnapshotSummary, SnapshotError> {
    let mut writer = store(storage).begin(first)?;
    for number in 1..=chunks {
        writer.chunk(&chunk(number))?;
    }
    writer.finish(last)
}

fn read(mut reader: Box<dyn SnapshotReader>) -> Result<Vec<Vec<u8>>, SnapshotError> {
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        chunks.push(chunk.to_vec());
    }
    Ok(chunks)
}

#[test]
fn a_crash_at_every_step_leaves_the_old_snapshot_or_the_new_one() {
    let before = MemoryStorage::new();
    write(&before, 3, 4, 20).unwrap();
    let mut steps = 0;
    loop {
        let storage = before.crash(Survival::Nothing);
        storage.die_after(steps);
        let finished = write(&storage, 8, 9, 900).is_ok();
        for survival in [Survival::Nothing, Survival::Everything, Survival::Sectors { seed: steps, sector_bytes: 512 }]
        {
            let storage = storage.crash(survival);
            let reader = latest(&storage).unwrap().unwrap();
            let expected = if finished { (8, 900) } else { (3, 20) };
            assert_eq!((reader.summary().first_epoch, reader.summary().chunks), expected, "after {steps} changes");
            assert_eq!(read(reader).unwrap().len() as u64, expected.1);
            assert_eq!(write(&storage, 10, 10, 3).unwrap().chunks, 3, "the next one is not in the way of the last");
            assert!(storage.list().unwrap().iter().all(|name| !name.ends_with(".tmp")));
        }
        if finished {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 9, "create, seven writes or so, sync, rename: {steps}");
}

#[test]
fn every_flipped_bit_of_a_published_snapshot_is_refused() {
    let whole = MemoryStorage::new();
    write(&whole, 3, 4, 3).unwrap();
    let name = snapshot::name(3);
    let frames = frames(&whole, &name, 3);
    assert_eq!(frames.len(), 4);
    for &(start, header) in &frames {
        for byte in (0..32 + header.payload_bytes as u64).filter(|byte| byte % 97 == 0 || *byte < 40) {
            let storage = whole.crash(Survival::Nothing);
            storage.flip_bit(&name, start + byte, (byte % 8) as u8);
            match latest(&storage).map(|reader| read(reader.unwrap())) {
                Err(SnapshotError::Damaged(cause)) | Ok(Err(SnapshotError::Damaged(cause))) => {
                    let damage = cause.downcast_ref::<Damage>().expect("files say what is damaged");
                    assert_eq!((damage.file(), damage.offset()), (name.as_str(), Some(start)));
                }
                other => panic!("byte {byte} of the frame at {start}: {:?}", other.map(|read| read.map(|_| ()))),
            }
        }
    }
    for size in (0..frames[3].0 + 48).step_by(7) {
        let storage = whole.crash(Survival::Nothing);
        storage.truncate(&name, size);
        assert!(matches!(latest(&storage), Err(SnapshotError::Damaged(_))), "cut at {size}");
    }
}

#[test]
fn a_damaged_snapshot_is_never_passed_over_for_an_older_one() {
    let storage = MemoryStorage::new();
    write(&storage, 3, 4, 3).unwrap();
    write(&storage, 8, 9, 3).unwrap();
    storage.truncate(&snapshot::name(8), 100);
    let message = latest(&storage).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("snapshot-00000000000000000008.snap is damaged at byte"), "{message}");
    assert!(message.contains("if an older snapshot and"), "{message}");
}

#[test]
fn a_full_disk_leaves_the_old_snapshot() {
    let storage = MemoryStorage::new();
    write(&storage, 3, 4, 3).unwrap();
    storage.fail_write(1, ENOSPC);
    assert!(matches!(write(&storage, 8, 9, 3), Err(SnapshotError::Failed(_))));
    store(&storage).discard_unfinished().unwrap();
    assert_eq!(storage.list().unwrap(), [snapshot::name(3)]);
    assert_eq!(latest(&storage).unwrap().unwrap().summary().first_epoch, 3);
}
