//! The server: build it, bind it, serve, drain.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use pintle_contract::{
    Authorizer, DriverError, IpamDriver, LogDriver, LogLines, NetworkDriver, VolumeDriver,
};
use pintle_wire::CONTENT_TYPE;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    listen::{Bound, Listen, Listener},
    service::{Answer, Service, Streams, frames},
};

/// How long a request's body may take to arrive.
const READ: Duration = Duration::from_secs(30);

/// An engine kills a plugin 10 seconds after it asked it to stop.
const DRAIN: Duration = Duration::from_secs(8);

type Health = dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), DriverError>> + Send>> + Send + Sync;

/// A plugin about to be served.
pub struct Server {
    service: Service,
    health: Arc<Health>,
    drain: Duration,
}

/// Why a plugin is not served, or not to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// What was to be listened on.
        address: String,
        /// Why not.
        error: io::Error,
    },
    /// The address cannot be published.
    #[error("cannot write {}: {error}", path.display())]
    Spec {
        /// The spec file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// [`Listen::activated`] without a socket from systemd.
    #[error("systemd passed no socket (LISTEN_FDS is not set for this process)")]
    NotActivated,
    /// SIGTERM and SIGINT cannot be handled.
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
    /// Calls were still running at the deadline; what became of them is unknown.
    #[error("stopped with {calls} calls under way after waiting for {waited:?}")]
    Drain {
        /// How many.
        calls: usize,
        /// The deadline.
        waited: Duration,
    },
    /// The server itself failed.
    #[error("the server failed: {0}")]
    Internal(String),
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket's path.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl Server {
    /// A volume plugin.
    pub fn volume(driver: impl VolumeDriver) -> Self {
        Self::new(Service { volume: Some(Arc::new(driver)), ..Service::default() })
    }

    /// A network plugin.
    pub fn network(driver: impl NetworkDriver) -> Self {
        Self::new(Service { network: Some(Arc::new(driver)), ..Service::default() })
    }

    /// An IPAM plugin.
    pub fn ipam(driver: impl IpamDriver) -> Self {
        Self::new(Service { ipam: Some(Arc::new(driver)), ..Service::default() })
    }

    /// An authorization plugin.
    pub fn authorization(authorizer: impl Authorizer) -> Self {
        Self::new(Service { authorizer: Some(Arc::new(authorizer)), ..Service::default() })
    }

    /// A log plugin.
    pub fn log(driver: impl LogDriver) -> Self {
        Self::new(Service { log: Some(Streams::new(Arc::new(driver))), ..Service::default() })
    }

    /// A plugin that is both, by one driver.
    pub fn network_and_ipam(driver: impl NetworkDriver + IpamDriver) -> Self {
        let driver = Arc::new(driver);
        Self::new(Service { network: Some(driver.clone()), ipam: Some(driver), ..Service::default() })
    }

    /// And volumes, on the same socket.
    #[must_use]
    pub fn and_volume(mut self, driver: impl VolumeDriver) -> Self {
        self.service.volume = Some(Arc::new(driver));
        self
    }

    /// And networks, on the same socket.
    #[must_use]
    pub fn and_network(mut self, driver: impl NetworkDriver) -> Self {
        self.service.network = Some(Arc::new(driver));
        self
    }

    /// And addresses, on the same socket.
    #[must_use]
    pub fn and_ipam(mut self, driver: impl IpamDriver) -> Self {
        self.service.ipam = Some(Arc::new(driver));
        self
    }

    /// And authorization, on the same socket.
    #[must_use]
    pub fn and_authorization(mut self, authorizer: impl Authorizer) -> Self {
        self.service.authorizer = Some(Arc::new(authorizer));
        self
    }

    /// And logs, on the same socket.
    #[must_use]
    pub fn and_log(mut self, driver: impl LogDriver) -> Self {
        self.service.log = Some(Streams::new(Arc::new(driver)));
        self
    }

    fn new(service: Service) -> Self {
        Self { service, health: Arc::new(|| Box::pin(async { Ok(()) })), drain: DRAIN }
    }

    /// What `GET /health` asks. Without it a plugin is healthy as long as it answers.
    #[must_use]
    pub fn health<F, R>(mut self, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), DriverError>> + Send + 'static,
    {
        self.health = Arc::new(move || Box::pin(check()));
        self
    }

    /// How long calls under way may take once the server is told to stop; 8 seconds if not given.
    #[must_use]
    pub fn drain(mut self, deadline: Duration) -> Self {
        self.drain = deadline;
        self
    }

    /// Answers one call without any socket, activation included: the status and the body of the reply.
    pub async fn answer(&self, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let Answer { status, mut body, lines } = self.service.answer(path, body).await;
        let Some(mut lines) = lines else { return (status.as_u16(), body) };
        loop {
            match frames(lines.as_mut()).await {
                Ok(Some(more)) => body.extend(more),
                Ok(None) => return (status.as_u16(), body),
                Err(error) => {
                    let Answer { status, body, .. } =
                        Answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error);
                    return (status.as_u16(), body);
                }
            }
        }
    }

    /// Serves until SIGTERM or SIGINT, then stops as [`Running::stop`] does.
    pub async fn serve(self, listen: Listen) -> Result<(), ServeError> {
        // Before the socket is there, so that no signal after it is missed.
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
        let mut running = self.start(listen)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            ended = running.ended() => return ended,
        }
        running.stop().await
    }

    /// Serves in the background of the current tokio runtime until the handle is stopped or dropped.
    pub fn start(self, listen: Listen) -> Result<Running, ServeError> {
        let Bound { listener, address, file } = listen.bind()?;
        let stop = CancellationToken::new();
        let shared =
            Arc::new(Shared { service: self.service, health: self.health, calls: TaskTracker::new() });
        let drain = self.drain;
        let task = tokio::spawn({
            let stop = stop.clone();
            async move {
                // The connections go with this set if the task is dropped.
                let mut connections = JoinSet::new();
                accept(&listener, &shared, &stop, &mut connections).await;
                // The file first: an engine that looks now must not find a socket that refuses it.
                drop(file);
                drop(listener);
                shared.finish(connections, drain).await
            }
        });
        Ok(Running { address, stop, task: Some(task) })
    }
}

