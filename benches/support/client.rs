//! A client that costs little: it reads status and length of an answer, and skips the rest.

// Several benches include this file.
#![allow(unreachable_pub)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the service listens");
        stream.set_nodelay(true).expect("a socket");
        Self(BufReader::with_capacity(256 << 10, stream))
    }

    /// Sends a request and gives status and length of its answer, once all of it is here.
    pub fn send(&mut self, request: &[u8]) -> (u16, usize) {
        self.0.get_mut().write_all(request).expect("the connection is open");
        let mut line = String::new();
        self.line(&mut line);
        let status = line[9..12].parse().expect("a status line");
        let mut length = None;
        loop {
            self.line(&mut line);
            if line == "\r\n" {
                break;
            }
            let told = line.to_ascii_lowercase();
            length = length.or(told.strip_prefix("content-length:").map(|it| it.trim().parse().expect("a length")));
        }
        match length {
            Some(length) => (status, self.skip(length)),
            None => (status, self.skip_chunks()),
        }
    }

    /// The text of a document.
    #[allow(dead_code, reason = "each bench uses a part of this")]
    pub fn get(&mut self, path: &str) -> String {
        self.0.get_mut().write_all(&request("GET", path, "")).expect("the connection is open");
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            self.line(&mut line);
            if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = told.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the connection is open");
        String::from_utf8(body).expect("text")
    }

    fn line(&mut self, line: &mut String) {
        line.clear();
        self.0.read_line(line).expect("the connection is open");
    }

    fn skip(&mut self, bytes: usize) -> usize {
        let skipped = std::io::copy(&mut (&mut self.0).take(bytes as u64), &mut std::io::sink());
        skipped.expect("the connection is open") as usize
    }

    fn skip_chunks(&mut self) -> usize {
        let (mut line, mut bytes) = (String::new(), 0);
        loop {
            self.line(&mut line);
            let length = usize::from_str_radix(line.trim(), 16).expect("a chunk's length");
            bytes += length;
            self.skip(length + 2);
            if length == 0 {
                return bytes;
            }
        }
    }
}

pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
