use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;

use crate::{
    Error, Handle, LinkName,
    address::ip,
    message::{CREATE, REPLACE, attributes, read_u32},
};

const NEW: u16 = 24;
const DELETE: u16 = 25;
const GET: u16 = 26;

const DESTINATION: u16 = 1;
const OUT: u16 = 4;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const TABLE: u16 = 15;

const MAIN_TABLE: u8 = 254;
const MADE_AT_BOOT: u8 = 3;
const UNICAST: u8 = 1;
const SCOPE_EVERYWHERE: u8 = 0;
const SCOPE_LINK: u8 = 253;
/// The next hop is on the link even if no address says so.
const ON_LINK: u32 = 4;

/// How far a route's destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RouteScope {
    /// Behind a next hop, or nobody says.
    #[default]
    Everywhere,
    /// On the link.
    Link,
    /// An address of this host.
    Host,
}

/// A row of a routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to; a prefix length of 0 is the default route.
    pub destination: IpNet,
    /// The next hop; `None` is a route on the link.
    pub gateway: Option<IpAddr>,
    /// The number of the link, in routes that were listed.
    pub link: Option<u32>,
    /// How far the destination is, in routes that were listed.
    pub scope: RouteScope,
    /// Which of several routes to the same place is taken: the lowest.
    pub metric: Option<u32>,
    /// The table; 254 is the main one.
    pub table: u32,
}

impl Route {
    /// A route to `destination` by way of `gateway`, or on the link.
    pub fn new(destination: IpNet, gateway: Option<IpAddr>) -> Self {
        let scope = RouteScope::Everywhere;
        Self { destination, gateway, link: None, scope, metric: None, table: MAIN_TABLE.into() }
    }

    /// The default route by way of `gateway`.
    pub fn default_by(gateway: IpAddr) -> Self {
        Self::new(everywhere(gateway.is_ipv4()), Some(gateway))
    }

    /// Whether it is the way to everywhere.
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }
}

fn everywhere(v4: bool) -> IpNet {
    if v4 { IpNet::V4(ipnet::Ipv4Net::default()) } else { IpNet::V6(ipnet::Ipv6Net::default()) }
}

impl Handle {
    /// Adds a route over `link` to the main table, or puts it in the place of one to the same destination with the
    /// same metric. The next hop need not be in a subnet of the link.
    pub fn set_route(&self, link: &LinkName, route: &Route) -> Result<(), Error> {
        let index = self.index("add a route to link", link)?;
        // Only where it is needed: a next hop outside of the link's subnets.
        let put = |flags| {
            self.tell(NEW, CREATE | REPLACE, &head(route, UNICAST, flags), |message| {
                write(message, route, index);
            })
        };
        let told = match put(0) {
            Err(refusal)
                if route.gateway.is_some()
                    && [Errno::ENETUNREACH as i32, Errno::EHOSTUNREACH as i32]
                        .contains(&refusal.code().unwrap_or(0)) =>
            {
                put(ON_LINK)
            }
            other => other,
        };
        told.map_err(|refusal| refusal.of("add route", describe(route, link)))
    }

    /// Removes a route over `link` from the main table. Says whether there was one.
    pub fn remove_route(&self, link: &LinkName, route: &Route) -> Result<bool, Error> {
        let index = self.index("remove a route of link", link)?;
        match self.tell(DELETE, 0, &head(route, 0, 0), |message| write(message, route, index)) {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.code() == Some(Errno::ESRCH as i32) => Ok(false),
            Err(refusal) => Err(refusal.of("remove route", describe(route, link))),
        }
    }

    /// The unicast routes of every table and both families.
    pub fn routes(&self) -> Result<Vec<Route>, Error> {
        self.dump(GET, &[0; 12], read).map_err(|refusal| refusal.of("list", "routes"))
    }

    /// Every subnet that the host reaches directly or by a route of its own, the default route and loopback left
    /// out: what a new pool of addresses must not overlap.
    pub fn subnets_in_use(&self) -> Result<Vec<IpNet>, Error> {
        let mut subnets: Vec<IpNet> = self
            .routes()?
            .into_iter()
            .filter(|route| !route.is_default() && route.scope != RouteScope::Host)
            .map(|route| route.destination)
            .filter(|net| !net.addr().is_loopback() && !is_link_local(net) && !net.addr().is_multicast())
            .collect();
        subnets.sort();
        subnets.dedup();
        Ok(subnets)
    }
}

fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().segments()[0] & 0xffc0 == 0xfe80)
}

fn describe(route: &Route, link: &LinkName) -> String {
    match route.gateway {
        Some(gateway) => format!("to {} via {gateway} over link {link}", route.destination),
        None => format!("to {} over link {link}", route.destination),
    }
}

fn head(route: &Route, kind: u8, flags: u32) -> [u8; 12] {
    let family = if route.destination.addr().is_ipv4() { 2 } else { 10 };
    let scope = match (kind, route.gateway, family) {
        // A deletion matches any scope.
        (0, _, _) => 255,
        (_, None, 2) => SCOPE_LINK,
        _ => SCOPE_EVERYWHERE,
    };
    let scope = if family == 10 { SCOPE_EVERYWHERE } else { scope };
    let protocol = if kind == 0 { 0 } else { MADE_AT_BOOT };
    let mut bytes =
        [family, route.destination.prefix_len(), 0, 0, MAIN_TABLE, protocol, scope, kind, 0, 0, 0, 0];
    bytes[8..].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

fn write(message: &mut crate::message::Message, route: &Route, index: u32) {
    if !route.is_default() {
        match route.destination.network() {
            IpAddr::V4(ip) => message.bytes(DESTINATION, &ip.octets()),
            IpAddr::V6(ip) => message.bytes(DESTINATION, &ip.octets()),
        }
    }
    match route.gateway {
        Some(IpAddr::V4(ip)) => message.bytes(GATEWAY, &ip.octets()),
        Some(IpAddr::V6(ip)) => message.bytes(GATEWAY, &ip.octets()),
        None => {}
    }
    message.u32(OUT, index);
    if let Some(metric) = route.metric {
        message.u32(PRIORITY, metric);
    }
}

fn read(body: &[u8]) -> Option<Route> {
    let (family, prefix) = (*body.first()?, *body.get(1)?);
    let (table, scope, kind) = (*body.get(4)?, *body.get(6)?, *body.get(7)?);
    if kind != UNICAST {
        return None;
    }
    let v4 = match family {
        2 => true,
        10 => false,
        _ => return None,
    };
    let mut route = Route::new(everywhere(v4), None);
    route.table = table.into();
    route.scope = match scope {
        SCOPE_LINK => RouteScope::Link,
        254 => RouteScope::Host,
        _ => RouteScope::Everywhere,
    };
    for (kind, payload) in attributes(body.get(12..)?) {
        match kind {
            DESTINATION => route.destination = IpNet::new(ip(payload)?, prefix).ok()?,
            GATEWAY => route.gateway = ip(payload),
            OUT => route.link = read_u32(payload, 0),
            PRIORITY => route.metric = read_u32(payload, 0),
            TABLE => route.table = read_u32(payload, 0)?,
            _ => {}
        }
    }
    Some(route)
}
