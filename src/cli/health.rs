//! `health`: queries a running service's ops listener, for places without another client, such as a container without a shell.
//! The exit code is the answer.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{complain, exit::ExitCode};

/// A probe without an answer for this long has failed. Supervisors wait longer, so they see the reason.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// Most bytes shown of an answer. `/readyz` takes some hundred.
const ANSWER_BYTES_MAX: usize = 65_536;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(super) struct HealthOptions {
    /// Ask whether the process is alive (/livez), not whether it takes requests (/readyz).
    #[arg(long)]
    pub live: bool,
}

/// Prints what the service says.
pub(super) fn run(ops_listen: SocketAddr, options: HealthOptions) -> ExitCode {
    if ops_listen.port() == 0 {
        complain(
            &"server.ops_listen has port 0: give the port that the service printed when it started, with --ops-listen",
        );
        return ExitCode::BadConfig;
    }
    let address = reachable(ops_listen);
    let path = if options.live { "/livez" } else { "/readyz" };
    match ask(address, path) {
        Ok((status, body)) => {
            // If printing fails, the exit code still tells.
            let _ = writeln!(io::stdout(), "{}", body.trim_end());
            if status == StatusCode::OK { ExitCode::Clean } else { ExitCode::CheckFailed }
        }
        Err(error) => {
            complain(&format_args!("http://{address}{path}: {error:#}"));
            ExitCode::CheckFailed
        }
    }
}

/// A listener on all addresses is queried on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let asking = async { tokio::time::timeout(ANSWER_TIME_MAX, get(address, path)).await };
    match runtime.block_on(asking) {
        Ok(answer) => answer,
        Err(_) => bail!("no answer within {} s", ANSWER_TIME_MAX.as_secs()),
    }
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let stream = TcpStream::connect(address).await.context("no connection")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the runtime; its errors show at the request.
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| anyhow::anyhow!(error))?;
    Ok((head.status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// A listener that answers one request with this and closes, or says nothing until the asker is gone.
    fn answering(with: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut read = [0; 1024];
            while stream.read(&mut read).unwrap_or(0) > 0 {
                let _ = stream.write_all(with.as_bytes());
                if !with.is_empty() {
                    break;
                }
            }
        });
        address
    }

    #[test]
    fn only_200_is_healthy() {
        let options = HealthOptions { live: false };
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(run(answering(ok), options), ExitCode::Clean);
        for other in [
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{}",
            "no HTTP at all\r\n\r\n",
            "",
        ] {
            assert_eq!(run(answering(other), options), ExitCode::CheckFailed, "{other:?}");
        }
    }

    #[test]
    fn nobody_there_is_unhealthy_and_no_port_is_a_mistake() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(run(free, HealthOptions { live: true }), ExitCode::CheckFailed);
        assert_eq!(run("127.0.0.1:0".parse().unwrap(), HealthOptions { live: true }), ExitCode::BadConfig);
    }

    #[test]
    fn all_addresses_are_asked_on_loopback() {
        let cases =
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1"), ("[::1]:1", "[::1]:1")];
        for (listen, asked) in cases {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
