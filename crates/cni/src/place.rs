//! Putting an interface into a container's namespace, and taking it back.

use std::{net::IpAddr, path::Path};

use ipnet::IpNet;
use pintle_contract::network::{Joined, MacAddress};
use pintle_netlink::{Error, ErrorKind, Link, LinkChange, LinkName, Namespace, Route, Sysctl};
use pintle_wire::cni::code;

use crate::failure::Failure;

/// What is wanted of the interface.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a LinkName,
    pub(crate) addresses: Vec<IpNet>,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) default_route: bool,
}

/// Puts the interface there, with its name, addresses and routes. One that fails is back where it was.
pub(crate) fn place(
    host: &Namespace,
    sandbox: &Namespace,
    joined: &Joined,
    wanted: &Wanted<'_>,
) -> Result<Link, Failure> {
    let Some(interface) = &joined.interface else {
        return Err(Failure::new(code::INTERNAL, "the network driver made no interface"));
    };
    let source: LinkName = interface.source.parse()?;
    if !interface.in_sandbox {
        if sandbox.handle()?.link(wanted.name)?.is_some() {
            return Err(Failure::new(
                code::CONFIG,
                format!("the container has an interface {} already", wanted.name),
            ));
        }
        let there = LinkChange { namespace: Some(sandbox.clone()), up: Some(false), ..LinkChange::default() };
        host.handle()?.change_link(&source, &there)?;
    }
    let done = settle(sandbox, &source, joined, wanted);
    if done.is_err() {
        let _ = withdraw(host, sandbox, wanted.name, &source, interface.in_sandbox);
        let _ = withdraw(host, sandbox, &source, &source, interface.in_sandbox);
    }
    done
}

fn settle(
    sandbox: &Namespace,
    source: &LinkName,
    joined: &Joined,
    wanted: &Wanted<'_>,
) -> Result<Link, Failure> {
    let links = sandbox.handle()?;
    let name = wanted.name;
    let rename = (name != source).then(|| name.clone());
    if rename.is_some() || wanted.mac.is_some() {
        links.change_link(source, &LinkChange { up: Some(false), ..LinkChange::default() })?;
        links.change_link(source, &LinkChange { name: rename, mac: wanted.mac, ..LinkChange::default() })?;
    }
    for address in &wanted.addresses {
        if address.addr().is_ipv6() {
            // Some hosts turn it off for whatever is new; and nobody else has the address.
            for (setting, value) in [("disable_ipv6", "0"), ("accept_dad", "0")] {
                let setting = Sysctl::of_link("ipv6", "conf", name, setting);
                match sandbox.set_sysctl(&setting, value) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
        }
        links.add_address(name, *address)?;
    }
    links.set_up(name)?;
    for route in routes(joined, wanted.default_route) {
        links.set_route(name, &route)?;
    }
    links.link(name)?.ok_or_else(|| Failure::new(code::INTERNAL, format!("the interface {name} is gone")))
}

/// The routes of an attachment. Next hops on the link come first, since others lie behind them.
pub(crate) fn routes(joined: &Joined, default_route: bool) -> Vec<Route> {
    let mut routes: Vec<Route> =
        joined.static_routes.iter().map(|route| Route::new(route.destination, route.next_hop)).collect();
    routes.sort_by_key(|route| route.gateway.is_some());
    if default_route {
        let gateways = [joined.gateway.map(IpAddr::V4), joined.gateway_v6.map(IpAddr::V6)];
        routes.extend(gateways.into_iter().flatten().map(Route::default_by));
    }
    routes
}

/// Takes the interface back to the host under its old name; or away, if it was made in the sandbox.
pub(crate) fn withdraw(
    host: &Namespace,
    sandbox: &Namespace,
    name: &LinkName,
    source: &LinkName,
    made_inside: bool,
) -> Result<(), Error> {
    let links = sandbox.handle()?;
    if links.link(name)?.is_none() {
        return Ok(());
    }
    if made_inside {
        return sandbox.remove_link(name).map(drop);
    }
    links.change_link(name, &LinkChange { up: Some(false), ..LinkChange::default() })?;
    if name != source {
        links.change_link(name, &LinkChange { name: Some(source.clone()), ..LinkChange::default() })?;
    }
    links.change_link(source, &LinkChange { namespace: Some(host.clone()), ..LinkChange::default() })
}

/// The namespace at `path`, if it is there.
pub(crate) fn open(path: Option<&Path>) -> Option<Namespace> {
    Namespace::open(path?).ok()
}
