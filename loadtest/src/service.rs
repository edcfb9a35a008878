//! Doorbuster itself: built for release from this checkout, started on ports and a directory of its own.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::children::{Process, free_address};

const READY_TIME: Duration = Duration::from_secs(30);
/// A million holds that were extended at once are as many rows to change.
const SETTLE_TIME: Duration = Duration::from_secs(300);

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

/// A running service.
pub struct Service {
    pub process: Process,
    pub address: SocketAddr,
    pub ops: SocketAddr,
}

impl Service {
    /// Starts it with its data in `directory/data` and this in its environment, over its defaults; waits until it is ready.
    pub fn start(binary: &Path, directory: &Path, environment: &[(&str, String)]) -> anyhow::Result<Self> {
        let (address, ops) = (free_address()?, free_address()?);
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data").arg(directory.join("data"));
        command.args(["--listen", &address.to_string(), "--ops-listen", &ops.to_string()]);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let process = Process::start("doorbuster", command, address)?;
        // It listens before it has read what is there and opened its store.
        let begin = Instant::now();
        while !call(ops, "GET", "/readyz", "").is_ok_and(|(status, _)| status == 200) {
            ensure!(begin.elapsed() < READY_TIME, "doorbuster was not ready within {READY_TIME:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { process, address, ops })
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
        let begin = Instant::now();
        while begin.elapsed() < SETTLE_TIME {
            if self.metric("doorbuster_store_backlog_bytes")? == 0.0 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("the store did not catch up within {SETTLE_TIME:?}")
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
