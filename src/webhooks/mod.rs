//! Webhooks: each endpoint that is configured is sent the durable changes it wants, signed by the Standard Webhooks scheme.
//!
//! One low-priority thread delivers to all endpoints. Each has a reader of the feed, a queue that decides what is next
//! (`schedule`), connections of its own, and a position in the data directory. Invariants:
//!
//! - Each event is sent at least once, and in order per subject; its id is the same at every attempt.
//! - Nothing waits for an endpoint: neither a request, nor the journal, nor another endpoint.
//! - A position is saved only behind events that were delivered.
//!
//! Time, randomness and waiting are arguments: the thread passes the machine's, and tokio's time can be paused.

mod address;
mod client;
mod connecting;
mod delivering;
mod endpoint;
mod file;
mod pattern;
mod schedule;
mod secrets;
mod status;

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

pub use self::{
    address::Target,
    client::{Failure, FailureKind, Outcome, Sender},
    delivering::{Delivering, Parts, forget_all, start},
    file::FILE,
    pattern::KindPattern,
    secrets::{Secrets, SecretsError, secret_of},
    status::{Endpoint, LastFailure, State, Status, Webhooks},
};
use crate::auth::Pattern;

/// An endpoint as it is configured.
#[derive(Debug, Clone)]
pub struct Settings {
    pub name: String,
    pub target: Target,
    /// Types of events; empty: all.
    pub events: Vec<KindPattern>,
    /// Sales; empty: all, and events without a sale.
    pub sales: Vec<Pattern>,
    pub secret_file: PathBuf,
    /// Authorities of its certificate; None: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    pub park_after: Duration,
    /// For the response headers, connecting included.
    pub timeout: Duration,
    /// The longest pause between two tries.
    pub retry_max: Duration,
    pub deliveries_max: usize,
    pub allow_private_addresses: bool,
}

/// An endpoint cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("webhooks.{name}.secret_file {}: {source}", path.display())]
    Secrets { name: String, path: PathBuf, source: SecretsError },
    #[error("webhooks.{name}.ca_file {}: {detail}", path.display())]
    Authorities { name: String, path: PathBuf, detail: String },
    #[error(
        "this system trusts no certificate authorities, which webhooks.{name} needs: install ca-certificates, or set its \
         ca_file"
    )]
    NoAuthorities { name: String },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("could not start a thread: {0}")]
    Thread(#[source] io::Error),
}

impl Settings {
    pub fn secrets(&self) -> Result<Secrets, Unusable> {
        let failed = |source| Unusable::Secrets { name: self.name.clone(), path: self.secret_file.clone(), source };
        Secrets::load(&self.secret_file).map_err(failed)
    }

    /// What of its files keeps the endpoint from being used.
    pub fn check(&self) -> Vec<Unusable> {
        self.secrets().err().into_iter().chain(self.sender().err()).collect()
    }

    /// Sends to the endpoint. Reads the authorities that it is to be certified by.
    pub fn sender(&self) -> Result<Sender, Unusable> {
        let tls = self.target.is_tls.then(|| self.tls()).transpose()?;
        Ok(Sender::new(self.target.clone(), self.allow_private_addresses, tls, self.timeout, self.deliveries_max))
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, Unusable> {
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            Some(path) => {
                let unusable = |detail: String| {
                    let (name, path) = (self.name.clone(), path.clone());
                    Unusable::Authorities { name, path, detail }
                };
                let text = fs::read(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
                for certificate in CertificateDer::pem_slice_iter(&text) {
                    // The library's error would name its types.
                    let added = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
                    added.ok_or_else(|| {
                        unusable("must hold certificates in PEM, but one of them is damaged".to_owned())
                    })?;
                }
                if roots.is_empty() {
                    return Err(unusable("must hold certificates in PEM, but holds none".to_owned()));
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(Unusable::NoAuthorities { name: self.name.clone() });
                }
            }
        }
        let config: rustls::ConfigBuilder<ClientConfig, _> =
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider knows TLS 1.2 and 1.3");
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }

    /// Whether an event of this sale and type is for the endpoint. Without a sale it is for endpoints of all sales.
    fn wants(&self, sale: Option<&str>, kind: &str) -> bool {
        let of_sale = self.sales.is_empty() || sale.is_some_and(|sale| self.sales.iter().any(|it| it.matches(sale)));
        of_sale && (self.events.is_empty() || self.events.iter().any(|it| it.matches(kind)))
    }
}

#[cfg(test)]
mod tests;
