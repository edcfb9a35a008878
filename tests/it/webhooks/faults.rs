//! Receivers that hang, fail, redirect, flood, close, speak bad TLS or are where they must not be: each harms only itself.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use doorbuster::config::Webhook;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject},
};

use super::{
    PATIENCE, put,
    receiver::{OK, Receiver, Reply},
    reserve, serve, state, wait_until, webhook,
};

type Count = Arc<AtomicUsize>;

#[test]
fn bad_receivers_harm_nobody_else() {
    let elsewhere = Receiver::good();
    let moved: &'static str = format!("location: {}\r\n", elsewhere.url()).leak();
    let good = Receiver::good();
    let bad = [
        ("hangs", Receiver::start(|_| Reply::Hang), "no answer within 1 s"),
        ("fails", Receiver::start(|_| Reply::Status(500, "")), "answered 500"),
        ("moved", Receiver::start(move |_| Reply::Status(307, moved)), "answered 307, but redirects are not followed"),
        ("closes", Receiver::start(|_| Reply::Close), ""),
    ];
    let floods = Receiver::start(|_| Reply::Flood);
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let no_tls = format!("https://localhost:{}/", plain.local_addr().unwrap().port());
    thread::spawn(move || {
        for mut stream in plain.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    let private = "https://10.255.255.1:9/".to_owned();
    let nobody = format!("http://{}/", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let nowhere = "https://no-such-host.invalid/".to_owned();
    let others = [
        ("no-tls", no_tls, "TLS with localhost failed: the endpoint does not speak TLS at this port"),
        ("private", private, "10.255.255.1 is not a public address: set allow_private_addresses"),
        ("nobody", nobody, "no connection to 127.0.0.1"),
        // Or the name server does not answer in time.
        ("nowhere", nowhere, ""),
    ];
    let short = |name: &str, url| Webhook { timeout_seconds: if name == "hangs" { 1 } else { 30 }, ..webhook(url) };
    let all = bad.iter().map(|(name, receiver, _)| (*name, short(name, receiver.url())));
    let all = all.chain(others.iter().map(|(name, url, _)| (*name, webhook(url.clone()))));
    let service = serve(all.chain([("good", webhook(good.url())), ("floods", webhook(floods.url()))]));
    let mut client = service.client();
    put(&mut client, "drop");
    reserve(&mut client, "drop", 60);
    wait_until("all arrived at the good one", || good.count() >= 61);
    wait_until("the head of an answer is enough", || floods.ids().len() >= 61);
    for (name, told) in bad.iter().map(|it| (it.0, it.2)).chain(others.iter().map(|it| (it.0, it.2))) {
        wait_until(name, || state(&mut client, name).get("last_failure").is_some());
        let shown = state(&mut client, name);
        assert_eq!(shown["state"], "failing", "{shown}");
        assert!(shown["last_failure"]["detail"].as_str().unwrap().contains(told), "{shown}");
        assert!(shown["failing_since"].is_string() && shown["waiting"].as_u64() > Some(0), "{shown}");
    }
    assert_eq!(elsewhere.count(), 0, "a redirect is not followed");
    assert_eq!(state(&mut client, "good")["state"], "active");
}

/// One that failed and is there again gets everything, and one that asks for a pause gets one.
#[test]
fn a_receiver_that_is_back_gets_everything() {
    let receiver = Receiver::start(|_| Reply::Status(503, "retry-after: 1\r\n"));
    let service = serve([("orders", webhook(receiver.url()))]);
    let mut client = service.client();
    put(&mut client, "drop");
    reserve(&mut client, "drop", 40);
    wait_until("it failed more than once", || receiver.count() > 2);
    assert!(
        receiver.received().iter().skip(16).all(|received| received.at_a_time == 1),
        "one at a time while it fails"
    );
    let before = receiver.received().len();
    receiver.behave(|_| OK);
    wait_until("all arrived", || receiver.received()[before..].len() >= 41);
    wait_until("it is shown", || state(&mut client, "orders")["state"] == "active");
    let first = receiver.received()[0].clone();
    let again = receiver.received()[before..].iter().find(|received| received.id() == first.id()).cloned();
    assert_eq!(again.expect("sent again").body, first.body, "the same event at every attempt");
}

/// An event that is always refused does not stop the others, until it parks the endpoint.
#[test]
fn one_event_that_is_refused_stops_only_its_subject_until_it_parks() {
    let receiver = Receiver::start(|received| {
        let poison = received.event["data"]["customer"] == "customer-3";
        if poison { Reply::Status(422, "") } else { OK }
    });
    let mut parks = webhook(receiver.url());
    parks.park_after_seconds = 2;
    let service = serve([("orders", parks)]);
    let mut client = service.client();
    put(&mut client, "drop");
    reserve(&mut client, "drop", 20);
    wait_until("the others arrived", || receiver.ids().len() >= 21);
    wait_until("it is parked", || state(&mut client, "orders")["state"] == "parked");
    let shown = state(&mut client, "orders");
    assert_eq!(shown["last_failure"]["detail"], "answered 422");
    // What came behind it is sent again after the resume, so it waits, too.
    wait_until("it is counted", || state(&mut client, "orders")["waiting"].as_u64() > Some(1));
}

/// What a server for `localhost` speaks TLS with, and the file with the authority that certified it.
pub(super) fn certified() -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let authority = tempfile::tempdir().unwrap().keep().join("ca.pem");
    std::fs::write(&authority, issuer.pem()).unwrap();
    let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    (Arc::new(tls), authority.to_str().unwrap().to_owned())
}

/// Behind a balancer of which every fourth connection works, and the others are accepted and never answered: the service closes those in
/// time, and has at most `deliveries_max` connections.
#[test]
fn handshakes_that_are_never_answered_are_given_up() {
    const DELIVERIES_MAX: usize = 4;
    const WORKS_EACH: usize = 4;
    let (tls, authority) = certified();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (answered, hung, open, most) = <(Count, Count, Count, Count)>::default();
    let counts = (answered.clone(), hung.clone(), open.clone(), most.clone());
    thread::spawn(move || {
        let (answered, hung, open, most) = counts;
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            most.fetch_max(open.fetch_add(1, SeqCst) + 1, SeqCst);
            let (tls, answered, hung, open) = (tls.clone(), answered.clone(), hung.clone(), open.clone());
            thread::spawn(move || {
                if number % WORKS_EACH == 0 {
                    let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
                    while take_request(&mut stream) {
                        // The next ones have to find it busy, and connect.
                        thread::sleep(Duration::from_millis(2));
                        if stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").and_then(|()| stream.flush()).is_err() {
                            break;
                        }
                        answered.fetch_add(1, SeqCst);
                    }
                } else {
                    hung.fetch_add(1, SeqCst);
                    let mut hello = [0; 16_384];
                    let mut stream = stream;
                    while stream.read(&mut hello).is_ok_and(|read| read > 0) {}
                    hung.fetch_sub(1, SeqCst);
                }
                open.fetch_sub(1, SeqCst);
            });
        }
    });
    let mut balanced = webhook(format!("https://localhost:{port}/hooks"));
    balanced.ca_file = authority;
    (balanced.timeout_seconds, balanced.deliveries_max) = (1, DELIVERIES_MAX);
    let service = serve([("orders", balanced)]);
    let mut client = service.client();
    put(&mut client, "drop");
    wait_until("the first arrived", || answered.load(SeqCst) >= 1);
    reserve(&mut client, "drop", 60);
    wait_until("all arrived", || answered.load(SeqCst) >= 61);
    wait_until("the others are closed", || hung.load(SeqCst) == 0);
    assert!(most.load(SeqCst) > 1, "some were not answered");
    // This side may notice late that a connection was closed. Without a limit there would be one for each event.
    assert!(most.load(SeqCst) <= 4 * DELIVERIES_MAX, "{} connections at a time", most.load(SeqCst));
}

