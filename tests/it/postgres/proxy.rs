//! Stands between the service and its database, and cuts the line where it was asked to.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    thread,
};

/// Where the next cut is; 0 is nowhere. Each is made once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    /// The database has some of the rows of a COPY.
    InCopy = 1,
    /// The database never hears of COMMIT.
    BeforeCommit,
    /// The database commits, and nobody hears of it.
    AfterCommit,
}

pub struct Proxy {
    pub port: u16,
    next: Arc<AtomicU8>,
    cuts: Arc<AtomicU64>,
}

impl Proxy {
    /// To a database on this machine.
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (next, cuts) = (Arc::<AtomicU8>::default(), Arc::<AtomicU64>::default());
        let proxy = Self { port, next: next.clone(), cuts: cuts.clone() };
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (next, cuts) = (next.clone(), cuts.clone());
                thread::spawn(move || {
                    if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) {
                        carry(&client, &server, &next, &cuts);
                        let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
                    }
                });
            }
        });
        proxy
    }

    pub fn cut(&self, cut: Cut) {
        self.next.store(cut as u8, Ordering::SeqCst);
    }

    /// How many cuts were made.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::SeqCst)
    }
}

fn carry(client: &TcpStream, server: &TcpStream, next: &AtomicU8, cuts: &AtomicU64) {
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let silent = Arc::new(AtomicU8::new(0));
    let seen = silent.clone();
    thread::spawn(move || {
        let mut bytes = [0; 16 << 10];
        while let Ok(read) = from_server.read(&mut bytes) {
            if read == 0 || seen.load(Ordering::SeqCst) != 0 || to_client.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let (mut client, mut server) = (client, server);
    // The first message has no kind.
    let mut has_kind = false;
    while let Some(message) = read_message(&mut client, has_kind) {
        has_kind = true;
        let is_commit = message.starts_with(b"Q") && message[5..].starts_with(b"COMMIT");
        let is = |cut: Cut| next.compare_exchange(cut as u8, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if message.starts_with(b"d") && is(Cut::InCopy) {
            let _ = server.write_all(&message[..message.len() / 2]);
            cuts.fetch_add(1, Ordering::SeqCst);
            return;
        }
        if is_commit && is(Cut::BeforeCommit) {
            cuts.fetch_add(1, Ordering::SeqCst);
            return;
        }
        if is_commit && is(Cut::AfterCommit) {
            silent.store(1, Ordering::SeqCst);
            let _ = server.write_all(&message);
            // Its answer arrives here and goes no further.
            thread::sleep(std::time::Duration::from_millis(300));
            cuts.fetch_add(1, Ordering::SeqCst);
            return;
        }
        if server.write_all(&message).is_err() {
            return;
        }
    }
}

fn read_message(from: &mut impl Read, has_kind: bool) -> Option<Vec<u8>> {
    let head = if has_kind { 5 } else { 4 };
    let mut message = vec![0; head];
    from.read_exact(&mut message).ok()?;
    let length = u32::from_be_bytes(message[head - 4..].try_into().expect("four bytes")) as usize;
    message.resize(head + length - 4, 0);
    from.read_exact(&mut message[head..]).ok()?;
    Some(message)
}
