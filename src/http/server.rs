//! Worker threads: each accepts on a socket of its own, and drains on request.
//!
//! Invariant: a connection stays on one worker: the one that accepted it, unless another had fewer. Workers share nothing but
//! the service. A connection past the limit gets an answer too, and is closed so that the answer arrives.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONNECTION, HeaderValue},
    rt::Executor,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener as TokioListener, TcpStream},
    sync::{mpsc, watch},
    task::LocalSet,
};

use super::{
    activity::{Activity, Timeouts},
    body::BoxedRequest,
    closing::Inbound,
    connections::{Connections, Place},
    evicting::EvictingSet,
    limits::Limits,
    request_log::X_REQUEST_ID,
    response::{self, Body, last_answer},
    timed::Timed,
    worker::{Service, Worker},
};
use crate::{
    api::{problems, refused::Refused},
    clock::monotonic,
    telemetry::seldom::Seldom,
};

/// Connections that the kernel keeps until a worker accepts them. A sale's opening second must not overflow it: an
/// overflow costs clients whole seconds of retransmission.
const ACCEPT_BACKLOG: i32 = 4096;

/// How long to wait before accepting again when the process is out of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(20);

/// Bytes that hyper may keep of a connection outside the budget of buffers. Small, so that many connections take little memory,
/// but large enough to receive a batch at network speed.
const H1_BUFFER_BYTES: usize = 64 << 10;
const H2_STREAM_WINDOW_BYTES: u32 = 128 << 10;
const H2_CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
const H2_SEND_BYTES: usize = 64 << 10;
/// Log lines of all workers about connections that could not be accepted.
static ACCEPT_FAILURES: Seldom = Seldom::new(Duration::from_secs(5));
/// How long a refused connection may take to send a request, which shows its protocol. After that, it gets an answer in
/// HTTP/1.1.
const REFUSED_WAIT: Duration = Duration::from_millis(250);

fn too_many_connections() -> Refused {
    problems::OVERLOADED.because("too many connections here")
}

/// Sockets bound to one address, one for each worker.
pub struct Listeners {
    pub address: SocketAddr,
    sockets: Vec<TcpListener>,
}

impl Listeners {
    /// Binds `workers` sockets. With port 0 the kernel chooses one port for all of them.
    pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Self> {
        // Only the first socket shows whether the address is free: with SO_REUSEPORT a second service would share it.
        drop(TcpListener::bind(address)?);
        let first = bind(address)?;
        let address = first.local_addr()?;
        let mut sockets = vec![first];
        for _ in 1..workers {
            sockets.push(bind(address)?);
        }
        Ok(Self { address, sockets })
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_BACKLOG)?;
    Ok(socket.into())
}

/// The running workers.
pub struct ServerHandle {
    drain: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl ServerHandle {
    /// Stops accepting, lets requests in flight finish within the drain time, and waits for the workers.
    pub fn drain(self) {
        let _ = self.drain.send(true);
        for thread in self.threads {
            thread.join().expect("a worker does not panic");
        }
    }
}

/// Starts one worker per socket. `cores`: the core to which each is pinned; None: not pinned. `goes_aside`: gives the calling
/// thread low priority, for work that would block a worker.
pub fn start(
    listeners: Listeners,
    service: Arc<Service>,
    cores: Option<Vec<usize>>,
    goes_aside: fn(),
) -> io::Result<ServerHandle> {
    let any_core = sched_getaffinity(None)?;
    let (drain, draining) = watch::channel(false);
    let limits = &service.limits;
    let workers = listeners.sockets.len();
    let connections = Connections::new(limits.connections_max, limits.connections_per_address_max, workers);
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(limits.connections_max)).unzip();
    let threads = listeners.sockets.into_iter().zip(inboxes).enumerate().map(|(number, (socket, inbox))| {
        let (connections, senders) = (connections.clone(), senders.clone());
        let refused_max = service.limits.refused_connections_max;
        let acceptor = Acceptor { number, service: service.clone(), connections, senders, refused_max };
        let (draining, core) = (draining.clone(), cores.as_ref().map(|cores| cores[number]));
        let (idle, busy) = (service.api.signal.clone(), service.api.signal.clone());
        service.api.signal.thread_started();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Each worker has one thread for long work.
            .max_blocking_threads(1)
            .thread_name(format!("http-{number}-aside"))
            .on_thread_start(move || {
                // The worker starts it, so it would inherit the worker's core.
                let _ = sched_setaffinity(None, &any_core);
                goes_aside();
            })
            .on_thread_park(move || idle.thread_idle())
            .on_thread_unpark(move || busy.thread_busy())
            .build()?;
        std::thread::Builder::new().name(format!("http-{number}")).spawn(move || {
            if let Some(core) = core {
                keep_to(core);
            }
            LocalSet::new().block_on(&runtime, acceptor.run(socket, inbox, draining));
        })
    });
    Ok(ServerHandle { drain, threads: threads.collect::<io::Result<_>>()? })
}

