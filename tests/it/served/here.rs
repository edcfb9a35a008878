//! The service inside the test's own process, on a data directory of its own.

use std::{net::SocketAddr, path::Path};

use doorbuster::{
    config::{Config, StoreTarget},
    service::{Running, contract},
    store::{PostgresReader, SqliteStore, StoreReader},
};
use tempfile::TempDir;

use super::{Client, Connection, described, wait_until};

pub struct Service {
    pub config: Config,
    running: Option<Running>,
    api: SocketAddr,
    ops: SocketAddr,
    // Dropped last: the service is stopped by then.
    directory: TempDir,
}

impl Service {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// Starts with what `change` makes of the tests' configuration.
    pub fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = Config::default();
        config.data.dir = directory.path().to_owned();
        config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.server.ops_listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.server.workers = 2;
        config.engine.shards = 4;
        // Small, so that a start is quick.
        config.journal.segment_bytes = 1 << 20;
        config.store.linger_ms = 5;
        config.limits.drain_seconds = 10;
        change(&mut config);
        let running = Running::start(&config).expect("the service starts");
        let (api, ops) = (running.api, running.ops);
        described::learn(api, &contract(&config).to_string());
        Self { config, running: Some(running), api, ops, directory }
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("the service runs")
    }

    pub fn address(&self) -> SocketAddr {
        self.api
    }

    pub fn client(&self) -> Client {
        Client::new(self.api)
    }

    pub fn ops(&self) -> Client {
        Client::unchecked(self.ops)
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.api).expect("a connection")
    }

    /// Takes the service out, for those who stop it themselves.
    pub fn take(&mut self) -> Running {
        self.running.take().expect("the service runs")
    }

    pub fn stop(&mut self) {
        self.take().stop().expect("an orderly end");
    }

    /// Starts again on the same directory, after `stop`.
    pub fn start_again(&mut self) {
        let running = Running::start(&self.config).expect("the service starts again");
        (self.api, self.ops) = (running.api, running.ops);
        described::learn(self.api, &contract(&self.config).to_string());
        self.running = Some(running);
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn store(&self) -> Box<dyn StoreReader> {
        match self.config.store_target() {
            StoreTarget::Sqlite(path) => Box::new(SqliteStore::open_read_only(path).expect("the store can be read")),
            StoreTarget::Postgres(settings) => {
                Box::new(PostgresReader::open(&settings).expect("the store can be read"))
            }
        }
    }

    /// Waits until the store has everything that is durable.
    pub fn wait_for_store(&self) {
        let mut ops = self.ops();
        wait_until("the store has caught up", || ops.get("/readyz").json()["store"]["lag_epochs"] == 0);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // A test that fails has something else to say.
            let _ = running.stop();
        }
    }
}
