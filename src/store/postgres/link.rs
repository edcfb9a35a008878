//! The connection: how it is made, and the time limit on every use of it.
//!
//! Invariant: nothing waits for the server longer than its limit, or past the time to stop. A failed link is dropped, and the
//! server rolls back; no link is used after an error.
//!
//! Statements are unnamed, or named and closed within one transaction, and settings are those of one transaction: so a
//! pooler may give each transaction another session (PgBouncer, `pool_mode = transaction`).

use std::{
    fs,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};
use tokio_postgres::{
    Client, NoTls, Row,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{error::PostgresError, url::PostgresUrl};

/// How often a wait looks whether the service is stopping.
const STOP_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// An idle connection is probed after so long: firewalls forget those that nobody uses.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

#[derive(Debug, Clone)]
pub struct PostgresSettings {
    pub url: PostgresUrl,
    /// In place of the URL's.
    pub password: Option<Password>,
    /// Authorities of the server's certificate, in PEM; None: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take to be made.
    pub connect_time: Duration,
    /// How long one statement may take, the server's work and the network's together.
    pub statement_time: Duration,
    /// How long the store may go on catching up once the service stops.
    pub drain_time: Duration,
}

#[derive(Clone)]
pub enum Password {
    Given(String),
    /// Its first line; read at each connection.
    File(PathBuf),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// A connection to the database. Dropped as a whole; see `close`.
pub(super) struct Link {
    client: Client,
    patience: Arc<Patience>,
    statement_time: Duration,
    driver: JoinHandle<()>,
}

/// Ends every wait when the service has been stopping for so long.
#[derive(Debug)]
pub(super) struct Patience {
    stop: Arc<AtomicBool>,
    drain_time: Duration,
    stopping_since: OnceLock<Instant>,
}

impl Patience {
    pub(super) fn new(stop: Arc<AtomicBool>, drain_time: Duration) -> Self {
        Self { stop, drain_time, stopping_since: OnceLock::new() }
    }

    async fn run_out(&self) {
        while !self.stop.load(Ordering::Acquire) {
            tokio::time::sleep(STOP_LOOK_INTERVAL).await;
        }
        let since = *self.stopping_since.get_or_init(Instant::now);
        tokio::time::sleep_until(since + self.drain_time).await;
    }

    async fn within<T, E: Into<PostgresError>>(
        &self,
        what: &'static str,
        limit: Duration,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, PostgresError> {
        tokio::select! {
            done = work => done.map_err(Into::into),
            () = tokio::time::sleep(limit) => Err(PostgresError::TimedOut { what, limit }),
            () = self.run_out() => Err(PostgresError::Stopping { what }),
        }
    }
}

impl Link {
    pub(super) async fn open(settings: &PostgresSettings, patience: Arc<Patience>) -> Result<Self, PostgresError> {
        let mut config = settings.url.config();
        match &settings.password {
            None => {}
            Some(Password::Given(text)) => drop(config.password(text)),
            Some(Password::File(path)) => {
                let unreadable = |error| PostgresError::Setup(format!("the password file {}: {error}", path.display()));
                let text = fs::read_to_string(path).map_err(unreadable)?;
                let password = text.lines().next().filter(|line| !line.is_empty()).ok_or_else(|| {
                    PostgresError::Setup(format!("the password file {} holds no password", path.display()))
                })?;
                config.password(password);
            }
        }
        if config.get_application_name().is_none() {
            config.application_name("doorbuster");
        }
        config
            .connect_timeout(settings.connect_time)
            .tcp_user_timeout(settings.statement_time)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
        let limit = settings.connect_time;
        // One runtime per link drives the connection: whenever this side waits, it goes on.
        let (client, driver) = if settings.url.tls() {
            let tls = MakeRustlsConnect::new(tls(settings)?);
            let (client, connection) = patience.within("connecting", limit, config.connect(tls)).await?;
            (client, tokio::spawn(async { drop(connection.await) }))
        } else {
            let (client, connection) = patience.within("connecting", limit, config.connect(NoTls)).await?;
            (client, tokio::spawn(async { drop(connection.await) }))
        };
        Ok(Self { client, patience, statement_time: settings.statement_time, driver })
    }

    /// Closes the socket now, whatever is under way on it: a server that waits for us lets its locks go.
    pub(super) async fn close(self) {
        drop(self.client);
        self.driver.abort();
        let _ = self.driver.await;
    }

    /// Statements without parameters, as one message.
    pub(super) async fn batch(&self, what: &'static str, sql: &str) -> Result<(), PostgresError> {
        self.patience.within(what, self.statement_time, self.client.batch_execute(sql)).await
    }

    /// Says how many rows were touched.
    pub(super) async fn execute(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<u64, PostgresError> {
        self.patience.within(what, self.statement_time, self.client.execute_typed(sql, parameters)).await
    }

    pub(super) async fn query(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, PostgresError> {
        self.patience.within(what, self.statement_time, self.client.query_typed(sql, parameters)).await
    }

    /// A binary COPY whose rows `write` writes. Says how many there were.
    pub(super) async fn copy<E: From<PostgresError>>(
        &self,
        what: &'static str,
        sql: &str,
        types: &[Type],
        write: impl AsyncFnOnce(Copying<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let work = async {
            let sink = self.client.copy_in(sql).await.map_err(PostgresError::from)?;
            let mut writer = std::pin::pin!(BinaryCopyInWriter::new(sink, types));
            write(Copying(writer.as_mut())).await?;
            Ok(writer.finish().await.map_err(PostgresError::from)?)
        };
        // The rows' own error passes through the limit untouched.
        let done = async { Ok::<_, PostgresError>(work.await) };
        self.patience.within(what, self.statement_time, done).await?
    }

    pub(super) fn statement_time(&self) -> Duration {
        self.statement_time
    }
}

/// Takes the rows of a COPY.
pub(super) struct Copying<'a>(Pin<&'a mut BinaryCopyInWriter>);

impl Copying<'_> {
    pub(super) async fn row(&mut self, values: &[&(dyn ToSql + Sync)]) -> Result<(), PostgresError> {
        self.0.as_mut().write(values).await.map_err(PostgresError::from)
    }
}

/// Files are read at each connection: authorities are replaced while the service runs.
fn tls(settings: &PostgresSettings) -> Result<ClientConfig, PostgresError> {
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(path) => {
            let unusable = |error: String| PostgresError::Setup(format!("store.ca_file {}: {error}", path.display()));
            let read = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
            for certificate in read {
                let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unusable("holds no certificate".to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let told =
                    "this system trusts no certificate authorities: install ca-certificates, or set store.ca_file";
                return Err(PostgresError::Setup(told.to_owned()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3");
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
