//! Doorbuster's setup for measurements: its configuration and its sale.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, ensure};
pub use doorbuster_loadtest::service::{Service, binary, call};

/// The sale that everything is measured in.
pub const SALE: &str = "measured";

/// How it is set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Answers wait for the disk.
    pub durable: bool,
    pub items: u64,
    pub stock: u64,
    /// A phase, three pools of rising prices for each item, and a customer's limit.
    pub rules: bool,
    /// Quotas of customers and of the sale, wide enough to let everybody in.
    pub quotas: bool,
    /// None: as many as there are cores.
    pub workers: Option<usize>,
    /// A store that cannot be reached: what is written for it waits in the journal, and costs nothing meanwhile.
    pub store_away: bool,
    pub hold_seconds: u64,
    /// None: as long as is the default.
    pub retention_seconds: Option<u64>,
}

impl Setup {
    pub const DURABLE: Self = Self {
        durable: true,
        items: 1,
        stock: 1_000_000_000,
        rules: false,
        quotas: false,
        workers: None,
        store_away: false,
        hold_seconds: 3600,
        retention_seconds: None,
    };
}

/// Starts the service and opens its sale.
pub fn start(binary: &Path, directory: &Path, setup: &Setup) -> anyhow::Result<Service> {
    let service = start_again(binary, directory, setup)?;
    put_sale(&service, setup)?;
    Ok(service)
}

/// Starts the service on what is in its directory.
pub fn start_again(binary: &Path, directory: &Path, setup: &Setup) -> anyhow::Result<Service> {
    let ack = if setup.durable { "durable" } else { "buffered" };
    let mut environment = vec![("DOORBUSTER_JOURNAL__ACK", ack.to_owned())];
    if let Some(workers) = setup.workers {
        environment.push(("DOORBUSTER_SERVER__WORKERS", workers.to_string()));
    }
    if setup.quotas {
        environment.push(("DOORBUSTER_RATE_LIMITS__CUSTOMER", "1000/1s".to_owned()));
        environment.push(("DOORBUSTER_RATE_LIMITS__SALE", "10000000/1s".to_owned()));
    }
    if let Some(seconds) = setup.retention_seconds {
        environment.push(("DOORBUSTER_ENGINE__RETENTION_SECONDS", seconds.to_string()));
    }
    if setup.store_away {
        // Nobody answers at port 1.
        environment.push(("DOORBUSTER_STORE__URL", "postgres://nobody@127.0.0.1:1/nothing".to_owned()));
    }
    Service::start(binary, directory, &environment)
}

/// Three steps of a ladder. The first is empty soon, so that requests draw from the second.
fn ladder(stock: u64) -> String {
    let steps = [stock.min(1000), stock.saturating_sub(1000) / 2];
    let steps = [steps[0], steps[1], stock - steps[0] - steps[1]];
    let pools = steps.iter().enumerate().map(|(step, units)| {
        let amount = 9900 + step * 5000;
        format!(r#"{{"id":"step-{step}","initial_stock":{units},"price":{{"amount":{amount},"currency":"EUR"}}}}"#)
    });
    format!(r#","pools":[{}]"#, pools.collect::<Vec<_>>().join(","))
}

fn put_sale(service: &Service, setup: &Setup) -> anyhow::Result<()> {
    let mut items = String::new();
    for number in 0..setup.items {
        let comma = if number == 0 { "" } else { "," };
        let pools = if setup.rules { ladder(setup.stock) } else { String::new() };
        let stock = setup.stock;
        write!(
            items,
            r#"{comma}{{"sku":"sku-{number}","initial_stock":{stock},"price":{{"amount":19900,"currency":"EUR"}}{pools}}}"#
        )?;
    }
    let phases = if setup.rules {
        r#""customer_limit":5,"phases":[{"name":"early","opens_at":"2020-01-01T00:00:00Z","closes_at":"2020-01-02T00:00:00Z","tiers":["gold"],"customer_limit":1},{"name":"all","opens_at":"2020-01-02T00:00:00Z","customer_limit":2}],"#
    } else {
        ""
    };
    let document = format!(
        r#"{{"name":"Measured","opens_at":"2020-01-01T00:00:00Z","closes_at":"2099-01-01T00:00:00Z","hold_seconds":{},{phases}"items":[{items}]}}"#,
        setup.hold_seconds
    );
    let (status, told) = call(service.address, "PUT", &format!("/v1/sales/{SALE}"), &document)?;
    ensure!(status == 201, "PUT of the sale: {status} {told}");
    Ok(())
}

/// `stock = available + held + confirmed` for each item, and nothing sold twice: the service's own word on it.
pub fn check_conservation(service: &Service) -> anyhow::Result<()> {
    held(service).map(drop)
}

/// How many units are held, where stock is conserved.
pub fn held(service: &Service) -> anyhow::Result<u64> {
    let (status, text) = call(service.address, "GET", &format!("/v1/sales/{SALE}"), "")?;
    ensure!(status == 200, "GET of the sale: {status}");
    let sale: serde_json::Value = serde_json::from_str(&text)?;
    let mut held = 0;
    for item in sale["items"].as_array().context("a sale has items")? {
        let units = |name: &str| item[name].as_u64().with_context(|| format!("{name} of an item"));
        let whole = units("available")? + units("held")? + units("confirmed")?;
        ensure!(units("stock")? == whole, "stock is not conserved: {item}");
        held += units("held")?;
    }
    Ok(held)
}
