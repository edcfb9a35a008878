//! The feed over a journal in memory, without a socket.

use std::{sync::Arc, thread, time::Duration};

use super::*;
use crate::{
    clock::Monotonic,
    engine::Engine,
    journal::{Committer, CommitterSettings, GATHER_INTERVAL, Log, memory::MemoryLog},
    sale::{
        audit::Actor,
        command::{AskedLine, Reserve},
        settings::SaleSettings,
        time::Timestamp,
    },
    telemetry::Telemetry,
};

const NOON: Timestamp = Timestamp::from_millis(1_795_852_800_000);

/// Two sales; the holds of both in one batch, which sells both out.
fn lived() -> (Arc<Engine>, Arc<dyn Log>) {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new());
    log.recover(1, 0, |_, _| Ok::<_, std::convert::Infallible>(())).unwrap();
    let engine = Arc::new(Engine::new(Default::default()));
    let settings =
        CommitterSettings { flush_interval: None, gather_interval: GATHER_INTERVAL, seal_after: Duration::MAX };
    let mut committer = Committer::new(engine.clone(), log.clone(), Arc::new(Monotonic), settings);
    for sale in ["one", "two"] {
        let text = format!(
            r#"{{"id":"{sale}","name":"S","opens_at":"2026-01-01T00:00:00Z","closes_at":"2027-01-01T00:00:00Z",
                "hold_seconds":60,"items":[{{"sku":"tv","initial_stock":4}}]}}"#
        );
        let settings: SaleSettings = serde_json::from_str(&text).unwrap();
        engine.put_sale(NOON, Actor::Anybody, &settings).value.unwrap();
    }
    committer.step().unwrap();
    for number in 0..8 {
        let (customer, sale) = (format!("customer-{number}"), ["one", "two"][number % 2]);
        let lines = [AskedLine { sku: "tv", units: 1 }].into_iter().collect();
        let asked =
            Reserve { sale, customer: &customer, lines, hold_seconds: None, reference: None, key: None, extras: None };
        engine.reserve(NOON, &asked, number as u64).value.unwrap();
    }
    committer.step().unwrap();
    (engine, log)
}

/// Lines up to where all that is there was told.
async fn read(events: &Events, start: Start, filter: Filter, sees: &str, lines: usize) -> Vec<String> {
    let cursors = events.cursors_of([sees]);
    let mut followed = events.follow(start, Format::Lines, filter, cursors).await.unwrap();
    let mut text = String::new();
    while text.lines().count() < lines {
        text.push_str(std::str::from_utf8(&followed.pieces.recv().await.unwrap()).unwrap());
    }
    text.lines().map(str::to_owned).collect()
}

#[test]
fn each_view_is_told_its_sales_under_cursors_of_its_own() {
    let (engine, log) = lived();
    let telemetry = Arc::new(Telemetry::new(&["unknown"], crate::telemetry::Bounds { items_max: 10, sales_max: 10 }));
    let cursor_key = CursorKey::of_bytes([3; 32]);
    let settings = Settings { readers_max: 4, stall_time: Duration::from_secs(9), cursor_key };
    let (hub, events, stop) = Hub::new(Parts { engine, log, telemetry }, settings);
    let thread = thread::spawn(|| hub.run());
    let position = |cursors: &ViewCursors, line: &str| {
        let cloud: serde_json::Value = serde_json::from_str(line).unwrap();
        cursors.read(cloud["cursor"].as_str().unwrap())
    };
    let without_cursors = |line: &String| {
        let mut cloud: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = cloud["id"].take();
        assert_eq!(id, cloud["cursor"].take());
        cloud
    };
    let test = async {
        let everything = Start::After(Cursor::BEGINNING);
        let all = read(&events, everything, Arc::new(|_, _| true), "*", 14).await;
        assert_eq!(all.len(), 14, "{all:#?}");
        for sale in ["one", "two"] {
            let of_sale = |line: &&String| line.contains(&format!("/v1/sales/{sale}\""));
            let expected: Vec<_> = all.iter().filter(of_sale).map(without_cursors).collect();
            assert_eq!(expected.len(), 7);
            let only: Filter = Arc::new(move |id, _| id == Some(sale));
            let told = read(&events, everything, only.clone(), sale, 7).await;
            assert_eq!(told.iter().map(without_cursors).collect::<Vec<_>>(), expected);
            let own = events.cursors_of([sale]);
            for (index, line) in told.iter().enumerate().take(6) {
                let start = Start::After(position(&own, line).expect("its own cursor"));
                assert_eq!(read(&events, start, only.clone(), sale, 6 - index).await, told[index + 1..]);
            }
            // What one view is told is no cursor to another, of hidden events and of the same ones alike.
            assert!(all.iter().all(|line| position(&own, line).is_none()));
            assert!(told.iter().all(|line| position(&events.cursors_of(["*"]), line).is_none()));
        }
        let (beyond, cursors) = (Start::After(Cursor::at(2, 20)), events.cursors_of(["*"]));
        let nobody = events.follow(beyond, Format::Lines, Arc::new(|_, _| true), cursors).await;
        assert!(matches!(nobody, Err(Refused::Unknown)), "the batch has fewer places");
    };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
    stop.send(true).unwrap();
    thread.join().unwrap();
}
