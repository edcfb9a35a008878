//! Doorbuster itself: built for release from this checkout, started on ports and a directory of its own.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use crate::children::{Process, free_address};

/// The sale that everything is measured in.
pub const SALE: &str = "measured";

/// How it is set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Answers wait for the disk.
    pub durable: bool,
    pub items: u64,
    pub stock: u64,
    /// Quotas of customers and of the sale, wide enough to let everybody in.
    pub quotas: bool,
}

impl Setup {
    pub const DURABLE: Self = Self { durable: true, items: 1, stock: 1_000_000_000, quotas: false };
}

/// Where the binary is; built first, unless one was named.
pub fn binary(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate stands in the service's checkout")?;
    eprintln!("building doorbuster for release ...");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).current_dir(root).args(["build", "--release", "--locked", "--quiet"]).status()?;
    ensure!(built.success(), "cargo build --release: {built}");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/doorbuster"))
}

/// A running service with its sale open.
pub struct Service {
    pub process: Process,
    pub address: SocketAddr,
    pub ops: SocketAddr,
}

impl Service {
    pub fn start(binary: &Path, directory: &Path, setup: &Setup) -> anyhow::Result<Self> {
        let (address, ops) = (free_address()?, free_address()?);
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data").arg(directory.join("data"));
        command.args(["--listen", &address.to_string(), "--ops-listen", &ops.to_string()]);
        command.env("DOORBUSTER_JOURNAL__ACK", if setup.durable { "durable" } else { "buffered" });
        if setup.quotas {
            command
                .env("DOORBUSTER_RATE_LIMITS__CUSTOMER", "1000/1s")
                .env("DOORBUSTER_RATE_LIMITS__SALE", "10000000/1s");
        }
        let process = Process::start("doorbuster", command, address)?;
        let service = Self { process, address, ops };
        service.put_sale(setup)?;
        Ok(service)
    }

    fn put_sale(&self, setup: &Setup) -> anyhow::Result<()> {
        let mut items = String::new();
        for number in 0..setup.items {
            let comma = if number == 0 { "" } else { "," };
            let stock = setup.stock;
            write!(
                items,
                r#"{comma}{{"sku":"sku-{number}","initial_stock":{stock},"price":{{"amount":19900,"currency":"EUR"}}}}"#
            )?;
        }
        let document = format!(
            r#"{{"name":"Measured","opens_at":"2020-01-01T00:00:00Z","closes_at":"2099-01-01T00:00:00Z","hold_seconds":3600,"items":[{items}]}}"#
        );
        let (status, told) = call(self.address, "PUT", &format!("/v1/sales/{SALE}"), &document)?;
        ensure!(status == 201, "PUT of the sale: {status} {told}");
        Ok(())
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let (status, text) = call(self.ops, "GET", "/metrics", "")?;
        ensure!(status == 200, "GET /metrics: {status}");
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        let value =
            line.and_then(|line| line.rsplit(' ').next()).with_context(|| format!("there is no metric {name}"))?;
        Ok(value.parse()?)
    }

    /// Waits until the store has everything, so that the next measurement does not pay for this one.
    pub fn settle(&self) -> anyhow::Result<()> {
        for _ in 0..600 {
            if self.metric("doorbuster_store_backlog_bytes")? == 0.0 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("the store did not catch up within a minute")
    }

    /// `stock = available + held + confirmed` for each item, and nothing sold twice: the service's own word on it.
    pub fn check_conservation(&self) -> anyhow::Result<()> {
        let (status, text) = call(self.address, "GET", &format!("/v1/sales/{SALE}"), "")?;
        ensure!(status == 200, "GET of the sale: {status}");
        let sale: serde_json::Value = serde_json::from_str(&text)?;
        for item in sale["items"].as_array().context("a sale has items")? {
            let units = |name: &str| item[name].as_u64().with_context(|| format!("{name} of an item"));
            let whole = units("available")? + units("held")? + units("confirmed")?;
            ensure!(units("stock")? == whole, "stock is not conserved: {item}");
        }
        Ok(())
    }
}

/// One small call on a connection of its own.
pub fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer without a status")?;
    Ok((status, body.to_owned()))
}
