//! TLS of the API: certificate and key from files, and client certificates if configured.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
        server::{VerifierBuilderError, WebPkiClientVerifier},
    },
    server::TlsStream,
};

/// Protocols that are spoken, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The service's certificate, followed by the intermediate certificates.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Authorities of client certificates; None: callers need none.
    pub client_authority: Option<PathBuf>,
}

/// Why TLS cannot be served with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: pem::Error },
    #[error("{path}: holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("{certificate} and {key} cannot be used together: {source}")]
    Identity { certificate: PathBuf, key: PathBuf, source: tokio_rustls::rustls::Error },
    #[error("{path}: {ignored} of its certificates cannot be read")]
    Unreadable { path: PathBuf, ignored: usize },
    #[error("{path}: {source}")]
    Authority { path: PathBuf, source: VerifierBuilderError },
}

/// The configuration for new connections; replaced as a whole.
pub struct Tls(ArcSwap<ServerConfig>);

impl Tls {
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::new(read(files)?)))
    }

    /// Reloads the files. An error changes nothing.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), TlsError> {
        self.0.store(read(files)?);
        Ok(())
    }

    /// Does the handshake; None if it fails or takes too long.
    pub async fn receive(&self, stream: TcpStream, time_max: Duration) -> Option<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.0.load_full());
        tokio::time::timeout(time_max, acceptor.accept(stream)).await.ok()?.ok()
    }
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let TlsFiles { certificate, key, client_authority } = files;
    let certificates = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File { path: key.clone(), source })?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3");
    let builder = match client_authority {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(verifier(path)?),
    };
    let mut config = builder.with_single_cert(certificates, private).map_err(|source| TlsError::Identity {
        certificate: certificate.clone(),
        key: key.clone(),
        source,
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = |source| TlsError::File { path: path.to_owned(), source };
    let read = CertificateDer::pem_file_iter(path).map_err(file)?;
    let certificates = read.collect::<Result<Vec<_>, _>>().map_err(file)?;
    if certificates.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned() }) } else { Ok(certificates) }
}

fn verifier(path: &Path) -> Result<Arc<dyn tokio_rustls::rustls::server::danger::ClientCertVerifier>, TlsError> {
    let authority = |source| TlsError::Authority { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(certificates(path)?);
    if ignored > 0 {
        return Err(TlsError::Unreadable { path: path.to_owned(), ignored });
    }
    let provider = Arc::new(ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(authority)
}
