use super::*;

#[test]
fn each_batch_is_one_sync() {
    let (storage, mut writer) = journal(0);
    append_to(&mut writer, 5);
    assert_eq!(storage.syncs(), 5);
}

#[test]
fn short_writes_are_completed() {
    let storage = MemoryStorage::new();
    storage.shorten_writes(3);
    append_to(&mut writer(&storage), 30);
    let storage = storage.crash(Survival::Nothing);
    assert_eq!(recover(&storage).unwrap().0, batches(1..=30));
}

type Fault = fn(&MemoryStorage, u64, i32);

/// Whatever fails, and whenever: the batch is not acknowledged, nothing after it is tried, and what was acknowledged
/// before is there after the power loss.
#[test]
fn a_failure_is_final() {
    let faults: [Fault; 3] = [MemoryStorage::fail_write, MemoryStorage::fail_sync, MemoryStorage::fail_create];
    for fault in faults {
        for os_error in [ENOSPC, EIO] {
            for nth in 1..=4 {
                let (storage, mut writer) = journal(7);
                fault(&storage, nth, os_error);
                let failed = (8..).find(|&epoch| append(&mut writer, epoch).is_err()).unwrap();
                let syncs = storage.syncs();
                assert!(matches!(writer.append(failed - 1, 0, b"again"), Err(AppendError::Unknown(_))));
                assert!(matches!(writer.seal(), Err(AppendError::Unknown(_))));
                assert_eq!(storage.syncs(), syncs, "a sync is never tried again");
                let found = recover(&storage.crash(Survival::Nothing)).unwrap().0;
                assert_eq!(found, batches(1..=failed - 1));
            }
        }
    }
}

#[test]
fn the_error_names_action_and_file() {
    let (storage, mut writer) = journal(2);
    storage.fail_sync(1, EIO);
    let message = writer.append(2, 0, b"x").unwrap_err().to_string();
    assert!(message.starts_with("cannot sync journal-00000000000000000001.seg: "), "{message}");
}

/// After a failed sync the kernel shows the bytes and no longer means to write them. A restart that read them and a power
/// loss later: they must still be there, because the restart has shown them.
#[test]
fn what_a_recovery_showed_is_durable_even_after_a_failed_sync() {
    let (storage, mut writer) = journal(5);
    storage.fail_sync(1, EIO);
    append(&mut writer, 6).unwrap_err();
    assert_eq!(recover(&storage.crash(Survival::Nothing)).unwrap().0, batches(1..=5));
    assert_eq!(recover(&storage).unwrap().0, batches(1..=6), "only the process died");
    assert_eq!(recover(&storage.crash(Survival::Nothing)).unwrap().0, batches(1..=6));
}

/// Any subset of the sectors that were not synced may survive. What was committed is there, what was not is there whole
/// or not at all, and life goes on, many times over.
#[test]
fn power_losses_at_random_lose_nothing() {
    for seed in 0..400 {
        let mut storage = MemoryStorage::new();
        let mut committed = 0;
        for crash in 0..6 {
            let (found, tail) = recover_from(&storage, 1, committed).unwrap();
            let last = found.len() as Epoch;
            assert!(last == committed || last == committed + 1, "seed {seed}: {last} of {committed}");
            assert_eq!(found, batches(1..=last), "seed {seed}");
            committed = last;
            let mut writer = open_writer(Arc::new(storage.clone()), &tail);
            storage.die_after(1 + (seed * 7 + crash * 13) % 23);
            while append(&mut writer, committed + 1).is_ok() {
                committed += 1;
                if committed % 5 == seed % 5 && writer.seal().is_err() {
                    break;
                }
            }
            let sector_bytes = [16, 64, 512][(seed % 3) as usize];
            storage = storage.crash(Survival::Sectors { seed: seed * 100 + crash, sector_bytes });
        }
    }
}

/// A disk that is full when a segment is made ahead, and has room again when it is needed.
#[test]
fn a_prepared_segment_that_could_not_be_made_is_tried_once_more() {
    let (storage, mut writer) = journal(1);
    storage.fail_create(1, ENOSPC);
    assert!(writer.prepared().step());
    assert_eq!(storage.bytes(SECOND_SEGMENT), None);
    append_to(&mut writer, 100);
    assert_eq!(recover(&storage).unwrap().0, batches(1..=100));
}

#[test]
fn a_prepared_segment_is_made_ahead_and_used() {
    let (storage, mut writer) = journal(1);
    assert!(writer.prepared().step());
    assert_eq!(recover_from(&storage.crash(Survival::Nothing), 1, 1).unwrap().0, batches(1..=1));
    assert_eq!(storage.bytes(SECOND_SEGMENT).unwrap().len() as u64, SEGMENT_BYTES);
    storage.fail_create(1, ENOSPC);
    append_to(&mut writer, 16);
    assert_eq!(writer.position().segment, 2, "no file had to be made");
    assert_eq!(recover(&storage).unwrap().0, batches(1..=16));
}

#[test]
fn a_prepared_segment_too_small_for_a_large_frame_is_replaced() {
    let (storage, mut writer) = journal(1);
    assert!(writer.prepared().step());
    writer.append(1, 0, &[9; 5000]).unwrap();
    assert_eq!(recover(&storage).unwrap().0[1], (2, vec![9; 5000]));
}
