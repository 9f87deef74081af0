//! A connection to whoever takes the lines: TCP, TLS over it, or a unix socket.
//!
//! Protocols over it that have no acknowledgement get the next best: what the other end's kernel has, and two seconds
//! without a complaint. At the end there is a proof: we close our side, and the other end, having read everything, closes
//! its own; one that died with something unread resets the connection instead.

use std::{fmt, io, path::PathBuf, pin::Pin, sync::Arc, task::Poll, time::Duration};

use pintle_contract::{DriverError, ErrorKind};
use pintle_runtime::socket::unsent;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{tls::Trust, window::Window};

/// What it may take to connect, and to write one batch.
const CONNECT: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(30);
/// What the other end may take to read everything and close its side.
const CLOSE: Duration = Duration::from_secs(5);

/// Where it leads.
#[derive(Debug, Clone)]
pub(super) enum Address {
    /// `host:port`, brackets around IPv6.
    Tcp(String),
    /// The same, and whom to believe.
    Tls(String, Trust),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(place) => write!(f, "tcp://{place}"),
            Self::Tls(place, _) => write!(f, "tls://{place}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection, and how far its other end is.
pub(super) struct Connection {
    stream: Stream,
    window: Window,
    to: String,
    write: Duration,
}

impl Connection {
    /// Connects.
    pub(super) async fn open(address: &Address) -> Result<Self, DriverError> {
        let to = address.to_string();
        let stream = timeout(CONNECT, connect(address)).await;
        let stream = stream.map_err(|_| unavailable(&to, &"no answer in time"))??;
        Ok(Self { stream, window: Window::default(), to, write: WRITE })
    }

    /// Limits what one write may take.
    pub(super) fn limit_writes(&mut self, limit: Duration) {
        self.write = limit;
    }

    fn io(&mut self) -> &mut dyn Io {
        match &mut self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream.as_mut(),
            Stream::Unix(stream) => stream,
        }
    }

    fn unsent(&self) -> io::Result<usize> {
        match &self.stream {
            Stream::Tcp(stream) => unsent(stream),
            Stream::Tls(stream) => unsent(stream.get_ref().0),
            Stream::Unix(stream) => unsent(stream),
        }
    }

    /// Writes what `count` entries became.
    pub(super) async fn write(&mut self, bytes: &[u8], count: usize) -> Result<(), DriverError> {
        let limit = self.write;
        let io = self.io();
        let written = timeout(limit, async {
            io.write_all(bytes).await?;
            io.flush().await
        });
        match written.await {
            Ok(Ok(())) => {
                self.window.sent(count);
                Ok(())
            }
            Ok(Err(error)) => Err(unavailable(&self.to, &error)),
            Err(_) => Err(unavailable(&self.to, &"it does not read")),
        }
    }

    /// Reads what is there, waiting for the first of it.
    pub(super) async fn read(&mut self, buffer: &mut Vec<u8>, limit: Duration) -> Result<(), DriverError> {
        let read = timeout(limit, self.io().read_buf(buffer)).await;
        match read {
            Ok(Ok(0)) => Err(unavailable(&self.to, &"it closed the connection")),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(unavailable(&self.to, &error)),
            Err(_) => Err(unavailable(&self.to, &"no answer in time")),
        }
    }

    /// How many entries are taken by now. What the other end says meanwhile is dropped.
    pub(super) async fn settled(&mut self) -> Result<u64, DriverError> {
        let io = self.io();
        let here = std::future::poll_fn(|context| {
            loop {
                let mut bytes = [0; 512];
                let mut buffer = ReadBuf::new(&mut bytes);
                match Pin::new(&mut *io).poll_read(context, &mut buffer) {
                    Poll::Pending => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                        return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
                    }
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
        });
        here.await.map_err(|error| unavailable(&self.to, &error))?;
        Ok(if self.unsent()? == 0 { self.window.settled() } else { self.window.so_far() })
    }

    /// Waits until the other end's kernel has everything.
    pub(super) async fn drained(&mut self, limit: Duration) -> Result<(), DriverError> {
        let empty = async {
            while self.unsent()? > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        };
        timeout(limit, empty).await.unwrap_or_else(|_| Err(unavailable(&self.to, &"it does not read")))
    }

    /// Closes our side and waits until the other end has read everything.
    pub(super) async fn finish(&mut self) -> Result<(), DriverError> {
        let io = self.io();
        let closed = timeout(CLOSE, async {
            io.shutdown().await?;
            let mut rest = [0; 512];
            while io.read(&mut rest).await? > 0 {}
            Ok::<(), io::Error>(())
        });
        match closed.await {
            Ok(Ok(())) => Ok(()),
            // TLS is closed like this by many.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Ok(Err(error)) => Err(unavailable(&self.to, &error)),
            Err(_) if self.unsent()? == 0 => Ok(()),
            Err(_) => Err(unavailable(&self.to, &"it does not read")),
        }
    }
}

async fn connect(address: &Address) -> Result<Stream, DriverError> {
    let dial = async |place: &String| {
        let stream = TcpStream::connect(place).await.map_err(|error| unavailable(address, &error))?;
        stream.set_nodelay(true)?;
        Ok::<_, DriverError>(stream)
    };
    Ok(match address {
        Address::Tcp(place) => Stream::Tcp(dial(place).await?),
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await;
            Stream::Unix(stream.map_err(|error| unavailable(address, &error))?)
        }
        Address::Tls(place, trust) => {
            let trust = trust.clone();
            let config = crate::blocking(move || trust.config()).await?;
            let host = place.rsplit_once(':').map_or(place.as_str(), |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(host).map_err(|error| DriverError::invalid(error.to_string()))?;
            let stream = dial(place).await?;
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
            Stream::Tls(Box::new(stream.map_err(|error| unavailable(address, &error))?))
        }
    })
}

/// It cannot be reached at this moment.
pub(super) fn unavailable(to: &dyn fmt::Display, why: &dyn fmt::Display) -> DriverError {
    DriverError::new(ErrorKind::Unavailable, format!("{to}: {why}"))
}
