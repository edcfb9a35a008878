//! A receiver of webhooks that does what a test says.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use data_encoding::BASE64;
use parking_lot::Mutex;
use ring::hmac;
use serde_json::Value;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub event: Value,
    /// Requests under way when it came, itself included.
    pub at_a_time: usize,
}

impl Received {
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    /// Whether one of its signatures is by this secret.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let mut signed = format!("{}.{}.", self.id(), self.headers["webhook-timestamp"]).into_bytes();
        signed.extend_from_slice(&self.body);
        let is_right = |text: &str| {
            let signature = BASE64.decode(text.strip_prefix("v1,").unwrap().as_bytes()).unwrap();
            hmac::verify(&key, &signed, &signature).is_ok()
        };
        self.headers["webhook-signature"].split(' ').any(is_right)
    }
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answers with this status, and these further lines of the head.
    Status(u16, &'static str),
    /// Says nothing until the sender is gone.
    Hang,
    /// Closes the connection.
    Close,
    /// Answers 200 and then sends as much as is taken.
    Flood,
    /// As 200, after a while.
    Slow(Duration),
}

pub const OK: Reply = Reply::Status(200, "");

type Behaviour = Box<dyn Fn(&Received) -> Reply + Send + Sync>;

pub struct Receiver {
    pub address: SocketAddr,
    all: Arc<Mutex<Vec<Received>>>,
    behaviour: Arc<Mutex<Arc<Behaviour>>>,
}

impl Receiver {
    pub fn start(behaviour: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behaviour: Arc<Mutex<Arc<Behaviour>>> = Arc::new(Mutex::new(Arc::new(Box::new(behaviour))));
        let receiver = Self { address, all: Arc::default(), behaviour };
        let (all, behaviour, under_way) =
            (receiver.all.clone(), receiver.behaviour.clone(), Arc::new(AtomicUsize::new(0)));
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (all, behaviour, under_way) = (all.clone(), behaviour.clone(), under_way.clone());
                thread::spawn(move || serve(&stream, &all, &behaviour, &under_way));
            }
        });
        receiver
    }

    /// One that takes everything.
    pub fn good() -> Self {
        Self::start(|_| OK)
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    pub fn behave(&self, behaviour: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *self.behaviour.lock() = Arc::new(Box::new(behaviour));
    }

    pub fn received(&self) -> Vec<Received> {
        self.all.lock().clone()
    }

    pub fn count(&self) -> usize {
        self.all.lock().len()
    }

    /// The ids of what came, each where it came first.
    pub fn ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for received in self.all.lock().iter() {
            if !ids.iter().any(|id| id == received.id()) {
                ids.push(received.id().to_owned());
            }
        }
        ids
    }
}

fn serve(stream: &TcpStream, all: &Mutex<Vec<Received>>, behaviour: &Mutex<Arc<Behaviour>>, under_way: &AtomicUsize) {
    let mut reader = BufReader::new(stream);
    while let Some(received) = read(&mut reader, under_way) {
        let behaviour = behaviour.lock().clone();
        let reply = behaviour(&received);
        all.lock().push(received);
        let goes_on = answer(stream, &reply);
        under_way.fetch_sub(1, Ordering::SeqCst);
        if !goes_on {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>, under_way: &AtomicUsize) -> Option<Received> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    assert!(line.starts_with("POST /"), "{line}");
    let at_a_time = under_way.fetch_add(1, Ordering::SeqCst) + 1;
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    let event = serde_json::from_slice(&body).expect("a CloudEvents document");
    Some(Received { headers, body, event, at_a_time })
}

/// Whether the connection goes on.
fn answer(mut stream: &TcpStream, reply: &Reply) -> bool {
    match reply {
        Reply::Status(status, more) => {
            write!(stream, "HTTP/1.1 {status} X\r\n{more}content-length: 2\r\n\r\n{{}}").is_ok()
        }
        Reply::Slow(time) => {
            thread::sleep(*time);
            answer(stream, &OK)
        }
        Reply::Close => false,
        Reply::Hang => {
            let _ = stream.read(&mut [0]);
            false
        }
        Reply::Flood => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4000000000\r\n\r\n");
            while stream.write_all(&[b'x'; 65_536]).is_ok() {}
            false
        }
    }
}