/// Pins the calling thread to this core.
fn keep_to(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    if let Err(error) = sched_setaffinity(None, &cores) {
        tracing::warn!(%error, core, "could not pin a worker to its core");
    }
}

/// The sources of a worker's connections.
struct Acceptor {
    /// The worker's.
    number: usize,
    service: Arc<Service>,
    connections: Arc<Connections>,
    /// The channels of all workers, for connections that others accepted.
    senders: Vec<mpsc::Sender<Handed>>,
    /// Connections past the limit that the worker is answering.
    refused_max: usize,
}

/// A connection that another worker accepted.
struct Handed {
    stream: std::net::TcpStream,
    place: Place,
}

impl Acceptor {
    async fn run(self, socket: TcpListener, mut inbox: mpsc::Receiver<Handed>, mut draining: watch::Receiver<bool>) {
        let listener = TokioListener::from_std(socket).expect("the socket is non-blocking and the runtime is here");
        let worker = Worker::start(self.service.clone());
        let graceful = GracefulShutdown::new();
        let mut refused = EvictingSet::new(self.refused_max);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        if let Some((stream, place)) = self.place(stream, peer, &mut refused).await {
                            begin(stream, place, &worker, graceful.watcher());
                        }
                    }
                    // Out of descriptors: nothing can be accepted until open connections end.
                    Err(error) => {
                        if let Some(left_out) = ACCEPT_FAILURES.admit(monotonic()) {
                            tracing::warn!(%error, left_out, "could not accept a connection");
                        }
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                },
                Some(Handed { stream, place }) = inbox.recv() => match TcpStream::from_std(stream) {
                    Ok(stream) => begin(stream, place, &worker, graceful.watcher()),
                    Err(error) => tracing::warn!(%error, "could not take over a connection"),
                },
                _ = draining.changed() => break,
            }
        }
        drop((listener, inbox));
        if tokio::time::timeout(self.service.limits.drain_time, graceful.shutdown()).await.is_err() {
            let connections = self.connections.open_on(self.number);
            tracing::warn!(connections, "connections were still busy when the drain time was over");
        }
    }

    /// Places the connection: returns it if it stays here, or None if it went to another worker or was refused.
    async fn place(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        refused: &mut EvictingSet,
    ) -> Option<(TcpStream, Place)> {
        let Some(place) = self.connections.take(peer.ip(), self.number) else {
            self.service.api.telemetry.edge.connection_refused();
            let timeouts = self.service.limits.timeouts;
            let activity = Activity::new(Timeouts { idle_time: timeouts.lingering.time, ..timeouts });
            let refusing = tokio::task::spawn_local(refuse(stream, self.service.clone(), activity.clone()));
            refused.admit(activity, &refusing).await;
            return None;
        };
        if place.worker() == self.number {
            return Some((stream, place));
        }
        let sender = &self.senders[place.worker()];
        // Fails only if that worker is stopping, as this one soon will, or if the socket is already broken.
        if let Ok(stream) = stream.into_std() {
            let _ = sender.try_send(Handed { stream, place });
        }
        None
    }
}

/// Serves a connection from now on.
fn begin(stream: TcpStream, place: Place, worker: &Rc<Worker>, watcher: Watcher) {
    worker.service.api.telemetry.edge.connection_opened();
    let worker = worker.clone();
    tokio::task::spawn_local(async move {
        receive(stream, worker.clone(), watcher).await;
        drop(place);
        worker.service.api.telemetry.edge.connection_closed();
    });
}

