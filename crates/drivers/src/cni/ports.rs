//! Ports of the host that are published by plugins, kept from everybody else.
//!
//! `portmap` and its kind rewrite packets and open no socket: another program could take the same port and never hear
//! of it. A bound socket that does not listen says "taken" to everybody and answers nobody.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use pintle_contract::{
    DriverError, ErrorKind,
    network::{PortBinding, Protocol},
};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, socket_with},
};

/// The ports that endpoints hold.
#[derive(Debug, Default)]
pub(super) struct Ports {
    held: Mutex<HashMap<String, Vec<OwnedFd>>>,
}

impl Ports {
    /// Takes ports for an endpoint, and settles what the request leaves open. Ports that it holds already are given
    /// back first.
    pub(super) fn take(
        &self,
        endpoint: &str,
        wanted: &[PortBinding],
    ) -> Result<Vec<PortBinding>, DriverError> {
        self.give_back(endpoint);
        let mut sockets = Vec::new();
        let mut taken = Vec::new();
        for binding in wanted {
            let (socket, port) = take(binding)?;
            sockets.extend(socket);
            taken.push(PortBinding { host_port: port, host_port_end: port, ..binding.clone() });
        }
        if !sockets.is_empty() {
            self.held().insert(endpoint.to_owned(), sockets);
        }
        Ok(taken)
    }

    pub(super) fn give_back(&self, endpoint: &str) {
        self.held().remove(endpoint);
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Vec<OwnedFd>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(binding: &PortBinding) -> Result<(Option<OwnedFd>, u16), DriverError> {
    let last = binding.host_port_end.max(binding.host_port);
    for port in binding.host_port..=last {
        match hold(binding.protocol, binding.host_ip, port) {
            Ok((socket, port)) => return Ok((Some(socket), port)),
            Err(Errno::ADDRINUSE) => {}
            // A protocol that the host has no sockets for is published all the same, if its port is named.
            Err(Errno::PROTONOSUPPORT) if port != 0 => return Ok((None, port)),
            Err(error) => {
                let message = format!("{}: {error}", place(binding, port));
                return Err(DriverError { message, ..DriverError::from(std::io::Error::from(error)) });
            }
        }
    }
    let message = format!("{} failed: port is already allocated", place(binding, binding.host_port));
    Err(DriverError::new(ErrorKind::Conflict, message))
}

fn place(binding: &PortBinding, port: u16) -> String {
    let ip = binding.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    format!("Bind for {}", SocketAddr::new(ip, port))
}

fn hold(protocol: Protocol, ip: Option<IpAddr>, port: u16) -> Result<(OwnedFd, u16), Errno> {
    match ip {
        Some(ip) => hold_at(protocol, ip, port),
        // One socket for both families, where the host has both.
        None => match hold_at(protocol, Ipv6Addr::UNSPECIFIED.into(), port) {
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
                hold_at(protocol, Ipv4Addr::UNSPECIFIED.into(), port)
            }
            other => other,
        },
    }
}

fn hold_at(protocol: Protocol, ip: IpAddr, port: u16) -> Result<(OwnedFd, u16), Errno> {
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(number))?;
    if ip.is_unspecified() && ip.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &SocketAddr::new(ip, port))?;
    let bound = SocketAddr::try_from(getsockname(&socket)?).map_err(|_| Errno::AFNOSUPPORT)?;
    Ok((socket, bound.port()))
}
