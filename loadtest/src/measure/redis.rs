//! Redis as a careful team would use it: one script that checks stock and the customer's limit, takes the units, and
//! files the hold under its end.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;

use crate::{
    children::{Process, free_address},
    front::Outcome,
};

pub const SCRIPT: &str = "\
local units = tonumber(ARGV[1])
if tonumber(redis.call('GET', KEYS[1]) or '0') < units then return 0 end
if tonumber(redis.call('GET', KEYS[2]) or '0') + units > tonumber(ARGV[2]) then return -1 end
redis.call('DECRBY', KEYS[1], units)
redis.call('INCRBY', KEYS[2], units)
redis.call('HSET', KEYS[3], 'customer', ARGV[3], 'units', units, 'state', 'held', 'expires_at', ARGV[4])
redis.call('ZADD', KEYS[4], ARGV[4], KEYS[3])
return 1";

/// When an append-only file is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    Always,
    EverySecond,
}

/// Starts Redis with its data in this directory and stock for a thousand million reserves. Gives back the script's name.
pub fn start(directory: &Path, sync: Sync) -> anyhow::Result<(Process, SocketAddr, String)> {
    let address = free_address()?;
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", "", "--appendonly", "yes"]);
    command.args(["--appendfsync", if sync == Sync::Always { "always" } else { "everysec" }]);
    // Rewriting would begin in the middle of one run and not of another.
    command.args(["--auto-aof-rewrite-percentage", "0", "--maxclients", "10000", "--dir"]).arg(directory);
    let process = Process::start("redis-server", command, address).context("is Debian's redis-server installed?")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sha = runtime.block_on(async {
        let mut connection = open(address).await?;
        redis::cmd("SET").arg("stock:sku-0").arg(1_000_000_000).exec_async(&mut connection).await?;
        let sha = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query_async(&mut connection).await?;
        anyhow::Ok(sha)
    })?;
    Ok((process, address, sha))
}

/// The call of the script for one unit, a limit of ten, and a hold of ten minutes.
pub fn arguments(sha: &str, customer: &str) -> Vec<String> {
    static HOLDS: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let hold = HOLDS.fetch_add(1, Ordering::Relaxed);
    let expires_at = now.as_millis() + 600_000;
    let text = |text: &str| text.to_owned();
    vec![
        text("EVALSHA"),
        text(sha),
        text("4"),
        text("stock:sku-0"),
        format!("bought:{customer}"),
        format!("hold:{:012x}-{hold:012x}", now.as_micros()),
        text("expiries"),
        text("1"),
        text("10"),
        text(customer),
        expires_at.to_string(),
    ]
}

/// A worker's connection: requests that are ready together go out together.
pub struct Client {
    connection: redis::aio::MultiplexedConnection,
    sha: String,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let mut connection = open(address).await?;
        let sha = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query_async(&mut connection).await?;
        Ok(Self { connection, sha })
    }

    pub async fn reserve(&self, customer: &str) -> anyhow::Result<Outcome> {
        let arguments = arguments(&self.sha, customer);
        let mut command = redis::cmd(&arguments[0]);
        for argument in &arguments[1..] {
            command.arg(argument);
        }
        let told: i64 = command.query_async(&mut self.connection.clone()).await?;
        Ok(match told {
            1 => Outcome::Granted,
            0 => Outcome::SoldOut,
            _ => Outcome::LimitExceeded,
        })
    }
}

async fn open(address: SocketAddr) -> anyhow::Result<redis::aio::MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://{address}"))?;
    Ok(client.get_multiplexed_async_connection().await?)
}