/// Reads a request with its body; false at the end.
fn take_request(stream: &mut impl Read) -> bool {
    let (mut taken, mut piece) = (Vec::new(), [0; 16_384]);
    loop {
        let read = stream.read(&mut piece).unwrap_or(0);
        taken.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&taken);
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.to_ascii_lowercase().split_once("content-length: ").unwrap().1.to_owned();
            body.len() >= length.lines().next().unwrap().parse().unwrap()
        });
        if whole || read == 0 {
            return whole;
        }
    }
}

/// Over TLS, with an authority of one's own.
#[test]
fn a_certificate_is_checked_against_its_authority() {
    let (tls, authority) = certified();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (arrived, arrivals) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = StreamOwned::new(ServerConnection::new(tls.clone()).unwrap(), stream);
            let mut head = [0; 16_384];
            let read = stream.read(&mut head).unwrap_or(0);
            if read > 0 && stream.write_all(b"HTTP/1.1 204 X\r\nconnection: close\r\n\r\n").is_ok() {
                let _ = stream.flush();
                arrived.send(String::from_utf8_lossy(&head[..read]).into_owned()).unwrap();
            }
        }
    });
    let mut trusting = webhook(format!("https://localhost:{port}/hooks"));
    trusting.ca_file = authority;
    let mut wrong_name = webhook(format!("https://127.0.0.1:{port}/hooks"));
    wrong_name.ca_file.clone_from(&trusting.ca_file);
    let strict = webhook(format!("https://localhost:{port}/hooks"));
    let service = serve([("trusting", trusting), ("strict", strict), ("wrong-name", wrong_name)]);
    let mut client = service.client();
    put(&mut client, "drop");
    let request = arrivals.recv_timeout(PATIENCE).unwrap();
    assert!(request.starts_with("POST /hooks HTTP/1.1\r\n") && request.contains("webhook-signature: v1,"), "{request}");
    for (name, told) in [
        ("strict", "TLS with localhost failed: its certificate is from an authority that is not trusted"),
        ("wrong-name", "TLS with 127.0.0.1 failed: its certificate is not for 127.0.0.1"),
    ] {
        wait_until(name, || state(&mut client, name).get("last_failure").is_some());
        let shown = state(&mut client, name)["last_failure"]["detail"].as_str().unwrap().to_owned();
        assert!(shown.starts_with(told), "{shown}");
    }
}
