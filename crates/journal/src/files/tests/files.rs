use std::fs;

use super::*;

fn storage(directory: &tempfile::TempDir) -> Arc<dyn Storage> {
    Arc::new(DirectoryStorage::open(directory.path().join("data")).unwrap())
}

fn read_back(storage: &dyn Storage) -> (Batches, Tail) {
    let mut batches = Batches::new();
    let tail = replay(storage, 1, 0, |epoch, payload| {
        batches.push((epoch, payload.to_vec()));
        Ok::<_, Infallible>(())
    });
    (batches, tail.unwrap())
}

#[test]
fn the_journal_lives_in_real_files() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(&directory);
    let (_, tail) = read_back(storage.as_ref());
    let mut writer = open_writer(storage.clone(), &tail);
    append_to(&mut writer, 50);
    let mut reader = Reader::new(storage.clone(), 0);
    for epoch in 1..=50 {
        let batch = reader.next(50).unwrap().unwrap();
        assert_eq!((batch.epoch, batch.payload), (epoch, &payload(epoch)[..]));
    }
    drop(writer);

    let (found, tail) = read_back(storage.as_ref());
    assert_eq!(found, batches(1..=50));
    append_to(&mut open_writer(storage.clone(), &tail), 60);
    assert_eq!(read_back(storage.as_ref()).0, batches(1..=60));
}

#[test]
fn a_torn_file_is_repaired_and_a_damaged_one_refused() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(&directory);
    let (_, tail) = read_back(storage.as_ref());
    let mut writer = open_writer(storage.clone(), &tail);
    append_to(&mut writer, 5);
    let file = directory.path().join("data").join(FIRST_SEGMENT);
    let whole = fs::read(&file).unwrap();
    assert_eq!(whole.len() as u64, SEGMENT_BYTES, "preallocated, and never grown");

    let mut torn = whole.clone();
    torn[writer.position().offset as usize - 9] ^= 1;
    fs::write(&file, torn).unwrap();
    assert_eq!(read_back(storage.as_ref()).0, batches(1..=4));

    let mut damaged = whole;
    damaged[40] ^= 1;
    fs::write(&file, damaged).unwrap();
    let damage = recovery_damage(replay(storage.as_ref(), 1, 0, |_, _| Ok::<_, Infallible>(())));
    assert!(matches!(damage, Damage::Frame { offset: 0, .. }), "{damage}");
}

#[test]
fn files_are_what_the_seam_says() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(&directory);
    let file = storage.create("one", 3 << 20).unwrap();
    assert_eq!(file.size().unwrap(), 3 << 20);
    let mut bytes = vec![1; 4 << 20];
    assert_eq!(file.read_full_at(0, &mut bytes).unwrap(), 3 << 20);
    assert!(frame::is_blank(&bytes[..3 << 20]));
    assert!(storage.create("one", 1).is_err(), "it must not exist yet");
    let empty = storage.create("two", 0).unwrap();
    empty.write_all_at(5, b"grown").unwrap();
    empty.sync().unwrap();
    assert_eq!(empty.size().unwrap(), 10);
    storage.rename("two", "one").unwrap();
    assert_eq!(storage.list().unwrap(), ["one"]);
    assert_eq!(storage.open("one").unwrap().size().unwrap(), 10);
    storage.remove("one").unwrap();
    assert!(storage.open("one").is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound));
}
