use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use pintle_contract::network::{Interface, Joined};
use pintle_netlink::{Handle, Link, LinkChange, LinkName, Namespace, Route};

use crate::check::{Result, Verdict, fail};

/// A container's network namespace, without the container. It ends with this, and also if the suite is killed.
pub(super) struct Sandbox {
    pub namespace: Namespace,
    /// A path that opens it.
    pub key: PathBuf,
    bound: bool,
}

impl Sandbox {
    /// A new one, bound to a file in `dir`, or found by way of this process.
    pub fn new(dir: Option<&Path>, name: &str) -> Result<Self> {
        let problem = |error| Verdict::Fail(format!("no sandbox can be made: {error}"));
        let namespace = Namespace::create().map_err(problem)?;
        if let Some(dir) = dir {
            let key = dir.join(name);
            namespace.bind(&key).map_err(problem)?;
            return Ok(Self { namespace, key, bound: true });
        }
        let descriptor = namespace.as_fd().as_raw_fd();
        let key = PathBuf::from(format!("/proc/{}/fd/{descriptor}", std::process::id()));
        Ok(Self { namespace, key, bound: false })
    }

    fn handle(&self) -> Result<Handle> {
        self.namespace.handle().or_else(|error| fail(format!("the sandbox cannot be opened: {error}")))
    }

    pub fn links(&self) -> Result<Vec<Link>> {
        self.handle()?.links().or_else(|error| fail(format!("the sandbox cannot be looked into: {error}")))
    }

