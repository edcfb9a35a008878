//! Connections to an endpoint: finds its addresses, checks them, connects, and speaks TLS.
//!
//! Invariants: a connection is made within `timeout` or given up, also when nobody waits for it any longer, because another one was
//! free first; there are never more than so many at a time, those that are being made included; one name is resolved by one thread at
//! a time, so an endpoint whose name server hangs takes no thread from another.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, AlertDescription, CertificateError, ClientConfig, pki_types::ServerName},
};
use tower_service::Service;

use super::address::Target;

/// Makes connections to the one target.
#[derive(Clone)]
pub(super) struct Connector {
    target: Arc<Target>,
    private: bool,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    resolving: Arc<Mutex<()>>,
    /// One for each connection.
    places: Arc<Semaphore>,
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{host} cannot be resolved: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("{}{ip} {why}", resolved(.host, *.ip))]
    Address { host: String, ip: IpAddr, why: &'static str },
    #[error("no connection to {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("TLS with {host} failed: {why}")]
    Tls { host: String, why: String },
    #[error("no connection in time")]
    TimedOut,
}

/// How the address was found, if it is not in the URL itself.
fn resolved(host: &str, ip: IpAddr) -> String {
    if host.parse() == Ok(ip) { String::new() } else { format!("{host} resolves to {ip}: ") }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection in its place.
pub(super) struct Placed {
    stream: Box<dyn Stream>,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Placed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connection for Placed {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Placed>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let made = timeout(connector.timeout, connector.connect()).await;
            made.unwrap_or(Err(ConnectError::TimedOut)).map(TokioIo::new)
        })
    }
}

impl Connector {
    pub(super) fn new(
        target: Target,
        private: bool,
        tls: Option<Arc<ClientConfig>>,
        timeout: Duration,
        connections: usize,
    ) -> Self {
        let (target, places) = (Arc::new(target), Arc::new(Semaphore::new(connections)));
        Self { target, private, tls, timeout, resolving: Arc::default(), places }
    }

    async fn connect(&self) -> Result<Placed, ConnectError> {
        let place = self.places.clone().acquire_owned().await.expect("it is never closed");
        let stream = self.connect_tcp().await?;
        let stream = match &self.tls {
            Some(tls) => self.secure(stream, tls.clone()).await?,
            None => Box::new(stream),
        };
        Ok(Placed { stream, _place: place })
    }

    async fn secure(&self, stream: TcpStream, tls: Arc<ClientConfig>) -> Result<Box<dyn Stream>, ConnectError> {
        let host = &self.target.host;
        let failed = |why| ConnectError::Tls { host: host.clone(), why };
        let name = ServerName::try_from(host.clone()).map_err(|_| failed("the host is not a valid name".to_owned()))?;
        match TlsConnector::from(tls).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(failed(tls_in_words(&error, host))),
        }
    }

    async fn connect_tcp(&self) -> Result<TcpStream, ConnectError> {
        let Target { host, .. } = &*self.target;
        let addresses = self.resolve().await.map_err(|source| ConnectError::Resolve { host: host.clone(), source })?;
        let mut failed = None;
        for address in addresses {
            let ip = address.ip();
            if let Err(why) = self.target.judge(ip, self.private) {
                failed.get_or_insert(ConnectError::Address { host: host.clone(), ip, why });
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // A document is sent at once, whatever was sent before.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(source) => failed = Some(ConnectError::Connect { address, source }),
            }
        }
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
        Err(failed.unwrap_or_else(|| ConnectError::Resolve { host: host.clone(), source: none() }))
    }

    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let guard: OwnedMutexGuard<()> = self.resolving.clone().lock_owned().await;
        let (host, port) = (self.target.host.clone(), self.target.port);
        let resolve = move || {
            let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // Held until the system has answered, also when nobody waits for it any longer.
            drop(guard);
            addresses
        };
        tokio::task::spawn_blocking(resolve).await.map_err(io::Error::other)?
    }
}

/// Why there is no TLS, for people: what is wrong with the certificate, and what to do.
fn tls_in_words(error: &io::Error, host: &str) -> String {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "the endpoint closed the connection".to_owned(),
            _ => error.to_string(),
        };
    };
    match cause {
        rustls::Error::InvalidCertificate(wrong) => certificate_in_words(wrong, host),
        rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. } => {
            "the endpoint does not speak TLS at this port".to_owned()
        }
        rustls::Error::PeerIncompatible(_) | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the endpoint offers no version or cipher in common: TLS 1.2 or 1.3 is needed".to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the endpoint asks for a certificate of the client, which webhooks do not have".to_owned()
        }
        rustls::Error::AlertReceived(_) => "the endpoint refused the connection".to_owned(),
        // A name would be one of the library's types.
        _ => "the endpoint does not keep to the protocol".to_owned(),
    }
}

fn certificate_in_words(wrong: &CertificateError, host: &str) -> String {
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: check the clocks of both machines".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is not for {host}")
        }
        CertificateError::UnknownIssuer => {
            "its certificate is from an authority that is not trusted, or the endpoint does not send \
                                            the certificates in between: set ca_file if it is an authority of your own"
                .to_owned()
        }
        CertificateError::Revoked => "its certificate was revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not one for servers".to_owned()
        }
        // What the library has no case of its own for.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is that of an authority, which no server may use: issue one for the server".to_owned()
        }
        _ => "its certificate is not valid".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_tls_is_in_plain_words() {
        let told = |cause: rustls::Error| tls_in_words(&io::Error::other(cause), "orders.example");
        for (wrong, expected) in [
            (CertificateError::Expired, "its certificate has expired"),
            (CertificateError::UnknownIssuer, "an authority that is not trusted"),
            (CertificateError::NotValidForName, "its certificate is not for orders.example"),
            (CertificateError::BadEncoding, "its certificate is not valid"),
        ] {
            let told = told(rustls::Error::InvalidCertificate(wrong));
            assert!(told.contains(expected), "{told}");
        }
        assert_eq!(told(rustls::Error::DecryptError), "the endpoint does not keep to the protocol");
    }

    #[test]
    fn an_address_that_is_refused_is_named_once() {
        let told = |host: &str, ip: &str| {
            ConnectError::Address { host: host.to_owned(), ip: ip.parse().unwrap(), why: "is wrong" }.to_string()
        };
        assert_eq!(told("10.1.2.3", "10.1.2.3"), "10.1.2.3 is wrong");
        assert_eq!(told("orders.example", "10.1.2.3"), "orders.example resolves to 10.1.2.3: 10.1.2.3 is wrong");
    }
}
