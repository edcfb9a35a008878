//! A small blocking HTTP/1.1 client that hides nothing: what is sent can be any bytes, and every answer is looked at.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Answer, PATIENCE, described, problems};

/// A request before it is bytes.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

impl Ask {
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: None }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").bytes(body.to_string())
    }

    pub fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The request as it goes over an HTTP/1.1 connection, its length told when it has a body.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: doorbuster.test\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if let Some(body) = &self.body {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(body);
        } else {
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { address, reader: BufReader::new(stream) })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Sends nothing more, and goes on reading.
    pub fn half_close(&mut self) {
        self.reader.get_ref().shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// The next answer, checked when it refuses something.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer(false).expect("an answer")
    }

    /// As `answer`, from a service that may be gone. `of_head`: to a HEAD, which has no body.
    #[track_caller]
    pub fn try_answer(&mut self, of_head: bool) -> io::Result<Answer> {
        let answer = self.answer_of_the_api(of_head)?;
        if let Some(described) = described::at(self.address) {
            described.check_alone(&answer, of_head);
        }
        Ok(answer)
    }

    /// As `try_answer`, to a request that is known.
    #[track_caller]
    fn answer_to(&mut self, ask: &Ask) -> io::Result<Answer> {
        let answer = self.answer_of_the_api(ask.method == "HEAD")?;
        if let Some(described) = described::at(self.address) {
            described.check(ask, &answer);
        }
        Ok(answer)
    }

    #[track_caller]
    fn answer_of_the_api(&mut self, of_head: bool) -> io::Result<Answer> {
        let answer = self.unchecked_answer(of_head)?;
        if answer.status >= 400 && !of_head {
            problems::check(&answer);
        }
        Ok(answer)
    }

    /// The next answer, from what is not the API or to what is not HTTP.
    pub fn unchecked_answer(&mut self, of_head: bool) -> io::Result<Answer> {
        let mut answer = self.head()?;
        if of_head || answer.status < 200 || answer.status == 304 {
            return Ok(answer);
        }
        answer.body = match (answer.header("transfer-encoding"), answer.header("content-length")) {
            (Some(_), _) => self.chunked()?,
            (None, Some(length)) => {
                let mut body = vec![0; length.parse().map_err(|_| malformed("a Content-Length that is no number"))?];
                self.reader.read_exact(&mut body)?;
                body
            }
            (None, None) => {
                let mut body = Vec::new();
                self.reader.read_to_end(&mut body)?;
                body
            }
        };
        Ok(answer)
    }

    /// The head of an answer whose body is not read yet.
    pub fn head(&mut self) -> io::Result<Answer> {
        let status_line = self.line()?;
        let mut parts = status_line.splitn(3, ' ');
        let version = parts.next().unwrap_or("").to_owned();
        let status = parts.next().and_then(|status| status.parse().ok()).ok_or_else(|| malformed(&status_line))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Answer { version, status, headers, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Whether something of an answer has come in.
    pub fn has_answer(&mut self) -> bool {
        if !self.reader.buffer().is_empty() {
            return true;
        }
        let stream = self.reader.get_ref();
        stream.set_nonblocking(true).expect("a socket");
        let seen = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("a socket");
        matches!(seen, Ok(1))
    }

    fn chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while self.chunk(&mut body)? {}
        Ok(body)
    }

    /// Appends one chunk of a chunked body; false when it was the last.
    pub fn chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let line = self.line()?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(|_| malformed(&line))?;
        (&mut self.reader).take(length).read_to_end(body)?;
        self.line()?;
        Ok(length > 0)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// How long it takes until the other side has closed the connection without another word; fails when it says
    /// something, or stays longer than `most`.
    #[track_caller]
    pub fn closed_within(&mut self, most: Duration) -> Duration {
        let started = Instant::now();
        self.reader.get_ref().set_read_timeout(Some(most)).expect("a timeout above zero");
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => assert!(rest.is_empty(), "said {:?} and closed", String::from_utf8_lossy(&rest)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("still open after {most:?}: {error}"),
        }
        started.elapsed()
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Keeps a connection to one address and opens another when that one was closed.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    connection: Option<Connection>,
    /// Whether refusals are problem documents; those of the ops listener are not.
    checked: bool,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connection: None, checked: true }
    }

    /// A client whose answers are not those of the API.
    pub fn unchecked(address: SocketAddr) -> Self {
        Self { checked: false, ..Self::new(address) }
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.send(&Ask::new("GET", path))
    }

    #[track_caller]
    pub fn put(&mut self, path: &str, body: &Value) -> Answer {
        self.send(&Ask::new("PUT", path).json(body))
    }

    #[track_caller]
    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.send(&Ask::new("POST", path).json(body))
    }

    /// A POST without a body.
    #[track_caller]
    pub fn post_nothing(&mut self, path: &str) -> Answer {
        self.send(&Ask::new("POST", path))
    }

    #[track_caller]
    pub fn send(&mut self, ask: &Ask) -> Answer {
        match self.try_send(ask) {
            Ok(answer) => answer,
            Err(error) => panic!("{} {}: {error}", ask.method, ask.path),
        }
    }

    /// As `send`, to a service that may go away: an error means that it is open whether the request was carried out.
    #[track_caller]
    pub fn try_send(&mut self, ask: &Ask) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.address)?,
        };
        connection.send(&ask.encode())?;
        let of_head = ask.method == "HEAD";
        let answer = if self.checked { connection.answer_to(ask)? } else { connection.unchecked_answer(of_head)? };
        if answer.header("connection") != Some("close") {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}
