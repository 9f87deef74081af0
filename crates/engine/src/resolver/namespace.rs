//! Sockets in other network namespaces. A socket stays in the namespace that its thread was in when it was made,
//! wherever it is used from then on.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
    path::Path,
};

use rustix::{
    net::sockopt,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tokio::net::TcpSocket;

/// A network namespace that is held open.
#[derive(Debug)]
pub(super) struct Namespace(pintle_netlink::Namespace);

impl Namespace {
    /// The one that this path opens.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        pintle_netlink::Namespace::open(path).map(Self).map_err(io::Error::other)
    }

    /// The one that this thread is in.
    pub(super) fn here() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Does `what` with this thread in the namespace, and goes to `home` after it.
    ///
    /// Only for threads that make sockets nowhere else: if the way home fails, the thread stays here, and the next
    /// call moves it where it must be.
    pub(super) fn within<T>(&self, home: &Self, what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
        let done = what();
        if let Err(error) = move_into_link_name_space(home.0.as_fd(), Some(LinkNameSpaceType::Network)) {
            tracing::error!(%error, "the resolver could not leave a network namespace");
        }
        done
    }
}

/// A datagram socket towards one server, on a port that nobody can guess. What a `near` one sends is not carried
/// further than the links of its namespace.
pub(super) fn datagrams_to(server: SocketAddr, near: bool) -> io::Result<UdpSocket> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    keep_near(&socket, server, near)?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A stream socket to connect to this server; `near` as above.
pub(super) fn stream_to(server: SocketAddr, near: bool) -> io::Result<TcpSocket> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    keep_near(&socket, server, near)?;
    Ok(socket)
}

/// Routers let a packet go no further when it has no hops left.
fn keep_near(socket: &impl AsFd, server: SocketAddr, near: bool) -> io::Result<()> {
    match (near, server) {
        (false, _) => Ok(()),
        (true, SocketAddr::V4(_)) => Ok(sockopt::set_ip_ttl(socket, 1)?),
        (true, SocketAddr::V6(_)) => Ok(sockopt::set_ipv6_unicast_hops(socket, Some(1))?),
    }
}
