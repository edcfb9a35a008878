//! PostgreSQL as the only store: the stock in a row, taken by an UPDATE that checks it, and the reservation inserted by the
//! same statement; through a pool.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use tokio_postgres::NoTls;

use crate::{
    children::{Process, free_address},
    front::Outcome,
};

const SCHEMA: &str = "
    CREATE TABLE items (sku text PRIMARY KEY, available bigint NOT NULL CHECK (available >= 0)) WITH (fillfactor = 50);
    CREATE TABLE reservations (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), customer text NOT NULL, sku text NOT NULL, quantity int NOT NULL,
        state text NOT NULL DEFAULT 'held', expires_at timestamptz NOT NULL DEFAULT now() + interval '10 minutes');
    CREATE INDEX ON reservations (expires_at);
    INSERT INTO items VALUES ('sku-0', 1000000000);";

const RESERVE: &str = "
    WITH taken AS (UPDATE items SET available = available - $3 WHERE sku = $2 AND available >= $3 RETURNING sku)
    INSERT INTO reservations (customer, sku, quantity) SELECT $1, sku, $3::bigint::int FROM taken";

/// Connections of each worker.
const POOL: usize = 16;

/// Starts a cluster of its own in this directory. PostgreSQL refuses to run as root: then it runs as nobody.
pub fn start(directory: &Path) -> anyhow::Result<(Process, String)> {
    let programs = programs()?;
    let (data, address) = (directory.join("postgres"), free_address()?);
    let as_nobody = rustix::process::geteuid().is_root();
    let command = |program: &str| {
        let program = programs.join(program);
        if !as_nobody {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
        command
    };
    fs::create_dir_all(&data)?;
    if as_nobody {
        // The way to it must be open, and the directory nobody's.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        let made = Command::new("chown").arg("nobody:nogroup").arg(&data).status()?;
        ensure!(made.success(), "chown of {}: {made}", data.display());
    }
    let made =
        command("initdb").args(["--auth=trust", "--username=postgres", "--no-sync", "-D"]).arg(&data).output()?;
    ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let mut serve = command("postgres");
    serve.arg("-D").arg(&data).args(["-p", &address.port().to_string(), "-c", "listen_addresses=127.0.0.1"]);
    serve.args(["-c", "shared_buffers=512MB", "-c", "max_connections=200", "-c", "max_wal_size=4GB"]);
    serve.arg("-c").arg(format!("unix_socket_directories={}", data.display()));
    let process = Process::start("postgres", serve, address)?;
    let url = url(address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = loop {
            // It answers before it is ready.
            match tokio_postgres::connect(&url, NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    break client;
                }
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        };
        client.batch_execute(SCHEMA).await
    })?;
    Ok((process, url))
}

fn url(address: SocketAddr) -> String {
    format!("host={} port={} user=postgres dbname=postgres", address.ip(), address.port())
}

/// Debian keeps each version's programs in a directory of its own.
fn programs() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("is Debian's postgresql installed?")?;
    let newest = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).max();
    newest.context("no version of PostgreSQL in /usr/lib/postgresql")
}

/// A worker's pool.
pub struct Client {
    pool: Pool,
}

impl Client {
    pub async fn connect(url: String) -> anyhow::Result<Self> {
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(url.parse()?, NoTls, manager);
        Ok(Self { pool: Pool::builder(manager).max_size(POOL).build()? })
    }

    pub async fn reserve(&self, customer: &str, sku: &str, quantity: u32) -> anyhow::Result<Outcome> {
        let client = self.pool.get().await?;
        let statement = client.prepare_cached(RESERVE).await?;
        let taken = client.execute(&statement, &[&customer, &sku, &i64::from(quantity)]).await?;
        Ok(if taken == 1 { Outcome::Granted } else { Outcome::SoldOut })
    }
}