/// Serves the connection, with or without TLS.
async fn receive(stream: TcpStream, worker: Rc<Worker>, watcher: Watcher) {
    // Answers are small and complete, so waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &worker.service.tls else { return serve(stream, worker, watcher).await };
    // Why a handshake fails does not matter.
    if let Some(stream) = tls.receive(stream, worker.service.limits.timeouts.head_time).await {
        // Boxed: the TLS state is large, and tasks of unencrypted connections would otherwise reserve space for it.
        Box::pin(serve(stream, worker.clone(), watcher)).await;
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, worker: Rc<Worker>, watcher: Watcher) {
    let builder = builder(&worker.service.limits);
    let activity = Activity::new(worker.service.limits.timeouts);
    let socket = TokioIo::new(Timed::new(stream, activity.clone()));
    let service = service_fn(move |request| {
        let worker = worker.clone();
        answer(&activity, request, |request| worker.handle(request))
    });
    let connection = builder.serve_connection(socket, service);
    // How a client disconnects does not matter.
    let _ = watcher.watch(connection).await;
}

/// One request, one answer: every answer leaves here, with the decision about its connection.
pub(super) fn answer<H, F>(
    activity: &Rc<Activity>,
    request: Request<Incoming>,
    handle: H,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<H, F>
where
    H: FnOnce(BoxedRequest) -> F,
    F: Future<Output = (Response<Body>, Instant)>,
{
    let activity = activity.clone();
    let in_flight = activity.begin();
    let number = in_flight.number();
    let request = Box::new(request.map(|incoming| Inbound::new(incoming, activity.clone(), number)));
    async move {
        // Made here: a future that is captured has room twice, where it was captured and where it is awaited.
        let (mut answer, answered) = handle(request).await;
        if let Some(rest) = activity.take_rest(number)
            && !Box::pin(rest.discard()).await
        {
            activity.end_unread();
        }
        if activity.is_ending() {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        match answer.body_mut().take_ended() {
            None => in_flight.end(answered.into()),
            Some(ended) => drop(tokio::task::spawn_local(async move {
                let _ = ended.await;
                drop(in_flight);
            })),
        }
        Ok(answer)
    }
}

fn builder(limits: &Limits) -> auto::Builder<LocalExecutor> {
    let mut builder = auto::Builder::new(LocalExecutor);
    builder
        .http1()
        .timer(TokioTimer::new())
        // The socket has its own timeouts, which distinguish a slow head from an idle connection.
        .header_read_timeout(None)
        // A caller that half-closes has not disconnected: only a failed write shows that.
        .half_close(true)
        // Head and body of an answer are copied together: for a few hundred bytes the kernel takes less time for one piece than
        // for a list of two (a reserve's processor time 18.9 to 17.0 µs, in pairs).
        .writev(false)
        // What a connection may leave unread, and what of its answer: room beyond the limit of a head, so that most of what
        // exceeds it still gets a proper answer.
        .max_buf_size((limits.header_bytes_max * 2).max(H1_BUFFER_BYTES));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams_max)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(H2_SEND_BYTES)
        .max_pending_accept_reset_streams(limits.h2_resets_max)
        .max_local_error_reset_streams(limits.h2_resets_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max * 2).unwrap_or(u32::MAX));
    builder
}

/// Runs a connection's own tasks (HTTP/2 streams) on its worker.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Past a limit of connections: sends an answer without a call, and closes.
async fn refuse(stream: TcpStream, service: Arc<Service>, activity: Rc<Activity>) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = &service.tls else {
        let mut first = [0; 3];
        let peeked = tokio::time::timeout(REFUSED_WAIT, stream.peek(&mut first)).await;
        let multiplexed = matches!(peeked, Ok(Ok(3))) && first == *b"PRI";
        return refuse_on(stream, multiplexed, &service, activity).await;
    };
    if let Some(mut stream) = tls.receive(stream, activity.lingering().time).await {
        let multiplexed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if !multiplexed {
            // The request makes no difference, but clients treat an answer before their request as an error.
            let _ = tokio::time::timeout(REFUSED_WAIT, stream.read(&mut [0; 1024])).await;
        }
        Box::pin(refuse_on(stream, multiplexed, &service, activity)).await;
    }
}

async fn refuse_on(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    multiplexed: bool,
    service: &Service,
    activity: Rc<Activity>,
) {
    let id = service.request_log.write_unread();
    let (time, socket) = (activity.lingering().time, Timed::new(stream, activity.clone()));
    if !multiplexed {
        let headers = format!("retry-after: 1\r\nx-request-id: {id}\r\n");
        return socket.close_with(last_answer(&too_many_connections(), &headers)).await;
    }
    let id = HeaderValue::try_from(id).expect("an id is ASCII");
    let overloaded = service_fn(move |request| {
        let mut response = response::refused(&too_many_connections());
        response.headers_mut().insert(&X_REQUEST_ID, id.clone());
        answer(&activity, request, |_| std::future::ready((*response, Instant::now())))
    });
    let builder = builder(&service.limits);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), overloaded));
    // Answers all of its requests. Ends when none come for a while, or after the idle timeout, so that its client retries on
    // another connection. Some clients treat GOAWAY as an error, so it is not sent earlier.
    if tokio::time::timeout(service.limits.timeouts.idle_time, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(time, connection).await;
    }
}