/// A plugin being served. Dropping it stops the server without waiting for it.
pub struct Running {
    address: Address,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Running {
    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Stops accepting, removes the socket, waits for the calls under way, and reports those that did not
    /// end in time.
    pub async fn stop(mut self) -> Result<(), ServeError> {
        self.stop.cancel();
        self.ended().await
    }

    async fn ended(&mut self) -> Result<(), ServeError> {
        let Some(task) = &mut self.task else { return Ok(()) };
        let result = task.await.unwrap_or_else(|error| Err(ServeError::Internal(error.to_string())));
        self.task = None;
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Shared {
    service: Service,
    health: Arc<Health>,
    /// Calls live here and not in their connections: a caller that hangs up does not cut a mount in half.
    calls: TaskTracker,
}

async fn accept(
    listener: &Listener,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    connections: &mut JoinSet<()>,
) {
    loop {
        let stream: io::Result<Stream> = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => continue,
            stream = next(listener) => stream,
        };
        match stream {
            Ok(stream) => {
                connections.spawn(serve_connection(stream, Arc::clone(shared), stop.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: leave the others the time to end.
                eprintln!("cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
type Stream = Box<dyn Duplex>;

async fn next(listener: &Listener) -> io::Result<Stream> {
    match listener {
        Listener::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        Listener::Tcp(listener) => {
            let stream = listener.accept().await?.0;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
    }
}

async fn serve_connection(stream: Stream, shared: Arc<Shared>, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

type Reply = UnsyncBoxBody<Bytes, DriverError>;

/// Lines that are read as their reader takes them. An error cuts the answer off, so that it is not taken for the end.
struct Lines(mpsc::Receiver<Result<Bytes, DriverError>>);

impl Lines {
    fn begin(mut lines: Box<dyn LogLines>) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = frames(lines.as_mut()) => next,
                    // Nobody reads any more.
                    () = sender.closed() => break,
                };
                let Some(next) = next.transpose() else { break };
                let is_last = next.is_err();
                if sender.send(next.map(Bytes::from)).await.is_err() || is_last {
                    break;
                }
            }
        });
        Self(receiver)
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = DriverError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DriverError>>> {
        self.0.poll_recv(context).map(|next| next.map(|bytes| bytes.map(Frame::data)))
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Reply> {
        let Answer { status, body, lines } = self.route(request).await;
        let body = match lines {
            None => Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync(),
            Some(lines) => Lines::begin(lines).boxed_unsync(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(CONTENT_TYPE));
        response
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let refuse = |status, text: String| Answer::error(status, &DriverError::invalid(text));
        if path == "/health" {
            return self.health().await;
        }
        if !self.service.knows(&path) {
            return Answer::unknown(&path);
        }
        if head.method != http::Method::POST {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, format!("{path} is called with POST"));
        }
        let longest = self.service.longest(&path);
        if body.size_hint().lower() > longest as u64 {
            return refuse(StatusCode::BAD_REQUEST, format!("the request is longer than {longest} bytes"));
        }
        let body = match timeout(READ, Limited::new(body, longest).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => {
                return refuse(StatusCode::BAD_REQUEST, format!("the request cannot be read: {error}"));
            }
            Err(_) => {
                return refuse(StatusCode::REQUEST_TIMEOUT, format!("no whole request within {READ:?}"));
            }
        };
        let service = self.service.clone();
        let call = self.calls.spawn(async move { service.answer(&path, &body).await });
        call.await.unwrap_or_else(|_| panicked())
    }

    async fn health(&self) -> Answer {
        match self.calls.spawn((self.health)()).await {
            Ok(Ok(())) => Answer::ok(b"{\"Status\":\"ok\"}\n".to_vec()),
            Ok(Err(error)) => Answer::error(StatusCode::SERVICE_UNAVAILABLE, &error),
            Err(_) => panicked(),
        }
    }

    async fn finish(&self, mut connections: JoinSet<()>, drain: Duration) -> Result<(), ServeError> {
        let deadline = tokio::time::Instant::now() + drain;
        self.calls.close();
        let calls = timeout_at(deadline, self.calls.wait()).await;
        // The last answers still have to be written; a caller that does not read them is not waited for.
        let written = tokio::time::Instant::now() + Duration::from_secs(1);
        let _ = timeout_at(written, async { while connections.join_next().await.is_some() {} }).await;
        connections.shutdown().await;
        match calls {
            Ok(()) => Ok(()),
            Err(_) => Err(ServeError::Drain { calls: self.calls.len(), waited: drain }),
        }
    }
}

fn panicked() -> Answer {
    let error = DriverError::internal("the plugin panicked in this call; its log says where");
    Answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error)
}
