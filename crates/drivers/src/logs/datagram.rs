//! Datagrams to whoever takes the lines: UDP, or a unix socket.

use std::{io, path::Path};

use pintle_contract::DriverError;
use pintle_runtime::socket::unsent;
use tokio::net::{UdpSocket, UnixDatagram};

use super::{connection::unavailable, window::Window};

/// UDP tells nobody that a receiver's buffer is full: after so many datagrams there is a pause, in which it is emptied.
const BURST: u32 = 32;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// A connected socket, and how far its other end is as far as one can tell.
pub(super) struct Datagrams {
    socket: Socket,
    window: Window,
    to: String,
    burst: u32,
}

impl Datagrams {
    /// To `host:port`.
    pub(super) async fn udp(place: &str) -> Result<Self, DriverError> {
        let to = format!("udp://{place}");
        let there = tokio::net::lookup_host(place).await.map_err(|error| unavailable(&to, &error))?.next();
        let there = there.ok_or_else(|| unavailable(&to, &"no address"))?;
        let any = if there.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(there).await.map_err(|error| unavailable(&to, &error))?;
        Ok(Self { socket: Socket::Udp(socket), window: Window::default(), to, burst: 0 })
    }

    /// To a socket in the file system.
    pub(super) fn unix(path: &Path) -> Result<Self, DriverError> {
        let to = format!("unixgram://{}", path.display());
        let socket = UnixDatagram::unbound()?;
        socket.connect(path).map_err(|error| unavailable(&to, &error))?;
        Ok(Self { socket: Socket::Unix(socket), window: Window::default(), to, burst: 0 })
    }

    /// Sends one; a unix socket may wait for its reader.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), DriverError> {
        let sent = match &self.socket {
            Socket::Udp(socket) => {
                self.burst += 1;
                if self.burst.is_multiple_of(BURST) {
                    tokio::time::sleep(PAUSE).await;
                }
                socket.send(bytes).await
            }
            Socket::Unix(socket) => socket.send(bytes).await,
        };
        match sent {
            Ok(_) => Ok(()),
            Err(error) => Err(unavailable(&self.to, &error)),
        }
    }

    /// Notes that so many entries were sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.window.sent(count);
    }

    /// How many are taken by now, as far as one can tell.
    pub(super) fn settled(&mut self) -> Result<u64, DriverError> {
        Ok(if self.is_taken()? { self.window.settled() } else { self.window.so_far() })
    }

    /// Whether nothing is left here.
    pub(super) fn is_taken(&self) -> Result<bool, DriverError> {
        let (error, left) = match &self.socket {
            Socket::Udp(socket) => (socket.take_error()?, unsent(socket)?),
            Socket::Unix(socket) => (socket.take_error()?, unsent(socket)?),
        };
        error.map_or(Ok(left == 0), |error: io::Error| Err(unavailable(&self.to, &error)))
    }

    /// Waits until nothing is left here.
    pub(super) async fn finish(&mut self) -> Result<(), DriverError> {
        while !self.is_taken()? {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        Ok(())
    }
}
