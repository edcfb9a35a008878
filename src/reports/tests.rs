use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc as std_mpsc,
    },
    thread,
};

use super::*;
use crate::{clock::ManualClock, store::SqliteStore};

/// A reader of an empty store that waits for a word before it opens it, and counts.
struct Scene {
    reports: Reports,
    words: std_mpsc::Sender<()>,
    opened: Arc<AtomicUsize>,
    _directory: tempfile::TempDir,
}

fn scene(settings: Settings) -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    drop(SqliteStore::open(&path).unwrap());
    let sale = "INSERT INTO sales (id, number, name, opens_at, closes_at, hold_seconds, created_at, updated_at)
                VALUES ('drop', 0, 'Drop', '2026', '2027', 60, '2025', '2025')";
    rusqlite::Connection::open(&path).unwrap().execute_batch(sale).unwrap();
    let (words, heard) = std_mpsc::channel();
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = opened.clone();
    let open = move |_| {
        heard.recv().unwrap();
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(SqliteStore::open_read_only(&path)?) as Box<dyn StoreReader>)
    };
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(7)));
    let parts = Parts { open: Box::new(open), lag: Box::new(|_| (0, 0.0)), clock };
    let (reading, reports) = Reading::new(parts, settings);
    thread::spawn(|| reading.run());
    Scene { reports, words, opened, _directory: directory }
}

fn settings() -> Settings {
    Settings { waiting_max: 2, time: Duration::from_secs(20), kept: Duration::from_secs(600) }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

#[test]
fn so_many_may_wait_and_no_more_and_all_are_answered_by_one_reading() {
    let Scene { reports, words, opened, _directory } = scene(settings());
    block_on(async {
        let (one, other) = (reports.of("drop", None), reports.of("drop", None));
        let third = async {
            tokio::task::yield_now().await;
            let third = reports.of("drop", None).await;
            words.send(()).unwrap();
            third
        };
        let (one, other, third) = tokio::join!(one, other, third);
        assert_eq!(third.err(), Some(Refused::Full));
        assert!(Arc::ptr_eq(&one.unwrap().unwrap(), &other.unwrap().unwrap()));
        // There is room again, and nothing to read.
        assert_eq!(reports.of("drop", None).await.unwrap().unwrap().read_at, Timestamp::from_millis(7));
    });
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

#[test]
fn nobody_waits_longer_than_the_limit() {
    let Scene { reports, words, opened, _directory } =
        scene(Settings { time: Duration::from_millis(30), ..settings() });
    block_on(async {
        assert_eq!(reports.of("drop", None).await.err(), Some(Refused::TooSlow));
        // The thread is still at the first, and the second goes away as well: it is never read for.
        assert_eq!(reports.of("drop", None).await.err(), Some(Refused::TooSlow));
        words.send(()).unwrap();
        // What was read too late for the first is there for the third.
        let mut tries = 0;
        while reports.of("drop", None).await.is_err() {
            tries += 1;
            assert!(tries < 500);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

#[test]
fn a_report_is_read_anew_when_it_is_not_to_be_kept() {
    let Scene { reports, words, opened, _directory } = scene(Settings { kept: Duration::ZERO, ..settings() });
    for _ in 0..3 {
        words.send(()).unwrap();
        block_on(reports.of("drop", None)).unwrap().unwrap();
    }
    words.send(()).unwrap();
    assert!(block_on(reports.of("none", None)).unwrap().is_none());
    assert_eq!(opened.load(Ordering::SeqCst), 4);
}
