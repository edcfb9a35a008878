//! Requests and answers: the contract's reserve over HTTP, and Redis' protocol for its script.

use anyhow::{Context, bail};
use memchr::memmem;

/// What an answer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// As HTTP has it; others are told as what they would be there.
    pub status: u16,
    /// It answers what was asked.
    pub right: bool,
    /// No more requests on this connection.
    pub closes: bool,
}

/// The requests of one thread of the generator.
pub trait Traffic: Send {
    /// Appends a request; `number` counts this thread's requests.
    fn request(&mut self, out: &mut Vec<u8>, number: u64);

    /// The answer to that request, or None when it is not whole yet.
    fn answer(&mut self, bytes: &[u8], number: u64) -> anyhow::Result<Option<Answer>>;
}

/// Digits of a customer's number: fixed, so that each request has the same length.
const DIGITS: usize = 12;

/// Single-line reserves, each of a new customer.
#[derive(Debug, Clone)]
pub struct Reserves {
    head: Vec<u8>,
    /// Customers of this thread are counted from here.
    first: u64,
    skus: u64,
    check: bool,
}

impl Reserves {
    /// `skus`: items `sku-0` to `sku-(skus - 1)`, asked in turn. `check`: each granted answer is read as JSON and held
    /// against its request; it costs as much as the rest of the generator.
    pub fn new(host: &str, sale: &str, skus: u64, thread: usize, check: bool) -> Self {
        Self::to(host, &format!("/v1/sales/{sale}/reservations"), skus, thread, check)
    }

    pub fn to(host: &str, path: &str, skus: u64, thread: usize, check: bool) -> Self {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: ");
        // Of another second's customers: a service that is measured twice meets nobody again.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let first = now.as_millis() as u64 % 10_000 * 100_000_000 + thread as u64 * 10_000_000;
        Self { head: head.into_bytes(), first, skus, check }
    }

    fn customer(&self, number: u64) -> [u8; DIGITS + 2] {
        let mut text = *b"c-000000000000";
        let mut left = self.first + number;
        for place in (2..text.len()).rev() {
            text[place] += (left % 10) as u8;
            left /= 10;
        }
        text
    }
}

impl Traffic for Reserves {
    fn request(&mut self, out: &mut Vec<u8>, number: u64) {
        let customer = self.customer(number);
        let mut buffer = itoa::Buffer::new();
        let sku = buffer.format(number % self.skus).as_bytes();
        const PARTS: [&[u8]; 3] = [b"{\"customer\":\"", b"\",\"lines\":[{\"sku\":\"sku-", b"\",\"quantity\":1}]}"];
        let length = PARTS.iter().map(|part| part.len()).sum::<usize>() + customer.len() + sku.len();
        out.extend_from_slice(&self.head);
        out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        for part in [PARTS[0], &customer, PARTS[1], sku, PARTS[2]] {
            out.extend_from_slice(part);
        }
    }

    fn answer(&mut self, bytes: &[u8], number: u64) -> anyhow::Result<Option<Answer>> {
        let Some((mut answer, body)) = http_answer(bytes)? else { return Ok(None) };
        if self.check && answer.status == 201 {
            let told: serde_json::Value = serde_json::from_slice(body).context("an answer that is not JSON")?;
            answer.right = told["customer"].as_str().map(str::as_bytes) == Some(&self.customer(number))
                && told["state"] == "held"
                && told["lines"][0]["sku"] == format!("sku-{}", number % self.skus)
                && told["lines"][0]["quantity"] == 1;
        }
        Ok(Some(answer))
    }
}

/// A whole answer of HTTP/1.1 and its body. Every answer that is measured here says how long it is.
fn http_answer(bytes: &[u8]) -> anyhow::Result<Option<(Answer, &[u8])>> {
    let mut headers = [httparse::EMPTY_HEADER; 24];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).context("an answer that is not HTTP")? else {
        return Ok(None);
    };
    let (mut length, mut closes) = (None, false);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value)?.parse::<usize>().ok();
        } else if header.name.eq_ignore_ascii_case("connection") {
            closes = memmem::find(header.value, b"close").is_some();
        }
    }
    let length = length.context("an answer that does not say how long it is")?;
    let Some(body) = bytes[head..].get(..length) else { return Ok(None) };
    let status = response.code.context("an answer without a status")?;
    Ok(Some((Answer { status, right: true, closes }, body)))
}

/// The same reserve as a call of a script in Redis.
#[derive(Debug, Clone)]
pub struct Scripted {
    customers: Reserves,
    sha: String,
    number: u64,
}

impl Scripted {
    pub fn new(sha: &str, thread: usize) -> Self {
        Self { customers: Reserves::new("", "", 1, thread, false), sha: sha.to_owned(), number: 0 }
    }
}

impl Traffic for Scripted {
    fn request(&mut self, out: &mut Vec<u8>, number: u64) {
        self.number = number;
        let customer = self.customers.customer(number);
        let customer = std::str::from_utf8(&customer).expect("digits");
        let arguments = crate::redis::arguments(&self.sha, customer);
        out.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
        for argument in &arguments {
            out.extend_from_slice(format!("${}\r\n{argument}\r\n", argument.len()).as_bytes());
        }
    }

    /// The script answers one integer: 1 granted, 0 sold out, -1 beyond the customer's limit.
    fn answer(&mut self, bytes: &[u8], _: u64) -> anyhow::Result<Option<Answer>> {
        if !bytes.ends_with(b"\r\n") {
            return Ok(None);
        }
        let line = std::str::from_utf8(&bytes[..bytes.len() - 2])?;
        let status = match line {
            ":1" => 201,
            ":0" | ":-1" => 409,
            _ => bail!("Redis answered {line:?}"),
        };
        Ok(Some(Answer { status, right: true, closes: false }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let whole = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}";
        for end in 0..whole.len() {
            assert_eq!(http_answer(&whole[..end]).unwrap().map(|(answer, _)| answer), None, "{end}");
        }
        let answer = http_answer(whole).unwrap().unwrap();
        assert_eq!(answer, (Answer { status: 201, right: true, closes: false }, &b"{}"[..]));
        assert!(http_answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_wrong_answer_is_told_from_a_right_one() {
        let mut reserves = Reserves::new("here", "drop", 2, 0, true);
        let mut request = Vec::new();
        reserves.request(&mut request, 1);
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        let asked: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(asked["lines"][0]["sku"], "sku-1");
        let answer = |customer: &str| {
            let body =
                format!(r#"{{"customer":"{customer}","state":"held","lines":[{{"sku":"sku-1","quantity":1}}]}}"#);
            format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        };
        let right = reserves.answer(answer(asked["customer"].as_str().unwrap()).as_bytes(), 1).unwrap().unwrap();
        let wrong = reserves.answer(answer("c-000000000001").as_bytes(), 1).unwrap().unwrap();
        assert_eq!((right.right, wrong.right), (true, false));
    }
}
