//! An HTTP server with Doorbuster's layout: one current-thread runtime per core, each with a socket of its own. The ceiling and
//! the fronts use it, so that only the systems behind it differ.

use std::{convert::Infallible, future::Future, net::SocketAddr, rc::Rc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Response, StatusCode, service::service_fn};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::LocalSet;

/// An answer: its status and its JSON.
pub type Answer = (StatusCode, Bytes);

/// Serves until the process is ended. `start` makes a worker's state, `answer` answers a request's body.
pub fn serve<S, F, A>(
    address: SocketAddr,
    start: impl Fn() -> F + Send + Sync,
    answer: impl Fn(Rc<S>, Bytes) -> A + Send + Sync + Copy + 'static,
) -> anyhow::Result<()>
where
    S: 'static,
    F: Future<Output = anyhow::Result<S>>,
    A: Future<Output = Answer> + 'static,
{
    let cores = std::thread::available_parallelism()?.get();
    let sockets = (0..cores).map(|_| listen(address)).collect::<anyhow::Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        let workers: Vec<_> = sockets
            .into_iter()
            .map(|socket| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    LocalSet::new().block_on(&runtime, work(socket, start(), answer))
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })
}

fn listen(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

async fn work<S, A>(
    socket: std::net::TcpListener,
    state: impl Future<Output = anyhow::Result<S>>,
    answer: impl Fn(Rc<S>, Bytes) -> A + Copy + 'static,
) -> anyhow::Result<()>
where
    S: 'static,
    A: Future<Output = Answer> + 'static,
{
    let listener = tokio::net::TcpListener::from_std(socket)?;
    let state = Rc::new(state.await?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let state = state.clone();
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let state = state.clone();
            async move {
                let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let (status, json) = answer(state, body).await;
                let response = Response::builder()
                    .status(status)
                    .header("content-type", "application/json")
                    .header("location", "/v1/reservations/01a20516-5067-72c8-b095-20ea3b80beb9")
                    .body(Full::new(json))
                    .expect("sound headers");
                Ok::<_, Infallible>(response)
            }
        });
        tokio::task::spawn_local(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
