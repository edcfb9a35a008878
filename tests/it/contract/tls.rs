//! TLS of the API: over HTTP/1.1 and HTTP/2, with callers' certificates, with files that change.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use doorbuster::config::Config;

use crate::served::{PATIENCE, Service};

/// An authority, and the directory that what it signs is written to.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Signs a certificate for a host, and writes `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str, host: &str) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn serve(&self, asks_for_certificates: bool) -> Service {
        self.serve_with(|config| {
            config.limits.header_read_seconds = 1;
            if asks_for_certificates {
                config.tls.client_ca_file = self.path("ca.pem");
            }
        })
    }

    fn serve_with(&self, change: impl FnOnce(&mut Config)) -> Service {
        self.sign("service", "doorbuster.test");
        Service::start_with(|config| {
            config.tls.certificate_file = self.path("service.pem");
            config.tls.key_file = self.path("service.key");
            change(config);
        })
    }

    /// A client that trusts this authority and speaks the protocol. `shows`: the name of a certificate of its own.
    async fn connect(
        &self,
        service: &Service,
        host: &'static str,
        protocol: &str,
        shows: Option<&Path>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match shows {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let certificate = CertificateDer::from_pem_file(path.with_extension("pem")).unwrap();
                let key = PrivateKeyDer::from_pem_file(path.with_extension("key")).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(service.address()).await?;
        let name = ServerName::try_from(host).unwrap();
        tokio::time::timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
    }
}

fn request() -> Request<Full<Bytes>> {
    Request::get("https://doorbuster.test/v1/sales").header("host", "doorbuster.test").body(Full::default()).unwrap()
}

/// Asks over a connection that is open; an error when it is not served.
async fn ask(stream: TlsStream<TcpStream>) -> Result<(u16, Bytes), hyper::Error> {
    let answer = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let (mut sender, connection) = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.send_request(request()).await?
    } else {
        let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.send_request(request()).await?
    };
    let status = answer.status().as_u16();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}

fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

#[test]
fn both_protocols_are_spoken_inside_tls_and_nothing_outside_of_it() {
    let authority = Authority::new();
    let service = authority.serve(false);
    run(async {
        for protocol in ["http/1.1", "h2"] {
            let stream = authority.connect(&service, "doorbuster.test", protocol, None).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
            assert_eq!(ask(stream).await.unwrap(), (200, Bytes::from_static(b"{\"sales\":[]}")));
        }
        // A name that is not in the certificate, and an authority that did not sign it.
        authority.connect(&service, "other.test", "h2", None).await.unwrap_err();
        Authority::new().connect(&service, "doorbuster.test", "h2", None).await.unwrap_err();
    });
    let mut clear = std::net::TcpStream::connect(service.address()).unwrap();
    clear.set_read_timeout(Some(PATIENCE)).unwrap();
    clear.write_all(b"GET /v1/sales HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = io::Read::read_to_end(&mut clear, &mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{:?}", String::from_utf8_lossy(&answer));
}

#[test]
fn who_never_shakes_hands_is_not_waited_for() {
    let authority = Authority::new();
    let service = authority.serve(false);
    let started = Instant::now();
    let mut silent = service.connect();
    silent.closed_within(PATIENCE);
    assert!(started.elapsed() >= Duration::from_millis(950), "closed after {:?}", started.elapsed());
}

#[test]
fn callers_show_certificates_where_they_must() {
    let authority = Authority::new();
    let service = authority.serve(true);
    authority.sign("caller", "caller.test");
    let other = Authority::new();
    other.sign("stranger", "stranger.test");
    let caller = authority.path("caller");
    let stranger = other.path("stranger");
    run(async {
        let open = |shows| authority.connect(&service, "doorbuster.test", "http/1.1", shows);
        let stream = open(Some(Path::new(&caller))).await.unwrap();
        assert_eq!(ask(stream).await.unwrap().0, 200);
        // In TLS 1.3 the client is through with its handshake before it hears that it was refused.
        for shows in [None, Some(Path::new(&stranger))] {
            if let Ok(stream) = open(shows).await {
                ask(stream).await.unwrap_err();
            }
        }
    });
}

#[test]
fn a_certificate_that_changes_is_shown_to_new_connections() {
    let authority = Authority::new();
    let service = authority.serve(false);
    let settings = &service.config.tls;
    run(async {
        let connect = |host| authority.connect(&service, host, "http/1.1", None);
        let before = connect("doorbuster.test").await.unwrap();
        authority.sign("service", "renewed.test");
        service.running().reload_tls(settings).unwrap();
        let after = connect("renewed.test").await.unwrap();
        connect("doorbuster.test").await.unwrap_err();
        assert_eq!(ask(after).await.unwrap().0, 200);
        assert_eq!(ask(before).await.unwrap().0, 200, "connections that are open go on");
        // Files that make no identity change nothing.
        fs::write(authority.path("service.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let error = service.running().reload_tls(settings).unwrap_err().to_string();
        assert!(error.contains("service.key"), "{error}");
        fs::write(authority.path("service.pem"), "").unwrap();
        let error = service.running().reload_tls(settings).unwrap_err().to_string();
        assert!(error.contains("service.pem") && error.contains("no certificate"), "{error}");
        assert_eq!(ask(connect("renewed.test").await.unwrap()).await.unwrap().0, 200);
    });
}

#[test]
fn a_caller_that_half_closes_is_answered_inside_tls() {
    let authority = Authority::new();
    let service = authority.serve(false);
    run(async {
        for _ in 0..10 {
            let mut stream = authority.connect(&service, "doorbuster.test", "http/1.1", None).await.unwrap();
            stream.write_all(b"GET /v1/sales HTTP/1.1\r\nHost: doorbuster.test\r\n\r\n").await.unwrap();
            // The alert close_notify, and the end of the socket's sending side behind it.
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap();
            read.expect("it ends as TLS does");
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"sales\":[]}"), "{answer}");
        }
    });
}

#[test]
fn an_early_answer_arrives_inside_tls() {
    let authority = Authority::new();
    let service = authority.serve(false);
    run(async {
        let mut stream = authority.connect(&service, "doorbuster.test", "http/1.1", None).await.unwrap();
        let head = b"POST /v1/nothing HTTP/1.1\r\nHost: doorbuster.test\r\nContent-Length: 8000000\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream.write_all(&vec![b' '; 8_000_000]).await.expect("the body is taken");
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap();
        read.expect("it ends as TLS does");
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("connection: close"), "{answer}");
    });
}

#[test]
fn connections_past_the_limit_are_answered_inside_tls() {
    let authority = Authority::new();
    let service = authority.serve_with(|config| config.limits.connections_max = 1);
    run(async {
        let connect = |protocol| authority.connect(&service, "doorbuster.test", protocol, None);
        let _place = connect("http/1.1").await.unwrap();
        for protocol in ["http/1.1", "h2"].repeat(5) {
            let stream = connect(protocol).await.unwrap();
            assert_eq!(ask(stream).await.unwrap().0, 503, "{protocol}");
        }
    });
}
