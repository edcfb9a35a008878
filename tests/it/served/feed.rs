//! A reader of the feed, in either format.

use std::{io, net::SocketAddr, sync::Arc};

use serde_json::Value;

use super::{
    Answer, Ask, Connection,
    described::{self, Described},
    shapes,
};

/// An event as it was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// None for what is no event of the journal.
    pub cursor: Option<String>,
    pub kind: String,
    /// The JSON as it came.
    pub raw: String,
    pub cloud: Value,
}

impl Told {
    pub fn data(&self) -> &Value {
        &self.cloud["data"]
    }

    #[track_caller]
    pub fn cursor(&self) -> &str {
        self.cursor.as_deref().unwrap_or_else(|| panic!("{} has no cursor", self.raw))
    }
}

pub struct Feed {
    connection: Connection,
    pub head: Answer,
    lines: bool,
    body: Vec<u8>,
    /// Of `body`, what was looked at.
    seen: usize,
    over: bool,
    pub heartbeats: usize,
    described: Option<Arc<Described>>,
}

impl Feed {
    /// Server-sent events.
    #[track_caller]
    pub fn open(address: SocketAddr, query: &str) -> Self {
        Self::send(address, &Ask::new("GET", &format!("/v1/events{query}"))).expect("a feed")
    }

    /// One object a line.
    #[track_caller]
    pub fn lines(address: SocketAddr, query: &str) -> Self {
        let ask = Ask::new("GET", &format!("/v1/events{query}")).header("Accept", "application/x-ndjson");
        Self::send(address, &ask).expect("a feed")
    }

    pub fn send(address: SocketAddr, ask: &Ask) -> io::Result<Self> {
        let mut connection = Connection::open(address)?;
        connection.send(&ask.encode())?;
        let head = connection.head()?;
        if head.status == 410 {
            return Err(io::Error::other("the cursor is too old"));
        }
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        assert_eq!(head.header("cache-control"), Some("no-store"));
        let lines = match head.header("content-type") {
            Some("text/event-stream") => false,
            Some("application/x-ndjson") => true,
            other => panic!("{other:?} is no format of the feed"),
        };
        let described = described::at(address);
        Ok(Self { connection, head, lines, body: Vec::new(), seen: 0, over: false, heartbeats: 0, described })
    }

    /// Sends nothing more, and goes on reading.
    pub fn half_close(&mut self) {
        self.connection.half_close();
    }

    /// The next event; None when the stream is over.
    #[track_caller]
    pub fn next(&mut self) -> Option<Told> {
        loop {
            let block = self.block()?;
            let told = if self.lines { parse_line(&block) } else { parse_block(&block) };
            match told {
                Some(told) => {
                    if let Some(described) = &self.described {
                        described.check_event(&told.cloud);
                    }
                    return Some(told);
                }
                None => self.heartbeats += usize::from(block.is_empty() || block == ":"),
            }
        }
    }

    #[track_caller]
    pub fn take(&mut self, count: usize) -> Vec<Told> {
        (0..count).map(|_| self.next().expect("the stream goes on")).collect()
    }

    /// Everything up to and including the first that is so.
    #[track_caller]
    pub fn until(&mut self, is_so: impl Fn(&Told) -> bool) -> Vec<Told> {
        let mut all = Vec::new();
        loop {
            let next = self.next();
            all.push(
                next.unwrap_or_else(|| {
                    panic!("the stream goes on behind {:?}", all.last().map(|told: &Told| &told.raw))
                }),
            );
            if is_so(all.last().expect("just pushed")) {
                return all;
            }
        }
    }

    /// Everything up to the sale of this name being put: the last thing a test did.
    #[track_caller]
    pub fn until_put(&mut self, sale: &str) -> Vec<Told> {
        self.until(|told| told.kind == "sale.put" && told.data()["id"] == sale)
    }

    /// Everything to the end of the stream.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<Told> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// A line, or a block of lines, without its end.
    #[track_caller]
    fn block(&mut self) -> Option<String> {
        let end: &[u8] = if self.lines { b"\n" } else { b"\n\n" };
        loop {
            if let Some(at) = self.body[self.seen..].windows(end.len()).position(|bytes| bytes == end) {
                let block = String::from_utf8(self.body[self.seen..self.seen + at].to_vec()).expect("UTF-8");
                self.seen += at + end.len();
                return Some(block);
            }
            if self.over {
                assert_eq!(self.seen, self.body.len(), "the stream ends within an event");
                return None;
            }
            self.body.drain(..std::mem::take(&mut self.seen));
            self.over = !self.connection.chunk(&mut self.body).expect("a chunk");
        }
    }
}

fn parse_line(line: &str) -> Option<Told> {
    if line.is_empty() {
        return None;
    }
    let cloud = check(line);
    let text = |member: &str| cloud.get(member).map(|value| value.as_str().expect("text").to_owned());
    Some(Told { cursor: text("cursor"), kind: text("type").expect("a type"), raw: line.to_owned(), cloud })
}

fn parse_block(block: &str) -> Option<Told> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let raw = field("data")?.to_owned();
    let cloud = check(&raw);
    let kind = field("event").expect("an event has a type").to_owned();
    assert_eq!(cloud["type"], kind);
    let cursor = field("id").map(str::to_owned);
    assert_eq!(cloud.get("cursor").and_then(Value::as_str), cursor.as_deref());
    Some(Told { cursor, kind, raw, cloud })
}

/// A CloudEvent with the members of the contract.
#[track_caller]
fn check(raw: &str) -> Value {
    let cloud: Value = serde_json::from_str(raw).unwrap_or_else(|error| panic!("{error} in {raw}"));
    assert_eq!((&cloud["specversion"], &cloud["datacontenttype"]), (&"1.0".into(), &"application/json".into()));
    if cloud["type"] == "stream.ended" {
        assert_eq!(shapes::members(&cloud["data"]), ["cursor", "reason"]);
        return cloud;
    }
    let members = ["cursor", "data", "datacontenttype", "id", "source", "specversion", "subject", "time", "type"];
    assert_eq!(shapes::members(&cloud), members, "{raw}");
    assert_eq!(cloud["id"], cloud["cursor"]);
    shapes::check_time(&cloud["time"]);
    if cloud["type"] == "customer.erased" {
        assert_eq!(
            (&cloud["source"], &cloud["data"]["customer"]),
            (&"/v1/customers".into(), &cloud["subject"]),
            "{raw}"
        );
        return cloud;
    }
    let sale = cloud["data"].get("sale").unwrap_or(&cloud["data"]["id"]);
    assert_eq!(cloud["source"], format!("/v1/sales/{}", sale.as_str().expect("a sale")), "{raw}");
    cloud
}
