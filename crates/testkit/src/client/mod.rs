//! A plain plugin client: one connection for each call, nothing clever. It checks servers independently of the
//! engine's own client, and it is what `pintle plugin test SOCKET` speaks with. It believes every answer: whether
//! one may be believed is what the suites find out.

mod authorization;
mod ipam;
mod network;
mod volume;

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pintle_contract::{DriverError, ErrorKind};
use pintle_wire::{Activation, CONTENT_TYPE, activation::ACTIVATE_PATH, spec::Address};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// The largest answer that is read.
const MAX_BODY: usize = 16 << 20;

/// Connects however long the path is: an address holds 107 bytes, so a longer one goes by way of its folder.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    match (socket.parent(), socket.file_name()) {
        (Some(folder), Some(name)) if socket.as_os_str().len() > 107 => {
            let folder = File::open(folder)?;
            let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
            UnixStream::connect(short).await
        }
        _ => UnixStream::connect(socket).await,
    }
}

/// The drivers behind a socket: every contract, whether the plugin keeps it or not.
#[derive(Debug, Clone)]
pub struct PluginClient {
    address: Address,
    budget: Duration,
}

impl PluginClient {
    /// The plugin at `address`. Nothing is connected yet; each call may take 30 seconds.
    pub fn new(address: Address) -> Self {
        Self { address, budget: Duration::from_secs(30) }
    }

    /// The plugin behind a unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Address::Unix(path.into()))
    }

    /// How long each call may take.
    #[must_use]
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// Asks a legacy plugin what it implements. A managed plugin need not answer this.
    pub async fn activate(&self) -> Result<Activation, DriverError> {
        let (status, body) = self.post(ACTIVATE_PATH, Vec::new()).await?;
        if status != 200 {
            let text = String::from_utf8_lossy(&body).into_owned();
            return Err(DriverError::internal(format!("Plugin.Activate: {text}")));
        }
        Activation::decode(&body).map_err(|error| DriverError::internal(format!("Plugin.Activate: {error}")))
    }

    /// The same once the plugin answers, which one that was just started takes a moment to do. After five seconds
    /// without an answer it is why there is none.
    pub async fn awake(self) -> Result<Self, DriverError> {
        for _ in 1..500 {
            if self.activate().await.is_ok() {
                return Ok(self);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.activate().await.map(|_| self)
    }

    /// Whether somebody listens there.
    pub async fn reach(&self) -> io::Result<()> {
        let connected = async {
            match &self.address {
                Address::Unix(socket) => connect(socket).await.map(drop),
                Address::Tcp(host) | Address::Tls(host, _) => TcpStream::connect(host).await.map(drop),
            }
        };
        timeout(self.budget, connected).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The process that listens on the unix socket, if it answers and the kernel tells.
    pub async fn owner(&self) -> Option<u32> {
        let Address::Unix(socket) = &self.address else { return None };
        let stream = timeout(self.budget, connect(socket)).await.ok()?.ok()?;
        let pid = stream.peer_cred().ok()?.pid()?;
        u32::try_from(pid).ok().filter(|pid| *pid != 0)
    }

    /// Posts to a path and returns status and body, within the budget.
    pub async fn post(&self, path: &str, body: Vec<u8>) -> Result<(u16, Bytes), DriverError> {
        let call = async {
            match &self.address {
                Address::Unix(socket) => exchange(connect(socket).await, path, body).await,
                Address::Tcp(host) => exchange(TcpStream::connect(host).await, path, body).await,
                Address::Tls(..) => {
                    Err(DriverError::new(ErrorKind::Unsupported, "this client does not speak TLS"))
                }
            }
        };
        timeout(self.budget, call).await.unwrap_or_else(|_| {
            let text = format!("{}: no answer within {:?}", path.trim_start_matches('/'), self.budget);
            Err(DriverError::new(ErrorKind::Timeout, text))
        })
    }
}

async fn exchange<S>(
    stream: std::io::Result<S>,
    path: &str,
    body: Vec<u8>,
) -> Result<(u16, Bytes), DriverError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let lost = |error: &dyn std::fmt::Display| DriverError::new(ErrorKind::Unavailable, error.to_string());
    let stream = stream.map_err(|error| lost(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| lost(&error))?;
    let request = Request::post(path)
        .header(header::HOST, "plugin.moby.localhost")
        .header(header::ACCEPT, CONTENT_TYPE)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| DriverError::invalid(error.to_string()))?;
    let answer = async {
        let response: Response<_> = sender.send_request(request).await.map_err(|error| lost(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body =
            body.map_err(|error| DriverError::internal(format!("the answer cannot be read: {error}")))?;
        Ok((status, body.to_bytes()))
    };
    // The connection makes progress only while it is polled, and it ends with this call.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = answer.as_mut() => answer,
        _ = connection => answer.await,
    }
}

/// Replies are read in the shape of the method; this is for the compiler.
fn mismatch(reply: &impl std::fmt::Debug) -> DriverError {
    DriverError::internal(format!("the answer is of another kind: {reply:?}"))
}
