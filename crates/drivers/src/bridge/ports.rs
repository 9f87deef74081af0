//! The host's ports: which ones are taken, each by a socket, so that conflicts are seen in both directions.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pintle_contract::{DriverError, ErrorKind, network::Protocol};
use pintle_netlink::Namespace;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};

/// The ports of one host.
#[derive(Debug)]
pub(super) struct Ports {
    host: Namespace,
    /// Whether sockets keep them.
    keep: bool,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    ports: BTreeSet<(Protocol, u16, IpAddr)>,
    /// Where to look next for a port that may be any.
    next: HashMap<Protocol, u16>,
}

/// A port of the host that is ours until this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    ports: Arc<Ports>,
    pub(super) protocol: Protocol,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// What holds it; taken out where somebody serves it. `None` too where the kernel has no such sockets.
    pub(super) socket: Option<Held>,
}

/// A socket that holds a port.
#[derive(Debug)]
pub(super) enum Held {
    /// Listening: of two sockets that allow the reuse of addresses, as servers' do, only this keeps the second away.
    Tcp(TcpListener),
    Udp(UdpSocket),
    /// Nobody reads from it.
    Other {
        _socket: OwnedFd,
    },
}

/// Which ports will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// One from the first to the last.
    Range(u16, u16),
    /// One that the kernel would choose from.
    Any,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ports.taken().ports.remove(&(self.protocol, self.port, self.address));
    }
}

impl Ports {
    pub(super) fn new(host: Namespace, keep: bool) -> Self {
        Self { host, keep, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether programs of the host can use IPv6 at all.
    pub(super) fn has_ipv6(&self) -> bool {
        let probe = || UdpSocket::bind((std::net::Ipv6Addr::LOCALHOST, 0)).is_ok();
        self.host.run(probe).unwrap_or(false)
    }

    /// Takes the same port on all `addresses`.
    pub(super) fn reserve(
        self: &Arc<Self>,
        protocol: Protocol,
        addresses: &[IpAddr],
        wish: Wish,
    ) -> Result<Vec<Reservation>, DriverError> {
        let (first, last) = match wish {
            Wish::Range(first, last) => (first, last.max(first)),
            Wish::Any => self.ephemeral(),
        };
        let start = match wish {
            Wish::Range(..) => first,
            Wish::Any => {
                let next = self.taken().next.get(&protocol).copied();
                next.filter(|next| (first..=last).contains(next)).unwrap_or(first)
            }
        };
        let mut problem = None;
        for port in (start..=last).chain(first..start) {
            match self.reserve_one(protocol, addresses, port) {
                Ok(reservations) => {
                    if wish == Wish::Any {
                        self.taken().next.insert(protocol, port.checked_add(1).unwrap_or(first));
                    }
                    return Ok(reservations);
                }
                // Somebody has it; the next one may be free. Anything else will be the same there.
                Err(error) if error.kind == ErrorKind::Conflict => problem = problem.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        let none = || DriverError::new(ErrorKind::Conflict, "all ports are allocated");
        Err(problem.filter(|_| first == last).unwrap_or_else(none))
    }

    fn reserve_one(
        self: &Arc<Self>,
        protocol: Protocol,
        addresses: &[IpAddr],
        port: u16,
    ) -> Result<Vec<Reservation>, DriverError> {
        let mut reservations = Vec::with_capacity(addresses.len());
        for &address in addresses {
            if !self.taken().take(protocol, address, port) {
                let text =
                    format!("Bind for {} failed: port is already allocated", SocketAddr::new(address, port));
                return Err(DriverError::new(ErrorKind::Conflict, text));
            }
            let ports = Arc::clone(self);
            let mut reservation = Reservation { ports, protocol, address, port, socket: None };
            if !self.keep {
                reservations.push(reservation);
                continue;
            }
            reservation.socket = self
                .host
                .run(|| hold(protocol, SocketAddr::new(address, port)))?
                .map_err(|error| refused(protocol, SocketAddr::new(address, port), &error))?;
            reservations.push(reservation);
        }
        Ok(reservations)
    }

    /// The range that the kernel itself chooses from.
    fn ephemeral(&self) -> (u16, u16) {
        let text = "net.ipv4.ip_local_port_range".parse().and_then(|key| self.host.sysctl(&key));
        let text = text.unwrap_or_default();
        let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(first), Some(last)) if first > 0 && first <= last => (first, last),
            _ => (32_768, 60_999),
        }
    }
}

impl Taken {
    /// Takes a port, unless it, or all addresses together, are taken.
    fn take(&mut self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        let of_port = (protocol, port, IpAddr::V4(Ipv4Addr::UNSPECIFIED))..;
        let mut others = self.ports.range(of_port).take_while(|held| (held.0, held.1) == (protocol, port));
        let meets = |other: IpAddr| {
            other.is_ipv4() == address.is_ipv4()
                && (other == address || other.is_unspecified() || address.is_unspecified())
        };
        !others.any(|held| meets(held.2)) && self.ports.insert((protocol, port, address))
    }
}

fn refused(protocol: Protocol, address: SocketAddr, error: &io::Error) -> DriverError {
    let kind = match error.kind() {
        io::ErrorKind::AddrInUse => ErrorKind::Conflict,
        io::ErrorKind::AddrNotAvailable => ErrorKind::InvalidArgument,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Internal,
    };
    DriverError::new(
        kind,
        format!("failed to bind host port {address}/{}: {}", protocol.name(), words(error)),
    )
}

/// The error as Go words it.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn hold(protocol: Protocol, address: SocketAddr) -> io::Result<Option<Held>> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match socket_with(family, kind, flags, Some(number)) {
        // Packets can be passed on without the kernel having such sockets itself.
        Err(rustix::io::Errno::PROTONOSUPPORT) if protocol == Protocol::Sctp => return Ok(None),
        other => other?,
    };
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol != Protocol::Udp {
        // Connections of an earlier holder that are being forgotten are no conflict.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(Some(match protocol {
        Protocol::Tcp => {
            listen(&socket, 4096)?;
            Held::Tcp(socket.into())
        }
        Protocol::Udp => Held::Udp(socket.into()),
        Protocol::Sctp => {
            listen(&socket, 1)?;
            Held::Other { _socket: socket }
        }
    }))
}
