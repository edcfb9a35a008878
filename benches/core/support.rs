//! Sales and customers to measure with.

use doorbuster::{
    engine::{Engine, Settings},
    sale::{
        audit::Actor,
        command::{AskedLine, Reserve},
        settings::SaleSettings,
        time::Timestamp,
    },
};

pub const NOW: Timestamp = Timestamp::from_millis(1_795_852_800_000);

/// A sale "bench" with so many items, "sku-0" and on.
pub fn settings(items: usize, stock: u64) -> SaleSettings {
    let item = |number| {
        format!(r#"{{"sku":"sku-{number}","initial_stock":{stock},"price":{{"amount":19900,"currency":"EUR"}}}}"#)
    };
    let items: Vec<String> = (0..items).map(item).collect();
    let document = format!(
        r#"{{"id":"bench","name":"Bench","opens_at":"2026-01-01T00:00:00Z","closes_at":"2036-01-01T00:00:00Z",
            "hold_seconds":300,"customer_limit":2,"items":[{}]}}"#,
        items.join(",")
    );
    serde_json::from_str(&document).expect("the document is well formed")
}

pub fn engine(items: usize, stock: u64) -> Engine {
    let engine = Engine::new(Settings::default());
    engine.put_sale(NOW, Actor::Anybody, &settings(items, stock)).value.expect("the document is valid");
    engine
}

pub fn asked<'a>(customer: &'a str, sku: &'a str, key: Option<&'a str>) -> Reserve<'a> {
    let lines = [AskedLine { sku, units: 1 }].into_iter().collect();
    Reserve { sale: "bench", customer, lines, hold_seconds: None, reference: None, key, extras: None }
}

/// Random bits for an id.
pub fn entropy(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

pub fn customers(from: u64, count: u64) -> Vec<String> {
    (from..from + count).map(|number| format!("customer-{number}")).collect()
}
