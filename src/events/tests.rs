//! The feed over a journal in memory, without a socket.

use std::{sync::Arc, thread, time::Duration};

use super::*;
use crate::{
    engine::Engine,
    journal::{CROWD_INTERVAL, Committer, CommitterSettings, MemoryStorage, Storage, Writer, WriterSettings, replay},
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
fn lived() -> (Arc<Engine>, Arc<dyn Storage>) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let tail = replay(&*storage, 1, 0, |_, _| Ok::<_, std::convert::Infallible>(())).unwrap();
    let now = std::time::Instant::now;
    let writer = Writer::open(storage.clone(), &tail, WriterSettings { segment_bytes: 1 << 16, now }).unwrap();
    let engine = Arc::new(Engine::new(Default::default()));
    let settings =
        CommitterSettings { flush_interval: None, crowd_interval: CROWD_INTERVAL, seal_after: Duration::MAX, now };
    let mut committer = Committer::new(engine.clone(), writer, settings);
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
        let asked = Reserve { sale, customer: &customer, lines, hold_seconds: None, reference: None, key: None };
        engine.reserve(NOON, &asked, number as u64).value.unwrap();
    }
    committer.step().unwrap();
    (engine, storage)
}

/// Lines up to where all that is there was told.
async fn read(events: &Events, start: Start, filter: Filter, lines: usize) -> Vec<String> {
    let mut followed = events.follow(start, Format::Lines, filter).await.unwrap();
    let mut text = String::new();
    while text.lines().count() < lines {
        text.push_str(std::str::from_utf8(&followed.pieces.recv().await.unwrap()).unwrap());
    }
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_filter_leaves_out_whole_sales_and_changes_no_cursor() {
    let (engine, storage) = lived();
    let telemetry = Arc::new(Telemetry::new(&["unknown"], crate::telemetry::Bounds { items_max: 10, sales_max: 10 }));
    let settings = Settings { readers_max: 4, stall_time: Duration::from_secs(9) };
    let (hub, events, stop) = Hub::new(Parts { engine, storage, telemetry }, settings);
    let thread = thread::spawn(|| hub.run());
    let test = async {
        let all = read(&events, Start::After(Cursor::BEGINNING), Arc::new(|_| true), 14).await;
        assert_eq!(all.len(), 14, "{all:#?}");
        for sale in ["one", "two"] {
            let expected: Vec<_> =
                all.iter().filter(|line| line.contains(&format!("/v1/sales/{sale}\""))).cloned().collect();
            assert_eq!(expected.len(), 7);
            let only: Filter = Arc::new(move |id| id == Some(sale));
            let told = read(&events, Start::After(Cursor::BEGINNING), only.clone(), 7).await;
            assert_eq!(told, expected);
            // A cursor of the other sale is as good as one's own.
            let behind = Cursor::at(2, 3);
            let rest = expected.iter().filter(|line| {
                let (_, rest) = line.split_once("\"id\":\"2.").unwrap_or(("", "0\""));
                rest.split('"').next().unwrap().parse::<u32>().unwrap() > 3
            });
            let rest: Vec<_> = rest.cloned().collect();
            assert_eq!(read(&events, Start::After(behind), only, rest.len()).await, rest);
        }
        let nobody = events.follow(Start::After(Cursor::at(2, 10)), Format::Lines, Arc::new(|_| true)).await;
        assert!(matches!(nobody, Err(Refused::Unknown(_))), "the last place of the batch is 9");
    };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
    stop.send(true).unwrap();
    thread.join().unwrap();
}
