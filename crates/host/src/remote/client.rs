use std::{
    collections::BTreeMap,
    fmt, io,
    os::fd::OwnedFd,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use pintle_wire::{CONTENT_TYPE, spec::Address};
use tokio::time::{Instant as Deadline, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::{
    BreakerState, Budget, CallError,
    breaker::Breaker,
    call::LARGEST_ANSWER,
    connect::{connect, is_absent, is_quiet},
};
use crate::plugin::CallStats;

/// Connections kept open while nobody calls.
const IDLE_CONNECTIONS: usize = 4;
/// A connection idle for longer may be closed by the plugin at the very moment of the next request, which
/// could then not be told from one that was lost half way.
const IDLE_AT_MOST: Duration = Duration::from_secs(3);

/// One plugin's address, with its connections, breaker and counters. Calls run in parallel.
pub struct Client {
    plugin: String,
    address: Address,
    idle: Mutex<Vec<Idle>>,
    breaker: Mutex<Breaker>,
    failures: Mutex<u32>,
    stats: Mutex<BTreeMap<String, CallStats>>,
    under_way: AtomicUsize,
}

/// How many calls are under way.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn one_more(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    handle: OwnedFd,
    _driver: AbortOnDropHandle<()>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    fn is_usable(&self) -> bool {
        let connection = &self.connection;
        self.since.elapsed() < IDLE_AT_MOST && connection.sender.is_ready() && is_quiet(&connection.handle)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("plugin", &self.plugin)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// A client that has not connected yet. `plugin` is the name that errors carry.
    pub fn new(plugin: impl Into<String>, address: Address) -> Self {
        Self {
            plugin: plugin.into(),
            address,
            idle: Mutex::default(),
            breaker: Mutex::default(),
            failures: Mutex::default(),
            stats: Mutex::default(),
            under_way: AtomicUsize::new(0),
        }
    }

    /// Where the plugin listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What the breaker lets through now.
    pub fn breaker(&self) -> BreakerState {
        lock(&self.breaker).state()
    }

    /// How the calls went so far, by method.
    pub fn stats(&self) -> BTreeMap<String, CallStats> {
        lock(&self.stats).clone()
    }

    /// Whether somebody listens: connects and hangs up.
    pub async fn probe(&self, limit: Duration) -> Result<(), CallError> {
        match tokio::time::timeout(limit, connect(&self.address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(self.unreachable(&io::Error::from(io::ErrorKind::TimedOut))),
        }
    }

    /// Whether it answers: posts `body` to `path`, which must be harmless, whatever the breaker says, and takes any
    /// answer for a sign of life. With calls under way it only connects: a plugin that does one thing at a time
    /// is busy, not dead, and each of them has its own budget.
    pub(crate) async fn ask(
        &self,
        path: &str,
        body: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<(), CallError> {
        if self.under_way.load(Ordering::Relaxed) > 0 {
            return self.probe(limit).await;
        }
        self.exchange(path, path.trim_start_matches('/'), body, Budget::once(limit)).await?;
        lock(&self.breaker).revive();
        Ok(())
    }

    /// Lets no call through for so long, or until [`Client::ask`] finds it alive.
    pub(crate) fn hold(&self, length: Duration) {
        lock(&self.breaker).hold(Instant::now() + length);
        let mut failures = lock(&self.failures);
        *failures = failures.saturating_add(1);
    }

    /// Posts `body` to `path` and answers the status and the body, whatever they are. Without a body the
    /// request says `Content-Length: 0`.
    pub async fn call(
        &self,
        path: &str,
        body: Option<Vec<u8>>,
        budget: Budget,
    ) -> Result<(u16, Bytes), CallError> {
        let started = Instant::now();
        let method = path.trim_start_matches('/');
        let outcome = self.guarded(path, method, body, budget).await;
        let mut stats = lock(&self.stats);
        let entry = stats.entry(method.to_owned()).or_default();
        entry.calls += 1;
        entry.last_duration = started.elapsed();
        entry.total_duration += entry.last_duration;
        if let Err(error) = &outcome {
            entry.failures += 1;
            entry.last_error = Some(error.to_string());
        }
        outcome
    }

    /// Notes that a call was answered with an error, so that it shows among the counters.
    pub fn note_failure(&self, method: &str, error: &str) {
        let mut stats = lock(&self.stats);
        let entry = stats.entry(method.to_owned()).or_default();
        entry.failures += 1;
        entry.last_error = Some(error.to_owned());
    }

    async fn guarded(
        &self,
        path: &str,
        method: &str,
        body: Option<Vec<u8>>,
        budget: Budget,
    ) -> Result<(u16, Bytes), CallError> {
        if let Err(wait) = lock(&self.breaker).admit(Instant::now()) {
            let failures = *lock(&self.failures);
            return Err(CallError::Open { plugin: self.plugin.clone(), failures, wait });
        }
        let _under_way = UnderWay::one_more(&self.under_way);
        // A caller that stops waiting must not leave the breaker waiting for a verdict.
        let mut verdict = Verdict { client: self, given: false };
        let outcome = self.exchange(path, method, body, budget).await;
        verdict.give(&outcome);
        outcome
    }

    async fn exchange(
        &self,
        path: &str,
        method: &str,
        body: Option<Vec<u8>>,
        budget: Budget,
    ) -> Result<(u16, Bytes), CallError> {
        let deadline = Deadline::now() + budget.total;
        let timeout = || CallError::Timeout {
            plugin: self.plugin.clone(),
            method: method.to_owned(),
            budget: budget.total,
        };
        let mut request = self.request(path, body);
        loop {
            let (mut connection, fresh) = match self.reuse() {
                Some(connection) => (connection, false),
                None => (self.connect(budget, deadline).await?, true),
            };
            let sent = timeout_at(deadline, connection.sender.try_send_request(request));
            let response = match sent.await.map_err(|_| timeout())? {
                Ok(response) => response,
                Err(mut error) => match error.take_message() {
                    // Not a byte of it went out, so this is still the first time that it is sent.
                    Some(unsent) if !fresh => {
                        request = unsent;
                        continue;
                    }
                    _ => return Err(self.lost(method, &error.into_error())),
                },
            };
            let status = response.status().as_u16();
            let body = timeout_at(deadline, self.read(method, response.into_body()));
            let body = body.await.map_err(|_| timeout())??;
            self.keep(connection);
            return Ok((status, body));
        }
    }

    fn request(&self, path: &str, body: Option<Vec<u8>>) -> Request<Full<Bytes>> {
        let body = Bytes::from(body.unwrap_or_default());
        let host = match &self.address {
            Address::Unix(_) => HeaderValue::from_static("plugin.moby.localhost"),
            Address::Tcp(host) | Address::Tls(host, _) => HeaderValue::from_str(host)
                .unwrap_or_else(|_| HeaderValue::from_static("plugin.moby.localhost")),
        };
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(header::HOST, host);
        headers.insert(header::ACCEPT, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        request
    }

    fn reuse(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(|idle| idle.is_usable());
        idle.pop().map(|idle| idle.connection)
    }

    fn keep(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_CONNECTIONS && !connection.sender.is_closed() {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    async fn connect(&self, budget: Budget, deadline: Deadline) -> Result<Connection, CallError> {
        let give_up = deadline.min(Deadline::now() + budget.connect);
        let mut pause = Duration::from_millis(10);
        let (stream, handle) = loop {
            match timeout_at(deadline, connect(&self.address)).await {
                Ok(Ok(connected)) => break connected,
                Ok(Err(error)) if is_absent(&error) && Deadline::now() + pause < give_up => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
                Ok(Err(error)) => return Err(self.unreachable(&error)),
                Err(_) => return Err(self.unreachable(&io::Error::from(io::ErrorKind::TimedOut))),
            }
        };
        let handshake = http1::Builder::new()
            .title_case_headers(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(&io::Error::other(error)))?;
        let (sender, driver) = handshake;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // Its failure reaches the caller through the request.
            drop(driver.await);
        }));
        Ok(Connection { sender, handle, _driver: driver })
    }

    async fn read(&self, method: &str, mut body: Incoming) -> Result<Bytes, CallError> {
        let too_large = || CallError::TooLarge { plugin: self.plugin.clone(), method: method.to_owned() };
        if body.size_hint().lower() > LARGEST_ANSWER as u64 {
            return Err(too_large());
        }
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.lost(method, &error))?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > LARGEST_ANSWER {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes.freeze())
    }

    fn unreachable(&self, error: &io::Error) -> CallError {
        let address = match &self.address {
            Address::Unix(path) => path.display().to_string(),
            other => other.to_string(),
        };
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "no such socket".to_owned(),
            io::ErrorKind::ConnectionRefused => "nobody listens".to_owned(),
            io::ErrorKind::TimedOut => "timed out".to_owned(),
            _ => error.to_string(),
        };
        CallError::Connect { plugin: self.plugin.clone(), address, reason }
    }

    fn lost(&self, method: &str, error: &hyper::Error) -> CallError {
        let reason = match std::error::Error::source(error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        CallError::Lost { plugin: self.plugin.clone(), method: method.to_owned(), reason }
    }
}

/// Tells the breaker how an admitted call ended, also when the caller went away.
struct Verdict<'a> {
    client: &'a Client,
    given: bool,
}

impl Verdict<'_> {
    fn give<T>(&mut self, outcome: &Result<T, CallError>) {
        self.given = true;
        let now = Instant::now();
        let mut breaker = lock(&self.client.breaker);
        match outcome {
            Ok(_) | Err(CallError::TooLarge { .. }) => {
                breaker.answered();
                *lock(&self.client.failures) = 0;
            }
            Err(CallError::Timeout { .. } | CallError::Lost { .. }) => {
                breaker.failed(now);
                *lock(&self.client.failures) += 1;
            }
            Err(CallError::Connect { .. } | CallError::Open { .. }) => breaker.abandoned(now),
        }
    }
}

impl Drop for Verdict<'_> {
    fn drop(&mut self) {
        if !self.given {
            lock(&self.client.breaker).abandoned(Instant::now());
        }
    }
}