    /// Does what an engine does with the answer to a join. Says what the interface is called, inside and outside.
    pub fn enter(&self, host: &Handle, interface: &Interface, joined: &Joined) -> Result<Option<Entered>> {
        let inside = self.handle()?;
        if let Some(settled) = &joined.settled {
            let name = link_name(&settled.name)?;
            return Ok(Some(Entered { source: None, name, interface: settled.interface.clone() }));
        }
        let Some(names) = &joined.interface else { return Ok(None) };
        let source = link_name(&names.source)?;
        let place = if names.in_sandbox { &inside } else { host };
        if found(place, &source)?.is_none() {
            return fail(format!("the interface {source} that the driver names does not exist"));
        }
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: pintle_netlink::Error| fail(format!("{what}: {error}"))
        };
        if !names.in_sandbox {
            let change = LinkChange { namespace: Some(self.namespace.clone()), ..LinkChange::default() };
            host.change_link(&source, &change).or_else(failed("the interface cannot be moved in"))?;
        }
        let name = match names.name.as_str() {
            "" => free_name(&inside, &names.prefix)?,
            name => link_name(name)?,
        };
        let change = LinkChange { name: Some(name.clone()), up: Some(false), ..LinkChange::default() };
        inside.change_link(&source, &change).or_else(failed("the interface cannot be named"))?;
        if interface.mac.is_some() {
            let change = LinkChange { mac: interface.mac, ..LinkChange::default() };
            inside.change_link(&name, &change).or_else(failed("the MAC address cannot be set"))?;
        }
        for address in [interface.address, interface.address_v6].into_iter().flatten() {
            inside.add_address(&name, address).or_else(failed("an address cannot be set"))?;
        }
        inside.set_up(&name).or_else(failed("the interface cannot be brought up"))?;
        // Routes on the link come first: they may be what leads to the gateway.
        let (hops, links): (Vec<_>, Vec<_>) =
            joined.static_routes.iter().partition(|route| route.next_hop.is_some());
        let gateways = [joined.gateway.map(IpAddr::V4), joined.gateway_v6.map(IpAddr::V6)];
        let of = |routes: Vec<&pintle_contract::network::StaticRoute>| -> Vec<Route> {
            routes.into_iter().map(|route| Route::new(route.destination, route.next_hop)).collect()
        };
        let defaults = gateways.into_iter().flatten().map(Route::default_by);
        for route in of(links).into_iter().chain(defaults).chain(of(hops)) {
            inside
                .set_route(&name, &route)
                .or_else(failed(&format!("the route to {} cannot be set", route.destination)))?;
        }
        let source = (!names.in_sandbox).then_some(source);
        Ok(Some(Entered { source, name, interface: interface.clone() }))
    }

    /// The interface must be there, up, and have what it was given.
    pub fn look(&self, entered: &Entered) -> Result {
        let (inside, name) = (self.handle()?, &entered.name);
        let Some(link) = found(&inside, name)? else {
            return fail(format!("the interface {name} is not in the sandbox"));
        };
        if !link.up {
            return fail(format!("the interface {name} is not up"));
        }
        if entered.interface.mac.is_some() && link.mac != entered.interface.mac {
            return fail(format!(
                "the interface's MAC address is {:?}, not {:?}",
                link.mac, entered.interface.mac
            ));
        }
        let addresses = inside
            .addresses(name)
            .or_else(|error| fail(format!("the interface's addresses cannot be read: {error}")))?;
        let wanted = [entered.interface.address, entered.interface.address_v6];
        match wanted.into_iter().flatten().find(|address| !addresses.contains(address)) {
            Some(address) => {
                fail(format!("the interface does not have the address {address}, but {addresses:?}"))
            }
            None => Ok(()),
        }
    }

    /// Gives an interface back to where it came from, if it is still there, as an engine does after a leave.
    pub fn give_back(&self, host: &Namespace, entered: &Entered) -> Result {
        let (inside, Some(source)) = (self.handle()?, &entered.source) else { return Ok(()) };
        if found(&inside, &entered.name)?.is_none() {
            return Ok(());
        }
        let problem = |error| fail(format!("the interface cannot be given back: {error}"));
        let change = LinkChange { name: Some(source.clone()), up: Some(false), ..LinkChange::default() };
        inside.change_link(&entered.name, &change).or_else(problem)?;
        let change = LinkChange { namespace: Some(host.clone()), ..LinkChange::default() };
        inside.change_link(source, &change).or_else(problem)
    }

    /// Whether a packet gets from here to `other` and one comes back. Blocks until it does, or for too long.
    pub fn reaches(&self, other: &Self, own: IpAddr, address: IpAddr, patience: Duration) -> Result {
        let socket = |sandbox: &Self, address: IpAddr| {
            let bound = sandbox.namespace.run(|| UdpSocket::bind(SocketAddr::new(address, 0)));
            match bound {
                Ok(Ok(socket)) => Ok(socket),
                Ok(Err(error)) => fail(format!("{address} cannot be used in the sandbox: {error}")),
                Err(error) => fail(format!("the sandbox cannot be entered: {error}")),
            }
        };
        let (near, far) = (socket(self, own)?, socket(other, address)?);
        let end = Instant::now() + patience;
        let mut last = String::new();
        while Instant::now() < end {
            match exchange(&near, &far) {
                Ok(()) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        fail(format!("no packet gets from {own} to {address} and back: {last}"))
    }
}

fn exchange(near: &UdpSocket, far: &UdpSocket) -> std::io::Result<()> {
    let mut buffer = [0; 64];
    for socket in [near, far] {
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    }
    near.send_to(b"there", far.local_addr()?)?;
    let (_, from) = far.recv_from(&mut buffer)?;
    far.send_to(b"and back", from)?;
    near.recv_from(&mut buffer).map(drop)
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.bound {
            let _ = Namespace::remove(&self.key);
        }
    }
}

/// An interface in a sandbox.
#[derive(Debug, Clone)]
pub(super) struct Entered {
    /// What it was called outside, if that is where it came from.
    pub source: Option<LinkName>,
    /// What it is called inside.
    pub name: LinkName,
    /// What it was given.
    pub interface: Interface,
}

fn link_name(text: &str) -> Result<LinkName> {
    text.parse().or_else(|_| {
        fail(format!("the driver names an interface {text:?}, which no interface can be called"))
    })
}

fn found(handle: &Handle, name: &LinkName) -> Result<Option<Link>> {
    handle.link(name).or_else(|error| fail(format!("the interface {name} cannot be looked for: {error}")))
}

fn free_name(inside: &Handle, prefix: &str) -> Result<LinkName> {
    let prefix = if prefix.is_empty() { "eth" } else { prefix };
    for number in 0..64 {
        let name = link_name(&format!("{prefix}{number}"))?;
        if found(inside, &name)?.is_none() {
            return Ok(name);
        }
    }
    fail(format!("every name that begins with {prefix:?} is taken"))
}
